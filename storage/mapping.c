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
 * A reader keeps at most SLOTS_MAX blocks of a map pinned: block b in slot b mod their number.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "storage/pack_int.h"

enum { SLOTS_MAX = 256 };

struct slot {
    uint32_t block; /* UINT32_MAX: none */
    struct tl_cached *pin;
    const uint8_t *entries;
};

struct tl__map_reader {
    struct tl_parents own; /* where the cursor shares none */
    uint32_t slot_count;
    struct slot slots[];
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
    uint32_t slots = c->map_blocks < SLOTS_MAX ? c->map_blocks : SLOTS_MAX;
    struct tl__map_reader *r = calloc(1, sizeof(*r) + slots * sizeof(r->slots[0]));
    if (!r)
        return no_memory(st);
    r->slot_count = slots;
    for (uint32_t i = 0; i < slots; i++)
        r->slots[i].block = UINT32_MAX;
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
    for (uint32_t i = 0; i < r->slot_count; i++)
        if (r->slots[i].pin)
            tl__pin_release(cur->column->segment->pack, r->slots[i].pin);
    tl_parents_close(&r->own);
    free(r);
    cur->map = NULL;
}

/* The entries of a block that has bytes on disk. */
static enum tl_code map_entries(struct tl_cursor *cur, const struct tl__column *c, uint32_t block,
                                const uint8_t **entries, struct tl_status *st)
{
    struct slot *s = &cur->map->slots[block % cur->map->slot_count];
    if (s->block != block) {
        struct tl_cached *pin;
        enum tl_code rc =
            tl__map_pin(c, block, cur->once, cur->window != NULL, cur->stats, &pin, st);
        if (rc)
            return rc;
        if (s->pin)
            tl__pin_release(c->pub.segment->pack, s->pin);
        *s = (struct slot){block, pin, pin->data};
    }
    *entries = s->entries;
    return TL_OK;
}

/* Keys of the parent, which are 0 or of one block of the map, become keys of the child. */
static void map_block(const struct tl__column *c, const uint8_t *entries, uint32_t first,
                      const uint32_t *from, uint32_t count, uint32_t *to)
{
    /* Entry k of the block belongs to key first + k + 1; for 0, what is loaded is thrown away. */
    switch (c->map_width) {
    case 1:
        for (uint32_t i = 0; i < count; i++) {
            uint32_t k = from[i], at = k ? k - 1 - first : 0;
            to[i] = k ? entries[at] : 0;
        }
        break;
    case 2:
        for (uint32_t i = 0; i < count; i++) {
            uint32_t k = from[i], at = k ? k - 1 - first : 0;
            uint32_t x = ((const uint16_t *)(const void *)entries)[at];
            to[i] = k ? x : 0;
        }
        break;
    default:
        for (uint32_t i = 0; i < count; i++) {
            uint32_t k = from[i], at = k ? k - 1 - first : 0;
            uint32_t x = ((const uint32_t *)(const void *)entries)[at];
            to[i] = k ? x : 0;
        }
    }
}

static uint32_t entry_at(const struct tl__column *c, const uint8_t *entries, uint32_t i)
{
    switch (c->map_width) {
    case 1:
        return entries[i];
    case 2:
        return ((const uint16_t *)(const void *)entries)[i];
    default:
        return ((const uint32_t *)(const void *)entries)[i];
    }
}

static enum tl_code map_keys(struct tl_cursor *cur, const struct tl__column *c,
                             const uint32_t *from, uint32_t count, uint32_t *to,
                             struct tl_status *st)
{
    uint32_t least = UINT32_MAX, greatest = 0; /* of keys - 1: a 0 becomes the greatest */
    for (uint32_t i = 0; i < count; i++) {
        uint32_t k = from[i];
        least = k - 1 < least ? k - 1 : least;
        greatest = k > greatest ? k : greatest;
    }
    if (greatest == 0) {
        memset(to, 0, count * sizeof(*to));
        return TL_OK;
    }
    uint32_t first = least >> TL_BLOCK_SHIFT, last = (greatest - 1) >> TL_BLOCK_SHIFT;
    const uint8_t *entries = NULL;
    if (first == last) {
        if (c->map[first].size == 0) {
            for (uint32_t i = 0; i < count; i++)
                to[i] = from[i] ? c->map[first].value : 0;
            return TL_OK;
        }
        enum tl_code rc = map_entries(cur, c, first, &entries, st);
        if (!rc)
            map_block(c, entries, first << TL_BLOCK_SHIFT, from, count, to);
        return rc;
    }
    uint32_t now = UINT32_MAX;
    for (uint32_t i = 0; i < count; i++) {
        if (from[i] == 0) {
            to[i] = 0;
            continue;
        }
        uint32_t at = from[i] - 1, block = at >> TL_BLOCK_SHIFT;
        if (c->map[block].size == 0) {
            to[i] = c->map[block].value;
            continue;
        }
        if (block != now) {
            enum tl_code rc = map_entries(cur, c, block, &entries, st);
            if (rc)
                return rc;
            now = block;
        }
        to[i] = entry_at(c, entries, at & (TL_BLOCK_ROWS - 1));
    }
    return TL_OK;
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
