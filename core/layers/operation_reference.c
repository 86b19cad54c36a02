/* SPDX-License-Identifier: Apache-2.0 */
/* What the references of several operations share. */
#include <stdlib.h>

#include "layers/operation.h"

int reference_by_axes(const struct layer_run *run, const struct tensor *in, const int64_t *out_dims,
                      axis_source *source, const void *context, float fill, float *out)
{
    int64_t *from[SHAPE_MAX_RANK] = {NULL}, strides[SHAPE_MAX_RANK], index[SHAPE_MAX_RANK] = {0}, count = 1, stride = 1;
    int rank = in->shape.rank, status = 0;
    for (int i = rank - 1; i >= 0; i--) {
        strides[i] = stride;
        stride *= in->shape.dims[i];
        count *= out_dims[i];
        from[i] = calloc((size_t)out_dims[i] + 1, sizeof **from);
        if (!from[i])
            status = h5pt_fail_memory(run->err);
        for (int64_t k = 0; from[i] && k < out_dims[i]; k++)
            from[i][k] = source(context, i, in->shape.dims[i], k);
    }
    for (int64_t n = 0; status == 0 && n < count; n++) {
        int64_t at = 0;
        bool inside = true;
        for (int i = 0; i < rank; i++) {
            inside = inside && from[i][index[i]] >= 0;
            at += from[i][index[i]] * strides[i];
        }
        out[n] = inside ? in->data[at] : fill;
        for (int i = rank - 1; i >= 0 && ++index[i] == out_dims[i]; i--)
            index[i] = 0;
    }
    for (int i = 0; i < rank; i++)
        free(from[i]);
    return status;
}
