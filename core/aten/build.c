/* SPDX-License-Identifier: Apache-2.0 */
/* The builder: values, arguments, calls. */
#include "aten/builder.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* An expression that takes more than this many numbers and symbols to write is given a name of its own, as the size of the
 * tensor that has it. */
enum { WEIGHT_MAX = 60 };

/* ---- failures ---- */

static int failv(struct aten_builder *b, enum h5pt_code code, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));
static int failv(struct aten_builder *b, enum h5pt_code code, const char *format, va_list args)
{
    char message[sizeof b->err->message];
    const char *where = !b->node ? NULL : b->node->module ? b->node->module : torch_op_info(b->node->op)->id;
    (void)vsnprintf(message, sizeof message, format, args);
    b->failed = true;
    return h5pt_fail(b->err, code, where, "%s", message);
}

int aten_fail(struct aten_builder *b, enum h5pt_code code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int status = b->failed ? -1 : failv(b, code, format, args);
    va_end(args);
    return status;
}

int aten_fail_memory(struct aten_builder *b)
{
    b->failed = true;
    return h5pt_fail_memory(b->err);
}

int aten_refuse(struct aten_builder *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int status = b->failed ? -1 : failv(b, H5PT_UNSUPPORTED_OPERATION, format, args);
    va_end(args);
    return status;
}

/* ---- arrays in the arena ---- */

int aten_grow(struct aten_builder *b, void *array_address, size_t size, int count, int *capacity)
{
    void **array = array_address;
    if (b->failed)
        return -1;
    if (count < *capacity)
        return 0;
    int larger = *capacity ? *capacity * 2 : 64;
    void *grown = larger > 0 && larger < INT32_MAX / 4 ? arena_alloc(b->graph->arena, (size_t)larger, size) : NULL;
    if (!grown)
        return aten_fail_memory(b);
    if (count)
        memcpy(grown, *array, (size_t)count * size);
    *array = grown;
    *capacity = larger;
    return 0;
}

static const void *keep(struct aten_builder *b, const void *items, int count, size_t size)
{
    void *copy = arena_alloc(b->graph->arena, (size_t)count + 1, size);
    if (!copy)
        (void)aten_fail_memory(b);
    else if (count)
        memcpy(copy, items, (size_t)count * size);
    return copy;
}

/* ---- values ---- */

int aten_add_value(struct aten_builder *b, const struct aten_meta *meta, enum aten_origin origin, int index)
{
    struct aten_graph *g = b->graph;
    if (aten_grow(b, &g->values, sizeof *g->values, g->value_count, &b->value_capacity) < 0)
        return -1;
    struct aten_value *value = &g->values[g->value_count];
    *value = (struct aten_value){.meta = *meta, .origin = origin, .index = index};
    for (int i = 0; i < meta->shape.rank; i++) {
        const struct aten_int *dim = meta->shape.dims[i];
        if (!dim)
            return aten_fail(b, H5PT_INTERNAL, "A dim has no size");
        if (dim->weight > WEIGHT_MAX)
            value->meta.shape.dims[i] = aten_int_symbol(b, g->value_count, i, dim->value);
    }
    return b->failed ? -1 : g->value_count++;
}

int aten_input(struct aten_builder *b, const struct torch_node *node, int index)
{
    if (b->failed)
        return -1;
    if (index >= node->input_count)
        return aten_fail(b, H5PT_INTERNAL, "The operation has no input %d", index);
    return b->value_of[node->inputs[index]];
}

int aten_optional_parameter(struct aten_builder *b, const struct torch_node *node, int index)
{
    if (b->failed)
        return -1;
    return index < node->parameter_count ? b->graph->parameters[node->parameters[index]] : ATEN_NO_TENSOR;
}

int aten_parameter(struct aten_builder *b, const struct torch_node *node, int index)
{
    int value = aten_optional_parameter(b, node, index);
    return value == ATEN_NO_TENSOR ? aten_fail(b, H5PT_INTERNAL, "The operation has no parameter %d", index) : value;
}

void aten_set_output(struct aten_builder *b, const struct torch_node *node, int index, int value)
{
    if (!b->failed)
        b->value_of[node->output + index] = value;
}

/* ---- arguments ---- */

struct aten_arg aten_none(const char *name)
{
    return (struct aten_arg){.name = name, .kind = ATEN_ARG_NONE};
}

struct aten_arg aten_tensor(const char *name, int value)
{
    if (value == ATEN_NO_TENSOR)
        return aten_none(name);
    return (struct aten_arg){.name = name, .kind = ATEN_ARG_TENSOR, .tensor = value};
}

struct aten_arg aten_tensors(const char *name, int count, const int *values)
{
    return (struct aten_arg){.name = name, .kind = ATEN_ARG_TENSORS, .count = count, .tensors = values};
}

struct aten_arg aten_integer(const char *name, int64_t value)
{
    return (struct aten_arg){.name = name, .kind = ATEN_ARG_INT, .plain = true, .number = value};
}

struct aten_arg aten_integers(const char *name, int count, const int64_t *values)
{
    return (struct aten_arg){.name = name, .kind = ATEN_ARG_INTS, .plain = true, .count = count, .numbers = values};
}

struct aten_arg aten_size_arg(const char *name, const struct aten_int *size)
{
    return (struct aten_arg){.name = name, .kind = ATEN_ARG_INT, .size = size};
}

struct aten_arg aten_sizes(const char *name, int count, const struct aten_int *const *sizes)
{
    return (struct aten_arg){.name = name, .kind = ATEN_ARG_INTS, .count = count, .sizes = sizes};
}

struct aten_arg aten_shape_arg(const char *name, const struct aten_shape *shape)
{
    return aten_sizes(name, shape->rank, shape->dims);
}

struct aten_arg aten_real(const char *name, double value)
{
    return (struct aten_arg){.name = name, .kind = ATEN_ARG_FLOAT, .real = value};
}

struct aten_arg aten_reals(const char *name, int count, const double *values)
{
    return (struct aten_arg){.name = name, .kind = ATEN_ARG_FLOATS, .count = count, .reals = values};
}

struct aten_arg aten_flag(const char *name, bool value)
{
    return (struct aten_arg){.name = name, .kind = ATEN_ARG_BOOL, .flag = value};
}

struct aten_arg aten_training(const char *name)
{
    return (struct aten_arg){.name = name, .kind = ATEN_ARG_TRAINING};
}

struct aten_arg aten_text(const char *name, const char *text)
{
    return (struct aten_arg){.name = name, .kind = ATEN_ARG_TEXT, .text = text};
}

struct aten_arg aten_dtype(const char *name, enum dtype dtype)
{
    return (struct aten_arg){.name = name, .kind = ATEN_ARG_DTYPE, .dtype = dtype};
}

struct aten_arg aten_device(const char *name, int like)
{
    return (struct aten_arg){.name = name, .kind = ATEN_ARG_DEVICE, .tensor = like};
}

struct aten_arg aten_keyword(struct aten_arg arg)
{
    arg.keyword = true;
    return arg;
}

struct aten_arg aten_scalar(const char *name, const struct torch_attr *attr)
{
    if (attr && attr->kind == TORCH_ATTR_FLOAT)
        return aten_real(name, attr->f);
    return attr ? aten_integer(name, attr->i) : aten_none(name);
}

static const struct aten_int *const *keep_sizes(struct aten_builder *b, const struct aten_arg *arg)
{
    const struct aten_int **sizes = ARENA_ARRAY(b->graph->arena, const struct aten_int *, (size_t)arg->count + 1);
    if (!sizes)
        (void)aten_fail_memory(b);
    for (int i = 0; i < arg->count && !b->failed; i++) {
        sizes[i] = arg->plain ? aten_int(b, arg->numbers[i]) : arg->sizes[i];
        if (!sizes[i])
            (void)aten_fail(b, H5PT_INTERNAL, "The argument %s has no value", arg->name);
    }
    return sizes;
}

/* Makes the argument one that lasts. */
static void keep_arg(struct aten_builder *b, struct aten_arg *arg)
{
    bool missing = (arg->kind == ATEN_ARG_TENSOR || arg->kind == ATEN_ARG_DEVICE) && arg->tensor < 0;
    for (int i = 0; arg->kind == ATEN_ARG_TENSORS && i < arg->count; i++)
        missing = missing || arg->tensors[i] == -1;
    if (arg->kind == ATEN_ARG_INT && arg->plain)
        arg->size = aten_int(b, arg->number);
    else if (arg->kind == ATEN_ARG_INTS)
        arg->sizes = keep_sizes(b, arg);
    else if (arg->kind == ATEN_ARG_TENSORS)
        arg->tensors = keep(b, arg->tensors, arg->count, sizeof *arg->tensors);
    else if (arg->kind == ATEN_ARG_FLOATS)
        arg->reals = keep(b, arg->reals, arg->count, sizeof *arg->reals);
    missing = missing || (arg->kind == ATEN_ARG_INT && !arg->size) || (arg->kind == ATEN_ARG_TEXT && !arg->text);
    arg->plain = false;
    if (missing)
        (void)aten_fail(b, H5PT_INTERNAL, "The argument %s has no value", arg->name);
}

/* ---- calls ---- */

int aten_emit_many(struct aten_builder *b, const char *op, bool list, int output_count, const struct aten_meta *outputs,
                   int arg_count, const struct aten_arg *args)
{
    struct aten_graph *g = b->graph;
    if (b->failed)
        return -1;
    struct aten_arg *own = (struct aten_arg *)keep(b, args, arg_count, sizeof *args);
    for (int i = 0; own && i < arg_count; i++)
        keep_arg(b, &own[i]);
    int first = g->value_count;
    for (int i = 0; i < output_count; i++)
        if (aten_add_value(b, &outputs[i], ATEN_CALL, g->call_count) < 0)
            return -1;
    if (aten_grow(b, &g->calls, sizeof *g->calls, g->call_count, &b->call_capacity) < 0)
        return -1;
    g->calls[g->call_count++] = (struct aten_call){.op = op,
                                                   .node = b->node,
                                                   .arg_count = arg_count,
                                                   .args = own,
                                                   .output = first,
                                                   .output_count = output_count,
                                                   .list = list};
    return first;
}

int aten_emit(struct aten_builder *b, const char *op, struct aten_shape shape, enum dtype dtype, int arg_count,
              const struct aten_arg *args)
{
    const struct aten_meta meta = {.shape = shape, .dtype = dtype};
    return aten_emit_many(b, op, false, 1, &meta, arg_count, args);
}
