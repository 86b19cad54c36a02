/* SPDX-License-Identifier: Apache-2.0 */
/* The two operations that stand around the layer in a TimeDistributed (keras/time_distributed.c): TimeToBatch makes
 * (batch * time, …) of (batch, time, …), BatchToTime makes the first dimension of its first input two again, those of its
 * second. */
#include <string.h>

#include "layers/layer.h"
#include "layers/lower.h"

static void time_to_batch_read(struct config_reader *reader, void *config, int variant)
{
    (void)reader;
    (void)config;
    (void)variant;
}

static int copy_input(const struct layer_run *run)
{
    memcpy(run->outputs[0]->data, run->inputs[0]->data, (size_t)run->inputs[0]->count * sizeof(float));
    return 0;
}

/* ---- TimeToBatch ---- */

static int time_to_batch_shape(struct layer_shape *s)
{
    const struct shape *x = &s->inputs[0];
    if (s->input_count != 1 || x->rank < 2)
        return layer_shape_fail(s, "The input should be (batch, time, …), but has %d dimensions", x->rank);
    struct shape out = {.rank = x->rank - 1, .dims = {DIM_UNKNOWN}};
    if (x->dims[0] >= 0 && x->dims[1] >= 0)
        out.dims[0] = x->dims[0] * x->dims[1];
    memcpy(out.dims + 1, x->dims + 2, (size_t)(out.rank - 1) * sizeof *out.dims);
    s->outputs[0] = out;
    s->output_dtypes[0] = s->input_dtypes[0];
    return 0;
}

/* Input `index` with batch and time where Keras has them, the rest in any order. */
static struct lowered time_input(struct lowering *l, const struct keras_call *call, int index)
{
    struct lowered x = lower_input(l, call, index);
    bool fits = x.layout.rank >= 2 && !x.layout.flat_rank && x.layout.axes[0] == 0 && x.layout.axes[1] == 1;
    return fits ? x : lower_input_keras(l, call, index);
}

static int time_to_batch_lower(struct lowering *l, const struct keras_call *call)
{
    struct lowered x = time_input(l, call, 0);
    struct shape in = lower_shape(l, x.id), out = {.rank = in.rank - 1, .dims = {DIM_UNKNOWN}};
    if (x.id < 0)
        return -1;
    struct layout layout = layout_keras(out.rank);
    for (int i = 1; i < out.rank; i++) {
        out.dims[i] = in.dims[i + 1];
        layout.axes[i] = x.layout.axes[i + 1] - 1;
    }
    const struct torch_attr attrs[] = {attr_int("start_dim", 0), attr_int("end_dim", 1)};
    int id = lower_function(l, call, TORCH_FLATTEN, x.id, 2, attrs, out, call->outputs[0]->dtype);
    return lower_output(l, call, 0, (struct lowered){id, layout});
}

const struct layer_handler time_to_batch_handler = {
    .config_size = sizeof(int),
    .read = time_to_batch_read,
    .shape = time_to_batch_shape,
    .reference = copy_input,
    .lower = time_to_batch_lower,
};

/* ---- BatchToTime ---- */

static int batch_to_time_shape(struct layer_shape *s)
{
    const struct shape *x = &s->inputs[0], *like = &s->inputs[1];
    if (s->input_count != 2 || x->rank < 1 || x->rank == SHAPE_MAX_RANK || like->rank < 2)
        return layer_shape_fail(s, "The layer gives a tensor that has no steps");
    struct shape out = {.rank = x->rank + 1, .dims = {like->dims[0], like->dims[1]}};
    memcpy(out.dims + 2, x->dims + 1, (size_t)(x->rank - 1) * sizeof *out.dims);
    s->outputs[0] = out;
    s->output_dtypes[0] = s->input_dtypes[0];
    return 0;
}

static int batch_to_time_lower(struct lowering *l, const struct keras_call *call)
{
    struct lowered x = lower_input(l, call, 0), like = time_input(l, call, 1);
    if (x.layout.flat_rank || x.layout.axes[0] != 0)
        x = lower_input_keras(l, call, 0);
    if (x.id < 0 || like.id < 0)
        return -1;
    struct shape in = lower_shape(l, x.id), steps = lower_shape(l, like.id);
    struct shape out = {.rank = in.rank + 1, .dims = {steps.dims[0], steps.dims[1]}};
    struct layout layout = layout_keras(out.rank);
    for (int i = 1; i < in.rank; i++) {
        out.dims[i + 1] = in.dims[i];
        layout.axes[i + 1] = x.layout.axes[i] + 1;
    }
    int id = lower_function2(l, call, TORCH_UNFLATTEN_LIKE, x.id, like.id, 0, NULL, out, call->outputs[0]->dtype);
    return lower_output(l, call, 0, (struct lowered){id, layout});
}

const struct layer_handler batch_to_time_handler = {
    .config_size = sizeof(int),
    .read = time_to_batch_read,
    .shape = batch_to_time_shape,
    .reference = copy_input,
    .lower = batch_to_time_lower,
};
