/*
 * tools/output.h: prints results as an aligned table, CSV or JSON.
 *
 * A table's columns are as wide as the widest of its first rows need (TL_OUTPUT_ROWS_HELD); wider
 * values that come later stick out. CSV quotes as RFC 4180, NULL is an unquoted nothing and ''
 * is "". JSON is an array with one object per line; numbers stay numbers, as many digits as they
 * have.
 *
 * Ownership  an output owns what it holds back.
 * Threads    one output belongs to one thread.
 * Errors     TL_LIMIT: no memory; TL_IO: the stream.
 */
#ifndef TALLY_TOOLS_OUTPUT_H
#define TALLY_TOOLS_OUTPUT_H

#include <stdio.h>

#include "tools/door.h"

enum tl_output_format { TL_OUTPUT_TABLE, TL_OUTPUT_CSV, TL_OUTPUT_JSON };
enum { TL_OUTPUT_ROWS_HELD = 10000 };

struct tl_output {
    FILE *stream;
    enum tl_output_format format;
    const char *time_zone;
    uint32_t column_count;
    struct tl_door_column *columns; /* own copies of the names */
    struct tl_arena names;
    uint32_t *widths;
    struct tl_buffer line, cell;
    struct tl_buffer held; /* cells of rows held back: u32 size (UINT32_MAX: NULL), bytes */
    uint64_t rows, rows_held;
    bool flowing; /* widths are settled */
};

void tl_output_init(struct tl_output *o, FILE *stream, enum tl_output_format format,
                    const char *time_zone);
void tl_output_deinit(struct tl_output *o);
/* Fit for tl_door_query, with the output as `arg`. */
enum tl_code tl_output_columns(void *arg, const struct tl_door_column *columns, uint32_t count,
                               struct tl_status *st);
enum tl_code tl_output_rows(void *arg, const struct tl_vector *vectors, uint32_t column_count,
                            uint32_t rows, struct tl_status *st);
/* What ends a result; called once, also without rows. */
TL_CHECK enum tl_code tl_output_end(struct tl_output *o, struct tl_status *st);

#endif
