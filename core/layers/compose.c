/* SPDX-License-Identifier: Apache-2.0 */
#include "layers/compose.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "layers/axes.h"

struct lowered lower_scalar(struct lowering *l, const struct keras_call *call, enum torch_op op, struct lowered x,
                            double value)
{
    struct torch_attr attr = attr_float("value", value);
    return lower_pointwise(l, call, x, op, NULL, 1, &attr);
}

struct lowered lower_clamp(struct lowering *l, const struct keras_call *call, struct lowered x, double minimum,
                           double maximum)
{
    struct torch_attr attrs[2];
    int n = 0;
    if (minimum > -(double)INFINITY)
        attrs[n++] = attr_float("min", minimum);
    if (maximum < (double)INFINITY)
        attrs[n++] = attr_float("max", maximum);
    return n ? lower_pointwise(l, call, x, TORCH_CLAMP, NULL, n, attrs) : x;
}

/* Flat features are one axis, whatever their order. */
static int torch_axis(const struct layout *layout, int axis)
{
    return layout->flat_rank ? axis : layout_axis(layout, axis);
}

struct lowered lower_reduce(struct lowering *l, const struct keras_call *call, enum torch_op op, struct lowered x,
                            int count, const int *axes)
{
    int64_t dims[SHAPE_MAX_RANK];
    struct shape shape = lower_shape(l, x.id);
    for (int i = 0; i < count; i++) {
        dims[i] = torch_axis(&x.layout, axes[i]);
        shape.dims[dims[i]] = 1;
    }
    struct torch_attr attrs[3];
    int n = 0;
    attrs[n++] = count == 1 ? attr_int("dim", dims[0]) : attr_list(l, "dim", count, dims);
    if (op == TORCH_VAR)
        attrs[n++] = attr_int("correction", 0);
    attrs[n++] = attr_bool("keepdim", true);
    int id = lower_function(l, call, op, x.id, n, attrs, shape, DTYPE_F32);
    struct lowered ret = {.id = id, .layout = x.layout};
    return ret;
}

struct lowered lower_normalize(struct lowering *l, const struct keras_call *call, struct lowered x, int axis,
                               double eps)
{
    struct torch_attr attrs[] = {attr_float("p", 2.0), attr_int("dim", torch_axis(&x.layout, axis)),
                                 attr_float("eps", eps)};
    return lower_pointwise(l, call, x, TORCH_NORMALIZE, NULL, 3, attrs);
}

struct lowered lower_where_number(struct lowering *l, const struct keras_call *call, struct lowered condition,
                                  struct lowered x, double otherwise)
{
    bool numbers = x.id < 0;
    struct torch_attr attrs[] = {attr_float("otherwise", otherwise), attr_float("value", 0)};
    struct lowered y = numbers ? condition : x;
    y.id = lower_node(l, call,
                      &(struct node_spec){.op = TORCH_WHERE_NUMBER,
                                          .input_count = numbers ? 1 : 2,
                                          .inputs = (const int[]){condition.id, x.id},
                                          .attr_count = numbers ? 2 : 1,
                                          .attrs = attrs,
                                          .shape = lower_shape(l, y.id),
                                          .dtype = DTYPE_F32});
    return y;
}

struct lowered lower_unsqueeze(struct lowering *l, const struct keras_call *call, struct lowered x, int dim)
{
    struct shape in = lower_shape(l, x.id), out = {.rank = in.rank + 1};
    if (x.id < 0 || out.rank > SHAPE_MAX_RANK)
        return (struct lowered){.id = -1};
    for (int i = 0; i < out.rank; i++)
        out.dims[i] = i == dim ? 1 : in.dims[i < dim ? i : i - 1];
    struct torch_attr attr = attr_int("dim", dim);
    x.id = lower_function(l, call, TORCH_UNSQUEEZE, x.id, 1, &attr, out, lower_dtype(l, x.id));
    x.layout = layout_keras(out.rank);
    return x;
}

struct lowered lower_cast(struct lowering *l, const struct keras_call *call, struct lowered x, enum dtype dtype)
{
    /* All floating-point types are one type in the graph: what a layer computes in is its own matter. */
    enum dtype held = dtype_is_float(dtype) ? DTYPE_F32 : dtype;
    if (lower_dtype(l, x.id) == held)
        return x;
    struct torch_attr attr = attr_text("dtype", dtype_name(dtype));
    x.id = lower_function(l, call, TORCH_CAST, x.id, 1, &attr, lower_shape(l, x.id), held);
    return x;
}

struct lowered lower_float(struct lowering *l, const struct keras_call *call, struct lowered x)
{
    return lower_cast(l, call, x, call->layer->compute);
}

static struct lowered parameter_value(struct lowering *l, const struct keras_call *call, const char *module,
                                      int parameter, const struct shape *shape, const struct layout *layout,
                                      enum dtype dtype)
{
    int id = lower_node(l, call,
                        &(struct node_spec){.op = TORCH_PARAMETER,
                                            .module = module,
                                            .parameter_count = 1,
                                            .parameters = &parameter,
                                            .shape = *shape,
                                            .dtype = dtype});
    struct lowered ret = {.id = id, .layout = *layout};
    return ret;
}

struct lowered lower_weight_value(struct lowering *l, const struct keras_call *call, const char *slot,
                                  const struct shape *shape, const struct layout *layout)
{
    struct rearrangement r = rearrange_axes(shape, layout->axes);
    const char *module = lower_module(l, call, slot);
    int parameter = lower_parameter(l, call, module, NULL, slot, &r);
    return parameter_value(l, call, module, parameter, &r.shape, layout, DTYPE_F32);
}

struct lowered lower_constant_value(struct lowering *l, const struct keras_call *call, const char *name,
                                    const struct shape *shape, const struct layout *layout, const float *values)
{
    const char *module = lower_module(l, call, name);
    struct shape torch = shape_permute(shape, layout->axes);
    struct lowered ret = {.id = -1, .layout = *layout};
    struct tensor *keras_order = tensor_new(shape, DTYPE_F32), *torch_order = NULL;
    if (keras_order) {
        for (int64_t i = 0; i < keras_order->count; i++)
            keras_order->data[i] = values[i];
        torch_order = tensor_transpose(keras_order, layout->axes);
    }
    if (torch_order) {
        int parameter = lower_constant(l, call, module, NULL, &torch, DTYPE_F32, true, torch_order->data);
        ret = parameter_value(l, call, module, parameter, &torch, layout, DTYPE_F32);
    }
    tensor_free(keras_order);
    tensor_free(torch_order);
    return ret;
}

struct lowered lower_constant_ids(struct lowering *l, const struct keras_call *call, const char *name,
                                  const struct shape *shape, const float *values)
{
    const char *module = lower_module(l, call, name);
    struct layout layout = layout_keras(shape->rank);
    int parameter = lower_constant(l, call, module, NULL, shape, DTYPE_I64, true, values);
    return parameter_value(l, call, module, parameter, shape, &layout, DTYPE_I64);
}

struct lowered lower_cat(struct lowering *l, const struct keras_call *call, int count, const struct lowered *x, int dim)
{
    struct shape shape = lower_shape(l, x[0].id);
    int ids[NODE_MAX_INPUTS];
    struct torch_attr attr = attr_int("dim", dim);
    shape.dims[dim] = 0;
    for (int i = 0; i < count; i++) {
        int64_t size = lower_shape(l, x[i].id).dims[dim];
        ids[i] = x[i].id;
        shape.dims[dim] = size < 0 || shape.dims[dim] < 0 ? DIM_UNKNOWN : shape.dims[dim] + size;
    }
    int id = lower_node(l, call,
                        &(struct node_spec){
                            .op = TORCH_CAT,
                            .input_count = count,
                            .inputs = ids,
                            .attr_count = 1,
                            .attrs = &attr,
                            .shape = shape,
                            .dtype = lower_dtype(l, x[0].id),
                        });
    return (struct lowered){id, x[0].layout};
}

struct lowered lower_einsum(struct lowering *l, const struct keras_call *call, const char *equation, struct lowered x,
                            struct lowered y, struct shape shape, enum dtype dtype)
{
    struct torch_attr attr = attr_text_copy(l, "equation", equation);
    int id = lower_function2(l, call, TORCH_EINSUM, x.id, y.id, 1, &attr, shape, dtype);
    return (struct lowered){id, layout_keras(shape.rank)};
}

struct lowered lower_linear_module(struct lowering *l, const struct keras_call *call, const char *module,
                                   struct lowered x, const char *kernel, const struct rearrangement *weight,
                                   const char *bias)
{
    int parameters[2], count = 0;
    int64_t outputs = weight->shape.dims[0], inputs = weight->shape.dims[1];
    if (x.id < 0)
        return x;
    parameters[count++] = lower_parameter(l, call, module, "weight", kernel, weight);
    if (bias) {
        struct shape vector = shape_of(1, &outputs);
        struct rearrangement flat = rearrange_as_is(&vector);
        parameters[count++] = lower_parameter(l, call, module, "bias", bias, &flat);
    }
    const struct torch_attr attrs[] = {attr_int("in_features", inputs), attr_int("out_features", outputs),
                                       attr_bool("bias", bias != NULL)};
    struct shape shape = lower_shape(l, x.id);
    shape.dims[shape.rank - 1] = outputs;
    struct lowered y = {.layout = layout_keras(shape.rank)};
    y.id = lower_node(l, call,
                      &(struct node_spec){.op = TORCH_LINEAR,
                                          .module = module,
                                          .input_count = 1,
                                          .inputs = &x.id,
                                          .parameter_count = count,
                                          .parameters = parameters,
                                          .attr_count = 3,
                                          .attrs = attrs,
                                          .shape = shape,
                                          .dtype = DTYPE_F32});
    return y;
}

int lower_fill(struct lowering *l, const struct keras_call *call, const char *module, const char *name,
               const struct shape *shape, float value)
{
    struct tensor *fill = tensor_new(shape, DTYPE_F32);
    if (!fill)
        return -1;
    for (int64_t i = 0; i < fill->count; i++)
        fill->data[i] = value;
    int id = lower_constant(l, call, module, name, shape, DTYPE_F32, false, fill->data);
    tensor_free(fill);
    return id;
}

double tidy_float(double value)
{
    float narrow = (float)value;
    if (!isfinite(value) || (double)narrow != value)
        return value;
    char text[48];
    for (int digits = 6; digits < 9; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtof(text, NULL) == narrow)
            return strtod(text, NULL);
    }
    return value;
}
