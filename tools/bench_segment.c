/*
 * tools/bench_segment.c: what packs cost: writing, merging, scanning, and looking one merchant up.
 *
 * Usage: bench_segment DIR [events [merchants [rows of a flush]]]
 *
 * Events of the generator are kept as a memtable would keep them (dictionary codes), flushed into
 * packs of 8 shards each, merged per shard into one partition, and read back. Figures are CPU
 * seconds of this process, one thread; DIR must exist and is left with the packs in it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "base/hash.h"
#include "storage/cache.h"
#include "storage/io.h"
#include "storage/merge.h"
#include "storage/segment.h"
#include "tools/generator.h"

enum { SHARDS = 8, COLUMNS_MAX = 40, FLUSHES_MAX = 64 };

static struct tl_status st;

static void check(enum tl_code rc)
{
    if (rc) {
        fprintf(stderr, "%s\n", st.text);
        exit(1);
    }
}

static double clock_s(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
static double cpu_s(void)
{
    return clock_s(CLOCK_PROCESS_CPUTIME_ID);
}
static double wall_s(void)
{
    return clock_s(CLOCK_MONOTONIC);
}

/* ---- a memtable of the simplest kind ---- */

struct column {
    char name[32];
    struct tl_type type;
    int64_t *values; /* or codes */
    bool *valid;
    struct tl_slice *strings;
    uint32_t count, capacity;
    uint32_t *slots;
    uint32_t slot_count;
    uint64_t dict_id;
};
static struct column columns[COLUMNS_MAX];
static uint32_t column_count, rows, rows_max;
static struct tl_arena text;

static uint32_t intern(struct column *c, struct tl_slice s)
{
    if ((c->count + 1) * 2 > c->slot_count) {
        free(c->slots);
        c->slot_count = c->slot_count ? c->slot_count * 2 : 1024;
        c->slots = calloc(c->slot_count, sizeof(*c->slots));
        for (uint32_t i = 0; i < c->count; i++) {
            uint32_t at = (uint32_t)tl_hash64(c->strings[i].data, c->strings[i].size);
            while (c->slots[at & (c->slot_count - 1)])
                at++;
            c->slots[at & (c->slot_count - 1)] = i + 1;
        }
    }
    uint32_t at = (uint32_t)tl_hash64(s.data, s.size), mask = c->slot_count - 1;
    for (; c->slots[at & mask]; at++)
        if (tl_slice_eq(c->strings[c->slots[at & mask] - 1], s))
            return c->slots[at & mask] - 1;
    if (c->count == c->capacity) {
        c->capacity = c->capacity ? c->capacity * 2 : 1024;
        c->strings = realloc(c->strings, c->capacity * sizeof(*c->strings));
    }
    c->strings[c->count] = tl_slice_of(tl_arena_copy(&text, s.data, s.size, &st), s.size);
    c->slots[at & mask] = c->count + 1;
    return c->count++;
}

static void memtable_clear(void)
{
    rows = 0;
    tl_arena_reset(&text);
    for (uint32_t i = 0; i < column_count; i++) {
        struct column *c = &columns[i];
        c->count = 0;
        if (c->slots)
            memset(c->slots, 0, c->slot_count * sizeof(*c->slots));
        c->dict_id = tl_dict_new_id();
    }
}

static int64_t parse_int(const char *s)
{
    return strtoll(s, NULL, 10);
}

static int64_t parse_time(const char *s)
{
    int y, mo, d, h, mi, se, ms = 0;
    if (sscanf(s, "%d-%d-%dT%d:%d:%d.%d", &y, &mo, &d, &h, &mi, &se, &ms) < 6)
        exit(2);
    struct tm tm = {.tm_year = y - 1900,
                    .tm_mon = mo - 1,
                    .tm_mday = d,
                    .tm_hour = h,
                    .tm_min = mi,
                    .tm_sec = se};
    return ((int64_t)timegm(&tm) * 1000 + ms) * 1000;
}

static void put_field(struct column *c, const char *s, size_t size, bool quoted)
{
    char field[64];
    c->valid[rows] = size > 0 || quoted;
    c->values[rows] = 0;
    if (!c->valid[rows])
        return;
    if (c->type.kind == TL_TEXT) {
        c->values[rows] = intern(c, tl_slice_of(s, size));
        return;
    }
    size = size < 63 ? size : 63;
    memcpy(field, s, size);
    field[size] = '\0';
    if (c->type.kind == TL_TIMESTAMPTZ)
        c->values[rows] = parse_time(field);
    else if (c->type.kind == TL_BOOLEAN)
        c->values[rows] = field[0] == 't';
    else if (c->type.kind == TL_DECIMAL64)
        c->values[rows] = (int64_t)(strtod(field, NULL) * 10000 + 0.5);
    else
        c->values[rows] = parse_int(field);
}

static const char *put_row(const char *s)
{
    for (uint32_t i = 0; i < column_count; i++) {
        bool quoted = *s == '"';
        const char *begin = s + quoted;
        s = begin;
        if (quoted)
            while (*s != '"' || s[1] == '"') /* doubled quotes stay doubled: only lengths matter */
                s += *s == '"' ? 2 : 1;
        else
            s += strcspn(s, ",\n");
        put_field(&columns[i], begin, (size_t)(s - begin), quoted);
        s += quoted + 1;
    }
    rows++;
    return s;
}

static void make_columns(void)
{
    static const struct {
        const char *name;
        struct tl_type type;
    } typed[] = {{"merchant_id", {TL_BIGINT, 0}}, {"ts", {TL_TIMESTAMPTZ, 0}},
                 {"status", {TL_BIGINT, 0}},      {"bytes", {TL_BIGINT, 0}},
                 {"duration_ms", {TL_BIGINT, 0}}, {"revenue", {TL_DECIMAL64, 4}},
                 {"is_bot", {TL_BOOLEAN, 0}}};
    struct tl_buffer header;
    tl_buffer_init(&header, "header", 1 << 16);
    tl_generator_csv_header(&header);
    tl_buffer_put_u8(&header, 0);
    for (char *s = (char *)header.data; *s;) {
        struct column *c = &columns[column_count++];
        size_t size = strcspn(s, ",\n");
        s[size] = '\0';
        snprintf(c->name, sizeof(c->name), "%s", s);
        c->type = tl_type_of(TL_TEXT);
        for (size_t k = 0; k < sizeof(typed) / sizeof(typed[0]); k++)
            if (strcmp(typed[k].name, s) == 0)
                c->type = typed[k].type;
        c->values = malloc(rows_max * sizeof(int64_t));
        c->valid = malloc(rows_max);
        s += size + 1;
    }
    tl_buffer_deinit(&header);
}

/* ---- flushing ---- */

static int row_cmp(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    const int64_t *m = columns[0].values, *t = columns[1].values;
    uint32_t sx = (uint32_t)(tl_hash_u64((uint64_t)m[x]) >> 61);
    uint32_t sy = (uint32_t)(tl_hash_u64((uint64_t)m[y]) >> 61);
    if (sx != sy)
        return sx < sy ? -1 : 1;
    if (m[x] != m[y])
        return m[x] < m[y] ? -1 : 1;
    if (t[x] != t[y])
        return t[x] < t[y] ? -1 : 1;
    return (x > y) - (x < y);
}

static double gather_s;

static void append_rows(struct tl_pack_writer *w, const struct column *c, const uint32_t *order,
                        uint32_t n)
{
    double begin = cpu_s();
    static uint64_t data[TL_VECTOR_ROWS_MAX];
    uint64_t validity[TL_VECTOR_ROWS_MAX / 64] = {0};
    struct tl_dict dict = {.id = c->dict_id, .count = c->count, .values = c->strings};
    struct tl_vector v = {.type = c->type, .count = n, .data = data};
    uint32_t valid = 0;
    uint32_t width = tl_kind_width(c->type.kind);
    for (uint32_t i = 0; i < n; i++) {
        valid += c->valid[order[i]];
        if (c->valid[order[i]])
            tl_bit_set(validity, i);
    }
    if (valid < n)
        v.validity = validity;
    if (c->type.kind == TL_TEXT) {
        v.shape = TL_DICT;
        v.codes = (const uint32_t *)(const void *)data;
        v.dict = &dict;
        for (uint32_t i = 0; i < n; i++)
            ((uint32_t *)(void *)data)[i] = (uint32_t)c->values[order[i]];
    } else if (width == 1) {
        for (uint32_t i = 0; i < n; i++)
            ((uint8_t *)data)[i] = (uint8_t)c->values[order[i]];
    } else {
        for (uint32_t i = 0; i < n; i++)
            data[i] = (uint64_t)c->values[order[i]];
    }
    gather_s += cpu_s() - begin;
    check(tl_pack_column_append(w, &v, &st));
}

static double flush(struct tl_io *io, uint32_t number, uint64_t *bytes)
{
    uint32_t *order = malloc(rows * sizeof(*order));
    for (uint32_t i = 0; i < rows; i++)
        order[i] = i;
    qsort(order, rows, sizeof(*order), row_cmp);
    double begin = cpu_s();
    struct tl_pack_id id = {.number = number, .shard = TL_PACK_SHARD_ALL, .kind = TL_PACK_SEAL};
    struct tl_pack_options options = TL_PACK_OPTIONS_HOT;
    struct tl_pack_writer *w;
    check(tl_pack_create(io, &id, &options, &w, &st));
    for (uint32_t lo = 0, hi = 0; lo < rows; lo = hi) {
        uint32_t shard = (uint32_t)(tl_hash_u64((uint64_t)columns[0].values[order[lo]]) >> 61);
        while (hi < rows && tl_hash_u64((uint64_t)columns[0].values[order[hi]]) >> 61 == shard)
            hi++;
        struct tl_segment_meta meta = {
            .table = 1, .shard = shard, .start_us = INT64_MIN, .end_us = INT64_MAX};
        check(tl_pack_segment_begin(w, &meta, hi - lo, &st));
        for (uint32_t c = 0; c < column_count; c++) {
            check(tl_pack_column_begin(w, c + 1, columns[c].type, &st));
            for (uint32_t at = lo; at < hi; at += TL_VECTOR_ROWS_MAX)
                append_rows(w, &columns[c], order + at,
                            hi - at < TL_VECTOR_ROWS_MAX ? hi - at : TL_VECTOR_ROWS_MAX);
            check(tl_pack_column_end(w, &st));
        }
        check(tl_pack_segment_end(w, &st));
    }
    struct tl_pack_info info;
    check(tl_pack_finish(w, &info, &st));
    *bytes += info.size;
    tl_pack_info_deinit(&info);
    free(order);
    return cpu_s() - begin;
}

/* ---- reading ---- */

static void print_columns(struct tl_pack **packs, uint64_t events)
{
    struct tl_column_inspect total[COLUMNS_MAX] = {0};
    uint64_t index = 0, merchants = 0, resident = 0, entries = 0;
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct tl_segment *s;
        struct tl_segment_inspect x;
        struct tl_column_inspect c[COLUMNS_MAX];
        if (!packs[i])
            continue;
        check(tl_pack_segment(packs[i], 0, &s, &st));
        check(tl_segment_inspect(s, &x, c, &st));
        index += x.index_bytes;
        merchants += x.merchant_bytes;
        resident += x.resident_bytes;
        entries += tl_segment_info(s)->merchants;
        for (uint32_t k = 0; k < column_count; k++) {
            total[k].block_bytes += c[k].block_bytes;
            total[k].validity_bytes += c[k].validity_bytes;
            total[k].map_bytes += c[k].map_bytes;
            total[k].parent_id = c[k].parent_id;
            total[k].page_bytes += c[k].page_bytes;
            total[k].string_bytes += c[k].string_bytes;
            total[k].index_bytes += c[k].index_bytes;
            total[k].distinct += c[k].distinct;
            total[k].constant_blocks += c[k].constant_blocks;
            for (int e = 0; e < TL_INSPECT_ENCODINGS; e++)
                total[k].encodings[e] += c[k].encodings[e];
        }
    }
    printf("\n%-16s %8s %8s %8s %8s %8s %9s  encodings of blocks\n", "bytes per event", "blocks",
           "of these", "maps", "pages", "index", "distinct");
    printf("%-16s %8s %8s\n", "", "", "validity");
    double all = 0;
    for (uint32_t k = 0; k < column_count; k++) {
        double e = (double)events;
        printf("%-16s %8.3f %8.3f %8.3f %8.3f %8.3f %9u ", columns[k].name,
               (double)total[k].block_bytes / e, (double)total[k].validity_bytes / e,
               (double)total[k].map_bytes / e, (double)total[k].page_bytes / e,
               (double)total[k].index_bytes / e, total[k].distinct);
        all += (double)(total[k].block_bytes + total[k].map_bytes + total[k].page_bytes) / e;
        if (total[k].parent_id)
            printf(" by %s:", columns[total[k].parent_id - 1].name);
        if (total[k].constant_blocks)
            printf(" same:%u", total[k].constant_blocks);
        for (uint32_t n = 0; n < TL_INSPECT_ENCODINGS; n++)
            if (total[k].encodings[n])
                printf(" %s:%u", tl_inspect_encoding_name(n), total[k].encodings[n]);
        printf("\n");
    }
    printf("columns %.2f, indexes %.3f, merchant pages %.3f bytes per event\n", all,
           (double)index / (double)events, (double)merchants / (double)events);
    printf("merchant pages %.2f bytes per merchant; resident %.3f bytes per event\n\n",
           (double)merchants / (double)entries, (double)resident / (double)events);
}

static void scan(struct tl_pack **packs, const char *name, struct tl_arena *arena)
{
    uint32_t k = 0;
    while (k < column_count && strcmp(columns[k].name, name) != 0)
        k++;
    for (int round = 0; round < 3; round++) {
        double begin = cpu_s();
        uint64_t n = 0, sum = 0;
        for (uint32_t i = 0; i < SHARDS; i++) {
            struct tl_segment *s;
            struct tl_cursor cur;
            if (!packs[i])
                continue;
            check(tl_pack_segment(packs[i], 0, &s, &st));
            const struct tl_column *c = tl_segment_column(s, k + 1);
            check(tl_cursor_init(&cur, c, NULL, arena, NULL, &st));
            for (uint32_t row = 0; row < c->rows; row += TL_VECTOR_ROWS_MAX) {
                struct tl_vector v;
                uint32_t left = c->rows - row;
                check(tl_cursor_read(&cur, row,
                                     row + (left < TL_VECTOR_ROWS_MAX ? left : TL_VECTOR_ROWS_MAX),
                                     NULL, &v, &st));
                n += v.count;
                sum += v.codes ? v.codes[0] : *(const uint8_t *)v.data;
            }
            tl_cursor_close(&cur);
        }
        double t = cpu_s() - begin;
        if (round == 2)
            printf("scan %-12s %8.1f M rows/s (%llu)\n", name, (double)n / t / 1e6,
                   (unsigned long long)sum);
    }
}

static void look_up(struct tl_pack **packs, struct tl_arena *arena)
{
    static const uint32_t ids[] = {2, 3, 7, 4, 30};
    enum { N = sizeof(ids) / sizeof(ids[0]), ROUNDS = 2000 };
    struct tl_segment *s = NULL;
    for (uint32_t i = 0; i < SHARDS && !s; i++)
        if (packs[i])
            check(tl_pack_segment(packs[i], 0, &s, &st));
    uint32_t merchants = tl_segment_info(s)->merchants;
    int64_t *list = malloc(merchants * sizeof(*list));
    uint32_t *first = malloc((merchants + 1) * sizeof(*first));
    check(tl_segment_merchants(s, 0, merchants, list, first, &st));
    double begin = wall_s();
    uint64_t sum = 0;
    for (uint32_t i = 0; i < merchants; i++) {
        uint32_t lo, hi;
        check(tl_segment_find_merchant(s, list[(uint64_t)i * 7919 % merchants], &lo, &hi, &st));
        sum += hi - lo;
    }
    printf("find_merchant %.0f ns (%u merchants, %llu rows)\n",
           (wall_s() - begin) / merchants * 1e9, merchants, (unsigned long long)sum);

    double slices = 0;
    uint32_t done = 0;
    for (uint32_t r = 0; r < ROUNDS; r++) {
        uint32_t i = (uint32_t)((uint64_t)r * 104729 % merchants), lo, hi;
        if (first[i + 1] - first[i] > 40)
            continue;
        struct tl_cursor cur[N];
        struct tl_vector v;
        begin = wall_s();
        check(tl_segment_find_merchant(s, list[i], &lo, &hi, &st));
        for (int k = 0; k < N; k++) {
            check(tl_cursor_init(&cur[k], tl_segment_column(s, ids[k]), NULL, arena, NULL, &st));
            check(tl_cursor_read(&cur[k], lo, hi, NULL, &v, &st));
            tl_cursor_close(&cur[k]);
        }
        slices += wall_s() - begin;
        tl_arena_reset(arena);
        done++;
    }
    printf("tiny merchant, %d columns, from the cache: %.2f us (%u merchants)\n", N,
           slices / done * 1e6, done);
    free(list);
    free(first);
}

/* One segment of 100,000 merchants with three rows each: what its merchant index costs. */
static void merchant_index(struct tl_io *io)
{
    enum { MERCHANTS = 100000, ROWS = 3 * MERCHANTS, ROUNDS = 10 };
    struct tl_pack_id id = {.number = 1u << 20, .table = 1, .kind = TL_PACK_MERGE};
    struct tl_pack_options options = TL_PACK_OPTIONS_COLD;
    struct tl_segment_meta meta = {.table = 1, .start_us = INT64_MIN, .end_us = INT64_MAX};
    struct tl_pack_writer *w;
    struct tl_pack_info info;
    struct tl_pack *p;
    struct tl_cache *cache;
    struct tl_segment *s;
    struct tl_segment_inspect x;
    struct tl_column_inspect c[2];
    static int64_t values[TL_VECTOR_ROWS_MAX];
    check(tl_pack_create(io, &id, &options, &w, &st));
    check(tl_pack_segment_begin(w, &meta, ROWS, &st));
    for (uint32_t k = 1; k <= 2; k++) {
        struct tl_type type = tl_type_of(k == 1 ? TL_BIGINT : TL_TIMESTAMPTZ);
        check(tl_pack_column_begin(w, k, type, &st));
        for (uint32_t lo = 0, n; lo < ROWS; lo += n) {
            n = ROWS - lo < TL_VECTOR_ROWS_MAX ? ROWS - lo : TL_VECTOR_ROWS_MAX;
            for (uint32_t i = 0; i < n; i++) {
                uint32_t m = (lo + i) / 3; /* ids with gaps of 1 to 15, as a shard's have */
                values[i] = k == 1 ? (int64_t)m * 8 + (int64_t)(tl_hash_u64(m) & 7) : lo + i;
            }
            struct tl_vector v = {.type = type, .count = n, .data = values};
            check(tl_pack_column_append(w, &v, &st));
        }
        check(tl_pack_column_end(w, &st));
    }
    check(tl_pack_segment_end(w, &st));
    check(tl_pack_finish(w, &info, &st));
    tl_pack_info_deinit(&info);
    check(tl_cache_new((size_t)1 << 28, &cache, &st));
    check(tl_pack_open(io, &id, cache, &p, &st));
    check(tl_pack_segment(p, 0, &s, &st));
    check(tl_segment_inspect(s, &x, c, &st));
    uint64_t sum = 0;
    double begin = 0;
    for (int round = 0; round < ROUNDS; round++) {
        if (round == 1)
            begin = cpu_s(); /* the pages are cached by now */
        for (uint32_t i = 0; i < MERCHANTS; i++) {
            uint32_t m = (uint32_t)((uint64_t)i * 7919 % MERCHANTS), lo, hi;
            check(tl_segment_find_merchant(s, (int64_t)m * 8 + (int64_t)(tl_hash_u64(m) & 7), &lo,
                                           &hi, &st));
            sum += hi - lo;
        }
    }
    printf("\n%d merchants in one segment: find_merchant %.0f ns; per merchant %.2f bytes on disk, "
           "%.2f resident (%llu rows)\n",
           MERCHANTS, (cpu_s() - begin) / (ROUNDS - 1) / MERCHANTS * 1e9,
           (double)x.merchant_bytes / MERCHANTS, (double)x.merchant_resident_bytes / MERCHANTS,
           (unsigned long long)sum);
    tl_pack_unref(p);
    tl_cache_free(cache);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: bench_segment DIR [events [merchants [rows of a flush]]]\n");
        return 2;
    }
    uint64_t events = argc > 2 ? strtoull(argv[2], NULL, 10) : 2000000;
    struct tl_generator_options options = {
        .seed = 1,
        .merchants = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 100000,
        .events = events,
        .from_us = 1700006400000000,
        .days = 30,
        .batch_rows = 10000};
    uint32_t flush_rows = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 1000000;
    rows_max = flush_rows + 10000;
    tl_arena_init(&text, NULL, 1 << 20);
    make_columns();
    memtable_clear();

    struct tl_io *io;
    struct tl_generator *g;
    struct tl_buffer csv;
    check(tl_io_open_posix(argv[1], &io, &st));
    check(tl_io_ensure_dir(io, TL_PACK_DIR, &st));
    check(tl_generator_new(&options, &g, &st));
    tl_buffer_init(&csv, "csv", 64 << 20);
    uint32_t flushes = 0, n;
    uint64_t flushed_bytes = 0;
    double flush_s = 0;
    do {
        tl_buffer_clear(&csv);
        check(tl_generator_text(g, TL_GENERATOR_CSV, &csv, &n, &st));
        tl_buffer_put_u8(&csv, 0);
        const char *s = (const char *)csv.data;
        for (uint32_t i = 0; i < n; i++)
            s = put_row(s);
        if ((n == 0 && rows > 0) || rows >= flush_rows) {
            flush_s += flush(io, ++flushes, &flushed_bytes);
            memtable_clear();
        }
    } while (n > 0 && flushes < FLUSHES_MAX);
    double millions = (double)events / 1e6;
    printf("flush: %.3f CPU s per million events and %.3f to gather the rows, %.2f bytes per "
           "event, %u packs\n",
           (flush_s - gather_s) / millions, gather_s / millions,
           (double)flushed_bytes / (double)events, flushes);

    struct tl_pack *sealed[FLUSHES_MAX], *merged[SHARDS] = {0};
    for (uint32_t i = 0; i < flushes; i++) {
        struct tl_pack_id id = {.number = i + 1, .shard = TL_PACK_SHARD_ALL, .kind = TL_PACK_SEAL};
        check(tl_pack_open(io, &id, NULL, &sealed[i], &st));
    }
    struct tl_cache *cache;
    check(tl_cache_new((size_t)1 << 30, &cache, &st));
    double begin = cpu_s();
    uint64_t merged_bytes = 0;
    for (uint32_t shard = 0; shard < SHARDS; shard++) {
        struct tl_merge_input inputs[FLUSHES_MAX];
        uint32_t count = 0;
        for (uint32_t i = 0; i < flushes; i++)
            for (uint32_t k = 0; k < tl_pack_segment_count(sealed[i]); k++)
                if (tl_pack_segment_info(sealed[i], k)->meta.shard == shard) {
                    inputs[count] = (struct tl_merge_input){0};
                    check(tl_pack_segment(sealed[i], k, &inputs[count++].segment, &st));
                }
        struct tl_pack_id id = {.number = 1, .table = 1, .shard = shard, .kind = TL_PACK_MERGE};
        struct tl_segment_meta month = {
            .table = 1, .shard = shard, .level = 1, .start_us = INT64_MIN, .end_us = INT64_MAX};
        struct tl_merge_options how = {.pack = TL_PACK_OPTIONS_COLD};
        struct tl_pack_info info;
        check(tl_merge(io, &id, inputs, count, &month, 1, &how, &info, &st));
        merged_bytes += info.size;
        if (info.segment_count > 0)
            check(tl_pack_open(io, &id, cache, &merged[shard], &st));
        tl_pack_info_deinit(&info);
    }
    printf("merge: %.3f CPU s per million events, %.2f bytes per event\n",
           (cpu_s() - begin) / millions, (double)merged_bytes / (double)events);
    print_columns(merged, events);

    struct tl_arena arena;
    tl_arena_init(&arena, NULL, 1 << 20);
    scan(merged, "event_name", &arena);
    scan(merged, "country", &arena);
    scan(merged, "path", &arena);
    scan(merged, "visitor_id", &arena);
    scan(merged, "ts", &arena);
    scan(merged, "duration_ms", &arena);
    scan(merged, "revenue", &arena);
    tl_arena_reset(&arena);
    look_up(merged, &arena);
    merchant_index(io);
    begin = cpu_s();
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct tl_pack_counts counts;
        if (merged[i])
            check(tl_pack_verify(merged[i], NULL, &counts, &st));
    }
    printf("verify: %.3f CPU s per million events\n", (cpu_s() - begin) / millions);
    for (uint32_t i = 0; i < flushes; i++)
        tl_pack_unref(sealed[i]);
    for (uint32_t i = 0; i < SHARDS; i++)
        tl_pack_unref(merged[i]);
    tl_cache_free(cache);
    tl_generator_free(g);
    tl_io_free(io);
    return 0;
}
