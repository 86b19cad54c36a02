/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files that print Python. Private to write/python*.c. */
#ifndef H5PT_WRITE_PYTHON_INTERNAL_H
#define H5PT_WRITE_PYTHON_INTERNAL_H

#include <jansson.h>

#include "write/python.h"

/* What a value is called where it is used. */
struct python_value {
    int uses;          /* by nodes and outputs */
    bool inlined;      /* written inside the one expression that uses it */
    bool is_operation; /* the text is `a + b`: needs parentheses inside others */
    const char *text;  /* a variable or an expression; NULL until it is made */
};

struct python_printer {
    const struct torch_graph *graph;
    struct arena *arena;
    struct python_value *values;
    json_t *variables; /* owned: names in use */
    int holder_of_x;   /* value id that the variable x holds, or -1 */
    int holder_uses;   /* of it, still to come */
    bool broken;       /* memory ran out */
};

/* The right-hand side of a node: `F.relu(self.conv(x))`, in the arena; NULL without memory. */
const char *python_expression(struct python_printer *p, const struct torch_node *node);
/* The constructor of a node's module: `nn.Conv2d(3, 64, 3, padding=1)`. */
const char *python_constructor(struct python_printer *p, const struct torch_node *node);
/* "(3, 28, 28)" or "(1,)" of a shape whose dims are all known. */
void python_add_shape(struct strbuf *out, const struct shape *shape);

/* Decides which values are written inside the expression that uses them. */
void python_plan_inlining(struct python_printer *p);
/* The variable that a value is assigned to; "_" when nobody uses it. */
const char *python_variable(struct python_printer *p, int value);
/* Names the parameters of forward. */
void python_name_inputs(struct python_printer *p);
/* To be called when a statement has been written: its operands have one use less. */
void python_consume(struct python_printer *p, const struct torch_node *node);

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
