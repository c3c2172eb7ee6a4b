/*
 * engine/tenant.h: whether a merchant is a tenant's, and which of those asked for are.
 *
 * The set is a sorted array: a batch asks once per run of one merchant, a scan once.
 *
 * Ownership  what tl_tenant_narrow gives lies in the arena, or is the tenant's own array.
 * Threads    any.
 */
#ifndef TALLY_ENGINE_TENANT_H
#define TALLY_ENGINE_TENANT_H

#include "base/arena.h"
#include "engine/tally.h"

/* Always true for a tenant that is not bounded. */
bool tl_tenant_has(const struct tally_tenant *t, int64_t merchant);

/* Of `asked` (ascending, distinct; none: all) those that a bounded tenant may see; *out_count 0:
 * none of them. */
TL_CHECK enum tl_code tl_tenant_narrow(const struct tally_tenant *t, const int64_t *asked,
                                       uint32_t asked_count, struct tl_arena *arena,
                                       const int64_t **out, uint32_t *out_count,
                                       struct tl_status *st);

#endif
