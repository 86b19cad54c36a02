/* SPDX-License-Identifier: Apache-2.0 */
/* Rearrange: the axes of a tensor split, put in another order and joined, as a pattern says: "b (h a) c -> b h (a c)". */
#include <ctype.h>
#include <string.h>

#include "base/json.h"
#include "layers/operation.h"

enum { NAME_SIZE = 32 };

/* One side of the pattern: names in order, and the group (axis of the tensor) that each belongs to. */
struct side {
    int count, groups;
    int group[SHAPE_MAX_RANK];
    char names[SHAPE_MAX_RANK][NAME_SIZE];
};

struct plan {
    struct side in, out;
    int64_t sizes[SHAPE_MAX_RANK]; /* of the names of `in` */
    int axes[SHAPE_MAX_RANK];      /* of `out`: which name of `in` */
    struct shape result;
};

static void op_rearrange_read(struct config_reader *reader, void *config, int variant)
{
    (void)reader;
    (void)config;
    (void)variant;
}

static bool read_side(const char *from, const char *to, struct side *ret)
{
    bool inside = false;
    *ret = (struct side){.count = 0};
    while (from < to) {
        if (*from == '(' || *from == ')') {
            if (inside == (*from == '('))
                return false;
            ret->groups += inside;
            inside = !inside;
            from++;
        } else if (isspace((unsigned char)*from)) {
            from++;
        } else {
            size_t n = 0;
            while (from + n < to && (isalnum((unsigned char)from[n]) || from[n] == '_'))
                n++;
            if (n == 0 || n >= NAME_SIZE || ret->count == SHAPE_MAX_RANK || ret->groups >= SHAPE_MAX_RANK)
                return false;
            memcpy(ret->names[ret->count], from, n);
            ret->group[ret->count++] = ret->groups;
            ret->groups += !inside;
            from += n;
        }
    }
    return !inside && ret->count > 0;
}

static int find_name(const struct side *side, const char *name)
{
    for (int i = 0; i < side->count; i++)
        if (strcmp(side->names[i], name) == 0)
            return i;
    return -1;
}

/* The sizes of the names of one axis: at most one of them is not given. */
static bool split_axis(struct plan *p, int group, int64_t size, const json_t *lengths)
{
    int64_t known = 1;
    int open = -1, members = 0;
    for (int i = 0; i < p->in.count; i++) {
        double number = 0;
        const json_t *given = json_unwrap(json_object_get(lengths, p->in.names[i]));
        if (p->in.group[i] != group)
            continue;
        members++;
        if (given && json_read_double(given, &number) && number >= 1 && number <= INT32_MAX) {
            p->sizes[i] = (int64_t)number;
            known *= p->sizes[i];
        } else if (open >= 0) {
            return false;
        } else {
            open = i;
        }
        if (known < 1 || known > INT32_MAX)
            return false;
    }
    if (members == 1 && open >= 0) {
        p->sizes[open] = size;
        return true;
    }
    if (size < 1 || size % known != 0 || (open < 0 && size != known))
        return false;
    if (open >= 0)
        p->sizes[open] = size / known;
    return true;
}

static bool make_plan(const json_t *arguments, const struct shape *in, struct plan *ret)
{
    const char *pattern = json_string_value(layer_argument(arguments, 1, "pattern"));
    const char *arrow = pattern ? strstr(pattern, "->") : NULL;
    if (!arrow || !read_side(pattern, arrow, &ret->in) || !read_side(arrow + 2, arrow + strlen(arrow), &ret->out) ||
        ret->in.groups != in->rank || ret->in.count != ret->out.count)
        return false;
    for (int i = 0; i < in->rank; i++)
        if (!split_axis(ret, i, in->dims[i], json_object_get(arguments, "kwargs")))
            return false;
    ret->result = (struct shape){.rank = ret->out.groups};
    for (int i = 0; i < ret->out.groups; i++)
        ret->result.dims[i] = 1;
    for (int i = 0; i < ret->out.count; i++) {
        int axis = find_name(&ret->in, ret->out.names[i]), group = ret->out.group[i];
        if (axis < 0 || find_name(&ret->in, ret->in.names[i]) != i || find_name(&ret->out, ret->out.names[i]) != i)
            return false;
        bool unknown = ret->sizes[axis] < 0 || ret->result.dims[group] < 0;
        ret->axes[i] = axis;
        ret->result.dims[group] = unknown ? DIM_UNKNOWN : ret->result.dims[group] * ret->sizes[axis];
    }
    return true;
}

static int op_rearrange_shape(struct layer_shape *s)
{
    struct plan plan;
    if (s->input_count != 1 || layer_argument_tensor(layer_argument(s->arguments, 0, "tensor")) != 0)
        return operand_fail(s, "tensor");
    if (!make_plan(s->arguments, &s->inputs[0], &plan))
        return operand_fail(s, "pattern");
    s->outputs[0] = plan.result;
    s->output_dtypes[0] = s->input_dtypes[0];
    return 0;
}

static int op_rearrange_reference(const struct layer_run *run)
{
    const struct tensor *in = run->inputs[0];
    struct plan plan;
    int64_t steps[SHAPE_MAX_RANK], index[SHAPE_MAX_RANK] = {0}, step = 1;
    if (!make_plan(run->arguments, &in->shape, &plan))
        return h5pt_fail(run->err, H5PT_INTERNAL, run->layer->path, "The arguments are not as they were");
    for (int i = plan.in.count - 1; i >= 0; i--) {
        steps[i] = step;
        step *= plan.sizes[i];
    }
    for (int64_t n = 0; n < in->count; n++) {
        int64_t at = 0;
        for (int i = 0; i < plan.out.count; i++)
            at += index[i] * steps[plan.axes[i]];
        run->outputs[0]->data[n] = in->data[at];
        for (int i = plan.out.count - 1; i >= 0 && ++index[i] == plan.sizes[plan.axes[i]]; i--)
            index[i] = 0;
    }
    return 0;
}

/* Axes of unknown size are taken from the input while it is split, and are the one that is left over when joining. */
static int op_rearrange_lower(struct lowering *l, const struct keras_call *call)
{
    struct plan plan;
    int from[SHAPE_MAX_RANK], open = 0;
    struct lowered x = lower_input_keras(l, call, 0);
    if (!make_plan(call->arguments, &call->inputs[0]->shape, &plan))
        return -1;
    for (int i = 0; i < plan.in.count; i++)
        from[i] = plan.sizes[i] < 0 ? plan.in.group[i] : -1;
    if (plan.in.count > plan.in.groups)
        x = lower_reshape(l, call, x, plan.in.count, plan.sizes, from);
    x = lower_transpose(l, call, x, plan.axes);
    for (int i = 0; i < plan.out.groups; i++) {
        open += plan.result.dims[i] < 0;
        from[i] = -1;
    }
    for (int i = 0; open > 1 && i < plan.out.count; i++)
        if (plan.sizes[plan.axes[i]] < 0 && (i + 1 == plan.out.count || plan.out.group[i + 1] != plan.out.group[i]) &&
            (i == 0 || plan.out.group[i - 1] != plan.out.group[i]))
            from[plan.out.group[i]] = i;
    if (plan.out.count > plan.out.groups)
        x = lower_reshape(l, call, x, plan.out.groups, plan.result.dims, from);
    return lower_output(l, call, 0, x);
}

const struct layer_handler op_rearrange_handler = {
    .config_size = 1,
    .read = op_rearrange_read,
    .shape = op_rearrange_shape,
    .reference = op_rearrange_reference,
    .lower = op_rearrange_lower,
};
