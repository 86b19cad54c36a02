/* SPDX-License-Identifier: Apache-2.0 */
/* h5pt healthcheck: asks a running h5ptd over HTTP, so that a container needs no curl. */
#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "cli/cli.h"

enum { HOST_SIZE = 64, PORT_SIZE = 8, TIMEOUT_SECONDS = 2, UNHEALTHY = 1 };

static const char usage[] =
    "usage: h5pt healthcheck [--ready] [ADDRESS:PORT]\n\n"
    "Asks a running h5ptd whether it is alive. ADDRESS:PORT is $H5PT_LISTEN, or 127.0.0.1:8080; where that speaks TLS\n"
    "($H5PT_TLS_CERT), the listener for operators: $H5PT_ADMIN_LISTEN, or 127.0.0.1:8081.\n\n"
    "  --ready    ask whether it would take a conversion now: no, too, while its queue is full or it is stopping\n\n"
    "Exit code: 0 yes, 1 no, 2 usage.\n";

/* Where to connect to for an address to listen on: the host is "" for one that stands for all. */
static int split(const char *address, char host[HOST_SIZE], char port[PORT_SIZE])
{
    const char *colon = strrchr(address, ':');
    size_t length = colon ? (size_t)(colon - address) : 0;
    if (length >= 2 && *address == '[' && address[length - 1] == ']') {
        address++;
        length -= 2;
    }
    if (!colon || length >= HOST_SIZE || !colon[1] || strlen(colon + 1) >= PORT_SIZE)
        return -1;
    (void)snprintf(host, HOST_SIZE, "%.*s", (int)length, address);
    (void)snprintf(port, PORT_SIZE, "%s", colon + 1);
    if (strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0)
        *host = '\0';
    return 0;
}

static int connect_to(const struct addrinfo *info)
{
    const struct timeval timeout = {.tv_sec = TIMEOUT_SECONDS};
    for (; info; info = info->ai_next) {
        int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
        if (connect(fd, info->ai_addr, info->ai_addrlen) == 0)
            return fd;
        (void)close(fd);
    }
    return -1;
}

/* The status of GET path, or -1 without an answer. */
static int ask(int fd, const char *path)
{
    char text[256];
    int length = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
    if (send(fd, text, (size_t)length, MSG_NOSIGNAL) != length)
        return -1;
    size_t have = 0;
    while (have < sizeof text - 1 && !memchr(text, '\n', have)) {
        ssize_t n = recv(fd, text + have, sizeof text - 1 - have, 0);
        if (n <= 0)
            return -1;
        have += (size_t)n;
    }
    text[have] = '\0';
    static const char version[] = "HTTP/1.1 ";
    return strncmp(text, version, sizeof version - 1) == 0 ? (int)strtol(text + sizeof version - 1, NULL, 10) : -1;
}

static int check(const char *address, const char *path)
{
    char host[HOST_SIZE], port[PORT_SIZE];
    const struct addrinfo hints = {.ai_flags = AI_NUMERICSERV, .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *info;
    if (split(address, host, port))
        return cli_usage("healthcheck", "\"%s\" is no address, such as 127.0.0.1:8080", address);
    int error = getaddrinfo(*host ? host : NULL, port, &hints, &info);
    if (error)
        return cli_usage("healthcheck", "\"%s\" is no address: %s", address, gai_strerror(error));
    int fd = connect_to(info), status = fd < 0 ? -1 : ask(fd, path);
    if (status < 0)
        (void)fprintf(stderr, "h5pt healthcheck: no answer from %s: %s\n", address, strerrordesc_np(errno));
    else if (status != 200)
        (void)fprintf(stderr, "h5pt healthcheck: %s%s answers with status %d\n", address, path, status);
    if (fd >= 0)
        (void)close(fd);
    freeaddrinfo(info);
    return status == 200 ? 0 : UNHEALTHY;
}

int cli_healthcheck(int argc, char **argv)
{
    static const struct option options[] = {
        {"ready", no_argument, NULL, 'r'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    const char *path = "/livez", *certificate = getenv("H5PT_TLS_CERT");
    const bool tls = certificate && *certificate;
    const char *listen = getenv(tls ? "H5PT_ADMIN_LISTEN" : "H5PT_LISTEN");
    opterr = 0;
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'r': path = "/readyz"; break;
        case 'h': (void)fputs(usage, stdout); return 0;
        default: return cli_usage("healthcheck", "The option %s is not known", argv[optind - 1]);
        }
    }
    if (argc - optind > 1)
        return cli_usage("healthcheck", "One address is enough");
    const char *address = optind < argc       ? argv[optind]
                          : listen && *listen ? listen
                          : tls               ? "127.0.0.1:8081"
                                              : "127.0.0.1:8080";
    return check(address, path);
}
