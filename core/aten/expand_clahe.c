/* SPDX-License-Identifier: Apache-2.0 */
/* Contrast limited adaptive histogram equalisation as Keras does it: clahe of model.py. */
#include "aten/formula.h"

#include <math.h>

enum { LEVELS = 256 };

/* One of the two spatial axes. */
struct tiled {
    int64_t grid;
    const struct aten_int *size, *tile; /* cells of the image; of a tile */
    int mirror;                         /* which cell of the image each cell of the tiles is: the end is mirrored */
    int first, part; /* the tile in whose middle or behind it each cell lies, and how far, in tiles */
};

static struct tiled tiled_of(struct aten_builder *b, const struct torch_node *node, int x, int axis)
{
    struct tiled t = {.grid = torch_attr_at(node, "grid", axis), .size = aten_size(b, x, 2 + axis)};
    t.tile = aten_int_ceil_div(b, t.size, t.grid > 0 ? t.grid : 1);
    int at = aten_arange(b, x, aten_int_linear(b, t.grid, t.tile, 0), DTYPE_I64);
    int size = aten_size_tensor(b, x, t.size, DTYPE_I64);
    int end = aten_size_tensor(b, x, aten_int_linear(b, 2, t.size, -1), DTYPE_I64);
    t.mirror = aten_where(b, aten_compare(b, "lt.Tensor", at, size), at, aten_sub(b, end, at));
    int tile = aten_size_tensor(b, x, t.tile, DTYPE_F32);
    int cells = aten_arange(b, x, t.size, DTYPE_F32);
    int place = aten_div(b, aten_sub(b, cells, aten_over(b, tile, 2)), tile);
    t.first = aten_unary(b, "floor.default", place);
    t.part = aten_sub(b, place, t.first);
    return t;
}

/* (batch, channels, tiles, cells of a tile) of the levels of the whole tiles. */
static int in_tiles(struct aten_builder *b, int levels, const struct tiled *rows, const struct tiled *columns)
{
    struct aten_shape cut = {.rank = 6};
    for (int i = 0; i < 2; i++)
        cut.dims[i] = aten_size(b, levels, i);
    cut.dims[2] = aten_int(b, rows->grid);
    cut.dims[3] = rows->tile;
    cut.dims[4] = aten_int(b, columns->grid);
    cut.dims[5] = columns->tile;
    int tiles = aten_permute(b, aten_reshape(b, levels, cut), (const int64_t[]){0, 1, 2, 4, 3, 5});
    struct aten_shape flat = {.rank = 4, .dims = {cut.dims[0], cut.dims[1]}};
    flat.dims[2] = aten_int(b, rows->grid * columns->grid);
    flat.dims[3] = aten_int_mul(b, rows->tile, columns->tile);
    return aten_reshape(b, tiles, flat);
}

/* How often each level is in a tile, cut off at the limit, what is cut off spread over all. */
static int histograms(struct aten_builder *b, const struct torch_node *node, int tiles, int area)
{
    double limit = torch_attr_float(node, "clip_limit");
    const int64_t last[1] = {3};
    struct aten_shape shape = aten_replaced(b, tiles, 3, aten_int(b, LEVELS));
    int zeros = aten_full_of(b, tiles, shape, 0, DTYPE_F32);
    int ones = aten_full_of(b, tiles, aten_shape_of(b, tiles), 1, DTYPE_F32);
    int counts = aten_emit(b, "scatter_add.default", shape, DTYPE_F32,
                           ATEN_ARGS(aten_tensor("self", zeros), aten_integer("dim", 3), aten_tensor("index", tiles),
                                     aten_tensor("src", ones)));
    if (!(limit > 0))
        return counts;
    int kept = aten_smaller(b, counts, aten_over(b, aten_times(b, area, limit), LEVELS));
    int rest = aten_reduce(b, "sum.dim_IntList", aten_sub(b, counts, kept), 1, last);
    return aten_add(b, kept, aten_over(b, rest, LEVELS));
}

/* What each level of each tile becomes, (batch, channels, tiles × levels). */
static int tables_of(struct aten_builder *b, int counts, int area)
{
    int sums = aten_running_sum(b, counts, 3), first = aten_slice(b, sums, 3, NULL, aten_int(b, 1));
    int rest = aten_sub(b, area, first);
    rest = aten_where_number(b, aten_than(b, "ne.Scalar", rest, 0), rest, 1);
    int tables = aten_limit(b, aten_div(b, aten_times(b, aten_sub(b, sums, first), 255), rest), 0, 255);
    struct aten_shape flat = aten_without(b, tables, 3);
    if (!b->failed)
        flat.dims[2] = aten_int_mul(b, aten_size(b, tables, 2), aten_int(b, LEVELS));
    return aten_reshape(b, tables, flat);
}

/* The tile `ahead` of the first one, as far as there are tiles. */
static int tile_at(struct aten_builder *b, const struct tiled *t, int ahead)
{
    int at = aten_limit(b, aten_plus(b, t->first, ahead), 0, (double)(t->grid - 1));
    return aten_cast(b, at, DTYPE_I64);
}

static int look_up(struct aten_builder *b, int tables, int levels, const struct tiled *rows,
                   const struct tiled *columns, int below, int beside)
{
    int grid = aten_size_tensor(b, levels, aten_int(b, columns->grid), DTYPE_I64);
    int count = aten_size_tensor(b, levels, aten_int(b, LEVELS), DTYPE_I64);
    int row = aten_unsqueeze(b, tile_at(b, rows, below), 1);
    int tile = aten_add(b, aten_mul(b, row, grid), tile_at(b, columns, beside));
    int index = aten_add(b, aten_mul(b, tile, count), levels);
    struct aten_shape flat = aten_without(b, index, 3);
    if (!b->failed)
        flat.dims[2] = aten_int_mul(b, aten_size(b, index, 2), aten_size(b, index, 3));
    return aten_reshape(b, aten_gather(b, tables, 2, aten_reshape(b, index, flat)), aten_shape_of(b, levels));
}

int aten_CLAHE(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0);
    double low = aten_attr_real(node, "low", 0), high = aten_attr_real(node, "high", 255);
    struct tiled rows = tiled_of(b, node, x, 0), columns = tiled_of(b, node, x, 1);
    int levels = aten_times(b, aten_over(b, aten_minus(b, x, low), high - low), 255);
    levels = aten_pick(b, aten_pick(b, levels, 2, rows.mirror), 3, columns.mirror);
    levels = aten_cast(b, aten_limit(b, levels, 0, 255), DTYPE_I64);
    int tiles = in_tiles(b, levels, &rows, &columns);
    int area = aten_size_tensor(b, x, aten_size(b, tiles, 3), DTYPE_F32);
    int tables = tables_of(b, histograms(b, node, tiles, area), area);
    levels = aten_slice(b, aten_slice(b, levels, 2, NULL, rows.size), 3, NULL, columns.size);
    int corners[4];
    for (int i = 0; i < 4; i++)
        corners[i] = look_up(b, tables, levels, &rows, &columns, i / 2, i % 2);
    int down = aten_unsqueeze(b, rows.part, 1);
    int top = aten_blend(b, corners[0], corners[1], columns.part),
        bottom = aten_blend(b, corners[2], corners[3], columns.part);
    int y = aten_over(b, aten_blend(b, top, bottom, down), 255);
    return aten_cast(b, aten_plus(b, aten_times(b, y, high - low), low), aten_dtype_of(b, x));
}
