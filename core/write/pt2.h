/* SPDX-License-Identifier: Apache-2.0 */
/* model.pt2: an ExportedProgram as torch.export.save writes it (schema 8, the archive layout of torch 2.9 and later):
 *
 *     models/model.json                          the program: graph, signature, ranges of the free sizes
 *     data/weights/model_weights_config.json     which record holds which parameter
 *     data/weights/weight_<i>                    raw bytes, those of model.pt
 *     data/constants/…, data/sample_inputs/…     none
 *
 * Loads with torch.export.load("model.pt2").module(); parameters are named as in model.pt. Free batch, spatial and time dims
 * stay free. The program is one of eval mode. The same input gives the same bytes. */
#ifndef H5PT_WRITE_PT2_H
#define H5PT_WRITE_PT2_H

#include "base/error.h"
#include "torch/graph.h"
#include "write/state_dict.h"

/* Writes the model to `fd`, an empty file open for reading and writing. `weights` is the finished model.pt of
 * `graph`, from which the parameters are copied piece by piece. Errors: those of aten_expand (UNSUPPORTED_OPERATION: the form
 * cannot hold this model; nothing has been written), IO, DISK_FULL, OUT_OF_MEMORY, INTERNAL. */
int pt2_write(const struct torch_graph *graph, const struct archive *weights, int fd, struct artifact *ret,
              struct h5pt_error *err);

#endif
