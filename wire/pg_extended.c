/*
 * wire/pg_extended.c: Parse, Bind, Describe, Execute, Close.
 *
 * Each leaves its failure in s->st; the session tells it and skips to Sync.
 */
#include <stdlib.h>

#include "wire/pg_int.h"
#include "wire/pg_types.h"

static void malformed(struct tl_pg *s, const char *what)
{
    TL_IGNORE(tl__pg_error(s, "08P01", "malformed %s message", what));
}

/* In a failed block only its end may come. */
static bool refused_in_block(struct tl_pg *s, const struct tl_utility *u)
{
    if (s->block != 'E')
        return false;
    if (u && (u->kind == TL_UTILITY_COMMIT || u->kind == TL_UTILITY_ROLLBACK ||
              u->kind == TL_UTILITY_ROLLBACK_TO))
        return false;
    TL_IGNORE(tl__pg_error(s, "25P02",
                           "current transaction is aborted, commands ignored until "
                           "end of transaction block"));
    return true;
}

void tl__pg_parse(struct tl_pg *s, struct tl_slice body)
{
    struct tl_pg_reader r = tl_pg_reader_of(body);
    struct tl_slice name = tl_pg_read_string(&r), sql = tl_pg_read_string(&r);
    uint32_t count = tl_pg_read_u16(&r);
    if (r.failed || (size_t)(r.end - r.next) != 4 * (size_t)count) {
        malformed(s, "Parse");
        return;
    }
    tl_arena_reset(&s->scratch);
    uint32_t *oids = tl_arena_calloc(&s->scratch, (size_t)count + 1, sizeof(*oids), &s->st);
    if (!oids)
        return;
    for (uint32_t i = 0; i < count; i++)
        oids[i] = tl_pg_read_u32(&r);
    /* The unnamed one goes whatever becomes of the new one. */
    if (name.size == 0)
        tl__pg_statement_drop(s, "");
    struct tl_pg_statement *p = NULL;
    struct tl_utility *list = NULL;
    uint32_t list_count = 0;
    if (s->block == 'E') { /* before names are looked up */
        struct tl_status ignored = TL_STATUS_INIT;
        TL_IGNORE(tally_split(sql, &s->scratch, &list, &list_count, &ignored));
        if (refused_in_block(s, list_count == 1 ? list : NULL))
            return;
    }
    if (tl__pg_statement_new(s, (const char *)name.data, sql, 0, oids, count, &p))
        return;
    if (tl__pg_statement_put(s, p)) {
        tl__pg_statement_unref(p);
        return;
    }
    tl_pg_put_empty(&s->out, '1');
}

static struct tl_pg_statement *statement_named(struct tl_pg *s, struct tl_slice name)
{
    struct tl_pg_statement *p = tl__pg_statement_find(s, (const char *)name.data);
    if (!p && name.size == 0)
        TL_IGNORE(tl__pg_error(s, "26000", "unnamed prepared statement does not exist"));
    else if (!p)
        TL_IGNORE(tl__pg_error(s, "26000", "prepared statement \"%.80s\" does not exist",
                               (const char *)name.data));
    return p;
}

static bool formats_are_known(struct tl_pg *s, const uint16_t *formats, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (formats[i] > 1) {
            TL_IGNORE(tl__pg_error(s, "22023", "unsupported format code: %u", formats[i]));
            return false;
        }
    }
    return true;
}

/* The formats and values of a Bind; in the session's text arena, which no simple query uses now. */
static bool read_values(struct tl_pg *s, struct tl_pg_reader *r, struct tl_pg_value **out,
                        uint32_t *out_count)
{
    uint32_t format_count = tl_pg_read_u16(r);
    struct tl_slice formats = tl_pg_read_bytes(r, 2 * (size_t)format_count);
    uint32_t count = tl_pg_read_u16(r);
    if (r->failed || (format_count > 1 && format_count != count)) {
        malformed(s, "Bind");
        return false;
    }
    struct tl_pg_value *values =
        tl_arena_calloc(&s->text, (size_t)count + 1, sizeof(*values), &s->st);
    if (!values)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t size = tl_pg_read_u32(r);
        if (size != UINT32_MAX) {
            values[i].bytes = tl_pg_read_bytes(r, size);
            if (!values[i].bytes.data && !r->failed)
                values[i].bytes.data = (const uint8_t *)"";
        }
        uint32_t f = format_count == 1 ? 0 : i;
        uint16_t format =
            (uint16_t)(f < format_count ? formats.data[2 * f] << 8 | formats.data[2 * f + 1] : 0);
        if (!formats_are_known(s, &format, 1))
            return false;
        values[i].binary = format == 1;
    }
    if (r->failed) {
        malformed(s, "Bind");
        return false;
    }
    *out = values;
    *out_count = count;
    return true;
}

static bool read_formats(struct tl_pg *s, struct tl_pg_reader *r, struct tl_pg_portal *portal)
{
    uint32_t count = tl_pg_read_u16(r);
    const struct tl_output_column *columns = NULL;
    uint32_t width = 0;
    portal->formats = calloc((size_t)count + 1, sizeof(*portal->formats));
    if (!portal->formats) {
        TL_FAIL(&s->st, TL_LIMIT, "no memory for a portal");
        return false;
    }
    for (uint32_t i = 0; i < count; i++)
        portal->formats[i] = tl_pg_read_u16(r);
    portal->format_count = count;
    if (!tl_pg_read_done(r)) {
        malformed(s, "Bind");
        return false;
    }
    if (!formats_are_known(s, portal->formats, count))
        return false;
    if (count <= 1)
        return true;
    if (tl__pg_columns_of(s, portal->statement, &columns, &width))
        return false;
    if (count != width) {
        TL_IGNORE(tl__pg_error(s, "08P01",
                               "bind message has %u result formats but query has %u columns", count,
                               width));
        return false;
    }
    return true;
}

void tl__pg_bind(struct tl_pg *s, struct tl_slice body)
{
    struct tl_pg_reader r = tl_pg_reader_of(body);
    struct tl_slice name = tl_pg_read_string(&r), from = tl_pg_read_string(&r);
    struct tl_pg_value *values = NULL;
    uint32_t count = 0;
    if (r.failed) {
        malformed(s, "Bind");
        return;
    }
    struct tl_pg_statement *statement = statement_named(s, from);
    if (!statement || refused_in_block(s, statement->utility))
        return;
    tl_arena_reset(&s->text);
    if (!read_values(s, &r, &values, &count))
        return;
    if (name.size == 0) {
        struct tl_pg_portal *old = tl__pg_portal_find(s, "");
        if (old)
            tl__pg_portal_drop(s, old);
    }
    struct tl_pg_portal *portal = NULL;
    if (tl__pg_portal_new(s, (const char *)name.data, statement, values, count, &portal))
        return;
    if (!read_formats(s, &r, portal) || tl__pg_portal_put(s, portal)) {
        tl__pg_portal_free(s, portal);
        return;
    }
    tl_pg_put_empty(&s->out, '2');
}

static void describe_statement(struct tl_pg *s, const struct tl_pg_statement *p)
{
    const struct tl_output_column *columns = NULL;
    uint32_t width = 0;
    if (tl__pg_columns_of(s, p, &columns, &width))
        return;
    const struct tl_plan *plan = p->plan ? tally_describe(p->plan) : NULL;
    uint32_t count = plan ? plan->param_count : 0;
    size_t m = tl_pg_begin(&s->out, 't');
    tl_pg_put_u16(&s->out, (uint16_t)count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t oid = i < p->oid_count ? p->oids[i] : 0;
        if (oid == 0 || oid == TL_PG_UNKNOWN)
            oid = tl_pg_oid_of(plan->param_types[i]);
        tl_pg_put_u32(&s->out, oid);
    }
    tl_pg_end(&s->out, m);
    tl__pg_put_columns(s, columns, width, NULL, 0);
}

void tl__pg_describe(struct tl_pg *s, struct tl_slice body)
{
    struct tl_pg_reader r = tl_pg_reader_of(body);
    char kind = (char)tl_pg_read_u8(&r);
    struct tl_slice name = tl_pg_read_string(&r);
    if (!tl_pg_read_done(&r) || (kind != 'S' && kind != 'P')) {
        malformed(s, "Describe");
        return;
    }
    if (kind == 'S') {
        struct tl_pg_statement *p = statement_named(s, name);
        if (p && (!p->plan || !refused_in_block(s, p->utility)))
            describe_statement(s, p);
        return;
    }
    struct tl_pg_portal *p = tl__pg_portal_find(s, (const char *)name.data);
    const struct tl_output_column *columns = NULL;
    uint32_t width = 0;
    if (!p)
        TL_IGNORE(
            tl__pg_error(s, "34000", "portal \"%.80s\" does not exist", (const char *)name.data));
    else if (tl__pg_columns_of(s, p->statement, &columns, &width) == TL_OK)
        tl__pg_put_columns(s, columns, width,
                           p->declared && p->binary ? &p->all_binary : p->formats,
                           p->declared && p->binary ? 1 : p->format_count);
}

void tl__pg_execute(struct tl_pg *s, struct tl_slice body)
{
    struct tl_pg_reader r = tl_pg_reader_of(body);
    struct tl_slice name = tl_pg_read_string(&r);
    uint32_t rows = tl_pg_read_u32(&r);
    if (!tl_pg_read_done(&r)) {
        malformed(s, "Execute");
        return;
    }
    struct tl_pg_portal *p = tl__pg_portal_find(s, (const char *)name.data);
    if (!p) {
        TL_IGNORE(
            tl__pg_error(s, "34000", "portal \"%.80s\" does not exist", (const char *)name.data));
        return;
    }
    if (!p->statement->utility) {
        tl_pg_put_empty(&s->out, 'I');
        return;
    }
    if (refused_in_block(s, p->statement->utility))
        return;
    s->formats = p->formats;
    s->format_count = p->format_count;
    int64_t limit = rows == 0 || rows > INT32_MAX ? INT64_MAX : (int64_t)rows;
    if (p->cursor) {
        tl__pg_send(s, p, TL_PG_SELECT, limit);
        return;
    }
    if (p->started) {
        TL_IGNORE(tl__pg_error(s, "55000", "portal \"%.80s\" cannot be run", p->name));
        return;
    }
    p->started = true;
    TL_IGNORE(tl__pg_command(s, p, p->statement->utility));
}

void tl__pg_close(struct tl_pg *s, struct tl_slice body)
{
    struct tl_pg_reader r = tl_pg_reader_of(body);
    char kind = (char)tl_pg_read_u8(&r);
    struct tl_slice name = tl_pg_read_string(&r);
    if (!tl_pg_read_done(&r) || (kind != 'S' && kind != 'P')) {
        malformed(s, "Close");
        return;
    }
    if (kind == 'S') {
        tl__pg_statement_drop(s, (const char *)name.data);
    } else {
        struct tl_pg_portal *p = tl__pg_portal_find(s, (const char *)name.data);
        if (p)
            tl__pg_portal_drop(s, p);
    }
    tl_pg_put_empty(&s->out, '3');
}
