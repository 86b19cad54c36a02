/* SPDX-License-Identifier: Apache-2.0 */
/* Operations along one axis that give another line: sorting, running sums, differences; and weighted means. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "layers/operation.h"
#include "layers/variants.h"

struct line_config {
    enum line_variant variant;
    bool has_axis;
    int64_t axis;
    int64_t k;        /* TOPK: how many; DIFF: how often */
    int64_t order;    /* NORMALIZE */
    double epsilon;   /* NORMALIZE */
    enum dtype dtype; /* CUMSUM, CUMPROD; DTYPE_COUNT: not given */
};

static void op_line_read(struct config_reader *reader, void *config, int variant)
{
    struct line_config *c = config;
    *c = (struct line_config){
        .variant = (enum line_variant)variant, .dtype = DTYPE_COUNT, .has_axis = true, .axis = -1};
    if (c->variant == LINE_TOPK) {
        c->k = config_size(reader, "k", 1);
        (void)config_bool(reader, "sorted",
                          true); /* TensorFlow's come sorted in either case or in an order of no promise */
        return;
    }
    c->has_axis = config_get(reader, "axis") != NULL;
    c->axis = config_int(reader, "axis", -1);
    if (!c->has_axis && c->variant != LINE_AVERAGE)
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "axis",
                      "Without an axis the batch would be mixed: not supported");
    if (c->variant == LINE_DIFF)
        c->k = config_int(reader, "n", 1);
    if (c->variant == LINE_DIFF && (c->k < 0 || c->k > 16))
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "n", "Differences of 0 to 16 steps are supported");
    if (c->variant == LINE_NORMALIZE) {
        c->order = config_int(reader, "order", 2);
        c->epsilon = config_double(reader, "epsilon", 1e-7);
        if (c->order < 1)
            config_refuse(reader, H5PT_CONFIG_INVALID, "order", "\"order\" must be at least 1");
    }
    const char *dtype = c->variant == LINE_CUMSUM || c->variant == LINE_CUMPROD ? config_text(reader, "dtype", NULL)
                                                                                : NULL;
    if (dtype && (!dtype_from_name(dtype, &c->dtype) || (c->dtype != DTYPE_F32 && c->dtype != DTYPE_I32)))
        config_refuse(reader, H5PT_UNSUPPORTED_DTYPE, "dtype", "Values of type %.40s are not supported", dtype);
}

static int average_shape(struct layer_shape *s, const struct line_config *c, int axis)
{
    struct operand_source source = operands_of_shape(s);
    const json_t *weights = layer_argument(s->arguments, 1, "weights");
    struct operand w = operand_from(&source, weights);
    const struct shape *in = &s->inputs[0];
    if (weights && (w.kind != OPERAND_ARRAY || w.shape.rank != 1 || !c->has_axis || in->dims[axis] != w.shape.dims[0]))
        return operand_fail(s, "weights");
    s->output_dtypes[0] = dtype_floating(s->input_dtypes[0]);
    s->outputs[0] = (struct shape){.rank = 0};
    for (int i = 0; c->has_axis && i < in->rank; i++)
        if (i != axis)
            s->outputs[0].dims[s->outputs[0].rank++] = in->dims[i];
    return 0;
}

static int op_line_shape(struct layer_shape *s)
{
    const struct line_config *c = s->config;
    const struct shape *in = &s->inputs[0];
    enum dtype dtype = s->input_dtypes[0];
    int axis = axis_resolve(c->axis, in->rank);
    if (s->input_count < 1 ||
        layer_argument_tensor(layer_argument(s->arguments, 0, c->variant == LINE_DIFF ? "a" : "x")) != 0)
        return operand_fail(s, "x");
    if (axis < 0)
        return layer_shape_fail(s, "The input has no axis %d", (int)c->axis);
    if (c->variant == LINE_AVERAGE)
        return average_shape(s, c, axis);
    s->outputs[0] = *in;
    s->output_dtypes[0] = dtype;
    if (c->variant == LINE_CUMSUM || c->variant == LINE_CUMPROD)
        s->output_dtypes[0] = c->dtype != DTYPE_COUNT ? c->dtype : dtype == DTYPE_BOOL ? DTYPE_I32 : dtype;
    else if (c->variant == LINE_ARGSORT)
        s->output_dtypes[0] = DTYPE_I32;
    else if (dtype == DTYPE_BOOL || (c->variant == LINE_NORMALIZE && !dtype_is_float(dtype)))
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_DTYPE, "dtype", "%s of %s is not supported", s->layer->class_name,
                         dtype_name(dtype));
    if (c->variant == LINE_DIFF && in->dims[axis] >= 0)
        s->outputs[0].dims[axis] -= c->k;
    if (c->variant == LINE_TOPK) {
        s->output_count = 2;
        s->outputs[0].dims[axis] = c->k;
        s->outputs[1] = s->outputs[0];
        s->output_dtypes[1] = DTYPE_I32;
    }
    if (in->dims[axis] >= 0 && (s->outputs[0].dims[axis] < 1 || s->outputs[0].dims[axis] > in->dims[axis]))
        return layer_shape_fail(s, "Axis %d is too short", axis);
    return 0;
}

/* ---- reference ---- */

struct item {
    float value;
    int64_t index;
};

static int by_value(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    if (x->value != y->value)
        return x->value < y->value ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static int by_value_down(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    return x->value != y->value ? (x->value > y->value ? -1 : 1) : (x->index > y->index) - (x->index < y->index);
}

static void sort_line(const struct line_config *c, const float *in, int64_t n, float *out, float *indices,
                      struct item *items)
{
    for (int64_t i = 0; i < n; i++)
        items[i] = (struct item){in[i], i};
    qsort(items, (size_t)n, sizeof *items, c->variant == LINE_TOPK ? by_value_down : by_value);
    for (int64_t i = 0; i < (c->variant == LINE_TOPK ? c->k : n); i++) {
        out[i] = c->variant == LINE_ARGSORT ? (float)items[i].index : items[i].value;
        if (indices)
            indices[i] = (float)items[i].index;
    }
}

static void accumulate(bool sum, const float *in, int64_t n, float *out)
{
    double total = sum ? 0 : 1;
    for (int64_t i = 0; i < n; i++) {
        total = sum ? total + (double)in[i] : total * (double)in[i];
        out[i] = (float)total;
    }
}

static void differences(int64_t times, const float *in, int64_t n, float *out, float *scratch)
{
    memcpy(scratch, in, (size_t)n * sizeof *in);
    for (int64_t t = 0; t < times; t++)
        for (int64_t i = 0; i + 1 < n - t; i++)
            scratch[i] = scratch[i + 1] - scratch[i];
    memcpy(out, scratch, (size_t)(n - times) * sizeof *out);
}

static void normalize(const struct line_config *c, const float *in, int64_t n, float *out)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += pow(fabs((double)in[i]), (double)c->order);
    double norm = fmax(pow(sum, 1 / (double)c->order), c->epsilon);
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)((double)in[i] / norm);
}

static int average(const struct layer_run *run, const float *in, int64_t n, float *out)
{
    struct operand_source source = operands_of_run(run);
    struct operand w = operand_at(&source, 1, "weights");
    struct operand_tensor t = {NULL, NULL};
    if (w.kind == OPERAND_ARRAY && operand_tensor(run, &w, &t) < 0)
        return -1;
    double sum = 0, weight = 0;
    for (int64_t i = 0; i < n; i++) {
        double here = t.tensor ? (double)t.tensor->data[i] : 1;
        sum += here * (double)in[i];
        weight += here;
    }
    *out = (float)(sum / weight);
    operand_tensor_release(&t);
    return 0;
}

static int run_line(const struct layer_run *run, const float *in, int64_t n, float *out, float *second, void *scratch)
{
    const struct line_config *c = run->config;
    switch (c->variant) {
    case LINE_SORT:
    case LINE_ARGSORT:
    case LINE_TOPK: sort_line(c, in, n, out, second, scratch); return 0;
    case LINE_CUMSUM:
    case LINE_CUMPROD: accumulate(c->variant == LINE_CUMSUM, in, n, out); return 0;
    case LINE_DIFF: differences(c->k, in, n, out, scratch); return 0;
    case LINE_NORMALIZE: normalize(c, in, n, out); return 0;
    case LINE_AVERAGE: return average(run, in, n, out);
    }
    return 0;
}

/* The result with the lines at the end, put where the axis was. */
static int put_back(const struct layer_run *run, int index, const float *lines, int axis)
{
    struct tensor *out = run->outputs[index];
    int rank = out->shape.rank, order[SHAPE_MAX_RANK], back[SHAPE_MAX_RANK];
    for (int i = 0, n = 0; i < rank; i++)
        if (i != axis)
            order[n++] = i;
    order[rank - 1] = axis;
    struct shape shape = shape_permute(&out->shape, order);
    struct tensor *t = tensor_new(&shape, out->dtype);
    if (!t)
        return h5pt_fail_memory(run->err);
    memcpy(t->data, lines, (size_t)t->count * sizeof *lines);
    for (int i = 0; i < rank; i++)
        back[order[i]] = i;
    struct tensor *moved = tensor_transpose(t, back);
    tensor_free(t);
    if (!moved)
        return h5pt_fail_memory(run->err);
    memcpy(out->data, moved->data, (size_t)moved->count * sizeof *lines);
    tensor_free(moved);
    return 0;
}

static int op_line_reference(const struct layer_run *run)
{
    const struct line_config *c = run->config;
    const struct tensor *in = run->inputs[0];
    int rank = in->shape.rank, axis = axis_resolve(c->axis, rank), order[SHAPE_MAX_RANK], status = -1;
    bool average = c->variant == LINE_AVERAGE;
    for (int i = 0, n = 0; i < rank; i++)
        if (i != axis)
            order[n++] = i;
    order[rank - 1] = axis;
    int64_t n = average && !c->has_axis ? in->count : in->shape.dims[axis], count = n ? in->count / n : 0;
    int64_t width = average ? 1 : run->outputs[0]->shape.dims[axis];
    struct tensor *x = tensor_transpose(in, order);
    float *first = calloc((size_t)(count * width) + 1, sizeof *first),
          *second = calloc((size_t)(count * width) + 1, sizeof *second);
    void *scratch = calloc((size_t)n + 1, sizeof(struct item));
    if (x && first && second && scratch)
        status = 0;
    else
        (void)h5pt_fail_memory(run->err);
    for (int64_t i = 0; status == 0 && i < count; i++)
        status = run_line(run, x->data + i * n, n, first + i * width, second + i * width, scratch);
    if (status == 0 && average)
        memcpy(run->outputs[0]->data, first, (size_t)count * sizeof *first);
    for (int k = 0; status == 0 && !average && k < run->output_count; k++)
        status = put_back(run, k, k ? second : first, axis);
    tensor_free(x);
    free(first);
    free(second);
    free(scratch);
    return status;
}

/* ---- lowering ---- */

static struct lowered lower_average(struct lowering *l, const struct keras_call *call, const struct line_config *c)
{
    struct operand_source source = operands_of_call(call);
    struct operand w = operand_at(&source, 1, "weights");
    struct lowered x = lower_convert(l, call, lower_input_keras(l, call, 0), DTYPE_F32);
    int64_t dims[SHAPE_MAX_RANK];
    struct shape in = lower_shape(l, x.id), shape = call->outputs[0]->shape;
    int axis = axis_resolve(c->axis, in.rank);
    for (int i = 0; i < in.rank; i++)
        dims[i] = i;
    struct torch_attr dim = c->has_axis ? attr_int("dim", axis) : attr_list(l, "dim", in.rank, dims);
    if (w.kind != OPERAND_ARRAY)
        return lower_one(l, call, TORCH_MEAN, x, shape, layout_keras(shape.rank), DTYPE_F32, 1, &dim);
    struct tensor *t = operand_constant(&w);
    double total = 0;
    struct shape aligned = {.rank = in.rank - axis};
    for (int i = 0; i < aligned.rank; i++)
        aligned.dims[i] = i == 0 ? w.shape.dims[0] : 1;
    for (int64_t i = 0; t && i < t->count; i++)
        total += (double)t->data[i];
    for (int64_t i = 0; t && i < t->count; i++)
        t->data[i] = (float)((double)t->data[i] / total);
    if (t) {
        t->shape = aligned;
        t->dtype = DTYPE_F32;
    }
    struct layout layout = layout_keras(aligned.rank);
    struct lowered weights = lower_buffer(l, call, "weights", t, &layout);
    tensor_free(t);
    return lower_one(l, call, TORCH_SUM, lower_join(l, call, TORCH_MUL, x, weights, DTYPE_F32), shape,
                     layout_keras(shape.rank), DTYPE_F32, 1, &dim);
}

static int op_line_lower(struct lowering *l, const struct keras_call *call)
{
    const struct line_config *c = call->layer->config;
    struct lowered x = lower_input_plain(l, call, 0), y;
    enum dtype dtype = call->outputs[0]->dtype;
    if (c->variant == LINE_AVERAGE) {
        return lower_output(l, call, 0, lower_average(l, call, c));
    }
    int dim = layout_axis(&x.layout, axis_resolve(c->axis, x.layout.rank));
    struct shape shape = lower_shape(l, x.id);
    struct torch_attr attrs[3] = {attr_int("dim", dim)};
    switch (c->variant) {
    case LINE_SORT: y = lower_one(l, call, TORCH_SORT, x, shape, x.layout, dtype, 1, attrs); break;
    case LINE_ARGSORT:
        attrs[1] = attr_bool("stable", true);
        y = lower_one(l, call, TORCH_ARGSORT, x, shape, x.layout, DTYPE_I64, 2, attrs);
        break;
    case LINE_TOPK:
        attrs[1] = attr_int("k", c->k);
        shape.dims[dim] = c->k;
        y = lower_one(l, call, TORCH_TOPK_VALUES, x, shape, x.layout, dtype, 2, attrs);
        lower_output(l, call, 1, lower_one(l, call, TORCH_TOPK_INDICES, x, shape, x.layout, DTYPE_I64, 2, attrs));
        break;
    case LINE_CUMSUM:
    case LINE_CUMPROD:
        y = lower_one(l, call, c->variant == LINE_CUMSUM ? TORCH_CUMSUM : TORCH_CUMPROD,
                      lower_convert(l, call, x, dtype), shape, x.layout, dtype_is_float(dtype) ? dtype : DTYPE_I64, 1,
                      attrs);
        break;
    case LINE_DIFF:
        y = x;
        for (int64_t i = 0; i < c->k; i++)
            y = lower_join(l, call, TORCH_SUB, lower_range(l, call, y, dim, 1, 0, 1),
                           lower_range(l, call, y, dim, 0, -1, 1), dtype);
        break;
    default:
        attrs[1] = attr_float("p", (double)c->order);
        attrs[2] = attr_float("eps", c->epsilon);
        y = lower_one(l, call, TORCH_NORMALIZE, x, shape, x.layout, dtype, 3, attrs);
    }
    return lower_output(l, call, 0, y);
}

const struct layer_handler op_line_handler = {
    .config_size = sizeof(struct line_config),
    .read = op_line_read,
    .shape = op_line_shape,
    .reference = op_line_reference,
    .lower = op_line_lower,
};
