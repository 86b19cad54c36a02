/* SPDX-License-Identifier: Apache-2.0 */
/* Activations as operations: those of activation.h, with their settings in the configuration. */
#include <math.h>
#include <string.h>

#include "layers/activation.h"
#include "layers/operation.h"

struct op_activation_config {
    struct activation activation;
    bool approximate;  /* GELU with tanh */
    double squareness; /* SQUAREPLUS: b, 4 unless given */
};

static void op_activation_read(struct config_reader *reader, void *config, int variant)
{
    struct op_activation_config *c = config;
    struct activation *a = &c->activation;
    *a = activation_default((enum activation_kind)variant);
    c->squareness = 4;
    switch (a->kind) {
    case ACTIVATION_RELU: /* the class ReLU has settings, Relu has none */
        a->slope = config_double(reader, "negative_slope", 0);
        a->max_value = config_double(reader, "max_value", (double)INFINITY);
        a->threshold = config_double(reader, "threshold", 0);
        break;
    case ACTIVATION_LEAKY_RELU: a->slope = config_double(reader, "negative_slope", 0.2); break;
    case ACTIVATION_ELU:
    case ACTIVATION_CELU: a->slope = config_double(reader, "alpha", 1); break;
    case ACTIVATION_HARD_SHRINK:
    case ACTIVATION_SOFT_SHRINK: a->threshold = config_double(reader, "threshold", 0.5); break;
    case ACTIVATION_THRESHOLD:
        a->threshold = config_double(reader, "threshold", 0);
        a->value = config_double(reader, "default_value", 0);
        break;
    case ACTIVATION_GELU: c->approximate = config_bool(reader, "approximate", true); break;
    case ACTIVATION_SQUAREPLUS: c->squareness = config_double(reader, "b", 4); break;
    case ACTIVATION_SOFTMAX:
    case ACTIVATION_LOG_SOFTMAX:
    case ACTIVATION_SPARSEMAX:
    case ACTIVATION_GLU: {
        struct axis_list axes = axis_list_read(reader, "axis", -1);
        a->axis_count = axes.count;
        memcpy(a->axes, axes.axes, sizeof a->axes);
        if (axes.count != 1)
            config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "axis", "One axis is supported");
        break;
    }
    default: break;
    }
}

static int op_activation_shape(struct layer_shape *s)
{
    const struct op_activation_config *c = s->config;
    if (s->input_count != 1 || layer_argument_tensor(layer_argument(s->arguments, 0, "x")) != 0)
        return operand_fail(s, "x");
    if (s->input_dtypes[0] != DTYPE_F32)
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_DTYPE, "dtype", "%s of %s is not supported", s->layer->class_name,
                         dtype_name(s->input_dtypes[0]));
    s->outputs[0] = s->inputs[0];
    int axis = axis_resolve(c->activation.axes[0], s->inputs[0].rank);
    if (activation_has_axes(&c->activation) && axis < 0)
        return layer_shape_fail(s, "The input has no axis %d", (int)c->activation.axes[0]);
    if (c->activation.kind != ACTIVATION_GLU)
        return 0;
    if (axis != s->inputs[0].rank - 1 || s->inputs[0].dims[axis] < 0 || s->inputs[0].dims[axis] % 2 != 0)
        return layer_shape_fail(s, "Glu is supported over a last axis of even size");
    s->outputs[0].dims[axis] /= 2;
    return 0;
}

static double gelu_tanh(double x)
{
    return 0.5 * x * (1 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
}

static int op_activation_reference(const struct layer_run *run)
{
    const struct op_activation_config *c = run->config;
    const struct tensor *in = run->inputs[0];
    struct tensor *out = run->outputs[0];
    if (c->activation.kind == ACTIVATION_GLU) {
        activation_reference_glu(in, out);
        return 0;
    }
    memcpy(out->data, in->data, (size_t)in->count * sizeof *in->data);
    bool odd_square = c->activation.kind == ACTIVATION_SQUAREPLUS && c->squareness != 4;
    if (!c->approximate && !odd_square)
        return activation_reference(&c->activation, out, run->err);
    for (int64_t i = 0; i < out->count; i++) {
        double x = (double)in->data[i];
        out->data[i] = (float)(odd_square ? (x + sqrt(x * x + c->squareness)) / 2 : gelu_tanh(x));
    }
    return 0;
}

static int op_activation_lower(struct lowering *l, const struct keras_call *call)
{
    const struct op_activation_config *c = call->layer->config;
    bool whole = activation_has_axes(&c->activation) || c->activation.kind == ACTIVATION_GLU;
    struct lowered x = whole ? lower_input_plain(l, call, 0) : lower_input(l, call, 0), y;
    if (c->activation.kind == ACTIVATION_GELU && c->approximate) {
        struct torch_attr attr = attr_text("approximate", "tanh");
        y = lower_pointwise(l, call, x, TORCH_GELU, NULL, 1, &attr);
    } else if (c->activation.kind == ACTIVATION_SQUAREPLUS && c->squareness != 4) {
        y = lower_scalar(l, call, TORCH_ADD_SCALAR, lower_pointwise(l, call, x, TORCH_SQUARE, NULL, 0, NULL),
                         c->squareness);
        y = lower_binary(l, call, TORCH_ADD, x, lower_pointwise(l, call, y, TORCH_SQRT, NULL, 0, NULL));
        y = lower_scalar(l, call, TORCH_DIV_SCALAR, y, 2);
    } else {
        y = activation_lower(l, call, &c->activation, x, NULL);
    }
    return lower_output(l, call, 0, y);
}

const struct layer_handler op_activation_handler = {
    .config_size = sizeof(struct op_activation_config),
    .read = op_activation_read,
    .shape = op_activation_shape,
    .reference = op_activation_reference,
    .lower = op_activation_lower,
};
