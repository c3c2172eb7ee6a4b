/*
 * Kernels over TEXT. Positions and lengths count characters, not bytes. A result longer than a
 * text may be (64 KiB) is refused with 54000, never cut.
 */
#include <string.h>

#include <utf8proc.h>

#include "query/function_int.h"
#include "query/text_int.h"

static bool is_ascii(struct tl_slice s)
{
    uint8_t any = 0;
    for (size_t i = 0; i < s.size; i++)
        any |= s.data[i];
    return any < 0x80;
}

size_t tl__utf8_count(struct tl_slice text)
{
    size_t n = 0;
    for (size_t i = 0; i < text.size; i++)
        n += (text.data[i] & 0xC0) != 0x80;
    return n;
}

size_t tl__utf8_offset(struct tl_slice text, size_t index)
{
    if (index >= text.size)
        return text.size;
    size_t at = 0;
    for (; index > 0 && at < text.size; index--)
        at += tl__utf8_size(text.data[at]);
    return at < text.size ? at : text.size;
}

static enum tl_code too_long(struct tl_status *st)
{
    return tl__fail_sql(st, TL__TOO_LONG, "the resulting text is longer than 65536 bytes");
}

/* ---- case ---- */

static bool changes_ascii(struct tl_slice s, uint8_t from, uint8_t to)
{
    for (size_t i = 0; i < s.size; i++) {
        if (s.data[i] >= from && s.data[i] <= to)
            return true;
    }
    return false;
}

static enum tl_code map_case(struct tl_slice text, struct tl_arena *arena, bool upper,
                             struct tl_slice *out, struct tl_status *st)
{
    uint8_t from = upper ? 'a' : 'A';
    if (is_ascii(text)) {
        if (!changes_ascii(text, from, (uint8_t)(from + 25))) {
            *out = text;
            return TL_OK;
        }
        uint8_t *p = tl_arena_alloc(arena, text.size, st);
        if (!p)
            return st->code;
        for (size_t i = 0; i < text.size; i++) {
            uint8_t c = text.data[i];
            p[i] = (uint8_t)(c ^ ((uint8_t)(c - from) < 26 ? 0x20 : 0));
        }
        *out = tl_slice_of(p, text.size);
        return TL_OK;
    }
    /* a simple mapping takes at most one byte more than half again: two bytes become three */
    uint8_t *p = tl_arena_alloc(arena, text.size * 2 + 4, st);
    if (!p)
        return st->code;
    size_t n = 0;
    for (size_t i = 0; i < text.size;) {
        utf8proc_int32_t code;
        utf8proc_ssize_t size =
            utf8proc_iterate(text.data + i, (utf8proc_ssize_t)(text.size - i), &code);
        if (size <= 0) { /* not UTF-8: kept as it is */
            p[n++] = text.data[i++];
            continue;
        }
        code = upper ? utf8proc_toupper(code) : utf8proc_tolower(code);
        n += (size_t)utf8proc_encode_char(code, p + n);
        i += (size_t)size;
    }
    if (n > TL_TEXT_BYTES_MAX)
        return too_long(st);
    *out = tl_slice_of(p, n);
    return TL_OK;
}

enum tl_code tl__text_lower(struct tl_slice text, struct tl_arena *arena, struct tl_slice *out,
                            struct tl_status *st)
{
    return map_case(text, arena, false, out, st);
}

enum tl_code tl__text_upper(struct tl_slice text, struct tl_arena *arena, struct tl_slice *out,
                            struct tl_status *st)
{
    return map_case(text, arena, true, out, st);
}

TL__KERNEL(lower)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        enum tl_code rc = map_case(tl__text_arg(c, 0, i), c->ctx->arena, false, &out[i], c->st);
        if (rc)
            return rc;
    }
    return TL_OK;
}

TL__KERNEL(upper)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        enum tl_code rc = map_case(tl__text_arg(c, 0, i), c->ctx->arena, true, &out[i], c->st);
        if (rc)
            return rc;
    }
    return TL_OK;
}

static bool is_word(utf8proc_int32_t code)
{
    utf8proc_category_t k = utf8proc_category(code);
    return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO) ||
           (k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO);
}

TL__KERNEL(initcap)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_slice text = tl__text_arg(c, 0, i);
        uint8_t *p = tl_arena_alloc(c->ctx->arena, text.size * 2 + 4, c->st);
        if (!p)
            return c->st->code;
        size_t n = 0;
        bool inside = false;
        for (size_t at = 0; at < text.size;) {
            utf8proc_int32_t code;
            utf8proc_ssize_t size =
                utf8proc_iterate(text.data + at, (utf8proc_ssize_t)(text.size - at), &code);
            if (size <= 0) {
                p[n++] = text.data[at++];
                continue;
            }
            code = inside ? utf8proc_tolower(code) : utf8proc_toupper(code);
            inside = is_word(code);
            n += (size_t)utf8proc_encode_char(code, p + n);
            at += (size_t)size;
        }
        if (n > TL_TEXT_BYTES_MAX)
            return too_long(c->st);
        out[i] = tl_slice_of(p, n);
    }
    return TL_OK;
}

/* ---- lengths and places ---- */

TL__KERNEL(char_length)
{
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    out[i] = (int64_t)tl__utf8_count(tl__text_arg(c, 0, i));
    return TL_OK;
}

TL__KERNEL(octet_length)
{
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    out[i] = (int64_t)tl__text_arg(c, 0, i).size;
    return TL_OK;
}

TL__KERNEL(strpos)
{
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_slice text = tl__text_arg(c, 0, i);
        size_t at = tl__find(text, tl__text_arg(c, 1, i));
        out[i] = at == SIZE_MAX ? 0 : (int64_t)tl__utf8_count(tl_slice_of(text.data, at)) + 1;
    }
    return TL_OK;
}

TL__KERNEL(starts_with)
{
    uint8_t *out = tl__out(c, 1);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_slice text = tl__text_arg(c, 0, i);
        struct tl_slice prefix = tl__text_arg(c, 1, i);
        out[i] = text.size >= prefix.size &&
                 (prefix.size == 0 || memcmp(text.data, prefix.data, prefix.size) == 0);
    }
    return TL_OK;
}

/* ---- slices of the argument: nothing is copied ---- */

static int64_t int_arg(const struct tl__call *c, uint32_t a, uint32_t row)
{
    return ((const int64_t *)c->args[a].data)[tl__step(&c->args[a]) * row];
}

/* Characters [from, to) of a text, from 0. */
static struct tl_slice characters(struct tl_slice text, int64_t from, int64_t to)
{
    if (from < 0)
        from = 0;
    if (to <= from)
        return tl_slice_of(text.data, 0);
    size_t lo = tl__utf8_offset(text, (size_t)from);
    struct tl_slice rest = tl_slice_of(text.data + lo, text.size - lo);
    return tl_slice_of(rest.data, tl__utf8_offset(rest, (size_t)(to - from)));
}

TL__KERNEL(substr)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        int64_t start = int_arg(c, 1, i);
        int64_t end = INT64_MAX;
        if (c->arg_count == 3) {
            int64_t length = int_arg(c, 2, i);
            if (length < 0)
                return tl__fail_sql(c->st, TL__BAD_SUBSTRING,
                                    "negative substring length not allowed");
            if (__builtin_add_overflow(start, length, &end))
                end = INT64_MAX;
        }
        int64_t from = start > 1 ? start - 1 : 0;
        int64_t to = end == INT64_MAX ? INT64_MAX : end - 1;
        out[i] = end <= 1 ? tl_slice_of(NULL, 0) : characters(tl__text_arg(c, 0, i), from, to);
    }
    return TL_OK;
}

TL__KERNEL(left)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_slice text = tl__text_arg(c, 0, i);
        int64_t n = int_arg(c, 1, i);
        if (n < 0)
            n = n == INT64_MIN ? 0 : (int64_t)tl__utf8_count(text) + n;
        out[i] = characters(text, 0, n);
    }
    return TL_OK;
}

TL__KERNEL(right)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_slice text = tl__text_arg(c, 0, i);
        int64_t n = int_arg(c, 1, i);
        int64_t from;
        if (n >= 0)
            from = n > (int64_t)text.size ? 0 : (int64_t)tl__utf8_count(text) - n;
        else
            from = n == INT64_MIN ? INT64_MAX : -n;
        out[i] = characters(text, from, INT64_MAX);
    }
    return TL_OK;
}

TL__KERNEL(split_part)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_slice text = tl__text_arg(c, 0, i);
        struct tl_slice cut = tl__text_arg(c, 1, i);
        int64_t field = int_arg(c, 2, i);
        if (field == 0)
            return tl__fail_sql(c->st, TL__BAD_PARAMETER, "field position must not be zero");
        if (cut.size == 0) {
            out[i] = field == 1 || field == -1 ? text : tl_slice_of(NULL, 0);
            continue;
        }
        if (field < 0) { /* count the fields, and turn it round */
            int64_t fields = 1;
            struct tl_slice rest = text;
            for (size_t at; (at = tl__find(rest, cut)) != SIZE_MAX; fields++)
                rest = tl_slice_of(rest.data + at + cut.size, rest.size - at - cut.size);
            field = field < -fields ? 0 : fields + field + 1;
        }
        out[i] = tl_slice_of(NULL, 0);
        struct tl_slice rest = text;
        for (int64_t k = 1; field > 0; k++) {
            size_t at = tl__find(rest, cut);
            if (k == field) {
                out[i] = at == SIZE_MAX ? rest : tl_slice_of(rest.data, at);
                break;
            }
            if (at == SIZE_MAX)
                break;
            rest = tl_slice_of(rest.data + at + cut.size, rest.size - at - cut.size);
        }
    }
    return TL_OK;
}

static bool has_character(struct tl_slice set, const uint8_t *p, size_t size)
{
    for (size_t i = 0; i < set.size; i += tl__utf8_size(set.data[i])) {
        if (i + size <= set.size && tl__utf8_size(set.data[i]) == size &&
            memcmp(set.data + i, p, size) == 0)
            return true;
    }
    return false;
}

static enum tl_code trim_rows(struct tl__call *c, bool front, bool back)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_slice s = tl__text_arg(c, 0, i);
        struct tl_slice set = c->arg_count == 2 ? tl__text_arg(c, 1, i) : tl_slice_of(" ", 1);
        while (front && s.size) {
            size_t size = tl__utf8_size(s.data[0]);
            if (size > s.size || !has_character(set, s.data, size))
                break;
            s = tl_slice_of(s.data + size, s.size - size);
        }
        while (back && s.size) {
            size_t at = s.size - 1;
            while (at > 0 && (s.data[at] & 0xC0) == 0x80)
                at--;
            if (!has_character(set, s.data + at, s.size - at))
                break;
            s.size = at;
        }
        out[i] = s;
    }
    return TL_OK;
}

TL__KERNEL(btrim)
{
    return trim_rows(c, true, true);
}

TL__KERNEL(ltrim)
{
    return trim_rows(c, true, false);
}

TL__KERNEL(rtrim)
{
    return trim_rows(c, false, true);
}

/* ---- new texts ---- */

/* Room for a text of `size` bytes, or NULL with st set. */
static uint8_t *new_text(struct tl__call *c, size_t size)
{
    if (size > TL_TEXT_BYTES_MAX) {
        (void)too_long(c->st);
        return NULL;
    }
    return tl_arena_alloc(c->ctx->arena, size, c->st);
}

static uint8_t *put(uint8_t *p, struct tl_slice s)
{
    if (s.size)
        memcpy(p, s.data, s.size);
    return p + s.size;
}

TL__KERNEL(text_concat2)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_slice a = tl__text_arg(c, 0, i);
        struct tl_slice b = tl__text_arg(c, 1, i);
        uint8_t *p = new_text(c, a.size + b.size);
        if (!p)
            return c->st->code;
        put(put(p, a), b);
        out[i] = tl_slice_of(p, a.size + b.size);
    }
    return TL_OK;
}

/* Joins the arguments from `first` on that are not NULL. */
static enum tl_code join(struct tl__call *c, uint32_t first, struct tl_slice between, uint32_t row,
                         struct tl_slice *out)
{
    size_t size = 0;
    bool any = false;
    for (uint32_t a = first; a < c->arg_count; a++) {
        if (!tl_vector_valid(&c->args[a], row))
            continue;
        size += tl__text_arg(c, a, row).size + (any ? between.size : 0);
        any = true;
    }
    uint8_t *p = new_text(c, size);
    if (!p)
        return c->st->code;
    *out = tl_slice_of(p, size);
    any = false;
    for (uint32_t a = first; a < c->arg_count; a++) {
        if (!tl_vector_valid(&c->args[a], row))
            continue;
        if (any)
            p = put(p, between);
        p = put(p, tl__text_arg(c, a, row));
        any = true;
    }
    return TL_OK;
}

TL__KERNEL(concat)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        enum tl_code rc = join(c, 0, tl_slice_of(NULL, 0), i, &out[i]);
        if (rc)
            return rc;
    }
    return TL_OK;
}

TL__KERNEL(concat_ws)
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
        enum tl_code rc = join(c, 1, tl__text_arg(c, 0, i), i, &out[i]);
        if (rc)
            return rc;
    }
    return TL_OK;
}

TL__KERNEL(replace)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_slice text = tl__text_arg(c, 0, i);
        struct tl_slice from = tl__text_arg(c, 1, i);
        struct tl_slice to = tl__text_arg(c, 2, i);
        out[i] = text;
        size_t count = 0;
        struct tl_slice rest = text;
        for (size_t at; from.size && (at = tl__find(rest, from)) != SIZE_MAX; count++)
            rest = tl_slice_of(rest.data + at + from.size, rest.size - at - from.size);
        if (count == 0)
            continue;
        size_t size = text.size - count * from.size + count * to.size;
        uint8_t *p = new_text(c, size);
        if (!p)
            return c->st->code;
        out[i] = tl_slice_of(p, size);
        rest = text;
        for (; count > 0; count--) {
            size_t at = tl__find(rest, from);
            p = put(put(p, tl_slice_of(rest.data, at)), to);
            rest = tl_slice_of(rest.data + at + from.size, rest.size - at - from.size);
        }
        put(p, rest);
    }
    return TL_OK;
}

TL__KERNEL(reverse)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_slice text = tl__text_arg(c, 0, i);
        uint8_t *p = new_text(c, text.size);
        if (!p)
            return c->st->code;
        out[i] = tl_slice_of(p, text.size);
        for (size_t at = 0; at < text.size;) {
            size_t size = tl__utf8_size(text.data[at]);
            size = size < text.size - at ? size : text.size - at;
            memcpy(p + text.size - at - size, text.data + at, size);
            at += size;
        }
    }
    return TL_OK;
}

TL__KERNEL(repeat)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_slice text = tl__text_arg(c, 0, i);
        int64_t n = int_arg(c, 1, i);
        if (n < 0 || text.size == 0)
            n = 0;
        if (n > TL_TEXT_BYTES_MAX)
            return too_long(c->st);
        uint8_t *p = new_text(c, text.size * (size_t)n);
        if (!p)
            return c->st->code;
        out[i] = tl_slice_of(p, text.size * (size_t)n);
        for (int64_t k = 0; k < n; k++)
            p = put(p, text);
    }
    return TL_OK;
}

static enum tl_code pad(struct tl__call *c, bool front)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_slice text = tl__text_arg(c, 0, i);
        struct tl_slice fill = c->arg_count == 3 ? tl__text_arg(c, 2, i) : tl_slice_of(" ", 1);
        int64_t want = int_arg(c, 1, i);
        int64_t have = (int64_t)tl__utf8_count(text);
        int64_t per_fill = (int64_t)tl__utf8_count(fill);
        if (want <= have || per_fill == 0) {
            out[i] = characters(text, 0, want);
            continue;
        }
        if (want > TL_TEXT_BYTES_MAX)
            return too_long(c->st);
        int64_t missing = want - have;
        struct tl_slice tail = characters(fill, 0, missing % per_fill);
        size_t added = (size_t)(missing / per_fill) * fill.size + tail.size;
        uint8_t *p = new_text(c, text.size + added);
        if (!p)
            return c->st->code;
        out[i] = tl_slice_of(p, text.size + added);
        if (!front)
            p = put(p, text);
        for (int64_t k = 0; k < missing / per_fill; k++)
            p = put(p, fill);
        p = put(p, tail);
        if (front)
            put(p, text);
    }
    return TL_OK;
}

TL__KERNEL(lpad)
{
    return pad(c, true);
}

TL__KERNEL(rpad)
{
    return pad(c, false);
}
