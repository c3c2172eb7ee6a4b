/*
 * The table of functions. A family of overloads that differ in their kinds only is written by a
 * macro; rows of one name need not stand together. Lookups go through a small hash index over
 * the names that is built once.
 */
#include "query/function.h"

#include <stdatomic.h>
#include <string.h>

#include "query/decimal_int.h"
#include "query/function_int.h"

enum {
    B = TL_BOOLEAN,
    I = TL_BIGINT,
    F = TL_DOUBLE,
    D64 = TL_DECIMAL64,
    D = TL_DECIMAL128,
    DATE = TL_DATE,
    TS = TL_TIMESTAMP,
    TZ = TL_TIMESTAMPTZ,
    IV = TL_INTERVAL,
    X = TL_TEXT,
    A = TL_ARRAY,
    ANY = TL_KIND_ANY
};

#define ARGS(...)                                                                                  \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }
#define COUNT(...) ((uint8_t)(sizeof((uint8_t[]){__VA_ARGS__})))

/* name, kernel, result kind, argument kinds …: strict and immutable */
#define PURE(n, k, r, ...)                                                                         \
    {                                                                                              \
        .name = (n), .arg_count = COUNT(__VA_ARGS__), .args = ARGS(__VA_ARGS__), .result = (r),    \
        .strict = true, .immutable = true, .kernel = tl__k_##k                                     \
    }
/* the same with a result type that follows from scales */
#define SCALED(n, k, r, rt, ...)                                                                   \
    {                                                                                              \
        .name = (n), .arg_count = COUNT(__VA_ARGS__), .args = ARGS(__VA_ARGS__), .result = (r),    \
        .result_type = tl__type_##rt, .strict = true, .immutable = true, .kernel = tl__k_##k       \
    }
/* integers: the result is as narrow as the widest argument */
#define WHOLE(n, k, ...)                                                                           \
    {                                                                                              \
        .name = (n), .arg_count = COUNT(__VA_ARGS__), .args = ARGS(__VA_ARGS__), .result = I,      \
        .flavour = TL_FLAVOUR_WIDEST, .strict = true, .immutable = true, .kernel = tl__k_##k       \
    }
/* a result that PostgreSQL calls INTEGER */
#define INT4(n, k, ...)                                                                            \
    {                                                                                              \
        .name = (n), .arg_count = COUNT(__VA_ARGS__), .args = ARGS(__VA_ARGS__), .result = I,      \
        .flavour = TL_FLAVOUR_INT4, .strict = true, .immutable = true, .kernel = tl__k_##k         \
    }
/* depends on the session's zone or on now() */
#define STABLE(n, k, r, ...)                                                                       \
    {                                                                                              \
        .name = (n), .arg_count = COUNT(__VA_ARGS__), .args = ARGS(__VA_ARGS__), .result = (r),    \
        .strict = true, .kernel = tl__k_##k                                                        \
    }
/* sees NULLs itself */
#define NULLISH(n, k, r, rt, var, ...)                                                             \
    {                                                                                              \
        .name = (n), .arg_count = COUNT(__VA_ARGS__), .args = ARGS(__VA_ARGS__),                   \
        .variadic = (var), .result = (r), .result_type = (rt), .immutable = true,                  \
        .kernel = tl__k_##k                                                                        \
    }

#define COMPARISONS(k)                                                                             \
    PURE("=", eq, B, k, k), PURE("<>", ne, B, k, k), PURE("<", lt, B, k, k),                       \
        PURE("<=", le, B, k, k), PURE(">", gt, B, k, k), PURE(">=", ge, B, k, k),                  \
        NULLISH("is_distinct", is_distinct, B, NULL, false, k, k),                                 \
        NULLISH("nullif", nullif, k, tl__type_first, false, k, k),                                 \
        NULLISH("greatest", greatest, k, tl__type_widest, true, k),                                \
        NULLISH("least", least, k, tl__type_widest, true, k)

#define CAST(from, to, k)        PURE("cast", k, to, from)
#define CAST_STABLE(from, to, k) STABLE("cast", k, to, from)

static const struct tl_function functions[] = {
    COMPARISONS(B),
    COMPARISONS(I),
    COMPARISONS(F),
    COMPARISONS(D64),
    COMPARISONS(D),
    COMPARISONS(DATE),
    COMPARISONS(TS),
    COMPARISONS(TZ),
    COMPARISONS(IV),
    COMPARISONS(X),

    /* BIGINT */
    WHOLE("+", add_int, I, I),
    WHOLE("-", sub_int, I, I),
    WHOLE("*", mul_int, I, I),
    WHOLE("/", div_int, I, I),
    WHOLE("%", mod_int, I, I),
    WHOLE("mod", mod_int, I, I),
    WHOLE("-", neg_int, I),
    WHOLE("abs", abs_int, I),
    INT4("int4", int4, I),
    PURE("int2", int2, I, I),

    /* DOUBLE */
    PURE("+", add_double, F, F, F),
    PURE("-", sub_double, F, F, F),
    PURE("*", mul_double, F, F, F),
    PURE("/", div_double, F, F, F),
    PURE("-", neg_double, F, F),
    PURE("abs", abs_double, F, F),
    PURE("ceil", ceil_double, F, F),
    PURE("ceiling", ceil_double, F, F),
    PURE("floor", floor_double, F, F),
    PURE("round", round_double, F, F),
    PURE("trunc", trunc_double, F, F),
    PURE("sign", sign_double, F, F),
    PURE("sqrt", sqrt, F, F),
    PURE("ln", ln, F, F),
    PURE("log", log10, F, F),
    PURE("log10", log10, F, F),
    PURE("exp", exp, F, F),
    PURE("power", power, F, F, F),
    PURE("pow", power, F, F, F),
    PURE("^", power, F, F, F),
    PURE("float4", float4, F, F),

/* DECIMAL, stored and computed; the kernels read the kinds */
#define DECIMALS(k)                                                                                \
    SCALED("+", add_decimal, D, decimal_sum, k, k),                                                \
        SCALED("-", sub_decimal, D, decimal_sum, k, k),                                            \
        SCALED("*", mul_decimal, D, decimal_product, k, k),                                        \
        SCALED("/", div_decimal, D, decimal_quotient, k, k),                                       \
        SCALED("%", mod_decimal, D, decimal_sum, k, k),                                            \
        SCALED("mod", mod_decimal, D, decimal_sum, k, k), SCALED("-", neg_decimal, k, first, k),   \
        SCALED("abs", abs_decimal, k, first, k), PURE("sign", sign_decimal, D, k),                 \
        PURE("ceil", ceil_decimal, D, k), PURE("ceiling", ceil_decimal, D, k),                     \
        PURE("floor", floor_decimal, D, k), PURE("round", round_decimal, D, k),                    \
        PURE("trunc", trunc_decimal, D, k), SCALED("round", round_decimal, D, decimal_sum, k, I),  \
        SCALED("trunc", trunc_decimal, D, decimal_sum, k, I)
    DECIMALS(D64),
    DECIMALS(D),
#undef DECIMALS

    /* TEXT */
    PURE("||", text_concat2, X, X, X),
    PURE("like", like, B, X, X),
    PURE("like", like, B, X, X, X),
    PURE("ilike", ilike, B, X, X),
    PURE("ilike", ilike, B, X, X, X),
    PURE("lower", lower, X, X),
    PURE("upper", upper, X, X),
    PURE("initcap", initcap, X, X),
    INT4("length", char_length, X),
    INT4("char_length", char_length, X),
    INT4("character_length", char_length, X),
    INT4("octet_length", octet_length, X),
    PURE("substr", substr, X, X, I),
    PURE("substr", substr, X, X, I, I),
    PURE("substring", substr, X, X, I),
    PURE("substring", substr, X, X, I, I),
    PURE("split_part", split_part, X, X, X, I),
    NULLISH("concat", concat, X, NULL, true, X),
    NULLISH("concat_ws", concat_ws, X, NULL, true, X, X),
    PURE("left", left, X, X, I),
    PURE("right", right, X, X, I),
    PURE("trim", btrim, X, X),
    PURE("trim", btrim, X, X, X),
    PURE("btrim", btrim, X, X),
    PURE("btrim", btrim, X, X, X),
    PURE("ltrim", ltrim, X, X),
    PURE("ltrim", ltrim, X, X, X),
    PURE("rtrim", rtrim, X, X),
    PURE("rtrim", rtrim, X, X, X),
    PURE("replace", replace, X, X, X, X),
    INT4("strpos", strpos, X, X),
    INT4("position", strpos, X, X),
    PURE("starts_with", starts_with, B, X, X),
    PURE("^@", starts_with, B, X, X),
    PURE("reverse", reverse, X, X),
    PURE("repeat", repeat, X, X, I),
    PURE("lpad", lpad, X, X, I),
    PURE("lpad", lpad, X, X, I, X),
    PURE("rpad", rpad, X, X, I),
    PURE("rpad", rpad, X, X, I, X),

    /* dates, times, intervals */
    PURE("+", date_plus_int, DATE, DATE, I),
    PURE("+", int_plus_date, DATE, I, DATE),
    PURE("-", date_minus_int, DATE, DATE, I),
    INT4("-", date_minus_date, DATE, DATE),
    PURE("+", date_plus_interval, TS, DATE, IV),
    PURE("+", interval_plus_date, TS, IV, DATE),
    PURE("-", date_minus_interval, TS, DATE, IV),
    PURE("+", ts_plus_interval, TS, TS, IV),
    PURE("+", interval_plus_ts, TS, IV, TS),
    PURE("-", ts_minus_interval, TS, TS, IV),
    PURE("-", ts_minus_ts, IV, TS, TS),
    STABLE("+", ts_plus_interval, TZ, TZ, IV),
    STABLE("+", interval_plus_ts, TZ, IV, TZ),
    STABLE("-", ts_minus_interval, TZ, TZ, IV),
    PURE("-", ts_minus_ts, IV, TZ, TZ),
    PURE("+", add_interval, IV, IV, IV),
    PURE("-", sub_interval, IV, IV, IV),
    PURE("-", neg_interval, IV, IV),
    PURE("*", interval_times, IV, IV, F),
    PURE("*", times_interval, IV, F, IV),
    PURE("/", interval_over, IV, IV, F),
    PURE("date_trunc", date_trunc, TS, X, TS),
    STABLE("date_trunc", date_trunc, TZ, X, TZ),
    PURE("date_trunc", date_trunc, TZ, X, TZ, X),
    PURE("date_trunc", date_trunc_interval, IV, X, IV),
    PURE("time_bucket", time_bucket, TS, IV, TS),
    PURE("time_bucket", time_bucket, TS, IV, TS, TS),
    PURE("time_bucket", time_bucket, TS, IV, TS, IV),
    PURE("time_bucket", time_bucket, TZ, IV, TZ),
    PURE("time_bucket", time_bucket, TZ, IV, TZ, TZ),
    PURE("time_bucket", time_bucket, TZ, IV, TZ, IV),
    PURE("time_bucket", time_bucket, TZ, IV, TZ, X),
    PURE("time_bucket", time_bucket, TZ, IV, TZ, X, TZ),
    PURE("time_bucket", time_bucket_date, DATE, IV, DATE),
    PURE("time_bucket", time_bucket_date, DATE, IV, DATE, DATE),
    PURE("time_bucket", time_bucket_int, I, I, I),
    PURE("time_bucket", time_bucket_int, I, I, I, I),
    PURE("date_bin", date_bin, TS, IV, TS, TS),
    PURE("date_bin", date_bin, TZ, IV, TZ, TZ),
    SCALED("extract", extract, D, extract, X, DATE),
    SCALED("extract", extract, D, extract, X, TS),
    SCALED("extract", extract, D, extract, X, IV),
    {.name = "extract",
     .arg_count = 2,
     .args = {X, TZ},
     .result = D,
     .result_type = tl__type_extract,
     .strict = true,
     .kernel = tl__k_extract},
    PURE("date_part", date_part, F, X, DATE),
    PURE("date_part", date_part, F, X, TS),
    PURE("date_part", date_part, F, X, IV),
    STABLE("date_part", date_part, F, X, TZ),
    PURE("timezone", timezone_local, TS, X, TZ),
    PURE("timezone", timezone_utc, TZ, X, TS),
    {.name = "now", .arg_count = 0, .result = TZ, .strict = true, .kernel = tl__k_now},
    PURE("to_timestamp", to_timestamp, TZ, F),

/* casts from and to the same kind change a decimal's scale, or nothing */
#define CAST_NULL(k) CAST(TL_NULL, k, cast_null)
    CAST_NULL(B),
    CAST_NULL(I),
    CAST_NULL(F),
    CAST_NULL(D64),
    CAST_NULL(D),
    CAST_NULL(DATE),
    CAST_NULL(TS),
    CAST_NULL(TZ),
    CAST_NULL(IV),
    CAST_NULL(X),
    CAST(B, B, cast_same),
    CAST(I, I, cast_same),
    CAST(F, F, cast_same),
    CAST(DATE, DATE, cast_same),
    CAST(TS, TS, cast_same),
    CAST(TZ, TZ, cast_same),
    CAST(IV, IV, cast_same),
    CAST(X, X, cast_same),
    CAST(B, I, cast_bool_int),
    CAST(I, B, cast_int_bool),
    CAST(I, F, cast_int_double),
    CAST(F, I, cast_double_int),
    CAST(I, D64, cast_int_decimal),
    CAST(I, D, cast_int_decimal),
    CAST(D64, I, cast_decimal_int),
    CAST(D, I, cast_decimal_int),
    CAST(F, D64, cast_double_decimal),
    CAST(F, D, cast_double_decimal),
    CAST(D64, F, cast_decimal_double),
    CAST(D, F, cast_decimal_double),
    CAST(D64, D64, cast_decimal),
    CAST(D64, D, cast_decimal),
    CAST(D, D64, cast_decimal),
    CAST(D, D, cast_decimal),
    CAST(DATE, TS, cast_date_ts),
    CAST(TS, DATE, cast_ts_date),
    CAST_STABLE(DATE, TZ, cast_date_tstz),
    CAST_STABLE(TZ, DATE, cast_tstz_date),
    CAST_STABLE(TS, TZ, cast_ts_tstz),
    CAST_STABLE(TZ, TS, cast_tstz_ts),
    CAST(B, X, cast_to_text),
    CAST(I, X, cast_to_text),
    CAST(F, X, cast_to_text),
    CAST(D64, X, cast_to_text),
    CAST(D, X, cast_to_text),
    CAST(DATE, X, cast_to_text),
    CAST(TS, X, cast_to_text),
    CAST_STABLE(TZ, X, cast_to_text),
    CAST(IV, X, cast_to_text),
    CAST(X, B, cast_from_text),
    CAST(X, I, cast_from_text),
    CAST(X, F, cast_from_text),
    CAST(X, D64, cast_from_text),
    CAST(X, D, cast_from_text),
    CAST(X, DATE, cast_from_text),
    CAST(X, TS, cast_from_text),
    CAST_STABLE(X, TZ, cast_from_text),
    CAST(X, IV, cast_from_text),

    /* trigonometry and more of arithmetic */
    PURE("cbrt", cbrt, F, F),
    PURE("degrees", degrees, F, F),
    PURE("radians", radians, F, F),
    PURE("sin", sin, F, F),
    PURE("cos", cos, F, F),
    PURE("tan", tan, F, F),
    PURE("cot", cot, F, F),
    PURE("asin", asin, F, F),
    PURE("acos", acos, F, F),
    PURE("atan", atan, F, F),
    PURE("sinh", sinh, F, F),
    PURE("cosh", cosh, F, F),
    PURE("tanh", tanh, F, F),
    PURE("asinh", asinh, F, F),
    PURE("acosh", acosh, F, F),
    PURE("atanh", atanh, F, F),
    PURE("atan2", atan2, F, F, F),
    {.name = "pi", .result = F, .strict = true, .immutable = true, .kernel = tl__k_pi},
    PURE("log", log_base, F, F, F),
    INT4("width_bucket", width_bucket, F, F, F, I),
    WHOLE("&", bit_and, I, I),
    WHOLE("|", bit_or, I, I),
    WHOLE("#", bit_xor, I, I),
    WHOLE("~", bit_not, I),
    PURE("<<", shift_left, I, I, I),
    PURE(">>", shift_right, I, I, I),
    WHOLE("gcd", gcd, I, I),
    WHOLE("lcm", lcm, I, I),
    PURE("factorial", factorial, D, I),
    PURE("div", div_whole, D, D, D),
    INT4("scale", scale, D),
    INT4("min_scale", min_scale, D),

    /* texts in other forms */
    PURE("quote_ident", quote_ident, X, X),
    PURE("quote_literal", quote_literal, X, X),
    NULLISH("quote_nullable", quote_nullable, X, NULL, false, X),
    NULLISH("format", format, X, NULL, true, X),
    INT4("ascii", ascii, X),
    PURE("chr", chr, X, I),
    PURE("translate", translate, X, X, X, X),
    PURE("overlay", overlay, X, X, X, I),
    PURE("overlay", overlay, X, X, X, I, I),
    PURE("to_hex", to_hex, X, I),
    PURE("md5", md5, X, X),
    PURE("sha256", sha256, X, X),

    /* regular expressions */
    PURE("~", regex, B, X, X),
    PURE("~*", regex_fold, B, X, X),
    PURE("!~", regex_not, B, X, X),
    PURE("!~*", regex_fold_not, B, X, X),
    PURE("similar_to_escape", similar_to, X, X),
    PURE("similar_to_escape", similar_to, X, X, X),
    PURE("regexp_like", regexp_like, B, X, X),
    PURE("regexp_like", regexp_like, B, X, X, X),
    INT4("regexp_count", regexp_count, X, X),
    INT4("regexp_count", regexp_count, X, X, I),
    INT4("regexp_count", regexp_count, X, X, I, X),
    PURE("regexp_substr", regexp_substr, X, X, X),
    PURE("regexp_substr", regexp_substr, X, X, X, I),
    PURE("regexp_substr", regexp_substr, X, X, X, I, I),
    PURE("regexp_substr", regexp_substr, X, X, X, I, I, X),
    PURE("regexp_substr", regexp_substr, X, X, X, I, I, X, I),
    INT4("regexp_instr", regexp_instr, X, X),
    INT4("regexp_instr", regexp_instr, X, X, I),
    INT4("regexp_instr", regexp_instr, X, X, I, I),
    INT4("regexp_instr", regexp_instr, X, X, I, I, I),
    INT4("regexp_instr", regexp_instr, X, X, I, I, I, X),
    INT4("regexp_instr", regexp_instr, X, X, I, I, I, X, I),
    PURE("substring", substring_regex, X, X, X),
    PURE("regexp_replace", regexp_replace, X, X, X, X),
    PURE("regexp_replace", regexp_replace, X, X, X, X, X),
    PURE("regexp_replace", regexp_replace, X, X, X, X, I),
    PURE("regexp_replace", regexp_replace, X, X, X, X, I, I),
    PURE("regexp_replace", regexp_replace, X, X, X, X, I, I, X),
    SCALED("regexp_match", regexp_match, A, texts, X, X),
    SCALED("regexp_match", regexp_match, A, texts, X, X, X),
    SCALED("regexp_split_to_array", regexp_split, A, texts, X, X),
    SCALED("regexp_split_to_array", regexp_split, A, texts, X, X, X),

    /* arrays; names that begin with $ stand for what has a syntax of its own */
    COMPARISONS(A),
    NULLISH("$array", array, A, tl__type_array, true, ANY),
    SCALED("$subscript", array_subscript, X, element, A, I),
    SCALED("$slice", array_slice, A, first, A, I, I),
    NULLISH("||", array_join, A, tl__type_first, false, A, A),
    NULLISH("||", array_join, A, tl__type_first, false, A, ANY),
    NULLISH("||", array_join, A, tl__type_second, false, ANY, A),
    NULLISH("array_cat", array_join, A, tl__type_first, false, A, A),
    NULLISH("array_append", array_join, A, tl__type_first, false, A, ANY),
    NULLISH("array_prepend", array_join, A, tl__type_second, false, ANY, A),
    NULLISH("array_remove", array_edit, A, tl__type_first, false, A, ANY),
    NULLISH("array_replace", array_edit, A, tl__type_first, false, A, ANY, ANY),
    INT4("cardinality", cardinality, A),
    INT4("array_length", array_length, A, I),
    INT4("array_lower", array_lower, A, I),
    INT4("array_upper", array_upper, A, I),
    INT4("array_ndims", array_ndims, A),
    NULLISH("array_position", array_position, I, NULL, false, A, ANY),
    PURE("@>", array_contains, B, A, A),
    PURE("<@", array_contained, B, A, A),
    PURE("&&", array_overlaps, B, A, A),
    NULLISH("$any=", eq_any, B, NULL, false, ANY, A),
    NULLISH("$any<>", ne_any, B, NULL, false, ANY, A),
    NULLISH("$any<", lt_any, B, NULL, false, ANY, A),
    NULLISH("$any<=", le_any, B, NULL, false, ANY, A),
    NULLISH("$any>", gt_any, B, NULL, false, ANY, A),
    NULLISH("$any>=", ge_any, B, NULL, false, ANY, A),
    NULLISH("$all=", eq_all, B, NULL, false, ANY, A),
    NULLISH("$all<>", ne_all, B, NULL, false, ANY, A),
    NULLISH("$all<", lt_all, B, NULL, false, ANY, A),
    NULLISH("$all<=", le_all, B, NULL, false, ANY, A),
    NULLISH("$all>", gt_all, B, NULL, false, ANY, A),
    NULLISH("$all>=", ge_all, B, NULL, false, ANY, A),
    NULLISH("string_to_array", string_to_array, A, tl__type_texts, false, X, X),
    NULLISH("string_to_array", string_to_array, A, tl__type_texts, false, X, X, X),
    NULLISH("array_to_string", array_to_string, X, NULL, false, A, X),
    NULLISH("array_to_string", array_to_string, X, NULL, false, A, X, X),
    CAST_NULL(A),
    CAST_STABLE(A, X, cast_array_text),
    CAST_STABLE(X, A, cast_text_array),
    CAST_STABLE(A, A, cast_array),

    NULLISH("$gather", gather_text, X, NULL, false, A, X),
    PURE("$json_text", json_text, X, X),
    NULLISH("$json_object", json_object, X, NULL, true, X),
    NULLISH("$gather", gather_array, A, tl__type_first, false, A),

#include "query/function_civil_rows.inc"

/* over the catalogs, and about the session */
#include "query/function_catalog_rows.inc"
};
#undef CAST_NULL

enum { FUNCTION_COUNT = sizeof(functions) / sizeof(functions[0]), INDEX_SIZE = 4096 };
_Static_assert(FUNCTION_COUNT * 2 < INDEX_SIZE, "the index stays sparse");

const struct tl_function *tl_functions(uint32_t *count)
{
    *count = FUNCTION_COUNT;
    return functions;
}

static bool kinds_fit(const struct tl_function *f, const struct tl_type *args, uint32_t arg_count)
{
    if (f->variadic ? arg_count < f->arg_count : arg_count != f->arg_count)
        return false;
    for (uint32_t i = 0; i < arg_count; i++) {
        uint32_t at = i < f->arg_count ? i : f->arg_count - 1u;
        if (args[i].kind != f->args[at] && f->args[at] != TL_KIND_ANY)
            return false;
    }
    return true;
}

static uint32_t name_hash(const char *name)
{
    uint32_t h = 2166136261u;
    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * 16777619u;
    return h ^ h >> 15;
}

/* Chains of equal hash: heads[h] and next[i] are row + 1, 0 the end. Built by whoever comes first;
 * threads that come at the same time build the same and the last store wins. */
static _Atomic uint16_t heads[INDEX_SIZE];
static _Atomic uint16_t next_row[FUNCTION_COUNT];
static _Atomic bool indexed;

static void build_index(void)
{
    if (atomic_load_explicit(&indexed, memory_order_acquire))
        return;
    static atomic_flag building = ATOMIC_FLAG_INIT;
    while (atomic_flag_test_and_set_explicit(&building, memory_order_acquire))
        ;
    if (!atomic_load_explicit(&indexed, memory_order_acquire)) {
        for (uint32_t i = FUNCTION_COUNT; i-- > 0;) {
            uint32_t h = name_hash(functions[i].name) % INDEX_SIZE;
            next_row[i] = heads[h];
            heads[h] = (uint16_t)(i + 1);
        }
        atomic_store_explicit(&indexed, true, memory_order_release);
    }
    atomic_flag_clear_explicit(&building, memory_order_release);
}

const struct tl_function *tl_function_find(const char *name, const struct tl_type *args,
                                           uint32_t arg_count)
{
    build_index();
    uint32_t h = name_hash(name) % INDEX_SIZE;
    for (uint32_t at = atomic_load_explicit(&heads[h], memory_order_relaxed); at;
         at = atomic_load_explicit(&next_row[at - 1], memory_order_relaxed)) {
        const struct tl_function *f = &functions[at - 1];
        if (strcmp(f->name, name) == 0 && kinds_fit(f, args, arg_count))
            return f;
    }
    return NULL;
}

const struct tl_function *tl_function_cast(struct tl_type from, struct tl_type to)
{
    build_index();
    uint32_t h = name_hash("cast") % INDEX_SIZE;
    for (uint32_t at = atomic_load_explicit(&heads[h], memory_order_relaxed); at;
         at = atomic_load_explicit(&next_row[at - 1], memory_order_relaxed)) {
        const struct tl_function *f = &functions[at - 1];
        if (f->args[0] == from.kind && f->result == to.kind && strcmp(f->name, "cast") == 0)
            return f;
    }
    return NULL;
}

enum tl__compare_op tl__function_compare_op(const struct tl_function *f)
{
    static tl_kernel *const kernels[] = {
        [TL__EQ] = tl__k_eq, [TL__NE] = tl__k_ne, [TL__LT] = tl__k_lt,
        [TL__LE] = tl__k_le, [TL__GT] = tl__k_gt, [TL__GE] = tl__k_ge,
    };
    for (int op = TL__EQ; op < TL__NO_COMPARISON; op++) {
        if (f->kernel == kernels[op])
            return (enum tl__compare_op)op;
    }
    return TL__NO_COMPARISON;
}

void tl_functions_check(void)
{
    for (uint32_t i = 0; i < FUNCTION_COUNT; i++) {
        const struct tl_function *f = &functions[i];
        tl_assert(f->name != NULL && f->name[0] != 0);
        tl_assert(f->kernel != NULL);
        tl_assert(f->arg_count <= TL_FUNCTION_ARGS_MAX);
        tl_assert(!f->variadic || f->arg_count > 0);
        tl_assert(f->result > TL_NULL && f->result != TL_PROPS && f->result < TL_KIND_COUNT);
        for (uint32_t a = 0; a < f->arg_count; a++)
            tl_assert(f->args[a] == TL_KIND_ANY ||
                      (f->args[a] != TL_PROPS && f->args[a] < TL_KIND_COUNT));
        for (uint32_t j = 0; j < i; j++) {
            const struct tl_function *g = &functions[j];
            bool alike = strcmp(f->name, g->name) == 0 && f->arg_count == g->arg_count &&
                         memcmp(f->args, g->args, f->arg_count) == 0 && f->result == g->result;
            tl_assert(!alike);
        }
    }
}

/* ---- shared by the kernels ---- */

void *tl__out(struct tl__call *c, size_t width)
{
    bool constant = true;
    for (uint32_t a = 0; a < c->arg_count; a++)
        constant = constant && c->args[a].shape == TL_CONST;
    c->out->validity = NULL;
    if (constant) {
        c->out->shape = TL_CONST;
        c->rows = 1;
        c->sel = NULL;
        c->n = c->n ? 1 : 0;
    } else {
        c->out->shape = TL_FLAT;
    }
    size_t bytes = width * (c->rows ? c->rows : 1);
    void *data = tl_arena_alloc(c->ctx->arena, bytes, c->st);
    c->out->data = data;
    return data;
}

uint64_t *tl__out_validity(struct tl__call *c)
{
    size_t bytes = sizeof(uint64_t) * tl_bit_words(c->rows ? c->rows : 1);
    uint64_t *bits = tl_arena_alloc(c->ctx->arena, bytes, c->st);
    if (bits)
        memset(bits, 0xff, bytes);
    c->out->validity = bits;
    return bits;
}

/* ---- result types ---- */

static uint8_t min_scale(uint32_t a, uint32_t b)
{
    return (uint8_t)(a < b ? a : b);
}

struct tl_type tl__type_decimal_sum(const struct tl_type *args, uint32_t arg_count)
{
    uint8_t scale = args[0].scale;
    if (arg_count > 1 && args[1].scale > scale)
        scale = args[1].scale;
    return (struct tl_type){TL_DECIMAL128, scale};
}

struct tl_type tl__type_decimal_product(const struct tl_type *args, uint32_t arg_count)
{
    tl_assert(arg_count == 2);
    return (struct tl_type){TL_DECIMAL128, min_scale((uint32_t)args[0].scale + args[1].scale, 38)};
}

/* PostgreSQL aims at 16 significant digits per value, which gives ratios below one 20 decimals;
 * a column of ours has one scale, so it takes these 20. */
struct tl_type tl__type_decimal_quotient(const struct tl_type *args, uint32_t arg_count)
{
    tl_assert(arg_count == 2);
    uint8_t scale = 20;
    for (uint32_t i = 0; i < arg_count; i++)
        scale = args[i].scale > scale ? args[i].scale : scale;
    return (struct tl_type){TL_DECIMAL128, scale};
}

struct tl_type tl__type_first(const struct tl_type *args, uint32_t arg_count)
{
    tl_assert(arg_count > 0);
    return args[0];
}

struct tl_type tl__type_second(const struct tl_type *args, uint32_t arg_count)
{
    tl_assert(arg_count > 1);
    return args[1];
}

struct tl_type tl__type_element(const struct tl_type *args, uint32_t arg_count)
{
    tl_assert(arg_count > 0 && args[0].kind == TL_ARRAY);
    return tl_type_element(args[0]);
}

struct tl_type tl__type_array(const struct tl_type *args, uint32_t arg_count)
{
    tl_assert(arg_count > 0);
    return tl_type_array(args[0]);
}

struct tl_type tl__type_texts(const struct tl_type *args, uint32_t arg_count)
{
    (void)args;
    (void)arg_count;
    return tl_type_array(tl_type_of(TL_TEXT));
}

struct tl_type tl__type_names(const struct tl_type *args, uint32_t arg_count)
{
    (void)args;
    (void)arg_count;
    return tl_type_array(tl_type_flavoured(TL_TEXT, TL_FLAVOUR_NAME));
}

struct tl_type tl__type_widest(const struct tl_type *args, uint32_t arg_count)
{
    struct tl_type t = args[0];
    for (uint32_t i = 1; i < arg_count; i++)
        t.scale = args[i].scale > t.scale ? args[i].scale : t.scale;
    return t;
}

struct tl_type tl__type_extract(const struct tl_type *args, uint32_t arg_count)
{
    tl_assert(arg_count == 2 && args[0].kind == TL_TEXT);
    return (struct tl_type){TL_DECIMAL128, 6};
}

struct tl_type tl_sum_type(struct tl_type arg)
{
    switch (arg.kind) {
    case TL_DOUBLE:
    case TL_INTERVAL:
        return arg;
    default:
        return (struct tl_type){TL_DECIMAL128, arg.scale};
    }
}

struct tl_type tl_avg_type(struct tl_type arg)
{
    switch (arg.kind) {
    case TL_DOUBLE:
    case TL_INTERVAL:
        return arg;
    default:
        return (struct tl_type){TL_DECIMAL128, arg.scale > 16 ? arg.scale : 16};
    }
}

bool tl_sum_value(tl_i128 sum, struct tl_type arg, tl_i128 *out)
{
    return tl__decimal_rescale(sum, arg.scale, tl_sum_type(arg).scale, out);
}

bool tl_avg_value(tl_i128 sum, uint64_t n, struct tl_type arg, tl_i128 *out)
{
    return tl__decimal_divide(sum, arg.scale, (tl_i128)n, 0, tl_avg_type(arg).scale, out);
}
