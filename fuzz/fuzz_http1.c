/*
 * Promise: whatever arrives on the HTTP/1.1 door, it answers or ends, within its limits.
 */
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "tests/unit/wire/fake_tally.h"
#include "wire/http1.h"
#include "wire/server_int.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tl_server *server;
    struct tl_status st = TL_STATUS_INIT;
    if (!server) {
        struct tl_server_options options = {
            .db = &fake_db, .query_workers = 1, .limits = tl_wire_limits_default()};
        if (tl_server_open(&options, &server, &st))
            abort();
    }
    struct tl_http1_owner owner = {wake, arm, NULL};
    struct tl_http1 *h = NULL;
    if (size == 0 || tl_http1_new(server, &owner, &h, &st))
        return 0;
    size_t piece = (size_t)data[0] + 1;
    bool alive = true;
    for (size_t at = 1; at < size && alive && !tl_http1_finished(h); at += piece) {
        alive = tl_http1_receive(h, data + at, size - at < piece ? size - at : piece);
        uint8_t out[1024];
        while (tl_http1_pull(h, out, sizeof(out)) > 0)
            ;
        if (data[0] & 1)
            tl_server_poll(server);
    }
    tl_http1_free(h);
    while (server->admin_count) {
        tl_server_poll(server);
        sched_yield();
    }
    return 0;
}
