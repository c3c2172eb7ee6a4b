/*
 * Pass 2 of a merge (see merge.c): the columns.
 *
 * A segment's columns are written parents first. Which column is mapped by which is found from a
 * sample before: the same machinery sends spans of rows into keys instead of into the writer, and
 * the shapes of maps into a count, from which the segment's hot keys follow (merge_props_int.h).
 */
#include <stdlib.h>

#include "base/assert.h"
#include "storage/merge_int.h"
#include "storage/merge_props_int.h"

enum { SAMPLE_AHEAD_BYTES = 16 << 10, IMAGES_BYTES_MAX = 64 << 20 };

static enum tl_code stream_open(struct tl__merge *m, struct tl__stream *s,
                                const struct tl_column *column, struct tl_status *st)
{
    if (s->column)
        tl_cursor_close(&s->cursor);
    s->column = column ? tl__column_of(column) : NULL;
    s->row = s->lo = s->hi = 0;
    s->page = NULL;
    s->page_first = s->page_end = 0;
    s->cursor = (struct tl_cursor){0};
    if (!column)
        return TL_OK;
    enum tl_code rc = tl_cursor_init(&s->cursor, column, NULL, NULL, NULL, st);
    if (rc)
        return rc;
    s->cursor.window = &s->blocks;
    if (column->distinct > s->map_capacity) {
        size_t more = (size_t)(column->distinct - s->map_capacity) * sizeof(*s->map);
        rc = tl__merge_charge(m, more, st);
        if (rc)
            return rc;
        uint32_t *map = realloc(s->map, (size_t)column->distinct * sizeof(*map));
        if (!map)
            return TL_FAIL(st, TL_LIMIT, "no memory to merge");
        s->map = map;
        s->map_capacity = column->distinct;
    }
    if (column->distinct > 0)
        memset(s->map, 0xff, (size_t)column->distinct * sizeof(*s->map));
    return TL_OK;
}

/* The slice with row s->row. */
static enum tl_code stream_fill(struct tl__stream *s, struct tl_status *st)
{
    uint32_t lo = s->row & ~(uint32_t)(MERGE_SLICE_ROWS - 1);
    uint32_t rows = s->column->pub.rows;
    uint32_t hi = rows - lo < MERGE_SLICE_ROWS ? rows : lo + MERGE_SLICE_ROWS;
    struct tl_vector_buffer buffer = {s->values, s->validity};
    struct tl_vector v;
    enum tl_code rc = tl_cursor_read(&s->cursor, lo, hi, &buffer, &v, st);
    if (rc)
        return rc;
    s->has_nulls = v.validity != NULL;
    if (v.shape == TL_CONST && v.validity) {
        memset(s->validity, 0, sizeof(s->validity));
        memset(s->values, 0, sizeof(s->values));
    } else if (v.shape == TL_CONST) {
        int64_t value = 0;
        memcpy(&value, v.data, tl_block_width(v.type.kind));
        tl__fill_constant(v.type.kind, value, s->values, hi - lo);
    }
    s->lo = lo;
    s->hi = hi;
    return TL_OK;
}

/* A code that was not met before: its string gets a code of the new dictionary. */
static enum tl_code stream_intern(struct tl__merge *m, struct tl__stream *s, uint32_t code,
                                  struct tl_status *st)
{
    if (code < s->page_first || code >= s->page_end) {
        const struct tl__column *c = s->column;
        uint32_t lo = 0, hi = c->page_count;
        while (hi - lo > 1) {
            uint32_t mid = (lo + hi) / 2;
            if (c->pages[mid].first_code <= code)
                lo = mid;
            else
                hi = mid;
        }
        s->page_first = s->page_end = 0;
        enum tl_code rc = tl__window_page(&s->pages, c, lo, &s->page, st);
        if (rc)
            return rc;
        s->page_first = c->pages[lo].first_code;
        s->page_end = c->pages[lo + 1].first_code;
    }
    struct tl_slice value = tl_strings_get(s->page, code - s->page_first);
    return m->sample_dict ? tl__interner_intern(m->sample_dict, value, &s->map[code], st)
                          : tl__pack_column_intern(m->writer, value, &s->map[code], st);
}

/* Codes of the inputs become keys of the sample, for now: sample_keys makes one numbering of them.
 */
static void sample_put(struct tl__merge *m)
{
    const uint32_t *codes = (const uint32_t *)(const void *)m->out;
    for (uint32_t i = 0; i < m->out_count; i++) {
        bool valid = !m->out_nulls || tl_bit_get(m->out_validity, i);
        m->sample[i] = valid ? codes[i] + 1 : 0;
    }
    m->sample += m->out_count;
}

static enum tl_code out_flush(struct tl__merge *m, struct tl_status *st)
{
    if (m->out_count == 0)
        return TL_OK;
    if (tl__merge_cancelled(m))
        return TL_FAIL(st, TL_CANCELLED, "the merge was cancelled");
    enum tl_code rc = TL_OK;
    if (m->count_shapes)
        rc = tl__props_merge_count(m->props, (const uint32_t *)(const void *)m->out,
                                   m->out_nulls ? m->out_validity : NULL, m->out_count, st);
    else if (m->sample_dict)
        sample_put(m);
    else
        rc = tl__pack_column_put(m->writer, m->out, m->out_nulls ? m->out_validity : NULL,
                                 m->out_count, st);
    if (m->options->progress_values && !m->sample_dict) /* relaxed: a counter that orders nothing */
        atomic_fetch_add_explicit(m->options->progress_values, m->out_count, memory_order_relaxed);
    m->out_count = 0;
    m->out_nulls = false;
    return rc;
}

/* The next n rows of the output come from a source without NULLs, or with these bits. */
static void put_validity(struct tl__merge *m, uint32_t at, const uint64_t *validity, uint32_t bit,
                         uint32_t n)
{
    if (validity) {
        if (!m->out_nulls) {
            memset(m->out_validity, 0xff, sizeof(m->out_validity));
            m->out_nulls = true;
        }
        tl__bits_copy(m->out_validity, at, validity, bit, n);
    } else if (m->out_nulls) {
        tl__bits_fill(m->out_validity, at, n);
    }
}

static enum tl_code put_codes(struct tl__merge *m, struct tl__stream *s, uint32_t at, uint32_t n,
                              struct tl_status *st)
{
    const uint32_t *from = (const uint32_t *)(const void *)s->values + at;
    uint32_t *to = (uint32_t *)(void *)m->out + m->out_count;
    uint32_t *map = s->map;
    for (uint32_t i = 0; i < n; i++) {
        if (s->has_nulls && !tl_bit_get(s->validity, at + i)) {
            to[i] = 0;
            continue;
        }
        if (m->sample) { /* strings come later, page by page */
            map[from[i]] = CODE_WANTED;
            to[i] = from[i];
            continue;
        }
        if (map[from[i]] == CODE_NONE) {
            enum tl_code rc = stream_intern(m, s, from[i], st);
            if (rc)
                return rc;
        }
        to[i] = map[from[i]];
    }
    return TL_OK;
}

static void put_values(struct tl__merge *m, const struct tl__stream *s, uint32_t width, uint32_t at,
                       uint32_t n)
{
    /* Short runs are many: eight values are copied whatever n is, what is too much is overwritten
     * by the next run. */
    if (width == 8 && n <= 8 && at + 8 <= MERGE_SLICE_ROWS &&
        m->out_count + 8 <= MERGE_SLICE_ROWS) {
        memcpy(m->out + m->out_count, s->values + at, 64);
        return;
    }
    memcpy((uint8_t *)m->out + (size_t)m->out_count * width,
           (const uint8_t *)s->values + (size_t)at * width, (size_t)n * width);
}

/* Rows of a map that are put together. */
static enum tl_code put_derived(struct tl__merge *m, struct tl__stream *s, uint32_t n,
                                struct tl_status *st)
{
    static const uint64_t none[1] = {0};
    for (uint32_t i = 0; i < n; i++) {
        struct tl_slice value;
        bool valid;
        uint32_t code = 0;
        enum tl_code rc = tl__props_merge_row(m->props, (uint32_t)(s - m->streams), s->row + i,
                                              &value, &valid, st);
        if (!rc && valid)
            rc = m->sample_dict ? tl__interner_intern(m->sample_dict, value, &code, st)
                                : tl__pack_column_intern(m->writer, value, &code, st);
        if (rc)
            return rc;
        ((uint32_t *)(void *)m->out)[m->out_count + i] = code;
        put_validity(m, m->out_count + i, valid ? NULL : none, 0, 1);
    }
    return TL_OK;
}

/* `length` rows of one input go out. */
static enum tl_code stream_take(struct tl__merge *m, struct tl__stream *s, struct tl_type type,
                                uint32_t width, uint32_t length, struct tl_status *st)
{
    static const uint64_t none[MERGE_SLICE_ROWS / 64];
    while (length > 0) {
        uint32_t n = MERGE_SLICE_ROWS - m->out_count;
        if (n > length)
            n = length;
        enum tl_code rc = TL_OK;
        if (s->derived) {
            rc = put_derived(m, s, n, st);
            if (rc)
                return rc;
        } else if (!s->column) {
            memset((uint8_t *)m->out + (size_t)m->out_count * width, 0, (size_t)n * width);
            put_validity(m, m->out_count, none, 0, n);
        } else {
            if (s->row < s->lo || s->row >= s->hi)
                rc = stream_fill(s, st);
            if (rc)
                return rc;
            if (n > s->hi - s->row)
                n = s->hi - s->row;
            uint32_t at = s->row - s->lo;
            put_validity(m, m->out_count, s->has_nulls ? s->validity : NULL, at, n);
            if (type.kind == TL_TEXT)
                rc = put_codes(m, s, at, n, st);
            else
                put_values(m, s, width, at, n);
        }
        s->row += n;
        m->out_count += n;
        length -= n;
        if (!rc && m->out_count == MERGE_SLICE_ROWS)
            rc = out_flush(m, st);
        if (rc)
            return rc;
    }
    return TL_OK;
}

/* A place in a partition's sequence: within the token before `next`. */
struct place {
    uint32_t next;  /* the token's number */
    uint32_t input; /* of the token in hand */
    uint32_t left;  /* rows of it that are still to come */
};

/* Goes on to the next token when the one in hand is used up. The streams' rows go along. */
static void place_step(const struct tl__sequence *q, struct place *p, uint32_t *skip)
{
    uint32_t token = q->tokens[p->next++];
    p->input = token >> (TOKEN_LENGTH_BITS + TOKEN_SKIP_BITS);
    p->left = token & TOKEN_LENGTH_MAX;
    uint32_t near = (token >> TOKEN_LENGTH_BITS) & TOKEN_SKIP_FAR;
    *skip = near == TOKEN_SKIP_FAR ? q->tokens[p->next++] : near;
}

/* The next `rows` rows go out. */
static enum tl_code put_rows(struct tl__merge *m, const struct tl__sequence *q, struct place *p,
                             uint32_t rows, struct tl_type type, struct tl_status *st)
{
    uint32_t width = tl_block_width(type.kind);
    enum tl_code rc = TL_OK;
    while (!rc && rows > 0) {
        if (p->left == 0) {
            uint32_t skip;
            place_step(q, p, &skip);
            m->streams[p->input].row += skip;
        }
        uint32_t n = p->left < rows ? p->left : rows;
        rc = stream_take(m, &m->streams[p->input], type, width, n, st);
        p->left -= n;
        rows -= n;
    }
    return rc;
}

static enum tl_code open_streams(struct tl__merge *m, uint32_t id, struct tl_status *st)
{
    enum tl_code rc = TL_OK;
    bool map = tl__props_merge_aim(m->props, id);
    for (uint32_t i = 0; !rc && i < m->input_count; i++) {
        const struct tl_column *c = NULL;
        bool derived = false;
        if (map)
            rc = tl__props_merge_source(m->props, i, &c, &derived, st);
        else
            c = tl_segment_column(m->inputs[i].segment, id);
        if (!rc)
            rc = stream_open(m, &m->streams[i], derived ? NULL : c, st);
        m->streams[i].derived = derived;
    }
    m->out_count = 0;
    m->out_nulls = false;
    return rc;
}

static enum tl_code write_column(struct tl__merge *m, const struct tl__sequence *q,
                                 const struct tl__merge_column *c, struct tl_status *st)
{
    enum tl_code rc = tl__pack_column_begin(m->writer, c->id, c->type, c->parent_id, c->keep, st);
    if (!rc && c->name.size > 0)
        tl__pack_column_name(m->writer, c->name);
    if (!rc)
        rc = open_streams(m, c->id, st);
    struct place place = {0};
    if (!rc)
        rc = put_rows(m, q, &place, q->rows, c->type, st);
    if (!rc)
        rc = out_flush(m, st);
    return rc ? rc : tl_pack_column_end(m->writer, st);
}

/* ---- which columns there are, and what they are mapped by ---- */

/* The place is behind the last column of the schema. */
static bool at_end(const struct tl_segment *s, uint32_t place)
{
    return place == tl_segment_column_count(s) ||
           tl_segment_column_at(s, place)->id >= TL_COLUMN_NAMED;
}

/* The columns of all inputs, ascending by id, but those of hot keys. There is room for these: a
 * merged segment has more of them than an input only up to the sum of all inputs'. */
static enum tl_code list_columns(struct tl__merge *m, struct tl_status *st)
{
    uint32_t places[TL_MERGE_INPUTS_MAX] = {0}, capacity = 0;
    for (uint32_t i = 0; i < m->input_count; i++)
        capacity += tl_segment_column_count(m->inputs[i].segment);
    m->columns = tl__merge_take(m, capacity, sizeof(*m->columns), st);
    if (!m->columns)
        return st->code;
    for (;;) {
        struct tl__merge_column *c = &m->columns[m->column_count];
        bool found = false;
        for (uint32_t i = 0; i < m->input_count; i++) {
            const struct tl_segment *s = m->inputs[i].segment;
            if (at_end(s, places[i]))
                continue;
            const struct tl_column *x = tl_segment_column_at(s, places[i]);
            if (!found || x->id < c->id)
                *c = (struct tl__merge_column){.id = x->id, .type = x->type};
            found = true;
        }
        if (!found) {
            m->schema_count = m->column_count;
            m->column_capacity = capacity;
            return TL_OK;
        }
        for (uint32_t i = 0; i < m->input_count; i++) {
            const struct tl_segment *s = m->inputs[i].segment;
            if (at_end(s, places[i]))
                continue;
            const struct tl_column *x = tl_segment_column_at(s, places[i]);
            if (x->id != c->id)
                continue;
            if (!tl_type_eq(x->type, c->type))
                return TL_FAIL(st, TL_INVALID, "column %u has different types in the inputs",
                               c->id);
            places[i]++;
        }
        m->column_count++;
    }
}

/* Where each span of the sample begins: its place, and each input's row there. */
struct span {
    struct place place;
    uint32_t *rows;
};

static void find_spans(const struct tl__merge *m, const struct tl__sequence *q,
                       const uint32_t *first_rows, uint32_t count, struct span *spans)
{
    uint32_t *rows = spans[count].rows; /* of the walk */
    struct place p = {0};
    uint32_t row = 0;
    memset(rows, 0, m->input_count * sizeof(*rows));
    for (uint32_t i = 0; i < count; i++) {
        while (row < first_rows[i]) {
            if (p.left == 0) {
                uint32_t skip;
                place_step(q, &p, &skip);
                rows[p.input] += skip;
            }
            uint32_t n = p.left < first_rows[i] - row ? p.left : first_rows[i] - row;
            rows[p.input] += n;
            p.left -= n;
            row += n;
        }
        spans[i].place = p;
        memcpy(spans[i].rows, rows, m->input_count * sizeof(*rows));
    }
}

/* The strings that the sample wants of an input, in the order of its pages: each is inflated once,
 * however rows and spans go to and fro between them. */
static enum tl_code sample_strings(struct tl__merge *m, struct tl__stream *s, struct tl_status *st)
{
    enum tl_code rc = TL_OK;
    uint32_t distinct = s->column ? s->column->pub.distinct : 0;
    for (uint32_t code = 0; !rc && code < distinct; code++)
        if (s->map[code] == CODE_WANTED)
            rc = stream_intern(m, s, code, st);
    return rc;
}

/* Keys that are codes of the inputs become codes in order of first appearance. */
static enum tl_code sample_keys(struct tl__merge *m, const struct tl__sequence *q,
                                const struct span *spans, uint32_t span_count, uint32_t rows,
                                uint32_t *keys, uint32_t distinct, struct tl_status *st)
{
    uint32_t *order = calloc((size_t)distinct + 1, sizeof(*order));
    uint32_t seen = 0;
    if (!order)
        return TL_FAIL(st, TL_LIMIT, "no memory to merge");
    for (uint32_t i = 0; i < span_count; i++) {
        struct place place = spans[i].place;
        for (uint32_t row = 0; row < rows; row++, place.left--, keys++) {
            uint32_t skip;
            if (place.left == 0)
                place_step(q, &place, &skip);
            if (*keys == 0)
                continue;
            const struct tl__stream *s = &m->streams[place.input];
            uint32_t code = s->column ? s->map[*keys - 1] : *keys - 1;
            if (order[code] == 0)
                order[code] = ++seen;
            *keys = order[code];
        }
    }
    free(order);
    return TL_OK;
}

static enum tl_code sample_column(struct tl__merge *m, const struct tl__sequence *q, uint32_t id,
                                  const struct span *spans, uint32_t span_count, uint32_t rows,
                                  uint32_t *keys, uint32_t *distinct, struct tl_status *st)
{
    enum tl_code rc = tl__interner_reset(m->sample_dict, st);
    if (!rc)
        rc = open_streams(m, id, st);
    m->sample = keys;
    for (uint32_t i = 0; !rc && i < span_count; i++) {
        struct place place = spans[i].place;
        for (uint32_t k = 0; k < m->input_count; k++)
            m->streams[k].row = spans[i].rows[k];
        rc = put_rows(m, q, &place, rows, tl_type_of(TL_TEXT), st);
    }
    if (!rc)
        rc = out_flush(m, st);
    m->sample = NULL;
    for (uint32_t k = 0; !rc && k < m->input_count; k++)
        rc = sample_strings(m, &m->streams[k], st);
    *distinct = m->sample_dict->count;
    return rc ? rc : sample_keys(m, q, spans, span_count, rows, keys, *distinct, st);
}

static enum tl_code take_sample(struct tl__merge *m, const struct tl__sequence *q,
                                const uint32_t *first_rows, uint32_t span_count, uint32_t rows,
                                uint32_t *keys, struct tl__plan_column *columns,
                                struct tl_status *st)
{
    struct span spans[TL__SAMPLE_SPANS_MAX + 1];
    uint32_t *input_rows = calloc((size_t)(span_count + 1) * m->input_count, sizeof(*input_rows));
    struct tl__interner *dict = calloc(1, sizeof(*dict));
    if (!input_rows || !dict) {
        free(input_rows);
        free(dict);
        return TL_FAIL(st, TL_LIMIT, "no memory to merge");
    }
    for (uint32_t i = 0; i <= span_count; i++)
        spans[i].rows = input_rows + (size_t)i * m->input_count;
    find_spans(m, q, first_rows, span_count, spans);
    tl__interner_init(dict, m->options->budget);
    m->sample_dict = dict;
    for (uint32_t i = 0; i < m->input_count; i++)
        m->streams[i].blocks.ahead = m->streams[i].pages.ahead = SAMPLE_AHEAD_BYTES;

    enum tl_code rc = TL_OK;
    for (uint32_t i = 0, n = 0; !rc && i < m->column_count; i++) {
        if (m->columns[i].type.kind != TL_TEXT)
            continue;
        columns[n] = (struct tl__plan_column){.id = m->columns[i].id, .keys = keys};
        rc = sample_column(m, q, columns[n].id, spans, span_count, rows, keys, &columns[n].distinct,
                           st);
        keys += (size_t)span_count * rows;
        n++;
    }

    uint32_t ahead = tl__merge_ahead_bytes(m->input_count);
    for (uint32_t i = 0; i < m->input_count; i++)
        m->streams[i].blocks.ahead = m->streams[i].pages.ahead = ahead;
    m->sample_dict = NULL;
    tl__interner_deinit(dict);
    free(dict);
    free(input_rows);
    return rc;
}

/* Says of each column what it is mapped by in this segment. */
static enum tl_code plan_segment(struct tl__merge *m, const struct tl__sequence *q,
                                 struct tl_status *st)
{
    uint32_t texts = 0;
    for (uint32_t i = 0; i < m->column_count; i++) {
        m->columns[i].parent_id = 0;
        m->columns[i].depth = 0;
        m->columns[i].keep = false;
        texts += m->columns[i].type.kind == TL_TEXT;
    }
    if (!m->options->pack.map_columns || texts < 2 || q->rows > TL__MAPPED_ROWS_MAX)
        return TL_OK;
    uint32_t first_rows[TL__SAMPLE_SPANS_MAX];
    uint32_t span_count = tl__sample_spans(q->rows, first_rows);
    uint32_t rows = q->rows < TL__SAMPLE_SPAN_ROWS ? q->rows : TL__SAMPLE_SPAN_ROWS;
    size_t total = (size_t)span_count * rows;
    size_t size = texts * total * sizeof(uint32_t);
    enum tl_code rc = tl__merge_charge(m, size, st);
    if (rc)
        return rc;
    uint32_t *keys = malloc(size);
    struct tl__plan_column *columns = calloc(texts, sizeof(*columns));
    if (!keys || !columns)
        rc = TL_FAIL(st, TL_LIMIT, "no memory to merge");
    if (!rc)
        rc = take_sample(m, q, first_rows, span_count, rows, keys, columns, st);
    if (!rc)
        rc = tl__plan(columns, texts, (uint32_t)total, st);
    for (uint32_t i = 0, n = 0; !rc && i < m->column_count; i++) {
        struct tl__merge_column *c = &m->columns[i];
        if (c->type.kind != TL_TEXT)
            continue;
        c->parent_id = columns[n].parent != UINT32_MAX ? columns[columns[n].parent].id : 0;
        c->depth = columns[n].depth;
        c->keep = columns[n].keep;
        n++;
    }
    free(keys);
    free(columns);
    tl__merge_uncharge(m, size);
    return rc;
}

/* The shapes of one map, counted over the segment's rows. */
static enum tl_code count_shapes(struct tl__merge *m, const struct tl__sequence *q, uint32_t id,
                                 struct tl__interner *dict, struct tl_status *st)
{
    struct place place = {0};
    enum tl_code rc = tl__interner_reset(dict, st);
    if (!rc)
        rc = open_streams(m, id, st);
    m->sample_dict = dict;
    m->count_shapes = true;
    if (!rc)
        rc = put_rows(m, q, &place, q->rows, tl_type_of(TL_TEXT), st);
    if (!rc)
        rc = out_flush(m, st);
    m->sample_dict = NULL;
    m->count_shapes = false;
    return rc ? rc : tl__props_merge_choose(m->props, dict->values, dict->count, st);
}

/* Finds the hot keys of the segment's maps, which become columns. */
static enum tl_code add_hot_keys(struct tl__merge *m, const struct tl__sequence *q,
                                 struct tl_status *st)
{
    m->column_count = m->schema_count;
    enum tl_code rc =
        tl__props_merge_new(m->inputs, m->input_count, m->options->budget, &m->props, st);
    if (rc || !m->props)
        return rc;
    struct tl__interner *dict = calloc(1, sizeof(*dict));
    if (!dict)
        return TL_FAIL(st, TL_LIMIT, "no memory to merge");
    tl__interner_init(dict, m->options->budget);
    for (uint32_t i = 0; !rc && i < m->schema_count; i++) {
        bool is_map = false;
        rc = tl__props_merge_shapes(m->props, m->columns[i].id, &is_map, st);
        if (!rc && is_map)
            rc = count_shapes(m, q, m->columns[i].id, dict, st);
    }
    tl__interner_deinit(dict);
    free(dict);
    for (uint32_t i = 0; !rc && i < tl__props_merge_maps(m->props); i++) {
        uint32_t map;
        const struct tl_props_hot *hot;
        uint32_t n = tl__props_merge_map(m->props, i, &map, &hot);
        for (uint32_t k = 0; k < n; k++) {
            tl_assert(m->column_count < m->column_capacity);
            m->columns[m->column_count++] =
                (struct tl__merge_column){.id = tl_props_column_id(map, k),
                                          .type = tl_type_of(TL_TEXT),
                                          .name = hot->keys[k]};
        }
    }
    return rc;
}

static enum tl_code write_segment(struct tl__merge *m, uint32_t partition, struct tl_status *st)
{
    const struct tl__sequence *q = &m->sequences[partition];
    enum tl_code rc = tl_pack_segment_begin(m->writer, &m->partitions[partition], q->rows, st);
    if (!rc)
        rc = add_hot_keys(m, q, st);
    if (!rc)
        rc = plan_segment(m, q, st);
    /* Parents first: the sort keys have none and the least ids. */
    for (uint32_t depth = 0; !rc && depth <= TL_MAP_DEPTH_MAX; depth++)
        for (uint32_t i = 0; !rc && i < m->column_count; i++)
            if (m->columns[i].depth == depth)
                rc = write_column(m, q, &m->columns[i], st);
    tl__props_merge_free(m->props);
    m->props = NULL;
    return rc ? rc : tl_pack_segment_end(m->writer, st);
}

enum tl_code tl__merge_columns(struct tl__merge *m, struct tl_io *io, const struct tl_pack_id *id,
                               struct tl_pack_info *out, struct tl_status *st)
{
    uint32_t ahead = tl__merge_ahead_bytes(m->input_count), partitions = 0;
    for (uint32_t p = 0; p < m->partition_count; p++)
        partitions += m->sequences[p].rows > 0;
    m->images = (struct tl__images){.limit = IMAGES_BYTES_MAX, .budget = m->options->budget};
    m->streams = tl__merge_take(m, m->input_count, sizeof(*m->streams), st);
    if (!m->streams)
        return st->code;
    for (uint32_t i = 0; i < m->input_count; i++) {
        tl__window_init(&m->streams[i].blocks, m->inputs[i].segment->pack, ahead);
        tl__window_init(&m->streams[i].pages, m->inputs[i].segment->pack, ahead);
        /* What the sample inflates is needed again to write the column. */
        m->streams[i].pages.kept = &m->images;
        m->streams[i].blocks.kept = partitions > 1 ? &m->images : NULL;
    }
    enum tl_code rc = list_columns(m, st);
    if (rc)
        return rc;
    struct tl_pack_options options = m->options->pack;
    if (!options.budget)
        options.budget = m->options->budget;
    rc = tl_pack_create(io, id, &options, &m->writer, st);
    for (uint32_t p = 0; !rc && p < m->partition_count; p++)
        if (m->sequences[p].rows > 0)
            rc = write_segment(m, p, st);
    if (!rc)
        rc = tl_pack_finish(m->writer, out, st);
    if (rc)
        tl_pack_abort(m->writer);
    m->writer = NULL;
    return rc;
}

void tl__merge_streams_close(struct tl__merge *m)
{
    for (uint32_t i = 0; m->streams && i < m->input_count; i++) {
        if (m->streams[i].column)
            tl_cursor_close(&m->streams[i].cursor);
        tl__window_deinit(&m->streams[i].blocks);
        tl__window_deinit(&m->streams[i].pages);
        free(m->streams[i].map);
    }
    free(m->streams);
    free(m->columns);
    tl__images_deinit(&m->images);
}
