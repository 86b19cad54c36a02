/* SPDX-License-Identifier: Apache-2.0 */
/* Casts made explicit. Keras brings the floating-point inputs of a layer to the type that its dtype policy computes in; here
 * each such cast is a call of its own. Inside a layer there is one floating-point type.
 * Source: Keras 3 src/layers/layer.py (maybe_convert), tf.keras base_layer.py (_maybe_cast_inputs). */
#include <string.h>

#include "keras/build.h"
#include "layers/layer.h"

/* The type that Keras promotes both to. */
static enum dtype promote(enum dtype a, enum dtype b)
{
    if (a == b)
        return a;
    if (dtype_size(a) == dtype_size(b)) /* float16 and bfloat16 */
        return DTYPE_F32;
    return dtype_size(a) > dtype_size(b) ? a : b;
}

static enum dtype common_type(const struct keras_call *call)
{
    enum dtype common = DTYPE_F32;
    bool any = false;
    for (int i = 0; i < call->input_count; i++) {
        enum dtype dtype = call->inputs[i]->dtype;
        if (!dtype_is_float(dtype))
            continue;
        common = any ? promote(common, dtype) : dtype;
        any = true;
    }
    return common;
}

static struct keras_value *cast(struct builder *b, const struct keras_call *call, int index)
{
    struct keras_layer *layer = ARENA_NEW(b->arena, struct keras_layer);
    struct keras_value **input = ARENA_ARRAY(b->arena, struct keras_value *, 1);
    const char *path = arena_printf(b->arena, "%s/cast_%d", call->layer->path, index);
    json_t *config = json_object();
    if (!layer || !input || !path || !config || json_array_append_new(b->keep, config) < 0) {
        h5pt_fail_memory(b->err);
        return NULL;
    }
    input[0] = call->inputs[index];
    *layer = (struct keras_layer){.class_name = "Autocast",
                                  .name = path,
                                  .path = path,
                                  .json = config,
                                  .scope = "",
                                  .operation = true,
                                  .autocast = true,
                                  .compute = call->layer->compute};
    struct keras_call *made = build_call(b, layer, input, 1, NULL);
    return made ? made->outputs[0] : NULL;
}

int build_autocast(struct builder *b, struct keras_call *call)
{
    struct keras_layer *layer = call->layer;
    if (layer->autocast || strcmp(layer->class->name, "InputLayer") == 0 || (layer->class->flags & LAYER_NO_AUTOCAST))
        return 0;
    if (layer->class == layer_operation_find(layer->class_name)) {
        layer->compute = common_type(call);
        layer->compute_given = b->dtype != NULL;
    }
    struct keras_value **inputs = NULL;
    for (int i = 0; i < call->input_count; i++) {
        if (!dtype_is_float(call->inputs[i]->dtype) || call->inputs[i]->dtype == layer->compute)
            continue;
        if (!inputs) {
            inputs = ARENA_ARRAY(b->arena, struct keras_value *, (size_t)call->input_count);
            if (!inputs)
                return h5pt_fail_memory(b->err);
            memcpy(inputs, call->inputs, (size_t)call->input_count * sizeof *inputs);
        }
        inputs[i] = cast(b, call, i);
        if (!inputs[i])
            return -1;
    }
    if (inputs)
        call->inputs = inputs;
    return 0;
}
