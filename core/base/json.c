/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

#include "base/strbuf.h"

/* The length of the bare word at p, or 0. */
static size_t bare_word(const char *p, size_t left, const char *before)
{
    static const char *const words[] = {"-Infinity", "Infinity", "NaN"};
    if (before && (isalnum((unsigned char)*before) || *before == '_'))
        return 0;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = strlen(words[i]);
        if (left >= n && memcmp(p, words[i], n) == 0)
            return n;
    }
    return 0;
}

static void quote_bare_words(const char *text, size_t length, struct strbuf *out)
{
    bool in_string = false;
    size_t from = 0;
    for (size_t i = 0; i < length; i++) {
        if (in_string) {
            if (text[i] == '\\')
                i++;
            else if (text[i] == '"')
                in_string = false;
            continue;
        }
        if (text[i] == '"') {
            in_string = true;
            continue;
        }
        if (text[i] != 'N' && text[i] != 'I' && text[i] != '-')
            continue;
        size_t n = bare_word(text + i, length - i, i ? text + i - 1 : NULL);
        if (!n)
            continue;
        strbuf_add_bytes(out, text + from, i - from);
        strbuf_addf(out, "\"%.*s\"", (int)n, text + i);
        i += n - 1;
        from = i + 1;
    }
    strbuf_add_bytes(out, text + from, length - from);
}

json_t *json_parse(const char *text, size_t length, const char *where, struct h5pt_error *err)
{
    struct strbuf clean = STRBUF_INIT;
    quote_bare_words(text, length, &clean);
    if (!strbuf_ok(&clean)) {
        strbuf_release(&clean);
        h5pt_fail_memory(err);
        return NULL;
    }
    json_error_t error;
    json_t *root = json_loadb(strbuf_text(&clean), clean.length, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    strbuf_release(&clean);
    if (!root)
        h5pt_fail(err, H5PT_CONFIG_MALFORMED, where, "The JSON text is not valid at line %d, column %d: %s", error.line,
                  error.column, error.text);
    return root;
}

const json_t *json_unwrap(const json_t *value)
{
    if (!json_is_object(value))
        return value;
    const json_t *type = json_object_get(value, "type"), *class_name = json_object_get(value, "class_name");
    const char *kind = json_string_value(type ? type : class_name);
    if (!kind)
        return value;
    const json_t *inner = NULL;
    if (type && strcmp(kind, "ndarray") == 0)
        inner = json_object_get(value, "value");
    else if (strcmp(kind, "__numpy__") == 0 || strcmp(kind, "__tensor__") == 0)
        inner = json_object_get(json_object_get(value, "config"), "value");
    else if (strcmp(kind, "__tuple__") == 0)
        inner = json_object_get(value, "items");
    return inner ? inner : value;
}

bool json_read_double(const json_t *value, double *ret)
{
    value = json_unwrap(value);
    if (json_is_number(value)) {
        *ret = json_number_value(value);
        return true;
    }
    const char *text = json_string_value(value);
    if (!text)
        return false;
    if (strcmp(text, "NaN") == 0)
        *ret = (double)NAN;
    else if (strcmp(text, "Infinity") == 0)
        *ret = (double)INFINITY;
    else if (strcmp(text, "-Infinity") == 0)
        *ret = -(double)INFINITY;
    else
        return false;
    return true;
}

bool json_read_int(const json_t *value, long long *ret)
{
    value = json_unwrap(value);
    if (json_is_integer(value)) {
        *ret = json_integer_value(value);
        return true;
    }
    double d;
    if (!json_is_real(value) || !json_read_double(value, &d) || d != floor(d) || fabs(d) > 9e15)
        return false;
    *ret = (long long)d;
    return true;
}
