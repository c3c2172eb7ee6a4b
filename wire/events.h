/*
 * wire/events.h: AppendEvents' row messages, made the columns of a batch.
 *
 * Rows whose values do not fit their columns are left out with a reason; whoever sends hears of
 * them in the acknowledgement beside those that the engine refuses. Bytes that are no such
 * message are refused whole.
 *
 * Ownership  the result is the caller's, deinit after use (also after a failure). Slices into the
 *            request are borrowed.
 * Threads    one call at a time per result.
 */
#ifndef TALLY_WIRE_EVENTS_H
#define TALLY_WIRE_EVENTS_H

#include "engine/tally.h"
#include "wire/schema_cache.h"

enum { TL_EVENTS_ROWS_MAX = TALLY_BATCH_ROWS_MAX };

struct tl_events {
    struct tl_slice producer;
    uint64_t sequence;
    struct tl_buffer body; /* the encoded Batch */
    uint32_t events;       /* in the request */
    uint32_t rows;         /* in the body */
    uint32_t refused;      /* left out */
    uint32_t told;
    struct tally_refusal refusals[TALLY_REFUSALS_TOLD_MAX]; /* row: index of the event */
    uint32_t *event_of; /* index of row i's event; NULL when none was left out */
};

/* Which columns a table has; NULL: unknown. */
typedef const struct tl_schema *tl_events_schema(void *arg, struct tl_slice table);

TL_CHECK enum tl_code tl_events_decode(struct tl_slice request, tl_events_schema *schema, void *arg,
                                       struct tl_events *out, struct tl_status *st);
void tl_events_deinit(struct tl_events *e);

#endif
