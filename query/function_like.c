/*
 * LIKE and ILIKE, and the search for a string in a string.
 *
 * A pattern is cut at its % signs into parts; a part is bytes in which 0xFF, which UTF-8 never
 * has, stands for _ (any one character). The first part must match at the start, the last one at
 * the end, and each part between is taken at its leftmost place after the one before: with only
 * "any run" between parts that finds a match whenever there is one, so the cost is bounded by
 * text × pattern and never explodes. ILIKE folds the pattern here; the text comes folded.
 *
 * The search compares the needle's first and last byte at 16 places at once (W. Mula,
 * "SIMD-friendly algorithms for substring searching", generic SIMD) and then the rest.
 */
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "query/function_int.h"
#include "query/text_int.h"

enum { ANY_CHARACTER = 0xFF };
enum { LIKE_EXACT, LIKE_PREFIX, LIKE_SUFFIX, LIKE_CONTAINS, LIKE_ALL, LIKE_GENERAL };

size_t tl__find(struct tl_slice hay, struct tl_slice needle)
{
    if (needle.size == 0)
        return 0;
    if (needle.size > hay.size)
        return SIZE_MAX;
    size_t last = hay.size - needle.size; /* the last place to look at */
    if (needle.size == 1) {
        const uint8_t *p = memchr(hay.data, needle.data[0], hay.size);
        return p ? (size_t)(p - hay.data) : SIZE_MAX;
    }
    size_t i = 0;
#ifdef __SSE2__
    if (last >= 15) {
        const __m128i first_byte = _mm_set1_epi8((char)needle.data[0]);
        const __m128i last_byte = _mm_set1_epi8((char)needle.data[needle.size - 1]);
        for (;;) {
            __m128i a = _mm_loadu_si128((const __m128i *)(const void *)(hay.data + i));
            __m128i b =
                _mm_loadu_si128((const __m128i *)(const void *)(hay.data + i + needle.size - 1));
            uint32_t mask = (uint32_t)_mm_movemask_epi8(
                _mm_and_si128(_mm_cmpeq_epi8(a, first_byte), _mm_cmpeq_epi8(b, last_byte)));
            while (mask) {
                size_t at = i + (size_t)__builtin_ctz(mask);
                if (memcmp(hay.data + at + 1, needle.data + 1, needle.size - 2) == 0)
                    return at;
                mask &= mask - 1;
            }
            if (i == last - 15)
                return SIZE_MAX;
            i = i + 16 < last - 15 ? i + 16 : last - 15;
        }
    }
#endif
    for (; i <= last; i++) {
        if (hay.data[i] == needle.data[0] &&
            memcmp(hay.data + i + 1, needle.data + 1, needle.size - 1) == 0)
            return i;
    }
    return SIZE_MAX;
}

static bool esc_is(struct tl_slice esc, const char *s)
{
    return tl_slice_eq(esc, tl_slice_str(s));
}

/* Reads the pattern into bytes (0xFF for _) and part boundaries. */
enum tl_code tl__like_compile(struct tl_slice pattern, const struct tl_slice *escape, bool fold,
                              struct tl_arena *arena, struct tl__like *out, struct tl_status *st)
{
    struct tl_slice esc = escape ? *escape : tl_slice_of("\\", 1);
    if (esc.size && tl__utf8_size(esc.data[0]) != esc.size) {
        (void)TL_FAIL(st, TL_INVALID, "invalid escape string: it must be empty or one character");
        return tl_status_sql(st, TL__BAD_ESCAPE, 0);
    }
    if (fold) {
        enum tl_code rc = tl__text_lower(pattern, arena, &pattern, st);
        if (rc)
            return rc;
        if (esc.size) {
            rc = tl__text_lower(esc, arena, &esc, st);
            if (rc)
                return rc;
        }
    }
    uint8_t *bytes = tl_arena_alloc(arena, pattern.size + 1, st);
    if (!bytes)
        return st->code;
    uint32_t percents = 0;
    for (size_t i = 0; i < pattern.size; i++)
        percents += pattern.data[i] == '%';
    struct tl_slice *parts = tl_arena_alloc(arena, sizeof(*parts) * (percents + 1u), st);
    if (!parts)
        return st->code;

    struct tl__like like = {.fold = fold, .parts = parts, .plain = true};
    like.anchored_start = pattern.size == 0 || pattern.data[0] != '%' || esc_is(esc, "%");
    like.anchored_end = true; /* until a % comes, and again after a character behind it */
    size_t n = 0;
    size_t start = 0;
    for (size_t i = 0; i < pattern.size;) {
        uint8_t c = pattern.data[i];
        bool escaped = esc.size && i + esc.size <= pattern.size &&
                       memcmp(pattern.data + i, esc.data, esc.size) == 0;
        if (!escaped && c == '%') {
            if (n > start)
                parts[like.part_count++] = tl_slice_of(bytes + start, n - start);
            start = n;
            like.anchored_end = false;
            i++;
            continue;
        }
        like.anchored_end = true;
        if (escaped) {
            i += esc.size;
            if (i == pattern.size)
                return tl__fail_sql(st, TL__BAD_ESCAPE,
                                    "LIKE pattern must not end with escape character");
            for (size_t size = tl__utf8_size(pattern.data[i]); size && i < pattern.size; size--)
                bytes[n++] = pattern.data[i++];
            continue;
        }
        like.plain = like.plain && c != '_';
        bytes[n++] = c == '_' ? ANY_CHARACTER : c;
        i++;
    }
    if (n > start)
        parts[like.part_count++] = tl_slice_of(bytes + start, n - start);
    like.size_min = n;

    if (like.part_count == 0) {
        like.kind = pattern.size ? LIKE_ALL : LIKE_EXACT;
        like.literal = tl_slice_of(bytes, 0);
    } else if (like.part_count == 1 && like.plain) {
        like.literal = parts[0];
        if (like.anchored_start)
            like.kind = like.anchored_end ? LIKE_EXACT : LIKE_PREFIX;
        else
            like.kind = like.anchored_end ? LIKE_SUFFIX : LIKE_CONTAINS;
    } else {
        like.kind = LIKE_GENERAL;
    }
    *out = like;
    return TL_OK;
}

/* The end of `part` matched at `at`, or SIZE_MAX. */
static size_t match_at(struct tl_slice text, size_t at, struct tl_slice part)
{
    for (size_t i = 0; i < part.size; i++) {
        if (at >= text.size)
            return SIZE_MAX;
        if (part.data[i] == ANY_CHARACTER) {
            at += tl__utf8_size(text.data[at]);
            if (at > text.size)
                at = text.size;
        } else if (part.data[i] != text.data[at]) {
            return SIZE_MAX;
        } else {
            at++;
        }
    }
    return at;
}

/* Where a part must start so that it ends with the text, or SIZE_MAX: as many characters back as
 * it has. */
static size_t start_of_last(struct tl_slice text, size_t from, struct tl_slice part)
{
    size_t at = text.size;
    for (size_t i = part.size; i-- > 0;) {
        if (at <= from)
            return SIZE_MAX;
        at--;
        if (part.data[i] == ANY_CHARACTER) {
            while (at > from && (text.data[at] & 0xC0) == 0x80)
                at--;
        }
    }
    return at;
}

static bool match_general(const struct tl__like *like, struct tl_slice text)
{
    size_t at = 0;
    uint32_t first = 0;
    uint32_t end = like->part_count;
    if (like->anchored_start) {
        at = match_at(text, 0, like->parts[0]);
        if (at == SIZE_MAX)
            return false;
        first = 1;
        if (end == 1)
            return like->anchored_end ? at == text.size : true;
    }
    if (like->anchored_end)
        end--;
    for (uint32_t p = first; p < end; p++) {
        struct tl_slice part = like->parts[p];
        if (like->plain) {
            size_t found = tl__find(tl_slice_of(text.data + at, text.size - at), part);
            if (found == SIZE_MAX)
                return false;
            at += found + part.size;
            continue;
        }
        size_t stop = SIZE_MAX;
        for (; at < text.size; at += tl__utf8_size(text.data[at])) {
            stop = match_at(text, at, part);
            if (stop != SIZE_MAX)
                break;
        }
        if (stop == SIZE_MAX)
            return false;
        at = stop;
    }
    if (!like->anchored_end)
        return true;
    struct tl_slice part = like->parts[end];
    size_t start = start_of_last(text, at, part);
    return start != SIZE_MAX && match_at(text, start, part) == text.size;
}

bool tl__like_match(const struct tl__like *like, struct tl_slice text)
{
    struct tl_slice s = like->literal;
    if (text.size < like->size_min)
        return false;
    switch (like->kind) {
    case LIKE_EXACT:
        return tl_slice_eq(text, s);
    case LIKE_PREFIX:
        return memcmp(text.data, s.data, s.size) == 0;
    case LIKE_SUFFIX:
        return memcmp(text.data + text.size - s.size, s.data, s.size) == 0;
    case LIKE_CONTAINS:
        return tl__find(text, s) != SIZE_MAX;
    case LIKE_ALL:
        return true;
    default:
        return match_general(like, text);
    }
}

static enum tl_code like_rows(struct tl__call *c, bool fold)
{
    uint8_t *out = tl__out(c, 1);
    if (!out)
        return c->st->code;
    bool constant =
        c->args[1].shape == TL_CONST && (c->arg_count < 3 || c->args[2].shape == TL_CONST);
    struct tl__like like;
    bool compiled = false;
    TL__EACH(c, i)
    {
        if (!compiled || !constant) {
            struct tl_slice escape = c->arg_count == 3 ? tl__text_arg(c, 2, i) : tl_slice_of("", 0);
            enum tl_code rc =
                tl__like_compile(tl__text_arg(c, 1, i), c->arg_count == 3 ? &escape : NULL, fold,
                                 c->ctx->arena, &like, c->st);
            if (rc)
                return rc;
            compiled = true;
        }
        struct tl_slice text = tl__text_arg(c, 0, i);
        if (fold) {
            enum tl_code rc = tl__text_lower(text, c->ctx->arena, &text, c->st);
            if (rc)
                return rc;
        }
        out[i] = tl__like_match(&like, text);
    }
    return TL_OK;
}

TL__KERNEL(like)
{
    return like_rows(c, false);
}

TL__KERNEL(ilike)
{
    return like_rows(c, true);
}
