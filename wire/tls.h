/*
 * wire/tls.h: TLS 1.2 and 1.3 over memory, with ALPN.
 *
 * Ciphered bytes go in by tl_tls_put and come out by tl_tls_take; plain ones by tl_tls_read and
 * tl_tls_write. Whoever has the socket moves them.
 *
 * Ownership  new/free; free takes NULL.
 * Threads    loop.
 */
#ifndef TALLY_WIRE_TLS_H
#define TALLY_WIRE_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct ssl_ctx_st;
struct tl_tls;

TL_CHECK enum tl_code tl_tls_context_new(const char *cert_file, const char *key_file,
                                         struct ssl_ctx_st **out, struct tl_status *st);
void tl_tls_context_free(struct ssl_ctx_st *ctx);

/* `protocol` is what ALPN must agree on; `needed` false: a client without ALPN is fine, too. NULL:
 * no memory. */
struct tl_tls *tl_tls_new(struct ssl_ctx_st *ctx, const char *protocol, bool needed);
/* RFC 5929's tls-server-end-point: the hash of our certificate, its size in *size (0: none). */
void tl_tls_end_point(const struct tl_tls *t, uint8_t out[64], size_t *size);
void tl_tls_free(struct tl_tls *t);
bool tl_tls_put(struct tl_tls *t, const uint8_t *data, size_t size);
size_t tl_tls_take(struct tl_tls *t, uint8_t *out, size_t size);
/* The handshake is over and the protocol agreed on: nothing may be written before. */
bool tl_tls_ready(const struct tl_tls *t);
/* Goes on with the handshake, then reads. 0: nothing now. Below 0: over. */
int tl_tls_read(struct tl_tls *t, uint8_t *out, size_t size);
bool tl_tls_write(struct tl_tls *t, const uint8_t *data, size_t size);
void tl_tls_shutdown(struct tl_tls *t);

#endif
