/* SPDX-License-Identifier: Apache-2.0 */
/* Lowering: what a layer's `lower` function calls to add nodes to the torch graph, and the layout pass that goes with it.
 *
 * Every Keras value has one or more torch values, each in some layout. A layer asks for its input in the layout that it
 * wants; only when no torch value has it is a permute added (once: later askers get the same one). Errors are sticky: after
 * the first, calls do nothing and return -1 ids; the driver checks once a layer. */
#ifndef H5PT_LAYERS_LOWER_H
#define H5PT_LAYERS_LOWER_H

#include <stdbool.h>

#include "base/error.h"
#include "keras/model.h"
#include "layers/layer.h"
#include "torch/graph.h"

/* How a torch value stores a Keras value: torch axis i holds Keras axis axes[i].
 * A value of rank 2 (batch, features) that came from flattening a feature map may hold its features in another order
 * (`flat_rank` > 0): Keras' features are flat_dims[0] × … row-major; torch's are the same cells with the axes in the order
 * flat_axes. Dense permutes its kernel rows accordingly. */
struct layout {
    int rank;
    int axes[SHAPE_MAX_RANK];
    int flat_rank;
    int64_t flat_dims[SHAPE_MAX_RANK];
    int flat_axes[SHAPE_MAX_RANK];
};

/* A torch value that holds a Keras value. */
struct lowered {
    int id; /* -1: after an error */
    struct layout layout;
};

struct lowering; /* opaque; made by lower_model */

/* SHAPE_UNKNOWN for the layer of this call, -1: for what depends on sizes that only running tells. */
int lower_fail(struct lowering *l, const struct keras_call *call, const char *why);

/* For texts and lists that nodes refer to. */
struct arena *lower_arena(const struct lowering *l);

/* ---- layouts ---- */
struct layout layout_keras(int rank); /* as in Keras */
/* Keras axis `axis` at torch axis 1, the others behind it in their order. */
struct layout layout_with_channels(int rank, int axis);
/* (batch, channels, spatial …) for a layer with its data_format. */
struct layout layout_spatial(const struct keras_layer *layer, int rank);
bool layout_equal(const struct layout *a, const struct layout *b);
bool layout_is_keras(const struct layout *layout);
/* The torch axis that holds this Keras axis (>= 0). Not for flat layouts. */
int layout_axis(const struct layout *layout, int keras_axis);

/* `x` in another layout of its rank, through a permute or, where only axes of size 1 move, a reshape. */
struct lowered layout_convert(struct lowering *l, const struct keras_call *call, struct lowered x,
                              const struct layout *to);

/* ---- inputs and outputs of the call ---- */
/* Input `index` of the call as it is, in whatever layout it has (the first one that it got). */
struct lowered lower_input(struct lowering *l, const struct keras_call *call, int index);
/* The same in this layout. */
struct lowered lower_input_as(struct lowering *l, const struct keras_call *call, int index,
                              const struct layout *layout);
/* In Keras order. */
struct lowered lower_input_keras(struct lowering *l, const struct keras_call *call, int index);
/* Says which torch value is output `index` of the call; -1 when there is none, after an error. */
int lower_output(struct lowering *l, const struct keras_call *call, int index, struct lowered value);
/* Whether a call or the model's outputs use output `index`: the others need not be lowered. */
bool lower_output_used(const struct lowering *l, const struct keras_call *call, int index);
struct shape lower_shape(const struct lowering *l, int id); /* of a torch value, in torch order */
enum dtype lower_dtype(const struct lowering *l, int id);

/* ---- modules and parameters ---- */
/* The attribute name of a module for this layer: the layer's path as an identifier, with `suffix` ("depthwise") when the
 * layer needs several. The same for every call of a shared layer. */
const char *lower_module(struct lowering *l, const struct keras_call *call, const char *suffix);
/* A parameter `<module>.<name>` (or `<module>` when name is NULL, for PARAMETER nodes) from weight `slot` of the layer:
 * view → axes → shape. Returns its id. Asking again for the same name gives the same parameter; with another rearrangement it
 * is an error, so a shared layer must lower alike in every call (call->layer->call_count > 1: use Keras order). */
int lower_parameter(struct lowering *l, const struct keras_call *call, const char *module, const char *name,
                    const char *slot, const struct rearrangement *r);
/* A buffer or parameter that is not in the file (DTYPE_F32: in the type that the layer computes in). `values` has shape's elements; copied. */
int lower_constant(struct lowering *l, const struct keras_call *call, const char *module, const char *name,
                   const struct shape *shape, enum dtype dtype, bool is_buffer, const float *values);
/* The weight with this slot, or NULL when the layer has none. */
const struct keras_weight *lower_weight(const struct keras_call *call, const char *slot);

/* Rearrangements: as stored; a transpose; and one for a weight whose axis `axis` runs over the features of a value in
 * `layout` (splits and permutes that axis when the layout is flat; the weight's other axes stay). */
struct rearrangement rearrange_as_is(const struct shape *shape);
struct rearrangement rearrange_axes(const struct shape *shape, const int *axes);
/* view/axes/shape of `shape` transposed by `axes`, where its axis `axis` holds features of `layout`. */
struct rearrangement rearrange_features(const struct shape *shape, const int *axes, int axis,
                                        const struct layout *layout);

/* ---- nodes ---- */
struct torch_attr attr_int(const char *name, int64_t value);
struct torch_attr attr_bool(const char *name, bool value);
struct torch_attr attr_float(const char *name, double value);
struct torch_attr attr_text(const char *name, const char *value); /* borrowed: a literal or arena text */
/* As attr_text, for a text that does not last. */
struct torch_attr attr_text_copy(struct lowering *l, const char *name, const char *value);
/* One INT when all values are equal, else INTS. `values` is copied. */
struct torch_attr attr_ints(struct lowering *l, const char *name, int count, const int64_t *values);
/* Always INTS. */
struct torch_attr attr_list(struct lowering *l, const char *name, int count, const int64_t *values);
struct torch_attr attr_sizes(struct lowering *l, const char *name, int count, const struct torch_size *values);

enum { NODE_MAX_INPUTS = 64, NODE_MAX_PARAMETERS = 8, NODE_MAX_ATTRS = 10 };

/* A node to be added. Arrays are copied. */
struct node_spec {
    enum torch_op op;
    const char *module; /* from lower_module; NULL: a function */
    int input_count;
    const int *inputs;
    int parameter_count;
    const int *parameters;
    int attr_count;
    const struct torch_attr *attrs;
    struct shape shape; /* of the output, in torch order */
    enum dtype dtype;   /* of the output; DTYPE_F32 is the floating-point type that the layer computes in */
    int more_outputs; /* outputs after the first (recurrent modules), of the same type; their ids follow the first one's */
    struct shape more_shapes[2];
};

/* Adds the node; returns the id of its first output. */
int lower_node(struct lowering *l, const struct keras_call *call, const struct node_spec *spec);

/* ---- frequent nodes ---- */
/* A function of one input: as lower_node with these fields. */
int lower_function(struct lowering *l, const struct keras_call *call, enum torch_op op, int input, int attr_count,
                   const struct torch_attr *attrs, struct shape shape, enum dtype dtype);
/* The same of two inputs. */
int lower_function2(struct lowering *l, const struct keras_call *call, enum torch_op op, int a, int b, int attr_count,
                    const struct torch_attr *attrs, struct shape shape, enum dtype dtype);
/* A module of one input that has no parameters; a function when `module` is NULL. */
int lower_plain_module(struct lowering *l, const struct keras_call *call, enum torch_op op, const char *module,
                       int input, int attr_count, const struct torch_attr *attrs, struct shape shape, enum dtype dtype);
/* A node with one input and no parameters that keeps shape and layout. */
struct lowered lower_pointwise(struct lowering *l, const struct keras_call *call, struct lowered x, enum torch_op op,
                               const char *module, int attr_count, const struct torch_attr *attrs);
/* x + y and the like, both in the same layout; the shape is the broadcast one. */
struct lowered lower_binary(struct lowering *l, const struct keras_call *call, enum torch_op op, struct lowered x,
                            struct lowered y);
/* The same with a result of that type. */
struct lowered lower_binary_as(struct lowering *l, const struct keras_call *call, enum torch_op op, struct lowered x,
                               struct lowered y, enum dtype dtype);
/* F.pad with constant padding: before/after per torch axis (rank of the value); all zero adds nothing. */
struct lowered lower_pad(struct lowering *l, const struct keras_call *call, struct lowered x, const int64_t *before,
                         const int64_t *after, double value);
/* x.reshape to Keras-order dims; unknown dims are taken from the same axis of the input when equal in number from the front,
 * the batch always is. `from` (or NULL) tells for each dim the input axis that it is read from, -1: fixed. */
struct lowered lower_reshape(struct lowering *l, const struct keras_call *call, struct lowered x, int rank,
                             const int64_t *dims, const int *from);

/* ---- the driver ---- */
/* Which values of the two graphs are the same, for the parity check. */
struct correspondence {
    /* Per Keras value: the torch value that holds it, and how (id -1: none does, e.g. flattened away). */
    struct lowered *torch_of;
    /* Per torch value: the Keras value that it holds, and how (id -1: none, it is an intermediate step). */
    struct lowered *keras_of;
};

/* Lowers the whole model into *ret (memory of the arena). Errors mean that the model is refused (the layer is named in
 * err->where) or OUT_OF_MEMORY. */
struct lower_options {
    bool keras_layout; /* inputs and outputs as Keras has them, not channels first */
};

int lower_model(const struct keras_model *model, const struct lower_options *options, struct arena *arena,
                struct torch_graph *ret, struct correspondence *ret_correspondence, struct h5pt_error *err);

#endif
