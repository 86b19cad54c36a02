/* SPDX-License-Identifier: Apache-2.0 */
/* UnitNormalization: each sample divided by its length along some axes. */
#include <math.h>
#include <stdlib.h>

#include "layers/axes.h"
#include "layers/compose.h"
#include "layers/layer.h"
#include "layers/lower.h"

struct unit_norm_config {
    struct axis_list axis;
    double least; /* norms below count as this */
};

static void unit_norm_read(struct config_reader *reader, void *config, int variant)
{
    struct unit_norm_config *c = config;
    (void)variant;
    c->axis = axis_list_read(reader, "axis", -1);
    /* tf.keras limits the square of the norm by 1e-12, Keras 3 the norm itself */
    c->least = reader->version.major >= 3 ? 1e-12 : 1e-6;
}

static int unit_norm_shape(struct layer_shape *s)
{
    const struct unit_norm_config *c = s->config;
    int axes[SHAPE_MAX_RANK], count = axis_list_resolve(&c->axis, s->inputs[0].rank, axes);
    if (count < 1 || axes[0] == 0)
        return layer_shape_fail(s, "The input, of rank %d, does not have the axes of the layer behind its batch",
                                s->inputs[0].rank);
    s->outputs[0] = s->inputs[0];
    return 0;
}

static int unit_norm_reference(const struct layer_run *run)
{
    const struct unit_norm_config *c = run->config;
    const struct tensor *x = run->inputs[0];
    int axes[SHAPE_MAX_RANK], count = axis_list_resolve(&c->axis, x->shape.rank, axes);
    struct shape kept = shape_without(&x->shape, count, axes);
    int64_t groups;
    if (!shape_count(&kept, &groups))
        return h5pt_fail(run->err, H5PT_INTERNAL, run->layer->path, "The input is too large");
    double *squares = calloc((size_t)groups + 1, sizeof *squares);
    if (!squares)
        return h5pt_fail_memory(run->err);
    struct walk walk;
    walk_begin(&walk, &x->shape, &kept);
    for (int64_t i = 0; i < x->count; i++, walk_next(&walk))
        squares[walk.offset] += (double)x->data[i] * (double)x->data[i];
    walk_begin(&walk, &x->shape, &kept);
    for (int64_t i = 0; i < x->count; i++, walk_next(&walk))
        run->outputs[0]->data[i] = (float)((double)x->data[i] / fmax(sqrt(squares[walk.offset]), c->least));
    free(squares);
    return 0;
}

static int unit_norm_lower(struct lowering *l, const struct keras_call *call)
{
    const struct unit_norm_config *c = call->layer->config;
    int axes[SHAPE_MAX_RANK], count = axis_list_resolve(&c->axis, call->inputs[0]->shape.rank, axes);
    struct lowered x = lower_input(l, call, 0);
    if (x.id < 0)
        return -1;
    if (count == 1) {
        x = lower_normalize(l, call, x, axes[0], c->least);
    } else {
        struct lowered norm = lower_pointwise(l, call, x, TORCH_SQUARE, NULL, 0, NULL);
        norm = lower_reduce(l, call, TORCH_SUM, norm, count, axes);
        norm = lower_pointwise(l, call, norm, TORCH_SQRT, NULL, 0, NULL);
        x = lower_binary(l, call, TORCH_DIV, x, lower_clamp(l, call, norm, c->least, (double)INFINITY));
    }
    return lower_output(l, call, 0, x);
}

const struct layer_handler unit_norm_handler = {
    .config_size = sizeof(struct unit_norm_config),
    .read = unit_norm_read,
    .shape = unit_norm_shape,
    .reference = unit_norm_reference,
    .lower = unit_norm_lower,
};
