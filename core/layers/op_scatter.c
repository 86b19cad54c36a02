/* SPDX-License-Identifier: Apache-2.0 */
/* Scatter, ScatterUpdate, SegmentSum and its kin, SliceUpdate: tensors that others are put into. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "layers/operation.h"
#include "layers/variants.h"

enum { SCATTER_MAX_CELLS = 1 << 24 };

enum scatter_way { PUT, ADD, MAX, MIN, MUL };

struct scatter_config {
    enum scatter_variant variant;
    enum scatter_way way;
    struct shape shape; /* SCATTER; the segments' number of SEGMENT: of rank 1 */
};

static void op_scatter_read(struct config_reader *reader, void *config, int variant)
{
    static const enum scatter_way ways[] = {
        [SCATTER_ND] = ADD,          [SCATTER_SEGMENT_SUM] = ADD,  [SCATTER_SEGMENT_MAX] = MAX,
        [SCATTER_SEGMENT_MIN] = MIN, [SCATTER_SEGMENT_PROD] = MUL, [SCATTER_UPDATE] = PUT,
        [SCATTER_SLICE] = PUT};
    struct scatter_config *c = config;
    c->variant = (enum scatter_variant)variant;
    c->way = ways[variant];
    if (c->variant == SCATTER_SLICE)
        return;
    if (c->variant == SCATTER_UPDATE) {
        if (config_get(reader, "reduction"))
            c->way = (enum scatter_way)(ADD + config_choice(reader, "reduction", "add max min mul", 0));
        return;
    }
    if (c->variant == SCATTER_ND) {
        c->shape.rank = config_list(reader, "shape", SHAPE_MAX_RANK, c->shape.dims);
        for (int i = 0; i < c->shape.rank; i++)
            if (c->shape.dims[i] < 1 || c->shape.dims[i] > SCATTER_MAX_CELLS)
                c->shape.rank = 0;
        if (c->shape.rank < 1) {
            config_refuse(reader, H5PT_CONFIG_INVALID, "shape", "\"shape\" must list positive sizes");
            c->shape = shape_of(1, (const int64_t[]){1});
        }
        return;
    }
    if (!config_get(reader, "num_segments") || config_bool(reader, "sorted", false)) {
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "num_segments",
                      "Without \"num_segments\" the shape of the result depends on the numbers of the segments");
        (void)config_int(reader, "num_segments", 1);
        return;
    }
    c->shape = shape_of(1, (const int64_t[]){config_size(reader, "num_segments", 1)});
}

/* What is put where into what. `base` is NONE where that is filled with one number. */
struct scatter {
    struct operand base, indices, updates;
    int depth; /* how many axes of the base the indices tell */
    struct shape shape;
    float fill;
};

static bool find_operands(const struct scatter_config *c, const struct operand_source *source, struct scatter *ret)
{
    *ret = (struct scatter){.base = {.kind = OPERAND_NONE}};
    if (c->variant == SCATTER_UPDATE) {
        ret->base = operand_at(source, 0, "inputs");
        ret->indices = operand_at(source, 1, "indices");
        ret->updates = operand_at(source, 2, "updates");
        ret->shape = ret->base.shape;
    } else if (c->variant == SCATTER_ND) {
        ret->indices = operand_at(source, 0, "indices");
        ret->updates = operand_at(source, 1, "values");
        ret->shape = c->shape;
    } else {
        ret->updates = operand_at(source, 0, "data");
        ret->indices = operand_at(source, 1, "segment_ids");
        ret->shape = ret->updates.shape;
        ret->shape.dims[0] = c->shape.dims[0];
        ret->depth = 1;
        ret->fill = c->way == MAX ? -FLT_MAX : c->way == MIN ? FLT_MAX : c->way == MUL ? 1 : 0;
        return (ret->updates.kind == OPERAND_TENSOR || ret->updates.kind == OPERAND_ARRAY) &&
               ret->indices.shape.rank == 1;
    }
    const struct shape *indices = &ret->indices.shape;
    ret->depth = indices->rank > 0 && indices->dims[indices->rank - 1] <= SHAPE_MAX_RANK
                     ? (int)indices->dims[indices->rank - 1]
                     : 0;
    return ret->depth > 0 && ret->depth <= ret->shape.rank && ret->updates.kind != OPERAND_NONE &&
           (c->variant != SCATTER_UPDATE || ret->base.kind == OPERAND_TENSOR || ret->base.kind == OPERAND_ARRAY);
}

/* (lead…, depth) and (lead…, the other axes of the base) */
static bool fits(const struct scatter_config *c, const struct scatter *s)
{
    bool segment = c->variant != SCATTER_ND && c->variant != SCATTER_UPDATE;
    int lead = segment ? 1 : s->indices.shape.rank - 1;
    if (s->updates.shape.rank != lead + s->shape.rank - s->depth)
        return false;
    for (int i = 0; i < s->updates.shape.rank; i++) {
        int64_t n = i < lead ? s->indices.shape.dims[i] : s->shape.dims[s->depth + i - lead],
                m = s->updates.shape.dims[i];
        if (n != m && n != DIM_UNKNOWN && m != DIM_UNKNOWN)
            return false;
    }
    return true;
}

/* Constant indices that name one place twice: which of the updates stays is not said. */
static bool named_twice(const struct scatter *s)
{
    struct tensor *t = s->indices.kind == OPERAND_ARRAY ? operand_constant(&s->indices) : NULL;
    bool twice = false;
    for (int64_t i = 0; t && i < t->count / s->depth && t->count < SCATTER_MAX_CELLS / 4096; i++)
        for (int64_t k = 0; k < i; k++)
            twice = twice ||
                    memcmp(t->data + i * s->depth, t->data + k * s->depth, (size_t)s->depth * sizeof *t->data) == 0;
    tensor_free(t);
    return twice;
}

/* ---- SliceUpdate ---- */

/* Where the slice begins along each axis; 0 and less do not occur. */
static int starts(const struct operand_source *source, int rank, int64_t ret[SHAPE_MAX_RANK])
{
    struct operand at = operand_at(source, 1, "start_indices");
    if (at.kind != OPERAND_ARRAY || at.shape.rank != 1 || at.shape.dims[0] != rank)
        return -1;
    for (int i = 0; i < rank; i++) {
        double number = -1;
        if (!json_read_double(json_unwrap(json_array_get(at.values, (size_t)i)), &number) || number < 0 ||
            number > INT32_MAX)
            return -1;
        ret[i] = (int64_t)number;
    }
    return 0;
}

static int shape_of_slice(struct layer_shape *s)
{
    struct operand_source source = operands_of_shape(s);
    struct operand x = operand_at(&source, 0, "inputs"), updates = operand_at(&source, 2, "updates");
    int64_t start[SHAPE_MAX_RANK];
    if (x.kind != OPERAND_TENSOR)
        return operand_fail(s, "inputs");
    if ((updates.kind != OPERAND_TENSOR && updates.kind != OPERAND_ARRAY) || updates.shape.rank != x.shape.rank ||
        updates.dtype != x.dtype)
        return operand_fail(s, "updates");
    if (starts(&source, x.shape.rank, start) < 0)
        return operand_fail(s, "start_indices");
    for (int i = 0; i < x.shape.rank; i++) {
        int64_t n = x.shape.dims[i], m = updates.shape.dims[i];
        if (n != DIM_UNKNOWN && m != DIM_UNKNOWN && start[i] + m > n)
            return layer_shape_fail(s, "The slice does not lie inside the tensor");
    }
    s->outputs[0] = x.shape;
    s->output_dtypes[0] = x.dtype;
    return 0;
}

static int reference_slice(const struct layer_run *run)
{
    struct operand_source source = operands_of_run(run);
    struct operand x = operand_at(&source, 0, "inputs"), updates = operand_at(&source, 2, "updates");
    struct operand_tensor u;
    struct tensor *y = run->outputs[0];
    int64_t start[SHAPE_MAX_RANK], index[SHAPE_MAX_RANK] = {0};
    int rank = x.shape.rank;
    if (starts(&source, rank, start) < 0 || operand_tensor(run, &updates, &u) < 0)
        return -1;
    memcpy(y->data, run->inputs[x.input]->data, (size_t)y->count * sizeof *y->data);
    for (int64_t i = 0; i < u.tensor->count; i++) {
        int64_t at = 0;
        for (int k = 0; k < rank; k++)
            at = at * x.shape.dims[k] + start[k] + index[k];
        y->data[at] = u.tensor->data[i];
        for (int k = rank - 1; k >= 0 && ++index[k] == updates.shape.dims[k]; k--)
            index[k] = 0;
    }
    operand_tensor_release(&u);
    return 0;
}

static int lower_slice(struct lowering *l, const struct keras_call *call)
{
    struct operand_source source = operands_of_call(call);
    struct operand x = operand_at(&source, 0, "inputs"), updates = operand_at(&source, 2, "updates");
    int64_t start[SHAPE_MAX_RANK];
    if (starts(&source, x.shape.rank, start) < 0)
        return -1;
    struct torch_attr attr = attr_list(l, "start", x.shape.rank, start);
    struct lowered base = lower_operand(l, call, &x, "inputs"), u = lower_operand(l, call, &updates, "updates");
    struct node_spec spec = {.op = TORCH_SLICE_UPDATE,
                             .input_count = 2,
                             .inputs = (int[]){base.id, u.id},
                             .attr_count = 1,
                             .attrs = &attr,
                             .shape = lower_shape(l, base.id),
                             .dtype = x.dtype};
    return lower_output(l, call, 0, (struct lowered){lower_node(l, call, &spec), base.layout});
}

/* ---- the others ---- */

static int op_scatter_shape(struct layer_shape *s)
{
    const struct scatter_config *c = s->config;
    struct operand_source source = operands_of_shape(s);
    struct scatter scatter;
    int64_t count;
    if (c->variant == SCATTER_SLICE)
        return shape_of_slice(s);
    if (!find_operands(c, &source, &scatter))
        return operand_fail(s, "indices");
    if (dtype_is_float(scatter.indices.dtype) || scatter.indices.dtype == DTYPE_BOOL ||
        scatter.updates.dtype != DTYPE_F32 || (c->variant == SCATTER_UPDATE && scatter.base.dtype != DTYPE_F32))
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_DTYPE, "dtype",
                         "%s is supported for float32 and indices that are integers", s->layer->class_name);
    if (!fits(c, &scatter))
        return layer_shape_fail(s, "Indices and updates of %s do not fit together", s->layer->class_name);
    if (c->variant != SCATTER_UPDATE && (!shape_count(&scatter.shape, &count) || count > SCATTER_MAX_CELLS))
        return layer_shape_fail(s, "The result of %s is too large or of unknown size", s->layer->class_name);
    if (c->way == PUT && named_twice(&scatter))
        return layer_shape_fail(s, "An index stands twice, and which of the updates stays is not defined");
    s->outputs[0] = scatter.shape;
    return 0;
}

static void put(enum scatter_way way, float *to, float value)
{
    switch (way) {
    case PUT: *to = value; break;
    case ADD: *to += value; break;
    case MUL: *to *= value; break;
    case MAX: *to = *to > value ? *to : value; break;
    case MIN: *to = *to < value ? *to : value; break;
    }
}

static void run_scatter(const struct scatter_config *c, const struct scatter *s, const struct tensor *indices,
                        const struct tensor *updates, struct tensor *y)
{
    int64_t cells = 1;
    for (int i = s->depth; i < s->shape.rank; i++)
        cells *= s->shape.dims[i];
    for (int64_t i = 0; i < indices->count / s->depth; i++) {
        int64_t row = 0;
        bool inside = true;
        for (int k = 0; k < s->depth; k++) {
            int64_t index = (int64_t)indices->data[i * s->depth + k];
            inside = inside && index >= 0 && index < s->shape.dims[k];
            row = row * s->shape.dims[k] + index;
        }
        for (int64_t k = 0; inside && k < cells; k++)
            put(c->way, &y->data[row * cells + k], updates->data[i * cells + k]);
    }
}

static int op_scatter_reference(const struct layer_run *run)
{
    const struct scatter_config *c = run->config;
    struct operand_source source = operands_of_run(run);
    struct scatter s;
    struct operand_tensor base = {NULL, NULL}, indices = {NULL, NULL}, updates = {NULL, NULL};
    struct tensor *y = run->outputs[0];
    if (c->variant == SCATTER_SLICE)
        return reference_slice(run);
    if (!find_operands(c, &source, &s))
        return h5pt_fail(run->err, H5PT_INTERNAL, run->layer->path, "The arguments are not as they were");
    int status = operand_tensor(run, &s.indices, &indices);
    if (status == 0)
        status = operand_tensor(run, &s.updates, &updates);
    if (status == 0 && c->variant == SCATTER_UPDATE)
        status = operand_tensor(run, &s.base, &base);
    for (int64_t i = 0; status == 0 && i < y->count; i++)
        y->data[i] = base.tensor ? base.tensor->data[i] : s.fill;
    if (status == 0)
        run_scatter(c, &s, indices.tensor, updates.tensor, y);
    operand_tensor_release(&base);
    operand_tensor_release(&indices);
    operand_tensor_release(&updates);
    return status;
}

static struct lowered filled(struct lowering *l, const struct keras_call *call, const struct scatter *s)
{
    struct layout layout = layout_keras(s->shape.rank);
    struct tensor *t = tensor_new(&s->shape, DTYPE_F32);
    for (int64_t i = 0; t && i < t->count; i++)
        t->data[i] = s->fill;
    struct lowered x = {.id = -1, .layout = layout};
    if (t)
        x = lower_buffer(l, call, "empty", t, &layout);
    else
        h5pt_fail_memory(lower_error(l));
    tensor_free(t);
    return x;
}

static int op_scatter_lower(struct lowering *l, const struct keras_call *call)
{
    static const char *const names[] = {[ADD] = "sum", [MAX] = "amax", [MIN] = "amin", [MUL] = "prod"};
    const struct scatter_config *c = call->layer->config;
    struct operand_source source = operands_of_call(call);
    struct scatter s;
    if (c->variant == SCATTER_SLICE)
        return lower_slice(l, call);
    if (!find_operands(c, &source, &s))
        return -1;
    bool segment = c->variant != SCATTER_ND && c->variant != SCATTER_UPDATE;
    struct lowered base = c->variant == SCATTER_UPDATE ? lower_operand(l, call, &s.base, "inputs")
                                                       : filled(l, call, &s);
    struct lowered indices = lower_convert(l, call, lower_operand(l, call, &s.indices, "indices"), DTYPE_I64);
    struct lowered updates = lower_operand(l, call, &s.updates, "updates");
    if (base.id < 0)
        return -1;
    if (segment)
        indices = lower_unsqueeze(l, call, indices, 1);
    struct torch_attr way = attr_text("reduce", c->way == PUT ? "none" : names[c->way]);
    struct node_spec spec = {.op = TORCH_SCATTER_ND,
                             .input_count = 3,
                             .inputs = (int[]){base.id, indices.id, updates.id},
                             .attr_count = c->way == PUT ? 0 : 1,
                             .attrs = &way,
                             .shape = lower_shape(l, base.id),
                             .dtype = DTYPE_F32};
    return lower_output(l, call, 0, (struct lowered){lower_node(l, call, &spec), base.layout});
}

const struct layer_handler op_scatter_handler = {
    .config_size = sizeof(struct scatter_config),
    .read = op_scatter_read,
    .shape = op_scatter_shape,
    .reference = op_scatter_reference,
    .lower = op_scatter_lower,
};
