/* SPDX-License-Identifier: Apache-2.0 */
/* The handlers of routes.def, and what several of them share. A handler is called when the body has arrived, and again when
 * a request that waited (api_wait) goes on. It queues one response, or waits. */
#ifndef H5PT_API_API_H
#define H5PT_API_API_H

#include <jansson.h>
#include <microhttpd.h>

#include "http/request.h"
#include "jobs/jobs.h"

#define ROUTE(listeners, method, path, scope, body, query, handler)                                                    \
    enum MHD_Result api_##handler(struct request *request);
#include "routes.def"
#undef ROUTE

/* Who makes the request, and the upload that came with it, which is the job's from now on. */
struct jobs_sender api_sender(const struct request *request);
struct jobs_upload api_upload(struct request *request);

/* The job that {id} in the path names; NOT_FOUND, also when it is none of the caller's. */
int api_look(struct request *request, struct job_view *ret, struct h5pt_error *err);

/* Makes the job of the request from its upload, as the request's headers want it. */
int api_submit(struct request *request, struct h5pt_error *err);

/* Milliseconds that the client wants to wait for a job: ?wait=, else Prefer (which is then said to be applied), else
 * `preset`. */
int64_t api_wanted_wait(struct request *request, int64_t preset);

/* Lets the request wait for its job, until `deadline` (text_clock_ms) at most. The handler returns what this returns. */
enum MHD_Result api_wait(struct request *request, int64_t deadline);

/* Wakes a suspended connection; the `wake` of a job_waiter. */
void api_resume(void *connection);

/* A job as the API shows it. NULL without memory. */
json_t *api_job_document(const struct config *config, const struct job_view *view);
json_t *api_job_json(const struct request *request, const struct job_view *view);
/* Why a job failed, with a link to its report where there is one. NULL without memory. */
json_t *api_job_problem(const struct job_record *record);
/* Retry-After for a client that looks again, unless the job has finished. */
void api_retry_after(struct request *request, const struct job_view *view);
/* 202 with the job, its Location and Retry-After. */
enum MHD_Result api_accepted(struct request *request, const struct job_view *view);

#endif
