/*
 * Looking at a whole pack: proving it, and telling the operator what it holds.
 *
 * Opening and decoding prove that bytes are what their writer wrote and that nothing runs out of
 * bounds; here the statements that readers build on are checked against the values themselves:
 * ranges, NULL counts, code sets, the order of codes and of rows, and the merchant index. All is
 * read past the cache.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "storage/pack_int.h"

enum { VERIFY_AHEAD_BYTES = 256 << 10 };

struct verify {
    struct tl_pack *pack;
    const struct tl_segment *segment;
    struct tl_pack_counts *counts;
    struct tl__window window, window2;
    uint64_t values[TL_BLOCK_ROWS];
    uint64_t slice[TL_VECTOR_ROWS_MAX], slice2[TL_VECTOR_ROWS_MAX];
    uint64_t bits[TL_VECTOR_ROWS_MAX / 64], bits2[TL_VECTOR_ROWS_MAX / 64];
};

static enum tl_code verify_hash(struct tl_pack *p, const uint8_t hash[16], struct tl_buffer *buffer,
                                struct tl_status *st)
{
    enum { PIECE_BYTES = 1 << 20 };
    XXH3_state_t *state = XXH3_createState();
    uint8_t *to = tl_buffer_reserve(buffer, PIECE_BYTES);
    if (!state || !to) {
        (void)XXH3_freeState(state);
        return TL_FAIL(st, TL_LIMIT, "no memory to verify");
    }
    (void)XXH3_128bits_reset(state);
    enum tl_code rc = TL_OK;
    for (uint64_t at = 0; !rc && at < p->size; at += PIECE_BYTES) {
        size_t n = p->size - at < PIECE_BYTES ? (size_t)(p->size - at) : PIECE_BYTES;
        rc = tl_io_read(p->file, at, to, n, st);
        if (!rc)
            (void)XXH3_128bits_update(state, to, n);
    }
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state));
    (void)XXH3_freeState(state);
    if (!rc && memcmp(canonical.digest, hash, 16) != 0)
        return TL_FAIL(st, TL_CORRUPT, "its content does not match its hash");
    return rc;
}

/* What is learnt of a column while its blocks are read. */
struct seen {
    bool any;
    int64_t min, max;
    uint32_t next_code;
};

static enum tl_code verify_block(struct verify *v, const struct tl__column *c,
                                 struct tl_cursor *cur, uint32_t block, struct seen *seen,
                                 struct tl_status *st)
{
    struct tl_block_stat stat;
    tl_column_block(&c->pub, block, &stat);
    enum tl_kind kind = c->pub.type.kind;
    uint32_t width = tl_block_width(kind), valid = 0;
    struct tl_vector_buffer buffer = {v->slice, v->bits};
    for (uint32_t at = 0; at < stat.rows; at += TL_VECTOR_ROWS_MAX) {
        uint32_t n = stat.rows - at < TL_VECTOR_ROWS_MAX ? stat.rows - at : TL_VECTOR_ROWS_MAX;
        struct tl_vector x;
        enum tl_code rc =
            tl_cursor_read(cur, stat.first_row + at, stat.first_row + at + n, &buffer, &x, st);
        if (rc)
            return rc;
        const uint8_t *from = x.shape == TL_DICT ? (const void *)x.codes : x.data;
        for (uint32_t i = 0; i < n; i++) {
            if (!tl_vector_valid(&x, i))
                continue;
            memcpy((uint8_t *)v->values + (size_t)valid * width,
                   from + (x.shape == TL_CONST ? 0 : (size_t)i * width), width);
            valid++;
        }
    }
    v->counts->blocks++;
    v->counts->values += stat.rows;
    v->counts->nulls += stat.nulls;
    if (valid != stat.rows - stat.nulls)
        return TL_FAIL(st, TL_CORRUPT, "block %u of column %u has %u NULLs, its index says %u",
                       block, c->pub.id, stat.rows - valid, stat.nulls);
    if (valid == 0)
        return TL_OK;

    int64_t min, max;
    (void)tl_block_range(kind, v->values, valid, &min, &max);
    if (tl_block_range_cmp(kind, min, stat.min) != 0 ||
        tl_block_range_cmp(kind, max, stat.max) != 0)
        return TL_FAIL(st, TL_CORRUPT, "block %u of column %u is not within its range", block,
                       c->pub.id);
    if (!seen->any || tl_block_range_cmp(kind, min, seen->min) < 0)
        seen->min = min;
    if (!seen->any || tl_block_range_cmp(kind, max, seen->max) > 0)
        seen->max = max;
    seen->any = true;
    if (kind != TL_TEXT)
        return TL_OK;

    const uint32_t *codes = (const uint32_t *)(const void *)v->values;
    uint64_t set = 0;
    for (uint32_t i = 0; i < valid; i++) {
        if (codes[i] > seen->next_code)
            return TL_FAIL(st, TL_CORRUPT, "column %u: code %u appears before code %u", c->pub.id,
                           codes[i], seen->next_code);
        seen->next_code += codes[i] == seen->next_code;
        set |= 1ULL << (codes[i] & 63);
    }
    if (stat.codes != ~0ULL && set != stat.codes)
        return TL_FAIL(st, TL_CORRUPT, "block %u of column %u has other codes than its set", block,
                       c->pub.id);
    return TL_OK;
}

static enum tl_code verify_column(struct verify *v, const struct tl__column *c,
                                  struct tl_status *st)
{
    struct tl_cursor cur;
    enum tl_code rc = tl_cursor_init(&cur, &c->pub, NULL, NULL, NULL, st);
    if (rc)
        return rc;
    cur.window = &v->window;
    struct seen seen = {0};
    for (uint32_t i = 0; !rc && i < c->pub.block_count; i++)
        rc = verify_block(v, c, &cur, i, &seen, st);
    for (uint32_t i = 0; !rc && i < c->map_blocks; i++) {
        if (c->map[i].size == 0)
            continue;
        struct tl_cached *pin;
        rc = tl__map_pin(c, i, true, true, NULL, &pin, st);
        if (!rc)
            tl__pin_release(v->pack, pin);
        v->counts->blocks++;
    }
    tl_cursor_close(&cur);
    if (rc)
        return rc;
    if (seen.any != (c->pub.nulls < c->pub.rows) ||
        (seen.any && (tl_block_range_cmp(c->pub.type.kind, seen.min, c->pub.min) != 0 ||
                      tl_block_range_cmp(c->pub.type.kind, seen.max, c->pub.max) != 0)))
        return TL_FAIL(st, TL_CORRUPT, "column %u is not within its range", c->pub.id);
    if (seen.next_code != c->pub.distinct)
        return TL_FAIL(st, TL_CORRUPT, "column %u uses %u of %u codes", c->pub.id, seen.next_code,
                       c->pub.distinct);
    for (uint32_t i = 0; i < c->page_count; i++) {
        const uint8_t *image;
        rc = tl__window_page(&v->window, c, i, &image, st);
        if (rc)
            return rc;
        v->counts->pages++;
        v->counts->strings += tl_strings_count(image);
        for (uint32_t k = 0; k < tl_strings_count(image); k++)
            if (tl_strings_get(image, k).size > TL_TEXT_BYTES_MAX)
                return TL_FAIL(st, TL_CORRUPT, "column %u has a text of %zu bytes", c->pub.id,
                               tl_strings_get(image, k).size);
    }
    v->counts->columns++;
    return TL_OK;
}

/* The merchant index, walked beside the merchant column. */
struct walk {
    int64_t merchants[MINI_MERCHANTS];
    uint32_t first_rows[MINI_MERCHANTS + 1];
    uint32_t index, count, at; /* entries read so far; those in hand; the one in hand next */
};

static enum tl_code walk_next(struct verify *v, struct walk *w, int64_t merchant, uint32_t row,
                              struct tl_status *st)
{
    if (w->at == w->count) {
        w->index += w->count;
        uint32_t left = v->segment->info->merchants - w->index;
        w->count = left < MINI_MERCHANTS ? left : MINI_MERCHANTS;
        w->at = 0;
        enum tl_code rc =
            tl_segment_merchants(v->segment, w->index, w->count, w->merchants, w->first_rows, st);
        if (rc)
            return rc;
    }
    if (w->at == w->count || w->merchants[w->at] != merchant || w->first_rows[w->at] != row)
        return TL_FAIL(st, TL_CORRUPT, "the merchant index does not know merchant %lld at row %u",
                       (long long)merchant, row);
    w->at++;
    v->counts->merchants++;
    return TL_OK;
}

/* Rows are sorted by (merchant_id, ts), and the merchant index says the same. */
static enum tl_code verify_order(struct verify *v, struct tl_status *st)
{
    const struct tl_segment *s = v->segment;
    struct tl_cursor merchants, times;
    enum tl_code rc = tl_cursor_init(&merchants, &s->columns[0].pub, NULL, NULL, NULL, st);
    if (!rc)
        rc = tl_cursor_init(&times, &s->columns[1].pub, NULL, NULL, NULL, st);
    if (rc)
        return rc;
    merchants.window = &v->window;
    times.window = &v->window2;
    struct walk walk = {0};
    int64_t last_merchant = 0, last_ts = 0;
    for (uint32_t row = 0; !rc && row < s->info->rows; row += TL_VECTOR_ROWS_MAX) {
        uint32_t left = s->info->rows - row;
        uint32_t n = left < TL_VECTOR_ROWS_MAX ? left : TL_VECTOR_ROWS_MAX;
        struct tl_vector m, t;
        struct tl_vector_buffer mb = {v->slice, v->bits}, tb = {v->slice2, v->bits2};
        rc = tl_cursor_read(&merchants, row, row + n, &mb, &m, st);
        if (!rc)
            rc = tl_cursor_read(&times, row, row + n, &tb, &t, st);
        for (uint32_t i = 0; !rc && i < n; i++) {
            int64_t merchant = ((const int64_t *)m.data)[m.shape == TL_CONST ? 0 : i];
            int64_t ts = ((const int64_t *)t.data)[t.shape == TL_CONST ? 0 : i];
            if (row + i == 0 || merchant != last_merchant) {
                rc = row + i > 0 && merchant < last_merchant
                         ? TL_FAIL(st, TL_CORRUPT, "rows %u and %u are not sorted by merchant",
                                   row + i - 1, row + i)
                         : walk_next(v, &walk, merchant, row + i, st);
            } else if (ts < last_ts) {
                rc = TL_FAIL(st, TL_CORRUPT, "rows %u and %u are not sorted by time", row + i - 1,
                             row + i);
            }
            last_merchant = merchant;
            last_ts = ts;
        }
    }
    tl_cursor_close(&merchants);
    tl_cursor_close(&times);
    if (!rc && walk.index + walk.at != s->info->merchants)
        return TL_FAIL(st, TL_CORRUPT, "the merchant index has %u merchants, the column %u",
                       s->info->merchants, walk.index + walk.at);
    return rc;
}

static enum tl_code verify_segment(struct verify *v, uint32_t index, struct tl_status *st)
{
    struct tl_segment *s;
    enum tl_code rc = tl_pack_segment(v->pack, index, &s, st);
    if (rc)
        return rc;
    v->segment = s;
    for (uint32_t i = 0; !rc && i < s->column_count; i++)
        rc = verify_column(v, &s->columns[i], st);
    if (!rc && v->pack->id.kind != TL_PACK_DERIVED)
        rc = verify_order(v, st);
    if (rc) {
        tl_status_wrap(st, "segment %u", index);
        return rc;
    }
    v->counts->segments++;
    v->counts->rows += s->info->rows;
    return TL_OK;
}

enum tl_code tl_pack_verify(struct tl_pack *p, const uint8_t hash[16], struct tl_pack_counts *out,
                            struct tl_status *st)
{
    struct tl_pack_counts counts = {.bytes = p->size};
    struct verify *v = calloc(1, sizeof(*v));
    if (!v)
        return TL_FAIL(st, TL_LIMIT, "no memory to verify");
    v->pack = p;
    v->counts = &counts;
    tl__window_init(&v->window, p, VERIFY_AHEAD_BYTES);
    tl__window_init(&v->window2, p, VERIFY_AHEAD_BYTES);
    enum tl_code rc = TL_OK;
    if (hash) {
        struct tl_buffer piece;
        tl_buffer_init(&piece, "verify", 2 << 20);
        rc = verify_hash(p, hash, &piece, st);
        tl_buffer_deinit(&piece);
    }
    for (uint32_t i = 0; !rc && i < p->segment_count; i++)
        rc = verify_segment(v, i, st);
    tl__window_deinit(&v->window);
    tl__window_deinit(&v->window2);
    free(v);
    if (rc) {
        tl_status_wrap(st, "pack %s", tl_io_name(p->file));
        return rc;
    }
    *out = counts;
    return TL_OK;
}

/* ---- inspecting ---- */

static const char *const encoding_names[] = {
    "none",
    [TL_ENC_CONSTANT] = "constant",
    [TL_ENC_RAW] = "raw",
    [TL_ENC_FOR] = "for",
    [TL_ENC_DELTA] = "delta",
    [TL_ENC_DICT] = "dict",
    [TL_ENC_RLE] = "rle",
};
_Static_assert(sizeof(encoding_names) / sizeof(encoding_names[0]) <= TL_INSPECT_ENCODINGS,
               "every encoding of numbers has its place");

const char *tl_inspect_encoding_name(uint32_t encoding)
{
    return encoding < sizeof(encoding_names) / sizeof(encoding_names[0]) ? encoding_names[encoding]
                                                                         : NULL;
}

static void inspect_payload(struct tl_column_inspect *out, struct tl_slice stored)
{
    uint32_t validity = tl_get_u32le(stored.data + 12);
    struct tl_slice values =
        tl_slice_of(stored.data + TL_BLOCK_HEADER_BYTES + validity, tl_get_u32le(stored.data + 16));
    uint32_t kind = (uint32_t)tl_payload_kind(values);
    out->validity_bytes += validity;
    out->encodings[kind < TL_INSPECT_ENCODINGS ? kind : 0]++;
    out->zstd_blocks += !tl_payload_is_inflated(values);
}

static enum tl_code inspect_map(struct tl__window *w, const struct tl__column *c,
                                struct tl_column_inspect *out, struct tl_status *st)
{
    for (uint32_t i = 0; i < c->map_blocks; i++) {
        const struct tl__map_block *b = &c->map[i], *last = &c->map[c->map_blocks - 1];
        if (b->size == 0)
            continue;
        struct tl_slice stored;
        struct tl_block_expect expect = tl__map_expect(c, i);
        size_t size;
        enum tl_code rc =
            tl__window_read(w, b->offset, b->size, last->offset + last->size, &stored, st);
        if (!rc)
            rc = tl_block_measure(stored, &expect, &size, st);
        if (rc)
            return rc;
        out->map_blocks++;
        out->map_bytes += b->size;
        inspect_payload(out, stored);
    }
    return TL_OK;
}

static enum tl_code inspect_column(struct tl__window *w, const struct tl__column *c,
                                   struct tl_column_inspect *out, struct tl_status *st)
{
    *out = (struct tl_column_inspect){.id = c->pub.id,
                                      .name = c->pub.name,
                                      .type = c->pub.type,
                                      .nulls = c->pub.nulls,
                                      .distinct = c->pub.distinct,
                                      .parent_id = c->pub.parent_id,
                                      .pages = c->page_count,
                                      .index_bytes = c->index_bytes};
    const struct tl_column *parent = tl_segment_column(c->pub.segment, c->pub.parent_id);
    if (parent)
        out->parent_name = parent->name;
    for (uint32_t i = 0; i < c->pub.block_count; i++) {
        struct tl_block_stat stat;
        tl_column_block(&c->pub, i, &stat);
        if (stat.size == 0) {
            out->constant_blocks++;
            continue;
        }
        const struct tl__block *last = &c->blocks[c->pub.block_count - 1];
        struct tl_slice stored;
        enum tl_code rc =
            tl__window_read(w, stat.offset, stat.size, last->offset + last->size, &stored, st);
        struct tl_block_expect expect = tl__column_expect(c, i);
        size_t image_size;
        if (!rc)
            rc = tl_block_measure(stored, &expect, &image_size, st);
        if (rc)
            return rc;
        out->blocks++;
        out->block_bytes += stat.size;
        inspect_payload(out, stored);
    }
    enum tl_code map = inspect_map(w, c, out, st);
    if (map)
        return map;
    for (uint32_t i = 0; i < c->page_count; i++) {
        const uint8_t *image;
        enum tl_code rc = tl__window_page(w, c, i, &image, st);
        if (rc)
            return rc;
        out->page_bytes += c->pages[i].size;
        for (uint32_t k = 0; k < tl_strings_count(image); k++)
            out->string_bytes += tl_strings_get(image, k).size;
    }
    return TL_OK;
}

enum tl_code tl_segment_inspect(const struct tl_segment *s, struct tl_segment_inspect *out,
                                struct tl_column_inspect *columns, struct tl_status *st)
{
    struct tl__window w;
    tl__window_init(&w, s->pack, VERIFY_AHEAD_BYTES);
    enum tl_code rc = TL_OK;
    for (uint32_t i = 0; !rc && i < s->column_count; i++)
        rc = inspect_column(&w, &s->columns[i], &columns[i], st);
    tl__window_deinit(&w);
    if (rc)
        return rc;
    uint32_t index = (uint32_t)(s->info - s->pack->infos);
    *out = (struct tl_segment_inspect){.index_bytes = s->pack->index_sizes[index],
                                       .merchant_bytes = s->merchant_bytes,
                                       .resident_bytes = tl_segment_resident_bytes(s),
                                       .merchant_resident_bytes =
                                           tl__index_minis_bytes(s->mini_count)};
    return TL_OK;
}
