/*
 * Promise: the first failure wins, context goes in front, no text overflows its buffer.
 */
#include "base/status.h"

#include <errno.h>
#include <string.h>

#include "tests/test.h"

static void first_failure_wins(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    assert_int_equal(TL_FAIL_OS(&st, TL_IO, ENOENT, "opening %s", "x"), TL_IO);
    assert_int_equal(TL_FAIL(&st, TL_LIMIT, "closing"), TL_IO);
    assert_string_equal(st.text, "opening x: No such file or directory");
    assert_int_equal(st.os_error, ENOENT);
    tl_status_wrap(&st, "starting %d", 7);
    assert_string_equal(st.text, "starting 7: opening x: No such file or directory");
    assert_non_null(strstr(st.where, "test_status.c:"));
    tl_status_clear(&st);
    tl_status_wrap(&st, "nothing failed");
    assert_int_equal(st.code, TL_OK);
    assert_string_equal(st.text, "");
}

static void texts_are_cut(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    char big[1000];
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    (void)TL_FAIL_OS(&st, TL_IO, EIO, "%s", big);
    assert_int_equal(strlen(st.text), sizeof(st.text) - 1);
    tl_status_wrap(&st, "context");
    assert_int_equal(strlen(st.text), sizeof(st.text) - 1);
    assert_memory_equal(st.text, "context: xxx", 12);
    tl_status_wrap(&st, "%s", big);
    assert_int_equal(strlen(st.text), sizeof(st.text) - 1);
}

static void sqlstates(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    (void)TL_FAIL(&st, TL_INVALID, "division by zero");
    assert_string_equal(tl_status_sqlstate(&st), "22023");
    tl_status_sql(&st, "22012", 8);
    assert_string_equal(tl_status_sqlstate(&st), "22012");
    assert_int_equal(st.position, 8);
    tl_status_sql(&st, "XX000", 1); /* the first stays */
    assert_string_equal(tl_status_sqlstate(&st), "22012");
    for (int code = 0; code < TL_CODE_COUNT; code++) {
        struct tl_status one = {.code = (enum tl_code)code};
        assert_int_equal(strlen(tl_status_sqlstate(&one)), 5);
        assert_non_null(tl_code_name((enum tl_code)code));
    }
    assert_string_equal(tl_code_name((enum tl_code)99), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_failure_wins),
        cmocka_unit_test(texts_are_cut),
        cmocka_unit_test(sqlstates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
