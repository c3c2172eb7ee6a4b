/*
 * wire/metrics.h: counters and histograms of the servers, in Prometheus' text form.
 *
 * Threads    loop.
 */
#ifndef TALLY_WIRE_METRICS_H
#define TALLY_WIRE_METRICS_H

#include <stdint.h>

#include "wire/call.h"

enum { TL_METHODS_MAX = 16, TL_LATENCY_BUCKETS = 16 };

struct tl_latency {
    uint64_t buckets[TL_LATENCY_BUCKETS + 1]; /* the last: beyond all bounds */
    uint64_t sum_ns;
};

struct tl_method_metrics {
    uint64_t calls[TL_GRPC_CODE_COUNT];
    uint64_t open;
    uint64_t messages_in, messages_out;
    struct tl_latency seconds; /* of whole calls */
};

struct tl_wire_metrics {
    uint64_t connections_open[4], connections_total[4]; /* by door */
    uint64_t connections_refused, connections_failed;
    uint64_t bytes_in, bytes_out; /* on sockets */
    uint64_t streams_refused;
    struct tl_method_metrics methods[TL_METHODS_MAX + 1]; /* the last: no such method */
    struct tl_latency append_seconds; /* from the last byte of a batch to its ack */
    uint64_t append_open;             /* batches submitted and not yet acknowledged */
    uint64_t append_busy;             /* that met a full queue of the engine */
    uint64_t append_acks[16];         /* by enum tl_code */
    uint64_t append_rows, append_refused, append_duplicates, append_bytes;
    uint64_t queries_open;
    uint64_t http_requests[6]; /* by hundreds of the status */
};

void tl_latency_add(struct tl_latency *h, uint64_t ns);
void tl_wire_metrics_print(const struct tl_server *server, struct tl_buffer *out);

#endif
