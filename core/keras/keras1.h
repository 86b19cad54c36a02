/* SPDX-License-Identifier: Apache-2.0 */
/* Files of Keras 1 in the form of Keras 2: the configuration is rewritten before anything else reads it, and weights are put
 * together from those that Keras 1 stored (keras1.def has the words, keras1*.c the rules). Private to keras/. */
#ifndef H5PT_KERAS_KERAS1_H
#define H5PT_KERAS_KERAS1_H

#include "keras/network.h"

/* The configuration of a model as Keras 2 would have written it, a new value: classes, keys and values renamed, the settings that
 * Keras 1 did not store taken from where the file tells them, Sequential models that begin with a Merge made graphs. Files of
 * Keras 2 pass through too, for the classes that it kept from Keras 1. What has no counterpart adds a refusal. NULL: b->err. */
json_t *keras1_normal_form(struct builder *b, const json_t *model);

/* A Sequential model that begins with a Merge of models, as a graph in which the layers of those models stand side by side (so their
 * weights stand in the file, too): a new value, NULL when the entry is something else or after an error (b->err). */
json_t *keras1_merged_sequential(struct builder *b, const json_t *entry);

/* The list of layers of a Sequential configuration, or NULL. */
json_t *keras1_layers(const json_t *config);

/* Which program computed the weights, told by their names: "dense_1_W:0" is TensorFlow, "dense_1_W" Theano; NULL when there is
 * none. */
const char *keras1_backend(const struct source *source);

#endif
