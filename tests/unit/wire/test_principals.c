/*
 * Promise: a token lets in whom it was made for, with their scopes and merchants, until it is
 * revoked or past its time; another process's changes count within a second; neither token nor
 * password stands in the file; SCRAM's keys are those of RFC 7677.
 * Method: stores in a directory of their own, a clock that is moved by hand.
 */
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "wire/authorize.h"
#include "wire/principals.h"

#define NOW    1767225600000000LL
#define SECOND 1000000LL

struct bed {
    char dir[64];
    struct tl_clock_manual clock;
    struct tl_principals *store;
};

static int setup(void **state)
{
    struct bed *b = calloc(1, sizeof(*b));
    struct tl_status st = TL_STATUS_INIT;
    snprintf(b->dir, sizeof(b->dir), "/tmp/tally-principals-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    tl_clock_manual_init(&b->clock, NOW);
    assert_ok(&st, tl_principals_open(b->dir, true, &b->clock.clock, &b->store, &st));
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    static const char *const names[] = {"principals.db", "principals.db-wal", "principals.db-shm"};
    struct bed *b = *state;
    tl_principals_close(b->store);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[128];
        snprintf(path, sizeof(path), "%s/%s", b->dir, names[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(b->dir), 0);
    free(b);
    return 0;
}

static const int64_t some[] = {-3, 17, 9000000000};

static void add(struct tl_principals *s, const char *name, uint32_t scopes, int64_t expires_us,
                char token[TL_TOKEN_BYTES_MAX])
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_principal_new n = {.name = name,
                                 .scopes = scopes,
                                 .merchant_count = 3,
                                 .merchants = some,
                                 .expires_us = expires_us};
    assert_ok(&st, tl_principals_add(s, &n, token, &st));
}

static struct tl_principal *find(struct tl_principals *s, const char *token)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_principal *p;
    assert_ok(&st, tl_principals_by_token(s, tl_slice_str(token), &p, &st));
    return p;
}

static bool required(struct tl_principals *s)
{
    struct tl_status st = TL_STATUS_INIT;
    bool is;
    assert_ok(&st, tl_principals_required(s, &is, &st));
    return is;
}

static bool required_since(struct tl_principals *s)
{
    struct tl_status st = TL_STATUS_INIT;
    bool is;
    assert_ok(&st, tl_principals_required_since(s, &is, &st));
    return is;
}

static void a_token_names_its_principal(void **state)
{
    struct bed *b = *state;
    struct tl_status st = TL_STATUS_INIT;
    char token[TL_TOKEN_BYTES_MAX], other[TL_TOKEN_BYTES_MAX], boss[TL_TOKEN_BYTES_MAX];
    assert_false(required(b->store));
    assert_null(find(b->store, "tally_nobody"));
    add(b->store, "shop", TL_SCOPE_READ, INT64_MAX, token);
    add(b->store, "till", TL_SCOPE_INGEST, INT64_MAX, other);
    struct tl_principal_new chief = {.name = "ops", .is_operator = true, .expires_us = INT64_MAX};
    assert_ok(&st, tl_principals_add(b->store, &chief, boss, &st));
    assert_true(required(b->store));
    assert_int_equal(strncmp(token, "tally_", 6), 0);
    assert_int_equal(strlen(token), 6 + 43);
    assert_string_not_equal(token, other);

    for (int round = 0; round < 3; round++) { /* from the file, then from the cache */
        struct tl_principal *p = find(b->store, token), *again;
        assert_non_null(p);
        assert_string_equal(p->name, "shop");
        assert_false(p->is_operator);
        assert_int_equal(p->scopes, TL_SCOPE_READ);
        assert_true(p->tenant.bounded);
        assert_int_equal(p->tenant.merchant_count, 3);
        assert_memory_equal(p->tenant.merchants, some, sizeof(some));
        assert_int_equal(p->created_us, NOW);
        assert_ok(&st, tl_principals_by_name(b->store, tl_slice_str("shop"), &again, &st));
        assert_int_equal(again->id, p->id);
        assert_memory_equal(&again->scram, &p->scram, sizeof(p->scram));
        tl_principal_unref(again);
        tl_principal_unref(p);
    }
    struct tl_principal *p = find(b->store, boss);
    assert_true(p->is_operator);
    assert_false(p->tenant.bounded);
    tl_principal_unref(p);
    token[10] ^= 1;
    assert_null(find(b->store, token));
    assert_null(find(b->store, ""));
}

static void revoked_and_expired_tokens_end(void **state)
{
    struct bed *b = *state;
    struct tl_status st = TL_STATUS_INIT;
    char token[TL_TOKEN_BYTES_MAX], brief[TL_TOKEN_BYTES_MAX], again[TL_TOKEN_BYTES_MAX];
    add(b->store, "shop", TL_SCOPE_ALL, INT64_MAX, token);
    add(b->store, "brief", TL_SCOPE_ALL, NOW + 5 * SECOND, brief);
    struct tl_principal *shop = find(b->store, token), *short_lived = find(b->store, brief);
    assert_true(tl_principals_valid(b->store, shop));
    assert_true(tl_principals_valid(b->store, short_lived));
    tl_clock_manual_advance(&b->clock, 5 * SECOND);
    assert_true(tl_principals_valid(b->store, shop));
    assert_false(tl_principals_valid(b->store, short_lived));
    assert_null(find(b->store, brief));

    assert_ok(&st, tl_principals_revoke(b->store, "shop", &st));
    assert_false(tl_principals_valid(b->store, shop));
    assert_null(find(b->store, token));
    assert_code(&st, TL_NOT_FOUND, tl_principals_revoke(b->store, "shop", &st));
    assert_true(required(b->store));
    /* The name is free again, and means somebody else. */
    add(b->store, "shop", TL_SCOPE_ALL, INT64_MAX, again);
    assert_false(tl_principals_valid(b->store, shop));
    assert_null(find(b->store, token));
    tl_principal_unref(shop);
    shop = find(b->store, again);
    assert_true(tl_principals_valid(b->store, shop));
    tl_principal_unref(shop);
    tl_principal_unref(short_lived);
}

static void another_process_is_heard_within_a_second(void **state)
{
    struct bed *b = *state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_principals *server;
    char token[TL_TOKEN_BYTES_MAX];
    assert_ok(&st, tl_principals_open(b->dir, false, &b->clock.clock, &server, &st));
    assert_false(required(server));
    add(b->store, "shop", TL_SCOPE_ALL, INT64_MAX, token);
    tl_clock_manual_advance(&b->clock, SECOND);
    assert_true(required(server));
    struct tl_principal *p = find(server, token);
    assert_non_null(p);
    assert_ok(&st, tl_principals_revoke(b->store, "shop", &st));
    tl_clock_manual_advance(&b->clock, SECOND);
    assert_false(tl_principals_valid(server, p));
    assert_null(find(server, token));
    tl_principal_unref(p);
    tl_principals_close(server);
}

/* A stream that was let in without a token hears of the first one within a second. */
static void streams_hear_of_the_first_principal(void **state)
{
    struct bed *b = *state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_principals *server;
    char token[TL_TOKEN_BYTES_MAX];
    assert_ok(&st, tl_principals_open(b->dir, false, &b->clock.clock, &server, &st));
    for (int i = 0; i < 3; i++) {
        assert_false(required_since(server));
        tl_clock_manual_advance(&b->clock, SECOND);
    }
    assert_false(required_since(server));
    add(b->store, "shop", TL_SCOPE_ALL, INT64_MAX, token);
    tl_clock_manual_advance(&b->clock, SECOND);
    assert_true(required_since(server));
    tl_principals_close(server);
}

static void a_store_that_is_made_later_is_found(void **state)
{
    struct bed *b = *state;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_principals *server, *maker;
    char dir[96], path[160], token[TL_TOKEN_BYTES_MAX];
    snprintf(dir, sizeof(dir), "%s/later", b->dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_ok(&st, tl_principals_open(dir, false, &b->clock.clock, &server, &st));
    assert_false(required(server));
    assert_null(find(server, "tally_x"));
    assert_ok(&st, tl_principals_open(dir, true, &b->clock.clock, &maker, &st));
    add(maker, "shop", TL_SCOPE_ALL, INT64_MAX, token);
    tl_clock_manual_advance(&b->clock, SECOND);
    struct tl_principal *p = find(server, token);
    assert_non_null(p);
    assert_true(required(server));
    tl_principal_unref(p);
    tl_principals_close(server);
    tl_principals_close(maker);
    snprintf(path, sizeof(path), "%s/principals.db", dir);
    struct stat is;
    assert_int_equal(stat(path, &is), 0);
    assert_int_equal(is.st_mode & 077, 0);
    unlink(path);
    assert_int_equal(rmdir(dir), 0);
}

static void tokens_do_not_stand_in_the_file(void **state)
{
    struct bed *b = *state;
    char token[TL_TOKEN_BYTES_MAX], path[128];
    add(b->store, "shop", TL_SCOPE_ALL, INT64_MAX, token);
    static const char *const names[] = {"principals.db", "principals.db-wal"};
    size_t bytes = 0;
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", b->dir, names[i]);
        FILE *f = fopen(path, "rb");
        if (!f)
            continue;
        char *all = malloc(1 << 20);
        size_t n = fread(all, 1, 1 << 20, f);
        bytes += n;
        assert_null(memmem(all, n, token + 6, 16));
        free(all);
        fclose(f);
    }
    assert_true(bytes > 4096);
}

static void what_cannot_be_is_refused(void **state)
{
    struct bed *b = *state;
    struct tl_status st = TL_STATUS_INIT;
    char token[TL_TOKEN_BYTES_MAX];
    static const char *const names[] = {
        "",
        "Shop",
        "a b",
        "-x",
        "caf\xc3\xa9",
        "a'b",
        ("a2345678901234567890123456789012345678901234567890123456789"
         "0123456")};
    struct tl_principal_new good = {
        .scopes = TL_SCOPE_READ, .merchant_count = 3, .merchants = some, .expires_us = INT64_MAX};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct tl_principal_new n = good;
        n.name = names[i];
        assert_code(&st, TL_INVALID, tl_principals_add(b->store, &n, token, &st));
    }
    struct tl_principal_new n = good;
    n.name = "shop";
    n.scopes = 0;
    assert_code(&st, TL_INVALID, tl_principals_add(b->store, &n, token, &st));
    n.scopes = TL_SCOPE_READ;
    n.merchant_count = 0;
    assert_code(&st, TL_INVALID, tl_principals_add(b->store, &n, token, &st));
    n.merchant_count = TALLY_TENANT_MERCHANTS_MAX + 1;
    assert_code(&st, TL_INVALID, tl_principals_add(b->store, &n, token, &st));
    n.merchant_count = 1;
    n.is_operator = true;
    assert_code(&st, TL_INVALID, tl_principals_add(b->store, &n, token, &st));
    assert_false(required(b->store));
    add(b->store, "shop", TL_SCOPE_READ, INT64_MAX, token);
    n = good;
    n.name = "shop";
    assert_code(&st, TL_EXISTS, tl_principals_add(b->store, &n, token, &st));
}

/* RFC 7677, section 3: user "user", password "pencil". */
static void keys_are_those_of_rfc_7677(void **state)
{
    (void)state;
    static const uint8_t salt[TL_SCRAM_SALT_BYTES] = {0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12,
                                                      0x35, 0x8e, 0xec, 0xa0, 0x4b, 0x14,
                                                      0x12, 0x36, 0xfa, 0x81};
    static const uint8_t stored[TL_SCRAM_KEY_BYTES] = {
        0x58, 0x6e, 0x5d, 0xf2, 0x83, 0xe6, 0xdc, 0xeb, 0x5c, 0x3e, 0x79,
        0x1d, 0x8b, 0x85, 0x28, 0xec, 0x19, 0x1e, 0x66, 0x40, 0x45, 0xce,
        0x97, 0x17, 0x92, 0xe2, 0xe6, 0xb5, 0xbb, 0x13, 0xe2, 0xa6};
    static const uint8_t server[TL_SCRAM_KEY_BYTES] = {
        0xc1, 0xf3, 0xcb, 0xc1, 0xc1, 0x3a, 0x9d, 0x35, 0xa1, 0x4c, 0x09,
        0x90, 0xee, 0xd9, 0x76, 0x29, 0xea, 0x22, 0x58, 0x63, 0xe5, 0x66,
        0xa4, 0x31, 0x4a, 0xb9, 0x9f, 0x3f, 0x00, 0xe5, 0xd9, 0xd5};
    struct tl_scram_keys keys;
    struct tl_status st = TL_STATUS_INIT;
    assert_ok(&st, tl_scram_keys_derive(tl_slice_str("pencil"), salt, 4096, &keys, &st));
    assert_memory_equal(keys.stored_key, stored, sizeof(stored));
    assert_memory_equal(keys.server_key, server, sizeof(server));
    assert_int_equal(keys.iterations, 4096);
    assert_memory_equal(keys.salt, salt, sizeof(salt));
}

static void bearer_tokens_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *value, *token;
    } cases[] = {
        {"Bearer abc", "abc"}, {"bearer  abc", "abc"}, {"BEARER a", "a"}, {"Bearer ", NULL},
        {"Bearer", NULL},      {"Basic abc", NULL},    {"", NULL},        {"abc", NULL}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tl_slice token;
        bool is = tl_bearer_token(tl_slice_str(cases[i].value), &token);
        assert_int_equal(is, cases[i].token != NULL);
        if (is)
            assert_true(tl_slice_eq(token, tl_slice_str(cases[i].token)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_token_names_its_principal, setup, teardown),
        cmocka_unit_test_setup_teardown(revoked_and_expired_tokens_end, setup, teardown),
        cmocka_unit_test_setup_teardown(another_process_is_heard_within_a_second, setup, teardown),
        cmocka_unit_test_setup_teardown(streams_hear_of_the_first_principal, setup, teardown),
        cmocka_unit_test_setup_teardown(a_store_that_is_made_later_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(tokens_do_not_stand_in_the_file, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_is_refused, setup, teardown),
        cmocka_unit_test(keys_are_those_of_rfc_7677),
        cmocka_unit_test(bearer_tokens_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
