/*
 * engine/query.c: statements and cursors.
 *
 * A statement is a plan and the session it was made for; a cursor is one run of it over one
 * snapshot. A snapshot pins memtables and packs, so cursors are bounded in life: one that was not
 * stepped for 5 minutes, or the oldest ones when memtables that only cursors pin outgrow their
 * share of memory, end with SQLSTATE 72000. Ingestion never waits for a reader.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/zone.h"
#include "engine/db_int.h"
#include "query/exec.h"
#include "query/function.h"

#define IDLE_NS_MAX (300ULL * 1000000000)

struct tally_statement {
    _Atomic uint32_t refs;
    struct tally *db;
    struct tl_plan *plan;
    struct tally_session session;
    char *time_zone;
    int64_t *merchants; /* of the session's tenant */
};

struct tally_cursor {
    struct tally_cursor *previous, *next; /* under cursors_lock */
    struct tally *db;
    struct tally_statement *statement; /* NULL: a shared snapshot, which is never stepped */
    pthread_mutex_t lock;              /* held by a step; the reaper only tries it */
    _Atomic uint64_t last_used_ns;
    bool expired;
    struct tl_snapshot snapshot;
    struct tl_source *source;
    struct tl_run *run;
    struct tl_budget budget;
    struct tl_arena arena; /* parameters, EXPLAIN's lines */
    struct tl_vector *params;
    uint32_t param_count;
    bool done;
    uint64_t begun_ns;
    int64_t now_us; /* of the snapshot */
    struct tl_session_info info;
    struct tl_vector line; /* of SHOW and EXPLAIN */
};

/* ---- statements ---- */

static void statement_unref(struct tally_statement *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    tl_plan_free(s->plan);
    free(s->time_zone);
    free(s->merchants);
    free(s);
}

static enum tl_code copy_tenant(struct tally_statement *s, struct tl_status *st)
{
    struct tally_tenant *t = &s->session.tenant;
    if (t->merchant_count > TALLY_TENANT_MERCHANTS_MAX)
        return TL_FAIL(st, TL_LIMIT, "a tenant of %u merchants; %d are the most", t->merchant_count,
                       TALLY_TENANT_MERCHANTS_MAX);
    s->merchants = calloc((size_t)t->merchant_count + 1, sizeof(*s->merchants));
    if (!s->merchants)
        return TL_FAIL(st, TL_LIMIT, "no memory for a statement");
    if (t->merchant_count > 0)
        memcpy(s->merchants, t->merchants, t->merchant_count * sizeof(*s->merchants));
    t->merchants = s->merchants;
    return TL_OK;
}

enum tl_code tally_prepare(struct tally *db, struct tl_slice sql,
                           const struct tally_session *session, struct tally_statement **out,
                           struct tl_status *st)
{
    if (db->options.read_only)
        return TL_FAIL(st, TL_UNSUPPORTED, "a database that is open read-only answers no queries");
    struct tally_statement *s = calloc(1, sizeof(*s));
    if (!s)
        return TL_FAIL(st, TL_LIMIT, "no memory for a statement");
    atomic_init(&s->refs, 1);
    s->db = db;
    if (session)
        s->session = *session;
    s->time_zone = strdup(session && session->time_zone ? session->time_zone : "UTC");
    struct tl_version *v = tl_current_acquire(&db->current);
    struct tl_plan_options options = {.time_zone = s->time_zone,
                                      .param_count = s->session.param_count,
                                      .param_types = s->session.param_types};
    /* Schemas live as long as the database: the plan may keep what it found. */
    const struct tl_catalog *catalog = &v->schema->catalog;
    tl_version_unref(v);
    if (!s->time_zone)
        TL_FAIL(st, TL_LIMIT, "no memory for a statement");
    if (!st->code)
        TL_IGNORE(copy_tenant(s, st));
    if (st->code || tl_plan_new(catalog, sql, &options, &s->plan, st)) {
        atomic_fetch_add_explicit(&db->counters.query_errors, 1, memory_order_relaxed);
        statement_unref(s);
        return st->code;
    }
    s->session.param_types = NULL; /* the caller's */
    *out = s;
    return TL_OK;
}

const struct tl_plan *tally_describe(const struct tally_statement *statement)
{
    return statement->plan;
}

void tally_statement_close(struct tally_statement *statement)
{
    statement_unref(statement);
}

/* ---- cursors ---- */

static void end_run(struct tally_cursor *c)
{
    tl_run_free(c->run);
    c->run = NULL;
    tl_db_source_free(c->source);
    c->source = NULL;
    if (c->snapshot.version)
        tl_snapshot_release(&c->snapshot);
}

/* What the snapshot's segments of a table take on the disk. */
static uint64_t relation_bytes(void *arg, uint32_t table_id)
{
    const struct tally_cursor *c = arg;
    const struct tl_version *v = c->snapshot.version;
    const struct tl_table_version *t = v ? tl_version_find(v, table_id) : NULL;
    uint64_t bytes = 0;
    for (uint32_t s = 0; t && s < v->shard_count; s++)
        for (uint32_t i = 0; t->shards[s] && i < t->shards[s]->count; i++)
            bytes += t->shards[s]->segments[i]->info.size;
    return bytes;
}

static uint64_t lesser(uint64_t a, uint64_t limit)
{
    return a == 0 || (limit > 0 && a > limit) ? limit : a;
}

static enum tl_code start_run(struct tally_cursor *c, struct tl_status *st)
{
    struct tally_statement *s = c->statement;
    struct tally *db = s->db;
    if (!c->snapshot.version) {
        if (tl_snapshot_wait(db, st))
            return st->code;
        tl_snapshot_take(db, &c->snapshot);
        c->now_us = tl_clock_wall_us(db->clock);
    }
    if (tl_db_source_new(db, &c->snapshot, &s->session.tenant, &c->source, st))
        return st->code;
    if (s->session.info)
        c->info = *s->session.info;
    c->info.merchant = s->session.tenant.bounded;
    c->info.relation_bytes = relation_bytes;
    c->info.database_arg = c;
    struct tl_run_options options = {
        .source = c->source,
        .catalog = &c->snapshot.version->schema->catalog,
        .session = &c->info,
        .budget = &c->budget,
        .clock = db->clock,
        .now_us = c->now_us,
        .time_zone = s->time_zone,
        .timeout_ms = lesser(s->session.timeout_ms, db->options.query_timeout_ms),
        .result_rows_max = s->session.result_rows_max,
        .param_count = c->param_count,
        .params = c->params,
        .threads = s->session.threads ? s->session.threads : db->options.query_threads,
        .pool = db->pool,
        .terse = s->session.tenant.bounded};
    return tl_run_new(s->plan, &options, &c->run, st);
}

static enum tl_code copy_params(struct tally_cursor *c, const struct tl_vector *params,
                                uint32_t count, struct tl_status *st)
{
    c->params = tl_arena_calloc(&c->arena, (size_t)count + 1, sizeof(*c->params), st);
    if (!c->params)
        return st->code;
    c->param_count = count;
    for (uint32_t i = 0; i < count; i++) {
        const struct tl_vector *from = &params[i];
        if (!tl_type_eq(from->type, c->statement->plan->param_types[i]) ||
            from->shape != TL_CONST || from->count < 1)
            return TL_FAIL(st, TL_INVALID, "parameter $%u does not have the type described", i + 1);
        c->params[i] = *from;
        uint32_t width = tl_kind_width((enum tl_kind)from->type.kind);
        uint64_t *validity = tl_arena_calloc(&c->arena, 1, 8, st);
        bool valid = from->data && tl_vector_valid(from, 0);
        uint8_t *data = valid ? tl_arena_copy(&c->arena, from->data, width, st)
                              : tl_arena_calloc(&c->arena, 1, width, st);
        if (!validity || !data)
            return st->code;
        validity[0] = valid;
        if (valid && tl_kind_is_bytes(from->type.kind)) {
            struct tl_slice text;
            memcpy(&text, data, sizeof(text));
            text.data = tl_arena_copy(&c->arena, text.data, text.size, st);
            if (!text.data)
                return st->code;
            memcpy(data, &text, sizeof(text));
        }
        c->params[i].data = data;
        c->params[i].validity = validity;
    }
    return TL_OK;
}

static enum tl_code run_ddl(struct tally_statement *s, struct tl_status *st)
{
    struct tl_item item = {.kind = TL_ITEM_DDL, .ddl = s->plan};
    if (s->session.tenant.bounded) {
        TL_FAIL(st, TL_INVALID, "a merchant's session cannot change tables");
        return tl_status_sql(st, "42501", 0);
    }
    if (s->plan->kind == TL_STMT_REFRESH_VIEW)
        return TL_OK; /* a rollup is never stale */
    return tl_submit_and_wait(s->db, &item, st);
}

static void link_cursor(struct tally *db, struct tally_cursor *c)
{
    pthread_mutex_lock(&db->cursors_lock);
    c->next = db->cursors;
    if (c->next)
        c->next->previous = c;
    db->cursors = c;
    pthread_mutex_unlock(&db->cursors_lock);
}

static void unlink_cursor(struct tally *db, struct tally_cursor *c)
{
    pthread_mutex_lock(&db->cursors_lock);
    *(c->previous ? &c->previous->next : &db->cursors) = c->next;
    if (c->next)
        c->next->previous = c->previous;
    pthread_mutex_unlock(&db->cursors_lock);
}

/* ---- snapshots that cursors share ---- */

struct tally_snapshot {
    struct tally_cursor pin; /* never stepped: it ends as an idle cursor does */
};

enum tl_code tally_snapshot_open(struct tally *db, struct tally_snapshot **out,
                                 struct tl_status *st)
{
    if (tl_snapshot_wait(db, st))
        return st->code;
    struct tally_snapshot *s = calloc(1, sizeof(*s));
    if (!s)
        return TL_FAIL(st, TL_LIMIT, "no memory for a snapshot");
    struct tally_cursor *c = &s->pin;
    pthread_mutex_init(&c->lock, NULL);
    c->db = db;
    atomic_init(&c->last_used_ns, tl_clock_mono_ns(db->clock));
    tl_snapshot_take(db, &c->snapshot);
    c->now_us = tl_clock_wall_us(db->clock);
    link_cursor(db, c);
    *out = s;
    return TL_OK;
}

void tally_snapshot_close(struct tally_snapshot *snapshot)
{
    if (!snapshot)
        return;
    struct tally_cursor *c = &snapshot->pin;
    unlink_cursor(c->db, c);
    end_run(c);
    pthread_mutex_destroy(&c->lock);
    free(snapshot);
}

static enum tl_code too_old(struct tl_status *st)
{
    TL_FAIL(st, TL_TOO_OLD,
            "snapshot too old: it was idle for 5 minutes, or its memory was needed; "
            "run the statement again");
    return tl_status_sql(st, "72000", 0);
}

/* The cursor sees what the shared snapshot sees. */
static enum tl_code share_snapshot(struct tally_cursor *c, struct tally_snapshot *shared,
                                   struct tl_status *st)
{
    struct tally_cursor *pin = &shared->pin;
    pthread_mutex_lock(&pin->lock);
    bool expired = pin->expired;
    if (!expired) {
        /* One more beside the pin's own, which keeps it alive meanwhile. */
        atomic_fetch_add_explicit(&pin->snapshot.version->refs, 1, memory_order_relaxed);
        c->snapshot = pin->snapshot;
        c->now_us = pin->now_us;
        atomic_store_explicit(&pin->last_used_ns, tl_clock_mono_ns(c->db->clock),
                              memory_order_relaxed);
    }
    pthread_mutex_unlock(&pin->lock);
    return expired ? too_old(st) : TL_OK;
}

enum tl_code tally_bind(struct tally_statement *s, const struct tl_vector *params,
                        uint32_t param_count, struct tally_cursor **out, struct tl_status *st)
{
    return tally_bind_at(s, params, param_count, NULL, out, st);
}

enum tl_code tally_bind_at(struct tally_statement *s, const struct tl_vector *params,
                           uint32_t param_count, struct tally_snapshot *snapshot,
                           struct tally_cursor **out, struct tl_status *st)
{
    struct tally *db = s->db;
    if (param_count != s->plan->param_count) {
        TL_FAIL(st, TL_INVALID, "the statement has %u parameters, %u were given",
                s->plan->param_count, param_count);
        return tl_status_sql(st, "08P01", 0);
    }
    struct tally_cursor *c = calloc(1, sizeof(*c));
    if (!c)
        return TL_FAIL(st, TL_LIMIT, "no memory for a cursor");
    pthread_mutex_init(&c->lock, NULL);
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    c->db = db;
    c->statement = s;
    c->begun_ns = tl_clock_mono_ns(db->clock);
    atomic_init(&c->last_used_ns, c->begun_ns);
    tl_budget_init(&c->budget, "query memory",
                   lesser(s->session.memory_bytes, db->options.query_memory_bytes), &db->memory);
    tl_arena_init(&c->arena, &c->budget, 4096);
    link_cursor(db, c);
    atomic_fetch_add_explicit(&db->counters.queries, 1, memory_order_relaxed);
    enum tl_code rc = copy_params(c, params, param_count, st);
    pthread_mutex_lock(&c->lock);
    if (!rc && snapshot)
        rc = share_snapshot(c, snapshot, st);
    if (!rc) {
        switch (s->plan->kind) {
        case TL_STMT_CREATE_TABLE:
        case TL_STMT_ADD_COLUMN:
        case TL_STMT_CREATE_ROLLUP:
        case TL_STMT_DROP_VIEW:
        case TL_STMT_REFRESH_VIEW:
        case TL_STMT_SET_OPTIONS:
            rc = run_ddl(s, st);
            c->done = true;
            break;
        case TL_STMT_SHOW_TABLES:
            break;
        case TL_STMT_EXPLAIN:
            rc = s->plan->analyze ? start_run(c, st) : TL_OK;
            break;
        default:
            rc = start_run(c, st);
        }
    }
    pthread_mutex_unlock(&c->lock);
    if (rc) {
        atomic_fetch_add_explicit(&db->counters.query_errors, 1, memory_order_relaxed);
        tally_cursor_close(c);
        return rc;
    }
    *out = c;
    return TL_OK;
}

/* One TEXT column with `count` lines. */
static enum tl_code text_lines(struct tally_cursor *c, const struct tl_slice *lines, uint32_t count,
                               struct tl_chunk *out, struct tl_status *st)
{
    if (count > TL_VECTOR_ROWS_MAX)
        return TL_FAIL(st, TL_LIMIT, "more than %d lines", TL_VECTOR_ROWS_MAX);
    c->line = (struct tl_vector){
        .type = tl_type_of(TL_TEXT), .shape = TL_FLAT, .count = count, .data = lines};
    *out = (struct tl_chunk){.count = count, .columns = &c->line};
    c->done = true;
    return TL_OK;
}

static enum tl_code show_tables(struct tally_cursor *c, struct tl_chunk *out, struct tl_status *st)
{
    struct tl_version *v = tl_current_acquire(&c->statement->db->current);
    const struct tl_schema *schema = v->schema;
    tl_version_unref(v);
    struct tl_slice *lines =
        tl_arena_calloc(&c->arena, (size_t)schema->table_count + 1, sizeof(*lines), st);
    if (!lines)
        return st->code;
    for (uint32_t i = 0; i < schema->table_count; i++)
        lines[i] = tl_slice_str(schema->tables[i]->info.name);
    return text_lines(c, lines, schema->table_count, out, st);
}

static enum tl_code explain(struct tally_cursor *c, struct tl_chunk *out, struct tl_status *st)
{
    struct tl_buffer text;
    tl_buffer_init(&text, "EXPLAIN", 1 << 20);
    if (c->run) {
        struct tl_chunk chunk;
        do {
            if (tl_run_step(c->run, &chunk, st))
                goto done;
        } while (chunk.count > 0);
        tl_run_print(c->run, &text);
    } else {
        tl_plan_print(c->statement->plan, &text);
    }
    if (tl_buffer_check(&text, st))
        goto done;
    uint32_t count = 0;
    uint8_t *copy = tl_arena_copy(&c->arena, text.data, text.size, st);
    struct tl_slice *lines = tl_arena_calloc(&c->arena, TL_VECTOR_ROWS_MAX + 1, sizeof(*lines), st);
    if (!copy || !lines)
        goto done;
    for (size_t at = 0; at < text.size && count < TL_VECTOR_ROWS_MAX; count++) {
        const uint8_t *end = memchr(copy + at, '\n', text.size - at);
        size_t size = end ? (size_t)(end - copy) - at : text.size - at;
        lines[count] = tl_slice_of(copy + at, size);
        at += size + 1;
    }
    TL_IGNORE(text_lines(c, lines, count, out, st));
done:
    tl_buffer_deinit(&text);
    return st->code;
}

static enum tl_code step_locked(struct tally_cursor *c, struct tl_chunk *out, struct tl_status *st)
{
    *out = (struct tl_chunk){.count = 0};
    if (c->expired)
        return too_old(st);
    if (c->done)
        return TL_OK;
    if (c->statement->plan->kind == TL_STMT_SHOW_TABLES)
        return show_tables(c, out, st);
    if (c->statement->plan->kind == TL_STMT_EXPLAIN)
        return explain(c, out, st);
    if (tl_run_step(c->run, out, st))
        return st->code;
    c->done = out->count == 0;
    return TL_OK;
}

enum tl_code tally_step(struct tally_cursor *c, struct tl_chunk *out, struct tl_status *st)
{
    struct tally *db = c->statement->db;
    pthread_mutex_lock(&c->lock);
    enum tl_code rc = step_locked(c, out, st);
    atomic_store_explicit(&c->last_used_ns, tl_clock_mono_ns(db->clock), memory_order_relaxed);
    pthread_mutex_unlock(&c->lock);
    if (rc)
        atomic_fetch_add_explicit(&db->counters.query_errors, 1, memory_order_relaxed);
    return rc;
}

void tally_cancel(struct tally_cursor *c)
{
    if (c->run)
        tl_run_cancel(c->run);
}

void tally_cursor_close(struct tally_cursor *c)
{
    if (!c)
        return;
    struct tally *db = c->db;
    unlink_cursor(db, c);
    end_run(c);
    uint64_t us = (tl_clock_mono_ns(db->clock) - c->begun_ns) / 1000;
    tl__histogram_add(&db->counters.query, us);
    atomic_fetch_add_explicit(&db->counters.query_us, us, memory_order_relaxed);
    tl_arena_deinit(&c->arena);
    pthread_mutex_destroy(&c->lock);
    statement_unref(c->statement);
    free(c);
}

/* ---- cursors that pin too much or too long ---- */

/* Bytes of memtables that this cursor's version holds and the current one does not. */
static uint64_t pinned_bytes(const struct tally_cursor *c, const struct tl_version *current)
{
    uint64_t bytes = 0;
    const struct tl_version *v = c->snapshot.version;
    for (uint32_t t = 0; v && v != current && t < v->table_count; t++) {
        const struct tl_table_version *now = tl_version_find(current, v->tables[t].table_id);
        for (uint32_t i = 0; i < v->tables[t].memtable_count; i++) {
            bool live = false;
            for (uint32_t k = 0; now && k < now->memtable_count; k++)
                live = live || now->memtables[k] == v->tables[t].memtables[i];
            if (!live)
                bytes += tl_memtable_bytes(v->tables[t].memtables[i]);
        }
    }
    return bytes;
}

/* Ends a cursor unless it is being stepped right now. */
static bool expire(struct tally_cursor *c)
{
    if (pthread_mutex_trylock(&c->lock) != 0)
        return false;
    if (c->snapshot.version && !c->expired) {
        c->expired = true;
        end_run(c);
    }
    pthread_mutex_unlock(&c->lock);
    return true;
}

void tl_cursors_expire(struct tally *db)
{
    uint64_t now = tl_clock_mono_ns(db->clock);
    struct tl_version *current = tl_current_acquire(&db->current);
    pthread_mutex_lock(&db->cursors_lock);
    uint64_t pinned = 0;
    for (struct tally_cursor *c = db->cursors; c; c = c->next) {
        uint64_t used = atomic_load_explicit(&c->last_used_ns, memory_order_relaxed);
        if (now > used && now - used > IDLE_NS_MAX)
            (void)expire(c);
        if (pthread_mutex_trylock(&c->lock) == 0) {
            pinned += pinned_bytes(c, current);
            pthread_mutex_unlock(&c->lock);
        }
    }
    while (pinned > db->memtable_bytes_max) {
        struct tally_cursor *oldest = NULL;
        uint64_t most = 0;
        for (struct tally_cursor *c = db->cursors; c; c = c->next) {
            if (pthread_mutex_trylock(&c->lock) != 0)
                continue;
            uint64_t bytes = pinned_bytes(c, current);
            bool older = bytes > 0 && (!oldest || c->snapshot.position < oldest->snapshot.position);
            pthread_mutex_unlock(&c->lock);
            if (older) {
                oldest = c;
                most = bytes;
            }
        }
        if (!oldest || !expire(oldest))
            break;
        pinned = pinned > most ? pinned - most : 0;
    }
    pthread_mutex_unlock(&db->cursors_lock);
    tl_version_unref(current);
}

enum tl_code tally_split(struct tl_slice sql, struct tl_arena *arena, struct tl_utility **out,
                         uint32_t *out_count, struct tl_status *st)
{
    return tl_utility_split(sql, arena, out, out_count, st);
}

/* ---- text in, text out: the casts of the query floor ---- */

static enum tl_code cast_one(const struct tl_vector *from, struct tl_type to, const char *time_zone,
                             struct tl_arena *arena, struct tl_vector *out, struct tl_status *st)
{
    const struct tl_function *f = tl_function_cast(from->type, to);
    char name[32];
    if (!f)
        return TL_FAIL(st, TL_UNSUPPORTED, "no conversion to %s",
                       tl_type_name(to, name, sizeof(name)));
    struct tl_eval_context ctx = {.arena = arena, .zone_name = time_zone ? time_zone : "UTC"};
    if (tl_zone_get_session(tl_slice_str(ctx.zone_name), &ctx.zone, st))
        return st->code;
    *out = (struct tl_vector){.type = to, .shape = TL_CONST, .count = 1};
    return f->kernel(&ctx, from, 1, 1, NULL, 1, out, st);
}

enum tl_code tally_param_parse(struct tl_type type, struct tl_slice text, const char *time_zone,
                               struct tl_arena *arena, struct tl_vector *out, struct tl_status *st)
{
    struct tl_slice *copy = tl_arena_alloc(arena, sizeof(*copy), st);
    if (!copy)
        return st->code;
    *copy = text;
    struct tl_vector from = {
        .type = tl_type_of(TL_TEXT), .shape = TL_CONST, .count = 1, .data = copy};
    if (type.kind == TL_TEXT) {
        copy->data = tl_arena_copy(arena, text.data, text.size, st);
        if (!copy->data)
            return st->code;
        *out = from;
        return TL_OK;
    }
    struct tl_vector v;
    if (cast_one(&from, type, time_zone, arena, &v, st))
        return st->code;
    v.shape = TL_CONST;
    v.count = 1;
    *out = v;
    return TL_OK;
}

enum tl_code tally_value_print(const struct tl_vector *v, uint32_t row, const char *time_zone,
                               struct tl_buffer *out, struct tl_status *st)
{
    if (!tl_vector_valid(v, row))
        return TL_OK;
    uint32_t at = v->shape == TL_CONST ? 0 : row;
    if (v->shape == TL_DICT) {
        struct tl_slice s;
        if (tl_dict_get(v->dict, &v->codes[at], 1, &s, st))
            return st->code;
        tl_buffer_put(out, s.data, s.size);
        return tl_buffer_check(out, st);
    }
    uint32_t width = tl_kind_width((enum tl_kind)v->type.kind);
    struct tl_vector one = {.type = v->type,
                            .shape = TL_CONST,
                            .count = 1,
                            .data = (const uint8_t *)v->data + (size_t)at * width};
    struct tl_arena arena;
    struct tl_vector text = one;
    tl_arena_init(&arena, NULL, 4096);
    if (v->type.kind == TL_TEXT ||
        !cast_one(&one, tl_type_of(TL_TEXT), time_zone, &arena, &text, st)) {
        const struct tl_slice *s = text.data;
        tl_buffer_put(out, s->data, s->size);
        TL_IGNORE(tl_buffer_check(out, st));
    }
    tl_arena_deinit(&arena);
    return st->code;
}
