/*
 * base/thread.h: threads, a bounded queue of pointers, and a pool of workers.
 *
 * Threads talk by messages: a push hands over what the pointer stands for. A full queue is
 * backpressure: whoever may wait uses push, the event loop uses try_push and tells its client.
 * The queue is a ring under one mutex: messages are batches and morsels, not rows.
 *
 * Ownership  a queue never frees its items; after close, pop the rest. A pool runs all that was
 *            submitted before it ends.
 * Threads    queues and pools: any; new and free: one.
 * Errors     TL_LIMIT: no memory, or the system gives no more threads.
 */
#ifndef TALLY_BASE_THREAD_H
#define TALLY_BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Deep but bounded recursions (a grammar of someone else's) fit into this. */
enum { TL_THREAD_STACK_BYTES = 8 << 20 };

struct tl_thread {
    pthread_t id;
    bool running; /* started and not yet joined */
};

/* Starts fn(arg) in a thread that takes no signals. The name is cut at 15 bytes. */
TL_CHECK enum tl_code tl_thread_start(struct tl_thread *t, const char *name, void (*fn)(void *arg),
                                      void *arg, struct tl_status *st);
/* Waits for its end; nothing to do for one that never started. */
void tl_thread_join(struct tl_thread *t);
/* Lets other threads of the machine go before the calling one, by so many steps of nice(1): where
 * processors are short, work that can wait does. Never undone. */
void tl_thread_stand_back(int steps);
/* The calling thread works in short pieces that somebody waits for: where the system knows of such
 * threads (Linux 6.12), it wakes up before those that compute, and gets no more of the processor
 * for it. Elsewhere nothing changes. */
void tl_thread_be_prompt(void);
/* Processors that this process may use; at least 1. */
uint32_t tl_thread_cpu_count(void);
/* Waits on a condition for at most that long; false when the time is up. The lock is held before
 * and after. */
bool tl_thread_wait(pthread_cond_t *changed, pthread_mutex_t *lock, uint32_t timeout_ms);

struct tl_queue;

TL_CHECK enum tl_code tl_queue_new(size_t capacity, struct tl_queue **out, struct tl_status *st);
/* The queue must be empty or its items owned elsewhere, and nobody may wait in it. */
void tl_queue_free(struct tl_queue *q);
/* Waits for room. False: closed, and the item is still the caller's. Items are never NULL. */
TL_CHECK bool tl_queue_push(struct tl_queue *q, void *item);
/* False: full or closed. */
TL_CHECK bool tl_queue_try_push(struct tl_queue *q, void *item);
/* Waits for an item. NULL: closed, and nothing is left. */
void *tl_queue_pop(struct tl_queue *q);
/* Waits at most timeout_ms. NULL also when the time is over. */
void *tl_queue_pop_timed(struct tl_queue *q, uint32_t timeout_ms);
/* NULL: nothing there now. */
void *tl_queue_try_pop(struct tl_queue *q);
/* No more pushes; wakes all that wait. Twice is fine. */
void tl_queue_close(struct tl_queue *q);
/* Items in it at this moment. */
size_t tl_queue_count(struct tl_queue *q);

struct tl_pool;

/* `worker` is 0 … thread_count-1: the index of the worker's own arena, ring, scratch. */
typedef void tl_pool_fn(void *arg, uint32_t worker);

/* thread_count workers and room for `capacity` jobs that wait. */
TL_CHECK enum tl_code tl_pool_new(const char *name, uint32_t thread_count, size_t capacity,
                                  struct tl_pool **out, struct tl_status *st);
/* Runs what was submitted, then joins the workers. NULL is fine. Not from a worker. */
void tl_pool_free(struct tl_pool *p);
/* Waits for room. False: the pool is closed. Not from a worker of the same pool, which could
 * wait for itself: there use try_submit, and do the work in place when it is refused. */
TL_CHECK bool tl_pool_submit(struct tl_pool *p, tl_pool_fn *fn, void *arg);
TL_CHECK bool tl_pool_try_submit(struct tl_pool *p, tl_pool_fn *fn, void *arg);
/* Refuses further jobs; those submitted still run. */
void tl_pool_close(struct tl_pool *p);
uint32_t tl_pool_thread_count(const struct tl_pool *p);
/* Jobs that wait for a worker at this moment. */
size_t tl_pool_waiting(struct tl_pool *p);

#endif
