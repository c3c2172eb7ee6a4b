/*
 * A sketch of quantiles with a relative error (DDSketch: C. Masson, J. Rim, H. Lee, "DDSketch: a
 * fast and fully-mergeable quantile sketch with relative-error guarantees", 2019).
 *
 * Magnitudes are counted in buckets of constant ratio, 35 to a power of two: 2^(1/35) = 1.0200, so
 * that the value that stands for a bucket is within 0.991 % of all in it. Zero, the infinities and
 * NaN have a bucket each, and negative numbers mirror the positive ones.
 *
 * Which bucket a number falls into is found from its bits, its exponent and a table of 35 limits of
 * the mantissa, and not with log(), the last digit of which differs from library to library: stored
 * sketches of two machines must be equal.
 *
 * At most 2,240 buckets of each sign are kept, which is 64 powers of two without a gap: every
 * BIGINT and DECIMAL(18,s) has its bucket, and one absurd value among others costs no more than
 * one. With more of them, the least magnitudes are counted in the least bucket kept. Whichever
 * order values come in, that bucket is the 2,240th greatest of all, and counts only ever move up to
 * it: what is told and stored is a function of the multiset. (The table itself may hold more for a
 * while, so that this is done once for thousands of buckets.)
 *
 * In memory the buckets are a hash table, small as long as values are few or alike: a group of a
 * query with one duration holds 32 bytes.
 *
 * Bytes: varint buckets, then per bucket, by ascending value: varint of its key (the first), or of
 * the distance to the one before less one; varint of its count. Keys: 1 -infinity; 2 … 71,611
 * negative numbers, the greatest magnitude first; 71,612 zero; 71,613 … 143,222 positive numbers;
 * 143,223 infinity; 143,224 NaN. A positive key is 71,613 + 35 × (exponent + 1022) + the number of
 * the mantissa's bucket.
 */
#include <math.h>
#include <string.h>

#include "base/assert.h"
#include "query/exec_int.h"
#include "query/sketch.h"

enum {
    PER_OCTAVE = TL_QUANTILE_BUCKETS_PER_OCTAVE,
    MAGNITUDES = 2046 * PER_OCTAVE, /* normal doubles: exponents -1022 … 1023 */
    KEY_LEAST = 1,                  /* -infinity */
    KEY_NEGATIVE = 2,               /* of the greatest magnitude */
    KEY_ZERO = KEY_NEGATIVE + MAGNITUDES,
    KEY_POSITIVE = KEY_ZERO + 1, /* of the least magnitude */
    KEY_INFINITY = KEY_POSITIVE + MAGNITUDES,
    KEY_NAN = KEY_INFINITY + 1,
    KEY_BITS = 18,
    KEY_MASK = (1 << KEY_BITS) - 1,
    LOG_MIN = 5, /* 4 slots */
    BUCKETS_MAX = 2 * TL_QUANTILE_BUCKETS_MAX + 4,
    LOG_MAX = TL_SKETCH_BLOCK_LOG_MAX - 1,
    USED_MAX = 3 << (LOG_MAX - 5) /* three quarters */
};

_Static_assert((int)KEY_NAN <= (int)KEY_MASK, "keys fit");
_Static_assert(TL_QUANTILE_VALUES_MAX == UINT64_MAX >> KEY_BITS, "counts fit");
_Static_assert((int)USED_MAX >= 2 * (int)BUCKETS_MAX, "folding makes room");

/* Where the buckets of one power of two begin: the mantissa's 52 bits of 2^(i / 35), rounded. */
static const uint64_t limits[PER_OCTAVE + 1] = {
    0x00000000000000, 0x0051ed35254d7b, 0x00a57de9c16bc7, 0x00faba81d4e5df, 0x0151ab8c56eea2,
    0x01aa59c4115e7d, 0x0204ce10811781, 0x02611186bae675, 0x02bf2d6a54f7da, 0x031f2b2e54f85d,
    0x0381147622f886, 0x03e4f316812c30, 0x044ad116889e7b, 0x04b2b8b0aaf3c7, 0x051cb453b9536c,
    0x0588cea3f093be, 0x05f7127c0ac32a, 0x06678aee5629f8, 0x06da4345d1e0ad, 0x074f47075017a0,
    0x07c6a1f29e2ce6, 0x08406003b2ae5c, 0x08bc8d73e16610, 0x093b36bb158fff, 0x09bc68911258c0,
    0x0a402feeb9c533, 0x0ac69a0f5a241c, 0x0b4fb472022b1a, 0x0bdb8cdadbe120, 0x0c6a31548e794d,
    0x0cfbb031a741a5, 0x0d90180e09c9e4, 0x0e2777d0676770, 0x0ec1deabbe3c14, 0x0f5f5c20dfe5f2,
    0x10000000000000,
};
/* The bucket of the first mantissa with these 6 upper bits; the last one with them is in it or in
 * the next. */
static const uint8_t first_bucket[64] = {
    0,  0,  1,  2,  3,  3,  4,  5,  5,  6,  7,  8,  8,  9,  9,  10, 11, 11, 12, 13, 13, 14,
    14, 15, 16, 16, 17, 17, 18, 18, 19, 19, 20, 20, 21, 22, 22, 23, 23, 24, 24, 24, 25, 25,
    26, 26, 27, 27, 28, 28, 29, 29, 30, 30, 30, 31, 31, 32, 32, 32, 33, 33, 34, 34,
};

/* ---- keys ---- */

static inline uint32_t key_of(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof(bits));
    uint32_t exponent = (uint32_t)(bits >> 52) & 0x7ff;
    uint64_t mantissa = bits & ((1ULL << 52) - 1);
    bool negative = bits >> 63;
    if (exponent == 0)
        return KEY_ZERO;
    if (exponent == 0x7ff)
        return mantissa ? KEY_NAN : negative ? KEY_LEAST : KEY_INFINITY;
    uint32_t bucket = first_bucket[mantissa >> 46];
    bucket += mantissa >= limits[bucket + 1];
    uint32_t magnitude = (exponent - 1) * PER_OCTAVE + bucket;
    return negative ? KEY_ZERO - 1 - magnitude : KEY_POSITIVE + magnitude;
}

/* 0 positive, 1 negative, 2 neither; *magnitude of the former two. */
static inline uint32_t sign_of(uint32_t key, uint32_t *magnitude)
{
    if (key >= KEY_POSITIVE && key < KEY_INFINITY) {
        *magnitude = key - KEY_POSITIVE;
        return 0;
    }
    if (key >= KEY_NEGATIVE && key < KEY_ZERO) {
        *magnitude = KEY_ZERO - 1 - key;
        return 1;
    }
    return 2;
}

/* What stands for a bucket: as far, relatively, from its least value as from its greatest. */
static double value_of(uint32_t key)
{
    uint32_t magnitude = 0;
    uint32_t sign = sign_of(key, &magnitude);
    if (sign == 2)
        return key == KEY_ZERO ? 0 : key == KEY_LEAST ? -INFINITY : key == KEY_NAN ? NAN : INFINITY;
    uint32_t bucket = magnitude % PER_OCTAVE;
    double unit = (double)(1ULL << 52);
    double a = 1 + (double)limits[bucket] / unit;
    double b = 1 + (double)limits[bucket + 1] / unit;
    double v = ldexp(2 * a * b / (a + b), (int)(magnitude / PER_OCTAVE) - 1022);
    return sign ? -v : v;
}

/* ---- the table ---- */

static uint32_t slot_count(const struct tl_quantile *q)
{
    return q->log ? 1u << (q->log - 3) : 0;
}

static uint32_t log_for(uint32_t buckets)
{
    uint32_t log = LOG_MIN;
    while ((uint64_t)buckets * 4 > 3ULL << (log - 3))
        log++;
    return log;
}

static inline uint32_t place_of(uint32_t key, uint32_t log)
{
    return (key * 0x9e3779b1u) >> (32 - (log - 3));
}

/* The slot of a key, or the free one where it belongs; the table has one. */
static inline uint64_t *find(uint64_t *slots, uint32_t log, uint32_t key)
{
    uint32_t mask = (1u << (log - 3)) - 1;
    uint32_t at = place_of(key, log);
    while (slots[at] && (slots[at] & KEY_MASK) != key)
        at = (at + 1) & mask;
    return &slots[at];
}

static enum tl_code resize(struct tl_quantile *q, struct tl_sketch_memory *m, uint32_t log,
                           struct tl_status *st)
{
    uint64_t *slots = tl__sketch_take(m, log, st);
    if (!slots)
        return st->code;
    memset(slots, 0, (size_t)1 << log);
    for (uint32_t i = 0; i < slot_count(q); i++) {
        if (q->slots[i])
            *find(slots, log, (uint32_t)(q->slots[i] & KEY_MASK)) = q->slots[i];
    }
    tl__sketch_give(m, q->slots, q->log);
    q->slots = slots;
    q->log = log;
    return TL_OK;
}

/* ---- in order ---- */

/* Counts the least magnitudes of one sign in the least one kept. The sign's keys stand from `first`
 * on, n of them, nearest to zero first when step is 1, last when it is -1. */
static void fold_sign(uint64_t *first, uint32_t n, int step)
{
    uint32_t many = n - TL_QUANTILE_BUCKETS_MAX;
    uint64_t *kept = step > 0 ? first + many : first + n - 1 - many;
    for (uint64_t *at = kept - step; many > 0; many--, at -= step) {
        *kept += *at & TL_QUANTILE_VALUES_MAX;
        *at = 0;
    }
}

/* Folds what is sorted; how many buckets are left. */
static uint32_t fold(uint64_t *sorted, uint32_t n)
{
    uint32_t counts[3] = {0, 0, 0};
    uint32_t magnitude;
    uint32_t first_negative = 0;
    uint32_t first_positive = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t key = (uint32_t)(sorted[i] >> (64 - KEY_BITS));
        counts[sign_of(key, &magnitude)]++;
        first_negative += key < KEY_NEGATIVE;
        first_positive += key < KEY_POSITIVE;
    }
    if (counts[0] <= TL_QUANTILE_BUCKETS_MAX && counts[1] <= TL_QUANTILE_BUCKETS_MAX)
        return n;
    if (counts[0] > TL_QUANTILE_BUCKETS_MAX)
        fold_sign(sorted + first_positive, counts[0], 1);
    if (counts[1] > TL_QUANTILE_BUCKETS_MAX)
        fold_sign(sorted + first_negative, counts[1], -1);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (sorted[i])
            sorted[kept++] = sorted[i];
    }
    return kept;
}

/* The buckets by ascending key, as key << 46 | count, in a block of *log that is given back. */
static uint64_t *sort_slots(const struct tl_quantile *q, struct tl_sketch_memory *m, uint32_t *log,
                            uint32_t *buckets, struct tl_status *st)
{
    *log = log_for(q->used);
    uint64_t *a = tl__sketch_take(m, *log, st);
    uint64_t *b = a ? tl__sketch_take(m, *log, st) : NULL;
    if (!b) {
        tl__sketch_give(m, a, *log);
        return NULL;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < slot_count(q); i++) {
        uint64_t slot = q->slots[i];
        if (slot)
            a[n++] = slot << (64 - KEY_BITS) | slot >> KEY_BITS;
    }
    uint64_t *sorted = tl__radix_sort(a, b, n);
    tl__sketch_give(m, sorted == a ? b : a, *log);
    *buckets = fold(sorted, n);
    return sorted;
}

/* A full table becomes its folded buckets. */
static enum tl_code fold_table(struct tl_quantile *q, struct tl_sketch_memory *m,
                               struct tl_status *st)
{
    uint32_t log;
    uint32_t buckets = 0;
    uint64_t *sorted = sort_slots(q, m, &log, &buckets, st);
    if (!sorted)
        return st->code;
    memset(q->slots, 0, (size_t)1 << q->log);
    for (uint32_t i = 0; i < buckets; i++) {
        uint32_t key = (uint32_t)(sorted[i] >> (64 - KEY_BITS));
        *find(q->slots, q->log, key) = sorted[i] << KEY_BITS | key;
    }
    q->used = buckets;
    tl__sketch_give(m, sorted, log);
    return TL_OK;
}

/* ---- adding ---- */

/* Adds n values of a bucket that has none yet. */
static __attribute__((noinline)) enum tl_code add_bucket(struct tl_quantile *q,
                                                         struct tl_sketch_memory *m, uint32_t key,
                                                         uint64_t n, struct tl_status *st)
{
    enum tl_code rc = TL_OK;
    if (q->used == USED_MAX)
        rc = fold_table(q, m, st);
    else if (log_for(q->used + 1) > q->log)
        rc = resize(q, m, log_for(q->used + 1), st);
    if (rc)
        return rc;
    uint64_t *slot = find(q->slots, q->log, key); /* folding may have made it */
    q->used += *slot == 0;
    *slot = ((*slot >> KEY_BITS) + n) << KEY_BITS | key;
    q->count += n;
    return TL_OK;
}

static inline enum tl_code add_key(struct tl_quantile *q, struct tl_sketch_memory *m, uint32_t key,
                                   uint64_t n, struct tl_status *st)
{
    if (__builtin_expect(n > TL_QUANTILE_VALUES_MAX - q->count, 0))
        return TL_FAIL(st, TL_LIMIT, "a sketch of quantiles holds at most 2^46 values");
    if (q->log) {
        uint64_t *slot = find(q->slots, q->log, key);
        if (*slot) {
            *slot += n << KEY_BITS;
            q->count += n;
            return TL_OK;
        }
    }
    return add_bucket(q, m, key, n, st);
}

enum tl_code tl_quantile_add(struct tl_quantile *q, struct tl_sketch_memory *m, double x,
                             uint64_t n, struct tl_status *st)
{
    tl_assert(n > 0);
    return add_key(q, m, key_of(x), n, st);
}

enum tl_code tl_quantile_merge(struct tl_quantile *q, struct tl_sketch_memory *m,
                               const struct tl_quantile *other, struct tl_status *st)
{
    tl_assert(q != other);
    enum tl_code rc = TL_OK;
    if (other->used > q->used && log_for(other->used) > q->log) /* not slot by slot */
        rc = resize(q, m, log_for(other->used), st);
    for (uint32_t i = 0; i < slot_count(other) && rc == TL_OK; i++) {
        uint64_t slot = other->slots[i];
        if (slot)
            rc = add_key(q, m, (uint32_t)(slot & KEY_MASK), slot >> KEY_BITS, st);
    }
    return rc;
}

void tl_quantile_clear(struct tl_quantile *q, struct tl_sketch_memory *m)
{
    tl__sketch_give(m, q->slots, q->log);
    *q = (struct tl_quantile){0};
}

/* ---- answers ---- */

enum tl_code tl_quantile_get(const struct tl_quantile *q, struct tl_sketch_memory *m,
                             const double *fractions, uint32_t n, double *out, struct tl_status *st)
{
    uint32_t log;
    uint32_t buckets = 0;
    uint64_t *sorted = sort_slots(q, m, &log, &buckets, st);
    if (!sorted)
        return st->code;
    for (uint32_t f = 0; f < n; f++) {
        tl_assert(fractions[f] >= 0 && fractions[f] <= 1);
        double wanted = ceil(fractions[f] * (double)q->count);
        uint64_t rank = wanted < 1 ? 1 : (uint64_t)wanted;
        rank = rank < q->count ? rank : q->count;
        uint64_t sum = 0;
        out[f] = NAN;
        for (uint32_t i = 0; i < buckets; i++) {
            sum += sorted[i] & TL_QUANTILE_VALUES_MAX;
            if (sum >= rank) {
                out[f] = value_of((uint32_t)(sorted[i] >> (64 - KEY_BITS)));
                break;
            }
        }
    }
    tl__sketch_give(m, sorted, log);
    return TL_OK;
}

/* ---- bytes ---- */

enum tl_code tl_quantile_encode(const struct tl_quantile *q, struct tl_sketch_memory *m,
                                struct tl_buffer *out, struct tl_status *st)
{
    uint32_t log;
    uint32_t buckets = 0;
    uint64_t *sorted = sort_slots(q, m, &log, &buckets, st);
    if (!sorted)
        return st->code;
    tl_buffer_put_varint(out, buckets);
    uint32_t next = 0;
    for (uint32_t i = 0; i < buckets; i++) {
        uint32_t key = (uint32_t)(sorted[i] >> (64 - KEY_BITS));
        tl_buffer_put_varint(out, key - next);
        tl_buffer_put_varint(out, sorted[i] & TL_QUANTILE_VALUES_MAX);
        next = key + 1;
    }
    tl__sketch_give(m, sorted, log);
    return tl_buffer_check(out, st);
}

static enum tl_code bad(struct tl_status *st)
{
    return TL_FAIL(st, TL_CORRUPT, "a sketch of quantiles that is none");
}

static enum tl_code prove(struct tl_reader r, uint32_t *buckets, struct tl_status *st)
{
    uint64_t n = tl_read_varint(&r);
    if (r.failed || n > BUCKETS_MAX)
        return bad(st);
    uint64_t sum = 0;
    uint64_t next = 0;
    uint32_t counts[3] = {0, 0, 0};
    for (uint64_t i = 0; i < n; i++) {
        uint64_t gap = tl_read_varint(&r);
        uint64_t count = tl_read_varint(&r);
        if (r.failed || next > KEY_NAN || gap > KEY_NAN - next || next + gap < KEY_LEAST ||
            count == 0 || count > TL_QUANTILE_VALUES_MAX - sum)
            return bad(st);
        uint32_t key = (uint32_t)(next + gap);
        uint32_t magnitude = 0;
        if (++counts[sign_of(key, &magnitude)] > TL_QUANTILE_BUCKETS_MAX)
            return bad(st);
        sum += count;
        next = key + 1u;
    }
    if (r.failed || tl_reader_left(&r))
        return bad(st);
    *buckets = (uint32_t)n;
    return TL_OK;
}

enum tl_code tl_quantile_merge_bytes(struct tl_quantile *q, struct tl_sketch_memory *m,
                                     struct tl_slice bytes, struct tl_status *st)
{
    struct tl_reader r = tl_reader_of(bytes);
    uint32_t buckets = 0;
    enum tl_code rc = prove(r, &buckets, st);
    if (rc == TL_OK && buckets > q->used && log_for(buckets) > q->log)
        rc = resize(q, m, log_for(buckets), st);
    (void)tl_read_varint(&r);
    uint32_t next = 0;
    for (uint32_t i = 0; i < buckets && rc == TL_OK; i++) {
        uint32_t key = next + (uint32_t)tl_read_varint(&r);
        rc = add_key(q, m, key, tl_read_varint(&r), st);
        next = key + 1;
    }
    return rc;
}

bool tl_quantile_check(const struct tl_quantile *q)
{
    uint64_t count = 0;
    uint32_t used = 0;
    for (uint32_t i = 0; i < slot_count(q); i++) {
        uint64_t slot = q->slots[i];
        uint32_t key = (uint32_t)(slot & KEY_MASK);
        if (!slot)
            continue;
        if (key < KEY_LEAST || key > KEY_NAN || slot >> KEY_BITS == 0 ||
            find(q->slots, q->log, key) != &q->slots[i])
            return false;
        used++;
        count += slot >> KEY_BITS;
    }
    return count == q->count && used == q->used && used * 4 <= slot_count(q) * 3;
}
