/*
 * engine/merge_view.h: what engine/merge_policy.h is asked about: every (table, shard) with its
 * runs, its state and the requests, as of one moment.
 *
 * Ownership  a view holds a reference to its version; freed by tl_merge_view_free.
 * Threads    any; version_lock is taken for a moment.
 * Errors     TL_LIMIT.
 */
#ifndef TALLY_ENGINE_MERGE_VIEW_H
#define TALLY_ENGINE_MERGE_VIEW_H

#include "engine/db_int.h"

/* One (table, shard). */
struct tl_merge_machine {
    const struct tl_segment_list *list; /* NULL: no segment */
    struct tl_merge_state state;
    struct tl_policy_run *runs;
    uint32_t *first; /* per run the place of its first segment; one more at the end */
    uint32_t run_count;
    struct tl_policy_request *requests;
    uint32_t request_count;
};

/* Everything, as of one moment. */
struct tl_merge_view {
    struct tl_version *version;
    uint64_t flushed_seal;
    struct tl_merge_machine *machines;
    uint32_t count;
};

TL_CHECK enum tl_code tl_merge_view_take(struct tally *db, struct tl_merge_view *v,
                                         struct tl_status *st);
void tl_merge_view_free(struct tl_merge_view *v);
struct tl_policy_state tl_merge_policy_of(const struct tl_merge_view *v,
                                          const struct tl_merge_machine *m);

#endif
