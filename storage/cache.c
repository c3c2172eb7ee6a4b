/*
 * storage/cache.c: the block cache: 16 shards of a hash table and two queues each, one count of
 * bytes.
 *
 * After Yang et al., "FIFO queues are all you need for cache eviction" (S3-FIFO, SOSP 2023); here
 * the queues are measured in bytes, and what left the short queue is remembered in a small
 * set-associative table instead of a queue: a place holds 32 bits of the hash and when it was
 * written, counted in bytes that left.
 *
 * Invariants, each under the shard's lock unless said otherwise:
 *  (1) An entry is `known` exactly while it is in its shard's table and in one of its queues.
 *  (2) `references` are its pins, and one more while it is known. Pins are added under the lock
 *      and given back without it: who takes the last reference away frees the entry. Under the
 *      lock a known entry with one reference is held by nobody, and nobody can come by a pin.
 *  (3) used_bytes is the charge of all entries that exist; it grows before an entry is made and
 *      shrinks after it is freed, without a lock, so it never tells less than is there.
 *
 *     begin: private --publish--> short queue --used twice--> long queue --clock, drop--> freed
 *               |                      |                                  (pinned: with its
 *            cancel --> freed          `--not used: its key is remembered  last unpin)
 *
 * No two locks are held at once. Not done: one load for many that miss at once.
 */
#include "storage/cache.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/hash.h"
#include "storage/encoding.h"

enum {
    SHARDS = 16,
    /* Chains stay short as long as entries are not much smaller than this; a bucket takes 8 bytes
     * for each of these of the limit. */
    BYTES_PER_BUCKET = 4096,
    BUCKETS_MIN = 64,
    BUCKETS_MAX = 1 << 20,
    SMALL_SHARE = 10,    /* the short queue's part of the bytes: one in so many */
    USES_MAX = 3,        /* passes of the clock that an entry can earn */
    USES_PROMOTED = 2,   /* uses in the short queue that lead to the long one */
    GHOST_WAYS = 4,      /* places that a remembered key can have */
    GHOST_UNIT_SHIFT = 9 /* the clock of the remembered counts units of 512 bytes */
};

struct entry {
    struct tl_cached shown; /* first: a pointer to it is a pointer to the entry */
    uint64_t pack_key, offset;
    struct entry *chain;       /* next in the bucket */
    struct entry *next, *prev; /* the ring of its queue */
    size_t charge;
    _Atomic uint32_t references; /* release by who gives one back, acquire by who frees */
    uint8_t shard;
    uint8_t uses;
    bool known;
    bool main; /* which queue */
};

/* A ring; `hand` is its oldest entry, NULL when it is empty. What is added goes before the hand. */
struct queue {
    struct entry *hand;
    uint64_t count;
    size_t bytes;
};

struct ghost {
    uint32_t mark; /* of the hash, never 0; 0: free */
    uint32_t at;   /* the shard's ghost_clock when it was written */
};

struct shard {
    pthread_mutex_t lock;
    struct entry **buckets;
    uint64_t bucket_mask;
    struct queue small, main;
    struct ghost *ghosts;
    uint64_t ghost_clock; /* bytes that left the short queue unused */
    uint64_t hits, misses, evictions, returned;
    _Atomic int64_t pinned; /* relaxed */
} __attribute__((aligned(64)));

struct tl_cache {
    struct shard shards[SHARDS];
    _Atomic size_t used_bytes; /* relaxed: a sum, orders nothing */
    _Atomic size_t limit_bytes;
};

static uint64_t hash_key(uint64_t pack_key, uint64_t offset)
{
    return tl_hash_u64(pack_key ^ tl_hash_u64(offset));
}

static uint32_t shard_of(uint64_t hash)
{
    return (uint32_t)(hash >> 60);
}

_Static_assert(SHARDS == 16, "shard_of takes four bits");

enum tl_code tl_cache_new(size_t limit_bytes, struct tl_cache **out, struct tl_status *st)
{
    struct tl_cache *c = aligned_alloc(64, sizeof(*c));
    if (!c)
        return TL_FAIL(st, TL_LIMIT, "no memory for the block cache");
    memset(c, 0, sizeof(*c));
    atomic_init(&c->used_bytes, 0);
    atomic_init(&c->limit_bytes, limit_bytes);
    size_t buckets = BUCKETS_MIN;
    while (buckets < BUCKETS_MAX && buckets * BYTES_PER_BUCKET * SHARDS < limit_bytes)
        buckets *= 2;
    for (int i = 0; i < SHARDS; i++) {
        struct shard *s = &c->shards[i];
        pthread_mutex_init(&s->lock, NULL);
        s->bucket_mask = buckets - 1;
        s->buckets = calloc(buckets, sizeof(struct entry *));
        s->ghosts = calloc(buckets, sizeof(struct ghost));
        if (!s->buckets || !s->ghosts) {
            tl_cache_free(c);
            return TL_FAIL(st, TL_LIMIT, "no memory for the block cache");
        }
    }
    *out = c;
    return TL_OK;
}

static struct entry **bucket_of(struct shard *s, uint64_t hash)
{
    return &s->buckets[hash & s->bucket_mask];
}

static void free_entry(struct tl_cache *c, struct entry *e)
{
    size_t charge = e->charge;
    free(e);
    atomic_fetch_sub_explicit(&c->used_bytes, charge, memory_order_relaxed);
}

static struct entry *find_locked(struct shard *s, uint64_t hash, uint64_t pack_key, uint64_t offset)
{
    struct entry *e = *bucket_of(s, hash);
    while (e && (e->offset != offset || e->pack_key != pack_key))
        e = e->chain;
    return e;
}

/* ---- keys that left the short queue ---- */

static uint32_t mark_of(uint64_t hash)
{
    uint32_t mark = (uint32_t)(hash >> 24); /* bits that choose neither the shard nor the place */
    return mark ? mark : 1;
}

static struct ghost *ghost_ways(struct shard *s, uint64_t hash)
{
    return &s->ghosts[hash & s->bucket_mask & ~(uint64_t)(GHOST_WAYS - 1)];
}

static uint32_t ghost_now(const struct shard *s)
{
    return (uint32_t)(s->ghost_clock >> GHOST_UNIT_SHIFT);
}

/* Writes over the oldest of its places. */
static void ghost_put(struct shard *s, uint64_t hash, size_t charge)
{
    struct ghost *ways = ghost_ways(s, hash), *to = ways;
    uint32_t now = ghost_now(s);
    for (int i = 1; i < GHOST_WAYS && to->mark; i++)
        if (!ways[i].mark || now - ways[i].at > now - to->at)
            to = &ways[i];
    *to = (struct ghost){mark_of(hash), now};
    s->ghost_clock += charge;
}

/* Did the key leave within the last limit's worth of bytes? It is forgotten then. */
static bool ghost_take(struct shard *s, uint64_t hash, size_t limit_bytes)
{
    struct ghost *ways = ghost_ways(s, hash);
    uint32_t mark = mark_of(hash), now = ghost_now(s);
    size_t window = (limit_bytes / SHARDS) >> GHOST_UNIT_SHIFT;
    for (int i = 0; i < GHOST_WAYS; i++)
        if (ways[i].mark == mark) {
            bool fresh = now - ways[i].at < window;
            ways[i] = (struct ghost){0};
            return fresh;
        }
    return false;
}

/* ---- queues ---- */

static void queue_push(struct queue *q, struct entry *e)
{
    if (q->hand) {
        e->next = q->hand;
        e->prev = q->hand->prev;
        e->prev->next = e->next->prev = e;
    } else {
        e->next = e->prev = q->hand = e;
    }
    q->count++;
    q->bytes += e->charge;
}

static void queue_remove(struct queue *q, struct entry *e)
{
    if (q->hand == e)
        q->hand = e->next == e ? NULL : e->next;
    e->next->prev = e->prev;
    e->prev->next = e->next;
    q->count--;
    q->bytes -= e->charge;
}

static void remove_locked(struct shard *s, struct entry *e)
{
    struct entry **link = bucket_of(s, hash_key(e->pack_key, e->offset));
    while (*link != e)
        link = &(*link)->chain;
    *link = e->chain;
    queue_remove(e->main ? &s->main : &s->small, e);
    e->known = false;
}

static bool held(const struct entry *e)
{
    /* acquire: what the last holder did to it came before */
    return atomic_load_explicit(&e->references, memory_order_acquire) != 1;
}

/* The oldest of the short queue that nobody holds and that was not used; the used ones move on. */
static struct entry *evict_small_locked(struct shard *s)
{
    for (uint64_t steps = s->small.count; steps; steps--) {
        struct entry *e = s->small.hand;
        if (e->uses >= USES_PROMOTED) {
            queue_remove(&s->small, e);
            e->main = true;
            e->uses = 0;
            queue_push(&s->main, e);
        } else if (held(e)) {
            s->small.hand = e->next;
        } else {
            remove_locked(s, e);
            ghost_put(s, hash_key(e->pack_key, e->offset), e->charge);
            return e;
        }
    }
    return NULL;
}

static struct entry *evict_main_locked(struct shard *s)
{
    for (uint64_t steps = (USES_MAX + 1) * s->main.count; steps; steps--) {
        struct entry *e = s->main.hand;
        if (e->uses == 0 && !held(e)) {
            remove_locked(s, e);
            return e;
        }
        if (e->uses > 0)
            e->uses--;
        s->main.hand = e->next;
    }
    return NULL;
}

static struct entry *evict_locked(struct shard *s)
{
    struct entry *e = NULL;
    if (s->small.bytes > (s->small.bytes + s->main.bytes) / SMALL_SHARE)
        e = evict_small_locked(s);
    if (!e)
        e = evict_main_locked(s);
    if (!e)
        e = evict_small_locked(s);
    s->evictions += e != NULL;
    return e;
}

/* Charges `need` bytes, evicting from the shard `first` on. False: pins leave no room. */
static bool make_room(struct tl_cache *c, uint32_t first, size_t need)
{
    uint32_t shard = first, in_vain = 0;
    for (;;) {
        size_t limit = atomic_load_explicit(&c->limit_bytes, memory_order_relaxed);
        size_t used = atomic_load_explicit(&c->used_bytes, memory_order_relaxed);
        while (need <= limit && used <= limit - need)
            if (atomic_compare_exchange_weak_explicit(&c->used_bytes, &used, used + need,
                                                      memory_order_relaxed, memory_order_relaxed))
                return true;
        if (need > limit || in_vain == SHARDS)
            return false;
        struct shard *s = &c->shards[shard];
        pthread_mutex_lock(&s->lock);
        struct entry *victim = evict_locked(s);
        pthread_mutex_unlock(&s->lock);
        if (victim) {
            free_entry(c, victim);
            in_vain = 0;
        } else {
            in_vain++;
            shard = (shard + 1) % SHARDS;
        }
    }
}

static void free_queue(struct tl_cache *c, struct shard *s, struct queue *q)
{
    while (q->hand) {
        struct entry *e = q->hand;
        tl_assert(!held(e));
        remove_locked(s, e);
        free_entry(c, e);
    }
}

void tl_cache_free(struct tl_cache *c)
{
    if (!c)
        return;
    for (int i = 0; i < SHARDS; i++) {
        struct shard *s = &c->shards[i];
        free_queue(c, s, &s->small);
        free_queue(c, s, &s->main);
        free(s->buckets);
        free(s->ghosts);
        pthread_mutex_destroy(&s->lock);
    }
    tl_assert(atomic_load_explicit(&c->used_bytes, memory_order_relaxed) == 0);
    free(c);
}

static struct tl_cached *look_up(struct tl_cache *c, uint64_t pack_key, uint64_t offset, bool use)
{
    uint64_t hash = hash_key(pack_key, offset);
    struct shard *s = &c->shards[shard_of(hash)];
    pthread_mutex_lock(&s->lock);
    struct entry *e = find_locked(s, hash, pack_key, offset);
    if (e) {
        atomic_fetch_add_explicit(&e->references, 1, memory_order_relaxed);
        if (use && e->uses < USES_MAX)
            e->uses++;
        s->hits++;
    } else {
        s->misses++;
    }
    pthread_mutex_unlock(&s->lock);
    if (!e)
        return NULL;
    atomic_fetch_add_explicit(&s->pinned, 1, memory_order_relaxed);
    return &e->shown;
}

struct tl_cached *tl_cache_get(struct tl_cache *c, uint64_t pack_key, uint64_t offset)
{
    return look_up(c, pack_key, offset, true);
}

struct tl_cached *tl_cache_glance(struct tl_cache *c, uint64_t pack_key, uint64_t offset)
{
    return look_up(c, pack_key, offset, false);
}

bool tl_cache_has(struct tl_cache *c, uint64_t pack_key, uint64_t offset)
{
    uint64_t hash = hash_key(pack_key, offset);
    struct shard *s = &c->shards[shard_of(hash)];
    pthread_mutex_lock(&s->lock);
    bool found = find_locked(s, hash, pack_key, offset) != NULL;
    pthread_mutex_unlock(&s->lock);
    return found;
}

enum tl_code tl_cache_begin(struct tl_cache *c, uint64_t pack_key, uint64_t offset, size_t size,
                            struct tl_cached **out, struct tl_status *st)
{
    enum { FRONT = (sizeof(struct entry) + 15) / 16 * 16 };
    size_t charge;
    if (!tl_add_size(size, FRONT + TL_PAYLOAD_PAD, &charge))
        return TL_FAIL(st, TL_LIMIT, "a cache entry of %zu bytes", size);
    uint32_t shard = shard_of(hash_key(pack_key, offset));
    if (!make_room(c, shard, charge))
        return TL_FAIL(st, TL_LIMIT, "the block cache of %zu bytes has no room for %zu",
                       atomic_load_explicit(&c->limit_bytes, memory_order_relaxed), size);
    struct entry *e = malloc(charge);
    if (!e) {
        atomic_fetch_sub_explicit(&c->used_bytes, charge, memory_order_relaxed);
        return TL_FAIL(st, TL_LIMIT, "no memory for a cache entry of %zu bytes", size);
    }
    *e = (struct entry){.shown = {.data = (uint8_t *)e + FRONT, .size = size},
                        .pack_key = pack_key,
                        .offset = offset,
                        .charge = charge,
                        .references = 1,
                        .shard = (uint8_t)shard};
    memset(e->shown.data + size, 0, TL_PAYLOAD_PAD);
    atomic_fetch_add_explicit(&c->shards[shard].pinned, 1, memory_order_relaxed);
    *out = &e->shown;
    return TL_OK;
}

/* Newest of the short queue, or of the long one when its key was here not long ago. */
static void insert_locked(struct tl_cache *c, struct shard *s, uint64_t hash, struct entry *e)
{
    struct entry **bucket = bucket_of(s, hash);
    e->chain = *bucket;
    *bucket = e;
    e->known = true;
    e->main = ghost_take(s, hash, atomic_load_explicit(&c->limit_bytes, memory_order_relaxed));
    s->returned += e->main;
    atomic_fetch_add_explicit(&e->references, 1, memory_order_relaxed);
    queue_push(e->main ? &s->main : &s->small, e);
}

struct tl_cached *tl_cache_publish(struct tl_cache *c, struct tl_cached *entry)
{
    struct entry *e = (struct entry *)entry;
    uint64_t hash = hash_key(e->pack_key, e->offset);
    struct shard *s = &c->shards[e->shard];
    pthread_mutex_lock(&s->lock);
    tl_assert(!e->known && atomic_load_explicit(&e->references, memory_order_relaxed) == 1);
    struct entry *other = find_locked(s, hash, e->pack_key, e->offset);
    if (other) /* the pin moves from one to the other */
        atomic_fetch_add_explicit(&other->references, 1, memory_order_relaxed);
    else
        insert_locked(c, s, hash, e);
    pthread_mutex_unlock(&s->lock);
    if (!other)
        return entry;
    free_entry(c, e);
    return &other->shown;
}

void tl_cache_unpin(struct tl_cache *c, struct tl_cached *entry)
{
    if (!entry)
        return;
    struct entry *e = (struct entry *)entry;
    atomic_fetch_sub_explicit(&c->shards[e->shard].pinned, 1, memory_order_relaxed);
    /* Release by every holder, acquire by the last: it sees all that the others did. */
    uint32_t before = atomic_fetch_sub_explicit(&e->references, 1, memory_order_acq_rel);
    tl_assert(before > 0);
    if (before == 1)
        free_entry(c, e);
}

void tl_cache_cancel(struct tl_cache *c, struct tl_cached *entry)
{
    tl_assert(!entry || !((struct entry *)entry)->known);
    tl_cache_unpin(c, entry);
}

/* Takes the pack's entries out of the table; those that nobody holds go onto *gone. */
static void drop_locked(struct shard *s, struct queue *q, uint64_t pack_key, struct entry **gone)
{
    struct entry *e = q->hand;
    for (uint64_t left = q->count; left; left--) {
        struct entry *next = e->next;
        if (e->pack_key == pack_key) {
            remove_locked(s, e);
            if (atomic_fetch_sub_explicit(&e->references, 1, memory_order_acq_rel) == 1) {
                e->chain = *gone;
                *gone = e;
            }
        }
        e = next;
    }
}

void tl_cache_drop_pack(struct tl_cache *c, uint64_t pack_key)
{
    for (int i = 0; i < SHARDS; i++) {
        struct shard *s = &c->shards[i];
        struct entry *gone = NULL; /* chained; freed when the lock is given back */
        pthread_mutex_lock(&s->lock);
        drop_locked(s, &s->small, pack_key, &gone);
        drop_locked(s, &s->main, pack_key, &gone);
        pthread_mutex_unlock(&s->lock);
        while (gone) {
            struct entry *next = gone->chain;
            free_entry(c, gone);
            gone = next;
        }
    }
}

void tl_cache_set_limit(struct tl_cache *c, size_t limit_bytes)
{
    atomic_store_explicit(&c->limit_bytes, limit_bytes, memory_order_relaxed);
    (void)make_room(c, 0, 0); /* evicts until nothing, or only what is pinned, is too much */
}

void tl_cache_stats(struct tl_cache *c, struct tl_cache_stats *out)
{
    struct tl_cache_stats sum = {0};
    for (int i = 0; i < SHARDS; i++) {
        struct shard *s = &c->shards[i];
        pthread_mutex_lock(&s->lock);
        sum.hits += s->hits;
        sum.misses += s->misses;
        sum.evictions += s->evictions;
        sum.returned += s->returned;
        sum.entries += s->small.count + s->main.count;
        sum.main_bytes += s->main.bytes;
        pthread_mutex_unlock(&s->lock);
        int64_t pinned = atomic_load_explicit(&s->pinned, memory_order_relaxed);
        sum.pinned += pinned > 0 ? (uint64_t)pinned : 0;
    }
    sum.bytes = atomic_load_explicit(&c->used_bytes, memory_order_relaxed);
    sum.limit_bytes = atomic_load_explicit(&c->limit_bytes, memory_order_relaxed);
    *out = sum;
}
