/*
 * engine/edits.c: the manifest's edits: what is true on the disk, transaction by transaction.
 *
 * A transaction's payload is a run of edits, each a u8 kind and its fields (docs/FORMAT.md,
 * "Manifest edits"). An edit of a segment names its rollups, and has room for row bitmaps (kept,
 * erased), of which there are none today; a reader refuses what it does not know.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "engine/db_int.h"
#include "engine/rollup_store.h"

void tl_edit_database(struct tl_buffer *out, const struct tally *db)
{
    tl_buffer_put_u8(out, TL_EDIT_DATABASE);
    tl_buffer_put_u32(out, db->shard_count);
    tl_buffer_put_u64(out, db->log_id);
}

static void put_pack_id(struct tl_buffer *out, const struct tl_pack_id *id)
{
    tl_buffer_put_u8(out, id->kind);
    tl_buffer_put_u32(out, id->log);
    tl_buffer_put_u32(out, id->table);
    tl_buffer_put_u32(out, id->shard);
    tl_buffer_put_u64(out, id->number);
}

static struct tl_pack_id get_pack_id(struct tl_reader *r)
{
    struct tl_pack_id id = {.kind = tl_read_u8(r)};
    id.log = tl_read_u32(r);
    id.table = tl_read_u32(r);
    id.shard = tl_read_u32(r);
    id.number = tl_read_u64(r);
    return id;
}

/* u32 view, u8 1 and the pack and place of what it keeps, or u8 0: no merchant. */
static void put_rollup(struct tl_buffer *out, const struct tl_rollup_ref *r)
{
    tl_buffer_put_u32(out, r->view);
    tl_buffer_put_u8(out, r->segment != NULL);
    if (!r->segment)
        return;
    put_pack_id(out, &r->segment->pack->id);
    tl_buffer_put_u64(out, r->segment->pack->size);
    tl_buffer_put(out, r->segment->pack->hash, 16);
    tl_buffer_put_u32(out, r->segment->index);
}

void tl_edit_add(struct tl_buffer *out, const struct tl_live_segment *s)
{
    tl_buffer_put_u8(out, TL_EDIT_ADD);
    put_pack_id(out, &s->pack->id);
    tl_buffer_put_u64(out, s->pack->size);
    tl_buffer_put(out, s->pack->hash, 16);
    tl_buffer_put_u32(out, s->index);
    tl_buffer_put_u32(out, s->info.meta.table);
    tl_buffer_put_u32(out, s->info.meta.shard);
    tl_buffer_put_u8(out, s->info.meta.level);
    tl_buffer_put_u32(out, s->info.rows);
    tl_buffer_put_u16(out, (uint16_t)s->rollup_count);
    for (uint32_t i = 0; i < s->rollup_count; i++)
        put_rollup(out, &s->rollups[i]);
    tl_buffer_put_u16(out, 0); /* row bitmaps */
}

void tl_edit_rollup(struct tl_buffer *out, const struct tl_live_segment *s, uint32_t view)
{
    const struct tl_rollup_ref *r = tl_rollup_find(s, view);
    if (!r)
        return; /* the view was dropped meanwhile */
    tl_buffer_put_u8(out, TL_EDIT_ROLLUP);
    put_pack_id(out, &s->pack->id);
    tl_buffer_put_u32(out, s->index);
    put_rollup(out, r);
}

void tl_edit_forget_view(struct tl_buffer *out, uint32_t view)
{
    tl_buffer_put_u8(out, TL_EDIT_FORGET_VIEW);
    tl_buffer_put_u32(out, view);
}

void tl_edit_views(struct tl_buffer *out, const struct tl_schema *schema)
{
    tl_buffer_put_u8(out, TL_EDIT_VIEWS);
    tl_views_encode(schema, out);
}

void tl_edit_remove(struct tl_buffer *out, const struct tl_live_segment *s)
{
    tl_buffer_put_u8(out, TL_EDIT_REMOVE);
    put_pack_id(out, &s->pack->id);
    tl_buffer_put_u32(out, s->index);
}

void tl_edit_low_water(struct tl_buffer *out, const struct tl_seal *s)
{
    tl_buffer_put_u8(out, TL_EDIT_LOW_WATER);
    tl_buffer_put_u64(out, s->position);
    tl_buffer_put_u64(out, s->number);
    tl_buffer_put_u64(out, (uint64_t)s->log_time_us);
}

void tl_edit_merge(struct tl_buffer *out, const struct tl_merge_state *m)
{
    tl_buffer_put_u8(out, TL_EDIT_MERGE);
    tl_buffer_put_u32(out, m->table_id);
    tl_buffer_put_u32(out, m->shard);
    tl_buffer_put_u64(out, m->next_number);
    tl_buffer_put_u64(out, m->level0_seal);
    tl_buffer_put_u64(out, m->clock);
    tl_buffer_put_u64(out, m->requesting);
    tl_buffer_put_u64(out, m->compacted_seal);
}

void tl_edit_compact(struct tl_buffer *out, const struct tl_compact_request *r)
{
    tl_buffer_put_u8(out, TL_EDIT_COMPACT);
    tl_buffer_put_u64(out, r->seal);
    tl_buffer_put_u64(out, (uint64_t)r->log_time_us);
    tl_buffer_put_u32(out, r->table_count);
    for (uint32_t i = 0; i < r->table_count; i++) {
        tl_buffer_put_u32(out, r->tables[i].table_id);
        tl_buffer_put_u32(out, r->tables[i].partition_rows);
    }
}

void tl_edit_part(struct tl_buffer *out, const struct tl_live_pack *pack, uint64_t part_rows)
{
    tl_buffer_put_u8(out, TL_EDIT_PART);
    put_pack_id(out, &pack->id);
    tl_buffer_put_u64(out, pack->size);
    tl_buffer_put(out, pack->hash, sizeof(pack->hash));
    tl_buffer_put_u64(out, part_rows);
}

/* ---- writing ---- */

static enum tl_code put_edit(struct tl_manifest_writer *w, struct tl_buffer *b,
                             struct tl_status *st)
{
    if (!tl_buffer_check(b, st) && !tl_manifest_put(w, tl_buffer_slice(b), st))
        tl_buffer_clear(b);
    return st->code;
}

struct checkpoint {
    struct tally *db;
    const struct tl_version *version;
    const struct tl_buffer *state;     /* requests and the state of merges, as edits */
    const struct tl_buffer *producers; /* windows as of the low-water mark, as edits */
};

static enum tl_code put_segments(const struct tl_version *v, struct tl_manifest_writer *w,
                                 struct tl_buffer *b, struct tl_status *st)
{
    for (uint32_t t = 0; t < v->table_count; t++)
        for (uint32_t k = 0; k < v->shard_count; k++) {
            const struct tl_segment_list *l = v->tables[t].shards[k];
            for (uint32_t i = 0; l && i < l->count; i++) {
                const struct tl_live_segment *s = l->segments[i];
                tl_edit_add(b, s);
                if (put_edit(w, b, st))
                    return st->code;
            }
        }
    return TL_OK;
}

static enum tl_code write_state(void *context, struct tl_manifest_writer *w, struct tl_status *st)
{
    struct checkpoint *c = context;
    struct tally *db = c->db;
    struct tl_buffer b;
    tl_buffer_init(&b, "manifest edit", TL_MANIFEST_EDIT_BYTES_MAX);
    tl_edit_database(&b, db);
    struct tl_seal mark = {.position = db->flushed_position,
                           .number = db->flushed_seal,
                           .log_time_us = db->flushed_log_time_us};
    tl_edit_low_water(&b, &mark);
    const struct tl_schema *schema = c->version->schema;
    tl_buffer_put_u8(&b, TL_EDIT_TABLES);
    tl_buffer_put_u32(&b, schema->table_count);
    for (uint32_t i = 0; i < schema->table_count; i++)
        tl_table_encode(schema->tables[i], &b);
    tl_edit_views(&b, schema);
    enum tl_code rc = put_edit(w, &b, st);
    if (!rc)
        rc = put_segments(c->version, w, &b, st);
    if (!rc && c->state->size > 0)
        rc = tl_manifest_put(w, tl_buffer_slice(c->state), st);
    for (uint32_t i = 0; !rc && i < db->done_part_count; i++) {
        tl_edit_part(&b, db->done_parts[i].pack, db->done_parts[i].part_rows);
        rc = put_edit(w, &b, st);
    }
    /* The windows are the log thread's; what the manifest needs of them is kept as the edits of
     * each flush, newest last. */
    if (!rc && c->producers->size > 0)
        rc = tl_manifest_put(w, tl_buffer_slice(c->producers), st);
    tl_buffer_deinit(&b);
    return rc;
}

enum tl_code tl_manifest_roll(struct tally *db, struct tl_status *st)
{
    struct tl_buffer producers;
    struct tl_buffer state;
    if (!tl_manifest_wants_checkpoint(db->manifest))
        return TL_OK;
    tl_buffer_init(&producers, "producers' windows", TL_MANIFEST_EDIT_BYTES_MAX);
    tl_buffer_init(&state, "state of merges", TL_MANIFEST_EDIT_BYTES_MAX);
    tl_buffer_put_u8(&producers, TL_EDIT_PRODUCERS);
    tl_producers_encode(&db->flushed_producers, true, &producers);
    struct tl_version *version = tl_current_acquire(&db->current);
    struct checkpoint c = {db, version, &state, &producers};
    pthread_mutex_lock(&db->version_lock);
    for (uint32_t i = 0; i < db->request_count; i++)
        tl_edit_compact(&state, &db->requests[i]);
    for (uint32_t i = 0; i < db->merge_count; i++)
        tl_edit_merge(&state, &db->merges[i]);
    pthread_mutex_unlock(&db->version_lock);
    if (!tl_buffer_check(&producers, st) && !tl_buffer_check(&state, st) &&
        tl_manifest_checkpoint(db->manifest, write_state, &c, st))
        tl_status_wrap(st, "writing a checkpoint of the manifest");
    tl_version_unref(version);
    tl_buffer_deinit(&producers);
    tl_buffer_deinit(&state);
    return st->code;
}

enum tl_code tl_manifest_commit(struct tally *db, struct tl_buffer *edits, struct tl_status *st)
{
    if (tl_buffer_check(edits, st))
        return st->code;
    if (tl_manifest_append(db->manifest, tl_buffer_slice(edits), st)) {
        tl_status_wrap(st, "writing the manifest");
        return st->code;
    }
    return TL_OK;
}

/* ---- loading ---- */

/* Segments as the edits leave them, before their packs are opened. */
struct rollup_entry {
    uint32_t view;
    bool kept; /* else: no merchant */
    struct tl_pack_id id;
    uint64_t size;
    uint8_t hash[16];
    uint32_t index;
};

struct entry {
    struct tl_pack_id id;
    uint64_t size;
    uint8_t hash[16];
    uint32_t index, table, shard, rows;
    uint8_t level;
    uint32_t rollup_count;
    struct rollup_entry *rollups;
};

/* A finished part of a merge. */
struct part {
    struct tl_pack_id id;
    uint64_t size, part_rows;
    uint8_t hash[16];
};

struct load {
    struct tally *db;
    struct entry *entries;
    uint32_t count, capacity;
    struct part *parts; /* those of a (table, shard) and sequence cut alike */
    uint32_t part_count;
};

static bool same_pack(const struct tl_pack_id *a, const struct tl_pack_id *b)
{
    return a->kind == b->kind && a->log == b->log && a->table == b->table && a->shard == b->shard &&
           a->number == b->number;
}

static enum tl_code load_rollup(struct entry *e, struct tl_reader *r, struct tl_status *st)
{
    struct rollup_entry x = {.view = tl_read_u32(r)};
    x.kept = tl_read_u8(r) != 0;
    if (x.kept) {
        x.id = get_pack_id(r);
        x.size = tl_read_u64(r);
        struct tl_slice hash = tl_read_bytes(r, 16);
        x.index = tl_read_u32(r);
        if (!r->failed)
            memcpy(x.hash, hash.data, sizeof(x.hash));
    }
    for (uint32_t i = 0; i < e->rollup_count; i++)
        r->failed = r->failed || e->rollups[i].view == x.view;
    if (r->failed || e->rollup_count >= TL_VIEWS_MAX)
        return TL_FAIL(st, TL_CORRUPT, "the manifest names a rollup with impossible fields");
    struct rollup_entry *list = realloc(e->rollups, ((size_t)e->rollup_count + 1) * sizeof(*list));
    if (!list)
        return TL_FAIL(st, TL_LIMIT, "no memory for the manifest's rollups");
    e->rollups = list;
    list[e->rollup_count++] = x;
    return TL_OK;
}

static enum tl_code load_add(struct load *l, struct tl_reader *r, struct tl_status *st)
{
    struct entry e = {.id = get_pack_id(r)};
    e.size = tl_read_u64(r);
    struct tl_slice hash = tl_read_bytes(r, 16);
    e.index = tl_read_u32(r);
    e.table = tl_read_u32(r);
    e.shard = tl_read_u32(r);
    e.level = tl_read_u8(r);
    e.rows = tl_read_u32(r);
    uint16_t rollups = tl_read_u16(r);
    if (r->failed || e.shard >= l->db->shard_count)
        return TL_FAIL(st, TL_CORRUPT, "the manifest names a segment with impossible fields");
    memcpy(e.hash, hash.data, sizeof(e.hash));
    if (l->count == l->capacity) {
        uint32_t capacity = l->capacity ? l->capacity * 2 : 64;
        struct entry *entries = realloc(l->entries, capacity * sizeof(*entries));
        if (!entries)
            return TL_FAIL(st, TL_LIMIT, "no memory for the manifest's segments");
        l->entries = entries;
        l->capacity = capacity;
    }
    struct entry *added = &l->entries[l->count++];
    *added = e;
    for (uint16_t i = 0; i < rollups; i++)
        if (load_rollup(added, r, st))
            return st->code;
    uint16_t bitmaps = tl_read_u16(r);
    if (bitmaps != 0 && !r->failed)
        return TL_FAIL(st, TL_UNSUPPORTED,
                       "the manifest names row bitmaps; a newer version wrote it");
    return TL_OK;
}

static struct entry *find_entry(struct load *l, struct tl_reader *r)
{
    struct tl_pack_id id = get_pack_id(r);
    uint32_t index = tl_read_u32(r);
    for (uint32_t i = l->count; i-- > 0 && !r->failed;)
        if (l->entries[i].index == index && same_pack(&l->entries[i].id, &id))
            return &l->entries[i];
    return NULL;
}

static enum tl_code load_attach(struct load *l, struct tl_reader *r, struct tl_status *st)
{
    struct entry *e = find_entry(l, r);
    if (!e)
        return TL_FAIL(st, TL_CORRUPT, "the manifest has a rollup of a segment that it has not");
    return load_rollup(e, r, st);
}

static void load_forget(struct load *l, uint32_t view)
{
    for (uint32_t i = 0; i < l->count; i++) {
        struct entry *e = &l->entries[i];
        uint32_t n = 0;
        for (uint32_t k = 0; k < e->rollup_count; k++)
            if (e->rollups[k].view != view)
                e->rollups[n++] = e->rollups[k];
        e->rollup_count = n;
    }
}

static enum tl_code load_remove(struct load *l, struct tl_reader *r, struct tl_status *st)
{
    struct entry *e = find_entry(l, r);
    if (e) {
        uint32_t i = (uint32_t)(e - l->entries);
        free(e->rollups);
        memmove(&l->entries[i], &l->entries[i + 1], (l->count - i - 1) * sizeof(*l->entries));
        l->count--;
        return TL_OK;
    }
    return TL_FAIL(st, TL_CORRUPT, "the manifest removes a segment that it does not have");
}

/* A part that was cut otherwise than those before takes their place. */
static enum tl_code load_part(struct load *l, struct tl_reader *r, struct tl_status *st)
{
    struct part p = {.id = get_pack_id(r)};
    p.size = tl_read_u64(r);
    struct tl_slice hash = tl_read_bytes(r, 16);
    p.part_rows = tl_read_u64(r);
    if (r->failed || p.part_rows == 0 || p.id.kind != TL_PACK_MERGE ||
        p.id.shard >= l->db->shard_count)
        return TL_FAIL(st, TL_CORRUPT, "the manifest names a part with impossible fields");
    memcpy(p.hash, hash.data, sizeof(p.hash));
    uint32_t kept = 0;
    for (uint32_t i = 0; i < l->part_count; i++) {
        const struct part *old = &l->parts[i];
        bool same = old->id.table == p.id.table && old->id.shard == p.id.shard &&
                    tl_merge_pack_merge(old->id.number) == tl_merge_pack_merge(p.id.number);
        if (!same || (old->part_rows == p.part_rows && old->id.number != p.id.number))
            l->parts[kept++] = l->parts[i];
    }
    l->part_count = kept;
    struct part *parts = realloc(l->parts, ((size_t)kept + 1) * sizeof(*parts));
    if (!parts)
        return TL_FAIL(st, TL_LIMIT, "no memory for the manifest's parts");
    l->parts = parts;
    parts[l->part_count++] = p;
    return TL_OK;
}

/* Parts of merges that are not installed are kept, so that these go on where they ended. One that
 * is not there was dropped before a crash, and its merge begins anew. */
static enum tl_code open_parts(struct load *l, struct tl_status *st)
{
    struct tally *db = l->db;
    for (uint32_t i = 0; i < l->part_count && st->code == TL_OK; i++) {
        const struct part *p = &l->parts[i];
        struct tl_merge_state *m = tl_merge_state_get(db, p->id.table, p->id.shard);
        struct tl_live_pack *pack = NULL;
        if (!m)
            return TL_FAIL(st, TL_LIMIT, "no memory for the state of merges");
        if (tl_merge_pack_is_over(m, p->id.number))
            continue;
        if (tl_live_pack_open(db->io, db->cache, &p->id, p->hash, &pack, st)) {
            if (st->code == TL_NOT_FOUND)
                tl_status_clear(st);
            continue;
        }
        if (pack->size != p->size)
            TL_FAIL(st, TL_CORRUPT, "a finished part of a merge has another size");
        else
            TL_IGNORE(tl_merge_part_keep(db, pack, p->part_rows, st));
        tl_live_pack_unref(pack);
    }
    return st->code;
}

static enum tl_code load_request(struct tally *db, struct tl_reader *r, struct tl_status *st)
{
    struct tl_compact_request q = {.seal = tl_read_u64(r)};
    q.log_time_us = (int64_t)tl_read_u64(r);
    q.table_count = tl_read_u32(r);
    if (r->failed || q.table_count > TL_TABLES_MAX)
        return TL_FAIL(st, TL_CORRUPT, "the manifest has a request with impossible fields");
    q.tables = calloc((size_t)q.table_count + 1, sizeof(*q.tables));
    if (!q.tables)
        return TL_FAIL(st, TL_LIMIT, "no memory for a request to compact");
    for (uint32_t i = 0; i < q.table_count; i++) {
        q.tables[i].table_id = tl_read_u32(r);
        q.tables[i].partition_rows = tl_read_u32(r);
    }
    return tl_request_put(db, &q, st);
}

static enum tl_code load_tables(struct tally *db, struct tl_reader *r, struct tl_status *st)
{
    uint32_t count = tl_read_u32(r);
    for (uint32_t i = 0; i < count && !r->failed; i++)
        if (tl_schema_apply(&db->state.schemas, r, st))
            return st->code;
    return TL_OK;
}

static enum tl_code load_edit(void *context, struct tl_slice payload, struct tl_status *st)
{
    struct load *l = context;
    struct tally *db = l->db;
    struct tl_reader r = tl_reader_of(payload);
    while (tl_reader_left(&r) > 0 && !r.failed) {
        uint8_t kind = tl_read_u8(&r);
        switch (kind) {
        case TL_EDIT_DATABASE:
            db->shard_count = tl_read_u32(&r);
            db->log_id = tl_read_u64(&r);
            if (db->shard_count == 0 || db->shard_count > 256 ||
                (db->shard_count & (db->shard_count - 1)))
                return TL_FAIL(st, TL_CORRUPT, "the manifest says %u shards", db->shard_count);
            break;
        case TL_EDIT_TABLES:
            if (load_tables(db, &r, st))
                return st->code;
            break;
        case TL_EDIT_ADD:
            if (load_add(l, &r, st))
                return st->code;
            break;
        case TL_EDIT_REMOVE:
            if (load_remove(l, &r, st))
                return st->code;
            break;
        case TL_EDIT_VIEWS:
            if (tl_views_apply(&db->state.schemas, &r, st))
                return st->code;
            break;
        case TL_EDIT_ROLLUP:
            if (load_attach(l, &r, st))
                return st->code;
            break;
        case TL_EDIT_FORGET_VIEW:
            load_forget(l, tl_read_u32(&r));
            break;
        case TL_EDIT_LOW_WATER:
            db->flushed_position = tl_read_u64(&r);
            db->flushed_seal = tl_read_u64(&r);
            db->flushed_log_time_us = (int64_t)tl_read_u64(&r);
            break;
        case TL_EDIT_PRODUCERS:
            if (tl_producers_decode(&db->flushed_producers, &r, st))
                return st->code;
            break;
        case TL_EDIT_MERGE: {
            uint32_t table = tl_read_u32(&r);
            uint32_t shard = tl_read_u32(&r);
            struct tl_merge_state *m = tl_merge_state_get(db, table, shard);
            if (!m)
                return TL_FAIL(st, TL_LIMIT, "no memory for the state of merges");
            m->next_number = tl_read_u64(&r);
            m->level0_seal = tl_read_u64(&r);
            m->clock = tl_read_u64(&r);
            m->requesting = tl_read_u64(&r);
            m->compacted_seal = tl_read_u64(&r);
            break;
        }
        case TL_EDIT_COMPACT:
            if (load_request(db, &r, st))
                return st->code;
            break;
        case TL_EDIT_PART:
            if (load_part(l, &r, st))
                return st->code;
            break;
        default:
            return TL_FAIL(st, TL_UNSUPPORTED,
                           "the manifest has an edit of kind %u; a newer version wrote it", kind);
        }
    }
    return r.failed ? TL_FAIL(st, TL_CORRUPT, "an edit of the manifest is cut off") : TL_OK;
}

static int entry_order(const void *a, const void *b)
{
    const struct entry *x = a;
    const struct entry *y = b;
    uint64_t kx = tl_pack_key(&x->id);
    uint64_t ky = tl_pack_key(&y->id);
    if (kx != ky)
        return kx < ky ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* The packs of the rollups of the pack at hand: one per view. */
struct rollup_packs {
    struct tl_live_pack *packs[TL_VIEWS_MAX];
    uint32_t count;
};

static void close_rollups(struct rollup_packs *p)
{
    for (uint32_t i = 0; i < p->count; i++)
        tl_live_pack_unref(p->packs[i]);
    p->count = 0;
}

static enum tl_code open_rollup(struct tally *db, struct rollup_packs *open, const struct entry *e,
                                const struct rollup_entry *r, struct tl_live_segment *s,
                                struct tl_status *st)
{
    struct tl_live_pack *pack = NULL;
    char name[TL_PACK_NAME_MAX];
    for (uint32_t i = 0; i < open->count; i++)
        if (same_pack(&open->packs[i]->id, &r->id))
            pack = open->packs[i];
    if (r->kept && !pack) {
        if (open->count == TL_VIEWS_MAX)
            return TL_FAIL(st, TL_CORRUPT, "a pack has more than %d rollups", TL_VIEWS_MAX);
        if (tl_live_pack_open(db->io, db->cache, &r->id, r->hash, &pack, st)) {
            tl_status_wrap(st, "opening pack %s", tl_pack_name(&r->id, name));
            return st->code;
        }
        open->packs[open->count++] = pack;
    }
    if (r->kept && (pack->size != r->size || r->index >= tl_pack_segment_count(pack->pack) ||
                    tl_pack_segment_info(pack->pack, r->index)->meta.table != r->view ||
                    tl_pack_segment_info(pack->pack, r->index)->meta.shard != e->shard ||
                    tl_pack_segment_info(pack->pack, r->index)->meta.provenance[0] != e->index))
        return TL_FAIL(st, TL_CORRUPT, "a pack does not hold the rollup that the manifest names");
    return tl_rollup_ref_add(s, r->view, r->kept ? pack : NULL, r->index, st);
}

static int list_order(const void *a, const void *b)
{
    const struct tl_segment_meta *x = &(*(struct tl_live_segment *const *)a)->info.meta;
    const struct tl_segment_meta *y = &(*(struct tl_live_segment *const *)b)->info.meta;
    if (x->table != y->table)
        return x->table < y->table ? -1 : 1;
    return x->shard < y->shard ? -1 : x->shard > y->shard;
}

/* Each shard's list is made once, of all its segments. */
static enum tl_code put_lists(struct tl_version *v, struct tl_live_segment **segments,
                              uint32_t count, struct tl_status *st)
{
    if (count > 0)
        qsort(segments, count, sizeof(segments[0]), list_order);
    for (uint32_t lo = 0, hi; lo < count; lo = hi) {
        const struct tl_segment_meta *meta = &segments[lo]->info.meta;
        struct tl_table_version *t;
        for (hi = lo + 1; hi < count && list_order(&segments[lo], &segments[hi]) == 0; hi++)
            ;
        if (tl_version_table(v, meta->table, &t, st) ||
            tl_table_version_replace(t, meta->shard, NULL, 0, segments + lo, hi - lo, st))
            return st->code;
    }
    return TL_OK;
}

/* Opens each pack once and puts its live segments into the version. */
static enum tl_code open_entries(struct load *l, struct tl_version *v, struct tl_status *st)
{
    struct tally *db = l->db;
    struct tl_live_pack *pack = NULL;
    struct rollup_packs rollups = {.count = 0};
    uint32_t made = 0;
    struct tl_live_segment **segments =
        calloc((size_t)l->count + 1, sizeof(struct tl_live_segment *));
    if (!segments)
        return TL_FAIL(st, TL_LIMIT, "no memory for the manifest's segments");
    if (l->count > 0)
        qsort(l->entries, l->count, sizeof(*l->entries), entry_order);
    for (uint32_t i = 0; i < l->count && st->code == TL_OK; i++) {
        const struct entry *e = &l->entries[i];
        struct tl_live_segment *s = NULL;
        if (!pack || !same_pack(&pack->id, &e->id)) {
            tl_live_pack_unref(pack);
            close_rollups(&rollups);
            pack = NULL;
            char name[TL_PACK_NAME_MAX];
            if (tl_live_pack_open(db->io, db->cache, &e->id, e->hash, &pack, st)) {
                tl_status_wrap(st, "opening pack %s", tl_pack_name(&e->id, name));
                break;
            }
            if (pack->size != e->size) {
                TL_FAIL(st, TL_CORRUPT, "pack %s has %llu bytes, the manifest says %llu",
                        tl_pack_name(&e->id, name), (unsigned long long)pack->size,
                        (unsigned long long)e->size);
                break;
            }
        }
        if (e->index >= tl_pack_segment_count(pack->pack) ||
            tl_pack_segment_info(pack->pack, e->index)->meta.table != e->table ||
            tl_pack_segment_info(pack->pack, e->index)->meta.shard != e->shard ||
            tl_pack_segment_info(pack->pack, e->index)->rows != e->rows) {
            TL_FAIL(st, TL_CORRUPT, "a pack does not hold the segment that the manifest names");
            break;
        }
        pack->live++;
        if (tl_live_segment_new(pack, e->index, &s, st))
            break;
        segments[made++] = s;
        for (uint32_t k = 0; k < e->rollup_count && st->code == TL_OK; k++)
            TL_IGNORE(open_rollup(db, &rollups, e, &e->rollups[k], s, st));
    }
    if (st->code == TL_OK)
        TL_IGNORE(put_lists(v, segments, made, st));
    for (uint32_t i = 0; i < made; i++)
        tl_live_segment_unref(segments[i]);
    free(segments);
    tl_live_pack_unref(pack);
    close_rollups(&rollups);
    return st->code;
}

enum tl_code tl_manifest_load(struct tally *db, enum tl_manifest_mode mode, struct tl_status *st)
{
    struct load l = {.db = db};
    uint64_t seed;
    struct tl_version *v = NULL;
    if (tl_random_seed_from_os(&seed, st) ||
        tl_manifest_open(db->io, mode, seed, load_edit, &l, &db->manifest, st))
        goto done;
    if (db->shard_count == 0)
        goto done; /* just created: the opener writes the first edits */
    if (tl_version_new(db->shard_count, db->state.schemas.current, &v, st))
        goto done;
    v->base_position = db->flushed_position;
    if (open_entries(&l, v, st) || (!db->options.read_only && open_parts(&l, st))) {
        tl_version_unref(v);
        goto done;
    }
    v->reaper = db->reaper;
    tl_current_init(&db->current, v);
    tl_requests_settle(db);
done:
    for (uint32_t i = 0; i < l.count; i++)
        free(l.entries[i].rollups);
    free(l.entries);
    free(l.parts);
    return st->code;
}
