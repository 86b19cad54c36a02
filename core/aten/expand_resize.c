/* SPDX-License-Identifier: Apache-2.0 */
/* TensorFlow's resampling of images, as products with a matrix for each axis. The matrices are made while the model runs, from sizes
 * that need not be known before: resize and resize_weights of model.py. */
#include "aten/formula.h"

#include <math.h>
#include <string.h>

/* c[0] + c[1] x + c[2] x² + c[3] x³ */
static int cubic(struct aten_builder *b, int x, const double c[4])
{
    int y = aten_plus(b, aten_times(b, x, c[3]), c[2]);
    y = aten_plus(b, aten_mul(b, y, x), c[1]);
    return aten_plus(b, aten_mul(b, y, x), c[0]);
}

static int near_or_far(struct aten_builder *b, int x, const double near[4], const double far[4])
{
    return aten_where(b, aten_than(b, "lt.Scalar", x, 1), cubic(b, x, near), cubic(b, x, far));
}

static int triangle(struct aten_builder *b, int x, double radius)
{
    (void)radius;
    return aten_from(b, 1, x);
}

static int bicubic(struct aten_builder *b, int x, double radius)
{
    (void)radius;
    return near_or_far(b, x, (const double[]){1, 0, -2.5, 1.5}, (const double[]){2, -4, 2.5, -0.5});
}

static int mitchell(struct aten_builder *b, int x, double radius)
{
    (void)radius;
    return near_or_far(b, x, (const double[]){8.0 / 9, 0, -2, 7.0 / 6},
                       (const double[]){16.0 / 9, -10.0 / 3, 2, -7.0 / 18});
}

static int gaussian(struct aten_builder *b, int x, double radius)
{
    (void)radius;
    return aten_unary(b, "exp.default", aten_mul(b, aten_times(b, x, -2), x));
}

static int lanczos(struct aten_builder *b, int x, double radius)
{
    return aten_mul(b, aten_unary(b, "sinc.default", x), aten_unary(b, "sinc.default", aten_over(b, x, radius)));
}

static const struct kernel {
    const char *method;
    double radius;
    int (*weight)(struct aten_builder *b, int x, double radius); /* at the distance x */
} kernels[] = {
    {"bilinear", 1, triangle},   {"bicubic", 2, bicubic},  {"mitchellcubic", 2, mitchell},
    {"gaussian", 1.5, gaussian}, {"lanczos3", 3, lanczos}, {"lanczos5", 5, lanczos},
};

/* An axis of `old` cells that gets `new` ones: tensors of float32. */
struct axis {
    const struct aten_int *old, *new;
    int cells, places; /* 0 … old - 1; 0 … new - 1 as a column */
    int step, scale;   /* old / new, new / old */
};

static struct axis axis_of(struct aten_builder *b, int x, int dim, const struct aten_int *size)
{
    struct axis a = {.old = aten_size(b, x, dim), .new = size};
    int old = aten_size_tensor(b, x, a.old, DTYPE_F32), new = aten_size_tensor(b, x, a.new, DTYPE_F32);
    a.cells = aten_arange(b, x, a.old, DTYPE_F32);
    a.places = aten_unsqueeze(b, aten_arange(b, x, a.new, DTYPE_F32), 1);
    a.step = aten_div(b, old, new);
    a.scale = aten_div(b, new, old);
    return a;
}

/* How much of each old cell a new one covers. */
static int area_weights(struct aten_builder *b, const struct axis *a)
{
    int low = aten_mul(b, a->places, a->step), high = aten_mul(b, aten_plus(b, a->places, 1), a->step);
    int inside = aten_sub(b, aten_smaller(b, aten_plus(b, a->cells, 1), high), aten_larger(b, a->cells, low));
    return aten_div(b, aten_limit(b, inside, 0, INFINITY), a->step);
}

/* Where the middle of each new cell lies; bicubic: as TensorFlow looks its weights up, 1024 to a cell. */
static int middles(struct aten_builder *b, const struct axis *a, bool looked_up)
{
    int middle = aten_plus(b, a->places, 0.5);
    if (!looked_up)
        return aten_mul(b, middle, aten_unary(b, "reciprocal.default", a->scale));
    int at = aten_minus(b, aten_mul(b, middle, a->step), 0.5), whole = aten_unary(b, "floor.default", at);
    int part = aten_unary(b, "round.default", aten_times(b, aten_sub(b, at, whole), 1024));
    return aten_plus(b, aten_add(b, whole, aten_over(b, part, 1024)), 0.5);
}

static int kernel_weights(struct aten_builder *b, const struct axis *a, const struct kernel *kernel, bool antialias)
{
    int at = middles(b, a, strcmp(kernel->method, "bicubic") == 0 && !antialias);
    int x = aten_unary(b, "abs.default", aten_sub(b, aten_plus(b, a->cells, 0.5), at));
    if (antialias)
        x = aten_div(b, x, aten_limit(b, a->step, 1, INFINITY));
    int y = kernel->weight(b, x, kernel->radius);
    y = aten_where_number(b, aten_than(b, "lt.Scalar", x, kernel->radius), y, 0);
    return aten_div(b, y, aten_reduce(b, "sum.dim_IntList", y, 1, (const int64_t[]){1}));
}

static int weights(struct aten_builder *b, const struct torch_node *node, int x, int dim, const struct aten_int *size)
{
    const char *method = torch_attr_text(node, "method");
    struct axis a = axis_of(b, x, dim, size);
    if (method && strcmp(method, "area") == 0)
        return aten_cast(b, area_weights(b, &a), aten_dtype_of(b, x));
    for (size_t i = 0; method && i < sizeof kernels / sizeof *kernels; i++)
        if (strcmp(kernels[i].method, method) == 0)
            return aten_cast(b, kernel_weights(b, &a, &kernels[i], aten_attr_flag(node, "antialias", false)),
                             aten_dtype_of(b, x));
    return aten_refuse(b, "an image that is resized by the method %s", method ? method : "without a name");
}

/* x matrixᵀ */
static int product(struct aten_builder *b, int x, int matrix)
{
    return aten_emit(b, "linear.default", aten_replaced(b, x, aten_dim(b, x, -1), aten_size(b, matrix, 0)),
                     aten_dtype_of(b, x), ATEN_ARGS(aten_tensor("input", x), aten_tensor("weight", matrix)));
}

static int resized(struct aten_builder *b, const struct torch_node *node, int x, const struct aten_int *height,
                   const struct aten_int *width)
{
    int rows = weights(b, node, x, 2, height), columns = weights(b, node, x, 3, width);
    static const int64_t swap[] = {0, 1, 3, 2};
    return aten_permute(b, product(b, aten_permute(b, product(b, x, columns), swap), rows), swap);
}

int aten_RESIZE(struct aten_builder *b, const struct torch_node *node)
{
    return resized(b, node, aten_input(b, node, 0), aten_int(b, torch_attr_at(node, "size", 0)),
                   aten_int(b, torch_attr_at(node, "size", 1)));
}

int aten_RESIZE_LIKE(struct aten_builder *b, const struct torch_node *node)
{
    int like = aten_input(b, node, 1);
    const struct aten_int *height = aten_int_linear(b, torch_attr_at(node, "times", 0), aten_size(b, like, 2), 0);
    const struct aten_int *width = aten_int_linear(b, torch_attr_at(node, "times", 1), aten_size(b, like, 3), 0);
    return resized(b, node, aten_input(b, node, 0), height, width);
}
