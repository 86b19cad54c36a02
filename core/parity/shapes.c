/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "layers/layer.h"
#include "parity/internal.h"

int parity_infer_call(const struct keras_call *call, const struct shape *inputs, struct shape *ret_outputs,
                      struct h5pt_error *err)
{
    struct h5pt_error local = H5PT_ERROR_INIT;
    enum dtype *dtypes = malloc(((size_t)call->input_count + 1) * sizeof *dtypes);
    if (!dtypes)
        return h5pt_fail_memory(err);
    for (int i = 0; i < call->input_count; i++)
        dtypes[i] = layer_dtype(call->inputs[i]->dtype);
    struct layer_shape s = {
        .layer = call->layer,
        .config = call->layer->config,
        .input_count = call->input_count,
        .inputs = inputs,
        .input_dtypes = dtypes,
        .arguments = call->arguments,
        .mask_of = call->mask_of,
        .output_count = 1,
        .err = &local,
    };
    int status = call->layer->class->handler->shape(&s);
    for (int i = 0; status == 0 && i < call->output_count; i++) {
        ret_outputs[i] = s.outputs[i];
        int64_t count;
        if (!shape_count(&s.outputs[i], &count) || count > TENSOR_MAX_COUNT)
            status = h5pt_fail(&local, H5PT_SHAPE_MISMATCH, NULL, "The size of the output is not known");
    }
    free(dtypes);
    if (status < 0 && err && !err->code) {
        *err = local;
        if (!err->where[0])
            (void)strncat(err->where, call->layer->path, sizeof err->where - 1);
    }
    return status;
}

static int infer_one(const struct keras_call *call, struct shape *shapes, struct h5pt_error *err)
{
    struct shape *inputs = malloc(((size_t)call->input_count + 1) * sizeof *inputs);
    struct shape outputs[LAYER_MAX_OUTPUTS];
    if (!inputs)
        return h5pt_fail_memory(err);
    for (int i = 0; i < call->input_count; i++)
        inputs[i] = shapes[call->inputs[i]->id];
    int status = parity_infer_call(call, inputs, outputs, err);
    for (int i = 0; status == 0 && i < call->output_count; i++)
        shapes[call->outputs[i]->id] = outputs[i];
    free(inputs);
    return status;
}

int parity_infer(const struct keras_model *model, const struct shape *input_shapes, struct shape *ret_shapes,
                 struct h5pt_error *err)
{
    for (int i = 0; i < model->input_count; i++)
        ret_shapes[model->inputs[i]->id] = input_shapes[i];
    for (int i = 0; i < model->call_count; i++)
        if (model->calls[i]->input_count > 0 && infer_one(model->calls[i], ret_shapes, err) < 0)
            return -1;
    return 0;
}
