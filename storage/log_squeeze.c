#include "storage/log_squeeze.h"

#include <stdlib.h>
#include <zstd.h>

#include "base/assert.h"

/* Measured on groups of encoded batches: 2 ns a byte, and 0.29 (batches of 10 rows) to 0.55 (of
 * 10,000, coded by their client) of the bytes are left. Faster levels save less than they win. */
enum { LEVEL = -1, WINDOW_LOG = 20, LEAST_OF = 16 };
#define PAYS_FROM  1.25 /* disk time saved over time spent: where it begins */
#define PAYS_UNTIL 1.0  /* and where it ends, so that it does not flutter */
#define SLOW_NS    0.5  /* per byte; a faster disk is not worth a sample */
#define NEW_WEIGHT 0.125

void tl__log_squeeze_init(struct tl__log_squeeze *s, enum tl_log_compression mode,
                          const struct tl_clock *clock)
{
    *s = (struct tl__log_squeeze){.mode = mode, .clock = clock};
}

void tl__log_squeeze_deinit(struct tl__log_squeeze *s)
{
    ZSTD_freeCCtx(s->context);
    s->context = NULL;
}

size_t tl__log_squeeze_room(size_t size)
{
    return TL__LOG_SQUEEZE_HEAD + ZSTD_compressBound(size);
}

static void mix(double *mean, double value)
{
    *mean = *mean > 0 ? *mean + (value - *mean) * NEW_WEIGHT : value;
}

/* Compresses, and measures that; 0: it failed. */
static size_t compress(struct tl__log_squeeze *s, struct tl_slice in, uint8_t *out, size_t room)
{
    if (!s->context) {
        ZSTD_CCtx *c = ZSTD_createCCtx();
        if (!c)
            return 0;
        (void)ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, LEVEL);
        (void)ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, WINDOW_LOG);
        s->context = c;
    }
    uint64_t begin = s->clock ? tl_clock_mono_ns(s->clock) : 0;
    size_t n = ZSTD_compress2(s->context, out, room, in.data, in.size);
    if (ZSTD_isError(n))
        return 0;
    if (s->clock)
        mix(&s->zstd_ns, (double)(tl_clock_mono_ns(s->clock) - begin) / (double)in.size);
    mix(&s->ratio, (double)n / (double)in.size);
    return n;
}

static void sample(struct tl__log_squeeze *s, struct tl_slice records)
{
    struct tl_slice part =
        tl_slice_of(records.data,
                    records.size < TL__LOG_SQUEEZE_SAMPLE ? records.size : TL__LOG_SQUEEZE_SAMPLE);
    size_t room = ZSTD_compressBound(part.size);
    uint8_t *out = malloc(room);
    if (out)
        (void)compress(s, part, out, room);
    free(out);
}

bool tl__log_squeeze_wanted(struct tl__log_squeeze *s, struct tl_slice records)
{
    if (s->mode == TL_LOG_COMPRESSION_ON)
        return true;
    if (s->mode == TL_LOG_COMPRESSION_OFF || !s->clock ||
        records.size < TL__LOG_SQUEEZE_BYTES_MIN || s->disk_ns < SLOW_NS) {
        s->on = false;
        return false;
    }
    if (!s->on) { /* while it is on, every group measures */
        if (s->until_probe == 0) {
            sample(s, records);
            s->until_probe = TL__LOG_SQUEEZE_PROBE_EVERY;
        }
        s->until_probe--;
    }
    double saved = s->disk_ns * (1 - s->ratio);
    s->on = s->zstd_ns > 0 && saved >= s->zstd_ns * (s->on ? PAYS_UNTIL : PAYS_FROM);
    return s->on;
}

size_t tl__log_squeeze_run(struct tl__log_squeeze *s, struct tl_slice records, uint8_t *out,
                           size_t room)
{
    tl_assert(records.size <= UINT32_MAX && room >= tl__log_squeeze_room(records.size));
    size_t n = compress(s, records, out + TL__LOG_SQUEEZE_HEAD, room - TL__LOG_SQUEEZE_HEAD);
    if (n == 0)
        return 0;
    tl_put_u32le(out, (uint32_t)records.size);
    return TL__LOG_SQUEEZE_HEAD + n;
}

/* A wait is longer than the disk takes when others have the processors, and just then compressing
 * would cost what is short. So the least of some commits counts: it falls at once, and rises when
 * all of them were slower. */
static void note_disk(struct tl__log_squeeze *s, double ns)
{
    s->least_ns = s->least_count == 0 || ns < s->least_ns ? ns : s->least_ns;
    s->least_count++;
    if (s->disk_ns <= 0 || s->least_ns < s->disk_ns || s->least_count == LEAST_OF)
        s->disk_ns = s->least_ns;
    if (s->least_count == LEAST_OF)
        s->least_count = 0;
}

void tl__log_squeeze_note(struct tl__log_squeeze *s, size_t bytes, uint64_t ns)
{
    if (bytes < TL__LOG_SQUEEZE_BYTES_MIN)
        mix(&s->fixed_ns, (double)ns);
    else
        note_disk(s, (double)ns > s->fixed_ns ? ((double)ns - s->fixed_ns) / (double)bytes : 0);
}

enum tl_code tl__log_unsqueeze(struct tl_slice payload, uint8_t **buffer, size_t *room,
                               struct tl_slice *out, struct tl_status *st)
{
    if (payload.size < TL__LOG_SQUEEZE_HEAD)
        return TL_FAIL(st, TL_CORRUPT, "a compressed group has no size");
    size_t size = tl_get_u32le(payload.data);
    if (size == 0 || size > TL_LOG_GROUP_BYTES_MAX)
        return TL_FAIL(st, TL_CORRUPT, "a compressed group claims %zu bytes", size);
    if (size > *room) {
        uint8_t *grown = realloc(*buffer, size);
        if (!grown)
            return TL_FAIL(st, TL_LIMIT, "no memory for a group of %zu bytes", size);
        *buffer = grown;
        *room = size;
    }
    /* One frame, no dictionary; writes at most `size` bytes whatever the frame says. */
    const uint8_t *frame = payload.data + TL__LOG_SQUEEZE_HEAD;
    size_t frame_size = payload.size - TL__LOG_SQUEEZE_HEAD;
    if (ZSTD_findFrameCompressedSize(frame, frame_size) != frame_size ||
        ZSTD_decompress(*buffer, size, frame, frame_size) != size)
        return TL_FAIL(st, TL_CORRUPT, "a compressed group does not hold what it claims");
    *out = tl_slice_of(*buffer, size);
    return TL_OK;
}
