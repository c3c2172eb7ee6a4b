#include "wire/result.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "wire/call.h"
#include "wire/pb.h"

enum {
    RESPONSE_COLUMNS = 1,
    RESPONSE_BATCH = 2,
    RESPONSE_ELAPSED = 3,
    RESPONSE_DONE = 4,
    RESULT_NAME = 1,
    RESULT_KIND = 2,
    RESULT_SCALE = 3,
    BATCH_ROWS = 2,
    BATCH_COLUMNS = 3,
    COLUMN_VALIDITY = 2,
    COLUMN_INTS = 3,
    COLUMN_DELTA = 4,
    COLUMN_DOUBLES = 5,
    COLUMN_BOOLS = 6,
    COLUMN_BLOB = 7,
    COLUMN_LENGTHS = 8,
    COLUMN_CODES = 9,
    SLOTS = 4096 /* twice the rows of a vector: codes of one chunk */
};

_Static_assert(SLOTS >= 2 * TL_VECTOR_ROWS_MAX, "the table of codes is at most half full");

void tl_result_encoder_init(struct tl_result_encoder *e, const struct tl_plan *plan,
                            const char *time_zone)
{
    *e = (struct tl_result_encoder){.plan = plan, .time_zone = time_zone};
    tl_buffer_init(&e->column, "column of a result", TL_ANSWER_BYTES_MAX);
    tl_buffer_init(&e->batch, "rows of a result", TL_ANSWER_BYTES_MAX);
    tl_buffer_init(&e->message, "message of a result", TL_ANSWER_BYTES_MAX);
}

void tl_result_encoder_deinit(struct tl_result_encoder *e)
{
    tl_buffer_deinit(&e->column);
    tl_buffer_deinit(&e->batch);
    tl_buffer_deinit(&e->message);
}

/* Rows [lo, hi) of one vector. */
struct part {
    const struct tl_vector *v;
    uint32_t lo, hi;
};

static bool valid_at(const struct part *p, uint32_t row)
{
    return tl_vector_valid(p->v, row);
}

static void put_validity(const struct part *p, struct tl_buffer *out)
{
    if (!p->v->validity && p->v->type.kind != TL_NULL)
        return;
    uint32_t n = p->hi - p->lo;
    bool all = true;
    uint8_t bits[TL_VECTOR_ROWS_MAX / 8] = {0};
    for (uint32_t i = 0; i < n; i++) {
        if (p->v->type.kind != TL_NULL && valid_at(p, p->lo + i))
            bits[i / 8] = (uint8_t)(bits[i / 8] | 1 << (i % 8));
        else
            all = false;
    }
    if (!all)
        tl_pb_put_bytes(out, COLUMN_VALIDITY, tl_slice_of(bits, (n + 7) / 8));
}

static int64_t int_at(const struct tl_vector *v, uint32_t row)
{
    if (v->shape == TL_CONST)
        row = 0;
    if (v->type.kind == TL_DATE)
        return ((const int32_t *)v->data)[row];
    return ((const int64_t *)v->data)[row];
}

static void put_ints(const struct part *p, struct tl_buffer *out)
{
    uint64_t values[TL_VECTOR_ROWS_MAX];
    uint32_t n = p->hi - p->lo;
    size_t plain = 0, delta = 0;
    uint64_t last = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (valid_at(p, p->lo + i))
            values[i] = (uint64_t)int_at(p->v, p->lo + i);
        else
            values[i] = last; /* ignored; the cheapest */
        plain += tl_pb_varint_size(tl_pb_zigzag((int64_t)values[i]));
        delta += tl_pb_varint_size(tl_pb_zigzag((int64_t)(values[i] - last)));
        last = values[i];
    }
    bool use_delta = delta < plain;
    size_t size = use_delta ? delta : plain;
    tl_pb_put_head(out, COLUMN_INTS, size);
    uint8_t *to = tl_buffer_reserve(out, size);
    if (!to)
        return;
    last = 0;
    for (uint32_t i = 0; i < n; i++) {
        to = tl_pb_write_varint(to, tl_pb_zigzag((int64_t)(values[i] - last)));
        last = use_delta ? values[i] : 0;
    }
    out->size += size;
    tl_pb_put_uint(out, COLUMN_DELTA, use_delta);
}

static void put_doubles(const struct part *p, struct tl_buffer *out)
{
    uint32_t n = p->hi - p->lo;
    tl_pb_put_head(out, COLUMN_DOUBLES, (size_t)n * 8);
    uint8_t *to = tl_buffer_reserve(out, (size_t)n * 8);
    if (!to)
        return;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t bits = 0;
        if (valid_at(p, p->lo + i))
            memcpy(&bits, (const double *)p->v->data + (p->v->shape == TL_CONST ? 0 : p->lo + i),
                   sizeof(bits));
        tl_put_u64le(to + 8 * (size_t)i, bits);
    }
    out->size += (size_t)n * 8;
}

static void put_bools(const struct part *p, struct tl_buffer *out)
{
    uint32_t n = p->hi - p->lo;
    tl_pb_put_head(out, COLUMN_BOOLS, n);
    uint8_t *to = tl_buffer_reserve(out, n);
    if (!to)
        return;
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *data = p->v->data;
        to[i] = valid_at(p, p->lo + i) ? data[p->v->shape == TL_CONST ? 0 : p->lo + i] : 0;
    }
    out->size += n;
}

static void put_lengths(const uint32_t *lengths, uint32_t n, uint32_t number, struct tl_buffer *out)
{
    size_t size = 0;
    for (uint32_t i = 0; i < n; i++)
        size += tl_pb_varint_size(lengths[i]);
    tl_pb_put_head(out, number, size);
    uint8_t *to = tl_buffer_reserve(out, size);
    if (!to)
        return;
    for (uint32_t i = 0; i < n; i++)
        to = tl_pb_write_varint(to, lengths[i]);
    out->size += size;
}

/* Texts as they stand; also those of types that travel as text. */
static void put_slices(const struct tl_slice *slices, uint32_t n, struct tl_buffer *out)
{
    uint32_t lengths[TL_VECTOR_ROWS_MAX];
    size_t total = 0;
    for (uint32_t i = 0; i < n; i++) {
        lengths[i] = (uint32_t)slices[i].size;
        total += slices[i].size;
    }
    if (total) {
        tl_pb_put_head(out, COLUMN_BLOB, total);
        uint8_t *to = tl_buffer_reserve(out, total);
        if (!to)
            return;
        for (uint32_t i = 0; i < n; i++) {
            if (slices[i].size)
                memcpy(to, slices[i].data, slices[i].size);
            to += slices[i].size;
        }
        out->size += total;
    }
    put_lengths(lengths, n, COLUMN_LENGTHS, out);
}

static void put_flat_texts(const struct part *p, struct tl_buffer *out)
{
    struct tl_slice slices[TL_VECTOR_ROWS_MAX];
    uint32_t n = p->hi - p->lo;
    const struct tl_slice *data = p->v->data;
    for (uint32_t i = 0; i < n; i++)
        slices[i] = valid_at(p, p->lo + i) ? data[p->lo + i] : tl_slice_of(NULL, 0);
    put_slices(slices, n, out);
}

/* One value for all rows. */
static void put_const_text(const struct part *p, struct tl_buffer *out)
{
    struct tl_slice value = tl_slice_of(NULL, 0);
    uint32_t n = p->hi - p->lo;
    if (valid_at(p, p->lo))
        value = *(const struct tl_slice *)p->v->data;
    put_slices(&value, 1, out);
    tl_pb_put_head(out, COLUMN_CODES, n);
    uint8_t *to = tl_buffer_reserve(out, n);
    if (!to)
        return;
    memset(to, 0, n);
    out->size += n;
}

/* The codes that occur, renumbered in order of first appearance, and their strings. */
static enum tl_code put_dict_texts(const struct part *p, struct tl_buffer *out,
                                   struct tl_status *st)
{
    uint32_t used[TL_VECTOR_ROWS_MAX] = {0}, codes[TL_VECTOR_ROWS_MAX];
    uint16_t slots[SLOTS] = {0}; /* index into used, plus 1 */
    struct tl_slice slices[TL_VECTOR_ROWS_MAX];
    uint32_t n = p->hi - p->lo, count = 0;
    for (uint32_t i = 0; i < n; i++) {
        codes[i] = 0;
        if (!valid_at(p, p->lo + i))
            continue;
        uint32_t code = p->v->codes[p->lo + i];
        uint32_t at = (code * 2654435761u) >> 20;
        while (slots[at] && used[slots[at] - 1] != code)
            at = (at + 1) % SLOTS;
        if (!slots[at]) {
            used[count++] = code;
            slots[at] = (uint16_t)count;
        }
        codes[i] = slots[at] - 1u;
    }
    enum tl_code rc = tl_dict_get(p->v->dict, used, count, slices, st);
    if (rc)
        return rc;
    if (count == 0)
        slices[count++] = tl_slice_of(NULL, 0); /* all NULL: code 0 must exist */
    put_slices(slices, count, out);
    put_lengths(codes, n, COLUMN_CODES, out);
    return TL_OK;
}

/* Types that have no form of their own on the wire. */
static enum tl_code put_printed(const struct part *p, const char *time_zone, struct tl_buffer *out,
                                struct tl_status *st)
{
    struct tl_buffer text;
    struct tl_slice slices[TL_VECTOR_ROWS_MAX];
    size_t starts[TL_VECTOR_ROWS_MAX + 1];
    uint32_t n = p->hi - p->lo;
    enum tl_code rc = TL_OK;
    tl_buffer_init(&text, "texts of a result", TL_ANSWER_BYTES_MAX);
    for (uint32_t i = 0; i < n && rc == TL_OK; i++) {
        starts[i] = text.size;
        if (p->v->type.kind != TL_NULL && valid_at(p, p->lo + i))
            rc = tally_value_print(p->v, p->lo + i, time_zone, &text, st);
    }
    if (rc == TL_OK)
        rc = tl_buffer_check(&text, st);
    if (rc == TL_OK) {
        starts[n] = text.size;
        for (uint32_t i = 0; i < n; i++)
            slices[i] =
                tl_slice_of(text.data ? text.data + starts[i] : NULL, starts[i + 1] - starts[i]);
        put_slices(slices, n, out);
    }
    tl_buffer_deinit(&text);
    return rc;
}

static enum tl_code put_column(struct tl_result_encoder *e, const struct part *p,
                               struct tl_status *st)
{
    struct tl_buffer *out = &e->column;
    tl_buffer_clear(out);
    put_validity(p, out);
    enum tl_code rc = TL_OK;
    switch (p->v->type.kind) {
    case TL_BOOLEAN:
        put_bools(p, out);
        break;
    case TL_DOUBLE:
        put_doubles(p, out);
        break;
    case TL_BIGINT:
    case TL_DECIMAL64:
    case TL_DATE:
    case TL_TIMESTAMP:
    case TL_TIMESTAMPTZ:
        put_ints(p, out);
        break;
    case TL_TEXT:
        if (p->v->shape == TL_DICT)
            rc = put_dict_texts(p, out, st);
        else if (p->v->shape == TL_CONST)
            put_const_text(p, out);
        else
            put_flat_texts(p, out);
        break;
    default:
        rc = put_printed(p, e->time_zone, out, st);
    }
    return rc ? rc : tl_buffer_check(out, st);
}

static void put_head(struct tl_result_encoder *e)
{
    e->head_sent = true;
    for (uint32_t i = 0; i < e->plan->output_count; i++) {
        const struct tl_output_column *c = &e->plan->outputs[i];
        tl_buffer_clear(&e->column);
        tl_pb_put_str(&e->column, RESULT_NAME, c->name);
        tl_pb_put_uint(&e->column, RESULT_KIND, c->type.kind);
        tl_pb_put_uint(&e->column, RESULT_SCALE, c->type.scale);
        tl_pb_put_head(&e->message, RESPONSE_COLUMNS, e->column.size);
        tl_buffer_put(&e->message, e->column.data, e->column.size);
    }
}

void tl_result_flush(struct tl_result_encoder *e, struct tl_buffer *out)
{
    if (!e->pending)
        return;
    size_t begin = tl_frame_begin(out);
    tl_buffer_put(out, e->message.data, e->message.size);
    tl_frame_end(out, begin);
    tl_buffer_clear(&e->message);
    e->pending = false;
}

static enum tl_code put_rows(struct tl_result_encoder *e, const struct tl_chunk *chunk, uint32_t lo,
                             uint32_t hi, struct tl_status *st)
{
    tl_buffer_clear(&e->batch);
    tl_pb_put_uint(&e->batch, BATCH_ROWS, hi - lo);
    for (uint32_t i = 0; i < e->plan->output_count; i++) {
        struct part p = {&chunk->columns[i], lo, hi};
        enum tl_code rc = put_column(e, &p, st);
        if (rc)
            return rc;
        tl_pb_put_head(&e->batch, BATCH_COLUMNS, e->column.size);
        tl_buffer_put(&e->batch, e->column.data, e->column.size);
    }
    return tl_buffer_check(&e->batch, st);
}

enum tl_code tl_result_put(struct tl_result_encoder *e, const struct tl_chunk *chunk,
                           struct tl_buffer *out, struct tl_status *st)
{
    tl_assert(chunk->count <= TL_VECTOR_ROWS_MAX);
    for (uint32_t lo = 0, n = chunk->count; lo < chunk->count;) {
        if (n > chunk->count - lo)
            n = chunk->count - lo;
        struct tl_status part_st = TL_STATUS_INIT;
        enum tl_code rc = put_rows(e, chunk, lo, lo + n, &part_st);
        if ((rc == TL_LIMIT || (rc == TL_OK && e->batch.size > TL_PAGE_BYTES)) && n > 1) {
            n /= 2; /* fewer rows, a smaller message */
            continue;
        }
        if (rc) {
            *st = part_st;
            return rc;
        }
        tl_result_flush(e, out);
        if (!e->head_sent)
            put_head(e);
        tl_pb_put_head(&e->message, RESPONSE_BATCH, e->batch.size);
        tl_buffer_put(&e->message, e->batch.data, e->batch.size);
        e->pending = true;
        rc = tl_buffer_check(&e->message, st);
        if (rc)
            return rc;
        lo += n;
    }
    return tl_buffer_check(out, st);
}

enum tl_code tl_result_end(struct tl_result_encoder *e, uint64_t elapsed_us, struct tl_buffer *out,
                           struct tl_status *st)
{
    if (!e->head_sent)
        put_head(e);
    tl_pb_put_uint(&e->message, RESPONSE_ELAPSED, elapsed_us);
    tl_pb_put_uint(&e->message, RESPONSE_DONE, 1);
    e->pending = true;
    enum tl_code rc = tl_buffer_check(&e->message, st);
    tl_result_flush(e, out);
    return rc ? rc : tl_buffer_check(out, st);
}
