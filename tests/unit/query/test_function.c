/*
 * Promise: every kernel answers as PostgreSQL does, on the edges too, whatever the shape of its
 * arguments, and touches only the rows that it is asked for.
 * Method: a table of calls (arguments and results as texts). Each is evaluated three times: all
 * arguments constant, all flat with a selection in the middle, and mixed; neighbours of the
 * selected row hold values that would fail.
 */
#include "query/function.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/time.h"
#include "query/function_int.h"
#include "tests/test.h"

struct sample {
    const char *function;
    const char *args[4]; /* "I:5", "d2:1.50" (DECIMAL64 scale 2), "D4:…", "x:text", "I" is NULL */
    const char *result;  /* text, "NULL", or "!22003" */
};

static struct tl_type type_of(const char *arg)
{
    static const struct {
        char letter;
        uint8_t kind;
    } kinds[] = {{'B', TL_BOOLEAN},    {'I', TL_BIGINT}, {'F', TL_DOUBLE},    {'d', TL_DECIMAL64},
                 {'D', TL_DECIMAL128}, {'a', TL_DATE},   {'t', TL_TIMESTAMP}, {'z', TL_TIMESTAMPTZ},
                 {'v', TL_INTERVAL},   {'x', TL_TEXT}};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (kinds[i].letter == arg[0]) {
            unsigned scale =
                arg[1] >= '0' && arg[1] <= '9' ? (unsigned)strtoul(arg + 1, NULL, 10) : 0;
            return (struct tl_type){kinds[i].kind, (uint8_t)scale};
        }
    }
    fail_msg("no kind %s", arg);
    return tl_type_of(TL_NULL);
}

struct fixture {
    struct tl_arena arena;
    struct tl_eval_context ctx;
    struct tl_status st;
};

static void fixture_init(struct fixture *f)
{
    *f = (struct fixture){.st = TL_STATUS_INIT};
    tl_arena_init(&f->arena, NULL, 1 << 16);
    f->ctx = (struct tl_eval_context){.arena = &f->arena,
                                      .now_us = INT64_C(1700000000000000),
                                      .zone = tl_zone_utc(),
                                      .zone_name = "UTC"};
}

/* "x:abc" as a constant. */
static struct tl_vector parse_arg(struct fixture *f, const char *arg)
{
    static const uint64_t none[1] = {0};
    static const uint64_t zero[2] = {0};
    struct tl_type type = type_of(arg);
    const char *colon = strchr(arg, ':');
    struct tl_vector v = {.type = type, .shape = TL_CONST, .count = 1};
    if (!colon) {
        v.validity = none;
        v.data = zero;
        return v;
    }
    struct tl_slice *text = tl_arena_calloc(&f->arena, 1, sizeof(*text), &f->st);
    *text = tl_slice_str(colon + 1);
    struct tl_vector from = {
        .type = tl_type_of(TL_TEXT), .shape = TL_CONST, .count = 1, .data = text};
    const struct tl_function *cast = tl_function_cast(from.type, type);
    assert_non_null(cast);
    assert_ok(&f->st, cast->kernel(&f->ctx, &from, 1, 1, NULL, 1, &v, &f->st));
    return v;
}

/* The same value in row 1 of three, with something else around it. */
static struct tl_vector spread(struct fixture *f, const struct tl_vector *c)
{
    uint32_t width = tl_kind_width(c->type.kind);
    uint8_t *data = tl_arena_calloc(&f->arena, 3, width, &f->st);
    uint64_t *validity = tl_arena_calloc(&f->arena, 1, 8, &f->st);
    memcpy(data + width, c->data, width);
    *validity = tl_vector_valid(c, 0) ? 2 : 0;
    return (struct tl_vector){
        .type = c->type, .shape = TL_FLAT, .count = 3, .data = data, .validity = validity};
}

static void to_text(struct fixture *f, const struct tl_vector *v, uint32_t row, char *buf,
                    size_t size)
{
    if (!tl_vector_valid(v, row)) {
        snprintf(buf, size, "NULL");
        return;
    }
    struct tl_vector one = *v;
    one.shape = TL_CONST;
    one.count = 1;
    one.validity = NULL;
    one.data = (const uint8_t *)v->data +
               (v->shape == TL_CONST ? 0 : (size_t)row * tl_kind_width(v->type.kind));
    struct tl_vector text = {.type = tl_type_of(TL_TEXT), .count = 1};
    const struct tl_function *cast = tl_function_cast(v->type, text.type);
    assert_non_null(cast);
    assert_ok(&f->st, cast->kernel(&f->ctx, &one, 1, 1, NULL, 1, &text, &f->st));
    struct tl_slice s = *(const struct tl_slice *)text.data;
    snprintf(buf, size, "%.*s", (int)s.size, s.size ? (const char *)s.data : "");
}

/* mask bit a: argument a is flat. */
static void evaluate(struct fixture *f, const struct sample *s, unsigned mask, char *buf,
                     size_t size)
{
    struct tl_vector args[4];
    struct tl_type types[4];
    uint32_t n = 0;
    bool null = false;
    tl_status_clear(&f->st);
    for (; n < 4 && s->args[n]; n++) {
        args[n] = parse_arg(f, s->args[n]);
        types[n] = args[n].type;
        null = null || !tl_vector_valid(&args[n], 0);
        if (mask >> n & 1)
            args[n] = spread(f, &args[n]);
        else
            args[n].count = 3;
    }
    const struct tl_function *function;
    struct tl_type result;
    if (strncmp(s->function, "cast ", 5) == 0) {
        result = type_of(s->function + 5);
        function = tl_function_cast(types[0], result);
    } else {
        function = tl_function_find(s->function, types, n);
        result = tl_type_of(TL_NULL);
    }
    if (!function)
        fail_msg("no function %s(%s …)", s->function, s->args[0]);
    if (result.kind == TL_NULL)
        result =
            function->result_type ? function->result_type(types, n) : tl_type_of(function->result);
    if (function->strict && null) {
        snprintf(buf, size, "NULL");
        return;
    }
    static const uint16_t middle[] = {1};
    struct tl_vector out = {.type = result, .count = 3};
    enum tl_code rc = function->kernel(&f->ctx, args, n, 3, middle, 1, &out, &f->st);
    if (rc) {
        snprintf(buf, size, "!%s", tl_status_sqlstate(&f->st));
        tl_status_clear(&f->st);
        return;
    }
    assert_true(mask ? out.shape == TL_FLAT : out.shape == TL_CONST);
    to_text(f, &out, 1, buf, size);
}

static void check_samples(const struct sample *samples, size_t count)
{
    struct fixture f;
    fixture_init(&f);
    int wrong = 0;
    for (size_t i = 0; i < count; i++) {
        static const unsigned masks[] = {0, 15, 1, 14, 2};
        for (size_t m = 0; m < sizeof(masks) / sizeof(masks[0]); m++) {
            char got[512];
            unsigned arg_mask = 0;
            for (int a = 0; a < 4 && samples[i].args[a]; a++)
                arg_mask |= 1u << a;
            if (masks[m] && !(masks[m] & arg_mask))
                continue;
            evaluate(&f, &samples[i], masks[m] & arg_mask, got, sizeof(got));
            if (strcmp(got, samples[i].result) != 0) {
                print_error("%s(%s, %s, %s) mask %u: got %s, expected %s\n", samples[i].function,
                            samples[i].args[0] ? samples[i].args[0] : "",
                            samples[i].args[1] ? samples[i].args[1] : "",
                            samples[i].args[2] ? samples[i].args[2] : "", masks[m], got,
                            samples[i].result);
                wrong++;
            }
        }
        tl_arena_reset(&f.arena);
    }
    tl_arena_deinit(&f.arena);
    assert_int_equal(wrong, 0);
}

#define CHECK(samples) check_samples(samples, sizeof(samples) / sizeof((samples)[0]))

static void the_table_is_whole(void **state)
{
    (void)state;
    tl_functions_check();
    uint32_t count;
    const struct tl_function *all = tl_functions(&count);
    assert_true(count > 200);
    for (uint32_t i = 0; i < count; i++) {
        struct tl_type types[TL_FUNCTION_ARGS_MAX];
        for (uint32_t a = 0; a < all[i].arg_count; a++)
            types[a] = tl_type_of(all[i].args[a]);
        if (strcmp(all[i].name, "cast") == 0)
            assert_ptr_equal(tl_function_cast(types[0], tl_type_of(all[i].result)), &all[i]);
        else
            assert_ptr_equal(tl_function_find(all[i].name, types, all[i].arg_count), &all[i]);
    }
    struct tl_type five[] = {{TL_TEXT, 0}, {TL_TEXT, 0}, {TL_TEXT, 0}, {TL_TEXT, 0}, {TL_TEXT, 0}};
    assert_non_null(tl_function_find("concat", five, 5));
    assert_null(tl_function_find("lower", five, 2));
    assert_null(tl_function_find("nothing", five, 1));
}

static void comparisons(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"=", {"I:1", "I:1"}, "true"},
        {"<>", {"I:1", "I:1"}, "false"},
        {"<", {"I:-9223372036854775808", "I:9223372036854775807"}, "true"},
        {"<=", {"I:2", "I:2"}, "true"},
        {">", {"I:2", "I:2"}, "false"},
        {">=", {"I:2", "I:3"}, "false"},
        {"=", {"I:1", "I"}, "NULL"},
        {"=", {"F:NaN", "F:NaN"}, "true"},
        {">", {"F:NaN", "F:Infinity"}, "true"},
        {"<", {"F:1", "F:NaN"}, "true"},
        {"=", {"F:-0", "F:0"}, "true"},
        {"<", {"F:-Infinity", "F:-1e308"}, "true"},
        {"=", {"d2:1.50", "d4:1.5000"}, "true"},
        {"<", {"d2:1.50", "d4:1.5001"}, "true"},
        {"=", {"D2:1.50", "D10:1.5"}, "true"},
        {">",
         {"D0:99999999999999999999999999999999999999",
          "D38:0.99999999999999999999999999999999999999"},
         "true"},
        {"<", {"D0:-99999999999999999999999999999999999999", "D38:-0.5"}, "true"},
        {"=", {"x:abc", "x:abc"}, "true"},
        {"=", {"x:abc", "x:abd"}, "false"},
        {"<", {"x:", "x:a"}, "true"},
        {"<", {"x:Z", "x:a"}, "true"},
        {">", {"x:é", "x:z"}, "true"},
        {"<", {"x:ab", "x:abc"}, "true"},
        {"=", {"v:1 mon", "v:30 days"}, "true"},
        {">", {"v:1 day", "v:23:59:59"}, "true"},
        {"<", {"a:2024-02-29", "a:2024-03-01"}, "true"},
        {"<", {"B:false", "B:true"}, "true"},
        {"=", {"t:2024-01-01 00:00:00", "t:2024-01-01"}, "true"},
        {"<", {"z:2024-01-01 00:00:00+02", "z:2024-01-01 00:00:00+00"}, "true"},
        {"is_distinct", {"I:1", "I"}, "true"},
        {"is_distinct", {"I", "I"}, "false"},
        {"is_distinct", {"x:a", "x:a"}, "false"},
        {"is_distinct", {"x:a", "x:b"}, "true"},
        {"nullif", {"I:1", "I:1"}, "NULL"},
        {"nullif", {"I:1", "I:2"}, "1"},
        {"nullif", {"I:1", "I"}, "1"},
        {"nullif", {"I", "I:1"}, "NULL"},
        {"nullif", {"x:", "x:"}, "NULL"},
        {"nullif", {"d2:1.00", "d2:1.50"}, "1.00"},
        {"greatest", {"I:1", "I", "I:3"}, "3"},
        {"least", {"I:1", "I", "I:3"}, "1"},
        {"greatest", {"I", "I"}, "NULL"},
        {"greatest", {"x:a", "x:B"}, "a"},
        {"least", {"F:NaN", "F:1"}, "1"},
        {"greatest", {"d2:1.50", "d3:1.499"}, "1.500"},
        {"least", {"D2:1.50", "D3:1.499"}, "1.499"},
    };
    CHECK(samples);
}

static void arithmetic(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"+", {"I:1", "I:2"}, "3"},
        {"+", {"I:9223372036854775807", "I:1"}, "!22003"},
        {"-", {"I:-9223372036854775808", "I:1"}, "!22003"},
        {"*", {"I:4611686018427387904", "I:2"}, "!22003"},
        {"*", {"I:-4611686018427387904", "I:2"}, "-9223372036854775808"},
        {"/", {"I:7", "I:-2"}, "-3"},
        {"/", {"I:-7", "I:2"}, "-3"},
        {"/", {"I:1", "I:0"}, "!22012"},
        {"/", {"I:-9223372036854775808", "I:-1"}, "!22003"},
        {"%", {"I:-7", "I:3"}, "-1"},
        {"%", {"I:-9223372036854775808", "I:-1"}, "0"},
        {"%", {"I:7", "I:0"}, "!22012"},
        {"mod", {"I:7", "I:-3"}, "1"},
        {"-", {"I:5"}, "-5"},
        {"-", {"I:-9223372036854775808"}, "!22003"},
        {"abs", {"I:-5"}, "5"},
        {"abs", {"I:-9223372036854775808"}, "!22003"},
        {"int4", {"I:2147483647"}, "2147483647"},
        {"int4", {"I:2147483648"}, "!22003"},
        {"int2", {"I:-32768"}, "-32768"},
        {"int2", {"I:32768"}, "!22003"},
        {"+", {"F:0.1", "F:0.2"}, "0.30000000000000004"},
        {"+", {"F:1e308", "F:1e308"}, "!22003"},
        {"+", {"F:Infinity", "F:1"}, "Infinity"},
        {"-", {"F:Infinity", "F:Infinity"}, "NaN"},
        {"*", {"F:1e200", "F:1e200"}, "!22003"},
        {"*", {"F:1e-200", "F:1e-200"}, "!22003"},
        {"/", {"F:1", "F:0"}, "!22012"},
        {"/", {"F:1", "F:3"}, "0.3333333333333333"},
        {"-", {"F:1.5"}, "-1.5"},
        {"abs", {"F:-1.5"}, "1.5"},
        {"ceil", {"F:-1.5"}, "-1"},
        {"ceiling", {"F:1.2"}, "2"},
        {"floor", {"F:-1.5"}, "-2"},
        {"round", {"F:2.5"}, "2"},
        {"round", {"F:3.5"}, "4"},
        {"trunc", {"F:-2.7"}, "-2"},
        {"sign", {"F:-2.7"}, "-1"},
        {"sqrt", {"F:2"}, "1.4142135623730951"},
        {"sqrt", {"F:-1"}, "!2201F"},
        {"ln", {"F:1"}, "0"},
        {"ln", {"F:0"}, "!2201E"},
        {"ln", {"F:-1"}, "!2201E"},
        {"log", {"F:1000"}, "3"},
        {"exp", {"F:0"}, "1"},
        {"exp", {"F:1000"}, "!22003"},
        {"power", {"F:2", "F:10"}, "1024"},
        {"power", {"F:0", "F:-1"}, "!2201F"},
        {"power", {"F:-8", "F:0.5"}, "!2201F"},
        {"pow", {"F:9", "F:0.5"}, "3"},
        {"float4", {"F:0.1"}, "0.10000000149011612"},
        {"float4", {"F:1e300"}, "!22003"},
    };
    CHECK(samples);
}

static void decimals(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"+", {"d2:1.50", "d4:2.2500"}, "3.7500"},
        {"-", {"d2:1.50", "d2:2.25"}, "-0.75"},
        {"+", {"D0:99999999999999999999999999999999999999", "D0:1"}, "!22003"},
        {"+",
         {"D0:99999999999999999999999999999999999998", "D0:1"},
         "99999999999999999999999999999999999999"},
        {"*", {"d2:1.50", "d2:1.50"}, "2.2500"},
        {"*", {"D0:10000000000000000000", "D0:10000000000000000000"}, "!22003"},
        {"*", {"D19:0.0000000000000000001", "D19:1"}, "0.00000000000000000010000000000000000000"},
        {"*", {"D30:0.5", "D30:0.5"}, "0.25000000000000000000000000000000000000"},
        {"*", {"D20:1.5", "D20:-2.5"}, "!22003"},
        {"/", {"d2:1.00", "d2:3.00"}, "0.33333333333333333333"},
        {"/", {"d2:2.00", "d2:3.00"}, "0.66666666666666666667"},
        {"/", {"d2:-2.00", "d2:3.00"}, "-0.66666666666666666667"},
        {"/", {"d2:1.00", "d2:0.00"}, "!22012"},
        {"/", {"D0:1", "D0:99999999999999999999999999999999999999"}, "0.00000000000000000000"},
        {"/", {"D0:12345678901234567", "D0:7"}, "1763668414462081.00000000000000000000"},
        {"/", {"D0:99999999999999999999999999999999999999", "D0:3"}, "!22003"},
        {"%", {"d2:-7.50", "d1:2.0"}, "-1.50"},
        {"mod", {"d2:7.50", "d2:0.00"}, "!22012"},
        {"-", {"d2:7.50"}, "-7.50"},
        {"abs", {"D3:-7.500"}, "7.500"},
        {"sign", {"d2:-7.50"}, "-1"},
        {"ceil", {"d2:7.01"}, "8"},
        {"ceil", {"d2:-7.99"}, "-7"},
        {"floor", {"d2:-7.01"}, "-8"},
        {"floor", {"d2:7.99"}, "7"},
        {"round", {"d2:2.50"}, "3"},
        {"round", {"d2:-2.50"}, "-3"},
        {"round", {"d2:2.49"}, "2"},
        {"trunc", {"d2:-2.99"}, "-2"},
        {"round", {"d3:2.345", "I:2"}, "2.350"},
        {"round", {"d3:1234.567", "I:-2"}, "1200.000"},
        {"round", {"d3:1234.567", "I:100"}, "1234.567"},
        {"round", {"d3:1234.567", "I:-100"}, "0.000"},
        {"trunc", {"d3:2.349", "I:2"}, "2.340"},
    };
    CHECK(samples);
}

static void texts(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"||", {"x:foo", "x:bar"}, "foobar"},
        {"||", {"x:foo", "x"}, "NULL"},
        {"like", {"x:/products/shirt", "x:%shirt%"}, "true"},
        {"like", {"x:/products/shirt", "x:%shirts%"}, "false"},
        {"like", {"x:/products/shirt", "x:/products%"}, "true"},
        {"like", {"x:/products/shirt", "x:%shirt"}, "true"},
        {"like", {"x:/products/shirt", "x:%product"}, "false"},
        {"like", {"x:abc", "x:abc"}, "true"},
        {"like", {"x:abc", "x:ab"}, "false"},
        {"like", {"x:abc", "x:a_c"}, "true"},
        {"like", {"x:aéc", "x:a_c"}, "true"},
        {"like", {"x:a€c", "x:a__c"}, "false"},
        {"like", {"x:", "x:"}, "true"},
        {"like", {"x:", "x:%"}, "true"},
        {"like", {"x:", "x:_"}, "false"},
        {"like", {"x:abc", "x:%"}, "true"},
        {"like", {"x:abc", "x:%%"}, "true"},
        {"like", {"x:abc", "x:"}, "false"},
        {"like", {"x:abc", "x:___"}, "true"},
        {"like", {"x:abc", "x:____"}, "false"},
        {"like", {"x:abc", "x:_%_"}, "true"},
        {"like", {"x:a", "x:_%_"}, "false"},
        {"like", {"x:abcabc", "x:a%c"}, "true"},
        {"like", {"x:abcabd", "x:a%c"}, "false"},
        {"like", {"x:aab", "x:%a_"}, "true"},
        {"like", {"x:mississippi", "x:m%iss%ip%i"}, "true"},
        {"like", {"x:mississippi", "x:m%iss%ipp%pi"}, "false"},
        {"like", {"x:ab", "x:ab%ab"}, "false"},
        {"like", {"x:aba", "x:ab%ba"}, "false"},
        {"like", {"x:abba", "x:ab%ba"}, "true"},
        {"like", {"x:100%", "x:100\\%"}, "true"},
        {"like", {"x:1000", "x:100\\%"}, "false"},
        {"like", {"x:a_b", "x:a\\_b"}, "true"},
        {"like", {"x:axb", "x:a\\_b"}, "false"},
        {"like", {"x:a\\b", "x:a\\\\b"}, "true"},
        {"like", {"x:abc", "x:abc\\"}, "!22025"},
        {"like", {"x:a%b", "x:a#%b", "x:#"}, "true"},
        {"like", {"x:axb", "x:a#%b", "x:#"}, "false"},
        {"like", {"x:a\\b", "x:a\\b", "x:"}, "true"},
        {"like", {"x:a", "x:a", "x:##"}, "!22025"},
        {"like",
         {"x:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "x:%a%a%a%a%a%a%a%a%a%a%c"},
         "false"},
        {"like", {"x:0123456789abcdef0123456789abcdefneedle", "x:%needle%"}, "true"},
        {"like", {"x:0123456789abcdefneedl0123456789abcdef", "x:%needle%"}, "false"},
        {"ilike", {"x:Blue SHIRT", "x:%shirt%"}, "true"},
        {"ilike", {"x:ÄÖÜ", "x:äöü"}, "true"},
        {"ilike", {"x:straße", "x:STRASSE"}, "false"},
        {"lower", {"x:ABC Äé"}, "abc äé"},
        {"upper", {"x:abc äé ñ"}, "ABC ÄÉ Ñ"},
        {"upper", {"x:ȿ"}, "Ȿ"}, /* two bytes become three */
        {"lower", {"x:abc"}, "abc"},
        {"initcap", {"x:hello wORLD-foo 2nd"}, "Hello World-Foo 2nd"},
        {"length", {"x:aé€😀"}, "4"},
        {"char_length", {"x:"}, "0"},
        {"octet_length", {"x:aé€😀"}, "10"},
        {"substr", {"x:alphabet", "I:3"}, "phabet"},
        {"substr", {"x:alphabet", "I:3", "I:2"}, "ph"},
        {"substr", {"x:alphabet", "I:-1", "I:4"}, "al"},
        {"substr", {"x:alphabet", "I:0", "I:1"}, ""},
        {"substr", {"x:alphabet", "I:20"}, ""},
        {"substr", {"x:alphabet", "I:3", "I:-1"}, "!22011"},
        {"substr", {"x:alphabet", "I:9223372036854775807", "I:9223372036854775807"}, ""},
        {"substr", {"x:alphabet", "I:2", "I:9223372036854775807"}, "lphabet"},
        {"substr", {"x:alphabet", "I:-9223372036854775808", "I:5"}, ""},
        {"substring", {"x:é€😀x", "I:2", "I:2"}, "€😀"},
        {"split_part", {"x:a,b,c", "x:,", "I:2"}, "b"},
        {"split_part", {"x:a,b,c", "x:,", "I:4"}, ""},
        {"split_part", {"x:a,b,c", "x:,", "I:-1"}, "c"},
        {"split_part", {"x:a,b,c", "x:,", "I:-3"}, "a"},
        {"split_part", {"x:a,b,c", "x:,", "I:-4"}, ""},
        {"split_part", {"x:a,b,c", "x:,", "I:0"}, "!22023"},
        {"split_part", {"x:a,b,c", "x:", "I:1"}, "a,b,c"},
        {"split_part", {"x:a,b,c", "x:", "I:2"}, ""},
        {"split_part", {"x:a~@~b", "x:~@~", "I:2"}, "b"},
        {"concat", {"x:a", "x", "x:b"}, "ab"},
        {"concat", {"x", "x"}, ""},
        {"concat_ws", {"x:-", "x:a", "x", "x:b"}, "a-b"},
        {"concat_ws", {"x", "x:a", "x:b"}, "NULL"},
        {"concat_ws", {"x:-", "x"}, ""},
        {"left", {"x:abcdé", "I:2"}, "ab"},
        {"left", {"x:abcdé", "I:-2"}, "abc"},
        {"left", {"x:abc", "I:-5"}, ""},
        {"right", {"x:abcdé", "I:2"}, "dé"},
        {"right", {"x:abcdé", "I:-2"}, "cdé"},
        {"right", {"x:abc", "I:10"}, "abc"},
        {"right", {"x:abc", "I:0"}, ""},
        {"btrim", {"x:  a b  "}, "a b"},
        {"trim", {"x:xyaxy", "x:yx"}, "a"},
        {"ltrim", {"x:  a "}, "a "},
        {"rtrim", {"x: a  "}, " a"},
        {"ltrim", {"x:éea", "x:é"}, "ea"},
        {"rtrim", {"x:aéé", "x:é"}, "a"},
        {"btrim", {"x:xxx", "x:x"}, ""},
        {"replace", {"x:abcabc", "x:b", "x:XX"}, "aXXcaXXc"},
        {"replace", {"x:abc", "x:", "x:X"}, "abc"},
        {"replace", {"x:aaa", "x:aa", "x:"}, "a"},
        {"strpos", {"x:éabc", "x:b"}, "3"},
        {"strpos", {"x:abc", "x:x"}, "0"},
        {"strpos", {"x:abc", "x:"}, "1"},
        {"position", {"x:abc", "x:c"}, "3"},
        {"starts_with", {"x:abc", "x:ab"}, "true"},
        {"starts_with", {"x:abc", "x:b"}, "false"},
        {"^@", {"x:abc", "x:"}, "true"},
        {"reverse", {"x:aé€"}, "€éa"},
        {"repeat", {"x:ab", "I:3"}, "ababab"},
        {"repeat", {"x:ab", "I:-3"}, ""},
        {"repeat", {"x:ab", "I:40000"}, "!54000"},
        {"lpad", {"x:hi", "I:5", "x:xy"}, "xyxhi"},
        {"lpad", {"x:hi", "I:1"}, "h"},
        {"rpad", {"x:hi", "I:5"}, "hi   "},
        {"rpad", {"x:hi", "I:5", "x:é"}, "hiééé"},
        {"lpad", {"x:hi", "I:5", "x:"}, "hi"},
    };
    CHECK(samples);
}

static void times(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"+", {"a:2024-02-28", "I:2"}, "2024-03-01"},
        {"+", {"I:1", "a:2023-12-31"}, "2024-01-01"},
        {"-", {"a:2024-03-01", "I:1"}, "2024-02-29"},
        {"+", {"a:2024-03-01", "I:9223372036854775807"}, "!22008"},
        {"-", {"a:2024-03-01", "a:2024-02-01"}, "29"},
        {"+", {"a:2024-01-31", "v:1 month"}, "2024-02-29 00:00:00"},
        {"-", {"a:2024-01-31", "v:1 hour"}, "2024-01-30 23:00:00"},
        {"+", {"t:2024-01-31 10:00:00", "v:1 mon 1 day 01:00:00"}, "2024-03-01 11:00:00"},
        {"+", {"v:1 year", "t:2024-02-29 00:00:00"}, "2025-02-28 00:00:00"},
        {"-", {"t:2024-03-31 00:00:00", "v:1 month"}, "2024-02-29 00:00:00"},
        {"+", {"z:2024-01-01 00:00:00+00", "v:1 day"}, "2024-01-02 00:00:00+00"},
        {"-", {"z:2024-01-02 12:00:00+00", "z:2024-01-01 00:00:00+00"}, "1 day 12:00:00"},
        {"-", {"t:2024-01-01 00:00:00", "t:2024-01-02 12:00:00"}, "-1 days -12:00:00"},
        {"+", {"v:1 day", "v:1 month 02:00:00"}, "1 mon 1 day 02:00:00"},
        {"-", {"v:1 day", "v:2 days"}, "-1 days"},
        {"-", {"v:1 mon -1 days"}, "-1 mons +1 day"},
        {"*", {"v:1 day", "F:1.5"}, "1 day 12:00:00"},
        {"*", {"F:0.5", "v:1 month"}, "15 days"},
        {"/", {"v:1 hour", "F:3"}, "00:20:00"},
        {"/", {"v:1 hour", "F:0"}, "!22012"},
        {"date_trunc", {"x:hour", "t:2024-05-17 10:35:59.5"}, "2024-05-17 10:00:00"},
        {"date_trunc", {"x:DAY", "t:2024-05-17 10:35:59"}, "2024-05-17 00:00:00"},
        {"date_trunc", {"x:week", "t:2024-05-17 10:35:59"}, "2024-05-13 00:00:00"},
        {"date_trunc", {"x:month", "z:2024-05-17 10:35:59+00"}, "2024-05-01 00:00:00+00"},
        {"date_trunc", {"x:quarter", "t:2024-05-17 10:35:59"}, "2024-04-01 00:00:00"},
        {"date_trunc", {"x:year", "t:1969-05-17 10:35:59"}, "1969-01-01 00:00:00"},
        {"date_trunc",
         {"x:day", "z:2024-05-17 22:35:59+00", "x:Europe/Berlin"},
         "2024-05-17 22:00:00+00"},
        {"date_trunc",
         {"x:day", "z:2024-03-31 12:00:00+00", "x:Europe/Berlin"},
         "2024-03-30 23:00:00+00"},
        {"date_trunc", {"x:fortnight", "t:2024-05-17 10:35:59"}, "!22023"},
        {"date_trunc", {"x:hour", "v:1 day 02:30:00"}, "1 day 02:00:00"},
        {"time_bucket", {"v:1 day", "t:2024-05-17 10:35:59"}, "2024-05-17 00:00:00"},
        {"time_bucket", {"v:15 minutes", "z:2024-05-17 10:35:59+00"}, "2024-05-17 10:30:00+00"},
        {"time_bucket", {"v:7 days", "t:2024-05-17 10:35:59"}, "2024-05-13 00:00:00"},
        {"time_bucket", {"v:1 month", "t:2024-05-17 10:35:59"}, "2024-05-01 00:00:00"},
        {"time_bucket", {"v:3 months", "a:2024-05-17"}, "2024-04-01"},
        {"time_bucket",
         {"v:1 day", "z:2024-05-17 22:35:59+00", "x:Europe/Berlin"},
         "2024-05-17 22:00:00+00"},
        {"time_bucket",
         {"v:1 hour", "t:2024-05-17 10:35:59", "v:5 minutes"},
         "2024-05-17 10:05:00"},
        {"time_bucket",
         {"v:2 days", "t:2024-05-17 10:35:59", "t:2024-05-17 00:00:00"},
         "2024-05-17 00:00:00"},
        {"time_bucket", {"v:0 days", "t:2024-05-17 10:35:59"}, "!22023"},
        {"time_bucket", {"I:10", "I:-1"}, "-10"},
        {"time_bucket", {"I:10", "I:25", "I:3"}, "23"},
        {"time_bucket", {"I:0", "I:25"}, "!22023"},
        {"date_bin",
         {"v:15 minutes", "t:2024-05-17 10:35:59", "t:2001-01-01 00:02:30"},
         "2024-05-17 10:32:30"},
        {"date_bin", {"v:1 month", "t:2024-05-17 10:35:59", "t:2001-01-01"}, "!22023"},
        {"extract", {"x:hour", "t:2024-05-17 10:35:59.5"}, "10.000000"},
        {"extract", {"x:second", "t:2024-05-17 10:35:59.5"}, "59.500000"},
        {"extract", {"x:epoch", "z:2024-05-17 10:35:59.5+00"}, "1715942159.500000"},
        {"extract", {"x:dow", "a:2024-05-19"}, "0.000000"},
        {"extract", {"x:isodow", "a:2024-05-19"}, "7.000000"},
        {"extract", {"x:doy", "a:2024-12-31"}, "366.000000"},
        {"extract", {"x:week", "a:2021-01-03"}, "53.000000"},
        {"extract", {"x:days", "v:40 days 05:00:00"}, "40.000000"},
        {"extract", {"x:nothing", "a:2024-05-19"}, "!22023"},
        {"date_part", {"x:epoch", "v:1 day 00:00:01.5"}, "86401.5"},
        {"date_part", {"x:year", "z:2024-05-17 10:35:59+00"}, "2024"},
        {"timezone", {"x:Europe/Berlin", "z:2024-05-17 10:00:00+00"}, "2024-05-17 12:00:00"},
        {"timezone", {"x:Europe/Berlin", "t:2024-05-17 12:00:00"}, "2024-05-17 10:00:00+00"},
        {"timezone", {"x:Nowhere/Town", "t:2024-05-17 12:00:00"}, "!22023"},
        {"now", {NULL}, "2023-11-14 22:13:20+00"},
        {"to_timestamp", {"F:1700000000.25"}, "2023-11-14 22:13:20.25+00"},
        {"to_timestamp", {"F:NaN"}, "!22008"},
    };
    CHECK(samples);
}

static void casts(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"cast I", {"B:true"}, "1"},
        {"cast B", {"I:-3"}, "true"},
        {"cast F", {"I:9007199254740993"}, "9.007199254740992e+15"},
        {"cast I", {"F:2.5"}, "2"},
        {"cast I", {"F:-3.5"}, "-4"},
        {"cast I", {"F:1e19"}, "!22003"},
        {"cast I", {"F:NaN"}, "!22003"},
        {"cast d2", {"I:5"}, "5.00"},
        {"cast d2", {"I:9223372036854775807"}, "!22003"},
        {"cast D0", {"I:9223372036854775807"}, "9223372036854775807"},
        {"cast I", {"d2:2.50"}, "3"},
        {"cast I", {"D0:9223372036854775808"}, "!22003"},
        {"cast I", {"d2:-2.50"}, "-3"},
        {"cast d2", {"F:1.005"}, "1.01"},
        {"cast D4", {"F:0.1"}, "0.1000"},
        {"cast D4", {"F:Infinity"}, "!22003"},
        {"cast F", {"d4:0.1000"}, "0.1"},
        {"cast F", {"D20:0.33333333333333333333"}, "0.3333333333333333"},
        {"cast d1", {"d2:1.25"}, "1.3"},
        {"cast D6", {"d2:1.25"}, "1.250000"},
        {"cast d0", {"D0:1000000000000000000"}, "!22003"},
        {"cast t", {"a:2024-05-17"}, "2024-05-17 00:00:00"},
        {"cast a", {"t:1969-12-31 23:00:00"}, "1969-12-31"},
        {"cast z", {"a:2024-05-17"}, "2024-05-17 00:00:00+00"},
        {"cast a", {"z:2024-05-17 23:59:59+00"}, "2024-05-17"},
        {"cast z", {"t:2024-05-17 10:00:00"}, "2024-05-17 10:00:00+00"},
        {"cast t", {"z:2024-05-17 10:00:00+02"}, "2024-05-17 08:00:00"},
        {"cast x", {"B:true"}, "true"},
        {"cast x", {"F:1e15"}, "1e+15"},
        {"cast x", {"F:100000000000000"}, "100000000000000"},
        {"cast x", {"F:0.0001"}, "0.0001"},
        {"cast x", {"F:0.00001"}, "1e-05"},
        {"cast x", {"F:-0"}, "-0"},
        {"cast x", {"d4:-0.0500"}, "-0.0500"},
        {"cast x", {"D38:-0.5"}, "-0.50000000000000000000000000000000000000"},
        {"cast x", {"I:-9223372036854775808"}, "-9223372036854775808"},
        {"cast I", {"x: 42 "}, "42"},
        {"cast I", {"x:4x"}, "!22P02"},
        {"cast I", {"x:"}, "!22P02"},
        {"cast I", {"x:9223372036854775808"}, "!22003"},
        {"cast F", {"x:1e400"}, "!22003"},
        {"cast F", {"x:abc"}, "!22P02"},
        {"cast d2", {"x:1.005"}, "1.01"},
        {"cast d2", {"x:1e5"}, "100000.00"},
        {"cast d2", {"x:1.2.3"}, "!22P02"},
        {"cast D0", {"x:100000000000000000000000000000000000000"}, "!22003"},
        {"cast B", {"x:yes"}, "true"},
        {"cast B", {"x:F"}, "false"},
        {"cast B", {"x:maybe"}, "!22P02"},
        {"cast a", {"x:2024-02-30"}, "!22008"},
        {"cast a", {"x:hello"}, "!22007"},
        {"cast t", {"x:2024-05-17T10:00:00"}, "2024-05-17 10:00:00"},
        {"cast z", {"x:2024-05-17 10:00:00 Europe/Berlin"}, "2024-05-17 08:00:00+00"},
        {"cast v", {"x:1 year 2 mons 3 days 04:05:06.7"}, "1 year 2 mons 3 days 04:05:06.7"},
        {"cast v", {"x:P1DT2H"}, "1 day 02:00:00"},
        {"cast v", {"x:what"}, "!22007"},
        {"cast x", {"x:same"}, "same"},
    };
    CHECK(samples);
}

/* Rows that a kernel is not asked for may hold what would fail. */
static void only_selected_rows_count(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    int64_t a[2048];
    int64_t b[2048];
    uint16_t sel[1024];
    for (uint32_t i = 0; i < 2048; i++) {
        a[i] = i;
        b[i] = i % 2; /* odd rows can be divided */
    }
    for (uint32_t i = 0; i < 1024; i++)
        sel[i] = (uint16_t)(2 * i + 1);
    struct tl_vector args[2] = {
        {.type = tl_type_of(TL_BIGINT), .shape = TL_FLAT, .count = 2048, .data = a},
        {.type = tl_type_of(TL_BIGINT), .shape = TL_FLAT, .count = 2048, .data = b}};
    struct tl_type types[2] = {args[0].type, args[1].type};
    const struct tl_function *divide = tl_function_find("/", types, 2);
    struct tl_vector out = {.type = tl_type_of(TL_BIGINT), .count = 2048};
    assert_ok(&f.st, divide->kernel(&f.ctx, args, 2, 2048, sel, 1024, &out, &f.st));
    for (uint32_t i = 1; i < 2048; i += 2)
        assert_int_equal(((const int64_t *)out.data)[i], a[i]);
    assert_code(&f.st, TL_INVALID, divide->kernel(&f.ctx, args, 2, 2048, NULL, 2048, &out, &f.st));
    tl_arena_deinit(&f.arena);
}

/* The matcher agrees with a naive one on random patterns and texts over a tiny alphabet. */
static bool naive_like(const char *t, const char *p)
{
    if (!*p)
        return !*t;
    if (*p == '%')
        return naive_like(t, p + 1) || (*t && naive_like(t + 1, p));
    return *t && (*p == '_' || *p == *t) && naive_like(t + 1, p + 1);
}

static void like_agrees_with_a_naive_matcher(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    uint64_t x = 88172645463325252ULL;
    for (int round = 0; round < 20000; round++) {
        char text[24];
        char pattern[12];
        size_t n = 0;
        size_t m = 0;
        for (x ^= x << 13, x ^= x >> 7, x ^= x << 17; n < x % 20; n++)
            text[n] = (char)('a' + (x >> (n + 5)) % 2);
        text[n] = 0;
        for (x ^= x << 13, x ^= x >> 7, x ^= x << 17; m < x % 9; m++)
            pattern[m] = "ab%_%a"[(x >> (2 * m + 7)) % 6];
        pattern[m] = 0;
        struct tl__like like;
        assert_ok(&f.st,
                  tl__like_compile(tl_slice_str(pattern), NULL, false, &f.arena, &like, &f.st));
        if (tl__like_match(&like, tl_slice_str(text)) != naive_like(text, pattern))
            fail_msg("'%s' LIKE '%s'", text, pattern);
        tl_arena_reset(&f.arena);
    }
    tl_arena_deinit(&f.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_whole),
        cmocka_unit_test(comparisons),
        cmocka_unit_test(arithmetic),
        cmocka_unit_test(decimals),
        cmocka_unit_test(texts),
        cmocka_unit_test(times),
        cmocka_unit_test(casts),
        cmocka_unit_test(only_selected_rows_count),
        cmocka_unit_test(like_agrees_with_a_naive_matcher),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
