/* SPDX-License-Identifier: Apache-2.0 */
/* The aten graph: the model as calls of PyTorch's own operators, in single-assignment form. The forms that hold a program
 * (model.pt2, TorchScript) are printed from it.
 *
 *     torch graph → aten_expand → aten graph → write/pt2*.c, …
 *
 * Each row of torch/ops.def has an expansion, aten_<ID> in expand_*.c, which emits the calls that the node stands for. An
 * expansion reads as the definition of its operation:
 *
 *     int aten_SELECT(struct aten_builder *b, const struct torch_node *node)
 *     {
 *         int x = aten_input(b, node, 0), dim = aten_dim(b, x, torch_attr_int(node, "dim"));
 *         return aten_emit(b, "select.int", aten_without(b, x, dim), aten_dtype_of(b, x),
 *                          ATEN_ARGS(aten_tensor("self", x), aten_integer("dim", dim),
 *                                    aten_integer("index", torch_attr_int(node, "index"))));
 *     }
 *
 * Rules:
 * - A value is an id; -1 comes of a failure. Every function here takes -1 and NULL and then does nothing, so an expansion
 *   need not check; it returns the id of the node's output (aten_set_output for the further ones).
 * - The operator is named with its overload as torch.ops.aten has it ("add.Tensor"). Arguments are given by their names in
 *   the schema, in its order and without gaps (trailing defaults may be left out); those behind `*` are wrapped in
 *   aten_keyword. `python -c "import torch; print(torch.ops.aten.add.Tensor._schema)"` shows a schema.
 * - An operator that torch 1.13 has is taken wherever there is one; with another one the form is chosen by b->newest.
 * - Shapes are exact: the output's shape is computed with sizes.h from the shapes of the inputs, never read from the torch
 *   graph, which has -1 where a dim is free; the driver checks it against that one. Sizes as arguments are the same
 *   expressions.
 * - The type of each result is the one that torch gives (aten_promoted); the driver compares that of the output, its rank and its
 *   known sizes with the torch graph, and a difference is an error: no wrong file comes of a wrong rule.
 * - Operations that are one operator on each element are rows of elementwise.def. What two expansions need is a function in
 *   parts.c, declared below, or a step of a formula (formula.h); what one helper of model.py does is written here once, for all forms.
 * - `training` as an argument is aten_training.
 * - Attributes are read with torch_attr*, defaults are those of the row in ops.def (attr_* below).
 * - What cannot be said with operators at all: aten_refuse with the reason; the form is then left out. */
#ifndef H5PT_ATEN_ATEN_H
#define H5PT_ATEN_ATEN_H

#include <stdbool.h>
#include <stdint.h>

#include "aten/sizes.h"
#include "base/arena.h"
#include "base/error.h"
#include "torch/graph.h"

/* Between the steps of an expansion a tensor may have more dims than those of the torch graph. */
enum { ATEN_MAX_RANK = 12 };

struct aten_shape {
    int rank;
    const struct aten_int *dims[ATEN_MAX_RANK];
};

struct aten_meta {
    struct aten_shape shape;
    enum dtype dtype;
};

enum aten_origin { ATEN_INPUT, ATEN_PARAMETER, ATEN_CALL, ATEN_STEP /* inside a scan: what a step is given */ };

struct aten_value {
    struct aten_meta meta;
    enum aten_origin origin;
    int index; /* of the input, the parameter or the call */
};

enum aten_arg_kind {
    ATEN_ARG_NONE,
    ATEN_ARG_TENSOR,
    ATEN_ARG_TENSORS, /* ids; ATEN_NO_TENSOR where an optional one is absent */
    ATEN_ARG_INT,     /* a number or an expression */
    ATEN_ARG_INTS,    /* the same, several */
    ATEN_ARG_FLOAT,
    ATEN_ARG_FLOATS,
    ATEN_ARG_BOOL,
    ATEN_ARG_TRAINING, /* whether the module trains: False in eval mode */
    ATEN_ARG_TEXT,
    ATEN_ARG_DTYPE,
    ATEN_ARG_DEVICE, /* that of `tensor` */
};

enum { ATEN_NO_TENSOR = -2 };

struct aten_arg {
    const char *name; /* in the schema */
    enum aten_arg_kind kind;
    bool keyword; /* behind `*` in the schema */
    int count;    /* TENSORS, INTS, FLOATS */
    union {
        int tensor;
        const int *tensors;
        const struct aten_int *size;
        const struct aten_int *const *sizes;
        int64_t number; /* as ATEN_ARG_INT in the hands of the caller; aten_emit makes it a size */
        const int64_t *numbers;
        double real;
        const double *reals;
        bool flag;
        const char *text;
        enum dtype dtype;
    };
    bool plain; /* INT, INTS: `number`, `numbers` */
};

/* A loop over dim 0 of some sequences, all of the same length. Each step has its part of each sequence and what the step before
 * carried over. The calls of a step follow that of the scan, whose outputs are what the last step carries over, then what all
 * steps give, stacked in dim 0. A step may use values from outside. */
enum { ATEN_SCAN_MAX = 4 };

struct aten_scan {
    int carried_count, sequence_count, given_count;
    int initial[ATEN_SCAN_MAX], carried[ATEN_SCAN_MAX], next[ATEN_SCAN_MAX]; /* before all steps; in a step; after it */
    int sequences[ATEN_SCAN_MAX], parts[ATEN_SCAN_MAX];
    int given[ATEN_SCAN_MAX];
    int call_count; /* of a step */
    int call;       /* the scan's own */
};

/* One call of an operator. */
struct aten_call {
    const char *op;                /* "conv2d.default" */
    const struct torch_node *node; /* that it is a part of */
    int arg_count;
    const struct aten_arg *args;
    int output, output_count;     /* ids output, output + 1 … */
    bool list;                    /* the outputs are one list (split, unbind) */
    const struct aten_scan *scan; /* instead of an operator and its arguments; else NULL */
};

struct aten_graph {
    struct arena *arena;             /* borrowed */
    const struct torch_graph *torch; /* borrowed */
    int value_count, call_count, symbol_count, size_count;
    struct aten_value *values;
    struct aten_call *calls;
    const struct aten_int **symbols;
    const struct aten_int **sizes;      /* every expression and number, by id */
    int *inputs, *parameters, *outputs; /* value ids; as many as the torch graph has, in its order */
};

/* Makes the aten graph; memory of the arena. `newest`: for torch.export of today; else only what torch 1.13 has. Errors:
 * UNSUPPORTED_OPERATION (the form cannot say it; where: the module or the operation), LIMIT_EXCEEDED, OUT_OF_MEMORY,
 * INTERNAL. */
int aten_expand(const struct torch_graph *graph, bool newest, struct arena *arena, struct aten_graph *ret,
                struct h5pt_error *err);

/* ---- for expansions ---- */

struct aten_builder {
    struct aten_graph *graph;
    bool newest; /* operators of today's torch may be used */
    bool failed; /* after an error nothing is done any more */
    struct h5pt_error *err;
    const struct torch_node *node; /* under way */
    int *value_of;                 /* torch value id → aten value id */
    int value_capacity, call_capacity, symbol_capacity, size_capacity;
};

typedef int aten_function(struct aten_builder *b, const struct torch_node *node);
#define OP(id, kind, module, callee, attributes) aten_function aten_##id;
#include "torch/ops.def"
#undef OP

/* Ends the expansion: the form cannot hold this model. The reason is a sentence without subject: "a loop over a number of
 * steps that only the input tells". Returns -1. */
int aten_refuse(struct aten_builder *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The value of an input or a parameter of the node. */
int aten_input(struct aten_builder *b, const struct torch_node *node, int index);
int aten_parameter(struct aten_builder *b, const struct torch_node *node, int index);
/* The same, ATEN_NO_TENSOR when the node has not so many. */
int aten_optional_parameter(struct aten_builder *b, const struct torch_node *node, int index);
/* Output `index` (from 1) of a node with several; the first one is what the expansion returns. */
void aten_set_output(struct aten_builder *b, const struct torch_node *node, int index, int value);

/* Emits a call with one output; returns its id. Arguments are copied. */
int aten_emit(struct aten_builder *b, const char *op, struct aten_shape shape, enum dtype dtype, int arg_count,
              const struct aten_arg *args);
/* With several outputs, as a tuple or as a list; returns the id of the first, the others follow. */
int aten_emit_many(struct aten_builder *b, const char *op, bool list, int output_count, const struct aten_meta *outputs,
                   int arg_count, const struct aten_arg *args);

/* Begins a scan: until it ends, calls are those of a step, on scan->carried and scan->parts; NULL after a failure. */
struct aten_scan *aten_scan_begin(struct aten_builder *b, int carried_count, const int *initial, int sequence_count,
                                  const int *sequences);
/* Ends it; all values are of the step. Returns the id of the first output. */
int aten_scan_end(struct aten_builder *b, struct aten_scan *scan, const int *next, int given_count, const int *given);

#define ATEN_ARGS(...)                                                                                                 \
    (int)(sizeof((const struct aten_arg[]){__VA_ARGS__}) / sizeof(struct aten_arg)), (const struct aten_arg[])         \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

struct aten_arg aten_none(const char *name);
struct aten_arg aten_tensor(const char *name, int value); /* ATEN_NO_TENSOR: None */
struct aten_arg aten_tensors(const char *name, int count, const int *values);
struct aten_arg aten_integer(const char *name, int64_t value);
struct aten_arg aten_integers(const char *name, int count, const int64_t *values);
struct aten_arg aten_size_arg(const char *name, const struct aten_int *size);
struct aten_arg aten_sizes(const char *name, int count, const struct aten_int *const *sizes);
struct aten_arg aten_shape_arg(const char *name, const struct aten_shape *shape);
struct aten_arg aten_real(const char *name, double value);
struct aten_arg aten_reals(const char *name, int count, const double *values);
struct aten_arg aten_flag(const char *name, bool value);
struct aten_arg aten_training(const char *name);
struct aten_arg aten_text(const char *name, const char *text); /* borrowed: a literal or text of the torch graph */
struct aten_arg aten_dtype(const char *name, enum dtype dtype);
struct aten_arg aten_device(const char *name, int like); /* where that value is */
struct aten_arg aten_keyword(struct aten_arg arg);
/* A Scalar: an INT or FLOAT attribute, whole numbers staying whole. */
struct aten_arg aten_scalar(const char *name, const struct torch_attr *attr);

/* ---- shapes ---- */

/* Of a value, and its parts; dims may count from the end. After a failure rank 0, 0, DTYPE_F32. */
struct aten_shape aten_shape_of(const struct aten_builder *b, int value);
int aten_rank(const struct aten_builder *b, int value);
enum dtype aten_dtype_of(const struct aten_builder *b, int value);
const struct aten_int *aten_size(struct aten_builder *b, int value, int64_t dim);
/* `dim` counted from the front; fails when there is none such. */
int aten_dim(struct aten_builder *b, int value, int64_t dim);
int aten_dim_of_rank(struct aten_builder *b, int rank, int64_t dim);

struct aten_shape aten_fixed(struct aten_builder *b, int rank, const int64_t *dims);
/* The shape of a value with one dim less, one more, one of another size. */
struct aten_shape aten_without(struct aten_builder *b, int value, int dim);
struct aten_shape aten_with(struct aten_builder *b, int value, int dim, const struct aten_int *size);
struct aten_shape aten_replaced(struct aten_builder *b, int value, int dim, const struct aten_int *size);
/* Of x and y as torch broadcasts them. */
struct aten_shape aten_broadcast(struct aten_builder *b, const struct aten_shape *x, const struct aten_shape *y);
/* The number of elements. */
const struct aten_int *aten_count(struct aten_builder *b, const struct aten_shape *shape);

/* ---- attributes with the defaults of ops.def ---- */

int64_t aten_attr_int(const struct torch_node *node, const char *name, int64_t fallback);
double aten_attr_real(const struct torch_node *node, const char *name, double fallback);
bool aten_attr_flag(const struct torch_node *node, const char *name, bool fallback);
/* INT or INTS for each of `count` dims into ret. */
void aten_attr_ints(const struct torch_node *node, const char *name, int count, int64_t fallback, int64_t *ret);
/* A list of dims of `value`, counted from the front, ascending; absent: all of them. Returns how many. */
int aten_attr_dims(struct aten_builder *b, const struct torch_node *node, const char *name, int value,
                   int64_t ret[ATEN_MAX_RANK]);

/* ---- frequent calls (parts.c) ---- */

/* op(self), of the same shape; and of another type. */
int aten_unary(struct aten_builder *b, const char *op, int x);
int aten_unary_as(struct aten_builder *b, const char *op, int x, enum dtype dtype);
/* op(self, other), broadcast; `dtype` of the result. */
int aten_binary(struct aten_builder *b, const char *op, int x, int y, enum dtype dtype);
/* The type of arithmetic between both. */
enum dtype aten_promoted(const struct aten_builder *b, int x, int y);
/* Arithmetic: add, sub, mul, div with the type that torch gives. "add", x, y. */
int aten_arithmetic(struct aten_builder *b, const char *name, int x, int y);
/* op(self, other) with a float: "mul.Scalar". For tensors of floats. */
int aten_with_real(struct aten_builder *b, const char *op, int x, double value);
int aten_cast(struct aten_builder *b, int x, enum dtype dtype); /* x itself when it has that type */
int aten_permute(struct aten_builder *b, int x, const int64_t *dims);
int aten_reshape(struct aten_builder *b, int x, struct aten_shape shape);
int aten_unsqueeze(struct aten_builder *b, int x, int64_t dim);
/* Cells start … stop of a dim; NULL: from 0, to the end. 0 <= start <= stop <= size must hold. */
int aten_slice(struct aten_builder *b, int x, int64_t dim, const struct aten_int *start, const struct aten_int *stop);
int aten_select(struct aten_builder *b, int x, int64_t dim, int64_t index);
int aten_cat(struct aten_builder *b, int count, const int *values, int64_t dim);
/* Constant padding, before and after of each dim (expressions; NULL: 0). */
int aten_pad(struct aten_builder *b, int x, const struct aten_int *const *before, const struct aten_int *const *after,
             double value);
/* A tensor of one value, of floats: zeros, ones and the like of that shape, on the device and of the type of `like`. */
int aten_full(struct aten_builder *b, int like, struct aten_shape shape, double value);

#endif
