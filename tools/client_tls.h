/*
 * tools/client_tls.h: TLS 1.2 and 1.3 of the client's socket, the server's certificate verified.
 *
 * Whether connections use it is said once, before the first one, by --tls and --ca, or by
 * $TALLY_TLS (anything but "0") and $TALLY_CA; a file of authorities alone asks for TLS too. The
 * name or address that was connected to must stand in the certificate; there is no flag to look
 * away.
 *
 * Ownership  new/free; free takes NULL and leaves the descriptor open.
 * Threads    as the connection's.
 * Errors     TL_IO: the handshake failed, with what OpenSSL says of the certificate.
 */
#ifndef TALLY_TOOLS_CLIENT_TLS_H
#define TALLY_TOOLS_CLIENT_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/status.h"

struct tl_client_tls;

/* `ca`: a PEM file, borrowed for good; NULL: the system's authorities. */
void tl_client_tls_use(const char *ca);
bool tl_client_tls_wanted(void);

/* Shakes hands on a connected, non-blocking socket. */
TL_CHECK enum tl_code tl_client_tls_new(int fd, const char *address, int timeout_ms,
                                        struct tl_client_tls **out, struct tl_status *st);
void tl_client_tls_free(struct tl_client_tls *t);
/* As send and recv: below 0 with EAGAIN in errno when the socket is not ready. */
ssize_t tl_client_tls_send(struct tl_client_tls *t, const void *data, size_t size);
ssize_t tl_client_tls_recv(struct tl_client_tls *t, void *data, size_t size);
/* Deciphered bytes wait that poll does not know of. */
bool tl_client_tls_pending(const struct tl_client_tls *t);

#endif
