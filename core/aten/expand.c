/* SPDX-License-Identifier: Apache-2.0 */
/* The driver: inputs, parameters, then node by node. */
#include "aten/builder.h"

static aten_function *const functions[TORCH_OP_COUNT] = {
#define OP(id, kind, module, callee, attributes) [TORCH_##id] = aten_##id,
#include "torch/ops.def"
#undef OP
};

static const struct aten_int *fixed_dim(struct aten_builder *b, int64_t size)
{
    return size >= 0 ? aten_int(b, size) : NULL;
}

/* The batch is the same in all inputs; other free dims are sizes of their own. */
static const struct aten_int *free_dim(struct aten_builder *b, const struct torch_interface *input, int dim,
                                       const struct aten_int **batch)
{
    bool is_batch = input->axes[dim] == 0;
    if (is_batch && *batch)
        return *batch;
    const struct aten_int *symbol = aten_int_symbol(b, b->graph->value_count, dim,
                                                    is_batch ? ATEN_EXAMPLE_BATCH : ATEN_EXAMPLE_SIZE);
    if (is_batch)
        *batch = symbol;
    return symbol;
}

static void add_parameters(struct aten_builder *b)
{
    const struct torch_graph *t = b->graph->torch;
    for (int i = 0; i < t->parameter_count; i++) {
        const struct torch_parameter *p = &t->parameters[i];
        const struct aten_meta meta = {.shape = aten_fixed(b, p->shape.rank, p->shape.dims), .dtype = p->dtype};
        b->graph->parameters[i] = aten_add_value(b, &meta, ATEN_PARAMETER, i);
    }
}

static void add_inputs(struct aten_builder *b)
{
    const struct torch_graph *t = b->graph->torch;
    const struct aten_int *batch = NULL;
    for (int i = 0; i < t->input_count; i++) {
        const struct torch_value *value = &t->values[t->inputs[i].value];
        struct aten_meta meta = {.shape = {.rank = value->shape.rank}, .dtype = value->dtype};
        for (int k = 0; k < value->shape.rank; k++) {
            const struct aten_int *known = fixed_dim(b, value->shape.dims[k]);
            meta.shape.dims[k] = known || b->failed ? known : free_dim(b, &t->inputs[i], k, &batch);
        }
        b->graph->inputs[i] = aten_add_value(b, &meta, ATEN_INPUT, i);
        b->value_of[t->inputs[i].value] = b->graph->inputs[i];
    }
}

/* An output must be what the torch graph says, as far as that goes: a mistake in an expansion must not become a file. A size
 * that the torch graph knows and the expansion does not is taken from there. */
static int check_output(struct aten_builder *b, int torch_value, int value)
{
    const struct torch_value *expected = &b->graph->torch->values[torch_value];
    if (b->failed)
        return -1;
    if (value < 0)
        return aten_fail(b, H5PT_INTERNAL, "The expansion gave no output");
    struct aten_meta *meta = &b->graph->values[value].meta;
    if (meta->shape.rank != expected->shape.rank || meta->dtype != expected->dtype)
        return aten_fail(b, H5PT_INTERNAL, "The expansion gave %s with %d dims, not %s with %d",
                         dtype_name(meta->dtype), meta->shape.rank, dtype_name(expected->dtype), expected->shape.rank);
    for (int i = 0; i < meta->shape.rank; i++) {
        const struct aten_int *known = fixed_dim(b, expected->shape.dims[i]), *own = meta->shape.dims[i];
        if (known && aten_int_known(own) && known != own)
            return aten_fail(b, H5PT_INTERNAL, "The expansion gave %lld in dim %d, not %lld", (long long)own->value, i,
                             (long long)known->value);
        if (known)
            meta->shape.dims[i] = known;
    }
    return 0;
}

static void expand_node(struct aten_builder *b, const struct torch_node *node)
{
    b->node = node;
    int value = functions[node->op](b, node);
    if (b->failed)
        return;
    b->value_of[node->output] = value;
    for (int i = 0; i < torch_output_count(node); i++)
        (void)check_output(b, node->output + i, b->value_of[node->output + i]);
}

static int *new_ids(struct aten_builder *b, int count)
{
    int *ids = ARENA_ARRAY(b->graph->arena, int, (size_t)count + 1);
    if (!ids)
        (void)aten_fail_memory(b);
    for (int i = 0; ids && i < count; i++)
        ids[i] = -1;
    return ids;
}

int aten_expand(const struct torch_graph *graph, bool newest, struct arena *arena, struct aten_graph *ret,
                struct h5pt_error *err)
{
    struct h5pt_error local = H5PT_ERROR_INIT;
    struct aten_graph out = {.arena = arena, .torch = graph};
    struct aten_builder b = {.graph = &out, .newest = newest, .err = &local};
    b.value_of = new_ids(&b, graph->value_count);
    out.inputs = new_ids(&b, graph->input_count);
    out.parameters = new_ids(&b, graph->parameter_count);
    out.outputs = new_ids(&b, graph->output_count);
    if (!b.failed) {
        add_parameters(&b);
        add_inputs(&b);
    }
    for (int i = 0; i < graph->node_count && !b.failed; i++)
        expand_node(&b, &graph->nodes[i]);
    for (int i = 0; i < graph->output_count && !b.failed; i++)
        out.outputs[i] = b.value_of[graph->outputs[i].value];
    if (b.failed) {
        if (err && !err->code)
            *err = local;
        return -1;
    }
    *ret = out;
    return 0;
}
