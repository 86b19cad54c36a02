/* SPDX-License-Identifier: Apache-2.0 */
#include "http/listen.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { BACKLOG = SOMAXCONN, HOST_SIZE = 64, PORT_SIZE = 8 };

void listen_print_address(const struct sockaddr *address, char ret[LISTEN_ADDRESS_SIZE])
{
    char host[HOST_SIZE], port[PORT_SIZE];
    socklen_t length = address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    ret[0] = '\0';
    if (getnameinfo(address, length, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        (void)snprintf(ret, LISTEN_ADDRESS_SIZE, address->sa_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

/* "host:port" or "[host]:port" into its two parts. */
static int split(const char *address, char host[HOST_SIZE], char port[PORT_SIZE], struct h5pt_error *err)
{
    const char *colon = strrchr(address, ':'), *from = address;
    size_t length = colon ? (size_t)(colon - address) : 0;
    if (length >= 2 && *from == '[' && from[length - 1] == ']') {
        from++;
        length -= 2;
    }
    if (!length || length >= HOST_SIZE || !colon[1] || strlen(colon + 1) >= PORT_SIZE)
        return h5pt_fail(err, H5PT_USAGE, address, "\"%s\" is no address to listen on, such as 127.0.0.1:8080",
                         address);
    memcpy(host, from, length);
    host[length] = '\0';
    (void)snprintf(port, PORT_SIZE, "%s", colon + 1);
    return 0;
}

static int open_socket(const struct addrinfo *info, char ret_address[LISTEN_ADDRESS_SIZE])
{
    const int on = 1;
    struct sockaddr_storage bound = {0};
    socklen_t length = sizeof bound;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, info->ai_addr, info->ai_addrlen) || listen(fd, BACKLOG) ||
        getsockname(fd, (struct sockaddr *)&bound, &length)) {
        (void)close(fd);
        return -1;
    }
    listen_print_address((const struct sockaddr *)&bound, ret_address);
    return fd;
}

/* *ret is to be freed. */
static int resolve(const char *address, struct addrinfo **ret, struct h5pt_error *err)
{
    char host[HOST_SIZE], port[PORT_SIZE];
    const struct addrinfo hints = {
        .ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    if (split(address, host, port, err))
        return -1;
    int error = getaddrinfo(host, port, &hints, ret);
    if (error)
        return h5pt_fail(err, H5PT_USAGE, address, "\"%s\" is no address to listen on: %s", address,
                         gai_strerror(error));
    return 0;
}

int listen_on(const char *address, char ret_address[LISTEN_ADDRESS_SIZE], struct h5pt_error *err)
{
    struct addrinfo *info;
    if (resolve(address, &info, err))
        return -1;
    int fd = open_socket(info, ret_address);
    if (fd < 0)
        h5pt_fail_errno(err, H5PT_IO, address, "Listening on %s failed", address);
    freeaddrinfo(info);
    return fd;
}

int listen_is_loopback(const char *address, bool *ret, struct h5pt_error *err)
{
    struct addrinfo *info;
    if (resolve(address, &info, err))
        return -1;
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)info->ai_addr;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)info->ai_addr;
    *ret = info->ai_family == AF_INET ? ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET
                                      : IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
    freeaddrinfo(info);
    return 0;
}
