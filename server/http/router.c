/* SPDX-License-Identifier: Apache-2.0 */
#include "http/router.h"

#include <stdbool.h>
#include <string.h>

#include "api/api.h"
#include "auth/keys.h"
#include "http/query.h"

static const struct route routes[] = {
#define ROUTE(listeners, method, path, scope, body, query, handler)                                                    \
    {listeners, SCOPE_##scope, method, path, #handler, body, query, api_##handler},
#include "routes.def"
#undef ROUTE
};
enum { ROUTE_COUNT = sizeof routes / sizeof *routes };

/* Takes the next segment off a path; its length, without the slash in front. */
static size_t next_segment(const char **path, const char **ret)
{
    *ret = *path + (**path == '/');
    size_t length = strcspn(*ret, "/");
    *path = *ret + length;
    return length;
}

static bool matches(const struct route *route, const char *path,
                    char parameters[ROUTE_MAX_PARAMETERS][ROUTE_PARAMETER_SIZE])
{
    const char *pattern = route->path;
    size_t count = 0;
    while (*pattern && *path) {
        const char *want, *have;
        size_t want_length = next_segment(&pattern, &want), have_length = next_segment(&path, &have);
        if (*want != '{') {
            if (want_length != have_length || memcmp(want, have, want_length) != 0)
                return false;
            continue;
        }
        if (!have_length || have_length >= ROUTE_PARAMETER_SIZE || count == ROUTE_MAX_PARAMETERS)
            return false;
        memcpy(parameters[count], have, have_length);
        parameters[count++][have_length] = '\0';
    }
    return !*pattern && !*path;
}

/* HEAD is GET without the body, which libmicrohttpd leaves out. */
static bool serves(const struct route *route, const char *method)
{
    return strcmp(route->method, method) == 0 || (strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0);
}

static void allow(char list[ROUTE_ALLOW_SIZE], const char *method)
{
    size_t length = strlen(list);
    (void)snprintf(list + length, ROUTE_ALLOW_SIZE - length, "%s%s%s", length ? ", " : "", method,
                   strcmp(method, "GET") == 0 ? ", HEAD" : "");
}

int router_find(enum route_listener listener, const char *method, const char *path, const struct route **ret,
                char ret_parameters[ROUTE_MAX_PARAMETERS][ROUTE_PARAMETER_SIZE], char ret_allow[ROUTE_ALLOW_SIZE],
                struct h5pt_error *err)
{
    ret_allow[0] = '\0';
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        if (!(routes[i].listeners & listener) || !matches(&routes[i], path, ret_parameters))
            continue;
        if (serves(&routes[i], method)) {
            *ret = &routes[i];
            return 0;
        }
        allow(ret_allow, routes[i].method);
    }
    if (*ret_allow)
        return h5pt_fail(err, H5PT_METHOD_NOT_ALLOWED, NULL, "%s is not possible here; %s is", method, ret_allow);
    return h5pt_fail(err, H5PT_NOT_FOUND, NULL, "There is nothing at this path; /openapi.yaml describes the API");
}

void router_print(FILE *out)
{
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        const unsigned listeners = routes[i].listeners;
        (void)fprintf(out, "%s %s %s %s",
                      listeners == (MAIN | ADMIN) ? "main,admin"
                      : listeners == MAIN         ? "main"
                                                  : "admin",
                      routes[i].method, routes[i].path, scope_name(routes[i].scope));
        query_print_names(routes[i].query, out);
        (void)fputc('\n', out);
    }
}
