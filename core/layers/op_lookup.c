/* SPDX-License-Identifier: Apache-2.0 */
/* Looking numbers up in constant lists; and numbers of cells as indices. */
#include <math.h>

#include "layers/operation.h"
#include "layers/variants.h"

struct lookup_config {
    enum lookup_variant variant;
    bool invert; /* IS_IN */
    bool right;  /* SEARCH_SORTED: behind equal ones; DIGITIZE: always */
};

static void op_lookup_read(struct config_reader *reader, void *config, int variant)
{
    struct lookup_config *c = config;
    c->variant = (enum lookup_variant)variant;
    c->right = c->variant == LOOKUP_DIGITIZE;
    if (c->variant == LOOKUP_IS_IN) {
        c->invert = config_bool(reader, "invert", false);
        config_ignore(reader, "assume_unique");
    }
    if (c->variant == LOOKUP_SEARCH_SORTED)
        c->right = config_choice(reader, "side", "left right", 0) == 1;
}

static void operands(const struct lookup_config *c, const struct operand_source *source, struct operand *x,
                     struct operand *list)
{
    bool search = c->variant == LOOKUP_SEARCH_SORTED, digitize = c->variant == LOOKUP_DIGITIZE;
    *x = search ? operand_at(source, 1, "values") : operand_at(source, 0, digitize ? "x" : "x1");
    *list = search ? operand_at(source, 0, "sorted_sequence") : operand_at(source, 1, digitize ? "bins" : "x2");
}

static int op_lookup_shape(struct layer_shape *s)
{
    const struct lookup_config *c = s->config;
    struct operand_source source = operands_of_shape(s);
    struct operand x, list;
    operands(c, &source, &x, &list);
    if (x.kind != OPERAND_TENSOR || s->input_count != 1)
        return operand_fail(s, "x");
    if ((list.kind != OPERAND_ARRAY && list.kind != OPERAND_NUMBER) ||
        (c->variant != LOOKUP_IS_IN && list.shape.rank != 1))
        return operand_fail(s, "x2");
    s->outputs[0] = x.shape;
    s->output_dtypes[0] = c->variant == LOOKUP_IS_IN ? DTYPE_BOOL : DTYPE_I32;
    return 0;
}

static int op_lookup_reference(const struct layer_run *run)
{
    const struct lookup_config *c = run->config;
    struct operand_source source = operands_of_run(run);
    struct operand o, listed;
    operands(c, &source, &o, &listed);
    struct tensor *list = operand_constant(&listed), *out = run->outputs[0];
    const struct tensor *x = run->inputs[o.input];
    for (int64_t i = 0; list && i < out->count; i++) {
        int64_t found = 0;
        for (int64_t k = 0; k < list->count; k++)
            found += c->variant == LOOKUP_IS_IN ? list->data[k] == x->data[i]
                     : c->right                 ? list->data[k] <= x->data[i]
                                                : list->data[k] < x->data[i];
        out->data[i] = c->variant == LOOKUP_IS_IN ? (float)((found > 0) != c->invert) : (float)found;
    }
    int status = list ? 0 : h5pt_fail_memory(run->err);
    tensor_free(list);
    return status;
}

static int op_lookup_lower(struct lowering *l, const struct keras_call *call)
{
    const struct lookup_config *c = call->layer->config;
    struct operand_source source = operands_of_call(call);
    struct operand o, list;
    operands(c, &source, &o, &list);
    struct lowered x = lower_input(l, call, o.input), known;
    bool in = c->variant == LOOKUP_IS_IN;
    struct layout layout = layout_keras(1);
    struct tensor *t = operand_constant(&list);
    if (t) {
        t->dtype = in && !dtype_is_float(o.dtype) && !dtype_is_float(list.dtype) ? DTYPE_I64 : DTYPE_F32;
        t->shape = shape_of(1, &t->count);
        x = lower_convert(l, call, x, t->dtype);
    }
    known = lower_buffer(l, call, in ? "elements" : "bins", t, &layout);
    tensor_free(t);
    struct torch_attr right = attr_bool("right", c->right), invert = attr_bool("invert", c->invert);
    enum dtype dtype = in ? DTYPE_BOOL : DTYPE_I64;
    int id = lower_function2(l, call, in ? TORCH_ISIN : TORCH_BUCKETIZE, x.id, known.id, 1, in ? &invert : &right,
                             lower_shape(l, x.id), dtype);
    return lower_output(l, call, 0, (struct lowered){id, x.layout});
}

const struct layer_handler op_lookup_handler = {
    .config_size = sizeof(struct lookup_config),
    .read = op_lookup_read,
    .shape = op_lookup_shape,
    .reference = op_lookup_reference,
    .lower = op_lookup_lower,
};

/* ---- UnravelIndex ---- */

struct unravel_config {
    int count;
    int64_t dims[SHAPE_MAX_RANK];
};

static void op_unravel_read(struct config_reader *reader, void *config, int variant)
{
    struct unravel_config *c = config;
    (void)variant;
    c->count = config_list(reader, "shape", SHAPE_MAX_RANK, c->dims);
    for (int i = 0; i < c->count; i++)
        if (c->dims[i] < 1)
            c->count = -1;
    if (c->count < 1)
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "shape", "\"shape\" must be a list of positive sizes");
}

static int op_unravel_shape(struct layer_shape *s)
{
    const struct unravel_config *c = s->config;
    if (s->input_count != 1 || layer_argument_tensor(layer_argument(s->arguments, 0, "indices")) != 0 ||
        dtype_is_float(s->input_dtypes[0]) || s->input_dtypes[0] == DTYPE_BOOL)
        return operand_fail(s, "indices");
    s->output_count = c->count;
    for (int i = 0; i < c->count; i++) {
        s->outputs[i] = s->inputs[0];
        s->output_dtypes[i] = s->input_dtypes[0];
    }
    return 0;
}

/* Which size the i-th remainder is of, and which output that is. TensorFlow's Keras goes through the sizes from the last to the first only
 * for vectors; for other ranks from the first on, and still gives the last remainder first. */
static int64_t unravel_size(const struct unravel_config *c, int rank, int i)
{
    return c->dims[rank == 1 ? c->count - 1 - i : i];
}

static int op_unravel_reference(const struct layer_run *run)
{
    const struct unravel_config *c = run->config;
    const struct tensor *in = run->inputs[0];
    for (int64_t n = 0; n < in->count; n++) {
        double left = (double)in->data[n];
        for (int i = 0; i < c->count; i++) {
            double size = (double)unravel_size(c, in->shape.rank, i);
            run->outputs[c->count - 1 - i]->data[n] = (float)(left - size * floor(left / size));
            left = floor(left / size);
        }
    }
    return 0;
}

static int op_unravel_lower(struct lowering *l, const struct keras_call *call)
{
    const struct unravel_config *c = call->layer->config;
    struct lowered x = lower_input(l, call, 0);
    enum dtype dtype = lower_dtype(l, x.id);
    for (int i = 0; i < c->count; i++) {
        double size = (double)unravel_size(c, x.layout.rank, i);
        lower_output(l, call, c->count - 1 - i, lower_number(l, call, TORCH_REMAINDER_SCALAR, x, size, false, dtype));
        x = lower_number(l, call, TORCH_FLOOR_DIVIDE_SCALAR, x, size, false, dtype);
    }
    return 0;
}

const struct layer_handler op_unravel_handler = {
    .config_size = sizeof(struct unravel_config),
    .read = op_unravel_read,
    .shape = op_unravel_shape,
    .reference = op_unravel_reference,
    .lower = op_unravel_lower,
};
