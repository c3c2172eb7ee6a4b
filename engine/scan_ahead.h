/*
 * engine/scan_ahead.h: a scan's reading ahead of its morsels.
 *
 * The pieces of work of a scan are handed out in order. When one is, the blocks of the next ones
 * go down to the disk, as many pieces as the consumers turn out to need: a piece whose blocks were
 * not there in time doubles the depth, a run of pieces that were takes one off. Who holds a piece
 * takes in its blocks (verifying and inflating them is spread over the holders), and keeps them
 * pinned until it is closed.
 *
 * Ownership  the scan owns it, and frees it when all pieces are closed.
 * Threads    hand_out, free: one thread at a time, as next_morsel of query/source.h. open, close:
 *            whoever holds the piece.
 * Errors     of reading and verifying, at the open. A budget or a memory that is full costs the
 *            reading ahead, not the scan: what is missing is read when it is needed.
 */
#ifndef TALLY_ENGINE_SCAN_AHEAD_H
#define TALLY_ENGINE_SCAN_AHEAD_H

#include "base/arena.h"
#include "storage/segment.h"

struct tl_ahead;
struct tl_io;

/* Collects the blocks of one piece. */
typedef enum tl_code tl_ahead_fill(void *context, uint32_t work, struct tl_prefetch *p,
                                   struct tl_status *st);

TL_CHECK enum tl_code tl_ahead_new(struct tl_io *io, uint32_t work_count, tl_ahead_fill *fill,
                                   void *context, struct tl_budget *budget, struct tl_ahead **out,
                                   struct tl_status *st);
void tl_ahead_free(struct tl_ahead *a); /* NULL is fine, and for the next ones it does nothing */

/* The piece goes to a holder; starts what lies ahead of it. */
TL_CHECK enum tl_code tl_ahead_hand_out(struct tl_ahead *a, uint32_t work, struct tl_status *st);
/* Its blocks are in the cache and pinned now. */
TL_CHECK enum tl_code tl_ahead_open(struct tl_ahead *a, uint32_t work, struct tl_read_stats *stats,
                                    struct tl_status *st);
/* Opened or not. */
void tl_ahead_close(struct tl_ahead *a, uint32_t work);

#endif
