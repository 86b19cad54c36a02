/* SPDX-License-Identifier: Apache-2.0 */
/* Inverses and determinants by a decomposition into triangles, and the product of vectors in space. */
#include "torch/replay_internal.h"

#include <math.h>
#include <stdlib.h>

/* Rows of `a` change places so that a = P L U; both triangles stand in a. Returns the sign of P. */
static double decompose(double *a, int64_t n, int64_t *rows)
{
    double sign = 1;
    for (int64_t i = 0; i < n; i++)
        rows[i] = i;
    for (int64_t k = 0; k < n; k++) {
        int64_t best = k;
        for (int64_t i = k + 1; i < n; i++)
            best = fabs(a[i * n + k]) > fabs(a[best * n + k]) ? i : best;
        if (best != k) {
            for (int64_t j = 0; j < n; j++) {
                double t = a[k * n + j];
                a[k * n + j] = a[best * n + j];
                a[best * n + j] = t;
            }
            int64_t row = rows[k];
            rows[k] = rows[best];
            rows[best] = row;
            sign = -sign;
        }
        for (int64_t i = k + 1; i < n && a[k * n + k] != 0; i++) {
            a[i * n + k] /= a[k * n + k];
            for (int64_t j = k + 1; j < n; j++)
                a[i * n + j] -= a[i * n + k] * a[k * n + j];
        }
    }
    return sign;
}

/* Column `column` of the inverse. */
static void invert_column(const double *lu, const int64_t *rows, int64_t n, int64_t column, double *x)
{
    for (int64_t i = 0; i < n; i++) {
        x[i] = rows[i] == column ? 1 : 0;
        for (int64_t j = 0; j < i; j++)
            x[i] -= lu[i * n + j] * x[j];
    }
    for (int64_t i = n - 1; i >= 0; i--) {
        for (int64_t j = i + 1; j < n; j++)
            x[i] -= lu[i * n + j] * x[j];
        x[i] /= lu[i * n + i];
    }
}

enum wanted { INVERSE, DETERMINANT, SIGN, LOGARITHM };

/* Of a decomposed matrix: its determinant, or the sign of that and the logarithm of its size, which itself may be out of range. */
static double determinant(const double *lu, int64_t n, double direction, enum wanted wanted)
{
    double product = direction, sign = direction, logarithm = 0;
    for (int64_t i = 0; i < n; i++) {
        double pivot = lu[i * (n + 1)];
        product *= pivot;
        sign *= isnan(pivot) ? pivot : (double)((pivot > 0) - (pivot < 0));
        logarithm += log(fabs(pivot));
    }
    return wanted == DETERMINANT ? product : wanted == SIGN ? sign : logarithm;
}

static int matrices(const struct replay_call *call, enum wanted wanted, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    int rank = x->shape.rank;
    if (rank < 2 || x->shape.dims[rank - 1] != x->shape.dims[rank - 2] || x->shape.dims[rank - 1] < 1)
        return replay_mismatch(call, err, "the matrices are not square");
    int64_t n = x->shape.dims[rank - 1], cells = n * n;
    struct shape shape = x->shape;
    shape.rank -= wanted == INVERSE ? 0 : 2;
    struct tensor *y = replay_new(&shape, x->dtype, err);
    double *lu = calloc((size_t)(cells + n), sizeof *lu);
    int64_t *rows = calloc((size_t)n, sizeof *rows);
    bool ok = y && lu && rows;
    for (int64_t m = 0; ok && m < x->count / cells; m++) {
        for (int64_t i = 0; i < cells; i++)
            lu[i] = (double)x->data[m * cells + i];
        double direction = decompose(lu, n, rows);
        for (int64_t column = 0; wanted == INVERSE && column < n; column++) {
            invert_column(lu, rows, n, column, lu + cells);
            for (int64_t i = 0; i < n; i++)
                y->data[m * cells + i * n + column] = (float)lu[cells + i];
        }
        if (wanted != INVERSE)
            y->data[m] = (float)determinant(lu, n, direction, wanted);
    }
    free(lu);
    free(rows);
    if (!ok) {
        tensor_free(y);
        return h5pt_fail_memory(err);
    }
    *ret = y;
    return 0;
}

int replay_INV(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return matrices(call, INVERSE, ret, err);
}

int replay_DET(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return matrices(call, DETERMINANT, ret, err);
}

int replay_SLOGDET_SIGN(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return matrices(call, SIGN, ret, err);
}

int replay_SLOGDET_LOG(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return matrices(call, LOGARITHM, ret, err);
}

int replay_CROSS(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *a = call->inputs[0], *b = call->inputs[1];
    int rank = a->shape.rank;
    struct shape shape = a->shape;
    if (rank < 1 || b->shape.rank != rank || a->shape.dims[rank - 1] != 3 || b->shape.dims[rank - 1] != 3)
        return replay_mismatch(call, err, "the vectors do not have 3 numbers");
    for (int i = 0; i < rank; i++) {
        if (a->shape.dims[i] != b->shape.dims[i] && a->shape.dims[i] != 1 && b->shape.dims[i] != 1)
            return replay_mismatch(call, err, "the shapes do not broadcast");
        shape.dims[i] = a->shape.dims[i] == 1 ? b->shape.dims[i] : a->shape.dims[i];
    }
    struct tensor *y = replay_new(&shape, replay_promote(a->dtype, b->dtype), err);
    if (!y)
        return -1;
    int64_t index[SHAPE_MAX_RANK] = {0};
    for (int64_t n = 0; n < y->count; n += 3) {
        int64_t i = 0, k = 0;
        for (int d = 0; d < rank; d++) {
            i = i * a->shape.dims[d] + (a->shape.dims[d] == 1 ? 0 : index[d]);
            k = k * b->shape.dims[d] + (b->shape.dims[d] == 1 ? 0 : index[d]);
        }
        const float *u = a->data + i, *v = b->data + k;
        y->data[n] = u[1] * v[2] - u[2] * v[1];
        y->data[n + 1] = u[2] * v[0] - u[0] * v[2];
        y->data[n + 2] = u[0] * v[1] - u[1] * v[0];
        for (int d = rank - 2; d >= 0 && ++index[d] == shape.dims[d]; d--)
            index[d] = 0;
    }
    *ret = y;
    return 0;
}
