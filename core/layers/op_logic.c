/* SPDX-License-Identifier: Apache-2.0 */
/* Comparisons and logic; booleans are held as 0 and 1. */
#include "base/json.h"
#include "layers/axes.h"
#include "layers/compose.h"
#include "layers/layer.h"
#include "layers/lower.h"
#include "layers/variants.h"

/* ---- NotEqual(x, number) ---- */

static void op_compare_read(struct config_reader *reader, void *config, int variant)
{
    (void)reader;
    *(int *)config = variant;
}

/* The number on the right. */
static bool compared_number(const json_t *arguments, double *ret)
{
    return layer_argument_tensor(layer_argument(arguments, 0, "x1")) == 0 &&
           json_read_double(layer_argument(arguments, 1, "x2"), ret);
}

static int op_compare_shape(struct layer_shape *s)
{
    double number;
    if (s->input_count != 1 || !compared_number(s->arguments, &number))
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_CALL_ARGUMENT, "args", "%s is supported for a tensor and a number",
                         s->layer->class_name);
    s->outputs[0] = s->inputs[0];
    s->output_dtypes[0] = DTYPE_BOOL;
    return 0;
}

static int op_compare_reference(const struct layer_run *run)
{
    double number;
    if (!compared_number(run->arguments, &number))
        return h5pt_fail(run->err, H5PT_INTERNAL, run->layer->path, "The arguments are not as they were");
    for (int64_t i = 0; i < run->outputs[0]->count; i++)
        run->outputs[0]->data[i] = run->inputs[0]->data[i] != (float)number ? 1.0f : 0.0f;
    return 0;
}

static int op_compare_lower(struct lowering *l, const struct keras_call *call)
{
    double number;
    if (!compared_number(call->arguments, &number))
        return -1;
    lower_output(l, call, 0, lower_scalar(l, call, TORCH_NOT_EQUAL_SCALAR, lower_input(l, call, 0), number));
    return 0;
}

const struct layer_handler op_compare_handler = {
    .config_size = sizeof(int),
    .read = op_compare_read,
    .shape = op_compare_shape,
    .reference = op_compare_reference,
    .lower = op_compare_lower,
};

/* ---- LogicalOr, LogicalAnd ---- */

static void op_logic_read(struct config_reader *reader, void *config, int variant)
{
    (void)reader;
    *(enum logic_variant *)config = (enum logic_variant)variant;
}

static int op_logic_shape(struct layer_shape *s)
{
    if (s->input_count != 2 || s->input_dtypes[0] != DTYPE_BOOL || s->input_dtypes[1] != DTYPE_BOOL ||
        !shape_broadcast(&s->inputs[0], &s->inputs[1], &s->outputs[0]))
        return layer_shape_fail(s, "%s takes two boolean tensors that fit together", s->layer->class_name);
    s->output_dtypes[0] = DTYPE_BOOL;
    return 0;
}

static int op_logic_reference(const struct layer_run *run)
{
    enum logic_variant operation = *(const enum logic_variant *)run->config;
    struct tensor *out = run->outputs[0];
    struct walk a, b;
    walk_begin(&a, &out->shape, &run->inputs[0]->shape);
    walk_begin(&b, &out->shape, &run->inputs[1]->shape);
    for (int64_t i = 0; i < out->count; i++, walk_next(&a), walk_next(&b)) {
        bool x = run->inputs[0]->data[a.offset] != 0, y = run->inputs[1]->data[b.offset] != 0;
        out->data[i] = (operation == LOGIC_OR ? x || y : x && y) ? 1.0f : 0.0f;
    }
    return 0;
}

static int op_logic_lower(struct lowering *l, const struct keras_call *call)
{
    enum logic_variant operation = *(const enum logic_variant *)call->layer->config;
    struct lowered x = lower_input_keras(l, call, 0), y = lower_input_keras(l, call, 1);
    lower_output(l, call, 0, lower_binary(l, call, operation == LOGIC_OR ? TORCH_LOGICAL_OR : TORCH_LOGICAL_AND, x, y));
    return 0;
}

const struct layer_handler op_logic_handler = {
    .config_size = sizeof(enum logic_variant),
    .read = op_logic_read,
    .shape = op_logic_shape,
    .reference = op_logic_reference,
    .lower = op_logic_lower,
};

/* ---- Any over the last axis ---- */

static void op_any_read(struct config_reader *reader, void *config, int variant)
{
    (void)variant;
    struct axis_list *axes = config;
    *axes = axis_list_read(reader, "axis", SHAPE_MAX_RANK);
    if (axes->count != 1)
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "axis", "Any is supported over one axis");
    if (config_bool(reader, "keepdims", false))
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "keepdims", "Any is supported without keepdims");
}

static int op_any_shape(struct layer_shape *s)
{
    const struct axis_list *axes = s->config;
    int axis = axis_resolve(axes->axes[0], s->inputs[0].rank);
    if (axis != s->inputs[0].rank - 1 || axis < 1)
        return layer_shape_fail(s, "Any is supported over the last axis");
    s->outputs[0] = s->inputs[0];
    s->outputs[0].rank--;
    s->output_dtypes[0] = DTYPE_BOOL;
    return 0;
}

static int op_any_reference(const struct layer_run *run)
{
    const struct tensor *x = run->inputs[0];
    int64_t width = x->shape.dims[x->shape.rank - 1];
    for (int64_t i = 0; i < run->outputs[0]->count; i++) {
        bool any = false;
        for (int64_t k = 0; k < width; k++)
            any = any || x->data[i * width + k] != 0;
        run->outputs[0]->data[i] = any ? 1.0f : 0.0f;
    }
    return 0;
}

static int op_any_lower(struct lowering *l, const struct keras_call *call)
{
    struct lowered x = lower_input_keras(l, call, 0);
    struct torch_attr dim = attr_int("dim", -1);
    struct shape shape = call->outputs[0]->shape;
    int id = lower_node(l, call, &(struct node_spec){
                                     .op = TORCH_ANY,
                                     .input_count = 1,
                                     .inputs = &x.id,
                                     .attr_count = 1,
                                     .attrs = &dim,
                                     .shape = shape,
                                     .dtype = DTYPE_BOOL,
                                 });
    lower_output(l, call, 0, (struct lowered){id, layout_keras(shape.rank)});
    return 0;
}

const struct layer_handler op_any_handler = {
    .config_size = sizeof(struct axis_list),
    .read = op_any_read,
    .shape = op_any_shape,
    .reference = op_any_reference,
    .lower = op_any_lower,
};
