/* SPDX-License-Identifier: Apache-2.0 */
/* Axes as Keras configurations name them, and walks over tensors that broadcast against each other. */
#ifndef H5PT_LAYERS_AXES_H
#define H5PT_LAYERS_AXES_H

#include "base/tensor.h"
#include "keras/config.h"

/* Axes as written: in the order of the file, negative ones count from the end. */
struct axis_list {
    int count;
    int64_t axes[SHAPE_MAX_RANK];
};

/* Reads a number or a list; `absent` alone when the key is not there or null. */
struct axis_list axis_list_read(struct config_reader *reader, const char *key, int64_t absent);

/* The axis counted from the front, or -1 when a tensor of this rank has no such axis. */
int axis_resolve(int64_t axis, int rank);
/* All axes counted from the front, in ascending order; returns their number, or -1 when one is out of range or named twice. */
int axis_list_resolve(const struct axis_list *list, int rank, int ret[SHAPE_MAX_RANK]);

/* `shape` with size 1 along the axes given (shape_without), or along all others (shape_only). */
struct shape shape_without(const struct shape *shape, int count, const int *axes);
struct shape shape_only(const struct shape *shape, int count, const int *axes);

/* numpy's broadcast of two known shapes, aligned at the last axis. A size that is unknown on one side is taken from the other
 * unless that is 1. False when they do not fit. */
bool shape_broadcast(const struct shape *a, const struct shape *b, struct shape *ret);

/* Visits the elements of a shape in row-major order; `offset` is the element of `other` that belongs to the current one,
 * where `other` broadcasts to that shape (aligned at the last axis). */
struct walk {
    int rank;
    int64_t dims[SHAPE_MAX_RANK], strides[SHAPE_MAX_RANK], index[SHAPE_MAX_RANK];
    int64_t offset;
};

void walk_begin(struct walk *walk, const struct shape *over, const struct shape *other);
void walk_next(struct walk *walk);

#endif
