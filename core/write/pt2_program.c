/* SPDX-License-Identifier: Apache-2.0 */
/* The program around the calls: what goes in and out, and under which names. */
#include <ctype.h>
#include <string.h>

#include "base/strbuf.h"
#include "write/pt2_internal.h"

/* The schema that torch 2.9 and later read, and the version in whose form the program is written. */
enum { SCHEMA_MAJOR = 8, SCHEMA_MINOR = 8, ATEN_OPSET = 10 };

void pt2_set(struct pt2_printer *p, json_t *object, const char *key, json_t *value)
{
    p->broken = json_object_set_new(object, key, value) < 0 || p->broken;
}

void pt2_append(struct pt2_printer *p, json_t *list, json_t *value)
{
    p->broken = json_array_append_new(list, value) < 0 || p->broken;
}

const char *pt2_name(struct pt2_printer *p, const char *name)
{
    const char *own = arena_strdup(p->arena, name);
    while (own && json_object_get(p->taken, own)) {
        json_int_t asked = json_integer_value(json_object_get(p->taken, name));
        pt2_set(p, p->taken, name, json_integer(asked + 1));
        own = arena_printf(p->arena, "%s_%lld", name, (long long)asked);
    }
    p->broken = p->broken || !own;
    if (own)
        pt2_set(p, p->taken, own, json_integer(1));
    return own ? own : "";
}

/* "p_conv2d_weight" */
static const char *parameter_name(struct pt2_printer *p, const struct torch_parameter *parameter)
{
    char *name = arena_printf(p->arena, "%s_%s", parameter->is_buffer ? "b" : "p", parameter->name);
    for (char *c = name; c && *c; c++)
        if (!isalnum((unsigned char)*c) || (unsigned char)*c > 127)
            *c = '_';
    p->broken = p->broken || !name;
    return pt2_name(p, name ? name : "p");
}

/* ---- inputs and outputs of the graph ---- */

static json_t *as_tensor(const char *name)
{
    return json_pack("{s:{s:s}}", "as_tensor", "name", name);
}

static json_t *parameter_spec(const struct torch_parameter *parameter, const char *name)
{
    if (parameter->is_buffer)
        return json_pack("{s:{s:{s:s}, s:s, s:b}}", "buffer", "arg", "name", name, "buffer_name", parameter->name,
                         "persistent", 1);
    return json_pack("{s:{s:{s:s}, s:s}}", "parameter", "arg", "name", name, "parameter_name", parameter->name);
}

/* Parameters, then buffers, then what the user gives: torch's order. */
static void add_inputs(struct pt2_printer *p, const char *const *names, json_t *inputs, json_t *specs)
{
    const struct aten_graph *g = p->graph;
    for (int i = 0; i < g->torch->input_count; i++) /* their names come first, being the user's */
        p->values[g->inputs[i]] = pt2_name(p, names[i]);
    for (int buffers = 0; buffers < 2; buffers++)
        for (int i = 0; i < g->torch->parameter_count; i++) {
            const struct torch_parameter *parameter = &g->torch->parameters[i];
            if (parameter->is_buffer != (buffers == 1))
                continue;
            const char *name = p->values[g->parameters[i]] = parameter_name(p, parameter);
            pt2_append(p, inputs, as_tensor(name));
            pt2_append(p, specs, parameter_spec(parameter, name));
            pt2_set(p, p->tensor_values, name, pt2_parameter_meta(p, i));
        }
    for (int i = 0; i < g->torch->input_count; i++) {
        const char *name = p->values[g->inputs[i]];
        pt2_append(p, inputs, as_tensor(name));
        pt2_append(p, specs, json_pack("{s:{s:o}}", "user_input", "arg", as_tensor(name)));
        pt2_set(p, p->tensor_values, name, pt2_meta(p, &g->values[g->inputs[i]].meta, false));
    }
}

static void add_outputs(struct pt2_printer *p, json_t *outputs, json_t *specs)
{
    const struct aten_graph *g = p->graph;
    for (int i = 0; i < g->torch->output_count; i++) {
        const char *name = p->values[g->outputs[i]];
        pt2_append(p, outputs, as_tensor(name));
        pt2_append(p, specs, json_pack("{s:{s:o}}", "user_output", "arg", as_tensor(name)));
    }
}

/* ---- how forward is called: pytree specs, texts of JSON in JSON ---- */

static const char leaf[] = "{\"type\": null, \"context\": null, \"children_spec\": []}";

static void add_tuple(struct strbuf *out, int count)
{
    strbuf_add(out, "{\"type\": \"builtins.tuple\", \"context\": \"null\", \"children_spec\": [");
    for (int i = 0; i < count; i++)
        strbuf_addf(out, "%s%s", i ? ", " : "", leaf);
    strbuf_add(out, "]}");
}

static json_t *spec_text(struct pt2_printer *p, struct strbuf *text)
{
    json_t *json = json_string(strbuf_text(text));
    p->broken = p->broken || !strbuf_ok(text);
    strbuf_release(text);
    return json;
}

/* ((inputs …), {}) */
static json_t *in_spec(struct pt2_printer *p, int count)
{
    struct strbuf text = STRBUF_INIT;
    strbuf_add(&text, "[1, {\"type\": \"builtins.tuple\", \"context\": \"null\", \"children_spec\": [");
    add_tuple(&text, count);
    strbuf_add(&text, ", {\"type\": \"builtins.dict\", \"context\": \"[]\", \"children_spec\": []}]}]");
    return spec_text(p, &text);
}

static json_t *out_spec(struct pt2_printer *p, int count)
{
    struct strbuf text = STRBUF_INIT;
    strbuf_add(&text, "[1, ");
    if (count == 1)
        strbuf_add(&text, leaf);
    else
        add_tuple(&text, count);
    strbuf_add(&text, "]");
    return spec_text(p, &text);
}

/* The root and its modules, in the order of their first call. */
static json_t *module_call_graph(struct pt2_printer *p, const char *const *names)
{
    const struct torch_graph *g = p->graph->torch;
    json_t *list = json_array(), *arguments = json_array();
    for (int i = 0; i < g->input_count; i++)
        pt2_append(p, arguments, json_string(names[i]));
    json_t *signature = json_pack("{s:[], s:[], s:o, s:o, s:o}", "inputs", "outputs", "in_spec",
                                  in_spec(p, g->input_count), "out_spec", out_spec(p, g->output_count),
                                  "forward_arg_names", arguments);
    pt2_append(p, list, json_pack("{s:s, s:o}", "fqn", "", "signature", signature));
    const char *module;
    json_t *calls;
    json_object_foreach(p->module_calls, module, calls)
    {
        pt2_append(p, list, json_pack("{s:s, s:n}", "fqn", module, "signature"));
        for (json_int_t i = 1; i < json_integer_value(calls); i++) {
            const char *again = arena_printf(p->arena, "%s@%lld", module, (long long)i);
            pt2_append(p, list, json_pack("{s:s?, s:n}", "fqn", again, "signature"));
        }
    }
    return list;
}

/* ---- whole ---- */

static json_t *graph_json(struct pt2_printer *p, json_t *inputs, json_t *outputs)
{
    return json_pack("{s:o, s:o, s:O, s:O, s:O, s:{}, s:b, s:{}, s:{}}", "inputs", inputs, "outputs", outputs, "nodes",
                     p->nodes, "tensor_values", p->tensor_values, "sym_int_values", p->sym_int_values,
                     "sym_bool_values", "is_single_tensor_return", 0, "custom_obj_values", "sym_float_values");
}

json_t *pt2_program(struct pt2_printer *p, const char *const *names)
{
    json_t *inputs = json_array(), *outputs = json_array(), *input_specs = json_array(), *output_specs = json_array();
    add_inputs(p, names, inputs, input_specs);
    pt2_add_nodes(p);
    add_outputs(p, outputs, output_specs);
    json_t *calls = module_call_graph(p, names);
    json_t *graph = graph_json(p, inputs, outputs);
    json_t *signature = json_pack("{s:o, s:o}", "input_specs", input_specs, "output_specs", output_specs);
    json_t *module = json_pack("{s:o, s:o, s:o, s:{}, s:{}}", "graph", graph, "signature", signature,
                               "module_call_graph", calls, "metadata", "treespec_namedtuple_fields");
    json_t *program = json_pack("{s:o, s:{s:i}, s:o, s:{s:i, s:i}, s:[s], s:s, s:[]}", "graph_module", module,
                                "opset_version", "aten", ATEN_OPSET, "range_constraints", pt2_ranges(p->graph),
                                "schema_version", "major", SCHEMA_MAJOR, "minor", SCHEMA_MINOR, "verifiers", "TRAINING",
                                "torch_version", "2.9.0", "guards_code");
    if (!p->broken)
        return program;
    json_decref(program);
    return NULL;
}
