/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers about the service, in the text format of Prometheus (version 0.0.4). A series is a row of metrics.def with values
 * for its labels; it begins to exist when it is first touched. Safe from any thread. */
#ifndef H5PT_METRICS_METRICS_H
#define H5PT_METRICS_METRICS_H

#include <stddef.h>

enum metric {
#define METRIC(kind, id, labels, buckets, help) METRIC_##id,
#include "metrics/metrics.def"
#undef METRIC
    METRIC_COUNT
};

struct metrics;

struct metrics *metrics_new(void);          /* NULL without memory */
void metrics_free(struct metrics *metrics); /* NULL-safe */

/* `labels`: a value for each label of the row, in its order; NULL for a row without. A series for which there is no memory
 * is not counted. */
void metrics_add(struct metrics *metrics, enum metric metric, const char *const *labels, double amount);
void metrics_set(struct metrics *metrics, enum metric metric, const char *const *labels, double value);
void metrics_observe(struct metrics *metrics, enum metric metric, const char *const *labels, double value);

#define METRIC_LABELS(...) ((const char *const[]){__VA_ARGS__})

/* All series with their HELP and TYPE. Owned by the caller, *ret_length without the NUL; NULL without memory. */
char *metrics_print(struct metrics *metrics, size_t *ret_length);

#endif
