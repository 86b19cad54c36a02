/* SPDX-License-Identifier: Apache-2.0 */
#include "layers/spatial.h"

#include <inttypes.h>
#include <string.h>

/* ---- configuration ---- */

static int64_t checked_count(struct config_reader *reader, const char *key, int64_t value)
{
    if (value >= 1 && value <= WINDOW_MAX_SETTING)
        return value;
    config_refuse(reader, H5PT_CONFIG_INVALID, key, "\"%s\" is %" PRId64 "; it must be a whole number of 1 to %" PRId64,
                  key, value, WINDOW_MAX_SETTING);
    return 1;
}

void spatial_read_sizes(struct config_reader *reader, const char *key, int rank, int64_t *ret, int64_t absent)
{
    if (absent < 1 && !config_get(reader, key)) {
        config_refuse(reader, H5PT_CONFIG_INVALID, key, "\"%s\" is missing", key);
        absent = 1;
    }
    config_ints(reader, key, rank, ret, absent < 1 ? 1 : absent);
    for (int i = 0; i < rank; i++)
        ret[i] = checked_count(reader, key, ret[i]);
}

/* Theano pads by half the window on both sides, and Keras cuts what is more than ceil(size / stride). */
static void theano_same(struct spatial_window *window)
{
    for (int i = 0; i < window->rank; i++) {
        int64_t extent = window_extent(window->size[i], window->dilation[i]);
        window->before[i] = extent / 2;
        window->after[i] = (extent - 1) / 2;
    }
}

/* The pooling of Theano pads by size - 2 or size - 1 cells and is cut alike. */
static void theano_same_pool(struct spatial_window *window)
{
    for (int i = 0; i < window->rank; i++) {
        int64_t size = window->size[i];
        window->before[i] = size > 2 && size % 2 == 1 ? size - 2 : size - 1;
        window->after[i] = size - 1 - window->before[i];
    }
}

/* In three dimensions, Keras asks for -1 cells of padding along a single cell, which Theano answers with cells out of their windows. */
static void refuse_negative_padding(struct config_reader *reader, const struct spatial_window *window)
{
    for (int i = 0; i < window->rank; i++)
        if (window->rank == 3 && window->size[i] == 1)
            config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "padding",
                          "On Theano, three-dimensional pooling by 1 along an axis with padding \"same\" gives cells "
                          "that are not "
                          "the ones in its windows");
}

void spatial_read_padding(struct config_reader *reader, struct spatial_window *window, bool causal)
{
    const struct keras_version *version = &reader->version;
    bool full = version->major < 2 && version->theano && !window->pooling;
    /* "causal" came with Keras 2, "full" left with Keras 1 */
    int choice = config_choice(reader, "padding",
                               full     ? "valid same full"
                               : causal ? "valid same causal"
                                        : "valid same",
                               SPATIAL_VALID);
    window->padding = full && choice == 2 ? SPATIAL_FULL : (enum spatial_padding)choice;
    if (window->padding != SPATIAL_SAME)
        return;
    if (!window->pooling && version->theano)
        theano_same(window);
    if (window->pooling && (version->theano || version->any_backend))
        theano_same_pool(window);
    if (window->pooling && version->theano)
        refuse_negative_padding(reader, window);
    if (version->theano)
        window->padding = SPATIAL_EXPLICIT;
    window->any_backend = version->any_backend;
}

int64_t spatial_read_count(struct config_reader *reader, const char *key, int64_t absent)
{
    int64_t value = absent < 1 ? config_size(reader, key, 1) : config_int(reader, key, absent);
    return checked_count(reader, key, value);
}

void spatial_read_only(struct config_reader *reader, const char *key, int64_t only)
{
    int64_t value = config_int(reader, key, only);
    if (value != only)
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, key, "\"%s\" is %" PRId64 ", which %s does not have", key, value,
                      reader->layer->class_name);
}

/* ---- shapes ---- */

int spatial_axis(const struct keras_layer *layer)
{
    return layer->channels_first ? 2 : 1;
}

int spatial_channel_axis(const struct keras_layer *layer, int rank)
{
    return layer->channels_first ? 1 : rank + 1;
}

int spatial_check_input(struct layer_shape *s, int rank)
{
    const struct shape *in = &s->inputs[0];
    if (in->rank != rank + 2)
        return layer_shape_fail(s, "The input has %d dimensions, but %s needs %d", in->rank, s->layer->class_name,
                                rank + 2);
    for (int i = 0; i < in->rank; i++)
        if (in->dims[i] > WINDOW_MAX_INPUT)
            return layer_shape_fail(s, "Dimension %d of the input, %" PRId64 ", is too large", i, in->dims[i]);
    return 0;
}

int spatial_set_output(struct layer_shape *s, int rank, const int64_t *sizes, int64_t channels)
{
    const struct shape *in = &s->inputs[0];
    struct shape *out = &s->outputs[0];
    char text[SHAPE_TEXT_SIZE];
    int first = spatial_axis(s->layer);
    out->rank = rank + 2;
    out->dims[0] = in->dims[0];
    out->dims[spatial_channel_axis(s->layer, rank)] = channels;
    for (int i = 0; i < rank; i++) {
        out->dims[first + i] = sizes[i];
        if (sizes[i] < 1 && sizes[i] != DIM_UNKNOWN)
            return layer_shape_fail(s, "Nothing is left of dimension %d of the input %s", first + i,
                                    shape_text(in, text));
    }
    return 0;
}

int64_t spatial_output_size(const struct spatial_window *window, int i, int64_t n)
{
    if (n == DIM_UNKNOWN)
        return DIM_UNKNOWN;
    int64_t extent = window_extent(window->size[i], window->dilation[i]);
    int64_t needed = window->padding == SPATIAL_VALID      ? extent
                     : window->padding == SPATIAL_FULL     ? 2 - extent
                     : window->padding == SPATIAL_EXPLICIT ? extent - window->before[i] - window->after[i]
                                                           : 1;
    return n < 1 || n < needed ? 0 : (n - needed) / window->stride[i] + 1;
}

/* "same" of pooling in a file that does not say whether TensorFlow or Theano computed it: only where both begin alike. */
static int check_backends_agree(struct layer_shape *s, const struct spatial_window *window)
{
    for (int i = 0; i < window->rank; i++) {
        int64_t n = s->inputs[0].dims[spatial_axis(s->layer) + i], before = -1, after;
        if (n != DIM_UNKNOWN || window->stride[i] == 1)
            window_same(n == DIM_UNKNOWN ? window->size[i] : n, window->size[i], window->stride[i], &before, &after);
        if (before < 0 || before != window->before[i])
            return h5pt_fail(
                s->err, H5PT_UNSUPPORTED_CONFIG, "padding",
                "\"same\" differs between TensorFlow and Theano here, and the file does not say which of them "
                "computed the model: give the backend");
    }
    return 0;
}

int spatial_window_shape(struct layer_shape *s, const struct spatial_window *window, int64_t channels)
{
    if (spatial_check_input(s, window->rank) < 0 ||
        (window->any_backend && window->pooling && check_backends_agree(s, window) < 0))
        return -1;
    int64_t sizes[WINDOW_MAX_RANK];
    int first = spatial_axis(s->layer);
    for (int i = 0; i < window->rank; i++)
        sizes[i] = spatial_output_size(window, i, s->inputs[0].dims[first + i]);
    return spatial_set_output(s, window->rank, sizes, channels);
}

/* ---- reference ---- */

/* Axes that take a channels_first value of this rank to channels_last, or back. */
static void channel_axes(int rank, bool back, int axes[SHAPE_MAX_RANK])
{
    axes[0] = 0;
    for (int i = 1; i < rank; i++)
        axes[i] = back ? (i == 1 ? rank - 1 : i - 1) : (i == rank - 1 ? 1 : i + 1);
}

int channels_last_begin(const struct layer_run *run, struct channels_last *ret)
{
    const struct tensor *x = run->inputs[0];
    struct tensor *y = run->outputs[0];
    *ret = (struct channels_last){.run = run, .x = x, .y = y->data};
    if (run->layer->channels_first) {
        int axes[SHAPE_MAX_RANK];
        channel_axes(x->shape.rank, false, axes);
        ret->x = ret->x_copy = tensor_transpose(x, axes);
        /* Without spatial dimensions in the output there is nothing to reorder. */
        if (y->shape.rank > 2) {
            struct shape shape = shape_permute(&y->shape, axes);
            ret->y_copy = tensor_new(&shape, y->dtype);
            ret->y = ret->y_copy ? ret->y_copy->data : NULL;
        }
        if (!ret->x || !ret->y) {
            h5pt_fail_memory(run->err);
            return channels_last_end(ret, -1);
        }
    }
    ret->batch = ret->x->shape.dims[0];
    ret->channels = ret->x->shape.dims[ret->x->shape.rank - 1];
    return 0;
}

int channels_last_end(struct channels_last *cl, int status)
{
    struct tensor *y = cl->run->outputs[0];
    if (status == 0 && cl->y_copy) {
        int axes[SHAPE_MAX_RANK];
        channel_axes(y->shape.rank, true, axes);
        struct tensor *back = tensor_transpose(cl->y_copy, axes);
        if (back)
            memcpy(y->data, back->data, (size_t)y->count * sizeof(float));
        else
            status = h5pt_fail_memory(cl->run->err);
        tensor_free(back);
    }
    cl->x_copy = tensor_free(cl->x_copy);
    cl->y_copy = tensor_free(cl->y_copy);
    return status;
}

void spatial_padding_of(const struct spatial_window *window, int i, int64_t n, int64_t *before, int64_t *after)
{
    int64_t extent = window_extent(window->size[i], window->dilation[i]);
    *before = *after = 0;
    if (window->padding == SPATIAL_CAUSAL)
        *before = extent - 1;
    else if (window->padding == SPATIAL_SAME)
        window_same(n, extent, window->stride[i], before, after);
    else if (window->padding == SPATIAL_FULL)
        *before = *after = extent - 1;
    else if (window->padding == SPATIAL_EXPLICIT) {
        *before = window->before[i];
        *after = window->after[i];
    }
}

void channels_last_axes(const struct channels_last *cl, const struct spatial_window *window,
                        struct window_axis ret[WINDOW_MAX_RANK])
{
    int skip = WINDOW_MAX_RANK - window->rank;
    for (int i = 0; i < skip; i++)
        ret[i] = (struct window_axis){.in = 1, .out = 1, .size = 1, .stride = 1, .dilation = 1};
    for (int i = 0; i < window->rank; i++) {
        int64_t n = cl->x->shape.dims[1 + i], after;
        struct window_axis *axis = &ret[skip + i];
        *axis = (struct window_axis){
            .in = n,
            .out = spatial_output_size(window, i, n),
            .size = window->size[i],
            .stride = window->stride[i],
            .dilation = window->dilation[i],
        };
        spatial_padding_of(window, i, n, &axis->before, &after);
    }
}

void channels_last_fill(const struct channels_last *cl, const struct tensor *bias, int64_t channels)
{
    int64_t count = cl->run->outputs[0]->count;
    if (!bias) {
        memset(cl->y, 0, (size_t)count * sizeof(float));
        return;
    }
    for (int64_t i = 0; i < count; i += channels)
        memcpy(cl->y + i, bias->data, (size_t)channels * sizeof(float));
}

/* ---- torch ---- */

struct spatial_plan spatial_plan(const struct keras_call *call, const struct spatial_window *window,
                                 const struct shape *input)
{
    struct spatial_plan plan = {.form = SPATIAL_SYMMETRIC};
    for (int i = 0; i < window->rank; i++) {
        int64_t n = input->dims[2 + i];
        /* Only with a stride does the amount depend on the size; without one any size gives it. */
        bool varies = window->padding == SPATIAL_SAME && window->stride[i] > 1 && window->size[i] > 1;
        if (varies && n == DIM_UNKNOWN) {
            plan.form = SPATIAL_RUN_TIME;
            return plan;
        }
        spatial_padding_of(window, i, n == DIM_UNKNOWN ? 1 : n, &plan.before[i], &plan.after[i]);
        bool fits = !window->pooling || plan.before[i] <= window->size[i] / 2;
        if (plan.before[i] != plan.after[i] || !fits || (varies && call->layer->call_count > 1))
            plan.form = SPATIAL_FIXED;
    }
    return plan;
}

/* x padded by a node that looks at the sizes in forward. */
static struct lowered pad_same(struct lowering *l, const struct keras_call *call, const struct spatial_window *window,
                               struct lowered x, double value)
{
    struct shape shape = lower_shape(l, x.id);
    for (int i = 0; i < window->rank; i++) {
        int64_t *n = &shape.dims[2 + i], before, after;
        if (*n == DIM_UNKNOWN)
            continue;
        spatial_padding_of(window, i, *n, &before, &after);
        *n += before + after;
    }
    const struct torch_attr attrs[] = {
        attr_ints(l, "kernel_size", window->rank, window->size),
        attr_ints(l, "stride", window->rank, window->stride),
        attr_ints(l, "dilation", window->rank, window->dilation),
        attr_float("value", value),
    };
    x.id = lower_function(l, call, TORCH_PAD_SAME, x.id, sizeof attrs / sizeof *attrs, attrs, shape,
                          call->outputs[0]->dtype);
    return x;
}

struct lowered spatial_pad(struct lowering *l, const struct keras_call *call, const struct spatial_window *window,
                           struct lowered x, double value, int64_t module_padding[WINDOW_MAX_RANK])
{
    struct shape shape = lower_shape(l, x.id);
    struct spatial_plan plan = spatial_plan(call, window, &shape);
    for (int i = 0; i < window->rank; i++)
        module_padding[i] = plan.form == SPATIAL_SYMMETRIC ? plan.before[i] : 0;
    if (plan.form == SPATIAL_SYMMETRIC)
        return x;
    if (plan.form == SPATIAL_RUN_TIME)
        return pad_same(l, call, window, x, value);
    int64_t before[SHAPE_MAX_RANK] = {0}, after[SHAPE_MAX_RANK] = {0};
    for (int i = 0; i < window->rank; i++) {
        before[2 + i] = plan.before[i];
        after[2 + i] = plan.after[i];
    }
    return lower_pad(l, call, x, before, after, value);
}

struct lowered spatial_cut(struct lowering *l, const struct keras_call *call, struct lowered x, const int64_t *cells,
                           const struct shape *shape)
{
    int64_t start[SHAPE_MAX_RANK] = {0}, stop[SHAPE_MAX_RANK] = {0};
    bool any = false;
    for (int i = 2; i < shape->rank; i++) {
        stop[i] = -cells[i - 2];
        any |= cells[i - 2] > 0;
    }
    if (!any)
        return x;
    const struct torch_attr attrs[] = {
        attr_list(l, "start", shape->rank, start),
        attr_list(l, "stop", shape->rank, stop),
    };
    x.id = lower_function(l, call, TORCH_SLICE, x.id, sizeof attrs / sizeof *attrs, attrs, *shape,
                          call->outputs[0]->dtype);
    return x;
}

struct shape spatial_torch_shape(const struct spatial_window *window, const struct shape *input, int64_t channels)
{
    struct shape shape = {.rank = window->rank + 2, .dims = {input->dims[0], channels}};
    for (int i = 0; i < window->rank; i++)
        shape.dims[2 + i] = spatial_output_size(window, i, input->dims[2 + i]);
    return shape;
}

struct lowered spatial_input(struct lowering *l, const struct keras_call *call, int rank)
{
    struct layout layout = layout_spatial(call->layer, rank + 2);
    return lower_input_as(l, call, 0, &layout);
}
