/* SPDX-License-Identifier: Apache-2.0 */
/* What this build can do and is made of, from the tables. */
#include <string.h>

#include <zip.h>

#include "base/words.h"
#include "convert.h"
#include "keras/functions.h"
#include "layers/activation.h"
#include "layers/layer.h"

static const char *const stage_names[CONVERT_STAGE_COUNT] = {
#define STAGE(id, name) name,
#include "stages.def"
#undef STAGE
};
static const char *const verdict_names[] = {"converted", "refused", "parity_failed"};
static const char format_names[] = /* in the order of enum convert_format, with a space behind each */
#define FORMAT(id, name, file, media_type, is_default) name " "
#include "formats.def"
#undef FORMAT
    ;
static const char parity_names[] = "full quick off";
static const char layout_names[] = "torch keras";
static const char dtype_names[] = "keep float32 float16 bfloat16";
static const char *const backend_names[] = {"tensorflow", "theano"};

const char *convert_stage_name(enum convert_stage stage)
{
    return stage_names[stage];
}

const char *convert_verdict_name(enum convert_verdict verdict)
{
    return verdict_names[verdict];
}

const char *convert_format_file(enum convert_format_index format)
{
    static const char *const files[] = {
#define FORMAT(id, name, file, media_type, is_default) file,
#include "formats.def"
#undef FORMAT
    };
    return files[format];
}

int convert_parse_formats(const char *text, unsigned *ret, struct h5pt_error *err)
{
    unsigned formats = 0;
    while (*text) {
        size_t n = strcspn(text, ",");
        char name[16] = "";
        if (n < sizeof name)
            memcpy(name, text, n);
        int index = word_index(format_names, name);
        if (index < 0)
            return h5pt_fail(err, H5PT_USAGE, "formats", "\"%.*s\" is no format; there are: %s", n > 40 ? 40 : (int)n,
                             text, format_names);
        formats |= 1u << index;
        text += n + (text[n] == ',');
    }
    if (!formats)
        return h5pt_fail(err, H5PT_USAGE, "formats", "No format is named; there are: %s", format_names);
    *ret = formats;
    return 0;
}

/* The place of a name in a list; USAGE when it is not there. */
static int parse_name(const char *key, const char *names, const char *text, struct h5pt_error *err)
{
    int index = word_index(names, text);
    return index >= 0 ? index : h5pt_fail(err, H5PT_USAGE, key, "\"%.40s\" is not known; there are: %s", text, names);
}

#define PARSE(key)                                                                                                     \
    int convert_parse_##key(const char *text, enum convert_##key *ret, struct h5pt_error *err)                         \
    {                                                                                                                  \
        int index = parse_name(#key, key##_names, text, err);                                                          \
        if (index >= 0)                                                                                                \
            *ret = (enum convert_##key)index;                                                                          \
        return index < 0 ? -1 : 0;                                                                                     \
    }

PARSE(parity)
PARSE(layout)
PARSE(dtype)

int convert_parse_backend(const char *text, const char **ret, struct h5pt_error *err)
{
    for (size_t i = 0; i < sizeof backend_names / sizeof *backend_names; i++) {
        if (strcmp(text, backend_names[i]) != 0)
            continue;
        *ret = backend_names[i];
        return 0;
    }
    return h5pt_fail(err, H5PT_USAGE, "backend", "\"%.40s\" is no backend of Keras 1: it was tensorflow or theano",
                     text);
}

/* The words of a table's text as a JSON list. */
static json_t *word_list(const char *words)
{
    json_t *list = json_array();
    const char *word;
    size_t length;
    while ((word = word_next(&words, &length)))
        (void)json_array_append_new(list, json_stringn(word, length));
    return list;
}

/* Adds a text to a list, once. */
static void add_once(json_t *list, const char *text)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(json_string_value(json_array_get(list, i)), text) == 0)
            return;
    (void)json_array_append_new(list, json_string(text));
}

/* Class names in files: those of the row, and what Keras 1 called it. */
static json_t *alias_list(const struct layer_class *class)
{
    static const char *const of_keras1[][2] = {
#define K1_CLASS(old, new) {new, old},
#include "keras/keras1.def"
    };
    json_t *list = word_list(class->aliases);
    for (size_t i = 0; i < sizeof of_keras1 / sizeof *of_keras1; i++)
        if (strcmp(of_keras1[i][0], class->name) == 0)
            add_once(list, of_keras1[i][1]);
    return list;
}

static json_t *torch_list(const struct layer_class *class)
{
    if (class->torch)
        return word_list(class->torch);
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof class->functions / sizeof *class->functions; i++)
        if (class->functions[i] != TORCH_NONE)
            add_once(list, torch_op_name(class->functions[i], false));
    return list;
}

static json_t *limit_list(const struct layer_class *class)
{
    json_t *list = json_array();
    const char *text;
    for (size_t i = 0; (text = layer_limit_at(class, i)); i++)
        (void)json_array_append_new(list, json_string(text));
    return list;
}

static json_t *layer_list(void)
{
    json_t *list = json_array();
    const struct layer_class *class;
    for (size_t i = 0; (class = layer_class_at(i)); i++)
        (void)json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "class", class->name, "family",
                                                    layer_family_at(i), "aliases", alias_list(class), "versions",
                                                    word_list(class->versions), "torch", torch_list(class), "limits",
                                                    limit_list(class)));
    return list;
}

/* ---- functions ---- */

/* The modules of functions.def as they are written; the others are functions of constants. */
static const char *const modules[][2] = {{"ops", "keras.ops."},
                                         {"K", "keras.backend."},
                                         {"activations", "keras.activations."},
                                         {"tf", "tf."},
                                         {"raw", "tf.raw_ops."}};

/* Adds the full names of the functions of a module that are calls of the operation (NULL: that are made of several). */
static void add_function_names(json_t *list, const char *const module[2], const char *operation)
{
    const struct function *f;
    for (size_t i = 0; (f = function_at(i)); i++) {
        size_t length = 0, word_length;
        const char *name = function_operation(f, &length), *names = f->names, *word;
        bool same = operation ? name && strlen(operation) == length && memcmp(name, operation, length) == 0
                              : !name && strchr(f->expression, '(');
        if (!same || strcmp(f->module, module[0]) != 0)
            continue;
        while ((word = word_next(&names, &word_length)))
            (void)json_array_append_new(list, json_sprintf("%s%.*s", module[1], (int)word_length, word));
    }
}

static json_t *function_list(const char *operation)
{
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++)
        add_function_names(list, modules[i], operation);
    return list;
}

/* The operations of Keras 3's graphs, first those that torch does itself, then those that are made of them; the ones that h5pt makes for itself are in no file. */
static json_t *operation_list(void)
{
    static const char own[] = "Autocast TimeToBatch BatchToTime ResizeLike";
    json_t *list = json_array();
    const struct layer_class *class;
    const struct function *f;
    for (size_t i = 0; (class = layer_operation_at(i)); i++)
        if (word_index(own, class->name) < 0)
            (void)json_array_append_new(list, json_pack("{s:s, s:o, s:o, s:o}", "class", class->name, "functions",
                                                        function_list(class->name), "torch", torch_list(class),
                                                        "limits", limit_list(class)));
    for (size_t i = 0; (f = function_at(i)); i++)
        if (strcmp(f->module, "composed") == 0)
            (void)json_array_append_new(list, json_pack("{s:s, s:o, s:[], s:[]}", "class", f->names, "functions",
                                                        function_list(f->names), "torch", "limits"));
    return list;
}

static json_t *activation_list(void)
{
    json_t *list = json_array();
    const struct activation_row *row;
    for (size_t i = 0; (row = activation_at(i)); i++) {
        if (!*row->names)
            continue;
        json_t *torch = json_array();
        if (row->torch == TORCH_NONE)
            add_once(torch, "nothing");
        for (int module = 1; row->torch != TORCH_NONE && module >= 0; module--)
            add_once(torch, torch_op_name(row->torch, module));
        (void)json_array_append_new(list, json_pack("{s:o, s:o, s:o}", "names", word_list(row->names), "versions",
                                                    word_list(row->versions), "torch", torch));
    }
    return list;
}

/* Classes that no torch can do the work of. */
static json_t *unsupported_list(void)
{
    static const char *const rows[][2] = {
#define BEYOND_TORCH(names, why) {names, why},
#include "keras/beyond_torch.def"
#undef BEYOND_TORCH
    };
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        (void)json_array_append_new(list, json_pack("{s:o, s:s}", "classes", word_list(rows[i][0]), "why", rows[i][1]));
    return list;
}

static json_t *backend_list(void)
{
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof backend_names / sizeof *backend_names; i++)
        (void)json_array_append_new(list, json_string(backend_names[i]));
    return list;
}

json_t *convert_capabilities(void)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "layers", layer_list(), "operations",
                     operation_list(), "functions", function_list(NULL), "activations", activation_list(),
                     "unsupported", unsupported_list(), "formats", word_list(format_names), "parity",
                     word_list(parity_names), "layouts", word_list(layout_names), "dtypes", word_list(dtype_names),
                     "backends", backend_list());
}

json_t *convert_version(void)
{
    char hdf5[32];
    return json_pack("{s:s, s:{s:s, s:s, s:s}}", "version", H5PT_VERSION, "libraries", "hdf5",
                     source_library_version(hdf5), "libzip", zip_libzip_version(), "jansson", JANSSON_VERSION);
}
