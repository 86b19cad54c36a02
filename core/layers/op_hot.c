/* SPDX-License-Identifier: Apache-2.0 */
/* OneHot and MultiHot: 1 where the class is the index; indices that are no class give zeros. */
#include <math.h>

#include "layers/operation.h"
#include "layers/variants.h"

struct hot_config {
    enum hot_variant variant;
    int64_t classes, axis;
    enum dtype dtype;
};

static void op_hot_read(struct config_reader *reader, void *config, int variant)
{
    struct hot_config *c = config;
    c->variant = (enum hot_variant)variant;
    c->classes = config_size(reader, "num_classes", 1);
    c->axis = config_int(reader, "axis", -1);
    c->dtype = DTYPE_F32;
    const char *dtype = config_text(reader, "dtype", NULL);
    if (dtype && (!dtype_from_name(dtype, &c->dtype) ||
                  (c->dtype != DTYPE_F32 && c->dtype != DTYPE_I32 && c->dtype != DTYPE_BOOL)))
        config_refuse(reader, H5PT_UNSUPPORTED_DTYPE, "dtype", "Values of type %.40s are not supported", dtype);
    if (config_bool(reader, "sparse", false))
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "sparse", "Sparse tensors are not supported");
}

/* The shape with the classes as a new axis. */
static bool with_classes(const struct hot_config *c, const struct shape *in, struct shape *ret, int *axis)
{
    *axis = axis_resolve(c->axis, in->rank + 1);
    *ret = *in;
    if (*axis < 0 || in->rank == SHAPE_MAX_RANK)
        return false;
    for (int i = ret->rank++; i > *axis; i--)
        ret->dims[i] = ret->dims[i - 1];
    ret->dims[*axis] = c->classes;
    return true;
}

/* MultiHot takes the maximum over this axis of the one-hot tensor. */
static int joined_axis(const struct shape *in)
{
    return in->rank > 1 ? 1 : 0;
}

static int op_hot_shape(struct layer_shape *s)
{
    const struct hot_config *c = s->config;
    struct shape *out = &s->outputs[0];
    int axis;
    if (s->input_count != 1 ||
        layer_argument_tensor(layer_argument(s->arguments, 0, c->variant == HOT_ONE ? "x" : "inputs")) != 0)
        return operand_fail(s, "x");
    if (!with_classes(c, &s->inputs[0], out, &axis))
        return layer_shape_fail(s, "The axis of %s does not fit", s->layer->class_name);
    if (c->variant == HOT_MULTI) {
        for (int i = joined_axis(&s->inputs[0]); i + 1 < out->rank; i++)
            out->dims[i] = out->dims[i + 1];
        out->rank--;
    }
    s->output_dtypes[0] = c->dtype;
    return 0;
}

static int op_hot_reference(const struct layer_run *run)
{
    const struct hot_config *c = run->config;
    const struct tensor *in = run->inputs[0];
    struct tensor *out = run->outputs[0];
    struct shape wide;
    int axis, joined = c->variant == HOT_MULTI ? joined_axis(&in->shape) : -1;
    if (!with_classes(c, &in->shape, &wide, &axis))
        return h5pt_fail(run->err, H5PT_INTERNAL, run->layer->path, "The configuration is not as it was");
    for (int64_t i = 0; i < out->count; i++)
        out->data[i] = 0;
    int64_t index[SHAPE_MAX_RANK] = {0};
    for (int64_t n = 0; n < in->count; n++) {
        double class = trunc((double)in->data[n]);
        int64_t at = 0, place[SHAPE_MAX_RANK] = {0};
        for (int i = 0, k = 0; i < wide.rank; i++)
            place[i] = i == axis ? (int64_t) class : index[k++];
        for (int i = 0; i < wide.rank; i++)
            at = i == joined ? at : at * wide.dims[i] + place[i];
        if (class >= 0 && class < (double)c->classes)
            out->data[at] = 1;
        for (int i = in->shape.rank - 1; i >= 0 && ++index[i] == in->shape.dims[i]; i--)
            index[i] = 0;
    }
    return 0;
}

static int op_hot_lower(struct lowering *l, const struct keras_call *call)
{
    const struct hot_config *c = call->layer->config;
    struct lowered x = lower_input_keras(l, call, 0);
    struct shape wide, numbers = {.rank = 0};
    int axis;
    if (!with_classes(c, &call->inputs[0]->shape, &wide, &axis))
        return -1;
    if (dtype_is_float(lower_dtype(l, x.id)))
        x = lower_convert(l, call, x, DTYPE_I64);
    for (int i = axis; i < wide.rank; i++)
        numbers.dims[numbers.rank++] = i == axis ? c->classes : 1;
    struct tensor *classes = tensor_new(&numbers, DTYPE_I64);
    for (int64_t i = 0; classes && i < classes->count; i++)
        classes->data[i] = (float)i;
    struct layout layout = layout_keras(numbers.rank);
    struct lowered all = lower_buffer(l, call, "classes", classes, &layout);
    tensor_free(classes);
    struct lowered y = lower_join(l, call, TORCH_EQUAL, lower_unsqueeze(l, call, x, axis), all, DTYPE_BOOL);
    y.layout = layout_keras(wide.rank);
    if (c->variant == HOT_MULTI) {
        struct torch_attr dim = attr_int("dim", joined_axis(&call->inputs[0]->shape));
        y = lower_one(l, call, TORCH_ANY, y, call->outputs[0]->shape, layout_keras(wide.rank - 1), DTYPE_BOOL, 1, &dim);
    }
    return lower_output(l, call, 0, lower_convert(l, call, y, c->dtype));
}

const struct layer_handler op_hot_handler = {
    .config_size = sizeof(struct hot_config),
    .read = op_hot_read,
    .shape = op_hot_shape,
    .reference = op_hot_reference,
    .lower = op_hot_lower,
};
