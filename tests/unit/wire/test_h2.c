/*
 * Promise: gRPC over HTTP/2 as clients need it: framing in any pieces, status in trailers, early
 * errors, compression with a bound, limits that name themselves, and windows: what the server
 * holds never exceeds what was lent, what is lent never exceeds the budget, and whoever may go on
 * goes on.
 * Method: nghttp2's client side in memory, against an engine that completes batches on demand.
 */
#include <stdlib.h>
#include <zlib.h>

#include "tally.pb-c.h"
#include "tests/test.h"
#include "tests/unit/wire/fake_tally.h"

#include "tests/unit/wire/client.h"
#include "wire/pb.h"
#include "wire/server_int.h"

#define APPEND "/tally.v1.Ingest/Append"

static struct tl_server *server;

static void open_server(size_t window_budget)
{
    struct tl_status st = TL_STATUS_INIT;
    memset(&fake_db, 0, sizeof(fake_db));
    struct tl_server_options options = {
        .db = &fake_db, .query_workers = 2, .limits = tl_wire_limits_default()};
    if (window_budget)
        options.limits.window_budget_bytes = window_budget;
    assert_ok(&st, tl_server_open(&options, &server, &st));
}

static void close_server(void)
{
    tl_server_free(server);
    server = NULL;
}

/* An AppendRequest whose batch has `size` bytes. */
static struct tl_buffer request_of(uint64_t sequence, size_t size)
{
    struct tl_buffer b;
    tl_buffer_init(&b, "request", 32 << 20);
    tl_pb_put_str(&b, 1, "me");
    tl_pb_put_uint(&b, 2, sequence);
    tl_pb_put_head(&b, 3, size);
    for (size_t i = 0; i < size; i++)
        tl_buffer_put_u8(&b, (uint8_t)(i * 7 + sequence));
    return b;
}

static void send_batch(struct client *c, struct client_stream *s, uint64_t sequence, size_t size)
{
    struct tl_buffer b = request_of(sequence, size);
    client_send(c, s, 0, tl_buffer_slice(&b));
    tl_buffer_deinit(&b);
}

static uint64_t ack_sequence(const struct client_stream *s, size_t i)
{
    struct tl_slice m;
    assert_true(client_message(s, i, &m));
    Tally__V1__AppendResponse *r = tally__v1__append_response__unpack(NULL, m.size, m.data);
    assert_non_null(r);
    uint64_t sequence = r->code ? 1000 + r->code : r->sequence;
    tally__v1__append_response__free_unpacked(r, NULL);
    return sequence;
}

/* What (2) and (4) of h2.h say, seen from outside. */
static void check_windows(const struct client *c)
{
    int32_t n = nghttp2_session_get_local_window_size(c->h2->session);
    assert_true((size_t)(n > 0 ? n : 0) + c->h2->held <= c->h2->charged);
    assert_true(server->windows.lent_bytes <= server->windows.limit_bytes);
}

/* Pumps until the stream closed or answers came, while worker threads work. */
static void pump_until_closed(struct client *c, struct client_stream *s)
{
    for (int i = 0; i < 2000 && !s->closed; i++) {
        client_pump(c, server);
        if (!s->closed)
            usleep(1000);
    }
    assert_true(s->closed);
}

static void batches_are_acknowledged_in_order(void **state)
{
    (void)state;
    open_server(0);
    struct client c;
    client_open(&c, server);
    struct client_stream *s = client_call(&c, APPEND);
    for (uint64_t i = 1; i <= 20; i++)
        send_batch(&c, s, i, 100 * i);
    client_pump(&c, server);
    assert_int_equal(fake_db.flying_count, 20);
    assert_int_equal(client_messages(s), 0);
    fake_complete(&fake_db, 7);
    client_pump(&c, server);
    assert_int_equal(client_messages(s), 7);
    fake_complete(&fake_db, 13);
    client_half_close(&c, s);
    client_pump(&c, server);
    assert_int_equal(client_messages(s), 20);
    for (uint64_t i = 1; i <= 20; i++)
        assert_int_equal(ack_sequence(s, i - 1), i);
    assert_true(s->closed);
    assert_string_equal(s->status, "0");
    assert_string_equal(s->http, "200");
    assert_int_equal(c.h2->held, 0);
    client_close(&c);
    close_server();
}

static void messages_arrive_in_any_pieces(void **state)
{
    (void)state;
    open_server(0);
    fake_db.at_once = true;
    for (size_t piece = 1; piece < 40; piece++) {
        struct client c;
        client_open(&c, server);
        struct client_stream *s = client_call(&c, APPEND);
        client_pump(&c, server);
        struct tl_buffer b = request_of(piece, 100);
        uint8_t all[256] = {0, 0, 0, 0, (uint8_t)b.size};
        memcpy(all + 5, b.data, b.size);
        for (size_t at = 0; at < b.size + 5; at += piece) {
            size_t n = b.size + 5 - at < piece ? b.size + 5 - at : piece;
            client_send_bytes(&c, s, all + at, n);
            client_pump(&c, server);
        }
        tl_buffer_deinit(&b);
        client_half_close(&c, s);
        client_pump(&c, server);
        assert_int_equal(ack_sequence(s, 0), piece);
        assert_string_equal(s->status, "0");
        client_close(&c);
    }
    close_server();
}

static void backpressure_stops_the_client(void **state)
{
    (void)state;
    open_server(0);
    struct client c;
    client_open(&c, server);
    struct client_stream *s = client_call(&c, APPEND);
    for (uint64_t i = 1; i <= 64; i++)
        send_batch(&c, s, i, 1 << 20);
    client_pump(&c, server);
    /* 64 MB were offered, the window is 4 MB: no more may be held. */
    assert_true(fake_db.flying_count >= 3 && fake_db.flying_count <= 4);
    assert_true(c.h2->held <= TL_WINDOW_STREAM_BYTES);
    check_windows(&c);
    for (int i = 0; i < 200 && client_messages(s) < 64; i++) {
        fake_complete(&fake_db, 1);
        client_pump(&c, server);
        check_windows(&c);
        assert_true(c.h2->held <= TL_WINDOW_STREAM_BYTES);
    }
    assert_int_equal(client_messages(s), 64);
    client_close(&c);
    assert_int_equal(server->windows.lent_bytes, 0);
    close_server();
}

static void windows_are_shared_and_nobody_starves(void **state)
{
    (void)state;
    enum { CLIENTS = 24, EACH = 6 };
    open_server(8 << 20); /* far less than all of them want */
    struct client c[CLIENTS];
    struct client_stream *s[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        client_open(&c[i], server);
        s[i] = client_call(&c[i], APPEND);
        for (uint64_t k = 1; k <= EACH; k++)
            send_batch(&c[i], s[i], k, 900000);
    }
    int done = 0;
    for (int turn = 0; turn < 2000 && done < CLIENTS; turn++) {
        done = 0;
        for (int i = 0; i < CLIENTS; i++) {
            client_pump(&c[i], server);
            check_windows(&c[i]);
            done += client_messages(s[i]) == EACH;
        }
        fake_complete(&fake_db, 3);
    }
    assert_int_equal(done, CLIENTS);
    assert_true(server->windows.peak_bytes > (4u << 20));
    for (int i = 0; i < CLIENTS; i++)
        client_close(&c[i]);
    assert_int_equal(server->windows.lent_bytes, 0);
    close_server();
}

/* One large message, and clients that always have a smaller one: what is given back does not go to
 * them alone for ever. */
static void a_large_message_gets_its_window(void **state)
{
    (void)state;
    enum { CLIENTS = 10, TURNS = 400 };
    open_server(4 << 20); /* half of it can be lent: four of the smaller ones, or the large one */
    struct client c[CLIENTS], large;
    struct client_stream *s[CLIENTS];
    uint64_t sent[CLIENTS] = {0};
    for (int i = 0; i < CLIENTS; i++) {
        client_open(&c[i], server);
        s[i] = client_call(&c[i], APPEND);
        for (int k = 0; k < 2; k++)
            send_batch(&c[i], s[i], ++sent[i], 400000);
        client_pump(&c[i], server);
    }
    client_open(&large, server);
    struct client_stream *l = client_call(&large, APPEND);
    send_batch(&large, l, 1, 1700000);
    int turns = 0;
    for (; turns < TURNS && client_messages(l) == 0; turns++) {
        for (int i = 0; i < CLIENTS; i++) {
            client_pump(&c[i], server);
            check_windows(&c[i]);
            if (sent[i] < client_messages(s[i]) + 2)
                send_batch(&c[i], s[i], ++sent[i], 400000);
        }
        client_pump(&large, server);
        check_windows(&large);
        fake_complete(&fake_db, 1); /* so that somebody always has a part of the budget */
    }
    assert_true(turns < TURNS);
    fake_complete(&fake_db, FAKE_QUEUE);
    client_close(&large);
    for (int i = 0; i < CLIENTS; i++)
        client_close(&c[i]);
    fake_complete(&fake_db, FAKE_QUEUE);
    tl_server_poll(server);
    assert_int_equal(server->windows.lent_bytes, 0);
    close_server();
}

static void many_streams_of_one_connection_finish(void **state)
{
    (void)state;
    enum { STREAMS = 60 };
    open_server(2 << 20);
    struct client c;
    client_open(&c, server);
    struct client_stream *s[STREAMS];
    for (int i = 0; i < STREAMS; i++) {
        s[i] = client_call(&c, APPEND);
        send_batch(&c, s[i], (uint64_t)i + 1, 30000);
        client_half_close(&c, s[i]);
    }
    for (int turn = 0; turn < 400; turn++) {
        client_pump(&c, server);
        check_windows(&c);
        fake_complete(&fake_db, 1);
    }
    for (int i = 0; i < STREAMS; i++)
        assert_string_equal(s[i]->status, "0");
    client_close(&c);
    close_server();
}

static void engine_queue_full_waits(void **state)
{
    (void)state;
    open_server(0);
    fake_db.queue_limit = 2;
    struct client c;
    client_open(&c, server);
    struct client_stream *s = client_call(&c, APPEND);
    for (uint64_t i = 1; i <= 600; i++) /* beyond appends_per_stream_max: read on later */
        send_batch(&c, s, i, 10);
    client_half_close(&c, s);
    for (int turn = 0; turn < 1000; turn++) {
        client_pump(&c, server);
        fake_complete(&fake_db, 1);
    }
    client_pump(&c, server);
    assert_int_equal(client_messages(s), 600);
    for (uint64_t i = 1; i <= 600; i++)
        assert_int_equal(ack_sequence(s, i - 1), i);
    assert_string_equal(s->status, "0");
    client_close(&c);
    close_server();
}

/* A slow disk, and clients that offer all they can: a small client's batch waits for what the
 * engine has, not for what the others have offered. Counted in batches that the engine finishes. */
static void large_batches_starve_no_small_client(void **state)
{
    (void)state;
    enum { LARGE = 4, STREAMS = 4, EACH = 12, SMALL = 40 };
    open_server(0);
    struct client large[LARGE], small;
    struct client_stream *s[LARGE][STREAMS];
    for (int i = 0; i < LARGE; i++) {
        client_open(&large[i], server);
        for (int k = 0; k < STREAMS; k++) {
            s[i][k] = client_call(&large[i], APPEND);
            for (uint64_t n = 1; n <= EACH; n++)
                send_batch(&large[i], s[i][k], n, 1 << 20);
        }
        client_pump(&large[i], server);
    }
    assert_true(server->append_count > 2 * server->append_taken_bytes / (1 << 20));
    client_open(&small, server);
    struct client_stream *mine = client_call(&small, APPEND);
    uint32_t most = 0;
    for (uint64_t n = 1; n <= SMALL; n++) {
        send_batch(&small, mine, n, 3000);
        client_pump(&small, server);
        uint32_t turns = 0;
        for (; client_messages(mine) < n; turns++) {
            fake_complete(&fake_db, 1);
            for (int i = 0; i < LARGE; i++)
                client_pump(&large[i], server);
            client_pump(&small, server);
            assert_true(server->windows.lent_bytes <= server->windows.limit_bytes);
            assert_true(server->append_taken_bytes <= TL_ENGINE_BYTES + (2u << 20));
        }
        most = turns > most ? turns : most;
    }
    /* What the engine has at once, and a batch of each other connection. */
    assert_true(most <= TL_ENGINE_BYTES / (1 << 20) + LARGE + 1);
    for (int turn = 0; turn < LARGE * STREAMS * EACH; turn++) {
        fake_complete(&fake_db, 1);
        for (int i = 0; i < LARGE; i++)
            client_pump(&large[i], server);
    }
    for (int i = 0; i < LARGE; i++) {
        for (int k = 0; k < STREAMS; k++) { /* nothing accepted was dropped, all in order */
            assert_int_equal(client_messages(s[i][k]), EACH);
            for (uint64_t n = 1; n <= EACH; n++)
                assert_int_equal(ack_sequence(s[i][k], n - 1), n);
        }
        client_close(&large[i]);
    }
    client_close(&small);
    assert_int_equal(server->append_taken_bytes, 0);
    assert_int_equal(server->windows.lent_bytes, 0);
    close_server();
}

/* A client that leaves takes along what the engine has not taken, and nothing else. */
static void waiting_batches_go_with_their_client(void **state)
{
    (void)state;
    open_server(0);
    fake_db.queue_limit = 1;
    struct client a, b;
    client_open(&a, server);
    client_open(&b, server);
    struct client_stream *first = client_call(&a, APPEND), *second = client_call(&b, APPEND);
    for (uint64_t n = 1; n <= 5; n++) {
        send_batch(&a, first, n, 1000);
        send_batch(&b, second, n, 1000);
        client_pump(&a, server);
        client_pump(&b, server);
    }
    client_close(&a);
    assert_int_equal(server->append_count, 6);
    for (int i = 0; i < 6; i++) {
        fake_complete(&fake_db, 1);
        client_pump(&b, server);
    }
    assert_int_equal(client_messages(second), 5);
    assert_int_equal(fake_db.taken, 6);
    client_close(&b);
    assert_int_equal(server->append_count, 0);
    assert_int_equal(server->append_taken_bytes, 0);
    close_server();
}

/* Half a message is given up when the client is silent, not when we hold it back. */
static void only_silence_ends_half_a_message(void **state)
{
    (void)state;
    open_server(0);
    const uint64_t stall = server->limits.message_stall_ms;
    struct client c;
    client_open(&c, server);
    struct client_stream *s = client_call(&c, APPEND);
    client_send_bytes(&c, s,
                      "\0\0\0\0\x09"
                      "abc",
                      8);
    client_pump(&c, server);
    tl_h2_tick(c.h2, uv_now(&server->loop) + stall - 1);
    client_pump(&c, server);
    assert_false(s->closed);
    tl_h2_tick(c.h2, uv_now(&server->loop) + stall);
    tl_h2_tick(c.h2, uv_now(&server->loop) + stall + 1000);
    client_pump(&c, server);
    assert_string_equal(s->status, "10");

    /* Too many batches in flight: the stream is left unread in the midst of one. */
    s = client_call(&c, APPEND);
    struct tl_buffer b = request_of(1, 100);
    uint8_t prefix[5] = {0, 0, 0, 0, (uint8_t)b.size};
    client_send_bytes(&c, s, prefix, 5);
    client_send_bytes(&c, s, b.data, 50);
    client_pump(&c, server);
    tl_call_pause(c.h2->calls);
    client_send_bytes(&c, s, b.data + 50, b.size - 50);
    client_pump(&c, server);
    tl_h2_tick(c.h2, uv_now(&server->loop) + stall);
    tl_h2_tick(c.h2, uv_now(&server->loop) + 100 * stall);
    client_pump(&c, server);
    assert_false(s->closed);
    tl_call_resume(c.h2->calls);
    client_half_close(&c, s);
    fake_complete(&fake_db, 1);
    client_pump(&c, server);
    assert_int_equal(ack_sequence(s, 0), 1);
    tl_buffer_deinit(&b);

    /* What the engine has not dealt with closes the window in the midst of a message. */
    s = client_call(&c, APPEND);
    for (uint64_t i = 1; i <= 10; i++)
        send_batch(&c, s, i, 900001);
    client_pump(&c, server);
    assert_true(c.h2->calls->need > 0 && !tl_h2_may_send(c.h2->calls));
    tl_h2_tick(c.h2, uv_now(&server->loop) + stall);
    tl_h2_tick(c.h2, uv_now(&server->loop) + 100 * stall);
    for (int i = 0; i < 10; i++) {
        client_pump(&c, server);
        assert_false(s->closed);
        fake_complete(&fake_db, 1);
    }
    client_half_close(&c, s);
    client_pump(&c, server);
    assert_int_equal(client_messages(s), 10);
    client_close(&c);
    close_server();
}

/* The clock is what tl_h2_tick is told: nothing waits. */
static void backpressure_kills_no_stream(void **state)
{
    (void)state;
    open_server(0);
    uint64_t stall_ms = server->limits.message_stall_ms;
    struct client c;
    client_open(&c, server);
    struct client_stream *s = client_call(&c, APPEND);
    for (uint64_t i = 1; i <= 8; i++)
        send_batch(&c, s, i, 1 << 20);
    client_pump(&c, server);
    assert_true(c.h2->calls->need > 0); /* half a message is here, the window is closed */
    assert_int_equal(nghttp2_session_get_stream_local_window_size(c.h2->session, s->id), 0);
    uint64_t now = uv_now(&server->loop);
    for (int i = 0; i < 20; i++) { /* the disk takes ten minutes */
        now += stall_ms + 1;
        assert_true(tl_h2_tick(c.h2, now) > now);
        client_pump(&c, server);
        assert_false(s->closed);
    }
    while (client_messages(s) < 8) {
        fake_complete(&fake_db, 1);
        client_pump(&c, server);
    }
    /* Half a message of which more lies in the socket when the time is up. */
    uint8_t half[12] = {0, 0, 0, 0, 100};
    client_send_bytes(&c, s, half, sizeof(half));
    client_pump(&c, server);
    now = c.h2->calls->progress_ms + stall_ms;
    assert_true(tl_h2_tick(c.h2, now) > now);
    client_pump(&c, server);
    assert_false(s->closed);
    client_send_bytes(&c, s, half + 5, 1);
    client_pump(&c, server);
    now = c.h2->calls->progress_ms + stall_ms;
    assert_true(tl_h2_tick(c.h2, now) > now);
    client_pump(&c, server);
    assert_false(s->closed);
    /* And one whose client sends no more though it could. */
    tl_h2_tick(c.h2, now + 1000);
    client_pump(&c, server);
    assert_true(s->closed);
    assert_string_equal(s->status, "10");
    client_close(&c);
    close_server();
}

static void who_waits_for_a_window_lives_while_batches_are_under_way(void **state)
{
    (void)state;
    open_server(1 << 20);
    uint64_t stall_ms = server->limits.message_stall_ms;
    struct client a, b;
    client_open(&a, server);
    struct client_stream *first = client_call(&a, APPEND);
    send_batch(&a, first, 1, 500000);
    client_pump(&a, server);
    client_open(&b, server);
    struct client_stream *second = client_call(&b, APPEND);
    send_batch(&b, second, 1, 500000);
    client_pump(&b, server);
    assert_true(b.h2->calls->parked);
    uint64_t now = uv_now(&server->loop);
    for (int i = 0; i < 20; i++) {
        now += stall_ms + 1;
        assert_true(tl_h2_tick(b.h2, now) > now);
        client_pump(&b, server);
        assert_false(second->closed);
    }
    fake_complete(&fake_db, 1);
    client_pump(&a, server);
    client_pump(&b, server);
    assert_int_equal(client_messages(first), 1);
    assert_int_equal(fake_db.flying_count, 1); /* it was its turn */
    fake_complete(&fake_db, 1);
    client_pump(&b, server);
    assert_int_equal(client_messages(second), 1);
    client_close(&a);
    client_close(&b);
    close_server();
}

static void a_client_that_goes_away_leaves_nothing(void **state)
{
    (void)state;
    open_server(0);
    struct client c;
    client_open(&c, server);
    struct client_stream *s = client_call(&c, APPEND);
    send_batch(&c, s, 1, 500000);
    send_batch(&c, s, 2, 10);
    client_pump(&c, server);
    assert_int_equal(fake_db.flying_count, 2);
    client_close(&c);
    assert_true(server->windows.lent_bytes >= 500000); /* the engine still holds it */
    fake_complete(&fake_db, 2);
    tl_server_poll(server);
    assert_int_equal(server->windows.lent_bytes, 0);
    assert_int_equal(server->append_count, 0);
    /* The same with a stream that is reset. */
    client_open(&c, server);
    s = client_call(&c, APPEND);
    send_batch(&c, s, 1, 500000);
    client_pump(&c, server);
    nghttp2_submit_rst_stream(c.session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
    client_pump(&c, server);
    fake_complete(&fake_db, 1);
    client_pump(&c, server);
    assert_int_equal(c.h2->held, 0);
    client_close(&c);
    close_server();
}

static struct client_stream *one_call(struct client *c, const char *path, int flag,
                                      struct tl_slice message)
{
    struct client_stream *s = client_call(c, path);
    client_send(c, s, flag, message);
    client_half_close(c, s);
    pump_until_closed(c, s);
    return s;
}

static void errors_are_told(void **state)
{
    (void)state;
    open_server(0);
    fake_db.at_once = true;
    struct client c;
    client_open(&c, server);
    struct tl_slice nothing = tl_slice_of("", 0);
    assert_string_equal(one_call(&c, "/tally.v1.Nothing/At", 0, nothing)->status, "12");
    /* not a request */
    struct client_stream *s = one_call(&c, APPEND, 0, tl_slice_str("\xff\xff\xff"));
    assert_int_equal(ack_sequence(s, 0), 1001);
    assert_string_equal(s->status, "0");
    /* flags that are none */
    assert_string_equal(one_call(&c, APPEND, 2, nothing)->status, "13");
    assert_string_equal(one_call(&c, APPEND, 1, nothing)->status, "13");
    /* a prefix of 1 GiB: refused while the client still sends */
    s = client_call(&c, APPEND);
    client_send_bytes(&c, s,
                      "\0\x40\0\0\0"
                      "abc",
                      8);
    client_pump(&c, server);
    assert_string_equal(s->status, "8");
    assert_true(s->closed);
    assert_int_equal(s->error, NGHTTP2_NO_ERROR);
    /* half a message */
    s = client_call(&c, APPEND);
    client_send_bytes(&c, s,
                      "\0\0\0\0\x09"
                      "abc",
                      8);
    client_half_close(&c, s);
    client_pump(&c, server);
    assert_string_equal(s->status, "13");
    /* the engine's own refusal */
    fake_db.refuse = TL_TOO_OLD;
    s = client_call(&c, APPEND);
    send_batch(&c, s, 5, 10);
    client_half_close(&c, s);
    client_pump(&c, server);
    assert_int_equal(ack_sequence(s, 0), 1003);
    /* headers */
    nghttp2_nv deflate = client_nv("grpc-encoding", "deflate");
    s = client_call_with(&c, APPEND, &deflate, 1);
    client_pump(&c, server);
    assert_string_equal(s->status, "12");
    nghttp2_nv timeout = client_nv("grpc-timeout", "tomorrow");
    s = client_call_with(&c, APPEND, &timeout, 1);
    client_pump(&c, server);
    assert_string_equal(s->status, "3");
    char *large = malloc(20001);
    memset(large, 'x', 20000);
    large[20000] = '\0';
    nghttp2_nv header = client_nv("x-large", large);
    s = client_call_with(&c, APPEND, &header, 1);
    client_pump(&c, server);
    assert_string_equal(s->status, "8");
    free(large);
    client_close(&c);
    /* no gRPC at all */
    client_open(&c, server);
    nghttp2_nv type = client_nv("content-type", "text/html");
    s = client_call_with(&c, APPEND, &type, 1);
    client_pump(&c, server);
    assert_string_equal(s->http, "415");
    client_close(&c);
    close_server();
}

static struct tl_buffer gzip_of(const void *data, size_t size)
{
    struct tl_buffer out;
    tl_buffer_init(&out, "gzip", 64 << 20);
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    uint8_t *p = tl_buffer_reserve(&out, deflateBound(&z, size));
    z.next_in = (uint8_t *)(uintptr_t)data;
    z.avail_in = (uInt)size;
    z.next_out = p;
    z.avail_out = (uInt)deflateBound(&z, size);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    out.size = z.total_out;
    deflateEnd(&z);
    return out;
}

static void compression_is_bounded(void **state)
{
    (void)state;
    open_server(0);
    fake_db.at_once = true;
    struct client c;
    client_open(&c, server);
    nghttp2_nv gzip = client_nv("grpc-encoding", "gzip");
    struct tl_buffer b = request_of(3, 100000);
    struct tl_buffer z = gzip_of(b.data, b.size);
    struct client_stream *s = client_call_with(&c, APPEND, &gzip, 1);
    client_send(&c, s, 1, tl_buffer_slice(&z));
    client_send(&c, s, 0, tl_buffer_slice(&b)); /* a plain one in between is fine */
    client_half_close(&c, s);
    client_pump(&c, server);
    assert_int_equal(ack_sequence(s, 0), 3);
    assert_int_equal(ack_sequence(s, 1), 3);
    assert_int_equal(fake_db.bytes, 200000);
    tl_buffer_deinit(&b);
    tl_buffer_deinit(&z);
    /* 40 MB of zeros in 40 KB */
    uint8_t *zeros = calloc(1, 40 << 20);
    z = gzip_of(zeros, 40 << 20);
    free(zeros);
    s = client_call_with(&c, APPEND, &gzip, 1);
    client_send(&c, s, 1, tl_buffer_slice(&z));
    client_pump(&c, server);
    assert_string_equal(s->status, "8");
    z.size /= 2; /* cut */
    s = client_call_with(&c, APPEND, &gzip, 1);
    client_send(&c, s, 1, tl_buffer_slice(&z));
    client_pump(&c, server);
    assert_true(strcmp(s->status, "3") == 0 || strcmp(s->status, "8") == 0);
    tl_buffer_deinit(&z);
    s = client_call_with(&c, APPEND, &gzip, 1);
    client_send(&c, s, 1, tl_slice_str("no gzip at all"));
    client_pump(&c, server);
    assert_string_equal(s->status, "3");
    client_close(&c);
    assert_int_equal(server->windows.lent_bytes, 0);
    close_server();
}

static struct tl_buffer execute_of(const char *sql)
{
    struct tl_buffer b;
    tl_buffer_init(&b, "request", 4096);
    tl_pb_put_str(&b, 1, sql);
    return b;
}

static struct client_stream *execute(struct client *c, const char *sql)
{
    struct tl_buffer b = execute_of(sql);
    struct client_stream *s = client_call(c, "/tally.v1.Query/Execute");
    client_send(c, s, 0, tl_buffer_slice(&b));
    client_half_close(c, s);
    tl_buffer_deinit(&b);
    return s;
}

static void queries_answer_in_pages(void **state)
{
    (void)state;
    open_server(0);
    struct client c;
    client_open(&c, server);
    fake_db.chunks = 100;
    struct client_stream *s = execute(&c, "SELECT 1");
    pump_until_closed(&c, s);
    assert_string_equal(s->status, "0");
    size_t n = client_messages(s);
    uint64_t rows = 0;
    for (size_t i = 0; i < n; i++) {
        struct tl_slice m;
        assert_true(client_message(s, i, &m));
        assert_true(m.size <= TL_PAGE_BYTES + 4096);
        Tally__V1__ExecuteResponse *r = tally__v1__execute_response__unpack(NULL, m.size, m.data);
        assert_non_null(r);
        assert_int_equal(r->n_columns, i == 0 ? 2 : 0);
        assert_int_equal(r->done, i == n - 1);
        if (r->batch) {
            assert_int_equal(r->batch->n_columns, 2);
            int64_t v = 0;
            for (uint32_t k = 0; k < r->batch->rows; k++) {
                v = r->batch->columns[0]->ints[k] + (r->batch->columns[0]->delta ? v : 0);
                assert_true(v == (int64_t)(rows + k));
            }
            rows += r->batch->rows;
        }
        tally__v1__execute_response__free_unpacked(r, NULL);
    }
    assert_int_equal(rows, 100 * 2048);
    assert_int_equal(fake_db.cursors_open + fake_db.statements_open, 0);
    /* nothing at all */
    fake_db.chunks = 0;
    s = execute(&c, "SELECT 1");
    pump_until_closed(&c, s);
    assert_int_equal(client_messages(s), 1);
    /* an error with its place */
    s = execute(&c, "BAD");
    pump_until_closed(&c, s);
    assert_string_equal(s->status, "3");
    assert_string_equal(s->sqlstate, "42601");
    assert_string_equal(s->message, "syntax error at or near \"BAD\" 100%25");
    assert_true(strlen(s->details) > 20);
    client_close(&c);
    close_server();
}

static void queries_are_cancelled(void **state)
{
    (void)state;
    open_server(0);
    struct client c;
    client_open(&c, server);
    fake_db.chunks = 1;
    struct client_stream *s = execute(&c, "SLOW");
    client_pump(&c, server);
    nghttp2_submit_rst_stream(c.session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
    for (int i = 0; i < 2000 && server->query_count; i++) {
        client_pump(&c, server);
        usleep(1000);
    }
    assert_int_equal(server->query_count, 0);
    assert_int_equal(fake_db.cursors_open + fake_db.statements_open, 0);
    /* a deadline */
    struct tl_buffer b = execute_of("SLOW");
    nghttp2_nv timeout = client_nv("grpc-timeout", "20m");
    s = client_call_with(&c, "/tally.v1.Query/Execute", &timeout, 1);
    client_send(&c, s, 0, tl_buffer_slice(&b));
    client_half_close(&c, s);
    tl_buffer_deinit(&b);
    for (int i = 0; i < 2000 && !s->closed; i++) {
        client_pump(&c, server);
        tl_h2_tick(c.h2, uv_now(&server->loop));
        usleep(1000);
    }
    assert_string_equal(s->status, "4");
    for (int i = 0; i < 2000 && server->query_count; i++) {
        client_pump(&c, server);
        usleep(1000);
    }
    assert_int_equal(fake_db.cursors_open + fake_db.statements_open, 0);
    /* a slow reader that leaves: the query rests, and is closed */
    fake_db.chunks = 100000;
    nghttp2_session_set_local_window_size(c.session, NGHTTP2_FLAG_NONE, 0, 65535);
    s = execute(&c, "SELECT 1");
    for (int i = 0; i < 50; i++) {
        tl_server_poll(server);
        const uint8_t *data;
        ssize_t n;
        while ((n = nghttp2_session_mem_send(c.session, &data)) > 0)
            (void)tl_h2_receive(c.h2, data, (size_t)n);
        usleep(1000);
    }
    assert_true(server->query_count == 1);
    assert_true(c.h2->calls->out_bytes <= 4u * TL_PAGE_BYTES);
    client_close(&c);
    for (int i = 0; i < 2000 && server->query_count; i++) {
        tl_server_poll(server);
        usleep(1000);
    }
    assert_int_equal(fake_db.cursors_open + fake_db.statements_open, 0);
    close_server();
}

static void administration_answers(void **state)
{
    (void)state;
    open_server(0);
    struct client c;
    client_open(&c, server);
    struct tl_slice nothing = tl_slice_of("", 0), m;
    struct client_stream *s = one_call(&c, "/tally.v1.Admin/Status", 0, nothing);
    assert_string_equal(s->status, "0");
    assert_true(client_message(s, 0, &m));
    assert_memory_equal(m.data + 2, "{\"rows\":7}", 10);
    s = one_call(&c, "/tally.v1.Admin/Inspect", 0,
                 tl_slice_str("\x0a\x03"
                              "abc"));
    assert_true(client_message(s, 0, &m));
    assert_memory_equal(m.data + 2, "{\"pack\":\"abc\"}", 14);
    s = one_call(&c, "/tally.v1.Admin/Compact", 0, nothing);
    assert_string_equal(s->status, "0");
    s = one_call(&c, "/tally.v1.Admin/Verify", 0, nothing);
    assert_string_equal(s->status, "15");
    assert_string_equal(s->message, "a pack is damaged");
    assert_true(client_messages(s) >= 1);
    s = one_call(&c, "/grpc.health.v1.Health/Check", 0, nothing);
    assert_true(client_message(s, 0, &m));
    assert_memory_equal(m.data, "\x08\x01", 2);
    s = one_call(&c, "/grpc.health.v1.Health/Check", 0, tl_slice_str("\x0a\x02no"));
    assert_string_equal(s->status, "5");
    s = one_call(&c, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", 0,
                 tl_slice_str("\x3a\x01*"));
    assert_true(client_message(s, 0, &m));
    assert_non_null(memmem(m.data, m.size, "tally.v1.Ingest", 15));
    assert_non_null(memmem(m.data, m.size, "grpc.health.v1.Health", 21));
    static const char *const symbols[] = {"tally.v1.Query", "tally.v1.Query.Execute",
                                          "tally.v1.Batch", "grpc.health.v1.Health"};
    for (int i = 0; i < 4; i++) {
        uint8_t ask[64] = {0x22, (uint8_t)strlen(symbols[i])};
        memcpy(ask + 2, symbols[i], strlen(symbols[i]));
        s = one_call(&c, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", 0,
                     tl_slice_of(ask, 2 + strlen(symbols[i])));
        assert_true(client_message(s, 0, &m));
        assert_true(m.size > 200);
    }
    client_close(&c);
    close_server();
}

/* Polls until `count` compactions run. */
static void wait_for_compactions(struct client *c, int count)
{
    for (int i = 0; i < 5000 && fake_db.compactions != count; i++) {
        client_pump(c, server);
        usleep(1000);
    }
    assert_int_equal(fake_db.compactions, count);
}

static void compactions_end_with_their_last_client(void **state)
{
    (void)state;
    open_server(0);
    struct client a, b;
    client_open(&a, server);
    client_open(&b, server);
    fake_db.compact_waits = true;
    struct tl_slice nothing = tl_slice_of("", 0);
    struct client *clients[2] = {&a, &b};
    for (int i = 0; i < 2; i++) {
        struct client_stream *s = client_call(clients[i], "/tally.v1.Admin/Compact");
        client_send(clients[i], s, 0, nothing);
        client_half_close(clients[i], s);
        wait_for_compactions(clients[i], i + 1);
    }
    client_close(&a);
    tl_server_poll(server);
    assert_int_equal(fake_db.compact_cancels, 0); /* somebody still waits */
    client_close(&b);
    for (int i = 0; i < 5000 && server->admin_count > 0; i++) {
        tl_server_poll(server);
        usleep(1000);
    }
    assert_int_equal(server->admin_count, 0);
    assert_true(fake_db.compact_cancels > 0);
    close_server();
}

static void draining_ends_calls_with_their_acknowledgements(void **state)
{
    (void)state;
    open_server(0);
    struct client c;
    client_open(&c, server);
    struct client_stream *s = client_call(&c, APPEND);
    struct client_stream *w = client_call(&c, "/grpc.health.v1.Health/Watch");
    client_send(&c, w, 0, tl_slice_of("", 0));
    client_half_close(&c, w);
    send_batch(&c, s, 1, 1000);
    client_pump(&c, server);
    assert_int_equal(fake_db.flying_count, 1);
    assert_int_equal(client_messages(w), 1);
    server->draining = true;
    tl_h2_drain(c.h2);
    send_batch(&c, s, 2, 1000); /* too late: not taken, not acknowledged */
    client_pump(&c, server);
    assert_int_equal(fake_db.flying_count, 1);
    assert_true(c.goaway);
    fake_complete(&fake_db, 1);
    client_pump(&c, server);
    assert_int_equal(client_messages(s), 1);
    assert_string_equal(s->status, "14");
    tl_h2_end_calls(c.h2);
    client_pump(&c, server);
    assert_string_equal(w->status, "14");
    assert_true(tl_h2_finished(c.h2));
    client_close(&c);
    server->draining = false;
    close_server();
}

static void texts_and_timeouts(void **state)
{
    (void)state;
    char out[64];
    tl_grpc_message_encode("50% of\n\xc3\xbc", out, sizeof(out));
    assert_string_equal(out, "50%25 of%0A%C3%BC");
    assert_int_equal(tl_grpc_message_encode("%%%%", out, 8), 6); /* never half an escape */
    uint64_t us = 0;
    assert_true(tl_grpc_timeout_parse(tl_slice_str("1H"), &us) && us == 3600000000);
    assert_true(tl_grpc_timeout_parse(tl_slice_str("250m"), &us) && us == 250000);
    assert_true(tl_grpc_timeout_parse(tl_slice_str("99999999n"), &us) && us == 99999);
    assert_false(tl_grpc_timeout_parse(tl_slice_str("S"), &us));
    assert_false(tl_grpc_timeout_parse(tl_slice_str("1"), &us));
    assert_false(tl_grpc_timeout_parse(tl_slice_str("-1S"), &us));
    assert_false(tl_grpc_timeout_parse(tl_slice_str("123456789S"), &us));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_are_acknowledged_in_order),
        cmocka_unit_test(messages_arrive_in_any_pieces),
        cmocka_unit_test(backpressure_stops_the_client),
        cmocka_unit_test(windows_are_shared_and_nobody_starves),
        cmocka_unit_test(a_large_message_gets_its_window),
        cmocka_unit_test(many_streams_of_one_connection_finish),
        cmocka_unit_test(engine_queue_full_waits),
        cmocka_unit_test(only_silence_ends_half_a_message),
        cmocka_unit_test(large_batches_starve_no_small_client),
        cmocka_unit_test(waiting_batches_go_with_their_client),
        cmocka_unit_test(backpressure_kills_no_stream),
        cmocka_unit_test(who_waits_for_a_window_lives_while_batches_are_under_way),
        cmocka_unit_test(a_client_that_goes_away_leaves_nothing),
        cmocka_unit_test(errors_are_told),
        cmocka_unit_test(compression_is_bounded),
        cmocka_unit_test(queries_answer_in_pages),
        cmocka_unit_test(queries_are_cancelled),
        cmocka_unit_test(administration_answers),
        cmocka_unit_test(compactions_end_with_their_last_client),
        cmocka_unit_test(draining_ends_calls_with_their_acknowledgements),
        cmocka_unit_test(texts_and_timeouts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
