/*
 * engine/id_filter.h: an immutable set of 32-bit hashes in about two bytes each.
 *
 * The hashes are sorted; the top bits of one choose a bucket, of which only the start is kept, and
 * the rest of it (at most 16 bits) is stored. A set of n hashes says yes to a hash that is not in
 * it with probability n / 2^32, and never no to one that is. Two sets merge without what they were
 * made from (the idea of quotient filters: Bender et al., Don't Thrash, VLDB 2012).
 *
 * One question costs two cache misses; asked many at a time, they overlap.
 *
 * Ownership  the caller frees what build and merge return.
 * Threads    a set is read-only: any.
 * Errors     TL_LIMIT: no memory.
 */
#ifndef TALLY_ENGINE_ID_FILTER_H
#define TALLY_ENGINE_ID_FILTER_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct tl_id_filter;

/* Sorts `hashes` in place; equal ones count once. */
TL_CHECK enum tl_code tl_id_filter_build(uint32_t *hashes, uint32_t count,
                                         struct tl_id_filter **out, struct tl_status *st);
TL_CHECK enum tl_code tl_id_filter_merge(const struct tl_id_filter *a, const struct tl_id_filter *b,
                                         struct tl_id_filter **out, struct tl_status *st);
void tl_id_filter_free(struct tl_id_filter *f); /* takes NULL */

uint32_t tl_id_filter_count(const struct tl_id_filter *f);
size_t tl_id_filter_bytes(const struct tl_id_filter *f);
/* Sets found[i] to 1 where hashes[i] may be in the set; leaves the others as they are. */
void tl_id_filter_ask(const struct tl_id_filter *f, const uint32_t *hashes, uint32_t count,
                      uint8_t *found);

#endif
