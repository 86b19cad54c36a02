/* SPDX-License-Identifier: Apache-2.0 */
/* Layouts: which torch axis holds which Keras axis, and how a value gets from one layout into another. */
#include <string.h>

#include "layers/lowering.h"

struct layout layout_keras(int rank)
{
    struct layout layout = {.rank = rank};
    for (int i = 0; i < rank; i++)
        layout.axes[i] = i;
    return layout;
}

struct layout layout_with_channels(int rank, int axis)
{
    struct layout layout = layout_keras(rank);
    layout.axes[1] = axis;
    for (int i = 1, n = 2; i < rank; i++)
        if (i != axis)
            layout.axes[n++] = i;
    return layout;
}

static struct layout channels_first(int rank)
{
    struct layout layout = layout_keras(rank);
    if (rank < 3)
        return layout;
    layout.axes[1] = rank - 1;
    for (int i = 2; i < rank; i++)
        layout.axes[i] = i - 1;
    return layout;
}

struct layout layout_spatial(const struct keras_layer *layer, int rank)
{
    return layer->channels_first ? layout_keras(rank) : channels_first(rank);
}

bool layout_equal(const struct layout *a, const struct layout *b)
{
    if (a->rank != b->rank || a->flat_rank != b->flat_rank)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->axes[i] != b->axes[i])
            return false;
    for (int i = 0; i < a->flat_rank; i++)
        if (a->flat_dims[i] != b->flat_dims[i] || a->flat_axes[i] != b->flat_axes[i])
            return false;
    return true;
}

bool layout_is_keras(const struct layout *layout)
{
    return layout->flat_rank == 0 && axes_identity(layout->rank, layout->axes);
}

int layout_axis(const struct layout *layout, int keras_axis)
{
    for (int i = 0; i < layout->rank; i++)
        if (layout->axes[i] == keras_axis)
            return i;
    return -1;
}

/* Follows the consumers of a value through layers that work in any layout; true when one of them is spatial and wants
 * another order than Keras'. */
static bool feeds_spatial(const struct lowering *l, const bool *reached, int rank)
{
    for (int i = 0; i < l->model->call_count; i++) {
        const struct keras_call *call = l->model->calls[i];
        if (!(call->layer->class->flags & LAYER_SPATIAL) || call->layer->channels_first)
            continue;
        for (int k = 0; k < call->input_count; k++)
            if (reached[call->inputs[k]->id] && call->inputs[k]->shape.rank == rank)
                return true;
    }
    return false;
}

struct layout layout_of_input(const struct lowering *l, const struct keras_value *value)
{
    const struct keras_model *model = l->model;
    int rank = value->shape.rank;
    bool *reached = rank < 3 ? NULL : ARENA_ARRAY(l->arena, bool, (size_t)model->value_count + 1);
    if (!reached) {
        if (rank >= 3)
            h5pt_fail_memory(l->err);
        return layout_keras(rank);
    }
    reached[value->id] = true;
    for (int i = 0; i < model->call_count; i++) {
        const struct keras_call *call = model->calls[i];
        bool passes = (call->layer->class->flags & LAYER_POINTWISE) ||
                      strcmp(call->layer->class->name, "Concatenate") == 0 ||
                      strcmp(call->layer->class->name, "BatchNormalization") == 0 ||
                      strcmp(call->layer->class->name, "Normalization") == 0;
        for (int k = 0; passes && k < call->input_count; k++)
            if (reached[call->inputs[k]->id] && call->outputs[0]->shape.rank == rank)
                reached[call->outputs[0]->id] = true;
    }
    return feeds_spatial(l, reached, rank) ? channels_first(rank) : layout_keras(rank);
}

/* ---- conversion ---- */

static int emit_permute(struct lowering *l, const struct keras_call *call, int id, int rank, const int *axes)
{
    int64_t dims[SHAPE_MAX_RANK];
    struct shape in = lower_shape(l, id);
    for (int i = 0; i < rank; i++)
        dims[i] = axes[i];
    struct torch_attr attr = attr_list(l, "dims", rank, dims);
    return lower_function(l, call, TORCH_PERMUTE, id, 1, &attr, shape_permute(&in, axes), l->graph->values[id].dtype);
}

/* True when the permutation leaves the order of all axes alone whose size is not known to be 1. */
static bool moves_only_ones(const struct shape *in, const int *axes)
{
    int last = -1;
    for (int i = 0; i < in->rank; i++) {
        if (in->dims[axes[i]] == 1)
            continue;
        if (axes[i] < last)
            return false;
        last = axes[i];
    }
    return true;
}

/* A reshape of a reshape is a reshape of what came before. */
static int before_reshape(const struct lowering *l, int id)
{
    int node = l->graph->values[id].node;
    if (node < 0 || l->graph->nodes[node].op != TORCH_RESHAPE)
        return id;
    const struct shape *shape = &l->graph->values[id].shape;
    for (int i = 1; i < shape->rank; i++)
        if (shape->dims[i] < 0)
            return id;
    return l->graph->nodes[node].inputs[0];
}

static int emit_reshape(struct lowering *l, const struct keras_call *call, int id, const int *axes)
{
    struct shape in = lower_shape(l, id), out = shape_permute(&in, axes);
    int base = before_reshape(l, id);
    struct torch_size sizes[SHAPE_MAX_RANK];
    for (int i = 0; i < out.rank; i++)
        sizes[i] = (struct torch_size){out.dims[i], out.dims[i] < 0 ? axes[i] : -1};
    struct torch_attr attr = attr_sizes(l, "sizes", out.rank, sizes);
    return lower_function(l, call, TORCH_RESHAPE, base, 1, &attr, out, l->graph->values[id].dtype);
}

static int emit_flatten(struct lowering *l, const struct keras_call *call, int id, struct shape shape)
{
    struct torch_attr attr = attr_int("start_dim", 1);
    return lower_function(l, call, TORCH_FLATTEN, id, 1, &attr, shape, l->graph->values[id].dtype);
}

/* (batch, features in torch's order) → (batch, features in Keras' order), by way of the feature map. */
static int unflatten(struct lowering *l, const struct keras_call *call, struct lowered x)
{
    struct shape flat = lower_shape(l, x.id);
    struct torch_size sizes[SHAPE_MAX_RANK] = {{DIM_UNKNOWN, 0}};
    struct shape map = {.rank = x.layout.flat_rank + 1, .dims = {DIM_UNKNOWN}};
    int axes[SHAPE_MAX_RANK] = {0};
    for (int i = 0; i < x.layout.flat_rank; i++) {
        map.dims[i + 1] = x.layout.flat_dims[x.layout.flat_axes[i]];
        sizes[i + 1] = (struct torch_size){map.dims[i + 1], -1};
        axes[x.layout.flat_axes[i] + 1] = i + 1;
    }
    struct torch_attr attr = attr_sizes(l, "sizes", map.rank, sizes);
    int id = lower_function(l, call, TORCH_RESHAPE, x.id, 1, &attr, map, l->graph->values[x.id].dtype);
    if (lowering_failed(l))
        return -1;
    return emit_flatten(l, call, emit_permute(l, call, id, map.rank, axes), flat);
}

struct lowered layout_convert(struct lowering *l, const struct keras_call *call, struct lowered x,
                              const struct layout *to)
{
    struct lowered failed = {.id = -1, .layout = *to};
    if (lowering_failed(l) || layout_equal(&x.layout, to))
        return x;
    if (x.layout.rank != to->rank || to->flat_rank) {
        h5pt_fail(l->err, H5PT_INTERNAL, call ? call->layer->path : NULL,
                  "A value cannot be brought into the layout asked for");
        return failed;
    }
    if (x.layout.flat_rank) {
        x.id = unflatten(l, call, x);
        x.layout = layout_keras(x.layout.rank);
        return layout_convert(l, call, x, to);
    }
    int axes[SHAPE_MAX_RANK];
    struct shape shape = lower_shape(l, x.id);
    for (int i = 0; i < to->rank; i++)
        axes[i] = layout_axis(&x.layout, to->axes[i]);
    if (axes_identity(to->rank, axes))
        return (struct lowered){x.id, *to};
    int id = moves_only_ones(&shape, axes) ? emit_reshape(l, call, x.id, axes)
                                           : emit_permute(l, call, x.id, to->rank, axes);
    return (struct lowered){id, *to};
}

struct lowered lower_input(struct lowering *l, const struct keras_call *call, int index)
{
    const struct holders *h = &l->holders[call->inputs[index]->id];
    if (lowering_failed(l) || h->count == 0) {
        h5pt_fail(l->err, H5PT_INTERNAL, call->layer->path, "An input of the layer was not lowered");
        return (struct lowered){.id = -1, .layout = layout_keras(call->inputs[index]->shape.rank)};
    }
    return h->items[0];
}

struct lowered lower_input_as(struct lowering *l, const struct keras_call *call, int index, const struct layout *layout)
{
    struct lowered x = lower_input(l, call, index);
    if (lowering_failed(l))
        return x;
    const struct keras_value *value = call->inputs[index];
    const struct holders *h = &l->holders[value->id];
    for (int i = 0; i < h->count; i++)
        if (layout_equal(&h->items[i].layout, layout))
            return h->items[i];
    x = layout_convert(l, call, x, layout);
    lowering_hold(l, value, x);
    return x;
}

struct lowered lower_input_keras(struct lowering *l, const struct keras_call *call, int index)
{
    struct layout layout = layout_keras(call->inputs[index]->shape.rank);
    return lower_input_as(l, call, index, &layout);
}
