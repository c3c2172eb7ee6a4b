#include "engine/batch.h"

#include "base/assert.h"
#include "base/text.h"
#include "base/time.h"
#include "base/varint.h"
#include "engine/batch_int.h"

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

enum { ROWS_MAX = TL_BATCH_ROWS_MAX };

bool tl__next_field_slow(struct tl_reader *r, struct tl__field *f)
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
    struct tl__field f = {.number = 0};
    *name = tl_slice_of(NULL, 0);
    while (tl__next_field(&r, &f))
        if (f.number == BATCH_TABLE && f.wire == WIRE_BYTES)
            *name = f.bytes;
    if (r.failed)
        return TL_FAIL(st, TL_INVALID, "the batch is not a tally.v1.Batch message");
    if (name->size == 0)
        *name = tl_slice_str("events");
    return TL_OK;
}

/* A repeated number field of a Column message: usually one packed piece, which is read where it
 * lies. */
struct numbers {
    struct tl_slice piece; /* the last packed one */
    uint32_t pieces;
    size_t loose; /* values that came unpacked */
};

/* What the fields of one Column message hold, before their values are decoded. */
struct column_fields {
    struct tl_slice message;
    struct tl_slice name, validity, bools, blob;
    bool delta;
    size_t doubles; /* how many */
    struct numbers ints, lengths, codes;
};

static enum tl_code malformed(struct tl_slice name, const char *what, struct tl_status *st)
{
    return TL_FAIL(st, TL_INVALID, "column %.*s: %s", (int)(name.size > 64 ? 64 : name.size),
                   name.data ? (const char *)name.data : "", what);
}

static void note_numbers(struct numbers *n, const struct tl__field *f)
{
    if (f->wire != WIRE_BYTES) {
        n->loose++;
    } else if (f->bytes.size > 0) {
        n->piece = f->bytes;
        n->pieces++;
    }
}

static enum tl_code scan_column(struct tl_slice message, struct column_fields *out,
                                struct tl_status *st)
{
    struct tl_reader r = tl_reader_of(message);
    struct tl__field f = {.number = 0};
    *out = (struct column_fields){.message = message};
    while (tl__next_field(&r, &f)) {
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
            note_numbers(&out->ints, &f);
            break;
        case COLUMN_LENGTHS:
            note_numbers(&out->lengths, &f);
            break;
        case COLUMN_CODES:
            note_numbers(&out->codes, &f);
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

static size_t count_numbers(const struct column_fields *c, const struct numbers *n, uint32_t number)
{
    if (n->pieces <= 1)
        return n->loose + tl_varints_count(n->piece);
    size_t count = n->loose;
    struct tl_reader r = tl_reader_of(c->message);
    struct tl__field f = {.number = 0};
    while (tl__next_field(&r, &f))
        if (f.number == number && f.wire == WIRE_BYTES)
            count += tl_varints_count(f.bytes);
    return count;
}

/* Decodes the number fields of one kind, in their order: true when they are `count` good ones. */
static bool fill_u32s(const struct column_fields *c, const struct numbers *n, uint32_t number,
                      uint32_t *out, size_t count)
{
    if (n->pieces <= 1 && n->loose == 0)
        return tl_varints_u32(n->piece, out, count) == count;
    struct tl_reader r = tl_reader_of(c->message);
    struct tl__field f = {.number = 0};
    size_t done = 0;
    while (tl__next_field(&r, &f)) {
        if (f.number != number)
            continue;
        if (f.wire == WIRE_BYTES) {
            size_t more = tl_varints_u32(f.bytes, out + done, count - done);
            if (more == TL_VARINTS_DAMAGED)
                return false;
            done += more;
        } else if (f.wire != WIRE_VARINT || f.value > UINT32_MAX || done >= count) {
            return false;
        } else {
            out[done++] = (uint32_t)f.value;
        }
    }
    return done == count;
}

static bool fill_u64s(const struct column_fields *c, uint64_t *out, size_t count)
{
    if (c->ints.pieces <= 1 && c->ints.loose == 0)
        return tl_varints_u64(c->ints.piece, out, count) == count;
    struct tl_reader r = tl_reader_of(c->message);
    struct tl__field f = {.number = 0};
    size_t done = 0;
    while (tl__next_field(&r, &f)) {
        if (f.number != COLUMN_INTS)
            continue;
        if (f.wire == WIRE_BYTES) {
            size_t more = tl_varints_u64(f.bytes, out + done, count - done);
            if (more == TL_VARINTS_DAMAGED)
                return false;
            done += more;
        } else if (f.wire != WIRE_VARINT || done >= count) {
            return false;
        } else {
            out[done++] = f.value;
        }
    }
    return done == count;
}

static bool fill_doubles(struct tl_slice message, double *out, size_t count)
{
    struct tl_reader r = tl_reader_of(message);
    struct tl__field f = {.number = 0};
    size_t done = 0;
    while (tl__next_field(&r, &f)) {
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

static enum tl_code wrong_count(const struct column_fields *f, size_t count, const char *what,
                                uint32_t rows, struct tl_status *st)
{
    return TL_FAIL(st, TL_INVALID, "column %.*s: %zu %s for %u rows",
                   (int)(f->name.size > 64 ? 64 : f->name.size), (const char *)f->name.data, count,
                   what, rows);
}

static enum tl_code decode_ints(const struct column_fields *f, uint32_t rows,
                                struct tl_arena *arena, struct tl_batch_column *out,
                                struct tl_status *st)
{
    uint64_t *raw = tl_arena_alloc(arena, (size_t)rows * 8, st);
    if (!raw)
        return st->code;
    if (!fill_u64s(f, raw, rows)) {
        size_t count = count_numbers(f, &f->ints, COLUMN_INTS);
        return count != rows ? wrong_count(f, count, "ints", rows, st)
                             : malformed(f->name, "a varint is cut off or too long", st);
    }
    int64_t *ints = (int64_t *)raw;
    uint64_t widest = 0;
    if (f->delta) {
        uint64_t sum = 0; /* wraps as two's complement does; judged as any other value */
        for (uint32_t i = 0; i < rows; i++) {
            sum += raw[i] >> 1 ^ -(raw[i] & 1);
            widest |= sum ^ (uint64_t)((int64_t)sum >> 63);
            ints[i] = (int64_t)sum;
        }
    } else {
        for (uint32_t i = 0; i < rows; i++) {
            widest |= raw[i] >> 1;
            ints[i] = (int64_t)(raw[i] >> 1 ^ -(raw[i] & 1));
        }
    }
    out->narrow = widest <= INT32_MAX;
    out->ints = ints;
    return TL_OK;
}

/* Eight bits of a validity bitmap as the bytes of a word: 0xff where set. */
static inline uint64_t spread_bits(uint8_t bits)
{
    uint64_t one = (bits * 0x0101010101010101ULL) & 0x8040201008040201ULL;
    return ((one + 0x7f7f7f7f7f7f7f7fULL) >> 7 & 0x0101010101010101ULL) * 0xff;
}

enum { SHORT_CODES = 128 }; /* strings of a column whose codes take a byte each */

/* Codes of one byte, proved eight at a time: below `strings`, where the row is not NULL. */
static enum tl_code short_codes(const struct column_fields *f, uint32_t rows, uint32_t strings,
                                struct tl_arena *arena, struct tl_batch_column *out,
                                struct tl_status *st)
{
    const uint8_t *codes = f->codes.piece.data;
    const uint64_t ones = 0x0101010101010101ULL;
    const uint64_t room = (SHORT_CODES - strings) * ones; /* lifts what is not below to bit 7 */
    uint8_t *copy = NULL;
    if (out->validity && !(copy = tl_arena_alloc(arena, (size_t)rows + 8, st)))
        return st->code;
    uint64_t bad = 0;
    for (uint32_t i = 0; i < rows; i += 8) {
        uint64_t eight = 0;
        uint64_t valid = ~0ULL;
        if (rows - i >= 8)
            memcpy(&eight, codes + i, 8);
        else
            for (uint32_t k = 0; k < rows - i; k++)
                eight |= (uint64_t)codes[i + k] << (8 * k);
        bad |= eight & 0x80 * ones; /* more than one byte: not as many codes as rows */
        if (copy) {
            valid = spread_bits(out->validity[i >> 3]);
            uint64_t filled = (eight & valid) | (strings * ones & ~valid);
            memcpy(copy + i, &filled, 8);
        } else if (rows - i < 8) {
            valid = (1ULL << (8 * (rows - i))) - 1;
        }
        bad |= ((eight + room) & valid) & 0x80 * ones;
    }
    if (bad)
        return malformed(f->name, "a code is not an index into the values", st);
    out->codes8 = copy ? copy : codes;
    return TL_OK;
}

static enum tl_code long_codes(const struct column_fields *f, uint32_t rows, uint32_t strings,
                               struct tl_arena *arena, struct tl_batch_column *out,
                               struct tl_status *st)
{
    uint32_t *codes = tl_arena_alloc(arena, (size_t)rows * 4, st);
    if (!codes)
        return st->code;
    if (!fill_u32s(f, &f->codes, COLUMN_CODES, codes, rows)) {
        size_t count = count_numbers(f, &f->codes, COLUMN_CODES);
        return count != rows ? wrong_count(f, count, "codes", rows, st)
                             : malformed(f->name, "a code is cut off or too long", st);
    }
    uint32_t greatest = 0;
    for (uint32_t i = 0; i < rows; i++) {
        /* Entries of NULL rows are ignored. */
        codes[i] = tl_batch_valid(out, i) ? codes[i] : 0;
        greatest = codes[i] > greatest ? codes[i] : greatest;
    }
    if (out->valid_count > 0 && greatest >= strings)
        return malformed(f->name, "a code is not an index into the values", st);
    for (uint32_t i = 0; out->validity && i < rows; i++)
        codes[i] = tl_batch_valid(out, i) ? codes[i] : strings;
    out->codes = codes;
    return TL_OK;
}

/* ---- plain text: codes are given here ---- */

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

/* For the table of one batch; never stored. */
static inline uint32_t text_hash(struct tl_slice s)
{
    uint64_t h = s.size * 0x9e3779b97f4a7c15ULL;
    const uint8_t *p = s.data;
    size_t n = s.size;
    for (; n > 8; n -= 8, p += 8) {
        h = (h ^ load64(p)) * 0xe7037ed1a0b428dbULL;
        h ^= h >> 32;
    }
    uint64_t last = 0;
    if (s.size >= 8)
        last = load64(p + n - 8);
    else
        for (size_t i = 0; i < n; i++)
            last |= (uint64_t)p[i] << (8 * i);
    h = (h ^ last) * 0xe7037ed1a0b428dbULL;
    return (uint32_t)(h >> 32);
}

/* Distinct strings of a column while they are found: slots hold hash and index + 1. */
struct text_table {
    uint64_t *slots;
    uint32_t mask, count;
};

static bool table_grow(struct text_table *t, struct tl_arena *arena, struct tl_status *st)
{
    uint32_t capacity = t->slots ? (t->mask + 1) * 4 : 256;
    uint64_t *slots = tl_arena_calloc(arena, capacity, sizeof(*slots), st);
    if (!slots)
        return false;
    for (uint32_t i = 0; t->slots && i <= t->mask; i++) {
        if (!t->slots[i])
            continue;
        uint32_t at = (uint32_t)(t->slots[i] >> 32) & (capacity - 1);
        while (slots[at])
            at = (at + 1) & (capacity - 1);
        slots[at] = t->slots[i];
    }
    t->slots = slots;
    t->mask = capacity - 1;
    return true;
}

/* `strings` has one entry per row; afterwards the distinct ones, by first appearance. */
static enum tl_code give_codes(uint32_t rows, struct tl_slice *strings, struct tl_arena *arena,
                               struct tl_batch_column *out, struct tl_status *st)
{
    uint32_t *codes = tl_arena_alloc(arena, (size_t)rows * 4, st);
    struct text_table t = {NULL, 0, 0};
    if (!codes || !table_grow(&t, arena, st))
        return st->code;
    uint32_t before = UINT32_MAX;
    for (uint32_t i = 0; i < rows; i++) {
        if (!tl_batch_valid(out, i)) {
            codes[i] = UINT32_MAX;
            continue;
        }
        struct tl_slice s = strings[i];
        if (before != UINT32_MAX && tl_slice_eq(strings[before], s)) {
            codes[i] = before;
            continue;
        }
        uint32_t hash = text_hash(s);
        uint32_t at = hash & t.mask;
        while (t.slots[at] && ((uint32_t)(t.slots[at] >> 32) != hash ||
                               !tl_slice_eq(strings[(uint32_t)t.slots[at] - 1], s)))
            at = (at + 1) & t.mask;
        if (!t.slots[at]) {
            /* Entries up to this row are the distinct ones already: never more than rows read. */
            strings[t.count++] = s;
            t.slots[at] = (uint64_t)hash << 32 | t.count;
            before = t.count - 1;
            if (t.count * 2 > t.mask && !table_grow(&t, arena, st))
                return st->code;
        } else {
            before = (uint32_t)t.slots[at] - 1;
        }
        codes[i] = before;
    }
    for (uint32_t i = 0; out->validity && i < rows; i++)
        codes[i] = codes[i] == UINT32_MAX ? t.count : codes[i];
    out->codes = codes;
    out->string_count = t.count;
    return TL_OK;
}

/* ---- text ---- */

/* ASCII without a NUL: valid wherever it is cut. */
static bool all_ascii(struct tl_slice s)
{
    const uint64_t ones = 0x0101010101010101ULL;
    uint64_t bad = 0;
    size_t i = 0;
    for (; i + 32 <= s.size; i += 32)
        for (size_t k = 0; k < 32; k += 8) {
            uint64_t v = load64(s.data + i + k);
            bad |= v | (v - ones);
        }
    for (; i < s.size; i++)
        bad |= (s.data[i] == 0 || s.data[i] >= 0x80) ? 0x80 : 0;
    return (bad & 0x80 * ones) == 0;
}

/* Judges each distinct string once. */
static enum tl_code find_bad(struct tl_batch_column *c, size_t longest, struct tl_slice blob,
                             bool dictionary, struct tl_arena *arena, struct tl_status *st)
{
    if (dictionary && longest <= TL_TEXT_BYTES_MAX && all_ascii(blob))
        return TL_OK;
    uint8_t *bad = NULL;
    for (uint32_t i = 0; i < c->string_count; i++) {
        enum tl_refusal_reason reason = TL_ROW_GOOD;
        if (c->strings[i].size > TL_TEXT_BYTES_MAX)
            reason = TL_ROW_TEXT_LONG;
        else if (!tl_utf8_valid(c->strings[i], false))
            reason = TL_ROW_TEXT_UTF8;
        if (reason == TL_ROW_GOOD)
            continue;
        if (!bad && !(bad = tl_arena_calloc(arena, (size_t)c->string_count + 1, 1, st)))
            return st->code;
        bad[i] = (uint8_t)reason;
    }
    c->bad = bad;
    return TL_OK;
}

static enum tl_code decode_text(const struct column_fields *f, uint32_t rows, bool props,
                                struct tl_arena *arena, struct tl_batch_column *out,
                                struct tl_status *st)
{
    size_t count = count_numbers(f, &f->lengths, COLUMN_LENGTHS);
    bool dictionary = f->codes.pieces > 0 || f->codes.loose > 0 || count != rows;
    if (count > TL_BATCH_STRINGS_MAX)
        return malformed(f->name, "too many strings", st);
    uint32_t *lengths = tl_arena_alloc(arena, count * 4 + 4, st);
    struct tl_slice *strings = tl_arena_alloc(arena, count * sizeof(*strings) + 16, st);
    if (!lengths || !strings)
        return st->code;
    if (!fill_u32s(f, &f->lengths, COLUMN_LENGTHS, lengths, count))
        return malformed(f->name, "a length is cut off or too long", st);
    uint64_t sum = 0; /* of at most 2^17 lengths below 2^32 */
    uint32_t longest = 0;
    for (size_t i = 0; i < count; i++) {
        sum += lengths[i];
        longest = lengths[i] > longest ? lengths[i] : longest;
    }
    if (sum != f->blob.size)
        return malformed(f->name, "the lengths do not add up to the blob", st);
    const uint8_t *at = f->blob.data;
    for (size_t i = 0; i < count; at += lengths[i], i++)
        strings[i] = tl_slice_of(at, lengths[i]);
    out->strings = strings;
    out->string_count = (uint32_t)count;
    enum tl_code rc;
    if (!dictionary)
        rc = give_codes(rows, strings, arena, out, st);
    else if (f->codes.pieces == 1 && f->codes.loose == 0 && f->codes.piece.size == rows &&
             count > 0 && count <= SHORT_CODES)
        rc = short_codes(f, rows, (uint32_t)count, arena, out, st);
    else
        rc = long_codes(f, rows, (uint32_t)count, arena, out, st);
    return rc || props ? rc : find_bad(out, longest, f->blob, dictionary, arena, st);
}

static uint32_t count_bits(const uint8_t *bits, uint32_t count)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < count / 8; i++)
        n += (uint32_t)__builtin_popcount(bits[i]);
    if (count % 8)
        n += (uint32_t)__builtin_popcount(bits[count / 8] & ((1U << count % 8) - 1));
    return n;
}

static bool any_numbers(const struct numbers *n)
{
    return n->pieces > 0 || n->loose > 0;
}

/* Columns mostly come in the table's order: the one after the last is looked at first. */
static int32_t find_column(const struct tl_table *t, struct tl_slice name, uint32_t *next)
{
    uint32_t count = t->info.column_count;
    for (uint32_t k = 0, i = *next; k < count; k++, i++) {
        i = i < count ? i : 0;
        if (tl_slice_eq(tl_slice_str(t->info.columns[i].name), name)) {
            *next = i + 1;
            return (int32_t)i;
        }
    }
    return -1;
}

static enum tl_code decode_column(struct tl_slice message, const struct tl_table *table,
                                  uint32_t rows, uint32_t *next, struct tl_arena *arena,
                                  struct tl_batch_column *columns, struct tl_status *st)
{
    struct column_fields f;
    if (scan_column(message, &f, st))
        return st->code;
    int32_t index = find_column(table, f.name, next);
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
    out->valid_count = f.validity.size > 0 ? count_bits(out->validity, rows) : rows;
    uint8_t kind = table->info.columns[index].type.kind;
    bool text = kind == TL_TEXT || kind == TL_PROPS;
    bool ints = !text && kind != TL_DOUBLE && kind != TL_BOOLEAN;
    if ((any_numbers(&f.ints) && !ints) || (f.doubles > 0 && kind != TL_DOUBLE) ||
        (f.bools.size > 0 && kind != TL_BOOLEAN) ||
        ((any_numbers(&f.codes) || any_numbers(&f.lengths) || f.blob.size > 0) && !text)) {
        char type[32];
        return TL_FAIL(st, TL_INVALID, "column %.*s is %s; the batch sends values of another kind",
                       (int)f.name.size, (const char *)f.name.data,
                       tl_type_name(table->info.columns[index].type, type, sizeof(type)));
    }
    if (text)
        return decode_text(&f, rows, kind == TL_PROPS, arena, out, st);
    if (ints)
        return decode_ints(&f, rows, arena, out, st);
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
    struct tl__field f = {.number = 0};
    uint64_t rows = 0;
    while (tl__next_field(&r, &f)) {
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
    uint32_t next = 0;
    r = tl_reader_of(body);
    while (tl__next_field(&r, &f))
        if (f.number == BATCH_COLUMNS &&
            decode_column(f.bytes, table, (uint32_t)rows, &next, arena, columns, st))
            return st->code;
    *out = (struct tl_batch){.table = table, .rows = (uint32_t)rows, .columns = columns};
    return TL_OK;
}
