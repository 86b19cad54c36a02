/* SPDX-License-Identifier: Apache-2.0 */
#include "keras/translate.h"

#include <stdlib.h>
#include <string.h>

#include "base/words.h"
#include "keras/functions.h"
#include "layers/layer.h"

static const char translated[] = "TFOpLambda SlicingOpLambda TensorFlowOpLayer Lambda ClassMethod InstanceMethod "
                                 "InstanceProperty AddLoss AddMetric";

bool translate_is(const struct builder *b, const struct keras_layer *layer)
{
    return word_index(translated, layer->class_name) >= 0 ||
           (build_is_operation(b, layer) && function_find("composed", layer->class_name));
}

/* ---- arguments and results ---- */

/* The arguments with the tensors of the trace in place of the inputs of the call. */
static const json_t *trace_form(struct trace *t, const json_t *value, struct keras_value **inputs, int count)
{
    int index = layer_argument_tensor(value);
    if (index >= 0)
        return index < count
                   ? trace_tensor(t, inputs[index])
                   : trace_refuse(t, H5PT_GRAPH_INVALID, "The layer is called with fewer tensors than it uses");
    if (!trace_has_tensor(value))
        return value;
    if (json_is_array(value)) {
        json_t *list = json_array();
        for (size_t i = 0; i < json_array_size(value); i++)
            (void)json_array_append(list, (json_t *)trace_form(t, json_array_get(value, i), inputs, count));
        return trace_keep(t, list);
    }
    json_t *object = json_object(), *item;
    const char *key;
    json_object_foreach((json_t *)value, key, item)
    {
        (void)json_object_set(object, key, (json_t *)trace_form(t, item, inputs, count));
    }
    return trace_keep(t, object);
}

static const json_t *input_list(struct trace *t, struct keras_value **inputs, int count)
{
    json_t *list = json_array();
    for (int i = 0; i < count; i++)
        (void)json_array_append(list, (json_t *)trace_tensor(t, inputs[i]));
    return trace_keep(t, list);
}

/* The arguments of a call that has none but its inputs (in a Sequential). */
static const json_t *plain_arguments(struct trace *t, const json_t *tensors)
{
    const json_t *args = json_array_size(tensors) == 1 ? tensors : TRACE_LIST(t, tensors);
    return args ? trace_object(t, "args", args, "kwargs", trace_object(t, NULL), NULL) : NULL;
}

static bool made_here(const struct trace *t, const struct keras_value *value)
{
    for (int i = 0; i < t->operation_count; i++)
        if (value->call && value->call->layer == t->operations[i])
            return true;
    return false;
}

struct result_list {
    struct keras_value **values;
    int count;
};

static struct keras_value *known_value(struct trace *t, const json_t *value)
{
    struct keras_value *known = ARENA_NEW(t->b->arena, struct keras_value);
    if (!known) {
        h5pt_fail_memory(&t->why);
        return NULL;
    }
    *known = (struct keras_value){.bad = true, .known = value, .id = t->b->model->value_count++};
    return known;
}

static void add_results(struct trace *t, const json_t *value, struct result_list *list)
{
    if (json_is_array(value) && trace_has_tensor(value)) {
        for (size_t i = 0; i < json_array_size(value); i++)
            add_results(t, json_array_get(value, i), list);
        return;
    }
    struct keras_value *tensor = trace_value(t, value);
    if (tensor && !made_here(t, tensor)) /* handed on as it is: without its mask */
        tensor = trace_value(t, TRACE_APPLY(t, "Copy", value));
    if (!tensor && !t->why.code)
        tensor = known_value(t, value);
    if (tensor)
        list->values[list->count++] = tensor;
}

static size_t count_results(const json_t *value)
{
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(value); i++)
        n += count_results(json_array_get(value, i));
    return n + 1;
}

/* The operation that makes the result stands for the layer: it gets its name. */
static int name_result(struct trace *t, const struct keras_value *result)
{
    if (!result->call || !made_here(t, result))
        return 0;
    struct keras_layer *layer = result->call->layer;
    layer->name = t->origin->name;
    layer->path = t->call_number == 1 ? t->origin->path
                                      : arena_printf(t->b->arena, "%s/%d", t->origin->path, t->call_number);
    return layer->path ? 0 : -1;
}

/* ---- calls ---- */

static const json_t *translate(struct trace *t, const json_t *arguments, const json_t *tensors)
{
    const char *class_name = t->origin->class_name;
    if (strcmp(class_name, "TFOpLambda") == 0 || strcmp(class_name, "SlicingOpLambda") == 0)
        return translate_tf_function(t, arguments);
    if (strcmp(class_name, "TensorFlowOpLayer") == 0)
        return translate_tf_node(t, tensors);
    if (strcmp(class_name, "Lambda") == 0)
        return translate_lambda(t, arguments);
    const struct function *composed = function_find("composed", class_name);
    if (composed)
        return function_call_operation(t, composed, t->origin->json, arguments);
    if (strcmp(class_name, "AddLoss") == 0 || strcmp(class_name, "AddMetric") == 0)
        return layer_argument(arguments, 0, "inputs");
    return trace_refuse(t, H5PT_UNSUPPORTED_OPERATION,
                        "%s works on ragged or sparse tensors, which torch has no match for", class_name);
}

static bool any_unknown(struct keras_value *const *inputs, int count)
{
    for (int i = 0; i < count; i++)
        if (inputs[i]->bad && !inputs[i]->known)
            return true;
    return false;
}

static int refuse(struct builder *b, const struct trace *t, struct keras_value ***ret, int *ret_count)
{
    struct h5pt_error why = t->why;
    if (why.code == H5PT_OUT_OF_MEMORY)
        return h5pt_fail_memory(b->err);
    if (why.code)
        findings_add(b->refusals, why.code, t->origin->path, "function", "%s", why.message);
    struct keras_value *bad = ARENA_NEW(b->arena, struct keras_value);
    *ret = ARENA_ARRAY(b->arena, struct keras_value *, 1);
    if (!bad || !*ret)
        return h5pt_fail_memory(b->err);
    *bad = (struct keras_value){.bad = true, .id = b->model->value_count++};
    (*ret)[0] = bad;
    *ret_count = 1;
    return 0;
}

int translate_call(struct builder *b, struct keras_layer *layer, struct keras_value **inputs, int input_count,
                   const json_t *arguments, struct keras_value ***ret, int *ret_count)
{
    struct trace t;
    trace_begin(&t, b, layer, ++layer->call_count);
    if (any_unknown(inputs, input_count))
        return refuse(b, &t, ret, ret_count);
    const json_t *tensors = input_list(&t, inputs, input_count);
    const json_t *form = arguments ? trace_form(&t, arguments, inputs, input_count) : plain_arguments(&t, tensors);
    const json_t *value = form && tensors && !t.why.code ? translate(&t, form, tensors) : NULL;
    if (b->err->code)
        return -1;
    struct result_list list = {.count = 0};
    if (value && !(list.values = ARENA_ARRAY(b->arena, struct keras_value *, count_results(value))))
        return h5pt_fail_memory(b->err);
    if (value)
        add_results(&t, value, &list);
    if (b->err->code)
        return -1;
    if (t.why.code || list.count == 0) {
        (void)trace_refuse(&t, H5PT_UNSUPPORTED_OPERATION, "The layer gives no tensor");
        return refuse(b, &t, ret, ret_count);
    }
    if (name_result(&t, list.values[0]) < 0)
        return h5pt_fail_memory(b->err);
    *ret = list.values;
    *ret_count = list.count;
    return 0;
}

/* ---- TFOpLambda, SlicingOpLambda ---- */

const json_t *translate_tf_function(struct trace *t, const json_t *arguments)
{
    static const struct {
        const char *prefix, *module;
    } keras[] = {{"keras.backend.", "K"}, {"keras.activations.", "activations"}, {"keras.ops.", "ops"}};
    const char *symbol = json_string_value(json_object_get(t->origin->json, "function"));
    if (!symbol)
        return trace_refuse(t, H5PT_CONFIG_MALFORMED, "The layer does not name its function");
    const struct function *f = function_find("tf", symbol);
    for (size_t i = 0; !f && i < sizeof keras / sizeof *keras; i++)
        if (strncmp(symbol, keras[i].prefix, strlen(keras[i].prefix)) == 0)
            f = function_find(keras[i].module, symbol + strlen(keras[i].prefix));
    if (!f)
        return trace_refuse(t, H5PT_UNSUPPORTED_OPERATION, "The TensorFlow function tf.%.80s is not supported", symbol);
    return function_call(t, f, json_object_get(arguments, "args"), json_object_get(arguments, "kwargs"));
}
