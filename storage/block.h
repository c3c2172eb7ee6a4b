/*
 * storage/block.h: a checked, encoded run of at most TL_BLOCK_ROWS_MAX values of one column.
 *
 * Stored, a block is a header of TL_BLOCK_HEADER_BYTES, a validity payload (only with NULLs) and a
 * values payload (docs/FORMAT.md, "Block"). Its checksum is keyed by the pack and the offset at
 * which the block stands. Inflated, it is an image: both payloads without their zstd layer,
 * padded and proved, from which any slice is decoded at once and without failing. A cache keeps
 * images.
 *
 *     values --encode--> stored block --measure--> --inflate--> image --open--> view --read slice
 *
 * Minimum, maximum and the set of codes stand in the column's index, not here.
 *
 * Ownership  bytes are borrowed; a view points into its image.
 * Threads    no shared state; an encoder or decoder belongs to one thread at a time.
 * Units      sizes in bytes, counts in rows.
 * Errors     TL_CORRUPT: bytes that no writer of ours makes. TL_LIMIT: the output buffer's limit.
 */
#ifndef TALLY_STORAGE_BLOCK_H
#define TALLY_STORAGE_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"
#include "base/vector.h"
#include "storage/encoding.h"

enum {
    TL_BLOCK_ROWS_MAX = 8192,
    TL_BLOCK_HEADER_BYTES = 24,
    /* No stored block is larger, and no image. */
    TL_BLOCK_BYTES_MAX = 1 << 20,
};

/* The checksum of a unit of a pack: XXH3-64 over `size` bytes, keyed by pack and offset. */
uint64_t tl_unit_hash(const void *data, size_t size, uint64_t pack_key, uint64_t offset);
/* True when it is `expected`. */
bool tl_unit_hash_is(uint64_t expected, const void *data, size_t size, uint64_t pack_key,
                     uint64_t offset);
#ifdef TALLY_FUZZ
/* Fuzz builds alone: lets every checksum pass, so that what is behind it is reached. */
extern bool tl_unit_hash_ignored;
#endif

/* How the values of a column's type lie in memory while a block is made or read: 8 bytes for
 * BIGINT, DECIMAL64, TIMESTAMP(TZ) and DOUBLE, 4 for DATE and for the codes of TEXT, 1 for
 * BOOLEAN; 0 when no block holds the type. */
uint32_t tl_block_width(enum tl_kind kind);

/* The least and the greatest of rows > 0 values, as they stand in an index (storage/segment.h);
 * NaN is the greatest double. True when all values have equal bits, and then *min is those. */
bool tl_block_range(enum tl_kind kind, const void *values, uint32_t rows, int64_t *min,
                    int64_t *max);
/* <0, 0, >0: compares two such entries of a type. */
int tl_block_range_cmp(enum tl_kind kind, int64_t a, int64_t b);

/* A bit per code below 64 that comes up; a greater one counts modulo 64. */
uint64_t tl_block_code_set(const uint32_t *codes, uint32_t rows);
/* The values of the rows that are not NULL, side by side in `out`, which has room for all. */
void tl_block_keep_valid(enum tl_kind kind, const void *values, const uint64_t *validity,
                         uint32_t rows, void *out);

/* Appends one stored block, which will stand at `offset`. `validity` is NULL when no row is NULL;
 * `values` are those of the other rows, side by side. */
TL_CHECK enum tl_code tl_block_encode(struct tl_encoder *e, enum tl_kind kind, const void *values,
                                      const uint64_t *validity, uint32_t rows, uint32_t nulls,
                                      const struct tl_encode_options *opt, uint64_t pack_key,
                                      uint64_t offset, struct tl_buffer *out, struct tl_status *st);

/* What the index says about a block; a block that says otherwise is refused. */
struct tl_block_expect {
    enum tl_kind kind;
    uint32_t rows;
    uint32_t nulls;
    uint32_t codes; /* TEXT: the size of the dictionary, which every code is below */
    uint64_t pack_key;
    uint64_t offset;
};

/* Verifies the checksum and the header of a stored block and answers with its image's size. */
TL_CHECK enum tl_code tl_block_measure(struct tl_slice stored, const struct tl_block_expect *expect,
                                       size_t *image_size, struct tl_status *st);
/* Makes and proves the image of a block that was measured: `size` is what was answered. */
TL_CHECK enum tl_code tl_block_inflate(struct tl_decoder *d, struct tl_slice stored,
                                       const struct tl_block_expect *expect, uint8_t *image,
                                       size_t size, struct tl_status *st);

/* An image, taken apart. */
struct tl_block_view {
    struct tl_slice values;   /* an inflated, proved payload */
    struct tl_slice validity; /* the same, a bitmap; size 0: no row is NULL */
    uint32_t rows;
    uint32_t value_count; /* in `values`: those of the rows that are not NULL */
};
struct tl_block_view tl_block_open(const uint8_t *image);
/* The values of rows [lo, hi) into out, tl_block_width bytes each; 0 in rows that are NULL. */
void tl_block_read(struct tl_decoder *d, const struct tl_block_view *b, enum tl_kind kind,
                   uint32_t lo, uint32_t hi, void *out);
/* Their validity from bit 0 on; all set when no row is NULL. */
void tl_block_read_validity(struct tl_decoder *d, const struct tl_block_view *b, uint32_t lo,
                            uint32_t hi, uint64_t *out);

/* A decoder that belongs to the calling thread, made at its first call and freed with the
 * thread. NULL with st set when there is no memory. */
struct tl_decoder *tl_block_decoder(struct tl_status *st);

#endif
