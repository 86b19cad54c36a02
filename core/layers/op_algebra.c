/* SPDX-License-Identifier: Apache-2.0 */
/* Linear algebra of small matrices: inverse, determinant, linear equations, the product of vectors in space, and Kronecker's product. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "layers/operation.h"
#include "layers/variants.h"

struct algebra_config {
    enum algebra_variant variant;
};

static void op_algebra_read(struct config_reader *reader, void *config, int variant)
{
    struct algebra_config *c = config;
    c->variant = (enum algebra_variant)variant;
    if (c->variant != ALGEBRA_CROSS)
        return;
    static const char *const keys[] = {"axisa", "axisb", "axisc", "axis"};
    for (int i = 0; i < 4; i++)
        if (config_int(reader, keys[i], -1) != -1)
            config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, keys[i], "Cross is supported along the last axis");
}

static int op_algebra_shape(struct layer_shape *s)
{
    const struct algebra_config *c = s->config;
    struct operand_source source = operands_of_shape(s);
    if (c->variant == ALGEBRA_CROSS) {
        struct operand a = operand_at(&source, 0, "x1"), b = operand_at(&source, 1, "x2");
        bool fits = a.kind != OPERAND_NONE && b.kind != OPERAND_NONE && a.shape.rank > 0 &&
                    b.shape.rank == a.shape.rank && a.shape.dims[a.shape.rank - 1] == 3 &&
                    b.shape.dims[b.shape.rank - 1] == 3;
        if (!fits || !shape_broadcast(&a.shape, &b.shape, &s->outputs[0]))
            return layer_shape_fail(s, "Cross is supported for vectors of 3 numbers");
        s->output_dtypes[0] = operand_promote(&a, &b);
        return 0;
    }
    const struct shape *in = &s->inputs[0];
    if (s->input_count != 1 || operand_at(&source, 0, "x").kind != OPERAND_TENSOR || s->input_dtypes[0] != DTYPE_F32)
        return operand_fail(s, "x");
    if (in->rank < 2 || in->dims[in->rank - 1] < 1 || in->dims[in->rank - 1] != in->dims[in->rank - 2])
        return layer_shape_fail(s, "The matrices of %s must be square", s->layer->class_name);
    s->outputs[0] = *in;
    s->outputs[0].rank -= c->variant == ALGEBRA_INV ? 0 : 2;
    if (c->variant == ALGEBRA_SLOGDET) {
        s->output_count = 2;
        s->outputs[1] = s->outputs[0];
        s->output_dtypes[1] = DTYPE_F32;
    }
    return 0;
}

static void swap_rows(double *m, int64_t columns, int64_t a, int64_t b)
{
    for (int64_t k = 0; a != b && k < columns; k++) {
        double t = m[a * columns + k];
        m[a * columns + k] = m[b * columns + k];
        m[b * columns + k] = t;
    }
}

/* A determinant: itself, and as a sign and the logarithm of its size, which are never out of range. */
struct determinant {
    double value, sign, log;
};

/* Gauss and Jordan with the largest pivot: `m` becomes the identity, `right` (of `columns` columns) m⁻¹ times what it was. */
static struct determinant eliminate(double *m, double *right, int64_t n, int64_t columns)
{
    struct determinant d = {1, 1, 0};
    for (int64_t c = 0; c < n; c++) {
        int64_t pivot = c;
        for (int64_t r = c + 1; r < n; r++)
            if (fabs(m[r * n + c]) > fabs(m[pivot * n + c]))
                pivot = r;
        swap_rows(m, n, c, pivot);
        swap_rows(right, columns, c, pivot);
        double head = m[c * n + c];
        d.value *= pivot != c ? -head : head;
        d.sign *= isnan(head) ? head : (double)((head > 0) - (head < 0)) * (pivot != c ? -1 : 1);
        d.log += log(fabs(head));
        if (head == 0) {
            for (int64_t k = 0; k < n * columns; k++)
                right[k] = (double)NAN;
            break;
        }
        for (int64_t k = 0; k < n; k++)
            m[c * n + k] /= head;
        for (int64_t k = 0; k < columns; k++)
            right[c * columns + k] /= head;
        for (int64_t r = 0; r < n; r++) {
            double factor = r == c ? 0 : m[r * n + c];
            for (int64_t k = 0; factor != 0 && k < n; k++)
                m[r * n + k] -= factor * m[c * n + k];
            for (int64_t k = 0; factor != 0 && k < columns; k++)
                right[r * columns + k] -= factor * right[c * columns + k];
        }
    }
    return d;
}

static int of_matrices(const struct layer_run *run, enum algebra_variant variant)
{
    const struct tensor *x = run->inputs[0];
    int64_t n = x->shape.dims[x->shape.rank - 1], cells = n * n;
    double *m = calloc(2 * (size_t)cells + 1, sizeof *m);
    if (!m)
        return h5pt_fail_memory(run->err);
    for (int64_t i = 0; i < x->count / cells; i++) {
        for (int64_t k = 0; k < cells; k++) {
            m[k] = (double)x->data[i * cells + k];
            m[cells + k] = k % (n + 1) == 0;
        }
        struct determinant d = eliminate(m, m + cells, n, n);
        if (variant == ALGEBRA_DET)
            run->outputs[0]->data[i] = (float)d.value;
        for (int64_t k = 0; variant == ALGEBRA_INV && k < cells; k++)
            run->outputs[0]->data[i * cells + k] = (float)m[cells + k];
        if (variant == ALGEBRA_SLOGDET) {
            run->outputs[0]->data[i] = (float)d.sign;
            run->outputs[1]->data[i] = (float)d.log;
        }
    }
    free(m);
    return 0;
}

static int cross(const struct layer_run *run)
{
    struct operand_source source = operands_of_run(run);
    struct operand o[2] = {operand_at(&source, 0, "x1"), operand_at(&source, 1, "x2")};
    struct operand_tensor a = {NULL, NULL}, b = {NULL, NULL};
    struct tensor *out = run->outputs[0];
    int status = operand_tensor(run, &o[0], &a) < 0 || operand_tensor(run, &o[1], &b) < 0 ? -1 : 0;
    if (status == 0) {
        struct walk x, y;
        walk_begin(&x, &out->shape, &a.tensor->shape);
        walk_begin(&y, &out->shape, &b.tensor->shape);
        for (int64_t i = 0; i < out->count; i++, walk_next(&x), walk_next(&y)) {
            const float *u = a.tensor->data + x.offset - i % 3, *v = b.tensor->data + y.offset - i % 3;
            int64_t p = (i + 1) % 3, q = (i + 2) % 3;
            out->data[i] = (float)((double)u[p] * (double)v[q] - (double)u[q] * (double)v[p]);
        }
    }
    operand_tensor_release(&a);
    operand_tensor_release(&b);
    return status;
}

static int op_algebra_reference(const struct layer_run *run)
{
    const struct algebra_config *c = run->config;
    return c->variant == ALGEBRA_CROSS ? cross(run) : of_matrices(run, c->variant);
}

static int op_algebra_lower(struct lowering *l, const struct keras_call *call)
{
    const struct algebra_config *c = call->layer->config;
    struct operand_source source = operands_of_call(call);
    struct shape shape = call->outputs[0]->shape;
    enum dtype dtype = call->outputs[0]->dtype;
    if (c->variant != ALGEBRA_CROSS) {
        static const enum torch_op ops[] = {
            [ALGEBRA_INV] = TORCH_INV, [ALGEBRA_DET] = TORCH_DET, [ALGEBRA_SLOGDET] = TORCH_SLOGDET_SIGN};
        struct lowered x = lower_input_keras(l, call, 0);
        struct layout layout = layout_keras(shape.rank);
        lower_output(l, call, 0, lower_one(l, call, ops[c->variant], x, shape, layout, dtype, 0, NULL));
        if (c->variant == ALGEBRA_SLOGDET)
            lower_output(l, call, 1, lower_one(l, call, TORCH_SLOGDET_LOG, x, shape, layout, dtype, 0, NULL));
        return 0;
    }
    struct operand a = operand_at(&source, 0, "x1"), b = operand_at(&source, 1, "x2");
    struct layout layout = layout_keras(shape.rank);
    struct lowered x = lower_operand_as(l, call, &a, "x1", &layout, dtype),
                   y = lower_operand_as(l, call, &b, "x2", &layout, dtype);
    struct lowered z = lower_join(l, call, TORCH_CROSS, x, y, dtype);
    return lower_output(l, call, 0, z);
}

const struct layer_handler op_algebra_handler = {
    .config_size = sizeof(struct algebra_config),
    .read = op_algebra_read,
    .shape = op_algebra_shape,
    .reference = op_algebra_reference,
    .lower = op_algebra_lower,
};

/* ---- Solve ---- */

static void read_variant(struct config_reader *reader, void *config, int variant)
{
    (void)reader;
    *(int *)config = variant;
}

static int op_solve_shape(struct layer_shape *s)
{
    struct operand_source source = operands_of_shape(s);
    struct operand a = operand_at(&source, 0, "a"), b = operand_at(&source, 1, "b");
    if (a.kind != OPERAND_TENSOR || b.kind == OPERAND_NONE || a.dtype != DTYPE_F32)
        return operand_fail(s, b.kind == OPERAND_NONE ? "b" : "a");
    struct shape x = a.shape, y = b.shape;
    bool column = y.rank == x.rank - 1, fits = x.rank >= 2 && (column || y.rank == x.rank);
    int64_t n = fits ? x.dims[x.rank - 1] : -1;
    fits = fits && n > 0 && x.dims[x.rank - 2] == n && y.dims[y.rank - (column ? 1 : 2)] == n;
    for (int i = 0; i < x.rank - 2; i++)
        fits = fits && (x.dims[i] == y.dims[i] || x.dims[i] < 0 || y.dims[i] < 0);
    if (!fits)
        return layer_shape_fail(s, "The matrices of Solve do not fit together");
    s->outputs[0] = y;
    for (int i = 0; i < x.rank - 2; i++)
        s->outputs[0].dims[i] = y.dims[i] < 0 ? x.dims[i] : y.dims[i];
    return 0;
}

static int op_solve_reference(const struct layer_run *run)
{
    struct operand_source source = operands_of_run(run);
    struct operand o[2] = {operand_at(&source, 0, "a"), operand_at(&source, 1, "b")};
    struct operand_tensor a = {NULL, NULL}, b = {NULL, NULL};
    struct tensor *out = run->outputs[0];
    int64_t n = o[0].shape.dims[o[0].shape.rank - 1], cells = n * n;
    int status = operand_tensor(run, &o[0], &a) < 0 || operand_tensor(run, &o[1], &b) < 0 ? -1 : 0;
    int64_t count = status == 0 ? a.tensor->count / cells : 0, part = count ? out->count / count : 0;
    double *m = calloc((size_t)(cells + part) + 1, sizeof *m);
    if (status == 0 && !m)
        status = h5pt_fail_memory(run->err);
    for (int64_t i = 0; status == 0 && i < count; i++) {
        for (int64_t k = 0; k < cells; k++)
            m[k] = (double)a.tensor->data[i * cells + k];
        for (int64_t k = 0; k < part; k++)
            m[cells + k] = (double)b.tensor->data[i * part + k];
        (void)eliminate(m, m + cells, n, part / n);
        for (int64_t k = 0; k < part; k++)
            out->data[i * part + k] = (float)m[cells + k];
    }
    free(m);
    operand_tensor_release(&a);
    operand_tensor_release(&b);
    return status;
}

static int op_solve_lower(struct lowering *l, const struct keras_call *call)
{
    struct operand_source source = operands_of_call(call);
    struct operand a = operand_at(&source, 0, "a"), b = operand_at(&source, 1, "b");
    struct lowered x = lower_operand(l, call, &a, "a"), y = lower_operand(l, call, &b, "b");
    return lower_output(l, call, 0, lower_solve(l, call, TORCH_SOLVE, x, y, false));
}

const struct layer_handler op_solve_handler = {
    .config_size = sizeof(int),
    .read = read_variant,
    .shape = op_solve_shape,
    .reference = op_solve_reference,
    .lower = op_solve_lower,
};

/* ---- Kron ---- */

/* The sizes with ones in front, so that both have the same number of axes. */
static struct shape padded(const struct shape *shape, int rank)
{
    struct shape ret = {.rank = rank};
    for (int i = 0; i < rank; i++)
        ret.dims[i] = i < rank - shape->rank ? 1 : shape->dims[i - (rank - shape->rank)];
    return ret;
}

static int op_kron_shape(struct layer_shape *s)
{
    struct operand_source source = operands_of_shape(s);
    struct operand a = operand_at(&source, 0, "x1"), b = operand_at(&source, 1, "x2");
    if (a.kind == OPERAND_NONE || b.kind == OPERAND_NONE)
        return operand_fail(s, "x1");
    int rank = a.shape.rank > b.shape.rank ? a.shape.rank : b.shape.rank;
    if (rank < 1 || 2 * rank > SHAPE_MAX_RANK)
        return layer_shape_fail(s, "Kron is supported for 1 to %d dimensions", SHAPE_MAX_RANK / 2);
    struct shape x = padded(&a.shape, rank), y = padded(&b.shape, rank);
    s->outputs[0].rank = rank;
    for (int i = 0; i < rank; i++)
        s->outputs[0].dims[i] = x.dims[i] < 0 || y.dims[i] < 0 ? DIM_UNKNOWN : x.dims[i] * y.dims[i];
    s->output_dtypes[0] = operand_promote(&a, &b);
    return 0;
}

static int op_kron_reference(const struct layer_run *run)
{
    struct operand_source source = operands_of_run(run);
    struct operand o[2] = {operand_at(&source, 0, "x1"), operand_at(&source, 1, "x2")};
    struct operand_tensor a = {NULL, NULL}, b = {NULL, NULL};
    struct tensor *out = run->outputs[0];
    int status = operand_tensor(run, &o[0], &a) < 0 || operand_tensor(run, &o[1], &b) < 0 ? -1 : 0,
        rank = out->shape.rank;
    if (status == 0) {
        struct shape x = padded(&a.tensor->shape, rank), y = padded(&b.tensor->shape, rank);
        int64_t index[SHAPE_MAX_RANK] = {0};
        for (int64_t n = 0; n < out->count; n++) {
            int64_t i = 0, k = 0;
            for (int d = 0; d < rank; d++) {
                i = i * x.dims[d] + index[d] / y.dims[d];
                k = k * y.dims[d] + index[d] % y.dims[d];
            }
            out->data[n] = (float)((double)a.tensor->data[i] * (double)b.tensor->data[k]);
            for (int d = rank - 1; d >= 0 && ++index[d] == out->shape.dims[d]; d--)
                index[d] = 0;
        }
    }
    operand_tensor_release(&a);
    operand_tensor_release(&b);
    return status;
}

/* x with an axis of 1 behind (or in front of) each of its axes. */
static struct lowered spaced(struct lowering *l, const struct keras_call *call, const struct operand *o,
                             const char *name, int rank, bool behind)
{
    struct shape shape = padded(&o->shape, rank);
    struct lowered x = lower_convert(l, call, lower_operand(l, call, o, name), call->outputs[0]->dtype);
    int64_t dims[SHAPE_MAX_RANK];
    int from[SHAPE_MAX_RANK], lead = rank - o->shape.rank;
    for (int i = 0; i < rank; i++) {
        int at = behind ? 2 * i : 2 * i + 1;
        dims[at] = shape.dims[i];
        from[at] = i - lead;
        dims[behind ? at + 1 : at - 1] = 1;
        from[behind ? at + 1 : at - 1] = -1;
    }
    return lower_reshape(l, call, x, 2 * rank, dims, from);
}

static int op_kron_lower(struct lowering *l, const struct keras_call *call)
{
    struct operand_source source = operands_of_call(call);
    struct operand a = operand_at(&source, 0, "x1"), b = operand_at(&source, 1, "x2");
    struct shape shape = call->outputs[0]->shape;
    int none[SHAPE_MAX_RANK];
    for (int i = 0; i < SHAPE_MAX_RANK; i++)
        none[i] = -1;
    struct lowered y = lower_join(l, call, TORCH_MUL, spaced(l, call, &a, "x1", shape.rank, true),
                                  spaced(l, call, &b, "x2", shape.rank, false), call->outputs[0]->dtype);
    return lower_output(l, call, 0, lower_reshape(l, call, y, shape.rank, shape.dims, none));
}

const struct layer_handler op_kron_handler = {
    .config_size = sizeof(int),
    .read = read_variant,
    .shape = op_kron_shape,
    .reference = op_kron_reference,
    .lower = op_kron_lower,
};
