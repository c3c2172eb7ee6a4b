/*
 * tools/door.h: one way to a database for all subcommands: through a server, or straight into a
 * directory.
 *
 * Ownership  a door owns its connection or its open database. Results live during the call that
 *            hands them out.
 * Threads    one door belongs to one thread; every callback runs on it.
 * Errors     those of tools/client.h and engine/tally.h.
 */
#ifndef TALLY_TOOLS_DOOR_H
#define TALLY_TOOLS_DOOR_H

#include "engine/tally.h"
#include "tools/client.h"

struct tl_door;

struct tl_door_options {
    const char *server; /* HOST:PORT, or NULL */
    const char *data;   /* a directory, or NULL; exactly one of the two */
    bool read_only;     /* of a directory: no lock is taken, nothing is written */
    bool must_exist;
    size_t memory_bytes;    /* of a directory's database; 0: its default */
    uint32_t query_threads; /* of a directory's database; 0: its default */
    bool verbose;           /* the database's events as lines on standard error */
};

TL_CHECK enum tl_code tl_door_open(const struct tl_door_options *options, struct tl_door **out,
                                   struct tl_status *st);
void tl_door_close(struct tl_door *d);             /* takes NULL */
struct tally *tl_door_database(struct tl_door *d); /* NULL: a server */

/* ---- queries ---- */

struct tl_door_column {
    const char *name;
    struct tl_type type;
};
struct tl_door_query {
    struct tl_slice sql;
    const char *const *params; /* NULL: SQL's NULL */
    uint32_t param_count;
    const char *time_zone; /* NULL: UTC */
    uint64_t timeout_ms;
    uint64_t rows_max;
    /* Once, before the rows; a statement that has no result has no columns. */
    enum tl_code (*columns)(void *arg, const struct tl_door_column *columns, uint32_t count,
                            struct tl_status *st);
    /* A chunk's vectors have the columns' types, except that DECIMAL(38) and INTERVAL may come as
     * TEXT. */
    enum tl_code (*rows)(void *arg, const struct tl_vector *vectors, uint32_t column_count,
                         uint32_t rows, struct tl_status *st);
    void *arg;
};
/* *elapsed_us: the engine's time. */
TL_CHECK enum tl_code tl_door_query(struct tl_door *d, const struct tl_door_query *q,
                                    uint64_t *elapsed_us, struct tl_status *st);

/* ---- appending ---- */

TL_CHECK enum tl_code tl_door_append_open(struct tl_door *d, struct tl_slice producer, bool import,
                                          tl_client_on_ack *on_ack, void *arg,
                                          struct tl_status *st);
/* The batch is copied. Waits while too much is in flight. */
TL_CHECK enum tl_code tl_door_append(struct tl_door *d, uint64_t sequence, struct tl_slice batch,
                                     void *tag, struct tl_status *st);
TL_CHECK enum tl_code tl_door_append_finish(struct tl_door *d, struct tl_status *st);

/* ---- the operator's side ---- */

enum tl_door_work {
    TL_DOOR_STATUS,
    TL_DOOR_INSPECT,
    TL_DOOR_FLUSH,
    TL_DOOR_COMPACT,
    TL_DOOR_COMPACT_CANCEL, /* of a server */
    TL_DOOR_VERIFY
};
typedef void tl_door_progress(void *arg, uint64_t done, uint64_t total);
/* Appends the answer's JSON. `pack` is of INSPECT, NULL: all. */
TL_CHECK enum tl_code tl_door_admin(struct tl_door *d, enum tl_door_work work, const char *pack,
                                    tl_door_progress *progress, void *arg, struct tl_buffer *json,
                                    struct tl_status *st);

#endif
