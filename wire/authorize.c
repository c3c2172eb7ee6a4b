#include "wire/authorize.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <strings.h>

#include "wire/principals.h"
#include "wire/server_int.h"

bool tl_bearer_token(struct tl_slice value, struct tl_slice *token)
{
    static const char scheme[] = "Bearer ";
    size_t n = sizeof(scheme) - 1;
    if (value.size <= n || strncasecmp((const char *)value.data, scheme, n) != 0)
        return false;
    *token = tl_slice_of(value.data + n, value.size - n);
    while (token->size > 0 && token->data[0] == ' ')
        *token = tl_slice_of(token->data + 1, token->size - 1);
    return token->size > 0 && token->size < TL_TOKEN_BYTES_MAX;
}

static bool refuse(struct tl_call *call, enum tl_grpc_code code, const char *text)
{
    tl_call_finish(call, code, text);
    return false;
}

static bool may(const struct tl_principal *p, enum tl_need need)
{
    if (p->is_operator)
        return true;
    return (need == TL_NEEDS_INGEST && (p->scopes & TL_SCOPE_INGEST)) ||
           (need == TL_NEEDS_READ && (p->scopes & TL_SCOPE_READ));
}

bool tl_authorize(struct tl_call *call, const struct tl_method *method)
{
    static const char *const needs[] = {[TL_NEEDS_NOTHING] = "nobody",
                                        [TL_NEEDS_INGEST] = "a token with the scope ingest",
                                        [TL_NEEDS_READ] = "a token with the scope read",
                                        [TL_NEEDS_OPERATOR] = "an operator's token"};
    struct tl_principals *store = call->server->principals;
    struct tl_status st = TL_STATUS_INIT;
    bool required = false;
    if (!store || method->needs == TL_NEEDS_NOTHING)
        return true;
    if (tl_principals_required(store, &required, &st))
        return refuse(call, TL_GRPC_UNAVAILABLE, st.text);
    if (!required)
        return true;
    char text[160];
    if (call->bad_token)
        return refuse(call, TL_GRPC_UNAUTHENTICATED, "the authorization is not \"Bearer TOKEN\"");
    if (call->token_size == 0) {
        snprintf(text, sizeof(text),
                 "this call needs %s in the metadata authorization: Bearer TOKEN",
                 needs[method->needs]);
        return refuse(call, TL_GRPC_UNAUTHENTICATED, text);
    }
    enum tl_code rc = tl_principals_by_token(store, tl_slice_of(call->token, call->token_size),
                                             &call->principal, &st);
    OPENSSL_cleanse(call->token, sizeof(call->token));
    if (rc)
        return refuse(call, TL_GRPC_UNAVAILABLE, st.text);
    if (!call->principal)
        return refuse(call, TL_GRPC_UNAUTHENTICATED,
                      "this token is not known, was revoked, or is past its time");
    if (may(call->principal, (enum tl_need)method->needs))
        return true;
    snprintf(text, sizeof(text), "this call needs %s; %s has none", needs[method->needs],
             call->principal->name);
    return refuse(call, TL_GRPC_PERMISSION_DENIED, text);
}

bool tl_authorize_again(struct tl_call *call)
{
    bool required = false;
    struct tl_status st = TL_STATUS_INIT;
    if (!call->server->principals)
        return true;
    if (call->principal) {
        if (tl_principals_valid(call->server->principals, call->principal))
            return true;
        return refuse(call, TL_GRPC_UNAUTHENTICATED, "this token was revoked, or is past its time");
    }
    if (tl_principals_required_since(call->server->principals, &required, &st) || required)
        return refuse(call, TL_GRPC_UNAUTHENTICATED,
                      "calls need a token since principals were made");
    return true;
}

struct tally_tenant tl_call_tenant(const struct tl_call *call)
{
    return call->principal ? call->principal->tenant : (struct tally_tenant){.bounded = false};
}

struct tl_slice tl_call_producer(const struct tl_call *call, struct tl_slice name,
                                 char room[TALLY_PRODUCER_BYTES_MAX])
{
    static const char hex[] = "0123456789abcdef";
    const struct tl_principal *p = call->principal;
    if (!p || p->is_operator || name.size == 0)
        return name;
    char prefix[32];
    int n = snprintf(prefix, sizeof(prefix), "%" PRId64 "/", p->id);
    size_t k = n > 0 ? (size_t)n : 0;
    memcpy(room, prefix, k);
    if (k + name.size <= TALLY_PRODUCER_BYTES_MAX) {
        memcpy(room + k, name.data, name.size);
        return tl_slice_of(room, k + name.size);
    }
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256(name.data, name.size, digest);
    for (size_t i = 0; i < 16; i++) {
        room[k++] = hex[digest[i] >> 4];
        room[k++] = hex[digest[i] & 15];
    }
    return tl_slice_of(room, k);
}
