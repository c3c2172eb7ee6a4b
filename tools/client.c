/*
 * tools/client.c: gRPC over HTTP/2, the client's side.
 *
 * Read for it: RFC 9113 (HTTP/2), gRPC's "gRPC over HTTP2", nghttp2's programmer's guide.
 * A message is a byte (0: not compressed), its length in four bytes, big-endian, and its bytes. The
 * status comes in trailers, with details in grpc-status-details-bin (docs/WIRE.md).
 *
 *   1. `queue` holds the batches that are not acknowledged, in the order in which they were sent;
 *      `next` is the first of them that has not been handed to nghttp2 whole.
 *   2. After a new connection `next` is the queue's head again: everything is sent once more.
 */
#include "tools/client.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "tools/client_tls.h"

volatile int tl_client_interrupted;

enum {
    MESSAGE_BYTES_MAX = 64 << 20,
    STREAM_WINDOW = 4 << 20,
    CONNECTION_WINDOW = 16 << 20,
    DATA_FRAME_MAX = 256 << 10,
    CONNECT_TIMEOUT_MS = 10000,
    HEAD_BYTES_MAX = 128, /* prefix and the fields before the batch's bytes */
    WAIT_SLICE_MS = 200   /* how often an interruption is looked for */
};

struct client_batch {
    struct client_batch *next;
    uint64_t sequence;
    uint8_t head[HEAD_BYTES_MAX];
    size_t head_size;
    struct tl_slice body;
    bool borrowed;
    void *tag;
};

/* The one stream of a connection that is open. */
struct stream {
    int32_t id;
    bool done;
    uint32_t http_status;
    int grpc_status; /* -1: none came */
    char text[256];
    char details[1024];
    uint32_t reset_code;
    struct tl_buffer in; /* bytes of messages, whole ones are taken at once */
    tl_client_message *on_message;
    void *arg;
    struct tl_status *st; /* where a failing on_message tells */
    bool failed;
    /* a call's request */
    struct tl_slice request;
    uint8_t prefix[5];
    size_t sent;
    struct tl_appender *appender; /* or NULL */
};

struct tl_client {
    int fd;
    struct tl_client_tls *tls; /* NULL: plaintext */
    nghttp2_session *h2;
    char authority[256];
    char authorization[80]; /* "Bearer TOKEN"; empty: none */
    struct stream stream;
    const uint8_t *out; /* what nghttp2 gave and the socket did not take yet */
    size_t out_size;
    bool broken;
    char why[128];
};

struct tl_appender {
    struct tl_client *client;
    char address[256];
    uint8_t producer[64];
    size_t producer_size;
    struct tl_appender_options options;
    struct client_batch *queue, *queue_last, *next; /* (1) */
    size_t next_sent;                               /* bytes of `next` handed over */
    uint32_t in_flight;
    size_t in_flight_bytes;
    bool ending;             /* no more batches come: half-close after the last */
    uint64_t retry_until_ms; /* 0: connected */
    uint64_t retry_at_ms;
};

static uint64_t now_ms(void)
{
    return tl_clock_mono_ns(tl_clock_system()) / 1000000;
}

/* ---- what nghttp2 calls ---- */

static void details_char(struct stream *s, const uint8_t *value, size_t size)
{
    size_t n = size < sizeof(s->details) - 1 ? size : sizeof(s->details) - 1;
    memcpy(s->details, value, n);
    s->details[n] = 0;
}

static int hex_digit(int c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* grpc-message is percent-encoded. */
static void decode_text(struct stream *s, const uint8_t *value, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < size && n + 1 < sizeof(s->text); i++) {
        int c = value[i];
        if (c == '%' && i + 2 < size && hex_digit(value[i + 1]) >= 0 &&
            hex_digit(value[i + 2]) >= 0) {
            c = hex_digit(value[i + 1]) * 16 + hex_digit(value[i + 2]);
            i += 2;
        }
        s->text[n++] = c ? (char)c : ' ';
    }
    s->text[n] = 0;
}

static int on_header(nghttp2_session *h2, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags,
                     void *arg)
{
    (void)h2;
    (void)flags;
    struct stream *s = &((struct tl_client *)arg)->stream;
    if (frame->hd.stream_id != s->id)
        return 0;
    struct tl_slice n = tl_slice_of(name, name_size);
    char number[16] = {0};
    memcpy(number, value, value_size < 15 ? value_size : 15);
    if (tl_slice_eq(n, tl_slice_str(":status")))
        s->http_status = (uint32_t)strtoul(number, NULL, 10);
    else if (tl_slice_eq(n, tl_slice_str("grpc-status")))
        s->grpc_status = (int)strtol(number, NULL, 10);
    else if (tl_slice_eq(n, tl_slice_str("grpc-message")))
        decode_text(s, value, value_size);
    else if (tl_slice_eq(n, tl_slice_str("grpc-status-details-bin")))
        details_char(s, value, value_size);
    return 0;
}

static void take_messages(struct stream *s)
{
    size_t at = 0;
    while (!s->failed && s->in.size - at >= 5) {
        const uint8_t *p = s->in.data + at;
        size_t size = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
        if (p[0] != 0 || size > MESSAGE_BYTES_MAX) {
            (void)TL_FAIL(s->st, TL_INVALID, "the server sent a message of %zu bytes, %s", size,
                          p[0] ? "compressed" : "too large");
            s->failed = true;
            return;
        }
        if (s->in.size - at - 5 < size)
            break;
        if (s->on_message && s->on_message(s->arg, tl_slice_of(p + 5, size), s->st))
            s->failed = true;
        at += 5 + size;
    }
    memmove(s->in.data, s->in.data + at, s->in.size - at);
    s->in.size -= at;
}

static int on_data(nghttp2_session *h2, uint8_t flags, int32_t id, const uint8_t *data, size_t size,
                   void *arg)
{
    (void)h2;
    (void)flags;
    struct stream *s = &((struct tl_client *)arg)->stream;
    if (id != s->id || s->failed || size == 0)
        return 0;
    tl_buffer_put(&s->in, data, size);
    if (s->in.failed) {
        (void)TL_FAIL(s->st, TL_LIMIT, "the server's message is larger than %d bytes",
                      MESSAGE_BYTES_MAX);
        s->failed = true;
        return 0;
    }
    take_messages(s);
    return 0;
}

static int on_stream_close(nghttp2_session *h2, int32_t id, uint32_t code, void *arg)
{
    (void)h2;
    struct stream *s = &((struct tl_client *)arg)->stream;
    if (id == s->id) {
        s->done = true;
        s->reset_code = code;
    }
    return 0;
}

static ssize_t read_length(nghttp2_session *h2, uint8_t type, int32_t id, int32_t connection_window,
                           int32_t stream_window, uint32_t frame_max, void *arg)
{
    (void)h2;
    (void)type;
    (void)id;
    (void)arg;
    int32_t window = connection_window < stream_window ? connection_window : stream_window;
    uint32_t length = frame_max < DATA_FRAME_MAX ? frame_max : DATA_FRAME_MAX;
    return window < (int32_t)length ? window : (ssize_t)length;
}

static size_t copy_part(struct tl_slice part, size_t *offset, uint8_t *out, size_t room)
{
    if (*offset >= part.size) {
        *offset -= part.size;
        return 0;
    }
    size_t n = part.size - *offset < room ? part.size - *offset : room;
    memcpy(out, part.data + *offset, n);
    *offset = 0;
    return n;
}

/* A part of a message, from byte `sent` of its head and body on. */
static size_t copy_message(struct tl_slice head, struct tl_slice body, size_t sent, uint8_t *out,
                           size_t room)
{
    size_t offset = sent;
    size_t n = copy_part(head, &offset, out, room);
    if (n < room)
        n += copy_part(body, &offset, out + n, room - n);
    return n;
}

static ssize_t read_request(nghttp2_session *h2, int32_t id, uint8_t *out, size_t room,
                            uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    (void)h2;
    (void)id;
    (void)source;
    struct stream *s = &((struct tl_client *)arg)->stream;
    size_t n = copy_message(tl_slice_of(s->prefix, 5), s->request, s->sent, out, room);
    s->sent += n;
    if (s->sent == s->request.size + 5)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static ssize_t read_batches(nghttp2_session *h2, int32_t id, uint8_t *out, size_t room,
                            uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    (void)h2;
    (void)id;
    (void)source;
    struct tl_appender *a = ((struct tl_client *)arg)->stream.appender;
    size_t n = 0;
    while (a->next && n < room) {
        struct client_batch *b = a->next;
        size_t part = copy_message(tl_slice_of(b->head, b->head_size), b->body, a->next_sent,
                                   out + n, room - n);
        n += part;
        a->next_sent += part;
        if (a->next_sent == b->head_size + b->body.size) {
            a->next = b->next;
            a->next_sent = 0;
        }
    }
    if (!a->next && a->ending)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    else if (n == 0)
        return NGHTTP2_ERR_DEFERRED;
    return (ssize_t)n;
}

/* ---- the connection ---- */

static enum tl_code connect_one(const struct addrinfo *ai, int *out, struct tl_status *st)
{
    int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, ai->ai_protocol);
    if (fd < 0)
        return TL_FAIL_OS(st, TL_IO, errno, "no socket: %s", strerror(errno));
    int error = 0;
    if (connect(fd, ai->ai_addr, ai->ai_addrlen) != 0) {
        error = errno;
        if (error == EINPROGRESS) {
            struct pollfd p = {.fd = fd, .events = POLLOUT};
            socklen_t size = sizeof(error);
            if (poll(&p, 1, CONNECT_TIMEOUT_MS) != 1)
                error = ETIMEDOUT;
            else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
                error = errno;
        }
    }
    if (error) {
        close(fd);
        return TL_FAIL_OS(st, TL_IO, error, "%s", strerror(error));
    }
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    *out = fd;
    return TL_OK;
}

static enum tl_code connect_to(const char *address, int *out, struct tl_status *st)
{
    char host[200];
    const char *colon = strrchr(address, ':');
    if (!colon || (size_t)(colon - address) >= sizeof(host) || colon[1] == 0)
        return TL_FAIL(st, TL_INVALID, "'%s' is not HOST:PORT", address);
    size_t size = (size_t)(colon - address);
    const char *begin = address;
    if (size > 2 && begin[0] == '[' && begin[size - 1] == ']') {
        begin++;
        size -= 2;
    }
    memcpy(host, begin, size);
    host[size] = 0;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list;
    int rc = getaddrinfo(size ? host : "127.0.0.1", colon + 1, &hints, &list);
    if (rc)
        return TL_FAIL(st, TL_IO, "no address for %s: %s", address, gai_strerror(rc));
    enum tl_code code = TL_IO;
    for (struct addrinfo *ai = list; ai && code; ai = ai->ai_next) {
        tl_status_clear(st);
        code = connect_one(ai, out, st);
    }
    freeaddrinfo(list);
    return code;
}

static enum tl_code start_session(struct tl_client *c, struct tl_status *st)
{
    nghttp2_session_callbacks *callbacks;
    if (nghttp2_session_callbacks_new(&callbacks))
        return TL_FAIL(st, TL_LIMIT, "no memory for a connection");
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_data_source_read_length_callback(callbacks, read_length);
    int rc = nghttp2_session_client_new(&c->h2, callbacks, c);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                         {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
                                         {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, DATA_FRAME_MAX}};
    if (!rc)
        rc = nghttp2_submit_settings(c->h2, NGHTTP2_FLAG_NONE, settings, 3);
    if (!rc)
        rc = nghttp2_session_set_local_window_size(c->h2, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW);
    return rc ? TL_FAIL(st, TL_LIMIT, "no HTTP/2 session: %s", nghttp2_strerror(rc)) : TL_OK;
}

enum tl_code tl_client_open(const char *address, struct tl_client **out, struct tl_status *st)
{
    struct tl_client *c = calloc(1, sizeof(*c));
    if (!c)
        return TL_FAIL(st, TL_LIMIT, "no memory for a connection");
    c->fd = -1;
    tl_buffer_init(&c->stream.in, "server's message", MESSAGE_BYTES_MAX + (1 << 20));
    snprintf(c->authority, sizeof(c->authority), "%s", address);
    const char *token = getenv("TALLY_TOKEN"); /* no flag: everybody may read arguments */
    if (token && token[0])
        snprintf(c->authorization, sizeof(c->authorization), "Bearer %s", token);
    enum tl_code rc = connect_to(address, &c->fd, st);
    if (!rc && tl_client_tls_wanted())
        rc = tl_client_tls_new(c->fd, address, CONNECT_TIMEOUT_MS, &c->tls, st);
    if (!rc)
        rc = start_session(c, st);
    if (rc) {
        tl_client_close(c);
        tl_status_wrap(st, "connecting to %s", address);
        return rc;
    }
    *out = c;
    return TL_OK;
}

void tl_client_close(struct tl_client *c)
{
    if (!c)
        return;
    nghttp2_session_del(c->h2);
    tl_client_tls_free(c->tls);
    if (c->fd >= 0)
        close(c->fd);
    tl_buffer_deinit(&c->stream.in);
    free(c);
}

static void break_off(struct tl_client *c, const char *why)
{
    if (!c->broken)
        snprintf(c->why, sizeof(c->why), "%s", why);
    c->broken = true;
}

static void write_out(struct tl_client *c)
{
    while (!c->broken) {
        if (c->out_size == 0) {
            ssize_t n = nghttp2_session_mem_send(c->h2, &c->out);
            if (n < 0)
                break_off(c, nghttp2_strerror((int)n));
            if (n <= 0)
                return;
            c->out_size = (size_t)n;
        }
        ssize_t n = c->tls ? tl_client_tls_send(c->tls, c->out, c->out_size)
                           : send(c->fd, c->out, c->out_size, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN || errno == EINTR)
                return;
            break_off(c, strerror(errno));
            return;
        }
        c->out += n;
        c->out_size -= (size_t)n;
    }
}

static void read_in(struct tl_client *c)
{
    uint8_t bytes[1 << 16];
    bool pending = false;
    for (int i = 0; (i < 16 || pending) && !c->broken; i++) { /* bounded: others wait too */
        ssize_t n = c->tls ? tl_client_tls_recv(c->tls, bytes, sizeof(bytes))
                           : recv(c->fd, bytes, sizeof(bytes), 0);
        if (n < 0) {
            if (errno != EAGAIN && errno != EINTR)
                break_off(c, strerror(errno));
            return;
        }
        if (n == 0) {
            break_off(c, "the server closed the connection");
            return;
        }
        ssize_t used = nghttp2_session_mem_recv(c->h2, bytes, (size_t)n);
        if (used < 0)
            break_off(c, nghttp2_strerror((int)used));
        pending = c->tls && tl_client_tls_pending(c->tls);
        if (n < (ssize_t)sizeof(bytes) && !c->tls)
            return;
    }
}

static short wanted_events(const struct tl_client *c)
{
    bool out = c->out_size > 0 || nghttp2_session_want_write(c->h2);
    return (short)(POLLIN | (out ? POLLOUT : 0));
}

static void handle_events(struct tl_client *c, short events)
{
    if (events & (POLLIN | POLLHUP | POLLERR))
        read_in(c);
    write_out(c);
}

static int32_t open_stream(struct tl_client *c, const char *method, uint64_t timeout_ms,
                           nghttp2_data_source_read_callback read)
{
    char path[160], timeout[24];
    snprintf(path, sizeof(path), "/%s", method);
    snprintf(timeout, sizeof(timeout), "%llum", (unsigned long long)timeout_ms);
#define NV(n, v)                                                                                   \
    {(uint8_t *)(uintptr_t)(n), (uint8_t *)(uintptr_t)(v), strlen(n), strlen(v),                   \
     NGHTTP2_NV_FLAG_NONE}
    nghttp2_nv headers[9] = {NV(":method", "POST"),
                             NV(":scheme", "http"),
                             NV(":path", path),
                             NV(":authority", c->authority),
                             NV("content-type", "application/grpc"),
                             NV("te", "trailers"),
                             NV("user-agent", "tally/" TALLY_VERSION)};
    size_t count = 7;
    if (timeout_ms)
        headers[count++] = (nghttp2_nv)NV("grpc-timeout", timeout);
    if (c->authorization[0])
        headers[count++] = (nghttp2_nv)NV("authorization", c->authorization);
#undef NV
    nghttp2_data_provider provider = {.read_callback = read};
    return nghttp2_submit_request(c->h2, NULL, headers, count, &provider, NULL);
}

static void stream_reset(struct stream *s)
{
    struct tl_buffer in = s->in;
    tl_buffer_clear(&in);
    *s = (struct stream){.in = in, .grpc_status = -1};
}

/* ---- a status ---- */

static enum tl_code code_of_grpc(int status)
{
    static const enum tl_code codes[17] = {
        TL_OK,          TL_CANCELLED, TL_IO,     TL_INVALID, TL_TIMEOUT, TL_NOT_FOUND,
        TL_EXISTS,      TL_INVALID,   TL_LIMIT,  TL_INVALID, TL_BUSY,    TL_INVALID,
        TL_UNSUPPORTED, TL_IO,        TL_CLOSED, TL_CORRUPT, TL_INVALID};
    return status >= 0 && status < 17 ? codes[status] : TL_IO;
}

static size_t base64_decode(const char *text, uint8_t *out, size_t room)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t bits = 0, count = 0;
    size_t n = 0;
    for (; *text && *text != '='; text++) {
        const char *at = strchr(digits, *text);
        if (!at)
            return 0;
        bits = bits << 6 | (uint32_t)(at - digits);
        count += 6;
        if (count >= 8) {
            count -= 8;
            if (n == room)
                return 0;
            out[n++] = (uint8_t)(bits >> count);
        }
    }
    return n;
}

/* The field `wanted` of a message, or an empty slice; *message moves behind it. */
static struct tl_slice next_field(struct tl_slice *message, uint32_t wanted)
{
    struct tl_reader r = tl_reader_of(*message);
    while (!r.failed && tl_reader_left(&r)) {
        uint64_t tag = tl_read_varint(&r);
        if ((tag & 7) == 0) {
            (void)tl_read_varint(&r);
            continue;
        }
        if ((tag & 7) != 2)
            break;
        struct tl_slice value = tl_read_bytes(&r, tl_read_varint(&r));
        if (tag >> 3 == wanted && !r.failed) {
            *message = tl_slice_of(r.next, tl_reader_left(&r));
            return value;
        }
    }
    *message = tl_slice_of(NULL, 0);
    return tl_slice_of(NULL, 0);
}

/* google.rpc.Status > Any > ErrorInfo: the SQLSTATE and the position in the statement. */
static void add_details(const struct stream *s, struct tl_status *st)
{
    uint8_t bytes[1024];
    struct tl_slice status = tl_slice_of(bytes, base64_decode(s->details, bytes, sizeof(bytes)));
    struct tl_slice any = next_field(&status, 3);
    struct tl_slice info = next_field(&any, 2);
    struct tl_slice entries = info;
    struct tl_slice reason = next_field(&info, 1);
    int32_t position = 0;
    for (;;) {
        struct tl_slice entry = next_field(&entries, 3);
        if (!entry.size)
            break;
        struct tl_slice value_from = entry;
        struct tl_slice key = next_field(&entry, 1), value = next_field(&value_from, 2);
        char number[12] = {0};
        if (tl_slice_eq(key, tl_slice_str("position")) && value.size < sizeof(number)) {
            memcpy(number, value.data, value.size);
            position = (int32_t)strtol(number, NULL, 10);
        }
    }
    if (reason.size == 5) {
        char sqlstate[6] = {0};
        memcpy(sqlstate, reason.data, 5);
        (void)tl_status_sql(st, sqlstate, position);
    }
}

static enum tl_code stream_status(const struct tl_client *c, struct tl_status *st)
{
    const struct stream *s = &c->stream;
    if (s->failed)
        return st->code ? st->code : TL_FAIL(st, TL_INVALID, "the answer was not understood");
    if (s->done && s->grpc_status == 0)
        return TL_OK;
    if (s->done && s->grpc_status > 0) {
        enum tl_code rc = TL_FAIL(st, code_of_grpc(s->grpc_status), "%s",
                                  s->text[0] ? s->text : "the server gave no reason");
        add_details(s, st);
        return rc;
    }
    if (c->broken)
        return TL_FAIL(st, TL_IO, "the connection to %s broke: %s", c->authority, c->why);
    if (s->http_status && s->http_status != 200)
        return TL_FAIL(st, TL_IO, "%s answered with HTTP status %u", c->authority, s->http_status);
    return TL_FAIL(st, TL_IO, "%s ended the call without a status (%s)", c->authority,
                   nghttp2_http2_strerror(s->reset_code));
}

/* ---- calls ---- */

enum tl_code tl_client_call(struct tl_client *c, const char *method, struct tl_slice request,
                            uint64_t timeout_ms, tl_client_message *on_message, void *arg,
                            struct tl_status *st)
{
    struct stream *s = &c->stream;
    stream_reset(s);
    s->on_message = on_message;
    s->arg = arg;
    s->st = st;
    s->request = request;
    for (int i = 0; i < 4; i++)
        s->prefix[1 + i] = (uint8_t)(request.size >> (24 - 8 * i));
    s->id = open_stream(c, method, timeout_ms, read_request);
    if (s->id < 0)
        return TL_FAIL(st, TL_IO, "no stream: %s", nghttp2_strerror(s->id));
    uint64_t deadline = timeout_ms ? now_ms() + timeout_ms + 2000 : UINT64_MAX;
    enum tl_code rc = TL_OK;
    write_out(c);
    while (!rc && !s->done && !s->failed && !c->broken) {
        struct pollfd p = {.fd = c->fd, .events = wanted_events(c)};
        if (poll(&p, 1, WAIT_SLICE_MS) > 0)
            handle_events(c, p.revents);
        if (tl_client_interrupted)
            rc = TL_FAIL(st, TL_CANCELLED, "interrupted");
        else if (now_ms() > deadline)
            rc = TL_FAIL(st, TL_TIMEOUT, "no answer from %s in %llu ms", c->authority,
                         (unsigned long long)timeout_ms);
    }
    if (!rc)
        rc = stream_status(c, st);
    if (!s->done && !c->broken) {
        (void)nghttp2_submit_rst_stream(c->h2, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
        write_out(c);
    }
    s->id = 0;
    return rc;
}

/* ---- appending ---- */

static void batch_free(struct client_batch *b)
{
    if (!b->borrowed)
        free((void *)(uintptr_t)b->body.data);
    free(b);
}

/* Decodes AppendResponse. */
static bool ack_decode(struct tl_slice message, struct tl_client_ack *out)
{
    struct tl_client_ack ack = {0};
    struct tl_reader r = tl_reader_of(message);
    bool first = true;
    while (!r.failed && tl_reader_left(&r)) {
        uint64_t tag = tl_read_varint(&r);
        uint64_t number = 0;
        struct tl_slice bytes = {0};
        if ((tag & 7) == 0)
            number = tl_read_varint(&r);
        else if ((tag & 7) == 2)
            bytes = tl_read_bytes(&r, tl_read_varint(&r));
        else
            return false;
        switch (tag) {
        case 1 << 3:
            ack.sequence = number;
            break;
        case 2 << 3:
            ack.code = (uint32_t)number;
            break;
        case 3 << 3 | 2:
            ack.message = bytes;
            break;
        case 4 << 3:
            ack.rows = (uint32_t)number;
            break;
        case 5 << 3:
            ack.refused = (uint32_t)number;
            break;
        case 6 << 3:
            ack.duplicate = number != 0;
            break;
        case 7 << 3 | 2:
            if (first) {
                struct tl_reader refusal = tl_reader_of(bytes);
                if (tl_reader_left(&refusal) && *refusal.next == (1 << 3)) {
                    (void)tl_read_varint(&refusal);
                    ack.first_row = (uint32_t)tl_read_varint(&refusal);
                }
                ack.first_reason = next_field(&bytes, 2);
                first = false;
            }
            break;
        case 8 << 3:
            ack.position = number;
            break;
        case 9 << 3:
            ack.duplicate_rows = (uint32_t)number;
            break;
        default:
            break;
        }
    }
    *out = ack;
    return !r.failed;
}

static enum tl_code on_ack_message(void *arg, struct tl_slice message, struct tl_status *st)
{
    struct tl_appender *a = arg;
    struct tl_client_ack ack;
    if (!ack_decode(message, &ack))
        return TL_FAIL(st, TL_INVALID, "the server's acknowledgement is malformed");
    if (ack.code == TL_ACK_UNAVAILABLE && a->options.reconnect_ms) {
        break_off(a->client, "the server takes no batches now");
        return TL_OK; /* it stays in the queue and is sent again */
    }
    struct client_batch **link = &a->queue, *before = NULL;
    while (*link && *link != a->next && (*link)->sequence != ack.sequence) {
        before = *link;
        link = &(*link)->next;
    }
    struct client_batch *b = *link;
    if (!b || b == a->next)
        return TL_FAIL(st, TL_INVALID, "the server acknowledged batch %llu, which was not sent",
                       (unsigned long long)ack.sequence);
    *link = b->next;
    if (a->queue_last == b)
        a->queue_last = before;
    a->in_flight--;
    a->in_flight_bytes -= b->body.size;
    ack.tag = b->tag;
    if (a->options.on_ack)
        a->options.on_ack(a->options.arg, &ack);
    batch_free(b);
    return TL_OK;
}

static enum tl_code appender_connect(struct tl_appender *a, struct tl_status *st)
{
    enum tl_code rc = tl_client_open(a->address, &a->client, st);
    if (rc)
        return rc;
    struct stream *s = &a->client->stream;
    stream_reset(s);
    s->appender = a;
    s->on_message = on_ack_message;
    s->arg = a;
    a->next = a->queue; /* (2) */
    a->next_sent = 0;
    s->id = open_stream(a->client, "tally.v1.Ingest/Append", 0, read_batches);
    if (s->id < 0) {
        tl_client_close(a->client);
        a->client = NULL;
        return TL_FAIL(st, TL_IO, "no stream to %s", a->address);
    }
    a->retry_until_ms = 0;
    return TL_OK;
}

enum tl_code tl_appender_open(const struct tl_appender_options *options, struct tl_appender **out,
                              struct tl_status *st)
{
    if (options->producer.size > 64)
        return TL_FAIL(st, TL_INVALID, "a producer's name is at most 64 bytes");
    struct tl_appender *a = calloc(1, sizeof(*a));
    if (!a)
        return TL_FAIL(st, TL_LIMIT, "no memory for an appender");
    a->options = *options;
    if (!a->options.in_flight_max)
        a->options.in_flight_max = 64;
    if (!a->options.in_flight_bytes_max)
        a->options.in_flight_bytes_max = 64 << 20;
    if (options->producer.size)
        memcpy(a->producer, options->producer.data, options->producer.size);
    else
        a->options.reconnect_ms = 0; /* what is sent twice would be stored twice */
    a->producer_size = options->producer.size;
    snprintf(a->address, sizeof(a->address), "%s", options->address);
    enum tl_code rc = appender_connect(a, st);
    if (rc) {
        tl_appender_close(a);
        return rc;
    }
    *out = a;
    return TL_OK;
}

void tl_appender_close(struct tl_appender *a)
{
    if (!a)
        return;
    tl_client_close(a->client);
    while (a->queue) {
        struct client_batch *b = a->queue;
        a->queue = b->next;
        batch_free(b);
    }
    free(a);
}

uint32_t tl_appender_in_flight(const struct tl_appender *a)
{
    return a->in_flight;
}

bool tl_appender_has_room(const struct tl_appender *a, size_t batch_bytes)
{
    return a->in_flight == 0 ||
           (a->in_flight < a->options.in_flight_max &&
            a->in_flight_bytes + batch_bytes <= a->options.in_flight_bytes_max);
}

/* The connection broke, or the server ended the stream: tries again until the time is over. */
static enum tl_code appender_recover(struct tl_appender *a, struct tl_status *st)
{
    struct tl_status why = TL_STATUS_INIT;
    uint64_t now = now_ms();
    if (a->client) {
        if (a->client->stream.failed)
            return stream_status(a->client, st);
        (void)stream_status(a->client, &why);
        bool ended = a->client->stream.done && !a->client->broken;
        if (ended && a->queue == NULL && a->ending && why.code == TL_OK)
            return TL_OK;
        bool temporary = a->client->broken || why.code == TL_CLOSED || why.code == TL_IO ||
                         why.code == TL_OK || why.code == TL_BUSY;
        if (!a->options.reconnect_ms || !temporary) {
            if (why.code == TL_OK)
                return TL_FAIL(st, TL_IO, "%s ended the stream", a->address);
            *st = why;
            return st->code;
        }
        tl_client_close(a->client);
        a->client = NULL;
        a->retry_until_ms = now + a->options.reconnect_ms;
        a->retry_at_ms = now + 50;
    }
    if (now < a->retry_at_ms)
        return TL_OK;
    tl_status_clear(&why);
    if (appender_connect(a, &why) == TL_OK)
        return TL_OK;
    a->retry_at_ms = now + 250;
    if (now < a->retry_until_ms)
        return TL_OK;
    *st = why;
    return st->code;
}

enum tl_code tl_appender_poll(struct tl_appender *const *appenders, uint32_t count,
                              uint64_t wait_ms, struct tl_status *st)
{
    enum { APPENDERS_MAX = 256 };
    struct pollfd fds[APPENDERS_MAX];
    tl_assert(count <= APPENDERS_MAX);
    if (tl_client_interrupted)
        return TL_FAIL(st, TL_CANCELLED, "interrupted");
    for (uint32_t i = 0; i < count; i++) {
        struct tl_appender *a = appenders[i];
        if (!a->client || a->client->broken || a->client->stream.done || a->client->stream.failed) {
            enum tl_code rc = appender_recover(a, st);
            if (rc)
                return rc;
        }
        fds[i] = (struct pollfd){.fd = -1};
        if (!a->client) {
            wait_ms = wait_ms > 50 ? 50 : wait_ms;
            continue;
        }
        a->client->stream.st = st;
        (void)nghttp2_session_resume_data(a->client->h2, a->client->stream.id);
        write_out(a->client);
        fds[i] = (struct pollfd){.fd = a->client->fd, .events = wanted_events(a->client)};
    }
    int ready = poll(fds, count, (int)(wait_ms > WAIT_SLICE_MS ? WAIT_SLICE_MS : wait_ms));
    for (uint32_t i = 0; ready > 0 && i < count; i++)
        if (fds[i].revents)
            handle_events(appenders[i]->client, fds[i].revents);
    return st->code;
}

/* AppendRequest: producer, sequence, import, and last the batch's tag and length. */
static void head_encode(const struct tl_appender *a, struct client_batch *b)
{
    uint8_t fields[HEAD_BYTES_MAX];
    uint8_t *p = fields;
    if (a->producer_size) {
        *p++ = 1 << 3 | 2;
        *p++ = (uint8_t)a->producer_size;
        memcpy(p, a->producer, a->producer_size);
        p += a->producer_size;
    }
    uint64_t numbers[2] = {b->sequence, b->body.size};
    for (int i = 0; i < 2; i++) {
        if (i == 1 && a->options.import) {
            *p++ = 4 << 3;
            *p++ = 1;
        }
        *p++ = i == 0 ? 2 << 3 : (3 << 3 | 2);
        uint64_t v = numbers[i];
        for (; v >= 0x80; v >>= 7)
            *p++ = (uint8_t)(v | 0x80);
        *p++ = (uint8_t)v;
    }
    size_t fields_size = (size_t)(p - fields);
    size_t size = fields_size + b->body.size;
    b->head[0] = 0;
    for (int i = 0; i < 4; i++)
        b->head[1 + i] = (uint8_t)(size >> (24 - 8 * i));
    memcpy(b->head + 5, fields, fields_size);
    b->head_size = 5 + fields_size;
}

enum tl_code tl_appender_send(struct tl_appender *a, uint64_t sequence, struct tl_slice batch,
                              bool borrowed, void *tag, struct tl_status *st)
{
    while (!tl_appender_has_room(a, batch.size)) {
        enum tl_code rc = tl_appender_poll(&a, 1, WAIT_SLICE_MS, st);
        if (rc)
            return rc;
    }
    struct client_batch *b = calloc(1, sizeof(*b));
    uint8_t *copy = borrowed || !b ? NULL : malloc(batch.size ? batch.size : 1);
    if (!b || (!borrowed && !copy)) {
        free(b);
        return TL_FAIL(st, TL_LIMIT, "no memory for a batch of %zu bytes", batch.size);
    }
    if (copy)
        memcpy(copy, batch.data, batch.size);
    b->sequence = sequence;
    b->body = borrowed ? batch : tl_slice_of(copy, batch.size);
    b->borrowed = borrowed;
    b->tag = tag;
    head_encode(a, b);
    if (a->queue_last)
        a->queue_last->next = b;
    else
        a->queue = b;
    a->queue_last = b;
    if (!a->next)
        a->next = b;
    a->in_flight++;
    a->in_flight_bytes += batch.size;
    return tl_appender_poll(&a, 1, 0, st);
}

enum tl_code tl_appender_finish(struct tl_appender *a, struct tl_status *st)
{
    enum tl_code rc = TL_OK;
    while (!rc && a->queue)
        rc = tl_appender_poll(&a, 1, WAIT_SLICE_MS, st);
    if (rc)
        return rc;
    a->ending = true;
    uint64_t until = now_ms() + 2000; /* everything is durable: the goodbye is a courtesy */
    while (a->client && !a->client->broken && !a->client->stream.done && now_ms() < until) {
        struct tl_status ignored = TL_STATUS_INIT;
        if (tl_appender_poll(&a, 1, 50, &ignored))
            break;
    }
    return TL_OK;
}
