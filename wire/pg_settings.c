#include "wire/pg_settings.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/text.h"
#include "base/zone.h"

enum kind { TEXT, SWITCH, NUMBER, DURATION, ZONE, DATE_STYLE, ENCODING, CHOICE, FIXED };

static const struct definition {
    const char *name;
    const char *fallback;
    enum kind kind;
    bool reported;
    const char *choices; /* "|a|b|" */
    const char *help;
} definitions[] = {
    {"application_name", "", TEXT, true, NULL, "What the client calls itself."},
    {"bytea_output", "hex", CHOICE, false, "|hex|escape|", "Taken, without effect."},
    {"client_encoding", "UTF8", ENCODING, true, NULL, "UTF8 is the only one."},
    {"client_min_messages", "notice", CHOICE, false,
     "|debug5|debug4|debug3|debug2|debug1|debug|log|notice|warning|error|",
     "Notices below this level are not sent."},
    {"constraint_exclusion", "partition", TEXT, false, NULL, "Taken, without effect."},
    {"cursor_tuple_fraction", "0.1", TEXT, false, NULL, "Taken, without effect."},
    {"DateStyle", "ISO, MDY", DATE_STYLE, true, NULL, "Times are printed as ISO 8601 has them."},
    {"default_transaction_deferrable", "off", SWITCH, false, NULL, "Taken, without effect."},
    {"default_transaction_isolation", "repeatable read", CHOICE, false,
     "|read uncommitted|read committed|repeatable read|serializable|",
     "Each block sees one snapshot, whatever is set."},
    {"default_transaction_read_only", "off", SWITCH, true, NULL, "Taken, without effect."},
    {"enable_hashjoin", "on", SWITCH, false, NULL, "Taken, without effect."},
    {"enable_mergejoin", "on", SWITCH, false, NULL, "Taken, without effect."},
    {"enable_nestloop", "on", SWITCH, false, NULL, "Taken, without effect."},
    {"enable_seqscan", "on", SWITCH, false, NULL, "Taken, without effect."},
    {"extra_float_digits", "1", NUMBER, false, NULL,
     "Taken; the shortest exact text is always printed."},
    {"geqo", "on", SWITCH, false, NULL, "Taken, without effect."},
    {"idle_in_transaction_session_timeout", "0", DURATION, false, NULL, "Taken, without effect."},
    {"in_hot_standby", "off", FIXED, true, NULL, "Always off."},
    {"integer_datetimes", "on", FIXED, true, NULL, "Always on."},
    {"IntervalStyle", "postgres", CHOICE, true, "|postgres|", "postgres is the only one."},
    {"is_superuser", "off", FIXED, true, NULL, "Whether the user is an operator."},
    {"jit", "off", SWITCH, false, NULL, "Taken, without effect."},
    {"lc_collate", "C", FIXED, false, NULL, "Texts are ordered by their bytes."},
    {"lc_ctype", "C", FIXED, false, NULL, "Always C."},
    {"lc_messages", "C", TEXT, false, NULL, "Taken, without effect."},
    {"lc_monetary", "C", TEXT, false, NULL, "Taken, without effect."},
    {"lc_numeric", "C", TEXT, false, NULL, "Taken, without effect."},
    {"lc_time", "C", TEXT, false, NULL, "Taken, without effect."},
    {"lock_timeout", "0", DURATION, false, NULL, "Taken, without effect: nothing is locked."},
    {"max_identifier_length", "63", FIXED, false, NULL, "Bytes of a name."},
    {"max_index_keys", "32", FIXED, false, NULL, "Always 32."},
    {"role", "none", CHOICE, false, "|none|", "Always none."},
    {"row_security", "on", SWITCH, false, NULL, "Taken, without effect."},
    {"search_path", "\"$user\", public", TEXT, false, NULL, "Taken, without effect."},
    {"server_encoding", "UTF8", FIXED, true, NULL, "Always UTF8."},
    {"server_version", "15.0 (Tally " TALLY_VERSION ")", FIXED, true, NULL,
     "The PostgreSQL whose behaviour is followed."},
    {"server_version_num", "150000", FIXED, false, NULL, "The same as a number."},
    {"session_authorization", "tally", FIXED, true, NULL, "The user's name."},
    {"standard_conforming_strings", "on", CHOICE, true, "|on|true|1|",
     "A backslash in '…' is a backslash."},
    {"statement_timeout", "0", DURATION, false, NULL,
     "A statement's longest time; 0: the server's default."},
    {"synchronous_commit", "on", TEXT, false, NULL, "Taken; commits are always durable."},
    {"TimeZone", "UTC", ZONE, true, NULL, "The zone of TIMESTAMPTZ in texts and calendars."},
    {"transaction_isolation", "repeatable read", CHOICE, false,
     "|read uncommitted|read committed|repeatable read|serializable|",
     "Each block sees one snapshot, whatever is set."},
    {"transaction_read_only", "off", SWITCH, false, NULL, "Taken, without effect."},
    {"work_mem", "4MB", TEXT, false, NULL, "Taken, without effect."},
};
enum { DEFINITIONS = sizeof(definitions) / sizeof(definitions[0]) };
_Static_assert((int)DEFINITIONS <= (int)TL_PG_SETTINGS_COUNT, "a place for each");

static int find(const char *name)
{
    if (tl_text_eq_nocase(tl_slice_str(name), "timezone"))
        name = "TimeZone";
    for (int i = 0; i < DEFINITIONS; i++) {
        if (tl_text_eq_nocase(tl_slice_str(name), definitions[i].name))
            return i;
    }
    return -1;
}

static const char *start_of(const struct tl_pg_settings *s, int i)
{
    return s->settings[i].start ? s->settings[i].start : definitions[i].fallback;
}

static const char *value_of(const struct tl_pg_settings *s, int i)
{
    return s->settings[i].value ? s->settings[i].value : start_of(s, i);
}

void tl_pg_settings_init(struct tl_pg_settings *s)
{
    *s = (struct tl_pg_settings){.meaning = 1};
}

void tl_pg_settings_deinit(struct tl_pg_settings *s)
{
    for (int i = 0; i < DEFINITIONS; i++) {
        free(s->settings[i].value);
        free(s->settings[i].start);
        free(s->settings[i].before);
        free(s->settings[i].after);
    }
}

/* ---- values ---- */

static enum tl_code bad_value(const struct definition *d, const char *value, struct tl_status *st)
{
    TL_FAIL(st, TL_INVALID, "invalid value for parameter \"%s\": \"%.80s\"", d->name, value);
    return tl_status_sql(st, "22023", 0);
}

static bool parse_duration(const char *text, uint64_t *out)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"", 1}, {"ms", 1}, {"s", 1000}, {"min", 60000}, {"h", 3600000}, {"d", 86400000}};
    char *end = NULL;
    while (*text == ' ')
        text++;
    if (!isdigit((unsigned char)*text))
        return false;
    unsigned long long n = strtoull(text, &end, 10);
    while (*end == ' ')
        end++;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].unit) == 0)
            return !__builtin_mul_overflow((uint64_t)n, units[i].ms, out) && *out <= INT32_MAX;
    }
    return false;
}

/* "ISO", "ISO, MDY", "dmy": the order of fields is kept as it was said. */
static bool date_style(const char *value, const char *now, char *out, size_t size)
{
    const char *order = strchr(now, ',') ? strchr(now, ',') + 2 : "MDY";
    char copy[64], *save = NULL;
    if (strlen(value) >= sizeof(copy))
        return false;
    snprintf(copy, sizeof(copy), "%s", value);
    for (char *w = strtok_r(copy, ", ", &save); w; w = strtok_r(NULL, ", ", &save)) {
        struct tl_slice word = tl_slice_str(w);
        if (tl_text_eq_nocase(word, "iso") || tl_text_eq_nocase(word, "default"))
            continue;
        if (tl_text_eq_nocase(word, "mdy") || tl_text_eq_nocase(word, "us") ||
            tl_text_eq_nocase(word, "noneuropean"))
            order = "MDY";
        else if (tl_text_eq_nocase(word, "dmy") || tl_text_eq_nocase(word, "european"))
            order = "DMY";
        else if (tl_text_eq_nocase(word, "ymd"))
            order = "YMD";
        else
            return false;
    }
    snprintf(out, size, "ISO, %s", order);
    return true;
}

static bool encoding_is_utf8(const char *value)
{
    char name[16];
    size_t n = 0;
    for (; *value && n + 1 < sizeof(name); value++) {
        if (isalnum((unsigned char)*value))
            name[n++] = (char)tolower((unsigned char)*value);
    }
    name[n] = '\0';
    return strcmp(name, "utf8") == 0 || strcmp(name, "unicode") == 0 ||
           strcmp(name, "sqlascii") == 0;
}

/* Brings a value into the form that SHOW gives; `out` has TL_PG_SETTING_BYTES_MAX. */
static enum tl_code canonical(const struct definition *d, const char *now, const char *value,
                              char *out, struct tl_status *st)
{
    enum { SIZE = TL_PG_SETTING_BYTES_MAX };
    bool on = false;
    uint64_t ms = 0;
    int64_t number = 0;
    struct tl_status ignored = TL_STATUS_INIT;
    if (strlen(value) >= SIZE || !tl_utf8_valid(tl_slice_str(value), false))
        return bad_value(d, "(too long or not UTF-8)", st);
    snprintf(out, SIZE, "%s", value);
    switch (d->kind) {
    case SWITCH:
        if (tl_parse_bool(tl_slice_str(value), &on, &ignored))
            return bad_value(d, value, st);
        snprintf(out, SIZE, "%s", on ? "on" : "off");
        break;
    case NUMBER:
        if (tl_parse_int64(tl_slice_str(value), &number, &ignored) || number < -15 || number > 3)
            return bad_value(d, value, st);
        break;
    case DURATION:
        if (!parse_duration(value, &ms))
            return bad_value(d, value, st);
        snprintf(out, SIZE,
                 ms == 0     ? "0"
                 : ms % 1000 ? "%llums"
                             : "%llus",
                 (unsigned long long)(ms % 1000 ? ms : ms / 1000));
        break;
    case ZONE: {
        const struct tl_zone *zone = NULL;
        if (tl_text_eq_nocase(tl_slice_str(value), "default") ||
            tl_text_eq_nocase(tl_slice_str(value), "local"))
            value = "UTC";
        if (tl_zone_get_session(tl_slice_str(value), &zone, &ignored))
            return bad_value(d, value, st);
        snprintf(out, SIZE, "%s", tl_zone_name(zone));
        break;
    }
    case DATE_STYLE:
        if (!date_style(value, now, out, SIZE)) {
            TL_FAIL(st, TL_UNSUPPORTED, "DateStyle \"%.40s\" is not supported: times are ISO",
                    value);
            return tl_status_sql(st, "0A000", 0);
        }
        break;
    case ENCODING:
        if (!encoding_is_utf8(value)) {
            TL_FAIL(st, TL_UNSUPPORTED, "client_encoding \"%.40s\" is not supported: use UTF8",
                    value);
            return tl_status_sql(st, "0A000", 0);
        }
        snprintf(out, SIZE, "UTF8");
        break;
    case CHOICE: {
        char wanted[80];
        for (char *p = out; *p; p++)
            *p = (char)tolower((unsigned char)*p);
        snprintf(wanted, sizeof(wanted), "|%.70s|", out);
        if (!strstr(d->choices, wanted))
            return bad_value(d, value, st);
        if (strcmp(d->choices, "|on|true|1|") == 0)
            snprintf(out, SIZE, "on");
        break;
    }
    default:
        break;
    }
    return TL_OK;
}

/* ---- changes ---- */

static void changed(struct tl_pg_settings *s, int i)
{
    const struct definition *d = &definitions[i];
    if (d->kind == ZONE)
        s->meaning++;
    if (strcmp(d->name, "statement_timeout") == 0 &&
        !parse_duration(value_of(s, i), &s->timeout_ms))
        s->timeout_ms = 0;
    if (d->reported && s->report)
        s->report(s->arg, d->name, value_of(s, i));
}

static bool replace(char **at, const char *value)
{
    char *copy = value ? strdup(value) : NULL;
    if (value && !copy)
        return false;
    free(*at);
    *at = copy;
    return true;
}

enum tl_code tl_pg_settings_set(struct tl_pg_settings *s, const char *name, const char *value,
                                enum tl_pg_set_how how, struct tl_status *st)
{
    int i = find(name);
    if (i < 0) {
        TL_FAIL(st, TL_NOT_FOUND, "unrecognized configuration parameter \"%.80s\"", name);
        return tl_status_sql(st, "42704", 0);
    }
    const struct definition *d = &definitions[i];
    struct tl_pg_setting *e = &s->settings[i];
    char text[TL_PG_SETTING_BYTES_MAX];
    if (d->kind == FIXED && how != TL_PG_SET_START) {
        TL_FAIL(st, TL_INVALID, "parameter \"%s\" cannot be changed", d->name);
        return tl_status_sql(st, "55P02", 0);
    }
    if (!value)
        value = start_of(s, i);
    if (canonical(d, value_of(s, i), value, text, st))
        return st->code;
    bool ok = true;
    bool same = strcmp(text, value_of(s, i)) == 0;
    if (how == TL_PG_SET_START) {
        ok = replace(&e->start, text);
    } else {
        bool block = how != TL_PG_SET_SESSION;
        if (block && !e->before)
            ok = replace(&e->before, value_of(s, i));
        if (how == TL_PG_SET_LOCAL) {
            if (!e->after)
                ok = ok && replace(&e->after, value_of(s, i));
        } else {
            ok = ok && replace(&e->after, NULL);
        }
        ok = ok && replace(&e->value, text);
    }
    if (!ok)
        return TL_FAIL(st, TL_LIMIT, "no memory for a parameter");
    if (!same)
        changed(s, i);
    return TL_OK;
}

void tl_pg_settings_reset_all(struct tl_pg_settings *s, bool in_block)
{
    struct tl_status ignored = TL_STATUS_INIT;
    for (int i = 0; i < DEFINITIONS; i++) {
        if (definitions[i].kind != FIXED)
            TL_IGNORE(tl_pg_settings_set(s, definitions[i].name, NULL,
                                         in_block ? TL_PG_SET_IN_BLOCK : TL_PG_SET_SESSION,
                                         &ignored));
    }
}

void tl_pg_settings_end(struct tl_pg_settings *s, bool commit)
{
    for (int i = 0; i < DEFINITIONS; i++) {
        struct tl_pg_setting *e = &s->settings[i];
        char *to = commit ? e->after : e->before;
        if (to) {
            bool same = strcmp(to, value_of(s, i)) == 0;
            *(commit ? &e->after : &e->before) = NULL;
            free(e->value);
            e->value = to;
            if (!same)
                changed(s, i);
        }
        free(e->before);
        free(e->after);
        e->before = e->after = NULL;
    }
}

enum tl_code tl_pg_settings_show(const struct tl_pg_settings *s, const char *name,
                                 const char **canonical_name, const char **value,
                                 struct tl_status *st)
{
    int i = find(name);
    if (i < 0) {
        TL_FAIL(st, TL_NOT_FOUND, "unrecognized configuration parameter \"%.80s\"", name);
        return tl_status_sql(st, "42704", 0);
    }
    *canonical_name = definitions[i].name;
    *value = value_of(s, i);
    return TL_OK;
}

const char *tl_pg_settings_get(const struct tl_pg_settings *s, const char *name)
{
    int i = find(name);
    tl_assert(i >= 0);
    return value_of(s, i);
}

bool tl_pg_settings_at(const struct tl_pg_settings *s, size_t index, const char **name,
                       const char **value, const char **help)
{
    if (index >= DEFINITIONS)
        return false;
    *name = definitions[index].name;
    *value = value_of(s, (int)index);
    *help = definitions[index].help;
    return true;
}

void tl_pg_settings_report_all(const struct tl_pg_settings *s)
{
    for (int i = 0; i < DEFINITIONS; i++) {
        if (definitions[i].reported && s->report)
            s->report(s->arg, definitions[i].name, value_of(s, i));
    }
}
