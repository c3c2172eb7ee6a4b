/*
 * engine/compact.c: level 0 becomes runs of partitions, and runs become fewer.
 *
 * What is merged next engine/merge_policy.h decides, how it is cut into parts engine/merge_plan.h;
 * this file runs it. A merge goes part by part. Each part is one pack; it is synced and noted in
 * the manifest, and the last one's transaction removes the inputs and adds all parts at once, so
 * that readers see the merge whole or not at all. What was noted is found again after a restart.
 *
 * Two merges can be under way, each on a thread of its own: one of level 0, so that flushes never
 * wait for a large merge of runs, and one of runs.
 *
 * Numbers: a merge of level 0 is numbered by the last seal that it takes, a merge of runs by a
 * count per (table, shard), so that packs are named by what they hold, not by when they were
 * written.
 *
 * Bounds: memory by the budgets "merge memory" and "level-0 merge memory"; a part that does not fit
 * is cut into four. Disk: the inputs of the merges under way stay until they are replaced, hence at
 * most the output of the largest merge of level 0 and of the largest merge of runs beside what is
 * live.
 *
 * Cancelling puts requests off: the part that runs ends within some milliseconds and leaves no
 * file, the parts before it are kept, and merging goes on from there when there is a newer request,
 * when the database is opened again, or when runs have piled up so that reads would suffer. So what
 * becomes of the segments does not depend on who cancelled what, only when it does.
 *
 * Locks: `lock` of the merger while a merge is chosen, before all others; a merge that was begun
 * belongs to its thread. Finished parts: changed under manifest_lock and version_lock, read under
 * one of the two.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "engine/db_int.h"
#include "engine/merge_plan.h"
#include "engine/merge_view.h"
#include "engine/rollup_store.h"

/* A merge under way. */
struct work {
    bool active, runs;
    bool passing; /* its output will be merged again */
    uint32_t table_id, shard;
    uint64_t sequence;
    struct tl_merge_state after;     /* the machine's state once it is installed */
    bool requested;                  /* it serves a request */
    struct tl_live_segment **inputs; /* oldest rows first; referenced */
    uint32_t input_count;
    uint64_t input_rows;
    struct tl_segment_meta meta; /* of its output, the partition aside */
    struct tl_merge_plan plan;
    uint64_t part_rows;
    uint32_t next_part;
    struct tl_rollups_made
        *rollups; /* by part; those of parts from before a restart are made last */
    bool *has_rollups;
    uint64_t begun_ns;
};

struct tl_merger {
    pthread_mutex_t lock;
    pthread_cond_t rollups_ended;
    bool rollups;     /* live segments are being replaced by like ones: no merge may begin */
    bool level0_busy; /* a merge of level 0 is under way */
    struct work level0, runs;
    uint32_t turn; /* the machine that merged runs last, so that all get theirs */
};

enum tl_code tl_merger_new(struct tally *db, struct tl_status *st)
{
    db->merger = calloc(1, sizeof(*db->merger));
    if (!db->merger)
        return TL_FAIL(st, TL_LIMIT, "no memory for the merger");
    pthread_mutex_init(&db->merger->lock, NULL);
    pthread_cond_init(&db->merger->rollups_ended, NULL);
    return TL_OK;
}

static void work_forget_rollups(struct work *w)
{
    for (uint32_t i = 0; w->rollups && i < w->plan.part_count; i++)
        tl_rollups_free(&w->rollups[i]);
    free(w->rollups);
    free(w->has_rollups);
    w->rollups = NULL;
    w->has_rollups = NULL;
}

/* What status and progress say of a merge. */
static void work_tell(struct tally *db, const struct work *w)
{
    pthread_mutex_lock(&db->version_lock);
    db->merging[w->runs] = (struct tl_merging){.active = w->active,
                                               .requested = w->requested,
                                               .table_id = w->table_id,
                                               .shard = w->shard,
                                               .rows = w->input_rows,
                                               .parts = w->plan.part_count,
                                               .parts_done = w->next_part,
                                               .begun_ns = w->begun_ns};
    tl_db_changed_locked(db);
    pthread_mutex_unlock(&db->version_lock);
}

static void work_end(struct work *w)
{
    work_forget_rollups(w);
    for (uint32_t i = 0; i < w->input_count; i++)
        tl_live_segment_unref(w->inputs[i]);
    free(w->inputs);
    tl_merge_plan_deinit(&w->plan);
    *w = (struct work){.active = false};
}

static void work_over(struct tally *db, struct work *w)
{
    bool runs = w->runs;
    work_end(w);
    w->runs = runs;
    work_tell(db, w);
}

void tl_merger_free(struct tally *db)
{
    if (!db->merger)
        return;
    work_end(&db->merger->level0);
    work_end(&db->merger->runs);
    for (uint32_t i = 0; i < db->done_part_count; i++)
        tl_live_pack_unref(db->done_parts[i].pack);
    free(db->done_parts);
    db->done_parts = NULL;
    db->done_part_count = 0;
    tl_merge_parts_free(db);
    pthread_cond_destroy(&db->merger->rollups_ended);
    pthread_mutex_destroy(&db->merger->lock);
    free(db->merger);
    db->merger = NULL;
}

bool tl_level0_is_full(struct tally *db, const struct tl_seal *seal)
{
    const struct tl_version *v = tl_current_peek(&db->current);
    for (uint32_t i = 0; i < seal->count; i++) {
        const struct tl_table_version *t =
            tl_version_find(v, tl_memtable_table_id(seal->memtables[i]));
        for (uint32_t s = 0; t && s < v->shard_count; s++)
            if (t->shards[s] && t->shards[s]->level0_count >= TL_LEVEL0_MAX)
                return true;
    }
    return false;
}

/* ---- a merge begins ---- */

/* Inputs and what their output will say. */
static enum tl_code work_inputs(struct work *w, const struct tl_merge_machine *m,
                                const uint32_t *places, uint32_t count, struct tl_status *st)
{
    uint32_t total = 0;
    for (uint32_t i = 0; i < count; i++)
        total += m->first[places[i] + 1] - m->first[places[i]];
    w->inputs = calloc((size_t)total + 1, sizeof(struct tl_live_segment *));
    if (!w->inputs)
        return TL_FAIL(st, TL_LIMIT, "no memory for the inputs of a merge");
    w->meta = (struct tl_segment_meta){.table = m->state.table_id,
                                       .shard = m->state.shard,
                                       .level = w->passing ? 1 : 2,
                                       .provenance = {UINT64_MAX, 0, (uint64_t)INT64_MIN, 0}};
    uint64_t *p = w->meta.provenance;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = m->first[places[i]]; k < m->first[places[i] + 1]; k++) {
            struct tl_live_segment *s = m->list->segments[k];
            const struct tl_segment_meta *in = &s->info.meta;
            atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
            w->inputs[w->input_count++] = s;
            w->input_rows += s->info.rows;
            if (in->schema_version > w->meta.schema_version)
                w->meta.schema_version = in->schema_version;
            p[0] = in->provenance[0] < p[0] ? in->provenance[0] : p[0];
            p[3] = in->provenance[1] >= p[1] ? in->provenance[3] : p[3];
            p[1] = in->provenance[1] > p[1] ? in->provenance[1] : p[1];
            if ((int64_t)in->provenance[2] > (int64_t)p[2])
                p[2] = in->provenance[2];
        }
    return TL_OK;
}

/* Cuts the plan anew by part_rows; parts that are there already are not made again. */
static enum tl_code work_cut(struct tally *db, struct work *w, struct tl_status *st)
{
    if (tl_merge_plan_cut(&w->plan, w->inputs, w->input_count, w->part_rows, st))
        return st->code;
    w->rollups = calloc((size_t)w->plan.part_count + 1, sizeof(*w->rollups));
    w->has_rollups = calloc((size_t)w->plan.part_count + 1, sizeof(*w->has_rollups));
    if (!w->rollups || !w->has_rollups)
        return TL_FAIL(st, TL_LIMIT, "no memory for the parts of a merge");
    struct tl_pack_id id = {
        .kind = TL_PACK_MERGE, .table = w->table_id, .shard = w->shard, .number = 0};
    pthread_mutex_lock(&db->version_lock);
    for (w->next_part = 0; w->next_part + 1 < w->plan.part_count; w->next_part++) {
        id.number = tl_merge_pack_number(w->sequence, w->runs, w->next_part);
        if (!tl_merge_part_is_kept(db, &id))
            break;
    }
    pthread_mutex_unlock(&db->version_lock);
    return TL_OK;
}

static enum tl_code work_partitions(struct work *w, const struct tl_merge_view *v,
                                    const struct tl_merge_machine *m, int64_t grain_us,
                                    struct tl_status *st)
{
    if (w->runs) {
        int64_t min = INT64_MAX;
        int64_t max = INT64_MIN;
        for (uint32_t i = 0; i < w->input_count; i++) {
            const struct tl_segment_info *s = &w->inputs[i]->info;
            min = s->min_ts < min ? s->min_ts : min;
            max = s->max_ts > max ? s->max_ts : max;
        }
        return tl_merge_plan_add(&w->plan, &w->meta, grain_us, min, max, st);
    }
    struct tl_policy_state state = tl_merge_policy_of(v, m);
    struct tl_policy_month *months = NULL;
    uint32_t count = 0;
    uint64_t rows = w->meta.provenance[3] ? w->meta.provenance[3] : TL_PARTITION_ROWS;
    if (tl_merge_months(w->inputs, w->input_count, &months, &count, st))
        return st->code;
    for (uint32_t i = 0; i < count && st->code == TL_OK; i++) {
        int64_t grain = tl_policy_grain(&state, &months[i], w->meta.provenance[1], rows);
        TL_IGNORE(
            tl_merge_plan_add(&w->plan, &w->meta, grain, months[i].min_us, months[i].max_us, st));
    }
    free(months);
    return st->code;
}

/* What the plan of a merge was cut by, of which the first part is finished; 0: none is. */
static uint64_t kept_part_rows(struct tally *db, uint32_t table_id, uint32_t shard, bool runs,
                               uint64_t sequence)
{
    uint64_t rows = 0;
    pthread_mutex_lock(&db->version_lock);
    for (uint32_t i = 0; i < db->done_part_count; i++) {
        const struct tl_pack_id *id = &db->done_parts[i].pack->id;
        if (id->table == table_id && id->shard == shard &&
            id->number == tl_merge_pack_number(sequence, runs, 0))
            rows = db->done_parts[i].part_rows;
    }
    pthread_mutex_unlock(&db->version_lock);
    return rows;
}

static enum tl_code work_begin(struct tally *db, struct work *w, const struct tl_merge_view *v,
                               const struct tl_merge_machine *m, struct tl_policy_step *step,
                               struct tl_status *st)
{
    *w = (struct work){.runs = step->kind == TL_POLICY_MERGE,
                       .passing = step->passing,
                       .table_id = m->state.table_id,
                       .shard = m->state.shard,
                       .after = m->state,
                       .requested = step->request > 0,
                       .part_rows = db->options.merge_part_rows,
                       .begun_ns = tl_clock_mono_ns(db->clock)};
    for (uint32_t i = 0; !w->runs && i < step->count; i++)
        step->inputs[i] = i;
    if (work_inputs(w, m, step->inputs, step->count, st))
        goto fail;
    if (w->runs) {
        w->sequence = w->after.next_number++;
        w->after.clock = step->clock;
        w->after.requesting = step->request ? step->request : w->after.requesting;
    } else {
        w->sequence = w->after.level0_seal = w->meta.provenance[1];
    }
    uint64_t part_rows = kept_part_rows(db, w->table_id, w->shard, w->runs, w->sequence);
    w->part_rows = part_rows ? part_rows : w->part_rows;
    if (work_partitions(w, v, m, step->grain_us, st) || work_cut(db, w, st))
        goto fail;
    w->active = true;
    work_tell(db, w);
    return TL_OK;
fail:
    work_end(w);
    return st->code;
}

/* Fulfilled requests of all machines, in one transaction. */
static enum tl_code finish_requests(struct tally *db, struct tl_merge_state *const *done,
                                    uint32_t count, struct tl_status *st)
{
    struct tl_buffer edits;
    tl_buffer_init(&edits, "manifest transaction of requests", TL_MANIFEST_EDIT_BYTES_MAX);
    pthread_mutex_lock(&db->manifest_lock);
    pthread_mutex_lock(&db->version_lock);
    for (uint32_t i = 0; i < count; i++) {
        /* Level 0 may have come further than `done` knows. */
        const struct tl_merge_state *m = tl_merge_state_get(db, done[i]->table_id, done[i]->shard);
        tl_assert(m != NULL);
        done[i]->level0_seal = m->level0_seal;
        tl_edit_merge(&edits, done[i]);
    }
    pthread_mutex_unlock(&db->version_lock);
    if (!tl_manifest_commit(db, &edits, st)) {
        pthread_mutex_lock(&db->version_lock);
        for (uint32_t i = 0; i < count; i++) {
            struct tl_merge_state *m = tl_merge_state_get(db, done[i]->table_id, done[i]->shard);
            tl_assert(m != NULL);
            *m = *done[i];
            tl_merge_parts_settle(db, m);
        }
        tl_requests_settle(db);
        tl_db_changed_locked(db);
        pthread_mutex_unlock(&db->version_lock);
        TL_IGNORE(tl_manifest_roll(db, st));
    }
    pthread_mutex_unlock(&db->manifest_lock);
    tl_merge_parts_free(db);
    tl_buffer_deinit(&edits);
    return st->code;
}

/* Have the requests been put off, and does nothing force them? */
static bool put_off(struct tally *db, const struct tl_merge_machine *m)
{
    pthread_mutex_lock(&db->version_lock);
    bool cancelled = db->compact_seal <= db->cancelled_seal;
    pthread_mutex_unlock(&db->version_lock);
    uint32_t runs = 0;
    for (uint32_t i = m->list->level0_count; cancelled && i < m->run_count; i++) {
        runs = i > 0 && m->runs[i - 1].start_us == m->runs[i].start_us &&
                       m->runs[i - 1].end_us == m->runs[i].end_us
                   ? runs + 1
                   : 1;
        if (runs > TL_RUNS_MAX)
            return false;
    }
    return cancelled;
}

/* A request that was put off while its merge ran: what is finished of it is kept. */
static void put_off_active(struct tally *db, struct work *w)
{
    pthread_mutex_lock(&db->version_lock);
    bool cancelled = db->compact_seal <= db->cancelled_seal;
    pthread_mutex_unlock(&db->version_lock);
    if (w->active && w->requested && cancelled)
        work_over(db, w);
}

/* ---- choosing ---- */

static enum tl_code begin_level0(struct tally *db, const struct tl_merge_view *v,
                                 struct tl_status *st)
{
    const struct tl_merge_machine *best = NULL;
    struct tl_policy_step step, best_step = {.kind = TL_POLICY_NONE};
    for (uint32_t i = 0; i < v->count; i++) {
        const struct tl_merge_machine *m = &v->machines[i];
        struct tl_policy_state state = tl_merge_policy_of(v, m);
        tl_policy_level0(&state, &step);
        if (step.kind == TL_POLICY_NONE ||
            (best && best->list->level0_count >= m->list->level0_count))
            continue;
        best = m;
        best_step = step;
    }
    return best ? work_begin(db, &db->merger->level0, v, best, &best_step, st) : TL_OK;
}

/* Begins a merge of runs; or tells that requests are fulfilled, where nothing is left to merge. */
static enum tl_code begin_runs(struct tally *db, const struct tl_merge_view *v, bool *did,
                               struct tl_status *st)
{
    struct tl_policy_step step;
    struct tl_merge_state **done = calloc((size_t)v->count + 1, sizeof(struct tl_merge_state *));
    uint32_t done_count = 0;
    if (!done)
        return TL_FAIL(st, TL_LIMIT, "no memory to look for merges");
    /* A merge that was begun before goes first, so that parts of one alone wait on the disk. */
    for (uint32_t i = 0; i < v->count; i++)
        if (kept_part_rows(db, v->machines[i].state.table_id, v->machines[i].state.shard, true,
                           v->machines[i].state.next_number))
            db->merger->turn = i;
    for (uint32_t i = 0; i < v->count; i++) {
        uint32_t at = (db->merger->turn + i) % v->count;
        struct tl_merge_machine *m = &v->machines[at];
        struct tl_policy_state state = tl_merge_policy_of(v, m);
        tl_policy_runs(&state, &step);
        if (step.kind == TL_POLICY_MERGE) {
            if (step.request > 0 && put_off(db, m))
                continue;
            db->merger->turn = at + 1;
            TL_IGNORE(work_begin(db, &db->merger->runs, v, m, &step, st));
            done_count = 0;
            break;
        }
        if (step.kind == TL_POLICY_DONE) {
            m->state.clock = step.clock;
            m->state.compacted_seal = step.request;
            done[done_count++] = &m->state;
        }
    }
    if (done_count > 0) {
        TL_IGNORE(finish_requests(db, done, done_count, st));
        *did = true;
    }
    free(done);
    return st->code;
}

/* ---- doing it ---- */

static struct tl_budget *memory_of(struct tally *db, const struct work *w)
{
    return w->runs ? &db->merge_memory : &db->level0_memory;
}

static const _Atomic bool *stop_of(const struct tally *db, const struct work *w)
{
    return w->runs ? &db->merge_stop : &db->closing;
}

static enum tl_code merge_part(struct tally *db, struct work *w, struct tl_live_pack **out,
                               struct tl_status *st)
{
    const struct tl_merge_part *part = &w->plan.parts[w->next_part];
    struct tl_pack_id id = {.kind = TL_PACK_MERGE,
                            .table = w->table_id,
                            .shard = w->shard,
                            .number = tl_merge_pack_number(w->sequence, w->runs, w->next_part)};
    struct tl_pack_info info = {.segment_count = 0};
    struct tl_merge_input *inputs = calloc((size_t)w->input_count + 1, sizeof(*inputs));
    uint32_t count = 0;
    if (!inputs)
        return TL_FAIL(st, TL_LIMIT, "no memory for the inputs of a merge");
    const struct tl_segment_meta *first = &w->plan.partitions[part->first_partition];
    const struct tl_segment_meta *last = first + part->partition_count - 1;
    for (uint32_t i = 0; i < w->input_count; i++) {
        const struct tl_live_segment *s = w->inputs[i];
        struct tl_merge_input *in = &inputs[count];
        if (s->info.max_ts < first->start_us || s->info.min_ts >= last->end_us)
            continue;
        if (tl_pack_segment(s->pack->pack, s->index, &in->segment, st) ||
            tl_merge_part_rows(part, in->segment, &in->lo, &in->hi, st))
            goto done;
        count += in->lo < in->hi;
    }
    struct tl_merge_options options = {.pack =
                                           w->passing ? TL_PACK_OPTIONS_RUN : TL_PACK_OPTIONS_COLD,
                                       .budget = memory_of(db, w),
                                       .cancel = stop_of(db, w),
                                       .progress_values = &db->merge_values,
                                       .leave_others = true};
    options.pack.omit_empty = true;
    if (tl_merge(db->io, &id, inputs, count, first, part->partition_count, &options, &info, st))
        goto done;
    if (info.segment_count > 0 && (tl_io_sync_dir(db->io, TL_PACK_DIR, st) ||
                                   tl_live_pack_open(db->io, db->cache, &id, info.hash, out, st)))
        goto done;
    atomic_fetch_add_explicit(&db->counters.merge_bytes, info.size, memory_order_relaxed);
done:
    tl_pack_info_deinit(&info);
    free(inputs);
    return st->code;
}

/* A part is finished, and others are to come. */
static enum tl_code keep_part(struct tally *db, struct work *w, struct tl_live_pack *pack,
                              struct tl_status *st)
{
    struct tl_buffer edits;
    tl_buffer_init(&edits, "manifest transaction of a part", TL_MANIFEST_EDIT_BYTES_MAX);
    tl_edit_part(&edits, pack, w->part_rows);
    pthread_mutex_lock(&db->manifest_lock);
    pthread_mutex_lock(&db->version_lock);
    TL_IGNORE(tl_merge_part_keep(db, pack, w->part_rows, st));
    pthread_mutex_unlock(&db->version_lock);
    if (st->code == TL_OK && !tl_manifest_commit(db, &edits, st))
        TL_IGNORE(tl_manifest_roll(db, st));
    pthread_mutex_unlock(&db->manifest_lock);
    tl_buffer_deinit(&edits);
    return st->code;
}

/* The pack of a part: `last` for the last one. NULL: it had no rows. */
static struct tl_live_pack *part_pack(struct tally *db, const struct work *w, uint32_t part,
                                      struct tl_live_pack *last)
{
    if (part + 1 == w->plan.part_count)
        return last;
    struct tl_live_pack *pack = NULL;
    uint64_t number = tl_merge_pack_number(w->sequence, w->runs, part);
    pthread_mutex_lock(&db->version_lock);
    for (uint32_t i = 0; i < db->done_part_count && !pack; i++) {
        const struct tl_pack_id *id = &db->done_parts[i].pack->id;
        if (id->table == w->table_id && id->shard == w->shard && id->number == number)
            pack = db->done_parts[i].pack;
    }
    pthread_mutex_unlock(&db->version_lock);
    return pack; /* kept until this merge is installed */
}

static enum tl_code part_rollups(struct tally *db, struct work *w, uint32_t part,
                                 struct tl_live_pack *pack, struct tl_status *st)
{
    if (!pack || w->has_rollups[part])
        return TL_OK;
    if (tl_rollups_make(db, tl_db_schema(db), pack, 0, stop_of(db, w), &w->rollups[part], st)) {
        tl_rollups_free(&w->rollups[part]);
        return st->code;
    }
    w->has_rollups[part] = true;
    return TL_OK;
}

/* The segments of the finished parts and of the last one, with a reference each. */
static enum tl_code new_segments(struct tally *db, const struct work *w, struct tl_live_pack *last,
                                 struct tl_live_segment ***out, uint32_t *out_count,
                                 struct tl_status *st)
{
    uint32_t capacity = 0;
    for (uint32_t i = 0; i < w->plan.part_count; i++)
        capacity += w->plan.parts[i].partition_count;
    struct tl_live_segment **added = calloc((size_t)capacity + 1, sizeof(struct tl_live_segment *));
    uint32_t count = 0;
    const struct tl_schema *schema = tl_db_schema(db);
    if (!added)
        return TL_FAIL(st, TL_LIMIT, "no memory to install a merge");
    for (uint32_t p = 0; p < w->plan.part_count && st->code == TL_OK; p++) {
        struct tl_live_pack *pack = part_pack(db, w, p, last);
        uint32_t segments = pack ? tl_pack_segment_count(pack->pack) : 0;
        for (uint32_t i = 0; i < segments; i++) {
            tl_assert(count < capacity);
            if (tl_live_segment_new(pack, i, &added[count], st))
                break;
            if (tl_rollups_attach(&w->rollups[p], schema, added[count++], st))
                break;
        }
    }
    *out = added;
    *out_count = count;
    return st->code;
}

/* The transaction and the version: all parts take the place of the inputs. */
static enum tl_code install(struct tally *db, struct work *w, struct tl_live_pack *last,
                            struct tl_status *st)
{
    struct tl_version *next = NULL;
    struct tl_live_segment **added = NULL;
    uint32_t added_count = 0;
    struct tl_buffer edits;
    tl_buffer_init(&edits, "manifest transaction of a merge", TL_MANIFEST_EDIT_BYTES_MAX);
    pthread_mutex_lock(&db->manifest_lock);
    if (new_segments(db, w, last, &added, &added_count, st))
        goto done;
    /* The other merge under way may have changed what this one does not touch. */
    pthread_mutex_lock(&db->version_lock);
    struct tl_merge_state *m = tl_merge_state_get(db, w->table_id, w->shard);
    struct tl_merge_state after = w->after;
    tl_assert(m != NULL); /* a machine began this merge */
    if (w->runs) {
        after.level0_seal = m->level0_seal;
    } else {
        after = *m;
        after.level0_seal = w->after.level0_seal;
    }
    after.compacted_seal = m->compacted_seal;
    pthread_mutex_unlock(&db->version_lock);
    tl_edit_merge(&edits, &after);
    for (uint32_t i = 0; i < w->input_count; i++)
        tl_edit_remove(&edits, w->inputs[i]);
    for (uint32_t i = 0; i < added_count; i++)
        tl_edit_add(&edits, added[i]);
    if (tl_manifest_commit(db, &edits, st))
        goto done;
    pthread_mutex_lock(&db->version_lock);
    struct tl_table_version *t;
    if (!tl_version_clone(tl_current_peek(&db->current), &next, st) &&
        !tl_version_table(next, w->table_id, &t, st) &&
        !tl_table_version_replace(t, w->shard, w->inputs, w->input_count, added, added_count, st)) {
        for (uint32_t i = 0; i < added_count; i++)
            added[i]->pack->live++;
        for (uint32_t i = 0; i < w->input_count; i++)
            tl_live_segment_dropped(w->inputs[i]);
        m = tl_merge_state_get(db, w->table_id, w->shard);
        tl_assert(m != NULL);
        *m = after;
        tl_merge_parts_settle(db, m);
        tl_current_publish(&db->current, next);
        next = NULL;
        tl_db_changed_locked(db);
    }
    pthread_mutex_unlock(&db->version_lock);
    if (st->code == TL_OK)
        TL_IGNORE(tl_manifest_roll(db, st));
done:
    pthread_mutex_unlock(&db->manifest_lock);
    tl_merge_parts_free(db);
    tl_version_unref(next);
    for (uint32_t i = 0; i < added_count; i++)
        tl_live_segment_unref(added[i]);
    free(added);
    tl_buffer_deinit(&edits);
    return st->code;
}

static void count_merge(struct tally *db, const struct work *w)
{
    uint64_t us = (tl_clock_mono_ns(db->clock) - w->begun_ns) / 1000;
    tl__histogram_add(&db->counters.merge, us);
    atomic_fetch_add_explicit(&db->counters.merges, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&db->counters.merged_rows, w->input_rows, memory_order_relaxed);
    atomic_fetch_add_explicit(&db->counters.merge_us, us, memory_order_relaxed);
}

/* The part did not fit into the merge's memory: smaller ones, from the beginning. */
static enum tl_code cut_smaller(struct tally *db, struct work *w, struct tl_status *st)
{
    struct tl_segment_meta *partitions = w->plan.partitions;
    uint32_t count = w->plan.partition_count;
    uint32_t capacity = w->plan.partition_capacity;
    work_forget_rollups(w);
    w->plan.partitions = NULL;
    tl_merge_plan_deinit(&w->plan);
    w->plan.partitions = partitions;
    w->plan.partition_count = count;
    w->plan.partition_capacity = capacity;
    w->part_rows /= 4;
    struct tl_merge_state gone = {.table_id = w->table_id,
                                  .shard = w->shard,
                                  .next_number = w->runs ? w->sequence + 1 : 0,
                                  .level0_seal = w->runs ? 0 : w->sequence};
    pthread_mutex_lock(&db->manifest_lock);
    pthread_mutex_lock(&db->version_lock);
    tl_merge_parts_settle(db, &gone);
    pthread_mutex_unlock(&db->version_lock);
    pthread_mutex_unlock(&db->manifest_lock);
    tl_merge_parts_free(db);
    tl_db_log(db, TL_LEVEL_WARN, "merge_smaller_parts", "parts of %llu rows: %s",
              (unsigned long long)w->part_rows, st->text);
    tl_status_clear(st);
    if (work_cut(db, w, st))
        work_over(db, w);
    else
        work_tell(db, w);
    return st->code;
}

static enum tl_code work_go_on(struct tally *db, struct work *w, struct tl_status *st)
{
    struct tl_live_pack *pack = NULL;
    if (merge_part(db, w, &pack, st)) {
        if (st->code == TL_LIMIT && strstr(st->text, memory_of(db, w)->name) &&
            w->part_rows / 4 >= TL_PART_ROWS_MIN)
            return cut_smaller(db, w, st);
        return st->code;
    }
    bool last = w->next_part + 1 == w->plan.part_count;
    for (uint32_t i = last ? 0 : w->next_part; i <= w->next_part && st->code == TL_OK; i++)
        TL_IGNORE(part_rollups(db, w, i, i == w->next_part ? pack : part_pack(db, w, i, NULL), st));
    if (st->code) {
        /* The part is made again. */
        if (pack)
            atomic_store_explicit(&pack->obsolete, true, memory_order_relaxed);
    } else if (!last) {
        if (!pack || !keep_part(db, w, pack, st)) {
            w->next_part++;
            work_tell(db, w);
        }
    } else if (!install(db, w, pack, st)) {
        count_merge(db, w);
        work_over(db, w);
    }
    tl_live_pack_unref(pack);
    return st->code;
}

/* ---- the threads ---- */

static enum tl_code step_level0(struct tally *db, bool *did, struct tl_status *st)
{
    struct tl_merger *g = db->merger;
    *did = false;
    if (!g->level0.active) {
        struct tl_merge_view v;
        pthread_mutex_lock(&g->lock);
        while (g->rollups)
            pthread_cond_wait(&g->rollups_ended, &g->lock);
        if (!tl_merge_view_take(db, &v, st)) {
            TL_IGNORE(begin_level0(db, &v, st));
            tl_merge_view_free(&v);
        }
        g->level0_busy = g->level0.active;
        pthread_mutex_unlock(&g->lock);
    }
    if (st->code == TL_OK && g->level0.active) {
        *did = true;
        TL_IGNORE(work_go_on(db, &g->level0, st));
        if (!g->level0.active) {
            pthread_mutex_lock(&g->lock);
            g->level0_busy = false;
            pthread_mutex_unlock(&g->lock);
        }
    }
    return st->code;
}

static enum tl_code step_rollups(struct tally *db, bool *did, struct tl_status *st)
{
    struct tl_merger *g = db->merger;
    /* It replaces live segments by like ones, hence not while a merge knows them. */
    pthread_mutex_lock(&g->lock);
    bool may = !g->level0_busy;
    g->rollups = may;
    pthread_mutex_unlock(&g->lock);
    if (!may)
        return TL_OK;
    TL_IGNORE(tl_rollup_step(db, did, st));
    pthread_mutex_lock(&g->lock);
    g->rollups = false;
    pthread_cond_signal(&g->rollups_ended);
    pthread_mutex_unlock(&g->lock);
    return st->code;
}

static enum tl_code step_runs(struct tally *db, bool *did, struct tl_status *st)
{
    struct tl_merger *g = db->merger;
    *did = false;
    if (tl_event_ids_wants_rebuild(db->state.ids)) {
        struct tl_version *version = tl_current_acquire(&db->current);
        TL_IGNORE(tl_event_ids_rebuild(db->state.ids, version, &db->closing, st));
        tl_version_unref(version);
        if (st->code)
            return st->code;
    }
    put_off_active(db, &g->runs);
    if (!g->runs.active) {
        struct tl_merge_view v;
        pthread_mutex_lock(&g->lock);
        if (!tl_merge_view_take(db, &v, st)) {
            TL_IGNORE(begin_runs(db, &v, did, st));
            tl_merge_view_free(&v);
        }
        pthread_mutex_unlock(&g->lock);
    }
    if (st->code == TL_OK && g->runs.active) {
        *did = true;
        return work_go_on(db, &g->runs, st);
    }
    return st->code || *did ? st->code : step_rollups(db, did, st);
}

enum tl_code tl_merge_step(struct tally *db, bool level0_only, bool *did, struct tl_status *st)
{
    /* relaxed: there is one thread; requests that were put off are not begun again */
    atomic_store_explicit(&db->merge_stop, false, memory_order_relaxed);
    if (!step_level0(db, did, st) && !*did && !level0_only)
        TL_IGNORE(step_runs(db, did, st));
    if (st->code)
        tl_status_wrap(st, "merging segments");
    return st->code;
}

/* Waits for a change, at most a moment when `briefly`. */
static void wait_for_change(struct tally *db, uint64_t seen, bool briefly)
{
    pthread_mutex_lock(&db->version_lock);
    while (db->generation == seen) {
        if (!briefly)
            pthread_cond_wait(&db->version_changed, &db->version_lock);
        else if (!tl_thread_wait(&db->version_changed, &db->version_lock, 100))
            break;
    }
    pthread_mutex_unlock(&db->version_lock);
}

static void merger_loop(struct tally *db, bool runs,
                        enum tl_code (*step)(struct tally *, bool *, struct tl_status *))
{
    for (;;) {
        struct tl_status st = TL_STATUS_INIT;
        bool did = false;
        pthread_mutex_lock(&db->version_lock);
        uint64_t seen = db->generation; /* what changes from here on is looked at again */
        bool stop = atomic_load_explicit(&db->closing, memory_order_relaxed) ||
                    atomic_load_explicit(&db->poisoned, memory_order_relaxed);
        if (!stop && runs) /* relaxed: what asked for it is under the lock */
            atomic_store_explicit(&db->merge_stop, false, memory_order_relaxed);
        pthread_mutex_unlock(&db->version_lock);
        if (stop)
            return;
        if (step(db, &did, &st))
            tl_status_wrap(&st, "merging segments");
        switch (st.code) {
        case TL_OK:
        case TL_CANCELLED:
            if (st.code == TL_OK && !did)
                wait_for_change(db, seen, false);
            break;
        case TL_FULL:
            /* Nothing is lost: the inputs are still live. Try again when something has changed. */
            tl_db_log(db, TL_LEVEL_WARN, "merge_disk_full", "%s", st.text);
            wait_for_change(db, seen, false);
            break;
        case TL_LIMIT:
            tl_db_log(db, TL_LEVEL_WARN, "merge_memory_full", "%s", st.text);
            wait_for_change(db, seen, true);
            break;
        default:
            tl_db_poison(db, &st);
            return;
        }
    }
}

void tl_merger_main(void *arg)
{
    merger_loop(arg, true, step_runs);
}

void tl_level0_merger_main(void *arg)
{
    merger_loop(arg, false, step_level0);
}
