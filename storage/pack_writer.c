/*
 * Writing a pack: bytes go out in file order through one buffer, while the content's hash is taken
 * along. What a column's index needs is kept per block; the dictionary of the column in flight is
 * an interner (interner.c). Nothing here depends on the shapes of the vectors or on how
 * the rows are cut into calls, only on the rows: the same rows make the same bytes.
 *
 * States: PACK -segment_begin-> SEGMENT -column_begin-> COLUMN -column_end-> SEGMENT
 *         -segment_end-> PACK -finish-> gone.
 *
 * Invariants:
 *  (1) written + out.size is the offset at which the next byte of the file will stand.
 *  (2) a column's blocks, blocks of its map and pages are contiguous: offsets are sums of sizes.
 *  (3) what lies in an array at a NULL row is never looked at: a block's range, codes and bytes are
 *      those of its other rows, put side by side.
 *  (4) once `failed` holds a code, no byte is written any more.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "storage/interner_int.h"
#include "storage/pack_int.h"

enum { OUT_BYTES = 1 << 20 }; /* written to the file in pieces of about this size */

struct column_state {
    uint32_t id;
    uint8_t name[TL_COLUMN_NAME_MAX];
    uint8_t name_size;
    struct tl_type type;
    uint32_t width;
    uint32_t rows;
    uint64_t blocks_offset;
    uint32_t nulls;
    bool any_stored;    /* a block that the index alone does not tell */
    uint32_t parent_id; /* it is mapped by; 0: by none */
    bool keep;          /* others are mapped by it */
    bool same;          /* all blocks so far say the same constant, or all NULL */
    bool any_value;     /* min and max mean something */
    int64_t min, max;
    bool code_sets;
    /* TEXT, once all rows are in: the dictionary, the interner's or the caller's */
    const struct tl_slice *strings;
    uint32_t string_count;

    /* the block in flight */
    uint32_t fill, fill_nulls;
    bool has_validity;
};

enum state { STATE_PACK, STATE_SEGMENT, STATE_COLUMN };

/* Where a column's entry stands in `index`. */
struct entry_place {
    uint32_t column_id;
    size_t at, size;
};

struct tl_pack_writer {
    struct tl_io *io;
    struct tl_file *file;
    struct tl_pack_id id;
    uint64_t key;
    char name[TL_PACK_NAME_MAX];
    struct tl_pack_options options;
    struct tl_encoder *encoder;
    XXH3_state_t *hash;
    struct tl_buffer out;
    uint64_t written;
    enum state state;
    struct tl_status failed;

    struct tl_segment_info *segments;
    uint64_t *index_offsets;
    uint32_t *index_sizes;
    uint32_t segment_count, segment_capacity;

    /* the segment in flight */
    struct tl_segment_info info;
    struct tl_buffer index; /* the columns' entries, as they were written */
    struct entry_place *places;
    uint32_t place_capacity;
    uint64_t resident; /* memory that a reader of this index will take */
    struct tl__block *blocks;
    uint32_t block_capacity, block_count;
    uint64_t *starts; /* bit r: row r begins a merchant */
    uint32_t start_words;

    /* its merchant index */
    struct tl_buffer merchant_bytes; /* whole pages */
    struct tl_buffer merchant_page;  /* the page in flight */
    int64_t mini_merchant[MINI_MERCHANTS];
    uint32_t mini_row[MINI_MERCHANTS];
    uint32_t mini_fill;
    struct tl_buffer minis; /* per mini-page: i64 merchant, u32 row, u8 and u8 widths, 2 zero */
    uint32_t mini_count, page_minis;
    int64_t last_merchant;
    int64_t last_ts;

    struct column_state column;
    struct tl__interner dict; /* of the column in flight */
    struct tl__maps maps;
    struct tl__map_block *map; /* blocks of the map of the column in flight */
    uint32_t map_count, map_capacity;

    uint64_t values[TL_BLOCK_ROWS]; /* of the block in flight, width bytes each */
    uint64_t dense[TL_BLOCK_ROWS];  /* of its rows that are not NULL */
    uint64_t validity[TL_BLOCK_ROWS / 64];
    uint32_t codes[TL_VECTOR_ROWS_MAX]; /* of the call in flight */
    uint32_t exceptions[TL_BLOCK_ROWS];
    int64_t array[TL_ENCODE_ROWS_MAX];
};

enum { MINI_RECORD_BYTES = 16 };

void tl__bits_copy(uint64_t *dst, uint32_t dst_bit, const uint64_t *src, uint32_t src_bit,
                   uint32_t count)
{
    while (count > 0) {
        uint32_t d = dst_bit & 63, s = src_bit & 63;
        uint32_t n = 64 - (d > s ? d : s);
        if (n > count)
            n = count;
        uint64_t mask = n == 64 ? ~0ULL : (1ULL << n) - 1;
        uint64_t bits = (src[src_bit >> 6] >> s) & mask;
        uint64_t *to = &dst[dst_bit >> 6];
        *to = (*to & ~(mask << d)) | bits << d;
        dst_bit += n;
        src_bit += n;
        count -= n;
    }
}

void tl__bits_fill(uint64_t *dst, uint32_t dst_bit, uint32_t count)
{
    while (count > 0) {
        uint32_t d = dst_bit & 63, n = 64 - d;
        if (n > count)
            n = count;
        uint64_t mask = n == 64 ? ~0ULL : (1ULL << n) - 1;
        dst[dst_bit >> 6] |= mask << d;
        dst_bit += n;
        count -= n;
    }
}

/* ---- bytes out ---- */

static enum tl_code poison(struct tl_pack_writer *w, struct tl_status *st)
{
    if (w->failed.code == TL_OK)
        w->failed = *st;
    return st->code;
}

static enum tl_code check_state(struct tl_pack_writer *w, enum state state, struct tl_status *st)
{
    tl_assert(w != NULL);
    if (w->failed.code != TL_OK) {
        *st = w->failed;
        return st->code;
    }
    tl_assert(w->state == state);
    return TL_OK;
}

static uint64_t here(const struct tl_pack_writer *w)
{
    return w->written + w->out.size;
}

static enum tl_code write_out(struct tl_pack_writer *w, struct tl_status *st)
{
    struct tl_slice slice = tl_buffer_slice(&w->out);
    if (slice.size == 0)
        return TL_OK;
    XXH3_128bits_update(w->hash, slice.data, slice.size);
    enum tl_code rc = tl_io_write(w->file, w->written, &slice, 1, st);
    if (rc)
        return rc;
    w->written += slice.size;
    tl_buffer_clear(&w->out);
    return TL_OK;
}

static enum tl_code maybe_write_out(struct tl_pack_writer *w, struct tl_status *st)
{
    enum tl_code rc = tl_buffer_check(&w->out, st);
    return rc || w->out.size < OUT_BYTES ? rc : write_out(w, st);
}

static enum tl_code no_memory(struct tl_status *st)
{
    return TL_FAIL(st, TL_LIMIT, "no memory to write a pack");
}

enum tl_code tl__pack_column_intern(struct tl_pack_writer *w, struct tl_slice value, uint32_t *code,
                                    struct tl_status *st)
{
    enum tl_code rc = check_state(w, STATE_COLUMN, st);
    if (rc)
        return rc;
    rc = tl__interner_intern(&w->dict, value, code, st);
    return rc ? poison(w, st) : TL_OK;
}

/* ---- blocks ---- */

static void note_range(struct column_state *c, const struct tl__block *b)
{
    enum tl_kind kind = c->type.kind;
    if (!c->any_value) {
        c->min = b->min;
        c->max = b->max;
        c->any_value = true;
        return;
    }
    if (tl_block_range_cmp(kind, b->min, c->min) < 0)
        c->min = b->min;
    if (tl_block_range_cmp(kind, b->max, c->max) > 0)
        c->max = b->max;
}

static struct tl_encode_options block_options(const struct tl_pack_writer *w)
{
    return (struct tl_encode_options){
        .zstd_level = w->options.block_level,
        .effort = w->options.block_level == 0 ? TL_EFFORT_FAST : TL_EFFORT_BEST,
    };
}

/* The block's values, which the index alone does not tell; of a mapped column the exceptions.
 * `dense` are those of the rows that are not NULL. */
static enum tl_code block_store(struct tl_pack_writer *w, struct tl__block *b, const void *values,
                                const void *dense, const uint64_t *validity, uint32_t rows,
                                struct tl_status *st)
{
    struct column_state *c = &w->column;
    validity = b->nulls ? validity : NULL;
    uint32_t nulls = b->nulls;
    c->any_stored = true;
    if (c->parent_id) {
        uint32_t count;
        enum tl_code rc =
            tl__maps_predict(&w->maps, w->block_count, values, validity, w->exceptions, &count, st);
        if (rc || count == 0)
            return rc;
        dense = w->exceptions;
        validity = NULL;
        nulls = 0;
    }
    size_t before = w->out.size;
    struct tl_encode_options opt = block_options(w);
    b->offset = here(w);
    enum tl_code rc = tl_block_encode(w->encoder, c->type.kind, dense, validity, rows, nulls, &opt,
                                      w->key, b->offset, &w->out, st);
    if (!rc)
        b->size = (uint32_t)(w->out.size - before);
    return rc;
}

/* Writes a block. `strings` is the size of the dictionary so far. */
static enum tl_code block_write(struct tl_pack_writer *w, const void *values,
                                const uint64_t *validity, uint32_t rows, uint32_t nulls,
                                uint32_t strings, struct tl_status *st)
{
    struct column_state *c = &w->column;
    struct tl__block *b = &w->blocks[w->block_count];
    *b = (struct tl__block){.nulls = nulls, .codes = 0};
    enum tl_code rc = TL_OK;
    bool constant = true;
    const void *dense = values;

    if (nulls < rows) {
        if (nulls > 0) {
            tl_block_keep_valid(c->type.kind, values, validity, rows, w->dense);
            dense = w->dense;
        }
        constant = tl_block_range(c->type.kind, dense, rows - nulls, &b->min, &b->max);
        constant = constant && nulls == 0;
        if (c->type.kind == TL_TEXT) {
            c->code_sets = c->code_sets && strings <= CODE_SET_STRINGS_MAX;
            b->codes = c->code_sets ? tl_block_code_set(dense, rows - nulls) : 0;
        }
        note_range(c, b);
    }
    if (!constant) {
        rc = block_store(w, b, values, dense, validity, rows, st);
    } else {
        /* The map grows all the same: later rows may have a code that is first met here. */
        uint32_t count;
        if (c->parent_id)
            rc = tl__maps_predict(&w->maps, w->block_count, values, nulls ? validity : NULL,
                                  w->exceptions, &count, st);
        const struct tl__block *first = &w->blocks[0];
        bool both_null = nulls == rows && first->nulls > 0 && first->size == 0;
        bool both_same = nulls == 0 && first->nulls == 0 && first->min == b->min;
        c->same = c->same && (both_null || both_same);
    }
    if (!rc && c->keep)
        rc = tl__maps_keep(&w->maps, b, tl_slice_of(w->out.data + w->out.size - b->size, b->size),
                           st);
    if (!rc)
        rc = maybe_write_out(w, st);
    if (!rc) {
        c->nulls += nulls;
        w->block_count++;
    }
    return rc;
}

static enum tl_code block_finish(struct tl_pack_writer *w, struct tl_status *st)
{
    struct column_state *c = &w->column;
    uint32_t rows = c->fill, nulls = c->fill_nulls;
    c->fill = c->fill_nulls = 0;
    c->has_validity = false;
    return block_write(w, w->values, w->validity, rows, nulls, w->dict.count, st);
}

/* The next `count` rows; `validity` starts at bit `bit`. */
static enum tl_code column_put(struct tl_pack_writer *w, const void *values,
                               const uint64_t *validity, uint32_t count, struct tl_status *st)
{
    struct column_state *c = &w->column;
    const uint8_t *from = values;
    if (count > w->info.rows - c->rows)
        return TL_FAIL(st, TL_INVALID, "column %u has more than the segment's %u rows", c->id,
                       w->info.rows);
    for (uint32_t done = 0; done < count;) {
        uint32_t n = TL_BLOCK_ROWS - c->fill;
        if (n > count - done)
            n = count - done;
        memcpy((uint8_t *)w->values + (size_t)c->fill * c->width, from + (size_t)done * c->width,
               (size_t)n * c->width);
        if (validity) {
            if (!c->has_validity) {
                tl__bits_fill(w->validity, 0, c->fill);
                c->has_validity = true;
            }
            tl__bits_copy(w->validity, c->fill, validity, done, n);
            uint32_t valid = 0;
            for (uint32_t i = 0; i < n; i += 64) {
                uint64_t word = 0;
                tl__bits_copy(&word, 0, validity, done + i, n - i < 64 ? n - i : 64);
                valid += (uint32_t)__builtin_popcountll(word);
            }
            c->fill_nulls += n - valid;
        } else if (c->has_validity) {
            uint64_t ones[TL_VECTOR_ROWS_MAX / 64];
            memset(ones, 0xff, sizeof(ones));
            for (uint32_t i = 0; i < n; i += TL_VECTOR_ROWS_MAX)
                tl__bits_copy(w->validity, c->fill + i, ones, 0,
                              n - i < TL_VECTOR_ROWS_MAX ? n - i : TL_VECTOR_ROWS_MAX);
        }
        c->fill += n;
        c->rows += n;
        done += n;
        if (c->fill == TL_BLOCK_ROWS) {
            enum tl_code rc = block_finish(w, st);
            if (rc)
                return rc;
        }
    }
    return TL_OK;
}

/* ---- the sort keys and the merchant index ---- */

static uint32_t bit_width(uint64_t v)
{
    return v == 0 ? 0 : 64 - (uint32_t)__builtin_clzll(v);
}

static void put_bits(uint8_t *to, uint64_t index, uint32_t width, uint64_t value)
{
    for (uint32_t done = 0; done < width;) {
        uint64_t bit = index * width + done;
        uint32_t shift = (uint32_t)(bit & 7), n = 8 - shift;
        if (n > width - done)
            n = width - done;
        uint64_t piece = (value >> done) & ((1ULL << n) - 1);
        to[bit >> 3] = (uint8_t)(to[bit >> 3] | piece << shift);
        done += n;
    }
}

static enum tl_code merchant_page_finish(struct tl_pack_writer *w, struct tl_status *st)
{
    struct tl_buffer *page = &w->merchant_page;
    if (w->page_minis == 0)
        return TL_OK;
    uint8_t hash[UNIT_HASH_BYTES] = {0};
    /* The offset is known when the pages are written: the hash is filled in then. */
    tl_buffer_put(&w->merchant_bytes, hash, sizeof(hash));
    tl_buffer_put(&w->merchant_bytes, page->data, page->size);
    tl_buffer_clear(page);
    w->page_minis = 0;
    return tl_buffer_check(&w->merchant_bytes, st);
}

static enum tl_code mini_finish(struct tl_pack_writer *w, struct tl_status *st)
{
    uint32_t n = w->mini_fill;
    if (n == 0)
        return TL_OK;
    uint64_t first = (uint64_t)w->mini_merchant[0];
    uint32_t merchant_width = bit_width((uint64_t)w->mini_merchant[n - 1] - first);
    uint32_t row_width = bit_width(w->mini_row[n - 1] - w->mini_row[0]);
    uint32_t merchant_size = tl__bits_bytes(n, merchant_width);
    uint32_t size = merchant_size + tl__bits_bytes(n, row_width);

    uint8_t *to = tl_buffer_reserve(&w->merchant_page, size + 1);
    if (!to)
        return tl_buffer_check(&w->merchant_page, st);
    memset(to, 0, size);
    for (uint32_t i = 0; i < n; i++) {
        put_bits(to, i, merchant_width, (uint64_t)w->mini_merchant[i] - first);
        put_bits(to + merchant_size, i, row_width, w->mini_row[i] - w->mini_row[0]);
    }
    w->merchant_page.size += size;

    tl_buffer_put_u64(&w->minis, first);
    tl_buffer_put_u32(&w->minis, w->mini_row[0]);
    tl_buffer_put_u8(&w->minis, (uint8_t)merchant_width);
    tl_buffer_put_u8(&w->minis, (uint8_t)row_width);
    tl_buffer_put_u16(&w->minis, 0);
    enum tl_code rc = tl_buffer_check(&w->minis, st);
    if (rc)
        return rc;
    w->mini_fill = 0;
    w->mini_count++;
    return ++w->page_minis == PAGE_MINIS ? merchant_page_finish(w, st) : TL_OK;
}

static enum tl_code note_merchants(struct tl_pack_writer *w, const int64_t *merchants, uint32_t row,
                                   uint32_t count, struct tl_status *st)
{
    for (uint32_t i = 0; i < count; i++) {
        if (merchants[i] == w->last_merchant && row + i > 0)
            continue;
        tl_assert(row + i == 0 || merchants[i] > w->last_merchant); /* rows come sorted */
        w->last_merchant = merchants[i];
        tl_bit_set(w->starts, row + i);
        w->mini_merchant[w->mini_fill] = merchants[i];
        w->mini_row[w->mini_fill] = row + i;
        w->info.merchants++;
        if (++w->mini_fill == MINI_MERCHANTS) {
            enum tl_code rc = mini_finish(w, st);
            if (rc)
                return rc;
        }
    }
    return TL_OK;
}

static void check_times(struct tl_pack_writer *w, const int64_t *ts, uint32_t row, uint32_t count)
{
    bool sorted = true;
    int64_t last = w->last_ts;
    for (uint32_t i = 0; i < count; i++) {
        sorted &= (ts[i] >= last) | tl_bit_get(w->starts, row + i);
        last = ts[i];
    }
    tl_assert(sorted); /* by ts within each merchant */
    w->last_ts = last;
}

/* ---- vectors in ---- */

static enum tl_code append_constant(struct tl_pack_writer *w, const struct tl_vector *v,
                                    struct tl_status *st)
{
    static const uint64_t none[TL_VECTOR_ROWS_MAX / 64];
    uint64_t scratch[TL_VECTOR_ROWS_MAX];
    const uint64_t *validity = NULL;
    if (v->type.kind == TL_NULL || !tl_vector_valid(v, 0)) {
        memset(scratch, 0, (size_t)v->count * w->column.width);
        validity = none;
    } else if (w->column.type.kind == TL_TEXT) {
        uint32_t code;
        enum tl_code rc =
            tl__interner_intern(&w->dict, *(const struct tl_slice *)v->data, &code, st);
        if (rc)
            return rc;
        uint32_t *to = (uint32_t *)(void *)scratch;
        for (uint32_t i = 0; i < v->count; i++)
            to[i] = code;
    } else {
        for (uint32_t i = 0; i < v->count; i++)
            memcpy((uint8_t *)scratch + (size_t)i * w->column.width, v->data, w->column.width);
    }
    return tl__pack_column_put(w, scratch, validity, v->count, st);
}

enum tl_code tl__pack_column_put(struct tl_pack_writer *w, const void *values,
                                 const uint64_t *validity, uint32_t count, struct tl_status *st)
{
    enum tl_code rc = check_state(w, STATE_COLUMN, st);
    if (rc)
        return rc;
    struct column_state *c = &w->column;
    if (w->id.kind != TL_PACK_DERIVED && c->id <= TL_COLUMN_TS) {
        tl_assert(validity == NULL && count <= w->info.rows - c->rows);
        if (c->id == TL_COLUMN_TS)
            check_times(w, values, c->rows, count);
        else
            rc = note_merchants(w, values, c->rows, count, st);
    }
    if (!rc)
        rc = column_put(w, values, validity, count, st);
    return rc ? poison(w, st) : TL_OK;
}

enum tl_code tl_pack_column_append(struct tl_pack_writer *w, const struct tl_vector *v,
                                   struct tl_status *st)
{
    enum tl_code rc = check_state(w, STATE_COLUMN, st);
    if (rc)
        return rc;
    tl_assert(v->count <= TL_VECTOR_ROWS_MAX);
    tl_assert(tl_type_eq(v->type, w->column.type) ||
              (v->type.kind == TL_NULL && v->shape == TL_CONST));
    if (v->count == 0)
        return TL_OK;
    if (v->shape == TL_CONST) {
        rc = append_constant(w, v, st);
        return rc ? poison(w, st) : TL_OK;
    }
    const uint64_t *validity = v->validity;
    if (validity && w->column.id <= TL_COLUMN_TS && w->id.kind != TL_PACK_DERIVED) {
        for (uint32_t i = 0; i < v->count; i++)
            tl_assert(tl_bit_get(validity, i)); /* the sort keys are never NULL */
        validity = NULL;
    }
    if (w->column.type.kind != TL_TEXT)
        return tl__pack_column_put(w, v->data, validity, v->count, st);
    rc = tl__interner_map(&w->dict, v, w->codes, st);
    if (rc)
        return poison(w, st);
    return tl__pack_column_put(w, w->codes, validity, v->count, st);
}

/* ---- the index ---- */

/* Appends w->array[0 … count) as one piece of an array of the index. */
static enum tl_code put_piece(struct tl_pack_writer *w, struct tl_buffer *to, uint32_t count,
                              struct tl_status *st)
{
    size_t at = to->size;
    tl_buffer_put_u32(to, 0);
    enum tl_code rc = tl_buffer_check(to, st);
    struct tl_encode_options opt = {.zstd_level = 0};
    if (!rc)
        rc = tl_encode_i64(w->encoder, w->array, count, &opt, to, st);
    if (rc)
        return rc;
    tl_put_u32le(to->data + at, (uint32_t)(to->size - at - 4));
    return TL_OK;
}

/* One array of the index: `get` gives element i. */
static enum tl_code put_array(struct tl_pack_writer *w, struct tl_buffer *to, uint32_t count,
                              int64_t (*get)(const void *from, uint32_t i), const void *from,
                              struct tl_status *st)
{
    for (uint32_t lo = 0; lo < count; lo += TL_ENCODE_ROWS_MAX) {
        uint32_t n = count - lo < TL_ENCODE_ROWS_MAX ? count - lo : TL_ENCODE_ROWS_MAX;
        for (uint32_t i = 0; i < n; i++)
            w->array[i] = get(from, lo + i);
        enum tl_code rc = put_piece(w, to, n, st);
        if (rc)
            return rc;
    }
    return TL_OK;
}

static int64_t block_size_at(const void *from, uint32_t i)
{
    return ((const struct tl__block *)from)[i].size;
}
static int64_t block_nulls_at(const void *from, uint32_t i)
{
    return ((const struct tl__block *)from)[i].nulls;
}
static int64_t block_min_at(const void *from, uint32_t i)
{
    return ((const struct tl__block *)from)[i].min;
}
static int64_t block_max_at(const void *from, uint32_t i)
{
    return ((const struct tl__block *)from)[i].max;
}
static int64_t block_codes_at(const void *from, uint32_t i)
{
    return (int64_t)((const struct tl__block *)from)[i].codes;
}
static int64_t map_size_at(const void *from, uint32_t i)
{
    return ((const struct tl__map_block *)from)[i].size;
}
static int64_t map_value_at(const void *from, uint32_t i)
{
    return ((const struct tl__map_block *)from)[i].value;
}
/* Page arrays are kept as pairs of u32: strings, size. */
static int64_t page_strings_at(const void *from, uint32_t i)
{
    return tl_get_u32le((const uint8_t *)from + 8 * (size_t)i);
}
static int64_t page_size_at(const void *from, uint32_t i)
{
    return tl_get_u32le((const uint8_t *)from + 8 * (size_t)i + 4);
}
static int64_t mini_merchant_at(const void *from, uint32_t i)
{
    return (int64_t)tl_get_u64le((const uint8_t *)from + MINI_RECORD_BYTES * (size_t)i);
}
static int64_t mini_row_at(const void *from, uint32_t i)
{
    return tl_get_u32le((const uint8_t *)from + MINI_RECORD_BYTES * (size_t)i + 8);
}
static int64_t mini_merchant_width_at(const void *from, uint32_t i)
{
    return ((const uint8_t *)from)[MINI_RECORD_BYTES * (size_t)i + 12];
}
static int64_t mini_row_width_at(const void *from, uint32_t i)
{
    return ((const uint8_t *)from)[MINI_RECORD_BYTES * (size_t)i + 13];
}

static enum tl_code array_of_blocks(struct tl_pack_writer *w,
                                    int64_t (*get)(const void *from, uint32_t i),
                                    struct tl_status *st)
{
    return put_array(w, &w->index, w->block_count, get, w->blocks, st);
}

/* Strings [lo, *hi) that share a page: up to the target size, a long one by itself. */
static uint32_t page_end(const struct column_state *d, uint32_t lo, size_t target)
{
    size_t bytes = 0;
    uint32_t hi = lo;
    while (hi < d->string_count && hi - lo < TL_ENCODE_ROWS_MAX) {
        size_t size = d->strings[hi].size;
        if (hi > lo && (size >= PAGE_ALONE_BYTES || bytes + size + 4 > target))
            break;
        bytes += size + 4;
        hi++;
        if (size >= PAGE_ALONE_BYTES)
            break;
    }
    return hi;
}

/* Writes the dictionary's pages; per page u32 strings, u32 size are appended to `list`. */
static enum tl_code write_pages(struct tl_pack_writer *w, struct tl_buffer *list, uint32_t *count,
                                struct tl_status *st)
{
    const struct column_state *d = &w->column;
    struct tl_encode_options opt = {
        .zstd_level = w->options.text_level,
        .effort = w->options.block_level == 0 ? TL_EFFORT_FAST : TL_EFFORT_BEST,
    };
    *count = 0;
    for (uint32_t lo = 0; lo < d->string_count;) {
        uint32_t hi =
            page_end(d, lo, opt.effort == TL_EFFORT_BEST ? PAGE_COLD_BYTES : PAGE_HOT_BYTES);
        uint64_t offset = here(w);
        size_t at = w->out.size;
        tl_buffer_put_u64(&w->out, 0);
        enum tl_code rc = tl_buffer_check(&w->out, st);
        if (!rc)
            rc = tl_encode_strings(w->encoder, d->strings + lo, hi - lo, &opt, &w->out, st);
        if (rc)
            return rc;
        size_t size = w->out.size - at;
        tl_put_u64le(w->out.data + at,
                     tl_unit_hash(w->out.data + at + 8, size - 8, w->key, offset));
        tl_buffer_put_u32(list, hi - lo);
        tl_buffer_put_u32(list, (uint32_t)size);
        rc = tl_buffer_check(list, st);
        if (!rc)
            rc = maybe_write_out(w, st);
        if (rc)
            return rc;
        ++*count;
        lo = hi;
    }
    return TL_OK;
}

/* Writes the map of the column in flight, by the block. */
static enum tl_code write_map(struct tl_pack_writer *w, struct tl_status *st)
{
    const struct tl__maps *m = &w->maps;
    uint32_t blocks = tl__block_count(m->map_count);
    if (blocks > w->map_capacity) {
        struct tl__map_block *map = realloc(w->map, blocks * sizeof(*map));
        if (!map)
            return no_memory(st);
        w->map = map;
        w->map_capacity = blocks;
    }
    struct tl_encode_options opt = block_options(w);
    for (uint32_t i = 0; i < blocks; i++) {
        struct tl__map_block *b = &w->map[i];
        const uint32_t *entries = m->map + ((size_t)i << TL_BLOCK_SHIFT);
        uint32_t count = tl__block_rows(m->map_count, i);
        *b = (struct tl__map_block){0};
        int64_t min, max;
        if (tl_block_range(TL_TEXT, entries, count, &min, &max)) {
            b->value = (uint32_t)min;
            continue;
        }
        size_t before = w->out.size;
        enum tl_code rc = tl_block_encode(w->encoder, TL_TEXT, entries, NULL, count, 0, &opt,
                                          w->key, here(w), &w->out, st);
        b->size = (uint32_t)(w->out.size - before);
        if (!rc)
            rc = maybe_write_out(w, st);
        if (rc)
            return rc;
    }
    w->map_count = blocks;
    return TL_OK;
}

static enum tl_code note_place(struct tl_pack_writer *w, struct tl_status *st)
{
    if (w->info.columns > w->place_capacity) {
        uint32_t n = w->place_capacity ? 2 * w->place_capacity : 64;
        struct entry_place *places = realloc(w->places, n * sizeof(*places));
        if (!places)
            return no_memory(st);
        w->places = places;
        w->place_capacity = n;
    }
    w->places[w->info.columns - 1] = (struct entry_place){w->column.id, w->index.size, 0};
    return TL_OK;
}

static enum tl_code index_column(struct tl_pack_writer *w, uint64_t pages_offset,
                                 const struct tl_buffer *pages, uint32_t page_count,
                                 struct tl_status *st)
{
    const struct column_state *c = &w->column;
    bool constant = !c->any_stored && c->same;
    bool sets = c->code_sets && c->type.kind == TL_TEXT && !constant;
    bool mapped = c->parent_id != 0 && !constant;
    w->resident +=
        tl__index_column_bytes(w->block_count, constant, page_count, mapped ? w->map_count : 0) +
        c->name_size;
    if (w->resident > INDEX_RESIDENT_BYTES_MAX)
        return TL_FAIL(st, TL_LIMIT, "the index of a segment exceeds %d bytes",
                       INDEX_RESIDENT_BYTES_MAX);

    enum tl_code rc = note_place(w, st);
    if (rc)
        return rc;
    struct tl_buffer *x = &w->index;
    tl_buffer_put_u32(x, c->id);
    tl_buffer_put_u8(x, c->type.kind);
    tl_buffer_put_u8(x, c->type.scale);
    tl_buffer_put_u8(x, (uint8_t)((constant ? COLUMN_CONSTANT : 0) | (sets ? COLUMN_CODE_SETS : 0) |
                                  (mapped ? COLUMN_MAPPED : 0)));
    tl_buffer_put_u8(x, 0);
    tl_buffer_put_u32(x, c->nulls);
    tl_buffer_put_u32(x, c->type.kind == TL_TEXT ? c->string_count : 0);
    tl_buffer_put_u64(x, (uint64_t)(c->any_value ? c->min : 0));
    tl_buffer_put_u64(x, (uint64_t)(c->any_value ? c->max : 0));
    tl_buffer_put_u64(x, c->blocks_offset);
    tl_buffer_put_u64(x, pages_offset);
    tl_buffer_put_u32(x, page_count);
    tl_buffer_put_u32(x, mapped ? c->parent_id : 0);
    tl_buffer_put_u32(x, mapped ? w->maps.map_count : 0);
    tl_buffer_put_u32(x, c->name_size);
    tl_buffer_put(x, c->name, c->name_size);
    rc = tl_buffer_check(x, st);
    if (!rc && !constant) {
        rc = array_of_blocks(w, block_size_at, st);
        if (!rc)
            rc = array_of_blocks(w, block_nulls_at, st);
        if (!rc)
            rc = array_of_blocks(w, block_min_at, st);
        if (!rc)
            rc = array_of_blocks(w, block_max_at, st);
        if (!rc && sets)
            rc = array_of_blocks(w, block_codes_at, st);
    }
    if (!rc && mapped) {
        rc = put_array(w, x, w->map_count, map_size_at, w->map, st);
        if (!rc)
            rc = put_array(w, x, w->map_count, map_value_at, w->map, st);
    }
    if (!rc && page_count > 0) {
        rc = put_array(w, x, page_count, page_strings_at, pages->data, st);
        if (!rc)
            rc = put_array(w, x, page_count, page_size_at, pages->data, st);
    }
    struct entry_place *place = &w->places[w->info.columns - 1];
    place->size = x->size - place->at;
    return rc;
}

/* Writes the merchant pages, each with its hash, now that their offsets are known. */
static enum tl_code write_merchant_pages(struct tl_pack_writer *w, struct tl_status *st)
{
    uint8_t *page = w->merchant_bytes.data;
    for (uint32_t mini = 0; mini < w->mini_count; mini += PAGE_MINIS) {
        uint32_t size = UNIT_HASH_BYTES;
        for (uint32_t i = mini; i < w->mini_count && i < mini + PAGE_MINIS; i++) {
            uint32_t left = w->info.merchants - i * MINI_MERCHANTS;
            uint32_t n = left < MINI_MERCHANTS ? left : MINI_MERCHANTS;
            const uint8_t *record = w->minis.data + MINI_RECORD_BYTES * (size_t)i;
            size += tl__bits_bytes(n, record[12]) + tl__bits_bytes(n, record[13]);
        }
        tl_put_u64le(page,
                     tl_unit_hash(page + UNIT_HASH_BYTES, size - UNIT_HASH_BYTES, w->key, here(w)));
        tl_buffer_put(&w->out, page, size);
        enum tl_code rc = maybe_write_out(w, st);
        if (rc)
            return rc;
        page += size;
    }
    tl_assert(page == w->merchant_bytes.data + w->merchant_bytes.size);
    return TL_OK;
}

/* ---- the calls ---- */

enum tl_code tl_pack_create(struct tl_io *io, const struct tl_pack_id *id,
                            const struct tl_pack_options *options, struct tl_pack_writer **out,
                            struct tl_status *st)
{
    tl_assert(io != NULL && id != NULL && options != NULL && out != NULL);
    struct tl_pack_writer *w = calloc(1, sizeof(*w));
    if (!w)
        return no_memory(st);
    w->io = io;
    w->id = *id;
    w->key = tl_pack_key(id);
    w->options = *options;
    tl__interner_init(&w->dict, options->budget);
    w->maps.budget = options->budget;
    w->maps.pack_key = w->key;
    tl_pack_name(id, w->name);
    tl_buffer_init(&w->out, "pack output",
                   OUT_BYTES + TL_STRINGS_BYTES_MAX + TL_BLOCK_BYTES_MAX + INDEX_BYTES_MAX);
    tl_buffer_init(&w->index, "segment index", INDEX_BYTES_MAX - (1 << 20));
    tl_buffer_init(&w->merchant_bytes, "merchant index", UINT32_MAX);
    tl_buffer_init(&w->merchant_page, "merchant page", 1 << 20);
    tl_buffer_init(&w->minis, "merchant index", INDEX_RESIDENT_BYTES_MAX);

    enum tl_code rc = TL_OK;
    w->hash = XXH3_createState();
    if (!w->hash)
        rc = no_memory(st);
    else
        (void)XXH3_128bits_reset(w->hash);
    if (!rc)
        rc = tl_encoder_new(&w->encoder, st);
    if (!rc) {
        rc = tl_io_open(io, w->name, TL_IO_CREATE, &w->file, st);
        if (rc == TL_EXISTS) {
            /* A leftover of a crash: no manifest names it, or its number would not be reused. */
            tl_status_clear(st);
            rc = tl_io_remove(io, w->name, st);
            if (!rc)
                rc = tl_io_open(io, w->name, TL_IO_CREATE, &w->file, st);
        }
    }
    if (rc) {
        tl_status_wrap(st, "creating pack %s", w->name);
        tl_pack_abort(w);
        return rc;
    }

    uint8_t header[PACK_HEADER_BYTES] = {0};
    tl_put_u64le(header, PACK_MAGIC);
    tl_put_u16le(header + 8, PACK_VERSION);
    header[12] = id->kind;
    tl_put_u64le(header + 16, id->number);
    tl_put_u32le(header + 24, id->log);
    tl_put_u32le(header + 28, id->table);
    tl_put_u32le(header + 32, id->shard);
    tl_put_u64le(header + 56, tl_unit_hash(header, 56, w->key, 0));
    tl_buffer_put(&w->out, header, sizeof(header));
    *out = w;
    return TL_OK;
}

static enum tl_code reserve_segment(struct tl_pack_writer *w, uint32_t rows, struct tl_status *st)
{
    if (w->segment_count == TL_PACK_SEGMENTS_MAX)
        return TL_FAIL(st, TL_LIMIT, "a pack of more than %d segments", TL_PACK_SEGMENTS_MAX);
    if (w->segment_count == w->segment_capacity) {
        uint32_t n = w->segment_capacity ? w->segment_capacity * 2 : 16;
        struct tl_segment_info *segments = realloc(w->segments, n * sizeof(*segments));
        if (segments)
            w->segments = segments;
        uint64_t *offsets = realloc(w->index_offsets, n * sizeof(*offsets));
        if (offsets)
            w->index_offsets = offsets;
        uint32_t *sizes = realloc(w->index_sizes, n * sizeof(*sizes));
        if (sizes)
            w->index_sizes = sizes;
        if (!segments || !offsets || !sizes)
            return no_memory(st);
        w->segment_capacity = n;
    }
    uint32_t blocks = tl__block_count(rows);
    if (blocks > w->block_capacity) {
        struct tl__block *b = realloc(w->blocks, (size_t)blocks * sizeof(*b));
        if (!b)
            return no_memory(st);
        w->blocks = b;
        w->block_capacity = blocks;
    }
    uint32_t words = (uint32_t)(((uint64_t)rows + 63) / 64);
    if (words > w->start_words) {
        uint64_t *starts = realloc(w->starts, (size_t)words * sizeof(*starts));
        if (!starts)
            return no_memory(st);
        w->starts = starts;
        w->start_words = words;
    }
    memset(w->starts, 0, (size_t)words * sizeof(*w->starts));
    return TL_OK;
}

enum tl_code tl_pack_segment_begin(struct tl_pack_writer *w, const struct tl_segment_meta *meta,
                                   uint32_t rows, struct tl_status *st)
{
    enum tl_code rc = check_state(w, STATE_PACK, st);
    if (rc)
        return rc;
    tl_assert(rows > 0);
    rc = reserve_segment(w, rows, st);
    if (rc)
        return poison(w, st);
    w->info = (struct tl_segment_info){.meta = *meta, .rows = rows, .offset = here(w)};
    tl_buffer_clear(&w->index);
    tl_buffer_clear(&w->merchant_bytes);
    tl_buffer_clear(&w->merchant_page);
    tl_buffer_clear(&w->minis);
    w->mini_fill = w->mini_count = w->page_minis = 0;
    w->last_ts = INT64_MIN;
    w->resident = 0;
    tl__maps_reset(&w->maps);
    w->state = STATE_SEGMENT;
    return TL_OK;
}

enum tl_code tl__pack_column_begin(struct tl_pack_writer *w, uint32_t column_id,
                                   struct tl_type type, uint32_t parent_id, bool keep,
                                   struct tl_status *st)
{
    enum tl_code rc = check_state(w, STATE_SEGMENT, st);
    if (rc)
        return rc;
    for (uint32_t i = 0; i < w->info.columns; i++)
        tl_assert(w->places[i].column_id != column_id); /* each once */
    tl_assert((parent_id == 0 && !keep) || type.kind == TL_TEXT);
    if (w->id.kind != TL_PACK_DERIVED) {
        tl_assert(w->info.columns > 0 || column_id == TL_COLUMN_MERCHANT);
        tl_assert(w->info.columns != 1 || column_id == TL_COLUMN_TS);
        tl_assert(column_id != TL_COLUMN_MERCHANT || type.kind == TL_BIGINT);
        tl_assert(column_id != TL_COLUMN_TS || tl_block_width(type.kind) == 8);
    }
    uint32_t width = tl_block_width(type.kind);
    if (width == 0) {
        char name[32];
        (void)TL_FAIL(st, TL_UNSUPPORTED, "a column of type %s is not stored",
                      tl_type_name(type, name, sizeof(name)));
        return poison(w, st);
    }
    if (w->info.columns == TL_SEGMENT_COLUMNS_MAX) {
        (void)TL_FAIL(st, TL_LIMIT, "a segment of more than %d columns", TL_SEGMENT_COLUMNS_MAX);
        return poison(w, st);
    }
    if (type.kind == TL_TEXT) {
        rc = tl__interner_reset(&w->dict, st);
        if (rc)
            return poison(w, st);
    }
    w->column = (struct column_state){.id = column_id,
                                      .type = type,
                                      .width = width,
                                      .parent_id = parent_id,
                                      .keep = keep,
                                      .blocks_offset = here(w),
                                      .same = true,
                                      .code_sets = true};
    w->block_count = 0;
    rc = tl__maps_column(&w->maps, w->info.rows, column_id, parent_id, keep, st);
    if (rc)
        return poison(w, st);
    w->state = STATE_COLUMN;
    return TL_OK;
}

enum tl_code tl_pack_column_begin(struct tl_pack_writer *w, uint32_t column_id, struct tl_type type,
                                  struct tl_status *st)
{
    tl_assert(column_id < TL_COLUMN_NAMED);
    return tl__pack_column_begin(w, column_id, type, 0, false, st);
}

void tl__pack_column_name(struct tl_pack_writer *w, struct tl_slice name)
{
    tl_assert(w->state == STATE_COLUMN && w->column.id >= TL_COLUMN_NAMED);
    tl_assert(name.size > 0 && name.size <= TL_COLUMN_NAME_MAX);
    memcpy(w->column.name, name.data, name.size);
    w->column.name_size = (uint8_t)name.size;
}

enum tl_code tl_pack_named_begin(struct tl_pack_writer *w, uint32_t column_id, struct tl_slice name,
                                 struct tl_status *st)
{
    enum tl_code rc = tl__pack_column_begin(w, column_id, tl_type_of(TL_TEXT), 0, false, st);
    if (!rc)
        tl__pack_column_name(w, name);
    return rc;
}

static enum tl_code column_end(struct tl_pack_writer *w, struct tl_status *st)
{
    struct column_state *c = &w->column;
    if (c->rows != w->info.rows)
        return TL_FAIL(st, TL_INVALID, "column %u has %u rows, its segment %u", c->id, c->rows,
                       w->info.rows);
    enum tl_code rc = c->fill > 0 ? block_finish(w, st) : TL_OK;
    if (rc)
        return rc;
    if (c->type.kind == TL_TEXT && !c->strings) {
        c->strings = w->dict.values;
        c->string_count = w->dict.count;
    }
    /* Left out: what a segment holds follows from its rows, not from which of its sources knew the
     * column. */
    if (w->options.omit_empty && c->nulls == c->rows)
        return TL_OK;
    w->info.columns++;
    if (c->type.kind == TL_TEXT)
        c->code_sets = c->code_sets && c->string_count <= CODE_SET_STRINGS_MAX;

    struct tl_buffer pages;
    tl_buffer_init(&pages, "dictionary pages", INDEX_RESIDENT_BYTES_MAX);
    uint32_t page_count = 0;
    if (c->parent_id && (c->any_stored || !c->same))
        rc = write_map(w, st);
    uint64_t pages_offset = here(w);
    if (!rc && c->type.kind == TL_TEXT)
        rc = write_pages(w, &pages, &page_count, st);
    if (!rc)
        rc = index_column(w, pages_offset, &pages, page_count, st);
    tl_buffer_deinit(&pages);
    if (!rc)
        tl__maps_column_end(&w->maps, c->string_count);
    if (rc)
        return rc;

    if (w->id.kind != TL_PACK_DERIVED && c->id == TL_COLUMN_MERCHANT) {
        w->info.min_merchant = c->min;
        w->info.max_merchant = c->max;
        rc = mini_finish(w, st);
        if (!rc)
            rc = merchant_page_finish(w, st);
    } else if (w->id.kind != TL_PACK_DERIVED && c->id == TL_COLUMN_TS) {
        w->info.min_ts = c->min;
        w->info.max_ts = c->max;
    }
    return rc;
}

enum tl_code tl_pack_column_end(struct tl_pack_writer *w, struct tl_status *st)
{
    enum tl_code rc = check_state(w, STATE_COLUMN, st);
    if (rc)
        return rc;
    rc = column_end(w, st);
    if (rc)
        return poison(w, st);
    w->state = STATE_SEGMENT;
    return TL_OK;
}

static int place_cmp(const void *a, const void *b)
{
    const struct entry_place *x = a, *y = b;
    return (x->column_id > y->column_id) - (x->column_id < y->column_id);
}

/* Blocks straight from the caller's arrays. */
static enum tl_code column_blocks(struct tl_pack_writer *w, const struct tl_pack_column *column,
                                  struct tl_status *st)
{
    struct column_state *c = &w->column;
    c->strings = column->strings;
    c->string_count = column->string_count;
    while (c->rows < w->info.rows) {
        uint32_t rows = w->info.rows - c->rows;
        rows = rows < TL_BLOCK_ROWS ? rows : TL_BLOCK_ROWS;
        const void *values = column->values;
        const uint64_t *bits = NULL;
        uint32_t nulls = values ? 0 : rows;
        if (values)
            values = (const uint8_t *)values + (size_t)c->rows * c->width;
        if (values && column->validity) {
            bits = column->validity + c->rows / 64;
            uint32_t valid = 0;
            for (uint32_t i = 0; i < rows; i += 64) {
                uint64_t word = bits[i / 64];
                if (rows - i < 64)
                    word &= (1ULL << (rows - i)) - 1;
                valid += (uint32_t)__builtin_popcountll(word);
            }
            nulls = rows - valid;
        }
        enum tl_code rc = block_write(w, values, bits, rows, nulls, c->string_count, st);
        if (rc)
            return rc;
        c->rows += rows;
    }
    return TL_OK;
}

enum tl_code tl_pack_column_write(struct tl_pack_writer *w, uint32_t column_id, struct tl_type type,
                                  const struct tl_pack_column *column, struct tl_status *st)
{
    enum tl_code rc = tl_pack_column_begin(w, column_id, type, st);
    if (rc)
        return rc;
    if (w->id.kind != TL_PACK_DERIVED && column_id <= TL_COLUMN_TS) {
        tl_assert(column->values != NULL && column->validity == NULL);
        if (column_id == TL_COLUMN_TS)
            check_times(w, column->values, 0, w->info.rows);
        else
            rc = note_merchants(w, column->values, 0, w->info.rows, st);
    }
    if (!rc)
        rc = column_blocks(w, column, st);
    return rc ? poison(w, st) : tl_pack_column_end(w, st);
}

static enum tl_code segment_end(struct tl_pack_writer *w, struct tl_status *st)
{
    tl__maps_reset(&w->maps);
    uint64_t merchant_offset = here(w);
    enum tl_code rc = write_merchant_pages(w, st);
    if (rc)
        return rc;
    w->resident += tl__index_minis_bytes(w->mini_count);
    if (w->resident > INDEX_RESIDENT_BYTES_MAX)
        return TL_FAIL(st, TL_LIMIT, "the index of a segment exceeds %d bytes",
                       INDEX_RESIDENT_BYTES_MAX);
    uint64_t index_offset = here(w);
    size_t at = w->out.size;
    tl_buffer_put_u64(&w->out, 0);
    tl_buffer_put_u32(&w->out, w->info.columns);
    tl_buffer_put_u32(&w->out, w->info.merchants);
    tl_buffer_put_u64(&w->out, merchant_offset);
    qsort(w->places, w->info.columns, sizeof(w->places[0]), place_cmp);
    for (uint32_t i = 0; i < w->info.columns; i++)
        tl_buffer_put(&w->out, w->index.data + w->places[i].at, w->places[i].size);
    rc = tl_buffer_check(&w->out, st);
    static int64_t (*const arrays[])(const void *, uint32_t) = {
        mini_merchant_at, mini_row_at, mini_merchant_width_at, mini_row_width_at};
    for (uint32_t i = 0; !rc && i < sizeof(arrays) / sizeof(arrays[0]); i++)
        rc = put_array(w, &w->out, w->mini_count, arrays[i], w->minis.data, st);
    if (rc)
        return rc;
    size_t size = w->out.size - at;
    tl_assert(size <= INDEX_BYTES_MAX);
    tl_put_u64le(w->out.data + at,
                 tl_unit_hash(w->out.data + at + 8, size - 8, w->key, index_offset));
    w->info.size = index_offset + size - w->info.offset;
    w->segments[w->segment_count] = w->info;
    w->index_offsets[w->segment_count] = index_offset;
    w->index_sizes[w->segment_count] = (uint32_t)size;
    w->segment_count++;
    return maybe_write_out(w, st);
}

enum tl_code tl_pack_segment_end(struct tl_pack_writer *w, struct tl_status *st)
{
    enum tl_code rc = check_state(w, STATE_SEGMENT, st);
    if (rc)
        return rc;
    tl_assert(w->info.columns > 0);
    tl_assert(w->id.kind == TL_PACK_DERIVED || w->info.columns >= 2);
    rc = segment_end(w, st);
    if (rc)
        return poison(w, st);
    w->state = STATE_PACK;
    return TL_OK;
}

static void put_footer(struct tl_pack_writer *w)
{
    struct tl_buffer *o = &w->out;
    tl_buffer_put_u32(o, w->segment_count);
    tl_buffer_put_u32(o, 0);
    for (uint32_t i = 0; i < w->segment_count; i++) {
        const struct tl_segment_info *s = &w->segments[i];
        tl_buffer_put_u32(o, s->meta.table);
        tl_buffer_put_u32(o, s->meta.shard);
        tl_buffer_put_u32(o, s->meta.schema_version);
        tl_buffer_put_u8(o, s->meta.level);
        tl_buffer_put_u8(o, 0);
        tl_buffer_put_u16(o, 0);
        tl_buffer_put_u64(o, (uint64_t)s->meta.start_us);
        tl_buffer_put_u64(o, (uint64_t)s->meta.end_us);
        for (int p = 0; p < 4; p++)
            tl_buffer_put_u64(o, s->meta.provenance[p]);
        tl_buffer_put_u32(o, s->rows);
        tl_buffer_put_u32(o, s->columns);
        tl_buffer_put_u32(o, s->merchants);
        tl_buffer_put_u32(o, w->index_sizes[i]);
        tl_buffer_put_u64(o, (uint64_t)s->min_merchant);
        tl_buffer_put_u64(o, (uint64_t)s->max_merchant);
        tl_buffer_put_u64(o, (uint64_t)s->min_ts);
        tl_buffer_put_u64(o, (uint64_t)s->max_ts);
        tl_buffer_put_u64(o, s->offset);
        tl_buffer_put_u64(o, w->index_offsets[i]);
    }
}

static enum tl_code pack_finish(struct tl_pack_writer *w, struct tl_status *st)
{
    uint64_t footer_offset = here(w);
    size_t at = w->out.size;
    put_footer(w);
    enum tl_code rc = tl_buffer_check(&w->out, st);
    if (rc)
        return rc;
    uint32_t footer_size = (uint32_t)(w->out.size - at);
    uint8_t t[PACK_TRAILER_BYTES] = {0};
    tl_put_u64le(t, footer_offset);
    tl_put_u32le(t + 8, footer_size);
    tl_put_u16le(t + 12, PACK_VERSION);
    tl_put_u64le(t + 24, tl_unit_hash(w->out.data + at, footer_size, w->key, footer_offset));
    tl_put_u64le(t + 32, tl_unit_hash(t, 32, w->key, here(w)));
    tl_put_u64le(t + 40, PACK_END_MAGIC);
    tl_buffer_put(&w->out, t, sizeof(t));
    rc = tl_buffer_check(&w->out, st);
    if (!rc)
        rc = write_out(w, st);
    if (!rc)
        rc = tl_io_sync(w->file, st);
    return rc;
}

static void writer_free(struct tl_pack_writer *w)
{
    tl__interner_deinit(&w->dict);
    tl__maps_reset(&w->maps);
    free(w->map);
    free(w->places);
    tl_buffer_deinit(&w->out);
    tl_buffer_deinit(&w->index);
    tl_buffer_deinit(&w->merchant_bytes);
    tl_buffer_deinit(&w->merchant_page);
    tl_buffer_deinit(&w->minis);
    tl_encoder_free(w->encoder);
    (void)XXH3_freeState(w->hash);
    free(w->segments);
    free(w->index_offsets);
    free(w->index_sizes);
    free(w->blocks);
    free(w->starts);
    free(w);
}

enum tl_code tl_pack_finish(struct tl_pack_writer *w, struct tl_pack_info *out,
                            struct tl_status *st)
{
    enum tl_code rc = check_state(w, STATE_PACK, st);
    if (rc)
        return rc;
    rc = pack_finish(w, st);
    if (rc) {
        tl_status_wrap(st, "finishing pack %s", w->name);
        return poison(w, st);
    }
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(w->hash));
    *out = (struct tl_pack_info){
        .size = w->written, .segment_count = w->segment_count, .segments = w->segments};
    memcpy(out->hash, canonical.digest, sizeof(out->hash));
    w->segments = NULL; /* now the caller's */
    tl_io_close(w->file);
    writer_free(w);
    return TL_OK;
}

void tl_pack_abort(struct tl_pack_writer *w)
{
    if (!w)
        return;
    if (w->file) {
        tl_io_close(w->file);
        /* What cannot be removed now is a leftover that a later start clears away. */
        struct tl_status ignored = TL_STATUS_INIT;
        (void)!tl_io_remove(w->io, w->name, &ignored);
    }
    writer_free(w);
}
