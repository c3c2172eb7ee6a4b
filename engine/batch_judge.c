/*
 * engine/batch_judge.c: which rows of a decoded batch are refused, and why; and Props messages,
 * whose limits are judged and which are split into keys and values for storage.
 */
#include <stdio.h>

#include "base/assert.h"
#include "base/text.h"
#include "base/time.h"
#include "engine/batch.h"
#include "engine/batch_int.h"
#include "engine/tenant.h"

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

/* Finds the rows of bad strings. */
static bool judge_text(struct judge *j, uint32_t column, bool props)
{
    const struct tl_batch_column *c = &j->b->columns[column];
    const uint8_t *bad = c->bad;
    uint8_t *found = NULL;
    for (uint32_t i = 0; props && i < c->string_count; i++) {
        if (props_good(c->strings[i], j->arena, j->st))
            continue;
        if (!found && !(found = tl_arena_calloc(j->arena, c->string_count, 1, j->st)))
            return false;
        found[i] = TL_ROW_PROPS;
    }
    bad = props ? found : bad;
    if (!bad)
        return true;
    for (uint32_t i = 0; i < j->b->rows; i++)
        if (tl_batch_valid(c, i) && bad[tl_batch_code(c, i)] &&
            !mark(j, i, column, (enum tl_refusal_reason)bad[tl_batch_code(c, i)]))
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

/* Refuses rows of merchants that are not the tenant's. A batch mostly holds one merchant's rows,
 * or runs of them: a row like the last one is not searched for. */
static bool judge_tenant(struct judge *j, const struct tally_tenant *t)
{
    uint32_t column = j->b->table->info.merchant_column;
    const struct tl_batch_column *c = &j->b->columns[column];
    int64_t last = 0;
    bool known = false, mine = false;
    for (uint32_t i = 0; i < j->b->rows; i++) {
        if (!tl_batch_valid(c, i))
            continue; /* refused for its NULL */
        if (!known || c->ints[i] != last) {
            last = c->ints[i];
            known = true;
            mine = tl_tenant_has(t, last);
        }
        if (!mine && !mark(j, i, column, TL_ROW_TENANT))
            return false;
    }
    return true;
}

enum tl_code tl_batch_judge(const struct tl_batch *b, int64_t received_at_us, bool import,
                            const struct tally_tenant *tenant, struct tl_arena *arena,
                            struct tl_refused **out, uint32_t *count, struct tl_status *st)
{
    struct judge j = {.b = b, .arena = arena, .st = st};
    *count = 0;
    *out = NULL;
    for (uint32_t i = 0; i < b->table->info.column_count; i++)
        if (!judge_column(&j, i, received_at_us, import) && st->code != TL_OK)
            return st->code;
    if (tenant->bounded && !judge_tenant(&j, tenant))
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
        [TL_ROW_TENANT] = "names a merchant that this token may not write",
    };
    const char *name = r->column < t->info.column_count ? t->info.columns[r->column].name : "?";
    const char *reason = r->reason <= TL_ROW_TENANT ? reasons[r->reason] : "is refused";
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
    struct tl__field f = {.number = 0};
    int n = 0;
    while (tl__next_field(&r, &f)) {
        if (f.number != 1 || f.wire != WIRE_BYTES || n == TL_PROPS_KEYS_MAX)
            return -1;
        struct tl_reader p = tl_reader_of(f.bytes);
        struct tl__field g = {.number = 0};
        struct prop prop = {{NULL, 0}, {NULL, 0}};
        while (tl__next_field(&p, &g)) {
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
