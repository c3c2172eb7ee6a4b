/*
 * base/assert.h: conditions that our own code must have made true.
 *
 * tl_assert is cheap and kept in release; a failed one prints its place and aborts, since going
 * on with broken state could lose what was acknowledged. tl_assert_slow walks whole structures
 * and exists in test builds only (TL_SLOW_CHECKS). Bytes from a disk, a socket or a user are
 * never asserted: they are checked and answered with a status.
 */
#ifndef TALLY_BASE_ASSERT_H
#define TALLY_BASE_ASSERT_H

_Noreturn void tl_assert_failed(const char *condition, const char *where);

#define TL__ASSERT_STR2(x) #x
#define TL__ASSERT_STR(x)  TL__ASSERT_STR2(x)
#define tl_assert(c)                                                                               \
    (__builtin_expect(!!(c), 1) ? (void)0                                                          \
                                : tl_assert_failed(#c, __FILE__ ":" TL__ASSERT_STR(__LINE__)))

#ifdef TL_SLOW_CHECKS
#define tl_assert_slow(c) tl_assert(c)
#else
#define tl_assert_slow(c) ((void)sizeof(!(c)))
#endif

#endif
