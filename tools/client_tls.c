#include "tools/client_tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tl_client_tls {
    SSL_CTX *context;
    SSL *ssl;
};

/* Written by main before the first connection. */
static bool wanted;
static const char *authorities;

void tl_client_tls_use(const char *ca)
{
    wanted = true;
    if (ca)
        authorities = ca;
}

static const char *ca_file(void)
{
    const char *ca = authorities ? authorities : getenv("TALLY_CA");
    return ca && ca[0] ? ca : NULL;
}

bool tl_client_tls_wanted(void)
{
    const char *tls = getenv("TALLY_TLS");
    return wanted || ca_file() || (tls && tls[0] && strcmp(tls, "0") != 0);
}

/* The host of HOST:PORT, without the brackets of an IPv6 address. */
static bool host_of(const char *address, char host[256])
{
    const char *colon = strrchr(address, ':');
    size_t size = colon ? (size_t)(colon - address) : 0;
    if (size > 2 && address[0] == '[' && address[size - 1] == ']') {
        address++;
        size -= 2;
    }
    if (size >= 256)
        return false;
    memcpy(host, address, size);
    host[size] = '\0';
    if (size == 0)
        memcpy(host, "127.0.0.1", sizeof("127.0.0.1"));
    return true;
}

static enum tl_code fail(const char *what, struct tl_status *st)
{
    char why[160];
    unsigned long e = ERR_get_error();
    ERR_error_string_n(e, why, sizeof(why));
    const char *reason = e ? ERR_reason_error_string(e) : NULL;
    ERR_clear_error();
    return TL_FAIL(st, TL_IO, "%s: %s", what, reason ? reason : e ? why : "no reason was given");
}

static enum tl_code prepare(struct tl_client_tls *t, int fd, const char *address,
                            struct tl_status *st)
{
    static const unsigned char h2[] = {2, 'h', '2'};
    char host[256];
    const char *ca = ca_file();
    if (!host_of(address, host))
        return TL_FAIL(st, TL_INVALID, "'%s' is not HOST:PORT", address);
    t->context = SSL_CTX_new(TLS_client_method());
    if (!t->context || !SSL_CTX_set_min_proto_version(t->context, TLS1_2_VERSION))
        return fail("TLS", st);
    if (ca ? !SSL_CTX_load_verify_locations(t->context, ca, NULL)
           : !SSL_CTX_set_default_verify_paths(t->context))
        return fail(ca ? ca : "the system's certificate authorities", st);
    SSL_CTX_set_verify(t->context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(t->context,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    t->ssl = SSL_new(t->context);
    if (!t->ssl || !SSL_set_fd(t->ssl, fd) || SSL_set_alpn_protos(t->ssl, h2, sizeof(h2)))
        return fail("TLS", st);
    unsigned char ip[16];
    bool is_ip = inet_pton(AF_INET, host, ip) == 1 || inet_pton(AF_INET6, host, ip) == 1;
    if (is_ip ? !X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(t->ssl), host)
              : !SSL_set1_host(t->ssl, host) || !SSL_set_tlsext_host_name(t->ssl, host))
        return fail("TLS", st);
    return TL_OK;
}

static enum tl_code shake_hands(struct tl_client_tls *t, int fd, int timeout_ms,
                                struct tl_status *st)
{
    for (;;) {
        ERR_clear_error();
        int rc = SSL_connect(t->ssl);
        if (rc == 1)
            break;
        int e = SSL_get_error(t->ssl, rc);
        if (e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE) {
            long verified = SSL_get_verify_result(t->ssl);
            if (verified != X509_V_OK)
                return TL_FAIL(st, TL_IO, "the server's certificate: %s",
                               X509_verify_cert_error_string(verified));
            return fail("the TLS handshake failed", st);
        }
        struct pollfd p = {.fd = fd, .events = e == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT};
        if (poll(&p, 1, timeout_ms) == 0)
            return TL_FAIL(st, TL_TIMEOUT, "no TLS handshake in %d ms", timeout_ms);
    }
    const unsigned char *protocol = NULL;
    unsigned size = 0;
    SSL_get0_alpn_selected(t->ssl, &protocol, &size);
    if (size != 2 || memcmp(protocol, "h2", 2) != 0)
        return TL_FAIL(st, TL_IO, "the server speaks TLS, but not HTTP/2");
    return TL_OK;
}

enum tl_code tl_client_tls_new(int fd, const char *address, int timeout_ms,
                               struct tl_client_tls **out, struct tl_status *st)
{
    struct tl_client_tls *t = calloc(1, sizeof(*t));
    if (!t)
        return TL_FAIL(st, TL_LIMIT, "no memory for a connection");
    enum tl_code rc = prepare(t, fd, address, st);
    if (!rc)
        rc = shake_hands(t, fd, timeout_ms, st);
    if (rc) {
        tl_client_tls_free(t);
        return rc;
    }
    *out = t;
    return TL_OK;
}

void tl_client_tls_free(struct tl_client_tls *t)
{
    if (!t)
        return;
    SSL_free(t->ssl);
    SSL_CTX_free(t->context);
    free(t);
}

/* What the caller of send or recv understands. */
static ssize_t answer(struct tl_client_tls *t, int n)
{
    if (n > 0)
        return n;
    int e = SSL_get_error(t->ssl, n);
    if (e == SSL_ERROR_ZERO_RETURN)
        return 0;
    if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
        errno = EAGAIN;
    else if (e != SSL_ERROR_SYSCALL || errno == 0)
        errno = ECONNRESET;
    return -1;
}

ssize_t tl_client_tls_send(struct tl_client_tls *t, const void *data, size_t size)
{
    ERR_clear_error();
    errno = 0;
    return answer(t, SSL_write(t->ssl, data, size < 1 << 20 ? (int)size : 1 << 20));
}

ssize_t tl_client_tls_recv(struct tl_client_tls *t, void *data, size_t size)
{
    ERR_clear_error();
    errno = 0;
    return answer(t, SSL_read(t->ssl, data, size < 1 << 20 ? (int)size : 1 << 20));
}

bool tl_client_tls_pending(const struct tl_client_tls *t)
{
    return SSL_pending(t->ssl) > 0;
}
