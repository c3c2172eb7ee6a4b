/*
 * storage/io_files.c: which files that are read past the page cache hold a descriptor.
 *
 * A database may have more packs than a process may have open files. A DIRECT file is therefore a
 * name that has a descriptor while it is read, and afterwards until others need the room: idle
 * ones are closed longest unused first when there are more than the bound, and opened again by
 * name at their next read. Descriptors in use are not counted away: the bound is passed by as many
 * files as are being read at once.
 *
 * Invariants
 *  (1) a file with holders has its descriptor, and is on no list;
 *  (2) a file on the idle list has a descriptor and no holders;
 *  (3) after each call, idle files are the only ones that are open past the bound, and there are
 *      none of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "storage/io_int.h"

static struct tl__posix_file *file_of(struct tl_file *file)
{
    return (struct tl__posix_file *)(void *)file;
}

static void unlink_idle(struct tl__posix_io *io, struct tl__posix_file *f)
{
    *(f->idle_before ? &f->idle_before->idle_after : &io->idle_first) = f->idle_after;
    *(f->idle_after ? &f->idle_after->idle_before : &io->idle_last) = f->idle_before;
    f->idle_before = f->idle_after = NULL;
    f->idle = false;
}

static void close_idle(struct tl__posix_io *io)
{
    while (io->open_max > 0 && io->open_count > io->open_max && io->idle_first) {
        struct tl__posix_file *f = io->idle_first;
        unlink_idle(io, f);
        (void)close(f->fd);
        f->fd = -1;
        io->open_count--;
    }
}

void tl__posix_bound_files(struct tl_io *base, uint32_t open_max)
{
    struct tl__posix_io *io = (struct tl__posix_io *)(void *)base;
    pthread_mutex_lock(&io->files_lock);
    io->open_max = open_max;
    close_idle(io);
    pthread_mutex_unlock(&io->files_lock);
}

void tl__posix_file_opened(struct tl_file *file)
{
    struct tl__posix_io *io = (struct tl__posix_io *)(void *)file->io;
    struct tl__posix_file *f = file_of(file);
    pthread_mutex_lock(&io->files_lock);
    io->open_count++;
    f->holders = 1;
    pthread_mutex_unlock(&io->files_lock);
    tl__posix_release(file);
}

void tl__posix_file_closing(struct tl_file *file)
{
    struct tl__posix_io *io = (struct tl__posix_io *)(void *)file->io;
    struct tl__posix_file *f = file_of(file);
    pthread_mutex_lock(&io->files_lock);
    tl_assert(f->holders == 0);
    if (f->idle)
        unlink_idle(io, f);
    if (f->fd >= 0)
        io->open_count--;
    pthread_mutex_unlock(&io->files_lock);
}

/* The file that was opened first, or an error: a name that another file has taken since is none. */
static int reopen(struct tl__posix_io *io, struct tl__posix_file *f)
{
    struct stat s;
    int flags = O_RDONLY | O_CLOEXEC, fd = -1;
    do {
        fd = openat(io->dir, f->base.name, flags | (f->base.direct ? O_DIRECT : 0));
    } while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return errno;
    if (fstat(fd, &s) != 0 || s.st_dev != f->device || s.st_ino != f->inode) {
        (void)close(fd);
        return ESTALE;
    }
    f->fd = fd;
    return 0;
}

int tl__posix_hold(struct tl_file *file)
{
    struct tl__posix_io *io = (struct tl__posix_io *)(void *)file->io;
    struct tl__posix_file *f = file_of(file);
    int error = 0;
    if (file->mode != TL_IO_DIRECT)
        return 0;
    pthread_mutex_lock(&io->files_lock);
    if (f->fd < 0) {
        error = reopen(io, f);
        if (error == EMFILE && io->idle_first) { /* others took what the bound counted on */
            uint32_t bound = io->open_max;
            io->open_max = io->open_count / 2 + 1;
            close_idle(io);
            io->open_max = bound;
            error = reopen(io, f);
        }
        io->open_count += error == 0;
    }
    if (!error) {
        f->holders++;
        if (f->idle)
            unlink_idle(io, f);
        close_idle(io);
    }
    pthread_mutex_unlock(&io->files_lock);
    return error;
}

void tl__posix_release(struct tl_file *file)
{
    struct tl__posix_io *io = (struct tl__posix_io *)(void *)file->io;
    struct tl__posix_file *f = file_of(file);
    if (file->mode != TL_IO_DIRECT)
        return;
    pthread_mutex_lock(&io->files_lock);
    tl_assert(f->holders > 0);
    if (--f->holders == 0) {
        f->idle = true;
        f->idle_before = io->idle_last;
        *(io->idle_last ? &io->idle_last->idle_after : &io->idle_first) = f;
        io->idle_last = f;
        close_idle(io);
    }
    pthread_mutex_unlock(&io->files_lock);
}
