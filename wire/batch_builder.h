/*
 * wire/batch_builder.h: rows in, an encoded tally.v1.Batch out.
 *
 * For whoever has rows and not columns: AppendEvents, imports, the generator. Columns are named
 * once; values of the row at hand are put by column; what a row does not set is NULL. Text is
 * dictionary-coded while it repeats; the form of each column (plain or dictionary, delta or not)
 * is chosen by its encoded size.
 *
 *     new ── column … ── { put … ── row_end } … ── encode ── reset ── …
 *
 * Ownership  the builder copies all it is given. new/free; free takes NULL.
 * Threads    one at a time.
 * Units      rows, bytes. Memory stays below about 6 times `bytes_max`.
 * Errors     TL_LIMIT: a row or a batch beyond its limits; the row is dropped, and what was built
 *            can still be encoded. TL_INVALID: a value of another form than its column's.
 */
#ifndef TALLY_WIRE_BATCH_BUILDER_H
#define TALLY_WIRE_BATCH_BUILDER_H

#include "base/bytes.h"
#include "base/status.h"

enum tl_batch_form {
    TL_BATCH_INT,    /* BIGINT, scaled DECIMAL, DATE, TIMESTAMP(TZ) */
    TL_BATCH_DOUBLE, /* DOUBLE */
    TL_BATCH_BOOL,   /* BOOLEAN */
    TL_BATCH_TEXT    /* TEXT; PROPS as an encoded Props message */
};

enum { TL_BATCH_COLUMNS_MAX = 1024 };

struct tl_batch_builder;

TL_CHECK enum tl_code tl_batch_builder_new(struct tl_slice table, uint32_t rows_max,
                                           size_t bytes_max, struct tl_batch_builder **out,
                                           struct tl_status *st);
void tl_batch_builder_free(struct tl_batch_builder *b);

/* The column of that name, made with `form` when there is none. TL_INVALID: it has another form. */
TL_CHECK enum tl_code tl_batch_builder_column(struct tl_batch_builder *b, struct tl_slice name,
                                              enum tl_batch_form form, uint32_t *out,
                                              struct tl_status *st);
/* The form of an existing column; false: there is none of that name. */
bool tl_batch_builder_find(const struct tl_batch_builder *b, struct tl_slice name, uint32_t *index,
                           enum tl_batch_form *form);

/* Empty: there is no such column. */
struct tl_slice tl_batch_builder_name(const struct tl_batch_builder *b, uint32_t column);

/* Values of the row at hand; the last one wins. The column must have the form. */
void tl_batch_put_int(struct tl_batch_builder *b, uint32_t column, int64_t v);
void tl_batch_put_double(struct tl_batch_builder *b, uint32_t column, double v);
void tl_batch_put_bool(struct tl_batch_builder *b, uint32_t column, bool v);
void tl_batch_put_text(struct tl_batch_builder *b, uint32_t column, struct tl_slice v);
void tl_batch_put_null(struct tl_batch_builder *b, uint32_t column);
/* Ends the row. TL_LIMIT: it was dropped. */
TL_CHECK enum tl_code tl_batch_row_end(struct tl_batch_builder *b, struct tl_status *st);
void tl_batch_row_drop(struct tl_batch_builder *b);

uint32_t tl_batch_builder_rows(const struct tl_batch_builder *b);
/* About what encode would write; never less than half of it. */
size_t tl_batch_builder_bytes(const struct tl_batch_builder *b);
/* Appends the Batch message. Columns that are NULL throughout are left out. */
TL_CHECK enum tl_code tl_batch_builder_encode(struct tl_batch_builder *b, struct tl_buffer *out,
                                              struct tl_status *st);
/* Forgets the rows, keeps the columns. */
void tl_batch_builder_reset(struct tl_batch_builder *b);

#endif
