/*
 * storage/io_uring.c: the disk through io_uring, one ring per thread.
 *
 * What gains by a ring goes through it: batches of reads (all in flight at once) and commits: a
 * write linked to its fdatasync, or around the page cache one write that syncs itself, in flight
 * while the caller works on. Everything else is a plain
 * system call and taken from posix.
 *
 * Invariants
 *   (1) A ring is used by the thread that made it and by no other; it ends with the thread, or
 *       with the io.
 *   (2) When read() returns, no read is in flight; a ring then holds at most the commits of its
 *       thread.
 *   (3) The submission queue is empty between calls.
 *
 * A thread whose ring cannot be made (limits of memory or descriptors) works without: by pread,
 * and by posix's helper thread.
 */
#include <errno.h>
#include <liburing.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "storage/io_int.h"

enum {
    /* Commits take two entries each beside a full batch of reads. */
    RING_ENTRIES = 2 * TL__IO_BATCH,
    /* A page that is cached is copied by pread in less time than a trip through a ring takes
     * (1.1 million a second against 0.8 measured), and one or two cold pages gain nothing. */
    DIRECT_READS_MAX = 2,
    TRANSFER_MAX = 1 << 30,
};

/* What a completion belongs to: the low bits of its user_data. */
enum {
    TAG_COMMIT_DIRECT = 0,
    TAG_READ = 1,
    TAG_COMMIT_WRITE = 2,
    TAG_COMMIT_SYNC = 3,
    TAG_MASK = 3
};

struct uring_io;

struct ring {
    struct io_uring ring;
    struct uring_io *io;
    struct ring *next, *previous; /* under the io's lock */
};

struct uring_io {
    struct tl__posix_io posix;
    pthread_key_t key; /* the thread's ring in this io */
    pthread_mutex_t rings_lock;
    struct ring *rings;
};

static struct uring_io *uring_of(struct tl_io *io)
{
    return (struct uring_io *)(void *)io;
}

/* ---- rings ---- */

static void ring_end(void *arg) /* a thread ends */
{
    struct ring *r = arg;
    pthread_mutex_lock(&r->io->rings_lock);
    if (r->previous)
        r->previous->next = r->next;
    else
        r->io->rings = r->next;
    if (r->next)
        r->next->previous = r->previous;
    pthread_mutex_unlock(&r->io->rings_lock);
    io_uring_queue_exit(&r->ring);
    free(r);
}

/* The calling thread's ring; NULL when there cannot be one. */
static struct ring *ring_get(struct uring_io *io)
{
    struct ring *r = pthread_getspecific(io->key);
    if (r)
        return r;
    r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->io = io;
    if (io_uring_queue_init(RING_ENTRIES, &r->ring, 0) != 0) {
        free(r);
        return NULL;
    }
    if (pthread_setspecific(io->key, r) != 0) {
        io_uring_queue_exit(&r->ring);
        free(r);
        return NULL;
    }
    pthread_mutex_lock(&io->rings_lock);
    r->next = io->rings;
    if (r->next)
        r->next->previous = r;
    io->rings = r;
    pthread_mutex_unlock(&io->rings_lock);
    return r;
}

/* Submits what is queued. The kernel may take a part, be out of memory for a moment, or be
 * interrupted; anything else would be our own misuse of the ring. */
static void submit(struct ring *r, unsigned wait_for)
{
    for (;;) {
        int n = io_uring_submit_and_wait(&r->ring, wait_for);
        if (n < 0) {
            tl_assert(n == -EINTR || n == -EAGAIN || n == -EBUSY || n == -ENOMEM);
            if (io_uring_cq_ready(&r->ring) > 0)
                return; /* the caller reaps first, then comes again */
            sched_yield();
            continue;
        }
        if (io_uring_sq_ready(&r->ring) == 0)
            return;
    }
}

static void commit_completed(struct tl_io_commit *c, uint64_t tag, int result)
{
    tl_assert(c->pending > 0);
    c->pending--;
    if (tag == TAG_COMMIT_DIRECT) {
        if (result >= 0) {
            c->moved = (size_t)result;
            c->synced = c->moved == c->total;
        } else if (result != -EINTR && result != -EAGAIN && result != -EINVAL &&
                   result != -EOPNOTSUPP) { /* those: io.c does it by hand */
            (void)TL_FAIL_OS(&c->failure, tl__io_code(-result), -result,
                             "writing and syncing at %llu of %s", (unsigned long long)c->offset,
                             c->file->name);
        }
    } else if (tag == TAG_COMMIT_WRITE) {
        if (result >= 0)
            c->moved = (size_t)result;
        else if (result != -EINTR && result != -EAGAIN) /* those two: io.c goes on by hand */
            (void)TL_FAIL_OS(&c->failure, tl__io_code(-result), -result, "writing at %llu of %s",
                             (unsigned long long)c->offset, c->file->name);
    } else if (result == 0) {
        c->synced = true;
    } else if (result != -ECANCELED && result != -EINTR && result != -EAGAIN) {
        /* -ECANCELED: the write before it was short or failed. */
        (void)TL_FAIL_OS(&c->failure, tl__io_code(-result), -result, "syncing %s", c->file->name);
    }
}

static void read_completed(struct tl_io_read *r, int result)
{
    if (result >= 0) {
        r->got += (size_t)result;
    } else if (result == -EINTR || result == -EAGAIN || (result == -EINVAL && r->file->direct)) {
        tl__posix_read_one(r); /* waits as long as it takes */
    } else {
        r->os_error = -result;
        r->code = tl__io_code(-result);
    }
}

/* Handles what has completed; returns how many of `reads` did. */
static uint32_t reap(struct ring *r, struct tl_io_read **reads)
{
    struct io_uring_cqe *cqe;
    uint32_t done = 0;
    while (io_uring_peek_cqe(&r->ring, &cqe) == 0) {
        uint64_t data = cqe->user_data;
        int result = cqe->res;
        io_uring_cqe_seen(&r->ring, cqe);
        if ((data & TAG_MASK) == TAG_READ) {
            tl_assert(reads != NULL);
            read_completed(reads[data >> 2], result);
            done++;
        } else {
            commit_completed((struct tl_io_commit *)(uintptr_t)(data & ~(uint64_t)TAG_MASK),
                             data & TAG_MASK, result);
        }
    }
    return done;
}

static void uring_read(struct tl_io *io, struct tl_io_read **reads, uint32_t count)
{
    struct ring *r = count > DIRECT_READS_MAX ? ring_get(uring_of(io)) : NULL;
    if (!r) {
        for (uint32_t i = 0; i < count; i++)
            tl__posix_read_one(reads[i]);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&r->ring);
        tl_assert(sqe != NULL); /* (3), and count is at most half of the entries */
        size_t left = tl__io_left(reads[i]);
        if (left > TRANSFER_MAX)
            left = TRANSFER_MAX;
        io_uring_prep_read(sqe, tl__posix_fd(reads[i]->file),
                           (uint8_t *)reads[i]->buffer + reads[i]->got, (unsigned)left,
                           reads[i]->offset + reads[i]->got);
        io_uring_sqe_set_data64(sqe, (uint64_t)i << 2 | TAG_READ);
    }
    uint32_t done = 0;
    while (done < count) {
        submit(r, 1);
        done += reap(r, reads);
    }
    tl_assert(io_uring_sq_ready(&r->ring) == 0);
}

/* ---- commits ---- */

static void submit_all(struct ring *r)
{
    submit(r, 0);
    while (io_uring_sq_ready(&r->ring) > 0) { /* other commits' completions were in the way */
        (void)reap(r, NULL);
        submit(r, 0);
    }
}

static enum tl_code uring_commit_begin(struct tl_io_commit *c, struct tl_status *st)
{
    struct ring *r = c->total <= TRANSFER_MAX ? ring_get(uring_of(c->file->io)) : NULL;
    if (!r) {
        c->by_thread = true;
        return tl__posix_vtable()->commit_begin(c, st);
    }
    _Static_assert(_Alignof(struct tl_io_commit) >= 4, "the low bits hold a tag");
    c->direct = tl__posix_is_direct(c->file, c->offset, c->iov, c->count);
    int fd = c->direct ? tl__posix_direct_fd(c->file) : tl__posix_fd(c->file);
    struct io_uring_sqe *sqe = io_uring_get_sqe(&r->ring);
    tl_assert(sqe != NULL);
    if (c->direct) {
        io_uring_prep_writev2(sqe, fd, c->iov, c->count, c->offset, RWF_DSYNC);
        io_uring_sqe_set_data64(sqe, (uint64_t)(uintptr_t)c | TAG_COMMIT_DIRECT);
        c->pending = 1;
        submit_all(r);
        return TL_OK;
    }
    io_uring_prep_writev(sqe, fd, c->iov, c->count, c->offset);
    io_uring_sqe_set_flags(sqe, IOSQE_IO_LINK);
    io_uring_sqe_set_data64(sqe, (uint64_t)(uintptr_t)c | TAG_COMMIT_WRITE);
    sqe = io_uring_get_sqe(&r->ring);
    tl_assert(sqe != NULL);
    io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
    io_uring_sqe_set_data64(sqe, (uint64_t)(uintptr_t)c | TAG_COMMIT_SYNC);
    c->pending = 2;
    submit_all(r);
    return TL_OK;
}

static void uring_commit_wait(struct tl_io_commit *c)
{
    if (c->by_thread) {
        tl__posix_vtable()->commit_wait(c);
        return;
    }
    struct ring *r = ring_get(uring_of(c->file->io));
    tl_assert(r != NULL); /* the thread that began it */
    (void)reap(r, NULL);
    while (c->pending > 0) {
        submit(r, 1);
        (void)reap(r, NULL);
    }
}

static bool uring_commit_ready(struct tl_io_commit *c)
{
    if (c->by_thread)
        return false;
    struct ring *r = ring_get(uring_of(c->file->io));
    (void)reap(r, NULL);
    if (c->pending > 0) {
        /* A write that syncs is carried on by a thread of the kernel, on the processor that the
         * disk's interrupt came to: often this one, which the caller does not leave. */
        (void)sched_yield();
        (void)reap(r, NULL);
    }
    return c->pending == 0;
}

/* ---- making ---- */

static void uring_free(struct tl_io *base)
{
    struct uring_io *io = uring_of(base);
    pthread_key_delete(io->key); /* threads that end from now on leave their rings alone */
    while (io->rings) {
        struct ring *r = io->rings;
        io->rings = r->next;
        io_uring_queue_exit(&r->ring);
        free(r);
    }
    pthread_mutex_destroy(&io->rings_lock);
    tl__posix_deinit(&io->posix);
    free(io);
}

/* Sandboxes deny io_uring at any of its three system calls: all three are tried. */
static enum tl_code probe(struct tl_status *st)
{
    struct io_uring ring;
    int rc = io_uring_queue_init(4, &ring, 0);
    if (rc != 0)
        return TL_FAIL_OS(st, TL_UNSUPPORTED, -rc, "io_uring is denied at its setup");
    struct io_uring_probe *p = io_uring_get_probe_ring(&ring);
    if (!p) {
        io_uring_queue_exit(&ring);
        return TL_FAIL(st, TL_UNSUPPORTED, "io_uring is denied at its registration");
    }
    bool all = io_uring_opcode_supported(p, IORING_OP_READ) &&
               io_uring_opcode_supported(p, IORING_OP_WRITEV) &&
               io_uring_opcode_supported(p, IORING_OP_FSYNC);
    io_uring_free_probe(p);
    if (!all) {
        io_uring_queue_exit(&ring);
        return TL_FAIL(st, TL_UNSUPPORTED, "io_uring lacks an operation that is needed here");
    }
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    tl_assert(sqe != NULL);
    io_uring_prep_nop(sqe);
    do {
        rc = io_uring_submit_and_wait(&ring, 1);
    } while (rc == -EINTR);
    struct io_uring_cqe *cqe = NULL;
    bool round_trip = rc == 1 && io_uring_peek_cqe(&ring, &cqe) == 0 && cqe->res == 0;
    io_uring_queue_exit(&ring);
    if (!round_trip)
        return TL_FAIL_OS(st, TL_UNSUPPORTED, rc < 0 ? -rc : 0, "io_uring is denied at its use");
    return TL_OK;
}

static void vtable_make(struct tl_io_vtable *v)
{
    *v = *tl__posix_vtable();
    v->maker = TL_IO_URING;
    v->free = uring_free;
    v->read = uring_read;
    v->commit_begin = uring_commit_begin;
    v->commit_wait = uring_commit_wait;
    v->commit_ready = uring_commit_ready;
}

static struct tl_io_vtable uring_vtable;
static pthread_once_t uring_vtable_once = PTHREAD_ONCE_INIT;

static void vtable_once(void)
{
    vtable_make(&uring_vtable);
}

enum tl_code tl_io_open_uring(const char *dir, struct tl_io **out, struct tl_status *st)
{
    enum tl_code rc = probe(st);
    if (rc)
        return rc;
    pthread_once(&uring_vtable_once, vtable_once);
    struct uring_io *io = calloc(1, sizeof(*io));
    if (!io)
        return TL_FAIL(st, TL_LIMIT, "no memory to open the directory %s", dir);
    int err = pthread_key_create(&io->key, ring_end);
    if (err) {
        free(io);
        return TL_FAIL_OS(st, TL_UNSUPPORTED, err, "no thread-local place for io_uring's rings");
    }
    rc = tl__posix_init(&io->posix, &uring_vtable, dir, st);
    if (rc) {
        pthread_key_delete(io->key);
        free(io);
        return rc;
    }
    pthread_mutex_init(&io->rings_lock, NULL);
    *out = &io->posix.base;
    return TL_OK;
}
