/* SPDX-License-Identifier: Apache-2.0 */
/* Attention, the masks that it takes, and sums of products. */
#include <math.h>

#include "aten/aten.h"

/* The last two dims exchanged. */
static int transposed(struct aten_builder *b, int x)
{
    int64_t dims[ATEN_MAX_RANK];
    int rank = aten_rank(b, x);
    for (int i = 0; i < rank; i++)
        dims[i] = i < rank - 2 ? i : 2 * rank - 3 - i;
    return aten_permute(b, x, dims);
}

/* x @ y for stacks of matrices that are of one shape. */
static int multiplied(struct aten_builder *b, int x, int y)
{
    int last = aten_dim(b, x, -1);
    return aten_emit(b, "matmul.default", aten_replaced(b, x, last, aten_size(b, y, -1)), aten_promoted(b, x, y),
                     ATEN_ARGS(aten_tensor("self", x), aten_tensor("other", y)));
}

/* op(self, diagonal): tril, triu */
static int triangle(struct aten_builder *b, const char *op, int x, int64_t diagonal)
{
    return aten_emit(b, op, aten_shape_of(b, x), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integer("diagonal", diagonal)));
}

/* softmax(query keyᵀ scale + bias) value; causal: a step looks at none after it. */
static int composed(struct aten_builder *b, const struct torch_node *node, double scale, bool causal)
{
    int query = aten_input(b, node, 0), key = aten_input(b, node, 1), value = aten_input(b, node, 2);
    int scores = aten_with_real(b, "mul.Scalar", multiplied(b, query, transposed(b, key)), scale);
    if (node->input_count > 3)
        scores = aten_arithmetic(b, "add.Tensor", scores, aten_input(b, node, 3));
    if (causal) {
        const struct aten_shape steps = {.rank = 2, .dims = {aten_size(b, query, -2), aten_size(b, key, -2)}};
        int later = triangle(b, "triu.default", aten_full(b, scores, steps, -INFINITY), 1);
        scores = aten_arithmetic(b, "add.Tensor", scores, later);
    }
    int weights = aten_emit(b, "softmax.int", aten_shape_of(b, scores), aten_dtype_of(b, scores),
                            ATEN_ARGS(aten_tensor("self", scores), aten_integer("dim", -1)));
    return multiplied(b, weights, value);
}

int aten_SCALED_DOT_PRODUCT_ATTENTION(struct aten_builder *b, const struct torch_node *node)
{
    int query = aten_input(b, node, 0), key = aten_input(b, node, 1), value = aten_input(b, node, 2);
    const struct aten_int *width = aten_size(b, query, -1);
    bool causal = aten_attr_flag(node, "is_causal", false), given = torch_attr(node, "scale") != NULL;
    if (!b->failed && !given && !aten_int_known(width))
        return aten_refuse(b, "attention over a number of features that only the input tells");
    if (b->failed)
        return -1;
    double scale = given ? torch_attr_float(node, "scale") : 1 / sqrt((double)width->value);
    if (!b->newest)
        return composed(b, node, scale, causal);
    int bias = node->input_count > 3 ? aten_input(b, node, 3) : ATEN_NO_TENSOR;
    return aten_emit(b, "scaled_dot_product_attention.default",
                     aten_replaced(b, query, aten_dim(b, query, -1), aten_size(b, value, -1)), aten_dtype_of(b, query),
                     ATEN_ARGS(aten_tensor("query", query), aten_tensor("key", key), aten_tensor("value", value),
                               aten_tensor("attn_mask", bias), aten_real("dropout_p", 0),
                               aten_flag("is_causal", causal), aten_keyword(aten_real("scale", scale))));
}

int aten_BAND_MASK(struct aten_builder *b, const struct torch_node *node)
{
    int query = aten_input(b, node, 0), key = aten_input(b, node, 1);
    const struct aten_shape steps = {.rank = 2, .dims = {aten_size(b, query, 1), aten_size(b, key, 1)}};
    int mask = aten_emit(b, "new_full.default", steps, DTYPE_BOOL,
                         ATEN_ARGS(aten_tensor("self", query), aten_shape_arg("size", &steps),
                                   aten_integer("fill_value", 1), aten_keyword(aten_dtype("dtype", DTYPE_BOOL))));
    if (torch_attr(node, "after"))
        mask = triangle(b, "tril.default", mask, torch_attr_int(node, "after"));
    if (torch_attr(node, "before"))
        mask = triangle(b, "triu.default", mask, -torch_attr_int(node, "before"));
    return mask;
}

/* "ab,bc->ac", with or without spaces: each letter of the result is a dim of one of the two. */
int aten_EINSUM(struct aten_builder *b, const struct torch_node *node)
{
    const char *equation = torch_attr_text(node, "equation");
    const struct aten_int *sizes['z' + 1] = {NULL};
    const int operands[2] = {aten_input(b, node, 0), aten_input(b, node, 1)};
    struct aten_shape out = {.rank = 0};
    int term = 0, dim = 0;
    for (const char *p = equation ? equation : ""; *p && !b->failed; p++) {
        bool letter = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z');
        if (*p == ',' || *p == '>') {
            term++;
            dim = 0;
        } else if (letter && term < 2) {
            sizes[(int)*p] = aten_size(b, operands[term], dim++);
        } else if (letter && out.rank < ATEN_MAX_RANK) {
            out.dims[out.rank++] = sizes[(int)*p];
        } else if (*p != ' ' && *p != '-') {
            return aten_refuse(b, "the equation '%.80s'", equation);
        }
    }
    return aten_emit(b, "einsum.default", out, aten_promoted(b, operands[0], operands[1]),
                     ATEN_ARGS(aten_text("equation", equation), aten_tensors("tensors", 2, operands)));
}
