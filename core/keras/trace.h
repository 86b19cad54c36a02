/* SPDX-License-Identifier: Apache-2.0 */
/* Operations that a file holds in another form (TensorFlow's graph layers, Lambda bodies) are followed with the tensors of the
 * graph in hand and become the operations that Keras 3 would have written.
 *
 * A value is JSON. {"tensor": i} is tensor i of the trace; {"dim": axis, "of": id, "times": n} is n times a size that only
 * the input tells (the batch); all the rest stands for itself: null, numbers, truth values, texts, lists (and tuples),
 * slices {"class_name": "__slice__", "config": {"start", "stop", "step"}} and {"class_name": "__ellipsis__"}.
 * Every value made here is kept by the builder: pointers are borrowed, and nothing has to be released. Functions that give a
 * value give NULL after setting `why`: the reason for the refusal, or OUT_OF_MEMORY. Private to keras/. */
#ifndef H5PT_KERAS_TRACE_H
#define H5PT_KERAS_TRACE_H

#include <jansson.h>
#include <stdbool.h>

#include "keras/build.h"

/* Beyond these LIMIT_EXCEEDED: operations that one layer may become, and items of a list. */
enum { TRACE_MAX_OPERATIONS = 2000, TRACE_MAX_ITEMS = 100000, TRACE_MAX_DEPTH = 16 };

struct trace {
    struct builder *b;
    const struct keras_layer *origin; /* the layer whose operations these are */
    int call_number;                  /* of the origin, from 1: makes the paths of a shared layer unique */
    int tensor_count, tensor_capacity;
    struct keras_value **tensors;
    int operation_count;
    struct keras_layer **operations; /* made so far, TRACE_MAX_OPERATIONS at most */
    int depth;                       /* of functions in functions */
    struct h5pt_error why;
};

void trace_begin(struct trace *t, struct builder *b, const struct keras_layer *origin, int call_number);

/* Takes over a new reference; NULL (memory) when `fresh` is NULL. */
const json_t *trace_keep(struct trace *t, json_t *fresh);
/* Refuses: sets why, gives NULL. */
const json_t *trace_refuse(struct trace *t, enum h5pt_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

const json_t *trace_integer(struct trace *t, long long value);
const json_t *trace_number(struct trace *t, double value); /* infinities and NaN in the form of base/json.h */
const json_t *trace_truth(struct trace *t, bool value);
const json_t *trace_null(struct trace *t);
const json_t *trace_text(struct trace *t, const char *text);
/* A list of `count` values. */
const json_t *trace_list(struct trace *t, const json_t *const *items, size_t count);
#define TRACE_LIST(t, ...)                                                                                             \
    trace_list((t), (const json_t *const[]){__VA_ARGS__},                                                              \
               sizeof((const json_t *const[]){__VA_ARGS__}) / sizeof(json_t *))
/* An object of some keys and values, NULL-terminated: key, value, key, value … */
const json_t *trace_object(struct trace *t, ...) __attribute__((sentinel));
const json_t *trace_slice(struct trace *t, const json_t *start, const json_t *stop, const json_t *step);

bool trace_is_slice(const json_t *value);
bool trace_is_ellipsis(const json_t *value);
bool trace_is_dim(const json_t *value);
bool trace_is_float(const json_t *value); /* also inf and nan */
/* True when a tensor, or a size that is not known, is in the value. */
bool trace_has_tensor(const json_t *value);
bool trace_has_dim(const json_t *value);

/* The value of a tensor of the graph: what is known without running stands for itself. */
const json_t *trace_tensor(struct trace *t, struct keras_value *value);
/* The tensor whose size a {"dim"} is; NULL without setting why when it is not to be had. */
const json_t *trace_dim_tensor(struct trace *t, const json_t *dim);
/* The tensor that a value is, or NULL. */
struct keras_value *trace_value(const struct trace *t, const json_t *value);
/* The sizes of a tensor or of a constant: a list. A tensor that was refused has none. */
const json_t *trace_shape(struct trace *t, const json_t *value);
/* The rank of a tensor or a constant, or -1. */
int trace_rank(const struct trace *t, const json_t *value);
/* The axis from the front, or -1 with why set. */
int trace_axis(struct trace *t, const json_t *axis, int rank);

/* Calls an operation of Keras 3: its class, configuration (an object, without name) and positional arguments (a list). What
 * holds no tensor is computed at once when it can be (fold.c), and refused otherwise. The result is the tensor, or a list
 * where the operation gives several. */
const json_t *trace_operation(struct trace *t, const char *class_name, const json_t *config, const json_t *args);
/* The same for operations without configuration. */
#define TRACE_APPLY(t, class_name, ...) trace_operation((t), (class_name), NULL, TRACE_LIST((t), __VA_ARGS__))

/* Computes an operation on constants; NULL without setting why when this one is not known. */
const json_t *fold_operation(struct trace *t, const char *class_name, const json_t *config, const json_t *args);
/* x[key] on a list of constants (or of values). */
const json_t *fold_getitem(struct trace *t, const json_t *list, const json_t *key);

#endif
