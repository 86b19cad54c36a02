/* SPDX-License-Identifier: Apache-2.0 */
/* A function while it is followed. lambda_follow.c has the instructions that work on variables, operands and lists;
 * lambda_eval.c those for names, calls and jumps. Private to these two. */
#ifndef H5PT_KERAS_LAMBDA_FRAME_H
#define H5PT_KERAS_LAMBDA_FRAME_H

#include "keras/lambda_eval.h"

enum { LAMBDA_STACK_MAX = 128, LAMBDA_LOCALS_MAX = 256 };

/* What following one instruction gave. */
enum outcome { FOLLOWED, NOT_MINE, FAILED };

struct frame {
    struct lambda *l;
    struct trace *t;
    struct py_program program;
    const struct py_code *code;
    const json_t *locals[LAMBDA_LOCALS_MAX]; /* NULL: not set. From 3.11 on, cells and free variables are locals too */
    const json_t *cells[LAMBDA_LOCALS_MAX];  /* before 3.11: cell variables, then free ones */
    bool cell_used[LAMBDA_LOCALS_MAX]; /* a function took the value of the cell along: it must not change any more */
    const json_t *stack[LAMBDA_STACK_MAX];
    int depth, next;             /* of the stack; index of the instruction to follow */
    const json_t *keyword_names; /* of KW_NAMES, for the next call */
    const json_t *result;        /* once it returned */
};

/* ---- the stack and the tables of the code ---- */

/* Refuses what is not supported and has no better reason yet. */
enum outcome frame_fail(struct frame *f);
/* NULL is a failure before. */
enum outcome frame_push(struct frame *f, const json_t *value);
/* NULL with why when the stack is empty. */
const json_t *frame_pop(struct frame *f);
const json_t *frame_pop_list(struct frame *f, int count);
/* CPython's NULL as a value. */
const json_t *frame_nothing(struct frame *f);
const struct py_object *frame_item(const struct py_object *tuple, int index);
/* A name of the code; false when it is not there, longer than names are, or not ASCII. */
bool frame_text(const struct py_object *tuple, int index, char ret[PY_PRINTABLE_SIZE]);
/* The same from co_names; refuses. */
bool frame_name(struct frame *f, int index, char ret[PY_PRINTABLE_SIZE]);
enum outcome frame_load_const(struct frame *f, int index);

/* ---- lambda_follow.c ---- */
enum outcome follow_variables(struct frame *f, const struct py_instruction *i);
enum outcome follow_stack(struct frame *f, const struct py_instruction *i);
enum outcome follow_operators(struct frame *f, const struct py_instruction *i);
enum outcome follow_lists(struct frame *f, const struct py_instruction *i);

#endif
