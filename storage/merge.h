/*
 * storage/merge.h: several segments of one table and shard become one per partition.
 *
 * A vertical merge: first the sort keys alone are merged into a sequence that says, run by run,
 * which input the next rows come from; then each column is streamed through that sequence, its
 * codes mapped from the inputs' dictionaries to a new one. Rows are never assembled. Ties on
 * (merchant_id, ts) keep the order of the inputs, then their row order, so the inputs must be
 * given oldest first. The same inputs make the same bytes.
 *
 * Memory     4 bytes per run of rows of one input (at worst 4 per row), 4 bytes per distinct
 *            string of the column in flight and input, that column's new dictionary, and one
 *            block per input; of the columns that others are mapped by, codes in encoded form and
 *            4 bytes per entry of a map. Charged to the options' budget, as are up to 64 MiB of
 *            inflated pages (the sample needs them, too) and, for several partitions, blocks.
 *            Where keys of maps (storage/props.h) are hot in an input and not in the merged
 *            segment, or the other way round, 75 KiB per such column and input.
 * Ownership  inputs are borrowed for the call; their packs must be referenced by the caller.
 * Threads    the call runs on its own; any number at once.
 * Errors     TL_CANCELLED, and what reading and writing packs answers. On failure no file is left.
 *            TL_INVALID: a row in no partition, or a column whose type differs between inputs.
 */
#ifndef TALLY_STORAGE_MERGE_H
#define TALLY_STORAGE_MERGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "storage/pack.h"

enum { TL_MERGE_INPUTS_MAX = 255 };

struct tl_merge_input {
    struct tl_segment *segment;
    const uint64_t *kept; /* bit r set: row r goes on; NULL: all do */
    uint32_t lo, hi;      /* of the segment's rows only [lo, hi); hi 0: all */
};

struct tl_merge_options {
    struct tl_pack_options pack;
    struct tl_budget *budget;          /* for the merge itself; NULL: no limit */
    const _Atomic bool *cancel;        /* read once per vector; NULL: never */
    _Atomic uint64_t *progress_values; /* values written so far, relaxed; NULL: not told */
    bool leave_others; /* rows of no partition are left out, another merge takes them */
};

/* Merges inputs (oldest first) into the pack *id, one segment per partition that has rows, in the
 * order of `partitions`, which are disjoint, ascending by start_us and together hold every row
 * (but for leave_others).
 * A partition's meta is written as given. When no row is left, no pack is made and
 * out->segment_count is 0. *out as from tl_pack_finish, also what it says on durability. */
TL_CHECK enum tl_code tl_merge(struct tl_io *io, const struct tl_pack_id *id,
                               const struct tl_merge_input *inputs, uint32_t input_count,
                               const struct tl_segment_meta *partitions, uint32_t partition_count,
                               const struct tl_merge_options *options, struct tl_pack_info *out,
                               struct tl_status *st);

#endif
