/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files that print Python. Private to write/python*.c. */
#ifndef H5PT_WRITE_PYTHON_INTERNAL_H
#define H5PT_WRITE_PYTHON_INTERNAL_H

#include <jansson.h>

#include "write/python.h"

/* What a value of the class is called where it is used. */
struct python_value {
    int uses;            /* by slots and outputs */
    int users;           /* the same, an optional run of slots counting once */
    int maker, last_use; /* slots; -1: an input of the class, nobody */
    bool inlined;        /* written inside the one expression that uses it */
    bool is_operation;   /* the text is `a + b`: needs parentheses inside others */
    bool pending;        /* inlined, and not yet part of a statement that was printed */
    const char *text;    /* a variable or an expression; NULL until it is made */
};

enum { PYTHON_SCRATCH = 2 };

struct python_printer {
    const struct torch_graph *graph;
    const struct structure_class *class; /* that is being printed */
    int slot;                            /* of it, whose expression is being made */
    bool constructing;                   /* arguments are variables, not yet attributes of self */
    struct arena *arena;
    struct python_value *values;      /* per value of the class */
    json_t *variables;                /* owned: names in use */
    int scratch[PYTHON_SCRATCH];      /* the value that x, y holds, or -1 */
    int scratch_uses[PYTHON_SCRATCH]; /* of it, still to come */
    json_t *held;                     /* owned: variable → the value that it holds where printing has got to */
    bool careful;                     /* every value has a variable of its own */
    bool wrong;                       /* a variable was read that holds another value by then */
    bool unprintable;                 /* even so */
    const char *run;                  /* while an optional run is printed: the variable of what it makes */
    bool broken;                      /* memory ran out */
};

/* ---- expressions (python_ops.c) ---- */
/* The right-hand side of the slot: `F.relu(self.conv(x))`, in the arena; NULL without memory. */
const char *python_expression(struct python_printer *p, int slot);
/* The argument of the class that stands for an attribute of the slot's node (or another of its features, see
 * structure.h), or NULL; and what it is written as. */
const struct structure_argument *python_argument_for(const struct python_printer *p, int index);
void python_add_argument(struct strbuf *out, const struct python_printer *p, const struct structure_argument *argument);
/* The attributes of a node as ops.def says, the first one behind a comma unless `first`. */
void python_add_attributes(struct strbuf *out, const struct python_printer *p, const struct torch_node *node,
                           const char *input, bool first);
/* Moves a text to the arena. */
const char *python_take(struct python_printer *p, struct strbuf *out);
/* The constructor of the slot's module (python_constructors.c): `nn.Conv2d(3, 64, 3, padding=1)`. */
const char *python_constructor(struct python_printer *p, int slot);
/* A value of an attribute as Python writes it. */
void python_add_attr(struct strbuf *out, const struct torch_attr *attr, const char *input);
/* Whether an option is set in a block of its class. */
bool python_has_option(const struct structure_block *block, int option);

/* What the option is by default: what most blocks have. */
bool python_option_standard(const struct structure_class *class, int option);

/* ---- classes (python_class.c) ---- */
/* A class with __init__ and forward. `docstring` is the text between the quotes, or NULL; `more` stands between __init__ and
 * forward, `frozen` at the end of __init__. */
void python_add_class(struct strbuf *out, struct python_printer *p, const struct structure_class *class,
                      const char *docstring, const char *frozen, const char *more);

/* ---- variables (python_names.c) ---- */
/* Begins a class: counts uses, and decides which values are written inside the expression that uses them. */
void python_begin_values(struct python_printer *p);
/* Names the parameters of forward. */
void python_name_inputs(struct python_printer *p);
/* The variable that a value is assigned to; "_" when nobody uses it. */
const char *python_variable(struct python_printer *p, int value);
/* What a slot's result may be called: after the module that it comes from, when the layer has only rearranged it since. */
const char *python_result_name(const struct python_printer *p, int slot);
/* A variable of this name, or name_2, name_3 … when it is in use. */
const char *python_take_name(struct python_printer *p, const char *wanted);
/* To be called when the expression of a slot has been made: its operands have one use less. */
void python_consume(struct python_printer *p, int slot);

/* Notes that a variable holds a value from here on. */
void python_hold(struct python_printer *p, const char *variable, int value);
/* Checks that the operands of a slot are still in their variables. */
void python_check_operands(struct python_printer *p, int slot);

/* ---- training (python_train.c) ---- */
/* Statements for the end of the constructor that freeze what Keras does not train; "" when all is trained. */
void python_add_frozen(struct strbuf *out, const struct torch_graph *graph, const struct structure_class *root);
/* The method train(), when frozen normalisation must stay in inference mode. */
void python_add_train(struct strbuf *out, const struct torch_graph *graph, const struct structure_class *root,
                      bool freezes);

/* ---- helpers ---- */
/* Whether a node of the graph has this operation. */
bool python_uses(const struct torch_graph *graph, enum torch_op op);
/* The recurrent loops (python_cells.c): whether an operation is one, the classes that the graph needs, and what stands in the
 * parentheses of a call. */
bool python_is_loop(enum torch_op op);
void python_add_loops(const struct torch_graph *graph, struct strbuf *out);
void python_add_loop_arguments(struct strbuf *out, const struct torch_node *node, const char *const *operands);

/* The helper functions that the graph's operations need, as text; "" when none. */
void python_add_helpers(const struct torch_graph *graph, struct strbuf *out);

#endif
