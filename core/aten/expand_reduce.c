/* SPDX-License-Identifier: Apache-2.0 */
/* Reductions over dims. */
#include "aten/aten.h"

/* The shape of x without the marked dims, or with 1 for them. */
static struct aten_shape reduced(struct aten_builder *b, int x, int count, const int64_t *dims, bool keep)
{
    struct aten_shape in = aten_shape_of(b, x), out = {.rank = 0};
    for (int i = 0, k = 0; i < in.rank; i++) {
        bool gone = k < count && dims[k] == i;
        k += gone;
        if (!gone || keep)
            out.dims[out.rank++] = gone ? aten_int(b, 1) : in.dims[i];
    }
    return out;
}

/* op(self, dim, keepdim) */
static int over_dims(struct aten_builder *b, const struct torch_node *node, const char *op, bool sum)
{
    int64_t dims[ATEN_MAX_RANK];
    int x = aten_input(b, node, 0), count = aten_attr_dims(b, node, "dim", x, dims);
    bool keep = aten_attr_flag(node, "keepdim", false);
    enum dtype dtype = aten_dtype_of(b, x);
    if (sum && !dtype_is_float(dtype))
        dtype = DTYPE_I64;
    return aten_emit(b, op, reduced(b, x, count, dims, keep), dtype,
                     ATEN_ARGS(aten_tensor("self", x), aten_integers("dim", count, dims), aten_flag("keepdim", keep)));
}

#define OVER_DIMS(id, op, sum)                                                                                         \
    int aten_##id(struct aten_builder *b, const struct torch_node *node)                                               \
    {                                                                                                                  \
        return over_dims(b, node, op, sum);                                                                            \
    }

OVER_DIMS(SUM, "sum.dim_IntList", true)
OVER_DIMS(MEAN, "mean.dim", false)
OVER_DIMS(AMAX, "amax.default", false)
OVER_DIMS(AMIN, "amin.default", false)

/* Operators that take one dim: one after the other, from the back. */
static int over_each(struct aten_builder *b, const struct torch_node *node, const char *op, enum dtype dtype)
{
    int64_t dims[ATEN_MAX_RANK];
    int x = aten_input(b, node, 0), count = aten_attr_dims(b, node, "dim", x, dims);
    bool keep = aten_attr_flag(node, "keepdim", false);
    for (int i = count - 1; i >= 0; i--)
        x = aten_emit(b, op, reduced(b, x, 1, &dims[i], keep), dtype,
                      ATEN_ARGS(aten_tensor("self", x), aten_integer("dim", dims[i]), aten_flag("keepdim", keep)));
    return x;
}

int aten_ANY(struct aten_builder *b, const struct torch_node *node)
{
    return over_each(b, node, "any.dim", DTYPE_BOOL);
}

int aten_ALL(struct aten_builder *b, const struct torch_node *node)
{
    return over_each(b, node, "all.dim", DTYPE_BOOL);
}

int aten_PROD(struct aten_builder *b, const struct torch_node *node)
{
    enum dtype dtype = aten_dtype_of(b, aten_input(b, node, 0));
    return over_each(b, node, "prod.dim_int", dtype_is_float(dtype) ? dtype : DTYPE_I64);
}

static int place(struct aten_builder *b, const struct torch_node *node, const char *op)
{
    int64_t dims[ATEN_MAX_RANK];
    int x = aten_input(b, node, 0), count = aten_attr_dims(b, node, "dim", x, dims);
    if (count != 1)
        return aten_refuse(b, "a place among several dims");
    bool keep = aten_attr_flag(node, "keepdim", false);
    return aten_emit(b, op, reduced(b, x, 1, dims, keep), DTYPE_I64,
                     ATEN_ARGS(aten_tensor("self", x), aten_integer("dim", dims[0]), aten_flag("keepdim", keep)));
}

int aten_ARGMAX(struct aten_builder *b, const struct torch_node *node)
{
    return place(b, node, "argmax.default");
}

int aten_ARGMIN(struct aten_builder *b, const struct torch_node *node)
{
    return place(b, node, "argmin.default");
}

/* Between the elements of a dim, or of all. */
static int quantile(struct aten_builder *b, const struct torch_node *node, const char *op)
{
    int64_t dims[ATEN_MAX_RANK];
    int x = aten_input(b, node, 0), count = aten_attr_dims(b, node, "dim", x, dims);
    bool keep = aten_attr_flag(node, "keepdim", false), all = !torch_attr(node, "dim");
    if (!all && count != 1)
        return aten_refuse(b, "a quantile of several dims");
    return aten_emit(b, op, reduced(b, x, count, dims, keep), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_real("q", torch_attr_float(node, "q")),
                               all ? aten_none("dim") : aten_integer("dim", dims[0]), aten_flag("keepdim", keep)));
}

int aten_QUANTILE(struct aten_builder *b, const struct torch_node *node)
{
    return quantile(b, node, "quantile.scalar");
}

int aten_NANQUANTILE(struct aten_builder *b, const struct torch_node *node)
{
    return quantile(b, node, "nanquantile.scalar");
}

OVER_DIMS(LOGSUMEXP, "logsumexp.default", false)

static int spread(struct aten_builder *b, const struct torch_node *node, const char *op)
{
    int64_t dims[ATEN_MAX_RANK];
    int x = aten_input(b, node, 0), count = aten_attr_dims(b, node, "dim", x, dims);
    bool keep = aten_attr_flag(node, "keepdim", false);
    return aten_emit(b, op, reduced(b, x, count, dims, keep), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integers("dim", count, dims),
                               aten_keyword(aten_integer("correction", aten_attr_int(node, "correction", 1))),
                               aten_keyword(aten_flag("keepdim", keep))));
}

int aten_VAR(struct aten_builder *b, const struct torch_node *node)
{
    return spread(b, node, "var.correction");
}

int aten_STD(struct aten_builder *b, const struct torch_node *node)
{
    return spread(b, node, "std.correction");
}

static int norm(struct aten_builder *b, int x, double order, int count, const int64_t *dims, bool keep)
{
    return aten_emit(b, "linalg_vector_norm.default", reduced(b, x, count, dims, keep), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_real("ord", order), aten_integers("dim", count, dims),
                               aten_flag("keepdim", keep)));
}

int aten_VECTOR_NORM(struct aten_builder *b, const struct torch_node *node)
{
    int64_t dims[ATEN_MAX_RANK];
    int x = aten_input(b, node, 0), count = aten_attr_dims(b, node, "dim", x, dims);
    return norm(b, x, aten_attr_real(node, "ord", 2), count, dims, aten_attr_flag(node, "keepdim", false));
}

/* x / max(norm, eps) */
int aten_NORMALIZE(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0);
    int64_t dim = aten_dim(b, x, aten_attr_int(node, "dim", 1));
    int size = norm(b, x, aten_attr_real(node, "p", 2), 1, &dim, true);
    size = aten_emit(b, "clamp_min.default", aten_shape_of(b, size), aten_dtype_of(b, size),
                     ATEN_ARGS(aten_tensor("self", size), aten_real("min", aten_attr_real(node, "eps", 1e-12))));
    return aten_arithmetic(b, "div.Tensor", x, size);
}
