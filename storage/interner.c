/*
 * An open-addressed table of (tag, code) over copied strings. The tag is 32 bits of the string's
 * hash: it finds the place, tells most strangers apart without their bytes, and lets the table
 * grow without hashing again.
 */
#include "storage/interner_int.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/hash.h"

enum {
    CHUNK_BYTES = 256 << 10,  /* of copied strings; holds the longest */
    SLOTS_MIN = 1024,         /* of the hash table */
    SLOTS_KEPT_MAX = 1 << 17, /* a larger table is not kept for the next column */
    LOOK_AHEAD = 8,           /* strings whose slots are fetched before they are asked */
};
#define CODE_NONE    UINT32_MAX       /* not mapped yet */
#define CODE_PENDING (UINT32_MAX - 1) /* asked for in this call */

_Static_assert((int)CHUNK_BYTES >= (int)TL_TEXT_BYTES_MAX, "a chunk holds any text");

struct tl__interner_chunk {
    struct tl__interner_chunk *next;
    size_t size, used;
    uint8_t data[];
};

void tl__interner_init(struct tl__interner *d, struct tl_budget *budget)
{
    memset(d, 0, sizeof(*d));
    d->budget = budget;
}

static enum tl_code charge(struct tl__interner *d, size_t size, struct tl_status *st)
{
    if (d->budget) {
        enum tl_code rc = tl_budget_charge(d->budget, size, st);
        if (rc)
            return rc;
    }
    d->charged += size;
    return TL_OK;
}

static void release(struct tl__interner *d, size_t size)
{
    tl_assert(d->charged >= size);
    d->charged -= size;
    if (d->budget)
        tl_budget_release(d->budget, size);
}

static enum tl_code no_memory(struct tl_status *st)
{
    return TL_FAIL(st, TL_LIMIT, "no memory for a dictionary");
}

/* Memory for a table of `slot_count`, not cleared, in the spare one's place. */
static enum tl_code spare_reserve(struct tl__interner *d, uint32_t slot_count, struct tl_status *st)
{
    if (slot_count <= d->spare_capacity)
        return TL_OK;
    free(d->spare);
    release(d, (size_t)d->spare_capacity * sizeof(*d->spare));
    d->spare = NULL;
    d->spare_capacity = 0;
    enum tl_code rc = charge(d, (size_t)slot_count * sizeof(*d->spare), st);
    if (rc)
        return rc;
    d->spare = malloc((size_t)slot_count * sizeof(*d->spare));
    if (!d->spare) {
        release(d, (size_t)slot_count * sizeof(*d->spare));
        return no_memory(st);
    }
    d->spare_capacity = slot_count;
    return TL_OK;
}

static void slots_swap(struct tl__interner *d)
{
    uint64_t *slots = d->slots;
    uint32_t capacity = d->slot_capacity;
    d->slots = d->spare;
    d->slot_capacity = d->spare_capacity;
    d->spare = slots;
    d->spare_capacity = capacity;
}

/* A larger table, with all that the old one holds. */
static enum tl_code slots_grow(struct tl__interner *d, uint32_t slot_count, struct tl_status *st)
{
    enum tl_code rc = spare_reserve(d, slot_count, st);
    if (rc)
        return rc;
    memset(d->spare, 0, (size_t)slot_count * sizeof(*d->spare));
    uint32_t mask = slot_count - 1;
    for (uint32_t i = 0; i < d->slot_count; i++) {
        if (d->slots[i] == 0)
            continue;
        uint32_t at = (uint32_t)(d->slots[i] >> 32) & mask;
        while (d->spare[at] != 0)
            at = (at + 1) & mask;
        d->spare[at] = d->slots[i];
    }
    slots_swap(d);
    d->slot_count = slot_count;
    return TL_OK;
}

static enum tl_code values_grow(struct tl__interner *d, struct tl_status *st)
{
    uint32_t capacity = d->capacity ? d->capacity * 2 : 1024;
    size_t more = (size_t)(capacity - d->capacity) * sizeof(*d->values);
    enum tl_code rc = charge(d, more, st);
    if (rc)
        return rc;
    struct tl_slice *values = realloc(d->values, (size_t)capacity * sizeof(*values));
    if (!values) {
        release(d, more);
        return no_memory(st);
    }
    d->values = values;
    d->capacity = capacity;
    return TL_OK;
}

static enum tl_code copy_string(struct tl__interner *d, struct tl_slice value, struct tl_slice *out,
                                struct tl_status *st)
{
    struct tl__interner_chunk *c = d->chunks;
    if (!c || c->size - c->used < value.size) {
        enum tl_code rc = charge(d, sizeof(*c) + CHUNK_BYTES, st);
        if (rc)
            return rc;
        c = malloc(sizeof(*c) + CHUNK_BYTES);
        if (!c) {
            release(d, sizeof(*c) + CHUNK_BYTES);
            return no_memory(st);
        }
        c->next = d->chunks;
        c->size = CHUNK_BYTES;
        c->used = 0;
        d->chunks = c;
    }
    uint8_t *to = c->data + c->used;
    if (value.size > 0)
        memcpy(to, value.data, value.size);
    c->used += value.size;
    *out = tl_slice_of(to, value.size);
    return TL_OK;
}

/* The place in the table where a string's look-up begins. */
static uint32_t string_tag(struct tl_slice value)
{
    return (uint32_t)tl_hash64(value.data, value.size);
}

static enum tl_code intern_tagged(struct tl__interner *d, struct tl_slice value, uint32_t tag,
                                  uint32_t *code, struct tl_status *st)
{
    if (value.size > TL_TEXT_BYTES_MAX)
        return TL_FAIL(st, TL_INVALID, "a text of %zu bytes, more than %d", value.size,
                       TL_TEXT_BYTES_MAX);
    uint32_t mask = d->slot_count - 1;
    uint32_t at = tag & mask;
    for (; d->slots[at] != 0; at = (at + 1) & mask) {
        if ((uint32_t)(d->slots[at] >> 32) != tag)
            continue;
        uint32_t c = (uint32_t)d->slots[at] - 1;
        if (tl_slice_eq(d->values[c], value)) {
            *code = c;
            return TL_OK;
        }
    }
    enum tl_code rc = TL_OK;
    if (d->count >= CODE_PENDING - 1)
        return TL_FAIL(st, TL_LIMIT, "a column with 2^32 distinct texts");
    if (d->count == d->capacity)
        rc = values_grow(d, st);
    if (!rc)
        rc = copy_string(d, value, &d->values[d->count], st);
    if (rc)
        return rc;
    *code = d->count++;
    d->slots[at] = (uint64_t)tag << 32 | (*code + 1);
    if ((uint64_t)d->count * 2 > d->slot_count)
        return slots_grow(d, d->slot_count * 2, st);
    return TL_OK;
}

enum tl_code tl__interner_intern(struct tl__interner *d, struct tl_slice value, uint32_t *code,
                                 struct tl_status *st)
{
    return intern_tagged(d, value, string_tag(value), code, st);
}

/* d->strings[0 … count), which codes d->wanted of a source stand for. A table of many strings lies
 * outside the near caches: its slots are fetched some strings ahead. */
static enum tl_code intern_wanted(struct tl__interner *d, uint32_t *map, uint32_t count,
                                  struct tl_status *st)
{
    uint32_t *tags = d->tags;
    for (uint32_t i = 0; i < count; i++)
        tags[i] = string_tag(d->strings[i]);
    for (uint32_t i = 0; i < count; i++) {
        if (i + LOOK_AHEAD < count)
            __builtin_prefetch(&d->slots[tags[i + LOOK_AHEAD] & (d->slot_count - 1)]);
        enum tl_code rc = intern_tagged(d, d->strings[i], tags[i], &map[d->wanted[i]], st);
        if (rc)
            return rc;
    }
    return TL_OK;
}

static void free_chunks(struct tl__interner *d, bool keep_one)
{
    while (d->chunks && (!keep_one || d->chunks->next)) {
        struct tl__interner_chunk *c = d->chunks;
        d->chunks = c->next;
        release(d, sizeof(*c) + c->size);
        free(c);
    }
    if (d->chunks)
        d->chunks->used = 0;
}

static void sources_forget(struct tl__interner *d)
{
    for (uint32_t i = 0; i < d->source_count; i++)
        d->sources[i].id = 0;
    /* The arrays stay for the next column. */
}

/* Empties the dictionary, and keeps what a usual column needs. */
enum tl_code tl__interner_reset(struct tl__interner *d, struct tl_status *st)
{
    free_chunks(d, true);
    sources_forget(d);
    d->count = 0;
    for (int i = 0; i < 2; i++) {
        if (d->spare_capacity > SLOTS_KEPT_MAX) {
            free(d->spare);
            release(d, (size_t)d->spare_capacity * sizeof(*d->spare));
            d->spare = NULL;
            d->spare_capacity = 0;
        }
        slots_swap(d);
    }
    if (d->slot_capacity < SLOTS_MIN) {
        slots_swap(d);
        enum tl_code rc = spare_reserve(d, SLOTS_MIN, st);
        slots_swap(d);
        if (rc)
            return rc;
    }
    d->slot_count = SLOTS_MIN;
    memset(d->slots, 0, (size_t)SLOTS_MIN * sizeof(*d->slots));
    return TL_OK;
}

static enum tl_code source_grow(struct tl__interner *d, struct tl__interner_source *s,
                                uint32_t count, struct tl_status *st)
{
    if (count > s->capacity) {
        size_t more = (size_t)(count - s->capacity) * sizeof(*s->map);
        enum tl_code rc = charge(d, more, st);
        if (rc)
            return rc;
        uint32_t *map = realloc(s->map, (size_t)count * sizeof(*map));
        if (!map) {
            release(d, more);
            return no_memory(st);
        }
        s->map = map;
        s->capacity = count;
    }
    memset(s->map + s->size, 0xff, (size_t)(count - s->size) * sizeof(*s->map));
    s->size = count;
    return TL_OK;
}

static enum tl_code source_find(struct tl__interner *d, const struct tl_dict *dict,
                                struct tl__interner_source **out, struct tl_status *st)
{
    struct tl__interner_source *found = NULL, *oldest = NULL;
    for (uint32_t i = 0; i < d->source_count; i++) {
        struct tl__interner_source *s = &d->sources[i];
        if (s->id == dict->id) {
            found = s;
            break;
        }
        if (!oldest || s->id == 0 || (oldest->id != 0 && s->last_use < oldest->last_use))
            oldest = s;
    }
    if (!found) {
        if (oldest && (oldest->id == 0 || d->source_count == TL__INTERNER_SOURCES_MAX))
            found = oldest;
        else
            found = &d->sources[d->source_count++];
        found->id = dict->id;
        found->size = 0;
    }
    found->last_use = ++d->uses;
    *out = found;
    /* A growing dictionary keeps its id and the codes that it gave. */
    return found->size < dict->count ? source_grow(d, found, dict->count, st) : TL_OK;
}

static enum tl_code map_codes(struct tl__interner *d, const struct tl_vector *v, uint32_t *codes,
                              struct tl_status *st)
{
    struct tl__interner_source *s;
    enum tl_code rc = source_find(d, v->dict, &s, st);
    if (rc)
        return rc;
    uint32_t wanted = 0;
    uint32_t *map = s->map;
    uint32_t size = s->size;
    if (!v->validity) {
        /* Usually every code was met before: one look-up a row, and nothing to decide. */
        uint32_t max_code = 0, max_mapped = 0;
        for (uint32_t i = 0; i < v->count; i++)
            max_code = v->codes[i] > max_code ? v->codes[i] : max_code;
        tl_assert(max_code < size);
        for (uint32_t i = 0; i < v->count; i++) {
            uint32_t mapped = map[v->codes[i]];
            codes[i] = mapped;
            max_mapped = mapped > max_mapped ? mapped : max_mapped;
        }
        if (max_mapped < CODE_PENDING)
            return TL_OK;
    }
    for (uint32_t i = 0; i < v->count; i++) {
        if (v->validity && !tl_bit_get(v->validity, i)) {
            codes[i] = 0;
            continue;
        }
        uint32_t code = v->codes[i];
        tl_assert(code < size);
        uint32_t mapped = map[code];
        if (mapped >= CODE_PENDING && mapped == CODE_NONE) {
            map[code] = mapped = CODE_PENDING;
            d->wanted[wanted++] = code;
        }
        codes[i] = mapped;
    }
    if (wanted == 0)
        return TL_OK;

    rc = tl_dict_get(v->dict, d->wanted, wanted, d->strings, st);
    if (!rc)
        rc = intern_wanted(d, map, wanted, st);
    if (rc)
        return rc;
    for (uint32_t i = 0; i < v->count; i++)
        if (codes[i] == CODE_PENDING)
            codes[i] = map[v->codes[i]];
    return TL_OK;
}

static enum tl_code map_flat(struct tl__interner *d, const struct tl_vector *v, uint32_t *codes,
                             struct tl_status *st)
{
    const struct tl_slice *values = v->data;
    struct tl_slice last = {NULL, 0};
    uint32_t last_code = CODE_NONE;
    for (uint32_t i = 0; i < v->count; i++) {
        if (v->validity && !tl_bit_get(v->validity, i)) {
            codes[i] = 0;
            continue;
        }
        if (last_code == CODE_NONE || !tl_slice_eq(values[i], last)) {
            enum tl_code rc = tl__interner_intern(d, values[i], &last_code, st);
            if (rc)
                return rc;
            last = values[i];
        }
        codes[i] = last_code;
    }
    return TL_OK;
}

enum tl_code tl__interner_map(struct tl__interner *d, const struct tl_vector *v, uint32_t *codes,
                              struct tl_status *st)
{
    tl_assert(v->count <= TL_VECTOR_ROWS_MAX);
    return v->shape == TL_DICT ? map_codes(d, v, codes, st) : map_flat(d, v, codes, st);
}

void tl__interner_deinit(struct tl__interner *d)
{
    free_chunks(d, false);
    for (uint32_t i = 0; i < TL__INTERNER_SOURCES_MAX; i++)
        free(d->sources[i].map);
    free(d->slots);
    free(d->spare);
    free(d->values);
    if (d->budget && d->charged > 0)
        tl_budget_release(d->budget, d->charged);
    memset(d, 0, sizeof(*d));
}
