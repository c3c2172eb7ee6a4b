/*
 * engine/batch.h: decoding and judging a batch as it came over the wire.
 *
 * The body is a tally.v1.Batch in protobuf's encoding (docs/WIRE.md). It is walked here by hand:
 * every length is checked against what is left, every count against the rows, before a byte is
 * allocated; a row costs one varint per column and no allocation. The log keeps the body as it
 * came and replay decodes it again, with the refused rows from the log record.
 *
 * Two steps: tl_batch_decode gives typed arrays; tl_batch_judge marks the rows to refuse.
 *
 * Codes of a column of at most 128 strings are one byte each on the wire: without NULLs they are
 * used where they lie, and proved eight at a time. Other codes and integers go through
 * tl_varints (base/varint.h). Text that a client sends row by row is given codes here: one short
 * hash and one probe per value, none where a value repeats the one before it. Strings are judged
 * once per distinct string, a column of ASCII alone at once.
 *
 * Cost       of a generated event (77 bytes, 22 text columns): every byte of the body is read once
 *            or twice; written are 4 bytes per value of the five columns with long codes, 8 per
 *            integer, and 16 per distinct string.
 * Memory     8 bytes per value of a fixed-width column, at most 4 per row and 16 per distinct
 *            string of a text column (plain text: up to 28 more), in the caller's arena. Strings
 *            are borrowed from the body.
 * Threads    no shared state.
 * Errors     TL_INVALID: the batch is malformed or names what does not exist; refused whole.
 *            TL_LIMIT: too many rows, columns or bytes. TL_NOT_FOUND: no such table.
 */
#ifndef TALLY_ENGINE_BATCH_H
#define TALLY_ENGINE_BATCH_H

#include "base/arena.h"
#include "engine/schema.h"
#include "storage/props.h"

struct tally_tenant;

/* Bounds of what a body can make us allocate: about 22 MiB of arrays for 36 columns. */
enum { TL_BATCH_ROWS_MAX = 131072, TL_BATCH_STRINGS_MAX = 131072 };

struct tl_batch_column {
    bool present;            /* false: every row is NULL */
    bool narrow;             /* every one of `ints` fits 32 bits, signed */
    uint32_t valid_count;    /* rows that are not NULL */
    const uint8_t *validity; /* bit i set: row i is not NULL; NULL: none is NULL */
    const int64_t *ints;     /* BIGINT, DECIMAL64, DATE, TIMESTAMP, TIMESTAMPTZ */
    const double *doubles;   /* DOUBLE */
    const uint8_t *bools;    /* BOOLEAN, 0 or 1 */
    /* TEXT, PROPS: an index into strings, < string_count; string_count where NULL. One of the
     * two is set. */
    const uint8_t *codes8;
    const uint32_t *codes;
    const struct tl_slice *strings;
    uint32_t string_count;
    const uint8_t *bad; /* TEXT: per string, enum tl_refusal_reason; NULL: all are good */
};

struct tl_batch {
    const struct tl_table *table;
    uint32_t rows;
    struct tl_batch_column *columns; /* one per info.columns of the table */
    uint32_t duplicates;             /* rows left out by event id; known once applied */
    void (*between)(void *arg);      /* called between columns while it is applied; may be NULL */
    void *between_arg;
};

static inline bool tl_batch_valid(const struct tl_batch_column *c, uint32_t row)
{
    return c->present && (!c->validity || (c->validity[row >> 3] >> (row & 7) & 1));
}

static inline uint32_t tl_batch_code(const struct tl_batch_column *c, uint32_t row)
{
    return c->codes8 ? c->codes8[row] : c->codes[row];
}

/* The name of the table alone, to find it before the rest is decoded. */
TL_CHECK enum tl_code tl_batch_table(struct tl_slice body, struct tl_slice *name,
                                     struct tl_status *st);

/* Decodes against `table`; columns that the batch leaves out are not present. */
TL_CHECK enum tl_code tl_batch_decode(struct tl_slice body, const struct tl_table *table,
                                      struct tl_arena *arena, struct tl_batch *out,
                                      struct tl_status *st);

enum tl_refusal_reason {
    TL_ROW_GOOD = 0,
    TL_ROW_NULL,       /* a column that must not be NULL is */
    TL_ROW_FUTURE,     /* ts lies more than 24 h after received_at */
    TL_ROW_TIME_RANGE, /* ts or a date outside what can be stored */
    TL_ROW_TEXT_UTF8,  /* not UTF-8, or holds a NUL */
    TL_ROW_TEXT_LONG,  /* longer than 64 KiB */
    TL_ROW_DECIMAL,    /* more than 18 digits */
    TL_ROW_PROPS,      /* not a Props message, or past its limits */
    TL_ROW_DUPLICATE,  /* this event is stored already; found at apply, never in the log */
    TL_ROW_TENANT      /* of a merchant that the sender may not write */
};

/* One refused row. */
struct tl_refused {
    uint32_t row;
    uint32_t column; /* index into info.columns */
    uint8_t reason;  /* enum tl_refusal_reason */
};

/* Judges every row: *out lists the refused ones, ascending, one entry each. */
TL_CHECK enum tl_code tl_batch_judge(const struct tl_batch *b, int64_t received_at_us, bool import,
                                     const struct tally_tenant *tenant, struct tl_arena *arena,
                                     struct tl_refused **out, uint32_t *count,
                                     struct tl_status *st);

/* "column path: not valid UTF-8" */
void tl_refused_text(const struct tl_table *t, const struct tl_refused *r, char *buf, size_t size);

/* A Props message that was judged good as storage/props.h has it: its shape, and the values of all
 * keys. */
TL_CHECK enum tl_code tl_props_split(struct tl_slice message, struct tl_arena *arena,
                                     struct tl_slice *keys, struct tl_slice *values,
                                     struct tl_status *st);

#endif
