/*
 * wire/pg_statement.c: prepared statements and portals.
 *
 * A NUMERIC parameter has no scale of its own in PostgreSQL. Ours has: a statement is planned
 * with the scale that the values at hand have, and again when other values have another one, so
 * that no value is ever rounded on its way in.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "wire/pg_int.h"
#include "wire/pg_types.h"

/* ---- statements ---- */

static enum tl_code plan(struct tl_pg *s, struct tl_pg_statement *p)
{
    struct tally_session session = {
        .time_zone = tl_pg_settings_get(&s->settings, "TimeZone"),
        .tenant = tl__pg_tenant(s),
        .timeout_ms = s->settings.timeout_ms,
        .param_count = p->oid_count,
        .param_types = p->types,
        .info = &s->info,
    };
    struct tally_statement *fresh = NULL;
    if (!tl__pg_may(s, TL_SCOPE_READ))
        return tl__pg_error(s, "42501", "this user may not read");
    if (tally_prepare(s->options.db, p->sql, &session, &fresh, &s->st)) {
        if (s->st.position > 0)
            s->st.position += (int32_t)p->chars;
        return s->st.code;
    }
    tally_statement_close(p->plan);
    p->plan = fresh;
    p->meaning = s->settings.meaning;
    return TL_OK;
}

static enum tl_code statement_alloc(struct tl_pg *s, const char *name, struct tl_slice sql,
                                    uint32_t chars, struct tl_pg_statement **out)
{
    struct tl_pg_statement *p = calloc(1, sizeof(*p));
    if (!p)
        return TL_FAIL(&s->st, TL_LIMIT, "no memory for a statement");
    p->refs = 1;
    p->chars = chars;
    tl_arena_init(&p->arena, &s->budget, 512);
    const uint8_t *copy =
        tl_arena_copy(&p->arena, sql.data ? (const void *)sql.data : "", sql.size, &s->st);
    p->name = tl_arena_copy(&p->arena, name, strlen(name), &s->st);
    p->sql = tl_slice_of(copy, sql.size);
    if (s->st.code) {
        tl__pg_statement_unref(p);
        return s->st.code;
    }
    *out = p;
    return TL_OK;
}

static enum tl_code declare_types(struct tl_pg *s, struct tl_pg_statement *p, const uint32_t *oids,
                                  uint32_t count)
{
    p->oids = tl_arena_calloc(&p->arena, (size_t)count + 1, sizeof(*p->oids), &s->st);
    p->types = tl_arena_calloc(&p->arena, (size_t)count + 1, sizeof(*p->types), &s->st);
    if (!p->oids || !p->types)
        return s->st.code;
    p->oid_count = count;
    for (uint32_t i = 0; i < count; i++) {
        p->oids[i] = oids[i];
        if (tl_pg_type_of(oids[i], &p->types[i], &s->st)) {
            tl_status_wrap(&s->st, "parameter $%u", i + 1);
            return s->st.code;
        }
        if (oids[i] == TL_PG_NUMERIC)
            p->types[i] = tl_type_of(TL_DECIMAL128);
    }
    return TL_OK;
}

enum tl_code tl__pg_statement_new(struct tl_pg *s, const char *name, struct tl_slice sql,
                                  uint32_t chars, const uint32_t *oids, uint32_t oid_count,
                                  struct tl_pg_statement **out)
{
    struct tl_pg_statement *p = NULL;
    if (statement_alloc(s, name, sql, chars, &p))
        return s->st.code;
    uint32_t count = 0;
    struct tl_utility *list = NULL;
    if (tally_split(p->sql, &p->arena, &list, &count, &s->st)) {
        if (s->st.position > 0)
            s->st.position += (int32_t)chars;
    } else if (count > 1) {
        TL_IGNORE(
            tl__pg_error(s, "42601", "cannot insert multiple commands into a prepared statement"));
    } else if (count == 1 && declare_types(s, p, oids, oid_count) == TL_OK) {
        p->utility = list;
        if (list->kind == TL_UTILITY_NONE)
            TL_IGNORE(plan(s, p));
    }
    if (s->st.code) {
        tl__pg_statement_unref(p);
        return s->st.code;
    }
    *out = p;
    return TL_OK;
}

enum tl_code tl__pg_statement_of(struct tl_pg *s, const struct tl_utility *utility,
                                 struct tl_pg_statement **out)
{
    struct tl_pg_statement *p = NULL;
    if (statement_alloc(s, "", utility->text, utility->chars, &p))
        return s->st.code;
    p->utility = tl_arena_copy(&p->arena, utility, sizeof(*utility), &s->st);
    if (s->st.code || (utility->kind == TL_UTILITY_NONE && plan(s, p))) {
        tl__pg_statement_unref(p);
        return s->st.code;
    }
    *out = p;
    return TL_OK;
}

void tl__pg_statement_unref(struct tl_pg_statement *p)
{
    if (!p || --p->refs > 0)
        return;
    tally_statement_close(p->plan);
    tl_arena_deinit(&p->arena);
    free(p);
}

struct tl_pg_statement *tl__pg_statement_find(struct tl_pg *s, const char *name)
{
    for (struct tl_pg_statement *p = s->statements; p; p = p->next) {
        if (strcmp(p->name, name) == 0)
            return p;
    }
    return NULL;
}

void tl__pg_statement_drop(struct tl_pg *s, const char *name)
{
    struct tl_pg_statement **at = &s->statements;
    while (*at) {
        struct tl_pg_statement *p = *at;
        if (name && strcmp(p->name, name) != 0) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        s->statement_count--;
        tl__pg_statement_unref(p);
    }
}

enum tl_code tl__pg_statement_put(struct tl_pg *s, struct tl_pg_statement *p)
{
    if (p->name[0] == '\0')
        tl__pg_statement_drop(s, "");
    else if (tl__pg_statement_find(s, p->name))
        return tl__pg_error(s, "42P05", "prepared statement \"%.80s\" already exists", p->name);
    if (s->statement_count >= TL_PG_STATEMENTS_MAX)
        return tl__pg_error(s, "53400", "a session has at most %d prepared statements",
                            TL_PG_STATEMENTS_MAX);
    p->next = s->statements;
    s->statements = p;
    s->statement_count++;
    return TL_OK;
}

enum tl_code tl__pg_statement_fresh(struct tl_pg *s, struct tl_pg_statement *p)
{
    if (!p->plan || p->meaning == s->settings.meaning)
        return TL_OK;
    return plan(s, p);
}

/* ---- parameters ---- */

/* Plans again when a number has more digits after the point than the parameter's type; a declared
 * NUMERIC has exactly those that its value has. */
static enum tl_code fit_scales(struct tl_pg *s, struct tl_pg_statement *p,
                               const struct tl_pg_value *values)
{
    const struct tl_plan *d = tally_describe(p->plan);
    uint32_t count = d->param_count;
    bool again = false;
    if (count > p->oid_count) { /* the types of those that were not declared stay open */
        struct tl_type *types = tl_arena_calloc(&p->arena, count, sizeof(*types), &s->st);
        uint32_t *oids = tl_arena_calloc(&p->arena, count, sizeof(*oids), &s->st);
        if (!types || !oids)
            return s->st.code;
        memcpy(types, p->types, p->oid_count * sizeof(*types));
        memcpy(oids, p->oids, p->oid_count * sizeof(*oids));
        p->types = types;
        p->oids = oids;
        p->oid_count = count;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct tl_type type = d->param_types[i];
        bool declared = p->oids[i] == TL_PG_NUMERIC;
        bool decimal = type.kind == TL_DECIMAL64 || type.kind == TL_DECIMAL128;
        if (!values[i].bytes.data || !decimal)
            continue;
        if (values[i].binary && !declared && p->oids[i] != 0)
            continue; /* an integer or a float */
        int scale = tl_pg_param_scale(values[i].bytes, values[i].binary);
        if (scale < 0 || scale > 38 || scale == type.scale || (!declared && scale < type.scale))
            continue;
        p->types[i] = (struct tl_type){TL_DECIMAL128, (uint8_t)scale};
        again = true;
    }
    return again ? plan(s, p) : TL_OK;
}

static enum tl_code make_params(struct tl_pg *s, struct tl_pg_statement *p,
                                const struct tl_pg_value *values, uint32_t count,
                                struct tl_vector **out)
{
    static const uint64_t null_bits[1];
    static const uint8_t nothing[16]; /* of any type's width */
    if (count != tally_describe(p->plan)->param_count)
        return tl__pg_error(s, "08P01",
                            "bind message supplies %u parameters, but prepared statement "
                            "\"%.40s\" requires %u",
                            count, p->name, tally_describe(p->plan)->param_count);
    if (count > 0 && fit_scales(s, p, values))
        return s->st.code;
    const struct tl_plan *d = tally_describe(p->plan);
    tl_arena_reset(&s->scratch);
    struct tl_vector *params =
        tl_arena_calloc(&s->scratch, (size_t)count + 1, sizeof(*params), &s->st);
    if (!params)
        return s->st.code;
    const char *zone = tl_pg_settings_get(&s->settings, "TimeZone");
    for (uint32_t i = 0; i < count; i++) {
        struct tl_type type = d->param_types[i];
        if (!values[i].bytes.data) {
            params[i] = (struct tl_vector){.type = type,
                                           .shape = TL_CONST,
                                           .count = 1,
                                           .data = nothing,
                                           .validity = null_bits};
            continue;
        }
        uint32_t oid = i < p->oid_count ? p->oids[i] : 0;
        if (tl_pg_param(values[i].bytes, values[i].binary, oid, type, zone, &s->scratch, &params[i],
                        &s->st)) {
            tl_status_wrap(&s->st, "parameter $%u", i + 1);
            return s->st.code;
        }
    }
    *out = params;
    return TL_OK;
}

/* ---- portals ---- */

static bool changes_data(const struct tl_plan *p)
{
    return p->kind != TL_STMT_SELECT && p->kind != TL_STMT_EXPLAIN &&
           p->kind != TL_STMT_SHOW_TABLES;
}

enum tl_code tl__pg_portal_new(struct tl_pg *s, const char *name, struct tl_pg_statement *statement,
                               const struct tl_pg_value *values, uint32_t value_count,
                               struct tl_pg_portal **out)
{
    struct tl_pg_portal *p = calloc(1, sizeof(*p));
    char *copy = strdup(name);
    if (!p || !copy) {
        free(p);
        free(copy);
        return TL_FAIL(&s->st, TL_LIMIT, "no memory for a portal");
    }
    p->name = copy;
    p->statement = statement;
    statement->refs++;
    tl_arena_init(&p->arena, &s->budget, 4096);
    if (statement->plan) {
        struct tl_vector *params = NULL;
        bool changes = false;
        if (tl__pg_statement_fresh(s, statement) == TL_OK &&
            make_params(s, statement, values, value_count, &params) == TL_OK) {
            /* What a statement changes the next one sees: it takes a new snapshot. */
            changes = changes_data(tally_describe(statement->plan));
            if (changes)
                tl__pg_snapshot_drop(s);
            if (changes || tl__pg_snapshot(s) == TL_OK)
                TL_IGNORE(tally_bind_at(statement->plan, params, value_count,
                                        changes ? NULL : s->snapshot, &p->cursor, &s->st));
            if (s->st.code && s->st.position > 0)
                s->st.position += (int32_t)statement->chars;
        }
    } else if (value_count > 0) {
        TL_IGNORE(tl__pg_error(s, "08P01", "this statement has no parameters"));
    }
    if (s->st.code) {
        tl__pg_portal_free(s, p);
        return s->st.code;
    }
    *out = p;
    return TL_OK;
}

void tl__pg_portal_free(struct tl_pg *s, struct tl_pg_portal *p)
{
    if (!p)
        return;
    tl_assert(s->active != p || s->phase == TL_PG_ENDED);
    tally_cursor_close(p->cursor);
    tl__pg_statement_unref(p->statement);
    tl_arena_deinit(&p->arena);
    free(p->formats);
    free(p->name);
    free(p);
}

struct tl_pg_portal *tl__pg_portal_find(struct tl_pg *s, const char *name)
{
    for (struct tl_pg_portal *p = s->portals; p; p = p->next) {
        if (strcmp(p->name, name) == 0)
            return p;
    }
    return NULL;
}

void tl__pg_portal_drop(struct tl_pg *s, struct tl_pg_portal *p)
{
    for (struct tl_pg_portal **at = &s->portals; *at; at = &(*at)->next) {
        if (*at == p) {
            *at = p->next;
            s->portal_count--;
            tl__pg_portal_free(s, p);
            return;
        }
    }
}

enum tl_code tl__pg_portal_put(struct tl_pg *s, struct tl_pg_portal *p)
{
    struct tl_pg_portal *old = tl__pg_portal_find(s, p->name);
    if (old && p->name[0] != '\0')
        return tl__pg_error(s, "42P03", "cursor \"%.80s\" already exists", p->name);
    if (old)
        tl__pg_portal_drop(s, old);
    if (s->portal_count >= TL_PG_PORTALS_MAX)
        return tl__pg_error(s, "53400", "a session has at most %d portals and cursors",
                            TL_PG_PORTALS_MAX);
    p->next = s->portals;
    s->portals = p;
    s->portal_count++;
    return TL_OK;
}

void tl__pg_portals_drop(struct tl_pg *s, bool hold)
{
    struct tl_pg_portal **at = &s->portals;
    while (*at) {
        struct tl_pg_portal *p = *at;
        if ((p->hold && !hold) || p == s->active) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        s->portal_count--;
        tl__pg_portal_free(s, p);
    }
}
