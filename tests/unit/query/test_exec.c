/*
 * Promise: a plan's answer does not depend on how its rows come: in segments with dictionaries of
 * their own or flat, sorted or not, whole or in small morsels, filtered by the source or not, on
 * one thread or several. Errors come from rows that are reached, and from no others. Memory, rows
 * and time are limited; nothing is left open.
 * Method: a table of random rows over several segments, run through hand-made plans in all these
 * ways, compared with a model that walks over the rows one by one.
 */
#include "query/exec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "base/thread.h"
#include "base/time.h"
#include "query/exec_int.h"
#include "tests/query/fake_source.h"
#include "tests/query/plan_build.h"
#include "tests/test.h"

enum { MERCHANT, TS, K1, K2, FLAT, NUMBER, PRICE, REAL, FLAG, DAY, COLUMNS };
enum { ROWS = 7000, SEGMENTS = 6 };

static const struct tl_column_info infos[COLUMNS] = {
    [MERCHANT] = {1, "merchant_id", {TL_BIGINT, 0}, true},
    [TS] = {2, "ts", {TL_TIMESTAMPTZ, 0}, true},
    [K1] = {3, "k1", {TL_TEXT, 0}, false},
    [K2] = {4, "k2", {TL_TEXT, 0}, false},
    [FLAT] = {5, "flat", {TL_TEXT, 0}, false},
    [NUMBER] = {6, "number", {TL_BIGINT, 0}, false},
    [PRICE] = {7, "price", {TL_DECIMAL64, 2}, false},
    [REAL] = {8, "real", {TL_DOUBLE, 0}, false},
    [FLAG] = {9, "flag", {TL_BOOLEAN, 0}, false},
    [DAY] = {10, "day", {TL_DATE, 0}, false},
};

/* One row of the model; null bits by column. */
struct row {
    int64_t merchant, ts, number, price;
    double real;
    char k1[12], k2[12], flat[12];
    uint8_t flag;
    int32_t day;
    uint32_t nulls;
    uint32_t segment;
};

static struct row rows[ROWS];
static struct fake_table table;
static struct fake_source source;
static struct tl_arena memory; /* of the table */
static struct tl_arena arena;  /* of a test's plans */

static uint64_t rng = 88172645463325252ULL;

static uint64_t chance(uint64_t below)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (rng >> 11) % below;
}

static int by_place(const void *a, const void *b)
{
    const struct row *x = a;
    const struct row *y = b;
    if (x->segment != y->segment)
        return x->segment < y->segment ? -1 : 1;
    if (x->segment == SEGMENTS - 1)
        return 0;
    if (x->merchant != y->merchant)
        return x->merchant < y->merchant ? -1 : 1;
    return (x->ts > y->ts) - (x->ts < y->ts);
}

static void make_rows(void)
{
    for (uint32_t i = 0; i < ROWS; i++) {
        struct row *r = &rows[i];
        r->segment = (uint32_t)chance(SEGMENTS);
        r->merchant = 1 + (int64_t)(chance(10) * chance(10) / 10);
        r->ts = INT64_C(1700000000000000) + (int64_t)chance(5 * 86400) * 1000000;
        snprintf(r->k1, sizeof(r->k1), "k%u", (unsigned)chance(7));
        snprintf(r->k2, sizeof(r->k2), "v%u", (unsigned)chance(chance(10) ? 40 : 3000));
        snprintf(r->flat, sizeof(r->flat), "%u", (unsigned)chance(50));
        r->number = (int64_t)chance(30) - 15;
        r->price = (int64_t)chance(100000) - 20000;
        static const double reals[] = {0.5, -0.0, 0.0, 1e300, -7.25, 3};
        r->real = chance(20) == 0 ? (double)NAN : reals[chance(6)];
        r->flag = (uint8_t)chance(2);
        r->day = (int32_t)(r->ts / TL_US_PER_DAY);
        for (uint32_t c = K1; c < COLUMNS; c++)
            r->nulls |= (uint32_t)(chance(9) == 0) << c;
    }
    qsort(rows, ROWS, sizeof(rows[0]), by_place);
}

static bool is_null(const struct row *r, uint32_t column)
{
    return r->nulls >> column & 1;
}

static const char *text_of(const struct row *r, uint32_t column)
{
    return column == K1 ? r->k1 : column == K2 ? r->k2 : r->flat;
}

/* Codes in order of first appearance. */
static void make_dictionary(struct fake_column *c, uint32_t column, const struct row *from,
                            uint32_t n, bool strings_at_once)
{
    struct tl_slice *strings = build_alloc(&memory, n + 1, sizeof(*strings));
    uint32_t count = 0;
    c->codes = build_alloc(&memory, n + TL_VECTOR_ROWS_MAX, sizeof(uint32_t));
    for (uint32_t i = 0; i < n; i++) {
        if (is_null(&from[i], column)) {
            c->codes[i] = 0;
            continue;
        }
        struct tl_slice s = tl_slice_str(text_of(&from[i], column));
        uint32_t code = 0;
        while (code < count && !tl_slice_eq(strings[code], s))
            code++;
        if (code == count)
            strings[count++] = s;
        c->codes[i] = code;
    }
    c->dict = fake_dict_new(strings, count ? count : 1, &source);
    if (strings_at_once)
        c->dict->values = strings;
}

static void make_segment(struct fake_segment *s, uint32_t index, const struct row *from, uint32_t n)
{
    s->rows = n;
    s->memtable = index == SEGMENTS - 1;
    s->sorted = !s->memtable;
    s->columns = build_alloc(&memory, COLUMNS, sizeof(*s->columns));
    for (uint32_t c = 0; c < COLUMNS; c++) {
        struct fake_column *column = &s->columns[c];
        uint32_t width = tl_kind_width(infos[c].type.kind);
        column->validity =
            c >= K1 && index != 1 ? build_alloc(&memory, n / 64 + 40, sizeof(uint64_t)) : NULL;
        if ((c == K1 || c == K2) && index != 2)
            make_dictionary(column, c, from, n, index == 3);
        else
            column->data = build_alloc(&memory, n + TL_VECTOR_ROWS_MAX, width);
        for (uint32_t i = 0; i < n; i++) {
            const struct row *r = &from[i];
            if (column->validity && !is_null(r, c))
                tl_bit_set(column->validity, i);
            if (!column->data || (is_null(r, c) && c != FLAT))
                continue;
            switch (c) {
            case MERCHANT:
                ((int64_t *)column->data)[i] = r->merchant;
                break;
            case TS:
                ((int64_t *)column->data)[i] = r->ts;
                break;
            case NUMBER:
                ((int64_t *)column->data)[i] = r->number;
                break;
            case PRICE:
                ((int64_t *)column->data)[i] = r->price;
                break;
            case REAL:
                ((double *)column->data)[i] = r->real;
                break;
            case FLAG:
                ((uint8_t *)column->data)[i] = r->flag;
                break;
            case DAY:
                ((int32_t *)column->data)[i] = r->day;
                break;
            default:
                ((struct tl_slice *)column->data)[i] = tl_slice_str(text_of(r, c));
            }
        }
    }
}

static int setup(void **state)
{
    (void)state;
    tl_arena_init(&memory, NULL, 1 << 20);
    tl_arena_init(&arena, NULL, 1 << 16);
    make_rows();
    for (uint32_t i = 0; i < ROWS; i++) {
        if (rows[i].segment == 1)
            rows[i].nulls = 0; /* the segment without NULLs */
    }
    table.info = (struct tl_table_info){
        .id = 7, .name = "t", .column_count = COLUMNS, .columns = infos, .ts_column = TS};
    table.segment_count = SEGMENTS;
    table.segments = build_alloc(&memory, SEGMENTS, sizeof(*table.segments));
    fake_source_init(&source, &table, 1);
    uint32_t at = 0;
    for (uint32_t s = 0; s < SEGMENTS; s++) {
        uint32_t n = 0;
        while (at + n < ROWS && rows[at + n].segment == s)
            n++;
        make_segment(&table.segments[s], s, &rows[at], n);
        at += n;
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (uint32_t s = 0; s < SEGMENTS; s++) {
        free(table.segments[s].columns[K1].dict);
        free(table.segments[s].columns[K2].dict);
    }
    tl_arena_deinit(&memory);
    tl_arena_deinit(&arena);
    return 0;
}

/* ---- answers as sorted lines ---- */

/* "value|" behind what a line holds already. */
static void put_cell(char *line, size_t size, const char *value)
{
    size_t at = strlen(line);
    snprintf(line + at, size - at, "%s|", value);
}

struct lines {
    char **at;
    uint32_t count, capacity;
};

static void add_line(struct lines *l, const char *line)
{
    if (l->count == l->capacity) {
        l->capacity = l->capacity ? l->capacity * 2 : 64;
        l->at = realloc(l->at, sizeof(char *) * l->capacity);
        assert_non_null(l->at);
    }
    l->at[l->count] = strdup(line);
    assert_non_null(l->at[l->count++]);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_lines(struct lines *l)
{
    if (l->count)
        qsort(l->at, l->count, sizeof(char *), by_text);
}

static void free_lines(struct lines *l)
{
    for (uint32_t i = 0; i < l->count; i++)
        free(l->at[i]);
    free(l->at);
    *l = (struct lines){0};
}

static void print_value(const struct tl_vector *v, uint32_t i, char *buf, size_t size)
{
    size_t at = v->shape == TL_CONST ? 0 : i;
    char text[TL_INTERVAL_TEXT_MAX];
    if (!tl_vector_valid(v, i)) {
        snprintf(buf, size, "-");
        return;
    }
    switch (v->type.kind) {
    case TL_TEXT: {
        struct tl_slice s;
        struct tl_status st = TL_STATUS_INIT;
        if (v->shape == TL_DICT)
            assert_ok(&st, tl_dict_get(v->dict, &v->codes[i], 1, &s, &st));
        else
            s = ((const struct tl_slice *)v->data)[at];
        snprintf(buf, size, "%.*s", (int)s.size, s.size ? (const char *)s.data : "");
        return;
    }
    case TL_DOUBLE: {
        double d = ((const double *)v->data)[at];
        tl_print_double(d == 0 ? 0 : d, text);
        break;
    }
    case TL_DECIMAL128:
        tl_print_decimal(((const tl_i128 *)v->data)[at], v->type.scale, text);
        break;
    case TL_DECIMAL64:
        tl_print_decimal(((const int64_t *)v->data)[at], v->type.scale, text);
        break;
    case TL_BOOLEAN:
        snprintf(text, sizeof(text), "%d", ((const uint8_t *)v->data)[at]);
        break;
    case TL_DATE:
        snprintf(text, sizeof(text), "%d", ((const int32_t *)v->data)[at]);
        break;
    case TL_INTERVAL:
        tl_print_interval(((const struct tl_interval *)v->data)[at], text);
        break;
    default:
        snprintf(text, sizeof(text), "%lld", (long long)((const int64_t *)v->data)[at]);
    }
    snprintf(buf, size, "%s", text);
}

struct how {
    uint32_t threads;
    uint64_t morsel_rows;
    bool exact;
};

static struct tl_pool *pool;

static enum tl_code run_plan(const struct tl_plan *plan, const struct how *how, struct lines *out,
                             size_t limit_bytes, uint64_t rows_max, struct tl_status *st)
{
    struct tl_budget budget;
    tl_budget_init(&budget, "query memory", limit_bytes, NULL);
    source.morsel_rows = how->morsel_rows;
    source.exact = how->exact;
    struct tl_run_options options = {.source = &source.source,
                                     .budget = &budget,
                                     .clock = tl_clock_system(),
                                     .time_zone = "UTC",
                                     .threads = how->threads,
                                     .result_rows_max = rows_max,
                                     .pool = pool};
    struct tl_run *run = NULL;
    enum tl_code rc = tl_run_new(plan, &options, &run, st);
    while (rc == TL_OK) {
        struct tl_chunk chunk;
        rc = tl_run_step(run, &chunk, st);
        if (rc || chunk.count == 0)
            break;
        for (uint32_t i = 0; i < chunk.count; i++) {
            char line[512] = "";
            for (uint32_t c = 0; c < plan->root->column_count; c++) {
                char value[128];
                assert_int_equal(chunk.columns[c].count, chunk.count);
                assert_true(tl_type_eq(chunk.columns[c].type, plan->root->types[c]));
                print_value(&chunk.columns[c], i, value, sizeof(value));
                put_cell(line, sizeof(line), value);
            }
            if (out)
                add_line(out, line);
        }
        for (uint32_t c = 0; c < plan->root->column_count; c++)
            assert_true(tl_vector_check(&chunk.columns[c]));
    }
    tl_run_free(run);
    assert_int_equal(atomic_load(&source.open_scans), 0);
    assert_int_equal(atomic_load(&source.open_morsels), 0);
    assert_int_equal(atomic_load(&budget.used_bytes), 0);
    return rc;
}

static const struct how ways[] = {
    {1, 0, false}, {1, 100, false}, {1, 0, true}, {3, 100, false}, {2, 1000, true},
};

/* The plan answers `expected` (sorted here) in every way; ordered: in that order. */
static void expect(const struct tl_plan *plan, struct lines *expected, bool ordered)
{
    if (!ordered)
        sort_lines(expected);
    for (size_t w = 0; w < sizeof(ways) / sizeof(ways[0]); w++) {
        struct tl_status st = TL_STATUS_INIT;
        struct lines got = {0};
        assert_ok(&st, run_plan(plan, &ways[w], &got, 0, 0, &st));
        if (!ordered)
            sort_lines(&got);
        for (uint32_t i = 0; i < got.count && i < expected->count; i++) {
            if (strcmp(got.at[i], expected->at[i]) != 0)
                fail_msg("way %zu, line %u: got %s expected %s", w, i, got.at[i], expected->at[i]);
        }
        assert_int_equal(got.count, expected->count);
        free_lines(&got);
    }
}

#define COL(i, c) build_column(&arena, i, infos[c].type)

static struct tl_plan_node *scan_all(void)
{
    return build_scan(&arena, &table.info, MERCHANT, TS, K1, K2, FLAT, NUMBER, PRICE, REAL, FLAG,
                      DAY, -1);
}

/* ---- grouping against the model ---- */

static void model_value(const struct row *r, uint32_t column, char *buf, size_t size)
{
    char text[TL_DECIMAL_TEXT_MAX];
    if (is_null(r, column)) {
        snprintf(buf, size, "-");
        return;
    }
    switch (column) {
    case MERCHANT:
        snprintf(buf, size, "%lld", (long long)r->merchant);
        break;
    case TS:
        snprintf(buf, size, "%lld", (long long)r->ts);
        break;
    case NUMBER:
        snprintf(buf, size, "%lld", (long long)r->number);
        break;
    case PRICE:
        tl_print_decimal(r->price, 2, text);
        snprintf(buf, size, "%s", text);
        break;
    case REAL:
        tl_print_double(r->real == 0 ? 0 : r->real, text);
        snprintf(buf, size, "%s", text);
        break;
    case FLAG:
        snprintf(buf, size, "%d", r->flag);
        break;
    case DAY:
        snprintf(buf, size, "%d", r->day);
        break;
    default:
        snprintf(buf, size, "%s", text_of(r, column));
    }
}

static void model_key(const struct row *r, const uint32_t *keys, uint32_t key_count, char *buf,
                      size_t size)
{
    buf[0] = 0;
    for (uint32_t k = 0; k < key_count; k++) {
        char value[64];
        model_value(r, keys[k], value, sizeof(value));
        put_cell(buf, size, value);
    }
}

struct keyed {
    char key[160];
    const struct row *row;
};

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct keyed *)a)->key, ((const struct keyed *)b)->key);
}

static uint32_t distinct_of(const struct keyed *k, uint32_t n, uint32_t column)
{
    struct lines l = {0};
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        char value[64];
        model_value(k[i].row, column, value, sizeof(value));
        if (!is_null(k[i].row, column))
            add_line(&l, value);
    }
    sort_lines(&l);
    for (uint32_t i = 0; i < l.count; i++)
        count += i == 0 || strcmp(l.at[i], l.at[i - 1]) != 0;
    free_lines(&l);
    return count;
}

static int by_int(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* What the aggregates of `many_aggregates` are for the rows of one group. */
static void model_aggregates(const struct keyed *k, uint32_t n, char *buf, size_t size)
{
    int64_t count_flat = 0;
    int64_t sum = 0;
    int64_t numbers = 0;
    int64_t price = 0;
    int64_t prices = 0;
    int64_t filtered = 0;
    int64_t sum_distinct = 0;
    const char *least = NULL;
    double greatest = 0;
    bool any_real = false;
    uint32_t seen = 0;
    static int64_t values[ROWS];
    for (uint32_t i = 0; i < n; i++) {
        const struct row *r = k[i].row;
        count_flat += !is_null(r, FLAT);
        if (!is_null(r, NUMBER)) {
            values[numbers++] = r->number;
            sum += r->number;
            if (!(seen >> (r->number + 15) & 1))
                sum_distinct += r->number;
            seen |= 1u << (r->number + 15);
        }
        if (!is_null(r, PRICE)) {
            price += r->price;
            prices++;
        }
        filtered += !is_null(r, K1) && strcmp(r->k1, "k3") == 0;
        if (!is_null(r, K2) && (!least || strcmp(r->k2, least) < 0))
            least = r->k2;
        if (!is_null(r, REAL) && (!any_real || tl__compare_double(r->real, greatest) > 0)) {
            greatest = r->real;
            any_real = true;
        }
    }
    qsort(values, (size_t)numbers, sizeof(values[0]), by_int);
    char sums[3][TL_DECIMAL_TEXT_MAX] = {"-", "-", "-"};
    char median[32] = "-";
    char real[TL_DOUBLE_TEXT_MAX] = "-";
    char average[TL_DECIMAL_TEXT_MAX] = "-";
    if (numbers) {
        tl_print_decimal(sum, 0, sums[0]);
        tl_print_decimal(sum_distinct, 0, sums[1]);
        size_t place = (size_t)((numbers + 1) / 2);
        snprintf(median, sizeof(median), "%lld", (long long)values[place - 1]);
    }
    if (prices) {
        tl_print_decimal(price, 2, sums[2]);
        tl_i128 scaled = (tl_i128)price * 100000000000000LL;
        tl_i128 half = prices / 2;
        tl_i128 q = scaled / prices;
        tl_i128 rest = scaled % prices;
        if ((rest < 0 ? -rest : rest) * 2 >= prices)
            q += price < 0 ? -1 : 1;
        (void)half;
        tl_print_decimal(q, 16, average);
    }
    if (any_real)
        tl_print_double(greatest == 0 ? 0 : greatest, real);
    snprintf(buf, size, "%u|%lld|%s|%s|%s|%s|%lld|%s|%s|%u|%u|%u|%s|%u|%u|%u|", n,
             (long long)count_flat, sums[0], sums[1], sums[2], average, (long long)filtered,
             least ? least : "-", real, distinct_of(k, n, K2), distinct_of(k, n, FLAT),
             distinct_of(k, n, NUMBER), median, distinct_of(k, n, K2), distinct_of(k, n, FLAT),
             distinct_of(k, n, NUMBER));
}

static uint32_t many_aggregates(struct tl_aggregate *aggs)
{
    struct tl_arena *a = &arena;
    uint32_t n = 0;
    aggs[n++] = build_agg(TL_AGG_COUNT_STAR, NULL, NULL);
    aggs[n++] = build_agg(TL_AGG_COUNT, COL(4, FLAT), NULL);
    aggs[n++] = build_agg(TL_AGG_SUM, COL(5, NUMBER), NULL);
    aggs[n++] = build_agg(TL_AGG_SUM_DISTINCT, COL(5, NUMBER), NULL);
    aggs[n++] = build_agg(TL_AGG_SUM, COL(6, PRICE), NULL);
    aggs[n++] = build_agg(TL_AGG_AVG, COL(6, PRICE), NULL);
    aggs[n++] = build_agg(TL_AGG_COUNT_STAR, NULL,
                          build_call(a, "=", COL(2, K1), build_text(a, "k3"), NULL));
    aggs[n++] = build_agg(TL_AGG_MIN, COL(3, K2), NULL);
    aggs[n++] = build_agg(TL_AGG_MAX, COL(7, REAL), NULL);
    aggs[n++] = build_agg(TL_AGG_COUNT_DISTINCT, COL(3, K2), NULL);
    aggs[n++] = build_agg(TL_AGG_COUNT_DISTINCT, COL(4, FLAT), NULL);
    aggs[n++] = build_agg(TL_AGG_COUNT_DISTINCT, COL(5, NUMBER), NULL);
    aggs[n] = build_agg(TL_AGG_PERCENTILE_DISC, COL(5, NUMBER), NULL);
    aggs[n++].fraction = build_double(a, 0.5);
    /* so few that they are told exactly */
    aggs[n++] = build_agg(TL_AGG_APPROX_DISTINCT, COL(3, K2), NULL);
    aggs[n++] = build_agg(TL_AGG_APPROX_DISTINCT, COL(4, FLAT), NULL);
    aggs[n++] = build_agg(TL_AGG_APPROX_DISTINCT, COL(5, NUMBER), NULL);
    return n;
}

/* What a random filter keeps, and its expression. */
static struct tl_expr *random_filter(uint64_t which, bool *kept)
{
    struct tl_arena *a = &arena;
    for (uint32_t i = 0; i < ROWS; i++) {
        const struct row *r = &rows[i];
        bool k1 = !is_null(r, K1);
        bool number = !is_null(r, NUMBER);
        switch (which) {
        case 0:
            kept[i] = true;
            break;
        case 1:
            kept[i] = number && r->number > 3;
            break;
        case 2:
            kept[i] = (k1 && strcmp(r->k1, "k2") == 0) || (number && r->number < -10);
            break;
        case 3:
            kept[i] = !is_null(r, K2) && strstr(r->k2, "1") != NULL;
            break;
        case 4:
            kept[i] = is_null(r, K2) || !is_null(r, FLAT);
            break;
        case 5:
            kept[i] = (k1 && (!strcmp(r->k1, "k1") || !strcmp(r->k1, "k5"))) && r->merchant != 1;
            break;
        default:
            kept[i] = number && r->number != 0 && 10 / r->number == 3;
        }
    }
    switch (which) {
    case 0:
        return build_bool(a, true);
    case 1:
        return build_call(a, ">", COL(5, NUMBER), build_int(a, 3), NULL);
    case 2:
        return build_node(a, TL_EXPR_OR, tl_type_of(TL_BOOLEAN),
                          build_call(a, "=", COL(2, K1), build_text(a, "k2"), NULL),
                          build_call(a, ">", build_int(a, -10), COL(5, NUMBER), NULL), NULL);
    case 3:
        return build_call(a, "like", COL(3, K2), build_text(a, "%1%"), NULL);
    case 4:
        return build_node(
            a, TL_EXPR_OR, tl_type_of(TL_BOOLEAN),
            build_node(a, TL_EXPR_IS_NULL, tl_type_of(TL_BOOLEAN), COL(3, K2), NULL),
            build_node(a, TL_EXPR_NOT, tl_type_of(TL_BOOLEAN),
                       build_node(a, TL_EXPR_IS_NULL, tl_type_of(TL_BOOLEAN), COL(4, FLAT), NULL),
                       NULL),
            NULL);
    case 5:
        return build_node(a, TL_EXPR_AND, tl_type_of(TL_BOOLEAN),
                          build_node(a, TL_EXPR_IN, tl_type_of(TL_BOOLEAN), COL(2, K1),
                                     build_text(a, "k1"), build_text(a, "k5"), NULL),
                          build_call(a, "<>", COL(0, MERCHANT), build_int(a, 1), NULL), NULL);
    default: /* the division is reached only where it can be done */
        return build_node(a, TL_EXPR_AND, tl_type_of(TL_BOOLEAN),
                          build_call(a, "<>", COL(5, NUMBER), build_int(a, 0), NULL),
                          build_call(a, "=",
                                     build_call(a, "/", build_int(a, 10), COL(5, NUMBER), NULL),
                                     build_int(a, 3), NULL),
                          NULL);
    }
}

static void check_grouping(const uint32_t *keys, uint32_t key_count, uint64_t which)
{
    static bool kept[ROWS];
    static struct keyed keyed[ROWS];
    struct tl_plan_node *n = scan_all();
    struct tl_expr *filter = random_filter(which, kept);
    uint32_t m = 0;
    for (uint32_t i = 0; i < ROWS; i++) {
        if (!kept[i])
            continue;
        model_key(&rows[i], keys, key_count, keyed[m].key, sizeof(keyed[m].key));
        keyed[m++].row = &rows[i];
    }
    qsort(keyed, m, sizeof(keyed[0]), by_key);
    struct lines expected = {0};
    for (uint32_t from = 0; from < m || (m == 0 && key_count == 0 && from == 0);) {
        uint32_t end = from + (m > 0);
        while (end < m && strcmp(keyed[end].key, keyed[from].key) == 0)
            end++;
        char line[512];
        char results[320];
        model_aggregates(keyed + from, end - from, results, sizeof(results));
        snprintf(line, sizeof(line), "%s%s", m ? keyed[from].key : "", results);
        add_line(&expected, line);
        from = end ? end : 1;
    }
    struct tl_aggregate aggs[16];
    uint32_t agg_count = many_aggregates(aggs);
    n = build_filter(&arena, n, filter, NULL);
    struct tl_expr *k[4] = {NULL};
    for (uint32_t i = 0; i < key_count; i++)
        k[i] = COL(keys[i], keys[i]);
    n = build_aggregate(&arena, n, aggs, agg_count, k[0], k[1], k[2], NULL);
    struct tl_plan plan = build_plan(n);
    expect(&plan, &expected, false);
    free_lines(&expected);
    tl_arena_reset(&arena);
}

static void groups_agree_with_the_model(void **state)
{
    (void)state;
    static const uint32_t keys[][3] = {
        {K1},
        {K2},
        {FLAT},
        {NUMBER},
        {MERCHANT},
        {PRICE},
        {REAL},
        {FLAG},
        {DAY},
        {TS},
        {K1, K2},
        {K1, NUMBER},
        {DAY, K1},
        {FLAT, K2},
        {MERCHANT, DAY},
        {REAL, FLAG},
        {K1, K2, FLAT},
        {K1, FLAG, DAY},
        {MERCHANT, K1, REAL},
        {K2, K1, K1},
    };
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        uint32_t count = 1;
        while (count < 3 && keys[i][count] != 0)
            count++;
        check_grouping(keys[i], count, chance(7));
        check_grouping(keys[i], count, 0);
    }
    for (uint64_t which = 0; which < 7; which++)
        check_grouping(NULL, 0, which);
}

/* ---- other operators ---- */

static void no_rows_make_one_group_without_keys(void **state)
{
    (void)state;
    struct tl_aggregate aggs[16];
    uint32_t count = many_aggregates(aggs);
    struct tl_plan_node *n = build_filter(&arena, scan_all(), build_bool(&arena, false), NULL);
    struct tl_plan plan = build_plan(build_aggregate(&arena, n, aggs, count, NULL));
    struct lines expected = {0};
    add_line(&expected, "0|0|-|-|-|-|0|-|-|0|0|0|-|0|0|0|");
    expect(&plan, &expected, true);
    free_lines(&expected);
    n = build_filter(&arena, scan_all(), build_bool(&arena, false), NULL);
    plan = build_plan(build_aggregate(&arena, n, aggs, count, COL(2, K1), NULL));
    expect(&plan, &expected, true);
    tl_arena_reset(&arena);
}

static int by_number_then_key(const void *a, const void *b)
{
    const struct row *x = *(const struct row *const *)a;
    const struct row *y = *(const struct row *const *)b;
    bool nx = is_null(x, NUMBER);
    bool ny = is_null(y, NUMBER);
    if (nx != ny)
        return nx ? -1 : 1; /* descending: NULLs first */
    if (!nx && x->number != y->number)
        return x->number > y->number ? -1 : 1;
    nx = is_null(x, K2);
    ny = is_null(y, K2);
    if (nx != ny)
        return nx ? 1 : -1;
    int order = nx ? 0 : strcmp(x->k2, y->k2);
    if (order)
        return order;
    if (x->ts != y->ts)
        return x->ts < y->ts ? -1 : 1;
    if (x->merchant != y->merchant)
        return x->merchant < y->merchant ? -1 : 1;
    return (x->price > y->price) - (x->price < y->price);
}

static void sorts_and_limits(void **state)
{
    (void)state;
    static const struct row *order[ROWS];
    for (uint32_t i = 0; i < ROWS; i++)
        order[i] = &rows[i];
    qsort(order, ROWS, sizeof(order[0]), by_number_then_key);
    static const int64_t limits[][2] = {{-1, 0}, {10, 0},     {10, 25},
                                        {0, 0},  {5000, 100}, {10, 9000}};
    for (size_t l = 0; l < sizeof(limits) / sizeof(limits[0]); l++) {
        int64_t limit = limits[l][0];
        int64_t offset = limits[l][1];
        struct lines expected = {0};
        for (int64_t i = offset; i < ROWS && (limit < 0 || i < offset + limit); i++) {
            char line[200];
            static const uint32_t columns[] = {NUMBER, K2, TS, MERCHANT};
            model_key(order[i], columns, 4, line, sizeof(line));
            add_line(&expected, line);
        }
        struct tl_plan_node *n = build_project(&arena, scan_all(), COL(5, NUMBER), COL(3, K2),
                                               COL(1, TS), COL(0, MERCHANT), COL(6, PRICE), NULL);
        n = build_sort(&arena, n, limit < 0 ? -1 : limit + offset, -1, 2, 3, 4, 5, 0);
        n = build_limit(&arena, n, limit, offset);
        n = build_project(&arena, n, build_column(&arena, 0, infos[NUMBER].type),
                          build_column(&arena, 1, infos[K2].type),
                          build_column(&arena, 2, infos[TS].type),
                          build_column(&arena, 3, infos[MERCHANT].type), NULL);
        struct tl_plan plan = build_plan(n);
        expect(&plan, &expected, true);
        free_lines(&expected);
        tl_arena_reset(&arena);
    }
}

static void distinct_rows(void **state)
{
    (void)state;
    struct lines all = {0};
    struct lines expected = {0};
    for (uint32_t i = 0; i < ROWS; i++) {
        char line[200];
        static const uint32_t columns[] = {K1, FLAG, REAL};
        model_key(&rows[i], columns, 3, line, sizeof(line));
        add_line(&all, line);
    }
    sort_lines(&all);
    for (uint32_t i = 0; i < all.count; i++) {
        if (i == 0 || strcmp(all.at[i], all.at[i - 1]) != 0)
            add_line(&expected, all.at[i]);
    }
    struct tl_plan_node *n =
        build_project(&arena, scan_all(), COL(2, K1), COL(8, FLAG), COL(7, REAL), NULL);
    n = build_plan_node(&arena, TL_NODE_DISTINCT, n, 3);
    struct tl_plan plan = build_plan(n);
    expect(&plan, &expected, false);
    free_lines(&all);
    free_lines(&expected);
    tl_arena_reset(&arena);
}

/* Time range and merchants reach the source; NULL bounds and empty ranges give nothing. */
static void bounds_reach_the_source(void **state)
{
    (void)state;
    int64_t from = INT64_C(1700000000000000) + TL_US_PER_DAY;
    int64_t to = from + 2 * TL_US_PER_DAY;
    struct tl_aggregate aggs[] = {build_agg(TL_AGG_COUNT_STAR, NULL, NULL)};
    int64_t want = 0;
    for (uint32_t i = 0; i < ROWS; i++)
        want += rows[i].merchant == 2 && rows[i].ts >= from && rows[i].ts < to;
    char line[32];
    snprintf(line, sizeof(line), "%lld|", (long long)want);
    struct lines expected = {0};
    add_line(&expected, line);
    struct tl_plan_node *scan = scan_all();
    build_range(&arena, scan, 2, from, to);
    struct tl_plan plan = build_plan(build_aggregate(&arena, scan, aggs, 1, NULL));
    expect(&plan, &expected, true);
    free_lines(&expected);

    add_line(&expected, "0|");
    scan = scan_all();
    build_range(&arena, scan, 2, to, from);
    plan = build_plan(build_aggregate(&arena, scan, aggs, 1, NULL));
    expect(&plan, &expected, true);
    scan = scan_all();
    build_range(&arena, scan, 2, from, to);
    scan->ts_bounds[0].values[0] = build_null(&arena, TL_TIMESTAMPTZ);
    plan = build_plan(build_aggregate(&arena, scan, aggs, 1, NULL));
    expect(&plan, &expected, true);
    scan = scan_all();
    build_range(&arena, scan, 2, from, to);
    scan->merchant_bounds[0].values[0] = build_null(&arena, TL_BIGINT);
    plan = build_plan(build_aggregate(&arena, scan, aggs, 1, NULL));
    expect(&plan, &expected, true);
    free_lines(&expected);

    /* several merchant lists are intersected; several time bounds narrow */
    want = 0;
    for (uint32_t i = 0; i < ROWS; i++)
        want += (rows[i].merchant == 3 || rows[i].merchant == 1) && rows[i].ts == rows[5].ts;
    snprintf(line, sizeof(line), "%lld|", (long long)want);
    add_line(&expected, line);
    scan = scan_all();
    struct tl_scan_bound lists[2] = {{.op = TL_PRED_IN, .value_count = 4},
                                     {.op = TL_PRED_IN, .value_count = 3}};
    struct tl_expr *first[] = {build_int(&arena, 3), build_int(&arena, 1), build_int(&arena, 9),
                               build_int(&arena, 3)};
    struct tl_expr *second[] = {build_int(&arena, 1), build_null(&arena, TL_BIGINT),
                                build_int(&arena, 3)};
    lists[0].values = first;
    lists[1].values = second;
    scan->merchant_bounds = lists;
    scan->merchant_bound_count = 2;
    struct tl_scan_bound times[2];
    build_bound(&arena, &times[0], 1, TL_PRED_EQ, build_ts(&arena, rows[5].ts));
    build_bound(&arena, &times[1], 1, TL_PRED_LE, build_ts(&arena, rows[5].ts));
    scan->ts_bounds = times;
    scan->ts_bound_count = 2;
    plan = build_plan(build_aggregate(&arena, scan, aggs, 1, NULL));
    expect(&plan, &expected, true);
    free_lines(&expected);
    tl_arena_reset(&arena);
}

/* A predicate that the source decides is not evaluated again, and the answer is the same. */
static void exact_predicates_are_believed(void **state)
{
    (void)state;
    struct tl_aggregate aggs[] = {build_agg(TL_AGG_COUNT_STAR, NULL, NULL)};
    int64_t want = 0;
    for (uint32_t i = 0; i < ROWS; i++)
        want += !is_null(&rows[i], K1) && strcmp(rows[i].k1, "k4") == 0 &&
                !is_null(&rows[i], NUMBER) && rows[i].number >= 2;
    char line[32];
    snprintf(line, sizeof(line), "%lld|", (long long)want);
    struct lines expected = {0};
    add_line(&expected, line);
    struct tl_plan_node *scan = scan_all();
    struct tl_scan_bound bounds[3];
    build_bound(&arena, &bounds[0], 2, TL_PRED_EQ, build_text(&arena, "k4"));
    build_bound(&arena, &bounds[1], 5, TL_PRED_EQ, build_null(&arena, TL_BIGINT)); /* not usable */
    build_bound(&arena, &bounds[2], 5, TL_PRED_GE, build_int(&arena, 2));
    scan->bounds = bounds;
    scan->bound_count = 3;
    struct tl_plan_node *n = build_filter(
        &arena, scan, build_call(&arena, "=", COL(2, K1), build_text(&arena, "k4"), NULL),
        build_call(&arena, ">=", COL(5, NUMBER), build_int(&arena, 2), NULL), NULL);
    n->conjunct_bound[0] = 0;
    n->conjunct_bound[1] = 2;
    struct tl_plan plan = build_plan(build_aggregate(&arena, n, aggs, 1, NULL));
    expect(&plan, &expected, true);
    free_lines(&expected);
    tl_arena_reset(&arena);
}

/* CASE, COALESCE, AND and OR evaluate what is reached, and nothing else. */
static void branches_are_lazy(void **state)
{
    (void)state;
    struct tl_arena *a = &arena;
    struct tl_type bigint = tl_type_of(TL_BIGINT);
    struct tl_expr *divide = build_call(a, "/", build_int(a, 100), COL(5, NUMBER), NULL);
    struct tl_expr *nonzero = build_call(a, "<>", COL(5, NUMBER), build_int(a, 0), NULL);
    struct tl_expr *guarded =
        build_node(a, TL_EXPR_CASE, bigint, nonzero, divide, build_null(a, TL_BIGINT), NULL);
    struct tl_expr *other = build_node(a, TL_EXPR_COALESCE, bigint, guarded,
                                       build_call(a, "-", COL(0, MERCHANT), NULL), NULL);
    struct tl_expr *text =
        build_node(a, TL_EXPR_CASE, tl_type_of(TL_TEXT),
                   build_call(a, "=", COL(2, K1), build_text(a, "k1"), NULL), build_text(a, "one"),
                   build_call(a, "=", COL(2, K1), build_text(a, "k2"), NULL),
                   build_call(a, "upper", COL(2, K1), NULL), COL(2, K1), NULL);
    struct tl_plan plan = build_plan(build_project(a, scan_all(), guarded, other, text, NULL));
    struct lines expected = {0};
    for (uint32_t i = 0; i < ROWS; i++) {
        const struct row *r = &rows[i];
        bool can = !is_null(r, NUMBER) && r->number != 0;
        char line[100];
        char first[24] = "-";
        if (can)
            snprintf(first, sizeof(first), "%lld", (long long)(100 / r->number));
        const char *third = is_null(r, K1)         ? "-"
                            : !strcmp(r->k1, "k1") ? "one"
                            : !strcmp(r->k1, "k2") ? "K2"
                                                   : r->k1;
        snprintf(line, sizeof(line), "%s|%lld|%s|", first,
                 (long long)(can ? 100 / r->number : -r->merchant), third);
        add_line(&expected, line);
    }
    expect(&plan, &expected, false);
    free_lines(&expected);

    struct tl_status st = TL_STATUS_INIT;
    plan = build_plan(build_project(a, scan_all(), divide, NULL));
    assert_int_equal(run_plan(&plan, &ways[0], NULL, 0, 0, &st), TL_INVALID);
    assert_string_equal(tl_status_sqlstate(&st), "22012");
    tl_status_clear(&st);
    struct tl_aggregate aggs[] = {build_agg(TL_AGG_SUM, divide, NULL)};
    plan = build_plan(build_aggregate(a, scan_all(), aggs, 1, NULL));
    for (size_t w = 0; w < sizeof(ways) / sizeof(ways[0]); w++) {
        assert_int_equal(run_plan(&plan, &ways[w], NULL, 0, 0, &st), TL_INVALID);
        assert_string_equal(tl_status_sqlstate(&st), "22012");
        tl_status_clear(&st);
    }
    tl_arena_reset(&arena);
}

/* A function of a dictionary's string runs once per code. */
static void strings_are_looked_at_once(void **state)
{
    (void)state;
    struct tl_aggregate aggs[] = {build_agg(TL_AGG_COUNT_STAR, NULL, NULL)};
    struct tl_plan_node *n =
        build_filter(&arena, scan_all(),
                     build_call(&arena, "like", COL(2, K1), build_text(&arena, "%3%"), NULL), NULL);
    struct tl_plan plan = build_plan(build_aggregate(&arena, n, aggs, 1, NULL));
    struct tl_status st = TL_STATUS_INIT;
    atomic_store(&source.dict_gets, 0);
    assert_ok(&st, run_plan(&plan, &ways[0], NULL, 0, 0, &st));
    assert_in_range(atomic_load(&source.dict_gets), 1, 7 * SEGMENTS);
    /* counting groups of codes needs no more; counting rows needs none */
    atomic_store(&source.dict_gets, 0);
    plan = build_plan(build_aggregate(&arena, scan_all(), aggs, 1, COL(2, K1), NULL));
    assert_ok(&st, run_plan(&plan, &ways[0], NULL, 0, 0, &st));
    assert_in_range(atomic_load(&source.dict_gets), 1, 7 * SEGMENTS);
    atomic_store(&source.dict_gets, 0);
    n = build_filter(&arena, scan_all(),
                     build_node(&arena, TL_EXPR_IS_NULL, tl_type_of(TL_BOOLEAN), COL(2, K1), NULL),
                     NULL);
    plan = build_plan(build_aggregate(&arena, n, aggs, 1, NULL));
    assert_ok(&st, run_plan(&plan, &ways[0], NULL, 0, 0, &st));
    assert_int_equal(atomic_load(&source.dict_gets), 0);
    tl_arena_reset(&arena);
}

static void limits_are_named(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_plan plan = build_plan(build_sort(&arena, scan_all(), -1, 4, 0));
    assert_int_equal(run_plan(&plan, &ways[0], NULL, 200000, 0, &st), TL_LIMIT);
    assert_non_null(strstr(st.text, "query memory"));
    assert_string_equal(tl_status_sqlstate(&st), "53200");
    tl_status_clear(&st);
    for (size_t limit = 1000; limit < 2000000; limit = limit * 5 / 4) { /* wherever it is met */
        for (size_t w = 0; w < sizeof(ways) / sizeof(ways[0]); w++) {
            struct tl_aggregate aggs[16];
            uint32_t count = many_aggregates(aggs);
            plan = build_plan(build_aggregate(&arena, scan_all(), aggs, count, COL(3, K2), NULL));
            enum tl_code rc = run_plan(&plan, &ways[w], NULL, limit, 0, &st);
            assert_true(rc == TL_OK || rc == TL_LIMIT);
            tl_status_clear(&st);
        }
        tl_arena_reset(&arena);
    }
    plan = build_plan(scan_all());
    assert_int_equal(run_plan(&plan, &ways[0], NULL, 0, 100, &st), TL_LIMIT);
    tl_status_clear(&st);
    assert_ok(&st, run_plan(&plan, &ways[0], NULL, 0, ROWS, &st));
    tl_arena_reset(&arena);
}

static void cancel_and_timeout_end_a_run(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_plan plan = build_plan(scan_all());
    struct tl_clock_manual clock;
    tl_clock_manual_init(&clock, 0);
    source.morsel_rows = 0;
    struct tl_run_options options = {
        .source = &source.source, .clock = &clock.clock, .timeout_ms = 50};
    struct tl_run *run;
    struct tl_chunk chunk;
    assert_ok(&st, tl_run_new(&plan, &options, &run, &st));
    assert_ok(&st, tl_run_step(run, &chunk, &st));
    tl_run_cancel(run);
    assert_int_equal(tl_run_step(run, &chunk, &st), TL_CANCELLED);
    assert_string_equal(tl_status_sqlstate(&st), "57014");
    tl_status_clear(&st);
    tl_run_free(run);
    assert_ok(&st, tl_run_new(&plan, &options, &run, &st));
    assert_ok(&st, tl_run_step(run, &chunk, &st));
    tl_clock_manual_advance(&clock, 51000);
    assert_int_equal(tl_run_step(run, &chunk, &st), TL_TIMEOUT);
    tl_run_free(run);
    assert_int_equal(atomic_load(&source.open_scans), 0);
    assert_int_equal(atomic_load(&source.open_morsels), 0);
    tl_arena_reset(&arena);
}

static void parameters_and_one_row(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_arena *a = &arena;
    struct tl_expr *p = build_expr(a, TL_EXPR_PARAM, tl_type_of(TL_BIGINT));
    struct tl_plan_node *one = build_plan_node(a, TL_NODE_ONE_ROW, NULL, 0);
    struct tl_plan plan = build_plan(build_project(
        a, one, build_call(a, "+", p, build_int(a, 1), NULL), build_call(a, "now", NULL), NULL));
    struct tl_type type = tl_type_of(TL_BIGINT);
    plan.param_count = 1;
    plan.param_types = &type;
    struct tl_run_options options = {.now_us = 42};
    struct tl_run *run;
    assert_int_equal(tl_run_new(&plan, &options, &run, &st), TL_INVALID);
    tl_status_clear(&st);
    int64_t value = 41;
    struct tl_vector param = {.type = type, .shape = TL_CONST, .count = 1, .data = &value};
    options.params = &param;
    options.param_count = 1;
    struct tl_chunk chunk;
    assert_ok(&st, tl_run_new(&plan, &options, &run, &st));
    assert_ok(&st, tl_run_step(run, &chunk, &st));
    assert_int_equal(chunk.count, 1);
    char text[32];
    print_value(&chunk.columns[0], 0, text, sizeof(text));
    assert_string_equal(text, "42");
    print_value(&chunk.columns[1], 0, text, sizeof(text));
    assert_string_equal(text, "42");
    assert_ok(&st, tl_run_step(run, &chunk, &st));
    assert_int_equal(chunk.count, 0);
    assert_ok(&st, tl_run_step(run, &chunk, &st));
    assert_int_equal(chunk.count, 0);
    tl_run_free(run);
    tl_arena_reset(&arena);
}

static void the_account_counts_rows(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_aggregate aggs[] = {build_agg(TL_AGG_COUNT_STAR, NULL, NULL)};
    struct tl_plan plan =
        build_plan(build_aggregate(&arena, scan_all(), aggs, 1, COL(8, FLAG), NULL));
    plan.analyze = true;
    source.morsel_rows = 0;
    struct tl_run_options options = {.source = &source.source, .clock = tl_clock_system()};
    struct tl_run *run;
    struct tl_chunk chunk;
    assert_ok(&st, tl_run_new(&plan, &options, &run, &st));
    do {
        assert_ok(&st, tl_run_step(run, &chunk, &st));
    } while (chunk.count);
    struct tl_buffer out;
    tl_buffer_init(&out, "explain", 10000);
    tl_run_print(run, &out);
    tl_buffer_put_u8(&out, 0);
    assert_non_null(strstr((const char *)out.data, "Aggregate"));
    assert_non_null(strstr((const char *)out.data, "rows=3 "));
    assert_non_null(strstr((const char *)out.data, "rows=7000 "));
    assert_non_null(strstr((const char *)out.data, "Rows scanned: 7000"));
    tl_buffer_deinit(&out);
    tl_run_free(run);
    tl_arena_reset(&arena);
}

/* Percentiles of every kind, from both ends. */
static void percentiles(void **state)
{
    (void)state;
    static const double fractions[] = {0, 0.25, 0.5, 0.99, 1};
    for (size_t f = 0; f < sizeof(fractions) / sizeof(fractions[0]); f++) {
        struct lines texts = {0};
        static int64_t prices[ROWS];
        size_t n = 0;
        for (uint32_t i = 0; i < ROWS; i++) {
            if (!is_null(&rows[i], FLAT))
                add_line(&texts, rows[i].flat);
            if (!is_null(&rows[i], PRICE))
                prices[n++] = rows[i].price;
        }
        sort_lines(&texts);
        qsort(prices, n, sizeof(prices[0]), by_int);
        struct tl_aggregate aggs[3] = {build_agg(TL_AGG_PERCENTILE_DISC, COL(4, FLAT), NULL),
                                       build_agg(TL_AGG_PERCENTILE_DISC, COL(6, PRICE), NULL),
                                       build_agg(TL_AGG_PERCENTILE_DISC, COL(6, PRICE), NULL)};
        for (int i = 0; i < 3; i++)
            aggs[i].fraction = build_double(&arena, fractions[f]);
        aggs[2].descending = true;
        struct tl_plan plan = build_plan(build_aggregate(&arena, scan_all(), aggs, 3, NULL));
        size_t at = (size_t)ceil(fractions[f] * texts.count);
        size_t k = (size_t)ceil(fractions[f] * (double)n);
        char low[TL_DECIMAL_TEXT_MAX];
        char high[TL_DECIMAL_TEXT_MAX];
        tl_print_decimal(prices[k ? k - 1 : 0], 2, low);
        tl_print_decimal(prices[n - (k ? k : 1)], 2, high);
        char line[160];
        snprintf(line, sizeof(line), "%s|%s|%s|", texts.at[at ? at - 1 : 0], low, high);
        struct lines expected = {0};
        add_line(&expected, line);
        expect(&plan, &expected, true);
        free_lines(&expected);
        free_lines(&texts);
        tl_arena_reset(&arena);
    }
    struct tl_status st = TL_STATUS_INIT;
    struct tl_aggregate agg = build_agg(TL_AGG_PERCENTILE_DISC, COL(6, PRICE), NULL);
    agg.fraction = build_double(&arena, 1.5);
    struct tl_plan plan = build_plan(build_aggregate(&arena, scan_all(), &agg, 1, NULL));
    assert_int_equal(run_plan(&plan, &ways[0], NULL, 0, 0, &st), TL_INVALID);
    assert_string_equal(tl_status_sqlstate(&st), "22003");
    tl_arena_reset(&arena);
}

/* Approximate percentiles: within the bound, and the same in every way of running. */
static void approximate_percentiles(void **state)
{
    (void)state;
    static const double fractions[] = {0, 0.25, 0.5, 0.99, 1};
    enum { FRACTIONS = 5 };
    static int64_t prices[ROWS];
    struct tl_status st = TL_STATUS_INIT;
    struct tl_aggregate aggs[FRACTIONS];
    size_t n = 0;
    for (uint32_t i = 0; i < ROWS; i++) {
        if (!is_null(&rows[i], PRICE))
            prices[n++] = rows[i].price;
    }
    qsort(prices, n, sizeof(prices[0]), by_int);
    for (int f = 0; f < FRACTIONS; f++) {
        aggs[f] = build_agg(TL_AGG_APPROX_PERCENTILE, COL(6, PRICE), NULL);
        aggs[f].fraction = build_double(&arena, fractions[f]);
    }
    struct tl_plan plan = build_plan(build_aggregate(&arena, scan_all(), aggs, FRACTIONS, NULL));
    struct lines first = {0};
    for (size_t w = 0; w < sizeof(ways) / sizeof(ways[0]); w++) {
        struct lines l = {0};
        assert_ok(&st, run_plan(&plan, &ways[w], &l, 0, 0, &st));
        assert_int_equal(l.count, 1);
        char *next = l.at[0];
        for (int f = 0; f < FRACTIONS; f++) {
            size_t k = (size_t)ceil(fractions[f] * (double)n);
            double exact = (double)prices[k ? k - 1 : 0] / 100;
            double told = strtod(next, &next);
            assert_true(fabs(told - exact) <= 0.01 * fabs(exact));
            assert_int_equal(*next++, '|');
        }
        if (w == 0)
            add_line(&first, l.at[0]);
        assert_string_equal(l.at[0], first.at[0]);
        free_lines(&l);
    }
    free_lines(&first);
    tl_arena_reset(&arena);
}

static void arrays_and_sorts(void **state)
{
    (void)state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_budget budget;
    tl_budget_init(&budget, "test", 1 << 20, NULL);
    struct tl__array a;
    tl__array_init(&a, &budget, 8);
    for (size_t i = 0; i < 10000; i++) {
        assert_ok(&st, tl__array_reserve(&a, i + 1, true, &st));
        assert_int_equal(TL__AT(uint64_t, &a, i), 0);
        TL__AT(uint64_t, &a, i) = rng + chance(1000000);
    }
    assert_true(atomic_load(&budget.used_bytes) < 10000 * 8 * 2 + 4096);
    uint64_t *other = malloc(10000 * 8);
    for (size_t n = 0; n < 10000; n = n * 3 + 1) {
        uint64_t *sorted = tl__radix_sort((uint64_t *)(void *)a.data, other, n);
        for (size_t i = 1; i < n; i++)
            assert_true(sorted[i - 1] <= sorted[i]);
    }
    free(other);
    tl__array_deinit(&a);
    assert_int_equal(atomic_load(&budget.used_bytes), 0);
}

int main(void)
{
    struct tl_status st = TL_STATUS_INIT;
    if (tl_pool_new("test", 2, 16, &pool, &st))
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrays_and_sorts),
        cmocka_unit_test(groups_agree_with_the_model),
        cmocka_unit_test(no_rows_make_one_group_without_keys),
        cmocka_unit_test(sorts_and_limits),
        cmocka_unit_test(distinct_rows),
        cmocka_unit_test(bounds_reach_the_source),
        cmocka_unit_test(exact_predicates_are_believed),
        cmocka_unit_test(branches_are_lazy),
        cmocka_unit_test(strings_are_looked_at_once),
        cmocka_unit_test(limits_are_named),
        cmocka_unit_test(cancel_and_timeout_end_a_run),
        cmocka_unit_test(parameters_and_one_row),
        cmocka_unit_test(the_account_counts_rows),
        cmocka_unit_test(percentiles),
        cmocka_unit_test(approximate_percentiles),
    };
    int failed = cmocka_run_group_tests(tests, setup, teardown);
    tl_pool_free(pool);
    return failed;
}
