/* SPDX-License-Identifier: Apache-2.0 */
/* model.safetensors: the tensors of model.pt, under the same names, in the format of the safetensors library: the length of a JSON
 * header, the header, the bytes. Larger element types come first, then by name, so that every tensor is aligned to its elements; the
 * metadata say {"format": "pt"}. A weight that several layers share has one name, and stands once.
 * Source: https://github.com/huggingface/safetensors, README and safetensors/src/tensor.rs. */
#ifndef H5PT_WRITE_SAFETENSORS_H
#define H5PT_WRITE_SAFETENSORS_H

#include "base/error.h"
#include "torch/graph.h"
#include "write/state_dict.h"

/* Copies the tensors of `weights` (the finished model.pt of `graph`) into `fd`, an empty file. Errors: IO, DISK_FULL,
 * LIMIT_EXCEEDED (a header of more than 100 MB), OUT_OF_MEMORY. */
int safetensors_write(const struct torch_graph *graph, const struct archive *weights, int fd, struct artifact *ret,
                      struct h5pt_error *err);

#endif
