/*
 * engine/rollup_store.h: rollups beside the segments that they were computed from.
 *
 * The rollup of a pack's segments under one view is a pack of its own (docs/FORMAT.md, "Rollup
 * packs"): for each segment, one with a row per merchant, bucket and combination of dimensions,
 * for the merchants that are worth it. It is a function of the segment's rows and of the view,
 * so that equal ids hold equal bytes, whenever it was made. It joins its segment in the manifest's
 * transaction that installs the segment (flush, merge), or in one of its own (a view that was
 * created later), and goes with it. So it is never stale; a segment without one is answered from
 * rows.
 *
 * A merchant is kept in a segment when it has at least TL_ROLLUP_ROWS_MIN rows there per quarter
 * of an hour that has any, and its rollup at most one row for each two of its rows. At most
 * TL_ROLLUP_SEGMENT_BYTES_MAX of parts are kept of a segment: merchants behind that are answered
 * from rows, too.
 *
 * Ownership  made rollups are the caller's until they are freed; attaching takes references.
 * Threads    making: the flusher, the merger; no lock is held. Attaching: under manifest_lock.
 * Errors     what reading and writing packs answers; TL_CANCELLED.
 */
#ifndef TALLY_ENGINE_ROLLUP_STORE_H
#define TALLY_ENGINE_ROLLUP_STORE_H

#include "engine/rollup.h"
#include "engine/version.h"

struct tally;

enum { TL_ROLLUP_ROWS_MIN = 16 };
#define TL_ROLLUP_SEGMENT_BYTES_MAX (48ULL << 20)

/* One view's rollup of one pack. */
struct tl_rollup_made {
    uint32_t view;
    uint32_t table;            /* of the view */
    struct tl_live_pack *pack; /* NULL: no merchant of any segment was kept */
    uint32_t segment_count;    /* of the base pack */
    uint32_t *index;           /* in the rollup's pack, of each of them; UINT32_MAX: none */
};

struct tl_rollups_made {
    struct tl_rollup_made *list;
    uint32_t count;
};

/* Makes the rollups of a finished pack, for all views of the tables in it; `only` not 0: for this
 * view. `cancel` may be NULL. *out is to be freed whatever this answers. */
TL_CHECK enum tl_code tl_rollups_make(struct tally *db, const struct tl_schema *schema,
                                      const struct tl_live_pack *base, uint32_t only,
                                      const _Atomic bool *cancel, struct tl_rollups_made *out,
                                      struct tl_status *st);
/* Gives a segment of the base pack, not published yet, its rollups under the views that
 * `schema` still has. */
TL_CHECK enum tl_code tl_rollups_attach(const struct tl_rollups_made *made,
                                        const struct tl_schema *schema, struct tl_live_segment *s,
                                        struct tl_status *st);
/* Packs that were not attached are removed. */
void tl_rollups_free(struct tl_rollups_made *made);

/* The ref of a view; NULL: the segment has none. */
const struct tl_rollup_ref *tl_rollup_find(const struct tl_live_segment *s, uint32_t view);
/* The manifest names the segment no more: its packs' files go with the last reference to them. */
void tl_live_segment_dropped(struct tl_live_segment *s);

/* Adds a ref to a segment that is not published; pack NULL: none is kept. */
TL_CHECK enum tl_code tl_rollup_ref_add(struct tl_live_segment *s, uint32_t view,
                                        struct tl_live_pack *pack, uint32_t index,
                                        struct tl_status *st);

/* One step of what views that were created or dropped leave to do: makes the rollups of one
 * pack, or lets those of dropped views go. On the merger's thread. */
TL_CHECK enum tl_code tl_rollup_step(struct tally *db, bool *did, struct tl_status *st);

#endif
