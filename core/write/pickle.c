/* SPDX-License-Identifier: Apache-2.0 */
#include "write/pickle.h"

#include <string.h>

enum {
    PROTO = 0x80,
    GLOBAL = 'c',
    BINUNICODE = 'X',
    BININT1 = 'K',
    BININT2 = 'M',
    BININT = 'J',
    LONG1 = 0x8a,
    NEWTRUE = 0x88,
    NEWFALSE = 0x89,
};

static void add_byte(struct strbuf *out, int byte)
{
    unsigned char b = (unsigned char)byte;
    strbuf_add_bytes(out, &b, 1);
}

static void add_little_endian(struct strbuf *out, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        add_byte(out, (int)(value >> (8 * i) & 0xff));
}

void pickle_begin(struct strbuf *out)
{
    add_byte(out, PROTO);
    add_byte(out, 2);
}

void pickle_op(struct strbuf *out, enum pickle_opcode op)
{
    add_byte(out, (int)op);
}

void pickle_global(struct strbuf *out, const char *module, const char *name)
{
    add_byte(out, GLOBAL);
    strbuf_add(out, module);
    strbuf_add(out, "\n");
    strbuf_add(out, name);
    strbuf_add(out, "\n");
}

void pickle_text(struct strbuf *out, const char *text)
{
    size_t n = strlen(text);
    if (n > UINT32_MAX) {
        out->broken = true;
        return;
    }
    add_byte(out, BINUNICODE);
    add_little_endian(out, n, 4);
    strbuf_add_bytes(out, text, n);
}

void pickle_int(struct strbuf *out, int64_t value)
{
    uint64_t bits = (uint64_t)value;
    if (value >= 0 && value <= UINT8_MAX) {
        add_byte(out, BININT1);
        add_little_endian(out, bits, 1);
    } else if (value >= 0 && value <= UINT16_MAX) {
        add_byte(out, BININT2);
        add_little_endian(out, bits, 2);
    } else if (value >= INT32_MIN && value <= INT32_MAX) {
        add_byte(out, BININT);
        add_little_endian(out, bits, 4);
    } else {
        add_byte(out, LONG1);
        add_byte(out, 8);
        add_little_endian(out, bits, 8);
    }
}

void pickle_bool(struct strbuf *out, bool value)
{
    add_byte(out, value ? NEWTRUE : NEWFALSE);
}

void pickle_ordered_dict(struct strbuf *out)
{
    pickle_global(out, "collections", "OrderedDict");
    pickle_op(out, PICKLE_EMPTY_TUPLE);
    pickle_op(out, PICKLE_REDUCE);
}

static void pickle_ints(struct strbuf *out, int count, const int64_t *values)
{
    pickle_op(out, PICKLE_MARK);
    for (int i = 0; i < count; i++)
        pickle_int(out, values[i]);
    pickle_op(out, PICKLE_TUPLE);
}

void pickle_tensor(struct strbuf *out, const char *key, enum dtype dtype, const struct shape *shape, bool requires_grad)
{
    int64_t count = 1, stride = 1, strides[SHAPE_MAX_RANK];
    (void)shape_count(shape, &count);
    for (int i = shape->rank - 1; i >= 0; i--) {
        strides[i] = stride;
        stride *= shape->dims[i] > 1 ? shape->dims[i] : 1;
    }
    pickle_global(out, "torch._utils", "_rebuild_tensor_v2");
    pickle_op(out, PICKLE_MARK);
    pickle_op(out, PICKLE_MARK);
    pickle_text(out, "storage");
    pickle_global(out, "torch", dtype_torch_storage(dtype));
    pickle_text(out, key);
    pickle_text(out, "cpu");
    pickle_int(out, count);
    pickle_op(out, PICKLE_TUPLE);
    pickle_op(out, PICKLE_PERSISTENT);
    pickle_int(out, 0); /* offset in the storage */
    pickle_ints(out, shape->rank, shape->dims);
    pickle_ints(out, shape->rank, strides);
    pickle_bool(out, requires_grad);
    pickle_ordered_dict(out); /* backward hooks */
    pickle_op(out, PICKLE_TUPLE);
    pickle_op(out, PICKLE_REDUCE);
}
