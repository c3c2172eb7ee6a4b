/*
 * Writing mapped columns: what the writer keeps of the columns that others are mapped by, and the
 * map of the column in flight.
 *
 * Of a parent that is not mapped itself its stored blocks are kept as they went out (a fraction of
 * a byte per row); of one that is, its map and its exceptions. The keys of a block's rows are
 * made from these when a child's block is finished.
 *
 * A map's entry is what the child has in the first row of the parent's code. Codes come in order
 * of first appearance, so entries are made in their order; rows that differ become exceptions.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "storage/pack_int.h"

static enum tl_code charge(struct tl__maps *m, size_t size, struct tl_status *st)
{
    if (m->budget) {
        enum tl_code rc = tl_budget_charge(m->budget, size, st);
        if (rc)
            return rc;
    }
    m->charged += size;
    return TL_OK;
}

static enum tl_code no_memory(struct tl_status *st)
{
    return TL_FAIL(st, TL_LIMIT, "no memory for the map of a column");
}

void tl__maps_reset(struct tl__maps *m)
{
    for (uint32_t i = 0; i < m->kept_count; i++) {
        free(m->kept[i].blocks);
        free(m->kept[i].map);
        tl_buffer_deinit(&m->kept[i].bytes);
    }
    free(m->kept);
    free(m->map);
    if (m->budget && m->charged > 0)
        tl_budget_release(m->budget, m->charged);
    *m = (struct tl__maps){.budget = m->budget, .pack_key = m->pack_key, .parent = UINT32_MAX};
}

static uint32_t find(const struct tl__maps *m, uint32_t column_id)
{
    uint32_t i = 0;
    while (i < m->kept_count && m->kept[i].column_id != column_id)
        i++;
    return i < m->kept_count ? i : UINT32_MAX;
}

enum tl_code tl__maps_column(struct tl__maps *m, uint32_t rows, uint32_t column_id,
                             uint32_t parent_id, bool keep, struct tl_status *st)
{
    m->rows = rows;
    m->parent = parent_id ? find(m, parent_id) : UINT32_MAX;
    m->map_count = 0;
    m->keep = keep;
    tl_assert(parent_id == 0 || m->parent != UINT32_MAX);
    if (!keep)
        return TL_OK;
    uint32_t blocks = tl__block_count(rows);
    enum tl_code rc = charge(m, blocks * sizeof(struct tl__kept_block) + sizeof(*m->kept), st);
    if (rc)
        return rc;
    struct tl__kept *kept = realloc(m->kept, (m->kept_count + 1) * sizeof(*kept));
    if (!kept)
        return no_memory(st);
    m->kept = kept;
    struct tl__kept *k = &kept[m->kept_count];
    *k = (struct tl__kept){.column_id = column_id, .parent = m->parent};
    tl_buffer_init(&k->bytes, "blocks of a parent", SIZE_MAX / 2);
    k->blocks = calloc(blocks, sizeof(*k->blocks));
    if (!k->blocks)
        return no_memory(st);
    m->kept_count++;
    return TL_OK;
}

enum tl_code tl__maps_keep(struct tl__maps *m, const struct tl__block *b, struct tl_slice stored,
                           struct tl_status *st)
{
    struct tl__kept *k = &m->kept[m->kept_count - 1];
    size_t before = k->bytes.capacity;
    k->blocks[k->block_count++] = (struct tl__kept_block){.stat = *b, .at = k->bytes.size};
    tl_buffer_put(&k->bytes, stored.data, stored.size);
    enum tl_code rc = tl_buffer_check(&k->bytes, st);
    return rc ? rc : charge(m, k->bytes.capacity - before, st);
}

void tl__maps_column_end(struct tl__maps *m, uint32_t distinct)
{
    if (!m->keep)
        return;
    struct tl__kept *k = &m->kept[m->kept_count - 1];
    k->distinct = distinct;
    if (k->parent == UINT32_MAX)
        return;
    k->map = m->map;
    k->map_count = m->map_count;
    m->map = NULL;
    m->map_count = m->map_capacity = 0;
}

/* Reads the stored block, or exceptions, of a kept column. */
static enum tl_code read_block(const struct tl__maps *m, const struct tl__kept *k, uint32_t block,
                               uint32_t *values, uint64_t *validity, struct tl_status *st)
{
    const struct tl__kept_block *b = &k->blocks[block];
    bool mapped = k->parent != UINT32_MAX;
    struct tl_block_expect expect = {.kind = TL_TEXT,
                                     .rows = tl__block_rows(m->rows, block),
                                     .nulls = mapped ? 0 : b->stat.nulls,
                                     .codes = k->distinct + (mapped ? 2 : 0),
                                     .pack_key = m->pack_key,
                                     .offset = b->stat.offset};
    struct tl_slice stored = tl_slice_of(k->bytes.data + b->at, b->stat.size);
    struct tl_decoder *d = tl_block_decoder(st);
    if (!d)
        return st->code;
    size_t size;
    struct tl_buffer image;
    tl_buffer_init(&image, "block of a parent", TL_BLOCK_BYTES_MAX);
    enum tl_code rc = tl_block_measure(stored, &expect, &size, st);
    uint8_t *to = rc ? NULL : tl_buffer_reserve(&image, size);
    if (!rc)
        rc = to ? tl_block_inflate(d, stored, &expect, to, size, st) : tl_buffer_check(&image, st);
    if (!rc) {
        struct tl_block_view view = tl_block_open(to);
        tl_block_read(d, &view, TL_TEXT, 0, expect.rows, values);
        tl_block_read_validity(d, &view, 0, expect.rows, validity);
    }
    tl_buffer_deinit(&image);
    return rc;
}

/* The keys of a block's rows in a column that is not mapped. */
static enum tl_code root_keys(const struct tl__maps *m, const struct tl__kept *k, uint32_t block,
                              uint32_t *keys, struct tl_status *st)
{
    const struct tl__block *b = &k->blocks[block].stat;
    uint32_t rows = tl__block_rows(m->rows, block);
    if (b->size == 0) {
        tl__fill_constant(TL_TEXT, b->nulls ? 0 : b->min + 1, keys, rows);
        return TL_OK;
    }
    uint64_t validity[TL_BLOCK_ROWS / 64];
    enum tl_code rc = read_block(m, k, block, keys, validity, st);
    for (uint32_t i = 0; !rc && i < rows; i++)
        keys[i] = tl_bit_get(validity, i) ? keys[i] + 1 : 0;
    return rc;
}

static enum tl_code column_keys(struct tl__maps *m, const struct tl__kept *k, uint32_t block,
                                uint32_t *keys, struct tl_status *st)
{
    /* From the root down: chain[0] is the column itself. */
    const struct tl__kept *chain[TL_MAP_DEPTH_MAX];
    uint32_t depth = 0;
    for (;; k = &m->kept[k->parent]) {
        tl_assert(depth < TL_MAP_DEPTH_MAX);
        chain[depth++] = k;
        if (k->parent == UINT32_MAX)
            break;
    }
    uint32_t rows = tl__block_rows(m->rows, block);
    enum tl_code rc = root_keys(m, chain[--depth], block, keys, st);
    while (!rc && depth-- > 0) {
        k = chain[depth];
        const uint32_t *map = k->map;
        const struct tl__block *b = &k->blocks[block].stat;
        if (b->size == 0 && (b->nulls == rows || (b->nulls == 0 && b->min == b->max))) {
            tl__fill_constant(TL_TEXT, b->nulls ? 0 : b->min + 1, keys, rows);
            continue;
        }
        for (uint32_t i = 0; i < rows; i++)
            keys[i] = keys[i] ? map[keys[i] - 1] : 0;
        if (b->size == 0)
            continue;
        uint64_t validity[TL_BLOCK_ROWS / 64];
        rc = read_block(m, k, block, m->scratch, validity, st);
        for (uint32_t i = 0; !rc && i < rows; i++)
            keys[i] = m->scratch[i] ? m->scratch[i] - 1 : keys[i];
    }
    return rc;
}

static enum tl_code map_grow(struct tl__maps *m, struct tl_status *st)
{
    uint32_t capacity = m->kept[m->parent].distinct;
    enum tl_code rc = charge(m, (size_t)(capacity - m->map_capacity) * sizeof(*m->map), st);
    if (rc)
        return rc;
    uint32_t *map = realloc(m->map, (size_t)capacity * sizeof(*map));
    if (!map)
        return no_memory(st);
    m->map = map;
    m->map_capacity = capacity;
    return TL_OK;
}

enum tl_code tl__maps_predict(struct tl__maps *m, uint32_t block, const uint32_t *codes,
                              const uint64_t *validity, uint32_t *exceptions, uint32_t *count,
                              struct tl_status *st)
{
    const struct tl__kept *parent = &m->kept[m->parent];
    uint32_t rows = tl__block_rows(m->rows, block), found = 0;
    enum tl_code rc = m->map_capacity < parent->distinct ? map_grow(m, st) : TL_OK;
    if (!rc)
        rc = column_keys(m, parent, block, m->keys, st);
    if (rc)
        return rc;
    uint32_t *map = m->map, entries = m->map_count;
    for (uint32_t i = 0; i < rows; i++) {
        uint32_t key = m->keys[i], mine = codes[i] + 1;
        if (validity && !tl_bit_get(validity, i))
            mine = 0;
        if (key > entries) {
            tl_assert(key == entries + 1 && key <= parent->distinct);
            map[entries++] = mine;
        }
        uint32_t told = key ? map[key - 1] : 0;
        exceptions[i] = told == mine ? 0 : mine + 1;
        found += told != mine;
    }
    m->map_count = entries;
    *count = found;
    return TL_OK;
}
