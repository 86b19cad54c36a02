/* SPDX-License-Identifier: Apache-2.0 */
#include "write/pt2.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "write/archive.h"
#include "write/pt2_internal.h"
#include "write/python.h"

#define WEIGHT "weight_" /* and the number of the parameter */

/* A text as a record of the archive. */
static int add_text(struct archive *archive, const char *name, const char *text, struct h5pt_error *err)
{
    return archive_add_bytes(archive, name, text, strlen(text), err);
}

static int add_json(struct archive *archive, const char *name, const json_t *json, struct h5pt_error *err)
{
    char *text = json ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    int status = text ? add_text(archive, name, text, err) : h5pt_fail_memory(err);
    free(text);
    return status;
}

/* Which record holds which parameter. */
static json_t *weights_config(struct pt2_printer *p)
{
    const struct torch_graph *g = p->graph->torch;
    json_t *config = json_object();
    for (int i = 0; i < g->parameter_count; i++) {
        char record[32];
        (void)snprintf(record, sizeof record, WEIGHT "%d", i);
        pt2_set(p, config, g->parameters[i].name,
                json_pack("{s:s, s:b, s:b, s:o}", "path_name", record, "is_param", !g->parameters[i].is_buffer,
                          "use_pickle", 0, "tensor_meta", pt2_parameter_meta(p, i)));
    }
    return json_pack("{s:o}", "config", config);
}

static int add_records(struct archive *archive, struct pt2_printer *p, const char *const *inputs,
                       const struct archive *weights, struct h5pt_error *err)
{
    json_t *program = pt2_program(p, inputs), *config = weights_config(p);
    int status = p->broken ? h5pt_fail_memory(err) : 0;
    if (status == 0)
        status = add_json(archive, "models/model.json", program, err);
    if (status == 0)
        status = add_json(archive, "data/weights/model_weights_config.json", config, err);
    json_decref(program);
    json_decref(config);
    if (status < 0 || state_dict_copy(weights, p->graph->torch, "data/weights/" WEIGHT, archive, err) < 0 ||
        add_text(archive, "data/constants/model_constants_config.json", "{\"config\": {}}", err) < 0 ||
        add_text(archive, "data/sample_inputs/model.pt", "", err) < 0 ||
        add_text(archive, "archive_format", "pt2", err) < 0 || add_text(archive, "archive_version", "0", err) < 0 ||
        add_text(archive, "byteorder", "little", err) < 0 || add_text(archive, ".data/version", "6\n", err) < 0)
        return -1;
    return 0;
}

static int printer_init(struct pt2_printer *p, const struct aten_graph *graph, struct arena *arena,
                        struct h5pt_error *err)
{
    *p = (struct pt2_printer){
        .graph = graph,
        .arena = arena,
        .values = ARENA_ARRAY(arena, const char *, (size_t)graph->value_count + 1),
        .sizes = ARENA_ARRAY(arena, const char *, (size_t)graph->size_count + 1),
        .taken = json_object(),
        .module_calls = json_object(),
        .nodes = json_array(),
        .tensor_values = json_object(),
        .sym_int_values = json_object(),
    };
    bool complete = p->values && p->sizes && p->taken && p->module_calls && p->nodes && p->tensor_values &&
                    p->sym_int_values;
    return complete ? 0 : h5pt_fail_memory(err);
}

static void printer_release(struct pt2_printer *p)
{
    json_decref(p->taken);
    json_decref(p->module_calls);
    json_decref(p->nodes);
    json_decref(p->tensor_values);
    json_decref(p->sym_int_values);
}

int pt2_write(const struct torch_graph *graph, const struct archive *weights, int fd, struct artifact *ret,
              struct h5pt_error *err)
{
    struct artifact artifact = {.name = "model.pt2", .how_to_load = "net = torch.export.load(\"model.pt2\").module()"};
    struct aten_graph aten;
    struct pt2_printer printer = {.graph = NULL};
    struct archive *archive = NULL;
    int status = -1;
    struct arena *arena = arena_new();
    const char **inputs = arena ? ARENA_ARRAY(arena, const char *, (size_t)graph->input_count + 1) : NULL;
    if (!inputs) {
        (void)h5pt_fail_memory(err);
        goto out;
    }
    if (aten_expand(graph, true, arena, &aten, err) < 0 || python_input_names(graph, arena, inputs, err) < 0 ||
        printer_init(&printer, &aten, arena, err) < 0 || archive_new(fd, &archive, err) < 0 ||
        add_records(archive, &printer, inputs, weights, err) < 0 ||
        archive_finish(archive, &artifact.bytes, artifact.sha256, err) < 0)
        goto out;
    *ret = artifact;
    status = 0;
out:
    archive_free(archive);
    printer_release(&printer);
    arena_free(arena);
    return status;
}
