/*
 * wire/principals.h: who may come in: operators, and merchants' tokens with their scopes.
 *
 * Principals live in an SQLite database beside the data ("principals.db" in the data directory),
 * which `tally token` writes and the server reads, both at the same time. A token is 32 random
 * bytes spelled as text. What is kept of it is its SHA-256, to be found by gRPC's bearer
 * metadata, and the salted keys of SCRAM-SHA-256 (RFC 5802, RFC 7677), to be asked for by
 * PostgreSQL's protocol, where the principal's name is the user and the token the password. From
 * neither can the token be computed.
 *
 * A principal never changes: it is made and revoked. Once one was made, everybody needs one, also
 * after all of them were revoked.
 *
 * Cost: a principal that was asked for lately is found in a small table; any other one costs two
 * lookups by index, some 20 µs. Whether another process has written is looked at once a second, so
 * a revocation counts within a second, in sessions that are open too. Nothing is held per merchant.
 *
 * Ownership  principals are counted references: unref what a lookup gave. The store may be closed
 *            before them.
 * Threads    a store belongs to one thread. A principal may be read by any.
 * Units      microseconds since 1970.
 * Errors     TL_NOT_FOUND: no such name. TL_INVALID: a name, scope or merchant that cannot be.
 *            TL_EXISTS: the name is taken. TL_CORRUPT, TL_IO: the file.
 */
#ifndef TALLY_WIRE_PRINCIPALS_H
#define TALLY_WIRE_PRINCIPALS_H

#include "engine/tally.h"

enum tl_scope { TL_SCOPE_INGEST = 1, TL_SCOPE_READ = 2, TL_SCOPE_ALL = 3 };

enum {
    TL_PRINCIPAL_NAME_MAX = 63, /* bytes: PostgreSQL's longest name */
    TL_TOKEN_BYTES_MAX = 64,
    TL_SCRAM_KEY_BYTES = 32,
    TL_SCRAM_SALT_BYTES = 16,
    TL_SCRAM_ITERATIONS = 4096 /* RFC 7677's least: tokens are random, not words */
};

/* What a server must know of a password to check it by SCRAM-SHA-256. */
struct tl_scram_keys {
    uint32_t iterations;
    uint8_t salt[TL_SCRAM_SALT_BYTES];
    uint8_t stored_key[TL_SCRAM_KEY_BYTES];
    uint8_t server_key[TL_SCRAM_KEY_BYTES];
};

/* Keys of a password with this salt. */
TL_CHECK enum tl_code tl_scram_keys_derive(struct tl_slice password, const uint8_t *salt,
                                           uint32_t iterations, struct tl_scram_keys *out,
                                           struct tl_status *st);

struct tl_principal {
    _Atomic uint32_t refs;
    int64_t id;
    char name[TL_PRINCIPAL_NAME_MAX + 1];
    bool is_operator; /* sees everything, may administer; its tenant is not bounded */
    uint32_t scopes;  /* enum tl_scope, joined */
    struct tally_tenant tenant;
    struct tl_scram_keys scram;
    int64_t created_us, expires_us; /* INT64_MAX: never */
    uint64_t seen;                  /* the store's own */
};

struct tl_principal *tl_principal_ref(struct tl_principal *p);
void tl_principal_unref(struct tl_principal *p); /* takes NULL */

struct tl_principals;
struct tl_clock;

/* Opens the store of a data directory; `make` makes the file when there is none. Without `make` a
 * missing file is an empty store, which is looked for again each second. */
TL_CHECK enum tl_code tl_principals_open(const char *dir, bool make, const struct tl_clock *clock,
                                         struct tl_principals **out, struct tl_status *st);
void tl_principals_close(struct tl_principals *s); /* takes NULL */

/* Whether a principal was ever made: from then on everybody needs one. */
TL_CHECK enum tl_code tl_principals_required(struct tl_principals *s, bool *out,
                                             struct tl_status *st);
/* The same for each batch of a stream that was let in: costs nothing between two looks at the file,
 * and hears of a change within a second, as of a revocation. */
TL_CHECK enum tl_code tl_principals_required_since(struct tl_principals *s, bool *out,
                                                   struct tl_status *st);

/* The principal of a token, or of a name; *out NULL: none, revoked, or past its time. */
TL_CHECK enum tl_code tl_principals_by_token(struct tl_principals *s, struct tl_slice token,
                                             struct tl_principal **out, struct tl_status *st);
TL_CHECK enum tl_code tl_principals_by_name(struct tl_principals *s, struct tl_slice name,
                                            struct tl_principal **out, struct tl_status *st);
/* Whether a principal that was looked up before still counts. Cheap: for each batch or query. */
bool tl_principals_valid(struct tl_principals *s, struct tl_principal *p);

/* ---- for `tally token` ---- */

struct tl_principal_new {
    const char *name;
    bool is_operator;
    uint32_t scopes;
    uint32_t merchant_count; /* 1 … TALLY_TENANT_MERCHANTS_MAX, 0 of an operator */
    const int64_t *merchants;
    int64_t expires_us; /* INT64_MAX: never */
};

/* Makes one; `token` gets its text, which nobody can tell again. */
TL_CHECK enum tl_code tl_principals_add(struct tl_principals *s, const struct tl_principal_new *n,
                                        char token[TL_TOKEN_BYTES_MAX], struct tl_status *st);
TL_CHECK enum tl_code tl_principals_revoke(struct tl_principals *s, const char *name,
                                           struct tl_status *st);
/* All of them, also revoked ones (revoked_us INT64_MAX: not), by name. */
typedef enum tl_code tl_principals_each_fn(void *arg, const struct tl_principal *p,
                                           int64_t revoked_us, struct tl_status *st);
TL_CHECK enum tl_code tl_principals_each(struct tl_principals *s, tl_principals_each_fn *fn,
                                         void *arg, struct tl_status *st);

#endif
