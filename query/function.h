/*
 * query/function.h: the table of scalar functions, operators and casts.
 *
 * One row per overload: its name as SQL writes it ("+", "lower", "cast"), argument kinds, how the
 * result's type follows from them, and a kernel over vectors. The binder looks overloads up and
 * puts casts in the tree; the executor calls the kernels. The table is walked once at start by
 * tl_functions_check (names, kernels, no two rows alike).
 *
 * Ownership  the table is constant. A kernel's output arrays come from the run's scratch
 * arena. Threads    kernels keep no state: any thread. Errors     a kernel tells SQLSTATE: 22003
 * out of range, 22012 division by zero, 22007/22008 bad date or time, 22P02 bad text for a type.
 */
#ifndef TALLY_QUERY_FUNCTION_H
#define TALLY_QUERY_FUNCTION_H

#include "base/arena.h"
#include "base/int128.h"
#include "base/vector.h"

enum { TL_FUNCTION_ARGS_MAX = 8, TL_FLAVOUR_WIDEST = 255, TL_KIND_ANY = 254 };

struct tl_catalog;
struct tl_session_info;

/* What a kernel may need of its run. */
struct tl_eval_context {
    struct tl_arena *arena;     /* scratch: output arrays, strings built */
    int64_t now_us;             /* the statement's now(), UTC */
    const struct tl_zone *zone; /* session's time zone */
    const char *zone_name;
    const struct tl_catalog *catalog;      /* for names and OIDs of tables; may be NULL */
    const struct tl_session_info *session; /* query/catalog.h; NULL: nobody in particular */
};

/* Computes rows of `selection` (ascending row numbers < rows; NULL: all `rows` rows) of a call.
 * Arguments are FLAT or CONST vectors of `rows` rows (DICT too where the function is dict_aware).
 * `out` comes with type and count set; the kernel gives it data and validity (FLAT, or CONST when
 * all arguments are). A strict function is not asked about rows with a NULL argument: the executor
 * has taken these out of `selection` and clears their validity itself. Rows outside the selection
 * may hold anything. */
typedef enum tl_code tl_kernel(const struct tl_eval_context *ctx, const struct tl_vector *args,
                               uint32_t arg_count, uint32_t rows, const uint16_t *selection,
                               uint32_t selected, struct tl_vector *out, struct tl_status *st);

struct tl_function {
    const char *name; /* "=", "+", "lower"; casts are "cast" */
    uint8_t arg_count;
    uint8_t args[TL_FUNCTION_ARGS_MAX]; /* enum tl_kind, or TL_KIND_ANY beside an ARRAY: what its
                                           elements are; DECIMAL64 and DECIMAL128 are told apart */
    bool variadic;                      /* the last kind may come again (concat, coalesce …) */
    uint8_t result;                     /* enum tl_kind */
    /* The result's type when it depends on scales; NULL: `result` with scale 0. */
    struct tl_type (*result_type)(const struct tl_type *args, uint32_t arg_count);
    uint8_t flavour; /* of the result (enum tl_flavour), or TL_FLAVOUR_WIDEST: as its arguments */
    bool strict;     /* NULL in, NULL out */
    bool
        immutable; /* depends on its arguments alone: may be folded, and run per dictionary value */
    tl_kernel *kernel;
};

/* All functions; *count of them. */
const struct tl_function *tl_functions(uint32_t *count);

/* The overload of exactly these kinds, or NULL. */
const struct tl_function *tl_function_find(const char *name, const struct tl_type *args,
                                           uint32_t arg_count);

/* The cast between two types, or NULL when there is none. The target's scale is given by
 * the expression's type: cast kernels read out->type. */
const struct tl_function *tl_function_cast(struct tl_type from, struct tl_type to);

/* Scales that a constant argument decides. The kernels of round(x, n), trunc(x, n) and
 * extract(field, x) write the scale that out->type asks for, so the binder may set the call's
 * type to a smaller scale than result_type says when the argument is a constant:
 * round and trunc: n clamped to 0 … the scale of x; extract: tl_extract_scale (base/time.h). */

/* The result of sum and avg over `arg` (BIGINT, both decimals, DOUBLE, INTERVAL). */
struct tl_type tl_sum_type(struct tl_type arg);
struct tl_type tl_avg_type(struct tl_type arg);

/* A sum of `n` > 0 values of type `arg` (BIGINT or a decimal) as the result of sum and of avg;
 * false: 38 digits do not suffice. */
bool tl_sum_value(tl_i128 sum, struct tl_type arg, tl_i128 *out);
bool tl_avg_value(tl_i128 sum, uint64_t n, struct tl_type arg, tl_i128 *out);

/* Asserts that the table is whole; called once at start and by its test. */
void tl_functions_check(void);

#endif
