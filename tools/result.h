/*
 * tools/result.h: decodes the batches in which a server sends results.
 *
 * Ownership  vectors point into the arena and into the message.
 * Threads    no shared state.
 * Errors     TL_CORRUPT: bytes that are no such batch; TL_LIMIT: no memory.
 */
#ifndef TALLY_TOOLS_RESULT_H
#define TALLY_TOOLS_RESULT_H

#include "base/arena.h"
#include "base/vector.h"

enum { TL_RESULT_COLUMNS_MAX = 1664 };

/* Decodes a tally.v1.Batch of columns whose types are known into FLAT arrays of *rows rows, which
 * may be more than a vector holds: vectors[i].count is 0 and is set by tl_result_slice. DECIMAL128
 * and INTERVAL columns come as TEXT, and their vectors' types say so. */
TL_CHECK enum tl_code tl_result_decode(struct tl_slice batch, const struct tl_type *types,
                                       uint32_t column_count, struct tl_arena *arena,
                                       struct tl_vector *vectors, uint32_t *rows,
                                       struct tl_status *st);
/* Rows [from, from + count) of a decoded column; from is a multiple of 64. */
struct tl_vector tl_result_slice(const struct tl_vector *column, uint32_t from, uint32_t count);

#endif
