/*
 * wire/http1.h: the HTTP/1.1 door: /healthz, /readyz and /metrics, GET and HEAD.
 *
 * Parsing is http-parser's, which only http1.c knows: the library is archived upstream and can be
 * replaced there. One request at a time; pipelined ones wait unread. Bodies are read and thrown
 * away up to a limit.
 *
 * Threads    loop; /metrics asks the engine on an admin worker.
 */
#ifndef TALLY_WIRE_HTTP1_H
#define TALLY_WIRE_HTTP1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct tl_http1;
struct tl_server;

struct tl_http1_owner {
    void (*wake)(void *arg);
    void (*arm)(void *arg, uint64_t due_ms);
    void *arg;
};

TL_CHECK enum tl_code tl_http1_new(struct tl_server *server, const struct tl_http1_owner *owner,
                                   struct tl_http1 **out, struct tl_status *st);
void tl_http1_free(struct tl_http1 *h); /* takes NULL */
bool tl_http1_receive(struct tl_http1 *h, const uint8_t *data, size_t size);
size_t tl_http1_pull(struct tl_http1 *h, uint8_t *out, size_t size);
bool tl_http1_finished(struct tl_http1 *h);
uint64_t tl_http1_tick(struct tl_http1 *h, uint64_t now_ms);
void tl_http1_drain(struct tl_http1 *h);

#endif
