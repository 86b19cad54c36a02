/* SPDX-License-Identifier: Apache-2.0 */
/* The instructions of a code object. Which Python wrote it does not stand in the file; it follows from the layout of the code
 * object and from the instructions themselves. Private to keras/. */
#ifndef H5PT_KERAS_LAMBDA_CODE_H
#define H5PT_KERAS_LAMBDA_CODE_H

#include "base/strbuf.h"
#include "keras/lambda_marshal.h"

enum py_op {
#define OPCODE(name, ...) PY_OP_##name,
#define CACHES(...)
#include "keras/lambda_opcodes.def"
#undef CACHES
#undef OPCODE
    PY_OP_COUNT
};

enum py_version { PY_27, PY_35, PY_36, PY_37, PY_38, PY_39, PY_310, PY_311, PY_312, PY_313, PY_VERSION_COUNT };
/* "3.10"; "3.8 or 3.9" where the instructions do not tell. */
const char *py_version_name(enum py_version version);
const char *py_op_name(enum py_op op);

struct py_instruction {
    enum py_op op;
    int arg;    /* with EXTENDED_ARG added in */
    int offset; /* in bytes, of the first byte that belongs to it */
    int end;    /* of the bytes that belong to it, caches not included */
    int after;  /* where the next instruction starts */
};

struct py_program {
    const struct py_code *code;
    enum py_version version;
    int count;
    struct py_instruction *instructions;
};

enum { PY_MAX_INSTRUCTIONS = 4000 };

/* Finds the version and takes the instructions apart; false when no version fits, or without memory. */
bool py_decode(struct arena *arena, const struct py_code *code, struct py_program *ret);

/* The index of the instruction at a byte offset, or -1. */
int py_instruction_at(const struct py_program *program, int offset);
/* Where a jump goes, as an index, or -1. Only forward jumps. */
int py_jump_target(const struct py_program *program, int index);

/* The beginning of a text, with ? for what is no printable ASCII. */
enum { PY_PRINTABLE_SIZE = 61 };
const char *py_printable(const struct py_object *text, char ret[PY_PRINTABLE_SIZE]);

/* "LOAD_FAST x; LOAD_CONST 2.0; BINARY_MULTIPLY; RETURN_VALUE", cut after `limit` bytes. */
void py_disassemble(const struct py_program *program, size_t limit, struct strbuf *out);

#endif
