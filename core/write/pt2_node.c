/* SPDX-License-Identifier: Apache-2.0 */
/* Calls as nodes of the program: operators, and the arithmetic of sizes. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/strbuf.h"
#include "write/pt2_internal.h"

static json_t *argument(const char *name, json_t *value, bool keyword)
{
    return json_pack("{s:s, s:o, s:i}", "name", name, "arg", value, "kind", keyword ? 2 : 1);
}

static void add_node(struct pt2_printer *p, const char *target, const char *name, const char *stack, json_t *inputs,
                     json_t *outputs)
{
    pt2_append(p, p->nodes,
               json_pack("{s:s, s:s, s:o, s:o, s:{s:s}}", "target", target, "name", name, "inputs", inputs, "outputs",
                         outputs, "metadata", "nn_module_stack", stack));
}

/* ---- which module a call belongs to ---- */

static const char *root_stack(struct pt2_printer *p)
{
    const char *text = arena_printf(p->arena, "L__self__,,%s", p->graph->torch->name);
    p->broken = p->broken || !text;
    return text ? text : "";
}

/* "L__self__,,Model;L__self___conv,conv,torch.nn.Conv2d": the modules from the outermost, as torch.export.unflatten reads them. A
 * further call of a module is told from the first by a number. */
static const char *module_stack(struct pt2_printer *p, const struct torch_node *node)
{
    if (!node->module || node->op == TORCH_PARAMETER)
        return p->root;
    const char *class = torch_op_info(node->op)->module;
    json_int_t call = json_integer_value(json_object_get(p->module_calls, node->module));
    char again[24] = "";
    if (call > 0)
        (void)snprintf(again, sizeof again, "@%lld", (long long)call);
    pt2_set(p, p->module_calls, node->module, json_integer(call + 1));
    const char *text = arena_printf(p->arena, "%s;L__self___%s%s,%s,%s%s", p->root, node->module, again, node->module,
                                    class && strncmp(class, "nn.", 3) == 0 ? "torch." : "", class ? class : "");
    p->broken = p->broken || !text;
    return text ? text : "";
}

/* ---- sizes ---- */

/* A number, or the node that gives an expression. */
static json_t *size_json(const struct pt2_printer *p, const struct aten_int *x)
{
    if (x->kind == ATEN_NUMBER)
        return json_pack("{s:I}", "as_int", (json_int_t)x->value);
    return json_pack("{s:s}", "as_name", p->sizes[x->id]);
}

static json_t *size_argument(const struct pt2_printer *p, const struct aten_int *x)
{
    return x->kind == ATEN_NUMBER ? size_json(p, x) : json_pack("{s:o}", "as_sym_int", size_json(p, x));
}

/* Adds a node that gives `size`; returns its name. */
static const char *add_size_node(struct pt2_printer *p, const char *target, const char *name,
                                 const struct aten_int *size, json_t *inputs)
{
    const char *own = pt2_name(p, name);
    pt2_set(p, p->sym_int_values, own, pt2_size(p, size));
    add_node(p, target, own, p->root, inputs, json_pack("[{s:{s:s}}]", "as_sym_int", "as_name", own));
    return own;
}

/* What stands on a side of an operation: a node, or (NULL) a number. */
static json_t *side(const char *node, int64_t number)
{
    return node ? json_pack("{s:{s:s}}", "as_sym_int", "as_name", node)
                : json_pack("{s:I}", "as_int", (json_int_t)number);
}

static const char *operate(struct pt2_printer *p, const char *target, const char *name, json_t *a, json_t *b,
                           const struct aten_int *size)
{
    json_t *inputs = json_array();
    pt2_append(p, inputs, argument("a", a, false));
    pt2_append(p, inputs, argument("b", b, false));
    return add_size_node(p, target, name, size, inputs);
}

/* Term by term; each step is the sum so far. */
static const char *add_sum(struct pt2_printer *p, const struct aten_int *x)
{
    struct aten_int so_far = {.kind = ATEN_SUM, .terms = x->terms};
    const char *sum = NULL;
    for (int i = 0; i < x->term_count; i++) {
        const struct aten_term *term = &x->terms[i];
        const struct aten_int scaled = {
            .kind = ATEN_SUM, .term_count = 1, .terms = term, .value = term->factor * term->of->value};
        const char *part = p->sizes[term->of->id];
        if (term->factor != 1)
            part = operate(p, "_operator.mul", "mul", side(part, 0), side(NULL, term->factor), &scaled);
        so_far.term_count++;
        so_far.value += scaled.value;
        sum = sum ? operate(p, "_operator.add", "add", side(sum, 0), side(part, 0), &so_far) : part;
    }
    return x->constant ? operate(p, "_operator.add", "add", side(sum, 0), side(NULL, x->constant), x) : sum;
}

static const char *add_symbol(struct pt2_printer *p, const struct aten_int *x)
{
    json_t *inputs = json_array();
    pt2_append(p, inputs, argument("self", json_pack("{s:{s:s}}", "as_tensor", "name", p->values[x->home]), false));
    pt2_append(p, inputs, argument("dim", json_pack("{s:i}", "as_int", x->dim), false));
    return add_size_node(p, "torch.ops.aten.sym_size.int", "sym_size_int", x, inputs);
}

/* Adds the nodes that give an expression, those of its parts first. */
static void make_size(struct pt2_printer *p, const struct aten_int *x)
{
    if (x->kind == ATEN_NUMBER || p->sizes[x->id] || p->broken)
        return;
    for (int i = 0; i < x->term_count; i++)
        make_size(p, x->terms[i].of);
    if (x->a)
        make_size(p, x->a);
    if (x->b)
        make_size(p, x->b);
    switch (x->kind) {
    case ATEN_NUMBER: break;
    case ATEN_SYMBOL: p->sizes[x->id] = add_symbol(p, x); break;
    case ATEN_SUM: p->sizes[x->id] = add_sum(p, x); break;
    case ATEN_PRODUCT:
        p->sizes[x->id] = operate(p, "_operator.mul", "mul", size_argument(p, x->a), size_argument(p, x->b), x);
        break;
    case ATEN_QUOTIENT:
        p->sizes[x->id] = operate(p, "_operator.floordiv", "floordiv", size_argument(p, x->a), size_argument(p, x->b),
                                  x);
        break;
    case ATEN_MAX:
        p->sizes[x->id] = operate(p, "torch.sym_max", "sym_max", size_argument(p, x->a), size_argument(p, x->b), x);
        break;
    }
}

/* Whether all that an expression is made of exists already. */
static bool is_ready(const struct pt2_printer *p, const struct aten_int *x)
{
    if (x->kind == ATEN_SYMBOL)
        return p->values[x->home] != NULL;
    for (int i = 0; i < x->term_count; i++)
        if (!is_ready(p, x->terms[i].of))
            return false;
    return (!x->a || is_ready(p, x->a)) && (!x->b || is_ready(p, x->b));
}

/* The sizes that the arguments need. A node between those of one module would end its part in torch.export.unflatten, so all that
 * can be computed from the inputs comes first, before all calls. */
static void make_sizes(struct pt2_printer *p, const struct aten_call *call)
{
    for (int i = 0; i < call->arg_count; i++) {
        const struct aten_arg *arg = &call->args[i];
        for (int k = 0; arg->kind == ATEN_ARG_INTS && k < arg->count; k++)
            if (is_ready(p, arg->sizes[k]))
                make_size(p, arg->sizes[k]);
        if (arg->kind == ATEN_ARG_INT && is_ready(p, arg->size))
            make_size(p, arg->size);
    }
}

/* ---- arguments ---- */

static json_t *real_json(double value)
{
    if (isnan(value))
        return json_string("NaN");
    return isinf(value) ? json_string(value > 0 ? "Infinity" : "-Infinity") : json_real(value);
}

static json_t *tensors_json(struct pt2_printer *p, const struct aten_arg *arg)
{
    bool optional = false;
    json_t *list = json_array();
    for (int i = 0; i < arg->count; i++)
        optional = optional || arg->tensors[i] == ATEN_NO_TENSOR;
    for (int i = 0; i < arg->count; i++) {
        json_t *item = arg->tensors[i] == ATEN_NO_TENSOR ? json_pack("{s:b}", "as_none", 1)
                                                         : json_pack("{s:s}", "name", p->values[arg->tensors[i]]);
        bool wrap = optional && arg->tensors[i] != ATEN_NO_TENSOR;
        pt2_append(p, list, wrap ? json_pack("{s:o}", "as_tensor", item) : item);
    }
    return json_pack("{s:o}", optional ? "as_optional_tensors" : "as_tensors", list);
}

static json_t *sizes_json(struct pt2_printer *p, const struct aten_arg *arg)
{
    bool known = true;
    json_t *list = json_array();
    for (int i = 0; i < arg->count; i++)
        known = known && arg->sizes[i]->kind == ATEN_NUMBER;
    for (int i = 0; i < arg->count; i++)
        pt2_append(p, list, known ? json_integer(arg->sizes[i]->value) : size_json(p, arg->sizes[i]));
    return json_pack("{s:o}", known ? "as_ints" : "as_sym_ints", list);
}

static json_t *reals_json(struct pt2_printer *p, const struct aten_arg *arg)
{
    json_t *list = json_array();
    for (int i = 0; i < arg->count; i++)
        pt2_append(p, list, real_json(arg->reals[i]));
    return json_pack("{s:o}", "as_floats", list);
}

static json_t *value_json(struct pt2_printer *p, const struct aten_arg *arg)
{
    switch (arg->kind) {
    case ATEN_ARG_NONE: return json_pack("{s:b}", "as_none", 1);
    case ATEN_ARG_TENSOR: return json_pack("{s:{s:s}}", "as_tensor", "name", p->values[arg->tensor]);
    case ATEN_ARG_TENSORS: return tensors_json(p, arg);
    case ATEN_ARG_INT: return size_argument(p, arg->size);
    case ATEN_ARG_INTS: return sizes_json(p, arg);
    case ATEN_ARG_FLOAT: return json_pack("{s:o}", "as_float", real_json(arg->real));
    case ATEN_ARG_FLOATS: return reals_json(p, arg);
    case ATEN_ARG_BOOL: return json_pack("{s:b}", "as_bool", arg->flag);
    case ATEN_ARG_TRAINING: return json_pack("{s:b}", "as_bool", 0);
    case ATEN_ARG_TEXT: return json_pack("{s:s}", "as_string", arg->text);
    case ATEN_ARG_DTYPE: return json_pack("{s:i}", "as_scalar_type", pt2_dtype(arg->dtype));
    case ATEN_ARG_DEVICE: return json_pack("{s:{s:s, s:n}}", "as_device", "type", "cpu", "index");
    }
    return NULL;
}

/* ---- calls ---- */

/* Names the outputs after the operator and adds what is known of them. */
static json_t *outputs_json(struct pt2_printer *p, const struct aten_call *call, const char *name)
{
    json_t *outputs = json_array();
    for (int i = 0; i < call->output_count; i++) {
        int value = call->output + i;
        p->values[value] = call->output_count == 1 && !call->list ? name : pt2_name(p, "getitem");
        pt2_set(p, p->tensor_values, p->values[value], pt2_meta(p, &p->graph->values[value].meta, false));
        json_t *output = json_pack("{s:s}", "name", p->values[value]);
        pt2_append(p, outputs, call->list ? output : json_pack("{s:o}", "as_tensor", output));
    }
    return call->list ? json_pack("[{s:o}]", "as_tensors", outputs) : outputs;
}

static void add_call(struct pt2_printer *p, const struct aten_call *call, const char *stack)
{
    char base[64], target[96];
    (void)snprintf(base, sizeof base, "%.*s", (int)strcspn(call->op, "."), call->op);
    (void)snprintf(target, sizeof target, "torch.ops.aten.%s", call->op);
    json_t *inputs = json_array();
    for (int i = 0; i < call->arg_count; i++)
        pt2_append(p, inputs, argument(call->args[i].name, value_json(p, &call->args[i]), call->args[i].keyword));
    const char *name = pt2_name(p, base);
    add_node(p, target, name, stack, inputs, outputs_json(p, call, name));
}

/* ---- loops ---- */

static json_t *named(struct pt2_printer *p, int value)
{
    return json_pack("{s:{s:s}}", "as_tensor", "name", p->values[value]);
}

static json_t *named_list(struct pt2_printer *p, int count, const int *values)
{
    json_t *list = json_array();
    for (int i = 0; i < count; i++)
        pt2_append(p, list, json_pack("{s:s}", "name", p->values[values[i]]));
    return argument("", json_pack("{s:o}", "as_tensors", list), false);
}

/* Appends value unless it is made by a step or there already. */
static void add_capture(const struct aten_scan *scan, int value, int *captures, int *count)
{
    if (value < 0 || value >= scan->carried[0])
        return;
    for (int i = 0; i < *count; i++)
        if (captures[i] == value)
            return;
    captures[(*count)++] = value;
}

/* The values from outside that a step uses, in the arena. */
static int *captures_of(struct pt2_printer *p, const struct aten_call *calls, const struct aten_scan *scan,
                        int *ret_count)
{
    int *captures = ARENA_ARRAY(p->arena, int, (size_t)scan->carried[0] + 1);
    *ret_count = 0;
    p->broken = p->broken || !captures;
    for (int i = 0; captures && i < scan->call_count; i++)
        for (int k = 0; k < calls[i].arg_count; k++) {
            const struct aten_arg *arg = &calls[i].args[k];
            if (arg->kind == ATEN_ARG_TENSOR)
                add_capture(scan, arg->tensor, captures, ret_count);
            for (int n = 0; arg->kind == ATEN_ARG_TENSORS && n < arg->count; n++)
                add_capture(scan, arg->tensors[n], captures, ret_count);
        }
    for (int i = 0; captures && i < scan->given_count + scan->carried_count; i++)
        add_capture(scan, i < scan->given_count ? scan->given[i] : scan->next[i - scan->given_count], captures,
                    ret_count);
    return captures;
}

/* Values become arguments of the step's graph, under names of their own. */
static void add_placeholders(struct pt2_printer *p, int count, const int *values, json_t *inputs)
{
    for (int i = 0; i < count; i++) {
        const char *name = p->values[values[i]] = pt2_name(p, "step_arg");
        pt2_append(p, inputs, named(p, values[i]));
        pt2_set(p, p->tensor_values, name, pt2_meta(p, &p->graph->values[values[i]].meta, false));
    }
}

/* The graph of a step: what is carried over, the parts of the sequences, what comes from outside. */
static json_t *step_graph(struct pt2_printer *p, const struct aten_call *call, int capture_count, const int *captures)
{
    const struct aten_scan *scan = call->scan;
    struct pt2_printer outer = *p;
    const char **outside = ARENA_ARRAY(p->arena, const char *, (size_t)capture_count + 1);
    json_t *inputs = json_array(), *outputs = json_array();
    p->broken = p->broken || !outside;
    p->nodes = json_array();
    p->tensor_values = json_object();
    p->sym_int_values = json_object();
    for (int i = 0; outside && i < capture_count; i++)
        outside[i] = p->values[captures[i]];
    add_placeholders(p, scan->carried_count, scan->carried, inputs);
    add_placeholders(p, scan->sequence_count, scan->parts, inputs);
    add_placeholders(p, capture_count, captures, inputs);
    for (int i = 1; i <= scan->call_count && !p->broken; i++)
        add_call(p, call + i, p->root);
    for (int i = 0; i < scan->carried_count && !p->broken; i++)
        pt2_append(p, outputs, named(p, scan->next[i]));
    for (int i = 0; i < scan->given_count && !p->broken; i++)
        pt2_append(p, outputs, named(p, scan->given[i]));
    for (int i = 0; outside && i < capture_count; i++)
        p->values[captures[i]] = outside[i];
    json_t *graph = json_pack("{s:o, s:o, s:o, s:o, s:o, s:{}, s:b, s:{}, s:{}}", "inputs", inputs, "outputs", outputs,
                              "nodes", p->nodes, "tensor_values", p->tensor_values, "sym_int_values", p->sym_int_values,
                              "sym_bool_values", "is_single_tensor_return", 0, "custom_obj_values", "sym_float_values");
    p->nodes = outer.nodes;
    p->tensor_values = outer.tensor_values;
    p->sym_int_values = outer.sym_int_values;
    return graph;
}

static void add_scan(struct pt2_printer *p, const struct aten_call *call, const char *stack)
{
    const struct aten_scan *scan = call->scan;
    int count;
    const int *captures = captures_of(p, call + 1, scan, &count);
    if (!captures)
        return;
    const char *name = pt2_name(p, "scan");
    json_t *inputs = json_array();
    json_t *step = json_pack("{s:{s:s, s:o}}", "as_graph", "name", pt2_name(p, "scan_combine_graph"), "graph",
                             step_graph(p, call, count, captures));
    pt2_append(p, inputs, argument("", step, false));
    pt2_append(p, inputs, named_list(p, scan->carried_count, scan->initial));
    pt2_append(p, inputs, named_list(p, scan->sequence_count, scan->sequences));
    pt2_append(p, inputs, named_list(p, count, captures));
    pt2_append(p, p->nodes,
               json_pack("{s:s, s:s, s:o, s:o, s:b, s:{s:s}}", "target", "torch.ops.higher_order.scan", "name", name,
                         "inputs", inputs, "outputs", outputs_json(p, call, name), "is_hop_single_tensor_return", 0,
                         "metadata", "nn_module_stack", stack));
}

void pt2_add_nodes(struct pt2_printer *p)
{
    const struct aten_graph *g = p->graph;
    const struct torch_node *node = NULL;
    const char *stack = p->root = root_stack(p);
    for (int i = 0; i < g->call_count && !p->broken; i++)
        make_sizes(p, &g->calls[i]);
    for (int i = 0; i < g->call_count && !p->broken; i++) {
        make_sizes(p, &g->calls[i]);
        if (g->calls[i].node != node)
            stack = module_stack(p, g->calls[i].node);
        node = g->calls[i].node;
        if (g->calls[i].scan) {
            add_scan(p, &g->calls[i], stack);
            i += g->calls[i].scan->call_count;
        } else {
            add_call(p, &g->calls[i], stack);
        }
    }
}
