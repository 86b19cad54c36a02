/* SPDX-License-Identifier: Apache-2.0 */
/* The inputs of the outermost network: its InputLayers, or what stands for them in a Sequential without one. */
#include <string.h>

#include "keras/node.h"
#include "layers/layer.h"

/* The input shape of a Sequential without InputLayer: told by its first layer, or by the Sequential itself. */
static const json_t *first_shape(const struct network *network, const struct network_layer *first)
{
    const json_t *shape = json_object_get(first->config, "batch_input_shape");
    if (!shape)
        shape = json_object_get(first->config, "batch_shape");
    return shape ? shape : network->build_shape;
}

/* Old Keras can lose the input shape altogether; the kernel of the first layer still tells the channels. */
static json_t *shape_from_kernel(const struct builder *b, const struct network_layer *first)
{
    static const struct {
        const char *class_name;
        int rank;
    } known[] = {{"Dense", 2}, {"Conv1D", 3}, {"Conv2D", 4}, {"Conv3D", 5}};
    for (size_t i = 0; i < source_layer_count(b->source); i++) {
        const struct source_layer *layer = source_layer(b->source, i);
        if (strcmp(layer->name, first->name) != 0 || layer->tensor_count == 0)
            continue;
        const struct shape *kernel = &layer->tensors[0].shape;
        for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
            if (strcmp(first->class_name, known[k].class_name) != 0 || kernel->rank != known[k].rank)
                continue;
            json_t *shape = json_array();
            for (int axis = 0; axis + 1 < kernel->rank; axis++)
                (void)json_array_append_new(shape, json_null());
            (void)json_array_append_new(shape, json_integer(kernel->dims[kernel->rank - 2]));
            return shape;
        }
    }
    return NULL;
}

static struct keras_layer *make_input_layer(struct builder *b, const struct network *network,
                                            struct network_layer *first)
{
    const json_t *known = first_shape(network, first);
    json_t *shape = known && !json_is_null(known) ? json_deep_copy(known) : shape_from_kernel(b, first);
    const json_t *dtype = json_object_get(first->config, "dtype");
    json_t *config = json_pack("{s:o?, s:s}", "batch_input_shape", shape, "dtype",
                               json_is_string(dtype) ? json_string_value(dtype) : "float32");
    struct keras_layer *layer = ARENA_NEW(b->arena, struct keras_layer);
    const char *name = arena_printf(b->arena, "%s_input", first->name);
    if (!layer || !name || !config || json_array_append(b->keep, config) < 0) {
        json_decref(config);
        h5pt_fail_memory(b->err);
        return NULL;
    }
    json_decref(config);
    *layer = (struct keras_layer){.class_name = "InputLayer", .name = name, .path = name, .json = config, .scope = ""};
    return layer;
}

/* The layer that stands for the input of a Sequential, or for input `index` of a functional network. */
static struct keras_layer *input_layer_of(struct builder *b, struct network *network, const struct network_ref *ref)
{
    if (!network->sequential) {
        struct network_layer *entry = network_find(network, ref->layer);
        if (entry && network_is_input(entry))
            return entry->layer;
        h5pt_fail(b->err, H5PT_CONFIG_MALFORMED, network->name, "The input \"%.80s\" is not an InputLayer", ref->layer);
        return NULL;
    }
    if (network->layer_count == 0) {
        h5pt_fail(b->err, H5PT_CONFIG_MALFORMED, network->name, "The model has no layers");
        return NULL;
    }
    struct network_layer *first = &network->layers[0];
    if (network_is_input(first))
        return first->layer;
    if (!first->nested || first->time_distributed)
        return make_input_layer(b, network, first);
    struct node refs = {.state = NODE_NEW};
    if (!first->nested->sequential && node_read_refs(b, first->nested, first->nested->inputs, &refs) < 0)
        return NULL;
    return input_layer_of(b, first->nested, refs.refs);
}

int expand_inputs(struct builder *b, struct network *root)
{
    struct node refs = {.ref_count = 1};
    struct network_ref none = {.layer = ""};
    refs.refs = &none;
    if (!root->sequential) {
        refs = (struct node){.state = NODE_NEW};
        if (node_read_refs(b, root, root->inputs, &refs) < 0)
            return -1;
    }
    if (refs.ref_count == 0)
        return h5pt_fail(b->err, H5PT_CONFIG_MALFORMED, root->name, "The model has no inputs");
    struct keras_model *model = b->model;
    model->inputs = ARENA_ARRAY(b->arena, struct keras_value *, (size_t)refs.ref_count);
    model->input_names = ARENA_ARRAY(b->arena, const char *, (size_t)refs.ref_count);
    if (!model->inputs || !model->input_names)
        return h5pt_fail_memory(b->err);
    for (int i = 0; i < refs.ref_count; i++) {
        struct keras_layer *layer = input_layer_of(b, root, &refs.refs[i]);
        struct keras_call *call = layer ? build_call(b, layer, NULL, 0, NULL) : NULL;
        if (!call)
            return -1;
        model->inputs[i] = call->outputs[0];
        model->input_names[i] = layer->name;
    }
    model->input_count = refs.ref_count;
    return 0;
}
