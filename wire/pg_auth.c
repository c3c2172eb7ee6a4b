/*
 * wire/pg_auth.c: the startup packet and SCRAM.
 *
 * Nobody learns from an answer whether a user exists: unknown ones go through the whole exchange
 * and fail as a wrong password does. A wrong password costs a delay that a timer waits for, and
 * the connection.
 */
#include <stdio.h>

#include "base/assert.h"
#include "base/text.h"
#include "wire/pg_int.h"

static void put_auth(struct tl_pg *s, uint32_t code, struct tl_slice data)
{
    size_t m = tl_pg_begin(&s->out, 'R');
    tl_pg_put_u32(&s->out, code);
    tl_buffer_put(&s->out, data.data, data.size);
    tl_pg_end(&s->out, m);
}

static void welcome(struct tl_pg *s)
{
    struct tl_status ignored = TL_STATUS_INIT;
    put_auth(s, 0, tl_slice_of(NULL, 0));
    TL_IGNORE(tl_pg_settings_set(&s->settings, "session_authorization", s->user, TL_PG_SET_START,
                                 &ignored));
    TL_IGNORE(tl_pg_settings_set(&s->settings, "is_superuser", tl__pg_is_operator(s) ? "on" : "off",
                                 TL_PG_SET_START, &ignored));
    tl__pg_facts(s);
    s->phase = TL_PG_READY;
    tl_scram_deinit(&s->scram);
    s->scram_open = false;
    tl_pg_settings_report_all(&s->settings);
    size_t m = tl_pg_begin(&s->out, 'K');
    tl_pg_put_u32(&s->out, s->options.process_id);
    tl_pg_put_u32(&s->out, s->options.key);
    tl_pg_end(&s->out, m);
    tl__pg_ready(s);
}

/* "-c name=value --name=value", with backslashes before what is meant as it stands. */
static enum tl_code set_options(struct tl_pg *s, const char *text)
{
    char word[512];
    bool value_next = false;
    while (*text) {
        size_t n = 0;
        while (*text == ' ')
            text++;
        for (; *text && *text != ' '; text++) {
            if (*text == '\\' && text[1])
                text++;
            if (n + 1 < sizeof(word))
                word[n++] = *text;
        }
        word[n] = '\0';
        char *pair = word;
        if (n == 0)
            break;
        if (!value_next) {
            if (strcmp(word, "-c") == 0) {
                value_next = true;
                continue;
            }
            if (strncmp(word, "-c", 2) != 0 && strncmp(word, "--", 2) != 0)
                return tl__pg_error(s, "42601", "invalid command-line argument: %.80s", word);
            pair = word + 2;
        }
        value_next = false;
        char *equals = strchr(pair, '=');
        if (!equals)
            return tl__pg_error(s, "42601", "invalid command-line argument: %.80s", word);
        *equals = '\0';
        for (char *p = pair; *p; p++)
            *p = *p == '-' ? '_' : *p;
        if (tl_pg_settings_set(&s->settings, pair, equals + 1, TL_PG_SET_START, &s->st))
            return s->st.code;
    }
    return TL_OK;
}

struct tl_slice tl_pg_packet_user(struct tl_slice packet)
{
    struct tl_pg_reader r = tl_pg_reader_of(packet);
    struct tl_slice user = tl_slice_of(NULL, 0);
    for (;;) {
        struct tl_slice name = tl_pg_read_string(&r);
        struct tl_slice value = name.size ? tl_pg_read_string(&r) : name;
        if (r.failed || name.size == 0)
            return user;
        if (tl_slice_eq(name, tl_slice_str("user")))
            user = value;
    }
}

static enum tl_code read_packet(struct tl_pg *s)
{
    struct tl_pg_reader r = tl_pg_reader_of(s->start_packet);
    for (;;) {
        struct tl_slice name = tl_pg_read_string(&r);
        if (r.failed)
            return tl__pg_error(s, "08P01", "invalid startup packet layout");
        if (name.size == 0)
            break;
        struct tl_slice value = tl_pg_read_string(&r);
        const char *n = (const char *)name.data, *v = (const char *)value.data;
        if (r.failed)
            return tl__pg_error(s, "08P01", "invalid startup packet layout");
        if (strcmp(n, "user") == 0) {
            if (value.size >= sizeof(s->user) || !tl_utf8_valid(value, false))
                return tl__pg_error(s, "28000", "this user name is too long or not UTF-8");
            snprintf(s->user, sizeof(s->user), "%s", v);
        } else if (strcmp(n, "options") == 0) {
            if (set_options(s, v))
                return s->st.code;
        } else if (strcmp(n, "replication") == 0) {
            if (strcmp(v, "false") != 0 && strcmp(v, "off") != 0 && strcmp(v, "0") != 0)
                return tl__pg_error(s, "0A000", "replication is not supported");
        } else if (strcmp(n, "database") == 0) {
            if (value.size >= sizeof(s->database) || !tl_utf8_valid(value, false))
                return tl__pg_error(s, "3D000", "this database name is too long or not UTF-8");
            snprintf(s->database, sizeof(s->database), "%s", v);
        } else if (strncmp(n, "_pq_.", 5) != 0) {
            if (tl_pg_settings_set(&s->settings, n, v, TL_PG_SET_START, &s->st))
                return s->st.code;
        }
    }
    if (s->user[0] == '\0')
        return tl__pg_error(s, "28000", "no PostgreSQL user name specified in startup packet");
    return TL_OK;
}

void tl__pg_startup(struct tl_pg *s)
{
    if (read_packet(s))
        return;
    if (s->open && strcmp(s->user, "tally") == 0) {
        welcome(s);
        return;
    }
    s->open = false;
    tl_scram_user(&s->scram, s->principal ? &s->principal->scram : NULL, tl_slice_str(s->user),
                  s->options.secret);
    static const char plus[] = "SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0";
    static const char plain[] = "SCRAM-SHA-256\0";
    if (s->scram.binding_size > 0)
        put_auth(s, 10, tl_slice_of(plus, sizeof(plus)));
    else
        put_auth(s, 10, tl_slice_of(plain, sizeof(plain)));
    s->phase = TL_PG_SASL_FIRST;
}

static void wrong_password(struct tl_pg *s)
{
    TL_IGNORE(tl__pg_error(s, "28P01", "password authentication failed for user \"%s\"", s->user));
    s->delay = true;
}

static void sasl_first(struct tl_pg *s, struct tl_slice body, struct tl_buffer *answer)
{
    struct tl_pg_reader r = tl_pg_reader_of(body);
    struct tl_slice mechanism = tl_pg_read_string(&r);
    uint32_t size = tl_pg_read_u32(&r);
    bool plus = tl_slice_eq(mechanism, tl_slice_str("SCRAM-SHA-256-PLUS"));
    if (r.failed || (!plus && !tl_slice_eq(mechanism, tl_slice_str("SCRAM-SHA-256")))) {
        TL_IGNORE(tl__pg_error(s, "08P01",
                               "client selected an invalid SASL authentication "
                               "mechanism"));
        return;
    }
    struct tl_slice data = tl_pg_read_bytes(&r, size);
    if (!tl_pg_read_done(&r)) {
        TL_IGNORE(tl__pg_error(s, "08P01", "malformed SASL message"));
        return;
    }
    if (tl_scram_first(&s->scram, plus, data, answer, &s->st))
        return;
    put_auth(s, 11, tl_buffer_slice(answer));
    s->phase = TL_PG_SASL_FINAL;
}

void tl__pg_password(struct tl_pg *s, struct tl_slice body)
{
    struct tl_buffer answer;
    tl_buffer_init(&answer, "SCRAM answer", 2 * TL_SCRAM_MESSAGE_MAX);
    bool proved = false;
    if (s->phase == TL_PG_SASL_FIRST) {
        sasl_first(s, body, &answer);
    } else if (tl_scram_final(&s->scram, body, &answer, &proved, &s->st) == TL_OK) {
        if (proved) {
            put_auth(s, 12, tl_buffer_slice(&answer));
            welcome(s);
        } else {
            wrong_password(s);
        }
    }
    tl_buffer_deinit(&answer);
    if (s->st.code)
        tl__pg_fail(s);
}
