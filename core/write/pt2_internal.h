/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files that write model.pt2. Private to write/pt2*.c. */
#ifndef H5PT_WRITE_PT2_INTERNAL_H
#define H5PT_WRITE_PT2_INTERNAL_H

#include <jansson.h>

#include "aten/aten.h"
#include "base/arena.h"

struct pt2_printer {
    const struct aten_graph *graph;
    struct arena *arena;
    const char **values;    /* what each value is called; NULL until it is made */
    const char **sizes;     /* the node that gives an expression, by its id; NULL: none yet */
    json_t *taken;          /* owned: names in use → how many have asked for them */
    json_t *module_calls;   /* owned: module → how often it was called */
    const char *root;       /* the module stack of what belongs to no module */
    json_t *nodes;          /* owned: the list under construction */
    json_t *tensor_values;  /* owned: name → meta */
    json_t *sym_int_values; /* owned: name → expression */
    bool broken;            /* memory ran out */
};

/* `name`, or with a number behind it when that is taken; in the arena. */
const char *pt2_name(struct pt2_printer *p, const char *name);

/* ---- pt2_meta.c: what torch knows of a tensor without having it ---- */

/* {"as_int": 3} or {"as_expr": …} */
json_t *pt2_size(struct pt2_printer *p, const struct aten_int *size);
/* {"dtype", "sizes", "requires_grad", "device", "strides", "storage_offset", "layout"} */
json_t *pt2_meta(struct pt2_printer *p, const struct aten_meta *meta, bool requires_grad);
json_t *pt2_parameter_meta(struct pt2_printer *p, int parameter);
/* The number of a type in the schema. */
int pt2_dtype(enum dtype dtype);
/* "s0" → {"min_val", "max_val"} */
json_t *pt2_ranges(const struct aten_graph *graph);

/* ---- pt2_node.c: calls ---- */

/* Appends all calls to p->nodes, and what they make to p->tensor_values. */
void pt2_add_nodes(struct pt2_printer *p);

/* ---- pt2_program.c ---- */

/* models/model.json, owned by the caller; NULL without memory. `inputs` are the names of forward's arguments. */
json_t *pt2_program(struct pt2_printer *p, const char *const *inputs);

/* object[key] = value, list.append(value): take `value`; NULL marks the printer broken. */
void pt2_set(struct pt2_printer *p, json_t *object, const char *key, json_t *value);
void pt2_append(struct pt2_printer *p, json_t *list, json_t *value);

#endif
