#include "engine/scan_ahead.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/assert.h"
#include "storage/io.h"

enum {
    DEPTH_FIRST = 2,
    DEPTH_MAX = 24,
    CALM_RUN = 32, /* pieces in time, one after the other, that take one off the depth */
    BYTES_AHEAD_MAX = 24 << 20
};

/* A piece whose blocks are in flight or pinned. */
struct flight {
    struct tl_prefetch *prefetch; /* NULL: nothing was begun */
    struct tl_read_stats stats;
    uint64_t charged;
};

struct tl_ahead {
    struct tl_io *io;
    struct tl_io_queue *queue; /* made by the first that has something to read */
    tl_ahead_fill *fill;
    void *context;
    struct tl_budget *budget;
    uint32_t work_count;
    uint32_t begun;         /* pieces before it were begun; hand_out's alone */
    struct flight *flights; /* one per piece; after its begin the holder's */
    pthread_mutex_t lock;   /* the rest */
    uint32_t depth, calm;
    uint64_t bytes; /* begun and not closed */
    uint32_t spare_count;
    struct tl_prefetch *spares[DEPTH_MAX];
};

enum tl_code tl_ahead_new(struct tl_io *io, uint32_t work_count, tl_ahead_fill *fill, void *context,
                          struct tl_budget *budget, struct tl_ahead **out, struct tl_status *st)
{
    struct tl_ahead *a = calloc(1, sizeof(*a));
    struct flight *flights = calloc((size_t)work_count + 1, sizeof(*flights));
    if (!a || !flights) {
        free(a);
        free(flights);
        return TL_FAIL(st, TL_LIMIT, "no memory to read ahead");
    }
    a->io = io;
    pthread_mutex_init(&a->lock, NULL);
    a->fill = fill;
    a->context = context;
    a->budget = budget;
    a->work_count = work_count;
    a->flights = flights;
    a->depth = DEPTH_FIRST;
    *out = a;
    return TL_OK;
}

void tl_ahead_free(struct tl_ahead *a)
{
    if (!a)
        return;
    for (uint32_t i = 0; i < a->begun; i++)
        tl_ahead_close(a, i);
    while (a->spare_count > 0)
        tl_prefetch_free(a->spares[--a->spare_count]);
    tl_io_queue_free(a->queue);
    pthread_mutex_destroy(&a->lock);
    free(a->flights);
    free(a);
}

static struct tl_prefetch *take_spare(struct tl_ahead *a, struct tl_status *st)
{
    struct tl_prefetch *p = NULL;
    pthread_mutex_lock(&a->lock);
    if (a->spare_count > 0)
        p = a->spares[--a->spare_count];
    pthread_mutex_unlock(&a->lock);
    if (!p && tl_prefetch_new(&p, st))
        return NULL;
    return p;
}

/* Empty by now. */
static void give_spare(struct tl_ahead *a, struct tl_prefetch *p)
{
    pthread_mutex_lock(&a->lock);
    bool room = a->spare_count < DEPTH_MAX;
    if (room)
        a->spares[a->spare_count++] = p;
    pthread_mutex_unlock(&a->lock);
    if (!room)
        tl_prefetch_free(p);
}

/* Failures of memory are no failures here. */
static enum tl_code forgive(enum tl_code rc, struct tl_status *st)
{
    if (rc != TL_LIMIT)
        return rc;
    tl_status_clear(st);
    return TL_OK;
}

static enum tl_code begin(struct tl_ahead *a, uint32_t work, struct tl_status *st)
{
    struct flight *f = &a->flights[work];
    struct tl_prefetch *p = take_spare(a, st);
    if (!p)
        return forgive(st->code, st);
    enum tl_code rc = a->fill(a->context, work, p, st);
    uint64_t size = tl_prefetch_size(p);
    if (!rc && size > 0 && a->budget) {
        rc = tl_budget_charge(a->budget, size, st);
        f->charged = rc ? 0 : size;
    }
    if (!rc && size > 0 && !a->queue)
        rc = tl_io_queue_new(a->io, &a->queue, st);
    if (!rc && size > 0)
        rc = tl_prefetch_begin(p, a->queue, &f->stats, st);
    if (rc || size == 0) {
        if (f->charged > 0)
            tl_budget_release(a->budget, f->charged);
        f->charged = 0;
        tl_prefetch_clear(p);
        give_spare(a, p);
        return forgive(rc, st);
    }
    f->prefetch = p;
    pthread_mutex_lock(&a->lock);
    a->bytes += size;
    pthread_mutex_unlock(&a->lock);
    return TL_OK;
}

enum tl_code tl_ahead_hand_out(struct tl_ahead *a, uint32_t work, struct tl_status *st)
{
    if (!a)
        return TL_OK;
    tl_assert(work < a->work_count);
    for (;;) {
        pthread_mutex_lock(&a->lock);
        bool wanted =
            a->begun < a->work_count &&
            (a->begun <= work || (a->begun <= work + a->depth && a->bytes < BYTES_AHEAD_MAX));
        pthread_mutex_unlock(&a->lock);
        if (!wanted)
            return TL_OK;
        enum tl_code rc = begin(a, a->begun, st);
        if (rc)
            return rc;
        a->begun++;
    }
}

enum tl_code tl_ahead_open(struct tl_ahead *a, uint32_t work, struct tl_read_stats *stats,
                           struct tl_status *st)
{
    if (!a || !a->flights[work].prefetch)
        return TL_OK;
    struct flight *f = &a->flights[work];
    bool late;
    enum tl_code rc = tl_prefetch_finish(f->prefetch, &late, st);
    stats->reads += f->stats.reads;
    stats->bytes_disk += f->stats.bytes_disk;
    stats->blocks_disk += f->stats.blocks_disk;
    pthread_mutex_lock(&a->lock);
    if (late) {
        a->depth = a->depth * 2 < DEPTH_MAX ? a->depth * 2 : DEPTH_MAX;
        a->calm = 0;
    } else if (++a->calm == CALM_RUN) {
        a->depth -= a->depth > DEPTH_FIRST;
        a->calm = 0;
    }
    pthread_mutex_unlock(&a->lock);
    return rc;
}

void tl_ahead_close(struct tl_ahead *a, uint32_t work)
{
    if (!a || !a->flights[work].prefetch)
        return;
    struct flight *f = &a->flights[work];
    uint64_t size = tl_prefetch_size(f->prefetch);
    tl_prefetch_clear(f->prefetch);
    give_spare(a, f->prefetch);
    f->prefetch = NULL;
    if (f->charged > 0)
        tl_budget_release(a->budget, f->charged);
    f->charged = 0;
    pthread_mutex_lock(&a->lock);
    a->bytes -= size;
    pthread_mutex_unlock(&a->lock);
}
