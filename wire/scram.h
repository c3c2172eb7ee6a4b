/*
 * wire/scram.h: the server's side of SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, 7677, 5929).
 *
 *     init ── first (client-first in, server-first out) ── final (client-final in, verdict out)
 *
 * A user that does not exist goes through the same steps with keys that no password has and a
 * salt that is the same each time, so that nobody learns who exists.
 *
 * Ownership  the caller's memory; deinit forgets what is secret.
 * Threads    one at a time.
 * Errors     TL_INVALID (08P01): a message that is none, (28000) channel binding that does not
 *            match. A wrong proof is a verdict, not an error.
 */
#ifndef TALLY_WIRE_SCRAM_H
#define TALLY_WIRE_SCRAM_H

#include "base/bytes.h"
#include "wire/principals.h"

enum { TL_SCRAM_NONCE_BYTES = 24, TL_SCRAM_BINDING_MAX = 64, TL_SCRAM_MESSAGE_MAX = 2048 };

struct tl_scram {
    struct tl_scram_keys keys;
    bool known;                            /* else the verdict is no, whatever the proof */
    uint8_t binding[TL_SCRAM_BINDING_MAX]; /* hash of the server's certificate */
    size_t binding_size;                   /* 0: no TLS */
    char nonce[TL_SCRAM_NONCE_BYTES + 1];  /* the server's part */
    bool bound;                            /* the client binds to the channel */
    struct tl_buffer header;               /* GS2 header, as the client sent it */
    struct tl_buffer text;                 /* client-first-bare "," server-first */
    struct tl_buffer nonces;               /* both parts */
};

/* A nonce of the server's from the system's chance. */
TL_CHECK enum tl_code tl_scram_init(struct tl_scram *s, struct tl_slice binding,
                                    struct tl_status *st);
void tl_scram_deinit(struct tl_scram *s);
/* The keys of a user that exists, or (NULL) a salt for one that does not, from `secret`. */
void tl_scram_user(struct tl_scram *s, const struct tl_scram_keys *keys, struct tl_slice user,
                   const uint8_t secret[TL_SCRAM_KEY_BYTES]);
TL_CHECK enum tl_code tl_scram_first(struct tl_scram *s, bool plus, struct tl_slice in,
                                     struct tl_buffer *out, struct tl_status *st);
TL_CHECK enum tl_code tl_scram_final(struct tl_scram *s, struct tl_slice in, struct tl_buffer *out,
                                     bool *proved, struct tl_status *st);

#endif
