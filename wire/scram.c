#include "wire/scram.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "base/random.h"

static enum tl_code malformed(struct tl_status *st, const char *what)
{
    TL_FAIL(st, TL_INVALID, "malformed SCRAM message: %s", what);
    return tl_status_sql(st, "08P01", 0);
}

static void hmac(const uint8_t *key, const void *data, size_t size, uint8_t *out)
{
    unsigned n = 0;
    if (!HMAC(EVP_sha256(), key, TL_SCRAM_KEY_BYTES, data, size, out, &n))
        memset(out, 0, TL_SCRAM_KEY_BYTES);
}

static void put_base64(struct tl_buffer *out, const void *data, size_t size)
{
    uint8_t *at = tl_buffer_reserve(out, (size + 2) / 3 * 4 + 1);
    if (at)
        out->size += (size_t)EVP_EncodeBlock(at, data, (int)size);
}

/* Exactly `size` bytes of base64 with its padding. */
static bool read_base64(struct tl_slice in, uint8_t *out, size_t size)
{
    uint8_t bytes[(TL_SCRAM_KEY_BYTES + 2) / 3 * 3];
    if (in.size != (size + 2) / 3 * 4 || size > TL_SCRAM_KEY_BYTES)
        return false;
    if (EVP_DecodeBlock(bytes, in.data, (int)in.size) != (int)((size + 2) / 3 * 3))
        return false;
    memcpy(out, bytes, size);
    return true;
}

enum tl_code tl_scram_init(struct tl_scram *s, struct tl_slice binding, struct tl_status *st)
{
    *s = (struct tl_scram){.known = false};
    tl_buffer_init(&s->header, "SCRAM header", TL_SCRAM_MESSAGE_MAX);
    tl_buffer_init(&s->text, "SCRAM messages", 4 * TL_SCRAM_MESSAGE_MAX);
    tl_buffer_init(&s->nonces, "SCRAM nonces", 2 * TL_SCRAM_MESSAGE_MAX);
    if (binding.size > sizeof(s->binding))
        binding.size = 0;
    if (binding.size > 0)
        memcpy(s->binding, binding.data, binding.size);
    s->binding_size = binding.size;
    uint8_t random[TL_SCRAM_NONCE_BYTES / 4 * 3];
    if (tl_random_bytes_from_os(random, sizeof(random), st))
        return st->code;
    uint8_t text[TL_SCRAM_NONCE_BYTES + 4];
    EVP_EncodeBlock(text, random, sizeof(random));
    memcpy(s->nonce, text, TL_SCRAM_NONCE_BYTES);
    return TL_OK;
}

void tl_scram_deinit(struct tl_scram *s)
{
    OPENSSL_cleanse(&s->keys, sizeof(s->keys));
    tl_buffer_deinit(&s->header);
    tl_buffer_deinit(&s->text);
    tl_buffer_deinit(&s->nonces);
}

void tl_scram_user(struct tl_scram *s, const struct tl_scram_keys *keys, struct tl_slice user,
                   const uint8_t secret[TL_SCRAM_KEY_BYTES])
{
    s->known = keys != NULL;
    if (keys) {
        s->keys = *keys;
        return;
    }
    uint8_t mock[TL_SCRAM_KEY_BYTES];
    hmac(secret, user.data, user.size, mock);
    memcpy(s->keys.salt, mock, sizeof(s->keys.salt));
    s->keys.iterations = TL_SCRAM_ITERATIONS;
    hmac(mock, "stored", 6, s->keys.stored_key);
    hmac(mock, "server", 6, s->keys.server_key);
}

/* The value of "x=…" up to the next comma or the end. */
static bool attribute(struct tl_slice *in, char name, struct tl_slice *out)
{
    if (in->size < 2 || in->data[0] != (uint8_t)name || in->data[1] != '=')
        return false;
    const uint8_t *comma = memchr(in->data, ',', in->size);
    size_t size = comma ? (size_t)(comma - in->data) : in->size;
    *out = tl_slice_of(in->data + 2, size - 2);
    size_t gone = comma ? size + 1 : size;
    *in = tl_slice_of(in->data + gone, in->size - gone);
    return true;
}

/* "n,,", "y,," or "p=tls-server-end-point,,": what the client says of channel binding. */
static enum tl_code read_header(struct tl_scram *s, bool plus, struct tl_slice *in,
                                struct tl_status *st)
{
    const uint8_t *start = in->data;
    struct tl_slice type = {0}, rest = *in;
    if (rest.size < 3)
        return malformed(st, "it is too short");
    char flag = (char)rest.data[0];
    if (flag == 'p') {
        if (!attribute(&rest, 'p', &type))
            return malformed(st, "no channel binding type");
        if (!tl_slice_eq(type, tl_slice_str("tls-server-end-point"))) {
            TL_FAIL(st, TL_INVALID, "this channel binding type is not supported");
            return tl_status_sql(st, "28000", 0);
        }
    } else if ((flag == 'n' || flag == 'y') && rest.data[1] == ',') {
        rest = tl_slice_of(rest.data + 2, rest.size - 2);
    } else {
        return malformed(st, "no channel binding flag");
    }
    if (rest.size < 1 || rest.data[0] != ',')
        return malformed(st, "an authorization identity is not supported");
    s->bound = flag == 'p';
    if (s->bound != plus)
        return malformed(st, "channel binding and mechanism contradict each other");
    /* The client could bind and believes that we cannot: somebody cut our offer. */
    if (flag == 'y' && s->binding_size > 0) {
        TL_FAIL(st, TL_INVALID, "SCRAM channel binding negotiation error");
        return tl_status_sql(st, "28000", 0);
    }
    *in = tl_slice_of(rest.data + 1, rest.size - 1);
    tl_buffer_put(&s->header, start, (size_t)(in->data - start));
    return TL_OK;
}

enum tl_code tl_scram_first(struct tl_scram *s, bool plus, struct tl_slice in,
                            struct tl_buffer *out, struct tl_status *st)
{
    struct tl_slice user, nonce;
    if (in.size > TL_SCRAM_MESSAGE_MAX)
        return malformed(st, "it is too long");
    if (plus && s->binding_size == 0)
        return malformed(st, "there is no channel to bind to");
    if (read_header(s, plus, &in, st))
        return st->code;
    struct tl_slice bare = in;
    if (!attribute(&in, 'n', &user) || !attribute(&in, 'r', &nonce) || nonce.size == 0 ||
        in.size > 0)
        return malformed(st, "name and nonce are expected");
    for (size_t i = 0; i < nonce.size; i++) {
        if (nonce.data[i] < 0x21 || nonce.data[i] > 0x7e)
            return malformed(st, "characters in the nonce");
    }
    tl_buffer_put(&s->nonces, nonce.data, nonce.size);
    tl_buffer_put(&s->nonces, s->nonce, strlen(s->nonce));
    tl_buffer_put(&s->text, bare.data, bare.size);
    tl_buffer_put_u8(&s->text, ',');
    size_t begin = s->text.size;
    tl_buffer_put(&s->text, "r=", 2);
    tl_buffer_put(&s->text, s->nonces.data, s->nonces.size);
    tl_buffer_put(&s->text, ",s=", 3);
    put_base64(&s->text, s->keys.salt, sizeof(s->keys.salt));
    tl_buffer_printf(&s->text, ",i=%u", (unsigned)s->keys.iterations);
    if (tl_buffer_check(&s->text, st) || tl_buffer_check(&s->nonces, st))
        return st->code;
    tl_buffer_put(out, s->text.data + begin, s->text.size - begin);
    return tl_buffer_check(out, st);
}

enum tl_code tl_scram_final(struct tl_scram *s, struct tl_slice in, struct tl_buffer *out,
                            bool *proved, struct tl_status *st)
{
    struct tl_slice whole = in, binding, nonce, proof;
    if (in.size > TL_SCRAM_MESSAGE_MAX)
        return malformed(st, "it is too long");
    if (!attribute(&in, 'c', &binding) || !attribute(&in, 'r', &nonce))
        return malformed(st, "channel binding and nonce are expected");
    /* Extensions may stand between; the proof is last. */
    size_t without_proof = 0;
    for (;;) {
        without_proof = (size_t)(in.data - whole.data) - 1;
        if (attribute(&in, 'p', &proof))
            break;
        const uint8_t *comma = in.size ? memchr(in.data, ',', in.size) : NULL;
        if (!comma)
            return malformed(st, "no proof");
        in = tl_slice_of(comma + 1, in.size - (size_t)(comma + 1 - in.data));
    }
    uint8_t given[TL_SCRAM_KEY_BYTES];
    if (in.size > 0 || !read_base64(proof, given, sizeof(given)))
        return malformed(st, "no proof");
    if (!tl_slice_eq(nonce, tl_buffer_slice(&s->nonces)))
        return malformed(st, "another nonce");

    struct tl_buffer expected;
    tl_buffer_init(&expected, "SCRAM channel binding", 2 * TL_SCRAM_MESSAGE_MAX);
    if (s->bound)
        tl_buffer_put(&s->header, s->binding, s->binding_size);
    put_base64(&expected, s->header.data, s->header.size);
    bool same = !expected.failed && tl_slice_eq(binding, tl_buffer_slice(&expected));
    tl_buffer_deinit(&expected);
    if (!same) {
        TL_FAIL(st, TL_INVALID, "SCRAM channel binding check failed");
        return tl_status_sql(st, "28000", 0);
    }

    tl_buffer_put_u8(&s->text, ',');
    tl_buffer_put(&s->text, whole.data, without_proof);
    if (tl_buffer_check(&s->text, st))
        return st->code;
    uint8_t signature[TL_SCRAM_KEY_BYTES], key[TL_SCRAM_KEY_BYTES], hash[TL_SCRAM_KEY_BYTES];
    hmac(s->keys.stored_key, s->text.data, s->text.size, signature);
    for (size_t i = 0; i < sizeof(key); i++)
        key[i] = given[i] ^ signature[i];
    bool hashed = EVP_Digest(key, sizeof(key), hash, NULL, EVP_sha256(), NULL) == 1;
    bool equal = CRYPTO_memcmp(hash, s->keys.stored_key, sizeof(hash)) == 0;
    OPENSSL_cleanse(key, sizeof(key));
    *proved = hashed && equal && s->known;
    if (*proved) {
        hmac(s->keys.server_key, s->text.data, s->text.size, signature);
        tl_buffer_put(out, "v=", 2);
        put_base64(out, signature, sizeof(signature));
    }
    return tl_buffer_check(out, st);
}
