/*
 * engine/event_ids.h: two rows with the same merchant, ts and event id are one event.
 *
 * Decided where a batch is applied, row by row in log order: the first one is stored, later ones
 * enter no memtable, hence no segment and no rollup, however far apart they come. The answer is a
 * function of the log alone; everything that is kept here only makes it quick:
 *
 *     batch ── keys ──► rows of memtables      a hash table per memtable: exact
 *                  └──► rows of segments       filters (engine/id_filter.h) over all keys with
 *                         │                    ts >= the table's floor: no, or maybe
 *                         └─ maybe, or older than the floor: the segments of the shard whose times
 *                            fit are asked (merchant index, ts, then the id itself)
 *
 * A memtable's keys become a filter when it is flushed; filters of like size merge. What exceeds
 * the limit is dropped, oldest times first, and the floor rises. After a restart the floor lies
 * above everything; the merger reads the keys of the segments anew when the first id arrives.
 *
 * Cost   a table without an id column, or a batch without ids: one comparison. A new id: one hash
 * of its string, one probe of each live memtable's table and of about log2(rows / flush rows)
 *        filters; 8 to 16 bytes per row while in a memtable, about 2.3 after. A duplicate: one
 *        search in its segment besides.
 *
 * Ownership  belongs to the state; holds references to memtables.
 * Threads    filter, sealed memtables' end: the log thread. flushed: the flusher. rebuild: the
 *            merger. The lists of filters are under a lock of their own.
 * Errors     of filter: those of reading segments, final as those of apply.
 */
#ifndef TALLY_ENGINE_EVENT_IDS_H
#define TALLY_ENGINE_EVENT_IDS_H

#include "engine/batch.h"
#include "engine/memtable.h"
#include "engine/version.h"

struct tl_event_ids;

/* Filters take at most filter_bytes; 0: 48 MiB. */
TL_CHECK enum tl_code tl_event_ids_new(size_t filter_bytes, struct tl_event_ids **out,
                                       struct tl_status *st);
void tl_event_ids_free(struct tl_event_ids *ids); /* takes NULL */

/* Segments that were there at the start: nothing is known of their keys. */
TL_CHECK enum tl_code tl_event_ids_open(struct tl_event_ids *ids, const struct tl_version *version,
                                        struct tl_status *st);

/* Does the batch bring event ids? */
static inline bool tl_event_ids_has(const struct tl_batch *batch)
{
    int32_t column = batch->table->event_id_column;
    return column >= 0 && batch->columns[column].present && batch->columns[column].string_count > 0;
}

/* The rows of a batch to leave out: the refused ones and the duplicates, ascending. `active` is the
 * memtable that the others go to, right after; `version` names everything else that is
 * stored (a reference is held by the caller). *count == refused_count: no duplicates. */
TL_CHECK enum tl_code tl_event_ids_filter(struct tl_event_ids *ids, struct tl_memtable *active,
                                          const struct tl_version *version,
                                          const struct tl_batch *batch,
                                          const struct tl_refused *refused, uint32_t refused_count,
                                          struct tl_arena *scratch, const struct tl_refused **out,
                                          uint32_t *count, struct tl_status *st);

/* The memtable's rows are about to be a segment: its keys become a filter. */
TL_CHECK enum tl_code tl_event_ids_flushed(struct tl_event_ids *ids, const struct tl_memtable *m,
                                           struct tl_status *st);

/* True when ids arrive for a table whose segments' keys are not known: read them. */
bool tl_event_ids_wants_rebuild(struct tl_event_ids *ids);
/* Reads the keys of the version's segments into filters, the newest times first, up to the limit.
 * TL_CANCELLED when `cancel` becomes true. */
TL_CHECK enum tl_code tl_event_ids_rebuild(struct tl_event_ids *ids,
                                           const struct tl_version *version,
                                           const _Atomic bool *cancel, struct tl_status *st);

struct tl_event_ids_stats {
    uint64_t bytes;      /* tables of memtables and filters */
    uint64_t duplicates; /* rows left out */
    uint64_t asked;      /* rows that were looked for in segments */
    uint32_t filters;
};
void tl_event_ids_stats(struct tl_event_ids *ids, struct tl_event_ids_stats *out);

#endif
