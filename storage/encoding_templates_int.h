/*
 * storage/encoding_templates_int.h: pages of strings that are made of few templates.
 *
 * Paths, URLs, identifiers and user agents are text that programs write: a few templates, filled
 * with words of a vocabulary, numbers and digits. A page in this form holds the templates once, and
 * for each slot of each template a payload of numbers with one value per string: the index of a
 * word, a decimal number, hexadecimal digits as the binary they spell. Whatever fits no template
 * is a string of the template that is one slot of any bytes: a page may mix.
 *
 * Text of a template: bytes as they are, and slots, each as three bytes: 0, kind, parameter.
 *
 *     W      a word of the slot's own vocabulary, one code each
 *     N      a decimal number below 10^18 without leading zeros
 *     Z, n   n decimal digits, 1 to 18
 *     x, n   n hexadecimal digits in lower case, 1 to 16; X in upper case
 *     L      any bytes, by their length; at most 65,536
 *
 * docs/FORMAT.md, "Pages of strings", has every byte. For storage/encoding_templates.c,
 * decoding_templates.c and their callers alone.
 */
#ifndef TALLY_STORAGE_ENCODING_TEMPLATES_INT_H
#define TALLY_STORAGE_ENCODING_TEMPLATES_INT_H

#include "storage/encoding_int.h"

enum {
    TL__TEMPLATES_MAX = 255,
    TL__SLOTS_MAX = 24,            /* of one template */
    TL__TEMPLATE_BYTES_MAX = 4096, /* text of one template */
    TL__WORDS_MAX = 8192,          /* vocabulary of one slot */
    TL__WORD_BYTES_MAX = 255,
    TL__DIGITS_MAX = 18,
    TL__HEX_MAX = 16,
    TL__LITERAL_BYTES_MAX = 65536
};

enum tl__slot_kind {
    TL__SLOT_WORD = 'W',
    TL__SLOT_NUMBER = 'N',
    TL__SLOT_DIGITS = 'Z',
    TL__SLOT_HEX = 'x',
    TL__SLOT_HEX_UPPER = 'X',
    TL__SLOT_LITERAL = 'L'
};

/* Work space of one encoder, made when first used; freed by tl__template_space_free. */
struct tl__template_space;
void tl__template_space_free(struct tl__template_space *space);
struct tl__template_space **tl__encoder_templates(struct tl_encoder *e);

/* Appends the page in this form when that takes less than `worth` bytes; *size is what it took, 0
 * when it was not made. `text` holds the strings one after the other, `bytes` of them. */
TL_CHECK enum tl_code tl__templates_encode(struct tl_encoder *e, const struct tl_slice *values,
                                           uint32_t count, const uint8_t *text, uint32_t bytes,
                                           const struct tl_encode_options *opt, size_t worth,
                                           struct tl_buffer *out, size_t *size,
                                           struct tl_status *st);

/* Inflates a page of `count` strings and `bytes` bytes: `rest` is what follows the page's header,
 * `text_size` that of its text. Writes count end offsets, 4 bytes each, and the strings. */
TL_CHECK enum tl_code tl__templates_inflate(struct tl_decoder *d, struct tl_slice rest,
                                            uint32_t layer, uint32_t text_size, uint32_t count,
                                            uint32_t bytes, uint8_t *ends, uint8_t *out,
                                            struct tl_status *st);

/* Work space of a decoder that grows, for one page at a time: its text, and its slots. */
struct tl_buffer *tl__decoder_scratch(struct tl_decoder *d);
struct tl_buffer *tl__decoder_slots(struct tl_decoder *d);

#endif
