/*
 * query/decimal_int.h: arithmetic on 38-digit decimals, as the kernels and aggregates need it.
 *
 * A value is a tl_i128 times 10^-scale, |value| < 10^38. Functions answer false when a result
 * does not fit. Rounding is half away from zero, as PostgreSQL's numeric rounds.
 */
#ifndef TALLY_QUERY_DECIMAL_INT_H
#define TALLY_QUERY_DECIMAL_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/int128.h"

enum { TL__DECIMAL_DIGITS = 38 };

static inline bool tl__decimal_fits(tl_i128 v)
{
    tl_i128 limit = (tl_i128)10000000000000000000ULL * 10000000000000000000ULL;
    return v < limit && v > -limit;
}

/* v at scale `from` as a value at scale `to`, rounded when digits are lost. */
bool tl__decimal_rescale(tl_i128 v, uint32_t from, uint32_t to, tl_i128 *out);
bool tl__decimal_multiply(tl_i128 a, uint32_t sa, tl_i128 b, uint32_t sb, uint32_t scale,
                          tl_i128 *out);
/* b is not 0 */
bool tl__decimal_divide(tl_i128 a, uint32_t sa, tl_i128 b, uint32_t sb, uint32_t scale,
                        tl_i128 *out);
int tl__decimal_compare(tl_i128 a, uint32_t sa, tl_i128 b, uint32_t sb);
double tl__decimal_to_double(tl_i128 v, uint32_t scale);
/* As PostgreSQL: through 15 significant digits. false: out of range, NaN or infinite. */
bool tl__decimal_from_double(double v, uint32_t scale, tl_i128 *out);

#endif
