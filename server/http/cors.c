/* SPDX-License-Identifier: Apache-2.0 */
#include "http/cors.h"

#include <ctype.h>
#include <string.h>

#include "http/respond.h"

/* Beyond those that a page may always send, and may always read. A test holds both against the description of the API. */
static const char request_headers[] = "Authorization, Cache-Control, Content-Digest, Content-Type, Idempotency-Key, "
                                      "If-Match, If-None-Match, If-Range, "
                                      "Last-Event-ID, Prefer, Range, Repr-Digest, X-Request-ID";
static const char
    response_headers[] = "Accept-Ranges, Content-Disposition, Content-Range, ETag, H5PT-Conversion, "
                         "H5PT-Parity-Max-Abs, H5PT-Parity-Ok, "
                         "H5PT-Reused-From, H5PT-Verdict, Idempotent-Replayed, Link, Location, "
                         "Preference-Applied, RateLimit, RateLimit-Policy, "
                         "Repr-Digest, Retry-After, Server-Timing, WWW-Authenticate, X-Accel-Buffering, X-Request-ID";
enum { PREFLIGHT_MAX_AGE_S = 3600 };

static const char *origins_of(const struct request *request)
{
    return request->listener == MAIN ? request->service->config->cors_origins : "";
}

/* The next entry of a list; its length. */
static size_t next_origin(const char **list, const char **ret)
{
    *ret = *list + strspn(*list, ", ");
    const size_t length = strcspn(*ret, ", ");
    *list = *ret + length;
    return length;
}

/* scheme://host[:port], as browsers write it: in small letters, without a slash at the end. */
static bool is_origin(const char *text, size_t length)
{
    static const char *const schemes[] = {"https://", "http://"};
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        const size_t scheme = strlen(schemes[i]);
        if (length <= scheme || memcmp(text, schemes[i], scheme) != 0)
            continue;
        for (size_t k = scheme; k < length; k++)
            if (!islower((unsigned char)text[k]) && !isdigit((unsigned char)text[k]) && !strchr(".-:[]", text[k]))
                return false;
        return true;
    }
    return false;
}

int cors_check(const char *origins, struct h5pt_error *err)
{
    const char *origin;
    for (size_t length; (length = next_origin(&origins, &origin));)
        if (!(length == 1 && *origin == '*') && !is_origin(origin, length))
            return h5pt_fail(
                err, H5PT_USAGE, "--cors-origins",
                "--cors-origins has \"%.*s\", which is neither * nor an origin as browsers write it, such as "
                "https://example.org",
                (int)length, origin);
    return 0;
}

/* What the answer says of the page's origin: that origin, "*", or NULL. */
static const char *allowed(const struct request *request, const char *origin)
{
    const char *list = origins_of(request), *entry;
    const char *found = NULL;
    for (size_t length; (length = next_origin(&list, &entry));) {
        if (length == 1 && *entry == '*')
            return "*";
        if (strlen(origin) == length && memcmp(origin, entry, length) == 0)
            found = origin;
    }
    return found;
}

void cors_add(struct request *request)
{
    const char *origin = MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ORIGIN);
    if (!*origins_of(request))
        return;
    const char *permitted = allowed(request, origin ? origin : "");
    if (!permitted || *permitted != '*')
        request_header(request, "Vary", "Origin");
    if (!origin || !permitted)
        return;
    request_header(request, "Access-Control-Allow-Origin", "%s", permitted);
    request_header(request, "Access-Control-Expose-Headers", "%s", response_headers);
}

bool cors_is_preflight(const struct request *request)
{
    return *request->methods && *origins_of(request) && strcmp(request->method, MHD_HTTP_METHOD_OPTIONS) == 0;
}

enum MHD_Result cors_respond_preflight(struct request *request)
{
    request_header(request, "Access-Control-Allow-Methods", "%s", request->methods);
    request_header(request, "Access-Control-Allow-Headers", "%s", request_headers);
    request_header(request, "Access-Control-Max-Age", "%d", PREFLIGHT_MAX_AGE_S);
    return respond_empty(request, MHD_HTTP_NO_CONTENT);
}
