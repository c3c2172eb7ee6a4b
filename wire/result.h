/*
 * wire/result.h: rows of a query, encoded as ExecuteResponse messages with their frames.
 *
 * Ownership  the encoder owns its scratch; chunks are borrowed for the call.
 * Threads    one at a time (a query's worker).
 * Errors     TL_LIMIT: one row alone exceeds TL_ANSWER_BYTES_MAX.
 */
#ifndef TALLY_WIRE_RESULT_H
#define TALLY_WIRE_RESULT_H

#include "engine/tally.h"

struct tl_result_encoder {
    struct tl_buffer column, batch, message;
    const char *time_zone; /* borrowed; NULL: UTC */
    const struct tl_plan *plan;
    bool head_sent; /* names and types went out */
    bool pending;   /* `message` waits: the end may still be put into it */
};

void tl_result_encoder_init(struct tl_result_encoder *e, const struct tl_plan *plan,
                            const char *time_zone);
void tl_result_encoder_deinit(struct tl_result_encoder *e);
/* Appends finished messages to `out`; the last one may be held back until the next call. */
TL_CHECK enum tl_code tl_result_put(struct tl_result_encoder *e, const struct tl_chunk *chunk,
                                    struct tl_buffer *out, struct tl_status *st);
/* What was held back goes out now. */
void tl_result_flush(struct tl_result_encoder *e, struct tl_buffer *out);
/* The last message. */
TL_CHECK enum tl_code tl_result_end(struct tl_result_encoder *e, uint64_t elapsed_us,
                                    struct tl_buffer *out, struct tl_status *st);

#endif
