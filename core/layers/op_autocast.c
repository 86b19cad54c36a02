/* SPDX-License-Identifier: Apache-2.0 */
/* The cast of an input to the floating-point type that a layer computes in (keras/autocast.c). */
#include <string.h>

#include "layers/layer.h"
#include "layers/lower.h"

static void op_autocast_read(struct config_reader *reader, void *config, int variant)
{
    (void)reader;
    *(int *)config = variant;
}

static int op_autocast_shape(struct layer_shape *s)
{
    if (s->input_count != 1 || !s->layer->autocast)
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_OPERATION, "class_name", "Keras has no operation of this name");
    s->outputs[0] = s->inputs[0];
    return 0;
}

/* Both sides compute in float32 whatever the type is: rounding to 16 bits would hide errors behind its own size. */
static int op_autocast_reference(const struct layer_run *run)
{
    memcpy(run->outputs[0]->data, run->inputs[0]->data, (size_t)run->outputs[0]->count * sizeof(float));
    return 0;
}

static int op_autocast_lower(struct lowering *l, const struct keras_call *call)
{
    struct lowered x = lower_input(l, call, 0);
    struct torch_attr dtype = attr_text("dtype", dtype_name(call->layer->compute));
    x.id = lower_function(l, call, TORCH_CAST, x.id, 1, &dtype, lower_shape(l, x.id), call->layer->compute);
    return lower_output(l, call, 0, x);
}

const struct layer_handler op_autocast_handler = {
    .config_size = sizeof(int),
    .read = op_autocast_read,
    .shape = op_autocast_shape,
    .reference = op_autocast_reference,
    .lower = op_autocast_lower,
};
