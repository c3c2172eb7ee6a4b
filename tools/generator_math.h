/*
 * tools/generator_math.h: the arithmetic of chance that must be the same on every machine.
 *
 * log and exp of a C library differ in their last bits between versions; these use additions,
 * multiplications and divisions only, which IEEE 754 fixes.
 *
 * Ownership  an alias table's arrays belong to it.
 * Threads    no shared state.
 */
#ifndef TALLY_TOOLS_GENERATOR_MATH_H
#define TALLY_TOOLS_GENERATOR_MATH_H

#include <stdbool.h>
#include <stdint.h>

/* SplitMix64's finaliser: a bijection that spreads every bit. */
static inline uint64_t tl_gen_mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9ULL;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

static inline uint64_t tl_gen_next(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15ULL;
    return tl_gen_mix(*state);
}

/* 53 bits of r as a number in [0, 1). */
static inline double tl_gen_unit(uint64_t r)
{
    return (double)(r >> 11) * 0x1p-53;
}

/* r (32 bits) scaled to [0, n). */
static inline uint32_t tl_gen_below(uint32_t r, uint32_t n)
{
    return (uint32_t)(((uint64_t)r * n) >> 32);
}

double tl_gen_log(double x); /* x > 0, normal */
double tl_gen_exp(double x); /* |x| < 700 */
/* The quantile function of the standard normal distribution, 0 < p < 1. */
double tl_gen_normal(double p);

/* Quantiles at i / 1024, the last one at 1 - 1/8192; between them lies a straight line. */
enum { TL_GEN_QUANTILES = 1024 };
struct tl_gen_quantiles {
    uint32_t at[TL_GEN_QUANTILES + 1];
};
static inline uint32_t tl_gen_quantile(const struct tl_gen_quantiles *q, uint32_t r)
{
    uint32_t i = r >> 22;
    uint32_t fraction = r & 0x3fffff;
    uint64_t step = q->at[i + 1] - q->at[i];
    return q->at[i] + (uint32_t)((step * fraction) >> 22);
}
void tl_gen_exponential(struct tl_gen_quantiles *q, double mean, uint32_t max);
void tl_gen_lognormal(struct tl_gen_quantiles *q, double median, double sigma, uint32_t max);

/* Walker's alias method: one draw costs one random number and one cell. */
struct tl_gen_alias {
    uint32_t count;
    uint32_t *threshold;
    uint32_t *other;
};
/* false: no memory. The weights are used up. */
bool tl_gen_alias_init(struct tl_gen_alias *a, double *weights, uint32_t count);
void tl_gen_alias_deinit(struct tl_gen_alias *a);
static inline uint32_t tl_gen_alias_draw(const struct tl_gen_alias *a, uint64_t r)
{
    uint32_t i = tl_gen_below((uint32_t)(r >> 32), a->count);
    return (uint32_t)r < a->threshold[i] ? i : a->other[i];
}

#endif
