/*
 * tools/parse_log.c: lines of access logs.
 *
 *     host ident user [time zone] "request" status bytes
 *     host ident user [time zone] "request" status bytes "referrer" "user agent"
 *
 * What follows the last field that a format has is ignored where it is set off by a space: servers
 * append fields of their own.
 */
#include "tools/parse.h"

#include "tools/values.h"

const char *const tl_log_field_names[TL_LOG_FIELD_COUNT] = {
    "client", "ident", "auth_user", "time",   "request", "method",   "target",
    "path",   "query", "protocol",  "status", "bytes",   "referrer", "user_agent"};

struct line {
    const uint8_t *p, *end;
};

static struct tl_slice word(struct line *l)
{
    const uint8_t *begin = l->p;
    while (l->p < l->end && *l->p != ' ')
        l->p++;
    return tl_slice_of(begin, (size_t)(l->p - begin));
}

static bool space(struct line *l)
{
    if (l->p == l->end || *l->p != ' ')
        return false;
    l->p++;
    return true;
}

static int hex(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void unescape(struct tl_slice s, struct tl_buffer *out)
{
    for (size_t i = 0; i < s.size; i++) {
        uint8_t c = s.data[i];
        if (c != '\\' || i + 1 == s.size) {
            tl_buffer_put_u8(out, c);
            continue;
        }
        c = s.data[++i];
        if (c == 'x' && i + 2 < s.size && hex(s.data[i + 1]) >= 0 && hex(s.data[i + 2]) >= 0) {
            tl_buffer_put_u8(out, (uint8_t)(hex(s.data[i + 1]) * 16 + hex(s.data[i + 2])));
            i += 2;
        } else if (c == '"' || c == '\\') {
            tl_buffer_put_u8(out, c);
        } else if (c == 'n' || c == 't' || c == 'r' || c == 'b' || c == 'v' || c == 'f') {
            static const char from[] = "ntrbvf", to[] = "\n\t\r\b\v\f";
            tl_buffer_put_u8(out, (uint8_t)to[strchr(from, c) - from]);
        } else { /* not an escape of a server's: the backslash was the client's */
            tl_buffer_put_u8(out, '\\');
            tl_buffer_put_u8(out, c);
        }
    }
}

/* A quoted field; false: no closing quote. */
static bool quoted(struct line *l, struct tl_buffer *scratch, struct tl_slice *out)
{
    if (l->p == l->end || *l->p != '"')
        return false;
    const uint8_t *begin = ++l->p;
    bool escapes = false;
    while (l->p < l->end && *l->p != '"') {
        if (*l->p == '\\' && l->p + 1 < l->end) {
            escapes = true;
            l->p++;
        }
        l->p++;
    }
    if (l->p >= l->end)
        return false;
    struct tl_slice text = tl_slice_of(begin, (size_t)(l->p - begin));
    l->p++;
    if (escapes) {
        size_t at = scratch->size;
        unescape(text, scratch);
        if (scratch->failed)
            return false;
        text = tl_slice_of(scratch->data + at, scratch->size - at);
    }
    *out = text;
    return true;
}

static void set(struct tl_field *f, struct tl_slice text)
{
    bool none = text.size == 1 && text.data[0] == '-';
    *f = (struct tl_field){none ? TL_FIELD_NULL : TL_FIELD_TEXT, text};
}

static bool is_method(struct tl_slice s)
{
    if (s.size < 1 || s.size > 32)
        return false;
    for (size_t i = 0; i < s.size; i++) {
        uint8_t c = s.data[i];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' || c == '_'))
            return false;
    }
    return true;
}

/* METHOD target PROTOCOL; the target may hold spaces, the protocol may be missing. */
static void split_request(struct tl_slice request, struct tl_field *fields)
{
    set(&fields[TL_LOG_REQUEST], request);
    if (fields[TL_LOG_REQUEST].kind == TL_FIELD_NULL)
        return;
    const uint8_t *end = request.data + request.size;
    struct line l = {request.data, end};
    struct tl_slice method = word(&l);
    struct tl_slice target = request;
    if (l.p < end && is_method(method)) {
        set(&fields[TL_LOG_METHOD], method);
        target = tl_slice_of(l.p + 1, (size_t)(end - l.p - 1));
        size_t at = target.size;
        while (at > 0 && target.data[at - 1] != ' ')
            at--;
        if (at > 0 && target.size - at >= 5 && memcmp(target.data + at, "HTTP/", 5) == 0) {
            set(&fields[TL_LOG_PROTOCOL], tl_slice_of(target.data + at, target.size - at));
            target.size = at - 1;
        }
    }
    fields[TL_LOG_TARGET] = (struct tl_field){TL_FIELD_TEXT, target};
    const uint8_t *mark = target.size ? memchr(target.data, '?', target.size) : NULL;
    struct tl_slice path = target;
    if (mark) {
        path.size = (size_t)(mark - target.data);
        fields[TL_LOG_QUERY] =
            (struct tl_field){TL_FIELD_TEXT, tl_slice_of(mark + 1, target.size - path.size - 1)};
    }
    fields[TL_LOG_PATH] = (struct tl_field){TL_FIELD_TEXT, path};
}

static const char *parse_numbers(struct line *l, struct tl_field *fields)
{
    int64_t number;
    struct tl_slice status = word(l);
    if (!tl_int_read(status, &number) || number < 0 || number > 999)
        return "the status is not a number of three digits";
    fields[TL_LOG_STATUS] = (struct tl_field){TL_FIELD_TEXT, status};
    if (!space(l))
        return "no size after the status";
    struct tl_slice bytes = word(l);
    if (bytes.size == 1 && bytes.data[0] == '-')
        bytes = tl_slice_str("0");
    else if (!tl_int_read(bytes, &number) || number < 0)
        return "the size is neither a number nor '-'";
    fields[TL_LOG_BYTES] = (struct tl_field){TL_FIELD_TEXT, bytes};
    return NULL;
}

const char *tl_log_parse(struct tl_slice line, bool combined, struct tl_buffer *scratch,
                         struct tl_field fields[TL_LOG_FIELD_COUNT])
{
    memset(fields, 0, TL_LOG_FIELD_COUNT * sizeof(*fields));
    tl_buffer_clear(scratch);
    /* All of a line's copies fit without moving: none is longer than what it copies. */
    if (!tl_buffer_reserve(scratch, line.size + 1))
        return "the line is too long";
    struct line l = {line.data, line.data + line.size};
    set(&fields[TL_LOG_CLIENT], word(&l));
    if (fields[TL_LOG_CLIENT].text.size == 0 || !space(&l))
        return "no client at the beginning";
    set(&fields[TL_LOG_IDENT], word(&l));
    if (!space(&l))
        return "no ident after the client";
    /* A user's name may hold spaces: it ends before the bracket of the time. */
    const uint8_t *begin = l.p;
    while (l.p + 1 < l.end && !(l.p[0] == ' ' && l.p[1] == '['))
        l.p++;
    if (l.p + 1 >= l.end)
        return "no [time]";
    set(&fields[TL_LOG_AUTH_USER], tl_slice_of(begin, (size_t)(l.p - begin)));
    l.p += 2;
    begin = l.p;
    while (l.p < l.end && *l.p != ']')
        l.p++;
    struct tl_slice time = tl_slice_of(begin, (size_t)(l.p - begin));
    int64_t us;
    if (l.p == l.end || !tl_log_time_read(time, &us))
        return "the time is not like 17/May/2015:10:05:03 +0000";
    fields[TL_LOG_TIME] = (struct tl_field){TL_FIELD_TEXT, time};
    l.p++;
    struct tl_slice request;
    if (!space(&l) || !quoted(&l, scratch, &request))
        return "the request has no closing quote";
    split_request(request, fields);
    if (!space(&l))
        return "no status after the request";
    const char *reason = parse_numbers(&l, fields);
    if (reason)
        return reason;
    if (combined) {
        struct tl_slice text;
        if (!space(&l) || !quoted(&l, scratch, &text))
            return "the referrer is missing or has no closing quote";
        set(&fields[TL_LOG_REFERRER], text);
        if (!space(&l) || !quoted(&l, scratch, &text))
            return "the user agent is missing or has no closing quote";
        set(&fields[TL_LOG_USER_AGENT], text);
    }
    if (l.p < l.end && *l.p != ' ')
        return "something follows the last field";
    return NULL;
}
