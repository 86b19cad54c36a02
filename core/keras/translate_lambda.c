/* SPDX-License-Identifier: Apache-2.0 */
/* Lambda: the function stands in the file as marshalled bytecode. It is read, never run. */
#include <stdlib.h>
#include <string.h>

#include "base/words.h"
#include "keras/functions.h"
#include "keras/lambda_eval.h"
#include "keras/translate.h"
#include "layers/layer.h"

/* ---- the text ---- */

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

unsigned char *base64_decode(const char *text, size_t text_length, size_t *length)
{
    unsigned char *bytes = malloc(text_length / 4 * 3 + 4);
    unsigned value = 0, digits = 0;
    size_t n = 0;
    bool padded = false;
    for (size_t i = 0; bytes && i < text_length; i++) {
        int digit = base64_digit(text[i]);
        if (text[i] == '\n' || text[i] == '\r')
            continue;
        padded = padded || text[i] == '=';
        if (digit < 0 && text[i] == '=')
            continue;
        if (digit < 0 || padded) {
            free(bytes);
            return NULL;
        }
        value = (value << 6 | (unsigned)digit) & 0xffffff;
        if (++digits % 4 == 0) {
            bytes[n++] = (unsigned char)(value >> 16);
            bytes[n++] = (unsigned char)(value >> 8);
            bytes[n++] = (unsigned char)value;
        }
    }
    if (bytes && digits % 4 >= 2)
        bytes[n++] = (unsigned char)(digits % 4 == 3 ? value >> 10 : value >> 4);
    if (bytes && digits % 4 == 3)
        bytes[n++] = (unsigned char)(value >> 2);
    *length = n;
    return bytes;
}

/* Keras before 2.1 wrote each byte as a character ("raw_unicode_escape"); characters beyond 255 were escapes by chance. */
static unsigned char *latin_decode(const char *text, size_t text_length, size_t *length)
{
    unsigned char *bytes = malloc(6 * text_length + 1);
    size_t n = 0;
    for (size_t i = 0; bytes && i < text_length;) {
        unsigned char c = (unsigned char)text[i++];
        int more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : c >= 0xc0 ? 1 : 0;
        unsigned long point = more == 0 ? c : c & (0x3fu >> more);
        for (; more > 0 && i < text_length; more--)
            point = point << 6 | ((unsigned char)text[i++] & 0x3fu);
        if (point < 256)
            bytes[n++] = (unsigned char)point;
        else
            n += (size_t)snprintf((char *)bytes + n, 7, "\\u%04lx", point & 0xffff);
    }
    *length = n;
    return bytes;
}

/* The bytes of the code, in the arena; NULL without memory. */
static const unsigned char *code_bytes(struct arena *arena, const json_t *text, size_t *length)
{
    const char *string = json_string_value(text);
    size_t n = json_string_length(text);
    unsigned char *decoded = base64_decode(string, n, length);
    if (!decoded || *length == 0 || ((decoded[0] & 0x7f) != 'c')) {
        free(decoded);
        decoded = latin_decode(string, n, length);
    }
    unsigned char *bytes = decoded ? ARENA_ARRAY(arena, unsigned char, *length + 1) : NULL;
    if (bytes)
        memcpy(bytes, decoded, *length);
    free(decoded);
    return bytes;
}

/* ---- the configuration ---- */

/* The three parts of a function: [code, defaults, closure] in Keras 1 and 2, an object in Keras 3. */
struct stored {
    const json_t *code, *defaults, *closure;
};

static struct stored stored_function(const json_t *function)
{
    const json_t *config = json_object_get(function, "config"), *list = json_is_array(function) ? function : NULL;
    if (json_is_object(config) && json_object_get(config, "value"))
        list = json_object_get(config, "value");
    if (list)
        return (struct stored){json_array_get(list, 0), json_array_get(list, 1), json_array_get(list, 2)};
    return (struct stored){json_object_get(config, "code"), json_object_get(config, "defaults"),
                           json_object_get(config, "closure")};
}

/* A function that is stored by its name only: those of Keras itself are known. */
static const json_t *named_function(struct trace *t, const json_t *function, const json_t *input)
{
    const json_t *name = json_is_object(function) ? json_object_get(function, "config") : function;
    const char *module = json_string_value(
        json_object_get(json_is_object(function) ? function : t->origin->json, "module"));
    const struct function *f = json_is_string(name) && module && strstr(module, "activations")
                                   ? function_find("activations", json_string_value(name))
                                   : NULL;
    if (f)
        return function_call(t, f, TRACE_LIST(t, input), NULL);
    return trace_refuse(t, H5PT_UNSUPPORTED_LAYER,
                        "The Lambda holds only the name of a Python function, \"%.80s\": its code is not in the file",
                        json_is_string(name) ? json_string_value(name) : "?");
}

/* ---- what it does ---- */

static bool has_parameter(const struct py_code *code, const char *name)
{
    for (int i = 0; i < code->argcount + code->kwonly && i < (int)code->varnames->count; i++) {
        const struct py_object *o = code->varnames->items[i];
        if (o->count == strlen(name) && memcmp(o->bytes, name, o->count) == 0)
            return true;
    }
    return false;
}

/* What Keras hands to the function beside its input: `arguments`, and mask and training where it has such parameters. */
static const json_t *keywords(struct trace *t, const struct py_code *code, const json_t *input)
{
    const json_t *given = json_object_get(t->origin->json, "arguments");
    json_t *kwargs = json_is_object(given) ? json_copy((json_t *)given) : json_object();
    const json_t *kept = trace_keep(t, kwargs);
    struct keras_value *tensor = trace_value(t, input), *mask = NULL;
    if (!kept)
        return NULL;
    if (has_parameter(code, "mask") && !json_object_get(kwargs, "mask")) {
        if (tensor && tensor->masked && build_mask(t->b, tensor, &mask) < 0)
            return NULL;
        (void)json_object_set(kwargs, "mask", (json_t *)(mask ? trace_tensor(t, mask) : trace_null(t)));
    }
    if (has_parameter(code, "training") && !json_object_get(kwargs, "training"))
        (void)json_object_set(kwargs, "training", (json_t *)trace_truth(t, false));
    return kept;
}

/* Says why, and what was seen. */
static const json_t *refuse_code(struct trace *t, const struct py_code *code)
{
    struct py_program program;
    struct strbuf text = STRBUF_INIT;
    struct h5pt_error why = t->why;
    if (why.code == H5PT_OUT_OF_MEMORY || why.code == H5PT_OK)
        return NULL;
    if (py_decode(t->b->arena, code, &program)) {
        strbuf_addf(&text, "Python %s: ", py_version_name(program.version));
        py_disassemble(&program, 200, &text);
    }
    if (why.code == H5PT_UNSUPPORTED_OPERATION || why.code == H5PT_UNSUPPORTED_CALL_ARGUMENT)
        why.code = H5PT_UNSUPPORTED_LAYER;
    t->why = (struct h5pt_error){.code = H5PT_OK};
    (void)trace_refuse(t, why.code, "The function of the Lambda is not supported: %.200s (%s)", why.message,
                       strbuf_text(&text));
    strbuf_release(&text);
    return NULL;
}

/* A function that was given by its name is not converted, although tf.keras and older Keras store its bytecode as well. */
static bool is_lambda(const struct py_code *code)
{
    static const char name[] = "<lambda>";
    return code->name->count == sizeof name - 1 && memcmp(code->name->bytes, name, sizeof name - 1) == 0;
}

static const struct py_code *read_code(struct trace *t, const json_t *text)
{
    size_t length = 0;
    const unsigned char *bytes = code_bytes(t->b->arena, text, &length);
    for (int layout = 0; bytes && layout < PY_LAYOUT_COUNT; layout++) {
        struct py_program program;
        const struct py_code *code = py_unmarshal(t->b->arena, bytes, length, (enum py_layout)layout);
        if (code && py_decode(t->b->arena, code, &program))
            return code;
    }
    (void)trace_refuse(t, H5PT_UNSUPPORTED_LAYER,
                       "The function of the Lambda is no bytecode of CPython 2.7 or 3.5 to 3.13, or is damaged");
    return NULL;
}

const json_t *translate_lambda(struct trace *t, const json_t *arguments)
{
    const json_t *config = t->origin->json, *function = json_object_get(config, "function");
    const json_t *input = layer_argument(arguments, 0, "inputs"), *mask = json_object_get(config, "mask");
    struct stored stored = stored_function(function);
    struct lambda l = {.t = t};
    if (mask && !json_is_null(mask))
        return trace_refuse(t, H5PT_UNSUPPORTED_MASK, "The Lambda computes a mask with a function of its own");
    if (!input)
        return trace_refuse(t, H5PT_UNSUPPORTED_CALL_ARGUMENT, "The Lambda is called without a tensor");
    if (!json_is_string(stored.code))
        return named_function(t, function, input);
    const struct py_code *code = read_code(t, stored.code);
    char name[PY_PRINTABLE_SIZE];
    if (code && !is_lambda(code))
        return trace_refuse(t, H5PT_UNSUPPORTED_LAYER,
                            "The Lambda holds a named Python function, \"%s\", no lambda expression",
                            py_printable(code->name, name));
    const json_t *kwargs = code ? keywords(t, code, input) : NULL;
    if (!kwargs)
        return NULL;
    const json_t *result = lambda_call_code(&l, code, TRACE_LIST(t, input), kwargs, stored.defaults, stored.closure);
    if (!result && t->b->err->code == H5PT_OK)
        return refuse_code(t, code);
    return result ? lambda_plain(&l, result) : NULL;
}
