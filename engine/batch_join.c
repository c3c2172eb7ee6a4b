#include "engine/batch_join.h"

#include "base/assert.h"

/* What all parts' columns come to. */
struct sums {
    const struct tl_batch_part *parts;
    uint32_t count, rows;
    struct tl_arena *arena;
    struct tl_status *st;
};

/* ORs `rows` bits of `from` to `to` at bit `at`, where there are zeros. `to` has 8 bytes beyond. */
static void put_bits(uint8_t *to, uint32_t at, const uint8_t *from, uint32_t rows)
{
    to += at >> 3;
    uint32_t shift = at & 7;
    for (uint32_t i = 0; i < rows; i += 8, to++) {
        uint32_t bits = from ? *from++ : 0xff;
        if (rows - i < 8)
            bits &= (1U << (rows - i)) - 1;
        bits <<= shift;
        to[0] |= (uint8_t)bits;
        to[1] |= (uint8_t)(bits >> 8);
    }
}

static const struct tl_batch_column *column_of(const struct sums *s, uint32_t part, uint32_t column)
{
    return &s->parts[part].batch->columns[column];
}

static bool join_validity(const struct sums *s, uint32_t column, struct tl_batch_column *out)
{
    if (out->valid_count == s->rows)
        return true;
    uint8_t *bits = tl_arena_calloc(s->arena, s->rows / 8 + 9, 1, s->st);
    if (!bits)
        return false;
    uint32_t at = 0;
    for (uint32_t p = 0; p < s->count; p++) {
        const struct tl_batch_column *c = column_of(s, p, column);
        uint32_t rows = s->parts[p].batch->rows;
        if (c->present)
            put_bits(bits, at, c->validity, rows);
        at += rows;
    }
    out->validity = bits;
    return true;
}

/* Values of `width` bytes; zeros where a part leaves the column out. */
static void *join_values(const struct sums *s, uint32_t column, size_t width)
{
    uint8_t *values = tl_arena_alloc(s->arena, s->rows * width, s->st);
    uint8_t *to = values;
    for (uint32_t p = 0; values && p < s->count; p++) {
        const struct tl_batch_column *c = column_of(s, p, column);
        const void *from = c->ints      ? (const void *)c->ints
                           : c->doubles ? (const void *)c->doubles
                                        : (const void *)c->bools;
        size_t size = s->parts[p].batch->rows * width;
        if (c->present)
            memcpy(to, from, size);
        else
            memset(to, 0, size);
        to += size;
    }
    return values;
}

static void put_codes(uint32_t *to, const struct tl_batch_column *c, uint32_t rows, uint32_t first,
                      uint32_t null)
{
    if (!c->present) {
        for (uint32_t i = 0; i < rows; i++)
            to[i] = null;
    } else if (!c->validity) {
        for (uint32_t i = 0; i < rows; i++)
            to[i] = first + tl_batch_code(c, i);
    } else {
        for (uint32_t i = 0; i < rows; i++) {
            uint32_t code = tl_batch_code(c, i);
            to[i] = code == c->string_count ? null : first + code;
        }
    }
}

static bool join_text(const struct sums *s, uint32_t column, struct tl_batch_column *out)
{
    uint32_t strings = 0;
    bool bad = false;
    for (uint32_t p = 0; p < s->count; p++) {
        strings += column_of(s, p, column)->string_count;
        bad = bad || column_of(s, p, column)->bad;
    }
    struct tl_slice *to = tl_arena_alloc(s->arena, ((size_t)strings + 1) * sizeof(*to), s->st);
    uint32_t *codes = tl_arena_alloc(s->arena, (size_t)s->rows * 4, s->st);
    uint8_t *marks = bad ? tl_arena_calloc(s->arena, (size_t)strings + 1, 1, s->st) : NULL;
    if (!to || !codes || (bad && !marks))
        return false;
    out->strings = to;
    out->string_count = strings;
    out->codes = codes;
    out->bad = marks;
    uint32_t first = 0;
    for (uint32_t p = 0; p < s->count; p++) {
        const struct tl_batch_column *c = column_of(s, p, column);
        uint32_t rows = s->parts[p].batch->rows;
        if (c->string_count > 0)
            memcpy(to + first, c->strings, c->string_count * sizeof(*to));
        if (c->bad)
            memcpy(marks + first, c->bad, c->string_count);
        put_codes(codes, c, rows, first, strings);
        codes += rows;
        first += c->string_count;
    }
    return true;
}

static bool join_column(const struct sums *s, uint32_t column, uint8_t kind,
                        struct tl_batch_column *out)
{
    out->narrow = true;
    for (uint32_t p = 0; p < s->count; p++) {
        const struct tl_batch_column *c = column_of(s, p, column);
        out->valid_count += c->present ? c->valid_count : 0;
        out->present = out->present || c->present;
        out->narrow = out->narrow && (!c->present || c->narrow);
    }
    if (!out->present)
        return true;
    if (!join_validity(s, column, out))
        return false;
    if (kind == TL_TEXT || kind == TL_PROPS)
        return join_text(s, column, out);
    void *values = join_values(s, column, kind == TL_BOOLEAN ? 1 : 8);
    if (kind == TL_BOOLEAN)
        out->bools = values;
    else if (kind == TL_DOUBLE)
        out->doubles = values;
    else
        out->ints = values;
    return values != NULL;
}

enum tl_code tl_batch_join(const struct tl_batch_part *parts, uint32_t count,
                           struct tl_arena *arena, struct tl_batch *out,
                           struct tl_refused **refused, uint32_t *refused_count,
                           struct tl_status *st)
{
    tl_assert(count > 0);
    struct sums s = {.parts = parts, .count = count, .arena = arena, .st = st};
    const struct tl_table *table = parts[0].batch->table;
    uint32_t bad = 0;
    for (uint32_t p = 0; p < count; p++) {
        tl_assert(parts[p].batch->table == table);
        s.rows += parts[p].batch->rows;
        bad += parts[p].refused_count;
    }
    uint32_t column_count = table->info.column_count;
    struct tl_batch_column *columns = tl_arena_calloc(arena, column_count, sizeof(*columns), st);
    struct tl_refused *list = tl_arena_alloc(arena, ((size_t)bad + 1) * sizeof(*list), st);
    if (!columns || !list)
        return st->code;
    uint32_t n = 0;
    uint32_t first = 0;
    for (uint32_t p = 0; p < count; p++) {
        for (uint32_t i = 0; i < parts[p].refused_count; i++) {
            list[n] = parts[p].refused[i];
            list[n++].row += first;
        }
        first += parts[p].batch->rows;
    }
    for (uint32_t i = 0; i < column_count; i++)
        if (!join_column(&s, i, table->info.columns[i].type.kind, &columns[i]))
            return st->code;
    *out = (struct tl_batch){.table = table, .rows = s.rows, .columns = columns};
    *refused = list;
    *refused_count = n;
    return TL_OK;
}
