/*
 * storage/cache.c: the block cache: 16 shards of a hash table and a clock each, one count of bytes.
 *
 * Invariants, each under the shard's lock unless said otherwise:
 *  (1) An entry is `known` exactly while it is in its shard's table and ring.
 *  (2) A known entry with pins > 0 is not freed and not moved.
 *  (3) An entry that is not known has at least one pin; who gives the last one back frees it.
 *  (4) used_bytes is the charge of all entries that exist; it grows before an entry is made and
 *      shrinks after it is freed, without a lock, so it never tells less than is there.
 *
 *     begin: private, 1 pin --publish--> known --clock, drop--> freed, or, pinned: not known
 *                           --cancel---> freed                            --last unpin--> freed
 *
 * No two locks are held at once. Not done: admission (a scan over everything sweeps the cache),
 * one load for many that miss at once.
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
    BUCKETS_MAX = 1 << 20
};

struct entry {
    struct tl_cached shown; /* first: a pointer to it is a pointer to the entry */
    uint64_t pack_key, offset;
    struct entry *chain;       /* next in the bucket */
    struct entry *next, *prev; /* the ring of the clock */
    size_t charge;
    uint32_t pins;
    uint32_t shard;
    bool known;
    bool used; /* since the hand passed */
};

struct shard {
    pthread_mutex_t lock;
    struct entry **buckets;
    uint64_t bucket_mask;
    struct entry *hand; /* NULL: the ring is empty */
    uint64_t entries, pinned, hits, misses, evictions;
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
        if (!s->buckets) {
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

/* Just behind the hand: the last that it comes to. */
static void insert_locked(struct shard *s, uint64_t hash, struct entry *e)
{
    struct entry **bucket = bucket_of(s, hash);
    e->chain = *bucket;
    *bucket = e;
    if (s->hand) {
        e->next = s->hand;
        e->prev = s->hand->prev;
        e->prev->next = e->next->prev = e;
    } else {
        e->next = e->prev = s->hand = e;
    }
    e->known = true;
    s->entries++;
}

static void remove_locked(struct shard *s, struct entry *e)
{
    struct entry **link = bucket_of(s, hash_key(e->pack_key, e->offset));
    while (*link != e)
        link = &(*link)->chain;
    *link = e->chain;
    if (s->hand == e)
        s->hand = e->next == e ? NULL : e->next;
    e->next->prev = e->prev;
    e->prev->next = e->next;
    e->known = false;
    s->entries--;
}

/* One entry that nobody holds and that was not used since the hand last came by. */
static struct entry *evict_locked(struct shard *s)
{
    for (uint64_t steps = 2 * s->entries; steps; steps--) {
        struct entry *e = s->hand;
        if (e->pins == 0 && !e->used) {
            remove_locked(s, e);
            s->evictions++;
            return e;
        }
        e->used = false;
        s->hand = e->next;
    }
    return NULL;
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

void tl_cache_free(struct tl_cache *c)
{
    if (!c)
        return;
    for (int i = 0; i < SHARDS; i++) {
        struct shard *s = &c->shards[i];
        while (s->hand) {
            struct entry *e = s->hand;
            tl_assert(e->pins == 0);
            remove_locked(s, e);
            free_entry(c, e);
        }
        free(s->buckets);
        pthread_mutex_destroy(&s->lock);
    }
    tl_assert(atomic_load_explicit(&c->used_bytes, memory_order_relaxed) == 0);
    free(c);
}

struct tl_cached *tl_cache_get(struct tl_cache *c, uint64_t pack_key, uint64_t offset)
{
    uint64_t hash = hash_key(pack_key, offset);
    struct shard *s = &c->shards[shard_of(hash)];
    pthread_mutex_lock(&s->lock);
    struct entry *e = find_locked(s, hash, pack_key, offset);
    if (e) {
        e->pins++;
        e->used = true;
        s->pinned++;
        s->hits++;
    } else {
        s->misses++;
    }
    pthread_mutex_unlock(&s->lock);
    return e ? &e->shown : NULL;
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
                        .pins = 1,
                        .shard = shard};
    memset(e->shown.data + size, 0, TL_PAYLOAD_PAD);
    struct shard *s = &c->shards[shard];
    pthread_mutex_lock(&s->lock);
    s->pinned++;
    pthread_mutex_unlock(&s->lock);
    *out = &e->shown;
    return TL_OK;
}

struct tl_cached *tl_cache_publish(struct tl_cache *c, struct tl_cached *entry)
{
    struct entry *e = (struct entry *)entry;
    uint64_t hash = hash_key(e->pack_key, e->offset);
    struct shard *s = &c->shards[e->shard];
    pthread_mutex_lock(&s->lock);
    tl_assert(!e->known && e->pins == 1);
    struct entry *other = find_locked(s, hash, e->pack_key, e->offset);
    if (other) {
        other->pins++; /* the pin moves from one to the other */
        other->used = true;
    } else {
        insert_locked(s, hash, e);
    }
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
    struct shard *s = &c->shards[e->shard];
    pthread_mutex_lock(&s->lock);
    tl_assert(e->pins > 0);
    s->pinned--;
    bool last = --e->pins == 0 && !e->known;
    pthread_mutex_unlock(&s->lock);
    if (last)
        free_entry(c, e);
}

void tl_cache_cancel(struct tl_cache *c, struct tl_cached *entry)
{
    tl_assert(!entry || !((struct entry *)entry)->known);
    tl_cache_unpin(c, entry);
}

void tl_cache_drop_pack(struct tl_cache *c, uint64_t pack_key)
{
    for (int i = 0; i < SHARDS; i++) {
        struct shard *s = &c->shards[i];
        struct entry *gone = NULL; /* chained; freed when the lock is given back */
        pthread_mutex_lock(&s->lock);
        struct entry *e = s->hand;
        for (uint64_t left = s->entries; left; left--) {
            struct entry *next = e->next;
            if (e->pack_key == pack_key) {
                remove_locked(s, e);
                if (e->pins == 0) {
                    e->chain = gone;
                    gone = e;
                }
            }
            e = next;
        }
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
        sum.entries += s->entries;
        sum.pinned += s->pinned;
        pthread_mutex_unlock(&s->lock);
    }
    sum.bytes = atomic_load_explicit(&c->used_bytes, memory_order_relaxed);
    sum.limit_bytes = atomic_load_explicit(&c->limit_bytes, memory_order_relaxed);
    *out = sum;
}
