/*
 * storage/decoding_values_int.h: the decoders of numbers, for VALUE (uint64_t or uint32_t).
 *
 * Included by decoding.c alone, once per width, so it has no include guard; NAME(x) gives each
 * function the width's suffix. Everything here trusts what tl_payload_check has proved.
 */

static void NAME(fill)(VALUE *out, uint32_t count, VALUE value)
{
    for (uint32_t i = 0; i < count; i++)
        out[i] = value;
}

/* Rows [start, start + n) of one mini-block, `add` added. The bytes of row 8k are whole: up to
 * the first of those, values are cut out one by one. */
static void NAME(mini_unpack)(const uint8_t *in, uint32_t width, uint32_t start, uint32_t n,
                              VALUE add, VALUE *out)
{
    uint32_t head = min_u32(n, (8 - start % 8) % 8);
    for (uint32_t i = 0; i < head; i++)
        out[i] = (VALUE)tl__unpack_one(in, width, (uint64_t)(start + i) * width) + add;
    if (n > head)
        tl__kernels->NAME(unpack)(in + (size_t)(start + head) / 8 * width, width, n - head, add,
                                  out + head);
}

static void NAME(for_decode)(const struct leaf *l, uint32_t count, uint32_t lo, uint32_t hi,
                             VALUE *out)
{
    const uint8_t *data = leaf_data(l, lo / TL__MINI_ROWS);
    VALUE base = l->scale == 1 ? (VALUE)l->base : 0;
    VALUE *next = out;
    (void)count;
    for (uint32_t row = lo; row < hi;) {
        uint32_t m = row / TL__MINI_ROWS, start = row % TL__MINI_ROWS;
        uint32_t n = min_u32(TL__MINI_ROWS - start, hi - row);
        NAME(mini_unpack)(data, l->widths[m], start, n, base + (VALUE)leaf_start(l, m), next);
        data += (size_t)l->widths[m] * (TL__MINI_ROWS / 8);
        next += n;
        row += n;
    }
}

static void NAME(delta_decode)(const struct leaf *l, uint32_t count, uint32_t lo, uint32_t hi,
                               VALUE *out)
{
    const uint8_t *data = leaf_data(l, lo / TL__MINI_ROWS);
    VALUE base = l->scale == 1 ? (VALUE)l->base : 0;
    VALUE *next = out;
    (void)count;
    for (uint32_t row = lo; row < hi;) {
        uint32_t m = row / TL__MINI_ROWS, start = row % TL__MINI_ROWS;
        uint32_t n = min_u32(TL__MINI_ROWS - start, hi - row);
        VALUE first = base + (VALUE)leaf_start(l, m), step = (VALUE)leaf_step(l, m);
        if (start == 0) {
            tl__kernels->NAME(unpack)(data, l->widths[m], n, step, next);
            tl__kernels->NAME(prefix)(next, n, first);
        } else { /* sums begin at the mini-block's start value */
            VALUE sums[TL__MINI_ROWS];
            tl__kernels->NAME(unpack)(data, l->widths[m], start + n, step, sums);
            tl__kernels->NAME(prefix)(sums, start + n, first);
            memcpy(next, sums + start, n * sizeof(VALUE));
        }
        data += (size_t)l->widths[m] * (TL__MINI_ROWS / 8);
        next += n;
        row += n;
    }
}

static void NAME(leaf_decode)(const struct leaf *l, uint32_t count, uint32_t lo, uint32_t hi,
                              VALUE *out)
{
    switch (l->kind) {
    case TL_ENC_RAW:
        tl__kernels->NAME(widen)(l->data + (size_t)lo * l->bytes, l->bytes, hi - lo,
                                 l->scale == 1 ? (VALUE)l->base : 0, out);
        break;
    case TL_ENC_FOR:
        NAME(for_decode)(l, count, lo, hi, out);
        break;
    case TL_ENC_DELTA:
        NAME(delta_decode)(l, count, lo, hi, out);
        break;
    default:
        NAME(fill)(out, hi - lo, (VALUE)l->base);
        return;
    }
    if (l->scale != 1)
        tl__kernels->NAME(scale)(out, hi - lo, (VALUE)l->scale, (VALUE)l->base);
}

static void NAME(dict_decode)(struct tl_decoder *d, struct view v, uint32_t count, uint32_t lo,
                              uint32_t hi, VALUE *out)
{
    struct dict dict = dict_of(v);
    struct leaf entries = leaf_of(dict.entries, dict.size);
    struct leaf indexes = leaf_of(dict.indexes, count);
    const uint32_t stretch = sizeof(d->index) / sizeof(d->index[0]);
    /* For few rows of a large dictionary each entry is decoded alone. */
    bool alone = (hi - lo) * 32 < dict.size;
    if (!alone)
        NAME(leaf_decode)(&entries, dict.size, 0, dict.size, d->table.NAME(values));
    for (uint32_t row = lo; row < hi;) {
        uint32_t n = min_u32(stretch - row % stretch, hi - row);
        leaf_decode_u32(&indexes, count, row, row + n, d->index);
        if (alone)
            for (uint32_t i = 0; i < n; i++)
                NAME(leaf_decode)(&entries, dict.size, d->index[i], d->index[i] + 1, out + i);
        else
            tl__kernels->NAME(gather)(d->table.NAME(values), d->index, n, out);
        out += n;
        row += n;
    }
}

static void NAME(leaf_or_dict_decode)(struct tl_decoder *d, struct view v, uint32_t count,
                                      uint32_t lo, uint32_t hi, VALUE *out)
{
    if (v.kind == TL_ENC_DICT) {
        NAME(dict_decode)(d, v, count, lo, hi, out);
        return;
    }
    struct leaf l = leaf_of(v, count);
    NAME(leaf_decode)(&l, count, lo, hi, out);
}

/* A mini-block of runs at a time: their ends, their values, then the rows. */
static void NAME(rle_decode)(struct tl_decoder *d, struct view v, uint32_t count, uint32_t lo,
                             uint32_t hi, VALUE *out)
{
    struct rle rle = rle_of(v);
    struct leaf l = leaf_of(rle.ends, rle.runs);
    uint32_t ends[TL__MINI_ROWS];
    VALUE values[TL__MINI_ROWS];
    uint32_t row = lo;
    (void)count;
    for (uint32_t m = row < hi ? runs_seek(&l, rle.runs, lo) : 0; row < hi; m++) {
        uint32_t first = m * TL__MINI_ROWS, n = mini_rows(rle.runs, m);
        leaf_decode_u32(&l, rle.runs, first, first + n, ends);
        uint32_t i = 0;
        while (i < n && ends[i] <= row)
            i++;
        uint32_t stop = i; /* behind the last run that is needed */
        while (stop < n && (stop == i || ends[stop - 1] < hi))
            stop++;
        NAME(leaf_or_dict_decode)(d, rle.values, rle.runs, first + i, first + stop, values);
        for (uint32_t k = 0; i < stop; i++, k++) {
            uint32_t end = min_u32(ends[i], hi);
            VALUE *at = out + (row - lo);
            if (end - row <= 8 && hi - row >= 8) { /* short: one copy of fixed size */
                for (uint32_t j = 0; j < 8; j++)
                    at[j] = values[k];
            } else {
                NAME(fill)(at, end - row, values[k]);
            }
            row = end;
        }
    }
}

static void NAME(any_decode)(struct tl_decoder *d, struct view v, uint32_t count, uint32_t lo,
                             uint32_t hi, VALUE *out)
{
    if (v.kind == TL_ENC_RLE)
        NAME(rle_decode)(d, v, count, lo, hi, out);
    else
        NAME(leaf_or_dict_decode)(d, v, count, lo, hi, out);
}
