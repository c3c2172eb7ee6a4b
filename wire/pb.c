#include "wire/pb.h"

static bool fail(struct tl_pb_reader *r)
{
    r->failed = true;
    r->next = r->end;
    return false;
}

bool tl_pb_next(struct tl_pb_reader *r, struct tl_pb_field *out)
{
    enum { FIELD_MAX = (1 << 29) - 1 };
    if (r->next == r->end)
        return false;
    uint64_t tag = tl_pb_read_varint(r);
    if (r->failed || tag >> 3 == 0 || tag >> 3 > FIELD_MAX)
        return fail(r);
    *out = (struct tl_pb_field){.number = (uint32_t)(tag >> 3), .wire = (uint32_t)(tag & 7)};
    size_t left = (size_t)(r->end - r->next);
    switch (out->wire) {
    case TL_PB_VARINT:
        out->varint = tl_pb_read_varint(r);
        return !r->failed;
    case TL_PB_FIXED64:
        if (left < 8)
            return fail(r);
        out->varint = tl_get_u64le(r->next);
        r->next += 8;
        return true;
    case TL_PB_FIXED32:
        if (left < 4)
            return fail(r);
        out->varint = tl_get_u32le(r->next);
        r->next += 4;
        return true;
    case TL_PB_BYTES: {
        uint64_t size = tl_pb_read_varint(r);
        if (r->failed || size > (size_t)(r->end - r->next))
            return fail(r);
        out->bytes = tl_slice_of(r->next, (size_t)size);
        r->next += size;
        return true;
    }
    default: /* groups: in none of our messages */
        return fail(r);
    }
}

void tl_pb_put_head(struct tl_buffer *b, uint32_t number, size_t size)
{
    tl_buffer_put_varint(b, (uint64_t)number << 3 | TL_PB_BYTES);
    tl_buffer_put_varint(b, size);
}

void tl_pb_put_uint(struct tl_buffer *b, uint32_t number, uint64_t v)
{
    if (v == 0)
        return;
    tl_buffer_put_varint(b, (uint64_t)number << 3 | TL_PB_VARINT);
    tl_buffer_put_varint(b, v);
}

void tl_pb_put_bytes(struct tl_buffer *b, uint32_t number, struct tl_slice s)
{
    if (s.size == 0)
        return;
    tl_pb_put_head(b, number, s.size);
    tl_buffer_put(b, s.data, s.size);
}

void tl_pb_put_str(struct tl_buffer *b, uint32_t number, const char *s)
{
    tl_pb_put_bytes(b, number, tl_slice_str(s));
}
