/* SPDX-License-Identifier: Apache-2.0 */
/* What is made of the triangles, eigenvalues and singular values of small matrices. Vectors that are unique but for their sign, which
 * every library chooses in its own way, are not converted. */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "layers/operation.h"
#include "layers/variants.h"

enum { MAX_SWEEPS = 60 };

struct spectrum_config {
    enum spectrum_variant variant;
    bool upper;     /* CHOLESKY: the result; SOLVE_TRIANGULAR: the triangle that counts */
    bool vectors;   /* SVD: u and v are results too */
    bool whole;     /* SVD: square u and v */
    bool has_rcond; /* PINV */
    double rcond;
};

static void op_spectrum_read(struct config_reader *reader, void *config, int variant)
{
    struct spectrum_config *c = config;
    *c = (struct spectrum_config){.variant = (enum spectrum_variant)variant};
    switch (c->variant) {
    case SPECTRUM_CHOLESKY: c->upper = config_bool(reader, "upper", false); break;
    case SPECTRUM_SOLVE_TRIANGULAR: c->upper = !config_bool(reader, "lower", false); break;
    case SPECTRUM_SVD:
        c->whole = config_bool(reader, "full_matrices", true);
        c->vectors = config_bool(reader, "compute_uv", true);
        break;
    case SPECTRUM_PINV:
        c->has_rcond = config_get(reader, "rcond") != NULL;
        c->rcond = config_double(reader, "rcond", 0);
        break;
    case SPECTRUM_EIGH: break;
    }
}

/* ---- shapes ---- */

/* The right side counts as a matrix of one column when it has one axis less. */
static bool is_column(const struct shape *a, const struct shape *b)
{
    return b->rank == a->rank - 1;
}

static int triangular_shape(struct layer_shape *s)
{
    struct operand_source source = operands_of_shape(s);
    struct operand a = operand_at(&source, 0, "a"), b = operand_at(&source, 1, "b");
    if (a.kind != OPERAND_TENSOR || b.kind == OPERAND_NONE || a.dtype != DTYPE_F32)
        return operand_fail(s, "b");
    struct shape x = a.shape, y = b.shape;
    bool column = is_column(&x, &y);
    if (column && y.rank < SHAPE_MAX_RANK)
        y.dims[y.rank++] = 1;
    if (x.rank < 2 || y.rank != x.rank || x.dims[x.rank - 1] < 1 || x.dims[x.rank - 1] != x.dims[x.rank - 2] ||
        y.dims[y.rank - 2] != x.dims[x.rank - 1])
        return layer_shape_fail(s, "The matrices of %s do not fit together", s->layer->class_name);
    x.dims[x.rank - 1] = y.dims[y.rank - 1];
    y.dims[y.rank - 2] = 1;
    if (!shape_broadcast(&x, &y, &s->outputs[0]))
        return layer_shape_fail(s, "The matrices of %s do not fit together", s->layer->class_name);
    s->outputs[0].rank -= column;
    return 0;
}

static void singular_shapes(struct layer_shape *s, const struct spectrum_config *c)
{
    struct shape in = s->inputs[0], values = in;
    int64_t rows = in.dims[in.rank - 2], columns = in.dims[in.rank - 1], least = rows < columns ? rows : columns;
    values.dims[--values.rank - 1] = least;
    s->output_count = c->vectors ? 3 : 1;
    s->outputs[c->vectors ? 1 : 0] = values;
    if (!c->vectors)
        return;
    s->outputs[0] = s->outputs[2] = in;
    s->outputs[0].dims[in.rank - 1] = c->whole ? rows : least;
    s->outputs[2].dims[in.rank - 2] = c->whole ? columns : least;
    for (int i = 0; i < 3; i++)
        s->output_dtypes[i] = DTYPE_F32;
}

static int op_spectrum_shape(struct layer_shape *s)
{
    const struct spectrum_config *c = s->config;
    if (c->variant == SPECTRUM_SOLVE_TRIANGULAR)
        return triangular_shape(s);
    const struct shape *in = &s->inputs[0];
    struct operand_source source = operands_of_shape(s);
    if (s->input_count != 1 || operand_at(&source, 0, "x").kind != OPERAND_TENSOR || s->input_dtypes[0] != DTYPE_F32)
        return operand_fail(s, "x");
    bool square = c->variant == SPECTRUM_CHOLESKY || c->variant == SPECTRUM_EIGH;
    if (in->rank < 2 || in->dims[in->rank - 1] < 1 || in->dims[in->rank - 2] < 1 ||
        (square && in->dims[in->rank - 1] != in->dims[in->rank - 2]))
        return layer_shape_fail(s, "The matrices of %s must be %s", s->layer->class_name,
                                square ? "square" : "of a known size");
    s->outputs[0] = *in;
    if (c->variant == SPECTRUM_SVD) {
        singular_shapes(s, c);
    } else if (c->variant == SPECTRUM_EIGH) {
        s->output_count = 2;
        s->outputs[1] = *in;
        s->output_dtypes[1] = DTYPE_F32;
        s->outputs[0].rank--;
    } else if (c->variant == SPECTRUM_PINV) {
        s->outputs[0].dims[in->rank - 2] = in->dims[in->rank - 1];
        s->outputs[0].dims[in->rank - 1] = in->dims[in->rank - 2];
    }
    return 0;
}

/* ---- reference ---- */

/* Jacobi's rotations: `a`, symmetric, becomes diagonal; the columns of `v` are its vectors. */
static void diagonalise(double *a, double *v, int64_t n)
{
    double off = 1;
    for (int64_t i = 0; i < n * n; i++)
        v[i] = i % (n + 1) == 0;
    for (int sweep = 0; off > 0 && sweep < MAX_SWEEPS; sweep++) {
        off = 0;
        for (int64_t p = 0; p < n; p++)
            for (int64_t q = p + 1; q < n; q++) {
                double apq = a[p * n + q], app = a[p * (n + 1)], aqq = a[q * (n + 1)];
                if (!(fabs(apq) > 1e-300) || fabs(apq) < 1e-18 * (fabs(app) + fabs(aqq)))
                    continue;
                off += fabs(apq);
                double theta = (aqq - app) / (2 * apq);
                double t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1));
                double c = 1 / sqrt(t * t + 1), s = t * c;
                for (int64_t k = 0; k < n; k++) {
                    double x = a[k * n + p], y = a[k * n + q], u = v[k * n + p], w = v[k * n + q];
                    a[k * n + p] = c * x - s * y;
                    a[k * n + q] = s * x + c * y;
                    v[k * n + p] = c * u - s * w;
                    v[k * n + q] = s * u + c * w;
                }
                for (int64_t k = 0; k < n; k++) {
                    double x = a[p * n + k], y = a[q * n + k];
                    a[p * n + k] = c * x - s * y;
                    a[q * n + k] = s * x + c * y;
                }
            }
    }
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Room for one matrix and its parts. */
struct room {
    int64_t rows, columns, n; /* n: the smaller one */
    double *a, *v, *values;   /* n x n, n x n, n */
};

static bool room_init(struct room *r, int64_t rows, int64_t columns)
{
    *r = (struct room){.rows = rows, .columns = columns, .n = rows < columns ? rows : columns};
    r->a = calloc((size_t)(r->n * r->n) + 1, sizeof *r->a);
    r->v = calloc((size_t)(r->n * r->n) + 1, sizeof *r->v);
    r->values = calloc((size_t)r->n + 1, sizeof *r->values);
    return r->a && r->v && r->values;
}

static void room_release(struct room *r)
{
    free(r->a);
    free(r->v);
    free(r->values);
}

/* XᵀX or XXᵀ, whichever is smaller, made diagonal: the squares of the singular values. */
static void singular(struct room *r, const float *x)
{
    bool tall = r->rows >= r->columns;
    int64_t n = r->n, m = tall ? r->rows : r->columns;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t k = 0; k < m; k++)
                sum += tall ? (double)x[k * n + i] * (double)x[k * n + j] : (double)x[i * m + k] * (double)x[j * m + k];
            r->a[i * n + j] = sum;
        }
    diagonalise(r->a, r->v, n);
    for (int64_t i = 0; i < n; i++)
        r->values[i] = sqrt(fmax(r->a[i * (n + 1)], 0));
}

static double cutoff(const struct spectrum_config *c, int64_t rows, int64_t columns)
{
    return c->has_rcond ? c->rcond : 10 * (double)(rows > columns ? rows : columns) * (double)FLT_EPSILON;
}

/* (XᵀX)⁺ Xᵀ or Xᵀ (XXᵀ)⁺ */
static void pseudo_inverse(const struct spectrum_config *c, struct room *r, const float *x, float *out)
{
    bool tall = r->rows >= r->columns;
    double most = 0;
    singular(r, x);
    for (int64_t i = 0; i < r->n; i++)
        most = fmax(most, r->values[i]);
    double least = most * cutoff(c, r->rows, r->columns);
    for (int64_t i = 0; i < r->n; i++)
        for (int64_t j = 0; j < r->n; j++) {
            double sum = 0;
            for (int64_t k = 0; k < r->n; k++)
                if (r->values[k] > least)
                    sum += r->v[i * r->n + k] * r->v[j * r->n + k] / (r->values[k] * r->values[k]);
            r->a[i * r->n + j] = sum;
        }
    for (int64_t i = 0; i < r->columns; i++)
        for (int64_t j = 0; j < r->rows; j++) {
            double sum = 0;
            for (int64_t k = 0; k < r->n; k++)
                sum += tall ? r->a[i * r->n + k] * (double)x[j * r->columns + k]
                            : (double)x[k * r->columns + i] * r->a[k * r->n + j];
            out[i * r->rows + j] = (float)sum;
        }
}

static void eigenvalues(struct room *r, const float *x, float *out)
{
    int64_t n = r->n;
    for (int64_t i = 0; i < n * n; i++)
        r->a[i] = (double)x[i / n >= i % n ? i : i % n * n + i / n];
    diagonalise(r->a, r->v, n);
    for (int64_t i = 0; i < n; i++)
        r->values[i] = r->a[i * (n + 1)];
    qsort(r->values, (size_t)n, sizeof *r->values, ascending);
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)r->values[i];
}

/* Row by row, from the lower triangle; NaN where there is no such triangle. */
static void cholesky(struct room *r, const float *x, bool upper, float *out)
{
    int64_t n = r->n;
    bool ok = true;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) {
            double sum = (double)x[i * n + j];
            for (int64_t k = 0; k < j; k++)
                sum -= r->a[i * n + k] * r->a[j * n + k];
            ok = ok && (i != j || sum > 0);
            r->a[i * n + j] = i == j ? sqrt(sum) : sum / r->a[j * (n + 1)];
        }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++)
            out[upper ? j * n + i : i * n + j] = !ok ? NAN : j <= i ? (float)r->a[i * n + j] : 0;
}

static void singular_values(struct room *r, const float *x, float *out)
{
    singular(r, x);
    qsort(r->values, (size_t)r->n, sizeof *r->values, ascending);
    for (int64_t i = 0; i < r->n; i++)
        out[i] = (float)r->values[r->n - 1 - i];
}

static int triangular(const struct layer_run *run, bool upper)
{
    struct operand_source source = operands_of_run(run);
    struct operand o[2] = {operand_at(&source, 0, "a"), operand_at(&source, 1, "b")};
    struct operand_tensor a = {NULL, NULL}, b = {NULL, NULL};
    struct tensor *out = run->outputs[0];
    if (operand_tensor(run, &o[0], &a) < 0 || operand_tensor(run, &o[1], &b) < 0) {
        operand_tensor_release(&a);
        return -1;
    }
    struct shape x = a.tensor->shape, y = b.tensor->shape, all = out->shape;
    if (is_column(&x, &y))
        all.dims[all.rank++] = y.dims[y.rank++] = 1;
    int64_t n = x.dims[x.rank - 1], columns = y.dims[y.rank - 1];
    struct shape right = y;
    x.dims[x.rank - 1] = 1;
    struct walk left_walk, right_walk;
    walk_begin(&right_walk, &all, &right);
    for (int64_t i = 0; i < out->count; i++, walk_next(&right_walk))
        out->data[i] = b.tensor->data[right_walk.offset];
    /* One offset per matrix of a: those of its first cells, walked over the batch alone. */
    struct shape batch = all, matrices = a.tensor->shape;
    batch.rank -= 2;
    matrices.rank -= 2;
    walk_begin(&left_walk, &batch, &matrices);
    for (int64_t at = 0; at < out->count; at += n * columns, walk_next(&left_walk)) {
        const float *m = a.tensor->data + left_walk.offset * n * n;
        float *v = out->data + at;
        for (int64_t step = 0; step < n; step++) {
            int64_t i = upper ? n - 1 - step : step;
            for (int64_t j = 0; j < columns; j++) {
                double sum = (double)v[i * columns + j];
                for (int64_t k = 0; k < n; k++)
                    if (upper ? k > i : k < i)
                        sum -= (double)m[i * n + k] * (double)v[k * columns + j];
                v[i * columns + j] = (float)(sum / (double)m[i * n + i]);
            }
        }
    }
    operand_tensor_release(&a);
    operand_tensor_release(&b);
    return 0;
}

static int op_spectrum_reference(const struct layer_run *run)
{
    const struct spectrum_config *c = run->config;
    if (c->variant == SPECTRUM_SOLVE_TRIANGULAR)
        return triangular(run, c->upper);
    const struct tensor *x = run->inputs[0];
    struct tensor *out = run->outputs[c->variant == SPECTRUM_SVD && c->vectors ? 1 : 0];
    int64_t rows = x->shape.dims[x->shape.rank - 2], columns = x->shape.dims[x->shape.rank - 1];
    int64_t count = x->count / (rows * columns), cells = count ? out->count / count : 0;
    struct room r;
    int status = room_init(&r, rows, columns) ? 0 : h5pt_fail_memory(run->err);
    for (int64_t i = 0; status == 0 && i < count; i++) {
        const float *from = x->data + i * rows * columns;
        float *to = out->data + i * cells;
        switch (c->variant) {
        case SPECTRUM_CHOLESKY: cholesky(&r, from, c->upper, to); break;
        case SPECTRUM_SVD: singular_values(&r, from, to); break;
        case SPECTRUM_EIGH: eigenvalues(&r, from, to); break;
        case SPECTRUM_PINV: pseudo_inverse(c, &r, from, to); break;
        case SPECTRUM_SOLVE_TRIANGULAR: break;
        }
    }
    room_release(&r);
    return status;
}

/* ---- lowering ---- */

static int refuse_vectors(struct lowering *l, const struct keras_call *call, int first, int second)
{
    if (lower_output_used(l, call, first) || (second >= 0 && lower_output_used(l, call, second)))
        return h5pt_fail(lower_error(l), H5PT_UNSUPPORTED_OPERATION, call->layer->path,
                         "The vectors of %s have signs that every library chooses in its own way: only its values are "
                         "supported",
                         call->layer->class_name);
    return 0;
}

static int lower_triangular(struct lowering *l, const struct keras_call *call, bool upper)
{
    struct operand_source source = operands_of_call(call);
    struct operand a = operand_at(&source, 0, "a"), b = operand_at(&source, 1, "b");
    struct lowered x = lower_operand(l, call, &a, "a"), y = lower_operand(l, call, &b, "b");
    return lower_output(l, call, 0, lower_solve(l, call, TORCH_SOLVE_TRIANGULAR, x, y, upper));
}

static int op_spectrum_lower(struct lowering *l, const struct keras_call *call)
{
    const struct spectrum_config *c = call->layer->config;
    int at = c->variant == SPECTRUM_SVD && c->vectors ? 1 : 0;
    if (c->variant == SPECTRUM_SOLVE_TRIANGULAR)
        return lower_triangular(l, call, c->upper);
    struct lowered x = lower_input_keras(l, call, 0);
    struct shape shape = call->outputs[at]->shape, in = call->inputs[0]->shape;
    struct torch_attr rtol = attr_float("rtol", tidy_float(cutoff(c, in.dims[in.rank - 2], in.dims[in.rank - 1])));
    enum torch_op op = c->variant == SPECTRUM_CHOLESKY ? TORCH_CHOLESKY
                       : c->variant == SPECTRUM_SVD    ? TORCH_SVDVALS
                       : c->variant == SPECTRUM_EIGH   ? TORCH_EIGVALSH
                                                       : TORCH_PINV;
    if ((c->variant == SPECTRUM_EIGH && refuse_vectors(l, call, 1, -1) < 0) ||
        (at && refuse_vectors(l, call, 0, 2) < 0))
        return -1;
    struct lowered y = lower_one(l, call, op, x, shape, layout_keras(shape.rank), DTYPE_F32, op == TORCH_PINV, &rtol);
    if (c->variant == SPECTRUM_CHOLESKY && c->upper) {
        int axes[SHAPE_MAX_RANK];
        for (int i = 0; i < shape.rank; i++)
            axes[i] = i < shape.rank - 2 ? i : 2 * shape.rank - 3 - i;
        y = lower_transpose(l, call, y, axes);
    }
    lower_output(l, call, at, y);
    return 0;
}

const struct layer_handler op_spectrum_handler = {
    .config_size = sizeof(struct spectrum_config),
    .read = op_spectrum_read,
    .shape = op_spectrum_shape,
    .reference = op_spectrum_reference,
    .lower = op_spectrum_lower,
};
