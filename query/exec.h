/*
 * query/exec.h: runs a plan over a source.
 *
 * A run is the state of one execution: parameters, scratch arenas, hash tables, sorted rows. The
 * plan it runs is shared and read-only. Results come as chunks of at most TL_VECTOR_ROWS_MAX rows.
 *
 * Ownership  the run is the caller's to free. A chunk lives until the next step or the free.
 * Threads    one thread steps a run; tl_run_cancel from any. With `threads` > 1 the run spreads
 *            morsels over a pool of its caller.
 * Errors     TL_CANCELLED, TL_TIMEOUT, TL_LIMIT (memory, rows), data errors with SQLSTATE.
 */
#ifndef TALLY_QUERY_EXEC_H
#define TALLY_QUERY_EXEC_H

#include <stdatomic.h>

#include "query/plan.h"
#include "query/source.h"

struct tl_clock;
struct tl_session_info;
struct tl_pool;
struct tl_run;

struct tl_run_options {
    struct tl_source *source;
    struct tl_budget *budget;     /* the query's, child of the server's */
    const struct tl_clock *clock; /* for now() and the time limit */
    int64_t now_us;               /* the statement's now() */
    const char *time_zone;
    uint64_t timeout_ms;      /* 0: none */
    uint64_t result_rows_max; /* 0: none; TL_LIMIT past it */
    uint32_t param_count;
    const struct tl_vector *params; /* CONST vectors of the plan's parameter types */
    uint32_t threads;               /* 0 and 1: the stepping thread alone */
    struct tl_pool *pool;           /* for threads > 1 */
    /* EXPLAIN ANALYZE leaves out what depends on rows that the session may not see: what scans
     * read, chunks, memory. */
    bool terse;
    const struct tl_catalog *catalog; /* what the run sees of it; NULL: as when it was planned */
    const struct tl_session_info *session; /* query/catalog.h; NULL: nobody in particular */
};

TL_CHECK enum tl_code tl_run_new(const struct tl_plan *plan, const struct tl_run_options *options,
                                 struct tl_run **out, struct tl_status *st);
/* out->count 0: done. */
TL_CHECK enum tl_code tl_run_step(struct tl_run *run, struct tl_chunk *out, struct tl_status *st);
void tl_run_cancel(struct tl_run *run); /* any thread */
void tl_run_free(struct tl_run *run);   /* takes NULL */

/* EXPLAIN ANALYZE's lines: the plan's, with rows, time, and what the scan did, per node. */
void tl_run_print(const struct tl_run *run, struct tl_buffer *out);

#endif
