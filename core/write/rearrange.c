/* SPDX-License-Identifier: Apache-2.0 */
#include "write/rearrange.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

enum {
    TILE = 16,       /* elements along each side of a tile; 64 took twice as long */
    CACHE_LINE = 64, /* bytes */
};

static void begin_part(struct rearrange_stream *stream)
{
    stream->data = stream->base + stream->order[stream->part] * stream->part_stride * (int64_t)stream->element;
    stream->position = 0;
}

void rearrange_init(struct rearrange_stream *stream, const struct rearrangement *r, const void *data, size_t element)
{
    assert(element == 1 || element == 2 || element == 4 || element == 8);
    *stream = (struct rearrange_stream){.data = data, .element = element, .count = 1, .part_count = 1};
    stream->data += (uint64_t)r->offset * element;
    stream->base = stream->data;
    int64_t strides[SHAPE_MAX_RANK], stride = 1;
    for (int i = r->view.rank - 1; i >= 0; i--) {
        strides[i] = stride;
        stride *= r->view.dims[i];
    }
    stream->count = (uint64_t)stride;
    int n = 0;
    if (r->order_count) {
        stream->part_count = r->order_count;
        stream->part_stride = strides[r->axes[0]];
        stream->count /= (uint64_t)r->order_count;
        memcpy(stream->order, r->order, sizeof stream->order);
        begin_part(stream);
    }
    for (int i = r->order_count ? 1 : 0; i < r->view.rank; i++) {
        int64_t dim = r->view.dims[r->axes[i]];
        stride = strides[r->axes[i]];
        if (dim == 1)
            continue;
        if (n > 0 && stream->strides[n - 1] == stride * dim) {
            stream->dims[n - 1] *= dim;
            stream->strides[n - 1] = stride;
        } else {
            stream->dims[n] = dim;
            stream->strides[n++] = stride;
        }
    }
    if (n == 0) {
        stream->dims[0] = 1;
        stream->strides[n++] = 1;
    }
    stream->rank = n;
}

/* out[i * out_stride + j] = in[i * in_stride_i + j * in_stride_j], strides in elements. The element size is a constant in
 * each instance, so that the copy of one element becomes a move. */
#define DEFINE_TILE(name, size)                                                                                        \
    static void name(unsigned char *out, int64_t out_stride, const unsigned char *in, int64_t in_stride_i,             \
                     int64_t in_stride_j, int64_t rows, int64_t columns)                                               \
    {                                                                                                                  \
        for (int64_t i = 0; i < rows; i++) {                                                                           \
            unsigned char *to = out + i * out_stride * (size);                                                         \
            const unsigned char *from = in + i * in_stride_i * (size);                                                 \
            for (int64_t j = 0; j < columns; j++)                                                                      \
                memcpy(to + j * (size), from + j * in_stride_j * (size), (size));                                      \
        }                                                                                                              \
    }
DEFINE_TILE(tile_1, 1)
DEFINE_TILE(tile_2, 2)
DEFINE_TILE(tile_4, 4)
DEFINE_TILE(tile_8, 8)
#undef DEFINE_TILE

static void copy_tile(size_t element, unsigned char *out, int64_t out_stride, const unsigned char *in,
                      int64_t in_stride_i, int64_t in_stride_j, int64_t rows, int64_t columns)
{
    switch (element) {
    case 1: tile_1(out, out_stride, in, in_stride_i, in_stride_j, rows, columns); break;
    case 2: tile_2(out, out_stride, in, in_stride_i, in_stride_j, rows, columns); break;
    case 4: tile_4(out, out_stride, in, in_stride_i, in_stride_j, rows, columns); break;
    default: tile_8(out, out_stride, in, in_stride_i, in_stride_j, rows, columns); break;
    }
}

/* The part of the output that one call produces: axes `first` to the last, of which `dims` are taken. */
struct block {
    const struct rearrange_stream *stream;
    int first, last;
    int tiled; /* the axis along which the input is contiguous, when it is in the block and not the last; else -1 */
    int64_t dims[SHAPE_MAX_RANK], out_strides[SHAPE_MAX_RANK];
};

/* The plane of the tiled and the last axis, in tiles that fit into the first-level cache both ways. */
static void copy_plane(const struct block *block, unsigned char *out, const unsigned char *in)
{
    const struct rearrange_stream *s = block->stream;
    int last = block->last, tiled = block->tiled;
    if (tiled < 0) {
        int64_t n = block->dims[last];
        if (s->strides[last] == 1)
            memcpy(out, in, (size_t)n * s->element);
        else
            copy_tile(s->element, out, 0, in, 0, s->strides[last], 1, n);
        return;
    }
    int64_t rows = block->dims[tiled], columns = block->dims[last], size = (int64_t)s->element;
    for (int64_t j = 0; j < columns; j += TILE) {
        int64_t width = columns - j < TILE ? columns - j : TILE;
        for (int64_t i = 0; i < rows; i += TILE) {
            int64_t height = rows - i < TILE ? rows - i : TILE;
            copy_tile(s->element, out + (i * block->out_strides[tiled] + j) * size, block->out_strides[tiled],
                      in + (i + j * s->strides[last]) * size, 1, s->strides[last], height, width);
        }
    }
}

/* All planes below `axis`; as deep as the rank. */
static void copy_axis(const struct block *block, int axis, unsigned char *out, const unsigned char *in)
{
    if (axis == block->last) {
        copy_plane(block, out, in);
        return;
    }
    if (axis == block->tiled) {
        copy_axis(block, axis + 1, out, in);
        return;
    }
    int64_t size = (int64_t)block->stream->element;
    for (int64_t i = 0; i < block->dims[axis]; i++)
        copy_axis(block, axis + 1, out + i * block->out_strides[axis] * size,
                  in + i * block->stream->strides[axis] * size);
}

/* How many indices of `axis`, each of `inner` elements, the next block takes. */
static int64_t block_length(const struct rearrange_stream *stream, int axis, int64_t inner, int64_t room)
{
    int64_t index = (int64_t)stream->position / inner % stream->dims[axis];
    int64_t length = room / inner, left = stream->dims[axis] - index, line = CACHE_LINE / (int64_t)stream->element;
    if (length >= left)
        return left;
    /* Whole cache lines of the input, so that none is fetched for two blocks. */
    if (stream->strides[axis] == 1 && length > line)
        length -= (index + length) % line;
    return length;
}

size_t rearrange_next(struct rearrange_stream *stream, void *out, size_t capacity)
{
    int64_t room = (int64_t)(capacity / stream->element), position = (int64_t)stream->position;
    if (stream->position == stream->count) {
        if (stream->part + 1 >= stream->part_count)
            return 0;
        stream->part++;
        begin_part(stream);
        position = 0;
    }
    assert(room > 0);
    /* The block starts at the outermost axis whose inner block fits and at which the position is a whole index. */
    struct block block = {.stream = stream, .last = stream->rank - 1, .first = stream->rank - 1, .tiled = -1};
    int64_t inner[SHAPE_MAX_RANK];
    inner[block.last] = 1;
    for (int i = block.last - 1; i >= 0; i--) {
        inner[i] = inner[i + 1] * stream->dims[i + 1];
        if (inner[i] <= room && position % inner[i] == 0)
            block.first = i;
    }
    int64_t length = block_length(stream, block.first, inner[block.first], room), from = 0;
    for (int i = 0; i <= block.first; i++)
        from += position / inner[i] % stream->dims[i] * stream->strides[i];
    for (int i = block.first; i <= block.last; i++) {
        block.dims[i] = i == block.first ? length : stream->dims[i];
        block.out_strides[i] = inner[i];
        if (i != block.last && stream->strides[i] == 1)
            block.tiled = i;
    }
    copy_axis(&block, block.first, out, stream->data + from * (int64_t)stream->element);
    uint64_t written = (uint64_t)(length * inner[block.first]);
    stream->position += written;
    return (size_t)written * stream->element;
}
