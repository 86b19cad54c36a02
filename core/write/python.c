/* SPDX-License-Identifier: Apache-2.0 */
#include "write/python.h"

#include <ctype.h>
#include <string.h>

#include "keras/model.h"
#include "write/python_format.h"
#include "write/python_internal.h"

/* ---- docstrings ---- */

/* What a free dim is called. */
static const char *dim_name(const struct shape *shape, int dim, bool channels_first)
{
    static const char *const spatial[][3] = {{"length"}, {"height", "width"}, {"depth", "height", "width"}};
    int first = channels_first ? 2 : 1, place = dim - first, dims = shape->rank - 2;
    if (dim == 0)
        return "batch";
    if (!channels_first && shape->rank == 3 && dim == 1)
        return "time";
    if (channels_first && dims >= 1 && dims <= 3 && place >= 0 && place < dims)
        return spatial[dims - 1][place];
    if (!channels_first && shape->rank >= 4 && dims <= 3 && place >= 0 && place < dims)
        return spatial[dims - 1][place];
    return "any";
}

static void add_dims(struct strbuf *out, const struct shape *shape, bool channels_first)
{
    strbuf_add(out, "(");
    for (int i = 0; i < shape->rank; i++) {
        strbuf_add(out, i ? ", " : "");
        if (shape->dims[i] >= 0)
            strbuf_addf(out, "%lld", (long long)shape->dims[i]);
        else
            strbuf_add(out, dim_name(shape, i, channels_first));
    }
    strbuf_add(out, shape->rank == 1 ? ",)" : ")");
}

/* Text of the file in a docstring: nothing that could end it, or the line; whole characters, and not more than leave room in the line. */
static void add_plain(struct strbuf *out, const char *text)
{
    enum { LONGEST = 48 };
    size_t start = out->length;
    while (*text) {
        size_t n = 1;
        while (((unsigned char)text[n] & 0xC0U) == 0x80U)
            n++;
        if (out->length + n > start + LONGEST) {
            strbuf_add(out, "...");
            return;
        }
        if ((unsigned char)*text >= ' ' && *text != '"' && *text != '\\' && (unsigned char)*text != 127)
            strbuf_add_bytes(out, text, n);
        text += n;
    }
}

/* "NCHW" of values whose channels come first. */
static const char *layout_name(int rank)
{
    return rank == 3 ? "NCL" : rank == 4 ? "NCHW" : rank == 5 ? "NCDHW" : "channels first";
}

/* Appends `text` to the docstring, on a line of its own when the line would get too long. */
static void add_part(struct strbuf *out, size_t line_start, const char *text)
{
    if (out->length - line_start + strlen(text) > PYTHON_WIDTH)
        strbuf_addf(out, "\n           %s", text);
    else
        strbuf_add(out, text);
}

static void add_interface(struct strbuf *out, const struct torch_graph *g, const char *title,
                          const struct torch_interface *items, int count, const struct python_value *names)
{
    strbuf_addf(out, "\n    %s:\n", title);
    for (int i = 0; i < count; i++) {
        const struct torch_value *value = &g->values[items[i].value];
        struct strbuf part = STRBUF_INIT;
        size_t start = out->length;
        strbuf_add(out, "        ");
        add_plain(out, names ? names[i].text : items[i].name);
        strbuf_add(out, ":");
        strbuf_addf(&part, " %s ", dtype_name(value->dtype));
        add_dims(&part, &value->shape, items[i].permuted);
        if (items[i].permuted)
            strbuf_addf(&part, ", %s;", layout_name(value->shape.rank));
        add_part(out, start, strbuf_text(&part));
        strbuf_release(&part);
        if (items[i].permuted) {
            strbuf_add(&part, " in Keras ");
            add_dims(&part, &items[i].keras_shape, false);
            add_part(out, start, strbuf_text(&part));
            strbuf_release(&part);
        }
        strbuf_add(out, "\n");
    }
}

/* Layers at the very beginning that scale what comes in. */
static void add_preprocessing(struct strbuf *out, const struct keras_model *model)
{
    struct strbuf layers = STRBUF_INIT;
    int count = 0;
    for (int i = 0; i < model->call_count && count < 3; i++) {
        const struct keras_call *call = model->calls[i];
        const char *class = call->layer->class_name;
        bool reads_input = call->input_count > 0;
        for (int k = 0; k < call->input_count; k++) {
            const struct keras_call *maker = call->inputs[k]->call;
            bool scaling = maker && (strcmp(maker->layer->class_name, "Rescaling") == 0 ||
                                     strcmp(maker->layer->class_name, "Normalization") == 0);
            reads_input = reads_input &&
                          (!maker || strcmp(maker->layer->class_name, "InputLayer") == 0 || (count && scaling));
        }
        if (!reads_input || (strcmp(class, "Rescaling") != 0 && strcmp(class, "Normalization") != 0))
            continue;
        strbuf_add(&layers, count++ ? ", " : "");
        strbuf_add(&layers, class);
    }
    if (count)
        strbuf_addf(
            out,
            "\n    Preprocessing is part of the model (%s): it takes the values\n    that the Keras model takes.\n",
            strbuf_text(&layers));
    strbuf_release(&layers);
}

static void add_docstring(struct strbuf *out, struct python_printer *p, const struct structure_class *root,
                          const struct keras_model *model)
{
    const struct torch_graph *g = p->graph;
    p->class = root;
    p->variables = json_object();
    p->held = json_object();
    p->values = ARENA_ARRAY(p->arena, struct python_value, (size_t)root->value_count + 1);
    p->broken = p->broken || !p->variables || !p->held || !p->values;
    if (p->broken)
        return;
    python_begin_values(p);
    python_name_inputs(p);
    strbuf_add(out, "The Keras model \"");
    add_plain(out, model->name ? model->name : g->name);
    strbuf_add(out, "\".\n");
    add_interface(out, g, "Inputs", g->inputs, g->input_count, p->values);
    add_interface(out, g, "Outputs", g->outputs, g->output_count, NULL);
    add_preprocessing(out, model);
    strbuf_add(out, "    ");
    json_decref(p->variables);
    json_decref(p->held);
}

/* "(batch, 3, 32, 32), (batch, 4)" */
static void add_shapes(struct strbuf *out, const struct python_printer *p, const struct structure_class *class,
                       int count, const int *values)
{
    for (int i = 0; i < count; i++) {
        strbuf_add(out, i ? ", " : "");
        add_dims(out, &p->graph->values[class->values[values ? values[i] : i]].shape, false);
    }
}

/* What a nested model is, and what shapes it takes and gives. */
static void add_scope_docstring(struct strbuf *out, const struct python_printer *p, const struct structure_class *class)
{
    struct strbuf shapes = STRBUF_INIT;
    strbuf_add(out, "The nested model \"");
    add_plain(out, class->scope->path);
    strbuf_add(out, "\".");
    add_shapes(&shapes, p, class, class->input_count, NULL);
    strbuf_add(&shapes, " -> ");
    add_shapes(&shapes, p, class, class->output_count, class->outputs);
    if (shapes.length + PYTHON_INDENT <= PYTHON_WIDTH)
        strbuf_addf(out, "\n\n    %s\n    ", strbuf_text(&shapes));
    out->broken = out->broken || shapes.broken;
    strbuf_release(&shapes);
}

/* ---- the file ---- */

static void add_loader(struct strbuf *out, const char *name)
{
    struct strbuf line = STRBUF_INIT;
    strbuf_addf(&line, "def load(path: str = \"model.pt\") -> %s:", name);
    strbuf_add(out, "\n\n");
    python_add_line(out, 0, strbuf_text(&line));
    strbuf_release(&line);
    strbuf_addf(out,
                "    \"\"\"The model with the weights in `path`, in eval mode.\"\"\"\n"
                "    model = %s()\n"
                "    state = torch.load(path, map_location=\"cpu\", weights_only=True)\n"
                "    model.load_state_dict(state)\n"
                "    return model.eval()\n",
                name);
}

/* Whether "F." stands in the text as a name of its own. */
static bool uses_functional(const char *text)
{
    for (const char *at = text; (at = strstr(at, "F.")); at += 2)
        if (at > text && !isalnum((unsigned char)at[-1]) && at[-1] != '_' && at[-1] != '.')
            return true;
    return false;
}

/* What is not in torch 1.13: an operation, or a setting of one. */
static const struct {
    enum torch_op op;
    const char *attr; /* NULL: the operation itself */
    const char *torch;
} newer[] = {
    {TORCH_SCALED_DOT_PRODUCT_ATTENTION, NULL, "2.0"},
    {TORCH_SCALED_DOT_PRODUCT_ATTENTION, "scale", "2.1"},
    {TORCH_LAYER_NORM, "bias", "2.1"},
    {TORCH_ALL, "dim", "2.2"},
    {TORCH_ANY, "dim", "2.2"},
};

/* Whether the attribute has a value that older ones do not take: several dims, bias=False, a scale. */
static bool has_newer_value(const struct torch_attr *attr)
{
    return attr && (attr->kind == TORCH_ATTR_INTS   ? attr->ints.count > 1
                    : attr->kind == TORCH_ATTR_BOOL ? attr->i == 0
                                                    : attr->kind == TORCH_ATTR_FLOAT);
}

/* The oldest torch that can run model.py, where 1.13 cannot; else NULL. */
static const char *oldest_torch(const struct torch_graph *g)
{
    const char *oldest = NULL;
    for (int i = 0; i < g->node_count; i++)
        for (size_t k = 0; k < sizeof newer / sizeof newer[0]; k++)
            if (g->nodes[i].op == newer[k].op && (!oldest || strcmp(newer[k].torch, oldest) > 0) &&
                (!newer[k].attr || has_newer_value(torch_attr(&g->nodes[i], newer[k].attr))))
                oldest = newer[k].torch;
    return oldest;
}

static void add_head(struct strbuf *out, const struct torch_graph *g, const struct keras_model *model, const char *body)
{
    strbuf_addf(out, "\"\"\"%s, converted by h5pt from Keras", g->name);
    if (model->version_text) {
        strbuf_add(out, " ");
        add_plain(out, model->version_text);
    }
    const char *oldest = oldest_torch(g);
    if (oldest)
        strbuf_addf(out, ".\n\nNeeds torch %s or later.\n\"\"\"\n\n", oldest);
    else
        strbuf_add(out, ".\"\"\"\n\n");
    if (strstr(body, "tuple[") || strstr(body, "def train("))
        strbuf_add(out, "from __future__ import annotations\n\n");
    strbuf_add(out, "import torch\nfrom torch import nn\n");
    if (uses_functional(body))
        strbuf_add(out, "from torch.nn import functional as F\n");
}

/* Keras 2 of its own trains the statistics of a frozen BatchNormalization. */
static bool freezes_norms(const struct keras_version *version)
{
    return version->tf || version->major >= 3;
}

static void add_model(struct strbuf *out, struct python_printer *p, const struct structure_class *root,
                      const struct keras_model *model)
{
    struct strbuf docstring = STRBUF_INIT, frozen = STRBUF_INIT, train = STRBUF_INIT;
    add_docstring(&docstring, p, root, model);
    python_add_frozen(&frozen, p->graph, root);
    python_add_train(&train, p->graph, root, freezes_norms(&model->version));
    if (!p->broken)
        python_add_class(out, p, root, strbuf_text(&docstring), strbuf_text(&frozen), strbuf_text(&train));
    out->broken = out->broken || docstring.broken || frozen.broken || train.broken;
    strbuf_release(&docstring);
    strbuf_release(&frozen);
    strbuf_release(&train);
}

int python_write(const struct torch_graph *graph, const struct structure *structure, const struct keras_model *model,
                 struct strbuf *out, struct h5pt_error *err)
{
    struct python_printer p = {.graph = graph, .arena = arena_new()};
    struct strbuf body = STRBUF_INIT;
    const struct structure_class *root = structure->classes[structure->class_count - 1];
    p.broken = !p.arena;
    python_add_helpers(graph, &body);
    for (int i = 0; i < structure->class_count - 1 && !p.broken; i++) {
        const struct structure_class *class = structure->classes[i];
        struct strbuf docstring = STRBUF_INIT;
        if (class->scope)
            add_scope_docstring(&docstring, &p, class);
        python_add_class(&body, &p, class, class->scope ? strbuf_text(&docstring) : NULL, "", "");
        strbuf_release(&docstring);
    }
    if (!p.broken)
        add_model(&body, &p, root, model);
    add_loader(&body, graph->name);
    add_head(out, graph, model, strbuf_text(&body));
    strbuf_add(out, strbuf_text(&body));
    bool ok = !p.broken && strbuf_ok(&body) && strbuf_ok(out);
    strbuf_release(&body);
    arena_free(p.arena);
    if (ok && p.unprintable)
        return h5pt_fail(err, H5PT_INTERNAL, "model.py",
                         "A variable of model.py would hold another value than is read from it");
    return ok ? 0 : h5pt_fail_memory(err);
}
