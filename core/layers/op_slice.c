/* SPDX-License-Identifier: Apache-2.0 */
/* Indexing as in numpy (GetItem with slices, whole numbers, an ellipsis and new axes), and what is a case of it. */
#include <string.h>

#include "base/json.h"
#include "layers/operation.h"
#include "layers/variants.h"

struct slice_config {
    enum slice_variant variant;
    int64_t sizes[SHAPE_MAX_RANK]; /* SLICE: of the result */
    int size_count;
    int64_t crop[4], target[2]; /* CROP: top, left, bottom, right; height, width; DIM_UNKNOWN: not given */
};

/* start:stop:step along one axis, or one index of it. */
struct axis_slice {
    bool index;
    bool has_start, has_stop;
    int64_t start, stop, step; /* an index is `start` */
};

/* One per axis of the input; and where axes are added. */
struct slices {
    struct axis_slice axes[SHAPE_MAX_RANK];
    int rank;                     /* of the input */
    int count;                    /* of the result: */
    int from[SHAPE_MAX_RANK + 1]; /* the axis of the input, or -1 for a new one */
};

/* ---- the key of GetItem ---- */

static bool read_bound(const json_t *value, bool *has, int64_t *ret)
{
    long long n = 0;
    *has = value && !json_is_null(value);
    bool ok = !*has || json_read_int(value, &n);
    *ret = n;
    return ok;
}

static const char *tag_of(const json_t *item)
{
    const char *tag = json_string_value(json_object_get(item, "class_name"));
    return tag ? tag : "";
}

static bool read_slice(const json_t *item, struct axis_slice *ret)
{
    const json_t *config = json_object_get(item, "config");
    bool has_step;
    *ret = (struct axis_slice){.index = false};
    if (!read_bound(json_object_get(config, "start"), &ret->has_start, &ret->start) ||
        !read_bound(json_object_get(config, "stop"), &ret->has_stop, &ret->stop) ||
        !read_bound(json_object_get(config, "step"), &has_step, &ret->step))
        return false;
    if (!has_step)
        ret->step = 1;
    return ret->step != 0;
}

static bool read_item(const json_t *item, struct slices *s, int *axis)
{
    bool has;
    struct axis_slice *here = &s->axes[*axis];
    if (*axis >= s->rank)
        return false;
    if (strcmp(tag_of(item), "__slice__") == 0) {
        if (!read_slice(item, here) || s->count > SHAPE_MAX_RANK - 1)
            return false;
        s->from[s->count++] = (*axis)++;
        return true;
    }
    *here = (struct axis_slice){.index = true, .has_start = true, .step = 1};
    if (json_is_boolean(item) || !read_bound(item, &has, &here->start) || !has)
        return false;
    (*axis)++;
    return true;
}

static void whole_axis(struct slices *s, int *axis)
{
    s->axes[*axis] = (struct axis_slice){.step = 1};
    if (s->count < SHAPE_MAX_RANK)
        s->from[s->count++] = *axis;
    (*axis)++;
}

static bool is_key_list(const json_t *key)
{
    size_t numbers = 0;
    long long n;
    for (size_t i = 0; i < json_array_size(key); i++)
        numbers += json_read_int(json_array_get(key, i), &n);
    /* A list of numbers alone may have been x[[0, 2]]. */
    return json_is_array(key) && (numbers < json_array_size(key) || numbers == 1);
}

static bool read_key(const json_t *key, struct slices *s)
{
    json_t *alone = NULL;
    int axis = 0, used = 0;
    if (json_is_object(key) && strcmp(tag_of(key), "__tuple__") == 0)
        key = json_object_get(json_object_get(key, "config"), "value");
    bool list = json_is_array(key), ok = !list || is_key_list(key);
    if (!list)
        key = alone = json_pack("[O]", key ? key : json_null());
    for (size_t i = 0; i < json_array_size(key); i++) {
        const json_t *item = json_array_get(key, i);
        used += !json_is_null(item) && strcmp(tag_of(item), "__ellipsis__") != 0;
    }
    for (size_t i = 0; ok && i < json_array_size(key); i++) {
        const json_t *item = json_array_get(key, i);
        if (json_is_null(item)) {
            ok = s->count < SHAPE_MAX_RANK;
            s->from[s->count] = -1;
            s->count += ok;
        } else if (strcmp(tag_of(item), "__ellipsis__") == 0) {
            for (int k = used; k < s->rank; k++)
                whole_axis(s, &axis);
        } else {
            ok = read_item(item, s, &axis);
        }
    }
    json_decref(alone);
    while (ok && axis < s->rank)
        whole_axis(s, &axis);
    return ok && s->count <= SHAPE_MAX_RANK;
}

/* ---- Slice, CropImages ---- */

static bool read_start(const struct slice_config *c, const json_t *arguments, struct slices *s)
{
    const json_t *start = json_unwrap(layer_argument(arguments, 1, "start_indices"));
    if (!json_is_array(start) || json_array_size(start) != (size_t)s->rank || c->size_count != s->rank)
        return false;
    for (int i = 0; i < s->rank; i++) {
        long long n;
        if (!json_read_int(json_array_get(start, (size_t)i), &n) || n < 0)
            return false;
        s->axes[i] = (struct axis_slice){.has_start = true, .has_stop = c->sizes[i] >= 0, .start = n, .step = 1};
        s->axes[i].stop = c->sizes[i] < 0 ? 0 : n + c->sizes[i];
        s->from[s->count++] = i;
    }
    return true;
}

/* What of top and bottom (left and right) is not given follows from the size asked for. */
static bool read_crop(const struct slice_config *c, const struct shape *in, bool channels_first, struct slices *s)
{
    int first = s->rank - 3 + (channels_first ? 1 : 0);
    if (s->rank < 3)
        return false;
    for (int i = 0; i < s->rank; i++) {
        s->axes[i] = (struct axis_slice){.step = 1};
        s->from[s->count++] = i;
    }
    for (int k = 0; k < 2; k++) {
        int64_t before = c->crop[k], after = c->crop[k + 2], target = c->target[k], size = in->dims[first + k];
        if (size < 0 || (before < 0) + (after < 0) + (target < 0) != 1)
            return false;
        if (before < 0)
            before = size - after - target;
        if (target < 0)
            target = size - before - after;
        if (before < 0 || target < 1 || before + target > size)
            return false;
        s->axes[first + k] = (struct axis_slice){
            .has_start = true, .has_stop = true, .start = before, .stop = before + target, .step = 1};
    }
    return true;
}

static void op_slice_read(struct config_reader *reader, void *config, int variant)
{
    struct slice_config *c = config;
    c->variant = (enum slice_variant)variant;
    if (c->variant == SLICE_OP)
        c->size_count = config_list(reader, "shape", SHAPE_MAX_RANK, c->sizes);
    if (c->variant != SLICE_CROP)
        return;
    static const char *const keys[] = {"top_cropping", "left_cropping", "bottom_cropping", "right_cropping"};
    for (int i = 0; i < 4; i++)
        c->crop[i] = config_int(reader, keys[i], DIM_UNKNOWN);
    c->target[0] = config_int(reader, "target_height", DIM_UNKNOWN);
    c->target[1] = config_int(reader, "target_width", DIM_UNKNOWN);
    (void)config_data_format(reader);
}

static bool read_slices(const struct keras_layer *layer, const json_t *arguments, const struct shape *in,
                        struct slices *s)
{
    const struct slice_config *c = layer->config;
    *s = (struct slices){.rank = in->rank};
    switch (c->variant) {
    case SLICE_GETITEM: return read_key(layer_argument(arguments, 1, "key"), s);
    case SLICE_OP: return read_start(c, arguments, s);
    case SLICE_CROP: return read_crop(c, in, layer->channels_first, s);
    }
    return false;
}

/* ---- shapes and the reference ---- */

/* First cell and number of cells, as Python's slice.indices(size). */
static void resolve(const struct axis_slice *a, int64_t size, int64_t *first, int64_t *count)
{
    int64_t low = a->step > 0 ? 0 : -1, high = a->step > 0 ? size : size - 1;
    int64_t start = a->start < 0 ? a->start + size : a->start, stop = a->stop < 0 ? a->stop + size : a->stop;
    if (a->index) {
        *first = start;
        *count = start >= 0 && start < size ? 1 : 0;
        return;
    }
    start = !a->has_start ? (a->step > 0 ? low : high) : start < low ? low : start > high ? high : start;
    stop = !a->has_stop ? (a->step > 0 ? high : low) : stop < low ? low : stop > high ? high : stop;
    int64_t span = a->step > 0 ? stop - start : start - stop, step = a->step > 0 ? a->step : -a->step;
    *first = start;
    *count = span > 0 ? (span + step - 1) / step : 0;
}

static bool is_whole(const struct axis_slice *a)
{
    return !a->index && !a->has_start && !a->has_stop && (a->step == 1 || a->step == -1);
}

static int op_slice_shape(struct layer_shape *s)
{
    struct slices slices;
    const struct shape *in = &s->inputs[0];
    if (s->input_count != 1 || layer_argument_tensor(layer_argument(s->arguments, 0, NULL)) != 0 ||
        !read_slices(s->layer, s->arguments, in, &slices))
        return operand_fail(s, "key");
    s->outputs[0] = (struct shape){.rank = slices.count};
    s->output_dtypes[0] = s->input_dtypes[0];
    int64_t first, count[SHAPE_MAX_RANK];
    for (int i = 0; i < slices.rank; i++) {
        count[i] = DIM_UNKNOWN;
        if (in->dims[i] < 0)
            continue;
        resolve(&slices.axes[i], in->dims[i], &first, &count[i]);
        if (count[i] == 0)
            return layer_shape_fail(s, "Nothing is left of axis %d of the input", i);
    }
    for (int i = 0; i < slices.count; i++)
        s->outputs[0].dims[i] = slices.from[i] < 0 ? 1 : count[slices.from[i]];
    return 0;
}

static int64_t slice_source(const void *context, int axis, int64_t size, int64_t index)
{
    const struct slices *s = context;
    int64_t first, count;
    resolve(&s->axes[axis], size, &first, &count);
    return first + index * s->axes[axis].step;
}

static int op_slice_reference(const struct layer_run *run)
{
    struct slices s;
    const struct tensor *in = run->inputs[0];
    int64_t dims[SHAPE_MAX_RANK], first;
    if (!read_slices(run->layer, run->arguments, &in->shape, &s))
        return h5pt_fail(run->err, H5PT_INTERNAL, run->layer->path, "The arguments are not as they were");
    for (int i = 0; i < s.rank; i++)
        resolve(&s.axes[i], in->shape.dims[i], &first, &dims[i]);
    return reference_by_axes(run, in, dims, slice_source, &s, 0, run->outputs[0]->data);
}

/* ---- lowering ---- */

/* A slice with a negative step is a flip and a slice that counts from the other end. */
static struct axis_slice turned(const struct axis_slice *a)
{
    struct axis_slice t = *a;
    t.step = -a->step;
    t.start = -a->start - 1;
    t.stop = -a->stop - 1;
    return t;
}

static struct lowered slice_axis(struct lowering *l, const struct keras_call *call, struct lowered x, int dim,
                                 const struct axis_slice *slice)
{
    struct axis_slice a = *slice;
    int64_t size = lower_shape(l, x.id).dims[dim];
    if (a.step < 0) {
        x = lower_flip(l, call, x, 1, &(int64_t){dim});
        a = turned(&a);
    }
    if (size >= 0 && a.has_start && a.start < 0)
        a.start = a.start + size < 0 ? 0 : a.start + size;
    if (size >= 0 && a.has_stop && a.stop < 0)
        a.stop += size;
    if (a.has_stop && a.stop == 0) {
        struct lowered failed = {.id = -1, .layout = x.layout};
        return failed;
    }
    return lower_range(l, call, x, dim, a.has_start ? a.start : 0, a.has_stop ? a.stop : 0, a.step);
}

static int op_slice_lower(struct lowering *l, const struct keras_call *call)
{
    struct slices s;
    if (!read_slices(call->layer, call->arguments, &call->inputs[0]->shape, &s))
        return -1;
    struct lowered x = lower_input_plain(l, call, 0);
    bool reshapes = s.count != s.rank;
    for (int i = 0; i < s.rank; i++) {
        reshapes = reshapes || s.axes[i].index;
        if (!s.axes[i].index && !(is_whole(&s.axes[i]) && s.axes[i].step == 1))
            x = slice_axis(l, call, x, layout_axis(&x.layout, i), &s.axes[i]);
        if (x.id < 0)
            return -1;
    }
    if (reshapes) {
        struct layout keras = layout_keras(s.rank);
        x = layout_convert(l, call, x, &keras);
        for (int i = s.rank - 1; i >= 0; i--)
            if (s.axes[i].index)
                x = lower_select(l, call, x, i, s.axes[i].start);
        for (int i = 0; i < s.count; i++)
            if (s.from[i] < 0)
                x = lower_unsqueeze(l, call, x, i);
    }
    return lower_output(l, call, 0, x);
}

const struct layer_handler op_slice_handler = {
    .config_size = sizeof(struct slice_config),
    .read = op_slice_read,
    .shape = op_slice_shape,
    .reference = op_slice_reference,
    .lower = op_slice_lower,
};
