#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum tl_code tl_status_set(struct tl_status *st, enum tl_code code, int os_error, const char *where,
                           const char *format, ...)
{
    if (st->code != TL_OK)
        return st->code;
    st->code = code;
    st->os_error = os_error;
    st->where = where;
    st->position = 0;
    st->sqlstate[0] = '\0';
    va_list args;
    va_start(args, format);
    int n = vsnprintf(st->text, sizeof(st->text), format, args);
    va_end(args);
    if (os_error != 0 && n >= 0 && (size_t)n < sizeof(st->text) - 1) {
        char reason[96];
        /* GNU strerror_r: may return a static string instead of filling the buffer. */
        const char *r = strerror_r(os_error, reason, sizeof(reason));
        snprintf(st->text + n, sizeof(st->text) - (size_t)n, ": %s", r);
    }
    return code;
}

void tl_status_wrap(struct tl_status *st, const char *format, ...)
{
    if (st->code == TL_OK)
        return;
    char inner[sizeof(st->text)];
    memcpy(inner, st->text, sizeof(inner));
    va_list args;
    va_start(args, format);
    int n = vsnprintf(st->text, sizeof(st->text), format, args);
    va_end(args);
    if (n < 0)
        n = 0;
    size_t used = (size_t)n < sizeof(st->text) - 1 ? (size_t)n : sizeof(st->text) - 1;
    /* ": " and the inner sentence, cut at the end of the text. */
    const char *parts[] = {": ", inner};
    for (int i = 0; i < 2; i++) {
        size_t size = strlen(parts[i]);
        if (size > sizeof(st->text) - 1 - used)
            size = sizeof(st->text) - 1 - used;
        memcpy(st->text + used, parts[i], size);
        used += size;
    }
    st->text[used] = '\0';
}

enum tl_code tl_status_sql(struct tl_status *st, const char *sqlstate, int32_t position)
{
    if (st->sqlstate[0] == '\0') {
        memcpy(st->sqlstate, sqlstate, 5);
        st->sqlstate[5] = '\0';
        st->position = position;
    }
    return st->code;
}

void tl_status_clear(struct tl_status *st)
{
    *st = (struct tl_status)TL_STATUS_INIT;
}

/* One row per code: its name in logs and the SQLSTATE it implies. */
static const struct {
    const char *name;
    const char *sqlstate;
} codes[TL_CODE_COUNT] = {
    [TL_OK] = {"ok", "00000"},
    [TL_INVALID] = {"invalid", "22023"},
    [TL_LIMIT] = {"limit", "54000"},
    [TL_IO] = {"io", "58030"},
    [TL_FULL] = {"disk_full", "53100"},
    [TL_CORRUPT] = {"corrupt", "XX001"},
    [TL_BUSY] = {"busy", "55006"},
    [TL_CANCELLED] = {"cancelled", "57014"},
    [TL_TIMEOUT] = {"timeout", "57014"},
    [TL_UNSUPPORTED] = {"unsupported", "0A000"},
    [TL_NOT_FOUND] = {"not_found", "42704"},
    [TL_EXISTS] = {"exists", "42710"},
    [TL_TOO_OLD] = {"too_old", "72000"},
    [TL_CLOSED] = {"closed", "57P01"},
};

const char *tl_status_sqlstate(const struct tl_status *st)
{
    if (st->sqlstate[0] != '\0')
        return st->sqlstate;
    return (unsigned)st->code < TL_CODE_COUNT ? codes[st->code].sqlstate : "XX000";
}

const char *tl_code_name(enum tl_code code)
{
    return (unsigned)code < TL_CODE_COUNT ? codes[code].name : "unknown";
}
