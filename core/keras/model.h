/* SPDX-License-Identifier: Apache-2.0 */
/* The Keras graph: one normal form for the files of every Keras version. Layers with typed configurations, the calls of the
 * layers in the order in which they can run, nested models inlined (a layer's path keeps the scopes), weights bound by name
 * and checked by shape. Everything lives in the arena of the conversion. */
#ifndef H5PT_KERAS_MODEL_H
#define H5PT_KERAS_MODEL_H

#include <jansson.h>
#include <stdbool.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/findings.h"
#include "base/strbuf.h"
#include "base/tensor.h"
#include "source/source.h"

struct layer_class;
struct keras_call;

/* Who wrote the file. Semantics and defaults follow it. */
struct keras_version {
    int major, minor, patch; /* 2, 15, 0; a file that does not say is Keras 1 */
    bool tf;                 /* written by tf.keras ("2.2.4-tf", "2.3.0-tf", or 2.4.0 and later 2.x) */
    bool tensorflow;         /* computed by TensorFlow; also when the file does not name its backend */
    bool theano;             /* computed by Theano */
    bool any_backend;        /* a file of Keras 1 that has no weights whose names would tell */
};

/* Limits of a model; beyond them LIMIT_EXCEEDED. A step is an entry, a node or a reference that is gone through when a model is
 * called: models nested in models multiply them. */
enum { KERAS_MAX_CALLS = 100000, KERAS_MAX_NESTING = 32, KERAS_MAX_STEPS = 2000000 };

/* A weight of a layer, in the order of the layer's own list. */
struct keras_weight {
    const char *slot;                   /* "kernel", "bias", "gamma" … */
    struct shape shape;                 /* that the layer needs, in Keras order */
    const struct source_tensor *tensor; /* the one bound to it */
    /* When a low-rank update (LoRA) stands beside it, Keras computes with tensor + scale · a @ b; a is (…, rank), b (rank, last
     * dim). Both are weights of the same layer. NULL: there is none. */
    const struct keras_weight *low_rank_a, *low_rank_b;
    double low_rank_scale;
};

enum { LAYER_MAX_WEIGHTS = 24 };

struct keras_layer {
    const struct layer_class *class; /* NULL only while reading: refused */
    const char *class_name;          /* as written, "Conv2D" */
    const char *name;                /* "conv2d_1" */
    const char *path;                /* "encoder/conv2d_1": unique in the model */
    const json_t *json;              /* its config object (borrowed) */
    void *config;                    /* typed, of class->config_size bytes; filled by class->read */
    enum dtype compute; /* floating-point type of its weights, and that its inputs are cast to: dtype policy */
    bool compute_given; /* by the caller: whatever the policy says */
    bool trainable;
    bool channels_first;   /* data_format; false for layers without one */
    int64_t low_rank;      /* rank of the update of its kernel (LoRA), 0: there is none */
    double low_rank_scale; /* alpha / rank */
    int call_count;        /* more than one: the layer is shared */
    int weight_count;
    struct keras_weight weights[LAYER_MAX_WEIGHTS];
    const char *registered;            /* config_registered_name: the class is not Keras' own; or NULL */
    bool operation;                    /* an operation of a Keras 3 graph, no layer */
    bool autocast;                     /* not in the file: casts an input of a layer to the type that it computes in */
    bool prepared;                     /* class found and configuration read */
    bool built;                        /* weights declared and bound */
    const struct source_layer *source; /* the entry of layer_names that holds its weights, or NULL */
    const char *scope;                 /* names of the nested models below `source`, "inner/block", or "" */
};

/* One call of a nested model, whose layers are inlined: the calls of its layers point to it. */
struct keras_scope {
    const char *path;                 /* of the model, "outer/encoder" */
    const struct keras_scope *parent; /* the call that this one is part of; NULL: of the outermost model */
    int id;                           /* 0 …, in the order in which they begin */
};

/* One tensor of the Keras graph, in Keras order (as the configuration says, batch first). */
struct keras_value {
    struct shape shape; /* dims[0] is the batch and always DIM_UNKNOWN, unless rank is 0 */
    enum dtype dtype;
    bool masked;              /* carries a Keras mask */
    struct keras_value *mask; /* the mask, once a layer has asked for it */
    bool bad;                 /* made by a layer that was refused: nothing is known about it */
    const json_t
        *known; /* no tensor of the graph at all but a constant, such as a shape, that is known while reading; then
                            also bad */
    struct keras_call *call;
    int index; /* among the outputs of call */
    int id;    /* 0 … model->value_count - 1 */
};

/* One call of a layer or operation. */
struct keras_call {
    struct keras_layer *layer;
    int input_count, output_count;
    struct keras_value **inputs, **outputs;
    /* What stands in the file: {"args": […], "kwargs": {…}}, each tensor as {"tensor": index among the inputs}. NULL for calls
     * that are not in the file (inputs, masks). Layers that have no arguments but their inputs need not look. */
    const json_t *arguments;
    /* Masks, for layers that take them, are inputs too, behind the others: mask_of[i] is the index of the mask of input i, or
     * -1 (also for masks). NULL: no input has one. */
    const int *mask_of;
    const struct keras_scope *scope; /* NULL: a layer of the outermost model */
    int id;                          /* 0 … model->call_count - 1 */
};

struct keras_model {
    struct arena *arena; /* borrowed */
    struct keras_version version;
    const char *version_text; /* as the file or its architecture says, "2.15.0"; NULL: it does not say */
    const char *class_name, *name;
    enum dtype mixed; /* DTYPE_F16 or DTYPE_BF16: what a mixed policy computes in; else DTYPE_F32 */
    json_t *json;     /* owned: the parsed configuration */
    int layer_count, call_count, value_count, input_count, output_count;
    struct keras_layer **layers; /* in order of first call */
    struct keras_call **calls;   /* each after the calls that make its inputs; InputLayers of the model included */
    struct keras_value **inputs, **outputs;
    const char **input_names, **output_names;
};

/* What the caller knows and the file does not say; NULL: nothing. */
struct keras_request {
    const char *architecture; /* text of model.to_json(), for a file that holds weights only */
    const char *
        backend; /* "tensorflow" or "theano": who computed a model of Keras 1; wins over what the names of weights tell */
    const enum dtype *dtype; /* floating-point type for all layers and inputs instead of the ones in the file */
};

/* Reads the configuration and binds the weights of `source`. The configuration is the one in the file, or, for a file that
 * holds weights only, the one in the request. Everything that cannot be converted goes to `refusals` (then
 * the model is not usable, but names and counts are there for the report). Returns -1 only when there is no model to speak
 * of: CONFIG_MALFORMED, OUT_OF_MEMORY. *ret must be released by the caller also when refusals were added. */
int keras_model_read(const struct source *source, const struct keras_request *request, struct arena *arena,
                     struct findings *refusals, struct findings *warnings, struct keras_model *ret,
                     struct h5pt_error *err);
void keras_model_release(struct keras_model *model);

int64_t keras_layer_parameters(const struct keras_layer *layer); /* numbers in its weights */

struct keras_version keras_version_parse(const char *text); /* NULL: Keras 1 */

/* The graph as text, one call a line: what --dump keras prints and tests compare. */
void keras_model_dump(const struct keras_model *model, struct strbuf *out);

#endif
