/*
 * wire/pg_message.h: messages of PostgreSQL's protocol 3.0, read with bounds and written.
 *
 * A message is a type byte, a length that counts itself, and fields in network order. What is
 * written goes to the end of a buffer, which remembers when it did not fit.
 *
 * Ownership  what is read borrows from the message.
 * Threads    no shared state.
 * Errors     a reader past its end answers zeros and stays `failed`: look once, at the end.
 */
#ifndef TALLY_WIRE_PG_MESSAGE_H
#define TALLY_WIRE_PG_MESSAGE_H

#include "base/bytes.h"
#include "base/status.h"

/* Codes in the place of a version in the first packet. */
enum {
    TL_PG_VERSION_3 = 196608,
    TL_PG_CANCEL_CODE = 80877102,
    TL_PG_SSL_CODE = 80877103,
    TL_PG_GSS_CODE = 80877104
};

/* ---- reading ---- */

struct tl_pg_reader {
    const uint8_t *next, *end;
    bool failed;
};

struct tl_pg_reader tl_pg_reader_of(struct tl_slice body);
uint8_t tl_pg_read_u8(struct tl_pg_reader *r);
uint16_t tl_pg_read_u16(struct tl_pg_reader *r);
uint32_t tl_pg_read_u32(struct tl_pg_reader *r);
struct tl_slice tl_pg_read_bytes(struct tl_pg_reader *r, size_t size);
/* Up to the next NUL, which must be there; ends with it, so that `data` is a C string. */
struct tl_slice tl_pg_read_string(struct tl_pg_reader *r);
/* Nothing failed and nothing is left. */
bool tl_pg_read_done(const struct tl_pg_reader *r);

static inline uint32_t tl_pg_get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}

/* ---- writing ---- */

void tl_pg_put_u16(struct tl_buffer *b, uint16_t v);
void tl_pg_put_u32(struct tl_buffer *b, uint32_t v);
void tl_pg_put_u64(struct tl_buffer *b, uint64_t v);
void tl_pg_put_string(struct tl_buffer *b, const char *s); /* with its NUL */
/* Begins a message; the answer is for tl_pg_end, which writes the length. */
size_t tl_pg_begin(struct tl_buffer *b, char type);
void tl_pg_end(struct tl_buffer *b, size_t begun);

void tl_pg_put_empty(struct tl_buffer *b, char type); /* a message without fields */
void tl_pg_put_complete(struct tl_buffer *b, const char *tag);
void tl_pg_put_parameter(struct tl_buffer *b, const char *name, const char *value);

struct tl_pg_report {
    const char *severity; /* ERROR, FATAL, WARNING, NOTICE */
    const char *sqlstate;
    const char *text;
    const char *detail, *hint; /* NULL: none */
    int32_t position;          /* 0: none */
    const char *where;         /* "file:line" or NULL */
};
/* ErrorResponse, or NoticeResponse where the severity is one. */
void tl_pg_put_report(struct tl_buffer *b, const struct tl_pg_report *report);

#endif
