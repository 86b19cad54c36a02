/* SPDX-License-Identifier: Apache-2.0 */
/* What jobs leave in the metrics. */
#include <signal.h>

#include "jobs/internal.h"

void measure_run(struct metrics *metrics, const struct child_result *result)
{
    static const char *const reasons[] = {
        [CHILD_REPORTED] = "reported", [CHILD_CRASHED] = "crashed", [CHILD_TIMEOUT] = "timeout", [CHILD_STOPPED] = "stopped"};
    const char *reason = reasons[result->end];
    if (result->end == CHILD_CRASHED && result->signal == SIGKILL)
        reason = "killed"; /* by somebody else: most often the kernel, for want of memory */
    metrics_add(metrics, METRIC_worker_exits_total, METRIC_LABELS(reason), 1);
    metrics_observe(metrics, METRIC_job_memory_bytes, NULL, (double)result->peak_bytes);
}

/* The report comes from a process that has read a hostile file: only the stages that there are become labels. */
static void measure_stages(struct metrics *metrics, const json_t *report)
{
    static const char *const stages[] = {
#define STAGE(id, name) name,
#include "stages.def"
#undef STAGE
    };
    const json_t *timings = json_object_get(report, "timings_ms");
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        const json_t *ms = json_object_get(timings, stages[i]);
        if (json_is_number(ms))
            metrics_observe(metrics, METRIC_job_stage_seconds, METRIC_LABELS(stages[i]), json_number_value(ms) / 1e3);
    }
}

void measure_end(struct metrics *metrics, const struct job_record *record, const struct child_result *result)
{
    const char *code = json_string_value(json_object_get(record->error, "code"));
    const json_t *error = json_object_get(json_object_get(record->result, "parity"), "max_abs");
    const double run = (double)result->run_us / 1e6;
    metrics_add(metrics, METRIC_jobs_finished_total, METRIC_LABELS(job_state_name(record->state), code ? code : ""), 1);
    if (!result->run_us)
        return; /* it never came to a worker */
    metrics_observe(metrics, METRIC_job_queue_seconds, NULL, (double)(record->started_ms - record->created_ms) / 1e3);
    metrics_observe(metrics, METRIC_job_run_seconds, NULL, run);
    metrics_observe(metrics, METRIC_job_input_bytes, NULL, (double)record->bytes);
    if (json_is_number(error))
        metrics_observe(metrics, METRIC_parity_error, NULL, json_number_value(error));
    measure_stages(metrics, json_object_get(result->last, "report"));
}
