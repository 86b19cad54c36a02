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
                                     "torch nn F x y float load resize_weights";

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

/* Whether the value that slot `maker` makes can stand inside the expression of slot `user`. */
static bool can_inline(const struct python_printer *p, int maker, int user)
{
    const struct structure_slot *from = &p->class->slots[maker], *to = &p->class->slots[user];
    if (!from->item.node || !to->item.node || has_runtime_sizes(to->item.node) || from->option != to->option)
        return false;
    if (from->item.node->op == TORCH_PARAMETER)
        return true;
    /* Only neighbours: nothing may come between making and using. */
    return maker == user - 1 && from->item.node->call && from->item.node->call == to->item.node->call &&
           from->output_count == 1 && p->values[from->output].uses == 1;
}

/* Notes that a slot (or, behind the last one, the class itself) uses a value. */
static void add_use(struct python_printer *p, int value, int slot)
{
    struct python_value *v = &p->values[value];
    bool same_run = v->last_use >= 0 && slot < p->class->slot_count && v->last_use < p->class->slot_count &&
                    structure_run_start(p->class, slot) == structure_run_start(p->class, v->last_use);
    v->users += !(same_run && p->class->slots[slot].option >= 0);
    v->uses++;
    v->last_use = slot;
}

void python_begin_values(struct python_printer *p)
{
    const struct structure_class *class = p->class;
    for (int v = 0; v < class->value_count; v++)
        p->values[v] = (struct python_value){.maker = -1, .last_use = -1};
    for (int i = 0; i < class->slot_count; i++) {
        const struct structure_slot *slot = &class->slots[i];
        for (int k = 0; k < slot->output_count; k++)
            p->values[slot->output + k].maker = i;
        for (int k = 0; k < slot->input_count; k++)
            add_use(p, slot->inputs[k], i);
        /* Where the slot is left out, another value stands for what it makes. */
        if (slot->option >= 0)
            add_use(p, slot->instead, i);
    }
    for (int i = 0; i < class->output_count; i++)
        add_use(p, class->outputs[i], class->slot_count);
    for (int i = 0; i < class->slot_count; i++)
        for (int k = 0; k < class->slots[i].input_count; k++) {
            struct python_value *value = &p->values[class->slots[i].inputs[k]];
            value->inlined = value->maker >= 0 && can_inline(p, value->maker, i);
        }
    for (int i = 0; i < class->output_count; i++) {
        struct python_value *value = &p->values[class->outputs[i]];
        const struct torch_node *node = value->maker < 0 ? NULL : class->slots[value->maker].item.node;
        value->inlined = node && node->op == TORCH_PARAMETER;
    }
}

const char *python_take_name(struct python_printer *p, const char *wanted)
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
    enum { LONGEST = 28 };
    /* The end of a long name says most. */
    for (const char *cut; hint && strlen(hint) > LONGEST && (cut = strchr(hint, '_')) && cut[1];)
        hint = cut + 1;
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

static const char *const scratch_names[PYTHON_SCRATCH] = {"x", "y"};

static void hold(struct python_printer *p, int scratch, int value)
{
    p->scratch[scratch] = value;
    p->scratch_uses[scratch] = p->values[value].uses;
}

/* What the inputs of a block are called: of a nested model as in Keras, else after what they are. */
static const char *input_name(struct python_printer *p, int input, bool is_model)
{
    static const char *const names[] = {"x", "skip", "other"};
    const struct torch_value *value = &p->graph->values[p->class->values[input]];
    if (is_model)
        return p->graph->inputs[input].name;
    if (value->dtype == DTYPE_BOOL)
        return "mask";
    return names[input < 3 ? input : 2];
}

int python_input_names(const struct torch_graph *graph, struct arena *arena, const char **ret, struct h5pt_error *err)
{
    struct python_printer p = {.graph = graph, .arena = arena, .variables = json_object()};
    p.broken = !p.variables;
    for (int i = 0; i < graph->input_count && !p.broken; i++)
        ret[i] = graph->input_count == 1 ? scratch_names[0]
                                         : python_take_name(&p, variable_name(&p, graph->inputs[i].name));
    json_decref(p.variables);
    return p.broken ? h5pt_fail_memory(err) : 0;
}

void python_name_inputs(struct python_printer *p)
{
    const struct structure_class *class = p->class;
    bool is_model = !class->scope && class->blocks[0]->label && !*class->blocks[0]->label;
    for (int i = 0; i < PYTHON_SCRATCH; i++)
        p->scratch[i] = -1;
    for (int i = 0; i < class->input_count; i++) {
        bool first = i == 0 && (class->input_count == 1 || !is_model);
        if (first) {
            p->values[i].text = scratch_names[0];
            hold(p, 0, i);
        } else {
            p->values[i].text = python_take_name(p, variable_name(p, input_name(p, i, is_model)));
        }
        python_hold(p, p->values[i].text, i);
    }
}

void python_consume(struct python_printer *p, int slot)
{
    const struct structure_slot *s = &p->class->slots[slot];
    for (int i = 0; i < PYTHON_SCRATCH; i++) {
        for (int k = 0; k < s->input_count; k++)
            p->scratch_uses[i] -= s->inputs[k] == p->scratch[i];
        p->scratch_uses[i] -= s->option >= 0 && s->instead == p->scratch[i];
    }
}

const char *python_result_name(const struct python_printer *p, int slot)
{
    const struct structure_class *class = p->class;
    for (int i = slot; class->slots[i].item.node && class->slots[i].input_count == 1;) {
        const struct torch_node *node = class->slots[i].item.node;
        if (node->module)
            return class->slots[i].name;
        int maker = p->values[class->slots[i].inputs[0]].maker;
        if (maker < 0 || !class->slots[maker].item.node || class->slots[maker].item.node->call != node->call)
            break;
        i = maker;
    }
    return class->slots[slot].name;
}

const char *python_variable(struct python_printer *p, int id)
{
    const struct python_value *value = &p->values[id];
    if (value->uses == 0)
        return "_";
    /* Held until the next statement, or while nothing else goes on: no name is worth it. */
    bool next = value->last_use >= p->class->slot_count ||
                structure_run_start(p->class, value->last_use) <= value->maker + 1;
    if (p->run && value->users == 1 && next && !p->careful)
        return p->run;
    for (int i = 0; i < PYTHON_SCRATCH && value->users == 1 && !p->careful; i++) {
        if ((p->scratch[i] >= 0 && p->scratch_uses[i] > 0) || (!next && i > 0))
            continue;
        hold(p, i, id);
        return scratch_names[i];
    }
    return python_take_name(p, variable_name(p, python_result_name(p, value->maker)));
}

/* ---- checking ---- */

void python_hold(struct python_printer *p, const char *variable, int value)
{
    if (variable && json_object_set_new_nocheck(p->held, variable, json_integer(value)) < 0)
        p->broken = true;
}

void python_check_operands(struct python_printer *p, int slot)
{
    const struct structure_slot *s = &p->class->slots[slot];
    for (int i = 0; i < s->input_count; i++) {
        const struct python_value *value = &p->values[s->inputs[i]];
        if (value->inlined)
            continue;
        const json_t *held = value->text ? json_object_get(p->held, value->text) : NULL;
        if (!held || json_integer_value(held) != s->inputs[i])
            p->wrong = true;
    }
}
