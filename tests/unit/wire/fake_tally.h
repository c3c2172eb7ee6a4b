/*
 * tests/unit/wire/fake_tally.h: an engine that only pretends, for tests of the wire alone.
 *
 * Batches are kept in flight until fake_complete; queries answer canned rows. Included once per
 * test program; its functions stand in for all of engine/tally.h that the wire uses.
 */
#ifndef TALLY_TESTS_UNIT_WIRE_FAKE_TALLY_H
#define TALLY_TESTS_UNIT_WIRE_FAKE_TALLY_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "engine/tally.h"

enum { FAKE_QUEUE = 4096 };

struct tally {
    bool not_ready;
    bool at_once;         /* batches are done as they come */
    enum tl_code refuse;  /* tally_append answers this */
    uint32_t queue_limit; /* TL_BUSY beyond; 0: FAKE_QUEUE */
    struct {
        tally_append_done *done;
        void *arg;
        struct tl_slice body;
        uint64_t sequence;
    } flying[FAKE_QUEUE];
    uint32_t flying_count;
    uint64_t taken, bytes; /* batches */
    uint64_t body_hash;    /* of the last body: a sum of its bytes */
    uint32_t chunks;       /* rows / 2048 that a query answers */
    _Atomic int cursors_open, statements_open;
    _Atomic int cancels;
    _Atomic bool compact_waits; /* until it is cancelled */
    _Atomic int compactions, compact_cancels;
};

static struct tally fake_db;

static inline void fake_complete(struct tally *db, uint32_t count)
{
    while (count-- && db->flying_count) {
        struct tally_ack ack = {.code = TL_OK,
                                .rows = 1,
                                .position = db->taken,
                                .more = count > 0 && db->flying_count > 1};
        tally_append_done *done = db->flying[0].done;
        void *arg = db->flying[0].arg;
        db->flying_count--;
        memmove(db->flying, db->flying + 1, db->flying_count * sizeof(db->flying[0]));
        done(arg, &ack);
    }
}

enum tl_code tally_append(struct tally *db, const struct tally_batch *batch,
                          tally_append_done *done, void *arg, struct tl_status *st)
{
    if (db->refuse)
        return TL_FAIL(st, db->refuse, "refused by the fake");
    if (db->flying_count >= (db->queue_limit ? db->queue_limit : FAKE_QUEUE))
        return TL_FAIL(st, TL_BUSY, "the queue is full");
    db->taken++;
    db->bytes += batch->body.size;
    db->body_hash = 0;
    for (size_t i = 0; i < batch->body.size; i++)
        db->body_hash += batch->body.data[i];
    db->flying[db->flying_count].done = done;
    db->flying[db->flying_count].arg = arg;
    db->flying[db->flying_count].sequence = batch->sequence;
    db->flying[db->flying_count++].body = batch->body;
    if (db->at_once)
        fake_complete(db, 1);
    return TL_OK;
}

enum tl_code tally_append_wait(struct tally *db, const struct tally_batch *batch, uint32_t *refused,
                               struct tl_status *st)
{
    (void)db;
    (void)batch;
    (void)refused;
    return TL_FAIL(st, TL_UNSUPPORTED, "the fake stores nothing");
}

struct tally_statement {
    struct tl_plan plan;
    struct tl_output_column outputs[3];
};

struct tally_cursor {
    struct tally *db;
    uint32_t given;
    _Atomic bool cancelled;
    bool slow;
    int64_t ints[TL_VECTOR_ROWS_MAX];
    struct tl_slice texts[TL_VECTOR_ROWS_MAX];
    char bytes[TL_VECTOR_ROWS_MAX][12];
    struct tl_vector columns[3];
};

static bool fake_slow_query;

enum tl_code tally_prepare(struct tally *db, struct tl_slice sql,
                           const struct tally_session *session, struct tally_statement **out,
                           struct tl_status *st)
{
    (void)session;
    if (sql.size >= 3 && memcmp(sql.data, "BAD", 3) == 0) {
        TL_FAIL(st, TL_INVALID, "syntax error at or near \"BAD\" 100%%");
        return tl_status_sql(st, "42601", 1);
    }
    fake_slow_query = sql.size >= 4 && memcmp(sql.data, "SLOW", 4) == 0;
    struct tally_statement *s = calloc(1, sizeof(*s));
    s->outputs[0] = (struct tl_output_column){"n", {TL_BIGINT, 0}};
    s->outputs[1] = (struct tl_output_column){"name", {TL_TEXT, 0}};
    s->outputs[2] = (struct tl_output_column){"at", {TL_TIMESTAMPTZ, 0}};
    s->plan.outputs = s->outputs;
    s->plan.output_count = sql.size >= 8 && memcmp(sql.data, "SELECT *", 8) == 0 ? 3 : 2;
    db->statements_open++;
    *out = s;
    return TL_OK;
}

const struct tl_plan *tally_describe(const struct tally_statement *statement)
{
    return &statement->plan;
}

enum tl_code tally_bind(struct tally_statement *statement, const struct tl_vector *params,
                        uint32_t param_count, struct tally_cursor **out, struct tl_status *st)
{
    (void)statement;
    (void)params;
    (void)param_count;
    (void)st;
    struct tally_cursor *c = calloc(1, sizeof(*c));
    c->db = &fake_db;
    c->slow = fake_slow_query;
    fake_db.cursors_open++;
    *out = c;
    return TL_OK;
}

enum tl_code tally_bind_at(struct tally_statement *statement, const struct tl_vector *params,
                           uint32_t param_count, struct tally_snapshot *snapshot,
                           struct tally_cursor **out, struct tl_status *st)
{
    (void)snapshot;
    return tally_bind(statement, params, param_count, out, st);
}

enum tl_code tally_snapshot_open(struct tally *db, struct tally_snapshot **out,
                                 struct tl_status *st)
{
    (void)db;
    (void)out;
    return TL_FAIL(st, TL_UNSUPPORTED, "no snapshots");
}

void tally_snapshot_close(struct tally_snapshot *snapshot)
{
    (void)snapshot;
}

enum tl_code tally_split(struct tl_slice sql, struct tl_arena *arena, struct tl_utility **out,
                         uint32_t *out_count, struct tl_status *st)
{
    return tl_utility_split(sql, arena, out, out_count, st);
}

enum tl_code tally_step(struct tally_cursor *c, struct tl_chunk *out, struct tl_status *st)
{
    while (c->slow && !c->cancelled)
        ;
    if (c->cancelled)
        return TL_FAIL(st, TL_CANCELLED, "cancelled");
    if (c->given == c->db->chunks) {
        *out = (struct tl_chunk){0};
        return TL_OK;
    }
    for (uint32_t i = 0; i < TL_VECTOR_ROWS_MAX; i++) {
        c->ints[i] = (int64_t)c->given * TL_VECTOR_ROWS_MAX + i;
        int n = snprintf(c->bytes[i], sizeof(c->bytes[i]), "row %u", i);
        c->texts[i] = tl_slice_of(c->bytes[i], (size_t)n);
    }
    c->columns[0] = (struct tl_vector){
        .type = {TL_BIGINT, 0}, .shape = TL_FLAT, .count = TL_VECTOR_ROWS_MAX, .data = c->ints};
    c->columns[1] = (struct tl_vector){
        .type = {TL_TEXT, 0}, .shape = TL_FLAT, .count = TL_VECTOR_ROWS_MAX, .data = c->texts};
    c->columns[2] = c->columns[0];
    c->columns[2].type.kind = TL_TIMESTAMPTZ;
    c->given++;
    *out = (struct tl_chunk){.count = TL_VECTOR_ROWS_MAX, .columns = c->columns};
    return TL_OK;
}

void tally_cancel(struct tally_cursor *c)
{
    c->cancelled = true;
    fake_db.cancels++;
}

void tally_cursor_close(struct tally_cursor *c)
{
    if (!c)
        return;
    fake_db.cursors_open--;
    free(c);
}

void tally_statement_close(struct tally_statement *s)
{
    if (!s)
        return;
    fake_db.statements_open--;
    free(s);
}

enum tl_code tally_param_parse(struct tl_type type, struct tl_slice text, const char *time_zone,
                               struct tl_arena *arena, struct tl_vector *out, struct tl_status *st)
{
    (void)time_zone;
    int64_t *v = tl_arena_calloc(arena, 1, sizeof(*v), st);
    if (!v)
        return st->code;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return TL_FAIL(st, TL_INVALID, "not a number: \"%.*s\"", (int)text.size,
                           (const char *)text.data);
        *v = (int64_t)((uint64_t)*v * 10 + (uint64_t)(text.data[i] - '0'));
    }
    *out = (struct tl_vector){.type = type, .shape = TL_CONST, .count = 1, .data = v};
    return TL_OK;
}

enum tl_code tally_value_print(const struct tl_vector *v, uint32_t row, const char *time_zone,
                               struct tl_buffer *out, struct tl_status *st)
{
    (void)v;
    (void)time_zone;
    tl_buffer_printf(out, "printed %u", row);
    return tl_buffer_check(out, st);
}

enum tl_code tally_flush(struct tally *db, struct tl_status *st)
{
    (void)db;
    (void)st;
    return TL_OK;
}

enum tl_code tally_compact(struct tally *db, void (*progress)(void *, uint64_t, uint64_t),
                           void *arg, struct tl_status *st)
{
    int before = db->compact_cancels;
    db->compactions++;
    do
        progress(arg, 1, 2);
    while (db->compact_waits && db->compact_cancels == before && usleep(1000) == 0);
    bool cancelled = db->compact_cancels > before;
    db->compactions--;
    return cancelled ? TL_FAIL(st, TL_CANCELLED, "cancelled") : TL_OK;
}

void tally_compact_cancel(struct tally *db)
{
    db->compact_cancels++;
}

enum tl_code tally_verify(struct tally *db, void (*progress)(void *, uint64_t, uint64_t), void *arg,
                          struct tl_buffer *json, struct tl_status *st)
{
    (void)db;
    progress(arg, 2, 2);
    tl_buffer_printf(json, "{\"findings\":1}");
    return TL_FAIL(st, TL_CORRUPT, "a pack is damaged");
}

enum tl_code tally_inspect(struct tally *db, const char *pack, struct tl_buffer *json,
                           struct tl_status *st)
{
    (void)db;
    tl_buffer_printf(json, "{\"pack\":\"%s\"}", pack ? pack : "all");
    return tl_buffer_check(json, st);
}

enum tl_code tally_status(struct tally *db, struct tl_buffer *json, struct tl_status *st)
{
    (void)db;
    tl_buffer_printf(json, "{\"rows\":7}");
    return tl_buffer_check(json, st);
}

void tally_metrics(struct tally *db, struct tl_buffer *out)
{
    (void)db;
    tl_buffer_printf(out, "tally_fake 1\n");
}

bool tally_ready(struct tally *db)
{
    return !db->not_ready;
}

const char *tally_version(void)
{
    return "fake";
}

#endif
