#include "engine/rollup_store.h"

#include <stdlib.h>

#include "base/assert.h"
#include "engine/db_int.h"

const struct tl_rollup_ref *tl_rollup_find(const struct tl_live_segment *s, uint32_t view)
{
    for (uint32_t i = 0; i < s->rollup_count; i++)
        if (s->rollups[i].view == view)
            return &s->rollups[i];
    return NULL;
}

/* Takes a reference to `rollup`, which may be NULL. The segment is not published. */
static enum tl_code add_ref(struct tl_live_segment *s, uint32_t view,
                            struct tl_live_segment *rollup, struct tl_status *st)
{
    struct tl_rollup_ref *list = realloc(s->rollups, ((size_t)s->rollup_count + 1) * sizeof(*list));
    if (!list)
        return TL_FAIL(st, TL_LIMIT, "no memory for a segment's rollups");
    s->rollups = list;
    list[s->rollup_count++] = (struct tl_rollup_ref){view, rollup};
    if (rollup)
        atomic_fetch_add_explicit(&rollup->refs, 1, memory_order_relaxed);
    return TL_OK;
}

enum tl_code tl_rollup_ref_add(struct tl_live_segment *s, uint32_t view, struct tl_live_pack *pack,
                               uint32_t index, struct tl_status *st)
{
    struct tl_live_segment *rollup = NULL;
    if (pack && tl_live_segment_new(pack, index, &rollup, st))
        return st->code;
    if (!add_ref(s, view, rollup, st) && pack)
        pack->live++;
    tl_live_segment_unref(rollup);
    return st->code;
}

enum tl_code tl_rollups_attach(const struct tl_rollups_made *made, const struct tl_schema *schema,
                               struct tl_live_segment *s, struct tl_status *st)
{
    for (uint32_t i = 0; i < made->count; i++) {
        const struct tl_rollup_made *m = &made->list[i];
        if (m->table != s->info.meta.table || !tl_view_by_id(schema, m->view))
            continue;
        tl_assert(s->index < m->segment_count && !tl_rollup_find(s, m->view));
        bool kept = m->index[s->index] != UINT32_MAX;
        if (tl_rollup_ref_add(s, m->view, kept ? m->pack : NULL, m->index[s->index], st))
            return st->code;
    }
    return TL_OK;
}

void tl_rollups_free(struct tl_rollups_made *made)
{
    for (uint32_t i = 0; i < made->count; i++) {
        struct tl_live_pack *p = made->list[i].pack;
        if (p && p->live == 0)
            atomic_store_explicit(&p->obsolete, true, memory_order_relaxed);
        tl_live_pack_unref(p);
        free(made->list[i].index);
    }
    free(made->list);
    *made = (struct tl_rollups_made){.list = NULL};
}

static void pack_dropped(struct tl_live_pack *p)
{
    tl_assert(p->live > 0);
    if (--p->live == 0)
        atomic_store_explicit(&p->obsolete, true, memory_order_relaxed);
}

void tl_live_segment_dropped(struct tl_live_segment *s)
{
    for (uint32_t i = 0; i < s->rollup_count; i++)
        if (s->rollups[i].segment)
            pack_dropped(s->rollups[i].segment->pack);
    pack_dropped(s->pack);
}

/* ---- views that were created or dropped later ---- */

/* The same segment with the same rollups, but for one view's. */
static enum tl_code copy_segment(const struct tl_live_segment *s, uint32_t without,
                                 struct tl_live_segment **out, struct tl_status *st)
{
    struct tl_live_segment *copy = NULL;
    if (tl_live_segment_new(s->pack, s->index, &copy, st))
        return st->code;
    for (uint32_t i = 0; i < s->rollup_count; i++)
        if (s->rollups[i].view != without &&
            add_ref(copy, s->rollups[i].view, s->rollups[i].segment, st)) {
            tl_live_segment_unref(copy);
            return st->code;
        }
    *out = copy;
    return TL_OK;
}

/* What changes of a segment; false: nothing. Adds the edit. */
struct change {
    uint32_t forget;                 /* a view, or 0 */
    const struct tl_live_pack *base; /* else: the pack that `made` belongs to */
    const struct tl_rollups_made *made;
};

static bool wants_change(const struct change *c, const struct tl_live_segment *s)
{
    if (c->forget)
        return tl_rollup_find(s, c->forget) != NULL;
    return s->pack == c->base && s->info.meta.table == c->made->list[0].table;
}

/* Replaces the segments of one shard that change. */
static enum tl_code change_shard(struct tl_table_version *t, uint32_t shard, const struct change *c,
                                 const struct tl_schema *schema, struct tl_buffer *edits,
                                 struct tl_status *st)
{
    const struct tl_segment_list *l = t->shards[shard];
    uint32_t count = l ? l->count : 0;
    uint32_t n = 0;
    struct tl_live_segment **lists = calloc(2 * (size_t)count + 1, sizeof(*lists));
    if (!lists)
        return TL_FAIL(st, TL_LIMIT, "no memory for a list of segments");
    struct tl_live_segment **removed = lists;
    struct tl_live_segment **added = lists + count;
    for (uint32_t i = 0; i < count && st->code == TL_OK; i++) {
        if (!wants_change(c, l->segments[i]) ||
            copy_segment(l->segments[i], c->forget, &added[n], st))
            continue;
        removed[n] = l->segments[i];
        if (!c->forget && !tl_rollups_attach(c->made, schema, added[n], st))
            tl_edit_rollup(edits, added[n], c->made->list[0].view);
        n++;
    }
    if (st->code == TL_OK && n > 0)
        TL_IGNORE(tl_table_version_replace(t, shard, removed, n, added, n, st));
    for (uint32_t i = 0; i < n; i++)
        tl_live_segment_unref(added[i]);
    free(lists);
    return st->code;
}

/* Puts the lists of segments that `from` has into a version cloned later. */
static void move_lists(struct tl_version *from, struct tl_version *to)
{
    for (uint32_t t = 0; t < from->table_count; t++)
        for (uint32_t k = 0; k < to->table_count; k++) {
            if (to->tables[k].table_id != from->tables[t].table_id)
                continue;
            struct tl_segment_list **swap = to->tables[k].shards;
            to->tables[k].shards = from->tables[t].shards;
            from->tables[t].shards = swap;
        }
}

/* One transaction and one version. Under manifest_lock: no other thread changes a list of segments,
 * but the log thread may publish memtables meanwhile. */
static enum tl_code change_locked(struct tally *db, const struct change *c, struct tl_status *st)
{
    struct tl_version *lists = NULL;
    struct tl_version *next = NULL;
    struct tl_version *old = tl_current_acquire(&db->current);
    struct tl_buffer edits;
    tl_buffer_init(&edits, "manifest transaction of a rollup", TL_MANIFEST_EDIT_BYTES_MAX);
    if (tl_version_clone(old, &lists, st))
        goto done;
    if (c->forget)
        tl_edit_forget_view(&edits, c->forget);
    for (uint32_t t = 0; t < lists->table_count && st->code == TL_OK; t++)
        for (uint32_t s = 0; s < lists->shard_count && st->code == TL_OK; s++)
            TL_IGNORE(change_shard(&lists->tables[t], s, c, lists->schema, &edits, st));
    if (st->code || (edits.size > 0 && tl_manifest_commit(db, &edits, st)))
        goto done;
    for (uint32_t t = 0; c->forget && t < old->table_count; t++)
        for (uint32_t s = 0; s < old->shard_count; s++) {
            const struct tl_segment_list *l = old->tables[t].shards[s];
            for (uint32_t i = 0; l && i < l->count; i++) {
                const struct tl_rollup_ref *r = tl_rollup_find(l->segments[i], c->forget);
                if (r && r->segment)
                    pack_dropped(r->segment->pack);
            }
        }
    pthread_mutex_lock(&db->version_lock);
    if (!tl_version_clone(tl_current_peek(&db->current), &next, st)) {
        move_lists(lists, next);
        tl_current_publish(&db->current, next);
        tl_db_changed_locked(db);
    }
    pthread_mutex_unlock(&db->version_lock);
    if (st->code == TL_OK)
        TL_IGNORE(tl_manifest_roll(db, st));
done:
    tl_version_unref(lists);
    tl_version_unref(old);
    tl_buffer_deinit(&edits);
    return st->code;
}

struct todo {
    uint32_t forget;
    uint32_t view;
    struct tl_live_pack *base; /* referenced */
    const struct tl_schema *schema;
};

/* What this segment leaves to do. */
static bool look_at(const struct tl_live_segment *s, const struct tl_schema *schema,
                    struct todo *out)
{
    for (uint32_t i = 0; i < s->rollup_count; i++)
        if (!tl_view_by_id(schema, s->rollups[i].view)) {
            out->forget = s->rollups[i].view;
            return true;
        }
    for (uint32_t i = 0; i < schema->view_count; i++) {
        const struct tl_view *v = schema->views[i];
        if (v->def.table_id != s->info.meta.table || tl_rollup_find(s, v->info.id))
            continue;
        out->view = v->info.id;
        out->base = s->pack;
        return true;
    }
    return false;
}

static bool find_todo(struct tally *db, struct todo *out)
{
    bool found = false;
    pthread_mutex_lock(&db->version_lock);
    const struct tl_version *v = tl_current_peek(&db->current);
    out->schema = v->schema;
    for (uint32_t t = 0; t < v->table_count && !found; t++)
        for (uint32_t s = 0; s < v->shard_count && !found; s++) {
            const struct tl_segment_list *l = v->tables[t].shards[s];
            for (uint32_t i = 0; l && i < l->count && !found; i++)
                found = look_at(l->segments[i], v->schema, out);
        }
    if (out->base)
        atomic_fetch_add_explicit(&out->base->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&db->version_lock);
    return found;
}

enum tl_code tl_rollup_step(struct tally *db, bool *did, struct tl_status *st)
{
    struct todo todo = {.forget = 0};
    struct tl_rollups_made made = {.list = NULL};
    *did = find_todo(db, &todo);
    if (!*did)
        return TL_OK;
    struct change change = {.forget = todo.forget, .base = todo.base, .made = &made};
    if (todo.forget ||
        !tl_rollups_make(db, todo.schema, todo.base, todo.view, &db->closing, &made, st)) {
        pthread_mutex_lock(&db->manifest_lock);
        TL_IGNORE(change_locked(db, &change, st));
        pthread_mutex_unlock(&db->manifest_lock);
    }
    tl_rollups_free(&made);
    tl_live_pack_unref(todo.base);
    if (st->code)
        tl_status_wrap(st, todo.forget ? "dropping a view's rollups" : "making rollups");
    return st->code;
}
