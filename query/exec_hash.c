/*
 * Growable arrays, a radix sort, and tables that number distinct values.
 *
 * Tables are open-addressed with linear probing, at most half full, and grow by doubling. Values of
 * up to eight bytes stand in their slots; for strings and 16-byte values a slot holds 32 bits of
 * the hash and the id, so that a value's bytes are looked at only when these agree. Strings are
 * interned in small groups: first all hashes, with a prefetch of their slots, then the probes.
 */
#include <string.h>

#include "base/hash.h"
#include "query/exec_int.h"

/* ---- arrays ---- */

enum { ARRAY_MIN = 16 };

void tl__array_init(struct tl__array *a, struct tl_budget *budget, uint32_t width)
{
    *a = (struct tl__array){.width = width};
    tl_arena_init(&a->arena, budget, 0);
}

void tl__array_deinit(struct tl__array *a)
{
    tl_arena_deinit(&a->arena);
    a->data = NULL;
    a->size = a->capacity = 0;
}

enum tl_code tl__array_reserve(struct tl__array *a, size_t capacity, bool zero,
                               struct tl_status *st)
{
    if (capacity <= a->capacity)
        return TL_OK;
    if (capacity < a->capacity * 2)
        capacity = a->capacity * 2;
    if (capacity < ARRAY_MIN)
        capacity = ARRAY_MIN;
    size_t bytes;
    if (!tl_mul_size(capacity, a->width, &bytes))
        return TL_FAIL(st, TL_LIMIT, "an array of %zu elements is beyond any limit", capacity);
    struct tl_arena grown;
    tl_arena_init(&grown, a->arena.budget, 0);
    uint8_t *data = tl_arena_alloc(&grown, bytes, st);
    if (!data)
        return st->code;
    size_t old = a->capacity * a->width;
    if (old)
        memcpy(data, a->data, old);
    if (zero)
        memset(data + old, 0, bytes - old);
    tl_arena_deinit(&a->arena);
    a->arena = grown;
    a->data = data;
    a->capacity = capacity;
    return TL_OK;
}

/* ---- sorting ---- */

uint64_t *tl__radix_sort(uint64_t *a, uint64_t *other, size_t n)
{
    if (n < 64) { /* insertion */
        for (size_t i = 1; i < n; i++) {
            uint64_t x = a[i];
            size_t at = i;
            for (; at > 0 && a[at - 1] > x; at--)
                a[at] = a[at - 1];
            a[at] = x;
        }
        return a;
    }
    uint64_t all = 0;
    uint64_t none = ~(uint64_t)0;
    for (size_t i = 0; i < n; i++) {
        all |= a[i];
        none &= a[i];
    }
    uint64_t varies = all ^ none; /* bytes that are alike everywhere need no pass */
    for (unsigned shift = 0; shift < 64; shift += 8) {
        if (!((varies >> shift) & 0xff))
            continue;
        size_t starts[256] = {0};
        for (size_t i = 0; i < n; i++)
            starts[(a[i] >> shift) & 0xff]++;
        size_t sum = 0;
        for (int b = 0; b < 256; b++) {
            size_t count = starts[b];
            starts[b] = sum;
            sum += count;
        }
        for (size_t i = 0; i < n; i++)
            other[starts[(a[i] >> shift) & 0xff]++] = a[i];
        uint64_t *t = a;
        a = other;
        other = t;
    }
    return a;
}

/* ---- values as 64 bits ---- */

int64_t tl__fixed_get(struct tl_type type, const void *data, size_t at)
{
    switch (type.kind) {
    case TL_BOOLEAN:
        return ((const uint8_t *)data)[at];
    case TL_DATE:
        return ((const int32_t *)data)[at];
    case TL_DOUBLE: {
        double d = ((const double *)data)[at];
        int64_t bits;
        if (d == 0)
            d = 0; /* minus zero equals zero */
        if (d != d)
            return INT64_C(0x7ff8000000000000); /* one NaN for all */
        memcpy(&bits, &d, sizeof(bits));
        return bits;
    }
    default:
        return ((const int64_t *)data)[at];
    }
}

void tl__fixed_put(struct tl_type type, void *data, size_t at, int64_t v)
{
    switch (type.kind) {
    case TL_BOOLEAN:
        ((uint8_t *)data)[at] = (uint8_t)v;
        break;
    case TL_DATE:
        ((int32_t *)data)[at] = (int32_t)v;
        break;
    default:
        memcpy((uint8_t *)data + at * 8, &v, 8);
    }
}

/* ---- interning ---- */

enum { SLOTS_MIN = 64, GROUP = 64, TEXT_BLOCK_MIN = 1024, TEXT_BLOCK_MAX = 1 << 20 };

struct fixed_slot {
    int64_t value;
    uint32_t id; /* + 1 */
    uint32_t unused;
};

static enum tl__value_class class_of(struct tl_type type)
{
    if (tl_kind_is_bytes(type.kind))
        return TL__TEXT;
    return tl_kind_width(type.kind) > 8 ? TL__WIDE : TL__FIXED;
}

void tl__intern_init(struct tl__intern *t, struct tl_type type, bool copies,
                     struct tl_budget *budget)
{
    *t = (struct tl__intern){.class = (uint8_t)class_of(type), .type = type, .copies = copies};
    tl__array_init(&t->values, budget, t->class == TL__FIXED ? 8 : 16);
    tl__array_init(&t->slots, budget, t->class == TL__FIXED ? sizeof(struct fixed_slot) : 8);
    tl_arena_init(&t->text, budget, 0);
}

void tl__intern_deinit(struct tl__intern *t)
{
    tl__array_deinit(&t->values);
    tl__array_deinit(&t->slots);
    tl_arena_deinit(&t->text);
}

static inline uint32_t fixed_hash(int64_t v)
{
    uint64_t x = (uint64_t)v;
    x = (x ^ x >> 32) * 0x9e3779b97f4a7c15ULL;
    return (uint32_t)(x >> 32);
}

static inline uint32_t text_hash(struct tl_slice s)
{
    return (uint32_t)(tl_hash64(s.data, s.size) >> 32);
}

static enum tl_code new_id(struct tl__intern *t, uint32_t *id, struct tl_status *st)
{
    if (t->count == UINT32_MAX - 1)
        return TL_FAIL(st, TL_LIMIT, "more than %u distinct values", UINT32_MAX - 1);
    enum tl_code rc = tl__array_reserve(&t->values, (size_t)t->count + 1, false, st);
    if (rc)
        return rc;
    *id = t->count++;
    return TL_OK;
}

static inline bool is_full(const struct tl__intern *t)
{
    return ((uint64_t)t->count + 1) * 2 > t->slots.capacity;
}

static __attribute__((noinline)) enum tl_code grow_slots(struct tl__intern *t, struct tl_status *st)
{
    size_t old_count = t->slots.capacity;
    struct tl__array old = t->slots;
    tl__array_init(&t->slots, old.arena.budget, old.width);
    enum tl_code rc =
        tl__array_reserve(&t->slots, old_count ? old_count * 2 : (size_t)SLOTS_MIN, true, st);
    if (rc) {
        t->slots = old;
        return rc;
    }
    uint32_t mask = (uint32_t)t->slots.capacity - 1;
    t->slot_mask = mask;
    for (size_t i = 0; i < old_count; i++) {
        if (t->class == TL__FIXED) {
            struct fixed_slot s = TL__AT(struct fixed_slot, &old, i);
            if (!s.id)
                continue;
            uint32_t at = fixed_hash(s.value) & mask;
            while (TL__AT(struct fixed_slot, &t->slots, at).id)
                at = (at + 1) & mask;
            TL__AT(struct fixed_slot, &t->slots, at) = s;
        } else {
            uint64_t s = TL__AT(uint64_t, &old, i);
            if (!s)
                continue;
            uint32_t at = (uint32_t)(s >> 32) & mask;
            while (TL__AT(uint64_t, &t->slots, at))
                at = (at + 1) & mask;
            TL__AT(uint64_t, &t->slots, at) = s;
        }
    }
    tl__array_deinit(&old);
    return TL_OK;
}

enum tl_code tl__intern_expect(struct tl__intern *t, size_t count, struct tl_status *st)
{
    size_t slots = SLOTS_MIN;
    if (t->slots.capacity > 0 || count > UINT32_MAX / 4)
        return TL_OK;
    while (slots < 2 * (count + 1))
        slots *= 2;
    if (tl__array_reserve(&t->values, count, false, st) ||
        tl__array_reserve(&t->slots, slots, true, st))
        return st->code;
    t->slot_mask = (uint32_t)t->slots.capacity - 1;
    return TL_OK;
}

/* The way of a value that is not in the table. */
static __attribute__((noinline)) enum tl_code add_fixed(struct tl__intern *t, int64_t v,
                                                        uint32_t *id, struct tl_status *st)
{
    enum tl_code rc = is_full(t) ? grow_slots(t, st) : TL_OK;
    if (rc == TL_OK)
        rc = new_id(t, id, st);
    if (rc)
        return rc;
    TL__AT(int64_t, &t->values, *id) = v;
    uint32_t at = fixed_hash(v) & t->slot_mask;
    while (TL__AT(struct fixed_slot, &t->slots, at).id)
        at = (at + 1) & t->slot_mask;
    TL__AT(struct fixed_slot, &t->slots, at) = (struct fixed_slot){v, *id + 1, 0};
    return TL_OK;
}

static inline enum tl_code find_fixed(struct tl__intern *t, int64_t v, uint32_t *id,
                                      struct tl_status *st)
{
    if (t->slots.capacity) {
        const struct fixed_slot *slots = (const struct fixed_slot *)(const void *)t->slots.data;
        uint32_t at = fixed_hash(v) & t->slot_mask;
        for (; slots[at].id; at = (at + 1) & t->slot_mask) {
            if (slots[at].value == v) {
                *id = slots[at].id - 1;
                return TL_OK;
            }
        }
    }
    return add_fixed(t, v, id, st);
}

enum tl_code tl__intern_fixed(struct tl__intern *t, int64_t v, uint32_t *id, struct tl_status *st)
{
    return find_fixed(t, v, id, st);
}

enum tl_code tl__intern_null(struct tl__intern *t, uint32_t *id, struct tl_status *st)
{
    if (!t->null_id) {
        uint32_t new = 0;
        enum tl_code rc = new_id(t, &new, st);
        if (rc)
            return rc;
        memset(t->values.data + (size_t) new * t->values.width, 0, t->values.width);
        t->null_id = new + 1;
    }
    *id = t->null_id - 1;
    return TL_OK;
}

/* Copies of strings lie close together, without alignment. */
static enum tl_code keep_text(struct tl__intern *t, struct tl_slice s, struct tl_slice *out,
                              struct tl_status *st)
{
    if (!t->copies || s.size == 0) {
        *out = s;
        return TL_OK;
    }
    if (s.size > (size_t)(t->text_end - t->text_next)) {
        size_t block = tl_arena_bytes(&t->text) > TEXT_BLOCK_MAX ? TEXT_BLOCK_MAX : TEXT_BLOCK_MIN;
        if (t->count > 64 && block < TEXT_BLOCK_MAX)
            block = (size_t)16 * TEXT_BLOCK_MIN;
        if (block < s.size)
            block = s.size;
        uint8_t *p = tl_arena_alloc(&t->text, block, st);
        if (!p)
            return st->code;
        t->text_next = p;
        t->text_end = p + block;
    }
    memcpy(t->text_next, s.data, s.size);
    *out = tl_slice_of(t->text_next, s.size);
    t->text_next += s.size;
    return TL_OK;
}

static enum tl_code find_text(struct tl__intern *t, struct tl_slice s, uint32_t hash, uint32_t *id,
                              struct tl_status *st)
{
    enum tl_code rc = is_full(t) ? grow_slots(t, st) : TL_OK;
    if (rc)
        return rc;
    uint64_t *slots = (uint64_t *)(void *)t->slots.data;
    const struct tl_slice *values = (const struct tl_slice *)(const void *)t->values.data;
    uint32_t at = hash & t->slot_mask;
    for (; slots[at]; at = (at + 1) & t->slot_mask) {
        if (slots[at] >> 32 == hash && tl_slice_eq(values[(uint32_t)slots[at] - 1], s)) {
            *id = (uint32_t)slots[at] - 1;
            return TL_OK;
        }
    }
    struct tl_slice kept;
    rc = keep_text(t, s, &kept, st);
    if (rc == TL_OK)
        rc = new_id(t, id, st);
    if (rc)
        return rc;
    TL__AT(struct tl_slice, &t->values, *id) = kept;
    slots[at] = (uint64_t)hash << 32 | (*id + 1);
    return TL_OK;
}

static enum tl_code intern_group(struct tl__intern *t, const struct tl_slice *texts, uint32_t n,
                                 uint32_t *ids, struct tl_status *st)
{
    uint32_t hashes[GROUP];
    const uint64_t *slots = (const uint64_t *)(const void *)t->slots.data;
    for (uint32_t i = 0; i < n; i++) {
        hashes[i] = text_hash(texts[i]);
        if (slots)
            __builtin_prefetch(&slots[hashes[i] & t->slot_mask], 1);
    }
    for (uint32_t i = 0; i < n; i++) {
        enum tl_code rc = find_text(t, texts[i], hashes[i], &ids[i], st);
        if (rc)
            return rc;
    }
    return TL_OK;
}

enum tl_code tl__intern_texts(struct tl__intern *t, const struct tl_slice *texts, uint32_t n,
                              uint32_t *ids, struct tl_status *st)
{
    for (uint32_t from = 0; from < n; from += GROUP) {
        uint32_t m = n - from < GROUP ? n - from : (uint32_t)GROUP;
        enum tl_code rc = intern_group(t, texts + from, m, ids + from, st);
        if (rc)
            return rc;
    }
    return TL_OK;
}

/* 16-byte values: equal decimals of one scale have equal bytes; intervals are brought to the form
 * that equal ones share first (PostgreSQL compares 30 days and a month as equal). */
static void wide_bytes(struct tl_type type, const void *data, size_t at, uint8_t out[16])
{
    if (type.kind == TL_INTERVAL) {
        tl_i128 span = 0;
        struct tl_interval v = ((const struct tl_interval *)data)[at];
        span = (tl_i128)v.us + ((tl_i128)v.days + (tl_i128)v.months * 30) * 86400000000LL;
        memcpy(out, &span, 16);
        return;
    }
    memcpy(out, (const uint8_t *)data + at * 16, 16);
}

static enum tl_code find_wide(struct tl__intern *t, const void *data, size_t row, uint32_t *id,
                              struct tl_status *st)
{
    enum tl_code rc = is_full(t) ? grow_slots(t, st) : TL_OK;
    if (rc)
        return rc;
    uint8_t key[16];
    wide_bytes(t->type, data, row, key);
    uint32_t hash = (uint32_t)(tl_hash64(key, 16) >> 32);
    uint32_t at = hash & t->slot_mask;
    for (uint64_t s; (s = TL__AT(uint64_t, &t->slots, at)) != 0; at = (at + 1) & t->slot_mask) {
        uint8_t other[16];
        if (s >> 32 != hash)
            continue;
        wide_bytes(t->type, t->values.data, (uint32_t)s - 1, other);
        if (memcmp(key, other, 16) == 0) {
            *id = (uint32_t)s - 1;
            return TL_OK;
        }
    }
    rc = new_id(t, id, st);
    if (rc)
        return rc;
    memcpy(t->values.data + (size_t)*id * 16, (const uint8_t *)data + row * 16, 16);
    TL__AT(uint64_t, &t->slots, at) = (uint64_t)hash << 32 | (*id + 1);
    return TL_OK;
}

static enum tl_code text_rows(struct tl__intern *t, const struct tl_vector *v, const uint16_t *sel,
                              uint32_t n, uint32_t *ids, struct tl_status *st)
{
    const struct tl_slice *values = v->data;
    struct tl_slice texts[GROUP];
    uint16_t rows[GROUP];
    uint32_t found[GROUP];
    uint32_t m = 0;
    for (uint32_t k = 0; k <= n; k++) {
        if (m == GROUP || (k == n && m > 0)) {
            enum tl_code rc = intern_group(t, texts, m, found, st);
            if (rc)
                return rc;
            for (uint32_t i = 0; i < m; i++)
                ids[rows[i]] = found[i];
            m = 0;
        }
        if (k == n)
            break;
        uint32_t row = sel ? sel[k] : k;
        if (!tl_vector_valid(v, row)) {
            enum tl_code rc = tl__intern_null(t, &ids[row], st);
            if (rc)
                return rc;
            continue;
        }
        rows[m] = (uint16_t)row;
        texts[m++] = values[row];
    }
    return TL_OK;
}

/* One value for all rows. */
static enum tl_code constant_rows(struct tl__intern *t, const struct tl_vector *v,
                                  const uint16_t *sel, uint32_t n, uint32_t *ids,
                                  struct tl_status *st)
{
    uint32_t id;
    enum tl_code rc;
    if (!tl_vector_valid(v, 0)) {
        rc = tl__intern_null(t, &id, st);
    } else if (t->class == TL__TEXT) {
        struct tl_slice s = *(const struct tl_slice *)v->data;
        rc = find_text(t, s, text_hash(s), &id, st);
    } else if (t->class == TL__WIDE) {
        rc = find_wide(t, v->data, 0, &id, st);
    } else {
        rc = find_fixed(t, tl__fixed_get(v->type, v->data, 0), &id, st);
    }
    if (rc)
        return rc;
    for (uint32_t k = 0; k < n; k++)
        ids[sel ? sel[k] : k] = id;
    return TL_OK;
}

/* Rows of one value stand together: a lookup per run where runs are long, else one per row without
 * a branch on whether the value has changed. */
static enum tl_code fixed_rows(struct tl__intern *t, const struct tl_vector *v, const uint16_t *sel,
                               uint32_t n, uint32_t *ids, uint32_t *changes, struct tl_status *st)
{
    int64_t few[TL_VECTOR_ROWS_MAX];
    const int64_t *x = few;
    bool plain = v->type.kind != TL_BOOLEAN && v->type.kind != TL_DATE && v->type.kind != TL_DOUBLE;
    if (!plain) {
        for (uint32_t k = 0; k < n; k++)
            few[k] = tl__fixed_get(v->type, v->data, sel ? sel[k] : k);
    } else if (sel) {
        for (uint32_t k = 0; k < n; k++)
            few[k] = ((const int64_t *)v->data)[sel[k]];
    } else {
        x = v->data;
    }
    uint32_t count = 0;
    for (uint32_t k = 1; k < n; k++)
        count += x[k] != x[k - 1];
    *changes = count;
    enum tl_code rc;
    if (count < n / 4) {
        for (uint32_t k = 0; k < n;) {
            uint32_t id;
            int64_t value = x[k];
            rc = find_fixed(t, value, &id, st);
            if (rc)
                return rc;
            if (sel) {
                for (; k < n && x[k] == value; k++)
                    ids[sel[k]] = id;
            } else {
                for (; k < n && x[k] == value; k++)
                    ids[k] = id;
            }
        }
        return TL_OK;
    }
    for (uint32_t k = 0; k < n; k++) {
        rc = find_fixed(t, x[k], &ids[sel ? sel[k] : k], st);
        if (rc)
            return rc;
    }
    return TL_OK;
}

enum tl_code tl__intern_rows(struct tl__intern *t, const struct tl_vector *v, const uint16_t *sel,
                             uint32_t n, uint32_t *ids, uint32_t *changes, struct tl_status *st)
{
    uint32_t unwanted;
    if (!changes)
        changes = &unwanted;
    *changes = UINT32_MAX;
    if (n == 0)
        return TL_OK;
    if (v->shape == TL_CONST) {
        *changes = 0;
        return constant_rows(t, v, sel, n, ids, st);
    }
    tl_assert(v->shape == TL_FLAT);
    if (t->class == TL__TEXT)
        return text_rows(t, v, sel, n, ids, st);
    if (t->class == TL__FIXED && !v->validity)
        return fixed_rows(t, v, sel, n, ids, changes, st);
    for (uint32_t k = 0; k < n; k++) {
        uint32_t row = sel ? sel[k] : k;
        enum tl_code rc;
        if (!tl_vector_valid(v, row))
            rc = tl__intern_null(t, &ids[row], st);
        else if (t->class == TL__WIDE)
            rc = find_wide(t, v->data, row, &ids[row], st);
        else
            rc = find_fixed(t, tl__fixed_get(v->type, v->data, row), &ids[row], st);
        if (rc)
            return rc;
    }
    return TL_OK;
}

bool tl__intern_get(const struct tl__intern *t, uint32_t id, void *data, uint32_t row)
{
    if (t->null_id && id == t->null_id - 1) {
        uint32_t width = tl_kind_width(t->type.kind);
        memset((uint8_t *)data + (size_t)row * width, 0, width);
        return false;
    }
    if (t->class == TL__FIXED)
        tl__fixed_put(t->type, data, row, TL__AT(int64_t, &t->values, id));
    else
        memcpy((uint8_t *)data + (size_t)row * 16, t->values.data + (size_t)id * 16, 16);
    return true;
}
