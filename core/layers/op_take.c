/* SPDX-License-Identifier: Apache-2.0 */
/* Picking cells by tensors of indices, which may count from the end; triangles and diagonals of matrices. */
#include <string.h>

#include "layers/operation.h"
#include "layers/variants.h"

struct take_config {
    enum take_variant variant;
    int64_t axis;
};

static void op_take_read(struct config_reader *reader, void *config, int variant)
{
    struct take_config *c = config;
    *c = (struct take_config){(enum take_variant)variant, 0};
    if (!config_get(reader, "axis"))
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "axis",
                      "Without an axis the batch would be mixed: not supported");
    c->axis = config_int(reader, "axis", 0);
}

/* x without its axis `axis`, with the axes of the indices in its place. */
static bool taken_shape(const struct shape *in, const struct shape *indices, int axis, struct shape *ret)
{
    ret->rank = 0;
    if (in->rank - 1 + indices->rank > SHAPE_MAX_RANK)
        return false;
    for (int i = 0; i < in->rank; i++) {
        for (int k = 0; i == axis && k < indices->rank; k++)
            ret->dims[ret->rank++] = indices->dims[k];
        if (i != axis)
            ret->dims[ret->rank++] = in->dims[i];
    }
    return true;
}

static bool along_shape(const struct shape *in, const struct shape *indices, int axis, struct shape *ret)
{
    struct shape a = *in, b = *indices;
    if (a.rank != b.rank)
        return false;
    a.dims[axis] = b.dims[axis] = 1;
    if (!shape_broadcast(&a, &b, ret))
        return false;
    ret->dims[axis] = indices->dims[axis];
    return true;
}

/* Constant indices must be cells of the axis. */
static bool in_range(const struct operand *indices, int64_t size)
{
    struct tensor *t = indices->kind == OPERAND_TENSOR || size < 0 ? NULL : operand_constant(indices);
    bool ok = true;
    for (int64_t i = 0; t && i < t->count; i++)
        ok = ok && t->data[i] >= (float)-size && t->data[i] < (float)size;
    tensor_free(t);
    return ok;
}

static int op_take_shape(struct layer_shape *s)
{
    const struct take_config *c = s->config;
    struct operand_source source = operands_of_shape(s);
    struct operand x = operand_at(&source, 0, "x"), indices = operand_at(&source, 1, "indices");
    int axis = axis_resolve(c->axis, x.shape.rank);
    if (x.kind != OPERAND_TENSOR && x.kind != OPERAND_ARRAY)
        return operand_fail(s, "x");
    if (indices.kind == OPERAND_NONE || dtype_is_float(indices.dtype) || indices.dtype == DTYPE_BOOL)
        return operand_fail(s, "indices");
    if (axis < 0 || !in_range(&indices, x.shape.dims[axis]))
        return layer_shape_fail(s, "The indices or the axis of %s are out of range", s->layer->class_name);
    if (c->variant == TAKE_TAKE ? !taken_shape(&x.shape, &indices.shape, axis, &s->outputs[0])
                                : !along_shape(&x.shape, &indices.shape, axis, &s->outputs[0]))
        return layer_shape_fail(s, "The indices do not fit the tensor");
    s->output_dtypes[0] = x.dtype;
    return 0;
}

/* The cell that an index means. Those beyond the ends, which Keras would refuse, wrap, as they do in the converted model. */
static int64_t wrapped(float index, int64_t size)
{
    int64_t i = (int64_t)index % size;
    return i < 0 ? i + size : i;
}

static void take(const struct tensor *x, const struct tensor *indices, int axis, struct tensor *out)
{
    int64_t outer = 1, inner = 1, size = x->shape.dims[axis];
    for (int i = 0; i < axis; i++)
        outer *= x->shape.dims[i];
    for (int i = axis + 1; i < x->shape.rank; i++)
        inner *= x->shape.dims[i];
    float *to = out->data;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t k = 0; k < indices->count; k++, to += inner)
            memcpy(to, x->data + (o * size + wrapped(indices->data[k], size)) * inner, (size_t)inner * sizeof *to);
}

static void take_along(const struct tensor *x, const struct tensor *indices, int axis, struct tensor *out)
{
    int64_t step = 1, index[SHAPE_MAX_RANK] = {0};
    for (int i = axis + 1; i < x->shape.rank; i++)
        step *= x->shape.dims[i];
    struct walk which;
    walk_begin(&which, &out->shape, &indices->shape);
    for (int64_t n = 0; n < out->count; n++, walk_next(&which)) {
        int64_t at = 0;
        for (int i = 0; i < x->shape.rank; i++)
            at = at * x->shape.dims[i] + (i == axis || x->shape.dims[i] == 1 ? 0 : index[i]);
        out->data[n] = x->data[at + wrapped(indices->data[which.offset], x->shape.dims[axis]) * step];
        for (int i = x->shape.rank - 1; i >= 0 && ++index[i] == out->shape.dims[i]; i--)
            index[i] = 0;
    }
}

static int op_take_reference(const struct layer_run *run)
{
    const struct take_config *c = run->config;
    struct operand_source source = operands_of_run(run);
    struct operand o[2] = {operand_at(&source, 0, "x"), operand_at(&source, 1, "indices")};
    struct operand_tensor x = {NULL, NULL}, indices = {NULL, NULL};
    int status = operand_tensor(run, &o[0], &x) < 0 || operand_tensor(run, &o[1], &indices) < 0 ? -1 : 0;
    if (status == 0) {
        int axis = axis_resolve(c->axis, x.tensor->shape.rank);
        if (c->variant == TAKE_TAKE)
            take(x.tensor, indices.tensor, axis, run->outputs[0]);
        else
            take_along(x.tensor, indices.tensor, axis, run->outputs[0]);
    }
    operand_tensor_release(&x);
    operand_tensor_release(&indices);
    return status;
}

/* torch wants int64; a remainder takes care of indices that count from the end and are known only at run time. */
static struct lowered lower_indices(struct lowering *l, const struct keras_call *call, const struct operand *indices,
                                    int64_t size)
{
    if (indices->kind != OPERAND_TENSOR) {
        struct tensor *t = operand_constant(indices);
        for (int64_t i = 0; t && i < t->count; i++)
            t->data[i] = size < 0 ? t->data[i] : (float)wrapped(t->data[i], size);
        struct layout layout = layout_keras(indices->shape.rank);
        struct lowered x = lower_buffer(l, call, "indices", t, &layout);
        tensor_free(t);
        return x;
    }
    struct lowered x = lower_convert(l, call, lower_input_keras(l, call, indices->input), DTYPE_I64);
    return lower_number(l, call, TORCH_REMAINDER_SCALAR, x, (double)size, false, DTYPE_I64);
}

static int op_take_lower(struct lowering *l, const struct keras_call *call)
{
    const struct take_config *c = call->layer->config;
    struct operand_source source = operands_of_call(call);
    struct operand o = operand_at(&source, 0, "x"), indices = operand_at(&source, 1, "indices");
    int axis = axis_resolve(c->axis, o.shape.rank);
    struct shape shape = call->outputs[0]->shape;
    if (indices.kind == OPERAND_TENSOR && o.shape.dims[axis] < 0)
        return h5pt_fail(lower_error(l), H5PT_SHAPE_UNKNOWN, call->layer->path,
                         "The size of the axis that is picked from is not known");
    struct lowered which = lower_indices(l, call, &indices, o.shape.dims[axis]);
    bool single = c->variant == TAKE_TAKE && indices.shape.rank == 1 && o.kind == OPERAND_TENSOR;
    struct lowered x = single ? lower_input_plain(l, call, o.input) : lower_operand(l, call, &o, "x");
    struct torch_attr dim = attr_int("dim", single ? layout_axis(&x.layout, axis) : axis);
    struct layout layout = single ? x.layout : layout_keras(shape.rank);
    int id = lower_function2(l, call, c->variant == TAKE_TAKE ? TORCH_INDEX_SELECT : TORCH_TAKE_ALONG_DIM, x.id,
                             which.id, 1, &dim, shape_permute(&shape, layout.axes), lower_dtype(l, x.id));
    return lower_output(l, call, 0, (struct lowered){id, layout});
}

const struct layer_handler op_take_handler = {
    .config_size = sizeof(struct take_config),
    .read = op_take_read,
    .shape = op_take_shape,
    .reference = op_take_reference,
    .lower = op_take_lower,
};

/* ---- Tril, Triu, Diagonal, Trace, Diag ---- */

enum { TAKE_MAX_OFFSET = 1 << 20 };

struct matrix_config {
    enum matrix_variant variant;
    int64_t offset, axes[2];
};

static void op_matrix_read(struct config_reader *reader, void *config, int variant)
{
    struct matrix_config *c = config;
    *c = (struct matrix_config){(enum matrix_variant)variant, 0, {-2, -1}};
    if (c->variant != MATRIX_DIAGONAL && c->variant != MATRIX_TRACE) {
        c->offset = config_int(reader, "k", 0);
        return;
    }
    c->offset = config_int(reader, "offset", 0);
    c->axes[0] = config_int(reader, "axis1", 0);
    c->axes[1] = config_int(reader, "axis2", 1);
}

static bool whole_matrix(const struct matrix_config *c)
{
    return c->variant == MATRIX_TRIL || c->variant == MATRIX_TRIU;
}

/* Diag makes a matrix of a vector, and takes the diagonal of a matrix. */
static bool makes_diagonal(const struct matrix_config *c, const struct shape *in)
{
    return c->variant == MATRIX_DIAG && in->rank == 1;
}

/* Axes of the rows and columns; the cells of the diagonal. */
struct diagonal {
    int row, column;
    int64_t length;
};

static bool find_diagonal(const struct matrix_config *c, const struct shape *in, struct diagonal *ret)
{
    ret->row = axis_resolve(c->axes[0], in->rank);
    ret->column = axis_resolve(c->axes[1], in->rank);
    if (ret->row < 0 || ret->column < 0 || ret->row == ret->column)
        return false;
    int64_t rows = in->dims[ret->row], columns = in->dims[ret->column];
    ret->length = DIM_UNKNOWN;
    if (rows < 0 || columns < 0)
        return true;
    rows += c->offset < 0 ? c->offset : 0;
    columns -= c->offset > 0 ? c->offset : 0;
    ret->length = rows < columns ? rows : columns;
    return ret->length > 0;
}

static int op_matrix_shape(struct layer_shape *s)
{
    const struct matrix_config *c = s->config;
    const struct shape *in = &s->inputs[0];
    struct diagonal d;
    if (s->input_count != 1 || layer_argument_tensor(layer_argument(s->arguments, 0, "x")) != 0)
        return operand_fail(s, "x");
    s->output_dtypes[0] = s->input_dtypes[0];
    if (c->offset < -TAKE_MAX_OFFSET || c->offset > TAKE_MAX_OFFSET || (c->variant == MATRIX_DIAG && in->rank > 2))
        return layer_shape_fail(s, "%s is not supported for such an input", s->layer->class_name);
    if (makes_diagonal(c, in)) {
        int64_t size = in->dims[0] < 0 ? DIM_UNKNOWN : in->dims[0] + (c->offset < 0 ? -c->offset : c->offset);
        s->outputs[0] = (struct shape){.rank = 2, .dims = {size, size}};
        return 0;
    }
    if (in->rank < 2 || (!whole_matrix(c) && !find_diagonal(c, in, &d)))
        return layer_shape_fail(s, "The input of %s has no such matrices", s->layer->class_name);
    if (whole_matrix(c)) {
        s->outputs[0] = *in;
        return 0;
    }
    s->outputs[0] = (struct shape){.rank = 0};
    for (int i = 0; i < in->rank; i++)
        if (i != d.row && i != d.column)
            s->outputs[0].dims[s->outputs[0].rank++] = in->dims[i];
    if (c->variant != MATRIX_TRACE)
        s->outputs[0].dims[s->outputs[0].rank++] = d.length;
    if (c->variant == MATRIX_TRACE && s->output_dtypes[0] == DTYPE_BOOL)
        s->output_dtypes[0] = DTYPE_I32;
    return 0;
}

static int op_matrix_reference(const struct layer_run *run)
{
    const struct matrix_config *c = run->config;
    const struct tensor *in = run->inputs[0];
    struct tensor *out = run->outputs[0];
    int rank = in->shape.rank, order[SHAPE_MAX_RANK], n = 0;
    struct diagonal d = {rank - 2, rank - 1, 0};
    if (makes_diagonal(c, &in->shape)) {
        int64_t size = out->shape.dims[1], first = c->offset < 0 ? -c->offset * size : c->offset;
        memset(out->data, 0, (size_t)out->count * sizeof *out->data);
        for (int64_t i = 0; i < in->count; i++)
            out->data[first + i * (size + 1)] = in->data[i];
        return 0;
    }
    if (!whole_matrix(c) && !find_diagonal(c, &in->shape, &d))
        return h5pt_fail(run->err, H5PT_INTERNAL, run->layer->path, "The configuration is not as it was");
    int64_t rows = in->shape.dims[d.row], columns = in->shape.dims[d.column];
    if (whole_matrix(c)) {
        for (int64_t i = 0; i < out->count; i++) {
            int64_t above = i % columns - i / columns % rows;
            bool keep = c->variant == MATRIX_TRIL ? above <= c->offset : above >= c->offset;
            out->data[i] = keep ? in->data[i] : 0;
        }
        return 0;
    }
    for (int i = 0; i < rank; i++)
        if (i != d.row && i != d.column)
            order[n++] = i;
    order[n++] = d.row;
    order[n] = d.column;
    struct tensor *x = tensor_transpose(in, order);
    if (!x)
        return h5pt_fail_memory(run->err);
    int64_t row = c->offset < 0 ? -c->offset : 0, column = c->offset > 0 ? c->offset : 0;
    for (int64_t m = 0; m < x->count / (rows * columns); m++) {
        const float *matrix = x->data + m * rows * columns + row * columns + column;
        double sum = 0;
        for (int64_t i = 0; i < d.length; i++) {
            sum += (double)matrix[i * (columns + 1)];
            if (c->variant != MATRIX_TRACE)
                out->data[m * d.length + i] = matrix[i * (columns + 1)];
        }
        if (c->variant == MATRIX_TRACE)
            out->data[m] = (float)sum;
    }
    tensor_free(x);
    return 0;
}

static int op_matrix_lower(struct lowering *l, const struct keras_call *call)
{
    const struct matrix_config *c = call->layer->config;
    struct lowered x = lower_input_keras(l, call, 0);
    struct shape shape = call->outputs[0]->shape;
    enum dtype dtype = lower_dtype(l, x.id);
    if (whole_matrix(c)) {
        struct torch_attr attr = attr_int("diagonal", c->offset);
        return lower_output(l, call, 0,
                            lower_one(l, call, c->variant == MATRIX_TRIL ? TORCH_TRIL : TORCH_TRIU, x, shape, x.layout,
                                      dtype, 1, &attr));
    }
    struct torch_attr offset = attr_int("offset", c->offset);
    if (makes_diagonal(c, &call->inputs[0]->shape)) {
        return lower_output(l, call, 0,
                            lower_one(l, call, TORCH_DIAG_EMBED, x, shape, layout_keras(2), dtype, 1, &offset));
    }
    struct diagonal d;
    if (!find_diagonal(c, &call->inputs[0]->shape, &d))
        return -1;
    struct torch_attr attrs[] = {offset, attr_int("dim1", d.row), attr_int("dim2", d.column)};
    struct shape cells = shape;
    if (c->variant == MATRIX_TRACE)
        cells.dims[cells.rank++] = d.length;
    struct lowered y = lower_one(l, call, TORCH_DIAGONAL, x, cells, layout_keras(cells.rank), dtype, 3, attrs);
    struct torch_attr last = attr_int("dim", -1);
    if (c->variant == MATRIX_TRACE)
        y = lower_one(l, call, TORCH_SUM, y, shape, layout_keras(shape.rank), dtype_is_float(dtype) ? dtype : DTYPE_I64,
                      1, &last);
    return lower_output(l, call, 0, y);
}

const struct layer_handler op_matrix_handler = {
    .config_size = sizeof(struct matrix_config),
    .read = op_matrix_read,
    .shape = op_matrix_shape,
    .reference = op_matrix_reference,
    .lower = op_matrix_lower,
};
