#include "base/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"

int tl_slice_cmp(struct tl_slice a, struct tl_slice b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common ? memcmp(a.data, b.data, common) : 0;
    if (order != 0)
        return order;
    return a.size < b.size ? -1 : a.size > b.size;
}

/* The start of `size` bytes, or NULL: the reader is then at its end for good. */
static const uint8_t *reader_take(struct tl_reader *r, size_t size)
{
    if (r->failed || size > (size_t)(r->end - r->next)) {
        r->failed = true;
        r->next = r->end;
        return NULL;
    }
    const uint8_t *p = r->next;
    r->next += size;
    return p;
}

uint8_t tl_read_u8(struct tl_reader *r)
{
    const uint8_t *p = reader_take(r, 1);
    return p ? *p : 0;
}

uint16_t tl_read_u16(struct tl_reader *r)
{
    const uint8_t *p = reader_take(r, 2);
    return p ? tl_get_u16le(p) : 0;
}

uint32_t tl_read_u32(struct tl_reader *r)
{
    const uint8_t *p = reader_take(r, 4);
    return p ? tl_get_u32le(p) : 0;
}

uint64_t tl_read_u64(struct tl_reader *r)
{
    const uint8_t *p = reader_take(r, 8);
    return p ? tl_get_u64le(p) : 0;
}

uint64_t tl_read_varint(struct tl_reader *r)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        const uint8_t *p = reader_take(r, 1);
        if (!p)
            return 0;
        uint8_t byte = *p;
        if (shift == 63 && byte > 1)
            break; /* beyond 64 bits */
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            if (byte == 0 && shift > 0)
                break; /* overlong: a shorter form exists */
            return value;
        }
    }
    r->failed = true;
    r->next = r->end;
    return 0;
}

struct tl_slice tl_read_bytes(struct tl_reader *r, size_t size)
{
    const uint8_t *p = reader_take(r, size);
    return p ? tl_slice_of(p, size) : tl_slice_of(NULL, 0);
}

struct tl_slice tl_read_string(struct tl_reader *r)
{
    return tl_read_bytes(r, tl_read_u32(r));
}

void tl_buffer_init(struct tl_buffer *b, const char *name, size_t limit)
{
    tl_assert(name != NULL && limit > 0);
    *b = (struct tl_buffer){.limit = limit, .name = name};
}

void tl_buffer_deinit(struct tl_buffer *b)
{
    if (!b)
        return;
    free(b->data);
    b->data = NULL;
    b->size = b->capacity = 0;
}

void tl_buffer_clear(struct tl_buffer *b)
{
    b->size = 0;
    b->failed = false;
}

/* Grows to hold at least `need` bytes, need <= limit. */
static bool buffer_grow(struct tl_buffer *b, size_t need)
{
    enum { FIRST_CAPACITY = 64 };
    size_t capacity = b->capacity > b->limit / 2 ? b->limit : b->capacity * 2;
    if (capacity < FIRST_CAPACITY)
        capacity = b->limit < FIRST_CAPACITY ? b->limit : FIRST_CAPACITY;
    if (capacity < need)
        capacity = need;
    uint8_t *data = realloc(b->data, capacity);
    if (!data)
        return false;
    b->data = data;
    b->capacity = capacity;
    return true;
}

uint8_t *tl_buffer_reserve(struct tl_buffer *b, size_t size)
{
    if (b->failed)
        return NULL;
    if (size > b->limit - b->size) {
        b->failed = true;
        return NULL;
    }
    if (!b->data || size > b->capacity - b->size) {
        if (!buffer_grow(b, b->size + size)) {
            b->failed = true;
            return NULL;
        }
    }
    return b->data + b->size;
}

void tl_buffer_put(struct tl_buffer *b, const void *data, size_t size)
{
    if (size == 0)
        return;
    uint8_t *p = tl_buffer_reserve(b, size);
    if (!p)
        return;
    memcpy(p, data, size);
    b->size += size;
}

void tl_buffer_put_u8(struct tl_buffer *b, uint8_t v)
{
    tl_buffer_put(b, &v, 1);
}

void tl_buffer_put_u16(struct tl_buffer *b, uint16_t v)
{
    uint8_t bytes[2];
    tl_put_u16le(bytes, v);
    tl_buffer_put(b, bytes, sizeof(bytes));
}

void tl_buffer_put_u32(struct tl_buffer *b, uint32_t v)
{
    uint8_t bytes[4];
    tl_put_u32le(bytes, v);
    tl_buffer_put(b, bytes, sizeof(bytes));
}

void tl_buffer_put_u64(struct tl_buffer *b, uint64_t v)
{
    uint8_t bytes[8];
    tl_put_u64le(bytes, v);
    tl_buffer_put(b, bytes, sizeof(bytes));
}

void tl_buffer_put_varint(struct tl_buffer *b, uint64_t v)
{
    uint8_t bytes[10];
    size_t n = 0;
    while (v >= 0x80) {
        bytes[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    bytes[n++] = (uint8_t)v;
    tl_buffer_put(b, bytes, n);
}

void tl_buffer_put_string(struct tl_buffer *b, struct tl_slice s)
{
    if (s.size > UINT32_MAX) {
        b->failed = true;
        return;
    }
    size_t before = b->size;
    tl_buffer_put_u32(b, (uint32_t)s.size);
    tl_buffer_put(b, s.data, s.size);
    if (b->failed)
        b->size = before; /* no half string */
}

void tl_buffer_printf(struct tl_buffer *b, const char *format, ...)
{
    char small[256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(small, sizeof(small), format, args);
    va_end(args);
    if (n < 0) {
        b->failed = true;
        return;
    }
    if ((size_t)n < sizeof(small)) {
        tl_buffer_put(b, small, (size_t)n);
        return;
    }
    /* One byte more than is kept: vsnprintf ends with a NUL. */
    char *large = malloc((size_t)n + 1);
    if (!large || (size_t)n > b->limit) {
        free(large);
        b->failed = true;
        return;
    }
    va_start(args, format);
    vsnprintf(large, (size_t)n + 1, format, args);
    va_end(args);
    tl_buffer_put(b, large, (size_t)n);
    free(large);
}

enum tl_code tl_buffer_check(const struct tl_buffer *b, struct tl_status *st)
{
    if (!b->failed)
        return TL_OK;
    return TL_FAIL(st, TL_LIMIT, "%s does not fit into its limit of %zu bytes", b->name, b->limit);
}
