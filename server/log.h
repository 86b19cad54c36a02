/* SPDX-License-Identifier: Apache-2.0 */
/* The log: one JSON object a line on standard error, {"time", "level", "event", …}. Safe from any thread. */
#ifndef H5PT_SERVER_LOG_H
#define H5PT_SERVER_LOG_H

#include <jansson.h>

#include "base/error.h"

enum log_level { LOG_INFO, LOG_WARNING, LOG_ERROR };

/* `fields` (taken; may be NULL) is an object whose members follow the event's name. */
void log_event(enum log_level level, const char *event, json_t *fields);

/* An event that reports an error: its code, place and message, then `fields`. */
void log_failure(enum log_level level, const char *event, const struct h5pt_error *err, json_t *fields);

#endif
