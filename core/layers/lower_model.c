/* SPDX-License-Identifier: Apache-2.0 */
/* The driver of the lowering: inputs, every call in order, outputs; then what nobody needs is taken out. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/words.h"
#include "layers/lowering.h"

static int lower_inputs(struct lowering *l)
{
    const struct keras_model *model = l->model;
    struct torch_graph *g = l->graph;
    g->inputs = ARENA_ARRAY(l->arena, struct torch_interface, (size_t)model->input_count + 1);
    if (!g->inputs)
        return h5pt_fail_memory(l->err);
    for (int i = 0; i < model->input_count; i++) {
        const struct keras_value *value = model->inputs[i];
        struct layout layout = l->options->keras_layout ? layout_keras(value->shape.rank) : layout_of_input(l, value);
        struct torch_interface *in = &g->inputs[i];
        *in = (struct torch_interface){.name = model->input_names[i], .keras_shape = value->shape};
        memcpy(in->axes, layout.axes, sizeof in->axes);
        in->permuted = !axes_identity(layout.rank, layout.axes);
        in->value = lowering_value(l, shape_permute(&value->shape, layout.axes), value->dtype, -1,
                                   model->input_names[i]);
        lowering_hold(l, value, (struct lowered){in->value, layout});
    }
    g->input_count = model->input_count;
    return lowering_failed(l) ? -1 : 0;
}

/* The interface keeps Keras' order or has the channels first; anything in between goes back to Keras' order. */
static bool presentable(const struct lowering *l, const struct layout *layout)
{
    if (layout->flat_rank)
        return false;
    if (layout_is_keras(layout))
        return true;
    if (l->options->keras_layout || layout->axes[0] != 0 || layout->axes[1] != layout->rank - 1)
        return false;
    for (int i = 2; i < layout->rank; i++)
        if (layout->axes[i] != i - 1)
            return false;
    return true;
}

static int lower_outputs(struct lowering *l)
{
    const struct keras_model *model = l->model;
    struct torch_graph *g = l->graph;
    g->outputs = ARENA_ARRAY(l->arena, struct torch_interface, (size_t)model->output_count + 1);
    if (!g->outputs)
        return h5pt_fail_memory(l->err);
    for (int i = 0; i < model->output_count; i++) {
        const struct keras_value *value = model->outputs[i];
        const struct holders *h = &l->holders[value->id];
        if (h->count == 0)
            return h5pt_fail(l->err, H5PT_INTERNAL, model->output_names[i], "An output was not lowered");
        struct lowered x = h->items[0];
        struct layout keras = layout_keras(value->shape.rank);
        for (int k = 0; k < h->count && !presentable(l, &x.layout); k++)
            if (presentable(l, &h->items[k].layout))
                x = h->items[k];
        if (!presentable(l, &x.layout)) {
            x = layout_convert(l, value->call, x, &keras);
            lowering_hold(l, value, x);
        }
        struct torch_interface *out = &g->outputs[i];
        *out = (struct torch_interface){.name = model->output_names[i], .value = x.id, .keras_shape = value->shape};
        for (int k = 0; k < x.layout.rank; k++)
            out->axes[k] = layout_axis(&x.layout, k);
        out->permuted = !axes_identity(x.layout.rank, x.layout.axes);
    }
    g->output_count = model->output_count;
    return lowering_failed(l) ? -1 : 0;
}

static int lower_calls(struct lowering *l)
{
    for (int i = 0; i < l->model->call_count; i++) {
        const struct keras_call *call = l->model->calls[i];
        if (strcmp(call->layer->class->name, "InputLayer") == 0)
            continue;
        int status = call->layer->class->handler->lower(l, call);
        for (int k = 0; status == 0 && k < call->output_count; k++)
            if (l->holders[call->outputs[k]->id].count == 0 && lower_output_used(l, call, k))
                h5pt_fail(l->err, H5PT_INTERNAL, call->layer->path, "The layer was not lowered");
        if (status < 0 && !lowering_failed(l))
            h5pt_fail(l->err, H5PT_INTERNAL, call->layer->path, "The layer could not be lowered");
        if (lowering_failed(l)) {
            if (!l->err->where[0])
                (void)strncat(l->err->where, call->layer->path, sizeof l->err->where - 1);
            return -1;
        }
    }
    return 0;
}

/* ---- pruning ---- */

/* Gives the marked items new, dense ids; -1 for the others. Returns how many there are. */
static int renumber(int *marks, int count)
{
    int n = 0;
    for (int i = 0; i < count; i++)
        marks[i] = marks[i] ? n++ : -1;
    return n;
}

/* A module's state_dict begins with its own parameters, then its own buffers, then its submodules: the same order here. */
static int parameter_place(const struct torch_parameter *p)
{
    return strchr(p->name, '.') ? 2 : p->is_buffer ? 1 : 0;
}

/* Gives the parameters of the wanted nodes their new ids, place by place, in the order in which the nodes use them: that of the
 * modules in model.py. -1 for the others. Returns how many there are. */
static int order_parameters(const struct torch_graph *g, const int *nodes, int *ids)
{
    int n = 0;
    for (int i = 0; i < g->parameter_count; i++)
        ids[i] = -1;
    for (int place = 0; place < 3; place++)
        for (int i = 0; i < g->node_count; i++)
            for (int k = 0; nodes[i] >= 0 && k < g->nodes[i].parameter_count; k++) {
                int p = g->nodes[i].parameters[k];
                if (ids[p] < 0 && parameter_place(&g->parameters[p]) == place)
                    ids[p] = n++;
            }
    return n;
}

static int move_parameters(struct lowering *l, const int *map, int count)
{
    struct torch_graph *g = l->graph;
    struct torch_parameter *fresh = ARENA_ARRAY(l->arena, struct torch_parameter, (size_t)count + 1);
    if (!fresh)
        return h5pt_fail_memory(l->err);
    for (int i = 0; i < g->parameter_count; i++)
        if (map[i] >= 0)
            fresh[map[i]] = g->parameters[i];
    g->parameters = fresh;
    g->parameter_count = count;
    return 0;
}

static int *mark_array(struct lowering *l, int count)
{
    int *marks = ARENA_ARRAY(l->arena, int, (size_t)count + 1);
    if (!marks)
        h5pt_fail_memory(l->err);
    return marks;
}

static int *remap_ids(struct lowering *l, const int *ids, int count, const int *map)
{
    int *fresh = mark_array(l, count);
    for (int i = 0; fresh && i < count; i++)
        fresh[i] = map[ids[i]];
    return fresh;
}

int lowering_prune(struct lowering *l, int **ret_map)
{
    struct torch_graph *g = l->graph;
    int *values = mark_array(l, g->value_count), *parameters = mark_array(l, g->parameter_count);
    int *nodes = mark_array(l, g->node_count);
    if (!values || !parameters || !nodes)
        return -1;
    for (int i = 0; i < g->output_count; i++)
        values[g->outputs[i].value] = 1;
    for (int i = 0; i < g->input_count; i++)
        values[g->inputs[i].value] = 1;
    for (int i = g->node_count - 1; i >= 0; i--) {
        const struct torch_node *node = &g->nodes[i];
        bool wanted = false;
        for (int k = 0; k < torch_output_count(node); k++)
            wanted = wanted || values[node->output + k];
        if (!wanted)
            continue;
        nodes[i] = 1;
        for (int k = 0; k < torch_output_count(node); k++) /* they stay together */
            values[node->output + k] = 1;
        for (int k = 0; k < node->input_count; k++)
            values[node->inputs[k]] = 1;
    }
    int value_count = renumber(values, g->value_count), node_count = renumber(nodes, g->node_count);
    int parameter_count = order_parameters(g, nodes, parameters);
    for (int i = 0; i < g->node_count; i++) {
        if (nodes[i] < 0)
            continue;
        struct torch_node node = g->nodes[i];
        node.inputs = remap_ids(l, node.inputs, node.input_count, values);
        node.parameters = remap_ids(l, node.parameters, node.parameter_count, parameters);
        node.output = values[node.output];
        g->nodes[nodes[i]] = node;
    }
    for (int i = 0; i < g->value_count; i++) {
        if (values[i] < 0)
            continue;
        struct torch_value value = g->values[i];
        value.node = value.node < 0 ? -1 : nodes[value.node];
        g->values[values[i]] = value;
    }
    if (move_parameters(l, parameters, parameter_count) < 0)
        return -1;
    for (int i = 0; i < g->input_count; i++)
        g->inputs[i].value = values[g->inputs[i].value];
    for (int i = 0; i < g->output_count; i++)
        g->outputs[i].value = values[g->outputs[i].value];
    g->value_count = value_count;
    g->node_count = node_count;
    *ret_map = values;
    return lowering_failed(l) ? -1 : 0;
}

/* ---- the whole ---- */

/* The class in model.py: the model's name in CamelCase; names that say nothing, or are taken, become "Model". */
static const char *class_name(struct lowering *l)
{
    char *name = arena_strdup(l->arena, l->model->name), *to = name;
    if (!name) {
        h5pt_fail_memory(l->err);
        return "Model";
    }
    bool up = true;
    for (const char *p = name; *p; p++) {
        if (!isalnum((unsigned char)*p)) {
            up = true;
            continue;
        }
        *to++ = up ? (char)toupper((unsigned char)*p) : *p;
        up = false;
    }
    *to = '\0';
    /* "model_3", "sequential_1" are counted names. */
    size_t letters = strcspn(name, "0123456789");
    bool counted = !name[letters + strspn(name + letters, "0123456789")];
    char stem[16] = "";
    if (letters < sizeof stem)
        memcpy(stem, name, letters);
    if (!isalpha((unsigned char)name[0]) || strlen(name) > 60 ||
        (counted && word_index("Model Sequential Functional", stem) >= 0) ||
        word_index("False None True Tensor F", name) >= 0)
        return "Model";
    return name;
}

/* Reads the holders by the ids that survived. */
static int correspond(struct lowering *l, const int *map, struct correspondence *ret)
{
    int keras_count = l->model->value_count, torch_count = l->graph->value_count;
    struct lowered *torch_of = ARENA_ARRAY(l->arena, struct lowered, (size_t)keras_count + 1);
    struct lowered *keras_of = ARENA_ARRAY(l->arena, struct lowered, (size_t)torch_count + 1);
    if (!torch_of || !keras_of)
        return h5pt_fail_memory(l->err);
    for (int i = 0; i < torch_count; i++)
        keras_of[i].id = -1;
    for (int i = 0; i < keras_count; i++) {
        const struct holders *h = &l->holders[i];
        torch_of[i].id = -1;
        for (int k = h->count - 1; k >= 0; k--) {
            int id = map[h->items[k].id];
            if (id < 0)
                continue;
            torch_of[i] = (struct lowered){id, h->items[k].layout};
            keras_of[id] = (struct lowered){i, h->items[k].layout};
        }
    }
    *ret = (struct correspondence){torch_of, keras_of};
    return 0;
}

int lower_model(const struct keras_model *model, const struct lower_options *options, struct arena *arena,
                struct torch_graph *ret, struct correspondence *ret_correspondence, struct h5pt_error *err)
{
    struct h5pt_error local = H5PT_ERROR_INIT;
    struct torch_graph graph = {.arena = arena};
    struct lowering l = {
        .model = model,
        .options = options,
        .arena = arena,
        .graph = &graph,
        .err = &local,
        .holders = ARENA_ARRAY(arena, struct holders, (size_t)model->value_count + 1),
        .modules = json_object(),
        .names = json_object(),
        .parameters = json_object(),
    };
    int status = -1;
    int *map = NULL;
    struct correspondence correspondence;
    if (!l.holders || !l.modules || !l.names || !l.parameters) {
        (void)h5pt_fail_memory(&local);
        goto out;
    }
    graph.name = class_name(&l);
    if (lower_inputs(&l) < 0 || lower_calls(&l) < 0 || lower_outputs(&l) < 0 || lowering_prune(&l, &map) < 0 ||
        correspond(&l, map, &correspondence) < 0)
        goto out;
    *ret = graph;
    *ret_correspondence = correspondence;
    status = 0;
out:
    json_decref(l.modules);
    json_decref(l.names);
    json_decref(l.parameters);
    if (status < 0 && err && !err->code)
        *err = local;
    return status;
}
