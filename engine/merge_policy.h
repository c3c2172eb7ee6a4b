/*
 * engine/merge_policy.h: what a (table, shard) merges next: pure functions, nothing else.
 *
 * Level 0 is merged into runs of partitions, in the order of the seals. What then happens to
 * the runs is decided by a machine with a clock: the number of a seal up to which it has looked. At
 * clock c it sees only the runs whose rows were sealed at c or before, so that it does not matter
 * how far merging lags behind flushing: two replicas of a log merge the same runs. The log time
 * that it goes by is the greatest that those runs carry, or the one of a request. When no rule
 * applies at c, nor a request up to seal c is left, the clock moves to the next seal that a run
 * ends with, or to the next request.
 *
 * Level 0. Seals are merged in groups that end at every TL_LEVEL0_GROUP-th seal, at another one for
 * each shard, so that the shards' merges spread evenly over time; a group of a single segment waits
 * for the next end. A request ends a group.
 *
 * Rules for runs, in this order:
 *   grain    partitions whose grain is not their month's are merged into ones that have it
 *   closed   runs that came before their partition was closed become few, when it is closed; so do
 *            all of a partition that got no rows for a while
 *   tier     TL_RUNS_MERGE newest runs of like size become one
 *   request  a month's grain is judged anew, and each partition of several runs becomes one run
 *
 * Passing runs. What merges of level 0 and the rule `tier` write is merged again: it has level 1
 * and encodings that cost little. Runs of the other rules have level 2 and the best encodings. A
 * run of level 1 counts as one to be merged, by itself if need be, where its partition is closed or
 * a request asks. Level 0 that a request merges as the first runs of its shard is final at once,
 * unless these then turn out to be of a wrong grain.
 *
 * Grain. A month is cut into hours, days, or not at all: the finest that is expected to hold
 * partition_rows rows, judged by the rows of the month so far and the time that they span. While
 * a month is open its grain changes only when it is wrong by a factor of two, one step at a
 * time. A request judges exactly: then the partitions depend on the rows alone.
 *
 * Writes. A row is written at level 0, in a run, and once when its partition is closed; a month of
 * more than TL_RUNS_MERGE groups of seals adds one writing per power of it.
 *
 * Ownership  all is the caller's. Threads  any. Units  rows, microseconds UTC, seal numbers.
 */
#ifndef TALLY_ENGINE_MERGE_POLICY_H
#define TALLY_ENGINE_MERGE_POLICY_H

#include <stdbool.h>
#include <stdint.h>

enum {
    TL_LEVEL0_MAX = 8,   /* level-0 segments of a shard: no flush adds another one */
    TL_LEVEL0_GROUP = 6, /* seals between the ends of a shard's groups */
    TL_RUNS_MERGE = 16,  /* runs of like size that make a merge */
    TL_RUNS_MAX = 40, /* runs of a partition: beyond it the newest are merged whatever they are */
    TL_PARTITION_ROWS = 500000, /* unless the table says otherwise */
    TL_POLICY_INPUTS_MAX = 120, /* runs of one merge; each can bring two segments of a key range */
};

#define TL_HOUR_US (3600LL * 1000000)
#define TL_DAY_US  (24 * TL_HOUR_US)

/* A segment of level 0, or a run: one or more segments that hold disjoint ranges of a partition's
 * keys and were written by one merge. */
struct tl_policy_run {
    uint8_t level;
    uint64_t rows;
    int64_t start_us, end_us; /* the partition */
    int64_t min_ts, max_ts;
    uint64_t first_seal, last_seal;
    int64_t log_time_us; /* greatest of its seals */
    uint64_t partition_rows;
};

struct tl_policy_request {
    uint64_t seal; /* everything up to it is to be merged whole */
    int64_t log_time_us;
    uint64_t partition_rows; /* of this table then */
};

struct tl_policy_state {
    const struct tl_policy_run *runs; /* level 0 by seal, then by start_us, end_us, last_seal */
    uint32_t count, level0_count;
    uint32_t shard;
    uint64_t flushed_seal; /* every seal up to it is in the list, or had no rows here */
    uint64_t clock;
    uint64_t done_request;                    /* requests up to this seal are fulfilled */
    uint64_t requesting;                      /* the request that was begun, or an older one */
    const struct tl_policy_request *requests; /* ascending; those that are known */
    uint32_t request_count;
};

enum tl_policy_kind {
    TL_POLICY_NONE,
    TL_POLICY_LEVEL0, /* merge the first `count` of level 0 into partitions */
    TL_POLICY_MERGE,  /* merge `inputs` into one run per partition of `grain_us` */
    TL_POLICY_DONE    /* the request up to seal `request` is fulfilled */
};

struct tl_policy_step {
    enum tl_policy_kind kind;
    uint64_t clock; /* at which it was decided: the state's clock from then on */
    uint32_t count;
    uint32_t inputs[TL_POLICY_INPUTS_MAX]; /* MERGE: places in the list, oldest rows first */
    int64_t grain_us;                      /* MERGE: TL_HOUR_US, TL_DAY_US, or 0: the month */
    bool passing;     /* LEVEL0, MERGE: what is written will be merged again: level 1, not 2 */
    uint64_t request; /* that it serves: `requesting` from then on; 0: none */
};

/* The group of level 0 that is due, or NONE. */
void tl_policy_level0(const struct tl_policy_state *s, struct tl_policy_step *out);
/* What the runs need next. NONE: nothing until the list or the requests change; out->clock is how
 * far the machine has looked. */
void tl_policy_runs(const struct tl_policy_state *s, struct tl_policy_step *out);

/* Rows that a merge of level 0 brings into a month. */
struct tl_policy_month {
    int64_t start_us, end_us;
    uint64_t rows;
    int64_t min_us, max_us;
};
/* The grain of the partitions that these rows of level 0, up to seal `last_seal`, go to. */
int64_t tl_policy_grain(const struct tl_policy_state *s, const struct tl_policy_month *m,
                        uint64_t last_seal, uint64_t partition_rows);

void tl_policy_month_of(int64_t ts_us, int64_t *start_us, int64_t *end_us);
/* The partition of this grain that ts lies in. */
void tl_policy_partition_of(int64_t ts_us, int64_t grain_us, int64_t *start_us, int64_t *end_us);

#endif
