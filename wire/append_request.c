#include "wire/append_request.h"

#include "wire/pb.h"

enum {
    REQUEST_PRODUCER = 1,
    REQUEST_SEQUENCE = 2,
    REQUEST_BATCH = 3,
    REQUEST_IMPORT = 4,
    RESPONSE_SEQUENCE = 1,
    RESPONSE_CODE = 2,
    RESPONSE_MESSAGE = 3,
    RESPONSE_ROWS = 4,
    RESPONSE_REFUSED = 5,
    RESPONSE_DUPLICATE = 6,
    RESPONSE_REFUSALS = 7,
    RESPONSE_POSITION = 8,
    RESPONSE_DUPLICATE_ROWS = 9,
    REFUSAL_ROW = 1,
    REFUSAL_REASON = 2
};

enum tl_code tl_append_request_decode(struct tl_slice bytes, struct tally_batch *out,
                                      struct tl_status *st)
{
    struct tally_batch batch = {0};
    struct tl_pb_reader r = tl_pb_reader_of(bytes);
    struct tl_pb_field f;
    bool has_batch = false;
    while (tl_pb_next(&r, &f)) {
        if (f.number > REQUEST_IMPORT)
            continue; /* of a newer protocol */
        bool is_bytes = f.number == REQUEST_PRODUCER || f.number == REQUEST_BATCH;
        if (f.wire != (is_bytes ? TL_PB_BYTES : TL_PB_VARINT))
            return TL_FAIL(st, TL_INVALID, "field %u of the AppendRequest has another type",
                           f.number);
        switch (f.number) {
        case REQUEST_PRODUCER:
            batch.producer = f.bytes;
            break;
        case REQUEST_SEQUENCE:
            batch.sequence = f.varint;
            break;
        case REQUEST_BATCH:
            if (has_batch)
                return TL_FAIL(st, TL_INVALID, "an AppendRequest holds one batch");
            has_batch = true;
            batch.body = f.bytes;
            break;
        default:
            batch.import = f.varint != 0;
        }
    }
    if (r.failed)
        return TL_FAIL(st, TL_INVALID, "these bytes are no AppendRequest");
    if (!has_batch)
        return TL_FAIL(st, TL_INVALID, "the AppendRequest holds no batch");
    if (batch.producer.size > TALLY_PRODUCER_BYTES_MAX)
        return TL_FAIL(st, TL_INVALID, "a producer's name has at most %d bytes, this one has %zu",
                       TALLY_PRODUCER_BYTES_MAX, batch.producer.size);
    *out = batch;
    return TL_OK;
}

/* tally.v1.Code */
static uint64_t code_of(enum tl_code code)
{
    switch (code) {
    case TL_OK:
        return 0;
    case TL_INVALID:
    case TL_UNSUPPORTED:
        return 1;
    case TL_LIMIT:
        return 2;
    case TL_TOO_OLD:
        return 3;
    case TL_NOT_FOUND:
        return 5;
    default:
        return 4;
    }
}

void tl_append_response_encode(uint64_t sequence, const struct tally_ack *ack,
                               const uint32_t *event_of, uint32_t event_count,
                               struct tl_buffer *out)
{
    tl_pb_put_uint(out, RESPONSE_SEQUENCE, sequence);
    tl_pb_put_uint(out, RESPONSE_CODE, code_of(ack->code));
    if (ack->code && ack->text)
        tl_pb_put_str(out, RESPONSE_MESSAGE, ack->text);
    tl_pb_put_uint(out, RESPONSE_ROWS, ack->rows);
    tl_pb_put_uint(out, RESPONSE_REFUSED, ack->refused);
    tl_pb_put_uint(out, RESPONSE_DUPLICATE, ack->duplicate);
    for (uint32_t i = 0; i < ack->told; i++) {
        const struct tally_refusal *r = &ack->refusals[i];
        uint32_t row = event_of && r->row < event_count ? event_of[r->row] : r->row;
        size_t n = strnlen(r->reason, sizeof(r->reason));
        size_t size =
            (row ? 1 + tl_pb_varint_size(row) : 0) + (n ? 1 + tl_pb_varint_size(n) + n : 0);
        tl_pb_put_head(out, RESPONSE_REFUSALS, size);
        tl_pb_put_uint(out, REFUSAL_ROW, row);
        tl_pb_put_bytes(out, REFUSAL_REASON, tl_slice_of(r->reason, n));
    }
    tl_pb_put_uint(out, RESPONSE_POSITION, ack->position);
    tl_pb_put_uint(out, RESPONSE_DUPLICATE_ROWS, ack->duplicate_rows);
}
