/* SPDX-License-Identifier: Apache-2.0 */
/* model.py: the torch graph as an nn.Module that needs only torch: real modules under the Keras names, one statement a layer,
 * and load(), which gives the module in eval mode with the weights of model.pt. */
#ifndef H5PT_WRITE_PYTHON_H
#define H5PT_WRITE_PYTHON_H

#include "base/error.h"
#include "base/strbuf.h"
#include "torch/graph.h"

/* Appends the text of model.py. Errors: OUT_OF_MEMORY. */
int python_write(const struct torch_graph *graph, struct strbuf *out, struct h5pt_error *err);

/* What forward calls the inputs, in their order: `ret` has a place for each; the texts are in the arena. Errors: OUT_OF_MEMORY. */
int python_input_names(const struct torch_graph *graph, struct arena *arena, const char **ret, struct h5pt_error *err);

#endif
