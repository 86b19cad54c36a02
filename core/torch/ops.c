/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>

#include "torch/graph.h"

static const struct torch_op_info infos[TORCH_OP_COUNT] = {
#define OP(id, kind, module, callee, attributes) [TORCH_##id] = {#id, TORCH_KIND_##kind, module, callee, attributes},
#include "torch/ops.def"
#undef OP
};

const struct torch_op_info *torch_op_info(enum torch_op op)
{
    return &infos[op];
}

const char *torch_op_name(enum torch_op op, bool module)
{
    const struct torch_op_info *info = &infos[op];
    if (info->module && (module || !info->callee))
        return info->module;
    return info->callee ? info->callee : "slice";
}

const struct torch_attr *torch_attr(const struct torch_node *node, const char *name)
{
    for (int i = 0; i < node->attr_count; i++)
        if (strcmp(node->attrs[i].name, name) == 0)
            return &node->attrs[i];
    return NULL;
}

int64_t torch_attr_int(const struct torch_node *node, const char *name)
{
    const struct torch_attr *attr = torch_attr(node, name);
    return attr && (attr->kind == TORCH_ATTR_INT || attr->kind == TORCH_ATTR_BOOL) ? attr->i : 0;
}

double torch_attr_float(const struct torch_node *node, const char *name)
{
    const struct torch_attr *attr = torch_attr(node, name);
    if (!attr)
        return 0;
    return attr->kind == TORCH_ATTR_FLOAT ? attr->f : attr->kind == TORCH_ATTR_INT ? (double)attr->i : 0;
}

const char *torch_attr_text(const struct torch_node *node, const char *name)
{
    const struct torch_attr *attr = torch_attr(node, name);
    return attr && attr->kind == TORCH_ATTR_TEXT ? attr->text : NULL;
}

int64_t torch_attr_at(const struct torch_node *node, const char *name, int index)
{
    const struct torch_attr *attr = torch_attr(node, name);
    if (attr && attr->kind == TORCH_ATTR_INT)
        return attr->i;
    return attr && attr->kind == TORCH_ATTR_INTS && index >= 0 && index < attr->ints.count ? attr->ints.v[index] : 0;
}

static void add_dims(struct strbuf *out, const char *callee, const struct shape *shape)
{
    strbuf_addf(out, "%s(", callee);
    for (int i = 0; i < shape->rank; i++)
        strbuf_addf(out, "%s%" PRId64, i ? "," : "", shape->dims[i]);
    strbuf_add(out, ")");
}

static void add_list(struct strbuf *out, const char *name, int count, const int *numbers)
{
    strbuf_addf(out, "%s(", name);
    for (int i = 0; i < count; i++)
        strbuf_addf(out, "%s%d", i ? "," : "", numbers[i]);
    strbuf_add(out, ")");
}

/* A step of the description: the ones before it end with a dot. */
static void next_step(struct strbuf *out, size_t start)
{
    strbuf_add(out, out->length > start ? "." : "");
}

/* How the source tensor itself is put together from stored ones. */
static void describe_assembly(const struct source_assembly *a, struct strbuf *out)
{
    const struct source_piece *piece = &a->pieces[0];
    size_t start = out->length;
    if (!shape_equal(&piece->view, &piece->tensor->shape))
        add_dims(out, "view", &piece->view);
    if (!axes_identity(piece->view.rank, piece->axes)) {
        next_step(out, start);
        add_list(out, "permute", piece->view.rank, piece->axes);
    }
    if (a->count > 1) {
        next_step(out, start);
        strbuf_addf(out, "cat(%d)", a->axis);
    }
    if (a->reversed) {
        int axes[SHAPE_MAX_RANK], count = 0;
        for (int i = 0; i < piece->view.rank; i++)
            if (a->reversed >> i & 1U)
                axes[count++] = i;
        next_step(out, start);
        add_list(out, "flip", count, axes);
    }
}

void rearrangement_describe(const struct torch_parameter *parameter, struct strbuf *out)
{
    const struct rearrangement *r = &parameter->rearrangement;
    if (!parameter->source) {
        strbuf_add(out, "constant");
        return;
    }
    size_t start = out->length;
    if (parameter->source->assembly)
        describe_assembly(parameter->source->assembly, out);
    if (parameter->low_rank.a) {
        next_step(out, start);
        strbuf_addf(out, "plus(%g a@b)", parameter->low_rank.scale);
    }
    if (r->part) {
        next_step(out, start);
        strbuf_addf(out, "from %" PRId64, r->offset);
    }
    bool moves = !axes_identity(r->view.rank, r->axes) || r->order_count;
    const struct shape *view = moves ? &r->view : &r->shape;
    if (!shape_equal(view, &parameter->source->shape)) {
        next_step(out, start);
        add_dims(out, "view", view);
    }
    if (!axes_identity(r->view.rank, r->axes)) {
        next_step(out, start);
        add_list(out, "permute", r->view.rank, r->axes);
    }
    if (r->order_count) {
        next_step(out, start);
        add_list(out, "order", r->order_count, r->order);
    }
    if (out->length == start)
        strbuf_add(out, "as is");
}

static void add_typed_shape(struct strbuf *out, enum dtype dtype, const struct shape *shape)
{
    char text[SHAPE_TEXT_SIZE];
    strbuf_addf(out, "%s %s", dtype_name(dtype), shape_text(shape, text));
}

static void add_size(struct strbuf *out, const struct torch_size *size)
{
    if (size->from_dim < 0)
        strbuf_addf(out, "%" PRId64, size->value);
    else
        strbuf_addf(out, "size(%d)", size->from_dim);
}

void torch_attr_describe(const struct torch_attr *attr, struct strbuf *out)
{
    strbuf_addf(out, " %s=", attr->name);
    switch (attr->kind) {
    case TORCH_ATTR_INT: strbuf_addf(out, "%" PRId64, attr->i); break;
    case TORCH_ATTR_BOOL: strbuf_add(out, attr->i ? "True" : "False"); break;
    case TORCH_ATTR_FLOAT: strbuf_add_double(out, attr->f); break;
    case TORCH_ATTR_TEXT: strbuf_add(out, attr->text); break;
    case TORCH_ATTR_INTS:
        strbuf_add(out, "(");
        for (int i = 0; i < attr->ints.count; i++)
            strbuf_addf(out, "%s%" PRId64, i ? ", " : "", attr->ints.v[i]);
        strbuf_add(out, ")");
        break;
    case TORCH_ATTR_SIZES:
        strbuf_add(out, "(");
        for (int i = 0; i < attr->sizes.count; i++) {
            strbuf_add(out, i ? ", " : "");
            add_size(out, &attr->sizes.v[i]);
        }
        strbuf_add(out, ")");
        break;
    }
}

static void dump_node(const struct torch_graph *graph, const struct torch_node *node, struct strbuf *out)
{
    const struct torch_value *value = &graph->values[node->output];
    for (int i = 0; i < torch_output_count(node); i++)
        strbuf_addf(out, "%s%%%d", i ? ", " : "", node->output + i);
    strbuf_addf(out, " = %s", torch_op_info(node->op)->id);
    if (node->module)
        strbuf_addf(out, " %s", node->module);
    strbuf_add(out, "(");
    for (int i = 0; i < node->input_count; i++)
        strbuf_addf(out, "%s%%%d", i ? ", " : "", node->inputs[i]);
    strbuf_add(out, ")");
    for (int i = 0; i < node->attr_count; i++)
        torch_attr_describe(&node->attrs[i], out);
    for (int i = 0; i < node->parameter_count; i++)
        strbuf_addf(out, "%s%s", i ? ", " : " [", graph->parameters[node->parameters[i]].name);
    strbuf_add(out, node->parameter_count ? "] : " : " : ");
    add_typed_shape(out, value->dtype, &value->shape);
    strbuf_add(out, "\n");
}

static void dump_interface(const struct torch_graph *graph, const char *what, const struct torch_interface *interface,
                           struct strbuf *out)
{
    const struct torch_value *value = &graph->values[interface->value];
    strbuf_addf(out, "%s %%%d %s : ", what, interface->value, interface->name);
    add_typed_shape(out, value->dtype, &value->shape);
    if (interface->permuted) {
        strbuf_add(out, " ");
        add_list(out, "permute", value->shape.rank, interface->axes);
    }
    strbuf_add(out, "\n");
}

static void dump_parameter(const struct torch_parameter *parameter, struct strbuf *out)
{
    strbuf_addf(out, "%s %s : ", parameter->is_buffer ? "buffer" : "parameter", parameter->name);
    add_typed_shape(out, parameter->dtype, &parameter->shape);
    strbuf_add(out, " = ");
    if (parameter->source)
        strbuf_addf(out, "%s ", parameter->source->name);
    rearrangement_describe(parameter, out);
    strbuf_add(out, "\n");
}

void torch_dump(const struct torch_graph *graph, struct strbuf *out)
{
    strbuf_addf(out, "torch graph %s\n", graph->name);
    for (int i = 0; i < graph->input_count; i++)
        dump_interface(graph, "input", &graph->inputs[i], out);
    for (int i = 0; i < graph->node_count; i++)
        dump_node(graph, &graph->nodes[i], out);
    for (int i = 0; i < graph->output_count; i++)
        dump_interface(graph, "output", &graph->outputs[i], out);
    for (int i = 0; i < graph->parameter_count; i++)
        dump_parameter(&graph->parameters[i], out);
}
