/* SPDX-License-Identifier: Apache-2.0 */
/* Both executors in lockstep: for every call of a Keras layer, the reference computes it, the torch nodes that it became are
 * replayed, and what both hold is compared; then what nobody needs any more is freed. */
#include <cblas.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "parity/run.h"

/* ---- sides ---- */

static int side_init(struct side *side, int value_count, int case_count, struct h5pt_error *err)
{
    *side = (struct side){.case_count = case_count, .value_count = value_count};
    side->tensors = calloc((size_t)value_count * (size_t)case_count + 1, sizeof *side->tensors);
    side->uses = calloc((size_t)value_count + 1, sizeof *side->uses);
    return side->tensors && side->uses ? 0 : h5pt_fail_memory(err);
}

static void side_release(struct side *side)
{
    for (int i = 0; side->tensors && i < side->value_count * side->case_count; i++)
        tensor_free(side->tensors[i]);
    free(side->tensors);
    free(side->uses);
}

/* Takes ownership of the tensor. */
static void side_put(struct side *side, int value, int c, struct tensor *tensor)
{
    *side_at(side, value, c) = tensor;
    side->held += tensor->count;
}

static void side_use(struct side *side, int value)
{
    if (--side->uses[value] > 0)
        return;
    for (int c = 0; c < side->case_count; c++) {
        struct tensor **t = side_at(side, value, c);
        side->held -= *t ? (*t)->count : 0;
        *t = tensor_free(*t);
    }
}

static int check_memory(const struct run *r)
{
    uint64_t limit = r->options->memory ? r->options->memory : (uint64_t)2 << 30;
    uint64_t held = (uint64_t)(r->keras.held + r->torch.held) * sizeof(float);
    if (held <= limit)
        return 0;
    return h5pt_fail(r->err, H5PT_LIMIT_EXCEEDED, "parity", "The parity check needs more than %llu MiB for tensors%s",
                     (unsigned long long)(limit >> 20), r->vectors ? ": give fewer samples as reference" : "");
}

/* ---- the reference ---- */

void run_free_tensors(struct tensor **tensors, int count)
{
    for (int i = 0; tensors && i < count; i++)
        tensor_free(tensors[i]);
    free(tensors);
}

/* Adds scale · a @ b to the weight. */
static int add_low_rank(const struct run *r, const struct keras_weight *w, struct tensor *weight)
{
    struct tensor *a = tensor_new(&w->low_rank_a->shape, DTYPE_F32), *b = tensor_new(&w->low_rank_b->shape, DTYPE_F32);
    int status = a && b ? 0 : h5pt_fail_memory(r->err);
    if (status == 0 && (source_read_float(r->source, w->low_rank_a->tensor, a->data, r->err) < 0 ||
                        source_read_float(r->source, w->low_rank_b->tensor, b->data, r->err) < 0))
        status = -1;
    if (status == 0 && weight->count > 0) {
        int64_t rank = b->shape.dims[0], columns = b->shape.dims[1], rows = weight->count / columns;
        if (rows > INT32_MAX || columns > INT32_MAX)
            status = h5pt_fail(r->err, H5PT_LIMIT_EXCEEDED, w->slot, "The kernel is too large");
        else
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)columns, (int)rank,
                        (float)w->low_rank_scale, a->data, (int)rank, b->data, (int)columns, 1, weight->data,
                        (int)columns);
    }
    tensor_free(a);
    tensor_free(b);
    return status;
}

/* Where the caller asked for 16 bits, both sides compute with what is left of a weight: its rounding is wanted, and would hide
 * errors behind its own size. */
static void round_weight(struct tensor *weight, enum dtype dtype)
{
    for (int64_t i = 0; dtype_size(dtype) == 2 && i < weight->count; i++)
        weight->data[i] = half_round(weight->data[i], dtype);
}

/* The weights of a layer from the upload; *ret is owned by the caller (run_free_tensors). */
static int read_weights(const struct run *r, const struct keras_layer *layer, struct tensor ***ret)
{
    struct tensor **weights = calloc((size_t)layer->weight_count + 1, sizeof *weights);
    if (!weights)
        return h5pt_fail_memory(r->err);
    for (int i = 0; i < layer->weight_count; i++) {
        const struct keras_weight *w = &layer->weights[i];
        weights[i] = tensor_new(&w->shape, DTYPE_F32);
        if (!weights[i] || source_read_float(r->source, w->tensor, weights[i]->data, r->err) < 0 ||
            (w->low_rank_a && add_low_rank(r, w, weights[i]) < 0)) {
            run_free_tensors(weights, layer->weight_count);
            return h5pt_fail_memory(r->err);
        }
    }
    for (int i = 0; layer->compute_given && i < layer->weight_count; i++)
        round_weight(weights[i], layer->compute);
    *ret = weights;
    return 0;
}

static int make_outputs(const struct run *r, const struct keras_call *call, int c, struct tensor **outputs)
{
    struct shape shapes[LAYER_MAX_OUTPUTS];
    struct shape *inputs = malloc(((size_t)call->input_count + 1) * sizeof *inputs);
    if (!inputs)
        return h5pt_fail_memory(r->err);
    for (int i = 0; i < call->input_count; i++)
        inputs[i] = (*side_at(&r->keras, call->inputs[i]->id, c))->shape;
    int status = parity_infer_call(call, inputs, shapes, r->err);
    free(inputs);
    for (int i = 0; status == 0 && i < call->output_count; i++) {
        outputs[i] = tensor_new(&shapes[i], call->outputs[i]->dtype);
        if (!outputs[i])
            status = h5pt_fail_memory(r->err);
    }
    return status;
}

static int run_reference_case(struct run *r, const struct keras_call *call, int c, struct tensor **weights)
{
    struct tensor *outputs[LAYER_MAX_OUTPUTS] = {NULL};
    const struct tensor **inputs = malloc(((size_t)call->input_count + 1) * sizeof *inputs);
    int status = -1;
    if (!inputs) {
        (void)h5pt_fail_memory(r->err);
        goto out;
    }
    for (int i = 0; i < call->input_count; i++)
        inputs[i] = *side_at(&r->keras, call->inputs[i]->id, c);
    if (make_outputs(r, call, c, outputs) < 0)
        goto out;
    struct layer_run run = {
        .layer = call->layer,
        .config = call->layer->config,
        .input_count = call->input_count,
        .inputs = inputs,
        .arguments = call->arguments,
        .mask_of = call->mask_of,
        .weights = (const struct tensor *const *)weights,
        .output_count = call->output_count,
        .outputs = outputs,
        .err = r->err,
    };
    if (call->layer->class->handler->reference(&run) < 0)
        goto out;
    for (int i = 0; i < call->output_count; i++) {
        side_put(&r->keras, call->outputs[i]->id, c, outputs[i]);
        outputs[i] = NULL;
    }
    status = 0;
out:
    for (int i = 0; i < LAYER_MAX_OUTPUTS; i++)
        tensor_free(outputs[i]);
    free(inputs);
    return status;
}

static int run_reference(struct run *r, const struct keras_call *call)
{
    struct tensor **weights = NULL;
    if (read_weights(r, call->layer, &weights) < 0)
        return -1;
    int status = 0;
    for (int c = 0; c < r->result->case_count && status == 0; c++)
        status = run_reference_case(r, call, c, weights);
    run_free_tensors(weights, call->layer->weight_count);
    return status;
}

/* ---- the replay ---- */

int run_read_parameters(const struct run *r, const struct torch_node *node, struct tensor ***ret)
{
    struct tensor **parameters = calloc((size_t)node->parameter_count + 1, sizeof *parameters);
    if (!parameters)
        return h5pt_fail_memory(r->err);
    for (int i = 0; i < node->parameter_count; i++) {
        const char *name = r->graph->parameters[node->parameters[i]].name;
        if (state_dict_read(r->dict, name, &parameters[i], r->err) < 0) {
            run_free_tensors(parameters, node->parameter_count);
            return -1;
        }
    }
    *ret = parameters;
    return 0;
}

static int run_node_case(struct run *r, const struct torch_node *node, int c, struct tensor **parameters)
{
    const struct tensor **inputs = malloc(((size_t)node->input_count + 1) * sizeof *inputs);
    struct tensor *outputs[LAYER_MAX_OUTPUTS] = {NULL};
    if (!inputs)
        return h5pt_fail_memory(r->err);
    for (int i = 0; i < node->input_count; i++)
        inputs[i] = *side_at(&r->torch, node->inputs[i], c);
    struct replay_call call = {node, inputs, (const struct tensor *const *)parameters};
    int status = replay_node(&call, outputs, r->err);
    free(inputs);
    for (int i = 0; status == 0 && i < torch_output_count(node); i++)
        side_put(&r->torch, node->output + i, c, outputs[i]);
    return status;
}

static int run_node(struct run *r, const struct torch_node *node)
{
    struct tensor **parameters = NULL;
    if (run_read_parameters(r, node, &parameters) < 0)
        return -1;
    int status = 0;
    for (int c = 0; c < r->result->case_count && status == 0; c++)
        status = run_node_case(r, node, c, parameters);
    run_free_tensors(parameters, node->parameter_count);
    for (int i = 0; i < node->input_count && status == 0; i++)
        side_use(&r->torch, node->inputs[i]);
    return status;
}

/* The nodes of all calls up to this one; NULL: the rest. */
static int run_nodes(struct run *r, const struct keras_call *upto)
{
    while (r->next_node < r->graph->node_count) {
        const struct torch_node *node = &r->graph->nodes[r->next_node];
        if (upto && node->call && node->call->id > upto->id)
            return 0;
        if (run_node(r, node) < 0)
            return -1;
        r->next_node++;
    }
    return 0;
}

/* ---- comparing ---- */

void run_note_error(struct run *r, const struct keras_call *call, int c, const struct parity_error *error)
{
    parity_worsen(&r->result->calls[call->id], error);
    if (error->ok || r->result->divergence)
        return;
    r->result->divergence = call;
    r->result->divergence_case = r->result->cases[c].name;
}

/* Compares a value when both sides have it. */
static int compare_value(struct run *r, const struct keras_value *value)
{
    const struct lowered *held = &r->correspondence->torch_of[value->id];
    if (r->compared[value->id] || held->id < 0 || !*side_at(&r->torch, held->id, 0) ||
        !*side_at(&r->keras, value->id, 0))
        return 0;
    for (int c = 0; c < r->result->case_count; c++) {
        struct parity_error error;
        if (parity_compare(*side_at(&r->keras, value->id, c), *side_at(&r->torch, held->id, c), &held->layout,
                           r->result->tolerance, &error, r->err) < 0)
            return -1;
        if (!error.ok && recheck_value(r, value, held, c, &error) < 0)
            return -1;
        run_note_error(r, value->call, c, &error);
    }
    r->compared[value->id] = true;
    side_use(&r->torch, held->id);
    side_use(&r->keras, value->id);
    return 0;
}

static int run_call(struct run *r, const struct keras_call *call)
{
    if (call->input_count > 0 && run_reference(r, call) < 0)
        return -1;
    if (run_nodes(r, call) < 0)
        return -1;
    for (int i = 0; i < call->output_count; i++)
        if (compare_value(r, call->outputs[i]) < 0)
            return -1;
    for (int i = 0; i < call->input_count; i++)
        side_use(&r->keras, call->inputs[i]->id);
    return check_memory(r);
}

/* ---- the whole ---- */

static void count_uses(struct run *r)
{
    const struct keras_model *model = r->model;
    const struct torch_graph *graph = r->graph;
    for (int i = 0; i < model->call_count; i++) {
        for (int k = 0; k < model->calls[i]->input_count; k++)
            r->keras.uses[model->calls[i]->inputs[k]->id]++;
        for (int k = 0; k < model->calls[i]->output_count; k++) {
            int id = model->calls[i]->outputs[k]->id;
            if (r->correspondence->torch_of[id].id < 0)
                continue;
            r->keras.uses[id]++;
            r->torch.uses[r->correspondence->torch_of[id].id]++;
        }
    }
    for (int i = 0; i < graph->node_count; i++)
        for (int k = 0; k < graph->nodes[i].input_count; k++)
            r->torch.uses[graph->nodes[i].inputs[k]]++;
    for (int i = 0; i < model->output_count; i++) { /* until outputs_compare */
        r->keras.uses[model->outputs[i]->id]++;
        r->torch.uses[graph->outputs[i].value]++;
    }
}

static int give_inputs(struct run *r)
{
    for (int i = 0; i < r->model->input_count; i++) {
        for (int c = 0; c < r->result->case_count; c++) {
            struct tensor *t = parity_make_input(r->model, r->options, &r->result->cases[c], c, i);
            struct tensor *moved = t ? tensor_transpose(t, r->graph->inputs[i].axes) : NULL;
            if (!moved) {
                tensor_free(t);
                return h5pt_fail_memory(r->err);
            }
            side_put(&r->keras, r->model->inputs[i]->id, c, t);
            side_put(&r->torch, r->graph->inputs[i].value, c, moved);
        }
    }
    return 0;
}

static void summarise(struct parity_result *result, const struct keras_model *model, const struct run *r)
{
    result->worst = (struct parity_error){.ok = true};
    for (int c = 0; c < result->case_count; c++)
        parity_worsen(&result->worst, &result->cases[c].error);
    result->ok = result->worst.ok && !result->divergence;
    for (int i = 0; i < model->output_count; i++)
        result->ok = result->ok && r->compared[model->outputs[i]->id];
    result->vectors = r->vectors;
    result->ok = result->ok && (!r->vectors || r->vectors->worst.ok);
    for (int i = 0; i < model->call_count; i++) {
        bool any = false;
        for (int k = 0; k < model->calls[i]->output_count; k++)
            any = any || r->compared[model->calls[i]->outputs[k]->id];
        if (!any)
            result->calls[i].max_abs = -1;
    }
}

static int run_all(struct run *r)
{
    count_uses(r);
    if (give_inputs(r) < 0)
        return -1;
    for (int i = 0; i < r->model->call_count; i++) {
        if (run_call(r, r->model->calls[i]) < 0)
            return -1;
        if (r->options->progress)
            r->options->progress(r->options->context, (double)(i + 1) / r->model->call_count);
    }
    if (run_nodes(r, NULL) < 0)
        return -1;
    for (int i = 0; i < r->model->call_count; i++)
        for (int k = 0; k < r->model->calls[i]->output_count; k++)
            if (compare_value(r, r->model->calls[i]->outputs[k]) < 0)
                return -1;
    return outputs_compare(r);
}

/* `exact` where nothing is rounded to 16 bits: by the types that Keras computed in, or, with `given`, that the caller wants. */
static double tolerance_of(const struct keras_model *model, bool given, double exact)
{
    bool half = !given && model->mixed == DTYPE_F16, brain = !given && model->mixed == DTYPE_BF16;
    for (int i = 0; i < model->layer_count; i++) {
        const struct keras_layer *layer = model->layers[i];
        half |= layer->compute == DTYPE_F16 && (layer->compute_given || !given);
        brain |= layer->compute == DTYPE_BF16 && (layer->compute_given || !given);
    }
    return brain ? PARITY_TOLERANCE_BF16 : half ? PARITY_TOLERANCE_F16 : exact;
}

static int prepare_vectors(struct run *r)
{
    const struct parity_vectors *v = r->options->vectors;
    struct arena *arena = r->graph->arena;
    if (!v)
        return 0;
    r->vectors = ARENA_NEW(arena, struct parity_vectors_result);
    struct parity_error *outputs = ARENA_ARRAY(arena, struct parity_error, (size_t)v->output_count + 1);
    if (!r->vectors || !outputs)
        return h5pt_fail_memory(r->err);
    *r->vectors = (struct parity_vectors_result){
        .tolerance = tolerance_of(r->model, false, PARITY_VECTORS_TOLERANCE),
        .samples = v->input_count && v->inputs[0]->shape.rank ? v->inputs[0]->shape.dims[0] : 1,
        .worst = {.ok = true},
        .outputs = outputs,
    };
    return 0;
}

int parity_run(const struct keras_model *model, const struct torch_graph *graph,
               const struct correspondence *correspondence, struct source *source, struct state_dict *dict,
               const struct parity_options *options, struct parity_result *ret, struct h5pt_error *err)
{
    struct h5pt_error local = H5PT_ERROR_INIT;
    struct parity_result result = {
        .tolerance = tolerance_of(model, true, PARITY_TOLERANCE),
        .calls = ARENA_ARRAY(graph->arena, struct parity_error, (size_t)model->call_count + 1)};
    struct run r = {
        .model = model,
        .graph = graph,
        .correspondence = correspondence,
        .source = source,
        .dict = dict,
        .options = options,
        .result = &result,
        .err = &local,
        .compared = calloc((size_t)model->value_count + 1, sizeof(bool)),
    };
    int status = -1;
    if (!result.calls || !r.compared) {
        (void)h5pt_fail_memory(&local);
        goto out;
    }
    for (int i = 0; i < model->call_count; i++)
        result.calls[i].ok = true;
    if (prepare_vectors(&r) < 0 || parity_choose_cases(model, options, &result, &local) < 0 ||
        side_init(&r.keras, model->value_count, result.case_count, &local) < 0 ||
        side_init(&r.torch, graph->value_count, result.case_count, &local) < 0 || run_all(&r) < 0)
        goto out;
    summarise(&result, model, &r);
    *ret = result;
    status = 0;
out:
    side_release(&r.keras);
    side_release(&r.torch);
    free(r.compared);
    if (status < 0 && err && !err->code)
        *err = local;
    return status;
}
