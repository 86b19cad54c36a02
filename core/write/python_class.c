/* SPDX-License-Identifier: Apache-2.0 */
/* One class of model.py: __init__ with a line for each module, forward with a line for each call. */
#include <string.h>

#include "write/python_format.h"
#include "write/python_internal.h"

enum { LONGEST_INLINED = 48 };

/* The text of a buffer as one statement. */
static void add_statement(struct strbuf *out, int depth, struct strbuf *line)
{
    python_add_line(out, depth, strbuf_text(line));
    out->broken = out->broken || line->broken;
    strbuf_release(line);
}

/* ---- __init__ ---- */

static bool is_list(const struct torch_attr *attr)
{
    return attr && attr->kind == TORCH_ATTR_INTS;
}

/* The type of an argument: what its values in the blocks are. */
static const char *argument_type(const struct structure_class *class, int index)
{
    const struct torch_attr *standard = class->arguments[index].standard;
    bool lists = is_list(standard), numbers = standard && !lists;
    enum torch_attr_kind kind = standard ? standard->kind : TORCH_ATTR_INT;
    for (int i = 0; i < class->block_count; i++) {
        const struct torch_attr *value = class->blocks[i]->arguments[index];
        if (!value)
            continue;
        lists = lists || is_list(value);
        numbers = numbers || !is_list(value);
        kind = value->kind;
    }
    if (lists)
        return numbers ? "int | tuple[int, ...]" : "tuple[int, ...]";
    return kind == TORCH_ATTR_FLOAT ? "float" : "int";
}

static void add_init_signature(struct strbuf *out, const struct structure_class *class)
{
    struct strbuf line = STRBUF_INIT;
    strbuf_add(&line, "def __init__(self");
    for (int i = 0; i < class->argument_count; i++) {
        strbuf_addf(&line, ", %s: %s", class->arguments[i].name, argument_type(class, i));
        if (class->arguments[i].standard) {
            strbuf_add(&line, " = ");
            python_add_attr(&line, class->arguments[i].standard, "");
        }
    }
    for (int i = 0; i < class->option_count; i++)
        strbuf_addf(&line, ", %s: bool = %s", class->options[i], python_option_standard(class, i) ? "True" : "False");
    strbuf_add(&line, ") -> None:");
    add_statement(out, 1, &line);
}

static bool is_module(const struct structure_slot *slot)
{
    return slot->item.block || slot->item.node->module;
}

/* Whether a slot before has the same module. */
static bool stands_already(const struct structure_class *class, int index)
{
    for (int i = 0; i < index; i++)
        if (is_module(&class->slots[i]) && strcmp(class->slots[i].name, class->slots[index].name) == 0)
            return true;
    return false;
}

static void add_module(struct strbuf *out, struct python_printer *p, int index, int depth)
{
    const struct structure_slot *slot = &p->class->slots[index];
    const struct torch_node *node = slot->item.node;
    const char *text = python_constructor(p, index);
    struct strbuf line = STRBUF_INIT;
    if (!text)
        return;
    if (!node || node->op != TORCH_PARAMETER)
        strbuf_addf(&line, "self.%s = %s", slot->name, text);
    else if (p->graph->parameters[node->parameters[0]].is_buffer)
        strbuf_addf(&line, "self.register_buffer(\"%s\", %s)", slot->name, text);
    else
        strbuf_addf(&line, "self.%s = nn.Parameter(%s)", slot->name, text);
    add_statement(out, depth, &line);
}

/* Parameters that are no weights of the model but numbers that complete a module must not be trained. */
static void add_fixed(struct strbuf *out, const struct python_printer *p, int index, int depth)
{
    static const char *const names[] = {"weight", "bias"};
    const struct torch_node *node = p->class->slots[index].item.node;
    for (int i = 0; node && i < node->parameter_count; i++) {
        const struct torch_parameter *parameter = &p->graph->parameters[node->parameters[i]];
        const char *last = strrchr(parameter->name, '.');
        if (parameter->source || parameter->is_buffer || !dtype_is_float(parameter->dtype))
            continue;
        struct strbuf line = STRBUF_INIT;
        if (node->op == TORCH_PARAMETER)
            strbuf_addf(&line, "self.%s.requires_grad_(False)", p->class->slots[index].name);
        else
            strbuf_addf(&line, "self.%s.%s.requires_grad_(False)", p->class->slots[index].name,
                        last ? last + 1 : names[0]);
        add_statement(out, depth, &line);
    }
}

static void add_init(struct strbuf *out, struct python_printer *p, const char *frozen)
{
    const struct structure_class *class = p->class;
    struct strbuf line = STRBUF_INIT;
    add_init_signature(out, class);
    python_add_line(out, 2, "super().__init__()");
    for (int i = 0; i < class->argument_count; i++)
        if (class->arguments[i].kept) {
            strbuf_addf(&line, "self.%s = %s", class->arguments[i].name, class->arguments[i].name);
            add_statement(out, 2, &line);
        }
    for (int i = 0; i < class->option_count; i++) {
        strbuf_addf(&line, "self.%s = %s", class->options[i], class->options[i]);
        add_statement(out, 2, &line);
    }
    int option = -1;
    for (int i = 0; i < class->slot_count; i++) {
        const struct structure_slot *slot = &class->slots[i];
        if (!is_module(slot) || stands_already(class, i))
            continue;
        if (slot->option != option && slot->option >= 0) {
            strbuf_addf(&line, "if %s:", class->options[slot->option]);
            add_statement(out, 2, &line);
        }
        option = slot->option;
        add_module(out, p, i, option < 0 ? 2 : 3);
        add_fixed(out, p, i, option < 0 ? 2 : 3);
    }
    strbuf_add(out, frozen);
}

/* ---- forward ---- */

static void add_return_type(struct strbuf *line, int count)
{
    if (count == 1) {
        strbuf_add(line, "torch.Tensor");
        return;
    }
    strbuf_add(line, "tuple[");
    for (int i = 0; i < count && count <= 3; i++)
        strbuf_addf(line, "%storch.Tensor", i ? ", " : "");
    strbuf_add(line, count > 3 ? "torch.Tensor, ...]" : "]");
}

static void add_forward_signature(struct strbuf *out, const struct python_printer *p)
{
    struct strbuf line = STRBUF_INIT;
    strbuf_add(&line, "def forward(self");
    for (int i = 0; i < p->class->input_count; i++)
        strbuf_addf(&line, ", %s: torch.Tensor", p->values[i].text);
    strbuf_add(&line, ") -> ");
    add_return_type(&line, p->class->output_count);
    strbuf_add(&line, ":");
    add_statement(out, 1, &line);
}

/* The left-hand side. Recurrent modules give `sequence, h` or `sequence, (h, c)`, blocks of several outputs a tuple. */
static void add_targets(struct strbuf *out, const struct python_printer *p, const struct structure_slot *slot)
{
    const struct python_value *values = &p->values[slot->output];
    strbuf_add(out, values[0].text);
    if (slot->item.block) {
        for (int i = 1; i < slot->output_count; i++)
            strbuf_addf(out, ", %s", values[i].text);
        return;
    }
    if (slot->output_count == 1)
        return;
    bool states = false;
    for (int i = 1; i < slot->output_count; i++)
        states = states || values[i].uses > 0;
    if (!states)
        strbuf_add(out, ", _");
    else if (slot->output_count == 2)
        strbuf_addf(out, ", %s", values[1].text);
    else
        strbuf_addf(out, ", (%s, %s)", values[1].text, values[2].text);
}

/* `x = text`, or `return text` when it is all that is returned. */
static void strbuf_assign(struct strbuf *line, const struct python_printer *p, int index, const char *text)
{
    add_targets(line, p, &p->class->slots[index]);
    strbuf_addf(line, " = %s", text);
}

/* Whether the value of a slot is what forward gives, and nothing else. */
static bool is_result(const struct python_printer *p, int index)
{
    const struct structure_class *class = p->class;
    const struct structure_slot *slot = &class->slots[index];
    return index == class->slot_count - 1 && slot->option < 0 && class->output_count == 1 && slot->output_count == 1 &&
           class->outputs[0] == slot->output;
}

/* Writes the operands of a slot that stand inside its expression as statements of their own. */
static void spell_out_operands(struct strbuf *out, struct python_printer *p, int index, int depth)
{
    const struct structure_slot *slot = &p->class->slots[index];
    for (int i = 0; i < slot->input_count; i++) {
        struct python_value *value = &p->values[slot->inputs[i]];
        if (!value->inlined || p->class->slots[value->maker].item.node->op == TORCH_PARAMETER)
            continue;
        const char *text = value->text;
        struct strbuf line = STRBUF_INIT;
        value->is_operation = value->inlined = false;
        value->text = python_variable(p, slot->inputs[i]);
        strbuf_assign(&line, p, value->maker, text);
        add_statement(out, depth, &line);
        python_hold(p, value->text, slot->inputs[i]);
    }
}

static void name_outputs(struct python_printer *p, const struct structure_slot *slot)
{
    for (int i = 0; i < slot->output_count; i++) {
        p->values[slot->output + i].is_operation = false;
        p->values[slot->output + i].text = python_variable(p, slot->output + i);
    }
}

static void add_slot(struct strbuf *out, struct python_printer *p, int index, int depth)
{
    const struct structure_slot *slot = &p->class->slots[index];
    struct python_value *value = &p->values[slot->output];
    const char *text = python_expression(p, index);
    if (!text)
        return;
    if (value->inlined && strlen(text) <= LONGEST_INLINED) {
        python_consume(p, index);
        value->text = text;
        return;
    }
    value->inlined = false;
    struct strbuf line = STRBUF_INIT;
    bool result = is_result(p, index);
    /* The variable may get a number behind its name. */
    strbuf_addf(&line, result ? "%s %s" : "%s_99 = %s", result ? "return" : python_result_name(p, index), text);
    if (!python_line_fits(depth, strbuf_text(&line))) {
        spell_out_operands(out, p, index, depth);
        text = python_expression(p, index);
    }
    strbuf_release(&line);
    python_consume(p, index);
    if (!text)
        return;
    if (result) {
        value->text = NULL;
        strbuf_addf(&line, "return %s", text);
    } else {
        if (!value->text)
            name_outputs(p, slot);
        strbuf_assign(&line, p, index, text);
        for (int i = 0; i < slot->output_count; i++)
            python_hold(p, p->values[slot->output + i].text, slot->output + i);
    }
    add_statement(out, depth, &line);
}

/* What stands for the result of slots first … end - 1 where they are left out. */
static int left_out(const struct structure_class *class, int first, int end)
{
    int value = class->slots[end - 1].instead;
    for (int i = end - 2; i >= first; i--)
        if (value == class->slots[i].output)
            value = class->slots[i].instead;
    return value;
}

/* How often a run needs a value, as an input and as what stands for its results. */
static int uses_in_run(const struct structure_class *class, int first, int end, int value)
{
    int uses = 0;
    for (int i = first; i < end; i++) {
        for (int k = 0; k < class->slots[i].input_count; k++)
            uses += class->slots[i].inputs[k] == value;
        uses += class->slots[i].instead == value;
    }
    return uses;
}

static bool is_added(const struct structure_class *class, int slot)
{
    return slot < class->slot_count && class->slots[slot].item.node && class->slots[slot].item.node->op == TORCH_ADD;
}

/* `x = …` inside of `if self.residual:` where x is also what is passed on, else `shortcut = x` before it. */
static void begin_option(struct strbuf *out, struct python_printer *p, int first, int end)
{
    const struct structure_class *class = p->class;
    const struct structure_slot *last = &class->slots[end - 1];
    int instead = left_out(class, first, end), inside = uses_in_run(class, first, end, instead), held = -1;
    struct python_value *value = &p->values[last->output];
    const char *before = p->values[instead].text;
    struct strbuf line = STRBUF_INIT;
    const json_t *there = before ? json_object_get(p->held, before) : NULL;
    p->wrong = p->wrong || !there || json_integer_value(there) != instead;
    p->run = NULL;
    for (int i = 0; i < PYTHON_SCRATCH; i++)
        held = p->scratch[i] == instead ? i : held;
    bool spent = held >= 0 ? p->scratch_uses[held] <= inside
                           : p->values[instead].users == 1 && p->values[instead].maker >= 0;
    if (spent && value->users == 1 && !p->careful) {
        value->text = before;
        if (held >= 0) {
            p->scratch[held] = last->output;
            p->scratch_uses[held] = value->uses;
        }
        /* What comes between must not overwrite it while it is needed. */
        p->run = uses_in_run(class, first, end, instead) - uses_in_run(class, first, first + 1, instead) > 0 ? NULL
                                                                                                             : before;
    } else {
        bool shortcut = !p->careful && instead < class->input_count && value->users == 1 &&
                        is_added(class, value->last_use);
        value->text = shortcut ? python_take_name(p, "shortcut") : python_variable(p, last->output);
        strbuf_addf(&line, "%s = %s", value->text, before ? before : "None");
        add_statement(out, 2, &line);
        p->run = value->text;
    }
    strbuf_addf(&line, "if self.%s:", class->options[last->option]);
    add_statement(out, 2, &line);
}

static void add_return(struct strbuf *out, struct python_printer *p)
{
    struct strbuf line = STRBUF_INIT;
    strbuf_add(&line, "return ");
    for (int i = 0; i < p->class->output_count; i++) {
        const struct python_value *value = &p->values[p->class->outputs[i]];
        const json_t *held = value->text ? json_object_get(p->held, value->text) : NULL;
        p->wrong = p->wrong || (!value->inlined && (!held || json_integer_value(held) != p->class->outputs[i]));
        strbuf_addf(&line, "%s%s", i ? ", " : "", value->text ? value->text : "None");
    }
    add_statement(out, 2, &line);
}

static void add_forward(struct strbuf *out, struct python_printer *p)
{
    const struct structure_class *class = p->class;
    add_forward_signature(out, p);
    for (int i = 0; i < class->slot_count && !p->broken; i++) {
        int option = class->slots[i].option;
        if (option >= 0 && structure_run_start(class, i) == i) {
            int end = i + 1;
            while (end < class->slot_count && structure_run_start(class, end) == i)
                end++;
            begin_option(out, p, i, end);
        }
        if (option < 0)
            p->run = NULL;
        add_slot(out, p, i, option >= 0 ? 3 : 2);
        /* Behind a run, taken or not, its variable holds what it makes. */
        if (option >= 0 && (i + 1 == class->slot_count || structure_run_start(class, i + 1) == i + 1))
            python_hold(p, p->values[class->slots[i].output].text, class->slots[i].output);
    }
    if (class->slot_count == 0 || !is_result(p, class->slot_count - 1))
        add_return(out, p);
}

/* The class, with variables used again or (when careful) not. */
static void print_class(struct strbuf *out, struct python_printer *p, const char *docstring, const char *frozen,
                        const char *more)
{
    const struct structure_class *class = p->class;
    p->wrong = false;
    p->run = NULL;
    p->variables = json_object();
    p->held = json_object();
    p->values = ARENA_ARRAY(p->arena, struct python_value, (size_t) class->value_count + 1);
    p->broken = p->broken || !p->variables || !p->held || !p->values;
    if (!p->broken) {
        python_begin_values(p);
        python_name_inputs(p);
        strbuf_addf(out, "\n\nclass %s(nn.Module):\n", class->name);
        if (docstring)
            strbuf_addf(out, "    \"\"\"%s\"\"\"\n\n", docstring);
        add_init(out, p, frozen);
        strbuf_addf(out, "%s\n", more);
        add_forward(out, p);
    }
    json_decref(p->variables);
    json_decref(p->held);
    p->variables = p->held = NULL;
}

void python_add_class(struct strbuf *out, struct python_printer *p, const struct structure_class *class,
                      const char *docstring, const char *frozen, const char *more)
{
    struct strbuf text = STRBUF_INIT;
    p->class = class;
    p->careful = false;
    print_class(&text, p, docstring, frozen, more);
    if (p->wrong && !p->broken) {
        strbuf_release(&text);
        p->careful = true;
        print_class(&text, p, docstring, frozen, more);
        p->unprintable = p->unprintable || p->wrong;
    }
    strbuf_add(out, strbuf_text(&text));
    out->broken = out->broken || text.broken;
    strbuf_release(&text);
}
