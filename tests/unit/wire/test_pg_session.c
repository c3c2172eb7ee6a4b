/*
 * Promise: a session of PostgreSQL's protocol answers message by message what the protocol's
 * description says: who may come in, simple and extended queries, row limits, errors until Sync,
 * transaction blocks, COPY both ways, cancels, and the end of a text at its first error.
 *
 * An answer is written as one letter per message, rows as their values: "1" ParseComplete, "2"
 * BindComplete, "3" CloseComplete, "T" columns, "D(a|b)" a row, "C[SELECT 1]", "E[42601]",
 * "N[…]" a notice, "Z:I" ready. ParameterStatus and key are left out.
 */
#include <stdio.h>

#include "tests/test.h"
#include "tests/unit/wire/pg_talk.h"

static struct pg_world world;
static struct pg_talk talk;
static char text[1 << 16];

static const char STARTUP[] = "user\0tally\0database\0shop\0application_name\0test\0";

static void add(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void add(const char *format, ...)
{
    size_t at = strlen(text);
    va_list args;
    va_start(args, format);
    vsnprintf(text + at, sizeof(text) - at, format, args);
    va_end(args);
}

static void add_row(struct tl_slice body)
{
    struct tl_pg_reader r = tl_pg_reader_of(body);
    uint16_t n = tl_pg_read_u16(&r);
    add("D(");
    for (uint16_t i = 0; i < n; i++) {
        uint32_t size = tl_pg_read_u32(&r);
        add("%s", i ? "|" : "");
        if (size == UINT32_MAX) {
            add("NULL");
            continue;
        }
        struct tl_slice v = tl_pg_read_bytes(&r, size);
        add("%.*s", (int)v.size, (const char *)v.data);
    }
    add(")");
    assert_true(tl_pg_read_done(&r));
}

static void add_report(char type, struct tl_slice body)
{
    struct tl_pg_reader r = tl_pg_reader_of(body);
    uint8_t field;
    while ((field = tl_pg_read_u8(&r)) != 0) {
        struct tl_slice v = tl_pg_read_string(&r);
        if (field == 'C')
            add("%c[%.*s]", type, (int)v.size, (const char *)v.data);
    }
    assert_true(tl_pg_read_done(&r));
}

/* All that came since the last time, written down. */
static const char *answers(void)
{
    text[0] = '\0';
    pg_talk_run(&talk);
    struct tl_slice at = tl_buffer_slice(&talk.got), body;
    char type;
    while (pg_talk_next(&at, &type, &body)) {
        switch (type) {
        case 'S':
        case 'K':
            continue;
        case 'D':
            add_row(body);
            break;
        case 'C':
            add("C[%s]", (const char *)body.data);
            break;
        case 'E':
        case 'N':
            add_report(type, body);
            break;
        case 'Z':
            add("Z:%c", body.data[0]);
            break;
        case 'R':
            add("R%u", tl_pg_get_u32(body.data));
            break;
        case 'd':
            add("d(%.*s)", (int)(body.size ? body.size - 1 : 0), (const char *)body.data);
            break;
        default:
            add("%c", type);
        }
        add(" ");
    }
    size_t n = strlen(text);
    if (n > 0)
        text[n - 1] = '\0';
    tl_buffer_clear(&talk.got);
    return text;
}

static int setup(void **state)
{
    (void)state;
    pg_world_open(&world, 60000);
    pg_talk_begin(&talk, &world, tl_slice_of(STARTUP, sizeof(STARTUP)), true);
    return strcmp(answers(), "R0 Z:I") != 0;
}

static int teardown(void **state)
{
    (void)state;
    pg_talk_end(&talk);
    pg_world_close(&world);
    return 0;
}

static const char *query(const char *sql)
{
    pg_talk_send(&talk, 'Q', tl_slice_of(sql, strlen(sql) + 1));
    return answers();
}

/* ---- messages of the extended protocol ---- */

static void send_parse(const char *name, const char *sql)
{
    struct tl_buffer b;
    tl_buffer_init(&b, "Parse", 1 << 16);
    tl_pg_put_string(&b, name);
    tl_pg_put_string(&b, sql);
    tl_pg_put_u16(&b, 0);
    pg_talk_send(&talk, 'P', tl_buffer_slice(&b));
    tl_buffer_deinit(&b);
}

static void send_bind(const char *portal, const char *statement, const char *const *values,
                      uint16_t count)
{
    struct tl_buffer b;
    tl_buffer_init(&b, "Bind", 1 << 16);
    tl_pg_put_string(&b, portal);
    tl_pg_put_string(&b, statement);
    tl_pg_put_u16(&b, 0);
    tl_pg_put_u16(&b, count);
    for (uint16_t i = 0; i < count; i++) {
        tl_pg_put_u32(&b, values[i] ? (uint32_t)strlen(values[i]) : UINT32_MAX);
        if (values[i])
            tl_buffer_put(&b, values[i], strlen(values[i]));
    }
    tl_pg_put_u16(&b, 0);
    pg_talk_send(&talk, 'B', tl_buffer_slice(&b));
    tl_buffer_deinit(&b);
}

static void send_execute(const char *portal, uint32_t rows)
{
    struct tl_buffer b;
    tl_buffer_init(&b, "Execute", 1 << 10);
    tl_pg_put_string(&b, portal);
    tl_pg_put_u32(&b, rows);
    pg_talk_send(&talk, 'E', tl_buffer_slice(&b));
    tl_buffer_deinit(&b);
}

/* Describe and Close: what kind, and its name. */
static void send_named(char type, char kind, const char *name)
{
    char body[64];
    int n = snprintf(body, sizeof(body), "%c%s", kind, name);
    pg_talk_send(&talk, type, tl_slice_of(body, (size_t)n + 1));
}

static void send_sync(void)
{
    pg_talk_send(&talk, 'S', tl_slice_of(NULL, 0));
}

/* ---- tests ---- */

static void a_text_ends_at_its_first_error(void **state)
{
    (void)state;
    assert_string_equal(query("SELECT 1"), "T D(1) C[SELECT 1] Z:I");
    assert_string_equal(query(""), "I Z:I");
    assert_string_equal(query("SELECT 1, NULL; SELECT 'a'"),
                        "T D(1|NULL) C[SELECT 1] T D(a) C[SELECT 1] Z:I");
    assert_string_equal(query("SELECT 1; SELECT 1/0; SELECT 2"),
                        "T D(1) C[SELECT 1] T E[22012] Z:I");
    assert_string_equal(query("SELEC"), "E[42601] Z:I");
    assert_string_equal(query("SELECT x"), "E[42703] Z:I");
    assert_string_equal(query("SELECT 2"), "T D(2) C[SELECT 1] Z:I");
}

static void a_failed_block_takes_nothing_but_its_end(void **state)
{
    (void)state;
    assert_string_equal(query("BEGIN"), "C[BEGIN] Z:T");
    assert_string_equal(query("SAVEPOINT a"), "C[SAVEPOINT] Z:T");
    assert_string_equal(query("SELECT x"), "E[42703] Z:E");
    assert_string_equal(query("SELECT 1"), "E[25P02] Z:E");
    assert_string_equal(query("ROLLBACK TO a"), "C[ROLLBACK] Z:T");
    assert_string_equal(query("SELECT 1"), "T D(1) C[SELECT 1] Z:T");
    assert_string_equal(query("SELECT x"), "E[42703] Z:E");
    assert_string_equal(query("COMMIT"), "C[ROLLBACK] Z:I");
    assert_string_equal(query("COMMIT"), "N[25P01] C[COMMIT] Z:I");
}

static void portals_give_their_rows_in_parts(void **state)
{
    (void)state;
    static const char *const values[] = {"3"};
    send_parse("s", "SELECT g FROM generate_series(1, $1::bigint) g ORDER BY g");
    send_named('D', 'S', "s");
    send_bind("p", "s", values, 1);
    send_named('D', 'P', "p");
    send_execute("p", 2);
    pg_talk_send(&talk, 'H', tl_slice_of(NULL, 0));
    assert_string_equal(answers(), "1 t T 2 T D(1) D(2) s");
    send_execute("p", 2);
    assert_string_equal(answers(), "D(3) C[SELECT 1]");
    send_execute("p", 0);
    send_named('C', 'P', "p");
    send_named('C', 'P', "never was");
    send_sync();
    assert_string_equal(answers(), "C[SELECT 0] 3 3 Z:I");
    /* Sync ended the transaction, and its portals; statements stay. */
    send_bind("", "s", values, 1);
    send_execute("", 0);
    send_sync();
    assert_string_equal(answers(), "2 D(1) D(2) D(3) C[SELECT 3] Z:I");
    send_execute("p", 0);
    send_sync();
    assert_string_equal(answers(), "E[34000] Z:I");
}

static void an_error_skips_until_sync(void **state)
{
    (void)state;
    static const char *const values[] = {"x"};
    send_parse("", "SELECT $1::bigint");
    send_bind("", "", values, 1);
    send_execute("", 0);
    send_parse("", "SELECT 1");
    assert_string_equal(answers(), "1 E[22P02]");
    send_sync();
    assert_string_equal(answers(), "Z:I");
    send_bind("", "no such", NULL, 0);
    send_sync();
    assert_string_equal(answers(), "E[26000] Z:I");
    send_parse("twice", "SELECT 1");
    send_parse("twice", "SELECT 2");
    send_sync();
    assert_string_equal(answers(), "1 E[42P05] Z:I");
    send_parse("", "SELECT $1::bigint");
    send_bind("", "", NULL, 0);
    send_sync();
    assert_string_equal(answers(), "1 E[08P01] Z:I");
}

static void cursors_live_in_their_block(void **state)
{
    (void)state;
    assert_string_equal(query("DECLARE c CURSOR FOR SELECT 1"), "E[25P01] Z:I");
    query("BEGIN");
    assert_string_equal(query("DECLARE c CURSOR FOR SELECT g FROM generate_series(1, 5) g"),
                        "C[DECLARE CURSOR] Z:T");
    assert_string_equal(query("FETCH 2 FROM c"), "T D(1) D(2) C[FETCH 2] Z:T");
    assert_string_equal(query("MOVE 1 FROM c"), "C[MOVE 1] Z:T");
    assert_string_equal(query("FETCH ALL FROM c"), "T D(4) D(5) C[FETCH 2] Z:T");
    assert_string_equal(query("COMMIT"), "C[COMMIT] Z:I");
    assert_string_equal(query("FETCH c"), "E[34000] Z:I");
}

static void copy_goes_both_ways(void **state)
{
    (void)state;
    static const char row[] = "1\t2024-01-01 00:00:00+00\tbuy\n";
    const char *copy = "COPY events (merchant_id, ts, event_name) FROM STDIN";
    assert_string_equal(query(copy), "G");
    pg_talk_send(&talk, 'd', tl_slice_of(row, sizeof(row) - 1));
    pg_talk_send(&talk, 'd', tl_slice_of(row, 5)); /* a row may lie in several messages */
    pg_talk_send(&talk, 'd', tl_slice_of(row + 5, sizeof(row) - 6));
    pg_talk_send(&talk, 'c', tl_slice_of(NULL, 0));
    assert_string_equal(answers(), "C[COPY 2] Z:I");
    assert_string_equal(query("SELECT count(*) FROM events"), "T D(2) C[SELECT 1] Z:I");
    assert_string_equal(query("COPY (SELECT merchant_id, event_name FROM events) TO STDOUT"),
                        "H d(1\tbuy) d(1\tbuy) c C[COPY 2] Z:I");
    assert_string_equal(query(copy), "G");
    pg_talk_send(&talk, 'd', tl_slice_of(row, sizeof(row) - 1));
    pg_talk_send(&talk, 'f', tl_slice_of("no", 3));
    assert_string_equal(answers(), "E[57014] Z:I");
    assert_string_equal(query(copy), "G");
    pg_talk_send(&talk, 'd', tl_slice_of("x\ty\tz\n", 6));
    pg_talk_send(&talk, 'c', tl_slice_of(NULL, 0));
    assert_string_equal(answers(), "E[22P02] Z:I");
}

static void nobody_comes_in_without_a_password(void **state)
{
    (void)state;
    static const char stranger[] = "user\0stranger\0";
    static const char nameless[] = "database\0shop\0";
    struct pg_talk kept = talk;
    pg_talk_begin(&talk, &world, tl_slice_of(stranger, sizeof(stranger)), true);
    assert_string_equal(answers(), "R10");
    /* A whole mock exchange, whose end is a wrong password. */
    static const char first[] = "SCRAM-SHA-256\0\0\0\0\x1dn,,n=,r=clientnonce1234567890";
    pg_talk_send(&talk, 'p', tl_slice_of(first, sizeof(first) - 1));
    assert_string_equal(answers(), "R11");
    static const char last[] = "c=biws,r=clientnonce1234567890,p=AAAA";
    pg_talk_send(&talk, 'p', tl_slice_of(last, sizeof(last) - 1));
    assert_string_equal(strncmp(answers(), "E[28P01]", 8) == 0 || strncmp(text, "E[08P01]", 8) == 0
                            ? "refused"
                            : text,
                        "refused");
    assert_int_equal(talk.turn, TL_PG_OVER);
    pg_talk_end(&talk);
    pg_talk_begin(&talk, &world, tl_slice_of(nameless, sizeof(nameless)), true);
    assert_string_equal(answers(), "E[28000]");
    pg_talk_end(&talk);
    /* A query in the place of a password. */
    pg_talk_begin(&talk, &world, tl_slice_of(STARTUP, sizeof(STARTUP)), false);
    assert_string_equal(answers(), "R10");
    assert_string_equal(query("SELECT 1"), "E[08P01]");
    assert_int_equal(talk.turn, TL_PG_OVER);
    pg_talk_end(&talk);
    talk = kept;
}

static void a_message_beyond_the_limit_ends_the_session(void **state)
{
    (void)state;
    static const uint8_t head[] = {'Q', 0x7f, 0xff, 0xff, 0xff};
    assert_true(tl_pg_feed(talk.session, head, sizeof(head)));
    assert_string_equal(answers(), "E[08P01]");
    assert_int_equal(talk.turn, TL_PG_OVER);
}

static void a_flood_is_cancelled(void **state)
{
    (void)state;
    pg_talk_send(&talk, 'Q',
                 tl_slice_of("SELECT repeat('x', 1000) FROM generate_series(1, 9000000)", 58));
    pg_talk_run(&talk); /* cancels after some pages */
    struct tl_slice at = tl_buffer_slice(&talk.got), body;
    char type, before = 0, last = 0;
    while (pg_talk_next(&at, &type, &body)) {
        before = last;
        last = type;
    }
    assert_int_equal(before, 'E');
    assert_int_equal(last, 'Z');
    tl_buffer_clear(&talk.got);
    assert_string_equal(query("SELECT 1"), "T D(1) C[SELECT 1] Z:I");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_text_ends_at_its_first_error, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failed_block_takes_nothing_but_its_end, setup, teardown),
        cmocka_unit_test_setup_teardown(portals_give_their_rows_in_parts, setup, teardown),
        cmocka_unit_test_setup_teardown(an_error_skips_until_sync, setup, teardown),
        cmocka_unit_test_setup_teardown(cursors_live_in_their_block, setup, teardown),
        cmocka_unit_test_setup_teardown(copy_goes_both_ways, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_comes_in_without_a_password, setup, teardown),
        cmocka_unit_test_setup_teardown(a_message_beyond_the_limit_ends_the_session, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_flood_is_cancelled, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
