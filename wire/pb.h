/*
 * wire/pb.h: protobuf's encoding, read with bounds and written by hand.
 *
 * For the messages where a library's decoder is too slow or can be made to allocate: the ingest
 * path, results, health and reflection. A reader never copies; a length that runs past the end,
 * a varint of more than 64 bits or a group fails it for good.
 *
 * Ownership  slices are borrowed from the bytes read.
 * Threads    no shared state.
 */
#ifndef TALLY_WIRE_PB_H
#define TALLY_WIRE_PB_H

#include "base/bytes.h"

enum tl_pb_wire { TL_PB_VARINT = 0, TL_PB_FIXED64 = 1, TL_PB_BYTES = 2, TL_PB_FIXED32 = 5 };

struct tl_pb_reader {
    const uint8_t *next;
    const uint8_t *end;
    bool failed;
};

/* One field: its value in `varint` (also fixed ones) or in `bytes`. */
struct tl_pb_field {
    uint32_t number;
    uint32_t wire; /* enum tl_pb_wire */
    uint64_t varint;
    struct tl_slice bytes;
};

static inline struct tl_pb_reader tl_pb_reader_of(struct tl_slice s)
{
    return (struct tl_pb_reader){s.data, s.data ? s.data + s.size : s.data, false};
}

/* A varint as protobuf allows it: padded ones too, bits beyond the 64th must be zero. */
static inline uint64_t tl_pb_read_varint(struct tl_pb_reader *r)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (r->next == r->end)
            break;
        uint8_t byte = *r->next++;
        if (shift == 63 && (byte & 0x7e))
            break;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return value;
    }
    r->failed = true;
    r->next = r->end;
    return 0;
}

/* The next field into *out; false at the end, or on bytes that are no message (then `failed`). */
bool tl_pb_next(struct tl_pb_reader *r, struct tl_pb_field *out);

static inline int64_t tl_pb_unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}
static inline uint64_t tl_pb_zigzag(int64_t v)
{
    return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
}
static inline uint32_t tl_pb_varint_size(uint64_t v)
{
    return (uint32_t)(1 + (63 - __builtin_clzll(v | 1)) / 7);
}
/* Writes at p, which has room for 10 bytes; returns the end. */
static inline uint8_t *tl_pb_write_varint(uint8_t *p, uint64_t v)
{
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

/* Writers: a field with its tag. Zero and empty values are left out, as proto3 does. */
void tl_pb_put_uint(struct tl_buffer *b, uint32_t number, uint64_t v);
void tl_pb_put_bytes(struct tl_buffer *b, uint32_t number, struct tl_slice s);
void tl_pb_put_str(struct tl_buffer *b, uint32_t number, const char *s);
/* Tag and length of `size` bytes that the caller puts next (also when 0). */
void tl_pb_put_head(struct tl_buffer *b, uint32_t number, size_t size);

#endif
