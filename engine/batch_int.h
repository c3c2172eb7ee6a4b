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

/* Any field at all. */
bool tl__next_field_slow(struct tl_reader *r, struct tl__field *f);

/* Most fields of small batches are a tag of one byte and a value or size of one or two. */
static inline bool tl__next_field(struct tl_reader *r, struct tl__field *f)
{
    const uint8_t *p = r->next;
    size_t left = r->failed ? 0 : (size_t)(r->end - p);
    if (left < 3 || p[0] >= 0x80 || p[0] < 8)
        return tl__next_field_slow(r, f);
    uint32_t wire = p[0] & 7;
    uint32_t value = p[1];
    size_t head = 2;
    if (value >= 0x80) {
        if (p[2] >= 0x80 || p[2] == 0)
            return tl__next_field_slow(r, f);
        value = (value & 0x7f) | (uint32_t)p[2] << 7;
        head = 3;
    }
    if (wire == WIRE_BYTES && value <= left - head) {
        f->bytes = tl_slice_of(p + head, value);
        r->next = p + head + value;
    } else if (wire == WIRE_VARINT) {
        f->value = value;
        r->next = p + head;
    } else {
        return tl__next_field_slow(r, f);
    }
    f->number = p[0] >> 3;
    f->wire = wire;
    return true;
}

#endif
