/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products and look-ups. */
#include "aten/formula.h"

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
    return aten_matmul(b, aten_input(b, node, 0), aten_input(b, node, 1));
}
