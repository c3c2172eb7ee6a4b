/*
 * tools/generator_math.c: logarithm, exponential, normal quantiles and alias tables.
 *
 * The normal quantile is P. J. Acklam's rational approximation (relative error 1.2e-9); the alias
 * table is built as M. D. Vose describes.
 */
#include "tools/generator_math.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double LN2 = 0.693147180559945309417;

double tl_gen_log(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof(bits));
    int exponent = (int)(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffffULL) | 0x3ff0000000000000ULL;
    double m;
    memcpy(&m, &bits, sizeof(m));
    if (m > 1.4142135623730951) {
        m *= 0.5;
        exponent++;
    }
    /* log m = 2 atanh((m - 1) / (m + 1)); |z| <= 0.1716, so z^25 is below the last bit */
    double z = (m - 1.0) / (m + 1.0);
    double z2 = z * z;
    double sum = 0.0;
    for (int k = 23; k >= 1; k -= 2)
        sum = sum * z2 + 1.0 / (double)k;
    return 2.0 * z * sum + (double)exponent * LN2;
}

double tl_gen_exp(double x)
{
    double n = (double)(int64_t)(x / LN2 + (x < 0 ? -0.5 : 0.5));
    double r = x - n * LN2;
    double sum = 1.0;
    for (int k = 18; k >= 1; k--)
        sum = 1.0 + sum * r / (double)k;
    uint64_t bits = (uint64_t)((int64_t)n + 1023) << 52;
    double scale;
    memcpy(&scale, &bits, sizeof(scale));
    return sum * scale;
}

static double polynomial(const double *c, int count, double x)
{
    double sum = 0.0;
    for (int i = 0; i < count; i++)
        sum = sum * x + c[i];
    return sum;
}

double tl_gen_normal(double p)
{
    static const double a[] = {-3.969683028665376e+01, 2.209460984245205e+02,
                               -2.759285104469687e+02, 1.383577518672690e+02,
                               -3.066479806614716e+01, 2.506628277459239e+00};
    static const double b[] = {-5.447609879822406e+01, 1.615858368580409e+02,
                               -1.556989798598866e+02, 6.680131188771972e+01,
                               -1.328068155288572e+01, 1.0};
    static const double c[] = {-7.784894002430293e-03, -3.223964580411365e-01,
                               -2.400758277161838e+00, -2.549732539343734e+00,
                               4.374664141464968e+00,  2.938163982698783e+00};
    static const double d[] = {7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00,
                               3.754408661907416e+00, 1.0};
    const double low = 0.02425;
    if (p < low) {
        double q = sqrt(-2.0 * tl_gen_log(p)); /* sqrt is exact by IEEE 754 */
        return polynomial(c, 6, q) / polynomial(d, 5, q);
    }
    if (p > 1.0 - low)
        return -tl_gen_normal(1.0 - p);
    double q = p - 0.5;
    double r = q * q;
    return q * polynomial(a, 6, r) / polynomial(b, 6, r);
}

static double quantile_place(int i)
{
    if (i == 0)
        return 1.0 / (TL_GEN_QUANTILES * 8);
    if (i == TL_GEN_QUANTILES)
        return 1.0 - 1.0 / (TL_GEN_QUANTILES * 8);
    return (double)i / TL_GEN_QUANTILES;
}

static uint32_t bounded(double v, uint32_t max)
{
    return v >= (double)max ? max : (uint32_t)v;
}

void tl_gen_exponential(struct tl_gen_quantiles *q, double mean, uint32_t max)
{
    for (int i = 0; i <= TL_GEN_QUANTILES; i++)
        q->at[i] = bounded(-mean * tl_gen_log(1.0 - quantile_place(i)), max);
}

void tl_gen_lognormal(struct tl_gen_quantiles *q, double median, double sigma, uint32_t max)
{
    for (int i = 0; i <= TL_GEN_QUANTILES; i++)
        q->at[i] = bounded(median * tl_gen_exp(sigma * tl_gen_normal(quantile_place(i))), max);
}

bool tl_gen_alias_init(struct tl_gen_alias *a, double *weights, uint32_t count)
{
    a->count = count;
    a->threshold = malloc(count * sizeof(*a->threshold));
    a->other = malloc(count * sizeof(*a->other));
    uint32_t *work = malloc(count * sizeof(*work));
    if (!a->threshold || !a->other || !work) {
        free(work);
        tl_gen_alias_deinit(a);
        return false;
    }
    double sum = 0.0;
    for (uint32_t i = 0; i < count; i++)
        sum += weights[i];
    uint32_t small = 0, large = count; /* stacks that grow towards each other */
    for (uint32_t i = 0; i < count; i++) {
        weights[i] = weights[i] / sum * (double)count;
        if (weights[i] < 1.0)
            work[small++] = i;
        else
            work[--large] = i;
    }
    while (small > 0 && large < count) {
        uint32_t s = work[--small];
        uint32_t l = work[large];
        a->threshold[s] = bounded(weights[s] * 4294967296.0, UINT32_MAX);
        a->other[s] = l;
        weights[l] -= 1.0 - weights[s];
        if (weights[l] < 1.0) {
            large++;
            work[small++] = l;
        }
    }
    while (small > 0) { /* only rounding leaves one here */
        uint32_t s = work[--small];
        a->threshold[s] = UINT32_MAX;
        a->other[s] = s;
    }
    for (; large < count; large++) {
        a->threshold[work[large]] = UINT32_MAX;
        a->other[work[large]] = work[large];
    }
    free(work);
    return true;
}

void tl_gen_alias_deinit(struct tl_gen_alias *a)
{
    free(a->threshold);
    free(a->other);
    a->threshold = a->other = NULL;
}
