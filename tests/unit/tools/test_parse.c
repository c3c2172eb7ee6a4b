/*
 * Parsers of access logs, CSV and NDJSON, values, and input that is compressed or cut.
 */
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "tools/parse.h"
#include "tools/values.h"

static struct tl_status st = TL_STATUS_INIT;

static void assert_text(struct tl_field f, const char *expected)
{
    if (!expected) {
        assert_in_range(f.kind, TL_FIELD_MISSING, TL_FIELD_NULL);
        return;
    }
    assert_int_not_equal(f.kind, TL_FIELD_MISSING);
    assert_int_not_equal(f.kind, TL_FIELD_NULL);
    if (!tl_slice_eq(f.text, tl_slice_str(expected)))
        fail_msg("'%.*s', expected '%s'", (int)f.text.size, (const char *)f.text.data, expected);
}

/* ---- values ---- */

static void test_times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t us;
    } good[] = {{"1970-01-01", 0},
                {"2024-02-29T12:00:00Z", 1709208000000000},
                {"2024-02-29 12:00:00.5", 1709208000500000},
                {"2024-02-29T12:00:00.1234567+02:00", 1709200800123456},
                {"2024-02-29T12:00-0130", 1709213400000000},
                {"1969-12-31T23:59:59.999999Z", -1},
                {"17/May/2015:10:05:03 +0000", 1431857103000000},
                {"01/Aug/1995:00:00:01 -0400", 807249601000000},
                {"807256800", 807256800000000},
                {"1431857103000", 1431857103000000},
                {"1431857103000000", 1431857103000000},
                {"1431857103.25", 1431857103250000},
                {"-1", -1000000}};
    static const char *const bad[] = {"",
                                      "2023-02-29",
                                      "2024-13-01",
                                      "2024-1-01",
                                      "2024-02-29T24:00:00",
                                      "2024-02-29T12:00:00+99:00",
                                      "2024-02-29T12:00:00 Zulu",
                                      "2024-02-29T12:00:00.",
                                      "17/Mai/2015:10:05:03 +0000",
                                      "32/May/2015:10:05:03 +0000",
                                      "99999999999999999999",
                                      "12.",
                                      "noon"};
    int64_t us;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(tl_any_time_read(tl_slice_str(good[i].text), &us));
        assert_int_equal(us, good[i].us);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (tl_any_time_read(tl_slice_str(bad[i]), &us))
            fail_msg("'%s' was read as a time", bad[i]);
}

static void test_numbers(void **state)
{
    (void)state;
    int64_t v;
    double d;
    bool b;
    assert_true(tl_int_read(tl_slice_str("-9223372036854775808"), &v) && v == INT64_MIN);
    assert_true(tl_int_read(tl_slice_str("+12"), &v) && v == 12);
    assert_false(tl_int_read(tl_slice_str("9223372036854775808"), &v));
    assert_false(tl_int_read(tl_slice_str("1.0"), &v));
    assert_false(tl_int_read(tl_slice_str("-"), &v));
    assert_true(tl_decimal_read(tl_slice_str("12.345649"), 4, &v) && v == 123456);
    assert_true(tl_decimal_read(tl_slice_str("-0.00005"), 4, &v) && v == -1);
    assert_true(tl_decimal_read(tl_slice_str("7"), 4, &v) && v == 70000);
    assert_true(tl_decimal_read(tl_slice_str("0.00004999"), 4, &v) && v == 0);
    assert_false(tl_decimal_read(tl_slice_str("."), 4, &v));
    assert_false(tl_decimal_read(tl_slice_str("1.2.3"), 4, &v));
    assert_false(tl_decimal_read(tl_slice_str("1000000000000000"), 4, &v));
    assert_true(tl_double_read(tl_slice_str("1e-3"), &d) && d > 0.00099 && d < 0.00101);
    assert_false(tl_double_read(tl_slice_str("0x10"), &d));
    assert_false(tl_double_read(tl_slice_str("1 "), &d));
    assert_true(tl_bool_read(tl_slice_str("true"), &b) && b);
    assert_false(tl_bool_read(tl_slice_str("maybe"), &b));
}

static void test_utf8(void **state)
{
    (void)state;
    struct tl_buffer out;
    tl_buffer_init(&out, "test", 1000);
    tl_utf8_put(&out, 0x41);
    tl_utf8_put(&out, 0xfc);
    tl_utf8_put(&out, 0x20ac);
    tl_utf8_put(&out, 0x1f600);
    assert_true(tl_slice_eq(tl_buffer_slice(&out), tl_slice_str("Aü€😀")));
    tl_buffer_deinit(&out);
}

/* ---- access logs ---- */

static void test_log(void **state)
{
    (void)state;
    static const struct {
        const char *line, *client, *user, *method, *path, *query, *protocol, *status, *bytes,
            *referrer, *agent;
    } good[] = {
        {"1.2.3.4 - - [17/May/2015:10:05:03 +0000] \"GET /a/b?x=1&y HTTP/1.1\" 200 203 \"-\" \"M\"",
         "1.2.3.4", NULL, "GET", "/a/b", "x=1&y", "HTTP/1.1", "200", "203", NULL, "M"},
        {"h - joe doe [17/May/2015:10:05:03 +0000] \"POST / HTTP/1.0\" 304 - \"http://r/\" \"a\\\"b"
         "\\\\c\\x41\\n\"",
         "h", "joe doe", "POST", "/", NULL, "HTTP/1.0", "304", "0", "http://r/", "a\"b\\cA\n"},
        {"h - - [17/May/2015:10:05:03 +0000] \"GET /old page\" 200 5 \"-\" \"-\" extra fields", "h",
         NULL, "GET", "/old page", NULL, NULL, "200", "5", NULL, NULL},
        {"h - - [17/May/2015:10:05:03 +0000] \"-\" 400 0 \"-\" \"-\"", "h", NULL, NULL, NULL, NULL,
         NULL, "400", "0", NULL, NULL},
        {"h - - [17/May/2015:10:05:03 +0000] \"\\x16\\x03\" 400 0 \"\" \"-\"", "h", NULL, NULL,
         "\x16\x03", NULL, NULL, "400", "0", "", NULL},
        {"h - - [17/May/2015:10:05:03 +0000] \"GET /? HTTP/1.1\" 200 1 \"-\" \"-\"", "h", NULL,
         "GET", "/", "", "HTTP/1.1", "200", "1", NULL, NULL},
    };
    static const char *const bad[] = {
        "",
        "h",
        "h - -",
        "h - - [17/May/2015:10:05:03 +0000]",
        "h - - [never] \"GET / HTTP/1.0\" 200 1 \"-\" \"-\"",
        "h - - [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.0 200 1",
        "h - - [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.0\" OK 1 \"-\" \"-\"",
        "h - - [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.0\" 200 x \"-\" \"-\"",
        "h - - [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.0\" 200 1",
        "h - - [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.0\" 200 1 \"-\" \"cut off",
        "h - - [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.0\" 200 1 \"-\" \"a\"b\"",
    };
    struct tl_buffer scratch;
    tl_buffer_init(&scratch, "test", 1 << 20);
    struct tl_field f[TL_LOG_FIELD_COUNT];
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        const char *why = tl_log_parse(tl_slice_str(good[i].line), true, &scratch, f);
        if (why)
            fail_msg("%s: %s", good[i].line, why);
        assert_text(f[TL_LOG_CLIENT], good[i].client);
        assert_text(f[TL_LOG_AUTH_USER], good[i].user);
        assert_text(f[TL_LOG_METHOD], good[i].method);
        assert_text(f[TL_LOG_PATH], good[i].path);
        assert_text(f[TL_LOG_QUERY], good[i].query);
        assert_text(f[TL_LOG_PROTOCOL], good[i].protocol);
        assert_text(f[TL_LOG_STATUS], good[i].status);
        assert_text(f[TL_LOG_BYTES], good[i].bytes);
        assert_text(f[TL_LOG_REFERRER], good[i].referrer);
        assert_text(f[TL_LOG_USER_AGENT], good[i].agent);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (!tl_log_parse(tl_slice_str(bad[i]), true, &scratch, f))
            fail_msg("accepted: %s", bad[i]);
    assert_null(tl_log_parse(tl_slice_str(bad[8]), false, &scratch, f)); /* common has no more */
    /* No cut of a line may be read past its end (ASan). */
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        for (size_t n = 0; n <= strlen(good[i].line); n++) {
            char *copy = malloc(n + 1);
            memcpy(copy, good[i].line, n);
            copy[n] = 0x5a;
            (void)tl_log_parse(tl_slice_of(copy, n), true, &scratch, f);
            free(copy);
        }
    }
    tl_buffer_deinit(&scratch);
}

/* ---- input ---- */

static void open_bytes(struct tl_input *in, const void *bytes, size_t size)
{
    char path[] = "/tmp/tally-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), (ssize_t)size);
    close(fd);
    assert_ok(&st, tl_input_open(in, path, &st));
    unlink(path);
}

static size_t gzip(const void *bytes, size_t size, uint8_t *out, size_t room)
{
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)bytes;
    z.avail_in = (uInt)size;
    z.next_out = out;
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return room - z.avail_out;
}

static void check_lines(struct tl_input *in, uint32_t count)
{
    for (uint32_t i = 0;; i++) {
        struct tl_slice line;
        bool cut, found;
        assert_ok(&st, tl_input_line(in, &line, &cut, &found, &st));
        if (!found) {
            assert_int_equal(i, count);
            return;
        }
        char expected[64];
        snprintf(expected, sizeof(expected), "line %u of the input", i);
        assert_false(cut);
        assert_true(tl_slice_eq(line, tl_slice_str(expected)));
    }
}

static void test_input(void **state)
{
    (void)state;
    enum { LINES = 60000 };
    struct tl_buffer text;
    tl_buffer_init(&text, "test", 8 << 20);
    size_t half = 0;
    for (uint32_t i = 0; i < LINES; i++) {
        if (i == LINES / 2)
            half = text.size;
        tl_buffer_printf(&text, "line %u of the input%s", i,
                         i + 1 == LINES ? ""
                         : i % 2        ? "\r\n"
                                        : "\n");
    }
    struct tl_input in;
    open_bytes(&in, text.data, text.size);
    check_lines(&in, LINES);
    tl_input_close(&in);

    size_t room = text.size + 1000;
    uint8_t *packed = malloc(room);
    size_t size = gzip(text.data, half, packed, room);
    size += gzip(text.data + half, text.size - half, packed + size, room - size); /* two members */
    open_bytes(&in, packed, size);
    check_lines(&in, LINES);
    tl_input_close(&in);
    for (size_t cut = 1; cut < 40; cut++) { /* what is cut off is told, never taken for the end */
        open_bytes(&in, packed, size - cut * (size / 50));
        enum tl_code rc = TL_OK;
        bool found = true, ignored;
        struct tl_slice line;
        while (!rc && found)
            rc = tl_input_line(&in, &line, &ignored, &found, &st);
        assert_int_equal(rc, TL_CORRUPT);
        tl_status_clear(&st);
        tl_input_close(&in);
    }

    size = ZSTD_compress(packed, room, text.data, half, 3);
    assert_false(ZSTD_isError(size));
    size_t second =
        ZSTD_compress(packed + size, room - size, text.data + half, text.size - half, 3);
    assert_false(ZSTD_isError(second));
    open_bytes(&in, packed, size + second);
    check_lines(&in, LINES);
    tl_input_close(&in);
    open_bytes(&in, packed, size + second / 2);
    enum tl_code rc = TL_OK;
    for (bool found = true, cut; !rc && found;) {
        struct tl_slice line;
        rc = tl_input_line(&in, &line, &cut, &found, &st);
    }
    assert_int_equal(rc, TL_CORRUPT);
    tl_status_clear(&st);
    tl_input_close(&in);

    size = 3 * (size_t)TL_INPUT_RECORD_MAX; /* a line without end, then a good one */
    uint8_t *longer = malloc(size + 4);
    memset(longer, 'x', size);
    memcpy(longer + size, "\nok\n", 4);
    open_bytes(&in, longer, size + 4);
    struct tl_slice line;
    bool cut, found;
    assert_ok(&st, tl_input_line(&in, &line, &cut, &found, &st));
    assert_true(found && cut);
    assert_ok(&st, tl_input_line(&in, &line, &cut, &found, &st));
    assert_true(found && !cut && line.size == 2);
    tl_input_close(&in);
    free(longer);
    free(packed);
    tl_buffer_deinit(&text);
    assert_code(&st, TL_NOT_FOUND, tl_input_open(&in, "/no/such/file", &st));
    open_bytes(&in, "", 0);
    check_lines(&in, 0);
    tl_input_close(&in);
}

/* ---- CSV ---- */

static void test_csv(void **state)
{
    (void)state;
    static const char text[] = "a,b,c\r\n"
                               "1,,\"\"\n"
                               "\"x,y\",\"say \"\"hi\"\"\",\"two\nlines\"\r\n"
                               "short\n"
                               "\"bad\"x,1,2\n"
                               "\n"
                               "last,one,\"\"";
    static const struct {
        uint32_t count, lines;
        const char *fields[3];
        bool malformed;
    } expected[] = {{3, 1, {"a", "b", "c"}, false},
                    {3, 1, {"1", NULL, ""}, false},
                    {3, 2, {"x,y", "say \"hi\"", "two\nlines"}, false},
                    {1, 1, {"short"}, false},
                    {0, 1, {NULL}, true},
                    {1, 1, {NULL}, false},
                    {3, 1, {"last", "one", ""}, false}};
    struct tl_input in;
    open_bytes(&in, text, sizeof(text) - 1);
    struct tl_buffer scratch;
    tl_buffer_init(&scratch, "test", 1 << 20);
    struct tl_field f[8];
    struct tl_slice raw;
    const char *reason;
    bool found;
    uint32_t count, lines;
    for (size_t i = 0; i < 7; i++) {
        assert_ok(
            &st, tl_csv_next(&in, ',', &scratch, f, 8, &count, &raw, &lines, &reason, &found, &st));
        assert_true(found);
        assert_int_equal(expected[i].malformed, reason != NULL);
        assert_int_equal(lines, expected[i].lines);
        if (reason)
            continue;
        assert_int_equal(count, expected[i].count);
        for (uint32_t k = 0; k < count; k++)
            assert_text(f[k], expected[i].fields[k]);
    }
    assert_ok(&st,
              tl_csv_next(&in, ',', &scratch, f, 8, &count, &raw, &lines, &reason, &found, &st));
    assert_false(found);
    tl_input_close(&in);
    /* A quote that is never closed costs its own line, not the rest of the file. */
    open_bytes(&in, "1,\"open\n2,fine\n", 15);
    assert_ok(&st,
              tl_csv_next(&in, ',', &scratch, f, 8, &count, &raw, &lines, &reason, &found, &st));
    assert_true(found && reason);
    assert_ok(&st,
              tl_csv_next(&in, ',', &scratch, f, 8, &count, &raw, &lines, &reason, &found, &st));
    assert_true(found && !reason);
    assert_text(f[1], "fine");
    tl_input_close(&in);
    tl_buffer_deinit(&scratch);
}

/* ---- NDJSON ---- */

static bool count_member(void *arg, struct tl_slice key, const struct tl_field *value)
{
    (void)key;
    (void)value;
    ++*(int *)arg;
    return true;
}

static void test_json(void **state)
{
    (void)state;
    struct tl_json_paths paths;
    assert_ok(&st, tl_json_paths_init(&paths, &st));
    static const char *const wanted[] = {"a", "b.c", "b.d.e", "s", "list", "obj", "n", "t", "zero"};
    for (uint32_t i = 0; i < 9; i++)
        assert_int_equal(tl_json_paths_find(&paths, tl_slice_str(wanted[i]), true), i);
    struct tl_buffer scratch;
    tl_buffer_init(&scratch, "test", 1 << 20);
    static struct tl_field f[TL_JSON_PATHS_MAX];
    static const char line[] =
        " {\"x\":[1,{\"y\":[]},\"}\"], \"a\" : -1.5e3 ,\"b\":{\"c\":true,\"d\":{\"e\":null}},"
        "\"s\":\"q\\\"\\u00fc\\ud83d\\ude00\\n\\/\",\"list\":[1, 2,[3]],\"obj\":{\"k\":{\"v\":1}},"
        "\"n\":0,\"t\":\"\",\"empty\":{}} ";
    assert_null(tl_json_parse(tl_slice_str(line), &paths, false, 4, &scratch, f));
    assert_text(f[0], "-1.5e3");
    assert_int_equal(f[1].kind, TL_FIELD_TRUE);
    assert_int_equal(f[2].kind, TL_FIELD_NULL);
    assert_text(f[3], "q\"ü😀\n/");
    assert_int_equal(f[4].kind, TL_FIELD_ARRAY);
    assert_text(f[4], "[1, 2,[3]]");
    assert_int_equal(f[5].kind, TL_FIELD_OBJECT);
    assert_text(f[5], "{\"k\":{\"v\":1}}");
    assert_int_equal(f[6].kind, TL_FIELD_NUMBER);
    assert_text(f[7], "");
    assert_int_equal(f[8].kind, TL_FIELD_MISSING);

    static const char *const bad[] = {"",
                                      "[]",
                                      "{",
                                      "{\"a\"}",
                                      "{\"a\":}",
                                      "{\"a\":01}",
                                      "{\"a\":1,}",
                                      "{\"a\":1 \"s\":2}",
                                      "{\"a\":\"\\q\"}",
                                      "{\"a\":\"\x01\"}",
                                      "{\"a\":tru}",
                                      "{\"a\":[1,]}",
                                      "{\"a\":[1}}",
                                      "{\"a\":1}}",
                                      "{\"x\":{\"y\":1}",
                                      "{\"a\":1.}",
                                      "{,\"a\":1}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (!tl_json_parse(tl_slice_str(bad[i]), &paths, false, 4, &scratch, f))
            fail_msg("accepted: %s", bad[i]);
    for (size_t n = 0; n < sizeof(line) - 2; n++) { /* cut anywhere: refused, nothing overread */
        char *copy = malloc(n + 1);
        memcpy(copy, line, n);
        if (n + 3 < sizeof(line))
            assert_non_null(tl_json_parse(tl_slice_of(copy, n), &paths, false, 4, &scratch, f));
        free(copy);
    }
    /* Nesting is bounded. */
    struct tl_buffer deep;
    tl_buffer_init(&deep, "test", 1 << 20);
    tl_buffer_printf(&deep, "{\"a\":");
    for (int i = 0; i < 10000; i++)
        tl_buffer_put_u8(&deep, '[');
    assert_non_null(tl_json_parse(tl_buffer_slice(&deep), &paths, false, 4, &scratch, f));
    /* What is not known is found out, down to the depth asked for. */
    uint32_t before = paths.count;
    assert_null(tl_json_parse(tl_slice_str("{\"p\":{\"q\":{\"r\":1}},\"u\":2}"), &paths, true, 1,
                              &scratch, f));
    assert_int_equal(paths.count, before + 2);
    assert_text(f[tl_json_paths_find(&paths, tl_slice_str("p.q"), false)], "{\"r\":1}");
    int members = 0;
    assert_true(tl_json_each(tl_slice_str("{\"a\":1,\"b\":[2],\"c\":\"\\n\"}"), &scratch,
                             count_member, &members));
    assert_int_equal(members, 3);
    tl_buffer_deinit(&deep);
    tl_buffer_deinit(&scratch);
    tl_json_paths_deinit(&paths);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_times), cmocka_unit_test(test_numbers),
                                       cmocka_unit_test(test_utf8),  cmocka_unit_test(test_log),
                                       cmocka_unit_test(test_input), cmocka_unit_test(test_csv),
                                       cmocka_unit_test(test_json)};
    return cmocka_run_group_tests_name("tools/parse", tests, NULL, NULL);
}
