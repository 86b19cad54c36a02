/* SPDX-License-Identifier: Apache-2.0 */
#include "layers/axes.h"

struct axis_list axis_list_read(struct config_reader *reader, const char *key, int64_t absent)
{
    struct axis_list list;
    list.count = config_list(reader, key, SHAPE_MAX_RANK, list.axes);
    if (list.count < 0) {
        list.count = 1;
        list.axes[0] = absent;
    }
    return list;
}

int axis_resolve(int64_t axis, int rank)
{
    if (axis < -rank || axis >= rank)
        return -1;
    return (int)(axis < 0 ? axis + rank : axis);
}

int axis_list_resolve(const struct axis_list *list, int rank, int ret[SHAPE_MAX_RANK])
{
    for (int i = 0; i < list->count; i++) {
        int axis = axis_resolve(list->axes[i], rank), at = i;
        if (axis < 0)
            return -1;
        for (; at > 0 && ret[at - 1] >= axis; at--) {
            if (ret[at - 1] == axis)
                return -1;
            ret[at] = ret[at - 1];
        }
        ret[at] = axis;
    }
    return list->count;
}

struct shape shape_without(const struct shape *shape, int count, const int *axes)
{
    struct shape ret = *shape;
    for (int i = 0; i < count; i++)
        ret.dims[axes[i]] = 1;
    return ret;
}

struct shape shape_only(const struct shape *shape, int count, const int *axes)
{
    struct shape ret = {.rank = shape->rank};
    for (int i = 0; i < shape->rank; i++)
        ret.dims[i] = 1;
    for (int i = 0; i < count; i++)
        ret.dims[axes[i]] = shape->dims[axes[i]];
    return ret;
}

bool shape_broadcast(const struct shape *a, const struct shape *b, struct shape *ret)
{
    const struct shape *longer = a->rank >= b->rank ? a : b, *shorter = a->rank >= b->rank ? b : a;
    int skip = longer->rank - shorter->rank;
    struct shape out = *longer;
    for (int i = 0; i < shorter->rank; i++) {
        int64_t x = longer->dims[skip + i], y = shorter->dims[i];
        if (x == 1 || (x == DIM_UNKNOWN && y != 1))
            out.dims[skip + i] = y;
        else if (y != 1 && y != DIM_UNKNOWN && y != x)
            return false;
    }
    *ret = out;
    return true;
}

void walk_begin(struct walk *walk, const struct shape *over, const struct shape *other)
{
    *walk = (struct walk){.rank = over->rank};
    int64_t stride = 1;
    for (int i = over->rank - 1, j = other->rank - 1; i >= 0; i--, j--) {
        walk->dims[i] = over->dims[i];
        walk->strides[i] = j >= 0 && other->dims[j] != 1 ? stride : 0;
        if (j >= 0)
            stride *= other->dims[j];
    }
}

void walk_next(struct walk *walk)
{
    for (int i = walk->rank - 1; i >= 0; i--) {
        walk->offset += walk->strides[i];
        if (++walk->index[i] < walk->dims[i])
            return;
        walk->offset -= walk->strides[i] * walk->dims[i];
        walk->index[i] = 0;
    }
}
