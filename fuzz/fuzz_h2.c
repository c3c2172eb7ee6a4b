/*
 * Promise: whatever arrives on a gRPC connection, the server neither crashes nor leaks, holds no
 * more than the lent windows, and can still be closed.
 *
 * The input is a connection's bytes as a client would send them, cut into pieces: each piece is a
 * byte of control (completions, ticks, drain) and a length. A first byte below 128 puts a valid
 * preface in front, so that frames are reached at once. Against the fake engine of the unit tests.
 */
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "tests/unit/wire/fake_tally.h"
#include "wire/h2.h"
#include "wire/server_int.h"
#include "wire/services.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void wake(void *arg)
{
    (void)arg;
}

static void arm(void *arg, uint64_t due_ms)
{
    (void)arg;
    (void)due_ms;
}

static struct tl_server *server;

static void open_server(void)
{
    struct tl_status st = TL_STATUS_INIT;
    fake_db.chunks = 2;
    struct tl_server_options options = {
        .db = &fake_db, .query_workers = 1, .limits = tl_wire_limits_default()};
    options.limits.window_budget_bytes = 1 << 20;
    options.limits.message_bytes_max = 256 << 10;
    options.limits.message_stall_ms = 0;
    if (tl_server_open(&options, &server, &st))
        abort();
}

static void pull(struct tl_h2 *h2)
{
    uint8_t out[4096];
    while (tl_h2_pull(h2, out, sizeof(out)) > 0)
        ;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!server)
        open_server();
    struct tl_h2_owner owner = {wake, arm, NULL};
    struct tl_status st = TL_STATUS_INIT;
    struct tl_h2 *h2 = NULL;
    if (size < 2 || tl_h2_new(server, &owner, &h2, &st))
        return 0;
    bool alive = true;
    if (data[0] < 128) {
        static const uint8_t preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
        alive = tl_h2_receive(h2, preface, sizeof(preface) - 1);
    }
    fake_db.at_once = data[0] & 1;
    for (size_t at = 1; at < size && alive;) {
        uint8_t control = data[at++];
        size_t n = (size_t)(control & 31) * 8 + 1;
        if (n > size - at)
            n = size - at;
        alive = tl_h2_receive(h2, data + at, n);
        at += n;
        pull(h2);
        tl_assert(server->windows.lent_bytes <= server->windows.limit_bytes);
        tl_assert(h2->held <= h2->charged);
        if (control & 32)
            fake_complete(&fake_db, 2);
        if (control & 64)
            tl_server_poll(server);
        if (control == 0xff)
            (void)tl_h2_tick(h2, tl_server_now_ms(server) + 1000);
        if (control == 0xfe)
            tl_h2_drain(h2);
    }
    pull(h2);
    tl_h2_free(h2);
    fake_complete(&fake_db, FAKE_QUEUE);
    for (int i = 0; i < 1000 && (server->query_count || server->admin_count); i++)
        tl_server_poll(server);
    tl_server_poll(server);
    while (server->query_count || server->admin_count) {
        tl_server_poll(server);
        sched_yield();
    }
    tl_append_retry(server);
    tl_assert(server->windows.lent_bytes == 0 && server->append_count == 0);
    tl_assert(server->stream_count == 0);
    return 0;
}
