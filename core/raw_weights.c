/* SPDX-License-Identifier: Apache-2.0 */
#include "raw_weights.h"

#include <jansson.h>
#include <string.h>

const char *raw_weight_name(const struct source_tensor *tensor)
{
    static const char group[] = "/model_weights/";
    const char *path = tensor->object;
    if (strncmp(path, group, sizeof group - 1) == 0)
        return path + sizeof group - 1;
    return path + strspn(path, "/");
}

static struct torch_parameter raw_parameter(const struct source_tensor *tensor)
{
    struct torch_parameter p = {
        .name = raw_weight_name(tensor),
        .source = tensor,
        .dtype = tensor->dtype,
        .shape = tensor->shape,
        .keras = tensor->object,
        .rearrangement = {.view = tensor->shape, .shape = tensor->shape},
    };
    for (int i = 0; i < tensor->shape.rank; i++)
        p.rearrangement.axes[i] = i;
    return p;
}

/* A tensor that two layers list is taken once. */
static int add_layer(const struct source_layer *layer, json_t *seen, struct findings *refusals,
                     struct torch_graph *graph, struct h5pt_error *err)
{
    for (size_t i = 0; i < layer->tensor_count; i++) {
        const struct source_tensor *tensor = &layer->tensors[i];
        const char *name = raw_weight_name(tensor);
        if (json_object_get(seen, name))
            continue;
        if (json_object_set_new(seen, name, json_true()) < 0)
            return h5pt_fail_memory(err);
        if (!dtype_torch_storage(tensor->dtype))
            findings_add(refusals, H5PT_UNSUPPORTED_DTYPE, layer->name, tensor->name,
                         "%.200s is of type %s, which PyTorch has not", tensor->object, dtype_name(tensor->dtype));
        graph->parameters[graph->parameter_count++] = raw_parameter(tensor);
    }
    return 0;
}

int raw_weights_graph(const struct source *source, struct arena *arena, struct findings *refusals,
                      struct torch_graph *ret, struct h5pt_error *err)
{
    struct torch_graph graph = {.arena = arena, .name = "Model"};
    size_t count = 0;
    for (size_t i = 0; i < source_layer_count(source); i++)
        count += source_layer(source, i)->tensor_count;
    json_t *seen = json_object();
    graph.parameters = ARENA_ARRAY(arena, struct torch_parameter, count + 1);
    int status = seen && graph.parameters ? 0 : h5pt_fail_memory(err);
    for (size_t i = 0; i < source_layer_count(source) && status == 0; i++)
        status = add_layer(source_layer(source, i), seen, refusals, &graph, err);
    json_decref(seen);
    if (status == 0)
        *ret = graph;
    return status;
}
