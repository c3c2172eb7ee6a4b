#include "wire/tls.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

struct tl_tls {
    SSL *ssl;
    BIO *in, *out; /* the SSL's own */
    bool ready;
    const char *protocol; /* a literal */
    bool needed;
};

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_size,
                       const unsigned char *in, unsigned in_size, void *arg)
{
    const struct tl_tls *t = SSL_get_app_data(ssl);
    unsigned char ours[32];
    size_t size = strlen(t->protocol);
    (void)arg;
    ours[0] = (unsigned char)size;
    memcpy(ours + 1, t->protocol, size);
    unsigned char *chosen = NULL;
    /* What is chosen lies in the client's list, which outlives this call; ours does not. */
    if (SSL_select_next_proto(&chosen, out_size, in, in_size, ours, (unsigned)size + 1) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static const char *last_error(char *buf, size_t size)
{
    unsigned long e = ERR_get_error();
    if (e == 0)
        return "unknown error";
    ERR_error_string_n(e, buf, size);
    ERR_clear_error();
    return buf;
}

enum tl_code tl_tls_context_new(const char *cert_file, const char *key_file,
                                struct ssl_ctx_st **out, struct tl_status *st)
{
    char text[160];
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx)
        return TL_FAIL(st, TL_LIMIT, "no TLS context: %s", last_error(text, sizeof(text)));
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, NULL);
    if (SSL_CTX_use_certificate_chain_file(ctx, cert_file) != 1) {
        TL_FAIL(st, TL_INVALID, "certificate %s: %s", cert_file, last_error(text, sizeof(text)));
    } else if (SSL_CTX_use_PrivateKey_file(ctx, key_file, SSL_FILETYPE_PEM) != 1) {
        TL_FAIL(st, TL_INVALID, "key %s: %s", key_file, last_error(text, sizeof(text)));
    } else if (SSL_CTX_check_private_key(ctx) != 1) {
        TL_FAIL(st, TL_INVALID, "key %s does not belong to certificate %s", key_file, cert_file);
        ERR_clear_error();
    } else {
        *out = ctx;
        return TL_OK;
    }
    SSL_CTX_free(ctx);
    return st->code;
}

void tl_tls_context_free(struct ssl_ctx_st *ctx)
{
    SSL_CTX_free(ctx);
}

struct tl_tls *tl_tls_new(struct ssl_ctx_st *ctx, const char *protocol, bool needed)
{
    struct tl_tls *t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    t->protocol = protocol;
    t->needed = needed;
    t->ssl = SSL_new(ctx);
    t->in = BIO_new(BIO_s_mem());
    t->out = BIO_new(BIO_s_mem());
    if (!t->ssl || !t->in || !t->out) {
        SSL_free(t->ssl);
        BIO_free(t->in);
        BIO_free(t->out);
        free(t);
        return NULL;
    }
    SSL_set_app_data(t->ssl, t);
    SSL_set_bio(t->ssl, t->in, t->out);
    SSL_set_accept_state(t->ssl);
    return t;
}

void tl_tls_free(struct tl_tls *t)
{
    if (!t)
        return;
    SSL_free(t->ssl);
    free(t);
}

void tl_tls_end_point(const struct tl_tls *t, uint8_t out[64], size_t *size)
{
    const X509 *cert = SSL_get_certificate(t->ssl);
    int digest = NID_undef;
    unsigned n = 0;
    *size = 0;
    if (!cert || !OBJ_find_sigid_algs(X509_get_signature_nid(cert), &digest, NULL))
        return;
    /* MD5 and SHA-1 are replaced by SHA-256, as the RFC has it. */
    const EVP_MD *md = digest == NID_md5 || digest == NID_sha1 || digest == NID_undef
                           ? EVP_sha256()
                           : EVP_get_digestbynid(digest);
    if (md && EVP_MD_get_size(md) <= 64 && X509_digest(cert, md, out, &n) == 1)
        *size = n;
}

bool tl_tls_put(struct tl_tls *t, const uint8_t *data, size_t size)
{
    return size <= INT_MAX && BIO_write(t->in, data, (int)size) == (int)size;
}

size_t tl_tls_take(struct tl_tls *t, uint8_t *out, size_t size)
{
    int n = BIO_read(t->out, out, size > INT_MAX ? INT_MAX : (int)size);
    return n > 0 ? (size_t)n : 0;
}

bool tl_tls_ready(const struct tl_tls *t)
{
    return t->ready;
}

static bool wants_more(SSL *ssl, int rc)
{
    int e = SSL_get_error(ssl, rc);
    ERR_clear_error();
    return e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE;
}

int tl_tls_read(struct tl_tls *t, uint8_t *out, size_t size)
{
    ERR_clear_error();
    if (!t->ready) {
        int rc = SSL_do_handshake(t->ssl);
        if (rc != 1)
            return wants_more(t->ssl, rc) ? 0 : -1;
        const unsigned char *name = NULL;
        unsigned n = 0;
        SSL_get0_alpn_selected(t->ssl, &name, &n);
        bool agreed = n == strlen(t->protocol) && memcmp(name, t->protocol, n) == 0;
        if (!agreed && (t->needed || n > 0))
            return -1; /* the client did not ask for what we speak */
        t->ready = true;
    }
    int n = SSL_read(t->ssl, out, size > INT_MAX ? INT_MAX : (int)size);
    if (n > 0)
        return n;
    return wants_more(t->ssl, n) ? 0 : -1;
}

bool tl_tls_write(struct tl_tls *t, const uint8_t *data, size_t size)
{
    ERR_clear_error();
    return size == 0 || (size <= INT_MAX && SSL_write(t->ssl, data, (int)size) == (int)size);
}

void tl_tls_shutdown(struct tl_tls *t)
{
    if (t->ready)
        (void)SSL_shutdown(t->ssl);
    ERR_clear_error();
}
