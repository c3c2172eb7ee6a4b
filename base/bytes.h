/*
 * base/bytes.h: slices, little-endian fields, bounded readers and growable buffers.
 *
 * No struct goes to a disk or a socket: fields pass through these helpers in the order that the
 * format's page gives.
 *
 * Ownership  a slice borrows. A buffer owns its bytes and has a limit from birth.
 * Threads    no shared state.
 * Errors     a reader that runs past its end answers zeros and stays `failed`: check once at the
 *            end of a header. A buffer at its limit: TL_LIMIT.
 */
#ifndef TALLY_BASE_BYTES_H
#define TALLY_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/status.h"

struct tl_slice {
    const uint8_t *data; /* may be NULL when size is 0 */
    size_t size;         /* bytes */
};

static inline struct tl_slice tl_slice_of(const void *data, size_t size)
{
    return (struct tl_slice){(const uint8_t *)data, size};
}
static inline struct tl_slice tl_slice_str(const char *s)
{
    return (struct tl_slice){(const uint8_t *)s, strlen(s)};
}
static inline bool tl_slice_eq(struct tl_slice a, struct tl_slice b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}
/* Byte order (collation C): <0, 0, >0; a prefix sorts first. */
int tl_slice_cmp(struct tl_slice a, struct tl_slice b);

static inline void tl_put_u16le(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}
static inline void tl_put_u32le(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}
static inline void tl_put_u64le(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}
static inline uint16_t tl_get_u16le(const uint8_t *p)
{
    return (uint16_t)(p[0] | (p[1] << 8));
}
static inline uint32_t tl_get_u32le(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline uint64_t tl_get_u64le(const uint8_t *p)
{
    return (uint64_t)tl_get_u32le(p) | (uint64_t)tl_get_u32le(p + 4) << 32;
}

/* A reader over borrowed bytes. Past the end every read gives 0 and sets `failed`. */
struct tl_reader {
    const uint8_t *next;
    const uint8_t *end;
    bool failed;
};

static inline struct tl_reader tl_reader_of(struct tl_slice s)
{
    /* Nothing is added to NULL: sanitizers take it ill. */
    return (struct tl_reader){s.data, s.size ? s.data + s.size : s.data, false};
}
static inline size_t tl_reader_left(const struct tl_reader *r)
{
    return (size_t)(r->end - r->next);
}
uint8_t tl_read_u8(struct tl_reader *r);
uint16_t tl_read_u16(struct tl_reader *r);
uint32_t tl_read_u32(struct tl_reader *r);
uint64_t tl_read_u64(struct tl_reader *r);
/* LEB128, at most 10 bytes; an overlong or cut one fails. */
uint64_t tl_read_varint(struct tl_reader *r);
/* `size` bytes, borrowed; an empty slice when fewer are left. */
struct tl_slice tl_read_bytes(struct tl_reader *r, size_t size);
/* A u32 length and that many bytes. */
struct tl_slice tl_read_string(struct tl_reader *r);

/* A growable byte buffer that cannot be made without a maximum. */
struct tl_buffer {
    uint8_t *data;
    size_t size;
    size_t capacity;
    size_t limit;     /* TL_LIMIT past this many bytes */
    const char *name; /* for the error */
    bool failed;      /* an append did not fit; later appends do nothing */
};

void tl_buffer_init(struct tl_buffer *b, const char *name, size_t limit);
void tl_buffer_deinit(struct tl_buffer *b);
void tl_buffer_clear(struct tl_buffer *b);
/* Room for `size` more bytes at data + size; NULL (and failed) at the limit. Does not grow size. */
uint8_t *tl_buffer_reserve(struct tl_buffer *b, size_t size);
void tl_buffer_put(struct tl_buffer *b, const void *data, size_t size);
void tl_buffer_put_u8(struct tl_buffer *b, uint8_t v);
void tl_buffer_put_u16(struct tl_buffer *b, uint16_t v);
void tl_buffer_put_u32(struct tl_buffer *b, uint32_t v);
void tl_buffer_put_u64(struct tl_buffer *b, uint64_t v);
void tl_buffer_put_varint(struct tl_buffer *b, uint64_t v);
/* A u32 length and the bytes. */
void tl_buffer_put_string(struct tl_buffer *b, struct tl_slice s);
void tl_buffer_printf(struct tl_buffer *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* TL_OK, or the failure that an append met. Call once after a run of puts. */
TL_CHECK enum tl_code tl_buffer_check(const struct tl_buffer *b, struct tl_status *st);
static inline struct tl_slice tl_buffer_slice(const struct tl_buffer *b)
{
    return tl_slice_of(b->data, b->size);
}

#endif
