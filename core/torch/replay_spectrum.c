/* SPDX-License-Identifier: Apache-2.0 */
/* Singular values, pseudo-inverses and the eigenvalues of symmetric matrices, by rotating pairs of columns until all of them are
 * orthogonal (one-sided Jacobi). */
#include "torch/replay_internal.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

enum { MAX_SWEEPS = 60 };

/* w (rows, columns) = u diag(s) vᵀ with rows >= columns: w becomes u diag(s), v (columns, columns) is filled. */
struct columns {
    int64_t rows, columns;
    double *w, *v, *s;
};

static bool columns_init(struct columns *c, int64_t rows, int64_t columns)
{
    *c = (struct columns){.rows = rows > columns ? rows : columns, .columns = rows > columns ? columns : rows};
    c->w = calloc((size_t)(rows * columns) + 1, sizeof *c->w);
    c->v = calloc((size_t)(c->columns * c->columns) + 1, sizeof *c->v);
    c->s = calloc((size_t)c->columns + 1, sizeof *c->s);
    return c->w && c->v && c->s;
}

static void columns_release(struct columns *c)
{
    free(c->w);
    free(c->v);
    free(c->s);
}

static void rotate(double *m, int64_t rows, int64_t columns, int64_t p, int64_t q, double cosine, double sine)
{
    for (int64_t i = 0; i < rows; i++) {
        double x = m[i * columns + p], y = m[i * columns + q];
        m[i * columns + p] = cosine * x - sine * y;
        m[i * columns + q] = sine * x + cosine * y;
    }
}

/* True when columns p and q were not orthogonal yet. */
static bool make_orthogonal(struct columns *c, int64_t p, int64_t q)
{
    double a = 0, b = 0, both = 0;
    for (int64_t i = 0; i < c->rows; i++) {
        double x = c->w[i * c->columns + p], y = c->w[i * c->columns + q];
        a += x * x;
        b += y * y;
        both += x * y;
    }
    if (!(fabs(both) > 1e-15 * sqrt(a * b)) || both == 0)
        return false;
    double turn = (b - a) / (2 * both), tangent = (turn < 0 ? -1 : 1) / (fabs(turn) + hypot(1, turn));
    double cosine = 1 / hypot(1, tangent);
    rotate(c->w, c->rows, c->columns, p, q, cosine, cosine * tangent);
    rotate(c->v, c->columns, c->columns, p, q, cosine, cosine * tangent);
    return true;
}

static void decompose(struct columns *c)
{
    bool moved = true;
    for (int64_t i = 0; i < c->columns * c->columns; i++)
        c->v[i] = i % (c->columns + 1) == 0;
    for (int sweep = 0; moved && sweep < MAX_SWEEPS; sweep++) {
        moved = false;
        for (int64_t p = 0; p < c->columns; p++)
            for (int64_t q = p + 1; q < c->columns; q++)
                moved = make_orthogonal(c, p, q) || moved;
    }
    for (int64_t k = 0; k < c->columns; k++) {
        double sum = 0;
        for (int64_t i = 0; i < c->rows; i++)
            sum += c->w[i * c->columns + k] * c->w[i * c->columns + k];
        c->s[k] = sqrt(sum);
    }
}

static int descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* The matrix, or its transpose when it is wide. */
static void load(struct columns *c, const float *in, int64_t rows, int64_t columns)
{
    for (int64_t i = 0; i < rows * columns; i++)
        c->w[rows >= columns ? i : i % columns * rows + i / columns] = (double)in[i];
}

typedef void matrix_function(const struct replay_call *call, struct columns *c, const float *in, int64_t rows,
                             int64_t columns, float *out);

static int each_matrix(const struct replay_call *call, matrix_function *function, const struct shape *shape,
                       struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    int64_t rows = x->shape.dims[x->shape.rank - 2], columns = x->shape.dims[x->shape.rank - 1];
    int64_t count = x->count / (rows * columns);
    struct columns c;
    struct tensor *y = tensor_new(shape, x->dtype);
    bool ok = columns_init(&c, rows, columns) && y;
    for (int64_t i = 0; ok && i < count; i++)
        function(call, &c, x->data + i * rows * columns, rows, columns, y->data + i * (y->count / count));
    columns_release(&c);
    if (!ok) {
        tensor_free(y);
        return h5pt_fail_memory(err);
    }
    *ret = y;
    return 0;
}

static bool has_matrices(const struct shape *x)
{
    return x->rank >= 2 && x->dims[x->rank - 1] > 0 && x->dims[x->rank - 2] > 0;
}

static void singular_values(const struct replay_call *call, struct columns *c, const float *in, int64_t rows,
                            int64_t columns, float *out)
{
    (void)call;
    load(c, in, rows, columns);
    decompose(c);
    qsort(c->s, (size_t)c->columns, sizeof *c->s, descending);
    for (int64_t k = 0; k < c->columns; k++)
        out[k] = (float)c->s[k];
}

int replay_SVDVALS(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    struct shape shape = call->inputs[0]->shape;
    if (!has_matrices(&shape))
        return replay_mismatch(call, err, "there are no matrices");
    int64_t rows = shape.dims[shape.rank - 2], columns = shape.dims[shape.rank - 1];
    shape.dims[--shape.rank - 1] = rows < columns ? rows : columns;
    return each_matrix(call, singular_values, &shape, ret, err);
}

/* Shifted by more than its eigenvalues can be below zero, the matrix has its eigenvalues for singular values. Only the lower
 * triangle counts. */
static void eigenvalues(const struct replay_call *call, struct columns *c, const float *in, int64_t rows, int64_t n,
                        float *out)
{
    double shift = 0;
    (void)call;
    (void)rows;
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        for (int64_t k = 0; k < n; k++) {
            c->w[i * n + k] = (double)in[i >= k ? i * n + k : k * n + i];
            sum += fabs(c->w[i * n + k]);
        }
        shift = fmax(shift, sum);
    }
    for (int64_t i = 0; i < n; i++)
        c->w[i * (n + 1)] += shift;
    decompose(c);
    qsort(c->s, (size_t)n, sizeof *c->s, descending);
    for (int64_t k = 0; k < n; k++)
        out[k] = (float)(c->s[n - 1 - k] - shift);
}

int replay_EIGVALSH(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    struct shape shape = call->inputs[0]->shape;
    if (!has_matrices(&shape) || shape.dims[shape.rank - 1] != shape.dims[shape.rank - 2])
        return replay_mismatch(call, err, "the matrices are not square");
    shape.rank--;
    return each_matrix(call, eigenvalues, &shape, ret, err);
}

/* Of a wide matrix the transpose is taken apart: the factors change places. */
static void pseudo_inverse(const struct replay_call *call, struct columns *c, const float *in, int64_t rows,
                           int64_t columns, float *out)
{
    double largest = 0;
    load(c, in, rows, columns);
    decompose(c);
    for (int64_t k = 0; k < c->columns; k++)
        largest = fmax(largest, c->s[k]);
    double least = largest * replay_float(call, "rtol", (double)FLT_EPSILON * (double)c->rows);
    for (int64_t i = 0; i < columns; i++)
        for (int64_t j = 0; j < rows; j++) {
            double sum = 0;
            for (int64_t k = 0; k < c->columns; k++) {
                const double *u = c->w + k, *v = c->v + k;
                double a = rows >= columns ? v[i * c->columns] : u[i * c->columns];
                double b = rows >= columns ? u[j * c->columns] : v[j * c->columns];
                sum += c->s[k] > least ? a * b / (c->s[k] * c->s[k]) : 0;
            }
            out[i * rows + j] = (float)sum;
        }
}

int replay_PINV(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    struct shape shape = call->inputs[0]->shape;
    if (!has_matrices(&shape))
        return replay_mismatch(call, err, "there are no matrices");
    shape.dims[shape.rank - 2] = call->inputs[0]->shape.dims[shape.rank - 1];
    shape.dims[shape.rank - 1] = call->inputs[0]->shape.dims[shape.rank - 2];
    return each_matrix(call, pseudo_inverse, &shape, ret, err);
}
