/*
 * Variances per group.
 *
 * Of BIGINT and stored decimals the sums of x and of x² are kept exactly, in 128 and 256 bits, so
 * that an answer depends on the values alone, not on their order, segments or threads; it is
 * rounded once, when it is told. DOUBLEs are kept as PostgreSQL keeps them: a count, a sum and a
 * sum of squared differences from the mean (Youngs and Cramer, 1971), which two states can be
 * merged from.
 */
#include <math.h>
#include <string.h>

#include "query/exec_int.h"

typedef tl_u128 u128;

/* 256 bits, the lowest word first. */
struct wide {
    uint64_t word[4];
};

static void wide_add(struct wide *a, const struct wide *b)
{
    uint64_t carry = 0;
    for (int i = 0; i < 4; i++) {
        u128 sum = (u128)a->word[i] + b->word[i] + carry;
        a->word[i] = (uint64_t)sum;
        carry = (uint64_t)(sum >> 64);
    }
}

static void wide_subtract(struct wide *a, const struct wide *b)
{
    uint64_t borrow = 0;
    for (int i = 0; i < 4; i++) {
        u128 rest = (u128)a->word[i] - b->word[i] - borrow;
        a->word[i] = (uint64_t)rest;
        borrow = (uint64_t)(rest >> 64) & 1;
    }
}

static struct wide wide_of(u128 v)
{
    return (struct wide){{(uint64_t)v, (uint64_t)(v >> 64), 0, 0}};
}

/* a × b, of which the lowest 256 bits are kept: the callers' products have no more. */
static struct wide wide_multiply(const struct wide *a, const struct wide *b)
{
    struct wide r = {{0}};
    for (int i = 0; i < 4; i++) {
        uint64_t carry = 0;
        for (int j = 0; i + j < 4; j++) {
            u128 t = (u128)a->word[i] * b->word[j] + r.word[i + j] + carry;
            r.word[i + j] = (uint64_t)t;
            carry = (uint64_t)(t >> 64);
        }
    }
    return r;
}

static long double wide_float(const struct wide *a)
{
    long double v = 0;
    for (int i = 3; i >= 0; i--)
        v = v * 18446744073709551616.0L + (long double)a->word[i];
    return v;
}

static u128 magnitude(tl_i128 v)
{
    return v < 0 ? -(u128)v : (u128)v;
}

void tl__moment_add_int(struct tl__moment *m, int64_t x)
{
    struct wide squares, square = wide_of(magnitude(x) * magnitude(x));
    memcpy(&squares, m->squares, sizeof(squares));
    wide_add(&squares, &square);
    memcpy(m->squares, &squares, sizeof(squares));
    m->sum += x;
    m->n++;
}

void tl__moment_add_double(struct tl__moment *m, double x)
{
    m->n++;
    m->float_sum += x;
    if (m->n > 1) {
        double n = (double)m->n, t = x * n - m->float_sum;
        m->spread += t * t / (n * (n - 1));
    } else if (!isfinite(x)) {
        m->spread = NAN;
    }
    if (!isfinite(m->float_sum))
        m->spread = NAN;
}

void tl__moment_merge(struct tl__moment *m, const struct tl__moment *other)
{
    struct wide a, b;
    memcpy(&a, m->squares, sizeof(a));
    memcpy(&b, other->squares, sizeof(b));
    wide_add(&a, &b);
    memcpy(m->squares, &a, sizeof(a));
    m->sum += other->sum;
    if (m->n && other->n) {
        double n = (double)m->n, k = (double)other->n;
        double t = m->float_sum / n - other->float_sum / k;
        m->spread += other->spread + n * k * t * t / (n + k);
    } else if (other->n) {
        m->spread = other->spread;
    }
    m->float_sum += other->float_sum;
    m->n += other->n;
}

/* n·Σ(x - mean)² of exact values: n·Σx² - (Σx)², never below 0. */
static long double exact_spread(const struct tl__moment *m)
{
    struct wide squares, n = wide_of((u128)m->n), sum = wide_of(magnitude(m->sum));
    memcpy(&squares, m->squares, sizeof(squares));
    struct wide a = wide_multiply(&squares, &n), b = wide_multiply(&sum, &sum);
    wide_subtract(&a, &b);
    return wide_float(&a) / (long double)m->n;
}

bool tl__moment_variance(const struct tl__moment *m, struct tl_type type, bool sample, double *out)
{
    int64_t by = sample ? m->n - 1 : m->n;
    *out = 0;
    if (by <= 0)
        return false;
    if (type.kind == TL_DOUBLE) {
        *out = m->spread / (double)by;
        return true;
    }
    long double unit = 1;
    for (uint32_t i = 0; i < type.scale; i++)
        unit *= 100; /* 10^scale, squared */
    *out = (double)(exact_spread(m) / (long double)by / unit);
    return true;
}
