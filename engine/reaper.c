/*
 * engine/reaper.c: a list of what is to be freed, and the thread that does.
 */
#include "engine/reaper.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/thread.h"
#include "engine/version.h"

enum { NICE_STEPS = 4 };

struct tl_reaper {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct tl_version *head, **tail; /* first put, first freed */
    bool running;
    struct tl_thread thread;
    void (*free_fn)(struct tl_version *v);
};

enum tl_code tl_reaper_new(struct tl_reaper **out, struct tl_status *st)
{
    struct tl_reaper *r = calloc(1, sizeof(*r));
    if (!r)
        return TL_FAIL(st, TL_LIMIT, "no memory for what frees versions");
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    r->tail = &r->head;
    *out = r;
    return TL_OK;
}

static void reaper_main(void *arg)
{
    struct tl_reaper *r = arg;
    tl_thread_stand_back(NICE_STEPS);
    pthread_mutex_lock(&r->lock);
    for (;;) {
        while (!r->head && r->running)
            pthread_cond_wait(&r->changed, &r->lock);
        struct tl_version *v = r->head;
        if (!v)
            break;
        r->head = v->next_to_free;
        r->tail = r->head ? r->tail : &r->head;
        void (*free_fn)(struct tl_version *) = r->free_fn;
        pthread_mutex_unlock(&r->lock);
        free_fn(v);
        pthread_mutex_lock(&r->lock);
    }
    pthread_mutex_unlock(&r->lock);
}

enum tl_code tl_reaper_start(struct tl_reaper *r, struct tl_status *st)
{
    r->running = true;
    if (tl_thread_start(&r->thread, "tally-free", reaper_main, r, st))
        r->running = false;
    return st->code;
}

void tl_reaper_put(struct tl_reaper *r, struct tl_version *v, void (*free_fn)(struct tl_version *v))
{
    pthread_mutex_lock(&r->lock);
    bool later = r->running;
    if (later) {
        r->free_fn = free_fn;
        v->next_to_free = NULL;
        *r->tail = v;
        r->tail = &v->next_to_free;
        pthread_cond_signal(&r->changed);
    }
    pthread_mutex_unlock(&r->lock);
    if (!later)
        free_fn(v);
}

void tl_reaper_stop(struct tl_reaper *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->running = false;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);
    tl_thread_join(&r->thread);
}

void tl_reaper_free(struct tl_reaper *r)
{
    if (!r)
        return;
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    free(r);
}
