/* SPDX-License-Identifier: Apache-2.0 */
#include "report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "layers/layer.h"

json_t *report_text(const char *text)
{
    json_t *value = json_string(text);
    if (value)
        return value;
    size_t n = strlen(text);
    char *clean = malloc(n + 1);
    if (!clean)
        return NULL;
    for (size_t i = 0; i <= n; i++)
        clean[i] = (unsigned char)text[i] > 126 ? '?' : text[i];
    value = json_string(clean);
    free(clean);
    return value;
}

/* JSON has no infinity: null stands for a number that is none. */
static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *shape_json(const struct shape *shape)
{
    json_t *list = json_array();
    for (int i = 0; i < shape->rank; i++)
        (void)json_array_append_new(list, shape->dims[i] < 0 ? json_null() : json_integer(shape->dims[i]));
    return list;
}

static json_t *axes_json(bool permuted, int rank, const int *axes)
{
    if (!permuted)
        return json_null();
    json_t *list = json_array();
    for (int i = 0; i < rank; i++)
        (void)json_array_append_new(list, json_integer(axes[i]));
    return list;
}

/* ---- head ---- */

static const char *source_format(const struct source *source)
{
    if (!source)
        return "unknown";
    switch (source_kind(source)) {
    case SOURCE_LEGACY_MODEL: return "h5";
    case SOURCE_LEGACY_WEIGHTS: return "h5-weights";
    case SOURCE_WEIGHTS_V3: return "weights.h5";
    case SOURCE_ARCHIVE: return "keras";
    }
    return "unknown";
}

static json_t *optional_text(const char *text)
{
    return text ? report_text(text) : json_null();
}

static const char *keras_version(const struct report_facts *f)
{
    if (f->model && f->model->version_text)
        return f->model->version_text;
    return f->source ? source_keras_version(f->source) : NULL;
}

static json_t *source_json(const struct report_facts *f)
{
    return json_pack("{s:o, s:I, s:s, s:o, s:o, s:o, s:o}", "sha256", optional_text(f->source_sha256), "bytes",
                     (json_int_t)f->source_bytes, "format", source_format(f->source), "keras_version",
                     optional_text(keras_version(f)), "backend",
                     optional_text(f->source ? source_backend(f->source) : NULL), "class",
                     optional_text(f->model ? f->model->class_name : NULL), "name",
                     optional_text(f->model ? f->model->name : NULL));
}

static json_t *model_json(const struct report_facts *f)
{
    int64_t parameters = 0;
    for (int i = 0; i < f->model->layer_count; i++)
        parameters += keras_layer_parameters(f->model->layers[i]);
    json_int_t modules = 0;
    json_t *seen = json_object();
    for (int i = 0; f->graph && i < f->graph->node_count; i++) {
        const struct torch_node *node = &f->graph->nodes[i];
        if (!node->module || node->op == TORCH_PARAMETER || json_object_get(seen, node->module))
            continue;
        (void)json_object_set_new(seen, node->module, json_true());
        modules++;
    }
    json_decref(seen);
    return json_pack("{s:i, s:I, s:I}", "layers", f->model->layer_count, "parameters", (json_int_t)parameters,
                     "torch_modules", modules);
}

/* ---- interface ---- */

static json_t *interface_json(const struct report_facts *f, const struct torch_interface *item, const char *axes_key)
{
    const struct torch_value *value = &f->graph->values[item->value];
    return json_pack("{s:o, s:o, s:o, s:s, s:o}", "name", report_text(item->name), "keras_shape",
                     shape_json(&item->keras_shape), "torch_shape", shape_json(&value->shape), "dtype",
                     dtype_name(value->dtype), axes_key, axes_json(item->permuted, item->keras_shape.rank, item->axes));
}

static json_t *interfaces_json(const struct report_facts *f, bool inputs)
{
    json_t *list = json_array();
    int count = !f->graph ? 0 : inputs ? f->graph->input_count : f->graph->output_count;
    for (int i = 0; i < count; i++) {
        const struct torch_interface *item = inputs ? &f->graph->inputs[i] : &f->graph->outputs[i];
        (void)json_array_append_new(list, interface_json(f, item, inputs ? "to_torch" : "to_keras"));
    }
    return list;
}

/* ---- layers and weights ---- */

/* "nn.Conv2d, F.relu": what the first call of the layer became. */
static json_t *torch_text(const struct report_facts *f, const struct keras_call *call)
{
    struct strbuf out = STRBUF_INIT;
    for (int i = 0; f->graph && i < f->graph->node_count; i++) {
        const struct torch_node *node = &f->graph->nodes[i];
        if (!node->call || node->call->id != call->id || node->op == TORCH_PARAMETER)
            continue;
        strbuf_addf(&out, "%s%s", out.length ? ", " : "", torch_op_name(node->op, node->module != NULL));
    }
    json_t *text = f->graph ? json_string(strbuf_text(&out)) : json_null();
    strbuf_release(&out);
    return text;
}

static json_t *error_json(const struct parity_error *error)
{
    return json_pack("{s:o, s:o, s:b}", "max_abs", number(error->max_abs), "max_rel", number(error->max_rel), "ok",
                     error->ok);
}

static json_t *layer_json(const struct report_facts *f, const struct keras_call *call)
{
    const struct keras_layer *layer = call->layer;
    const struct parity_error *error = f->parity ? &f->parity->calls[call->id] : NULL;
    bool known = call->output_count > 0 && !call->outputs[0]->bad;
    return json_pack("{s:o, s:o, s:o, s:o, s:I, s:o}", "path", report_text(layer->path), "class",
                     report_text(layer->class_name), "torch", torch_text(f, call), "output_shape",
                     known ? shape_json(&call->outputs[0]->shape) : json_null(), "parameters",
                     (json_int_t)keras_layer_parameters(layer), "parity",
                     error && error->max_abs >= 0 ? error_json(error) : json_null());
}

/* A shared layer stands once for each call: each is checked on its own. */
static json_t *layers_json(const struct report_facts *f)
{
    json_t *list = json_array();
    for (int i = 0; f->model && i < f->model->call_count; i++)
        (void)json_array_append_new(list, layer_json(f, f->model->calls[i]));
    return list;
}

/* What a file holds whose architecture is not known. */
static void add_stored_weights(json_t *list, const struct source *source)
{
    for (size_t i = 0; i < source_layer_count(source); i++) {
        const struct source_layer *layer = source_layer(source, i);
        for (size_t k = 0; k < layer->tensor_count; k++) {
            const struct source_tensor *t = &layer->tensors[k];
            (void)json_array_append_new(list, json_pack("{s:o, s:n, s:o, s:s, s:n}", "keras", report_text(t->object),
                                                        "torch", "shape", shape_json(&t->shape), "dtype",
                                                        dtype_name(t->dtype), "rearrangement"));
        }
    }
}

static json_t *weights_json(const struct report_facts *f)
{
    json_t *list = json_array();
    if (!f->graph && f->source && !source_config(f->source, NULL))
        add_stored_weights(list, f->source);
    for (int i = 0; f->graph && i < f->graph->parameter_count; i++) {
        const struct torch_parameter *p = &f->graph->parameters[i];
        struct strbuf text = STRBUF_INIT;
        rearrangement_describe(p, &text);
        (void)json_array_append_new(list,
                                    json_pack("{s:o, s:o, s:o, s:s, s:s}", "keras", optional_text(p->keras), "torch",
                                              report_text(p->name), "shape", shape_json(&p->shape), "dtype",
                                              dtype_name(p->dtype), "rearrangement", strbuf_text(&text)));
        strbuf_release(&text);
    }
    return list;
}

/* ---- parity ---- */

static json_t *cases_json(const struct report_facts *f)
{
    json_t *list = json_array();
    for (int i = 0; i < f->parity->case_count; i++) {
        const struct parity_case *c = &f->parity->cases[i];
        json_t *shapes = json_array(), *entry = error_json(&c->error);
        for (int k = 0; k < f->model->input_count; k++)
            (void)json_array_append_new(shapes, shape_json(&c->input_shapes[k]));
        (void)json_object_set_new(entry, "name", json_string(c->name));
        (void)json_object_set_new(entry, "input_shapes", shapes);
        (void)json_array_append_new(list, entry);
    }
    return list;
}

static json_t *divergence_json(const struct parity_result *parity)
{
    const struct keras_call *call = parity->divergence;
    if (!call)
        return json_null();
    json_t *entry = error_json(&parity->calls[call->id]);
    (void)json_object_set_new(entry, "layer", report_text(call->layer->path));
    (void)json_object_set_new(entry, "class", report_text(call->layer->class_name));
    (void)json_object_set_new(entry, "case", json_string(parity->divergence_case));
    return entry;
}

static json_t *vectors_json(const struct report_facts *f)
{
    const struct parity_vectors_result *vectors = f->parity->vectors;
    if (!vectors)
        return json_null();
    json_t *outputs = json_array(), *ignored = json_array(), *entry = error_json(&vectors->worst);
    for (int i = 0; i < f->model->output_count; i++) {
        json_t *output = error_json(&vectors->outputs[i]);
        (void)json_object_set_new(output, "name", report_text(f->model->output_names[i]));
        (void)json_array_append_new(outputs, output);
    }
    for (int i = 0; i < f->vectors->ignored_count; i++)
        (void)json_array_append_new(ignored, report_text(f->vectors->ignored[i]));
    (void)json_object_set_new(entry, "samples", json_integer(vectors->samples));
    (void)json_object_set_new(entry, "tolerance", json_real(vectors->tolerance));
    (void)json_object_set_new(entry, "outputs", outputs);
    (void)json_object_set_new(entry, "ignored", ignored);
    return entry;
}

static json_t *parity_json(const struct report_facts *f)
{
    if (!f->parity)
        return json_null();
    return json_pack("{s:b, s:o, s:o, s:f, s:o, s:o, s:o}", "ok", f->parity->ok, "max_abs",
                     number(f->parity->worst.max_abs), "max_rel", number(f->parity->worst.max_rel), "tolerance",
                     f->parity->tolerance, "cases", cases_json(f), "first_divergence", divergence_json(f->parity),
                     "reference_vectors", vectors_json(f));
}

/* ---- the rest ---- */

static json_t *findings_json(const struct findings *findings, bool with_key)
{
    json_t *list = json_array();
    for (size_t i = 0; i < findings->count; i++) {
        const struct finding *item = &findings->items[i];
        json_t *entry = json_pack("{s:s, s:o}", "code", h5pt_code_name(item->code), "layer", report_text(item->layer));
        if (with_key)
            (void)json_object_set_new(entry, "key", report_text(item->key));
        (void)json_object_set_new(entry, "message", report_text(item->message));
        (void)json_array_append_new(list, entry);
    }
    return list;
}

static json_t *artifacts_json(const struct report_facts *f)
{
    json_t *list = json_array();
    for (int i = 0; i < f->artifact_count; i++) {
        const struct artifact *a = &f->artifacts[i];
        (void)json_array_append_new(list,
                                    json_pack("{s:s, s:I, s:s, s:s}", "name", a->name, "bytes", (json_int_t)a->bytes,
                                              "sha256", a->sha256, "how_to_load", a->how_to_load));
    }
    return list;
}

static json_t *timings_json(const struct report_facts *f)
{
    json_t *timings = json_object();
    double total = 0;
    for (int i = 0; i < CONVERT_STAGE_COUNT; i++) {
        if (i != CONVERT_STAGE_REPORT)
            (void)json_object_set_new(timings, convert_stage_name((enum convert_stage)i), json_real(f->stage_ms[i]));
        total += f->stage_ms[i];
    }
    (void)json_object_set_new(timings, "total", json_real(total));
    return timings;
}

static json_int_t peak_rss(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (json_int_t)usage.ru_maxrss * 1024 : 0;
}

json_t *report_build(const struct report_facts *f)
{
    return json_pack("{s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I}", "h5pt",
                     convert_version(), "source", source_json(f), "verdict", convert_verdict_name(f->verdict), "model",
                     f->model ? model_json(f) : json_null(), "inputs", interfaces_json(f, true), "outputs",
                     interfaces_json(f, false), "layers", layers_json(f), "weights", weights_json(f), "parity",
                     parity_json(f), "warnings", findings_json(f->warnings, false), "refusals",
                     findings_json(f->refusals, true), "artifacts", artifacts_json(f), "timings_ms", timings_json(f),
                     "peak_rss_bytes", peak_rss());
}
