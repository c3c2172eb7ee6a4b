#include "wire/http1.h"

#include <http_parser.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "wire/server_int.h"

enum { URL_BYTES_MAX = 256, METRICS_BYTES_MAX = 4 << 20, WAITING_BYTES_MAX = 64 << 10 };

struct metrics_job;

struct tl_http1 {
    struct tl_server *server;
    struct tl_http1_owner owner;
    http_parser parser;
    char url[URL_BYTES_MAX];
    size_t url_size;
    size_t header_bytes, body_bytes;
    int error;        /* status to answer before the end, 0: none */
    bool busy;        /* an answer is being made */
    bool close_after; /* no further requests */
    bool head;
    struct metrics_job *job;
    struct tl_buffer waiting; /* bytes of further requests */
    struct tl_buffer out;
    size_t out_offset;
    uint64_t active_ms;
};

struct metrics_job {
    struct tl_job job;
    struct tl_http1 *owner; /* NULL: the client went */
    struct tl_buffer text;
};

static void answer(struct tl_http1 *h, int status, const char *reason, const char *type,
                   struct tl_slice body)
{
    h->server->metrics.http_requests[status / 100]++;
    tl_buffer_printf(&h->out,
                     "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                     "Cache-Control: no-store\r\n%s%s\r\n",
                     status, reason, type, body.size, status == 405 ? "Allow: GET, HEAD\r\n" : "",
                     h->close_after ? "Connection: close\r\n" : "");
    if (!h->head)
        tl_buffer_put(&h->out, body.data, body.size);
    h->busy = false;
    h->active_ms = tl_server_now_ms(h->server);
    h->owner.wake(h->owner.arg);
}

static void answer_text(struct tl_http1 *h, int status, const char *reason, const char *text)
{
    answer(h, status, reason, "text/plain; charset=utf-8", tl_slice_str(text));
}

static void run_metrics(struct tl_job *job, uint32_t worker)
{
    (void)worker;
    struct metrics_job *m = (struct metrics_job *)job;
    tally_metrics(job->server->db, &m->text);
}

static bool parse_waiting(struct tl_http1 *h);

static void deliver_metrics(struct tl_mail *mail)
{
    struct metrics_job *m = (struct metrics_job *)mail;
    struct tl_http1 *h = m->owner;
    m->job.server->admin_count--;
    if (h) {
        h->job = NULL;
        if (m->text.failed)
            answer_text(h, 500, "Internal Server Error", "the metrics exceed their limit\n");
        else
            answer(h, 200, "OK", "text/plain; version=0.0.4; charset=utf-8",
                   tl_buffer_slice(&m->text));
        if (!parse_waiting(h))
            h->close_after = true;
    }
    tl_buffer_deinit(&m->text);
    free(m);
}

static void start_metrics(struct tl_http1 *h)
{
    struct tl_server *server = h->server;
    struct metrics_job *m = NULL;
    if (server->admin_count < server->limits.admin_max)
        m = calloc(1, sizeof(*m));
    if (!m) {
        answer_text(h, 503, "Service Unavailable", "too many requests wait\n");
        return;
    }
    m->owner = h;
    m->job.run = run_metrics;
    m->job.mail.deliver = deliver_metrics;
    tl_buffer_init(&m->text, "metrics", METRICS_BYTES_MAX);
    tl_wire_metrics_print(server, &m->text);
    if (!tl_job_submit(server, server->admin_pool, &m->job)) {
        tl_buffer_deinit(&m->text);
        free(m);
        answer_text(h, 503, "Service Unavailable", "too many requests wait\n");
        return;
    }
    server->admin_count++;
    h->job = m;
}

static void route(struct tl_http1 *h)
{
    char *query = strchr(h->url, '?');
    if (query)
        *query = '\0';
    bool health = strcmp(h->url, "/healthz") == 0, ready = strcmp(h->url, "/readyz") == 0;
    bool metrics = strcmp(h->url, "/metrics") == 0;
    if (!health && !ready && !metrics)
        answer_text(h, 404, "Not Found", "there are /healthz, /readyz and /metrics\n");
    else if (h->parser.method != HTTP_GET && h->parser.method != HTTP_HEAD)
        answer_text(h, 405, "Method Not Allowed", "GET and HEAD only\n");
    else if (health)
        answer_text(h, 200, "OK", "ok\n");
    else if (ready && tl_server_serving(h->server))
        answer_text(h, 200, "OK", "ready\n");
    else if (ready)
        answer_text(h, 503, "Service Unavailable",
                    h->server->draining ? "shutting down\n" : "the store is not ready\n");
    else
        start_metrics(h);
}

/* ---- http-parser's callbacks ---- */

static int count_header(struct tl_http1 *h, size_t size)
{
    h->header_bytes += size;
    if (h->header_bytes > TL_HTTP_HEADER_BYTES_MAX) {
        h->error = 431;
        return 1;
    }
    return 0;
}

static int on_begin(http_parser *p)
{
    struct tl_http1 *h = p->data;
    h->url_size = h->header_bytes = h->body_bytes = 0;
    h->url[0] = '\0';
    return 0;
}

static int on_url(http_parser *p, const char *at, size_t size)
{
    struct tl_http1 *h = p->data;
    if (size >= sizeof(h->url) - h->url_size) {
        h->error = 414;
        return 1;
    }
    memcpy(h->url + h->url_size, at, size);
    h->url_size += size;
    h->url[h->url_size] = '\0';
    return count_header(h, size);
}

static int on_header_part(http_parser *p, const char *at, size_t size)
{
    (void)at;
    return count_header(p->data, size + 4);
}

static int on_body(http_parser *p, const char *at, size_t size)
{
    (void)at;
    struct tl_http1 *h = p->data;
    h->body_bytes += size;
    if (h->body_bytes > TL_HTTP_BODY_BYTES_MAX) {
        h->error = 413;
        return 1;
    }
    return 0;
}

static int on_complete(http_parser *p)
{
    struct tl_http1 *h = p->data;
    h->busy = true;
    h->head = p->method == HTTP_HEAD;
    if (!http_should_keep_alive(p) || p->upgrade || h->server->draining)
        h->close_after = true;
    http_parser_pause(p, 1);
    return 0;
}

static const http_parser_settings settings = {
    .on_message_begin = on_begin,
    .on_url = on_url,
    .on_header_field = on_header_part,
    .on_header_value = on_header_part,
    .on_body = on_body,
    .on_message_complete = on_complete,
};

static void answer_error(struct tl_http1 *h, int status)
{
    h->close_after = true;
    h->head = false;
    switch (status) {
    case 413:
        answer_text(h, 413, "Payload Too Large", "the body is too large\n");
        break;
    case 414:
        answer_text(h, 414, "URI Too Long", "the target is too long\n");
        break;
    case 431:
        answer_text(h, 431, "Request Header Fields Too Large", "the headers are too large\n");
        break;
    default:
        answer_text(h, 400, "Bad Request", "this is no HTTP/1.1 request\n");
    }
}

/* Parses until an answer is being made; returns how many bytes were taken, all of them when the
 * connection is to end. */
static size_t parse(struct tl_http1 *h, const uint8_t *data, size_t size)
{
    size_t at = 0;
    while (at < size && !h->busy && !h->close_after) {
        size_t n = http_parser_execute(&h->parser, &settings, (const char *)data + at, size - at);
        at += n;
        enum http_errno e = HTTP_PARSER_ERRNO(&h->parser);
        if (e == HPE_PAUSED) {
            http_parser_pause(&h->parser, 0);
            route(h);
            continue;
        }
        if (e != HPE_OK || h->parser.upgrade) {
            answer_error(h, h->error);
            return size;
        }
    }
    return at;
}

static bool parse_waiting(struct tl_http1 *h)
{
    struct tl_buffer *b = &h->waiting;
    if (b->size == 0 || h->busy)
        return true;
    size_t n = parse(h, b->data, b->size);
    b->size -= n;
    memmove(b->data, b->data + n, b->size);
    return true;
}

bool tl_http1_receive(struct tl_http1 *h, const uint8_t *data, size_t size)
{
    h->active_ms = tl_server_now_ms(h->server);
    size_t n = h->waiting.size || h->busy ? 0 : parse(h, data, size);
    if (h->close_after)
        return true; /* the answer goes out, then the end */
    if (n < size)
        tl_buffer_put(&h->waiting, data + n, size - n);
    return !h->waiting.failed;
}

size_t tl_http1_pull(struct tl_http1 *h, uint8_t *out, size_t size)
{
    size_t n = h->out.size - h->out_offset;
    if (n > size)
        n = size;
    if (n == 0)
        return 0;
    memcpy(out, h->out.data + h->out_offset, n);
    h->out_offset += n;
    if (h->out_offset == h->out.size) {
        tl_buffer_deinit(&h->out);
        tl_buffer_clear(&h->out);
        h->out_offset = 0;
    }
    return n;
}

bool tl_http1_finished(struct tl_http1 *h)
{
    return h->out.failed || (h->close_after && !h->busy && h->out_offset == h->out.size);
}

uint64_t tl_http1_tick(struct tl_http1 *h, uint64_t now_ms)
{
    uint64_t end = h->active_ms + h->server->limits.handshake_ms * 6;
    if (h->busy)
        return now_ms + 1000;
    if (now_ms < end)
        return end;
    h->close_after = true;
    return UINT64_MAX;
}

void tl_http1_drain(struct tl_http1 *h)
{
    h->close_after = true;
    h->owner.wake(h->owner.arg);
}

enum tl_code tl_http1_new(struct tl_server *server, const struct tl_http1_owner *owner,
                          struct tl_http1 **out, struct tl_status *st)
{
    struct tl_http1 *h = calloc(1, sizeof(*h));
    if (!h)
        return TL_FAIL(st, TL_LIMIT, "no memory for a connection");
    h->server = server;
    h->owner = *owner;
    h->active_ms = tl_server_now_ms(server);
    http_parser_init(&h->parser, HTTP_REQUEST);
    h->parser.data = h;
    tl_buffer_init(&h->out, "HTTP answer", METRICS_BYTES_MAX + 4096);
    tl_buffer_init(&h->waiting, "pipelined requests", WAITING_BYTES_MAX);
    *out = h;
    return TL_OK;
}

void tl_http1_free(struct tl_http1 *h)
{
    if (!h)
        return;
    if (h->job)
        h->job->owner = NULL;
    tl_buffer_deinit(&h->out);
    tl_buffer_deinit(&h->waiting);
    free(h);
}
