/*
 * base/varint.h: runs of protobuf's varints, decoded many at a time.
 *
 * A processor with AVX-512 (VBMI2) takes 64 bytes a step: the bytes that end a varint, and those
 * before them, are compressed into planes of their own and put together in lanes of 32 bits;
 * about half a cycle per value of one or two bytes. Values of five bytes and more, the ends of a
 * run, and other processors take a loop of some cycles per value.
 *
 * Ownership  everything is borrowed for the call.
 * Threads    no shared state.
 */
#ifndef TALLY_BASE_VARINT_H
#define TALLY_BASE_VARINT_H

#include "base/bytes.h"

#define TL_VARINTS_DAMAGED SIZE_MAX

/* How many varints end in these bytes. */
size_t tl_varints_count(struct tl_slice bytes);

/* Decodes all varints of `bytes`, at most `limit` of them: how many there were.
 * TL_VARINTS_DAMAGED: the last one is cut off, one does not fit its type, or there are more. */
size_t tl_varints_u32(struct tl_slice bytes, uint32_t *out, size_t limit);
size_t tl_varints_u64(struct tl_slice bytes, uint64_t *out, size_t limit);

/* For tests: false lets the portable loop do everything. */
void tl_varints_use_wide(bool use);

#endif
