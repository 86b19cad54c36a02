/* SPDX-License-Identifier: Apache-2.0 */
/* TimeDistributed: the layer or model inside it runs on (batch * time, …). What works on the last axis alone runs on the
 * tensor as it is. */
#include <string.h>

#include "base/words.h"
#include "keras/build.h"
#include "layers/layer.h"

/* Layers that treat every step alike without being told. */
static const char step_by_step[] =
    "Dense Activation ReLU LeakyReLU ELU ThresholdedReLU Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D "
    "AlphaDropout GaussianDropout GaussianNoise ActivityRegularization Identity Rescaling";

struct network *time_distributed_read(struct builder *b, const json_t *entry, const char *name,
                                      const struct network *parent, int depth)
{
    const json_t *config = json_object_get(entry, "config"), *layer = json_object_get(config, "layer");
    const json_t *trainable = json_object_get(config, "trainable");
    json_t *model = json_pack("{s:s, s:{s:s, s:b, s:[O]}}", "class_name", "Sequential", "config", "name", name,
                              "trainable", !json_is_false(trainable), "layers", layer);
    if (!json_is_object(layer)) {
        json_decref(model);
        h5pt_fail(b->err, H5PT_CONFIG_MALFORMED, name, "The TimeDistributed \"%s\" has no layer", name);
        return NULL;
    }
    bool kept = model && json_array_append(b->keep, model) == 0;
    json_decref(model);
    if (!kept) {
        h5pt_fail_memory(b->err);
        return NULL;
    }
    return network_read(b, model, parent, depth);
}

bool time_distributed_is_plain(const struct network *network)
{
    const struct network_layer *inner = &network->layers[0];
    return !inner->nested && word_index(step_by_step, inner->class_name) >= 0;
}

/* Whether a mask would change what a layer inside computes. */
static bool honours_masks(const struct network *network)
{
    for (size_t i = 0; i < network->layer_count; i++) {
        const struct network_layer *entry = &network->layers[i];
        const struct layer_class *class = entry->nested ? NULL : layer_class_find(entry->class_name);
        if (entry->nested ? honours_masks(entry->nested)
                          : class && (class->flags & (LAYER_HONOURS_MASK | LAYER_TAKES_MASK)))
            return true;
    }
    return false;
}

/* (batch, time, …) → (batch * time, …) */
static struct keras_value *to_batch(struct builder *b, const char *path, const char *suffix, struct keras_value *x)
{
    return build_operation(b, path, "TimeToBatch", suffix, (struct keras_value *[]){x}, 1, json_object(),
                           json_pack("[{s:i}]", "tensor", 0));
}

static struct keras_value *to_time(struct builder *b, const char *path, const char *suffix, struct keras_value *x,
                                   struct keras_value *like)
{
    return build_operation(b, path, "BatchToTime", suffix, (struct keras_value *[]){x, like}, 2, json_object(),
                           json_pack("[{s:i}, {s:i}]", "tensor", 0, "tensor", 1));
}

static void refuse_mask(struct builder *b, const struct network *network)
{
    findings_add(b->refusals, H5PT_UNSUPPORTED_MASK, network->scope, "mask",
                 "A mask reaches what is inside TimeDistributed, where it would change the result");
}

/* The mask of the steps of `x` for what is inside: only a mask that goes beyond batch and time has one. */
static int mask_inside(struct builder *b, const struct network *network, struct keras_value *mask,
                       struct keras_value *inside)
{
    if (mask->bad || mask->shape.rank <= 2) {
        if (!mask->bad && honours_masks(network))
            refuse_mask(b, network);
        return 0;
    }
    inside->masked = true;
    inside->mask = to_batch(b, network->scope, "mask_to_batch", mask);
    return inside->mask ? 0 : -1;
}

/* Output masks: Keras 3 hands on the mask of the input as it is; before, it is the mask of what is inside, step by step, and
 * where that has none the steps of which any part is valid. */
static int mask_output(struct builder *b, const struct network *network, struct keras_value *x,
                       struct keras_value *mask, struct keras_value *inside, struct keras_value *out)
{
    if (b->model->version.major >= 3) {
        out->masked = mask != NULL;
        out->mask = mask;
        return 0;
    }
    if (!mask && !inside->masked)
        return 0;
    if (inside->masked) {
        struct keras_value *inner = NULL;
        if (build_mask(b, inside, &inner) < 0)
            return -1;
        out->mask = inner ? to_time(b, network->scope, "mask_to_time", inner, x) : NULL;
        out->masked = out->mask != NULL;
        return inner && !out->mask ? -1 : 0;
    }
    out->mask = mask;
    for (int i = 2; !mask->bad && i < mask->shape.rank; i++) {
        out->mask = build_operation(b, network->scope, "Any", "any_mask", &out->mask, 1,
                                    json_pack("{s:i, s:b}", "axis", -1, "keepdims", 0),
                                    json_pack("[{s:i}]", "tensor", 0));
        if (!out->mask)
            return -1;
    }
    out->masked = true;
    return 0;
}

int time_distributed_enter(struct builder *b, const struct network *network, struct keras_value *x,
                           struct keras_value **mask, struct keras_value **ret)
{
    *ret = to_batch(b, network->scope, "to_batch", x);
    if (!*ret)
        return -1;
    if (!*mask && x->masked && build_mask(b, x, mask) < 0)
        return -1;
    return *mask ? mask_inside(b, network, *mask, *ret) : 0;
}

int time_distributed_leave(struct builder *b, const struct network *network, struct keras_value *x,
                           struct keras_value *mask, struct keras_value *inside, struct keras_value **ret)
{
    *ret = to_time(b, network->scope, "to_time", inside, x);
    if (!*ret)
        return -1;
    return (*ret)->bad ? 0 : mask_output(b, network, x, mask, inside, *ret);
}
