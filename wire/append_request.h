/*
 * wire/append_request.h: the envelope of AppendRequest, read without a copy.
 *
 * The Batch within is not looked into: its bytes go to the engine as they are.
 */
#ifndef TALLY_WIRE_APPEND_REQUEST_H
#define TALLY_WIRE_APPEND_REQUEST_H

#include "engine/tally.h"

/* *out borrows from `bytes`. TL_INVALID: it is no AppendRequest, or holds two batches. */
TL_CHECK enum tl_code tl_append_request_decode(struct tl_slice bytes, struct tally_batch *out,
                                               struct tl_status *st);

/* Appends an AppendResponse without its frame. Rows of refusals pass through `event_of` unless
 * it is NULL. */
void tl_append_response_encode(uint64_t sequence, const struct tally_ack *ack,
                               const uint32_t *event_of, uint32_t event_count,
                               struct tl_buffer *out);

#endif
