/* SPDX-License-Identifier: Apache-2.0 */
#include "layers/activation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/words.h"
#include "layers/axes.h"
#include "layers/variants.h"

static const struct activation_row table[ACTIVATION_COUNT] = {
#define ACTIVATION(id, names, versions, torch) {names, versions, TORCH_##torch},
#include "layers/activations.def"
#undef ACTIVATION
};

extern const struct layer_handler activation_handler;

const struct activation_row *activation_at(size_t index)
{
    return index < ACTIVATION_COUNT ? &table[index] : NULL;
}

/* ---- reading ---- */

struct activation activation_default(enum activation_kind kind)
{
    struct activation a = {.kind = kind, .max_value = (double)INFINITY, .axis_count = 1, .axes = {-1}};
    if (kind == ACTIVATION_LEAKY_RELU)
        a.slope = 0.2;
    else if (kind == ACTIVATION_ELU || kind == ACTIVATION_CELU)
        a.slope = 1.0;
    else if (kind == ACTIVATION_HARD_SHRINK || kind == ACTIVATION_SOFT_SHRINK)
        a.threshold = 0.5;
    return a;
}

static struct activation refuse_activation(struct config_reader *reader, const char *key, const char *name)
{
    config_refuse(reader, H5PT_UNSUPPORTED_ACTIVATION, key,
                  "The activation \"%.80s\" is not one of Keras' own in this version, or not supported", name);
    return activation_default(ACTIVATION_LINEAR);
}

/* Reads `config`, the object of an activation layer that stands for a function. */
static struct activation read_nested(struct config_reader *reader, const struct layer_class *class,
                                     const json_t *config)
{
    struct keras_layer layer = *reader->layer;
    layer.json = config;
    layer.class_name = class->name;
    struct config_reader nested;
    if (config_begin(&nested, &layer, reader->version, reader->arena, reader->refusals, NULL) < 0) {
        reader->refusals->broken = true;
        return activation_default(ACTIVATION_LINEAR);
    }
    struct activation a = activation_layer_read(&nested, class->variant);
    config_finish(&nested);
    return a;
}

static struct activation read_name(struct config_reader *reader, const char *key, const char *name)
{
    const char *version = reader->version.major >= 3 ? "3" : reader->version.tf ? "tf" : "2";
    for (int kind = 0; kind < ACTIVATION_COUNT; kind++)
        if (word_index(table[kind].names, name) >= 0 && word_index(table[kind].versions, version) >= 0)
            return activation_default((enum activation_kind)kind);
    /* tf.keras takes the name of an activation layer for that layer with its defaults. */
    const struct layer_class *class = reader->version.tf ? layer_class_find(name) : NULL;
    if (!class || class->handler != &activation_handler || class->variant == ACTIVATION_LAYER_NAMED)
        return refuse_activation(reader, key, name);
    json_t *empty = json_object();
    if (!empty)
        reader->refusals->broken = true;
    struct activation a = empty ? read_nested(reader, class, empty) : activation_default(ACTIVATION_LINEAR);
    json_decref(empty);
    return a;
}

/* A function written out as an object. Those from "builtins" are the author's own, whatever their name, except the ones that
 * TensorFlow names in its own way. */
static struct activation read_function(struct config_reader *reader, const char *key, const json_t *object)
{
    const char *name = json_string_value(json_object_get(object, "config"));
    const char *module = json_string_value(json_object_get(object, "module"));
    if (!name)
        return refuse_activation(reader, key, "function");
    bool own = module && (strcmp(module, "builtins") == 0 || strncmp(module, "__main__", 8) == 0);
    if (own && word_index("softmax_v2 log_softmax_v2", name) < 0)
        return refuse_activation(reader, key, name);
    return read_name(reader, key, name);
}

static struct activation read_any(struct config_reader *reader, const char *key)
{
    const json_t *value = config_get(reader, key);
    if (!value)
        return activation_default(ACTIVATION_LINEAR);
    if (json_is_string(value))
        return read_name(reader, key, json_string_value(value));
    const char *class_name = config_class_name(value);
    if (!class_name)
        return refuse_activation(reader, key, json_is_object(value) ? "object" : "value");
    if (strcmp(class_name, "function") == 0)
        return read_function(reader, key, value);
    const struct layer_class *class = layer_class_find(class_name);
    const json_t *config = json_object_get(value, "config");
    if (!class || class->handler != &activation_handler || !json_is_object(config))
        return refuse_activation(reader, key, class_name);
    return read_nested(reader, class, config);
}

struct activation activation_read_glu(struct config_reader *reader, const char *key)
{
    return read_any(reader, key);
}

struct activation activation_read(struct config_reader *reader, const char *key)
{
    struct activation a = read_any(reader, key);
    if (a.kind == ACTIVATION_GLU) {
        config_refuse(
            reader, H5PT_UNSUPPORTED_ACTIVATION, key,
            "The activation \"glu\" halves the features: Keras declares another output shape for this layer than it "
            "computes, and no other layer can follow it");
        a = activation_default(ACTIVATION_LINEAR);
    }
    return a;
}

static double read_limit(struct config_reader *reader, const char *key, double absent)
{
    double value = config_double(reader, key, absent);
    if (value >= 0)
        return value;
    config_refuse(reader, H5PT_CONFIG_INVALID, key, "\"%s\" is %g, but must not be negative", key, value);
    return 0;
}

struct activation activation_layer_read(struct config_reader *reader, int variant)
{
    struct activation a = activation_default(ACTIVATION_RELU);
    switch ((enum activation_layer_variant)variant) {
    case ACTIVATION_LAYER_NAMED: return activation_read_glu(reader, "activation");
    case ACTIVATION_LAYER_RELU:
        a.max_value = read_limit(reader, "max_value", (double)INFINITY);
        a.slope = read_limit(reader, "negative_slope", 0);
        a.threshold = read_limit(reader, "threshold", 0);
        break;
    case ACTIVATION_LAYER_LEAKY_RELU:
        a.kind = ACTIVATION_LEAKY_RELU;
        a.slope = config_double(reader, "negative_slope", config_double(reader, "alpha", 0.3));
        break;
    case ACTIVATION_LAYER_ELU:
        a.kind = ACTIVATION_ELU;
        a.slope = config_double(reader, "alpha", 1);
        break;
    case ACTIVATION_LAYER_THRESHOLDED_RELU:
        a.kind = ACTIVATION_THRESHOLD;
        a.threshold = config_double(reader, "theta", 1);
        break;
    case ACTIVATION_LAYER_SOFTMAX: {
        struct axis_list list = axis_list_read(reader, "axis", -1);
        a.kind = ACTIVATION_SOFTMAX;
        a.zeroes_masked = reader->version.major >= 3;
        a.axis_count = list.count;
        memcpy(a.axes, list.axes, sizeof a.axes);
        if (json_is_null(json_object_get(reader->json, "axis")) || !list.count)
            config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "axis", "A softmax over the whole batch is not supported");
        break;
    }
    }
    return a;
}

bool activation_has_axes(const struct activation *activation)
{
    switch (activation->kind) {
    case ACTIVATION_SOFTMAX:
    case ACTIVATION_LOG_SOFTMAX:
    case ACTIVATION_SPARSEMAX:
    case ACTIVATION_GLU: return true;
    default: return false;
    }
}

/* ---- reference ---- */

static double limit(double x, double minimum, double maximum)
{
    return x < minimum ? minimum : x > maximum ? maximum : x;
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double softplus(double x)
{
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

static double relu(const struct activation *a, double x)
{
    if (isnan(x))
        return x;
    if (x <= a->threshold)
        return a->slope == 0 ? 0 : a->slope * (x - a->threshold);
    return x < a->max_value ? x : a->max_value;
}

/* The logistic and hyperbolic family. */
static double smooth(const struct activation *a, double x)
{
    switch (a->kind) {
    case ACTIVATION_ELU: return x > 0 ? x : a->slope * expm1(x);
    case ACTIVATION_SELU: return 1.0507009873554805 * (x > 0 ? x : 1.6732632423543772 * expm1(x));
    case ACTIVATION_CELU: return x > 0 ? x : a->slope * expm1(x / a->slope);
    case ACTIVATION_GELU: return 0.5 * x * erfc(-x * 0.70710678118654752440);
    case ACTIVATION_SILU: return x * sigmoid(x);
    case ACTIVATION_MISH: return x * tanh(softplus(x));
    case ACTIVATION_SIGMOID: return sigmoid(x);
    case ACTIVATION_TANH: return tanh(x);
    case ACTIVATION_SOFTPLUS: return softplus(x);
    case ACTIVATION_SOFTSIGN: return x / (1 + fabs(x));
    case ACTIVATION_EXPONENTIAL: return exp(x);
    case ACTIVATION_LOG_SIGMOID: return -softplus(-x);
    case ACTIVATION_TANH_SHRINK: return x - tanh(x);
    /* in float32, as Keras does: for large negative x nothing is left of the sum, and both sides must agree on that */
    case ACTIVATION_SQUAREPLUS: return (double)(((float)x + sqrtf((float)x * (float)x + 4.0f)) / 2.0f);
    default: return x;
    }
}

static double apply(const struct activation *a, double x)
{
    switch (a->kind) {
    case ACTIVATION_LINEAR: return x;
    case ACTIVATION_RELU: return relu(a, x);
    case ACTIVATION_RELU6: return limit(x, 0, 6);
    case ACTIVATION_LEAKY_RELU: return x > 0 ? x : a->slope * x;
    case ACTIVATION_HARD_SIGMOID: return limit(x + 3, 0, 6) / 6;
    case ACTIVATION_HARD_SIGMOID_LEGACY: return limit(0.2 * x + 0.5, 0, 1);
    case ACTIVATION_HARD_SILU: return x * (limit(x + 3, 0, 6) / 6);
    case ACTIVATION_HARD_TANH: return limit(x, -1, 1);
    case ACTIVATION_HARD_SHRINK: return fabs(x) > a->threshold ? x : 0;
    case ACTIVATION_SOFT_SHRINK: return x > a->threshold ? x - a->threshold : x < -a->threshold ? x + a->threshold : 0;
    case ACTIVATION_THRESHOLD: return x <= (double)(float)a->threshold ? a->value : x;
    case ACTIVATION_SPARSE_SIGMOID: return limit(0.5 * (x + 1), 0, 1);
    case ACTIVATION_SPARSE_PLUS: return x <= -1 ? 0 : x < 1 ? 0.25 * (x + 1) * (x + 1) : x;
    default: return smooth(a, x);
    }
}

/* Softmax or its logarithm over any axes: each group of elements is found by the walk over the other axes. */
static int softmax(const struct activation *a, struct tensor *x, int count, const int *axes, struct h5pt_error *err)
{
    struct shape kept = shape_without(&x->shape, count, axes);
    int64_t groups;
    if (!shape_count(&kept, &groups))
        return h5pt_fail(err, H5PT_INTERNAL, NULL, "A softmax is too large");
    double *most = malloc(((size_t)groups + 1) * sizeof *most), *sum = calloc((size_t)groups + 1, sizeof *sum);
    int ret = most && sum ? 0 : h5pt_fail_memory(err);
    struct walk walk;
    for (int64_t i = 0; !ret && i < groups; i++)
        most[i] = -(double)INFINITY;
    walk_begin(&walk, &x->shape, &kept);
    for (int64_t i = 0; !ret && i < x->count; i++, walk_next(&walk))
        if (!((double)x->data[i] <= most[walk.offset]))
            most[walk.offset] = (double)x->data[i];
    walk_begin(&walk, &x->shape, &kept);
    for (int64_t i = 0; !ret && i < x->count; i++, walk_next(&walk))
        sum[walk.offset] += exp((double)x->data[i] - most[walk.offset]);
    walk_begin(&walk, &x->shape, &kept);
    for (int64_t i = 0; !ret && i < x->count; i++, walk_next(&walk)) {
        double d = (double)x->data[i] - most[walk.offset];
        x->data[i] = (float)(a->kind == ACTIVATION_SOFTMAX ? exp(d) / sum[walk.offset] : d - log(sum[walk.offset]));
    }
    free(most);
    free(sum);
    return ret;
}

static int descending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* max(x - tau, 0), as Keras computes tau: from the sum of the partial sums over the support, which is the sum that the
 * literature has only where one element is in it. In float32, since a last bit decides whether one is. */
static int sparsemax(struct tensor *x, int axis, struct h5pt_error *err)
{
    int64_t n = x->shape.dims[axis], inner = 1;
    for (int i = axis + 1; i < x->shape.rank; i++)
        inner *= x->shape.dims[i];
    float *sorted = malloc(((size_t)n + 1) * sizeof *sorted);
    if (!sorted)
        return h5pt_fail_memory(err);
    for (int64_t i = 0; n && i < x->count / n; i++) {
        float *row = x->data + i / inner * inner * n + i % inner;
        for (int64_t k = 0; k < n; k++)
            sorted[k] = row[k * inner];
        qsort(sorted, (size_t)n, sizeof *sorted, descending);
        float partial = 0, total = 0, support = 0;
        for (int64_t k = 0; k < n; k++) {
            partial += sorted[k];
            if (sorted[k] - (partial - 1) / (float)(k + 1) > 0) {
                total += partial;
                support++;
            }
        }
        float tau = (total - 1) / support;
        for (int64_t k = 0; k < n; k++) {
            float y = row[k * inner] - tau;
            row[k * inner] = y <= 0 ? 0 : y;
        }
    }
    free(sorted);
    return 0;
}

int activation_reference(const struct activation *activation, struct tensor *x, struct h5pt_error *err)
{
    if (activation->kind == ACTIVATION_LINEAR)
        return 0;
    if (!activation_has_axes(activation)) {
        for (int64_t i = 0; i < x->count; i++)
            x->data[i] = (float)apply(activation, (double)x->data[i]);
        return 0;
    }
    struct axis_list list = {.count = activation->axis_count};
    memcpy(list.axes, activation->axes, sizeof list.axes);
    int axes[SHAPE_MAX_RANK], count = axis_list_resolve(&list, x->shape.rank, axes);
    if (count < 1)
        return h5pt_fail(err, H5PT_SHAPE_MISMATCH, NULL, "The input has no such axis as the activation names");
    if (activation->kind == ACTIVATION_SPARSEMAX)
        return sparsemax(x, axes[0], err);
    return softmax(activation, x, count, axes, err);
}

void activation_reference_glu(const struct tensor *x, struct tensor *out)
{
    int64_t half = out->shape.dims[out->shape.rank - 1];
    for (int64_t i = 0; half && i < out->count; i++) {
        const float *row = x->data + i / half * half * 2 + i % half;
        out->data[i] = (float)((double)row[0] * sigmoid((double)row[half]));
    }
}
