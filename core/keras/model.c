/* SPDX-License-Identifier: Apache-2.0 */
#include "keras/model.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "keras/build.h"
#include "keras/keras1.h"
#include "layers/layer.h"

struct keras_version keras_version_parse(const char *text)
{
    struct keras_version v = {.major = 1};
    if (!text)
        return v;
    char *end;
    long major = strtol(text, &end, 10);
    long minor = *end == '.' ? strtol(end + 1, &end, 10) : 0;
    long patch = *end == '.' ? strtol(end + 1, NULL, 10) : 0;
    if (major < 1 || major > 1000 || minor < 0 || minor > 1000 || patch < 0 || patch > 1000)
        return v;
    v.major = (int)major;
    v.minor = (int)minor;
    v.patch = (int)patch;
    v.tf = v.major == 2 && (v.minor >= 4 || strstr(text, "-tf"));
    return v;
}

/* Who computed the model: what the caller says, what the file says, or, in files of Keras 1, the names of the weights. */
static void find_backend(struct builder *b, const struct keras_request *request, const char *named)
{
    struct keras_version *v = &b->model->version;
    bool keras1 = v->major < 2;
    const char *backend = keras1 && request && request->backend ? request->backend : named;
    if (!backend && keras1)
        backend = keras1_backend(b->source);
    v->any_backend = keras1 && !backend;
    v->theano = backend && strcmp(backend, "theano") == 0;
    v->tensorflow = !backend || strcmp(backend, "tensorflow") == 0;
    if (v->major == 2 && !v->tensorflow && !v->theano)
        findings_add(b->refusals, H5PT_UNSUPPORTED_VERSION, "", "backend",
                     "The file was written with the %.40s backend; what its layers compute there is not known",
                     backend);
}

/* The version of the configuration and that of the weights, which can be older: old weights with a new architecture. Keras 3
 * does not write its version into model.to_json(), but names the module of each class there. */
static int find_version(struct builder *b, const struct keras_request *request, bool separate)
{
    const char *version = source_keras_version(b->source), *backend = source_backend(b->source);
    b->weights_version = keras_version_parse(version);
    if (separate || !version) {
        const char *own = json_string_value(json_object_get(b->model->json, "keras_version"));
        const char *own_backend = json_string_value(json_object_get(b->model->json, "backend"));
        version = own ? own : version;
        backend = backend ? backend : own_backend;
    }
    if (!version && json_object_get(b->model->json, "registered_name"))
        version = "3";
    b->model->version = keras_version_parse(version);
    /* A copy: the configuration that may hold it is replaced. */
    if (version && !(b->model->version_text = arena_strdup(b->arena, version)))
        return h5pt_fail_memory(b->err);
    find_backend(b, request, backend);
    if (b->model->version.major > 3)
        findings_add(b->refusals, H5PT_UNSUPPORTED_VERSION, "", "keras_version",
                     "The file was written by Keras %.40s, which is newer than what is known", version);
    return 0;
}

/* Files before tf.keras pass through the words of Keras 1. */
static int normalise(struct builder *b)
{
    struct keras_version v = b->model->version;
    if (v.major > 2 || v.tf)
        return 0;
    json_t *made = keras1_normal_form(b, b->model->json);
    if (!made)
        return -1;
    json_decref(b->model->json);
    b->model->json = made;
    return 0;
}

static int read_network(struct builder *b)
{
    struct keras_model *model = b->model;
    model->class_name = json_string_value(json_object_get(model->json, "class_name"));
    const json_t *config = json_object_get(model->json, "config");
    model->name = json_string_value(json_object_get(config, "name"));
    if (!model->name)
        model->name = "model";
    if (!model->class_name || !config)
        return h5pt_fail(b->err, H5PT_CONFIG_MALFORMED, "model_config", "The configuration names no class");
    if (!json_is_array(config) && !json_is_array(json_object_get(config, "layers"))) {
        findings_add(b->refusals, H5PT_WEIGHTS_WITHOUT_ARCHITECTURE, "", "model_config",
                     "The model is of the Python class \"%.80s\": its architecture is code that is not in the file",
                     model->class_name);
        return 0;
    }
    struct network *root = network_read(b, model->json, NULL, 0);
    if (!root || expand_model(b, root) < 0)
        return -1;
    return bind_weights(b, root);
}

static bool refuse_without_architecture(struct builder *b, const char *text)
{
    if (text)
        return false;
    findings_add(b->refusals, H5PT_WEIGHTS_WITHOUT_ARCHITECTURE, "", "model_config",
                 "The file holds weights only; save the whole model (model.save), or give the architecture as JSON "
                 "(model.to_json()). The bare tensors are to be had with --weights-only");
    return true;
}

int keras_model_read(const struct source *source, const struct keras_request *request, struct arena *arena,
                     struct findings *refusals, struct findings *warnings, struct keras_model *ret,
                     struct h5pt_error *err)
{
    struct h5pt_error local = H5PT_ERROR_INIT;
    *ret = (struct keras_model){.arena = arena};
    struct builder b = {
        .source = source,
        .arena = arena,
        .refusals = refusals,
        .warnings = warnings,
        .model = ret,
        .err = &local,
        .dtype = request ? request->dtype : NULL,
    };
    size_t length = 0;
    const char *text = source_config(source, &length);
    bool separate = !text && request && request->architecture;
    if (separate) {
        text = request->architecture;
        length = strlen(text);
    }
    if (refuse_without_architecture(&b, text))
        return 0;
    ret->json = json_parse(text, length, "model_config", &local);
    int status = -1;
    if (ret->json && (b.keep = json_array()))
        status = find_version(&b, request, separate) < 0 || normalise(&b) < 0 ? -1 : read_network(&b);
    else
        (void)h5pt_fail_memory(&local);
    /* What was made while reading lives as long as the configuration. */
    if (ret->json && b.keep && json_object_set(ret->json, "__h5pt__", b.keep) < 0)
        status = h5pt_fail_memory(&local);
    json_decref(b.keep);
    if (status < 0 && h5pt_code_exit(local.code) == h5pt_code_exit(H5PT_UNSUPPORTED_LAYER)) {
        findings_add(refusals, local.code, local.where, "", "%s", local.message);
        return 0;
    }
    if (status < 0 && err && !err->code)
        *err = local;
    return status;
}

int64_t keras_layer_parameters(const struct keras_layer *layer)
{
    int64_t total = 0, count;
    for (int i = 0; i < layer->weight_count; i++)
        if (shape_count(&layer->weights[i].shape, &count))
            total += count;
    return total;
}

void keras_model_release(struct keras_model *model)
{
    json_decref(model->json);
    *model = (struct keras_model){.arena = NULL};
}

static void dump_value(const struct keras_value *value, struct strbuf *out)
{
    char text[SHAPE_TEXT_SIZE];
    strbuf_addf(out, "%%%d %s %s%s", value->id, dtype_name(value->dtype), shape_text(&value->shape, text),
                value->masked ? " masked" : "");
}

void keras_model_dump(const struct keras_model *model, struct strbuf *out)
{
    strbuf_addf(out, "keras %s \"%s\" version %d.%d%s\n", model->class_name, model->name, model->version.major,
                model->version.minor, model->version.tf ? " tf" : "");
    for (int i = 0; i < model->call_count; i++) {
        const struct keras_call *call = model->calls[i];
        for (int k = 0; k < call->output_count; k++) {
            strbuf_add(out, k ? ", " : "  ");
            dump_value(call->outputs[k], out);
        }
        strbuf_addf(out, " = %s(", call->layer->class_name);
        for (int k = 0; k < call->input_count; k++)
            strbuf_addf(out, "%s%%%d", k ? ", " : "", call->inputs[k]->id);
        strbuf_addf(out, ") %s", call->layer->path);
        for (int k = 0; k < call->layer->weight_count; k++) {
            const struct keras_weight *weight = &call->layer->weights[k];
            strbuf_addf(out, " %s=%s", weight->slot, weight->tensor ? weight->tensor->object : "?");
        }
        strbuf_add(out, "\n");
    }
    for (int i = 0; i < model->output_count; i++)
        strbuf_addf(out, "  output %%%d %s\n", model->outputs[i]->id, model->output_names[i]);
}
