/*
 * storage/log_local.c: the local log: groups appended to files of a fixed size.
 *
 * Files are written with zeros before they are used, since a write into blocks that exist costs
 * half of one that allocates; trimmed files are kept as spares and used again as they are. The
 * next file is prepared a slice at a time while commits are in flight.
 *
 *   (nothing) ── create ──> next.tmp ── zeroed, synced ──> spare ── take_spare: header written and
 *   synced, renamed, directory synced ──> NNNNNNNNNN.log ── trim ──> spare, or removed
 *
 * Invariants
 *   (1) One commit is in flight at most; when a group is written all before it are durable, and
 *       its header says so.                       (test_log: every_crash_keeps_what_was_acked)
 *   (2) A file that has its number as a name has a durable header, and a durable name before its
 *       first group is written.
 *   (3) A spare's name is durable before its header is overwritten, so that no numbered file ever
 *       shows another one's header.
 *   (4) Files are trimmed oldest first, each durably before the next: there is never a gap.
 *   (5) The newest file is never trimmed.
 *   (6) No group header of the current incarnation lies behind the log's end when the first
 *       record is appended: opening overwrote them.
 *   (7) After the first failed write or sync nothing is written any more.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/hash.h"
#include "storage/log_int.h"
#include "storage/log_squeeze.h"

enum {
    SPARES_DEFAULT = 2,
    SPARES_MAX = 64,
    PREPARE_BYTES = 1 << 20, /* zeroed beside one commit, at least */
    REWRITE_BYTES = 1 << 20,
    GROUP_ROOM_FIRST = 256 << 10,
    HUGE_PAGE = 2 << 20, /* memory of this size and more is asked for in such pages */
};

struct file_info {
    uint64_t number;
    uint64_t first_position;
    uint64_t bytes;
};

/* A group in memory: whole pages at whole pages, as the disk takes them, kept from commit to
 * commit. Bytes are written once, by append, and go to the disk from there. */
struct group {
    uint8_t *data; /* header space, records */
    size_t size, room;
    uint64_t first_position;
    uint32_t records;
};

struct local_log {
    struct tl_log base;
    struct tl_io *io;
    char dir[TL_LOG_DIR_MAX + 1];
    uint64_t log_id;
    uint64_t file_bytes; /* of new files */
    uint64_t group_bytes_max;
    uint32_t spares_max, spares_closed;
    struct file_info *files; /* ascending; the last one is open */
    uint32_t file_count, file_room;
    uint64_t spares[SPARES_MAX + 1]; /* their numbers */
    uint32_t spare_count;
    struct tl_file *file;
    struct tl__log_file_header header; /* of the open file */
    uint64_t offset;                   /* of the next group */
    uint64_t next_position, next_group, next_incarnation;
    uint64_t durable;
    bool marked; /* the log ends with a mark: all before it is proven durable */
    struct group open, flying;
    struct group packed;         /* the open one, compressed; room for the next */
    struct tl_io_commit *commit; /* of `flying`; NULL: none */
    uint64_t begun_ns;
    struct tl__log_squeeze squeeze;
    uint64_t compressed_groups;
    struct tl_file *next; /* next.tmp, being zeroed; NULL: none */
    uint64_t next_zeroed;
    struct tl_status poison; /* (7) */
};

static struct local_log *local_of(struct tl_log *log)
{
    return (struct local_log *)(void *)log;
}

static enum tl_code check_poison(struct local_log *log, struct tl_status *st)
{
    if (log->poison.code && st->code == TL_OK)
        *st = log->poison;
    return log->poison.code;
}

static enum tl_code poison(struct local_log *log, struct tl_status *st)
{
    tl_assert(st->code != TL_OK);
    if (!log->poison.code)
        log->poison = *st;
    return st->code;
}

static void temp_name(const struct local_log *log, char out[TL__LOG_NAME_MAX])
{
    snprintf(out, TL__LOG_NAME_MAX, "%s/next.tmp", log->dir);
}

/* ---- groups in memory ---- */

/* Room for `size` bytes in all; `limit` is in whole pages. */
static enum tl_code group_reserve(struct group *g, size_t size, size_t limit, struct tl_status *st)
{
    if (size <= g->room)
        return TL_OK;
    size_t room = g->room ? g->room : GROUP_ROOM_FIRST;
    while (room < size)
        room *= 2;
    if (room > limit)
        room = limit;
    tl_assert(size <= room && room % TL__LOG_PAGE == 0);
    size_t align = room >= HUGE_PAGE ? HUGE_PAGE : TL__LOG_PAGE;
    uint8_t *data = NULL;
    if (posix_memalign((void **)&data, align, room) != 0)
        return TL_FAIL(st, TL_LIMIT, "no memory for a group of %zu bytes", size);
    if (room >= HUGE_PAGE) /* fewer pages to pin for each write */
        (void)madvise(data, room / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
    if (g->size)
        memcpy(data, g->data, g->size);
    free(g->data);
    g->data = data;
    g->room = room;
    return TL_OK;
}

static bool group_empty(const struct group *g)
{
    return g->records == 0;
}

static void group_clear(struct group *g)
{
    g->size = 0;
    g->records = 0;
}

static enum tl_code group_append(struct local_log *log, uint8_t type, const struct tl_slice *slices,
                                 uint32_t count, size_t size, uint64_t *position,
                                 struct tl_status *st)
{
    struct group *g = &log->open;
    size_t header = group_empty(g) ? TL__LOG_GROUP_HEADER : 0;
    size_t whole = header + TL__LOG_RECORD_HEADER + size;
    enum tl_code rc = group_reserve(g, g->size + whole, log->group_bytes_max, st);
    if (rc)
        return rc; /* it holds what it held */
    uint8_t *p = g->data + g->size;
    memset(p, 0, header + TL__LOG_RECORD_HEADER);
    p += header;
    tl_put_u64le(p, log->next_position);
    tl_put_u32le(p + 8, (uint32_t)size);
    p[12] = type;
    p += TL__LOG_RECORD_HEADER;
    for (uint32_t i = 0; i < count; i++) {
        if (slices[i].size)
            memcpy(p, slices[i].data, slices[i].size);
        p += slices[i].size;
    }
    g->size += whole;
    if (g->records == 0)
        g->first_position = log->next_position;
    g->records++;
    *position = log->next_position++;
    return TL_OK;
}

/* Nothing reaches these numbers by writing; a file made by hand may hold them. */
static bool numbers_used_up(const struct local_log *log)
{
    uint64_t last = TL__LOG_NUMBER_MAX - 2; /* the mark at the close takes one more */
    return log->next_position >= last || log->next_group >= last || log->header.number >= last ||
           log->next_incarnation >= last;
}

static enum tl_code local_append(struct tl_log *base, uint8_t type, const struct tl_slice *slices,
                                 uint32_t count, uint64_t *position, struct tl_status *st)
{
    struct local_log *log = local_of(base);
    enum tl_code rc = check_poison(log, st);
    if (rc)
        return rc;
    uint64_t record_max = log->group_bytes_max - TL__LOG_GROUP_HEADER - TL__LOG_RECORD_HEADER;
    if (record_max > TL_LOG_RECORD_BYTES_MAX)
        record_max = TL_LOG_RECORD_BYTES_MAX;
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++)
        if (__builtin_add_overflow(size, slices[i].size, &size))
            size = SIZE_MAX;
    if (size > record_max)
        return TL_FAIL(st, TL_LIMIT,
                       "a log record of %zu bytes is larger than the limit of %" PRIu64, size,
                       record_max);
    if (!group_empty(&log->open) &&
        log->open.size + TL__LOG_RECORD_HEADER + size > log->group_bytes_max)
        return TL_FAIL(st, TL_BUSY, "the log's open group is full");
    if (numbers_used_up(log))
        return TL_FAIL(st, TL_LIMIT, "the log's numbers are used up");
    return group_append(log, type, slices, count, size, position, st);
}

/* Fills in the header and the padding. The group's first position follows what is durable (1). */
static enum tl_code group_seal(struct local_log *log, struct group *g, uint32_t flags,
                               struct tl_status *st)
{
    uint32_t payload = (uint32_t)(g->size - TL__LOG_GROUP_HEADER);
    size_t whole = (size_t)tl__log_group_size(payload);
    enum tl_code rc = group_reserve(g, whole, log->group_bytes_max, st);
    if (rc)
        return rc;
    memset(g->data + g->size, 0, whole - g->size);
    g->size = whole;
    uint64_t key = tl__log_key(log->log_id, log->header.incarnation, log->offset);
    struct tl__log_group_header h = {
        .payload_size = payload,
        .number = log->next_group,
        .incarnation = log->header.incarnation,
        .known_durable = log->durable,
        .first_position = g->first_position,
        .records = g->records,
        .flags = flags,
        .payload_sum =
            tl_hash64_seed(g->data + TL__LOG_GROUP_HEADER, whole - TL__LOG_GROUP_HEADER, key),
    };
    tl_assert(h.known_durable + 1 == h.first_position);
    tl__log_group_header_encode(&h, key, g->data);
    return TL_OK;
}

/* The open group into `packed`, when that is wanted and saves a page. */
static bool group_pack(struct local_log *log)
{
    struct tl_status ignored = TL_STATUS_INIT;
    const struct group *g = &log->open;
    struct tl_slice records =
        tl_slice_of(g->data + TL__LOG_GROUP_HEADER, g->size - TL__LOG_GROUP_HEADER);
    if (!tl__log_squeeze_wanted(&log->squeeze, records))
        return false;
    size_t room = TL__LOG_GROUP_HEADER + tl__log_squeeze_room(records.size);
    room = (room + TL__LOG_PAGE - 1) / TL__LOG_PAGE * TL__LOG_PAGE;
    if (group_reserve(&log->packed, room, room, &ignored))
        return false;
    size_t size =
        tl__log_squeeze_run(&log->squeeze, records, log->packed.data + TL__LOG_GROUP_HEADER,
                            log->packed.room - TL__LOG_GROUP_HEADER);
    if (size == 0 ||
        tl__log_group_size((uint32_t)size) >= tl__log_group_size((uint32_t)records.size))
        return false;
    log->packed.size = TL__LOG_GROUP_HEADER + size;
    log->packed.records = g->records;
    log->packed.first_position = g->first_position;
    log->compressed_groups++;
    return true;
}

/* ---- files ---- */

static enum tl_code files_add(struct local_log *log, uint64_t number, uint64_t first_position,
                              uint64_t bytes, struct tl_status *st)
{
    if (log->file_count == log->file_room) {
        uint32_t room = log->file_room ? log->file_room * 2 : 16;
        struct file_info *grown = realloc(log->files, room * sizeof(*grown));
        if (!grown)
            return TL_FAIL(st, TL_LIMIT, "no memory for the log's files");
        log->files = grown;
        log->file_room = room;
    }
    log->files[log->file_count++] = (struct file_info){number, first_position, bytes};
    return TL_OK;
}

/* Zeroes some more of next.tmp; it is begun when there is none. */
static enum tl_code prepare(struct local_log *log, uint64_t bytes, struct tl_status *st)
{
    char name[TL__LOG_NAME_MAX];
    temp_name(log, name);
    enum tl_code rc = TL_OK;
    if (!log->next) {
        log->next_zeroed = 0;
        rc = tl_io_open(log->io, name, TL_IO_CREATE, &log->next, st);
        if (!rc)
            tl_io_commit_direct(log->next);
        if (!rc) /* room for all of it, or none is begun */
            rc = tl_io_preallocate(log->next, log->file_bytes, st);
    }
    uint64_t left = log->file_bytes - log->next_zeroed;
    if (bytes > left)
        bytes = left;
    if (!rc && bytes > 0)
        rc = tl_io_zero(log->next, log->next_zeroed, bytes, st);
    if (!rc && bytes > 0)
        rc = tl_io_sync(log->next, st);
    if (rc)
        return rc;
    log->next_zeroed += bytes;
    return TL_OK;
}

static void prepare_drop(struct local_log *log)
{
    struct tl_status ignored = TL_STATUS_INIT;
    char name[TL__LOG_NAME_MAX];
    temp_name(log, name);
    if (!log->next)
        return;
    tl_io_close(log->next);
    log->next = NULL;
    (void)!tl_io_remove(log->io, name, &ignored);
}

/* While a commit is in flight: goes on with the next file, at a pace that has it ready before this
 * one is full. A failure costs nothing now: the roll will meet it again, and tell. */
static void prepare_beside_commit(struct local_log *log, uint64_t group_bytes)
{
    if (log->spare_count > 0 || log->offset < log->header.file_bytes / 2)
        return;
    if (log->next && log->next_zeroed == log->file_bytes)
        return;
    uint64_t bytes = 3 * group_bytes > PREPARE_BYTES ? 3 * group_bytes : PREPARE_BYTES;
    struct tl_status failure = TL_STATUS_INIT;
    if (prepare(log, bytes, &failure))
        prepare_drop(log);
}

/* Opens a spare, or finishes next.tmp, for `name_out`'s file. */
static enum tl_code take_spare(struct local_log *log, struct tl_file **file,
                               char name_out[TL__LOG_NAME_MAX], struct tl_status *st)
{
    if (log->spare_count > 0) {
        tl__log_spare_name(name_out, log->dir, log->spares[log->spare_count - 1]);
        enum tl_code rc = tl_io_open(log->io, name_out, TL_IO_WRITE, file, st);
        if (!rc) {
            log->spare_count--;
            tl_io_commit_direct(*file);
        }
        return rc;
    }
    enum tl_code rc = prepare(log, log->file_bytes, st);
    if (rc) {
        prepare_drop(log);
        return rc;
    }
    temp_name(log, name_out);
    *file = log->next;
    log->next = NULL;
    return TL_OK;
}

/* Begins file `number`: everything before it is durable (1). */
static enum tl_code begin_file(struct local_log *log, uint64_t number, struct tl_status *st)
{
    tl_assert(!log->commit);
    struct tl_file *file = NULL;
    char name[TL__LOG_NAME_MAX], final[TL__LOG_NAME_MAX];
    uint8_t page[TL__LOG_PAGE];
    enum tl_code rc = take_spare(log, &file, name, st);
    if (rc)
        return rc;
    struct tl__log_file_header h = {
        .log_id = log->log_id,
        .number = number,
        .incarnation = log->next_incarnation++,
        .previous_incarnation = log->header.incarnation,
        .first_position = log->durable + 1,
        .first_group = log->next_group,
        .file_bytes = log->file_bytes,
    };
    tl__log_file_header_encode(&h, page);
    struct tl_slice slice = tl_slice_of(page, sizeof(page));
    tl__log_name(final, log->dir, number);
    rc = tl_io_write(file, 0, &slice, 1, st);
    if (!rc)
        rc = tl_io_sync(file, st);
    if (!rc)
        rc = tl_io_rename(log->io, name, final, st);
    if (!rc)
        rc = tl_io_sync_dir(log->io, log->dir, st); /* (2) holds from here */
    if (!rc)
        rc = files_add(log, number, h.first_position, h.file_bytes, st);
    if (rc) {
        tl_io_close(file);
        return rc;
    }
    tl_io_close(log->file);
    log->file = file;
    log->header = h;
    log->offset = TL__LOG_FILE_HEADER;
    return TL_OK;
}

/* ---- commits ---- */

static enum tl_code local_commit_begin(struct tl_log *base, struct tl_status *st)
{
    struct local_log *log = local_of(base);
    tl_assert(!log->commit);
    enum tl_code rc = check_poison(log, st);
    if (rc || group_empty(&log->open))
        return rc;
    struct group *g = group_pack(log) ? &log->packed : &log->open;
    uint64_t whole = tl__log_group_size((uint32_t)(g->size - TL__LOG_GROUP_HEADER));
    if (log->offset + whole > log->header.file_bytes)
        rc = begin_file(log, log->header.number + 1, st);
    if (!rc)
        rc = group_seal(log, g, g == &log->packed ? TL__LOG_GROUP_ZSTD : 0, st);
    if (rc)
        return poison(log, st);
    struct group landed = log->flying;
    log->flying = *g;
    *g = landed;
    group_clear(&log->packed);
    group_clear(&log->open);
    log->begun_ns = log->squeeze.clock ? tl_clock_mono_ns(log->squeeze.clock) : 0;
    struct tl_slice slice = tl_slice_of(log->flying.data, log->flying.size);
    rc = tl_io_commit_begin(log->file, log->offset, &slice, 1, &log->commit, st);
    if (rc)
        return poison(log, st);
    prepare_beside_commit(log, whole);
    return TL_OK;
}

/* Only when the disk was waited for is the time since the commit began the disk's own. */
static enum tl_code wait_measured(struct local_log *log, struct tl_status *st)
{
    enum { WAITED_NS = 20000 };
    const struct tl_clock *clock = log->squeeze.clock;
    if (!clock || log->squeeze.mode != TL_LOG_COMPRESSION_AUTO)
        return tl_io_commit_wait(log->commit, st);
    uint64_t before = tl_clock_mono_ns(clock);
    enum tl_code rc = tl_io_commit_wait(log->commit, st);
    uint64_t after = tl_clock_mono_ns(clock);
    if (after - before >= WAITED_NS)
        tl__log_squeeze_note(&log->squeeze, log->flying.size, after - log->begun_ns);
    return rc;
}

static enum tl_code local_commit_wait(struct tl_log *base, uint64_t *durable, struct tl_status *st)
{
    struct local_log *log = local_of(base);
    if (log->commit) {
        enum tl_code rc = wait_measured(log, st);
        log->commit = NULL;
        if (rc)
            return poison(log, st);
        log->offset += log->flying.size;
        log->next_group++;
        log->durable += log->flying.records;
        log->marked = false;
        group_clear(&log->flying);
    }
    enum tl_code rc = check_poison(log, st);
    if (rc)
        return rc;
    *durable = log->durable;
    return TL_OK;
}

static bool local_commit_ready(struct tl_log *base)
{
    const struct local_log *log = local_of(base);
    return !log->commit || tl_io_commit_ready(log->commit);
}

static enum tl_code local_read_open(struct tl_log *base, uint64_t after, struct tl_log_reader **out,
                                    struct tl_status *st)
{
    struct local_log *log = local_of(base);
    return tl__log_reader_new(log->io, log->dir, after, false, out, st);
}

/* ---- trimming ---- */

/* Takes the oldest file out of the log, durably (3) (4). */
static enum tl_code trim_oldest(struct local_log *log, struct tl_status *st)
{
    char name[TL__LOG_NAME_MAX], spare[TL__LOG_NAME_MAX];
    struct file_info *oldest = &log->files[0];
    bool keep = log->spare_count < log->spares_max && oldest->bytes == log->file_bytes;
    tl__log_name(name, log->dir, oldest->number);
    tl__log_spare_name(spare, log->dir, oldest->number);
    enum tl_code rc =
        keep ? tl_io_rename(log->io, name, spare, st) : tl_io_remove(log->io, name, st);
    if (!rc)
        rc = tl_io_sync_dir(log->io, log->dir, st);
    if (rc)
        return rc;
    if (keep)
        log->spares[log->spare_count++] = oldest->number;
    log->file_count--;
    memmove(log->files, log->files + 1, log->file_count * sizeof(*log->files));
    return TL_OK;
}

static enum tl_code local_trim(struct tl_log *base, uint64_t position, bool *more,
                               struct tl_status *st)
{
    struct local_log *log = local_of(base);
    enum tl_code rc = check_poison(log, st);
    if (rc)
        return rc;
    if (position > log->durable)
        return TL_FAIL(st, TL_INVALID,
                       "the log cannot be trimmed to %" PRIu64 ", durable is %" PRIu64, position,
                       log->durable);
    if (log->file_count > 1 && log->files[1].first_position <= position + 1) { /* (5) */
        rc = trim_oldest(log, st);
        if (rc)
            return poison(log, st);
    }
    *more = log->file_count > 1 && log->files[1].first_position <= position + 1;
    return TL_OK;
}

/* ---- closing ---- */

/* An empty record of the log's own, whose group says that all before it was durable: damage to the
 * last acknowledged group is told apart from a tail. */
static void write_mark(struct local_log *log)
{
    struct tl_status ignored = TL_STATUS_INIT;
    uint64_t position;
    log->next_position = log->durable + 1; /* what was appended and not committed is dropped */
    group_clear(&log->open);
    if (group_append(log, TL__LOG_MARK, NULL, 0, 0, &position, &ignored))
        return;
    if (local_commit_begin(&log->base, &ignored))
        return;
    (void)!local_commit_wait(&log->base, &position, &ignored);
}

static void local_free(struct local_log *log)
{
    tl_io_close(log->next);
    tl_io_close(log->file);
    free(log->open.data);
    free(log->flying.data);
    free(log->packed.data);
    tl__log_squeeze_deinit(&log->squeeze);
    free(log->files);
    free(log);
}

/* What is left of a busy time is not kept for ever. A failure costs disk space alone. */
static void drop_spares(struct local_log *log)
{
    while (log->spare_count > log->spares_closed) {
        struct tl_status ignored = TL_STATUS_INIT;
        char name[TL__LOG_NAME_MAX];
        tl__log_spare_name(name, log->dir, log->spares[--log->spare_count]);
        (void)!tl_io_remove(log->io, name, &ignored);
    }
}

static void local_close(struct tl_log *base)
{
    struct local_log *log = local_of(base);
    struct tl_status ignored = TL_STATUS_INIT;
    uint64_t durable;
    (void)!local_commit_wait(base, &durable, &ignored);
    if (!log->poison.code && !log->marked && !numbers_used_up(log))
        write_mark(log);
    prepare_drop(log);
    if (!log->poison.code)
        drop_spares(log);
    local_free(log);
}

static const struct tl_log_vtable local_vtable = {
    .append = local_append,
    .commit_begin = local_commit_begin,
    .commit_wait = local_commit_wait,
    .commit_ready = local_commit_ready,
    .read_open = local_read_open,
    .trim = local_trim,
    .close = local_close,
};

/* ---- opening ---- */

static enum tl_code create_log(struct local_log *log, struct tl_status *st)
{
    log->next_position = 1;
    log->next_group = 1;
    log->durable = 0;
    log->marked = true; /* there is nothing to prove */
    return begin_file(log, 1, st);
}

/* (6): the tail's group headers are zeroed, durably, before anything is written over it. */
static enum tl_code overwrite_stale(struct local_log *log, const struct tl__log_walker *w,
                                    struct tl_status *st)
{
    for (uint32_t i = 0; i < w->stale_count; i++) {
        enum tl_code rc = tl_io_zero(log->file, w->stale[i], TL_IO_SECTOR_BYTES, st);
        if (rc)
            return rc;
    }
    return TL_OK;
}

/* Writes the last groups over themselves. A process that died of a failed sync leaves them in the
 * page cache, where they look whole and are clean, so that no sync would write them. A sector that
 * is overwritten by its own bytes cannot be torn. */
static enum tl_code rewrite_unproven(struct local_log *log, uint64_t from, uint64_t to,
                                     struct tl_status *st)
{
    uint8_t *bytes = malloc(REWRITE_BYTES);
    if (!bytes)
        return TL_FAIL(st, TL_LIMIT, "no memory to recover the log");
    enum tl_code rc = TL_OK;
    while (!rc && from < to) {
        size_t size = to - from < REWRITE_BYTES ? (size_t)(to - from) : REWRITE_BYTES;
        struct tl_slice slice = tl_slice_of(bytes, size);
        rc = tl_io_read(log->file, from, bytes, size, st);
        if (!rc)
            rc = tl_io_write(log->file, from, &slice, 1, st);
        from += size;
    }
    free(bytes);
    return rc;
}

/* Walks the whole log, checking every record. */
static enum tl_code walk_all(struct tl__log_walker *w, bool *last_is_mark, struct tl_status *st)
{
    *last_is_mark = false;
    for (;;) {
        bool end = false;
        enum tl_code rc = tl__log_walk_next(w, &end, st);
        if (rc || end)
            return rc;
        struct tl_slice payload = w->payload;
        for (uint32_t i = 0; i < w->group.records; i++) {
            struct tl_log_record record;
            rc = tl__log_record_decode(&payload, w->group.first_position + i, &record, st);
            if (rc)
                return rc;
            *last_is_mark = record.type == TL__LOG_MARK;
        }
        if (payload.size != 0)
            return TL_FAIL(st, TL_CORRUPT, "bytes follow the last record of a group");
    }
}

static enum tl_code note_files(struct local_log *log, const struct tl__log_walker *w,
                               struct tl_status *st)
{
    enum tl_code rc = TL_OK;
    for (uint32_t i = 0; i < w->entered_count && !rc; i++) {
        const struct tl__log_file_header *h = &w->entered[i];
        if (h->incarnation >= log->next_incarnation)
            log->next_incarnation = h->incarnation + 1;
        rc = files_add(log, h->number, h->first_position, h->file_bytes, st);
    }
    return rc;
}

static enum tl_code recover(struct local_log *log, const struct tl_log_options *options,
                            struct tl_log_recovered *recovered, struct tl_status *st)
{
    struct tl__log_walker w;
    char name[TL__LOG_NAME_MAX];
    enum tl_code rc = tl__log_walk_open(&w, log->io, log->dir, 0, false, st);
    if (rc)
        return rc;
    bool last_is_mark;
    rc = walk_all(&w, &last_is_mark, st);
    if (!rc && options->known_durable >= w.next_position)
        rc = TL_FAIL(st, TL_CORRUPT,
                     "the log ends at position %" PRIu64 ", and %" PRIu64 " is known durable",
                     w.next_position - 1, options->known_durable);
    if (!rc)
        rc = note_files(log, &w, st);
    if (rc)
        goto done;
    log->log_id = w.header.log_id;
    log->header = w.header;
    log->offset = w.offset;
    log->next_position = w.next_position;
    log->next_group = w.next_group;
    log->durable = w.next_position - 1;
    log->marked = last_is_mark;
    tl__log_name(name, log->dir, w.header.number);
    rc = tl_io_open(log->io, name, TL_IO_WRITE, &log->file, st);
    if (!rc)
        tl_io_commit_direct(log->file);
    if (!rc)
        rc = overwrite_stale(log, &w, st);
    if (!rc && w.stale_count > 0) /* the cut is durable before the rest counts as durable */
        rc = tl_io_sync(log->file, st);
    if (!rc)
        rc = rewrite_unproven(log, w.proven_offset, w.offset, st);
    if (!rc)
        rc = tl_io_sync(log->file, st);
    if (!rc) /* what was created or renamed, and perhaps never synced */
        rc = tl_io_sync_dir(log->io, log->dir, st);
    if (rc)
        goto done;
    recovered->cut = w.tail;
    recovered->cut_offset = w.tail ? w.offset : 0;
done:
    tl__log_walk_close(&w);
    return rc;
}

/* Spares of the right size are kept; what else lies around of ours is removed. Their incarnations
 * count, so that none is given twice. */
static enum tl_code collect_spares(struct local_log *log, const struct tl__log_listing *listing,
                                   struct tl_status *st)
{
    for (uint32_t i = 0; i < listing->spare_count; i++) {
        char name[TL__LOG_NAME_MAX];
        uint8_t page[TL__LOG_PAGE];
        struct tl_file *file = NULL;
        struct tl__log_file_header h;
        struct tl_status bad = TL_STATUS_INIT;
        uint64_t size = 0;
        size_t got = 0;
        tl__log_spare_name(name, log->dir, listing->spares[i]);
        enum tl_code rc = tl_io_open(log->io, name, TL_IO_READ, &file, st);
        if (!rc)
            rc = tl_io_size(file, &size, st);
        if (!rc)
            rc = tl_io_read_some(file, 0, page, sizeof(page), &got, st);
        tl_io_close(file);
        if (rc)
            return rc;
        bool good = got == sizeof(page) && tl__log_file_header_decode(page, &h, &bad) == TL_OK;
        if (good && h.incarnation >= log->next_incarnation)
            log->next_incarnation = h.incarnation + 1;
        if (size == log->file_bytes && log->spare_count < log->spares_max)
            log->spares[log->spare_count++] = listing->spares[i];
        else
            rc = tl_io_remove(log->io, name, st);
        if (rc)
            return rc;
    }
    return TL_OK;
}

static enum tl_code remove_temp(struct local_log *log, struct tl_status *st)
{
    char name[TL__LOG_NAME_MAX];
    bool there = false;
    temp_name(log, name);
    enum tl_code rc = tl_io_exists(log->io, name, &there, st);
    return rc || !there ? rc : tl_io_remove(log->io, name, st);
}

/* Makes the directory, durably. */
static enum tl_code make_dir(struct tl_io *io, const char *dir, struct tl_status *st)
{
    char parent[TL_LOG_DIR_MAX + 1];
    const char *slash = strrchr(dir, '/');
    size_t size = slash ? (size_t)(slash - dir) : 0;
    memcpy(parent, dir, size);
    parent[size] = '\0';
    enum tl_code rc = tl_io_ensure_dir(io, dir, st);
    return rc ? rc : tl_io_sync_dir(io, parent, st);
}

static enum tl_code open_files(struct local_log *log, const struct tl_log_options *options,
                               struct tl_log_recovered *recovered, struct tl_status *st)
{
    struct tl__log_listing listing = {0};
    enum tl_code rc = make_dir(log->io, log->dir, st);
    if (!rc)
        rc = tl__log_list(log->io, log->dir, &listing, st);
    if (!rc)
        rc = remove_temp(log, st);
    if (rc)
        goto done;
    if (listing.file_count == 0 && (listing.spare_count > 0 || options->known_durable > 0)) {
        rc = TL_FAIL(st, TL_CORRUPT, "the files of the log in %s are missing", log->dir);
        goto done;
    }
    if (listing.file_count > 0)
        rc = recover(log, options, recovered, st);
    if (!rc)
        rc = collect_spares(log, &listing, st);
    if (!rc && listing.file_count == 0) {
        rc = create_log(log, st);
        recovered->created = true;
    }
done:
    tl__log_listing_free(&listing);
    return rc;
}

enum tl_code tl_log_open_local(struct tl_io *io, const char *dir,
                               const struct tl_log_options *options,
                               struct tl_log_recovered *recovered, struct tl_log **out,
                               struct tl_status *st)
{
    uint64_t file_bytes = options->file_bytes ? options->file_bytes : TL_LOG_FILE_BYTES_DEFAULT;
    if (strlen(dir) > TL_LOG_DIR_MAX)
        return TL_FAIL(st, TL_INVALID, "the log's directory name is too long");
    if (file_bytes < TL_LOG_FILE_BYTES_MIN || file_bytes > TL__LOG_FILE_BYTES_MAX)
        return TL_FAIL(st, TL_INVALID, "log files of %" PRIu64 " bytes: at least %d are needed",
                       file_bytes, TL_LOG_FILE_BYTES_MIN);
    struct local_log *log = calloc(1, sizeof(*log));
    if (!log)
        return TL_FAIL(st, TL_LIMIT, "no memory to open the log");
    log->base.vtab = &local_vtable;
    log->io = io;
    memcpy(log->dir, dir, strlen(dir) + 1);
    log->log_id = options->log_id;
    log->file_bytes = file_bytes / TL__LOG_PAGE * TL__LOG_PAGE;
    log->group_bytes_max = log->file_bytes - TL__LOG_FILE_HEADER;
    if (log->group_bytes_max > TL_LOG_GROUP_BYTES_MAX)
        log->group_bytes_max = TL_LOG_GROUP_BYTES_MAX;
    log->spares_max = options->spare_files ? options->spare_files : SPARES_DEFAULT;
    if (log->spares_max > SPARES_MAX)
        log->spares_max = SPARES_MAX;
    log->spares_closed =
        options->spare_files_closed ? options->spare_files_closed : log->spares_max;
    log->next_incarnation = 1;
    tl__log_squeeze_init(&log->squeeze, options->compression, options->clock);
    struct tl_log_recovered found = {0};
    enum tl_code rc = open_files(log, options, &found, st);
    if (rc) {
        local_free(log);
        tl_status_wrap(st, "opening the log");
        return rc;
    }
    found.log_id = log->log_id;
    found.first_position = log->files[0].first_position;
    found.durable_position = log->durable;
    if (recovered)
        *recovered = found;
    *out = &log->base;
    return TL_OK;
}

void tl_log_local_info(const struct tl_log *log, struct tl_log_local_info *out)
{
    const struct local_log *local = (const struct local_log *)(const void *)log;
    tl_assert(log->vtab == &local_vtable);
    *out = (struct tl_log_local_info){
        .files = local->file_count,
        .spare_files = local->spare_count,
        .bytes = local->spare_count * local->file_bytes,
        .first_position = local->files[0].first_position,
        .durable_position = local->durable,
        .group_bytes_max = local->group_bytes_max,
        .compressed_groups = local->compressed_groups,
    };
    for (uint32_t i = 0; i < local->file_count; i++)
        out->bytes += local->files[i].bytes;
}

uint64_t tl_log_local_compressed(const struct tl_log *log)
{
    tl_assert(log->vtab == &local_vtable);
    return ((const struct local_log *)(const void *)log)->compressed_groups;
}
