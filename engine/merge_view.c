/*
 * engine/merge_view.c: lists of segments become lists of runs.
 */
#include "engine/merge_view.h"

#include <stdlib.h>

void tl_merge_view_free(struct tl_merge_view *v)
{
    for (uint32_t i = 0; i < v->count; i++) {
        free(v->machines[i].runs);
        free(v->machines[i].first);
        free(v->machines[i].requests);
    }
    free(v->machines);
    tl_version_unref(v->version);
}

static bool same_run(const struct tl_segment_meta *a, const struct tl_segment_meta *b)
{
    return b->level > 0 && a->start_us == b->start_us && a->end_us == b->end_us &&
           a->provenance[0] == b->provenance[0] && a->provenance[1] == b->provenance[1];
}

static enum tl_code machine_runs(struct tl_merge_machine *m, struct tl_status *st)
{
    uint32_t count = m->list ? m->list->count : 0;
    m->runs = calloc((size_t)count + 1, sizeof(*m->runs));
    m->first = calloc((size_t)count + 1, sizeof(*m->first));
    if (!m->runs || !m->first)
        return TL_FAIL(st, TL_LIMIT, "no memory to look at %u segments", count);
    for (uint32_t i = 0; i < count; i++) {
        const struct tl_segment_info *s = &m->list->segments[i]->info;
        struct tl_policy_run *r = &m->runs[m->run_count];
        if (i > 0 && same_run(&m->list->segments[i - 1]->info.meta, &s->meta)) {
            r--;
            r->rows += s->rows;
            r->min_ts = s->min_ts < r->min_ts ? s->min_ts : r->min_ts;
            r->max_ts = s->max_ts > r->max_ts ? s->max_ts : r->max_ts;
            continue;
        }
        *r = (struct tl_policy_run){.level = s->meta.level,
                                    .rows = s->rows,
                                    .start_us = s->meta.start_us,
                                    .end_us = s->meta.end_us,
                                    .min_ts = s->min_ts,
                                    .max_ts = s->max_ts,
                                    .first_seal = s->meta.provenance[0],
                                    .last_seal = s->meta.provenance[1],
                                    .log_time_us = (int64_t)s->meta.provenance[2],
                                    .partition_rows = s->meta.provenance[3] ? s->meta.provenance[3]
                                                                            : TL_PARTITION_ROWS};
        m->first[m->run_count++] = i;
    }
    m->first[m->run_count] = count;
    return TL_OK;
}

static enum tl_code machine_requests_locked(struct tally *db, struct tl_merge_machine *m,
                                            uint32_t table_id, struct tl_status *st)
{
    m->requests = calloc((size_t)db->request_count + 1, sizeof(*m->requests));
    if (!m->requests)
        return TL_FAIL(st, TL_LIMIT, "no memory to look at requests");
    for (uint32_t i = 0; i < db->request_count; i++) {
        const struct tl_compact_request *r = &db->requests[i];
        struct tl_policy_request *p = &m->requests[m->request_count++];
        *p = (struct tl_policy_request){r->seal, r->log_time_us, TL_PARTITION_ROWS};
        for (uint32_t k = 0; k < r->table_count; k++)
            if (r->tables[k].table_id == table_id)
                p->partition_rows = r->tables[k].partition_rows;
    }
    return TL_OK;
}

enum tl_code tl_merge_view_take(struct tally *db, struct tl_merge_view *v, struct tl_status *st)
{
    *v = (struct tl_merge_view){.version = NULL};
    pthread_mutex_lock(&db->version_lock);
    v->version = tl_current_acquire(&db->current);
    v->flushed_seal = db->flushed_seal;
    const struct tl_version *version = v->version;
    v->machines =
        calloc((size_t)version->table_count * version->shard_count + 1, sizeof(*v->machines));
    if (!v->machines)
        TL_FAIL(st, TL_LIMIT, "no memory to look for merges");
    for (uint32_t t = 0; t < version->table_count; t++)
        for (uint32_t s = 0; s < version->shard_count && st->code == TL_OK; s++) {
            if (!version->tables[t].shards[s])
                continue;
            const struct tl_merge_state *state =
                tl_merge_state_get(db, version->tables[t].table_id, s);
            if (!state) {
                TL_FAIL(st, TL_LIMIT, "no memory for the state of merges");
                break;
            }
            struct tl_merge_machine *m = &v->machines[v->count++];
            m->list = version->tables[t].shards[s];
            m->state = *state;
            TL_IGNORE(machine_requests_locked(db, m, version->tables[t].table_id, st));
        }
    pthread_mutex_unlock(&db->version_lock);
    for (uint32_t i = 0; i < v->count && st->code == TL_OK; i++)
        TL_IGNORE(machine_runs(&v->machines[i], st));
    if (st->code)
        tl_merge_view_free(v);
    return st->code;
}

struct tl_policy_state tl_merge_policy_of(const struct tl_merge_view *v,
                                          const struct tl_merge_machine *m)
{
    return (struct tl_policy_state){.runs = m->runs,
                                    .count = m->run_count,
                                    .level0_count = m->list->level0_count,
                                    .shard = m->state.shard,
                                    .flushed_seal = v->flushed_seal,
                                    .clock = m->state.clock,
                                    .done_request = m->state.compacted_seal,
                                    .requesting = m->state.requesting,
                                    .requests = m->requests,
                                    .request_count = m->request_count};
}
