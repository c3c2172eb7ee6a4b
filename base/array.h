/*
 * base/array.h: values of kind TL_ARRAY.
 *
 * An array value is an immutable run of bytes that describes itself, so that it can be kept, hashed
 * and handed on like a text: one dimension, elements of one kind, NULLs among them. Equal arrays
 * have equal bytes, except those with two zeros or NaNs of DOUBLE. Nothing of it goes to disk.
 *
 *   u32 count, u8 kind, u8 scale, u8 flavour, u8 lower bound (0 or 1)
 *   a bitmap of the NULLs, (count + 7) / 8 bytes
 *   TEXT: u32 offsets[count + 1] and the strings; others: count values as in a FLAT vector
 *
 * Multi-byte fields are the machine's own and not aligned. An array holds at most
 * TL_ARRAY_BYTES_MAX bytes.
 *
 * Ownership  a built array lies in the arena it was built in; a view and the texts it gives point
 *            into the array's bytes.
 * Threads    no state: any.
 * Errors     TL_LIMIT (54000): too many bytes. TL_INVALID (22P02): a text that is no array.
 */
#ifndef TALLY_BASE_ARRAY_H
#define TALLY_BASE_ARRAY_H

#include "base/vector.h"

enum { TL_ARRAY_BYTES_MAX = 16 << 20 };

struct tl_array_view {
    struct tl_type element;
    uint32_t count;
    int32_t lower;          /* index of the first element */
    const uint8_t *nulls;   /* bit i set: element i is NULL */
    const uint8_t *offsets; /* TEXT; NULL for other kinds */
    const uint8_t *values;
};

/* The parts of an array. Its bytes were made by tl_array_build: asserted, not checked. */
struct tl_array_view tl_array_view(struct tl_slice array);

static inline bool tl_array_is_null(const struct tl_array_view *v, uint32_t i)
{
    return (v->nulls[i >> 3] >> (i & 7)) & 1;
}
/* Element i as it stands in a FLAT vector; out has room for 16 bytes. */
void tl_array_get(const struct tl_array_view *v, uint32_t i, void *out);
struct tl_slice tl_array_text(const struct tl_array_view *v, uint32_t i);

/* An array of `count` values as they stand in a FLAT vector; validity as a vector's (NULL: all). */
TL_CHECK enum tl_code tl_array_build(struct tl_arena *arena, struct tl_type element,
                                     const void *values, const uint64_t *validity, uint32_t count,
                                     int32_t lower, struct tl_slice *out, struct tl_status *st);

/* Appends one element as PostgreSQL writes it within braces: quoted where it must be. */
void tl_array_put(struct tl_buffer *out, struct tl_slice text);
/* Splits '{a,"b c",NULL}' into its elements' texts; those that were quoted hold what stood between
 * the quotes. *validity is a bitmap, *texts an array of *count, both the arena's. Arrays of more
 * than one dimension are refused. */
TL_CHECK enum tl_code tl_array_split(struct tl_slice text, struct tl_arena *arena,
                                     struct tl_slice **texts, uint64_t **validity, uint32_t *count,
                                     struct tl_status *st);

#endif
