/*
 * wire/pg_copy_in.c: COPY table FROM STDIN: lines of text or CSV, stored batch by batch.
 *
 * A line may come in pieces and several lines in one message. Rows gather in a batch; a full
 * one is appended and waited for before more is read, which is the back pressure. The answer to
 * CopyDone comes when the last batch is durable. A line that is wrong ends the COPY with its
 * number; batches before it stay stored, and the error's detail says how many rows those hold.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "wire/batch_builder.h"
#include "wire/pg_int.h"

enum {
    BATCH_ROWS = 16384,
    BATCH_BYTES = 4 << 20,
    LINE_BYTES_MAX = 4 << 20,
    FIELDS_MAX = TL_BATCH_COLUMNS_MAX
};

struct column {
    struct tl_type type;
    uint32_t index; /* in the builder */
    char name[128];
};

struct field {
    size_t start, size; /* in `values` */
    bool quoted;
};

struct tl_pg_copy_in {
    struct tl_utility_copy options;
    char null[64];
    struct tl_batch_builder *builder;
    struct column *columns;
    uint32_t column_count;
    struct tl_buffer line;   /* the beginning of a line that is not whole yet */
    struct tl_buffer values; /* the fields of one line, unescaped */
    struct tl_buffer body;
    struct tl_arena arena; /* of one line */
    struct field *fields;
    bool in_quotes;   /* the line's end so far */
    bool header_left; /* the first line is no row */
    bool ended;       /* \. was met */
    uint64_t lines, rows_stored, rows_refused;
};

void tl__pg_copy_in_free(struct tl_pg_copy_in *c)
{
    if (!c)
        return;
    tl_batch_builder_free(c->builder);
    tl_buffer_deinit(&c->line);
    tl_buffer_deinit(&c->values);
    tl_buffer_deinit(&c->body);
    tl_arena_deinit(&c->arena);
    free(c->columns);
    free(c->fields);
    free(c);
}

/* ---- the beginning ---- */

static enum tl_batch_form form_of(struct tl_type type)
{
    switch (type.kind) {
    case TL_BOOLEAN:
        return TL_BATCH_BOOL;
    case TL_DOUBLE:
        return TL_BATCH_DOUBLE;
    case TL_TEXT:
        return TL_BATCH_TEXT;
    default:
        return TL_BATCH_INT;
    }
}

static enum tl_code add_column(struct tl_pg *s, struct tl_pg_copy_in *c,
                               const struct tl_output_column *from)
{
    struct column *to = &c->columns[c->column_count];
    if (from->type.kind == TL_PROPS || from->type.kind == TL_INTERVAL ||
        from->type.kind == TL_DECIMAL128)
        return tl__pg_error(s, "0A000", "COPY FROM into column \"%.60s\" is not supported",
                            from->name);
    to->type = from->type;
    snprintf(to->name, sizeof(to->name), "%s", from->name);
    c->column_count++;
    return tl_batch_builder_column(c->builder, tl_slice_str(from->name), form_of(from->type),
                                   &to->index, &s->st);
}

/* The table's columns, in the order of the lines. */
static enum tl_code choose_columns(struct tl_pg *s, struct tl_pg_copy_in *c,
                                   const struct tl_plan *plan)
{
    const struct tl_utility_copy *o = &c->options;
    uint32_t most = o->column_count > plan->output_count ? o->column_count : plan->output_count;
    if (most > FIELDS_MAX)
        return tl__pg_error(s, "54011", "COPY takes at most %d columns", FIELDS_MAX);
    c->columns = calloc((size_t)most + 1, sizeof(*c->columns));
    c->fields = calloc((size_t)most + 1, sizeof(*c->fields));
    if (!c->columns || !c->fields)
        return TL_FAIL(&s->st, TL_LIMIT, "no memory for COPY");
    if (o->column_count == 0) {
        for (uint32_t i = 0; i < plan->output_count; i++)
            if (add_column(s, c, &plan->outputs[i]))
                return s->st.code;
        return TL_OK;
    }
    for (uint32_t i = 0; i < o->column_count; i++) {
        const struct tl_output_column *found = NULL;
        for (uint32_t k = 0; k < plan->output_count; k++)
            if (strcmp(plan->outputs[k].name, o->columns[i]) == 0)
                found = &plan->outputs[k];
        if (!found)
            return tl__pg_error(s, "42703", "column \"%.60s\" of relation \"%.60s\" does not exist",
                                o->columns[i], o->table);
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(o->columns[k], o->columns[i]) == 0)
                return tl__pg_error(s, "42701", "column \"%.60s\" specified more than once",
                                    o->columns[i]);
        if (add_column(s, c, found))
            return s->st.code;
    }
    return TL_OK;
}

static enum tl_code open_table(struct tl_pg *s, struct tl_pg_copy_in *c)
{
    struct tl_buffer sql;
    struct tally_statement *statement = NULL;
    struct tally_session session = {.tenant = {.bounded = true}};
    tl_buffer_init(&sql, "COPY", 4096);
    const char *table = tl_utility_quote(c->options.table, &s->scratch, &s->st);
    if (table)
        tl_buffer_printf(&sql, "SELECT * FROM %s LIMIT 0", table);
    if (table && tl_buffer_check(&sql, &s->st) == TL_OK &&
        tally_prepare(s->options.db, tl_buffer_slice(&sql), &session, &statement, &s->st) ==
            TL_OK &&
        tl_batch_builder_new(tl_slice_str(c->options.table), BATCH_ROWS, BATCH_BYTES, &c->builder,
                             &s->st) == TL_OK)
        TL_IGNORE(choose_columns(s, c, tally_describe(statement)));
    s->st.position = 0;
    tally_statement_close(statement);
    tl_buffer_deinit(&sql);
    return s->st.code;
}

enum tl_code tl__pg_copy_in(struct tl_pg *s, const struct tl_utility *u)
{
    if (!tl__pg_may(s, TL_SCOPE_INGEST))
        return tl__pg_error(s, "42501", "this user may not write");
    struct tl_pg_copy_in *c = calloc(1, sizeof(*c));
    if (!c)
        return TL_FAIL(&s->st, TL_LIMIT, "no memory for COPY");
    c->options = *u->copy;
    c->header_left = c->options.header;
    tl_buffer_init(&c->line, "a line of COPY", LINE_BYTES_MAX);
    tl_buffer_init(&c->values, "a line of COPY", LINE_BYTES_MAX);
    tl_buffer_init(&c->body, "a batch of COPY", TALLY_BATCH_BYTES_MAX);
    tl_arena_init(&c->arena, &s->budget, 16 << 10);
    tl_arena_reset(&s->scratch);
    if (strlen(c->options.null) >= sizeof(c->null))
        TL_IGNORE(tl__pg_error(s, "22023", "COPY null is at most 63 bytes long"));
    else
        TL_IGNORE(open_table(s, c));
    if (s->st.code) {
        tl__pg_copy_in_free(c);
        return s->st.code;
    }
    /* The statement's text may go before the lines are in. */
    snprintf(c->null, sizeof(c->null), "%s", c->options.null);
    c->options.null = c->null;
    c->options.table = NULL;
    c->options.columns = NULL;
    size_t m = tl_pg_begin(&s->out, 'G');
    tl_buffer_put_u8(&s->out, 0);
    tl_pg_put_u16(&s->out, (uint16_t)c->column_count);
    for (uint32_t i = 0; i < c->column_count; i++)
        tl_pg_put_u16(&s->out, 0);
    tl_pg_end(&s->out, m);
    s->copy_in = c;
    return TL_OK;
}

/* ---- batches ---- */

static enum tl_code store(struct tl_pg *s, struct tl_pg_copy_in *c)
{
    uint32_t rows = tl_batch_builder_rows(c->builder), refused = 0;
    if (rows == 0)
        return TL_OK;
    tl_buffer_clear(&c->body);
    if (tl_batch_builder_encode(c->builder, &c->body, &s->st))
        return s->st.code;
    struct tally_batch batch = {
        .body = tl_buffer_slice(&c->body),
        .import = tl__pg_is_operator(s), /* no bound in the future, as for an import */
        .tenant = tl__pg_tenant(s),
    };
    if (tally_append_wait(s->options.db, &batch, &refused, &s->st))
        return s->st.code;
    c->rows_stored += rows - refused;
    c->rows_refused += refused;
    tl_batch_builder_reset(c->builder);
    tl__pg_snapshot_drop(s); /* the block's next statement sees what was written */
    return TL_OK;
}

/* ---- lines ---- */

static enum tl_code bad_line(struct tl_pg *s, struct tl_pg_copy_in *c, const char *text)
{
    TL_IGNORE(tl__pg_error(s, "22P04", "COPY line %" PRIu64 ": %s", c->lines, text));
    return s->st.code;
}

static bool is_null(const struct tl_pg_copy_in *c, const struct field *f, struct tl_slice raw)
{
    return !f->quoted && tl_slice_eq(raw, tl_slice_str(c->null));
}

static void put_parsed(struct tl_pg_copy_in *c, const struct column *column,
                       const struct tl_vector *v)
{
    switch (column->type.kind) {
    case TL_BOOLEAN:
        tl_batch_put_bool(c->builder, column->index, *(const uint8_t *)v->data);
        break;
    case TL_DOUBLE:
        tl_batch_put_double(c->builder, column->index, *(const double *)v->data);
        break;
    case TL_DATE:
        tl_batch_put_int(c->builder, column->index, *(const int32_t *)v->data);
        break;
    default:
        tl_batch_put_int(c->builder, column->index, *(const int64_t *)v->data);
    }
}

static enum tl_code put_field(struct tl_pg *s, struct tl_pg_copy_in *c, uint32_t i,
                              struct tl_slice value)
{
    const struct column *column = &c->columns[i];
    struct tl_vector v;
    if (column->type.kind == TL_TEXT) {
        if (!tl_utf8_valid(value, false)) {
            TL_IGNORE(tl__pg_error(s, "22021", "COPY line %" PRIu64 ", column %s: invalid UTF-8",
                                   c->lines, column->name));
            return s->st.code;
        }
        tl_batch_put_text(c->builder, column->index, value);
        return TL_OK;
    }
    if (tally_param_parse(column->type, value, tl_pg_settings_get(&s->settings, "TimeZone"),
                          &c->arena, &v, &s->st)) {
        tl_status_wrap(&s->st, "COPY line %" PRIu64 ", column %s", c->lines, column->name);
        return s->st.code;
    }
    put_parsed(c, column, &v);
    return TL_OK;
}

/* One escape of the text format, at p[0] behind the backslash; answers the bytes that it takes. */
static size_t unescape(const uint8_t *p, size_t left, uint8_t *out)
{
    static const char from[] = "bfnrtv", to[] = "\b\f\n\r\t\v";
    const char *found = p[0] ? strchr(from, p[0]) : NULL;
    if (found) {
        *out = (uint8_t)to[found - from];
        return 1;
    }
    unsigned value = 0;
    size_t n = 0;
    if (p[0] >= '0' && p[0] <= '7') {
        for (; n < 3 && n < left && p[n] >= '0' && p[n] <= '7'; n++)
            value = value * 8 + (unsigned)(p[n] - '0');
        *out = (uint8_t)value;
        return n;
    }
    *out = p[0];
    return 1;
}

/* Cuts a line into fields; a field that says NULL has quoted == false and stands for itself. */
static enum tl_code split_text(struct tl_pg *s, struct tl_pg_copy_in *c, struct tl_slice line,
                               uint32_t *count)
{
    size_t i = 0;
    uint32_t n = 0;
    for (;;) {
        if (n >= c->column_count)
            return bad_line(s, c, "extra data after last expected column");
        struct field *f = &c->fields[n++];
        size_t raw = i;
        *f = (struct field){.start = c->values.size};
        bool escaped = false;
        while (i < line.size && line.data[i] != (uint8_t)c->options.delimiter) {
            uint8_t ch = line.data[i++];
            if (ch == '\\' && i < line.size) {
                escaped = true;
                i += unescape(line.data + i, line.size - i, &ch);
            }
            tl_buffer_put_u8(&c->values, ch);
        }
        f->size = c->values.size - f->start;
        /* NULL is told from the bytes as they came: \N, not what it unescapes to. */
        struct tl_slice came = tl_slice_of(line.data + raw, i - raw);
        if (tl_slice_eq(came, tl_slice_str(c->null)))
            f->start = SIZE_MAX;
        else
            f->quoted = escaped;
        if (i >= line.size)
            break;
        i++;
    }
    *count = n;
    return TL_OK;
}

static enum tl_code split_csv(struct tl_pg *s, struct tl_pg_copy_in *c, struct tl_slice line,
                              uint32_t *count)
{
    const struct tl_utility_copy *o = &c->options;
    size_t i = 0;
    uint32_t n = 0;
    for (;;) {
        if (n >= c->column_count)
            return bad_line(s, c, "extra data after last expected column");
        struct field *f = &c->fields[n++];
        *f = (struct field){.start = c->values.size};
        bool quotes = false;
        while (i < line.size && (quotes || line.data[i] != (uint8_t)o->delimiter)) {
            uint8_t ch = line.data[i++];
            bool pair = quotes && ch == (uint8_t)o->escape && i < line.size &&
                        (line.data[i] == (uint8_t)o->quote || line.data[i] == (uint8_t)o->escape);
            if (pair) {
                tl_buffer_put_u8(&c->values, line.data[i++]);
            } else if (ch == (uint8_t)o->quote) {
                quotes = !quotes;
                f->quoted = true;
            } else {
                tl_buffer_put_u8(&c->values, ch);
            }
        }
        f->size = c->values.size - f->start;
        if (is_null(c, f, tl_slice_of(c->values.data + f->start, f->size)))
            f->start = SIZE_MAX;
        if (i >= line.size)
            break;
        i++;
    }
    *count = n;
    return TL_OK;
}

static enum tl_code put_line(struct tl_pg *s, struct tl_pg_copy_in *c, struct tl_slice line)
{
    uint32_t count = 0;
    c->lines++;
    if (c->header_left) {
        c->header_left = false;
        return TL_OK;
    }
    tl_buffer_clear(&c->values);
    tl_arena_reset(&c->arena);
    /* So that an empty first field has an address. */
    if (!tl_buffer_reserve(&c->values, line.size + 1))
        return tl_buffer_check(&c->values, &s->st);
    if (c->options.csv ? split_csv(s, c, line, &count) : split_text(s, c, line, &count))
        return s->st.code;
    if (count < c->column_count) {
        char text[160];
        snprintf(text, sizeof(text), "missing data for column \"%.100s\"", c->columns[count].name);
        return bad_line(s, c, text);
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct field *f = &c->fields[i];
        if (f->start == SIZE_MAX)
            tl_batch_put_null(c->builder, c->columns[i].index);
        else if (put_field(s, c, i, tl_slice_of(c->values.data + f->start, f->size)))
            return s->st.code;
    }
    if (tl_batch_row_end(c->builder, &s->st)) {
        tl_status_wrap(&s->st, "COPY line %" PRIu64, c->lines);
        return s->st.code;
    }
    bool full = tl_batch_builder_rows(c->builder) >= BATCH_ROWS ||
                tl_batch_builder_bytes(c->builder) >= BATCH_BYTES / 2;
    return full ? store(s, c) : TL_OK;
}

/* The end of the line that begins at `from`, or SIZE_MAX. CSV has lines within quotes. */
static size_t line_end(struct tl_pg_copy_in *c, struct tl_slice data, size_t from)
{
    if (!c->options.csv) {
        /* A newline behind a backslash belongs to the value, as pg_dump of old had it. */
        for (size_t i = from; i < data.size; i++) {
            const uint8_t *nl = memchr(data.data + i, '\n', data.size - i);
            if (!nl)
                return SIZE_MAX;
            size_t at = (size_t)(nl - data.data), slashes = 0;
            while (at - slashes > from && data.data[at - slashes - 1] == '\\')
                slashes++;
            if (slashes % 2 == 0)
                return at;
            i = at;
        }
        return SIZE_MAX;
    }
    bool quotes = false;
    for (size_t i = from; i < data.size; i++) {
        uint8_t ch = data.data[i];
        if (quotes && ch == (uint8_t)c->options.escape && ch != (uint8_t)c->options.quote &&
            i + 1 < data.size)
            i++;
        else if (ch == (uint8_t)c->options.quote)
            quotes = !quotes;
        else if (ch == '\n' && !quotes)
            return i;
    }
    return SIZE_MAX;
}

static enum tl_code take_line(struct tl_pg *s, struct tl_pg_copy_in *c, struct tl_slice line)
{
    if (line.size > 0 && line.data[line.size - 1] == '\r')
        line.size--;
    if (c->ended)
        return TL_OK;
    if (tl_slice_eq(line, tl_slice_str("\\."))) {
        c->ended = true;
        return TL_OK;
    }
    return put_line(s, c, line);
}

static enum tl_code take_data(struct tl_pg *s, struct tl_pg_copy_in *c, struct tl_slice data)
{
    bool joined = c->line.size > 0;
    if (joined) {
        tl_buffer_put(&c->line, data.data, data.size);
        if (tl_buffer_check(&c->line, &s->st))
            return s->st.code;
        data = tl_buffer_slice(&c->line);
    }
    size_t at = 0;
    while (at < data.size) {
        size_t end = line_end(c, data, at);
        if (end == SIZE_MAX)
            break;
        if (take_line(s, c, tl_slice_of(data.data + at, end - at)))
            return s->st.code;
        at = end + 1;
    }
    size_t left = data.size - at;
    if (joined) {
        if (left > 0)
            memmove(c->line.data, c->line.data + at, left);
        c->line.size = left;
    } else if (left > 0) {
        tl_buffer_put(&c->line, data.data + at, left);
    }
    return tl_buffer_check(&c->line, &s->st);
}

/* ---- the end ---- */

static void copy_failed(struct tl_pg *s)
{
    struct tl_pg_copy_in *c = s->copy_in;
    if (c->rows_stored > 0)
        snprintf(s->detail, sizeof(s->detail), "%" PRIu64 " rows before it are stored.",
                 c->rows_stored);
    s->copy_in = NULL;
    tl__pg_copy_in_free(c);
    tl__pg_fail(s);
}

static void copy_done(struct tl_pg *s)
{
    struct tl_pg_copy_in *c = s->copy_in;
    char text[96];
    if (c->line.size > 0 && take_line(s, c, tl_buffer_slice(&c->line))) {
        copy_failed(s);
        return;
    }
    if (store(s, c)) {
        copy_failed(s);
        return;
    }
    if (c->rows_refused > 0) {
        snprintf(text, sizeof(text), "%" PRIu64 " rows were refused; see the file of rejects",
                 c->rows_refused);
        tl__pg_notice(s, "WARNING", "01000", text);
    }
    snprintf(text, sizeof(text), "COPY %" PRIu64, c->rows_stored);
    tl_pg_put_complete(&s->out, text);
    s->copy_in = NULL;
    tl__pg_copy_in_free(c);
}

void tl__pg_copy_in_message(struct tl_pg *s, char type, struct tl_slice body)
{
    struct tl_pg_copy_in *c = s->copy_in;
    switch (type) {
    case 'd':
        if (take_data(s, c, body))
            copy_failed(s);
        break;
    case 'c':
        copy_done(s);
        break;
    case 'f': {
        struct tl_pg_reader r = tl_pg_reader_of(body);
        struct tl_slice why = tl_pg_read_string(&r);
        TL_IGNORE(tl__pg_error(s, "57014", "COPY from stdin failed: %.150s",
                               tl_utf8_valid(why, false) ? (const char *)why.data : ""));
        copy_failed(s);
        break;
    }
    default: /* Flush and Sync are ignored in COPY */
        break;
    }
}
