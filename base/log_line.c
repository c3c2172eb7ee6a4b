#include "base/log_line.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/text.h"
#include "base/time.h"

static const char *const level_names[TL_LOG_LEVEL_COUNT] = {"debug", "info", "warn", "error"};

void tl_log_init(struct tl_log *l, int fd, enum tl_log_format format, enum tl_log_level level_min,
                 const struct tl_clock *clock)
{
    tl_assert(clock != NULL);
    l->fd = fd;
    l->format = format;
    l->clock = clock;
    atomic_init(&l->level_min, (int)level_min);
    atomic_init(&l->lost, 0);
    atomic_init(&l->written, 0);
}

void tl_log_set_level(struct tl_log *l, enum tl_log_level level_min)
{
    atomic_store_explicit(&l->level_min, (int)level_min, memory_order_relaxed);
}

bool tl_log_level_parse(struct tl_slice name, enum tl_log_level *out)
{
    for (int i = 0; i < TL_LOG_LEVEL_COUNT; i++) {
        if (tl_text_eq_nocase(name, level_names[i])) {
            *out = (enum tl_log_level)i;
            return true;
        }
    }
    return false;
}

bool tl_log_format_parse(struct tl_slice name, enum tl_log_format *out)
{
    bool json = tl_text_eq_nocase(name, "json");
    if (!json && !tl_text_eq_nocase(name, "logfmt"))
        return false;
    *out = json ? TL_LOG_JSON : TL_LOG_LOGFMT;
    return true;
}

/* A line in the making. What does not fit is left out. The reserve holds the quote of the value
 * that filled the line, the brace and the newline. */
enum { END_RESERVE = 8 };

struct line {
    char bytes[TL_LOG_LINE_BYTES_MAX];
    size_t size;
    bool json;
};

static size_t room(const struct line *line)
{
    size_t cap = sizeof(line->bytes) - END_RESERVE;
    return line->size < cap ? cap - line->size : 0;
}

static bool put(struct line *line, const char *text, size_t size)
{
    if (size > room(line))
        return false;
    memcpy(line->bytes + line->size, text, size);
    line->size += size;
    return true;
}

static bool put_text(struct line *line, const char *text)
{
    return put(line, text, strlen(text));
}

/* The bytes between quotes, escaped so that both formats read them alike. */
static void put_escaped(struct line *line, struct tl_slice s)
{
    bool cut = s.size > TL_LOG_VALUE_BYTES_MAX;
    if (cut)
        s.size = TL_LOG_VALUE_BYTES_MAX;
    size_t i = 0;
    while (i < s.size) {
        uint8_t c = s.data[i];
        char escape[7] = {'\\', 'u', '0', '0', 0, 0, 0};
        bool fits;
        if (c == '"' || c == '\\') {
            escape[1] = (char)c;
            fits = put(line, escape, 2);
            i++;
        } else if (c == '\n' || c == '\t' || c == '\r') {
            escape[1] = c == '\n' ? 'n' : c == '\t' ? 't' : 'r';
            fits = put(line, escape, 2);
            i++;
        } else if (c < 0x20 || c == 0x7f) {
            escape[4] = "0123456789abcdef"[c >> 4];
            escape[5] = "0123456789abcdef"[c & 15];
            fits = put(line, escape, 6);
            i++;
        } else if (c < 0x80) {
            fits = put(line, (const char *)&s.data[i], 1);
            i++;
        } else {
            size_t size = 2;
            while (size < 4 && i + size < s.size && (s.data[i + size] & 0xc0) == 0x80)
                size++;
            if (i + size <= s.size && tl_utf8_valid(tl_slice_of(s.data + i, size), false)) {
                /* U+0080 … U+009F are control characters, too */
                bool control = size == 2 && c == 0xc2 && s.data[i + 1] < 0xa0;
                fits =
                    control ? put_text(line, "\\ufffd") : put(line, (const char *)&s.data[i], size);
                i += size;
            } else {
                fits = put_text(line, "\\ufffd");
                i++;
            }
        }
        if (!fits)
            return;
    }
    if (cut)
        (void)put_text(line, "...");
}

/* True when logfmt can write it without quotes. */
static bool is_plain(struct tl_slice s)
{
    if (s.size == 0 || s.size > TL_LOG_VALUE_BYTES_MAX)
        return false;
    for (size_t i = 0; i < s.size; i++) {
        uint8_t c = s.data[i];
        if (c <= ' ' || c >= 0x7f || c == '"' || c == '=' || c == '\\')
            return false;
    }
    return true;
}

static void put_key(struct line *line, const char *key)
{
    if (line->json) {
        (void)put_text(line, line->size ? ",\"" : "{\"");
        (void)put_text(line, key);
        (void)put_text(line, "\":");
    } else {
        if (line->size)
            (void)put_text(line, " ");
        (void)put_text(line, key);
        (void)put_text(line, "=");
    }
}

static void put_string(struct line *line, struct tl_slice s)
{
    if (!line->json && is_plain(s) && put(line, (const char *)s.data, s.size))
        return;
    if (!put_text(line, "\""))
        return;
    put_escaped(line, s);
    line->bytes[line->size++] = '"'; /* from the reserve when the line is full */
}

static void put_number(struct line *line, const struct tl_log_pair *pair)
{
    char text[TL_DOUBLE_TEXT_MAX];
    switch (pair->kind) {
    case TL_LOG_KIND_INT:
        tl_print_int64(pair->value.i, text);
        break;
    case TL_LOG_KIND_UINT:
        tl_print_uint64(pair->value.u, text);
        break;
    default:
        tl_print_double(pair->value.d, text);
        if (line->json && (pair->value.d - pair->value.d != 0)) {
            put_string(line, tl_slice_str(text)); /* JSON has no NaN and no infinity */
            return;
        }
        break;
    }
    (void)put_text(line, text);
}

static void put_pair(struct line *line, const struct tl_log_pair *pair)
{
    /* A pair is begun only when its key and the shortest value surely fit. */
    if (room(line) < strlen(pair->key) + TL_DOUBLE_TEXT_MAX + 8)
        return;
    put_key(line, pair->key);
    switch (pair->kind) {
    case TL_LOG_KIND_TEXT:
        put_string(line, tl_slice_str(pair->value.text ? pair->value.text : ""));
        break;
    case TL_LOG_KIND_SLICE:
        put_string(line, pair->value.slice);
        break;
    case TL_LOG_KIND_BOOL:
        (void)put_text(line, pair->value.b ? "true" : "false");
        break;
    default:
        put_number(line, pair);
        break;
    }
}

/* 2024-05-01T10:00:00.123456Z, always with six digits, so that lines sort. */
static void put_time(struct line *line, int64_t us)
{
    char text[TL_TIME_TEXT_MAX];
    int64_t second_us = tl_floor_to(us, TL_US_PER_SECOND);
    size_t size = tl_print_timestamp(second_us, text);
    char *space = strchr(text, ' ');
    if (space)
        *space = 'T';
    char digits[TL_INT64_TEXT_MAX];
    tl_print_int64(TL_US_PER_SECOND + (us - second_us), digits);
    text[size] = '.';
    memcpy(text + size + 1, digits + 1, 6);
    text[size + 7] = 'Z';
    put_string(line, tl_slice_of(text, size + 8));
}

static void write_line(struct tl_log *l, const struct line *line)
{
    ssize_t n;
    do {
        n = write(l->fd, line->bytes, line->size);
    } while (n < 0 && errno == EINTR);
    if (n == (ssize_t)line->size)
        atomic_fetch_add_explicit(&l->written, 1, memory_order_relaxed);
    else
        atomic_fetch_add_explicit(&l->lost, 1, memory_order_relaxed);
}

void tl_log_write(struct tl_log *l, enum tl_log_level level, const char *message,
                  const struct tl_log_pair *pairs)
{
    tl_assert((unsigned)level < TL_LOG_LEVEL_COUNT && message != NULL);
    if (!tl_log_wants(l, level))
        return;
    int saved_errno = errno; /* logging must not disturb the failure that it tells of */
    struct line line;
    line.size = 0;
    line.json = l->format == TL_LOG_JSON;
    put_key(&line, "ts");
    put_time(&line, tl_clock_wall_us(l->clock));
    put_key(&line, "level");
    put_string(&line, tl_slice_str(level_names[level]));
    put_key(&line, "msg");
    put_string(&line, tl_slice_str(message));
    for (int i = 0; i < TL_LOG_PAIRS_MAX && pairs[i].key; i++)
        put_pair(&line, &pairs[i]);
    if (line.json)
        line.bytes[line.size++] = '}';
    line.bytes[line.size++] = '\n';
    write_line(l, &line);
    errno = saved_errno;
}

void tl_log_say(struct tl_log *l, enum tl_log_level level, const char *message)
{
    tl_log_write(l, level, message, &TL_LOG_END);
}

void tl_log_status(struct tl_log *l, enum tl_log_level level, const char *message,
                   const struct tl_status *st)
{
    tl_log(l, level, message, TL_LOG_TEXT("code", tl_code_name(st->code)),
           TL_LOG_TEXT("sqlstate", tl_status_sqlstate(st)), TL_LOG_TEXT("error", st->text),
           TL_LOG_TEXT("at", st->where ? st->where : ""), TL_LOG_INT("os_error", st->os_error));
}
