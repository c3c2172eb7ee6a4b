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
 * With P partitions an input that holds rows of all of them is decoded up to P times; what was
 * inflated for one is kept for the next while there is room.
 */
#include "storage/merge.h"

#include <stdlib.h>

#include "base/assert.h"
#include "storage/merge_int.h"

enum {
    AHEAD_TOTAL_BYTES = 16 << 20, /* of all inputs' windows together */
    AHEAD_BYTES_MIN = 32 << 10,
    AHEAD_BYTES_MAX = 256 << 10,
};

/* One input while the keys are merged. */
struct tl__keys {
    struct tl__window merchant_window, ts_window;
    struct tl_cursor merchant_cursor, ts_cursor;
    uint32_t base, count, pos; /* the slice in hand: rows [base, base + count) */
    bool ended;
    int64_t last_merchant, last_ts;
    int64_t merchants[MERGE_SLICE_ROWS], ts[MERGE_SLICE_ROWS];
};

enum tl_code tl__merge_charge(struct tl__merge *m, size_t size, struct tl_status *st)
{
    if (m->options->budget) {
        enum tl_code rc = tl_budget_charge(m->options->budget, size, st);
        if (rc)
            return rc;
    }
    m->charged += size;
    return TL_OK;
}

void tl__merge_uncharge(struct tl__merge *m, size_t size)
{
    if (m->options->budget)
        tl_budget_release(m->options->budget, size);
    m->charged -= size;
}

void *tl__merge_take(struct tl__merge *m, size_t count, size_t size, struct tl_status *st)
{
    if (tl__merge_charge(m, count * size, st))
        return NULL;
    void *p = calloc(count, size);
    if (!p)
        (void)TL_FAIL(st, TL_LIMIT, "no memory to merge");
    return p;
}

bool tl__merge_cancelled(const struct tl__merge *m)
{
    /* Relaxed: a flag that orders nothing. */
    return m->options->cancel && atomic_load_explicit(m->options->cancel, memory_order_relaxed);
}

uint32_t tl__merge_ahead_bytes(uint32_t input_count)
{
    uint32_t each = AHEAD_TOTAL_BYTES / (2 * input_count);
    if (each < AHEAD_BYTES_MIN)
        return AHEAD_BYTES_MIN;
    return each > AHEAD_BYTES_MAX ? AHEAD_BYTES_MAX : each;
}

/* ---- pass 1: the order of rows ---- */

static enum tl_code sequence_grow(struct tl__merge *m, struct tl__sequence *s, struct tl_status *st)
{
    uint32_t capacity = s->capacity ? s->capacity * 2 : 1024;
    if (capacity < s->capacity)
        return TL_FAIL(st, TL_LIMIT, "a merge of more than 2^31 runs");
    enum tl_code rc =
        tl__merge_charge(m, (size_t)(capacity - s->capacity) * sizeof(*s->tokens), st);
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
static enum tl_code sequence_add(struct tl__merge *m, struct tl__sequence *s, uint32_t input,
                                 uint32_t row, uint32_t count, struct tl_status *st)
{
    if (count > UINT32_MAX - TL_BLOCK_ROWS - s->rows)
        return TL_FAIL(st, TL_LIMIT, "a merged segment of more than 2^32 rows");
    s->rows += count;
    uint32_t skip = row - s->next[input];
    s->next[input] = row + count;
    if (skip == 0 && s->count > 0 && s->last_input == input) {
        uint32_t length = s->tokens[s->last] & TOKEN_LENGTH_MAX;
        uint32_t more = TOKEN_LENGTH_MAX - length < count ? TOKEN_LENGTH_MAX - length : count;
        s->tokens[s->last] += more;
        count -= more;
    }
    while (count > 0) {
        uint32_t n = count < TOKEN_LENGTH_MAX ? count : TOKEN_LENGTH_MAX;
        if (s->capacity - s->count < 2) {
            enum tl_code rc = sequence_grow(m, s, st);
            if (rc)
                return rc;
        }
        uint32_t near = skip < TOKEN_SKIP_FAR ? skip : TOKEN_SKIP_FAR;
        s->last = s->count;
        s->last_input = (uint8_t)input;
        s->tokens[s->count++] =
            input << (TOKEN_LENGTH_BITS + TOKEN_SKIP_BITS) | near << TOKEN_LENGTH_BITS | n;
        if (near == TOKEN_SKIP_FAR)
            s->tokens[s->count++] = skip;
        skip = 0;
        count -= n;
    }
    return TL_OK;
}

/* Only the rows that are kept. */
static enum tl_code add_kept(struct tl__merge *m, struct tl__sequence *s, uint32_t input,
                             uint32_t row, uint32_t count, struct tl_status *st)
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
static bool find_partition(struct tl__merge *m, int64_t ts)
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
static enum tl_code add_run(struct tl__merge *m, uint32_t input, uint32_t row, const int64_t *ts,
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
    uint64_t validity[MERGE_SLICE_ROWS / 64];
    struct tl_vector_buffer buffer = {to, validity};
    struct tl_vector v;
    enum tl_code rc = tl_cursor_read(cur, lo, hi, &buffer, &v, st);
    if (!rc && v.shape == TL_CONST)
        tl__fill_constant(TL_BIGINT, *(const int64_t *)v.data, to, hi - lo);
    return rc;
}

/* The next slice of the keys, checked to be sorted: the writer asserts what is read here. */
static enum tl_code keys_refill(struct tl__merge *m, uint32_t input, struct tl_status *st)
{
    struct tl__keys *k = &m->keys[input];
    const struct tl_merge_input *in = &m->inputs[input];
    uint32_t end = in->hi ? in->hi : tl_segment_rows(in->segment);
    k->base += k->count;
    k->count = MERGE_SLICE_ROWS -
               k->base % MERGE_SLICE_ROWS; /* to the slice's end: it lies in one block */
    k->count = end - k->base < k->count ? end - k->base : k->count;
    k->pos = 0;
    if (k->count == 0) {
        k->ended = true;
        return TL_OK;
    }
    if (tl__merge_cancelled(m))
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
static enum tl_code take_run(struct tl__merge *m, uint32_t input, int64_t merchant,
                             int64_t bound_ts, bool bound_too, bool bounded, struct tl_status *st)
{
    struct tl__keys *k = &m->keys[input];
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

static bool comes_before(const struct tl__merge *m, uint32_t a, uint32_t b)
{
    int64_t x = m->keys[a].ts[m->keys[a].pos], y = m->keys[b].ts[m->keys[b].pos];
    return x < y || (x == y && a < b);
}

static void heap_down(struct tl__merge *m, uint32_t at)
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
static enum tl_code merge_merchant(struct tl__merge *m, int64_t merchant, struct tl_status *st)
{
    for (uint32_t i = m->heap_count / 2; i-- > 0;)
        heap_down(m, i);
    while (m->heap_count > 1) {
        uint32_t first = m->heap[0], second = m->heap[1];
        if (m->heap_count > 2 && comes_before(m, m->heap[2], second))
            second = m->heap[2];
        const struct tl__keys *bound = &m->keys[second];
        enum tl_code rc =
            take_run(m, first, merchant, bound->ts[bound->pos], first < second, true, st);
        if (rc)
            return rc;
        const struct tl__keys *k = &m->keys[first];
        if (k->ended || k->merchants[k->pos] != merchant)
            m->heap[0] = m->heap[--m->heap_count];
        heap_down(m, 0);
    }
    return take_run(m, m->heap[0], merchant, 0, false, false, st);
}

static enum tl_code merge_keys(struct tl__merge *m, struct tl_status *st)
{
    for (;;) {
        int64_t merchant = 0;
        m->heap_count = 0;
        for (uint32_t i = 0; i < m->input_count; i++) {
            const struct tl__keys *k = &m->keys[i];
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

static enum tl_code pass_keys(struct tl__merge *m, struct tl_status *st)
{
    m->keys = tl__merge_take(m, m->input_count, sizeof(*m->keys), st);
    if (!m->keys)
        return st->code;
    uint32_t ahead = tl__merge_ahead_bytes(m->input_count);
    enum tl_code rc = TL_OK;
    for (uint32_t i = 0; i < m->input_count; i++) {
        struct tl_segment *s = m->inputs[i].segment;
        struct tl__keys *k = &m->keys[i];
        tl__window_init(&k->merchant_window, s->pack, ahead);
        tl__window_init(&k->ts_window, s->pack, ahead);
    }
    for (uint32_t i = 0; !rc && i < m->input_count; i++) {
        struct tl_segment *s = m->inputs[i].segment;
        struct tl__keys *k = &m->keys[i];
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

static void merge_deinit(struct tl__merge *m)
{
    for (uint32_t i = 0; m->sequences && i < m->partition_count; i++)
        free(m->sequences[i].tokens);
    tl__merge_streams_close(m);
    free(m->sequences);
    free(m->nexts);
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

    struct tl__merge *m = calloc(1, sizeof(*m));
    if (!m)
        return TL_FAIL(st, TL_LIMIT, "no memory to merge");
    m->inputs = inputs;
    m->input_count = input_count;
    m->partitions = partitions;
    m->partition_count = partition_count;
    m->options = options;
    m->sequences = tl__merge_take(m, partition_count, sizeof(*m->sequences), st);
    if (m->sequences)
        m->nexts = tl__merge_take(m, (size_t)partition_count * input_count, sizeof(*m->nexts), st);
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
        rc = tl__merge_columns(m, io, id, &info, st);
    merge_deinit(m);
    if (rc) {
        char name[TL_PACK_NAME_MAX];
        tl_status_wrap(st, "merging into %s", tl_pack_name(id, name));
        return rc;
    }
    *out = info;
    return TL_OK;
}
