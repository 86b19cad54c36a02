/* SPDX-License-Identifier: Apache-2.0 */
/* Networks → calls. Every node is made when something asks for its tensors, so the order of the layers in the file does not
 * matter, and what no output needs is left out. Asking is done with an explicit stack: a chain in a hostile file may be
 * longer than the C stack. Only nested models recurse, KERAS_MAX_NESTING deep. */
#include <string.h>

#include "keras/node.h"
#include "keras/translate.h"
#include "layers/layer.h"

static int expand_network(struct builder *b, struct network *network, struct value_list inputs, struct value_list *ret);

/* Counts what is gone through: a few lines of nested models can ask for more than any machine has. */
int build_step(struct builder *b, size_t n)
{
    if (n > KERAS_MAX_STEPS - b->steps)
        return h5pt_fail(b->err, H5PT_LIMIT_EXCEEDED, NULL,
                         "The calls of the models and layers have more than %d parts", KERAS_MAX_STEPS);
    b->steps += n;
    return 0;
}

/* ---- running nodes ---- */

static struct keras_value *bad_value(struct builder *b)
{
    struct keras_value *value = ARENA_NEW(b->arena, struct keras_value);
    if (!value) {
        h5pt_fail_memory(b->err);
        return NULL;
    }
    value->bad = true;
    value->id = b->model->value_count++;
    return value;
}

/* The node that a reference means; NULL after a refusal. */
struct node *node_locate(struct builder *b, const struct instance *instance, const struct network_ref *ref,
                         bool from_outputs)
{
    struct network_layer *entry = network_find(instance->network, ref->layer);
    if (!entry) {
        findings_add(b->refusals, H5PT_GRAPH_INVALID, instance->network->name, "inbound_nodes",
                     "A layer uses the output of \"%.80s\", which is not in the model", ref->layer);
        return NULL;
    }
    size_t position = (size_t)(entry - instance->network->layers);
    if (network_is_input(entry))
        return &instance->nodes[position][0];
    long long node = ref->node - (long long)(from_outputs ? entry->output_node_offset : entry->node_offset);
    if (entry->node_count == 1)
        node = 0; /* the layer may have been called elsewhere before: only one call is in this model */
    if (node < 0 || node >= (long long)entry->node_count) {
        findings_add(b->refusals, H5PT_GRAPH_INVALID, network_path(entry), "inbound_nodes",
                     "Call %lld of \"%.80s\" is used, but the file has %zu", ref->node, entry->name, entry->node_count);
        return NULL;
    }
    return &instance->nodes[position][node];
}

/* The value that a reference means; a bad one when it means none. NULL: b->err. */
static struct keras_value *resolve(struct builder *b, const struct instance *instance, const struct network_ref *ref,
                                   bool from_outputs)
{
    const struct node *node = node_locate(b, instance, ref, from_outputs);
    if (!node || node->state != NODE_DONE)
        return bad_value(b);
    if (ref->tensor >= 0 && ref->tensor < node->value_count)
        return node->values[ref->tensor];
    if (node->value_count == 0 || !node->values[0]->bad || node->values[0]->known)
        findings_add(b->refusals, H5PT_GRAPH_INVALID, network_path(node->entry), "inbound_nodes",
                     "Output %lld of \"%.80s\" is used, but it has %d", ref->tensor, node->entry->name,
                     node->value_count);
    return bad_value(b);
}

/* Masks that a nested model is called with: Keras 3 writes down the ones that its inputs carry anyway. */
static void drop_masks(struct builder *b, const struct network_layer *entry, const json_t *arguments,
                       struct value_list *inputs)
{
    const json_t *mask = layer_argument(arguments, -1, "mask");
    bool list = json_is_array(mask);
    int first = inputs->count;
    for (size_t i = 0; mask && i < (list ? json_array_size(mask) : 1); i++) {
        int index = layer_argument_tensor(list ? json_array_get(mask, i) : mask);
        if (index < 0 || index >= inputs->count)
            continue;
        if (i >= (size_t)inputs->count || !(inputs->values[i]->masked || inputs->values[i]->bad))
            findings_add(b->refusals, H5PT_UNSUPPORTED_MASK, network_path(entry), "mask",
                         "A model is called with a mask that its input does not carry, which is not supported");
        first = index < first ? index : first;
    }
    inputs->count = first;
}

static int refuse_inputs(struct builder *b, const struct network_layer *entry, int count, struct value_list *ret)
{
    findings_add(b->refusals, H5PT_UNSUPPORTED_CALL_ARGUMENT, network_path(entry), "inputs",
                 "%s takes one tensor, but is called with %d", entry->class_name, count);
    *ret = (struct value_list){1, ARENA_ARRAY(b->arena, struct keras_value *, 1)};
    return ret->values && (ret->values[0] = bad_value(b)) ? 0 : h5pt_fail_memory(b->err);
}

/* TimeDistributed takes one tensor, and perhaps its mask. */
static int call_time_distributed(struct builder *b, struct network_layer *entry, struct value_list inputs,
                                 const json_t *arguments, struct value_list *ret)
{
    const struct network *network = entry->nested;
    const json_t *named = layer_argument(arguments, -1, "mask");
    int at = layer_argument_tensor(json_is_array(named) ? json_array_get(named, 0) : named);
    struct keras_value *mask = at == 1 && inputs.count == 2 ? inputs.values[1] : NULL, *x = inputs.values[0];
    struct value_list inside = {1, inputs.values};
    if (inputs.count != (mask ? 2 : 1))
        return refuse_inputs(b, entry, inputs.count, ret);
    if (time_distributed_is_plain(network))
        return expand_network(b, entry->nested, inside, ret);
    if (!(inside.values = ARENA_ARRAY(b->arena, struct keras_value *, 1)))
        return h5pt_fail_memory(b->err);
    if (time_distributed_enter(b, network, x, &mask, &inside.values[0]) < 0 ||
        expand_network(b, entry->nested, inside, &inside) < 0)
        return -1;
    struct value_list outputs = {inside.count, ARENA_ARRAY(b->arena, struct keras_value *, (size_t)inside.count + 1)};
    if (!outputs.values)
        return h5pt_fail_memory(b->err);
    for (int i = 0; i < inside.count; i++)
        if (time_distributed_leave(b, network, x, mask, inside.values[i], &outputs.values[i]) < 0)
            return -1;
    *ret = outputs;
    return 0;
}

/* What is no tensor (a shape) can only be used by operations that are translated. */
static void refuse_known(struct builder *b, const struct network_layer *entry, struct value_list inputs)
{
    for (int i = 0; i < inputs.count; i++)
        if (inputs.values[i]->known)
            findings_add(b->refusals, H5PT_UNSUPPORTED_OPERATION, network_path(entry), "inbound_nodes",
                         "%s takes a size as a tensor, which is not supported", entry->class_name);
}

/* Calls a nested model: a scope of its own. */
static int call_nested(struct builder *b, struct network *network, struct value_list inputs, struct value_list *ret)
{
    struct keras_scope *scope = ARENA_NEW(b->arena, struct keras_scope);
    if (!scope)
        return h5pt_fail_memory(b->err);
    *scope = (struct keras_scope){network->scope, b->scope, b->scope_count++};
    b->scope = scope;
    int status = expand_network(b, network, inputs, ret);
    b->scope = scope->parent;
    return status;
}

static int call_entry(struct builder *b, struct network_layer *entry, struct value_list inputs, const json_t *arguments,
                      struct value_list *ret)
{
    if (!entry->nested && translate_is(b, entry->layer))
        return translate_call(b, entry->layer, inputs.values, inputs.count, arguments, &ret->values, &ret->count);
    refuse_known(b, entry, inputs);
    if (entry->time_distributed)
        return call_time_distributed(b, entry, inputs, arguments, ret);
    if (entry->nested) {
        drop_masks(b, entry, arguments, &inputs);
        return call_nested(b, entry->nested, inputs, ret);
    }
    struct keras_call *call = build_call(b, entry->layer, inputs.values, inputs.count, arguments);
    if (!call)
        return -1;
    *ret = (struct value_list){call->output_count, call->outputs};
    return 0;
}

static int finish_node(struct builder *b, const struct instance *instance, struct node *node)
{
    struct value_list inputs = {node->ref_count,
                                ARENA_ARRAY(b->arena, struct keras_value *, (size_t)node->ref_count + 1)};
    if (!inputs.values)
        return h5pt_fail_memory(b->err);
    for (int i = 0; i < node->ref_count; i++)
        if (!(inputs.values[i] = resolve(b, instance, &node->refs[i], false)))
            return -1;
    struct value_list outputs;
    if (call_entry(b, node->entry, inputs, node->arguments, &outputs) < 0)
        return -1;
    node->value_count = outputs.count;
    node->values = outputs.values;
    node->state = NODE_DONE;
    return 0;
}

static int push(struct builder *b, struct node *node, struct node **stack)
{
    node->state = NODE_BUSY;
    node->below = *stack;
    *stack = node;
    return node_read(b, node);
}

/* Runs a node and whatever it needs first. */
int node_run(struct builder *b, const struct instance *instance, struct node *target)
{
    struct node *stack = NULL;
    if (target->state != NODE_NEW)
        return 0;
    if (push(b, target, &stack) < 0)
        return -1;
    while (stack) {
        struct node *top = stack;
        if (top->next == top->ref_count) {
            if (finish_node(b, instance, top) < 0)
                return -1;
            stack = top->below;
            continue;
        }
        struct node *needed = node_locate(b, instance, &top->refs[top->next++], false);
        if (needed && needed->state == NODE_BUSY)
            findings_add(b->refusals, H5PT_GRAPH_INVALID, network_path(needed->entry), "inbound_nodes",
                         "\"%.80s\" needs its own output", needed->entry->name);
        if (needed && needed->state == NODE_NEW && push(b, needed, &stack) < 0)
            return -1;
    }
    return 0;
}

/* ---- networks ---- */

static int instance_init(struct builder *b, struct network *network, struct instance *ret)
{
    *ret = (struct instance){network, ARENA_ARRAY(b->arena, struct node *, network->layer_count + 1)};
    if (!ret->nodes)
        return h5pt_fail_memory(b->err);
    for (size_t i = 0; i < network->layer_count; i++) {
        struct network_layer *entry = &network->layers[i];
        size_t count = network_is_input(entry) ? 1 : entry->node_count;
        if (build_step(b, count + 1) < 0)
            return -1;
        struct node *nodes = ret->nodes[i] = ARENA_ARRAY(b->arena, struct node, count + 1);
        if (!nodes)
            return h5pt_fail_memory(b->err);
        for (size_t k = 0; k < count; k++) {
            nodes[k].entry = entry;
            nodes[k].index = k;
        }
    }
    return 0;
}

static int give_inputs(struct builder *b, const struct instance *instance, const struct node *refs,
                       struct value_list inputs)
{
    if (refs->ref_count != inputs.count)
        findings_add(b->refusals, H5PT_GRAPH_INVALID, instance->network->name, "inbound_nodes",
                     "The model \"%.80s\" has %d inputs, but is called with %d", instance->network->name,
                     refs->ref_count, inputs.count);
    for (int i = 0; i < refs->ref_count; i++) {
        struct node *node = node_locate(b, instance, &refs->refs[i], false);
        if (!node)
            continue;
        node->values = ARENA_ARRAY(b->arena, struct keras_value *, 1);
        if (!node->values)
            return h5pt_fail_memory(b->err);
        node->values[0] = i < inputs.count ? inputs.values[i] : bad_value(b);
        if (!node->values[0])
            return -1;
        node->value_count = 1;
        node->state = NODE_DONE;
    }
    return 0;
}

static int expand_functional(struct builder *b, struct network *network, struct value_list inputs,
                             struct value_list *ret)
{
    struct instance instance;
    struct node in = {.state = NODE_NEW}, out = {.state = NODE_NEW};
    if (instance_init(b, network, &instance) < 0 || node_read_refs(b, network, network->inputs, &in) < 0 ||
        node_read_refs(b, network, network->outputs, &out) < 0 || give_inputs(b, &instance, &in, inputs) < 0)
        return -1;
    struct value_list outputs = {out.ref_count, ARENA_ARRAY(b->arena, struct keras_value *, (size_t)out.ref_count + 1)};
    if (!outputs.values)
        return h5pt_fail_memory(b->err);
    if (b->model->version.major >= 3 && node_order_matters(network) && node_run_in_order(b, &instance, &out) < 0)
        return -1;
    for (int i = 0; i < out.ref_count; i++) {
        struct node *node = node_locate(b, &instance, &out.refs[i], true);
        if (node && node_run(b, &instance, node) < 0)
            return -1;
        if (!(outputs.values[i] = resolve(b, &instance, &out.refs[i], true)))
            return -1;
    }
    *ret = outputs;
    return 0;
}

static int expand_sequential(struct builder *b, struct network *network, struct value_list inputs,
                             struct value_list *ret)
{
    struct value_list values = inputs;
    if (build_step(b, network->layer_count + 1) < 0)
        return -1;
    for (size_t i = 0; i < network->layer_count; i++) {
        struct network_layer *entry = &network->layers[i];
        if (!network_is_input(entry) && call_entry(b, entry, values, NULL, &values) < 0)
            return -1;
    }
    *ret = values;
    return 0;
}

static int expand_network(struct builder *b, struct network *network, struct value_list inputs, struct value_list *ret)
{
    return network->sequential ? expand_sequential(b, network, inputs, ret)
                               : expand_functional(b, network, inputs, ret);
}

int expand_model(struct builder *b, struct network *root)
{
    struct keras_model *model = b->model;
    struct value_list outputs;
    if (expand_inputs(b, root) < 0 ||
        expand_network(b, root, (struct value_list){model->input_count, model->inputs}, &outputs) < 0)
        return -1;
    model->output_count = outputs.count;
    model->outputs = outputs.values;
    model->output_names = ARENA_ARRAY(b->arena, const char *, (size_t)outputs.count + 1);
    if (!model->output_names)
        return h5pt_fail_memory(b->err);
    refuse_known(b, &(struct network_layer){.class_name = "An output of the model", .nested = root}, outputs);
    for (int i = 0; i < outputs.count; i++)
        model->output_names[i] = outputs.values[i]->call ? outputs.values[i]->call->layer->name : "output";
    if (outputs.count == 0)
        return h5pt_fail(b->err, H5PT_CONFIG_MALFORMED, root->name, "The model has no outputs");
    return 0;
}
