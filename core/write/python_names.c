/* SPDX-License-Identifier: Apache-2.0 */
/* Which values get a variable, and what it is called. A chain runs through `x`, as a person would write it; a value that is
 * used several times, or made while x is still needed, is called after its layer. */
#include <ctype.h>
#include <string.h>

#include "base/words.h"
#include "write/python_internal.h"

static const char reserved_words[] = "False None True and as assert async await break class continue def del elif else "
                                     "except finally for from global if "
                                     "import in is lambda nonlocal not or pass raise return try while with yield self "
                                     "torch nn F x float load resize_weights";

/* Functions that model.py may define; a variable of that name would hide them. */
static bool is_helper(const char *name)
{
    for (int op = 0; op < TORCH_OP_COUNT; op++) {
        const struct torch_op_info *info = torch_op_info((enum torch_op)op);
        if (info->callee && info->kind != TORCH_KIND_METHOD && strcmp(info->callee, name) == 0)
            return true;
    }
    return false;
}

static bool has_runtime_sizes(const struct torch_node *node)
{
    for (int i = 0; i < node->attr_count; i++) {
        const struct torch_attr *attr = &node->attrs[i];
        for (int k = 0; attr->kind == TORCH_ATTR_SIZES && k < attr->sizes.count; k++)
            if (attr->sizes.v[k].from_dim >= 0)
                return true;
    }
    return false;
}

void python_plan_inlining(struct python_printer *p)
{
    const struct torch_graph *g = p->graph;
    for (int i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->nodes[i].input_count; k++)
            p->values[g->nodes[i].inputs[k]].uses++;
    for (int i = 0; i < g->output_count; i++)
        p->values[g->outputs[i].value].uses++;
    for (int i = 0; i < g->node_count; i++) {
        const struct torch_node *node = &g->nodes[i];
        for (int k = 0; k < node->input_count; k++) {
            struct python_value *value = &p->values[node->inputs[k]];
            int maker = g->values[node->inputs[k]].node;
            if (maker < 0 || has_runtime_sizes(node))
                continue;
            bool parameter = g->nodes[maker].op == TORCH_PARAMETER;
            bool same_layer = g->nodes[maker].call == node->call && value->uses == 1 && node->call &&
                              torch_output_count(&g->nodes[maker]) == 1;
            /* Only neighbours: nothing may come between making and using. */
            value->inlined = parameter || (same_layer && maker == i - 1);
        }
    }
    for (int i = 0; i < g->output_count; i++) {
        int maker = g->values[g->outputs[i].value].node;
        p->values[g->outputs[i].value].inlined = maker >= 0 && g->nodes[maker].op == TORCH_PARAMETER;
    }
}

static const char *take_name(struct python_printer *p, const char *wanted)
{
    for (int i = 1;; i++) {
        const char *name = i == 1 ? arena_strdup(p->arena, wanted) : arena_printf(p->arena, "%s_%d", wanted, i);
        if (!name) {
            p->broken = true;
            return "x";
        }
        if (word_index(reserved_words, name) >= 0 || is_helper(name) || json_object_get(p->variables, name))
            continue;
        p->broken = p->broken || json_object_set_new(p->variables, name, json_true()) < 0;
        return name;
    }
}

/* A layer name as a variable: lower case, identifiers only. */
static const char *variable_name(struct python_printer *p, const char *hint)
{
    char *name = arena_strdup(p->arena, hint && *hint ? hint : "value");
    if (!name) {
        p->broken = true;
        return "value";
    }
    for (char *c = name; *c; c++)
        *c = isalnum((unsigned char)*c) && (unsigned char)*c < 128 ? (char)tolower((unsigned char)*c) : '_';
    if (isdigit((unsigned char)name[0]) || name[0] == '_')
        name = arena_printf(p->arena, "value_%s", name + strspn(name, "_"));
    p->broken = p->broken || !name;
    return name ? name : "value";
}

void python_name_inputs(struct python_printer *p)
{
    const struct torch_graph *g = p->graph;
    p->holder_of_x = -1;
    for (int i = 0; i < g->input_count; i++) {
        int id = g->inputs[i].value;
        if (g->input_count == 1) {
            p->values[id].text = "x";
            p->holder_of_x = id;
            p->holder_uses = p->values[id].uses;
        } else {
            p->values[id].text = take_name(p, variable_name(p, g->inputs[i].name));
        }
    }
}

void python_consume(struct python_printer *p, const struct torch_node *node)
{
    for (int i = 0; i < node->input_count; i++)
        if (node->inputs[i] == p->holder_of_x)
            p->holder_uses--;
}

const char *python_variable(struct python_printer *p, int id)
{
    const struct python_value *value = &p->values[id];
    if (value->uses == 0)
        return "_";
    if (value->uses == 1 && (p->holder_of_x < 0 || p->holder_uses <= 0)) {
        p->holder_of_x = id;
        p->holder_uses = value->uses;
        return "x";
    }
    return take_name(p, variable_name(p, p->graph->values[id].hint));
}
