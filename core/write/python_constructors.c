/* SPDX-License-Identifier: Apache-2.0 */
/* Constructors of modules: of torch's own, of parameters, and of the classes of model.py. */
#include "write/python_internal.h"

/* Ends the call with the floating-point type of the parameters, where it is not torch's default one. The classes of model.py
 * itself do not take it. */
static void end_with_dtype(struct strbuf *out, const struct torch_graph *graph, const struct torch_node *node)
{
    enum dtype dtype = node->parameter_count == 0 ? DTYPE_F32 : graph->parameters[node->parameters[0]].dtype;
    bool told = dtype_is_float(dtype) && dtype != DTYPE_F32;
    if (told && !python_is_loop(node->op))
        strbuf_addf(out, ", dtype=torch.%s", dtype_name(dtype));
    strbuf_add(out, ")");
    if (told && python_is_loop(node->op))
        strbuf_addf(out, ".to(torch.%s)", dtype_name(dtype));
}

/* torch.empty(64, 3) */
static void add_empty(struct strbuf *out, const struct python_printer *p, const struct torch_node *node)
{
    const struct torch_parameter *parameter = &p->graph->parameters[node->parameters[0]];
    strbuf_add(out, "torch.empty(");
    for (int i = 0; i < parameter->shape.rank; i++) {
        const struct structure_argument *argument = python_argument_for(p, i);
        strbuf_add(out, i ? ", " : "");
        if (argument)
            python_add_argument(out, p, argument);
        else
            strbuf_addf(out, "%lld", (long long)parameter->shape.dims[i]);
    }
    if (parameter->shape.rank == 0)
        strbuf_add(out, "()");
    if (!dtype_is_float(parameter->dtype))
        strbuf_addf(out, ", dtype=torch.%s", dtype_name(parameter->dtype));
}

bool python_has_option(const struct structure_block *block, int option)
{
    for (int i = 0; i < block->class->slot_count; i++)
        if (block->class->slots[i].option == option)
            return block->items[i].node || block->items[i].block;
    return false;
}

bool python_option_standard(const struct structure_class *class, int option)
{
    int with = 0;
    for (int i = 0; i < class->block_count; i++)
        with += python_has_option(class->blocks[i], option);
    return 2 * with > class->block_count;
}

/* ResidualBlock(64, 256, stride=2) */
static void add_block_arguments(struct strbuf *out, const struct python_printer *p, const struct structure_block *block)
{
    const struct structure_class *class = block->class;
    const char *between = "";
    for (int i = 0; i < class->argument_count; i++) {
        const struct structure_argument *own = &class->arguments[i], *outer = python_argument_for(p, i);
        if (!outer && !block->arguments[i])
            continue;
        strbuf_add(out, between);
        if (own->standard)
            strbuf_addf(out, "%s=", own->name);
        if (outer)
            python_add_argument(out, p, outer);
        else
            python_add_attr(out, block->arguments[i], "");
        between = ", ";
    }
    for (int i = 0; i < class->option_count; i++)
        if (python_has_option(block, i) != python_option_standard(class, i)) {
            strbuf_addf(out, "%s%s=%s", between, class->options[i], python_has_option(block, i) ? "True" : "False");
            between = ", ";
        }
}

const char *python_constructor(struct python_printer *p, int slot)
{
    struct strbuf out = STRBUF_INIT;
    const struct structure_item *item = &p->class->slots[slot].item;
    p->slot = slot;
    p->constructing = true;
    if (item->block) {
        strbuf_addf(&out, "%s(", item->block->class->name);
        add_block_arguments(&out, p, item->block);
        strbuf_add(&out, ")");
    } else if (item->node->op == TORCH_PARAMETER) {
        add_empty(&out, p, item->node);
        end_with_dtype(&out, p->graph, item->node);
    } else {
        strbuf_addf(&out, "%s(", torch_op_info(item->node->op)->module);
        python_add_attributes(&out, p, item->node, "", true);
        end_with_dtype(&out, p->graph, item->node);
    }
    return python_take(p, &out);
}
