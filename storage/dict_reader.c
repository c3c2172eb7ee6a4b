/*
 * Dictionaries of TEXT columns for the length of a scan: pages of strings are loaded through the
 * cache when a code of theirs is first asked for, and stay pinned, so that what was handed out
 * stays where it is.
 *
 * A page's place goes from NULL to its pin once, under the lock; readers look without it.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "storage/pack_int.h"

static struct tl_dict_reader *reader_of(const struct tl_dict *d)
{
    return (struct tl_dict_reader *)(uintptr_t)d; /* dict is its first member */
}

static enum tl_code reader_load(struct tl_dict_reader *r, uint32_t page, struct tl_cached **out,
                                struct tl_status *st)
{
    enum tl_code rc = TL_OK;
    pthread_mutex_lock(r->lock);
    struct tl_cached *pin = atomic_load_explicit(&r->pages[page], memory_order_relaxed);
    if (!pin) {
        rc = tl__page_pin(tl__column_of(r->column), page, r->stats, &pin, st);
        if (!rc && tl__pin_private(pin) && r->budget) {
            rc = tl_budget_charge(r->budget, pin->size, st);
            if (rc)
                tl__pin_release(r->column->segment->pack, pin);
            else
                r->charged += pin->size;
        }
        if (!rc) /* release: pairs with the acquire in reader_page */
            atomic_store_explicit(&r->pages[page], pin, memory_order_release);
    }
    pthread_mutex_unlock(r->lock);
    *out = pin;
    return rc;
}

static enum tl_code reader_page(struct tl_dict_reader *r, uint32_t page, const uint8_t **image,
                                struct tl_status *st)
{
    struct tl_cached *pin = atomic_load_explicit(&r->pages[page], memory_order_acquire);
    enum tl_code rc = pin ? TL_OK : reader_load(r, page, &pin, st);
    if (!rc)
        *image = pin->data;
    return rc;
}

static uint32_t page_of(const struct tl__column *c, uint32_t code)
{
    uint32_t lo = 0, hi = c->page_count;
    while (hi - lo > 1) {
        uint32_t mid = (lo + hi) / 2;
        if (c->pages[mid].first_code <= code)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

/* When codes of several pages that are not here are asked for, their pages come in one batch. */
static enum tl_code reader_ahead(struct tl_dict_reader *r, const uint32_t *codes, uint32_t count,
                                 struct tl_status *st)
{
    enum { AHEAD_PAGES = 64 };
    const struct tl__column *c = tl__column_of(r->column);
    uint32_t pages[AHEAD_PAGES], n = 0, first = 0, end = 0;
    for (uint32_t i = 0; i < count && n < AHEAD_PAGES; i++) {
        if (codes[i] >= first && codes[i] < end)
            continue;
        uint32_t page = page_of(c, codes[i]);
        first = c->pages[page].first_code;
        end = c->pages[page + 1].first_code;
        if (!atomic_load_explicit(&r->pages[page], memory_order_acquire))
            pages[n++] = page;
    }
    if (n < 2)
        return TL_OK;
    struct tl_read_stats stats = {0};
    enum tl_code rc = tl__pages_prefetch(c, pages, n, &stats, st);
    if (r->stats) {
        pthread_mutex_lock(r->lock);
        r->stats->reads += stats.reads;
        r->stats->bytes_disk += stats.bytes_disk;
        r->stats->blocks_disk += stats.blocks_disk;
        pthread_mutex_unlock(r->lock);
    }
    return rc;
}

static enum tl_code reader_get(const struct tl_dict *d, const uint32_t *codes, uint32_t count,
                               struct tl_slice *out, struct tl_status *st)
{
    struct tl_dict_reader *r = reader_of(d);
    const struct tl__column *c = tl__column_of(r->column);
    const uint8_t *image = NULL;
    uint32_t first = 0, end = 0; /* codes of `image` */
    if (count > 1 && c->page_count > 1) {
        enum tl_code rc = reader_ahead(r, codes, count, st);
        if (rc)
            return rc;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t code = codes[i];
        if (code < first || code >= end) {
            tl_assert(code < d->count);
            uint32_t page = page_of(c, code);
            enum tl_code rc = reader_page(r, page, &image, st);
            if (rc)
                return rc;
            first = c->pages[page].first_code;
            end = c->pages[page + 1].first_code;
        }
        out[i] = tl_strings_get(image, code - first);
    }
    return TL_OK;
}

static const struct tl_dict_vtable reader_vtable = {.get = reader_get};

enum tl_code tl_dict_reader_open(struct tl_dict_reader *r, const struct tl_column *column,
                                 struct tl_read_stats *stats, struct tl_status *st)
{
    tl_assert(column->type.kind == TL_TEXT);
    const struct tl__column *c = tl__column_of(column);
    pthread_mutex_t *lock = malloc(sizeof(*lock));
    _Atomic(struct tl_cached *) *pages = calloc((size_t)c->page_count + 1, sizeof(*pages));
    if (!lock || !pages || pthread_mutex_init(lock, NULL) != 0) {
        free(lock);
        free(pages);
        return TL_FAIL(st, TL_LIMIT, "no memory for a dictionary");
    }
    *r = (struct tl_dict_reader){
        .dict = {.id = column->dict_id, .count = column->distinct, .vtab = &reader_vtable},
        .column = column,
        .pages = pages,
        .stats = stats,
        .lock = lock};
    return TL_OK;
}

enum tl_code tl_dict_reader_load_all(struct tl_dict_reader *r, struct tl_arena *arena,
                                     struct tl_status *st)
{
    const struct tl__column *c = tl__column_of(r->column);
    if (r->dict.values || r->dict.count == 0)
        return TL_OK;
    struct tl_slice *values = tl_arena_calloc(arena, r->dict.count, sizeof(*values), st);
    if (!values)
        return st->code;
    enum tl_code rc = tl__pages_prefetch(c, NULL, c->page_count, r->stats, st);
    for (uint32_t i = 0; !rc && i < c->page_count; i++) {
        const uint8_t *image;
        rc = reader_page(r, i, &image, st);
        uint32_t first = c->pages[i].first_code, end = c->pages[i + 1].first_code;
        for (uint32_t code = first; !rc && code < end; code++)
            values[code] = tl_strings_get(image, code - first);
    }
    if (!rc)
        r->dict.values = values;
    return rc;
}

enum tl_code tl_dict_reader_find(struct tl_dict_reader *r, struct tl_slice value, bool *found,
                                 uint32_t *code, struct tl_status *st)
{
    const struct tl__column *c = tl__column_of(r->column);
    for (uint32_t i = 0; i < c->page_count; i++) {
        const uint8_t *image;
        enum tl_code rc = reader_page(r, i, &image, st);
        if (rc)
            return rc;
        uint32_t count = tl_strings_count(image);
        for (uint32_t k = 0; k < count; k++) {
            if (tl_slice_eq(tl_strings_get(image, k), value)) {
                *found = true;
                *code = c->pages[i].first_code + k;
                return TL_OK;
            }
        }
    }
    *found = false;
    return TL_OK;
}

void tl_dict_reader_trim(struct tl_dict_reader *r)
{
    uint32_t count = tl__column_of(r->column)->page_count;
    for (uint32_t i = 0; i < count; i++) {
        struct tl_cached *pin = atomic_exchange_explicit(&r->pages[i], NULL, memory_order_acq_rel);
        if (pin)
            tl__pin_release(r->column->segment->pack, pin);
    }
    if (r->charged > 0)
        tl_budget_release(r->budget, r->charged);
    r->charged = 0;
    r->dict.values = NULL;
}

void tl_dict_reader_close(struct tl_dict_reader *r)
{
    if (!r->lock)
        return;
    tl_dict_reader_trim(r);
    free(r->pages);
    pthread_mutex_destroy(r->lock);
    free(r->lock);
    *r = (struct tl_dict_reader){0};
}
