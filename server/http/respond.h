/* SPDX-License-Identifier: Apache-2.0 */
/* Responses. Each function queues one and returns what the handler returns. */
#ifndef H5PT_HTTP_RESPOND_H
#define H5PT_HTTP_RESPOND_H

#include <jansson.h>
#include <microhttpd.h>
#include <stdint.h>

#include "base/error.h"
#include "http/request.h"

/* Seconds after which a client may look again, where nothing better is known. */
enum { RESPOND_RETRY_AFTER = 5 };

/* The first line of a header of the request, or NULL. */
const char *request_field(const struct request *request, const char *name);
/* GET or HEAD. */
bool request_reads(const struct request *request);

/* Adds a header to the response that will be sent. `name` is a literal. */
void request_header(struct request *request, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* `body` is taken; without one (no memory) the answer is status 500. */
enum MHD_Result respond_json(struct request *request, unsigned status, json_t *body);
enum MHD_Result respond_empty(struct request *request, unsigned status);
/* `text` is taken; NULL (no memory) is answered with status 500. */
enum MHD_Result respond_made_text(struct request *request, const char *media_type, char *text, size_t length);
/* `text` lives as long as the program. */
enum MHD_Result respond_text(struct request *request, const char *media_type, const char *text, size_t length);
/* So many bytes of a file, `fd` (taken), from `first` on. */
enum MHD_Result respond_file(struct request *request, unsigned status, int fd, uint64_t first, uint64_t bytes);

/* `bytes`, or MHD_SIZE_UNKNOWN, that `read` gives in blocks of at most `block` when the client takes them; `free_context` is
 * called in any case. */
enum MHD_Result respond_stream(struct request *request, uint64_t bytes, size_t block, MHD_ContentReaderCallback read,
                               void *context, MHD_ContentReaderFreeCallback free_context);

/* Of a resource with this entity tag ("\"…\"" or "W/\"…\""): adds ETag, and for GET and HEAD looks at If-Match and
 * If-None-Match. True when they make the answer, 412 or 304, which is then *ret. */
bool respond_condition(struct request *request, const char *tag, enum MHD_Result *ret);

/* application/problem+json, with the status of the code. */
enum MHD_Result respond_problem(struct request *request, const struct h5pt_error *err);
/* The same as the bytes of an answer that ends the connection, for when libmicrohttpd sends none. Owned by the caller; NULL
 * without memory. */
char *respond_problem_text(const struct request *request, const struct h5pt_error *err);
/* As respond_problem, for a problem that is made already (borrowed), such as the one of a failed job. */
enum MHD_Result respond_problem_of(struct request *request, const json_t *problem);

#endif
