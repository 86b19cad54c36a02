/* SPDX-License-Identifier: Apache-2.0 */
/* Operations that give the cells of one tensor another shape or order of axes. The order of axes costs nothing: the torch value stays
 * and is known to hold the axes in another order; only who needs Keras' order pays for a permute. */
#include <string.h>

#include "layers/operation.h"
#include "layers/variants.h"

struct shape_config {
    enum shape_variant variant;
    bool has_axes;
    struct axis_list axes, to; /* TRANSPOSE; EXPAND_DIMS, SQUEEZE; SWAPAXES, MOVEAXIS, ROT90: from, to */
    int size_count;
    int64_t sizes[SHAPE_MAX_RANK]; /* RESHAPE, BROADCAST_TO */
    int64_t turns;                 /* ROT90: 0 … 3 */
};

static void op_shape_read(struct config_reader *reader, void *config, int variant)
{
    struct shape_config *c = config;
    c->variant = (enum shape_variant)variant;
    switch (c->variant) {
    case SHAPE_RESHAPE:
    case SHAPE_BROADCAST_TO:
        c->size_count = config_list(reader, c->variant == SHAPE_RESHAPE ? "newshape" : "shape", SHAPE_MAX_RANK,
                                    c->sizes);
        if (c->size_count < 0) {
            config_refuse(reader, H5PT_CONFIG_INVALID, "newshape", "The new shape is missing");
            c->size_count = 0;
        }
        break;
    case SHAPE_TRANSPOSE:
        c->has_axes = config_get(reader, "axes") != NULL;
        c->axes = axis_list_read(reader, "axes", 0);
        break;
    case SHAPE_EXPAND_DIMS:
    case SHAPE_SQUEEZE:
        c->has_axes = config_get(reader, "axis") != NULL;
        c->axes = axis_list_read(reader, "axis", 0);
        break;
    case SHAPE_SWAPAXES:
        c->axes = (struct axis_list){2, {config_int(reader, "axis1", 0), config_int(reader, "axis2", 1)}};
        break;
    case SHAPE_MOVEAXIS:
        c->axes = axis_list_read(reader, "source", 0);
        c->to = axis_list_read(reader, "destination", 0);
        break;
    case SHAPE_ROT90:
        c->axes.count = 2;
        c->axes.axes[1] = 1;
        if (config_get(reader, "axes"))
            c->axes = axis_list_read(reader, "axes", 0);
        c->turns = ((config_int(reader, "k", 1) % 4) + 4) % 4;
        break;
    case SHAPE_RAVEL: break;
    }
}

/* ---- orders of axes ---- */

static bool moved_axes(const struct shape_config *c, int rank, int ret[SHAPE_MAX_RANK])
{
    bool taken[SHAPE_MAX_RANK] = {false};
    for (int i = 0; i < rank; i++)
        ret[i] = -1;
    if (c->axes.count != c->to.count)
        return false;
    for (int i = 0; i < c->axes.count; i++) {
        int from = axis_resolve(c->axes.axes[i], rank), to = axis_resolve(c->to.axes[i], rank);
        if (from < 0 || to < 0 || taken[from] || ret[to] >= 0)
            return false;
        taken[from] = true;
        ret[to] = from;
    }
    for (int i = 0, next = 0; i < rank; i++) {
        if (ret[i] >= 0)
            continue;
        while (taken[next])
            next++;
        ret[i] = next++;
    }
    return true;
}

/* Axis i of the result is axis ret[i] of the input. False: the configuration does not fit. */
static bool order_of_axes(const struct shape_config *c, int rank, int ret[SHAPE_MAX_RANK])
{
    bool seen[SHAPE_MAX_RANK] = {false};
    for (int i = 0; i < rank; i++)
        ret[i] = i;
    if (c->variant == SHAPE_MOVEAXIS)
        return moved_axes(c, rank, ret);
    if (c->variant == SHAPE_TRANSPOSE && c->has_axes) {
        for (int i = 0; i < rank; i++) {
            int axis = i < c->axes.count ? axis_resolve(c->axes.axes[i], rank) : -1;
            if (axis < 0 || seen[axis])
                return false;
            seen[axis] = true;
            ret[i] = axis;
        }
        return c->axes.count == rank;
    }
    if (c->variant == SHAPE_TRANSPOSE) {
        for (int i = 0; i < rank; i++)
            ret[i] = rank - 1 - i;
        return true;
    }
    int a = axis_resolve(c->axes.axes[0], rank), b = axis_resolve(c->axes.axes[1], rank);
    if (c->axes.count != 2 || a < 0 || b < 0 || (c->variant == SHAPE_ROT90 && a == b))
        return false;
    if (c->variant == SHAPE_SWAPAXES || c->turns % 2 == 1) {
        ret[a] = b;
        ret[b] = a;
    }
    return true;
}

static bool reorders(const struct shape_config *c)
{
    return c->variant == SHAPE_TRANSPOSE || c->variant == SHAPE_SWAPAXES || c->variant == SHAPE_MOVEAXIS ||
           c->variant == SHAPE_ROT90;
}

/* The axes that ROT90 turns round after the axes have been exchanged. */
static int turned_axes(const struct shape_config *c, int rank, int64_t ret[2])
{
    int a = axis_resolve(c->axes.axes[0], rank), b = axis_resolve(c->axes.axes[1], rank);
    if (c->variant != SHAPE_ROT90 || c->turns == 0)
        return 0;
    ret[0] = c->turns == 3 ? b : a;
    ret[1] = b;
    return c->turns == 2 ? 2 : 1;
}

/* ---- shapes ---- */

static int reshaped(struct layer_shape *s, const struct shape_config *c)
{
    int64_t total, known = 1;
    int open = -1;
    bool counted = shape_count(&s->inputs[0], &total);
    struct shape *out = &s->outputs[0];
    *out = shape_of(c->variant == SHAPE_RAVEL ? 1 : c->size_count, c->sizes);
    if (c->variant == SHAPE_RAVEL)
        out->dims[0] = DIM_UNKNOWN;
    for (int i = 0; i < out->rank; i++) {
        if (out->dims[i] < 0 && open >= 0)
            return layer_shape_fail(s, "More than one size of the new shape is not given");
        if (out->dims[i] < 0)
            open = i;
        else if (__builtin_mul_overflow(known, out->dims[i], &known))
            return layer_shape_fail(s, "The new shape is too large");
    }
    if (open >= 0 && counted && known > 0)
        out->dims[open] = total / known;
    if (counted && (known == 0 || (open < 0 ? known : known * out->dims[open]) != total))
        return layer_shape_fail(s, "The input does not have as many elements as the new shape");
    return 0;
}

static int expanded(struct layer_shape *s, const struct shape_config *c)
{
    const struct shape *in = &s->inputs[0];
    int axes[SHAPE_MAX_RANK], rank = in->rank + c->axes.count;
    if (rank > SHAPE_MAX_RANK || axis_list_resolve(&c->axes, rank, axes) < 0)
        return layer_shape_fail(s, "The axes do not fit an input of %d dimensions", in->rank);
    s->outputs[0].rank = rank;
    for (int i = 0, k = 0, from = 0; i < rank; i++) {
        bool fresh = k < c->axes.count && axes[k] == i;
        k += fresh;
        s->outputs[0].dims[i] = fresh ? 1 : in->dims[from++];
    }
    return 0;
}

static int squeezed(struct layer_shape *s, const struct shape_config *c)
{
    const struct shape *in = &s->inputs[0];
    int axes[SHAPE_MAX_RANK], count = c->has_axes ? axis_list_resolve(&c->axes, in->rank, axes) : 0;
    if (count < 0)
        return layer_shape_fail(s, "The axes do not fit an input of %d dimensions", in->rank);
    s->outputs[0].rank = 0;
    for (int i = 0, k = 0; i < in->rank; i++) {
        bool named = k < count && axes[k] == i, gone = c->has_axes ? named : in->dims[i] == 1 && i > 0;
        k += named;
        if (named && in->dims[i] != 1 && in->dims[i] >= 0)
            return layer_shape_fail(s, "Axis %d has more than one cell", i);
        if (!gone)
            s->outputs[0].dims[s->outputs[0].rank++] = in->dims[i];
    }
    return 0;
}

static int op_shape_shape(struct layer_shape *s)
{
    const struct shape_config *c = s->config;
    const struct shape *in = &s->inputs[0];
    int axes[SHAPE_MAX_RANK];
    if (s->input_count != 1 ||
        layer_argument_tensor(layer_argument(s->arguments, 0, c->variant == SHAPE_ROT90 ? "array" : "x")) != 0)
        return operand_fail(s, "x");
    s->output_dtypes[0] = s->input_dtypes[0];
    if (reorders(c)) {
        if (!order_of_axes(c, in->rank, axes))
            return layer_shape_fail(s, "The axes do not fit an input of %d dimensions", in->rank);
        int a = axis_resolve(c->axes.axes[0], in->rank), b = axis_resolve(c->axes.axes[1], in->rank);
        if (c->variant == SHAPE_ROT90 && c->turns == 2 && in->dims[a] != in->dims[b])
            return layer_shape_fail(
                s, "Keras on TensorFlow turns what is not square by 180 degrees in another way than on other backends");
        s->outputs[0] = shape_permute(in, axes);
        return 0;
    }
    switch (c->variant) {
    case SHAPE_EXPAND_DIMS: return expanded(s, c);
    case SHAPE_SQUEEZE: return squeezed(s, c);
    case SHAPE_BROADCAST_TO:
        s->outputs[0] = shape_of(c->size_count, c->sizes);
        struct shape fitted;
        if (c->size_count < in->rank || !shape_known(&s->outputs[0]) || !shape_broadcast(in, &s->outputs[0], &fitted) ||
            !shape_equal(&fitted, &s->outputs[0]))
            return layer_shape_fail(s, "The input cannot be broadcast to the shape");
        return 0;
    default: return reshaped(s, c);
    }
}

static int op_shape_reference(const struct layer_run *run)
{
    const struct shape_config *c = run->config;
    const struct tensor *in = run->inputs[0];
    struct tensor *out = run->outputs[0];
    int axes[SHAPE_MAX_RANK];
    if (reorders(c)) {
        int64_t flips[2];
        bool flip[SHAPE_MAX_RANK] = {false};
        if (!order_of_axes(c, in->shape.rank, axes))
            return h5pt_fail(run->err, H5PT_INTERNAL, run->layer->path, "The configuration is not as it was");
        struct tensor *t = tensor_transpose(in, axes);
        if (!t)
            return h5pt_fail_memory(run->err);
        for (int i = turned_axes(c, in->shape.rank, flips) - 1; i >= 0; i--)
            flip[flips[i]] = true;
        int64_t index[SHAPE_MAX_RANK] = {0};
        for (int64_t n = 0; n < out->count; n++) {
            int64_t at = 0;
            for (int i = 0; i < t->shape.rank; i++)
                at = at * t->shape.dims[i] + (flip[i] ? t->shape.dims[i] - 1 - index[i] : index[i]);
            out->data[n] = t->data[at];
            for (int i = t->shape.rank - 1; i >= 0 && ++index[i] == t->shape.dims[i]; i--)
                index[i] = 0;
        }
        tensor_free(t);
        return 0;
    }
    struct walk walk;
    walk_begin(&walk, &out->shape, c->variant == SHAPE_BROADCAST_TO ? &in->shape : &out->shape);
    for (int64_t i = 0; i < out->count; i++, walk_next(&walk))
        out->data[i] = in->data[walk.offset];
    return 0;
}

/* ---- lowering ---- */

static struct lowered lower_reorder(struct lowering *l, const struct keras_call *call, const struct shape_config *c)
{
    struct lowered x = lower_input_plain(l, call, 0);
    int axes[SHAPE_MAX_RANK], place[SHAPE_MAX_RANK], rank = x.layout.rank;
    int64_t flips[2];
    if (!order_of_axes(c, rank, axes))
        return (struct lowered){.id = -1, .layout = x.layout};
    for (int i = 0; i < rank; i++)
        place[axes[i]] = i;
    for (int i = 0; i < rank; i++)
        x.layout.axes[i] = place[x.layout.axes[i]];
    int count = turned_axes(c, rank, flips);
    for (int i = 0; i < count; i++)
        flips[i] = layout_axis(&x.layout, (int)flips[i]);
    return count ? lower_flip(l, call, x, count, flips) : x;
}

static struct lowered lower_broadcast(struct lowering *l, const struct keras_call *call, struct lowered x)
{
    struct shape shape = call->outputs[0]->shape;
    struct torch_size sizes[SHAPE_MAX_RANK];
    for (int i = 0; i < shape.rank; i++)
        sizes[i] = (struct torch_size){shape.dims[i], -1};
    struct torch_attr attr = attr_sizes(l, "sizes", shape.rank, sizes);
    return lower_one(l, call, TORCH_EXPAND, x, shape, layout_keras(shape.rank), lower_dtype(l, x.id), 1, &attr);
}

/* The axes that are squeezed out, from the last to the first. */
static struct lowered lower_squeeze(struct lowering *l, const struct keras_call *call, const struct shape_config *c,
                                    struct lowered x)
{
    int axes[SHAPE_MAX_RANK], count = 0;
    struct shape shape = lower_shape(l, x.id);
    if (c->has_axes) {
        count = axis_list_resolve(&c->axes, shape.rank, axes);
    } else {
        for (int i = 1; i < shape.rank; i++)
            if (shape.dims[i] == 1)
                axes[count++] = i;
    }
    for (int k = count - 1; k >= 0; k--) {
        struct torch_attr attr = attr_int("dim", axes[k]);
        for (int i = axes[k]; i + 1 < shape.rank; i++)
            shape.dims[i] = shape.dims[i + 1];
        shape.rank--;
        x = lower_one(l, call, TORCH_SQUEEZE, x, shape, layout_keras(shape.rank), lower_dtype(l, x.id), 1, &attr);
    }
    return x;
}

static int op_shape_lower(struct lowering *l, const struct keras_call *call)
{
    const struct shape_config *c = call->layer->config;
    struct lowered y;
    if (reorders(c)) {
        y = lower_reorder(l, call, c);
        return lower_output(l, call, 0, y);
    }
    struct lowered x = lower_input_keras(l, call, 0);
    int axes[SHAPE_MAX_RANK], none[SHAPE_MAX_RANK];
    switch (c->variant) {
    case SHAPE_EXPAND_DIMS:
        y = x;
        int count = axis_list_resolve(&c->axes, call->outputs[0]->shape.rank, axes);
        for (int k = 0; k < count; k++)
            y = lower_unsqueeze(l, call, y, axes[k]);
        break;
    case SHAPE_SQUEEZE: y = lower_squeeze(l, call, c, x); break;
    case SHAPE_BROADCAST_TO: y = lower_broadcast(l, call, x); break;
    default:
        for (int i = 0; i < SHAPE_MAX_RANK; i++)
            none[i] = -1;
        y = lower_reshape(l, call, x, call->outputs[0]->shape.rank, call->outputs[0]->shape.dims, none);
    }
    return lower_output(l, call, 0, y);
}

const struct layer_handler op_shape_handler = {
    .config_size = sizeof(struct shape_config),
    .read = op_shape_read,
    .shape = op_shape_shape,
    .reference = op_shape_reference,
    .lower = op_shape_lower,
};
