/* SPDX-License-Identifier: Apache-2.0 */
/* Networks → calls. Every node is made when something asks for its tensors, so the order of the layers in the file does not
 * matter, and what no output needs is left out. Asking is done with an explicit stack: a chain in a hostile file may be
 * longer than the C stack. Only nested models recurse, KERAS_MAX_NESTING deep. */
#include <string.h>

#include "keras/build.h"
#include "keras/translate.h"
#include "layers/layer.h"

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

static int expand_network(struct builder *b, struct network *network, struct value_list inputs, struct value_list *ret);

/* Counts what is gone through: a few lines of nested models can ask for more than any machine has. */
static int step(struct builder *b, size_t n)
{
    if (n > KERAS_MAX_STEPS - b->steps)
        return h5pt_fail(b->err, H5PT_LIMIT_EXCEEDED, NULL,
                         "The calls of the models and layers have more than %d parts", KERAS_MAX_STEPS);
    b->steps += n;
    return 0;
}

static bool is_input(const struct network_layer *entry)
{
    return !entry->nested && strcmp(entry->class_name, "InputLayer") == 0;
}

static const char *entry_path(const struct network_layer *entry)
{
    return entry->nested ? entry->nested->scope : entry->layer->path;
}

/* ---- reading a node ---- */

struct ref_collector {
    struct builder *b;
    struct node *node;
};

static int collect_ref(void *context, const struct network_ref *ref)
{
    struct ref_collector *c = context;
    struct node *node = c->node;
    if (step(c->b, 1) < 0)
        return -1;
    if (node->ref_count == node->ref_capacity) {
        int capacity = node->ref_capacity ? node->ref_capacity * 2 : 4;
        struct network_ref *refs = ARENA_ARRAY(c->b->arena, struct network_ref, (size_t)capacity);
        if (!refs)
            return h5pt_fail_memory(c->b->err);
        if (node->ref_count)
            memcpy(refs, node->refs, (size_t)node->ref_count * sizeof *refs);
        node->refs = refs;
        node->ref_capacity = capacity;
    }
    node->refs[node->ref_count++] = *ref;
    return 0;
}

static void refuse_argument(struct builder *b, const struct network_layer *entry, const char *key)
{
    findings_add(b->refusals, H5PT_UNSUPPORTED_CALL_ARGUMENT, entry_path(entry), key,
                 "%s is called with the argument \"%.60s\", which is not supported", entry->class_name, key);
}

static bool nothing(const json_t *value)
{
    if (!value || json_is_null(value))
        return true;
    if (!json_is_array(value))
        return false;
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!nothing(json_array_get(value, i)))
            return false;
    return true;
}

enum { MAX_ARGUMENT_NESTING = 32 };

/* A constant that stands where a tensor could: ["_CONSTANT_VALUE", -1, value, keywords]. */
static const json_t *constant_of(const json_t *value)
{
    const char *tag = json_string_value(json_array_get(value, 0));
    return tag && strcmp(tag, "_CONSTANT_VALUE") == 0 ? json_array_get(value, 2) : NULL;
}

static json_t *normal_form(struct ref_collector *c, const json_t *value, int depth);

static json_t *normal_list(struct ref_collector *c, const json_t *value, int depth)
{
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(value); i++)
        if (json_array_append_new(list, normal_form(c, json_array_get(value, i), depth + 1)) < 0)
            h5pt_fail_memory(c->b->err);
    return list;
}

/* The value with every reference collected and replaced by {"tensor": its index}; a new reference. */
static json_t *normal_form(struct ref_collector *c, const json_t *value, int depth)
{
    struct network_ref ref;
    if (depth > MAX_ARGUMENT_NESTING) {
        h5pt_fail(c->b->err, H5PT_LIMIT_EXCEEDED, entry_path(c->node->entry),
                  "The arguments of a call are nested too deep");
        return json_null();
    }
    if (network_is_ref(value, &ref)) {
        int index = c->node->ref_count;
        return collect_ref(c, &ref) < 0 ? json_null() : json_pack("{s:i}", "tensor", index);
    }
    if (constant_of(value))
        return normal_form(c, constant_of(value), depth + 1);
    if (json_is_array(value))
        return normal_list(c, value, depth);
    if (!json_is_object(value))
        return json_deep_copy(value);
    json_t *object = json_object();
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)value, key, item)
    {
        if (json_object_set_new(object, key, normal_form(c, item, depth + 1)) < 0)
            h5pt_fail_memory(c->b->err);
    }
    return object;
}

/* The keyword arguments of the older form: the fourth item of the first reference or constant. */
static const json_t *legacy_keywords(const json_t *node, int depth)
{
    struct network_ref ref;
    if (network_is_ref(node, &ref) || constant_of(node))
        return json_array_get(node, 3);
    if (depth > 8)
        return NULL;
    if (json_is_array(node))
        return legacy_keywords(json_array_get(node, 0), depth + 1);
    void *first = json_object_iter((json_t *)node);
    return first ? legacy_keywords(json_object_iter_value(first), depth + 1) : NULL;
}

/* A node in the older form: one reference, or a list (of one: the argument; of several: an argument that is a list). */
static json_t *legacy_arguments(struct ref_collector *c, const json_t *json)
{
    struct network_ref ref;
    bool alone = json_array_size(json) == 1 && !network_is_ref(json, &ref);
    json_t *first = normal_form(c, alone ? json_array_get(json, 0) : json, 0);
    const json_t *keywords = legacy_keywords(json, 0);
    json_t *kwargs = json_is_object(keywords) ? normal_form(c, keywords, 0) : json_object();
    return json_pack("{s:[o], s:o}", "args", first, "kwargs", kwargs);
}

static json_t *keras3_arguments(struct ref_collector *c, const json_t *json)
{
    json_t *args = normal_form(c, json_object_get(json, "args"), 0);
    const json_t *keywords = json_object_get(json, "kwargs");
    return json_pack("{s:o, s:o}", "args", args, "kwargs",
                     json_is_object(keywords) ? normal_form(c, keywords, 0) : json_object());
}

static bool is_only_tensors(const json_t *value)
{
    if (layer_argument_tensor(value) >= 0)
        return true;
    size_t n = json_array_size(value);
    for (size_t i = 0; i < n; i++)
        if (!is_only_tensors(json_array_get(value, i)))
            return false;
    if (json_is_array(value))
        return true;
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)value, key, item)
    {
        if (!is_only_tensors(item))
            return false;
    }
    return json_is_object(value);
}

/* The arguments of a layer that has none but its inputs: what changes nothing may stand there too. */
static void check_arguments(struct builder *b, struct node *node, const struct layer_class *class)
{
    const json_t *args = json_object_get(node->arguments, "args"), *kwargs = json_object_get(node->arguments, "kwargs");
    bool any = false;
    for (size_t i = 0; i < json_array_size(args); i++) {
        const json_t *arg = json_array_get(args, i);
        if (is_only_tensors(arg))
            any = true;
        else if (!nothing(arg))
            refuse_argument(b, node->entry, "args");
    }
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)kwargs, key, value)
    {
        bool input = !any && (strcmp(key, "inputs") == 0 || strcmp(key, "x") == 0) && is_only_tensors(value);
        bool takes_mask = node->entry->nested ||
                          (class && (!(class->flags & LAYER_HONOURS_MASK) || (class->flags & LAYER_TAKES_MASK)));
        bool mask = takes_mask && strcmp(key, "mask") == 0;
        bool preprocessing = b->model->version.major >= 3 && (class ? (class->flags & LAYER_PREPROCESSING) != 0
                                                                    : strcmp(node->entry->class_name, "Pipeline") == 0);
        bool training = strcmp(key, "training") == 0 && (json_is_false(value) || preprocessing);
        if (!nothing(value) && !training && !input && !mask)
            refuse_argument(b, node->entry, key);
    }
}

static int read_node(struct builder *b, struct node *node)
{
    if (node->arguments)
        return 0;
    const json_t *json = json_array_get(node->entry->nodes, node->index);
    struct ref_collector collector = {b, node};
    bool keras3 = json_is_object(json) && json_object_get(json, "args");
    json_t *arguments = keras3 ? keras3_arguments(&collector, json) : legacy_arguments(&collector, json);
    if (b->err->code || !arguments || json_array_append(b->keep, arguments) < 0) {
        json_decref(arguments);
        return h5pt_fail_memory(b->err);
    }
    json_decref(arguments);
    node->arguments = arguments;
    const struct keras_layer *layer = node->entry->layer;
    if (layer && translate_is(layer->class_name))
        return 0;
    if (layer && build_prepare(b, node->entry->layer) < 0)
        return -1;
    if (!layer || !layer->class || !(layer->class->flags & LAYER_ARGUMENTS))
        check_arguments(b, node, layer ? layer->class : NULL);
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
static struct node *locate(struct builder *b, const struct instance *instance, const struct network_ref *ref,
                           bool from_outputs)
{
    struct network_layer *entry = network_find(instance->network, ref->layer);
    if (!entry) {
        findings_add(b->refusals, H5PT_GRAPH_INVALID, instance->network->name, "inbound_nodes",
                     "A layer uses the output of \"%.80s\", which is not in the model", ref->layer);
        return NULL;
    }
    size_t position = (size_t)(entry - instance->network->layers);
    if (is_input(entry))
        return &instance->nodes[position][0];
    long long node = ref->node - (long long)(from_outputs ? entry->output_node_offset : entry->node_offset);
    if (entry->node_count == 1)
        node = 0; /* the layer may have been called elsewhere before: only one call is in this model */
    if (node < 0 || node >= (long long)entry->node_count) {
        findings_add(b->refusals, H5PT_GRAPH_INVALID, entry_path(entry), "inbound_nodes",
                     "Call %lld of \"%.80s\" is used, but the file has %zu", ref->node, entry->name, entry->node_count);
        return NULL;
    }
    return &instance->nodes[position][node];
}

/* The value that a reference means; a bad one when it means none. NULL: b->err. */
static struct keras_value *resolve(struct builder *b, const struct instance *instance, const struct network_ref *ref,
                                   bool from_outputs)
{
    const struct node *node = locate(b, instance, ref, from_outputs);
    if (!node || node->state != NODE_DONE)
        return bad_value(b);
    if (ref->tensor >= 0 && ref->tensor < node->value_count)
        return node->values[ref->tensor];
    if (node->value_count == 0 || !node->values[0]->bad || node->values[0]->known)
        findings_add(b->refusals, H5PT_GRAPH_INVALID, entry_path(node->entry), "inbound_nodes",
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
            findings_add(b->refusals, H5PT_UNSUPPORTED_MASK, entry_path(entry), "mask",
                         "A model is called with a mask that its input does not carry, which is not supported");
        first = index < first ? index : first;
    }
    inputs->count = first;
}

static int refuse_inputs(struct builder *b, const struct network_layer *entry, int count, struct value_list *ret)
{
    findings_add(b->refusals, H5PT_UNSUPPORTED_CALL_ARGUMENT, entry_path(entry), "inputs",
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
            findings_add(b->refusals, H5PT_UNSUPPORTED_OPERATION, entry_path(entry), "inbound_nodes",
                         "%s takes a size as a tensor, which is not supported", entry->class_name);
}

static int call_entry(struct builder *b, struct network_layer *entry, struct value_list inputs, const json_t *arguments,
                      struct value_list *ret)
{
    if (!entry->nested && translate_is(entry->layer->class_name))
        return translate_call(b, entry->layer, inputs.values, inputs.count, arguments, &ret->values, &ret->count);
    refuse_known(b, entry, inputs);
    if (entry->time_distributed)
        return call_time_distributed(b, entry, inputs, arguments, ret);
    if (entry->nested) {
        drop_masks(b, entry, arguments, &inputs);
        return expand_network(b, entry->nested, inputs, ret);
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
    return read_node(b, node);
}

/* Runs a node and whatever it needs first. */
static int run_node(struct builder *b, const struct instance *instance, struct node *target)
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
        struct node *needed = locate(b, instance, &top->refs[top->next++], false);
        if (needed && needed->state == NODE_BUSY)
            findings_add(b->refusals, H5PT_GRAPH_INVALID, entry_path(needed->entry), "inbound_nodes",
                         "\"%.80s\" needs its own output", needed->entry->name);
        if (needed && needed->state == NODE_NEW && push(b, needed, &stack) < 0)
            return -1;
    }
    return 0;
}

/* ---- the order in which Keras runs nodes ---- */

/* Nodes, each behind those that it needs or the other way round. */
struct node_list {
    size_t count, capacity;
    struct node **nodes;
};

static int list_node(struct builder *b, struct node_list *list, struct node *node)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 64;
        struct node **nodes = ARENA_ARRAY(b->arena, struct node *, capacity);
        if (!nodes)
            return h5pt_fail_memory(b->err);
        if (list->count)
            memcpy(nodes, list->nodes, list->count * sizeof *nodes);
        list->nodes = nodes;
        list->capacity = capacity;
    }
    list->nodes[list->count++] = node;
    return 0;
}

/* Appends what `target` needs and is not listed yet, and itself, last. */
static int list_needed(struct builder *b, const struct instance *instance, struct node *target, struct node_list *list)
{
    struct node *stack = NULL, *needed = target;
    while (needed || stack) {
        if (needed && !needed->listed && needed->state == NODE_NEW) {
            if (read_node(b, needed) < 0)
                return -1;
            needed->listed = true;
            needed->below = stack;
            stack = needed;
        }
        needed = NULL;
        if (!stack)
            break;
        if (stack->next < stack->ref_count) {
            needed = locate(b, instance, &stack->refs[stack->next++], false);
            continue;
        }
        stack->next = 0;
        if (list_node(b, list, stack) < 0)
            return -1;
        stack = stack->below;
    }
    return 0;
}

/* Moves the nodes to `ret` by falling depth, those of equal depth in the order in which they are first met on the way from the
 * outputs. All calls of a layer count as deep as the deepest before them. */
static int sort_by_depth(struct builder *b, const struct instance *instance, const struct node_list *list,
                         struct node_list *ret)
{
    struct node_list met = {0};
    int *layers = ARENA_ARRAY(b->arena, int, instance->network->layer_count + 1), deepest = 0;
    if (!layers)
        return h5pt_fail_memory(b->err);
    for (size_t i = 0; i < list->count; i++)
        list->nodes[i]->listed = false;
    for (size_t i = list->count; i-- > 0;) {
        struct node *node = list->nodes[i];
        int *layer = &layers[node->entry - instance->network->layers];
        if (!node->listed && list_node(b, &met, node) < 0)
            return -1;
        node->listed = true;
        node->depth = *layer = node->depth > *layer ? node->depth : *layer;
        deepest = node->depth > deepest ? node->depth : deepest;
        for (int k = 0; k < node->ref_count; k++) {
            struct node *needed = locate(b, instance, &node->refs[k], false);
            if (!needed || needed->state != NODE_NEW)
                continue;
            if (!needed->listed && list_node(b, &met, needed) < 0)
                return -1;
            needed->listed = true;
            needed->depth = needed->depth > node->depth ? needed->depth : node->depth + 1;
        }
    }
    /* by counting: `first` of each depth */
    size_t *first = ARENA_ARRAY(b->arena, size_t, (size_t)deepest + 2);
    ret->nodes = ARENA_ARRAY(b->arena, struct node *, met.count + 1);
    if (!first || !ret->nodes)
        return h5pt_fail_memory(b->err);
    for (size_t i = 0; i < met.count; i++)
        first[deepest - met.nodes[i]->depth + 1]++;
    for (int depth = 0; depth < deepest; depth++)
        first[depth + 1] += first[depth];
    for (size_t i = 0; i < met.count; i++)
        ret->nodes[first[deepest - met.nodes[i]->depth]++] = met.nodes[i];
    ret->count = met.count;
    return 0;
}

/* A layer that changes what runs after it. */
static bool order_matters(const struct network *network)
{
    bool matters = false;
    for (size_t i = 0; !matters && i < network->layer_count; i++)
        matters = network->layers[i].nested ? order_matters(network->layers[i].nested)
                                            : strcmp(network->layers[i].class_name, "MultiHeadAttention") == 0;
    return matters;
}

/* Runs what the outputs need as Keras 3 does. */
static int run_in_order(struct builder *b, const struct instance *instance, const struct node *out)
{
    struct node_list needed = {0}, sorted = {0};
    for (int i = 0; i < out->ref_count; i++) {
        struct node *node = locate(b, instance, &out->refs[i], true);
        if (node && list_needed(b, instance, node, &needed) < 0)
            return -1;
    }
    if (sort_by_depth(b, instance, &needed, &sorted) < 0)
        return -1;
    for (size_t i = 0; i < sorted.count; i++)
        if (run_node(b, instance, sorted.nodes[i]) < 0)
            return -1;
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
        size_t count = is_input(entry) ? 1 : entry->node_count;
        if (step(b, count + 1) < 0)
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

/* The references of input_layers or output_layers, in the order in which Keras flattens them. */
static int flat_refs(struct builder *b, const struct network *network, const json_t *json, struct node *ret)
{
    static const char *const what = "input_layers, output_layers";
    struct ref_collector collector = {b, ret};
    if (network_visit_refs(json, collect_ref, &collector) < 0) {
        if (b->err->code)
            return -1;
        return h5pt_fail(b->err, H5PT_CONFIG_MALFORMED, network->name, "The %s of the model cannot be read", what);
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
        struct node *node = locate(b, instance, &refs->refs[i], false);
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
    if (instance_init(b, network, &instance) < 0 || flat_refs(b, network, network->inputs, &in) < 0 ||
        flat_refs(b, network, network->outputs, &out) < 0 || give_inputs(b, &instance, &in, inputs) < 0)
        return -1;
    struct value_list outputs = {out.ref_count, ARENA_ARRAY(b->arena, struct keras_value *, (size_t)out.ref_count + 1)};
    if (!outputs.values)
        return h5pt_fail_memory(b->err);
    if (b->model->version.major >= 3 && order_matters(network) && run_in_order(b, &instance, &out) < 0)
        return -1;
    for (int i = 0; i < out.ref_count; i++) {
        struct node *node = locate(b, &instance, &out.refs[i], true);
        if (node && run_node(b, &instance, node) < 0)
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
    if (step(b, network->layer_count + 1) < 0)
        return -1;
    for (size_t i = 0; i < network->layer_count; i++) {
        struct network_layer *entry = &network->layers[i];
        if (!is_input(entry) && call_entry(b, entry, values, NULL, &values) < 0)
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

/* ---- the inputs of the outermost network ---- */

/* The input shape of a Sequential without InputLayer: told by its first layer, or by the Sequential itself. */
static const json_t *first_shape(const struct network *network, const struct network_layer *first)
{
    const json_t *shape = json_object_get(first->config, "batch_input_shape");
    if (!shape)
        shape = json_object_get(first->config, "batch_shape");
    return shape ? shape : network->build_shape;
}

/* Old Keras can lose the input shape altogether; the kernel of the first layer still tells the channels. */
static json_t *shape_from_kernel(const struct builder *b, const struct network_layer *first)
{
    static const struct {
        const char *class_name;
        int rank;
    } known[] = {{"Dense", 2}, {"Conv1D", 3}, {"Conv2D", 4}, {"Conv3D", 5}};
    for (size_t i = 0; i < source_layer_count(b->source); i++) {
        const struct source_layer *layer = source_layer(b->source, i);
        if (strcmp(layer->name, first->name) != 0 || layer->tensor_count == 0)
            continue;
        const struct shape *kernel = &layer->tensors[0].shape;
        for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
            if (strcmp(first->class_name, known[k].class_name) != 0 || kernel->rank != known[k].rank)
                continue;
            json_t *shape = json_array();
            for (int axis = 0; axis + 1 < kernel->rank; axis++)
                (void)json_array_append_new(shape, json_null());
            (void)json_array_append_new(shape, json_integer(kernel->dims[kernel->rank - 2]));
            return shape;
        }
    }
    return NULL;
}

static struct keras_layer *make_input_layer(struct builder *b, const struct network *network,
                                            struct network_layer *first)
{
    const json_t *known = first_shape(network, first);
    json_t *shape = known && !json_is_null(known) ? json_deep_copy(known) : shape_from_kernel(b, first);
    const json_t *dtype = json_object_get(first->config, "dtype");
    json_t *config = json_pack("{s:o?, s:s}", "batch_input_shape", shape, "dtype",
                               json_is_string(dtype) ? json_string_value(dtype) : "float32");
    struct keras_layer *layer = ARENA_NEW(b->arena, struct keras_layer);
    const char *name = arena_printf(b->arena, "%s_input", first->name);
    if (!layer || !name || !config || json_array_append(b->keep, config) < 0) {
        json_decref(config);
        h5pt_fail_memory(b->err);
        return NULL;
    }
    json_decref(config);
    *layer = (struct keras_layer){.class_name = "InputLayer", .name = name, .path = name, .json = config, .scope = ""};
    return layer;
}

/* The layer that stands for the input of a Sequential, or for input `index` of a functional network. */
static struct keras_layer *input_layer_of(struct builder *b, struct network *network, const struct network_ref *ref)
{
    if (!network->sequential) {
        struct network_layer *entry = network_find(network, ref->layer);
        if (entry && is_input(entry))
            return entry->layer;
        h5pt_fail(b->err, H5PT_CONFIG_MALFORMED, network->name, "The input \"%.80s\" is not an InputLayer", ref->layer);
        return NULL;
    }
    if (network->layer_count == 0) {
        h5pt_fail(b->err, H5PT_CONFIG_MALFORMED, network->name, "The model has no layers");
        return NULL;
    }
    struct network_layer *first = &network->layers[0];
    if (is_input(first))
        return first->layer;
    if (!first->nested || first->time_distributed)
        return make_input_layer(b, network, first);
    struct node refs = {.state = NODE_NEW};
    if (!first->nested->sequential && flat_refs(b, first->nested, first->nested->inputs, &refs) < 0)
        return NULL;
    return input_layer_of(b, first->nested, refs.refs);
}

static int make_inputs(struct builder *b, struct network *root)
{
    struct node refs = {.ref_count = 1};
    struct network_ref none = {.layer = ""};
    refs.refs = &none;
    if (!root->sequential) {
        refs = (struct node){.state = NODE_NEW};
        if (flat_refs(b, root, root->inputs, &refs) < 0)
            return -1;
    }
    if (refs.ref_count == 0)
        return h5pt_fail(b->err, H5PT_CONFIG_MALFORMED, root->name, "The model has no inputs");
    struct keras_model *model = b->model;
    model->inputs = ARENA_ARRAY(b->arena, struct keras_value *, (size_t)refs.ref_count);
    model->input_names = ARENA_ARRAY(b->arena, const char *, (size_t)refs.ref_count);
    if (!model->inputs || !model->input_names)
        return h5pt_fail_memory(b->err);
    for (int i = 0; i < refs.ref_count; i++) {
        struct keras_layer *layer = input_layer_of(b, root, &refs.refs[i]);
        struct keras_call *call = layer ? build_call(b, layer, NULL, 0, NULL) : NULL;
        if (!call)
            return -1;
        model->inputs[i] = call->outputs[0];
        model->input_names[i] = layer->name;
    }
    model->input_count = refs.ref_count;
    return 0;
}

int expand_model(struct builder *b, struct network *root)
{
    struct keras_model *model = b->model;
    struct value_list outputs;
    if (make_inputs(b, root) < 0 ||
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
