/*
 * wire/pg_cursor.c: cursors (DECLARE, FETCH, MOVE, CLOSE) and statements prepared in SQL.
 *
 * A cursor is a portal with a name; it sees the snapshot of its block. WITH HOLD it outlives the
 * block, but no longer than the engine lets any idle snapshot live.
 */
#include "wire/pg_int.h"
#include "wire/pg_types.h"

enum tl_code tl__pg_declare(struct tl_pg *s, const struct tl_utility *u)
{
    struct tl_pg_statement *statement = NULL;
    struct tl_pg_portal *p = NULL;
    if (s->block == 'I' && !u->hold)
        return tl__pg_error(s, "25P01", "DECLARE CURSOR can only be used in transaction blocks");
    if (tl__pg_statement_new(s, "", u->query, u->query_chars, NULL, 0, &statement))
        return s->st.code;
    if (!statement->plan || tally_describe(statement->plan)->kind != TL_STMT_SELECT)
        TL_IGNORE(tl__pg_error(s, "42601", "a cursor is declared for a SELECT"));
    else
        TL_IGNORE(tl__pg_portal_new(s, u->name, statement, NULL, 0, &p));
    tl__pg_statement_unref(statement);
    if (s->st.code)
        return s->st.code;
    p->declared = true;
    p->hold = u->hold;
    p->binary = u->binary;
    p->all_binary = u->binary;
    if (tl__pg_portal_put(s, p)) {
        tl__pg_portal_free(s, p);
        return s->st.code;
    }
    tl_pg_put_complete(&s->out, "DECLARE CURSOR");
    return TL_OK;
}

enum tl_code tl__pg_fetch(struct tl_pg *s, const struct tl_pg_portal *portal,
                          const struct tl_utility *u)
{
    struct tl_pg_portal *cursor = tl__pg_portal_find(s, u->name);
    if (!cursor || !cursor->cursor)
        return tl__pg_error(s, "34000", "cursor \"%.80s\" does not exist", u->name);
    s->formats = cursor->binary ? &cursor->all_binary : portal->formats;
    s->format_count = cursor->binary ? 1 : portal->format_count;
    tl__pg_send(s, cursor, u->move ? TL_PG_MOVE : TL_PG_FETCH, u->count);
    return TL_OK;
}

enum tl_code tl__pg_close_cursor(struct tl_pg *s, const struct tl_utility *u)
{
    struct tl_pg_portal *p = u->name ? tl__pg_portal_find(s, u->name) : NULL;
    if (u->name && !p)
        return tl__pg_error(s, "34000", "cursor \"%.80s\" does not exist", u->name);
    const char *tag = u->name ? "CLOSE CURSOR" : "CLOSE CURSOR ALL";
    if (p) {
        tl__pg_portal_drop(s, p);
    } else {
        struct tl_pg_portal *next;
        for (p = s->portals; p; p = next) {
            next = p->next;
            if (p->declared)
                tl__pg_portal_drop(s, p);
        }
    }
    tl_pg_put_complete(&s->out, tag);
    return TL_OK;
}

enum tl_code tl__pg_prepare(struct tl_pg *s, const struct tl_utility *u)
{
    struct tl_pg_statement *p = NULL;
    tl_arena_reset(&s->scratch);
    uint32_t *oids =
        tl_arena_calloc(&s->scratch, (size_t)u->value_count + 1, sizeof(*oids), &s->st);
    if (!oids)
        return s->st.code;
    for (uint32_t i = 0; i < u->value_count; i++) {
        oids[i] = tl_pg_oid_of_name(u->values[i]);
        if (oids[i] == 0)
            return tl__pg_error(s, "42704", "type \"%.60s\" is not known here", u->values[i]);
    }
    if (tl__pg_statement_new(s, u->name, u->query, u->query_chars, oids, u->value_count, &p))
        return s->st.code;
    if (tl__pg_statement_put(s, p)) {
        tl__pg_statement_unref(p);
        return s->st.code;
    }
    tl_pg_put_complete(&s->out, "PREPARE");
    return TL_OK;
}

/* ---- EXECUTE ---- */

/* The value of one expression, as text; NULL data: NULL. */
static enum tl_code evaluate(struct tl_pg *s, const char *text, struct tl_arena *arena,
                             struct tl_slice *out)
{
    struct tl_buffer sql, printed;
    struct tally_statement *statement = NULL;
    struct tally_cursor *cursor = NULL;
    struct tl_chunk chunk = {0};
    const char *zone = tl_pg_settings_get(&s->settings, "TimeZone");
    struct tally_session session = {.time_zone = zone, .tenant = {.bounded = true}};
    tl_buffer_init(&sql, "an argument of EXECUTE", 1 << 20);
    tl_buffer_init(&printed, "an argument of EXECUTE", 1 << 17);
    tl_buffer_printf(&sql, "SELECT (%s)", text);
    if (tl_buffer_check(&sql, &s->st) ||
        tally_prepare(s->options.db, tl_buffer_slice(&sql), &session, &statement, &s->st) ||
        tally_bind(statement, NULL, 0, &cursor, &s->st) || tally_step(cursor, &chunk, &s->st))
        goto done;
    *out = tl_slice_of(NULL, 0);
    if (chunk.count != 1 || tally_describe(statement)->output_count != 1) {
        TL_IGNORE(tl__pg_error(s, "42601", "an argument of EXECUTE is no single value"));
    } else if (tl_vector_valid(&chunk.columns[0], 0) &&
               tally_value_print(&chunk.columns[0], 0, zone, &printed, &s->st) == TL_OK) {
        const uint8_t *copy = tl_arena_copy(arena, printed.data ? (const void *)printed.data : "",
                                            printed.size, &s->st);
        *out = tl_slice_of(copy, printed.size);
    }
done:
    s->st.position = 0; /* of a text that the client never sent */
    tally_cursor_close(cursor);
    tally_statement_close(statement);
    tl_buffer_deinit(&sql);
    tl_buffer_deinit(&printed);
    return s->st.code;
}

enum tl_code tl__pg_run_prepared(struct tl_pg *s, const struct tl_pg_portal *portal,
                                 const struct tl_utility *u)
{
    struct tl_pg_statement *statement = tl__pg_statement_find(s, u->name);
    struct tl_pg_portal *run = NULL;
    if (!statement)
        return tl__pg_error(s, "26000", "prepared statement \"%.80s\" does not exist", u->name);
    if (!statement->plan)
        return tl__pg_error(s, "0A000", "EXECUTE of a statement that is no query");
    struct tl_arena arena;
    tl_arena_init(&arena, &s->budget, 4096);
    struct tl_pg_value *values =
        tl_arena_calloc(&arena, (size_t)u->value_count + 1, sizeof(*values), &s->st);
    for (uint32_t i = 0; i < u->value_count && !s->st.code; i++)
        TL_IGNORE(evaluate(s, u->values[i], &arena, &values[i].bytes));
    if (!s->st.code && u->value_count != tally_describe(statement->plan)->param_count)
        TL_IGNORE(tl__pg_error(
            s, "42601", "wrong number of parameters for prepared statement \"%.60s\"", u->name));
    if (!s->st.code)
        TL_IGNORE(tl__pg_portal_new(s, "", statement, values, u->value_count, &run));
    tl_arena_deinit(&arena);
    if (s->st.code)
        return s->st.code;
    s->formats = portal->formats;
    s->format_count = portal->format_count;
    s->owned = run;
    tl__pg_send(s, run, TL_PG_SELECT, INT64_MAX);
    return TL_OK;
}
