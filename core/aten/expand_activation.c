/* SPDX-License-Identifier: Apache-2.0 */
/* Activations with settings, or made of several operators. Those without are in elementwise.def. */
#include "aten/activation.h"

#include <math.h>

#include "aten/formula.h"

/* op(self, the attribute as a Scalar) */
static int with_setting(struct aten_builder *b, const struct torch_node *node, const char *op, const char *name,
                        double fallback)
{
    int x = aten_input(b, node, 0);
    return aten_emit(b, op, aten_shape_of(b, x), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_real(name, aten_attr_real(node, name, fallback))));
}

#define WITH_SETTING(id, op, name, fallback)                                                                           \
    int aten_##id(struct aten_builder *b, const struct torch_node *node)                                               \
    {                                                                                                                  \
        return with_setting(b, node, op, name, fallback);                                                              \
    }

WITH_SETTING(LEAKY_RELU, "leaky_relu.default", "negative_slope", 0.01)
WITH_SETTING(ELU, "elu.default", "alpha", 1)
WITH_SETTING(CELU, "celu.default", "alpha", 1)
WITH_SETTING(HARD_SHRINK, "hardshrink.default", "lambd", 0.5)
WITH_SETTING(SOFT_SHRINK, "softshrink.default", "lambd", 0.5)

int aten_PRELU(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0);
    return aten_emit(b, "prelu.default", aten_shape_of(b, x), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_tensor("weight", aten_parameter(b, node, 0))));
}

int aten_GELU(struct aten_builder *b, const struct torch_node *node)
{
    const char *approximate = torch_attr_text(node, "approximate");
    int x = aten_input(b, node, 0);
    return aten_emit(
        b, "gelu.default", aten_shape_of(b, x), aten_dtype_of(b, x),
        ATEN_ARGS(aten_tensor("self", x), aten_keyword(aten_text("approximate", approximate ? approximate : "none"))));
}

int aten_THRESHOLD(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0);
    return aten_emit(b, "threshold.default", aten_shape_of(b, x), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_scalar("threshold", torch_attr(node, "threshold")),
                               aten_scalar("value", torch_attr(node, "value"))));
}

int aten_softsign(struct aten_builder *b, int x)
{
    return aten_arithmetic(b, "div.Tensor", x, aten_with_real(b, "add.Scalar", aten_unary(b, "abs.default", x), 1));
}

int aten_SOFTSIGN(struct aten_builder *b, const struct torch_node *node)
{
    return aten_softsign(b, aten_input(b, node, 0));
}

int aten_tanh_shrink(struct aten_builder *b, int x)
{
    return aten_arithmetic(b, "sub.Tensor", x, aten_unary(b, "tanh.default", x));
}

int aten_TANH_SHRINK(struct aten_builder *b, const struct torch_node *node)
{
    return aten_tanh_shrink(b, aten_input(b, node, 0));
}

static int along_dim(struct aten_builder *b, const char *op, int x, int64_t dim)
{
    return aten_emit(b, op, aten_shape_of(b, x), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integer("dim", dim)));
}

int aten_softmax(struct aten_builder *b, int x, int64_t dim)
{
    return along_dim(b, "softmax.int", x, dim);
}

int aten_SOFTMAX(struct aten_builder *b, const struct torch_node *node)
{
    return aten_softmax(b, aten_input(b, node, 0), torch_attr_int(node, "dim"));
}

int aten_LOG_SOFTMAX(struct aten_builder *b, const struct torch_node *node)
{
    return along_dim(b, "log_softmax.int", aten_input(b, node, 0), torch_attr_int(node, "dim"));
}

int aten_GLU(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0), dim = aten_dim(b, x, aten_attr_int(node, "dim", -1));
    const struct aten_int *half = aten_int_floor_div(b, aten_size(b, x, dim), aten_int(b, 2));
    return aten_emit(b, "glu.default", aten_replaced(b, x, dim, half), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integer("dim", dim)));
}

/* Keras' sparsemax: its threshold adds up the partial sums, where the literature has the last one. */
int aten_SPARSEMAX(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0), dim = aten_dim(b, x, torch_attr_int(node, "dim"));
    struct aten_meta outputs[2] = {{aten_shape_of(b, x), aten_dtype_of(b, x)}, {aten_shape_of(b, x), DTYPE_I64}};
    int z = aten_emit_many(b, "sort.stable", false, 2, outputs,
                           ATEN_ARGS(aten_tensor("self", x), aten_keyword(aten_flag("stable", true)),
                                     aten_keyword(aten_integer("dim", dim)),
                                     aten_keyword(aten_flag("descending", true))));
    int total = aten_running_sum(b, z, dim), place = aten_arange(b, x, aten_size(b, x, dim), aten_dtype_of(b, x));
    place = aten_plus(b, place, 1);
    for (int i = dim + 1; i < aten_rank(b, x); i++)
        place = aten_unsqueeze(b, place, -1);
    int above = aten_sub(b, z, aten_div(b, aten_minus(b, total, 1), place));
    int support = aten_cast(b, aten_than(b, "gt.Scalar", above, 0), aten_dtype_of(b, x));
    const int64_t dims[1] = {dim};
    int sum = aten_reduce(b, "sum.dim_IntList", aten_mul(b, total, support), 1, dims);
    int count = aten_reduce(b, "sum.dim_IntList", support, 1, dims);
    return aten_limit(b, aten_sub(b, x, aten_div(b, aten_minus(b, sum, 1), count)), 0, INFINITY);
}
