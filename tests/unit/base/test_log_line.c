/*
 * Promise: a line is one line whatever is in it, both formats can be read back, nothing runs past
 * the line's size, and lines of many threads do not mix.
 */
#include "base/log_line.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/thread.h"
#include "tests/test.h"

static int pipe_fds[2];
static struct tl_clock_manual clock_manual;

static struct tl_log open_log(enum tl_log_format format)
{
    assert_int_equal(pipe(pipe_fds), 0);
    tl_clock_manual_init(&clock_manual, 1714557600123456);
    struct tl_log l;
    tl_log_init(&l, pipe_fds[1], format, TL_LOG_INFO, &clock_manual.clock);
    return l;
}

static size_t close_and_read(char *buf, size_t size)
{
    close(pipe_fds[1]);
    size_t got = 0;
    ssize_t n;
    while ((n = read(pipe_fds[0], buf + got, size - 1 - got)) > 0)
        got += (size_t)n;
    close(pipe_fds[0]);
    buf[got] = '\0';
    return got;
}

static void logfmt_line(void **state)
{
    (void)state;
    char buf[8192];
    struct tl_log l = open_log(TL_LOG_LOGFMT);
    tl_log(&l, TL_LOG_DEBUG, "not wanted", TL_LOG_INT("n", 1));
    tl_log(&l, TL_LOG_INFO, "pack written", TL_LOG_TEXT("pack", "p-17"), TL_LOG_INT("rows", -5),
           TL_LOG_UINT("size", UINT64_MAX), TL_LOG_DOUBLE("took_ms", 1.5),
           TL_LOG_BOOL("cold", true), TL_LOG_TEXT("none", NULL),
           TL_LOG_TEXT("q", "a \"b\"\n\t\x01=\\ \xc3\xa9\xff\x7f"),
           TL_LOG_SLICE("s", tl_slice_of("x\0y", 3)));
    close_and_read(buf, sizeof(buf));
    assert_string_equal(buf,
                        "ts=2024-05-01T10:00:00.123456Z level=info msg=\"pack written\" pack=p-17 "
                        "rows=-5 size=18446744073709551615 took_ms=1.5 cold=true none=\"\" "
                        "q=\"a \\\"b\\\"\\n\\t\\u0001=\\\\ \xc3\xa9\\ufffd\\u007f\" "
                        "s=\"x\\u0000y\"\n");
    assert_int_equal(l.written, 1);
}

static void json_line(void **state)
{
    (void)state;
    char buf[8192];
    struct tl_log l = open_log(TL_LOG_JSON);
    tl_clock_manual_set(&clock_manual, 1714557600000007);
    tl_log(&l, TL_LOG_ERROR, "x", TL_LOG_TEXT("q", "a\"\xc2\x85\n"),
           TL_LOG_DOUBLE("d", (double)NAN), TL_LOG_BOOL("b", false));
    tl_log_say(&l, TL_LOG_WARN, "alone");
    struct tl_status st = TL_STATUS_INIT;
    (void)TL_FAIL(&st, TL_LIMIT, "query memory");
    st.where = "f.c:1";
    tl_log_status(&l, TL_LOG_ERROR, "failed", &st);
    close_and_read(buf, sizeof(buf));
    assert_string_equal(
        buf,
        "{\"ts\":\"2024-05-01T10:00:00.000007Z\",\"level\":\"error\",\"msg\":\"x\","
        "\"q\":\"a\\\"\\ufffd\\n\",\"d\":\"NaN\",\"b\":false}\n"
        "{\"ts\":\"2024-05-01T10:00:00.000007Z\",\"level\":\"warn\",\"msg\":\"alone\"}\n"
        "{\"ts\":\"2024-05-01T10:00:00.000007Z\",\"level\":\"error\",\"msg\":\"failed\","
        "\"code\":\"limit\",\"sqlstate\":\"54000\",\"error\":\"query memory\",\"at\":\"f.c:1\","
        "\"os_error\":0}\n");
}

static void long_values_are_cut(void **state)
{
    (void)state;
    static char big[20000];
    memset(big, '\x01', sizeof(big) - 1); /* six bytes each when escaped */
    for (int format = 0; format < 2; format++) {
        for (size_t size = 0; size < 1100; size += 7) {
            char buf[8192];
            struct tl_log l = open_log((enum tl_log_format)format);
            tl_log(&l, TL_LOG_INFO, big, TL_LOG_TEXT("lost", "x"));
            tl_log(&l, TL_LOG_INFO, "m", TL_LOG_SLICE("a", tl_slice_of(big, size)),
                   TL_LOG_SLICE("b", tl_slice_of(big, size)),
                   TL_LOG_SLICE("c", tl_slice_of(big, size)));
            size_t got = close_and_read(buf, sizeof(buf));
            assert_int_equal(l.written, 2);
            char *second = strchr(buf, '\n') + 1;
            assert_true(second - buf <= TL_LOG_LINE_BYTES_MAX);
            assert_true(buf + got - second <= TL_LOG_LINE_BYTES_MAX);
            assert_int_equal(buf[got - 1], '\n');
            assert_ptr_equal(strchr(second, '\n'), buf + got - 1);
            if (format == TL_LOG_JSON) {
                assert_int_equal(buf[got - 2], '}');
                assert_int_equal(second[-2], '}');
            }
            int quotes = 0;
            for (char *p = second; *p; p++)
                quotes += *p == '"' && p[-1] != '\\';
            assert_int_equal(quotes % 2, 0);
        }
    }
}

static void levels_and_lost_lines(void **state)
{
    (void)state;
    enum tl_log_level level;
    assert_true(tl_log_level_parse(tl_slice_str("WARN"), &level));
    assert_int_equal(level, TL_LOG_WARN);
    assert_false(tl_log_level_parse(tl_slice_str("loud"), &level));
    enum tl_log_format format;
    assert_true(tl_log_format_parse(tl_slice_str("json"), &format));
    assert_int_equal(format, TL_LOG_JSON);
    assert_false(tl_log_format_parse(tl_slice_str("xml"), &format));
    struct tl_log l;
    tl_log_init(&l, -1, TL_LOG_JSON, TL_LOG_WARN, tl_clock_system());
    tl_log_say(&l, TL_LOG_INFO, "x");
    assert_int_equal(l.lost, 0);
    tl_log_say(&l, TL_LOG_ERROR, "x");
    assert_int_equal(l.lost, 1);
    tl_log_set_level(&l, TL_LOG_DEBUG);
    assert_true(tl_log_wants(&l, TL_LOG_DEBUG));
}

static void log_many(void *arg)
{
    struct tl_log *l = arg;
    for (int i = 0; i < 100; i++)
        tl_log(l, TL_LOG_INFO, "from a thread", TL_LOG_INT("i", i));
}

static void threads_do_not_mix(void **state)
{
    (void)state;
    static char buf[64000];
    struct tl_status st = TL_STATUS_INIT;
    struct tl_log l = open_log(TL_LOG_LOGFMT);
    struct tl_thread threads[4];
    for (int i = 0; i < 4; i++)
        assert_ok(&st, tl_thread_start(&threads[i], "logger", log_many, &l, &st));
    for (int i = 0; i < 4; i++)
        tl_thread_join(&threads[i]);
    close_and_read(buf, sizeof(buf));
    int lines = 0;
    for (char *p = buf; *p; p = strchr(p, '\n') + 1, lines++)
        assert_memory_equal(
            p, "ts=2024-05-01T10:00:00.123456Z level=info msg=\"from a thread\" i=", 64);
    assert_int_equal(lines, 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logfmt_line),         cmocka_unit_test(json_line),
        cmocka_unit_test(long_values_are_cut), cmocka_unit_test(levels_and_lost_lines),
        cmocka_unit_test(threads_do_not_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
