/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/status.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "text.h"

enum { EXIT_UNHEARD = 1 };

static void write_all(const char *text, size_t length)
{
    while (length) {
        ssize_t n = write(WORKER_STATUS_FD, text, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            _exit(EXIT_UNHEARD);
        text += n;
        length -= (size_t)n;
    }
}

void status_send(json_t *line)
{
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    json_decref(line);
    if (!text)
        _exit(EXIT_UNHEARD);
    write_all(text, strlen(text));
    write_all("\n", 1);
    free(text);
}

void status_send_error(const struct h5pt_error *err)
{
    status_send(json_pack("{s:{s:s, s:o, s:o}}", "error", "code", h5pt_code_name(err->code), "where",
                          text_json(err->where), "message", text_json(err->message)));
}

void status_send_progress(void *context, enum convert_stage stage, double fraction)
{
    static const double interval = 0.1;
    struct status_progress *progress = context;
    struct timespec clock;
    (void)clock_gettime(CLOCK_MONOTONIC, &clock);
    double now = (double)clock.tv_sec + 1e-9 * (double)clock.tv_nsec;
    if (progress->started && progress->stage == stage && now - progress->at < interval)
        return;
    *progress = (struct status_progress){.started = true, .stage = stage, .at = now};
    status_send(json_pack("{s:s, s:f}", "stage", convert_stage_name(stage), "fraction", fraction));
}
