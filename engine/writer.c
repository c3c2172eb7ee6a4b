/*
 * engine/writer.c: the log thread: submissions in, durable and visible batches out.
 *
 * Batches that wait form a group. A group is decoded and judged, appended to the log, and made
 * durable by one write and one sync; while these are in flight its rows are applied to the
 * memtables, unpublished, and the next group is decoded:
 *
 *     collect G2, judge, append ─┐            ┌─ commit G2 begins, apply G2 ─ …
 *     (G1 in flight) ────────────┴─ wait G1 ──┴─ publish G1, acknowledge G1
 *
 * Invariants
 *  (1) a completion with TL_OK is called only after its record is durable; and published, but for
 *      a batch that waits alone: it is completed as soon as it is durable, between two columns
 *      of applying it, and whoever takes a snapshot waits for the rest (tl_snapshot_wait);
 *  (2) records are applied in the order of the log;
 *  (3) after a failed append, commit or apply nothing is applied, published or acknowledged
 *      any more: the database is poisoned until it is opened again.
 *
 * Cost per batch: one queue node; per group: one write, one fdatasync, one wake-up.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "engine/db_int.h"
#include "engine/rollup.h"

enum {
    QUEUE_ITEMS_MAX = 65536,
    GROUP_ITEMS_MAX = 4096,
    /* The next batch joins while the group holds less. A few milliseconds of work, beside which
     * the sync of a group costs little; a larger one would keep small batches waiting. */
    GROUP_BODY_BYTES_MAX = 1 << 20,
    GROUP_ARENA_CHUNK = 1 << 20,
    /* Of a batch that may be told before it is published: a smaller one is applied before the disk
     * has answered, a larger one is not worth a copy. */
    ALONE_BYTES_MIN = 16 << 10,
    ALONE_BYTES_MAX = 256 << 10,
};
#define QUEUE_BYTES_MAX (64ULL << 20)

struct group {
    struct tl_arena arena; /* decoded arrays, heads of records */
    struct tl_item *items[GROUP_ITEMS_MAX];
    uint32_t count;
    uint64_t body_bytes;
    uint32_t rows;     /* of its batches, not applied yet */
    uint64_t position; /* of its last record, 0: none was appended */
    uint64_t begun_ns;
    struct tl_seal *seal; /* applied in it, to be handed to the flusher after publishing */
    struct writer *writer;
    bool durable; /* the commit was waited for */
    bool told;    /* its batch is completed */
};

struct writer {
    struct tally *db;
    struct group groups[2];
    struct group *open;      /* being gathered */
    struct group *in_flight; /* committed, not yet durable; or NULL */
    struct tl_item *taken;   /* off the queue, in no group yet */
    uint32_t done_count;     /* that left `taken`, and are still counted as queued */
    uint64_t done_bytes;
    uint64_t trim_to;                               /* a position; 0: nothing is left to trim */
    struct tl_state_batch batches[GROUP_ITEMS_MAX]; /* of a group, while it is applied */
    bool want_seal;
    uint64_t looked_ns; /* at the cursors */
};

static struct tl_slice copy_head(struct tl_arena *arena, struct tl_buffer *head,
                                 struct tl_status *st)
{
    if (tl_buffer_check(head, st))
        return tl_slice_of(NULL, 0);
    return tl_slice_of(tl_arena_copy(arena, head->data, head->size, st), head->size);
}

/* ---- submission ---- */

enum tl_code tl_db_check(struct tally *db, struct tl_status *st)
{
    if (atomic_load_explicit(&db->closing, memory_order_relaxed))
        return TL_FAIL(st, TL_CLOSED, "the database is closing");
    if (!atomic_load_explicit(&db->poisoned, memory_order_acquire))
        return TL_OK;
    return TL_FAIL(st, TL_CLOSED,
                   "the database takes no writes since a failure; restart it: %.120s",
                   db->poison.text);
}

static enum tl_code submit(struct tally *db, struct tl_item *item, struct tl_status *st)
{
    if (tl_db_check(db, st))
        return st->code;
    if (db->options.read_only)
        return TL_FAIL(st, TL_UNSUPPORTED, "the database is open read-only");
    item->submitted_ns = tl_clock_mono_ns(db->clock);
    pthread_mutex_lock(&db->queue_lock);
    bool full = item->kind == TL_ITEM_BATCH &&
                (db->queue_count >= QUEUE_ITEMS_MAX || db->queue_bytes >= QUEUE_BYTES_MAX);
    if (!full) {
        *(db->queue_tail ? &db->queue_tail->next : &db->queue_head) = item;
        db->queue_tail = item;
        db->queue_count++;
        db->queue_bytes += item->batch.body.size;
        pthread_cond_signal(&db->queue_changed);
    }
    pthread_mutex_unlock(&db->queue_lock);
    return full ? TL_FAIL(st, TL_BUSY, "too many batches wait for the log (%d, %llu bytes)",
                          QUEUE_ITEMS_MAX, (unsigned long long)QUEUE_BYTES_MAX)
                : TL_OK;
}

enum tl_code tally_append(struct tally *db, const struct tally_batch *batch,
                          tally_append_done *done, void *arg, struct tl_status *st)
{
    if (batch->producer.size > TALLY_PRODUCER_BYTES_MAX)
        return TL_FAIL(st, TL_LIMIT, "a producer's name has at most %d bytes, this one has %zu",
                       TALLY_PRODUCER_BYTES_MAX, batch->producer.size);
    if (batch->body.size > TALLY_BATCH_BYTES_MAX)
        return TL_FAIL(st, TL_LIMIT, "a batch has at most %d bytes, this one has %zu",
                       TALLY_BATCH_BYTES_MAX, batch->body.size);
    if (batch->producer.size > 0 && batch->sequence == 0)
        return TL_FAIL(st, TL_INVALID, "a producer numbers its batches from 1");
    struct tl_item *item = calloc(1, sizeof(*item));
    if (!item)
        return TL_FAIL(st, TL_LIMIT, "no memory for a submission");
    item->kind = TL_ITEM_BATCH;
    item->batch = *batch;
    item->done = done;
    item->arg = arg;
    if (submit(db, item, st)) {
        free(item);
        return st->code;
    }
    return TL_OK; /* NOLINT(clang-analyzer-unix.Malloc): the queue has it */
}

static void waiter_finish(struct tl_waiter *w, const struct tl_status *st)
{
    pthread_mutex_lock(&w->lock);
    w->st = *st;
    w->done = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static void waiter_wait(struct tl_waiter *w)
{
    pthread_mutex_lock(&w->lock);
    while (!w->done)
        pthread_cond_wait(&w->changed, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

static void waiter_init(struct tl_waiter *w)
{
    *w = (struct tl_waiter){.done = false};
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
}

static void waiter_deinit(struct tl_waiter *w)
{
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->changed);
}

static void append_wait_done(void *arg, const struct tally_ack *ack)
{
    struct tl_waiter *w = arg;
    struct tl_status st = TL_STATUS_INIT;
    w->refused = ack->refused;
    if (ack->code != TL_OK)
        TL_FAIL(&st, ack->code, "%s", ack->text);
    waiter_finish(w, &st);
}

enum tl_code tally_append_wait(struct tally *db, const struct tally_batch *batch, uint32_t *refused,
                               struct tl_status *st)
{
    struct tl_waiter w;
    waiter_init(&w);
    if (!tally_append(db, batch, append_wait_done, &w, st)) {
        waiter_wait(&w);
        *st = w.st;
        if (refused)
            *refused = w.refused;
    }
    waiter_deinit(&w);
    return st->code;
}

enum tl_code tl_submit_and_wait(struct tally *db, struct tl_item *item, struct tl_status *st)
{
    struct tl_waiter w;
    waiter_init(&w);
    struct tl_item *copy = calloc(1, sizeof(*copy));
    if (!copy) {
        waiter_deinit(&w);
        return TL_FAIL(st, TL_LIMIT, "no memory for a submission");
    }
    *copy = *item;
    copy->waiter = &w;
    if (submit(db, copy, st)) {
        free(copy);
    } else {
        waiter_wait(&w); /* NOLINT(clang-analyzer-unix.Malloc): the log thread frees the copy */
        *st = w.st;
        item->position = w.number;
    }
    waiter_deinit(&w);
    return st->code;
}

/* ---- completion ---- */

static void finish_batch(struct tally *db, struct tl_item *item, uint64_t now_ns, bool more)
{
    struct tally_refusal told[TALLY_REFUSALS_TOLD_MAX];
    struct tally_ack ack = {.code = item->st.code,
                            .text = item->st.text,
                            .position = item->position,
                            .duplicate = item->seen,
                            .more = more};
    if (item->stored && item->st.code == TL_OK) {
        const struct tl_record_batch *r = &item->record;
        ack.refused = r->refused_count;
        ack.duplicate_rows = item->decoded.duplicates;
        ack.rows = item->decoded.rows - r->refused_count - ack.duplicate_rows;
        ack.refusals = told;
        for (; ack.told < r->refused_count && ack.told < TALLY_REFUSALS_TOLD_MAX; ack.told++) {
            told[ack.told].row = r->refused[ack.told].row;
            tl_refused_text(item->decoded.table, &r->refused[ack.told], told[ack.told].reason,
                            sizeof(told[0].reason));
        }
        atomic_fetch_add_explicit(&db->counters.batches, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&db->counters.rows, ack.rows, memory_order_relaxed);
        atomic_fetch_add_explicit(&db->counters.refused, ack.refused, memory_order_relaxed);
        atomic_fetch_add_explicit(&db->counters.duplicate_rows, ack.duplicate_rows,
                                  memory_order_relaxed);
        atomic_fetch_add_explicit(&db->counters.body_bytes, item->batch.body.size,
                                  memory_order_relaxed);
        if (ack.refused > 0)
            tl_rejects_write(db, item);
    } else if (item->seen) {
        atomic_fetch_add_explicit(&db->counters.duplicates, 1, memory_order_relaxed);
    } else {
        atomic_fetch_add_explicit(&db->counters.failed_batches, 1, memory_order_relaxed);
    }
    tl__histogram_add(&db->counters.append, (now_ns - item->submitted_ns) / 1000);
    item->done(item->arg, &ack);
}

/* Does the next item's acknowledgement go where this one's does? Now and then it is said that it
 * does not, so that whoever collects them does not wait for the last one of a large group. */
static bool more_follow(const struct group *g, uint32_t i)
{
    enum { TOLD_TOGETHER = 64 };
    return i + 1 < g->count && (i + 1) % TOLD_TOGETHER != 0 &&
           g->items[i + 1]->kind == TL_ITEM_BATCH && g->items[i + 1]->done == g->items[i]->done;
}

static void finish_group(struct writer *w, struct group *g)
{
    uint64_t now_ns = tl_clock_mono_ns(w->db->clock);
    for (uint32_t i = 0; i < g->count; i++) {
        struct tl_item *item = g->items[i];
        if (item->kind == TL_ITEM_BATCH && !g->told)
            finish_batch(w->db, item, now_ns, more_follow(g, i));
        else if (item->waiter) /* nobody waits for a seal of our own */
            waiter_finish(item->waiter, &item->st);
    }
    for (uint32_t i = 0; i < g->count; i++)
        free(g->items[i]);
    g->count = 0;
    g->body_bytes = 0;
    g->rows = 0;
    g->position = 0;
    g->durable = g->told = false;
    tl_arena_reset(&g->arena);
}

static void fail_group(struct writer *w, struct group *g, const struct tl_status *why)
{
    for (uint32_t i = 0; i < g->count; i++) {
        if (g->items[i]->st.code == TL_OK)
            TL_FAIL(&g->items[i]->st, TL_CLOSED, "not stored: %.160s", why->text);
        g->items[i]->stored = false;
        g->items[i]->seen = false;
    }
    tl_seal_free(g->seal);
    g->seal = NULL;
    finish_group(w, g);
}

/* ---- gathering ---- */

/* Takes all that was submitted, when nothing is left of the last time; waits when `wait` is set,
 * until there is something, it is time to look at the age of the memtables, or the database closes.
 */
static void take_items(struct writer *w, bool wait)
{
    struct tally *db = w->db;
    pthread_mutex_lock(&db->queue_lock);
    db->queue_count -= w->done_count;
    db->queue_bytes -= w->done_bytes;
    w->done_count = 0;
    w->done_bytes = 0;
    if (!w->taken) {
        if (wait && !db->queue_head && !atomic_load_explicit(&db->closing, memory_order_relaxed))
            tl_thread_wait(&db->queue_changed, &db->queue_lock, 1000);
        w->taken = db->queue_head;
        db->queue_head = db->queue_tail = NULL;
    }
    pthread_mutex_unlock(&db->queue_lock);
}

static struct tl_item *next_item(struct writer *w)
{
    struct tl_item *item = w->taken;
    if (item) {
        w->taken = item->next;
        item->next = NULL;
        w->done_count++;
        w->done_bytes += item->batch.body.size;
    }
    return item;
}

static void put_back(struct writer *w, struct tl_item *item)
{
    item->next = w->taken;
    w->taken = item;
    w->done_count--;
    w->done_bytes -= item->batch.body.size;
}

/* Decodes and judges a batch and appends its record. A failure is the batch's own (in
 * item->st); *again: there was no room in this group, try in the next one. */
static void gather_batch(struct writer *w, struct group *g, struct tl_item *item, bool *again)
{
    struct tally *db = w->db;
    struct tl_state *s = &db->state;
    struct tl_status *st = &item->st;
    struct tl_record_batch *r = &item->record;
    switch (tl_producers_ask(&s->producers, item->batch.producer, item->batch.sequence)) {
    case TL_PRODUCER_SEEN:
        item->seen = true;
        return;
    case TL_PRODUCER_TOO_OLD:
        TL_FAIL(st, TL_TOO_OLD,
                "sequence %llu of producer %.*s is older than the last %d that are remembered",
                (unsigned long long)item->batch.sequence, (int)item->batch.producer.size,
                (const char *)item->batch.producer.data, TL_PRODUCER_WINDOW);
        return;
    case TL_PRODUCER_NEW:
        break;
    }
    struct tl_slice name;
    if (tl_batch_table(item->batch.body, &name, st))
        return;
    const struct tl_table *table = tl_schema_by_name(s->schemas.current, name);
    if (!table) {
        TL_FAIL(st, TL_NOT_FOUND, "relation \"%.*s\" does not exist",
                (int)(name.size > 64 ? 64 : name.size), (const char *)name.data);
        tl_status_sql(st, "42P01", 0);
        return;
    }
    struct tl_refused *refused = NULL;
    struct tl_slice body = item->batch.body;
    if (g->count == 0 && !w->taken && body.size >= ALONE_BYTES_MIN &&
        body.size <= ALONE_BYTES_MAX) {
        /* A copy, so that the sender's bytes may go before the batch is applied. */
        struct tl_status no_memory = TL_STATUS_INIT;
        const uint8_t *copy = tl_arena_copy(&g->arena, body.data, body.size, &no_memory);
        body.data = copy ? copy : body.data;
    }
    *r = (struct tl_record_batch){.table_id = table->info.id,
                                  .schema_version = table->schema_version,
                                  .program_version = tl_program_identity.version,
                                  .received_at_us = tl_clock_wall_us(db->clock),
                                  .import = item->batch.import,
                                  .sequence = item->batch.sequence,
                                  .producer = item->batch.producer,
                                  .body = body};
    enum tl_code rc = tl_batch_decode(r->body, table, &g->arena, &item->decoded, st);
    if (!rc)
        rc = tl_batch_judge(&item->decoded, r->received_at_us, r->import, &item->batch.tenant,
                            &g->arena, &refused, &r->refused_count, st);
    if (rc) {
        /* The arena is shared by the group: alone, the batch may fit. */
        if (rc == TL_LIMIT && g->count > 0 && strstr(st->text, db->ingest.name)) {
            tl_status_clear(st);
            *again = true;
        }
        return;
    }
    if (!tl_state_has_room(s, table->info.id, g->rows + item->decoded.rows)) {
        w->want_seal = true;
        *again = true;
        return;
    }
    r->refused = refused;
    struct tl_buffer head;
    tl_buffer_init(&head, "head of a batch record", TL_LOG_RECORD_BYTES_MAX);
    tl_record_batch_encode(r, &head);
    rc = tl_buffer_check(&head, st);
    if (!rc) {
        struct tl_slice slices[2] = {tl_buffer_slice(&head), r->body};
        rc = tl_log_append(db->log, TL_RECORD_BATCH, slices, 2, &item->position, st);
    }
    tl_buffer_deinit(&head);
    if (rc == TL_BUSY) {
        tl_status_clear(st);
        *again = true;
        return;
    }
    if (rc)
        return;
    item->stored = true;
    g->position = item->position;
    g->rows += item->decoded.rows;
    int64_t log_time = r->received_at_us > s->log_time_us ? r->received_at_us : s->log_time_us;
    struct tl_status note = TL_STATUS_INIT;
    if (tl_producers_note(&s->producers, r->producer, r->sequence, log_time, &note))
        tl_db_poison(db, &note);
}

static enum tl_code append_control(struct writer *w, struct group *g, struct tl_item *item,
                                   uint8_t type, struct tl_slice payload)
{
    if (tl_log_append(w->db->log, type, &payload, 1, &item->position, &item->st))
        return item->st.code;
    item->payload = payload;
    item->stored = true;
    g->position = item->position;
    return TL_OK;
}

static bool is_view(const struct tl_plan *ddl)
{
    return ddl->kind == TL_STMT_CREATE_ROLLUP || ddl->kind == TL_STMT_DROP_VIEW;
}

/* A table's definition is made in the schema first, since a record holds it whole; a failed
 * commit poisons the database, and nobody sees it. */
static void gather_view(struct writer *w, struct group *g, struct tl_item *item)
{
    struct tl_state *s = &w->db->state;
    const struct tl_plan *ddl = item->ddl;
    struct tl_status *st = &item->st;
    struct tl_slice name = tl_slice_str(ddl->table_name);
    bool drop = ddl->kind == TL_STMT_DROP_VIEW;
    const struct tl_view *v = tl_view_by_name(s->schemas.current, name);
    if (drop && !v) {
        if (!ddl->if_exists) {
            TL_FAIL(st, TL_NOT_FOUND, "materialized view \"%s\" does not exist", ddl->table_name);
            tl_status_sql(st, "42P01", 0);
        }
        return;
    }
    if (!drop && ddl->if_not_exists && (v || tl_schema_by_name(s->schemas.current, name)))
        return;
    if (drop ? tl_view_drop(&s->schemas, v->info.id, st)
             : tl_view_create(&s->schemas, ddl->rollup, st))
        return;
    v = drop ? v : tl_view_by_name(s->schemas.current, name);
    struct tl_buffer b;
    tl_buffer_init(&b, "view definition", TL_LOG_RECORD_BYTES_MAX);
    tl_view_encode(v, drop, &b);
    struct tl_slice payload = copy_head(&g->arena, &b, st);
    tl_buffer_deinit(&b);
    if (st->code == TL_OK && append_control(w, g, item, TL_RECORD_VIEW, payload))
        tl_db_poison(w->db, st); /* the schema is ahead of the log */
}

static void gather_ddl(struct writer *w, struct group *g, struct tl_item *item)
{
    struct tl_state *s = &w->db->state;
    const struct tl_plan *ddl = item->ddl;
    struct tl_status *st = &item->st;
    const struct tl_table *t = tl_schema_by_name(s->schemas.current, tl_slice_str(ddl->table_name));
    if (ddl->kind == TL_STMT_CREATE_TABLE) {
        if (t && ddl->if_not_exists)
            return;
        if (tl_schema_create_table(&s->schemas, ddl->table_name, ddl->defs, ddl->def_count,
                                   ddl->partition_rows, 0, st))
            return;
    } else {
        if (!t) {
            TL_FAIL(st, TL_NOT_FOUND, "relation \"%s\" does not exist", ddl->table_name);
            tl_status_sql(st, "42P01", 0);
            return;
        }
        if (ddl->kind == TL_STMT_SET_OPTIONS) {
            if (t->partition_rows == ddl->partition_rows)
                return;
            if (tl_schema_set_partition_rows(&s->schemas, t->info.id, ddl->partition_rows, st))
                return;
        } else if (ddl->if_not_exists && tl_table_column(t, tl_slice_str(ddl->defs[0].name)) >= 0) {
            return;
        } else if (tl_schema_add_column(&s->schemas, t->info.id, &ddl->defs[0], st)) {
            return;
        }
    }
    t = tl_schema_by_name(s->schemas.current, tl_slice_str(ddl->table_name));
    struct tl_buffer b;
    tl_buffer_init(&b, "table definition", TL_LOG_RECORD_BYTES_MAX);
    tl_table_encode(t, &b);
    struct tl_slice payload = copy_head(&g->arena, &b, st);
    tl_buffer_deinit(&b);
    if (st->code == TL_OK && append_control(w, g, item, TL_RECORD_TABLE, payload))
        tl_db_poison(w->db, st); /* the schema is ahead of the log */
}

static void gather_number(struct writer *w, struct group *g, struct tl_item *item, uint8_t type,
                          uint64_t number)
{
    uint8_t *bytes = tl_arena_alloc(&g->arena, 8, &item->st);
    if (!bytes)
        return;
    tl_put_u64le(bytes, number);
    TL_IGNORE(append_control(w, g, item, type, tl_slice_of(bytes, 8)));
}

/* Everything that waits at this moment joins the group, up to its limits. What comes meanwhile is
 * the next one's: who sends as fast as we gather would keep the first of them waiting until the
 * group is full. A seal closes it. */
static void gather(struct writer *w, struct group *g, bool wait)
{
    struct tally *db = w->db;
    take_items(w, wait && !w->want_seal);
    while (g->count < GROUP_ITEMS_MAX && g->body_bytes < GROUP_BODY_BYTES_MAX) {
        struct tl_item *item;
        if (w->want_seal) {
            /* A seal of our own goes first: memory or age asks for it. */
            item = calloc(1, sizeof(*item));
            if (!item)
                return;
            item->kind = TL_ITEM_SEAL;
            w->want_seal = false;
        } else {
            item = next_item(w);
        }
        if (!item)
            return;
        bool again = false;
        switch (item->kind) {
        case TL_ITEM_BATCH:
            gather_batch(w, g, item, &again);
            break;
        case TL_ITEM_DDL:
            if (is_view(item->ddl))
                gather_view(w, g, item);
            else
                gather_ddl(w, g, item);
            break;
        case TL_ITEM_SEAL:
            gather_number(w, g, item, TL_RECORD_SEAL, db->state.seal_number + 1);
            break;
        case TL_ITEM_COMPACT:
            gather_number(w, g, item, TL_RECORD_COMPACT, db->state.seal_number);
            break;
        }
        if (again) {
            put_back(w, item);
            if (g->count > 0 || w->want_seal)
                return;
            continue;
        }
        g->items[g->count++] = item;
        g->body_bytes += item->batch.body.size;
        if (item->kind == TL_ITEM_SEAL || item->kind == TL_ITEM_COMPACT)
            return;
    }
}

/* ---- applying ---- */

static enum tl_code apply_item(struct writer *w, struct group *g, struct tl_item *item,
                               struct tl_status *st)
{
    struct tl_state *s = &w->db->state;
    tl_assert(item->kind != TL_ITEM_BATCH);
    if (!item->stored)
        return TL_OK;
    switch (item->kind) {
    case TL_ITEM_DDL:
        if (is_view(item->ddl))
            return tl_state_apply_view(s, item->payload, item->position, st);
        return tl_state_apply_table(s, item->payload, item->position, st);
    case TL_ITEM_SEAL:
        if (tl_state_apply_seal(s, item->payload, item->position, &g->seal, st))
            return st->code;
        if (item->waiter)
            item->waiter->number = s->seal_number;
        return TL_OK;
    default:
        if (tl_state_apply_compact(s, item->payload, item->position, st))
            return st->code;
        item->waiter->number = s->compact_seal;
        return TL_OK;
    }
}

/* Nothing that the batch borrows is needed to apply it, nor applying it to acknowledge it. */
static bool may_be_told_early(const struct tl_item *item)
{
    return item->kind == TL_ITEM_BATCH && item->stored &&
           item->record.body.data != item->batch.body.data && !tl_event_ids_has(&item->decoded);
}

/* Between two columns: is it durable? A failure is met again, and told, by who waits. */
static void tell_when_durable(void *arg)
{
    struct group *g = arg;
    struct tally *db = g->writer->db;
    struct tl_status st = TL_STATUS_INIT;
    uint64_t durable;
    if (g->told || !tl_log_commit_ready(db->log) ||
        atomic_load_explicit(&db->poisoned, memory_order_relaxed) ||
        tl_log_commit_wait(db->log, &durable, &st))
        return;
    g->durable = g->told = true;
    /* release: before the completion; pairs with tl_snapshot_wait */
    atomic_store_explicit(&db->told, g->position, memory_order_release);
    finish_batch(db, g->items[0], tl_clock_mono_ns(db->clock), false);
}

/* Batches that follow each other are applied together. */
static enum tl_code apply_group(struct writer *w, struct group *g, struct tl_status *st)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        struct tl_item *item = g->items[i];
        if (item->kind == TL_ITEM_BATCH) {
            if (item->stored)
                w->batches[n++] =
                    (struct tl_state_batch){&item->record, &item->decoded, item->position};
            continue;
        }
        if (tl_state_apply_batches(&w->db->state, w->batches, n, &g->arena, st) ||
            apply_item(w, g, item, st))
            return st->code;
        n = 0;
    }
    return tl_state_apply_batches(&w->db->state, w->batches, n, &g->arena, st);
}

enum tl_code tl_writer_publish_version(struct tally *db, struct tl_status *st)
{
    struct tl_state *s = &db->state;
    pthread_mutex_lock(&db->version_lock);
    struct tl_version *cur = tl_current_peek(&db->current);
    if (s->fresh_count > 0 || cur->schema != s->schemas.current) {
        struct tl_version *next;
        enum tl_code rc = tl_version_clone(cur, &next, st);
        for (uint32_t i = 0; !rc && i < s->fresh_count; i++) {
            struct tl_table_version *t;
            rc = tl_version_table(next, tl_memtable_table_id(s->fresh[i]), &t, st);
            if (!rc)
                tl_table_version_add(t, s->fresh[i]);
        }
        if (!rc) {
            next->schema = s->schemas.current;
            tl_current_publish(&db->current, next);
            s->fresh_count = 0;
        }
    }
    pthread_mutex_unlock(&db->version_lock);
    return st->code;
}

/* Waits for the group in flight, makes it visible, and tells its senders. */
static void complete_in_flight(struct writer *w)
{
    struct tally *db = w->db;
    struct group *g = w->in_flight;
    struct tl_status st = TL_STATUS_INIT;
    uint64_t durable = g->position;
    w->in_flight = NULL;
    if (!g->durable && tl_log_commit_wait(db->log, &durable, &st)) {
        tl_status_wrap(&st, "writing the log");
        tl_db_poison(db, &st);
    } else if (!atomic_load_explicit(&db->poisoned, memory_order_relaxed) &&
               tl_writer_publish_version(db, &st)) {
        tl_db_poison(db, &st);
    }
    if (atomic_load_explicit(&db->poisoned, memory_order_relaxed)) {
        fail_group(w, g, &db->poison);
        return;
    }
    tl_assert(durable >= g->position);
    uint64_t us = (tl_clock_mono_ns(db->clock) - g->begun_ns) / 1000;
    tl__histogram_add(&db->counters.commit, us);
    atomic_fetch_add_explicit(&db->counters.groups, 1, memory_order_relaxed);
    atomic_store_explicit(&db->counters.compressed_groups, tl_log_local_compressed(db->log),
                          memory_order_relaxed);
    atomic_fetch_add_explicit(&db->counters.commit_us, us, memory_order_relaxed);
    if (g->position > 0)
        /* release: rows and versions up to here are in place; pairs with tl_snapshot_take */
        atomic_store_explicit(&db->published, g->position, memory_order_release);
    if (g->seal) {
        tl_seal_push(db, g->seal);
        g->seal = NULL;
    }
    pthread_mutex_lock(&db->version_lock);
    if (db->published_waiters > 0)
        pthread_cond_broadcast(&db->published_changed);
    if (db->compact_seal < db->state.compact_seal) {
        TL_IGNORE(tl_request_add(db, db->state.compact_seal, db->state.compact_log_time_us,
                                 db->state.compact_schema, &st));
        tl_db_changed_locked(db);
    }
    pthread_mutex_unlock(&db->version_lock);
    if (st.code)
        tl_db_poison(db, &st);
    finish_group(w, g);
}

static void commit_open(struct writer *w)
{
    struct tally *db = w->db;
    struct group *g = w->open;
    struct tl_status st = TL_STATUS_INIT;
    g->begun_ns = tl_clock_mono_ns(db->clock);
    if (tl_log_commit_begin(db->log, &st)) {
        tl_status_wrap(&st, "writing the log");
        tl_db_poison(db, &st);
        fail_group(w, g, &st);
        return;
    }
    if (g->count == 1 && may_be_told_early(g->items[0])) {
        g->items[0]->decoded.between = tell_when_durable;
        g->items[0]->decoded.between_arg = g;
    }
    if (apply_group(w, g, &st)) {
        tl_status_wrap(&st, "applying a record");
        tl_db_poison(db, &st);
    }
    w->in_flight = g;
    w->open = g == &w->groups[0] ? &w->groups[1] : &w->groups[0];
}

/* True while flush or compaction are so far behind that no more may be taken in. */
static bool too_far_behind(struct tally *db)
{
    if (db->seal_count >= TL_PENDING_SEALS_MAX)
        return true;
    const struct tl_version *v = tl_current_peek(&db->current);
    for (uint32_t t = 0; t < v->table_count; t++)
        for (uint32_t s = 0; s < v->shard_count; s++)
            if (v->tables[t].shards[s] && v->tables[t].shards[s]->level0_count > TL_LEVEL0_MAX)
                return true;
    return false;
}

/* Is there a reason to let the group in flight end before anything else is gathered? */
static bool must_pause(struct tally *db)
{
    pthread_mutex_lock(&db->version_lock);
    bool behind = too_far_behind(db);
    pthread_mutex_unlock(&db->version_lock);
    return behind;
}

static void hold_back(struct writer *w)
{
    struct tally *db = w->db;
    uint64_t begun = 0;
    pthread_mutex_lock(&db->version_lock);
    while (too_far_behind(db) && !atomic_load_explicit(&db->poisoned, memory_order_relaxed) &&
           !atomic_load_explicit(&db->closing, memory_order_relaxed)) {
        if (!begun)
            begun = tl_clock_mono_ns(db->clock);
        if (db->options.no_background)
            break;
        pthread_cond_wait(&db->version_changed, &db->version_lock);
    }
    pthread_mutex_unlock(&db->version_lock);
    if (begun)
        atomic_fetch_add_explicit(&db->counters.backpressure_us,
                                  (tl_clock_mono_ns(db->clock) - begun) / 1000,
                                  memory_order_relaxed);
}

/* Without background threads the log thread does the flushes that it asked for. */
static void work_inline(struct writer *w)
{
    struct tally *db = w->db;
    while (db->seals && !atomic_load_explicit(&db->poisoned, memory_order_relaxed)) {
        struct tl_status st = TL_STATUS_INIT;
        pthread_mutex_lock(&db->version_lock);
        struct tl_seal *seal = db->seals;
        pthread_mutex_unlock(&db->version_lock);
        if (seal && tl_flush_seal(db, seal, &st))
            tl_db_poison(db, &st);
    }
}

static void look_at_memtables(struct writer *w)
{
    struct tally *db = w->db;
    uint64_t rows = tl_state_memtable_rows(&db->state);
    if (rows == 0)
        return;
    int64_t age_us = tl_clock_wall_us(db->clock) - tl_state_oldest_us(&db->state);
    w->want_seal = w->want_seal || tl_state_memtable_bytes(&db->state) > db->memtable_bytes_max ||
                   (db->options.seal_rows > 0 && rows >= db->options.seal_rows) ||
                   age_us > (int64_t)db->options.seal_age_ms * 1000;
}

static void look_at_cursors(struct writer *w)
{
    uint64_t now = tl_clock_mono_ns(w->db->clock);
    if (now - w->looked_ns < 1000000000)
        return;
    w->looked_ns = now;
    tl_cursors_expire(w->db);
}

/* Takes one file off the log, if that is due: each costs a sync of the directory, beside which a
 * commit is in flight. */
static void trim_log(struct writer *w)
{
    struct tally *db = w->db;
    uint64_t to = atomic_exchange_explicit(&db->trim_to, 0, memory_order_acquire);
    struct tl_status st = TL_STATUS_INIT;
    bool more = false;
    w->trim_to = to > w->trim_to ? to : w->trim_to;
    if (w->trim_to > 0 && tl_log_trim_step(db->log, w->trim_to, &more, &st)) {
        tl_status_wrap(&st, "trimming the log");
        tl_db_poison(db, &st);
    }
    if (!more)
        w->trim_to = 0;
}

void tl_writer_main(void *arg)
{
    struct tally *db = arg;
    struct writer *w = calloc(1, sizeof(*w));
    tl_assert(w != NULL); /* at start, before anything was promised */
    w->db = db;
    tl_thread_be_prompt();
    for (int i = 0; i < 2; i++) {
        tl_arena_init(&w->groups[i].arena, &db->ingest, GROUP_ARENA_CHUNK);
        w->groups[i].writer = w;
    }
    w->open = &w->groups[0];
    for (;;) {
        if (w->in_flight && must_pause(db))
            complete_in_flight(w);
        if (db->options.no_background)
            work_inline(w);
        look_at_cursors(w);
        trim_log(w);
        if (!w->in_flight)
            hold_back(w);
        look_at_memtables(w);
        gather(w, w->open, !w->in_flight && w->trim_to == 0);
        bool closing = atomic_load_explicit(&db->closing, memory_order_acquire);
        if (w->in_flight)
            complete_in_flight(w);
        if (w->open->count > 0) {
            if (atomic_load_explicit(&db->poisoned, memory_order_acquire))
                fail_group(w, w->open, &db->poison);
            else
                commit_open(w);
        } else if (closing && !w->in_flight && !w->taken) {
            break;
        }
    }
    while (w->trim_to > 0)
        trim_log(w);
    for (int i = 0; i < 2; i++)
        tl_arena_deinit(&w->groups[i].arena);
    free(w);
}
