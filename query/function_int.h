/*
 * query/function_int.h: what the kernels' files share, for query/function*.c and query/exec*.c.
 *
 * A kernel is written with TL__KERNEL(name): the macro makes the function of the table's
 * signature, which packs its arguments into one struct, and the body that works on it.
 */
#ifndef TALLY_QUERY_FUNCTION_INT_H
#define TALLY_QUERY_FUNCTION_INT_H

#include "base/arena.h"
#include "base/assert.h"
#include "base/int128.h"
#include "base/vector.h"
#include "base/zone.h"
#include "query/function.h"

/* One call of a kernel. */
struct tl__call {
    const struct tl_eval_context *ctx;
    const struct tl_vector *args;
    uint32_t arg_count;
    uint32_t rows;
    const uint16_t *sel; /* NULL: rows 0 … n-1 */
    uint32_t n;
    struct tl_vector *out;
    struct tl_status *st;
};

#define TL__KERNEL_DECLARE(name)                                                                   \
    enum tl_code tl__k_##name(const struct tl_eval_context *ctx, const struct tl_vector *args,     \
                              uint32_t arg_count, uint32_t rows, const uint16_t *selection,        \
                              uint32_t selected, struct tl_vector *out, struct tl_status *st)

#define TL__KERNEL(name)                                                                           \
    static enum tl_code name##_body(struct tl__call *c);                                           \
    TL__KERNEL_DECLARE(name)                                                                       \
    {                                                                                              \
        struct tl__call c = {ctx, args, arg_count, rows, selection, selected, out, st};            \
        return name##_body(&c);                                                                    \
    }                                                                                              \
    static enum tl_code name##_body(struct tl__call *c)

/* Runs the statement after it for each row i that is asked for. */
#define TL__EACH(c, i)                                                                             \
    for (uint32_t k_ = 0, i = 0; k_ < (c)->n && ((i = (c)->sel ? (c)->sel[k_] : k_), true); k_++)

/* Gives out its data, `width` bytes a row; all arguments CONST make it CONST, with one row to be
 * computed. NULL with st set at a limit. */
void *tl__out(struct tl__call *c, size_t width);
/* An all-valid bitmap for out, to clear bits in; set as out's validity. */
uint64_t *tl__out_validity(struct tl__call *c);

/* An argument's values and the step from row to row (0: constant). */
static inline size_t tl__step(const struct tl_vector *v)
{
    return v->shape == TL_CONST ? 0 : 1;
}
#define TL__ARG(type, c, a) ((const type *)(c)->args[a].data)

static inline struct tl_slice tl__text_arg(const struct tl__call *c, uint32_t a, uint32_t row)
{
    return ((const struct tl_slice *)c->args[a].data)[row * tl__step(&c->args[a])];
}

/* The session's zone; UTC where the context names none. */
static inline const struct tl_zone *tl__zone(const struct tl__call *c)
{
    return c->ctx->zone ? c->ctx->zone : tl_zone_utc();
}

static inline enum tl_code tl__fail_sql(struct tl_status *st, const char *sqlstate,
                                        const char *sentence)
{
    enum tl_code rc = TL_FAIL(st, TL_INVALID, "%s", sentence);
    (void)tl_status_sql(st, sqlstate, 0);
    return rc;
}
#define TL__OUT_OF_RANGE  "22003"
#define TL__DIVISION_BY_0 "22012"
#define TL__BAD_PARAMETER "22023"
#define TL__BAD_TEXT      "22P02"
#define TL__BAD_DATE      "22007"
#define TL__DATE_OVERFLOW "22008"
#define TL__BAD_SUBSTRING "22011"
#define TL__BAD_ESCAPE    "22025"
#define TL__BAD_LOGARITHM "2201E"
#define TL__BAD_POWER     "2201F"
#define TL__TOO_LONG      "54000"

/* Comparison of two values that stand in vectors of a kind: <0, 0, >0; NaN equals itself and is
 * greater than all other doubles; decimals by value, whatever their scales. */
int tl__compare(struct tl_type ta, const void *a, struct tl_type tb, const void *b);

int tl__compare_arrays(struct tl_slice a, struct tl_slice b);

static inline int tl__compare_double(double a, double b)
{
    if (a < b)
        return -1;
    if (a > b)
        return 1;
    if (a == b)
        return 0;
    return (a != a) - (b != b);
}
/* The comparison operators, for the executor's own fast paths. */
enum tl__compare_op { TL__EQ, TL__NE, TL__LT, TL__LE, TL__GT, TL__GE, TL__NO_COMPARISON };
enum tl__compare_op tl__function_compare_op(const struct tl_function *f);

/* The OID that a text of a reg type names; for the casts (function_catalog.c). */
TL_CHECK enum tl_code tl__reg_parse(struct tl__call *c, struct tl_slice text, uint8_t flavour,
                                    int64_t *out);

/* "1 2 3" as PostgreSQL writes int2vector and oidvector, whose first index is 0. */
static inline bool tl__is_vector(struct tl_type t)
{
    return t.flavour == TL_FLAVOUR_INT2VECTOR || t.flavour == TL_FLAVOUR_OIDVECTOR;
}
TL_CHECK enum tl_code tl__vector_parse(struct tl_slice text, struct tl_type type,
                                       struct tl_arena *arena, struct tl_slice *out,
                                       struct tl_status *st);

/* Whether text matches a LIKE pattern compiled by tl__like_compile. */
struct tl__like {
    uint8_t kind;            /* private to function_like.c */
    bool fold;               /* ILIKE */
    struct tl_slice literal; /* of the fast paths */
    struct tl_slice *parts;  /* runs between % … % */
    uint32_t part_count;
    bool anchored_start, anchored_end;
    bool plain;      /* parts hold no _ */
    size_t size_min; /* bytes that any match has at least */
};
TL_CHECK enum tl_code tl__like_compile(struct tl_slice pattern, const struct tl_slice *escape,
                                       bool fold, struct tl_arena *arena, struct tl__like *out,
                                       struct tl_status *st);
bool tl__like_match(const struct tl__like *like, struct tl_slice text);
/* Where needle stands in hay: offset, or SIZE_MAX. */
size_t tl__find(struct tl_slice hay, struct tl_slice needle);

/* The formatter lays these out in another way each time it runs. */
/* clang-format off */
#define TL__KERNELS_COMPARE(X)                                                                     \
    X(eq) X(ne) X(lt) X(le) X(gt) X(ge) X(is_distinct) X(nullif) X(greatest) X(least)
#define TL__KERNELS_ARITHMETIC(X)                                                                  \
    X(add_int)                                                                                     \
    X(sub_int) X(mul_int) X(div_int) X(mod_int) X(neg_int) X(abs_int) X(add_double) X(sub_double)  \
        X(mul_double) X(div_double) X(neg_double) X(abs_double) X(ceil_double) X(floor_double)     \
            X(round_double) X(trunc_double) X(sign_double) X(sqrt) X(ln) X(log10) X(exp) X(power)  \
                X(int4) X(int2) X(float4)
#define TL__KERNELS_DECIMAL(X)                                                                     \
    X(add_decimal)                                                                                 \
    X(sub_decimal) X(mul_decimal) X(div_decimal) X(mod_decimal) X(neg_decimal) X(abs_decimal)      \
        X(sign_decimal) X(ceil_decimal) X(floor_decimal) X(round_decimal) X(trunc_decimal)
#define TL__KERNELS_TEXT(X)                                                                        \
    X(text_concat2)                                                                                \
    X(like) X(ilike) X(lower) X(upper) X(char_length) X(octet_length) X(substr) X(split_part)      \
        X(concat) X(concat_ws) X(left) X(right) X(btrim) X(ltrim) X(rtrim) X(replace) X(strpos)    \
            X(starts_with) X(reverse) X(repeat) X(initcap) X(lpad) X(rpad)
#define TL__KERNELS_TIME(X)                                                                        \
    X(date_plus_int)                                                                               \
    X(int_plus_date) X(date_minus_int) X(date_minus_date) X(date_plus_interval)                    \
        X(interval_plus_date) X(date_minus_interval) X(ts_plus_interval) X(interval_plus_ts)       \
            X(ts_minus_interval) X(ts_minus_ts) X(add_interval) X(sub_interval) X(neg_interval)    \
                X(interval_times) X(times_interval) X(interval_over) X(date_trunc)                 \
                    X(date_trunc_interval) X(time_bucket) X(time_bucket_date) X(time_bucket_int)   \
                        X(date_bin) X(extract) X(date_part) X(timezone_utc) X(timezone_local)      \
                            X(now) X(to_timestamp)
#define TL__KERNELS_CAST(X)                                                                        \
    X(cast_null)                                                                                   \
    X(cast_same) X(cast_bool_int) X(cast_int_bool) X(cast_int_double) X(cast_double_int)           \
        X(cast_int_decimal) X(cast_decimal_int) X(cast_double_decimal) X(cast_decimal_double)      \
            X(cast_decimal) X(cast_date_ts) X(cast_ts_date) X(cast_date_tstz) X(cast_tstz_date)    \
                X(cast_ts_tstz) X(cast_tstz_ts) X(cast_to_text) X(cast_from_text)
#define TL__KERNELS_MATH(X)                                                                        \
    X(cbrt) X(degrees) X(radians) X(sin) X(cos) X(tan) X(cot) X(asin) X(acos) X(atan) X(atan2)     \
    X(sinh) X(cosh) X(tanh) X(asinh) X(acosh) X(atanh) X(pi) X(log_base) X(width_bucket)           \
    X(bit_and) X(bit_or) X(bit_xor) X(bit_not) X(shift_left) X(shift_right) X(gcd) X(lcm)          \
    X(factorial) X(div_whole) X(scale) X(min_scale)
#define TL__KERNELS_ENCODE(X)                                                                      \
    X(quote_ident) X(quote_literal) X(quote_nullable) X(format) X(ascii) X(chr) X(translate)       \
    X(overlay) X(to_hex) X(md5) X(sha256)
#define TL__KERNELS_REGEX(X)                                                                       \
    X(regex) X(regex_fold) X(regex_not) X(regex_fold_not) X(regexp_like) X(regexp_count)           \
    X(regexp_substr) X(regexp_instr) X(substring_regex) X(regexp_replace) X(regexp_match)          \
    X(regexp_split) X(similar_to)
#define TL__KERNELS_ARRAY(X)                                                                       \
    X(array) X(array_join) X(array_edit) X(array_subscript) X(array_slice) X(cardinality) X(array_length)         \
    X(array_lower) X(array_upper) X(array_ndims) X(array_position) X(eq_any) X(ne_any) X(lt_any)   \
    X(le_any) X(gt_any) X(ge_any) X(eq_all) X(ne_all) X(lt_all) X(le_all) X(gt_all) X(ge_all)      \
    X(array_contains) X(array_contained) X(array_overlaps) X(cast_array_text) X(cast_text_array)   \
    X(cast_array) X(string_to_array) X(array_to_string)
#define TL__KERNELS_CIVIL(X)                                                                       \
    X(age) X(justify_hours) X(justify_days) X(justify_interval) X(make_date) X(make_timestamp)     \
    X(make_timestamptz) X(make_interval) X(is_finite) X(overlaps) X(count_true)
#define TL__KERNELS_CATALOG(X)                                                                     \
    X(regclass_text) X(regtype_text) X(regproc_text) X(regnamespace_text) X(regrole_text)          \
    X(to_regclass) X(to_regtype) X(to_regproc) X(to_regnamespace) X(to_regrole) X(format_type)     \
    X(pg_get_expr) X(pg_get_viewdef) X(pg_get_indexdef) X(pg_get_constraintdef) X(catalog_null)    \
    X(pg_get_function_arguments) X(pg_get_function_result) X(pg_get_userbyid)                      \
    X(pg_table_is_visible) X(pg_type_is_visible) X(catalog_true) X(catalog_false)                  \
    X(has_privilege) X(has_table_privilege) X(current_schemas) X(current_schema) X(current_user)   \
    X(current_database) X(version) X(current_setting) X(set_config) X(pg_backend_pid)              \
    X(pg_postmaster_start_time) X(txid_current) X(catalog_zero) X(inet_server_port)                \
    X(inet_client_port) X(inet_server_addr) X(inet_client_addr) X(pg_encoding_to_char)             \
    X(pg_char_to_encoding) X(json_text) X(json_object) X(gather_text) X(gather_array) X(pg_client_encoding) X(pg_relation_size) X(pg_database_size) X(pg_size_pretty)
/* clang-format on */

#define TL__DECLARE(name) TL__KERNEL_DECLARE(name);
TL__KERNELS_COMPARE(TL__DECLARE)
TL__KERNELS_ARITHMETIC(TL__DECLARE)
TL__KERNELS_DECIMAL(TL__DECLARE)
TL__KERNELS_TEXT(TL__DECLARE)
TL__KERNELS_TIME(TL__DECLARE)
TL__KERNELS_CAST(TL__DECLARE)
TL__KERNELS_MATH(TL__DECLARE)
TL__KERNELS_ENCODE(TL__DECLARE)
TL__KERNELS_REGEX(TL__DECLARE)
TL__KERNELS_ARRAY(TL__DECLARE)
TL__KERNELS_CIVIL(TL__DECLARE)
TL__KERNELS_CATALOG(TL__DECLARE)
#undef TL__DECLARE

/* ---- result types that depend on scales ---- */
struct tl_type tl__type_decimal_sum(const struct tl_type *args, uint32_t arg_count);
struct tl_type tl__type_decimal_product(const struct tl_type *args, uint32_t arg_count);
struct tl_type tl__type_decimal_quotient(const struct tl_type *args, uint32_t arg_count);
struct tl_type tl__type_first(const struct tl_type *args, uint32_t arg_count);
struct tl_type tl__type_widest(const struct tl_type *args, uint32_t arg_count);
struct tl_type tl__type_second(const struct tl_type *args, uint32_t arg_count);
struct tl_type tl__type_element(const struct tl_type *args, uint32_t arg_count);
struct tl_type tl__type_array(const struct tl_type *args, uint32_t arg_count);
struct tl_type tl__type_texts(const struct tl_type *args, uint32_t arg_count);
struct tl_type tl__type_names(const struct tl_type *args, uint32_t arg_count);
struct tl_type tl__type_extract(const struct tl_type *args, uint32_t arg_count);

#endif
