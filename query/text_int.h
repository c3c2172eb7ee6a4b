/*
 * query/text_int.h: UTF-8 helpers of the text kernels. Texts are valid UTF-8 when they get here.
 */
#ifndef TALLY_QUERY_TEXT_INT_H
#define TALLY_QUERY_TEXT_INT_H

#include "base/arena.h"
#include "base/bytes.h"

/* Bytes of the character that starts with `lead`. */
static inline size_t tl__utf8_size(uint8_t lead)
{
    return lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}
/* Characters in a text. */
size_t tl__utf8_count(struct tl_slice text);
/* Offset of character `index` (from 0), or the text's size when it has fewer. */
size_t tl__utf8_offset(struct tl_slice text, size_t index);

/* Simple case mappings; `text` itself when nothing changes. */
TL_CHECK enum tl_code tl__text_lower(struct tl_slice text, struct tl_arena *arena,
                                     struct tl_slice *out, struct tl_status *st);
TL_CHECK enum tl_code tl__text_upper(struct tl_slice text, struct tl_arena *arena,
                                     struct tl_slice *out, struct tl_status *st);

#endif
