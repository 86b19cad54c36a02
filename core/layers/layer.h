/* SPDX-License-Identifier: Apache-2.0 */
/* What a Keras layer class is to h5pt: five functions over a typed configuration. The classes are the rows of layers.def;
 * the functions live in one file per family.
 *
 *   read       configuration JSON → typed struct (refuses what it does not honour)
 *   shape      input shapes → output shapes and the weights that the layer has
 *   reference  computes the layer in Keras semantics, in Keras order (half of the parity check)
 *   lower      adds the nodes to the torch graph (the other half replays them)
 */
#ifndef H5PT_LAYERS_LAYER_H
#define H5PT_LAYERS_LAYER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/tensor.h"
#include "keras/config.h"
#include "keras/model.h"
#include "torch/graph.h"

struct lowering;

enum { LAYER_MAX_OUTPUTS = 32 };

enum layer_flag {
    LAYER_SPATIAL = 1 << 0,   /* wants (batch, channels, spatial …) in torch: convolution, pooling, up-sampling … */
    LAYER_POINTWISE = 1 << 1, /* same shape, element by element: works in any layout */
    LAYER_KEEPS_MASK = 1 << 2,   /* supports_masking: the mask of the input is the mask of the output */
    LAYER_HONOURS_MASK = 1 << 3, /* computes differently when masked */
    LAYER_ANY_DTYPE = 1
                      << 4, /* takes integers and gives the same type (Flatten, Reshape …) or knows what to do with them */
    LAYER_MERGE = 1 << 5,         /* takes a list of tensors; the others take one */
    LAYER_TAKES_MASK = 1 << 6,    /* gets the masks of its inputs as further inputs (call->mask_of) */
    LAYER_ARGUMENTS = 1 << 7,     /* looks at call->arguments itself; every tensor in them is an input */
    LAYER_NO_AUTOCAST = 1 << 8,   /* floating-point inputs are not cast to the type that the layer computes in (ids) */
    LAYER_PREPROCESSING = 1 << 9, /* Keras 3 writes training=true into its calls, which means nothing at inference */
    LAYER_OWN_DTYPE = 1 << 10,    /* reads the key "dtype" itself: not what it computes in but what it gives */
};

/* Shape inference. Inputs may have unknown dims at conversion; parity calls it again with known ones. Layers know one
 * floating-point type, which stands as DTYPE_F32 here: inputs have been cast to the type that the layer computes in (its dtype
 * policy), and outputs get that type. */
struct layer_shape {
    const struct keras_layer *layer;
    const void *config;
    int input_count;
    const struct shape *inputs;
    const enum dtype *input_dtypes;
    const json_t *arguments; /* of the call, see struct keras_call */
    const int *mask_of;
    /* to be set; preset to one output of float32 */
    int output_count;
    struct shape outputs[LAYER_MAX_OUTPUTS];
    enum dtype output_dtypes[LAYER_MAX_OUTPUTS];
    int weight_count;
    struct {
        const char *slot;
        struct shape shape;
    } weights[LAYER_MAX_WEIGHTS];
    struct h5pt_error *err;
};

/* A type as layers see it. */
static inline enum dtype layer_dtype(enum dtype dtype)
{
    return dtype_is_float(dtype) ? DTYPE_F32 : dtype;
}

/* Adds a weight to the declaration; dims are known. Order = Keras' order. */
void layer_weight(struct layer_shape *s, const char *slot, int rank, const int64_t *dims);
/* SHAPE_MISMATCH naming the layer, -1. */
int layer_shape_fail(struct layer_shape *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The known size of a dim of input 0, or SHAPE_UNKNOWN (-1). Used for dims that weights depend on. */
int layer_known_dim(struct layer_shape *s, int axis, int64_t *ret);

/* The argument at `position` of a call, or with this name (either may be absent: -1, NULL); NULL when it is not there or null. */
const json_t *layer_argument(const json_t *arguments, int position, const char *name);
/* The input that an argument is, or -1 when it is a constant. */
int layer_argument_tensor(const json_t *argument);
/* The index of the mask of input `index`, or -1. */
static inline int layer_mask(const int *mask_of, int index)
{
    return mask_of ? mask_of[index] : -1;
}

/* How many of the inputs come before the first mask. */
int layer_tensor_count(int input_count, const int *mask_of);
/* UNSUPPORTED_CALL_ARGUMENT and -1 when the call has more than `positions` arguments without a name, or one with a name that
 * is not among `names` (by spaces). For classes that read their arguments themselves; training=false may always stand there. */
int layer_check_arguments(struct layer_shape *s, int positions, const char *names);
/* The mask of a call of one tensor and, by position or name, a mask: the input that it is, or -1. */
int layer_mask_argument(const json_t *arguments, const int *mask_of);
/* The value of a flag among the arguments; *ret is false when it is not there. UNSUPPORTED_CALL_ARGUMENT, -1: not a flag. */
int layer_argument_flag(struct layer_shape *s, const char *name, bool *ret);

/* One run of a layer in Keras semantics. */
struct layer_run {
    const struct keras_layer *layer;
    const void *config;
    int input_count;
    const struct tensor *const *inputs;
    const json_t *arguments; /* of the call, see struct keras_call */
    const int *mask_of;
    const struct tensor *const *weights; /* layer->weight_count, in the order declared */
    int output_count;
    struct tensor *const *outputs; /* made by the caller with the shapes that `shape` told: fill their data */
    struct h5pt_error *err;
};

/* The functions of a family; one handler may serve several rows of the table, told apart by `variant`. */
struct layer_handler {
    size_t config_size; /* of the typed configuration, zeroed before read */
    void (*read)(struct config_reader *reader, void *config, int variant);
    int (*shape)(struct layer_shape *s);
    int (*reference)(const struct layer_run *run);
    int (*lower)(struct lowering *lowering, const struct keras_call *call); /* -1 after an error */
};

/* What is refused of some classes although Keras computes it. */
struct layer_limit {
    const char *classes; /* by spaces */
    const char *text;
};

/* A row of layers.def or operations.def. */
struct layer_class {
    const char *name;           /* "Conv2D" */
    const char *aliases;        /* other class names in files, by spaces, or "" */
    const char *versions;       /* which Kerases have it: of "1 2 tf 3" */
    const char *torch;          /* names of what it becomes, by spaces, see layers.def; NULL: those of `functions` */
    enum torch_op functions[2]; /* of two tensors, of a tensor and a number; or TORCH_NONE */
    unsigned flags;             /* of enum layer_flag */
    int variant;                /* the rank of a convolution, the operation of a merge … */
    const struct layer_handler *handler;
    const struct layer_limit *limits; /* those of its table, up to one without classes */
};

/* The class with this name or alias, or NULL. */
const struct layer_class *layer_class_find(const char *name);
/* The operation of a Keras 3 graph with this class name ("Add", which is not the layer of that name), or NULL:
 * operations.def. */
const struct layer_class *layer_operation_find(const char *name);
/* All operations, in table order; NULL past the end. */
const struct layer_class *layer_operation_at(size_t index);
/* All classes, in table order; NULL past the end. */
const struct layer_class *layer_class_at(size_t index);
/* The title of the family of that class. */
const char *layer_family_at(size_t index);
/* What is refused of the class, one text for each index; NULL past the last one. */
const char *layer_limit_at(const struct layer_class *class, size_t index);

#endif
