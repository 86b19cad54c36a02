/* SPDX-License-Identifier: Apache-2.0 */
/* What this build can do and is made of, from the tables. */
#include <string.h>

#include <zip.h>

#include "base/words.h"
#include "convert.h"
#include "layers/activation.h"
#include "layers/layer.h"

static const char *const stage_names[CONVERT_STAGE_COUNT] = {"read", "graph", "lower", "write", "parity", "report"};
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

static json_t *layer_list(void)
{
    json_t *list = json_array();
    const struct layer_class *class;
    for (size_t i = 0; (class = layer_class_at(i)); i++)
        (void)json_array_append_new(list, json_pack("{s:s, s:o, s:o}", "class", class->name, "aliases",
                                                    word_list(class->aliases), "versions", word_list(class->versions)));
    return list;
}

/* The operations of Keras 3's graphs; the ones that h5pt makes for itself are in no file. */
static json_t *operation_list(void)
{
    static const char own[] = "Autocast TimeToBatch BatchToTime ResizeLike";
    json_t *list = json_array();
    const struct layer_class *class;
    for (size_t i = 0; (class = layer_operation_at(i)); i++)
        if (word_index(own, class->name) < 0)
            (void)json_array_append_new(list, json_string(class->name));
    return list;
}

static json_t *activation_list(void)
{
    json_t *list = json_array();
    const char *names;
    for (size_t i = 0; (names = activation_names(i)); i++) {
        json_t *words = word_list(names);
        (void)json_array_extend(list, words);
        json_decref(words);
    }
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
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "layers", layer_list(), "operations", operation_list(),
                     "activations", activation_list(), "formats", word_list(format_names), "parity",
                     word_list(parity_names), "layouts", word_list(layout_names), "dtypes", word_list(dtype_names),
                     "backends", backend_list());
}

json_t *convert_version(void)
{
    char hdf5[32];
    return json_pack("{s:s, s:{s:s, s:s, s:s}}", "version", H5PT_VERSION, "libraries", "hdf5",
                     source_library_version(hdf5), "libzip", zip_libzip_version(), "jansson", JANSSON_VERSION);
}
