/*
 * storage/encoding_fast.c: the choice of an encoding from one pass of statistics.
 *
 * Hot packs are written while events arrive and read only until they are merged: what counts is
 * the time of encoding. One pass over each mini-block gives its least and greatest value and step
 * and the number of runs; from these the sizes of CONSTANT, RAW, FOR and DELTA follow exactly and
 * that of RLE nearly, and the smallest is written, once. Values are widened to 64 bits mini-block
 * by mini-block, in the first-level cache.
 *
 * Wide values with a common divisor (times in whole milliseconds, prices in whole cents) are
 * divided by it first; 32 of them usually say that there is none.
 *
 * What a value costs, 64-bit, with AVX2: widening and statistics 2 to 3 instructions, packing 4 to
 * 6; a scale 8 more. Moved: `width` bytes read, at most twice (once more with a scale), and what
 * is written.
 *
 * Not done here: dictionaries, zstd; they cost more than they save until the first merge.
 */
#include "base/assert.h"
#include "storage/encoding_int.h"

enum { RUN_ROWS_MIN = 16 };

struct minis {
    const uint8_t *values;
    uint32_t width, count, number;
    struct tl__fast_stats of[TL__MINI_MAX];
    int64_t min, max;
    uint32_t changes;
    /* Of values that were divided: v = base + scale * x, and min is 0; else scale is 1. */
    uint64_t base, scale;
};

static uint32_t rows_of(const struct minis *x, uint32_t m)
{
    uint32_t left = x->count - m * TL__MINI_ROWS;
    return left < TL__MINI_ROWS ? left : TL__MINI_ROWS;
}

/* The values of mini-block m, widened into `room` unless they lie as they must. */
static const uint64_t *load(const struct minis *x, uint32_t m, uint64_t room[TL__MINI_ROWS])
{
    uint32_t n = rows_of(x, m);
    const uint8_t *from = x->values + (size_t)m * TL__MINI_ROWS * x->width;
    if (x->width == 8)
        return (const uint64_t *)(const void *)from;
    tl__kernels->widen_u64(from, x->width, n, 0, room);
    return room;
}

static void look(struct minis *x)
{
    uint64_t room[TL__MINI_ROWS], last = 0;
    for (uint32_t m = 0; m < x->number; m++) {
        struct tl__fast_stats *s = &x->of[m];
        const uint64_t *v = load(x, m, room);
        tl__kernels->fast_stats(v, rows_of(x, m), s);
        if (m == 0) {
            x->min = s->min;
            x->max = s->max;
        } else {
            x->min = s->min < x->min ? s->min : x->min;
            x->max = s->max > x->max ? s->max : x->max;
            x->changes += v[0] != last;
        }
        x->changes += s->changes;
        last = v[rows_of(x, m) - 1];
    }
}

/* Divides wide values by what they have in common, into `room` for all of them. */
static void divide(struct minis *x, uint64_t *room)
{
    const uint64_t *v = (const uint64_t *)(const void *)x->values;
    uint64_t base = (uint64_t)x->min, range = (uint64_t)x->max - base;
    uint64_t scale = tl__common_divisor(v, x->count, base, range);
    if ((uint64_t)(tl__bit_width(range) - tl__bit_width(range / scale)) * x->count <= 64)
        return; /* the scale takes 8 bytes itself */
    struct tl__divisor d = tl__divisor_of(scale, range);
    for (uint32_t i = 0; i < x->count; i++)
        room[i] = ((v[i] - base) >> d.shift) * d.inverse;
    /* Steps are signed and may have wrapped: they are taken again rather than divided. */
    for (uint32_t m = 0; m < x->number; m++)
        tl__kernels->fast_stats(room + (size_t)m * TL__MINI_ROWS, rows_of(x, m), &x->of[m]);
    x->values = (const uint8_t *)room;
    x->base = base;
    x->scale = scale;
    x->min = 0;
    x->max = (int64_t)(range / scale);
}

/* ---- Sizes ---- */

struct for_plan {
    size_t size;
    uint32_t reference_bytes; /* 0: all references are the base */
};

static struct for_plan plan_for(const struct minis *x)
{
    size_t near = 0, far = 0;
    uint64_t reference_max = 0;
    for (uint32_t m = 0; m < x->number; m++) {
        uint64_t lo = (uint64_t)x->of[m].min - (uint64_t)x->min;
        uint64_t hi = (uint64_t)x->of[m].max - (uint64_t)x->min;
        near += tl__packed_size(rows_of(x, m), tl__bit_width(hi - lo));
        far += tl__packed_size(rows_of(x, m), tl__bit_width(hi));
        reference_max = lo > reference_max ? lo : reference_max;
    }
    uint32_t bytes = tl__byte_width(reference_max);
    near += (size_t)x->number * bytes;
    struct for_plan plan = {TL__HEADER_BYTES + 8 + x->number + (near < far ? near : far),
                            near < far ? bytes : 0};
    return plan;
}

struct delta_plan {
    size_t size;
    uint64_t step_min, start_min;
    uint32_t start_bytes, step_bytes;
};

/* The step that every packed step of mini-block m is above; one row has none. */
static uint64_t least_step(const struct minis *x, uint32_t m, uint64_t otherwise)
{
    return rows_of(x, m) > 1 ? (uint64_t)x->of[m].step_min : otherwise;
}

static uint32_t step_width(const struct minis *x, uint32_t m)
{
    const struct tl__fast_stats *s = &x->of[m];
    return rows_of(x, m) > 1 ? tl__bit_width((uint64_t)s->step_max - (uint64_t)s->step_min) : 0;
}

static struct delta_plan plan_delta(const struct minis *x)
{
    int64_t low = INT64_MAX, high = INT64_MIN;
    for (uint32_t m = 0; m < x->number; m++) {
        if (rows_of(x, m) == 1)
            continue;
        low = x->of[m].step_min < low ? x->of[m].step_min : low;
        high = x->of[m].step_min > high ? x->of[m].step_min : high;
    }
    struct delta_plan plan = {.step_min = low > high ? 0 : (uint64_t)low};
    plan.step_bytes = tl__byte_width(low > high ? 0 : (uint64_t)high - (uint64_t)low);
    int64_t start_min = INT64_MAX, start_max = INT64_MIN;
    uint64_t room[TL__MINI_ROWS];
    for (uint32_t m = 0; m < x->number; m++) {
        int64_t start = (int64_t)(load(x, m, room)[0] - least_step(x, m, plan.step_min));
        start_min = start < start_min ? start : start_min;
        start_max = start > start_max ? start : start_max;
        plan.size += tl__packed_size(rows_of(x, m), step_width(x, m));
    }
    plan.start_min = (uint64_t)start_min;
    plan.start_bytes = tl__byte_width((uint64_t)start_max - (uint64_t)start_min);
    plan.size +=
        TL__HEADER_BYTES + 16 + (size_t)x->number * (1 + plan.start_bytes + plan.step_bytes);
    return plan;
}

/* ---- Writing ---- */

/* Header, base and scale of values above x->min + start. */
static uint8_t *put_front(const struct minis *x, enum tl_encoding kind, uint32_t a, uint64_t start,
                          uint8_t *out)
{
    bool scaled = x->scale != 1;
    out = tl__put_header(out, kind, a, scaled ? TL__FLAG_SCALED : 0);
    out = tl__put_narrow(out, x->base + x->scale * start, 8);
    return scaled ? tl__put_narrow(out, x->scale, 8) : out;
}

static size_t write_constant(const struct minis *x, uint8_t *out)
{
    uint8_t *next = tl__put_header(out, TL_ENC_CONSTANT, 0, 0);
    return tl__finish_payload(out, tl__put_narrow(next, (uint64_t)x->min, 8));
}

static size_t write_raw(const struct minis *x, uint8_t *out)
{
    uint64_t room[TL__MINI_ROWS];
    uint32_t bytes = tl__byte_width((uint64_t)x->max - (uint64_t)x->min);
    uint8_t *next = put_front(x, TL_ENC_RAW, bytes, (uint64_t)x->min, out);
    for (uint32_t m = 0; m < x->number; m++) {
        tl__kernels->pack(load(x, m, room), 8 * bytes, rows_of(x, m), (uint64_t)x->min, next);
        next += (size_t)rows_of(x, m) * bytes;
    }
    return tl__finish_payload(out, next);
}

static size_t write_for(const struct minis *x, const struct for_plan *plan, uint8_t *out)
{
    uint64_t room[TL__MINI_ROWS];
    uint8_t *next = put_front(x, TL_ENC_FOR, plan->reference_bytes, (uint64_t)x->min, out);
    uint8_t *widths = next;
    next += x->number;
    for (uint32_t m = 0; m < x->number; m++) {
        int64_t least = plan->reference_bytes ? x->of[m].min : x->min;
        widths[m] = (uint8_t)tl__bit_width((uint64_t)x->of[m].max - (uint64_t)least);
        next = tl__put_narrow(next, (uint64_t)least - (uint64_t)x->min, plan->reference_bytes);
    }
    for (uint32_t m = 0; m < x->number; m++) {
        int64_t least = plan->reference_bytes ? x->of[m].min : x->min;
        tl__kernels->pack(load(x, m, room), widths[m], rows_of(x, m), (uint64_t)least, next);
        next += tl__packed_size(rows_of(x, m), widths[m]);
    }
    return tl__finish_payload(out, next);
}

static size_t write_delta(const struct minis *x, const struct delta_plan *plan, uint8_t *out)
{
    uint64_t room[TL__MINI_ROWS], steps[TL__MINI_ROWS];
    uint8_t *next =
        put_front(x, TL_ENC_DELTA, plan->start_bytes | plan->step_bytes << 4, plan->start_min, out);
    next = tl__put_narrow(next, plan->step_min, 8);
    for (uint32_t m = 0; m < x->number; m++)
        *next++ = (uint8_t)step_width(x, m);
    for (uint32_t m = 0; m < x->number; m++) {
        uint64_t start = load(x, m, room)[0] - least_step(x, m, plan->step_min);
        next = tl__put_narrow(next, start - plan->start_min, plan->start_bytes);
    }
    for (uint32_t m = 0; m < x->number; m++)
        next = tl__put_narrow(next, least_step(x, m, plan->step_min) - plan->step_min,
                              plan->step_bytes);
    for (uint32_t m = 0; m < x->number; m++) {
        const uint64_t *v = load(x, m, room);
        uint32_t rows = rows_of(x, m), width = step_width(x, m);
        uint64_t least = least_step(x, m, plan->step_min);
        steps[0] = least; /* the start value has it taken off already */
        for (uint32_t i = 1; i < rows; i++)
            steps[i] = v[i] - v[i - 1];
        tl__kernels->pack(steps, width, rows, least, next);
        next += tl__packed_size(rows, width);
    }
    return tl__finish_payload(out, next);
}

static size_t write_leaf(const struct minis *x, uint8_t *out)
{
    if (x->min == x->max)
        return write_constant(x, out);
    size_t raw = TL__HEADER_BYTES + 8 +
                 (size_t)x->count * tl__byte_width((uint64_t)x->max - (uint64_t)x->min);
    struct for_plan packed = plan_for(x);
    /* Narrow values are codes, dates and flags: their steps gain nothing. */
    struct delta_plan delta = {.size = SIZE_MAX};
    if (x->width == 8)
        delta = plan_delta(x);
    size_t size = delta.size < packed.size - packed.size / 32 ? delta.size : packed.size;
    if (raw <= size + size / 64)
        return write_raw(x, out);
    return size == packed.size ? write_for(x, &packed, out) : write_delta(x, &delta, out);
}

static struct minis minis_of(const void *values, uint32_t width, uint32_t count)
{
    struct minis x = {.values = values,
                      .width = width,
                      .count = count,
                      .scale = 1,
                      .number = (count + TL__MINI_ROWS - 1) / TL__MINI_ROWS};
    look(&x);
    return x;
}

/* Each value is written and kept where its run ends: no branch. */
static uint32_t make_runs(const struct minis *x, uint64_t *values, uint64_t *ends)
{
    uint64_t room[TL__MINI_ROWS];
    uint32_t runs = 0, row = 0;
    for (uint32_t m = 0; m < x->number; m++) {
        const uint64_t *v = load(x, m, room);
        uint32_t rows = rows_of(x, m);
        /* The run before ends here, unless it goes on. */
        if (m > 0)
            runs += values[runs] != v[0];
        for (uint32_t i = 0; i + 1 < rows; i++) {
            values[runs] = v[i];
            ends[runs] = ++row;
            runs += v[i] != v[i + 1];
        }
        values[runs] = v[rows - 1];
        ends[runs] = ++row;
    }
    return runs + 1;
}

size_t tl__encode_fast(const void *values, uint32_t width, uint32_t count, uint64_t *run_values,
                       uint64_t *run_ends, uint8_t *out)
{
    tl_assert(width == 1 || width == 4 || width == 8);
    struct minis x = minis_of(values, width, count);
    uint32_t runs = x.changes + 1;
    size_t packed = plan_for(&x).size;
    uint32_t run_bits =
        tl__bit_width((uint64_t)x.max - (uint64_t)x.min) + tl__bit_width(count / runs) + 2;
    if (x.min == x.max || runs > count / 2 ||
        ((uint64_t)runs * run_bits + 7) / 8 + RUN_ROWS_MIN * 4 > packed - packed / 4) {
        if (width == 8 && x.min < x.max)
            divide(&x, run_values);
        size_t size = write_leaf(&x, out);
        tl_assert(size + 8 <= TL__META_MAX);
        return size;
    }
    uint32_t made = make_runs(&x, run_values, run_ends);
    tl_assert(made == runs);
    uint8_t *next = tl__put_header(out, TL_ENC_RLE, 0, 0);
    next = tl__put_narrow(next, runs, 4);
    struct minis part = minis_of(run_values, 8, runs);
    next += write_leaf(&part, next);
    part = minis_of(run_ends, 8, runs);
    next += write_leaf(&part, next);
    return tl__finish_payload(out, next);
}
