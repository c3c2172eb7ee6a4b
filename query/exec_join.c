/*
 * Joins by hash.
 *
 * The right input is kept whole: its rows, and a table of its distinct keys, each of which starts
 * a list of its rows in their order. The left input streams by; its keys are hashed a batch at a
 * time, then looked up, then written out as pairs (row of the batch, row kept), up to
 * TL_VECTOR_ROWS_MAX at once. A key with a NULL in it equals nothing. Without keys all rows kept
 * are one list.
 *
 * Where a residual condition stands, pairs are only candidates: it is computed over them, and what
 * a row's kind of join needs to know is gathered in a flag per row of the batch, or per row kept.
 *
 * A TEXT key that comes as dictionary codes is looked up once per code.
 *
 * There is no spilling: when the budget does not hold the kept input, that is TL_LIMIT.
 */
#include <string.h>

#include "base/hash.h"
#include "query/exec_int.h"

enum { PREFETCH = 8, CODES_MAX = 1 << 20 };

struct key {
    struct tl_type type;
    bool text;
    uint32_t width;          /* of a value in `values`: 8, 16 or a slice */
    struct tl__array values; /* int64_t, 16 bytes or struct tl_slice, per row */
    struct tl__step *left, *right;
};

struct slot {
    uint32_t hash;
    uint32_t head; /* row + 1; 0: empty */
};

/* Heads by the codes of one dictionary. */
struct code_table {
    struct code_table *older;
    uint64_t dict_id;
    uint32_t count;
    uint32_t *heads; /* 0: not looked up, 1: none, else row + 2 */
};

struct join {
    struct tl__op op;
    struct tl__op *right;
    uint32_t key_count;
    struct key *keys;
    struct tl__step *residual;
    bool built, probing, left_done;
    uint32_t kept_count;    /* columns of the right that are kept */
    uint32_t *kept_of;      /* column of the right -> of the rows kept, or UINT32_MAX */
    uint32_t *kept_columns; /* … and back */
    bool *residual_reads;   /* of the left's columns */
    struct tl__rows rows;
    struct tl_arena text;    /* of keys */
    struct tl__array hashes; /* uint32_t per row */
    struct tl__array next;   /* uint32_t per row: the next of its list + 1 */
    struct tl__array slots;
    uint32_t slot_mask;
    uint32_t all_head; /* without keys */
    bool null_key;     /* a right row had a NULL in its key */
    uint64_t right_rows;
    uint8_t *matched; /* per row kept: RIGHT, FULL */
    struct tl__array matched_rows;
    struct code_table *codes;
    /* the batch that is being looked at */
    struct tl__batch batch;
    uint32_t *heads;    /* per position in the selection: row + 1 */
    uint8_t *found;     /* per position: it has a partner */
    uint8_t *null_left; /* per position: its key has a NULL */
    uint32_t at;        /* position, */
    uint32_t chain;     /* and row + 1 in its list; 0: at the list's start */
    bool told;          /* rows without a partner have been told */
    uint32_t unmatched; /* next row kept to be looked at for RIGHT and FULL */
    struct tl__pipe *right_pipe;
};

/* ---- keys ---- */

static bool is_wide(struct tl_type t)
{
    return t.kind == TL_DECIMAL128 || t.kind == TL_INTERVAL;
}

/* 16-byte values so that equal ones have equal bytes. */
static void wide_value(struct tl_type type, const void *data, size_t at, uint64_t out[2])
{
    if (type.kind == TL_INTERVAL) {
        struct tl_interval v = ((const struct tl_interval *)data)[at];
        tl_i128 span = (tl_i128)v.us + ((tl_i128)v.days + (tl_i128)v.months * 30) * 86400000000LL;
        memcpy(out, &span, 16);
        return;
    }
    memcpy(out, (const uint8_t *)data + at * 16, 16);
}

static inline uint64_t mix(uint64_t h)
{
    h ^= h >> 32;
    h *= UINT64_C(0x9E3779B97F4A7C15);
    h ^= h >> 29;
    return h;
}

static inline uint64_t combine(uint64_t h, uint64_t x)
{
    return mix(h * UINT64_C(0xD6E8FEB86659FD93) + x);
}

/* Adds a key's values to the hashes, by position; rows with a NULL are marked. */
static void hash_key(const struct key *key, const struct tl_vector *v, const uint16_t *sel,
                     uint32_t n, uint64_t *hashes, uint8_t *nulls)
{
    size_t step = tl__step(v);
    for (uint32_t k = 0; k < n; k++) {
        uint32_t row = sel ? sel[k] : k;
        if (!tl_vector_valid(v, row)) {
            nulls[k] = 1;
            continue;
        }
        uint64_t x;
        if (key->text) {
            struct tl_slice s = ((const struct tl_slice *)v->data)[step * row];
            x = tl_hash64(s.data, s.size);
        } else if (key->width == 16) {
            uint64_t wide[2];
            wide_value(v->type, v->data, step * row, wide);
            x = combine(wide[0], wide[1]);
        } else {
            x = (uint64_t)tl__fixed_get(v->type, v->data, step * row);
        }
        hashes[k] = combine(hashes[k], x);
    }
}

static bool key_equals(const struct key *key, const struct tl_vector *v, size_t at, uint32_t kept)
{
    if (key->text)
        return tl_slice_eq(((const struct tl_slice *)v->data)[at],
                           TL__AT(struct tl_slice, &key->values, kept));
    if (key->width == 16) {
        uint64_t wide[2];
        wide_value(v->type, v->data, at, wide);
        return memcmp(wide, key->values.data + (size_t)kept * 16, 16) == 0;
    }
    return tl__fixed_get(v->type, v->data, at) == TL__AT(int64_t, &key->values, kept);
}

static bool same_keys(const struct join *j, uint32_t a, uint32_t b)
{
    for (uint32_t i = 0; i < j->key_count; i++) {
        const struct key *key = &j->keys[i];
        if (key->text ? !tl_slice_eq(TL__AT(struct tl_slice, &key->values, a),
                                     TL__AT(struct tl_slice, &key->values, b))
                      : memcmp(key->values.data + (size_t)a * key->width,
                               key->values.data + (size_t)b * key->width, key->width) != 0)
            return false;
    }
    return true;
}

/* ---- the side that is kept ---- */

static enum tl_code keep_key(struct join *j, struct key *key, const struct tl_vector *v,
                             const uint16_t *sel, uint32_t n, const uint8_t *nulls,
                             struct tl_status *st)
{
    uint32_t base = j->rows.count;
    enum tl_code rc = tl__array_reserve(&key->values, (size_t)base + n, false, st);
    if (rc)
        return rc;
    size_t step = tl__step(v);
    for (uint32_t k = 0; k < n; k++) {
        size_t at = step * (sel ? sel[k] : k);
        uint32_t row = base + k;
        if (nulls[k]) {
            memset(key->values.data + (size_t)row * key->width, 0, key->width);
        } else if (key->text) {
            struct tl_slice s = ((const struct tl_slice *)v->data)[at];
            const void *copy = tl_arena_copy(&j->text, s.data, s.size, st);
            if (!copy)
                return st->code;
            TL__AT(struct tl_slice, &key->values, row) = tl_slice_of(copy, s.size);
        } else if (key->width == 16) {
            uint64_t wide[2];
            wide_value(v->type, v->data, at, wide);
            memcpy(key->values.data + (size_t)row * 16, wide, 16);
        } else {
            TL__AT(int64_t, &key->values, row) = tl__fixed_get(v->type, v->data, at);
        }
    }
    return TL_OK;
}

/* One batch of the right: keys, hashes, the columns that are wanted. Rows with a NULL in their key
 * are left out unless they come out all the same. */
static enum tl_code keep_batch(struct join *j, const struct tl__batch *in, struct tl_status *st)
{
    struct tl__pipe *pipe = j->right_pipe;
    struct tl_arena *scratch = &pipe->scratch;
    uint32_t n = in->n;
    const uint16_t *sel = in->sel;
    uint64_t *hashes = tl_arena_calloc(scratch, n, sizeof(*hashes), st);
    uint8_t *nulls = tl_arena_calloc(scratch, n, 1, st);
    struct tl_vector *keys = tl_arena_calloc(scratch, j->key_count + 1u, sizeof(*keys), st);
    struct tl_vector *columns = tl_arena_calloc(scratch, j->kept_count + 1u, sizeof(*columns), st);
    if (!hashes || !nulls || !keys || !columns)
        return st->code;
    enum tl_code rc = TL_OK;
    for (uint32_t i = 0; rc == TL_OK && i < j->key_count; i++) {
        struct tl_vector v;
        rc = tl__step_eval(j->keys[i].right, pipe, in, &v, st);
        if (rc == TL_OK)
            rc = tl__flatten(pipe, &v, sel, n, &keys[i], st);
        if (rc == TL_OK)
            hash_key(&j->keys[i], &keys[i], sel, n, hashes, nulls);
    }
    if (rc)
        return rc;
    j->right_rows += n;
    bool unmatched_too = j->op.node->join == TL_JOIN_RIGHT || j->op.node->join == TL_JOIN_FULL;
    uint32_t m = 0;
    uint16_t *chosen = tl_arena_alloc(scratch, sizeof(*chosen) * (n + 1u), st);
    if (!chosen)
        return st->code;
    for (uint32_t k = 0; k < n; k++) {
        j->null_key = j->null_key || nulls[k];
        if (nulls[k] && !unmatched_too)
            continue;
        hashes[m] = hashes[k];
        nulls[m] = nulls[k];
        chosen[m++] = (uint16_t)(sel ? sel[k] : k);
    }
    if (m < n) {
        sel = chosen;
        n = m;
    }
    for (uint32_t i = 0; rc == TL_OK && i < j->key_count; i++)
        rc = keep_key(j, &j->keys[i], &keys[i], sel, n, nulls, st);
    if (rc == TL_OK)
        rc = tl__array_reserve(&j->hashes, (size_t)j->rows.count + n, false, st);
    if (rc)
        return rc;
    for (uint32_t k = 0; k < n; k++) { /* 0 says that the row is in no list */
        uint32_t h = (uint32_t)(hashes[k] >> 32);
        TL__AT(uint32_t, &j->hashes, j->rows.count + k) = nulls[k] ? 0 : h ? h : 1;
    }
    for (uint32_t c = 0; c < j->kept_count; c++)
        columns[c] = in->columns[j->kept_columns[c]];
    return tl__rows_append(&j->rows, pipe, columns, sel, n, st);
}

static enum tl_code make_lists(struct join *j, struct tl_status *st)
{
    uint32_t rows = j->rows.count;
    enum tl_code rc = tl__array_reserve(&j->next, rows + 1u, true, st);
    if (rc)
        return rc;
    if (j->key_count == 0) {
        for (uint32_t r = 0; r < rows; r++)
            TL__AT(uint32_t, &j->next, r) = r + 1 < rows ? r + 2 : 0;
        j->all_head = rows > 0;
        return TL_OK;
    }
    size_t size = 16;
    while (size < (size_t)rows * 2)
        size *= 2;
    if (size > (size_t)1 << 31)
        return TL_FAIL(st, TL_LIMIT, "a join keeps more rows than its table holds");
    rc = tl__array_reserve(&j->slots, size, true, st);
    if (rc)
        return rc;
    j->slot_mask = (uint32_t)(size - 1);
    struct slot *slots = (struct slot *)(void *)j->slots.data;
    const uint32_t *hashes = (const uint32_t *)(const void *)j->hashes.data;
    uint32_t *next = (uint32_t *)(void *)j->next.data;
    for (uint32_t r = rows; r > 0; r--) { /* from the last, so that lists go upwards */
        uint32_t row = r - 1;
        if ((row & 0xFFFF) == 0) {
            rc = tl__run_check(j->op.run, st);
            if (rc)
                return rc;
        }
        uint32_t h = hashes[row];
        if (h == 0)
            continue;
        if (row >= PREFETCH)
            __builtin_prefetch(&slots[hashes[row - PREFETCH] & j->slot_mask]);
        uint32_t at = h & j->slot_mask;
        while (slots[at].head && !(slots[at].hash == h && same_keys(j, slots[at].head - 1, row)))
            at = (at + 1) & j->slot_mask;
        next[row] = slots[at].head;
        slots[at] = (struct slot){h, row + 1};
    }
    return TL_OK;
}

static enum tl_code keep_right(struct join *j, struct tl_status *st)
{
    for (;;) {
        struct tl__batch in;
        enum tl_code rc = tl__op_next(j->right, &in, st);
        if (rc == TL_OK && in.n > 0)
            rc = keep_batch(j, &in, st);
        if (rc)
            return rc;
        if (in.n == 0)
            break;
    }
    tl__scan_close(j->right); /* all that is kept is our own */
    enum tl_code rc = make_lists(j, st);
    uint8_t kind = j->op.node->join;
    if (rc == TL_OK && (kind == TL_JOIN_RIGHT || kind == TL_JOIN_FULL)) {
        rc = tl__array_reserve(&j->matched_rows, j->rows.count + 1u, true, st);
        j->matched = j->matched_rows.data;
    }
    return rc;
}

/* ---- looking up ---- */

static inline uint32_t find(const struct join *j, const struct tl_vector *keys, uint64_t hash,
                            uint32_t row)
{
    const struct slot *slots = (const struct slot *)(const void *)j->slots.data;
    uint32_t h = (uint32_t)(hash >> 32);
    h = h ? h : 1;
    uint32_t at = h & j->slot_mask;
    for (; slots[at].head; at = (at + 1) & j->slot_mask) {
        if (slots[at].hash != h)
            continue;
        uint32_t i = 0;
        while (i < j->key_count &&
               key_equals(&j->keys[i], &keys[i], tl__step(&keys[i]) * row, slots[at].head - 1))
            i++;
        if (i == j->key_count)
            return slots[at].head;
    }
    return 0;
}

/* Lists of a single TEXT key by its dictionary's codes; *done false: too many codes for a table. */
static enum tl_code find_codes(struct join *j, const struct tl_vector *v, struct tl__pipe *pipe,
                               bool *done, struct tl_status *st)
{
    const struct tl__batch *in = &j->batch;
    struct code_table *t = j->codes;
    *done = false;
    while (t && t->dict_id != v->dict->id)
        t = t->older;
    if (!t) {
        if (v->dict->count > CODES_MAX || !tl__table_pays(v->dict, pipe->rows_hint, in->rows))
            return TL_OK;
        t = tl_arena_calloc(&pipe->memory, 1, sizeof(*t), st);
        if (!t)
            return st->code;
        t->heads = tl_arena_calloc(&pipe->memory, v->dict->count + 1u, sizeof(*t->heads), st);
        if (!t->heads)
            return st->code;
        t->dict_id = v->dict->id;
        t->count = v->dict->count;
        t->older = j->codes;
        j->codes = t;
    }
    uint32_t *codes = tl_arena_alloc(&pipe->scratch, sizeof(*codes) * in->n, st);
    struct tl_slice *texts = tl_arena_alloc(&pipe->scratch, sizeof(*texts) * in->n, st);
    if (!codes || !texts)
        return st->code;
    uint32_t unknown = 0;
    for (uint32_t k = 0; k < in->n; k++) {
        uint32_t row = in->sel ? in->sel[k] : k;
        if (!tl_vector_valid(v, row)) {
            j->null_left[k] = 1;
            continue;
        }
        uint32_t code = v->codes[row];
        if (code >= t->count)
            return TL_FAIL(st, TL_CORRUPT, "dictionary code %u of %u", code, t->count);
        if (t->heads[code] == 0) {
            t->heads[code] = 1;
            codes[unknown++] = code;
        }
    }
    enum tl_code rc = unknown ? tl_dict_get(v->dict, codes, unknown, texts, st) : TL_OK;
    if (rc)
        return rc;
    struct tl_vector flat = {.type = v->type, .shape = TL_FLAT, .count = unknown, .data = texts};
    for (uint32_t k = 0; k < unknown; k++) {
        uint64_t hash = combine(0, tl_hash64(texts[k].data, texts[k].size));
        t->heads[codes[k]] = find(j, &flat, hash, k) + 1;
    }
    for (uint32_t k = 0; k < in->n; k++) {
        uint32_t row = in->sel ? in->sel[k] : k;
        j->heads[k] = j->null_left[k] ? 0 : t->heads[v->codes[row]] - 1;
    }
    *done = true;
    return TL_OK;
}

static enum tl_code find_batch(struct join *j, struct tl_status *st)
{
    struct tl__pipe *pipe = j->op.child->pipe;
    struct tl_arena *scratch = &pipe->scratch;
    const struct tl__batch *in = &j->batch;
    uint32_t n = in->n;
    j->heads = tl_arena_calloc(scratch, n, sizeof(*j->heads), st);
    j->found = tl_arena_calloc(scratch, n, 1, st);
    j->null_left = tl_arena_calloc(scratch, n, 1, st);
    struct tl_vector *keys = tl_arena_calloc(scratch, j->key_count + 1u, sizeof(*keys), st);
    if (!j->heads || !j->found || !j->null_left || !keys)
        return st->code;
    if (j->key_count == 0) {
        for (uint32_t k = 0; k < n; k++)
            j->heads[k] = j->all_head;
        return TL_OK;
    }
    uint64_t *hashes = tl_arena_calloc(scratch, n, sizeof(*hashes), st);
    if (!hashes)
        return st->code;
    for (uint32_t i = 0; i < j->key_count; i++) {
        struct tl_vector v;
        enum tl_code rc = tl__step_eval(j->keys[i].left, pipe, in, &v, st);
        if (rc == TL_OK && j->key_count == 1 && v.shape == TL_DICT) {
            bool done;
            rc = find_codes(j, &v, pipe, &done, st);
            if (rc || done)
                return rc;
        }
        if (rc == TL_OK)
            rc = tl__flatten(pipe, &v, in->sel, n, &keys[i], st);
        if (rc)
            return rc;
        hash_key(&j->keys[i], &keys[i], in->sel, n, hashes, j->null_left);
    }
    const struct slot *slots = (const struct slot *)(const void *)j->slots.data;
    for (uint32_t k = 0; k < n; k++) {
        if (k + PREFETCH < n)
            __builtin_prefetch(&slots[(uint32_t)(hashes[k + PREFETCH] >> 32) & j->slot_mask]);
        if (!j->null_left[k])
            j->heads[k] = find(j, keys, hashes[k], in->sel ? in->sel[k] : k);
    }
    return TL_OK;
}

/* ---- writing out ---- */

/* Column `index` of both sides for pairs (left rows[k], right ids[k]). */
static enum tl_code pair_column(struct join *j, uint32_t index, const uint16_t *rows,
                                const uint32_t *ids, uint32_t n, struct tl_vector *out,
                                struct tl_status *st)
{
    struct tl_arena *arena = &j->op.pipe->scratch;
    uint32_t lefts = j->op.node->child->column_count;
    if (index >= lefts)
        return tl__rows_gather(&j->rows, j->kept_of[index - lefts], ids, n, arena, out, st);
    if (!rows) {
        tl__null_vector(j->op.node->child->types[index], n, out);
        return TL_OK;
    }
    return tl__compact(arena, &j->batch.columns[index], rows, n, out, st);
}

static enum tl_code put_pairs(struct join *j, const uint16_t *rows, const uint32_t *ids, uint32_t n,
                              struct tl__batch *out, struct tl_status *st)
{
    const struct tl_plan_node *node = j->op.node;
    struct tl_vector *columns =
        tl_arena_calloc(&j->op.pipe->scratch, node->emit_count + 1u, sizeof(*columns), st);
    if (!columns)
        return st->code;
    for (uint32_t i = 0; i < node->emit_count; i++) {
        enum tl_code rc = pair_column(j, node->emit[i], rows, ids, n, &columns[i], st);
        if (rc)
            return rc;
        columns[i].type = node->types[i];
    }
    *out = (struct tl__batch){.rows = n, .columns = columns, .n = n};
    return TL_OK;
}

/* The left batch's rows as they are, those at the chosen positions. */
static enum tl_code put_left(struct join *j, const uint16_t *sel, uint32_t n, struct tl__batch *out,
                             struct tl_status *st)
{
    const struct tl_plan_node *node = j->op.node;
    struct tl_vector *columns =
        tl_arena_calloc(&j->op.pipe->scratch, node->emit_count + 1u, sizeof(*columns), st);
    if (!columns)
        return st->code;
    bool mark = node->join == TL_JOIN_MARK;
    for (uint32_t i = 0; i < node->emit_count - mark; i++)
        columns[i] = j->batch.columns[node->emit[i]];
    *out = (struct tl__batch){.rows = j->batch.rows, .columns = columns, .sel = sel, .n = n};
    if (!mark)
        return TL_OK;
    uint8_t *value = tl_arena_calloc(&j->op.pipe->scratch, j->batch.rows, 1, st);
    uint64_t *valid =
        tl_arena_calloc(&j->op.pipe->scratch, tl_bit_words(j->batch.rows) + 1u, 8, st);
    if (!value || !valid)
        return st->code;
    for (uint32_t k = 0; k < j->batch.n; k++) {
        uint32_t row = j->batch.sel ? j->batch.sel[k] : k;
        value[row] = j->found[k];
        bool unknown = !j->found[k] && j->right_rows > 0 && (j->null_left[k] || j->null_key);
        if (!unknown)
            tl_bit_set(valid, row);
    }
    columns[node->emit_count - 1] = (struct tl_vector){.type = tl_type_of(TL_BOOLEAN),
                                                       .shape = TL_FLAT,
                                                       .count = j->batch.rows,
                                                       .data = value,
                                                       .validity = valid};
    return TL_OK;
}

/* Pairs from where the last call stopped: positions and rows kept; *n 0: the batch is done. */
static void next_pairs(struct join *j, uint16_t *positions, uint32_t *ids, uint32_t *n)
{
    const uint32_t *next = (const uint32_t *)(const void *)j->next.data;
    uint32_t m = 0;
    while (j->at < j->batch.n) {
        uint32_t row = j->chain ? j->chain : j->heads[j->at];
        while (row && m < TL_VECTOR_ROWS_MAX) {
            positions[m] = (uint16_t)j->at;
            ids[m++] = row - 1;
            row = next[row - 1];
        }
        if (row) { /* full within a list */
            j->chain = row;
            break;
        }
        j->chain = 0;
        j->at++;
        if (m == TL_VECTOR_ROWS_MAX)
            break;
    }
    *n = m;
}

/* Keeps the pairs for which the residual holds. */
static enum tl_code check_pairs(struct join *j, const uint16_t *rows, uint16_t *positions,
                                uint32_t *ids, uint32_t *n, struct tl_status *st)
{
    const struct tl_plan_node *node = j->op.node;
    uint32_t lefts = node->child->column_count, count = lefts + node->right->column_count;
    struct tl_arena *arena = &j->op.pipe->scratch;
    struct tl_vector *columns = tl_arena_calloc(arena, count + 1u, sizeof(*columns), st);
    if (!columns)
        return st->code;
    for (uint32_t c = 0; c < count; c++) {
        if (c < lefts ? !j->residual_reads[c] : j->kept_of[c - lefts] == UINT32_MAX)
            continue;
        enum tl_code rc = pair_column(j, c, rows, ids, *n, &columns[c], st);
        if (rc)
            return rc;
    }
    struct tl__batch pairs = {.rows = *n, .columns = columns, .n = *n};
    const uint16_t *sel = NULL;
    uint32_t kept = 0;
    enum tl_code rc = tl__step_select(j->residual, j->op.pipe, &pairs, &sel, &kept, st);
    if (rc)
        return rc;
    for (uint32_t k = 0; k < kept; k++) {
        uint32_t from = sel ? sel[k] : k;
        positions[k] = positions[from];
        ids[k] = ids[from];
    }
    *n = kept;
    return TL_OK;
}

/* Rows of the batch with, or without, a partner. */
static enum tl_code put_found(struct join *j, bool wanted, struct tl__batch *out,
                              struct tl_status *st)
{
    uint16_t *sel = tl_arena_alloc(&j->op.pipe->scratch, sizeof(*sel) * (j->batch.n + 1u), st);
    if (!sel)
        return st->code;
    uint32_t n = 0;
    for (uint32_t k = 0; k < j->batch.n; k++) {
        sel[n] = (uint16_t)(j->batch.sel ? j->batch.sel[k] : k);
        n += j->found[k] == wanted;
    }
    *out = (struct tl__batch){0};
    return n > 0 ? put_left(j, sel, n, out, st) : TL_OK;
}

/* Rows of the batch without a partner, beside NULLs. */
static enum tl_code put_lonely(struct join *j, struct tl__batch *out, struct tl_status *st)
{
    struct tl_arena *arena = &j->op.pipe->scratch;
    uint16_t *rows = tl_arena_alloc(arena, sizeof(*rows) * (j->batch.n + 1u), st);
    uint32_t *ids = tl_arena_alloc(arena, sizeof(*ids) * (j->batch.n + 1u), st);
    if (!rows || !ids)
        return st->code;
    uint32_t n = 0;
    for (uint32_t k = 0; k < j->batch.n; k++) {
        rows[n] = (uint16_t)(j->batch.sel ? j->batch.sel[k] : k);
        ids[n] = TL__NO_ROW;
        n += !j->found[k];
    }
    *out = (struct tl__batch){0};
    return n > 0 ? put_pairs(j, rows, ids, n, out, st) : TL_OK;
}

/* The next rows of the current batch; out->n 0: it is done. */
static enum tl_code batch_next(struct join *j, struct tl__batch *out, struct tl_status *st)
{
    uint8_t kind = j->op.node->join;
    struct tl_arena *arena = &j->op.pipe->scratch;
    bool pairs_out = kind <= TL_JOIN_FULL;
    uint16_t *positions = tl_arena_alloc(arena, sizeof(*positions) * TL_VECTOR_ROWS_MAX, st);
    uint16_t *rows = tl_arena_alloc(arena, sizeof(*rows) * TL_VECTOR_ROWS_MAX, st);
    uint32_t *ids = tl_arena_alloc(arena, sizeof(*ids) * TL_VECTOR_ROWS_MAX, st);
    if (!positions || !rows || !ids)
        return st->code;
    *out = (struct tl__batch){0};
    if (!pairs_out && !j->residual) {
        for (uint32_t k = 0; k < j->batch.n; k++)
            j->found[k] = j->heads[k] != 0;
        j->at = j->batch.n;
    }
    while (j->at < j->batch.n) {
        uint32_t n;
        next_pairs(j, positions, ids, &n);
        if (n == 0)
            break;
        for (uint32_t k = 0; k < n; k++)
            rows[k] = j->batch.sel ? j->batch.sel[positions[k]] : positions[k];
        if (j->residual) {
            enum tl_code rc = tl__run_check(j->op.run, st);
            if (rc == TL_OK)
                rc = check_pairs(j, rows, positions, ids, &n, st);
            if (rc)
                return rc;
            for (uint32_t k = 0; k < n; k++)
                rows[k] = j->batch.sel ? j->batch.sel[positions[k]] : positions[k];
        }
        for (uint32_t k = 0; k < n; k++)
            j->found[positions[k]] = 1;
        for (uint32_t k = 0; j->matched && k < n; k++)
            j->matched[ids[k]] = 1;
        if (pairs_out && n > 0)
            return put_pairs(j, rows, ids, n, out, st);
        tl_arena_reset(arena); /* the memory of candidates is not needed longer */
        positions = tl_arena_alloc(arena, sizeof(*positions) * TL_VECTOR_ROWS_MAX, st);
        rows = tl_arena_alloc(arena, sizeof(*rows) * TL_VECTOR_ROWS_MAX, st);
        ids = tl_arena_alloc(arena, sizeof(*ids) * TL_VECTOR_ROWS_MAX, st);
        if (!positions || !rows || !ids)
            return st->code;
    }
    if (j->told)
        return TL_OK;
    j->told = true;
    switch ((enum tl_join_kind)kind) {
    case TL_JOIN_LEFT:
    case TL_JOIN_FULL:
        return put_lonely(j, out, st);
    case TL_JOIN_SEMI:
        return put_found(j, true, out, st);
    case TL_JOIN_ANTI:
        return put_found(j, false, out, st);
    case TL_JOIN_MARK:
        return put_left(j, j->batch.sel, j->batch.n, out, st);
    default:
        return TL_OK;
    }
}

/* Rows kept that had no partner. */
static enum tl_code put_unmatched(struct join *j, struct tl__batch *out, struct tl_status *st)
{
    *out = (struct tl__batch){0};
    if (!j->matched)
        return TL_OK;
    uint32_t *ids = tl_arena_alloc(&j->op.pipe->scratch, sizeof(*ids) * TL_VECTOR_ROWS_MAX, st);
    if (!ids)
        return st->code;
    uint32_t n = 0;
    for (; j->unmatched < j->rows.count && n < TL_VECTOR_ROWS_MAX; j->unmatched++)
        if (!j->matched[j->unmatched])
            ids[n++] = j->unmatched;
    return n > 0 ? put_pairs(j, NULL, ids, n, out, st) : TL_OK;
}

static enum tl_code join_next(struct tl__op *op, struct tl__batch *out, struct tl_status *st)
{
    struct join *j = (struct join *)op;
    uint8_t kind = op->node->join;
    tl_arena_reset(&op->pipe->scratch);
    *out = (struct tl__batch){0};
    if (!j->built) {
        j->built = true;
        enum tl_code rc = keep_right(j, st);
        if (rc) {
            if (rc == TL_LIMIT)
                tl_status_wrap(st, "keeping one side of a join in memory");
            return rc;
        }
        j->left_done = j->rows.count == 0 &&
                       (kind == TL_JOIN_INNER || kind == TL_JOIN_SEMI || kind == TL_JOIN_RIGHT);
    }
    while (!j->left_done) {
        enum tl_code rc = tl__run_check(op->run, st);
        if (rc)
            return rc;
        if (!j->probing) {
            rc = tl__op_next(op->child, &j->batch, st);
            if (rc)
                return rc;
            if (j->batch.n == 0) {
                j->left_done = true;
                break;
            }
            rc = find_batch(j, st);
            if (rc)
                return rc;
            j->probing = true;
            j->told = false;
            j->at = j->chain = 0;
        }
        rc = batch_next(j, out, st);
        if (rc || out->n > 0)
            return rc;
        j->probing = !j->told;
        tl_arena_reset(&op->pipe->scratch);
    }
    return put_unmatched(j, out, st);
}

static void join_close(struct tl__op *op)
{
    struct join *j = (struct join *)op;
    for (uint32_t i = 0; i < j->key_count; i++)
        tl__array_deinit(&j->keys[i].values);
    tl__rows_deinit(&j->rows);
    tl_arena_deinit(&j->text);
    tl__array_deinit(&j->hashes);
    tl__array_deinit(&j->next);
    tl__array_deinit(&j->slots);
    tl__array_deinit(&j->matched_rows);
}

static const struct tl__op_vtable join_vtable = {join_next, join_close};

static void mark_reads(const struct tl_expr *e, uint32_t lefts, bool *left, bool *right)
{
    if (e->kind == TL_EXPR_COLUMN && e->index >= lefts)
        right[e->index - lefts] = true;
    else if (e->kind == TL_EXPR_COLUMN)
        left[e->index] = true;
    for (uint32_t i = 0; i < e->arg_count; i++)
        mark_reads(e->args[i], lefts, left, right);
}

/* Which of the right's columns are kept. */
static enum tl_code choose_columns(struct join *j, struct tl_arena *arena, struct tl_status *st)
{
    const struct tl_plan_node *node = j->op.node;
    uint32_t lefts = node->child->column_count, rights = node->right->column_count;
    bool *wanted = tl_arena_calloc(arena, rights + 1u, sizeof(*wanted), st);
    struct tl_type *types = tl_arena_calloc(arena, rights + 1u, sizeof(*types), st);
    j->kept_of = tl_arena_calloc(arena, rights + 1u, sizeof(*j->kept_of), st);
    j->kept_columns = tl_arena_calloc(arena, rights + 1u, sizeof(*j->kept_columns), st);
    j->residual_reads = tl_arena_calloc(arena, lefts + 1u, sizeof(bool), st);
    if (!wanted || !types || !j->kept_of || !j->kept_columns || !j->residual_reads)
        return st->code;
    for (uint32_t i = 0; node->join <= TL_JOIN_FULL && i < node->emit_count; i++)
        if (node->emit[i] >= lefts)
            wanted[node->emit[i] - lefts] = true;
    if (node->residual)
        mark_reads(node->residual, lefts, j->residual_reads, wanted);
    for (uint32_t c = 0; c < rights; c++) {
        j->kept_of[c] = UINT32_MAX;
        if (!wanted[c])
            continue;
        types[j->kept_count] = node->right->types[c];
        j->kept_columns[j->kept_count] = c;
        j->kept_of[c] = j->kept_count++;
    }
    return tl__rows_init(&j->rows, types, j->kept_count, arena, j->op.run->budget, st);
}

static enum tl_code make_steps(struct join *j, struct tl__pipe *left, struct tl_status *st)
{
    const struct tl_plan_node *node = j->op.node;
    enum tl_code rc = TL_OK;
    for (uint32_t i = 0; rc == TL_OK && i < j->key_count; i++) {
        struct key *key = &j->keys[i];
        key->type = node->right_keys[i]->type;
        key->text = tl_kind_is_bytes(key->type.kind);
        key->width = key->text ? sizeof(struct tl_slice) : is_wide(key->type) ? 16 : 8;
        tl__array_init(&key->values, j->op.run->budget, key->width);
        rc = tl__step_new(left, node->left_keys[i], &key->left, st);
        if (rc == TL_OK)
            rc = tl__step_new(j->right_pipe, node->right_keys[i], &key->right, st);
    }
    if (rc == TL_OK && node->residual)
        rc = tl__step_new(j->op.pipe, node->residual, &j->residual, st);
    return rc;
}

enum tl_code tl__join_new(struct tl_run *run, const struct tl_plan_node *node,
                          struct tl__pipe *pipe, struct tl__op **out, struct tl_status *st)
{
    struct join *j = tl_arena_calloc(&run->arena, 1, sizeof(*j), st);
    if (!j)
        return st->code;
    j->op = (struct tl__op){.vtab = &join_vtable, .node = node, .pipe = pipe, .run = run};
    j->keys = tl_arena_calloc(&run->arena, node->join_key_count + 1u, sizeof(*j->keys), st);
    j->op.inputs = tl_arena_calloc(&run->arena, 1, sizeof(struct tl__op *), st);
    if (!j->keys || !j->op.inputs)
        return st->code;
    j->key_count = node->join_key_count;
    for (uint32_t i = 0; i < j->key_count; i++)
        tl__array_init(&j->keys[i].values, run->budget, 8);
    tl_arena_init(&j->text, run->budget, 64 << 10);
    tl__array_init(&j->hashes, run->budget, sizeof(uint32_t));
    tl__array_init(&j->next, run->budget, sizeof(uint32_t));
    tl__array_init(&j->slots, run->budget, sizeof(struct slot));
    tl__array_init(&j->matched_rows, run->budget, 1);
    *out = &j->op; /* closed by the run from here, also when the rest fails */
    struct tl__pipe *left;
    enum tl_code rc = choose_columns(j, &run->arena, st);
    if (rc == TL_OK)
        rc = tl__pipe_new(run, &left, st);
    if (rc == TL_OK)
        rc = tl__pipe_new(run, &j->right_pipe, st);
    if (rc == TL_OK)
        rc = make_steps(j, left, st);
    if (rc == TL_OK)
        rc = tl__op_new(run, node->child, left, &j->op.child, st);
    if (rc == TL_OK)
        rc = tl__op_new(run, node->right, j->right_pipe, &j->right, st);
    if (rc == TL_OK) {
        j->op.inputs[0] = j->right;
        j->op.input_count = 1;
    }
    return rc;
}
