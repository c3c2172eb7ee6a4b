/*
 * engine/tenant.c: a search, and the cut of two sorted sets.
 */
#include "engine/tenant.h"

static bool has(const int64_t *merchants, uint32_t count, int64_t merchant)
{
    uint32_t from = 0, to = count;
    while (from < to) {
        uint32_t mid = from + (to - from) / 2;
        if (merchants[mid] < merchant)
            from = mid + 1;
        else
            to = mid;
    }
    return from < count && merchants[from] == merchant;
}

bool tl_tenant_has(const struct tally_tenant *t, int64_t merchant)
{
    return !t->bounded || has(t->merchants, t->merchant_count, merchant);
}

enum tl_code tl_tenant_narrow(const struct tally_tenant *t, const int64_t *asked,
                              uint32_t asked_count, struct tl_arena *arena, const int64_t **out,
                              uint32_t *out_count, struct tl_status *st)
{
    *out = t->merchants;
    *out_count = t->merchant_count;
    if (asked_count == 0)
        return TL_OK;
    int64_t *both = tl_arena_alloc(arena, (size_t)asked_count * sizeof(*both), st);
    if (!both)
        return st->code;
    uint32_t n = 0;
    for (uint32_t i = 0; i < asked_count; i++)
        if (has(t->merchants, t->merchant_count, asked[i]))
            both[n++] = asked[i];
    *out = both;
    *out_count = n;
    return TL_OK;
}
