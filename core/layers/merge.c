/* SPDX-License-Identifier: Apache-2.0 */
/* Add, Subtract, Multiply, Average, Maximum, Minimum (the variant, of enum merge_variant), element by element. Sizes of 1
 * broadcast; a tensor with fewer dimensions gets ones behind the batch. */
#include <string.h>

#include "layers/axes.h"
#include "layers/compose.h"
#include "layers/layer.h"
#include "layers/lower.h"
#include "layers/operation.h"
#include "layers/variants.h"

static void merge_read(struct config_reader *reader, void *config, int variant)
{
    (void)reader;
    *(enum merge_variant *)config = (enum merge_variant)variant;
}

/* The shape with ones behind the batch, up to `rank` dimensions. */
static struct shape shape_padded(const struct shape *shape, int rank)
{
    struct shape out = {.rank = rank, .dims = {shape->dims[0]}};
    for (int i = 1; i < rank; i++)
        out.dims[i] = i <= rank - shape->rank ? 1 : shape->dims[i - (rank - shape->rank)];
    return out;
}

static int merge_rank(int count, const struct shape *shapes)
{
    int rank = 0;
    for (int i = 0; i < count; i++)
        if (shapes[i].rank > rank)
            rank = shapes[i].rank;
    return rank;
}

static int merge_shape(struct layer_shape *s)
{
    const enum merge_variant *operation = s->config;
    int count = layer_tensor_count(s->input_count, s->mask_of), rank = merge_rank(count, s->inputs);
    if (*operation == MERGE_SUBTRACT && count != 2)
        return layer_shape_fail(s, "Subtract takes two tensors, not %d", count);
    for (int i = 0; i < count; i++) {
        int mask = layer_mask(s->mask_of, i);
        if (mask >= 0 && (s->inputs[i].rank != rank || s->inputs[mask].rank != rank - 1))
            return h5pt_fail(s->err, H5PT_UNSUPPORTED_MASK, "mask",
                             "The mask of input %d does not cover all but its features", i);
        if (s->inputs[i].rank < 1)
            return layer_shape_fail(s, "Input %d has no batch", i);
        struct shape padded = shape_padded(&s->inputs[i], rank);
        char a[SHAPE_TEXT_SIZE], b[SHAPE_TEXT_SIZE];
        if (i == 0)
            s->outputs[0] = padded;
        else if (!shape_broadcast(&s->outputs[0], &padded, &s->outputs[0]))
            return layer_shape_fail(s, "%s and %s do not fit together", shape_text(&s->outputs[0], a),
                                    shape_text(&s->inputs[i], b));
    }
    return 0;
}

static float merge_two(enum merge_variant operation, float a, float b)
{
    switch (operation) {
    case MERGE_ADD:
    case MERGE_AVERAGE: return a + b;
    case MERGE_SUBTRACT: return a - b;
    case MERGE_MULTIPLY: return a * b;
    case MERGE_MAXIMUM: return a != a || a > b ? a : b;
    case MERGE_MINIMUM: return a != a || a < b ? a : b;
    }
    return a;
}

/* Keras 3: the running result of steps that are kept, and which they are. */
struct masked_merge {
    enum merge_variant operation;
    float y;
    bool kept, known; /* `kept` says something only when `known` */
};

/* Takes in tensor `index`, of which this element is x and, with a mask, counts or not. */
static void merge_masked(struct masked_merge *m, int index, float x, bool has_mask, bool counts)
{
    if (m->operation == MERGE_MULTIPLY) {
        x = has_mask && !counts ? 1 : x;
        m->y = index ? m->y * x : x;
        m->kept = m->kept || counts;
        return;
    }
    if (index == 0) {
        m->y = x;
        m->known = has_mask;
        m->kept = counts;
        return;
    }
    if (has_mask && !counts)
        x = m->y;
    if (m->known && !m->kept)
        m->y = x;
    m->known = m->known && has_mask;
    m->kept = m->kept || counts;
    m->y = merge_two(m->operation, m->y, x);
}

/* Slow and plain: for each element, all tensors in order. */
static void reference_masked(const struct layer_run *run, int count)
{
    struct tensor *out = run->outputs[0];
    enum merge_variant operation = *(const enum merge_variant *)run->config;
    bool all = true;
    for (int k = 0; k < count; k++)
        all = all && layer_mask(run->mask_of, k) >= 0;
    for (int64_t i = 0; i < out->count; i++) {
        struct masked_merge m = {.operation = operation};
        for (int k = 0; k < count; k++) {
            const struct shape *shape = &run->inputs[k]->shape;
            int mask = layer_mask(run->mask_of, k);
            int64_t offset = 0, step = 0, rest = i, stride = 1, step_stride = 1;
            for (int axis = shape->rank - 1; axis >= 0; axis--) {
                int64_t at = shape->dims[axis] == 1 ? 0 : rest % out->shape.dims[axis];
                rest /= out->shape.dims[axis];
                offset += at * stride;
                stride *= shape->dims[axis];
                if (axis < shape->rank - 1) {
                    step += at * step_stride;
                    step_stride *= shape->dims[axis];
                }
            }
            merge_masked(&m, k, run->inputs[k]->data[offset], mask >= 0,
                         mask >= 0 && run->inputs[mask]->data[step] != 0);
        }
        out->data[i] = operation == MERGE_MULTIPLY && all && !m.kept ? 0 : m.y;
    }
}

static int merge_reference(const struct layer_run *run)
{
    enum merge_variant operation = *(const enum merge_variant *)run->config;
    struct tensor *out = run->outputs[0];
    int count = layer_tensor_count(run->input_count, run->mask_of);
    if (count < run->input_count) {
        reference_masked(run, count);
        return 0;
    }
    for (int k = 0; k < run->input_count; k++) {
        const struct tensor *x = run->inputs[k];
        struct shape padded = shape_padded(&x->shape, out->shape.rank);
        struct walk walk;
        walk_begin(&walk, &out->shape, &padded);
        for (int64_t i = 0; i < out->count; i++, walk_next(&walk))
            out->data[i] = k ? merge_two(operation, out->data[i], x->data[walk.offset]) : x->data[walk.offset];
    }
    if (operation == MERGE_AVERAGE)
        for (int64_t i = 0; i < out->count; i++)
            out->data[i] /= (float)run->input_count;
    return 0;
}

/* The layout to meet in: that of all inputs when they agree; else the first of full rank that is not Keras' own, so that
 * feature maps stay channels first; else Keras' own. */
static struct layout meeting_layout(struct lowering *l, const struct keras_call *call, int rank)
{
    struct layout layout = lower_input(l, call, 0).layout;
    bool all = layout.rank == rank;
    for (int i = 1; all && i < call->input_count; i++) {
        struct layout other = lower_input(l, call, i).layout;
        all = layout_equal(&other, &layout);
    }
    for (int i = 0; !all && i < call->input_count; i++) {
        layout = lower_input(l, call, i).layout;
        all = layout.rank == rank && !layout.flat_rank && !layout_is_keras(&layout);
    }
    return all ? layout : layout_keras(rank);
}

/* Input `index` in `layout`, with axes of size 1 put in where it has fewer dimensions. */
static struct lowered input_padded(struct lowering *l, const struct keras_call *call, int index,
                                   const struct layout *layout)
{
    int more = layout->rank - call->inputs[index]->shape.rank;
    if (more == 0)
        return lower_input_as(l, call, index, layout);
    struct layout own = {.rank = 0}; /* the same order of the axes that it has */
    for (int i = 0; i < layout->rank; i++) {
        int axis = layout->axes[i];
        if (axis == 0 || axis > more)
            own.axes[own.rank++] = axis == 0 ? 0 : axis - more;
    }
    struct lowered x = lower_input_as(l, call, index, &own);
    for (int i = 0; i < layout->rank; i++) {
        if (layout->axes[i] == 0 || layout->axes[i] > more)
            continue;
        struct shape shape = lower_shape(l, x.id);
        memmove(shape.dims + i + 1, shape.dims + i, (size_t)(shape.rank - i) * sizeof *shape.dims);
        shape.dims[i] = 1;
        shape.rank++;
        struct torch_attr dim = attr_int("dim", i);
        x.id = lower_function(l, call, TORCH_UNSQUEEZE, x.id, 1, &dim, shape, DTYPE_F32);
        if (x.id < 0)
            break;
    }
    x.layout = *layout;
    return x;
}

static const enum torch_op ops[] = {
    [MERGE_ADD] = TORCH_ADD,     [MERGE_SUBTRACT] = TORCH_SUB,    [MERGE_MULTIPLY] = TORCH_MUL,
    [MERGE_AVERAGE] = TORCH_ADD, [MERGE_MAXIMUM] = TORCH_MAXIMUM, [MERGE_MINIMUM] = TORCH_MINIMUM,
};

/* x where its mask keeps it, else 1, multiplied; 0 where all have a mask that hides. Maximum and minimum have no such number:
 * there, what is hidden takes the value of what it meets. */
static int lower_masked(struct lowering *l, const struct keras_call *call, int count)
{
    enum merge_variant operation = *(const enum merge_variant *)call->layer->config;
    const struct lowered none = {.id = -1};
    struct lowered y = none, kept = none;
    int masked = 0;
    for (int i = 0; i < count; i++) {
        int mask = layer_mask(call->mask_of, i);
        struct lowered x = lower_input_keras(l, call, i), counts = none;
        if (mask >= 0)
            counts = lower_unsqueeze(l, call, lower_input_keras(l, call, mask), x.layout.rank - 1);
        if (x.id < 0 || (mask >= 0 && counts.id < 0))
            return -1;
        masked += mask >= 0;
        if (mask >= 0 && operation == MERGE_MULTIPLY)
            x = lower_where_number(l, call, counts, x, 1);
        else if (mask >= 0 && i)
            x = lower_where(l, call, counts, x, y, DTYPE_F32);
        if (kept.id >= 0 && operation != MERGE_MULTIPLY)
            y = lower_where(l, call, kept, y, x, DTYPE_F32);
        y = i ? lower_binary(l, call, ops[operation], y, x) : x;
        kept = masked <= i ? none : i ? lower_binary(l, call, TORCH_LOGICAL_OR, kept, counts) : counts;
    }
    if (operation == MERGE_MULTIPLY && kept.id >= 0)
        y = lower_where_number(l, call, kept, y, 0);
    return lower_output(l, call, 0, y);
}

static int merge_lower(struct lowering *l, const struct keras_call *call)
{
    enum merge_variant operation = *(const enum merge_variant *)call->layer->config;
    int count = layer_tensor_count(call->input_count, call->mask_of);
    if (count < call->input_count)
        return lower_masked(l, call, count);
    struct layout layout = meeting_layout(l, call, call->outputs[0]->shape.rank);
    struct lowered sum = input_padded(l, call, 0, &layout);
    for (int i = 1; i < call->input_count && sum.id >= 0; i++)
        sum = lower_binary(l, call, ops[operation], sum, input_padded(l, call, i, &layout));
    if (operation == MERGE_AVERAGE && call->input_count > 1)
        sum = lower_scalar(l, call, TORCH_DIV_SCALAR, sum, call->input_count);
    return lower_output(l, call, 0, sum);
}

const struct layer_handler merge_handler = {
    .config_size = sizeof(enum merge_variant),
    .read = merge_read,
    .shape = merge_shape,
    .reference = merge_reference,
    .lower = merge_lower,
};
