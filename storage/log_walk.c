/*
 * storage/log_walk.c: walking over the groups of a local log: recovery, readers, verification.
 *
 * The walk goes from group to group and from file to file, checking that numbers and positions
 * continue. Where a group is bad it decides what that means (the design's "What the log may cut,
 * and what it may not"):
 *
 *   (1) A file follows: its header was written when everything before it was durable. The bad
 *       group is corruption, unless the file ends there for good, which the next header's first
 *       group and position say.
 *   (2) The newest file: any later valid group header of the same incarnation, anywhere in the
 *       file, whose known durable position reaches the bad group's first position, proves
 *       corruption.
 *   (3) Otherwise it is a tail that was never acknowledged, and the log ends before it, whatever
 *       valid bytes follow.
 *
 * A file's header is durable before the file gets its name, so a bad header is always corruption.
 *
 * A live walk reads beside a process that writes and trims. There a bad group is read a second
 * time before it counts (it may have been half written), and a file that has vanished or has begun
 * a new incarnation was trimmed: the walk starts again at the oldest file.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "storage/log_int.h"
#include "storage/log_squeeze.h"

enum { WINDOW_BYTES = 1 << 20, RESTARTS_MAX = 100 };

/* ---- the window ---- */

/* Makes bytes [offset, offset + size) of the file readable at *out; those past the file's end are
 * not there, which *got says. */
static enum tl_code window_get(struct tl__log_walker *w, uint64_t offset, size_t size,
                               const uint8_t **out, size_t *got, struct tl_status *st)
{
    if (offset < w->window_offset || offset + size > w->window_offset + w->window_size) {
        size_t want = size > WINDOW_BYTES ? size : WINDOW_BYTES;
        if (offset >= w->limit)
            want = 0;
        else if (want > w->limit - offset)
            want = (size_t)(w->limit - offset);
        if (want > w->window_room) {
            uint8_t *grown = realloc(w->window, want);
            if (!grown)
                return TL_FAIL(st, TL_LIMIT, "no memory to read %zu bytes of the log", want);
            w->window = grown;
            w->window_room = want;
        }
        w->window_size = 0;
        w->window_offset = offset;
        if (want > 0) {
            enum tl_code rc =
                tl_io_read_some(w->file, offset, w->window, want, &w->window_size, st);
            if (rc)
                return rc;
        }
    }
    size_t left = (size_t)(w->window_offset + w->window_size - offset);
    *got = left < size ? left : size;
    *out = w->window ? w->window + (offset - w->window_offset) : (const uint8_t *)"";
    return TL_OK;
}

static void window_forget(struct tl__log_walker *w)
{
    w->window_size = 0;
    w->window_offset = 0;
}

/* ---- files ---- */

static enum tl_code corrupt_at(struct tl__log_walker *w, uint64_t number, uint64_t offset,
                               struct tl_status *st)
{
    char name[TL__LOG_NAME_MAX];
    tl__log_name(name, w->dir, number);
    snprintf(w->bad_file, sizeof(w->bad_file), "%.63s", name);
    w->bad_offset = offset;
    tl_status_wrap(st, "%s at %" PRIu64, name, offset);
    return st->code;
}

static enum tl_code read_file_header(struct tl_file *file, uint64_t number,
                                     struct tl__log_file_header *out, struct tl_status *st)
{
    uint8_t page[TL__LOG_PAGE];
    size_t got;
    enum tl_code rc = tl_io_read_some(file, 0, page, sizeof(page), &got, st);
    if (rc)
        return rc;
    if (got < sizeof(page))
        return TL_FAIL(st, TL_CORRUPT, "the log file's header is cut");
    struct tl__log_file_header h;
    rc = tl__log_file_header_decode(page, &h, st);
    if (rc)
        return rc;
    if (h.number != number)
        return TL_FAIL(st, TL_CORRUPT, "the log file says that its number is %" PRIu64, h.number);
    *out = h;
    return TL_OK;
}

static enum tl_code open_file(struct tl__log_walker *w, uint64_t number, struct tl_file **file,
                              struct tl__log_file_header *header, struct tl_status *st)
{
    char name[TL__LOG_NAME_MAX];
    tl__log_name(name, w->dir, number);
    for (int attempt = 1;; attempt++) {
        struct tl_file *f = NULL;
        enum tl_code rc = tl_io_open(w->io, name, TL_IO_READ, &f, st);
        if (rc)
            return rc;
        rc = read_file_header(f, number, header, st);
        if (!rc) {
            *file = f;
            return TL_OK;
        }
        tl_io_close(f);
        if (rc != TL_CORRUPT)
            return rc;
        /* Trimmed and begun anew between the two calls? Then the name is gone by now. */
        if (!w->live || attempt == 2)
            return corrupt_at(w, number, 0, st);
        tl_status_clear(st);
    }
}

/* Goes on in the file at `index`, which was opened and checked. */
static enum tl_code enter_file(struct tl__log_walker *w, uint32_t index, struct tl_file *file,
                               const struct tl__log_file_header *header, struct tl_status *st)
{
    uint64_t size;
    enum tl_code rc = tl_io_size(file, &size, st);
    if (!rc && w->entered_count == w->entered_room) {
        uint32_t room = w->entered_room ? w->entered_room * 2 : 16;
        struct tl__log_file_header *grown = realloc(w->entered, room * sizeof(*grown));
        if (grown) {
            w->entered = grown;
            w->entered_room = room;
        } else {
            rc = TL_FAIL(st, TL_LIMIT, "no memory for the log's files");
        }
    }
    if (rc) {
        tl_io_close(file);
        return rc;
    }
    w->entered[w->entered_count++] = *header;
    tl_io_close(w->file);
    w->file = file;
    w->index = index;
    w->header = *header;
    w->limit = size < header->file_bytes ? size : header->file_bytes;
    w->offset = TL__LOG_FILE_HEADER;
    w->proven_offset = TL__LOG_FILE_HEADER;
    w->retried_offset = 0;
    w->next_group = header->first_group;
    w->next_position = header->first_position;
    if (w->known_durable < header->first_position - 1)
        w->known_durable = header->first_position - 1;
    window_forget(w);
    return TL_OK;
}

/* Whether the open file is no longer what its name says (live walks). */
static bool was_trimmed(struct tl__log_walker *w)
{
    struct tl__log_file_header now;
    struct tl_file *file = NULL;
    struct tl_status ignored = TL_STATUS_INIT;
    enum tl_code rc = open_file(w, w->header.number, &file, &now, &ignored);
    if (rc)
        return rc == TL_NOT_FOUND;
    tl_io_close(file);
    return now.incarnation != w->header.incarnation;
}

/* Lists the directory and enters the file in which the records after `after` begin. */
static enum tl_code start(struct tl__log_walker *w, uint64_t after, struct tl_status *st)
{
    for (;;) {
        w->entered_count = 0;
        tl__log_listing_free(&w->listing);
        enum tl_code rc = tl__log_list(w->io, w->dir, &w->listing, st);
        if (rc)
            return rc;
        if (w->listing.file_count == 0)
            return TL_FAIL(st, TL_NOT_FOUND, "there is no log in %s", w->dir);
        struct tl_file *file = NULL, *next = NULL;
        struct tl__log_file_header header, next_header;
        uint32_t i = 0;
        rc = open_file(w, w->listing.files[0], &file, &header, st);
        if (!rc && after > 0 && header.first_position > after + 1)
            rc = TL_FAIL(st, TL_TOO_OLD,
                         "the log begins at position %" PRIu64 ", after %" PRIu64 " was asked for",
                         header.first_position, after);
        while (!rc && after > 0 && i + 1 < w->listing.file_count) {
            rc = open_file(w, w->listing.files[i + 1], &next, &next_header, st);
            if (rc || next_header.first_position > after + 1)
                break;
            tl_io_close(file);
            file = next;
            next = NULL;
            header = next_header;
            i++;
        }
        tl_io_close(next);
        if (!rc)
            return enter_file(w, i, file, &header, st);
        tl_io_close(file);
        if (rc != TL_NOT_FOUND || !w->live || w->restarts++ >= RESTARTS_MAX)
            return rc;
        tl_status_clear(st); /* trimmed between the listing and the opening */
    }
}

enum tl_code tl__log_walk_open(struct tl__log_walker *w, struct tl_io *io, const char *dir,
                               uint64_t after, bool live, struct tl_status *st)
{
    *w = (struct tl__log_walker){.io = io, .dir = dir, .live = live};
    enum tl_code rc = start(w, after, st);
    if (rc)
        tl__log_walk_close(w);
    return rc;
}

void tl__log_walk_close(struct tl__log_walker *w)
{
    tl_io_close(w->file);
    w->file = NULL;
    tl__log_listing_free(&w->listing);
    free(w->window);
    w->window = NULL;
    w->window_size = w->window_room = 0;
    free(w->inflated);
    w->inflated = NULL;
    w->inflated_room = 0;
    free(w->stale);
    w->stale = NULL;
    free(w->entered);
    w->entered = NULL;
}

/* ---- groups ---- */

/* Reads the group at w->offset. *why is NULL when it is good, and says what is wrong otherwise. */
static enum tl_code read_group(struct tl__log_walker *w, const char **why, struct tl_status *st)
{
    const uint8_t *bytes;
    size_t got;
    uint64_t key = tl__log_key(w->header.log_id, w->header.incarnation, w->offset);
    struct tl__log_group_header g;
    enum tl_code rc = window_get(w, w->offset, TL__LOG_GROUP_HEADER, &bytes, &got, st);
    if (rc)
        return rc;
    *why = "there is no group";
    if (got < TL__LOG_GROUP_HEADER || !tl__log_group_header_decode(bytes, key, &g) ||
        g.incarnation != w->header.incarnation)
        return TL_OK;
    *why = "the group does not continue the one before";
    if (g.number != w->next_group || g.first_position != w->next_position)
        return TL_OK;
    uint64_t size = tl__log_group_size(g.payload_size);
    *why = "the group is larger than its file";
    if (size > w->limit - w->offset || size > TL_LOG_GROUP_BYTES_MAX)
        return TL_OK;
    rc = window_get(w, w->offset, (size_t)size, &bytes, &got, st);
    if (rc)
        return rc;
    *why = "the group does not match its checksum";
    if (got < size || g.payload_sum != tl_hash64_seed(bytes + TL__LOG_GROUP_HEADER,
                                                      (size_t)size - TL__LOG_GROUP_HEADER, key))
        return TL_OK;
    *why = NULL;
    /* The checksums hold: from here on a wrong field is no torn write. */
    if (g.records == 0 || g.known_durable >= g.first_position || g.flags > TL__LOG_GROUP_ZSTD ||
        g.first_position > TL__LOG_NUMBER_MAX - g.records || g.number >= TL__LOG_NUMBER_MAX)
        return TL_FAIL(st, TL_CORRUPT, "the group's header makes no sense");
    struct tl_slice payload = tl_slice_of(bytes + TL__LOG_GROUP_HEADER, g.payload_size);
    if (g.flags == TL__LOG_GROUP_ZSTD)
        rc = tl__log_unsqueeze(payload, &w->inflated, &w->inflated_room, &payload, st);
    if (!rc && g.records > payload.size / TL__LOG_RECORD_HEADER)
        rc = TL_FAIL(st, TL_CORRUPT, "the group's header makes no sense");
    if (rc)
        return rc;
    w->group = g;
    w->payload = payload;
    return TL_OK;
}

/* Looks through what follows a bad group in the newest file: rule (2), and what is stale. */
static enum tl_code scan_behind(struct tl__log_walker *w, uint64_t *proof, struct tl_status *st)
{
    *proof = 0;
    w->stale_count = 0;
    w->tail = false;
    for (uint64_t at = w->offset; at + TL__LOG_GROUP_HEADER <= w->limit; at += TL__LOG_PAGE) {
        const uint8_t *bytes;
        size_t got;
        enum tl_code rc = window_get(w, at, TL__LOG_GROUP_HEADER, &bytes, &got, st);
        if (rc)
            return rc;
        struct tl__log_group_header g;
        uint64_t key = tl__log_key(w->header.log_id, w->header.incarnation, at);
        if (got < TL__LOG_GROUP_HEADER)
            break;
        if (!tl__log_group_header_decode(bytes, key, &g) || g.incarnation != w->header.incarnation)
            continue;
        w->tail = true;
        if (at > w->offset && g.known_durable >= w->next_position) {
            *proof = at;
            return TL_OK;
        }
        if ((w->stale_count & (w->stale_count - 1)) == 0) { /* full at each power of two */
            size_t room = w->stale_count ? (size_t)w->stale_count * 2 : 1;
            uint64_t *grown = realloc(w->stale, room * sizeof(*grown));
            if (!grown)
                return TL_FAIL(st, TL_LIMIT, "no memory for the log's tail");
            w->stale = grown;
        }
        w->stale[w->stale_count++] = at;
    }
    return TL_OK;
}

enum verdict { NEXT_FILE, END, AGAIN, RESTART };

/* The newest file: `why` is a tail, or corruption. */
static enum tl_code judge_newest(struct tl__log_walker *w, const char *why, enum verdict *out,
                                 struct tl_status *st)
{
    uint64_t proof;
    enum tl_code rc = scan_behind(w, &proof, st);
    if (rc)
        return rc;
    if (!proof) {
        *out = END;
        return TL_OK;
    }
    if (w->retried_offset != w->offset) {
        w->retried_offset = w->offset;
        *out = AGAIN;
        return TL_OK;
    }
    if (w->live && was_trimmed(w)) {
        *out = RESTART;
        return TL_OK;
    }
    (void)TL_FAIL(st, TL_CORRUPT,
                  "%s, and the group at %" PRIu64 " says that position %" PRIu64 " was durable",
                  why, proof, w->next_position);
    return corrupt_at(w, w->header.number, w->offset, st);
}

/* A file follows: its header says where this one ends. */
static enum tl_code judge_older(struct tl__log_walker *w, const char *why, enum verdict *out,
                                struct tl_status *st)
{
    struct tl_file *file = NULL;
    struct tl__log_file_header next;
    uint64_t number = w->listing.files[w->index + 1];
    enum tl_code rc = open_file(w, number, &file, &next, st);
    if (rc == TL_NOT_FOUND && w->live) {
        tl_status_clear(st);
        *out = RESTART;
        return TL_OK;
    }
    if (rc)
        return rc;
    bool follows = number == w->header.number + 1 && next.log_id == w->header.log_id &&
                   next.previous_incarnation == w->header.incarnation;
    if (follows && next.first_group == w->next_group && next.first_position == w->next_position) {
        *out = NEXT_FILE;
        return enter_file(w, w->index + 1, file, &next, st);
    }
    tl_io_close(file);
    if (w->retried_offset != w->offset) {
        w->retried_offset = w->offset;
        *out = AGAIN;
        return TL_OK;
    }
    if (w->live && was_trimmed(w)) {
        *out = RESTART;
        return TL_OK;
    }
    if (!follows) {
        (void)TL_FAIL(st, TL_CORRUPT, "the log file does not follow file %" PRIu64,
                      w->header.number);
        return corrupt_at(w, number, 0, st);
    }
    (void)TL_FAIL(st, TL_CORRUPT,
                  "%s, and file %" PRIu64 " says that position %" PRIu64 " was durable", why,
                  number, w->next_position);
    return corrupt_at(w, w->header.number, w->offset, st);
}

/* A live walk at the end of the newest file it knows: has the writer gone on to another one? */
static enum tl_code look_for_more_files(struct tl__log_walker *w, bool *more, struct tl_status *st)
{
    struct tl__log_listing now = {0};
    enum tl_code rc = tl__log_list(w->io, w->dir, &now, st);
    if (rc)
        return rc;
    *more = now.file_count > 0 && now.files[now.file_count - 1] > w->header.number;
    if (*more) {
        uint32_t i = 0;
        while (i < now.file_count && now.files[i] != w->header.number)
            i++;
        if (i == now.file_count) { /* this one is gone by now: only what follows counts */
            i = 0;
            while (now.files[i] < w->header.number)
                i++;
            tl_assert(i < now.file_count);
            memmove(now.files + 1, now.files + i, (now.file_count - i) * sizeof(*now.files));
            now.file_count = now.file_count - i + 1;
            now.files[0] = w->header.number;
            i = 0;
        }
        tl__log_listing_free(&w->listing);
        w->listing = now;
        w->index = i;
    } else {
        tl__log_listing_free(&now);
    }
    return TL_OK;
}

enum tl_code tl__log_walk_next(struct tl__log_walker *w, bool *end, struct tl_status *st)
{
    for (;;) {
        const char *why;
        enum tl_code rc = read_group(w, &why, st);
        if (rc)
            return rc == TL_CORRUPT ? corrupt_at(w, w->header.number, w->offset, st) : rc;
        if (!why) {
            if (w->group.known_durable > w->known_durable)
                w->known_durable = w->group.known_durable;
            if (w->group.known_durable + 1 >= w->group.first_position)
                w->proven_offset = w->offset;
            w->offset += tl__log_group_size(w->group.payload_size);
            w->next_group++;
            w->next_position += w->group.records;
            *end = false;
            return TL_OK;
        }
        enum verdict verdict = END;
        bool newest = w->index + 1 == w->listing.file_count;
        rc = newest ? judge_newest(w, why, &verdict, st) : judge_older(w, why, &verdict, st);
        if (rc)
            return rc;
        if (verdict == END) {
            bool more = false;
            if (w->live)
                rc = look_for_more_files(w, &more, st);
            if (rc)
                return rc;
            if (!more) {
                *end = true;
                return TL_OK;
            }
        }
        window_forget(w);
        if (verdict == RESTART) {
            if (w->restarts++ >= RESTARTS_MAX)
                return TL_FAIL(st, TL_BUSY, "the log is trimmed faster than it can be read");
            rc = start(w, 0, st);
            if (rc)
                return rc;
        }
    }
}

enum tl_code tl__log_record_decode(struct tl_slice *payload, uint64_t position,
                                   struct tl_log_record *out, struct tl_status *st)
{
    struct tl_reader r = tl_reader_of(*payload);
    uint64_t stored = tl_read_u64(&r);
    uint32_t size = tl_read_u32(&r);
    uint8_t type = tl_read_u8(&r);
    uint8_t flags = tl_read_u8(&r);
    uint16_t zero = tl_read_u16(&r);
    if (r.failed || size > tl_reader_left(&r) || size > TL_LOG_RECORD_BYTES_MAX)
        return TL_FAIL(st, TL_CORRUPT, "record %" PRIu64 " is longer than its group", position);
    if (stored != position || flags != 0 || zero != 0 || (type == TL__LOG_MARK && size != 0))
        return TL_FAIL(st, TL_CORRUPT, "record %" PRIu64 " makes no sense", position);
    out->position = position;
    out->type = type;
    out->body = tl_slice_of(r.next, size);
    *payload = tl_slice_of(r.next + size, tl_reader_left(&r) - size);
    return TL_OK;
}

/* ---- readers ---- */

struct reader {
    struct tl_log_reader base;
    struct tl__log_walker walker;
    struct tl_slice payload; /* of the current group, what is left of it */
    uint32_t records_left;
    uint64_t position; /* of the next record in it */
    uint64_t after;    /* the last position given out */
    bool ended;
    char dir[TL_LOG_DIR_MAX + 1];
};

static enum tl_code next_group(struct reader *r, struct tl_status *st)
{
    bool end = false;
    uint32_t restarts = r->walker.restarts;
    enum tl_code rc = tl__log_walk_next(&r->walker, &end, st);
    if (rc)
        return rc;
    if (end) {
        r->ended = true;
        return TL_OK;
    }
    const struct tl__log_group_header *g = &r->walker.group;
    if (r->walker.restarts != restarts && g->first_position > r->after + 1)
        return TL_FAIL(st, TL_TOO_OLD, "the log was trimmed while it was read at %" PRIu64,
                       r->after);
    r->payload = r->walker.payload;
    r->records_left = g->records;
    r->position = g->first_position;
    return TL_OK;
}

static enum tl_code reader_next(struct tl_log_reader *base, struct tl_log_record *out, bool *end,
                                struct tl_status *st)
{
    struct reader *r = (struct reader *)(void *)base;
    for (;;) {
        if (r->ended) {
            *end = true;
            return TL_OK;
        }
        enum tl_code rc;
        if (r->records_left == 0) {
            if (r->payload.size != 0)
                return TL_FAIL(st, TL_CORRUPT, "bytes follow record %" PRIu64 " of its group",
                               r->position - 1);
            rc = next_group(r, st);
            if (rc)
                return rc;
            continue;
        }
        struct tl_log_record record;
        rc = tl__log_record_decode(&r->payload, r->position, &record, st);
        if (rc)
            return rc;
        r->records_left--;
        r->position++;
        if (record.position <= r->after)
            continue;
        r->after = record.position;
        if (record.type == TL__LOG_MARK)
            continue;
        *out = record;
        *end = false;
        return TL_OK;
    }
}

static void reader_close(struct tl_log_reader *base)
{
    struct reader *r = (struct reader *)(void *)base;
    tl__log_walk_close(&r->walker);
    free(r);
}

static const struct tl_log_reader_vtable reader_vtable = {reader_next, reader_close};

enum tl_code tl__log_reader_new(struct tl_io *io, const char *dir, uint64_t after, bool live,
                                struct tl_log_reader **out, struct tl_status *st)
{
    if (strlen(dir) > TL_LOG_DIR_MAX)
        return TL_FAIL(st, TL_INVALID, "the log's directory name is too long");
    struct reader *r = calloc(1, sizeof(*r));
    if (!r)
        return TL_FAIL(st, TL_LIMIT, "no memory to read the log");
    memcpy(r->dir, dir, strlen(dir) + 1);
    enum tl_code rc = tl__log_walk_open(&r->walker, io, r->dir, after, live, st);
    if (rc) {
        free(r);
        return rc;
    }
    r->base.vtab = &reader_vtable;
    r->after = after > 0 ? after : r->walker.next_position - 1;
    *out = &r->base;
    return TL_OK;
}

enum tl_code tl_log_read_open_dir(struct tl_io *io, const char *dir, uint64_t after,
                                  struct tl_log_reader **out, struct tl_status *st)
{
    return tl__log_reader_new(io, dir, after, true, out, st);
}

/* ---- verification ---- */

static enum tl_code verify_group(struct tl__log_walker *w, struct tl_log_report *out,
                                 struct tl_status *st)
{
    struct tl_slice payload = w->payload;
    for (uint32_t i = 0; i < w->group.records; i++) {
        struct tl_log_record record;
        enum tl_code rc = tl__log_record_decode(&payload, w->group.first_position + i, &record, st);
        if (rc)
            return rc;
        if (record.type == TL__LOG_MARK || record.position <= out->last_position)
            continue;
        out->records++;
        out->record_bytes += record.body.size;
        if (out->first_position == 0)
            out->first_position = record.position;
        out->last_position = record.position;
    }
    if (payload.size != 0)
        return TL_FAIL(st, TL_CORRUPT, "bytes follow the last record of a group");
    out->groups++;
    return TL_OK;
}

/* Adds up what the directory takes; files that vanish meanwhile count nothing. */
static void measure(struct tl_io *io, const char *dir, struct tl_log_report *out)
{
    struct tl_status ignored = TL_STATUS_INIT;
    struct tl__log_listing l = {0};
    if (tl__log_list(io, dir, &l, &ignored))
        return;
    out->files = l.file_count;
    for (uint32_t i = 0; i < l.file_count + l.spare_count; i++) {
        char name[TL__LOG_NAME_MAX];
        struct tl_file *file = NULL;
        uint64_t size = 0;
        if (i < l.file_count)
            tl__log_name(name, dir, l.files[i]);
        else
            tl__log_spare_name(name, dir, l.spares[i - l.file_count]);
        tl_status_clear(&ignored);
        if (tl_io_open(io, name, TL_IO_READ, &file, &ignored))
            continue;
        if (tl_io_size(file, &size, &ignored) == TL_OK)
            out->file_bytes += size;
        tl_io_close(file);
    }
    tl__log_listing_free(&l);
}

enum tl_code tl_log_verify(struct tl_io *io, const char *dir, struct tl_log_report *out,
                           struct tl_status *st)
{
    struct tl__log_walker w;
    *out = (struct tl_log_report){0};
    if (strlen(dir) > TL_LOG_DIR_MAX)
        return TL_FAIL(st, TL_INVALID, "the log's directory name is too long");
    measure(io, dir, out);
    enum tl_code rc = tl__log_walk_open(&w, io, dir, 0, true, st);
    if (rc) {
        memcpy(out->bad_file, w.bad_file, sizeof(out->bad_file));
        out->bad_offset = w.bad_offset;
        return rc;
    }
    for (bool end = false;;) {
        rc = tl__log_walk_next(&w, &end, st);
        if (rc || end)
            break;
        rc = verify_group(&w, out, st);
        if (rc) {
            if (rc == TL_CORRUPT)
                rc = corrupt_at(&w, w.header.number,
                                w.offset - tl__log_group_size(w.group.payload_size), st);
            break;
        }
    }
    out->log_id = w.header.log_id;
    out->tail_offset = w.offset;
    memcpy(out->bad_file, w.bad_file, sizeof(out->bad_file));
    out->bad_offset = w.bad_offset;
    tl__log_walk_close(&w);
    return rc;
}
