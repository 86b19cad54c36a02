/* SPDX-License-Identifier: Apache-2.0 */
/* model.torchscript.pt: the model as TorchScript, one class with the parameters under the names of model.pt, that needs no Python
 * file beside it. Format version 10 with operators of torch 1.13 only, so that it loads from torch 1.13 on; the class trains (dropout,
 * batch statistics, gradients).
 * Source: torch/csrc/jit/serialization/import.cpp, import_source.cpp. */
#ifndef H5PT_WRITE_TORCHSCRIPT_H
#define H5PT_WRITE_TORCHSCRIPT_H

#include "base/error.h"
#include "torch/graph.h"
#include "write/state_dict.h"

/* Writes the program of `graph` with the tensors of `weights` (its finished model.pt) into `fd`, an empty file. Errors:
 * UNSUPPORTED_OPERATION (the form cannot hold the model), those of aten_expand and of the archive. */
int torchscript_write(const struct torch_graph *graph, const struct archive *weights, int fd, struct artifact *ret,
                      struct h5pt_error *err);

#endif
