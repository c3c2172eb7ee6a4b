/*
 * Units of a pack (blocks, string pages, merchant pages) on their way from the disk: found in the
 * cache, or read, verified, inflated, proved and put there. What the cache holds is always the
 * image that was proved, so that nothing is verified twice.
 *
 * A window does the same for readers that touch everything once and would only wash the cache
 * out: it reads neighbours ahead and keeps one image.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "storage/pack_int.h"

#define NOTE_PRIVATE 1 /* in note[0]; entries of the cache have 0 there */

/* Without a cache, or when the cache is full of pinned entries, an entry is private to its
 * holder. */
static enum tl_code private_new(size_t size, struct tl_cached **out, struct tl_status *st)
{
    struct tl_cached *e =
        aligned_alloc(16, (sizeof(*e) + size + TL_PAYLOAD_PAD + 31) & ~(size_t)15);
    if (!e)
        return TL_FAIL(st, TL_LIMIT, "no memory for a block of %zu bytes", size);
    *e = (struct tl_cached){.data = (uint8_t *)e + ((sizeof(*e) + 15) & ~(size_t)15),
                            .size = size,
                            .note = {NOTE_PRIVATE, 0}};
    memset(e->data + size, 0, TL_PAYLOAD_PAD);
    *out = e;
    return TL_OK;
}

bool tl__pin_private(const struct tl_cached *pin)
{
    return pin->note[0] == NOTE_PRIVATE;
}

static struct tl_cached *pin_lookup(struct tl_pack *p, uint64_t offset, bool once)
{
    if (!p->cache)
        return NULL;
    return once ? tl_cache_glance(p->cache, p->key, offset)
                : tl_cache_get(p->cache, p->key, offset);
}

void tl__pin_release(struct tl_pack *p, struct tl_cached *pin)
{
    if (tl__pin_private(pin))
        free(pin);
    else
        tl_cache_unpin(p->cache, pin);
}

/* ---- what kinds of units there are ---- */

/* A unit to be read: exactly one of column (with block or page) and segment is meant by kind. */
struct unit {
    enum { UNIT_BLOCK, UNIT_MAP, UNIT_PAGE, UNIT_MERCHANTS } kind;
    struct tl_pack *pack;
    const struct tl__column *column;
    uint32_t index;
    uint64_t offset;
    uint32_t size;
    bool past_cache; /* what is read is private to the reader */
};

static struct unit block_unit(const struct tl__column *c, uint32_t block)
{
    return (struct unit){.kind = UNIT_BLOCK,
                         .pack = c->pub.segment->pack,
                         .column = c,
                         .index = block,
                         .offset = c->blocks[block].offset,
                         .size = c->blocks[block].size};
}

static struct unit map_unit(const struct tl__column *c, uint32_t block)
{
    return (struct unit){.kind = UNIT_MAP,
                         .pack = c->pub.segment->pack,
                         .column = c,
                         .index = block,
                         .offset = c->map[block].offset,
                         .size = c->map[block].size};
}

static struct unit page_unit(const struct tl__column *c, uint32_t page)
{
    return (struct unit){.kind = UNIT_PAGE,
                         .pack = c->pub.segment->pack,
                         .column = c,
                         .index = page,
                         .offset = c->pages[page].offset,
                         .size = c->pages[page].size};
}

static enum tl_code check_hash(const struct unit *u, struct tl_slice stored, const char *what,
                               struct tl_status *st)
{
    if (!tl_unit_hash_is(tl_get_u64le(stored.data), stored.data + UNIT_HASH_BYTES,
                         stored.size - UNIT_HASH_BYTES, u->pack->key, u->offset))
        return TL_FAIL(st, TL_CORRUPT, "%s at %llu does not match its checksum", what,
                       (unsigned long long)u->offset);
    return TL_OK;
}

static struct tl_slice behind_hash(struct tl_slice stored)
{
    return tl_slice_of(stored.data + UNIT_HASH_BYTES, stored.size - UNIT_HASH_BYTES);
}

/* Verifies the stored bytes and answers with the size of their image. */
static enum tl_code unit_measure(const struct unit *u, struct tl_slice stored, size_t *size,
                                 struct tl_status *st)
{
    enum tl_code rc;
    switch (u->kind) {
    case UNIT_BLOCK: {
        struct tl_block_expect expect = tl__column_expect(u->column, u->index);
        return tl_block_measure(stored, &expect, size, st);
    }
    case UNIT_MAP: {
        struct tl_block_expect expect = tl__map_expect(u->column, u->index);
        rc = tl_block_measure(stored, &expect, size, st);
        *size = (size_t)expect.rows * u->column->map_width;
        return rc;
    }
    case UNIT_PAGE:
        rc = check_hash(u, stored, "string page", st);
        return rc ? rc : tl_strings_inflated_size(behind_hash(stored), size, st);
    default:
        rc = check_hash(u, stored, "merchant page", st);
        *size = stored.size - UNIT_HASH_BYTES + 16;
        return rc;
    }
}

static void map_put(const struct tl__column *c, uint8_t *image, uint32_t i, uint32_t value)
{
    switch (c->map_width) {
    case 1:
        image[i] = (uint8_t)value;
        break;
    case 2:
        ((uint16_t *)(void *)image)[i] = (uint16_t)value;
        break;
    default:
        ((uint32_t *)(void *)image)[i] = value;
    }
}

/* The entries of a block of a map that stands in the index alone. */
static enum tl_code map_constant(const struct tl__column *c, uint32_t block, struct tl_cached **out,
                                 struct tl_status *st)
{
    uint32_t entries = tl__block_rows(c->map_entries, block);
    enum tl_code rc = private_new((size_t)entries * c->map_width, out, st);
    for (uint32_t i = 0; !rc && i < entries; i++)
        map_put(c, (*out)->data, i, c->map[block].value);
    return rc;
}

/* A block of a map becomes an array of narrow entries. */
static enum tl_code map_inflate(struct tl_decoder *d, const struct unit *u, struct tl_slice stored,
                                uint8_t *image, struct tl_status *st)
{
    struct tl_block_expect expect = tl__map_expect(u->column, u->index);
    struct tl_buffer inflated;
    size_t size;
    tl_buffer_init(&inflated, "block of a map", TL_BLOCK_BYTES_MAX);
    enum tl_code rc = tl_block_measure(stored, &expect, &size, st);
    uint8_t *from = rc ? NULL : tl_buffer_reserve(&inflated, size);
    if (!rc)
        rc = from ? tl_block_inflate(d, stored, &expect, from, size, st)
                  : tl_buffer_check(&inflated, st);
    for (uint32_t lo = 0; !rc && lo < expect.rows; lo += TL_VECTOR_ROWS_MAX) {
        uint32_t values[TL_VECTOR_ROWS_MAX];
        uint32_t n = expect.rows - lo < TL_VECTOR_ROWS_MAX ? expect.rows - lo : TL_VECTOR_ROWS_MAX;
        struct tl_block_view view = tl_block_open(from);
        tl_block_read(d, &view, TL_TEXT, lo, lo + n, values);
        for (uint32_t i = 0; i < n; i++)
            map_put(u->column, image, lo + i, values[i]);
    }
    tl_buffer_deinit(&inflated);
    return rc;
}

static enum tl_code unit_inflate(const struct unit *u, struct tl_slice stored, uint8_t *image,
                                 size_t size, struct tl_status *st)
{
    if (u->kind == UNIT_MERCHANTS) {
        memcpy(image, stored.data + UNIT_HASH_BYTES, stored.size - UNIT_HASH_BYTES);
        memset(image + stored.size - UNIT_HASH_BYTES, 0, 16);
        return TL_OK;
    }
    struct tl_decoder *d = tl_block_decoder(st);
    if (!d)
        return st->code;
    if (u->kind == UNIT_BLOCK) {
        struct tl_block_expect expect = tl__column_expect(u->column, u->index);
        return tl_block_inflate(d, stored, &expect, image, size, st);
    }
    if (u->kind == UNIT_MAP)
        return map_inflate(d, u, stored, image, st);
    enum tl_code rc = tl_strings_inflate(d, behind_hash(stored), image, size, st);
    const struct tl__page *p = &u->column->pages[u->index];
    if (!rc && tl_strings_count(image) != p[1].first_code - p[0].first_code)
        return TL_FAIL(st, TL_CORRUPT, "string page holds %u strings, its index says %u",
                       tl_strings_count(image), p[1].first_code - p[0].first_code);
    return rc;
}

/* Verified bytes become an entry of the cache, or, when that is full, a private one. */
static enum tl_code unit_publish(const struct unit *u, struct tl_slice stored, bool cached_only,
                                 struct tl_cached **out, struct tl_status *st)
{
    struct tl_cache *cache = u->past_cache ? NULL : u->pack->cache;
    struct tl_cached *e = NULL;
    size_t size = 0;
    enum tl_code rc = unit_measure(u, stored, &size, st);
    if (rc)
        return rc;
    if (cache) {
        rc = tl_cache_begin(cache, u->pack->key, u->offset, size, &e, st);
        if (rc == TL_LIMIT && !cached_only) {
            tl_status_clear(st);
            cache = NULL;
        } else if (rc) {
            return rc;
        }
    }
    if (!cache) {
        rc = private_new(size, &e, st);
        if (rc)
            return rc;
    }
    rc = unit_inflate(u, stored, e->data, size, st);
    if (rc) {
        if (cache)
            tl_cache_cancel(cache, e);
        else
            free(e);
        return rc;
    }
    *out = cache ? tl_cache_publish(cache, e) : e;
    return TL_OK;
}

static enum tl_code unit_pin(const struct unit *u, bool once, struct tl_read_stats *stats,
                             struct tl_cached **out, struct tl_status *st)
{
    if (stats)
        stats->blocks++;
    struct tl_cached *pin = pin_lookup(u->pack, u->offset, once);
    if (pin) {
        *out = pin;
        return TL_OK;
    }
    struct tl_buffer stored;
    tl_buffer_init(&stored, "block", PAGE_BYTES_MAX);
    uint8_t *to = tl_buffer_reserve(&stored, u->size);
    enum tl_code rc = tl_buffer_check(&stored, st);
    if (!rc)
        rc = tl_io_read(u->pack->file, u->offset, to, u->size, st);
    if (!rc)
        rc = unit_publish(u, tl_slice_of(to, u->size), false, out, st);
    tl_buffer_deinit(&stored);
    if (rc) {
        tl_status_wrap(st, "pack %s", tl_io_name(u->pack->file));
        return rc;
    }
    if (stats) {
        stats->reads++;
        stats->blocks_disk++;
        stats->bytes_disk += u->size;
    }
    return TL_OK;
}

enum tl_code tl__block_pin(const struct tl__column *c, uint32_t block, bool once,
                           struct tl_read_stats *stats, struct tl_cached **out,
                           struct tl_status *st)
{
    struct unit u = block_unit(c, block);
    tl_assert(u.size > 0);
    return unit_pin(&u, once, stats, out, st);
}

enum tl_code tl__map_pin(const struct tl__column *c, uint32_t block, bool once, bool past_cache,
                         struct tl_read_stats *stats, struct tl_cached **out, struct tl_status *st)
{
    struct unit u = map_unit(c, block);
    u.past_cache = past_cache;
    if (u.size == 0)
        return map_constant(c, block, out, st);
    return unit_pin(&u, once, stats, out, st);
}

enum tl_code tl__page_pin(const struct tl__column *c, uint32_t page, struct tl_read_stats *stats,
                          struct tl_cached **out, struct tl_status *st)
{
    struct unit u = page_unit(c, page);
    return unit_pin(&u, false, stats, out, st);
}

static struct unit merchants_unit(const struct tl_segment *s, uint32_t page)
{
    return (struct unit){.kind = UNIT_MERCHANTS,
                         .pack = s->pack,
                         .index = page,
                         .offset = s->merchant_pages[page],
                         .size = (uint32_t)(s->merchant_pages[page + 1] - s->merchant_pages[page])};
}

enum tl_code tl__merchant_page_pin(const struct tl_segment *s, uint32_t page,
                                   struct tl_cached **out, struct tl_status *st)
{
    struct unit u = merchants_unit(s, page);
    return unit_pin(&u, false, NULL, out, st);
}

enum tl_code tl__merchant_page_put(const struct tl_segment *s, uint32_t page,
                                   struct tl_slice stored, struct tl_status *st)
{
    if (!s->pack->cache)
        return TL_OK;
    struct unit u = merchants_unit(s, page);
    tl_assert(stored.size == u.size);
    struct tl_cached *pin = NULL;
    enum tl_code rc = unit_publish(&u, stored, true, &pin, st);
    if (!rc)
        tl__pin_release(s->pack, pin);
    if (rc != TL_LIMIT)
        return rc;
    tl_status_clear(st); /* it is read when it is asked for */
    return TL_OK;
}

/* ---- many at once ---- */

enum {
    BATCH_UNITS = 4096,       /* read at once; more becomes several batches */
    BATCH_BYTES = 8 << 20,    /* the same */
    GAP_BYTES = 16 << 10,     /* read over: another read costs more than these bytes */
    READ_BYTES_MAX = 1 << 20, /* of one request, unless a unit is larger */
    MAP_AHEAD_BLOCKS = 16     /* of a map, for one block of rows */
};

struct item {
    struct unit unit;
    uint32_t read; /* among the reads */
    struct tl_cached *pin;
};

struct tl_prefetch {
    struct tl_io *io; /* of the units; NULL: there are none */
    struct tl_read_stats *stats;
    struct item *items;
    uint32_t count, capacity;
    uint64_t size; /* of the units so far, gaps not counted */
    struct tl_io_read *reads;
    uint32_t read_count, read_capacity;
    uint8_t *bytes; /* whole pages, one read behind the other */
    size_t bytes_capacity;
    struct tl_io_queue *queue; /* the flight is in it; NULL: there is none */
    struct tl_io_flight flight;
};

static int item_cmp(const void *a, const void *b)
{
    const struct unit *x = &((const struct item *)a)->unit, *y = &((const struct item *)b)->unit;
    if (x->pack != y->pack)
        return ((uintptr_t)x->pack > (uintptr_t)y->pack) -
               ((uintptr_t)x->pack < (uintptr_t)y->pack);
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static uint64_t page_floor(uint64_t offset)
{
    return offset & ~(uint64_t)(TL_IO_PAGE_BYTES - 1);
}

static size_t page_ceil(size_t size)
{
    return (size + TL_IO_PAGE_BYTES - 1) & ~(size_t)(TL_IO_PAGE_BYTES - 1);
}

/* Orders the units, leaves out what was asked for twice, and makes neighbours one read. */
static enum tl_code plan_reads(struct tl_prefetch *p, struct tl_status *st)
{
    uint32_t kept = 0, n = 0;
    qsort(p->items, p->count, sizeof(p->items[0]), item_cmp);
    if (p->count > p->read_capacity) {
        free(p->reads);
        p->reads = calloc(p->count, sizeof(*p->reads));
        p->read_capacity = p->reads ? p->count : 0;
        if (!p->reads)
            return TL_FAIL(st, TL_LIMIT, "no memory to read ahead");
    }
    for (uint32_t i = 0; i < p->count; i++) {
        const struct unit *u = &p->items[i].unit;
        if (kept > 0 && item_cmp(&p->items[kept - 1], &p->items[i]) == 0)
            continue;
        struct tl_io_read *last = n > 0 ? &p->reads[n - 1] : NULL;
        uint64_t end = last ? last->offset + last->size : 0;
        if (last && last->file == u->pack->file && u->offset <= end + GAP_BYTES &&
            u->offset + u->size - last->offset <= READ_BYTES_MAX) {
            if (u->offset + u->size > end)
                last->size = (size_t)(u->offset + u->size - last->offset);
        } else {
            uint64_t offset = page_floor(u->offset);
            p->reads[n++] = (struct tl_io_read){.file = u->pack->file,
                                                .offset = offset,
                                                .size = (size_t)(u->offset - offset) + u->size,
                                                .whole_pages = true};
        }
        p->items[kept] = p->items[i];
        p->items[kept++].read = n - 1;
    }
    p->count = kept;
    p->read_count = n;
    size_t total = 0;
    for (uint32_t i = 0; i < n; i++)
        total += page_ceil(p->reads[i].size);
    if (total > p->bytes_capacity) {
        free(p->bytes);
        p->bytes = aligned_alloc(TL_IO_PAGE_BYTES, total);
        p->bytes_capacity = p->bytes ? total : 0;
        if (!p->bytes)
            return TL_FAIL(st, TL_LIMIT, "no memory to read %zu bytes ahead", total);
    }
    size_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        p->reads[i].buffer = p->bytes + at;
        at += page_ceil(p->reads[i].size);
    }
    if (p->stats) {
        p->stats->reads += n;
        p->stats->bytes_disk += total;
        p->stats->blocks += kept;
        p->stats->blocks_disk += kept;
    }
    return TL_OK;
}

/* Verifies what has come and puts it into the cache, pinned. */
static enum tl_code publish_all(struct tl_prefetch *p, struct tl_status *st)
{
    enum tl_code rc = TL_OK;
    for (uint32_t i = 0; !rc && i < p->count; i++) {
        struct item *item = &p->items[i];
        const struct tl_io_read *r = &p->reads[item->read];
        const uint8_t *from = (const uint8_t *)r->buffer + (item->unit.offset - r->offset);
        rc = unit_publish(&item->unit, tl_slice_of(from, item->unit.size), true, &item->pin, st);
        if (rc && rc != TL_LIMIT)
            tl_status_wrap(st, "pack %s", tl_io_name(item->unit.pack->file));
    }
    if (rc == TL_LIMIT) {
        /* The cache is full of pinned blocks: what is missing is read when it is needed. */
        tl_status_clear(st);
        rc = TL_OK;
    }
    return rc;
}

void tl_prefetch_clear(struct tl_prefetch *p)
{
    if (p->queue) {
        struct tl_status ignored = TL_STATUS_INIT;
        TL_IGNORE(tl_io_queue_wait(p->queue, &p->flight, NULL, &ignored));
        p->queue = NULL;
    }
    for (uint32_t i = 0; i < p->count; i++)
        if (p->items[i].pin)
            tl__pin_release(p->items[i].unit.pack, p->items[i].pin);
    p->count = p->read_count = 0;
    p->size = 0;
}

enum tl_code tl_prefetch_new(struct tl_prefetch **out, struct tl_status *st)
{
    struct tl_prefetch *p = calloc(1, sizeof(*p));
    if (!p)
        return TL_FAIL(st, TL_LIMIT, "no memory to read ahead");
    *out = p;
    return TL_OK;
}

void tl_prefetch_free(struct tl_prefetch *p)
{
    if (!p)
        return;
    tl_prefetch_clear(p);
    free(p->items);
    free(p->reads);
    free(p->bytes);
    free(p);
}

uint64_t tl_prefetch_size(const struct tl_prefetch *p)
{
    return p->size;
}

enum tl_code tl_prefetch_run(struct tl_prefetch *p, struct tl_read_stats *stats,
                             struct tl_status *st)
{
    tl_assert(!p->queue);
    p->stats = stats;
    enum tl_code rc = p->count > 0 ? plan_reads(p, st) : TL_OK;
    if (!rc && p->count > 0)
        rc = tl_io_read_batch(p->io, p->reads, p->read_count, st);
    if (!rc)
        rc = publish_all(p, st);
    tl_prefetch_clear(p);
    return rc;
}

enum tl_code tl_prefetch_begin(struct tl_prefetch *p, struct tl_io_queue *queue,
                               struct tl_read_stats *stats, struct tl_status *st)
{
    tl_assert(!p->queue);
    p->stats = stats;
    if (p->count == 0)
        return TL_OK;
    enum tl_code rc = plan_reads(p, st);
    if (rc) {
        tl_prefetch_clear(p);
        return rc;
    }
    tl_io_queue_begin(queue, &p->flight, p->reads, p->read_count);
    p->queue = queue;
    return TL_OK;
}

enum tl_code tl_prefetch_finish(struct tl_prefetch *p, bool *late, struct tl_status *st)
{
    *late = false;
    if (!p->queue)
        return TL_OK;
    enum tl_code rc = tl_io_queue_wait(p->queue, &p->flight, late, st);
    p->queue = NULL;
    return rc ? rc : publish_all(p, st);
}

static enum tl_code batch_add(struct tl_prefetch *b, struct unit u, struct tl_status *st)
{
    if (tl_cache_has(u.pack->cache, u.pack->key, u.offset))
        return TL_OK;
    if (b->count == BATCH_UNITS || b->size + u.size > BATCH_BYTES) {
        enum tl_code rc = tl_prefetch_run(b, b->stats, st);
        if (rc)
            return rc;
    }
    if (b->count == b->capacity) {
        uint32_t capacity = b->capacity ? b->capacity * 2 : 64;
        struct item *items = realloc(b->items, capacity * sizeof(*items));
        if (!items)
            return TL_FAIL(st, TL_LIMIT, "no memory to read ahead");
        b->items = items;
        b->capacity = capacity;
    }
    b->io = u.pack->io;
    b->items[b->count++] = (struct item){.unit = u};
    b->size += u.size;
    return TL_OK;
}

/* The blocks of one column that these rows lie in. */
static enum tl_code batch_add_rows(struct tl_prefetch *b, const struct tl__column *c,
                                   const struct tl_row_range *ranges, uint32_t range_count,
                                   struct tl_status *st)
{
    uint32_t next = 0; /* blocks before it were asked for */
    enum tl_code rc = TL_OK;
    for (uint32_t k = 0; !rc && k < range_count; k++) {
        tl_assert(ranges[k].lo <= ranges[k].hi && ranges[k].hi <= c->pub.rows);
        if (ranges[k].lo == ranges[k].hi)
            continue;
        uint32_t block = ranges[k].lo >> TL_BLOCK_SHIFT;
        uint32_t last = (ranges[k].hi - 1) >> TL_BLOCK_SHIFT;
        for (block = block > next ? block : next; !rc && block <= last; block++)
            if (c->blocks[block].size > 0)
                rc = batch_add(b, block_unit(c, block), st);
        next = last + 1 > next ? last + 1 : next;
    }
    return rc;
}

/* The blocks of its map that they may need: the parent's codes lie within its blocks' bounds.
 * Where those of one block are too far apart, what is needed is read when it is. */
static enum tl_code batch_add_map(struct tl_prefetch *b, const struct tl__column *c,
                                  const struct tl_row_range *ranges, uint32_t range_count,
                                  struct tl_status *st)
{
    uint32_t next = 0;
    uint64_t *asked = calloc(tl_bit_words(c->map_blocks), sizeof(*asked));
    if (!asked)
        return TL_FAIL(st, TL_LIMIT, "no memory to read ahead");
    enum tl_code rc = TL_OK;
    for (uint32_t k = 0; !rc && k < range_count; k++) {
        if (ranges[k].lo == ranges[k].hi)
            continue;
        uint32_t block = ranges[k].lo >> TL_BLOCK_SHIFT;
        uint32_t last = (ranges[k].hi - 1) >> TL_BLOCK_SHIFT;
        for (block = block > next ? block : next; !rc && block <= last; block++) {
            struct tl_block_stat s;
            tl_column_block(&c->parent->pub, block, &s);
            if (s.nulls == s.rows || tl__told_of(c, block).constant)
                continue;
            uint32_t from = (uint32_t)s.min >> TL_BLOCK_SHIFT;
            uint32_t to = (uint32_t)s.max >> TL_BLOCK_SHIFT;
            for (uint32_t m = from; !rc && to - from < MAP_AHEAD_BLOCKS && m <= to; m++) {
                if (c->map[m].size == 0 || tl_bit_get(asked, m))
                    continue;
                tl_bit_set(asked, m);
                rc = batch_add(b, map_unit(c, m), st);
            }
        }
        next = last + 1 > next ? last + 1 : next;
    }
    free(asked);
    return rc;
}

enum tl_code tl_prefetch_rows(struct tl_prefetch *b, const struct tl_segment *s,
                              const uint32_t *column_ids, uint32_t column_count,
                              const struct tl_row_range *ranges, uint32_t range_count,
                              struct tl_status *st)
{
    if (!s->pack->cache || s->column_count == 0)
        return TL_OK;
    uint64_t *asked = calloc(tl_bit_words(s->column_count), sizeof(*asked));
    if (!asked)
        return TL_FAIL(st, TL_LIMIT, "no memory to read ahead");
    enum tl_code rc = TL_OK;
    for (uint32_t i = 0; !rc && i < column_count; i++) {
        const struct tl_column *column = tl_segment_column(s, column_ids[i]);
        /* The column, then those above it. */
        for (const struct tl__column *c = column ? tl__column_of(column) : NULL; !rc && c;
             c = c->parent) {
            uint32_t place = (uint32_t)(c - s->columns);
            if (c->pub.constant || tl_bit_get(asked, place))
                break;
            tl_bit_set(asked, place);
            rc = batch_add_rows(b, c, ranges, range_count, st);
            if (!rc && c->parent)
                rc = batch_add_map(b, c, ranges, range_count, st);
        }
    }
    free(asked);
    return rc;
}

enum tl_code tl_prefetch_merchant(struct tl_prefetch *p, const struct tl_segment *s,
                                  int64_t merchant, struct tl_status *st)
{
    uint32_t page;
    if (!s->pack->cache || !tl__merchant_page_of(s, merchant, &page))
        return TL_OK;
    return batch_add(p, merchants_unit(s, page), st);
}

enum tl_code tl_segment_prefetch(const struct tl_segment *s, const uint32_t *column_ids,
                                 uint32_t column_count, const struct tl_row_range *ranges,
                                 uint32_t range_count, struct tl_read_stats *stats,
                                 struct tl_status *st)
{
    struct tl_prefetch *p = NULL;
    if (tl_prefetch_new(&p, st))
        return st->code;
    p->stats = stats;
    enum tl_code rc = tl_prefetch_rows(p, s, column_ids, column_count, ranges, range_count, st);
    if (!rc)
        rc = tl_prefetch_run(p, stats, st);
    tl_prefetch_free(p);
    return rc;
}

enum tl_code tl__pages_prefetch(const struct tl__column *c, const uint32_t *pages, uint32_t count,
                                struct tl_read_stats *stats, struct tl_status *st)
{
    struct tl_prefetch *p = NULL;
    if (!c->pub.segment->pack->cache)
        return TL_OK;
    if (tl_prefetch_new(&p, st))
        return st->code;
    p->stats = stats;
    enum tl_code rc = TL_OK;
    for (uint32_t i = 0; !rc && i < count; i++)
        rc = batch_add(p, page_unit(c, pages ? pages[i] : i), st);
    if (!rc)
        rc = tl_prefetch_run(p, stats, st);
    tl_prefetch_free(p);
    return rc;
}

/* ---- windows ---- */

void tl__window_init(struct tl__window *w, struct tl_pack *p, uint32_t ahead)
{
    *w = (struct tl__window){.pack = p, .ahead = ahead};
    tl_buffer_init(&w->bytes, "read window", (size_t)PAGE_BYTES_MAX + ahead);
    tl_buffer_init(&w->image, "inflated block", PAGE_BYTES_MAX + TL_PAYLOAD_PAD);
}

void tl__window_deinit(struct tl__window *w)
{
    tl_buffer_deinit(&w->bytes);
    tl_buffer_deinit(&w->image);
}

enum tl_code tl__window_read(struct tl__window *w, uint64_t offset, uint32_t size, uint64_t end,
                             struct tl_slice *out, struct tl_status *st)
{
    tl_assert(offset + size <= end);
    bool inside = offset >= w->offset && offset + size <= w->offset + w->bytes.size;
    if (!inside) {
        size_t want = end - offset < w->ahead ? (size_t)(end - offset) : w->ahead;
        if (want < size)
            want = size;
        tl_buffer_clear(&w->bytes);
        uint8_t *to = tl_buffer_reserve(&w->bytes, want);
        if (!to)
            return tl_buffer_check(&w->bytes, st);
        enum tl_code rc = tl_io_read(w->pack->file, offset, to, want, st);
        if (rc) {
            tl_status_wrap(st, "pack %s", tl_io_name(w->pack->file));
            return rc;
        }
        w->bytes.size = want;
        w->offset = offset;
    }
    *out = tl_slice_of(w->bytes.data + (offset - w->offset), size);
    return TL_OK;
}

static enum tl_code window_unit(struct tl__window *w, const struct unit *u, uint64_t end,
                                const uint8_t **image, struct tl_status *st)
{
    struct tl_slice stored;
    size_t size;
    if (w->kept && (*image = tl__images_find(w->kept, u->pack->key, u->offset)) != NULL)
        return TL_OK;
    enum tl_code rc = tl__window_read(w, u->offset, u->size, end, &stored, st);
    if (rc)
        return rc;
    rc = unit_measure(u, stored, &size, st);
    if (!rc) {
        tl_buffer_clear(&w->image);
        uint8_t *to = tl_buffer_reserve(&w->image, size);
        rc = to ? unit_inflate(u, stored, to, size, st) : tl_buffer_check(&w->image, st);
        *image = to;
        if (!rc && w->kept)
            tl__images_put(w->kept, u->pack->key, u->offset, to, size);
    }
    if (rc)
        tl_status_wrap(st, "pack %s", tl_io_name(w->pack->file));
    return rc;
}

enum tl_code tl__window_block(struct tl__window *w, const struct tl__column *c, uint32_t block,
                              const uint8_t **image, struct tl_status *st)
{
    struct unit u = block_unit(c, block);
    const struct tl__block *last = &c->blocks[c->pub.block_count - 1];
    return window_unit(w, &u, last->offset + last->size, image, st);
}

enum tl_code tl__window_page(struct tl__window *w, const struct tl__column *c, uint32_t page,
                             const uint8_t **image, struct tl_status *st)
{
    struct unit u = page_unit(c, page);
    return window_unit(w, &u, c->pages[c->page_count].offset, image, st);
}
