/* SPDX-License-Identifier: Apache-2.0 */
#include "layers/encoding.h"

#include <math.h>
#include <string.h>

#include "layers/compose.h"

enum encoding_mode encoding_read_mode(struct config_reader *reader, enum encoding_mode absent)
{
    static const enum encoding_mode modes[] = {ENCODING_INT, ENCODING_ONE_HOT, ENCODING_MULTI_HOT, ENCODING_COUNT,
                                               ENCODING_MULTI_HOT};
    if (config_bool(reader, "sparse", false))
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "sparse", "Sparse outputs are not supported");
    return modes[config_choice(reader, "output_mode", "int one_hot multi_hot count binary", (int)absent)];
}

static bool drops_last(const struct encoding *e, const struct shape *indices)
{
    return e->mode == ENCODING_ONE_HOT && indices->rank > 1 && indices->dims[indices->rank - 1] == 1;
}

int encoding_shape(struct layer_shape *s, const struct encoding *encoding)
{
    const struct shape *in = &s->inputs[0];
    struct shape *out = &s->outputs[0];
    *out = *in;
    if (encoding->mode == ENCODING_INT) {
        s->output_dtypes[0] = encoding->ints;
        return 0;
    }
    if (in->rank + 1 > SHAPE_MAX_RANK)
        return layer_shape_fail(s, "The input has too many dimensions");
    if (encoding->mode == ENCODING_ONE_HOT) {
        if (in->rank > 1 && in->dims[in->rank - 1] == DIM_UNKNOWN)
            return h5pt_fail(s->err, H5PT_SHAPE_UNKNOWN, NULL, "The last size must be known: it goes when it is 1");
        if (drops_last(encoding, in))
            out->rank--;
        out->dims[out->rank++] = encoding->depth;
        return 0;
    }
    if (in->rank < 2)
        return layer_shape_fail(s, "One vector would be made for the whole batch, which is not supported");
    for (int i = 1; i + 1 < in->rank; i++)
        out->dims[i] = in->dims[i + 1];
    out->dims[in->rank - 1] = encoding->depth;
    return 0;
}

/* The element that index `i` adds to: its vector starts at the element returned. */
static int64_t vector_of(const struct shape *in, const struct encoding *e, int64_t i)
{
    if (e->mode == ENCODING_ONE_HOT)
        return i * e->depth;
    int64_t inner = 1, width = in->dims[1];
    for (int k = 2; k < in->rank; k++)
        inner *= in->dims[k];
    return (i / (inner * width) * inner + i % inner) * e->depth;
}

void encoding_reference(const struct layer_run *run, const struct encoding *encoding, const float *indices,
                        const float *weights)
{
    const struct tensor *in = run->inputs[0];
    struct tensor *out = run->outputs[0];
    if (encoding->mode == ENCODING_INT) {
        memcpy(out->data, indices, (size_t)in->count * sizeof *indices);
        return;
    }
    memset(out->data, 0, (size_t)out->count * sizeof *out->data);
    for (int64_t i = 0; i < in->count; i++) {
        float index = truncf(indices[i]);
        if (!(index >= 0 && index < (float)encoding->depth))
            continue;
        float *cell = &out->data[vector_of(&in->shape, encoding, i) + (int64_t)index];
        *cell = encoding->mode == ENCODING_COUNT ? *cell + (weights ? weights[i] : 1) : 1;
    }
}

static struct lowered unsqueeze_last(struct lowering *l, const struct keras_call *call, struct lowered x)
{
    struct shape shape = lower_shape(l, x.id);
    struct torch_attr dim = attr_int("dim", -1);
    shape.dims[shape.rank++] = 1;
    x.id = lower_function(l, call, TORCH_UNSQUEEZE, x.id, 1, &dim, shape, DTYPE_F32);
    x.layout = layout_keras(shape.rank);
    return x;
}

/* MAX or SUM over dim 1. */
static struct lowered reduce(struct lowering *l, const struct keras_call *call, enum torch_op op, struct lowered x)
{
    struct shape shape = lower_shape(l, x.id);
    struct torch_attr dim = attr_int("dim", 1);
    for (int i = 1; i + 1 < shape.rank; i++)
        shape.dims[i] = shape.dims[i + 1];
    shape.rank--;
    x.id = lower_function(l, call, op, x.id, 1, &dim, shape, DTYPE_F32);
    x.layout = layout_keras(shape.rank);
    return x;
}

static struct lowered one_hot(struct lowering *l, const struct keras_call *call, const struct encoding *e,
                              struct lowered x)
{
    struct shape shape = lower_shape(l, x.id);
    if (drops_last(e, &shape)) {
        struct torch_attr dim = attr_int("dim", -1);
        shape.rank--;
        x.id = lower_function(l, call, TORCH_SQUEEZE, x.id, 1, &dim, shape, DTYPE_I64);
    }
    struct torch_attr classes = attr_int("num_classes", e->depth);
    shape.dims[shape.rank++] = e->depth;
    x.id = lower_function(l, call, TORCH_ONE_HOT, x.id, 1, &classes, shape, DTYPE_F32);
    x.layout = layout_keras(shape.rank);
    return x;
}

struct lowered encoding_lower(struct lowering *l, const struct keras_call *call, const struct encoding *encoding,
                              struct lowered indices, struct lowered weights)
{
    if (indices.id < 0)
        return indices;
    if (encoding->mode == ENCODING_INT)
        return lower_cast(l, call, indices, encoding->ints);
    struct lowered x = one_hot(l, call, encoding, indices);
    if (encoding->mode == ENCODING_ONE_HOT)
        return x;
    if (weights.id >= 0)
        x = lower_binary(l, call, TORCH_MUL, x, unsqueeze_last(l, call, weights));
    return reduce(l, call, encoding->mode == ENCODING_COUNT ? TORCH_SUM : TORCH_AMAX, x);
}
