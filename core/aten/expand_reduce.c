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
