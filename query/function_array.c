/*
 * Arrays: constructor, subscripts, texts, membership. Values are base/array.h's; the element type
 * of a call follows from its arguments, which the binder has brought to one.
 */
#include <string.h>

#include "base/array.h"
#include "base/text.h"
#include "query/function_int.h"
#include "query/text_int.h"

enum { VALUE_MAX = 16 };

static struct tl_array_view view_arg(const struct tl__call *c, uint32_t a, uint32_t row)
{
    return tl_array_view(tl__text_arg(c, a, row));
}

static const uint8_t *value_arg(const struct tl__call *c, uint32_t a, uint32_t row)
{
    const struct tl_vector *v = &c->args[a];
    return (const uint8_t *)v->data + tl__step(v) * row * tl_kind_width(v->type.kind);
}

/* PostgreSQL's order of arrays: element by element, a NULL after all else, the shorter first. */
int tl__compare_arrays(struct tl_slice a, struct tl_slice b)
{
    struct tl_array_view x = tl_array_view(a), y = tl_array_view(b);
    uint32_t n = x.count < y.count ? x.count : y.count;
    _Alignas(16) uint8_t u[VALUE_MAX], v[VALUE_MAX];
    for (uint32_t i = 0; i < n; i++) {
        bool xn = tl_array_is_null(&x, i), yn = tl_array_is_null(&y, i);
        if (xn || yn) {
            if (xn != yn)
                return xn ? 1 : -1;
            continue;
        }
        tl_array_get(&x, i, u);
        tl_array_get(&y, i, v);
        int order = tl__compare(x.element, u, y.element, v);
        if (order)
            return order;
    }
    return (x.count > y.count) - (x.count < y.count);
}

/* ---- making them ---- */

/* A list that grows while an array is put together. */
struct list {
    struct tl__call *c;
    struct tl_type element;
    uint8_t *values;
    uint64_t *validity;
    uint32_t n, capacity;
};

static enum tl_code list_init(struct list *l, struct tl__call *c, struct tl_type element,
                              uint32_t capacity)
{
    *l = (struct list){.c = c, .element = element, .capacity = capacity};
    l->values =
        tl_arena_alloc(c->ctx->arena, (size_t)tl_kind_width(element.kind) * (capacity + 1u), c->st);
    l->validity = tl_arena_calloc(c->ctx->arena, tl_bit_words(capacity) + 1u, 8, c->st);
    return l->values && l->validity ? TL_OK : c->st->code;
}

static void list_put(struct list *l, const void *value)
{
    tl_assert(l->n < l->capacity);
    if (value) {
        uint32_t width = tl_kind_width(l->element.kind);
        memcpy(l->values + (size_t)width * l->n, value, width);
        tl_bit_set(l->validity, l->n);
    }
    l->n++;
}

static void list_put_all(struct list *l, const struct tl_array_view *v)
{
    _Alignas(16) uint8_t value[VALUE_MAX];
    for (uint32_t i = 0; i < v->count; i++) {
        bool null = tl_array_is_null(v, i);
        if (!null)
            tl_array_get(v, i, value);
        list_put(l, null ? NULL : value);
    }
}

static enum tl_code list_build(const struct list *l, struct tl_slice *out)
{
    return tl_array_build(l->c->ctx->arena, l->element, l->values, l->validity, l->n, 1, out,
                          l->c->st);
}

/* ARRAY[…] */
TL__KERNEL(array)
{
    struct tl_type element = tl_type_element(c->out->type);
    struct tl_slice *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct list l;
        enum tl_code rc = list_init(&l, c, element, c->arg_count);
        for (uint32_t a = 0; a < c->arg_count && !rc; a++)
            list_put(&l, tl_vector_valid(&c->args[a], i) ? value_arg(c, a, i) : NULL);
        if (!rc)
            rc = list_build(&l, &out[i]);
        if (rc)
            return rc;
    }
    return TL_OK;
}

/* array_cat, array_append, array_prepend: a NULL array is an empty one; two are NULL. */
TL__KERNEL(array_join)
{
    struct tl_type element = tl_type_element(c->out->type);
    struct tl_slice *out = tl__out(c, sizeof(*out));
    uint64_t *valid = out ? tl__out_validity(c) : NULL;
    if (!valid)
        return c->st->code;
    bool cat = c->args[0].type.kind == TL_ARRAY && c->args[1].type.kind == TL_ARRAY;
    TL__EACH(c, i)
    {
        struct tl_array_view views[2] = {0};
        bool present[2];
        uint32_t room = 2;
        for (uint32_t a = 0; a < 2; a++) {
            present[a] = tl_vector_valid(&c->args[a], i);
            if (present[a] && c->args[a].type.kind == TL_ARRAY) {
                views[a] = view_arg(c, a, i);
                room += views[a].count;
            }
        }
        if (cat && !present[0] && !present[1]) {
            tl_bit_clear(valid, i);
            continue;
        }
        struct list l;
        enum tl_code rc = list_init(&l, c, element, room);
        for (uint32_t a = 0; a < 2 && !rc; a++) {
            if (c->args[a].type.kind != TL_ARRAY)
                list_put(&l, present[a] ? value_arg(c, a, i) : NULL);
            else if (present[a])
                list_put_all(&l, &views[a]);
        }
        if (!rc)
            rc = list_build(&l, &out[i]);
        if (rc)
            return rc;
    }
    return TL_OK;
}

/* array_remove(array, x) and array_replace(array, x, by); NULLs are equal here. */
TL__KERNEL(array_edit)
{
    struct tl_type element = tl_type_element(c->out->type);
    struct tl_slice *out = tl__out(c, sizeof(*out));
    uint64_t *valid = out ? tl__out_validity(c) : NULL;
    if (!valid)
        return c->st->code;
    TL__EACH(c, i)
    {
        if (!tl_vector_valid(&c->args[0], i)) {
            tl_bit_clear(valid, i);
            continue;
        }
        struct tl_array_view v = view_arg(c, 0, i);
        struct list l;
        enum tl_code rc = list_init(&l, c, element, v.count);
        bool wanted = tl_vector_valid(&c->args[1], i);
        _Alignas(16) uint8_t value[VALUE_MAX];
        for (uint32_t k = 0; k < v.count && !rc; k++) {
            bool null = tl_array_is_null(&v, k);
            if (!null)
                tl_array_get(&v, k, value);
            bool same = null || !wanted ? null == !wanted
                                        : tl__compare(v.element, value, c->args[1].type,
                                                      value_arg(c, 1, i)) == 0;
            if (!same)
                list_put(&l, null ? NULL : value);
            else if (c->arg_count > 2)
                list_put(&l, tl_vector_valid(&c->args[2], i) ? value_arg(c, 2, i) : NULL);
        }
        if (!rc)
            rc = list_build(&l, &out[i]);
        if (rc)
            return rc;
    }
    return TL_OK;
}

/* ---- looking into them ---- */

TL__KERNEL(array_subscript)
{
    uint32_t width = tl_kind_width(c->out->type.kind);
    uint8_t *out = tl__out(c, width);
    uint64_t *valid = out ? tl__out_validity(c) : NULL;
    if (!valid)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_array_view v = view_arg(c, 0, i);
        int64_t at = *(const int64_t *)(const void *)value_arg(c, 1, i);
        if (at < v.lower || at - v.lower >= v.count ||
            tl_array_is_null(&v, (uint32_t)(at - v.lower)))
            tl_bit_clear(valid, i);
        else
            tl_array_get(&v, (uint32_t)(at - v.lower), out + (size_t)width * i);
    }
    return TL_OK;
}

/* array[from:to]: what of it there is, counted from 1. */
TL__KERNEL(array_slice)
{
    struct tl_type element = tl_type_element(c->out->type);
    struct tl_slice *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_array_view v = view_arg(c, 0, i);
        int64_t from = *(const int64_t *)(const void *)value_arg(c, 1, i);
        int64_t to = *(const int64_t *)(const void *)value_arg(c, 2, i);
        int64_t first = from > v.lower ? from : v.lower;
        int64_t end = (int64_t)v.lower + v.count; /* after the last */
        end = to < end ? to + 1 : end;
        struct list l;
        enum tl_code rc = list_init(&l, c, element, v.count);
        _Alignas(16) uint8_t value[VALUE_MAX];
        for (int64_t at = first; !rc && at < end; at++) {
            uint32_t k = (uint32_t)(at - v.lower);
            bool null = tl_array_is_null(&v, k);
            if (!null)
                tl_array_get(&v, k, value);
            list_put(&l, null ? NULL : value);
        }
        if (!rc)
            rc = list_build(&l, &out[i]);
        if (rc)
            return rc;
    }
    return TL_OK;
}

TL__KERNEL(cardinality)
{
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    out[i] = view_arg(c, 0, i).count;
    return TL_OK;
}

/* array_length (0), array_lower (1), array_upper (2): NULL of an empty array and of dimensions
 * other than the first. */
static enum tl_code bounds(struct tl__call *c, int which)
{
    int64_t *out = tl__out(c, 8);
    uint64_t *valid = out ? tl__out_validity(c) : NULL;
    if (!valid)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_array_view v = view_arg(c, 0, i);
        int64_t dimension = *(const int64_t *)(const void *)value_arg(c, 1, i);
        if (dimension != 1 || v.count == 0)
            tl_bit_clear(valid, i);
        else
            out[i] = which == 0 ? v.count : which == 1 ? v.lower : (int64_t)v.lower + v.count - 1;
    }
    return TL_OK;
}

TL__KERNEL(array_length)
{
    return bounds(c, 0);
}

TL__KERNEL(array_lower)
{
    return bounds(c, 1);
}

TL__KERNEL(array_upper)
{
    return bounds(c, 2);
}

TL__KERNEL(array_ndims)
{
    int64_t *out = tl__out(c, 8);
    uint64_t *valid = out ? tl__out_validity(c) : NULL;
    if (!valid)
        return c->st->code;
    TL__EACH(c, i)
    {
        out[i] = 1;
        if (view_arg(c, 0, i).count == 0)
            tl_bit_clear(valid, i);
    }
    return TL_OK;
}

/* array_position(array, x [, from]); a NULL is found too. */
TL__KERNEL(array_position)
{
    int64_t *out = tl__out(c, 8);
    uint64_t *valid = out ? tl__out_validity(c) : NULL;
    if (!valid)
        return c->st->code;
    TL__EACH(c, i)
    {
        bool found = false;
        if (tl_vector_valid(&c->args[0], i)) {
            struct tl_array_view v = view_arg(c, 0, i);
            bool wanted = tl_vector_valid(&c->args[1], i);
            _Alignas(16) uint8_t value[VALUE_MAX];
            for (uint32_t k = 0; k < v.count && !found; k++) {
                bool null = tl_array_is_null(&v, k);
                if (!null && wanted)
                    tl_array_get(&v, k, value);
                found = null || !wanted ? null == !wanted
                                        : tl__compare(v.element, value, c->args[1].type,
                                                      value_arg(c, 1, i)) == 0;
                out[i] = (int64_t)v.lower + k;
            }
        }
        if (!found)
            tl_bit_clear(valid, i);
    }
    return TL_OK;
}

/* ---- x op ANY (array), x op ALL (array) ---- */

static bool holds(enum tl__compare_op op, int order)
{
    switch (op) {
    case TL__EQ:
        return order == 0;
    case TL__NE:
        return order != 0;
    case TL__LT:
        return order < 0;
    case TL__LE:
        return order <= 0;
    case TL__GT:
        return order > 0;
    default:
        return order >= 0;
    }
}

static enum tl_code quantified(struct tl__call *c, enum tl__compare_op op, bool all)
{
    uint8_t *out = tl__out(c, 1);
    uint64_t *valid = out ? tl__out_validity(c) : NULL;
    if (!valid)
        return c->st->code;
    TL__EACH(c, i)
    {
        bool decided = false, unknown = false;
        out[i] = all;
        if (!tl_vector_valid(&c->args[1], i)) {
            tl_bit_clear(valid, i);
            continue;
        }
        struct tl_array_view v = view_arg(c, 1, i);
        bool present = tl_vector_valid(&c->args[0], i);
        _Alignas(16) uint8_t value[VALUE_MAX];
        for (uint32_t k = 0; k < v.count && !decided; k++) {
            if (!present || tl_array_is_null(&v, k)) {
                unknown = true;
                continue;
            }
            tl_array_get(&v, k, value);
            decided = holds(op, tl__compare(c->args[0].type, value_arg(c, 0, i), v.element,
                                            value)) != all;
        }
        if (decided)
            out[i] = !all;
        else if (unknown)
            tl_bit_clear(valid, i);
    }
    return TL_OK;
}

#define QUANTIFIED(name, op)                                                                       \
    TL__KERNEL(name##_any)                                                                         \
    {                                                                                              \
        return quantified(c, op, false);                                                           \
    }                                                                                              \
    TL__KERNEL(name##_all)                                                                         \
    {                                                                                              \
        return quantified(c, op, true);                                                            \
    }

QUANTIFIED(eq, TL__EQ)
QUANTIFIED(ne, TL__NE)
QUANTIFIED(lt, TL__LT)
QUANTIFIED(le, TL__LE)
QUANTIFIED(gt, TL__GT)
QUANTIFIED(ge, TL__GE)

/* ---- sets ---- */

static bool has(const struct tl_array_view *v, struct tl_type type, const void *value)
{
    _Alignas(16) uint8_t own[VALUE_MAX];
    for (uint32_t k = 0; k < v->count; k++) {
        if (tl_array_is_null(v, k))
            continue;
        tl_array_get(v, k, own);
        if (tl__compare(v->element, own, type, value) == 0)
            return true;
    }
    return false;
}

/* How many elements of `few` are in `many`: all of them (contains) or any (overlaps). NULLs are
 * equal to nothing. */
static bool covers(const struct tl_array_view *many, const struct tl_array_view *few, bool any)
{
    _Alignas(16) uint8_t value[VALUE_MAX];
    for (uint32_t k = 0; k < few->count; k++) {
        bool found = false;
        if (!tl_array_is_null(few, k)) {
            tl_array_get(few, k, value);
            found = has(many, few->element, value);
        }
        if (found == any)
            return any;
    }
    return !any;
}

static enum tl_code set_relation(struct tl__call *c, bool swap, bool any)
{
    uint8_t *out = tl__out(c, 1);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_array_view a = view_arg(c, 0, i), b = view_arg(c, 1, i);
        out[i] = swap ? covers(&b, &a, any) : covers(&a, &b, any);
    }
    return TL_OK;
}

TL__KERNEL(array_contains)
{
    return set_relation(c, false, false);
}

TL__KERNEL(array_contained)
{
    return set_relation(c, true, false);
}

TL__KERNEL(array_overlaps)
{
    return set_relation(c, false, true);
}

/* ---- and texts ---- */

/* All elements as texts, by the cast of their kind; NULLs stay empty. */
static enum tl_code element_texts(struct tl__call *c, const struct tl_array_view *v,
                                  struct tl_slice *out)
{
    _Alignas(16) uint8_t value[VALUE_MAX];
    const struct tl_function *cast = tl_function_cast(v->element, tl_type_of(TL_TEXT));
    for (uint32_t k = 0; k < v->count; k++) {
        out[k] = tl_slice_of("", 0);
        if (tl_array_is_null(v, k))
            continue;
        tl_array_get(v, k, value);
        if (v->element.kind == TL_TEXT) {
            memcpy(&out[k], value, sizeof(out[k]));
            continue;
        }
        if (v->element.kind == TL_BOOLEAN) {
            out[k] = tl_slice_of(value[0] ? "t" : "f", 1);
            continue;
        }
        tl_assert(cast != NULL);
        struct tl_vector arg = {.type = v->element, .shape = TL_CONST, .count = 1, .data = value};
        struct tl_vector text = {.type = tl_type_of(TL_TEXT), .count = 1};
        enum tl_code rc = cast->kernel(c->ctx, &arg, 1, 1, NULL, 1, &text, c->st);
        if (rc)
            return rc;
        out[k] = *(const struct tl_slice *)text.data;
    }
    return TL_OK;
}

static enum tl_code keep(struct tl__call *c, struct tl_buffer *b, struct tl_slice *out)
{
    if (b->failed || b->size > TL_ARRAY_BYTES_MAX)
        return tl__fail_sql(c->st, TL__TOO_LONG, "the text of an array is too long");
    const void *copy =
        tl_arena_copy(c->ctx->arena, b->size ? (const void *)b->data : "", b->size, c->st);
    *out = tl_slice_of(copy, b->size);
    tl_buffer_clear(b);
    return copy ? TL_OK : c->st->code;
}

/* '{a,b,NULL}'; vectors of PostgreSQL's (int2vector) as '1 2 3'. */
static enum tl_code print_row(struct tl__call *c, uint32_t row, struct tl_buffer *b)
{
    struct tl_array_view v = view_arg(c, 0, row);
    struct tl_slice *texts =
        tl_arena_alloc(c->ctx->arena, sizeof(*texts) * ((size_t)v.count + 1), c->st);
    if (!texts)
        return c->st->code;
    enum tl_code rc = element_texts(c, &v, texts);
    if (rc)
        return rc;
    if (v.lower == 1)
        tl_buffer_put_u8(b, '{');
    for (uint32_t k = 0; k < v.count; k++) {
        if (k)
            tl_buffer_put_u8(b, v.lower == 1 ? ',' : ' ');
        if (tl_array_is_null(&v, k))
            tl_buffer_put(b, "NULL", 4);
        else
            tl_array_put(b, texts[k]);
    }
    if (v.lower == 1)
        tl_buffer_put_u8(b, '}');
    return TL_OK;
}

TL__KERNEL(cast_array_text)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    struct tl_buffer b;
    enum tl_code rc = TL_OK;
    tl_buffer_init(&b, "text of an array", 4 * TL_ARRAY_BYTES_MAX);
    TL__EACH(c, i)
    {
        rc = print_row(c, i, &b);
        if (!rc)
            rc = keep(c, &b, &out[i]);
        if (rc)
            break;
    }
    tl_buffer_deinit(&b);
    return rc;
}

/* Whether an integer is one of the narrower type that a cast has named. */
static bool in_range(struct tl_type type, const void *value)
{
    int64_t v;
    if (type.kind != TL_BIGINT)
        return true;
    memcpy(&v, value, sizeof(v));
    return type.flavour == TL_FLAVOUR_INT4   ? v >= INT32_MIN && v <= INT32_MAX
           : type.flavour == TL_FLAVOUR_INT2 ? v >= INT16_MIN && v <= INT16_MAX
                                             : true;
}

/* An array of other elements: each through its cast. */
static enum tl_code cast_elements(struct tl__call *c, struct tl_type from, const void *values,
                                  const uint64_t *validity, uint32_t count, struct tl_slice *out)
{
    struct tl_type to = tl_type_element(c->out->type);
    const struct tl_function *cast = tl_function_cast(from, to);
    uint32_t width = tl_kind_width(from.kind);
    struct list l;
    enum tl_code rc = list_init(&l, c, to, count);
    for (uint32_t k = 0; k < count && !rc; k++) {
        const uint8_t *value = (const uint8_t *)values + (size_t)width * k;
        if (validity && !tl_bit_get(validity, k)) {
            list_put(&l, NULL);
            continue;
        }
        if (!cast)
            return tl__fail_sql(c->st, "42846", "the elements of an array cannot be cast");
        struct tl_vector arg = {.type = from, .shape = TL_CONST, .count = 1, .data = value};
        struct tl_vector one = {.type = to, .count = 1};
        rc = cast->kernel(c->ctx, &arg, 1, 1, NULL, 1, &one, c->st);
        if (!rc && !in_range(to, one.data))
            rc = tl__fail_sql(c->st, TL__OUT_OF_RANGE, "an element is out of range");
        if (!rc)
            list_put(&l, one.data);
    }
    return rc ? rc : list_build(&l, out);
}

TL__KERNEL(cast_text_array)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_slice *texts;
        uint64_t *validity;
        uint32_t count;
        if (tl__is_vector(c->out->type)) {
            if (tl__vector_parse(tl__text_arg(c, 0, i), c->out->type, c->ctx->arena, &out[i],
                                 c->st))
                return c->st->code;
            continue;
        }
        enum tl_code rc =
            tl_array_split(tl__text_arg(c, 0, i), c->ctx->arena, &texts, &validity, &count, c->st);
        if (!rc)
            rc = cast_elements(c, tl_type_of(TL_TEXT), texts, validity, count, &out[i]);
        if (rc)
            return rc;
    }
    return TL_OK;
}

TL__KERNEL(cast_array)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_array_view v = view_arg(c, 0, i);
        struct list l;
        enum tl_code rc = list_init(&l, c, v.element, v.count);
        if (!rc) {
            list_put_all(&l, &v);
            rc = cast_elements(c, v.element, l.values, l.validity, v.count, &out[i]);
        }
        if (rc)
            return rc;
    }
    return TL_OK;
}

/* string_to_array(text, by [, null]): a NULL `by` gives the characters, an empty one the text. */
TL__KERNEL(string_to_array)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    uint64_t *valid = out ? tl__out_validity(c) : NULL;
    if (!valid)
        return c->st->code;
    TL__EACH(c, i)
    {
        if (!tl_vector_valid(&c->args[0], i)) {
            tl_bit_clear(valid, i);
            continue;
        }
        struct tl_slice text = tl__text_arg(c, 0, i), by = {0}, null = {0};
        bool characters = !tl_vector_valid(&c->args[1], i);
        bool nulls = c->arg_count > 2 && tl_vector_valid(&c->args[2], i);
        if (!characters)
            by = tl__text_arg(c, 1, i);
        if (nulls)
            null = tl__text_arg(c, 2, i);
        struct list l;
        enum tl_code rc = list_init(&l, c, tl_type_of(TL_TEXT), (uint32_t)text.size + 1);
        if (rc)
            return rc;
        for (size_t at = 0; at < text.size || (at > 0 && !characters && at == text.size);) {
            struct tl_slice rest = tl_slice_of(text.data + at, text.size - at), part = rest;
            size_t next = SIZE_MAX;
            if (characters) {
                part.size = tl__utf8_size(rest.data[0]);
                next = at + part.size;
            } else if (by.size) {
                size_t found = tl__find(rest, by);
                if (found != SIZE_MAX) {
                    part.size = found;
                    next = at + found + by.size;
                }
            }
            list_put(&l, nulls && tl_slice_eq(part, null) ? NULL : &part);
            if (next == SIZE_MAX)
                break;
            at = next;
        }
        rc = list_build(&l, &out[i]);
        if (rc)
            return rc;
    }
    return TL_OK;
}

/* array_to_string(array, between [, null]): NULLs are left out without a text for them. */
TL__KERNEL(array_to_string)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    uint64_t *valid = out ? tl__out_validity(c) : NULL;
    if (!valid)
        return c->st->code;
    struct tl_buffer b;
    enum tl_code rc = TL_OK;
    tl_buffer_init(&b, "text of an array", 4 * TL_TEXT_BYTES_MAX);
    TL__EACH(c, i)
    {
        if (!tl_vector_valid(&c->args[0], i) || !tl_vector_valid(&c->args[1], i)) {
            tl_bit_clear(valid, i);
            continue;
        }
        struct tl_array_view v = view_arg(c, 0, i);
        struct tl_slice between = tl__text_arg(c, 1, i);
        bool nulls = c->arg_count > 2 && tl_vector_valid(&c->args[2], i), any = false;
        struct tl_slice *texts =
            tl_arena_alloc(c->ctx->arena, sizeof(*texts) * ((size_t)v.count + 1), c->st);
        rc = texts ? element_texts(c, &v, texts) : c->st->code;
        for (uint32_t k = 0; k < v.count && !rc; k++) {
            bool null = tl_array_is_null(&v, k);
            if (null && !nulls)
                continue;
            if (any)
                tl_buffer_put(&b, between.data, between.size);
            struct tl_slice part = null ? tl__text_arg(c, 2, i) : texts[k];
            tl_buffer_put(&b, part.data, part.size);
            any = true;
        }
        if (!rc && (b.failed || b.size > TL_TEXT_BYTES_MAX))
            rc = tl__fail_sql(c->st, TL__TOO_LONG, "the resulting text is longer than 65536 bytes");
        if (!rc)
            rc = keep(c, &b, &out[i]);
        if (rc)
            break;
    }
    tl_buffer_deinit(&b);
    return rc;
}
