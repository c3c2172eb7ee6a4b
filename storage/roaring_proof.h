/*
 * storage/roaring_proof.h: is a serialized roaring bitmap what a writer of ours makes?
 *
 * CRoaring writes out of bounds on crafted bytes that its own safe reader accepts. So a set that
 * comes from a disk is walked here first, byte for byte, in the portable format (RoaringFormatSpec:
 * cookies 12346 and 12347): keys and values of arrays ascend, runs ascend, are disjoint and end in
 * range, cardinalities are true, offsets point where containers lie, and the bytes end exactly
 * where the last container does. What passes may be given to CRoaring.
 *
 * Threads  no state: any.
 * Errors   TL_CORRUPT, saying what is wrong. Outputs are written on success only.
 */
#ifndef TALLY_STORAGE_ROARING_PROOF_H
#define TALLY_STORAGE_ROARING_PROOF_H

#include "base/bytes.h"

/* Every value must be below `limit` (at most 2^32). */
TL_CHECK enum tl_code tl_roaring_prove(struct tl_slice bytes, uint64_t limit, uint64_t *cardinality,
                                       struct tl_status *st);

#endif
