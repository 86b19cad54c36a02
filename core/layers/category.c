/* SPDX-License-Identifier: Apache-2.0 */
/* CategoryEncoding and Discretization: vectors for categories, and categories for numbers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "layers/compose.h"
#include "layers/encoding.h"

static const struct lowered no_weights = {.id = -1};

/* ---- CategoryEncoding ---- */

struct category_config {
    struct encoding encoding;
};

static void category_read(struct config_reader *reader, void *config, int variant)
{
    struct category_config *c = config;
    (void)variant;
    c->encoding.mode = encoding_read_mode(reader, ENCODING_MULTI_HOT);
    if (c->encoding.mode == ENCODING_INT)
        config_refuse(reader, H5PT_CONFIG_INVALID, "output_mode", "CategoryEncoding has no output mode \"int\"");
    /* TensorFlow 2.3 called it max_tokens. */
    const char *key = json_object_get(reader->json, "num_tokens") ? "num_tokens" : "max_tokens";
    c->encoding.depth = config_size(reader, key, 1);
}

/* The input that holds count_weights, or -1. */
static int count_weights(const json_t *arguments)
{
    return layer_argument_tensor(layer_argument(arguments, 1, "count_weights"));
}

static int category_shape(struct layer_shape *s)
{
    const struct category_config *c = s->config;
    int weights = count_weights(s->arguments);
    if (s->input_count != (weights >= 0 ? 2 : 1) || weights == 0)
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_CALL_ARGUMENT, "args",
                         "It takes a tensor of indices, and count_weights");
    if (weights > 0 && c->encoding.mode != ENCODING_COUNT)
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_CALL_ARGUMENT, "count_weights",
                         "count_weights has a meaning in the output mode \"count\" only");
    if (weights > 0 && !shape_equal(&s->inputs[0], &s->inputs[weights]))
        return layer_shape_fail(s, "count_weights must have the shape of the indices");
    return encoding_shape(s, &c->encoding);
}

static int category_reference(const struct layer_run *run)
{
    const struct category_config *c = run->config;
    int weights = count_weights(run->arguments);
    encoding_reference(run, &c->encoding, run->inputs[0]->data, weights > 0 ? run->inputs[weights]->data : NULL);
    return 0;
}

static int category_lower(struct lowering *l, const struct keras_call *call)
{
    const struct category_config *c = call->layer->config;
    int index = count_weights(call->arguments);
    struct lowered x = lower_cast(l, call, lower_input_keras(l, call, 0), DTYPE_I64), weights = no_weights;
    if (index > 0)
        weights = lower_float(l, call, lower_input_keras(l, call, index));
    x = encoding_lower(l, call, &c->encoding, x, weights);
    return lower_output(l, call, 0, x);
}

const struct layer_handler category_handler = {
    .config_size = sizeof(struct category_config),
    .read = category_read,
    .shape = category_shape,
    .reference = category_reference,
    .lower = category_lower,
};

/* ---- Discretization ---- */

/* The boundaries of an adapted layer are not always in the configuration: tf.keras keeps what it has learned, "summary",
 * (2, N): values in ascending order and how much each of them stands for. */
struct discretization_config {
    struct encoding encoding;
    bool adapted;
    int64_t bins; /* of an adapted layer: wanted */
    int count;    /* boundaries */
    const float *boundaries;
};

static void read_boundaries(struct config_reader *reader, struct discretization_config *c)
{
    const double *values = NULL;
    bool old = json_object_get(reader->json, "bins") != NULL;
    int count = config_doubles(reader, old ? "bins" : "bin_boundaries", &values);
    float *copy = count < 0 ? NULL : ARENA_ARRAY(reader->arena, float, (size_t)count + 1);
    c->bins = config_int(reader, "num_bins", 0);
    c->adapted = count < 0;
    if (c->adapted && reader->version.major >= 3)
        config_refuse(reader, H5PT_CONFIG_INVALID, "bin_boundaries", "The layer has no boundaries: it was not adapted");
    else if (c->adapted && (c->bins < 1 || c->bins > 1 << 20))
        config_refuse(reader, H5PT_CONFIG_INVALID, "num_bins",
                      "Neither bin_boundaries nor a sensible num_bins is there");
    for (int i = 0; copy && i < count; i++) {
        copy[i] = (float)values[i];
        if (i && copy[i] < copy[i - 1])
            config_refuse(reader, H5PT_CONFIG_INVALID, "bin_boundaries", "The boundaries are not in ascending order");
    }
    c->count = count;
    c->boundaries = copy;
    c->encoding.depth = (c->adapted ? c->bins - 1 : count) + 1;
}

static void discretization_read(struct config_reader *reader, void *config, int variant)
{
    struct discretization_config *c = config;
    (void)variant;
    config_ignore(reader, "epsilon dtype");
    c->encoding.mode = encoding_read_mode(reader, ENCODING_INT);
    c->encoding.ints = reader->version.major >= 3 ? DTYPE_I32 : DTYPE_I64;
    read_boundaries(reader, c);
}

static int discretization_shape(struct layer_shape *s)
{
    const struct discretization_config *c = s->config;
    if (c->adapted) {
        /* With fewer values than bins every value would be a boundary: then the depth of vectors is theirs. */
        layer_weight(s, "summary", 2, (const int64_t[]){2, DIM_UNKNOWN});
        if (c->encoding.mode != ENCODING_INT)
            return h5pt_fail(s->err, H5PT_UNSUPPORTED_CONFIG, "output_mode",
                             "The number of bins of the adapted layer is not in the configuration");
    }
    return encoding_shape(s, &c->encoding);
}

/* numpy's interp: y at `at`, where x ascends. */
static double interpolate(const double *x, const float *y, int64_t n, double at)
{
    if (at <= x[0])
        return (double)y[0];
    for (int64_t i = 1; i < n; i++)
        if (at < x[i])
            return ((double)y[i] - (double)y[i - 1]) / (x[i] - x[i - 1]) * (at - x[i - 1]) + (double)y[i - 1];
    return (double)y[n - 1];
}

/* How many boundaries a summary of n values gives: all but the last of them when they are few; else as many as numpy's arange
 * from 0 to 1 has steps, which rounding can make one more than the bins. */
static int64_t boundary_count(int64_t n, int64_t bins)
{
    double step = 1.0 / (double)bins;
    if ((double)n * step < 1)
        return n > 0 ? n - 1 : 0;
    return (int64_t)ceil(1.0 / step) - 1;
}

/* The boundaries that Keras makes of a summary; *ret is to be freed. */
static int boundaries_of(const struct tensor *summary, int64_t bins, float **ret, int64_t *ret_count)
{
    int64_t n = summary->shape.dims[1];
    const float *values = summary->data, *weights = summary->data + n;
    double step = 1.0 / (double)bins, *share = calloc((size_t)n + 1, sizeof *share);
    float *out = calloc((size_t)(n > bins ? n : bins) + 2, sizeof *out), total = 0;
    if (!share || !out) {
        free(share);
        free(out);
        return -1;
    }
    *ret = out;
    *ret_count = boundary_count(n, bins);
    if ((double)n * step < 1) {
        memcpy(out, values, (size_t)*ret_count * sizeof *out);
        free(share);
        return 0;
    }
    for (int64_t i = 0; i < n; i++) {
        total += weights[i];
        share[i] = (double)total;
    }
    for (int64_t i = 0; i < n; i++)
        share[i] = (double)((float)share[i] / total);
    for (int64_t i = 0; i < *ret_count; i++)
        out[i] = (float)interpolate(share, values, n, step + (double)i * step);
    free(share);
    return 0;
}

/* How many boundaries are not above x. */
static float bin_of(const float *boundaries, int64_t count, float x)
{
    int64_t low = 0, high = count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (boundaries[middle] <= x)
            low = middle + 1;
        else
            high = middle;
    }
    return (float)low;
}

static int discretization_reference(const struct layer_run *run)
{
    const struct discretization_config *c = run->config;
    const struct tensor *x = run->inputs[0];
    const float *boundaries = c->boundaries;
    float *own = NULL, *bins = malloc((size_t)x->count * sizeof *bins + 1);
    int64_t count = c->count;
    if (!bins || (c->adapted && boundaries_of(run->weights[0], c->bins, &own, &count) < 0)) {
        free(bins);
        return h5pt_fail_memory(run->err);
    }
    if (own)
        boundaries = own;
    for (int64_t i = 0; i < x->count; i++)
        bins[i] = bin_of(boundaries, count, x->data[i]);
    encoding_reference(run, &c->encoding, bins, NULL);
    free(own);
    free(bins);
    return 0;
}

static struct lowered lower_boundaries(struct lowering *l, const struct keras_call *call)
{
    const struct discretization_config *c = call->layer->config;
    struct layout vector = layout_keras(1), matrix = layout_keras(2);
    struct shape shape = shape_of(1, (const int64_t[]){c->count});
    if (!c->adapted)
        return lower_constant_value(l, call, "boundaries", &shape, &vector, c->boundaries);
    const struct shape *summary = &lower_weight(call, "summary")->shape;
    struct lowered x = lower_weight_value(l, call, "summary", summary, &matrix);
    struct torch_attr bins = attr_int("num_bins", c->bins);
    shape.dims[0] = boundary_count(summary->dims[1], c->bins);
    x.id = lower_function(l, call, TORCH_BIN_BOUNDARIES, x.id, 1, &bins, shape, DTYPE_F32);
    x.layout = vector;
    return x;
}

static int discretization_lower(struct lowering *l, const struct keras_call *call)
{
    const struct discretization_config *c = call->layer->config;
    struct lowered x = lower_float(l, call, lower_input_keras(l, call, 0)), boundaries = lower_boundaries(l, call);
    if (x.id < 0 || boundaries.id < 0)
        return -1;
    struct torch_attr right = attr_bool("right", true);
    x.id = lower_function2(l, call, TORCH_BUCKETIZE, x.id, boundaries.id, 1, &right, lower_shape(l, x.id), DTYPE_I64);
    x = encoding_lower(l, call, &c->encoding, x, no_weights);
    return lower_output(l, call, 0, x);
}

const struct layer_handler discretization_handler = {
    .config_size = sizeof(struct discretization_config),
    .read = discretization_read,
    .shape = discretization_shape,
    .reference = discretization_reference,
    .lower = discretization_lower,
};

/* ---- what the parity check asks ---- */

extern const struct layer_handler lookup_handler;
int64_t lookup_tokens(const struct keras_layer *layer, const float **ret);

int64_t encoding_categories(const struct keras_layer *layer, const float **ret_tokens)
{
    *ret_tokens = NULL;
    if (layer->class->handler == &category_handler)
        return ((const struct category_config *)layer->config)->encoding.depth;
    return layer->class->handler == &lookup_handler ? lookup_tokens(layer, ret_tokens) : 0;
}
