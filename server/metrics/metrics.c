/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics/metrics.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"

enum kind { COUNTER, GAUGE, HISTOGRAM };
enum buckets { NONE, SECONDS, BYTES, ERRORS };
/* More series than the tables can make: a bound all the same. */
enum { MAX_BUCKETS = 16, MAX_SERIES = 4096 };

static const double bounds[][MAX_BUCKETS] = {
    [NONE] = {0},
    [SECONDS] = {.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800},
    [BYTES] = {1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 25, 1 << 26, 1 << 27, 1 << 28, 1 << 29,
               1 << 30, 2147483648., 4294967296., 8589934592., 17179869184.},
    [ERRORS] = {0, 1e-9, 1e-8, 1e-7, 3e-7, 1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 1e-2, 1e-1, 1, 10},
};

static const struct row {
    enum kind kind;
    enum buckets buckets;
    const char *name, *labels, *help;
} rows[] = {
#define METRIC(kind, id, labels, buckets, help) {kind, buckets, "h5pt_" #id, labels, help},
#include "metrics/metrics.def"
#undef METRIC
};

struct series {
    enum metric metric;
    char *labels;                        /* route="/livez",method="GET"; "" for none */
    double value;                        /* of a histogram: the sum */
    uint64_t count, counts[MAX_BUCKETS]; /* of a histogram; not yet cumulative */
};

struct metrics {
    pthread_mutex_t lock;
    void *tree; /* tsearch, by metric and labels */
    size_t series;
};

static void free_series(void *node)
{
    struct series *series = node;
    free(series->labels);
    free(series);
}

void metrics_free(struct metrics *metrics)
{
    if (!metrics)
        return;
    tdestroy(metrics->tree, free_series);
    (void)pthread_mutex_destroy(&metrics->lock);
    free(metrics);
}

static int compare(const void *a, const void *b)
{
    const struct series *x = a, *y = b;
    if (x->metric != y->metric)
        return x->metric < y->metric ? -1 : 1;
    return strcmp(x->labels, y->labels);
}

static void put_value(struct strbuf *out, const char *value)
{
    for (; *value; value++)
        if (*value == '\n')
            strbuf_add(out, "\\n");
        else if (*value == '"' || *value == '\\')
            strbuf_addf(out, "\\%c", *value);
        else
            strbuf_add_bytes(out, value, 1);
}

/* name="value",… */
static void put_labels(struct strbuf *out, const char *names, const char *const *values)
{
    for (const char *p = names; *p;) {
        size_t n = strcspn(p, ",");
        strbuf_addf(out, "%s%.*s=\"", p == names ? "" : ",", (int)n, p);
        put_value(out, *values++);
        strbuf_add(out, "\"");
        p += n + (p[n] == ',');
    }
}

/* With the lock held; NULL when there is no memory for a new one. */
static struct series *find(struct metrics *metrics, enum metric metric, const char *const *values)
{
    struct strbuf labels = STRBUF_INIT;
    put_labels(&labels, rows[metric].labels, values);
    struct series *found = NULL;
    if (strbuf_ok(&labels)) {
        const struct series key = {.metric = metric, .labels = (char *)strbuf_text(&labels)};
        struct series *const *node = tfind(&key, &metrics->tree, compare);
        found = node ? *node : NULL;
    }
    if (!found && strbuf_ok(&labels) && metrics->series < MAX_SERIES && (found = calloc(1, sizeof *found))) {
        found->metric = metric;
        found->labels = strdup(strbuf_text(&labels));
        if (found->labels && tsearch(found, &metrics->tree, compare)) {
            metrics->series++;
        } else {
            free_series(found);
            found = NULL;
        }
    }
    strbuf_release(&labels);
    return found;
}

/* Series without labels are there from the start, so that a rate of them begins at 0. */
struct metrics *metrics_new(void)
{
    struct metrics *metrics = calloc(1, sizeof *metrics);
    if (!metrics)
        return NULL;
    (void)pthread_mutex_init(&metrics->lock, NULL);
    for (int i = 0; i < METRIC_COUNT; i++)
        if (!*rows[i].labels)
            (void)find(metrics, (enum metric)i, NULL);
    return metrics;
}

static void count(struct series *series, double value)
{
    const double *bound = bounds[rows[series->metric].buckets];
    series->value += value;
    series->count++;
    for (int i = 0; i < MAX_BUCKETS; i++)
        if (value <= bound[i]) {
            series->counts[i]++;
            return;
        }
}

void metrics_add(struct metrics *metrics, enum metric metric, const char *const *labels, double amount)
{
    (void)pthread_mutex_lock(&metrics->lock);
    struct series *series = find(metrics, metric, labels);
    if (series)
        series->value += amount;
    (void)pthread_mutex_unlock(&metrics->lock);
}

void metrics_set(struct metrics *metrics, enum metric metric, const char *const *labels, double value)
{
    (void)pthread_mutex_lock(&metrics->lock);
    struct series *series = find(metrics, metric, labels);
    if (series)
        series->value = value;
    (void)pthread_mutex_unlock(&metrics->lock);
}

void metrics_observe(struct metrics *metrics, enum metric metric, const char *const *labels, double value)
{
    (void)pthread_mutex_lock(&metrics->lock);
    struct series *series = find(metrics, metric, labels);
    if (series)
        count(series, value);
    (void)pthread_mutex_unlock(&metrics->lock);
}

/* ---- printing ---- */

static void print_sample(struct strbuf *out, const char *name, const char *suffix, const char *labels, const char *more,
                         double value)
{
    const char *comma = *labels && *more ? "," : "";
    strbuf_addf(out, "%s%s", name, suffix);
    if (*labels || *more)
        strbuf_addf(out, "{%s%s%s}", labels, comma, more);
    if (fabs(value) < 9e15 && value == (double)(int64_t)value)
        strbuf_addf(out, " %" PRId64 "\n", (int64_t)value);
    else
        strbuf_addf(out, " %.17g\n", value);
}

static void print_histogram(struct strbuf *out, const struct series *series)
{
    const struct row *row = &rows[series->metric];
    uint64_t sum = 0;
    for (int i = 0; i < MAX_BUCKETS; i++) {
        char le[40];
        (void)snprintf(le, sizeof le, "le=\"%.10g\"", bounds[row->buckets][i]);
        sum += series->counts[i];
        print_sample(out, row->name, "_bucket", series->labels, le, (double)sum);
    }
    print_sample(out, row->name, "_bucket", series->labels, "le=\"+Inf\"", (double)series->count);
    print_sample(out, row->name, "_sum", series->labels, "", series->value);
    print_sample(out, row->name, "_count", series->labels, "", (double)series->count);
}

struct printing {
    struct strbuf out;
    const struct series *last;
};

static void print_series(const struct series *series, struct printing *p)
{
    static const char *const kinds[] = {[COUNTER] = "counter", [GAUGE] = "gauge", [HISTOGRAM] = "histogram"};
    const struct row *row = &rows[series->metric];
    if (!p->last || p->last->metric != series->metric)
        strbuf_addf(&p->out, "# HELP %s %s\n# TYPE %s %s\n", row->name, row->help, row->name, kinds[row->kind]);
    p->last = series;
    if (row->kind == HISTOGRAM)
        print_histogram(&p->out, series);
    else
        print_sample(&p->out, row->name, "", series->labels, "", series->value);
}

static void visit(const void *node, VISIT which, void *closure)
{
    if (which == postorder || which == leaf)
        print_series(*(const struct series *const *)node, closure);
}

char *metrics_print(struct metrics *metrics, size_t *ret_length)
{
    struct printing p = {.out = STRBUF_INIT};
    (void)pthread_mutex_lock(&metrics->lock);
    twalk_r(metrics->tree, visit, &p);
    (void)pthread_mutex_unlock(&metrics->lock);
    if (!strbuf_ok(&p.out)) {
        strbuf_release(&p.out);
        return NULL;
    }
    *ret_length = p.out.length;
    return p.out.text;
}
