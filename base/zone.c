/*
 * A zone is a sorted table of instants at which the offset changes, filled from the TZif file and
 * continued by the footer's rule up to TABLE_YEAR_LAST; later times are computed from the rule,
 * year by year. What was read: RFC 8536 (the file), POSIX.1-2017 "TZ" (the rule), and
 * PostgreSQL's DetermineTimeZoneOffset (gaps and overlaps).
 *
 * Invariants of a loaded zone:
 *   (1) at_us ascends strictly; at_us[i] starts types[type_of[i]]; before at_us[0] types[first].
 *   (2) every type_of[i] and first are < type_count.
 *   (3) nothing of it changes after it has been put into the cache.
 */
#include "base/zone.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/text.h"
#include "base/time.h"
#include "base/zone_int.h"

#define ZONE_DIRECTORY "/usr/share/zoneinfo"

enum {
    FILE_BYTES_MAX = 256 << 10, /* the largest zone file is 4 KiB */
    TABLE_YEAR_LAST = 2100,
    OFFSET_S_MAX = 26 * 3600, /* RFC 8536: more is not to be expected */
    FIXED_MINUTES_MAX = 15 * 60 + 59,
    CACHE_BUCKETS = 256,
    CACHE_ENTRIES_MAX = 4096, /* far more names than the directory holds */
    ABBREVIATION_MAX = 15,
};

struct zone_type {
    int32_t offset_s;
    bool dst;
    char abbreviation[ABBREVIATION_MAX + 1];
};

/* The day and time of a change, as POSIX writes it. */
struct change {
    enum { CHANGE_JULIAN, CHANGE_DAY, CHANGE_MONTH } form;
    int16_t day; /* JULIAN 1…365, DAY 0…365, MONTH: weekday 0…6 */
    uint8_t week;
    uint8_t month;
    int32_t time_s; /* local, may be negative or beyond a day */
};

struct rule {
    bool present;
    bool has_dst;
    struct zone_type std, dst;
    struct change to_dst, to_std;
};

struct tl_zone {
    char name[TL_ZONE_NAME_MAX + 1];
    uint64_t content_hash;
    uint32_t count; /* of changes */
    uint32_t type_count;
    uint32_t first;
    int64_t *at_us;
    uint16_t *type_of;
    struct zone_type *types;
    struct rule rule; /* goes on after the table */
};

/* ---- the rule ---- */

static bool scan_number(const char **p, int32_t max, int32_t *out)
{
    const char *s = *p;
    int32_t v = 0;
    if (*s < '0' || *s > '9')
        return false;
    for (; *s >= '0' && *s <= '9'; s++) {
        v = v * 10 + (*s - '0');
        if (v > max)
            return false;
    }
    *p = s;
    *out = v;
    return true;
}

/* [+-]hh[:mm[:ss]], in seconds. */
static bool scan_time(const char **p, int32_t hours_max, int32_t *out)
{
    int32_t sign = 1, hours, minutes = 0, seconds = 0;
    if (**p == '-' || **p == '+')
        sign = *(*p)++ == '-' ? -1 : 1;
    if (!scan_number(p, hours_max, &hours))
        return false;
    if (**p == ':') {
        (*p)++;
        if (!scan_number(p, 59, &minutes))
            return false;
        if (**p == ':') {
            (*p)++;
            if (!scan_number(p, 59, &seconds))
                return false;
        }
    }
    *out = sign * (hours * 3600 + minutes * 60 + seconds);
    return true;
}

static bool is_letter(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* Three or more letters, or anything of letters, digits and signs between < and >. */
static bool scan_abbreviation(const char **p, char out[ABBREVIATION_MAX + 1])
{
    const char *s = *p;
    bool quoted = *s == '<';
    const char *first = quoted ? ++s : s;
    while (is_letter(*s) || (quoted && ((*s >= '0' && *s <= '9') || *s == '+' || *s == '-')))
        s++;
    size_t size = (size_t)(s - first);
    if (size < (quoted ? 1 : 3) || size > ABBREVIATION_MAX || (quoted && *s != '>'))
        return false;
    memcpy(out, first, size);
    out[size] = '\0';
    *p = s + quoted;
    return true;
}

static bool scan_change(const char **p, struct change *c)
{
    int32_t month, week, day;
    *c = (struct change){.time_s = 2 * 3600};
    if (**p == 'J') {
        (*p)++;
        c->form = CHANGE_JULIAN;
        if (!scan_number(p, 365, &day) || day < 1)
            return false;
    } else if (**p == 'M') {
        (*p)++;
        c->form = CHANGE_MONTH;
        if (!scan_number(p, 12, &month) || month < 1 || *(*p)++ != '.' ||
            !scan_number(p, 5, &week) || week < 1 || *(*p)++ != '.' || !scan_number(p, 6, &day))
            return false;
        c->month = (uint8_t)month;
        c->week = (uint8_t)week;
    } else {
        c->form = CHANGE_DAY;
        if (!scan_number(p, 365, &day))
            return false;
    }
    c->day = (int16_t)day;
    if (**p == '/') {
        (*p)++;
        return scan_time(p, 167, &c->time_s);
    }
    return true;
}

/* A POSIX TZ string, as it stands in a footer. The offsets in it are west. */
static bool scan_rule(const char *text, struct rule *r)
{
    const char *p = text;
    int32_t west;
    *r = (struct rule){.present = true};
    if (!scan_abbreviation(&p, r->std.abbreviation) || !scan_time(&p, 24, &west))
        return false;
    r->std.offset_s = -west;
    if (*p == '\0')
        return true;
    r->has_dst = true;
    r->dst.dst = true;
    r->dst.offset_s = r->std.offset_s + 3600;
    if (!scan_abbreviation(&p, r->dst.abbreviation))
        return false;
    if (*p != ',') {
        if (!scan_time(&p, 24, &west))
            return false;
        r->dst.offset_s = -west;
    }
    if (*p++ != ',' || !scan_change(&p, &r->to_dst) || *p++ != ',' || !scan_change(&p, &r->to_std))
        return false;
    return *p == '\0';
}

static bool is_leap(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* The instant of a change in `year`, told on a clock that is offset_s east. */
static int64_t change_us(const struct change *c, int64_t year, int32_t offset_s)
{
    int64_t day;
    if (c->form == CHANGE_MONTH) {
        int64_t first = tl_days_from_civil(year, c->month, 1);
        int64_t weekday = (first + 4) % 7; /* 1970-01-01 was a Thursday; Sunday is 0 */
        weekday += weekday < 0 ? 7 : 0;
        int64_t in_month = (c->day - weekday + 7) % 7 + (c->week - 1) * 7;
        while (in_month >= (int64_t)tl_days_in_month(year, c->month))
            in_month -= 7;
        day = first + in_month;
    } else {
        day = tl_days_from_civil(year, 1, 1) + c->day;
        if (c->form == CHANGE_JULIAN && !(is_leap(year) && c->day >= 60))
            day--; /* J counts from 1 and never counts February 29 */
    }
    return day * TL_US_PER_DAY + (int64_t)(c->time_s - offset_s) * TL_US_PER_SECOND;
}

struct rule_change {
    int64_t at_us;
    bool to_dst;
};

/* The two changes of a year, in order of time. */
static void rule_year(const struct rule *r, int64_t year, struct rule_change out[2])
{
    struct rule_change to_dst = {change_us(&r->to_dst, year, r->std.offset_s), true};
    struct rule_change to_std = {change_us(&r->to_std, year, r->dst.offset_s), false};
    bool north = to_dst.at_us < to_std.at_us;
    out[0] = north ? to_dst : to_std;
    out[1] = north ? to_std : to_dst;
}

/* The span that holds utc_us by the rule alone. */
static void rule_span_at(const struct rule *r, int64_t utc_us, struct tl_zone_span *out)
{
    *out = (struct tl_zone_span){INT64_MIN, INT64_MAX, r->std.offset_s, false, r->std.abbreviation};
    if (!r->has_dst)
        return;
    /* The calendar repeats after 400 years, weekdays too: the last years that int64_t holds are
     * looked up one cycle earlier, so that the year after them can be computed. */
    const int64_t cycle_us = 146097 * TL_US_PER_DAY;
    int64_t shift_us = utc_us > INT64_MAX - cycle_us ? cycle_us : 0;
    utc_us -= shift_us;
    int64_t year = tl_civil_from_us(utc_us).year;
    const struct zone_type *type = &r->std;
    for (int64_t y = year - 2; y <= year + 1; y++) {
        struct rule_change changes[2];
        rule_year(r, y, changes);
        for (int i = 0; i < 2; i++) {
            if (changes[i].at_us > utc_us) {
                if (out->until_us == INT64_MAX)
                    out->until_us = changes[i].at_us;
            } else if (changes[i].at_us > out->from_us) {
                out->from_us = changes[i].at_us;
                type = changes[i].to_dst ? &r->dst : &r->std;
            }
        }
    }
    if (out->from_us != INT64_MIN)
        out->from_us += shift_us;
    if (__builtin_add_overflow(out->until_us, shift_us, &out->until_us))
        out->until_us = INT64_MAX;
    out->offset_s = type->offset_s;
    out->dst = type->dst;
    out->abbreviation = type->abbreviation;
}

/* ---- the file ---- */

struct counts {
    uint32_t isut, isstd, leap, time, type, chars;
};

static uint32_t read_u32be(struct tl_reader *r)
{
    return __builtin_bswap32(tl_read_u32(r));
}

static bool read_header(struct tl_reader *r, uint8_t *version, struct counts *c)
{
    struct tl_slice magic = tl_read_bytes(r, 4);
    *version = tl_read_u8(r);
    (void)tl_read_bytes(r, 15);
    c->isut = read_u32be(r);
    c->isstd = read_u32be(r);
    c->leap = read_u32be(r);
    c->time = read_u32be(r);
    c->type = read_u32be(r);
    c->chars = read_u32be(r);
    return !r->failed && tl_slice_eq(magic, tl_slice_str("TZif")) && c->time <= 8192 &&
           c->type >= 1 && c->type <= 256 && c->chars >= 1 && c->chars <= 4096 && c->leap <= 1024 &&
           c->isut <= 256 && c->isstd <= 256;
}

/* A time in the file, in microseconds; those before all of our times become the least. */
static int64_t read_time_us(struct tl_reader *r, size_t time_size)
{
    int64_t s;
    if (time_size == 4)
        s = (int32_t)read_u32be(r);
    else
        s = (int64_t)__builtin_bswap64(tl_read_u64(r));
    int64_t us;
    if (__builtin_mul_overflow(s, TL_US_PER_SECOND, &us))
        return s < 0 ? INT64_MIN : INT64_MAX;
    return us;
}

/* The data block after a header. False: something in it is not as it must be. */
static bool read_block(struct tl_reader *r, const struct counts *c, size_t time_size,
                       struct tl_zone *z)
{
    if (c->leap != 0)
        return false; /* a zone of the "right" kind counts leap seconds; we do not */
    for (uint32_t i = 0; i < c->time; i++) {
        z->at_us[i] = read_time_us(r, time_size);
        /* Several can stand before the first representable time: they count as one. */
        if (i > 0 && z->at_us[i] <= z->at_us[i - 1] && z->at_us[i] != INT64_MIN)
            return false;
    }
    for (uint32_t i = 0; i < c->time; i++) {
        z->type_of[i] = tl_read_u8(r);
        if (z->type_of[i] >= c->type)
            return false;
    }
    struct tl_reader types = tl_reader_of(tl_read_bytes(r, 6 * (size_t)c->type));
    struct tl_slice names = tl_read_bytes(r, c->chars);
    (void)tl_read_bytes(r, (size_t)c->isstd + c->isut);
    if (r->failed || names.data[names.size - 1] != '\0')
        return false;
    for (uint32_t i = 0; i < c->type; i++) {
        struct zone_type *t = &z->types[i];
        t->offset_s = (int32_t)read_u32be(&types);
        t->dst = tl_read_u8(&types) != 0;
        uint8_t at = tl_read_u8(&types);
        if (t->offset_s < -OFFSET_S_MAX || t->offset_s > OFFSET_S_MAX || at >= names.size)
            return false;
        const char *name = (const char *)names.data + at;
        memcpy(t->abbreviation, name, strnlen(name, ABBREVIATION_MAX));
    }
    z->count = c->time;
    z->type_count = c->type;
    z->first = 0; /* RFC 8536: type 0 before the first change */
    return true;
}

/* The text between the two newlines after a version 2 block. */
static bool read_footer(struct tl_reader *r, struct rule *out)
{
    char text[128];
    if (tl_read_u8(r) != '\n')
        return false;
    size_t left = tl_reader_left(r);
    if (left == 0 || left > sizeof(text) || r->end[-1] != '\n')
        return false;
    struct tl_slice s = tl_read_bytes(r, left);
    memcpy(text, s.data, left);
    text[left - 1] = '\0';
    if (strlen(text) != left - 1)
        return false;
    if (text[0] == '\0')
        return true; /* nothing is known of later times: the last type goes on */
    return scan_rule(text, out);
}

void tl__zone_free(struct tl_zone *z)
{
    if (!z)
        return;
    free(z->at_us);
    free(z->type_of);
    free(z->types);
    free(z);
}

/* Drops what stands twice before the first representable time. */
static void drop_doubles(struct tl_zone *z)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < z->count; i++) {
        if (i + 1 < z->count && z->at_us[i + 1] == z->at_us[i])
            continue;
        z->at_us[kept] = z->at_us[i];
        z->type_of[kept++] = z->type_of[i];
    }
    z->count = kept;
}

/* Continues the table by the rule to TABLE_YEAR_LAST. There is room. */
static void extend_table(struct tl_zone *z)
{
    const struct rule *r = &z->rule;
    if (!r->present)
        return;
    uint32_t std = z->type_count++, dst = z->type_count++;
    z->types[std] = r->std;
    z->types[dst] = r->dst;
    if (!r->has_dst) {
        if (z->count == 0)
            z->first = std;
        return;
    }
    int64_t last_us = z->count ? z->at_us[z->count - 1] : INT64_MIN;
    int64_t year = z->count && last_us > 0 ? tl_civil_from_us(last_us).year : 1970;
    for (; year <= TABLE_YEAR_LAST; year++) {
        struct rule_change changes[2];
        rule_year(r, year, changes);
        for (int i = 0; i < 2; i++) {
            if (changes[i].at_us <= last_us)
                continue;
            last_us = changes[i].at_us;
            z->at_us[z->count] = last_us;
            z->type_of[z->count++] = (uint16_t)(changes[i].to_dst ? dst : std);
        }
    }
}

enum tl_code tl__zone_decode(struct tl_slice file, const char *name, struct tl_zone **out,
                             struct tl_status *st)
{
    struct tl_reader r = tl_reader_of(file);
    struct counts c;
    uint8_t version;
    size_t time_size = 4;
    if (!read_header(&r, &version, &c))
        return TL_FAIL(st, TL_CORRUPT, "%s is not a time zone file", name);
    if (version >= '2') {
        time_size = 8;
        (void)tl_read_bytes(&r, (size_t)c.time * 5 + (size_t)c.type * 6 + c.chars +
                                    (size_t)c.leap * 8 + c.isstd + c.isut);
        if (!read_header(&r, &version, &c))
            return TL_FAIL(st, TL_CORRUPT, "time zone file %s is cut", name);
    }
    size_t changes_max = c.time + 2 * (size_t)(TABLE_YEAR_LAST - 1970 + 2);
    struct tl_zone *z = calloc(1, sizeof(*z));
    if (!z)
        return TL_FAIL(st, TL_LIMIT, "no memory for time zone %s", name);
    memcpy(z->name, name, strnlen(name, TL_ZONE_NAME_MAX));
    z->content_hash = tl_hash64(file.data, file.size);
    z->at_us = calloc(changes_max, sizeof(*z->at_us));
    z->type_of = calloc(changes_max, sizeof(*z->type_of));
    z->types = calloc(c.type + 2, sizeof(*z->types));
    if (!z->at_us || !z->type_of || !z->types) {
        tl__zone_free(z);
        return TL_FAIL(st, TL_LIMIT, "no memory for time zone %s", name);
    }
    if (!read_block(&r, &c, time_size, z) || (time_size == 8 && !read_footer(&r, &z->rule))) {
        tl__zone_free(z);
        return TL_FAIL(st, TL_CORRUPT, "time zone file %s holds what no such file may hold", name);
    }
    drop_doubles(z);
    extend_table(z);
    *out = z;
    return TL_OK;
}

static enum tl_code unknown_zone(struct tl_slice name, struct tl_status *st)
{
    (void)TL_FAIL(st, TL_INVALID, "time zone \"%.*s\" not recognized",
                  (int)(name.size < TL_ZONE_NAME_MAX ? name.size : TL_ZONE_NAME_MAX),
                  name.size ? (const char *)name.data : "");
    return tl_status_sql(st, "22023", 0);
}

/* Letters, digits, '_', '+', '-' in components that '/' parts: nothing leads out of the
 * directory, since a dot cannot stand in a name. */
static bool name_is_safe(struct tl_slice name)
{
    if (name.size == 0 || name.size > TL_ZONE_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.size; i++) {
        char c = (char)name.data[i];
        if (c == '/') {
            if (i == 0 || i + 1 == name.size || name.data[i - 1] == '/')
                return false;
        } else if (!is_letter(c) && !(c >= '0' && c <= '9') && c != '_' && c != '+' && c != '-') {
            return false;
        }
    }
    return true;
}

/* Puts each component of `name` (NUL-ended, below the directory) into the file system's case. */
static bool find_case(char *name)
{
    char path[sizeof(ZONE_DIRECTORY) + 1 + TL_ZONE_NAME_MAX] = ZONE_DIRECTORY;
    size_t path_size = strlen(path);
    for (char *part = name; part;) {
        char *slash = strchr(part, '/');
        size_t size = slash ? (size_t)(slash - part) : strlen(part);
        DIR *dir = opendir(path);
        if (!dir)
            return false;
        bool found = false;
        for (struct dirent *entry; !found && (entry = readdir(dir));) {
            if (strlen(entry->d_name) == size && strncasecmp(entry->d_name, part, size) == 0) {
                memcpy(part, entry->d_name, size);
                found = true;
            }
        }
        closedir(dir);
        if (!found)
            return false;
        path[path_size++] = '/';
        memcpy(path + path_size, part, size);
        path_size += size;
        path[path_size] = '\0';
        part = slash ? slash + 1 : NULL;
    }
    return true;
}

/* Reads the file of a safe name; TL_NOT_FOUND when there is none. */
static enum tl_code read_file(const char *name, uint8_t *bytes, size_t *size, struct tl_status *st)
{
    char path[sizeof(ZONE_DIRECTORY) + 1 + TL_ZONE_NAME_MAX];
    snprintf(path, sizeof(path), "%s/%.*s", ZONE_DIRECTORY, TL_ZONE_NAME_MAX, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR
                   ? TL_NOT_FOUND
                   : TL_FAIL_OS(st, TL_IO, errno, "opening time zone file %s", name);
    size_t got = 0;
    enum tl_code rc = TL_OK;
    while (got < FILE_BYTES_MAX) {
        ssize_t n = read(fd, bytes + got, FILE_BYTES_MAX - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = errno == EISDIR ? TL_NOT_FOUND
                                 : TL_FAIL_OS(st, TL_IO, errno, "reading time zone file %s", name);
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    close(fd);
    *size = got;
    return rc;
}

static enum tl_code zone_load(struct tl_slice wanted, struct tl_zone **out, struct tl_status *st)
{
    char name[TL_ZONE_NAME_MAX + 1];
    memcpy(name, wanted.data, wanted.size);
    name[wanted.size] = '\0';
    uint8_t *bytes = malloc(FILE_BYTES_MAX);
    if (!bytes)
        return TL_FAIL(st, TL_LIMIT, "no memory for time zone %s", name);
    size_t size = 0;
    enum tl_code rc = read_file(name, bytes, &size, st);
    if (rc == TL_NOT_FOUND && find_case(name))
        rc = read_file(name, bytes, &size, st);
    if (rc == TL_OK && (size < 4 || memcmp(bytes, "TZif", 4) != 0))
        rc = TL_NOT_FOUND; /* zone.tab and its like stand in the directory too */
    if (rc == TL_OK)
        rc = tl__zone_decode(tl_slice_of(bytes, size), name, out, st);
    free(bytes);
    return rc;
}

/* ---- the caches ---- */

/* A name in lower case, and the zone that its file gave. Never removed. */
struct alias {
    char key[TL_ZONE_NAME_MAX + 1];
    const struct tl_zone *zone;
    struct alias *next;
};

static struct {
    pthread_mutex_t mutex;
    struct alias *aliases[CACHE_BUCKETS];
    uint32_t alias_count;
    struct tl_zone *fixed[2 * FIXED_MINUTES_MAX + 1];
} cache = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static struct zone_type utc_types[] = {{.abbreviation = "UTC"}};
static const struct tl_zone utc_zone = {.name = "UTC", .types = utc_types, .type_count = 1};

const struct tl_zone *tl_zone_utc(void)
{
    return &utc_zone;
}

static enum tl_code get_from_file_locked(struct tl_slice name, const struct tl_zone **out,
                                         struct tl_status *st)
{
    char key[TL_ZONE_NAME_MAX + 1] = {0};
    for (size_t i = 0; i < name.size; i++) {
        uint8_t c = name.data[i];
        key[i] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    uint64_t bucket = tl_hash64(key, name.size) % CACHE_BUCKETS;
    for (struct alias *a = cache.aliases[bucket]; a; a = a->next) {
        if (strcmp(a->key, key) == 0) {
            *out = a->zone;
            return TL_OK;
        }
    }
    if (cache.alias_count >= CACHE_ENTRIES_MAX)
        return TL_FAIL(st, TL_LIMIT, "time zone cache holds %d names", CACHE_ENTRIES_MAX);
    struct tl_zone *zone = NULL;
    enum tl_code rc = zone_load(name, &zone, st);
    if (rc)
        return rc;
    struct alias *a = calloc(1, sizeof(*a));
    if (!a) {
        tl__zone_free(zone);
        return TL_FAIL(st, TL_LIMIT, "no memory for time zone %s", key);
    }
    memcpy(a->key, key, sizeof(key));
    a->zone = zone;
    a->next = cache.aliases[bucket];
    cache.aliases[bucket] = a;
    cache.alias_count++;
    *out = zone;
    return TL_OK;
}

/* TL_NOT_FOUND, without a status, when no file has that name. */
static enum tl_code get_from_file(struct tl_slice name, const struct tl_zone **out,
                                  struct tl_status *st)
{
    if (!name_is_safe(name))
        return TL_NOT_FOUND;
    if (tl_text_eq_nocase(name, "UTC")) {
        *out = &utc_zone;
        return TL_OK;
    }
    pthread_mutex_lock(&cache.mutex);
    enum tl_code rc = get_from_file_locked(name, out, st);
    pthread_mutex_unlock(&cache.mutex);
    return rc;
}

static struct tl_zone *fixed_new(int32_t minutes)
{
    struct tl_zone *z = calloc(1, sizeof(*z));
    if (!z)
        return NULL;
    z->types = calloc(1, sizeof(*z->types));
    if (!z->types) {
        tl__zone_free(z);
        return NULL;
    }
    z->type_count = 1;
    z->types[0].offset_s = minutes * 60;
    unsigned size = (unsigned)(minutes < 0 ? -minutes : minutes);
    char east = minutes < 0 ? '-' : '+', west = minutes < 0 ? '+' : '-';
    char text[ABBREVIATION_MAX + 1];
    if (size % 60)
        snprintf(text, sizeof(text), "%02u:%02u", size / 60 % 100, size % 60);
    else
        snprintf(text, sizeof(text), "%02u", size / 60 % 100);
    snprintf(z->types[0].abbreviation, sizeof(z->types[0].abbreviation), "%c%.8s", east, text);
    snprintf(z->name, sizeof(z->name), "<%c%.8s>%c%.8s", east, text, west, text);
    z->content_hash = tl_hash64(z->name, strlen(z->name));
    return z;
}

enum tl_code tl_zone_get_fixed(int32_t offset_s, const struct tl_zone **out, struct tl_status *st)
{
    int32_t minutes = offset_s / 60;
    if (offset_s % 60 != 0 || minutes > FIXED_MINUTES_MAX || minutes < -FIXED_MINUTES_MAX) {
        (void)TL_FAIL(st, TL_INVALID,
                      "a zone %d seconds east is not within 15:59 of UTC in whole minutes",
                      offset_s);
        return tl_status_sql(st, "22023", 0);
    }
    if (minutes == 0) {
        *out = &utc_zone;
        return TL_OK;
    }
    pthread_mutex_lock(&cache.mutex);
    struct tl_zone **place = &cache.fixed[minutes + FIXED_MINUTES_MAX];
    if (!*place)
        *place = fixed_new(minutes);
    struct tl_zone *z = *place;
    pthread_mutex_unlock(&cache.mutex);
    if (!z)
        return TL_FAIL(st, TL_LIMIT, "no memory for a time zone");
    *out = z;
    return TL_OK;
}

/* ---- names ---- */

static const struct tl__zone_abbreviation *find_abbreviation(struct tl_slice name)
{
    char key[sizeof(tl__zone_abbreviations[0].name)] = {0};
    if (name.size == 0 || name.size >= sizeof(key) || memchr(name.data, 0, name.size))
        return NULL;
    for (size_t i = 0; i < name.size; i++) {
        uint8_t c = name.data[i];
        key[i] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    size_t low = 0, high = sizeof(tl__zone_abbreviations) / sizeof(tl__zone_abbreviations[0]);
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(key, tl__zone_abbreviations[middle].name);
        if (order == 0)
            return &tl__zone_abbreviations[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* '+02', '-05:30', 'UTC+3', '<+02>-02': an optional name and an offset WEST. */
static bool posix_offset(struct tl_slice name, int32_t *east_s)
{
    char text[TL_ZONE_NAME_MAX + 1];
    if (name.size == 0 || name.size > TL_ZONE_NAME_MAX || memchr(name.data, 0, name.size))
        return false;
    memcpy(text, name.data, name.size);
    text[name.size] = '\0';
    const char *p = text;
    char abbreviation[ABBREVIATION_MAX + 1];
    int32_t west;
    if ((is_letter(*p) || *p == '<') && !scan_abbreviation(&p, abbreviation))
        return false;
    if (!scan_time(&p, 167, &west) || *p != '\0')
        return false;
    *east_s = -west;
    return true;
}

static enum tl_code get_file_or_posix(struct tl_slice name, const struct tl_zone **out,
                                      struct tl_status *st)
{
    enum tl_code rc = get_from_file(name, out, st);
    if (rc != TL_NOT_FOUND)
        return rc;
    int32_t east_s;
    if (!posix_offset(name, &east_s))
        return unknown_zone(name, st);
    return tl_zone_get_fixed(east_s, out, st);
}

enum tl_code tl_zone_get(struct tl_slice name, const struct tl_zone **out, struct tl_status *st)
{
    const struct tl__zone_abbreviation *a = find_abbreviation(name);
    if (a && a->zone)
        name = tl_slice_str(a->zone);
    else if (a)
        return tl_zone_get_fixed(a->minutes * 60, out, st);
    return get_file_or_posix(name, out, st);
}

enum tl_code tl_zone_get_session(struct tl_slice name, const struct tl_zone **out,
                                 struct tl_status *st)
{
    struct tl_status ignored = TL_STATUS_INIT;
    tl_i128 hours;
    unsigned scale;
    if (tl_parse_decimal_literal(name, &hours, &scale, &ignored) == TL_OK && scale <= 6 &&
        hours < 1000000000 && hours > -1000000000) {
        int64_t unit = (int64_t)tl_pow10_i128(scale);
        int64_t scaled = (int64_t)hours * 3600;
        if (scaled % unit != 0)
            return unknown_zone(name, st);
        int64_t east_s = scaled / unit;
        if (east_s > OFFSET_S_MAX || east_s < -OFFSET_S_MAX)
            return unknown_zone(name, st);
        return tl_zone_get_fixed((int32_t)east_s, out, st);
    }
    return get_file_or_posix(name, out, st);
}

const char *tl_zone_name(const struct tl_zone *z)
{
    return z->name;
}

bool tl_zone_is_fixed(const struct tl_zone *z, int32_t *offset_s)
{
    if (z->count > 0 || z->rule.has_dst)
        return false;
    *offset_s = z->types[z->first].offset_s;
    return true;
}

uint64_t tl_zone_content_hash(const struct tl_zone *z)
{
    return z == &utc_zone ? tl_hash64("UTC", 3) : z->content_hash;
}

/* ---- look-up ---- */

void tl_zone_span_at(const struct tl_zone *z, int64_t utc_us, struct tl_zone_span *out)
{
    /* The number of changes at or before utc_us. */
    uint32_t low = 0, high = z->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (z->at_us[middle] <= utc_us)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == z->count && low > 0 && z->rule.has_dst) {
        int64_t last_us = z->at_us[low - 1];
        rule_span_at(&z->rule, utc_us, out);
        if (out->from_us < last_us)
            out->from_us = last_us;
        return;
    }
    const struct zone_type *t = &z->types[low == 0 ? z->first : z->type_of[low - 1]];
    out->from_us = low == 0 ? INT64_MIN : z->at_us[low - 1];
    out->until_us = low == z->count ? INT64_MAX : z->at_us[low];
    out->offset_s = t->offset_s;
    out->dst = t->dst;
    out->abbreviation = t->abbreviation;
}

int32_t tl_zone_offset_at(const struct tl_zone *z, int64_t utc_us, const char **abbreviation)
{
    struct tl_zone_span span;
    tl_zone_span_at(z, utc_us, &span);
    if (abbreviation)
        *abbreviation = span.abbreviation;
    return span.offset_s;
}

int32_t tl_zone_offset_of_local(const struct tl_zone *z, int64_t local_us)
{
    int32_t fixed;
    if (tl_zone_is_fixed(z, &fixed))
        return fixed;
    /* As PostgreSQL: the first change after the day before decides between the two offsets. */
    if (local_us < TL_TIMESTAMP_MIN_US - TL_US_PER_DAY || local_us > TL_TIMESTAMP_MAX_US) {
        struct tl_zone_span far;
        tl_zone_span_at(z, local_us, &far);
        return far.offset_s;
    }
    struct tl_zone_span before, after;
    tl_zone_span_at(z, local_us - TL_US_PER_DAY, &before);
    int64_t boundary = before.until_us;
    if (boundary > local_us + 2 * TL_US_PER_DAY)
        return before.offset_s;
    tl_zone_span_at(z, boundary, &after);
    int64_t by_before = local_us - before.offset_s * TL_US_PER_SECOND;
    int64_t by_after = local_us - after.offset_s * TL_US_PER_SECOND;
    if (by_before < boundary && by_after < boundary)
        return before.offset_s;
    if (by_before > boundary && by_after >= boundary)
        return after.offset_s;
    /* In a gap the one before, in an overlap the one after. */
    return by_before > by_after ? before.offset_s : after.offset_s;
}

bool tl_zone_is_quarter_hours(const struct tl_zone *z, int64_t from_us, int64_t until_us)
{
    enum { QUARTER_S = 900 };
    int64_t at = from_us;
    while (at < until_us) {
        struct tl_zone_span span;
        tl_zone_span_at(z, at, &span);
        if (span.offset_s % QUARTER_S != 0)
            return false;
        if (z->count > 0 && at >= z->at_us[z->count - 1] && z->rule.has_dst)
            return z->rule.std.offset_s % QUARTER_S == 0 && z->rule.dst.offset_s % QUARTER_S == 0;
        at = span.until_us;
    }
    return true;
}
