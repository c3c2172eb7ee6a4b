/*
 * tools/door.c: the server's door and the directory's, behind one face.
 */
#include "tools/door.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/clock.h"
#include "tools/result.h"

enum {
    ARENA_CHUNK = 1 << 18,
    IN_FLIGHT_MAX = 64,
    IN_FLIGHT_BYTES_MAX = 48 << 20,
    RECONNECT_MS = 30000,
    ADMIN_JSON_MAX = 256 << 20
};

/* A batch in flight into a directory. */
struct local_batch {
    struct local_batch *next;
    struct tl_door *door;
    uint8_t *body;
    size_t size;
    struct tl_client_ack ack;
    char text[256];
    char reason[120];
};

struct tl_door {
    struct tl_door_options options;
    struct tl_client *client;
    struct tally *db;
    tl_client_on_ack *on_ack;
    void *ack_arg;
    /* through a server */
    struct tl_appender *appender;
    /* into a directory: done batches wait here for the door's thread */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct local_batch *done;
    uint32_t in_flight;
    size_t in_flight_bytes;
    uint8_t producer[64];
    size_t producer_size;
    bool import;
};

static void print_event(void *arg, int level, const char *event, const char *detail)
{
    static const char *const levels[] = {"debug", "info", "warning", "error"};
    (void)arg;
    if (level > 0)
        fprintf(stderr, "tally: %s: %s%s%s\n", levels[level & 3], event, detail ? " " : "",
                detail ? detail : "");
}

enum tl_code tl_door_open(const struct tl_door_options *options, struct tl_door **out,
                          struct tl_status *st)
{
    tl_assert(!options->server != !options->data);
    struct tl_door *d = calloc(1, sizeof(*d));
    if (!d)
        return TL_FAIL(st, TL_LIMIT, "no memory");
    d->options = *options;
    pthread_mutex_init(&d->mutex, NULL);
    pthread_cond_init(&d->changed, NULL);
    enum tl_code rc;
    if (options->server) {
        rc = tl_client_open(options->server, &d->client, st);
    } else {
        struct tally_options o = {.read_only = options->read_only,
                                  .must_exist = options->must_exist,
                                  .memory_bytes = options->memory_bytes,
                                  .query_threads = options->query_threads,
                                  .log = options->verbose ? print_event : NULL};
        rc = tally_open(options->data, &o, &d->db, st);
    }
    if (rc) {
        tl_door_close(d);
        return rc;
    }
    *out = d;
    return TL_OK;
}

void tl_door_close(struct tl_door *d)
{
    if (!d)
        return;
    tl_appender_close(d->appender);
    tl_client_close(d->client);
    if (d->db)
        tally_close(d->db); /* after it no completion comes */
    while (d->done) {
        struct local_batch *b = d->done;
        d->done = b->next;
        free(b->body);
        free(b);
    }
    pthread_cond_destroy(&d->changed);
    pthread_mutex_destroy(&d->mutex);
    free(d);
}

struct tally *tl_door_database(struct tl_door *d)
{
    return d->db;
}

/* ---- queries through a server ---- */

struct remote_query {
    const struct tl_door_query *q;
    bool have_columns;
    uint32_t column_count;
    struct tl_type types[TL_RESULT_COLUMNS_MAX];
    struct tl_vector vectors[TL_RESULT_COLUMNS_MAX];
    struct tl_arena names, arena;
    uint64_t elapsed_us;
};

static enum tl_code result_column(struct remote_query *r, struct tl_slice bytes,
                                  struct tl_door_column *out, struct tl_status *st)
{
    struct tl_reader reader = tl_reader_of(bytes);
    struct tl_slice name = {0};
    uint64_t kind = 0, scale = 0;
    while (!reader.failed && tl_reader_left(&reader)) {
        uint64_t tag = tl_read_varint(&reader);
        uint64_t number = tl_read_varint(&reader);
        if (tag == (1 << 3 | 2))
            name = tl_read_bytes(&reader, number);
        else if (tag == (2 << 3))
            kind = number;
        else if (tag == (3 << 3))
            scale = number;
        else if ((tag & 7) == 2)
            (void)tl_read_bytes(&reader, number);
    }
    if (reader.failed || kind >= TL_KIND_COUNT || scale > 38)
        return TL_FAIL(st, TL_CORRUPT, "the result's columns are malformed");
    char *copy = tl_arena_copy(&r->names, name.data, name.size, st);
    if (!copy)
        return st->code;
    *out = (struct tl_door_column){copy, {(uint8_t)kind, (uint8_t)scale}};
    return TL_OK;
}

static enum tl_code result_rows(struct remote_query *r, struct tl_slice batch, struct tl_status *st)
{
    uint32_t rows;
    tl_arena_reset(&r->arena);
    enum tl_code rc =
        tl_result_decode(batch, r->types, r->column_count, &r->arena, r->vectors, &rows, st);
    if (rc || rows == 0)
        return rc;
    struct tl_vector *part = tl_arena_calloc(&r->arena, r->column_count + 1, sizeof(*part), st);
    if (!part)
        return st->code;
    for (uint32_t from = 0; from < rows && !rc; from += TL_VECTOR_ROWS_MAX) {
        uint32_t count = rows - from < TL_VECTOR_ROWS_MAX ? rows - from : TL_VECTOR_ROWS_MAX;
        for (uint32_t i = 0; i < r->column_count; i++)
            part[i] = tl_result_slice(&r->vectors[i], from, count);
        rc = r->q->rows(r->q->arg, part, r->column_count, count, st);
    }
    return rc;
}

static enum tl_code on_result(void *arg, struct tl_slice message, struct tl_status *st)
{
    struct remote_query *r = arg;
    struct tl_reader reader = tl_reader_of(message);
    struct tl_door_column *columns = NULL;
    struct tl_slice batch = {0};
    while (!reader.failed && tl_reader_left(&reader)) {
        uint64_t tag = tl_read_varint(&reader);
        uint64_t number = tl_read_varint(&reader);
        if (tag == (3 << 3))
            r->elapsed_us = number;
        struct tl_slice bytes = {0};
        if ((tag & 7) == 2)
            bytes = tl_read_bytes(&reader, number);
        if (tag == (2 << 3 | 2))
            batch = bytes;
        if (tag != (1 << 3 | 2))
            continue;
        if (r->have_columns || r->column_count == TL_RESULT_COLUMNS_MAX)
            return TL_FAIL(st, TL_CORRUPT, "the result names its columns twice");
        if (!columns)
            columns = tl_arena_calloc(&r->arena, TL_RESULT_COLUMNS_MAX, sizeof(*columns), st);
        if (!columns)
            return st->code;
        enum tl_code rc = result_column(r, bytes, &columns[r->column_count], st);
        if (rc)
            return rc;
        r->types[r->column_count] = columns[r->column_count].type;
        r->column_count++;
    }
    if (reader.failed)
        return TL_FAIL(st, TL_CORRUPT, "the result is malformed");
    if (!r->have_columns) {
        r->have_columns = true;
        enum tl_code rc = r->q->columns(r->q->arg, columns, r->column_count, st);
        if (rc)
            return rc;
    }
    return batch.size ? result_rows(r, batch, st) : TL_OK;
}

static void put_bytes(struct tl_buffer *b, uint8_t field, struct tl_slice s)
{
    tl_buffer_put_u8(b, (uint8_t)(field << 3 | 2));
    tl_buffer_put_varint(b, s.size);
    tl_buffer_put(b, s.data, s.size);
}

static void put_number(struct tl_buffer *b, uint8_t field, uint64_t v)
{
    if (!v)
        return;
    tl_buffer_put_u8(b, (uint8_t)(field << 3));
    tl_buffer_put_varint(b, v);
}

static enum tl_code remote_query(struct tl_door *d, const struct tl_door_query *q,
                                 uint64_t *elapsed_us, struct tl_status *st)
{
    struct tl_buffer request, param;
    tl_buffer_init(&request, "request", 16 << 20);
    tl_buffer_init(&param, "parameter", 16 << 20);
    put_bytes(&request, 1, q->sql);
    for (uint32_t i = 0; i < q->param_count; i++) {
        tl_buffer_clear(&param);
        if (q->params[i])
            put_bytes(&param, 2, tl_slice_str(q->params[i]));
        else
            put_number(&param, 1, 1);
        put_bytes(&request, 2, tl_buffer_slice(&param));
    }
    if (q->time_zone)
        put_bytes(&request, 3, tl_slice_str(q->time_zone));
    put_number(&request, 4, q->timeout_ms);
    put_number(&request, 5, q->rows_max);
    enum tl_code rc = tl_buffer_check(&request, st);
    struct remote_query *r = rc ? NULL : calloc(1, sizeof(*r));
    if (!rc && !r)
        rc = TL_FAIL(st, TL_LIMIT, "no memory for a query");
    if (!rc) {
        r->q = q;
        tl_arena_init(&r->arena, NULL, ARENA_CHUNK);
        tl_arena_init(&r->names, NULL, 4096);
        rc = tl_client_call(d->client, "tally.v1.Query/Execute", tl_buffer_slice(&request),
                            q->timeout_ms, on_result, r, st);
        *elapsed_us = r->elapsed_us;
        tl_arena_deinit(&r->arena);
        tl_arena_deinit(&r->names);
    }
    free(r);
    tl_buffer_deinit(&request);
    tl_buffer_deinit(&param);
    return rc;
}

/* ---- queries on a directory ---- */

static enum tl_code run_cursor(const struct tl_door_query *q, struct tally_cursor *cursor,
                               const struct tl_plan *plan, struct tl_status *st)
{
    struct tl_chunk chunk = {0};
    uint64_t rows = 0;
    for (;;) {
        enum tl_code rc = tally_step(cursor, &chunk, st);
        if (rc || chunk.count == 0)
            return rc;
        if (tl_client_interrupted)
            return TL_FAIL(st, TL_CANCELLED, "interrupted");
        rows += chunk.count;
        if (q->rows_max && rows > q->rows_max)
            return TL_FAIL(st, TL_LIMIT, "the result has more than %llu rows",
                           (unsigned long long)q->rows_max);
        rc = q->rows(q->arg, chunk.columns, plan->output_count, chunk.count, st);
        if (rc)
            return rc;
    }
}

static enum tl_code local_query(struct tl_door *d, const struct tl_door_query *q,
                                struct tl_status *st)
{
    struct tally_session session = {.time_zone = q->time_zone, .timeout_ms = q->timeout_ms};
    struct tally_statement *statement = NULL;
    struct tally_cursor *cursor = NULL;
    struct tl_arena arena;
    tl_arena_init(&arena, NULL, 4096);
    enum tl_code rc = tally_prepare(d->db, q->sql, &session, &statement, st);
    if (rc)
        goto done;
    const struct tl_plan *plan = tally_describe(statement);
    if (plan->param_count != q->param_count) {
        rc = TL_FAIL(st, TL_INVALID, "the statement has %u parameters; %u were given",
                     plan->param_count, q->param_count);
        goto done;
    }
    struct tl_vector *params = tl_arena_calloc(&arena, plan->param_count + 1, sizeof(*params), st);
    static const uint64_t no_bits = 0;
    for (uint32_t i = 0; !rc && params && i < plan->param_count; i++) {
        if (q->params[i])
            rc = tally_param_parse(plan->param_types[i], tl_slice_str(q->params[i]), q->time_zone,
                                   &arena, &params[i], st);
        else
            params[i] = (struct tl_vector){.type = plan->param_types[i],
                                           .shape = TL_CONST,
                                           .count = 1,
                                           .data = tl_arena_calloc(&arena, 1, 32, st),
                                           .validity = &no_bits};
    }
    if (!params)
        rc = st->code;
    if (!rc)
        rc = tally_bind(statement, params, plan->param_count, &cursor, st);
    if (rc)
        goto done;
    struct tl_door_column *columns =
        tl_arena_calloc(&arena, plan->output_count + 1, sizeof(*columns), st);
    if (!columns) {
        rc = st->code;
        goto done;
    }
    for (uint32_t i = 0; i < plan->output_count; i++)
        columns[i] = (struct tl_door_column){plan->outputs[i].name, plan->outputs[i].type};
    rc = q->columns(q->arg, columns, plan->output_count, st);
    if (!rc)
        rc = run_cursor(q, cursor, plan, st);
done:
    tally_cursor_close(cursor);
    tally_statement_close(statement);
    tl_arena_deinit(&arena);
    return rc;
}

static uint64_t now_us(void)
{
    return tl_clock_mono_ns(tl_clock_system()) / 1000;
}

enum tl_code tl_door_query(struct tl_door *d, const struct tl_door_query *q, uint64_t *elapsed_us,
                           struct tl_status *st)
{
    if (d->client)
        return remote_query(d, q, elapsed_us, st);
    uint64_t begin = now_us();
    enum tl_code rc = local_query(d, q, st);
    *elapsed_us = now_us() - begin;
    return rc;
}

/* ---- appending ---- */

enum tl_code tl_door_append_open(struct tl_door *d, struct tl_slice producer, bool import,
                                 tl_client_on_ack *on_ack, void *arg, struct tl_status *st)
{
    tl_assert(producer.size <= sizeof(d->producer));
    d->on_ack = on_ack;
    d->ack_arg = arg;
    d->import = import;
    if (producer.size)
        memcpy(d->producer, producer.data, producer.size);
    d->producer_size = producer.size;
    if (!d->client)
        return TL_OK;
    struct tl_appender_options o = {.address = d->options.server,
                                    .producer = producer,
                                    .import = import,
                                    .in_flight_max = IN_FLIGHT_MAX,
                                    .in_flight_bytes_max = IN_FLIGHT_BYTES_MAX,
                                    .reconnect_ms = RECONNECT_MS,
                                    .on_ack = on_ack,
                                    .arg = arg};
    return tl_appender_open(&o, &d->appender, st);
}

static uint32_t ack_code_of(enum tl_code code)
{
    switch (code) {
    case TL_OK:
        return TL_ACK_OK;
    case TL_LIMIT:
        return TL_ACK_LIMIT;
    case TL_TOO_OLD:
        return TL_ACK_TOO_OLD;
    case TL_NOT_FOUND:
        return TL_ACK_NOT_FOUND;
    case TL_CLOSED:
    case TL_IO:
    case TL_FULL:
        return TL_ACK_UNAVAILABLE;
    default:
        return TL_ACK_INVALID;
    }
}

/* On the engine's log thread. */
static void local_done(void *arg, const struct tally_ack *ack)
{
    struct local_batch *b = arg;
    struct tl_door *d = b->door;
    b->ack.code = ack_code_of(ack->code);
    b->ack.rows = ack->rows;
    b->ack.refused = ack->refused;
    b->ack.duplicate = ack->duplicate;
    b->ack.position = ack->position;
    snprintf(b->text, sizeof(b->text), "%s", ack->code && ack->text ? ack->text : "");
    if (ack->told) {
        b->ack.first_row = ack->refusals[0].row;
        snprintf(b->reason, sizeof(b->reason), "%s", ack->refusals[0].reason);
    }
    pthread_mutex_lock(&d->mutex);
    b->next = d->done;
    d->done = b;
    pthread_cond_signal(&d->changed);
    pthread_mutex_unlock(&d->mutex);
}

/* Hands out what is done; waits for something to be when `wait` and something is in flight. */
static void local_drain(struct tl_door *d, bool wait)
{
    pthread_mutex_lock(&d->mutex);
    while (wait && !d->done && d->in_flight)
        pthread_cond_wait(&d->changed, &d->mutex);
    struct local_batch *list = d->done;
    d->done = NULL;
    pthread_mutex_unlock(&d->mutex);
    while (list) {
        struct local_batch *b = list;
        list = b->next;
        d->in_flight--;
        d->in_flight_bytes -= b->size;
        b->ack.message = tl_slice_str(b->text);
        b->ack.first_reason = tl_slice_str(b->reason);
        if (d->on_ack)
            d->on_ack(d->ack_arg, &b->ack);
        free(b->body);
        free(b);
    }
}

static enum tl_code local_append(struct tl_door *d, uint64_t sequence, struct tl_slice batch,
                                 void *tag, struct tl_status *st)
{
    while (d->in_flight &&
           (d->in_flight >= IN_FLIGHT_MAX || d->in_flight_bytes + batch.size > IN_FLIGHT_BYTES_MAX))
        local_drain(d, true);
    struct local_batch *b = calloc(1, sizeof(*b));
    uint8_t *body = malloc(batch.size + 1);
    if (!b || !body) {
        free(b);
        free(body);
        return TL_FAIL(st, TL_LIMIT, "no memory for a batch");
    }
    memcpy(body, batch.data, batch.size);
    b->door = d;
    b->body = body;
    b->size = batch.size;
    b->ack.sequence = sequence;
    b->ack.tag = tag;
    struct tally_batch request = {.producer = tl_slice_of(d->producer, d->producer_size),
                                  .sequence = sequence,
                                  .body = tl_slice_of(body, batch.size),
                                  .import = d->import};
    for (;;) {
        enum tl_code rc = tally_append(d->db, &request, local_done, b, st);
        if (rc == TL_OK) {
            d->in_flight++;
            d->in_flight_bytes += batch.size;
            break;
        }
        if (rc != TL_BUSY) {
            free(body);
            free(b);
            return rc;
        }
        tl_status_clear(st);
        if (d->in_flight) {
            local_drain(d, true);
        } else {
            struct timespec pause = {0, 2000000}; /* flushes must catch up */
            nanosleep(&pause, NULL);
        }
    }
    local_drain(d, false);
    return tl_client_interrupted ? TL_FAIL(st, TL_CANCELLED, "interrupted") : TL_OK;
}

enum tl_code tl_door_append(struct tl_door *d, uint64_t sequence, struct tl_slice batch, void *tag,
                            struct tl_status *st)
{
    if (d->appender)
        return tl_appender_send(d->appender, sequence, batch, false, tag, st);
    return local_append(d, sequence, batch, tag, st);
}

enum tl_code tl_door_append_finish(struct tl_door *d, struct tl_status *st)
{
    if (d->appender) {
        enum tl_code rc = tl_appender_finish(d->appender, st);
        tl_appender_close(d->appender);
        d->appender = NULL;
        return rc;
    }
    while (d->in_flight)
        local_drain(d, true);
    return TL_OK;
}

/* ---- the operator's side ---- */

struct remote_admin {
    struct tl_buffer *json;
    tl_door_progress *progress;
    void *arg;
    bool stream;
};

static enum tl_code on_admin(void *arg, struct tl_slice message, struct tl_status *st)
{
    struct remote_admin *a = arg;
    struct tl_reader r = tl_reader_of(message);
    uint64_t done = 0, total = 0;
    while (!r.failed && tl_reader_left(&r)) {
        uint64_t tag = tl_read_varint(&r);
        uint64_t number = tl_read_varint(&r);
        if ((tag & 7) == 2) {
            struct tl_slice text = tl_read_bytes(&r, number);
            if (tag >> 3 == (a->stream ? 3 : 1))
                tl_buffer_put(a->json, text.data, text.size);
        } else if (tag == 1 << 3) {
            done = number;
        } else if (tag == 2 << 3) {
            total = number;
        }
    }
    if (r.failed)
        return TL_FAIL(st, TL_CORRUPT, "the server's answer is malformed");
    if (a->stream && a->progress && total)
        a->progress(a->arg, done, total);
    return tl_buffer_check(a->json, st);
}

struct local_compact {
    struct tally *db;
    tl_door_progress *progress;
    void *arg;
};

static void on_local_compact(void *arg, uint64_t done, uint64_t total)
{
    struct local_compact *c = arg;
    if (tl_client_interrupted)
        tally_compact_cancel(c->db);
    else if (c->progress)
        c->progress(c->arg, done, total);
}

static enum tl_code local_admin(struct tl_door *d, enum tl_door_work work, const char *pack,
                                tl_door_progress *progress, void *arg, struct tl_buffer *json,
                                struct tl_status *st)
{
    switch (work) {
    case TL_DOOR_STATUS:
        return tally_status(d->db, json, st);
    case TL_DOOR_INSPECT:
        return tally_inspect(d->db, pack, json, st);
    case TL_DOOR_FLUSH:
        return tally_flush(d->db, st);
    case TL_DOOR_COMPACT:
        return tally_compact(d->db, on_local_compact, &(struct local_compact){d->db, progress, arg},
                             st);
    case TL_DOOR_COMPACT_CANCEL:
        tally_compact_cancel(d->db);
        return TL_OK;
    default:
        return tally_verify(d->db, progress, arg, json, st);
    }
}

enum tl_code tl_door_admin(struct tl_door *d, enum tl_door_work work, const char *pack,
                           tl_door_progress *progress, void *arg, struct tl_buffer *json,
                           struct tl_status *st)
{
    static const char *const methods[] = {"tally.v1.Admin/Status",  "tally.v1.Admin/Inspect",
                                          "tally.v1.Admin/Flush",   "tally.v1.Admin/Compact",
                                          "tally.v1.Admin/Compact", "tally.v1.Admin/Verify"};
    if (d->db)
        return local_admin(d, work, pack, progress, arg, json, st);
    struct tl_buffer request;
    tl_buffer_init(&request, "request", 1 << 16);
    if (pack)
        put_bytes(&request, 1, tl_slice_str(pack));
    if (work == TL_DOOR_COMPACT_CANCEL) {
        tl_buffer_put_varint(&request, 1 << 3);
        tl_buffer_put_varint(&request, 1);
    }
    struct remote_admin a = {json, progress, arg,
                             work == TL_DOOR_COMPACT || work == TL_DOOR_COMPACT_CANCEL ||
                                 work == TL_DOOR_VERIFY};
    enum tl_code rc = tl_buffer_check(&request, st);
    if (!rc)
        rc = tl_client_call(d->client, methods[work], tl_buffer_slice(&request), 0, on_admin, &a,
                            st);
    tl_buffer_deinit(&request);
    return rc;
}
