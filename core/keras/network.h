/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration of a Sequential or Functional model as it stands in the file, nested models included: what layers there
 * are and which nodes call them. keras/expand.c turns it into calls. Private to keras/.
 * Source: keras_files.md of Keras' own serialisation; Keras src/models/functional.py, sequential.py. */
#ifndef H5PT_KERAS_NETWORK_H
#define H5PT_KERAS_NETWORK_H

#include <jansson.h>
#include <stdbool.h>

#include "keras/model.h"

struct network;

/* An entry of config.layers. */
struct network_layer {
    const char *name;
    const char *class_name;
    const json_t *config;      /* an object; the inner list of old Sequentials stays in `nested` */
    const json_t *nodes;       /* inbound_nodes; NULL in a Sequential */
    size_t node_count;         /* 1 in a Sequential */
    size_t node_offset;        /* what references to this layer count from (nested models: 1 or 0) */
    size_t output_node_offset; /* the same for references from output_layers */
    struct network *nested;    /* when the entry is a model itself, or a TimeDistributed: a network of the one inside */
    bool time_distributed;
    struct keras_layer *layer; /* otherwise */
};

struct network {
    const char *class_name, *name;
    const char *scope; /* path of the model itself, "" for the outermost */
    bool sequential;
    bool trainable;
    const struct network *parent; /* NULL for the outermost */
    size_t layer_count;
    struct network_layer *layers;
    json_t *index;                  /* name → position; owned by the builder's list of JSON values */
    const json_t *inputs, *outputs; /* input_layers, output_layers; NULL in a Sequential */
    const json_t *build_shape;      /* build_input_shape of a Sequential, or NULL */
};

/* A reference to a tensor in a graph: [layer name, node index, tensor index]. */
struct network_ref {
    const char *layer;
    long long node, tensor;
};

/* Everything that reading shares. */
struct builder {
    const struct source *source;
    struct arena *arena;
    struct findings *refusals, *warnings;
    struct keras_model *model;
    struct keras_version weights_version; /* of the weights; that of the configuration is model->version */
    json_t *keep;                         /* owned: a list of the JSON values made while reading */
    struct h5pt_error *err;
    int layer_capacity, call_capacity, scope_count;
    const struct keras_scope *scope; /* the call of a nested model that is under way, or NULL */
    size_t steps;                    /* entries, nodes and references gone through, at most KERAS_MAX_STEPS */
    const enum dtype *dtype;         /* that the caller wants all layers to compute in, or NULL */
};

/* Reads a model configuration {"class_name", "config"}. NULL with an error in builder->err (CONFIG_MALFORMED,
 * LIMIT_EXCEEDED, OUT_OF_MEMORY), or after adding a refusal when there is no architecture in it. */
struct network *network_read(struct builder *b, const json_t *entry, const struct network *parent, int depth);

/* The entry with this name, or NULL. */
struct network_layer *network_find(const struct network *network, const char *name);

/* True when `value` is a tensor reference in one of the forms of Keras; *ret is then filled. */
bool network_is_ref(const json_t *value, struct network_ref *ret);

/* Calls `visit` for every tensor reference in `value` (lists in order, dicts by sorted key), whatever the nesting. Returns
 * the first non-zero result of visit, or -1 on a leaf that is no reference (h5pt_error in b->err untouched). */
int network_visit_refs(const json_t *value, int (*visit)(void *context, const struct network_ref *ref), void *context);

#endif
