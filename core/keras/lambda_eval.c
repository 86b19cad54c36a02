/* SPDX-License-Identifier: Apache-2.0 */
/* Source: the documentation of the module dis, and CPython's compile.c and ceval.c where it leaves things open. */
#include "keras/lambda_eval.h"

#include <string.h>

#include "keras/lambda_frame.h"

/* ---- names, attributes, functions ---- */

static enum outcome load_global(struct frame *f, int arg)
{
    char name[PY_PRINTABLE_SIZE];
    enum py_version v = f->program.version;
    bool with_nothing = v >= PY_311 && (arg & 1);
    if (!frame_name(f, v >= PY_311 ? arg >> 1 : arg, name))
        return FAILED;
    if (with_nothing && v < PY_313 && frame_push(f, frame_nothing(f)) != FOLLOWED)
        return FAILED;
    if (frame_push(f, lambda_global(f->l, name)) != FOLLOWED)
        return FAILED;
    return with_nothing && v >= PY_313 ? frame_push(f, frame_nothing(f)) : FOLLOWED;
}

/* Methods are values like others here; the place of `self` stays empty. */
static enum outcome load_attribute(struct frame *f, int index, bool method)
{
    char name[PY_PRINTABLE_SIZE];
    const json_t *x = frame_pop(f);
    bool before = f->program.version < PY_313;
    if (!x || !frame_name(f, index, name))
        return FAILED;
    if (method && before && frame_push(f, frame_nothing(f)) != FOLLOWED)
        return FAILED;
    if (frame_push(f, lambda_attribute(f->l, x, name)) != FOLLOWED)
        return FAILED;
    return method && !before ? frame_push(f, frame_nothing(f)) : FOLLOWED;
}

static enum outcome make_function(struct frame *f, const json_t *function, const json_t *defaults,
                                  const json_t *closure)
{
    const json_t *none = trace_null(f->t), *index = json_object_get(function, "lambda");
    if (!json_is_integer(index))
        return frame_fail(f);
    return frame_push(f, trace_object(f->t, "lambda", index, "defaults", defaults ? defaults : none, "closure",
                                      closure ? closure : none, NULL));
}

/* Since 3.6 the argument tells what lies on the stack; before, it counts the defaults. */
static enum outcome make_function_of(struct frame *f, const struct py_instruction *i)
{
    enum py_version v = f->program.version;
    const json_t *defaults = NULL, *closure = NULL;
    if (v >= PY_35 && v <= PY_310 && !frame_pop(f)) /* the qualified name */
        return FAILED;
    const json_t *function = frame_pop(f);
    if (!function)
        return FAILED;
    if (v >= PY_36) {
        if (i->arg & ~9)
            return frame_fail(f);
        if ((i->arg & 8) && !(closure = frame_pop(f)))
            return FAILED;
        if ((i->arg & 1) && !(defaults = frame_pop(f)))
            return FAILED;
        return make_function(f, function, defaults, closure);
    }
    if (i->op == PY_OP_MAKE_CLOSURE && !(closure = frame_pop(f)))
        return FAILED;
    if (!(defaults = frame_pop_list(f, i->arg)))
        return FAILED;
    return make_function(f, function, defaults, closure);
}

/* 3.13: one attribute at a time, the function on top. */
static enum outcome set_function_attribute(struct frame *f, int which)
{
    const json_t *function = frame_pop(f), *value = frame_pop(f);
    if (!function || !value || (which != 1 && which != 8) || !json_object_get(function, "lambda"))
        return frame_fail(f);
    return make_function(f, function, which == 1 ? value : json_object_get(function, "defaults"),
                         which == 8 ? value : json_object_get(function, "closure"));
}

static enum outcome follow_names(struct frame *f, const struct py_instruction *i)
{
    char name[PY_PRINTABLE_SIZE];
    bool methods = f->program.version >= PY_312;
    switch (i->op) {
    case PY_OP_LOAD_GLOBAL: return load_global(f, i->arg);
    case PY_OP_LOAD_ATTR: return load_attribute(f, methods ? i->arg >> 1 : i->arg, methods && (i->arg & 1));
    case PY_OP_LOAD_METHOD: return load_attribute(f, i->arg, true);
    case PY_OP_IMPORT_NAME: { /* the names that are imported from it decide which module of a path is meant */
        const json_t *from = frame_pop(f), *level = frame_pop(f);
        if (!from || !level || !frame_name(f, i->arg, name))
            return FAILED;
        if (json_is_null(from))
            name[strcspn(name, ".")] = 0;
        return frame_push(f, lambda_import(f->l, name));
    }
    case PY_OP_IMPORT_FROM:
        if (f->depth < 1 || !frame_name(f, i->arg, name))
            return frame_fail(f);
        return frame_push(f, lambda_attribute(f->l, f->stack[f->depth - 1], name));
    case PY_OP_MAKE_FUNCTION:
    case PY_OP_MAKE_CLOSURE: return make_function_of(f, i);
    case PY_OP_SET_FUNCTION_ATTRIBUTE: return set_function_attribute(f, i->arg);
    default: return NOT_MINE;
    }
}

/* ---- calls ---- */

static bool is_nothing(const json_t *value)
{
    return json_object_get(value, "nothing") != NULL;
}

/* The last arguments by their names. */
static enum outcome call(struct frame *f, int count, const json_t *names, bool two_places)
{
    json_t *kwargs = json_object();
    int named = (int)json_array_size(names);
    const json_t *kept = trace_keep(f->t, kwargs), *all = frame_pop_list(f, count);
    if (!kept || !all || named > count)
        return frame_fail(f);
    json_t *args = json_array();
    for (int i = 0; i < count; i++) {
        json_t *value = json_array_get(all, (size_t)i);
        const char *name = i >= count - named ? json_string_value(json_array_get(names, (size_t)(i - count + named)))
                                              : NULL;
        (void)(name ? json_object_set(kwargs, name, value) : json_array_append(args, value));
    }
    const json_t *positional = trace_keep(f->t, args), *callable = frame_pop(f),
                 *other = two_places ? frame_pop(f) : NULL;
    if (!positional || !callable || (two_places && !other))
        return FAILED;
    if (two_places) {
        if (is_nothing(callable) == is_nothing(other))
            return frame_fail(f);
        callable = is_nothing(callable) ? other : callable;
    }
    return frame_push(f, lambda_call(f->l, callable, positional, kept));
}

/* Python 2.7 and 3.5: positional arguments, then names and values in turn. */
static enum outcome call_old(struct frame *f, int arg)
{
    int positional = arg & 0xff, named = (arg >> 8) & 0xff;
    json_t *names = json_array();
    const json_t *kept = trace_keep(f->t, names), *pairs = frame_pop_list(f, 2 * named);
    for (int i = 0; kept && pairs && i < named; i++) {
        (void)json_array_append(names, json_array_get(pairs, 2 * (size_t)i));
        if (frame_push(f, json_array_get(pairs, 2 * (size_t)i + 1)) != FOLLOWED)
            return FAILED;
    }
    return kept && pairs ? call(f, positional + named, kept, false) : FAILED;
}

/* f(*args, **kwargs) with the two ready-made. */
static enum outcome call_ex(struct frame *f, int flags)
{
    enum py_version v = f->program.version;
    const json_t *kwargs = flags & 1 ? frame_pop(f) : NULL, *args = frame_pop(f), *callable = frame_pop(f),
                 *other = v >= PY_311 ? frame_pop(f) : NULL;
    if (!args || !callable || (v >= PY_311 && !other) || !json_is_array(args))
        return frame_fail(f);
    if (v >= PY_313)
        callable = other;
    return frame_push(f, lambda_call(f->l, callable, args, kwargs));
}

static enum outcome follow_calls(struct frame *f, const struct py_instruction *i)
{
    const json_t *names;
    switch (i->op) {
    case PY_OP_KW_NAMES:
        if (frame_load_const(f, i->arg) != FOLLOWED)
            return FAILED;
        f->keyword_names = frame_pop(f);
        return FOLLOWED;
    case PY_OP_CALL:
        names = f->keyword_names;
        f->keyword_names = NULL;
        return call(f, i->arg, names, true);
    case PY_OP_CALL_KW: return (names = frame_pop(f)) ? call(f, i->arg, names, true) : FAILED;
    case PY_OP_CALL_METHOD: return call(f, i->arg, NULL, true);
    case PY_OP_CALL_FUNCTION: return f->program.version <= PY_35 ? call_old(f, i->arg) : call(f, i->arg, NULL, false);
    case PY_OP_CALL_FUNCTION_KW:
        if (f->program.version <= PY_35)
            return frame_fail(f);
        return (names = frame_pop(f)) ? call(f, i->arg, names, false) : FAILED;
    case PY_OP_CALL_FUNCTION_EX: return call_ex(f, i->arg);
    default: return NOT_MINE;
    }
}

/* ---- jumps ---- */

static enum outcome jump(struct frame *f, int index)
{
    int target = py_jump_target(&f->program, index);
    if (target < 0) {
        (void)trace_refuse(f->t, H5PT_UNSUPPORTED_LAYER, "it holds a loop");
        return FAILED;
    }
    f->next = target;
    return FOLLOWED;
}

static enum outcome jump_if(struct frame *f, int index, bool wanted, bool keep)
{
    const json_t *value = f->depth > 0 ? f->stack[f->depth - 1] : frame_pop(f);
    int truth = value ? lambda_truth(f->l, value) : -1;
    if (truth < 0)
        return FAILED;
    bool taken = (truth != 0) == wanted;
    if (!keep || !taken)
        (void)frame_pop(f);
    return taken ? jump(f, index) : FOLLOWED;
}

static enum outcome follow_jumps(struct frame *f, const struct py_instruction *i, int index)
{
    const json_t *value;
    switch (i->op) {
    case PY_OP_JUMP_FORWARD:
    case PY_OP_JUMP_ABSOLUTE: return jump(f, index);
    case PY_OP_POP_JUMP_IF_FALSE:
    case PY_OP_POP_JUMP_IF_TRUE:
    case PY_OP_POP_JUMP_FORWARD_IF_FALSE:
    case PY_OP_POP_JUMP_FORWARD_IF_TRUE:
        return jump_if(f, index, i->op == PY_OP_POP_JUMP_IF_TRUE || i->op == PY_OP_POP_JUMP_FORWARD_IF_TRUE, false);
    case PY_OP_JUMP_IF_FALSE_OR_POP:
    case PY_OP_JUMP_IF_TRUE_OR_POP: return jump_if(f, index, i->op == PY_OP_JUMP_IF_TRUE_OR_POP, true);
    case PY_OP_POP_JUMP_IF_NONE:
    case PY_OP_POP_JUMP_IF_NOT_NONE:
    case PY_OP_POP_JUMP_FORWARD_IF_NONE:
    case PY_OP_POP_JUMP_FORWARD_IF_NOT_NONE:
        if (!(value = frame_pop(f)))
            return FAILED;
        return (json_is_null(value) != 0) ==
                       (i->op == PY_OP_POP_JUMP_IF_NONE || i->op == PY_OP_POP_JUMP_FORWARD_IF_NONE)
                   ? jump(f, index)
                   : FOLLOWED;
    default: return NOT_MINE;
    }
}

/* ---- one function ---- */

static enum outcome follow(struct frame *f)
{
    int index = f->next++;
    const struct py_instruction *i = &f->program.instructions[index];
    enum outcome outcome = follow_variables(f, i);
    if (outcome == NOT_MINE)
        outcome = follow_stack(f, i);
    if (outcome == NOT_MINE)
        outcome = follow_operators(f, i);
    if (outcome == NOT_MINE)
        outcome = follow_lists(f, i);
    if (outcome == NOT_MINE)
        outcome = follow_names(f, i);
    if (outcome == NOT_MINE)
        outcome = follow_calls(f, i);
    if (outcome == NOT_MINE)
        outcome = follow_jumps(f, i, index);
    if (outcome == NOT_MINE) {
        (void)trace_refuse(f->t, H5PT_UNSUPPORTED_LAYER, "it uses the instruction %s", py_op_name(i->op));
        return FAILED;
    }
    return f->t->why.code ? FAILED : outcome;
}

static bool bind_one(struct frame *f, const char *name, const json_t *value)
{
    char parameter[PY_PRINTABLE_SIZE];
    for (int i = 0; i < f->code->argcount + f->code->kwonly; i++)
        if (frame_text(f->code->varnames, i, parameter) && strcmp(parameter, name) == 0 && !f->locals[i]) {
            f->locals[i] = value;
            return true;
        }
    return false;
}

/* Parameters from positional arguments, keywords and defaults, as Python binds them. */
static bool bind(struct frame *f, const json_t *args, const json_t *kwargs, const json_t *defaults)
{
    const struct py_code *c = f->code;
    int given = (int)json_array_size(args), count = c->argcount, extra = count + c->kwonly;
    const char *name;
    json_t *value, *rest = json_array(), *others = json_object();
    bool kept = trace_keep(f->t, rest) && trace_keep(f->t, others);
    for (int i = 0; kept && i < given; i++) {
        if (i < count)
            f->locals[i] = json_array_get(args, (size_t)i);
        else if (c->flags & PY_VARARGS)
            (void)json_array_append(rest, json_array_get(args, (size_t)i));
        else
            return false;
    }
    json_object_foreach((json_t *)kwargs, name, value)
    {
        if (bind_one(f, name, value))
            continue;
        if (!(c->flags & PY_VARKEYWORDS))
            return false;
        (void)json_object_set(others, name, value);
    }
    int first = count - (int)json_array_size(defaults);
    for (int i = 0; i < count; i++)
        if (!f->locals[i] && (i < first || !(f->locals[i] = json_array_get(defaults, (size_t)(i - first)))))
            return false;
    for (int i = count; i < extra; i++)
        if (!f->locals[i])
            return false;
    if (c->flags & PY_VARARGS)
        f->locals[extra++] = rest;
    if (c->flags & PY_VARKEYWORDS)
        f->locals[extra] = others;
    return kept;
}

/* Free variables come with the function; before 3.11 parameters that are cells too have to be copied. */
static bool bind_cells(struct frame *f, const json_t *closure)
{
    const struct py_code *c = f->code;
    size_t used = 0, n = json_array_size(closure);
    if (c->layout == PY_LAYOUT_311) {
        for (size_t i = 0; i < c->varnames->count; i++)
            if (c->kinds->bytes[i] & PY_KIND_FREE)
                f->locals[i] = used < n ? json_array_get(closure, used++) : NULL;
        return true;
    }
    if (c->cellvars->count + c->freevars->count > LAMBDA_LOCALS_MAX)
        return false;
    for (size_t i = 0; i < c->cellvars->count; i++)
        for (size_t k = 0; k < c->varnames->count && k < LAMBDA_LOCALS_MAX; k++) {
            const struct py_object *a = c->cellvars->items[i], *b = c->varnames->items[k];
            if (a->count == b->count && memcmp(a->bytes, b->bytes, a->count) == 0)
                f->cells[i] = f->locals[k];
        }
    for (size_t i = 0; i < c->freevars->count && i < n; i++)
        f->cells[c->cellvars->count + i] = json_array_get(closure, i);
    return true;
}

static const json_t *run(struct frame *f)
{
    while (!f->result) {
        if (f->next >= f->program.count)
            return trace_refuse(f->t, H5PT_UNSUPPORTED_LAYER, "its code is damaged");
        if (++f->l->steps > LAMBDA_MAX_STEPS)
            return trace_refuse(f->t, H5PT_LIMIT_EXCEEDED, "it is too long");
        if (follow(f) == FAILED)
            return NULL;
    }
    return f->result;
}

const json_t *lambda_call_code(struct lambda *l, const struct py_code *code, const json_t *args, const json_t *kwargs,
                               const json_t *defaults, const json_t *closure)
{
    struct trace *t = l->t;
    struct frame *f = ARENA_NEW(t->b->arena, struct frame);
    if (!f) {
        h5pt_fail_memory(&t->why);
        return NULL;
    }
    f->l = l;
    f->t = t;
    f->code = code;
    if (++t->depth > TRACE_MAX_DEPTH)
        return trace_refuse(t, H5PT_LIMIT_EXCEEDED, "its functions are nested too deep");
    if (code->varnames->count > LAMBDA_LOCALS_MAX - 2 || !py_decode(t->b->arena, code, &f->program))
        return trace_refuse(t, H5PT_UNSUPPORTED_LAYER, "its code is of no known version of Python");
    if (!bind(f, args, kwargs, defaults) || !bind_cells(f, closure))
        return trace_refuse(t, H5PT_UNSUPPORTED_LAYER, "it is called with arguments that do not fit its parameters");
    const json_t *result = run(f);
    t->depth--;
    return result;
}
