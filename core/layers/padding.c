/* SPDX-License-Identifier: Apache-2.0 */
/* ZeroPadding and Cropping in one to three spatial dimensions (the variant). */
#include <string.h>

#include "base/json.h"
#include "layers/axes.h"
#include "layers/layer.h"
#include "layers/lower.h"
#include "layers/spatial.h"

/* Cells that are added or taken away before and after each spatial dimension. */
struct margin_config {
    int rank;
    int64_t before[WINDOW_MAX_RANK], after[WINDOW_MAX_RANK];
};

static bool read_margin(const json_t *value, int64_t *ret)
{
    long long n;
    if (!json_read_int(value, &n) || n < 0 || n > WINDOW_MAX_SETTING)
        return false;
    *ret = n;
    return true;
}

/* Two numbers: before and after. */
static bool read_pair(const json_t *value, int64_t *before, int64_t *after)
{
    value = json_unwrap(value);
    return json_array_size(value) == 2 && read_margin(json_array_get(value, 0), before) &&
           read_margin(json_array_get(value, 1), after);
}

/* One number for all sides; in one dimension a pair; in more a number or a pair for each. */
static bool read_margins(const json_t *value, struct margin_config *c)
{
    int64_t all;
    if (read_margin(value, &all)) {
        for (int i = 0; i < c->rank; i++)
            c->before[i] = c->after[i] = all;
        return true;
    }
    if (c->rank == 1 && read_pair(value, &c->before[0], &c->after[0]))
        return true;
    if (json_array_size(value) != (size_t)c->rank)
        return false;
    for (int i = 0; i < c->rank; i++) {
        const json_t *item = json_array_get(value, (size_t)i);
        if (read_margin(item, &all))
            c->before[i] = c->after[i] = all;
        else if (!read_pair(item, &c->before[i], &c->after[i]))
            return false;
    }
    return true;
}

static void margin_read(struct config_reader *reader, struct margin_config *c, int rank, const char *key,
                        int64_t absent)
{
    c->rank = rank;
    for (int i = 0; i < rank; i++)
        c->before[i] = c->after[i] = absent;
    (void)config_data_format(reader);
    const json_t *value = config_get(reader, key);
    if (value && !read_margins(value, c))
        config_refuse(reader, H5PT_CONFIG_INVALID, key, "\"%s\" is not a number of cells for each side", key);
}

/* The sizes with `sign` times the margins added. */
static int margin_shape(struct layer_shape *s, int sign)
{
    const struct margin_config *c = s->config;
    if (spatial_check_input(s, c->rank) < 0)
        return -1;
    const struct shape *in = &s->inputs[0];
    int first = spatial_axis(s->layer);
    struct shape out = *in;
    for (int i = 0; i < c->rank; i++) {
        int64_t *size = &out.dims[first + i];
        if (*size == DIM_UNKNOWN)
            continue;
        *size += sign * (c->before[i] + c->after[i]);
        if (*size < 1)
            return layer_shape_fail(s, "Nothing is left of the %lld cells of axis %d", (long long)in->dims[first + i],
                                    first + i);
    }
    s->outputs[0] = out;
    s->output_dtypes[0] = s->input_dtypes[0];
    return 0;
}

/* Copies the smaller of two tensors from, or to, its place inside the larger one. */
static void copy_inside(const struct layer_run *run, const struct shape *small, const struct shape *large,
                        bool to_large)
{
    const struct margin_config *c = run->config;
    int first = spatial_axis(run->layer);
    const float *x = run->inputs[0]->data;
    float *y = run->outputs[0]->data;
    int64_t count = to_large ? run->inputs[0]->count : run->outputs[0]->count;
    struct walk walk;
    walk_begin(&walk, small, large);
    for (int i = 0; i < c->rank; i++)
        walk.offset += c->before[i] * walk.strides[first + i];
    for (int64_t i = 0; i < count; i++, walk_next(&walk)) {
        if (to_large)
            y[walk.offset] = x[i];
        else
            y[i] = x[walk.offset];
    }
}

/* The margins per torch axis of a value in channels-first layout. */
static void torch_margins(const struct margin_config *c, int64_t before[SHAPE_MAX_RANK], int64_t after[SHAPE_MAX_RANK])
{
    memset(before, 0, SHAPE_MAX_RANK * sizeof *before);
    memset(after, 0, SHAPE_MAX_RANK * sizeof *after);
    for (int i = 0; i < c->rank; i++) {
        before[i + 2] = c->before[i];
        after[i + 2] = c->after[i];
    }
}

/* ---- ZeroPadding ---- */

static void zero_padding_read(struct config_reader *reader, void *config, int variant)
{
    margin_read(reader, config, variant, "padding", 1);
}

static int zero_padding_shape(struct layer_shape *s)
{
    return margin_shape(s, 1);
}

static int zero_padding_reference(const struct layer_run *run)
{
    memset(run->outputs[0]->data, 0, (size_t)run->outputs[0]->count * sizeof(float));
    copy_inside(run, &run->inputs[0]->shape, &run->outputs[0]->shape, true);
    return 0;
}

static int zero_padding_lower(struct lowering *l, const struct keras_call *call)
{
    const struct margin_config *c = call->layer->config;
    int64_t before[SHAPE_MAX_RANK], after[SHAPE_MAX_RANK];
    torch_margins(c, before, after);
    struct lowered x = spatial_input(l, call, c->rank);
    x = lower_pad(l, call, x, before, after, 0);
    return lower_output(l, call, 0, x);
}

const struct layer_handler zero_padding_handler = {
    .config_size = sizeof(struct margin_config),
    .read = zero_padding_read,
    .shape = zero_padding_shape,
    .reference = zero_padding_reference,
    .lower = zero_padding_lower,
};

/* ---- Cropping ---- */

static void cropping_read(struct config_reader *reader, void *config, int variant)
{
    margin_read(reader, config, variant, "cropping", variant == 2 ? 0 : 1);
}

static int cropping_shape(struct layer_shape *s)
{
    return margin_shape(s, -1);
}

static int cropping_reference(const struct layer_run *run)
{
    copy_inside(run, &run->outputs[0]->shape, &run->inputs[0]->shape, false);
    return 0;
}

static int cropping_lower(struct lowering *l, const struct keras_call *call)
{
    const struct margin_config *c = call->layer->config;
    int64_t start[SHAPE_MAX_RANK], stop[SHAPE_MAX_RANK];
    bool any = false;
    torch_margins(c, start, stop);
    struct lowered x = spatial_input(l, call, c->rank);
    if (x.id < 0)
        return -1;
    struct shape shape = lower_shape(l, x.id);
    for (int i = 2; i < shape.rank; i++) {
        any = any || start[i] || stop[i];
        if (shape.dims[i] != DIM_UNKNOWN)
            shape.dims[i] -= start[i] + stop[i];
        stop[i] = -stop[i];
    }
    if (any) {
        struct torch_attr attrs[] = {attr_list(l, "start", shape.rank, start), attr_list(l, "stop", shape.rank, stop)};
        x.id = lower_function(l, call, TORCH_SLICE, x.id, 2, attrs, shape, call->inputs[0]->dtype);
    }
    return lower_output(l, call, 0, x);
}

const struct layer_handler cropping_handler = {
    .config_size = sizeof(struct margin_config),
    .read = cropping_read,
    .shape = cropping_shape,
    .reference = cropping_reference,
    .lower = cropping_lower,
};
