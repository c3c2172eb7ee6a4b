/*
 * storage/encoding_classes.c: the layer of classes, an entropy code over packed values.
 *
 * Gaps between events, durations and codes of strings spread over many magnitudes: packed to the
 * width of the greatest in their mini-block, most waste bits. Here each value is split into its
 * class, the number of its significant bits, and its mantissa, the bits below the leading one.
 * Classes are few and skewed: they go through zstd's Huffman coder as bytes; mantissas are nearly
 * random: they stand as bits, one after the other. For most distributions that costs within a few
 * per cent of the entropy of the values.
 *
 * The layer lies over a FOR or DELTA payload and changes nothing else: inflating packs the values
 * again, to the widths that the payload says, and slices are decoded from that.
 *
 * Three modes. PLAIN: the packed values as they are. ABOVE and BELOW are for dictionary codes in
 * order of first appearance, which a reader of all rows can predict: "the next code that was never
 * seen" is a class of its own. Other codes are counted ABOVE a floor (each merchant has its own
 * strings: where one begins, another class of the next code lifts the floor to it; the few strings
 * that many share lie below the floor and have classes of their own), or BELOW the next code (what
 * was seen last comes again).
 *
 * Read: Moffat & Turpin, "Compression and Coding Algorithms" (Elias codes with coded lengths); the
 * byte classes of Brotli and of Parquet's successors work alike.
 */
#include "storage/encoding_int.h"

#include "base/assert.h"

enum {
    SYMBOLS = TL__CLASS_SYMBOLS,
    LOG_UNIT = 256, /* logarithms are in 1/256 bits */
    FRAME_MIN = 4
};

/* ---- What classes would cost ---- */

/* log2(x) in units of 1/LOG_UNIT, x > 0; each squaring gives a bit. */
static uint32_t log2_units(uint64_t x)
{
    uint32_t whole = 63 - (uint32_t)__builtin_clzll(x), units = whole * LOG_UNIT;
    uint64_t y = whole >= 31 ? x >> (whole - 31) : x << (31 - whole); /* [1, 2) × 2^31 */
    for (uint32_t unit = LOG_UNIT / 2; unit; unit /= 2) {
        y = y * y >> 31;
        if (y >> 32) {
            y >>= 1;
            units += unit;
        }
    }
    return units;
}

/* The width of the mantissa behind a symbol. */
static uint32_t mantissa_of(uint32_t symbol)
{
    uint32_t c = symbol >= TL__CLASS_LOW ? symbol - TL__CLASS_LOW : symbol;
    return c > 1 && c <= TL__WIDTH_MAX ? c - 1 : 0;
}

/* Bits that `count` symbols of this histogram take, mantissas included. */
static uint64_t histogram_bits(const uint32_t histogram[SYMBOLS], uint32_t count)
{
    uint64_t units = 0, bits = 0;
    uint32_t whole = log2_units(count), used = 0;
    for (uint32_t c = 0; c < SYMBOLS; c++) {
        if (histogram[c] == 0)
            continue;
        used++;
        uint64_t one = whole - log2_units(histogram[c]);
        units += histogram[c] * one;
        bits += (uint64_t)histogram[c] * mantissa_of(c);
    }
    return bits + units / LOG_UNIT + used * 6ULL + 160;
}

/* ---- Modes ---- */

/* Where prediction of codes stands. */
struct codes {
    uint64_t next, floor;
};

/* What a mode would cost, and what it starts from. */
struct choice {
    uint64_t bits;
    uint32_t mode;
    struct codes codes;
};

enum { LIFT_MIN = 8 }; /* a floor that rises less saves nothing */

/* lift[i] is set where no row behind i has a value in [floor, v[i]). */
static void find_lifts(const uint64_t *v, uint32_t count, uint64_t floor, uint8_t *lift)
{
    uint64_t least = UINT64_MAX;
    for (uint32_t i = count; i-- > 0;) {
        lift[i] = v[i] <= least;
        if (v[i] >= floor && v[i] < least)
            least = v[i];
    }
}

static bool lifts(const struct codes *c, uint64_t value, bool may)
{
    return may && value - c->floor >= LIFT_MIN;
}

/* The value above the widest gap between those below `next`, which parts the strings of the
 * merchant at hand from those that all share; 0 when there is none. */
static uint64_t first_floor(struct tl__class_space *space, const struct tl__plan *p, uint64_t next)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        space->sorted[n] = p->u[i];
        n += p->u[i] < next;
    }
    const uint64_t *sorted = tl__values_sort(space->sorted, space->spare, n, p->range);
    uint64_t widest = 0, floor = 0;
    for (uint32_t i = 1; i < n; i++) {
        if (sorted[i] - sorted[i - 1] > widest) {
            widest = sorted[i] - sorted[i - 1];
            floor = sorted[i];
        }
    }
    return n && next - sorted[n - 1] > widest ? next : floor;
}

/* The least code of those that first appear in order, one greater than the other, up to the
 * greatest, `most`; what came before the block is not known here. */
static uint64_t first_new_code(const uint64_t *v, uint32_t count, uint64_t most, uint16_t *first)
{
    uint32_t span = most < TL_ENCODE_ROWS_MAX ? (uint32_t)most + 1 : TL_ENCODE_ROWS_MAX;
    memset(first, 0, (span + 1) * sizeof(first[0])); /* row + 1 of the first one of most - k */
    for (uint32_t i = count; i-- > 0;)
        if (most - v[i] < span)
            first[most - v[i]] = (uint16_t)(i + 1);
    uint32_t k = 0;
    while (k + 1 < span && first[k + 1] && first[k + 1] < first[k])
        k++;
    return most - k;
}

/* The symbol of a code in mode ABOVE, and what its mantissa is taken from. */
static uint32_t symbol_above(struct codes *c, uint64_t value, bool may_lift, uint64_t *rest)
{
    *rest = 0;
    if (value == c->next) {
        c->next++;
        if (!lifts(c, value, may_lift))
            return TL__CLASS_NEXT;
        c->floor = value;
        return TL__CLASS_LIFT;
    }
    if (value < c->floor) {
        *rest = value;
        return TL__CLASS_LOW + tl__bit_width(value);
    }
    *rest = value - c->floor;
    return tl__bit_width(*rest);
}

/* The modes for codes in order of first appearance; bits UINT64_MAX when these are none. */
static struct choice look_at_codes(struct tl__class_space *space, const struct tl__plan *p)
{
    struct choice best = {.bits = UINT64_MAX};
    uint32_t above[SYMBOLS] = {0}, below[SYMBOLS] = {0};
    if (p->scale != 1 || p->range > UINT32_MAX)
        return best;
    uint64_t next = first_new_code(p->u, p->count, p->range, space->first);
    if ((p->range + 1 - next) * 128 < p->count)
        return best;
    struct codes below_start = {next, 0}, start = {next, first_floor(space, p, next)};
    find_lifts(p->u, p->count, start.floor, space->lifts);
    struct codes c = start;
    for (uint32_t i = 0; i < p->count; i++) {
        uint32_t symbol;
        uint64_t rest;
        bool is_new = p->u[i] == c.next;
        below[is_new ? TL__CLASS_NEXT : tl__bit_width(c.next - p->u[i])]++;
        symbol = symbol_above(&c, p->u[i], space->lifts[i], &rest);
        above[symbol]++;
    }
    uint64_t above_bits = histogram_bits(above, p->count);
    uint64_t below_bits = histogram_bits(below, p->count);
    bool is_above = above_bits <= below_bits;
    best.mode = is_above ? TL__CLASSES_ABOVE : TL__CLASSES_BELOW;
    best.bits = is_above ? above_bits : below_bits;
    best.codes = is_above ? start : below_start;
    return best;
}

static uint64_t plain_bits(const uint64_t *v, uint32_t count)
{
    uint32_t histogram[SYMBOLS] = {0};
    for (uint32_t i = 0; i < count; i++)
        histogram[tl__bit_width(v[i])]++;
    return histogram_bits(histogram, count);
}

/* ---- Encoding ---- */

/* Sums of steps are taken modulo a power of two above the range, so that a step back, where the
 * next merchant begins, is a long step forward and needs no sign. */
static uint64_t mask_of(const struct tl__plan *p)
{
    uint32_t width = tl__bit_width(p->range);
    return width == 64 ? UINT64_MAX : (1ULL << width) - 1;
}

struct bit_writer {
    uint8_t *out;
    uint64_t word;
    uint32_t fill; /* less than 8 after flush */
};

/* `bits` is at most 63, the value fits it. */
static void put_bits(struct bit_writer *w, uint64_t value, uint32_t bits)
{
    w->word |= value << w->fill;
    if (w->fill + bits >= 64) {
        tl_put_u64le(w->out, w->word);
        w->out += 8;
        w->word = w->fill ? value >> (64 - w->fill) : 0;
        w->fill = w->fill + bits - 64;
    } else {
        w->fill += bits;
    }
}

/* Symbols and mantissas of the values; returns the bytes of the mantissas. */
static size_t split(struct tl__class_space *space, const uint64_t *values, uint32_t count,
                    const struct choice *choice)
{
    struct bit_writer w = {.out = space->mantissas};
    struct codes c = choice->codes;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t rest = values[i];
        uint32_t symbol;
        if (choice->mode == TL__CLASSES_ABOVE) {
            symbol = symbol_above(&c, values[i], space->lifts[i], &rest);
        } else if (choice->mode == TL__CLASSES_BELOW) {
            rest = c.next - values[i];
            symbol = rest ? tl__bit_width(rest) : TL__CLASS_NEXT;
            c.next += rest == 0;
        } else {
            symbol = tl__bit_width(rest);
        }
        space->symbols[i] = (uint8_t)symbol;
        uint32_t bits = mantissa_of(symbol);
        if (bits)
            put_bits(&w, rest & ((1ULL << bits) - 1), bits);
    }
    tl_put_u64le(w.out, w.word);
    return (size_t)(w.out - space->mantissas) + (w.fill + 7) / 8;
}

/* Header and front of the payload as it will be inflated: packed values `x`, a FOR with or without
 * references, or a wrapped DELTA. Returns the bytes of the front. */
static size_t write_front(const struct tl__plan *p, enum tl_encoding kind, bool references,
                          const uint64_t *x, uint8_t *out)
{
    bool delta = kind == TL_ENC_DELTA;
    uint32_t bytes = delta ? tl__byte_width(p->range) : references ? p->for_bytes : 0;
    uint32_t flags = (p->scale == 1 ? 0U : TL__FLAG_SCALED) | (delta ? TL__FLAG_WRAPPED : 0U);
    uint8_t *next = tl__put_header(out, kind, bytes, flags);
    next = tl__put_narrow(next, p->base, 8);
    if (p->scale != 1)
        next = tl__put_narrow(next, p->scale, 8);
    if (delta) {
        next = tl__put_narrow(next, mask_of(p), 8);
        next = tl__put_narrow(next, 0, 8); /* the step that all steps are above */
    }
    size_t packed = 0;
    for (uint32_t m = 0; m < p->minis; m++) {
        uint64_t all = 0;
        uint32_t rows = tl__plan_mini_rows(p, m);
        for (uint32_t i = 0; i < rows; i++)
            all |= x[(size_t)m * TL__MINI_ROWS + i];
        *next++ = (uint8_t)tl__bit_width(all);
        packed += tl__packed_size(rows, tl__bit_width(all));
    }
    for (uint32_t m = 0; m < p->minis; m++)
        next =
            tl__put_narrow(next, delta ? p->u[(size_t)m * TL__MINI_ROWS] : p->mini[m].min, bytes);
    size_t front = (size_t)(next - out) - TL__HEADER_BYTES;
    tl_put_u32le(out + 4, (uint32_t)(front + packed));
    return front;
}

/* The candidates: packed values without and with references, and steps. Sets *x to the packed
 * values of the best and *kind, *references to its form. */
static struct choice choose(struct tl__class_space *space, const struct tl__plan *p,
                            enum tl_encoding *kind, bool *references, const uint64_t **x)
{
    uint64_t *near = space->values[0], *steps = space->values[1], mask = mask_of(p);
    for (uint32_t i = 0; i < p->count; i++) {
        near[i] = p->u[i] - p->mini[i / TL__MINI_ROWS].min;
        steps[i] = i % TL__MINI_ROWS ? (p->u[i] - p->u[i - 1]) & mask : 0;
    }
    struct choice best = {.mode = TL__CLASSES_PLAIN, .bits = plain_bits(p->u, p->count)};
    *kind = TL_ENC_FOR;
    *references = false;
    *x = p->u;
    uint64_t near_bits = plain_bits(near, p->count) + (uint64_t)p->minis * p->for_bytes * 8;
    uint64_t step_bits =
        plain_bits(steps, p->count) + (uint64_t)p->minis * tl__byte_width(p->range) * 8 + 128;
    if (p->for_bytes && near_bits < best.bits) {
        best.bits = near_bits;
        *references = true;
        *x = near;
    }
    if (step_bits < best.bits) {
        best.bits = step_bits;
        *kind = TL_ENC_DELTA;
        *references = false;
        *x = steps;
    }
    struct choice codes = look_at_codes(space, p);
    if (codes.bits < best.bits) {
        *kind = TL_ENC_FOR;
        *references = p->for_bytes > 0;
        *x = *references ? near : p->u;
        return codes;
    }
    return best;
}

size_t tl__classes_encode(struct tl_encoder *e, int level, const struct tl__plan *p, size_t worth,
                          uint8_t *out, size_t capacity)
{
    struct tl__class_space *space = tl__encoder_classes(e);
    enum tl_encoding kind;
    bool references;
    const uint64_t *x;
    struct choice choice = choose(space, p, &kind, &references, &x);
    if (choice.bits / 8 >= worth - worth / 32)
        return 0;
    size_t front = write_front(p, kind, references, x, space->front);
    size_t mantissas = split(space, choice.mode == TL__CLASSES_PLAIN ? x : p->u, p->count, &choice);

    size_t codes_bytes = choice.mode == TL__CLASSES_PLAIN ? 0 : 16;
    size_t fixed = TL__HEADER_BYTES + TL__CLASSES_HEADER_BYTES + codes_bytes + front;
    if (capacity < fixed + mantissas)
        return 0;
    memcpy(out, space->front, TL__HEADER_BYTES);
    out[1] = TL__LAYER_CLASSES;
    uint8_t *head = out + TL__HEADER_BYTES, *next = tl__put_narrow(head, choice.mode, 2);
    next = tl__put_narrow(next, p->count, 2);
    next = tl__put_narrow(next, 0, 4);
    if (codes_bytes) {
        next = tl__put_narrow(next, choice.codes.next, 8);
        next = tl__put_narrow(next, choice.codes.floor, 8);
    }
    memcpy(next, space->front + TL__HEADER_BYTES, front);
    next += front;
    size_t frame =
        tl__zstd_deflate(e, level, space->symbols, p->count, next, capacity - fixed - mantissas);
    if (frame == 0)
        return 0;
    tl_put_u32le(head + 4, (uint32_t)frame);
    next += frame;
    memcpy(next, space->mantissas, mantissas);
    return (size_t)(next - out) + mantissas;
}

/* ---- Inflating ---- */

static uint8_t plain_class(uint8_t symbol)
{
    if (symbol <= TL__WIDTH_MAX)
        return symbol;
    return symbol >= TL__CLASS_LOW ? (uint8_t)(symbol - TL__CLASS_LOW) : 0;
}

/* Values [0, n) of a mini-block from their classes: mantissas at bit *bit of `in`, which is
 * readable 9 bytes beyond the last one. */
static void join_plain(const uint8_t *symbols, uint32_t n, const uint8_t *in, uint64_t *bit,
                       uint64_t *out)
{
    uint64_t at = *bit;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t c = symbols[i], bits = c ? c - 1 : 0;
        uint64_t x = tl_get_u64le(in + (at >> 3)) >> (at & 7);
        if (__builtin_expect(bits > 56, 0))
            x = tl__unpack_one(in, bits, at);
        uint64_t top = c ? 1ULL << bits : 0;
        out[i] = (x & ((1ULL << bits) - 1)) | top;
        at += bits;
    }
    *bit = at;
}

/* Plain values, to be taken as distances, become codes. */
static void predict(const uint8_t *symbols, uint32_t n, uint32_t mode, struct codes *c, uint64_t *v)
{
    for (uint32_t i = 0; i < n; i++) {
        if (symbols[i] == TL__CLASS_NEXT || symbols[i] == TL__CLASS_LIFT) {
            v[i] = c->next++;
            if (symbols[i] == TL__CLASS_LIFT)
                c->floor = v[i];
        } else if (symbols[i] < TL__CLASS_LOW) {
            v[i] = mode == TL__CLASSES_ABOVE ? c->floor + v[i] : c->next - v[i];
        }
    }
}

/* Packs a mini-block's values to `width` bits; false when one does not fit. */
static bool pack_mini(const uint64_t *v, uint32_t n, uint32_t width, uint8_t *out)
{
    uint8_t room[TL__MINI_ROWS * 8 + 16];
    uint64_t all = 0;
    for (uint32_t i = 0; i < n; i++)
        all |= v[i];
    if (tl__bit_width(all) > width)
        return false;
    tl__kernels->pack(v, width, n, 0, room);
    size_t size = tl__packed_size(n, width);
    if (size)
        memcpy(out, room, size);
    return true;
}

/* Bits of the mantissas of n classes; UINT64_MAX when one is out of range. */
static uint64_t mantissa_bits(const uint8_t *symbols, uint32_t n, uint32_t mode)
{
    uint64_t bits = 0;
    uint32_t worst = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t c = symbols[i];
        worst = c > worst ? c : worst;
        bits += mantissa_of(c);
    }
    uint32_t most = mode == TL__CLASSES_PLAIN   ? TL__WIDTH_MAX
                    : mode == TL__CLASSES_ABOVE ? TL__CLASS_SYMBOLS - 1
                                                : TL__CLASS_NEXT;
    return worst > most ? UINT64_MAX : bits;
}

struct stored {
    uint32_t mode, count;
    struct codes codes;
    const uint8_t *front;
    struct tl_slice frame, mantissas;
};

static bool take_apart(struct tl_slice payload, size_t size, struct stored *s)
{
    const uint8_t *p = payload.data, *end = p + payload.size;
    if (payload.size < TL__HEADER_BYTES + TL__CLASSES_HEADER_BYTES)
        return false;
    p += TL__HEADER_BYTES;
    s->mode = tl_get_u16le(p);
    s->count = tl_get_u16le(p + 2);
    uint32_t frame = tl_get_u32le(p + 4);
    p += TL__CLASSES_HEADER_BYTES;
    if (s->mode > TL__CLASSES_BELOW || s->count == 0 || s->count > TL_ENCODE_ROWS_MAX)
        return false;
    if (s->mode != TL__CLASSES_PLAIN) {
        if (end - p < 16)
            return false;
        s->codes = (struct codes){tl_get_u64le(p), tl_get_u64le(p + 8)};
        p += 16;
    }
    size_t front = tl__leaf_front(payload.data, s->count);
    if (front == 0 || front > (size_t)(end - p) || front > size)
        return false;
    s->front = p;
    p += front;
    if (frame < FRAME_MIN || frame > (size_t)(end - p))
        return false;
    s->frame = tl_slice_of(p, frame);
    s->mantissas = tl_slice_of(p + frame, (size_t)(end - p) - frame);
    return true;
}

enum tl_code tl__classes_inflate(struct tl_decoder *d, struct tl_slice payload, uint8_t *dst,
                                 size_t size, struct tl_status *st)
{
    struct stored s = {0};
    if (!take_apart(payload, size - TL__HEADER_BYTES, &s))
        return TL_FAIL(st, TL_CORRUPT, "a layer of classes is cut or has unknown fields");
    memcpy(dst, payload.data, TL__HEADER_BYTES);
    dst[1] = TL__LAYER_NONE;
    memcpy(dst + TL__HEADER_BYTES, s.front, tl__leaf_front(payload.data, s.count));
    const uint8_t *widths;
    uint64_t references[TL__MINI_MAX];
    size_t data;
    enum tl_code rc =
        tl__leaf_packed(tl_slice_of(dst, size), s.count, &widths, references, &data, st);
    if (rc)
        return rc;
    if (s.mode != TL__CLASSES_PLAIN && payload.data[0] != TL_ENC_FOR)
        return TL_FAIL(st, TL_CORRUPT, "codes of encoding %u", payload.data[0]);
    uint8_t *symbols = tl__decoder_symbols(d);
    rc = tl__zstd_inflate(d, s.frame, symbols, s.count, st);
    if (rc)
        return rc;
    uint64_t bits = mantissa_bits(symbols, s.count, s.mode);
    if (bits == UINT64_MAX || s.mantissas.size != (bits + 7) / 8)
        return TL_FAIL(st, TL_CORRUPT, "classes of %u values do not fit their mantissas", s.count);

    uint64_t bit = 0;
    for (uint32_t lo = 0, m = 0; lo < s.count; lo += TL__MINI_ROWS, m++) {
        uint32_t n = s.count - lo < TL__MINI_ROWS ? s.count - lo : TL__MINI_ROWS;
        uint64_t values[TL__MINI_ROWS];
        uint8_t tail[TL__MINI_ROWS * 8 + 32];
        size_t begin = (size_t)(bit / 8);
        size_t need = (size_t)(mantissa_bits(symbols + lo, n, s.mode) + 7) / 8 + 1;
        const uint8_t *in = s.mantissas.data + begin;
        if (begin + need + 16 > s.mantissas.size) { /* a padded copy of what is left */
            size_t left = s.mantissas.size - begin;
            left = left < need ? left : need;
            memset(tail, 0, sizeof(tail));
            if (left)
                memcpy(tail, in, left);
            in = tail;
        }
        uint64_t at = bit % 8;
        if (s.mode != TL__CLASSES_PLAIN) {
            uint8_t classes[TL__MINI_ROWS];
            for (uint32_t i = 0; i < n; i++)
                classes[i] = plain_class(symbols[lo + i]);
            join_plain(classes, n, in, &at, values);
            predict(symbols + lo, n, s.mode, &s.codes, values);
            for (uint32_t i = 0; i < n; i++)
                values[i] -= references[m];
        } else {
            join_plain(symbols + lo, n, in, &at, values);
        }
        bit = (uint64_t)begin * 8 + at;
        if (!pack_mini(values, n, widths[m], dst + data))
            return TL_FAIL(st, TL_CORRUPT, "a value of %u bits does not fit its class", widths[m]);
        data += tl__packed_size(n, widths[m]);
    }
    return TL_OK;
}
