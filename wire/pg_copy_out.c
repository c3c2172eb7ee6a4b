/*
 * wire/pg_copy_out.c: COPY … TO STDOUT: rows as lines of text or CSV, one line a message.
 */
#include "wire/pg_int.h"
#include "wire/pg_types.h"

static enum tl_code build_select(struct tl_pg *s, const struct tl_utility_copy *c,
                                 struct tl_buffer *sql)
{
    tl_buffer_put(sql, "SELECT ", 7);
    for (uint32_t i = 0; i < c->column_count; i++) {
        const char *name = tl_utility_quote(c->columns[i], &s->scratch, &s->st);
        if (!name)
            return s->st.code;
        tl_buffer_printf(sql, "%s%s", i ? ", " : "", name);
    }
    const char *table = tl_utility_quote(c->table, &s->scratch, &s->st);
    if (!table)
        return s->st.code;
    tl_buffer_printf(sql, "%s FROM %s", c->column_count ? "" : "*", table);
    return tl_buffer_check(sql, &s->st);
}

enum tl_code tl__pg_copy_out(struct tl_pg *s, const struct tl_utility *u)
{
    const struct tl_utility_copy *c = u->copy;
    struct tl_pg_statement *statement = NULL;
    struct tl_pg_portal *p = NULL;
    struct tl_buffer sql;
    tl_buffer_init(&sql, "the query of COPY", 1 << 20);
    tl_arena_reset(&s->scratch);
    if (!c->table) {
        TL_IGNORE(tl__pg_statement_new(s, "", u->query, u->query_chars, NULL, 0, &statement));
    } else if (build_select(s, c, &sql) == TL_OK) {
        if (tl__pg_statement_new(s, "", tl_buffer_slice(&sql), 0, NULL, 0, &statement))
            s->st.position = 0; /* of a text that the client never sent */
    }
    tl_buffer_deinit(&sql);
    if (s->st.code)
        return s->st.code;
    if (!statement->plan || tally_describe(statement->plan)->kind != TL_STMT_SELECT)
        TL_IGNORE(tl__pg_error(s, "0A000", "COPY takes a table or a SELECT"));
    else
        TL_IGNORE(tl__pg_portal_new(s, "", statement, NULL, 0, &p));
    tl__pg_statement_unref(statement);
    if (s->st.code)
        return s->st.code;
    const struct tl_plan *plan = tally_describe(p->statement->plan);
    size_t m = tl_pg_begin(&s->out, 'H');
    tl_buffer_put_u8(&s->out, 0);
    tl_pg_put_u16(&s->out, (uint16_t)plan->output_count);
    for (uint32_t i = 0; i < plan->output_count; i++)
        tl_pg_put_u16(&s->out, 0);
    tl_pg_end(&s->out, m);
    s->copy = c;
    s->owned = p;
    tl__pg_copy_header(s, plan->outputs, plan->output_count);
    tl__pg_send(s, p, TL_PG_COPY_OUT, INT64_MAX);
    return TL_OK;
}

/* ---- lines ---- */

static void put_text_value(struct tl_buffer *out, struct tl_slice v, char delimiter)
{
    static const char escapes[] = {
        ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't', ['\v'] = 'v'};
    size_t from = 0;
    for (size_t i = 0; i < v.size; i++) {
        uint8_t ch = v.data[i];
        char code = ch < sizeof(escapes) && escapes[ch]      ? escapes[ch]
                    : ch == '\\' || ch == (uint8_t)delimiter ? (char)ch
                                                             : 0;
        if (!code)
            continue;
        tl_buffer_put(out, v.data + from, i - from);
        tl_buffer_put_u8(out, '\\');
        tl_buffer_put_u8(out, (uint8_t)code);
        from = i + 1;
    }
    tl_buffer_put(out, v.data + from, v.size - from);
}

static void put_csv_value(struct tl_buffer *out, struct tl_slice v, const struct tl_utility_copy *c,
                          bool alone)
{
    bool quote = c->force_all || tl_slice_eq(v, tl_slice_str(c->null)) ||
                 (alone && tl_slice_eq(v, tl_slice_str("\\.")));
    for (size_t i = 0; i < v.size && !quote; i++)
        quote = v.data[i] == (uint8_t)c->delimiter || v.data[i] == (uint8_t)c->quote ||
                v.data[i] == '\n' || v.data[i] == '\r';
    if (!quote) {
        tl_buffer_put(out, v.data, v.size);
        return;
    }
    tl_buffer_put_u8(out, (uint8_t)c->quote);
    for (size_t i = 0; i < v.size; i++) {
        if (v.data[i] == (uint8_t)c->quote || v.data[i] == (uint8_t)c->escape)
            tl_buffer_put_u8(out, (uint8_t)c->escape);
        tl_buffer_put_u8(out, v.data[i]);
    }
    tl_buffer_put_u8(out, (uint8_t)c->quote);
}

static void put_value(struct tl_pg *s, struct tl_slice v, bool alone)
{
    if (s->copy->csv)
        put_csv_value(&s->out, v, s->copy, alone);
    else
        put_text_value(&s->out, v, s->copy->delimiter);
}

void tl__pg_copy_header(struct tl_pg *s, const struct tl_output_column *columns, uint32_t count)
{
    if (!s->copy->header)
        return;
    size_t m = tl_pg_begin(&s->out, 'd');
    for (uint32_t i = 0; i < count; i++) {
        if (i)
            tl_buffer_put_u8(&s->out, (uint8_t)s->copy->delimiter);
        put_value(s, tl_slice_str(columns[i].name), count == 1);
    }
    tl_buffer_put_u8(&s->out, '\n');
    tl_pg_end(&s->out, m);
}

void tl__pg_copy_row(struct tl_pg *s, const struct tl_vector *columns, uint32_t count, uint32_t row,
                     const struct tl_zone *zone, struct tl_zone_span *span)
{
    size_t m = tl_pg_begin(&s->out, 'd');
    for (uint32_t i = 0; i < count; i++) {
        if (i)
            tl_buffer_put_u8(&s->out, (uint8_t)s->copy->delimiter);
        if (!tl_vector_valid(&columns[i], row)) {
            tl_buffer_put(&s->out, s->copy->null, strlen(s->copy->null));
            continue;
        }
        tl_buffer_clear(&s->field);
        tl_pg_put_value(&s->field, &columns[i], row, false, zone, span);
        put_value(s, tl_buffer_slice(&s->field), count == 1);
    }
    tl_buffer_put_u8(&s->out, '\n');
    tl_pg_end(&s->out, m);
}
