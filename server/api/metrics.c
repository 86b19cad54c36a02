/* SPDX-License-Identifier: Apache-2.0 */
/* GET /metrics: what was counted, and what is measured now. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "api/api.h"
#include "http/respond.h"
#include "read_file.h"

static void set(struct metrics *metrics, enum metric metric, double value)
{
    metrics_set(metrics, metric, NULL, value);
}

static void measure_jobs(const struct service *service)
{
    struct metrics *metrics = service->metrics;
    const struct jobs_counts counts = jobs_count(service->jobs);
    const struct files_space space = files_space(service->files);
    set(metrics, METRIC_queue_depth, (double)counts.queued);
    set(metrics, METRIC_queue_capacity, (double)service->config->queue_limit);
    set(metrics, METRIC_queue_oldest_seconds, (double)counts.oldest_ms / 1e3);
    metrics_set(metrics, METRIC_workers, METRIC_LABELS("busy"), (double)counts.running);
    metrics_set(metrics, METRIC_workers, METRIC_LABELS("idle"),
                (double)service->config->workers - (double)counts.running);
    set(metrics, METRIC_disk_free_bytes, (double)space.free);
    set(metrics, METRIC_disk_reserved_bytes, (double)space.claimed);
}

static void measure_health(const struct service *service)
{
    struct health_state states[HEALTH_CHECK_COUNT];
    (void)health_look(service->health, states);
    for (int i = 0; i < HEALTH_CHECK_COUNT; i++)
        metrics_set(service->metrics, METRIC_ready, METRIC_LABELS(health_check_name((enum health_check)i)),
                    states[i].reason.code == H5PT_OK);
}

/* The second number of /proc/self/statm is in pages. */
static double resident_bytes(void)
{
    struct strbuf text = STRBUF_INIT;
    (void)read_file("/proc/self/statm", "size of the process", &text, NULL);
    const char *second = strchr(strbuf_text(&text), ' ');
    const double pages = second ? (double)strtoul(second, NULL, 10) : 0;
    strbuf_release(&text);
    return pages * (double)sysconf(_SC_PAGESIZE);
}

static double open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    double count = -3; /* ".", ".." and the directory itself */
    while (dir && readdir(dir))
        count++;
    if (dir)
        (void)closedir(dir);
    return dir ? count : 0;
}

static void measure_process(const struct service *service)
{
    struct rusage usage;
    struct metrics *metrics = service->metrics;
    set(metrics, METRIC_process_start_time_seconds, (double)service->started_ms / 1e3);
    set(metrics, METRIC_process_resident_memory_bytes, resident_bytes());
    set(metrics, METRIC_process_open_fds, open_descriptors());
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        set(metrics, METRIC_process_cpu_seconds_total,
            (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    metrics_set(metrics, METRIC_build_info, METRIC_LABELS(H5PT_VERSION), 1);
}

enum MHD_Result api_metrics(struct request *request)
{
    size_t length = 0;
    measure_jobs(request->service);
    measure_health(request->service);
    measure_process(request->service);
    char *text = metrics_print(request->service->metrics, &length);
    return respond_made_text(request, "text/plain; version=0.0.4; charset=utf-8", text, length);
}
