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

/* Whether it is an operation of a Keras 3 graph and no layer. */
bool build_is_operation(const struct builder *b, const struct keras_layer *layer);

/* Makes one call of `layer`. `arguments` as in struct keras_call, or NULL. NULL: b->err. */
struct keras_call *build_call(struct builder *b, struct keras_layer *layer, struct keras_value **inputs,
                              int input_count, const json_t *arguments);

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

/* Calls an operation of Keras 3, or a layer without weights (its config has "trainable"), on some tensors; its path is
 * path/suffix. `config` and `args` (see struct keras_call) are new references. NULL: b->err, or a refusal. */
struct keras_value *build_operation(struct builder *b, const char *path, const char *class_name, const char *suffix,
                                    struct keras_value *const *inputs, int input_count, json_t *config, json_t *args);

/* TimeDistributed (time_distributed.c). Its layer or model is kept as a network of one layer. NULL: b->err. */
struct network *time_distributed_read(struct builder *b, const json_t *entry, const char *name,
                                      const struct network *parent, int depth);
/* Whether the layer inside can be called on (batch, time, …) as it is. */
bool time_distributed_is_plain(const struct network *network);
/* What is inside is called on *ret, made of x; *mask is the mask argument of the call or NULL, and becomes the mask of x. Then
 * each of its outputs becomes one of the TimeDistributed. -1: b->err. */
int time_distributed_enter(struct builder *b, const struct network *network, struct keras_value *x,
                           struct keras_value **mask, struct keras_value **ret);
int time_distributed_leave(struct builder *b, const struct network *network, struct keras_value *x,
                           struct keras_value *mask, struct keras_value *inside, struct keras_value **ret);

/* Binds the weights of every called layer. -1: b->err. */
int bind_weights(struct builder *b, struct network *root);
/* The same for a file of numbered variables (bind_numbered.c). */
int bind_numbered(struct builder *b, struct network *root);

#endif
