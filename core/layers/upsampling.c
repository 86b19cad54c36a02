/* SPDX-License-Identifier: Apache-2.0 */
/* UpSampling by whole factors in one to three spatial dimensions (the variant): repetition, or bilinear in two. */
#include <math.h>
#include <string.h>

#include "layers/layer.h"
#include "layers/lower.h"
#include "layers/spatial.h"

struct upsampling_config {
    int rank;
    int64_t factor[WINDOW_MAX_RANK];
    bool bilinear;
};

static void upsampling_read(struct config_reader *reader, void *config, int variant)
{
    struct upsampling_config *c = config;
    c->rank = variant;
    spatial_read_sizes(reader, "size", c->rank, c->factor, 2);
    (void)config_data_format(reader);
    if (c->rank != 2)
        return;
    c->bilinear = config_choice(reader, "interpolation", "nearest bilinear", 0) == 1;
    if (c->bilinear && reader->version.major < 3 && !reader->version.tf)
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "interpolation",
                      "Bilinear up-sampling of this Keras samples at the corners of cells, which is not supported");
}

static int upsampling_shape(struct layer_shape *s)
{
    const struct upsampling_config *c = s->config;
    int64_t sizes[WINDOW_MAX_RANK];
    if (spatial_check_input(s, c->rank) < 0)
        return -1;
    const int64_t *in = s->inputs[0].dims + spatial_axis(s->layer);
    for (int i = 0; i < c->rank; i++)
        sizes[i] = in[i] == DIM_UNKNOWN ? DIM_UNKNOWN : in[i] * c->factor[i];
    return spatial_set_output(s, c->rank, sizes, s->inputs[0].dims[spatial_channel_axis(s->layer, c->rank)]);
}

/* The two cells that output position `o` lies between, and how far it is from the first; cells have their samples in the
 * middle, and the border is continued. */
static double between(int64_t o, int64_t in, int64_t factor, int64_t *first, int64_t *second)
{
    double at = ((double)o + 0.5) / (double)factor - 0.5, floor_at = floor(at);
    *first = floor_at < 0 ? 0 : (int64_t)floor_at;
    *second = *first + 1 < in && floor_at >= 0 ? *first + 1 : *first;
    return at - floor_at;
}

static void bilinear(const struct upsampling_config *c, const float *x, int64_t height, int64_t width, int64_t channels,
                     float *y)
{
    for (int64_t i = 0; i < height * c->factor[0]; i++) {
        int64_t top, bottom, left, right;
        double v = between(i, height, c->factor[0], &top, &bottom);
        for (int64_t j = 0; j < width * c->factor[1]; j++, y += channels) {
            double u = between(j, width, c->factor[1], &left, &right);
            const float *a = x + (top * width + left) * channels, *b = x + (top * width + right) * channels;
            const float *d = x + (bottom * width + left) * channels, *e = x + (bottom * width + right) * channels;
            for (int64_t k = 0; k < channels; k++) {
                double upper = (double)a[k] + u * ((double)b[k] - (double)a[k]);
                double lower = (double)d[k] + u * ((double)e[k] - (double)d[k]);
                y[k] = (float)(upper + v * (lower - upper));
            }
        }
    }
}

/* `sizes` and `factor` are padded in front to three dimensions. */
static void repeat(const float *x, const int64_t sizes[3], const int64_t factor[3], int64_t channels, float *y)
{
    for (int64_t i = 0; i < sizes[0] * factor[0]; i++)
        for (int64_t j = 0; j < sizes[1] * factor[1]; j++)
            for (int64_t k = 0; k < sizes[2] * factor[2]; k++, y += channels) {
                int64_t cell = (i / factor[0] * sizes[1] + j / factor[1]) * sizes[2] + k / factor[2];
                memcpy(y, x + cell * channels, (size_t)channels * sizeof *y);
            }
}

static int upsampling_reference(const struct layer_run *run)
{
    const struct upsampling_config *c = run->config;
    struct channels_last cl;
    if (channels_last_begin(run, &cl) < 0)
        return -1;
    int64_t sizes[3] = {1, 1, 1}, factor[3] = {1, 1, 1}, in_step = cl.channels, out_step = cl.channels;
    for (int i = 0; i < c->rank; i++) {
        sizes[3 - c->rank + i] = cl.x->shape.dims[1 + i];
        factor[3 - c->rank + i] = c->factor[i];
        in_step *= cl.x->shape.dims[1 + i];
        out_step *= cl.x->shape.dims[1 + i] * c->factor[i];
    }
    for (int64_t b = 0; b < cl.batch; b++) {
        if (c->bilinear)
            bilinear(c, cl.x->data + b * in_step, sizes[1], sizes[2], cl.channels, cl.y + b * out_step);
        else
            repeat(cl.x->data + b * in_step, sizes, factor, cl.channels, cl.y + b * out_step);
    }
    return channels_last_end(&cl, 0);
}

/* F.interpolate finds the source cell with 1 / factor in float32: it never falls one short when that is rounded up. */
static bool nearest_is_repetition(const struct upsampling_config *c)
{
    for (int i = 0; i < c->rank; i++)
        if ((double)(float)(1.0 / (double)c->factor[i]) * (double)c->factor[i] < 1)
            return false;
    return true;
}

static struct lowered lower_repeat(struct lowering *l, const struct keras_call *call, struct lowered x, int dim, int64_t times)
{
    struct shape shape = lower_shape(l, x.id);
    if (times == 1)
        return x;
    if (shape.dims[dim] != DIM_UNKNOWN)
        shape.dims[dim] *= times;
    struct torch_attr attrs[] = {attr_int("repeats", times), attr_int("dim", dim)};
    x.id = lower_node(l, call,
                      &(struct node_spec){.op = TORCH_REPEAT_INTERLEAVE,
                                          .input_count = 1,
                                          .inputs = &x.id,
                                          .attr_count = 2,
                                          .attrs = attrs,
                                          .shape = shape,
                                          .dtype = DTYPE_F32});
    return x;
}

static struct lowered lower_interpolate(struct lowering *l, const struct keras_call *call, struct lowered x)
{
    const struct upsampling_config *c = call->layer->config;
    struct shape shape = lower_shape(l, x.id);
    for (int i = 0; i < c->rank; i++)
        if (shape.dims[i + 2] != DIM_UNKNOWN)
            shape.dims[i + 2] *= c->factor[i];
    struct torch_attr attrs[] = {attr_ints(l, "scale_factor", c->rank, c->factor),
                                 attr_text("mode", c->bilinear ? "bilinear" : "nearest")};
    x.id = lower_node(l, call,
                      &(struct node_spec){.op = TORCH_INTERPOLATE,
                                          .input_count = 1,
                                          .inputs = &x.id,
                                          .attr_count = 2,
                                          .attrs = attrs,
                                          .shape = shape,
                                          .dtype = DTYPE_F32});
    return x;
}

static int upsampling_lower(struct lowering *l, const struct keras_call *call)
{
    const struct upsampling_config *c = call->layer->config;
    struct lowered x = spatial_input(l, call, c->rank);
    if (x.id < 0)
        return -1;
    if (c->bilinear || nearest_is_repetition(c)) {
        x = lower_interpolate(l, call, x);
    } else {
        for (int i = 0; i < c->rank; i++)
            x = lower_repeat(l, call, x, i + 2, c->factor[i]);
    }
    lower_output(l, call, 0, x);
    return x.id < 0 ? -1 : 0;
}

const struct layer_handler upsampling_handler = {
    .config_size = sizeof(struct upsampling_config),
    .read = upsampling_read,
    .shape = upsampling_shape,
    .reference = upsampling_reference,
    .lower = upsampling_lower,
};
