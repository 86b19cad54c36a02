/* SPDX-License-Identifier: Apache-2.0 */
/* Reads code objects as CPython's marshal module writes them (2.7 and 3.5 to 3.13). Nothing is ever run: the objects are plain
 * data in the arena. Every length is checked against what is left; sizes and nesting have limits. Private to keras/. */
#ifndef H5PT_KERAS_LAMBDA_MARSHAL_H
#define H5PT_KERAS_LAMBDA_MARSHAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"

enum { PY_MAX_OBJECTS = 20000, PY_MAX_NESTING = 20 };

enum py_kind {
    PY_NONE,
    PY_TRUE,
    PY_FALSE,
    PY_ELLIPSIS,
    PY_INT, /* of 64 bits */
    PY_FLOAT,
    PY_TEXT,  /* also the strings of Python 2 */
    PY_TUPLE, /* also lists and sets */
    PY_CODE,
    PY_OTHER, /* numbers of more bits, complex numbers, dicts: nothing is done with them */
};

struct py_object {
    enum py_kind kind;
    int64_t integer;
    double real;
    const unsigned char *bytes; /* TEXT: in the input, not terminated */
    size_t count;               /* of bytes or items */
    struct py_object **items;   /* TUPLE; CODE: see py_code_* */
    struct py_code *code;
};

/* How code objects are laid out. */
enum py_layout { PY_LAYOUT_27, PY_LAYOUT_35, PY_LAYOUT_38, PY_LAYOUT_311, PY_LAYOUT_COUNT };

struct py_code {
    enum py_layout layout;
    int argcount, posonly, kwonly, locals, flags;
    const struct py_object *code; /* TEXT: the instructions */
    const struct py_object *consts, *names, *varnames, *freevars,
        *cellvars;                        /* TUPLEs; from 3.11 on all locals are varnames */
    const struct py_object *kinds;        /* TEXT, 3.11: which locals are cells or free */
    const struct py_object *name, *lines; /* TEXT */
};
enum { PY_VARARGS = 4, PY_VARKEYWORDS = 8, PY_KIND_CELL = 0x40, PY_KIND_FREE = 0x80 };

/* The code object in `bytes` (which must live as long as the result) in this layout; NULL when it is not one that fills
 * them, or without memory. */
const struct py_code *py_unmarshal(struct arena *arena, const unsigned char *bytes, size_t length,
                                   enum py_layout layout);

#endif
