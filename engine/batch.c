#include "engine/batch.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/text.h"
#include "base/time.h"

/*
 * Field numbers of tally.v1.Batch and tally.v1.Column (wire/proto/tally.proto). A repeated number
 * field may come packed, unpacked, or in several pieces, as protobuf allows; a field that is not
 * known is refused, since a collector that sends what we do not store would lose it silently.
 */
enum { BATCH_TABLE = 1, BATCH_ROWS = 2, BATCH_COLUMNS = 3 };
enum {
    COLUMN_NAME = 1,
    COLUMN_VALIDITY,
    COLUMN_INTS,
    COLUMN_DELTA,
    COLUMN_DOUBLES,
    COLUMN_BOOLS,
    COLUMN_BLOB,
    COLUMN_LENGTHS,
    COLUMN_CODES
};
enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

enum { ROWS_MAX = TL_BATCH_ROWS_MAX };

/* One field: its number, wire type, and the value or the bytes. False at the end or on damage. */
struct field {
    uint32_t number;
    uint32_t wire;
    uint64_t value;
    struct tl_slice bytes;
};

static bool next_field(struct tl_reader *r, struct field *f)
{
    if (r->failed || tl_reader_left(r) == 0)
        return false;
    uint64_t tag = tl_read_varint(r);
    if (r->failed || tag >> 3 == 0 || tag >> 3 > UINT32_MAX) {
        r->failed = true;
        return false;
    }
    f->number = (uint32_t)(tag >> 3);
    f->wire = (uint32_t)(tag & 7);
    switch (f->wire) {
    case WIRE_VARINT:
        f->value = tl_read_varint(r);
        break;
    case WIRE_FIXED64:
        f->value = tl_read_u64(r);
        break;
    case WIRE_BYTES: {
        uint64_t size = tl_read_varint(r);
        if (r->failed || size > tl_reader_left(r)) {
            r->failed = true;
            return false;
        }
        f->bytes = tl_read_bytes(r, (size_t)size);
        break;
    }
    default:
        r->failed = true;
    }
    return !r->failed;
}

enum tl_code tl_batch_table(struct tl_slice body, struct tl_slice *name, struct tl_status *st)
{
    struct tl_reader r = tl_reader_of(body);
    struct field f;
    *name = tl_slice_of(NULL, 0);
    while (next_field(&r, &f))
        if (f.number == BATCH_TABLE && f.wire == WIRE_BYTES)
            *name = f.bytes;
    if (r.failed)
        return TL_FAIL(st, TL_INVALID, "the batch is not a tally.v1.Batch message");
    if (name->size == 0)
        *name = tl_slice_str("events");
    return TL_OK;
}

/* The last byte of a varint has its high bit clear. */
static size_t count_varints(struct tl_slice s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.size; i++)
        n += s.data[i] < 0x80;
    return n;
}

/* Decodes at most `limit` varints of a packed span that was seen to end with a whole one. */
static bool read_u32s(struct tl_slice s, uint32_t *out, size_t limit, size_t *done)
{
    const uint8_t *p = s.data;
    const uint8_t *end = p + s.size;
    size_t n = *done;
    while (p < end) {
        uint64_t eight;
        if (end - p >= 8 && n + 8 <= limit &&
            (memcpy(&eight, p, 8), (eight & 0x8080808080808080ULL) == 0)) {
            for (int i = 0; i < 8; i++)
                out[n + (size_t)i] = p[i];
            n += 8;
            p += 8;
            continue;
        }
        if (n >= limit)
            return false;
        uint32_t v = *p++;
        if (v >= 0x80) {
            v &= 0x7f;
            uint32_t shift = 7;
            for (;;) {
                if (p == end || shift > 28)
                    return false;
                uint32_t b = *p++;
                if (shift == 28 && b > 0x0f)
                    return false;
                v |= (b & 0x7f) << shift;
                if (b < 0x80)
                    break;
                shift += 7;
            }
        }
        out[n++] = v;
    }
    *done = n;
    return true;
}

static bool read_zigzags(struct tl_slice s, int64_t *out, size_t limit, size_t *done)
{
    const uint8_t *p = s.data;
    const uint8_t *end = p + s.size;
    size_t n = *done;
    while (p < end) {
        if (n >= limit)
            return false;
        uint64_t v = *p++;
        if (v >= 0x80) {
            v &= 0x7f;
            uint32_t shift = 7;
            for (;;) {
                if (p == end || shift > 63)
                    return false;
                uint64_t b = *p++;
                if (shift == 63 && b > 1)
                    return false;
                v |= (b & 0x7f) << shift;
                if (b < 0x80)
                    break;
                shift += 7;
            }
        }
        out[n++] = (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
    }
    *done = n;
    return true;
}

/* What the fields of one Column message hold, before their values are decoded. */
struct column_fields {
    struct tl_slice name, validity, bools, blob;
    bool delta;
    size_t ints, doubles, lengths, codes; /* how many values */
};

static enum tl_code malformed(struct tl_slice name, const char *what, struct tl_status *st)
{
    return TL_FAIL(st, TL_INVALID, "column %.*s: %s", (int)(name.size > 64 ? 64 : name.size),
                   name.data ? (const char *)name.data : "", what);
}

static enum tl_code scan_column(struct tl_slice message, struct column_fields *out,
                                struct tl_status *st)
{
    struct tl_reader r = tl_reader_of(message);
    struct field f;
    *out = (struct column_fields){.delta = false};
    while (next_field(&r, &f)) {
        bool packed = f.wire == WIRE_BYTES;
        switch (f.number) {
        case COLUMN_NAME:
            out->name = packed ? f.bytes : out->name;
            break;
        case COLUMN_VALIDITY:
            out->validity = packed ? f.bytes : out->validity;
            break;
        case COLUMN_BOOLS:
            out->bools = packed ? f.bytes : out->bools;
            break;
        case COLUMN_BLOB:
            out->blob = packed ? f.bytes : out->blob;
            break;
        case COLUMN_DELTA:
            out->delta = f.value != 0;
            packed = f.wire != WIRE_VARINT; /* any other wire type is damage */
            if (packed)
                return malformed(out->name, "delta is not a bool", st);
            break;
        case COLUMN_INTS:
            out->ints += packed ? count_varints(f.bytes) : 1;
            break;
        case COLUMN_LENGTHS:
            out->lengths += packed ? count_varints(f.bytes) : 1;
            break;
        case COLUMN_CODES:
            out->codes += packed ? count_varints(f.bytes) : 1;
            break;
        case COLUMN_DOUBLES:
            if (packed && f.bytes.size % 8 != 0)
                return malformed(out->name, "packed doubles end within a value", st);
            out->doubles += packed ? f.bytes.size / 8 : 1;
            break;
        default:
            return TL_FAIL(st, TL_INVALID, "a Column message has the field %u, which is not known",
                           f.number);
        }
    }
    if (r.failed)
        return malformed(out->name, "the message is cut off or damaged", st);
    return TL_OK;
}

/* Decodes the number fields of one kind, in their order, from a Column message. */
static bool fill_u32s(struct tl_slice message, uint32_t number, uint32_t *out, size_t count)
{
    struct tl_reader r = tl_reader_of(message);
    struct field f;
    size_t done = 0;
    while (next_field(&r, &f)) {
        if (f.number != number)
            continue;
        if (f.wire == WIRE_BYTES) {
            if (!read_u32s(f.bytes, out, count, &done))
                return false;
        } else if (f.wire != WIRE_VARINT || f.value > UINT32_MAX || done >= count) {
            return false;
        } else {
            out[done++] = (uint32_t)f.value;
        }
    }
    return done == count;
}

static bool fill_ints(struct tl_slice message, int64_t *out, size_t count)
{
    struct tl_reader r = tl_reader_of(message);
    struct field f;
    size_t done = 0;
    while (next_field(&r, &f)) {
        if (f.number != COLUMN_INTS)
            continue;
        if (f.wire == WIRE_BYTES) {
            if (!read_zigzags(f.bytes, out, count, &done))
                return false;
        } else if (f.wire != WIRE_VARINT || done >= count) {
            return false;
        } else {
            out[done++] = (int64_t)(f.value >> 1) ^ -(int64_t)(f.value & 1);
        }
    }
    return done == count;
}

static bool fill_doubles(struct tl_slice message, double *out, size_t count)
{
    struct tl_reader r = tl_reader_of(message);
    struct field f;
    size_t done = 0;
    while (next_field(&r, &f)) {
        if (f.number != COLUMN_DOUBLES)
            continue;
        size_t n = f.wire == WIRE_BYTES ? f.bytes.size / 8 : 1;
        if ((f.wire != WIRE_BYTES && f.wire != WIRE_FIXED64) || done + n > count)
            return false;
        for (size_t i = 0; i < n; i++) {
            uint64_t bits = f.wire == WIRE_BYTES ? tl_get_u64le(f.bytes.data + 8 * i) : f.value;
            memcpy(&out[done++], &bits, 8);
        }
    }
    return done == count;
}

static enum tl_code decode_ints(struct tl_slice message, const struct column_fields *f,
                                uint32_t rows, struct tl_arena *arena, struct tl_batch_column *out,
                                struct tl_status *st)
{
    if (f->ints != rows)
        return TL_FAIL(st, TL_INVALID, "column %.*s: %zu ints for %u rows", (int)f->name.size,
                       (const char *)f->name.data, f->ints, rows);
    int64_t *ints = tl_arena_alloc(arena, (size_t)rows * 8, st);
    if (!ints)
        return st->code;
    if (!fill_ints(message, ints, rows))
        return malformed(f->name, "a varint is cut off or too long", st);
    if (f->delta) {
        uint64_t sum = 0; /* wraps as two's complement does; judged as any other value */
        for (uint32_t i = 0; i < rows; i++) {
            sum += (uint64_t)ints[i];
            ints[i] = (int64_t)sum;
        }
    }
    out->ints = ints;
    return TL_OK;
}

static enum tl_code decode_text(struct tl_slice message, const struct column_fields *f,
                                uint32_t rows, struct tl_arena *arena, struct tl_batch_column *out,
                                struct tl_status *st)
{
    bool dictionary = f->codes > 0 || (f->lengths != rows);
    if (dictionary ? f->codes != rows : f->lengths != rows)
        return TL_FAIL(st, TL_INVALID, "column %.*s: %zu codes and %zu lengths for %u rows",
                       (int)f->name.size, (const char *)f->name.data, f->codes, f->lengths, rows);
    if (f->lengths > TL_BATCH_STRINGS_MAX)
        return malformed(f->name, "too many strings", st);
    uint32_t *lengths = tl_arena_alloc(arena, f->lengths * 4 + 4, st);
    struct tl_slice *strings = tl_arena_alloc(arena, f->lengths * sizeof(*strings) + 16, st);
    uint32_t *codes = tl_arena_alloc(arena, (size_t)rows * 4, st);
    if (!lengths || !strings || !codes)
        return st->code;
    if (!fill_u32s(message, COLUMN_LENGTHS, lengths, f->lengths))
        return malformed(f->name, "a length is cut off or too long", st);
    size_t offset = 0;
    for (size_t i = 0; i < f->lengths; i++) {
        if (lengths[i] > f->blob.size - offset)
            return malformed(f->name, "the lengths go beyond the blob", st);
        strings[i] = tl_slice_of(f->blob.data + offset, lengths[i]);
        offset += lengths[i];
    }
    if (offset != f->blob.size)
        return malformed(f->name, "the blob is longer than its lengths say", st);
    if (dictionary) {
        if (!fill_u32s(message, COLUMN_CODES, codes, rows))
            return malformed(f->name, "a code is cut off or too long", st);
        uint32_t greatest = 0;
        for (uint32_t i = 0; i < rows; i++)
            greatest = codes[i] > greatest ? codes[i] : greatest;
        if (greatest >= f->lengths) {
            /* Entries of NULL rows are ignored, so only now is a look at validity worth it. */
            for (uint32_t i = 0; i < rows; i++) {
                if (codes[i] < f->lengths)
                    continue;
                if (tl_batch_valid(out, i))
                    return malformed(f->name, "a code is not an index into the values", st);
                codes[i] = 0;
            }
        }
    } else {
        for (uint32_t i = 0; i < rows; i++)
            codes[i] = i;
    }
    out->codes = codes;
    out->strings = strings;
    out->string_count = (uint32_t)f->lengths;
    return TL_OK;
}

static enum tl_code decode_column(struct tl_slice message, const struct tl_table *table,
                                  uint32_t rows, struct tl_arena *arena,
                                  struct tl_batch_column *columns, struct tl_status *st)
{
    struct column_fields f;
    if (scan_column(message, &f, st))
        return st->code;
    int32_t index = tl_table_column(table, f.name);
    if (index < 0) {
        TL_FAIL(st, TL_INVALID, "table %s has no column \"%.*s\"", table->info.name,
                (int)(f.name.size > 64 ? 64 : f.name.size),
                f.name.data ? (const char *)f.name.data : "");
        return tl_status_sql(st, "42703", 0);
    }
    struct tl_batch_column *out = &columns[index];
    if (out->present)
        return malformed(f.name, "it comes twice in the batch", st);
    out->present = true;
    if (f.validity.size > 0) {
        if (f.validity.size != (rows + 7) / 8)
            return malformed(f.name, "the validity bitmap does not fit the number of rows", st);
        out->validity = f.validity.data;
    }
    uint8_t kind = table->info.columns[index].type.kind;
    bool text = kind == TL_TEXT || kind == TL_PROPS;
    bool ints = !text && kind != TL_DOUBLE && kind != TL_BOOLEAN;
    if ((f.ints > 0 && !ints) || (f.doubles > 0 && kind != TL_DOUBLE) ||
        (f.bools.size > 0 && kind != TL_BOOLEAN) ||
        ((f.codes > 0 || f.lengths > 0 || f.blob.size > 0) && !text)) {
        char type[32];
        return TL_FAIL(st, TL_INVALID, "column %.*s is %s; the batch sends values of another kind",
                       (int)f.name.size, (const char *)f.name.data,
                       tl_type_name(table->info.columns[index].type, type, sizeof(type)));
    }
    if (text)
        return decode_text(message, &f, rows, arena, out, st);
    if (ints)
        return decode_ints(message, &f, rows, arena, out, st);
    if (kind == TL_BOOLEAN) {
        if (f.bools.size != rows)
            return malformed(f.name, "bools must have one byte a row", st);
        for (uint32_t i = 0; i < rows; i++)
            if (f.bools.data[i] > 1)
                return malformed(f.name, "a bool is neither 0 nor 1", st);
        out->bools = f.bools.data;
        return TL_OK;
    }
    if (f.doubles != rows)
        return malformed(f.name, "the number of doubles is not the number of rows", st);
    double *doubles = tl_arena_alloc(arena, (size_t)rows * 8, st);
    if (!doubles)
        return st->code;
    if (!fill_doubles(message, doubles, rows))
        return malformed(f.name, "doubles are damaged", st);
    out->doubles = doubles;
    return TL_OK;
}

enum tl_code tl_batch_decode(struct tl_slice body, const struct tl_table *table,
                             struct tl_arena *arena, struct tl_batch *out, struct tl_status *st)
{
    struct tl_reader r = tl_reader_of(body);
    struct field f;
    uint64_t rows = 0;
    while (next_field(&r, &f)) {
        if (f.number == BATCH_ROWS && f.wire == WIRE_VARINT)
            rows = f.value;
        else if (!(f.number == BATCH_COLUMNS && f.wire == WIRE_BYTES) &&
                 !(f.number == BATCH_TABLE && f.wire == WIRE_BYTES))
            return TL_FAIL(st, TL_INVALID, "a Batch message has the field %u, which is not known",
                           f.number);
    }
    if (r.failed)
        return TL_FAIL(st, TL_INVALID, "the batch is not a tally.v1.Batch message");
    if (rows > ROWS_MAX)
        return TL_FAIL(st, TL_LIMIT, "a batch has at most %d rows, this one says %llu", ROWS_MAX,
                       (unsigned long long)rows);
    if (rows == 0)
        return TL_FAIL(st, TL_INVALID, "the batch has no rows");
    struct tl_batch_column *columns =
        tl_arena_calloc(arena, table->info.column_count, sizeof(*columns), st);
    if (!columns)
        return st->code;
    r = tl_reader_of(body);
    while (next_field(&r, &f))
        if (f.number == BATCH_COLUMNS &&
            decode_column(f.bytes, table, (uint32_t)rows, arena, columns, st))
            return st->code;
    *out = (struct tl_batch){.table = table, .rows = (uint32_t)rows, .columns = columns};
    return TL_OK;
}

/* ---- judging ---- */

#define DECIMAL64_MAX 999999999999999999LL

static bool props_good(struct tl_slice message, struct tl_arena *arena, struct tl_status *st);

struct judge {
    const struct tl_batch *b;
    uint8_t *reason; /* per row; allocated with the first bad one */
    uint16_t *column;
    uint32_t bad;
    struct tl_arena *arena;
    struct tl_status *st;
};

static bool mark(struct judge *j, uint32_t row, uint32_t column, enum tl_refusal_reason reason)
{
    if (!j->reason) {
        j->reason = tl_arena_calloc(j->arena, j->b->rows, 1, j->st);
        j->column = tl_arena_calloc(j->arena, j->b->rows, 2, j->st);
        if (!j->reason || !j->column)
            return false;
    }
    if (j->reason[row] == TL_ROW_GOOD) {
        j->reason[row] = (uint8_t)reason;
        j->column[row] = (uint16_t)column;
        j->bad++;
    }
    return true;
}

static bool judge_nulls(struct judge *j, uint32_t column)
{
    const struct tl_batch_column *c = &j->b->columns[column];
    if (c->present && !c->validity)
        return true;
    for (uint32_t i = 0; i < j->b->rows; i++)
        if (!tl_batch_valid(c, i) && !mark(j, i, column, TL_ROW_NULL))
            return false;
    return true;
}

static bool judge_range(struct judge *j, uint32_t column, int64_t min, int64_t max,
                        enum tl_refusal_reason reason)
{
    const struct tl_batch_column *c = &j->b->columns[column];
    uint32_t bad = 0;
    for (uint32_t i = 0; i < j->b->rows; i++)
        bad |= (uint32_t)(c->ints[i] < min) | (uint32_t)(c->ints[i] > max);
    if (!bad)
        return true;
    for (uint32_t i = 0; i < j->b->rows; i++)
        if ((c->ints[i] < min || c->ints[i] > max) && tl_batch_valid(c, i) &&
            !mark(j, i, column, reason))
            return false;
    return true;
}

/* Judges each distinct string once, then finds the rows of bad ones. */
static bool judge_text(struct judge *j, uint32_t column, bool props)
{
    const struct tl_batch_column *c = &j->b->columns[column];
    uint8_t *bad = NULL;
    for (uint32_t i = 0; i < c->string_count; i++) {
        struct tl_slice s = c->strings[i];
        enum tl_refusal_reason reason = TL_ROW_GOOD;
        if (props)
            reason = props_good(s, j->arena, j->st) ? TL_ROW_GOOD : TL_ROW_PROPS;
        else if (s.size > TL_TEXT_BYTES_MAX)
            reason = TL_ROW_TEXT_LONG;
        else if (!tl_utf8_valid(s, false))
            reason = TL_ROW_TEXT_UTF8;
        if (reason == TL_ROW_GOOD)
            continue;
        if (!bad && !(bad = tl_arena_calloc(j->arena, c->string_count, 1, j->st)))
            return false;
        bad[i] = (uint8_t)reason;
    }
    if (!bad)
        return true;
    for (uint32_t i = 0; i < j->b->rows; i++)
        if (tl_batch_valid(c, i) && bad[c->codes[i]] &&
            !mark(j, i, column, (enum tl_refusal_reason)bad[c->codes[i]]))
            return false;
    return true;
}

static bool judge_column(struct judge *j, uint32_t column, int64_t received_at_us, bool import)
{
    const struct tl_table_info *info = &j->b->table->info;
    const struct tl_batch_column *c = &j->b->columns[column];
    if (info->columns[column].not_null && !judge_nulls(j, column))
        return false;
    if (!c->present)
        return true;
    switch (info->columns[column].type.kind) {
    case TL_TEXT:
        return judge_text(j, column, false);
    case TL_PROPS:
        return judge_text(j, column, true);
    case TL_DECIMAL64:
        return judge_range(j, column, -DECIMAL64_MAX, DECIMAL64_MAX, TL_ROW_DECIMAL);
    case TL_DATE:
        return judge_range(j, column, TL_DATE_MIN, TL_DATE_MAX, TL_ROW_TIME_RANGE);
    case TL_TIMESTAMP:
    case TL_TIMESTAMPTZ:
        if (!judge_range(j, column, TL_TIMESTAMP_MIN_US, TL_TIMESTAMP_MAX_US, TL_ROW_TIME_RANGE))
            return false;
        if (column == info->ts_column && !import)
            return judge_range(j, column, INT64_MIN, received_at_us + TL_US_PER_DAY, TL_ROW_FUTURE);
        return true;
    default:
        return true;
    }
}

enum tl_code tl_batch_judge(const struct tl_batch *b, int64_t received_at_us, bool import,
                            struct tl_arena *arena, struct tl_refused **out, uint32_t *count,
                            struct tl_status *st)
{
    struct judge j = {.b = b, .arena = arena, .st = st};
    *count = 0;
    *out = NULL;
    for (uint32_t i = 0; i < b->table->info.column_count; i++)
        if (!judge_column(&j, i, received_at_us, import) && st->code != TL_OK)
            return st->code;
    if (j.bad == 0)
        return TL_OK;
    struct tl_refused *list = tl_arena_calloc(arena, j.bad, sizeof(*list), st);
    if (!list)
        return st->code;
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->rows; i++)
        if (j.reason[i] != TL_ROW_GOOD)
            list[n++] = (struct tl_refused){i, j.column[i], j.reason[i]};
    tl_assert(n == j.bad);
    *out = list;
    *count = n;
    return TL_OK;
}

void tl_refused_text(const struct tl_table *t, const struct tl_refused *r, char *buf, size_t size)
{
    static const char *const reasons[] = {
        [TL_ROW_GOOD] = "good",
        [TL_ROW_NULL] = "must not be NULL",
        [TL_ROW_FUTURE] = "lies more than 24 hours in the future",
        [TL_ROW_TIME_RANGE] = "lies outside the range of its type",
        [TL_ROW_TEXT_UTF8] = "is not valid UTF-8, or holds a NUL",
        [TL_ROW_TEXT_LONG] = "is longer than 65536 bytes",
        [TL_ROW_DECIMAL] = "has more than 18 digits",
        [TL_ROW_PROPS] = ("is no Props message within the limits (64 keys, keys to 64 bytes, "
                          "values to 4096)"),
        [TL_ROW_DUPLICATE] = "names an event that is stored already",
    };
    const char *name = r->column < t->info.column_count ? t->info.columns[r->column].name : "?";
    const char *reason = r->reason <= TL_ROW_DUPLICATE ? reasons[r->reason] : "is refused";
    snprintf(buf, size, "column %s %s", name, reason);
}

/* ---- props ---- */

struct prop {
    struct tl_slice key, value;
};

/* Parses a Props message into at most TL_PROPS_KEYS_MAX pairs; -1 when it is none. */
static int parse_props(struct tl_slice message, struct prop props[TL_PROPS_KEYS_MAX])
{
    struct tl_reader r = tl_reader_of(message);
    struct field f;
    int n = 0;
    while (next_field(&r, &f)) {
        if (f.number != 1 || f.wire != WIRE_BYTES || n == TL_PROPS_KEYS_MAX)
            return -1;
        struct tl_reader p = tl_reader_of(f.bytes);
        struct field g;
        struct prop prop = {{NULL, 0}, {NULL, 0}};
        while (next_field(&p, &g)) {
            if (g.wire != WIRE_BYTES || (g.number != 1 && g.number != 2))
                return -1;
            *(g.number == 1 ? &prop.key : &prop.value) = g.bytes;
        }
        if (p.failed || prop.key.size == 0 || prop.key.size > TL_PROPS_KEY_BYTES_MAX ||
            prop.value.size > TL_PROPS_VALUE_BYTES_MAX || !tl_utf8_valid(prop.key, false) ||
            !tl_utf8_valid(prop.value, false))
            return -1;
        props[n++] = prop;
    }
    return r.failed ? -1 : n;
}

static void sort_props(struct prop *props, int n)
{
    for (int i = 1; i < n; i++)
        for (int k = i; k > 0 && tl_slice_cmp(props[k - 1].key, props[k].key) > 0; k--) {
            struct prop swap = props[k];
            props[k] = props[k - 1];
            props[k - 1] = swap;
        }
}

static bool props_good(struct tl_slice message, struct tl_arena *arena, struct tl_status *st)
{
    (void)arena;
    (void)st;
    struct prop props[TL_PROPS_KEYS_MAX];
    int n = parse_props(message, props);
    if (n < 0)
        return false;
    sort_props(props, n);
    size_t keys = 0;
    size_t values = 0;
    for (int i = 0; i < n; i++) {
        if (i > 0 && tl_slice_eq(props[i - 1].key, props[i].key))
            return false; /* a key that comes twice has no one value */
        keys += 1 + props[i].key.size;
        values += 2 + props[i].value.size;
    }
    return keys <= TL_TEXT_BYTES_MAX && values <= TL_TEXT_BYTES_MAX;
}

enum tl_code tl_props_split(struct tl_slice message, struct tl_arena *arena, struct tl_slice *keys,
                            struct tl_slice *values, struct tl_status *st)
{
    struct prop props[TL_PROPS_KEYS_MAX];
    int n = parse_props(message, props);
    if (n < 0)
        return TL_FAIL(st, TL_CORRUPT, "a stored Props message does not parse");
    sort_props(props, n);
    size_t key_bytes = 0;
    size_t value_bytes = 0;
    for (int i = 0; i < n; i++) {
        key_bytes += 1 + props[i].key.size;
        value_bytes += 2 + props[i].value.size;
    }
    uint8_t *k = tl_arena_alloc(arena, key_bytes + 1, st);
    uint8_t *v = tl_arena_alloc(arena, value_bytes + 1, st);
    if (!k || !v)
        return st->code;
    *keys = tl_slice_of(k, key_bytes);
    *values = tl_slice_of(v, value_bytes);
    for (int i = 0; i < n; i++) {
        *k++ = (uint8_t)props[i].key.size;
        memcpy(k, props[i].key.data, props[i].key.size);
        k += props[i].key.size;
        tl_put_u16le(v, (uint16_t)props[i].value.size);
        v += 2;
        if (props[i].value.size > 0)
            memcpy(v, props[i].value.data, props[i].value.size);
        v += props[i].value.size;
    }
    return TL_OK;
}

int32_t tl_props_find(struct tl_slice keys, struct tl_slice key)
{
    struct tl_reader r = tl_reader_of(keys);
    for (int32_t i = 0; tl_reader_left(&r) > 0; i++) {
        struct tl_slice k = tl_read_bytes(&r, tl_read_u8(&r));
        if (r.failed)
            return -1;
        if (tl_slice_eq(k, key))
            return i;
    }
    return -1;
}

bool tl_props_value(struct tl_slice values, uint32_t index, struct tl_slice *out)
{
    struct tl_reader r = tl_reader_of(values);
    for (uint32_t i = 0; tl_reader_left(&r) > 0; i++) {
        struct tl_slice v = tl_read_bytes(&r, tl_read_u16(&r));
        if (r.failed)
            return false;
        if (i == index) {
            *out = v;
            return true;
        }
    }
    return false;
}
