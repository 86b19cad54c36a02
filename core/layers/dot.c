/* SPDX-License-Identifier: Apache-2.0 */
/* Dot: for each sample, the sum over one axis of x and one of y; the result has the other axes of x, then those of y. */
#include <math.h>
#include <stdio.h>

#include "layers/axes.h"
#include "layers/compose.h"
#include "layers/layer.h"
#include "layers/lower.h"

struct dot_config {
    int64_t axes[2];
    bool normalize; /* both to unit length along their axis before */
    double least;   /* norms below count as this */
    bool by_matmul; /* standalone Keras 2: beyond rank 3 it pairs axes in another way */
};

static void dot_read(struct config_reader *reader, void *config, int variant)
{
    struct dot_config *c = config;
    (void)variant;
    if (!config_get(reader, "axes"))
        config_refuse(reader, H5PT_CONFIG_INVALID, "axes", "\"axes\" is missing");
    config_ints(reader, "axes", 2, c->axes, -1);
    c->normalize = config_bool(reader, "normalize", false);
    /* Keras 3 limits the norm by its epsilon, Keras 2 the square of the norm by 1e-12 */
    c->least = reader->version.major >= 3 ? 1e-7 : 1e-6;
    c->by_matmul = reader->version.major < 3 && !reader->version.tf;
}

/* The axes counted from the front. */
static bool dot_axes(const struct dot_config *c, int x_rank, int y_rank, int *a, int *b)
{
    *a = axis_resolve(c->axes[0], x_rank);
    *b = axis_resolve(c->axes[1], y_rank);
    return *a >= 1 && *b >= 1;
}

static int dot_shape(struct layer_shape *s)
{
    const struct dot_config *c = s->config;
    int a, b;
    if (s->input_count != 2)
        return layer_shape_fail(s, "Dot takes two tensors, not %d", s->input_count);
    const struct shape *x = &s->inputs[0], *y = &s->inputs[1];
    if (!dot_axes(c, x->rank, y->rank, &a, &b))
        return layer_shape_fail(s, "The tensors, of rank %d and %d, do not have the axes of the layer", x->rank,
                                y->rank);
    if (x->dims[a] != DIM_UNKNOWN && y->dims[b] != DIM_UNKNOWN && x->dims[a] != y->dims[b])
        return layer_shape_fail(s, "The axes to be summed over have %lld and %lld elements", (long long)x->dims[a],
                                (long long)y->dims[b]);
    if (c->by_matmul && (x->rank > 3 || y->rank > 3))
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_CONFIG, "axes",
                         "Dot of tensors with more than three dimensions is not supported in files of Keras 2");
    if (x->rank + y->rank - 3 > SHAPE_MAX_RANK)
        return layer_shape_fail(s, "The result has too many dimensions");
    struct shape out = {.rank = 1, .dims = {x->dims[0]}};
    for (int i = 1; i < x->rank; i++)
        if (i != a)
            out.dims[out.rank++] = x->dims[i];
    for (int i = 1; i < y->rank; i++)
        if (i != b)
            out.dims[out.rank++] = y->dims[i];
    if (out.rank == 1)
        out.dims[out.rank++] = 1;
    s->outputs[0] = out;
    return 0;
}

/* A copy with `axis` brought to the end, normalised along it when `least` > 0. */
static struct tensor *rows_along(const struct tensor *x, int axis, double least)
{
    int order[SHAPE_MAX_RANK], n = 0;
    for (int i = 0; i < x->shape.rank; i++)
        if (i != axis)
            order[n++] = i;
    order[n] = axis;
    struct tensor *rows = tensor_transpose(x, order);
    int64_t length = x->shape.dims[axis];
    if (!rows || least <= 0 || !length)
        return rows;
    for (float *row = rows->data; row < rows->data + rows->count; row += length) {
        double squares = 0;
        for (int64_t i = 0; i < length; i++)
            squares += (double)row[i] * (double)row[i];
        double norm = fmax(sqrt(squares), least);
        for (int64_t i = 0; i < length; i++)
            row[i] = (float)((double)row[i] / norm);
    }
    return rows;
}

static int dot_reference(const struct layer_run *run)
{
    const struct dot_config *c = run->config;
    const struct tensor *x = run->inputs[0], *y = run->inputs[1];
    int a, b;
    if (!dot_axes(c, x->shape.rank, y->shape.rank, &a, &b) || x->shape.dims[a] != y->shape.dims[b])
        return h5pt_fail(run->err, H5PT_SHAPE_MISMATCH, run->layer->path, "The axes to be summed over do not fit");
    int64_t batch = x->shape.dims[0], length = x->shape.dims[a];
    double least = c->normalize ? c->least : 0;
    struct tensor *p = rows_along(x, a, least), *q = rows_along(y, b, least);
    int ret = p && q ? 0 : h5pt_fail_memory(run->err);
    int64_t x_rows = batch && length ? x->count / batch / length : 0;
    int64_t y_rows = batch && length ? y->count / batch / length : 0;
    float *out = run->outputs[0]->data;
    for (int64_t i = 0; !ret && length && i < batch * x_rows; i++)
        for (int64_t j = 0; j < y_rows; j++) {
            const float *u = p->data + i * length, *v = q->data + (i / x_rows * y_rows + j) * length;
            double sum = 0;
            for (int64_t k = 0; k < length; k++)
                sum += (double)u[k] * (double)v[k];
            *out++ = (float)sum;
        }
    for (float *end = run->outputs[0]->data + run->outputs[0]->count; !ret && !length && out < end; out++)
        *out = 0;
    tensor_free(p);
    tensor_free(q);
    return ret;
}

/* "bij,bkj->bik": b is the batch, and the summed axis has the same letter in both. */
enum { DOT_EQUATION_SIZE = 4 * SHAPE_MAX_RANK + 8 };

static void dot_equation(int x_rank, int y_rank, int a, int b, char ret[DOT_EQUATION_SIZE])
{
    char x[SHAPE_MAX_RANK + 1] = "b", y[SHAPE_MAX_RANK + 1] = "b", out[2 * SHAPE_MAX_RANK + 1] = "b";
    char next = 'i';
    int n = 1;
    for (int i = 1; i < x_rank; i++) {
        x[i] = next++;
        if (i != a)
            out[n++] = x[i];
    }
    for (int i = 1; i < y_rank; i++) {
        y[i] = i == b ? x[a] : next++;
        if (i != b)
            out[n++] = y[i];
    }
    (void)snprintf(ret, DOT_EQUATION_SIZE, "%s,%s->%s", x, y, out);
}

static int dot_lower(struct lowering *l, const struct keras_call *call)
{
    const struct dot_config *c = call->layer->config;
    struct lowered x = lower_input_keras(l, call, 0), y = lower_input_keras(l, call, 1);
    int x_rank = call->inputs[0]->shape.rank, y_rank = call->inputs[1]->shape.rank, a, b;
    if (x.id < 0 || y.id < 0 || !dot_axes(c, x_rank, y_rank, &a, &b))
        return -1;
    if (c->normalize) {
        x = lower_normalize(l, call, x, a, c->least);
        y = lower_normalize(l, call, y, b, c->least);
    }
    bool scalars = x_rank == 2 && y_rank == 2;
    struct shape shape = call->outputs[0]->shape;
    if (scalars)
        shape.rank = 1;
    char equation[DOT_EQUATION_SIZE];
    dot_equation(x_rank, y_rank, a, b, equation);
    struct lowered out = lower_einsum(l, call, equation, x, y, shape, DTYPE_F32);
    if (scalars) {
        struct torch_attr dim = attr_int("dim", 1);
        out.id = lower_function(l, call, TORCH_UNSQUEEZE, out.id, 1, &dim, call->outputs[0]->shape, DTYPE_F32);
        out.layout = layout_keras(2);
    }
    return lower_output(l, call, 0, out);
}

const struct layer_handler dot_handler = {
    .config_size = sizeof(struct dot_config),
    .read = dot_read,
    .shape = dot_shape,
    .reference = dot_reference,
    .lower = dot_lower,
};
