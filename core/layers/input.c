/* SPDX-License-Identifier: Apache-2.0 */
#include "layers/input.h"

#include "layers/layer.h"
#include "layers/lower.h"

static void input_read(struct config_reader *reader, void *config, int variant)
{
    struct input_config *c = config;
    (void)variant;
    int rank = config_list(reader, "batch_shape", SHAPE_MAX_RANK, c->shape.dims);
    if (rank < 0)
        rank = config_list(reader, "batch_input_shape", SHAPE_MAX_RANK, c->shape.dims);
    if (rank < 1) {
        config_refuse(reader, H5PT_SHAPE_UNKNOWN, "batch_shape", "The shape of the input is not in the file");
        rank = 1;
    }
    c->shape.rank = rank;
    c->shape.dims[0] = DIM_UNKNOWN;
    for (int i = 1; i < rank; i++)
        if (c->shape.dims[i] < DIM_UNKNOWN || c->shape.dims[i] > INT32_MAX)
            config_refuse(reader, H5PT_CONFIG_INVALID, "batch_shape", "The input has the impossible size %lld",
                          (long long)c->shape.dims[i]);
    const char *dtype = config_text(reader, "dtype", "float32");
    if (!dtype_from_name(dtype, &c->dtype)) {
        config_refuse(reader, H5PT_UNSUPPORTED_DTYPE, "dtype", "Inputs of type \"%.40s\" have no torch tensor", dtype);
        c->dtype = DTYPE_F32;
    }
    if (config_bool(reader, "sparse", false))
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "sparse", "Sparse inputs are not supported");
    if (config_bool(reader, "ragged", false))
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "ragged", "Ragged inputs are not supported");
    if (config_bool(reader, "optional", false))
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "optional", "Optional inputs are not supported");
}

static int input_shape(struct layer_shape *s)
{
    const struct input_config *c = s->config;
    s->outputs[0] = c->shape;
    s->output_dtypes[0] = c->dtype;
    return 0;
}

/* Inputs are handed in from outside: nothing is computed or added for them. */
static int input_reference(const struct layer_run *run)
{
    return h5pt_fail(run->err, H5PT_INTERNAL, run->layer->path, "An input is not computed");
}

static int input_lower(struct lowering *lowering, const struct keras_call *call)
{
    (void)lowering;
    (void)call;
    return 0;
}

const struct layer_handler input_handler = {
    .config_size = sizeof(struct input_config),
    .read = input_read,
    .shape = input_shape,
    .reference = input_reference,
    .lower = input_lower,
};
