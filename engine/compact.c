/*
 * engine/compact.c: level 0 becomes partitions, and a partition's runs become one.
 *
 * Each (table, shard) is a small machine of its own. What it does next is a pure function of its
 * list of segments, of the requests that came through the log, and of nothing else; when it does
 * it is free. Two replicas of a log therefore make the same merge packs, byte for byte. In
 * order of precedence:
 *
 *   1  a partition whose newest runs are of like size (each older one at most twice all newer
 *      ones together), at least TL_RUNS_MERGE of them, or that has TL_RUNS_MAX runs: merge these
 *   2  a request up to seal K: merge the oldest level-0 segments up to K, at most TL_LEVEL0_MERGE
 *   3  a request, and no such segment left: merge all runs of the first partition that has several;
 *      when none has, the request is done
 *   4  TL_LEVEL0_MERGE level-0 segments: merge the oldest ones
 *
 * So a row is written at level 0, once into its partition, and then about log2 of the partition's
 * merges over TL_RUNS_MERGE times more.
 *
 * Grain: a month is cut into hours, days, or not at all: the finest of the three that is expected
 * to hold TL_PARTITION_ROWS rows, judged by the rows and the time that the merged segments have in
 * that month. A month that has partitions keeps their grain (regrading is a merge of another kind,
 * later).
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/time.h"
#include "engine/db_int.h"
#include "engine/rollup_store.h"
#include "storage/merge.h"

#define HOUR_US (3600LL * 1000000)
#define DAY_US  (24 * HOUR_US)

struct tl_merge_state *tl_merge_state_get(struct tally *db, uint32_t table_id, uint32_t shard)
{
    for (uint32_t i = 0; i < db->merge_count; i++)
        if (db->merges[i].table_id == table_id && db->merges[i].shard == shard)
            return &db->merges[i];
    struct tl_merge_state *merges =
        realloc(db->merges, ((size_t)db->merge_count + 1) * sizeof(*merges));
    if (!merges)
        return NULL;
    db->merges = merges;
    merges[db->merge_count] =
        (struct tl_merge_state){.table_id = table_id, .shard = shard, .next_number = 1};
    return &merges[db->merge_count++];
}

/* ---- what to do next ---- */

struct step {
    uint32_t table_id, shard;
    bool done_request; /* nothing to merge: the request is fulfilled */
    bool level0;
    uint32_t first, count; /* inputs: a run of the list */
    uint64_t request;
};

/* Rule 1 for the partition [lo, hi) of the list: the newest runs of like size, or all. */
static bool tiered(const struct tl_segment_list *l, uint32_t lo, uint32_t hi, uint32_t *first)
{
    uint64_t newer = l->segments[hi - 1]->info.rows;
    uint32_t at = hi - 1;
    while (at > lo && l->segments[at - 1]->info.rows <= 2 * newer) {
        at--;
        newer += l->segments[at]->info.rows;
    }
    if (hi - lo >= TL_RUNS_MAX)
        at = lo;
    *first = at;
    return hi - at >= TL_RUNS_MERGE;
}

static uint32_t partition_end(const struct tl_segment_list *l, uint32_t lo)
{
    uint32_t hi = lo + 1;
    while (hi < l->count &&
           l->segments[hi]->info.meta.start_us == l->segments[lo]->info.meta.start_us)
        hi++;
    return hi;
}

static bool pick(const struct tl_segment_list *l, const struct tl_merge_state *m, uint64_t request,
                 struct step *out)
{
    request = request > m->compacted_seal ? request : 0;
    *out = (struct step){.table_id = m->table_id, .shard = m->shard, .request = request};
    uint32_t count = l ? l->count : 0;
    uint32_t level0 = l ? l->level0_count : 0;
    uint32_t several = UINT32_MAX;
    for (uint32_t lo = level0, hi; lo < count; lo = hi) {
        hi = partition_end(l, lo);
        if (tiered(l, lo, hi, &out->first)) {
            out->count = hi - out->first;
            return true;
        }
        if (hi - lo > 1 && several == UINT32_MAX)
            several = lo;
    }
    uint32_t eligible = 0;
    while (request && eligible < level0 &&
           l->segments[eligible]->info.meta.provenance[1] <= request)
        eligible++;
    if (eligible > 0 || (!request && level0 >= TL_LEVEL0_MERGE)) {
        out->level0 = true;
        out->first = 0;
        out->count = eligible > 0 && eligible < TL_LEVEL0_MERGE ? eligible : TL_LEVEL0_MERGE;
        return true;
    }
    if (!request)
        return false;
    if (several == UINT32_MAX) {
        out->done_request = true;
        return true;
    }
    out->first = several;
    out->count = partition_end(l, several) - several;
    return true;
}

/* ---- the partitions of a merge of level 0 ---- */

struct month {
    int64_t start_us, end_us;
    uint64_t rows;
    int64_t min_us, max_us;
};

struct months {
    struct month *list; /* ascending */
    uint32_t count, capacity;
    uint32_t last; /* where the last row went */
};

static void month_of(int64_t ts_us, int64_t *start_us, int64_t *end_us)
{
    struct tl_civil c = tl_civil_from_days(tl_floor_div(ts_us, DAY_US));
    bool december = c.month == 12;
    *start_us = tl_days_from_civil(c.year, c.month, 1) * DAY_US;
    *end_us =
        tl_days_from_civil(december ? c.year + 1 : c.year, december ? 1 : c.month + 1, 1) * DAY_US;
}

static enum tl_code months_add(struct months *m, int64_t ts, struct tl_status *st)
{
    if (m->last >= m->count || ts < m->list[m->last].start_us || ts >= m->list[m->last].end_us) {
        uint32_t at = 0;
        while (at < m->count && m->list[at].end_us <= ts)
            at++;
        if (at == m->count || ts < m->list[at].start_us) {
            if (m->count == m->capacity) {
                uint32_t capacity = m->capacity ? m->capacity * 2 : 64;
                struct month *list = realloc(m->list, capacity * sizeof(*list));
                if (!list)
                    return TL_FAIL(st, TL_LIMIT, "no memory for a merge's months");
                m->list = list;
                m->capacity = capacity;
            }
            memmove(&m->list[at + 1], &m->list[at], (m->count - at) * sizeof(*m->list));
            m->list[at] = (struct month){.min_us = ts, .max_us = ts};
            month_of(ts, &m->list[at].start_us, &m->list[at].end_us);
            m->count++;
        }
        m->last = at;
    }
    struct month *x = &m->list[m->last];
    x->rows++;
    x->min_us = ts < x->min_us ? ts : x->min_us;
    x->max_us = ts > x->max_us ? ts : x->max_us;
    return TL_OK;
}

static enum tl_code scan_months(const struct tl_live_segment *s, struct months *m,
                                struct tl_status *st)
{
    struct tl_segment *segment;
    if (tl_pack_segment(s->pack->pack, s->index, &segment, st))
        return st->code;
    const struct tl_column *c = tl_segment_column(segment, TL_COLUMN_TS);
    if (!c)
        return TL_FAIL(st, TL_CORRUPT, "a segment has no ts column");
    struct tl_arena arena;
    struct tl_cursor cursor;
    tl_arena_init(&arena, NULL, 65536);
    if (!tl_cursor_init(&cursor, c, NULL, &arena, NULL, st)) {
        for (uint32_t lo = 0; lo < s->info.rows && st->code == TL_OK; lo += TL_VECTOR_ROWS_MAX) {
            uint32_t hi =
                s->info.rows - lo < TL_VECTOR_ROWS_MAX ? s->info.rows : lo + TL_VECTOR_ROWS_MAX;
            struct tl_vector v;
            if (tl_cursor_read(&cursor, lo, hi, NULL, &v, st))
                break;
            const int64_t *ts = v.data;
            for (uint32_t i = 0; i < v.count; i++)
                if (months_add(m, ts[v.shape == TL_CONST ? 0 : i], st))
                    break;
        }
        tl_cursor_close(&cursor);
    }
    tl_arena_deinit(&arena);
    return st->code;
}

/* The grain of a month without partitions: what its rows' rate would fill. */
static int64_t grain_of(const struct month *m)
{
    int64_t span = m->max_us - m->min_us;
    span = span < HOUR_US ? HOUR_US : span;
    double per_us = (double)m->rows / (double)span;
    if (per_us * (double)HOUR_US >= TL_PARTITION_ROWS)
        return HOUR_US;
    if (per_us * (double)DAY_US >= TL_PARTITION_ROWS)
        return DAY_US;
    return m->end_us - m->start_us;
}

struct partitions {
    struct tl_segment_meta *list;
    uint32_t count;
};

static enum tl_code make_partitions(const struct tl_segment_list *l, const struct months *months,
                                    const struct tl_segment_meta *meta, struct partitions *out,
                                    struct tl_status *st)
{
    uint32_t capacity = 0;
    for (uint32_t i = 0; i < months->count; i++)
        capacity += 31 * 24;
    out->list = malloc(((size_t)capacity + 1) * sizeof(*out->list));
    if (!out->list)
        return TL_FAIL(st, TL_LIMIT, "no memory for the partitions of %u months", months->count);
    for (uint32_t i = 0; i < months->count; i++) {
        const struct month *m = &months->list[i];
        int64_t grain = 0;
        for (uint32_t k = l->level0_count; k < l->count && !grain; k++) {
            const struct tl_segment_meta *p = &l->segments[k]->info.meta;
            if (p->start_us >= m->start_us && p->start_us < m->end_us)
                grain = p->end_us - p->start_us;
        }
        grain = grain ? grain : grain_of(m);
        /* Only what can hold a row: from the first one's partition to the last one's. */
        int64_t from = m->start_us + (m->min_us - m->start_us) / grain * grain;
        for (int64_t start = from; start <= m->max_us; start += grain) {
            tl_assert(out->count < capacity);
            out->list[out->count] = *meta;
            out->list[out->count].start_us = start;
            out->list[out->count].end_us = start + grain;
            out->count++;
        }
    }
    return TL_OK;
}

/* ---- doing it ---- */

struct inputs {
    struct tl_live_segment *live[TL_MERGE_INPUTS_MAX]; /* referenced */
    struct tl_merge_input merge[TL_MERGE_INPUTS_MAX];
    uint32_t count;
    uint64_t rows;
};

static enum tl_code run_merge(struct tally *db, const struct step *step,
                              const struct tl_segment_list *l, struct inputs *in,
                              const struct tl_pack_id *id, struct tl_pack_info *info,
                              struct tl_status *st)
{
    const struct tl_segment_info *first = &in->live[0]->info;
    const struct tl_segment_info *last = &in->live[in->count - 1]->info;
    struct tl_segment_meta meta = {
        .table = step->table_id,
        .shard = step->shard,
        .level = step->level0 ? 1 : 2,
        .start_us = first->meta.start_us,
        .end_us = first->meta.end_us,
        .provenance = {first->meta.provenance[0], last->meta.provenance[1], 0, 0}};
    for (uint32_t i = 0; i < in->count; i++)
        if (in->live[i]->info.meta.schema_version > meta.schema_version)
            meta.schema_version = in->live[i]->info.meta.schema_version;
    struct months months = {.list = NULL};
    struct partitions parts = {.list = NULL};
    if (step->level0) {
        for (uint32_t i = 0; i < in->count; i++)
            if (scan_months(in->live[i], &months, st))
                goto done;
        if (make_partitions(l, &months, &meta, &parts, st))
            goto done;
    }
    for (uint32_t i = 0; i < in->count; i++)
        if (tl_pack_segment(in->live[i]->pack->pack, in->live[i]->index, &in->merge[i].segment, st))
            goto done;
    struct tl_merge_options options = {
        .pack = TL_PACK_OPTIONS_COLD, .cancel = &db->closing, .progress_values = &db->merge_values};
    if (!tl_merge(db->io, id, in->merge, in->count, step->level0 ? parts.list : &meta,
                  step->level0 ? parts.count : 1, &options, info, st))
        TL_IGNORE(tl_io_sync_dir(db->io, TL_PACK_DIR, st));
done:
    free(months.list);
    free(parts.list);
    return st->code;
}

/* The transaction and the version. Under version_lock. */
static enum tl_code install_locked(struct tally *db, const struct step *step,
                                   const struct inputs *in, struct tl_live_pack *pack,
                                   const struct tl_pack_info *info,
                                   const struct tl_rollups_made *rollups, struct tl_status *st)
{
    struct tl_merge_state *m = tl_merge_state_get(db, step->table_id, step->shard);
    struct tl_version *next = NULL;
    struct tl_live_segment **added = calloc((size_t)info->segment_count + 1, sizeof(*added));
    uint32_t added_count = 0;
    struct tl_buffer edits;
    tl_buffer_init(&edits, "manifest transaction of a merge", TL_MANIFEST_EDIT_BYTES_MAX);
    if (!m || !added) {
        TL_FAIL(st, TL_LIMIT, "no memory to install a merge");
        goto done;
    }
    struct tl_merge_state changed = *m;
    if (step->done_request)
        changed.compacted_seal = step->request;
    else
        changed.next_number++;
    tl_edit_merge(&edits, &changed);
    for (uint32_t i = 0; i < in->count; i++)
        tl_edit_remove(&edits, in->live[i]);
    for (; pack && added_count < info->segment_count; added_count++) {
        if (tl_live_segment_new(pack, added_count, &added[added_count], st) ||
            tl_rollups_attach(rollups, tl_current_peek(&db->current)->schema, added[added_count],
                              st)) {
            added_count++;
            goto done;
        }
        tl_edit_add(&edits, added[added_count]);
        pack->live++;
    }
    if (!step->done_request) {
        struct tl_table_version *t;
        if (tl_version_clone(tl_current_peek(&db->current), &next, st) ||
            tl_version_table(next, step->table_id, &t, st) ||
            tl_table_version_replace(t, step->shard, in->live, in->count, added, added_count, st))
            goto done;
    }
    if (tl_manifest_commit(db, &edits, st))
        goto done;
    *m = changed;
    for (uint32_t i = 0; i < in->count; i++)
        tl_live_segment_dropped(in->live[i]);
    if (next)
        tl_current_publish(&db->current, next);
    next = NULL;
    if (tl_manifest_wants_checkpoint(db->manifest))
        TL_IGNORE(tl_manifest_roll(db, st));
done:
    tl_version_unref(next);
    for (uint32_t i = 0; i < added_count; i++)
        tl_live_segment_unref(added[i]);
    free(added);
    tl_buffer_deinit(&edits);
    return st->code;
}

/* The next step of any table and shard; its inputs are referenced. */
static bool find_step(struct tally *db, struct step *step, struct inputs *in,
                      struct tl_version **version)
{
    bool found = false;
    pthread_mutex_lock(&db->version_lock);
    struct tl_version *v = tl_current_peek(&db->current);
    uint64_t request = db->flushed_seal >= db->compact_seal ? db->compact_seal : 0;
    for (uint32_t t = 0; t < v->table_count && !found; t++)
        for (uint32_t s = 0; s < v->shard_count && !found; s++) {
            struct tl_merge_state *m = tl_merge_state_get(db, v->tables[t].table_id, s);
            found = m && pick(v->tables[t].shards[s], m, request, step);
            if (!found)
                continue;
            in->count = step->count;
            in->rows = 0;
            for (uint32_t i = 0; i < step->count; i++) {
                in->live[i] = v->tables[t].shards[s]->segments[step->first + i];
                in->rows += in->live[i]->info.rows;
                in->merge[i] = (struct tl_merge_input){.segment = NULL};
                atomic_fetch_add_explicit(&in->live[i]->refs, 1, memory_order_relaxed);
            }
        }
    pthread_mutex_unlock(&db->version_lock);
    if (found)
        *version = tl_current_acquire(&db->current); /* keeps the list that partitions are cut by */
    return found;
}

enum tl_code tl_merge_step(struct tally *db, bool *did, struct tl_status *st)
{
    struct step step = {.count = 0};
    struct inputs in = {.count = 0};
    struct tl_version *version = NULL;
    struct tl_pack_info info = {.segment_count = 0};
    struct tl_live_pack *pack = NULL;
    uint64_t begun = tl_clock_mono_ns(db->clock);
    if (tl_event_ids_wants_rebuild(db->state.ids)) {
        version = tl_current_acquire(&db->current);
        TL_IGNORE(tl_event_ids_rebuild(db->state.ids, version, &db->closing, st));
        tl_version_unref(version);
        version = NULL;
        if (st->code)
            return st->code;
    }
    struct tl_rollups_made rollups = {.list = NULL};
    *did = find_step(db, &step, &in, &version);
    if (!*did)
        return tl_rollup_step(db, did, st);
    if (!step.done_request) {
        pthread_mutex_lock(&db->version_lock);
        struct tl_merge_state *m = tl_merge_state_get(db, step.table_id, step.shard);
        struct tl_pack_id id = {.kind = TL_PACK_MERGE,
                                .table = step.table_id,
                                .shard = step.shard,
                                .number = m->next_number};
        pthread_mutex_unlock(&db->version_lock);
        const struct tl_table_version *t = tl_version_find(version, step.table_id);
        if (run_merge(db, &step, t->shards[step.shard], &in, &id, &info, st))
            goto done;
        if (info.segment_count > 0 &&
            (tl_live_pack_open(db->io, db->cache, &id, info.hash, &pack, st) ||
             tl_rollups_make(db, version->schema, pack, 0, &db->closing, &rollups, st)))
            goto done;
    }
    pthread_mutex_lock(&db->version_lock);
    TL_IGNORE(install_locked(db, &step, &in, pack, &info, &rollups, st));
    tl_db_changed_locked(db);
    pthread_mutex_unlock(&db->version_lock);
    if (st->code == TL_OK && !step.done_request) {
        uint64_t us = (tl_clock_mono_ns(db->clock) - begun) / 1000;
        tl__histogram_add(&db->counters.merge, us);
        atomic_fetch_add_explicit(&db->counters.merges, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&db->counters.merged_rows, in.rows, memory_order_relaxed);
        atomic_fetch_add_explicit(&db->counters.merge_us, us, memory_order_relaxed);
        atomic_fetch_add_explicit(&db->counters.merge_bytes, info.size, memory_order_relaxed);
    }
done:
    for (uint32_t i = 0; i < in.count; i++)
        tl_live_segment_unref(in.live[i]);
    tl_version_unref(version);
    tl_rollups_free(&rollups);
    tl_live_pack_unref(pack);
    tl_pack_info_deinit(&info);
    if (st->code)
        tl_status_wrap(st, "merging segments");
    return st->code;
}

void tl_merger_main(void *arg)
{
    struct tally *db = arg;
    for (;;) {
        pthread_mutex_lock(&db->version_lock);
        uint64_t seen = db->generation; /* what changes from here on is looked at again */
        pthread_mutex_unlock(&db->version_lock);
        bool did = false;
        struct tl_status st = TL_STATUS_INIT;
        if (atomic_load_explicit(&db->closing, memory_order_relaxed) ||
            atomic_load_explicit(&db->poisoned, memory_order_relaxed))
            return;
        if (tl_merge_step(db, &did, &st)) {
            if (st.code != TL_CANCELLED && st.code != TL_FULL)
                tl_db_poison(db, &st);
            if (st.code != TL_FULL)
                return;
            /* Nothing is lost: the inputs are still live. Try again when something has changed. */
            tl_db_log(db, TL_LEVEL_WARN, "merge_disk_full", "%s", st.text);
            did = false;
        }
        if (did)
            continue;
        pthread_mutex_lock(&db->version_lock);
        while (db->generation == seen)
            pthread_cond_wait(&db->version_changed, &db->version_lock);
        pthread_mutex_unlock(&db->version_lock);
    }
}
