/*
 * base/banned.h: functions of the C library that nothing of ours may call.
 *
 * CMake includes this file in front of every source of ours, so that a call of one is an error
 * at compile time. Each is banned because it writes without a bound, keeps hidden state, depends
 * on the process's locale or time zone, or cannot tell that it failed; the text says what to use
 * instead. The headers that declare them come first, since later ones may mention the names.
 * Parameters have no names here: they are those of the C library.
 */
#ifndef TALLY_BASE_BANNED_H
#define TALLY_BASE_BANNED_H

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TL__BANNED(instead) __attribute__((deprecated("base/banned.h: " instead)))

/* Written without a bound. */
char *strcpy(char *, const char *) TL__BANNED("use memcpy with a checked size");
char *stpcpy(char *, const char *) TL__BANNED("use memcpy with a checked size");
char *strcat(char *, const char *) TL__BANNED("use struct tl_buffer");
char *strncat(char *, const char *, size_t) TL__BANNED("use struct tl_buffer");
int sprintf(char *, const char *, ...) TL__BANNED("use snprintf or struct tl_buffer");
int vsprintf(char *, const char *, va_list) TL__BANNED("use vsnprintf");

/* Leaves no NUL, or fills up with them. */
char *strncpy(char *, const char *, size_t) TL__BANNED("use memcpy or snprintf");

/* Hidden state. */
char *strtok(char *, const char *) TL__BANNED("use strtok_r or a struct tl_reader");
int rand(void) TL__BANNED("use base/random.h");
void srand(unsigned) TL__BANNED("use base/random.h");
long random(void) TL__BANNED("use base/random.h");
double drand48(void) TL__BANNED("use base/random.h");

/* Cannot tell that the text is no number. Where the C library defines them inline, clang does not
 * take the attribute any more; gcc does. */
#ifdef __clang__
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wignored-attributes"
#endif
int atoi(const char *) TL__BANNED("use base/text.h");
long atol(const char *) TL__BANNED("use base/text.h");
long long atoll(const char *) TL__BANNED("use base/text.h");
double atof(const char *) TL__BANNED("use base/text.h");
#ifdef __clang__
#pragma clang diagnostic pop
#endif

/* The process's clock and time zone. */
time_t time(time_t *) TL__BANNED("use base/clock.h");
struct tm *gmtime(const time_t *) TL__BANNED("use base/time.h");
struct tm *localtime(const time_t *) TL__BANNED("use base/zone.h");
struct tm *localtime_r(const time_t *, struct tm *) TL__BANNED("use base/zone.h");
time_t mktime(struct tm *) TL__BANNED("use base/time.h");
char *ctime(const time_t *) TL__BANNED("use base/time.h");
char *asctime(const struct tm *) TL__BANNED("use base/time.h");
void tzset(void) TL__BANNED("use base/zone.h");

/* A name that somebody else may take between the question and the answer. */
char *tmpnam(char[L_tmpnam]) TL__BANNED("use mkdtemp");

#endif
