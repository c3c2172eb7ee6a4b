/*
 * tests/test.h: cmocka behind one header, with the few helpers that all unit tests share.
 */
#ifndef TALLY_TESTS_TEST_H
#define TALLY_TESTS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/status.h"

/* Fails the test with the status's own sentence when `expression` is not TL_OK. */
#define assert_ok(st, expression)                                                                  \
    do {                                                                                           \
        enum tl_code assert_ok_rc = (expression);                                                  \
        if (assert_ok_rc != TL_OK)                                                                 \
            fail_msg("%s: %s (%s)", #expression, (st)->text, (st)->where ? (st)->where : "?");     \
    } while (0)

/* Fails unless `expression` answers `code`; clears the status for the next step. */
#define assert_code(st, expected, expression)                                                      \
    do {                                                                                           \
        enum tl_code assert_code_rc = (expression);                                                \
        if (assert_code_rc != (expected))                                                          \
            fail_msg("%s: got %s, expected %s: %s", #expression, tl_code_name(assert_code_rc),     \
                     tl_code_name(expected), (st)->text);                                          \
        tl_status_clear(st);                                                                       \
    } while (0)

#endif
