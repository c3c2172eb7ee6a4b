/*
 * storage/encoding_strings.c: pages of strings.
 *
 * A stored page is a header, the lengths as a leaf of numbers, and one text, which alone may lie
 * under zstd: so a page inflates straight into its place. Three forms of the text are measured:
 * the strings one after the other; front coding (what a string shares with the one before it is
 * left out), where many share much; two hexadecimal digits a byte, where all strings consist of
 * them, as random identifiers do, on which zstd gains little more and is far slower.
 *
 * Inflated, every form is the same page: u32 count, u32 end offsets, bytes. Inflating proves all
 * lengths before it copies the first byte. The short text of the latter two forms is put at the
 * end of the page and expanded towards its front; what is written never overtakes what is still
 * to be read, because as many bytes are left to write as to read, or more.
 */
#include "storage/encoding.h"

#include <zstd.h>

#include "base/assert.h"
#include "storage/encoding_templates_int.h"

enum {
    ZSTD_GAIN_PERCENT = 8, /* less is not worth inflating */
    ZSTD_TEXT_MIN = 64,    /* shorter texts are left alone */
    FRONT_SHARE = 8,       /* front coding is tried when 1/8 of the bytes is shared */
    HEX_SAMPLE = 4096,
    HEX_PIECE = 64,
    TEMPLATES_CLEAR = 5, /* templates of a fifth of the bytes: nothing else is tried */
    TEMPLATES_MIN = 256  /* bytes of a page */
};

/* ---- Encoding ---- */

/* A form of the page while it is measured: leaves[0 … leaf_count), text, perhaps deflated. */
struct page_form {
    enum tl_encoding kind;
    uint32_t leaf_count;
    const uint8_t *leaf[2];
    size_t leaf_size[2];
    const uint8_t *text;
    size_t stored_size; /* of `text` */
    uint32_t text_size; /* before the zstd layer */
    bool deflated;
};

static size_t page_form_size(const struct page_form *f)
{
    size_t size = TL__STRINGS_HEADER_BYTES + f->stored_size;
    for (uint32_t i = 0; i < f->leaf_count; i++)
        size += f->leaf_size[i];
    return size;
}

/* Puts the form's text under zstd, into `frame`, when that saves enough. */
static void try_deflate(struct tl_encoder *e, int level, struct page_form *f,
                        struct tl_buffer *frame)
{
    size_t size = f->stored_size;
    if (level == 0 || size < ZSTD_TEXT_MIN)
        return;
    tl_buffer_clear(frame);
    size_t room = ZSTD_compressBound(size);
    uint8_t *to = tl_buffer_reserve(frame, room);
    size_t got = to ? tl__zstd_deflate(e, level, f->text, size, to, room) : 0;
    if (got == 0 || got + size * ZSTD_GAIN_PERCENT / 100 > size)
        return;
    frame->size += got;
    f->text = frame->data;
    f->stored_size = got;
    f->deflated = true;
}

/* Lower-case digits alone; looked at in pieces, without a branch per byte. */
static bool is_hex(const uint8_t *text, size_t size)
{
    for (size_t lo = 0; lo < size; lo += HEX_PIECE) {
        size_t hi = size - lo < HEX_PIECE ? size : lo + HEX_PIECE;
        uint8_t bad = 0;
        for (size_t i = lo; i < hi; i++) {
            uint8_t digit = (uint8_t)(text[i] - '0'), letter = (uint8_t)(text[i] - 'a');
            bad |= (uint8_t)((digit > 9) & (letter > 5));
        }
        if (bad)
            return false;
    }
    return size > 0;
}

static inline uint32_t hex_value(uint8_t digit)
{
    return (digit & 15U) + (digit >> 6) * 9U;
}

/* True when zstd would make less of these digits than half their bytes. */
static bool hex_deflates(struct tl_encoder *e, int level, const uint8_t *text, size_t size,
                         struct tl_buffer *frame)
{
    size = size < HEX_SAMPLE ? size : HEX_SAMPLE;
    if (level == 0 || size < ZSTD_TEXT_MIN)
        return false;
    tl_buffer_clear(frame);
    uint8_t *to = tl_buffer_reserve(frame, ZSTD_COMPRESSBOUND(HEX_SAMPLE));
    size_t got =
        to ? tl__zstd_deflate(e, level, text, size, to, ZSTD_COMPRESSBOUND(HEX_SAMPLE)) : 0;
    return got && got < size / 2 - size / 16;
}

static enum tl_code put_page(const struct page_form *f, uint32_t count, uint32_t bytes,
                             struct tl_buffer *out, struct tl_status *st)
{
    size_t size = page_form_size(f);
    uint8_t *to = tl_buffer_reserve(out, size);
    if (!to)
        return tl_buffer_check(out, st);
    to[0] = (uint8_t)f->kind;
    to[1] = f->deflated ? TL__LAYER_ZSTD : TL__LAYER_NONE;
    to[2] = to[3] = 0;
    tl_put_u32le(to + 4, f->text_size);
    tl_put_u32le(to + 8, count);
    tl_put_u32le(to + 12, bytes);
    to += TL__STRINGS_HEADER_BYTES;
    for (uint32_t i = 0; i < f->leaf_count; i++) {
        memcpy(to, f->leaf[i], f->leaf_size[i]);
        to += f->leaf_size[i];
    }
    if (f->stored_size)
        memcpy(to, f->text, f->stored_size);
    out->size += size;
    return TL_OK;
}

static uint32_t shared_prefix(struct tl_slice a, struct tl_slice b)
{
    size_t n = a.size < b.size ? a.size : b.size, i = 0;
    while (i < n && a.data[i] == b.data[i])
        i++;
    return (uint32_t)i;
}

/* Fills the front-coded form into leaf[1], leaf[2] and text[1]; false when too little is shared. */
static bool make_front(struct tl_encoder *e, const struct tl_slice *values, uint32_t count,
                       uint32_t bytes, struct page_form *f)
{
    struct tl__text_space *space = tl__encoder_text(e);
    uint64_t *lengths = tl__encoder_values(e);
    uint64_t shared = 0;
    lengths[0] = 0;
    for (uint32_t i = 1; i < count; i++)
        shared += lengths[i] = shared_prefix(values[i - 1], values[i]);
    if (shared == 0 || shared < bytes / FRONT_SHARE)
        return false;
    struct tl_buffer *text = &space->text[1];
    tl_buffer_clear(text);
    if (!tl_buffer_reserve(text, bytes))
        return false;
    for (uint32_t i = 0; i < count; i++)
        tl_buffer_put(text, values[i].data + lengths[i], values[i].size - lengths[i]);
    f->leaf[0] = space->leaf[1];
    f->leaf_size[0] = tl__leaf_encode(e, lengths, count, space->leaf[1]);
    for (uint32_t i = 0; i < count; i++)
        lengths[i] = values[i].size - lengths[i];
    f->leaf[1] = space->leaf[2];
    f->leaf_size[1] = tl__leaf_encode(e, lengths, count, space->leaf[2]);
    f->kind = TL_ENC_STR_FRONT;
    f->leaf_count = 2;
    f->text = text->data;
    f->stored_size = text->size;
    f->text_size = (uint32_t)text->size;
    f->deflated = false;
    return true;
}

static void make_hex(struct tl_encoder *e, const uint8_t *digits, size_t count, struct page_form *f)
{
    struct tl_buffer *text = &tl__encoder_text(e)->text[1];
    size_t size = (count + 1) / 2;
    tl_buffer_clear(text);
    uint8_t *to = tl_buffer_reserve(text, size);
    if (!to)
        return;
    for (size_t i = 0; i < count / 2; i++)
        to[i] = (uint8_t)(hex_value(digits[2 * i]) << 4 | hex_value(digits[2 * i + 1]));
    if (count % 2)
        to[size - 1] = (uint8_t)(hex_value(digits[count - 1]) << 4);
    text->size = size;
    f->kind = TL_ENC_STR_HEX;
    f->text = to;
    f->stored_size = size;
    f->text_size = (uint32_t)size;
}

/* The strings one after the other: where they lie, when they lie so already; else copied. */
static const uint8_t *join_strings(struct tl_encoder *e, const struct tl_slice *values,
                                   uint32_t count, size_t bytes)
{
    bool apart = bytes == 0;
    for (uint32_t i = 1; i < count; i++)
        apart |= (uintptr_t)values[i].data != (uintptr_t)values[i - 1].data + values[i - 1].size;
    if (!apart)
        return values[0].data;
    struct tl_buffer *text = &tl__encoder_text(e)->text[0];
    tl_buffer_clear(text);
    uint8_t *to = tl_buffer_reserve(text, bytes + 1);
    if (!to)
        return NULL;
    text->size = bytes;
    for (uint32_t i = 0; i < count; i++) {
        if (values[i].size)
            memcpy(to, values[i].data, values[i].size);
        to += values[i].size;
    }
    return text->data;
}

/* TL_EFFORT_FAST: hexadecimal digits two a byte, all else zstd over the strings as they are. Front
 * coding would cost a pass, and leaves zstd less to find. */
static enum tl_code encode_fast(struct tl_encoder *e, const uint8_t *text, uint32_t bytes,
                                struct page_form *plain, uint32_t count, int level,
                                struct tl_buffer *out, struct tl_status *st)
{
    if (is_hex(text, bytes))
        make_hex(e, text, bytes, plain);
    else
        try_deflate(e, level, plain, &tl__encoder_text(e)->text[2]);
    return put_page(plain, count, bytes, out, st);
}

enum tl_code tl_encode_strings(struct tl_encoder *e, const struct tl_slice *values, uint32_t count,
                               const struct tl_encode_options *opt, struct tl_buffer *out,
                               struct tl_status *st)
{
    if (count > TL_ENCODE_ROWS_MAX)
        return TL_FAIL(st, TL_INVALID, "%u strings in one page; the limit is %d", count,
                       TL_ENCODE_ROWS_MAX);
    struct tl__text_space *space = tl__encoder_text(e);
    uint64_t *lengths = tl__encoder_values(e);
    size_t bytes = 0, room = TL_STRINGS_BYTES_MAX - 4 - 4 * (size_t)count;
    for (uint32_t i = 0; i < count; i++) {
        if (values[i].size > room - bytes)
            return TL_FAIL(st, TL_INVALID, "more than %zu bytes in one page of strings", room);
        bytes += values[i].size;
        lengths[i] = values[i].size;
    }
    const uint8_t *text = join_strings(e, values, count, bytes);
    if (!text)
        return TL_FAIL(st, TL_LIMIT, "no memory for a page of %zu bytes", bytes);
    struct page_form plain = {.kind = TL_ENC_STR_PLAIN,
                              .leaf_count = 1,
                              .leaf = {space->leaf[0]},
                              .leaf_size = {tl__leaf_encode(e, lengths, count, space->leaf[0])},
                              .text = text,
                              .stored_size = bytes,
                              .text_size = (uint32_t)bytes};
    if (opt->effort == TL_EFFORT_FAST && opt->zstd_level != 0)
        return encode_fast(e, text, (uint32_t)bytes, &plain, count, opt->zstd_level, out, st);
    if (is_hex(text, bytes) && !hex_deflates(e, opt->zstd_level, text, bytes, &space->text[1])) {
        make_hex(e, text, bytes, &plain);
        return put_page(&plain, count, (uint32_t)bytes, out, st);
    }
    /* Where a page is made of templates, no other form comes near. */
    bool templates = opt->effort == TL_EFFORT_BEST && opt->zstd_level > 0;
    size_t made = 0;
    enum tl_code rc = TL_OK;
    if (templates)
        rc = tl__templates_encode(e, values, count, text, (uint32_t)bytes, opt,
                                  bytes / TEMPLATES_CLEAR, out, &made, st);
    if (rc || made)
        return rc;
    /* Front coding first: it needs the lengths' work space, and its frame is the smaller one. */
    struct page_form front;
    bool has_front = make_front(e, values, count, (uint32_t)bytes, &front);
    struct tl_buffer frame;
    tl_buffer_init(&frame, "front-coded page", ZSTD_COMPRESSBOUND(TL_STRINGS_BYTES_MAX));
    if (has_front)
        try_deflate(e, opt->zstd_level, &front, &frame);
    try_deflate(e, opt->zstd_level, &plain, &space->text[2]);
    bool takes_front =
        has_front && page_form_size(&front) + page_form_size(&plain) / 32 < page_form_size(&plain);
    const struct page_form *best = takes_front ? &front : &plain;
    size_t worth = page_form_size(best);
    if (templates && bytes >= TEMPLATES_MIN)
        rc = tl__templates_encode(e, values, count, text, (uint32_t)bytes, opt, worth - worth / 16,
                                  out, &made, st);
    if (!rc && made == 0)
        rc = put_page(best, count, (uint32_t)bytes, out, st);
    tl_buffer_deinit(&frame);
    return rc;
}

/* ---- Decoding ---- */

struct page_header {
    uint32_t kind, layer, text_size, count, bytes;
};

static enum tl_code read_header(struct tl_slice payload, struct page_header *out,
                                struct tl_status *st)
{
    if (payload.size < TL__STRINGS_HEADER_BYTES || payload.size > TL_STRINGS_BYTES_MAX)
        return TL_FAIL(st, TL_CORRUPT, "a page of strings of %zu bytes", payload.size);
    const uint8_t *p = payload.data;
    struct page_header h = {p[0], p[1], tl_get_u32le(p + 4), tl_get_u32le(p + 8),
                            tl_get_u32le(p + 12)};
    if (h.kind < TL_ENC_STR_PLAIN || h.kind > TL_ENC_STR_TEMPLATES || h.layer > TL__LAYER_ZSTD ||
        p[2] || p[3])
        return TL_FAIL(st, TL_CORRUPT, "a page of strings of unknown encoding %u, layer %u", h.kind,
                       h.layer);
    if (h.count > TL_ENCODE_ROWS_MAX || h.bytes > TL_STRINGS_BYTES_MAX - 4 - 4 * h.count)
        return TL_FAIL(st, TL_CORRUPT, "a page of %u strings of %u bytes", h.count, h.bytes);
    bool fits = h.kind == TL_ENC_STR_PLAIN   ? h.text_size == h.bytes
                : h.kind == TL_ENC_STR_FRONT ? h.text_size <= h.bytes
                : h.kind == TL_ENC_STR_HEX   ? h.text_size == (h.bytes + 1) / 2
                                             : h.text_size <= TL_STRINGS_BYTES_MAX;
    if (!fits)
        return TL_FAIL(st, TL_CORRUPT, "a page of %u string bytes has a text of %u", h.bytes,
                       h.text_size);
    *out = h;
    return TL_OK;
}

enum tl_code tl_strings_inflated_size(struct tl_slice payload, size_t *size, struct tl_status *st)
{
    struct page_header h = {.kind = 0};
    enum tl_code rc = read_header(payload, &h, st);
    if (rc)
        return rc;
    *size = 4 + 4 * (size_t)h.count + h.bytes;
    return TL_OK;
}

/* One leaf of lengths at *rest, moved behind it. */
static enum tl_code read_lengths(struct tl_decoder *d, struct tl_slice *rest, uint32_t count,
                                 uint32_t *out, struct tl_status *st)
{
    /* Kernels may read beyond the leaf, which the payload's own bytes need not allow. */
    size_t copied = rest->size < TL__META_MAX ? rest->size : TL__META_MAX, size;
    if (rest->size >= TL__HEADER_BYTES) {
        size_t claimed = TL__HEADER_BYTES + (size_t)tl_get_u32le(rest->data + 4);
        copied = claimed < copied ? claimed : copied;
    }
    uint8_t *meta = tl__decoder_meta(d);
    memcpy(meta, rest->data, copied);
    enum tl_code rc = tl__leaf_decode(tl_slice_of(meta, copied), count, out, &size, st);
    if (rc)
        return rc;
    *rest = tl_slice_of(rest->data + size, rest->size - size);
    return TL_OK;
}

static enum tl_code put_ends(const uint32_t *lengths, const struct page_header *h, uint8_t *ends,
                             struct tl_status *st)
{
    uint64_t end = 0;
    for (uint32_t i = 0; i < h->count; i++) {
        end += lengths[i];
        if (end > h->bytes)
            break;
        tl_put_u32le(ends + 4 * (size_t)i, (uint32_t)end);
    }
    if (end != h->bytes)
        return TL_FAIL(st, TL_CORRUPT, "the strings of a page do not fill its %u bytes", h->bytes);
    return TL_OK;
}

/* `rest` lengths to whole lengths; a string cannot share more than the one before it has. */
static enum tl_code join_front(uint32_t *rest, const uint32_t *shared, const struct page_header *h,
                               struct tl_status *st)
{
    uint64_t text = 0;
    uint32_t before = 0;
    for (uint32_t i = 0; i < h->count; i++) {
        text += rest[i];
        if (shared[i] > before || rest[i] > h->text_size)
            return TL_FAIL(st, TL_CORRUPT, "a front-coded string shares more than there is");
        before = rest[i] += shared[i];
    }
    if (text != h->text_size)
        return TL_FAIL(st, TL_CORRUPT, "front-coded strings do not fill their text");
    return TL_OK;
}

/* The rests lie at the end of `bytes`; see the top of the file. */
static void expand_front(uint8_t *bytes, const struct page_header *h, const uint32_t *shared,
                         const uint8_t *ends)
{
    uint8_t *to = bytes, *before = bytes;
    const uint8_t *from = bytes + (h->bytes - h->text_size);
    uint32_t begin = 0;
    for (uint32_t i = 0; i < h->count; i++) {
        uint32_t end = tl_get_u32le(ends + 4 * (size_t)i);
        uint32_t rest = end - begin - shared[i];
        uint8_t *start = to;
        memmove(to, before, shared[i]);
        memmove(to + shared[i], from, rest);
        to += shared[i] + rest;
        from += rest;
        before = start;
        begin = end;
    }
}

static void expand_hex(uint8_t *bytes, const struct page_header *h)
{
    static const char DIGITS[] = "0123456789abcdef";
    const uint8_t *from = bytes + (h->bytes - h->text_size);
    for (uint32_t i = 0; i < h->bytes; i += 2) {
        uint32_t pair = *from++;
        bytes[i] = (uint8_t)DIGITS[pair >> 4];
        if (i + 1 < h->bytes)
            bytes[i + 1] = (uint8_t)DIGITS[pair & 15];
    }
}

enum tl_code tl_strings_inflate(struct tl_decoder *d, struct tl_slice payload, uint8_t *dst,
                                size_t size, struct tl_status *st)
{
    struct page_header h = {.kind = 0};
    enum tl_code rc = read_header(payload, &h, st);
    if (rc)
        return rc;
    tl_assert(size == 4 + 4 * (size_t)h.count + h.bytes);
    struct tl_slice rest = tl_slice_of(payload.data + TL__STRINGS_HEADER_BYTES,
                                       payload.size - TL__STRINGS_HEADER_BYTES);
    if (h.kind == TL_ENC_STR_TEMPLATES) {
        tl_put_u32le(dst, h.count);
        return tl__templates_inflate(d, rest, h.layer, h.text_size, h.count, h.bytes, dst + 4,
                                     dst + 4 + 4 * (size_t)h.count, st);
    }
    uint32_t *lengths = tl__decoder_lengths(d), *shared = lengths + TL_ENCODE_ROWS_MAX;
    if (h.kind == TL_ENC_STR_FRONT) {
        rc = read_lengths(d, &rest, h.count, shared, st);
        if (rc)
            return rc;
    }
    rc = read_lengths(d, &rest, h.count, lengths, st);
    if (rc)
        return rc;
    if (h.kind == TL_ENC_STR_FRONT) {
        rc = join_front(lengths, shared, &h, st);
        if (rc)
            return rc;
    }
    uint8_t *ends = dst + 4, *bytes = ends + 4 * (size_t)h.count;
    tl_put_u32le(dst, h.count);
    rc = put_ends(lengths, &h, ends, st);
    if (rc)
        return rc;
    uint8_t *text = bytes + (h.bytes - h.text_size);
    if (h.layer == TL__LAYER_ZSTD)
        rc = tl__zstd_inflate(d, rest, text, h.text_size, st);
    else if (rest.size != h.text_size)
        rc = TL_FAIL(st, TL_CORRUPT, "a page of strings has a text of %zu bytes instead of %u",
                     rest.size, h.text_size);
    else if (h.text_size)
        memcpy(text, rest.data, h.text_size);
    if (rc)
        return rc;
    if (h.kind == TL_ENC_STR_FRONT)
        expand_front(bytes, &h, shared, ends);
    else if (h.kind == TL_ENC_STR_HEX)
        expand_hex(bytes, &h);
    return TL_OK;
}
