/*
 * One ring of fixed-size items under a mutex serves both the queue (items are pointers) and the
 * pool (items are jobs).
 *
 * Invariants, under the mutex:
 *   (1) count <= capacity, head < capacity
 *   (2) `closed` never becomes false again; once it is true nothing is added
 *   (3) whoever changes count or closed signals those that wait for it
 */
#include "base/thread.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/assert.h"

/* ---- threads ---- */

enum { PROMPT_SLICE_NS = 100000 };

struct start {
    void (*fn)(void *arg);
    void *arg;
    char name[16]; /* the kernel's limit, with its NUL */
};

static void *thread_main(void *p)
{
    struct start s = *(struct start *)p;
    free(p);
    pthread_setname_np(pthread_self(), s.name);
    s.fn(s.arg);
    return NULL;
}

/* The moment that long from now; condition variables take nothing else. */
static struct timespec time_after(clockid_t clock, uint32_t timeout_ms)
{
    struct timespec t;
    clock_gettime(clock, &t);
    t.tv_sec += timeout_ms / 1000;
    t.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

enum tl_code tl_thread_start(struct tl_thread *t, const char *name, void (*fn)(void *arg),
                             void *arg, struct tl_status *st)
{
    t->running = false;
    struct start *s = calloc(1, sizeof(*s));
    if (!s)
        return TL_FAIL(st, TL_LIMIT, "no memory to start thread %s", name);
    s->fn = fn;
    s->arg = arg;
    memcpy(s->name, name, strnlen(name, sizeof(s->name) - 1));

    /* Signals are the event loop's: a thread inherits the mask that it is made under. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_t attr;
    int rc = pthread_attr_init(&attr);
    if (rc == 0) {
        pthread_sigmask(SIG_SETMASK, &all, &before);
        pthread_attr_setstacksize(&attr, TL_THREAD_STACK_BYTES);
        rc = pthread_create(&t->id, &attr, thread_main, s);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attr);
    }
    if (rc != 0) {
        free(s);
        return TL_FAIL_OS(st, TL_LIMIT, rc, "starting thread %s", name);
    }
    t->running = true;
    return TL_OK;
}

void tl_thread_join(struct tl_thread *t)
{
    if (!t->running)
        return;
    int rc = pthread_join(t->id, NULL);
    tl_assert(rc == 0);
    t->running = false;
}

void tl_thread_stand_back(int steps)
{
    id_t self = (id_t)gettid(); /* Linux keeps niceness per thread */
    errno = 0;
    int now = getpriority(PRIO_PROCESS, self);
    if (errno == 0)
        (void)setpriority(PRIO_PROCESS, self, now + steps);
}

/* As the kernel has it since 3.14; the C library of today knows nothing of it. */
struct scheduling {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
};

void tl_thread_be_prompt(void)
{
    struct scheduling s = {.size = sizeof(s)};
    if (syscall(SYS_sched_getattr, 0, &s, sizeof(s), 0) != 0 || s.policy != SCHED_OTHER)
        return;
    s.runtime_ns = PROMPT_SLICE_NS;
    (void)syscall(SYS_sched_setattr, 0, &s, 0);
}

bool tl_thread_wait(pthread_cond_t *changed, pthread_mutex_t *lock, uint32_t timeout_ms)
{
    struct timespec until = time_after(CLOCK_REALTIME, timeout_ms);
    return pthread_cond_timedwait(changed, lock, &until) == 0;
}

uint32_t tl_thread_cpu_count(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return 1;
    int n = CPU_COUNT(&set);
    return n > 0 ? (uint32_t)n : 1;
}

/* ---- the ring ---- */

struct ring {
    pthread_mutex_t mutex;
    pthread_cond_t not_empty;
    pthread_cond_t not_full;
    size_t item_size;
    size_t capacity;
    size_t head; /* the oldest item */
    size_t count;
    bool closed;
    uint8_t *items;
};

static enum tl_code ring_init(struct ring *r, size_t item_size, size_t capacity,
                              struct tl_status *st)
{
    tl_assert(capacity > 0);
    size_t bytes;
    r->items = tl_mul_size(item_size, capacity, &bytes) ? malloc(bytes) : NULL;
    if (!r->items)
        return TL_FAIL(st, TL_LIMIT, "no memory for a queue of %zu items", capacity);
    r->item_size = item_size;
    r->capacity = capacity;
    r->head = r->count = 0;
    r->closed = false;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&r->mutex, NULL);
    pthread_cond_init(&r->not_empty, &attr);
    pthread_cond_init(&r->not_full, &attr);
    pthread_condattr_destroy(&attr);
    return TL_OK;
}

static void ring_deinit(struct ring *r)
{
    pthread_cond_destroy(&r->not_full);
    pthread_cond_destroy(&r->not_empty);
    pthread_mutex_destroy(&r->mutex);
    free(r->items);
}

static bool ring_put(struct ring *r, const void *item, bool wait)
{
    pthread_mutex_lock(&r->mutex);
    while (wait && !r->closed && r->count == r->capacity)
        pthread_cond_wait(&r->not_full, &r->mutex);
    bool put = !r->closed && r->count < r->capacity;
    if (put) {
        size_t at = r->head + r->count;
        if (at >= r->capacity)
            at -= r->capacity;
        memcpy(r->items + at * r->item_size, item, r->item_size);
        r->count++;
        pthread_cond_signal(&r->not_empty);
    }
    pthread_mutex_unlock(&r->mutex);
    return put;
}

/* Takes the oldest item; waits for one until `deadline`, for ever when it is NULL. */
static bool ring_take(struct ring *r, void *item, bool wait, const struct timespec *deadline)
{
    pthread_mutex_lock(&r->mutex);
    while (wait && !r->closed && r->count == 0) {
        if (!deadline)
            pthread_cond_wait(&r->not_empty, &r->mutex);
        else if (pthread_cond_timedwait(&r->not_empty, &r->mutex, deadline) == ETIMEDOUT)
            break;
    }
    bool taken = r->count > 0;
    if (taken) {
        memcpy(item, r->items + r->head * r->item_size, r->item_size);
        r->head = r->head + 1 == r->capacity ? 0 : r->head + 1;
        r->count--;
        pthread_cond_signal(&r->not_full);
    }
    pthread_mutex_unlock(&r->mutex);
    return taken;
}

static void ring_close(struct ring *r)
{
    pthread_mutex_lock(&r->mutex);
    r->closed = true;
    pthread_cond_broadcast(&r->not_empty);
    pthread_cond_broadcast(&r->not_full);
    pthread_mutex_unlock(&r->mutex);
}

static size_t ring_count(struct ring *r)
{
    pthread_mutex_lock(&r->mutex);
    size_t count = r->count;
    pthread_mutex_unlock(&r->mutex);
    return count;
}

/* ---- the queue ---- */

struct tl_queue {
    struct ring ring;
};

enum tl_code tl_queue_new(size_t capacity, struct tl_queue **out, struct tl_status *st)
{
    struct tl_queue *q = calloc(1, sizeof(*q));
    if (!q)
        return TL_FAIL(st, TL_LIMIT, "no memory for a queue");
    enum tl_code rc = ring_init(&q->ring, sizeof(void *), capacity, st);
    if (rc) {
        free(q);
        return rc;
    }
    *out = q;
    return TL_OK;
}

void tl_queue_free(struct tl_queue *q)
{
    if (!q)
        return;
    ring_deinit(&q->ring);
    free(q);
}

bool tl_queue_push(struct tl_queue *q, void *item)
{
    tl_assert(item != NULL);
    return ring_put(&q->ring, &item, true);
}

bool tl_queue_try_push(struct tl_queue *q, void *item)
{
    tl_assert(item != NULL);
    return ring_put(&q->ring, &item, false);
}

void *tl_queue_pop(struct tl_queue *q)
{
    void *item;
    return ring_take(&q->ring, &item, true, NULL) ? item : NULL;
}

void *tl_queue_pop_timed(struct tl_queue *q, uint32_t timeout_ms)
{
    struct timespec deadline = time_after(CLOCK_MONOTONIC, timeout_ms);
    void *item;
    return ring_take(&q->ring, &item, true, &deadline) ? item : NULL;
}

void *tl_queue_try_pop(struct tl_queue *q)
{
    void *item;
    return ring_take(&q->ring, &item, false, NULL) ? item : NULL;
}

void tl_queue_close(struct tl_queue *q)
{
    ring_close(&q->ring);
}

size_t tl_queue_count(struct tl_queue *q)
{
    return ring_count(&q->ring);
}

/* ---- the pool ---- */

struct job {
    tl_pool_fn *fn;
    void *arg;
};

struct worker {
    struct tl_pool *pool;
    struct tl_thread thread;
    uint32_t index;
};

struct tl_pool {
    struct ring jobs;
    uint32_t thread_count;
    struct worker workers[];
};

static void worker_main(void *arg)
{
    struct worker *w = arg;
    struct job job;
    while (ring_take(&w->pool->jobs, &job, true, NULL))
        job.fn(job.arg, w->index);
}

enum tl_code tl_pool_new(const char *name, uint32_t thread_count, size_t capacity,
                         struct tl_pool **out, struct tl_status *st)
{
    tl_assert(thread_count > 0);
    struct tl_pool *p = calloc(1, sizeof(*p) + thread_count * sizeof(p->workers[0]));
    if (!p)
        return TL_FAIL(st, TL_LIMIT, "no memory for a pool of %u threads", thread_count);
    enum tl_code rc = ring_init(&p->jobs, sizeof(struct job), capacity, st);
    if (rc) {
        free(p);
        return rc;
    }
    p->thread_count = thread_count;
    for (uint32_t i = 0; i < thread_count; i++) {
        struct worker *w = &p->workers[i];
        w->pool = p;
        w->index = i;
        char full_name[32];
        snprintf(full_name, sizeof(full_name), "%.10s-%u", name, i);
        rc = tl_thread_start(&w->thread, full_name, worker_main, w, st);
        if (rc) {
            tl_pool_free(p);
            return rc;
        }
    }
    *out = p;
    return TL_OK;
}

void tl_pool_free(struct tl_pool *p)
{
    if (!p)
        return;
    ring_close(&p->jobs);
    for (uint32_t i = 0; i < p->thread_count; i++)
        tl_thread_join(&p->workers[i].thread);
    ring_deinit(&p->jobs);
    free(p);
}

bool tl_pool_submit(struct tl_pool *p, tl_pool_fn *fn, void *arg)
{
    struct job job = {fn, arg};
    return ring_put(&p->jobs, &job, true);
}

bool tl_pool_try_submit(struct tl_pool *p, tl_pool_fn *fn, void *arg)
{
    struct job job = {fn, arg};
    return ring_put(&p->jobs, &job, false);
}

void tl_pool_close(struct tl_pool *p)
{
    ring_close(&p->jobs);
}

uint32_t tl_pool_thread_count(const struct tl_pool *p)
{
    return p->thread_count;
}

size_t tl_pool_waiting(struct tl_pool *p)
{
    return ring_count(&p->jobs);
}
