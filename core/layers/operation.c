/* SPDX-License-Identifier: Apache-2.0 */
#include "layers/operation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "layers/lowering.h"

struct operand_source operands_of_shape(const struct layer_shape *s)
{
    return (struct operand_source){s->arguments, s->input_count, s->inputs, s->input_dtypes, NULL, NULL};
}

struct operand_source operands_of_run(const struct layer_run *run)
{
    return (struct operand_source){run->arguments, run->input_count, NULL, NULL, run->inputs, NULL};
}

struct operand_source operands_of_call(const struct keras_call *call)
{
    return (struct operand_source){call->arguments, call->input_count, NULL, NULL, NULL, call->inputs};
}

/* ---- constants ---- */

/* The shape of nested lists of numbers, and the widest kind among them; false when they are ragged or hold something else. */
static bool list_shape(const json_t *value, int depth, struct shape *shape, enum dtype *kind)
{
    double number;
    value = json_unwrap(value);
    if (!json_is_array(value)) {
        if (shape->rank != depth || (!json_is_boolean(value) && !json_read_double(value, &number)))
            return false;
        if (!json_is_boolean(value))
            *kind = json_is_integer(value) && *kind != DTYPE_F32 ? DTYPE_I32 : DTYPE_F32;
        return true;
    }
    size_t n = json_array_size(value);
    if (depth == shape->rank) {
        if (depth == SHAPE_MAX_RANK || n > INT32_MAX)
            return false;
        shape->dims[shape->rank++] = (int64_t)n;
    }
    if (shape->dims[depth] != (int64_t)n)
        return false;
    for (size_t i = 0; i < n; i++) {
        struct shape deeper = *shape;
        const json_t *item = json_unwrap(json_array_get(value, i));
        if (i > 0 && json_is_array(item) != (shape->rank > depth + 1))
            return false;
        if (!list_shape(item, depth + 1, i == 0 ? shape : &deeper, kind))
            return false;
    }
    return true;
}

static void copy_list(const json_t *value, float **to)
{
    double number = 0;
    value = json_unwrap(value);
    if (!json_is_array(value)) {
        if (json_is_boolean(value))
            number = json_is_true(value) ? 1 : 0;
        else
            (void)json_read_double(value, &number);
        *(*to)++ = (float)number;
        return;
    }
    for (size_t i = 0; i < json_array_size(value); i++)
        copy_list(json_array_get(value, i), to);
}

static struct operand constant_operand(const json_t *argument)
{
    struct operand operand = {.dtype = DTYPE_BOOL, .weak = true};
    const json_t *value = json_unwrap(argument);
    const char *dtype = json_string_value(json_object_get(json_object_get(argument, "config"), "dtype"));
    if (!value || json_is_null(value) || json_is_object(value) || !list_shape(value, 0, &operand.shape, &operand.dtype))
        return (struct operand){.kind = OPERAND_NONE};
    if (dtype && !dtype_from_name(dtype, &operand.dtype))
        return (struct operand){.kind = OPERAND_NONE};
    operand.weak = !dtype && operand.shape.rank == 0;
    operand.kind = operand.shape.rank == 0 ? OPERAND_NUMBER : OPERAND_ARRAY;
    operand.values = value;
    if (operand.kind == OPERAND_NUMBER) {
        if (json_is_boolean(value))
            operand.number = json_is_true(value) ? 1 : 0;
        else
            (void)json_read_double(value, &operand.number);
    }
    return operand;
}

struct operand operand_from(const struct operand_source *source, const json_t *argument)
{
    int input = layer_argument_tensor(argument);
    if (input < 0)
        return constant_operand(argument);
    struct operand operand = {.kind = OPERAND_TENSOR, .input = input};
    if (input >= source->input_count)
        return (struct operand){.kind = OPERAND_NONE};
    if (source->shapes) {
        operand.shape = source->shapes[input];
        operand.dtype = source->dtypes[input];
    } else if (source->tensors) {
        operand.shape = source->tensors[input]->shape;
        operand.dtype = source->tensors[input]->dtype;
    } else {
        operand.shape = source->values[input]->shape;
        operand.dtype = source->values[input]->dtype;
    }
    return operand;
}

struct operand operand_at(const struct operand_source *source, int position, const char *name)
{
    return operand_from(source, layer_argument(source->arguments, position, name));
}

int operand_list(const struct operand_source *source, const json_t *argument, int capacity, struct operand *ret)
{
    size_t n = json_array_size(argument);
    if (!json_is_array(argument) || n == 0 || n > (size_t)capacity)
        return -1;
    for (size_t i = 0; i < n; i++) {
        ret[i] = operand_from(source, json_array_get(argument, i));
        if (ret[i].kind == OPERAND_NONE)
            return -1;
    }
    return (int)n;
}

bool operand_parts(const struct operand_source *source, int count, int ret[2])
{
    const json_t *x = layer_argument(source->arguments, 0, "x");
    if (count == 1) {
        ret[0] = layer_argument_tensor(x);
        return ret[0] >= 0;
    }
    struct operand pair[2];
    if (operand_list(source, x, 2, pair) != 2 || pair[0].kind != OPERAND_TENSOR || pair[1].kind != OPERAND_TENSOR)
        return false;
    ret[0] = pair[0].input;
    ret[1] = pair[1].input;
    return true;
}

int operand_fail(struct layer_shape *s, const char *name)
{
    return h5pt_fail(s->err, H5PT_UNSUPPORTED_CALL_ARGUMENT, name,
                     "The argument \"%s\" of %s is neither a tensor nor numbers, or not of a form that is supported",
                     name, s->layer->class_name);
}

struct tensor *operand_constant(const struct operand *operand)
{
    struct tensor *t = tensor_new(&operand->shape, operand->dtype);
    float *to = t ? t->data : NULL;
    if (t)
        copy_list(operand->values, &to);
    return t;
}

int operand_tensor(const struct layer_run *run, const struct operand *operand, struct operand_tensor *ret)
{
    *ret = (struct operand_tensor){NULL, NULL};
    if (operand->kind == OPERAND_TENSOR) {
        ret->tensor = run->inputs[operand->input];
        return 0;
    }
    if (operand->kind == OPERAND_NONE)
        return h5pt_fail(run->err, H5PT_INTERNAL, run->layer->path, "An argument is not as it was");
    ret->owned = operand_constant(operand);
    ret->tensor = ret->owned;
    return ret->owned ? 0 : h5pt_fail_memory(run->err);
}

void operand_tensor_release(struct operand_tensor *t)
{
    tensor_free(t->owned);
    *t = (struct operand_tensor){NULL, NULL};
}

/* ---- types ---- */

static int kind_of(enum dtype dtype)
{
    return dtype_is_float(dtype) ? 2 : dtype == DTYPE_BOOL ? 0 : 1;
}

enum dtype operand_promote(const struct operand *a, const struct operand *b)
{
    int x = kind_of(a->dtype), y = kind_of(b->dtype);
    if (x != y)
        return x > y ? a->dtype : b->dtype;
    if (a->weak != b->weak)
        return a->weak ? b->dtype : a->dtype;
    return dtype_size(a->dtype) >= dtype_size(b->dtype) ? a->dtype : b->dtype;
}

enum dtype dtype_floating(enum dtype dtype)
{
    return dtype_is_float(dtype) ? dtype : DTYPE_F32;
}

/* ---- lowering ---- */

struct h5pt_error *lower_error(struct lowering *l)
{
    return l->err;
}

void lower_set_shape(struct lowering *l, int id, const struct shape *shape)
{
    if (id >= 0)
        l->graph->values[id].shape = *shape;
}

struct lowered lower_one(struct lowering *l, const struct keras_call *call, enum torch_op op, struct lowered x,
                         struct shape shape, struct layout layout, enum dtype dtype, int attr_count,
                         const struct torch_attr *attrs)
{
    int id = lower_function(l, call, op, x.id, attr_count, attrs, shape, dtype);
    return (struct lowered){id, layout};
}

struct lowered lower_convert(struct lowering *l, const struct keras_call *call, struct lowered x, enum dtype dtype)
{
    if (x.id < 0 || lower_dtype(l, x.id) == dtype)
        return x;
    struct torch_attr attr = attr_text("dtype", dtype_name(dtype));
    return lower_one(l, call, TORCH_CAST, x, lower_shape(l, x.id), x.layout, dtype, 1, &attr);
}

struct lowered lower_map(struct lowering *l, const struct keras_call *call, enum torch_op op, struct lowered x,
                         enum dtype dtype)
{
    return lower_one(l, call, op, x, lower_shape(l, x.id), x.layout, dtype, 0, NULL);
}

struct lowered lower_number(struct lowering *l, const struct keras_call *call, enum torch_op op, struct lowered x,
                            double value, bool reflected, enum dtype dtype)
{
    bool whole = !dtype_is_float(lower_dtype(l, x.id)) && value == floor(value) && fabs(value) < 1e15;
    struct torch_attr attrs[] = {whole ? attr_int("value", (int64_t)value) : attr_float("value", tidy_float(value)),
                                 attr_bool("reflected", true)};
    return lower_one(l, call, op, x, lower_shape(l, x.id), x.layout, dtype, reflected ? 2 : 1, attrs);
}

struct lowered lower_join(struct lowering *l, const struct keras_call *call, enum torch_op op, struct lowered x,
                          struct lowered y, enum dtype dtype)
{
    return lower_binary_as(l, call, op, x, y, dtype);
}

struct lowered lower_where(struct lowering *l, const struct keras_call *call, struct lowered condition,
                           struct lowered x, struct lowered y, enum dtype dtype)
{
    struct shape a = lower_shape(l, condition.id), b = lower_shape(l, x.id), c = lower_shape(l, y.id), shape = a;
    if (!shape_broadcast(&a, &b, &shape) || !shape_broadcast(&shape, &c, &shape))
        h5pt_fail(l->err, H5PT_INTERNAL, call->layer->path, "The arguments of where do not fit");
    struct layout layout = shape.rank == condition.layout.rank ? condition.layout
                           : shape.rank == x.layout.rank       ? x.layout
                                                               : y.layout;
    int id = lower_node(l, call,
                        &(struct node_spec){
                            .op = TORCH_WHERE,
                            .input_count = 3,
                            .inputs = (int[]){condition.id, x.id, y.id},
                            .shape = shape,
                            .dtype = dtype,
                        });
    return (struct lowered){id, layout};
}

struct lowered lower_buffer(struct lowering *l, const struct keras_call *call, const char *name,
                            const struct tensor *values, const struct layout *layout)
{
    struct lowered ret = {.id = -1, .layout = *layout};
    const char *unique = call->layer->call_count > 1 ? arena_printf(l->arena, "%s_%d", name, call->id) : name;
    struct tensor *moved = values && unique ? tensor_transpose(values, layout->axes) : NULL;
    if (!moved) {
        h5pt_fail_memory(l->err);
        return ret;
    }
    /* torch counts in int64, and its indices are of that type. */
    enum dtype dtype = dtype_is_float(values->dtype) ? DTYPE_F32 : values->dtype == DTYPE_BOOL ? DTYPE_BOOL : DTYPE_I64;
    const char *module = lower_module(l, call, unique);
    int parameter = lower_constant(l, call, module, NULL, &moved->shape, dtype, true, moved->data);
    if (!lowering_failed(l))
        ret.id = lower_node(l, call,
                            &(struct node_spec){
                                .op = TORCH_PARAMETER,
                                .module = module,
                                .parameter_count = 1,
                                .parameters = &parameter,
                                .shape = moved->shape,
                                .dtype = dtype,
                            });
    tensor_free(moved);
    return ret;
}

struct lowered lower_operand(struct lowering *l, const struct keras_call *call, const struct operand *operand,
                             const char *name)
{
    struct layout layout = layout_keras(operand->shape.rank);
    if (operand->kind == OPERAND_TENSOR)
        return lower_input_keras(l, call, operand->input);
    struct tensor *values = operand->kind == OPERAND_NONE ? NULL : operand_constant(operand);
    struct lowered ret = lower_buffer(l, call, name, values, &layout);
    tensor_free(values);
    return ret;
}

/* A tensor of lower rank with leading axes of size 1, in `layout`. */
static struct lowered extended(struct lowering *l, const struct keras_call *call, struct lowered x,
                               const struct layout *layout)
{
    struct shape in = lower_shape(l, x.id);
    int64_t dims[SHAPE_MAX_RANK];
    int from[SHAPE_MAX_RANK], lead = layout->rank - in.rank;
    if (in.rank == 0 || layout_is_keras(layout))
        return x;
    for (int i = 0; i < layout->rank; i++) {
        dims[i] = i < lead ? 1 : in.dims[i - lead];
        from[i] = i < lead ? -1 : i - lead;
    }
    return layout_convert(l, call, lower_reshape(l, call, x, layout->rank, dims, from), layout);
}

static struct tensor *extended_constant(const struct operand *operand, int rank)
{
    struct tensor *t = operand_constant(operand);
    if (!t || rank <= t->shape.rank)
        return t;
    int lead = rank - t->shape.rank;
    struct shape shape = {.rank = rank};
    for (int i = 0; i < rank; i++)
        shape.dims[i] = i < lead ? 1 : t->shape.dims[i - lead];
    t->shape = shape;
    return t;
}

struct lowered lower_operand_as(struct lowering *l, const struct keras_call *call, const struct operand *operand,
                                const char *name, const struct layout *layout, enum dtype dtype)
{
    struct lowered x;
    if (operand->kind == OPERAND_TENSOR && operand->shape.rank == layout->rank) {
        x = lower_input_as(l, call, operand->input, layout);
    } else if (operand->kind == OPERAND_TENSOR) {
        x = extended(l, call, lower_input_keras(l, call, operand->input), layout);
    } else {
        bool keras = operand->shape.rank == 0 || layout_is_keras(layout);
        struct layout own = keras ? layout_keras(operand->shape.rank) : *layout;
        struct tensor *values = operand->kind == OPERAND_NONE ? NULL : extended_constant(operand, own.rank);
        if (values && dtype_is_float(dtype) && !dtype_is_float(values->dtype))
            values->dtype = dtype;
        x = lower_buffer(l, call, name, values, &own);
        tensor_free(values);
    }
    return lower_convert(l, call, x, dtype);
}

struct layout lower_common_layout(struct lowering *l, const struct keras_call *call, int count,
                                  const struct operand *operands, int rank)
{
    struct layout best = layout_keras(rank);
    bool found = false, numbers = true;
    for (int i = 0; i < count; i++) {
        numbers = numbers && (operands[i].kind == OPERAND_NUMBER || operands[i].kind == OPERAND_TENSOR);
        if (operands[i].kind != OPERAND_TENSOR)
            continue;
        if (operands[i].shape.rank != rank) {
            numbers = false;
            continue;
        }
        struct layout layout = lower_input(l, call, operands[i].input).layout;
        if (found && layout.flat_rank && !layout_equal(&layout, &best))
            numbers = false;
        if (!found || (layout_is_keras(&best) && !layout_is_keras(&layout)))
            best = layout;
        found = true;
    }
    for (int i = 0; best.flat_rank && i < count; i++)
        if (operands[i].kind == OPERAND_TENSOR && operands[i].shape.rank == rank) {
            struct layout layout = lower_input(l, call, operands[i].input).layout;
            numbers = numbers && layout_equal(&layout, &best);
        }
    return best.flat_rank && !numbers ? layout_keras(rank) : best;
}
