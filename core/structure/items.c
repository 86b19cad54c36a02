/* SPDX-License-Identifier: Apache-2.0 */
/* Items of a body: nodes of the graph, and calls of classes. */
#include <string.h>

#include "structure/internal.h"

int item_input_count(const struct structure_item *item)
{
    return item->node ? item->node->input_count : item->block->input_count;
}

const int *item_inputs(const struct structure_item *item)
{
    return item->node ? item->node->inputs : item->block->inputs;
}

int item_output_count(const struct structure_item *item)
{
    return item->node ? torch_output_count(item->node) : item->block->output_count;
}

int item_output(const struct structure_item *item, int index)
{
    return item->node ? item->node->output + index : item->block->outputs[index];
}

bool item_is_activation(const struct structure_item *item)
{
    return item->node && item->node->op >= TORCH_RELU && item->node->op <= TORCH_GLU && item->node->op != TORCH_PRELU &&
           item->node->parameter_count == 0;
}

void item_each_node(const struct structure_item *item, void (*visit)(void *context, struct torch_node *node),
                    void *context)
{
    if (item->node)
        visit(context, item->node);
    for (int i = 0; item->block && i < item->block->class->slot_count; i++)
        item_each_node(&item->block->items[i], visit, context);
}

bool item_may_vary(const struct torch_node *node, const struct torch_attr *attr)
{
    if (node->module)
        return attr->kind == TORCH_ATTR_INT || attr->kind == TORCH_ATTR_FLOAT || attr->kind == TORCH_ATTR_INTS;
    return node->op == TORCH_PAD && strcmp(attr->name, "pad") == 0;
}

/* The sizes of a reshape that are known may differ in one place, which model.py then leaves to torch. */
static void add_sizes(const struct torch_attr *attr, struct strbuf *out)
{
    int open = 0, known = 0;
    for (int i = 0; i < attr->sizes.count; i++) {
        open += attr->sizes.v[i].from_dim < 0 && attr->sizes.v[i].value < 0;
        known += attr->sizes.v[i].from_dim < 0 && attr->sizes.v[i].value > 1;
    }
    strbuf_add(out, " sizes=");
    for (int i = 0; i < attr->sizes.count; i++) {
        const struct torch_size *size = &attr->sizes.v[i];
        if (size->from_dim >= 0)
            strbuf_addf(out, "@%d,", size->from_dim);
        else if (size->value > 1 && !open && known == 1)
            strbuf_add(out, "?,");
        else
            strbuf_addf(out, "%lld,", (long long)size->value);
    }
}

static void add_attr(const struct torch_node *node, const struct torch_attr *attr, bool exact, struct strbuf *out)
{
    if (!exact && item_may_vary(node, attr))
        strbuf_addf(out, " %s%s", attr->name, strcmp(attr->name, "groups") == 0 && attr->i > 1 ? " several" : "");
    else if (!exact && node->op == TORCH_RESHAPE && attr->kind == TORCH_ATTR_SIZES)
        add_sizes(attr, out);
    else
        torch_attr_describe(attr, out);
}

/* What parameters a module has must be the same in all blocks; of a parameter read by the block itself also how many dims. */
static void add_parameters(const struct search *s, const struct torch_node *node, struct strbuf *out)
{
    for (int i = 0; i < node->parameter_count; i++) {
        const struct torch_parameter *p = &s->graph->parameters[node->parameters[i]];
        bool fixed = !p->source && !p->is_buffer;
        strbuf_addf(out, " [%s%s%s", dtype_name(p->dtype), p->is_buffer ? " buffer" : "", fixed ? " fixed" : "");
        if (node->op == TORCH_PARAMETER)
            strbuf_addf(out, " rank %d", p->shape.rank);
        strbuf_add(out, "]");
    }
}

void item_key(const struct search *s, const struct structure_item *item, bool exact, struct strbuf *out)
{
    if (item->block) {
        strbuf_addf(out, "class %p", (const void *)item->block->class);
        return;
    }
    const struct torch_node *node = item->node;
    strbuf_add(out, torch_op_info(node->op)->id);
    if (node->module && exact)
        strbuf_addf(out, " self.%s", node->module);
    else if (node->module)
        strbuf_add(out, " module");
    for (int i = 0; i < node->attr_count; i++)
        add_attr(node, &node->attrs[i], exact, out);
    add_parameters(s, node, out);
}
