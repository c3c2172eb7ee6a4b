/*
 * tools/parse_ndjson.c: one JSON object per line (RFC 8259), without building a tree.
 *
 * The parser walks the text once; the dotted path of the member that it is in stands in a small
 * buffer, and a hash table tells whether that path is wanted. Nesting is bounded, without
 * recursion.
 */
#include "tools/parse.h"

#include <stdlib.h>
#include <xxhash.h>

#include "tools/values.h"

/* ---- paths ---- */

enum tl_code tl_json_paths_init(struct tl_json_paths *p, struct tl_status *st)
{
    *p = (struct tl_json_paths){.slot_mask = 4 * TL_JSON_PATHS_MAX - 1};
    p->slots = calloc((size_t)p->slot_mask + 1, sizeof(*p->slots));
    p->names = calloc(TL_JSON_PATHS_MAX, sizeof(*p->names));
    if (!p->slots || !p->names) {
        tl_json_paths_deinit(p);
        return TL_FAIL(st, TL_LIMIT, "no memory for the paths of JSON members");
    }
    return TL_OK;
}

void tl_json_paths_deinit(struct tl_json_paths *p)
{
    for (uint32_t i = 0; p->names && i < p->count; i++)
        free((void *)(uintptr_t)p->names[i].data);
    free(p->names);
    free(p->slots);
    *p = (struct tl_json_paths){0};
}

uint32_t tl_json_paths_find(struct tl_json_paths *p, struct tl_slice name, bool add)
{
    uint32_t at = (uint32_t)XXH3_64bits(name.data, name.size) & p->slot_mask;
    for (; p->slots[at]; at = (at + 1) & p->slot_mask)
        if (tl_slice_eq(p->names[p->slots[at] - 1], name))
            return p->slots[at] - 1;
    if (!add || p->count == TL_JSON_PATHS_MAX)
        return UINT32_MAX;
    uint8_t *copy = malloc(name.size + 1);
    if (!copy)
        return UINT32_MAX;
    memcpy(copy, name.data, name.size);
    copy[name.size] = 0;
    p->names[p->count] = tl_slice_of(copy, name.size);
    p->slots[at] = ++p->count;
    return p->count - 1;
}

/* ---- tokens ---- */

struct text {
    const uint8_t *p, *end;
};

static void skip_space(struct text *t)
{
    while (t->p < t->end && (*t->p == ' ' || *t->p == '\t' || *t->p == '\r' || *t->p == '\n'))
        t->p++;
}

static bool hex4(const uint8_t *p, uint32_t *out)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t c = p[i];
        uint32_t d;
        if (c >= '0' && c <= '9')
            d = (uint32_t)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            d = (uint32_t)((c | 0x20) - 'a' + 10);
        else
            return false;
        v = v << 4 | d;
    }
    *out = v;
    return true;
}

static bool escape(struct text *t, struct tl_buffer *scratch)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (t->p == t->end)
        return false;
    uint8_t c = *t->p++;
    const char *at = c ? strchr(from, c) : NULL;
    if (at) {
        tl_buffer_put_u8(scratch, (uint8_t)to[at - from]);
        return true;
    }
    uint32_t code, low;
    if (c != 'u' || t->end - t->p < 4 || !hex4(t->p, &code))
        return false;
    t->p += 4;
    if (code >= 0xd800 && code < 0xdc00 && t->end - t->p >= 6 && t->p[0] == '\\' &&
        t->p[1] == 'u' && hex4(t->p + 2, &low) && low >= 0xdc00 && low < 0xe000) {
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        t->p += 6;
    } else if (code >= 0xd800 && code < 0xe000) {
        code = 0xfffd; /* half a pair */
    }
    tl_utf8_put(scratch, code);
    return true;
}

/* A string at its opening quote; unescaped into scratch only when it holds escapes. */
static bool string(struct text *t, struct tl_buffer *scratch, struct tl_slice *out)
{
    const uint8_t *begin = ++t->p;
    while (t->p < t->end && *t->p != '"' && *t->p != '\\' && *t->p >= 0x20)
        t->p++;
    if (t->p == t->end || *t->p < 0x20)
        return false;
    if (*t->p == '"') {
        *out = tl_slice_of(begin, (size_t)(t->p++ - begin));
        return true;
    }
    size_t at = scratch->size;
    tl_buffer_put(scratch, begin, (size_t)(t->p - begin));
    for (;;) {
        const uint8_t *run = t->p;
        while (t->p < t->end && *t->p != '"' && *t->p != '\\' && *t->p >= 0x20)
            t->p++;
        tl_buffer_put(scratch, run, (size_t)(t->p - run));
        if (t->p == t->end || *t->p < 0x20)
            return false;
        if (*t->p++ == '"')
            break;
        if (!escape(t, scratch))
            return false;
    }
    if (scratch->failed)
        return false;
    *out = tl_slice_of(scratch->data + at, scratch->size - at);
    return true;
}

static bool number(struct text *t)
{
    if (t->p < t->end && *t->p == '-')
        t->p++;
    const uint8_t *begin = t->p;
    while (t->p < t->end && *t->p >= '0' && *t->p <= '9')
        t->p++;
    if (t->p == begin || (*begin == '0' && t->p - begin > 1))
        return false;
    if (t->p < t->end && *t->p == '.') {
        begin = ++t->p;
        while (t->p < t->end && *t->p >= '0' && *t->p <= '9')
            t->p++;
        if (t->p == begin)
            return false;
    }
    if (t->p < t->end && (*t->p | 0x20) == 'e') {
        t->p++;
        if (t->p < t->end && (*t->p == '+' || *t->p == '-'))
            t->p++;
        begin = t->p;
        while (t->p < t->end && *t->p >= '0' && *t->p <= '9')
            t->p++;
        if (t->p == begin)
            return false;
    }
    return true;
}

static bool literal(struct text *t, const char *word)
{
    size_t size = strlen(word);
    if ((size_t)(t->end - t->p) < size || memcmp(t->p, word, size) != 0)
        return false;
    t->p += size;
    return true;
}

/* Any value but an object or array. */
static bool scalar(struct text *t, struct tl_buffer *scratch, struct tl_field *out)
{
    const uint8_t *begin = t->p;
    if (t->p == t->end)
        return false;
    switch (*t->p) {
    case '"':
        out->kind = TL_FIELD_TEXT;
        return string(t, scratch, &out->text);
    case 't':
        out->kind = TL_FIELD_TRUE;
        out->text = tl_slice_of(begin, 4);
        return literal(t, "true");
    case 'f':
        out->kind = TL_FIELD_FALSE;
        out->text = tl_slice_of(begin, 5);
        return literal(t, "false");
    case 'n':
        out->kind = TL_FIELD_NULL;
        out->text = tl_slice_of(NULL, 0);
        return literal(t, "null");
    default:
        out->kind = TL_FIELD_NUMBER;
        if (!number(t))
            return false;
        out->text = tl_slice_of(begin, (size_t)(t->p - begin));
        return true;
    }
}

/* Steps over an object or array whole, checking it; `scratch` is used and given back. */
static bool skip_nested(struct text *t, struct tl_buffer *scratch)
{
    char open[TL_JSON_DEPTH_MAX];
    uint32_t depth = 0;
    bool value_next = true; /* a value must, or (just opened) may, come */
    bool just_opened = false;
    size_t mark = scratch->size;
    do {
        skip_space(t);
        if (t->p == t->end)
            return false;
        uint8_t c = *t->p;
        if (depth && (c == '}' || c == ']') && (just_opened || !value_next)) {
            if (open[depth - 1] != (c == '}' ? '{' : '['))
                return false;
            depth--;
            t->p++;
            just_opened = false;
            value_next = false;
            continue;
        }
        if (!value_next) {
            if (c != ',')
                return false;
            t->p++;
            skip_space(t);
        }
        struct tl_field ignored;
        if (depth && open[depth - 1] == '{') {
            struct tl_slice key;
            if (t->p == t->end || *t->p != '"' || !string(t, scratch, &key))
                return false;
            skip_space(t);
            if (t->p == t->end || *t->p++ != ':')
                return false;
            skip_space(t);
        }
        scratch->size = mark;
        if (t->p < t->end && (*t->p == '{' || *t->p == '[')) {
            if (depth == TL_JSON_DEPTH_MAX)
                return false;
            open[depth++] = (char)*t->p++;
            just_opened = true;
            value_next = true;
        } else {
            if (!scalar(t, scratch, &ignored))
                return false;
            just_opened = false;
            value_next = false;
        }
        scratch->size = mark;
    } while (depth > 0);
    return true;
}

/* ---- records ---- */

static const char malformed[] = "not a JSON object";

struct walker {
    struct text t;
    struct tl_json_paths *paths;
    bool discover;
    uint32_t depth_max;
    struct tl_buffer *scratch;
    struct tl_field *fields;
    uint8_t path[TL_JSON_PATH_BYTES_MAX];
    size_t path_size;
    size_t path_of[TL_JSON_DEPTH_MAX]; /* its size at each level */
    uint32_t depth;
};

/* A member's value at the path that stands in w: false on malformed text. */
static bool member(struct walker *w)
{
    struct tl_slice path = tl_slice_of(w->path, w->path_size);
    uint32_t index = tl_json_paths_find(w->paths, path, false);
    bool nested = w->t.p < w->t.end && (*w->t.p == '{' || *w->t.p == '[');
    if (nested && *w->t.p == '{' && index == UINT32_MAX && w->depth < w->depth_max &&
        w->depth + 1 < TL_JSON_DEPTH_MAX) {
        w->t.p++;
        w->path_of[w->depth++] = w->path_size;
        return true; /* into it */
    }
    if (index == UINT32_MAX && w->discover)
        index = tl_json_paths_find(w->paths, path, true);
    struct tl_field value;
    if (nested) {
        const uint8_t *begin = w->t.p;
        value.kind = *begin == '{' ? TL_FIELD_OBJECT : TL_FIELD_ARRAY;
        if (!skip_nested(&w->t, w->scratch))
            return false;
        value.text = tl_slice_of(begin, (size_t)(w->t.p - begin));
    } else if (!scalar(&w->t, w->scratch, &value)) {
        return false;
    }
    if (index != UINT32_MAX)
        w->fields[index] = value;
    return true;
}

/* The key of the next member, appended to the path of its object. */
static bool member_key(struct walker *w)
{
    struct tl_slice key;
    if (w->t.p == w->t.end || *w->t.p != '"' || !string(&w->t, w->scratch, &key))
        return false;
    size_t at = w->depth ? w->path_of[w->depth - 1] : 0;
    bool dot = at > 0;
    if (at + dot + key.size > sizeof(w->path))
        return false;
    if (dot)
        w->path[at] = '.';
    if (key.size)
        memcpy(w->path + at + dot, key.data, key.size);
    w->path_size = at + dot + key.size;
    skip_space(&w->t);
    if (w->t.p == w->t.end || *w->t.p++ != ':')
        return false;
    skip_space(&w->t);
    return true;
}

const char *tl_json_parse(struct tl_slice line, struct tl_json_paths *paths, bool discover,
                          uint32_t depth, struct tl_buffer *scratch, struct tl_field *fields)
{
    struct walker w = {.t = {line.data, line.data + line.size},
                       .paths = paths,
                       .discover = discover,
                       .depth_max = depth,
                       .scratch = scratch,
                       .fields = fields};
    uint32_t known = discover ? TL_JSON_PATHS_MAX : paths->count;
    memset(fields, 0, known * sizeof(*fields));
    tl_buffer_clear(scratch);
    /* Copies must not move: none is longer than what it copies. */
    if (!tl_buffer_reserve(scratch, line.size + 1))
        return "the line is too long";
    skip_space(&w.t);
    if (w.t.p == w.t.end || *w.t.p++ != '{')
        return malformed;
    bool first = true;
    for (;;) {
        skip_space(&w.t);
        if (w.t.p == w.t.end)
            return "the object is never closed";
        if (*w.t.p == '}') {
            w.t.p++;
            if (w.depth == 0)
                break;
            w.depth--;
            first = false;
            continue;
        }
        if (!first) {
            if (*w.t.p++ != ',')
                return malformed;
            skip_space(&w.t);
        }
        uint32_t before = w.depth;
        if (!member_key(&w) || !member(&w))
            return malformed;
        first = w.depth > before;
    }
    skip_space(&w.t);
    return w.t.p == w.t.end ? NULL : "something follows the object";
}

bool tl_json_each(struct tl_slice object, struct tl_buffer *scratch,
                  bool (*each)(void *arg, struct tl_slice key, const struct tl_field *value),
                  void *arg)
{
    struct text t = {object.data, object.data + object.size};
    skip_space(&t);
    if (t.p == t.end || *t.p++ != '{')
        return false;
    for (bool first = true;; first = false) {
        skip_space(&t);
        if (t.p == t.end)
            return false;
        if (*t.p == '}')
            return true;
        if (!first && *t.p++ != ',')
            return false;
        skip_space(&t);
        struct tl_slice key;
        if (t.p == t.end || *t.p != '"' || !string(&t, scratch, &key))
            return false;
        skip_space(&t);
        if (t.p == t.end || *t.p++ != ':')
            return false;
        skip_space(&t);
        struct tl_field value;
        if (t.p < t.end && (*t.p == '{' || *t.p == '[')) {
            const uint8_t *begin = t.p;
            value.kind = *begin == '{' ? TL_FIELD_OBJECT : TL_FIELD_ARRAY;
            if (!skip_nested(&t, scratch))
                return false;
            value.text = tl_slice_of(begin, (size_t)(t.p - begin));
        } else if (!scalar(&t, scratch, &value)) {
            return false;
        }
        if (!each(arg, key, &value))
            return false;
    }
}
