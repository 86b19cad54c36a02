/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters of the torch graph: weights of the file with their rearrangement, and constants. */
#include <string.h>

#include "base/words.h"
#include "layers/lowering.h"

const struct keras_weight *lower_weight(const struct keras_call *call, const char *slot)
{
    for (int i = 0; i < call->layer->weight_count; i++)
        if (strcmp(call->layer->weights[i].slot, slot) == 0)
            return &call->layer->weights[i];
    return NULL;
}

static bool same_rearrangement(const struct rearrangement *a, const struct rearrangement *b)
{
    if (!shape_equal(&a->view, &b->view) || !shape_equal(&a->shape, &b->shape) || a->offset != b->offset ||
        a->order_count != b->order_count || memcmp(a->order, b->order, sizeof a->order) != 0)
        return false;
    for (int i = 0; i < a->view.rank; i++)
        if (a->axes[i] != b->axes[i])
            return false;
    return true;
}

/* Adds a parameter, or finds the one of that name, which must be the same. */
static int add_parameter(struct lowering *l, const struct keras_call *call, const char *module, const char *name,
                         struct torch_parameter p)
{
    struct torch_graph *g = l->graph;
    p.name = name ? arena_printf(l->arena, "%s.%s", module, name) : module;
    if (!p.name)
        return h5pt_fail_memory(l->err);
    const json_t *known = json_object_get(l->parameters, p.name);
    if (known) {
        int id = (int)json_integer_value(known);
        const struct torch_parameter *q = &g->parameters[id];
        if (q->source != p.source || !same_rearrangement(&q->rearrangement, &p.rearrangement))
            return h5pt_fail(l->err, H5PT_INTERNAL, call->layer->path,
                             "Two calls of a shared layer need other weights");
        return id;
    }
    if (lowering_grow(l, &g->parameters, sizeof *g->parameters, g->parameter_count, &l->parameter_capacity) < 0)
        return -1;
    g->parameters[g->parameter_count] = p;
    if (json_object_set_new(l->parameters, p.name, json_integer(g->parameter_count)) < 0)
        return h5pt_fail_memory(l->err);
    return g->parameter_count++;
}

/* tf.keras keeps the parameters of a BatchNormalization in float32 also when it computes in 16 bits, as torch's modules can. */
static bool keeps_float32(const struct keras_call *call, const char *name)
{
    return name && !call->layer->compute_given && dtype_size(call->layer->compute) == 2 &&
           strcmp(call->layer->class->name, "BatchNormalization") == 0;
}

static bool is_statistic(const char *slot)
{
    return word_index("moving_mean moving_variance mean variance count", slot) >= 0;
}

int lower_parameter(struct lowering *l, const struct keras_call *call, const char *module, const char *name,
                    const char *slot, const struct rearrangement *r)
{
    if (lowering_failed(l))
        return -1;
    const struct keras_weight *weight = lower_weight(call, slot);
    int64_t need, have;
    if (!weight || !weight->tensor || !shape_count(&r->view, &need) || !shape_count(&weight->shape, &have) ||
        (r->part ? r->offset < 0 || need + r->offset > have : need != have))
        return h5pt_fail(l->err, H5PT_INTERNAL, call->layer->path, "The weight \"%s\" is not as the lowering expects",
                         slot);
    enum dtype stored = weight->tensor->dtype, compute = call->layer->compute;
    if (keeps_float32(call, name) && stored == DTYPE_F32)
        compute = DTYPE_F32;
    if (compute != DTYPE_F32 && stored != compute && !call->layer->compute_given)
        return h5pt_fail(l->err, H5PT_UNSUPPORTED_DTYPE, call->layer->path,
                         "The layer computes in %s, but \"%s\" is stored as %s", dtype_name(compute), slot,
                         dtype_name(stored));
    struct torch_low_rank low_rank = {.a = NULL};
    if (weight->low_rank_a)
        low_rank = (struct torch_low_rank){weight->low_rank_a->tensor, weight->low_rank_b->tensor,
                                           call->layer->low_rank, weight->low_rank_scale};
    if (low_rank.a && compute != DTYPE_F32 && !(call->layer->compute_given && stored == DTYPE_F32))
        return h5pt_fail(l->err, H5PT_UNSUPPORTED_DTYPE, call->layer->path,
                         "A low-rank update (LoRA) is added in float32 only, but the layer computes in %s",
                         dtype_name(compute));
    bool buffer = is_statistic(slot);
    return add_parameter(l, call, module, name,
                         (struct torch_parameter){
                             .source = weight->tensor,
                             .rearrangement = *r,
                             .low_rank = low_rank,
                             .dtype = compute,
                             .shape = r->shape,
                             .is_buffer = buffer,
                             .trainable = call->layer->trainable && !buffer,
                             .keras = weight->tensor->object,
                         });
}

int lower_constant(struct lowering *l, const struct keras_call *call, const char *module, const char *name,
                   const struct shape *shape, enum dtype dtype, bool is_buffer, const float *values)
{
    int64_t count;
    if (lowering_failed(l))
        return -1;
    if (!shape_count(shape, &count))
        return h5pt_fail(l->err, H5PT_INTERNAL, call->layer->path, "A constant has an unknown shape");
    return add_parameter(l, call, module, name,
                         (struct torch_parameter){
                             .rearrangement = rearrange_as_is(shape),
                             .constant = lowering_keep(l, values, (size_t)count, sizeof *values),
                             .dtype = lowering_compute_type(call, dtype),
                             .shape = *shape,
                             .is_buffer = is_buffer,
                         });
}

struct rearrangement rearrange_as_is(const struct shape *shape)
{
    struct rearrangement r = {.view = *shape, .shape = *shape};
    for (int i = 0; i < shape->rank; i++)
        r.axes[i] = i;
    return r;
}

struct rearrangement rearrange_axes(const struct shape *shape, const int *axes)
{
    struct rearrangement r = {.view = *shape, .shape = shape_permute(shape, axes)};
    for (int i = 0; i < shape->rank; i++)
        r.axes[i] = axes[i];
    return r;
}

struct rearrangement rearrange_features(const struct shape *shape, const int *axes, int axis,
                                        const struct layout *layout)
{
    struct rearrangement r = rearrange_axes(shape, axes);
    if (!layout->flat_rank || shape->rank - 1 + layout->flat_rank > SHAPE_MAX_RANK)
        return r;
    int first[SHAPE_MAX_RANK]; /* view axis at which each axis of the weight starts */
    r.view.rank = 0;
    for (int i = 0; i < shape->rank; i++) {
        first[i] = r.view.rank;
        for (int k = 0; k < (i == axis ? layout->flat_rank : 1); k++)
            r.view.dims[r.view.rank++] = i == axis ? layout->flat_dims[k] : shape->dims[i];
    }
    int n = 0;
    for (int i = 0; i < shape->rank; i++)
        for (int k = 0; k < (axes[i] == axis ? layout->flat_rank : 1); k++)
            r.axes[n++] = first[axes[i]] + (axes[i] == axis ? layout->flat_axes[k] : 0);
    return r;
}
