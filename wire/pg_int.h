/*
 * wire/pg_int.h: the inside of a session, for the files pg_*.c.
 *
 * Invariants: (1) `active` names the portal whose rows are being sent, with `how` and `left`; it
 * is in no list of things that may be freed meanwhile: commands run only when it is NULL. (2) A
 * cursor is stepped by the turn alone, and `stepping` names it under `lock` while it is. (3) The
 * snapshot exists only in a transaction block or in a text of several statements.
 */
#ifndef TALLY_WIRE_PG_INT_H
#define TALLY_WIRE_PG_INT_H

#include <pthread.h>

#include "base/zone.h"
#include "engine/tally.h"
#include "wire/pg_message.h"
#include "wire/pg_session.h"
#include "wire/pg_settings.h"
#include "wire/scram.h"

struct tl_pg_copy_in;

struct tl_pg_statement {
    struct tl_pg_statement *next;
    char *name;
    uint32_t refs; /* the list's and the portals' */
    struct tl_arena arena;
    struct tl_slice sql;
    uint32_t chars;               /* of the client's text before `sql` */
    struct tl_utility *utility;   /* NULL: an empty text */
    struct tally_statement *plan; /* of what is no utility */
    uint32_t oid_count;
    uint32_t *oids;        /* that the client declared; 0: none */
    struct tl_type *types; /* declared to the planner */
    uint64_t meaning;      /* of the settings it was planned with */
};

struct tl_pg_portal {
    struct tl_pg_portal *next;
    char *name;
    struct tl_pg_statement *statement;
    struct tally_cursor *cursor; /* NULL for utilities */
    uint16_t *formats;           /* one per column; NULL: all text */
    uint32_t format_count;       /* as Bind gave them: 0, 1 or one per column */
    bool declared, hold, binary; /* by DECLARE */
    bool started;                /* rows were asked for, or the command has run */
    bool at_end;
    uint16_t all_binary;       /* 1: the formats of a binary cursor */
    struct tl_arena arena;     /* the rest of a vector that was sent in part */
    struct tl_vector *columns; /* in it */
    uint32_t rest_at, rest_count;
};

enum tl_pg_how { TL_PG_SELECT, TL_PG_FETCH, TL_PG_MOVE, TL_PG_COPY_OUT };

enum tl_pg_phase { TL_PG_STARTUP, TL_PG_SASL_FIRST, TL_PG_SASL_FINAL, TL_PG_READY, TL_PG_ENDED };

struct tl_pg_savepoint {
    struct tl_pg_savepoint *next;
    char name[64];
};

struct tl_pg {
    struct tl_pg_options options;
    enum tl_pg_phase phase;
    struct tl_budget budget;
    struct tl_buffer in, out;
    size_t in_at; /* bytes of `in` that are done with */
    bool delay;   /* a wrong password: the output waits */
    struct tl_status st;
    char detail[128];
    const char *hint;

    /* who */
    struct tl_arena arena; /* lives as long as the session */
    struct tl_slice start_packet;
    struct tl_scram scram;
    bool scram_open;
    char user[64];
    char database[64];              /* as the client calls it: there is one only */
    struct tl_session_info info;    /* what catalogs tell of the session */
    struct tl_principal *principal; /* NULL: the operator of an open door, or nobody */
    bool open;                      /* `tally` needs no password */
    struct tl_pg_settings settings;

    /* transaction block */
    char block; /* 'I' none, 'T' in one, 'E' in a failed one */
    struct tl_pg_savepoint *savepoints;
    struct tally_snapshot *snapshot;

    /* extended protocol */
    struct tl_pg_statement *statements;
    uint32_t statement_count;
    struct tl_pg_portal *portals;
    uint32_t portal_count;
    bool skipping; /* an error: until Sync */

    /* simple query: the statements of one text */
    bool simple;
    struct tl_arena text;
    struct tl_utility *list;
    uint32_t list_count, list_at;

    /* what is being sent */
    struct tl_pg_portal *active;
    enum tl_pg_how how;
    const uint16_t *formats;
    uint32_t format_count;
    int64_t left; /* rows that may still be sent; INT64_MAX: all */
    uint64_t sent;
    const struct tl_utility_copy *copy; /* COPY_OUT */
    struct tl_pg_portal *owned;         /* freed when `active` is done */
    struct tl_arena scratch;            /* of one vector */
    struct tl_buffer field;             /* a value of COPY before it is escaped */

    struct tl_pg_copy_in *copy_in;

    pthread_mutex_t lock; /* over `stepping` */
    struct tally_cursor *stepping;
    _Atomic bool cancelled; /* relaxed: read between vectors */
};

/* Whose rows the session sees, and what it may do. */
static inline struct tally_tenant tl__pg_tenant(const struct tl_pg *s)
{
    return s->principal ? s->principal->tenant : (struct tally_tenant){.bounded = !s->open};
}
static inline bool tl__pg_may(const struct tl_pg *s, enum tl_scope scope)
{
    return s->principal ? s->principal->is_operator || (s->principal->scopes & scope) : s->open;
}
static inline bool tl__pg_is_operator(const struct tl_pg *s)
{
    return s->principal ? s->principal->is_operator : s->open;
}

/* pg_session.c */
void tl__pg_fail(struct tl_pg *s); /* tells s->st as an error and does what follows of it */
void tl__pg_notice(struct tl_pg *s, const char *severity, const char *sqlstate, const char *text);
enum tl_code tl__pg_error(struct tl_pg *s, const char *sqlstate, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void tl__pg_ready(struct tl_pg *s);

/* pg_facts.c: fills s->info, once the user is known */
void tl__pg_facts(struct tl_pg *s);

/* pg_auth.c */
void tl__pg_startup(struct tl_pg *s);
void tl__pg_password(struct tl_pg *s, struct tl_slice body);

/* pg_extended.c */
void tl__pg_parse(struct tl_pg *s, struct tl_slice body);
void tl__pg_bind(struct tl_pg *s, struct tl_slice body);
void tl__pg_describe(struct tl_pg *s, struct tl_slice body);
void tl__pg_execute(struct tl_pg *s, struct tl_slice body);
void tl__pg_close(struct tl_pg *s, struct tl_slice body);

/* pg_statement.c */
/* A statement of one text; `chars` as in the struct. The caller has one reference. */
TL_CHECK enum tl_code tl__pg_statement_new(struct tl_pg *s, const char *name, struct tl_slice sql,
                                           uint32_t chars, const uint32_t *oids, uint32_t oid_count,
                                           struct tl_pg_statement **out);
/* The same of a statement that was split already. */
TL_CHECK enum tl_code tl__pg_statement_of(struct tl_pg *s, const struct tl_utility *utility,
                                          struct tl_pg_statement **out);
void tl__pg_statement_unref(struct tl_pg_statement *p);
struct tl_pg_statement *tl__pg_statement_find(struct tl_pg *s, const char *name);
void tl__pg_statement_drop(struct tl_pg *s, const char *name); /* NULL: all */
TL_CHECK enum tl_code tl__pg_statement_put(struct tl_pg *s, struct tl_pg_statement *p);
/* Plans again when the settings say something else than they did. */
TL_CHECK enum tl_code tl__pg_statement_fresh(struct tl_pg *s, struct tl_pg_statement *p);

/* A parameter's value as it came; NULL data: NULL. */
struct tl_pg_value {
    struct tl_slice bytes;
    bool binary;
};
TL_CHECK enum tl_code tl__pg_portal_new(struct tl_pg *s, const char *name,
                                        struct tl_pg_statement *statement,
                                        const struct tl_pg_value *values, uint32_t value_count,
                                        struct tl_pg_portal **out);
void tl__pg_portal_free(struct tl_pg *s, struct tl_pg_portal *p);
TL_CHECK enum tl_code tl__pg_portal_put(struct tl_pg *s, struct tl_pg_portal *p);
struct tl_pg_portal *tl__pg_portal_find(struct tl_pg *s, const char *name);
void tl__pg_portal_drop(struct tl_pg *s, struct tl_pg_portal *p);
/* All but those WITH HOLD; `hold`: these, too. */
void tl__pg_portals_drop(struct tl_pg *s, bool hold);

/* pg_rows.c */
/* RowDescription, or NoData when there are no columns. */
void tl__pg_put_columns(struct tl_pg *s, const struct tl_output_column *columns, uint32_t count,
                        const uint16_t *formats, uint32_t format_count);
/* The columns that a statement gives; 0: none. May fail (s->st). */
TL_CHECK enum tl_code tl__pg_columns_of(struct tl_pg *s, const struct tl_pg_statement *p,
                                        const struct tl_output_column **columns, uint32_t *count);
void tl__pg_send(struct tl_pg *s, struct tl_pg_portal *p, enum tl_pg_how how, int64_t rows);
/* Steps the active portal; goes on until a page is full or it is done. */
void tl__pg_send_more(struct tl_pg *s);
/* One row of texts (NULL: NULL), all in text format. */
void tl__pg_put_texts(struct tl_pg *s, const char *const *texts, uint32_t count);

/* pg_command.c */
/* Runs a utility; `portal` carries the formats. Rows may follow through tl__pg_send. */
TL_CHECK enum tl_code tl__pg_command(struct tl_pg *s, struct tl_pg_portal *portal,
                                     const struct tl_utility *u);
void tl__pg_block_end(struct tl_pg *s, bool commit);
TL_CHECK enum tl_code tl__pg_snapshot(struct tl_pg *s); /* opens it when there should be one */
void tl__pg_snapshot_drop(struct tl_pg *s);

/* pg_cursor.c */
TL_CHECK enum tl_code tl__pg_declare(struct tl_pg *s, const struct tl_utility *u);
TL_CHECK enum tl_code tl__pg_fetch(struct tl_pg *s, const struct tl_pg_portal *portal,
                                   const struct tl_utility *u);
TL_CHECK enum tl_code tl__pg_close_cursor(struct tl_pg *s, const struct tl_utility *u);
TL_CHECK enum tl_code tl__pg_prepare(struct tl_pg *s, const struct tl_utility *u);
TL_CHECK enum tl_code tl__pg_run_prepared(struct tl_pg *s, const struct tl_pg_portal *portal,
                                          const struct tl_utility *u);

/* pg_copy_out.c, pg_copy_in.c */
TL_CHECK enum tl_code tl__pg_copy_out(struct tl_pg *s, const struct tl_utility *u);
void tl__pg_copy_row(struct tl_pg *s, const struct tl_vector *columns, uint32_t count, uint32_t row,
                     const struct tl_zone *zone, struct tl_zone_span *span);
void tl__pg_copy_header(struct tl_pg *s, const struct tl_output_column *columns, uint32_t count);
TL_CHECK enum tl_code tl__pg_copy_in(struct tl_pg *s, const struct tl_utility *u);
void tl__pg_copy_in_message(struct tl_pg *s, char type, struct tl_slice body);
void tl__pg_copy_in_free(struct tl_pg_copy_in *c);

/* pg_simple.c */
void tl__pg_query(struct tl_pg *s, struct tl_slice body);
void tl__pg_query_next(struct tl_pg *s); /* the next statement of the text, or ReadyForQuery */

#endif
