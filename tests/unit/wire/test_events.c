/*
 * Promise: row messages become the batch that says the same; rows whose values do not fit are left
 * out with their index and reason, and the others keep knowing which event they were; malformed
 * bytes are refused whole. Addresses are read, and those beyond this machine recognised.
 */
#include "tally.pb-c.h"
#include "tests/test.h"
#include "tests/unit/wire/fake_tally.h"
#include "wire/address.h"
#include "wire/append_request.h"
#include "wire/events.h"
#include "wire/pb.h"

static const struct tl_schema *known(void *arg, struct tl_slice table)
{
    static struct tl_schema_column columns[] = {
        {(char *)(uintptr_t) "merchant_id", 11, {TL_BIGINT, 0}},
        {(char *)(uintptr_t) "revenue", 7, {TL_DECIMAL64, 4}},
        {(char *)(uintptr_t) "score", 5, {TL_DOUBLE, 0}},
        {(char *)(uintptr_t) "path", 4, {TL_TEXT, 0}},
    };
    static const struct tl_schema s = {4, columns};
    (void)arg;
    return tl_slice_eq(table, tl_slice_str("events")) ? &s : NULL;
}

/* One field as "name", number and value, appended to an event. */
static void put_field(struct tl_buffer *event, const char *name, uint32_t number, uint64_t varint,
                      const char *text)
{
    struct tl_buffer f;
    tl_buffer_init(&f, "field", 4096);
    tl_pb_put_str(&f, 1, name);
    if (text) {
        tl_pb_put_head(&f, number, strlen(text));
        tl_buffer_put(&f, text, strlen(text));
    } else {
        tl_buffer_put_varint(&f, (uint64_t)number << 3);
        tl_buffer_put_varint(&f, varint);
    }
    tl_pb_put_bytes(event, 1, tl_buffer_slice(&f));
    tl_buffer_deinit(&f);
}

static void put_event(struct tl_buffer *request, struct tl_buffer *event)
{
    tl_pb_put_head(request, 4, event->size);
    tl_buffer_put(request, event->data, event->size);
    tl_buffer_clear(event);
}

static void rows_become_columns(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_buffer request, event;
    tl_buffer_init(&request, "request", 1 << 16);
    tl_buffer_init(&event, "event", 4096);
    put_field(&event, "merchant_id", 2, tl_pb_zigzag(7), NULL);
    put_field(&event, "path", 5, 0, "/a");
    put_event(&request, &event);
    put_field(&event, "merchant_id", 5, 0, "no number"); /* left out */
    put_event(&request, &event);
    put_field(&event, "path", 5, 0, "/b"); /* other order, a text for a number */
    put_field(&event, "merchant_id", 5, 0, "8");
    put_field(&event, "score", 2, tl_pb_zigzag(3), NULL);
    put_event(&request, &event);
    put_field(&event, "path", 4, 1, NULL); /* a bool for a text: left out */
    put_event(&request, &event);
    put_field(&event, "merchant_id", 2, tl_pb_zigzag(-9), NULL);
    put_field(&event, "unknown", 5, 0, "x");
    put_event(&request, &event);
    tl_pb_put_str(&request, 1, "me"); /* the head may come last */
    tl_pb_put_uint(&request, 2, 44);

    struct tl_events e;
    assert_ok(&st, tl_events_decode(tl_buffer_slice(&request), known, NULL, &e, &st));
    assert_int_equal(e.events, 5);
    assert_int_equal(e.rows, 3);
    assert_int_equal(e.refused, 2);
    assert_int_equal(e.sequence, 44);
    assert_int_equal(e.producer.size, 2);
    assert_int_equal(e.refusals[0].row, 1);
    assert_non_null(strstr(e.refusals[0].reason, "merchant_id"));
    assert_int_equal(e.refusals[1].row, 3);
    assert_non_null(strstr(e.refusals[1].reason, "takes TEXT, not bool"));
    assert_int_equal(e.event_of[0], 0);
    assert_int_equal(e.event_of[1], 2);
    assert_int_equal(e.event_of[2], 4);
    Tally__V1__Batch *b = tally__v1__batch__unpack(NULL, e.body.size, e.body.data);
    assert_non_null(b);
    assert_int_equal(b->rows, 3);
    assert_int_equal(b->n_columns, 4);
    assert_memory_equal(b->columns[0]->name.data, "merchant_id", 11);
    assert_int_equal(b->columns[0]->n_ints, 3);
    int64_t v = 0;
    static const int64_t merchants[] = {7, 8, -9};
    for (int i = 0; i < 3; i++) {
        v = b->columns[0]->ints[i] + (b->columns[0]->delta ? v : 0);
        assert_true(v == merchants[i]);
    }
    assert_memory_equal(b->columns[2]->name.data, "score", 5);
    assert_true(b->columns[2]->doubles[1] == 3.0);
    assert_int_equal(b->columns[2]->validity.data[0], 2);
    tally__v1__batch__free_unpacked(b, NULL);
    tl_events_deinit(&e);

    /* cut anywhere it is refused or shorter, never more */
    for (size_t n = 0; n < request.size; n++) {
        tl_status_clear(&st);
        if (tl_events_decode(tl_slice_of(request.data, n), known, NULL, &e, &st) == TL_OK)
            assert_true(e.rows + e.refused <= 5);
        else
            assert_int_equal(st.code, TL_INVALID);
        tl_events_deinit(&e);
    }
    tl_buffer_deinit(&request);
    tl_buffer_deinit(&event);
}

static void too_many_events_are_refused(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_buffer request;
    tl_buffer_init(&request, "request", 16 << 20);
    for (uint32_t i = 0; i <= TL_EVENTS_ROWS_MAX; i++)
        tl_buffer_put(&request, "\x22\x00", 2);
    struct tl_events e;
    assert_code(&st, TL_LIMIT, tl_events_decode(tl_buffer_slice(&request), known, NULL, &e, &st));
    tl_events_deinit(&e);
    tl_buffer_deinit(&request);
}

static void envelopes(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tally_batch b = {0};
    struct tl_buffer r;
    tl_buffer_init(&r, "request", 4096);
    tl_pb_put_str(&r, 1, "producer");
    tl_pb_put_uint(&r, 2, 5);
    tl_pb_put_str(&r, 3, "BATCH");
    tl_pb_put_uint(&r, 4, 1);
    tl_pb_put_uint(&r, 900, 1); /* unknown */
    assert_ok(&st, tl_append_request_decode(tl_buffer_slice(&r), &b, &st));
    assert_true(b.import && b.sequence == 5 && b.body.size == 5 && b.producer.size == 8);
    tl_pb_put_str(&r, 3, "SECOND");
    assert_code(&st, TL_INVALID, tl_append_request_decode(tl_buffer_slice(&r), &b, &st));
    assert_code(&st, TL_INVALID,
                tl_append_request_decode(tl_slice_str("\x1a\x05"
                                                      "abc"),
                                         &b, &st));
    assert_code(&st, TL_INVALID, tl_append_request_decode(tl_slice_str("\x18\x05"), &b, &st));
    assert_code(&st, TL_INVALID, tl_append_request_decode(tl_slice_of("", 0), &b, &st));
    tl_buffer_clear(&r);

    struct tally_refusal refusals[2] = {{.row = 0, .reason = "a"}, {.row = 300, .reason = "b"}};
    struct tally_ack ack = {
        .code = TL_OK, .rows = 8, .refused = 2, .position = 77, .told = 2, .refusals = refusals};
    tl_append_response_encode(9, &ack, NULL, 0, &r);
    Tally__V1__AppendResponse *m = tally__v1__append_response__unpack(NULL, r.size, r.data);
    assert_non_null(m);
    assert_true(m->sequence == 9 && m->rows == 8 && m->refused == 2 && m->position == 77);
    assert_int_equal(m->n_refusals, 2);
    assert_int_equal(m->refusals[1]->row, 300);
    assert_memory_equal(m->refusals[1]->reason.data, "b", 1);
    tally__v1__append_response__free_unpacked(m, NULL);
    tl_buffer_deinit(&r);
}

static void addresses(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    static const struct {
        const char *text, *printed; /* NULL: refused */
        bool loopback;
    } cases[] = {
        {"127.0.0.1:80", "127.0.0.1:80", true},
        {"localhost:0", "127.0.0.1:0", true},
        {":7070", "127.0.0.1:7070", true},
        {"127.8.8.8:1", "127.8.8.8:1", true},
        {"0.0.0.0:1", "0.0.0.0:1", false},
        {"10.0.0.1:65535", "10.0.0.1:65535", false},
        {"[::1]:5", "[::1]:5", true},
        {"[::]:5", "[::]:5", false},
        {"[::ffff:127.0.0.1]:5", "[::ffff:127.0.0.1]:5", false}, /* cautious */
        {"1.2.3.4", NULL, false},
        {"1.2.3.4:", NULL, false},
        {"1.2.3.4:65536", NULL, false},
        {"1.2.3.4:-1", NULL, false},
        {"1.2.3.4:8x", NULL, false},
        {"example.org:80", NULL, false},
        {"[::1:80", NULL, false},
        {"", NULL, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sockaddr_storage a;
        char text[64];
        tl_status_clear(&st);
        enum tl_code rc = tl_address_parse(cases[i].text, &a, &st);
        assert_int_equal(rc, cases[i].printed ? TL_OK : TL_INVALID);
        if (rc)
            continue;
        tl_address_print(&a, text, sizeof(text));
        assert_string_equal(text, cases[i].printed);
        assert_int_equal(tl_address_is_loopback(&a), cases[i].loopback);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_become_columns),
        cmocka_unit_test(too_many_events_are_refused),
        cmocka_unit_test(envelopes),
        cmocka_unit_test(addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
