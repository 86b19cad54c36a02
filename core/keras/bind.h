/* SPDX-License-Identifier: Apache-2.0 */
/* What the ways of binding weights share: the weights that are wanted, and the group of the file that must hold them. Private to
 * keras/. */
#ifndef H5PT_KERAS_BIND_H
#define H5PT_KERAS_BIND_H

#include "keras/build.h"

/* One weight to be bound. */
struct wanted {
    struct keras_layer *layer;
    struct keras_weight *weight;
};

struct group {
    const struct source_layer *source;
    size_t wanted_count, wanted_capacity;
    struct wanted *wanted; /* owned */
};

/* Binds the weights of a group that Keras 1 wrote: names, gates that stand alone and layouts are those of Keras 1, and each weight
 * becomes the one that Keras 2 would have. What does not fit adds refusals. -1: b->err. */
int keras1_bind(struct builder *b, struct group *g);

/* Theano convolves, TensorFlow correlates: the bound kernels of convolutions, written by Keras 2 on Theano, are reversed along
 * their spatial axes. Does nothing for other files. -1: b->err. */
int bind_theano(struct builder *b, struct group *g);

#endif
