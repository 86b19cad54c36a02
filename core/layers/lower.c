/* SPDX-License-Identifier: Apache-2.0 */
/* Adding nodes and modules to the torch graph. */
#include "layers/lower.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/words.h"
#include "layers/lowering.h"
#include "torch/names.h"

int lower_fail(struct lowering *l, const struct keras_call *call, const char *why)
{
    return h5pt_fail(l->err, H5PT_SHAPE_UNKNOWN, call->layer->path, "%s", why);
}

struct arena *lower_arena(const struct lowering *l)
{
    return l->arena;
}

bool lowering_failed(const struct lowering *l)
{
    return l->err->code != H5PT_OK;
}

int lowering_grow(struct lowering *l, void *array_address, size_t size, int count, int *capacity)
{
    void **array = array_address;
    if (count < *capacity)
        return 0;
    int wanted = *capacity ? *capacity * 2 : 64;
    void *fresh = arena_alloc(l->arena, (size_t)wanted, size);
    if (!fresh)
        return h5pt_fail_memory(l->err);
    if (count)
        memcpy(fresh, *array, (size_t)count * size);
    *array = fresh;
    *capacity = wanted;
    return 0;
}

void *lowering_keep(struct lowering *l, const void *data, size_t count, size_t size)
{
    if (!count)
        return NULL;
    void *copy = arena_alloc(l->arena, count, size);
    if (!copy)
        h5pt_fail_memory(l->err);
    return copy ? memcpy(copy, data, count * size) : NULL;
}

int lowering_value(struct lowering *l, struct shape shape, enum dtype dtype, int node, const char *hint)
{
    struct torch_graph *g = l->graph;
    if (lowering_failed(l) || lowering_grow(l, &g->values, sizeof *g->values, g->value_count, &l->value_capacity) < 0)
        return -1;
    g->values[g->value_count] = (struct torch_value){.shape = shape, .dtype = dtype, .node = node, .hint = hint};
    return g->value_count++;
}

void lowering_hold(struct lowering *l, const struct keras_value *value, struct lowered holder)
{
    struct holders *h = &l->holders[value->id];
    if (lowering_failed(l) || lowering_grow(l, &h->items, sizeof *h->items, h->count, &h->capacity) < 0)
        return;
    h->items[h->count++] = holder;
}

int lower_output(struct lowering *l, const struct keras_call *call, int index, struct lowered value)
{
    lowering_hold(l, call->outputs[index], value);
    return value.id < 0 ? -1 : 0;
}

struct shape lower_shape(const struct lowering *l, int id)
{
    return id < 0 || id >= l->graph->value_count ? (struct shape){.rank = 0} : l->graph->values[id].shape;
}

enum dtype lower_dtype(const struct lowering *l, int id)
{
    return id < 0 || id >= l->graph->value_count ? DTYPE_F32 : l->graph->values[id].dtype;
}

/* ---- names ---- */

static json_t *lower_case_key(const char *name)
{
    json_t *key = json_string(name);
    char *text = (char *)json_string_value(key);
    for (; text && *text; text++)
        *text = (char)tolower((unsigned char)*text);
    return key;
}

/* Takes `name`, or name_2, name_3 … when it is in use. */
static const char *unique_name(struct lowering *l, const char *name)
{
    for (int i = 1;; i++) {
        const char *candidate = i == 1 ? name : arena_printf(l->arena, "%s_%d", name, i);
        json_t *key = candidate ? lower_case_key(candidate) : NULL;
        if (!key) {
            h5pt_fail_memory(l->err);
            return NULL;
        }
        bool taken = torch_name_reserved(candidate) || json_object_get(l->names, json_string_value(key));
        if (!taken && json_object_set_new(l->names, json_string_value(key), json_true()) < 0)
            h5pt_fail_memory(l->err);
        json_decref(key);
        if (!taken)
            return candidate;
    }
}

const char *lower_module(struct lowering *l, const struct keras_call *call, const char *suffix)
{
    if (lowering_failed(l))
        return NULL;
    const char *path = call->layer->path;
    const char *key = arena_printf(l->arena, "%s\n%s", path, suffix ? suffix : "");
    const char *text = suffix ? arena_printf(l->arena, "%s_%s", path, suffix) : path;
    char *wanted = text ? torch_identifier(l->arena, text) : NULL;
    if (!key || !wanted) {
        h5pt_fail_memory(l->err);
        return NULL;
    }
    const json_t *known = json_object_get(l->modules, key);
    if (known) { /* the map dies with the lowering, the name must not */
        char *same = arena_strdup(l->arena, json_string_value(known));
        if (!same)
            h5pt_fail_memory(l->err);
        return same;
    }
    const char *name = unique_name(l, wanted);
    if (name && json_object_set_new(l->modules, key, json_string(name)) < 0)
        h5pt_fail_memory(l->err);
    return lowering_failed(l) ? NULL : name;
}

enum dtype lowering_compute_type(const struct keras_call *call, enum dtype dtype)
{
    return dtype == DTYPE_F32 && call ? call->layer->compute : dtype;
}

/* ---- attributes and nodes ---- */

struct torch_attr attr_int(const char *name, int64_t value)
{
    return (struct torch_attr){.name = name, .kind = TORCH_ATTR_INT, .i = value};
}

struct torch_attr attr_bool(const char *name, bool value)
{
    return (struct torch_attr){.name = name, .kind = TORCH_ATTR_BOOL, .i = value};
}

struct torch_attr attr_float(const char *name, double value)
{
    return (struct torch_attr){.name = name, .kind = TORCH_ATTR_FLOAT, .f = value};
}

struct torch_attr attr_text(const char *name, const char *value)
{
    return (struct torch_attr){.name = name, .kind = TORCH_ATTR_TEXT, .text = value};
}

struct torch_attr attr_text_copy(struct lowering *l, const char *name, const char *value)
{
    const char *copy = lowering_keep(l, value, strlen(value) + 1, 1);
    return attr_text(name, copy ? copy : "");
}

struct torch_attr attr_list(struct lowering *l, const char *name, int count, const int64_t *values)
{
    struct torch_attr attr = {.name = name, .kind = TORCH_ATTR_INTS};
    attr.ints.count = count;
    attr.ints.v = lowering_keep(l, values, (size_t)count, sizeof *values);
    return attr;
}

struct torch_attr attr_ints(struct lowering *l, const char *name, int count, const int64_t *values)
{
    for (int i = 1; i < count; i++)
        if (values[i] != values[0])
            return attr_list(l, name, count, values);
    return attr_int(name, count ? values[0] : 0);
}

struct torch_attr attr_sizes(struct lowering *l, const char *name, int count, const struct torch_size *values)
{
    struct torch_attr attr = {.name = name, .kind = TORCH_ATTR_SIZES};
    attr.sizes.count = count;
    attr.sizes.v = lowering_keep(l, values, (size_t)count, sizeof *values);
    return attr;
}

/* `dtype`: that of its outputs. */
static int add_node(struct lowering *l, const struct keras_call *call, const struct node_spec *spec, enum dtype dtype)
{
    struct torch_graph *g = l->graph;
    if (lowering_failed(l) || lowering_grow(l, &g->nodes, sizeof *g->nodes, g->node_count, &l->node_capacity) < 0)
        return -1;
    for (int i = 0; i < spec->input_count; i++)
        if (spec->inputs[i] < 0 || spec->inputs[i] >= g->value_count)
            return h5pt_fail(l->err, H5PT_INTERNAL, call ? call->layer->path : NULL,
                             "A node has an input that does not exist");
    const char *hint = call ? torch_identifier(l->arena, call->layer->path) : NULL;
    int output = lowering_value(l, spec->shape, dtype, g->node_count, hint);
    for (int i = 0; i < spec->more_outputs; i++)
        (void)lowering_value(l, spec->more_shapes[i], dtype, g->node_count, hint);
    struct torch_node node = {
        .op = spec->op,
        .module = spec->module,
        .input_count = spec->input_count,
        .inputs = lowering_keep(l, spec->inputs, (size_t)spec->input_count, sizeof *spec->inputs),
        .output = output,
        .output_count = 1 + spec->more_outputs,
        .attr_count = spec->attr_count,
        .attrs = lowering_keep(l, spec->attrs, (size_t)spec->attr_count, sizeof *spec->attrs),
        .parameter_count = spec->parameter_count,
        .parameters = lowering_keep(l, spec->parameters, (size_t)spec->parameter_count, sizeof *spec->parameters),
        .call = call,
    };
    if (lowering_failed(l))
        return -1;
    g->nodes[g->node_count++] = node;
    return output;
}

/* ---- layers that compute in 16 bits ---- */

/* What torch computes in 32 bits only, or what 16 bits would spoil (counts and places). */
static bool needs_float32(const struct node_spec *spec)
{
    static const enum torch_op ops[] = {
        TORCH_INV,          TORCH_DET,         TORCH_SOLVE,          TORCH_SOLVE_TRIANGULAR,
        TORCH_CHOLESKY,     TORCH_SVDVALS,     TORCH_EIGVALSH,       TORCH_PINV,
        TORCH_SLOGDET_SIGN, TORCH_SLOGDET_LOG, TORCH_QUANTILE,       TORCH_NANQUANTILE,
        TORCH_RFFT_REAL,    TORCH_RFFT_IMAG,   TORCH_IRFFT,          TORCH_FFT_REAL,
        TORCH_FFT_IMAG,     TORCH_IFFT_REAL,   TORCH_IFFT_IMAG,      TORCH_STFT_MAGNITUDE,
        TORCH_AVG_POOL3D,   TORCH_CLAHE,       TORCH_BIN_BOUNDARIES, TORCH_PROJECTIVE_TRANSFORM,
    };
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (ops[i] == spec->op)
            return true;
    return spec->op == TORCH_AVG_POOL_SAME && spec->shape.rank == 5;
}

static bool is_half(enum dtype dtype)
{
    return dtype_is_float(dtype) && dtype_size(dtype) == 2;
}

/* Whether torch's result is float32 whatever the layer computes in: by name, or because nothing of it is in 16 bits. */
static bool gives_float32(const struct lowering *l, const struct node_spec *spec)
{
    for (int i = 0; i < spec->attr_count; i++)
        if (strcmp(spec->attrs[i].name, "dtype") == 0)
            return strcmp(spec->attrs[i].text, dtype_name(DTYPE_F32)) == 0;
    for (int i = 0; i < spec->input_count; i++)
        if (is_half(lower_dtype(l, spec->inputs[i])))
            return false;
    for (int i = 0; i < spec->parameter_count; i++)
        if (is_half(l->graph->parameters[spec->parameters[i]].dtype))
            return false;
    return true;
}

static int cast_to(struct lowering *l, const struct keras_call *call, int id, enum dtype dtype)
{
    struct torch_attr attr = attr_text("dtype", dtype_name(dtype));
    return add_node(l, call,
                    &(struct node_spec){.op = TORCH_CAST,
                                        .input_count = 1,
                                        .inputs = &id,
                                        .attr_count = 1,
                                        .attrs = &attr,
                                        .shape = lower_shape(l, id)},
                    dtype);
}

/* Masks take a number that is larger than all others, which float16 need not have. */
static int check_numbers(struct lowering *l, const struct keras_call *call, const struct node_spec *spec)
{
    static const double largest_float16 = 65504;
    for (int i = 0; i < spec->attr_count; i++)
        if (spec->op == TORCH_WHERE_NUMBER && spec->attrs[i].kind == TORCH_ATTR_FLOAT && isfinite(spec->attrs[i].f) &&
            fabs(spec->attrs[i].f) > largest_float16)
            return h5pt_fail(l->err, H5PT_UNSUPPORTED_DTYPE, call->layer->path,
                             "The layer masks with %g, which float16 has not; bfloat16 and float32 have it",
                             spec->attrs[i].f);
    return 0;
}

/* A node of a layer that computes in 16 bits: its inputs are brought to one type, and its result to that of the layer. */
static int add_half_node(struct lowering *l, const struct keras_call *call, const struct node_spec *spec,
                         enum dtype half)
{
    bool wide = needs_float32(spec), result = wide || gives_float32(l, spec);
    struct node_spec own = *spec;
    if (spec->op == TORCH_CAST)
        return cast_to(l, call, spec->inputs[0], half);
    int *inputs = ARENA_ARRAY(l->arena, int, (size_t)spec->input_count + 1);
    if (!inputs)
        return h5pt_fail_memory(l->err);
    if (half == DTYPE_F16 && call->layer->compute_given && check_numbers(l, call, spec) < 0)
        return -1;
    for (int i = 0; i < spec->input_count; i++) {
        enum dtype dtype = lower_dtype(l, spec->inputs[i]);
        bool other = dtype_is_float(dtype) && dtype != (wide ? DTYPE_F32 : half) && (wide || !result);
        inputs[i] = other ? cast_to(l, call, spec->inputs[i], wide ? DTYPE_F32 : half) : spec->inputs[i];
    }
    own.inputs = inputs;
    int id = add_node(l, call, &own, result ? DTYPE_F32 : half);
    return result && id >= 0 ? cast_to(l, call, id, half) : id;
}

int lower_node(struct lowering *l, const struct keras_call *call, const struct node_spec *spec)
{
    enum dtype dtype = lowering_compute_type(call, spec->dtype);
    if (!lowering_failed(l) && is_half(dtype))
        return add_half_node(l, call, spec, dtype);
    return add_node(l, call, spec, dtype);
}

/* ---- frequent nodes ---- */

int lower_plain_module(struct lowering *l, const struct keras_call *call, enum torch_op op, const char *module,
                       int input, int attr_count, const struct torch_attr *attrs, struct shape shape, enum dtype dtype)
{
    return lower_node(l, call,
                      &(struct node_spec){
                          .op = op,
                          .module = module,
                          .input_count = 1,
                          .inputs = &input,
                          .attr_count = attr_count,
                          .attrs = attrs,
                          .shape = shape,
                          .dtype = dtype,
                      });
}

int lower_function(struct lowering *l, const struct keras_call *call, enum torch_op op, int input, int attr_count,
                   const struct torch_attr *attrs, struct shape shape, enum dtype dtype)
{
    return lower_plain_module(l, call, op, NULL, input, attr_count, attrs, shape, dtype);
}

int lower_function2(struct lowering *l, const struct keras_call *call, enum torch_op op, int a, int b, int attr_count,
                    const struct torch_attr *attrs, struct shape shape, enum dtype dtype)
{
    return lower_node(l, call,
                      &(struct node_spec){
                          .op = op,
                          .input_count = 2,
                          .inputs = (const int[]){a, b},
                          .attr_count = attr_count,
                          .attrs = attrs,
                          .shape = shape,
                          .dtype = dtype,
                      });
}

struct lowered lower_pointwise(struct lowering *l, const struct keras_call *call, struct lowered x, enum torch_op op,
                               const char *module, int attr_count, const struct torch_attr *attrs)
{
    if (lowering_failed(l))
        return x;
    enum dtype dtype = op == TORCH_GREATER_SCALAR || op == TORCH_NOT_EQUAL_SCALAR ? DTYPE_BOOL
                                                                                  : l->graph->values[x.id].dtype;
    x.id = lower_plain_module(l, call, op, module, x.id, attr_count, attrs, lower_shape(l, x.id), dtype);
    return x;
}

/* Right-aligned as torch broadcasts. */
static struct shape broadcast(const struct shape *a, const struct shape *b)
{
    struct shape s = {.rank = a->rank > b->rank ? a->rank : b->rank};
    for (int i = 0; i < s.rank; i++) {
        int ia = i - (s.rank - a->rank), ib = i - (s.rank - b->rank);
        int64_t da = ia < 0 ? 1 : a->dims[ia], db = ib < 0 ? 1 : b->dims[ib];
        s.dims[i] = da == 1 ? db : db == 1 ? da : da < 0 ? db : da;
    }
    return s;
}

struct lowered lower_binary_as(struct lowering *l, const struct keras_call *call, enum torch_op op, struct lowered x,
                               struct lowered y, enum dtype dtype)
{
    if (lowering_failed(l))
        return x;
    struct shape a = lower_shape(l, x.id), b = lower_shape(l, y.id);
    struct lowered result = {.layout = a.rank >= b.rank ? x.layout : y.layout};
    result.id = lower_function2(l, call, op, x.id, y.id, 0, NULL, broadcast(&a, &b), dtype);
    return result;
}

struct lowered lower_binary(struct lowering *l, const struct keras_call *call, enum torch_op op, struct lowered x,
                            struct lowered y)
{
    return lower_binary_as(l, call, op, x, y, lower_dtype(l, x.id));
}

struct lowered lower_pad(struct lowering *l, const struct keras_call *call, struct lowered x, const int64_t *before,
                         const int64_t *after, double value)
{
    struct shape shape = lower_shape(l, x.id);
    int64_t pad[2 * SHAPE_MAX_RANK];
    int count = 0, outermost = shape.rank;
    for (int i = shape.rank - 1; i >= 0; i--)
        if (before[i] || after[i])
            outermost = i;
    if (lowering_failed(l) || outermost == shape.rank)
        return x;
    for (int i = shape.rank - 1; i >= outermost; i--) {
        pad[count++] = before[i];
        pad[count++] = after[i];
        if (shape.dims[i] >= 0)
            shape.dims[i] += before[i] + after[i];
    }
    struct torch_attr attrs[] = {attr_list(l, "pad", count, pad), attr_float("value", value)};
    x.id = lower_function(l, call, TORCH_PAD, x.id, 2, attrs, shape, l->graph->values[x.id].dtype);
    return x;
}

struct lowered lower_reshape(struct lowering *l, const struct keras_call *call, struct lowered x, int rank,
                             const int64_t *dims, const int *from)
{
    struct lowered result = {.id = -1, .layout = layout_keras(rank)};
    if (lowering_failed(l))
        return result;
    struct shape in = lower_shape(l, x.id), out = shape_of(rank, dims);
    struct torch_size sizes[SHAPE_MAX_RANK];
    int open = 0;
    for (int i = 0; i < rank; i++) {
        int source = from ? from[i] : i < in.rank ? i : -1;
        sizes[i] = (struct torch_size){dims[i], dims[i] < 0 ? source : -1};
        open += dims[i] < 0 && source < 0;
    }
    if (open > 1) {
        h5pt_fail(l->err, H5PT_SHAPE_UNKNOWN, call->layer->path, "More than one size of the new shape is not known");
        return result;
    }
    struct torch_attr attr = attr_sizes(l, "sizes", rank, sizes);
    result.id = lower_function(l, call, TORCH_RESHAPE, x.id, 1, &attr, out, l->graph->values[x.id].dtype);
    return result;
}

bool lower_output_used(const struct lowering *l, const struct keras_call *call, int index)
{
    const struct keras_model *model = l->model;
    const struct keras_value *value = call->outputs[index];
    for (int i = 0; i < model->output_count; i++)
        if (model->outputs[i] == value)
            return true;
    for (int i = 0; i < model->call_count; i++)
        for (int k = 0; k < model->calls[i]->input_count; k++)
            if (model->calls[i]->inputs[k] == value)
                return true;
    return false;
}
