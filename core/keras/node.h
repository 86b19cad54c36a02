/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes of networks on their way to becoming calls. Private to keras/: node_read.c reads them, node_order.c puts them into the order
 * in which Keras runs them, model_inputs.c makes the inputs of the model, expand.c runs them. */
#ifndef H5PT_KERAS_NODE_H
#define H5PT_KERAS_NODE_H

#include <string.h>

#include "keras/build.h"

enum node_state { NODE_NEW, NODE_BUSY, NODE_DONE };

/* One node of one call of a network. */
struct node {
    enum node_state state;
    struct network_layer *entry;
    size_t index;            /* among the nodes of the layer */
    const json_t *arguments; /* see struct keras_call */
    int ref_count, ref_capacity, next;
    struct network_ref *refs;
    int value_count;
    struct keras_value **values;
    struct node *below; /* on the stack */
    int depth;          /* calls between this one and an output, at most; see run_in_order */
    bool listed;        /* among those that an output needs */
};

/* One call of a functional network. */
struct instance {
    struct network *network;
    struct node **nodes; /* per layer: node_count nodes (one for an InputLayer) */
};

struct value_list {
    int count;
    struct keras_value **values;
};

static inline bool network_is_input(const struct network_layer *entry)
{
    return !entry->nested && strcmp(entry->class_name, "InputLayer") == 0;
}

static inline const char *network_path(const struct network_layer *entry)
{
    return entry->nested ? entry->nested->scope : entry->layer->path;
}

/* Counts what is gone through: a few lines of nested models can ask for more than any machine has. -1: LIMIT_EXCEEDED. */
int build_step(struct builder *b, size_t n);

/* Reads the references and arguments of a node, and the configuration of its layer. -1: b->err. */
int node_read(struct builder *b, struct node *node);
/* The references of input_layers or output_layers, in the order in which Keras flattens them. */
int node_read_refs(struct builder *b, const struct network *network, const json_t *json, struct node *ret);
/* The node that a reference means; NULL after a refusal. */
struct node *node_locate(struct builder *b, const struct instance *instance, const struct network_ref *ref,
                         bool from_outputs);
/* Runs a node and whatever it needs first. */
int node_run(struct builder *b, const struct instance *instance, struct node *target);
/* Whether a network holds a layer that changes what runs after it. */
bool node_order_matters(const struct network *network);
/* Runs what the outputs need as Keras 3 does. */
int node_run_in_order(struct builder *b, const struct instance *instance, const struct node *out);
/* Makes the inputs of the model. */
int expand_inputs(struct builder *b, struct network *root);

#endif
