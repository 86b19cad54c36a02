/* SPDX-License-Identifier: Apache-2.0 */
/* Follows the instructions of a function with symbols in place of tensors. What comes out is the operations that it would have
 * called; loops, branches on tensors, and names that the file does not explain are refused. lambda_eval.c and
 * lambda_follow.c follow the instructions, lambda_value.c knows the values. Private to keras/.
 *
 * Beyond the values of a trace there are: {"module": path} (a module or something in it, "tf.nn.relu"), {"lambda": index,
 * "defaults", "names", "closure"} (a function of the same code), {"of": value, "method": name}, {"vector": list} (a list that
 * stands for a tensor, such as K.shape gives: arithmetic goes through its items), {"nothing": true} (CPython's NULL). */
#ifndef H5PT_KERAS_LAMBDA_EVAL_H
#define H5PT_KERAS_LAMBDA_EVAL_H

#include "keras/lambda_code.h"
#include "keras/trace.h"

enum { LAMBDA_MAX_FUNCTIONS = 64, LAMBDA_MAX_STEPS = 20000 };

struct lambda {
    struct trace *t;
    int function_count;
    const struct py_code *functions[LAMBDA_MAX_FUNCTIONS];
    int steps; /* instructions followed so far */
};

/* Calls code with arguments (a list, an object), values for its last parameters (a list or null) and for its free variables (a
 * list or null). NULL with l->t->why. */
const json_t *lambda_call_code(struct lambda *l, const struct py_code *code, const json_t *args, const json_t *kwargs,
                               const json_t *defaults, const json_t *closure);

/* ---- lambda_value.c ---- */

/* A constant of the code as a value. */
const json_t *lambda_constant(struct lambda *l, const struct py_object *object);
/* A name that is not of the function itself: a module, or one of Python's own. */
const json_t *lambda_global(struct lambda *l, const char *name);
/* The module that `import path` gives, or NULL with why. */
const json_t *lambda_import(struct lambda *l, const char *path);
const json_t *lambda_attribute(struct lambda *l, const json_t *value, const char *name);
/* The value of what may be something in a module ("np.pi", "tf.float32") or a vector. */
const json_t *lambda_plain(struct lambda *l, const json_t *value);
const json_t *lambda_call(struct lambda *l, const json_t *callable, const json_t *args, const json_t *kwargs);
/* Arithmetic and comparison by the class of the operation of Keras; y is NULL for one operand. */
const json_t *lambda_operate(struct lambda *l, const char *class_name, const json_t *x, const json_t *y);
const json_t *lambda_getitem(struct lambda *l, const json_t *value, const json_t *key);
/* 1, 0, or -1 with why: a branch on a tensor. */
int lambda_truth(struct lambda *l, const json_t *value);

#endif
