/* SPDX-License-Identifier: Apache-2.0 */
/* Emits Python's pickle, protocol 2, as far as PyTorch archives need it: no memo, and strings always as BINUNICODE, since
 * torch's weights_only loader knows no shorter form. Everything is appended to a strbuf, which tells at the end whether
 * there was memory. */
#ifndef H5PT_WRITE_PICKLE_H
#define H5PT_WRITE_PICKLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "base/tensor.h"

/* Opcodes without an argument. */
enum pickle_opcode {
    PICKLE_MARK = '(',  /* begins the items of TUPLE and SETITEMS */
    PICKLE_TUPLE = 't', /* everything since MARK, as a tuple */
    PICKLE_EMPTY_TUPLE = ')',
    PICKLE_SETITEMS = 'u',   /* key and value pairs since MARK, into the dict below it */
    PICKLE_REDUCE = 'R',     /* callable, arguments: the result of the call */
    PICKLE_PERSISTENT = 'Q', /* a persistent id: the object that the archive has under it */
    PICKLE_NONE = 'N',
    PICKLE_EMPTY_DICT = '}',
    PICKLE_NEW = 0x81,  /* class, arguments: an object of it */
    PICKLE_BUILD = 'b', /* object, state: the object with that state */
    PICKLE_STOP = '.',
};

void pickle_begin(struct strbuf *out);
void pickle_op(struct strbuf *out, enum pickle_opcode op);
void pickle_global(struct strbuf *out, const char *module, const char *name);
void pickle_text(struct strbuf *out, const char *text); /* UTF-8 */
void pickle_int(struct strbuf *out, int64_t value);
void pickle_bool(struct strbuf *out, bool value);
void pickle_ordered_dict(struct strbuf *out); /* collections.OrderedDict(), empty */

/* A dense row-major torch tensor over the whole storage `key`, the record data/<key> of the archive.
 * `dtype` has a torch storage and the size of `shape` is known. */
void pickle_tensor(struct strbuf *out, const char *key, enum dtype dtype, const struct shape *shape,
                   bool requires_grad);

#endif
