/* SPDX-License-Identifier: Apache-2.0 */
/* What the end of a worker means for the record of its job. The worker has read a hostile file: what it says is taken as
 * data about this one job, and never as names of files or as more than that. */
#include <string.h>

#include "jobs/internal.h"
#include "problem.h"

void outcome_of_error(struct job_record *record, const struct h5pt_error *err)
{
    record->state = JOB_FAILED;
    record->error = problem_new(err);
}

/* {"code", "where", "message"} */
static void read_error(const json_t *error, struct h5pt_error *ret)
{
    const char *code = json_string_value(json_object_get(error, "code"));
    const char *where = json_string_value(json_object_get(error, "where"));
    const char *message = json_string_value(json_object_get(error, "message"));
    enum h5pt_code known = code ? h5pt_code_from_name(code) : H5PT_OK;
    if (known == H5PT_OUT_OF_MEMORY)
        h5pt_fail(ret, H5PT_WORKER_MEMORY, where, "The conversion needed more memory than it is allowed to use");
    else
        h5pt_fail(ret, known == H5PT_OK ? H5PT_INTERNAL : known, where, "%s",
                  message ? message : "The worker gave no reason");
}

/* The members of the report that say the most, for lists of jobs and for headers. */
static json_t *summary(const char *verdict, const json_t *report)
{
    static const char *const parity_members[] = {"ok", "max_abs", "max_rel", "tolerance", "first_divergence"};
    json_t *parity = NULL, *whole = json_object_get(report, "parity");
    if (json_is_object(whole)) {
        parity = json_object();
        for (size_t i = 0; i < sizeof parity_members / sizeof *parity_members; i++) {
            json_t *member = json_object_get(whole, parity_members[i]);
            if (member)
                (void)json_object_set(parity, parity_members[i], member);
        }
    }
    return json_pack("{s:s, s:o*, s:O*, s:I}", "verdict", verdict, "parity", parity, "model",
                     json_object_get(report, "model"), "warnings",
                     (json_int_t)json_array_size(json_object_get(report, "warnings")));
}

/* The problem of a refused model: its first reason, and all of them. */
static json_t *refused(const json_t *report)
{
    json_t *refusals = json_object_get(report, "refusals"), *first = json_array_get(refusals, 0);
    struct h5pt_error err = H5PT_ERROR_INIT;
    read_error(first, &err);
    json_t *problem = problem_new(&err);
    static const char *const members[] = {"layer", "key"};
    for (size_t i = 0; problem && i < sizeof members / sizeof *members; i++) {
        json_t *member = json_object_get(first, members[i]);
        if (json_is_string(member))
            (void)json_object_set(problem, members[i], member);
    }
    if (problem && refusals)
        (void)json_object_set(problem, "refusals", refusals);
    return problem;
}

static json_t *parity_failed(const json_t *report)
{
    json_t *divergence = json_object_get(json_object_get(report, "parity"), "first_divergence");
    struct h5pt_error err = H5PT_ERROR_INIT;
    h5pt_fail(&err, H5PT_PARITY_FAILED, NULL,
              "The converted model was run beside the Keras model and its outputs differ; the report says where");
    json_t *problem = problem_new(&err);
    if (problem && json_is_object(divergence))
        (void)json_object_set(problem, "first_divergence", divergence);
    return problem;
}

void outcome_of_report(struct job_record *record, const json_t *last)
{
    const char *verdict = json_string_value(json_object_get(last, "verdict"));
    const json_t *report = json_object_get(last, "report");
    struct h5pt_error err = H5PT_ERROR_INIT;
    if (!verdict) {
        read_error(json_object_get(last, "error"), &err);
        outcome_of_error(record, &err);
        return;
    }
    record->result = summary(verdict, report);
    if (strcmp(verdict, "converted") == 0) {
        record->state = JOB_SUCCEEDED;
        return;
    }
    record->state = JOB_FAILED;
    record->error = strcmp(verdict, "refused") == 0 ? refused(report) : parity_failed(report);
}
