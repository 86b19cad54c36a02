/* SPDX-License-Identifier: Apache-2.0 */
#include "log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "text.h"

static const char *const level_names[] = {[LOG_INFO] = "info", [LOG_WARNING] = "warning", [LOG_ERROR] = "error"};

void log_event(enum log_level level, const char *event, json_t *fields)
{
    char time[TEXT_TIME_SIZE];
    json_t *line = json_pack("{s:s, s:s, s:s}", "time", text_time(text_now_ms(), time), "level", level_names[level],
                             "event", event);
    if (line && fields)
        (void)json_object_update_missing(line, fields);
    json_decref(fields);
    char *text = json_dumps(line, JSON_COMPACT);
    json_decref(line);
    if (!text)
        return;
    size_t length = strlen(text);
    text[length] = '\n'; /* in place of the NUL, so that the line is one write */
    ssize_t written = write(STDERR_FILENO, text, length + 1);
    (void)written; /* nowhere left to say so */
    free(text);
}

void log_failure(enum log_level level, const char *event, const struct h5pt_error *err, json_t *fields)
{
    json_t *all = json_pack("{s:s, s:o, s:o}", "code", h5pt_code_name(err->code), "where", text_json(err->where),
                            "message", text_json(err->message));
    if (all && fields)
        (void)json_object_update_missing(all, fields);
    json_decref(fields);
    log_event(level, event, all);
}
