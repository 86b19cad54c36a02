/* SPDX-License-Identifier: Apache-2.0 */
#include "keras/keras1.h"

#include <string.h>

#include "base/words.h"

enum { MAX_NESTING = 64 };

static const char kept_classes[] =
#define K1_KEPT(classes) classes
#include "keras/keras1.def"
    ;

static const char ordered_classes[] =
#define K1_ORDERED(classes) classes
#include "keras/keras1.def"
    ;

/* What the passes share. */
struct pass {
    struct builder *b;
    bool keras1;          /* else a file of Keras 2 with a few of its classes */
    const char *ordering; /* "channels_last" or "channels_first", when all layers that say one agree */
    bool orderings_differ;
};

/* One key of one layer, on its way into the configuration of Keras 2. */
struct argument {
    struct pass *pass;
    const char *layer; /* its name */
    const char *key, *new_key;
    const json_t *value;
    json_t *config;          /* being made */
    const char **class_name; /* of the layer, may be changed */
};

static void refuse(struct pass *p, enum h5pt_code code, const char *layer, const char *key, const char *text)
{
    findings_add(p->b->refusals, code, layer, key, "%s", text);
}

static void put(struct pass *p, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) < 0)
        h5pt_fail_memory(p->b->err);
}

/* ---- conversions of one setting ---- */

static void convert_rename(struct argument *a)
{
    put(a->pass, a->config, a->new_key, json_deep_copy(a->value));
}

static void convert_drop(struct argument *a)
{
    (void)a;
}

static const char *ordering_of(const json_t *value)
{
    const char *text = json_string_value(value);
    return !text ? NULL : strcmp(text, "th") == 0 ? "channels_first" : strcmp(text, "tf") == 0 ? "channels_last" : NULL;
}

static void convert_ordering(struct argument *a)
{
    const char *ordering = ordering_of(a->value);
    if (ordering)
        put(a->pass, a->config, a->new_key, json_string(ordering));
    else
        refuse(a->pass, H5PT_CONFIG_INVALID, a->layer, a->key, "The order of dimensions is neither \"th\" nor \"tf\"");
}

/* Element `index` of a list that several keys make. */
static void convert_part(struct argument *a, size_t index)
{
    json_t *list = json_object_get(a->config, a->new_key);
    if (!list) {
        list = json_array();
        put(a->pass, a->config, a->new_key, list);
    }
    while (json_array_size(list) <= index)
        if (json_array_append_new(list, json_null()) < 0) {
            h5pt_fail_memory(a->pass->b->err);
            return;
        }
    if (json_array_set_new(list, index, json_deep_copy(a->value)) < 0)
        h5pt_fail_memory(a->pass->b->err);
}

static void convert_first(struct argument *a)
{
    convert_part(a, 0);
}

static void convert_second(struct argument *a)
{
    convert_part(a, 1);
}

static void convert_third(struct argument *a)
{
    convert_part(a, 2);
}

/* {"left_pad", "right_pad"}, {"top_pad", "bottom_pad", "left_pad", "right_pad"}, a list of four numbers, or as in Keras 2. */
static void convert_padding(struct argument *a)
{
    const json_t *v = a->value;
    json_t *left = json_object_get(v, "left_pad"), *right = json_object_get(v, "right_pad");
    json_t *top = json_object_get(v, "top_pad"), *bottom = json_object_get(v, "bottom_pad");
    json_t *made = NULL;
    if (json_is_object(v) && json_object_size(v) == 2 && left && right)
        made = json_pack("[O, O]", left, right);
    else if (json_is_object(v) && json_object_size(v) == 4 && left && right && top && bottom)
        made = json_pack("[[O, O], [O, O]]", top, bottom, left, right);
    else if (json_array_size(v) == 4)
        made = json_pack("[[O, O], [O, O]]", json_array_get(v, 0), json_array_get(v, 1), json_array_get(v, 2),
                         json_array_get(v, 3));
    else
        made = json_deep_copy(v);
    put(a->pass, a->config, a->new_key, made);
}

/* Mode 1 normalises each sample by itself; mode 2 uses the statistics of the batch, at inference too. */
static void convert_mode(struct argument *a)
{
    json_int_t mode = json_is_integer(a->value) ? json_integer_value(a->value) : -1;
    if (mode == 1)
        *a->class_name = "SampleNormalization";
    else if (mode != 0)
        refuse(
            a->pass, H5PT_UNSUPPORTED_CONFIG, a->layer, a->key,
            mode == 2
                ? "Mode 2 normalises by the statistics of the batch that is predicted: the result for a sample depends "
                  "on the others"
                : "The mode must be 0, 1 or 2");
}

static const struct rule {
    const char *classes, *key, *new_key;
    void (*convert)(struct argument *);
} rules[] = {
#define K1_ARGUMENT(classes, old, new, conversion) {classes, old, new, convert_##conversion},
#include "keras/keras1.def"
};

static const struct rule *find_rule(const char *class_name, const char *key)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (strcmp(rules[i].key, key) == 0 &&
            (strcmp(rules[i].classes, "*") == 0 || word_index(rules[i].classes, class_name) >= 0))
            return &rules[i];
    return NULL;
}

static const char *new_class(const char *class_name)
{
    static const char *const classes[][2] = {
#define K1_CLASS(old, new) {old, new},
#include "keras/keras1.def"
    };
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (strcmp(classes[i][0], class_name) == 0)
            return classes[i][1];
    return class_name;
}

/* ---- settings that Keras 1 did not store ---- */

static void collect_orderings(struct pass *p, const json_t *value, int depth)
{
    const char *key;
    json_t *item;
    size_t i;
    if (depth > MAX_NESTING)
        return;
    json_array_foreach(value, i, item) collect_orderings(p, item, depth + 1);
    json_object_foreach((json_t *)value, key, item)
    {
        const char *ordering = strcmp(key, "dim_ordering") == 0 ? ordering_of(item) : NULL;
        if (ordering && p->ordering && strcmp(ordering, p->ordering) != 0)
            p->orderings_differ = true;
        else if (ordering)
            p->ordering = ordering;
        collect_orderings(p, item, depth + 1);
    }
}

static void add_ordering(struct pass *p, const char *layer, const char *class_name, json_t *config)
{
    if (word_index(ordered_classes, class_name) < 0 || json_object_get(config, "data_format"))
        return;
    if (p->ordering && !p->orderings_differ)
        put(p, config, "data_format", json_string(p->ordering));
    else
        refuse(p, H5PT_CONFIG_INVALID, layer, "dim_ordering",
               "The file does not say which axis holds the channels, and its other layers do not tell either; add "
               "\"dim_ordering\" to the layer");
}

/* shared_axes of PReLU and the like: axes along which the weights have one entry only. */
static void add_shared_axes(struct pass *p, const char *layer, const char *class_name, json_t *config)
{
    static const char classes[] = "PReLU ParametricSoftplus SReLU";
    static const char *const ends[] = {"_alphas", "_t_left"};
    size_t n = strlen(layer);
    if (word_index(classes, class_name) < 0 || json_object_get(config, "shared_axes"))
        return;
    for (size_t i = 0; i < source_layer_count(p->b->source); i++) {
        const struct source_layer *group = source_layer(p->b->source, i);
        for (size_t k = 0; k < group->tensor_count; k++) {
            const struct source_tensor *t = &group->tensors[k];
            if (strncmp(t->name, layer, n) != 0 || (strncmp(t->name + n, ends[0], strlen(ends[0])) != 0 &&
                                                    strncmp(t->name + n, ends[1], strlen(ends[1])) != 0))
                continue;
            json_t *axes = json_array();
            for (int axis = 0; axis < t->shape.rank; axis++)
                if (t->shape.dims[axis] == 1)
                    (void)json_array_append_new(axes, json_integer(axis + 1));
            put(p, config, "shared_axes", axes);
            return;
        }
    }
}

static void warn_of_lost_stride(struct pass *p, const char *layer, const char *class_name, const json_t *config)
{
    if (strcmp(class_name, "ConvLSTM2D") == 0 && !json_object_get(config, "strides"))
        findings_add(p->b->warnings, H5PT_SETTING_LOST, layer, "subsample",
                     "Keras 1 does not store the strides of ConvLSTM2D: 1 is taken");
}

/* ---- layers ---- */

static json_t *convert_entry(struct pass *p, const json_t *entry, int depth);

static const char *entry_name(const json_t *entry)
{
    const char *name = json_string_value(json_object_get(entry, "name"));
    if (!name)
        name = json_string_value(json_object_get(json_object_get(entry, "config"), "name"));
    return name;
}

/* The settings of a Merge that are not translated. */
static json_t *merge_rest(struct pass *p, const char *layer, const json_t *config)
{
    static const char translated[] = "mode mode_type concat_axis dot_axes output_shape output_shape_type output_mask "
                                     "output_mask_type arguments layers";
    json_t *out = json_object(), *value;
    const char *key;
    json_object_foreach((json_t *)config, key, value)
    {
        if (word_index(translated, key) < 0)
            put(p, out, key, json_deep_copy(value));
    }
    if (!json_is_null(json_object_get(config, "output_mask")) && json_object_get(config, "output_mask"))
        refuse(p, H5PT_UNSUPPORTED_CONFIG, layer, "output_mask", "The mask of a Merge is made by Python code");
    return out;
}

/* Merge → the layer of its mode, or the Lambda that its mode is. */
static json_t *convert_merge(struct pass *p, const char *layer, const json_t *config, const char **class_name)
{
    static const struct {
        const char *mode, *class_name, *axis_from, *axis_to;
    } modes[] = {
#define K1_MERGE(mode, class, axis_from, axis_to) {mode, class, axis_from, axis_to},
#include "keras/keras1.def"
    };
    const json_t *mode = json_object_get(config, "mode"), *type = json_object_get(config, "mode_type");
    const char *type_name = json_string_value(type), *mode_name = json_string_value(mode);
    json_t *out = merge_rest(p, layer, config);
    if (type_name && strcmp(type_name, "raw") != 0) {
        static const char *const same[] = {"output_shape", "output_shape_type", "arguments"};
        *class_name = "Lambda";
        put(p, out, "function", json_deep_copy(mode));
        put(p, out, "function_type", json_string(type_name));
        for (size_t i = 0; i < sizeof same / sizeof *same; i++)
            if (json_object_get(config, same[i]))
                put(p, out, same[i], json_deep_copy(json_object_get(config, same[i])));
        return out;
    }
    for (size_t i = 0; mode_name && i < sizeof modes / sizeof *modes; i++) {
        if (strcmp(modes[i].mode, mode_name) != 0)
            continue;
        *class_name = modes[i].class_name;
        if (modes[i].axis_from)
            put(p, out, modes[i].axis_to, json_deep_copy(json_object_get(config, modes[i].axis_from)));
        return out;
    }
    refuse(p, H5PT_UNSUPPORTED_CONFIG, layer, "mode", "The mode of the Merge layer is not known");
    return out;
}

static json_t *convert_config(struct pass *p, const char *layer, const json_t *config, const char **class_name,
                              int depth)
{
    json_t *out = json_object(), *value;
    const char *key, *old_class = *class_name;
    *class_name = new_class(old_class);
    json_object_foreach((json_t *)config, key, value)
    {
        const struct rule *rule = find_rule(old_class, key);
        struct argument argument = {p, layer, key, rule ? rule->new_key : key, value, out, class_name};
        if (strcmp(key, "layer") == 0 && json_is_object(value))
            put(p, out, key, convert_entry(p, value, depth + 1));
        else if (rule)
            rule->convert(&argument);
        else
            convert_rename(&argument);
    }
    return out;
}

/* A wrapper of Keras 2 may hold layers that have to be rewritten. */
static json_t *convert_wrapper(struct pass *p, const json_t *config, int depth)
{
    json_t *out = json_copy((json_t *)config);
    put(p, out, "layer", convert_entry(p, json_object_get(config, "layer"), depth + 1));
    return out;
}

static json_t *convert_layer(struct pass *p, const json_t *entry, int depth)
{
    const json_t *config = json_object_get(entry, "config");
    const char *class_name = json_string_value(json_object_get(entry, "class_name")), *layer = entry_name(entry);
    json_t *out = json_copy((json_t *)entry), *made = NULL;
    if (!layer)
        layer = "";
    if (strcmp(class_name, "Merge") == 0)
        made = convert_merge(p, layer, config, &class_name);
    else if (p->keras1 || word_index(kept_classes, class_name) >= 0)
        made = convert_config(p, layer, config, &class_name, depth);
    else if (json_is_object(json_object_get(config, "layer")))
        made = convert_wrapper(p, config, depth);
    else
        return out;
    if (p->keras1) {
        add_ordering(p, layer, class_name, made);
        add_shared_axes(p, layer, class_name, made);
        warn_of_lost_stride(p, layer, class_name, made);
    }
    put(p, out, "config", made);
    put(p, out, "class_name", json_string(class_name));
    return out;
}

/* ---- models ---- */

json_t *keras1_layers(const json_t *config)
{
    json_t *list = json_is_array(config) ? (json_t *)config : json_object_get(config, "layers");
    return json_is_array(list) ? list : NULL;
}

static void append(struct pass *p, json_t *list, json_t *value)
{
    if (json_array_append_new(list, value) < 0)
        h5pt_fail_memory(p->b->err);
}

/* The input of a Sequential of Keras 1 is told by its first layer. */
static void add_input(struct pass *p, json_t *layers, const json_t *first)
{
    const json_t *config = json_object_get(first, "config");
    json_t *shape = json_object_get(config, "batch_input_shape"), *dtype = json_object_get(config, "input_dtype");
    const char *class_name = json_string_value(json_object_get(first, "class_name")), *name = entry_name(first);
    if (!json_is_array(shape) || !class_name || !name || strcmp(class_name, "InputLayer") == 0)
        return;
    const char *input = arena_printf(p->b->arena, "%s_input", name);
    if (!input)
        h5pt_fail_memory(p->b->err);
    append(p, layers,
           json_pack("{s:s, s:{s:s, s:O, s:s}}", "class_name", "InputLayer", "config", "name", input ? input : "",
                     "batch_input_shape", shape, "dtype",
                     json_is_string(dtype) ? json_string_value(dtype) : "float32"));
}

static json_t *convert_sequential(struct pass *p, const json_t *entry, int depth)
{
    const json_t *config = json_object_get(entry, "config"), *list = keras1_layers(config);
    json_t *out = json_copy((json_t *)entry), *layers = json_array(), *item;
    json_t *made = json_is_object(config) ? json_copy((json_t *)config) : json_object();
    size_t i;
    if (p->keras1)
        add_input(p, layers, json_array_get(list, 0));
    json_array_foreach(list, i, item) append(p, layers, convert_entry(p, item, depth + 1));
    put(p, made, "layers", layers);
    put(p, out, "config", made);
    return out;
}

static json_t *convert_graph(struct pass *p, const json_t *entry, int depth)
{
    json_t *out = json_copy((json_t *)entry), *config = json_copy(json_object_get(entry, "config"));
    json_t *layers = json_array(), *item;
    size_t i;
    json_array_foreach(json_object_get(config, "layers"), i, item) append(p, layers, convert_entry(p, item, depth + 1));
    put(p, config, "layers", layers);
    put(p, out, "config", config);
    return out;
}

/* Any entry of a list of layers, or the model itself; what is not as expected stays for the reader of networks to refuse. */
static json_t *convert_entry(struct pass *p, const json_t *entry, int depth)
{
    const json_t *config = json_object_get(entry, "config");
    const char *class_name = json_string_value(json_object_get(entry, "class_name"));
    if (depth > MAX_NESTING) {
        h5pt_fail(p->b->err, H5PT_LIMIT_EXCEEDED, NULL, "Models are nested more than %d deep", MAX_NESTING);
        return json_null();
    }
    if (!class_name || !config)
        return json_deep_copy(entry);
    json_t *graph = keras1_merged_sequential(p->b, entry);
    if (graph) {
        json_t *out = convert_graph(p, graph, depth);
        json_decref(graph);
        return out;
    }
    if (keras1_layers(config) && json_object_get(config, "input_layers"))
        return convert_graph(p, entry, depth);
    if (strcmp(class_name, "Sequential") == 0 && keras1_layers(config))
        return convert_sequential(p, entry, depth);
    return json_is_object(config) ? convert_layer(p, entry, depth) : json_deep_copy(entry);
}

/* ---- names of models ---- */

static bool named(const json_t *layers, const char *name)
{
    size_t i;
    json_t *item;
    json_array_foreach(layers, i, item)
    {
        const char *other = entry_name(item);
        if (other && strcmp(other, name) == 0)
            return true;
    }
    return false;
}

/* A Sequential in the old form has no name of its own; in a Sequential, layer_names lists it at its place among the others. */
static void name_models(struct pass *p, json_t *model)
{
    json_t *layers = keras1_layers(json_object_get(model, "config")), *item;
    size_t i, next = 0, count = source_layer_count(p->b->source);
    json_array_foreach(layers, i, item)
    {
        if (entry_name(item) || !keras1_layers(json_object_get(item, "config")))
            continue;
        while (next < count && named(layers, source_layer(p->b->source, next)->name))
            next++;
        if (next < count)
            put(p, item, "name", json_string(source_layer(p->b->source, next++)->name));
    }
}

const char *keras1_backend(const struct source *source)
{
    const char *backend = NULL;
    for (size_t i = 0; i < source_layer_count(source); i++) {
        const struct source_layer *layer = source_layer(source, i);
        for (size_t k = 0; k < layer->tensor_count; k++) {
            if (strchr(layer->tensors[k].name, ':'))
                return "tensorflow";
            backend = "theano";
        }
    }
    return backend;
}

json_t *keras1_normal_form(struct builder *b, const json_t *model)
{
    struct pass pass = {.b = b, .keras1 = b->model->version.major < 2};
    if (pass.keras1)
        collect_orderings(&pass, model, 0);
    json_t *made = convert_entry(&pass, model, 0);
    if (made)
        name_models(&pass, made);
    if (!made)
        h5pt_fail_memory(b->err);
    if (b->err->code) {
        json_decref(made);
        return NULL;
    }
    return made;
}
