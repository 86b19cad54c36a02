/* SPDX-License-Identifier: Apache-2.0 */
#include "write/python.h"

#include <string.h>

#include "write/python_internal.h"

/* ---- the pieces ---- */

static void add_dims(struct strbuf *out, const struct shape *shape)
{
    strbuf_add(out, "(");
    for (int i = 0; i < shape->rank; i++) {
        strbuf_add(out, i ? ", " : "");
        if (shape->dims[i] >= 0)
            strbuf_addf(out, "%lld", (long long)shape->dims[i]);
        else
            strbuf_add(out, i == 0 ? "batch" : "any");
    }
    strbuf_add(out, shape->rank == 1 ? ",)" : ")");
}

/* Text of the file in a docstring: nothing that could end it, or the line. */
static void add_plain(struct strbuf *out, const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text >= ' ' && *text != '"' && *text != '\\' && (unsigned char)*text != 127)
            strbuf_add_bytes(out, text, 1);
}

static void add_interface(struct strbuf *out, const struct torch_graph *g, const char *title,
                          const struct torch_interface *items, int count, const struct python_value *names)
{
    strbuf_addf(out, "\n%s:\n", title);
    for (int i = 0; i < count; i++) {
        const struct torch_value *value = &g->values[items[i].value];
        strbuf_add(out, "    ");
        add_plain(out, names ? names[items[i].value].text : items[i].name);
        strbuf_addf(out, ": %s ", dtype_name(value->dtype));
        add_dims(out, &value->shape);
        if (items[i].permuted) {
            strbuf_add(out, "; in Keras ");
            add_dims(out, &items[i].keras_shape);
        }
        strbuf_add(out, "\n");
    }
}

static bool uses_functional(const struct torch_graph *g)
{
    for (int i = 0; i < g->node_count; i++) {
        const struct torch_op_info *info = torch_op_info(g->nodes[i].op);
        if (python_is_loop(g->nodes[i].op))
            return true;
        bool function = !g->nodes[i].module && info->callee;
        bool helper = function && !strchr(info->callee, '.') && strchr(info->callee, '_') &&
                      info->kind == TORCH_KIND_FUNCTION;
        if (function && (helper || strncmp(info->callee, "F.", 2) == 0))
            return true;
    }
    return false;
}

static void add_head(struct strbuf *out, const struct python_printer *p)
{
    const struct torch_graph *g = p->graph;
    strbuf_addf(out, "\"\"\"%s, converted from Keras by h5pt. load() gives it with its weights, in eval mode.\n",
                g->name);
    add_interface(out, g, "Inputs", g->inputs, g->input_count, p->values);
    add_interface(out, g, "Outputs", g->outputs, g->output_count, NULL);
    strbuf_add(out, "\"\"\"\n\nimport torch\nfrom torch import nn\n");
    if (uses_functional(g))
        strbuf_add(out, "from torch.nn import functional as F\n");
    python_add_helpers(g, out);
}

/* One line a module, in the order of first use. */
static void add_constructor(struct strbuf *out, struct python_printer *p)
{
    const struct torch_graph *g = p->graph;
    json_t *done = json_object();
    strbuf_add(out, "    def __init__(self) -> None:\n        super().__init__()\n");
    for (int i = 0; i < g->node_count && done; i++) {
        const struct torch_node *node = &g->nodes[i];
        if (!node->module || json_object_get(done, node->module))
            continue;
        p->broken = p->broken || json_object_set_new(done, node->module, json_true()) < 0;
        const char *text = python_constructor(p, node);
        if (!text)
            break;
        if (node->op != TORCH_PARAMETER)
            strbuf_addf(out, "        self.%s = %s\n", node->module, text);
        else if (g->parameters[node->parameters[0]].is_buffer)
            strbuf_addf(out, "        self.register_buffer(\"%s\", %s)\n", node->module, text);
        else
            strbuf_addf(out, "        self.%s = nn.Parameter(%s)\n", node->module, text);
    }
    p->broken = p->broken || !done;
    json_decref(done);
}

static void add_signature(struct strbuf *out, const struct python_printer *p)
{
    const struct torch_graph *g = p->graph;
    strbuf_add(out, "\n    def forward(self");
    for (int i = 0; i < g->input_count; i++)
        strbuf_addf(out, ", %s: torch.Tensor", p->values[g->inputs[i].value].text);
    strbuf_add(out, ") -> ");
    if (g->output_count == 1) {
        strbuf_add(out, "torch.Tensor");
    } else {
        strbuf_add(out, "tuple[");
        for (int i = 0; i < g->output_count; i++)
            strbuf_addf(out, "%storch.Tensor", i ? ", " : "");
        strbuf_add(out, "]");
    }
    strbuf_add(out, ":\n");
}

/* The left-hand side. Recurrent modules give `sequence, h` or `sequence, (h, c)`. */
static void add_targets(struct strbuf *out, const struct python_printer *p, const struct torch_node *node)
{
    const struct python_value *values = &p->values[node->output];
    strbuf_add(out, values[0].text);
    if (torch_output_count(node) == 1)
        return;
    bool states = false;
    for (int i = 1; i < torch_output_count(node); i++)
        states = states || values[i].uses > 0;
    if (!states)
        strbuf_add(out, ", _");
    else if (torch_output_count(node) == 2)
        strbuf_addf(out, ", %s", values[1].text);
    else
        strbuf_addf(out, ", (%s, %s)", values[1].text, values[2].text);
}

static void add_statement(struct strbuf *out, struct python_printer *p, const struct torch_node *node)
{
    struct python_value *value = &p->values[node->output];
    const char *text = python_expression(p, node);
    if (!text)
        return;
    python_consume(p, node);
    if (value->inlined) {
        value->text = text;
        return;
    }
    value->is_operation = false;
    for (int i = 0; i < torch_output_count(node); i++)
        p->values[node->output + i].text = python_variable(p, node->output + i);
    strbuf_add(out, "        ");
    add_targets(out, p, node);
    strbuf_addf(out, " = %s\n", text);
}

static void add_forward(struct strbuf *out, struct python_printer *p)
{
    const struct torch_graph *g = p->graph;
    add_signature(out, p);
    for (int i = 0; i < g->node_count && !p->broken; i++)
        add_statement(out, p, &g->nodes[i]);
    strbuf_add(out, "        return ");
    for (int i = 0; i < g->output_count; i++) {
        const char *text = p->values[g->outputs[i].value].text;
        strbuf_addf(out, "%s%s", i ? ", " : "", text ? text : "None");
    }
    strbuf_add(out, "\n");
}

static void add_loader(struct strbuf *out, const struct torch_graph *g)
{
    strbuf_addf(out,
                "\n\ndef load(path: str = \"model.pt\") -> %s:\n"
                "    \"\"\"The model with the weights in `path`, in eval mode.\"\"\"\n"
                "    model = %s()\n"
                "    model.load_state_dict(torch.load(path, map_location=\"cpu\", weights_only=True))\n"
                "    return model.eval()\n",
                g->name, g->name);
}

/* A printer with its names of the inputs; to be released also on failure. */
static void printer_init(struct python_printer *p, const struct torch_graph *graph, struct arena *arena)
{
    *p = (struct python_printer){.graph = graph, .arena = arena, .variables = json_object()};
    if (arena)
        p->values = ARENA_ARRAY(arena, struct python_value, (size_t)graph->value_count + 1);
    p->broken = !arena || !p->variables || !p->values;
    if (!p->broken) {
        python_plan_inlining(p);
        python_name_inputs(p);
    }
}

int python_write(const struct torch_graph *graph, struct strbuf *out, struct h5pt_error *err)
{
    struct python_printer p;
    struct arena *arena = arena_new();
    printer_init(&p, graph, arena);
    if (!p.broken) {
        add_head(out, &p);
        strbuf_addf(out, "\n\nclass %s(nn.Module):\n", graph->name);
        add_constructor(out, &p);
        add_forward(out, &p);
        add_loader(out, graph);
    }
    bool ok = !p.broken && strbuf_ok(out);
    json_decref(p.variables);
    arena_free(arena);
    return ok ? 0 : h5pt_fail_memory(err);
}

int python_input_names(const struct torch_graph *graph, struct arena *arena, const char **ret, struct h5pt_error *err)
{
    struct python_printer p;
    printer_init(&p, graph, arena);
    for (int i = 0; i < graph->input_count && !p.broken; i++)
        ret[i] = p.values[graph->inputs[i].value].text;
    json_decref(p.variables);
    return p.broken ? h5pt_fail_memory(err) : 0;
}
