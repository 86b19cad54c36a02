/* SPDX-License-Identifier: Apache-2.0 */
/* The tensors of a file as they are stored, without the model that they belong to. */
#ifndef H5PT_RAW_WEIGHTS_H
#define H5PT_RAW_WEIGHTS_H

#include "base/arena.h"
#include "base/findings.h"
#include "source/source.h"
#include "torch/graph.h"

/* The name of a stored tensor: its path in the file without the group of all weights ("dense/dense/kernel:0",
 * "layers/dense/vars/0"). Part of tensor->object. */
const char *raw_weight_name(const struct source_tensor *tensor);

/* A graph without nodes, whose parameters are all tensors of the file under those names, in Keras' order of axes and in the type in
 * which they are stored. Types that PyTorch has no tensor of go to `refusals`. Errors: OUT_OF_MEMORY. */
int raw_weights_graph(const struct source *source, struct arena *arena, struct findings *refusals,
                      struct torch_graph *ret, struct h5pt_error *err);

#endif
