/* SPDX-License-Identifier: Apache-2.0 */
/* SpectralNormalization: at inference simply the layer that it wraps, whose kernel is stored as the last training step
 * normalised it. The wrapper owns the weights: those of the layer, then vector_u. */
#include <string.h>

#include "base/words.h"
#include "layers/layer.h"
#include "layers/lower.h"

/* The layers that have a kernel and give what they are called for, and nothing else. */
static const char wrapped_classes[] = "Dense EinsumDense Conv1D Conv2D Conv3D Conv1DTranspose Conv2DTranspose "
                                      "Conv3DTranspose DepthwiseConv1D DepthwiseConv2D";

struct spectral_config {
    struct keras_layer inner; /* class and configuration of the wrapped layer, with the wrapper's path */
};

static void read_inner(struct config_reader *reader, struct keras_layer *inner)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct config_reader inner_reader;
    inner->config = arena_alloc(reader->arena, 1, inner->class->handler->config_size);
    if (!inner->config ||
        config_begin(&inner_reader, inner, reader->version, reader->arena, reader->refusals, &err) < 0) {
        reader->refusals->broken = true;
        return;
    }
    inner->class->handler->read(&inner_reader, inner->config, inner->class->variant);
    config_check_policy(&inner_reader);
    config_finish(&inner_reader);
}

static void spectral_read(struct config_reader *reader, void *config, int variant)
{
    struct spectral_config *c = config;
    (void)variant;
    config_ignore(reader, "power_iterations");
    const json_t *json = config_get(reader, "layer"), *settings = json_object_get(json, "config");
    const char *class_name = config_class_name(json);
    const struct layer_class *class = class_name ? layer_class_find(class_name) : NULL;
    if (!class || word_index(wrapped_classes, class->name) < 0 || !json_is_object(settings)) {
        config_refuse(reader, H5PT_UNSUPPORTED_LAYER, "layer",
                      "SpectralNormalization of the layer class \"%.60s\" is not supported",
                      class_name ? class_name : "?");
        return;
    }
    c->inner = *reader->layer;
    c->inner.class = class;
    c->inner.class_name = class_name;
    c->inner.json = settings;
    c->inner.trainable = c->inner.trainable && !json_is_false(json_object_get(settings, "trainable"));
    read_inner(reader, &c->inner);
}

static int spectral_shape(struct layer_shape *s)
{
    const struct spectral_config *c = s->config;
    struct layer_shape inner = *s;
    inner.layer = &c->inner;
    inner.config = c->inner.config;
    if (c->inner.class->handler->shape(&inner) < 0)
        return -1;
    inner.layer = s->layer;
    inner.config = s->config;
    *s = inner;
    for (int i = 0; i < s->weight_count; i++)
        if (strcmp(s->weights[i].slot, "kernel") == 0) {
            const struct shape *kernel = &s->weights[i].shape;
            layer_weight(s, "vector_u", 2, (const int64_t[]){1, kernel->dims[kernel->rank - 1]});
            return 0;
        }
    return layer_shape_fail(s, "%s has no kernel to be normalised", c->inner.class_name);
}

/* The wrapped layer as it is when the wrapper is `outer`: with its weights but vector_u. */
static struct keras_layer wrapped(const struct keras_layer *outer)
{
    const struct spectral_config *c = outer->config;
    struct keras_layer inner = c->inner;
    inner.call_count = outer->call_count;
    inner.built = outer->built;
    inner.weight_count = outer->weight_count - 1;
    memcpy(inner.weights, outer->weights, sizeof inner.weights);
    return inner;
}

static int spectral_reference(const struct layer_run *run)
{
    struct keras_layer layer = wrapped(run->layer);
    struct layer_run inner = *run;
    inner.layer = &layer;
    inner.config = layer.config;
    return layer.class->handler->reference(&inner);
}

/* Nodes keep the call that they came from, so this one lives as long as the graph. */
static int spectral_lower(struct lowering *l, const struct keras_call *call)
{
    struct keras_layer *layer = ARENA_NEW(lower_arena(l), struct keras_layer);
    struct keras_call *inner = ARENA_NEW(lower_arena(l), struct keras_call);
    if (!layer || !inner)
        return -1;
    *layer = wrapped(call->layer);
    *inner = *call;
    inner->layer = layer;
    return layer->class->handler->lower(l, inner);
}

const struct layer_handler spectral_handler = {
    .config_size = sizeof(struct spectral_config),
    .read = spectral_read,
    .shape = spectral_shape,
    .reference = spectral_reference,
    .lower = spectral_lower,
};
