/*
 * A table of inflated units, open addressing, never shrinking; entries are what malloc gave.
 */
#include <stdlib.h>

#include "base/hash.h"
#include "storage/pack_int.h"

static struct tl__image *place_of(const struct tl__images *x, uint64_t pack_key, uint64_t offset)
{
    uint64_t h = tl_hash_u64(pack_key ^ tl_hash_u64(offset));
    for (;; h++) {
        struct tl__image *i = &x->slots[h & (x->slot_count - 1)];
        if (!i->data || (i->pack_key == pack_key && i->offset == offset))
            return i;
    }
}

static bool grow(struct tl__images *x)
{
    uint32_t n = x->slot_count ? 2 * x->slot_count : 1024;
    struct tl__images larger = {.slots = calloc(n, sizeof(*x->slots)), .slot_count = n};
    if (!larger.slots)
        return false;
    for (uint32_t i = 0; i < x->slot_count; i++)
        if (x->slots[i].data)
            *place_of(&larger, x->slots[i].pack_key, x->slots[i].offset) = x->slots[i];
    free(x->slots);
    x->slots = larger.slots;
    x->slot_count = n;
    return true;
}

const uint8_t *tl__images_find(const struct tl__images *x, uint64_t pack_key, uint64_t offset)
{
    return x->slot_count ? place_of(x, pack_key, offset)->data : NULL;
}

void tl__images_put(struct tl__images *x, uint64_t pack_key, uint64_t offset, const uint8_t *data,
                    size_t size)
{
    struct tl_status ignored = TL_STATUS_INIT;
    if (size > x->limit - x->bytes || (x->count >= x->slot_count / 2 && !grow(x)) ||
        (x->budget && tl_budget_charge(x->budget, size, &ignored)))
        return;
    uint8_t *copy = malloc(size);
    if (!copy) {
        if (x->budget)
            tl_budget_release(x->budget, size);
        return;
    }
    memcpy(copy, data, size);
    *place_of(x, pack_key, offset) = (struct tl__image){pack_key, offset, copy};
    x->count++;
    x->bytes += size;
}

void tl__images_deinit(struct tl__images *x)
{
    for (uint32_t i = 0; i < x->slot_count; i++)
        free(x->slots[i].data);
    free(x->slots);
    if (x->budget && x->bytes > 0)
        tl_budget_release(x->budget, x->bytes);
    *x = (struct tl__images){0};
}
