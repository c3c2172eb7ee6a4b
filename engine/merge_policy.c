/*
 * The rules of merge_policy.h. Each walks the list anew: lists are short (hundreds), merges take
 * long.
 *
 * Why the grain does not depend on how far the rules lag behind level 0: a month's rows and the
 * time that they span are the same before and after any merge of runs, and its grain is the one of
 * its newest run. Whatever may have changed that since (the month was closed, a request) is worked
 * out again where rows of level 0 arrive, and working it out twice gives the same.
 */
#include "engine/merge_policy.h"

#include <stddef.h>

#include "base/assert.h"
#include "base/time.h"

#define QUIET_US TL_HOUR_US /* a partition without rows for this long is merged when closed */
#define NEVER    INT64_MIN

void tl_policy_month_of(int64_t ts_us, int64_t *start_us, int64_t *end_us)
{
    struct tl_civil c = tl_civil_from_days(tl_floor_div(ts_us, TL_DAY_US));
    bool december = c.month == 12;
    *start_us = tl_days_from_civil(c.year, c.month, 1) * TL_DAY_US;
    *end_us = tl_days_from_civil(december ? c.year + 1 : c.year, december ? 1 : c.month + 1, 1) *
              TL_DAY_US;
}

void tl_policy_partition_of(int64_t ts_us, int64_t grain_us, int64_t *start_us, int64_t *end_us)
{
    if (grain_us == 0) {
        tl_policy_month_of(ts_us, start_us, end_us);
        return;
    }
    *start_us = tl_floor_div(ts_us, grain_us) * grain_us;
    *end_us = *start_us + grain_us;
}

static int64_t grain_of(const struct tl_policy_run *r)
{
    int64_t length = r->end_us - r->start_us;
    return length > TL_DAY_US ? 0 : length;
}

static int64_t finer(int64_t grain)
{
    return grain == 0 ? TL_DAY_US : TL_HOUR_US;
}

static int64_t coarser(int64_t grain)
{
    return grain == TL_HOUR_US ? TL_DAY_US : 0;
}

static bool is_finer(int64_t a, int64_t b)
{
    return a != b && (b == 0 || (a == TL_HOUR_US && b == TL_DAY_US));
}

/* The finest grain whose partitions are expected to hold `wanted` rows. */
static int64_t grain_for(uint64_t rows, int64_t span_us, double wanted)
{
    double per_us = (double)rows / (double)(span_us < TL_HOUR_US ? TL_HOUR_US : span_us);
    if (per_us * (double)TL_HOUR_US >= wanted)
        return TL_HOUR_US;
    return per_us * (double)TL_DAY_US >= wanted ? TL_DAY_US : 0;
}

/* One step from a grain that is wrong by a factor of two. */
static int64_t settle(int64_t grain, uint64_t rows, int64_t span_us, uint64_t wanted)
{
    if (is_finer(grain_for(rows, span_us, 2.0 * (double)wanted), grain))
        return finer(grain);
    if (is_finer(grain, grain_for(rows, span_us, 0.5 * (double)wanted)))
        return coarser(grain);
    return grain;
}

/* ---- what is known at a clock ---- */

static bool visible(const struct tl_policy_run *r, uint64_t clock)
{
    return r->level > 0 && r->last_seal <= clock;
}

static int64_t known_time(const struct tl_policy_state *s, uint64_t clock)
{
    int64_t t = NEVER;
    for (uint32_t i = s->level0_count; i < s->count; i++)
        if (visible(&s->runs[i], clock) && s->runs[i].log_time_us > t)
            t = s->runs[i].log_time_us;
    return t;
}

/* The end of a partition and a while for those who are late. */
static int64_t closed_from(int64_t start_us, int64_t end_us)
{
    int64_t late = (end_us - start_us) / 24;
    return end_us + (late < TL_HOUR_US ? TL_HOUR_US : late);
}

struct month {
    int64_t start_us, end_us;
    uint64_t rows;
    int64_t min_ts, max_ts;
    uint64_t newest;         /* the last seal of its newest run; 0: the month has no run */
    int64_t grain;           /* of that run */
    uint64_t wanted;         /* rows of a partition, by that run */
    bool hours, days, whole; /* partitions of these grains exist */
};

static struct month month_at(const struct tl_policy_state *s, uint64_t clock, int64_t ts)
{
    struct month m = {.min_ts = INT64_MAX, .max_ts = INT64_MIN};
    tl_policy_month_of(ts, &m.start_us, &m.end_us);
    for (uint32_t i = s->level0_count; i < s->count; i++) {
        const struct tl_policy_run *r = &s->runs[i];
        if (!visible(r, clock) || r->start_us < m.start_us || r->start_us >= m.end_us)
            continue;
        m.rows += r->rows;
        m.min_ts = r->min_ts < m.min_ts ? r->min_ts : m.min_ts;
        m.max_ts = r->max_ts > m.max_ts ? r->max_ts : m.max_ts;
        int64_t grain = grain_of(r);
        m.hours |= grain == TL_HOUR_US;
        m.days |= grain == TL_DAY_US;
        m.whole |= grain == 0;
        if (r->last_seal >= m.newest) {
            m.newest = r->last_seal;
            m.grain = grain;
            m.wanted = r->partition_rows;
        }
    }
    return m;
}

/* The grain that a month of runs is to have: exact at a request, settled when it is closed, else
 * what its newest run has. */
static int64_t month_grain(const struct month *m, int64_t known, const struct tl_policy_request *r)
{
    if (r)
        return grain_for(m->rows, m->max_ts - m->min_ts, (double)r->partition_rows);
    int64_t grain = m->grain;
    if (known >= closed_from(m->start_us, m->end_us)) {
        grain = settle(grain, m->rows, m->max_ts - m->min_ts, m->wanted);
        grain = settle(grain, m->rows, m->max_ts - m->min_ts, m->wanted);
    }
    return grain;
}

/* ---- level 0 ---- */

/* The end of the group that `seal` is in, requests aside. */
static uint64_t group_end(uint64_t seal, uint32_t shard)
{
    uint64_t phase = (seal + shard) % TL_LEVEL0_GROUP;
    return phase == 0 ? seal : seal + TL_LEVEL0_GROUP - phase;
}

void tl_policy_level0(const struct tl_policy_state *s, struct tl_policy_step *out)
{
    *out = (struct tl_policy_step){.kind = TL_POLICY_NONE, .clock = s->clock};
    uint64_t from = s->level0_count > 0 ? s->runs[0].last_seal : UINT64_MAX;
    while (from <= s->flushed_seal) {
        uint64_t end = group_end(from, s->shard);
        bool requested = false;
        for (uint32_t i = 0; i < s->request_count; i++) {
            uint64_t seal = s->requests[i].seal;
            if (seal > s->done_request && seal >= from && seal <= end) {
                end = seal;
                requested = true;
            }
        }
        if (end > s->flushed_seal)
            return;
        uint32_t count = 0;
        while (count < s->level0_count && s->runs[count].last_seal <= end)
            count++;
        if (count > 1 || requested) {
            out->kind = TL_POLICY_LEVEL0;
            out->count = count;
            out->passing = !requested || s->count > s->level0_count;
            return;
        }
        from = end + 1;
    }
}

int64_t tl_policy_grain(const struct tl_policy_state *s, const struct tl_policy_month *m,
                        uint64_t last_seal, uint64_t partition_rows)
{
    struct month all = month_at(s, UINT64_MAX, m->start_us);
    int64_t known = known_time(s, UINT64_MAX);
    int64_t span = m->max_us - m->min_us;
    if (all.newest == 0) {
        /* The first rows of a month say little of it while they are of one day. */
        struct month before = month_at(s, UINT64_MAX, m->start_us - 1);
        if (before.newest > 0 && span < TL_DAY_US)
            return month_grain(&before, known, NULL);
        return grain_for(m->rows, span, (double)partition_rows);
    }
    const struct tl_policy_request *since = NULL; /* the newest request since the month's rows */
    for (uint32_t i = 0; i < s->request_count; i++)
        if (s->requests[i].seal > s->done_request && s->requests[i].seal >= all.newest &&
            s->requests[i].seal < last_seal)
            since = &s->requests[i];
    int64_t grain = month_grain(&all, known, since);
    int64_t min = all.min_ts < m->min_us ? all.min_ts : m->min_us;
    int64_t max = all.max_ts > m->max_us ? all.max_ts : m->max_us;
    return settle(grain, all.rows + m->rows, max - min, partition_rows);
}

/* ---- runs ---- */

/* The machine at one clock. */
struct look {
    const struct tl_policy_state *s;
    struct tl_policy_step *out;
    uint64_t clock;
    int64_t known;
    const struct tl_policy_request *request; /* active at this clock */
};

/* The visible runs of the partition that begins at place lo: [lo, *seen); its end in the list. */
static uint32_t partition_end(const struct look *k, uint32_t lo, uint32_t *seen)
{
    const struct tl_policy_run *r = k->s->runs;
    uint32_t hi = lo;
    *seen = lo;
    for (; hi < k->s->count && r[hi].start_us == r[lo].start_us && r[hi].end_us == r[lo].end_us;
         hi++)
        if (visible(&r[hi], k->clock))
            *seen = hi + 1;
    return hi;
}

static bool merge_range(const struct look *k, uint32_t lo, uint32_t hi)
{
    /* Of too many the newest: what is left older is merged with them next. */
    lo = hi - lo > TL_POLICY_INPUTS_MAX ? hi - TL_POLICY_INPUTS_MAX : lo;
    k->out->kind = TL_POLICY_MERGE;
    k->out->passing = false;
    k->out->count = hi - lo;
    k->out->grain_us = grain_of(&k->s->runs[lo]);
    for (uint32_t i = lo; i < hi; i++)
        k->out->inputs[i - lo] = i;
    return true;
}

/* What these become will be merged again. */
static bool merge_passing(const struct look *k, uint32_t lo, uint32_t hi)
{
    (void)merge_range(k, lo, hi);
    k->out->passing = true;
    return true;
}

static bool is_passing(const struct tl_policy_run *r)
{
    return r->level == 1;
}

/* The longest end of [lo, hi) whose oldest run is at most twice all newer ones. */
static uint32_t worthwhile(const struct look *k, uint32_t lo, uint32_t hi)
{
    const struct tl_policy_run *r = k->s->runs;
    uint64_t newer = r[hi - 1].rows;
    uint32_t best = hi - 1;
    for (uint32_t at = hi - 1; at-- > lo;) {
        if (r[at].rows <= 2 * newer)
            best = at;
        newer += r[at].rows;
    }
    return best;
}

/* The longest end of [lo, hi) in which no run is larger than four times the mean of the newer. */
static uint32_t alike(const struct look *k, uint32_t lo, uint32_t hi)
{
    const struct tl_policy_run *r = k->s->runs;
    uint64_t newer = r[hi - 1].rows;
    uint32_t at = hi - 1;
    while (at > lo && r[at - 1].rows * (hi - at) <= 4 * newer) {
        at--;
        newer += r[at].rows;
    }
    return at;
}

static bool rule_partition(const struct look *k, uint32_t lo, uint32_t hi)
{
    const struct tl_policy_run *r = k->s->runs;
    if (hi == lo || (hi - lo == 1 && !is_passing(&r[lo])))
        return false;
    if (k->request)
        return merge_range(k, lo, hi);
    int64_t closed = closed_from(r[lo].start_us, r[lo].end_us);
    if (k->known >= closed) {
        uint32_t in_time = lo;
        while (in_time < hi && r[in_time].log_time_us < closed)
            in_time++;
        if (k->known - r[hi - 1].log_time_us >= QUIET_US)
            in_time = hi;
        if (in_time - lo > 1) {
            uint32_t at = worthwhile(k, lo, in_time);
            if (in_time - at > 1)
                return merge_range(k, at, in_time);
        }
        for (uint32_t i = lo; i < in_time; i++)
            if (is_passing(&r[i]))
                return merge_range(k, i, i + 1);
    }
    if (hi - lo < 2)
        return false;
    uint32_t at = alike(k, lo, hi);
    if (hi - at >= TL_RUNS_MERGE)
        return merge_passing(k, at, hi);
    if (hi - lo < TL_RUNS_MAX)
        return false;
    at = worthwhile(k, lo, hi);
    return merge_passing(k, hi - at > 1 ? at : lo, hi);
}

/* All visible partitions of grain `from` in [start, end) go to partitions of grain `to`. */
static bool regrade(const struct look *k, int64_t from, int64_t to, int64_t start, int64_t end)
{
    const struct tl_policy_state *s = k->s;
    uint32_t count = 0, most = 0, most_lo = 0, most_hi = 0;
    for (uint32_t lo = s->level0_count, hi; lo < s->count; lo = hi) {
        uint32_t seen;
        hi = partition_end(k, lo, &seen);
        bool target = k->request && is_finer(from, to) && grain_of(&s->runs[lo]) == to;
        if (s->runs[lo].start_us < start || s->runs[lo].start_us >= end ||
            (grain_of(&s->runs[lo]) != from && !target))
            continue;
        if (seen - lo > most) {
            most = seen - lo;
            most_lo = lo;
            most_hi = seen;
        }
        for (uint32_t i = lo; i < seen; i++, count++)
            if (count < TL_POLICY_INPUTS_MAX)
                k->out->inputs[count] = i;
    }
    if (count > TL_POLICY_INPUTS_MAX)
        return merge_passing(k, most_lo, most_hi); /* too many at once: fewer first */
    /* Oldest rows first; an insertion sort, since few are. */
    uint32_t *in = k->out->inputs;
    for (uint32_t i = 1; i < count; i++)
        for (uint32_t j = i; j > 0 && s->runs[in[j - 1]].last_seal > s->runs[in[j]].last_seal;
             j--) {
            uint32_t swap = in[j];
            in[j] = in[j - 1];
            in[j - 1] = swap;
        }
    k->out->kind = TL_POLICY_MERGE;
    k->out->passing = false;
    k->out->count = count;
    k->out->grain_us = to;
    return true;
}

/* One step of a month towards its grain, at the partition that begins at place `at`. */
static bool rule_grain(const struct look *k, const struct month *m, uint32_t at)
{
    int64_t mine = grain_of(&k->s->runs[at]);
    int64_t wanted = month_grain(m, k->known, k->request);
    int64_t finest = m->hours ? TL_HOUR_US : m->days ? TL_DAY_US : 0;
    int64_t coarsest = m->whole ? 0 : m->days ? TL_DAY_US : TL_HOUR_US;
    int64_t to;
    if (is_finer(finest, wanted) && mine == finest)
        to = coarser(mine);
    else if (!is_finer(finest, wanted) && is_finer(wanted, coarsest) && mine == coarsest)
        to = finer(mine);
    else
        return false;
    int64_t start, end;
    tl_policy_partition_of(k->s->runs[at].start_us, is_finer(mine, to) ? to : mine, &start, &end);
    return regrade(k, mine, to, start, end);
}

static bool rules(const struct look *k)
{
    const struct tl_policy_state *s = k->s;
    struct month m = {.end_us = INT64_MIN};
    for (uint32_t lo = s->level0_count, hi; lo < s->count; lo = hi) {
        uint32_t seen;
        hi = partition_end(k, lo, &seen);
        if (seen == lo)
            continue;
        if (s->runs[lo].start_us >= m.end_us)
            m = month_at(s, k->clock, s->runs[lo].start_us);
        if (rule_grain(k, &m, lo))
            return true;
    }
    for (uint32_t lo = s->level0_count, hi; lo < s->count; lo = hi) {
        uint32_t seen;
        hi = partition_end(k, lo, &seen);
        if (rule_partition(k, lo, seen))
            return true;
    }
    if (!k->request)
        return false;
    k->out->kind = TL_POLICY_DONE;
    return true;
}

void tl_policy_runs(const struct tl_policy_state *s, struct tl_policy_step *out)
{
    *out = (struct tl_policy_step){.kind = TL_POLICY_NONE};
    uint64_t clock = s->clock;
    for (;;) {
        struct look k = {.s = s, .out = out, .clock = clock, .known = known_time(s, clock)};
        const struct tl_policy_request *request = NULL;
        for (uint32_t i = 0; i < s->request_count; i++)
            if (s->requests[i].seal == clock && clock > s->done_request)
                request = &s->requests[i];
        out->clock = clock;
        if (!(request && s->requesting == clock) && rules(&k))
            return;
        if (request) {
            k.request = request;
            k.known = request->log_time_us > k.known ? request->log_time_us : k.known;
            out->request = clock;
            (void)rules(&k); /* at least that it is done */
            return;
        }
        uint64_t next = UINT64_MAX;
        for (uint32_t i = s->level0_count; i < s->count; i++)
            if (s->runs[i].last_seal > clock && s->runs[i].last_seal < next)
                next = s->runs[i].last_seal;
        for (uint32_t i = 0; i < s->request_count; i++) {
            uint64_t seal = s->requests[i].seal;
            bool waits =
                seal > s->flushed_seal || (s->level0_count > 0 && s->runs[0].last_seal <= seal);
            if (seal > clock && seal > s->done_request && seal < next && !waits)
                next = seal;
        }
        if (next == UINT64_MAX)
            return;
        clock = next;
    }
}
