/* SPDX-License-Identifier: Apache-2.0 */
/* The state of a parity check under way. Private to run.c and recheck.c. */
#ifndef H5PT_PARITY_RUN_H
#define H5PT_PARITY_RUN_H

#include "layers/layer.h"
#include "parity/internal.h"
#include "torch/replay.h"

/* The tensors of one side, for every case: tensors[value][case]. */
struct side {
    int case_count, value_count;
    struct tensor **tensors; /* owned, as are the tensors */
    int *uses;               /* per value: how often it is still needed */
    int64_t held;            /* elements */
};

struct run {
    const struct keras_model *model;
    const struct torch_graph *graph;
    const struct correspondence *correspondence;
    struct source *source;
    struct state_dict *dict;
    const struct parity_options *options;
    struct parity_result *result;
    struct parity_vectors_result *vectors; /* NULL: there are none */
    struct h5pt_error *err;
    struct side keras, torch;
    bool *compared; /* per Keras value */
    int next_node;
};

static inline struct tensor **side_at(const struct side *side, int value, int c)
{
    return &side->tensors[(size_t)value * (size_t)side->case_count + (size_t)c];
}

/* The parameters of a node, from the archive; to be freed with run_free_tensors. */
int run_read_parameters(const struct run *r, const struct torch_node *node, struct tensor ***ret);
void run_free_tensors(struct tensor **tensors, int count);

/* Runs the nodes of the value's call again, in one case, on the inputs of the Keras side, and compares the value. When it
 * agrees now, the torch side goes on with it. *ret stays as it is when the inputs are not there any more. */
int recheck_value(struct run *r, const struct keras_value *value, int c, struct parity_error *ret);

#endif
