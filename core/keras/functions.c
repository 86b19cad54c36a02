/* SPDX-License-Identifier: Apache-2.0 */
#include "keras/functions.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/words.h"

static const struct function functions[] = {
#define FUNCTION(module, names, parameters, expression) {#module, names, parameters, expression},
#include "keras/functions.def"
#undef FUNCTION
};

const struct function *function_find(const char *module, const char *name)
{
    static const char old[] = "compat.v1.";
    if (strcmp(module, "tf") == 0 && strncmp(name, old, sizeof old - 1) == 0)
        name += sizeof old - 1;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (strcmp(functions[i].module, module) == 0 && word_index(functions[i].names, name) >= 0)
            return &functions[i];
    return NULL;
}

const struct function *function_at(size_t index)
{
    return index < sizeof functions / sizeof *functions ? &functions[index] : NULL;
}

const char *function_operation(const struct function *f, size_t *length)
{
    const char *call = strchr(f->expression, '(');
    if (!isupper((unsigned char)f->expression[0]) || !call || strchr(call + 1, '('))
        return NULL;
    *length = (size_t)(call - f->expression);
    return f->expression;
}

/* ---- parameters ---- */

enum { MAX_PARAMETERS = 16, MAX_ARGUMENTS = 8 };

struct parameter {
    const char *names; /* "axis|dim" */
    size_t length;
    const json_t *value, *otherwise; /* otherwise: NULL when it must be given */
    bool ignored, rest;
};

struct call {
    struct trace *t;
    const struct function *f;
    int count;
    struct parameter parameters[MAX_PARAMETERS];
    const char *cursor; /* in the expression */
};

static const json_t *literal(struct trace *t, const char *text, size_t length)
{
    char copy[64];
    if (length >= sizeof copy)
        return trace_refuse(t, H5PT_INTERNAL, "A literal of the table of functions is too long");
    memcpy(copy, text, length);
    copy[length] = 0;
    if (strcmp(copy, "null") == 0)
        return trace_null(t);
    if (strcmp(copy, "true") == 0 || strcmp(copy, "false") == 0)
        return trace_truth(t, copy[0] == 't');
    if (copy[0] == '\'') {
        copy[length - 1] = 0;
        return trace_text(t, copy + 1);
    }
    bool number = strpbrk(copy, ".e") || strstr(copy, "inf");
    return number ? trace_number(t, strtod(copy, NULL)) : trace_integer(t, strtoll(copy, NULL, 10));
}

static void read_parameters(struct call *c)
{
    size_t length;
    const char *cursor = c->f->parameters;
    for (const char *word; (word = word_next(&cursor, &length)) && c->count < MAX_PARAMETERS;) {
        struct parameter *p = &c->parameters[c->count++];
        const char *equals = memchr(word, '=', length);
        *p = (struct parameter){.ignored = word[0] == '-', .rest = word[0] == '*'};
        p->names = word + (p->ignored || p->rest);
        p->length = (size_t)((equals ? equals : word + length) - p->names);
        if (equals)
            p->otherwise = literal(c->t, equals + 1, (size_t)(word + length - equals - 1));
    }
}

/* True when `name` is one of "axis|dim". */
static bool named(const struct parameter *p, const char *name, size_t length)
{
    for (size_t from = 0, to; from < p->length; from = to + 1) {
        for (to = from; to < p->length && p->names[to] != '|'; to++)
            continue;
        if (to - from == length && memcmp(p->names + from, name, length) == 0)
            return true;
    }
    return false;
}

static struct parameter *parameter_find(struct call *c, const char *name, size_t length)
{
    for (int i = 0; i < c->count; i++)
        if (named(&c->parameters[i], name, length))
            return &c->parameters[i];
    return NULL;
}

static const json_t *refuse_argument(const struct call *c, const char *name)
{
    return trace_refuse(c->t, H5PT_UNSUPPORTED_CALL_ARGUMENT,
                        "%s is called with the argument \"%.60s\", which is not supported", c->f->names, name);
}

static bool bind_positional(struct call *c, const json_t *args)
{
    size_t n = json_array_size(args);
    for (size_t i = 0; i < n; i++) {
        if (i < (size_t)c->count && c->parameters[i].rest) {
            json_t *rest = json_array();
            for (size_t k = i; k < n; k++)
                (void)json_array_append(rest, json_array_get(args, k));
            c->parameters[i].value = trace_keep(c->t, rest);
            return c->parameters[i].value != NULL;
        }
        if (i >= (size_t)c->count)
            return trace_refuse(c->t, H5PT_UNSUPPORTED_CALL_ARGUMENT,
                                "%s is called with %zu arguments, which is not supported", c->f->names, n) != NULL;
        c->parameters[i].value = json_array_get(args, i);
    }
    return true;
}

static bool bind_keywords(struct call *c, const json_t *kwargs)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)kwargs, key, value)
    {
        struct parameter *p = parameter_find(c, key, strlen(key));
        if (p && p->value)
            return refuse_argument(c, key) != NULL;
        if (p)
            p->value = value;
        else if (!json_is_null(value) && strcmp(key, "name") != 0)
            return refuse_argument(c, key) != NULL;
    }
    return true;
}

/* True when the expression names the parameter. */
static bool is_used(const struct call *c, const struct parameter *p)
{
    for (const char *at = c->f->expression; *at;) {
        size_t n = 0;
        while (isalnum((unsigned char)at[n]) || at[n] == '_')
            n++;
        if (n && named(p, at, n) && at[n] != '=')
            return true;
        at += n ? n : 1;
    }
    return false;
}

static bool same_value(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return json_number_value(a) == json_number_value(b);
    return json_equal((json_t *)a, (json_t *)b) != 0;
}

static bool settle(struct call *c)
{
    for (int i = 0; i < c->count; i++) {
        struct parameter *p = &c->parameters[i];
        char name[64];
        size_t length = p->length < sizeof name ? p->length : sizeof name - 1;
        memcpy(name, p->names, length);
        name[length] = 0;
        if (p->rest && !p->value)
            p->value = trace_list(c->t, NULL, 0);
        if (p->ignored)
            continue;
        if (!p->value || (json_is_null(p->value) && p->otherwise))
            p->value = p->otherwise;
        if (!p->value)
            return trace_refuse(c->t, H5PT_UNSUPPORTED_CALL_ARGUMENT, "%s is called without \"%s\"", c->f->names,
                                name) != NULL;
        if (!is_used(c, p) && p->otherwise && !same_value(p->value, p->otherwise))
            return refuse_argument(c, name) != NULL;
    }
    return !c->t->why.code;
}

/* ---- expressions ---- */

static const json_t *expression(struct call *c);

static void skip_spaces(struct call *c)
{
    while (*c->cursor == ' ')
        c->cursor++;
}

/* True, and steps over it, when the next character is `symbol`. */
static bool accept(struct call *c, char symbol)
{
    skip_spaces(c);
    if (*c->cursor != symbol)
        return false;
    c->cursor++;
    skip_spaces(c);
    return true;
}

static size_t identifier(struct call *c, const char **ret)
{
    size_t n = 0;
    skip_spaces(c);
    *ret = c->cursor;
    while (isalnum((unsigned char)c->cursor[n]) || c->cursor[n] == '_')
        n++;
    c->cursor += n;
    return n;
}

/* Items up to `;` or the closing bracket, neither of which is consumed. */
static int items(struct call *c, const json_t **ret)
{
    int n = 0;
    skip_spaces(c);
    while (*c->cursor && !strchr(";)]", *c->cursor)) {
        if (n == MAX_ARGUMENTS || !(ret[n++] = expression(c)))
            return -1;
        if (!accept(c, ','))
            break;
    }
    return n;
}

static const json_t *configuration(struct call *c)
{
    json_t *config = json_object();
    const char *key;
    for (size_t n; (n = identifier(c, &key)) > 0; (void)accept(c, ',')) {
        const struct parameter *p = parameter_find(c, key, n);
        const json_t *value = accept(c, '=') ? expression(c) : p ? p->value : NULL;
        char name[64];
        if (!value || n >= sizeof name) {
            json_decref(config);
            return trace_refuse(c->t, H5PT_INTERNAL, "The row of %s in the table of functions is wrong", c->f->names);
        }
        memcpy(name, key, n);
        name[n] = 0;
        (void)json_object_set(config, name, (json_t *)value);
    }
    return trace_keep(c->t, config);
}

static const json_t *operation(struct call *c, const char *name, size_t length)
{
    char class_name[64];
    const json_t *args[MAX_ARGUMENTS], *config = NULL;
    int count = items(c, args);
    if (count >= 0 && accept(c, ';') && !(config = configuration(c)))
        return NULL;
    if (count < 0 || !accept(c, ')') || length >= sizeof class_name)
        return trace_refuse(c->t, H5PT_INTERNAL, "The row of %s in the table of functions is wrong", c->f->names);
    memcpy(class_name, name, length);
    class_name[length] = 0;
    return trace_operation(c->t, class_name, config, trace_list(c->t, args, (size_t)count));
}

static const json_t *adapter(struct call *c)
{
    const char *name;
    size_t length = identifier(c, &name);
    const struct function_adapter *a = function_adapter_find(name, length);
    const json_t *args[MAX_ARGUMENTS];
    int count = accept(c, '(') ? items(c, args) : -1;
    if (count >= 0 && accept(c, ')') && a && a->count == count)
        return a->call(c->t, args);
    return trace_refuse(c->t, H5PT_INTERNAL, "The row of %s in the table of functions is wrong", c->f->names);
}

static const json_t *list(struct call *c)
{
    const json_t *values[MAX_ARGUMENTS];
    int count = items(c, values);
    if (count < 0 || !accept(c, ']'))
        return NULL;
    return trace_list(c->t, values, (size_t)count);
}

static const json_t *expression(struct call *c)
{
    const char *name;
    if (accept(c, '@'))
        return adapter(c);
    if (accept(c, '['))
        return list(c);
    if (*c->cursor == '\'' || *c->cursor == '-' || isdigit((unsigned char)*c->cursor)) {
        const char *start = c->cursor++;
        while (*c->cursor && !strchr(",;)] ", *c->cursor))
            c->cursor++;
        return literal(c->t, start, (size_t)(c->cursor - start));
    }
    size_t length = identifier(c, &name);
    if (length && accept(c, '('))
        return operation(c, name, length);
    const struct parameter *p = parameter_find(c, name, length);
    return p ? p->value : literal(c->t, name, length);
}

const json_t *function_call(struct trace *t, const struct function *f, const json_t *args, const json_t *kwargs)
{
    struct call c = {.t = t, .f = f, .cursor = f->expression};
    if (++t->depth > TRACE_MAX_DEPTH)
        return trace_refuse(t, H5PT_LIMIT_EXCEEDED, "Functions are nested too deep");
    read_parameters(&c);
    const json_t *result = bind_positional(&c, args) && bind_keywords(&c, kwargs) && settle(&c) ? expression(&c) : NULL;
    t->depth--;
    if (!result)
        return trace_refuse(t, H5PT_UNSUPPORTED_OPERATION, "%s cannot be expressed by operations of Keras", f->names);
    return result;
}

const json_t *function_call_operation(struct trace *t, const struct function *f, const json_t *config,
                                      const json_t *arguments)
{
    json_t *named = json_object();
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)config, key, value)
    {
        (void)json_object_set(named, key, value);
    }
    json_object_foreach(json_object_get(arguments, "kwargs"), key, value)
    {
        (void)json_object_set(named, key, value);
    }
    const json_t *kwargs = trace_keep(t, named);
    return kwargs ? function_call(t, f, json_object_get(arguments, "args"), kwargs) : NULL;
}
