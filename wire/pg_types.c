#include "wire/pg_types.h"

#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "base/pg_type.h"
#include "base/text.h"
#include "base/time.h"
#include "engine/tally.h"
#include "wire/pg_message.h"

/* PostgreSQL counts from 2000-01-01. */
#define EPOCH_DAYS 10957
#define EPOCH_US   (EPOCH_DAYS * TL_US_PER_DAY)

enum { NUMERIC_POSITIVE = 0x0000, NUMERIC_NEGATIVE = 0x4000, NUMERIC_TEXT_MAX = 160 };

uint32_t tl_pg_oid_of(struct tl_type type)
{
    return tl_pg_type_oid(type);
}

int16_t tl_pg_size_of(struct tl_type type)
{
    return tl_pg_type_size(type);
}

int32_t tl_pg_typmod_of(struct tl_type type)
{
    /* A computed DECIMAL has no bound that a client should hold it to. */
    return type.kind == TL_DECIMAL64 ? ((18 << 16) | type.scale) + 4 : -1;
}

enum tl_code tl_pg_type_of(uint32_t oid, struct tl_type *out, struct tl_status *st)
{
    enum tl_kind kind = TL_NULL;
    switch (oid) {
    case 0:
    case TL_PG_UNKNOWN:
    case TL_PG_NUMERIC: /* its scale is known with its value */
        break;
    case TL_PG_BOOL:
        kind = TL_BOOLEAN;
        break;
    case TL_PG_INT2:
    case TL_PG_INT4:
    case TL_PG_INT8:
    case TL_PG_OID:
        kind = TL_BIGINT;
        break;
    case TL_PG_FLOAT4:
    case TL_PG_FLOAT8:
        kind = TL_DOUBLE;
        break;
    case TL_PG_TEXT:
    case TL_PG_VARCHAR:
    case TL_PG_BPCHAR:
    case TL_PG_UUID:
    case TL_PG_JSON:
    case TL_PG_JSONB:
    case 19: /* name */
        kind = TL_TEXT;
        break;
    case TL_PG_DATE:
        kind = TL_DATE;
        break;
    case TL_PG_TIMESTAMP:
        kind = TL_TIMESTAMP;
        break;
    case TL_PG_TIMESTAMPTZ:
        kind = TL_TIMESTAMPTZ;
        break;
    case TL_PG_INTERVAL:
        kind = TL_INTERVAL;
        break;
    default: {
        struct tl_type array;
        /* The scale of numeric's elements would have to be known before their values. */
        if (tl_pg_type_by_oid(oid, &array) && array.kind == TL_ARRAY &&
            array.element != TL_DECIMAL64 && array.element != TL_DECIMAL128) {
            *out = array;
            return TL_OK;
        }
        TL_FAIL(st, TL_UNSUPPORTED, "parameters of the type with OID %u are not supported", oid);
        return tl_status_sql(st, "0A000", 0);
    }
    }
    *out = tl_type_of(kind);
    return TL_OK;
}

uint32_t tl_pg_oid_of_name(const char *name)
{
    static const struct {
        const char *name;
        uint32_t oid;
    } names[] = {
        {"bool", TL_PG_BOOL},         {"int2", TL_PG_INT2},
        {"int4", TL_PG_INT4},         {"int8", TL_PG_INT8},
        {"float4", TL_PG_FLOAT4},     {"float8", TL_PG_FLOAT8},
        {"numeric", TL_PG_NUMERIC},   {"text", TL_PG_TEXT},
        {"varchar", TL_PG_VARCHAR},   {"bpchar", TL_PG_BPCHAR},
        {"date", TL_PG_DATE},         {"timestamp", TL_PG_TIMESTAMP},
        {"interval", TL_PG_INTERVAL}, {"timestamptz", TL_PG_TIMESTAMPTZ},
        {"uuid", TL_PG_UUID},         {"unknown", TL_PG_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i].name, name) == 0)
            return names[i].oid;
    }
    return 0;
}

/* ---- out ---- */

static const void *value_at(const struct tl_vector *v, uint32_t row)
{
    size_t at = v->shape == TL_CONST ? 0 : row;
    return (const uint8_t *)v->data + at * tl_kind_width((enum tl_kind)v->type.kind);
}

static tl_i128 decimal_at(const struct tl_vector *v, uint32_t row)
{
    if (v->type.kind == TL_DECIMAL64) {
        int64_t narrow;
        memcpy(&narrow, value_at(v, row), sizeof(narrow));
        return narrow;
    }
    tl_i128 wide;
    memcpy(&wide, value_at(v, row), sizeof(wide));
    return wide;
}

/* Groups of four decimal digits on both sides of the point, without zeros around them. */
static void put_numeric(struct tl_buffer *b, tl_i128 value, unsigned scale)
{
    char text[TL_DECIMAL_TEXT_MAX];
    size_t size = tl_print_decimal(value, scale, text);
    const char *p = text, *end = text + size;
    bool negative = *p == '-';
    p += negative;
    const char *point = memchr(p, '.', (size_t)(end - p));
    size_t whole = (size_t)((point ? point : end) - p);
    const char *fraction = point ? point + 1 : end;
    size_t fraction_size = (size_t)(end - fraction);
    uint16_t groups[32];
    int count = 0, weight = (int)((whole + 3) / 4) - 1;
    size_t lead = (4 - whole % 4) % 4; /* zeros before the first digit */
    uint32_t group = 0;
    for (size_t i = 0; i < whole; i++) {
        group = group * 10 + (uint32_t)(p[i] - '0');
        if ((i + lead) % 4 == 3) {
            groups[count++] = (uint16_t)group;
            group = 0;
        }
    }
    for (size_t i = 0; i < (fraction_size + 3) / 4 * 4; i++) {
        group = group * 10 + (uint32_t)(i < fraction_size ? fraction[i] - '0' : 0);
        if (i % 4 == 3) {
            groups[count++] = (uint16_t)group;
            group = 0;
        }
    }
    int first = 0;
    while (first < count && groups[first] == 0) {
        first++;
        weight--;
    }
    while (count > first && groups[count - 1] == 0)
        count--;
    if (first == count)
        weight = 0;
    tl_pg_put_u16(b, (uint16_t)(count - first));
    tl_pg_put_u16(b, (uint16_t)weight);
    tl_pg_put_u16(b, negative ? NUMERIC_NEGATIVE : NUMERIC_POSITIVE);
    tl_pg_put_u16(b, (uint16_t)scale);
    for (int i = first; i < count; i++)
        tl_pg_put_u16(b, groups[i]);
}

/* As wide as the type that the client was told of. */
static void put_integer(struct tl_buffer *b, struct tl_type type, int64_t v)
{
    int16_t size = tl_pg_type_size(type);
    if (size == 2)
        tl_pg_put_u16(b, (uint16_t)v);
    else if (size == 4)
        tl_pg_put_u32(b, (uint32_t)v);
    else
        tl_pg_put_u64(b, (uint64_t)v);
}

static void put_float(struct tl_buffer *b, struct tl_type type, uint64_t bits)
{
    double d;
    uint32_t narrow;
    memcpy(&d, &bits, sizeof(d));
    float f = (float)d;
    memcpy(&narrow, &f, sizeof(narrow));
    if (type.flavour == TL_FLAVOUR_FLOAT4)
        tl_pg_put_u32(b, narrow);
    else
        tl_pg_put_u64(b, bits);
}

static void put_binary(struct tl_buffer *b, const struct tl_vector *v, uint32_t row)
{
    const void *at = value_at(v, row);
    int64_t i64;
    int32_t i32;
    struct tl_interval interval;
    struct tl_slice text;
    switch (v->type.kind) {
    case TL_BOOLEAN:
        tl_buffer_put_u8(b, *(const uint8_t *)at != 0);
        return;
    case TL_BIGINT:
        memcpy(&i64, at, sizeof(i64));
        put_integer(b, v->type, i64);
        return;
    case TL_DOUBLE:
        memcpy(&i64, at, sizeof(i64));
        put_float(b, v->type, (uint64_t)i64);
        return;
    case TL_TIMESTAMP:
    case TL_TIMESTAMPTZ:
        memcpy(&i64, at, sizeof(i64));
        tl_pg_put_u64(b, (uint64_t)i64 - (uint64_t)EPOCH_US);
        return;
    case TL_DATE:
        memcpy(&i32, at, sizeof(i32));
        tl_pg_put_u32(b, (uint32_t)i32 - (uint32_t)EPOCH_DAYS);
        return;
    case TL_DECIMAL64:
    case TL_DECIMAL128:
        put_numeric(b, decimal_at(v, row), v->type.scale);
        return;
    case TL_INTERVAL:
        memcpy(&interval, at, sizeof(interval));
        tl_pg_put_u64(b, (uint64_t)interval.us);
        tl_pg_put_u32(b, (uint32_t)interval.days);
        tl_pg_put_u32(b, (uint32_t)interval.months);
        return;
    default:
        memcpy(&text, at, sizeof(text));
        tl_buffer_put(b, text.data, text.size);
    }
}

static void array_as_text(struct tl_buffer *b, const struct tl_array_view *a, bool vector,
                          const struct tl_zone *zone, struct tl_zone_span *span)
{
    struct tl_buffer text;
    tl_buffer_init(&text, "an element of an array", TL_TEXT_BYTES_MAX);
    if (!vector)
        tl_buffer_put_u8(b, '{');
    for (uint32_t i = 0; i < a->count; i++) {
        uint8_t value[16] __attribute__((aligned(16)));
        struct tl_vector one = {.type = a->element, .shape = TL_CONST, .count = 1, .data = value};
        if (i > 0)
            tl_buffer_put_u8(b, vector ? ' ' : ',');
        if (tl_array_is_null(a, i)) {
            tl_buffer_put(b, "NULL", 4);
            continue;
        }
        text.size = 0;
        tl_array_get(a, i, value);
        tl_pg_put_value(&text, &one, 0, false, zone, span);
        if (vector)
            tl_buffer_put(b, text.data, text.size);
        else
            tl_array_put(b, tl_buffer_slice(&text));
    }
    if (!vector)
        tl_buffer_put_u8(b, '}');
    tl_buffer_deinit(&text);
}

static void array_as_binary(struct tl_buffer *b, const struct tl_array_view *a,
                            const struct tl_zone *zone, struct tl_zone_span *span)
{
    bool nulls = false;
    for (uint32_t i = 0; i < a->count; i++)
        nulls = nulls || tl_array_is_null(a, i);
    tl_pg_put_u32(b, a->count > 0);
    tl_pg_put_u32(b, nulls);
    tl_pg_put_u32(b, tl_pg_type_oid(a->element));
    if (a->count == 0)
        return;
    tl_pg_put_u32(b, a->count);
    tl_pg_put_u32(b, (uint32_t)a->lower);
    struct tl_buffer field;
    tl_buffer_init(&field, "an element of an array", TL_TEXT_BYTES_MAX);
    for (uint32_t i = 0; i < a->count; i++) {
        uint8_t value[16] __attribute__((aligned(16)));
        struct tl_vector one = {.type = a->element, .shape = TL_CONST, .count = 1, .data = value};
        if (tl_array_is_null(a, i)) {
            tl_pg_put_u32(b, UINT32_MAX);
            continue;
        }
        field.size = 0;
        tl_array_get(a, i, value);
        tl_pg_put_value(&field, &one, 0, true, zone, span);
        tl_pg_put_u32(b, (uint32_t)field.size);
        tl_buffer_put(b, field.data, field.size);
    }
    tl_buffer_deinit(&field);
}

static void put_array(struct tl_buffer *b, const struct tl_vector *v, uint32_t row, bool binary,
                      const struct tl_zone *zone, struct tl_zone_span *span)
{
    struct tl_slice bytes;
    memcpy(&bytes, value_at(v, row), sizeof(bytes));
    struct tl_array_view a = tl_array_view(bytes);
    /* The client was told the column's type, which may say more than the value does. */
    struct tl_type told = tl_type_element(v->type);
    if (told.kind == a.element.kind)
        a.element = told;
    bool vector =
        v->type.flavour == TL_FLAVOUR_INT2VECTOR || v->type.flavour == TL_FLAVOUR_OIDVECTOR;
    if (binary)
        array_as_binary(b, &a, zone, span);
    else
        array_as_text(b, &a, vector, zone, span);
}

void tl_pg_put_value(struct tl_buffer *b, const struct tl_vector *v, uint32_t row, bool binary,
                     const struct tl_zone *zone, struct tl_zone_span *span)
{
    char text[TL_INTERVAL_TEXT_MAX];
    _Static_assert((int)TL_INTERVAL_TEXT_MAX >= (int)TL_TIME_TEXT_MAX &&
                       (int)TL_INTERVAL_TEXT_MAX >= (int)TL_DECIMAL_TEXT_MAX,
                   "every value's text fits");
    if (v->type.kind == TL_NULL)
        return;
    if (v->type.kind == TL_ARRAY) {
        put_array(b, v, row, binary, zone, span);
        return;
    }
    if (binary || v->type.kind == TL_TEXT) {
        put_binary(b, v, row);
        return;
    }
    const void *at = value_at(v, row);
    int64_t i64 = 0;
    int32_t i32;
    double d;
    struct tl_interval interval;
    size_t size = 0;
    switch (v->type.kind) {
    case TL_BOOLEAN:
        text[size++] = *(const uint8_t *)at ? 't' : 'f';
        break;
    case TL_BIGINT:
        memcpy(&i64, at, sizeof(i64));
        size = tl_print_int64(i64, text);
        break;
    case TL_DOUBLE:
        memcpy(&d, at, sizeof(d));
        size = tl_print_double(d, text);
        break;
    case TL_DECIMAL64:
    case TL_DECIMAL128:
        size = tl_print_decimal(decimal_at(v, row), v->type.scale, text);
        break;
    case TL_DATE:
        memcpy(&i32, at, sizeof(i32));
        size = tl_print_date(i32, text);
        break;
    case TL_TIMESTAMP:
        memcpy(&i64, at, sizeof(i64));
        size = tl_print_timestamp(i64, text);
        break;
    case TL_TIMESTAMPTZ:
        memcpy(&i64, at, sizeof(i64));
        size = tl_print_timestamptz(i64, zone, span, text);
        break;
    case TL_INTERVAL:
        memcpy(&interval, at, sizeof(interval));
        size = tl_print_interval(interval, text);
        break;
    default:
        break;
    }
    tl_buffer_put(b, text, size);
}

/* ---- in ---- */

static enum tl_code bad_binary(struct tl_status *st, const char *what)
{
    TL_FAIL(st, TL_INVALID, "incorrect binary data format: %s", what);
    return tl_status_sql(st, "22P03", 0);
}

/* A numeric's binary form as digits; what lies beyond DECIMAL(38) is told as out of range. */
static enum tl_code numeric_text(struct tl_slice bytes, char out[NUMERIC_TEXT_MAX], size_t *size,
                                 struct tl_status *st)
{
    struct tl_pg_reader r = tl_pg_reader_of(bytes);
    unsigned count = tl_pg_read_u16(&r);
    int weight = (int16_t)tl_pg_read_u16(&r);
    unsigned sign = tl_pg_read_u16(&r), scale = tl_pg_read_u16(&r);
    if (r.failed || (size_t)(r.end - r.next) != 2 * (size_t)count)
        return bad_binary(st, "numeric");
    if (sign != NUMERIC_POSITIVE && sign != NUMERIC_NEGATIVE) {
        TL_FAIL(st, TL_UNSUPPORTED, "NaN and infinity are not supported in DECIMAL");
        return tl_status_sql(st, "0A000", 0);
    }
    if (weight > 9 || weight < -10 || scale > 38 || count > 20) {
        TL_FAIL(st, TL_INVALID, "numeric value out of range");
        return tl_status_sql(st, "22003", 0);
    }
    uint16_t groups[20];
    for (unsigned i = 0; i < count; i++) {
        groups[i] = tl_pg_read_u16(&r);
        if (groups[i] > 9999)
            return bad_binary(st, "numeric");
    }
    size_t at = 0;
    if (sign == NUMERIC_NEGATIVE)
        out[at++] = '-';
    for (int g = weight < 0 ? 0 : weight; g >= 0; g--) {
        int index = weight - g;
        unsigned group = index >= 0 && index < (int)count ? groups[index] : 0;
        at += (size_t)snprintf(out + at, NUMERIC_TEXT_MAX - at, "%04u", group);
    }
    size_t fraction = 0;
    for (int g = -1; fraction < scale; g--, fraction += 4) {
        int index = weight - g;
        unsigned group = index >= 0 && index < (int)count ? groups[index] : 0;
        at += (size_t)snprintf(out + at, NUMERIC_TEXT_MAX - at, g == -1 ? ".%04u" : "%04u", group);
    }
    *size = at - (fraction > scale ? fraction - scale : 0);
    return TL_OK;
}

int tl_pg_param_scale(struct tl_slice bytes, bool binary)
{
    if (binary)
        return bytes.size >= 8 ? bytes.data[6] << 8 | bytes.data[7] : -1;
    struct tl_status ignored = TL_STATUS_INIT;
    tl_i128 value;
    unsigned scale;
    if (tl_parse_decimal_literal(tl_text_trim(bytes), &value, &scale, &ignored))
        return -1;
    return (int)scale;
}

static uint64_t big_endian(struct tl_slice bytes)
{
    uint64_t v = 0;
    for (size_t i = 0; i < bytes.size; i++)
        v = v << 8 | bytes.data[i];
    return v;
}

static enum tl_code bits_out(struct tl_type type, const void *bits, size_t size,
                             struct tl_arena *arena, struct tl_vector *out, struct tl_status *st)
{
    void *copy = tl_arena_copy(arena, bits, size, st);
    if (copy)
        *out = (struct tl_vector){.type = type, .shape = TL_CONST, .count = 1, .data = copy};
    return st->code;
}

/* An integer of 2, 4 or 8 bytes. */
static bool integer_of(struct tl_slice bytes, int64_t *out)
{
    uint64_t v = big_endian(bytes);
    *out = bytes.size == 2 ? (int16_t)v : bytes.size == 4 ? (int32_t)v : (int64_t)v;
    return bytes.size == 2 || bytes.size == 4 || bytes.size == 8;
}

static bool float_of(struct tl_slice bytes, double *out)
{
    uint64_t v = big_endian(bytes);
    uint32_t half = (uint32_t)v;
    float f;
    memcpy(&f, &half, sizeof(f));
    if (bytes.size == 8)
        memcpy(out, &v, sizeof(v));
    else
        *out = (double)f;
    return bytes.size == 4 || bytes.size == 8;
}

static enum tl_code time_out_of_range(struct tl_status *st)
{
    TL_FAIL(st, TL_INVALID, "timestamp out of range");
    return tl_status_sql(st, "22008", 0);
}

/* The text of a binary value whose type is not the one wanted. */
static enum tl_code through_text(struct tl_slice bytes, uint32_t oid, struct tl_type type,
                                 const char *time_zone, struct tl_arena *arena,
                                 struct tl_vector *out, struct tl_status *st)
{
    char text[NUMERIC_TEXT_MAX];
    size_t size = 0;
    int64_t i64;
    double d;
    switch (oid) {
    case TL_PG_INT2:
    case TL_PG_INT4:
    case TL_PG_INT8:
    case TL_PG_OID:
        if (!integer_of(bytes, &i64))
            return bad_binary(st, "integer");
        if (oid == TL_PG_OID)
            i64 = (int64_t)(uint32_t)i64; /* the one that has no sign */
        size = tl_print_int64(i64, text);
        break;
    case TL_PG_FLOAT4:
    case TL_PG_FLOAT8:
        if (!float_of(bytes, &d))
            return bad_binary(st, "float");
        size = tl_print_double(d, text);
        break;
    case TL_PG_NUMERIC:
        if (numeric_text(bytes, text, &size, st))
            return st->code;
        break;
    case TL_PG_UUID:
        if (bytes.size != 16)
            return bad_binary(st, "uuid");
        for (size_t i = 0; i < 16; i++) {
            if (i == 4 || i == 6 || i == 8 || i == 10)
                text[size++] = '-';
            size += (size_t)snprintf(text + size, 3, "%02x", bytes.data[i]);
        }
        break;
    case TL_PG_JSONB:
        if (bytes.size < 1 || bytes.data[0] != 1)
            return bad_binary(st, "jsonb");
        return tl_pg_param(tl_slice_of(bytes.data + 1, bytes.size - 1), false, TL_PG_TEXT, type,
                           time_zone, arena, out, st);
    default:
        TL_FAIL(st, TL_INVALID, "binary parameters of the type with OID %u do not fit here", oid);
        return tl_status_sql(st, "0A000", 0);
    }
    return tally_param_parse(type, tl_slice_of(text, size), time_zone, arena, out, st);
}

static enum tl_code binary_param(struct tl_slice bytes, uint32_t oid, struct tl_type type,
                                 const char *time_zone, struct tl_arena *arena,
                                 struct tl_vector *out, struct tl_status *st)
{
    if (type.kind == TL_TEXT && (oid == TL_PG_TEXT || oid == TL_PG_VARCHAR || oid == TL_PG_BPCHAR ||
                                 oid == TL_PG_JSON || oid == 19))
        return tl_pg_param(bytes, false, oid, type, time_zone, arena, out, st);
    if (tl_pg_oid_of(type) != oid && !(type.kind == TL_BIGINT && oid != TL_PG_NUMERIC) &&
        !(type.kind == TL_DOUBLE && (oid == TL_PG_FLOAT4 || oid == TL_PG_FLOAT8)))
        return through_text(bytes, oid, type, time_zone, arena, out, st);
    int64_t i64;
    int32_t i32;
    double d;
    switch (type.kind) {
    case TL_BOOLEAN: {
        if (bytes.size != 1)
            return bad_binary(st, "boolean");
        uint8_t value = bytes.data[0] != 0;
        return bits_out(type, &value, 1, arena, out, st);
    }
    case TL_BIGINT:
        if (!integer_of(bytes, &i64))
            return bad_binary(st, "integer");
        if (oid == TL_PG_OID)
            i64 = (int64_t)(uint32_t)i64;
        return bits_out(type, &i64, sizeof(i64), arena, out, st);
    case TL_DOUBLE:
        if (!float_of(bytes, &d))
            return bad_binary(st, "float");
        return bits_out(type, &d, sizeof(d), arena, out, st);
    case TL_DATE:
        if (bytes.size != 4)
            return bad_binary(st, "date");
        i64 = (int64_t)(int32_t)big_endian(bytes) + EPOCH_DAYS;
        if (i64 < TL_DATE_MIN || i64 > TL_DATE_MAX)
            return time_out_of_range(st);
        i32 = (int32_t)i64;
        return bits_out(type, &i32, sizeof(i32), arena, out, st);
    case TL_TIMESTAMP:
    case TL_TIMESTAMPTZ:
        if (bytes.size != 8)
            return bad_binary(st, "timestamp");
        if (__builtin_add_overflow((int64_t)big_endian(bytes), (int64_t)EPOCH_US, &i64) ||
            !tl_timestamp_in_range(i64))
            return time_out_of_range(st);
        return bits_out(type, &i64, sizeof(i64), arena, out, st);
    case TL_INTERVAL: {
        if (bytes.size != 16)
            return bad_binary(st, "interval");
        struct tl_interval v = {
            .us = (int64_t)big_endian(tl_slice_of(bytes.data, 8)),
            .days = (int32_t)big_endian(tl_slice_of(bytes.data + 8, 4)),
            .months = (int32_t)big_endian(tl_slice_of(bytes.data + 12, 4)),
        };
        return bits_out(type, &v, sizeof(v), arena, out, st);
    }
    default:
        return through_text(bytes, oid, type, time_zone, arena, out, st);
    }
}

/* An array of at most one dimension; its elements say their type themselves and are as single
 * values are. An element takes at least the 4 bytes of its length: what is allocated is bounded by
 * what came. */
static enum tl_code binary_array(struct tl_slice bytes, struct tl_type type, const char *time_zone,
                                 struct tl_arena *arena, struct tl_vector *out,
                                 struct tl_status *st)
{
    const struct tl_type element = tl_type_element(type);
    const size_t width = tl_kind_width((enum tl_kind)element.kind);
    struct tl_pg_reader r = tl_pg_reader_of(bytes);
    uint32_t dimensions = tl_pg_read_u32(&r), has_null = tl_pg_read_u32(&r);
    uint32_t oid = tl_pg_read_u32(&r), count = 0, lower = 1;
    if (dimensions > 1) {
        TL_FAIL(st, TL_UNSUPPORTED, "arrays of more than one dimension are not supported");
        return tl_status_sql(st, "0A000", 0);
    }
    if (dimensions == 1) {
        count = tl_pg_read_u32(&r);
        lower = tl_pg_read_u32(&r);
    }
    if (r.failed || has_null > 1 || lower > 1 || count > (size_t)(r.end - r.next) / 4)
        return bad_binary(st, "array");

    uint8_t *values = tl_arena_calloc(arena, (size_t)count + 1, width, st);
    uint64_t *validity = tl_arena_calloc(arena, (size_t)count / 64 + 1, sizeof(*validity), st);
    struct tl_slice *array = tl_arena_alloc(arena, sizeof(*array), st);
    if (!values || !validity || !array)
        return st->code;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t size = tl_pg_read_u32(&r);
        if (size == UINT32_MAX && !r.failed)
            continue;
        struct tl_slice one = tl_pg_read_bytes(&r, size);
        struct tl_vector v;
        if (r.failed)
            return bad_binary(st, "array");
        if (tl_pg_param(one, true, oid, element, time_zone, arena, &v, st))
            return st->code;
        memcpy(values + width * i, v.data, width);
        validity[i / 64] |= 1ull << (i % 64);
    }
    if (!tl_pg_read_done(&r))
        return bad_binary(st, "array");
    if (tl_array_build(arena, element, values, validity, count, (int32_t)lower, array, st))
        return st->code;
    *out = (struct tl_vector){.type = type, .shape = TL_CONST, .count = 1, .data = array};
    return TL_OK;
}

enum tl_code tl_pg_param(struct tl_slice bytes, bool binary, uint32_t oid, struct tl_type type,
                         const char *time_zone, struct tl_arena *arena, struct tl_vector *out,
                         struct tl_status *st)
{
    if (oid == 0 || oid == TL_PG_UNKNOWN)
        oid = tl_pg_oid_of(type);
    if (binary && type.kind == TL_ARRAY)
        return binary_array(bytes, type, time_zone, arena, out, st);
    if (binary)
        return binary_param(bytes, oid, type, time_zone, arena, out, st);
    if (!tl_utf8_valid(bytes, false)) {
        TL_FAIL(st, TL_INVALID, "invalid byte sequence for encoding \"UTF8\"");
        return tl_status_sql(st, "22021", 0);
    }
    return tally_param_parse(type, bytes, time_zone, arena, out, st);
}
