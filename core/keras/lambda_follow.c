/* SPDX-License-Identifier: Apache-2.0 */
/* Source: the documentation of the module dis, and CPython's compile.c and ceval.c where it leaves things open. */
#include <string.h>

#include "keras/lambda_frame.h"

/* ---- stack, names ---- */

enum outcome frame_fail(struct frame *f)
{
    (void)trace_refuse(f->t, H5PT_UNSUPPORTED_LAYER, "it does something that is not supported");
    return FAILED;
}

enum outcome frame_push(struct frame *f, const json_t *value)
{
    if (!value || f->depth == LAMBDA_STACK_MAX)
        return frame_fail(f);
    f->stack[f->depth++] = value;
    return FOLLOWED;
}

const json_t *frame_pop(struct frame *f)
{
    if (f->depth <= 0)
        return trace_refuse(f->t, H5PT_UNSUPPORTED_LAYER, "its code is damaged");
    return f->stack[--f->depth];
}

const json_t *frame_pop_list(struct frame *f, int count)
{
    if (count < 0 || count > f->depth)
        return trace_refuse(f->t, H5PT_UNSUPPORTED_LAYER, "its code is damaged");
    f->depth -= count;
    return trace_list(f->t, f->stack + f->depth, (size_t)count);
}

const json_t *frame_nothing(struct frame *f)
{
    return trace_object(f->t, "nothing", trace_truth(f->t, true), NULL);
}

const struct py_object *frame_item(const struct py_object *tuple, int index)
{
    return tuple && index >= 0 && (size_t)index < tuple->count ? tuple->items[index] : NULL;
}

bool frame_text(const struct py_object *tuple, int index, char ret[PY_PRINTABLE_SIZE])
{
    const struct py_object *o = frame_item(tuple, index);
    return o && o->kind == PY_TEXT && o->count < PY_PRINTABLE_SIZE &&
           memcmp(py_printable(o, ret), o->bytes, o->count) == 0;
}

bool frame_name(struct frame *f, int index, char ret[PY_PRINTABLE_SIZE])
{
    if (frame_text(f->code->names, index, ret))
        return true;
    (void)frame_fail(f);
    return false;
}

/* ---- local variables and constants ---- */

static enum outcome load(struct frame *f, const json_t *const *from, int index)
{
    if (index < 0 || index >= LAMBDA_LOCALS_MAX || !from[index]) {
        (void)trace_refuse(f->t, H5PT_UNSUPPORTED_LAYER, "it uses a variable that has no value");
        return FAILED;
    }
    return frame_push(f, from[index]);
}

static enum outcome store(struct frame *f, const json_t **to, int index)
{
    const json_t *value = frame_pop(f);
    if (!value || index < 0 || index >= LAMBDA_LOCALS_MAX || f->cell_used[index])
        return frame_fail(f);
    to[index] = value;
    return FOLLOWED;
}

static const json_t **cells(struct frame *f)
{
    return f->program.version >= PY_311 ? f->locals : f->cells;
}

enum outcome frame_load_const(struct frame *f, int index)
{
    const struct py_object *o = frame_item(f->code->consts, index);
    return o ? frame_push(f, lambda_constant(f->l, o)) : frame_fail(f);
}

/* Superinstructions of 3.13 have two variables in one argument. */
static enum outcome follow_pairs(struct frame *f, const struct py_instruction *i)
{
    int first = i->arg >> 4, second = i->arg & 15;
    switch (i->op) {
    case PY_OP_LOAD_FAST_LOAD_FAST: return load(f, f->locals, first) == FOLLOWED ? load(f, f->locals, second) : FAILED;
    case PY_OP_STORE_FAST_LOAD_FAST:
        return store(f, f->locals, first) == FOLLOWED ? load(f, f->locals, second) : FAILED;
    case PY_OP_STORE_FAST_STORE_FAST:
        return store(f, f->locals, first) == FOLLOWED ? store(f, f->locals, second) : FAILED;
    default: return NOT_MINE;
    }
}

enum outcome follow_variables(struct frame *f, const struct py_instruction *i)
{
    bool in_range = i->arg >= 0 && i->arg < LAMBDA_LOCALS_MAX;
    switch (i->op) {
    case PY_OP_LOAD_CONST: return frame_load_const(f, i->arg);
    case PY_OP_RETURN_CONST:
        if (frame_load_const(f, i->arg) != FOLLOWED)
            return FAILED;
        f->result = frame_pop(f);
        return FOLLOWED;
    case PY_OP_RETURN_VALUE: f->result = frame_pop(f); return f->result ? FOLLOWED : FAILED;
    case PY_OP_LOAD_FAST:
    case PY_OP_LOAD_FAST_CHECK: return load(f, f->locals, i->arg);
    case PY_OP_STORE_FAST: return store(f, f->locals, i->arg);
    case PY_OP_LOAD_DEREF: return load(f, cells(f), i->arg);
    case PY_OP_STORE_DEREF: return store(f, cells(f), i->arg);
    case PY_OP_LOAD_CLOSURE:
        if (in_range)
            f->cell_used[i->arg] = true;
        return load(f, cells(f), i->arg);
    case PY_OP_MAKE_CELL:
    case PY_OP_COPY_FREE_VARS:
    case PY_OP_RESUME:
    case PY_OP_PRECALL:
    case PY_OP_NOP: return FOLLOWED;
    default: return follow_pairs(f, i);
    }
}

/* ---- the stack ---- */

/* Moves the top below the `n - 1` values under it. */
static enum outcome rotate(struct frame *f, int n)
{
    if (n < 1 || n > f->depth)
        return frame_fail(f);
    const json_t **lowest = f->stack + (f->depth - n), *top = lowest[n - 1];
    memmove(lowest + 1, lowest, (size_t)(n - 1) * sizeof *lowest);
    *lowest = top;
    return FOLLOWED;
}

static enum outcome copy(struct frame *f, int n)
{
    return n >= 1 && n <= f->depth ? frame_push(f, f->stack[f->depth - n]) : frame_fail(f);
}

enum outcome follow_stack(struct frame *f, const struct py_instruction *i)
{
    switch (i->op) {
    case PY_OP_POP_TOP: return frame_pop(f) ? FOLLOWED : FAILED;
    case PY_OP_PUSH_NULL: return frame_push(f, frame_nothing(f));
    case PY_OP_DUP_TOP: return copy(f, 1);
    case PY_OP_DUP_TOP_TWO: return copy(f, 2) == FOLLOWED ? copy(f, 2) : FAILED;
    case PY_OP_COPY: return copy(f, i->arg);
    case PY_OP_ROT_TWO: return rotate(f, 2);
    case PY_OP_ROT_THREE: return rotate(f, 3);
    case PY_OP_ROT_FOUR: return rotate(f, 4);
    case PY_OP_SWAP: {
        if (i->arg < 1 || i->arg > f->depth)
            return frame_fail(f);
        const json_t **a = &f->stack[f->depth - 1], **b = &f->stack[f->depth - i->arg], *was = *a;
        *a = *b;
        *b = was;
        return FOLLOWED;
    }
    default: return NOT_MINE;
    }
}

/* ---- operators ---- */

static enum outcome binary(struct frame *f, const char *class_name)
{
    const json_t *y = frame_pop(f), *x = frame_pop(f);
    return x && y ? frame_push(f, lambda_operate(f->l, class_name, x, y)) : FAILED;
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
    const json_t *y = frame_pop(f), *x = frame_pop(f);
    if (!x || !y || !(json_is_null(x) || json_is_null(y)))
        return frame_fail(f);
    return frame_push(f, trace_truth(f->t, (json_is_null(x) && json_is_null(y)) != inverted));
}

static enum outcome follow_unary(struct frame *f, const struct py_instruction *i)
{
    int truth;
    const json_t *x;
    switch (i->op) {
    case PY_OP_UNARY_NEGATIVE:
        return (x = frame_pop(f)) ? frame_push(f, lambda_operate(f->l, "Negative", x, NULL)) : FAILED;
    case PY_OP_UNARY_POSITIVE: return FOLLOWED;
    case PY_OP_UNARY_INVERT:
        return (x = frame_pop(f)) && trace_value(f->t, x) ? frame_push(f, lambda_operate(f->l, "LogicalNot", x, NULL))
                                                          : frame_fail(f);
    case PY_OP_UNARY_NOT:
    case PY_OP_TO_BOOL:
        if (!(x = frame_pop(f)) || (truth = lambda_truth(f->l, x)) < 0)
            return FAILED;
        return frame_push(f, trace_truth(f->t, (truth != 0) == (i->op == PY_OP_TO_BOOL)));
    default: return NOT_MINE;
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
    static const char *const numbered[] = {"Add",      "LogicalAnd", "FloorDivide", NULL,    "Matmul",
                                           "Multiply", "Mod",        "LogicalOr",   "Power", NULL,
                                           "Subtract", "TrueDivide", "LogicalXor"};
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

enum outcome follow_operators(struct frame *f, const struct py_instruction *i)
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
    const json_t *key = frame_pop(f), *x = frame_pop(f);
    return x && key ? frame_push(f, lambda_getitem(f->l, x, key)) : FAILED;
}

/* x[:], x[a:], x[:b], x[a:b] of Python 2 and BINARY_SLICE: with or without the two bounds on the stack. */
static enum outcome slice(struct frame *f, bool start, bool stop)
{
    const json_t *none = trace_null(f->t), *to = stop ? frame_pop(f) : none, *from = start ? frame_pop(f) : none,
                 *x = frame_pop(f);
    if (!to || !from || !x)
        return FAILED;
    from = lambda_plain(f->l, from);
    to = lambda_plain(f->l, to);
    const json_t *key = from && to ? trace_slice(f->t, from, to, none) : NULL;
    return key ? frame_push(f, lambda_getitem(f->l, x, key)) : FAILED;
}

static enum outcome build_slice(struct frame *f, int count)
{
    const json_t *step = count == 3 ? frame_pop(f) : trace_null(f->t), *stop = frame_pop(f), *start = frame_pop(f);
    if (!start || !stop || !step)
        return FAILED;
    start = lambda_plain(f->l, start);
    stop = lambda_plain(f->l, stop);
    step = lambda_plain(f->l, step);
    return start && stop && step ? frame_push(f, trace_slice(f->t, start, stop, step)) : FAILED;
}

static enum outcome build_map(struct frame *f, int count, const json_t *names)
{
    json_t *object = json_object();
    const json_t *parts = frame_pop_list(f, names ? count : 2 * count);
    for (int i = 0; parts && i < count; i++) {
        const json_t *key = names ? json_array_get(names, (size_t)i) : json_array_get(parts, 2 * (size_t)i);
        json_t *value = json_array_get(parts, names ? (size_t)i : 2 * (size_t)i + 1);
        if (!json_is_string(key) || json_object_set(object, json_string_value(key), value) < 0)
            parts = NULL;
    }
    const json_t *kept = trace_keep(f->t, object);
    return parts && kept ? frame_push(f, kept) : frame_fail(f);
}

static enum outcome unpack(struct frame *f, int count)
{
    const json_t *value = frame_pop(f);
    if (!json_is_array(value) || json_array_size(value) != (size_t)count)
        return frame_fail(f);
    for (int i = count; i-- > 0;)
        if (frame_push(f, json_array_get(value, (size_t)i)) != FOLLOWED)
            return FAILED;
    return FOLLOWED;
}

static enum outcome extend(struct frame *f, int position)
{
    const json_t *more = frame_pop(f);
    if (!json_is_array(more) || position != 1 || f->depth < 1 || !json_is_array(f->stack[f->depth - 1]))
        return frame_fail(f);
    const json_t *list = lambda_operate(f->l, "Add", frame_pop(f), more);
    return frame_push(f, list);
}

enum outcome follow_lists(struct frame *f, const struct py_instruction *i)
{
    switch (i->op) {
    case PY_OP_BINARY_SUBSCR: return subscript(f);
    case PY_OP_BINARY_SLICE:
    case PY_OP_SLICE_3: return slice(f, true, true);
    case PY_OP_SLICE_0: return slice(f, false, false);
    case PY_OP_SLICE_1: return slice(f, true, false);
    case PY_OP_SLICE_2: return slice(f, false, true);
    case PY_OP_BUILD_SLICE: return build_slice(f, i->arg);
    case PY_OP_BUILD_TUPLE:
    case PY_OP_BUILD_LIST: return frame_push(f, frame_pop_list(f, i->arg));
    case PY_OP_BUILD_MAP: return f->program.version == PY_27 && i->arg > 0 ? frame_fail(f) : build_map(f, i->arg, NULL);
    case PY_OP_BUILD_CONST_KEY_MAP: {
        const json_t *names = frame_pop(f);
        return names ? build_map(f, i->arg, names) : FAILED;
    }
    case PY_OP_UNPACK_SEQUENCE: return unpack(f, i->arg);
    case PY_OP_LIST_EXTEND: return extend(f, i->arg);
    case PY_OP_LIST_TO_TUPLE: return FOLLOWED;
    case PY_OP_CALL_INTRINSIC_1: /* 5: +x, 6: list → tuple */
        return i->arg == 5 || i->arg == 6 ? FOLLOWED : frame_fail(f);
    default: return NOT_MINE;
    }
}
