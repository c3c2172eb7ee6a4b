/*
 * storage/io_posix.c: the disk through pread, pwritev and fdatasync.
 *
 * Chosen where io_uring is denied, as in many containers. A commit (write and sync in flight while
 * the caller works on) is performed by one helper thread per io, since only the log commits and it
 * has one commit in flight; the thread starts with the first commit.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "storage/io_int.h"

enum { TRANSFER_MAX = 1 << 30 }; /* bytes of one system call; Linux moves less than 2 GiB */

static struct tl__posix_io *posix_of(struct tl_io *io)
{
    return (struct tl__posix_io *)(void *)io;
}

static int dir_of(struct tl_io *io)
{
    return posix_of(io)->dir;
}

static int open_at(struct tl_io *io, const char *name, int flags)
{
    int fd;
    do {
        fd = openat(dir_of(io), name, flags, 0640);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

static enum tl_code posix_open(struct tl_io *io, const char *name, enum tl_io_mode mode,
                               struct tl_file **out, struct tl_status *st)
{
    int flags = O_CLOEXEC;
    if (mode == TL_IO_READ || mode == TL_IO_DIRECT)
        flags |= O_RDONLY;
    else
        flags |= mode == TL_IO_CREATE ? O_RDWR | O_CREAT | O_EXCL : O_RDWR;
    struct tl__posix_file *file = calloc(1, sizeof(*file));
    if (!file)
        return TL_FAIL(st, TL_LIMIT, "no memory to open %s", name);
    file->direct_fd = -1;
    file->fd = -1;
    if (mode == TL_IO_DIRECT) {
        file->fd = open_at(io, name, flags | O_DIRECT);
        file->base.direct = file->fd >= 0;
    }
    if (file->fd < 0 && (mode != TL_IO_DIRECT || errno == EINVAL)) /* no O_DIRECT there */
        file->fd = open_at(io, name, flags);
    if (file->fd < 0) {
        int err = errno;
        free(file);
        return TL_FAIL_OS(st, tl__io_code(err), err, "opening %s", name);
    }
    struct stat s;
    if (mode == TL_IO_DIRECT && fstat(file->fd, &s) != 0) {
        int err = errno;
        (void)close(file->fd);
        free(file);
        return TL_FAIL_OS(st, tl__io_code(err), err, "opening %s", name);
    }
    if (mode == TL_IO_DIRECT) {
        file->device = s.st_dev;
        file->inode = s.st_ino;
    }
    *out = &file->base;
    return TL_OK;
}

static void posix_close(struct tl_file *file)
{
    /* What mattered was synced; a failed close has nothing left to say. */
    if (file->mode == TL_IO_DIRECT)
        tl__posix_file_closing(file);
    if (tl__posix_fd(file) >= 0)
        (void)close(tl__posix_fd(file));
    if (tl__posix_direct_fd(file) >= 0)
        (void)close(tl__posix_direct_fd(file));
    free(file);
}

static enum tl_code posix_size(struct tl_file *file, uint64_t *out, struct tl_status *st)
{
    struct stat s;
    int err = tl__posix_hold(file);
    if (!err) {
        err = fstat(tl__posix_fd(file), &s) != 0 ? errno : 0;
        tl__posix_release(file);
    }
    if (err) {
        return TL_FAIL_OS(st, tl__io_code(err), err, "asking for the size of %s", file->name);
    }
    *out = (uint64_t)s.st_size;
    return TL_OK;
}

bool tl__posix_undirect(struct tl_file *file)
{
    int fd = tl__posix_fd(file);
    int flags = fcntl(fd, F_GETFL);
    return file->direct && flags >= 0 && fcntl(fd, F_SETFL, flags & ~O_DIRECT) == 0;
}

void tl__posix_read_one(struct tl_io_read *r)
{
    size_t left = tl__io_left(r);
    if (left > TRANSFER_MAX)
        left = TRANSFER_MAX;
    ssize_t n;
    bool retried = false;
    do {
        n = pread(tl__posix_fd(r->file), (uint8_t *)r->buffer + r->got, left,
                  (off_t)(r->offset + r->got));
        if (n < 0 && errno == EINVAL && !retried && tl__posix_undirect(r->file)) {
            retried = true;
            errno = EINTR;
        }
    } while (n < 0 && (errno == EINTR || errno == EAGAIN));
    if (n < 0) {
        r->os_error = errno;
        r->code = tl__io_code(r->os_error);
    } else {
        r->got += (size_t)n;
    }
}

static void posix_read(struct tl_io *io, struct tl_io_read **reads, uint32_t count)
{
    (void)io;
    for (uint32_t i = 0; i < count; i++)
        tl__posix_read_one(reads[i]);
}

/* ---- around the page cache ---- */

static void posix_commit_direct(struct tl_file *base)
{
    struct tl__posix_file *file = (struct tl__posix_file *)(void *)base;
    struct stat a, b;
    if (file->direct_fd >= 0)
        return;
    int fd = openat(dir_of(base->io), base->name, O_RDWR | O_DIRECT | O_CLOEXEC);
    if (fd < 0)
        return; /* the file system does not have it */
    if (fstat(fd, &a) == 0 && fstat(file->fd, &b) == 0 && a.st_dev == b.st_dev &&
        a.st_ino == b.st_ino)
        file->direct_fd = fd;
    else
        (void)close(fd);
}

bool tl__posix_is_direct(const struct tl_file *file, uint64_t offset, const struct iovec *iov,
                         uint32_t count)
{
    uint64_t bits = offset;
    for (uint32_t i = 0; i < count; i++)
        bits |= (uintptr_t)iov[i].iov_base | iov[i].iov_len;
    return tl__posix_direct_fd(file) >= 0 && count > 0 && bits % TL_IO_PAGE_BYTES == 0;
}

/* One attempt; an errno, or 0 with *moved. With `synced` (may be NULL) the bytes are made durable
 * as well where one request can do both; *synced says whether it did. */
static int write_once(const struct tl_file *file, uint64_t offset, const struct tl_slice *slices,
                      uint32_t count, size_t *moved, bool *synced)
{
    struct iovec iov[TL_IO_SLICES_MAX];
    uint32_t n = 0;
    size_t total = 0;
    for (; n < count && total < TRANSFER_MAX; n++) {
        size_t size = slices[n].size;
        if (size > TRANSFER_MAX - total)
            size = TRANSFER_MAX - total;
        iov[n] = (struct iovec){(void *)(uintptr_t)slices[n].data, size};
        total += size;
    }
    ssize_t w = -1;
    bool direct = tl__posix_is_direct(file, offset, iov, n);
    if (direct) {
        do {
            w = pwritev2(tl__posix_direct_fd(file), iov, (int)n, (off_t)offset,
                         synced ? RWF_DSYNC : 0);
        } while (w < 0 && (errno == EINTR || errno == EAGAIN));
        direct = w >= 0 || (errno != EINVAL && errno != EOPNOTSUPP);
    }
    if (!direct) { /* or the disk's sectors are larger, or the system is older, than thought */
        do {
            w = pwritev(tl__posix_fd(file), iov, (int)n, (off_t)offset);
        } while (w < 0 && (errno == EINTR || errno == EAGAIN));
    }
    if (w < 0)
        return errno;
    if (w == 0 && total > 0)
        return EIO; /* a disk that takes nothing and says nothing */
    *moved = (size_t)w;
    if (synced)
        *synced = direct && (size_t)w == total;
    return 0;
}

static int sync_once(int fd)
{
    int rc;
    do {
        rc = fdatasync(fd);
    } while (rc != 0 && errno == EINTR);
    return rc == 0 ? 0 : errno;
}

static enum tl_code posix_write(struct tl_file *file, uint64_t offset,
                                const struct tl_slice *slices, uint32_t count, size_t *moved,
                                struct tl_status *st)
{
    int err = write_once(file, offset, slices, count, moved, NULL);
    if (err)
        return TL_FAIL_OS(st, tl__io_code(err), err, "writing at %llu of %s",
                          (unsigned long long)offset, file->name);
    return TL_OK;
}

static enum tl_code posix_sync(struct tl_file *file, struct tl_status *st)
{
    int err = sync_once(tl__posix_fd(file));
    if (err)
        return TL_FAIL_OS(st, tl__io_code(err), err, "syncing %s", file->name);
    return TL_OK;
}

/* ---- commits ---- */

/* Runs in the helper thread, which alone holds *c then. */
static void perform(struct tl_io_commit *c)
{
    bool synced = false;
    int err =
        c->total ? write_once(c->file, c->offset, c->slices, c->count, &c->moved, &synced) : 0;
    if (err) {
        (void)TL_FAIL_OS(&c->failure, tl__io_code(err), err, "writing at %llu of %s",
                         (unsigned long long)c->offset, c->file->name);
        return;
    }
    if (c->moved < c->total)
        return; /* io.c writes the rest, then syncs */
    err = synced ? 0 : sync_once(tl__posix_fd(c->file));
    if (err)
        (void)TL_FAIL_OS(&c->failure, tl__io_code(err), err, "syncing %s", c->file->name);
    else
        c->synced = true;
}

static void *helper(void *arg)
{
    struct tl__posix_io *io = arg;
    pthread_mutex_lock(&io->lock);
    for (;;) {
        while (!io->first && !io->stop)
            pthread_cond_wait(&io->work, &io->lock);
        if (!io->first)
            break;
        struct tl_io_commit *c = io->first;
        io->first = c->next;
        if (!io->first)
            io->last = NULL;
        pthread_mutex_unlock(&io->lock);
        perform(c);
        pthread_mutex_lock(&io->lock);
        c->done = true;
        pthread_cond_broadcast(&io->finished);
    }
    pthread_mutex_unlock(&io->lock);
    return NULL;
}

static enum tl_code posix_commit_begin(struct tl_io_commit *c, struct tl_status *st)
{
    struct tl__posix_io *io = posix_of(c->file->io);
    pthread_mutex_lock(&io->lock);
    if (!io->started) {
        int err = pthread_create(&io->thread, NULL, helper, io);
        if (err) {
            pthread_mutex_unlock(&io->lock);
            return TL_FAIL_OS(st, TL_LIMIT, err, "no thread to commit %s", c->file->name);
        }
        io->started = true;
    }
    c->next = NULL;
    if (io->last)
        io->last->next = c;
    else
        io->first = c;
    io->last = c;
    pthread_cond_signal(&io->work);
    pthread_mutex_unlock(&io->lock);
    return TL_OK;
}

static void posix_commit_wait(struct tl_io_commit *c)
{
    struct tl__posix_io *io = posix_of(c->file->io);
    pthread_mutex_lock(&io->lock);
    while (!c->done)
        pthread_cond_wait(&io->finished, &io->lock);
    pthread_mutex_unlock(&io->lock);
}

/* ---- space ---- */

static enum tl_code posix_preallocate(struct tl_file *file, uint64_t size, struct tl_status *st)
{
    int rc;
    do {
        rc = fallocate(tl__posix_fd(file), 0, 0, (off_t)size);
    } while (rc != 0 && errno == EINTR);
    if (rc != 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) {
        /* A file system that cannot reserve: only the size is set then. */
        uint64_t now;
        enum tl_code code = posix_size(file, &now, st);
        if (code || now >= size)
            return code;
        rc = ftruncate(tl__posix_fd(file), (off_t)size);
    }
    if (rc != 0) {
        int err = errno;
        return TL_FAIL_OS(st, tl__io_code(err), err, "reserving %llu bytes for %s",
                          (unsigned long long)size, file->name);
    }
    return TL_OK;
}

static enum tl_code posix_truncate(struct tl_file *file, uint64_t size, struct tl_status *st)
{
    int rc;
    do {
        rc = ftruncate(tl__posix_fd(file), (off_t)size);
    } while (rc != 0 && errno == EINTR);
    if (rc != 0) {
        int err = errno;
        return TL_FAIL_OS(st, tl__io_code(err), err, "truncating %s", file->name);
    }
    return TL_OK;
}

/* ---- names ---- */

static enum tl_code posix_rename(struct tl_io *io, const char *from, const char *to,
                                 struct tl_status *st)
{
    if (renameat(dir_of(io), from, dir_of(io), to) != 0) {
        int err = errno;
        return TL_FAIL_OS(st, tl__io_code(err), err, "renaming %s to %s", from, to);
    }
    return TL_OK;
}

static enum tl_code posix_remove(struct tl_io *io, const char *name, struct tl_status *st)
{
    if (unlinkat(dir_of(io), name, 0) != 0) {
        int err = errno;
        return TL_FAIL_OS(st, tl__io_code(err), err, "removing %s", name);
    }
    return TL_OK;
}

static enum tl_code posix_exists(struct tl_io *io, const char *name, bool *out,
                                 struct tl_status *st)
{
    if (faccessat(dir_of(io), name, F_OK, 0) == 0) {
        *out = true;
        return TL_OK;
    }
    int err = errno;
    if (err != ENOENT && err != ENOTDIR)
        return TL_FAIL_OS(st, tl__io_code(err), err, "looking for %s", name);
    *out = false;
    return TL_OK;
}

static enum tl_code posix_mkdir(struct tl_io *io, const char *name, struct tl_status *st)
{
    if (mkdirat(dir_of(io), name, 0750) != 0) {
        int err = errno;
        return TL_FAIL_OS(st, tl__io_code(err), err, "making the directory %s", name);
    }
    return TL_OK;
}

static int open_dir(struct tl_io *io, const char *dir)
{
    int fd;
    do {
        fd = openat(dir_of(io), dir[0] ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

static enum tl_code posix_sync_dir(struct tl_io *io, const char *dir, struct tl_status *st)
{
    int fd = open_dir(io, dir);
    int err = fd < 0 ? errno : 0;
    if (!err) {
        int rc;
        do {
            rc = fsync(fd);
        } while (rc != 0 && errno == EINTR);
        if (rc != 0)
            err = errno;
        (void)close(fd);
    }
    if (err)
        return TL_FAIL_OS(st, tl__io_code(err), err, "syncing the directory \"%s\"", dir);
    return TL_OK;
}

static enum tl_code posix_list(struct tl_io *io, const char *dir, struct tl_io_names *out,
                               struct tl_status *st)
{
    int fd = open_dir(io, dir);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        int err = errno;
        if (fd >= 0)
            (void)close(fd);
        return TL_FAIL_OS(st, tl__io_code(err), err, "listing the directory \"%s\"", dir);
    }
    enum tl_code rc = TL_OK;
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(d); /* d is this thread's alone */
        if (!e) {
            int err = errno;
            if (err)
                rc = TL_FAIL_OS(st, tl__io_code(err), err, "listing the directory \"%s\"", dir);
            break;
        }
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        rc = tl__io_names_add(out, e->d_name, st);
        if (rc)
            break;
    }
    (void)closedir(d);
    return rc;
}

/* The holder's pid as it stands in the file; 0 when it cannot be read (yet). */
static long holder_pid(int fd)
{
    char text[32];
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    long pid = strtol(text, NULL, 10);
    return pid > 0 ? pid : 0;
}

static enum tl_code posix_lock(struct tl_io *io, const char *name, struct tl_file **out,
                               struct tl_status *st)
{
    struct tl__posix_file *file = calloc(1, sizeof(*file));
    if (!file)
        return TL_FAIL(st, TL_LIMIT, "no memory to lock %s", name);
    int err = 0;
    file->direct_fd = -1;
    file->fd = openat(dir_of(io), name, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (file->fd < 0) {
        err = errno;
        (void)TL_FAIL_OS(st, tl__io_code(err), err, "opening the lock file %s", name);
        goto fail;
    }
    if (flock(file->fd, LOCK_EX | LOCK_NB) != 0) {
        err = errno;
        long pid = holder_pid(file->fd);
        if (err != EWOULDBLOCK)
            (void)TL_FAIL_OS(st, tl__io_code(err), err, "locking %s", name);
        else if (pid)
            (void)TL_FAIL(st, TL_BUSY, "%s is held by process %ld", name, pid);
        else
            (void)TL_FAIL(st, TL_BUSY, "%s is held by another process", name);
        goto fail;
    }
    char text[32];
    int size = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (ftruncate(file->fd, 0) != 0 || pwrite(file->fd, text, (size_t)size, 0) != size) {
        err = errno;
        (void)TL_FAIL_OS(st, tl__io_code(err), err, "writing the pid into %s", name);
        goto fail;
    }
    *out = &file->base;
    return TL_OK;
fail:
    if (file->fd >= 0)
        (void)close(file->fd);
    free(file);
    return st->code;
}

/* ---- making ---- */

enum tl_code tl__posix_init(struct tl__posix_io *io, const struct tl_io_vtable *vtab,
                            const char *dir, struct tl_status *st)
{
    io->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (io->dir < 0) {
        int err = errno;
        return TL_FAIL_OS(st, tl__io_code(err), err, "opening the directory %s", dir);
    }
    io->base.vtab = vtab;
    pthread_mutex_init(&io->lock, NULL);
    pthread_mutex_init(&io->files_lock, NULL);
    pthread_cond_init(&io->work, NULL);
    pthread_cond_init(&io->finished, NULL);
    return TL_OK;
}

void tl__posix_deinit(struct tl__posix_io *io)
{
    if (io->started) {
        pthread_mutex_lock(&io->lock);
        tl_assert(!io->first);
        io->stop = true;
        pthread_cond_signal(&io->work);
        pthread_mutex_unlock(&io->lock);
        pthread_join(io->thread, NULL);
    }
    pthread_cond_destroy(&io->work);
    pthread_cond_destroy(&io->finished);
    pthread_mutex_destroy(&io->lock);
    pthread_mutex_destroy(&io->files_lock);
    (void)close(io->dir);
}

static void posix_free(struct tl_io *io)
{
    tl__posix_deinit(posix_of(io));
    free(io);
}

static const struct tl_io_vtable posix_vtable = {
    .maker = TL_IO_POSIX,
    .free = posix_free,
    .open = posix_open,
    .close = posix_close,
    .hold = tl__posix_hold,
    .release = tl__posix_release,
    .bound_files = tl__posix_bound_files,
    .size = posix_size,
    .read = posix_read,
    .write = posix_write,
    .sync = posix_sync,
    .commit_begin = posix_commit_begin,
    .commit_wait = posix_commit_wait,
    .commit_direct = posix_commit_direct,
    .preallocate = posix_preallocate,
    .truncate = posix_truncate,
    .rename = posix_rename,
    .remove = posix_remove,
    .exists = posix_exists,
    .mkdir = posix_mkdir,
    .sync_dir = posix_sync_dir,
    .list = posix_list,
    .lock = posix_lock,
};

const struct tl_io_vtable *tl__posix_vtable(void)
{
    return &posix_vtable;
}

enum tl_code tl_io_open_posix(const char *dir, struct tl_io **out, struct tl_status *st)
{
    struct tl__posix_io *io = calloc(1, sizeof(*io));
    if (!io)
        return TL_FAIL(st, TL_LIMIT, "no memory to open the directory %s", dir);
    enum tl_code rc = tl__posix_init(io, &posix_vtable, dir, st);
    if (rc) {
        free(io);
        return rc;
    }
    *out = &io->base;
    return TL_OK;
}
