/*
 * Promise: props['key'] tells what was sent: from memtables, from flushed segments and from merged
 * ones, whichever keys have columns of their own in them, and after a restart; a row without the
 * key, and one without props, is NULL; an empty value is not.
 * Method: random props beside a model that keeps them as they are; flushes whose frequent keys
 * differ, a merge, questions after each step.
 */
#include <stdlib.h>

#include "base/random.h"
#include "storage/io.h"
#include "storage/io_sim.h"
#include "tests/fixture/events.h"
#include "tests/test.h"

#define T0 1767225600000000LL

enum { KEYS = 110, ROWS = 1600, ROW_KEYS_MAX = 64, PARTS = 4, BATCH = 100, TEXT_MAX = 16 << 20 };

struct row {
    bool null;
    uint32_t count;
    uint8_t keys[ROW_KEYS_MAX];
    struct tl_slice values[ROW_KEYS_MAX];
};

static struct tl_status st;
static struct tl_arena arena;
static char keys[KEYS][68];
static struct row rows[ROWS];
static struct fx_event events[ROWS];
static char *expected, *got;

static struct tl_io *io;
static struct tally *db;

static void open_db(void)
{
    struct tally_options options = {.io_door = io,
                                    .memory_bytes = 128 << 20,
                                    .log_file_bytes = 4 << 20,
                                    .shards = 2,
                                    .query_threads = 2,
                                    .no_background = true};
    assert_ok(&st, tally_open("sim", &options, &db, &st));
}

static struct tl_slice random_value(struct tl_random *r)
{
    static const char *const usual[] = {"", "a", "gold", "größer", "尺寸", "0", "a longer value"};
    uint64_t n = tl_random_below(r, 100);
    if (n < 60)
        return tl_slice_str(usual[n % 7]);
    size_t size = n == 99 && tl_random_below(r, 30) == 0 ? 4096 : 1 + tl_random_below(r, 20);
    uint8_t *s = tl_arena_alloc(&arena, size, &st);
    for (size_t i = 0; i < size; i++)
        s[i] = (uint8_t)('a' + tl_random_below(r, 26));
    return tl_slice_of(s, size);
}

static void put_bytes(struct tl_buffer *b, uint8_t tag, struct tl_slice s)
{
    tl_buffer_put_u8(b, tag);
    tl_buffer_put_varint(b, s.size);
    tl_buffer_put(b, s.data, s.size);
}

/* The Props message of a row, its keys in any order. */
static struct tl_slice message_of(struct tl_random *r, const struct row *row)
{
    struct tl_buffer all;
    uint32_t order[ROW_KEYS_MAX];
    tl_buffer_init(&all, "props", 1 << 20);
    for (uint32_t i = 0; i < row->count; i++) {
        uint64_t at = tl_random_below(r, i + 1);
        order[i] = order[at];
        order[at] = i;
    }
    for (uint32_t i = 0; i < row->count; i++) {
        struct tl_buffer one;
        tl_buffer_init(&one, "prop", 1 << 20);
        put_bytes(&one, 0x0a, tl_slice_str(keys[row->keys[order[i]]]));
        if (row->values[order[i]].size > 0)
            put_bytes(&one, 0x12, row->values[order[i]]);
        put_bytes(&all, 0x0a, tl_buffer_slice(&one));
        tl_buffer_deinit(&one);
    }
    struct tl_slice m = tl_slice_of(
        tl_arena_copy(&arena, all.data ? (const void *)all.data : "", all.size, &st), all.size);
    tl_buffer_deinit(&all);
    return m;
}

/* Which keys are frequent shifts from flush to flush; `key_count` of them are in use. */
static void make_rows(uint32_t key_count, uint64_t seed)
{
    struct tl_random r;
    tl_random_init(&r, seed);
    for (uint32_t k = 0; k < KEYS; k++)
        snprintf(keys[k], sizeof(keys[k]),
                 k % 9 == 5   ? "größe-%u"
                 : k % 9 == 7 ? "it's %u"
                              : "k%u",
                 k);
    snprintf(keys[3], sizeof(keys[3]), "%064d", 3);
    for (uint32_t i = 0; i < ROWS; i++) {
        struct row *row = &rows[i];
        uint32_t part = i / (ROWS / PARTS);
        bool full = tl_random_below(&r, 40) == 0;
        *row = (struct row){.null = tl_random_below(&r, 8) == 0};
        for (uint32_t k = 0; k < key_count && !row->null && row->count < ROW_KEYS_MAX; k++) {
            uint32_t rank = (k * 11 + part * 37) % key_count;
            if (!full && tl_random_below(&r, 3 + rank) > 2)
                continue;
            row->keys[row->count] = (uint8_t)k;
            row->values[row->count++] = random_value(&r);
        }
        events[i] = (struct fx_event){.merchant_id = 1 + (int64_t)tl_random_below(&r, 20),
                                      .ts_us = T0 + (int64_t)i * 1000000,
                                      .duration_ms = i,
                                      .revenue = -1};
        if (!row->null)
            events[i].props = message_of(&r, row);
    }
}

static const struct tl_slice *value_of(const struct row *row, uint32_t key)
{
    for (uint32_t i = 0; i < row->count; i++)
        if (row->keys[i] == key)
            return &row->values[i];
    return NULL;
}

/* A key as SQL's text. */
static const char *quoted(uint32_t key)
{
    static char out[160];
    char *to = out;
    for (const char *s = keys[key]; *s; s++) {
        *to++ = *s;
        if (*s == '\'')
            *to++ = '\'';
    }
    *to = '\0';
    return out;
}

static void ask(uint32_t known, uint32_t key)
{
    char sql[600];
    size_t n = 0;
    for (uint32_t i = 0; i < known; i++) {
        const struct tl_slice *v = value_of(&rows[i], key);
        n += (size_t)snprintf(expected + n, TEXT_MAX - n, "%s%u|%.*s", i ? ";" : "", i,
                              v ? (int)v->size : 4, v ? (const char *)v->data : "NULL");
    }
    snprintf(sql, sizeof(sql),
             "SELECT duration_ms, coalesce(props['%s'], 'NULL') FROM events ORDER BY ts",
             quoted(key));
    fx_query(db, sql, got, TEXT_MAX);
    if (strcmp(expected, got) != 0)
        fail_msg("%s: got %.300s, expected %.300s", sql, got, expected);

    int64_t nulls = 0;
    int64_t golden = 0;
    int64_t merchant = 0;
    for (uint32_t i = 0; i < known; i++) {
        const struct tl_slice *v = value_of(&rows[i], key);
        nulls += !v;
        golden += v && tl_slice_eq(*v, tl_slice_str("gold"));
        merchant += v && events[i].merchant_id == 7 && v->size > 0;
    }
    snprintf(sql, sizeof(sql), "SELECT count(*) FROM events WHERE props['%s'] IS NULL",
             quoted(key));
    assert_int_equal(fx_number(db, sql), nulls);
    snprintf(sql, sizeof(sql), "SELECT count(*) FROM events WHERE props['%s'] = 'gold'",
             quoted(key));
    assert_int_equal(fx_number(db, sql), golden);
    snprintf(sql, sizeof(sql),
             "SELECT count(props['%s']) FROM events WHERE merchant_id = 7 AND props['%s'] <> ''",
             quoted(key), quoted(key));
    assert_int_equal(fx_number(db, sql), merchant);
}

static void ask_all(uint32_t known, uint32_t key_count)
{
    for (uint32_t k = 0; k < KEYS; k += k < key_count ? 1 + key_count / 13 : 40)
        ask(known, k);
}

static void history(uint32_t key_count, uint64_t seed)
{
    struct tl_io_sim *sim;
    struct tl_buffer json;
    tl_arena_init(&arena, NULL, 0);
    make_rows(key_count, seed);
    assert_ok(&st, tl_io_sim_new(seed, &sim, &st));
    io = tl_io_sim_io(sim);
    open_db();
    uint32_t known = 0;
    for (uint32_t part = 0; part < PARTS; part++) {
        for (uint32_t i = 0; i < ROWS / PARTS; i += BATCH, known += BATCH)
            fx_append(db, "p", 1 + known / BATCH, events + known, BATCH);
        ask_all(known, key_count);
        assert_ok(&st, tally_flush(db, &st));
        ask_all(known, key_count);
    }
    assert_ok(&st, tally_compact(db, NULL, NULL, &st));
    ask_all(known, key_count);
    tally_close(db);
    open_db();
    ask_all(known, key_count);
    tl_buffer_init(&json, "report", 64 << 20);
    assert_ok(&st, tally_verify(db, NULL, NULL, &json, &st));
    tl_buffer_clear(&json);
    assert_ok(&st, tally_inspect(db, NULL, &json, &st));
    tl_buffer_put_u8(&json, 0);
    char name[100];
    snprintf(name, sizeof(name), "\"name\":\"props['%s']\"", keys[0]);
    assert_non_null(strstr((const char *)json.data, name));
    tl_buffer_deinit(&json);
    tally_close(db);
    tl_io_free(io);
    tl_arena_deinit(&arena);
}

static void few_keys(void **state)
{
    (void)state;
    history(6, 1);
}

static void many_keys(void **state)
{
    (void)state;
    history(KEYS, 2);
    history(66, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_keys),
        cmocka_unit_test(many_keys),
    };
    expected = malloc(TEXT_MAX);
    got = malloc(TEXT_MAX);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(expected);
    free(got);
    return failed;
}
