/*
 * tools/values.h: reading values out of text: times, numbers, code points.
 *
 * Ownership  nothing is kept.
 * Threads    any.
 * Units      microseconds UTC since 1970-01-01.
 * Errors     false: the text is not such a value.
 */
#ifndef TALLY_TOOLS_VALUES_H
#define TALLY_TOOLS_VALUES_H

#include "base/bytes.h"
#include "base/vector.h"

/* Days since 1970-01-01 of a date of the proleptic Gregorian calendar. */
int64_t tl_days_of(int64_t year, uint32_t month, uint32_t day);
bool tl_date_valid(int64_t year, uint32_t month, uint32_t day);

/* 2024-06-01, 2024-06-01T12:00, 2024-06-01 12:00:00.123456+02:00, … Z, +0200; without an offset
 * it is UTC. Digits beyond microseconds are cut. */
bool tl_time_read(struct tl_slice s, int64_t *us);
/* Also a number: seconds, milliseconds or microseconds since 1970, told apart by their size, with
 * a fraction; and the form of access logs, 01/Aug/1995:00:00:01 -0400. */
bool tl_any_time_read(struct tl_slice s, int64_t *us);
/* 01/Aug/1995:00:00:01 -0400 */
bool tl_log_time_read(struct tl_slice s, int64_t *us);

bool tl_int_read(struct tl_slice s, int64_t *v);
bool tl_double_read(struct tl_slice s, double *v);
/* As an integer times 10^-scale, rounded half away from zero. */
bool tl_decimal_read(struct tl_slice s, uint32_t scale, int64_t *v);
bool tl_bool_read(struct tl_slice s, bool *v);

/* Appends a code point. */
void tl_utf8_put(struct tl_buffer *out, uint32_t c);

#endif
