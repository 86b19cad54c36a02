/* SPDX-License-Identifier: Apache-2.0 */
/* Produces the rearranged bytes of a tensor in pieces, so that only the source tensor is ever held whole. */
#ifndef H5PT_WRITE_REARRANGE_H
#define H5PT_WRITE_REARRANGE_H

#include <stddef.h>
#include <stdint.h>

#include "torch/graph.h"

struct rearrange_stream {
    const unsigned char *data;                             /* borrowed; of the part under way */
    size_t element;                                        /* bytes */
    int rank;                                              /* after merging axes that stay together; at least 1 */
    int64_t dims[SHAPE_MAX_RANK], strides[SHAPE_MAX_RANK]; /* of the output; strides in elements of the input */
    uint64_t position, count;                              /* in elements of the part under way */
    /* The entries of the first axis, when they are put into another order: one part each. */
    const unsigned char *base;
    int part, part_count, order[4];
    int64_t part_stride; /* in elements */
};

/* `data` holds the source tensor, row-major in r->view (all sizes known, the product fits into int64), elements of
 * `element` bytes (1, 2, 4 or 8). */
void rearrange_init(struct rearrange_stream *stream, const struct rearrangement *r, const void *data, size_t element);

/* Writes the next elements, as many as make a block that is good for the cache and fits into `capacity` bytes (at least
 * one element); returns the bytes written, 0 at the end. A large transpose runs near memory speed when `capacity` holds
 * 16 rows of the output or more, a row being what one index of the input's innermost axis spans. */
size_t rearrange_next(struct rearrange_stream *stream, void *out, size_t capacity);

#endif
