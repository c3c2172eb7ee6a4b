/*
 * storage/io_int.h: what a maker of struct tl_io fills in; for storage/io*.c alone.
 *
 * io.c checks names, counts, loops over short transfers and poisons; a maker makes one attempt at
 * a time. uring is posix with other reads and commits, so posix's functions are shared here.
 */
#ifndef TALLY_STORAGE_IO_INT_H
#define TALLY_STORAGE_IO_INT_H

#include <pthread.h>
#include <sys/uio.h>

#include "storage/io.h"

enum { TL__IO_BATCH = 256 }; /* read requests in flight at once, per call */

/* A commit lives in its file: there is one at a time. */
struct tl_io_commit {
    struct tl_file *file;
    uint64_t offset;
    struct tl_slice slices[TL_IO_SLICES_MAX];
    struct iovec iov[TL_IO_SLICES_MAX];
    uint32_t count;
    size_t total;
    bool in_flight;
    /* Set by the maker; read after its commit_wait. */
    size_t moved;             /* bytes written */
    bool synced;              /* the sync ran after all `total` bytes, and succeeded */
    struct tl_status failure; /* of the write or the sync */
    /* The maker's own. */
    bool direct;      /* around the page cache, in one request */
    bool by_thread;   /* uring: handed to posix's helper thread */
    uint32_t pending; /* uring: completions to come */
    bool done;        /* posix: under its lock */
    struct tl_io_commit *next;
};

struct tl_file {
    struct tl_io *io;
    enum tl_io_mode mode;
    bool direct;           /* set by the maker's open: reads keep to whole pages */
    _Atomic bool poisoned; /* release after `poison` is set; acquire before it is read */
    struct tl_status poison;
    struct tl_io_commit commit;
    char name[TL_IO_NAME_MAX + 1];
};

struct tl_io_vtable {
    enum tl_io_maker maker;
    void (*free)(struct tl_io *io);
    enum tl_code (*open)(struct tl_io *io, const char *name, enum tl_io_mode mode,
                         struct tl_file **out, struct tl_status *st);
    void (*close)(struct tl_file *file);
    /* NULL where files have no descriptors. A DIRECT file is read between hold, which answers with
     * an errno or 0, and release. */
    int (*hold)(struct tl_file *file);
    void (*release)(struct tl_file *file);
    void (*bound_files)(struct tl_io *io, uint32_t open_max);
    enum tl_code (*size)(struct tl_file *file, uint64_t *out, struct tl_status *st);
    /* One attempt at each request from its `got` on: adds to `got`, sets `code`. A request that
     * stays where it was without a failure is at the end of its file. At most TL__IO_BATCH. Of a
     * direct file all requests are of whole pages, and tl__io_left says how much to read: `got` may
     * come to more than `size`. */
    void (*read)(struct tl_io *io, struct tl_io_read **reads, uint32_t count);
    /* One attempt: *moved > 0, or a failure. */
    enum tl_code (*write)(struct tl_file *file, uint64_t offset, const struct tl_slice *slices,
                          uint32_t count, size_t *moved, struct tl_status *st);
    enum tl_code (*sync)(struct tl_file *file, struct tl_status *st);
    enum tl_code (*commit_begin)(struct tl_io_commit *c, struct tl_status *st);
    void (*commit_wait)(struct tl_io_commit *c);
    bool (*commit_ready)(struct tl_io_commit *c); /* may be NULL: nobody knows */
    void (*commit_direct)(struct tl_file *file);  /* NULL: there is no other way */
    enum tl_code (*preallocate)(struct tl_file *file, uint64_t size, struct tl_status *st);
    enum tl_code (*truncate)(struct tl_file *file, uint64_t size, struct tl_status *st);
    enum tl_code (*rename)(struct tl_io *io, const char *from, const char *to,
                           struct tl_status *st);
    enum tl_code (*remove)(struct tl_io *io, const char *name, struct tl_status *st);
    enum tl_code (*exists)(struct tl_io *io, const char *name, bool *out, struct tl_status *st);
    enum tl_code (*mkdir)(struct tl_io *io, const char *name, struct tl_status *st);
    enum tl_code (*sync_dir)(struct tl_io *io, const char *dir, struct tl_status *st);
    enum tl_code (*list)(struct tl_io *io, const char *dir, struct tl_io_names *out,
                         struct tl_status *st);
    enum tl_code (*lock)(struct tl_io *io, const char *name, struct tl_file **out,
                         struct tl_status *st);
};

struct tl_io {
    const struct tl_io_vtable *vtab;
    struct tl_io_counters counters;
};

/* What is left to be read of a request. */
static inline size_t tl__io_left(const struct tl_io_read *r)
{
    size_t left = r->size - r->got;
    return r->file->direct ? (left + TL_IO_PAGE_BYTES - 1) & ~(size_t)(TL_IO_PAGE_BYTES - 1) : left;
}

/* Adds a copy of a name; for makers' list. */
TL_CHECK enum tl_code tl__io_names_add(struct tl_io_names *names, const char *name,
                                       struct tl_status *st);
/* Adds to the counters what was read past tl_io_read_batch. */
void tl__io_count_reads(struct tl_io *io, uint32_t reads, uint64_t bytes);
/* The tl_code of an errno. */
enum tl_code tl__io_code(int os_error);

/* ---- posix, shared with uring ---- */

struct tl__posix_io {
    struct tl_io base;
    int dir;
    /* The helper thread that performs commits; started by the first one. */
    pthread_mutex_t lock;
    pthread_cond_t work, finished;
    pthread_t thread;
    bool started, stop;                /* under lock */
    struct tl_io_commit *first, *last; /* queue, under lock */
    /* Of DIRECT files (io_files.c), under files_lock. */
    pthread_mutex_t files_lock;
    uint32_t open_max, open_count; /* descriptors; 0: no bound */
    struct tl__posix_file *idle_first, *idle_last;
};

struct tl__posix_file {
    struct tl_file base;
    int fd;
    int direct_fd; /* the same file, opened to go around the page cache; -1: none */
    /* DIRECT: under files_lock; fd is -1 while it is closed. */
    uint32_t holders;
    bool idle;
    struct tl__posix_file *idle_before, *idle_after;
    dev_t device;
    ino_t inode;
};

TL_CHECK enum tl_code tl__posix_init(struct tl__posix_io *io, const struct tl_io_vtable *vtab,
                                     const char *dir, struct tl_status *st);
void tl__posix_deinit(struct tl__posix_io *io);
/* The table of posix, to copy from. */
const struct tl_io_vtable *tl__posix_vtable(void);
/* ---- descriptors of DIRECT files (io_files.c); any thread ---- */
int tl__posix_hold(struct tl_file *file); /* an errno, or 0 */
void tl__posix_release(struct tl_file *file);
void tl__posix_bound_files(struct tl_io *base, uint32_t open_max);
void tl__posix_file_opened(struct tl_file *file);  /* its descriptor counts from now on */
void tl__posix_file_closing(struct tl_file *file); /* and no more */
/* A read may use the descriptor of its file until tl__read_release. False: it holds none, and
 * `code` and `os_error` say why. */
bool tl__read_hold(struct tl_io_read *r);
void tl__read_release(const struct tl_io_read *r);

/* One attempt at one request with pread. */
void tl__posix_read_one(struct tl_io_read *r);
/* A file system that took O_DIRECT at the open and refuses it now: reads go by the page cache from
 * now on. False when that was not it. */
bool tl__posix_undirect(struct tl_file *file);
/* May these bytes go through direct_fd? */
bool tl__posix_is_direct(const struct tl_file *file, uint64_t offset, const struct iovec *iov,
                         uint32_t count);
static inline int tl__posix_direct_fd(const struct tl_file *file)
{
    return ((const struct tl__posix_file *)(const void *)file)->direct_fd;
}
static inline int tl__posix_fd(const struct tl_file *file)
{
    return ((const struct tl__posix_file *)(const void *)file)->fd;
}

#endif
