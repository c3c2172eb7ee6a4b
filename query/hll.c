/*
 * HyperLogLog: how many distinct values, from their 64-bit hashes.
 *
 * Dense form: 2^14 registers. The hash's upper 14 bits choose one, which keeps the greatest rank
 * (leading zeros + 1) seen in the other 50. The estimator is the improved raw one of O. Ertl, "New
 * cardinality estimation algorithms for HyperLogLog sketches" (2017), algorithm 6: unbiased over
 * the whole range without a table of corrections. Its standard error is 1.04 / sqrt(2^14) = 0.81 %.
 *
 * Sparse form (after S. Heule and others, "HyperLogLog in practice", 2013): up to 3,072 entries of
 * the hash's upper 21 bits, with a rank only where the last 7 of these are zero, for then the
 * dense register's rank lies beyond them. A sparse entry says all that the dense form keeps, so
 * that turning dense loses nothing against having begun dense. Counted by linear counting over 2^21
 * cells, which errs by about 0.07 %: hundreds of values are told exactly nearly always.
 *
 * The form is a function of the set alone: dense when it has more than 3,072 different sparse
 * entries. Entries only ever join and ranks only grow, so order does not matter.
 *
 * Bytes, little-endian:
 *   sparse  u8 1, varint entries (0 … 3072), then per entry, ascending: varint of the 21 bits (the
 *           first) or of the distance to the one before less one; u8 rank (1 … 44) where the 7 last
 *           bits are 0
 *   dense   u8 2, u8 base (the least register), 8,192 bytes of two registers each, the even one in
 *           the lower half: the register less the base, or 15: one of the exceptions. varint
 *           exceptions, then per exception, ascending: varint of its register's number (the first)
 *           or of the distance less one; u8 its rank (at least base + 15, at most 51)
 */
#include <math.h>
#include <string.h>

#include "base/assert.h"
#include "query/exec_int.h"
#include "query/sketch.h"

enum {
    REGISTERS = 1 << TL_HLL_PRECISION,
    RANK_MAX = 64 - TL_HLL_PRECISION + 1, /* 51 */
    SPARSE_CELLS = 1 << TL_HLL_SPARSE_PRECISION,
    SHARED_BITS = TL_HLL_SPARSE_PRECISION - TL_HLL_PRECISION, /* 7 */
    SHARED_MASK = (1 << SHARED_BITS) - 1,
    SPARSE_RANK_MAX = 64 - TL_HLL_SPARSE_PRECISION + 1, /* 44 */
    SLOTS_LOG_MIN = 4,
    DENSE_LOG = TL_HLL_PRECISION,
    FORM_SPARSE = 1,
    FORM_DENSE = 2,
    ESCAPE = 15
};

_Static_assert((int)RANK_MAX == (int)SHARED_BITS + (int)SPARSE_RANK_MAX, "ranks agree");
_Static_assert(TL_HLL_SPARSE_MAX * 4 == 3 << (DENSE_LOG - 2), "a full sparse table is as large");

/* A slot: the 21 bits above, the rank below, and a bit that says that it is used. */
#define SLOT_USED     0x80000000u
#define SLOT_CELL(s)  (((s) & ~SLOT_USED) >> 6)
#define SLOT_RANK(s)  ((s)&63)
#define SLOT_OF(c, r) (SLOT_USED | (uint32_t)(c) << 6 | (uint32_t)(r))

static uint32_t slot_of_hash(uint64_t hash)
{
    uint32_t cell = (uint32_t)(hash >> (64 - TL_HLL_SPARSE_PRECISION));
    uint32_t rank = 0;
    if ((cell & SHARED_MASK) == 0) {
        uint64_t rest = hash << TL_HLL_SPARSE_PRECISION | 1ULL << (TL_HLL_SPARSE_PRECISION - 1);
        rank = (uint32_t)__builtin_clzll(rest) + 1;
    }
    return SLOT_OF(cell, rank);
}

static uint32_t slot_count(const struct tl_hll *h)
{
    return h->log ? 1u << (h->log - 2) : 0;
}

static uint32_t place_of(uint32_t cell, uint32_t log)
{
    return (cell * 0x9e3779b1u) >> (32 - (log - 2));
}

/* Puts a slot into a table that has room and no entry of its cell. */
static void put_slot(uint32_t *slots, uint32_t log, uint32_t slot)
{
    uint32_t mask = (1u << (log - 2)) - 1;
    uint32_t at = place_of(SLOT_CELL(slot), log);
    while (slots[at])
        at = (at + 1) & mask;
    slots[at] = slot;
}

static void put_register(uint8_t *registers, uint32_t slot)
{
    uint32_t cell = SLOT_CELL(slot);
    uint32_t shared = cell & SHARED_MASK;
    uint32_t rank = shared ? (uint32_t)__builtin_clz(shared) - (32 - SHARED_BITS) + 1
                           : SHARED_BITS + SLOT_RANK(slot);
    uint8_t *r = registers + (cell >> SHARED_BITS);
    if (rank > *r)
        *r = (uint8_t)rank;
}

/* A table of 2^log bytes instead of the old one. */
static enum tl_code resize(struct tl_hll *h, struct tl_sketch_memory *m, uint32_t log,
                           struct tl_status *st)
{
    uint32_t *slots = tl__sketch_take(m, log, st);
    if (!slots)
        return st->code;
    memset(slots, 0, (size_t)1 << log);
    const uint32_t *old = h->data;
    for (uint32_t i = 0; i < slot_count(h); i++) {
        if (old[i])
            put_slot(slots, log, old[i]);
    }
    tl__sketch_give(m, h->data, h->log);
    h->data = slots;
    h->log = (uint8_t)log;
    return TL_OK;
}

static enum tl_code make_dense(struct tl_hll *h, struct tl_sketch_memory *m, struct tl_status *st)
{
    uint8_t *registers = tl__sketch_take(m, DENSE_LOG, st);
    if (!registers)
        return st->code;
    memset(registers, 0, REGISTERS);
    const uint32_t *slots = h->data;
    for (uint32_t i = 0; i < slot_count(h); i++) {
        if (slots[i])
            put_register(registers, slots[i]);
    }
    tl__sketch_give(m, h->data, h->log);
    *h = (struct tl_hll){.data = registers, .log = DENSE_LOG, .dense = true};
    return TL_OK;
}

/* Three quarters full at most: 4 slots hold 3, 4,096 hold 3,072. */
static uint32_t log_for(uint32_t entries)
{
    uint32_t log = SLOTS_LOG_MIN;
    while ((uint64_t)entries * 4 > 3ULL << (log - 2))
        log++;
    return log;
}

static enum tl_code add_slot(struct tl_hll *h, struct tl_sketch_memory *m, uint32_t slot,
                             struct tl_status *st)
{
    if (h->dense) {
        put_register(h->data, slot);
        return TL_OK;
    }
    uint32_t *slots = h->data;
    uint32_t count = slot_count(h);
    uint32_t at = h->log ? place_of(SLOT_CELL(slot), h->log) : 0;
    for (; h->log && slots[at]; at = (at + 1) & (count - 1)) {
        if (SLOT_CELL(slots[at]) == SLOT_CELL(slot)) {
            if (slot > slots[at])
                slots[at] = slot;
            return TL_OK;
        }
    }
    if ((h->count + 1) * 4 <= count * 3) { /* the free place that was found */
        slots[at] = slot;
        h->count++;
        return TL_OK;
    }
    enum tl_code rc = h->count == TL_HLL_SPARSE_MAX ? make_dense(h, m, st)
                                                    : resize(h, m, log_for(h->count + 1), st);
    return rc ? rc : add_slot(h, m, slot, st); /* once: there is room now */
}

enum tl_code tl_hll_add_sparse(struct tl_hll *h, struct tl_sketch_memory *m, uint64_t hash,
                               struct tl_status *st)
{
    return add_slot(h, m, slot_of_hash(hash), st);
}

void tl_hll_clear(struct tl_hll *h, struct tl_sketch_memory *m)
{
    tl__sketch_give(m, h->data, h->log);
    *h = (struct tl_hll){0};
}

/* Room for what is to come at once: a table filled in the order of another one's slots must not be
 * small, for they would all come to its beginning. */
static enum tl_code expect(struct tl_hll *h, struct tl_sketch_memory *m, uint32_t entries,
                           struct tl_status *st)
{
    if (h->dense || entries <= h->count || log_for(entries) <= h->log)
        return TL_OK;
    return resize(h, m, log_for(entries), st);
}

static void merge_registers(uint8_t *to, const uint8_t *from)
{
    for (uint32_t i = 0; i < REGISTERS; i++)
        to[i] = from[i] > to[i] ? from[i] : to[i];
}

enum tl_code tl_hll_merge(struct tl_hll *h, struct tl_sketch_memory *m, const struct tl_hll *other,
                          struct tl_status *st)
{
    tl_assert(h != other);
    if (other->dense) {
        enum tl_code rc = h->dense ? TL_OK : make_dense(h, m, st);
        if (rc == TL_OK)
            merge_registers(h->data, other->data);
        return rc;
    }
    enum tl_code rc = expect(h, m, other->count, st);
    const uint32_t *slots = other->data;
    for (uint32_t i = 0; i < slot_count(other) && rc == TL_OK; i++) {
        if (slots[i])
            rc = add_slot(h, m, slots[i], st);
    }
    return rc;
}

/* ---- the estimate ---- */

static double sigma(double x)
{
    if (x == 1)
        return INFINITY;
    double y = 1;
    double z = x;
    for (double before = -1; z != before;) {
        x *= x;
        before = z;
        z += x * y;
        y += y;
    }
    return z;
}

static double tau(double x)
{
    if (x == 0 || x == 1)
        return 0;
    double y = 1;
    double z = 1 - x;
    for (double before = -1; z != before;) {
        x = sqrt(x);
        before = z;
        y *= 0.5;
        z -= (1 - x) * (1 - x) * y;
    }
    return z / 3;
}

uint64_t tl_hll_estimate(const struct tl_hll *h)
{
    if (!h->dense) {
        double cells = SPARSE_CELLS;
        return (uint64_t)(-cells * log1p(-(double)h->count / cells) + 0.5);
    }
    uint32_t counts[RANK_MAX + 1] = {0};
    const uint8_t *registers = h->data;
    for (uint32_t i = 0; i < REGISTERS; i++)
        counts[registers[i]]++;
    double m = REGISTERS;
    double z = m * tau(1 - counts[RANK_MAX] / m);
    for (int k = RANK_MAX - 1; k >= 1; k--)
        z = 0.5 * (z + counts[k]);
    z += m * sigma(counts[0] / m);
    double estimate = m * m * 0.72134752044448170368 / z + 0.5; /* 1 / (2 ln 2) */
    return estimate < 18446744073709549568.0 ? (uint64_t)estimate : UINT64_MAX;
}

/* ---- bytes ---- */

static void encode_dense(const uint8_t *registers, struct tl_buffer *out)
{
    uint8_t base = RANK_MAX;
    for (uint32_t i = 0; i < REGISTERS; i++)
        base = registers[i] < base ? registers[i] : base;
    tl_buffer_put_u8(out, FORM_DENSE);
    tl_buffer_put_u8(out, base);
    uint8_t *pairs = tl_buffer_reserve(out, REGISTERS / 2);
    if (!pairs)
        return;
    uint32_t exceptions = 0;
    for (uint32_t i = 0; i < REGISTERS; i += 2) {
        uint32_t a = registers[i] - base;
        uint32_t b = registers[i + 1] - base;
        exceptions += (a >= ESCAPE) + (b >= ESCAPE);
        pairs[i / 2] = (uint8_t)((a < ESCAPE ? a : ESCAPE) | (b < ESCAPE ? b : ESCAPE) << 4);
    }
    out->size += REGISTERS / 2;
    tl_buffer_put_varint(out, exceptions);
    uint32_t next = 0;
    for (uint32_t i = 0; i < REGISTERS; i++) {
        if (registers[i] - base < ESCAPE)
            continue;
        tl_buffer_put_varint(out, i - next);
        tl_buffer_put_u8(out, registers[i]);
        next = i + 1;
    }
}

static enum tl_code encode_sparse(const struct tl_hll *h, struct tl_sketch_memory *m,
                                  struct tl_buffer *out, struct tl_status *st)
{
    tl_buffer_put_u8(out, FORM_SPARSE);
    tl_buffer_put_varint(out, h->count);
    if (h->count == 0)
        return TL_OK;
    uint32_t log = 4; /* of an array of uint64_t */
    while ((size_t)h->count * 8 > (size_t)1 << log)
        log++;
    uint64_t *a = tl__sketch_take(m, log, st);
    uint64_t *b = a ? tl__sketch_take(m, log, st) : NULL;
    if (b) {
        const uint32_t *slots = h->data;
        uint32_t n = 0;
        for (uint32_t i = 0; i < slot_count(h); i++) {
            if (slots[i])
                a[n++] = slots[i];
        }
        const uint64_t *sorted = tl__radix_sort(a, b, n);
        uint32_t next = 0;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t cell = SLOT_CELL((uint32_t)sorted[i]);
            tl_buffer_put_varint(out, cell - next);
            if ((cell & SHARED_MASK) == 0)
                tl_buffer_put_u8(out, (uint8_t)SLOT_RANK(sorted[i]));
            next = cell + 1;
        }
    }
    tl__sketch_give(m, b, log);
    tl__sketch_give(m, a, log);
    return b ? TL_OK : st->code;
}

enum tl_code tl_hll_encode(const struct tl_hll *h, struct tl_sketch_memory *m,
                           struct tl_buffer *out, struct tl_status *st)
{
    if (h->dense) {
        encode_dense(h->data, out);
    } else {
        enum tl_code rc = encode_sparse(h, m, out, st);
        if (rc)
            return rc;
    }
    return tl_buffer_check(out, st);
}

/* The next entry's number, or UINT32_MAX: beyond `limit`. */
static uint32_t read_number(struct tl_reader *r, uint32_t next, uint32_t limit)
{
    uint64_t gap = tl_read_varint(r);
    return !r->failed && gap < limit - next ? next + (uint32_t)gap : UINT32_MAX;
}

static enum tl_code bad(struct tl_status *st)
{
    return TL_FAIL(st, TL_CORRUPT, "a sketch of distinct values that is none");
}

static enum tl_code prove_sparse(struct tl_reader r, uint32_t *entries, struct tl_status *st)
{
    uint64_t count = tl_read_varint(&r);
    if (r.failed || count > TL_HLL_SPARSE_MAX)
        return bad(st);
    uint32_t next = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t cell = read_number(&r, next, SPARSE_CELLS);
        if (cell == UINT32_MAX)
            return bad(st);
        if ((cell & SHARED_MASK) == 0) {
            uint8_t rank = tl_read_u8(&r);
            if (rank < 1 || rank > SPARSE_RANK_MAX)
                return bad(st);
        }
        next = cell + 1;
    }
    if (r.failed || tl_reader_left(&r))
        return bad(st);
    *entries = (uint32_t)count;
    return TL_OK;
}

static enum tl_code merge_sparse(struct tl_hll *h, struct tl_sketch_memory *m, struct tl_reader r,
                                 struct tl_status *st)
{
    uint32_t entries = 0;
    enum tl_code rc = prove_sparse(r, &entries, st);
    if (rc == TL_OK)
        rc = expect(h, m, entries, st);
    if (rc)
        return rc;
    (void)tl_read_varint(&r);
    uint32_t next = 0;
    for (uint32_t i = 0; i < entries && rc == TL_OK; i++) {
        uint32_t cell = read_number(&r, next, SPARSE_CELLS);
        uint32_t rank = (cell & SHARED_MASK) == 0 ? tl_read_u8(&r) : 0;
        rc = add_slot(h, m, SLOT_OF(cell, rank), st);
        next = cell + 1;
    }
    return rc;
}

static uint8_t nibble(const uint8_t *pairs, uint32_t i)
{
    return i & 1 ? pairs[i / 2] >> 4 : pairs[i / 2] & 15;
}

static enum tl_code prove_dense(struct tl_reader r, struct tl_status *st)
{
    uint8_t base = tl_read_u8(&r);
    struct tl_slice pairs = tl_read_bytes(&r, REGISTERS / 2);
    uint64_t exceptions = tl_read_varint(&r);
    if (r.failed || base > RANK_MAX)
        return bad(st);
    uint32_t escapes = 0;
    bool met = false;
    for (uint32_t i = 0; i < REGISTERS; i++) {
        uint8_t v = nibble(pairs.data, i);
        if (v < ESCAPE && base + v > RANK_MAX)
            return bad(st);
        escapes += v == ESCAPE;
        met |= v == 0;
    }
    if (exceptions != escapes || !met)
        return bad(st);
    uint32_t next = 0;
    for (uint32_t k = 0; k < escapes; k++) {
        uint32_t i = read_number(&r, next, REGISTERS);
        uint8_t rank = tl_read_u8(&r);
        if (i == UINT32_MAX || r.failed || nibble(pairs.data, i) != ESCAPE ||
            rank < base + ESCAPE || rank > RANK_MAX)
            return bad(st);
        next = i + 1;
    }
    return r.failed || tl_reader_left(&r) ? bad(st) : TL_OK;
}

static enum tl_code merge_dense(struct tl_hll *h, struct tl_sketch_memory *m, struct tl_reader r,
                                struct tl_status *st)
{
    enum tl_code rc = prove_dense(r, st);
    if (rc == TL_OK && !h->dense)
        rc = make_dense(h, m, st);
    if (rc)
        return rc;
    uint8_t *registers = h->data;
    uint8_t base = tl_read_u8(&r);
    struct tl_slice pairs = tl_read_bytes(&r, REGISTERS / 2);
    uint64_t exceptions = tl_read_varint(&r);
    for (uint32_t i = 0; i < REGISTERS; i++) {
        uint8_t v = nibble(pairs.data, i);
        if (v < ESCAPE && base + v > registers[i])
            registers[i] = (uint8_t)(base + v);
    }
    uint32_t next = 0;
    for (uint64_t k = 0; k < exceptions; k++) {
        uint32_t i = read_number(&r, next, REGISTERS);
        uint8_t rank = tl_read_u8(&r);
        if (rank > registers[i])
            registers[i] = rank;
        next = i + 1;
    }
    return TL_OK;
}

enum tl_code tl_hll_merge_bytes(struct tl_hll *h, struct tl_sketch_memory *m, struct tl_slice bytes,
                                struct tl_status *st)
{
    struct tl_reader r = tl_reader_of(bytes);
    switch (tl_read_u8(&r)) {
    case FORM_SPARSE:
        return merge_sparse(h, m, r, st);
    case FORM_DENSE:
        return merge_dense(h, m, r, st);
    default:
        return bad(st);
    }
}

bool tl_hll_check(const struct tl_hll *h)
{
    if (h->dense) {
        const uint8_t *registers = h->data;
        for (uint32_t i = 0; i < REGISTERS; i++) {
            if (registers[i] > RANK_MAX)
                return false;
        }
        return h->log == DENSE_LOG;
    }
    const uint32_t *slots = h->data;
    uint32_t used = 0;
    for (uint32_t i = 0; i < slot_count(h); i++) {
        if (!slots[i])
            continue;
        used++;
        bool ranked = (SLOT_CELL(slots[i]) & SHARED_MASK) == 0;
        if (SLOT_CELL(slots[i]) >= SPARSE_CELLS || ranked != (SLOT_RANK(slots[i]) > 0) ||
            SLOT_RANK(slots[i]) > SPARSE_RANK_MAX)
            return false;
    }
    return used == h->count && used <= TL_HLL_SPARSE_MAX && used * 4 <= slot_count(h) * 3;
}
