/* SPDX-License-Identifier: Apache-2.0 */
/* Images cut into blocks: DepthToSpace, SpaceToDepth, Unfold, ExtractPatches. */
#include <string.h>

#include "layers/operation.h"
#include "layers/spatial.h"
#include "layers/variants.h"

struct patch_config {
    enum patch_variant variant;
    int64_t block;                                       /* DEPTH_TO_SPACE, SPACE_TO_DEPTH */
    int64_t size[2], stride[2], dilation[2], padding[2]; /* the others */
    bool same;
};

static void op_patch_read(struct config_reader *reader, void *config, int variant)
{
    struct patch_config *c = config;
    c->variant = (enum patch_variant)variant;
    if (c->variant == PATCH_DEPTH_TO_SPACE || c->variant == PATCH_SPACE_TO_DEPTH) {
        c->block = config_size(reader, "block_size", 1);
        (void)config_data_format(reader);
        return;
    }
    bool unfold = c->variant == PATCH_UNFOLD;
    spatial_read_sizes(reader, unfold ? "kernel_size" : "size", 2, c->size, 0);
    if (unfold) {
        spatial_read_sizes(reader, "dilation", 2, c->dilation, 1);
        spatial_read_sizes(reader, "stride", 2, c->stride, 1);
        config_ints(reader, "padding", 2, c->padding, 0);
        if (c->padding[0] < 0 || c->padding[1] < 0)
            config_refuse(reader, H5PT_CONFIG_INVALID, "padding", "\"padding\" must not be negative");
        return;
    }
    memcpy(c->stride, c->size, sizeof c->stride);
    if (config_get(reader, "strides"))
        spatial_read_sizes(reader, "strides", 2, c->stride, 1);
    spatial_read_sizes(reader, "dilation_rate", 2, c->dilation, 1);
    struct spatial_window window = {.rank = 2};
    spatial_read_padding(reader, &window, false);
    c->same = window.padding == SPATIAL_SAME;
    (void)config_data_format(reader);
}

/* Height, width and channels of an image. Unfold has the channels first always. */
struct image {
    bool channels_first;
    int64_t height, width, channels;
};

static struct image image_of(const struct keras_layer *layer, const struct shape *s)
{
    const struct patch_config *c = layer->config;
    bool first = layer->channels_first || c->variant == PATCH_UNFOLD;
    return (struct image){first, s->dims[first ? 2 : 1], s->dims[first ? 3 : 2], s->dims[first ? 1 : 3]};
}

/* Where windows begin, and how many there are along height and width. */
static bool windows(const struct patch_config *c, const struct image *in, int64_t before[2], int64_t after[2],
                    int64_t count[2])
{
    for (int i = 0; i < 2; i++) {
        int64_t size = i ? in->width : in->height, extent = (c->size[i] - 1) * c->dilation[i] + 1;
        before[i] = after[i] = c->padding[i];
        if (c->same)
            window_same(size, extent, c->stride[i], &before[i], &after[i]);
        count[i] = (size + before[i] + after[i] - extent) / c->stride[i] + 1;
        if (size + before[i] + after[i] < extent)
            return false;
    }
    return true;
}

static int64_t grown(int64_t size, int64_t factor)
{
    return size == DIM_UNKNOWN ? size : size * factor;
}

static int64_t folded(int64_t size, int64_t factor)
{
    return size == DIM_UNKNOWN ? size : size / factor;
}

static int op_patch_shape(struct layer_shape *s)
{
    const struct patch_config *c = s->config;
    const struct shape *in = &s->inputs[0];
    struct image im = image_of(s->layer, in);
    int64_t before[2], after[2], count[2];
    bool blocks = c->variant == PATCH_DEPTH_TO_SPACE || c->variant == PATCH_SPACE_TO_DEPTH;
    if (s->input_count != 1 || in->rank != 4 || im.channels < 1)
        return layer_shape_fail(s, "%s is supported for a batch of images", s->layer->class_name);
    if (!blocks && (im.height < 1 || im.width < 1))
        return layer_shape_fail(s, "%s is supported for images of known size", s->layer->class_name);
    s->output_dtypes[0] = s->input_dtypes[0];
    struct image out = im;
    int64_t b = c->block;
    switch (c->variant) {
    case PATCH_DEPTH_TO_SPACE:
        out = (struct image){im.channels_first, grown(im.height, b), grown(im.width, b), im.channels / (b * b)};
        if (im.channels % (b * b) != 0)
            return layer_shape_fail(s, "The channels do not make blocks");
        break;
    case PATCH_SPACE_TO_DEPTH:
        out = (struct image){im.channels_first, folded(im.height, b), folded(im.width, b), im.channels * b * b};
        if ((im.height > 0 && im.height % b != 0) || (im.width > 0 && im.width % b != 0))
            return layer_shape_fail(s, "The image does not divide into blocks");
        break;
    default:
        if (!windows(c, &im, before, after, count))
            return layer_shape_fail(s, "The windows are larger than the image");
        out = (struct image){im.channels_first, count[0], count[1], im.channels * c->size[0] * c->size[1]};
    }
    if (c->variant == PATCH_UNFOLD)
        s->outputs[0] = (struct shape){.rank = 3, .dims = {in->dims[0], out.channels, count[0] * count[1]}};
    else if (im.channels_first)
        s->outputs[0] = (struct shape){.rank = 4, .dims = {in->dims[0], out.channels, out.height, out.width}};
    else
        s->outputs[0] = (struct shape){.rank = 4, .dims = {in->dims[0], out.height, out.width, out.channels}};
    return 0;
}

static int64_t cell(const struct image *im, int64_t sample, int64_t y, int64_t x, int64_t channel)
{
    if (im->channels_first)
        return ((sample * im->channels + channel) * im->height + y) * im->width + x;
    return ((sample * im->height + y) * im->width + x) * im->channels + channel;
}

static void move_blocks(const struct layer_run *run, const struct patch_config *c, const struct image *im)
{
    bool spread = c->variant == PATCH_DEPTH_TO_SPACE;
    struct image out = image_of(run->layer, &run->outputs[0]->shape);
    const struct image *large = spread ? &out : im, *deep = spread ? im : &out;
    int64_t b = c->block;
    for (int64_t n = 0; n < run->inputs[0]->shape.dims[0]; n++)
        for (int64_t y = 0; y < large->height; y++)
            for (int64_t x = 0; x < large->width; x++)
                for (int64_t k = 0; k < large->channels; k++) {
                    int64_t at = cell(large, n, y, x, k), channel = ((y % b) * b + x % b) * large->channels + k;
                    int64_t in_block = cell(deep, n, y / b, x / b, channel);
                    run->outputs[0]->data[spread ? at : in_block] = run->inputs[0]->data[spread ? in_block : at];
                }
}

/* In Unfold a channel's cells stay together, (channel, tap); in patches those of a tap, (tap, channel). */
static void cut_patches(const struct layer_run *run, const struct patch_config *c, const struct image *im)
{
    int64_t before[2], after[2], count[2], taps = c->size[0] * c->size[1];
    if (!windows(c, im, before, after, count))
        return;
    bool unfold = c->variant == PATCH_UNFOLD;
    struct image out = {im->channels_first, count[0], count[1], im->channels * taps};
    for (int64_t n = 0; n < run->inputs[0]->shape.dims[0]; n++)
        for (int64_t o = 0; o < count[0] * count[1]; o++)
            for (int64_t t = 0; t < taps; t++)
                for (int64_t k = 0; k < im->channels; k++) {
                    int64_t y = o / count[1] * c->stride[0] + t / c->size[1] * c->dilation[0] - before[0];
                    int64_t x = o % count[1] * c->stride[1] + t % c->size[1] * c->dilation[1] - before[1];
                    bool inside = y >= 0 && y < im->height && x >= 0 && x < im->width;
                    int64_t to = cell(&out, n, o / count[1], o % count[1],
                                      unfold ? k * taps + t : t * im->channels + k);
                    run->outputs[0]->data[to] = inside ? run->inputs[0]->data[cell(im, n, y, x, k)] : 0;
                }
}

static int op_patch_reference(const struct layer_run *run)
{
    const struct patch_config *c = run->config;
    struct image im = image_of(run->layer, &run->inputs[0]->shape);
    if (c->variant == PATCH_DEPTH_TO_SPACE || c->variant == PATCH_SPACE_TO_DEPTH)
        move_blocks(run, c, &im);
    else
        cut_patches(run, c, &im);
    return 0;
}

/* ---- lowering ---- */

static struct lowered reshape(struct lowering *l, const struct keras_call *call, struct lowered x, int rank,
                              const int64_t *dims)
{
    int64_t sizes[SHAPE_MAX_RANK] = {DIM_UNKNOWN};
    int from[SHAPE_MAX_RANK] = {0};
    for (int i = 1; i < rank; i++) {
        sizes[i] = dims[i];
        from[i] = -1;
    }
    return lower_reshape(l, call, x, rank, sizes, from);
}

/* (batch, channels, height, width): channels that count as (rows, columns) become (columns, rows). */
static struct lowered turn_channels(struct lowering *l, const struct keras_call *call, struct lowered x, int64_t rows,
                                    int64_t columns)
{
    struct shape flat = lower_shape(l, x.id), split = flat;
    if (rows == 1 || columns == 1)
        return x;
    split.rank = 5;
    split.dims[1] = rows;
    split.dims[2] = columns;
    split.dims[3] = flat.dims[2];
    split.dims[4] = flat.dims[3];
    struct torch_attr parts[] = {attr_int("dim", 1), attr_list(l, "unflattened_size", 2, (int64_t[]){rows, columns})};
    struct torch_attr merge[] = {attr_int("start_dim", 1), attr_int("end_dim", 2)};
    enum dtype dtype = lower_dtype(l, x.id);
    x = lower_one(l, call, TORCH_UNFLATTEN, x, split, layout_keras(5), dtype, 2, parts);
    x = lower_transpose(l, call, x, (int[]){0, 2, 1, 3, 4});
    return lower_one(l, call, TORCH_FLATTEN, x, flat, layout_keras(4), dtype, 2, merge);
}

/* Of (batch, channels, height, width). TensorFlow counts the channels of a block (cell, channel), torch (channel, cell). */
static struct lowered lower_blocks(struct lowering *l, const struct keras_call *call, const struct patch_config *c,
                                   struct lowered x)
{
    bool spread = c->variant == PATCH_DEPTH_TO_SPACE;
    int64_t b = c->block, cells = b * b;
    struct shape shape = lower_shape(l, x.id);
    int64_t channels = spread ? shape.dims[1] / cells : shape.dims[1];
    if (spread)
        x = turn_channels(l, call, x, cells, channels);
    shape.dims[1] = spread ? channels : channels * cells;
    for (int i = 2; i < 4; i++)
        shape.dims[i] = spread ? grown(shape.dims[i], b) : folded(shape.dims[i], b);
    struct torch_attr factor = attr_int(spread ? "upscale_factor" : "downscale_factor", b);
    x = lower_one(l, call, spread ? TORCH_PIXEL_SHUFFLE : TORCH_PIXEL_UNSHUFFLE, x, shape, layout_keras(4),
                  lower_dtype(l, x.id), 1, &factor);
    return spread ? x : turn_channels(l, call, x, channels, cells);
}

/* F.unfold of (batch, channels, height, width). */
static struct lowered lower_unfold(struct lowering *l, const struct keras_call *call, const struct patch_config *c,
                                   const struct image *im, struct lowered x, int64_t count[2])
{
    int64_t before[2], after[2];
    if (!windows(c, im, before, after, count))
        return (struct lowered){.id = -1, .layout = layout_keras(3)};
    x = lower_pad(l, call, x, (int64_t[]){0, 0, before[0], before[1]}, (int64_t[]){0, 0, after[0], after[1]}, 0);
    struct torch_attr attrs[] = {attr_ints(l, "kernel_size", 2, c->size), attr_ints(l, "dilation", 2, c->dilation),
                                 attr_ints(l, "stride", 2, c->stride)};
    struct shape shape = {.rank = 3,
                          .dims = {DIM_UNKNOWN, im->channels * c->size[0] * c->size[1], count[0] * count[1]}};
    return lower_one(l, call, TORCH_UNFOLD, x, shape, layout_keras(3), lower_dtype(l, x.id), 3, attrs);
}

static int op_patch_lower(struct lowering *l, const struct keras_call *call)
{
    const struct patch_config *c = call->layer->config;
    struct image im = image_of(call->layer, &call->inputs[0]->shape);
    struct layout keras = layout_keras(4), first = {.rank = 4, .axes = {0, 3, 1, 2}};
    int64_t count[2];
    bool blocks = c->variant == PATCH_DEPTH_TO_SPACE || c->variant == PATCH_SPACE_TO_DEPTH;
    struct layout images = im.channels_first ? keras : first;
    struct lowered x = lower_input_as(l, call, 0, &images);
    if (blocks) {
        x = lower_blocks(l, call, c, x);
        x.layout = images;
        return lower_output(l, call, 0, x);
    }
    struct lowered y = lower_unfold(l, call, c, &im, x, count);
    if (c->variant == PATCH_EXTRACT) {
        int64_t taps = c->size[0] * c->size[1];
        y = reshape(l, call, y, 5, (int64_t[]){0, im.channels, taps, count[0], count[1]});
        y = lower_transpose(l, call, y, (int[]){0, 2, 1, 3, 4});
        y = reshape(l, call, y, 4, (int64_t[]){0, taps * im.channels, count[0], count[1]});
        y.layout = images;
    }
    return lower_output(l, call, 0, y);
}

const struct layer_handler op_patch_handler = {
    .config_size = sizeof(struct patch_config),
    .read = op_patch_read,
    .shape = op_patch_shape,
    .reference = op_patch_reference,
    .lower = op_patch_lower,
};
