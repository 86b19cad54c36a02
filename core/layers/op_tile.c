/* SPDX-License-Identifier: Apache-2.0 */
/* Operations that turn, roll, repeat and pad along axes. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "layers/operation.h"
#include "layers/variants.h"

enum pad_mode { PAD_CONSTANT, PAD_REFLECT, PAD_SYMMETRIC, PAD_EDGE };

struct tile_config {
    enum tile_variant variant;
    bool flat; /* ROLL, REPEAT without axis: over all cells */
    bool all;  /* FLIP without axis: every axis */
    struct axis_list axes;
    int amount_count;
    int64_t amounts[2 * SHAPE_MAX_RANK]; /* shifts, repeats, or pad_width as pairs */
    enum pad_mode mode;
    int64_t target[2]; /* PAD_IMAGES */
};

static void read_pad(struct config_reader *reader, struct tile_config *c)
{
    const double *widths;
    int n = config_doubles(reader, "pad_width", &widths);
    if (n < 1 || n > 2 * SHAPE_MAX_RANK)
        config_refuse(reader, H5PT_CONFIG_INVALID, "pad_width", "pad_width is not a list of pairs");
    for (int i = 0; i < n && i < 2 * SHAPE_MAX_RANK; i++)
        c->amounts[i] = (int64_t)widths[i];
    for (int i = 0; i < n && i < 2 * SHAPE_MAX_RANK; i++)
        if (c->amounts[i] < 0 || c->amounts[i] > INT32_MAX)
            config_refuse(reader, H5PT_CONFIG_INVALID, "pad_width", "pad_width must not be negative");
    c->amount_count = n;
    c->mode = (enum pad_mode)config_choice(reader, "mode", "constant reflect symmetric edge", PAD_CONSTANT);
}

static void op_tile_read(struct config_reader *reader, void *config, int variant)
{
    struct tile_config *c = config;
    *c = (struct tile_config){.variant = (enum tile_variant)variant};
    switch (c->variant) {
    case TILE_FLIP:
        c->all = !config_get(reader, "axis");
        c->axes = axis_list_read(reader, "axis", 0);
        break;
    case TILE_FLIPLR: c->axes = (struct axis_list){1, {1}}; break;
    case TILE_FLIPUD: c->axes = (struct axis_list){1, {0}}; break;
    case TILE_ROLL:
    case TILE_REPEAT:
        c->flat = !config_get(reader, "axis");
        c->axes = axis_list_read(reader, "axis", 0);
        c->amount_count = config_list(reader, c->variant == TILE_ROLL ? "shift" : "repeats", SHAPE_MAX_RANK,
                                      c->amounts);
        if (c->flat)
            config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "axis",
                          "Without an axis the batch would be mixed: not supported");
        if (c->amount_count < 1 || (c->amount_count > 1 && c->amount_count != c->axes.count))
            config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, c->variant == TILE_ROLL ? "shift" : "repeats",
                          "One number, or one for each axis, is supported");
        break;
    case TILE_TILE: c->amount_count = config_list(reader, "repeats", SHAPE_MAX_RANK, c->amounts); break;
    case TILE_PAD: read_pad(reader, c); break;
    case TILE_PAD_IMAGES: {
        static const char *const keys[] = {"top_padding", "left_padding", "bottom_padding", "right_padding"};
        for (int i = 0; i < 4; i++)
            c->amounts[i] = config_int(reader, keys[i], DIM_UNKNOWN);
        c->target[0] = config_int(reader, "target_height", DIM_UNKNOWN);
        c->target[1] = config_int(reader, "target_width", DIM_UNKNOWN);
        (void)config_data_format(reader);
        break;
    }
    }
}

/* What happens to each axis. */
struct plan {
    enum { AXIS_KEEP, AXIS_FLIP, AXIS_ROLL, AXIS_REPEAT, AXIS_TILE, AXIS_PAD } kind[SHAPE_MAX_RANK];
    int64_t amount[SHAPE_MAX_RANK], after[SHAPE_MAX_RANK];
    enum pad_mode mode;
    int lead; /* TILE: axes that are added in front */
};

static bool plan_pad_images(const struct keras_layer *layer, const struct shape *in, struct plan *p)
{
    const struct tile_config *c = layer->config;
    int first = in->rank - 3 + (layer->channels_first ? 1 : 0);
    if (in->rank < 3)
        return false;
    for (int k = 0; k < 2; k++) {
        int64_t before = c->amounts[k], after = c->amounts[k + 2], target = c->target[k], size = in->dims[first + k];
        if ((before < 0) + (after < 0) + (target < 0) != 1 || (size < 0 && target >= 0))
            return false;
        if (before < 0)
            before = target - size - after;
        if (after < 0)
            after = target - size - before;
        if (before < 0 || after < 0)
            return false;
        p->kind[first + k] = AXIS_PAD;
        p->amount[first + k] = before;
        p->after[first + k] = after;
    }
    return true;
}

static bool plan_pad(const struct tile_config *c, int rank, struct plan *p)
{
    if (c->amount_count > 2 && c->amount_count != 2 * rank)
        return false;
    for (int i = 0; i < rank; i++) {
        int at = c->amount_count > 2 ? 2 * i : 0;
        p->kind[i] = AXIS_PAD;
        p->amount[i] = c->amounts[at];
        p->after[i] = c->amounts[c->amount_count == 1 ? 0 : at + 1];
    }
    p->mode = c->mode;
    return true;
}

static bool make_plan(const struct keras_layer *layer, const struct shape *in, struct plan *p)
{
    const struct tile_config *c = layer->config;
    *p = (struct plan){.lead = 0};
    if (c->variant == TILE_PAD)
        return plan_pad(c, in->rank, p);
    if (c->variant == TILE_PAD_IMAGES)
        return plan_pad_images(layer, in, p);
    if (c->variant == TILE_TILE) {
        p->lead = c->amount_count > in->rank ? c->amount_count - in->rank : 0;
        for (int i = 0; i < in->rank; i++) {
            int at = c->amount_count - in->rank + i;
            p->kind[i] = AXIS_TILE;
            p->amount[i] = at < 0 ? 1 : c->amounts[at];
            if (p->amount[i] < 1 || p->amount[i] > INT32_MAX)
                return false;
        }
        return c->amount_count > 0 && in->rank + p->lead <= SHAPE_MAX_RANK;
    }
    for (int k = 0; k < (c->all ? in->rank : c->axes.count); k++) {
        int axis = c->all ? k : axis_resolve(c->axes.axes[k], in->rank);
        if (axis < 0)
            return false;
        p->kind[axis] = c->variant == TILE_ROLL ? AXIS_ROLL : c->variant == TILE_REPEAT ? AXIS_REPEAT : AXIS_FLIP;
        p->amount[axis] += c->amount_count == 0 ? 0 : c->amounts[c->amount_count > 1 ? k : 0];
        if (c->variant == TILE_REPEAT && (p->amount[axis] < 1 || p->amount[axis] > INT32_MAX || k > 0))
            return false;
    }
    return true;
}

static int64_t planned_size(const struct plan *p, int axis, int64_t size)
{
    int64_t ret = size;
    if (size < 0)
        return DIM_UNKNOWN;
    if (p->kind[axis] == AXIS_REPEAT || p->kind[axis] == AXIS_TILE)
        return __builtin_mul_overflow(size, p->amount[axis], &ret) ? -2 : ret;
    return p->kind[axis] == AXIS_PAD ? size + p->amount[axis] + p->after[axis] : size;
}

static int op_tile_shape(struct layer_shape *s)
{
    const struct tile_config *c = s->config;
    const struct shape *in = &s->inputs[0];
    struct plan p;
    if (s->input_count != 1 || layer_argument_tensor(layer_argument(s->arguments, 0, NULL)) != 0)
        return operand_fail(s, "x");
    struct operand_source source = operands_of_shape(s);
    const json_t *fill = layer_argument(s->arguments, 1, "constant_values");
    if (c->variant == TILE_PAD && fill && operand_from(&source, fill).kind != OPERAND_NUMBER)
        return operand_fail(s, "constant_values");
    if (!make_plan(s->layer, in, &p))
        return layer_shape_fail(s, "%s does not fit an input of %d dimensions", s->layer->class_name, in->rank);
    s->outputs[0] = (struct shape){.rank = in->rank + p.lead};
    s->output_dtypes[0] = s->input_dtypes[0];
    for (int i = 0; i < p.lead; i++)
        s->outputs[0].dims[i] = c->amounts[i];
    for (int i = 0; i < in->rank; i++) {
        int64_t size = in->dims[i], most = p.mode == PAD_REFLECT ? size - 1 : size;
        if (size >= 0 && p.kind[i] == AXIS_PAD && (p.mode == PAD_REFLECT || p.mode == PAD_SYMMETRIC) &&
            (p.amount[i] > most || p.after[i] > most))
            return layer_shape_fail(s, "Axis %d is too small to be mirrored", i);
        s->outputs[0].dims[p.lead + i] = planned_size(&p, i, size);
        if (s->outputs[0].dims[p.lead + i] < DIM_UNKNOWN)
            return layer_shape_fail(s, "Axis %d gets too long", i);
    }
    return 0;
}

/* ---- reference ---- */

static int64_t padded_source(const struct plan *p, int64_t at, int64_t size)
{
    if (at >= 0 && at < size)
        return at;
    switch (p->mode) {
    case PAD_REFLECT: return at < 0 ? -at : 2 * (size - 1) - at;
    case PAD_SYMMETRIC: return at < 0 ? -at - 1 : 2 * size - 1 - at;
    case PAD_EDGE: return at < 0 ? 0 : size - 1;
    case PAD_CONSTANT: break;
    }
    return -1;
}

static int64_t tile_source(const void *context, int axis, int64_t size, int64_t index)
{
    const struct plan *p = context;
    switch (p->kind[axis]) {
    case AXIS_KEEP: break;
    case AXIS_FLIP: return size - 1 - index;
    case AXIS_ROLL: return ((index - p->amount[axis]) % size + size) % size;
    case AXIS_REPEAT: return index / p->amount[axis];
    case AXIS_TILE: return index % size;
    case AXIS_PAD: return padded_source(p, index - p->amount[axis], size);
    }
    return index;
}

static double fill_value(const json_t *arguments)
{
    double fill = 0;
    (void)json_read_double(layer_argument(arguments, 1, "constant_values"), &fill);
    return fill;
}

static int op_tile_reference(const struct layer_run *run)
{
    const struct tensor *in = run->inputs[0];
    struct tensor *out = run->outputs[0];
    struct plan p;
    if (!make_plan(run->layer, &in->shape, &p))
        return h5pt_fail(run->err, H5PT_INTERNAL, run->layer->path, "The configuration is not as it was");
    const int64_t *dims = out->shape.dims + p.lead;
    int64_t block = 1;
    for (int i = 0; i < in->shape.rank; i++)
        block *= dims[i];
    if (reference_by_axes(run, in, dims, tile_source, &p, (float)fill_value(run->arguments), out->data) < 0)
        return -1;
    for (int64_t i = block; i < out->count; i++)
        out->data[i] = out->data[i - block];
    return 0;
}

/* ---- lowering ---- */

/* The border cells that are put in front (or behind) along one dim. */
static struct lowered border(struct lowering *l, const struct keras_call *call, struct lowered x, int dim,
                             int64_t count, bool front, enum pad_mode mode)
{
    int64_t skip = mode == PAD_REFLECT ? 1 : 0, width = mode == PAD_EDGE ? 1 : count;
    struct lowered part = front ? lower_range(l, call, x, dim, skip, skip + width, 1)
                                : lower_range(l, call, x, dim, -skip - width, -skip, 1);
    if (mode != PAD_EDGE)
        return lower_flip(l, call, part, 1, &(int64_t){dim});
    struct torch_attr attrs[] = {attr_int("repeats", count), attr_int("dim", dim)};
    struct shape shape = lower_shape(l, part.id);
    shape.dims[dim] = count;
    return lower_one(l, call, TORCH_REPEAT_INTERLEAVE, part, shape, part.layout, lower_dtype(l, part.id), 2, attrs);
}

static struct lowered mirror(struct lowering *l, const struct keras_call *call, struct lowered x, int dim,
                             int64_t before, int64_t after, enum pad_mode mode)
{
    struct lowered parts[3];
    int n = 0;
    if (before > 0)
        parts[n++] = border(l, call, x, dim, before, true, mode);
    parts[n++] = x;
    if (after > 0)
        parts[n++] = border(l, call, x, dim, after, false, mode);
    return n > 1 ? lower_cat(l, call, n, parts, dim) : x;
}

static struct lowered lower_padding(struct lowering *l, const struct keras_call *call, const struct plan *p,
                                    struct lowered x)
{
    int64_t before[SHAPE_MAX_RANK], after[SHAPE_MAX_RANK];
    for (int i = 0; i < x.layout.rank; i++) {
        int axis = x.layout.axes[i];
        before[i] = p->kind[axis] == AXIS_PAD ? p->amount[axis] : 0;
        after[i] = p->kind[axis] == AXIS_PAD ? p->after[axis] : 0;
        if (p->mode != PAD_CONSTANT)
            x = mirror(l, call, x, i, before[i], after[i], p->mode);
    }
    return p->mode == PAD_CONSTANT ? lower_pad(l, call, x, before, after, fill_value(call->arguments)) : x;
}

static struct lowered lower_tiling(struct lowering *l, const struct keras_call *call, const struct plan *p,
                                   struct lowered x)
{
    const struct tile_config *c = call->layer->config;
    int64_t dims[SHAPE_MAX_RANK];
    struct shape shape = call->outputs[0]->shape;
    struct torch_attr attr;
    if (p->lead > 0) {
        x = lower_input_keras(l, call, 0);
        attr = attr_list(l, "dims", c->amount_count, c->amounts);
        return lower_one(l, call, TORCH_TILE, x, shape, layout_keras(shape.rank), lower_dtype(l, x.id), 1, &attr);
    }
    for (int i = 0; i < x.layout.rank; i++)
        dims[i] = p->amount[x.layout.axes[i]];
    attr = attr_list(l, "dims", x.layout.rank, dims);
    return lower_one(l, call, TORCH_TILE, x, shape_permute(&shape, x.layout.axes), x.layout, lower_dtype(l, x.id), 1,
                     &attr);
}

static int op_tile_lower(struct lowering *l, const struct keras_call *call)
{
    struct plan p;
    int64_t dims[SHAPE_MAX_RANK], amounts[SHAPE_MAX_RANK];
    int count = 0;
    if (!make_plan(call->layer, &call->inputs[0]->shape, &p))
        return -1;
    struct lowered x = lower_input_plain(l, call, 0);
    for (int i = 0; i < x.layout.rank; i++) {
        int axis = x.layout.axes[i];
        if (p.kind[axis] == AXIS_KEEP)
            continue;
        amounts[count] = p.amount[axis];
        dims[count++] = i;
    }
    struct shape shape = shape_permute(&call->outputs[0]->shape, x.layout.axes);
    if (p.lead == 0 && (count == 0 || p.kind[x.layout.axes[dims[0]]] == AXIS_FLIP)) {
        x = count ? lower_flip(l, call, x, count, dims) : x;
    } else if (p.kind[0] == AXIS_TILE) {
        x = lower_tiling(l, call, &p, x);
    } else if (p.kind[x.layout.axes[dims[0]]] == AXIS_ROLL) {
        struct torch_attr attrs[] = {attr_list(l, "shifts", count, amounts), attr_list(l, "dims", count, dims)};
        x = lower_one(l, call, TORCH_ROLL, x, shape, x.layout, lower_dtype(l, x.id), 2, attrs);
    } else if (p.kind[x.layout.axes[dims[0]]] == AXIS_REPEAT) {
        struct torch_attr attrs[] = {attr_int("repeats", amounts[0]), attr_int("dim", dims[0])};
        x = lower_one(l, call, TORCH_REPEAT_INTERLEAVE, x, shape, x.layout, lower_dtype(l, x.id), 2, attrs);
    } else {
        x = lower_padding(l, call, &p, x);
    }
    return lower_output(l, call, 0, x);
}

const struct layer_handler op_tile_handler = {
    .config_size = sizeof(struct tile_config),
    .read = op_tile_read,
    .shape = op_tile_shape,
    .reference = op_tile_reference,
    .lower = op_tile_lower,
};
