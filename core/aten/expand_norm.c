/* SPDX-License-Identifier: Apache-2.0 */
/* Normalisation, and what is done in training only. */
#include "aten/aten.h"

static int batch_norm(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0);
    bool affine = aten_attr_flag(node, "affine", true);
    int statistics = affine ? 2 : 0;
    return aten_emit(b, "batch_norm.default", aten_shape_of(b, x), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("input", x),
                               aten_tensor("weight", affine ? aten_parameter(b, node, 0) : ATEN_NO_TENSOR),
                               aten_tensor("bias", affine ? aten_parameter(b, node, 1) : ATEN_NO_TENSOR),
                               aten_tensor("running_mean", aten_parameter(b, node, statistics)),
                               aten_tensor("running_var", aten_parameter(b, node, statistics + 1)),
                               aten_training("training"), aten_real("momentum", aten_attr_real(node, "momentum", 0.1)),
                               aten_real("eps", aten_attr_real(node, "eps", 1e-5)), aten_flag("cudnn_enabled", true)));
}

int aten_BATCH_NORM1D(struct aten_builder *b, const struct torch_node *node)
{
    return batch_norm(b, node);
}

int aten_BATCH_NORM2D(struct aten_builder *b, const struct torch_node *node)
{
    return batch_norm(b, node);
}

int aten_BATCH_NORM3D(struct aten_builder *b, const struct torch_node *node)
{
    return batch_norm(b, node);
}

int aten_LAYER_NORM(struct aten_builder *b, const struct torch_node *node)
{
    const struct torch_attr *attr = torch_attr(node, "normalized_shape");
    int x = aten_input(b, node, 0), rank = attr && attr->kind == TORCH_ATTR_INTS ? attr->ints.count : 1;
    int64_t shape[SHAPE_MAX_RANK];
    aten_attr_ints(node, "normalized_shape", rank, 0, shape);
    bool affine = aten_attr_flag(node, "elementwise_affine", true), bias = affine && aten_attr_flag(node, "bias", true);
    return aten_emit(b, "layer_norm.default", aten_shape_of(b, x), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("input", x), aten_integers("normalized_shape", rank, shape),
                               aten_tensor("weight", affine ? aten_parameter(b, node, 0) : ATEN_NO_TENSOR),
                               aten_tensor("bias", bias ? aten_parameter(b, node, 1) : ATEN_NO_TENSOR),
                               aten_real("eps", aten_attr_real(node, "eps", 1e-5))));
}

int aten_GROUP_NORM(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0);
    bool affine = aten_attr_flag(node, "affine", true);
    return aten_emit(b, "group_norm.default", aten_shape_of(b, x), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("input", x), aten_integer("num_groups", torch_attr_int(node, "num_groups")),
                               aten_tensor("weight", affine ? aten_parameter(b, node, 0) : ATEN_NO_TENSOR),
                               aten_tensor("bias", affine ? aten_parameter(b, node, 1) : ATEN_NO_TENSOR),
                               aten_real("eps", aten_attr_real(node, "eps", 1e-5))));
}

#define DROPOUT(id, op)                                                                                                \
    int aten_##id(struct aten_builder *b, const struct torch_node *node)                                               \
    {                                                                                                                  \
        int x = aten_input(b, node, 0);                                                                                \
        return aten_emit(                                                                                              \
            b, op, aten_shape_of(b, x), aten_dtype_of(b, x),                                                           \
            ATEN_ARGS(aten_tensor("input", x), aten_real("p", torch_attr_float(node, "p")), aten_training("train")));  \
    }

DROPOUT(DROPOUT, "dropout.default")
DROPOUT(DROPOUT1D, "feature_dropout.default")
DROPOUT(DROPOUT2D, "feature_dropout.default")
DROPOUT(DROPOUT3D, "feature_dropout.default")
DROPOUT(ALPHA_DROPOUT, "alpha_dropout.default")
