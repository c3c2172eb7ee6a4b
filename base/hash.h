/*
 * base/hash.h: XXH3, for checksums, hash tables and the choice of a shard.
 *
 * Values are those of xxHash's XXH3_64bits, XXH3_64bits_withSeed and XXH3_128bits, on every
 * machine: they stand in files. Short inputs are hashed in the caller's code, longer ones by a
 * call. Not for secrets: anyone can make collisions.
 *
 * Ownership  data is borrowed for the call; NULL is fine when size is 0.
 * Threads    no shared state.
 */
#ifndef TALLY_BASE_HASH_H
#define TALLY_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* Static copies of what is used: libpg_query exports XXH symbols of its own. */
#define XXH_INLINE_ALL
#include <xxhash.h>

struct tl_hash128 {
    uint64_t low;
    uint64_t high;
};

enum { TL_HASH_INLINE_BYTES_MAX = 16 };

uint64_t tl__hash64_long(const void *data, size_t size);
uint64_t tl__hash64_long_seed(const void *data, size_t size, uint64_t seed);

static inline uint64_t tl_hash64(const void *data, size_t size)
{
    if (size <= TL_HASH_INLINE_BYTES_MAX)
        return XXH3_64bits(data, size);
    return tl__hash64_long(data, size);
}

/* A checksum keyed by where the bytes belong (file id, offset): elsewhere it does not match. */
static inline uint64_t tl_hash64_seed(const void *data, size_t size, uint64_t seed)
{
    if (size <= TL_HASH_INLINE_BYTES_MAX)
        return XXH3_64bits_withSeed(data, size, seed);
    return tl__hash64_long_seed(data, size, seed);
}

struct tl_hash128 tl_hash128(const void *data, size_t size);

/* A hash over pieces: the same value as tl_hash64_seed of all of them in a row. */
struct tl_hash_stream;
struct tl_hash_stream *tl_hash_stream_new(uint64_t seed); /* NULL: no memory */
void tl_hash_stream_free(struct tl_hash_stream *s);
void tl_hash_stream_reset(struct tl_hash_stream *s, uint64_t seed);
void tl_hash_stream_add(struct tl_hash_stream *s, const void *data, size_t size);
uint64_t tl_hash_stream_value(const struct tl_hash_stream *s);

/* XXH3 of the integer's eight little-endian bytes: what a shard is chosen by. */
static inline uint64_t tl_hash_u64(uint64_t v)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(v >> (8 * i));
    return XXH3_64bits(bytes, sizeof(bytes));
}

/* A fast mix for tables in memory: every input bit moves every output bit. Never on disk. */
static inline uint64_t tl_hash_mix(uint64_t v)
{
    v ^= v >> 32;
    v *= 0xd6e8feb86659fd93ULL;
    v ^= v >> 32;
    v *= 0xd6e8feb86659fd93ULL;
    v ^= v >> 32;
    return v;
}
/* The hash of a pair of hashes, the order of which counts. */
static inline uint64_t tl_hash_combine(uint64_t a, uint64_t b)
{
    return tl_hash_mix(a + 0x9e3779b97f4a7c15ULL + (b << 6 | b >> 58));
}

#endif
