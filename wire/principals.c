/*
 * wire/principals.c: the store of principals over SQLite.
 *
 *     principals           one row each; revoked ones stay, so that their names tell of the past
 *     principal_merchants  whose rows a merchant's token reads and writes
 *
 * The cache holds the principals met last, by the hash of their token, each with the number of the
 * file's state (`epoch`) that it was seen in. A new epoch begins when PRAGMA data_version says that
 * another connection has written; what is older is looked up again before it is believed.
 */
#include "wire/principals.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/text.h"

enum {
    CACHE_SLOTS = 4096,
    HASH_BYTES = 32,
    TOKEN_RANDOM_BYTES = 32,
    FORMAT_VERSION = 1,
    BUSY_MS = 2000, /* that a writer waits for another one; readers wait for nobody (WAL) */
    APPLICATION_ID = 0x54414c59
};
#define LOOK_NS_MIN (1000ULL * 1000 * 1000)

enum statement { BY_TOKEN, BY_NAME, MERCHANTS, ANY, STATEMENT_COUNT };

struct slot {
    uint8_t hash[HASH_BYTES];
    struct tl_principal *principal; /* NULL: empty */
};

struct tl_principals {
    char *path;
    const struct tl_clock *clock;
    sqlite3 *db; /* NULL: there is no file yet */
    sqlite3_stmt *statements[STATEMENT_COUNT];
    sqlite3_stmt *data_version;
    int64_t version; /* what PRAGMA data_version said last */
    uint64_t epoch;  /* of what was looked up; from 1 */
    uint64_t looked_ns;
    bool looked;      /* at looked_ns */
    bool required;    /* it cannot become false again */
    uint64_t none_in; /* the epoch that had no principal; 0: not known */
    struct slot cache[CACHE_SLOTS];
};

static const char *const texts[STATEMENT_COUNT] = {
#define COLUMNS                                                                                    \
    "id, name, is_operator, scopes, salt, iterations, stored_key, server_key, created_us, "        \
    "expires_us, token_hash, revoked_us"
    [BY_TOKEN] = "SELECT " COLUMNS " FROM principals WHERE token_hash = ?1 AND revoked_us IS NULL",
    [BY_NAME] = "SELECT " COLUMNS " FROM principals WHERE name = ?1 AND revoked_us IS NULL",
    [MERCHANTS] =
        "SELECT merchant_id FROM principal_merchants WHERE principal_id = ?1 ORDER BY merchant_id",
    [ANY] = "SELECT 1 FROM principals LIMIT 1",
};

static const char schema[] = "BEGIN IMMEDIATE;"
                             "CREATE TABLE IF NOT EXISTS principals("
                             " id INTEGER PRIMARY KEY AUTOINCREMENT,"
                             " name TEXT NOT NULL,"
                             " is_operator INTEGER NOT NULL,"
                             " scopes INTEGER NOT NULL,"
                             " token_hash BLOB NOT NULL UNIQUE,"
                             " salt BLOB NOT NULL,"
                             " iterations INTEGER NOT NULL,"
                             " stored_key BLOB NOT NULL,"
                             " server_key BLOB NOT NULL,"
                             " created_us INTEGER NOT NULL,"
                             " expires_us INTEGER NOT NULL,"
                             " revoked_us INTEGER) STRICT;"
                             "CREATE UNIQUE INDEX IF NOT EXISTS principals_name ON principals(name)"
                             " WHERE revoked_us IS NULL;"
                             "CREATE TABLE IF NOT EXISTS principal_merchants("
                             " principal_id INTEGER NOT NULL REFERENCES principals(id),"
                             " merchant_id INTEGER NOT NULL,"
                             " PRIMARY KEY(principal_id, merchant_id)) STRICT, WITHOUT ROWID;"
                             "COMMIT;";

/* ---- errors ---- */

static enum tl_code fail(struct tl_principals *s, int rc, const char *doing, struct tl_status *st)
{
    enum tl_code code = TL_IO;
    switch (rc & 0xff) {
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
        code = TL_CORRUPT;
        break;
    case SQLITE_FULL:
        code = TL_FULL;
        break;
    case SQLITE_BUSY:
        code = TL_BUSY;
        break;
    case SQLITE_NOMEM:
        code = TL_LIMIT;
        break;
    default:
        break;
    }
    return TL_FAIL(st, code, "%s %s: %s", doing, s->path,
                   s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(rc));
}

/* ---- principals ---- */

struct tl_principal *tl_principal_ref(struct tl_principal *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void tl_principal_unref(struct tl_principal *p)
{
    if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    free((void *)(uintptr_t)p->tenant.merchants);
    free(p);
}

static bool expired(const struct tl_principals *s, const struct tl_principal *p)
{
    return tl_clock_wall_us(s->clock) >= p->expires_us;
}

static bool take_blob(sqlite3_stmt *q, int column, void *out, int size)
{
    if (sqlite3_column_bytes(q, column) != size)
        return false;
    memcpy(out, sqlite3_column_blob(q, column), (size_t)size);
    return true;
}

/* Its merchants; an operator has none. */
static enum tl_code read_merchants(struct tl_principals *s, struct tl_principal *p,
                                   struct tl_status *st)
{
    sqlite3_stmt *q = s->statements[MERCHANTS];
    int64_t *list = malloc(TALLY_TENANT_MERCHANTS_MAX * sizeof(*list));
    if (!list)
        return TL_FAIL(st, TL_LIMIT, "no memory for a principal");
    uint32_t n = 0;
    int rc;
    sqlite3_bind_int64(q, 1, p->id);
    while ((rc = sqlite3_step(q)) == SQLITE_ROW && n < TALLY_TENANT_MERCHANTS_MAX)
        list[n++] = sqlite3_column_int64(q, 0);
    sqlite3_reset(q);
    p->tenant = (struct tally_tenant){.bounded = true, .merchant_count = n, .merchants = list};
    if (rc == SQLITE_DONE)
        return TL_OK;
    if (rc == SQLITE_ROW)
        return TL_FAIL(st, TL_CORRUPT, "%s: principal %s has more than %d merchants", s->path,
                       p->name, TALLY_TENANT_MERCHANTS_MAX);
    return fail(s, rc, "reading", st);
}

/* The row that `q` stands on. */
static enum tl_code read_principal(struct tl_principals *s, sqlite3_stmt *q,
                                   struct tl_principal **out, uint8_t hash[HASH_BYTES],
                                   struct tl_status *st)
{
    struct tl_principal *p = calloc(1, sizeof(*p));
    if (!p)
        return TL_FAIL(st, TL_LIMIT, "no memory for a principal");
    atomic_init(&p->refs, 1);
    p->id = sqlite3_column_int64(q, 0);
    const char *name = (const char *)sqlite3_column_text(q, 1);
    snprintf(p->name, sizeof(p->name), "%s", name ? name : "");
    p->is_operator = sqlite3_column_int(q, 2) != 0;
    p->scopes = (uint32_t)sqlite3_column_int(q, 3) & TL_SCOPE_ALL;
    p->scram.iterations = (uint32_t)sqlite3_column_int(q, 5);
    p->created_us = sqlite3_column_int64(q, 8);
    p->expires_us = sqlite3_column_int64(q, 9);
    p->seen = s->epoch;
    if (!take_blob(q, 4, p->scram.salt, TL_SCRAM_SALT_BYTES) ||
        !take_blob(q, 6, p->scram.stored_key, TL_SCRAM_KEY_BYTES) ||
        !take_blob(q, 7, p->scram.server_key, TL_SCRAM_KEY_BYTES) ||
        !take_blob(q, 10, hash, HASH_BYTES))
        TL_FAIL(st, TL_CORRUPT, "%s: the keys of principal %s are damaged", s->path, p->name);
    else if (!p->is_operator)
        TL_IGNORE(read_merchants(s, p, st));
    if (st->code) {
        tl_principal_unref(p);
        return st->code;
    }
    *out = p;
    return TL_OK;
}

/* ---- keys ---- */

static bool hmac(const uint8_t *key, size_t key_size, const char *text,
                 uint8_t out[TL_SCRAM_KEY_BYTES])
{
    unsigned size = TL_SCRAM_KEY_BYTES;
    return HMAC(EVP_sha256(), key, (int)key_size, (const uint8_t *)text, strlen(text), out, &size);
}

enum tl_code tl_scram_keys_derive(struct tl_slice password, const uint8_t *salt,
                                  uint32_t iterations, struct tl_scram_keys *out,
                                  struct tl_status *st)
{
    uint8_t salted[TL_SCRAM_KEY_BYTES], client_key[TL_SCRAM_KEY_BYTES];
    memmove(out->salt, salt, TL_SCRAM_SALT_BYTES);
    out->iterations = iterations;
    bool ok = password.size <= INT32_MAX &&
              PKCS5_PBKDF2_HMAC((const char *)password.data, (int)password.size, salt,
                                TL_SCRAM_SALT_BYTES, (int)iterations, EVP_sha256(), sizeof(salted),
                                salted) == 1 &&
              hmac(salted, sizeof(salted), "Client Key", client_key) &&
              SHA256(client_key, sizeof(client_key), out->stored_key) &&
              hmac(salted, sizeof(salted), "Server Key", out->server_key);
    OPENSSL_cleanse(salted, sizeof(salted));
    OPENSSL_cleanse(client_key, sizeof(client_key));
    return ok ? TL_OK : TL_FAIL(st, TL_LIMIT, "OpenSSL could not derive the keys of a password");
}

/* ---- the file ---- */

static void close_file(struct tl_principals *s)
{
    for (int i = 0; i < STATEMENT_COUNT; i++) {
        sqlite3_finalize(s->statements[i]);
        s->statements[i] = NULL;
    }
    sqlite3_finalize(s->data_version);
    s->data_version = NULL;
    sqlite3_close(s->db);
    s->db = NULL;
}

static int64_t pragma_number(struct tl_principals *s, const char *text)
{
    sqlite3_stmt *q = NULL;
    int64_t n = -1;
    if (sqlite3_prepare_v2(s->db, text, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW)
        n = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return n;
}

static enum tl_code make_schema(struct tl_principals *s, struct tl_status *st)
{
    char pragmas[128];
    snprintf(pragmas, sizeof(pragmas), "PRAGMA application_id=%d; PRAGMA user_version=%d;",
             APPLICATION_ID, FORMAT_VERSION);
    int rc = sqlite3_exec(s->db, "PRAGMA journal_mode=WAL", NULL, NULL, NULL);
    if (!rc)
        rc = sqlite3_exec(s->db, schema, NULL, NULL, NULL);
    if (!rc)
        rc = sqlite3_exec(s->db, pragmas, NULL, NULL, NULL);
    return rc ? fail(s, rc, "making", st) : TL_OK;
}

static enum tl_code open_file(struct tl_principals *s, bool make, struct tl_status *st)
{
    if (!make && access(s->path, F_OK) != 0)
        return TL_OK;
    mode_t mask = umask(077); /* nobody else reads the keys */
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (make ? SQLITE_OPEN_CREATE : 0);
    int rc = sqlite3_open_v2(s->path, &s->db, flags, NULL);
    if (!rc)
        rc = sqlite3_busy_timeout(s->db, BUSY_MS);
    if (!rc)
        rc = sqlite3_exec(s->db, "PRAGMA synchronous=FULL; PRAGMA trusted_schema=OFF", NULL, NULL,
                          NULL);
    int64_t version = rc ? 0 : pragma_number(s, "PRAGMA user_version");
    if (rc)
        TL_IGNORE(fail(s, rc, "opening", st));
    else if (version == 0 && make)
        TL_IGNORE(make_schema(s, st));
    else if (version == 0) { /* its maker has not come further */
        close_file(s);
        umask(mask);
        return TL_OK;
    } else if (version != FORMAT_VERSION)
        TL_FAIL(st, TL_UNSUPPORTED, "%s has the version %lld, this program reads %d", s->path,
                (long long)version, FORMAT_VERSION);
    umask(mask);
    for (int i = 0; i < STATEMENT_COUNT && !st->code; i++) {
        rc = sqlite3_prepare_v3(s->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &s->statements[i],
                                NULL);
        if (rc)
            TL_IGNORE(fail(s, rc, "reading", st));
    }
    if (!st->code && (rc = sqlite3_prepare_v3(s->db, "PRAGMA data_version", -1,
                                              SQLITE_PREPARE_PERSISTENT, &s->data_version, NULL)))
        TL_IGNORE(fail(s, rc, "reading", st));
    if (st->code)
        close_file(s);
    return st->code;
}

enum tl_code tl_principals_open(const char *dir, bool make, const struct tl_clock *clock,
                                struct tl_principals **out, struct tl_status *st)
{
    static const char name[] = "/principals.db";
    struct tl_principals *s = calloc(1, sizeof(*s));
    if (!s)
        return TL_FAIL(st, TL_LIMIT, "no memory for the principals");
    size_t size = strlen(dir) + sizeof(name);
    s->path = malloc(size);
    s->clock = clock ? clock : tl_clock_system();
    s->epoch = 1;
    if (s->path) {
        snprintf(s->path, size, "%s%s", dir, name);
        TL_IGNORE(open_file(s, make, st));
    } else {
        TL_FAIL(st, TL_LIMIT, "no memory for the principals");
    }
    if (st->code) {
        tl_principals_close(s);
        return st->code;
    }
    *out = s;
    return TL_OK;
}

void tl_principals_close(struct tl_principals *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < CACHE_SLOTS; i++)
        tl_principal_unref(s->cache[i].principal);
    close_file(s);
    free(s->path);
    free(s);
}

/* Looks whether the file has changed, at most once a second. */
static enum tl_code look(struct tl_principals *s, struct tl_status *st)
{
    uint64_t now = tl_clock_mono_ns(s->clock);
    if (s->looked && now - s->looked_ns < LOOK_NS_MIN)
        return TL_OK;
    s->looked = true;
    s->looked_ns = now;
    if (!s->db) {
        if (open_file(s, false, st) || !s->db)
            return st->code;
        s->epoch++;
    }
    int rc = sqlite3_step(s->data_version);
    int64_t version = sqlite3_column_int64(s->data_version, 0);
    sqlite3_reset(s->data_version);
    if (rc != SQLITE_ROW)
        return fail(s, rc, "reading", st);
    if (version != s->version) {
        s->version = version;
        s->epoch++;
    }
    return TL_OK;
}

enum tl_code tl_principals_required(struct tl_principals *s, bool *out, struct tl_status *st)
{
    *out = true;
    if (s->required)
        return TL_OK;
    if (look(s, st))
        return st->code;
    if (s->db) {
        int rc = sqlite3_step(s->statements[ANY]);
        sqlite3_reset(s->statements[ANY]);
        if (rc != SQLITE_ROW && rc != SQLITE_DONE)
            return fail(s, rc, "reading", st);
        s->required = rc == SQLITE_ROW;
        s->none_in = s->required ? 0 : s->epoch;
    }
    *out = s->required;
    return TL_OK;
}

enum tl_code tl_principals_required_since(struct tl_principals *s, bool *out, struct tl_status *st)
{
    *out = true;
    if (s->required)
        return TL_OK;
    if (look(s, st))
        return st->code;
    if (s->none_in == s->epoch) {
        *out = false;
        return TL_OK;
    }
    return tl_principals_required(s, out, st);
}

/* ---- lookups ---- */

static struct slot *slot_of(struct tl_principals *s, const uint8_t hash[HASH_BYTES])
{
    uint32_t n;
    memcpy(&n, hash, sizeof(n)); /* of SHA-256: as good as random */
    return &s->cache[n % CACHE_SLOTS];
}

/* Runs a bound lookup of one row; *out NULL: none. The cache gets a reference. */
static enum tl_code look_up(struct tl_principals *s, enum statement which,
                            struct tl_principal **out, struct tl_status *st)
{
    sqlite3_stmt *q = s->statements[which];
    uint8_t hash[HASH_BYTES];
    struct tl_principal *p = NULL;
    int rc = sqlite3_step(q);
    if (rc == SQLITE_ROW)
        TL_IGNORE(read_principal(s, q, &p, hash, st));
    else if (rc != SQLITE_DONE)
        TL_IGNORE(fail(s, rc, "reading", st));
    sqlite3_reset(q);
    sqlite3_clear_bindings(q);
    if (!p)
        return st->code;
    struct slot *slot = slot_of(s, hash);
    tl_principal_unref(slot->principal);
    memcpy(slot->hash, hash, HASH_BYTES);
    slot->principal = tl_principal_ref(p);
    if (expired(s, p)) {
        tl_principal_unref(p);
        p = NULL;
    }
    *out = p;
    return TL_OK;
}

static enum tl_code by_hash(struct tl_principals *s, const uint8_t hash[HASH_BYTES],
                            struct tl_principal **out, struct tl_status *st)
{
    struct slot *slot = slot_of(s, hash);
    if (slot->principal && slot->principal->seen == s->epoch &&
        memcmp(slot->hash, hash, HASH_BYTES) == 0) {
        if (!expired(s, slot->principal))
            *out = tl_principal_ref(slot->principal);
        return TL_OK;
    }
    sqlite3_bind_blob(s->statements[BY_TOKEN], 1, hash, HASH_BYTES, SQLITE_STATIC);
    return look_up(s, BY_TOKEN, out, st);
}

enum tl_code tl_principals_by_token(struct tl_principals *s, struct tl_slice token,
                                    struct tl_principal **out, struct tl_status *st)
{
    uint8_t hash[HASH_BYTES];
    *out = NULL;
    if (look(s, st) || !s->db || token.size == 0 || token.size >= TL_TOKEN_BYTES_MAX)
        return st->code;
    SHA256(token.data, token.size, hash);
    return by_hash(s, hash, out, st);
}

enum tl_code tl_principals_by_name(struct tl_principals *s, struct tl_slice name,
                                   struct tl_principal **out, struct tl_status *st)
{
    *out = NULL;
    if (look(s, st) || !s->db || name.size > TL_PRINCIPAL_NAME_MAX)
        return st->code;
    sqlite3_bind_text(s->statements[BY_NAME], 1, (const char *)name.data, (int)name.size,
                      SQLITE_STATIC);
    return look_up(s, BY_NAME, out, st);
}

bool tl_principals_valid(struct tl_principals *s, struct tl_principal *p)
{
    struct tl_status st = TL_STATUS_INIT;
    if (look(s, &st) || !s->db || expired(s, p))
        return false;
    if (p->seen == s->epoch)
        return true;
    struct tl_principal *now = NULL;
    if (tl_principals_by_name(s, tl_slice_str(p->name), &now, &st))
        return false;
    bool same = now && now->id == p->id;
    if (same)
        p->seen = s->epoch;
    tl_principal_unref(now);
    return same;
}

/* ---- making and revoking ---- */

static enum tl_code check_new(const struct tl_principal_new *n, struct tl_status *st)
{
    size_t size = strlen(n->name);
    bool good = size > 0 && size <= TL_PRINCIPAL_NAME_MAX;
    for (const char *c = n->name; *c && good; c++)
        good = (*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '_' ||
               ((*c == '-' || *c == '.') && c != n->name);
    if (!good)
        return TL_FAIL(st, TL_INVALID,
                       "\"%.80s\" is no name: 1 to %d of a–z, 0–9, _, and behind the first - and .",
                       n->name, TL_PRINCIPAL_NAME_MAX);
    if (n->is_operator)
        return n->merchant_count == 0
                   ? TL_OK
                   : TL_FAIL(st, TL_INVALID, "an operator sees all merchants: name none");
    if (n->scopes == 0 || (n->scopes & ~(uint32_t)TL_SCOPE_ALL) != 0)
        return TL_FAIL(st, TL_INVALID, "a token's scopes are ingest, read, or both");
    if (n->merchant_count == 0 || n->merchant_count > TALLY_TENANT_MERCHANTS_MAX)
        return TL_FAIL(st, TL_INVALID, "a token is bound to 1 to %d merchants, not %u",
                       TALLY_TENANT_MERCHANTS_MAX, n->merchant_count);
    return TL_OK;
}

/* "tally_" and the random bytes, six bits a character. */
static enum tl_code make_token(char token[TL_TOKEN_BYTES_MAX], struct tl_status *st)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t random[TOKEN_RANDOM_BYTES];
    if (RAND_bytes(random, sizeof(random)) != 1)
        return TL_FAIL(st, TL_IO, "the system gives no random bytes");
    size_t n = (size_t)snprintf(token, TL_TOKEN_BYTES_MAX, "tally_");
    uint32_t bits = 0, have = 0;
    for (size_t i = 0; i < sizeof(random); i++) {
        bits = bits << 8 | random[i];
        for (have += 8; have >= 6; have -= 6)
            token[n++] = digits[bits >> (have - 6) & 63];
    }
    token[n++] = digits[bits << (6 - have) & 63]; /* 256 bits: four are left */
    token[n] = '\0';
    OPENSSL_cleanse(random, sizeof(random));
    return TL_OK;
}

static int insert_merchants(struct tl_principals *s, int64_t id, const struct tl_principal_new *n)
{
    sqlite3_stmt *q = NULL;
    int rc = sqlite3_prepare_v2(s->db, "INSERT OR IGNORE INTO principal_merchants VALUES(?1, ?2)",
                                -1, &q, NULL);
    for (uint32_t i = 0; i < n->merchant_count && !rc; i++) {
        sqlite3_bind_int64(q, 1, id);
        sqlite3_bind_int64(q, 2, n->merchants[i]);
        rc = sqlite3_step(q) == SQLITE_DONE ? SQLITE_OK : sqlite3_errcode(s->db);
        sqlite3_reset(q);
    }
    sqlite3_finalize(q);
    return rc;
}

static int insert(struct tl_principals *s, const struct tl_principal_new *n, const uint8_t *hash,
                  const struct tl_scram_keys *keys)
{
    sqlite3_stmt *q = NULL;
    int rc = sqlite3_prepare_v2(s->db,
                                "INSERT INTO principals(name, is_operator, scopes, token_hash, "
                                "salt, iterations, stored_key, server_key, created_us, expires_us) "
                                "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                                -1, &q, NULL);
    if (rc)
        return rc;
    sqlite3_bind_text(q, 1, n->name, -1, SQLITE_STATIC);
    sqlite3_bind_int(q, 2, n->is_operator);
    sqlite3_bind_int(q, 3, (int)(n->is_operator ? TL_SCOPE_ALL : n->scopes));
    sqlite3_bind_blob(q, 4, hash, HASH_BYTES, SQLITE_STATIC);
    sqlite3_bind_blob(q, 5, keys->salt, TL_SCRAM_SALT_BYTES, SQLITE_STATIC);
    sqlite3_bind_int(q, 6, (int)keys->iterations);
    sqlite3_bind_blob(q, 7, keys->stored_key, TL_SCRAM_KEY_BYTES, SQLITE_STATIC);
    sqlite3_bind_blob(q, 8, keys->server_key, TL_SCRAM_KEY_BYTES, SQLITE_STATIC);
    sqlite3_bind_int64(q, 9, tl_clock_wall_us(s->clock));
    sqlite3_bind_int64(q, 10, n->expires_us);
    rc = sqlite3_step(q) == SQLITE_DONE ? SQLITE_OK : sqlite3_extended_errcode(s->db);
    sqlite3_finalize(q);
    return rc ? rc : insert_merchants(s, sqlite3_last_insert_rowid(s->db), n);
}

enum tl_code tl_principals_add(struct tl_principals *s, const struct tl_principal_new *n,
                               char token[TL_TOKEN_BYTES_MAX], struct tl_status *st)
{
    tl_assert(s->db);
    struct tl_scram_keys keys;
    uint8_t hash[HASH_BYTES], salt[TL_SCRAM_SALT_BYTES];
    if (check_new(n, st) || make_token(token, st))
        return st->code;
    if (RAND_bytes(salt, sizeof(salt)) != 1)
        return TL_FAIL(st, TL_IO, "the system gives no random bytes");
    SHA256((const uint8_t *)token, strlen(token), hash);
    if (tl_scram_keys_derive(tl_slice_str(token), salt, TL_SCRAM_ITERATIONS, &keys, st))
        return st->code;
    int rc = sqlite3_exec(s->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (rc)
        return fail(s, rc, "writing", st);
    rc = insert(s, n, hash, &keys);
    if (!rc)
        rc = sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL);
    if (rc == SQLITE_CONSTRAINT_UNIQUE)
        TL_FAIL(st, TL_EXISTS, "there is a principal %s already; revoke it first", n->name);
    else if (rc)
        TL_IGNORE(fail(s, rc, "writing", st));
    if (rc && !sqlite3_get_autocommit(s->db))
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    s->epoch++;
    return st->code;
}

enum tl_code tl_principals_revoke(struct tl_principals *s, const char *name, struct tl_status *st)
{
    tl_assert(s->db);
    sqlite3_stmt *q = NULL;
    int rc = sqlite3_prepare_v2(
        s->db, "UPDATE principals SET revoked_us = ?2 WHERE name = ?1 AND revoked_us IS NULL", -1,
        &q, NULL);
    if (!rc) {
        sqlite3_bind_text(q, 1, name, -1, SQLITE_STATIC);
        sqlite3_bind_int64(q, 2, tl_clock_wall_us(s->clock));
        rc = sqlite3_step(q) == SQLITE_DONE ? SQLITE_OK : sqlite3_errcode(s->db);
    }
    sqlite3_finalize(q);
    if (rc)
        return fail(s, rc, "writing", st);
    s->epoch++;
    if (sqlite3_changes(s->db) == 0)
        return TL_FAIL(st, TL_NOT_FOUND, "there is no principal %s; `tally token list` names them",
                       name);
    return TL_OK;
}

enum tl_code tl_principals_each(struct tl_principals *s, tl_principals_each_fn *fn, void *arg,
                                struct tl_status *st)
{
    if (!s->db)
        return TL_OK;
    sqlite3_stmt *q = NULL;
    int rc = sqlite3_prepare_v2(s->db, "SELECT " COLUMNS " FROM principals ORDER BY name, id", -1,
                                &q, NULL);
    while (!rc && !st->code && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        struct tl_principal *p;
        uint8_t hash[HASH_BYTES];
        bool live = sqlite3_column_type(q, 11) == SQLITE_NULL;
        int64_t revoked_us = live ? INT64_MAX : sqlite3_column_int64(q, 11);
        rc = SQLITE_OK;
        if (!read_principal(s, q, &p, hash, st)) {
            TL_IGNORE(fn(arg, p, revoked_us, st));
            tl_principal_unref(p);
        }
    }
    sqlite3_finalize(q);
    if (!st->code && rc != SQLITE_DONE && rc != SQLITE_OK)
        return fail(s, rc, "reading", st);
    return st->code;
}
