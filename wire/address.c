#include "wire/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum tl_code tl_address_parse(const char *text, struct sockaddr_storage *out, struct tl_status *st)
{
    const char *colon = strrchr(text, ':');
    if (!colon || colon[1] == '\0')
        return TL_FAIL(st, TL_INVALID, "\"%s\" is not HOST:PORT", text);
    char *end = NULL;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (colon[1] < '0' || colon[1] > '9' || *end != '\0' || port > 65535)
        return TL_FAIL(st, TL_INVALID, "\"%s\" is not a port (0 to 65535)", colon + 1);
    char host[64];
    size_t n = (size_t)(colon - text);
    if (n >= sizeof(host))
        return TL_FAIL(st, TL_INVALID, "the host in \"%s\" is too long", text);
    memcpy(host, text, n);
    host[n] = '\0';

    struct sockaddr_storage a = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&a;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a;
    if (n >= 2 && host[0] == '[' && host[n - 1] == ']') {
        host[n - 1] = '\0';
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        if (inet_pton(AF_INET6, host + 1, &v6->sin6_addr) != 1)
            return TL_FAIL(st, TL_INVALID, "\"%s\" is not an IPv6 address", host + 1);
    } else {
        const char *name = n == 0 || strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        if (inet_pton(AF_INET, name, &v4->sin_addr) != 1)
            return TL_FAIL(st, TL_INVALID,
                           "\"%s\" is not an address: a numeric IPv4, [IPv6] or localhost", host);
    }
    *out = a;
    return TL_OK;
}

bool tl_address_is_loopback(const struct sockaddr_storage *a)
{
    if (a->ss_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24 == 127;
    return a->ss_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)a)->sin6_addr);
}

void tl_address_print(const struct sockaddr_storage *a, char *out, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (a->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)a;
        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
        snprintf(out, size, "[%s]:%u", host, ntohs(v6->sin6_port));
    } else {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)a;
        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
        snprintf(out, size, "%s:%u", host, ntohs(v4->sin_port));
    }
}
