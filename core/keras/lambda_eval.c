/* SPDX-License-Identifier: Apache-2.0 */
/* Source: the documentation of the module dis, and CPython's compile.c and ceval.c where it leaves things open. */
#include "keras/lambda_eval.h"

#include <string.h>

enum { STACK_MAX = 128, LOCALS_MAX = 256 };

/* What following one instruction gave. */
enum outcome { FOLLOWED, NOT_MINE, FAILED };

struct frame {
    struct lambda *l;
    struct trace *t;
    struct py_program program;
    const struct py_code *code;
    const json_t *locals[LOCALS_MAX]; /* NULL: not set. From 3.11 on, cells and free variables are locals too */
    const json_t *cells[LOCALS_MAX];  /* before 3.11: cell variables, then free ones */
    bool cell_used[LOCALS_MAX];       /* a function took the value of the cell along: it must not change any more */
    const json_t *stack[STACK_MAX];
    int depth, next;             /* of the stack; index of the instruction to follow */
    const json_t *keyword_names; /* of KW_NAMES, for the next call */
    const json_t *result;        /* once it returned */
};

/* ---- stack, names ---- */

static enum outcome fail(struct frame *f)
{
    (void)trace_refuse(f->t, H5PT_UNSUPPORTED_LAYER, "it does something that is not supported");
    return FAILED;
}

static enum outcome push(struct frame *f, const json_t *value)
{
    if (!value || f->depth == STACK_MAX)
        return fail(f);
    f->stack[f->depth++] = value;
    return FOLLOWED;
}

/* NULL with why when the stack is empty. */
static const json_t *pop(struct frame *f)
{
    if (f->depth <= 0)
        return trace_refuse(f->t, H5PT_UNSUPPORTED_LAYER, "its code is damaged");
    return f->stack[--f->depth];
}

static const json_t *pop_list(struct frame *f, int count)
{
    if (count < 0 || count > f->depth)
        return trace_refuse(f->t, H5PT_UNSUPPORTED_LAYER, "its code is damaged");
    f->depth -= count;
    return trace_list(f->t, f->stack + f->depth, (size_t)count);
}

static const json_t *nothing(struct frame *f)
{
    return trace_object(f->t, "nothing", trace_truth(f->t, true), NULL);
}

static bool is_nothing(const json_t *value)
{
    return json_object_get(value, "nothing") != NULL;
}

static const struct py_object *item(const struct py_object *tuple, int index)
{
    return tuple && index >= 0 && (size_t)index < tuple->count ? tuple->items[index] : NULL;
}

/* A name of the code; false when it is not there, longer than names are, or not ASCII. */
static bool text_at(const struct py_object *tuple, int index, char ret[PY_PRINTABLE_SIZE])
{
    const struct py_object *o = item(tuple, index);
    return o && o->kind == PY_TEXT && o->count < PY_PRINTABLE_SIZE &&
           memcmp(py_printable(o, ret), o->bytes, o->count) == 0;
}

static bool name_at(struct frame *f, int index, char ret[PY_PRINTABLE_SIZE])
{
    if (text_at(f->code->names, index, ret))
        return true;
    (void)fail(f);
    return false;
}

/* ---- local variables and constants ---- */

static enum outcome load(struct frame *f, const json_t *const *from, int index)
{
    if (index < 0 || index >= LOCALS_MAX || !from[index]) {
        (void)trace_refuse(f->t, H5PT_UNSUPPORTED_LAYER, "it uses a variable that has no value");
        return FAILED;
    }
    return push(f, from[index]);
}

static enum outcome store(struct frame *f, const json_t **to, int index)
{
    const json_t *value = pop(f);
    if (!value || index < 0 || index >= LOCALS_MAX || f->cell_used[index])
        return fail(f);
    to[index] = value;
    return FOLLOWED;
}

static const json_t **cells(struct frame *f)
{
    return f->program.version >= PY_311 ? f->locals : f->cells;
}

static enum outcome load_const(struct frame *f, int index)
{
    const struct py_object *o = item(f->code->consts, index);
    return o ? push(f, lambda_constant(f->l, o)) : fail(f);
}

/* Superinstructions of 3.13 have two variables in one argument. */
static enum outcome follow_pairs(struct frame *f, const struct py_instruction *i)
{
    int first = i->arg >> 4, second = i->arg & 15;
    switch (i->op) {
    case PY_OP_LOAD_FAST_LOAD_FAST:
        return load(f, f->locals, first) == FOLLOWED ? load(f, f->locals, second) : FAILED;
    case PY_OP_STORE_FAST_LOAD_FAST:
        return store(f, f->locals, first) == FOLLOWED ? load(f, f->locals, second) : FAILED;
    case PY_OP_STORE_FAST_STORE_FAST:
        return store(f, f->locals, first) == FOLLOWED ? store(f, f->locals, second) : FAILED;
    default:
        return NOT_MINE;
    }
}

static enum outcome follow_variables(struct frame *f, const struct py_instruction *i)
{
    bool in_range = i->arg >= 0 && i->arg < LOCALS_MAX;
    switch (i->op) {
    case PY_OP_LOAD_CONST:
        return load_const(f, i->arg);
    case PY_OP_RETURN_CONST:
        if (load_const(f, i->arg) != FOLLOWED)
            return FAILED;
        f->result = pop(f);
        return FOLLOWED;
    case PY_OP_RETURN_VALUE:
        f->result = pop(f);
        return f->result ? FOLLOWED : FAILED;
    case PY_OP_LOAD_FAST:
    case PY_OP_LOAD_FAST_CHECK:
        return load(f, f->locals, i->arg);
    case PY_OP_STORE_FAST:
        return store(f, f->locals, i->arg);
    case PY_OP_LOAD_DEREF:
        return load(f, cells(f), i->arg);
    case PY_OP_STORE_DEREF:
        return store(f, cells(f), i->arg);
    case PY_OP_LOAD_CLOSURE:
        if (in_range)
            f->cell_used[i->arg] = true;
        return load(f, cells(f), i->arg);
    case PY_OP_MAKE_CELL:
    case PY_OP_COPY_FREE_VARS:
    case PY_OP_RESUME:
    case PY_OP_PRECALL:
    case PY_OP_NOP:
        return FOLLOWED;
    default:
        return follow_pairs(f, i);
    }
}

/* ---- the stack ---- */

/* Moves the top below the `n - 1` values under it. */
static enum outcome rotate(struct frame *f, int n)
{
    if (n < 1 || n > f->depth)
        return fail(f);
    const json_t **lowest = f->stack + (f->depth - n), *top = lowest[n - 1];
    memmove(lowest + 1, lowest, (size_t)(n - 1) * sizeof *lowest);
    *lowest = top;
    return FOLLOWED;
}

static enum outcome copy(struct frame *f, int n)
{
    return n >= 1 && n <= f->depth ? push(f, f->stack[f->depth - n]) : fail(f);
}

static enum outcome follow_stack(struct frame *f, const struct py_instruction *i)
{
    switch (i->op) {
    case PY_OP_POP_TOP:
        return pop(f) ? FOLLOWED : FAILED;
    case PY_OP_PUSH_NULL:
        return push(f, nothing(f));
    case PY_OP_DUP_TOP:
        return copy(f, 1);
    case PY_OP_DUP_TOP_TWO:
        return copy(f, 2) == FOLLOWED ? copy(f, 2) : FAILED;
    case PY_OP_COPY:
        return copy(f, i->arg);
    case PY_OP_ROT_TWO:
        return rotate(f, 2);
    case PY_OP_ROT_THREE:
        return rotate(f, 3);
    case PY_OP_ROT_FOUR:
        return rotate(f, 4);
    case PY_OP_SWAP: {
        if (i->arg < 1 || i->arg > f->depth)
            return fail(f);
        const json_t **a = &f->stack[f->depth - 1], **b = &f->stack[f->depth - i->arg], *was = *a;
        *a = *b;
        *b = was;
        return FOLLOWED;
    }
    default:
        return NOT_MINE;
    }
}

/* ---- operators ---- */

static enum outcome binary(struct frame *f, const char *class_name)
{
    const json_t *y = pop(f), *x = pop(f);
    return x && y ? push(f, lambda_operate(f->l, class_name, x, y)) : FAILED;
}

static enum outcome compare(struct frame *f, int kind)
{
    static const char *const classes[] = {"Less", "LessEqual", "Equal", "NotEqual", "Greater", "GreaterEqual"};
    if (kind >= 0 && kind < 6)
        return binary(f, classes[kind]);
    (void)trace_refuse(f->t, H5PT_UNSUPPORTED_LAYER, "it compares in a way that is not supported");
    return FAILED;
}

/* `x is None` and such: on what is no tensor. */
static enum outcome identity(struct frame *f, bool inverted)
{
    const json_t *y = pop(f), *x = pop(f);
    if (!x || !y || !(json_is_null(x) || json_is_null(y)))
        return fail(f);
    return push(f, trace_truth(f->t, (json_is_null(x) && json_is_null(y)) != inverted));
}

static enum outcome follow_unary(struct frame *f, const struct py_instruction *i)
{
    int truth;
    const json_t *x;
    switch (i->op) {
    case PY_OP_UNARY_NEGATIVE:
        return (x = pop(f)) ? push(f, lambda_operate(f->l, "Negative", x, NULL)) : FAILED;
    case PY_OP_UNARY_POSITIVE:
        return FOLLOWED;
    case PY_OP_UNARY_INVERT:
        return (x = pop(f)) && trace_value(f->t, x) ? push(f, lambda_operate(f->l, "LogicalNot", x, NULL)) : fail(f);
    case PY_OP_UNARY_NOT:
    case PY_OP_TO_BOOL:
        if (!(x = pop(f)) || (truth = lambda_truth(f->l, x)) < 0)
            return FAILED;
        return push(f, trace_truth(f->t, (truth != 0) == (i->op == PY_OP_TO_BOOL)));
    default:
        return NOT_MINE;
    }
}

/* The class of the operation of an instruction, or NULL. */
static const char *operator_class(const struct frame *f, const struct py_instruction *i)
{
    static const struct {
        enum py_op op, in_place;
        const char *class_name;
    } operators[] = {
        {PY_OP_BINARY_ADD, PY_OP_INPLACE_ADD, "Add"},
        {PY_OP_BINARY_SUBTRACT, PY_OP_INPLACE_SUBTRACT, "Subtract"},
        {PY_OP_BINARY_MULTIPLY, PY_OP_INPLACE_MULTIPLY, "Multiply"},
        {PY_OP_BINARY_TRUE_DIVIDE, PY_OP_INPLACE_TRUE_DIVIDE, "TrueDivide"},
        {PY_OP_BINARY_DIVIDE, PY_OP_INPLACE_DIVIDE, "Divide"},
        {PY_OP_BINARY_FLOOR_DIVIDE, PY_OP_INPLACE_FLOOR_DIVIDE, "FloorDivide"},
        {PY_OP_BINARY_MODULO, PY_OP_INPLACE_MODULO, "Mod"},
        {PY_OP_BINARY_POWER, PY_OP_INPLACE_POWER, "Power"},
        {PY_OP_BINARY_MATRIX_MULTIPLY, PY_OP_INPLACE_MATRIX_MULTIPLY, "Matmul"},
        {PY_OP_BINARY_AND, PY_OP_INPLACE_AND, "LogicalAnd"},
        {PY_OP_BINARY_OR, PY_OP_INPLACE_OR, "LogicalOr"},
        {PY_OP_BINARY_XOR, PY_OP_INPLACE_XOR, "LogicalXor"},
    };
    /* The argument of BINARY_OP; from 13 on in place. */
    static const char *const numbered[] = {"Add",      "LogicalAnd", "FloorDivide", NULL,    "Matmul",   "Multiply", "Mod",
                                           "LogicalOr", "Power",      NULL,          "Subtract", "TrueDivide", "LogicalXor"};
    if (i->op == PY_OP_BINARY_OP)
        return i->arg >= 0 && i->arg < 26 ? numbered[i->arg % 13] : NULL;
    for (size_t k = 0; k < sizeof operators / sizeof *operators; k++)
        if (operators[k].op == i->op || operators[k].in_place == i->op)
            return operators[k].class_name;
    (void)f;
    return NULL;
}

/* In Python 2, / between whole numbers is //. */
static enum outcome divide_of_python2(struct frame *f)
{
    bool whole = f->depth >= 2 && json_is_integer(f->stack[f->depth - 1]) && json_is_integer(f->stack[f->depth - 2]);
    return binary(f, whole ? "FloorDivide" : "TrueDivide");
}

static enum outcome follow_operators(struct frame *f, const struct py_instruction *i)
{
    enum py_version v = f->program.version;
    if (i->op == PY_OP_BINARY_DIVIDE || i->op == PY_OP_INPLACE_DIVIDE)
        return divide_of_python2(f);
    const char *class_name = operator_class(f, i);
    if (class_name)
        return binary(f, class_name);
    if (i->op == PY_OP_IS_OP)
        return identity(f, i->arg == 1);
    if (i->op == PY_OP_COMPARE_OP) {
        if (v <= PY_310 && (i->arg == 8 || i->arg == 9)) /* before 3.9 */
            return identity(f, i->arg == 9);
        return compare(f, v >= PY_313 ? i->arg >> 5 : v == PY_312 ? i->arg >> 4 : i->arg);
    }
    return follow_unary(f, i);
}

/* ---- subscripts, lists ---- */

static enum outcome subscript(struct frame *f)
{
    const json_t *key = pop(f), *x = pop(f);
    return x && key ? push(f, lambda_getitem(f->l, x, key)) : FAILED;
}

/* x[:], x[a:], x[:b], x[a:b] of Python 2 and BINARY_SLICE: with or without the two bounds on the stack. */
static enum outcome slice(struct frame *f, bool start, bool stop)
{
    const json_t *none = trace_null(f->t), *to = stop ? pop(f) : none, *from = start ? pop(f) : none, *x = pop(f);
    if (!to || !from || !x)
        return FAILED;
    from = lambda_plain(f->l, from);
    to = lambda_plain(f->l, to);
    const json_t *key = from && to ? trace_slice(f->t, from, to, none) : NULL;
    return key ? push(f, lambda_getitem(f->l, x, key)) : FAILED;
}

static enum outcome build_slice(struct frame *f, int count)
{
    const json_t *step = count == 3 ? pop(f) : trace_null(f->t), *stop = pop(f), *start = pop(f);
    if (!start || !stop || !step)
        return FAILED;
    start = lambda_plain(f->l, start);
    stop = lambda_plain(f->l, stop);
    step = lambda_plain(f->l, step);
    return start && stop && step ? push(f, trace_slice(f->t, start, stop, step)) : FAILED;
}

static enum outcome build_map(struct frame *f, int count, const json_t *names)
{
    json_t *object = json_object();
    const json_t *parts = pop_list(f, names ? count : 2 * count);
    for (int i = 0; parts && i < count; i++) {
        const json_t *key = names ? json_array_get(names, (size_t)i) : json_array_get(parts, 2 * (size_t)i);
        json_t *value = json_array_get(parts, names ? (size_t)i : 2 * (size_t)i + 1);
        if (!json_is_string(key) || json_object_set(object, json_string_value(key), value) < 0)
            parts = NULL;
    }
    const json_t *kept = trace_keep(f->t, object);
    return parts && kept ? push(f, kept) : fail(f);
}

static enum outcome unpack(struct frame *f, int count)
{
    const json_t *value = pop(f);
    if (!json_is_array(value) || json_array_size(value) != (size_t)count)
        return fail(f);
    for (int i = count; i-- > 0;)
        if (push(f, json_array_get(value, (size_t)i)) != FOLLOWED)
            return FAILED;
    return FOLLOWED;
}

static enum outcome extend(struct frame *f, int position)
{
    const json_t *more = pop(f);
    if (!json_is_array(more) || position != 1 || f->depth < 1 || !json_is_array(f->stack[f->depth - 1]))
        return fail(f);
    const json_t *list = lambda_operate(f->l, "Add", pop(f), more);
    return push(f, list);
}

static enum outcome follow_lists(struct frame *f, const struct py_instruction *i)
{
    switch (i->op) {
    case PY_OP_BINARY_SUBSCR:
        return subscript(f);
    case PY_OP_BINARY_SLICE:
    case PY_OP_SLICE_3:
        return slice(f, true, true);
    case PY_OP_SLICE_0:
        return slice(f, false, false);
    case PY_OP_SLICE_1:
        return slice(f, true, false);
    case PY_OP_SLICE_2:
        return slice(f, false, true);
    case PY_OP_BUILD_SLICE:
        return build_slice(f, i->arg);
    case PY_OP_BUILD_TUPLE:
    case PY_OP_BUILD_LIST:
        return push(f, pop_list(f, i->arg));
    case PY_OP_BUILD_MAP:
        return f->program.version == PY_27 && i->arg > 0 ? fail(f) : build_map(f, i->arg, NULL);
    case PY_OP_BUILD_CONST_KEY_MAP: {
        const json_t *names = pop(f);
        return names ? build_map(f, i->arg, names) : FAILED;
    }
    case PY_OP_UNPACK_SEQUENCE:
        return unpack(f, i->arg);
    case PY_OP_LIST_EXTEND:
        return extend(f, i->arg);
    case PY_OP_LIST_TO_TUPLE:
        return FOLLOWED;
    case PY_OP_CALL_INTRINSIC_1: /* 5: +x, 6: list → tuple */
        return i->arg == 5 || i->arg == 6 ? FOLLOWED : fail(f);
    default:
        return NOT_MINE;
    }
}

/* ---- names, attributes, functions ---- */

static enum outcome load_global(struct frame *f, int arg)
{
    char name[PY_PRINTABLE_SIZE];
    enum py_version v = f->program.version;
    bool with_nothing = v >= PY_311 && (arg & 1);
    if (!name_at(f, v >= PY_311 ? arg >> 1 : arg, name))
        return FAILED;
    if (with_nothing && v < PY_313 && push(f, nothing(f)) != FOLLOWED)
        return FAILED;
    if (push(f, lambda_global(f->l, name)) != FOLLOWED)
        return FAILED;
    return with_nothing && v >= PY_313 ? push(f, nothing(f)) : FOLLOWED;
}

/* Methods are values like others here; the place of `self` stays empty. */
static enum outcome load_attribute(struct frame *f, int index, bool method)
{
    char name[PY_PRINTABLE_SIZE];
    const json_t *x = pop(f);
    bool before = f->program.version < PY_313;
    if (!x || !name_at(f, index, name))
        return FAILED;
    if (method && before && push(f, nothing(f)) != FOLLOWED)
        return FAILED;
    if (push(f, lambda_attribute(f->l, x, name)) != FOLLOWED)
        return FAILED;
    return method && !before ? push(f, nothing(f)) : FOLLOWED;
}

static enum outcome make_function(struct frame *f, const json_t *function, const json_t *defaults, const json_t *closure)
{
    const json_t *none = trace_null(f->t), *index = json_object_get(function, "lambda");
    if (!json_is_integer(index))
        return fail(f);
    return push(f, trace_object(f->t, "lambda", index, "defaults", defaults ? defaults : none, "closure",
                                closure ? closure : none, NULL));
}

/* Since 3.6 the argument tells what lies on the stack; before, it counts the defaults. */
static enum outcome make_function_of(struct frame *f, const struct py_instruction *i)
{
    enum py_version v = f->program.version;
    const json_t *defaults = NULL, *closure = NULL;
    if (v >= PY_35 && v <= PY_310 && !pop(f)) /* the qualified name */
        return FAILED;
    const json_t *function = pop(f);
    if (!function)
        return FAILED;
    if (v >= PY_36) {
        if (i->arg & ~9)
            return fail(f);
        if ((i->arg & 8) && !(closure = pop(f)))
            return FAILED;
        if ((i->arg & 1) && !(defaults = pop(f)))
            return FAILED;
        return make_function(f, function, defaults, closure);
    }
    if (i->op == PY_OP_MAKE_CLOSURE && !(closure = pop(f)))
        return FAILED;
    if (!(defaults = pop_list(f, i->arg)))
        return FAILED;
    return make_function(f, function, defaults, closure);
}

/* 3.13: one attribute at a time, the function on top. */
static enum outcome set_function_attribute(struct frame *f, int which)
{
    const json_t *function = pop(f), *value = pop(f);
    if (!function || !value || (which != 1 && which != 8) || !json_object_get(function, "lambda"))
        return fail(f);
    return make_function(f, function, which == 1 ? value : json_object_get(function, "defaults"),
                         which == 8 ? value : json_object_get(function, "closure"));
}

static enum outcome follow_names(struct frame *f, const struct py_instruction *i)
{
    char name[PY_PRINTABLE_SIZE];
    bool methods = f->program.version >= PY_312;
    switch (i->op) {
    case PY_OP_LOAD_GLOBAL:
        return load_global(f, i->arg);
    case PY_OP_LOAD_ATTR:
        return load_attribute(f, methods ? i->arg >> 1 : i->arg, methods && (i->arg & 1));
    case PY_OP_LOAD_METHOD:
        return load_attribute(f, i->arg, true);
    case PY_OP_IMPORT_NAME: { /* the names that are imported from it decide which module of a path is meant */
        const json_t *from = pop(f), *level = pop(f);
        if (!from || !level || !name_at(f, i->arg, name))
            return FAILED;
        if (json_is_null(from))
            name[strcspn(name, ".")] = 0;
        return push(f, lambda_import(f->l, name));
    }
    case PY_OP_IMPORT_FROM:
        if (f->depth < 1 || !name_at(f, i->arg, name))
            return fail(f);
        return push(f, lambda_attribute(f->l, f->stack[f->depth - 1], name));
    case PY_OP_MAKE_FUNCTION:
    case PY_OP_MAKE_CLOSURE:
        return make_function_of(f, i);
    case PY_OP_SET_FUNCTION_ATTRIBUTE:
        return set_function_attribute(f, i->arg);
    default:
        return NOT_MINE;
    }
}

/* ---- calls ---- */

/* The last arguments by their names. */
static enum outcome call(struct frame *f, int count, const json_t *names, bool two_places)
{
    json_t *kwargs = json_object();
    int named = (int)json_array_size(names);
    const json_t *kept = trace_keep(f->t, kwargs), *all = pop_list(f, count);
    if (!kept || !all || named > count)
        return fail(f);
    json_t *args = json_array();
    for (int i = 0; i < count; i++) {
        json_t *value = json_array_get(all, (size_t)i);
        const char *name = i >= count - named ? json_string_value(json_array_get(names, (size_t)(i - count + named))) : NULL;
        (void)(name ? json_object_set(kwargs, name, value) : json_array_append(args, value));
    }
    const json_t *positional = trace_keep(f->t, args), *callable = pop(f), *other = two_places ? pop(f) : NULL;
    if (!positional || !callable || (two_places && !other))
        return FAILED;
    if (two_places) {
        if (is_nothing(callable) == is_nothing(other))
            return fail(f);
        callable = is_nothing(callable) ? other : callable;
    }
    return push(f, lambda_call(f->l, callable, positional, kept));
}

/* Python 2.7 and 3.5: positional arguments, then names and values in turn. */
static enum outcome call_old(struct frame *f, int arg)
{
    int positional = arg & 0xff, named = (arg >> 8) & 0xff;
    json_t *names = json_array();
    const json_t *kept = trace_keep(f->t, names), *pairs = pop_list(f, 2 * named);
    for (int i = 0; kept && pairs && i < named; i++) {
        (void)json_array_append(names, json_array_get(pairs, 2 * (size_t)i));
        if (push(f, json_array_get(pairs, 2 * (size_t)i + 1)) != FOLLOWED)
            return FAILED;
    }
    return kept && pairs ? call(f, positional + named, kept, false) : FAILED;
}

/* f(*args, **kwargs) with the two ready-made. */
static enum outcome call_ex(struct frame *f, int flags)
{
    enum py_version v = f->program.version;
    const json_t *kwargs = flags & 1 ? pop(f) : NULL, *args = pop(f), *callable = pop(f), *other = v >= PY_311 ? pop(f) : NULL;
    if (!args || !callable || (v >= PY_311 && !other) || !json_is_array(args))
        return fail(f);
    if (v >= PY_313)
        callable = other;
    return push(f, lambda_call(f->l, callable, args, kwargs));
}

static enum outcome follow_calls(struct frame *f, const struct py_instruction *i)
{
    const json_t *names;
    switch (i->op) {
    case PY_OP_KW_NAMES:
        if (load_const(f, i->arg) != FOLLOWED)
            return FAILED;
        f->keyword_names = pop(f);
        return FOLLOWED;
    case PY_OP_CALL:
        names = f->keyword_names;
        f->keyword_names = NULL;
        return call(f, i->arg, names, true);
    case PY_OP_CALL_KW:
        return (names = pop(f)) ? call(f, i->arg, names, true) : FAILED;
    case PY_OP_CALL_METHOD:
        return call(f, i->arg, NULL, true);
    case PY_OP_CALL_FUNCTION:
        return f->program.version <= PY_35 ? call_old(f, i->arg) : call(f, i->arg, NULL, false);
    case PY_OP_CALL_FUNCTION_KW:
        if (f->program.version <= PY_35)
            return fail(f);
        return (names = pop(f)) ? call(f, i->arg, names, false) : FAILED;
    case PY_OP_CALL_FUNCTION_EX:
        return call_ex(f, i->arg);
    default:
        return NOT_MINE;
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
    const json_t *value = f->depth > 0 ? f->stack[f->depth - 1] : pop(f);
    int truth = value ? lambda_truth(f->l, value) : -1;
    if (truth < 0)
        return FAILED;
    bool taken = (truth != 0) == wanted;
    if (!keep || !taken)
        (void)pop(f);
    return taken ? jump(f, index) : FOLLOWED;
}

static enum outcome follow_jumps(struct frame *f, const struct py_instruction *i, int index)
{
    const json_t *value;
    switch (i->op) {
    case PY_OP_JUMP_FORWARD:
    case PY_OP_JUMP_ABSOLUTE:
        return jump(f, index);
    case PY_OP_POP_JUMP_IF_FALSE:
    case PY_OP_POP_JUMP_IF_TRUE:
    case PY_OP_POP_JUMP_FORWARD_IF_FALSE:
    case PY_OP_POP_JUMP_FORWARD_IF_TRUE:
        return jump_if(f, index, i->op == PY_OP_POP_JUMP_IF_TRUE || i->op == PY_OP_POP_JUMP_FORWARD_IF_TRUE, false);
    case PY_OP_JUMP_IF_FALSE_OR_POP:
    case PY_OP_JUMP_IF_TRUE_OR_POP:
        return jump_if(f, index, i->op == PY_OP_JUMP_IF_TRUE_OR_POP, true);
    case PY_OP_POP_JUMP_IF_NONE:
    case PY_OP_POP_JUMP_IF_NOT_NONE:
    case PY_OP_POP_JUMP_FORWARD_IF_NONE:
    case PY_OP_POP_JUMP_FORWARD_IF_NOT_NONE:
        if (!(value = pop(f)))
            return FAILED;
        return (json_is_null(value) != 0) == (i->op == PY_OP_POP_JUMP_IF_NONE || i->op == PY_OP_POP_JUMP_FORWARD_IF_NONE)
                   ? jump(f, index)
                   : FOLLOWED;
    default:
        return NOT_MINE;
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
        if (text_at(f->code->varnames, i, parameter) && strcmp(parameter, name) == 0 && !f->locals[i]) {
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
    json_object_foreach((json_t *)kwargs, name, value) {
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
    if (c->cellvars->count + c->freevars->count > LOCALS_MAX)
        return false;
    for (size_t i = 0; i < c->cellvars->count; i++)
        for (size_t k = 0; k < c->varnames->count && k < LOCALS_MAX; k++) {
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
    if (code->varnames->count > LOCALS_MAX - 2 || !py_decode(t->b->arena, code, &f->program))
        return trace_refuse(t, H5PT_UNSUPPORTED_LAYER, "its code is of no known version of Python");
    if (!bind(f, args, kwargs, defaults) || !bind_cells(f, closure))
        return trace_refuse(t, H5PT_UNSUPPORTED_LAYER, "it is called with arguments that do not fit its parameters");
    const json_t *result = run(f);
    t->depth--;
    return result;
}
