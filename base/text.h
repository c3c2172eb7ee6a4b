/*
 * base/text.h: UTF-8, and the spelling of numbers as PostgreSQL spells them.
 *
 * Parsers take a whole slice, allow white space around the value, and say what is wrong in
 * PostgreSQL's words with its SQLSTATE (22P02 for syntax, 22003 for range). Printers write into
 * the caller's buffer of at least the size named here, end with a NUL that is not counted, and
 * return the number of bytes.
 *
 * Ownership  everything is the caller's; nothing is kept.
 * Threads    no shared state.
 * Errors     TL_INVALID. On any error *out is left as it was.
 */
#ifndef TALLY_BASE_TEXT_H
#define TALLY_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/int128.h"
#include "base/status.h"

enum {
    TL_INT64_TEXT_MAX = 24,
    TL_DOUBLE_TEXT_MAX = 32,
    TL_DECIMAL_TEXT_MAX = 48,
    TL_DECIMAL64_DIGITS = 18,
    TL_DECIMAL128_DIGITS = 38,
};

/* ---- UTF-8 (RFC 3629: no surrogates, nothing overlong, nothing above U+10FFFF) ---- */

bool tl_utf8_valid(struct tl_slice s, bool allow_nul);
/* Bytes before the first that is not valid; s.size when all are. */
size_t tl_utf8_valid_size(struct tl_slice s, bool allow_nul);
/* Characters in a valid text. */
size_t tl_utf8_count(struct tl_slice s);
/* True when all bytes are < 0x80 (NUL included). */
bool tl_text_is_ascii(struct tl_slice s);
/* Appends s with each invalid sequence and each NUL replaced by U+FFFD; counts replacements. */
uint64_t tl_utf8_repair(struct tl_slice s, struct tl_buffer *out);

/* ---- white space and case, ASCII only ---- */

struct tl_slice tl_text_trim(struct tl_slice s);
/* Equal when the ASCII letters' case is left out. */
bool tl_text_eq_nocase(struct tl_slice a, const char *b);

/* ---- numbers ---- */

TL_CHECK enum tl_code tl_parse_int64(struct tl_slice s, int64_t *out, struct tl_status *st);
size_t tl_print_int64(int64_t v, char buf[TL_INT64_TEXT_MAX]);
size_t tl_print_uint64(uint64_t v, char buf[TL_INT64_TEXT_MAX]);

/* Decimal notation, NaN, Infinity, inf; refuses what overflows or vanishes, as float8in does. */
TL_CHECK enum tl_code tl_parse_double(struct tl_slice s, double *out, struct tl_status *st);
/* The shortest text that reads back as v: 0.1, 1e+20, -0, NaN, Infinity. */
size_t tl_print_double(double v, char buf[TL_DOUBLE_TEXT_MAX]);

/* 10^n, n <= 38. */
tl_i128 tl_pow10_i128(unsigned n);
/* Digits, point and exponent; rounded half away from zero to `scale` digits. More than 38 (18)
 * digits in all: 22003. There is no NaN and no infinity. */
TL_CHECK enum tl_code tl_parse_decimal128(struct tl_slice s, unsigned scale, tl_i128 *out,
                                          struct tl_status *st);
TL_CHECK enum tl_code tl_parse_decimal64(struct tl_slice s, unsigned scale, int64_t *out,
                                         struct tl_status *st);
/* A literal at the scale that it is written with: "1.50" is 150 at 2, "1e3" 1000 at 0. */
TL_CHECK enum tl_code tl_parse_decimal_literal(struct tl_slice s, tl_i128 *out, unsigned *scale,
                                               struct tl_status *st);
size_t tl_print_decimal(tl_i128 v, unsigned scale, char buf[TL_DECIMAL_TEXT_MAX]);

/* t, true, y, yes, on, 1 and their opposites, or any unique beginning of them; any case. */
TL_CHECK enum tl_code tl_parse_bool(struct tl_slice s, bool *out, struct tl_status *st);

/* ---- hexadecimal ---- */

/* 2 × size lower-case digits and a NUL. */
void tl_print_hex(const void *data, size_t size, char *buf);
/* Exactly `size` bytes from 2 × size digits of either case; false otherwise. */
bool tl_parse_hex(struct tl_slice s, void *out, size_t size);

#endif
