/* SPDX-License-Identifier: Apache-2.0 */
/* Runs single nodes of the torch graph with the semantics of torch, on BLAS. Used by the parity check, on weights that were
 * read back from the written archive. Shares no code with the reference of the Keras layers, on purpose. */
#ifndef H5PT_TORCH_REPLAY_H
#define H5PT_TORCH_REPLAY_H

#include "base/error.h"
#include "base/tensor.h"
#include "torch/graph.h"

/* What a node is run on. Tensors are borrowed and not changed. */
struct replay_call {
    const struct torch_node *node;
    const struct tensor *const *inputs;     /* node->input_count */
    const struct tensor *const *parameters; /* node->parameter_count, in torch's shapes */
};

/* Makes the node's outputs, owned by the caller: ret has torch_output_count(node) places, all set on success. Every size comes from the tensors and attributes, none from the shapes that
 * the lowering wrote into the graph. Errors: SHAPE_MISMATCH (torch would raise), OUT_OF_MEMORY. */
int replay_node(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err);

#endif
