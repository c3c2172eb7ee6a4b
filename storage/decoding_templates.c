/*
 * storage/decoding_templates.c: pages of strings that are made of templates, inflated and proved.
 *
 * All that a string is put together from is proved before the first one is: templates parse,
 * vocabularies and literals lie within the text, every value is one that its slot can print. The
 * sizes of strings follow from these; each is compared with what is left of the page as it is put
 * down, so that nothing is written beyond.
 */
#include "storage/encoding_templates_int.h"

#include "base/assert.h"

enum {
    WORDS_MAX = 1 << 18, /* of all vocabularies of a page */
    COPY = 16            /* bytes that short pieces are copied in */
};

/* A stretch of a template's own text, then a slot; the last one of a template has none. */
struct piece {
    const uint8_t *text;
    uint32_t size;
    uint8_t kind, parameter;
    uint32_t word_count;
    const uint32_t *words; /* WORD: where each begins in `vocabulary`, and where the last ends */
    const uint8_t *from;   /* WORD: the words; LITERAL: what is still to be put down */
    const uint64_t *values;
};

struct shape {
    uint32_t first, count; /* pieces */
    uint32_t strings, done;
};

struct page {
    struct tl_decoder *d;
    uint32_t count, bytes, templates, word_room;
    const uint8_t *text, *text_end;
    struct tl_slice streams;
    struct shape shapes[TL__TEMPLATES_MAX];
    struct piece *pieces;
    uint64_t *ids, *values;
    uint32_t *words;
    uint8_t *payload; /* room for an inflated payload */
};

static bool is_slot(uint32_t kind, uint32_t parameter)
{
    switch (kind) {
    case TL__SLOT_WORD:
    case TL__SLOT_NUMBER:
    case TL__SLOT_LITERAL:
        return parameter == 0;
    case TL__SLOT_DIGITS:
        return parameter >= 1 && parameter <= TL__DIGITS_MAX;
    case TL__SLOT_HEX:
    case TL__SLOT_HEX_UPPER:
        return parameter >= 1 && parameter <= TL__HEX_MAX;
    default:
        return false;
    }
}

/* Walks the templates' texts; counts pieces, or puts them down where `pieces` is there. */
static bool walk_templates(struct page *p, struct piece *pieces, uint32_t *piece_count,
                           const uint8_t **behind)
{
    const uint8_t *at = p->text;
    uint32_t made = 0;
    for (uint32_t k = 0; k < p->templates; k++) {
        if (p->text_end - at < 2)
            return false;
        uint32_t size = tl_get_u16le(at);
        at += 2;
        if (size > (size_t)(p->text_end - at))
            return false;
        const uint8_t *end = at + size, *begin = at;
        p->shapes[k].first = made;
        uint32_t slots = 0;
        for (; at < end; at++) {
            if (*at)
                continue;
            if (end - at < 3 || !is_slot(at[1], at[2]) || slots++ == TL__SLOTS_MAX)
                return false;
            if (pieces)
                pieces[made] = (struct piece){.text = begin,
                                              .size = (uint32_t)(at - begin),
                                              .kind = at[1],
                                              .parameter = at[2]};
            made++;
            at += 2;
            begin = at + 1;
        }
        if (pieces)
            pieces[made] = (struct piece){.text = begin, .size = (uint32_t)(end - begin)};
        made++;
        p->shapes[k].count = made - p->shapes[k].first;
        at = end;
    }
    *piece_count = made;
    *behind = at;
    return true;
}

/* The next stream, of `count` values. */
static enum tl_code read_stream(struct page *p, uint32_t count, uint64_t *out, struct tl_status *st)
{
    struct tl_slice *rest = &p->streams;
    uint32_t size = rest->size < 4 ? UINT32_MAX : tl_get_u32le(rest->data);
    if (rest->size < 4 || size > rest->size - 4)
        return TL_FAIL(st, TL_CORRUPT, "the slots of a page of strings are cut");
    struct tl_slice stored = tl_slice_of(rest->data + 4, size);
    *rest = tl_slice_of(rest->data + 4 + size, rest->size - 4 - size);
    size_t inflated;
    enum tl_code rc = tl_payload_inflated_size(stored, &inflated, st);
    if (!rc)
        rc = tl_payload_inflate(p->d, stored, p->payload, inflated, st);
    if (rc)
        return rc;
    memset(p->payload + inflated, 0, TL_PAYLOAD_PAD);
    struct tl_slice payload = tl_slice_of(p->payload, inflated);
    rc = tl_payload_check(p->d, payload, count, st);
    if (!rc)
        tl_decode_i64(p->d, payload, count, 0, count, (int64_t *)out);
    return rc;
}

static uint64_t greatest(const uint64_t *v, uint32_t count)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < count; i++)
        most = v[i] > most ? v[i] : most;
    return most;
}

/* The greatest value that a slot of numbers can print. */
static uint64_t slot_limit(const struct piece *x)
{
    if (x->kind == TL__SLOT_HEX || x->kind == TL__SLOT_HEX_UPPER)
        return x->parameter == TL__HEX_MAX ? UINT64_MAX : (1ULL << (4 * x->parameter)) - 1;
    uint64_t limit = 1;
    for (uint32_t i = 0; i < (x->kind == TL__SLOT_NUMBER ? TL__DIGITS_MAX : x->parameter); i++)
        limit *= 10;
    return limit - 1;
}

/* The vocabulary of a slot at *at. */
static bool read_words(const struct page *p, struct piece *x, uint32_t *words, uint32_t room,
                       const uint8_t **at)
{
    if (p->text_end - *at < 2)
        return false;
    uint32_t n = tl_get_u16le(*at), begin = 0;
    const uint8_t *sizes = *at + 2;
    if (n == 0 || n > TL__WORDS_MAX || n + 1 > room || n > (size_t)(p->text_end - sizes))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        words[i] = begin;
        begin += sizes[i];
    }
    words[n] = begin;
    x->words = words;
    x->word_count = n;
    x->from = sizes + n;
    if (begin > (size_t)(p->text_end - x->from))
        return false;
    *at = x->from + begin;
    return true;
}

/* Vocabularies, literals and values of all slots; `at` is what follows the templates' texts. */
static enum tl_code read_slots(struct page *p, const uint8_t *at, struct tl_status *st)
{
    uint64_t *values = p->values;
    uint32_t *words = p->words, room = p->word_room;
    for (uint32_t k = 0; k < p->templates; k++) {
        const struct shape *s = &p->shapes[k];
        for (uint32_t i = 0; i + 1 < s->count; i++, values += s->strings) {
            struct piece *x = &p->pieces[s->first + i];
            x->values = values;
            if (x->kind == TL__SLOT_WORD) {
                if (!read_words(p, x, words, room, &at))
                    return TL_FAIL(st, TL_CORRUPT, "the vocabulary of a slot is cut or too large");
                words += x->word_count + 1;
                room -= x->word_count + 1;
            }
            enum tl_code rc = read_stream(p, s->strings, values, st);
            if (rc)
                return rc;
            uint64_t most = greatest(values, s->strings);
            if (x->kind == TL__SLOT_LITERAL) {
                uint64_t sum = 0;
                for (uint32_t j = 0; j < s->strings && most <= TL__LITERAL_BYTES_MAX; j++)
                    sum += values[j];
                if (most > TL__LITERAL_BYTES_MAX || sum > (size_t)(p->text_end - at))
                    return TL_FAIL(st, TL_CORRUPT, "the literals of a slot exceed the text");
                x->from = at;
                at += sum;
            } else if (most > (x->kind == TL__SLOT_WORD ? x->word_count - 1 : slot_limit(x))) {
                return TL_FAIL(st, TL_CORRUPT, "a slot of kind %c has a value out of range",
                               x->kind);
            }
        }
    }
    if (at != p->text_end || p->streams.size)
        return TL_FAIL(st, TL_CORRUPT, "a page of templates has %zu bytes too many",
                       (size_t)(p->text_end - at) + p->streams.size);
    return TL_OK;
}

/* ---- Putting strings together ---- */

struct out {
    uint8_t *at, *end;
};

/* The text has COPY readable bytes behind it. */
static inline bool put(struct out *o, const uint8_t *from, size_t size)
{
    size_t left = (size_t)(o->end - o->at);
    if (size <= COPY && left >= COPY)
        memcpy(o->at, from, COPY);
    else if (size > left)
        return false;
    else if (size)
        memcpy(o->at, from, size);
    o->at += size;
    return true;
}

/* Eight decimal digits of a value below 10^8, the first one in the lowest byte. Halves, quarters
 * and eighths of the word are divided at once by multiplying with 2^20 / 100 and 2^10 / 10, which
 * is exact below 10,000 and 100. */
static inline uint64_t eight_digits(uint32_t value)
{
    uint64_t fours = value / 10000 | (uint64_t)(value % 10000) << 32;
    uint64_t high = (fours * 10486 >> 20) & 0x0000007f0000007fULL;
    uint64_t twos = high | (fours - 100 * high) << 16;
    uint64_t tens = (twos * 103 >> 10) & 0x000f000f000f000fULL;
    return (tens | (twos - 10 * tens) << 8) + 0x3030303030303030ULL;
}

/* 8 characters of 32 bits: '0' … '9', and letters that begin at '0' + 10 + gap. */
static inline uint64_t eight_hex(uint32_t value, uint32_t gap)
{
    uint64_t x = value;
    x = (x | x << 16) & 0x0000ffff0000ffffULL;
    x = (x | x << 8) & 0x00ff00ff00ff00ffULL;
    x = (x | x << 4) & 0x0f0f0f0f0f0f0f0fULL;
    uint64_t letters = (x + 0x0606060606060606ULL) >> 4 & 0x0101010101010101ULL;
    return __builtin_bswap64(x + letters * gap + 0x3030303030303030ULL);
}

/* The last `count` of eight characters, in eight bytes whose rest is overwritten by what follows.
 */
static inline void store_last(uint8_t *to, uint64_t eight, uint32_t count)
{
    tl_put_u64le(to, eight >> (64 - 8 * count));
}

static inline bool put_digits(struct out *o, uint64_t value, uint32_t digits)
{
    size_t left = (size_t)(o->end - o->at);
    if (digits > left)
        return false;
    uint8_t *end = o->at + digits;
    if (digits <= 16 && left >= COPY) {
        uint64_t high = value / 100000000;
        uint64_t low = eight_digits((uint32_t)(value - high * 100000000));
        if (digits <= 8) {
            store_last(o->at, low, digits);
        } else {
            store_last(o->at, eight_digits((uint32_t)high), digits - 8);
            tl_put_u64le(end - 8, low);
        }
    } else {
        for (uint32_t i = 1; i <= digits; i++, value /= 10)
            end[-(int)i] = (uint8_t)('0' + value % 10);
    }
    o->at = end;
    return true;
}

static inline uint32_t digits_of(uint64_t value)
{
    static const uint64_t POWERS[TL__DIGITS_MAX + 1] = {0,
                                                        10ULL,
                                                        100ULL,
                                                        1000ULL,
                                                        10000ULL,
                                                        100000ULL,
                                                        1000000ULL,
                                                        10000000ULL,
                                                        100000000ULL,
                                                        1000000000ULL,
                                                        10000000000ULL,
                                                        100000000000ULL,
                                                        1000000000000ULL,
                                                        10000000000000ULL,
                                                        100000000000000ULL,
                                                        1000000000000000ULL,
                                                        10000000000000000ULL,
                                                        100000000000000000ULL,
                                                        1000000000000000000ULL};
    /* log10(2) is about 1233 / 4096: the digits, or one less. */
    uint32_t guess = (uint32_t)(64 - __builtin_clzll(value | 1)) * 1233 >> 12;
    return guess + (value >= POWERS[guess]);
}

static inline bool put_hex(struct out *o, uint64_t value, uint32_t digits, uint32_t gap)
{
    size_t left = (size_t)(o->end - o->at);
    if (digits > left)
        return false;
    uint64_t low = eight_hex((uint32_t)value, gap);
    uint64_t high = eight_hex((uint32_t)(value >> 32), gap);
    if (left < COPY) {
        for (uint32_t i = digits; i-- > 0;)
            *o->at++ = (uint8_t)((i < 8 ? low >> 8 * (7 - i) : high >> 8 * (15 - i)) & 0xff);
        return true;
    }
    if (digits <= 8) {
        store_last(o->at, low, digits);
    } else {
        store_last(o->at, high, digits - 8);
        tl_put_u64le(o->at + digits - 8, low);
    }
    o->at += digits;
    return true;
}

static inline bool put_slot(struct out *o, struct piece *x, uint32_t i)
{
    uint64_t value = x->values[i];
    switch (x->kind) {
    case TL__SLOT_WORD:
        return put(o, x->from + x->words[value], x->words[value + 1] - x->words[value]);
    case TL__SLOT_NUMBER:
        return put_digits(o, value, digits_of(value));
    case TL__SLOT_DIGITS:
        return put_digits(o, value, x->parameter);
    case TL__SLOT_HEX:
        return put_hex(o, value, x->parameter, 'a' - '0' - 10);
    case TL__SLOT_HEX_UPPER:
        return put_hex(o, value, x->parameter, 'A' - '0' - 10);
    default: {
        const uint8_t *from = x->from;
        x->from += value;
        return put(o, from, value);
    }
    }
}

static bool put_strings(struct page *p, uint8_t *ends, uint8_t *bytes)
{
    struct out o = {bytes, bytes + p->bytes};
    for (uint32_t i = 0; i < p->count; i++) {
        struct shape *s = &p->shapes[p->ids[i]];
        struct piece *x = &p->pieces[s->first], *last = x + s->count - 1;
        for (; x < last; x++)
            if (!put(&o, x->text, x->size) || !put_slot(&o, x, s->done))
                return false;
        if (!put(&o, last->text, last->size))
            return false;
        s->done++;
        tl_put_u32le(ends + 4 * (size_t)i, (uint32_t)(o.at - bytes));
    }
    return o.at == o.end;
}

static uint8_t *take(uint8_t **next, size_t size)
{
    uint8_t *taken = *next;
    *next += (size + 15) / 16 * 16;
    return taken;
}

enum tl_code tl__templates_inflate(struct tl_decoder *d, struct tl_slice rest, uint32_t layer,
                                   uint32_t text_size, uint32_t count, uint32_t bytes,
                                   uint8_t *ends, uint8_t *out, struct tl_status *st)
{
    struct page p = {.d = d, .count = count, .bytes = bytes};
    uint32_t stored = rest.size < 8 ? UINT32_MAX : tl_get_u32le(rest.data + 4);
    if (rest.size < 8 || count == 0 || stored > rest.size - 8 ||
        (layer == TL__LAYER_NONE && stored != text_size))
        return TL_FAIL(st, TL_CORRUPT, "a page of templates is cut");
    p.templates = tl_get_u32le(rest.data);
    if (p.templates == 0 || p.templates > TL__TEMPLATES_MAX)
        return TL_FAIL(st, TL_CORRUPT, "a page of %u templates", p.templates);
    p.streams = tl_slice_of(rest.data + 8 + stored, rest.size - 8 - stored);

    /* The text first: how much room the rest takes follows from it. */
    struct tl_buffer *scratch = tl__decoder_scratch(d);
    tl_buffer_clear(scratch);
    size_t fixed = (size_t)text_size + COPY + 16 + TL_PAYLOAD_BYTES_MAX + TL_PAYLOAD_PAD + 64 +
                   (size_t)count * 8;
    uint8_t *next = tl_buffer_reserve(scratch, fixed);
    if (!next)
        return tl_buffer_check(scratch, st);
    p.ids = (uint64_t *)(void *)take(&next, (size_t)count * 8);
    p.payload = take(&next, TL_PAYLOAD_BYTES_MAX + TL_PAYLOAD_PAD);
    uint8_t *text = next;
    memset(text + text_size, 0, COPY);
    if (layer == TL__LAYER_NONE) {
        memcpy(text, rest.data + 8, text_size);
    } else {
        enum tl_code rc =
            tl__zstd_inflate(d, tl_slice_of(rest.data + 8, stored), text, text_size, st);
        if (rc)
            return rc;
    }
    p.text = text;
    p.text_end = text + text_size;
    uint32_t piece_count;
    const uint8_t *behind;
    if (!walk_templates(&p, NULL, &piece_count, &behind))
        return TL_FAIL(st, TL_CORRUPT, "the templates of a page are cut or have unknown slots");

    memset(p.ids, 0, (size_t)count * 8);
    enum tl_code rc = p.templates > 1 ? read_stream(&p, count, p.ids, st) : TL_OK;
    if (rc)
        return rc;
    if (greatest(p.ids, count) >= p.templates)
        return TL_FAIL(st, TL_CORRUPT, "a string of a template that the page has not");
    for (uint32_t i = 0; i < count; i++)
        p.shapes[p.ids[i]].strings++;
    size_t values = 0;
    for (uint32_t k = 0; k < p.templates; k++)
        values += (size_t)p.shapes[k].strings * (p.shapes[k].count - 1);

    /* Each word has a byte of the text, each vocabulary two. */
    size_t words = text_size < WORDS_MAX ? text_size : WORDS_MAX;
    p.word_room = (uint32_t)words;
    struct tl_buffer *more = tl__decoder_slots(d);
    tl_buffer_clear(more);
    next =
        tl_buffer_reserve(more, piece_count * sizeof(struct piece) + values * 8 + words * 4 + 48);
    if (!next)
        return tl_buffer_check(more, st);
    p.pieces = (struct piece *)(void *)take(&next, piece_count * sizeof(struct piece));
    p.values = (uint64_t *)(void *)take(&next, values * 8);
    p.words = (uint32_t *)(void *)take(&next, words * 4);
    if (!walk_templates(&p, p.pieces, &piece_count, &behind))
        return TL_FAIL(st, TL_CORRUPT, "the templates of a page changed");
    rc = read_slots(&p, behind, st);
    if (rc)
        return rc;
    if (!put_strings(&p, ends, out))
        return TL_FAIL(st, TL_CORRUPT, "the strings of a page do not fill its %u bytes", bytes);
    return TL_OK;
}
