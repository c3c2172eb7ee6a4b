#include "base/random.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/assert.h"
#include "base/int128.h"

void tl_random_init(struct tl_random *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += 0x9e3779b97f4a7c15ULL;
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        r->s[i] = z ^ (z >> 31);
    }
}

/* Lemire, "Fast random integer generation in an interval": multiply, reject the uneven rest. */
uint64_t tl_random_below(struct tl_random *r, uint64_t n)
{
    tl_assert(n > 0);
    tl_u128 m = (tl_u128)tl_random_u64(r) * n;
    if ((uint64_t)m < n) {
        uint64_t threshold = -n % n;
        while ((uint64_t)m < threshold)
            m = (tl_u128)tl_random_u64(r) * n;
    }
    return (uint64_t)(m >> 64);
}

int64_t tl_random_between(struct tl_random *r, int64_t low, int64_t high)
{
    tl_assert(low <= high);
    uint64_t span = (uint64_t)high - (uint64_t)low + 1;
    uint64_t offset = span == 0 ? tl_random_u64(r) : tl_random_below(r, span);
    return (int64_t)((uint64_t)low + offset);
}

double tl_random_double(struct tl_random *r)
{
    return (double)(tl_random_u64(r) >> 11) * 0x1p-53;
}

void tl_random_fill(struct tl_random *r, void *out, size_t size)
{
    uint8_t *p = out;
    while (size > 0) {
        uint64_t v = tl_random_u64(r);
        size_t n = size < sizeof(v) ? size : sizeof(v);
        for (size_t i = 0; i < n; i++)
            p[i] = (uint8_t)(v >> (8 * i));
        p += n;
        size -= n;
    }
}

enum tl_code tl_random_bytes_from_os(void *out, size_t size, struct tl_status *st)
{
    uint8_t *p = out;
    while (size > 0) {
        ssize_t n = getrandom(p, size, 0);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return TL_FAIL_OS(st, TL_IO, errno, "no random bytes from the operating system");
        }
        p += n;
        size -= (size_t)n;
    }
    return TL_OK;
}

enum tl_code tl_random_seed_from_os(uint64_t *seed, struct tl_status *st)
{
    uint64_t value;
    enum tl_code rc = tl_random_bytes_from_os(&value, sizeof(value), st);
    if (rc == TL_OK)
        *seed = value;
    return rc;
}
