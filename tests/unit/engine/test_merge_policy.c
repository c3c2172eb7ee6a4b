/* Promise: what merges next is a pure function of the list, the requests and the clock; level 0
 * never grows past its limit; every traffic comes to rest with partitions of the finest sensible
 * grain and few runs, at a bounded number of writings per row; and it does not matter when merges
 * run. Method: tables of lists and the steps that they must lead to; and a simulator of one shard
 * that plays a year of traffic, hour by hour, with a merger that lags at random, and replays it
 * with another lag. TALLY_POLICY_PRINT=1 prints the figures of each traffic. */
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/random.h"
#include "base/time.h"
#include "engine/merge_policy.h"

/* 2026-01-01 */
#define T0   1767225600000000LL
#define HOUR TL_HOUR_US
#define DAY  TL_DAY_US

/* ---- tables ---- */

static struct tl_policy_run level0(uint64_t seal, uint64_t rows)
{
    return (struct tl_policy_run){.level = 0,
                                  .rows = rows,
                                  .start_us = INT64_MIN,
                                  .end_us = INT64_MAX,
                                  .min_ts = T0,
                                  .max_ts = T0 + DAY,
                                  .first_seal = seal,
                                  .last_seal = seal,
                                  .log_time_us = T0,
                                  .partition_rows = TL_PARTITION_ROWS};
}

static struct tl_policy_run run(int64_t ts, int64_t grain, uint64_t rows, uint64_t first,
                                uint64_t last, int64_t log_time)
{
    struct tl_policy_run r = {.level = 2,
                              .rows = rows,
                              .first_seal = first,
                              .last_seal = last,
                              .log_time_us = log_time,
                              .partition_rows = TL_PARTITION_ROWS};
    tl_policy_partition_of(ts, grain, &r.start_us, &r.end_us);
    r.min_ts = r.start_us;
    r.max_ts = r.end_us - 1;
    return r;
}

/* One that is to be merged again. */
static struct tl_policy_run passing(int64_t ts, int64_t grain, uint64_t rows, uint64_t first,
                                    uint64_t last, int64_t log_time)
{
    struct tl_policy_run r = run(ts, grain, rows, first, last, log_time);
    r.level = 1;
    return r;
}

static void groups_of_level_0_end_where_they_should(void **state)
{
    (void)state;
    struct tl_policy_run runs[16];
    struct tl_policy_step step;
    for (uint64_t seal = 1; seal <= 8; seal++)
        runs[seal - 1] = level0(seal, 100);
    struct tl_policy_state s = {.runs = runs, .count = 5, .level0_count = 5, .flushed_seal = 5};
    tl_policy_level0(&s, &step);
    assert_int_equal(step.kind, TL_POLICY_NONE);
    s.count = s.level0_count = 8;
    s.flushed_seal = 8;
    tl_policy_level0(&s, &step); /* shard 0: the group ends at seal 6, however late one looks */
    assert_int_equal(step.kind, TL_POLICY_LEVEL0);
    assert_int_equal(step.count, 6);
    assert_true(step.passing);
    s.shard = 3; /* at seal 3 */
    tl_policy_level0(&s, &step);
    assert_int_equal(step.count, 3);
    s.shard = 5; /* at seal 1, of one segment: it waits for seal 7 */
    tl_policy_level0(&s, &step);
    assert_int_equal(step.count, 7);
    /* A request ends a group, also one of a single segment. */
    struct tl_policy_request request = {.seal = 4, .partition_rows = TL_PARTITION_ROWS};
    s.requests = &request;
    s.request_count = 1;
    s.shard = 0;
    tl_policy_level0(&s, &step);
    assert_int_equal(step.count, 4);
    assert_false(step.passing); /* the request makes it all that there is */
    request.seal = 1;
    tl_policy_level0(&s, &step);
    assert_int_equal(step.count, 1);
    s.done_request = 1;
    tl_policy_level0(&s, &step);
    assert_int_equal(step.count, 6);
    /* Seals that had no rows here end groups, too. */
    s.request_count = 0;
    s.count = s.level0_count = 2;
    s.flushed_seal = 6;
    tl_policy_level0(&s, &step);
    assert_int_equal(step.count, 2);
    s.flushed_seal = 5;
    tl_policy_level0(&s, &step);
    assert_int_equal(step.kind, TL_POLICY_NONE);
}

struct expected {
    const char *what;
    struct tl_policy_run runs[20];
    uint64_t request; /* 0: none */
    enum tl_policy_kind kind;
    uint32_t first, count;
    int64_t grain;
    bool passing;
};

static void rules_for_runs(void **state)
{
    (void)state;
    int64_t in_time = T0 + HOUR, late = T0 + 50 * DAY;
    int64_t feb = T0 + 31 * DAY;
    const struct expected table[] = {
        {.what = "an open month of few runs is left alone",
         .runs = {run(T0, 0, 1000, 1, 6, in_time), run(T0, 0, 1000, 7, 12, in_time)},
         .kind = TL_POLICY_NONE},
        {.what = "a closed one becomes one run",
         .runs = {run(T0, 0, 1000, 1, 6, in_time), run(T0, 0, 1000, 7, 12, in_time),
                  run(feb, 0, 1000, 13, 18, late)},
         .kind = TL_POLICY_MERGE,
         .count = 2},
        {.what = "a large run is not written again for a small one",
         .runs = {run(T0, 0, 100000, 1, 6, in_time), run(T0, 0, 1000, 7, 12, in_time),
                  run(feb, 0, 1000, 13, 18, late)},
         .kind = TL_POLICY_NONE},
        {.what = "a late run of a closed month waits for others, or for silence",
         .runs = {run(T0, 0, 1000, 1, 6, in_time), run(T0, 0, 1000, 7, 12, late)},
         .kind = TL_POLICY_NONE},
        {.what = "silence",
         .runs = {run(T0, 0, 1000, 1, 6, in_time), run(T0, 0, 1000, 7, 12, late),
                  run(feb, 0, 1000, 13, 18, late + 2 * HOUR)},
         .kind = TL_POLICY_MERGE,
         .count = 2},
        {.what = "a request merges what is several",
         .runs = {run(T0, 0, 100000, 1, 6, in_time), run(T0, 0, 10, 7, 12, in_time)},
         .request = 12,
         .kind = TL_POLICY_MERGE,
         .count = 2},
        {.what = "and is done when nothing is",
         .runs = {run(T0, 0, 1000, 1, 12, in_time), run(feb, 0, 10, 7, 12, in_time)},
         .request = 12,
         .kind = TL_POLICY_DONE},
        {.what = "a passing run of an open month stays",
         .runs = {passing(T0, 0, 1000, 1, 6, in_time)},
         .kind = TL_POLICY_NONE},
        {.what = "one of a closed month is written for good, be it alone",
         .runs = {passing(T0, 0, 1000, 1, 6, in_time), run(feb, 0, 1000, 13, 18, late)},
         .kind = TL_POLICY_MERGE,
         .count = 1},
        {.what = "or too large to be merged with the rest",
         .runs = {passing(T0, 0, 100000, 1, 6, in_time), run(T0, 0, 1000, 7, 12, in_time),
                  run(feb, 0, 1000, 13, 18, late)},
         .kind = TL_POLICY_MERGE,
         .count = 1},
        {.what = "one that came late waits for silence",
         .runs = {run(T0, 0, 100000, 1, 6, in_time), passing(T0, 0, 1000, 7, 12, late)},
         .kind = TL_POLICY_NONE},
        {.what = "and is written when it comes",
         .runs = {run(T0, 0, 100000, 1, 6, in_time), passing(T0, 0, 1000, 7, 12, late),
                  run(feb, 0, 1000, 13, 18, late + 2 * HOUR)},
         .kind = TL_POLICY_MERGE,
         .first = 1,
         .count = 1},
        {.what = "a request writes a passing run for good",
         .runs = {passing(T0, 0, 1000, 1, 6, in_time)},
         .request = 6,
         .kind = TL_POLICY_MERGE,
         .count = 1},
        {.what = "what becomes one of many of like size is to be merged again",
         .runs = {passing(T0, 0, 1000, 1, 6, in_time), passing(T0, 0, 1000, 7, 12, in_time),
                  passing(T0, 0, 1000, 13, 18, in_time), passing(T0, 0, 1000, 19, 24, in_time),
                  passing(T0, 0, 1000, 25, 30, in_time), passing(T0, 0, 1000, 31, 36, in_time),
                  passing(T0, 0, 1000, 37, 42, in_time), passing(T0, 0, 1000, 43, 48, in_time),
                  passing(T0, 0, 1000, 49, 54, in_time), passing(T0, 0, 1000, 55, 60, in_time),
                  passing(T0, 0, 1000, 61, 66, in_time), passing(T0, 0, 1000, 67, 72, in_time),
                  passing(T0, 0, 1000, 73, 78, in_time), passing(T0, 0, 1000, 79, 84, in_time),
                  passing(T0, 0, 1000, 85, 90, in_time), passing(T0, 0, 1000, 91, 96, in_time)},
         .kind = TL_POLICY_MERGE,
         .count = 16,
         .passing = true},
        {.what = "a closed month that is thin: days become the month",
         .runs = {run(T0, DAY, 1000, 1, 6, in_time), run(T0 + DAY, DAY, 1000, 7, 12, in_time),
                  run(feb, DAY, 1000000, 13, 18, late)},
         .kind = TL_POLICY_MERGE,
         .count = 2},
        {.what = "a closed month that is fat: days",
         .runs = {run(T0, 0, 40000000, 1, 6, in_time), run(T0, 0, 100, 7, 12, in_time),
                  run(feb, 0, 1000000, 13, 18, late)},
         .kind = TL_POLICY_MERGE,
         .count = 2,
         .grain = DAY},
        {.what = "not while it is wrong by less than two",
         .runs = {run(T0, 0, 20000000, 1, 6, in_time), run(feb, 0, 1000000, 13, 18, late)},
         .kind = TL_POLICY_NONE},
        {.what = "but at a request",
         .runs = {run(T0, 0, 20000000, 1, 6, in_time)},
         .request = 6,
         .kind = TL_POLICY_MERGE,
         .count = 1,
         .grain = DAY},
        {.what = "hours of a thin month become days first",
         .runs = {run(T0, HOUR, 500, 1, 6, in_time), run(T0 + HOUR, HOUR, 500, 1, 6, in_time),
                  run(T0 + DAY, HOUR, 500, 1, 6, in_time)},
         .request = 6,
         .kind = TL_POLICY_MERGE,
         .count = 2,
         .grain = DAY},
        {.what = "the grain of the newest run is the month's",
         .runs = {run(T0, 0, 900, 1, 6, in_time), run(T0, DAY, 500, 7, 12, in_time)},
         .kind = TL_POLICY_MERGE,
         .first = 1, /* the list has the day before the month */
         .count = 1,
         .grain = DAY},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct tl_policy_run runs[20];
        struct tl_policy_step step;
        uint32_t count = 0;
        while (table[i].runs[count].level)
            count++;
        memcpy(runs, table[i].runs, sizeof(runs));
        /* In the order of a list. */
        for (uint32_t a = 1; a < count; a++)
            for (uint32_t b = a; b > 0 && runs[b - 1].start_us == runs[b].start_us &&
                                 runs[b - 1].end_us > runs[b].end_us;
                 b--) {
                struct tl_policy_run swap = runs[b];
                runs[b] = runs[b - 1];
                runs[b - 1] = swap;
            }
        struct tl_policy_request request = {table[i].request, in_time, TL_PARTITION_ROWS};
        struct tl_policy_state s = {.runs = runs,
                                    .count = count,
                                    .flushed_seal = 100,
                                    .clock = 1,
                                    .requests = &request,
                                    .request_count = table[i].request > 0};
        tl_policy_runs(&s, &step);
        if (step.kind != table[i].kind)
            fail_msg("%s: step of kind %d", table[i].what, step.kind);
        if (step.kind != TL_POLICY_MERGE)
            continue;
        if (step.count != table[i].count || step.inputs[0] != table[i].first ||
            step.grain_us != table[i].grain || step.passing != table[i].passing)
            fail_msg("%s: %u inputs from %u, grain %lld, passing %d", table[i].what, step.count,
                     step.inputs[0], (long long)step.grain_us, step.passing);
    }
}

/* ---- the simulator ---- */

/* Rows of one hour of event time. */
struct cell {
    int64_t hour;
    uint64_t rows;
};

struct sim_run {
    struct tl_policy_run run;
    uint32_t count;
    struct cell *cells; /* ascending */
};

struct sim {
    struct sim_run *list;
    uint32_t count, capacity, level0;
    uint64_t seal, clock, done, requesting;
    struct tl_policy_request request;
    uint32_t request_count;
    int64_t now;
    uint64_t rows_in, rows_flushed, rows_merged;
    uint32_t level0_max, runs_max, merges;
    uint64_t hash_level0, hash_runs; /* of every decision */
    struct tl_random lag;
};

static int cell_order(const void *a, const void *b)
{
    const struct cell *x = a, *y = b;
    return x->hour < y->hour ? -1 : x->hour > y->hour;
}

static int run_order(const void *a, const void *b)
{
    const struct tl_policy_run *x = &((const struct sim_run *)a)->run;
    const struct tl_policy_run *y = &((const struct sim_run *)b)->run;
    if ((x->level == 0) != (y->level == 0))
        return x->level == 0 ? -1 : 1;
    if (x->start_us != y->start_us)
        return x->start_us < y->start_us ? -1 : 1;
    if (x->end_us != y->end_us)
        return x->end_us < y->end_us ? -1 : 1;
    return x->last_seal < y->last_seal ? -1 : x->last_seal > y->last_seal;
}

static uint32_t squeeze(struct cell *cells, uint32_t count)
{
    qsort(cells, count, sizeof(*cells), cell_order);
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (n > 0 && cells[n - 1].hour == cells[i].hour)
            cells[n - 1].rows += cells[i].rows;
        else
            cells[n++] = cells[i];
    }
    return n;
}

static void put(struct sim *s, struct tl_policy_run run, const struct cell *cells, uint32_t count)
{
    if (s->count == s->capacity) {
        s->capacity = s->capacity ? s->capacity * 2 : 64;
        s->list = realloc(s->list, s->capacity * sizeof(*s->list));
    }
    struct sim_run *r = &s->list[s->count++];
    *r = (struct sim_run){run, count, malloc(count * sizeof(*cells))};
    memcpy(r->cells, cells, count * sizeof(*cells));
    r->run.rows = 0;
    for (uint32_t i = 0; i < count; i++)
        r->run.rows += cells[i].rows;
    r->run.min_ts = cells[0].hour * HOUR;
    r->run.max_ts = cells[count - 1].hour * HOUR + HOUR - 1;
    s->level0 += run.level == 0;
}

static void settle_list(struct sim *s)
{
    qsort(s->list, s->count, sizeof(*s->list), run_order);
    uint32_t most = 0, here = 0;
    for (uint32_t i = s->level0; i < s->count; i++) {
        bool same = i > s->level0 && s->list[i].run.start_us == s->list[i - 1].run.start_us &&
                    s->list[i].run.end_us == s->list[i - 1].run.end_us;
        here = same ? here + 1 : 1;
        most = here > most ? here : most;
        /* Runs of a partition hold disjoint, ascending ranges of seals: ties keep their order. */
        assert_true(!same || s->list[i].run.first_seal > s->list[i - 1].run.last_seal);
    }
    s->runs_max = most > s->runs_max ? most : s->runs_max;
    s->level0_max = s->level0 > s->level0_max ? s->level0 : s->level0_max;
}

static struct tl_policy_run *policy_runs(const struct sim *s)
{
    struct tl_policy_run *runs = malloc((s->count + 1) * sizeof(*runs));
    for (uint32_t i = 0; i < s->count; i++)
        runs[i] = s->list[i].run;
    return runs;
}

static struct tl_policy_state policy_state(const struct sim *s, const struct tl_policy_run *runs)
{
    return (struct tl_policy_state){.runs = runs,
                                    .count = s->count,
                                    .level0_count = s->level0,
                                    .flushed_seal = s->seal,
                                    .clock = s->clock,
                                    .done_request = s->done,
                                    .requesting = s->requesting,
                                    .requests = &s->request,
                                    .request_count = s->request_count};
}

/* Merges places of the list. `grain` gives the partition's grain of each month. */
static void merge(struct sim *s, const struct tl_policy_state *ps, const uint32_t *inputs,
                  uint32_t count, bool from_level0, bool passing, int64_t grain, uint64_t *hash)
{
    uint32_t total = 0;
    struct tl_policy_run out = {.level = passing ? 1 : 2, .first_seal = UINT64_MAX};
    for (uint32_t i = 0; i < count; i++) {
        const struct tl_policy_run *r = &s->list[inputs[i]].run;
        total += s->list[inputs[i]].count;
        out.first_seal = r->first_seal < out.first_seal ? r->first_seal : out.first_seal;
        if (r->last_seal >= out.last_seal) {
            out.last_seal = r->last_seal;
            out.partition_rows = r->partition_rows;
        }
        out.log_time_us = r->log_time_us > out.log_time_us ? r->log_time_us : out.log_time_us;
    }
    struct cell *cells = malloc(total * sizeof(*cells));
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct sim_run *r = &s->list[inputs[i]];
        memcpy(cells + n, r->cells, r->count * sizeof(*cells));
        n += r->count;
        s->rows_merged += r->run.rows;
        free(r->cells);
        r->cells = NULL;
    }
    n = squeeze(cells, n);
    for (uint32_t lo = 0, hi; lo < n; lo = hi) {
        if (from_level0) {
            struct tl_policy_month m = {.min_us = cells[lo].hour * HOUR};
            tl_policy_month_of(m.min_us, &m.start_us, &m.end_us);
            for (uint32_t i = lo; i < n && cells[i].hour * HOUR < m.end_us; i++) {
                m.rows += cells[i].rows;
                m.max_us = cells[i].hour * HOUR + HOUR - 1;
            }
            if (lo == 0 || cells[lo - 1].hour * HOUR < m.start_us)
                grain = tl_policy_grain(ps, &m, out.last_seal, out.partition_rows);
        }
        tl_policy_partition_of(cells[lo].hour * HOUR, grain, &out.start_us, &out.end_us);
        for (hi = lo; hi < n && cells[hi].hour * HOUR < out.end_us; hi++)
            ;
        put(s, out, cells + lo, hi - lo);
        *hash = tl_hash_u64(*hash ^ (uint64_t)out.start_us);
        *hash = tl_hash_u64(*hash ^ (uint64_t)out.end_us);
        *hash = tl_hash_u64(*hash ^ s->list[s->count - 1].run.rows);
    }
    *hash = tl_hash_u64(*hash ^ out.last_seal << 20 ^ out.first_seal ^ (uint64_t)out.level << 60);
    free(cells);
    uint32_t kept = 0;
    s->level0 = 0;
    for (uint32_t i = 0; i < s->count; i++)
        if (s->list[i].cells) {
            s->level0 += s->list[i].run.level == 0;
            s->list[kept++] = s->list[i];
        }
    s->count = kept;
    s->merges++;
    settle_list(s);
}

/* One step: level 0 first, but for a merger that happens to be busy with runs. */
static bool step(struct sim *s, bool level0_only)
{
    struct tl_policy_run *runs = policy_runs(s);
    struct tl_policy_state ps = policy_state(s, runs);
    struct tl_policy_step out;
    bool runs_first = !level0_only && tl_random_below(&s->lag, 3) == 0;
    tl_policy_level0(&ps, &out);
    if (out.kind == TL_POLICY_LEVEL0 && !runs_first) {
        for (uint32_t i = 0; i < out.count; i++)
            out.inputs[i] = i;
        merge(s, &ps, out.inputs, out.count, true, out.passing, 0, &s->hash_level0);
        free(runs);
        return true;
    }
    if (level0_only) {
        free(runs);
        return false;
    }
    bool more = out.kind != TL_POLICY_NONE;
    tl_policy_runs(&ps, &out);
    if (out.kind != TL_POLICY_NONE) {
        more = true;
        s->clock = out.clock;
        s->requesting = out.request ? out.request : s->requesting;
    }
    if (out.kind == TL_POLICY_MERGE)
        merge(s, &ps, out.inputs, out.count, false, out.passing, out.grain_us, &s->hash_runs);
    if (out.kind == TL_POLICY_DONE)
        s->done = out.request;
    free(runs);
    return more;
}

static void flush(struct sim *s, struct cell *cells, uint32_t count)
{
    s->seal++;
    if (count > 0) {
        while (s->level0 >= TL_LEVEL0_MAX)
            assert_true(step(s, true)); /* or level 0 would be stuck */
        struct tl_policy_run r = level0(s->seal, 0);
        r.log_time_us = s->now;
        count = squeeze(cells, count);
        put(s, r, cells, count);
        s->rows_flushed += s->list[s->count - 1].run.rows;
        settle_list(s);
    }
    for (uint64_t n = tl_random_below(&s->lag, 4); n > 0; n--)
        (void)step(s, false);
}

static void drain(struct sim *s)
{
    uint32_t steps = 0;
    while (step(s, false))
        assert_true(++steps < 100000); /* it terminates */
}

/* Rows of this hour of a year, of one shard. */
typedef uint64_t traffic_fn(uint32_t hour);

static uint64_t heavy(uint32_t hour) /* days of 1.4 million */
{
    return 60000 + hour % 24 * 100;
}
static uint64_t very_heavy(uint32_t hour) /* hours of 600,000 */
{
    return hour < 24 * 60 ? 600000 + hour % 7 * 1000 : 0;
}
static uint64_t light(uint32_t hour) /* months of 700,000 */
{
    return 700 + hour % 24 * 20;
}
static uint64_t trickle(uint32_t hour)
{
    return hour % 3 == 0;
}
static uint64_t growing(uint32_t hour) /* from months over days to hours */
{
    uint64_t rows = 500;
    for (uint32_t day = hour / 24; day >= 30; day -= 30)
        rows = rows * 9 / 5;
    return rows;
}
static uint64_t shrinking(uint32_t hour)
{
    return growing(24 * 365 - 1 - hour);
}
static uint64_t bursts(uint32_t hour) /* a thousandfold for some hours of a week */
{
    return hour % 168 > 160 ? 500000 : 500;
}
static uint64_t sale(uint32_t hour) /* a giant merchant for two days a year */
{
    return hour / 24 == 100 || hour / 24 == 200 ? 2000000 : 3000;
}

struct shape {
    const char *name;
    traffic_fn *traffic;
    uint32_t late_percent; /* of the rows come up to 30 days late */
    bool bulk;             /* all is loaded at the end of the year */
    uint32_t hours;
    double writes_max; /* writings of a row by merges, before a request */
    uint32_t runs_max; /* of a partition, at rest */
};

enum { SEAL_ROWS = 94000, SEAL_HOURS = 4, CELLS_MAX = 4096 };

static void play(struct sim *s, const struct shape *shape, uint64_t lag)
{
    static struct cell cells[CELLS_MAX];
    uint32_t count = 0;
    uint64_t rows = 0;
    struct tl_random random;
    tl_random_init(&random, 1);
    memset(s, 0, sizeof(*s));
    tl_random_init(&s->lag, lag);
    int64_t first = T0 / HOUR;
    int64_t sealed = first;
    for (uint32_t h = 0; h < shape->hours; h++) {
        uint64_t left = shape->traffic(h);
        s->rows_in += left;
        while (left > 0 || first + h - sealed >= SEAL_HOURS) {
            uint64_t n = left < SEAL_ROWS - rows ? left : SEAL_ROWS - rows;
            s->now = (shape->bulk ? first + shape->hours : first + h) * HOUR + (int64_t)rows;
            uint64_t late = n * shape->late_percent / 100;
            for (uint32_t i = 0; i < 8 && late >= 8 && count + 2 < CELLS_MAX; i++) {
                int64_t back = (int64_t)tl_random_below(&random, 720);
                cells[count++] = (struct cell){first + h - back, late / 8};
                n -= late / 8;
                rows += late / 8;
                left -= late / 8;
            }
            if (n > 0)
                cells[count++] = (struct cell){first + h, n};
            rows += n;
            left -= n;
            if (rows >= SEAL_ROWS || count + 16 > CELLS_MAX || first + h - sealed >= SEAL_HOURS) {
                flush(s, cells, count);
                rows = 0;
                count = 0;
                sealed = first + h;
            }
        }
    }
    flush(s, cells, count);
    drain(s);
}

static void check_rest(const struct sim *s, const struct shape *shape)
{
    uint64_t rows = 0;
    uint32_t here = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        rows += s->list[i].run.rows;
        bool same = i > s->level0 && s->list[i].run.start_us == s->list[i - 1].run.start_us &&
                    s->list[i].run.end_us == s->list[i - 1].run.end_us;
        here = same ? here + 1 : 1;
        if (i >= s->level0 && here > shape->runs_max && s->list[i].run.end_us + 3 * DAY < s->now)
            fail_msg("%s: more than %u runs in a closed partition", shape->name, shape->runs_max);
    }
    assert_true(rows == s->rows_in);
    assert_true(s->level0_max <= TL_LEVEL0_MAX);
    double writes = (double)s->rows_merged / (double)s->rows_in;
    if (getenv("TALLY_POLICY_PRINT"))
        print_message("%-12s %9.1f M rows, %6llu seals, %5u merges, written %.2f times by them, "
                      "%u runs, %u at once\n",
                      shape->name, (double)s->rows_in / 1e6, (unsigned long long)s->seal, s->merges,
                      writes, s->count, s->runs_max);
    if (writes > shape->writes_max)
        fail_msg("%s: rows are written %.2f times by merges", shape->name, writes);
}

/* After a request every partition is one run, of the exact grain. */
static void check_compacted(const struct sim *s, const struct shape *shape)
{
    assert_int_equal(s->level0, 0);
    for (uint32_t i = 0; i < s->count; i++) {
        const struct tl_policy_run *r = &s->list[i].run;
        int64_t start, end, grain = 0;
        uint64_t rows = 0;
        int64_t min = INT64_MAX, max = INT64_MIN;
        tl_policy_month_of(r->start_us, &start, &end);
        for (uint32_t k = 0; k < s->count; k++)
            if (s->list[k].run.start_us >= start && s->list[k].run.start_us < end) {
                rows += s->list[k].run.rows;
                min = s->list[k].run.min_ts < min ? s->list[k].run.min_ts : min;
                max = s->list[k].run.max_ts > max ? s->list[k].run.max_ts : max;
            }
        double per_hour = (double)rows / ((double)(max - min < HOUR ? HOUR : max - min) / HOUR);
        grain = per_hour >= TL_PARTITION_ROWS        ? HOUR
                : per_hour * 24 >= TL_PARTITION_ROWS ? DAY
                                                     : end - start;
        if (r->end_us - r->start_us != grain)
            fail_msg("%s: a partition of %lld hours where %lld were right", shape->name,
                     (long long)((r->end_us - r->start_us) / HOUR), (long long)(grain / HOUR));
        if (i > 0 && r->start_us == s->list[i - 1].run.start_us)
            fail_msg("%s: two runs in a partition after a request", shape->name);
    }
}

static void sim_free(struct sim *s)
{
    for (uint32_t i = 0; i < s->count; i++)
        free(s->list[i].cells);
    free(s->list);
}

static void a_year_of_every_traffic(void **state)
{
    (void)state;
    const uint32_t year = 365 * 24;
    const struct shape shapes[] = {
        {"heavy", heavy, 0, false, year, 2.2, 2},
        {"heavy, late", heavy, 3, false, year, 2.6, 24},
        {"very heavy", very_heavy, 0, false, 24 * 60, 2.2, 2},
        {"light", light, 0, false, year, 3.2, 2},
        {"light, late", light, 10, false, year, 3.6, 20},
        {"trickle", trickle, 0, false, year, 4.2, 3},
        {"growing", growing, 2, false, year, 3.0, 20},
        {"shrinking", shrinking, 2, false, year, 3.0, 20},
        {"bursts", bursts, 1, false, year, 3.0, 20},
        {"sale", sale, 1, false, year, 3.2, 20},
        {"bulk", heavy, 0, true, 24 * 31, 2.2, 16},
        {"bulk, light", light, 0, true, year, 2.2, 16},
    };
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct sim a, b;
        play(&a, &shapes[i], 1);
        check_rest(&a, &shapes[i]);
        play(&b, &shapes[i], 99);
        if (a.hash_level0 != b.hash_level0 || a.hash_runs != b.hash_runs)
            fail_msg("%s: merges depend on when they run", shapes[i].name);
        sim_free(&b);
        a.request = (struct tl_policy_request){a.seal, a.now, TL_PARTITION_ROWS};
        a.request_count = 1;
        drain(&a);
        assert_true(a.done == a.seal);
        check_compacted(&a, &shapes[i]);
        sim_free(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_of_level_0_end_where_they_should),
        cmocka_unit_test(rules_for_runs),
        cmocka_unit_test(a_year_of_every_traffic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
