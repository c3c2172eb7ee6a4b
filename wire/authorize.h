/*
 * wire/authorize.h: who makes a gRPC call, and whether they may.
 *
 * A method says what it needs; a call's bearer token (RFC 6750) names its principal. While no
 * principal was ever made, everybody is an operator. A principal is asked for again for each
 * message of a stream, so that a revocation ends streams too.
 *
 * Threads    loop.
 */
#ifndef TALLY_WIRE_AUTHORIZE_H
#define TALLY_WIRE_AUTHORIZE_H

#include "engine/tally.h"
#include "wire/call.h"

/* Takes the token out of an authorization header's value; false: it is no bearer token. */
bool tl_bearer_token(struct tl_slice value, struct tl_slice *token);

/* Finds the call's principal and holds it against what its method needs; false: the call was
 * finished with UNAUTHENTICATED or PERMISSION_DENIED. */
bool tl_authorize(struct tl_call *call, const struct tl_method *method);
/* Whether the principal of an open call still counts; false: the call was finished. */
bool tl_authorize_again(struct tl_call *call);

/* The rows that the call may read and write; lives as long as its principal. */
struct tally_tenant tl_call_tenant(const struct tl_call *call);

/* Producers of a tenant have names of their own, so that no tenant's sequences meet another's:
 * "PRINCIPAL/NAME", or a digest of it where that is too long. `room` holds what is made. */
struct tl_slice tl_call_producer(const struct tl_call *call, struct tl_slice name,
                                 char room[TALLY_PRODUCER_BYTES_MAX]);

#endif
