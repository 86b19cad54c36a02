/* SPDX-License-Identifier: Apache-2.0 */
/* A choice between two tensors, and a tensor of one number. */
#include "torch/replay_internal.h"

/* The elements of `shape` that belong to those of the broadcast one: 0 where a dim is repeated. */
static int steps_in(const struct replay_call *call, const struct shape *shape, const struct shape *out,
                    int64_t ret[SHAPE_MAX_RANK], struct h5pt_error *err)
{
    int64_t own[SHAPE_MAX_RANK];
    int lead = out->rank - shape->rank;
    replay_strides(shape, own);
    for (int i = 0; i < out->rank; i++) {
        int64_t dim = i < lead ? 1 : shape->dims[i - lead];
        if (dim != 1 && dim != out->dims[i])
            return replay_mismatch(call, err, "the shapes do not broadcast");
        ret[i] = dim == 1 ? 0 : own[i - lead];
    }
    return 0;
}

static struct shape broadcast_shape(const struct replay_call *call)
{
    struct shape out = {.rank = 0};
    for (int k = 0; k < 3; k++)
        out.rank = call->inputs[k]->shape.rank > out.rank ? call->inputs[k]->shape.rank : out.rank;
    for (int i = 0; i < out.rank; i++)
        out.dims[i] = 1;
    for (int k = 0; k < 3; k++) {
        const struct shape *s = &call->inputs[k]->shape;
        for (int i = 0; i < s->rank; i++)
            if (s->dims[i] != 1)
                out.dims[out.rank - s->rank + i] = s->dims[i];
    }
    return out;
}

int replay_WHERE(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    struct shape shape = broadcast_shape(call);
    int64_t in_steps[SHAPE_MAX_RANK], out_steps[SHAPE_MAX_RANK];
    struct tensor *wide[3] = {NULL, NULL, NULL};
    if (call->inputs[0]->dtype != DTYPE_BOOL)
        return replay_mismatch(call, err, "the condition is not bool");
    replay_strides(&shape, out_steps);
    int status = 0;
    for (int k = 0; k < 3 && status == 0; k++) {
        wide[k] = replay_new(&shape, replay_promote(call->inputs[1]->dtype, call->inputs[2]->dtype), err);
        status = wide[k] ? steps_in(call, &call->inputs[k]->shape, &shape, in_steps, err) : -1;
        if (status == 0 && wide[k]->count > 0)
            replay_copy_box(shape.rank, shape.dims, call->inputs[k]->data, in_steps, wide[k]->data, out_steps);
    }
    for (int64_t i = 0; status == 0 && i < wide[0]->count; i++)
        wide[0]->data[i] = wide[0]->data[i] != 0 ? wide[1]->data[i] : wide[2]->data[i];
    if (status == 0) {
        *ret = wide[0];
        wide[0] = NULL;
    }
    for (int k = 0; k < 3; k++)
        tensor_free(wide[k]);
    return status;
}

int replay_FULL_LIKE(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const char *name = torch_attr_text(call->node, "dtype");
    enum dtype dtype = call->inputs[0]->dtype;
    if (name && !dtype_from_name(name, &dtype))
        return replay_mismatch(call, err, "there is no type %s", name);
    struct tensor *y = replay_new(&call->inputs[0]->shape, dtype, err);
    if (!y)
        return -1;
    for (int64_t i = 0; i < y->count; i++)
        y->data[i] = (float)replay_float(call, "fill_value", 0);
    *ret = y;
    return 0;
}
