/*
 * The index of a segment: loaded in one read, proved, and kept; and what is answered from it alone
 * or with one page of the merchant index.
 *
 * Every number of the index is checked when it is loaded: units lie inside the segment, sizes are
 * possible, codes are below the dictionary's size, first rows ascend. What uses the index later
 * relies on that.
 */
#include "storage/segment.h"

#include <stdlib.h>

#include "base/assert.h"
#include "storage/pack_int.h"
#include "storage/props.h"

/* The units of a column. */
struct extent {
    uint64_t begin, end;
};

/* What loading needs beside the segment. */
struct loading {
    struct tl_pack *pack;
    struct tl_segment *segment;
    struct tl_decoder *decoder;
    struct tl_reader reader;
    struct tl_buffer scratch;
    uint64_t resident;
    uint64_t index_offset;
    uint64_t merchant_offset;
    uint64_t data_end;      /* of the columns' units: no unit ends behind it */
    uint64_t next;          /* where the column's next unit begins */
    struct extent *extents; /* of each column */
};

static enum tl_code corrupt(struct tl_status *st, const char *what)
{
    return TL_FAIL(st, TL_CORRUPT, "the index's %s make no sense", what);
}

/* Decodes one array of `count` numbers, piece by piece, into `put`. */
static enum tl_code read_array(struct loading *l, uint32_t count,
                               void (*put)(void *to, uint32_t i, int64_t value), void *to,
                               struct tl_status *st)
{
    int64_t values[1024];
    for (uint32_t lo = 0; lo < count; lo += TL_ENCODE_ROWS_MAX) {
        uint32_t n = count - lo < TL_ENCODE_ROWS_MAX ? count - lo : TL_ENCODE_ROWS_MAX;
        struct tl_slice stored = tl_read_string(&l->reader);
        if (l->reader.failed)
            return corrupt(st, "arrays");
        size_t size;
        enum tl_code rc = tl_payload_inflated_size(stored, &size, st);
        if (rc)
            return rc;
        tl_buffer_clear(&l->scratch);
        uint8_t *image = tl_buffer_reserve(&l->scratch, size + TL_PAYLOAD_PAD);
        if (!image)
            return tl_buffer_check(&l->scratch, st);
        rc = tl_payload_inflate(l->decoder, stored, image, size, st);
        if (rc)
            return rc;
        memset(image + size, 0, TL_PAYLOAD_PAD);
        struct tl_slice inflated = tl_slice_of(image, size);
        rc = tl_payload_check(l->decoder, inflated, n, st);
        if (rc)
            return rc;
        for (uint32_t at = 0; at < n; at += 1024) {
            uint32_t m = n - at < 1024 ? n - at : 1024;
            tl_decode_i64(l->decoder, inflated, n, at, at + m, values);
            for (uint32_t i = 0; i < m; i++)
                put(to, lo + at + i, values[i]);
        }
    }
    return TL_OK;
}

/* Out of u32's range becomes UINT32_MAX, which no check lets pass. */
static uint32_t narrow(int64_t v)
{
    return v < 0 || v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
}
static void put_block_size(void *to, uint32_t i, int64_t v)
{
    ((struct tl__block *)to)[i].size = narrow(v);
}
static void put_block_nulls(void *to, uint32_t i, int64_t v)
{
    ((struct tl__block *)to)[i].nulls = narrow(v);
}
static void put_block_min(void *to, uint32_t i, int64_t v)
{
    ((struct tl__block *)to)[i].min = v;
}
static void put_block_max(void *to, uint32_t i, int64_t v)
{
    ((struct tl__block *)to)[i].max = v;
}
static void put_block_codes(void *to, uint32_t i, int64_t v)
{
    ((struct tl__block *)to)[i].codes = (uint64_t)v;
}
/* Holds a count until the sums are taken. */
static void put_page_strings(void *to, uint32_t i, int64_t v)
{
    ((struct tl__page *)to)[i].first_code = narrow(v);
}
static void put_page_size(void *to, uint32_t i, int64_t v)
{
    ((struct tl__page *)to)[i].size = narrow(v);
}
static void put_map_size(void *to, uint32_t i, int64_t v)
{
    ((struct tl__map_block *)to)[i].size = narrow(v);
}
static void put_map_value(void *to, uint32_t i, int64_t v)
{
    ((struct tl__map_block *)to)[i].value = narrow(v);
}
static void put_i64(void *to, uint32_t i, int64_t v)
{
    ((int64_t *)to)[i] = v;
}
static void put_mini_row(void *to, uint32_t i, int64_t v)
{
    ((struct tl__mini *)to)[i].first_row = narrow(v);
}
static void put_mini_merchant_width(void *to, uint32_t i, int64_t v)
{
    ((struct tl__mini *)to)[i].merchant_width = v < 0 || v > 64 ? UINT8_MAX : (uint8_t)v;
}
static void put_mini_row_width(void *to, uint32_t i, int64_t v)
{
    ((struct tl__mini *)to)[i].row_width = v < 0 || v > 32 ? UINT8_MAX : (uint8_t)v;
}

/* A minimum or maximum that a value of the type can have. */
static bool possible(const struct tl_column *c, int64_t v)
{
    switch (c->type.kind) {
    case TL_BOOLEAN:
        return v == 0 || v == 1;
    case TL_DATE:
        return v >= INT32_MIN && v <= INT32_MAX;
    case TL_TEXT:
        return v >= 0 && v < c->distinct;
    default:
        return true;
    }
}

static enum tl_code check_blocks(struct loading *l, struct tl__column *c, struct tl__block *blocks,
                                 struct tl_status *st)
{
    uint64_t nulls = 0;
    for (uint32_t i = 0; i < c->pub.block_count; i++) {
        struct tl__block *b = &blocks[i];
        uint32_t rows = tl__block_rows(c->pub.rows, i);
        bool values = b->nulls < rows;
        if (b->nulls > rows ||
            (values && (!possible(&c->pub, b->min) || !possible(&c->pub, b->max) ||
                        tl_block_range_cmp(c->pub.type.kind, b->min, b->max) > 0)))
            return corrupt(st, "blocks");
        if (b->size == 0) {
            if (values && (b->nulls != 0 || b->min != b->max) && c->map_blocks == 0)
                return corrupt(st, "blocks");
        } else if (!values || b->size < TL_BLOCK_HEADER_BYTES || b->size > TL_BLOCK_BYTES_MAX ||
                   b->size > l->data_end - l->next) {
            return corrupt(st, "blocks");
        }
        if (c->code_sets) {
            if (c->pub.distinct < 64 && b->codes >> c->pub.distinct != 0)
                return corrupt(st, "code sets");
        } else {
            b->codes = ~0ULL;
        }
        b->offset = l->next;
        l->next += b->size;
        nulls += b->nulls;
    }
    return nulls == c->pub.nulls ? TL_OK : corrupt(st, "NULL counts");
}

static enum tl_code load_blocks(struct loading *l, struct tl__column *c, struct tl_status *st)
{
    uint32_t n = c->pub.block_count;
    struct tl__block *blocks = tl_arena_calloc(&l->segment->arena, n, sizeof(*blocks), st);
    if (!blocks)
        return st->code;
    enum tl_code rc = read_array(l, n, put_block_size, blocks, st);
    if (!rc)
        rc = read_array(l, n, put_block_nulls, blocks, st);
    if (!rc)
        rc = read_array(l, n, put_block_min, blocks, st);
    if (!rc)
        rc = read_array(l, n, put_block_max, blocks, st);
    if (!rc && c->code_sets)
        rc = read_array(l, n, put_block_codes, blocks, st);
    if (!rc)
        rc = check_blocks(l, c, blocks, st);
    c->blocks = blocks;
    return rc;
}

static enum tl_code load_pages(struct loading *l, struct tl__column *c, struct tl_status *st)
{
    uint32_t n = c->page_count;
    struct tl__page *pages = tl_arena_calloc(&l->segment->arena, (size_t)n + 1, sizeof(*pages), st);
    if (!pages)
        return st->code;
    enum tl_code rc = read_array(l, n, put_page_strings, pages, st);
    if (!rc)
        rc = read_array(l, n, put_page_size, pages, st);
    if (rc)
        return rc;
    uint64_t code = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct tl__page *p = &pages[i];
        uint32_t strings = p->first_code;
        if (strings == 0 || strings > TL_ENCODE_ROWS_MAX || p->size <= UNIT_HASH_BYTES ||
            p->size > PAGE_BYTES_MAX || p->size > l->data_end - l->next)
            return corrupt(st, "dictionary pages");
        p->offset = l->next;
        p->first_code = (uint32_t)code;
        l->next += p->size;
        code += strings;
        if (code > c->pub.distinct)
            return corrupt(st, "dictionary pages");
    }
    pages[n].offset = l->next;
    pages[n].first_code = (uint32_t)code;
    c->pages = pages;
    return code == c->pub.distinct ? TL_OK : corrupt(st, "dictionary pages");
}

static enum tl_code load_map(struct loading *l, struct tl__column *c, struct tl_status *st)
{
    uint32_t n = c->map_blocks;
    struct tl__map_block *map = tl_arena_calloc(&l->segment->arena, n, sizeof(*map), st);
    if (!map)
        return st->code;
    enum tl_code rc = read_array(l, n, put_map_size, map, st);
    if (!rc)
        rc = read_array(l, n, put_map_value, map, st);
    if (rc)
        return rc;
    for (uint32_t i = 0; i < n; i++) {
        struct tl__map_block *b = &map[i];
        if (b->size == 0 ? b->value > c->pub.distinct
                         : b->value != 0 || b->size < TL_BLOCK_HEADER_BYTES ||
                               b->size > TL_BLOCK_BYTES_MAX || b->size > l->data_end - l->next)
            return corrupt(st, "maps");
        b->offset = l->next;
        l->next += b->size;
    }
    c->map = map;
    c->map_width = tl__map_width(c->pub.distinct);
    return TL_OK;
}

static enum tl_code charge(struct loading *l, uint64_t bytes, struct tl_status *st)
{
    l->resident += bytes;
    return l->resident <= INDEX_RESIDENT_BYTES_MAX ? TL_OK : corrupt(st, "sizes");
}

/* Keys of one map (storage/props.h) are numbered without a gap, in byte order. */
static enum tl_code load_name(struct loading *l, struct tl__column *c, uint32_t index,
                              struct tl_slice name, struct tl_status *st)
{
    const struct tl_column *before = index > 0 ? &l->segment->columns[index - 1].pub : NULL;
    if (c->pub.id & (TL_PROPS_HOT_MAX - 1)) {
        if (!before || before->id + 1 != c->pub.id || tl_slice_cmp(before->name, name) >= 0)
            return corrupt(st, "column names");
    }
    uint8_t *copy = tl_arena_copy(&l->segment->arena, name.data, name.size, st);
    if (!copy)
        return st->code;
    c->pub.name = tl_slice_of(copy, name.size);
    return TL_OK;
}

static enum tl_code load_column(struct loading *l, uint32_t index, struct tl_status *st)
{
    struct tl__column *c = &l->segment->columns[index];
    struct tl_column *pub = &c->pub;
    struct tl_reader *r = &l->reader;
    const uint8_t *begin = r->next;
    pub->segment = l->segment;
    pub->id = tl_read_u32(r);
    pub->type.kind = tl_read_u8(r);
    pub->type.scale = tl_read_u8(r);
    uint8_t flags = tl_read_u8(r), zero = tl_read_u8(r);
    pub->nulls = tl_read_u32(r);
    pub->distinct = tl_read_u32(r);
    pub->min = (int64_t)tl_read_u64(r);
    pub->max = (int64_t)tl_read_u64(r);
    uint64_t blocks_offset = tl_read_u64(r), pages_offset = tl_read_u64(r);
    c->page_count = tl_read_u32(r);
    pub->parent_id = tl_read_u32(r);
    c->map_entries = tl_read_u32(r);
    uint32_t name_size = tl_read_u32(r);
    struct tl_slice name = tl_read_bytes(r, name_size);
    pub->rows = l->segment->info->rows;
    pub->block_count = tl__block_count(pub->rows);
    pub->constant = flags & COLUMN_CONSTANT;
    bool mapped = flags & COLUMN_MAPPED;
    c->map_blocks = tl__block_count(c->map_entries);
    c->code_sets = flags & COLUMN_CODE_SETS;

    bool text = pub->type.kind == TL_TEXT;
    bool values = pub->nulls < pub->rows;
    if (r->failed || zero != 0 || (name_size > 0) != (pub->id >= TL_COLUMN_NAMED) ||
        name_size > TL_COLUMN_NAME_MAX || (name_size > 0 && !text) ||
        (flags & ~(COLUMN_CONSTANT | COLUMN_CODE_SETS | COLUMN_MAPPED)) ||
        mapped != (pub->parent_id != 0) || mapped != (c->map_entries != 0) ||
        (mapped && (!text || pub->constant)) || c->map_entries > pub->rows ||
        tl_block_width(pub->type.kind) == 0 ||
        (pub->type.scale != 0 && pub->type.kind != TL_DECIMAL64) || pub->type.scale > 18 ||
        pub->nulls > pub->rows || (!text && (pub->distinct | c->page_count)) ||
        pub->distinct > pub->rows || c->page_count > pub->distinct ||
        (values && (!possible(pub, pub->min) || !possible(pub, pub->max) ||
                    tl_block_range_cmp(pub->type.kind, pub->min, pub->max) > 0)) ||
        (pub->constant && values && (pub->nulls != 0 || pub->min != pub->max)) ||
        (c->code_sets && (pub->constant || !text || pub->distinct > CODE_SET_STRINGS_MAX)))
        return corrupt(st, "columns");
    if (index > 0 && pub->id <= l->segment->columns[index - 1].pub.id)
        return corrupt(st, "column ids");
    enum tl_code rc = charge(
        l,
        tl__index_column_bytes(pub->block_count, pub->constant, c->page_count, c->map_blocks) +
            name_size,
        st);
    if (!rc && name_size > 0)
        rc = load_name(l, c, index, name, st);
    if (rc)
        return rc;
    /* A column's units lie one behind the other: what is not the next byte is wrong. */
    if (blocks_offset < l->segment->info->offset || blocks_offset > l->data_end)
        return corrupt(st, "offsets");
    l->next = blocks_offset;
    if (!pub->constant)
        rc = load_blocks(l, c, st);
    if (!rc && mapped)
        rc = load_map(l, c, st);
    if (!rc && pages_offset != l->next)
        return corrupt(st, "offsets");
    if (!rc && text)
        rc = load_pages(l, c, st);
    if (rc)
        return rc;
    if (text)
        pub->dict_id = tl_dict_new_id();
    l->extents[index] = (struct extent){blocks_offset, l->next};
    c->index_bytes = (uint32_t)(r->next - begin);
    return TL_OK;
}

static int extent_cmp(const void *a, const void *b)
{
    const struct extent *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* The columns' units, in whatever order, fill the segment up to the merchant pages. */
static enum tl_code check_extents(struct loading *l, struct tl_status *st)
{
    uint32_t n = l->segment->column_count;
    qsort(l->extents, n, sizeof(*l->extents), extent_cmp);
    uint64_t next = l->segment->info->offset;
    for (uint32_t i = 0; i < n; i++) {
        if (l->extents[i].begin != next)
            return corrupt(st, "offsets");
        next = l->extents[i].end;
    }
    return next == l->data_end ? TL_OK : corrupt(st, "offsets");
}

/* Parents are TEXT, not constant, and at most TL_MAP_DEPTH_MAX one above the other; a map has an
 * entry for each code of its parent. */
static enum tl_code find_parents(struct tl_segment *s, struct tl_status *st)
{
    for (uint32_t i = 0; i < s->column_count; i++) {
        struct tl__column *c = &s->columns[i];
        if (c->pub.parent_id == 0)
            continue;
        const struct tl_column *parent = tl_segment_column(s, c->pub.parent_id);
        if (!parent || parent->type.kind != TL_TEXT || parent->constant ||
            parent->distinct != c->map_entries)
            return corrupt(st, "maps");
        c->parent = tl__column_of(parent);
    }
    for (uint32_t i = 0; i < s->column_count; i++) {
        uint32_t depth = 0;
        for (const struct tl__column *c = s->columns[i].parent; c; c = c->parent)
            if (++depth > TL_MAP_DEPTH_MAX)
                return corrupt(st, "maps");
    }
    return TL_OK;
}

static uint32_t mini_size(const struct tl_segment *s, uint32_t mini)
{
    uint32_t left = s->info->merchants - mini * MINI_MERCHANTS;
    return left < MINI_MERCHANTS ? left : MINI_MERCHANTS;
}

static enum tl_code load_minis(struct loading *l, struct tl_status *st)
{
    struct tl_segment *s = l->segment;
    uint32_t n = (uint32_t)(((uint64_t)s->info->merchants + MINI_MERCHANTS - 1) / MINI_MERCHANTS);
    uint32_t page_count = (n + PAGE_MINIS - 1) / PAGE_MINIS;
    enum tl_code rc = charge(l, tl__index_minis_bytes(n), st);
    if (rc)
        return rc;
    int64_t *merchants = tl_arena_calloc(&s->arena, (size_t)n + 1, sizeof(*merchants), st);
    struct tl__mini *minis = tl_arena_calloc(&s->arena, (size_t)n + 1, sizeof(*minis), st);
    uint64_t *pages = tl_arena_calloc(&s->arena, (size_t)page_count + 1, sizeof(*pages), st);
    if (!merchants || !minis || !pages)
        return st->code;
    rc = read_array(l, n, put_i64, merchants, st);
    if (!rc)
        rc = read_array(l, n, put_mini_row, minis, st);
    if (!rc)
        rc = read_array(l, n, put_mini_merchant_width, minis, st);
    if (!rc)
        rc = read_array(l, n, put_mini_row_width, minis, st);
    if (rc)
        return rc;

    s->mini_count = n;
    s->merchant_page_count = page_count;
    uint64_t offset = l->merchant_offset;
    uint32_t in_page = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct tl__mini *m = &minis[i];
        if (m->merchant_width > 64 || m->row_width > 32 || m->first_row >= s->info->rows ||
            (i == 0 ? m->first_row != 0
                    : m->first_row <= minis[i - 1].first_row || merchants[i] <= merchants[i - 1]))
            return corrupt(st, "merchants");
        if (i % PAGE_MINIS == 0) {
            offset += in_page;
            pages[i / PAGE_MINIS] = offset;
            offset += UNIT_HASH_BYTES;
            in_page = 0;
        }
        uint32_t count = mini_size(s, i);
        m->offset = in_page;
        in_page += tl__bits_bytes(count, m->merchant_width) + tl__bits_bytes(count, m->row_width);
    }
    offset += in_page;
    pages[page_count] = offset;
    if (offset != l->index_offset)
        return corrupt(st, "merchant pages");
    s->merchant_bytes = offset - l->merchant_offset;
    s->mini_merchants = merchants;
    s->minis = minis;
    s->merchant_pages = pages;
    return TL_OK;
}

/* The merchant pages that lie wholly in the `before` bytes before the index go into the cache. */
static enum tl_code cache_merchants(struct loading *l, const uint8_t *index, uint64_t before,
                                    struct tl_status *st)
{
    const struct tl_segment *s = l->segment;
    for (uint32_t i = s->merchant_page_count; i-- > 0;) {
        uint64_t offset = s->merchant_pages[i];
        if (l->index_offset - offset > before)
            break;
        struct tl_slice stored = tl_slice_of(index - (l->index_offset - offset),
                                             (size_t)(s->merchant_pages[i + 1] - offset));
        enum tl_code rc = tl__merchant_page_put(s, i, stored, st);
        if (rc)
            return rc;
    }
    return TL_OK;
}

static enum tl_code load_index(struct loading *l, struct tl_slice index, struct tl_status *st)
{
    struct tl_segment *s = l->segment;
    if (!tl_unit_hash_is(tl_get_u64le(index.data), index.data + 8, index.size - 8, l->pack->key,
                         l->index_offset))
        return TL_FAIL(st, TL_CORRUPT, "its index does not match its checksum");
    l->reader = tl_reader_of(tl_slice_of(index.data + 8, index.size - 8));
    uint32_t columns = tl_read_u32(&l->reader), merchants = tl_read_u32(&l->reader);
    l->merchant_offset = tl_read_u64(&l->reader);
    if (l->reader.failed || columns != s->info->columns || merchants != s->info->merchants ||
        l->merchant_offset < s->info->offset || l->merchant_offset > l->index_offset)
        return corrupt(st, "counts");
    if ((uint64_t)columns * INDEX_COLUMN_BYTES > tl_reader_left(&l->reader))
        return corrupt(st, "counts");
    l->data_end = l->merchant_offset;
    s->column_count = columns;
    s->columns = tl_arena_calloc(&s->arena, columns, sizeof(*s->columns), st);
    if (!s->columns)
        return st->code;
    l->extents = calloc((size_t)columns + 1, sizeof(*l->extents));
    if (!l->extents)
        return TL_FAIL(st, TL_LIMIT, "no memory for a segment");
    for (uint32_t i = 0; i < columns; i++) {
        enum tl_code rc = load_column(l, i, st);
        if (rc)
            return rc;
    }
    enum tl_code rc = check_extents(l, st);
    if (!rc)
        rc = find_parents(s, st);
    if (!rc)
        rc = load_minis(l, st);
    if (rc)
        return rc;
    if (tl_reader_left(&l->reader) != 0)
        return corrupt(st, "bytes behind its last array");
    if (l->pack->id.kind == TL_PACK_DERIVED)
        return TL_OK;
    const struct tl_column *m = &s->columns[0].pub, *t = columns > 1 ? &s->columns[1].pub : m;
    if (m->id != TL_COLUMN_MERCHANT || m->type.kind != TL_BIGINT || m->nulls != 0 ||
        t->id != TL_COLUMN_TS || tl_block_width(t->type.kind) != 8 || t->nulls != 0 ||
        m->min != s->info->min_merchant || m->max != s->info->max_merchant ||
        t->min != s->info->min_ts || t->max != s->info->max_ts || s->mini_merchants[0] != m->min)
        return corrupt(st, "sort keys");
    return TL_OK;
}

enum tl_code tl__segment_load(struct tl_pack *p, uint32_t index, struct tl_segment **out,
                              struct tl_status *st)
{
    struct tl_segment *s = calloc(1, sizeof(*s));
    if (!s)
        return TL_FAIL(st, TL_LIMIT, "no memory for a segment");
    s->pack = p;
    s->info = &p->infos[index];
    tl_arena_init(&s->arena, NULL, 16 << 10);
    struct loading l = {.pack = p,
                        .segment = s,
                        .index_offset = p->index_offsets[index],
                        .decoder = tl_block_decoder(st)};
    struct tl_buffer bytes;
    tl_buffer_init(&bytes, "segment index", INDEX_BYTES_MAX + MERCHANTS_AHEAD_BYTES + (1 << 10));
    tl_buffer_init(&l.scratch, "segment index array", TL_PAYLOAD_BYTES_MAX + TL_PAYLOAD_PAD);

    /* The last merchant pages stand just before: they come with the same read. */
    uint64_t before = l.index_offset - s->info->offset;
    if (before > MERCHANTS_AHEAD_BYTES)
        before = MERCHANTS_AHEAD_BYTES;
    size_t size = (size_t)(before + p->index_sizes[index]);
    uint8_t *data = l.decoder ? tl_buffer_reserve(&bytes, size) : NULL;
    enum tl_code rc = l.decoder ? tl_buffer_check(&bytes, st) : st->code;
    if (!rc)
        rc = tl_io_read(p->file, l.index_offset - before, data, size, st);
    if (!rc)
        rc = load_index(&l, tl_slice_of(data + before, p->index_sizes[index]), st);
    if (!rc)
        rc = cache_merchants(&l, data + before, before, st);
    tl_buffer_deinit(&bytes);
    tl_buffer_deinit(&l.scratch);
    free(l.extents);
    if (rc) {
        tl__segment_free(s);
        return rc;
    }
    *out = s;
    return TL_OK;
}

void tl__segment_free(struct tl_segment *s)
{
    if (!s)
        return;
    tl_arena_deinit(&s->arena);
    free(s);
}

/* ---- answers from the index ---- */

const struct tl_segment_info *tl_segment_info(const struct tl_segment *s)
{
    return s->info;
}

struct tl_pack *tl_segment_pack(const struct tl_segment *s)
{
    return s->pack;
}

uint32_t tl_segment_rows(const struct tl_segment *s)
{
    return s->info->rows;
}

uint32_t tl_segment_column_count(const struct tl_segment *s)
{
    return s->column_count;
}

const struct tl_column *tl_segment_column_at(const struct tl_segment *s, uint32_t index)
{
    tl_assert(index < s->column_count);
    return &s->columns[index].pub;
}

const struct tl_column *tl_segment_column(const struct tl_segment *s, uint32_t column_id)
{
    uint32_t lo = 0, hi = s->column_count;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (s->columns[mid].pub.id < column_id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < s->column_count && s->columns[lo].pub.id == column_id ? &s->columns[lo].pub : NULL;
}

uint64_t tl_segment_resident_bytes(const struct tl_segment *s)
{
    return sizeof(*s) + tl_arena_bytes(&s->arena);
}

struct tl_block_expect tl__column_expect(const struct tl__column *c, uint32_t block)
{
    const struct tl__block *b = &c->blocks[block];
    bool mapped = c->parent != NULL; /* then it holds exceptions: 0, 1 for NULL, or a code + 2 */
    return (struct tl_block_expect){.kind = c->pub.type.kind,
                                    .rows = tl__block_rows(c->pub.rows, block),
                                    .nulls = mapped ? 0 : b->nulls,
                                    .codes = mapped ? c->pub.distinct + 2 : c->pub.distinct,
                                    .pack_key = c->pub.segment->pack->key,
                                    .offset = b->offset};
}

struct tl_block_expect tl__map_expect(const struct tl__column *c, uint32_t block)
{
    return (struct tl_block_expect){.kind = TL_TEXT,
                                    .rows = tl__block_rows(c->map_entries, block),
                                    .codes = c->pub.distinct + 1,
                                    .pack_key = c->pub.segment->pack->key,
                                    .offset = c->map[block].offset};
}

void tl_column_block(const struct tl_column *column, uint32_t index, struct tl_block_stat *out)
{
    const struct tl__column *c = tl__column_of(column);
    tl_assert(index < column->block_count);
    *out = (struct tl_block_stat){.first_row = index << TL_BLOCK_SHIFT,
                                  .rows = tl__block_rows(column->rows, index)};
    if (c->blocks) {
        const struct tl__block *b = &c->blocks[index];
        out->nulls = b->nulls;
        out->size = b->size;
        out->offset = b->offset;
        out->min = b->min;
        out->max = b->max;
        out->codes = b->codes;
        return;
    }
    bool null = column->nulls > 0;
    out->nulls = null ? out->rows : 0;
    out->min = column->min;
    out->max = column->max;
    out->codes = ~0ULL;
    if (column->type.kind == TL_TEXT && column->distinct <= CODE_SET_STRINGS_MAX)
        out->codes = null ? 0 : 1ULL << column->min;
}

/* ---- the merchant index ---- */

/* A mini-page, ready to be searched. */
struct mini {
    struct tl_cached *pin;
    const uint8_t *merchants, *rows;
    uint64_t first_merchant;
    uint32_t first_row;
    uint32_t merchant_width, row_width;
    uint32_t count;
};

static enum tl_code mini_open(const struct tl_segment *s, uint32_t index, struct mini *out,
                              struct tl_status *st)
{
    const struct tl__mini *m = &s->minis[index];
    uint32_t page = index / PAGE_MINIS;
    struct mini mini = {.first_merchant = (uint64_t)s->mini_merchants[index],
                        .first_row = m->first_row,
                        .merchant_width = m->merchant_width,
                        .row_width = m->row_width,
                        .count = mini_size(s, index)};
    enum tl_code rc = tl__merchant_page_pin(s, page, &mini.pin, st);
    if (rc)
        return rc;
    mini.merchants = mini.pin->data + m->offset;
    mini.rows = mini.merchants + tl__bits_bytes(mini.count, mini.merchant_width);
    *out = mini;
    return TL_OK;
}

static void mini_close(const struct tl_segment *s, struct mini *m)
{
    tl__pin_release(s->pack, m->pin);
}

/* Where entry `i` of mini-page `index` begins; i == count: where the next one does. Bounded. */
static uint32_t mini_row(const struct tl_segment *s, uint32_t index, const struct mini *m,
                         uint32_t i)
{
    uint64_t row;
    if (i < m->count)
        row = m->first_row + tl__bits_at(m->rows, i, m->row_width);
    else
        row = index + 1 < s->mini_count ? s->minis[index + 1].first_row : s->info->rows;
    return row > s->info->rows ? UINT32_MAX : (uint32_t)row;
}

/* The last mini-page that begins at or before the merchant, which is not before the first. */
static uint32_t mini_of(const struct tl_segment *s, int64_t merchant)
{
    uint32_t a = 0, b = s->mini_count;
    while (b - a > 1) {
        uint32_t mid = (a + b) / 2;
        if (s->mini_merchants[mid] <= merchant)
            a = mid;
        else
            b = mid;
    }
    return a;
}

bool tl__merchant_page_of(const struct tl_segment *s, int64_t merchant, uint32_t *page)
{
    if (s->mini_count == 0 || merchant > s->info->max_merchant || merchant < s->mini_merchants[0])
        return false;
    *page = mini_of(s, merchant) / PAGE_MINIS;
    return true;
}

enum tl_code tl_segment_find_merchant(const struct tl_segment *s, int64_t merchant, uint32_t *lo,
                                      uint32_t *hi, struct tl_status *st)
{
    if (s->mini_count == 0 || merchant > s->info->max_merchant) {
        *lo = *hi = s->info->rows;
        return TL_OK;
    }
    if (merchant < s->mini_merchants[0]) {
        *lo = *hi = 0;
        return TL_OK;
    }
    uint32_t a = mini_of(s, merchant);
    struct mini m;
    enum tl_code rc = mini_open(s, a, &m, st);
    if (rc)
        return rc;
    uint64_t wanted = (uint64_t)merchant - m.first_merchant;
    uint32_t i = 0, end = m.count;
    while (i < end) {
        uint32_t mid = (i + end) / 2;
        if (tl__bits_at(m.merchants, mid, m.merchant_width) < wanted)
            i = mid + 1;
        else
            end = mid;
    }
    bool found = i < m.count && tl__bits_at(m.merchants, i, m.merchant_width) == wanted;
    uint32_t first = mini_row(s, a, &m, i);
    uint32_t last = found ? mini_row(s, a, &m, i + 1) : first;
    mini_close(s, &m);
    if (first > last || last == UINT32_MAX || (found && first == last))
        return TL_FAIL(st, TL_CORRUPT, "merchant index: rows [%u, %u)", first, last);
    *lo = first;
    *hi = last;
    return TL_OK;
}

enum tl_code tl_segment_merchants(const struct tl_segment *s, uint32_t index, uint32_t count,
                                  int64_t *merchants, uint32_t *first_rows, struct tl_status *st)
{
    tl_assert(index <= s->info->merchants && count <= s->info->merchants - index);
    uint32_t last = 0;
    for (uint32_t done = 0; done < count;) {
        uint32_t at = index + done, page = at / MINI_MERCHANTS, i = at % MINI_MERCHANTS;
        struct mini m;
        enum tl_code rc = mini_open(s, page, &m, st);
        if (rc)
            return rc;
        for (; i < m.count && done < count; i++, done++) {
            uint32_t row = mini_row(s, page, &m, i);
            merchants[done] =
                (int64_t)(m.first_merchant + tl__bits_at(m.merchants, i, m.merchant_width));
            if (row == UINT32_MAX ||
                (done > 0 && (row <= last || merchants[done] <= merchants[done - 1]))) {
                mini_close(s, &m);
                return TL_FAIL(st, TL_CORRUPT, "merchant index: entry %u does not ascend",
                               index + done);
            }
            first_rows[done] = last = row;
        }
        if (done == count) {
            first_rows[count] = mini_row(s, page, &m, i);
            if (first_rows[count] == UINT32_MAX || first_rows[count] <= last) {
                mini_close(s, &m);
                return TL_FAIL(st, TL_CORRUPT, "merchant index: entry %u does not ascend",
                               index + done);
            }
        }
        mini_close(s, &m);
    }
    if (count == 0)
        first_rows[0] = 0;
    return TL_OK;
}

/* ---- times ---- */

enum tl_code tl_segment_find_ts(const struct tl_segment *s, uint32_t lo, uint32_t hi, int64_t ts_us,
                                uint32_t *row, struct tl_status *st)
{
    const struct tl_column *column = tl_segment_column(s, TL_COLUMN_TS);
    tl_assert(column != NULL && lo <= hi && hi <= s->info->rows);
    const struct tl__column *c = tl__column_of(column);
    if (lo == hi || ts_us <= column->min || ts_us > column->max) {
        *row = lo < hi && ts_us > column->max ? hi : lo;
        return TL_OK;
    }
    /* A block wholly inside holds this merchant alone: its minimum is its first ts. The answer
     * is in the first block whose successor (still inside) begins at or behind ts_us, or there
     * where that one begins. */
    uint32_t a = lo >> TL_BLOCK_SHIFT, last = (hi - 1) >> TL_BLOCK_SHIFT, b = last;
    while (a < b) {
        uint32_t mid = (a + b + 1) / 2;
        bool inside =
            mid < last || tl__block_rows(s->info->rows, mid) == hi - (mid << TL_BLOCK_SHIFT);
        /* Only the last block can reach beyond the merchant; its first row still is his. */
        int64_t first = c->blocks[mid].min;
        if (!inside) {
            struct tl_cursor cur;
            struct tl_vector v;
            int64_t value;
            uint64_t validity;
            struct tl_vector_buffer buffer = {&value, &validity};
            uint32_t at = mid << TL_BLOCK_SHIFT;
            enum tl_code rc = tl_cursor_init(&cur, column, NULL, NULL, NULL, st);
            if (!rc)
                rc = tl_cursor_read(&cur, at, at + 1, &buffer, &v, st);
            if (!rc)
                first = *(const int64_t *)v.data;
            tl_cursor_close(&cur);
            if (rc)
                return rc;
        }
        if (first < ts_us)
            a = mid;
        else
            b = mid - 1;
    }
    uint32_t from = a << TL_BLOCK_SHIFT, to = from + TL_BLOCK_ROWS;
    if (from < lo)
        from = lo;
    if (to > hi || to < from)
        to = hi;

    int64_t values[TL_VECTOR_ROWS_MAX];
    uint64_t validity[TL_VECTOR_ROWS_MAX / 64];
    struct tl_vector_buffer buffer = {values, validity};
    struct tl_cursor cur;
    enum tl_code rc = tl_cursor_init(&cur, column, NULL, NULL, NULL, st);
    /* Halves while the range is large, one row each, then decodes the rest at once. */
    while (!rc && to - from > TL_VECTOR_ROWS_MAX / 4) {
        uint32_t mid = from + (to - from) / 2;
        struct tl_vector v;
        rc = tl_cursor_read(&cur, mid, mid + 1, &buffer, &v, st);
        if (!rc && *(const int64_t *)v.data < ts_us)
            from = mid + 1;
        else
            to = mid;
    }
    struct tl_vector v;
    if (!rc && from < to)
        rc = tl_cursor_read(&cur, from, to, &buffer, &v, st);
    if (!rc && from < to) {
        const int64_t *ts = v.data;
        uint32_t i = 0, end = to - from;
        if (v.shape == TL_CONST)
            i = ts[0] < ts_us ? end : 0;
        else
            while (i < end && ts[i] < ts_us)
                i++;
        from += i;
    }
    tl_cursor_close(&cur);
    if (rc)
        return rc;
    *row = from;
    return TL_OK;
}
