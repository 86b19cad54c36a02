/* SPDX-License-Identifier: Apache-2.0 */
#include "keras/build.h"

#include <string.h>

#include "base/json.h"
#include "base/words.h"
#include "keras/functions.h"
#include "layers/layer.h"

/* Doubles an array of pointers in the arena when it is full. */
static int grow(struct builder *b, void *array_address, int count, int *capacity)
{
    void ***array = array_address;
    if (count < *capacity)
        return 0;
    int wanted = *capacity ? *capacity * 2 : 64;
    void **fresh = ARENA_ARRAY(b->arena, void *, (size_t)wanted);
    if (!fresh)
        return h5pt_fail_memory(b->err);
    if (count)
        memcpy(fresh, *array, (size_t)count * sizeof *fresh);
    *array = fresh;
    *capacity = wanted;
    return 0;
}

/* Operations of a Keras 3 graph share names with layers (Add, Reshape …) but have neither of the keys that layers have; some
 * that share no name (Cast, OneHot …) have a dtype. */
bool build_is_operation(const struct builder *b, const struct keras_layer *layer)
{
    if (layer->operation)
        return true;
    if (b->model->version.major < 3 || strcmp(layer->class_name, "InputLayer") == 0 ||
        json_object_get(layer->json, "trainable"))
        return false;
    return !json_object_get(layer->json, "dtype") ||
           ((layer_operation_find(layer->class_name) || function_find("composed", layer->class_name)) &&
            !layer_class_find(layer->class_name));
}

/* Classes that no torch module can do the work of, and why. */
static const struct {
    const char *names, *why;
} beyond_torch[] = {
#define BEYOND_TORCH(names, why) {names, why},
#include "keras/beyond_torch.def"
#undef BEYOND_TORCH
};

static const char *why_beyond_torch(const char *class_name)
{
    for (size_t i = 0; i < sizeof beyond_torch / sizeof *beyond_torch; i++)
        if (word_index(beyond_torch[i].names, class_name) >= 0)
            return beyond_torch[i].why;
    return NULL;
}

static const struct layer_class *find_class(const struct builder *b, const struct keras_layer *layer)
{
    if (layer->registered) /* a few are known: "Custom>CustomScaleLayer" of keras.applications */
        return layer_class_find(layer->registered);
    return build_is_operation(b, layer) ? layer_operation_find(layer->class_name) : layer_class_find(layer->class_name);
}

static void refuse_class(struct builder *b, const struct keras_layer *layer)
{
    const char *why = why_beyond_torch(layer->class_name);
    bool operation = build_is_operation(b, layer);
    enum h5pt_code code = operation ? H5PT_UNSUPPORTED_OPERATION : H5PT_UNSUPPORTED_LAYER;
    const char *kind = operation ? "The Keras operation" : "The layer class";
    if (layer->registered)
        findings_add(b->refusals, H5PT_UNSUPPORTED_LAYER, layer->path, "registered_name",
                     "The class \"%.80s\" is the user's own: what it computes is code that is not in the file",
                     layer->registered);
    else if (why)
        findings_add(b->refusals, code, layer->path, "class_name", "%s %.80s %s", kind, layer->class_name, why);
    else
        findings_add(b->refusals, code, layer->path, "class_name", "%s \"%.80s\" is not supported", kind,
                     layer->class_name);
}

static void read_policy(struct builder *b, struct config_reader *reader)
{
    const char *mixed;
    config_read_policy(reader, &mixed);
    if (b->dtype) {
        reader->layer->compute = *b->dtype;
        reader->layer->compute_given = true;
    }
    if (!mixed || b->dtype)
        return;
    if (b->model->mixed != DTYPE_BF16) /* the coarser one counts */
        b->model->mixed = strcmp(mixed, "mixed_float16") == 0 ? DTYPE_F16 : DTYPE_BF16;
    findings_add(
        b->warnings, H5PT_MIXED_PRECISION, "", "dtype",
        "The policy %s lets Keras compute in 16 bits from float32 weights. The module has the same weights and "
        "computes in float32; results differ by the rounding of the 16 bits. torch.autocast gives the same trade",
        mixed);
}

int build_prepare(struct builder *b, struct keras_layer *layer)
{
    if (layer->prepared)
        return 0;
    layer->prepared = true;
    if (grow(b, &b->model->layers, b->model->layer_count, &b->layer_capacity) < 0)
        return -1;
    b->model->layers[b->model->layer_count++] = layer;
    const struct layer_class *class = find_class(b, layer);
    if (!class) {
        refuse_class(b, layer);
        return 0;
    }
    struct config_reader reader;
    size_t before = b->refusals->count;
    layer->class = class;
    layer->config = arena_alloc(b->arena, 1, class->handler->config_size);
    if (!layer->config)
        return h5pt_fail_memory(b->err);
    if (config_begin(&reader, layer, b->model->version, b->arena, b->refusals, b->err) < 0)
        return -1;
    reader.warnings = b->warnings;
    if (!(class->flags & LAYER_OWN_DTYPE) && !build_is_operation(b, layer))
        read_policy(b, &reader); /* first: it holds for the layers inside, too */
    class->handler->read(&reader, layer->config, class->variant);
    config_finish(&reader);
    if (b->refusals->count != before)
        layer->class = NULL;
    return 0;
}

/* A low-rank update is stored beside the kernel, in two weights that come last here. Files of numbered variables hold the
 * kernel with the update in it. */
static int declare_low_rank(struct builder *b, struct keras_layer *layer)
{
    static const char *const slots[][3] = {{"kernel", "lora_kernel_a", "lora_kernel_b"},
                                           {"embeddings", "lora_embeddings_a", "lora_embeddings_b"}};
    struct keras_weight *a = &layer->weights[layer->weight_count], *w = NULL;
    size_t names = 0;
    for (int i = 0; i < layer->weight_count; i++)
        for (size_t k = 0; k < sizeof slots / sizeof *slots; k++)
            if (strcmp(layer->weights[i].slot, slots[k][0]) == 0) {
                w = &layer->weights[i];
                names = k;
            }
    if (!layer->low_rank || source_is_numbered(b->source))
        return 0;
    if (!w || w->shape.rank < 1 || layer->weight_count + 2 > LAYER_MAX_WEIGHTS)
        return h5pt_fail(b->err, H5PT_UNSUPPORTED_CONFIG, "lora_rank",
                         "The layer has no kernel that could have a low-rank update");
    int last = w->shape.rank - 1;
    a[0] = (struct keras_weight){.slot = slots[names][1], .shape = w->shape};
    a[0].shape.dims[last] = layer->low_rank;
    a[1] = (struct keras_weight){.slot = slots[names][2],
                                 .shape = shape_of(2, (const int64_t[]){layer->low_rank, w->shape.dims[last]})};
    w->low_rank_a = &a[0];
    w->low_rank_b = &a[1];
    w->low_rank_scale = layer->low_rank_scale;
    layer->weight_count += 2;
    return 0;
}

static int declare_weights(struct builder *b, struct keras_layer *layer, const struct layer_shape *s)
{
    if (layer->built) {
        for (int i = 0; i < s->weight_count; i++)
            if (i >= layer->weight_count || !shape_equal(&layer->weights[i].shape, &s->weights[i].shape))
                return h5pt_fail(b->err, H5PT_SHAPE_MISMATCH, NULL,
                                 "The calls of the shared layer need different weights");
        return 0;
    }
    layer->built = true;
    layer->weight_count = s->weight_count;
    for (int i = 0; i < s->weight_count; i++)
        layer->weights[i] = (struct keras_weight){.slot = s->weights[i].slot, .shape = s->weights[i].shape};
    return declare_low_rank(b, layer);
}

/* Whether input `index` is the mask of another. */
static bool is_mask(const struct keras_call *call, int index)
{
    for (int i = 0; call->mask_of && i < call->input_count; i++)
        if (call->mask_of[i] == index)
            return true;
    return false;
}

/* Shapes, dtypes, weights and the mask of the outputs; a refusal when they do not work out. */
static int infer(struct builder *b, struct keras_call *call, struct layer_shape *s)
{
    struct keras_layer *layer = call->layer;
    const struct layer_class *class = layer->class;
    bool takes_any = (class->flags & LAYER_ANY_DTYPE) != 0;
    for (int i = 0; i < call->input_count; i++)
        if (!takes_any && !is_mask(call, i) && !dtype_is_float(call->inputs[i]->dtype))
            return h5pt_fail(b->err, H5PT_UNSUPPORTED_DTYPE, "dtype",
                             "The input is of type %s; a floating-point type is needed here",
                             dtype_name(call->inputs[i]->dtype));
    bool input_layer = strcmp(class->name, "InputLayer") == 0;
    if (!(class->flags & (LAYER_MERGE | LAYER_ARGUMENTS | LAYER_TAKES_MASK)) &&
        call->input_count != (input_layer ? 0 : 1))
        return h5pt_fail(b->err, H5PT_UNSUPPORTED_CALL_ARGUMENT, "inputs", "%s takes one tensor, but is called with %d",
                         layer->class_name, call->input_count);
    if ((class->flags & LAYER_MERGE) && call->input_count < 1)
        return h5pt_fail(b->err, H5PT_GRAPH_INVALID, "inputs", "%s is called without tensors", layer->class_name);
    if (class->handler->shape(s) < 0)
        return -1;
    for (int i = 0; i < s->output_count; i++) {
        if (input_layer && b->dtype && dtype_is_float(s->output_dtypes[i]))
            s->output_dtypes[i] = *b->dtype;
        else if (!input_layer && s->output_dtypes[i] == DTYPE_F32)
            s->output_dtypes[i] = layer->compute;
    }
    if (s->outputs[0].rank > 0)
        s->outputs[0].dims[0] = s->outputs[0].dims[0] < 0 ? DIM_UNKNOWN : s->outputs[0].dims[0];
    return declare_weights(b, layer, s);
}

static struct keras_value *value_new(struct builder *b, struct keras_call *call, int index)
{
    struct keras_value *value = ARENA_NEW(b->arena, struct keras_value);
    if (!value) {
        h5pt_fail_memory(b->err);
        return NULL;
    }
    *value = (struct keras_value){
        .dtype = DTYPE_F32, .bad = true, .call = call, .index = index, .id = b->model->value_count++};
    return value;
}

/* `mask`: the one that the call was given for its first input although its class takes none, or NULL. */
static int add_outputs(struct builder *b, struct keras_call *call, int count, const struct layer_shape *s,
                       struct keras_value *mask)
{
    call->output_count = count;
    call->outputs = ARENA_ARRAY(b->arena, struct keras_value *, (size_t)count + 1);
    if (!call->outputs)
        return h5pt_fail_memory(b->err);
    bool masked = s && build_output_masked(b, call, &s->outputs[0], mask);
    for (int i = 0; i < count; i++) {
        struct keras_value *value = call->outputs[i] = value_new(b, call, i);
        if (!value)
            return -1;
        if (s) {
            value->shape = s->outputs[i];
            value->dtype = s->output_dtypes[i];
            value->masked = masked && i == 0;
            value->mask = value->masked ? mask : NULL;
            value->bad = false;
        }
    }
    return 0;
}

static bool any_bad(const struct keras_call *call)
{
    for (int i = 0; i < call->input_count; i++)
        if (call->inputs[i]->bad)
            return true;
    return false;
}

static int infer_outputs(struct builder *b, struct keras_call *call, struct keras_value *mask)
{
    if (!call->layer->class || any_bad(call))
        return add_outputs(b, call, 1, NULL, NULL);
    struct shape *shapes = ARENA_ARRAY(b->arena, struct shape, (size_t)call->input_count + 1);
    enum dtype *dtypes = ARENA_ARRAY(b->arena, enum dtype, (size_t)call->input_count + 1);
    if (!shapes || !dtypes)
        return h5pt_fail_memory(b->err);
    for (int i = 0; i < call->input_count; i++) {
        shapes[i] = call->inputs[i]->shape;
        dtypes[i] = layer_dtype(call->inputs[i]->dtype);
    }
    struct layer_shape s = {
        .layer = call->layer,
        .config = call->layer->config,
        .input_count = call->input_count,
        .inputs = shapes,
        .input_dtypes = dtypes,
        .arguments = call->arguments,
        .mask_of = call->mask_of,
        .output_count = 1,
        .err = b->err,
    };
    if (infer(b, call, &s) == 0)
        return add_outputs(b, call, s.output_count, &s, mask);
    if (b->err->code == H5PT_OUT_OF_MEMORY)
        return -1;
    findings_add_error(b->refusals, call->layer->path, b->err);
    return add_outputs(b, call, 1, NULL, NULL);
}

/* The mask that the `mask` argument of a call gives for an input: an index among the inputs, or -1. */
static int explicit_mask(const struct keras_call *call, int input)
{
    const json_t *mask = layer_argument(call->arguments, -1, "mask");
    return layer_argument_tensor(json_is_array(mask) ? json_array_get(mask, (size_t)input) : input == 0 ? mask : NULL);
}

/* Gives the call the masks of its inputs as further inputs. */
static int add_masks(struct builder *b, struct keras_call *call)
{
    int count = call->input_count, total = count;
    int *mask_of = ARENA_ARRAY(b->arena, int, 2 * (size_t)count + 1);
    struct keras_value **inputs = ARENA_ARRAY(b->arena, struct keras_value *, 2 * (size_t)count + 1);
    if (!mask_of || !inputs)
        return h5pt_fail_memory(b->err);
    for (int i = 0; i < count; i++)
        inputs[i] = call->inputs[i];
    for (int i = 0; i < 2 * count; i++)
        mask_of[i] = -1;
    for (int i = 0; i < count; i++) {
        struct keras_value *mask = NULL;
        mask_of[i] = explicit_mask(call, i);
        if (mask_of[i] >= 0 || !inputs[i]->masked)
            continue;
        if (build_mask(b, inputs[i], &mask) < 0)
            return -1;
        if (mask) {
            mask_of[i] = total;
            inputs[total++] = mask;
        }
    }
    call->inputs = inputs;
    call->input_count = total;
    call->mask_of = mask_of;
    return 0;
}

/* Takes the tensors of a `mask` argument out of the inputs of a call whose class has no use for them. Returns the one for
 * input 0, which is still the mask of the output, or NULL. */
static struct keras_value *drop_masks(struct keras_call *call)
{
    int first = -1, kept = 0, total = call->input_count;
    const json_t *mask = layer_argument(call->arguments, -1, "mask");
    bool list = json_is_array(mask);
    struct keras_value *ret = NULL;
    for (size_t i = 0; mask && i < (list ? json_array_size(mask) : 1); i++) {
        int index = layer_argument_tensor(list ? json_array_get(mask, i) : mask);
        if (index < 0 || index >= total)
            continue;
        ret = i == 0 ? call->inputs[index] : ret;
        first = first < 0 || index < first ? index : first;
        kept++;
    }
    /* They are keyword arguments: nothing but other keyword arguments, which these classes do not have, can stand behind. */
    if (kept && first + kept == total)
        call->input_count = first;
    return ret && ret->dtype == DTYPE_BOOL ? ret : NULL;
}

/* Keras 3 finds masks of merging layers on its own; before, these layers only combine them. */
static bool takes_masks(const struct builder *b, const struct layer_class *class)
{
    return (class->flags & LAYER_TAKES_MASK) && (!(class->flags & LAYER_MERGE) || b->model->version.major >= 3);
}

struct keras_call *build_call(struct builder *b, struct keras_layer *layer, struct keras_value **inputs,
                              int input_count, const json_t *arguments)
{
    struct keras_model *model = b->model;
    if (build_prepare(b, layer) < 0)
        return NULL;
    layer->call_count++;
    struct keras_call *call = ARENA_NEW(b->arena, struct keras_call);
    if (!call) {
        h5pt_fail_memory(b->err);
        return NULL;
    }
    *call = (struct keras_call){
        .layer = layer, .input_count = input_count, .inputs = inputs, .arguments = arguments, .scope = b->scope};
    if (layer->class && !any_bad(call) && build_autocast(b, call) < 0)
        return NULL;
    struct keras_value *mask = NULL;
    if (layer->class && !(layer->class->flags & (LAYER_TAKES_MASK | LAYER_ARGUMENTS | LAYER_HONOURS_MASK)))
        mask = drop_masks(call);
    else if (layer->class && takes_masks(b, layer->class) && !any_bad(call) && add_masks(b, call) < 0)
        return NULL;
    if (model->call_count >= KERAS_MAX_CALLS) {
        h5pt_fail(b->err, H5PT_LIMIT_EXCEEDED, layer->path, "The model has more than %d calls of layers",
                  KERAS_MAX_CALLS);
        return NULL;
    }
    if (grow(b, &model->calls, model->call_count, &b->call_capacity) < 0)
        return NULL;
    call->id = model->call_count;
    model->calls[model->call_count++] = call;
    if (infer_outputs(b, call, mask) < 0)
        return NULL;
    build_remove_masks(b, call);
    return call;
}
