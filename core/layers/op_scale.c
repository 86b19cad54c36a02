/* SPDX-License-Identifier: Apache-2.0 */
/* ScaleAndTranslate: axes of a tensor resampled with a kernel, each by a matrix (input cells, output cells). */
#include <math.h>
#include <string.h>

#include "layers/operation.h"
#include "layers/window.h"

enum { SCALE_MAX_CELLS = 1 << 24 };

enum scale_kernel { KERNEL_LINEAR, KERNEL_CUBIC, KERNEL_LANCZOS3, KERNEL_LANCZOS5 };

struct scale_config {
    struct axis_list axes; /* in the order of scale and translation */
    enum scale_kernel kernel;
    bool antialias;
};

static void op_scale_read(struct config_reader *reader, void *config, int variant)
{
    static const enum scale_kernel kernels[] = {KERNEL_LINEAR, KERNEL_LINEAR,   KERNEL_LINEAR,
                                                KERNEL_LINEAR, KERNEL_CUBIC,    KERNEL_CUBIC,
                                                KERNEL_CUBIC,  KERNEL_LANCZOS3, KERNEL_LANCZOS5};
    struct scale_config *c = config;
    (void)variant;
    c->axes = axis_list_read(reader, "spatial_dims", 0);
    c->kernel = kernels[config_choice(
        reader, "method", "linear bilinear trilinear triangle cubic bicubic tricubic lanczos3 lanczos5", 0)];
    c->antialias = config_bool(reader, "antialias", true);
}

static double kernel_at(enum scale_kernel kernel, double x)
{
    double pi = acos(-1.0), radius = kernel == KERNEL_LANCZOS3 ? 3 : 5;
    if (kernel == KERNEL_LINEAR)
        return x < 1 ? 1 - x : 0;
    if (kernel == KERNEL_CUBIC)
        return x >= 2 ? 0 : x >= 1 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : (1.5 * x - 2.5) * x * x + 1;
    if (x > radius)
        return 0;
    return x > 1e-3 ? radius * sin(pi * x) * sin(pi * x / radius) / (pi * pi * x * x) : 1;
}

/* One axis: what is resampled, and by how much. */
struct scaled {
    int axis;
    int64_t in, out;
    float scale, translation;
};

/* The weights of the `in` cells for cell `o` of the result. */
static void weights_of(const struct scale_config *c, const struct scaled *s, int64_t o, int64_t step, float *ret)
{
    float inverse = 1 / s->scale, at = ((float)o + 0.5f) * inverse - s->translation * inverse - 0.5f;
    double width = c->antialias && inverse > 1 ? (double)inverse : 1, sum = 0;
    bool inside = at >= -0.5f && at <= (float)s->in - 0.5f;
    for (int64_t i = 0; i < s->in; i++)
        sum += kernel_at(c->kernel, fabs((double)at - (double)i) / width);
    for (int64_t i = 0; i < s->in; i++)
        ret[i * step] = inside && fabs(sum) > 1000 * 1.1920928955078125e-07
                            ? (float)(kernel_at(c->kernel, fabs((double)at - (double)i) / width) / sum)
                            : 0;
}

static bool read_number(const struct operand_source *source, int position, const char *name, int index, float *ret)
{
    struct operand o = operand_at(source, position, name);
    struct tensor *t = o.kind == OPERAND_ARRAY && o.shape.rank == 1 && o.shape.dims[0] > index ? operand_constant(&o)
                                                                                               : NULL;
    bool ok = t != NULL;
    if (ok)
        *ret = t->data[index];
    tensor_free(t);
    return ok;
}

/* The axes with what the arguments say of them; how many, or -1. */
static int find_axes(const struct scale_config *c, const struct operand_source *source, const struct shape *in,
                     struct scaled ret[SHAPE_MAX_RANK])
{
    const json_t *shape = layer_argument(source->arguments, 1, "output_shape");
    for (int i = 0; i < c->axes.count; i++) {
        struct scaled *s = &ret[i];
        s->axis = axis_resolve(c->axes.axes[i], in->rank);
        const json_t *size = s->axis < 0 ? NULL : json_array_get(shape, (size_t)s->axis);
        if (!json_is_integer(size) || !read_number(source, 2, "scale", i, &s->scale) ||
            !read_number(source, 3, "translation", i, &s->translation) || !(s->scale > 0))
            return -1;
        s->in = in->dims[s->axis];
        s->out = json_integer_value(size);
        if (s->in < 1 || s->out < 1 || s->in > SCALE_MAX_CELLS || s->out > SCALE_MAX_CELLS / s->in)
            return -1;
        for (int k = 0; k < i; k++)
            if (ret[k].axis == s->axis)
                return -1;
    }
    return c->axes.count;
}

static int op_scale_shape(struct layer_shape *s)
{
    struct operand_source source = operands_of_shape(s);
    struct scaled axes[SHAPE_MAX_RANK];
    if (s->input_count != 1 || s->input_dtypes[0] != DTYPE_F32)
        return layer_shape_fail(s, "%s is supported for float32, and scales that are constants", s->layer->class_name);
    int n = find_axes(s->config, &source, &s->inputs[0], axes);
    if (n < 0)
        return operand_fail(s, "scale");
    s->outputs[0] = s->inputs[0];
    for (int i = 0; i < n; i++)
        s->outputs[0].dims[axes[i].axis] = axes[i].out;
    return 0;
}

static int op_scale_reference(const struct layer_run *run)
{
    const struct scale_config *c = run->config;
    struct operand_source source = operands_of_run(run);
    struct scaled axes[SHAPE_MAX_RANK];
    int n = find_axes(c, &source, &run->inputs[0]->shape, axes), status = n < 0 ? -1 : 0;
    struct tensor *x = tensor_copy(run->inputs[0]);
    for (int k = 0; x && status == 0 && k < n; k++) {
        struct shape shape = x->shape, line = {.rank = 1, .dims = {axes[k].in}};
        int64_t inner = 1;
        shape.dims[axes[k].axis] = axes[k].out;
        for (int i = axes[k].axis + 1; i < shape.rank; i++)
            inner *= shape.dims[i];
        struct tensor *y = tensor_new(&shape, DTYPE_F32), *w = tensor_new(&line, DTYPE_F32);
        for (int64_t o = 0; y && w && o < axes[k].out; o++) {
            weights_of(c, &axes[k], o, 1, w->data);
            for (int64_t m = 0; m < y->count / axes[k].out; m++) {
                double sum = 0;
                for (int64_t i = 0; i < axes[k].in; i++)
                    sum += (double)w->data[i] * (double)x->data[(m / inner * axes[k].in + i) * inner + m % inner];
                y->data[(m / inner * axes[k].out + o) * inner + m % inner] = (float)sum;
            }
        }
        status = y && w ? 0 : -1;
        tensor_free(w);
        tensor_free(x);
        x = y;
    }
    if (x && status == 0)
        memcpy(run->outputs[0]->data, x->data, (size_t)x->count * sizeof *x->data);
    else
        status = h5pt_fail_memory(run->err);
    tensor_free(x);
    return status;
}

static int op_scale_lower(struct lowering *l, const struct keras_call *call)
{
    static const char letters[] = "abcdefgh";
    const struct scale_config *c = call->layer->config;
    struct operand_source source = operands_of_call(call);
    struct scaled axes[SHAPE_MAX_RANK];
    struct lowered x = lower_input_keras(l, call, 0);
    struct shape shape = lower_shape(l, x.id);
    int n = find_axes(c, &source, &call->inputs[0]->shape, axes), rank = shape.rank;
    for (int k = 0; k < n; k++) {
        struct shape sizes = shape_of(2, (const int64_t[]){axes[k].in, axes[k].out});
        struct layout keras = layout_keras(2);
        struct tensor *w = tensor_new(&sizes, DTYPE_F32);
        char equation[2 * SHAPE_MAX_RANK + 8] = {0}, name[] = "weights_0";
        if (!w)
            return h5pt_fail_memory(lower_error(l));
        for (int64_t o = 0; o < axes[k].out; o++)
            weights_of(c, &axes[k], o, axes[k].out, w->data + o);
        name[8] = (char)('0' + axes[k].axis);
        memcpy(equation, letters, (size_t)rank);
        char *to = equation + rank;
        *to++ = ',';
        *to++ = letters[axes[k].axis];
        memcpy(to, "z->", 3);
        memcpy(to + 3, letters, (size_t)rank);
        to[3 + axes[k].axis] = 'z';
        shape.dims[axes[k].axis] = axes[k].out;
        x = lower_einsum(l, call, equation, x, lower_buffer(l, call, name, w, &keras), shape, DTYPE_F32);
        tensor_free(w);
    }
    lower_output(l, call, 0, x);
    return n < 0 ? -1 : 0;
}

const struct layer_handler op_scale_handler = {
    .config_size = sizeof(struct scale_config),
    .read = op_scale_read,
    .shape = op_scale_shape,
    .reference = op_scale_reference,
    .lower = op_scale_lower,
};
