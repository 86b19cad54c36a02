/* SPDX-License-Identifier: Apache-2.0 */
#include "keras/config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/words.h"

/* Keys that every layer may have and that change nothing at inference. What `dtype` says is read by keras/build.c, what
 * batch_input_shape says by keras/network.c. */
static const char common_keys[] =
    "name trainable dtype batch_input_shape batch_shape dynamic autocast build_config input_spec seed "
    "activity_regularizer kernel_initializer kernel_regularizer kernel_constraint bias_initializer bias_regularizer "
    "bias_constraint beta_initializer beta_regularizer beta_constraint gamma_initializer gamma_regularizer "
    "gamma_constraint moving_mean_initializer moving_variance_initializer alpha_initializer alpha_regularizer "
    "alpha_constraint depthwise_initializer depthwise_regularizer depthwise_constraint pointwise_initializer "
    "pointwise_regularizer pointwise_constraint embeddings_initializer embeddings_regularizer embeddings_constraint "
    "__passive_serialization__";

const char *config_registered_name(const json_t *object)
{
    /* Keras registers its own classes without a package, if at all. */
    const char *registered = json_string_value(json_object_get(object, "registered_name"));
    return registered && strchr(registered, '>') ? registered : NULL;
}

const char *config_class_name(const json_t *object)
{
    const char *registered = config_registered_name(object);
    return registered ? registered : json_string_value(json_object_get(object, "class_name"));
}

int config_begin(struct config_reader *reader, struct keras_layer *layer, struct keras_version version,
                 struct arena *arena, struct findings *refusals, struct h5pt_error *err)
{
    *reader = (struct config_reader){
        .json = layer->json,
        .layer = layer,
        .version = version,
        .arena = arena,
        .refusals = refusals,
        .seen = json_object(),
    };
    return reader->seen ? 0 : h5pt_fail_memory(err);
}

void config_finish(struct config_reader *reader)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)reader->json, key, value)
    {
        if (!json_object_get(reader->seen, key) && word_index(common_keys, key) < 0)
            config_refuse(reader, H5PT_UNKNOWN_CONFIG_KEY, key,
                          "%s has the setting \"%s\", which is not known: it might change the result",
                          reader->layer->class_name, key);
    }
    json_decref(reader->seen);
    reader->seen = NULL;
}

void config_refuse(struct config_reader *reader, enum h5pt_code code, const char *key, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    findings_addv(reader->refusals, code, reader->layer->path, key, format, args);
    va_end(args);
}

void config_warn(struct config_reader *reader, enum h5pt_code code, const char *key, const char *format, ...)
{
    va_list args;
    if (!reader->warnings)
        return;
    va_start(args, format);
    findings_addv(reader->warnings, code, reader->layer->path, key, format, args);
    va_end(args);
}

const json_t *config_get(struct config_reader *reader, const char *key)
{
    if (json_object_set_new(reader->seen, key, json_true()) < 0)
        reader->refusals->broken = true;
    const json_t *value = json_object_get(reader->json, key);
    return json_is_null(value) ? NULL : json_unwrap(value);
}

/* Refuses a value of the wrong kind, shown as it stands in the file. */
static void refuse_value(struct config_reader *reader, const char *key, const json_t *value, const char *wanted)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    config_refuse(reader, H5PT_CONFIG_INVALID, key, "\"%s\" is %.120s, but %s is needed", key,
                  text ? text : "unreadable", wanted);
    free(text);
}

int64_t config_int(struct config_reader *reader, const char *key, int64_t absent)
{
    const json_t *value = config_get(reader, key);
    long long n;
    if (!value)
        return absent;
    if (json_read_int(value, &n))
        return n;
    refuse_value(reader, key, value, "a whole number");
    return absent;
}

int64_t config_size(struct config_reader *reader, const char *key, int64_t least)
{
    const json_t *value = config_get(reader, key);
    long long n;
    if (!value) {
        config_refuse(reader, H5PT_CONFIG_INVALID, key, "\"%s\" is missing", key);
        return least;
    }
    if (json_read_int(value, &n) && n >= least && n <= INT32_MAX)
        return n;
    char wanted[80];
    (void)snprintf(wanted, sizeof wanted, "a whole number of at least %lld", (long long)least);
    refuse_value(reader, key, value, wanted);
    return least;
}

double config_double(struct config_reader *reader, const char *key, double absent)
{
    const json_t *value = config_get(reader, key);
    double d;
    if (!value)
        return absent;
    if (json_read_double(value, &d))
        return d;
    refuse_value(reader, key, value, "a number");
    return absent;
}

bool config_bool(struct config_reader *reader, const char *key, bool absent)
{
    const json_t *value = config_get(reader, key);
    if (!value)
        return absent;
    long long n;
    if (json_is_boolean(value))
        return json_is_true(value);
    if (json_read_int(value, &n) && (n == 0 || n == 1))
        return n == 1;
    refuse_value(reader, key, value, "true or false");
    return absent;
}

const char *config_text(struct config_reader *reader, const char *key, const char *absent)
{
    const json_t *value = config_get(reader, key);
    if (!value)
        return absent;
    if (json_is_string(value))
        return json_string_value(value);
    refuse_value(reader, key, value, "a text");
    return absent;
}

int config_choice(struct config_reader *reader, const char *key, const char *choices, int absent)
{
    const char *text = config_text(reader, key, NULL);
    if (!text)
        return absent;
    int index = word_index(choices, text);
    if (index >= 0)
        return index;
    config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, key, "\"%s\" is \"%.80s\"; supported: %s", key, text, choices);
    return absent;
}

void config_ints(struct config_reader *reader, const char *key, int count, int64_t *ret, int64_t absent)
{
    const json_t *value = config_get(reader, key);
    for (int i = 0; i < count; i++)
        ret[i] = absent;
    long long n;
    if (!value)
        return;
    if (json_read_int(value, &n)) {
        for (int i = 0; i < count; i++)
            ret[i] = n;
        return;
    }
    bool ok = json_is_array(value) && json_array_size(value) == (size_t)count;
    for (int i = 0; ok && i < count; i++) {
        ok = json_read_int(json_array_get(value, (size_t)i), &n);
        if (ok)
            ret[i] = n;
    }
    if (!ok) {
        char wanted[80];
        (void)snprintf(wanted, sizeof wanted, "a whole number or a list of %d", count);
        refuse_value(reader, key, value, wanted);
        for (int i = 0; i < count; i++)
            ret[i] = absent;
    }
}

int config_list(struct config_reader *reader, const char *key, int capacity, int64_t *ret)
{
    const json_t *value = config_get(reader, key);
    long long n;
    if (!value)
        return -1;
    if (json_read_int(value, &n)) {
        if (capacity < 1)
            return 0;
        ret[0] = n;
        return 1;
    }
    size_t count = json_array_size(value);
    bool ok = json_is_array(value) && count <= (size_t)capacity;
    for (size_t i = 0; ok && i < count; i++) {
        const json_t *item = json_array_get(value, i);
        if (json_is_null(item))
            n = DIM_UNKNOWN;
        else
            ok = json_read_int(item, &n);
        if (ok)
            ret[i] = n;
    }
    if (ok)
        return (int)count;
    char wanted[80];
    (void)snprintf(wanted, sizeof wanted, "a list of at most %d whole numbers", capacity);
    refuse_value(reader, key, value, wanted);
    return -1;
}

enum { MAX_NUMBER_LIST = 1 << 20, MAX_LIST_NESTING = 8 };

/* Counts the numbers below `value` (ret NULL) or copies them; -1 when something is not a number. */
static long collect_doubles(const json_t *value, double *ret, int depth)
{
    double d;
    if (json_read_double(value, &d)) {
        if (ret)
            *ret = d;
        return 1;
    }
    value = json_unwrap(value);
    if (!json_is_array(value) || depth == MAX_LIST_NESTING)
        return -1;
    long total = 0;
    for (size_t i = 0; i < json_array_size(value); i++) {
        long n = collect_doubles(json_array_get(value, i), ret ? ret + total : NULL, depth + 1);
        if (n < 0 || total + n > MAX_NUMBER_LIST)
            return -1;
        total += n;
    }
    return total;
}

int config_doubles(struct config_reader *reader, const char *key, const double **ret)
{
    const json_t *value = config_get(reader, key);
    if (!value)
        return -1;
    long n = collect_doubles(value, NULL, 0);
    if (n < 0) {
        refuse_value(reader, key, value, "a number or a list of numbers");
        return -1;
    }
    double *numbers = ARENA_ARRAY(reader->arena, double, (size_t)n + 1);
    if (!numbers) {
        reader->refusals->broken = true;
        return -1;
    }
    (void)collect_doubles(value, numbers, 0);
    *ret = numbers;
    return (int)n;
}

void config_range(struct config_reader *reader, const char *key, double low, double high, double *ret_low,
                  double *ret_high)
{
    const double *range = NULL;
    int count = config_doubles(reader, key, &range);
    *ret_low = low;
    *ret_high = high;
    if (count < 0)
        return;
    if (count != 2 || range[0] >= range[1]) {
        config_refuse(reader, H5PT_CONFIG_INVALID, key, "\"%s\" must be two numbers in ascending order", key);
        return;
    }
    *ret_low = range[0];
    *ret_high = range[1];
}

bool config_data_format(struct config_reader *reader)
{
    reader->layer->channels_first = config_choice(reader, "data_format", "channels_last channels_first", 0) == 1;
    return reader->layer->channels_first;
}

void config_ignore(struct config_reader *reader, const char *keys)
{
    char key[64];
    size_t length;
    const char *word;
    while ((word = word_next(&keys, &length))) {
        (void)snprintf(key, sizeof key, "%.*s", (int)length, word);
        (void)config_get(reader, key);
    }
}

/* The name of a dtype policy in any of its serialized forms. */
static const char *policy_name(const json_t *dtype)
{
    const json_t *config = json_object_get(dtype, "config");
    if (json_is_object(dtype)) /* quantised ones have a mode instead */
        dtype = json_object_get(config, json_object_get(config, "name") ? "name" : "mode");
    return json_string_value(dtype);
}

void config_read_policy(struct config_reader *reader, const char **ret_mixed)
{
    static const char quantised[] = "int8 int4 float8 gptq awq";
    const json_t *dtype = json_object_get(reader->json, "dtype");
    *ret_mixed = NULL;
    if (!dtype || json_is_null(dtype))
        return;
    const char *name = policy_name(dtype);
    enum dtype compute;
    if (name && (strcmp(name, "mixed_float16") == 0 || strcmp(name, "mixed_bfloat16") == 0)) {
        *ret_mixed = name;
        return;
    }
    if (name && dtype_from_name(name, &compute) && dtype_is_float(compute)) {
        reader->layer->compute = compute;
        return;
    }
    char method[16];
    (void)snprintf(method, sizeof method, "%.*s", name ? (int)strcspn(name, "_/") : 0, name ? name : "");
    if (*method && word_index(quantised, method) >= 0)
        config_refuse(
            reader, H5PT_UNSUPPORTED_DTYPE, "dtype",
            "The layer is quantised (\"%.60s\"): it rounds its inputs at run time. Save the model before quantize()",
            name);
    else
        config_refuse(
            reader, H5PT_UNSUPPORTED_DTYPE, "dtype",
            "The layer computes in \"%.60s\"; supported are float16, bfloat16, float32, float64, mixed_float16 and "
            "mixed_bfloat16",
            name ? name : "an unknown policy");
}

void config_check_policy(struct config_reader *reader)
{
    enum dtype outer = reader->layer->compute;
    const char *mixed;
    if (reader->layer->compute_given)
        return;
    if (!json_is_string(json_object_get(reader->json, "dtype")) &&
        !json_is_object(json_object_get(reader->json, "dtype")))
        return;
    reader->layer->compute = DTYPE_F32;
    config_read_policy(reader, &mixed);
    if (reader->layer->compute != outer)
        config_refuse(reader, H5PT_UNSUPPORTED_DTYPE, "dtype", "The inner layer computes in %s, the outer one in %s",
                      dtype_name(reader->layer->compute), dtype_name(outer));
    reader->layer->compute = outer;
}

void config_read_storage(struct config_reader *reader)
{
    struct keras_layer *layer = reader->layer;
    if (config_get(reader, "quantization_config"))
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "quantization_config",
                      "The layer is quantised (quantization_config): it rounds its inputs at run time. Save the model "
                      "before quantize()");
    double alpha = config_double(reader, "lora_alpha", 0);
    if (!config_get(reader, "lora_rank"))
        return;
    layer->low_rank = config_size(reader, "lora_rank", 1);
    layer->low_rank_scale = config_get(reader, "lora_alpha") ? alpha / (double)layer->low_rank : 1;
}
