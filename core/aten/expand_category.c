/* SPDX-License-Identifier: Apache-2.0 */
/* Categories: ids of numbers, and of what adapted layers have seen. */
#include "aten/formula.h"

#include <math.h>

int aten_ONE_HOT(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0);
    int classes = aten_arange(b, x, aten_int(b, torch_attr_int(node, "num_classes")), DTYPE_I64);
    return aten_cast(b, aten_compare(b, "eq.Tensor", aten_unsqueeze(b, x, -1), classes), DTYPE_F32);
}

int aten_BUCKETIZE(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0), boundaries = aten_input(b, node, 1);
    return aten_emit(b, "bucketize.Tensor", aten_shape_of(b, x), DTYPE_I64,
                     ATEN_ARGS(aten_tensor("self", x), aten_tensor("boundaries", boundaries),
                               aten_keyword(aten_flag("out_int32", false)),
                               aten_keyword(aten_flag("right", aten_attr_flag(node, "right", false)))));
}

int aten_ISIN(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0), among = aten_input(b, node, 1);
    return aten_emit(b, "isin.Tensor_Tensor", aten_shape_of(b, x), DTYPE_BOOL,
                     ATEN_ARGS(aten_tensor("elements", x), aten_tensor("test_elements", among),
                               aten_keyword(aten_flag("assume_unique", false)),
                               aten_keyword(aten_flag("invert", aten_attr_flag(node, "invert", false)))));
}

/* The place of each x among ascending ones. */
static int places_among(struct aten_builder *b, int ascending, int x, bool right)
{
    return aten_emit(b, "searchsorted.Tensor", aten_shape_of(b, x), DTYPE_I64,
                     ATEN_ARGS(aten_tensor("sorted_sequence", ascending), aten_tensor("self", x),
                               aten_keyword(aten_flag("out_int32", false)), aten_keyword(aten_flag("right", right))));
}

/* table[places] */
static int entries(struct aten_builder *b, int table, int places)
{
    return aten_emit(b, "index.Tensor", aten_shape_of(b, places), aten_dtype_of(b, table),
                     ATEN_ARGS(aten_tensor("self", table), aten_tensors("indices", 1, &places)));
}

/* Whole numbers within min … max; without `max` there is no such limit. */
static int limited(struct aten_builder *b, int x, int64_t min, const int64_t *max)
{
    return aten_emit(b, "clamp.default", aten_shape_of(b, x), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integer("min", min),
                               max ? aten_integer("max", *max) : aten_none("max")));
}

/* op(self, other) with a whole number */
static int with_whole(struct aten_builder *b, const char *op, int x, int64_t number)
{
    return aten_emit(b, op, aten_shape_of(b, x), aten_dtype_of(b, x),
                     ATEN_ARGS(aten_tensor("self", x), aten_integer("other", number)));
}

/* What follows the last entry of a vector parameter or constant, less one. */
static int64_t last_place(struct aten_builder *b, int vector)
{
    const struct aten_int *count = aten_size(b, vector, -1);
    if (count && !aten_int_known(count))
        (void)aten_refuse(b, "a table of a size that only the input tells");
    return count ? count->value - 1 : 0;
}

int aten_LOOKUP(struct aten_builder *b, const struct torch_node *node)
{
    int x = aten_input(b, node, 0), tokens = aten_input(b, node, 1), indices = aten_input(b, node, 2);
    int64_t last = last_place(b, tokens);
    int line = aten_unary(b, "contiguous.default", x);
    int place = limited(b, places_among(b, tokens, line, false), 0, &last);
    int other = with_whole(b, "remainder.Scalar", x, aten_attr_int(node, "num_oov", 1));
    other = with_whole(b, "add.Scalar", other, aten_attr_int(node, "first_oov", 0));
    int found = aten_compare(b, "eq.Tensor", entries(b, tokens, place), x);
    return aten_where(b, found, entries(b, indices, place), other);
}

int aten_BIN_BOUNDARIES(struct aten_builder *b, const struct torch_node *node)
{
    int64_t bins = torch_attr_int(node, "num_bins");
    int summary = aten_input(b, node, 0), values = aten_select(b, summary, 0, 0);
    int64_t last = last_place(b, summary);
    double part = 1.0 / (double)bins;
    if ((double)(last + 1) * part < 1)
        return aten_slice(b, values, 0, NULL, aten_int(b, last));
    int total = aten_running_sum(b, aten_select(b, summary, 0, 1), 0);
    int share = aten_cast(b, aten_div(b, total, aten_select(b, total, 0, -1)), DTYPE_F64);
    int at = aten_arange(b, summary, aten_int(b, -(int64_t)floor(-1.0 / part) - 1), DTYPE_F64);
    at = aten_plus(b, aten_times(b, at, part), part);
    int right = limited(b, places_among(b, share, at, true), 1, &last), left = with_whole(b, "sub.Scalar", right, 1);
    int below = entries(b, share, left), above = entries(b, share, right);
    int between = aten_limit(b, aten_div(b, aten_sub(b, at, below), aten_sub(b, above, below)), 0, 1);
    values = aten_cast(b, values, DTYPE_F64);
    below = entries(b, values, left);
    int distance = aten_sub(b, entries(b, values, right), below);
    return aten_cast(b, aten_add(b, below, aten_mul(b, distance, between)), DTYPE_F32);
}
