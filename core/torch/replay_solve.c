/* SPDX-License-Identifier: Apache-2.0 */
/* Systems of linear equations, and Cholesky's triangles. */
#include "torch/replay_internal.h"

#include <math.h>
#include <stdlib.h>

/* Broadcast sizes in front of the matrices; the offsets of both operands in whole matrices. */
struct batches {
    int rank;
    int64_t dims[SHAPE_MAX_RANK], a[SHAPE_MAX_RANK], b[SHAPE_MAX_RANK], count;
};

static bool batches_init(struct batches *batches, const struct shape *a, const struct shape *b)
{
    int64_t steps_a = 1, steps_b = 1;
    batches->rank = (a->rank > b->rank ? a->rank : b->rank) - 2;
    batches->count = 1;
    for (int i = batches->rank - 1; i >= 0; i--) {
        int at = i - (batches->rank - (a->rank - 2)), bt = i - (batches->rank - (b->rank - 2));
        int64_t m = at < 0 ? 1 : a->dims[at], n = bt < 0 ? 1 : b->dims[bt];
        if (m != n && m != 1 && n != 1)
            return false;
        batches->dims[i] = m == 1 ? n : m;
        batches->a[i] = m == 1 ? 0 : steps_a;
        batches->b[i] = n == 1 ? 0 : steps_b;
        steps_a *= m;
        steps_b *= n;
        batches->count *= batches->dims[i];
    }
    return true;
}

static int64_t batches_offset(const struct batches *batches, const int64_t *steps, int64_t index)
{
    int64_t offset = 0;
    for (int i = batches->rank - 1; i >= 0; i--) {
        offset += index % batches->dims[i] * steps[i];
        index /= batches->dims[i];
    }
    return offset;
}

/* a x = b by elimination below the diagonal with the largest pivot. Both are overwritten; b becomes x. */
static void eliminate(double *a, double *b, int64_t n, int64_t columns)
{
    for (int64_t k = 0; k < n; k++) {
        int64_t best = k;
        for (int64_t i = k + 1; i < n; i++)
            best = fabs(a[i * n + k]) > fabs(a[best * n + k]) ? i : best;
        for (int64_t j = 0; best != k && j < n + columns; j++) {
            double *x = j < n ? &a[k * n + j] : &b[k * columns + j - n];
            double *y = j < n ? &a[best * n + j] : &b[best * columns + j - n], t = *x;
            *x = *y;
            *y = t;
        }
        for (int64_t i = k + 1; i < n; i++) {
            double factor = a[i * n + k] / a[k * n + k];
            for (int64_t j = k; factor != 0 && j < n; j++)
                a[i * n + j] -= factor * a[k * n + j];
            for (int64_t j = 0; factor != 0 && j < columns; j++)
                b[i * columns + j] -= factor * b[k * columns + j];
        }
    }
}

/* a x = b for a triangle: from its top or its bottom. */
static void substitute(const double *a, double *b, int64_t n, int64_t columns, bool upper)
{
    for (int64_t step = 0; step < n; step++) {
        int64_t i = upper ? n - 1 - step : step;
        for (int64_t j = 0; j < columns; j++) {
            double sum = b[i * columns + j];
            for (int64_t k = upper ? i + 1 : 0; k < (upper ? n : i); k++)
                sum -= a[i * n + k] * b[k * columns + j];
            b[i * columns + j] = sum / a[i * n + i];
        }
    }
}

static int solve(const struct replay_call *call, bool triangular, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *a = call->inputs[0], *b = call->inputs[1];
    struct batches batches;
    int rank = a->shape.rank, other = b->shape.rank;
    if (rank < 2 || other < 2 || a->shape.dims[rank - 1] != a->shape.dims[rank - 2] ||
        b->shape.dims[other - 2] != a->shape.dims[rank - 1] || !batches_init(&batches, &a->shape, &b->shape))
        return replay_mismatch(call, err, "the matrices do not fit together");
    int64_t n = a->shape.dims[rank - 1], columns = b->shape.dims[other - 1];
    struct shape shape = {.rank = batches.rank + 2};
    for (int i = 0; i < batches.rank; i++)
        shape.dims[i] = batches.dims[i];
    shape.dims[batches.rank] = n;
    shape.dims[batches.rank + 1] = columns;
    struct tensor *y = replay_new(&shape, a->dtype, err);
    double *m = calloc((size_t)(n * n) + 1, sizeof *m), *x = calloc((size_t)(n * columns) + 1, sizeof *x);
    bool ok = y && m && x;
    for (int64_t batch = 0; ok && batch < batches.count; batch++) {
        const float *from = a->data + batches_offset(&batches, batches.a, batch) * n * n;
        const float *right = b->data + batches_offset(&batches, batches.b, batch) * n * columns;
        for (int64_t i = 0; i < n * n; i++)
            m[i] = (double)from[i];
        for (int64_t i = 0; i < n * columns; i++)
            x[i] = (double)right[i];
        if (!triangular)
            eliminate(m, x, n, columns);
        substitute(m, x, n, columns, !triangular || replay_bool(call, "upper", false));
        for (int64_t i = 0; i < n * columns; i++)
            y->data[batch * n * columns + i] = (float)x[i];
    }
    free(m);
    free(x);
    if (!ok) {
        tensor_free(y);
        return h5pt_fail_memory(err);
    }
    *ret = y;
    return 0;
}

int replay_SOLVE(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return solve(call, false, ret, err);
}

int replay_SOLVE_TRIANGULAR(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return solve(call, true, ret, err);
}

/* Column by column; NaN when the matrix is not positive definite. */
static bool triangle(const float *in, int64_t n, double *l)
{
    for (int64_t k = 0; k < n; k++) {
        for (int64_t i = 0; i < n; i++) {
            double sum = i < k ? 0 : (double)in[i * n + k];
            for (int64_t j = 0; i >= k && j < k; j++)
                sum -= l[i * n + j] * l[k * n + j];
            l[i * n + k] = sum;
        }
        if (!(l[k * n + k] > 0))
            return false;
        double root = sqrt(l[k * n + k]);
        for (int64_t i = k; i < n; i++)
            l[i * n + k] /= root;
    }
    return true;
}

int replay_CHOLESKY(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    int rank = x->shape.rank;
    if (rank < 2 || x->shape.dims[rank - 1] != x->shape.dims[rank - 2] || x->shape.dims[rank - 1] < 1)
        return replay_mismatch(call, err, "the matrices are not square");
    int64_t n = x->shape.dims[rank - 1];
    struct tensor *y = replay_new(&x->shape, x->dtype, err);
    double *l = calloc((size_t)(n * n), sizeof *l);
    if (!y || !l) {
        free(l);
        tensor_free(y);
        return h5pt_fail_memory(err);
    }
    for (int64_t at = 0; at < x->count; at += n * n) {
        bool ok = triangle(x->data + at, n, l);
        for (int64_t i = 0; i < n * n; i++)
            y->data[at + i] = ok ? (float)l[i] : NAN;
    }
    free(l);
    *ret = y;
    return 0;
}
