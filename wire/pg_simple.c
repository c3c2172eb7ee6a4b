/*
 * wire/pg_simple.c: Query: the statements of one text, one after the other.
 *
 * They share one snapshot, as they would share an implicit transaction; the first failure ends
 * the text.
 */
#include "wire/pg_int.h"

void tl__pg_query(struct tl_pg *s, struct tl_slice body)
{
    struct tl_pg_reader r = tl_pg_reader_of(body);
    struct tl_slice sql = tl_pg_read_string(&r);
    s->simple = true;
    s->list = NULL;
    s->list_count = s->list_at = 0;
    tl_arena_reset(&s->text);
    struct tl_pg_portal *unnamed = tl__pg_portal_find(s, "");
    if (unnamed)
        tl__pg_portal_drop(s, unnamed);
    tl__pg_statement_drop(s, "");
    if (!tl_pg_read_done(&r)) {
        TL_IGNORE(tl__pg_error(s, "08P01", "malformed Query message"));
    } else {
        /* The message goes before the text's last statement runs. */
        const uint8_t *copy = tl_arena_copy(&s->text, sql.data, sql.size, &s->st);
        if (copy)
            TL_IGNORE(tally_split(tl_slice_of(copy, sql.size), &s->text, &s->list, &s->list_count,
                                  &s->st));
    }
    if (s->st.code)
        tl__pg_fail(s);
    else if (s->list_count == 0)
        tl_pg_put_empty(&s->out, 'I');
}

static bool ends_a_block(const struct tl_utility *u)
{
    return u->kind == TL_UTILITY_COMMIT || u->kind == TL_UTILITY_ROLLBACK ||
           u->kind == TL_UTILITY_ROLLBACK_TO;
}

static enum tl_code run(struct tl_pg *s, const struct tl_utility *u)
{
    if (s->block == 'E' && !ends_a_block(u))
        return tl__pg_error(s, "25P02",
                            "current transaction is aborted, commands ignored until "
                            "end of transaction block");
    struct tl_pg_statement *statement = NULL;
    struct tl_pg_portal *portal = NULL;
    if (tl__pg_statement_of(s, u, &statement))
        return s->st.code;
    enum tl_code rc = tl__pg_portal_new(s, "", statement, NULL, 0, &portal);
    tl__pg_statement_unref(statement);
    if (rc)
        return rc;
    s->formats = NULL;
    s->format_count = 0;
    if (!portal->cursor) {
        const struct tl_output_column *columns = NULL;
        uint32_t width = 0;
        bool rows = u->kind == TL_UTILITY_SHOW || u->kind == TL_UTILITY_FETCH ||
                    u->kind == TL_UTILITY_EXECUTE;
        rc = rows ? tl__pg_columns_of(s, portal->statement, &columns, &width) : TL_OK;
        if (!rc && width > 0) {
            const struct tl_pg_portal *cursor =
                u->kind == TL_UTILITY_FETCH ? tl__pg_portal_find(s, u->name) : NULL;
            bool binary = cursor && cursor->binary;
            tl__pg_put_columns(s, columns, width, binary ? &cursor->all_binary : NULL, binary);
        }
        if (!rc)
            rc = tl__pg_command(s, portal, u);
        tl__pg_portal_free(s, portal);
        return rc;
    }
    const struct tl_plan *plan = tally_describe(portal->statement->plan);
    if (plan->output_count > 0)
        tl__pg_put_columns(s, plan->outputs, plan->output_count, NULL, 0);
    s->owned = portal;
    tl__pg_send(s, portal, TL_PG_SELECT, INT64_MAX);
    return TL_OK;
}

void tl__pg_query_next(struct tl_pg *s)
{
    if (s->list_at < s->list_count) {
        if (run(s, &s->list[s->list_at++]))
            tl__pg_fail(s);
        return;
    }
    s->simple = false;
    s->list = NULL;
    tl__pg_ready(s);
}
