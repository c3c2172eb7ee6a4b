/*
 * engine/merge_state.c: what is kept of merges beside the segments: per (table, shard) the
 * machine's state, the requests, and the parts of merges that are finished but not installed.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "engine/db_int.h"
#include "engine/merge_plan.h"

/* ---- machines ---- */

struct tl_merge_state *tl_merge_state_get(struct tally *db, uint32_t table_id, uint32_t shard)
{
    uint32_t lo = 0;
    uint32_t hi = db->merge_count;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        const struct tl_merge_state *m = &db->merges[mid];
        if (m->table_id < table_id || (m->table_id == table_id && m->shard < shard))
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo < db->merge_count && db->merges[lo].table_id == table_id &&
        db->merges[lo].shard == shard)
        return &db->merges[lo];
    if ((db->merge_count & (db->merge_count - 1)) == 0) { /* a power of two is full */
        size_t capacity = db->merge_count ? (size_t)db->merge_count * 2 : 1;
        struct tl_merge_state *merges = realloc(db->merges, capacity * sizeof(*merges));
        if (!merges)
            return NULL;
        db->merges = merges;
    }
    memmove(&db->merges[lo + 1], &db->merges[lo], (db->merge_count - lo) * sizeof(db->merges[0]));
    db->merges[lo] =
        (struct tl_merge_state){.table_id = table_id, .shard = shard, .next_number = 1};
    db->merge_count++;
    return &db->merges[lo];
}

/* ---- requests ---- */

enum tl_code tl_request_put(struct tally *db, struct tl_compact_request *request,
                            struct tl_status *st)
{
    if (request->seal <= db->compact_seal) {
        free(request->tables);
        return TL_OK;
    }
    struct tl_compact_request *requests =
        realloc(db->requests, ((size_t)db->request_count + 1) * sizeof(*requests));
    if (!requests) {
        free(request->tables);
        return TL_FAIL(st, TL_LIMIT, "no memory for a request to compact");
    }
    db->requests = requests;
    requests[db->request_count++] = *request;
    db->compact_seal = request->seal;
    return TL_OK;
}

enum tl_code tl_request_add(struct tally *db, uint64_t seal, int64_t log_time_us,
                            const struct tl_schema *schema, struct tl_status *st)
{
    struct tl_compact_request r = {.seal = seal, .log_time_us = log_time_us};
    r.tables = calloc((size_t)schema->table_count + 1, sizeof(*r.tables));
    if (!r.tables)
        return TL_FAIL(st, TL_LIMIT, "no memory for a request to compact");
    for (uint32_t i = 0; i < schema->table_count; i++)
        if (schema->tables[i]->partition_rows > 0)
            r.tables[r.table_count++] = (struct tl_request_table){
                schema->tables[i]->info.id, schema->tables[i]->partition_rows};
    return tl_request_put(db, &r, st);
}

void tl_requests_settle(struct tally *db)
{
    const struct tl_version *v = tl_current_peek(&db->current);
    while (db->request_count > 0) {
        for (uint32_t t = 0; t < v->table_count; t++)
            for (uint32_t s = 0; s < v->shard_count; s++) {
                if (!v->tables[t].shards[s])
                    continue;
                const struct tl_merge_state *m = tl_merge_state_get(db, v->tables[t].table_id, s);
                if (!m || m->compacted_seal < db->requests[0].seal)
                    return;
            }
        free(db->requests[0].tables);
        db->request_count--;
        memmove(db->requests, db->requests + 1, db->request_count * sizeof(*db->requests));
    }
}

void tl_requests_free(struct tally *db)
{
    for (uint32_t i = 0; i < db->request_count; i++)
        free(db->requests[i].tables);
    free(db->requests);
    db->requests = NULL;
    db->request_count = 0;
}

/* ---- parts ---- */

enum { PART_BITS = 12, RUNS_BIT = 1 << PART_BITS, SEQUENCE_SHIFT = PART_BITS + 1 };
_Static_assert(TL_PARTS_MAX <= 1 << PART_BITS, "a part's number fits its bits");

uint64_t tl_merge_pack_number(uint64_t sequence, bool runs, uint32_t part)
{
    return sequence << SEQUENCE_SHIFT | (runs ? RUNS_BIT : 0) | part;
}

uint64_t tl_merge_pack_merge(uint64_t number)
{
    return number >> PART_BITS;
}

bool tl_merge_pack_is_over(const struct tl_merge_state *m, uint64_t number)
{
    uint64_t sequence = number >> SEQUENCE_SHIFT;
    return number & RUNS_BIT ? sequence < m->next_number : sequence <= m->level0_seal;
}

enum tl_code tl_merge_part_keep(struct tally *db, struct tl_live_pack *pack, uint64_t part_rows,
                                struct tl_status *st)
{
    struct tl_done_part *parts =
        realloc(db->done_parts, ((size_t)db->done_part_count + 1) * sizeof(*parts));
    if (!parts)
        return TL_FAIL(st, TL_LIMIT, "no memory for a part of a merge");
    db->done_parts = parts;
    atomic_fetch_add_explicit(&pack->refs, 1, memory_order_relaxed);
    parts[db->done_part_count++] = (struct tl_done_part){pack, part_rows};
    return TL_OK;
}

bool tl_merge_part_is_kept(struct tally *db, const struct tl_pack_id *id)
{
    for (uint32_t i = 0; i < db->done_part_count; i++)
        if (tl_pack_key(&db->done_parts[i].pack->id) == tl_pack_key(id))
            return true;
    return false;
}

void tl_merge_parts_settle(struct tally *db, const struct tl_merge_state *m)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < db->done_part_count; i++) {
        struct tl_done_part part = db->done_parts[i];
        const struct tl_pack_id *id = &part.pack->id;
        if (id->table != m->table_id || id->shard != m->shard ||
            !tl_merge_pack_is_over(m, id->number)) {
            db->done_parts[kept++] = part;
            continue;
        }
        if (part.pack->live == 0)
            atomic_store_explicit(&part.pack->obsolete, true, memory_order_relaxed);
        struct tl_done_part *gone =
            realloc(db->gone_parts, ((size_t)db->gone_part_count + 1) * sizeof(*gone));
        if (gone) {
            db->gone_parts = gone;
            gone[db->gone_part_count++] = part;
        } else {
            tl_live_pack_unref(part.pack); /* here, then */
        }
    }
    db->done_part_count = kept;
}

void tl_merge_parts_free(struct tally *db)
{
    pthread_mutex_lock(&db->version_lock);
    struct tl_done_part *gone = db->gone_parts;
    uint32_t count = db->gone_part_count;
    db->gone_parts = NULL;
    db->gone_part_count = 0;
    pthread_mutex_unlock(&db->version_lock);
    for (uint32_t i = 0; i < count; i++)
        tl_live_pack_unref(gone[i].pack);
    free(gone);
}
