/* SPDX-License-Identifier: Apache-2.0 */
/* AffineTransform and PerspectiveTransform: images whose cells are read from transformed places. */
#include <math.h>
#include <string.h>

#include "layers/operation.h"
#include "layers/variants.h"

enum fill_mode { FILL_CONSTANT, FILL_NEAREST, FILL_WRAP, FILL_REFLECT };

struct warp_config {
    enum warp_variant variant;
    bool bilinear;
    enum fill_mode mode;
    double fill_value;
};

static void op_warp_read(struct config_reader *reader, void *config, int variant)
{
    struct warp_config *c = config;
    c->variant = (enum warp_variant)variant;
    c->bilinear = config_choice(reader, "interpolation", "nearest bilinear", 1) == 1;
    c->fill_value = config_double(reader, "fill_value", 0);
    if (c->variant == WARP_AFFINE)
        c->mode = (enum fill_mode)config_choice(reader, "fill_mode", "constant nearest wrap reflect", FILL_CONSTANT);
    (void)config_data_format(reader);
}

/* a x = b for 8 unknowns, in place; false when there is no one solution. */
static bool solve(double a[8][9])
{
    for (int k = 0; k < 8; k++) {
        int best = k;
        for (int i = k + 1; i < 8; i++)
            best = fabs(a[i][k]) > fabs(a[best][k]) ? i : best;
        if (fabs(a[best][k]) < 1e-9)
            return false;
        for (int j = 0; best != k && j < 9; j++) {
            double t = a[k][j];
            a[k][j] = a[best][j];
            a[best][j] = t;
        }
        for (int i = 0; i < 8; i++) {
            double factor = i == k ? 0 : a[i][k] / a[k][k];
            for (int j = k; factor != 0 && j < 9; j++)
                a[i][j] -= factor * a[k][j];
        }
    }
    return true;
}

/* The transform that takes four points of the result to four points of the image. */
static bool homography(const float *start, const float *end, float ret[8])
{
    double a[8][9] = {{0}};
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 2; k++) {
            double *row = a[2 * i + k], x = (double)end[2 * i], y = (double)end[2 * i + 1],
                   to = (double)start[2 * i + k];
            row[3 * k] = x;
            row[3 * k + 1] = y;
            row[3 * k + 2] = 1;
            row[6] = -to * x;
            row[7] = -to * y;
            row[8] = to;
        }
    if (!solve(a))
        return false;
    for (int i = 0; i < 8; i++)
        ret[i] = (float)(a[i][8] / a[i][i]);
    return true;
}

/* One transform for all images, or a tensor of one for each: its input index, else -1; -2: neither. */
static int find_transform(const struct warp_config *c, const struct operand_source *source, float ret[8])
{
    struct operand o[2] = {operand_at(source, 1, c->variant == WARP_AFFINE ? "transform" : "start_points"),
                           operand_at(source, 2, "end_points")};
    int count = c->variant == WARP_AFFINE ? 1 : 2;
    struct tensor *t[2] = {NULL, NULL};
    bool found = true;
    if (count == 1 && o[0].kind == OPERAND_TENSOR)
        return dtype_is_float(o[0].dtype) && o[0].shape.rank == 2 && o[0].shape.dims[1] == 8 ? o[0].input : -2;
    for (int i = 0; i < count; i++) {
        int64_t numbers = 0;
        if (o[i].kind != OPERAND_ARRAY || !shape_count(&o[i].shape, &numbers) || numbers != 8 ||
            (count == 2 && o[i].shape.dims[o[i].shape.rank - 1] != 2))
            found = false;
        else
            t[i] = operand_constant(&o[i]);
        found = found && t[i];
    }
    if (found && count == 1)
        memcpy(ret, t[0]->data, 8 * sizeof *ret);
    else if (found)
        found = homography(t[0]->data, t[1]->data, ret);
    tensor_free(t[0]);
    tensor_free(t[1]);
    return found ? -1 : -2;
}

static int op_warp_shape(struct layer_shape *s)
{
    const struct warp_config *c = s->config;
    struct operand_source source = operands_of_shape(s);
    int images = layer_argument_tensor(layer_argument(s->arguments, 0, "images"));
    float transform[8];
    if (images < 0 || s->inputs[images].rank != 4 || s->input_dtypes[images] != DTYPE_F32)
        return layer_shape_fail(s, "%s is supported for a batch of float images", s->layer->class_name);
    if (find_transform(c, &source, transform) == -2)
        return operand_fail(s, c->variant == WARP_AFFINE ? "transform" : "start_points");
    s->outputs[0] = s->inputs[images];
    return 0;
}

/* ---- reference, in single precision: what is rounded decides which cell is read ---- */

static float fold(enum fill_mode mode, float at, int64_t n)
{
    float size = (float)n;
    if (mode == FILL_CONSTANT)
        return at;
    if (mode != FILL_NEAREST && n <= 1 && (at < 0 || at > size - 1))
        at = 0;
    if (mode == FILL_WRAP && at < 0)
        at += size * (truncf(-at / (size - 1)) + 1);
    else if (mode == FILL_WRAP && at > size - 1)
        at -= size * truncf(at / (size - 1));
    if (mode == FILL_REFLECT && at < 0) {
        at += 2 * size * truncf(-at / (2 * size));
        at = at < -size ? at + 2 * size : -at - 1;
    } else if (mode == FILL_REFLECT && at > size - 1) {
        at -= 2 * size * truncf(at / (2 * size));
        at = at >= size ? 2 * size - at - 1 : at;
    }
    return at < 0 ? 0 : at > size - 1 ? size - 1 : at;
}

/* One channel of one image. */
struct channel {
    const float *cells;
    int64_t height, width, row, column;
};

static float read_cell(const struct warp_config *c, const struct channel *from, float y, float x)
{
    if (!(y >= 0 && y < (float)from->height && x >= 0 && x < (float)from->width))
        return (float)c->fill_value;
    return from->cells[(int64_t)y * from->row + (int64_t)x * from->column];
}

static float read_at(const struct warp_config *c, const struct channel *from, const float t[8], float y, float x)
{
    float scale = t[6] * x + t[7] * y + 1;
    if (scale == 0)
        return (float)c->fill_value;
    float row = fold(c->mode, (t[3] * x + t[4] * y + t[5]) / scale, from->height);
    float column = fold(c->mode, (t[0] * x + t[1] * y + t[2]) / scale, from->width);
    if (!c->bilinear)
        return read_cell(c, from, roundf(row), roundf(column));
    float top = floorf(row), left = floorf(column), down = row - top, right = column - left;
    float above = (1 - right) * read_cell(c, from, top, left) + right * read_cell(c, from, top, left + 1);
    float below = (1 - right) * read_cell(c, from, top + 1, left) + right * read_cell(c, from, top + 1, left + 1);
    return (1 - down) * above + down * below;
}

static int op_warp_reference(const struct layer_run *run)
{
    const struct warp_config *c = run->config;
    struct operand_source source = operands_of_run(run);
    const struct tensor *x = run->inputs[layer_argument_tensor(layer_argument(run->arguments, 0, "images"))];
    bool first = run->layer->channels_first;
    const int64_t *dims = x->shape.dims;
    int64_t channels = dims[first ? 1 : 3], height = dims[first ? 2 : 1], width = dims[first ? 3 : 2];
    float one[8];
    int at = find_transform(c, &source, one);
    if (at == -2)
        return h5pt_fail(run->err, H5PT_INTERNAL, run->layer->path, "The arguments are not as they were");
    for (int64_t n = 0; n < dims[0] * channels; n++) {
        const float *t = at < 0 ? one : run->inputs[at]->data + n / channels * 8;
        int64_t cells = height * width, base = first ? n * cells : n / channels * cells * channels + n % channels;
        struct channel from = {x->data + base, height, width, first ? width : width * channels, first ? 1 : channels};
        for (int64_t i = 0; i < cells; i++)
            run->outputs[0]->data[base + i / width * from.row + i % width * from.column] = read_at(
                c, &from, t, (float)(i / width), (float)(i % width));
    }
    return 0;
}

static int op_warp_lower(struct lowering *l, const struct keras_call *call)
{
    static const char *const modes[] = {"constant", "nearest", "wrap", "reflect"};
    const struct warp_config *c = call->layer->config;
    struct operand_source source = operands_of_call(call);
    struct layout images = layout_spatial(call->layer, 4), keras = layout_keras(2);
    struct shape shape = shape_of(2, (const int64_t[]){1, 8});
    float numbers[8];
    int at = find_transform(c, &source, numbers);
    if (at == -2)
        return -1;
    struct lowered x = lower_input_as(l, call, layer_argument_tensor(layer_argument(call->arguments, 0, "images")),
                                      &images);
    struct lowered t = at >= 0 ? lower_input_keras(l, call, at)
                               : lower_constant_value(l, call, "transform", &shape, &keras, numbers);
    struct torch_attr attrs[] = {attr_text("interpolation", c->bilinear ? "bilinear" : "nearest"),
                                 attr_text("fill_mode", modes[c->mode]),
                                 attr_float("fill_value", tidy_float(c->fill_value))};
    struct node_spec spec = {.op = TORCH_PROJECTIVE_TRANSFORM,
                             .input_count = 2,
                             .inputs = (int[]){x.id, t.id},
                             .attr_count = 3,
                             .attrs = attrs,
                             .shape = lower_shape(l, x.id),
                             .dtype = DTYPE_F32};
    return lower_output(l, call, 0, (struct lowered){lower_node(l, call, &spec), x.layout});
}

const struct layer_handler op_warp_handler = {
    .config_size = sizeof(struct warp_config),
    .read = op_warp_read,
    .shape = op_warp_shape,
    .reference = op_warp_reference,
    .lower = op_warp_lower,
};
