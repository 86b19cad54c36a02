/* SPDX-License-Identifier: Apache-2.0 */
#include "http/authorize.h"

#include <inttypes.h>
#include <string.h>

#include "http/respond.h"

/* The key of "Authorization: Bearer KEY", or NULL. */
static const char *bearer(struct MHD_Connection *connection)
{
    static const char scheme[] = "Bearer ";
    const char *value = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION);
    if (!value || strncasecmp(value, scheme, sizeof scheme - 1) != 0)
        return NULL;
    value += sizeof scheme - 1;
    return value + strspn(value, " ");
}

static void add_rate(struct request *request, const struct keys_rate *rate)
{
    if (!rate->limit)
        return;
    request_header(request, "RateLimit-Policy", "\"requests\";q=%" PRIu64 ";w=60", rate->limit);
    request_header(request, "RateLimit", "\"requests\";r=%" PRIu64 ";t=%u", rate->left, rate->wait_s);
}

int authorize(struct request *request, struct h5pt_error *err)
{
    struct caller *caller = &request->caller;
    const unsigned scope = request->route->scope;
    struct keys_rate rate;
    if (scope == SCOPE_open)
        return 0;
    const char *key = bearer(request->connection);
    struct h5pt_error failure = H5PT_ERROR_INIT;
    const int result = keys_identify(request->service->keys, key, caller, &rate, &failure);
    add_rate(request, &rate);
    if (result) {
        if (failure.code == H5PT_UNAUTHORIZED)
            request_header(request, "WWW-Authenticate", "Bearer realm=\"h5pt\"%s",
                           key ? ", error=\"invalid_token\"" : "");
        request->retry_after = rate.wait_s;
        *err = failure;
        return -1;
    }
    if ((caller->scopes & scope) == scope)
        return 0;
    request_header(request, "WWW-Authenticate", "Bearer realm=\"h5pt\", error=\"insufficient_scope\", scope=\"%s\"",
                   scope_name(scope));
    return h5pt_fail(err, H5PT_FORBIDDEN, scope_name(scope), "The key %s has not the scope %s, which this needs",
                     caller->name, scope_name(scope));
}

const char *authorize_view(const struct request *request)
{
    return request->caller.scopes & SCOPE_admin ? NULL : request->caller.name;
}

bool authorize_owner(const struct request *request, const char *owner)
{
    const char *view = authorize_view(request);
    return !view || strcmp(view, owner) == 0;
}
