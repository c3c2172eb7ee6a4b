#include "base/hash.h"

#include <stdlib.h>

#include "base/assert.h"

uint64_t tl__hash64_long(const void *data, size_t size)
{
    return XXH3_64bits(data, size);
}

uint64_t tl__hash64_long_seed(const void *data, size_t size, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, size, seed);
}

struct tl_hash128 tl_hash128(const void *data, size_t size)
{
    XXH128_hash_t h = XXH3_128bits(data, size);
    return (struct tl_hash128){h.low64, h.high64};
}

struct tl_hash_stream {
    XXH3_state_t state;
};

struct tl_hash_stream *tl_hash_stream_new(uint64_t seed)
{
    /* The state asks for 64-byte alignment, more than malloc promises. */
    struct tl_hash_stream *s = aligned_alloc(64, (sizeof(*s) + 63) / 64 * 64);
    if (!s)
        return NULL;
    XXH3_INITSTATE(&s->state);
    tl_hash_stream_reset(s, seed);
    return s;
}

void tl_hash_stream_free(struct tl_hash_stream *s)
{
    free(s);
}

void tl_hash_stream_reset(struct tl_hash_stream *s, uint64_t seed)
{
    XXH_errorcode rc = XXH3_64bits_reset_withSeed(&s->state, seed);
    tl_assert(rc == XXH_OK);
}

void tl_hash_stream_add(struct tl_hash_stream *s, const void *data, size_t size)
{
    if (size == 0)
        return;
    XXH_errorcode rc = XXH3_64bits_update(&s->state, data, size);
    tl_assert(rc == XXH_OK);
}

uint64_t tl_hash_stream_value(const struct tl_hash_stream *s)
{
    return XXH3_64bits_digest(&s->state);
}
