/*
 * A micro benchmark of the executor over arrays in memory: 10 million events of 100,000 merchants
 * in 8 segments, and the shapes of the dashboard's and the operator's questions. Nothing is decoded
 * or read, so the figures are the executor's alone.
 *
 *     bench_exec [rows] [query …]
 *
 * A3 to A6 are approximate: S3, E4 and E5 count the same distinct values exactly, S6 selects the
 * same percentiles.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/thread.h"
#include "query/exec.h"
#include "tests/query/fake_source.h"
#include "tests/query/plan_build.h"

enum {
    MERCHANT,
    TS,
    EVENT,
    VISITOR,
    SESSION,
    PATH,
    COUNTRY,
    DEVICE,
    BROWSER,
    OS,
    REFERRER,
    REVENUE,
    DURATION,
    COLUMNS
};
enum { SEGMENTS = 8, MERCHANTS = 100000, DAYS = 30 };

static const int64_t start_us = INT64_C(1700006400000000);

static const struct tl_column_info infos[COLUMNS] = {
    [MERCHANT] = {1, "merchant_id", {TL_BIGINT, 0}, true},
    [TS] = {2, "ts", {TL_TIMESTAMPTZ, 0}, true},
    [EVENT] = {3, "event_name", {TL_TEXT, 0}, false},
    [VISITOR] = {4, "visitor_id", {TL_TEXT, 0}, false},
    [SESSION] = {5, "session_id", {TL_TEXT, 0}, false},
    [PATH] = {6, "path", {TL_TEXT, 0}, false},
    [COUNTRY] = {7, "country", {TL_TEXT, 0}, false},
    [DEVICE] = {8, "device", {TL_TEXT, 0}, false},
    [BROWSER] = {9, "browser", {TL_TEXT, 0}, false},
    [OS] = {10, "os", {TL_TEXT, 0}, false},
    [REFERRER] = {11, "referrer", {TL_TEXT, 0}, false},
    [REVENUE] = {12, "revenue", {TL_DECIMAL64, 4}, false},
    [DURATION] = {13, "duration_ms", {TL_BIGINT, 0}, false},
};

static uint64_t rng = 88172645463325252ULL;

static uint64_t next_random(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng;
}

static double uniform(void)
{
    return (double)(next_random() >> 11) / 9007199254740992.0;
}

static void *must(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size);
    if (!p)
        abort();
    return p;
}

/* A growing list of strings. */
struct strings {
    struct tl_slice *at;
    uint32_t count, capacity;
};

static uint32_t add_string(struct strings *s, const char *format, uint64_t a, uint64_t b)
{
    char buf[96];
    int n = snprintf(buf, sizeof(buf), format, (unsigned long long)a, (unsigned long long)b);
    if (s->count == s->capacity) {
        s->capacity = s->capacity ? s->capacity * 2 : 1024;
        s->at = realloc(s->at, sizeof(*s->at) * s->capacity);
        if (!s->at)
            abort();
    }
    uint8_t *copy = must(1, (size_t)n + 1);
    memcpy(copy, buf, (size_t)n);
    s->at[s->count] = tl_slice_of(copy, (size_t)n);
    return s->count++;
}

struct event {
    int64_t ts;
    uint32_t session, visitor, path, country, device, browser, os, referrer, name;
};

static int by_ts(const void *a, const void *b)
{
    const struct event *x = a;
    const struct event *y = b;
    return (x->ts > y->ts) - (x->ts < y->ts);
}

static void fill_segment(struct fake_segment *s, uint32_t index, uint64_t total)
{
    static const uint8_t small[] = {EVENT, COUNTRY, DEVICE, BROWSER, OS};
    static const uint32_t small_count[] = {5, 60, 3, 9, 7};
    double norm = 0;
    for (int m = 1; m <= MERCHANTS; m++)
        norm += pow(m, -1.05);
    uint64_t rows = 0;
    for (uint32_t m = 1; m <= MERCHANTS; m++) {
        if (tl_hash_u64(m) % SEGMENTS == index)
            rows += (uint64_t)(pow(m, -1.05) / norm * (double)total) + 1;
    }
    s->rows = rows;
    s->sorted = true;
    s->columns = must(COLUMNS, sizeof(*s->columns));
    for (int c = 0; c < COLUMNS; c++) {
        if (infos[c].type.kind == TL_TEXT)
            s->columns[c].codes = must(rows + TL_VECTOR_ROWS_MAX, 4);
        else
            s->columns[c].data = must(rows + TL_VECTOR_ROWS_MAX, 8);
    }
    s->columns[REVENUE].validity = must(rows / 64 + 34, 8);
    struct strings strings[COLUMNS] = {0};
    for (int c = 0; c < 5; c++) {
        for (uint32_t i = 0; i < small_count[c]; i++) {
            if (small[c] == EVENT)
                add_string(&strings[EVENT], i == 0 ? "pageview" : "event%llu", i, 0);
            else
                add_string(&strings[small[c]], "value%llu of %llu", i, small[c]);
        }
    }
    uint64_t row = 0;
    for (uint32_t m = 1; m <= MERCHANTS; m++) {
        if (tl_hash_u64(m) % SEGMENTS != index)
            continue;
        uint64_t n = (uint64_t)(pow(m, -1.05) / norm * (double)total) + 1;
        uint64_t paths = 20 + n / 50;
        struct event *events = must(n, sizeof(*events));
        uint32_t visitors = 0;
        uint32_t sessions = 0;
        for (uint64_t i = 0; i < n;) {
            struct event e = {.session = sessions++};
            e.visitor =
                visitors && uniform() < 0.33 ? (uint32_t)(next_random() % visitors) : visitors++;
            uint64_t h = tl_hash_u64(e.visitor * 77ULL + m);
            e.country = (uint32_t)(pow((double)(h % 1000) / 1000, 3) * 60);
            e.device = (uint32_t)(h >> 10) % 3;
            e.browser = (uint32_t)(h >> 20) % 9;
            e.os = (uint32_t)(h >> 30) % 7;
            e.referrer = uniform() < 0.4 ? 0 : (uint32_t)(pow(uniform(), 3) * 200);
            e.ts = start_us + (int64_t)(uniform() * DAYS * 86400e6);
            for (bool more = true; more && i < n; i++, more = uniform() < 0.8) {
                e.path = (uint32_t)(pow(uniform(), 4) * (double)paths);
                e.name = uniform() < 0.8 ? 0 : (uint32_t)(next_random() % 5);
                events[i] = e;
                e.ts += (int64_t)(uniform() * 120e6);
            }
        }
        qsort(events, n, sizeof(*events), by_ts);
        uint32_t *visitor_code = must(visitors, 4);
        uint32_t *session_code = must(sessions, 4);
        uint32_t *path_code = must(paths, 4);
        uint32_t *referrer_code = must(256, 4);
        for (uint64_t i = 0; i < n; i++, row++) {
            const struct event *e = &events[i];
            ((int64_t *)s->columns[MERCHANT].data)[row] = m;
            ((int64_t *)s->columns[TS].data)[row] = e->ts;
            s->columns[EVENT].codes[row] = e->name;
            s->columns[COUNTRY].codes[row] = e->country;
            s->columns[DEVICE].codes[row] = e->device;
            s->columns[BROWSER].codes[row] = e->browser;
            s->columns[OS].codes[row] = e->os;
            if (!visitor_code[e->visitor])
                visitor_code[e->visitor] =
                    add_string(&strings[VISITOR], "%016llx",
                               tl_hash_u64(e->visitor * 3ULL + m * 1000000007ULL), 0) +
                    1;
            if (!session_code[e->session])
                session_code[e->session] =
                    add_string(&strings[SESSION], "%016llx",
                               tl_hash_u64(e->session * 5ULL + m * 1000000009ULL), 0) +
                    1;
            if (!path_code[e->path])
                path_code[e->path] =
                    add_string(&strings[PATH],
                               e->path % 20 == 3 ? "/products/blue-shirt-%llu-of-%llu"
                                                 : "/collections/everything/item-%llu-%llu",
                               e->path, m) +
                    1;
            if (!referrer_code[e->referrer])
                referrer_code[e->referrer] =
                    add_string(&strings[REFERRER],
                               e->referrer ? "https://ref%llu.example/%llu" : "", e->referrer,
                               m % 50) +
                    1;
            s->columns[VISITOR].codes[row] = visitor_code[e->visitor] - 1;
            s->columns[SESSION].codes[row] = session_code[e->session] - 1;
            s->columns[PATH].codes[row] = path_code[e->path] - 1;
            s->columns[REFERRER].codes[row] = referrer_code[e->referrer] - 1;
            if (e->name == 3) {
                s->columns[REVENUE].validity[row >> 6] |= 1ULL << (row & 63);
                ((int64_t *)s->columns[REVENUE].data)[row] = (int64_t)(next_random() % 1000000);
            }
            ((int64_t *)s->columns[DURATION].data)[row] = (int64_t)(exp(uniform() * 10));
        }
        free(events);
        free(visitor_code);
        free(session_code);
        free(path_code);
        free(referrer_code);
    }
    for (int c = 0; c < COLUMNS; c++) {
        if (infos[c].type.kind == TL_TEXT)
            s->columns[c].dict = fake_dict_new(strings[c].at, strings[c].count, NULL);
    }
}

static struct tl_arena arena;
static struct fake_source source;
static const struct tl_table_info *table;

#define COL(i, c)      build_column(&arena, i, infos[c].type)
#define EQ(i, c, text) build_call(&arena, "=", COL(i, c), build_text(&arena, text), NULL)

static struct tl_expr *bucket(uint32_t column, int64_t us)
{
    struct tl_interval width = {.us = us};
    if (us % 86400000000LL == 0)
        width = (struct tl_interval){.days = (int32_t)(us / 86400000000LL)};
    return build_call(&arena, "time_bucket", build_const(&arena, tl_type_of(TL_INTERVAL), &width),
                      COL(column, TS), NULL);
}

static struct tl_plan_node *merchant_scan(struct tl_plan_node *scan, int64_t merchant, int64_t days)
{
    int64_t end = start_us + DAYS * INT64_C(86400000000);
    build_range(&arena, scan, merchant, end - days * INT64_C(86400000000), end);
    return scan;
}

static struct tl_plan_node *query(const char *name, int64_t merchant)
{
    struct tl_arena *a = &arena;
    const int64_t hour = INT64_C(3600000000);
    if (!strcmp(name, "Q1") || !strcmp(name, "Q2")) {
        bool q2 = name[1] == '2';
        struct tl_plan_node *n = merchant_scan(
            build_scan(a, table, TS, EVENT, VISITOR, SESSION, -1), merchant, q2 ? 30 : 1);
        struct tl_aggregate aggs[] = {build_agg(TL_AGG_COUNT_STAR, NULL, EQ(1, EVENT, "pageview")),
                                      build_agg(TL_AGG_COUNT_DISTINCT, COL(2, VISITOR), NULL),
                                      build_agg(TL_AGG_COUNT_DISTINCT, COL(3, SESSION), NULL)};
        n = build_aggregate(a, n, aggs, q2 ? 3 : 2, bucket(0, q2 ? 24 * hour : hour), NULL);
        return build_sort(a, n, -1, 1, 0);
    }
    if (!strcmp(name, "Q3") || !strcmp(name, "Q8")) {
        bool q8 = name[1] == '8';
        struct tl_plan_node *n = merchant_scan(build_scan(a, table, PATH, EVENT, -1), merchant, 7);
        if (q8) {
            int64_t end = start_us + DAYS * INT64_C(86400000000);
            build_range(a, n, merchant, end - 300000000, end);
        } else {
            n = build_filter(a, n, EQ(1, EVENT, "pageview"), NULL);
        }
        struct tl_aggregate aggs[] = {build_agg(TL_AGG_COUNT_STAR, NULL, NULL)};
        n = build_aggregate(a, n, aggs, 1, COL(0, PATH), NULL);
        n = build_sort(a, n, q8 ? 20 : 10, -2, 1, 0);
        return build_limit(a, n, q8 ? 20 : 10, 0);
    }
    if (!strcmp(name, "Q4")) {
        struct tl_plan_node *n =
            merchant_scan(build_scan(a, table, REFERRER, VISITOR, -1), merchant, 30);
        n = build_filter(a, n, build_call(a, "<>", COL(0, REFERRER), build_text(a, ""), NULL),
                         NULL);
        struct tl_aggregate aggs[] = {build_agg(TL_AGG_COUNT_STAR, NULL, NULL),
                                      build_agg(TL_AGG_COUNT_DISTINCT, COL(1, VISITOR), NULL)};
        n = build_aggregate(a, n, aggs, 2, COL(0, REFERRER), NULL);
        return build_limit(a, build_sort(a, n, 10, -2, 1, 0), 10, 0);
    }
    if (!strcmp(name, "Q5")) {
        struct tl_plan_node *n =
            merchant_scan(build_scan(a, table, COUNTRY, DEVICE, -1), merchant, 7);
        struct tl_aggregate aggs[] = {build_agg(TL_AGG_COUNT_STAR, NULL, NULL)};
        n = build_aggregate(a, n, aggs, 1, COL(0, COUNTRY), COL(1, DEVICE), NULL);
        return build_sort(a, n, -1, -3, 1, 2, 0);
    }
    if (!strcmp(name, "Q7")) {
        struct tl_plan_node *n = merchant_scan(build_scan(a, table, TS, DURATION, -1), merchant, 1);
        struct tl_aggregate aggs[3];
        for (int i = 0; i < 3; i++) {
            aggs[i] = build_agg(TL_AGG_PERCENTILE_DISC, COL(1, DURATION), NULL);
            aggs[i].fraction = build_double(a, i == 0 ? 0.5 : i == 1 ? 0.95 : 0.99);
        }
        n = build_aggregate(a, n, aggs, 3, bucket(0, hour), NULL);
        return build_sort(a, n, -1, 1, 0);
    }
    if (!strcmp(name, "S1")) {
        struct tl_plan_node *n = build_scan(a, table, TS, REVENUE, -1);
        struct tl_aggregate aggs[] = {build_agg(TL_AGG_COUNT_STAR, NULL, NULL),
                                      build_agg(TL_AGG_SUM, COL(1, REVENUE), NULL)};
        n = build_aggregate(a, n, aggs, 2, bucket(0, 24 * hour), NULL);
        return build_sort(a, n, -1, 1, 0);
    }
    if (!strcmp(name, "S2")) {
        struct tl_plan_node *n = build_scan(a, table, MERCHANT, EVENT, -1);
        n = build_filter(a, n, EQ(1, EVENT, "pageview"), NULL);
        struct tl_aggregate aggs[] = {build_agg(TL_AGG_COUNT_STAR, NULL, NULL)};
        n = build_aggregate(a, n, aggs, 1, COL(0, MERCHANT), NULL);
        return build_limit(a, build_sort(a, n, 100, -2, 1, 0), 100, 0);
    }
    if (!strcmp(name, "S3")) {
        struct tl_plan_node *n = build_scan(a, table, VISITOR, -1);
        struct tl_aggregate aggs[] = {build_agg(TL_AGG_COUNT_DISTINCT, COL(0, VISITOR), NULL)};
        return build_aggregate(a, n, aggs, 1, NULL);
    }
    if (!strcmp(name, "A3") || !strcmp(name, "A4") || !strcmp(name, "E4")) {
        bool grouped = name[1] == '4'; /* per merchant */
        struct tl_plan_node *n = build_scan(a, table, MERCHANT, VISITOR, -1);
        struct tl_aggregate aggs[] = {
            build_agg(name[0] == 'E' ? TL_AGG_COUNT_DISTINCT : TL_AGG_APPROX_DISTINCT,
                      COL(1, VISITOR), NULL)};
        return build_aggregate(a, n, aggs, 1, grouped ? COL(0, MERCHANT) : NULL, NULL);
    }
    if (!strcmp(name, "A5") || !strcmp(name, "E5")) { /* numbers */
        struct tl_plan_node *n = build_scan(a, table, DURATION, -1);
        struct tl_aggregate aggs[] = {
            build_agg(name[0] == 'E' ? TL_AGG_COUNT_DISTINCT : TL_AGG_APPROX_DISTINCT,
                      COL(0, DURATION), NULL)};
        return build_aggregate(a, n, aggs, 1, NULL);
    }
    if (!strcmp(name, "S4")) {
        struct tl_plan_node *n = build_scan(a, table, BROWSER, OS, COUNTRY, -1);
        struct tl_aggregate aggs[] = {build_agg(TL_AGG_COUNT_STAR, NULL, NULL)};
        n = build_aggregate(a, n, aggs, 1, COL(0, BROWSER), COL(1, OS), COL(2, COUNTRY), NULL);
        return build_limit(a, build_sort(a, n, 50, -4, 1, 2, 3, 0), 50, 0);
    }
    if (!strcmp(name, "S5")) {
        struct tl_plan_node *n = build_scan(a, table, PATH, -1);
        n = build_filter(a, n, build_call(a, "like", COL(0, PATH), build_text(a, "%shirt%"), NULL),
                         NULL);
        struct tl_aggregate aggs[] = {build_agg(TL_AGG_COUNT_STAR, NULL, NULL)};
        return build_aggregate(a, n, aggs, 1, NULL);
    }
    if (!strcmp(name, "A6") || !strcmp(name, "S6")) {
        struct tl_plan_node *n = build_scan(a, table, COUNTRY, DURATION, -1);
        struct tl_aggregate aggs[] = {
            build_agg(name[0] == 'A' ? TL_AGG_APPROX_PERCENTILE : TL_AGG_PERCENTILE_DISC,
                      COL(1, DURATION), NULL)};
        aggs[0].fraction = build_double(a, 0.99);
        n = build_aggregate(a, n, aggs, 1, COL(0, COUNTRY), NULL);
        return build_sort(a, n, -1, 1, 0);
    }
    fprintf(stderr, "no query %s\n", name);
    exit(1);
}

static int by_double(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void measure(const char *name, const char *who, int64_t merchant, uint32_t threads,
                    struct tl_pool *pool)
{
    struct tl_plan plan = build_plan(query(name, merchant));
    double times[1001];
    double least_cpu = 1e9;
    int runs = 0;
    double total = 0;
    uint64_t rows = 0;
    size_t peak = 0;
    for (; runs < 1000 && (runs < 5 || total < 0.5); runs++) {
        struct tl_status st = TL_STATUS_INIT;
        struct tl_budget budget;
        tl_budget_init(&budget, "query memory", (size_t)2 << 30, NULL);
        struct tl_run_options options = {.source = &source.source,
                                         .budget = &budget,
                                         .clock = tl_clock_system(),
                                         .time_zone = "UTC",
                                         .threads = threads,
                                         .pool = pool};
        uint64_t start = tl_clock_mono_ns(options.clock);
        struct tl_run *run;
        struct tl_chunk chunk;
        double cpu = cpu_ms();
        rows = 0;
        enum tl_code rc = tl_run_new(&plan, &options, &run, &st);
        while (rc == TL_OK) {
            rc = tl_run_step(run, &chunk, &st);
            if (chunk.count == 0)
                break;
            rows += chunk.count;
        }
        if (rc) {
            fprintf(stderr, "%s: %s\n", name, st.text);
            exit(1);
        }
        tl_run_free(run);
        times[runs] = (double)(tl_clock_mono_ns(options.clock) - start) / 1e6;
        total += times[runs] / 1e3;
        cpu = cpu_ms() - cpu;
        least_cpu = cpu < least_cpu ? cpu : least_cpu;
        peak = atomic_load(&budget.peak_bytes);
    }
    qsort(times, (size_t)runs, sizeof(*times), by_double);
    printf("%-4s %-5s %u thread%s %10.3f ms (cpu %8.3f)  %6llu rows  %8.2f MiB\n", name, who,
           threads, threads > 1 ? "s" : " ", times[runs / 2], least_cpu, (unsigned long long)rows,
           (double)peak / 1048576);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const char *const merchant_queries[] = {"Q1", "Q2", "Q3", "Q4", "Q5", "Q7", "Q8"};
    static const char *const all_queries[] = {"S1", "S2", "S3", "A3", "E4", "A4",
                                              "E5", "A5", "S4", "S5", "S6", "A6"};
    uint64_t rows = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000000;
    struct fake_table t = {.info = {.id = 1,
                                    .name = "events",
                                    .column_count = COLUMNS,
                                    .columns = infos,
                                    .merchant_column = MERCHANT,
                                    .ts_column = TS},
                           .segment_count = SEGMENTS};
    t.segments = must(SEGMENTS, sizeof(*t.segments));
    for (uint32_t s = 0; s < SEGMENTS; s++)
        fill_segment(&t.segments[s], s, rows);
    fake_source_init(&source, &t, 1);
    source.morsel_rows = 1 << 17;
    table = &t.info;
    tl_arena_init(&arena, NULL, 1 << 16);
    struct tl_pool *pool;
    struct tl_status st = TL_STATUS_INIT;
    if (tl_pool_new("bench", 2, 64, &pool, &st))
        return 1;
    for (int i = 2; i < argc; i++) {
        for (uint32_t threads = 1; threads <= 2; threads++)
            measure(argv[i], "", 1, threads, pool);
    }
    if (argc <= 2) {
        for (size_t q = 0; q < sizeof(merchant_queries) / sizeof(char *); q++) {
            measure(merchant_queries[q], "big", 1, 1, NULL);
            measure(merchant_queries[q], "big", 1, 2, pool);
            measure(merchant_queries[q], "mid", 100, 1, NULL);
            measure(merchant_queries[q], "tiny", 20000, 1, NULL);
        }
        for (size_t q = 0; q < sizeof(all_queries) / sizeof(char *); q++) {
            measure(all_queries[q], "all", 0, 1, NULL);
            measure(all_queries[q], "all", 0, 2, pool);
        }
    }
    tl_pool_free(pool);
    return 0;
}
