/*
 * A vertical merge in two passes.
 *
 * Pass 1 walks the sort keys of all inputs, merchant by merchant. A merchant that only one input
 * has is taken as one run; otherwise a heap over (ts, input) gives the input whose rows come next,
 * and that run goes on until the next input's row is smaller. Runs are cut where a partition ends
 * and where rows are not kept, and are noted per partition as tokens.
 *
 *     token  u32: input << 24 | skip << 13 | length      length 1 … 8191 rows of `input`, after
 *            `skip` rows of it that are not of this partition; skip 2047: a u32 with the number
 *            follows
 *
 * Pass 2 writes a segment per partition, column by column: each input is decoded in slices of
 * 2,048 rows, and the tokens say which piece of which slice comes next. Codes of TEXT go through
 * an array per input; a code met for the first time loads its string and asks the writer's
 * dictionary, in the order of the output, so that codes are in order of first appearance again.
 *
 * With P partitions an input that holds rows of all of them is decoded up to P times.
 */
#include "storage/merge.h"

#include <stdlib.h>

#include "base/assert.h"
#include "storage/pack_int.h"

enum {
    LENGTH_BITS = 13,
    SKIP_BITS = 11,
    LENGTH_MAX = (1 << LENGTH_BITS) - 1,
    SKIP_FAR = (1 << SKIP_BITS) - 1, /* the number follows */
    AHEAD_TOTAL_BYTES = 16 << 20,    /* of all inputs' windows together */
    AHEAD_BYTES_MIN = 32 << 10,
    AHEAD_BYTES_MAX = 256 << 10,
    SLICE_ROWS = TL_VECTOR_ROWS_MAX,
};
#define CODE_NONE UINT32_MAX

_Static_assert(TL_MERGE_INPUTS_MAX <= 255, "an input's number fits a token");
_Static_assert(TL_BLOCK_ROWS % SLICE_ROWS == 0, "a slice lies in one block");

/* The tokens of one partition. */
struct sequence {
    uint32_t *tokens;
    uint32_t count, capacity;
    uint32_t rows;
    uint32_t last;      /* place of the last token's word */
    uint8_t last_input; /* its input; meaningless when count is 0 */
    uint32_t *next;     /* per input: the row after the last one taken */
};

/* One input while the keys are merged. */
struct keys {
    struct tl__window merchant_window, ts_window;
    struct tl_cursor merchant_cursor, ts_cursor;
    uint32_t base, count, pos; /* the slice in hand: rows [base, base + count) */
    bool ended;
    int64_t last_merchant, last_ts;
    int64_t merchants[SLICE_ROWS], ts[SLICE_ROWS];
};

/* One input while a column is streamed. */
struct stream {
    const struct tl__column *column; /* NULL: the input has no such column */
    struct tl__window blocks, pages;
    struct tl_cursor cursor;
    uint32_t row;    /* next row to take */
    uint32_t lo, hi; /* the slice in hand */
    bool has_nulls;
    uint32_t *map; /* TEXT: code to new code */
    uint32_t map_capacity;
    const uint8_t *page; /* the strings in hand, of codes [page_first, page_end) */
    uint32_t page_first, page_end;
    uint64_t values[SLICE_ROWS];
    uint64_t validity[SLICE_ROWS / 64];
};

struct merge {
    const struct tl_merge_input *inputs;
    uint32_t input_count;
    const struct tl_segment_meta *partitions;
    uint32_t partition_count;
    const struct tl_merge_options *options;
    struct sequence *sequences;
    uint32_t *nexts;
    struct keys *keys;
    struct stream *streams;
    struct tl_pack_writer *writer;
    size_t charged;
    uint32_t partition; /* the one found last */
    uint32_t heap[TL_MERGE_INPUTS_MAX];
    uint32_t heap_count;

    uint64_t out[SLICE_ROWS];
    uint64_t out_validity[SLICE_ROWS / 64];
    uint32_t out_count;
    bool out_nulls;
};

static enum tl_code charge(struct merge *m, size_t size, struct tl_status *st)
{
    if (m->options->budget) {
        enum tl_code rc = tl_budget_charge(m->options->budget, size, st);
        if (rc)
            return rc;
    }
    m->charged += size;
    return TL_OK;
}

static void *take(struct merge *m, size_t count, size_t size, struct tl_status *st)
{
    if (charge(m, count * size, st))
        return NULL;
    void *p = calloc(count, size);
    if (!p)
        (void)TL_FAIL(st, TL_LIMIT, "no memory to merge");
    return p;
}

static bool cancelled(const struct merge *m)
{
    /* Relaxed: a flag that orders nothing. */
    return m->options->cancel && atomic_load_explicit(m->options->cancel, memory_order_relaxed);
}

static uint32_t ahead_bytes(uint32_t input_count)
{
    uint32_t each = AHEAD_TOTAL_BYTES / (2 * input_count);
    if (each < AHEAD_BYTES_MIN)
        return AHEAD_BYTES_MIN;
    return each > AHEAD_BYTES_MAX ? AHEAD_BYTES_MAX : each;
}

/* ---- pass 1: the order of rows ---- */

static enum tl_code sequence_grow(struct merge *m, struct sequence *s, struct tl_status *st)
{
    uint32_t capacity = s->capacity ? s->capacity * 2 : 1024;
    if (capacity < s->capacity)
        return TL_FAIL(st, TL_LIMIT, "a merge of more than 2^31 runs");
    enum tl_code rc = charge(m, (size_t)(capacity - s->capacity) * sizeof(*s->tokens), st);
    if (rc)
        return rc;
    uint32_t *tokens = realloc(s->tokens, (size_t)capacity * sizeof(*tokens));
    if (!tokens)
        return TL_FAIL(st, TL_LIMIT, "no memory to merge");
    s->tokens = tokens;
    s->capacity = capacity;
    return TL_OK;
}

/* Rows [row, row + count) of an input come next in a partition. */
static enum tl_code sequence_add(struct merge *m, struct sequence *s, uint32_t input, uint32_t row,
                                 uint32_t count, struct tl_status *st)
{
    if (count > UINT32_MAX - TL_BLOCK_ROWS - s->rows)
        return TL_FAIL(st, TL_LIMIT, "a merged segment of more than 2^32 rows");
    s->rows += count;
    uint32_t skip = row - s->next[input];
    s->next[input] = row + count;
    if (skip == 0 && s->count > 0 && s->last_input == input) {
        uint32_t length = s->tokens[s->last] & LENGTH_MAX;
        uint32_t more = LENGTH_MAX - length < count ? LENGTH_MAX - length : count;
        s->tokens[s->last] += more;
        count -= more;
    }
    while (count > 0) {
        uint32_t n = count < LENGTH_MAX ? count : LENGTH_MAX;
        if (s->capacity - s->count < 2) {
            enum tl_code rc = sequence_grow(m, s, st);
            if (rc)
                return rc;
        }
        uint32_t near = skip < SKIP_FAR ? skip : SKIP_FAR;
        s->last = s->count;
        s->last_input = (uint8_t)input;
        s->tokens[s->count++] = input << (LENGTH_BITS + SKIP_BITS) | near << LENGTH_BITS | n;
        if (near == SKIP_FAR)
            s->tokens[s->count++] = skip;
        skip = 0;
        count -= n;
    }
    return TL_OK;
}

/* Only the rows that are kept. */
static enum tl_code add_kept(struct merge *m, struct sequence *s, uint32_t input, uint32_t row,
                             uint32_t count, struct tl_status *st)
{
    const uint64_t *kept = m->inputs[input].kept;
    if (!kept)
        return sequence_add(m, s, input, row, count, st);
    for (uint32_t end = row + count; row < end;) {
        while (row < end && !tl_bit_get(kept, row))
            row++;
        uint32_t from = row;
        while (row < end && tl_bit_get(kept, row))
            row++;
        if (row > from) {
            enum tl_code rc = sequence_add(m, s, input, from, row - from, st);
            if (rc)
                return rc;
        }
    }
    return TL_OK;
}

/* The partition of ts, into m->partition; false: it lies before that partition, in none. */
static bool find_partition(struct merge *m, int64_t ts)
{
    const struct tl_segment_meta *p;
    if (m->partition < m->partition_count) {
        p = &m->partitions[m->partition];
        if (ts >= p->start_us && ts < p->end_us)
            return true;
    }
    uint32_t lo = 0, hi = m->partition_count;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (m->partitions[mid].end_us <= ts)
            lo = mid + 1;
        else
            hi = mid;
    }
    m->partition = lo;
    return lo < m->partition_count && m->partitions[lo].start_us <= ts;
}

/* Rows of one merchant and input, ascending in time: one partition after the other. */
static enum tl_code add_run(struct merge *m, uint32_t input, uint32_t row, const int64_t *ts,
                            uint32_t count, struct tl_status *st)
{
    for (uint32_t i = 0; i < count;) {
        bool inside = find_partition(m, ts[i]);
        if (!inside && !m->options->leave_others)
            return TL_FAIL(st, TL_INVALID, "a row at %lld us belongs to no partition of the merge",
                           (long long)ts[i]);
        uint32_t n = count - i;
        int64_t end_us = INT64_MAX; /* where the partition ends, or the next one begins */
        if (m->partition < m->partition_count)
            end_us =
                inside ? m->partitions[m->partition].end_us : m->partitions[m->partition].start_us;
        if (ts[count - 1] >= end_us)
            for (n = 1; ts[i + n] < end_us; n++)
                ;
        enum tl_code rc = TL_OK;
        if (inside)
            rc = add_kept(m, &m->sequences[m->partition], input, row + i, n, st);
        if (rc)
            return rc;
        i += n;
    }
    return TL_OK;
}

static enum tl_code read_i64(struct tl_cursor *cur, uint32_t lo, uint32_t hi, int64_t *to,
                             struct tl_status *st)
{
    uint64_t validity[SLICE_ROWS / 64];
    struct tl_vector_buffer buffer = {to, validity};
    struct tl_vector v;
    enum tl_code rc = tl_cursor_read(cur, lo, hi, &buffer, &v, st);
    if (!rc && v.shape == TL_CONST)
        tl__fill_constant(TL_BIGINT, *(const int64_t *)v.data, to, hi - lo);
    return rc;
}

/* The next slice of the keys, checked to be sorted: the writer asserts what is read here. */
static enum tl_code keys_refill(struct merge *m, uint32_t input, struct tl_status *st)
{
    struct keys *k = &m->keys[input];
    const struct tl_merge_input *in = &m->inputs[input];
    uint32_t end = in->hi ? in->hi : tl_segment_rows(in->segment);
    k->base += k->count;
    k->count = SLICE_ROWS - k->base % SLICE_ROWS; /* to the slice's end: it lies in one block */
    k->count = end - k->base < k->count ? end - k->base : k->count;
    k->pos = 0;
    if (k->count == 0) {
        k->ended = true;
        return TL_OK;
    }
    if (cancelled(m))
        return TL_FAIL(st, TL_CANCELLED, "the merge was cancelled");
    enum tl_code rc = read_i64(&k->merchant_cursor, k->base, k->base + k->count, k->merchants, st);
    if (!rc)
        rc = read_i64(&k->ts_cursor, k->base, k->base + k->count, k->ts, st);
    if (rc)
        return rc;
    int64_t merchant = k->last_merchant, ts = k->last_ts;
    bool sorted = true;
    for (uint32_t i = 0; i < k->count; i++) {
        sorted &= (k->merchants[i] > merchant) | ((k->merchants[i] == merchant) & (k->ts[i] >= ts));
        merchant = k->merchants[i];
        ts = k->ts[i];
    }
    if (!sorted)
        return TL_FAIL(st, TL_CORRUPT, "rows of an input are not sorted");
    k->last_merchant = merchant;
    k->last_ts = ts;
    return TL_OK;
}

/* Takes rows of `merchant` from an input while they come before (bound_ts, bound_input). */
static enum tl_code take_run(struct merge *m, uint32_t input, int64_t merchant, int64_t bound_ts,
                             bool bound_too, bool bounded, struct tl_status *st)
{
    struct keys *k = &m->keys[input];
    for (;;) {
        uint32_t from = k->pos, i = from;
        if (!bounded)
            while (i < k->count && k->merchants[i] == merchant)
                i++;
        else
            while (i < k->count && k->merchants[i] == merchant &&
                   (k->ts[i] < bound_ts || (bound_too && k->ts[i] == bound_ts)))
                i++;
        k->pos = i;
        enum tl_code rc =
            i > from ? add_run(m, input, k->base + from, k->ts + from, i - from, st) : TL_OK;
        if (rc || i < k->count)
            return rc;
        rc = keys_refill(m, input, st);
        if (rc || k->ended)
            return rc;
    }
}

static bool comes_before(const struct merge *m, uint32_t a, uint32_t b)
{
    int64_t x = m->keys[a].ts[m->keys[a].pos], y = m->keys[b].ts[m->keys[b].pos];
    return x < y || (x == y && a < b);
}

static void heap_down(struct merge *m, uint32_t at)
{
    uint32_t *h = m->heap, moving = h[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= m->heap_count)
            break;
        if (child + 1 < m->heap_count && comes_before(m, h[child + 1], h[child]))
            child++;
        if (!comes_before(m, h[child], moving))
            break;
        h[at] = h[child];
        at = child;
    }
    h[at] = moving;
}

/* All rows of one merchant, who is in the inputs of the heap, at least two. */
static enum tl_code merge_merchant(struct merge *m, int64_t merchant, struct tl_status *st)
{
    for (uint32_t i = m->heap_count / 2; i-- > 0;)
        heap_down(m, i);
    while (m->heap_count > 1) {
        uint32_t first = m->heap[0], second = m->heap[1];
        if (m->heap_count > 2 && comes_before(m, m->heap[2], second))
            second = m->heap[2];
        const struct keys *bound = &m->keys[second];
        enum tl_code rc =
            take_run(m, first, merchant, bound->ts[bound->pos], first < second, true, st);
        if (rc)
            return rc;
        const struct keys *k = &m->keys[first];
        if (k->ended || k->merchants[k->pos] != merchant)
            m->heap[0] = m->heap[--m->heap_count];
        heap_down(m, 0);
    }
    return take_run(m, m->heap[0], merchant, 0, false, false, st);
}

static enum tl_code merge_keys(struct merge *m, struct tl_status *st)
{
    for (;;) {
        int64_t merchant = 0;
        m->heap_count = 0;
        for (uint32_t i = 0; i < m->input_count; i++) {
            const struct keys *k = &m->keys[i];
            if (k->ended)
                continue;
            int64_t mine = k->merchants[k->pos];
            if (m->heap_count == 0 || mine < merchant) {
                merchant = mine;
                m->heap_count = 0;
            }
            if (mine == merchant)
                m->heap[m->heap_count++] = i;
        }
        if (m->heap_count == 0)
            return TL_OK;
        enum tl_code rc = m->heap_count == 1
                              ? take_run(m, m->heap[0], merchant, 0, false, false, st)
                              : merge_merchant(m, merchant, st);
        if (rc)
            return rc;
    }
}

static enum tl_code pass_keys(struct merge *m, struct tl_status *st)
{
    m->keys = take(m, m->input_count, sizeof(*m->keys), st);
    if (!m->keys)
        return st->code;
    uint32_t ahead = ahead_bytes(m->input_count);
    enum tl_code rc = TL_OK;
    for (uint32_t i = 0; i < m->input_count; i++) {
        struct tl_segment *s = m->inputs[i].segment;
        struct keys *k = &m->keys[i];
        tl__window_init(&k->merchant_window, s->pack, ahead);
        tl__window_init(&k->ts_window, s->pack, ahead);
    }
    for (uint32_t i = 0; !rc && i < m->input_count; i++) {
        struct tl_segment *s = m->inputs[i].segment;
        struct keys *k = &m->keys[i];
        rc = tl_cursor_init(&k->merchant_cursor, tl_segment_column(s, TL_COLUMN_MERCHANT), NULL,
                            NULL, NULL, st);
        if (!rc)
            rc = tl_cursor_init(&k->ts_cursor, tl_segment_column(s, TL_COLUMN_TS), NULL, NULL, NULL,
                                st);
        k->merchant_cursor.window = &k->merchant_window;
        k->ts_cursor.window = &k->ts_window;
        k->last_merchant = k->last_ts = INT64_MIN;
        k->base = m->inputs[i].lo;
        if (!rc)
            rc = keys_refill(m, i, st);
    }
    if (!rc)
        rc = merge_keys(m, st);
    for (uint32_t i = 0; i < m->input_count; i++) {
        tl__window_deinit(&m->keys[i].merchant_window);
        tl__window_deinit(&m->keys[i].ts_window);
    }
    free(m->keys);
    m->keys = NULL;
    return rc;
}

/* ---- pass 2: the columns ---- */

static enum tl_code stream_open(struct merge *m, struct stream *s, const struct tl_column *column,
                                struct tl_status *st)
{
    s->column = column ? tl__column_of(column) : NULL;
    s->row = s->lo = s->hi = 0;
    s->page = NULL;
    s->page_first = s->page_end = 0;
    if (!column)
        return TL_OK;
    enum tl_code rc = tl_cursor_init(&s->cursor, column, NULL, NULL, NULL, st);
    if (rc)
        return rc;
    s->cursor.window = &s->blocks;
    if (column->distinct > s->map_capacity) {
        size_t more = (size_t)(column->distinct - s->map_capacity) * sizeof(*s->map);
        rc = charge(m, more, st);
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
static enum tl_code stream_fill(struct stream *s, struct tl_status *st)
{
    uint32_t lo = s->row & ~(uint32_t)(SLICE_ROWS - 1);
    uint32_t rows = s->column->pub.rows;
    uint32_t hi = rows - lo < SLICE_ROWS ? rows : lo + SLICE_ROWS;
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
static enum tl_code stream_intern(struct merge *m, struct stream *s, uint32_t code,
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
    return tl__pack_column_intern(m->writer, tl_strings_get(s->page, code - s->page_first),
                                  &s->map[code], st);
}

static enum tl_code out_flush(struct merge *m, struct tl_status *st)
{
    if (m->out_count == 0)
        return TL_OK;
    if (cancelled(m))
        return TL_FAIL(st, TL_CANCELLED, "the merge was cancelled");
    enum tl_code rc = tl__pack_column_put(m->writer, m->out, m->out_nulls ? m->out_validity : NULL,
                                          m->out_count, st);
    if (m->options->progress_values) /* relaxed: a counter that orders nothing */
        atomic_fetch_add_explicit(m->options->progress_values, m->out_count, memory_order_relaxed);
    m->out_count = 0;
    m->out_nulls = false;
    return rc;
}

/* The next n rows of the output come from a source without NULLs, or with these bits. */
static void put_validity(struct merge *m, const uint64_t *validity, uint32_t bit, uint32_t n)
{
    if (validity) {
        if (!m->out_nulls) {
            memset(m->out_validity, 0xff, sizeof(m->out_validity));
            m->out_nulls = true;
        }
        tl__bits_copy(m->out_validity, m->out_count, validity, bit, n);
    } else if (m->out_nulls) {
        tl__bits_fill(m->out_validity, m->out_count, n);
    }
}

static enum tl_code put_codes(struct merge *m, struct stream *s, uint32_t at, uint32_t n,
                              struct tl_status *st)
{
    const uint32_t *from = (const uint32_t *)(const void *)s->values + at;
    uint32_t *to = (uint32_t *)(void *)m->out + m->out_count;
    const uint32_t *map = s->map;
    for (uint32_t i = 0; i < n; i++) {
        if (s->has_nulls && !tl_bit_get(s->validity, at + i)) {
            to[i] = 0;
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

static void put_values(struct merge *m, const struct stream *s, uint32_t width, uint32_t at,
                       uint32_t n)
{
    /* Short runs are many: eight values are copied whatever n is, what is too much is overwritten
     * by the next run. */
    if (width == 8 && n <= 8 && at + 8 <= SLICE_ROWS && m->out_count + 8 <= SLICE_ROWS) {
        memcpy(m->out + m->out_count, s->values + at, 64);
        return;
    }
    memcpy((uint8_t *)m->out + (size_t)m->out_count * width,
           (const uint8_t *)s->values + (size_t)at * width, (size_t)n * width);
}

/* `length` rows of one input go out. */
static enum tl_code stream_take(struct merge *m, struct stream *s, struct tl_type type,
                                uint32_t width, uint32_t length, struct tl_status *st)
{
    static const uint64_t none[SLICE_ROWS / 64];
    while (length > 0) {
        uint32_t n = SLICE_ROWS - m->out_count;
        if (n > length)
            n = length;
        enum tl_code rc = TL_OK;
        if (!s->column) {
            memset((uint8_t *)m->out + (size_t)m->out_count * width, 0, (size_t)n * width);
            put_validity(m, none, 0, n);
        } else {
            if (s->row < s->lo || s->row >= s->hi)
                rc = stream_fill(s, st);
            if (rc)
                return rc;
            if (n > s->hi - s->row)
                n = s->hi - s->row;
            uint32_t at = s->row - s->lo;
            put_validity(m, s->has_nulls ? s->validity : NULL, at, n);
            if (type.kind == TL_TEXT)
                rc = put_codes(m, s, at, n, st);
            else
                put_values(m, s, width, at, n);
        }
        s->row += n;
        m->out_count += n;
        length -= n;
        if (!rc && m->out_count == SLICE_ROWS)
            rc = out_flush(m, st);
        if (rc)
            return rc;
    }
    return TL_OK;
}

static enum tl_code write_column(struct merge *m, const struct sequence *q, uint32_t id,
                                 struct tl_type type, struct tl_status *st)
{
    enum tl_code rc = tl_pack_column_begin(m->writer, id, type, st);
    for (uint32_t i = 0; !rc && i < m->input_count; i++)
        rc = stream_open(m, &m->streams[i], tl_segment_column(m->inputs[i].segment, id), st);
    uint32_t width = tl_block_width(type.kind);
    m->out_count = 0;
    m->out_nulls = false;
    for (uint32_t i = 0; !rc && i < q->count;) {
        uint32_t token = q->tokens[i++];
        struct stream *s = &m->streams[token >> (LENGTH_BITS + SKIP_BITS)];
        uint32_t skip = (token >> LENGTH_BITS) & SKIP_FAR;
        s->row += skip == SKIP_FAR ? q->tokens[i++] : skip;
        rc = stream_take(m, s, type, width, token & LENGTH_MAX, st);
    }
    if (!rc)
        rc = out_flush(m, st);
    return rc ? rc : tl_pack_column_end(m->writer, st);
}

/* The least column id of any input from *id on, with its type. False: there is none. */
static enum tl_code next_column(const struct merge *m, uint32_t *places, uint32_t *id,
                                struct tl_type *type, bool *found, struct tl_status *st)
{
    *found = false;
    for (uint32_t i = 0; i < m->input_count; i++) {
        const struct tl_segment *s = m->inputs[i].segment;
        if (places[i] == tl_segment_column_count(s))
            continue;
        const struct tl_column *c = tl_segment_column_at(s, places[i]);
        if (!*found || c->id < *id) {
            *id = c->id;
            *type = c->type;
            *found = true;
        }
    }
    for (uint32_t i = 0; *found && i < m->input_count; i++) {
        const struct tl_segment *s = m->inputs[i].segment;
        if (places[i] == tl_segment_column_count(s))
            continue;
        const struct tl_column *c = tl_segment_column_at(s, places[i]);
        if (c->id != *id)
            continue;
        if (!tl_type_eq(c->type, *type))
            return TL_FAIL(st, TL_INVALID, "column %u has different types in the inputs", *id);
        places[i]++;
    }
    return TL_OK;
}

static enum tl_code write_segment(struct merge *m, uint32_t partition, struct tl_status *st)
{
    const struct sequence *q = &m->sequences[partition];
    enum tl_code rc = tl_pack_segment_begin(m->writer, &m->partitions[partition], q->rows, st);
    uint32_t places[TL_MERGE_INPUTS_MAX] = {0};
    while (!rc) {
        uint32_t id = 0;
        struct tl_type type = {0};
        bool found;
        rc = next_column(m, places, &id, &type, &found, st);
        if (rc || !found)
            break;
        rc = write_column(m, q, id, type, st);
    }
    return rc ? rc : tl_pack_segment_end(m->writer, st);
}

static enum tl_code pass_columns(struct merge *m, struct tl_io *io, const struct tl_pack_id *id,
                                 struct tl_pack_info *out, struct tl_status *st)
{
    uint32_t ahead = ahead_bytes(m->input_count);
    m->streams = take(m, m->input_count, sizeof(*m->streams), st);
    if (!m->streams)
        return st->code;
    for (uint32_t i = 0; i < m->input_count; i++) {
        tl__window_init(&m->streams[i].blocks, m->inputs[i].segment->pack, ahead);
        tl__window_init(&m->streams[i].pages, m->inputs[i].segment->pack, ahead);
    }
    struct tl_pack_options options = m->options->pack;
    if (!options.budget)
        options.budget = m->options->budget;
    enum tl_code rc = tl_pack_create(io, id, &options, &m->writer, st);
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

static void merge_deinit(struct merge *m)
{
    for (uint32_t i = 0; m->sequences && i < m->partition_count; i++)
        free(m->sequences[i].tokens);
    for (uint32_t i = 0; m->streams && i < m->input_count; i++) {
        tl__window_deinit(&m->streams[i].blocks);
        tl__window_deinit(&m->streams[i].pages);
        free(m->streams[i].map);
    }
    free(m->sequences);
    free(m->nexts);
    free(m->streams);
    if (m->options->budget && m->charged > 0)
        tl_budget_release(m->options->budget, m->charged);
    free(m);
}

enum tl_code tl_merge(struct tl_io *io, const struct tl_pack_id *id,
                      const struct tl_merge_input *inputs, uint32_t input_count,
                      const struct tl_segment_meta *partitions, uint32_t partition_count,
                      const struct tl_merge_options *options, struct tl_pack_info *out,
                      struct tl_status *st)
{
    tl_assert(id->kind == TL_PACK_MERGE);
    for (uint32_t i = 0; i < partition_count; i++) {
        tl_assert(partitions[i].start_us < partitions[i].end_us);
        tl_assert(i == 0 || partitions[i].start_us >= partitions[i - 1].end_us);
    }
    if (input_count > TL_MERGE_INPUTS_MAX)
        return TL_FAIL(st, TL_LIMIT, "a merge of %u segments, more than %d", input_count,
                       TL_MERGE_INPUTS_MAX);
    for (uint32_t i = 0; i < input_count; i++)
        tl_assert(inputs[i].lo <= inputs[i].hi || inputs[i].hi == 0);
    for (uint32_t i = 0; i < input_count; i++)
        if (!tl_segment_column(inputs[i].segment, TL_COLUMN_MERCHANT) ||
            tl_segment_pack(inputs[i].segment)->id.kind == TL_PACK_DERIVED)
            return TL_FAIL(st, TL_INVALID, "input %u of the merge has no sort keys", i);
    if (input_count == 0 || partition_count == 0) {
        if (input_count > 0)
            return TL_FAIL(st, TL_INVALID, "a merge into no partition");
        *out = (struct tl_pack_info){0};
        return TL_OK;
    }

    struct merge *m = calloc(1, sizeof(*m));
    if (!m)
        return TL_FAIL(st, TL_LIMIT, "no memory to merge");
    m->inputs = inputs;
    m->input_count = input_count;
    m->partitions = partitions;
    m->partition_count = partition_count;
    m->options = options;
    m->sequences = take(m, partition_count, sizeof(*m->sequences), st);
    if (m->sequences)
        m->nexts = take(m, (size_t)partition_count * input_count, sizeof(*m->nexts), st);
    enum tl_code rc = m->nexts ? TL_OK : st->code;
    for (uint32_t p = 0; !rc && p < partition_count; p++)
        m->sequences[p].next = m->nexts + (size_t)p * input_count;
    if (!rc)
        rc = pass_keys(m, st);
    bool any = false;
    for (uint32_t p = 0; !rc && p < partition_count; p++)
        any = any || m->sequences[p].rows > 0;
    struct tl_pack_info info = {0};
    if (!rc && any)
        rc = pass_columns(m, io, id, &info, st);
    merge_deinit(m);
    if (rc) {
        char name[TL_PACK_NAME_MAX];
        tl_status_wrap(st, "merging into %s", tl_pack_name(id, name));
        return rc;
    }
    *out = info;
    return TL_OK;
}
