#include "wire/metrics.h"

#include <inttypes.h>

#include "wire/server_int.h"

/* Upper bounds in nanoseconds: two and a half steps a decade, 50 us to 10 s. */
static const struct {
    uint64_t ns;
    const char *text;
} bounds[TL_LATENCY_BUCKETS] = {
    {50000, "5e-05"},    {100000, "0.0001"},  {250000, "0.00025"}, {500000, "0.0005"},
    {1000000, "0.001"},  {2500000, "0.0025"}, {5000000, "0.005"},  {10000000, "0.01"},
    {25000000, "0.025"}, {50000000, "0.05"},  {100000000, "0.1"},  {250000000, "0.25"},
    {500000000, "0.5"},  {1000000000, "1"},   {2500000000, "2.5"}, {10000000000, "10"},
};

void tl_latency_add(struct tl_latency *h, uint64_t ns)
{
    size_t i = 0;
    while (i < TL_LATENCY_BUCKETS && ns > bounds[i].ns)
        i++;
    h->buckets[i]++;
    h->sum_ns += ns;
}

static void head(struct tl_buffer *out, const char *name, const char *type, const char *help)
{
    tl_buffer_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void value(struct tl_buffer *out, const char *name, const char *type, const char *help,
                  uint64_t v)
{
    head(out, name, type, help);
    tl_buffer_printf(out, "%s %" PRIu64 "\n", name, v);
}

/* `labels` is "" or ends with a comma. */
static void histogram(struct tl_buffer *out, const char *name, const char *labels,
                      const struct tl_latency *h)
{
    uint64_t count = 0;
    for (size_t i = 0; i < TL_LATENCY_BUCKETS; i++) {
        count += h->buckets[i];
        tl_buffer_printf(out, "%s_bucket{%sle=\"%s\"} %" PRIu64 "\n", name, labels, bounds[i].text,
                         count);
    }
    count += h->buckets[TL_LATENCY_BUCKETS];
    tl_buffer_printf(out, "%s_bucket{%sle=\"+Inf\"} %" PRIu64 "\n", name, labels, count);
    size_t n = strlen(labels);
    const char *open = n ? "{" : "", *close = n ? "}" : "";
    int shown = n ? (int)n - 1 : 0; /* without the comma */
    tl_buffer_printf(out, "%s_sum%s%.*s%s %.9f\n", name, open, shown, labels, close,
                     (double)h->sum_ns / 1e9);
    tl_buffer_printf(out, "%s_count%s%.*s%s %" PRIu64 "\n", name, open, shown, labels, close,
                     count);
}

static const char *method_name(size_t i)
{
    return i < tl_method_count ? tl_methods[i].path : "unknown";
}

static void print_methods(const struct tl_wire_metrics *m, struct tl_buffer *out)
{
    head(out, "tally_grpc_calls_total", "counter", "Finished gRPC calls.");
    for (size_t i = 0; i <= tl_method_count; i++) {
        for (int code = 0; code < TL_GRPC_CODE_COUNT; code++) {
            if (m->methods[i].calls[code])
                tl_buffer_printf(out,
                                 "tally_grpc_calls_total{method=\"%s\",code=\"%s\"} %" PRIu64 "\n",
                                 method_name(i), tl_grpc_code_name((enum tl_grpc_code)code),
                                 m->methods[i].calls[code]);
        }
    }
    head(out, "tally_grpc_calls_open", "gauge", "gRPC calls that are not finished.");
    for (size_t i = 0; i < tl_method_count; i++)
        tl_buffer_printf(out, "tally_grpc_calls_open{method=\"%s\"} %" PRIu64 "\n", method_name(i),
                         m->methods[i].open);
    head(out, "tally_grpc_messages_received_total", "counter", "Request messages.");
    for (size_t i = 0; i < tl_method_count; i++)
        tl_buffer_printf(out, "tally_grpc_messages_received_total{method=\"%s\"} %" PRIu64 "\n",
                         method_name(i), m->methods[i].messages_in);
    head(out, "tally_grpc_messages_sent_total", "counter", "Answer messages.");
    for (size_t i = 0; i < tl_method_count; i++)
        tl_buffer_printf(out, "tally_grpc_messages_sent_total{method=\"%s\"} %" PRIu64 "\n",
                         method_name(i), m->methods[i].messages_out);
    head(out, "tally_grpc_call_seconds", "histogram", "Duration of gRPC calls.");
    for (size_t i = 0; i < tl_method_count; i++) {
        char labels[192];
        snprintf(labels, sizeof(labels), "method=\"%s\",", method_name(i));
        histogram(out, "tally_grpc_call_seconds", labels, &m->methods[i].seconds);
    }
}

static void print_append(const struct tl_wire_metrics *m, struct tl_buffer *out)
{
    head(out, "tally_append_acks_total", "counter", "Acknowledged batches by result.");
    for (int code = 0; code < TL_CODE_COUNT; code++) {
        if (m->append_acks[code] || code == TL_OK)
            tl_buffer_printf(out, "tally_append_acks_total{code=\"%s\"} %" PRIu64 "\n",
                             tl_code_name((enum tl_code)code), m->append_acks[code]);
    }
    value(out, "tally_append_rows_total", "counter", "Rows stored from acknowledged batches.",
          m->append_rows);
    value(out, "tally_append_refused_rows_total", "counter", "Rows refused with a reason.",
          m->append_refused);
    value(out, "tally_append_duplicates_total", "counter", "Batches that were stored before.",
          m->append_duplicates);
    value(out, "tally_append_bytes_total", "counter", "Bytes of acknowledged request messages.",
          m->append_bytes);
    value(out, "tally_append_open", "gauge", "Batches received and not yet acknowledged.",
          m->append_open);
    value(out, "tally_append_busy_total", "counter", "Batches that met a full engine queue.",
          m->append_busy);
    head(out, "tally_append_ack_seconds", "histogram",
         "From the last byte of a batch to its acknowledgement.");
    histogram(out, "tally_append_ack_seconds", "", &m->append_seconds);
}

void tl_wire_metrics_print(const struct tl_server *server, struct tl_buffer *out)
{
    static const char *const doors[TL_DOOR_COUNT] = {"grpc", "http", "pg", "pg_unix"};
    const struct tl_wire_metrics *m = &server->metrics;
    head(out, "tally_connections_open", "gauge", "Open connections.");
    for (int i = 0; i < TL_DOOR_COUNT; i++)
        tl_buffer_printf(out, "tally_connections_open{door=\"%s\"} %" PRIu64 "\n", doors[i],
                         m->connections_open[i]);
    head(out, "tally_connections_total", "counter", "Accepted connections.");
    for (int i = 0; i < TL_DOOR_COUNT; i++)
        tl_buffer_printf(out, "tally_connections_total{door=\"%s\"} %" PRIu64 "\n", doors[i],
                         m->connections_total[i]);
    value(out, "tally_connections_refused_total", "counter",
          "Connections closed at once because of a limit.", m->connections_refused);
    value(out, "tally_connections_failed_total", "counter",
          "Connections ended by an error or a limit of theirs.", m->connections_failed);
    value(out, "tally_socket_received_bytes_total", "counter", "Bytes read from sockets.",
          m->bytes_in);
    value(out, "tally_socket_sent_bytes_total", "counter", "Bytes written to sockets.",
          m->bytes_out);
    value(out, "tally_grpc_streams_open", "gauge", "Open HTTP/2 streams.", server->stream_count);
    value(out, "tally_grpc_streams_refused_total", "counter",
          "Streams refused by the server-wide limit.", m->streams_refused);
    value(out, "tally_window_lent_bytes", "gauge", "Flow-control windows lent to connections.",
          server->windows.lent_bytes);
    value(out, "tally_window_peak_bytes", "gauge", "The most that was ever lent.",
          server->windows.peak_bytes);
    value(out, "tally_window_limit_bytes", "gauge", "The most that may be lent.",
          server->windows.limit_bytes);
    value(out, "tally_queries_open", "gauge", "Queries running or waiting.", m->queries_open);
    print_append(m, out);
    print_methods(m, out);
    head(out, "tally_http_requests_total", "counter", "HTTP/1.1 requests.");
    for (int i = 1; i < 6; i++) {
        if (m->http_requests[i])
            tl_buffer_printf(out, "tally_http_requests_total{status=\"%dxx\"} %" PRIu64 "\n", i,
                             m->http_requests[i]);
    }
}
