/*
 * tools/input.c: reading and inflating.
 *
 * gzip may hold several members after another and zstd several frames, as concatenated files do.
 */
#include "tools/input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

enum { PLAIN, GZIP, ZSTD, UNKNOWN = -1 };
enum { READ_BYTES = 1 << 18, WINDOW_START = 1 << 20 };

enum tl_code tl_input_open(struct tl_input *in, const char *path, struct tl_status *st)
{
    *in = (struct tl_input){.fd = STDIN_FILENO, .kind = UNKNOWN};
    if (strcmp(path, "-") != 0) {
        in->fd = open(path, O_RDONLY | O_CLOEXEC);
        if (in->fd < 0)
            return TL_FAIL_OS(st, errno == ENOENT ? TL_NOT_FOUND : TL_IO, errno, "%s: %s", path,
                              strerror(errno));
        in->owned = true;
    }
    struct stat s;
    if (fstat(in->fd, &s) == 0 && S_ISREG(s.st_mode))
        in->total_bytes = (uint64_t)s.st_size;
    if (fstat(in->fd, &s) == 0 && S_ISDIR(s.st_mode)) {
        tl_input_close(in);
        return TL_FAIL(st, TL_INVALID, "%s is a directory", path);
    }
    in->packed = malloc(READ_BYTES);
    in->window = malloc(WINDOW_START);
    in->capacity = WINDOW_START;
    if (!in->packed || !in->window) {
        tl_input_close(in);
        return TL_FAIL(st, TL_LIMIT, "no memory to read %s", path);
    }
    return TL_OK;
}

void tl_input_close(struct tl_input *in)
{
    if (in->owned)
        close(in->fd);
    if (in->kind == GZIP && in->inflater) {
        inflateEnd(in->inflater);
        free(in->inflater);
    }
    if (in->kind == ZSTD)
        ZSTD_freeDStream(in->inflater);
    free(in->packed);
    free(in->window);
    *in = (struct tl_input){.fd = -1, .kind = UNKNOWN};
}

/* Fills `packed` when it is used up. */
static enum tl_code read_packed(struct tl_input *in, struct tl_status *st)
{
    if (in->packed_begin < in->packed_end || in->packed_ended)
        return TL_OK;
    ssize_t n;
    do
        n = read(in->fd, in->packed, READ_BYTES);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return TL_FAIL_OS(st, TL_IO, errno, "reading: %s", strerror(errno));
    in->packed_begin = 0;
    in->packed_end = (size_t)n;
    in->read_bytes += (uint64_t)n;
    in->packed_ended = n == 0;
    return TL_OK;
}

static enum tl_code start(struct tl_input *in, struct tl_status *st)
{
    /* The four bytes that tell may come one by one out of a pipe. */
    while (in->packed_end < 4 && !in->packed_ended) {
        ssize_t n = read(in->fd, in->packed + in->packed_end, READ_BYTES - in->packed_end);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return TL_FAIL_OS(st, TL_IO, errno, "reading: %s", strerror(errno));
        in->packed_end += (size_t)n;
        in->read_bytes += (uint64_t)n;
        in->packed_ended = n == 0;
    }
    const uint8_t *p = in->packed;
    in->kind = PLAIN;
    if (in->packed_end >= 2 && p[0] == 0x1f && p[1] == 0x8b) {
        z_stream *z = calloc(1, sizeof(*z));
        if (!z || inflateInit2(z, 15 + 16) != Z_OK) {
            free(z);
            return TL_FAIL(st, TL_LIMIT, "no memory to inflate");
        }
        in->inflater = z;
        in->kind = GZIP;
    } else if (in->packed_end >= 4 && tl_get_u32le(p) == ZSTD_MAGICNUMBER) {
        in->inflater = ZSTD_createDStream();
        if (!in->inflater)
            return TL_FAIL(st, TL_LIMIT, "no memory to inflate");
        in->kind = ZSTD;
    }
    return TL_OK;
}

static enum tl_code inflate_gzip(struct tl_input *in, struct tl_status *st)
{
    z_stream *z = in->inflater;
    z->next_in = in->packed + in->packed_begin;
    z->avail_in = (uInt)(in->packed_end - in->packed_begin);
    z->next_out = in->window + in->end;
    z->avail_out = (uInt)(in->capacity - in->end);
    if (in->between_members && z->avail_in) {
        if (*z->next_in != 0x1f) { /* gzip itself ignores what follows, so do we */
            in->packed_begin = in->packed_end;
            in->packed_ended = true;
            return TL_OK;
        }
        (void)inflateReset(z);
        in->between_members = false;
    }
    int rc = inflate(z, Z_NO_FLUSH);
    in->packed_begin = in->packed_end - z->avail_in;
    in->end = in->capacity - z->avail_out;
    if (rc == Z_STREAM_END)
        in->between_members = true;
    else if (rc != Z_OK && rc != Z_BUF_ERROR)
        return TL_FAIL(st, TL_CORRUPT, "damaged gzip data: %s", z->msg ? z->msg : "cut off");
    return TL_OK;
}

static enum tl_code inflate_zstd(struct tl_input *in, struct tl_status *st)
{
    ZSTD_inBuffer src = {in->packed, in->packed_end, in->packed_begin};
    ZSTD_outBuffer dst = {in->window, in->capacity, in->end};
    size_t rc = ZSTD_decompressStream(in->inflater, &dst, &src);
    if (ZSTD_isError(rc))
        return TL_FAIL(st, TL_CORRUPT, "damaged zstd data: %s", ZSTD_getErrorName(rc));
    in->packed_begin = src.pos;
    in->end = dst.pos;
    in->between_members = rc == 0;
    return TL_OK;
}

static enum tl_code window_room(struct tl_input *in, struct tl_status *st)
{
    if (in->begin > 0) {
        memmove(in->window, in->window + in->begin, in->end - in->begin);
        in->end -= in->begin;
        in->begin = 0;
    }
    if (in->capacity - in->end >= READ_BYTES)
        return TL_OK;
    uint8_t *window = realloc(in->window, in->capacity * 2);
    if (!window)
        return TL_FAIL(st, TL_LIMIT, "no memory for a record of %zu bytes", in->capacity);
    in->window = window;
    in->capacity *= 2;
    return TL_OK;
}

enum tl_code tl_input_more(struct tl_input *in, struct tl_status *st)
{
    enum tl_code rc = in->kind == UNKNOWN ? start(in, st) : TL_OK;
    if (!rc)
        rc = window_room(in, st);
    size_t before = in->end;
    while (!rc && !in->ended && in->end == before) {
        rc = read_packed(in, st);
        if (rc)
            return rc;
        bool drained = in->packed_ended && in->packed_begin == in->packed_end;
        if (in->kind == PLAIN) {
            size_t n = in->packed_end - in->packed_begin;
            memcpy(in->window + in->end, in->packed + in->packed_begin, n);
            in->packed_begin += n;
            in->end += n;
            in->ended = drained;
            continue;
        }
        if (drained && in->between_members) {
            in->ended = true;
            break;
        }
        rc = in->kind == GZIP ? inflate_gzip(in, st) : inflate_zstd(in, st);
        if (!rc && drained && in->end == before && !in->between_members)
            rc = TL_FAIL(st, TL_CORRUPT, "the compressed data is cut off");
    }
    return rc;
}

enum tl_code tl_input_line(struct tl_input *in, struct tl_slice *line, bool *cut, bool *found,
                           struct tl_status *st)
{
    size_t searched = 0;
    bool too_long = false;
    for (;;) {
        const uint8_t *begin = in->window + in->begin;
        size_t size = in->end - in->begin;
        const uint8_t *end =
            size > searched ? memchr(begin + searched, '\n', size - searched) : NULL;
        if (end || in->ended) {
            size_t length = end ? (size_t)(end - begin) : size;
            in->begin += length + (end != NULL);
            *found = end || size > 0;
            *cut = too_long || length > TL_INPUT_RECORD_MAX;
            if (length > TL_INPUT_RECORD_MAX)
                length = TL_INPUT_RECORD_MAX;
            else if (length && begin[length - 1] == '\r')
                length--;
            *line = tl_slice_of(begin, length);
            return TL_OK;
        }
        searched = size;
        if (size > 2 * (size_t)TL_INPUT_RECORD_MAX) {
            /* Keep the beginning, which is reported, and forget what follows it. */
            in->end = in->begin + TL_INPUT_RECORD_MAX;
            searched = TL_INPUT_RECORD_MAX;
            too_long = true;
        }
        enum tl_code rc = tl_input_more(in, st);
        if (rc)
            return rc;
    }
}
