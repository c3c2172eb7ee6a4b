#include "engine/slab.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/thread.h"

struct slab {
    struct slab *next;
};

enum { STRINGS_TOLD = 1024 }; /* 2^(64 - 54) */
enum { TABLES_MAX = 24, WARM_SLABS = 4, WARM_NICE_STEPS = 8, PAGE_BYTES = 4096 };

struct table {
    void *data;
    size_t size;
    bool clean; /* all zeros */
};

struct tl_slab_pool {
    _Atomic uint32_t refs;
    pthread_mutex_t lock;
    struct slab *free;
    uint32_t free_count, keep;
    struct table tables[TABLES_MAX]; /* given back */
    uint32_t table_count;
    size_t table_bytes;
    struct tl_thread warmer;
    pthread_cond_t wanted;                  /* the warmer has something to do */
    bool taken, stop;                       /* something ever was; the warmer ends */
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
    pthread_cond_init(&p->wanted, NULL);
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
    tl_assert(!p->warmer.running);
    tl_slab_keep(p, 0);
    pthread_cond_destroy(&p->wanted);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

static void *slab_new(void)
{
    void *fresh = aligned_alloc(TL_SLAB_BYTES, TL_SLAB_BYTES);
    if (fresh)
        (void)madvise(fresh, TL_SLAB_BYTES, MADV_HUGEPAGE); /* a wish: small pages do as well */
    return fresh;
}

void *tl_slab_take(struct tl_slab_pool *p)
{
    pthread_mutex_lock(&p->lock);
    struct slab *s = p->free;
    if (s) {
        p->free = s->next;
        p->free_count--;
    }
    p->taken = true;
    if (p->free_count < WARM_SLABS)
        pthread_cond_signal(&p->wanted);
    pthread_mutex_unlock(&p->lock);
    return s ? s : slab_new();
}

void tl_slab_give(struct tl_slab_pool *p, void *slab)
{
    struct slab *s = slab;
    pthread_mutex_lock(&p->lock);
    bool keep = p->free_count + p->table_bytes / TL_SLAB_BYTES < p->keep;
    if (keep) {
        s->next = p->free;
        p->free = s;
        p->free_count++;
    }
    pthread_mutex_unlock(&p->lock);
    if (!keep)
        free(s);
}

/* ---- tables ---- */

/* Begins where a huge page can begin, within what was allocated; the word before it says where that
 * begins. It is not touched before the wish for huge pages is told. */
static void *table_new(size_t size)
{
    uint8_t *base = calloc(1, size + TL_SLAB_BYTES);
    if (!base)
        return NULL;
    uint8_t *p = base + TL_SLAB_BYTES - ((uintptr_t)base & (TL_SLAB_BYTES - 1));
    (void)madvise(p, size, MADV_HUGEPAGE);
    memcpy(p - sizeof(base), &base, sizeof(base));
    return p;
}

static void table_free(void *table)
{
    uint8_t *base;
    memcpy(&base, (uint8_t *)table - sizeof(base), sizeof(base));
    free(base);
}

static struct table take_out_locked(struct tl_slab_pool *p, uint32_t at)
{
    struct table t = p->tables[at];
    p->tables[at] = p->tables[--p->table_count];
    p->table_bytes -= t.size;
    return t;
}

void *tl_slab_table_take(struct tl_slab_pool *p, size_t size)
{
    tl_assert(size >= TL_SLAB_BYTES && size % TL_SLAB_BYTES == 0);
    struct table t = {NULL, 0, false};
    pthread_mutex_lock(&p->lock);
    uint32_t at = TABLES_MAX;
    for (uint32_t i = 0; i < p->table_count; i++)
        if (p->tables[i].size == size && (at == TABLES_MAX || p->tables[i].clean))
            at = i;
    if (at < TABLES_MAX)
        t = take_out_locked(p, at);
    pthread_mutex_unlock(&p->lock);
    if (t.data && !t.clean)
        memset(t.data, 0, size);
    return t.data ? t.data : table_new(size);
}

/* False: it is one too many. */
static bool put_in(struct tl_slab_pool *p, struct table t)
{
    pthread_mutex_lock(&p->lock);
    bool room = p->table_count < TABLES_MAX &&
                p->table_bytes + t.size <= (size_t)p->keep * (TL_SLAB_BYTES / 2);
    if (room) {
        p->tables[p->table_count++] = t;
        p->table_bytes += t.size;
        if (!t.clean)
            pthread_cond_signal(&p->wanted);
    }
    pthread_mutex_unlock(&p->lock);
    return room;
}

void tl_slab_table_give(struct tl_slab_pool *p, void *table, size_t size)
{
    if (table && !put_in(p, (struct table){table, size, false}))
        table_free(table);
}

/* ---- the warmer ---- */

static void warm_slab(struct tl_slab_pool *p)
{
    uint8_t *s = slab_new();
    for (size_t i = 0; s && i < TL_SLAB_BYTES; i += PAGE_BYTES)
        *(volatile uint8_t *)(s + i) = 0;
    if (s)
        tl_slab_give(p, s);
}

static bool wants_slab_locked(const struct tl_slab_pool *p)
{
    return p->taken && p->free_count < WARM_SLABS && p->free_count < p->keep;
}

static uint32_t unclean_locked(const struct tl_slab_pool *p)
{
    uint32_t i = 0;
    while (i < p->table_count && p->tables[i].clean)
        i++;
    return i;
}

static void warmer_main(void *arg)
{
    struct tl_slab_pool *p = arg;
    tl_thread_stand_back(WARM_NICE_STEPS);
    pthread_mutex_lock(&p->lock);
    while (!p->stop) {
        uint32_t at = unclean_locked(p);
        if (wants_slab_locked(p)) {
            pthread_mutex_unlock(&p->lock);
            warm_slab(p);
        } else if (at < p->table_count) {
            struct table t = take_out_locked(p, at);
            pthread_mutex_unlock(&p->lock);
            memset(t.data, 0, t.size);
            t.clean = true;
            if (!put_in(p, t))
                table_free(t.data);
        } else {
            pthread_cond_wait(&p->wanted, &p->lock);
            continue;
        }
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
}

enum tl_code tl_slab_warm_start(struct tl_slab_pool *p, struct tl_status *st)
{
    return tl_thread_start(&p->warmer, "tally-warm", warmer_main, p, st);
}

void tl_slab_warm_stop(struct tl_slab_pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_signal(&p->wanted);
    pthread_mutex_unlock(&p->lock);
    tl_thread_join(&p->warmer);
}

/* ---- bounds ---- */

static void keep_tables(struct tl_slab_pool *p)
{
    struct table t = {.data = p};
    while (t.data) {
        t.data = NULL;
        pthread_mutex_lock(&p->lock);
        if (p->table_bytes > (size_t)p->keep * (TL_SLAB_BYTES / 2))
            t = take_out_locked(p, p->table_count - 1);
        pthread_mutex_unlock(&p->lock);
        if (t.data)
            table_free(t.data);
    }
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
    keep_tables(p);
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
