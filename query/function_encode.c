/*
 * Texts in other forms: quoted for SQL, as code points, in hexadecimal and base64, hashed, and
 * format(). bytea does not exist: what PostgreSQL gives as bytea is TEXT here, in hexadecimal.
 */
#include <string.h>

#include <utf8proc.h>

#include "base/text.h"
#include "query/function_int.h"
#include "query/text_int.h"

static enum tl_code too_long(struct tl_status *st)
{
    return tl__fail_sql(st, TL__TOO_LONG, "the resulting text is longer than 65536 bytes");
}

/* Turns what a call appends to a buffer into its result. */
static enum tl_code keep(struct tl__call *c, struct tl_buffer *b, struct tl_slice *out)
{
    if (b->failed || b->size > TL_TEXT_BYTES_MAX)
        return too_long(c->st);
    const void *copy =
        tl_arena_copy(c->ctx->arena, b->size ? (const void *)b->data : "", b->size, c->st);
    *out = tl_slice_of(copy, b->size);
    tl_buffer_clear(b);
    return copy ? TL_OK : c->st->code;
}

typedef enum tl_code row_text(struct tl__call *c, uint32_t row, struct tl_buffer *to);

/* A kernel whose rows append their result to a buffer. */
static enum tl_code each_text(struct tl__call *c, row_text *f)
{
    struct tl_slice *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    struct tl_buffer b;
    enum tl_code rc = TL_OK;
    tl_buffer_init(&b, "result of a function", 4 * TL_TEXT_BYTES_MAX);
    TL__EACH(c, i)
    {
        rc = f(c, i, &b);
        if (!rc)
            rc = keep(c, &b, &out[i]);
        if (rc)
            break;
    }
    tl_buffer_deinit(&b);
    return rc;
}

/* ---- quoting ---- */

/* PostgreSQL's reserved words and those that cannot be column or function names, sorted: an
 * identifier that is one of them needs quotes. */
static const char *const keywords[] = {
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "between",
    "bigint",
    "binary",
    "bit",
    "boolean",
    "both",
    "case",
    "cast",
    "char",
    "character",
    "check",
    "coalesce",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "dec",
    "decimal",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "extract",
    "false",
    "fetch",
    "float",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "greatest",
    "group",
    "grouping",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "inout",
    "int",
    "integer",
    "intersect",
    "interval",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "least",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "national",
    "natural",
    "nchar",
    "none",
    "normalize",
    "not",
    "notnull",
    "null",
    "nullif",
    "numeric",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "out",
    "outer",
    "overlaps",
    "overlay",
    "placing",
    "position",
    "precision",
    "primary",
    "real",
    "references",
    "returning",
    "right",
    "row",
    "select",
    "session_user",
    "setof",
    "similar",
    "smallint",
    "some",
    "substring",
    "symmetric",
    "table",
    "tablesample",
    "then",
    "time",
    "timestamp",
    "to",
    "trailing",
    "treat",
    "trim",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "values",
    "varchar",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
    "xmlattributes",
    "xmlconcat",
    "xmlelement",
    "xmlexists",
    "xmlforest",
    "xmlnamespaces",
    "xmlparse",
    "xmlpi",
    "xmlroot",
    "xmlserialize",
    "xmltable",
};

static bool is_keyword(struct tl_slice s)
{
    size_t low = 0, high = sizeof(keywords) / sizeof(keywords[0]);
    while (low < high) {
        size_t mid = (low + high) / 2;
        int order = tl_slice_cmp(s, tl_slice_str(keywords[mid]));
        if (order == 0)
            return true;
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return false;
}

static void put_ident(struct tl_buffer *to, struct tl_slice s)
{
    bool plain = s.size > 0 && !is_keyword(s);
    for (size_t i = 0; i < s.size && plain; i++) {
        uint8_t ch = s.data[i];
        plain = (ch >= 'a' && ch <= 'z') || ch == '_' || (i > 0 && ch >= '0' && ch <= '9');
    }
    if (plain) {
        tl_buffer_put(to, s.data, s.size);
        return;
    }
    tl_buffer_put_u8(to, '"');
    for (size_t i = 0; i < s.size; i++) {
        if (s.data[i] == '"')
            tl_buffer_put_u8(to, '"');
        tl_buffer_put_u8(to, s.data[i]);
    }
    tl_buffer_put_u8(to, '"');
}

static void put_literal(struct tl_buffer *to, struct tl_slice s)
{
    bool escape = s.size && memchr(s.data, '\\', s.size);
    if (escape)
        tl_buffer_put_u8(to, 'E');
    tl_buffer_put_u8(to, '\'');
    for (size_t i = 0; i < s.size; i++) {
        if (s.data[i] == '\'' || s.data[i] == '\\')
            tl_buffer_put_u8(to, s.data[i]);
        tl_buffer_put_u8(to, s.data[i]);
    }
    tl_buffer_put_u8(to, '\'');
}

static enum tl_code ident_row(struct tl__call *c, uint32_t row, struct tl_buffer *to)
{
    put_ident(to, tl__text_arg(c, 0, row));
    return TL_OK;
}

static enum tl_code literal_row(struct tl__call *c, uint32_t row, struct tl_buffer *to)
{
    put_literal(to, tl__text_arg(c, 0, row));
    return TL_OK;
}

static enum tl_code nullable_row(struct tl__call *c, uint32_t row, struct tl_buffer *to)
{
    if (tl_vector_valid(&c->args[0], row))
        put_literal(to, tl__text_arg(c, 0, row));
    else
        tl_buffer_put(to, "NULL", 4);
    return TL_OK;
}

TL__KERNEL(quote_ident)
{
    return each_text(c, ident_row);
}

TL__KERNEL(quote_literal)
{
    return each_text(c, literal_row);
}

TL__KERNEL(quote_nullable)
{
    return each_text(c, nullable_row);
}

/* ---- format ---- */

/* Fills up to `width` characters; a negative width or '-' sets the text to the left. */
static void put_padded(struct tl_buffer *to, struct tl_slice s, int64_t width, bool left)
{
    size_t have = tl__utf8_count(s);
    if (width < 0) {
        left = true;
        width = -width;
    }
    size_t pad = (size_t)width > have ? (size_t)width - have : 0;
    for (size_t i = 0; i < pad && !left; i++)
        tl_buffer_put_u8(to, ' ');
    tl_buffer_put(to, s.data, s.size);
    for (size_t i = 0; i < pad && left; i++)
        tl_buffer_put_u8(to, ' ');
}

/* A number within a format; false: there is none. */
static bool format_number(struct tl_slice f, size_t *at, int64_t *out)
{
    size_t start = *at;
    int64_t v = 0;
    for (; *at < f.size && f.data[*at] >= '0' && f.data[*at] <= '9'; (*at)++)
        v = v < 100000000 ? v * 10 + (f.data[*at] - '0') : v;
    *out = v;
    return *at > start;
}

static enum tl_code bad_format(struct tl__call *c, const char *sentence)
{
    return tl__fail_sql(c->st, TL__BAD_PARAMETER, sentence);
}

/* Argument `n` (from 1) of the row; false: NULL. */
static bool format_arg(struct tl__call *c, int64_t n, uint32_t row, struct tl_slice *out)
{
    *out = tl_slice_of("", 0);
    if (!tl_vector_valid(&c->args[n], row))
        return false;
    *out = tl__text_arg(c, (uint32_t)n, row);
    return true;
}

static enum tl_code format_one(struct tl__call *c, uint32_t row, struct tl_slice f, size_t *at,
                               int64_t *next, struct tl_buffer *to)
{
    int64_t width = 0, n = 0, position = 0;
    bool left = false;
    size_t start = *at;
    if (format_number(f, at, &n) && *at < f.size && f.data[*at] == '$') {
        position = n;
        (*at)++;
        if (position == 0)
            return bad_format(c, "format specifies argument 0, but arguments are numbered from 1");
    } else {
        *at = start;
    }
    while (*at < f.size && f.data[*at] == '-') {
        left = true;
        (*at)++;
    }
    if (*at < f.size && f.data[*at] == '*')
        return bad_format(c, "a width of format() that is an argument is not supported");
    (void)format_number(f, at, &width);
    if (*at >= f.size)
        return bad_format(c, "unterminated format() type specifier");
    uint8_t kind = f.data[(*at)++];
    if (kind == '%') {
        tl_buffer_put_u8(to, '%');
        return TL_OK;
    }
    if (kind != 's' && kind != 'I' && kind != 'L')
        return bad_format(c, "unrecognized format() type specifier; for a single \"%\" use \"%%\"");
    n = position ? position : *next;
    *next = n + 1;
    if (n >= c->arg_count)
        return bad_format(c, "too few arguments for format()");
    if (width > TL_TEXT_BYTES_MAX)
        return too_long(c->st);
    struct tl_slice arg;
    bool valid = format_arg(c, n, row, &arg);
    if (!valid && kind == 'I')
        return tl__fail_sql(c->st, "22004", "null values cannot be formatted as an SQL identifier");
    struct tl_buffer quoted;
    tl_buffer_init(&quoted, "argument of format()", 4 * TL_TEXT_BYTES_MAX);
    if (kind == 's')
        tl_buffer_put(&quoted, arg.data, arg.size);
    else if (kind == 'I')
        put_ident(&quoted, arg);
    else if (valid)
        put_literal(&quoted, arg);
    else
        tl_buffer_put(&quoted, "NULL", 4);
    put_padded(to, tl_buffer_slice(&quoted), width, left);
    tl_buffer_deinit(&quoted);
    return TL_OK;
}

static enum tl_code format_row(struct tl__call *c, uint32_t row, struct tl_buffer *to)
{
    struct tl_slice f = tl__text_arg(c, 0, row);
    int64_t next = 1;
    enum tl_code rc = TL_OK;
    for (size_t at = 0; at < f.size && !rc;) {
        if (f.data[at] != '%') {
            tl_buffer_put_u8(to, f.data[at++]);
            continue;
        }
        at++;
        rc = format_one(c, row, f, &at, &next, to);
    }
    return rc;
}

/* NULL where the format is NULL; the other arguments may be. */
TL__KERNEL(format)
{
    const struct tl_vector *f = &c->args[0];
    struct tl_slice *out = tl__out(c, sizeof(*out));
    uint64_t *valid = out ? tl__out_validity(c) : NULL;
    if (!valid)
        return c->st->code;
    struct tl_buffer b;
    enum tl_code rc = TL_OK;
    tl_buffer_init(&b, "result of format()", 4 * TL_TEXT_BYTES_MAX);
    TL__EACH(c, i)
    {
        if (!tl_vector_valid(f, i)) {
            tl_bit_clear(valid, i);
            continue;
        }
        rc = format_row(c, i, &b);
        if (!rc)
            rc = keep(c, &b, &out[i]);
        if (rc)
            break;
    }
    tl_buffer_deinit(&b);
    return rc;
}

/* ---- characters ---- */

TL__KERNEL(ascii)
{
    int64_t *out = tl__out(c, 8);
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        struct tl_slice s = tl__text_arg(c, 0, i);
        utf8proc_int32_t code = 0;
        if (s.size)
            (void)utf8proc_iterate(s.data, (utf8proc_ssize_t)s.size, &code);
        out[i] = code < 0 ? 0 : code;
    }
    return TL_OK;
}

TL__KERNEL(chr)
{
    const int64_t *a = c->args[0].data;
    struct tl_slice *out = tl__out(c, sizeof(*out));
    if (!out)
        return c->st->code;
    TL__EACH(c, i)
    {
        if (a[i] == 0)
            return tl__fail_sql(c->st, TL__TOO_LONG, "null character not permitted");
        if (a[i] < 0 || a[i] > 0x10FFFF || (a[i] >= 0xD800 && a[i] < 0xE000))
            return tl__fail_sql(c->st, TL__TOO_LONG, "requested character not valid for encoding");
        uint8_t *p = tl_arena_alloc(c->ctx->arena, 4, c->st);
        if (!p)
            return c->st->code;
        out[i] = tl_slice_of(p, (size_t)utf8proc_encode_char((utf8proc_int32_t)a[i], p));
    }
    return TL_OK;
}

static enum tl_code translate_row(struct tl__call *c, uint32_t row, struct tl_buffer *to)
{
    struct tl_slice text = tl__text_arg(c, 0, row), from = tl__text_arg(c, 1, row);
    struct tl_slice by = tl__text_arg(c, 2, row);
    for (size_t at = 0; at < text.size;) {
        size_t size = tl__utf8_size(text.data[at]);
        size_t f = 0, b = 0;
        while (f < from.size && (tl__utf8_size(from.data[f]) != size ||
                                 memcmp(from.data + f, text.data + at, size) != 0)) {
            f += tl__utf8_size(from.data[f]);
            if (b < by.size)
                b += tl__utf8_size(by.data[b]);
        }
        if (f >= from.size)
            tl_buffer_put(to, text.data + at, size);
        else if (b < by.size)
            tl_buffer_put(to, by.data + b, tl__utf8_size(by.data[b]));
        at += size;
    }
    return TL_OK;
}

TL__KERNEL(translate)
{
    return each_text(c, translate_row);
}

/* overlay(text, by, from [, count]) */
static enum tl_code overlay_row(struct tl__call *c, uint32_t row, struct tl_buffer *to)
{
    struct tl_slice text = tl__text_arg(c, 0, row), by = tl__text_arg(c, 1, row);
    int64_t from = TL__ARG(int64_t, c, 2)[tl__step(&c->args[2]) * row];
    int64_t count = c->arg_count > 3 ? TL__ARG(int64_t, c, 3)[tl__step(&c->args[3]) * row]
                                     : (int64_t)tl__utf8_count(by);
    int64_t rest;
    if (from <= 0)
        return tl__fail_sql(c->st, TL__BAD_SUBSTRING, "negative substring length not allowed");
    if (__builtin_add_overflow(from, count, &rest))
        return tl__fail_sql(c->st, TL__OUT_OF_RANGE, "integer out of range");
    size_t head = tl__utf8_offset(text, (size_t)(from - 1));
    size_t tail = rest <= 1 ? 0 : tl__utf8_offset(text, (size_t)(rest - 1));
    tl_buffer_put(to, text.data, head);
    tl_buffer_put(to, by.data, by.size);
    tl_buffer_put(to, text.data + tail, text.size - tail);
    return TL_OK;
}

TL__KERNEL(overlay)
{
    return each_text(c, overlay_row);
}

static enum tl_code to_hex_row(struct tl__call *c, uint32_t row, struct tl_buffer *to)
{
    int64_t v = TL__ARG(int64_t, c, 0)[tl__step(&c->args[0]) * row];
    bool narrow = c->args[0].type.flavour == TL_FLAVOUR_INT4; /* to_hex(-1) has 8 digits */
    tl_buffer_printf(to, "%llx", (unsigned long long)(narrow ? (uint32_t)v : (uint64_t)v));
    return TL_OK;
}

TL__KERNEL(to_hex)
{
    return each_text(c, to_hex_row);
}

/* ---- hashes ---- */

static uint32_t rotate_left(uint32_t v, unsigned by)
{
    return v << by | v >> (32 - by);
}

static uint32_t rotate_right(uint32_t v, unsigned by)
{
    return v >> by | v << (32 - by);
}

/* The last one or two blocks of a message of MD5 or SHA-256. */
static size_t padded_tail(struct tl_slice s, bool big_endian, uint8_t tail[128])
{
    size_t rest = s.size % 64, size = rest < 56 ? 64 : 128;
    memset(tail, 0, 128);
    if (rest)
        memcpy(tail, s.data + s.size - rest, rest);
    tail[rest] = 0x80;
    uint64_t bits = (uint64_t)s.size * 8;
    for (unsigned i = 0; i < 8; i++)
        tail[size - 8 + i] = (uint8_t)(bits >> 8 * (big_endian ? 7 - i : i));
    return size;
}

/* RFC 1321 */
static void md5_block(uint32_t h[4], const uint8_t *p)
{
    static const uint8_t shifts[4][4] = {
        {7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
    static const uint32_t sines[64] = {
        0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613,
        0xfd469501, 0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193,
        0xa679438e, 0x49b40821, 0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d,
        0x02441453, 0xd8a1e681, 0xe7d3fbc8, 0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed,
        0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a, 0xfffa3942, 0x8771f681, 0x6d9d6122,
        0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70, 0x289b7ec6, 0xeaa127fa,
        0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665, 0xf4292244,
        0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
        0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb,
        0xeb86d391};
    uint32_t a = h[0], b = h[1], c = h[2], d = h[3];
    for (unsigned i = 0; i < 64; i++) {
        unsigned round = i / 16, word;
        uint32_t f;
        if (round == 0)
            f = (b & c) | (~b & d), word = i;
        else if (round == 1)
            f = (d & b) | (~d & c), word = 5 * i + 1;
        else if (round == 2)
            f = b ^ c ^ d, word = 3 * i + 5;
        else
            f = c ^ (b | ~d), word = 7 * i;
        f += a + sines[i] + tl_get_u32le(p + 4 * (word % 16));
        a = d;
        d = c;
        c = b;
        b += rotate_left(f, shifts[round][i % 4]);
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
}

static enum tl_code md5_row(struct tl__call *c, uint32_t row, struct tl_buffer *to)
{
    struct tl_slice s = tl__text_arg(c, 0, row);
    uint32_t h[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    uint8_t tail[128], sum[16];
    char hex[33];
    for (size_t at = 0; at + 64 <= s.size; at += 64)
        md5_block(h, s.data + at);
    size_t size = padded_tail(s, false, tail);
    for (size_t at = 0; at < size; at += 64)
        md5_block(h, tail + at);
    for (unsigned i = 0; i < 4; i++)
        tl_put_u32le(sum + 4 * i, h[i]);
    tl_print_hex(sum, sizeof(sum), hex);
    tl_buffer_put(to, hex, 32);
    return TL_OK;
}

TL__KERNEL(md5)
{
    return each_text(c, md5_row);
}

/* FIPS 180-4 */
static void sha256_block(uint32_t h[8], const uint8_t *p)
{
    static const uint32_t k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
        0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
        0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
        0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
        0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
        0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
        0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
        0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
        0xc67178f2};
    uint32_t w[64], v[8];
    for (unsigned i = 0; i < 16; i++)
        w[i] = __builtin_bswap32(tl_get_u32le(p + 4 * i));
    for (unsigned i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (rotate_right(a, 7) ^ rotate_right(a, 18) ^ a >> 3) +
               (rotate_right(b, 17) ^ rotate_right(b, 19) ^ b >> 10);
    }
    memcpy(v, h, sizeof(v));
    for (unsigned i = 0; i < 64; i++) {
        uint32_t e = v[4], a = v[0];
        uint32_t t1 = v[7] + (rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25)) +
                      ((e & v[5]) ^ (~e & v[6])) + k[i] + w[i];
        uint32_t t2 = (rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22)) +
                      ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof(v[0]));
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (unsigned i = 0; i < 8; i++)
        h[i] += v[i];
}

static enum tl_code sha256_row(struct tl__call *c, uint32_t row, struct tl_buffer *to)
{
    struct tl_slice s = tl__text_arg(c, 0, row);
    uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    uint8_t tail[128];
    for (size_t at = 0; at + 64 <= s.size; at += 64)
        sha256_block(h, s.data + at);
    size_t size = padded_tail(s, true, tail);
    for (size_t at = 0; at < size; at += 64)
        sha256_block(h, tail + at);
    tl_buffer_put(to, "\\x", 2);
    for (unsigned i = 0; i < 8; i++)
        tl_buffer_printf(to, "%08x", h[i]);
    return TL_OK;
}

TL__KERNEL(sha256)
{
    return each_text(c, sha256_row);
}
