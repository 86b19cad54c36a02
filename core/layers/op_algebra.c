/* SPDX-License-Identifier: Apache-2.0 */
/* Linear algebra of small matrices: inverse, determinant, the product of vectors in space, and Kronecker's product. */
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
    s->outputs[0].rank -= c->variant == ALGEBRA_DET ? 2 : 0;
    return 0;
}

/* Gauss and Jordan with the largest pivot: `m` becomes the identity, `inverse` (the identity before) its inverse. */
static double eliminate(double *m, double *inverse, int64_t n)
{
    double determinant = 1;
    for (int64_t c = 0; c < n; c++) {
        int64_t pivot = c;
        for (int64_t r = c + 1; r < n; r++)
            if (fabs(m[r * n + c]) > fabs(m[pivot * n + c]))
                pivot = r;
        for (int64_t k = 0; pivot != c && k < n; k++) {
            double t = m[c * n + k], u = inverse[c * n + k];
            m[c * n + k] = m[pivot * n + k];
            m[pivot * n + k] = t;
            inverse[c * n + k] = inverse[pivot * n + k];
            inverse[pivot * n + k] = u;
        }
        double head = m[c * n + c];
        determinant *= pivot != c ? -head : head;
        for (int64_t k = 0; k < n; k++) {
            m[c * n + k] /= head;
            inverse[c * n + k] /= head;
        }
        for (int64_t r = 0; r < n; r++) {
            double factor = r == c ? 0 : m[r * n + c];
            for (int64_t k = 0; factor != 0 && k < n; k++) {
                m[r * n + k] -= factor * m[c * n + k];
                inverse[r * n + k] -= factor * inverse[c * n + k];
            }
        }
    }
    return determinant;
}

static int solve(const struct layer_run *run, bool determinant)
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
        double d = eliminate(m, m + cells, n);
        if (determinant)
            run->outputs[0]->data[i] = isnan(d) ? 0 : (float)d;
        for (int64_t k = 0; !determinant && k < cells; k++)
            run->outputs[0]->data[i * cells + k] = (float)m[cells + k];
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
    return c->variant == ALGEBRA_CROSS ? cross(run) : solve(run, c->variant == ALGEBRA_DET);
}

static int op_algebra_lower(struct lowering *l, const struct keras_call *call)
{
    const struct algebra_config *c = call->layer->config;
    struct operand_source source = operands_of_call(call);
    struct shape shape = call->outputs[0]->shape;
    enum dtype dtype = call->outputs[0]->dtype;
    if (c->variant != ALGEBRA_CROSS) {
        struct lowered x = lower_input_keras(l, call, 0);
        lower_output(l, call, 0,
                     lower_one(l, call, c->variant == ALGEBRA_INV ? TORCH_INV : TORCH_DET, x, shape,
                               layout_keras(shape.rank), dtype, 0, NULL));
        return 0;
    }
    struct operand a = operand_at(&source, 0, "x1"), b = operand_at(&source, 1, "x2");
    struct layout layout = layout_keras(shape.rank);
    struct lowered x = lower_operand_as(l, call, &a, "x1", &layout, dtype),
                   y = lower_operand_as(l, call, &b, "x2", &layout, dtype);
    struct lowered z = lower_join(l, call, TORCH_CROSS, x, y, dtype);
    lower_output(l, call, 0, z);
    return 0;
}

const struct layer_handler op_algebra_handler = {
    .config_size = sizeof(struct algebra_config),
    .read = op_algebra_read,
    .shape = op_algebra_shape,
    .reference = op_algebra_reference,
    .lower = op_algebra_lower,
};

/* ---- Kron ---- */

static void op_kron_read(struct config_reader *reader, void *config, int variant)
{
    (void)reader;
    *(int *)config = variant;
}

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
    lower_output(l, call, 0, lower_reshape(l, call, y, shape.rank, shape.dims, none));
    return 0;
}

const struct layer_handler op_kron_handler = {
    .config_size = sizeof(int),
    .read = op_kron_read,
    .shape = op_kron_shape,
    .reference = op_kron_reference,
    .lower = op_kron_lower,
};
