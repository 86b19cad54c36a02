/* SPDX-License-Identifier: Apache-2.0 */
/* BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy and PSNR: how far a tensor is from another. */
#include <math.h>
#include <string.h>

#include "layers/loss.h"
#include "layers/operation.h"
#include "layers/variants.h"

extern const struct layer_handler op_loss_handler;

/* keras.config.epsilon(): what probabilities are kept away from 0 and 1. */
static const float least = 1e-7f, most = 1.0f - 1e-7f;

struct loss_config {
    enum loss_variant variant;
    bool from_logits;
    int64_t axis;
    double max_val;
};

static void op_loss_read(struct config_reader *reader, void *config, int variant)
{
    struct loss_config *c = config;
    c->variant = (enum loss_variant)variant;
    c->axis = -1;
    if (c->variant == LOSS_PSNR) {
        c->max_val = config_double(reader, "max_val", 1);
        if (!(c->max_val > 0))
            config_refuse(reader, H5PT_CONFIG_INVALID, "max_val", "\"max_val\" must be positive");
        return;
    }
    c->from_logits = config_bool(reader, "from_logits", false);
    if (c->variant != LOSS_BINARY)
        c->axis = config_int(reader, "axis", -1);
}

/* The two tensors: target and output. */
static bool find_tensors(const struct loss_config *c, const json_t *arguments, int ret[2])
{
    bool psnr = c->variant == LOSS_PSNR;
    ret[0] = layer_argument_tensor(layer_argument(arguments, 0, psnr ? "x1" : "target"));
    ret[1] = layer_argument_tensor(layer_argument(arguments, 1, psnr ? "x2" : "output"));
    return ret[0] >= 0 && ret[1] >= 0;
}

/* Whether sparse targets have the axis of the classes, with size 1. */
static bool has_axis(const struct shape *target, const struct shape *output)
{
    return target->rank == output->rank && target->rank > 0 && target->dims[target->rank - 1] == 1;
}

static bool same_shape(const struct shape *a, const struct shape *b, int rank)
{
    for (int i = 0; i < rank; i++)
        if (a->dims[i] != b->dims[i] && a->dims[i] != DIM_UNKNOWN && b->dims[i] != DIM_UNKNOWN)
            return false;
    return true;
}

static int op_loss_shape(struct layer_shape *s)
{
    const struct loss_config *c = s->config;
    int at[2] = {-1, -1};
    if (!find_tensors(c, s->arguments, at))
        return operand_fail(s, "target");
    const struct shape *target = &s->inputs[at[0]], *output = &s->inputs[at[1]];
    bool sparse = c->variant == LOSS_SPARSE, floats = s->input_dtypes[at[0]] == DTYPE_F32;
    if (s->input_dtypes[at[1]] != DTYPE_F32 || (sparse ? floats : !floats))
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_DTYPE, "dtype",
                         "%s is supported for float32, and with sparse targets for integers", s->layer->class_name);
    int rank = sparse ? output->rank - 1 : output->rank;
    if (target->rank != rank && !(sparse && has_axis(target, output)))
        return layer_shape_fail(s, "The target does not have the shape of the output");
    if (!same_shape(target, output, rank))
        return layer_shape_fail(s, "The target does not have the shape of the output");
    s->outputs[0] = *output;
    if (c->variant == LOSS_PSNR)
        s->outputs[0].rank = 0;
    if (c->variant == LOSS_BINARY || c->variant == LOSS_PSNR)
        return 0;
    int axis = axis_resolve(c->axis, output->rank);
    if (axis < 0 || (sparse && axis != output->rank - 1))
        return layer_shape_fail(s, "The axis of %s does not fit", s->layer->class_name);
    for (int i = axis; i + 1 < output->rank; i++)
        s->outputs[0].dims[i] = output->dims[i + 1];
    s->outputs[0].rank--;
    return 0;
}

/* ---- reference ---- */

static double probability(float p)
{
    return (double)(p < least ? least : p > most ? most : p);
}

static double binary(const struct loss_config *c, double target, float output)
{
    double x = (double)output, p = probability(output);
    if (c->from_logits)
        return fmax(x, 0) - x * target + log1p(exp(-fabs(x)));
    return -(target * log(p) + (1 - target) * log(1 - p));
}

/* Of the `n` classes that lie `step` cells apart; `target` is NULL when `index` is the class. */
static double categorical(const struct loss_config *c, const float *target, int64_t index, const float *x, int64_t n,
                          int64_t step)
{
    double sum = 0, total = 0, largest = -INFINITY;
    bool softmax = c->from_logits || !target;
    for (int64_t i = 0; i < n; i++)
        largest = fmax(largest, c->from_logits ? (double)x[i * step] : log(probability(x[i * step])));
    for (int64_t i = 0; i < n; i++) {
        double logit = c->from_logits ? (double)x[i * step] : log(probability(x[i * step]));
        total += softmax ? exp(logit - largest) : (double)x[i * step];
    }
    for (int64_t i = 0; i < n; i++) {
        double logit = c->from_logits ? (double)x[i * step] : log(probability(x[i * step]));
        double log_p = softmax ? logit - largest - log(total) : log(probability((float)((double)x[i * step] / total)));
        sum -= (target ? (double)target[i * step] : i == index ? 1.0 : 0.0) * log_p;
    }
    return target || (index >= 0 && index < n) ? sum : NAN;
}

static int op_loss_reference(const struct layer_run *run)
{
    const struct loss_config *c = run->config;
    struct tensor *y = run->outputs[0];
    int at[2] = {-1, -1};
    if (!find_tensors(c, run->arguments, at))
        return h5pt_fail(run->err, H5PT_INTERNAL, run->layer->path, "The arguments are not as they were");
    const struct tensor *target = run->inputs[at[0]], *x = run->inputs[at[1]];
    if (c->variant == LOSS_PSNR) {
        double sum = 0;
        for (int64_t i = 0; i < x->count; i++)
            sum += pow((double)target->data[i] - (double)x->data[i], 2);
        y->data[0] = (float)(20 * log10(c->max_val) - 10 * log10(sum / (double)x->count));
        return 0;
    }
    int axis = axis_resolve(c->axis, x->shape.rank);
    int64_t n = c->variant == LOSS_BINARY ? 1 : x->shape.dims[axis], step = 1;
    for (int i = axis + 1; i < x->shape.rank; i++)
        step *= x->shape.dims[i];
    for (int64_t i = 0; i < y->count; i++) {
        int64_t first = i / step * n * step + i % step;
        if (c->variant == LOSS_BINARY)
            y->data[i] = (float)binary(c, (double)target->data[i], x->data[i]);
        else if (c->variant == LOSS_SPARSE)
            y->data[i] = (float)categorical(c, NULL, (int64_t)target->data[i], x->data + first, n, step);
        else
            y->data[i] = (float)categorical(c, target->data + first, 0, x->data + first, n, step);
    }
    return 0;
}

int64_t loss_classes(const struct keras_call *call, const struct keras_value **ret_target)
{
    int at[2] = {-1, -1};
    const struct loss_config *c = call->layer->config;
    if (call->layer->class->handler != &op_loss_handler || c->variant != LOSS_SPARSE ||
        !find_tensors(c, call->arguments, at))
        return 0;
    const struct shape *output = &call->inputs[at[1]]->shape;
    *ret_target = call->inputs[at[0]];
    return output->dims[output->rank - 1];
}

/* ---- lowering ---- */

/* What sigmoid and softmax give remembers what it was computed from, and Keras takes that instead, whatever function it was. */
static bool hides_logits(const struct keras_value *value)
{
    static const char *const operations[] = {"Sigmoid",         "Softmax",  "Cast",        "SaturateCast",
                                             "ConvertToTensor", "Autocast", "StopGradient"};
    const struct keras_layer *layer = value->call ? value->call->layer : NULL;
    if (!layer || strcmp(layer->class_name, "InputLayer") == 0)
        return false;
    bool operation = layer->operation || !json_object_get(layer->json, "trainable");
    for (size_t i = 0; operation && i < sizeof operations / sizeof *operations; i++)
        if (strcmp(layer->class_name, operations[i]) == 0)
            return true;
    const char *activation = json_string_value(json_object_get(layer->json, "activation"));
    return !operation && (!activation || strcmp(activation, "sigmoid") == 0 || strcmp(activation, "softmax") == 0);
}

static struct lowered reduce_dims(struct lowering *l, const struct keras_call *call, enum torch_op op, struct lowered x,
                                  int count, const int64_t *dims, bool keep)
{
    struct shape shape = lower_shape(l, x.id), out = {.rank = 0};
    for (int i = 0; i < shape.rank; i++) {
        bool reduced = false;
        for (int k = 0; k < count; k++)
            reduced = reduced || dims[k] == i;
        if (keep || !reduced)
            out.dims[out.rank++] = reduced ? 1 : shape.dims[i];
    }
    struct torch_attr attrs[] = {attr_list(l, "dim", count, dims), attr_bool("keepdim", true)};
    return lower_one(l, call, op, x, out, layout_keras(out.rank), DTYPE_F32, keep ? 2 : 1, attrs);
}

static struct lowered lower_psnr(struct lowering *l, const struct keras_call *call, const struct loss_config *c,
                                 struct lowered a, struct lowered b)
{
    int64_t dims[SHAPE_MAX_RANK] = {0, 1, 2, 3, 4, 5, 6, 7};
    struct lowered x = lower_map(l, call, TORCH_SQUARE, lower_join(l, call, TORCH_SUB, a, b, DTYPE_F32), DTYPE_F32);
    x = reduce_dims(l, call, TORCH_MEAN, x, x.layout.rank, dims, false);
    x = lower_number(l, call, TORCH_MUL_SCALAR, lower_map(l, call, TORCH_LOG10, x, DTYPE_F32), 10, false, DTYPE_F32);
    return lower_number(l, call, TORCH_SUB_SCALAR, x, 20 * log10(c->max_val), true, DTYPE_F32);
}

static struct lowered lower_binary_loss(struct lowering *l, const struct keras_call *call, const struct loss_config *c,
                                        struct lowered target, struct lowered x)
{
    if (c->from_logits) {
        struct lowered size = lower_map(l, call, TORCH_ABS, x, DTYPE_F32),
                       relu = lower_map(l, call, TORCH_RELU, x, DTYPE_F32);
        struct lowered rest = lower_map(l, call, TORCH_SOFTPLUS, lower_map(l, call, TORCH_NEG, size, DTYPE_F32),
                                        DTYPE_F32);
        relu = lower_join(l, call, TORCH_SUB, relu, lower_join(l, call, TORCH_MUL, x, target, DTYPE_F32), DTYPE_F32);
        return lower_join(l, call, TORCH_ADD, relu, rest, DTYPE_F32);
    }
    struct lowered p = lower_clamp(l, call, x, tidy_float((double)least), (double)most);
    struct lowered other = lower_number(l, call, TORCH_SUB_SCALAR, p, 1, true, DTYPE_F32);
    struct lowered miss = lower_number(l, call, TORCH_SUB_SCALAR, target, 1, true, DTYPE_F32);
    struct lowered log_p = lower_map(l, call, TORCH_LOG, p, DTYPE_F32);
    struct lowered log_other = lower_map(l, call, TORCH_LOG, other, DTYPE_F32);
    p = lower_join(l, call, TORCH_ADD, lower_join(l, call, TORCH_MUL, target, log_p, DTYPE_F32),
                   lower_join(l, call, TORCH_MUL, miss, log_other, DTYPE_F32), DTYPE_F32);
    return lower_map(l, call, TORCH_NEG, p, DTYPE_F32);
}

/* The logarithms of what the outputs say of each class. */
static struct lowered lower_log(struct lowering *l, const struct keras_call *call, const struct loss_config *c,
                                struct lowered x, int64_t axis)
{
    struct torch_attr dim = attr_int("dim", axis);
    bool sparse = c->variant == LOSS_SPARSE;
    if (!c->from_logits && !sparse)
        x = lower_join(l, call, TORCH_DIV, x, reduce_dims(l, call, TORCH_SUM, x, 1, &axis, true), DTYPE_F32);
    if (!c->from_logits)
        x = lower_map(l, call, TORCH_LOG, lower_clamp(l, call, x, tidy_float((double)least), (double)most), DTYPE_F32);
    if (!c->from_logits && !sparse)
        return x;
    return lower_one(l, call, TORCH_LOG_SOFTMAX, x, lower_shape(l, x.id), x.layout, DTYPE_F32, 1, &dim);
}

static struct lowered lower_sparse(struct lowering *l, const struct keras_call *call, struct lowered target,
                                   struct lowered x, int64_t axis)
{
    struct shape shape = lower_shape(l, x.id), one = shape;
    struct torch_attr dim = attr_int("dim", axis);
    struct shape classes = lower_shape(l, target.id);
    target = lower_convert(l, call, target, DTYPE_I64);
    if (!has_axis(&classes, &shape))
        target = lower_unsqueeze(l, call, target, (int)axis);
    one.dims[axis] = 1;
    struct node_spec spec = {.op = TORCH_TAKE_ALONG_DIM,
                             .input_count = 2,
                             .inputs = (int[]){x.id, target.id},
                             .attr_count = 1,
                             .attrs = &dim,
                             .shape = one,
                             .dtype = DTYPE_F32};
    x = lower_select(l, call, (struct lowered){lower_node(l, call, &spec), x.layout}, (int)axis, 0);
    return lower_map(l, call, TORCH_NEG, x, DTYPE_F32);
}

static int op_loss_lower(struct lowering *l, const struct keras_call *call)
{
    const struct loss_config *c = call->layer->config;
    int at[2] = {-1, -1};
    if (!find_tensors(c, call->arguments, at))
        return -1;
    struct lowered target = lower_input_keras(l, call, at[0]), x = lower_input_keras(l, call, at[1]);
    int64_t axis = axis_resolve(c->axis, x.layout.rank);
    if (c->variant == LOSS_PSNR) {
        return lower_output(l, call, 0, lower_psnr(l, call, c, target, x));
    }
    if (hides_logits(call->inputs[at[1]]))
        return h5pt_fail(lower_error(l), H5PT_UNSUPPORTED_CALL_ARGUMENT, call->layer->path,
                         "%s of the output of a sigmoid or softmax, or of a layer that may give such an output, is not "
                         "supported: Keras then computes it from what the function was applied to",
                         call->layer->class_name);
    if (c->variant == LOSS_BINARY) {
        return lower_output(l, call, 0, lower_binary_loss(l, call, c, target, x));
    }
    x = lower_log(l, call, c, x, axis);
    if (c->variant == LOSS_SPARSE) {
        return lower_output(l, call, 0, lower_sparse(l, call, target, x, axis));
    }
    x = reduce_dims(l, call, TORCH_SUM, lower_join(l, call, TORCH_MUL, target, x, DTYPE_F32), 1, &axis, false);
    return lower_output(l, call, 0, lower_map(l, call, TORCH_NEG, x, DTYPE_F32));
}

const struct layer_handler op_loss_handler = {
    .config_size = sizeof(struct loss_config),
    .read = op_loss_read,
    .shape = op_loss_shape,
    .reference = op_loss_reference,
    .lower = op_loss_lower,
};
