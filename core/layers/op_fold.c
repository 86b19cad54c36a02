/* SPDX-License-Identifier: Apache-2.0 */
/* Fold: images (batch, channels, height, width) that are the sums of windows (batch, channels * taps, windows). */
#include <string.h>

#include "layers/operation.h"
#include "layers/spatial.h"

struct fold_config {
    int64_t out[2], size[2], dilation[2], padding[2], stride[2];
};

static void op_fold_read(struct config_reader *reader, void *config, int variant)
{
    struct fold_config *c = config;
    (void)variant;
    spatial_read_sizes(reader, "output_size", 2, c->out, 0);
    spatial_read_sizes(reader, "kernel_size", 2, c->size, 0);
    spatial_read_sizes(reader, "dilation", 2, c->dilation, 1);
    spatial_read_sizes(reader, "stride", 2, c->stride, 1);
    config_ints(reader, "padding", 2, c->padding, 0);
    for (int i = 0; i < 2; i++)
        if (c->padding[i] < 0 || c->padding[i] > WINDOW_MAX_SETTING) {
            config_refuse(reader, H5PT_CONFIG_INVALID, "padding", "\"padding\" must not be negative");
            c->padding[i] = 0;
        }
}

/* How many windows lie along height and width. */
static bool windows(const struct fold_config *c, int64_t count[2])
{
    for (int i = 0; i < 2; i++) {
        int64_t room = c->out[i] + 2 * c->padding[i] - window_extent(c->size[i], c->dilation[i]);
        if (room < 0)
            return false;
        count[i] = room / c->stride[i] + 1;
    }
    return true;
}

static int op_fold_shape(struct layer_shape *s)
{
    const struct fold_config *c = s->config;
    const struct shape *in = &s->inputs[0];
    int64_t count[2], taps = c->size[0] * c->size[1];
    if (s->input_count != 1 || s->input_dtypes[0] != DTYPE_F32)
        return operand_fail(s, "x");
    if (in->rank != 3 || in->dims[1] < 1 || in->dims[1] % taps != 0 || !windows(c, count) ||
        (in->dims[2] != DIM_UNKNOWN && in->dims[2] != count[0] * count[1]))
        return layer_shape_fail(s, "These are not the windows of an image of %lld x %lld", (long long)c->out[0],
                                (long long)c->out[1]);
    s->outputs[0] = shape_of(4, (const int64_t[]){in->dims[0], in->dims[1] / taps, c->out[0], c->out[1]});
    return 0;
}

/* The cell of the image is the sum over the windows that reach it. */
static int op_fold_reference(const struct layer_run *run)
{
    const struct fold_config *c = run->config;
    const struct tensor *x = run->inputs[0];
    struct tensor *y = run->outputs[0];
    int64_t count[2], taps = c->size[0] * c->size[1];
    if (!windows(c, count))
        return h5pt_fail(run->err, H5PT_INTERNAL, run->layer->path, "The configuration is not as it was");
    for (int64_t i = 0; i < y->count; i++) {
        int64_t at[2] = {i / c->out[1] % c->out[0], i % c->out[1]}, plane = i / c->out[1] / c->out[0];
        double sum = 0;
        for (int64_t tap = 0; tap < taps; tap++) {
            int64_t place[2] = {tap / c->size[1], tap % c->size[1]};
            bool reaches = true;
            for (int k = 0; k < 2; k++) {
                int64_t start = at[k] + c->padding[k] - place[k] * c->dilation[k];
                reaches = reaches && start >= 0 && start % c->stride[k] == 0 && start / c->stride[k] < count[k];
                place[k] = start / c->stride[k];
            }
            if (reaches)
                sum += (double)x->data[((plane * taps + tap) * count[0] + place[0]) * count[1] + place[1]];
        }
        y->data[i] = (float)sum;
    }
    return 0;
}

static int op_fold_lower(struct lowering *l, const struct keras_call *call)
{
    const struct fold_config *c = call->layer->config;
    struct lowered x = lower_input_keras(l, call, 0);
    struct torch_attr attrs[] = {attr_list(l, "output_size", 2, c->out), attr_ints(l, "kernel_size", 2, c->size),
                                 attr_ints(l, "dilation", 2, c->dilation), attr_ints(l, "padding", 2, c->padding),
                                 attr_ints(l, "stride", 2, c->stride)};
    return lower_output(
        l, call, 0, lower_one(l, call, TORCH_FOLD, x, call->outputs[0]->shape, layout_keras(4), DTYPE_F32, 5, attrs));
}

const struct layer_handler op_fold_handler = {
    .config_size = sizeof(struct fold_config),
    .read = op_fold_read,
    .shape = op_fold_shape,
    .reference = op_fold_reference,
    .lower = op_fold_lower,
};
