/* SPDX-License-Identifier: Apache-2.0 */
/* Masks made explicit. Keras carries a mask along with a tensor; here it is a value of its own, made of the operations that
 * Keras 3 writes for it, once a layer asks for it. */
#include <string.h>

#include "keras/build.h"
#include "layers/embedding.h"
#include "layers/layer.h"

static bool is_class(const struct keras_call *call, const char *name)
{
    return strcmp(call->layer->class->name, name) == 0;
}

bool build_output_masked(struct builder *b, const struct keras_call *call, const struct shape *output)
{
    const struct layer_class *class = call->layer->class;
    bool masked = false;
    for (int i = 0; i < call->input_count; i++)
        masked = masked || call->inputs[i]->masked;
    /* Merging layers take masks since Keras 3; before, they only combined them. */
    bool honours = (class->flags & LAYER_HONOURS_MASK) && (!(class->flags & LAYER_MERGE) || b->model->version.major >= 3);
    if (masked && honours && !(class->flags & LAYER_TAKES_MASK))
        findings_add(b->refusals, H5PT_UNSUPPORTED_MASK, call->layer->path, "mask",
                     "A mask (from mask_zero or Masking) reaches %s, which would have to honour it", call->layer->class_name);
    if (is_class(call, "Masking") || (is_class(call, "Embedding") && embedding_masks(call->layer->config)))
        return true;
    /* The last state of a recurrent layer has no time axis left to be masked. */
    return masked && (class->flags & LAYER_KEEPS_MASK) && output->rank >= call->inputs[0]->shape.rank;
}

/* Calls an operation on some tensors. `config` and `args` are new references. NULL: b->err, or a refusal. */
static struct keras_value *operate(struct builder *b, const struct keras_layer *origin, const char *class_name,
                                   const char *suffix, struct keras_value **inputs, int input_count, json_t *config,
                                   json_t *args)
{
    struct keras_layer *layer = ARENA_NEW(b->arena, struct keras_layer);
    const char *path = arena_printf(b->arena, "%s/%s", origin->path, suffix);
    json_t *arguments = json_pack("{s:o, s:{}}", "args", args, "kwargs");
    bool ok = layer && path && config && arguments && json_array_append(b->keep, config) == 0 &&
              json_array_append(b->keep, arguments) == 0;
    json_decref(config);
    json_decref(arguments);
    if (!ok) {
        h5pt_fail_memory(b->err);
        return NULL;
    }
    *layer = (struct keras_layer){
        .class_name = class_name, .name = path, .path = path, .json = config, .scope = "", .operation = true};
    struct keras_call *call = build_call(b, layer, inputs, input_count, arguments);
    return call ? call->outputs[0] : NULL;
}

static struct keras_value **keep_inputs(struct builder *b, struct keras_value *first, struct keras_value *second)
{
    struct keras_value **inputs = ARENA_ARRAY(b->arena, struct keras_value *, 2);
    if (!inputs) {
        h5pt_fail_memory(b->err);
        return NULL;
    }
    inputs[0] = first;
    inputs[1] = second;
    return inputs;
}

/* ids != 0 */
static struct keras_value *mask_of_ids(struct builder *b, const struct keras_call *call)
{
    struct keras_value **inputs = keep_inputs(b, call->inputs[0], NULL);
    return inputs ? operate(b, call->layer, "NotEqual", "mask", inputs, 1, json_object(),
                            json_pack("[{s:i}, i]", "tensor", 0, 0))
                  : NULL;
}

/* any(x != mask_value, axis=-1) */
static struct keras_value *mask_of_steps(struct builder *b, const struct keras_call *call)
{
    json_t *value = json_object_get(call->layer->json, "mask_value");
    struct keras_value **inputs = keep_inputs(b, call->inputs[0], NULL);
    json_t *args = json_pack("[{s:i}]", "tensor", 0);
    (void)json_array_append_new(args, value ? json_incref(value) : json_real(0));
    if (!inputs) {
        json_decref(args);
        return NULL;
    }
    struct keras_value *differs = operate(b, call->layer, "NotEqual", "differs", inputs, 1, json_object(), args);
    inputs = differs ? keep_inputs(b, differs, NULL) : NULL;
    return inputs ? operate(b, call->layer, "Any", "mask", inputs, 1, json_pack("{s:[i], s:b}", "axis", -1, "keepdims", 0),
                            json_pack("[{s:i}]", "tensor", 0))
                  : NULL;
}

/* The masks of the inputs that have one, together: Keras 3 takes steps that any keeps, before that those that all keep. */
static int combined_mask(struct builder *b, const struct keras_call *call, struct keras_value **ret)
{
    const char *operation = b->model->version.major >= 3 ? "LogicalOr" : "LogicalAnd";
    *ret = NULL;
    for (int i = 0; i < call->input_count; i++) {
        struct keras_value *mask = NULL;
        if (!call->inputs[i]->masked)
            continue;
        if (build_mask(b, call->inputs[i], &mask) < 0)
            return -1;
        if (!mask || !*ret || mask == *ret) {
            *ret = mask ? mask : *ret;
            continue;
        }
        struct keras_value **inputs = keep_inputs(b, *ret, mask);
        const char *suffix = arena_printf(b->arena, "mask_%d", i);
        if (!inputs || !suffix)
            return h5pt_fail_memory(b->err);
        *ret = operate(b, call->layer, operation, suffix, inputs, 2, json_object(),
                       json_pack("[{s:i}, {s:i}]", "tensor", 0, "tensor", 1));
        if (!*ret)
            return -1;
    }
    return 0;
}

int build_mask(struct builder *b, struct keras_value *value, struct keras_value **ret)
{
    const struct keras_call *call = value->call;
    struct keras_value *mask = value->mask;
    int status = 0;
    if (mask) {
        *ret = mask;
        return 0;
    }
    if (is_class(call, "Embedding")) {
        mask = mask_of_ids(b, call);
        status = mask ? 0 : -1;
    } else if (is_class(call, "Masking")) {
        mask = mask_of_steps(b, call);
        status = mask ? 0 : -1;
    } else if (is_class(call, "Concatenate")) {
        findings_add(b->refusals, H5PT_UNSUPPORTED_MASK, call->layer->path, "mask",
                     "The mask of concatenated tensors is not supported");
    } else {
        status = combined_mask(b, call, &mask);
    }
    if (status < 0)
        return b->err->code ? -1 : h5pt_fail_memory(b->err);
    value->mask = mask;
    *ret = mask && !mask->bad ? mask : NULL;
    return 0;
}
