/*
 * storage/io.c: what all makers share: names, modes, counters, short transfers, poison.
 *
 * Invariants
 *   (1) A maker is never called with a name that leaves the directory, nor with a poisoned file.
 *   (2) The first failure of a write, sync, truncate or preallocation is kept in the file and
 *       answered from then on.                    (test_io_sim: a_failed_sync_poisons)
 *   (3) Counters grow by what was really moved.
 */
#include "storage/io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "storage/io_int.h"

static void count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

enum tl_code tl__io_code(int os_error)
{
    switch (os_error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return TL_FULL;
    case ENOENT:
        return TL_NOT_FOUND;
    case EEXIST:
        return TL_EXISTS;
    case ENOMEM:
    case EMFILE:
    case ENFILE:
        return TL_LIMIT;
    default:
        return TL_IO;
    }
}

/* A relative path of plain components. The empty name is the directory itself. */
static enum tl_code check_name(const char *name, bool may_be_empty, struct tl_status *st)
{
    size_t size = strlen(name);
    if (size > TL_IO_NAME_MAX)
        return TL_FAIL(st, TL_INVALID, "a file name of %zu bytes is longer than %d", size,
                       TL_IO_NAME_MAX);
    if (size == 0 && may_be_empty)
        return TL_OK;
    for (const char *part = name;; part = strchr(part, '/') + 1) {
        size_t length = strcspn(part, "/");
        bool dots =
            (length == 1 && part[0] == '.') || (length == 2 && part[0] == '.' && part[1] == '.');
        if (length == 0 || dots)
            return TL_FAIL(st, TL_INVALID, "the file name \"%s\" is not plain and relative", name);
        if (part[length] == '\0')
            return TL_OK;
    }
}

static enum tl_code check_file(struct tl_file *file, struct tl_status *st)
{
    if (!atomic_load_explicit(&file->poisoned, memory_order_acquire))
        return TL_OK;
    if (st->code == TL_OK)
        *st = file->poison;
    return st->code;
}

static enum tl_code check_writable(struct tl_file *file, struct tl_status *st)
{
    tl_assert(file->mode != TL_IO_READ && file->mode != TL_IO_DIRECT);
    return check_file(file, st);
}

/* `st` holds the failure of a change; the file answers with it from now on. */
static enum tl_code poison(struct tl_file *file, struct tl_status *st)
{
    tl_assert(st->code != TL_OK);
    if (!atomic_load_explicit(&file->poisoned, memory_order_relaxed)) {
        file->poison = *st;
        atomic_store_explicit(&file->poisoned, true, memory_order_release);
    }
    return st->code;
}

/* ---- making ---- */

enum tl_code tl_io_open_default(const char *dir, struct tl_io **out, enum tl_io_maker *maker,
                                struct tl_status *why, struct tl_status *st)
{
    struct tl_status refused = TL_STATUS_INIT;
    enum tl_code rc = tl_io_open_uring(dir, out, &refused);
    if (rc == TL_OK) {
        if (maker)
            *maker = TL_IO_URING;
        return TL_OK;
    }
    if (rc != TL_UNSUPPORTED) { /* the directory is at fault, not the kernel */
        if (st->code == TL_OK)
            *st = refused;
        return st->code;
    }
    rc = tl_io_open_posix(dir, out, st);
    if (rc)
        return rc;
    if (maker)
        *maker = TL_IO_POSIX;
    if (why)
        *why = refused;
    return TL_OK;
}

void tl_io_free(struct tl_io *io)
{
    if (io)
        io->vtab->free(io);
}

enum tl_io_maker tl_io_maker_of(const struct tl_io *io)
{
    return io->vtab->maker;
}

const char *tl_io_maker_name(enum tl_io_maker maker)
{
    switch (maker) {
    case TL_IO_URING:
        return "uring";
    case TL_IO_POSIX:
        return "posix";
    case TL_IO_SIM:
        return "sim";
    }
    return "unknown";
}

const struct tl_io_counters *tl_io_counters(const struct tl_io *io)
{
    return &io->counters;
}

/* ---- files ---- */

static void file_init(struct tl_io *io, const char *name, enum tl_io_mode mode,
                      struct tl_file *file)
{
    file->io = io;
    file->mode = mode;
    memcpy(file->name, name, strlen(name) + 1);
}

enum tl_code tl_io_open(struct tl_io *io, const char *name, enum tl_io_mode mode,
                        struct tl_file **out, struct tl_status *st)
{
    enum tl_code rc = check_name(name, false, st);
    if (rc)
        return rc;
    struct tl_file *file = NULL;
    rc = io->vtab->open(io, name, mode, &file, st);
    if (rc)
        return rc;
    file_init(io, name, mode, file);
    if (mode == TL_IO_DIRECT && io->vtab->hold)
        tl__posix_file_opened(file);
    *out = file;
    return TL_OK;
}

void tl_io_bound_files(struct tl_io *io, uint32_t open_max)
{
    if (io->vtab->bound_files)
        io->vtab->bound_files(io, open_max);
}

bool tl__read_hold(struct tl_io_read *r)
{
    int error = r->file->io->vtab->hold ? r->file->io->vtab->hold(r->file) : 0;
    if (error) {
        r->code = tl__io_code(error);
        r->os_error = error;
    }
    return error == 0;
}

void tl__read_release(const struct tl_io_read *r)
{
    if (r->file->io->vtab->release)
        r->file->io->vtab->release(r->file);
}

void tl_io_close(struct tl_file *file)
{
    if (!file)
        return;
    tl_assert(!file->commit.in_flight);
    file->io->vtab->close(file);
}

const char *tl_io_name(const struct tl_file *file)
{
    return file->name;
}

enum tl_code tl_io_size(struct tl_file *file, uint64_t *out, struct tl_status *st)
{
    enum tl_code rc = check_file(file, st);
    return rc ? rc : file->io->vtab->size(file, out, st);
}

/* The request in whole pages, into a buffer of its own. NULL: no memory. */
static struct tl_io_read *detour_new(const struct tl_io_read *r)
{
    struct tl_io_read *d;
    size_t page = TL_IO_PAGE_BYTES, head = (size_t)(r->offset % page);
    size_t size = head + r->size;
    if (size < r->size || size > SIZE_MAX - 2 * page)
        return NULL;
    /* One page in front holds the request itself. */
    uint8_t *memory = aligned_alloc(page, page + (size + page - 1) / page * page);
    if (!memory)
        return NULL;
    d = (struct tl_io_read *)(void *)memory;
    *d = (struct tl_io_read){.file = r->file,
                             .offset = r->offset - head,
                             .size = size,
                             .buffer = memory + page,
                             .whole_pages = true};
    return d;
}

static void detour_end(struct tl_io_read *d, struct tl_io_read *r)
{
    size_t head = (size_t)(r->offset - d->offset);
    r->got = d->got > head ? d->got - head : 0;
    if (r->got > 0)
        memcpy(r->buffer, (const uint8_t *)d->buffer + head, r->got);
    r->code = d->code;
    r->os_error = d->os_error;
    free(d);
}

/* Is there anything behind what a request has got? Settles `got` and `code`. */
static bool goes_on(struct tl_io_read *r, size_t before)
{
    if (r->got >= r->size) {
        r->got = r->size;
        return false;
    }
    if (r->code)
        return false;
    /* A direct read that stops inside a page stopped at the end of the file. */
    if (r->got == before || (r->file->direct && r->got % TL_IO_PAGE_BYTES != 0)) {
        r->code = TL_CORRUPT;
        return false;
    }
    return true;
}

/* Reads up to TL__IO_BATCH requests; ends when each is whole, failed, or at its file's end. */
static void read_round(struct tl_io *io, struct tl_io_read *reads, uint32_t n)
{
    struct tl_io_read *pending[TL__IO_BATCH], *detours[TL__IO_BATCH];
    size_t before[TL__IO_BATCH];
    bool held[TL__IO_BATCH];
    uint32_t left = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct tl_status st = TL_STATUS_INIT;
        reads[i].got = 0;
        reads[i].os_error = 0;
        reads[i].code = check_file(reads[i].file, &st);
        tl_assert(reads[i].file->io == io);
        detours[i] = NULL;
        held[i] = false;
        if (reads[i].code) {
            reads[i].os_error = st.os_error;
        } else if (reads[i].size > 0 && (held[i] = tl__read_hold(&reads[i]))) {
            struct tl_io_read *r = &reads[i];
            if (r->file->direct && !r->whole_pages) {
                r = detours[i] = detour_new(r);
                if (!r)
                    reads[i].code = TL_LIMIT;
            }
            if (r)
                pending[left++] = r;
        }
    }
    while (left > 0) {
        for (uint32_t i = 0; i < left; i++)
            before[i] = pending[i]->got;
        io->vtab->read(io, pending, left);
        uint32_t again = 0;
        for (uint32_t i = 0; i < left; i++)
            if (goes_on(pending[i], before[i]))
                pending[again++] = pending[i];
        left = again;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (held[i])
            tl__read_release(&reads[i]);
        if (detours[i])
            detour_end(detours[i], &reads[i]);
    }
}

static enum tl_code read_failure(const struct tl_io_read *r, struct tl_status *st)
{
    if (atomic_load_explicit(&r->file->poisoned, memory_order_acquire))
        return check_file(r->file, st);
    if (r->code == TL_CORRUPT)
        return TL_FAIL(st, TL_CORRUPT, "%s ends at %llu: %zu bytes at %llu are missing",
                       r->file->name, (unsigned long long)(r->offset + r->got), r->size - r->got,
                       (unsigned long long)(r->offset + r->got));
    return TL_FAIL_OS(st, r->code, r->os_error, "reading %zu bytes at %llu of %s", r->size,
                      (unsigned long long)r->offset, r->file->name);
}

void tl__io_count_reads(struct tl_io *io, uint32_t reads, uint64_t bytes)
{
    if (reads == 0)
        return;
    count(&io->counters.reads, reads);
    count(&io->counters.read_bytes, bytes);
    count(&io->counters.read_batches, 1);
}

enum tl_code tl_io_read_batch(struct tl_io *io, struct tl_io_read *reads, uint32_t n,
                              struct tl_status *st)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n; i += TL__IO_BATCH)
        read_round(io, reads + i, n - i < TL__IO_BATCH ? n - i : TL__IO_BATCH);
    const struct tl_io_read *bad = NULL;
    for (uint32_t i = 0; i < n; i++) {
        bytes += reads[i].got;
        if (reads[i].code && !bad)
            bad = &reads[i];
    }
    tl__io_count_reads(io, n, bytes);
    return bad ? read_failure(bad, st) : TL_OK;
}

enum tl_code tl_io_read(struct tl_file *file, uint64_t offset, void *buffer, size_t size,
                        struct tl_status *st)
{
    struct tl_io_read r = {.file = file, .offset = offset, .size = size, .buffer = buffer};
    return tl_io_read_batch(file->io, &r, 1, st);
}

enum tl_code tl_io_read_some(struct tl_file *file, uint64_t offset, void *buffer, size_t size,
                             size_t *got, struct tl_status *st)
{
    enum tl_code rc = check_file(file, st);
    if (rc)
        return rc;
    struct tl_io_read r = {.file = file, .offset = offset, .size = size, .buffer = buffer};
    struct tl_status ignored = TL_STATUS_INIT;
    rc = tl_io_read_batch(file->io, &r, 1, &ignored);
    if (rc != TL_OK && r.code != TL_CORRUPT) {
        if (st->code == TL_OK)
            *st = ignored;
        return st->code;
    }
    *got = r.got;
    return TL_OK;
}

/* Drops `moved` bytes from the front of the slices; returns the first that has bytes left. */
static uint32_t skip_moved(struct tl_slice *slices, uint32_t first, uint32_t n, size_t moved)
{
    while (first < n && moved >= slices[first].size) {
        moved -= slices[first].size;
        first++;
    }
    if (first < n && moved > 0) {
        slices[first].data += moved;
        slices[first].size -= moved;
    }
    return first;
}

/* Writes all slices from byte `done` on. The slices are used up. */
static enum tl_code write_all(struct tl_file *file, uint64_t offset, struct tl_slice *slices,
                              uint32_t n, size_t done, struct tl_status *st)
{
    uint32_t first = skip_moved(slices, 0, n, done);
    offset += done;
    while (first < n) {
        size_t moved = 0;
        enum tl_code rc =
            file->io->vtab->write(file, offset, slices + first, n - first, &moved, st);
        if (rc)
            return rc;
        tl_assert(moved > 0);
        count(&file->io->counters.written_bytes, moved);
        offset += moved;
        first = skip_moved(slices, first, n, moved);
    }
    return TL_OK;
}

static enum tl_code copy_slices(const struct tl_slice *slices, uint32_t n, struct tl_slice *copy,
                                size_t *total)
{
    size_t sum = 0;
    tl_assert(n <= TL_IO_SLICES_MAX);
    for (uint32_t i = 0; i < n; i++) {
        copy[i] = slices[i];
        sum += slices[i].size;
    }
    *total = sum;
    return TL_OK;
}

enum tl_code tl_io_write(struct tl_file *file, uint64_t offset, const struct tl_slice *slices,
                         uint32_t n, struct tl_status *st)
{
    enum tl_code rc = check_writable(file, st);
    if (rc)
        return rc;
    struct tl_slice copy[TL_IO_SLICES_MAX];
    size_t total;
    copy_slices(slices, n, copy, &total);
    count(&file->io->counters.writes, 1);
    rc = write_all(file, offset, copy, n, 0, st);
    return rc ? poison(file, st) : TL_OK;
}

enum tl_code tl_io_sync(struct tl_file *file, struct tl_status *st)
{
    enum tl_code rc = check_writable(file, st);
    if (rc)
        return rc;
    count(&file->io->counters.syncs, 1);
    rc = file->io->vtab->sync(file, st);
    return rc ? poison(file, st) : TL_OK;
}

enum tl_code tl_io_commit_begin(struct tl_file *file, uint64_t offset,
                                const struct tl_slice *slices, uint32_t n,
                                struct tl_io_commit **out, struct tl_status *st)
{
    struct tl_io_commit *c = &file->commit;
    tl_assert(!c->in_flight);
    enum tl_code rc = check_writable(file, st);
    if (rc)
        return rc;
    *c = (struct tl_io_commit){.file = file, .offset = offset, .count = n};
    copy_slices(slices, n, c->slices, &c->total);
    for (uint32_t i = 0; i < n; i++)
        c->iov[i] = (struct iovec){(void *)(uintptr_t)c->slices[i].data, c->slices[i].size};
    count(&file->io->counters.writes, 1);
    count(&file->io->counters.syncs, 1);
    rc = file->io->vtab->commit_begin(c, st);
    if (rc)
        return poison(file, st);
    c->in_flight = true;
    *out = c;
    return TL_OK;
}

void tl_io_commit_direct(struct tl_file *file)
{
    tl_assert(file->mode != TL_IO_READ && !file->commit.in_flight);
    if (file->io->vtab->commit_direct)
        file->io->vtab->commit_direct(file);
}

bool tl_io_commit_ready(struct tl_io_commit *c)
{
    const struct tl_io_vtable *vtab = c->file->io->vtab;
    return vtab->commit_ready && vtab->commit_ready(c);
}

enum tl_code tl_io_commit_wait(struct tl_io_commit *c, struct tl_status *st)
{
    struct tl_file *file = c->file;
    tl_assert(c->in_flight);
    file->io->vtab->commit_wait(c);
    c->in_flight = false;
    count(&file->io->counters.written_bytes, c->moved);
    if (c->failure.code) {
        if (st->code == TL_OK)
            *st = c->failure;
        return poison(file, st);
    }
    if (c->moved == c->total && c->synced)
        return TL_OK;
    /* A short write cut the chain: the rest and the sync follow by hand. */
    enum tl_code rc = write_all(file, c->offset, c->slices, c->count, c->moved, st);
    if (!rc)
        rc = file->io->vtab->sync(file, st);
    return rc ? poison(file, st) : TL_OK;
}

enum tl_code tl_io_preallocate(struct tl_file *file, uint64_t size, struct tl_status *st)
{
    enum tl_code rc = check_writable(file, st);
    if (rc)
        return rc;
    rc = file->io->vtab->preallocate(file, size, st);
    return rc ? poison(file, st) : TL_OK;
}

enum tl_code tl_io_zero(struct tl_file *file, uint64_t offset, uint64_t size, struct tl_status *st)
{
    static const _Alignas(TL_IO_PAGE_BYTES) uint8_t zeros[16384];
    enum tl_code rc = check_writable(file, st);
    while (!rc && size > 0) {
        struct tl_slice slices[TL_IO_SLICES_MAX];
        uint32_t n = 0;
        size_t total = 0;
        while (n < TL_IO_SLICES_MAX && total < size) {
            uint64_t left = size - total;
            slices[n] = tl_slice_of(zeros, left < sizeof(zeros) ? (size_t)left : sizeof(zeros));
            total += slices[n++].size;
        }
        rc = tl_io_write(file, offset, slices, n, st);
        offset += total;
        size -= total;
    }
    return rc;
}

enum tl_code tl_io_truncate(struct tl_file *file, uint64_t size, struct tl_status *st)
{
    enum tl_code rc = check_writable(file, st);
    if (rc)
        return rc;
    rc = file->io->vtab->truncate(file, size, st);
    return rc ? poison(file, st) : TL_OK;
}

/* ---- names ---- */

enum tl_code tl_io_rename(struct tl_io *io, const char *from, const char *to, struct tl_status *st)
{
    enum tl_code rc = check_name(from, false, st);
    if (!rc)
        rc = check_name(to, false, st);
    return rc ? rc : io->vtab->rename(io, from, to, st);
}

enum tl_code tl_io_remove(struct tl_io *io, const char *name, struct tl_status *st)
{
    enum tl_code rc = check_name(name, false, st);
    return rc ? rc : io->vtab->remove(io, name, st);
}

enum tl_code tl_io_exists(struct tl_io *io, const char *name, bool *out, struct tl_status *st)
{
    enum tl_code rc = check_name(name, false, st);
    return rc ? rc : io->vtab->exists(io, name, out, st);
}

enum tl_code tl_io_mkdir(struct tl_io *io, const char *name, struct tl_status *st)
{
    enum tl_code rc = check_name(name, false, st);
    return rc ? rc : io->vtab->mkdir(io, name, st);
}

enum tl_code tl_io_ensure_dir(struct tl_io *io, const char *name, struct tl_status *st)
{
    bool there = false;
    enum tl_code rc = tl_io_exists(io, name, &there, st);
    if (rc || there)
        return rc;
    struct tl_status made = TL_STATUS_INIT;
    rc = tl_io_mkdir(io, name, &made);
    if (rc == TL_OK || rc == TL_EXISTS) /* somebody was faster */
        return TL_OK;
    *st = made;
    return rc;
}

enum tl_code tl_io_sync_dir(struct tl_io *io, const char *dir, struct tl_status *st)
{
    enum tl_code rc = check_name(dir, true, st);
    if (rc)
        return rc;
    count(&io->counters.syncs, 1);
    return io->vtab->sync_dir(io, dir, st);
}

enum tl_code tl__io_names_add(struct tl_io_names *names, const char *name, struct tl_status *st)
{
    if ((names->count & (names->count - 1)) == 0) { /* full at each power of two */
        size_t room = names->count ? (size_t)names->count * 2 : 1;
        char **grown = realloc(names->names, room * sizeof(*grown));
        if (!grown)
            return TL_FAIL(st, TL_LIMIT, "no memory to list a directory");
        names->names = grown;
    }
    char *copy = strdup(name);
    if (!copy)
        return TL_FAIL(st, TL_LIMIT, "no memory to list a directory");
    names->names[names->count++] = copy;
    return TL_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

enum tl_code tl_io_list(struct tl_io *io, const char *dir, struct tl_io_names *out,
                        struct tl_status *st)
{
    enum tl_code rc = check_name(dir, true, st);
    if (rc)
        return rc;
    struct tl_io_names names = {0};
    rc = io->vtab->list(io, dir, &names, st);
    if (rc) {
        tl_io_names_free(&names);
        return rc;
    }
    if (names.count > 1)
        qsort(names.names, names.count, sizeof(*names.names), compare_names);
    *out = names;
    return TL_OK;
}

void tl_io_names_free(struct tl_io_names *names)
{
    for (uint32_t i = 0; i < names->count; i++)
        free(names->names[i]);
    free(names->names);
    *names = (struct tl_io_names){0};
}

enum tl_code tl_io_lock(struct tl_io *io, const char *name, struct tl_file **out,
                        struct tl_status *st)
{
    enum tl_code rc = check_name(name, false, st);
    if (rc)
        return rc;
    struct tl_file *file = NULL;
    rc = io->vtab->lock(io, name, &file, st);
    if (rc)
        return rc;
    file_init(io, name, TL_IO_WRITE, file);
    *out = file;
    return TL_OK;
}
