/*
 * storage/manifest.c: the file of transactions that says what is true on the disk.
 *
 *   MANIFEST-000007:  [header page][checkpoint transactions … last one flagged][transaction] …
 *   CURRENT:          "MANIFEST-000007 <its id>\n"
 *
 * A transaction is a header, its edits, and padding to a whole page, so that a torn write of one
 * never shares a page with another that is durable (storage/log_int.h says why).
 *
 * Invariants
 *   (1) A transaction is durable before the next one is written: a valid one anywhere behind a bad
 *       one proves that the bad one was durable.       (test_manifest: every_flipped_bit…)
 *   (2) CURRENT names a file whose checkpoint is complete and durable, and whose name is durable.
 *   (3) A file that CURRENT does not name is garbage: of a checkpoint that did not come to its end,
 *       or the one before. It is removed only when CURRENT's own name is durable.
 *   (4) After the first failed write or sync nothing is written any more.
 */
#include "storage/manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"

enum {
    PAGE = TL_IO_PAGE_BYTES,
    VERSION = 1,
    HEADER_SUM_AT = PAGE - 8,
    TXN_MAGIC = 0x314E5854, /* "TXN1" */
    TXN_HEADER = 40,
    TXN_SUM_AT = 32,
    FLAG_CHECKPOINT = 1,      /* states what was true when the file began */
    FLAG_CHECKPOINT_LAST = 2, /* and completes it */
    FLAGS_KNOWN = 3,
    CHECKPOINT_TXN_BYTES = 256 << 10, /* a checkpoint's edits are gathered up to here */
    WANTS_BYTES_MIN = 1 << 20,
    TXN_BYTES_MAX = TL_MANIFEST_EDIT_BYTES_MAX + CHECKPOINT_TXN_BYTES,
    NAME_MAX_BYTES = 48,
    READ_ONLY_ATTEMPTS = 100,
};

#define NUMBER_MAX (1ULL << 56) /* docs/FORMAT.md, "Conventions" */

static const uint8_t file_magic[8] = {'T', 'A', 'L', 'L', 'Y', 'M', 'A', 'N'};
static const char current_name[] = "CURRENT", temp_name[] = "CURRENT.tmp";

struct tl_manifest {
    struct tl_io *io;
    enum tl_manifest_mode mode;
    uint64_t file_id_seed;
    struct tl_file *file;
    uint64_t number, id;
    uint64_t offset;   /* of the next transaction */
    uint64_t next_txn; /* its number, from 1 in each file */
    uint64_t checkpoint_bytes, checkpoint_txns;
    bool cut;
    struct tl_buffer buffer; /* the transaction being written */
    struct tl_status poison; /* (4) */
};

/* ---- the format ---- */

static uint64_t key_of(uint64_t id, uint64_t number, uint64_t offset)
{
    uint8_t key[24];
    tl_put_u64le(key, id);
    tl_put_u64le(key + 8, number);
    tl_put_u64le(key + 16, offset);
    return tl_hash64(key, sizeof(key));
}

static void file_name(char out[NAME_MAX_BYTES], uint64_t number)
{
    snprintf(out, NAME_MAX_BYTES, "MANIFEST-%06" PRIu64, number);
}

/* The number in a manifest's name; 0 when it is no such name. */
static uint64_t parse_name(const char *name)
{
    if (strncmp(name, "MANIFEST-", 9) != 0)
        return 0;
    const char *digits = name + 9;
    size_t n = strspn(digits, "0123456789");
    if (n < 6 || n > 18 || (n > 6 && digits[0] == '0') || digits[n] != '\0')
        return 0;
    uint64_t number = strtoull(digits, NULL, 10);
    return number <= NUMBER_MAX ? number : 0;
}

/* File header: one page: "TALLYMAN", u16 version, u16 zero, u32 feature bits, u64 id, u64 number;
 * zeros; in the last 8 bytes the checksum of all before it. */
static void header_encode(uint64_t id, uint64_t number, uint8_t out[PAGE])
{
    memset(out, 0, PAGE);
    memcpy(out, file_magic, 8);
    tl_put_u16le(out + 8, VERSION);
    tl_put_u64le(out + 16, id);
    tl_put_u64le(out + 24, number);
    tl_put_u64le(out + HEADER_SUM_AT, tl_hash64_seed(out, HEADER_SUM_AT, key_of(id, number, 0)));
}

static enum tl_code header_decode(const uint8_t in[PAGE], uint64_t id, uint64_t number,
                                  struct tl_status *st)
{
    if (memcmp(in, file_magic, 8) != 0 ||
        tl_get_u64le(in + HEADER_SUM_AT) !=
            tl_hash64_seed(in, HEADER_SUM_AT, key_of(id, number, 0)))
        return TL_FAIL(st, TL_CORRUPT, "the manifest's header does not match its checksum");
    if (tl_get_u16le(in + 8) != VERSION || tl_get_u32le(in + 12) != 0)
        return TL_FAIL(st, TL_UNSUPPORTED, "a manifest of version %u with features %x, known is %d",
                       tl_get_u16le(in + 8), tl_get_u32le(in + 12), VERSION);
    if (tl_get_u16le(in + 10) != 0 || tl_get_u64le(in + 16) != id ||
        tl_get_u64le(in + 24) != number)
        return TL_FAIL(st, TL_CORRUPT, "the manifest is not the one that CURRENT names");
    return TL_OK;
}

/* Transaction header: 40 bytes: u32 magic, u32 size of the edits, u64 number, u32 edits, u32 flags,
 * u64 checksum of what follows up to the end of the last page, u64 checksum of the 32 before. */
struct txn {
    uint32_t size;
    uint64_t number;
    uint32_t edits;
    uint32_t flags;
    uint64_t sum;
};

static uint64_t txn_whole(uint64_t size)
{
    return (TXN_HEADER + size + PAGE - 1) / PAGE * PAGE;
}

static bool txn_decode(const uint8_t in[TXN_HEADER], uint64_t key, struct txn *out)
{
    struct tl_reader r = tl_reader_of(tl_slice_of(in, TXN_HEADER));
    if (tl_read_u32(&r) != TXN_MAGIC)
        return false;
    struct txn t = {0};
    t.size = tl_read_u32(&r);
    t.number = tl_read_u64(&r);
    t.edits = tl_read_u32(&r);
    t.flags = tl_read_u32(&r);
    t.sum = tl_read_u64(&r);
    if (tl_read_u64(&r) != tl_hash64_seed(in, TXN_SUM_AT, key))
        return false;
    *out = t;
    return true;
}

/* `b` holds header space and edits; pads them and fills in the header. */
static enum tl_code txn_seal(struct tl_buffer *b, uint64_t key, uint64_t number, uint32_t edits,
                             uint32_t flags, struct tl_status *st)
{
    enum tl_code rc = tl_buffer_check(b, st);
    if (rc)
        return rc;
    uint32_t size = (uint32_t)(b->size - TXN_HEADER);
    size_t padding = (size_t)(txn_whole(size) - b->size);
    uint8_t *p = tl_buffer_reserve(b, padding);
    if (!p)
        return tl_buffer_check(b, st);
    memset(p, 0, padding);
    b->size += padding;
    tl_put_u32le(b->data, TXN_MAGIC);
    tl_put_u32le(b->data + 4, size);
    tl_put_u64le(b->data + 8, number);
    tl_put_u32le(b->data + 16, edits);
    tl_put_u32le(b->data + 20, flags);
    tl_put_u64le(b->data + 24, tl_hash64_seed(b->data + TXN_HEADER, b->size - TXN_HEADER, key));
    tl_put_u64le(b->data + TXN_SUM_AT, tl_hash64_seed(b->data, TXN_SUM_AT, key));
    return TL_OK;
}

static void txn_begin(struct tl_buffer *b)
{
    static const uint8_t space[TXN_HEADER];
    tl_buffer_clear(b);
    tl_buffer_put(b, space, sizeof(space));
}

/* ---- CURRENT ---- */

static enum tl_code current_read(struct tl_io *io, uint64_t *number, uint64_t *id,
                                 struct tl_status *st)
{
    char text[80], expected[80];
    size_t got = 0;
    struct tl_file *file = NULL;
    enum tl_code rc = tl_io_open(io, current_name, TL_IO_READ, &file, st);
    if (rc)
        return rc;
    rc = tl_io_read_some(file, 0, text, sizeof(text) - 1, &got, st);
    tl_io_close(file);
    if (rc)
        return rc;
    text[got] = '\0';
    char name[NAME_MAX_BYTES] = "";
    uint64_t file_id = 0, file_number = 0;
    if (sscanf(text, "%47s %16" SCNx64, name, &file_id) == 2)
        file_number = parse_name(name);
    snprintf(expected, sizeof(expected), "%s %016" PRIx64 "\n", name, file_id);
    if (file_number == 0 || strcmp(text, expected) != 0)
        return TL_FAIL(st, TL_CORRUPT, "CURRENT does not name a manifest");
    *number = file_number;
    *id = file_id;
    return TL_OK;
}

/* Removes the name when it is there. */
static enum tl_code remove_if_there(struct tl_io *io, const char *name, struct tl_status *st)
{
    bool there = false;
    enum tl_code rc = tl_io_exists(io, name, &there, st);
    return rc || !there ? rc : tl_io_remove(io, name, st);
}

/* (2): the file it names is complete, synced, and its name too. */
static enum tl_code current_write(struct tl_io *io, uint64_t number, uint64_t id,
                                  struct tl_status *st)
{
    char name[NAME_MAX_BYTES], text[80];
    struct tl_file *file = NULL;
    file_name(name, number);
    int size = snprintf(text, sizeof(text), "%s %016" PRIx64 "\n", name, id);
    struct tl_slice slice = tl_slice_of(text, (size_t)size);
    enum tl_code rc = remove_if_there(io, temp_name, st);
    if (!rc)
        rc = tl_io_open(io, temp_name, TL_IO_CREATE, &file, st);
    if (!rc)
        rc = tl_io_write(file, 0, &slice, 1, st);
    if (!rc)
        rc = tl_io_sync(file, st);
    tl_io_close(file);
    if (!rc)
        rc = tl_io_rename(io, temp_name, current_name, st);
    if (!rc)
        rc = tl_io_sync_dir(io, "", st);
    return rc;
}

/* ---- writing a file ---- */

struct tl_manifest_writer {
    struct tl_manifest *m;
    struct tl_file *file;
    uint64_t number, id, offset, next_txn;
    uint32_t edits; /* in m->buffer */
    bool io_failed; /* the disk's failure, not the caller's */
};

static enum tl_code writer_flush(struct tl_manifest_writer *w, uint32_t flags, struct tl_status *st)
{
    struct tl_buffer *b = &w->m->buffer;
    enum tl_code rc =
        txn_seal(b, key_of(w->id, w->number, w->offset), w->next_txn, w->edits, flags, st);
    if (rc)
        return rc;
    struct tl_slice slice = tl_buffer_slice(b);
    rc = tl_io_write(w->file, w->offset, &slice, 1, st);
    if (rc) {
        w->io_failed = true;
        return rc;
    }
    w->offset += b->size;
    w->next_txn++;
    w->edits = 0;
    txn_begin(b);
    return TL_OK;
}

static enum tl_code check_edit(struct tl_slice payload, struct tl_status *st)
{
    if (payload.size > TL_MANIFEST_EDIT_BYTES_MAX)
        return TL_FAIL(st, TL_LIMIT, "an edit of %zu bytes exceeds the manifest's limit of %d",
                       payload.size, TL_MANIFEST_EDIT_BYTES_MAX);
    return TL_OK;
}

enum tl_code tl_manifest_put(struct tl_manifest_writer *w, struct tl_slice payload,
                             struct tl_status *st)
{
    struct tl_buffer *b = &w->m->buffer;
    enum tl_code rc = check_edit(payload, st);
    if (!rc && w->edits > 0 && b->size + payload.size > CHECKPOINT_TXN_BYTES)
        rc = writer_flush(w, FLAG_CHECKPOINT, st);
    if (rc)
        return rc;
    tl_buffer_put_string(b, payload);
    w->edits++;
    return tl_buffer_check(b, st);
}

static enum tl_code write_file(struct tl_manifest_writer *w, tl_manifest_state_fn *write_state,
                               void *context, struct tl_status *st)
{
    uint8_t page[PAGE];
    header_encode(w->id, w->number, page);
    struct tl_slice slice = tl_slice_of(page, sizeof(page));
    enum tl_code rc = tl_io_write(w->file, 0, &slice, 1, st);
    w->io_failed = rc != TL_OK;
    txn_begin(&w->m->buffer);
    if (!rc && write_state)
        rc = write_state(context, w, st);
    if (!rc)
        rc = writer_flush(w, FLAG_CHECKPOINT | FLAG_CHECKPOINT_LAST, st);
    if (rc)
        return rc;
    rc = tl_io_sync(w->file, st);
    if (!rc)
        rc = tl_io_sync_dir(w->m->io, "", st); /* the name, before CURRENT says it */
    if (!rc)
        rc = current_write(w->m->io, w->number, w->id, st);
    w->io_failed = rc != TL_OK;
    return rc;
}

/* Writes file `number` and makes it the current one. */
static enum tl_code start_file(struct tl_manifest *m, uint64_t number,
                               tl_manifest_state_fn *write_state, void *context, bool *io_failed,
                               struct tl_status *st)
{
    char name[NAME_MAX_BYTES];
    struct tl_manifest_writer w = {
        .m = m, .number = number, .offset = PAGE, .next_txn = 1, .io_failed = true};
    file_name(name, number);
    w.id = key_of(m->file_id_seed, number, m->id);
    enum tl_code rc = remove_if_there(m->io, name, st);
    if (!rc)
        rc = tl_io_open(m->io, name, TL_IO_CREATE, &w.file, st);
    if (!rc)
        rc = write_file(&w, write_state, context, st);
    *io_failed = w.io_failed;
    if (rc) {
        tl_io_close(w.file);
        return rc;
    }
    tl_io_close(m->file);
    m->file = w.file;
    m->number = number;
    m->id = w.id;
    m->offset = w.offset;
    m->next_txn = w.next_txn;
    m->checkpoint_bytes = w.offset;
    m->checkpoint_txns = w.next_txn - 1;
    return TL_OK;
}

/* ---- reading ---- */

struct scan {
    struct tl_manifest *m;
    uint64_t size; /* of the file */
    uint8_t *bytes;
    size_t room;
    uint64_t last_offset; /* of the last good transaction */
    bool complete;        /* the checkpoint is */
    tl_manifest_edit_fn *edit;
    void *context;
};

static enum tl_code scan_reserve(struct scan *s, size_t size, struct tl_status *st)
{
    if (size <= s->room)
        return TL_OK;
    uint8_t *grown = realloc(s->bytes, size);
    if (!grown)
        return TL_FAIL(st, TL_LIMIT, "no memory to read %zu bytes of the manifest", size);
    s->bytes = grown;
    s->room = size;
    return TL_OK;
}

/* Reads the transaction at m->offset into s->bytes; *good when it is whole. */
static enum tl_code read_txn(struct scan *s, struct txn *t, bool *good, struct tl_status *st)
{
    struct tl_manifest *m = s->m;
    uint64_t key = key_of(m->id, m->number, m->offset);
    size_t got = 0;
    *good = false;
    enum tl_code rc = tl_io_read_some(m->file, m->offset, s->bytes, PAGE, &got, st);
    if (rc)
        return rc;
    if (got < PAGE || !txn_decode(s->bytes, key, t) || t->number != m->next_txn)
        return TL_OK;
    uint64_t whole = txn_whole(t->size);
    if (whole > s->size - m->offset || t->size > TXN_BYTES_MAX)
        return TL_OK;
    rc = scan_reserve(s, (size_t)whole, st);
    if (!rc && whole > PAGE)
        rc = tl_io_read_some(m->file, m->offset + PAGE, s->bytes + PAGE, (size_t)whole - PAGE, &got,
                             st);
    if (rc)
        return rc;
    if (whole > PAGE && got < whole - PAGE)
        return TL_OK;
    *good = tl_hash64_seed(s->bytes + TXN_HEADER, (size_t)whole - TXN_HEADER, key) == t->sum;
    return TL_OK;
}

/* The checksums hold; what is wrong from here on no writer of ours made. */
static enum tl_code apply_txn(struct scan *s, const struct txn *t, struct tl_status *st)
{
    bool checkpoint = (t->flags & FLAG_CHECKPOINT) != 0;
    bool last = (t->flags & FLAG_CHECKPOINT_LAST) != 0;
    if (t->flags & ~(uint32_t)FLAGS_KNOWN)
        return TL_FAIL(st, TL_UNSUPPORTED, "a transaction of the manifest has flags %x", t->flags);
    if (checkpoint == s->complete || (last && !checkpoint))
        return TL_FAIL(st, TL_CORRUPT, "the manifest's checkpoint is out of place");
    struct tl_reader r = tl_reader_of(tl_slice_of(s->bytes + TXN_HEADER, t->size));
    for (uint32_t i = 0; i < t->edits; i++) {
        struct tl_slice payload = tl_read_string(&r);
        if (r.failed)
            return TL_FAIL(st, TL_CORRUPT, "an edit is longer than its transaction");
        enum tl_code rc = s->edit ? s->edit(s->context, payload, st) : TL_OK;
        if (rc)
            return rc;
    }
    if (tl_reader_left(&r) > 0)
        return TL_FAIL(st, TL_CORRUPT, "bytes follow the last edit of a transaction");
    s->complete |= last;
    return TL_OK;
}

/* Whether a later transaction proves that the bad one at m->offset was durable (1). */
static enum tl_code find_proof(struct scan *s, uint64_t *proof, struct tl_status *st)
{
    struct tl_manifest *m = s->m;
    *proof = 0;
    for (uint64_t at = m->offset + PAGE; at + TXN_HEADER <= s->size && !*proof; at += PAGE) {
        struct txn t;
        size_t got = 0;
        enum tl_code rc = tl_io_read_some(m->file, at, s->bytes, TXN_HEADER, &got, st);
        if (rc)
            return rc;
        if (got == TXN_HEADER && txn_decode(s->bytes, key_of(m->id, m->number, at), &t) &&
            t.number > m->next_txn)
            *proof = at;
    }
    return TL_OK;
}

/* A writer may have moved on since the file's size was asked for, and between two reads. */
static enum tl_code scan_file(struct scan *s, struct tl_status *st)
{
    struct tl_manifest *m = s->m;
    uint64_t retried = 0;
    for (;;) {
        struct txn t;
        bool good;
        enum tl_code rc = tl_io_size(m->file, &s->size, st);
        if (!rc)
            rc = m->offset <= s->size ? read_txn(s, &t, &good, st) : TL_OK;
        if (rc)
            return rc;
        if (m->offset > s->size)
            return TL_FAIL(st, TL_CORRUPT, "the manifest became shorter while it was read");
        if (good) {
            rc = apply_txn(s, &t, st);
            if (rc)
                break;
            s->last_offset = m->offset;
            m->offset += txn_whole(t.size);
            m->next_txn++;
            if (t.flags & FLAG_CHECKPOINT_LAST) {
                m->checkpoint_bytes = m->offset;
                m->checkpoint_txns = m->next_txn - 1;
            }
            continue;
        }
        uint64_t proof;
        rc = find_proof(s, &proof, st);
        if (rc)
            return rc;
        if (!proof && s->complete)
            return TL_OK; /* the end, or a tail that was never acknowledged */
        if (retried != m->offset) {
            retried = m->offset;
            continue;
        }
        if (!s->complete)
            (void)TL_FAIL(st, TL_CORRUPT, "the manifest's checkpoint is damaged");
        else
            (void)TL_FAIL(st, TL_CORRUPT,
                          "a transaction is damaged, and the one at %" PRIu64
                          " says that it was durable",
                          proof);
        break;
    }
    char name[NAME_MAX_BYTES];
    file_name(name, m->number);
    tl_status_wrap(st, "%s at %" PRIu64, name, m->offset);
    return st->code;
}

/* Opens what CURRENT names. A reader beside a writer may find that file gone: CURRENT has moved. */
static enum tl_code open_current(struct tl_manifest *m, struct tl_status *st)
{
    for (int attempt = 1;; attempt++) {
        char name[NAME_MAX_BYTES];
        enum tl_code rc = current_read(m->io, &m->number, &m->id, st);
        if (rc)
            return rc;
        file_name(name, m->number);
        rc = tl_io_open(m->io, name, m->mode == TL_MANIFEST_READ_ONLY ? TL_IO_READ : TL_IO_WRITE,
                        &m->file, st);
        if (rc != TL_NOT_FOUND)
            return rc;
        tl_status_clear(st);
        if (m->mode != TL_MANIFEST_READ_ONLY || attempt == READ_ONLY_ATTEMPTS)
            return TL_FAIL(st, TL_CORRUPT, "CURRENT names %s, which is missing", name);
    }
}

static enum tl_code read_all(struct tl_manifest *m, struct scan *s, struct tl_status *st)
{
    size_t got = 0;
    enum tl_code rc = open_current(m, st);
    if (!rc)
        rc = scan_reserve(s, PAGE, st);
    if (!rc)
        rc = tl_io_read_some(m->file, 0, s->bytes, PAGE, &got, st);
    if (!rc && got < PAGE)
        rc = TL_FAIL(st, TL_CORRUPT, "the manifest's header is cut");
    if (!rc)
        rc = header_decode(s->bytes, m->id, m->number, st);
    if (rc)
        return rc;
    m->offset = PAGE;
    m->next_txn = 1;
    return scan_file(s, st);
}

/* ---- opening ---- */

/* Cuts the tail, durably, and writes the last transaction over itself: a process that died of a
 * failed sync may have left it in the page cache alone, where it looks durable. */
static enum tl_code settle(struct tl_manifest *m, struct scan *s, struct tl_status *st)
{
    enum tl_code rc = TL_OK;
    if (s->size > m->offset) {
        m->cut = true;
        rc = tl_io_truncate(m->file, m->offset, st);
    }
    size_t size = (size_t)(m->offset - s->last_offset);
    struct tl_slice slice = {NULL, size};
    if (!rc)
        rc = scan_reserve(s, size, st);
    if (!rc)
        rc = tl_io_read(m->file, s->last_offset, s->bytes, size, st);
    slice.data = s->bytes;
    if (!rc)
        rc = tl_io_write(m->file, s->last_offset, &slice, 1, st);
    if (!rc)
        rc = tl_io_sync(m->file, st);
    if (!rc) /* CURRENT's name, before what it does not name is removed (3) */
        rc = tl_io_sync_dir(m->io, "", st);
    return rc;
}

static enum tl_code remove_garbage(struct tl_manifest *m, struct tl_status *st)
{
    struct tl_io_names names;
    enum tl_code rc = tl_io_list(m->io, "", &names, st);
    if (rc)
        return rc;
    for (uint32_t i = 0; i < names.count && !rc; i++) {
        uint64_t number = parse_name(names.names[i]);
        if ((number && number != m->number) || strcmp(names.names[i], temp_name) == 0)
            rc = tl_io_remove(m->io, names.names[i], st);
    }
    tl_io_names_free(&names);
    return rc;
}

/* CURRENT is not there. A creation that was cut may have left the first file with its empty
 * checkpoint; more than that is a manifest that has lost its CURRENT. */
static enum tl_code check_empty(struct tl_manifest *m, struct tl_status *st)
{
    struct tl_io_names names;
    enum tl_code rc = tl_io_list(m->io, "", &names, st);
    if (rc)
        return rc;
    for (uint32_t i = 0; i < names.count && !rc; i++) {
        uint64_t number = parse_name(names.names[i]), size = 0;
        struct tl_file *file = NULL;
        if (!number)
            continue;
        rc = tl_io_open(m->io, names.names[i], TL_IO_READ, &file, st);
        if (!rc)
            rc = tl_io_size(file, &size, st);
        tl_io_close(file);
        if (!rc && (number > 1 || size > 2 * PAGE))
            rc = TL_FAIL(st, TL_CORRUPT, "CURRENT is missing, and there is %s", names.names[i]);
    }
    tl_io_names_free(&names);
    return rc;
}

static enum tl_code open_or_create(struct tl_manifest *m, struct scan *s, struct tl_status *st)
{
    bool there = false;
    enum tl_code rc = tl_io_exists(m->io, current_name, &there, st);
    if (rc)
        return rc;
    if (!there) {
        if (m->mode != TL_MANIFEST_CREATE)
            return TL_FAIL(st, TL_NOT_FOUND, "there is no manifest");
        bool io_failed;
        rc = check_empty(m, st);
        return rc ? rc : start_file(m, 1, NULL, NULL, &io_failed, st);
    }
    rc = read_all(m, s, st);
    if (rc || m->mode == TL_MANIFEST_READ_ONLY)
        return rc;
    rc = settle(m, s, st);
    return rc ? rc : remove_garbage(m, st);
}

enum tl_code tl_manifest_open(struct tl_io *io, enum tl_manifest_mode mode, uint64_t file_id_seed,
                              tl_manifest_edit_fn *edit, void *context, struct tl_manifest **out,
                              struct tl_status *st)
{
    struct tl_manifest *m = calloc(1, sizeof(*m));
    if (!m)
        return TL_FAIL(st, TL_LIMIT, "no memory to open the manifest");
    m->io = io;
    m->mode = mode;
    m->file_id_seed = file_id_seed;
    tl_buffer_init(&m->buffer, "a transaction of the manifest", txn_whole(TXN_BYTES_MAX));
    struct scan s = {.m = m, .edit = edit, .context = context};
    enum tl_code rc = open_or_create(m, &s, st);
    free(s.bytes);
    if (rc) {
        tl_manifest_close(m);
        tl_status_wrap(st, "opening the manifest");
        return rc;
    }
    *out = m;
    return TL_OK;
}

void tl_manifest_close(struct tl_manifest *m)
{
    if (!m)
        return;
    tl_io_close(m->file);
    tl_buffer_deinit(&m->buffer);
    free(m);
}

/* ---- changing ---- */

static enum tl_code check_writable(struct tl_manifest *m, struct tl_status *st)
{
    if (m->mode == TL_MANIFEST_READ_ONLY)
        return TL_FAIL(st, TL_UNSUPPORTED, "the manifest was opened for reading");
    if (m->poison.code && st->code == TL_OK)
        *st = m->poison;
    return m->poison.code;
}

static enum tl_code poison(struct tl_manifest *m, struct tl_status *st)
{
    if (!m->poison.code)
        m->poison = *st;
    return st->code;
}

enum tl_code tl_manifest_append(struct tl_manifest *m, struct tl_slice payload,
                                struct tl_status *st)
{
    struct tl_buffer *b = &m->buffer;
    enum tl_code rc = check_writable(m, st);
    if (!rc)
        rc = check_edit(payload, st);
    if (rc)
        return rc;
    txn_begin(b);
    tl_buffer_put_string(b, payload);
    rc = txn_seal(b, key_of(m->id, m->number, m->offset), m->next_txn, 1, 0, st);
    if (rc)
        return rc;
    struct tl_slice slice = tl_buffer_slice(b);
    rc = tl_io_write(m->file, m->offset, &slice, 1, st);
    if (!rc)
        rc = tl_io_sync(m->file, st);
    if (rc)
        return poison(m, st);
    m->offset += b->size; /* (1): durable, the next one may follow */
    m->next_txn++;
    return TL_OK;
}

bool tl_manifest_wants_checkpoint(const struct tl_manifest *m)
{
    uint64_t tail = m->offset - m->checkpoint_bytes, twice = 2 * m->checkpoint_bytes;
    return tail > (twice > WANTS_BYTES_MIN ? twice : WANTS_BYTES_MIN);
}

enum tl_code tl_manifest_checkpoint(struct tl_manifest *m, tl_manifest_state_fn *write_state,
                                    void *context, struct tl_status *st)
{
    enum tl_code rc = check_writable(m, st);
    if (rc)
        return rc;
    char old[NAME_MAX_BYTES], new[NAME_MAX_BYTES];
    struct tl_status ignored = TL_STATUS_INIT;
    bool io_failed = false;
    file_name(old, m->number);
    file_name(new, m->number + 1);
    rc = start_file(m, m->number + 1, write_state, context, &io_failed, st);
    if (rc && io_failed)
        return poison(m, st);
    /* What is left over is garbage whether it goes now or at the next opening. */
    (void)!tl_io_remove(m->io, rc ? new : old, &ignored);
    return rc;
}

void tl_manifest_info(const struct tl_manifest *m, struct tl_manifest_info *out)
{
    *out = (struct tl_manifest_info){
        .file_number = m->number,
        .file_id = m->id,
        .transactions = m->next_txn - 1 - m->checkpoint_txns,
        .checkpoint_bytes = m->checkpoint_bytes,
        .tail_bytes = m->offset - m->checkpoint_bytes,
        .cut = m->cut,
    };
}
