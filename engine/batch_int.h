/*
 * engine/batch_int.h: walking the fields of a message, for decoding (batch.c) and judging
 * (batch_judge.c).
 */
#ifndef TALLY_ENGINE_BATCH_INT_H
#define TALLY_ENGINE_BATCH_INT_H

#include "base/bytes.h"
#include "base/varint.h"

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

/* One field: its number, wire type, and the value or the bytes. False at the end or on damage. */
struct tl__field {
    uint32_t number;
    uint32_t wire;
    uint64_t value;
    struct tl_slice bytes;
};

static inline bool tl__next_field(struct tl_reader *r, struct tl__field *f)
{
    if (r->failed || tl_reader_left(r) == 0)
        return false;
    uint64_t tag = tl_read_varint(r);
    if (r->failed || tag >> 3 == 0 || tag >> 3 > UINT32_MAX) {
        r->failed = true;
        return false;
    }
    f->number = (uint32_t)(tag >> 3);
    f->wire = (uint32_t)(tag & 7);
    switch (f->wire) {
    case WIRE_VARINT:
        f->value = tl_read_varint(r);
        break;
    case WIRE_FIXED64:
        f->value = tl_read_u64(r);
        break;
    case WIRE_BYTES: {
        uint64_t size = tl_read_varint(r);
        if (r->failed || size > tl_reader_left(r)) {
            r->failed = true;
            return false;
        }
        f->bytes = tl_read_bytes(r, (size_t)size);
        break;
    }
    default:
        r->failed = true;
    }
    return !r->failed;
}

#endif
