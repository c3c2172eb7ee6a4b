/*
 * Names of packs, and opening them: header, trailer and footer, each verified before a field of it
 * is used. Indexes of segments are loaded when they are first asked for (segment.c).
 */
#include "storage/pack.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "storage/pack_int.h"

/* The letter of a kind in file names. */
static const char kind_letters[] = {[TL_PACK_SEAL] = 's',
                                    [TL_PACK_MERGE] = 'm',
                                    [TL_PACK_DERIVED] = 'd',
                                    [TL_PACK_SEAL_ROLLUP] = 'r',
                                    [TL_PACK_MERGE_ROLLUP] = 'q'};

uint64_t tl_pack_key(const struct tl_pack_id *id)
{
    uint8_t bytes[24] = {0};
    tl_put_u64le(bytes, id->number);
    tl_put_u32le(bytes + 8, id->log);
    tl_put_u32le(bytes + 12, id->table);
    tl_put_u32le(bytes + 16, id->shard);
    bytes[20] = id->kind;
    uint64_t key = tl_hash64(bytes, sizeof(bytes));
    return key ? key : 1;
}

static char *put_hex(char *to, uint64_t v, int digits)
{
    for (int i = digits - 1; i >= 0; i--, v >>= 4)
        to[i] = "0123456789abcdef"[v & 15];
    return to + digits;
}

const char *tl_pack_name(const struct tl_pack_id *id, char buf[TL_PACK_NAME_MAX])
{
    tl_assert(id->kind >= TL_PACK_SEAL && id->kind <= TL_PACK_MERGE_ROLLUP);
    char *p = buf;
    memcpy(p, TL_PACK_DIR "/", sizeof(TL_PACK_DIR));
    p += sizeof(TL_PACK_DIR);
    *p++ = kind_letters[id->kind];
    *p++ = '-';
    p = put_hex(p, id->log, 8);
    *p++ = '-';
    p = put_hex(p, id->table, 8);
    *p++ = '-';
    p = put_hex(p, id->shard, 8);
    *p++ = '-';
    p = put_hex(p, id->number, 16);
    memcpy(p, ".pack", sizeof(".pack"));
    return buf;
}

static bool take_hex(const char **p, int digits, uint64_t *out)
{
    uint64_t v = 0;
    for (int i = 0; i < digits; i++, ++*p) {
        char c = **p;
        if (c >= '0' && c <= '9')
            v = v << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            v = v << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    *out = v;
    return true;
}

bool tl_pack_name_parse(const char *name, struct tl_pack_id *out)
{
    if (strncmp(name, TL_PACK_DIR "/", sizeof(TL_PACK_DIR)) == 0)
        name += sizeof(TL_PACK_DIR);
    struct tl_pack_id id = {0};
    for (int k = TL_PACK_SEAL; k <= TL_PACK_DERIVED; k++)
        if (name[0] == kind_letters[k])
            id.kind = (uint8_t)k;
    uint64_t log, table, shard;
    if (id.kind == 0 || name[1] != '-')
        return false;
    name += 2;
    if (!take_hex(&name, 8, &log) || *name++ != '-' || !take_hex(&name, 8, &table) ||
        *name++ != '-' || !take_hex(&name, 8, &shard) || *name++ != '-' ||
        !take_hex(&name, 16, &id.number) || strcmp(name, ".pack") != 0)
        return false;
    id.log = (uint32_t)log;
    id.table = (uint32_t)table;
    id.shard = (uint32_t)shard;
    *out = id;
    return true;
}

void tl_pack_info_deinit(struct tl_pack_info *info)
{
    free(info->segments);
    *info = (struct tl_pack_info){0};
}

/* ---- opening ---- */

static enum tl_code check_header(struct tl_pack *p, const uint8_t h[PACK_HEADER_BYTES],
                                 struct tl_status *st)
{
    if (tl_get_u64le(h) != PACK_MAGIC)
        return TL_FAIL(st, TL_CORRUPT, "it does not begin as a pack does");
    if (tl_get_u16le(h + 8) != PACK_VERSION)
        return TL_FAIL(st, TL_UNSUPPORTED, "a pack of version %u; this build reads %d",
                       tl_get_u16le(h + 8), PACK_VERSION);
    if (!tl_unit_hash_is(tl_get_u64le(h + 56), h, 56, p->key, 0))
        return TL_FAIL(st, TL_CORRUPT, "its header does not match its checksum");
    if (h[12] != p->id.kind || tl_get_u64le(h + 16) != p->id.number ||
        tl_get_u32le(h + 24) != p->id.log || tl_get_u32le(h + 28) != p->id.table ||
        tl_get_u32le(h + 32) != p->id.shard)
        return TL_FAIL(st, TL_CORRUPT, "its header belongs to another pack");
    return TL_OK;
}

struct trailer {
    uint64_t footer_offset;
    uint32_t footer_size;
    uint64_t footer_hash;
};

static enum tl_code check_trailer(struct tl_pack *p, const uint8_t t[PACK_TRAILER_BYTES],
                                  struct trailer *out, struct tl_status *st)
{
    if (tl_get_u64le(t + 40) != PACK_END_MAGIC)
        return TL_FAIL(st, TL_CORRUPT, "it does not end as a pack does");
    uint64_t offset = p->size - PACK_TRAILER_BYTES;
    if (!tl_unit_hash_is(tl_get_u64le(t + 32), t, 32, p->key, offset))
        return TL_FAIL(st, TL_CORRUPT, "its trailer does not match its checksum");
    uint32_t required = tl_get_u32le(t + 16);
    if (tl_get_u16le(t + 12) != PACK_VERSION || (required & ~(uint32_t)PACK_KNOWN_FEATURES) != 0)
        return TL_FAIL(st, TL_UNSUPPORTED, "it needs features %#x of format %u", required,
                       tl_get_u16le(t + 12));
    *out = (struct trailer){.footer_offset = tl_get_u64le(t),
                            .footer_size = tl_get_u32le(t + 8),
                            .footer_hash = tl_get_u64le(t + 24)};
    if (out->footer_offset < PACK_HEADER_BYTES || out->footer_offset > offset ||
        out->footer_size != offset - out->footer_offset ||
        out->footer_size < PACK_FOOTER_HEAD_BYTES ||
        out->footer_size >
            PACK_FOOTER_HEAD_BYTES + (uint64_t)PACK_FOOTER_ENTRY_BYTES * TL_PACK_SEGMENTS_MAX)
        return TL_FAIL(st, TL_CORRUPT, "its footer of %u bytes at %llu does not fit",
                       out->footer_size, (unsigned long long)out->footer_offset);
    return TL_OK;
}

static enum tl_code read_entry(struct tl_pack *p, uint32_t i, struct tl_reader *r,
                               uint64_t *expected_offset, uint64_t footer_offset,
                               struct tl_status *st)
{
    struct tl_segment_info *s = &p->infos[i];
    s->meta.table = tl_read_u32(r);
    s->meta.shard = tl_read_u32(r);
    s->meta.schema_version = tl_read_u32(r);
    s->meta.level = tl_read_u8(r);
    uint32_t zero = tl_read_u8(r) | (uint32_t)tl_read_u16(r) << 8;
    s->meta.start_us = (int64_t)tl_read_u64(r);
    s->meta.end_us = (int64_t)tl_read_u64(r);
    for (int k = 0; k < 4; k++)
        s->meta.provenance[k] = tl_read_u64(r);
    s->rows = tl_read_u32(r);
    s->columns = tl_read_u32(r);
    s->merchants = tl_read_u32(r);
    p->index_sizes[i] = tl_read_u32(r);
    s->min_merchant = (int64_t)tl_read_u64(r);
    s->max_merchant = (int64_t)tl_read_u64(r);
    s->min_ts = (int64_t)tl_read_u64(r);
    s->max_ts = (int64_t)tl_read_u64(r);
    s->offset = tl_read_u64(r);
    p->index_offsets[i] = tl_read_u64(r);

    bool derived = p->id.kind == TL_PACK_DERIVED;
    if (r->failed || zero != 0 || s->rows == 0 || s->columns == 0 ||
        s->columns > TL_SEGMENT_COLUMNS_MAX || s->merchants > s->rows ||
        (s->merchants == 0) != derived || s->min_merchant > s->max_merchant ||
        s->min_ts > s->max_ts)
        return TL_FAIL(st, TL_CORRUPT, "segment %u in its footer makes no sense", i);
    /* Segments follow each other without a gap, each ending with its index. */
    if (s->offset != *expected_offset || p->index_offsets[i] < s->offset ||
        p->index_offsets[i] > footer_offset || p->index_sizes[i] < INDEX_HEAD_BYTES ||
        p->index_sizes[i] > INDEX_BYTES_MAX ||
        p->index_sizes[i] > footer_offset - p->index_offsets[i])
        return TL_FAIL(st, TL_CORRUPT, "segment %u does not fit into it", i);
    *expected_offset = p->index_offsets[i] + p->index_sizes[i];
    s->size = *expected_offset - s->offset;
    return TL_OK;
}

static enum tl_code read_footer(struct tl_pack *p, struct tl_slice footer,
                                const struct trailer *trailer, struct tl_status *st)
{
    if (!tl_unit_hash_is(trailer->footer_hash, footer.data, footer.size, p->key,
                         trailer->footer_offset))
        return TL_FAIL(st, TL_CORRUPT, "its footer does not match its checksum");
    struct tl_reader r = tl_reader_of(footer);
    uint32_t count = tl_read_u32(&r), zero = tl_read_u32(&r);
    if (r.failed || zero != 0 || count > TL_PACK_SEGMENTS_MAX ||
        footer.size != PACK_FOOTER_HEAD_BYTES + (uint64_t)count * PACK_FOOTER_ENTRY_BYTES)
        return TL_FAIL(st, TL_CORRUPT, "its footer of %zu bytes claims %u segments", footer.size,
                       count);
    p->infos = calloc((size_t)count + 1, sizeof(*p->infos));
    p->index_offsets = calloc((size_t)count + 1, sizeof(*p->index_offsets));
    p->index_sizes = calloc((size_t)count + 1, sizeof(*p->index_sizes));
    p->loaded = calloc((size_t)count + 1, sizeof(*p->loaded));
    if (!p->infos || !p->index_offsets || !p->index_sizes || !p->loaded)
        return TL_FAIL(st, TL_LIMIT, "no memory for its footer");
    p->segment_count = count;
    uint64_t expected = PACK_HEADER_BYTES;
    for (uint32_t i = 0; i < count; i++) {
        enum tl_code rc = read_entry(p, i, &r, &expected, trailer->footer_offset, st);
        if (rc)
            return rc;
    }
    if (expected != trailer->footer_offset)
        return TL_FAIL(st, TL_CORRUPT, "its segments do not end at its footer");
    return TL_OK;
}

/* Header and tail come with one batch; the footer is usually within the tail. */
static enum tl_code read_ends(struct tl_pack *p, struct tl_buffer *tail, struct tl_status *st)
{
    enum { TAIL_BYTES = 16 << 10 };
    enum tl_code rc = tl_io_size(p->file, &p->size, st);
    if (rc)
        return rc;
    if (p->size < PACK_HEADER_BYTES + PACK_FOOTER_HEAD_BYTES + PACK_TRAILER_BYTES)
        return TL_FAIL(st, TL_CORRUPT, "only %llu bytes", (unsigned long long)p->size);
    size_t size = p->size < TAIL_BYTES ? (size_t)p->size : TAIL_BYTES;
    uint8_t header[PACK_HEADER_BYTES];
    uint8_t *to = tl_buffer_reserve(tail, size);
    if (!to)
        return tl_buffer_check(tail, st);
    struct tl_io_read reads[2] = {
        {.file = p->file, .offset = 0, .size = sizeof(header), .buffer = header},
        {.file = p->file, .offset = p->size - size, .size = size, .buffer = to}};
    rc = tl_io_read_batch(p->io, reads, 2, st);
    if (!rc)
        rc = check_header(p, header, st);
    struct trailer trailer;
    if (!rc)
        rc = check_trailer(p, to + size - PACK_TRAILER_BYTES, &trailer, st);
    if (rc)
        return rc;
    size_t whole = (size_t)trailer.footer_size + PACK_TRAILER_BYTES;
    if (whole <= size)
        return read_footer(p, tl_slice_of(to + size - whole, trailer.footer_size), &trailer, st);
    tl_buffer_clear(tail);
    to = tl_buffer_reserve(tail, trailer.footer_size);
    if (!to)
        return tl_buffer_check(tail, st);
    rc = tl_io_read(p->file, trailer.footer_offset, to, trailer.footer_size, st);
    return rc ? rc : read_footer(p, tl_slice_of(to, trailer.footer_size), &trailer, st);
}

static void pack_free(struct tl_pack *p)
{
    for (uint32_t i = 0; i < p->segment_count; i++)
        tl__segment_free(atomic_load_explicit(&p->loaded[i], memory_order_relaxed));
    tl_io_close(p->file);
    free(p->infos);
    free(p->index_offsets);
    free(p->index_sizes);
    free(p->loaded);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

enum tl_code tl_pack_open(struct tl_io *io, const struct tl_pack_id *id, struct tl_cache *cache,
                          struct tl_pack **out, struct tl_status *st)
{
    tl_assert(io != NULL && id != NULL && out != NULL);
    if (id->kind < TL_PACK_SEAL || id->kind > TL_PACK_MERGE_ROLLUP)
        return TL_FAIL(st, TL_CORRUPT, "a pack of kind %u", id->kind);
    char name[TL_PACK_NAME_MAX];
    tl_pack_name(id, name);
    struct tl_pack *p = calloc(1, sizeof(*p));
    if (!p)
        return TL_FAIL(st, TL_LIMIT, "no memory to open pack %s", name);
    p->io = io;
    p->cache = cache;
    p->id = *id;
    p->key = tl_pack_key(id);
    atomic_init(&p->references, 1);
    if (pthread_mutex_init(&p->lock, NULL) != 0) {
        free(p);
        return TL_FAIL(st, TL_LIMIT, "no mutex to open pack %s", name);
    }
    struct tl_buffer tail;
    tl_buffer_init(&tail, "pack footer", 16 << 20);
    enum tl_code rc = tl_io_open(io, name, TL_IO_DIRECT, &p->file, st);
    if (!rc)
        rc = read_ends(p, &tail, st);
    tl_buffer_deinit(&tail);
    if (rc) {
        pack_free(p);
        tl_status_wrap(st, "opening pack %s", name);
        return rc;
    }
    *out = p;
    return TL_OK;
}

struct tl_pack *tl_pack_ref(struct tl_pack *p)
{
    /* Relaxed: who takes a reference holds one already. */
    uint32_t before = atomic_fetch_add_explicit(&p->references, 1, memory_order_relaxed);
    tl_assert(before > 0);
    return p;
}

void tl_pack_unref(struct tl_pack *p)
{
    if (!p)
        return;
    /* Release by every holder, acquire by the last: it sees all that the others did. */
    uint32_t before = atomic_fetch_sub_explicit(&p->references, 1, memory_order_acq_rel);
    tl_assert(before > 0);
    if (before == 1)
        pack_free(p);
}

const struct tl_pack_id *tl_pack_get_id(const struct tl_pack *p)
{
    return &p->id;
}

uint64_t tl_pack_size(const struct tl_pack *p)
{
    return p->size;
}

uint32_t tl_pack_segment_count(const struct tl_pack *p)
{
    return p->segment_count;
}

const struct tl_segment_info *tl_pack_segment_info(const struct tl_pack *p, uint32_t index)
{
    tl_assert(index < p->segment_count);
    return &p->infos[index];
}

enum tl_code tl_pack_segment(struct tl_pack *p, uint32_t index, struct tl_segment **out,
                             struct tl_status *st)
{
    tl_assert(index < p->segment_count);
    /* Acquire: pairs with the release below, so that the index is seen whole. */
    struct tl_segment *s = atomic_load_explicit(&p->loaded[index], memory_order_acquire);
    if (!s) {
        enum tl_code rc = TL_OK;
        pthread_mutex_lock(&p->lock);
        s = atomic_load_explicit(&p->loaded[index], memory_order_relaxed);
        if (!s) {
            rc = tl__segment_load(p, index, &s, st);
            if (!rc)
                atomic_store_explicit(&p->loaded[index], s, memory_order_release);
        }
        pthread_mutex_unlock(&p->lock);
        if (rc) {
            tl_status_wrap(st, "segment %u of pack %s", index, tl_io_name(p->file));
            return rc;
        }
    }
    *out = s;
    return TL_OK;
}
