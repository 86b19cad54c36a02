/* SPDX-License-Identifier: Apache-2.0 */
/* Linear algebra on the matrices in the last two dims, and on vectors in the last one. */
#include "aten/formula.h"

#include <math.h>

int aten_CROSS(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0), y = aten_input(b, node, 1);
    return aten_binary(b, "linalg_cross.default", x, y, aten_promoted(b, x, y));
}

int aten_INV(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0);
    return aten_emit(b, "linalg_inv.default", aten_shape_of(b, x), aten_dtype_of(b, x), ATEN_ARGS(aten_tensor("A", x)));
}

int aten_DET(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0);
    struct aten_shape shape = aten_shape_of(b, x);
    shape.rank -= 2;
    return aten_emit(b, "linalg_det.default", shape, aten_dtype_of(b, x), ATEN_ARGS(aten_tensor("A", x)));
}

/* The sign and the logarithm of the absolute determinant; the id of the former, that of the latter follows. */
static int sign_and_log(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0);
    struct aten_meta part = {aten_shape_of(b, x), aten_dtype_of(b, x)};
    part.shape.rank -= 2;
    const struct aten_meta outputs[2] = {part, part};
    return aten_emit_many(b, "linalg_slogdet.default", false, 2, outputs, ATEN_ARGS(aten_tensor("A", x)));
}

int aten_SLOGDET_SIGN(struct aten_builder *b, const struct torch_node *node)
{
    return sign_and_log(b, node);
}

int aten_SLOGDET_LOG(struct aten_builder *b, const struct torch_node *node)
{
    int sign = sign_and_log(b, node);
    return sign < 0 ? sign : sign + 1;
}

/* NaN where a matrix is not positive definite. */
int aten_CHOLESKY(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0);
    struct aten_meta outputs[2] = {{aten_shape_of(b, x), aten_dtype_of(b, x)}, {aten_shape_of(b, x), DTYPE_I32}};
    outputs[1].shape.rank -= 2;
    int lower = aten_emit_many(b, "linalg_cholesky_ex.default", false, 2, outputs, ATEN_ARGS(aten_tensor("self", x)));
    int failed = lower < 0 ? -1 : aten_than(b, "gt.Scalar", lower + 1, 0);
    failed = aten_unsqueeze(b, aten_unsqueeze(b, failed, -1), -1);
    return aten_emit(b, "masked_fill.Scalar", outputs[0].shape, outputs[0].dtype,
                     ATEN_ARGS(aten_tensor("self", lower), aten_tensor("mask", failed), aten_real("value", NAN)));
}

int aten_SVDVALS(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0);
    struct aten_shape shape = aten_without(b, x, aten_dim(b, x, -1));
    if (!b->failed)
        shape.dims[shape.rank - 1] = aten_int_min(b, aten_size(b, x, -2), aten_size(b, x, -1));
    return aten_emit(b, "linalg_svdvals.default", shape, aten_dtype_of(b, x), ATEN_ARGS(aten_tensor("A", x)));
}

int aten_EIGVALSH(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0);
    return aten_emit(b, "linalg_eigvalsh.default", aten_without(b, x, aten_dim(b, x, -1)), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x)));
}

int aten_PINV(struct aten_builder *b, const struct torch_node *node)
{
    const struct torch_attr *rtol = torch_attr(node, "rtol");
    int x = aten_input(b, node, 0);
    struct aten_shape shape = aten_replaced(b, x, aten_dim(b, x, -1), aten_size(b, x, -2));
    if (!b->failed)
        shape.dims[shape.rank - 2] = aten_size(b, x, -1);
    return aten_emit(
        b, "linalg_pinv.atol_rtol_float", shape, aten_dtype_of(b, x),
        ATEN_ARGS(aten_tensor("self", x), aten_keyword(aten_none("atol")),
                  aten_keyword(rtol ? aten_real("rtol", torch_attr_float(node, "rtol")) : aten_none("rtol"))));
}

/* Of x and y with A x = y, batches broadcast. */
static struct aten_shape solution(struct aten_builder *b, int a, int y)
{
    struct aten_shape left = aten_shape_of(b, a), right = aten_shape_of(b, y);
    if (left.rank < 2 || right.rank < 2) {
        (void)aten_refuse(b, "a system of equations that is no matrix");
        return right;
    }
    const struct aten_int *rows = right.dims[right.rank - 2], *columns = right.dims[right.rank - 1];
    left.rank -= 2;
    right.rank -= 2;
    struct aten_shape out = aten_broadcast(b, &left, &right);
    out.dims[out.rank++] = rows;
    out.dims[out.rank++] = columns;
    return out;
}

int aten_SOLVE(struct aten_builder *b, const struct torch_node *node)
{
    int a = aten_input(b, node, 0), y = aten_input(b, node, 1);
    return aten_emit(b, "linalg_solve.default", solution(b, a, y), aten_dtype_of(b, y),
                     ATEN_ARGS(aten_tensor("A", a), aten_tensor("B", y)));
}

int aten_SOLVE_TRIANGULAR(struct aten_builder *b, const struct torch_node *node)
{
    int a = aten_input(b, node, 0), y = aten_input(b, node, 1);
    return aten_emit(b, "linalg_solve_triangular.default", solution(b, a, y), aten_dtype_of(b, y),
                     ATEN_ARGS(aten_tensor("self", a), aten_tensor("B", y),
                               aten_keyword(aten_flag("upper", aten_attr_flag(node, "upper", false)))));
}
