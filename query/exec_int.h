/*
 * query/exec_int.h: what the files of the executor share.
 *
 *   exec.c            runs: operators, their tree, steps, EXPLAIN ANALYZE
 *   exec_scan.c       the scan operator: bounds into a scan_spec, morsels into batches
 *   exec_expr.c       expressions over batches
 *   exec_hash.c       growable arrays, hash tables from values to small ids
 *   exec_group.c      group keys to group numbers
 *   exec_distinct.c   exact distinct values per group
 *   exec_moment.c     variances per group
 *   exec_sketch.c     approximate distinct values and percentiles per group
 *   exec_aggregate.c  aggregates per group, and the operator
 *   exec_sort.c       sorting and the first n rows
 *   exec_rows.c       rows kept column by column
 *   exec_join.c       joins by hash
 *   exec_apply.c      subplans: for each row, once before all else, and of WITH
 *   exec_set.c        small operators: APPEND, VALUES, functions in FROM, …
 *
 * Operators are pulled: next() of the topmost asks the one below it. What flows is a batch: at
 * most TL_VECTOR_ROWS_MAX rows with a selection. A batch lives until the next call of next() on
 * the operator that gave it. Operators that hold rows back (aggregate, sort) end a pipeline: below
 * them one scratch arena is reset per batch by the first operator, above them another one.
 */
#ifndef TALLY_QUERY_EXEC_INT_H
#define TALLY_QUERY_EXEC_INT_H

#include <pthread.h>

#include "query/catalog.h"
#include "query/exec.h"
#include "query/function_int.h"

/* Rows in flight. `sel`: the n rows that count, ascending; NULL: all, and n == rows. */
struct tl__batch {
    uint32_t rows;
    const struct tl_vector *columns;
    const uint16_t *sel;
    uint32_t n;
};

/* What the operators of one pipeline in one thread share. */
struct tl__pipe {
    struct tl_run *run;
    struct tl_arena scratch; /* one batch long */
    struct tl_arena memory;  /* as long as the run: memo tables, hash tables */
    struct tl_eval_context ctx;
    uint64_t rows_hint; /* rows that the current morsel may still give */
    const bool *exact;  /* the morsel's predicate_exact, or NULL */
};

TL_CHECK enum tl_code tl__run_check(struct tl_run *run, struct tl_status *st);

/* ---- growable arrays (exec_hash.c) ---- */

/* An array that grows by moving into an arena of its own, so that the old place is given back to
 * the budget. */
struct tl__array {
    struct tl_arena arena;
    uint8_t *data;
    size_t size;     /* elements in use */
    size_t capacity; /* elements */
    uint32_t width;  /* bytes of an element */
};

void tl__array_init(struct tl__array *a, struct tl_budget *budget, uint32_t width);
void tl__array_deinit(struct tl__array *a);
/* Room for `capacity` elements; new ones are zero when `zero`. */
TL_CHECK enum tl_code tl__array_reserve(struct tl__array *a, size_t capacity, bool zero,
                                        struct tl_status *st);
#define TL__AT(type, a, i) (((type *)(void *)(a)->data)[i])

/* ---- values to ids (exec_hash.c) ---- */

enum tl__value_class { TL__FIXED, TL__WIDE, TL__TEXT }; /* up to 8 bytes, 16 bytes, strings */

/* Gives each distinct value the next number from 0. NULL is a value when asked for. */
struct tl__intern {
    uint8_t class; /* enum tl__value_class */
    struct tl_type type;
    bool copies; /* strings are copied; else they must outlive this */
    uint32_t count;
    uint32_t null_id;        /* id + 1 of NULL; 0: not met */
    struct tl__array values; /* int64_t, 16 bytes, or struct tl_slice by id */
    struct tl__array slots;  /* FIXED: value and id + 1; else uint64_t: hash << 32 | id + 1 */
    uint32_t slot_mask;      /* slots - 1; 0: none yet */
    struct tl_arena text;
    uint8_t *text_next, *text_end;
};

void tl__intern_init(struct tl__intern *t, struct tl_type type, bool copies,
                     struct tl_budget *budget);
void tl__intern_deinit(struct tl__intern *t);
/* Room for about `count` values, so that the table of a new intern does not grow step by step. */
TL_CHECK enum tl_code tl__intern_expect(struct tl__intern *t, size_t count, struct tl_status *st);
/* ids[row] for the batch's rows of a FLAT or CONST vector (NULLs get null_id's). *changes, when
 * wanted: how often the value changed from one selected row to the next, or UINT32_MAX. */
TL_CHECK enum tl_code tl__intern_rows(struct tl__intern *t, const struct tl_vector *v,
                                      const uint16_t *sel, uint32_t n, uint32_t *ids,
                                      uint32_t *changes, struct tl_status *st);
/* The id of one FIXED value. */
TL_CHECK enum tl_code tl__intern_fixed(struct tl__intern *t, int64_t v, uint32_t *id,
                                       struct tl_status *st);
TL_CHECK enum tl_code tl__intern_texts(struct tl__intern *t, const struct tl_slice *texts,
                                       uint32_t n, uint32_t *ids, struct tl_status *st);
TL_CHECK enum tl_code tl__intern_null(struct tl__intern *t, uint32_t *id, struct tl_status *st);
/* Writes value `id` as row `row` of a FLAT array; false: it is NULL. */
bool tl__intern_get(const struct tl__intern *t, uint32_t id, void *data, uint32_t row);
/* What a vector's value is as the 64 bits of a FIXED value, and back. */
int64_t tl__fixed_get(struct tl_type type, const void *data, size_t at);
void tl__fixed_put(struct tl_type type, void *data, size_t at, int64_t v);

/* Sorts in place, ascending; `other` has room for n. The result may lie in either: it is returned.
 */
uint64_t *tl__radix_sort(uint64_t *a, uint64_t *other, size_t n);

/* ---- expressions (exec_expr.c) ---- */

struct tl__step;

/* Compiles an expression for a pipeline; params are the run's. */
TL_CHECK enum tl_code tl__step_new(struct tl__pipe *pipe, const struct tl_expr *expr,
                                   struct tl__step **out, struct tl_status *st);
/* Values of the batch's selected rows; other rows hold anything. */
TL_CHECK enum tl_code tl__step_eval(struct tl__step *step, struct tl__pipe *pipe,
                                    const struct tl__batch *batch, struct tl_vector *out,
                                    struct tl_status *st);
/* The selected rows where the BOOLEAN expression is true: sel from scratch, never NULL unless all
 * rows of the batch are. */
TL_CHECK enum tl_code tl__step_select(struct tl__step *step, struct tl__pipe *pipe,
                                      const struct tl__batch *batch, const uint16_t **sel,
                                      uint32_t *n, struct tl_status *st);
/* A DICT vector's strings of the selected rows, as a FLAT vector; others unchanged. */
TL_CHECK enum tl_code tl__flatten(struct tl__pipe *pipe, const struct tl_vector *v,
                                  const uint16_t *sel, uint32_t n, struct tl_vector *out,
                                  struct tl_status *st);
/* The selected rows of a vector, moved together. */
TL_CHECK enum tl_code tl__compact(struct tl_arena *arena, const struct tl_vector *v,
                                  const uint16_t *sel, uint32_t n, struct tl_vector *out,
                                  struct tl_status *st);
/* Writes the selected rows whose bit is set to `out`, which has room for n + 1; how many. */
uint32_t tl__rows_with_bit(const uint64_t *bits, const uint16_t *sel, uint32_t n, uint16_t *out);
/* Evaluates an expression without columns. *valid false: NULL. value has room for 16 bytes. */
TL_CHECK enum tl_code tl__eval_constant(struct tl__pipe *pipe, const struct tl_expr *expr,
                                        struct tl_vector *out, struct tl_status *st);

/* Whether a dictionary is small enough beside the rows to come for a table over all its codes. */
static inline bool tl__table_pays(const struct tl_dict *dict, uint64_t rows_hint, uint32_t rows)
{
    uint64_t to_come = rows_hint > rows ? rows_hint : rows;
    return dict->count <= 256 || to_come >= dict->count / 8;
}

/* ---- operators ---- */

struct tl__op;

struct tl__op_vtable {
    enum tl_code (*next)(struct tl__op *op, struct tl__batch *out, struct tl_status *st);
    void (*close)(struct tl__op *op); /* its own things; the child is closed by the run */
};

struct tl__op {
    const struct tl__op_vtable *vtab;
    const struct tl_plan_node *node;
    struct tl__op *child;
    struct tl__op **inputs; /* those beside child */
    uint32_t input_count;
    struct tl__pipe *pipe;
    struct tl_run *run;
    uint64_t rows, batches, ns; /* for EXPLAIN ANALYZE */
    struct tl__op *original;    /* a worker's copy counts for this one; NULL: it is one itself */
};

/* One batch of op; counts and times it. out->n 0: done. */
TL_CHECK enum tl_code tl__op_next(struct tl__op *op, struct tl__batch *out, struct tl_status *st);

enum { TL__MORSELS_AHEAD = 16 };

/* A scan that several operators (one per worker) may draw morsels from. */
struct tl__shared_scan {
    struct tl__shared_scan *next; /* of the run's */
    struct tl_source *source;
    const struct tl_plan_node *node;
    struct tl_scan *scan;
    pthread_mutex_t lock; /* held around next_morsel and the fields below */
    bool opened, closed, empty, done;
    int32_t *predicate_of_bound;               /* index in the spec, or -1 */
    struct tl_morsel ahead[TL__MORSELS_AHEAD]; /* opened before anybody took them */
    uint32_t ahead_count;
    struct tl_scan_stats stats;
};

/* Whether the rows to come of the scan below a chain are worth more than one thread. */
TL_CHECK enum tl_code tl__scan_pays_threads(struct tl__op *chain, bool *out, struct tl_status *st);
/* Ends the scans below an operator: their dictionaries and values are gone. */
void tl__scan_close(struct tl__op *op);
void tl__scans_deinit(struct tl_run *run);
/* Makes a chain of operators the copy of another. */
void tl__op_is_copy(struct tl__op *copy, struct tl__op *original);

TL_CHECK enum tl_code tl__op_new(struct tl_run *run, const struct tl_plan_node *node,
                                 struct tl__pipe *pipe, struct tl__op **out, struct tl_status *st);
TL_CHECK enum tl_code tl__pipe_new(struct tl_run *run, struct tl__pipe **out, struct tl_status *st);
TL_CHECK enum tl_code tl__scan_new(struct tl_run *run, const struct tl_plan_node *node,
                                   struct tl__pipe *pipe, struct tl__op **out,
                                   struct tl_status *st);
TL_CHECK enum tl_code tl__aggregate_new(struct tl_run *run, const struct tl_plan_node *node,
                                        struct tl__pipe *pipe, struct tl__op **out,
                                        struct tl_status *st);
TL_CHECK enum tl_code tl__sort_new(struct tl_run *run, const struct tl_plan_node *node,
                                   struct tl__pipe *pipe, struct tl__op **out,
                                   struct tl_status *st);
TL_CHECK enum tl_code tl__join_new(struct tl_run *run, const struct tl_plan_node *node,
                                   struct tl__pipe *pipe, struct tl__op **out,
                                   struct tl_status *st);
TL_CHECK enum tl_code tl__apply_new(struct tl_run *run, const struct tl_plan_node *node,
                                    struct tl__pipe *pipe, struct tl__op **out,
                                    struct tl_status *st);
TL_CHECK enum tl_code tl__cte_new(struct tl_run *run, const struct tl_plan_node *node,
                                  struct tl__op **out, struct tl_status *st);
/* APPEND, REPEAT, OTHERWISE, VALUES, TABLE_FUNCTION, FIRST, EXPAND */
TL_CHECK enum tl_code tl__set_new(struct tl_run *run, const struct tl_plan_node *node,
                                  struct tl__pipe *pipe, struct tl__op **out, struct tl_status *st);
/* Runs the plan's init plans and sets their slots. */
TL_CHECK enum tl_code tl__run_inits(struct tl_run *run, struct tl_status *st);
/* A run of a subplan within a run: its parameters, slots, budget and time limit are those of
 * `outer`. Freed with tl_run_free. */
TL_CHECK enum tl_code tl__subrun_new(struct tl_run *outer, const struct tl_plan_node *root,
                                     struct tl_run **out, struct tl_status *st);
TL_CHECK enum tl_code tl__subrun_next(struct tl_run *run, struct tl__batch *out,
                                      struct tl_status *st);
/* A NULL of a type for every row. */
void tl__null_vector(struct tl_type type, uint32_t rows, struct tl_vector *out);
/* Whether the strings of an operator's column live until the run ends. */
bool tl__op_text_stable(const struct tl__op *op, uint32_t column);

enum { TL__WORKERS_MAX = 64 };

struct tl_run {
    const struct tl_plan *plan;
    struct tl_run_options options;
    const struct tl_zone *zone;
    struct tl_vector *params; /* the client's, then the slots; of a run within a run the outer's */
    uint32_t param_count;
    struct tl_run *outer;   /* the run around this one; NULL: none */
    struct tl_run *top;     /* the outermost */
    bool built;             /* operators are there: init plans have run */
    struct tl__rows **ctes; /* by number, of the outermost; NULL: not computed yet */
    const struct tl_plan_node *root_node;
    struct tl_arena arena;
    struct tl_budget *budget;
    struct tl__op *root;
    struct tl__op **ops; /* all, for closing and printing; children before parents */
    uint32_t op_count, op_capacity;
    struct tl__pipe **pipes;
    uint32_t pipe_count, pipe_capacity;
    struct tl__shared_scan *scans;
    struct tl__pipe *root_pipe;
    uint64_t deadline_ns;
    uint64_t started_ns;
    uint64_t result_rows;
    struct tl_catalog_source catalogs; /* of the outermost */
    bool timed;                        /* EXPLAIN ANALYZE */
    bool done;
    _Atomic bool cancelled; /* relaxed: a flag read once per batch */
    _Atomic bool stopped;   /* relaxed: a worker has failed, the others may end */
};

/* ---- rows kept (exec_rows.c) ---- */

struct tl__rows_column {
    struct tl_type type;
    uint32_t width;
    bool nulls;
    struct tl__array values;
    struct tl__array valid; /* uint8_t */
};

/* Rows that are appended and then read by number. Strings are copied. */
struct tl__rows {
    uint32_t column_count;
    struct tl__rows_column *columns;
    uint32_t count;
    struct tl_arena text;
    uint8_t *text_next, *text_end;
};

#define TL__NO_ROW UINT32_MAX

TL_CHECK enum tl_code tl__rows_init(struct tl__rows *r, const struct tl_type *types,
                                    uint32_t column_count, struct tl_arena *arena,
                                    struct tl_budget *budget, struct tl_status *st);
void tl__rows_deinit(struct tl__rows *r);
/* Forgets all rows, keeps some memory. */
void tl__rows_clear(struct tl__rows *r);
/* The selected rows of `columns`, one vector per column. */
TL_CHECK enum tl_code tl__rows_append(struct tl__rows *r, struct tl__pipe *pipe,
                                      const struct tl_vector *columns, const uint16_t *sel,
                                      uint32_t n, struct tl_status *st);
/* Rows [from, from + n) of a column: a vector that points into r, validity in the arena. */
TL_CHECK enum tl_code tl__rows_slice(const struct tl__rows *r, uint32_t column, uint32_t from,
                                     uint32_t n, struct tl_arena *arena, struct tl_vector *out,
                                     struct tl_status *st);
/* Rows ids[0 … n) of a column; TL__NO_ROW gives NULL. */
TL_CHECK enum tl_code tl__rows_gather(const struct tl__rows *r, uint32_t column,
                                      const uint32_t *ids, uint32_t n, struct tl_arena *arena,
                                      struct tl_vector *out, struct tl_status *st);
/* The next batch of all rows from *next on, in the arena. */
TL_CHECK enum tl_code tl__rows_emit(const struct tl__rows *r, uint32_t *next,
                                    struct tl_arena *arena, struct tl__batch *out,
                                    struct tl_status *st);

/* ---- groups (exec_group.c) ---- */

struct tl__groups;

TL_CHECK enum tl_code tl__groups_new(struct tl__pipe *pipe, uint32_t key_count,
                                     const struct tl_type *types, struct tl__groups **out,
                                     struct tl_status *st);
void tl__groups_deinit(struct tl__groups *g);
uint32_t tl__groups_count(const struct tl__groups *g);

/* Where the rows of a batch went: all to one group, in runs, or row by row. */
struct tl__grouping {
    uint32_t uniform;       /* run_count 0 and of_row NULL: all rows go there */
    const uint32_t *of_row; /* by row number; with runs only after tl__grouping_spread */
    /* run r has positions [run_starts[r], run_starts[r + 1]) of the selection */
    const uint32_t *run_starts;
    const uint32_t *run_groups;
    uint32_t run_count;
};

/* Sets of_row, unless all rows go to one group. */
TL_CHECK enum tl_code tl__grouping_spread(struct tl__grouping *g, struct tl__pipe *pipe,
                                          const struct tl__batch *batch, struct tl_status *st);

TL_CHECK enum tl_code tl__groups_rows(struct tl__groups *g, struct tl__pipe *pipe,
                                      const struct tl_vector *keys, const struct tl__batch *batch,
                                      struct tl__grouping *out, struct tl_status *st);
/* Key `key` of groups [from, from + n) as a FLAT vector in the arena. */
TL_CHECK enum tl_code tl__groups_key(const struct tl__groups *g, uint32_t key, uint32_t from,
                                     uint32_t n, struct tl_arena *arena, struct tl_vector *out,
                                     struct tl_status *st);
/* Puts other's groups into g; map[i] is where other's group i went (arena's). */
TL_CHECK enum tl_code tl__groups_merge(struct tl__groups *g, struct tl__pipe *pipe,
                                       const struct tl__groups *other, uint32_t **map,
                                       struct tl_status *st);

/* ---- distinct values per group (exec_distinct.c) ---- */

struct tl__distinct;

TL_CHECK enum tl_code tl__distinct_new(struct tl__pipe *pipe, struct tl_type type,
                                       struct tl__distinct **out, struct tl_status *st);
void tl__distinct_deinit(struct tl__distinct *d);
/* Adds the selected rows of `v`, none of them NULL. The grouping has been spread. */
TL_CHECK enum tl_code tl__distinct_add(struct tl__distinct *d, struct tl__pipe *pipe,
                                       const struct tl_vector *v, const uint16_t *sel, uint32_t n,
                                       const struct tl__grouping *grouping, struct tl_status *st);
/* Takes another worker's lists over: they become d's, with the groups' numbers of d. */
TL_CHECK enum tl_code tl__distinct_merge(struct tl__distinct *d, struct tl__distinct *other,
                                         const uint32_t *group_map, struct tl_status *st);
/* counts[g] of group_count groups; once, at the end. */
TL_CHECK enum tl_code tl__distinct_finish(struct tl__distinct *d, uint32_t group_count,
                                          int64_t *counts, struct tl_status *st);
/* After finish, of a type that is not TEXT: the distinct (group, value id) pairs, sorted, as
 * group << 32 | id, and the values. */
const uint64_t *tl__distinct_pairs(const struct tl__distinct *d, size_t *count);
const struct tl__intern *tl__distinct_values(const struct tl__distinct *d);

/* ---- variances (exec_moment.c) ---- */

/* What a variance is told from. All zero: of no values. */
struct tl__moment {
    int64_t n;
    tl_i128 sum;              /* of exact values, */
    uint64_t squares[4];      /* and of their squares, 256 bits, the lowest word first */
    double float_sum, spread; /* of DOUBLEs: sum, sum of (x - mean)² */
};

void tl__moment_add_int(struct tl__moment *m, int64_t x);
void tl__moment_add_double(struct tl__moment *m, double x);
void tl__moment_merge(struct tl__moment *m, const struct tl__moment *other);
/* Of values of type BIGINT, DECIMAL64 or DOUBLE; false: there are too few. */
bool tl__moment_variance(const struct tl__moment *m, struct tl_type type, bool sample, double *out);

/* ---- sketches per group (exec_sketch.c) ---- */

struct tl__sketches;

/* Of quantiles, else of distinct values. */
TL_CHECK enum tl_code tl__sketches_new(struct tl__pipe *pipe, bool quantiles,
                                       struct tl__sketches **out, struct tl_status *st);
void tl__sketches_deinit(struct tl__sketches *s);
/* Empty sketches for groups that are new. */
TL_CHECK enum tl_code tl__sketches_reserve(struct tl__sketches *s, uint32_t groups,
                                           struct tl_status *st);
/* Adds the selected rows of `v`, none of them NULL. The grouping has been spread. */
TL_CHECK enum tl_code tl__sketches_add(struct tl__sketches *s, struct tl__pipe *pipe,
                                       const struct tl_vector *v, const uint16_t *sel, uint32_t n,
                                       const struct tl__grouping *grouping, struct tl_status *st);
/* Takes another worker's sketches over; its `groups` groups are group_map[0 …] of s. */
TL_CHECK enum tl_code tl__sketches_merge(struct tl__sketches *s, struct tl__sketches *other,
                                         const uint32_t *group_map, uint32_t groups,
                                         struct tl_status *st);
int64_t tl__sketches_distinct(const struct tl__sketches *s, uint32_t group);
/* *any false: the group has no values. */
TL_CHECK enum tl_code tl__sketches_quantile(struct tl__sketches *s, uint32_t group, double fraction,
                                            double *out, bool *any, struct tl_status *st);

#endif
