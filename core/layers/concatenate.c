/* SPDX-License-Identifier: Apache-2.0 */
/* Concatenate along one axis. */
#include <string.h>

#include "layers/axes.h"
#include "layers/layer.h"
#include "layers/lower.h"

static void concatenate_read(struct config_reader *reader, void *config, int variant)
{
    (void)variant;
    *(int64_t *)config = config_int(reader, "axis", -1);
}

static int concatenate_shape(struct layer_shape *s)
{
    struct shape out = s->inputs[0];
    int axis = axis_resolve(*(const int64_t *)s->config, out.rank);
    if (axis < 1)
        return layer_shape_fail(s, "Tensors of rank %d cannot be concatenated along the axis %lld", out.rank,
                                (long long)*(const int64_t *)s->config);
    for (int i = 1; i < s->input_count; i++) {
        const struct shape *in = &s->inputs[i];
        bool fits = in->rank == out.rank;
        for (int k = 1; fits && k < out.rank; k++) {
            int64_t *size = &out.dims[k];
            if (k == axis)
                *size = *size == DIM_UNKNOWN || in->dims[k] == DIM_UNKNOWN ? DIM_UNKNOWN : *size + in->dims[k];
            else if (*size == DIM_UNKNOWN)
                *size = in->dims[k];
            else
                fits = in->dims[k] == DIM_UNKNOWN || in->dims[k] == *size;
        }
        char a[SHAPE_TEXT_SIZE], b[SHAPE_TEXT_SIZE];
        if (!fits)
            return layer_shape_fail(s, "%s and %s do not fit together along axis %d", shape_text(&s->inputs[0], a),
                                    shape_text(in, b), axis);
    }
    for (int i = 1; i < s->input_count; i++)
        if (s->input_dtypes[i] != s->input_dtypes[0])
            return layer_shape_fail(s, "Tensors of type %s and %s do not fit together", dtype_name(s->input_dtypes[0]),
                                    dtype_name(s->input_dtypes[i]));
    s->outputs[0] = out;
    s->output_dtypes[0] = s->input_dtypes[0];
    return 0;
}

static int concatenate_reference(const struct layer_run *run)
{
    const struct shape *out = &run->outputs[0]->shape;
    int axis = axis_resolve(*(const int64_t *)run->config, out->rank);
    int64_t outer = 1, inner = 1, at = 0;
    for (int i = 0; i < axis; i++)
        outer *= out->dims[i];
    for (int i = axis + 1; i < out->rank; i++)
        inner *= out->dims[i];
    for (int k = 0; k < run->input_count; k++) {
        const struct tensor *x = run->inputs[k];
        int64_t block = x->shape.dims[axis] * inner;
        for (int64_t i = 0; i < outer; i++)
            memcpy(run->outputs[0]->data + i * out->dims[axis] * inner + at, x->data + i * block,
                   (size_t)block * sizeof(float));
        at += block;
    }
    return 0;
}

/* The layout of the first input that is not in Keras' order, so that feature maps stay channels first. */
static struct layout meeting_layout(struct lowering *l, const struct keras_call *call)
{
    for (int i = 0; i < call->input_count; i++) {
        struct layout layout = lower_input(l, call, i).layout;
        if (!layout.flat_rank && !layout_is_keras(&layout))
            return layout;
    }
    return layout_keras(call->inputs[0]->shape.rank);
}

static int concatenate_lower(struct lowering *l, const struct keras_call *call)
{
    struct layout layout = meeting_layout(l, call);
    int axis = axis_resolve(*(const int64_t *)call->layer->config, layout.rank);
    int dim = layout_axis(&layout, axis), inputs[NODE_MAX_INPUTS];
    struct lowered y = {.id = -1, .layout = layout};
    /* Longer lists are joined in pieces. */
    for (int next = 0; next < call->input_count;) {
        int count = 0;
        if (next > 0)
            inputs[count++] = y.id;
        struct shape shape = {.rank = 0};
        int64_t size = next > 0 ? lower_shape(l, y.id).dims[dim] : 0;
        for (; next < call->input_count && count < NODE_MAX_INPUTS; next++) {
            struct lowered x = lower_input_as(l, call, next, &layout);
            if (x.id < 0)
                return -1;
            shape = lower_shape(l, x.id);
            size = size == DIM_UNKNOWN || shape.dims[dim] == DIM_UNKNOWN ? DIM_UNKNOWN : size + shape.dims[dim];
            inputs[count++] = x.id;
        }
        shape.dims[dim] = size;
        struct torch_attr attr = attr_int("dim", dim);
        y.id = lower_node(l, call,
                          &(struct node_spec){.op = TORCH_CAT,
                                              .input_count = count,
                                              .inputs = inputs,
                                              .attr_count = 1,
                                              .attrs = &attr,
                                              .shape = shape,
                                              .dtype = call->outputs[0]->dtype});
        if (y.id < 0)
            return -1;
    }
    return lower_output(l, call, 0, y);
}

const struct layer_handler concatenate_handler = {
    .config_size = sizeof(int64_t),
    .read = concatenate_read,
    .shape = concatenate_shape,
    .reference = concatenate_reference,
    .lower = concatenate_lower,
};
