/*
 * engine/merge_plan.h: a merge of any size as a list of parts of bounded size.
 *
 * A part becomes one pack: some partitions whole, or a range of the keys of one partition
 * that is too large. Where a partition is cut follows from its rows alone: into as many pieces of
 * like size as keep each near TL_PART_ROWS, between two merchants, or within a merchant that is
 * large itself, between two times. The pieces are segments with disjoint ranges of keys. So a merge
 * needs the memory of a part, can be left between two parts, and loses at most one part's work.
 *
 * Ownership  the plan's memory is freed by tl_merge_plan_deinit; inputs are borrowed.
 * Threads    one at a time.
 * Units      rows, microseconds UTC.
 * Errors     TL_LIMIT, and what reading packs answers.
 */
#ifndef TALLY_ENGINE_MERGE_PLAN_H
#define TALLY_ENGINE_MERGE_PLAN_H

#include "engine/merge_policy.h"
#include "engine/version.h"
#include "storage/merge.h"

enum {
    TL_PART_ROWS = 1 << 20,  /* a dictionary of so many ids takes about 64 MiB */
    TL_PART_ROWS_MIN = 8192, /* no smaller for want of memory */
    TL_PARTS_MAX = 4096,
};

/* A place in the order of rows: before the first row of (merchant, ts) or later. */
struct tl_merge_key {
    int64_t merchant, ts;
};

struct tl_merge_part {
    uint32_t first_partition, partition_count;
    bool from_key, to_key; /* only rows from, or before, these keys */
    struct tl_merge_key from, to;
};

struct tl_merge_plan {
    struct tl_segment_meta *partitions; /* ascending, those with rows */
    uint64_t *partition_rows;
    uint32_t partition_count, partition_capacity;
    struct tl_merge_part *parts;
    uint32_t part_count, part_capacity;
};
void tl_merge_plan_deinit(struct tl_merge_plan *p);

/* The months of the rows of level-0 segments, ascending; *out is freed by the caller. */
TL_CHECK enum tl_code tl_merge_months(struct tl_live_segment *const *inputs, uint32_t count,
                                      struct tl_policy_month **out, uint32_t *out_count,
                                      struct tl_status *st);
/* Adds the partitions of `grain_us` from the one of min_ts to the one of max_ts, described as *meta
 * says; partitions are added in ascending order. */
TL_CHECK enum tl_code tl_merge_plan_add(struct tl_merge_plan *p, const struct tl_segment_meta *meta,
                                        int64_t grain_us, int64_t min_ts, int64_t max_ts,
                                        struct tl_status *st);
/* Counts rows, drops partitions without any, and makes the parts. */
TL_CHECK enum tl_code tl_merge_plan_cut(struct tl_merge_plan *p,
                                        struct tl_live_segment *const *inputs, uint32_t count,
                                        uint64_t part_rows, struct tl_status *st);
/* The rows of a segment that a part takes; lo == hi: none. */
TL_CHECK enum tl_code tl_merge_part_rows(const struct tl_merge_part *part,
                                         const struct tl_segment *s, uint32_t *lo, uint32_t *hi,
                                         struct tl_status *st);

#endif
