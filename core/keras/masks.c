/* SPDX-License-Identifier: Apache-2.0 */
/* Masks made explicit. Keras carries a mask along with a tensor; here it is a value of its own, made of the operations that
 * Keras 3 writes for it, once a layer asks for it. */
#include <string.h>

#include "keras/build.h"
#include "layers/axes.h"
#include "layers/embedding.h"
#include "layers/layer.h"

static bool is_class(const struct keras_call *call, const char *name)
{
    return call->layer->class && strcmp(call->layer->class->name, name) == 0;
}

/* The axis of a Concatenate, counted from the front. */
static int concatenate_axis(const struct keras_call *call)
{
    const json_t *axis = json_object_get(call->layer->json, "axis");
    return axis_resolve(json_is_integer(axis) ? json_integer_value(axis) : -1, call->outputs[0]->shape.rank);
}

/* Whether the masks of the tensors that a layer merges give one for the result. In Keras 3 a tensor without a mask is one of
 * which every step counts, so that none is left where steps that any keeps are kept. */
static bool merged_masked(const struct builder *b, const struct keras_call *call, int rank)
{
    int count = layer_tensor_count(call->input_count, call->mask_of), masked = 0;
    for (int i = 0; i < count; i++)
        masked += call->inputs[i]->masked;
    if (b->model->version.major < 3)
        return masked > 0;
    const json_t *axis = json_object_get(call->layer->json, "axis");
    bool along_steps = is_class(call, "Concatenate") && json_is_integer(axis) &&
                       axis_resolve(json_integer_value(axis), rank) < rank - 1;
    return along_steps ? masked > 0 : masked == count;
}

bool build_output_masked(struct builder *b, const struct keras_call *call, const struct shape *output,
                         const struct keras_value *given)
{
    unsigned flags = call->layer->class->flags;
    bool masked = false;
    for (int i = 0; i < call->input_count; i++)
        masked = masked || call->inputs[i]->masked;
    /* Merging layers take masks since Keras 3; before, they only combined them. GroupNormalization has lost its own since. */
    bool honours = (flags & LAYER_HONOURS_MASK) && (!(flags & LAYER_MERGE) || b->model->version.major >= 3) &&
                   !(is_class(call, "GroupNormalization") && b->model->version.major >= 3);
    if (masked && honours && !(flags & LAYER_TAKES_MASK))
        findings_add(b->refusals, H5PT_UNSUPPORTED_MASK, call->layer->path, "mask",
                     "A mask (from mask_zero or Masking) reaches %s, which would have to honour it",
                     call->layer->class_name);
    if (is_class(call, "Masking") || embedding_masks(call))
        return true;
    if (!(flags & LAYER_KEEPS_MASK) || call->input_count < 1)
        return false;
    /* The last state of a recurrent layer has no time axis left to be masked. */
    if (output->rank < call->inputs[0]->shape.rank)
        return false;
    if (flags & LAYER_MERGE)
        return merged_masked(b, call, output->rank);
    return given || layer_mask(call->mask_of, 0) >= 0 || call->inputs[0]->masked;
}

void build_remove_masks(struct builder *b, const struct keras_call *call)
{
    int count = layer_tensor_count(call->input_count, call->mask_of);
    for (int i = 0; b->model->version.major >= 3 && is_class(call, "MultiHeadAttention") && i < count; i++)
        call->inputs[i]->masked = false;
}

struct keras_value *build_operation(struct builder *b, const char *path, const char *class_name, const char *suffix,
                                    struct keras_value *const *inputs, int input_count, json_t *config, json_t *args)
{
    struct keras_layer *layer = ARENA_NEW(b->arena, struct keras_layer);
    struct keras_value **kept = ARENA_ARRAY(b->arena, struct keras_value *, (size_t)input_count + 1);
    path = arena_printf(b->arena, "%s/%s", path, suffix);
    json_t *arguments = json_pack("{s:o, s:{}}", "args", args, "kwargs");
    bool ok = layer && kept && path && config && arguments && json_array_append(b->keep, config) == 0 &&
              json_array_append(b->keep, arguments) == 0;
    json_decref(config);
    json_decref(arguments);
    if (!ok) {
        h5pt_fail_memory(b->err);
        return NULL;
    }
    for (int i = 0; i < input_count; i++)
        kept[i] = inputs[i];
    *layer = (struct keras_layer){.class_name = class_name,
                                  .name = path,
                                  .path = path,
                                  .json = config,
                                  .scope = "",
                                  .operation = !json_object_get(config, "trainable")};
    struct keras_call *call = build_call(b, layer, kept, input_count, arguments);
    return call ? call->outputs[0] : NULL;
}

/* ids != 0 */
static struct keras_value *mask_of_ids(struct builder *b, const struct keras_call *call)
{
    return build_operation(b, call->layer->path, "NotEqual", "mask", call->inputs, 1, json_object(),
                           json_pack("[{s:i}, i]", "tensor", 0, 0));
}

/* any(x != mask_value, axis=-1) */
static struct keras_value *mask_of_steps(struct builder *b, const struct keras_call *call)
{
    json_t *value = json_object_get(call->layer->json, "mask_value");
    json_t *args = json_pack("[{s:i}]", "tensor", 0);
    (void)json_array_append_new(args, value ? json_incref(value) : json_real(0));
    struct keras_value *differs = build_operation(b, call->layer->path, "NotEqual", "differs", call->inputs, 1,
                                                  json_object(), args);
    return differs ? build_operation(b, call->layer->path, "Any", "mask", &differs, 1,
                                     json_pack("{s:[i], s:b}", "axis", -1, "keepdims", 0),
                                     json_pack("[{s:i}]", "tensor", 0))
                   : NULL;
}

/* The masks of the tensors that have one, together: Keras 3 takes steps that any keeps, before that those that all keep. */
static int combined_mask(struct builder *b, const struct keras_call *call, struct keras_value **ret)
{
    const char *operation = b->model->version.major >= 3 ? "LogicalOr" : "LogicalAnd";
    int count = layer_tensor_count(call->input_count, call->mask_of);
    *ret = NULL;
    for (int i = 0; i < count; i++) {
        struct keras_value *mask = NULL;
        if (!call->inputs[i]->masked)
            continue;
        if (build_mask(b, call->inputs[i], &mask) < 0)
            return -1;
        if (!mask || !*ret || mask == *ret) {
            *ret = mask ? mask : *ret;
            continue;
        }
        const char *suffix = arena_printf(b->arena, "mask_%d", i);
        if (!suffix)
            return h5pt_fail_memory(b->err);
        *ret = build_operation(b, call->layer->path, operation, suffix, (struct keras_value *[]){*ret, mask}, 2,
                               json_object(), json_pack("[{s:i}, {s:i}]", "tensor", 0, "tensor", 1));
        if (!*ret)
            return -1;
    }
    return 0;
}

/* The masks of tensors that are joined along their steps, joined. */
static int joined_mask(struct builder *b, const struct keras_call *call, struct keras_value **ret)
{
    int count = layer_tensor_count(call->input_count, call->mask_of);
    struct keras_value **masks = ARENA_ARRAY(b->arena, struct keras_value *, (size_t)count);
    bool all = call->outputs[0]->shape.rank == 3 && concatenate_axis(call) == 1;
    if (!masks)
        return h5pt_fail_memory(b->err);
    for (int i = 0; i < count; i++) {
        all = all && call->inputs[i]->masked;
        if (all && build_mask(b, call->inputs[i], &masks[i]) < 0)
            return -1;
        all = all && masks[i];
    }
    if (!all) {
        findings_add(
            b->refusals, H5PT_UNSUPPORTED_MASK, call->layer->path, "mask",
            "The mask of tensors that are concatenated along this axis is supported for sequences that all have one");
        *ret = NULL;
        return 0;
    }
    *ret = build_operation(b, call->layer->path, "Concatenate", "mask", masks, count,
                           json_pack("{s:i, s:b}", "axis", 1, "trainable", 0), json_array());
    return *ret ? 0 : -1;
}

/* The mask of the first input, which the call may have got itself. */
static int kept_mask(struct builder *b, const struct keras_call *call, struct keras_value **ret)
{
    int index = layer_mask(call->mask_of, 0);
    if (index < 0)
        return build_mask(b, call->inputs[0], ret);
    *ret = call->inputs[index];
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
    if (call->layer->class && embedding_masks(call)) {
        mask = mask_of_ids(b, call);
        status = mask ? 0 : -1;
    } else if (is_class(call, "Masking")) {
        mask = mask_of_steps(b, call);
        status = mask ? 0 : -1;
    } else if (!(call->layer->class->flags & LAYER_MERGE)) {
        status = kept_mask(b, call, &mask);
    } else if (is_class(call, "Concatenate") && concatenate_axis(call) != call->outputs[0]->shape.rank - 1) {
        status = joined_mask(b, call, &mask);
    } else {
        status = combined_mask(b, call, &mask);
    }
    if (status < 0)
        return b->err->code ? -1 : h5pt_fail_memory(b->err);
    value->mask = mask;
    *ret = mask && !mask->bad ? mask : NULL;
    return 0;
}
