/*
 * wire/pg_session.c: the turn: messages in, in order, each by what it says.
 */
#include "wire/pg_session.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "wire/pg_int.h"

enum { IN_SPARE_BYTES = 1 << 20 }; /* messages that wait behind a large one */

static void report_setting(void *arg, const char *name, const char *value)
{
    struct tl_pg *s = arg;
    if (s->phase == TL_PG_READY)
        tl_pg_put_parameter(&s->out, name, value);
}

enum tl_code tl_pg_new(const struct tl_pg_options *options, struct tl_pg **out,
                       struct tl_status *st)
{
    struct tl_pg *s = calloc(1, sizeof(*s));
    if (!s)
        return TL_FAIL(st, TL_LIMIT, "no memory for a session");
    s->options = *options;
    s->block = 'I';
    tl_budget_init(&s->budget, "memory of a PostgreSQL session", TL_PG_MEMORY_MAX, options->budget);
    tl_buffer_init(&s->in, "messages of a client", options->message_bytes_max + IN_SPARE_BYTES);
    tl_buffer_init(&s->out, "output of a PostgreSQL session", TL_PG_ROWS_BYTES_MAX);
    tl_buffer_init(&s->field, "a value of COPY", 1 << 20);
    tl_arena_init(&s->arena, &s->budget, 1024);
    tl_arena_init(&s->text, &s->budget, 4096);
    tl_arena_init(&s->scratch, &s->budget, 64 << 10);
    tl_pg_settings_init(&s->settings);
    s->settings.report = report_setting;
    s->settings.arg = s;
    pthread_mutex_init(&s->lock, NULL);
    *out = s;
    return TL_OK;
}

void tl_pg_free(struct tl_pg *s)
{
    if (!s)
        return;
    tl__pg_copy_in_free(s->copy_in);
    if (s->owned)
        tl__pg_portal_free(s, s->owned);
    tl__pg_portals_drop(s, true);
    tl__pg_statement_drop(s, NULL);
    tl__pg_block_end(s, false);
    if (s->scram_open)
        tl_scram_deinit(&s->scram);
    tl_pg_settings_deinit(&s->settings);
    tl_principal_unref(s->principal);
    tl_arena_deinit(&s->scratch);
    tl_arena_deinit(&s->text);
    tl_arena_deinit(&s->arena);
    tl_buffer_deinit(&s->in);
    tl_buffer_deinit(&s->out);
    tl_buffer_deinit(&s->field);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

struct tl_buffer *tl_pg_output(struct tl_pg *s)
{
    return &s->out;
}

bool tl_pg_authenticated(const struct tl_pg *s)
{
    return s->phase == TL_PG_READY;
}

bool tl_pg_busy(const struct tl_pg *s)
{
    return s->block != 'I' || s->active || s->simple || s->copy_in;
}

void tl_pg_cancel(struct tl_pg *s)
{
    atomic_store_explicit(&s->cancelled, true, memory_order_relaxed);
    pthread_mutex_lock(&s->lock);
    if (s->stepping)
        tally_cancel(s->stepping);
    pthread_mutex_unlock(&s->lock);
}

/* ---- errors and notices ---- */

enum tl_code tl__pg_error(struct tl_pg *s, const char *sqlstate, const char *format, ...)
{
    char text[sizeof(s->st.text)];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    TL_FAIL(&s->st, TL_INVALID, "%s", text);
    return tl_status_sql(&s->st, sqlstate, 0);
}

static int level_of(const char *severity)
{
    static const char *const levels[] = {"debug", "log", "notice", "warning", "error"};
    for (int i = 0; i < 5; i++) {
        if (strncasecmp(severity, levels[i], strlen(levels[i])) == 0)
            return i;
    }
    return 2;
}

void tl__pg_notice(struct tl_pg *s, const char *severity, const char *sqlstate, const char *text)
{
    const char *least = tl_pg_settings_get(&s->settings, "client_min_messages");
    if (level_of(severity) < level_of(least))
        return;
    struct tl_pg_report r = {.severity = severity, .sqlstate = sqlstate, .text = text};
    tl_pg_put_report(&s->out, &r);
}

static const char *hint_of(const char *state)
{
    static const struct {
        const char *state, *hint;
    } hints[] = {
        {"42883", "No function matches the given name and argument types. You might need to add "
                  "explicit type casts."},
        {"72000", "Run the statement again; it then sees a newer snapshot."},
    };
    for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
        if (strcmp(hints[i].state, state) == 0)
            return hints[i].hint;
    }
    return NULL;
}

static void put_failure(struct tl_pg *s, const char *severity)
{
    const char *state = tl_status_sqlstate(&s->st);
    struct tl_pg_report r = {
        .severity = severity,
        .sqlstate = state,
        .text = s->st.text,
        .detail = s->detail,
        .hint = s->hint ? s->hint : hint_of(state),
        .position = s->st.position,
        .where = s->st.where,
    };
    if (s->st.code == TL_CANCELLED && strcmp(state, "57014") == 0)
        r.text = "canceling statement due to user request";
    tl_pg_put_report(&s->out, &r);
    tl_status_clear(&s->st);
    s->detail[0] = '\0';
    s->hint = NULL;
}

/* A FATAL error: nothing else is said. */
static void end_with(struct tl_pg *s)
{
    put_failure(s, "FATAL");
    s->phase = TL_PG_ENDED;
}

void tl_pg_terminate(struct tl_pg *s, const char *sqlstate, const char *text)
{
    if (s->phase == TL_PG_ENDED)
        return;
    tl_status_clear(&s->st);
    TL_IGNORE(tl__pg_error(s, sqlstate, "%s", text));
    end_with(s);
}

void tl__pg_fail(struct tl_pg *s)
{
    tl_assert(s->st.code != TL_OK);
    if (s->phase != TL_PG_READY) {
        end_with(s);
        return;
    }
    put_failure(s, "ERROR");
    s->active = NULL;
    s->copy = NULL;
    if (s->owned)
        tl__pg_portal_free(s, s->owned);
    s->owned = NULL;
    atomic_store_explicit(&s->cancelled, false, memory_order_relaxed);
    if (s->block == 'T')
        s->block = 'E';
    if (s->simple) {
        s->list_at = s->list_count;
        tl__pg_query_next(s);
    } else {
        s->skipping = true;
    }
}

/* The end of a simple query or Sync: what lived in an implicit transaction is over. */
void tl__pg_ready(struct tl_pg *s)
{
    if (s->block == 'I') {
        tl__pg_portals_drop(s, false);
        tl__pg_snapshot_drop(s);
        tl_pg_settings_end(&s->settings, true);
    }
    size_t m = tl_pg_begin(&s->out, 'Z');
    tl_buffer_put_u8(&s->out, (uint8_t)s->block);
    tl_pg_end(&s->out, m);
}

/* ---- input ---- */

struct tl_principal *tl_pg_principal(struct tl_pg *s)
{
    return s->principal;
}

void tl_pg_start(struct tl_pg *s, struct tl_slice packet, struct tl_slice binding,
                 struct tl_principal *principal, bool open)
{
    tl_assert(s->phase == TL_PG_STARTUP && !s->start_packet.data);
    s->principal = principal;
    s->open = open && !principal;
    const uint8_t *copy = tl_arena_copy(&s->arena, packet.data, packet.size, &s->st);
    if (!copy || tl_scram_init(&s->scram, binding, &s->st))
        return; /* told by the turn */
    s->scram_open = true;
    s->start_packet = tl_slice_of(copy, packet.size);
}

bool tl_pg_feed(struct tl_pg *s, const uint8_t *data, size_t size)
{
    if (s->phase == TL_PG_ENDED)
        return false;
    if (s->in_at > 0 && s->in_at == s->in.size) {
        tl_buffer_clear(&s->in);
        s->in_at = 0;
    } else if (s->in_at > s->in.size / 2) {
        memmove(s->in.data, s->in.data + s->in_at, s->in.size - s->in_at);
        s->in.size -= s->in_at;
        s->in_at = 0;
    }
    tl_buffer_put(&s->in, data, size);
    return !s->in.failed;
}

static size_t message_max(const struct tl_pg *s)
{
    return s->phase == TL_PG_READY ? s->options.message_bytes_max : (size_t)TL_PG_EARLY_BYTES_MAX;
}

/* 0: not whole yet; else the message's size with its type byte. SIZE_MAX: it may not come. */
static size_t next_message(const struct tl_pg *s)
{
    size_t left = s->in.size - s->in_at;
    if (left < 5)
        return 0;
    const uint8_t *p = s->in.data + s->in_at;
    size_t size = tl_pg_get_u32(p + 1);
    if (size < 4 || size > message_max(s))
        return SIZE_MAX;
    return left < size + 1 ? 0 : size + 1;
}

bool tl_pg_has_work(const struct tl_pg *s)
{
    if (s->phase == TL_PG_ENDED)
        return false;
    if (s->phase == TL_PG_STARTUP)
        return s->start_packet.data != NULL || s->st.code;
    return s->active || (s->simple && !s->copy_in) || next_message(s) > 0;
}

/* ---- messages ---- */

static void no_such_message(struct tl_pg *s, char type)
{
    TL_IGNORE(tl__pg_error(s, "08P01", "invalid frontend message type %d", type));
    end_with(s);
}

static void dispatch(struct tl_pg *s, char type, struct tl_slice body)
{
    if (type == 'X') {
        s->phase = TL_PG_ENDED;
        return;
    }
    if (s->phase != TL_PG_READY) {
        if (type == 'p')
            tl__pg_password(s, body);
        else
            no_such_message(s, type);
        return;
    }
    if (s->copy_in && strchr("dcfHS", type)) {
        tl__pg_copy_in_message(s, type, body);
        return;
    }
    if (s->copy_in) {
        TL_IGNORE(tl__pg_error(s, "08P01", "unexpected message type 0x%02X during COPY from stdin",
                               (unsigned)type));
        tl__pg_copy_in_free(s->copy_in);
        s->copy_in = NULL;
        tl__pg_fail(s);
        return;
    }
    if (type == 'S') {
        s->skipping = false;
        tl__pg_ready(s);
        return;
    }
    if (s->skipping && strchr("PBDECHQFdcf", type))
        return;
    switch (type) {
    case 'Q':
        tl__pg_query(s, body);
        return;
    case 'P':
        tl__pg_parse(s, body);
        break;
    case 'B':
        tl__pg_bind(s, body);
        break;
    case 'D':
        tl__pg_describe(s, body);
        break;
    case 'E':
        tl__pg_execute(s, body);
        break;
    case 'C':
        tl__pg_close(s, body);
        break;
    case 'H': /* the output goes out at the end of each turn anyway */
    case 'd': /* a COPY that failed: its client has not heard of it yet */
    case 'c':
    case 'f':
        break;
    case 'F':
        TL_IGNORE(tl__pg_error(s, "0A000", "function calls by message are not supported"));
        break;
    default:
        no_such_message(s, type);
        return;
    }
    if (s->st.code)
        tl__pg_fail(s);
}

enum tl_pg_turn tl_pg_run(struct tl_pg *s)
{
    for (;;) {
        if (s->out.failed) { /* no answer can be told whole any more */
            tl_buffer_clear(&s->out);
            s->out.failed = false;
            s->active = NULL;
            tl_pg_terminate(s, "54000", "the rows of one vector are larger than 96 MiB");
        }
        if (s->phase == TL_PG_ENDED)
            return s->delay ? TL_PG_DELAY : TL_PG_OVER;
        if (s->out.size >= TL_PG_PAGE_BYTES)
            return TL_PG_PAGE;
        if (s->phase == TL_PG_STARTUP) {
            if (!s->start_packet.data && !s->st.code)
                return TL_PG_WAITS;
            if (!s->st.code)
                tl__pg_startup(s);
            if (s->st.code)
                tl__pg_fail(s);
            continue;
        }
        if (s->active) {
            tl__pg_send_more(s);
            continue;
        }
        if (s->simple && !s->copy_in) {
            tl__pg_query_next(s);
            continue;
        }
        size_t size = next_message(s);
        if (size == 0) {
            /* A cancel that came too late is not for the statement to come. */
            atomic_store_explicit(&s->cancelled, false, memory_order_relaxed);
            return TL_PG_WAITS;
        }
        if (size == SIZE_MAX) {
            tl_pg_terminate(s, "08P01",
                            "invalid message length, or a message larger than the limit");
            continue;
        }
        const uint8_t *p = s->in.data + s->in_at;
        s->in_at += size;
        dispatch(s, (char)p[0], tl_slice_of(p + 5, size - 5));
    }
}
