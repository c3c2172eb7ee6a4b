/*
 * storage/io_queue.c: reads in flight, begun by one thread and waited for by any.
 *
 * The rings of io_uring.c belong to their threads, and a scan's morsels do not: who opens a morsel
 * need not be who read ahead for it. So a queue has a ring of its own under a lock. Whoever waits
 * first becomes the reaper: without the lock it waits until the ring has something to tell, takes
 * all completions, and wakes the others. Nobody but the reaper takes completions, so none is
 * waited for in vain.
 *
 * The ring is for the plain case alone. A request that could not be submitted, came short, or
 * failed is read again at the wait, synchronously, and that read's answer counts.
 */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "storage/io_int.h"

enum { QUEUE_ENTRIES = 128, QUEUE_TRANSFER_MAX = 1 << 30 };

struct tl_io_queue {
    struct tl_io *io;
    bool ring_open;
    struct io_uring ring;
    pthread_mutex_t lock; /* all below, the submission side of the ring, and `pending` of flights */
    pthread_cond_t reaped;
    bool reaping;
    uint32_t in_flight; /* at most the ring's entries: completions never overflow */
};

/* What a completion is told by: the read, whose `got` holds the flight meanwhile. */
_Static_assert(sizeof(size_t) == sizeof(void *), "got holds a pointer while in flight");

enum tl_code tl_io_queue_new(struct tl_io *io, struct tl_io_queue **out, struct tl_status *st)
{
    struct tl_io_queue *q = calloc(1, sizeof(*q));
    if (!q)
        return TL_FAIL(st, TL_LIMIT, "no memory to read ahead");
    q->io = io;
    if (pthread_mutex_init(&q->lock, NULL) != 0) {
        free(q);
        return TL_FAIL(st, TL_LIMIT, "no mutex to read ahead");
    }
    pthread_cond_init(&q->reaped, NULL);
    q->ring_open =
        tl_io_maker_of(io) == TL_IO_URING && io_uring_queue_init(QUEUE_ENTRIES, &q->ring, 0) == 0;
    *out = q;
    return TL_OK;
}

void tl_io_queue_free(struct tl_io_queue *q)
{
    if (!q)
        return;
    tl_assert(q->in_flight == 0);
    if (q->ring_open)
        io_uring_queue_exit(&q->ring);
    pthread_cond_destroy(&q->reaped);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

/* Can the ring take it as it is? */
static bool plain(const struct tl_io_read *r)
{
    return r->size > 0 && tl__io_left(r) <= QUEUE_TRANSFER_MAX &&
           (!r->file->direct || r->whole_pages);
}

void tl_io_queue_begin(struct tl_io_queue *q, struct tl_io_flight *flight, struct tl_io_read *reads,
                       uint32_t count)
{
    *flight = (struct tl_io_flight){.reads = reads, .count = count, .begun = true};
    for (uint32_t i = 0; i < count; i++) {
        reads[i].got = 0;
        reads[i].code = TL_IO; /* until it has come */
    }
    if (!q->ring_open)
        return;
    pthread_mutex_lock(&q->lock);
    uint32_t queued = 0;
    for (uint32_t i = 0; i < count && q->in_flight + queued < QUEUE_ENTRIES; i++) {
        if (!plain(&reads[i]) || io_uring_sq_space_left(&q->ring) == 0 || !tl__read_hold(&reads[i]))
            continue;
        struct io_uring_sqe *sqe = io_uring_get_sqe(&q->ring);
        tl_assert(sqe != NULL);
        io_uring_prep_read(sqe, tl__posix_fd(reads[i].file), reads[i].buffer,
                           (unsigned)tl__io_left(&reads[i]), reads[i].offset);
        io_uring_sqe_set_data(sqe, &reads[i]);
        reads[i].got = (size_t)(uintptr_t)flight;
        queued++;
    }
    /* What the kernel does not take now stays in the ring and goes with the next submission. */
    (void)io_uring_submit(&q->ring);
    flight->pending = queued;
    q->in_flight += queued;
    pthread_mutex_unlock(&q->lock);
}

static void reap_locked(struct tl_io_queue *q)
{
    struct io_uring_cqe *cqe;
    while (io_uring_peek_cqe(&q->ring, &cqe) == 0) {
        struct tl_io_read *r = io_uring_cqe_get_data(cqe);
        struct tl_io_flight *flight = (struct tl_io_flight *)(uintptr_t)r->got;
        int result = cqe->res;
        io_uring_cqe_seen(&q->ring, cqe);
        bool whole = result >= 0 && (size_t)result >= r->size;
        r->got = whole ? r->size : 0;
        r->code = whole ? TL_OK : TL_IO;
        flight->pending--;
        q->in_flight--;
        tl__read_release(r);
    }
}

/* The ring has something to tell, or might. */
static void wait_for_ring(struct tl_io_queue *q)
{
    struct pollfd p = {.fd = q->ring.ring_fd, .events = POLLIN};
    while (poll(&p, 1, -1) < 0 && errno == EINTR)
        ;
}

static bool wait_for_flight(struct tl_io_queue *q, struct tl_io_flight *flight)
{
    bool late = false;
    pthread_mutex_lock(&q->lock);
    if (flight->pending > 0 && !q->reaping)
        reap_locked(q);
    while (flight->pending > 0) {
        late = true;
        if (q->reaping) {
            pthread_cond_wait(&q->reaped, &q->lock);
            continue;
        }
        q->reaping = true;
        if (io_uring_sq_ready(&q->ring) > 0)
            (void)io_uring_submit(&q->ring);
        bool submitted = io_uring_sq_ready(&q->ring) == 0;
        pthread_mutex_unlock(&q->lock);
        if (submitted)
            wait_for_ring(q);
        pthread_mutex_lock(&q->lock);
        reap_locked(q);
        q->reaping = false;
        pthread_cond_broadcast(&q->reaped);
    }
    pthread_mutex_unlock(&q->lock);
    return late;
}

enum tl_code tl_io_queue_wait(struct tl_io_queue *q, struct tl_io_flight *flight, bool *late,
                              struct tl_status *st)
{
    tl_assert(flight->begun);
    bool waited = wait_for_flight(q, flight);
    flight->begun = false;
    enum tl_code rc = TL_OK;
    uint32_t whole = 0;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < flight->count; i++) {
        struct tl_io_read *r = &flight->reads[i];
        if (r->code == TL_OK) {
            whole++;
            bytes += r->size;
            continue;
        }
        waited = true;
        if (rc) {
            r->got = 0;
            continue; /* the first failure is the answer */
        }
        rc = tl_io_read_batch(q->io, r, 1, st);
    }
    tl__io_count_reads(q->io, whole, bytes);
    if (late)
        *late = waited;
    return rc;
}
