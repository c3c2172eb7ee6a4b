/*
 * tools/batch_writer.h: builds the bytes of a tally.v1.Batch, column by column, row by row.
 *
 * Each row puts at most one value into each column and then ends; a column that got none is NULL
 * there. TEXT is dictionary-coded: `put_text` hashes the string once per value, and who knows
 * its values beforehand asks for a code once (`intern`) and puts codes. Values are varint-coded as
 * they are put, so that finishing a batch is little more than copying.
 *
 *     begin ─ (put … end_row)* ─ finish ─ (put … end_row)* ─ finish …
 *
 * Ownership  the writer copies strings; names and types are copied at the start.
 * Threads    one writer belongs to one thread.
 * Units      rows and bytes.
 * Errors     TL_LIMIT when the finished batch does not fit the caller's buffer.
 */
#ifndef TALLY_TOOLS_BATCH_WRITER_H
#define TALLY_TOOLS_BATCH_WRITER_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/vector.h"

enum { TL_BATCH_WRITER_COLUMNS_MAX = 512 };

struct tl_batch_column_def {
    const char *name;
    struct tl_type type;
};

/* Embedded for the inlined puts; only the functions below touch it. */
struct tl_batch_column {
    char *name;
    struct tl_type type;
    bool delta;
    bool nulls;        /* `validity` is in use: a row before was NULL */
    uint32_t rows;     /* entries put, NULLs filled in included */
    uint32_t valid;    /* entries that are values */
    int64_t previous;  /* of delta coding */
    uint8_t *validity; /* a bit for each of rows_max rows */
    size_t validity_size;
    uint8_t *values; /* varints, doubles or bools; room for the widest values of rows_max rows */
    size_t values_size;
    /* TEXT and PROPS: the dictionary in order of first appearance */
    uint8_t *blob;
    size_t blob_size, blob_capacity;
    uint32_t *ends; /* of value i in the blob; room for rows_max */
    uint32_t dict_count;
    uint32_t *slots;  /* hash table: code + 1, or 0 */
    uint32_t *hashes; /* of value i */
    uint32_t slot_mask;
};

struct tl_batch_writer {
    char *table;
    uint32_t rows, rows_max;
    uint32_t column_count;
    struct tl_batch_column *columns;
    bool failed; /* no memory for a dictionary; told by finish */
};

TL_CHECK enum tl_code tl_batch_writer_new(const char *table, const struct tl_batch_column_def *defs,
                                          uint32_t count, uint32_t rows_max,
                                          struct tl_batch_writer **out, struct tl_status *st);
void tl_batch_writer_free(struct tl_batch_writer *w); /* takes NULL */

/* Appends the encoded batch to `out` and begins the next one. */
TL_CHECK enum tl_code tl_batch_writer_finish(struct tl_batch_writer *w, struct tl_buffer *out,
                                             struct tl_status *st);
/* Throws the rows since the last finish away. */
void tl_batch_writer_clear(struct tl_batch_writer *w);
/* About how many bytes the batch would have now. */
size_t tl_batch_writer_bytes(const struct tl_batch_writer *w);

/* The code of a string in this batch; a new one takes the next code. */
uint32_t tl_batch_intern(struct tl_batch_writer *w, struct tl_batch_column *c, struct tl_slice s);
/* The same for a string that its caller knows to be new in this batch: nothing is looked up, and
 * later lookups do not find it. One column is used either through this or through the others. */
uint32_t tl_batch_intern_new(struct tl_batch_writer *w, struct tl_batch_column *c,
                             struct tl_slice s);

/* Fills rows that got no value with NULLs up to `rows`. */
void tl_batch_fill_nulls(struct tl_batch_column *c, uint32_t rows);

static inline void tl_batch_mark_valid(struct tl_batch_writer *w, struct tl_batch_column *c)
{
    if (__builtin_expect(c->rows != w->rows, 0))
        tl_batch_fill_nulls(c, w->rows);
    if (c->nulls)
        c->validity[c->rows >> 3] |= (uint8_t)(1u << (c->rows & 7));
    c->rows++;
    c->valid++;
}

static inline uint8_t *tl_batch_varint(uint8_t *p, uint64_t v)
{
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

/* BIGINT, DECIMAL64 (scaled), DATE (days), TIMESTAMP and TIMESTAMPTZ (microseconds). */
static inline void tl_batch_put_int(struct tl_batch_writer *w, struct tl_batch_column *c, int64_t v)
{
    tl_batch_mark_valid(w, c);
    uint64_t u = (uint64_t)v;
    if (c->delta) {
        u -= (uint64_t)c->previous;
        c->previous = v;
    }
    uint64_t zigzag = (u << 1) ^ (uint64_t)((int64_t)u >> 63);
    c->values_size = (size_t)(tl_batch_varint(c->values + c->values_size, zigzag) - c->values);
}

static inline void tl_batch_put_code(struct tl_batch_writer *w, struct tl_batch_column *c,
                                     uint32_t code)
{
    tl_batch_mark_valid(w, c);
    uint8_t *p = c->values + c->values_size;
    if (code < 0x80) {
        *p = (uint8_t)code;
        c->values_size++;
    } else {
        c->values_size = (size_t)(tl_batch_varint(p, code) - c->values);
    }
}

static inline void tl_batch_put_bool(struct tl_batch_writer *w, struct tl_batch_column *c, bool v)
{
    tl_batch_mark_valid(w, c);
    c->values[c->values_size++] = v;
}

void tl_batch_put_double(struct tl_batch_writer *w, struct tl_batch_column *c, double v);
void tl_batch_put_text(struct tl_batch_writer *w, struct tl_batch_column *c, struct tl_slice s);

/* Ends the row; at most rows_max rows fit a batch. */
static inline void tl_batch_end_row(struct tl_batch_writer *w)
{
    w->rows++;
}
static inline bool tl_batch_full(const struct tl_batch_writer *w)
{
    return w->rows >= w->rows_max;
}

#endif
