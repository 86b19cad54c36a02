/* SPDX-License-Identifier: Apache-2.0 */
/* UpSampling by whole factors in one to three spatial dimensions (the variant): repetition, or resampling in two. */
#include <inttypes.h>
#include <string.h>

#include "base/arena.h"
#include "layers/compose.h"
#include "layers/layer.h"
#include "layers/lower.h"
#include "layers/resize_taps.h"
#include "layers/spatial.h"

/* Of the matrix that resamples one axis. */
static const int64_t max_matrix = (int64_t)1 << 24;

struct upsampling_config {
    int rank;
    int64_t factor[WINDOW_MAX_RANK];
    bool resample; /* else: repeat */
    enum resize_kind kind;
    const char *method; /* the name of kind */
};

/* "area" means repetition when the factors are whole. */
static const struct interpolation {
    const char *name;
    bool resample;
    enum resize_kind kind;
} interpolations[] = {
    {"nearest", false, 0},
    {"bilinear", true, RESIZE_BILINEAR},
    {"bicubic", true, RESIZE_BICUBIC},
    {"lanczos3", true, RESIZE_LANCZOS3},
    {"lanczos5", true, RESIZE_LANCZOS5},
    {"area", false, 0},
    {"gaussian", true, RESIZE_GAUSSIAN},
    {"mitchellcubic", true, RESIZE_MITCHELL},
};

static void read_interpolation(struct config_reader *reader, struct upsampling_config *c)
{
    bool old = reader->version.major < 3 && !reader->version.tf;
    const char *choices = old ? "nearest bilinear"
                          : reader->version.tf
                              ? "nearest bilinear bicubic lanczos3 lanczos5 area gaussian mitchellcubic"
                              : "nearest bilinear bicubic lanczos3 lanczos5 area";
    const struct interpolation *i = &interpolations[config_choice(reader, "interpolation", choices, 0)];
    c->resample = i->resample;
    c->kind = old ? RESIZE_BILINEAR_LEGACY : i->kind;
    c->method = i->name;
    if (c->kind == RESIZE_BICUBIC && !reader->version.tensorflow)
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "interpolation",
                      "Backends other than TensorFlow interpolate \"bicubic\" in other ways, which is not supported");
}

static void upsampling_read(struct config_reader *reader, void *config, int variant)
{
    struct upsampling_config *c = config;
    c->rank = variant;
    spatial_read_sizes(reader, "size", c->rank, c->factor, 2);
    (void)config_data_format(reader);
    if (c->rank == 2)
        read_interpolation(reader, c);
}

/* torch has no module for these: they are products with matrices. */
static bool uses_matrices(const struct upsampling_config *c)
{
    return c->resample && c->kind != RESIZE_BILINEAR;
}

static int upsampling_shape(struct layer_shape *s)
{
    const struct upsampling_config *c = s->config;
    int64_t sizes[WINDOW_MAX_RANK];
    if (spatial_check_input(s, c->rank) < 0)
        return -1;
    int first = spatial_axis(s->layer);
    const int64_t *in = s->inputs[0].dims + first;
    for (int i = 0; i < c->rank; i++) {
        int64_t known;
        /* The helper that makes matrices while the model runs has no old samples at the corners. */
        if (c->kind == RESIZE_BILINEAR_LEGACY && layer_known_dim(s, first + i, &known) < 0)
            return -1;
        sizes[i] = in[i] == DIM_UNKNOWN ? DIM_UNKNOWN : in[i] * c->factor[i];
        if (uses_matrices(c) && sizes[i] > max_matrix / (in[i] > 0 ? in[i] : 1))
            return h5pt_fail(s->err, H5PT_LIMIT_EXCEEDED, NULL,
                             "Axis %d is too large to be interpolated this way: %" PRId64 " cells become %" PRId64,
                             first + i, in[i], sizes[i]);
    }
    return spatial_set_output(s, c->rank, sizes, s->inputs[0].dims[spatial_channel_axis(s->layer, c->rank)]);
}

static struct resize_axis resized_axis(const struct upsampling_config *c, int i, int64_t in)
{
    return (struct resize_axis){.kind = c->kind, .in = in, .out = in * c->factor[i]};
}

static int resample(const struct upsampling_config *c, const struct channels_last *cl)
{
    int64_t height = cl->x->shape.dims[1], width = cl->x->shape.dims[2];
    struct resize_axis along_rows = resized_axis(c, 0, height), along_columns = resized_axis(c, 1, width);
    struct resize_taps rows = {.most = 0}, columns = {.most = 0};
    bool ok = resize_taps_init(&rows, &along_rows) && resize_taps_init(&columns, &along_columns);
    int64_t in_step = height * width * cl->channels, out_step = in_step * c->factor[0] * c->factor[1];
    for (int64_t b = 0; ok && b < cl->batch; b++)
        resize_image(&rows, along_rows.out, &columns, along_columns.out, width, cl->channels, cl->x->data + b * in_step,
                     cl->y + b * out_step);
    resize_taps_release(&rows);
    resize_taps_release(&columns);
    return ok ? 0 : h5pt_fail_memory(cl->run->err);
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
    if (c->resample)
        return channels_last_end(&cl, resample(c, &cl));
    int64_t sizes[3] = {1, 1, 1}, factor[3] = {1, 1, 1}, in_step = cl.channels, out_step = cl.channels;
    for (int i = 0; i < c->rank; i++) {
        sizes[3 - c->rank + i] = cl.x->shape.dims[1 + i];
        factor[3 - c->rank + i] = c->factor[i];
        in_step *= cl.x->shape.dims[1 + i];
        out_step *= cl.x->shape.dims[1 + i] * c->factor[i];
    }
    for (int64_t b = 0; b < cl.batch; b++)
        repeat(cl.x->data + b * in_step, sizes, factor, cl.channels, cl.y + b * out_step);
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

static struct lowered lower_repeat(struct lowering *l, const struct keras_call *call, struct lowered x, int dim,
                                   int64_t times)
{
    struct shape shape = lower_shape(l, x.id);
    if (times == 1)
        return x;
    if (shape.dims[dim] != DIM_UNKNOWN)
        shape.dims[dim] *= times;
    struct torch_attr attrs[] = {attr_int("repeats", times), attr_int("dim", dim)};
    x.id = lower_function(l, call, TORCH_REPEAT_INTERLEAVE, x.id, 2, attrs, shape, DTYPE_F32);
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
                                 attr_text("mode", c->resample ? "bilinear" : "nearest")};
    x.id = lower_function(l, call, TORCH_INTERPOLATE, x.id, 2, attrs, shape, DTYPE_F32);
    return x;
}

/* The product with the matrix that resamples spatial dimension `i` of two. */
static struct lowered lower_resample(struct lowering *l, const struct keras_call *call, struct lowered x, int i)
{
    const struct upsampling_config *c = call->layer->config;
    struct shape out = lower_shape(l, x.id);
    int64_t in = out.dims[2 + i], size = in * c->factor[i];
    bool columns = i == 1; /* multiplied from the right: (in, size) */
    struct shape shape = shape_of(2, columns ? (const int64_t[]){in, size} : (const int64_t[]){size, in});
    struct tensor *matrix = tensor_new(&shape, DTYPE_F32);
    struct resize_axis axis = resized_axis(c, i, in);
    struct resize_taps taps;
    const char *name = columns ? "width" : "height";
    if (call->layer->call_count > 1)
        name = arena_printf(lower_arena(l), "%s_%" PRId64, name, in);
    if (!matrix || !name || !resize_taps_init(&taps, &axis)) {
        tensor_free(matrix);
        return (struct lowered){.id = -1};
    }
    memset(matrix->data, 0, (size_t)matrix->count * sizeof *matrix->data);
    for (int64_t o = 0; o < size; o++)
        for (int64_t t = 0; t < taps.count[o]; t++) {
            int64_t at = taps.first[o] + t;
            matrix->data[columns ? at * size + o : o * in + at] = taps.weights[o * taps.most + t];
        }
    resize_taps_release(&taps);
    struct layout layout = layout_keras(2);
    struct lowered m = lower_constant_value(l, call, name, &shape, &layout, matrix->data);
    tensor_free(matrix);
    out.dims[2 + i] = size;
    x.id = lower_node(l, call,
                      &(struct node_spec){.op = TORCH_MATMUL,
                                          .input_count = 2,
                                          .inputs = columns ? (const int[]){x.id, m.id} : (const int[]){m.id, x.id},
                                          .shape = out,
                                          .dtype = DTYPE_F32});
    return x;
}

/* The helper that makes the matrices while the model runs, for images of any size. */
static struct lowered lower_resize(struct lowering *l, const struct keras_call *call, struct lowered x)
{
    const struct upsampling_config *c = call->layer->config;
    struct shape shape = lower_shape(l, x.id);
    struct torch_attr attrs[] = {attr_list(l, "times", 2, c->factor), attr_text("method", c->method)};
    for (int i = 0; i < 2; i++)
        if (shape.dims[2 + i] != DIM_UNKNOWN)
            shape.dims[2 + i] *= c->factor[i];
    x.id = lower_function2(l, call, TORCH_RESIZE_LIKE, x.id, x.id, 2, attrs, shape, DTYPE_F32);
    return x;
}

static int upsampling_lower(struct lowering *l, const struct keras_call *call)
{
    const struct upsampling_config *c = call->layer->config;
    struct lowered x = spatial_input(l, call, c->rank);
    if (x.id < 0)
        return -1;
    struct shape in = lower_shape(l, x.id);
    bool sized = in.dims[2] != DIM_UNKNOWN && (c->rank < 2 || in.dims[3] != DIM_UNKNOWN);
    if (uses_matrices(c) && !sized) {
        x = lower_resize(l, call, x);
    } else if (uses_matrices(c)) {
        for (int i = 0; i < c->rank && x.id >= 0; i++)
            x = lower_resample(l, call, x, i);
    } else if (c->resample || nearest_is_repetition(c)) {
        x = lower_interpolate(l, call, x);
    } else {
        for (int i = 0; i < c->rank; i++)
            x = lower_repeat(l, call, x, i + 2, c->factor[i]);
    }
    return lower_output(l, call, 0, x);
}

const struct layer_handler upsampling_handler = {
    .config_size = sizeof(struct upsampling_config),
    .read = upsampling_read,
    .shape = upsampling_shape,
    .reference = upsampling_reference,
    .lower = upsampling_lower,
};
