/* SPDX-License-Identifier: Apache-2.0 */
/* Reads back the pickle of a state_dict. Knows the opcodes that such a pickle needs and that torch's weights_only loader
 * allows, and nothing of the writer: the bytes are all that it goes by. Whatever else is met is an error. */
#ifndef H5PT_WRITE_PICKLE_READ_H
#define H5PT_WRITE_PICKLE_READ_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"

enum pickled_kind {
    PICKLED_BOOL,       /* number: 0 or 1 */
    PICKLED_INT,        /* number */
    PICKLED_TEXT,       /* text */
    PICKLED_GLOBAL,     /* text: module, a space, name: "collections OrderedDict" */
    PICKLED_TUPLE,      /* items[0 … count-1] */
    PICKLED_DICT,       /* an OrderedDict: items[2 i] is a key, items[2 i + 1] its value, count counts both */
    PICKLED_CALL,       /* items[0] is what was called, items[1] the tuple of its arguments */
    PICKLED_PERSISTENT, /* items[0] is the persistent id */
};

struct pickled {
    enum pickled_kind kind;
    uint32_t count;
    union {
        int64_t number;
        const char *text; /* NUL-terminated, without a NUL inside */
        const struct pickled *items;
    };
};

/* The object in `bytes`, made in `arena`. Errors: INTERNAL (not such a pickle), OUT_OF_MEMORY. */
int pickle_read(const unsigned char *bytes, size_t size, struct arena *arena, struct pickled *ret,
                struct h5pt_error *err);

#endif
