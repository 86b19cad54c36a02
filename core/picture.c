/* SPDX-License-Identifier: Apache-2.0 */
#include "picture.h"

#include <gvc.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "layers/layer.h"

extern gvplugin_library_t gvplugin_dot_layout_LTX_library, gvplugin_core_LTX_library;

/* Letters of one width, so that the boxes fit whatever font a browser has. */
static const char font[] = "Courier",
                  font_family[] = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace";

/* The two parts of Graphviz that are needed; they are linked in, nothing is looked for in the file system. */
static lt_symlist_t plugins[] = {
    {"gvplugin_dot_layout_LTX_library", &gvplugin_dot_layout_LTX_library},
    {"gvplugin_core_LTX_library", &gvplugin_core_LTX_library},
    {NULL, NULL},
};

/* What is drawn, and into what. */
struct drawing {
    const struct report_facts *facts;
    Agraph_t *graph;
    int *box_of;        /* per call: the first call of its box */
    int *uses;          /* per value: the calls that take it, and the outputs of the model */
    Agnode_t **nodes;   /* per call that begins a box */
    struct strbuf text; /* the label being made */
};

/* ---- boxes ---- */

static void count_uses(struct drawing *d)
{
    const struct keras_model *model = d->facts->model;
    for (int i = 0; i < model->call_count; i++)
        for (int k = 0; k < model->calls[i]->input_count; k++)
            d->uses[model->calls[i]->inputs[k]->id]++;
    for (int i = 0; i < model->output_count; i++)
        d->uses[model->outputs[i]->id]++;
}

/* The part of a path that names the nested model. */
static size_t scope_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) : 0;
}

static bool same_scope(const struct keras_call *a, const struct keras_call *b)
{
    size_t n = scope_length(a->layer->path);
    return n == scope_length(b->layer->path) && memcmp(a->layer->path, b->layer->path, n) == 0;
}

/* Whether a layer is drawn in the box of the one before it. */
static bool joins(const struct drawing *d, const struct keras_call *call)
{
    static const unsigned small = LAYER_POINTWISE;
    if (call->input_count != 1 || !call->layer->class)
        return false;
    const struct keras_call *before = call->inputs[0]->call;
    bool norm = strstr(call->layer->class->name, "Normalization") != NULL;
    return (norm || (call->layer->class->flags & small)) && d->uses[call->inputs[0]->id] == 1 &&
           before->input_count > 0 && same_scope(before, call);
}

static int find_boxes(struct drawing *d)
{
    const struct keras_model *model = d->facts->model;
    int boxes = 0;
    for (int i = 0; i < model->call_count; i++) {
        const struct keras_call *call = model->calls[i];
        d->box_of[i] = joins(d, call) ? d->box_of[call->inputs[0]->call->id] : i;
        boxes += d->box_of[i] == i;
    }
    return boxes;
}

/* ---- labels ---- */

/* Text for an HTML-like label; what is no printable ASCII becomes '?', and what is longer than anybody reads is cut. */
static void add_escaped(struct strbuf *out, const char *text)
{
    enum { LONGEST = 80 };
    for (int i = 0; *text && i < LONGEST; text++, i++) {
        unsigned char c = (unsigned char)*text;
        if (c == '<')
            strbuf_add(out, "&lt;");
        else if (c == '>')
            strbuf_add(out, "&gt;");
        else if (c == '&')
            strbuf_add(out, "&amp;");
        else if (c == '"')
            strbuf_add(out, "&quot;");
        else
            strbuf_addf(out, "%c", c < ' ' || c > 126 ? '?' : c);
    }
}

/* From green (1e-7 and less) over yellow (1e-5) to red (1e-3 and more), by the logarithm; grey: not compared. */
static void add_colour(struct strbuf *out, const struct parity_error *error)
{
    if (!error || error->max_abs < 0) {
        strbuf_add(out, "#f2f2f2");
        return;
    }
    double decades = error->max_rel > 0 ? log10(error->max_rel) + 7 : 0;
    double heat = isfinite(error->max_rel) ? fmin(fmax(decades / 4, 0), 1) : 1;
    int red = heat < 0.5 ? (int)(205 + 100 * heat) : 255, green = heat < 0.5 ? 240 : (int)(240 - 160 * (heat - 0.5));
    strbuf_addf(out, "#%02x%02x%02x", red, green, heat < 0.5 ? 205 - (int)(40 * heat) : 185 - (int)(40 * (heat - 0.5)));
}

/* The model in a line, and what the colours mean. */
static void add_title(struct drawing *d)
{
    static const double errors[] = {0, 1e-6, 1e-5, 1e-4, 1e-3};
    static const char *const texts[] = {"1e-7", "1e-6", "1e-5", "1e-4", "1e-3"};
    const struct report_facts *f = d->facts;
    int64_t total = 0;
    for (int i = 0; i < f->model->layer_count; i++)
        total += keras_layer_parameters(f->model->layers[i]);
    struct strbuf *out = &d->text;
    d->text.length = 0;
    strbuf_add(out, "<TABLE BORDER=\"0\" CELLBORDER=\"0\" CELLSPACING=\"0\" CELLPADDING=\"4\"><TR><TD><B>");
    add_escaped(out, f->model->name ? f->model->name : "model");
    strbuf_addf(out, "</B></TD><TD>%d layers, %" PRId64 " parameters</TD>", f->model->layer_count, total);
    if (f->parity) {
        strbuf_add(out, "<TD>  relative error against Keras:</TD>");
        for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
            strbuf_add(out, "<TD BGCOLOR=\"");
            add_colour(out, &(struct parity_error){.max_abs = errors[i], .max_rel = errors[i]});
            strbuf_addf(out, "\">%s</TD>", texts[i]);
        }
    }
    strbuf_add(out, "</TR></TABLE>");
}

static void add_shape(struct strbuf *out, const struct shape *shape)
{
    for (int i = 1; i < shape->rank; i++) {
        if (shape->dims[i] < 0)
            strbuf_add(out, i > 1 ? " x ?" : "?");
        else
            strbuf_addf(out, "%s%" PRId64, i > 1 ? " x " : "", shape->dims[i]);
    }
}

/* "Conv2D → nn.Conv2d": what the layer is and the module that it became. */
static const char *module_of(const struct report_facts *f, const struct keras_call *call)
{
    const char *name = NULL;
    for (int i = 0; f->graph && i < f->graph->node_count; i++) {
        const struct torch_node *node = &f->graph->nodes[i];
        if (!node->call || node->call->id != call->id || node->op == TORCH_PARAMETER)
            continue;
        const struct torch_op_info *info = torch_op_info(node->op);
        if (node->module)
            return info->module;
        name = name ? name : info->callee;
    }
    return name;
}

static void add_row(struct drawing *d, const struct keras_call *call)
{
    const struct report_facts *f = d->facts;
    const struct parity_error *error = f->parity ? &f->parity->calls[call->id] : NULL;
    const char *name = strrchr(call->layer->path, '/'), *module = module_of(f, call);
    int64_t count = keras_layer_parameters(call->layer);
    struct strbuf *out = &d->text;
    strbuf_add(out, "<TR><TD ALIGN=\"LEFT\" BGCOLOR=\"");
    add_colour(out, error);
    strbuf_add(out, "\"><B>");
    add_escaped(out, name ? name + 1 : call->layer->path);
    strbuf_add(out, "</B></TD><TD ALIGN=\"LEFT\">");
    add_escaped(out, call->layer->class_name);
    if (module) {
        strbuf_add(out, " &#8594; ");
        add_escaped(out, module);
    }
    strbuf_add(out, "</TD><TD ALIGN=\"RIGHT\">");
    if (call->output_count > 0 && !call->outputs[0]->bad)
        add_shape(out, &call->outputs[0]->shape);
    strbuf_add(out, "</TD><TD ALIGN=\"RIGHT\">");
    if (count)
        strbuf_addf(out, "%" PRId64, count);
    strbuf_add(out, "</TD></TR>");
}

/* ---- the graph ---- */

static void set(void *object, const char *name, const char *value)
{
    (void)agsafeset(object, (char *)name, (char *)value, (char *)"");
}

/* The frame of a nested model, and of those around it. */
static Agraph_t *frame_of(struct drawing *d, const char *path)
{
    Agraph_t *frame = d->graph;
    for (size_t n = 0; n < scope_length(path);) {
        n += strcspn(path + n + (n > 0), "/") + (n > 0);
        struct strbuf name = STRBUF_INIT, label = STRBUF_INIT;
        strbuf_addf(&name, "cluster_%.*s", (int)n, path);
        const char *inner = path + n;
        while (inner > path && inner[-1] != '/')
            inner--;
        d->text.length = 0;
        strbuf_addf(&d->text, "%.*s", (int)(path + n - inner), inner);
        if (strbuf_ok(&d->text))
            add_escaped(&label, d->text.text);
        if (strbuf_ok(&name) && strbuf_ok(&label)) {
            frame = agsubg(frame, name.text, 1);
            set(frame, "label", label.text);
        }
        strbuf_release(&name);
        strbuf_release(&label);
    }
    return frame;
}

static int add_box(struct drawing *d, const struct keras_call *first)
{
    const struct keras_model *model = d->facts->model;
    char name[32];
    Agraph_t *frame = frame_of(d, first->layer->path);
    d->text.length = 0;
    strbuf_add(&d->text, "<TABLE BORDER=\"1\" CELLBORDER=\"0\" CELLSPACING=\"0\" CELLPADDING=\"3\" COLOR=\"#8c959f\" "
                         "BGCOLOR=\"white\">");
    for (int i = first->id; i < model->call_count; i++)
        if (d->box_of[i] == first->id)
            add_row(d, model->calls[i]);
    strbuf_add(&d->text, "</TABLE>");
    if (!strbuf_ok(&d->text))
        return -1;
    (void)snprintf(name, sizeof name, "n%d", first->id);
    Agnode_t *node = agnode(frame, name, 1);
    char *label = agstrdup_html(d->graph, d->text.text);
    if (!node || !label)
        return -1;
    set(node, "label", label);
    (void)agstrfree(d->graph, label);
    d->text.length = 0;
    add_escaped(&d->text, first->layer->path);
    if (!strbuf_ok(&d->text))
        return -1;
    set(node, "tooltip", d->text.text);
    d->nodes[first->id] = node;
    return 0;
}

static void add_edges(struct drawing *d)
{
    const struct keras_model *model = d->facts->model;
    for (int i = 0; i < model->call_count; i++)
        for (int k = 0; k < model->calls[i]->input_count; k++) {
            int from = d->box_of[model->calls[i]->inputs[k]->call->id], to = d->box_of[i];
            if (from != to && d->nodes[from] && d->nodes[to])
                (void)agedge(d->graph, d->nodes[from], d->nodes[to], NULL, 1);
        }
}

static void set_up(struct drawing *d)
{
    static const struct {
        int kind;
        const char *name, *value;
    } defaults[] = {
        {AGRAPH, "bgcolor", "white"}, {AGRAPH, "fontname", font},   {AGRAPH, "fontsize", "11"},
        {AGRAPH, "labelloc", "t"},    {AGRAPH, "ranksep", "0.3"},   {AGRAPH, "nodesep", "0.3"},
        {AGRAPH, "color", "#8c959f"}, {AGRAPH, "style", "rounded"}, {AGRAPH, "nslimit", "2"},
        {AGRAPH, "nslimit1", "2"},    {AGRAPH, "mclimit", "0.5"},   {AGNODE, "shape", "plain"},
        {AGNODE, "fontname", font},   {AGNODE, "fontsize", "10"},   {AGEDGE, "color", "#57606a"},
        {AGEDGE, "arrowsize", "0.6"}, {AGNODE, "tooltip", ""},
    };
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
        (void)agattr(d->graph, defaults[i].kind, (char *)defaults[i].name, (char *)defaults[i].value);
}

static int silent(char *message)
{
    (void)message;
    return 0;
}

/* Without Graphviz's prologue, which refers to a document type elsewhere. */
static int take_svg(GVC_t *gvc, Agraph_t *graph, struct strbuf *out)
{
    char *data = NULL;
    unsigned length = 0;
    if (gvRenderData(gvc, graph, "svg", &data, &length) != 0 || !data)
        return -1;
    static const char family[] = "font-family=\"Courier";
    const char *start = strstr(data, "<svg"), *next;
    for (const char *p = start; p; p = next) {
        next = strstr(p, family);
        strbuf_add_bytes(out, p, next ? (size_t)(next - p) : strlen(p));
        if (next) {
            strbuf_addf(out, "font-family=\"%s", font_family);
            next += strcspn(next + sizeof family - 1, "\"") + sizeof family - 1;
        }
    }
    gvFreeRenderData(data);
    return start ? 0 : -1;
}

static int lay_out(struct drawing *d, struct strbuf *out)
{
    GVC_t *gvc = gvContextPlugins(plugins, 0);
    if (!gvc)
        return -1;
    int status = gvLayout(gvc, d->graph, "dot") == 0 ? take_svg(gvc, d->graph, out) : -1;
    (void)gvFreeLayout(gvc, d->graph);
    (void)gvFreeContext(gvc);
    return status;
}

int picture_draw(const struct report_facts *facts, struct strbuf *out, struct h5pt_error *err)
{
    const struct keras_model *model = facts->model;
    struct drawing d = {.facts = facts, .text = STRBUF_INIT};
    int status = -1;
    d.box_of = calloc((size_t)model->call_count + 1, sizeof *d.box_of);
    d.uses = calloc((size_t)model->value_count + 1, sizeof *d.uses);
    d.nodes = calloc((size_t)model->call_count + 1, sizeof(Agnode_t *));
    agseterrf(silent);
    d.graph = agopen((char *)"model", Agdirected, NULL);
    if (!d.box_of || !d.uses || !d.nodes || !d.graph) {
        (void)h5pt_fail_memory(err);
        goto out;
    }
    count_uses(&d);
    if (find_boxes(&d) > PICTURE_MAX_BOXES) {
        (void)h5pt_fail(err, H5PT_LIMIT_EXCEEDED, "model.svg", "A network of more than %d boxes is not drawn",
                        PICTURE_MAX_BOXES);
        goto out;
    }
    set_up(&d);
    for (int i = 0; i < model->call_count; i++)
        if (d.box_of[i] == i && add_box(&d, model->calls[i]) < 0) {
            (void)h5pt_fail_memory(err);
            goto out;
        }
    add_edges(&d);
    add_title(&d);
    char *title = strbuf_ok(&d.text) ? agstrdup_html(d.graph, d.text.text) : NULL;
    if (!title) {
        (void)h5pt_fail_memory(err);
        goto out;
    }
    set(d.graph, "label", title);
    (void)agstrfree(d.graph, title);
    status = lay_out(&d, out);
    if (status < 0)
        (void)h5pt_fail(err, H5PT_INTERNAL, "model.svg", "The network could not be laid out");
out:
    if (d.graph)
        (void)agclose(d.graph);
    strbuf_release(&d.text);
    free(d.box_of);
    free(d.uses);
    free(d.nodes);
    return status;
}
