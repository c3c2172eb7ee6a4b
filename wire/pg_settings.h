/*
 * wire/pg_settings.h: a session's run-time parameters: SET, SHOW, RESET, SET LOCAL.
 *
 * One table names what is known, its default, what may be set and what a client is told of when it
 * changes. Many are taken because clients set them, and change nothing; a value that would
 * promise what we do not do (another encoding, another DateStyle) is refused. Inside a
 * transaction block a change is undone by its rollback, and a local one by its end.
 *
 * Ownership  init/deinit; values live until the next change.
 * Threads    a session's.
 * Errors     42704 no such parameter, 55P02 cannot be changed, 22023 a value, 0A000 a value that
 *            PostgreSQL knows and we do not.
 */
#ifndef TALLY_WIRE_PG_SETTINGS_H
#define TALLY_WIRE_PG_SETTINGS_H

#include <stdbool.h>

#include "base/bytes.h"
#include "base/status.h"

enum { TL_PG_SETTINGS_COUNT = 64, TL_PG_SETTING_BYTES_MAX = 1024 };

struct tl_pg_setting {
    char *value;  /* NULL: the default */
    char *start;  /* what RESET gives: from the startup packet; NULL: the table's default */
    char *before; /* of the transaction block; NULL: not changed in it */
    char *after;  /* what a commit leaves when `value` is local; NULL: `value` */
};

struct tl_pg_settings {
    struct tl_pg_setting settings[TL_PG_SETTINGS_COUNT];
    uint64_t meaning; /* counts changes of what changes a plan's meaning: the time zone */
    uint64_t timeout_ms;
    /* Called for each change of a parameter that clients are told of. */
    void (*report)(void *arg, const char *name, const char *value);
    void *arg;
};

void tl_pg_settings_init(struct tl_pg_settings *s);
void tl_pg_settings_deinit(struct tl_pg_settings *s);

enum tl_pg_set_how { TL_PG_SET_SESSION, TL_PG_SET_IN_BLOCK, TL_PG_SET_LOCAL, TL_PG_SET_START };

/* Names in any case. `value` NULL: the default. START also changes what only the server sets. */
TL_CHECK enum tl_code tl_pg_settings_set(struct tl_pg_settings *s, const char *name,
                                         const char *value, enum tl_pg_set_how how,
                                         struct tl_status *st);
/* Resets all that can be set. */
void tl_pg_settings_reset_all(struct tl_pg_settings *s, bool in_block);
/* The block is over. */
void tl_pg_settings_end(struct tl_pg_settings *s, bool commit);
TL_CHECK enum tl_code tl_pg_settings_show(const struct tl_pg_settings *s, const char *name,
                                          const char **canonical, const char **value,
                                          struct tl_status *st);
/* A parameter that exists. */
const char *tl_pg_settings_get(const struct tl_pg_settings *s, const char *name);
/* The i-th, for SHOW ALL; false: past the end. */
bool tl_pg_settings_at(const struct tl_pg_settings *s, size_t index, const char **name,
                       const char **value, const char **help);
/* Tells all that are told at the start. */
void tl_pg_settings_report_all(const struct tl_pg_settings *s);

#endif
