/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of reading a model, in order: network.c reads the configuration, expand.c makes the calls, bind.c finds the
 * weights. Private to keras/. */
#ifndef H5PT_KERAS_BUILD_H
#define H5PT_KERAS_BUILD_H

#include "keras/network.h"

/* Calls the outermost network: fills inputs, outputs, calls and layers of the model. Refused layers give bad values, so that
 * everything behind them is still read. -1: b->err. */
int expand_model(struct builder *b, struct network *root);

/* Makes one call of `layer` (reads its configuration at the first). `output_count` is how many outputs others refer to at
 * least; it matters only for refused layers. NULL: b->err. */
struct keras_call *build_call(struct builder *b, struct keras_layer *layer, struct keras_value **inputs, int input_count,
                              int output_count);

/* Binds the weights of every called layer. -1: b->err. */
int bind_weights(struct builder *b, struct network *root);

#endif
