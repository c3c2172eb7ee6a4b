/*
 * Exact distinct values per group.
 *
 * Values are told apart by small numbers: the codes of a dictionary where the column has one, else
 * the ids of a table of values ("own" below). What is collected are pairs (group, number), one
 * list per dictionary.
 *
 * A pair that was just seen need not be listed again: `last` remembers for each number the group it
 * was listed for last. Rows come sorted by time, so groups that are time buckets come in order, and
 * then no pair is listed twice at all. A repeated pair needs that a number went to another group
 * and back; one of the two steps goes to a smaller group number. As long as no step went down, the
 * list has no duplicates; otherwise it is sorted and made unique, at the end and whenever it has
 * doubled. A dictionary much larger than the rows to come gets no `last`: its few pairs are simply
 * sorted.
 *
 * A group whose values came from one list is counted by its pairs. Where several workers gave it
 * values of one dictionary, their pairs are sorted together. Only where several dictionaries did
 * can different numbers mean the same string: then, and only for such groups, strings are loaded
 * and numbered across dictionaries.
 */
#include <string.h>

#include "query/exec_int.h"

enum { COMPACT_MIN = 1 << 16, LOAD_BATCH = 1024 };

/* The pairs of one dictionary, as one worker met them. */
struct list {
    struct list *older;
    uint64_t dict_id; /* 0: numbers of `own` */
    const struct tl_dict *dict;
    struct tl__array last;  /* uint32_t: group + 1 by number */
    bool remembers;         /* `last` is in use */
    bool repeats;           /* pairs may hold duplicates */
    struct tl__array pairs; /* uint64_t: group << 32 | number; size counts */
    size_t unique;          /* pairs.size after the last compaction */
    uint64_t rows;          /* seen */
    uint32_t dict_number;   /* at the end: equal for lists of one dictionary */
};

struct tl__distinct {
    struct tl_type type;
    struct tl_arena *memory;
    struct tl_budget *budget;
    struct list *lists;
    struct tl__intern own;
    struct tl__array sort; /* uint64_t: the other half of sorting */
    struct tl__array merged;
};

enum tl_code tl__distinct_new(struct tl__pipe *pipe, struct tl_type type, struct tl__distinct **out,
                              struct tl_status *st)
{
    struct tl__distinct *d = tl_arena_calloc(&pipe->memory, 1, sizeof(*d), st);
    if (!d)
        return st->code;
    d->type = type;
    d->memory = &pipe->memory;
    d->budget = pipe->memory.budget;
    tl__intern_init(&d->own, type, true, d->budget);
    tl__array_init(&d->sort, d->budget, 8);
    tl__array_init(&d->merged, d->budget, 8);
    *out = d;
    return TL_OK;
}

void tl__distinct_deinit(struct tl__distinct *d)
{
    if (!d)
        return;
    for (struct list *l = d->lists; l; l = l->older) {
        tl__array_deinit(&l->last);
        tl__array_deinit(&l->pairs);
    }
    tl__intern_deinit(&d->own);
    tl__array_deinit(&d->sort);
    tl__array_deinit(&d->merged);
}

static enum tl_code list_of(struct tl__distinct *d, uint64_t dict_id, const struct tl_dict *dict,
                            struct list **out, struct tl_status *st)
{
    for (struct list *l = d->lists; l; l = l->older) {
        if (l->dict_id == dict_id) {
            *out = l;
            return TL_OK;
        }
    }
    struct list *l = tl_arena_calloc(d->memory, 1, sizeof(*l), st);
    if (!l)
        return st->code;
    l->dict_id = dict_id;
    l->dict = dict;
    tl__array_init(&l->last, d->budget, 4);
    tl__array_init(&l->pairs, d->budget, 8);
    l->older = d->lists;
    d->lists = l;
    *out = l;
    return TL_OK;
}

/* Sorts the pairs and drops duplicates. */
static enum tl_code make_unique(struct tl__distinct *d, struct list *l, struct tl_status *st)
{
    if (!l->repeats || l->pairs.size == l->unique)
        return TL_OK;
    enum tl_code rc = tl__array_reserve(&d->sort, l->pairs.size, false, st);
    if (rc)
        return rc;
    uint64_t *pairs = (uint64_t *)(void *)l->pairs.data;
    uint64_t *other = (uint64_t *)(void *)d->sort.data;
    uint64_t *sorted = tl__radix_sort(pairs, other, l->pairs.size);
    size_t n = 0;
    for (size_t i = 0; i < l->pairs.size; i++) {
        if (n == 0 || pairs[n - 1] != sorted[i])
            pairs[n++] = sorted[i];
    }
    l->pairs.size = l->unique = n;
    return TL_OK;
}

/* Room for n more pairs. */
static enum tl_code reserve_pairs(struct tl__distinct *d, struct list *l, uint32_t n,
                                  struct tl_status *st)
{
    if (l->pairs.size + n > l->pairs.capacity && l->repeats && l->pairs.size >= COMPACT_MIN &&
        l->pairs.size >= l->unique * 2) {
        enum tl_code rc = make_unique(d, l, st);
        if (rc)
            return rc;
    }
    return tl__array_reserve(&l->pairs, l->pairs.size + n, false, st);
}

#define EACH(i, sel, n)                                                                            \
    for (uint32_t k_ = 0, i = 0; k_ < (n) && ((i = (sel) ? (sel)[k_] : k_), true); k_++)

static enum tl_code add_numbers(struct tl__distinct *d, struct list *l, const uint32_t *numbers,
                                const uint16_t *sel, uint32_t n,
                                const struct tl__grouping *grouping, struct tl_status *st)
{
    enum tl_code rc = reserve_pairs(d, l, n, st);
    if (rc)
        return rc;
    uint64_t *pairs = (uint64_t *)(void *)l->pairs.data;
    size_t size = l->pairs.size;
    const uint32_t *groups = grouping->of_row;
    if (!l->remembers) {
        EACH(i, sel, n)
        pairs[size++] = (uint64_t)(groups ? groups[i] : grouping->uniform) << 32 | numbers[i];
        l->repeats = true;
        l->pairs.size = size;
        return TL_OK;
    }
    uint32_t *last = (uint32_t *)(void *)l->last.data;
    if (!groups) {
        uint32_t mark = grouping->uniform + 1;
        uint64_t high = (uint64_t)grouping->uniform << 32;
        bool down = false;
        EACH(i, sel, n)
        {
            uint32_t x = numbers[i];
            uint32_t before = last[x];
            pairs[size] = high | x;
            size += before != mark;
            down |= before > mark;
            last[x] = mark;
        }
        l->repeats |= down;
    } else {
        bool down = false;
        EACH(i, sel, n)
        {
            uint32_t x = numbers[i];
            uint32_t mark = groups[i] + 1;
            uint32_t before = last[x];
            pairs[size] = (uint64_t)groups[i] << 32 | x;
            size += before != mark;
            down |= before > mark;
            last[x] = mark;
        }
        l->repeats |= down;
    }
    l->pairs.size = size;
    return TL_OK;
}

static enum tl_code add_codes(struct tl__distinct *d, struct tl__pipe *pipe,
                              const struct tl_vector *v, const uint16_t *sel, uint32_t n,
                              const struct tl__grouping *grouping, struct tl_status *st)
{
    struct list *l = NULL;
    enum tl_code rc = list_of(d, v->dict->id, v->dict, &l, st);
    if (rc)
        return rc;
    uint32_t greatest = 0;
    EACH(i, sel, n)
    greatest = v->codes[i] > greatest ? v->codes[i] : greatest;
    if (greatest >= v->dict->count)
        return TL_FAIL(st, TL_CORRUPT, "dictionary code %u of %u", greatest, v->dict->count);
    l->rows += n;
    if (!l->remembers && tl__table_pays(v->dict, pipe->rows_hint + l->rows, n)) {
        rc = tl__array_reserve(&l->last, v->dict->count, true, st);
        if (rc)
            return rc;
        l->remembers = true;
    }
    return add_numbers(d, l, v->codes, sel, n, grouping, st);
}

enum tl_code tl__distinct_add(struct tl__distinct *d, struct tl__pipe *pipe,
                              const struct tl_vector *v, const uint16_t *sel, uint32_t n,
                              const struct tl__grouping *grouping, struct tl_status *st)
{
    if (n == 0)
        return TL_OK;
    if (v->shape == TL_DICT)
        return add_codes(d, pipe, v, sel, n, grouping, st);
    struct list *l = NULL;
    enum tl_code rc = list_of(d, 0, NULL, &l, st);
    if (rc)
        return rc;
    uint32_t *ids = tl_arena_alloc(&pipe->scratch, sizeof(*ids) * v->count, st);
    if (!ids)
        return st->code;
    rc = tl__intern_rows(&d->own, v, sel, n, ids, NULL, st);
    if (rc == TL_OK)
        rc = tl__array_reserve(&l->last, d->own.count, true, st);
    if (rc)
        return rc;
    l->remembers = true;
    return add_numbers(d, l, ids, sel, n, grouping, st);
}

/* The numbers that the values of another table have in d's; NULL when there are none. */
static enum tl_code map_values(struct tl__distinct *d, const struct tl__intern *other,
                               uint32_t **out, struct tl_status *st)
{
    *out = NULL;
    if (other->count == 0)
        return TL_OK;
    uint32_t *map = tl_arena_alloc(d->memory, sizeof(*map) * other->count, st);
    if (!map)
        return st->code;
    size_t width = tl_kind_width(d->type.kind);
    uint8_t *data = tl_arena_alloc(d->memory, width * TL_VECTOR_ROWS_MAX, st);
    if (!data)
        return st->code;
    for (uint32_t at = 0; at < other->count; at += TL_VECTOR_ROWS_MAX) {
        uint32_t n = other->count - at;
        n = n < TL_VECTOR_ROWS_MAX ? n : TL_VECTOR_ROWS_MAX;
        for (uint32_t i = 0; i < n; i++)
            (void)tl__intern_get(other, at + i, data, i); /* no NULL is added */
        struct tl_vector v = {.type = d->type, .shape = TL_FLAT, .count = n, .data = data};
        enum tl_code rc = tl__intern_rows(&d->own, &v, NULL, n, map + at, NULL, st);
        if (rc)
            return rc;
    }
    *out = map;
    return TL_OK;
}

enum tl_code tl__distinct_merge(struct tl__distinct *d, struct tl__distinct *other,
                                const uint32_t *group_map, struct tl_status *st)
{
    uint32_t *value_map;
    enum tl_code rc = map_values(d, &other->own, &value_map, st);
    for (struct list *from = other->lists; from && rc == TL_OK; from = from->older) {
        rc = make_unique(other, from, st);
        if (rc)
            break;
        struct list *to = tl_arena_calloc(d->memory, 1, sizeof(*to), st);
        if (!to)
            return st->code;
        *to = *from; /* its arrays are d's from here */
        tl__array_init(&from->pairs, d->budget, 8);
        tl__array_init(&from->last, d->budget, 4);
        tl__array_deinit(&to->last);
        to->older = d->lists;
        d->lists = to;
        uint64_t *pairs = (uint64_t *)(void *)to->pairs.data;
        for (size_t i = 0; i < to->pairs.size; i++) {
            uint32_t number = (uint32_t)pairs[i];
            if (to->dict_id == 0)
                number = value_map[number];
            pairs[i] = (uint64_t)group_map[pairs[i] >> 32] << 32 | number;
        }
    }
    return rc;
}

/* ---- the end ---- */

/* Numbers the strings of the given codes across dictionaries; numbers[i] for codes[i]. */
static enum tl_code number_strings(struct tl__distinct *d, const struct list *l,
                                   struct tl__intern *strings, const uint32_t *codes, uint32_t n,
                                   uint32_t *numbers, struct tl_status *st)
{
    struct tl_slice texts[LOAD_BATCH];
    for (uint32_t from = 0; from < n; from += LOAD_BATCH) {
        uint32_t m = n - from < LOAD_BATCH ? n - from : (uint32_t)LOAD_BATCH;
        enum tl_code rc = TL_OK;
        if (l->dict)
            rc = tl_dict_get(l->dict, codes + from, m, texts, st);
        else
            for (uint32_t i = 0; i < m; i++)
                texts[i] = TL__AT(struct tl_slice, &d->own.values, codes[from + i]);
        if (rc == TL_OK)
            rc = tl__intern_texts(strings, texts, m, numbers + from, st);
        if (rc)
            return rc;
    }
    return TL_OK;
}

/* The owner of a group: 0, or its one list's number from 1, or ONE_DICT | the number of the one
 * dictionary that several lists gave it, or SEVERAL dictionaries. */
#define ONE_DICT ((uint32_t)1 << 31)
#define SEVERAL  UINT32_MAX

/* Adds l's pairs of groups with several lists of one dictionary to d->merged. */
static enum tl_code merge_pairs(struct tl__distinct *d, const struct list *l, const uint32_t *owner,
                                struct tl_status *st)
{
    const uint64_t *pairs = (const uint64_t *)(const void *)l->pairs.data;
    uint32_t wanted = ONE_DICT | l->dict_number;
    size_t count = 0;
    for (size_t i = 0; i < l->pairs.size; i++)
        count += owner[pairs[i] >> 32] == wanted;
    enum tl_code rc = tl__array_reserve(&d->merged, d->merged.size + count, false, st);
    for (size_t i = 0; i < l->pairs.size && rc == TL_OK && count > 0; i++) {
        if (owner[pairs[i] >> 32] == wanted)
            TL__AT(uint64_t, &d->merged, d->merged.size++) = pairs[i];
    }
    return rc;
}

/* Numbers the strings of l's pairs of groups with several dictionaries; with `pairs_needed` also
 * adds the pairs, with these numbers, to d->merged. */
static enum tl_code merge_strings(struct tl__distinct *d, const struct list *l,
                                  struct tl__intern *strings, const uint32_t *owner,
                                  bool pairs_needed, struct tl_status *st)
{
    uint32_t codes[LOAD_BATCH];
    uint32_t numbers[LOAD_BATCH];
    uint32_t groups[LOAD_BATCH];
    uint32_t m = 0;
    for (size_t i = 0; i <= l->pairs.size; i++) {
        if (m == LOAD_BATCH || (i == l->pairs.size && m > 0)) {
            enum tl_code rc = number_strings(d, l, strings, codes, m, numbers, st);
            if (rc == TL_OK && pairs_needed)
                rc = tl__array_reserve(&d->merged, d->merged.size + m, false, st);
            if (rc)
                return rc;
            for (uint32_t k = 0; pairs_needed && k < m; k++)
                TL__AT(uint64_t, &d->merged, d->merged.size++) =
                    (uint64_t)groups[k] << 32 | numbers[k];
            m = 0;
        }
        if (i == l->pairs.size)
            break;
        uint64_t pair = TL__AT(uint64_t, &l->pairs, i);
        uint32_t group = (uint32_t)(pair >> 32);
        if (owner[group] != SEVERAL)
            continue;
        groups[m] = group;
        codes[m++] = (uint32_t)pair;
    }
    return TL_OK;
}

/* Counts the pairs of the lists, and finds the owner of each group; *mixed: some have several. */
static enum tl_code find_owners(const struct tl__distinct *d, uint32_t *owner, int64_t *counts,
                                bool *mixed, struct tl_status *st)
{
    uint32_t list_count = 0;
    for (const struct list *l = d->lists; l; l = l->older)
        list_count++;
    uint32_t *dict_of = tl_arena_calloc(d->memory, list_count + 1u, sizeof(*dict_of), st);
    if (!dict_of)
        return st->code;
    *mixed = false;
    uint32_t number = 0;
    for (struct list *l = d->lists; l; l = l->older) {
        l->dict_number = ++number;
        for (const struct list *m = d->lists; m != l; m = m->older) {
            if (m->dict_id == l->dict_id) {
                l->dict_number = m->dict_number;
                break;
            }
        }
        dict_of[number] = l->dict_number;
        const uint64_t *pairs = (const uint64_t *)(const void *)l->pairs.data;
        for (size_t i = 0; i < l->pairs.size; i++) {
            uint32_t *o = &owner[pairs[i] >> 32];
            counts[pairs[i] >> 32]++;
            if (*o == number)
                continue;
            if (*o == 0) {
                *o = number;
                continue;
            }
            uint32_t dict = *o & ONE_DICT ? *o : ONE_DICT | dict_of[*o];
            *o = dict == (ONE_DICT | l->dict_number) ? dict : SEVERAL;
            *mixed = true;
        }
    }
    return TL_OK;
}

/* Counts the groups with several owners anew. */
static enum tl_code merge_owners(struct tl__distinct *d, const uint32_t *owner,
                                 uint32_t group_count, int64_t *counts, struct tl_status *st)
{
    struct tl__intern strings;
    tl__intern_init(&strings, d->type, false, d->budget);
    enum tl_code rc = TL_OK;
    bool one = group_count == 1 && owner[0] == SEVERAL;
    size_t most = 0;
    for (const struct list *l = d->lists; l; l = l->older)
        most += l->pairs.size;
    /* With groups a string comes many times: let the table find its size by itself. */
    if (one)
        rc = tl__intern_expect(&strings, most, st);
    for (uint32_t g = 0; g < group_count; g++) {
        if (owner[g] & ONE_DICT)
            counts[g] = 0;
    }
    for (const struct list *l = d->lists; l && rc == TL_OK; l = l->older) {
        rc = merge_pairs(d, l, owner, st);
        if (rc == TL_OK && d->type.kind == TL_TEXT)
            rc = merge_strings(d, l, &strings, owner, !one, st);
    }
    if (rc == TL_OK)
        rc = tl__array_reserve(&d->sort, d->merged.size, false, st);
    if (rc == TL_OK && one) {
        counts[0] = strings.count; /* each string was met in the one group */
    } else if (rc == TL_OK) {
        uint64_t *sorted = tl__radix_sort((uint64_t *)(void *)d->merged.data,
                                          (uint64_t *)(void *)d->sort.data, d->merged.size);
        for (size_t i = 0; i < d->merged.size; i++) {
            if (i == 0 || sorted[i] != sorted[i - 1])
                counts[sorted[i] >> 32]++;
        }
    }
    tl__intern_deinit(&strings);
    return rc;
}

/* One list for all pairs: what is not TEXT has numbers of one table only. */
static enum tl_code join_lists(struct tl__distinct *d, struct tl_status *st)
{
    struct list *first = d->lists;
    for (struct list *l = first ? first->older : NULL; l; l = l->older) {
        tl_assert(l->dict_id == first->dict_id);
        enum tl_code rc =
            tl__array_reserve(&first->pairs, first->pairs.size + l->pairs.size, false, st);
        if (rc)
            return rc;
        if (l->pairs.size)
            memcpy((uint64_t *)(void *)first->pairs.data + first->pairs.size, l->pairs.data,
                   sizeof(uint64_t) * l->pairs.size);
        first->pairs.size += l->pairs.size;
        first->repeats = true;
        first->unique = 0;
        l->pairs.size = 0;
    }
    return TL_OK;
}

enum tl_code tl__distinct_finish(struct tl__distinct *d, uint32_t group_count, int64_t *counts,
                                 struct tl_status *st)
{
    enum tl_code rc = d->type.kind == TL_TEXT ? TL_OK : join_lists(d, st);
    for (struct list *l = d->lists; l && rc == TL_OK; l = l->older)
        rc = make_unique(d, l, st);
    if (rc)
        return rc;
    memset(counts, 0, sizeof(*counts) * group_count);
    struct tl__array owners;
    tl__array_init(&owners, d->budget, 4);
    rc = tl__array_reserve(&owners, group_count, true, st);
    if (rc == TL_OK) {
        uint32_t *owner = (uint32_t *)(void *)owners.data;
        bool mixed = false;
        rc = find_owners(d, owner, counts, &mixed, st);
        if (rc == TL_OK && mixed)
            rc = merge_owners(d, owner, group_count, counts, st);
    }
    tl__array_deinit(&owners);
    return rc;
}

const uint64_t *tl__distinct_pairs(const struct tl__distinct *d, size_t *count)
{
    tl_assert(d->type.kind != TL_TEXT);
    *count = d->lists ? d->lists->pairs.size : 0;
    return d->lists ? (const uint64_t *)(const void *)d->lists->pairs.data : NULL;
}

const struct tl__intern *tl__distinct_values(const struct tl__distinct *d)
{
    return &d->own;
}
