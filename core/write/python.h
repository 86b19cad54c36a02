/* SPDX-License-Identifier: Apache-2.0 */
/* model.py: the torch graph as nn.Modules that need only torch: a class for each nested model and each block that repeats, real
 * modules under the Keras names, and load(), which gives the module in eval mode with the weights of model.pt. Laid out as
 * black lays it out. */
#ifndef H5PT_WRITE_PYTHON_H
#define H5PT_WRITE_PYTHON_H

#include "base/error.h"
#include "base/strbuf.h"
#include "structure/structure.h"
#include "torch/graph.h"

struct keras_model;

/* Appends the text of model.py. `structure` is that of the graph; `model`, what it was made of, says where it comes from. Errors:
 * OUT_OF_MEMORY. */
int python_write(const struct torch_graph *graph, const struct structure *structure, const struct keras_model *model,
                 struct strbuf *out, struct h5pt_error *err);

/* What forward calls the inputs, in their order: `ret` has a place for each; the texts are in the arena. Errors: OUT_OF_MEMORY. */
int python_input_names(const struct torch_graph *graph, struct arena *arena, const char **ret, struct h5pt_error *err);

#endif
