#include "engine/version.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "engine/reaper.h"
#include "storage/io.h"

/* While a version is current its count stands this much too high, so that holders who give their
 * references back cannot bring it to zero; publishing the next one settles the difference. */
#define CURRENT_BIAS ((int64_t)1 << 40)

enum { POINTER_BITS = 48, COUNT_HIGH = 1 << 14 };
#define POINTER_MASK (((uint64_t)1 << POINTER_BITS) - 1)
#define ONE_REF      ((uint64_t)1 << POINTER_BITS)

uint32_t tl_shard_of(int64_t merchant, uint32_t shard_count)
{
    uint8_t key[8];
    tl_put_u64le(key, (uint64_t)merchant);
    uint32_t bits = (uint32_t)__builtin_ctz(shard_count);
    return bits == 0 ? 0 : (uint32_t)(tl_hash64(key, sizeof(key)) >> (64 - bits));
}

/* ---- live packs and segments ---- */

enum tl_code tl_live_pack_open(struct tl_io *io, struct tl_cache *cache,
                               const struct tl_pack_id *id, const uint8_t hash[16],
                               struct tl_live_pack **out, struct tl_status *st)
{
    struct tl_live_pack *p = calloc(1, sizeof(*p));
    if (!p)
        return TL_FAIL(st, TL_LIMIT, "no memory to open a pack");
    atomic_init(&p->refs, 1);
    p->id = *id;
    p->io = io;
    memcpy(p->hash, hash, sizeof(p->hash));
    if (tl_pack_open(io, id, cache, &p->pack, st)) {
        free(p);
        return st->code;
    }
    p->size = tl_pack_size(p->pack);
    *out = p;
    return TL_OK;
}

void tl_live_pack_unref(struct tl_live_pack *p)
{
    if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    tl_pack_unref(p->pack);
    if (atomic_load_explicit(&p->obsolete, memory_order_relaxed)) {
        char name[TL_PACK_NAME_MAX];
        struct tl_status st = TL_STATUS_INIT;
        /* A file that stays is found and removed at the next open. */
        if (tl_io_remove(p->io, tl_pack_name(&p->id, name), &st))
            tl_status_clear(&st);
    }
    free(p);
}

enum tl_code tl_live_segment_new(struct tl_live_pack *pack, uint32_t index,
                                 struct tl_live_segment **out, struct tl_status *st)
{
    struct tl_live_segment *s = calloc(1, sizeof(*s));
    if (!s)
        return TL_FAIL(st, TL_LIMIT, "no memory for a segment");
    atomic_init(&s->refs, 1);
    atomic_fetch_add_explicit(&pack->refs, 1, memory_order_relaxed);
    s->pack = pack;
    s->index = index;
    s->info = *tl_pack_segment_info(pack->pack, index);
    s->identity = tl_hash_u64(tl_pack_key(&pack->id) + index) | 1;
    *out = s;
    return TL_OK;
}

void tl_live_segment_unref(struct tl_live_segment *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < s->rollup_count; i++) {
        struct tl_live_segment *r = s->rollups[i].segment; /* has no rollups of its own */
        if (r && atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) == 1) {
            tl_live_pack_unref(r->pack);
            free(r);
        }
    }
    free(s->rollups);
    tl_live_pack_unref(s->pack);
    free(s);
}

static void list_unref(struct tl_segment_list *l)
{
    if (!l || atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < l->count; i++)
        tl_live_segment_unref(l->segments[i]);
    free(l);
}

/* ---- versions ---- */

enum tl_code tl_version_new(uint32_t shard_count, const struct tl_schema *schema,
                            struct tl_version **out, struct tl_status *st)
{
    struct tl_version *v = aligned_alloc(64, (sizeof(*v) + 63) / 64 * 64);
    if (!v)
        return TL_FAIL(st, TL_LIMIT, "no memory for a version");
    memset(v, 0, sizeof(*v));
    atomic_init(&v->refs, 1);
    v->shard_count = shard_count;
    v->schema = schema;
    *out = v;
    return TL_OK;
}

static void version_free(struct tl_version *v)
{
    for (uint32_t i = 0; i < v->table_count; i++) {
        struct tl_table_version *t = &v->tables[i];
        for (uint32_t k = 0; k < t->memtable_count; k++)
            tl_memtable_unref(t->memtables[k]);
        for (uint32_t k = 0; t->shards && k < v->shard_count; k++)
            list_unref(t->shards[k]);
        free(t->shards);
    }
    free(v->tables);
    free(v);
}

static void version_over(struct tl_version *v)
{
    if (v->reaper)
        tl_reaper_put(v->reaper, v, version_free);
    else
        version_free(v);
}

void tl_version_unref(struct tl_version *v)
{
    if (v && atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) == 1)
        version_over(v);
}

enum tl_code tl_version_clone(const struct tl_version *v, struct tl_version **out,
                              struct tl_status *st)
{
    struct tl_version *c;
    if (tl_version_new(v->shard_count, v->schema, &c, st))
        return st->code;
    c->base_position = v->base_position;
    c->reaper = v->reaper;
    c->tables = calloc((size_t)v->table_count + 1, sizeof(*c->tables));
    if (!c->tables)
        goto fail;
    for (uint32_t i = 0; i < v->table_count; i++) {
        const struct tl_table_version *from = &v->tables[i];
        struct tl_table_version *to = &c->tables[i];
        *to = (struct tl_table_version){.table_id = from->table_id};
        to->shards = calloc(v->shard_count, sizeof(struct tl_segment_list *));
        if (!to->shards)
            goto fail;
        c->table_count = i + 1;
        for (uint32_t k = 0; k < v->shard_count; k++) {
            to->shards[k] = from->shards[k];
            if (to->shards[k])
                atomic_fetch_add_explicit(&to->shards[k]->refs, 1, memory_order_relaxed);
        }
        for (uint32_t k = 0; k < from->memtable_count; k++)
            tl_table_version_add(to, from->memtables[k]);
    }
    *out = c;
    return TL_OK;
fail:
    version_free(c);
    return TL_FAIL(st, TL_LIMIT, "no memory for a version");
}

const struct tl_table_version *tl_version_find(const struct tl_version *v, uint32_t table_id)
{
    for (uint32_t i = 0; i < v->table_count; i++)
        if (v->tables[i].table_id == table_id)
            return &v->tables[i];
    return NULL;
}

enum tl_code tl_version_table(struct tl_version *v, uint32_t table_id,
                              struct tl_table_version **out, struct tl_status *st)
{
    uint32_t at = 0;
    while (at < v->table_count && v->tables[at].table_id < table_id)
        at++;
    if (at == v->table_count || v->tables[at].table_id != table_id) {
        struct tl_table_version *tables =
            realloc(v->tables, ((size_t)v->table_count + 1) * sizeof(*tables));
        if (!tables)
            return TL_FAIL(st, TL_LIMIT, "no memory for a version");
        v->tables = tables;
        struct tl_segment_list **shards = calloc(v->shard_count, sizeof(*shards));
        if (!shards)
            return TL_FAIL(st, TL_LIMIT, "no memory for a version");
        memmove(tables + at + 1, tables + at, (v->table_count - at) * sizeof(*tables));
        tables[at] = (struct tl_table_version){.table_id = table_id, .shards = shards};
        v->table_count++;
    }
    *out = &v->tables[at];
    return TL_OK;
}

void tl_table_version_add(struct tl_table_version *t, struct tl_memtable *m)
{
    tl_assert(t->memtable_count < TL_VERSION_MEMTABLES_MAX);
    t->memtables[t->memtable_count++] = tl_memtable_ref(m);
}

void tl_table_version_remove(struct tl_table_version *t, const struct tl_memtable *m)
{
    for (uint32_t i = 0; i < t->memtable_count; i++) {
        if (t->memtables[i] != m)
            continue;
        tl_memtable_unref(t->memtables[i]);
        memmove(&t->memtables[i], &t->memtables[i + 1],
                (t->memtable_count - i - 1) * sizeof(t->memtables[0]));
        t->memtable_count--;
        return;
    }
}

/* Level 0 by seal, then partitions by start and length; runs of a partition by their newest seal,
 * the segments of a run by their keys. */
static int segment_order(const void *a, const void *b)
{
    const struct tl_segment_info *x = &(*(struct tl_live_segment *const *)a)->info;
    const struct tl_segment_info *y = &(*(struct tl_live_segment *const *)b)->info;
    bool x0 = x->meta.level == 0;
    bool y0 = y->meta.level == 0;
    if (x0 != y0)
        return x0 ? -1 : 1;
    if (!x0 && x->meta.start_us != y->meta.start_us)
        return x->meta.start_us < y->meta.start_us ? -1 : 1;
    if (!x0 && x->meta.end_us != y->meta.end_us)
        return x->meta.end_us < y->meta.end_us ? -1 : 1;
    if (x->meta.provenance[1] != y->meta.provenance[1])
        return x->meta.provenance[1] < y->meta.provenance[1] ? -1 : 1;
    if (x->min_merchant != y->min_merchant)
        return x->min_merchant < y->min_merchant ? -1 : 1;
    if (x->max_merchant != y->max_merchant)
        return x->max_merchant < y->max_merchant ? -1 : 1;
    return x->min_ts < y->min_ts ? -1 : x->min_ts > y->min_ts;
}

enum tl_code tl_table_version_replace(struct tl_table_version *t, uint32_t shard,
                                      struct tl_live_segment *const *removed,
                                      uint32_t removed_count, struct tl_live_segment *const *added,
                                      uint32_t added_count, struct tl_status *st)
{
    struct tl_segment_list *old = t->shards[shard];
    uint32_t old_count = old ? old->count : 0;
    struct tl_segment_list *l =
        calloc(1, sizeof(*l) + ((size_t)old_count + added_count) * sizeof(l->segments[0]));
    if (!l)
        return TL_FAIL(st, TL_LIMIT, "no memory for a list of segments");
    atomic_init(&l->refs, 1);
    for (uint32_t i = 0; i < old_count; i++) {
        bool drop = false;
        for (uint32_t k = 0; k < removed_count && !drop; k++)
            drop = removed[k] == old->segments[i];
        if (!drop)
            l->segments[l->count++] = old->segments[i];
    }
    for (uint32_t i = 0; i < added_count; i++)
        l->segments[l->count++] = added[i];
    qsort(l->segments, l->count, sizeof(l->segments[0]), segment_order);
    for (uint32_t i = 0; i < l->count; i++) {
        atomic_fetch_add_explicit(&l->segments[i]->refs, 1, memory_order_relaxed);
        const struct tl_segment_meta *meta = &l->segments[i]->info.meta;
        uint64_t span = (uint64_t)meta->end_us - (uint64_t)meta->start_us;
        l->level0_count += meta->level == 0;
        if (meta->level > 0 && span > (uint64_t)l->span_us)
            l->span_us = span < INT64_MAX ? (int64_t)span : INT64_MAX;
    }
    list_unref(old);
    t->shards[shard] = l;
    return TL_OK;
}

/* The first partition that starts at `start_us` or later. */
static uint32_t first_from(const struct tl_segment_list *l, int64_t start_us)
{
    uint32_t lo = l->level0_count, hi = l->count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (l->segments[mid]->info.meta.start_us < start_us)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

void tl_segment_list_find(const struct tl_segment_list *l, int64_t ts_min_us, int64_t ts_max_us,
                          uint32_t *lo, uint32_t *hi)
{
    int64_t from = ts_min_us >= INT64_MIN + l->span_us ? ts_min_us - l->span_us : INT64_MIN;
    *lo = first_from(l, from);
    *hi = ts_max_us < INT64_MAX ? first_from(l, ts_max_us + 1) : l->count;
    *hi = *hi > *lo ? *hi : *lo;
}

/* ---- the current version ---- */

static struct tl_version *pointer_of(uint64_t word)
{
    return (struct tl_version *)(uintptr_t)(word & POINTER_MASK);
}

void tl_current_init(struct tl_current *c, struct tl_version *v)
{
    uint64_t word = (uint64_t)(uintptr_t)v;
    tl_assert((word & ~POINTER_MASK) == 0);
    atomic_fetch_add_explicit(&v->refs, CURRENT_BIAS, memory_order_relaxed);
    atomic_store_explicit(&c->word, word, memory_order_release);
}

/* Settles a version that is current no more: `taken` references left through the word. */
static void settle(struct tl_version *v, uint64_t taken)
{
    int64_t change = (int64_t)taken - CURRENT_BIAS - 1; /* and the word's own reference */
    if (atomic_fetch_add_explicit(&v->refs, change, memory_order_acq_rel) + change == 0)
        version_over(v);
}

void tl_current_publish(struct tl_current *c, struct tl_version *v)
{
    uint64_t word = (uint64_t)(uintptr_t)v;
    tl_assert((word & ~POINTER_MASK) == 0);
    atomic_fetch_add_explicit(&v->refs, CURRENT_BIAS, memory_order_relaxed);
    /* release: the version is whole; acquire: the count that readers left */
    uint64_t old = atomic_exchange_explicit(&c->word, word, memory_order_acq_rel);
    settle(pointer_of(old), old >> POINTER_BITS);
}

struct tl_version *tl_current_acquire(struct tl_current *c)
{
    uint64_t old = atomic_fetch_add_explicit(&c->word, ONE_REF, memory_order_acq_rel);
    struct tl_version *v = pointer_of(old);
    uint64_t taken = (old >> POINTER_BITS) + 1;
    if (taken >= COUNT_HIGH) {
        /* The word's count has 16 bits: move what it holds into the version before they run
         * out. First add, then take out of the word; a failed exchange takes the addition back. */
        uint64_t seen = old + ONE_REF;
        atomic_fetch_add_explicit(&v->refs, (int64_t)taken, memory_order_relaxed);
        if (!atomic_compare_exchange_strong_explicit(&c->word, &seen, seen & POINTER_MASK,
                                                     memory_order_acq_rel, memory_order_relaxed))
            atomic_fetch_sub_explicit(&v->refs, (int64_t)taken, memory_order_relaxed);
    }
    return v;
}

struct tl_version *tl_current_peek(struct tl_current *c)
{
    return pointer_of(atomic_load_explicit(&c->word, memory_order_acquire));
}

void tl_current_deinit(struct tl_current *c)
{
    uint64_t old = atomic_exchange_explicit(&c->word, 0, memory_order_acq_rel);
    if (old)
        settle(pointer_of(old), old >> POINTER_BITS);
}
