/* SPDX-License-Identifier: Apache-2.0 */
/* One layer once more, on the inputs that the Keras side had. */
#include <stdlib.h>

#include "parity/run.h"

/* The torch values of the recheck: only those that the nodes of one call read and make. */
struct scratch {
    struct tensor **tensors; /* per torch value; owned */
    int count;
};

static void scratch_release(struct scratch *s)
{
    for (int i = 0; s->tensors && i < s->count; i++)
        tensor_free(s->tensors[i]);
    free(s->tensors);
}

/* The input of a node: made in the recheck, or what the Keras side holds. False when neither is there. */
static bool provide(struct run *r, struct scratch *s, int value, int c, struct h5pt_error *err)
{
    if (s->tensors[value])
        return true;
    const struct lowered *held = &r->correspondence->keras_of[value];
    const struct tensor *keras = held->id < 0 ? NULL : *side_at(&r->keras, held->id, c);
    if (!keras)
        return false;
    s->tensors[value] = parity_to_torch(keras, &held->layout);
    if (!s->tensors[value])
        (void)h5pt_fail_memory(err);
    return s->tensors[value] != NULL;
}

/* Runs a node on the scratch, unless an input is not to be had. */
static int run_node(struct run *r, struct scratch *s, const struct torch_node *node, int c)
{
    struct tensor **parameters = NULL, *outputs[LAYER_MAX_OUTPUTS] = {NULL};
    const struct tensor **inputs = calloc((size_t)node->input_count + 1, sizeof *inputs);
    int status = -1;
    if (!inputs) {
        (void)h5pt_fail_memory(r->err);
        goto out;
    }
    for (int i = 0; i < node->input_count; i++) {
        if (!provide(r, s, node->inputs[i], c, r->err)) {
            status = r->err->code ? -1 : 0;
            goto out;
        }
        inputs[i] = s->tensors[node->inputs[i]];
    }
    if (run_read_parameters(r, node, &parameters) < 0)
        goto out;
    struct replay_call call = {node, inputs, (const struct tensor *const *)parameters};
    status = replay_node(&call, outputs, r->err);
    for (int i = 0; status == 0 && i < torch_output_count(node); i++)
        s->tensors[node->output + i] = outputs[i];
out:
    run_free_tensors(parameters, node->parameter_count);
    free(inputs);
    return status;
}

static bool wanted(const struct torch_node *node, const struct keras_call *call)
{
    return node->call == call || (node->call && node->call->id == call->id);
}

int recheck_value(struct run *r, const struct keras_value *value, const struct lowered *held, int c,
                  struct parity_error *ret)
{
    struct scratch s = {calloc((size_t)r->graph->value_count + 1, sizeof *s.tensors), r->graph->value_count};
    int status = s.tensors ? 0 : h5pt_fail_memory(r->err);
    for (int i = 0; i < r->next_node && status == 0; i++)
        if (wanted(&r->graph->nodes[i], value->call))
            status = run_node(r, &s, &r->graph->nodes[i], c);
    struct tensor *again = status == 0 ? s.tensors[held->id] : NULL;
    if (again)
        status = parity_compare(*side_at(&r->keras, value->id, c), again, &held->layout, r->result->tolerance, ret,
                                r->err);
    if (again && status == 0 && ret->ok && !r->result->amplified)
        r->result->amplified = value->call;
    if (again && status == 0 && ret->ok) { /* go on from here */
        struct tensor **old = side_at(&r->torch, held->id, c);
        r->torch.held += again->count - (*old)->count;
        tensor_free(*old);
        *old = again;
        s.tensors[held->id] = NULL;
    }
    scratch_release(&s);
    return status;
}
