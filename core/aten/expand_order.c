/* SPDX-License-Identifier: Apache-2.0 */
/* Sorting and running sums. */
#include "aten/aten.h"

/* (values, indices) of a stable sort; returns the id of the values, that of the indices follows. */
static int sorted(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0), dim = aten_dim(b, x, aten_attr_int(node, "dim", -1));
    struct aten_meta outputs[2] = {{aten_shape_of(b, x), aten_dtype_of(b, x)}, {aten_shape_of(b, x), DTYPE_I64}};
    return aten_emit_many(b, "sort.stable", false, 2, outputs,
                          ATEN_ARGS(aten_tensor("self", x), aten_keyword(aten_flag("stable", true)),
                                    aten_keyword(aten_integer("dim", dim)),
                                    aten_keyword(aten_flag("descending", aten_attr_flag(node, "descending", false)))));
}

int aten_SORT(struct aten_builder *b, const struct torch_node *node)
{
    return sorted(b, node);
}

int aten_ARGSORT(struct aten_builder *b, const struct torch_node *node)
{
    int values = sorted(b, node);
    return values < 0 ? values : values + 1;
}

static int top(struct aten_builder *b, const struct torch_node *node)
{
    int64_t k = torch_attr_int(node, "k");
    int x = aten_input(b, node, 0), dim = aten_dim(b, x, aten_attr_int(node, "dim", -1));
    struct aten_shape shape = aten_replaced(b, x, dim, aten_int(b, k));
    struct aten_meta outputs[2] = {{shape, aten_dtype_of(b, x)}, {shape, DTYPE_I64}};
    return aten_emit_many(b, "topk.default", false, 2, outputs,
                          ATEN_ARGS(aten_tensor("self", x), aten_integer("k", k), aten_integer("dim", dim)));
}

int aten_TOPK_VALUES(struct aten_builder *b, const struct torch_node *node)
{
    return top(b, node);
}

int aten_TOPK_INDICES(struct aten_builder *b, const struct torch_node *node)
{
    int values = top(b, node);
    return values < 0 ? values : values + 1;
}

static int running(struct aten_builder *b, const struct torch_node *node, const char *op)
{
    int x = aten_input(b, node, 0), dim = aten_dim(b, x, torch_attr_int(node, "dim"));
    enum dtype dtype = aten_dtype_of(b, x);
    return aten_emit(b, op, aten_shape_of(b, x), dtype_is_float(dtype) ? dtype : DTYPE_I64,
                     ATEN_ARGS(aten_tensor("self", x), aten_integer("dim", dim)));
}

int aten_CUMSUM(struct aten_builder *b, const struct torch_node *node)
{
    return running(b, node, "cumsum.default");
}

int aten_CUMPROD(struct aten_builder *b, const struct torch_node *node)
{
    return running(b, node, "cumprod.default");
}
