/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of reading a model, in order: network.c reads the configuration, expand.c makes the calls, bind.c finds the
 * weights. Private to keras/. */
#ifndef H5PT_KERAS_BUILD_H
#define H5PT_KERAS_BUILD_H

#include "keras/network.h"

/* Calls the outermost network: fills inputs, outputs, calls and layers of the model. Refused layers give bad values, so that
 * everything behind them is still read. -1: b->err. */
int expand_model(struct builder *b, struct network *root);

/* Finds the class of a layer and reads its configuration, once; layer->class stays NULL when it is refused. -1: b->err. */
int build_prepare(struct builder *b, struct keras_layer *layer);

/* Makes one call of `layer`. `arguments` as in struct keras_call, or NULL. NULL: b->err. */
struct keras_call *build_call(struct builder *b, struct keras_layer *layer, struct keras_value **inputs, int input_count,
                              const json_t *arguments);

/* The mask of a value that is `masked`, made when it is not there yet (masks.c). *ret is NULL after a refusal. -1: b->err. */
int build_mask(struct builder *b, struct keras_value *value, struct keras_value **ret);
/* Casts the floating-point inputs of a call to the type that its layer computes in, each by a call of its own (autocast.c). An
 * operation computes in the type that its inputs have in common. -1: b->err. */
int build_autocast(struct builder *b, struct keras_call *call);
/* Whether output 0 of a call carries a mask; adds a refusal when a mask reaches a layer that would have to honour it but
 * cannot. `given`: the mask that the call gives for its first input although its class takes none, or NULL. */
bool build_output_masked(struct builder *b, const struct keras_call *call, const struct shape *output,
                         const struct keras_value *given);
/* MultiHeadAttention of Keras 3 takes the masks off its inputs when it runs: calls that run later see none. */
void build_remove_masks(struct builder *b, const struct keras_call *call);

/* Binds the weights of every called layer. -1: b->err. */
int bind_weights(struct builder *b, struct network *root);
/* The same for a file of numbered variables (bind_numbered.c). */
int bind_numbered(struct builder *b, struct network *root);

#endif
