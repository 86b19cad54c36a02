/* SPDX-License-Identifier: Apache-2.0 */
/* Formulas: the steps of expansions that compute something of their own, each one call. Operands broadcast. */
#ifndef H5PT_ATEN_FORMULA_H
#define H5PT_ATEN_FORMULA_H

#include "aten/aten.h"

/* Beyond base/dtypes.def: complex64, which values have only between the steps of an expansion. */
enum { ATEN_COMPLEX64 = DTYPE_COUNT };

int aten_add(struct aten_builder *b, int x, int y);
int aten_sub(struct aten_builder *b, int x, int y);
int aten_mul(struct aten_builder *b, int x, int y);
int aten_div(struct aten_builder *b, int x, int y);

/* Of floats and a number: x + y, x - y, x y, x / y, y - x. */
int aten_plus(struct aten_builder *b, int x, double y);
int aten_minus(struct aten_builder *b, int x, double y);
int aten_times(struct aten_builder *b, int x, double y);
int aten_over(struct aten_builder *b, int x, double y);
int aten_from(struct aten_builder *b, double y, int x);

/* "gt", x, number; "lt.Tensor", x, y: bool. */
int aten_than(struct aten_builder *b, const char *op, int x, double y);
int aten_compare(struct aten_builder *b, const char *op, int x, int y);
int aten_and(struct aten_builder *b, int x, int y);

/* At least min and at most max; infinite: no limit. */
int aten_limit(struct aten_builder *b, int x, double min, double max);
int aten_smaller(struct aten_builder *b, int x, int y);
int aten_larger(struct aten_builder *b, int x, int y);

/* x where the condition holds, else y. */
int aten_where(struct aten_builder *b, int condition, int x, int y);
int aten_where_number(struct aten_builder *b, int condition, int x, double y);

/* x (1 - part) + y part */
int aten_blend(struct aten_builder *b, int x, int y, int part);

/* op(self, dim, keepdim=True): "sum.dim_IntList", "amax.default" … over some dims. */
int aten_reduce(struct aten_builder *b, const char *op, int x, int count, const int64_t *dims);
int aten_running_sum(struct aten_builder *b, int x, int64_t dim);

/* 0, 1, … count - 1 on the device of `like`. */
int aten_arange(struct aten_builder *b, int like, const struct aten_int *count, enum dtype dtype);
/* A size as a tensor without dims. */
int aten_size_tensor(struct aten_builder *b, int like, const struct aten_int *size, enum dtype dtype);
/* A tensor of one value. */
int aten_full_of(struct aten_builder *b, int like, struct aten_shape shape, double value, enum dtype dtype);

int aten_stack(struct aten_builder *b, int count, const int *values, int64_t dim);
int aten_expand_to(struct aten_builder *b, int x, struct aten_shape shape);
int aten_gather(struct aten_builder *b, int x, int64_t dim, int index);
/* x[…, indices, …]: the places of dim that a vector names. */
int aten_pick(struct aten_builder *b, int x, int64_t dim, int indices);
int aten_matmul(struct aten_builder *b, int x, int y);

#endif
