#include "engine/slab.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/assert.h"

struct slab {
    struct slab *next;
};

enum { STRINGS_TOLD = 1024 }; /* 2^(64 - 54) */

struct tl_slab_pool {
    _Atomic uint32_t refs;
    pthread_mutex_t lock;
    struct slab *free;
    uint32_t free_count, keep;
    _Atomic uint32_t strings[STRINGS_TOLD]; /* by table and column; some share a place */
};

enum { KEEP_AT_FIRST = 8 };

enum tl_code tl_slab_pool_new(struct tl_slab_pool **out, struct tl_status *st)
{
    struct tl_slab_pool *p = calloc(1, sizeof(*p));
    if (!p)
        return TL_FAIL(st, TL_LIMIT, "no memory for the memory of memtables");
    atomic_init(&p->refs, 1);
    pthread_mutex_init(&p->lock, NULL);
    p->keep = KEEP_AT_FIRST;
    *out = p;
    return TL_OK;
}

struct tl_slab_pool *tl_slab_pool_ref(struct tl_slab_pool *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void tl_slab_pool_unref(struct tl_slab_pool *p)
{
    if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    tl_slab_keep(p, 0);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

void *tl_slab_take(struct tl_slab_pool *p)
{
    pthread_mutex_lock(&p->lock);
    struct slab *s = p->free;
    if (s) {
        p->free = s->next;
        p->free_count--;
    }
    pthread_mutex_unlock(&p->lock);
    if (s)
        return s;
    void *fresh = aligned_alloc(TL_SLAB_BYTES, TL_SLAB_BYTES);
    if (fresh)
        (void)madvise(fresh, TL_SLAB_BYTES, MADV_HUGEPAGE); /* a wish: small pages do as well */
    return fresh;
}

void tl_slab_give(struct tl_slab_pool *p, void *slab)
{
    struct slab *s = slab;
    pthread_mutex_lock(&p->lock);
    bool keep = p->free_count < p->keep;
    if (keep) {
        s->next = p->free;
        p->free = s;
        p->free_count++;
    }
    pthread_mutex_unlock(&p->lock);
    if (!keep)
        free(s);
}

void tl_slab_keep(struct tl_slab_pool *p, uint32_t count)
{
    struct slab *beyond = NULL;
    pthread_mutex_lock(&p->lock);
    p->keep = count;
    while (p->free_count > count) {
        struct slab *s = p->free;
        p->free = s->next;
        p->free_count--;
        s->next = beyond;
        beyond = s;
    }
    pthread_mutex_unlock(&p->lock);
    while (beyond) {
        struct slab *next = beyond->next;
        free(beyond);
        beyond = next;
    }
}

static _Atomic uint32_t *strings_of(struct tl_slab_pool *p, uint32_t table, uint32_t column)
{
    uint64_t key = ((uint64_t)table << 32 | column) * 0x9e3779b97f4a7c15ULL;
    return &p->strings[key >> 54];
}

void tl_slab_tell_strings(struct tl_slab_pool *p, uint32_t table, uint32_t column, uint32_t strings)
{
    atomic_store_explicit(strings_of(p, table, column), strings, memory_order_relaxed);
}

uint32_t tl_slab_likely_strings(struct tl_slab_pool *p, uint32_t table, uint32_t column)
{
    return atomic_load_explicit(strings_of(p, table, column), memory_order_relaxed);
}
