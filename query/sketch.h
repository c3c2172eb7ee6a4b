/*
 * query/sketch.h: small mergeable summaries of many values: how many are distinct, and quantiles.
 *
 * A sketch is a function of the multiset of values it was given: whatever the order of adds and
 * merges, on whichever machine, equal multisets give equal bytes (for tl_hll: equal sets). So
 * sketches made per thread, per segment or per bucket may be merged in any order, and stored.
 *
 * tl_hll  How many distinct values. A standard error of 0.81 % (1.04 / sqrt(2^14)); up to 3,072
 *         values it is next to exact. See query/hll.c for the method and the bytes.
 *
 * tl_quantile  Quantiles of numbers: what is told is within 1 % of an exact percentile_disc, as
 * long as the numbers of one sign fall into at most 2,240 buckets of 2 %: 64 powers of two, all of
 * BIGINT. With more, the smallest magnitudes are told too large. See query/quantile.c.
 *
 * Both begin as all zeros, which is an empty sketch without memory, and take memory as they grow:
 * a tl_hll 16 bytes for up to 3 values, at most 16 KiB; a tl_quantile 32 bytes for up to 3 buckets
 * (values that differ by less than 2 % share one), at most 128 KiB, for durations 4 KiB or so.
 *
 * Ownership  A sketch's memory comes from a tl_sketch_memory and goes back to it with clear(), or
 *            with the arena as a whole. All sketches that are merged need not share one.
 * Threads    A sketch, and a tl_sketch_memory, belongs to one thread at a time.
 * Units      Sizes in bytes; fractions from 0 to 1.
 * Errors     TL_LIMIT: the arena's budget is met; an add did nothing, a merge may have taken a
 * part. TL_CORRUPT: bytes that encode() never makes; nothing was changed.
 */
#ifndef TALLY_QUERY_SKETCH_H
#define TALLY_QUERY_SKETCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/vector.h"

/* ---- memory ---- */

enum { TL_SKETCH_BLOCK_LOG_MAX = 18 };

/* Blocks of powers of two, used again when a sketch has outgrown them. */
struct tl_sketch_memory {
    struct tl_arena *arena;
    void *free[TL_SKETCH_BLOCK_LOG_MAX]; /* by log2 of the size; the first word is the next one */
};

void tl_sketch_memory_init(struct tl_sketch_memory *m, struct tl_arena *arena);

/* ---- values to hashes ---- */

/* The hash of a value for tl_hll: the same for equal values wherever they stand, in files too.
 * Values of different kinds are different values (BIGINT 1 and TEXT '1'). Equal are -0.0 and 0.0,
 * all NaN, decimals of different scales with one value, intervals that PostgreSQL calls equal. */
uint64_t tl_sketch_hash_text(struct tl_slice text);
/* out[row] for the n selected rows of a FLAT or CONST vector (sel NULL: rows 0 … n-1). What NULL
 * rows get is undefined. */
void tl_sketch_hash_rows(const struct tl_vector *v, const uint16_t *sel, uint32_t n, uint64_t *out);

/* ---- distinct values ---- */

enum {
    TL_HLL_PRECISION = 14,        /* log2 of the registers; stands in stored bytes' meaning */
    TL_HLL_SPARSE_PRECISION = 21, /* of the sparse form */
    TL_HLL_SPARSE_MAX = 3072,     /* sparse entries; more make it dense */
    TL_HLL_ENCODED_BYTES_MAX = 1 << 16
};

struct tl_hll {
    void *data;     /* sparse: uint32_t slots[1 << (log - 2)]; dense: uint8_t registers[2^14] */
    uint32_t count; /* sparse: entries */
    uint8_t log;    /* log2 of the block's bytes; 0: none */
    bool dense;
};

/* What tl_hll_add does in the sparse form. */
TL_CHECK enum tl_code tl_hll_add_sparse(struct tl_hll *h, struct tl_sketch_memory *m, uint64_t hash,
                                        struct tl_status *st);

TL_CHECK static inline enum tl_code tl_hll_add(struct tl_hll *h, struct tl_sketch_memory *m,
                                               uint64_t hash, struct tl_status *st)
{
    if (h->dense) {
        uint8_t *r = (uint8_t *)h->data + (hash >> (64 - TL_HLL_PRECISION));
        uint64_t rest = hash << TL_HLL_PRECISION | 1ULL << (TL_HLL_PRECISION - 1);
        uint8_t rank = (uint8_t)(__builtin_clzll(rest) + 1);
        if (rank > *r)
            *r = rank;
        return TL_OK;
    }
    return tl_hll_add_sparse(h, m, hash, st);
}

/* h becomes the sketch of both sets; other is left as it is. */
TL_CHECK enum tl_code tl_hll_merge(struct tl_hll *h, struct tl_sketch_memory *m,
                                   const struct tl_hll *other, struct tl_status *st);
/* The estimate, rounded to a whole number; 0 only when nothing was added. */
uint64_t tl_hll_estimate(const struct tl_hll *h);
/* Appends its bytes. The memory is for scratch, given back before the return. */
TL_CHECK enum tl_code tl_hll_encode(const struct tl_hll *h, struct tl_sketch_memory *m,
                                    struct tl_buffer *out, struct tl_status *st);
/* Proves the bytes, all of them, then merges them into h. Into an empty h: this is decode. */
TL_CHECK enum tl_code tl_hll_merge_bytes(struct tl_hll *h, struct tl_sketch_memory *m,
                                         struct tl_slice bytes, struct tl_status *st);
void tl_hll_clear(struct tl_hll *h, struct tl_sketch_memory *m);
/* Whole-structure check for tests. */
bool tl_hll_check(const struct tl_hll *h);

/* ---- quantiles ---- */

enum {
    TL_QUANTILE_BUCKETS_PER_OCTAVE = 35,
    TL_QUANTILE_BUCKETS_MAX = 64 * TL_QUANTILE_BUCKETS_PER_OCTAVE, /* of a sign, when told */
    TL_QUANTILE_ENCODED_BYTES_MAX = 1 << 16
};
#define TL_QUANTILE_ERROR      0.01 /* relative */
#define TL_QUANTILE_VALUES_MAX ((1ULL << 46) - 1)

struct tl_quantile {
    uint64_t *slots; /* a hash table: count << 18 | key; 0: free */
    uint64_t count;  /* values */
    uint32_t used;   /* slots in use */
    uint32_t log;    /* log2 of the block's bytes; 0: none */
};

/* Adds x, n times (n > 0). -0.0 is 0; infinities and NaN are values, ordered as PostgreSQL orders
 * them: NaN above all. Magnitudes below 2.3e-308 count as 0. TL_LIMIT past 2^46 values. */
TL_CHECK enum tl_code tl_quantile_add(struct tl_quantile *q, struct tl_sketch_memory *m, double x,
                                      uint64_t n, struct tl_status *st);
/* The numbers of the n selected rows of a FLAT or CONST vector, as doubles: BIGINT, DOUBLE and
 * decimals (each rounded once). */
void tl_sketch_doubles(const struct tl_vector *v, const uint16_t *sel, uint32_t n, double *out);
TL_CHECK enum tl_code tl_quantile_merge(struct tl_quantile *q, struct tl_sketch_memory *m,
                                        const struct tl_quantile *other, struct tl_status *st);
/* out[i]: within TL_QUANTILE_ERROR of the ceil(fractions[i] * count)-th smallest value (at least
 * the first); NaN when the sketch is empty. Fractions are in 0 … 1. */
TL_CHECK enum tl_code tl_quantile_get(const struct tl_quantile *q, struct tl_sketch_memory *m,
                                      const double *fractions, uint32_t n, double *out,
                                      struct tl_status *st);
TL_CHECK enum tl_code tl_quantile_encode(const struct tl_quantile *q, struct tl_sketch_memory *m,
                                         struct tl_buffer *out, struct tl_status *st);
TL_CHECK enum tl_code tl_quantile_merge_bytes(struct tl_quantile *q, struct tl_sketch_memory *m,
                                              struct tl_slice bytes, struct tl_status *st);
void tl_quantile_clear(struct tl_quantile *q, struct tl_sketch_memory *m);
bool tl_quantile_check(const struct tl_quantile *q);

/* ---- for hll.c and quantile.c ---- */

/* A block of 2^log bytes, not zeroed; NULL with st set at the limit. */
void *tl__sketch_take(struct tl_sketch_memory *m, uint32_t log, struct tl_status *st);
void tl__sketch_give(struct tl_sketch_memory *m, void *block, uint32_t log);

#endif
