/* SPDX-License-Identifier: Apache-2.0 */
/* The state of a lowering. Private to lower*.c and layout.c; layers see layers/lower.h only. */
#ifndef H5PT_LAYERS_LOWERING_H
#define H5PT_LAYERS_LOWERING_H

#include <jansson.h>

#include "layers/lower.h"

/* The torch values that hold one Keras value, each in another layout; the first is the one that its layer made. */
struct holders {
    int count, capacity;
    struct lowered *items;
};

struct lowering {
    const struct keras_model *model;
    const struct lower_options *options;
    struct arena *arena;
    struct torch_graph *graph;
    struct h5pt_error *err;
    int value_capacity, node_capacity, parameter_capacity;
    struct holders *holders; /* per Keras value id */
    json_t *modules;         /* owned: "path suffix" → attribute name */
    json_t *names;           /* owned: attribute names in use, lower case → the layer's path */
    json_t *parameters;      /* owned: state_dict key → parameter id */
};

/* True after an error: nothing is done any more. */
bool lowering_failed(const struct lowering *l);
/* Adds a torch value; -1 after an error. */
int lowering_value(struct lowering *l, struct shape shape, enum dtype dtype, int node, const char *hint);
/* Adds a holder of a Keras value. */
void lowering_hold(struct lowering *l, const struct keras_value *value, struct lowered holder);
/* Doubles an arena array when it is full; -1 after an error. */
int lowering_grow(struct lowering *l, void *array_address, size_t size, int count, int *capacity);
/* A copy in the arena, NULL for nothing; an error is in the lowering. */
void *lowering_keep(struct lowering *l, const void *data, size_t count, size_t size);
/* Layers write DTYPE_F32 for the floating-point type that they compute in: which one that is. `call` may be NULL. */
enum dtype lowering_compute_type(const struct keras_call *call, enum dtype dtype);
/* The layout of model input `value`: channels first when convolutions or pooling use it, as in Keras otherwise. */
struct layout layout_of_input(const struct lowering *l, const struct keras_value *value);
/* Removes the nodes, values and parameters that no output needs. Ids of values change: old → new in *ret_map (-1: gone). */
int lowering_prune(struct lowering *l, int **ret_map);

#endif
