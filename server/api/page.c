/* SPDX-License-Identifier: Apache-2.0 */
/* GET /, /docs, /assets/{name}: the web page, its files, and the API description for people. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/api.h"
#include "http/fields.h"
#include "http/respond.h"
#include "web/web.h"

/* The page runs its own files only, talks to its own origin only, and cannot be framed. blob: is the picture of a model. */
static const char page_policy
    [] = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; base-uri "
         "'none'; "
         "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
/* Swagger UI sanitises what it shows as HTML by itself, without Trusted Types, and has its icons as data: in its styles. */
static const char docs_policy[] = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
                                  "connect-src 'self'; base-uri 'none'; "
                                  "form-action 'none'; frame-ancestors 'none'";

static const struct web_file *find_file(const char *path)
{
    for (size_t i = 0; i < web_file_count; i++)
        if (strcmp(web_files[i].path, path) == 0)
            return &web_files[i];
    return NULL;
}

/* Whether the client names gzip, or *, and not with q=0. */
static bool takes_gzip(const char *accept)
{
    bool any = false;
    for (const char *p = accept ? accept : ""; *p; p += strcspn(p, ",")) {
        p += strspn(p, " \t,");
        const size_t length = strcspn(p, " \t;,");
        const char *quality = strpbrk(p, ",;");
        bool wanted = true;
        if (quality && *quality == ';') {
            quality += 1 + strspn(quality + 1, " \t");
            wanted = strncasecmp(quality, "q=", 2) != 0 || strtod(quality + 2, NULL) > 0;
        }
        if (length == 4 && strncasecmp(p, "gzip", length) == 0)
            return wanted;
        if (length == 1 && *p == '*')
            any = wanted;
    }
    return any;
}

static enum MHD_Result respond_web_file(struct request *request, const struct web_file *file)
{
    request_header(request, "ETag", "W/%s", file->tag); /* weak: the same for every encoding */
    request_header(request, "Cache-Control",
                   file->named_by_content ? "public, max-age=31536000, immutable" : "no-cache");
    request_header(request, "Vary", "Accept-Encoding");
    request_header(request, "Cross-Origin-Resource-Policy", "same-origin");
    if (field_has_tag(request_field(request, "If-None-Match"), file->tag, false))
        return respond_empty(request, MHD_HTTP_NOT_MODIFIED);
    const bool gzip = file->gzip.length && takes_gzip(request_field(request, "Accept-Encoding"));
    const struct web_bytes content = gzip ? file->gzip : file->identity;
    if (gzip)
        request_header(request, "Content-Encoding", "gzip");
    return respond_text(request, file->media_type, content.bytes, content.length);
}

static enum MHD_Result respond_document(struct request *request, const struct web_file *file, const char *policy)
{
    request_header(request, "Content-Security-Policy", "%s", policy);
    request_header(request, "X-Frame-Options", "DENY");
    request_header(request, "Referrer-Policy", "no-referrer");
    request_header(request, "Cross-Origin-Opener-Policy", "same-origin");
    return respond_web_file(request, file);
}

static enum MHD_Result respond_missing(struct request *request)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    h5pt_fail(&err, H5PT_NOT_FOUND, NULL,
              web_file_count ? "There is no such file" : "This h5ptd was built without the web page");
    return respond_problem(request, &err);
}

enum MHD_Result api_page(struct request *request)
{
    static const char
        without[] = "h5pt converts Keras models to PyTorch. This h5ptd was built without the web page.\n\n"
                    "    curl --data-binary @model.h5 http://HOST/v1/convert -o model.pt\n\n"
                    "The API is described at /openapi.yaml.\n";
    const struct web_file *file = find_file("/");
    if (!file)
        return respond_text(request, "text/plain; charset=utf-8", without, sizeof without - 1);
    return respond_document(request, file, page_policy);
}

enum MHD_Result api_docs(struct request *request)
{
    const struct web_file *file = find_file("/docs");
    return file ? respond_document(request, file, docs_policy) : respond_missing(request);
}

enum MHD_Result api_asset(struct request *request)
{
    const struct web_file *file = find_file(request->url);
    return file ? respond_web_file(request, file) : respond_missing(request);
}
