#include "base/array.h"

#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/text.h"

enum { HEAD_SIZE = 8 };

struct tl_array_view tl_array_view(struct tl_slice array)
{
    struct tl_array_view v = {0};
    tl_assert(array.size >= HEAD_SIZE);
    memcpy(&v.count, array.data, sizeof(v.count));
    v.element = (struct tl_type){array.data[4], array.data[5], array.data[6], 0};
    v.lower = array.data[7];
    v.nulls = array.data + HEAD_SIZE;
    v.values = v.nulls + (v.count + 7) / 8;
    if (v.element.kind == TL_TEXT) {
        v.offsets = v.values;
        v.values += 4 * ((size_t)v.count + 1);
    }
    tl_assert(v.values <= array.data + array.size);
    return v;
}

struct tl_slice tl_array_text(const struct tl_array_view *v, uint32_t i)
{
    uint32_t at[2];
    tl_assert(v->offsets != NULL && i < v->count);
    memcpy(at, v->offsets + 4 * (size_t)i, sizeof(at));
    return tl_slice_of(v->values + at[0], at[1] - at[0]);
}

void tl_array_get(const struct tl_array_view *v, uint32_t i, void *out)
{
    tl_assert(i < v->count);
    if (v->offsets) {
        struct tl_slice text = tl_array_text(v, i);
        memcpy(out, &text, sizeof(text));
        return;
    }
    uint32_t width = tl_kind_width((enum tl_kind)v->element.kind);
    memcpy(out, v->values + (size_t)width * i, width);
}

static bool valid_at(const uint64_t *validity, uint32_t i)
{
    return !validity || tl_bit_get(validity, i);
}

enum tl_code tl_array_build(struct tl_arena *arena, struct tl_type element, const void *values,
                            const uint64_t *validity, uint32_t count, int32_t lower,
                            struct tl_slice *out, struct tl_status *st)
{
    const struct tl_slice *texts = values;
    const uint32_t width = tl_kind_width((enum tl_kind)element.kind);
    bool text = element.kind == TL_TEXT;
    tl_assert(element.kind < TL_PROPS && (lower == 0 || lower == 1));
    size_t size = HEAD_SIZE + ((size_t)count + 7) / 8;
    size += text ? 4 * ((size_t)count + 1) : (size_t)width * count;
    for (uint32_t i = 0; text && i < count; i++)
        size += valid_at(validity, i) ? texts[i].size : 0;
    if (size > TL_ARRAY_BYTES_MAX) {
        TL_FAIL(st, TL_LIMIT, "an array is longer than %d bytes", TL_ARRAY_BYTES_MAX);
        return tl_status_sql(st, "54000", 0);
    }
    uint8_t *to = tl_arena_calloc(arena, 1, size, st);
    if (!to)
        return st->code;

    memcpy(to, &count, sizeof(count));
    to[4] = element.kind;
    to[5] = element.scale;
    to[6] = element.flavour;
    to[7] = (uint8_t)lower;
    uint8_t *nulls = to + HEAD_SIZE;
    uint8_t *at = nulls + (count + 7) / 8;
    for (uint32_t i = 0; i < count; i++)
        if (!valid_at(validity, i))
            nulls[i >> 3] |= (uint8_t)(1u << (i & 7));
    if (text) {
        uint8_t *offsets = at;
        uint32_t used = 0;
        at += 4 * ((size_t)count + 1);
        for (uint32_t i = 0; i < count; i++) {
            memcpy(offsets + 4 * (size_t)i, &used, 4);
            if (!valid_at(validity, i) || texts[i].size == 0)
                continue;
            memcpy(at + used, texts[i].data, texts[i].size);
            used += (uint32_t)texts[i].size;
        }
        memcpy(offsets + 4 * (size_t)count, &used, 4);
    } else if (width) {
        for (uint32_t i = 0; i < count; i++)
            if (valid_at(validity, i))
                memcpy(at + (size_t)width * i, (const uint8_t *)values + (size_t)width * i, width);
    }
    *out = tl_slice_of(to, size);
    return TL_OK;
}

static bool is_space(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

void tl_array_put(struct tl_buffer *out, struct tl_slice text)
{
    bool quote = text.size == 0 || tl_text_eq_nocase(text, "null");
    for (size_t i = 0; i < text.size && !quote; i++)
        quote = is_space(text.data[i]) || strchr("\"\\{},", text.data[i]) != NULL;
    if (!quote) {
        tl_buffer_put(out, text.data, text.size);
        return;
    }
    tl_buffer_put_u8(out, '"');
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '"' || text.data[i] == '\\')
            tl_buffer_put_u8(out, '\\');
        tl_buffer_put_u8(out, text.data[i]);
    }
    tl_buffer_put_u8(out, '"');
}

static enum tl_code malformed(struct tl_slice text, struct tl_status *st)
{
    TL_FAIL(st, TL_INVALID, "malformed array literal: \"%.*s\"",
            (int)(text.size < 60 ? text.size : 60), (const char *)text.data);
    return tl_status_sql(st, "22P02", 0);
}

/* One element from *p on; its text goes to `to`. False: none that is well formed. */
static bool split_one(const uint8_t **p, const uint8_t *end, uint8_t *to, struct tl_slice *text,
                      bool *null)
{
    const uint8_t *at = *p;
    uint8_t *next = to;
    bool quoted = false;
    while (at < end && is_space(*at))
        at++;
    if (at < end && *at == '"') {
        quoted = true;
        for (at++; at < end && *at != '"'; at++) {
            if (*at == '\\' && ++at == end)
                return false;
            *next++ = *at;
        }
        if (at++ == end)
            return false;
        while (at < end && is_space(*at))
            at++;
    } else {
        uint8_t *solid = to;
        for (; at < end && *at != ',' && *at != '}'; at++) {
            if (*at == '"' || *at == '{')
                return false;
            bool escaped = *at == '\\';
            if (escaped && ++at == end)
                return false;
            *next++ = *at;
            if (escaped || !is_space(*at))
                solid = next;
        }
        next = solid;
    }
    *text = tl_slice_of(to, (size_t)(next - to));
    *null = !quoted && tl_text_eq_nocase(*text, "null");
    *p = at;
    return at < end && (quoted || text->size > 0);
}

enum tl_code tl_array_split(struct tl_slice text, struct tl_arena *arena, struct tl_slice **texts,
                            uint64_t **validity, uint32_t *count, struct tl_status *st)
{
    struct tl_slice body = tl_text_trim(text);
    if (body.size < 2 || body.data[0] != '{' || body.data[body.size - 1] != '}')
        return malformed(text, st);
    uint32_t most = 1;
    for (size_t i = 0; i < body.size; i++)
        most += body.data[i] == ',';
    struct tl_slice *list = tl_arena_calloc(arena, most, sizeof(*list), st);
    uint64_t *bits = tl_arena_calloc(arena, tl_bit_words(most), sizeof(*bits), st);
    uint8_t *to = tl_arena_alloc(arena, body.size, st);
    if (!list || !bits || !to)
        return st->code;

    const uint8_t *p = body.data + 1, *end = body.data + body.size;
    uint32_t n = 0;
    while (is_space(*p))
        p++;
    bool more = *p != '}';
    for (; more; n++) {
        bool null;
        if (!split_one(&p, end, to, &list[n], &null))
            return malformed(text, st);
        to += list[n].size;
        if (!null)
            tl_bit_set(bits, n);
        more = *p == ',';
        p += more;
    }
    if (*p != '}' || p + 1 != end)
        return malformed(text, st);
    *texts = list;
    *validity = bits;
    *count = n;
    return TL_OK;
}
