/* SPDX-License-Identifier: Apache-2.0 */
/* Choosing between tensors cell by cell, and tensors of one number in the shape of another. */
#include <stdio.h>

#include "base/json.h"
#include "layers/operation.h"
#include "layers/variants.h"

enum { MAX_CHOICES = 16 };

struct choice_config {
    enum choice_variant variant;
    enum dtype dtype; /* FULL_LIKE and the like: DTYPE_COUNT when not given */
};

/* Conditions and what stands for each; the last value has no condition. */
struct choices {
    int count; /* conditions */
    struct operand conditions[MAX_CHOICES], values[MAX_CHOICES + 1];
};

static void op_choice_read(struct config_reader *reader, void *config, int variant)
{
    struct choice_config *c = config;
    *c = (struct choice_config){(enum choice_variant)variant, DTYPE_COUNT};
    if (c->variant == CHOICE_WHERE || c->variant == CHOICE_SELECT)
        return;
    const char *dtype = config_text(reader, "dtype", NULL);
    if (dtype && (!dtype_from_name(dtype, &c->dtype) ||
                  (c->dtype != DTYPE_F32 && c->dtype != DTYPE_I32 && c->dtype != DTYPE_BOOL)))
        config_refuse(reader, H5PT_UNSUPPORTED_DTYPE, "dtype", "Values of type %.40s are not supported", dtype);
}

static bool read_choices(const struct choice_config *c, const struct operand_source *source, struct choices *ret)
{
    *ret = (struct choices){.count = 0};
    if (c->variant == CHOICE_WHERE) {
        ret->count = 1;
        ret->conditions[0] = operand_at(source, 0, "condition");
        ret->values[0] = operand_at(source, 1, "x1");
        ret->values[1] = operand_at(source, 2, "x2");
    } else if (c->variant == CHOICE_SELECT) {
        ret->count = operand_list(source, layer_argument(source->arguments, 0, "condlist"), MAX_CHOICES,
                                  ret->conditions);
        int values = operand_list(source, layer_argument(source->arguments, 1, "choicelist"), MAX_CHOICES, ret->values);
        if (ret->count < 1 || values != ret->count)
            return false;
        ret->values[values] = operand_at(source, 2, "default");
        if (!layer_argument(source->arguments, 2, "default"))
            return false;
    } else {
        ret->values[0] = operand_at(source, 0, "x");
        return ret->values[0].kind == OPERAND_TENSOR;
    }
    for (int i = 0; i <= ret->count; i++)
        if (ret->values[i].kind == OPERAND_NONE || (i < ret->count && ret->conditions[i].kind == OPERAND_NONE))
            return false;
    return true;
}

static enum dtype common_dtype(const struct choices *ch)
{
    struct operand common = ch->values[0];
    for (int i = 1; i <= ch->count; i++) {
        common.dtype = operand_promote(&common, &ch->values[i]);
        common.weak = common.weak && ch->values[i].weak;
    }
    return common.dtype;
}

static bool fill_number(const struct choice_config *c, const json_t *arguments, double *ret)
{
    *ret = c->variant == CHOICE_ONES_LIKE ? 1 : 0;
    return c->variant != CHOICE_FULL_LIKE || json_read_double(layer_argument(arguments, 1, "fill_value"), ret);
}

static int op_choice_shape(struct layer_shape *s)
{
    const struct choice_config *c = s->config;
    struct operand_source source = operands_of_shape(s);
    struct choices ch;
    double fill;
    if (!read_choices(c, &source, &ch) || !fill_number(c, s->arguments, &fill))
        return operand_fail(s, "x1");
    s->outputs[0] = ch.values[0].shape;
    for (int i = 0; i <= ch.count; i++)
        if (!shape_broadcast(&s->outputs[0], &ch.values[i].shape, &s->outputs[0]) ||
            (i < ch.count && !shape_broadcast(&s->outputs[0], &ch.conditions[i].shape, &s->outputs[0])))
            return layer_shape_fail(s, "The arguments of %s do not fit together", s->layer->class_name);
    s->output_dtypes[0] = ch.count == 0 && c->dtype != DTYPE_COUNT ? c->dtype : common_dtype(&ch);
    return 0;
}

/* The cells of `operand` where the condition (NULL: everywhere) holds and nothing was chosen before. */
static int choose(const struct layer_run *run, const struct operand *condition, const struct operand *value)
{
    struct tensor *out = run->outputs[0];
    struct operand_tensor c = {NULL, NULL}, v = {NULL, NULL};
    int status = (condition && operand_tensor(run, condition, &c) < 0) || operand_tensor(run, value, &v) < 0 ? -1 : 0;
    if (status == 0) {
        struct walk a, b;
        walk_begin(&a, &out->shape, condition ? &c.tensor->shape : &out->shape);
        walk_begin(&b, &out->shape, &v.tensor->shape);
        for (int64_t i = 0; i < out->count; i++, walk_next(&a), walk_next(&b))
            if (!condition || c.tensor->data[a.offset] != 0)
                out->data[i] = v.tensor->data[b.offset];
    }
    operand_tensor_release(&c);
    operand_tensor_release(&v);
    return status;
}

static int op_choice_reference(const struct layer_run *run)
{
    const struct choice_config *c = run->config;
    struct operand_source source = operands_of_run(run);
    struct choices ch;
    double fill;
    if (!read_choices(c, &source, &ch) || !fill_number(c, run->arguments, &fill))
        return h5pt_fail(run->err, H5PT_INTERNAL, run->layer->path, "The arguments are not as they were");
    if (ch.count == 0) {
        for (int64_t i = 0; i < run->outputs[0]->count; i++)
            run->outputs[0]->data[i] = (float)fill;
        return 0;
    }
    /* From the last to the first: an earlier choice writes over later ones. */
    int status = choose(run, NULL, &ch.values[ch.count]);
    for (int i = ch.count - 1; i >= 0 && status == 0; i--)
        status = choose(run, &ch.conditions[i], &ch.values[i]);
    return status;
}

static int op_choice_lower(struct lowering *l, const struct keras_call *call)
{
    const struct choice_config *c = call->layer->config;
    struct operand_source source = operands_of_call(call);
    struct choices ch;
    struct operand all[2 * MAX_CHOICES + 1];
    double fill;
    char name[24];
    int n = 0;
    enum dtype dtype = call->outputs[0]->dtype;
    if (!read_choices(c, &source, &ch) || !fill_number(c, call->arguments, &fill))
        return -1;
    if (ch.count == 0) {
        struct lowered x = lower_input(l, call, ch.values[0].input);
        struct torch_attr attrs[] = {dtype_is_float(dtype) ? attr_float("fill_value", fill)
                                                           : attr_int("fill_value", (int64_t)fill),
                                     attr_text("dtype", dtype_name(dtype))};
        int count = lower_dtype(l, x.id) == dtype ? 1 : 2;
        return lower_output(
            l, call, 0, lower_one(l, call, TORCH_FULL_LIKE, x, lower_shape(l, x.id), x.layout, dtype, count, attrs));
    }
    for (int i = 0; i <= ch.count; i++) {
        all[n++] = ch.values[i];
        if (i < ch.count)
            all[n++] = ch.conditions[i];
    }
    struct layout layout = lower_common_layout(l, call, n, all, call->outputs[0]->shape.rank);
    if (layout.flat_rank)
        layout = layout_keras(layout.rank);
    struct lowered y = lower_operand_as(l, call, &ch.values[ch.count], "default", &layout, dtype);
    for (int i = ch.count - 1; i >= 0; i--) {
        (void)snprintf(name, sizeof name, "condition%d", i);
        struct lowered condition = lower_operand_as(l, call, &ch.conditions[i], name, &layout, DTYPE_BOOL);
        (void)snprintf(name, sizeof name, "value%d", i);
        y = lower_where(l, call, condition, lower_operand_as(l, call, &ch.values[i], name, &layout, dtype), y, dtype);
    }
    return lower_output(l, call, 0, y);
}

const struct layer_handler op_choice_handler = {
    .config_size = sizeof(struct choice_config),
    .read = op_choice_read,
    .shape = op_choice_shape,
    .reference = op_choice_reference,
    .lower = op_choice_lower,
};
