/* SPDX-License-Identifier: Apache-2.0 */
/* The functions that graph layers and Lambda bodies call (tf.*, keras.backend.*, keras.ops.*, raw TensorFlow operations,
 * Python's own), each told as operations of Keras 3: the rows of functions.def. */
#ifndef H5PT_KERAS_FUNCTIONS_H
#define H5PT_KERAS_FUNCTIONS_H

#include "keras/trace.h"

/* A row of functions.def. */
struct function {
    const char *module;     /* "tf", "K", "ops", "raw", "composed" … */
    const char *names;      /* by spaces */
    const char *parameters; /* see functions.def */
    const char *expression; /* see functions.def */
};

/* The function of that name, or NULL. Symbols of TensorFlow come with or without "compat.v1." before them. */
const struct function *function_find(const char *module, const char *name);

/* All functions, in table order; NULL past the end. */
const struct function *function_at(size_t index);
/* The operation that the function is, when it is no more than a call of one (a word of its expression; *length bytes), or NULL. */
const char *function_operation(const struct function *f, size_t *length);

/* Binds the arguments (a list and an object, or NULL) as Python would, refuses those that are not honoured, and computes the
 * expression. NULL after setting t->why. */
const json_t *function_call(struct trace *t, const struct function *f, const json_t *args, const json_t *kwargs);

/* The same for an operation of Keras 3 with its configuration (an object) and the arguments of the call ({"args", "kwargs"}). */
const json_t *function_call_operation(struct trace *t, const struct function *f, const json_t *config,
                                      const json_t *arguments);

/* What an expression cannot say (function_adapters.def): takes as many values as its row says. */
struct function_adapter {
    const char *name;
    int count;
    const json_t *(*call)(struct trace *t, const json_t *const *args);
};
const struct function_adapter *function_adapter_find(const char *name, size_t length);

#endif
