/*
 * Expressions over batches.
 *
 * An expression is compiled into steps, one per node of its tree, and evaluated a batch at a time:
 * the walk over the steps costs nothing beside the rows. A step computes the rows of a selection
 * only; AND, OR, CASE, COALESCE and IN hand smaller and smaller selections down, so that no row
 * meets an error in a branch that it does not reach.
 *
 * A step whose only column is one TEXT column is a function of that column's value. Where the
 * column comes as dictionary codes, the step is computed once per code met and remembered in a
 * table over the dictionary's codes ("memo"), unless the dictionary is much larger than the rows to
 * come, when the rows' own strings are computed as they are.
 *
 * Predicates do not make BOOLEAN vectors where a selection is wanted: comparisons of numbers and
 * memo tables write selections at once, without a branch per row.
 */
#include <string.h>

#include "query/exec_int.h"

enum { DEPTH_MAX = 2000, IN_SORTED_MIN = 9 };

/* A memo table of one dictionary: what the step is for each code, and for NULL (at `count`). */
enum { MEMO_UNKNOWN, MEMO_FALSE, MEMO_TRUE, MEMO_NULL, MEMO_VALUE, MEMO_PENDING };

struct memo {
    struct memo *older;
    uint64_t dict_id;
    uint32_t count;
    uint8_t *state;  /* count + 1 */
    uint8_t *values; /* count + 1, NULL for BOOLEAN */
};

struct tl__step {
    uint8_t kind; /* enum tl_expr_kind */
    struct tl_type type;
    uint32_t width;
    const struct tl_function *function;
    enum tl__compare_op compare;
    uint32_t column;
    uint32_t arg_count;
    struct tl__step **args;
    struct tl_vector value; /* CONST, PARAM */
    bool constant;          /* no column in it */
    bool text_column;       /* its only column is TEXT */
    bool memoizable;        /* one TEXT column in it, and something done to it */
    uint32_t memo_column;
    struct memo *memos; /* newest first */
    int64_t *in_sorted; /* IN over many constants of 64 bits: ascending */
    uint32_t in_count;
    bool in_null; /* … and there was a NULL among them */
};

/* What a selection function works on; `sel` NULL: all rows. */
struct view {
    struct tl__pipe *pipe;
    const struct tl_vector *columns;
    uint32_t rows;
};

static enum tl_code eval(struct tl__step *s, const struct view *v, const uint16_t *sel, uint32_t n,
                         struct tl_vector *out, struct tl_status *st);
static enum tl_code select_true(struct tl__step *s, const struct view *v, const uint16_t *sel,
                                uint32_t n, const uint16_t **out, uint32_t *out_n,
                                struct tl_status *st);

/* ---- compiling ---- */

enum { NO_COLUMN = -1, MANY_COLUMNS = -2 };

static bool is_64_bits(uint8_t kind)
{
    return kind == TL_BIGINT || kind == TL_TIMESTAMP || kind == TL_TIMESTAMPTZ ||
           kind == TL_DECIMAL64;
}

/* Sorts the constants of a long IN list once. */
static enum tl_code prepare_in(struct tl__step *s, struct tl_arena *arena, struct tl_status *st)
{
    if (s->arg_count < IN_SORTED_MIN + 1 || !is_64_bits(s->args[0]->type.kind))
        return TL_OK;
    for (uint32_t i = 1; i < s->arg_count; i++) {
        const struct tl__step *a = s->args[i];
        if ((a->kind != TL_EXPR_CONST && a->kind != TL_EXPR_PARAM) ||
            !tl_type_eq(a->type, s->args[0]->type))
            return TL_OK;
    }
    s->in_sorted = tl_arena_alloc(arena, sizeof(int64_t) * s->arg_count, st);
    if (!s->in_sorted)
        return st->code;
    for (uint32_t i = 1; i < s->arg_count; i++) {
        const struct tl_vector *v = &s->args[i]->value;
        if (!tl_vector_valid(v, 0)) {
            s->in_null = true;
            continue;
        }
        int64_t x = *(const int64_t *)v->data;
        uint32_t at = s->in_count++;
        for (; at > 0 && s->in_sorted[at - 1] > x; at--)
            s->in_sorted[at] = s->in_sorted[at - 1];
        s->in_sorted[at] = x;
    }
    return TL_OK;
}

static enum tl_code compile(struct tl__pipe *pipe, const struct tl_expr *e, uint32_t depth,
                            struct tl__step **out, int64_t *column, struct tl_status *st)
{
    if (depth > DEPTH_MAX) {
        (void)TL_FAIL(st, TL_LIMIT, "an expression is nested more than %d deep", DEPTH_MAX);
        return tl_status_sql(st, "54001", e->position);
    }
    struct tl__step *s = tl_arena_calloc(&pipe->memory, 1, sizeof(*s), st);
    if (!s)
        return st->code;
    s->kind = e->kind;
    s->type = e->type;
    s->width = tl_kind_width(e->type.kind);
    s->function = e->function;
    s->compare = e->kind == TL_EXPR_CALL ? tl__function_compare_op(e->function) : TL__NO_COMPARISON;
    int64_t only = NO_COLUMN;
    if (e->kind == TL_EXPR_COLUMN) {
        s->column = e->index;
        only = e->index;
    } else if (e->kind == TL_EXPR_CONST) {
        s->value = e->value;
    } else if (e->kind == TL_EXPR_PARAM) {
        tl_assert(e->index < pipe->run->param_count);
        s->value = pipe->run->params[e->index];
    }
    s->value.type = s->type;
    s->arg_count = e->arg_count;
    s->text_column = e->kind == TL_EXPR_COLUMN && e->type.kind == TL_TEXT;
    if (e->arg_count) {
        s->args = tl_arena_calloc(&pipe->memory, e->arg_count, sizeof(struct tl__step *), st);
        if (!s->args)
            return st->code;
        for (uint32_t i = 0; i < e->arg_count; i++) {
            int64_t c;
            enum tl_code rc = compile(pipe, e->args[i], depth + 1, &s->args[i], &c, st);
            if (rc)
                return rc;
            if (c == NO_COLUMN)
                continue;
            if (only == NO_COLUMN)
                only = c;
            else if (only != c)
                only = MANY_COLUMNS;
            s->text_column = s->args[i]->text_column;
        }
    }
    s->constant = only == NO_COLUMN;
    s->memoizable = only >= 0 && s->text_column && e->arg_count > 0;
    if (s->kind == TL_EXPR_IS_NULL && s->args[0]->kind == TL_EXPR_COLUMN)
        s->memoizable = false; /* the validity says it, no string is needed */
    s->memo_column = only >= 0 ? (uint32_t)only : 0;
    if (s->kind == TL_EXPR_IN) {
        enum tl_code rc = prepare_in(s, &pipe->memory, st);
        if (rc)
            return rc;
    }
    *column = only;
    *out = s;
    return TL_OK;
}

enum tl_code tl__step_new(struct tl__pipe *pipe, const struct tl_expr *expr, struct tl__step **out,
                          struct tl_status *st)
{
    int64_t column;
    return compile(pipe, expr, 0, out, &column, st);
}

/* ---- pieces ---- */

static void *scratch(const struct view *v, size_t bytes, struct tl_status *st)
{
    return tl_arena_alloc(&v->pipe->scratch, bytes ? bytes : 1, st);
}

static uint16_t *new_selection(const struct view *v, uint32_t n, struct tl_status *st)
{
    return scratch(v, sizeof(uint16_t) * (n + 1u), st); /* branch-free writers run one past */
}

static void set_null(struct tl_vector *out, struct tl_type type, uint32_t rows)
{
    static const uint64_t none[1] = {0};
    static const struct tl_interval zero[1] = {{0, 0, 0}}; /* as wide as any value */
    *out = (struct tl_vector){
        .type = type, .shape = TL_CONST, .count = rows, .data = zero, .validity = none};
}

#define EACH(i, sel, n)                                                                            \
    for (uint32_t k_ = 0, i = 0; k_ < (n) && ((i = (sel) ? (sel)[k_] : k_), true); k_++)

enum tl_code tl__flatten(struct tl__pipe *pipe, const struct tl_vector *v, const uint16_t *sel,
                         uint32_t n, struct tl_vector *out, struct tl_status *st)
{
    if (v->shape != TL_DICT) {
        *out = *v;
        return TL_OK;
    }
    struct tl_slice *flat = tl_arena_alloc(&pipe->scratch, sizeof(*flat) * (v->count + 1u), st);
    if (!flat)
        return st->code;
    struct tl_vector r = {.type = v->type,
                          .shape = TL_FLAT,
                          .count = v->count,
                          .data = flat,
                          .validity = v->validity};
    if (v->dict->values) {
        EACH(i, sel, n)
        {
            bool in = v->codes[i] < v->dict->count;
            if (!in && tl_vector_valid(v, i))
                return TL_FAIL(st, TL_CORRUPT, "dictionary code %u of %u", v->codes[i],
                               v->dict->count);
            flat[i] = in ? v->dict->values[v->codes[i]] : tl_slice_of(NULL, 0);
        }
        *out = r;
        return TL_OK;
    }
    uint32_t *codes = tl_arena_alloc(&pipe->scratch, sizeof(*codes) * (n + 1u), st);
    struct tl_slice *found = tl_arena_alloc(&pipe->scratch, sizeof(*found) * (n + 1u), st);
    if (!codes || !found)
        return st->code;
    uint32_t wanted = 0;
    EACH(i, sel, n)
    {
        if (tl_vector_valid(v, i))
            codes[wanted++] = v->codes[i];
    }
    enum tl_code rc = tl_dict_get(v->dict, codes, wanted, found, st);
    if (rc)
        return rc;
    wanted = 0;
    EACH(i, sel, n)
    flat[i] = tl_vector_valid(v, i) ? found[wanted++] : tl_slice_of(NULL, 0);
    *out = r;
    return TL_OK;
}

#define GATHER(type)                                                                               \
    do {                                                                                           \
        type *to = data;                                                                           \
        const type *from = v->data;                                                                \
        for (uint32_t k = 0; k < n; k++)                                                           \
            to[k] = from[sel[k]];                                                                  \
    } while (0)

enum tl_code tl__compact(struct tl_arena *arena, const struct tl_vector *v, const uint16_t *sel,
                         uint32_t n, struct tl_vector *out, struct tl_status *st)
{
    struct tl_vector r = *v;
    r.count = n;
    if (!sel || v->shape == TL_CONST) {
        *out = r;
        return TL_OK;
    }
    if (v->validity) {
        uint64_t *bits = tl_arena_calloc(arena, tl_bit_words(n) + 1u, sizeof(*bits), st);
        if (!bits)
            return st->code;
        for (uint32_t k = 0; k < n; k++)
            bits[k >> 6] |= (uint64_t)tl_bit_get(v->validity, sel[k]) << (k & 63);
        r.validity = bits;
    }
    uint32_t width = v->shape == TL_DICT ? 4 : tl_kind_width(v->type.kind);
    void *data = tl_arena_alloc(arena, (size_t)width * n + 1, st);
    if (!data)
        return st->code;
    if (v->shape == TL_DICT) {
        uint32_t *to = data;
        for (uint32_t k = 0; k < n; k++)
            to[k] = v->codes[sel[k]];
        r.codes = data;
        *out = r;
        return TL_OK;
    }
    switch (width) {
    case 0:
        break;
    case 1:
        GATHER(uint8_t);
        break;
    case 4:
        GATHER(uint32_t);
        break;
    case 8:
        GATHER(uint64_t);
        break;
    default:
        GATHER(struct tl_interval);
        break;
    }
    r.data = data;
    *out = r;
    return TL_OK;
}

/* Copies the selected rows of `from` (FLAT or CONST) to the same rows of an array. */
static void scatter(const struct tl_vector *from, const uint16_t *sel, uint32_t n, uint32_t width,
                    uint8_t *data, uint64_t *validity)
{
    const uint8_t *values = from->data;
    size_t step = tl__step(from) * width;
    EACH(i, sel, n)
    {
        if (!tl_vector_valid(from, i)) {
            tl_bit_clear(validity, i);
            continue;
        }
        memcpy(data + (size_t)i * width, values + step * i, width);
        tl_bit_set(validity, i);
    }
}

/* The rows of `all` that are not in `some`, a part of it. */
static enum tl_code without(const struct view *v, const uint16_t *all, uint32_t n,
                            const uint16_t *some, uint32_t some_n, const uint16_t **out,
                            uint32_t *out_n, struct tl_status *st)
{
    uint16_t *rest = new_selection(v, n, st);
    if (!rest)
        return st->code;
    uint32_t s = 0;
    uint32_t m = 0;
    EACH(i, all, n)
    {
        if (s < some_n && (some ? some[s] : s) == i)
            s++;
        else
            rest[m++] = (uint16_t)i;
    }
    *out = rest;
    *out_n = m;
    return TL_OK;
}

/* A fresh array of values, all NULL. */
static enum tl_code new_values(const struct view *v, uint32_t width, uint8_t **data,
                               uint64_t **validity, struct tl_status *st)
{
    *data = scratch(v, (size_t)width * v->rows, st);
    *validity = tl_arena_calloc(&v->pipe->scratch, tl_bit_words(v->rows) + 1u, 8, st);
    return *data && *validity ? TL_OK : st->code;
}

/* ---- memo tables ---- */

static enum tl_code memo_of(struct tl__step *s, const struct view *v, struct memo **out,
                            struct tl_status *st)
{
    *out = NULL;
    if (!s->memoizable)
        return TL_OK;
    const struct tl_vector *column = &v->columns[s->memo_column];
    if (column->shape != TL_DICT)
        return TL_OK;
    const struct tl_dict *dict = column->dict;
    struct memo *m = s->memos;
    for (struct memo *before = NULL; m; before = m, m = m->older) {
        if (m->dict_id != dict->id)
            continue;
        if (before) { /* to the front: it will be asked for again */
            before->older = m->older;
            m->older = s->memos;
            s->memos = m;
        }
        *out = m;
        return TL_OK;
    }
    if (!tl__table_pays(dict, v->pipe->rows_hint, v->rows))
        return TL_OK;
    struct tl_arena *memory = &v->pipe->memory;
    m = tl_arena_calloc(memory, 1, sizeof(*m), st);
    if (!m)
        return st->code;
    m->dict_id = dict->id;
    m->count = dict->count;
    m->state = tl_arena_calloc(memory, (size_t)dict->count + 1, 1, st);
    if (!m->state)
        return st->code;
    if (s->type.kind != TL_BOOLEAN && s->width) {
        m->values = tl_arena_alloc(memory, ((size_t)dict->count + 1) * s->width, st);
        if (!m->values)
            return st->code;
    }
    m->older = s->memos;
    s->memos = m;
    *out = m;
    return TL_OK;
}

static inline uint32_t memo_code(const struct memo *m, const struct tl_vector *column, uint32_t row)
{
    return tl_vector_valid(column, row) ? column->codes[row] : m->count;
}

/* Computes the step for the codes of the selected rows that the memo does not know yet. */
static enum tl_code memo_fill(struct tl__step *s, const struct view *v, struct memo *m,
                              const uint16_t *sel, uint32_t n, struct tl_status *st)
{
    const struct tl_vector *column = &v->columns[s->memo_column];
    uint32_t *codes = scratch(v, sizeof(*codes) * (n + 1u), st);
    if (!codes)
        return st->code;
    uint32_t count = 0;
    bool null = false; /* NULL's place is the last one */
    EACH(i, sel, n)
    {
        uint32_t code = memo_code(m, column, i);
        if (code > m->count)
            return TL_FAIL(st, TL_CORRUPT, "dictionary code %u of %u", code, m->count);
        if (m->state[code] != MEMO_UNKNOWN)
            continue;
        m->state[code] = MEMO_PENDING;
        if (code == m->count)
            null = true;
        else
            codes[count++] = code;
    }
    if (count == 0 && !null)
        return TL_OK;
    uint32_t rows = count + null;
    struct tl_slice *texts = scratch(v, sizeof(*texts) * rows, st);
    uint64_t *validity = scratch(v, sizeof(*validity) * (tl_bit_words(rows) + 1u), st);
    struct tl_vector *columns = scratch(v, sizeof(*columns) * (s->memo_column + 1u), st);
    if (!texts || !validity || !columns)
        return st->code;
    enum tl_code rc = tl_dict_get(column->dict, codes, count, texts, st);
    if (rc)
        return rc;
    memset(validity, 0xff, sizeof(*validity) * tl_bit_words(rows));
    if (null) {
        tl_bit_clear(validity, count);
        texts[count] = tl_slice_of(NULL, 0);
        codes[count] = m->count;
    }
    columns[s->memo_column] = (struct tl_vector){.type = tl_type_of(TL_TEXT),
                                                 .shape = TL_FLAT,
                                                 .count = rows,
                                                 .data = texts,
                                                 .validity = null ? validity : NULL};
    struct view values = {v->pipe, columns, rows};
    struct tl_vector result;
    rc = eval(s, &values, NULL, rows, &result, st);
    if (rc)
        return rc;
    size_t step = tl__step(&result);
    for (uint32_t i = 0; i < rows; i++) {
        if (!tl_vector_valid(&result, i)) {
            m->state[codes[i]] = MEMO_NULL;
        } else if (s->type.kind == TL_BOOLEAN) {
            m->state[codes[i]] = ((const uint8_t *)result.data)[step * i] ? MEMO_TRUE : MEMO_FALSE;
        } else if (tl_kind_is_bytes(s->type.kind)) {
            struct tl_slice t = ((const struct tl_slice *)result.data)[step * i];
            const void *copy = tl_arena_copy(&v->pipe->memory, t.data, t.size, st);
            if (!copy)
                return st->code;
            ((struct tl_slice *)(void *)m->values)[codes[i]] = tl_slice_of(copy, t.size);
            m->state[codes[i]] = MEMO_VALUE;
        } else {
            memcpy(m->values + (size_t)codes[i] * s->width,
                   (const uint8_t *)result.data + step * i * s->width, s->width);
            m->state[codes[i]] = MEMO_VALUE;
        }
    }
    return TL_OK;
}

static enum tl_code memo_eval(struct tl__step *s, const struct view *v, struct memo *m,
                              const uint16_t *sel, uint32_t n, struct tl_vector *out,
                              struct tl_status *st)
{
    const struct tl_vector *column = &v->columns[s->memo_column];
    enum tl_code rc = memo_fill(s, v, m, sel, n, st);
    if (rc)
        return rc;
    uint8_t *data;
    uint64_t *validity;
    rc = new_values(v, s->width, &data, &validity, st);
    if (rc)
        return rc;
    bool nulls = false;
    EACH(i, sel, n)
    {
        uint32_t code = memo_code(m, column, i);
        uint8_t state = m->state[code];
        nulls = nulls || state == MEMO_NULL;
        validity[i >> 6] |= (uint64_t)(state != MEMO_NULL) << (i & 63);
        if (s->width == 1)
            data[i] = state == MEMO_TRUE;
        else if (state == MEMO_VALUE)
            memcpy(data + (size_t)i * s->width, m->values + (size_t)code * s->width, s->width);
    }
    *out = (struct tl_vector){.type = s->type,
                              .shape = TL_FLAT,
                              .count = v->rows,
                              .data = data,
                              .validity = nulls ? validity : NULL};
    return TL_OK;
}

static enum tl_code memo_select(struct tl__step *s, const struct view *v, struct memo *m,
                                const uint16_t *sel, uint32_t n, const uint16_t **out,
                                uint32_t *out_n, struct tl_status *st)
{
    const struct tl_vector *column = &v->columns[s->memo_column];
    uint16_t *chosen = new_selection(v, n, st);
    if (!chosen)
        return st->code;
    const uint8_t *state = m->state;
    for (int pass = 0;; pass++) {
        uint32_t count = 0;
        bool unknown = false;
        if (!column->validity && !sel) {
            const uint32_t *codes = column->codes;
            uint32_t code_max = 0;
            if (pass == 0) {
                for (uint32_t i = 0; i < n; i++)
                    code_max = codes[i] > code_max ? codes[i] : code_max;
            }
            if (code_max > m->count)
                return TL_FAIL(st, TL_CORRUPT, "dictionary code %u of %u", code_max, m->count);
            for (uint32_t i = 0; i < n; i++) {
                uint8_t is = state[codes[i]];
                chosen[count] = (uint16_t)i;
                count += is == MEMO_TRUE;
                unknown |= is == MEMO_UNKNOWN;
            }
        } else {
            EACH(i, sel, n)
            {
                uint32_t code = memo_code(m, column, i);
                if (code > m->count)
                    return TL_FAIL(st, TL_CORRUPT, "dictionary code %u of %u", code, m->count);
                uint8_t is = state[code];
                chosen[count] = (uint16_t)i;
                count += is == MEMO_TRUE;
                unknown |= is == MEMO_UNKNOWN;
            }
        }
        if (!unknown) {
            *out = chosen;
            *out_n = count;
            return TL_OK;
        }
        tl_assert(pass == 0);
        enum tl_code rc = memo_fill(s, v, m, sel, n, st);
        if (rc)
            return rc;
    }
}

/* ---- calls ---- */

/* Combines the arguments' validity; *bits stays NULL when no row can be NULL. */
static enum tl_code combine_validity(const struct view *v, const struct tl_vector *args,
                                     uint32_t count, const uint64_t **bits, struct tl_status *st)
{
    uint64_t *own = NULL;
    *bits = NULL;
    for (uint32_t a = 0; a < count; a++) {
        if (args[a].shape == TL_CONST || !args[a].validity)
            continue;
        if (!*bits) {
            *bits = args[a].validity;
            continue;
        }
        uint32_t words = tl_bit_words(v->rows);
        if (!own) {
            own = scratch(v, sizeof(*own) * (words + 1u), st);
            if (!own)
                return st->code;
            memcpy(own, *bits, sizeof(*own) * words);
            *bits = own;
        }
        for (uint32_t w = 0; w < words; w++)
            own[w] &= args[a].validity[w];
    }
    return TL_OK;
}

uint32_t tl__rows_with_bit(const uint64_t *bits, const uint16_t *sel, uint32_t n, uint16_t *out)
{
    uint32_t m = 0;
    if (sel) {
        for (uint32_t k = 0; k < n; k++) {
            out[m] = sel[k];
            m += tl_bit_get(bits, sel[k]);
        }
        return m;
    }
    for (uint32_t from = 0; from < n; from += 64) { /* word by word: mostly all, none, or few */
        uint64_t word = bits[from / 64];
        uint32_t left = n - from;
        if (left < 64)
            word &= ((uint64_t)1 << left) - 1;
        if (word == ~(uint64_t)0) {
            for (uint32_t i = 0; i < 64; i++)
                out[m + i] = (uint16_t)(from + i);
            m += 64;
            continue;
        }
        for (; word; word &= word - 1)
            out[m++] = (uint16_t)(from + (uint32_t)__builtin_ctzll(word));
    }
    return m;
}

static enum tl_code only_valid(const struct view *v, const uint64_t *bits, const uint16_t **sel,
                               uint32_t *n, struct tl_status *st)
{
    if (!bits)
        return TL_OK;
    uint16_t *valid = new_selection(v, *n, st);
    if (!valid)
        return st->code;
    uint32_t m = tl__rows_with_bit(bits, *sel, *n, valid);
    if (m != *n) { /* else keep NULL for "all" */
        *sel = valid;
        *n = m;
    }
    return TL_OK;
}

static enum tl_code eval_args(struct tl__step *s, const struct view *v, const uint16_t *sel,
                              uint32_t n, struct tl_vector *args, struct tl_status *st)
{
    for (uint32_t a = 0; a < s->arg_count; a++) {
        struct tl_vector r;
        enum tl_code rc = eval(s->args[a], v, sel, n, &r, st);
        if (rc == TL_OK)
            rc = tl__flatten(v->pipe, &r, sel, n, &args[a], st);
        if (rc)
            return rc;
    }
    return TL_OK;
}

static enum tl_code call(struct tl__step *s, const struct view *v, const uint16_t *sel, uint32_t n,
                         struct tl_vector *out, struct tl_status *st)
{
    struct tl_vector few[4];
    struct tl_vector *args = few;
    if (s->arg_count > sizeof(few) / sizeof(few[0])) {
        args = scratch(v, sizeof(*args) * s->arg_count, st);
        if (!args)
            return st->code;
    }
    enum tl_code rc = eval_args(s, v, sel, n, args, st);
    if (rc)
        return rc;
    const uint64_t *bits = NULL;
    if (s->function->strict) {
        for (uint32_t a = 0; a < s->arg_count; a++) {
            if (args[a].shape == TL_CONST && !tl_vector_valid(&args[a], 0)) {
                set_null(out, s->type, v->rows);
                return TL_OK;
            }
        }
        rc = combine_validity(v, args, s->arg_count, &bits, st);
        if (rc == TL_OK)
            rc = only_valid(v, bits, &sel, &n, st);
        if (rc)
            return rc;
    }
    if (n == 0) {
        set_null(out, s->type, v->rows);
        return TL_OK;
    }
    struct tl_vector r = {.type = s->type, .count = v->rows};
    rc = s->function->kernel(&v->pipe->ctx, args, s->arg_count, v->rows, sel, n, &r, st);
    if (rc)
        return rc;
    if (bits && r.shape != TL_CONST)
        r.validity = bits; /* a strict kernel was not asked about the others */
    *out = r;
    return TL_OK;
}

/* ---- three-valued logic ---- */

/* AND (decides on false) and OR (decides on true): a row leaves as soon as it is decided. */
static enum tl_code logic(struct tl__step *s, const struct view *v, const uint16_t *sel, uint32_t n,
                          struct tl_vector *out, struct tl_status *st)
{
    bool deciding = s->kind == TL_EXPR_OR;
    uint8_t *data;
    uint64_t *validity;
    enum tl_code rc = new_values(v, 1, &data, &validity, st);
    if (rc)
        return rc;
    EACH(i, sel, n)
    {
        data[i] = !deciding;
        tl_bit_set(validity, i);
    }
    for (uint32_t a = 0; a < s->arg_count && n > 0; a++) {
        struct tl_vector r;
        rc = eval(s->args[a], v, sel, n, &r, st);
        uint16_t *open = rc ? NULL : new_selection(v, n, st);
        if (!open)
            return st->code;
        const uint8_t *values = r.data;
        size_t step = tl__step(&r);
        uint32_t m = 0;
        EACH(i, sel, n)
        {
            if (!tl_vector_valid(&r, i)) {
                tl_bit_clear(validity, i);
                open[m++] = (uint16_t)i;
            } else if ((values[step * i] != 0) == deciding) {
                data[i] = deciding;
                tl_bit_set(validity, i);
            } else {
                open[m++] = (uint16_t)i;
            }
        }
        sel = open;
        n = m;
    }
    *out = (struct tl_vector){
        .type = s->type, .shape = TL_FLAT, .count = v->rows, .data = data, .validity = validity};
    return TL_OK;
}

static enum tl_code negate(struct tl__step *s, const struct view *v, const uint16_t *sel,
                           uint32_t n, struct tl_vector *out, struct tl_status *st)
{
    struct tl_vector r;
    enum tl_code rc = eval(s->args[0], v, sel, n, &r, st);
    uint8_t *data = rc ? NULL : scratch(v, v->rows, st);
    if (!data)
        return st->code;
    const uint8_t *values = r.data;
    if (r.shape == TL_CONST) {
        data[0] = !values[0];
    } else {
        EACH(i, sel, n)
        data[i] = !values[i];
    }
    r.data = data;
    *out = r;
    return TL_OK;
}

static enum tl_code is_null(struct tl__step *s, const struct view *v, const uint16_t *sel,
                            uint32_t n, struct tl_vector *out, struct tl_status *st)
{
    struct tl_vector r;
    enum tl_code rc = eval(s->args[0], v, sel, n, &r, st);
    uint8_t *data = rc ? NULL : scratch(v, v->rows, st);
    if (!data)
        return st->code;
    *out = (struct tl_vector){.type = s->type, .count = v->rows, .data = data};
    if (r.shape == TL_CONST || !r.validity) {
        data[0] = !tl_vector_valid(&r, 0);
        out->shape = TL_CONST;
        return TL_OK;
    }
    EACH(i, sel, n)
    data[i] = !tl_bit_get(r.validity, i);
    out->shape = TL_FLAT;
    return TL_OK;
}

/* ---- branches ---- */

static enum tl_code eval_into(struct tl__step *branch, const struct view *v, const uint16_t *sel,
                              uint32_t n, uint32_t width, uint8_t *data, uint64_t *validity,
                              struct tl_status *st)
{
    struct tl_vector r;
    enum tl_code rc = eval(branch, v, sel, n, &r, st);
    if (rc == TL_OK)
        rc = tl__flatten(v->pipe, &r, sel, n, &r, st);
    if (rc == TL_OK)
        scatter(&r, sel, n, width, data, validity);
    return rc;
}

static enum tl_code eval_case(struct tl__step *s, const struct view *v, const uint16_t *sel,
                              uint32_t n, struct tl_vector *out, struct tl_status *st)
{
    tl_assert(s->arg_count % 2 == 1);
    uint8_t *data;
    uint64_t *validity;
    enum tl_code rc = new_values(v, s->width, &data, &validity, st);
    for (uint32_t a = 0; rc == TL_OK && n > 0; a += 2) {
        if (a + 1 == s->arg_count) {
            rc = eval_into(s->args[a], v, sel, n, s->width, data, validity, st);
            break;
        }
        const uint16_t *taken;
        uint32_t taken_n;
        rc = select_true(s->args[a], v, sel, n, &taken, &taken_n, st);
        if (rc == TL_OK && taken_n > 0)
            rc = eval_into(s->args[a + 1], v, taken, taken_n, s->width, data, validity, st);
        if (rc == TL_OK)
            rc = without(v, sel, n, taken, taken_n, &sel, &n, st);
    }
    if (rc)
        return rc;
    *out = (struct tl_vector){
        .type = s->type, .shape = TL_FLAT, .count = v->rows, .data = data, .validity = validity};
    return TL_OK;
}

static enum tl_code coalesce(struct tl__step *s, const struct view *v, const uint16_t *sel,
                             uint32_t n, struct tl_vector *out, struct tl_status *st)
{
    struct tl_vector r;
    enum tl_code rc = eval(s->args[0], v, sel, n, &r, st);
    if (rc)
        return rc;
    if (s->arg_count == 1 || (r.shape == TL_CONST ? tl_vector_valid(&r, 0) : !r.validity)) {
        *out = r; /* the first one has no NULLs */
        return TL_OK;
    }
    uint8_t *data;
    uint64_t *validity;
    rc = tl__flatten(v->pipe, &r, sel, n, &r, st);
    if (rc == TL_OK)
        rc = new_values(v, s->width, &data, &validity, st);
    for (uint32_t a = 0; rc == TL_OK; a++) {
        scatter(&r, sel, n, s->width, data, validity);
        uint16_t *rest = new_selection(v, n, st);
        if (!rest)
            return st->code;
        uint32_t m = 0;
        EACH(i, sel, n)
        {
            rest[m] = (uint16_t)i;
            m += !tl_bit_get(validity, i);
        }
        sel = rest;
        n = m;
        if (a + 1 == s->arg_count || n == 0)
            break;
        rc = eval(s->args[a + 1], v, sel, n, &r, st);
        if (rc == TL_OK)
            rc = tl__flatten(v->pipe, &r, sel, n, &r, st);
    }
    if (rc)
        return rc;
    *out = (struct tl_vector){
        .type = s->type, .shape = TL_FLAT, .count = v->rows, .data = data, .validity = validity};
    return TL_OK;
}

/* ---- IN ---- */

static bool sorted_has(const struct tl__step *s, int64_t x)
{
    const int64_t *base = s->in_sorted;
    uint32_t n = s->in_count;
    while (n > 1) {
        uint32_t half = n / 2;
        base += base[half - 1] < x ? half : 0;
        n -= half;
    }
    return n == 1 && *base == x;
}

static enum tl_code eval_in(struct tl__step *s, const struct view *v, const uint16_t *sel,
                            uint32_t n, struct tl_vector *out, struct tl_status *st)
{
    struct tl_vector x;
    uint8_t *data;
    uint64_t *validity;
    enum tl_code rc = eval(s->args[0], v, sel, n, &x, st);
    if (rc == TL_OK)
        rc = tl__flatten(v->pipe, &x, sel, n, &x, st);
    if (rc == TL_OK)
        rc = new_values(v, 1, &data, &validity, st);
    uint16_t *open = rc ? NULL : new_selection(v, n, st);
    if (!open)
        return st->code;
    *out = (struct tl_vector){
        .type = s->type, .shape = TL_FLAT, .count = v->rows, .data = data, .validity = validity};
    uint32_t m = 0; /* rows not found yet */
    EACH(i, sel, n)
    {
        data[i] = 0;
        if (!tl_vector_valid(&x, i))
            continue; /* NULL, and stays it */
        if (!s->in_sorted) {
            tl_bit_set(validity, i);
            open[m++] = (uint16_t)i;
            continue;
        }
        data[i] = sorted_has(s, ((const int64_t *)x.data)[tl__step(&x) * i]);
        if (data[i] || !s->in_null)
            tl_bit_set(validity, i);
    }
    if (s->in_sorted)
        return TL_OK;
    size_t x_step = tl__step(&x) * tl_kind_width(x.type.kind);
    for (uint32_t a = 1; a < s->arg_count && m > 0; a++) {
        struct tl_vector item;
        rc = eval(s->args[a], v, open, m, &item, st);
        if (rc == TL_OK)
            rc = tl__flatten(v->pipe, &item, open, m, &item, st);
        if (rc)
            return rc;
        size_t item_step = tl__step(&item) * tl_kind_width(item.type.kind);
        uint32_t left = 0;
        for (uint32_t k = 0; k < m; k++) {
            uint32_t i = open[k];
            if (!tl_vector_valid(&item, i)) {
                tl_bit_clear(validity, i);
            } else if (tl__compare(x.type, (const uint8_t *)x.data + x_step * i, item.type,
                                   (const uint8_t *)item.data + item_step * i) == 0) {
                data[i] = 1;
                tl_bit_set(validity, i);
                continue;
            }
            open[left++] = (uint16_t)i;
        }
        m = left;
    }
    return TL_OK;
}

/* ---- values ---- */

static enum tl_code eval(struct tl__step *s, const struct view *v, const uint16_t *sel, uint32_t n,
                         struct tl_vector *out, struct tl_status *st)
{
    struct memo *memo;
    enum tl_code rc;
    switch (s->kind) {
    case TL_EXPR_COLUMN:
        *out = v->columns[s->column];
        return TL_OK;
    case TL_EXPR_CONST:
    case TL_EXPR_PARAM:
        *out = s->value;
        out->shape = TL_CONST;
        out->count = v->rows;
        return TL_OK;
    default:
        break;
    }
    rc = memo_of(s, v, &memo, st);
    if (rc)
        return rc;
    if (memo)
        return memo_eval(s, v, memo, sel, n, out, st);
    switch (s->kind) {
    case TL_EXPR_CALL:
        return call(s, v, sel, n, out, st);
    case TL_EXPR_AND:
    case TL_EXPR_OR:
        return logic(s, v, sel, n, out, st);
    case TL_EXPR_NOT:
        return negate(s, v, sel, n, out, st);
    case TL_EXPR_IS_NULL:
        return is_null(s, v, sel, n, out, st);
    case TL_EXPR_CASE:
        return eval_case(s, v, sel, n, out, st);
    case TL_EXPR_COALESCE:
        return coalesce(s, v, sel, n, out, st);
    default:
        tl_assert(s->kind == TL_EXPR_IN);
        return eval_in(s, v, sel, n, out, st);
    }
}

/* ---- selections ---- */

/* column OP constant over numbers: writes every row number and moves on when it is chosen. */
#define CHOOSE(type, OP)                                                                           \
    do {                                                                                           \
        const type *x = a->data;                                                                   \
        type k = *(const type *)b->data;                                                           \
        if (!sel) {                                                                                \
            for (uint32_t i = 0; i < n; i++) {                                                     \
                chosen[m] = (uint16_t)i;                                                           \
                m += x[i] OP k;                                                                    \
            }                                                                                      \
        } else {                                                                                   \
            for (uint32_t i = 0; i < n; i++) {                                                     \
                chosen[m] = sel[i];                                                                \
                m += x[sel[i]] OP k;                                                               \
            }                                                                                      \
        }                                                                                          \
    } while (0)

#define CHOOSE_BY(type)                                                                            \
    switch (op) {                                                                                  \
    case TL__EQ:                                                                                   \
        CHOOSE(type, ==);                                                                          \
        break;                                                                                     \
    case TL__NE:                                                                                   \
        CHOOSE(type, !=);                                                                          \
        break;                                                                                     \
    case TL__LT:                                                                                   \
        CHOOSE(type, <);                                                                           \
        break;                                                                                     \
    case TL__LE:                                                                                   \
        CHOOSE(type, <=);                                                                          \
        break;                                                                                     \
    case TL__GT:                                                                                   \
        CHOOSE(type, >);                                                                           \
        break;                                                                                     \
    default:                                                                                       \
        CHOOSE(type, >=);                                                                          \
        break;                                                                                     \
    }

static enum tl__compare_op turned(enum tl__compare_op op)
{
    static const uint8_t other[] = {[TL__EQ] = TL__EQ, [TL__NE] = TL__NE, [TL__LT] = TL__GT,
                                    [TL__LE] = TL__GE, [TL__GT] = TL__LT, [TL__GE] = TL__LE};
    return (enum tl__compare_op)other[op];
}

/* *done false: this comparison has no fast way. */
static enum tl_code compare_select(struct tl__step *s, const struct view *v, const uint16_t *sel,
                                   uint32_t n, bool *done, const uint16_t **out, uint32_t *out_n,
                                   struct tl_status *st)
{
    uint8_t kind = s->args[0]->type.kind;
    *done = false;
    bool turn = s->args[0]->constant;
    if (turn == s->args[1]->constant || !(is_64_bits(kind) || kind == TL_DATE))
        return TL_OK;
    if (!tl_type_eq(s->args[0]->type, s->args[1]->type))
        return TL_OK;
    struct tl_vector values[2];
    for (int i = 0; i < 2; i++) {
        enum tl_code rc = eval(s->args[i], v, sel, n, &values[i], st);
        if (rc)
            return rc;
    }
    const struct tl_vector *a = &values[turn];
    const struct tl_vector *b = &values[!turn];
    enum tl__compare_op op = turn ? turned(s->compare) : s->compare;
    if (b->shape != TL_CONST || a->shape != TL_FLAT) {
        /* evaluated in vain only when a CONST column meets a constant: cheap */
        return TL_OK;
    }
    *done = true;
    uint16_t *chosen = new_selection(v, n, st);
    if (!chosen)
        return st->code;
    *out = chosen;
    *out_n = 0;
    if (!tl_vector_valid(b, 0))
        return TL_OK;
    enum tl_code rc = only_valid(v, a->validity, &sel, &n, st);
    if (rc)
        return rc;
    uint32_t m = 0;
    if (kind == TL_DATE) {
        CHOOSE_BY(int32_t)
    } else {
        CHOOSE_BY(int64_t)
    }
    *out_n = m;
    return TL_OK;
}

static enum tl_code select_or(struct tl__step *s, const struct view *v, const uint16_t *sel,
                              uint32_t n, const uint16_t **out, uint32_t *out_n,
                              struct tl_status *st)
{
    uint16_t *chosen = new_selection(v, n, st);
    if (!chosen)
        return st->code;
    uint32_t count = 0;
    for (uint32_t a = 0; a < s->arg_count && n > 0; a++) {
        const uint16_t *taken;
        uint32_t taken_n;
        enum tl_code rc = select_true(s->args[a], v, sel, n, &taken, &taken_n, st);
        if (rc)
            return rc;
        /* merge from the back: chosen has room for all */
        uint32_t from = count;
        uint32_t end = count + taken_n;
        count = end;
        for (uint32_t t = taken_n; t > 0;) {
            uint16_t x = taken ? taken[t - 1] : (uint16_t)(t - 1);
            if (from > 0 && chosen[from - 1] > x) {
                chosen[--end] = chosen[--from];
            } else {
                chosen[--end] = x;
                t--;
            }
        }
        rc = without(v, sel, n, taken, taken_n, &sel, &n, st);
        if (rc)
            return rc;
    }
    *out = chosen;
    *out_n = count;
    return TL_OK;
}

static enum tl_code select_true(struct tl__step *s, const struct view *v, const uint16_t *sel,
                                uint32_t n, const uint16_t **out, uint32_t *out_n,
                                struct tl_status *st)
{
    enum tl_code rc;
    if (s->kind == TL_EXPR_AND) {
        for (uint32_t a = 0; a < s->arg_count && n > 0; a++) {
            rc = select_true(s->args[a], v, sel, n, &sel, &n, st);
            if (rc)
                return rc;
        }
        *out = sel;
        *out_n = n;
        return TL_OK;
    }
    struct memo *memo = NULL;
    rc = memo_of(s, v, &memo, st);
    if (rc)
        return rc;
    if (memo)
        return memo_select(s, v, memo, sel, n, out, out_n, st);
    if (s->kind == TL_EXPR_OR)
        return select_or(s, v, sel, n, out, out_n, st);
    if (s->compare != TL__NO_COMPARISON) {
        bool done;
        rc = compare_select(s, v, sel, n, &done, out, out_n, st);
        if (rc || done)
            return rc;
    }
    struct tl_vector r;
    rc = eval(s, v, sel, n, &r, st);
    if (rc)
        return rc;
    const uint8_t *values = r.data;
    if (r.shape == TL_CONST) {
        bool all = tl_vector_valid(&r, 0) && values[0];
        *out = sel;
        *out_n = all ? n : 0;
        return TL_OK;
    }
    uint16_t *chosen = new_selection(v, n, st);
    if (!chosen)
        return st->code;
    rc = only_valid(v, r.validity, &sel, &n, st);
    if (rc)
        return rc;
    uint32_t m = 0;
    EACH(i, sel, n)
    {
        chosen[m] = (uint16_t)i;
        m += values[i] != 0;
    }
    *out = chosen;
    *out_n = m;
    return TL_OK;
}

/* ---- the doors ---- */

enum tl_code tl__step_eval(struct tl__step *step, struct tl__pipe *pipe,
                           const struct tl__batch *batch, struct tl_vector *out,
                           struct tl_status *st)
{
    struct view v = {pipe, batch->columns, batch->rows};
    return eval(step, &v, batch->sel, batch->n, out, st);
}

enum tl_code tl__step_select(struct tl__step *step, struct tl__pipe *pipe,
                             const struct tl__batch *batch, const uint16_t **sel, uint32_t *n,
                             struct tl_status *st)
{
    struct view v = {pipe, batch->columns, batch->rows};
    return select_true(step, &v, batch->sel, batch->n, sel, n, st);
}

enum tl_code tl__eval_constant(struct tl__pipe *pipe, const struct tl_expr *expr,
                               struct tl_vector *out, struct tl_status *st)
{
    struct tl__step *step = NULL;
    enum tl_code rc = tl__step_new(pipe, expr, &step, st);
    if (rc)
        return rc;
    tl_assert(step->constant);
    struct view v = {pipe, NULL, 1};
    return eval(step, &v, NULL, 1, out, st);
}
