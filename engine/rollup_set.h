/*
 * engine/rollup_set.h: a set of dictionary codes as bytes: what a rollup stores for an exact
 * count(DISTINCT x).
 *
 * Codes are those of the segment that the rollup was computed from. Two forms, the smaller one is
 * written: a list of differences (small sets; codes are given in order of first appearance, so
 * that most differences take a byte), and a roaring bitmap in its portable form. docs/FORMAT.md,
 * "Rollup packs", has the bytes.
 *
 * Bytes from a disk are proved before anything is computed from them, and before CRoaring sees
 * them (storage/roaring_proof.h).
 *
 * Threads  no shared state: any.
 * Errors   TL_CORRUPT: bytes that are no set of codes below `limit`; TL_LIMIT: no memory.
 */
#ifndef TALLY_ENGINE_ROLLUP_SET_H
#define TALLY_ENGINE_ROLLUP_SET_H

#include "base/bytes.h"

/* A set of more codes than this is stored as several, so that each stays below 64 KiB. */
enum { TL_ROLLUP_SET_CODES_MAX = 8192 };

/* Appends the set of `count` (1 … TL_ROLLUP_SET_CODES_MAX) codes, ascending and distinct. */
TL_CHECK enum tl_code tl_rollup_set_encode(const uint32_t *codes, uint32_t count,
                                           struct tl_buffer *out, struct tl_status *st);
/* Proves the bytes; how many codes they hold. */
TL_CHECK enum tl_code tl_rollup_set_count(struct tl_slice bytes, uint64_t limit, uint32_t *count,
                                          struct tl_status *st);
/* The codes, ascending, of a set that tl_rollup_set_count has proved and counted. */
TL_CHECK enum tl_code tl_rollup_set_codes(struct tl_slice bytes, uint32_t count, uint32_t *codes,
                                          struct tl_status *st);

#endif
