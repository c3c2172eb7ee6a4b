/*
 * storage/io.h: the only door to the disk.
 *
 * A struct tl_io stands for one directory; every name is relative to it ("log/0000000001.log").
 * Three makers stand behind one table of functions: uring (one ring per thread), posix
 * (pread/pwrite, where io_uring is denied), and sim (an in-memory disk that can fail, for tests).
 * Nothing here is mapped into memory.
 *
 * What callers may rely on, and must do:
 *   (1) Bytes are durable after tl_io_sync() or tl_io_commit_wait() answered TL_OK; never before.
 *   (2) A new file, a rename and a removal are durable after tl_io_sync_dir() of their directory.
 *   (3) The first failed write, sync, truncate or zero-fill poisons the file: from then on it
 *       answers every operation with that status, and nothing is retried. What an earlier
 *       unsynced write left on the disk is unknown then.
 *   (4) Short transfers, EINTR and EAGAIN are handled here; a caller sees all or a failure.
 *
 * Ownership  the caller closes files (tl_io_close) before it frees the io (tl_io_free). Buffers
 *            are borrowed for the call; those of a commit from begin to wait.
 * Threads    any thread, any number at once, on one io. A file may be read by any number of
 *            threads; at most one at a time changes it. A commit is waited for by the thread that
 *            began it. All threads that used an io are done with it before tl_io_free.
 * Units      bytes.
 * Errors     TL_IO with the errno, TL_FULL (disk or quota full), TL_NOT_FOUND, TL_EXISTS,
 *            TL_BUSY (a lock is held; the text names the pid), TL_CORRUPT (fewer bytes than were
 *            asked for), TL_CLOSED (sim: the power is cut), TL_INVALID (a name that leaves the
 *            directory).
 */
#ifndef TALLY_STORAGE_IO_H
#define TALLY_STORAGE_IO_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"

struct tl_io;
struct tl_file;
struct tl_io_commit;

enum {
    TL_IO_NAME_MAX = 200,     /* bytes of a name, its directories counted */
    TL_IO_SLICES_MAX = 64,    /* slices of one write or commit */
    TL_IO_SECTOR_BYTES = 512, /* what a disk writes whole or not at all */
    TL_IO_PAGE_BYTES = 4096,  /* what the page cache writes back; align what must not share fate */
};

enum tl_io_mode {
    TL_IO_READ,   /* an existing file, never changed through this handle */
    TL_IO_DIRECT, /* the same, past the page cache (O_DIRECT) where the file system can */
    TL_IO_WRITE,  /* an existing file, read and written */
    TL_IO_CREATE, /* a new file, read and written; TL_EXISTS when the name is taken */
};

enum tl_io_maker { TL_IO_URING, TL_IO_POSIX, TL_IO_SIM };

/* ---- making ---- */

/* Opens the existing directory `dir`. uring answers TL_UNSUPPORTED where the kernel or a sandbox
 * denies io_uring (setup, registration and a NOP round trip are tried). */
TL_CHECK enum tl_code tl_io_open_uring(const char *dir, struct tl_io **out, struct tl_status *st);
TL_CHECK enum tl_code tl_io_open_posix(const char *dir, struct tl_io **out, struct tl_status *st);

/* uring, or posix where uring is denied. *maker (may be NULL) says which one it became; *why (may
 * be NULL) then holds the reason that uring was refused, for the caller's log line. */
TL_CHECK enum tl_code tl_io_open_default(const char *dir, struct tl_io **out,
                                         enum tl_io_maker *maker, struct tl_status *why,
                                         struct tl_status *st);
void tl_io_free(struct tl_io *io); /* NULL is fine */

enum tl_io_maker tl_io_maker_of(const struct tl_io *io);
const char *tl_io_maker_name(enum tl_io_maker maker); /* "uring", "posix", "sim" */

/* ---- files ---- */

TL_CHECK enum tl_code tl_io_open(struct tl_io *io, const char *name, enum tl_io_mode mode,
                                 struct tl_file **out, struct tl_status *st);
/* At most so many DIRECT files, more only while they are read, keep a descriptor; the others are
 * opened again by their names, which must stay theirs. 0, as it begins: no bound. Any thread. */
void tl_io_bound_files(struct tl_io *io, uint32_t open_max);
void tl_io_close(struct tl_file *file); /* NULL is fine; does not sync */
const char *tl_io_name(const struct tl_file *file);
TL_CHECK enum tl_code tl_io_size(struct tl_file *file, uint64_t *out, struct tl_status *st);

/* One request of a batch. */
struct tl_io_read {
    struct tl_file *file; /* files of one io; any mixture */
    uint64_t offset;
    size_t size;
    void *buffer;      /* `size` bytes */
    bool whole_pages;  /* offset and buffer are multiples of TL_IO_PAGE_BYTES, and the buffer has
                          room for the whole last page, which may be written: such a read of a
                          DIRECT file goes straight there, others by way of a buffer of their own */
    size_t got;        /* out: bytes read; less than size at the end of the file or on failure */
    enum tl_code code; /* out: TL_OK, TL_CORRUPT (the file ends before offset + size), TL_IO, … */
    int os_error;      /* out: errno with TL_IO */
};

/* Reads all requests, submitted at once. TL_OK when every one is whole; otherwise the first
 * failure in array order, with every request's own result filled in. count 0 is fine. */
TL_CHECK enum tl_code tl_io_read_batch(struct tl_io *io, struct tl_io_read *reads, uint32_t count,
                                       struct tl_status *st);
/* Exactly `size` bytes, or TL_CORRUPT. */
TL_CHECK enum tl_code tl_io_read(struct tl_file *file, uint64_t offset, void *buffer, size_t size,
                                 struct tl_status *st);
/* Up to `size` bytes: *got is less only at the end of the file. */
TL_CHECK enum tl_code tl_io_read_some(struct tl_file *file, uint64_t offset, void *buffer,
                                      size_t size, size_t *got, struct tl_status *st);

/* Reads in flight while their callers do other work: for those who read ahead. With uring they
 * share one ring of their own; with the other makers the wait does the reading. */
struct tl_io_queue;
struct tl_io_flight {
    struct tl_io_read *reads; /* given to begin; they and their buffers stay until the wait */
    uint32_t count;
    uint32_t pending; /* the queue's, as the next */
    bool begun;
};
TL_CHECK enum tl_code tl_io_queue_new(struct tl_io *io, struct tl_io_queue **out,
                                      struct tl_status *st);
/* Every flight was waited for. NULL is fine. */
void tl_io_queue_free(struct tl_io_queue *q);
/* Cannot fail: what does not go now goes at the wait. Any thread. */
void tl_io_queue_begin(struct tl_io_queue *q, struct tl_io_flight *flight, struct tl_io_read *reads,
                       uint32_t count);
/* As tl_io_read_batch answers. Any thread, one per flight. *late (may be NULL): it was not all
 * there yet. */
TL_CHECK enum tl_code tl_io_queue_wait(struct tl_io_queue *q, struct tl_io_flight *flight,
                                       bool *late, struct tl_status *st);

/* Writes the slices one after the other at offset; not durable yet. */
TL_CHECK enum tl_code tl_io_write(struct tl_file *file, uint64_t offset,
                                  const struct tl_slice *slices, uint32_t count,
                                  struct tl_status *st);
/* fdatasync: data, and as much of the size as is needed to read it. */
TL_CHECK enum tl_code tl_io_sync(struct tl_file *file, struct tl_status *st);

/* A write followed by a sync, in flight while the caller does other work. One per file at a time;
 * neither the slices nor their bytes may change before the wait. Every begin that answered TL_OK
 * must be waited for, before the file is closed. */
TL_CHECK enum tl_code tl_io_commit_begin(struct tl_file *file, uint64_t offset,
                                         const struct tl_slice *slices, uint32_t count,
                                         struct tl_io_commit **out, struct tl_status *st);
/* From now on commits and zero-fills of the file go around the page cache where system and
 * alignment allow (offset, sizes and memory in whole TL_IO_PAGE_BYTES): one request that writes
 * and syncs its own bytes, at a third of the CPU. Called right after tl_io_open, by whoever
 * changes the file. Speed alone changes: where it cannot be, commits are as before. A commit then
 * makes durable what it wrote; what was written to the file otherwise needs a tl_io_sync. */
void tl_io_commit_direct(struct tl_file *file);
/* Would the wait answer at once? False where that cannot be known. Lets others go first for a
 * moment, if it would not; the thread that began it. */
bool tl_io_commit_ready(struct tl_io_commit *commit);
/* TL_OK: durable. The commit is gone in any case. */
TL_CHECK enum tl_code tl_io_commit_wait(struct tl_io_commit *commit, struct tl_status *st);

/* Reserves the disk space of [0, size), so that a full disk shows now and not at a commit; the
 * file's size grows to at least `size`. Reserved bytes read as zeros. */
TL_CHECK enum tl_code tl_io_preallocate(struct tl_file *file, uint64_t size, struct tl_status *st);
/* Writes zeros: blocks that were written once take later writes at twice the rate. */
TL_CHECK enum tl_code tl_io_zero(struct tl_file *file, uint64_t offset, uint64_t size,
                                 struct tl_status *st);
TL_CHECK enum tl_code tl_io_truncate(struct tl_file *file, uint64_t size, struct tl_status *st);

/* ---- names ---- */

/* Replaces `to` when it exists. */
TL_CHECK enum tl_code tl_io_rename(struct tl_io *io, const char *from, const char *to,
                                   struct tl_status *st);
TL_CHECK enum tl_code tl_io_remove(struct tl_io *io, const char *name, struct tl_status *st);
TL_CHECK enum tl_code tl_io_exists(struct tl_io *io, const char *name, bool *out,
                                   struct tl_status *st);
/* TL_EXISTS when the name is taken; tl_io_ensure_dir takes an existing directory as success. */
TL_CHECK enum tl_code tl_io_mkdir(struct tl_io *io, const char *name, struct tl_status *st);
TL_CHECK enum tl_code tl_io_ensure_dir(struct tl_io *io, const char *name, struct tl_status *st);
/* Makes creations, renames and removals in `dir` durable; "" is the io's own directory. */
TL_CHECK enum tl_code tl_io_sync_dir(struct tl_io *io, const char *dir, struct tl_status *st);

/* The names in a directory without "." and "..", in byte order, so that no order of the file
 * system leaks into what we do. Directories are listed too. */
struct tl_io_names {
    char **names; /* each a string of its own, without the directory */
    uint32_t count;
};
TL_CHECK enum tl_code tl_io_list(struct tl_io *io, const char *dir, struct tl_io_names *out,
                                 struct tl_status *st);
void tl_io_names_free(struct tl_io_names *names);

/* Takes the lock file `name` (created when missing) for this process and writes the pid into it.
 * TL_BUSY names the holder's pid. The lock ends with tl_io_close(*out), or with the process. */
TL_CHECK enum tl_code tl_io_lock(struct tl_io *io, const char *name, struct tl_file **out,
                                 struct tl_status *st);

/* ---- counters ---- */

/* Since the io was made. Relaxed: sums that order nothing. */
struct tl_io_counters {
    _Atomic uint64_t reads;         /* requests */
    _Atomic uint64_t read_bytes;    /* bytes got */
    _Atomic uint64_t read_batches;  /* calls that submitted them */
    _Atomic uint64_t writes;        /* writes and commits */
    _Atomic uint64_t written_bytes; /* zero-fills counted */
    _Atomic uint64_t syncs;         /* of files and directories, commits counted */
};
const struct tl_io_counters *tl_io_counters(const struct tl_io *io);

#endif
