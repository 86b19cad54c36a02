/* SPDX-License-Identifier: Apache-2.0 */
/* The wire format of protocol buffers, as far as a NodeDef needs it. Source: the protobuf encoding guide; TensorFlow
 * node_def.proto and attr_value.proto. */
#include <string.h>

#include "keras/translate.h"

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct wire {
    const unsigned char *at, *end;
    bool damaged;
};

/* One field: its number and, by its type, a number or some bytes. */
struct field {
    unsigned number;
    uint64_t value;
    struct wire bytes;
};

static uint64_t varint(struct wire *w)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && w->at < w->end; shift += 7) {
        unsigned char byte = *w->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return value;
    }
    w->damaged = true;
    return 0;
}

static uint64_t fixed(struct wire *w, int size)
{
    uint64_t value = 0;
    if (w->end - w->at < size) {
        w->damaged = true;
        return 0;
    }
    for (int i = 0; i < size; i++)
        value |= (uint64_t)*w->at++ << (8 * i);
    return value;
}

/* The next field; false at the end or when damaged. */
static bool next_field(struct wire *w, struct field *ret)
{
    if (w->damaged || w->at >= w->end)
        return false;
    uint64_t key = varint(w);
    *ret = (struct field){.number = (unsigned)(key >> 3)};
    switch (key & 7) {
    case WIRE_VARINT: ret->value = varint(w); break;
    case WIRE_64: ret->value = fixed(w, 8); break;
    case WIRE_32: ret->value = fixed(w, 4); break;
    case WIRE_BYTES:
        ret->value = varint(w);
        if (w->damaged || ret->value > (uint64_t)(w->end - w->at)) {
            w->damaged = true;
            break;
        }
        ret->bytes = (struct wire){.at = w->at, .end = w->at + ret->value};
        w->at += ret->value;
        break;
    default: w->damaged = true;
    }
    return !w->damaged;
}

static json_t *text_of(const struct field *f)
{
    return f->bytes.at ? json_stringn((const char *)f->bytes.at, (size_t)(f->bytes.end - f->bytes.at)) : NULL;
}

static json_t *type_of(uint64_t type)
{
    static const char *const names[] = {NULL,      "DT_FLOAT",  "DT_DOUBLE", "DT_INT32", "DT_UINT8", "DT_INT16",
                                        "DT_INT8", "DT_STRING", NULL,        "DT_INT64", "DT_BOOL"};
    if (type == 19)
        return json_string("DT_HALF");
    if (type == 14)
        return json_string("DT_BFLOAT16");
    return json_string(type < sizeof names / sizeof *names && names[type] ? names[type] : "DT_INVALID");
}

/* Only lists of whole numbers occur in the operations that are known. */
static json_t *list_of(struct wire w)
{
    json_t *numbers = json_array();
    for (struct field f; next_field(&w, &f);) {
        if (f.number != 3)
            continue;
        if (!f.bytes.at)
            (void)json_array_append_new(numbers, json_integer((json_int_t)f.value));
        while (f.bytes.at && f.bytes.at < f.bytes.end && !f.bytes.damaged)
            (void)json_array_append_new(numbers, json_integer((json_int_t)varint(&f.bytes)));
    }
    return json_pack("{s:o}", "i", numbers);
}

static json_t *attr_of(struct wire w)
{
    json_t *attr = json_object();
    for (struct field f; next_field(&w, &f);) {
        uint32_t bits = (uint32_t)f.value;
        float real;
        memcpy(&real, &bits, sizeof real);
        if (f.number == 1 && f.bytes.at)
            (void)json_object_set_new(attr, "list", list_of(f.bytes));
        else if (f.number == 2 && f.bytes.at)
            (void)json_object_set_new(attr, "text", text_of(&f));
        else if (f.number == 3)
            (void)json_object_set_new(attr, "i", json_integer((json_int_t)f.value));
        else if (f.number == 4)
            (void)json_object_set_new(attr, "f", json_real((double)real));
        else if (f.number == 5)
            (void)json_object_set_new(attr, "b", json_boolean(f.value != 0));
        else if (f.number == 6)
            (void)json_object_set_new(attr, "type", type_of(f.value));
    }
    return attr;
}

static void add_attr(struct wire w, json_t *attrs)
{
    json_t *key = NULL, *value = NULL;
    for (struct field f; next_field(&w, &f);) {
        if (f.number == 1 && !key)
            key = text_of(&f);
        if (f.number == 2 && f.bytes.at && !value)
            value = attr_of(f.bytes);
    }
    if (key && value)
        (void)json_object_set(attrs, json_string_value(key), value);
    json_decref(key);
    json_decref(value);
}

json_t *node_def_parse(const char *text, size_t length)
{
    struct wire w = {.at = (const unsigned char *)text, .end = (const unsigned char *)text + length};
    json_t *inputs = json_array(), *attrs = json_object(), *op = NULL;
    for (struct field f; next_field(&w, &f);) {
        if (f.number == 2 && !op)
            op = text_of(&f);
        else if (f.number == 3)
            (void)json_array_append_new(inputs, text_of(&f));
        else if (f.number == 5 && f.bytes.at)
            add_attr(f.bytes, attrs);
    }
    if (w.damaged || !op) {
        json_decref(inputs);
        json_decref(attrs);
        json_decref(op);
        return NULL;
    }
    return json_pack("{s:o, s:o, s:o}", "op", op, "input", inputs, "attr", attrs);
}
