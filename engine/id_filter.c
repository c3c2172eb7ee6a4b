#include "engine/id_filter.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

enum {
    BUCKET_BITS_MIN = 16, /* so that the rest of a hash fits 16 bits */
    BUCKET_BITS_MAX = 26,
    BUCKET_AIM = 16, /* hashes of a bucket */
    ASK_STEP = 64,   /* questions whose cache misses overlap */
};

struct tl_id_filter {
    uint32_t count;
    uint32_t rest_bits;
    uint32_t *starts; /* buckets + 1 */
    uint16_t *rests;
};

/* Three passes of 11 bits, the low ones first. */
static enum tl_code sort_hashes(uint32_t *hashes, uint32_t count, struct tl_status *st)
{
    enum { DIGIT = 11, PASSES = 3, PLACES = 1 << DIGIT };
    uint32_t *other = malloc((size_t)count * sizeof(*other) + 1);
    uint32_t *places = calloc((size_t)PASSES * PLACES, sizeof(*places));
    if (!other || !places) {
        free(other);
        free(places);
        return TL_FAIL(st, TL_LIMIT, "no memory to sort %u hashes of event ids", count);
    }
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t p = 0; p < PASSES; p++)
            places[p * PLACES + (hashes[i] >> (p * DIGIT) & (PLACES - 1))]++;
    uint32_t *from = hashes;
    uint32_t *to = other;
    for (uint32_t p = 0; p < PASSES; p++) {
        uint32_t *place = places + (size_t)p * PLACES;
        uint32_t sum = 0;
        for (uint32_t d = 0; d < PLACES; d++) {
            uint32_t n = place[d];
            place[d] = sum;
            sum += n;
        }
        for (uint32_t i = 0; i < count; i++)
            to[place[from[i] >> (p * DIGIT) & (PLACES - 1)]++] = from[i];
        uint32_t *swap = from;
        from = to;
        to = swap;
    }
    memcpy(hashes, from, (size_t)count * sizeof(*hashes));
    free(other);
    free(places);
    return TL_OK;
}

static enum tl_code filter_new(uint32_t capacity, struct tl_id_filter **out, struct tl_status *st)
{
    uint32_t bits = BUCKET_BITS_MIN;
    while (bits < BUCKET_BITS_MAX && (uint64_t)capacity > (uint64_t)BUCKET_AIM << bits)
        bits++;
    struct tl_id_filter *f = calloc(1, sizeof(*f));
    if (f) {
        f->rest_bits = 32 - bits;
        f->starts = calloc(((size_t)1 << bits) + 1, sizeof(*f->starts));
        f->rests = malloc((size_t)capacity * sizeof(*f->rests) + 1);
    }
    if (!f || !f->starts || !f->rests) {
        tl_id_filter_free(f);
        return TL_FAIL(st, TL_LIMIT, "no memory for a filter of %u event ids", capacity);
    }
    *out = f;
    return TL_OK;
}

/* Hashes come ascending. */
static void put(struct tl_id_filter *f, uint32_t hash)
{
    f->starts[(hash >> f->rest_bits) + 1]++;
    f->rests[f->count++] = (uint16_t)(hash & ((1U << f->rest_bits) - 1));
}

static void finish(struct tl_id_filter *f)
{
    uint32_t buckets = 1U << (32 - f->rest_bits);
    for (uint32_t b = 0; b < buckets; b++)
        f->starts[b + 1] += f->starts[b];
    tl_assert(f->starts[buckets] == f->count);
}

enum tl_code tl_id_filter_build(uint32_t *hashes, uint32_t count, struct tl_id_filter **out,
                                struct tl_status *st)
{
    struct tl_id_filter *f;
    if (sort_hashes(hashes, count, st) || filter_new(count, &f, st))
        return st->code;
    for (uint32_t i = 0; i < count; i++)
        if (i == 0 || hashes[i] != hashes[i - 1])
            put(f, hashes[i]);
    finish(f);
    *out = f;
    return TL_OK;
}

/* Walks a set in order. */
struct walk {
    const struct tl_id_filter *f;
    uint32_t at, bucket;
};

static bool walk_hash(struct walk *w, uint32_t *hash)
{
    if (w->at == w->f->count)
        return false;
    while (w->at >= w->f->starts[w->bucket + 1])
        w->bucket++;
    *hash = w->bucket << w->f->rest_bits | w->f->rests[w->at];
    return true;
}

enum tl_code tl_id_filter_merge(const struct tl_id_filter *a, const struct tl_id_filter *b,
                                struct tl_id_filter **out, struct tl_status *st)
{
    struct tl_id_filter *f;
    if (filter_new(a->count + b->count, &f, st))
        return st->code;
    struct walk x = {a, 0, 0};
    struct walk y = {b, 0, 0};
    uint32_t p = 0;
    uint32_t q = 0;
    bool has_p = walk_hash(&x, &p);
    bool has_q = walk_hash(&y, &q);
    while (has_p || has_q) {
        bool take_p = has_p && (!has_q || p <= q);
        bool take_q = has_q && (!has_p || q <= p);
        put(f, take_p ? p : q);
        if (take_p) {
            x.at++;
            has_p = walk_hash(&x, &p);
        }
        if (take_q) {
            y.at++;
            has_q = walk_hash(&y, &q);
        }
    }
    finish(f);
    *out = f;
    return TL_OK;
}

void tl_id_filter_free(struct tl_id_filter *f)
{
    if (!f)
        return;
    free(f->starts);
    free(f->rests);
    free(f);
}

uint32_t tl_id_filter_count(const struct tl_id_filter *f)
{
    return f->count;
}

size_t tl_id_filter_bytes(const struct tl_id_filter *f)
{
    return sizeof(*f) + (((size_t)1 << (32 - f->rest_bits)) + 1) * sizeof(*f->starts) +
           (size_t)f->count * sizeof(*f->rests);
}

void tl_id_filter_ask(const struct tl_id_filter *f, const uint32_t *hashes, uint32_t count,
                      uint8_t *found)
{
    for (uint32_t lo = 0; lo < count; lo += ASK_STEP) {
        uint32_t begin[ASK_STEP];
        uint32_t end[ASK_STEP];
        uint32_t n = count - lo < ASK_STEP ? count - lo : ASK_STEP;
        for (uint32_t i = 0; i < n; i++)
            __builtin_prefetch(&f->starts[hashes[lo + i] >> f->rest_bits]);
        for (uint32_t i = 0; i < n; i++) {
            begin[i] = f->starts[hashes[lo + i] >> f->rest_bits];
            end[i] = f->starts[(hashes[lo + i] >> f->rest_bits) + 1];
            __builtin_prefetch(&f->rests[begin[i]]);
        }
        for (uint32_t i = 0; i < n; i++) {
            uint16_t rest = (uint16_t)(hashes[lo + i] & ((1U << f->rest_bits) - 1));
            for (uint32_t k = begin[i]; k < end[i] && f->rests[k] <= rest; k++)
                found[lo + i] |= f->rests[k] == rest;
        }
    }
}
