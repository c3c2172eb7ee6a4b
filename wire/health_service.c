/*
 * wire/health_service.c: grpc.health.v1.
 *
 * The server as a whole ("") and each of its services share one state: SERVING while the engine
 * is ready and the server does not drain.
 */
#include <stdlib.h>

#include "wire/pb.h"
#include "wire/server_int.h"
#include "wire/services.h"

enum { REQUEST_SERVICE = 1, RESPONSE_STATUS = 1 };
enum { STATUS_SERVING = 1, STATUS_NOT_SERVING = 2, STATUS_SERVICE_UNKNOWN = 3 };

struct tl_watcher {
    struct tl_watcher *prev, *next;
    struct tl_call *call;
    bool known; /* the service asked for */
    uint64_t told;
};

static bool is_known(struct tl_slice service)
{
    static const char *const names[] = {"", "tally.v1.Ingest", "tally.v1.Query", "tally.v1.Admin"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (tl_slice_eq(service, tl_slice_str(names[i])))
            return true;
    }
    return false;
}

/* False: no HealthCheckRequest. */
static bool read_request(struct tl_call *call, struct tl_message *m, bool *known)
{
    struct tl_pb_reader r = tl_pb_reader_of(tl_slice_of(m->data, m->size));
    struct tl_pb_field f;
    struct tl_slice service = tl_slice_of(NULL, 0);
    while (tl_pb_next(&r, &f)) {
        if (f.number == REQUEST_SERVICE && f.wire == TL_PB_BYTES)
            service = f.bytes;
    }
    *known = is_known(service);
    tl_message_free(m);
    if (r.failed)
        tl_call_finish(call, TL_GRPC_INVALID_ARGUMENT, "these bytes are no HealthCheckRequest");
    return !r.failed;
}

static uint64_t status_of(const struct tl_server *server)
{
    return tl_server_serving(server) ? STATUS_SERVING : STATUS_NOT_SERVING;
}

static void send_status(struct tl_call *call, uint64_t status)
{
    uint8_t bytes[2] = {RESPONSE_STATUS << 3, (uint8_t)status};
    tl_call_send(call, tl_slice_of(bytes, sizeof(bytes)));
}

void tl_health_check_message(struct tl_call *call, struct tl_message *m)
{
    bool known;
    if (!read_request(call, m, &known))
        return;
    if (!known) {
        tl_call_finish(call, TL_GRPC_NOT_FOUND, "there is no service of that name");
        return;
    }
    send_status(call, status_of(call->server));
    tl_call_finish(call, TL_GRPC_OK, "");
}

void tl_health_watch_message(struct tl_call *call, struct tl_message *m)
{
    bool known;
    if (!read_request(call, m, &known))
        return;
    struct tl_watcher *w = calloc(1, sizeof(*w));
    if (!w) {
        tl_call_finish(call, TL_GRPC_RESOURCE_EXHAUSTED, "no memory for a watch");
        return;
    }
    w->call = call;
    w->known = known;
    w->told = known ? status_of(call->server) : STATUS_SERVICE_UNKNOWN;
    w->next = call->server->watchers;
    if (w->next)
        w->next->prev = w;
    call->server->watchers = w;
    call->state = w;
    send_status(call, w->told);
}

void tl_health_close(struct tl_call *call)
{
    struct tl_watcher *w = call->state;
    call->state = NULL;
    if (!w)
        return;
    if (w->prev)
        w->prev->next = w->next;
    else
        call->server->watchers = w->next;
    if (w->next)
        w->next->prev = w->prev;
    free(w);
}

void tl_health_changed(struct tl_server *server)
{
    uint64_t status = status_of(server);
    struct tl_watcher *next;
    for (struct tl_watcher *w = server->watchers; w; w = next) {
        next = w->next;
        if (w->known && w->told != status) {
            w->told = status;
            send_status(w->call, status);
        }
        if (server->draining) /* a watch never ends by itself */
            tl_call_finish(w->call, TL_GRPC_UNAVAILABLE, "the server is shutting down");
    }
}
