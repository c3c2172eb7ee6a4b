/*
 * wire/address.h: "HOST:PORT" as an address to bind to.
 */
#ifndef TALLY_WIRE_ADDRESS_H
#define TALLY_WIRE_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "base/status.h"

/* Numeric IPv4, "[IPv6]" or "localhost"; an empty host means 127.0.0.1. TL_INVALID otherwise. */
TL_CHECK enum tl_code tl_address_parse(const char *text, struct sockaddr_storage *out,
                                       struct tl_status *st);
bool tl_address_is_loopback(const struct sockaddr_storage *a);
/* "127.0.0.1:7070", "[::1]:7070" */
void tl_address_print(const struct sockaddr_storage *a, char *out, size_t size);

#endif
