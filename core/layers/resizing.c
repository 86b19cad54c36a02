/* SPDX-License-Identifier: Apache-2.0 */
/* Resizing, CenterCrop and RandomCrop: a part of an image, or the image with a border, brought to a fixed size. The variant is
 * one of enum resizing_variant. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "layers/compose.h"
#include "layers/layer.h"
#include "layers/lower.h"
#include "layers/resize_taps.h"
#include "layers/spatial.h"
#include "layers/variants.h"

/* What is resized. */
enum resizing_part {
    PART_ALL,
    PART_ASPECT,    /* the largest box in the middle that has the proportions wanted */
    PART_PADDED,    /* everything, with a border that gives it these proportions */
    PART_CENTER,    /* a box of the size wanted in the middle; PART_ASPECT when the image is too small for that */
    PART_SLICE,     /* from where the box of PART_ASPECT begins, as much of the size wanted as there is */
    PART_COVER,     /* everything, so that it covers the size wanted, which is then cut out of the middle */
    PART_UNTOUCHED, /* no size is wanted at all */
};

struct resizing_config {
    int64_t size[2];
    bool like; /* the size is that of the second input, `times` it */
    int64_t times[2];
    enum resizing_part part;
    enum resize_kind kind;
    bool smooth;
    double fill_value;
    bool rounds_ints; /* Keras 3: gives integers for integers, sometimes */
    bool unsure;      /* PART_COVER before tf.keras 2.6: images of other proportions may be treated in another way */
};

static const char *const interpolation_names[] = {
    [RESIZE_NEAREST] = "nearest", [RESIZE_BILINEAR] = "bilinear", [RESIZE_BILINEAR_LEGACY] = "",
    [RESIZE_BICUBIC] = "bicubic", [RESIZE_LANCZOS3] = "lanczos3", [RESIZE_LANCZOS5] = "lanczos5",
    [RESIZE_AREA] = "area",       [RESIZE_GAUSSIAN] = "gaussian", [RESIZE_MITCHELL] = "mitchellcubic",
};

static void read_interpolation(struct config_reader *reader, struct resizing_config *c)
{
    static const enum resize_kind kinds[] = {RESIZE_BILINEAR, RESIZE_NEAREST, RESIZE_BICUBIC,  RESIZE_LANCZOS3,
                                             RESIZE_LANCZOS5, RESIZE_AREA,    RESIZE_GAUSSIAN, RESIZE_MITCHELL};
    bool keras3 = reader->version.major >= 3;
    const char *choices = keras3 ? "bilinear nearest bicubic lanczos3 lanczos5"
                                 : "bilinear nearest bicubic lanczos3 lanczos5 area gaussian mitchellcubic";
    c->kind = kinds[config_choice(reader, "interpolation", choices, 0)];
    c->smooth = config_bool(reader, "antialias", false) && c->kind != RESIZE_NEAREST;
    bool same_everywhere = c->kind == RESIZE_NEAREST || (c->kind == RESIZE_BILINEAR && !c->smooth);
    if (keras3 && !reader->version.tensorflow && !same_everywhere)
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "interpolation",
                      "Backends other than TensorFlow interpolate this way differently, which is not supported");
    bool crops = config_bool(reader, "crop_to_aspect_ratio", false);
    bool pads = config_bool(reader, "pad_to_aspect_ratio", false);
    c->part = crops ? PART_ASPECT : pads ? PART_PADDED : PART_ALL;
    if (crops && pads)
        config_refuse(reader, H5PT_CONFIG_INVALID, "pad_to_aspect_ratio", "It is either cropped or padded");
    (void)config_choice(reader, "fill_mode", "constant", 0);
    c->fill_value = config_double(reader, "fill_value", 0);
    c->rounds_ints = keras3;
}

/* What RandomCrop does at inference has changed often. */
static enum resizing_part random_crop_part(const struct keras_version *version)
{
    if (version->major < 3)
        return version->minor <= 6 ? PART_COVER : PART_ASPECT;
    return version->minor <= 5 ? PART_ASPECT : version->minor <= 7 ? PART_SLICE : PART_UNTOUCHED;
}

static void resizing_read(struct config_reader *reader, void *config, int variant)
{
    struct resizing_config *c = config;
    c->kind = RESIZE_BILINEAR;
    if (variant == RESIZING_LIKE) {
        c->like = true;
        spatial_read_sizes(reader, "times", 2, c->times, 0);
    } else if (variant == RESIZING_OPERATION) {
        spatial_read_sizes(reader, "size", 2, c->size, 0);
    } else {
        spatial_read_sizes(reader, "height", 1, &c->size[0], 0);
        spatial_read_sizes(reader, "width", 1, &c->size[1], 0);
    }
    (void)config_data_format(reader);
    if (reader->version.major >= 3)
        config_ignore(reader, "bounding_box_format");
    if (variant == RESIZING_PLAIN || variant == RESIZING_OPERATION || variant == RESIZING_LIKE)
        read_interpolation(reader, c);
    else if (variant == RESIZING_CENTER_CROP)
        c->part = PART_CENTER;
    else
        c->part = random_crop_part(&reader->version);
    if (variant == RESIZING_RANDOM_CROP)
        config_ignore(reader, "seed");
    c->unsure = c->part == PART_COVER && reader->version.minor < 6;
}

static bool is_plain(const struct resizing_config *c)
{
    return c->kind == RESIZE_NEAREST || (c->kind == RESIZE_BILINEAR && !c->smooth);
}

/* Along each axis: cells `start` … start + size of the image, outside of it the fill value, are brought to the size `to`, of
 * which the size wanted is taken from `cut` on. */
struct box {
    int64_t start[2], size[2], to[2], cut[2];
    bool final; /* has the size wanted by itself */
};

/* The size that goes with `other` for the proportions wanted, in TensorFlow's float32. */
static int64_t proportional(int64_t other, int64_t wanted, int64_t wanted_other)
{
    return (int64_t)((float)(other * wanted) / (float)wanted_other);
}

/* The least size of the same proportions as the image that covers the one wanted. */
static void cover(const struct resizing_config *c, const int64_t in[2], struct box *box)
{
    int tall = (double)in[0] / (double)in[1] > (double)c->size[0] / (double)c->size[1] ? 0 : 1;
    box->to[tall] = (int64_t)((double)(c->size[1 - tall] * in[tall]) / (double)in[1 - tall]);
    box->cut[tall] = (box->to[tall] - c->size[tall]) / 2;
}

static struct box find_box(const struct resizing_config *c, const int64_t in[2])
{
    struct box box = {.size = {in[0], in[1]}, .to = {c->size[0], c->size[1]}};
    enum resizing_part part = c->part;
    if (part == PART_CENTER && in[0] >= c->size[0] && in[1] >= c->size[1]) {
        for (int i = 0; i < 2; i++) {
            box.size[i] = c->size[i];
            box.start[i] = (in[i] - c->size[i]) / 2;
        }
    } else if (part == PART_COVER) {
        cover(c, in, &box);
    } else if (part == PART_CENTER || part == PART_ASPECT || part == PART_SLICE) {
        for (int i = 0; i < 2; i++) {
            int64_t fits = proportional(in[1 - i], c->size[i], c->size[1 - i]);
            box.size[i] = fits < 1 ? 1 : fits < in[i] ? fits : in[i];
            box.start[i] = (in[i] - box.size[i]) / 2;
            int64_t left = in[i] - box.start[i];
            if (part == PART_SLICE)
                box.size[i] = left < c->size[i] ? left : c->size[i];
        }
    } else if (part == PART_PADDED) {
        for (int i = 0; i < 2; i++) {
            int64_t needed = proportional(in[1 - i], c->size[i], c->size[1 - i]);
            int64_t border = needed > in[i] ? (needed - in[i]) / 2 : 0;
            box.size[i] = in[i] + 2 * border;
            box.start[i] = -border;
        }
    }
    box.final = part == PART_UNTOUCHED || (box.size[0] == box.to[0] && box.size[1] == box.to[1] &&
                                           box.to[0] == c->size[0] && box.to[1] == c->size[1] && is_plain(c));
    return box;
}

/* The configuration with the size that the second input tells, DIM_UNKNOWN where that is not known. */
static struct resizing_config with_size(const struct keras_layer *layer, const struct shape *like)
{
    struct resizing_config c = *(const struct resizing_config *)layer->config;
    for (int i = 0; c.like && i < 2; i++) {
        int64_t size = like->dims[spatial_axis(layer) + i];
        if (size < 0 || __builtin_mul_overflow(size, c.times[i], &c.size[i]))
            c.size[i] = DIM_UNKNOWN;
    }
    return c;
}

static int check_like(struct layer_shape *s)
{
    if (s->input_count != 2 || s->inputs[1].rank != 4)
        return layer_shape_fail(s, "An image is resized to the size of something that is no image");
    s->input_count = 1; /* the other one is looked at for its size only */
    return 0;
}

static int resizing_shape(struct layer_shape *s)
{
    const struct resizing_config sized = with_size(s->layer, &s->inputs[s->input_count - 1]), *c = &sized;
    if ((c->like && check_like(s) < 0) || spatial_check_input(s, 2) < 0)
        return -1;
    if (!dtype_is_float(s->input_dtypes[0]) && c->rounds_ints && (c->kind != RESIZE_NEAREST || c->part == PART_PADDED))
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_DTYPE, "dtype",
                         "For %s images Keras 3 gives rounded values when the model is called and unrounded ones in "
                         "predict(), so there is no one right result; give the model a float32 input",
                         dtype_name(s->input_dtypes[0]));
    if (c->part == PART_UNTOUCHED) {
        s->outputs[0] = s->inputs[0];
        return 0;
    }
    int64_t in[2];
    for (int i = 0; i < 2; i++) {
        in[i] = s->inputs[0].dims[spatial_axis(s->layer) + i];
        if (c->part != PART_ALL && layer_known_dim(s, spatial_axis(s->layer) + i, &in[i]) < 0)
            return -1;
        if (in[i] == 0 || in[i] > WINDOW_MAX_SETTING || c->size[i] == 0 || c->size[i] > WINDOW_MAX_SETTING)
            return layer_shape_fail(s, "An image of this size cannot be resized");
    }
    if (c->unsure && (in[0] > in[1]) != ((double)in[0] / (double)in[1] > (double)c->size[0] / (double)c->size[1]))
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_VERSION, "height",
                         "What RandomCrop of tf.keras before 2.6 does with images of these proportions is not known");
    if (c->part == PART_COVER) {
        struct box box = find_box(c, in);
        if (box.to[0] < c->size[0] || box.to[1] < c->size[1])
            return layer_shape_fail(s, "The image cannot cover the size wanted");
    }
    return spatial_set_output(s, 2, c->size, s->inputs[0].dims[spatial_channel_axis(s->layer, 2)]);
}

/* ---- reference ---- */

/* The box of one image, (box.size, channels). */
static void copy_box(const struct resizing_config *c, const struct box *box, const int64_t in[2], int64_t channels,
                     const float *x, float *y)
{
    for (int64_t i = box->start[0]; i < box->start[0] + box->size[0]; i++)
        for (int64_t j = box->start[1]; j < box->start[1] + box->size[1]; j++, y += channels) {
            bool inside = i >= 0 && i < in[0] && j >= 0 && j < in[1];
            for (int64_t k = 0; k < channels; k++)
                y[k] = inside ? x[(i * in[1] + j) * channels + k] : (float)c->fill_value;
        }
}

static int resize_batch(const struct resizing_config *c, const struct channels_last *cl)
{
    const int64_t *in = cl->x->shape.dims + 1;
    struct box box = find_box(c, in);
    int64_t in_step = in[0] * in[1] * cl->channels, box_step = box.size[0] * box.size[1] * cl->channels;
    int64_t out_step = box.final ? box_step : c->size[0] * c->size[1] * cl->channels;
    struct resize_axis axes[2];
    struct resize_taps taps[2] = {{.most = 0}, {.most = 0}}, wanted[2] = {{.most = 0}, {.most = 0}};
    float *part = malloc((size_t)box_step * sizeof *part + 1);
    bool ok = part != NULL;
    for (int i = 0; i < 2 && ok && !box.final; i++) {
        axes[i] = (struct resize_axis){.kind = c->kind, .in = box.size[i], .out = box.to[i], .smooth = c->smooth};
        ok = resize_taps_init(&taps[i], &axes[i]);
        if (ok)
            wanted[i] = resize_taps_from(&taps[i], box.cut[i]);
    }
    for (int64_t b = 0; ok && b < cl->batch; b++) {
        copy_box(c, &box, in, cl->channels, cl->x->data + b * in_step, box.final ? cl->y + b * out_step : part);
        if (!box.final)
            resize_image(&wanted[0], c->size[0], &wanted[1], c->size[1], box.size[1], cl->channels, part,
                         cl->y + b * out_step);
    }
    resize_taps_release(&taps[0]);
    resize_taps_release(&taps[1]);
    free(part);
    return ok ? 0 : h5pt_fail_memory(cl->run->err);
}

static int resizing_reference(const struct layer_run *run)
{
    struct channels_last cl;
    if (channels_last_begin(run, &cl) < 0)
        return -1;
    const struct resizing_config c = with_size(run->layer, &run->inputs[run->input_count - 1]->shape);
    return channels_last_end(&cl, resize_batch(&c, &cl));
}

/* ---- torch ---- */

static struct lowered lower_slice(struct lowering *l, const struct keras_call *call, struct lowered x,
                                  const struct box *box)
{
    struct shape shape = lower_shape(l, x.id);
    int64_t start[4] = {0}, stop[4] = {0};
    for (int i = 0; i < 2; i++) {
        start[2 + i] = box->start[i];
        stop[2 + i] = box->start[i] + box->size[i] - shape.dims[2 + i];
        shape.dims[2 + i] = box->size[i];
    }
    struct torch_attr attrs[] = {attr_list(l, "start", 4, start), attr_list(l, "stop", 4, stop)};
    x.id = lower_function(l, call, TORCH_SLICE, x.id, 2, attrs, shape, DTYPE_F32);
    return x;
}

static struct lowered lower_box(struct lowering *l, const struct keras_call *call, struct lowered x,
                                const struct box *box)
{
    const struct resizing_config *c = call->layer->config;
    struct shape shape = lower_shape(l, x.id);
    if (box->start[0] >= 0 && box->start[1] >= 0)
        return box->size[0] == shape.dims[2] && box->size[1] == shape.dims[3] ? x : lower_slice(l, call, x, box);
    int64_t border[4] = {0, 0, -box->start[0], -box->start[1]};
    return lower_pad(l, call, x, border, border, c->fill_value);
}

static const char *interpolation_text(const struct resizing_config *c)
{
    return c->kind == RESIZE_NEAREST ? "nearest-exact" : interpolation_names[c->kind];
}

/* F.interpolate where it computes the same, else the helper that multiplies by matrices. */
static struct lowered lower_resize(struct lowering *l, const struct keras_call *call, struct lowered x,
                                   const struct box *box)
{
    const struct resizing_config *c = call->layer->config;
    struct shape shape = lower_shape(l, x.id);
    bool plain = is_plain(c);
    struct torch_attr attrs[] = {attr_list(l, "size", 2, box->to),
                                 attr_text(plain ? "mode" : "method", interpolation_text(c)),
                                 attr_bool("antialias", c->smooth)};
    shape.dims[2] = box->to[0];
    shape.dims[3] = box->to[1];
    x.id = lower_function(l, call, plain ? TORCH_INTERPOLATE : TORCH_RESIZE, x.id, plain ? 2 : 3, attrs, shape,
                          DTYPE_F32);
    return x;
}

static int resizing_lower_like(struct lowering *l, const struct keras_call *call)
{
    const struct resizing_config *c = call->layer->config;
    struct layout images = layout_spatial(call->layer, 4);
    struct lowered x = spatial_input(l, call, 2), like = lower_input_as(l, call, 1, &images);
    if (x.id < 0 || like.id < 0)
        return -1;
    x = lower_float(l, call, x);
    const struct resizing_config sized = with_size(call->layer, &call->inputs[1]->shape);
    struct shape shape = lower_shape(l, x.id);
    shape.dims[2] = sized.size[0];
    shape.dims[3] = sized.size[1];
    bool plain = is_plain(c);
    struct torch_attr attrs[] = {attr_list(l, "times", 2, c->times),
                                 attr_text(plain ? "mode" : "method", interpolation_text(c)),
                                 attr_bool("antialias", c->smooth)};
    x.id = lower_function2(l, call, plain ? TORCH_INTERPOLATE_LIKE : TORCH_RESIZE_LIKE, x.id, like.id, plain ? 2 : 3,
                           attrs, shape, DTYPE_F32);
    return lower_output(l, call, 0, x);
}

static int resizing_lower(struct lowering *l, const struct keras_call *call)
{
    const struct resizing_config *c = call->layer->config;
    if (c->like)
        return resizing_lower_like(l, call);
    struct lowered x = spatial_input(l, call, 2);
    if (x.id < 0)
        return -1;
    x = lower_float(l, call, x);
    struct shape shape = lower_shape(l, x.id);
    struct box box = find_box(c, shape.dims + 2);
    if (c->part != PART_ALL && c->part != PART_UNTOUCHED)
        x = lower_box(l, call, x, &box);
    if (!box.final)
        x = lower_resize(l, call, x, &box);
    if (box.to[0] != c->size[0] || box.to[1] != c->size[1]) {
        struct box rest = {.start = {box.cut[0], box.cut[1]}, .size = {c->size[0], c->size[1]}};
        x = lower_slice(l, call, x, &rest);
    }
    return lower_output(l, call, 0, x);
}

const struct layer_handler resizing_handler = {
    .config_size = sizeof(struct resizing_config),
    .read = resizing_read,
    .shape = resizing_shape,
    .reference = resizing_reference,
    .lower = resizing_lower,
};
