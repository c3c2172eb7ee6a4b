/*
 * tools/load_conn.c: see load_conn.h. Read for it: RFC 9113, RFC 7541 (appendix A).
 */
#include "tools/load_conn.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"

enum {
    FRAME_HEAD = 9,
    FRAME_DATA = 0,
    FRAME_HEADERS = 1,
    FRAME_RST_STREAM = 3,
    FRAME_SETTINGS = 4,
    FRAME_PING = 6,
    FRAME_GOAWAY = 7,
    FRAME_WINDOW_UPDATE = 8,
    FLAG_END_STREAM = 1,
    FLAG_ACK = 1,
    FLAG_END_HEADERS = 4,
    SETTING_INITIAL_WINDOW = 4,
    SETTING_FRAME_MAX = 5,
    WINDOW_FIRST = 65535,
    OUT_BYTES = 256 << 10, /* built ahead of the socket */
    IN_BYTES = 64 << 10,
    HEAD_BYTES = 128, /* of a message, before the batch */
    CREDIT_BYTES = 16 << 10,
    WAIT_MS = 10000,
};

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/* ---- frames ---- */

static void put_frame_head(struct tl_buffer *b, size_t size, uint8_t type, uint8_t flags,
                           int32_t stream)
{
    uint8_t h[FRAME_HEAD] = {(uint8_t)(size >> 16),
                             (uint8_t)(size >> 8),
                             (uint8_t)size,
                             type,
                             flags,
                             (uint8_t)(stream >> 24),
                             (uint8_t)(stream >> 16),
                             (uint8_t)(stream >> 8),
                             (uint8_t)stream};
    tl_buffer_put(b, h, sizeof(h));
}

static void put_u32be(struct tl_buffer *b, uint32_t v)
{
    uint8_t p[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    tl_buffer_put(b, p, sizeof(p));
}

static uint32_t get_u32be(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put_string(struct tl_buffer *b, const char *s)
{
    tl_assert(strlen(s) < 127);
    tl_buffer_put_u8(b, (uint8_t)strlen(s));
    tl_buffer_put(b, s, strlen(s));
}

/* A request's headers, all literal or of the static table. */
static void put_headers(struct tl_load_conn *c, const char *path)
{
    struct tl_buffer h;
    tl_buffer_init(&h, "headers", 1024);
    tl_buffer_put_u8(&h, 0x83); /* :method POST */
    tl_buffer_put_u8(&h, 0x86); /* :scheme http */
    tl_buffer_put_u8(&h, 0x04); /* :path */
    put_string(&h, path);
    tl_buffer_put_u8(&h, 0x01); /* :authority */
    put_string(&h, "load");
    tl_buffer_put_u8(&h, 0x0f); /* content-type: 31, beyond the four bits */
    tl_buffer_put_u8(&h, 31 - 15);
    put_string(&h, "application/grpc");
    tl_buffer_put_u8(&h, 0x00);
    put_string(&h, "te");
    put_string(&h, "trailers");
    put_frame_head(&c->out, h.size, FRAME_HEADERS, FLAG_END_HEADERS, c->stream);
    tl_buffer_put(&c->out, h.data, h.size);
    tl_buffer_deinit(&h);
}

static void begin_stream(struct tl_load_conn *c, const char *path)
{
    c->stream = c->next_stream;
    c->next_stream += 2;
    c->stream_window = c->initial_window;
    c->received = 0;
    put_headers(c, path);
}

/* ---- what comes ---- */

static uint64_t read_varint(const uint8_t **p, const uint8_t *end)
{
    uint64_t v = 0;
    for (int shift = 0; *p < end && shift < 64; shift += 7) {
        uint8_t byte = *(*p)++;
        v |= (uint64_t)(byte & 127) << shift;
        if (!(byte & 128))
            break;
    }
    return v;
}

static enum tl_code take_ack(struct tl_load_conn *c, const uint8_t *p, size_t size,
                             struct tl_status *st)
{
    const uint8_t *end = p + size;
    struct tl_load_ack ack = {0};
    while (p < end) {
        uint64_t key = read_varint(&p, end);
        uint64_t value = read_varint(&p, end);
        if ((key & 7) == 2) { /* texts are passed over */
            p = value < (uint64_t)(end - p) ? p + value : end;
            continue;
        }
        switch (key >> 3) {
        case 1:
            ack.sequence = value;
            break;
        case 2:
            ack.code = (uint32_t)value;
            break;
        case 4:
            ack.rows = value;
            break;
        case 6:
            ack.duplicate = value != 0;
            break;
        default:
            break;
        }
    }
    if (c->count == c->unsent)
        return TL_FAIL(st, TL_CORRUPT, "an acknowledgement of nothing came");
    const struct tl_load_sent *s = &c->sent[c->first];
    if (ack.sequence != s->sequence)
        return TL_FAIL(st, TL_CORRUPT, "batch %llu was acknowledged where %llu was due",
                       (unsigned long long)ack.sequence, (unsigned long long)s->sequence);
    ack.due_ns = s->due_ns;
    ack.bytes = s->batch.size;
    c->first = (c->first + 1) % TL_LOAD_IN_FLIGHT_MAX;
    c->count--;
    c->on_ack(c->arg, &ack);
    return TL_OK;
}

static enum tl_code take_data(struct tl_load_conn *c, const uint8_t *data, size_t size,
                              struct tl_status *st)
{
    c->received += size;
    c->received_all += size;
    if (!c->on_ack) {
        c->answers += size > 0;
        return TL_OK;
    }
    struct tl_buffer *m = &c->message;
    tl_buffer_put(m, data, size);
    if (m->failed)
        return TL_FAIL(st, TL_CORRUPT, "the server's answer is too large");
    size_t at = 0;
    while (m->size - at >= 5) {
        uint32_t length = get_u32be(m->data + at + 1);
        if (m->size - at - 5 < length)
            break;
        enum tl_code rc = take_ack(c, m->data + at + 5, length, st);
        if (rc)
            return rc;
        at += 5 + length;
    }
    memmove(m->data, m->data + at, m->size - at);
    m->size -= at;
    return TL_OK;
}

static void take_settings(struct tl_load_conn *c, const uint8_t *p, size_t size)
{
    for (; size >= 6; p += 6, size -= 6) {
        uint32_t id = (uint32_t)p[0] << 8 | p[1], value = get_u32be(p + 2);
        if (id == SETTING_INITIAL_WINDOW) {
            c->stream_window += (int64_t)value - c->initial_window;
            c->initial_window = value;
        } else if (id == SETTING_FRAME_MAX) {
            c->frame_max = value;
        }
    }
    put_frame_head(&c->out, 0, FRAME_SETTINGS, FLAG_ACK, 0);
}

static enum tl_code take_frame(struct tl_load_conn *c, uint8_t type, uint8_t flags, int32_t stream,
                               const uint8_t *p, size_t size, struct tl_status *st)
{
    switch (type) {
    case FRAME_DATA:
        return take_data(c, p, size, st);
    case FRAME_HEADERS:
        if (stream == c->stream && (flags & FLAG_END_STREAM) && c->on_ack)
            return TL_FAIL(st, TL_CORRUPT, "the server ended the stream");
        return TL_OK;
    case FRAME_SETTINGS:
        if (!(flags & FLAG_ACK))
            take_settings(c, p, size);
        return TL_OK;
    case FRAME_PING:
        if (!(flags & FLAG_ACK)) {
            put_frame_head(&c->out, size, FRAME_PING, FLAG_ACK, 0);
            tl_buffer_put(&c->out, p, size);
        }
        return TL_OK;
    case FRAME_WINDOW_UPDATE:
        if (size == 4 && stream == 0)
            c->window += get_u32be(p);
        else if (size == 4 && stream == c->stream)
            c->stream_window += get_u32be(p);
        return TL_OK;
    case FRAME_RST_STREAM:
    case FRAME_GOAWAY:
        return TL_FAIL(st, TL_CORRUPT, "the server ended the %s",
                       type == FRAME_GOAWAY ? "connection" : "stream");
    default:
        return TL_OK;
    }
}

static void give_credit(struct tl_load_conn *c)
{
    if (c->received_all < CREDIT_BYTES)
        return;
    put_frame_head(&c->out, 4, FRAME_WINDOW_UPDATE, 0, 0);
    put_u32be(&c->out, (uint32_t)c->received_all);
    if (c->received > 0) {
        put_frame_head(&c->out, 4, FRAME_WINDOW_UPDATE, 0, c->stream);
        put_u32be(&c->out, (uint32_t)c->received);
    }
    c->received = c->received_all = 0;
}

enum tl_code tl_load_conn_read(struct tl_load_conn *c, bool *any, struct tl_status *st)
{
    *any = false;
    for (;;) {
        uint8_t *room = tl_buffer_reserve(&c->in, IN_BYTES);
        if (!room)
            return TL_FAIL(st, TL_CORRUPT, "the server sent a frame that is too large");
        ssize_t n = recv(c->fd, room, IN_BYTES, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return TL_OK;
        if (n < 0)
            return TL_FAIL_OS(st, TL_IO, errno, "reading: %s", strerror(errno));
        if (n == 0)
            return TL_FAIL(st, TL_IO, "the server closed the connection");
        *any = true;
        c->in.size += (size_t)n;
        size_t at = 0;
        while (c->in.size - at >= FRAME_HEAD) {
            const uint8_t *p = c->in.data + at;
            size_t size = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
            if (c->in.size - at - FRAME_HEAD < size)
                break;
            enum tl_code rc =
                take_frame(c, p[3], p[4], (int32_t)get_u32be(p + 5), p + FRAME_HEAD, size, st);
            if (rc)
                return rc;
            at += FRAME_HEAD + size;
        }
        memmove(c->in.data, c->in.data + at, c->in.size - at);
        c->in.size -= at;
        give_credit(c);
        if (n < IN_BYTES)
            return TL_OK;
    }
}

/* ---- what goes ---- */

void tl_load_conn_send(struct tl_load_conn *c, struct tl_slice batch, uint64_t due_ns)
{
    tl_assert(c->count < TL_LOAD_IN_FLIGHT_MAX);
    uint32_t at = (c->first + c->count) % TL_LOAD_IN_FLIGHT_MAX;
    c->sent[at] = (struct tl_load_sent){batch, ++c->sequence, due_ns};
    c->count++;
    c->unsent++;
}

/* The message's bytes before the batch: gRPC's prefix, and the fields of AppendRequest. */
static size_t message_head(const struct tl_load_conn *c, const struct tl_load_sent *s,
                           uint8_t out[HEAD_BYTES])
{
    struct tl_buffer b;
    tl_buffer_init(&b, "head", HEAD_BYTES);
    if (c->producer[0]) {
        tl_buffer_put_u8(&b, 1 << 3 | 2);
        put_string(&b, c->producer);
    }
    tl_buffer_put_u8(&b, 2 << 3);
    tl_buffer_put_varint(&b, s->sequence);
    tl_buffer_put_u8(&b, 4 << 3);
    tl_buffer_put_u8(&b, 1);
    tl_buffer_put_u8(&b, 3 << 3 | 2);
    tl_buffer_put_varint(&b, s->batch.size);
    size_t size = b.size + s->batch.size, n = b.size;
    out[0] = 0;
    out[1] = (uint8_t)(size >> 24);
    out[2] = (uint8_t)(size >> 16);
    out[3] = (uint8_t)(size >> 8);
    out[4] = (uint8_t)size;
    memcpy(out + 5, b.data, n);
    tl_buffer_deinit(&b);
    return n + 5;
}

/* Builds DATA frames out of the batches that wait, as far as the windows reach. */
static void build(struct tl_load_conn *c)
{
    uint8_t head[HEAD_BYTES];
    while (c->unsent > 0 && c->out.size < OUT_BYTES) {
        const struct tl_load_sent *s =
            &c->sent[(c->first + c->count - c->unsent) % TL_LOAD_IN_FLIGHT_MAX];
        size_t head_size = message_head(c, s, head), whole = head_size + s->batch.size;
        int64_t room = c->window < c->stream_window ? c->window : c->stream_window;
        size_t n = whole - c->unsent_offset;
        if (n > c->frame_max)
            n = c->frame_max;
        if (room <= 0)
            return;
        if (n > (uint64_t)room)
            n = (size_t)room;
        put_frame_head(&c->out, n, FRAME_DATA, 0, c->stream);
        c->window -= (int64_t)n;
        c->stream_window -= (int64_t)n;
        size_t at = c->unsent_offset;
        c->unsent_offset += n;
        if (at < head_size) {
            size_t part = head_size - at < n ? head_size - at : n;
            tl_buffer_put(&c->out, head + at, part);
            at += part;
            n -= part;
        }
        tl_buffer_put(&c->out, s->batch.data + (at - head_size), n);
        if (c->unsent_offset == whole) {
            c->unsent--;
            c->unsent_offset = 0;
        }
    }
}

enum tl_code tl_load_conn_write(struct tl_load_conn *c, struct tl_status *st)
{
    c->blocked = false;
    for (;;) {
        if (c->out_offset == c->out.size) {
            tl_buffer_clear(&c->out);
            c->out_offset = 0;
        }
        build(c);
        if (c->out.failed)
            return TL_FAIL(st, TL_LIMIT, "no memory for frames");
        if (c->out.size == c->out_offset)
            return TL_OK;
        ssize_t n = send(c->fd, c->out.data + c->out_offset, c->out.size - c->out_offset,
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            c->blocked = true;
            return TL_OK;
        }
        if (n < 0)
            return TL_FAIL_OS(st, TL_IO, errno, "writing: %s", strerror(errno));
        c->out_offset += (size_t)n;
    }
}

enum tl_code tl_load_conn_wait(struct tl_load_conn *c, struct tl_status *st)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    int n = poll(&p, 1, WAIT_MS);
    return n == 1 ? TL_OK : TL_FAIL(st, TL_TIMEOUT, "the server does not answer");
}

enum tl_code tl_load_conn_ping(struct tl_load_conn *c, struct tl_status *st)
{
    uint64_t answers = c->answers;
    begin_stream(c, "/grpc.health.v1.Health/Check");
    put_frame_head(&c->out, 5, FRAME_DATA, FLAG_END_STREAM, c->stream);
    tl_buffer_put(&c->out, "\0\0\0\0", 5);
    c->window -= 5;
    enum tl_code rc = tl_load_conn_write(c, st);
    while (!rc && c->answers == answers) {
        bool any;
        rc = tl_load_conn_wait(c, st);
        if (!rc)
            rc = tl_load_conn_read(c, &any, st);
    }
    return rc;
}

/* ---- opening ---- */

static enum tl_code connect_to(const char *address, int *out, struct tl_status *st)
{
    char host[200];
    const char *colon = strrchr(address, ':');
    if (!colon || (size_t)(colon - address) >= sizeof(host))
        return TL_FAIL(st, TL_INVALID, "'%s' is not HOST:PORT", address);
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = 0;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int e = getaddrinfo(host, colon + 1, &hints, &found);
    if (e)
        return TL_FAIL(st, TL_IO, "%s: %s", address, gai_strerror(e));
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;
    enum tl_code rc = TL_OK;
    if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0)
        rc = TL_FAIL_OS(st, TL_IO, errno, "connecting to %s: %s", address, strerror(errno));
    freeaddrinfo(found);
    if (rc && fd >= 0)
        close(fd);
    if (!rc)
        *out = fd;
    return rc;
}

enum tl_code tl_load_conn_open(struct tl_load_conn *c, const char *address, const char *producer,
                               bool unary, tl_load_on_ack *on_ack, void *arg, struct tl_status *st)
{
    *c = (struct tl_load_conn){.fd = -1,
                               .next_stream = 1,
                               .frame_max = 16384,
                               .window = WINDOW_FIRST,
                               .initial_window = WINDOW_FIRST,
                               .on_ack = unary ? NULL : on_ack,
                               .arg = arg};
    tl_buffer_init(&c->out, "frames to send", 8 * OUT_BYTES);
    tl_buffer_init(&c->in, "frames received", 1 << 20);
    tl_buffer_init(&c->message, "messages received", 1 << 20);
    snprintf(c->producer, sizeof(c->producer), "%s", producer ? producer : "");
    enum tl_code rc = connect_to(address, &c->fd, st);
    if (rc)
        return rc;
    tl_buffer_put(&c->out, preface, sizeof(preface) - 1);
    put_frame_head(&c->out, 0, FRAME_SETTINGS, 0, 0);
    if (!unary)
        begin_stream(c, "/tally.v1.Ingest/Append");
    rc = tl_load_conn_write(c, st);
    if (!rc)
        rc = tl_load_conn_wait(c, st);
    bool any;
    if (!rc)
        rc = tl_load_conn_read(c, &any, st);
    return rc ? rc : tl_load_conn_write(c, st);
}

void tl_load_conn_close(struct tl_load_conn *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    tl_buffer_deinit(&c->out);
    tl_buffer_deinit(&c->in);
    tl_buffer_deinit(&c->message);
}
