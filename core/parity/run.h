/* SPDX-License-Identifier: Apache-2.0 */
/* The state of a parity check under way. Private to run.c, outputs.c and recheck.c. */
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

/* Counts the error of a call in case number c; the first that is too large is the divergence. */
void run_note_error(struct run *r, const struct keras_call *call, int c, const struct parity_error *error);

/* recheck.c: runs the nodes of the value's call again, in one case, on the inputs of the Keras side, and compares the value as
 * `held`. When it agrees now, the call is amplified and the torch side goes on with it. *ret stays as it is when the inputs are
 * not there any more. */
int recheck_value(struct run *r, const struct keras_value *value, const struct lowered *held, int c,
                  struct parity_error *ret);

/* outputs.c: compares what the caller gets, when all nodes have run: the outputs of the torch graph, read as the report says
 * (to_keras), with those of the Keras side and with the reference vectors. */
int outputs_compare(struct run *r);

#endif
