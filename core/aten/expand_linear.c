/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products and look-ups. */
#include "aten/aten.h"

/* The matrix of a module, or of a function, which has it as its second input. */
static int weight_of(struct aten_builder *b, const struct torch_node *node)
{
    return node->input_count > 1 ? aten_input(b, node, 1) : aten_parameter(b, node, 0);
}

int aten_LINEAR(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0), weight = weight_of(b, node);
    bool bias = node->input_count == 1 && aten_attr_flag(node, "bias", true);
    return aten_emit(b, "linear.default", aten_replaced(b, x, aten_dim(b, x, -1), aten_size(b, weight, 0)),
                     aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("input", x), aten_tensor("weight", weight),
                               aten_tensor("bias", bias ? aten_parameter(b, node, 1) : ATEN_NO_TENSOR)));
}

int aten_EMBEDDING(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0), weight = weight_of(b, node);
    return aten_emit(b, "embedding.default", aten_with(b, x, aten_rank(b, x), aten_size(b, weight, 1)),
                     aten_dtype_of(b, weight), ATEN_ARGS(aten_tensor("weight", weight), aten_tensor("indices", x)));
}

int aten_MATMUL(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0), y = aten_input(b, node, 1);
    struct aten_shape sx = aten_shape_of(b, x), sy = aten_shape_of(b, y);
    bool rows = sx.rank > 1, columns = sy.rank > 1; /* a vector has none */
    const struct aten_int *row_count = rows ? aten_size(b, x, -2) : NULL;
    const struct aten_int *column_count = columns ? aten_size(b, y, -1) : NULL;
    sx.rank -= rows ? 2 : sx.rank;
    sy.rank -= columns ? 2 : sy.rank;
    struct aten_shape out = aten_broadcast(b, &sx, &sy);
    if (rows)
        out.dims[out.rank++] = row_count;
    if (columns)
        out.dims[out.rank++] = column_count;
    return aten_emit(b, "matmul.default", out, aten_promoted(b, x, y),
                     ATEN_ARGS(aten_tensor("self", x), aten_tensor("other", y)));
}
