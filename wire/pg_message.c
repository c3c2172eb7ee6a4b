#include "wire/pg_message.h"

#include <string.h>

#include "base/assert.h"

struct tl_pg_reader tl_pg_reader_of(struct tl_slice body)
{
    return (struct tl_pg_reader){body.data, body.size ? body.data + body.size : body.data, false};
}

struct tl_slice tl_pg_read_bytes(struct tl_pg_reader *r, size_t size)
{
    if (r->failed || (size_t)(r->end - r->next) < size) {
        r->failed = true;
        return tl_slice_of(NULL, 0);
    }
    const uint8_t *at = r->next;
    r->next += size;
    return tl_slice_of(at, size);
}

uint8_t tl_pg_read_u8(struct tl_pg_reader *r)
{
    struct tl_slice s = tl_pg_read_bytes(r, 1);
    return s.size ? s.data[0] : 0;
}

uint16_t tl_pg_read_u16(struct tl_pg_reader *r)
{
    struct tl_slice s = tl_pg_read_bytes(r, 2);
    return (uint16_t)(s.size ? s.data[0] << 8 | s.data[1] : 0);
}

uint32_t tl_pg_read_u32(struct tl_pg_reader *r)
{
    struct tl_slice s = tl_pg_read_bytes(r, 4);
    return s.size ? tl_pg_get_u32(s.data) : 0;
}

struct tl_slice tl_pg_read_string(struct tl_pg_reader *r)
{
    size_t left = (size_t)(r->end - r->next);
    const uint8_t *nul = r->failed || left == 0 ? NULL : memchr(r->next, 0, left);
    if (!nul) {
        r->failed = true;
        return tl_slice_of("", 0);
    }
    struct tl_slice s = tl_slice_of(r->next, (size_t)(nul - r->next));
    r->next = nul + 1;
    return s;
}

bool tl_pg_read_done(const struct tl_pg_reader *r)
{
    return !r->failed && r->next == r->end;
}

void tl_pg_put_u16(struct tl_buffer *b, uint16_t v)
{
    uint8_t bytes[2] = {(uint8_t)(v >> 8), (uint8_t)v};
    tl_buffer_put(b, bytes, sizeof(bytes));
}

void tl_pg_put_u32(struct tl_buffer *b, uint32_t v)
{
    uint8_t bytes[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    tl_buffer_put(b, bytes, sizeof(bytes));
}

void tl_pg_put_u64(struct tl_buffer *b, uint64_t v)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(v >> (56 - 8 * i));
    tl_buffer_put(b, bytes, sizeof(bytes));
}

void tl_pg_put_string(struct tl_buffer *b, const char *s)
{
    tl_buffer_put(b, s, strlen(s) + 1);
}

size_t tl_pg_begin(struct tl_buffer *b, char type)
{
    tl_buffer_put_u8(b, (uint8_t)type);
    size_t begun = b->size;
    tl_pg_put_u32(b, 0);
    return begun;
}

void tl_pg_end(struct tl_buffer *b, size_t begun)
{
    if (b->failed)
        return;
    tl_assert(b->size >= begun + 4);
    uint32_t size = (uint32_t)(b->size - begun);
    for (int i = 0; i < 4; i++)
        b->data[begun + (size_t)i] = (uint8_t)(size >> (24 - 8 * i));
}

void tl_pg_put_empty(struct tl_buffer *b, char type)
{
    tl_pg_end(b, tl_pg_begin(b, type));
}

void tl_pg_put_complete(struct tl_buffer *b, const char *tag)
{
    size_t m = tl_pg_begin(b, 'C');
    tl_pg_put_string(b, tag);
    tl_pg_end(b, m);
}

void tl_pg_put_parameter(struct tl_buffer *b, const char *name, const char *value)
{
    size_t m = tl_pg_begin(b, 'S');
    tl_pg_put_string(b, name);
    tl_pg_put_string(b, value);
    tl_pg_end(b, m);
}

static void field(struct tl_buffer *b, char code, const char *text)
{
    if (!text || !text[0])
        return;
    tl_buffer_put_u8(b, (uint8_t)code);
    tl_pg_put_string(b, text);
}

void tl_pg_put_report(struct tl_buffer *b, const struct tl_pg_report *r)
{
    bool error = r->severity[0] == 'E' || r->severity[0] == 'F';
    size_t m = tl_pg_begin(b, error ? 'E' : 'N');
    field(b, 'S', r->severity);
    field(b, 'V', r->severity);
    field(b, 'C', r->sqlstate);
    field(b, 'M', r->text[0] ? r->text : "unknown error");
    field(b, 'D', r->detail);
    field(b, 'H', r->hint);
    if (r->position > 0) {
        tl_buffer_put_u8(b, 'P');
        tl_buffer_printf(b, "%d", (int)r->position);
        tl_buffer_put_u8(b, 0);
    }
    const char *colon = r->where ? strrchr(r->where, ':') : NULL;
    if (colon) {
        tl_buffer_put_u8(b, 'F');
        tl_buffer_put(b, r->where, (size_t)(colon - r->where));
        tl_buffer_put_u8(b, 0);
        field(b, 'L', colon + 1);
    }
    tl_buffer_put_u8(b, 0);
    tl_pg_end(b, m);
}
