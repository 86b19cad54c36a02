/* SPDX-License-Identifier: Apache-2.0 */
/* Small Keras models as .h5 files, and reading them, for the tests of the graphs and of what comes after. Configurations are
 * JSON with ' for ", put together from the macros below. */
#ifndef H5PT_TESTS_UNIT_MODEL_FILES_H
#define H5PT_TESTS_UNIT_MODEL_FILES_H

#include "keras/model.h"
#include "layers/lower.h"
#include "source_files.h"

/* ---- configurations ---- */

/* An entry of a Sequential; `settings` begins with a comma or is "". */
#define ENTRY(class, name, settings)                                                                                   \
    "{'class_name':'" class "','config':{'name':'" name "','trainable':true" settings "}}"
#define DENSE(name, units) ENTRY("Dense", name, ",'units':" units)
#define SEQUENTIAL_NAMED(name, layers) "{'class_name':'Sequential','config':{'name':'" name "','layers':[" layers "]}}"
#define SEQUENTIAL(layers) SEQUENTIAL_NAMED("net", layers)
/* The shape without the batch, as ",'batch_input_shape':[null,4]" for SHAPE("4"). */
#define SHAPE(dims) ",'batch_input_shape':[null," dims "]"

/* An entry of a functional model with its nodes. */
#define CALLED(class, name, settings, nodes)                                                                           \
    "{'class_name':'" class "','name':'" name "','config':{'name':'" name "','trainable':true" settings                \
                            "},'inbound_nodes':[" nodes "]}"
#define INPUT(name, dims) CALLED("InputLayer", name, SHAPE(dims), "")
#define FUNCTIONAL_NAMED(name, layers, inputs, outputs)                                                                \
    "{'class_name':'Functional','config':{'name':'" name "','layers':[" layers "],'input_layers':[" inputs             \
    "],'output_layers':[" outputs "]}}"
#define FUNCTIONAL(layers, inputs, outputs) FUNCTIONAL_NAMED("net", layers, inputs, outputs)
/* A model as an entry of another: `model` from SEQUENTIAL_NAMED or FUNCTIONAL_NAMED without its closing brace. */
#define REF(layer, node, tensor) "['" layer "'," node "," tensor "]"
/* A node of Keras 2 with one input, and of Keras 3. */
#define NODE2(layer, node) "[['" layer "'," node ",0,{}]]"
#define TENSOR3(layer, node, tensor)                                                                                   \
    "{'class_name':'__keras_tensor__','config':{'dtype':'float32','shape':[null,4],'keras_history':['" layer "'," node \
    "," tensor "]}}"
#define NODE3(layer, node) "{'args':[" TENSOR3(layer, node, "0") "],'kwargs':{}}"

/* ---- writing ---- */

/* A weight of a layer; weights of one layer stand together. `values` NULL: seeded ones in [-0.5, 0.5). */
struct model_weight {
    const char *group; /* entry of layer_names */
    const char *name;  /* entry of weight_names */
    int rank;
    hsize_t dims[5];
    const float *values;
};

static inline char *with_double_quotes(const char *text)
{
    char *copy = strdup(text);
    assert_non_null(copy);
    for (char *p = copy; *p; p++)
        if (*p == '\'')
            *p = '"';
    return copy;
}

static inline void write_weight(hid_t group, const struct model_weight *w, uint32_t seed)
{
    size_t count = 1;
    for (int i = 0; i < w->rank; i++)
        count *= (size_t)w->dims[i];
    float *values = malloc((count + 1) * sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        values[i] = w->values ? w->values[i] : (float)(seed >> 8) / 16777216.0F - 0.5F;
        if (!w->values && strstr(w->name, "variance"))
            values[i] += 1; /* variances are positive */
    }
    write_floats(group, w->name, w->rank, w->dims, values);
    free(values);
}

/* The file of a whole model by this Keras version. */
static inline void write_model(const char *file_name, const char *version, const char *config, size_t count,
                               const struct model_weight *weights)
{
    enum { MOST = 64 };
    const char *groups[MOST], *names[MOST];
    size_t group_count = 0;
    assert_true(count <= MOST);
    hid_t file = H5Fcreate(file_path(file_name), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(file >= 0);
    char *json = with_double_quotes(config);
    write_text(file, "model_config", json);
    free(json);
    write_text(file, "keras_version", version);
    if (version[0] != '1') /* Keras 1 does not say */
        write_text(file, "backend", "tensorflow");
    hid_t all = group_new(file, "model_weights");
    for (size_t i = 0; i < count;) {
        hid_t group = group_new(all, weights[i].group);
        size_t n = 0;
        groups[group_count++] = weights[i].group;
        for (; i < count && strcmp(weights[i].group, groups[group_count - 1]) == 0; i++) {
            names[n++] = weights[i].name;
            write_weight(group, &weights[i], (uint32_t)i + 1);
        }
        write_texts(group, "weight_names", style_new, 0, n, names);
        (void)H5Gclose(group);
    }
    if (group_count)
        write_texts(all, "layer_names", style_new, 0, group_count, groups);
    else
        write_empty_list(all, "layer_names");
    (void)H5Gclose(all);
    assert_true(H5Fclose(file) >= 0);
}

#define WRITE_MODEL(file_name, version, config, ...)                                                                   \
    write_model(file_name, version, config,                                                                            \
                sizeof((const struct model_weight[]){__VA_ARGS__}) / sizeof(struct model_weight),                      \
                (const struct model_weight[]){__VA_ARGS__})
#define DENSE_WEIGHTS(name, in, out)                                                                                   \
    {name, name "/kernel:0", 2, {in, out}, NULL},                                                                      \
    {                                                                                                                  \
        name, name "/bias:0", 1, {out}, NULL                                                                           \
    }

/* ---- reading ---- */

/* A model on its way: the file, its Keras graph, and after reading_lower its torch graph. */
struct reading {
    int fd;
    struct source *source;
    struct arena *arena;
    struct findings refusals, warnings;
    struct keras_model model;
    struct torch_graph graph;
    struct correspondence correspondence;
};

static inline void reading_open_as(struct reading *r, const char *file_name, const char *backend)
{
    const struct keras_request request = {.backend = backend};
    struct h5pt_error err = H5PT_ERROR_INIT;
    *r = (struct reading){.arena = arena_new()};
    r->refusals.arena = r->warnings.arena = r->arena;
    r->source = accept_file(file_name, &r->fd);
    if (keras_model_read(r->source, &request, r->arena, &r->refusals, &r->warnings, &r->model, &err) < 0)
        fail_msg("%s: %s at \"%s\": %s", file_name, h5pt_code_name(err.code), err.where, err.message);
}

static inline void reading_open(struct reading *r, const char *file_name)
{
    reading_open_as(r, file_name, NULL);
}

static inline void reading_close(struct reading *r)
{
    keras_model_release(&r->model);
    close_source(r->source, r->fd);
    arena_free(r->arena);
}

/* The refusals, "CODE layer key", a line each. */
static inline void expect_refusals(const struct reading *r, const char *expected)
{
    struct strbuf text = STRBUF_INIT, messages = STRBUF_INIT;
    for (size_t i = 0; i < r->refusals.count; i++) {
        const struct finding *f = &r->refusals.items[i];
        strbuf_addf(&text, "%s %s %s\n", h5pt_code_name(f->code), f->layer, f->key);
        strbuf_addf(&messages, "%s\n", f->message);
    }
    if (strcmp(strbuf_text(&text), expected) != 0)
        fail_msg("refusals are\n%sand not\n%s%s", strbuf_text(&text), expected, strbuf_text(&messages));
    strbuf_release(&text);
    strbuf_release(&messages);
}

/* Opens a file that can be converted, and lowers it. */
static inline void reading_lower(struct reading *r, const char *file_name)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    reading_open(r, file_name);
    expect_refusals(r, "");
    if (lower_model(&r->model, &(struct lower_options){.keras_layout = false}, r->arena, &r->graph, &r->correspondence,
                    &err) < 0)
        fail_msg("%s: %s at \"%s\": %s", file_name, h5pt_code_name(err.code), err.where, err.message);
}

static inline int begin_files(void **state)
{
    (void)state;
    files_init();
    return 0;
}

static inline int end_files(void **state)
{
    (void)state;
    files_remove();
    return 0;
}

#endif
