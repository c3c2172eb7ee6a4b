/*
 * Reading mapped columns: a row's key is what the map says for the key of its parent, unless the
 * column's own block, which holds the exceptions, says otherwise.
 *
 *     keys of the parent --map--> keys of the child --exceptions--> codes and validity
 *
 * Maps are read by the block of 8,192 entries. Such a block lies in the cache as an array of 1, 2
 * or 4 bytes an entry, so that a row costs one load, and a small merchant's slice nothing else.
 * The keys of parents are kept for the slice read last, and cursors that share them find them.
 *
 * A reader keeps at most SLOTS_MAX blocks of a map pinned: block b in slot b mod their number. A
 * slice's blocks are pinned before its rows are looked up, so that these need no test.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "storage/pack_int.h"

enum { SLOTS_MAX = 256 };

struct tl__map_reader {
    struct tl_parents own; /* where the cursor shares none */
    uint32_t slot_mask;    /* slots - 1: a power of two less 1 */
    uint32_t blocks[SLOTS_MAX];
    const uint8_t *entries[SLOTS_MAX]; /* of the slot's block; NULL: none */
    struct tl_cached *pins[SLOTS_MAX];
};

/* The keys of a parent. */
struct tl__parent {
    struct tl__parent *next;
    const struct tl__column *column;
    struct tl_cursor cursor;
    struct tl__window *window; /* past the cache */
    uint32_t lo, hi;           /* the rows whose keys these are */
    uint32_t keys[TL_VECTOR_ROWS_MAX];
    uint64_t validity[TL_VECTOR_ROWS_MAX / 64];
};

enum { PARENT_AHEAD_BYTES = 64 << 10 };

static enum tl_code no_memory(struct tl_status *st)
{
    return TL_FAIL(st, TL_LIMIT, "no memory to read a mapped column");
}

static void parent_free(struct tl__parent *p)
{
    tl_cursor_close(&p->cursor);
    if (p->window)
        tl__window_deinit(p->window);
    free(p->window);
    free(p);
}

void tl_parents_close(struct tl_parents *parents)
{
    for (struct tl__parent *p = parents->first, *next; p; p = next) {
        next = p->next;
        parent_free(p);
    }
    parents->first = NULL;
}

static enum tl_code parent_new(struct tl_parents *parents, const struct tl__column *column,
                               struct tl__parent **out, struct tl_status *st)
{
    struct tl__parent *p = calloc(1, sizeof(*p));
    if (!p)
        return no_memory(st);
    p->column = column;
    if (parents->past_cache) {
        p->window = calloc(1, sizeof(*p->window));
        if (!p->window) {
            free(p);
            return no_memory(st);
        }
        tl__window_init(p->window, column->pub.segment->pack, PARENT_AHEAD_BYTES);
    }
    enum tl_code rc = tl_cursor_init(&p->cursor, &column->pub, NULL, NULL, parents->stats, st);
    if (rc) {
        parent_free(p);
        return rc;
    }
    p->cursor.window = p->window;
    p->cursor.parents = parents;
    p->cursor.once = parents->once;
    p->next = parents->first;
    parents->first = p;
    *out = p;
    return TL_OK;
}

/* The keys of rows [lo, hi) of a column that is not mapped. */
static enum tl_code plain_keys(struct tl__parent *p, uint32_t lo, uint32_t hi, struct tl_status *st)
{
    struct tl_vector_buffer buffer = {p->keys, p->validity};
    struct tl_vector v;
    enum tl_code rc = tl_cursor_read(&p->cursor, lo, hi, &buffer, &v, st);
    if (rc)
        return rc;
    uint32_t n = hi - lo;
    if (v.shape == TL_CONST) {
        memset(p->keys, 0, n * sizeof(p->keys[0])); /* all NULL */
        return TL_OK;
    }
    for (uint32_t i = 0; i < n; i++)
        p->keys[i]++;
    for (uint32_t i = 0; v.validity && i < n; i++)
        if (!tl_bit_get(v.validity, i))
            p->keys[i] = 0;
    return TL_OK;
}

static enum tl_code parent_keys(struct tl_parents *parents, const struct tl__column *column,
                                uint32_t lo, uint32_t hi, const uint32_t **keys,
                                struct tl_status *st)
{
    struct tl__parent *p = parents->first;
    while (p && p->column != column)
        p = p->next;
    enum tl_code rc = p ? TL_OK : parent_new(parents, column, &p, st);
    if (rc)
        return rc;
    if (lo < p->lo || hi > p->hi) {
        p->lo = p->hi = 0;
        rc = column->parent ? tl__mapped_keys(&p->cursor, lo, hi, p->keys, st)
                            : plain_keys(p, lo, hi, st);
        if (rc)
            return rc;
        p->lo = lo;
        p->hi = hi;
    }
    *keys = p->keys + (lo - p->lo);
    return TL_OK;
}

/* ---- maps ---- */

static enum tl_code reader_open(struct tl_cursor *cur, const struct tl__column *c,
                                struct tl_status *st)
{
    struct tl__map_reader *r = calloc(1, sizeof(*r));
    if (!r)
        return no_memory(st);
    while (r->slot_mask + 1 < c->map_blocks && r->slot_mask + 1 < SLOTS_MAX)
        r->slot_mask = 2 * r->slot_mask + 1;
    memset(r->blocks, 0xff, sizeof(r->blocks));
    r->own = (struct tl_parents){
        .stats = cur->stats, .once = cur->once, .past_cache = cur->window != NULL};
    cur->map = r;
    return TL_OK;
}

void tl__map_reader_close(struct tl_cursor *cur)
{
    struct tl__map_reader *r = cur->map;
    if (!r)
        return;
    for (uint32_t i = 0; i <= r->slot_mask; i++)
        if (r->pins[i])
            tl__pin_release(cur->column->segment->pack, r->pins[i]);
    tl_parents_close(&r->own);
    free(r);
    cur->map = NULL;
}

/* The entries of a block are in its slot. */
static enum tl_code slot_fill(struct tl_cursor *cur, const struct tl__column *c, uint32_t block,
                              struct tl_status *st)
{
    struct tl__map_reader *r = cur->map;
    uint32_t slot = block & r->slot_mask;
    if (r->blocks[slot] == block)
        return TL_OK;
    struct tl_cached *pin;
    enum tl_code rc = tl__map_pin(c, block, cur->once, cur->window != NULL, cur->stats, &pin, st);
    if (rc)
        return rc;
    if (r->pins[slot])
        tl__pin_release(c->pub.segment->pack, r->pins[slot]);
    r->blocks[slot] = block;
    r->pins[slot] = pin;
    r->entries[slot] = pin->data;
    return TL_OK;
}

/* What is loaded for a key of 0 is thrown away; entry k - 1 of the map belongs to key k. */
#define LOOK_UP(type)                                                                              \
    do {                                                                                           \
        for (uint32_t i = 0; i < count; i++) {                                                     \
            uint32_t k = from[i], at = k - (k != 0);                                               \
            const type *t =                                                                        \
                (const type *)(const void *)r->entries[(at >> TL_BLOCK_SHIFT) & r->slot_mask];     \
            uint32_t x = t[at & (TL_BLOCK_ROWS - 1)];                                              \
            to[i] = k ? x : 0;                                                                     \
        }                                                                                          \
    } while (0)
#define LOOK_UP_ONE(type)                                                                          \
    do {                                                                                           \
        const type *t = (const type *)(const void *)r->entries[slot];                              \
        for (uint32_t i = 0; i < count; i++)                                                       \
            to[i] = t[from[i] - 1 - base];                                                         \
    } while (0)

/* All blocks that the keys need are in their slots. */
static void look_up(const struct tl__map_reader *r, uint32_t width, const uint32_t *from,
                    uint32_t count, uint32_t *to)
{
    if (width == 1)
        LOOK_UP(uint8_t);
    else if (width == 2)
        LOOK_UP(uint16_t);
    else
        LOOK_UP(uint32_t);
}

/* All keys are of one block, and none is 0. */
static void look_up_one(const struct tl__map_reader *r, uint32_t width, uint32_t block,
                        const uint32_t *from, uint32_t count, uint32_t *to)
{
    uint32_t slot = block & r->slot_mask, base = block << TL_BLOCK_SHIFT;
    if (width == 1)
        LOOK_UP_ONE(uint8_t);
    else if (width == 2)
        LOOK_UP_ONE(uint16_t);
    else
        LOOK_UP_ONE(uint32_t);
}

/* More blocks than there are slots between the least key and the greatest: row by row. */
static enum tl_code look_up_far(struct tl_cursor *cur, const struct tl__column *c,
                                const uint32_t *from, uint32_t count, uint32_t *to,
                                struct tl_status *st)
{
    for (uint32_t i = 0; i < count; i++) {
        enum tl_code rc = from[i] ? slot_fill(cur, c, (from[i] - 1) >> TL_BLOCK_SHIFT, st) : TL_OK;
        if (rc)
            return rc;
        look_up(cur->map, c->map_width, from + i, 1, to + i);
    }
    return TL_OK;
}

static enum tl_code map_keys(struct tl_cursor *cur, const struct tl__column *c,
                             const uint32_t *from, uint32_t count, uint32_t *to,
                             struct tl_status *st)
{
    struct tl__map_reader *r = cur->map;
    /* Places in the map are keys - 1; a key of 0 has the greatest place there is. */
    uint32_t least = UINT32_MAX, greatest = 0, farthest = 0, some = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t k = from[i], place = k - 1;
        least = place < least ? place : least;
        farthest = place > farthest ? place : farthest;
        greatest = k > greatest ? k : greatest;
    }
    bool none = farthest == UINT32_MAX;
    if (greatest == 0) {
        memset(to, 0, count * sizeof(*to));
        return TL_OK;
    }
    uint32_t first = least >> TL_BLOCK_SHIFT, last = (greatest - 1) >> TL_BLOCK_SHIFT;
    enum tl_code rc = TL_OK;
    if (first == last && !none) {
        rc = slot_fill(cur, c, first, st);
        if (!rc)
            look_up_one(r, c->map_width, first, from, count, to);
        return rc;
    }
    if (last - first > r->slot_mask)
        return look_up_far(cur, c, from, count, to, st);
    uint8_t needed[SLOTS_MAX] = {0};
    for (uint32_t i = 0; i < count; i++) {
        some = from[i] ? from[i] : some;
        needed[((some - 1) >> TL_BLOCK_SHIFT) & r->slot_mask] = some != 0;
    }
    for (uint32_t block = first; !rc && block <= last; block++)
        if (needed[block & r->slot_mask])
            rc = slot_fill(cur, c, block, st);
    /* A key of 0 looks into the first block's slot. */
    if (!rc && none && !r->entries[0])
        rc = slot_fill(cur, c, 0, st);
    if (!rc)
        look_up(r, c->map_width, from, count, to);
    return rc;
}

/* Rows [lo, hi) of one block, counted within it. */
static enum tl_code block_keys(struct tl_cursor *cur, const struct tl__column *c,
                               struct tl_parents *parents, uint32_t block, uint32_t lo, uint32_t hi,
                               uint32_t *keys, struct tl_status *st)
{
    uint32_t base = block << TL_BLOCK_SHIFT;
    const uint32_t *from;
    enum tl_code rc = parent_keys(parents, c->parent, base + lo, base + hi, &from, st);
    if (!rc)
        rc = map_keys(cur, c, from, hi - lo, keys, st);
    if (rc || c->blocks[block].size == 0)
        return rc;
    rc = tl__cursor_move(cur, c, block, st);
    struct tl_decoder *d = rc ? NULL : tl_block_decoder(st);
    if (!d)
        return st->code;
    uint32_t other[TL_VECTOR_ROWS_MAX];
    struct tl_block_view view = tl_block_open(cur->image);
    tl_block_read(d, &view, TL_TEXT, lo, hi, other);
    for (uint32_t i = 0; i < hi - lo; i++)
        keys[i] = other[i] ? other[i] - 1 : keys[i];
    return TL_OK;
}

enum tl_code tl__mapped_keys(struct tl_cursor *cur, uint32_t lo, uint32_t hi, uint32_t *keys,
                             struct tl_status *st)
{
    const struct tl__column *c = tl__column_of(cur->column);
    enum tl_code rc = cur->map ? TL_OK : reader_open(cur, c, st);
    if (rc)
        return rc;
    struct tl_parents *parents = cur->parents ? cur->parents : &cur->map->own;
    uint32_t first = lo >> TL_BLOCK_SHIFT, last = (hi - 1) >> TL_BLOCK_SHIFT;
    if (first != last) {
        /* The parent's keys come at once, so that the next child finds them all. */
        const uint32_t *from;
        rc = parent_keys(parents, c->parent, lo, hi, &from, st);
    }
    for (uint32_t block = first; !rc && block <= last; block++) {
        uint32_t base = block << TL_BLOCK_SHIFT;
        uint32_t a = lo > base ? lo - base : 0;
        uint32_t b = hi - base < TL_BLOCK_ROWS ? hi - base : TL_BLOCK_ROWS;
        uint32_t *to = keys + (base + a - lo);
        struct tl__told t = tl__told_of(c, block);
        if (t.constant)
            tl__fill_constant(TL_TEXT, t.null ? 0 : t.value + 1, to, b - a);
        else
            rc = block_keys(cur, c, parents, block, a, b, to, st);
    }
    return rc;
}

uint32_t tl__keys_to_codes(uint32_t *keys, uint32_t count, uint64_t *validity)
{
    uint32_t nulls = 0;
    for (uint32_t i = 0; i < count; i++)
        nulls += keys[i] == 0;
    for (uint32_t i = 0; nulls > 0 && i < count; i += 64) {
        uint64_t bits = 0;
        uint32_t m = count - i < 64 ? count - i : 64;
        for (uint32_t k = 0; k < m; k++)
            bits |= (uint64_t)(keys[i + k] != 0) << k;
        validity[i / 64] = bits;
    }
    for (uint32_t i = 0; i < count; i++)
        keys[i] -= keys[i] != 0;
    return nulls;
}
