/* SPDX-License-Identifier: Apache-2.0 */
/* What the operations of Keras 3 graphs (op_*.c) share: operands that are tensors or constants, the types that results have,
 * and small pieces of torch. */
#ifndef H5PT_LAYERS_OPERATION_H
#define H5PT_LAYERS_OPERATION_H

#include "layers/axes.h"
#include "layers/compose.h"
#include "layers/layer.h"
#include "layers/lower.h"

/* An argument that stands for a tensor: one of the graph, a number, or a constant array. */
struct operand {
    enum { OPERAND_NONE, OPERAND_TENSOR, OPERAND_NUMBER, OPERAND_ARRAY } kind;
    int input;            /* TENSOR: index among the inputs of the call */
    double number;        /* NUMBER */
    const json_t *values; /* ARRAY: nested lists */
    struct shape shape;   /* TENSOR: in Keras order; NUMBER: of rank 0 */
    enum dtype dtype;     /* NUMBER: bool, int32 or float32, by how it is written */
    bool weak;            /* a Python number: it does not widen a type of its own kind */
};

/* Where operands are looked up: the three stages of a call. */
struct operand_source {
    const json_t *arguments;
    int input_count;
    const struct shape *shapes; /* while shapes are inferred … */
    const enum dtype *dtypes;
    const struct tensor *const *tensors; /* … in a run … */
    struct keras_value *const *values;   /* … and in lowering */
};
struct operand_source operands_of_shape(const struct layer_shape *s);
struct operand_source operands_of_run(const struct layer_run *run);
struct operand_source operands_of_call(const struct keras_call *call);

/* What `argument` is; NONE for null, a text, an object or a ragged list. */
struct operand operand_from(const struct operand_source *source, const json_t *argument);
/* The argument at this position or with this name. */
struct operand operand_at(const struct operand_source *source, int position, const char *name);
/* The items of an argument that is a list of tensors; their number, or -1 when it is none or has more than `capacity`. */
int operand_list(const struct operand_source *source, const json_t *argument, int capacity, struct operand *ret);
/* The inputs that "x" is: `count` 1, one tensor; 2, a list of a real and an imaginary part. False when it is not that. */
bool operand_parts(const struct operand_source *source, int count, int ret[2]);
/* UNSUPPORTED_CALL_ARGUMENT naming the operation, -1. */
int operand_fail(struct layer_shape *s, const char *name);

/* The tensor in a run: the input itself, or the constant as a tensor; `owned` is to be freed, or NULL. NULL without memory. */
struct operand_tensor {
    const struct tensor *tensor;
    struct tensor *owned;
};
int operand_tensor(const struct layer_run *run, const struct operand *operand, struct operand_tensor *ret);
void operand_tensor_release(struct operand_tensor *t);
/* The numbers of a constant as a tensor owned by the caller; NULL without memory. */
struct tensor *operand_constant(const struct operand *operand);

/* Keras' result type: bool < integers < floats, then the larger; Python numbers only widen the kind. */
enum dtype operand_promote(const struct operand *a, const struct operand *b);
/* The type with which Keras computes functions that give floats. */
enum dtype dtype_floating(enum dtype dtype);

/* ---- reference ---- */
/* The cell of axis `axis` (of `size` cells) that cell `index` of the result is taken from; -1: none, the fill value. */
typedef int64_t axis_source(const void *context, int axis, int64_t size, int64_t index);
/* out[i, j …] = in[source(0, i), source(1, j) …]. `out_dims` are in->shape.rank sizes. */
int reference_by_axes(const struct layer_run *run, const struct tensor *in, const int64_t *out_dims,
                      axis_source *source, const void *context, float fill, float *out);

/* ---- lowering ---- */
struct h5pt_error *lower_error(struct lowering *l); /* where a refusal goes that only the lowering finds */
void lower_set_shape(struct lowering *l, int id, const struct shape *shape);
/* x as exactly this type. */
struct lowered lower_convert(struct lowering *l, const struct keras_call *call, struct lowered x, enum dtype dtype);
/* The operand in Keras order (a constant becomes a buffer). */
struct lowered lower_operand(struct lowering *l, const struct keras_call *call, const struct operand *operand,
                             const char *name);
/* The operand as it must be to meet others in `layout` (of the rank of the result), of this type. */
struct lowered lower_operand_as(struct lowering *l, const struct keras_call *call, const struct operand *operand,
                                const char *name, const struct layout *layout, enum dtype dtype);
/* The layout in which an element-wise operation on these operands with a result of `rank` is best done. */
struct layout lower_common_layout(struct lowering *l, const struct keras_call *call, int count,
                                  const struct operand *operands, int rank);
/* A constant: `values` in Keras order; a buffer called <layer>_<name>. */
struct lowered lower_buffer(struct lowering *l, const struct keras_call *call, const char *name,
                            const struct tensor *values, const struct layout *layout);
/* A function of one tensor, of several tensors in the same layout, and of a tensor and a number. */
struct lowered lower_map(struct lowering *l, const struct keras_call *call, enum torch_op op, struct lowered x,
                         enum dtype dtype);
struct lowered lower_join(struct lowering *l, const struct keras_call *call, enum torch_op op, struct lowered x,
                          struct lowered y, enum dtype dtype);
struct lowered lower_number(struct lowering *l, const struct keras_call *call, enum torch_op op, struct lowered x,
                            double value, bool reflected, enum dtype dtype);
/* where(condition, x, y), all in one layout. */
struct lowered lower_where(struct lowering *l, const struct keras_call *call, struct lowered condition,
                           struct lowered x, struct lowered y, enum dtype dtype);
/* Any function of one tensor: `shape` and `layout` are those of the result. */
struct lowered lower_one(struct lowering *l, const struct keras_call *call, enum torch_op op, struct lowered x,
                         struct shape shape, struct layout layout, enum dtype dtype, int attr_count,
                         const struct torch_attr *attrs);

/* ---- pieces (operation_pieces.c); `dim` is a torch dim of x, layouts follow ---- */
/* Input `index` in any layout but a flat one. */
struct lowered lower_input_plain(struct lowering *l, const struct keras_call *call, int index);
/* x[…, start:stop:step, …]; stop 0: to the end; negative ones count from the end; step > 0. */
struct lowered lower_range(struct lowering *l, const struct keras_call *call, struct lowered x, int dim, int64_t start,
                           int64_t stop, int64_t step);
struct lowered lower_flip(struct lowering *l, const struct keras_call *call, struct lowered x, int count,
                          const int64_t *dims);
/* One index of a dim, which goes away; x in Keras order. */
struct lowered lower_select(struct lowering *l, const struct keras_call *call, struct lowered x, int dim,
                            int64_t index);
/* x with axis i = axis axes[i] of x; a value in Keras order (x too) unless the layout can take it. */
struct lowered lower_transpose(struct lowering *l, const struct keras_call *call, struct lowered x, const int *axes);
/* SOLVE or SOLVE_TRIANGULAR of values in Keras order; y is a vector when it has one axis less. */
struct lowered lower_solve(struct lowering *l, const struct keras_call *call, enum torch_op op, struct lowered x,
                           struct lowered y, bool upper);

#endif
