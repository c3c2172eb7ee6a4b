/*
 * Regular expressions: PostgreSQL's functions over PCRE2.
 *
 * A pattern in PostgreSQL's syntax (its "advanced" regular expressions) is rewritten into PCRE2's
 * before it is compiled: what only PCRE2 has (verbs, recursion, \Q, \K, …) is refused, what only
 * PostgreSQL has (\m, \M, \y, \A, \Z, \u…) is translated. What stays different: alternatives are
 * tried from left to right, where PostgreSQL takes the longest match.
 *
 * A match is bounded by steps, depth and memory, so that no pattern can run away; beyond them the
 * statement fails with 54001. A pattern is compiled once per call of a kernel (a batch), and again
 * where it changes from row to row.
 *
 * Read: PostgreSQL's manual 9.7.3; pcre2pattern(3), pcre2api(3).
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "base/array.h"
#include "query/function_int.h"
#include "query/text_int.h"

enum {
    MATCH_STEPS_MAX = 1000000,
    DEPTH_MAX = 20000,
    HEAP_KIB_MAX = 16384,
    PATTERN_MAX = 8192,
    GROUPS_MAX = 100
};

#define BAD_REGEX "2201B"

struct regex {
    struct tl_slice pattern, flags; /* what it was compiled from */
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *context;
    bool all; /* the flag g */
    uint32_t groups;
};

static void regex_clear(struct regex *r)
{
    pcre2_match_data_free(r->data);
    pcre2_match_context_free(r->context);
    pcre2_code_free(r->code);
    *r = (struct regex){0};
}

static enum tl_code invalid(struct tl_status *st, const char *why)
{
    TL_FAIL(st, TL_INVALID, "invalid regular expression: %s", why);
    return tl_status_sql(st, BAD_REGEX, 0);
}

/* ---- PostgreSQL's syntax into PCRE2's ---- */

/* A code point of `digits` hexadecimal digits after p. */
static bool put_code_point(const uint8_t **p, const uint8_t *end, unsigned digits,
                           struct tl_buffer *to)
{
    uint32_t code = 0;
    for (unsigned i = 0; i < digits; i++, (*p)++) {
        if (*p == end)
            return false;
        uint8_t c = **p, low = c | 0x20;
        if (c >= '0' && c <= '9')
            code = code * 16 + (c - '0');
        else if (low >= 'a' && low <= 'f')
            code = code * 16 + (low - 'a' + 10u);
        else
            return false;
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
        return false;
    tl_buffer_printf(to, "\\x{%x}", code);
    return true;
}

/* What stands after a backslash; *p is behind it then. */
static enum tl_code put_escape(const uint8_t **p, const uint8_t *end, bool bracket,
                               struct tl_buffer *to, struct tl_status *st)
{
    if (*p == end)
        return invalid(st, "invalid escape \\ sequence");
    uint8_t c = *(*p)++;
    switch (c) {
    case 'm':
    case 'M':
    case 'y':
    case 'Y':
    case 'A':
    case 'Z':
        if (bracket)
            return invalid(st, "invalid escape \\ sequence");
        tl_buffer_printf(to, "%s",
                         c == 'm'   ? "\\b(?=\\w)"
                         : c == 'M' ? "\\b(?<=\\w)"
                         : c == 'y' ? "\\b"
                         : c == 'Y' ? "\\B"
                         : c == 'A' ? "\\A"
                                    : "\\z");
        return TL_OK;
    case 'b':
        tl_buffer_printf(to, "\\x08");
        return TL_OK;
    case 'B':
        tl_buffer_printf(to, "\\\\");
        return TL_OK;
    case 'v':
        tl_buffer_printf(to, "\\x0b");
        return TL_OK;
    case 'u':
        return put_code_point(p, end, 4, to) ? TL_OK : invalid(st, "invalid escape \\ sequence");
    case 'U':
        return put_code_point(p, end, 8, to) ? TL_OK : invalid(st, "invalid escape \\ sequence");
    case 'a':
    case 'e':
    case 'f':
    case 'n':
    case 'r':
    case 't':
    case 'd':
    case 'D':
    case 's':
    case 'S':
    case 'w':
    case 'W':
        tl_buffer_put_u8(to, '\\');
        tl_buffer_put_u8(to, c);
        return TL_OK;
    default:
        break;
    }
    if (c >= '1' && c <= '9' && !bracket) { /* a back reference: braces keep its digits together */
        tl_buffer_printf(to, "\\g{%c", c);
        if (*p < end && **p >= '0' && **p <= '9')
            tl_buffer_put_u8(to, *(*p)++);
        tl_buffer_put_u8(to, '}');
        return TL_OK;
    }
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
        return invalid(st, "invalid escape \\ sequence");
    if (c < 0x80)
        tl_buffer_put_u8(to, '\\');
    tl_buffer_put_u8(to, c);
    return TL_OK;
}

/* A bracket expression; *p is behind its [. */
static enum tl_code put_bracket(const uint8_t **p, const uint8_t *end, bool lines,
                                struct tl_buffer *to, struct tl_status *st)
{
    bool negated = *p < end && **p == '^';
    tl_buffer_put_u8(to, '[');
    if (negated) {
        tl_buffer_put_u8(to, '^');
        (*p)++;
        if (lines)
            tl_buffer_printf(to, "\\n");
    }
    for (bool first = true; *p < end; first = false) {
        uint8_t c = *(*p)++;
        if (c == ']' && !first) {
            tl_buffer_put_u8(to, ']');
            return TL_OK;
        }
        if (c == '\\') {
            enum tl_code rc = put_escape(p, end, true, to, st);
            if (rc)
                return rc;
        } else if (c == '[' && *p < end && **p == ':') {
            const uint8_t *name = *p - 1;
            while (*p + 1 < end && !((*p)[0] == ':' && (*p)[1] == ']' && *p > name + 1))
                (*p)++;
            if (*p + 1 >= end)
                return invalid(st, "brackets [] not balanced");
            *p += 2;
            tl_buffer_put(to, name, (size_t)(*p - name));
        } else if (c == '[' && *p < end && (**p == '.' || **p == '=')) {
            return invalid(st, "collating elements are not supported");
        } else {
            if (c == '[' || c == ']')
                tl_buffer_put_u8(to, '\\');
            tl_buffer_put_u8(to, c);
        }
    }
    return invalid(st, "brackets [] not balanced");
}

/* After an open bracket: (?: (?= (?! (?<= (?<! are the same; nothing else may follow (?. */
static enum tl_code put_group(const uint8_t **p, const uint8_t *end, struct tl_buffer *to,
                              struct tl_status *st)
{
    tl_buffer_put_u8(to, '(');
    if (*p == end)
        return TL_OK;
    if (**p == '*')
        return invalid(st, "quantifier operand invalid");
    if (**p != '?')
        return TL_OK;
    size_t left = (size_t)(end - *p);
    size_t size = left > 1 && strchr(":=!", (*p)[1]) && (*p)[1]                      ? 2
                  : left > 2 && (*p)[1] == '<' && ((*p)[2] == '=' || (*p)[2] == '!') ? 3
                                                                                     : 0;
    if (!size)
        return invalid(st, "quantifier operand invalid");
    tl_buffer_put(to, *p, size);
    *p += size;
    return TL_OK;
}

struct options {
    uint32_t bits;
    bool all, lines, literal;
};

static enum tl_code read_flags(struct tl_slice flags, struct options *o, struct tl_status *st)
{
    for (size_t i = 0; i < flags.size; i++) {
        switch (flags.data[i]) {
        case 'g':
            o->all = true;
            break;
        case 'i':
            o->bits |= PCRE2_CASELESS;
            break;
        case 'c':
            o->bits &= ~(uint32_t)PCRE2_CASELESS;
            break;
        case 'x':
            o->bits |= PCRE2_EXTENDED;
            break;
        case 't':
            o->bits &= ~(uint32_t)PCRE2_EXTENDED;
            break;
        case 'm':
        case 'n':
            o->lines = true;
            o->bits = (o->bits | PCRE2_MULTILINE) & ~(uint32_t)PCRE2_DOTALL;
            break;
        case 'p':
            o->lines = true;
            o->bits &= ~(uint32_t)(PCRE2_DOTALL | PCRE2_MULTILINE);
            break;
        case 'w':
            o->lines = false;
            o->bits |= PCRE2_DOTALL | PCRE2_MULTILINE;
            break;
        case 's':
            o->lines = false;
            o->bits = (o->bits | PCRE2_DOTALL) & ~(uint32_t)PCRE2_MULTILINE;
            break;
        case 'q':
            o->literal = true;
            break;
        case 'e':
            break;
        default:
            TL_FAIL(st, TL_INVALID, "invalid regular expression option: \"%c\"", flags.data[i]);
            return tl_status_sql(st, TL__BAD_PARAMETER, 0);
        }
    }
    return TL_OK;
}

/* Options within the pattern: (?i) and the like at its start, and ***= or ***: before. */
static enum tl_code read_director(struct tl_slice *pattern, struct options *o, struct tl_status *st)
{
    const uint8_t *p = pattern->data, *end = p + pattern->size;
    if (end - p >= 4 && memcmp(p, "***", 3) == 0) {
        if (p[3] == '=')
            o->literal = true;
        else if (p[3] != ':')
            return invalid(st, "quantifier operand invalid");
        p += 4;
    }
    if (!o->literal && end - p >= 3 && p[0] == '(' && p[1] == '?' && p[2] >= 'a' && p[2] <= 'z') {
        const uint8_t *close = memchr(p, ')', (size_t)(end - p));
        if (!close)
            return invalid(st, "parentheses () not balanced");
        enum tl_code rc = read_flags(tl_slice_of(p + 2, (size_t)(close - p - 2)), o, st);
        if (rc)
            return rc;
        p = close + 1;
    }
    *pattern = tl_slice_of(p, (size_t)(end - p));
    return TL_OK;
}

static enum tl_code translate(struct tl_slice pattern, const struct options *o,
                              struct tl_buffer *to, struct tl_status *st)
{
    const uint8_t *p = pattern.data, *end = p + pattern.size;
    enum tl_code rc = TL_OK;
    if (o->literal) {
        for (; p < end; p++) {
            if (strchr("\\^$.|?*+()[]{} #\t\n", *p))
                tl_buffer_put_u8(to, '\\');
            tl_buffer_put_u8(to, *p);
        }
        return TL_OK;
    }
    while (p < end && !rc) {
        uint8_t c = *p++;
        if (c == '\\')
            rc = put_escape(&p, end, false, to, st);
        else if (c == '[')
            rc = put_bracket(&p, end, o->lines, to, st);
        else if (c == '(')
            rc = put_group(&p, end, to, st);
        else if (p < end && *p == '+' && (c == '*' || c == '+' || c == '?' || c == '}'))
            rc = invalid(st, "quantifier operand invalid"); /* possessive in PCRE2 alone */
        else
            tl_buffer_put_u8(to, c);
    }
    return rc;
}

static enum tl_code regex_compile(struct regex *r, struct tl_slice pattern, struct tl_slice flags,
                                  bool fold, struct tl_status *st)
{
    struct options o = {.bits = PCRE2_UTF | PCRE2_UCP | PCRE2_DOTALL | PCRE2_DOLLAR_ENDONLY |
                                PCRE2_NO_UTF_CHECK | PCRE2_NEVER_BACKSLASH_C};
    struct tl_slice body = pattern;
    regex_clear(r);
    if (fold)
        o.bits |= PCRE2_CASELESS;
    if (pattern.size > PATTERN_MAX)
        return invalid(st, "it is longer than 8192 bytes");
    enum tl_code rc = read_flags(flags, &o, st);
    if (!rc)
        rc = read_director(&body, &o, st);
    if (rc)
        return rc;
    if (o.literal) /* blanks were escaped */
        o.bits &= ~(uint32_t)PCRE2_EXTENDED;
    struct tl_buffer text;
    tl_buffer_init(&text, "regular expression", 16 * PATTERN_MAX);
    rc = translate(body, &o, &text, st);
    if (!rc)
        rc = tl_buffer_check(&text, st);
    if (!rc) {
        int error;
        PCRE2_SIZE at;
        r->code = pcre2_compile(text.data ? text.data : (const uint8_t *)"", text.size, o.bits,
                                &error, &at, NULL);
        if (!r->code) {
            PCRE2_UCHAR why[120] = "";
            (void)pcre2_get_error_message(error, why, sizeof(why));
            rc = invalid(st, (const char *)why);
        }
    }
    tl_buffer_deinit(&text);
    if (rc)
        return rc;
    r->data = pcre2_match_data_create_from_pattern(r->code, NULL);
    r->context = pcre2_match_context_create(NULL);
    if (!r->data || !r->context)
        return TL_FAIL(st, TL_LIMIT, "no memory for a regular expression");
    (void)pcre2_set_match_limit(r->context, MATCH_STEPS_MAX);
    (void)pcre2_set_depth_limit(r->context, DEPTH_MAX);
    (void)pcre2_set_heap_limit(r->context, HEAP_KIB_MAX);
    (void)pcre2_pattern_info(r->code, PCRE2_INFO_CAPTURECOUNT, &r->groups);
    if (r->groups >= GROUPS_MAX)
        return invalid(st, "it has too many groups");
    r->pattern = pattern;
    r->flags = flags;
    r->all = o.all;
    return TL_OK;
}

/* The next match at or after `from`; *found false: none. */
static enum tl_code regex_find(struct regex *r, struct tl_slice text, size_t from, bool *found,
                               struct tl_status *st)
{
    int rc = pcre2_match(r->code, text.size ? text.data : (const uint8_t *)"", text.size, from,
                         PCRE2_NO_UTF_CHECK, r->data, r->context);
    *found = rc > 0;
    if (rc > 0 || rc == PCRE2_ERROR_NOMATCH)
        return TL_OK;
    TL_FAIL(st, TL_LIMIT, "a regular expression is too complex for a text: more than %d steps",
            MATCH_STEPS_MAX);
    return tl_status_sql(st, "54001", 0);
}

/* What a group of the last match matched; false: it took no part. */
static bool regex_group(const struct regex *r, struct tl_slice text, uint32_t group,
                        struct tl_slice *out)
{
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(r->data);
    *out = tl_slice_of("", 0);
    if (at[2 * group] == PCRE2_UNSET || at[2 * group] > at[2 * group + 1])
        return false;
    *out = tl_slice_of(text.data + at[2 * group], at[2 * group + 1] - at[2 * group]);
    return true;
}

/* Where to go on after the last match: one character further after an empty one. */
static size_t regex_next(const struct regex *r, struct tl_slice text)
{
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(r->data);
    if (at[1] > at[0] || at[1] >= text.size)
        return at[1] + (at[1] == at[0]);
    return at[1] + tl__utf8_size(text.data[at[1]]);
}

static size_t match_start(const struct regex *r)
{
    return pcre2_get_ovector_pointer(r->data)[0];
}

static size_t match_end(const struct regex *r)
{
    return pcre2_get_ovector_pointer(r->data)[1];
}

/* ---- kernels ---- */

/* The row's regular expression; compiled anew where it differs from the row before. */
static enum tl_code regex_row(struct tl__call *c, struct regex *r, uint32_t row, uint32_t pattern,
                              int flags, bool fold)
{
    struct tl_slice p = tl__text_arg(c, pattern, row);
    struct tl_slice f = flags >= 0 ? tl__text_arg(c, (uint32_t)flags, row) : tl_slice_of("", 0);
    if (r->code && tl_slice_eq(p, r->pattern) && tl_slice_eq(f, r->flags))
        return TL_OK;
    return regex_compile(r, p, f, fold, c->st);
}

static int64_t int_arg(const struct tl__call *c, uint32_t a, uint32_t row)
{
    return TL__ARG(int64_t, c, a)[tl__step(&c->args[a]) * row];
}

static enum tl_code no_global(struct tl__call *c, const struct regex *r, const char *sentence)
{
    return r->all ? tl__fail_sql(c->st, TL__BAD_PARAMETER, sentence) : TL_OK;
}

static enum tl_code matches(struct tl__call *c, bool fold, bool negated, int flags)
{
    uint8_t *out = tl__out(c, 1);
    struct regex r = {0};
    enum tl_code rc = TL_OK;
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        bool found = false;
        rc = regex_row(c, &r, i, 1, flags, fold);
        if (!rc)
            rc = no_global(c, &r, "regexp_like() does not support the \"global\" option");
        if (!rc)
            rc = regex_find(&r, tl__text_arg(c, 0, i), 0, &found, c->st);
        if (rc)
            break;
        out[i] = found != negated;
    }
    regex_clear(&r);
    return rc;
}

TL__KERNEL(regex)
{
    return matches(c, false, false, -1);
}

TL__KERNEL(regex_fold)
{
    return matches(c, true, false, -1);
}

TL__KERNEL(regex_not)
{
    return matches(c, false, true, -1);
}

TL__KERNEL(regex_fold_not)
{
    return matches(c, true, true, -1);
}

TL__KERNEL(regexp_like)
{
    return matches(c, false, false, c->arg_count > 2 ? 2 : -1);
}

/* Where the search begins: character `start` from 1. *past: beyond the text's end. */
static enum tl_code start_of(struct tl__call *c, uint32_t a, uint32_t row, struct tl_slice text,
                             size_t *out, bool *past)
{
    int64_t start = c->arg_count > a ? int_arg(c, a, row) : 1;
    if (start < 1)
        return tl__fail_sql(c->st, TL__BAD_PARAMETER, "invalid value for parameter \"start\"");
    *past = (uint64_t)start > tl__utf8_count(text) + 1;
    *out = tl__utf8_offset(text, (size_t)(start - 1));
    return TL_OK;
}

/* The n-th match from `from` on. */
static enum tl_code find_nth(struct tl__call *c, struct regex *r, struct tl_slice text, size_t from,
                             int64_t n, bool *found)
{
    enum tl_code rc = TL_OK;
    *found = false;
    for (; n > 0 && !rc; n--) {
        *found = false;
        if (from > text.size)
            break;
        rc = regex_find(r, text, from, found, c->st);
        if (!*found)
            break;
        from = regex_next(r, text);
    }
    return rc;
}

/* regexp_count(text, pattern [, start [, flags]]) */
TL__KERNEL(regexp_count)
{
    int64_t *out = tl__out(c, 8);
    struct regex r = {0};
    enum tl_code rc = TL_OK;
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_slice text = tl__text_arg(c, 0, i);
        size_t from = 0;
        bool found = true, past = false;
        rc = regex_row(c, &r, i, 1, c->arg_count > 3 ? 3 : -1, false);
        if (!rc)
            rc = no_global(c, &r, "regexp_count() does not support the \"global\" option");
        if (!rc)
            rc = start_of(c, 2, i, text, &from, &past);
        out[i] = 0;
        while (!rc && !past && found && from <= text.size) {
            rc = regex_find(&r, text, from, &found, c->st);
            if (!rc && found) {
                out[i]++;
                from = regex_next(&r, text);
            }
        }
        if (rc)
            break;
    }
    regex_clear(&r);
    return rc;
}

/* regexp_substr(text, pattern [, start [, n [, flags [, group]]]]) */
TL__KERNEL(regexp_substr)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    uint64_t *valid = out ? tl__out_validity(c) : NULL;
    struct regex r = {0};
    enum tl_code rc = TL_OK;
    if (!valid)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_slice text = tl__text_arg(c, 0, i);
        size_t from = 0;
        bool found = false, past = false;
        int64_t n = c->arg_count > 3 ? int_arg(c, 3, i) : 1;
        int64_t group = c->arg_count > 5 ? int_arg(c, 5, i) : 0;
        rc = regex_row(c, &r, i, 1, c->arg_count > 4 ? 4 : -1, false);
        if (!rc)
            rc = no_global(c, &r, "regexp_substr() does not support the \"global\" option");
        if (!rc)
            rc = start_of(c, 2, i, text, &from, &past);
        if (!rc && (n < 1 || group < 0))
            rc = tl__fail_sql(c->st, TL__BAD_PARAMETER,
                              n < 1 ? "invalid value for parameter \"n\""
                                    : "invalid value for parameter \"subexpr\"");
        if (!rc && !past)
            rc = find_nth(c, &r, text, from, n, &found);
        if (rc)
            break;
        if (!found || group > r.groups || !regex_group(&r, text, (uint32_t)group, &out[i]))
            tl_bit_clear(valid, i);
    }
    regex_clear(&r);
    return rc;
}

/* regexp_instr(text, pattern [, start [, n [, end [, flags [, group]]]]]) */
TL__KERNEL(regexp_instr)
{
    int64_t *out = tl__out(c, 8);
    struct regex r = {0};
    enum tl_code rc = TL_OK;
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_slice text = tl__text_arg(c, 0, i), part;
        size_t from = 0;
        bool found = false, past = false;
        int64_t n = c->arg_count > 3 ? int_arg(c, 3, i) : 1;
        int64_t end = c->arg_count > 4 ? int_arg(c, 4, i) : 0;
        int64_t group = c->arg_count > 6 ? int_arg(c, 6, i) : 0;
        rc = regex_row(c, &r, i, 1, c->arg_count > 5 ? 5 : -1, false);
        if (!rc)
            rc = no_global(c, &r, "regexp_instr() does not support the \"global\" option");
        if (!rc)
            rc = start_of(c, 2, i, text, &from, &past);
        if (!rc && (n < 1 || group < 0 || end < 0 || end > 1))
            rc = tl__fail_sql(c->st, TL__BAD_PARAMETER, "invalid value for a parameter");
        if (!rc && !past)
            rc = find_nth(c, &r, text, from, n, &found);
        if (rc)
            break;
        out[i] = 0;
        if (found && group <= r.groups && regex_group(&r, text, (uint32_t)group, &part)) {
            size_t at = (size_t)(part.data - text.data) + (end ? part.size : 0);
            out[i] = (int64_t)tl__utf8_count(tl_slice_of(text.data, at)) + 1;
        }
    }
    regex_clear(&r);
    return rc;
}

/* substring(text FROM pattern): the first group, or all of the match. */
TL__KERNEL(substring_regex)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    uint64_t *valid = out ? tl__out_validity(c) : NULL;
    struct regex r = {0};
    enum tl_code rc = TL_OK;
    if (!valid)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_slice text = tl__text_arg(c, 0, i);
        bool found = false;
        rc = regex_row(c, &r, i, 1, -1, false);
        if (!rc)
            rc = regex_find(&r, text, 0, &found, c->st);
        if (rc)
            break;
        if (!found || !regex_group(&r, text, r.groups ? 1 : 0, &out[i]))
            tl_bit_clear(valid, i);
    }
    regex_clear(&r);
    return rc;
}

/* \1 … \9 and \& stand for what was matched, \\ for a backslash. */
static void put_replacement(const struct regex *r, struct tl_slice text, struct tl_slice by,
                            struct tl_buffer *to)
{
    for (size_t i = 0; i < by.size; i++) {
        uint8_t next = i + 1 < by.size ? by.data[i + 1] : 0;
        struct tl_slice part;
        if (by.data[i] != '\\' || next == 0) {
            tl_buffer_put_u8(to, by.data[i]);
        } else if (next == '&' || (next >= '1' && next <= '9')) {
            uint32_t group = next == '&' ? 0 : (uint32_t)(next - '0');
            if (group <= r->groups && regex_group(r, text, group, &part))
                tl_buffer_put(to, part.data, part.size);
            i++;
        } else {
            tl_buffer_put_u8(to, '\\');
            i += next == '\\';
        }
    }
}

static enum tl_code replace_row(struct tl__call *c, struct regex *r, uint32_t row, size_t from,
                                int64_t nth, struct tl_buffer *to)
{
    struct tl_slice text = tl__text_arg(c, 0, row), by = tl__text_arg(c, 2, row);
    size_t copied = 0;
    for (int64_t n = 1; from <= text.size; n++) {
        bool found;
        enum tl_code rc = regex_find(r, text, from, &found, c->st);
        if (rc)
            return rc;
        if (!found)
            break;
        if (nth == 0 || n == nth) {
            tl_buffer_put(to, text.data + copied, match_start(r) - copied);
            put_replacement(r, text, by, to);
            copied = match_end(r);
        }
        from = regex_next(r, text);
        if (n == nth || to->size > 2 * TL_TEXT_BYTES_MAX)
            break;
    }
    tl_buffer_put(to, text.data + copied, text.size - copied);
    return TL_OK;
}

/* regexp_replace(text, pattern, by [, flags] | , start [, n [, flags]]) */
TL__KERNEL(regexp_replace)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    struct regex r = {0};
    struct tl_buffer b;
    enum tl_code rc = TL_OK;
    if (!out)
        return c->st->code;
    bool counted = c->arg_count > 3 && c->args[3].type.kind == TL_BIGINT;
    int flags = counted ? (c->arg_count > 5 ? 5 : -1) : c->arg_count > 3 ? 3 : -1;
    tl_buffer_init(&b, "result of regexp_replace", 8 * TL_TEXT_BYTES_MAX);
    TL__EACH(c, i)
    {
        size_t from = 0;
        bool past = false;
        rc = regex_row(c, &r, i, 1, flags, false);
        if (!rc && counted)
            rc = start_of(c, 3, i, tl__text_arg(c, 0, i), &from, &past);
        int64_t nth = counted && c->arg_count > 4 ? int_arg(c, 4, i) : r.all ? 0 : 1;
        if (!rc && nth < 0)
            rc = tl__fail_sql(c->st, TL__BAD_PARAMETER, "invalid value for parameter \"n\"");
        if (!rc)
            rc = replace_row(c, &r, i, past ? SIZE_MAX : from, nth, &b);
        if (!rc && (b.failed || b.size > TL_TEXT_BYTES_MAX))
            rc = tl__fail_sql(c->st, TL__TOO_LONG, "the resulting text is longer than 65536 bytes");
        const void *copy =
            rc ? NULL
               : tl_arena_copy(c->ctx->arena, b.size ? (const void *)b.data : "", b.size, c->st);
        if (!rc && !copy)
            rc = c->st->code;
        if (rc)
            break;
        out[i] = tl_slice_of(copy, b.size);
        tl_buffer_clear(&b);
    }
    tl_buffer_deinit(&b);
    regex_clear(&r);
    return rc;
}

/* regexp_match(text, pattern [, flags]): the groups of the first match, or the match itself. */
TL__KERNEL(regexp_match)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    uint64_t *valid = out ? tl__out_validity(c) : NULL;
    struct regex r = {0};
    enum tl_code rc = TL_OK;
    if (!valid)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_slice text = tl__text_arg(c, 0, i), parts[GROUPS_MAX];
        uint64_t bits[2] = {0};
        bool found = false;
        rc = regex_row(c, &r, i, 1, c->arg_count > 2 ? 2 : -1, false);
        if (!rc)
            rc = no_global(c, &r, "regexp_match() does not support the \"global\" option");
        if (!rc)
            rc = regex_find(&r, text, 0, &found, c->st);
        if (!rc && !found)
            tl_bit_clear(valid, i);
        if (!rc && found) {
            uint32_t count = r.groups ? r.groups : 1;
            for (uint32_t g = 0; g < count; g++)
                if (regex_group(&r, text, r.groups ? g + 1 : 0, &parts[g]))
                    tl_bit_set(bits, g);
            rc = tl_array_build(c->ctx->arena, tl_type_of(TL_TEXT), parts, bits, count, 1, &out[i],
                                c->st);
        }
        if (rc)
            break;
    }
    regex_clear(&r);
    return rc;
}

/* The texts between matches; an empty match at the start or the end, or right after another one,
 * splits nothing off. */
static enum tl_code split_row(struct tl__call *c, struct regex *r, struct tl_slice text,
                              struct tl_slice *out)
{
    struct tl_slice *parts = tl_arena_alloc(c->ctx->arena, sizeof(*parts) * (text.size + 2), c->st);
    if (!parts)
        return c->st->code;
    uint32_t n = 0;
    size_t copied = 0, from = 0;
    bool found = true;
    while (from <= text.size) {
        enum tl_code rc = regex_find(r, text, from, &found, c->st);
        if (rc)
            return rc;
        if (!found)
            break;
        size_t start = match_start(r), end = match_end(r);
        if (end > start || (start > copied && start < text.size)) {
            parts[n++] = tl_slice_of(text.data + copied, start - copied);
            copied = end;
        }
        from = regex_next(r, text);
    }
    parts[n++] =
        tl_slice_of(text.size ? text.data + copied : (const uint8_t *)"", text.size - copied);
    return tl_array_build(c->ctx->arena, tl_type_of(TL_TEXT), parts, NULL, n, 1, out, c->st);
}

TL__KERNEL(regexp_split)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    struct regex r = {0};
    enum tl_code rc = TL_OK;
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        rc = regex_row(c, &r, i, 1, c->arg_count > 2 ? 2 : -1, false);
        if (!rc)
            rc = no_global(c, &r, "regexp_split_to_array() does not support the \"global\" option");
        if (!rc)
            rc = split_row(c, &r, tl__text_arg(c, 0, i), &out[i]);
        if (rc)
            break;
    }
    regex_clear(&r);
    return rc;
}

/* ---- SIMILAR TO ---- */

/* SQL's pattern as a regular expression: % and _ are wild, | * + ? { } ( ) [ ] as there. */
static enum tl_code similar_row(struct tl__call *c, struct tl_slice p, struct tl_slice escape,
                                struct tl_buffer *to)
{
    bool bracket = false;
    if (escape.size > 1 && tl__utf8_count(escape) > 1)
        return tl__fail_sql(c->st, TL__BAD_ESCAPE, "invalid escape string");
    tl_buffer_printf(to, "***:^(?:");
    for (size_t i = 0; i < p.size; i++) {
        uint8_t ch = p.data[i];
        if (escape.size && i + escape.size <= p.size &&
            memcmp(p.data + i, escape.data, escape.size) == 0) {
            i += escape.size;
            if (i >= p.size)
                return tl__fail_sql(c->st, TL__BAD_ESCAPE,
                                    "a pattern must not end with its escape character");
            if (p.data[i] < 0x80)
                tl_buffer_put_u8(to, '\\');
            tl_buffer_put_u8(to, p.data[i]);
        } else if (bracket) {
            if (ch == '\\')
                tl_buffer_put_u8(to, '\\');
            tl_buffer_put_u8(to, ch);
            bracket = ch != ']';
        } else if (ch == '%') {
            tl_buffer_put(to, ".*", 2);
        } else if (ch == '(') {
            tl_buffer_put(to, "(?:", 3);
        } else if (ch == '\\' || ch == '.' || ch == '^' || ch == '$') {
            tl_buffer_put_u8(to, '\\');
            tl_buffer_put_u8(to, ch);
        } else {
            bracket = ch == '[';
            tl_buffer_put_u8(to, ch == '_' ? '.' : ch);
        }
    }
    tl_buffer_put(to, ")$", 2);
    return TL_OK;
}

TL__KERNEL(similar_to)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_buffer b;
        struct tl_slice escape = c->arg_count > 1 ? tl__text_arg(c, 1, i) : tl_slice_of("\\", 1);
        tl_buffer_init(&b, "pattern of SIMILAR TO", 4 * TL_TEXT_BYTES_MAX);
        enum tl_code rc = similar_row(c, tl__text_arg(c, 0, i), escape, &b);
        if (!rc)
            rc = tl_buffer_check(&b, c->st);
        const void *copy = rc ? NULL : tl_arena_copy(c->ctx->arena, b.data, b.size, c->st);
        out[i] = tl_slice_of(copy, b.size);
        tl_buffer_deinit(&b);
        if (rc || !copy)
            return c->st->code;
    }
    return TL_OK;
}
