/* SPDX-License-Identifier: Apache-2.0 */
/* Putting tensors together along an axis, and taking one apart. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "layers/operation.h"
#include "layers/variants.h"

enum { MAX_PARTS = NODE_MAX_INPUTS };

struct join_config {
    enum join_variant variant;
    bool has_axis;
    int64_t axis;
};

static void op_join_read(struct config_reader *reader, void *config, int variant)
{
    struct join_config *c = config;
    c->variant = (enum join_variant)variant;
    if (c->variant == JOIN_HSTACK || c->variant == JOIN_VSTACK || c->variant == JOIN_DSTACK)
        return;
    c->has_axis = config_get(reader, "axis") != NULL;
    c->axis = config_int(reader, "axis", c->variant == JOIN_CONCATENATE ? -1 : 0);
    if (c->variant == JOIN_APPEND && !c->has_axis)
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "axis",
                      "Without an axis the batch would be mixed: not supported");
}

/* The tensors that are joined; their number or -1. */
static int parts(const struct join_config *c, const struct operand_source *source, struct operand ret[MAX_PARTS])
{
    if (c->variant != JOIN_APPEND)
        return operand_list(source, layer_argument(source->arguments, 0, c->variant == JOIN_STACK ? "x" : "xs"),
                            MAX_PARTS, ret);
    ret[0] = operand_at(source, 0, "x1");
    ret[1] = operand_at(source, 1, "x2");
    return ret[0].kind == OPERAND_NONE || ret[1].kind == OPERAND_NONE ? -1 : 2;
}

/* The shape of each part (of at least one axis more for the stacks of numpy), and the axis. False: it does not fit. */
static bool arranged(const struct join_config *c, const struct shape *in, struct shape *ret, int *ret_axis)
{
    struct shape s = *in;
    int rank = in->rank;
    if (c->variant == JOIN_STACK) {
        *ret_axis = axis_resolve(c->axis, rank + 1);
        if (*ret_axis < 0 || rank == SHAPE_MAX_RANK)
            return false;
        for (int i = s.rank++; i > *ret_axis; i--)
            s.dims[i] = s.dims[i - 1];
        s.dims[*ret_axis] = 1;
    } else if (c->variant == JOIN_DSTACK) {
        if (rank < 2)
            return false;
        if (rank == 2)
            s.dims[s.rank++] = 1;
        *ret_axis = 2;
    } else if (c->variant == JOIN_HSTACK || c->variant == JOIN_VSTACK) {
        *ret_axis = c->variant == JOIN_HSTACK && rank > 1 ? 1 : 0;
        if (rank < 2 && c->variant == JOIN_VSTACK)
            return false;
    } else {
        *ret_axis = axis_resolve(c->axis, rank);
    }
    *ret = s;
    return *ret_axis >= 0 && *ret_axis < s.rank;
}

static enum dtype joined_dtype(const struct operand *operands, int count)
{
    struct operand common = operands[0];
    for (int i = 1; i < count; i++) {
        common.dtype = operand_promote(&common, &operands[i]);
        common.weak = common.weak && operands[i].weak;
    }
    return common.dtype;
}

static int op_join_shape(struct layer_shape *s)
{
    const struct join_config *c = s->config;
    struct operand_source source = operands_of_shape(s);
    struct operand o[MAX_PARTS];
    int n = parts(c, &source, o), axis = 0;
    if (n < 1)
        return operand_fail(s, "xs");
    struct shape *out = &s->outputs[0];
    for (int i = 0; i < n; i++) {
        struct shape part;
        if (!arranged(c, &o[i].shape, &part, &axis) || (i > 0 && part.rank != out->rank))
            return layer_shape_fail(s, "The tensors of %s do not fit together", s->layer->class_name);
        for (int k = 0; i > 0 && k < part.rank; k++) {
            int64_t *dim = &out->dims[k], size = part.dims[k];
            if (k == axis)
                *dim = *dim < 0 || size < 0 ? DIM_UNKNOWN : *dim + size;
            else if (*dim < 0)
                *dim = size;
            else if (size >= 0 && size != *dim)
                return layer_shape_fail(s, "The tensors of %s differ in axis %d", s->layer->class_name, k);
        }
        if (i == 0)
            *out = part;
    }
    s->output_dtypes[0] = joined_dtype(o, n);
    return 0;
}

/* A tensor as blocks: `outer` of them, each with dims[axis] runs of `inner` cells. */
static void blocks(const struct shape *shape, int axis, int64_t *outer, int64_t *inner)
{
    *outer = *inner = 1;
    for (int i = 0; i < axis; i++)
        *outer *= shape->dims[i];
    for (int i = axis + 1; i < shape->rank; i++)
        *inner *= shape->dims[i];
}

/* Cells at… of axis `axis` of `whole` become those of a part that has `width` of them there. */
static void copy_from(const struct tensor *whole, int axis, int64_t at, int64_t width, float *part)
{
    int64_t outer, inner;
    blocks(&whole->shape, axis, &outer, &inner);
    for (int64_t i = 0; i < outer; i++)
        memcpy(part + i * width * inner, whole->data + (i * whole->shape.dims[axis] + at) * inner,
               (size_t)(width * inner) * sizeof(float));
}

static void copy_to(struct tensor *whole, int axis, int64_t at, int64_t width, const float *part)
{
    int64_t outer, inner;
    blocks(&whole->shape, axis, &outer, &inner);
    for (int64_t i = 0; i < outer; i++)
        memcpy(whole->data + (i * whole->shape.dims[axis] + at) * inner, part + i * width * inner,
               (size_t)(width * inner) * sizeof(float));
}

static int op_join_reference(const struct layer_run *run)
{
    const struct join_config *c = run->config;
    struct operand_source source = operands_of_run(run);
    struct operand o[MAX_PARTS];
    int n = parts(c, &source, o), axis = 0, status = 0;
    int64_t at = 0;
    for (int i = 0; status == 0 && i < n; i++) {
        struct operand_tensor t;
        struct shape part;
        status = operand_tensor(run, &o[i], &t);
        if (status == 0 && arranged(c, &t.tensor->shape, &part, &axis)) {
            copy_to(run->outputs[0], axis, at, part.dims[axis], t.tensor->data);
            at += part.dims[axis];
        }
        operand_tensor_release(&t);
    }
    return status;
}

static int op_join_lower(struct lowering *l, const struct keras_call *call)
{
    const struct join_config *c = call->layer->config;
    struct operand_source source = operands_of_call(call);
    struct operand o[MAX_PARTS];
    struct lowered x[MAX_PARTS];
    char name[16];
    int n = parts(c, &source, o), axis = 0;
    struct shape out = call->outputs[0]->shape, part;
    bool plain = c->variant == JOIN_CONCATENATE || c->variant == JOIN_APPEND || c->variant == JOIN_HSTACK ||
                 c->variant == JOIN_VSTACK;
    if (n < 1 || !arranged(c, &o[0].shape, &part, &axis))
        return -1;
    struct layout layout = plain ? lower_common_layout(l, call, n, o, out.rank) : layout_keras(o[0].shape.rank);
    if (layout.flat_rank)
        layout = layout_keras(layout.rank);
    for (int i = 0; i < n; i++) {
        (void)snprintf(name, sizeof name, "x%d", i + 1);
        x[i] = lower_operand_as(l, call, &o[i], name, &layout, call->outputs[0]->dtype);
        if (c->variant == JOIN_DSTACK && o[i].shape.rank == 2)
            x[i] = lower_unsqueeze(l, call, x[i], 2);
    }
    if (c->variant != JOIN_STACK) {
        return lower_output(l, call, 0, lower_cat(l, call, n, x, layout_axis(&x[0].layout, axis)));
    }
    int ids[MAX_PARTS];
    for (int i = 0; i < n; i++)
        ids[i] = x[i].id;
    struct torch_attr attr = attr_int("dim", axis);
    int id = lower_node(l, call,
                        &(struct node_spec){
                            .op = TORCH_STACK,
                            .input_count = n,
                            .inputs = ids,
                            .attr_count = 1,
                            .attrs = &attr,
                            .shape = out,
                            .dtype = call->outputs[0]->dtype,
                        });
    return lower_output(l, call, 0, (struct lowered){id, layout_keras(out.rank)});
}

const struct layer_handler op_join_handler = {
    .config_size = sizeof(struct join_config),
    .read = op_join_read,
    .shape = op_join_shape,
    .reference = op_join_reference,
    .lower = op_join_lower,
};

/* ---- Split, ArraySplit, Unstack ---- */

struct split_config {
    enum split_variant variant;
    int64_t axis, sections; /* equal parts; 0: at the indices */
    int index_count;
    int64_t indices[LAYER_MAX_OUTPUTS];
};

static void op_split_read(struct config_reader *reader, void *config, int variant)
{
    struct split_config *c = config;
    c->variant = (enum split_variant)variant;
    c->axis = config_int(reader, "axis", 0);
    if (c->variant == SPLIT_UNSTACK) {
        (void)config_int(reader, "num", 0);
        return;
    }
    const json_t *value = config_get(reader, "indices_or_sections");
    long long n;
    if (json_read_int(value, &n))
        c->sections = n;
    else
        c->index_count = config_list(reader, "indices_or_sections", LAYER_MAX_OUTPUTS - 1, c->indices);
    if (c->index_count < 0 || (c->index_count == 0 && (c->sections < 1 || c->sections > LAYER_MAX_OUTPUTS)))
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "indices_or_sections", "1 to %d parts are supported",
                      LAYER_MAX_OUTPUTS);
}

/* The first cells of the parts, with the size behind the last; the number of parts or -1. */
static int split_points(const struct split_config *c, int64_t size, int64_t ret[LAYER_MAX_OUTPUTS + 1])
{
    int n = c->variant == SPLIT_UNSTACK ? (int)(size > LAYER_MAX_OUTPUTS ? 0 : size)
            : c->index_count            ? c->index_count + 1
                                        : (int)c->sections;
    if (n < 1 || (c->variant == SPLIT_SPLIT && !c->index_count && size % n != 0))
        return -1;
    ret[0] = 0;
    for (int i = 1; i < n; i++) {
        int64_t larger = i < size % n ? i : size % n;
        int64_t point = c->index_count ? c->indices[i - 1] : i * (size / n) + larger;
        ret[i] = point < 0 ? point + size : point > size ? size : point;
        if (ret[i] < ret[i - 1])
            return -1;
    }
    ret[n] = size;
    return n;
}

static int op_split_shape(struct layer_shape *s)
{
    const struct split_config *c = s->config;
    const struct shape *in = &s->inputs[0];
    int64_t points[LAYER_MAX_OUTPUTS + 1];
    int axis = axis_resolve(c->axis, in->rank);
    if (s->input_count != 1 || layer_argument_tensor(layer_argument(s->arguments, 0, "x")) != 0)
        return operand_fail(s, "x");
    int n = axis < 0 || in->dims[axis] < 0 ? -1 : split_points(c, in->dims[axis], points);
    if (n < 1)
        return layer_shape_fail(s, "The input cannot be split like that; at most %d parts are supported",
                                LAYER_MAX_OUTPUTS);
    s->output_count = n;
    for (int i = 0; i < n; i++) {
        s->outputs[i] = *in;
        s->output_dtypes[i] = s->input_dtypes[0];
        s->outputs[i].dims[axis] = points[i + 1] - points[i];
        if (points[i + 1] == points[i])
            return layer_shape_fail(s, "Part %d has no cells", i);
        if (c->variant == SPLIT_UNSTACK) {
            for (int k = axis; k + 1 < in->rank; k++)
                s->outputs[i].dims[k] = in->dims[k + 1];
            s->outputs[i].rank--;
        }
    }
    return 0;
}

static int op_split_reference(const struct layer_run *run)
{
    const struct split_config *c = run->config;
    const struct tensor *whole = run->inputs[0];
    int64_t points[LAYER_MAX_OUTPUTS + 1] = {0};
    int axis = axis_resolve(c->axis, whole->shape.rank);
    int n = axis < 0 ? 0 : split_points(c, whole->shape.dims[axis], points);
    for (int i = 0; i < n; i++)
        copy_from(whole, axis, points[i], points[i + 1] - points[i], run->outputs[i]->data);
    return 0;
}

static int op_split_lower(struct lowering *l, const struct keras_call *call)
{
    const struct split_config *c = call->layer->config;
    int64_t points[LAYER_MAX_OUTPUTS + 1];
    const struct shape *in = &call->inputs[0]->shape;
    int axis = axis_resolve(c->axis, in->rank), n = split_points(c, in->dims[axis], points);
    struct lowered x = c->variant == SPLIT_UNSTACK ? lower_input_keras(l, call, 0) : lower_input_plain(l, call, 0);
    for (int i = 0; i < n; i++)
        lower_output(l, call, i,
                     c->variant == SPLIT_UNSTACK
                         ? lower_select(l, call, x, axis, i)
                         : lower_range(l, call, x, layout_axis(&x.layout, axis), points[i], points[i + 1], 1));
    return 0;
}

const struct layer_handler op_split_handler = {
    .config_size = sizeof(struct split_config),
    .read = op_split_read,
    .shape = op_split_shape,
    .reference = op_split_reference,
    .lower = op_split_lower,
};
