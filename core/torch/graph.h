/* SPDX-License-Identifier: Apache-2.0 */
/* The torch graph: calls of nn modules and torch functions in single-assignment form, in the order in which forward runs
 * them. Every pass reads or writes these few structs. All memory belongs to the arena of the conversion.
 *
 * A parameter is a source tensor plus the exact rearrangement that torch needs, or a constant; it is produced only when an
 * artifact is written. */
#ifndef H5PT_TORCH_GRAPH_H
#define H5PT_TORCH_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/strbuf.h"
#include "base/tensor.h"
#include "source/source.h"

enum torch_op {
#define OP(id, kind, module, callee, attributes) TORCH_##id,
#include "torch/ops.def"
#undef OP
    TORCH_OP_COUNT,
    TORCH_NONE = TORCH_OP_COUNT /* in tables: no operation */
};

enum torch_op_kind { TORCH_KIND_FUNCTION, TORCH_KIND_METHOD, TORCH_KIND_OPERATOR, TORCH_KIND_SPECIAL };

struct torch_op_info {
    const char *id; /* "CONV2D" */
    enum torch_op_kind kind;
    const char *module;     /* "nn.Conv2d" or NULL */
    const char *callee;     /* "F.relu" or NULL */
    const char *attributes; /* see ops.def */
};

const struct torch_op_info *torch_op_info(enum torch_op op);
/* What model.py calls it, as a module or else as a function, method or operator; "slice" when it is written as an index. */
const char *torch_op_name(enum torch_op op, bool module);

/* A size that is fixed (from_dim < 0: value), or read at run time from dim `from_dim` of the node's first input. */
struct torch_size {
    int64_t value;
    int from_dim;
};

enum torch_attr_kind {
    TORCH_ATTR_INT,
    TORCH_ATTR_FLOAT,
    TORCH_ATTR_BOOL,
    TORCH_ATTR_INTS,
    TORCH_ATTR_SIZES,
    TORCH_ATTR_TEXT
};

/* A named attribute; names are those of ops.def, that is of torch. */
struct torch_attr {
    const char *name;
    enum torch_attr_kind kind;
    union {
        int64_t i; /* INT, BOOL */
        double f;
        const char *text; /* TEXT: a mode, an equation, a dtype name ("int64") */
        struct {
            int count;
            const int64_t *v;
        } ints; /* INTS */
        struct {
            int count;
            const struct torch_size *v;
        } sizes; /* SIZES */
    };
};

/* How a parameter comes out of a source tensor: view it in `view` (row-major, same number of elements), transpose so that
 * axis i is view axis axes[i], put the entries of the first axis into the order `order` (entry i comes from order[i];
 * order_count 0: as they are), and call the result `shape`. With `part`, view covers only as many elements as it has, from
 * element `offset` on. */
struct rearrangement {
    struct shape view;
    int axes[SHAPE_MAX_RANK];
    struct shape shape;
    bool part;
    int64_t offset;
    int order_count;
    int order[4];
};

/* What is added to a source tensor before it is rearranged: scale · a @ b, a of as many rows as the tensor has but for its last
 * dim. */
struct torch_low_rank {
    const struct source_tensor *a, *b; /* NULL: nothing */
    int64_t rank;
    double scale;
};

struct torch_parameter {
    const char *name; /* state_dict key, "conv2d.weight"; unique in the graph, also when case is ignored */
    const struct source_tensor *source; /* NULL: a constant */
    struct rearrangement rearrangement;
    struct torch_low_rank low_rank;
    const float *constant; /* when source is NULL: shape's elements (float or, for I64, whole numbers) */
    enum dtype dtype;      /* as written */
    struct shape shape;    /* as written */
    bool is_buffer;        /* register_buffer, not nn.Parameter */
    bool trainable;        /* requires_grad in Keras */
    const char *keras;     /* name in the Keras file for the report, or NULL */
};

/* One value. Its shape is in torch order; DIM_UNKNOWN where free. */
struct torch_value {
    struct shape shape;
    enum dtype dtype;
    int node;         /* that makes it; -1: an input of the model */
    const char *hint; /* the name it would like to have in model.py (a layer name) */
};

struct keras_call;

struct torch_node {
    enum torch_op op;
    const char
        *module; /* attribute name on the nn.Module ("conv2d"): the node is a module call (or PARAMETER); else NULL */
    int input_count;
    const int *inputs; /* value ids */
    int output;        /* value id */
    int output_count;  /* more than 1: recurrent modules; their outputs have the ids output, output + 1 … */
    int attr_count;
    const struct torch_attr *attrs;
    int parameter_count;
    const int *parameters; /* ids, in the order in which torch's module has them: weight, bias, running_mean … */
    const struct keras_call *call; /* the Keras call it came from; NULL for interface permutes */
};

/* An input or output of the model. */
struct torch_interface {
    const char *name;
    int value;
    struct shape keras_shape;
    int axes[SHAPE_MAX_RANK]; /* inputs: numpy.transpose order from Keras to torch; outputs: from torch to Keras */
    bool permuted;            /* axes is not the identity */
};

struct torch_graph {
    struct arena *arena; /* borrowed */
    const char *name;    /* a Python class name, "Model" */
    int value_count, node_count, parameter_count, input_count, output_count;
    struct torch_value *values;
    struct torch_node *nodes;
    struct torch_parameter *parameters;
    struct torch_interface *inputs, *outputs;
};

static inline int torch_output_count(const struct torch_node *node)
{
    return node->output_count > 1 ? node->output_count : 1;
}

/* The attribute with this name, or NULL. */
const struct torch_attr *torch_attr(const struct torch_node *node, const char *name);
/* Shorthands; the attribute must be there and of that kind (BUG otherwise: they return 0, false, NULL). */
int64_t torch_attr_int(const struct torch_node *node, const char *name);
double torch_attr_float(const struct torch_node *node, const char *name);
const char *torch_attr_text(const struct torch_node *node, const char *name);
/* INTS: element `index`. An INT attribute counts as that value for every index. */
int64_t torch_attr_at(const struct torch_node *node, const char *name, int index);

/* " stride=(2, 1)", appended to out. */
void torch_attr_describe(const struct torch_attr *attr, struct strbuf *out);

/* "permute(3,2,0,1)", "view(7,7,512,10).permute(3,2,0,1)", "as is", "constant": appended to out, for the report. A source
 * tensor that is assembled, or a low-rank update ("plus(2 a@b)"), comes first: "permute(2,3,1,0).flip(0,1).permute(3,2,0,1)", "cat(1).permute(1,0)". */
void rearrangement_describe(const struct torch_parameter *parameter, struct strbuf *out);

/* The graph as text, one node a line: what --dump torch prints and tests compare. */
void torch_dump(const struct torch_graph *graph, struct strbuf *out);

#endif
