/*
 * base/random.h: the only source of chance.
 *
 * xoshiro256** (Blackman, Vigna) seeded through splitmix64: the same seed gives the same numbers
 * on every machine. The only nondeterministic functions are the two named _from_os; secrets
 * (tokens, salts) come from tl_random_bytes_from_os and never from a generator.
 *
 * Ownership  the state is the caller's.
 * Threads    a generator belongs to one thread.
 * Errors     TL_IO: the operating system gives no random bytes.
 */
#ifndef TALLY_BASE_RANDOM_H
#define TALLY_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct tl_random {
    uint64_t s[4]; /* never all zero */
};

void tl_random_init(struct tl_random *r, uint64_t seed);

static inline uint64_t tl_random_u64(struct tl_random *r)
{
    uint64_t *s = r->s;
    uint64_t x = s[1] * 5;
    uint64_t result = (x << 7 | x >> 57) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = s[3] << 45 | s[3] >> 19;
    return result;
}

/* Evenly one of 0 … n-1; n > 0. */
uint64_t tl_random_below(struct tl_random *r, uint64_t n);
/* Evenly one of low … high, both included. */
int64_t tl_random_between(struct tl_random *r, int64_t low, int64_t high);
/* In [0, 1), 53 bits. */
double tl_random_double(struct tl_random *r);
void tl_random_fill(struct tl_random *r, void *out, size_t size);

TL_CHECK enum tl_code tl_random_seed_from_os(uint64_t *seed, struct tl_status *st);
TL_CHECK enum tl_code tl_random_bytes_from_os(void *out, size_t size, struct tl_status *st);

#endif
