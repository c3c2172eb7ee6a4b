/*
 * tools/output.c: results for people and for programs.
 */
#include "tools/output.h"

#include <string.h>

#include "tools/command.h"

enum { HELD_BYTES_MAX = 256 << 20, LINE_BYTES_MAX = 256 << 20 };

void tl_output_init(struct tl_output *o, FILE *stream, enum tl_output_format format,
                    const char *time_zone)
{
    *o = (struct tl_output){.stream = stream, .format = format, .time_zone = time_zone};
    tl_arena_init(&o->names, NULL, 4096);
    tl_buffer_init(&o->line, "output line", LINE_BYTES_MAX);
    tl_buffer_init(&o->cell, "output value", LINE_BYTES_MAX);
    tl_buffer_init(&o->held, "result held back for its widths", HELD_BYTES_MAX);
}

void tl_output_deinit(struct tl_output *o)
{
    tl_arena_deinit(&o->names);
    tl_buffer_deinit(&o->line);
    tl_buffer_deinit(&o->cell);
    tl_buffer_deinit(&o->held);
}

static bool is_number(struct tl_type type)
{
    return type.kind == TL_BIGINT || type.kind == TL_DOUBLE || type.kind == TL_DECIMAL64 ||
           type.kind == TL_DECIMAL128;
}

/* Code points, which is what a terminal shows of most scripts. */
static uint32_t width_of(struct tl_slice s)
{
    uint32_t width = 0;
    for (size_t i = 0; i < s.size; i++)
        width += (s.data[i] & 0xc0) != 0x80;
    return width;
}

static enum tl_code put_line(struct tl_output *o, struct tl_status *st)
{
    enum tl_code rc = tl_buffer_check(&o->line, st);
    if (!rc && o->line.size && fwrite(o->line.data, 1, o->line.size, o->stream) != o->line.size)
        rc = TL_FAIL(st, TL_IO, "the output cannot be written");
    tl_buffer_clear(&o->line);
    return rc;
}

static void put_spaces(struct tl_buffer *b, uint32_t count, char c)
{
    while (count--)
        tl_buffer_put_u8(b, (uint8_t)c);
}

static void csv_cell(struct tl_buffer *b, struct tl_slice s)
{
    bool quote = s.size == 0;
    for (size_t i = 0; i < s.size && !quote; i++)
        quote = s.data[i] == ',' || s.data[i] == '"' || s.data[i] == '\n' || s.data[i] == '\r';
    if (!quote) {
        tl_buffer_put(b, s.data, s.size);
        return;
    }
    tl_buffer_put_u8(b, '"');
    for (size_t i = 0; i < s.size; i++) {
        if (s.data[i] == '"')
            tl_buffer_put_u8(b, '"');
        tl_buffer_put_u8(b, s.data[i]);
    }
    tl_buffer_put_u8(b, '"');
}

static void json_cell(struct tl_buffer *b, struct tl_type type, struct tl_slice s)
{
    if (type.kind == TL_BOOLEAN) {
        const char *word = s.size && s.data[0] == 't' ? "true" : "false";
        tl_buffer_put(b, word, strlen(word));
        return;
    }
    /* NaN and the infinities are no JSON numbers. */
    bool finite = s.size && (s.data[s.size - 1] >= '0' && s.data[s.size - 1] <= '9');
    if (is_number(type) && finite)
        tl_buffer_put(b, s.data, s.size);
    else
        tl_json_string(b, s);
}

static void table_cell(struct tl_output *o, uint32_t column, struct tl_slice s)
{
    struct tl_buffer *b = &o->line;
    uint32_t width = width_of(s);
    uint32_t pad = o->widths[column] > width ? o->widths[column] - width : 0;
    bool last = column + 1 == o->column_count;
    bool right = is_number(o->columns[column].type);
    tl_buffer_put_u8(b, ' ');
    if (right)
        put_spaces(b, pad, ' ');
    tl_buffer_put(b, s.data, s.size);
    if (!right && !last)
        put_spaces(b, pad, ' ');
    if (!last)
        tl_buffer_put(b, " |", 2);
    else
        tl_buffer_put_u8(b, '\n');
}

enum tl_code tl_output_columns(void *arg, const struct tl_door_column *columns, uint32_t count,
                               struct tl_status *st)
{
    struct tl_output *o = arg;
    o->column_count = count;
    o->columns = tl_arena_calloc(&o->names, count + 1, sizeof(*o->columns), st);
    o->widths = tl_arena_calloc(&o->names, count + 1, sizeof(*o->widths), st);
    if (!o->columns || !o->widths)
        return st->code;
    for (uint32_t i = 0; i < count; i++) {
        size_t size = strlen(columns[i].name);
        o->columns[i].type = columns[i].type;
        o->columns[i].name = tl_arena_copy(&o->names, columns[i].name, size, st);
        if (!o->columns[i].name)
            return st->code;
        o->widths[i] = width_of(tl_slice_of(columns[i].name, size));
        if (o->format == TL_OUTPUT_CSV) {
            if (i)
                tl_buffer_put_u8(&o->line, ',');
            csv_cell(&o->line, tl_slice_of(columns[i].name, size));
        }
    }
    if (o->format == TL_OUTPUT_CSV && count)
        tl_buffer_put_u8(&o->line, '\n');
    if (o->format == TL_OUTPUT_JSON && count)
        tl_buffer_put_u8(&o->line, '[');
    return put_line(o, st);
}

/* A table must stay one line per row: line ends and tabs are shown as escapes. */
static void show_controls(struct tl_buffer *cell)
{
    bool any = false;
    for (size_t i = 0; i < cell->size; i++)
        any = any || cell->data[i] < 0x20;
    if (!any)
        return;
    struct tl_buffer plain = *cell;
    tl_buffer_init(cell, plain.name, plain.limit);
    for (size_t i = 0; i < plain.size; i++) {
        uint8_t c = plain.data[i];
        if (c == '\n')
            tl_buffer_put(cell, "\\n", 2);
        else if (c == '\t')
            tl_buffer_put(cell, "\\t", 2);
        else if (c == '\r')
            tl_buffer_put(cell, "\\r", 2);
        else if (c < 0x20)
            tl_buffer_printf(cell, "\\x%02x", c);
        else
            tl_buffer_put_u8(cell, c);
    }
    tl_buffer_deinit(&plain);
}

static enum tl_code value_text(struct tl_output *o, const struct tl_vector *v, uint32_t row,
                               struct tl_status *st)
{
    tl_buffer_clear(&o->cell);
    enum tl_code rc = tally_value_print(v, row, o->time_zone, &o->cell, st);
    if (!rc)
        rc = tl_buffer_check(&o->cell, st);
    return rc;
}

static enum tl_code plain_row(struct tl_output *o, const struct tl_vector *vectors, uint32_t row,
                              struct tl_status *st)
{
    struct tl_buffer *b = &o->line;
    bool json = o->format == TL_OUTPUT_JSON;
    if (json)
        tl_buffer_put(b, o->rows ? ",\n {" : "{", o->rows ? 4 : 1);
    for (uint32_t i = 0; i < o->column_count; i++) {
        if (i)
            tl_buffer_put_u8(b, ',');
        if (json) {
            tl_json_string(b, tl_slice_str(o->columns[i].name));
            tl_buffer_put_u8(b, ':');
        }
        if (!tl_vector_valid(&vectors[i], row)) {
            tl_buffer_put(b, "null", json ? 4 : 0);
            continue;
        }
        enum tl_code rc = value_text(o, &vectors[i], row, st);
        if (rc)
            return rc;
        if (json)
            json_cell(b, o->columns[i].type, tl_buffer_slice(&o->cell));
        else
            csv_cell(b, tl_buffer_slice(&o->cell));
    }
    tl_buffer_put_u8(b, json ? '}' : '\n');
    return b->size > 1 << 16 ? put_line(o, st) : TL_OK;
}

static enum tl_code table_flow(struct tl_output *o, struct tl_status *st)
{
    struct tl_buffer *b = &o->line;
    o->flowing = true;
    for (uint32_t i = 0; i < o->column_count; i++) { /* the head is centred */
        uint32_t width = width_of(tl_slice_str(o->columns[i].name));
        uint32_t pad = o->widths[i] - width;
        bool last = i + 1 == o->column_count;
        put_spaces(b, 1 + pad / 2, ' ');
        tl_buffer_put(b, o->columns[i].name, strlen(o->columns[i].name));
        if (last)
            tl_buffer_put_u8(b, '\n');
        else {
            put_spaces(b, pad - pad / 2 + 1, ' ');
            tl_buffer_put_u8(b, '|');
        }
    }
    for (uint32_t i = 0; i < o->column_count; i++) {
        put_spaces(b, o->widths[i] + 2, '-');
        tl_buffer_put_u8(b, i + 1 == o->column_count ? '\n' : '+');
    }
    struct tl_reader r = tl_reader_of(tl_buffer_slice(&o->held));
    for (uint64_t row = 0; row < o->rows_held; row++) {
        for (uint32_t i = 0; i < o->column_count; i++) {
            uint32_t size = tl_read_u32(&r);
            table_cell(o, i, tl_read_bytes(&r, size == UINT32_MAX ? 0 : size));
        }
        if (b->size > 1 << 16) {
            enum tl_code rc = put_line(o, st);
            if (rc)
                return rc;
        }
    }
    tl_buffer_deinit(&o->held);
    tl_buffer_init(&o->held, "result held back for its widths", HELD_BYTES_MAX);
    return put_line(o, st);
}

static enum tl_code table_row(struct tl_output *o, const struct tl_vector *vectors, uint32_t row,
                              struct tl_status *st)
{
    for (uint32_t i = 0; i < o->column_count; i++) {
        tl_buffer_clear(&o->cell);
        bool valid = tl_vector_valid(&vectors[i], row);
        enum tl_code rc = valid ? value_text(o, &vectors[i], row, st) : TL_OK;
        if (rc)
            return rc;
        show_controls(&o->cell);
        struct tl_slice text = tl_buffer_slice(&o->cell);
        if (o->flowing) {
            table_cell(o, i, text);
            continue;
        }
        uint32_t width = width_of(text);
        if (width > o->widths[i])
            o->widths[i] = width;
        tl_buffer_put_u32(&o->held, valid ? (uint32_t)text.size : UINT32_MAX);
        tl_buffer_put(&o->held, text.data, text.size);
    }
    if (o->flowing)
        return o->line.size > 1 << 16 ? put_line(o, st) : TL_OK;
    if (++o->rows_held == TL_OUTPUT_ROWS_HELD)
        return table_flow(o, st);
    return tl_buffer_check(&o->held, st);
}

enum tl_code tl_output_rows(void *arg, const struct tl_vector *vectors, uint32_t column_count,
                            uint32_t rows, struct tl_status *st)
{
    struct tl_output *o = arg;
    (void)column_count;
    for (uint32_t row = 0; row < rows; row++) {
        enum tl_code rc = o->format == TL_OUTPUT_TABLE ? table_row(o, vectors, row, st)
                                                       : plain_row(o, vectors, row, st);
        if (rc)
            return rc;
        o->rows++;
    }
    return TL_OK;
}

enum tl_code tl_output_end(struct tl_output *o, struct tl_status *st)
{
    enum tl_code rc = TL_OK;
    if (o->format == TL_OUTPUT_TABLE && o->column_count) {
        if (!o->flowing)
            rc = table_flow(o, st);
        tl_buffer_printf(&o->line, "(%llu row%s)\n", (unsigned long long)o->rows,
                         o->rows == 1 ? "" : "s");
    }
    if (o->format == TL_OUTPUT_TABLE && !o->column_count)
        tl_buffer_put(&o->line, "OK\n", 3);
    if (o->format == TL_OUTPUT_JSON && o->column_count)
        tl_buffer_put(&o->line, "]\n", 2);
    if (!rc)
        rc = put_line(o, st);
    if (!rc && fflush(o->stream) != 0)
        rc = TL_FAIL(st, TL_IO, "the output cannot be written");
    return rc;
}
