/* SPDX-License-Identifier: Apache-2.0 */
/* Source: CPython Python/marshal.c of the versions named. */
#include "keras/lambda_marshal.h"

#include <stdlib.h>
#include <string.h>

enum { FLAG_REF = 0x80 };

struct reader {
    struct arena *arena;
    const unsigned char *at, *end;
    enum py_layout layout;
    bool damaged;
    int depth;
    size_t objects;
    struct py_object **refs; /* PY_MAX_OBJECTS; NULL while the object is being read */
    size_t ref_count;
    struct py_object **interned; /* of Python 2 */
    size_t interned_count;
};

static struct py_object *object(struct reader *r);

static void *fail(struct reader *r)
{
    r->damaged = true;
    return NULL;
}

static uint64_t number(struct reader *r, int size)
{
    uint64_t value = 0;
    if (r->end - r->at < size) {
        r->damaged = true;
        return 0;
    }
    for (int i = 0; i < size; i++)
        value |= (uint64_t)*r->at++ << (8 * i);
    return value;
}

static int32_t int32(struct reader *r)
{
    return (int32_t)(uint32_t)number(r, 4);
}

/* A length of `size` bytes, at most what is left. */
static size_t length_of(struct reader *r, int size)
{
    uint64_t n = number(r, size);
    if (n > (uint64_t)(r->end - r->at)) {
        r->damaged = true;
        return 0;
    }
    return (size_t)n;
}

static struct py_object *fresh(struct reader *r, enum py_kind kind)
{
    struct py_object *o = r->objects++ < PY_MAX_OBJECTS ? ARENA_NEW(r->arena, struct py_object) : NULL;
    if (!o)
        return fail(r);
    o->kind = kind;
    return o;
}

static struct py_object *text(struct reader *r, int length_size, bool interned)
{
    size_t n = length_of(r, length_size);
    struct py_object *o = fresh(r, PY_TEXT);
    if (r->damaged || !o)
        return NULL;
    o->bytes = r->at;
    o->count = n;
    r->at += n;
    if (interned && r->interned_count < PY_MAX_OBJECTS)
        r->interned[r->interned_count++] = o;
    return o;
}

static struct py_object *tuple(struct reader *r, int length_size)
{
    size_t n = length_of(r, length_size); /* an item has a byte at least */
    struct py_object *o = fresh(r, PY_TUPLE);
    if (r->damaged || !o || n > PY_MAX_OBJECTS)
        return fail(r);
    o->items = ARENA_ARRAY(r->arena, struct py_object *, n + 1);
    o->count = n;
    for (size_t i = 0; i < n; i++)
        if (!o->items || !(o->items[i] = object(r)))
            return fail(r);
    return o;
}

/* Digits of 15 bits; what does not fit 64 bits is not looked at. */
static struct py_object *long_integer(struct reader *r)
{
    int32_t n = int32(r);
    bool negative = n < 0;
    uint64_t value = 0;
    struct py_object *o = fresh(r, PY_INT);
    if (!o || n == INT32_MIN)
        return fail(r);
    for (int32_t i = 0, count = negative ? -n : n; i < count; i++) {
        uint64_t digit = number(r, 2);
        if (r->damaged || digit > 0x7fff)
            return fail(r);
        if (i < 4)
            value |= digit << (15 * i);
        else
            o->kind = PY_OTHER;
    }
    o->integer = negative ? -(int64_t)value : (int64_t)value;
    return o;
}

static struct py_object *real(struct reader *r, bool binary)
{
    struct py_object *o = fresh(r, PY_FLOAT);
    if (!o)
        return NULL;
    if (binary) {
        uint64_t bits = number(r, 8);
        memcpy(&o->real, &bits, sizeof o->real);
        return r->damaged ? NULL : o;
    }
    char copy[64];
    size_t n = length_of(r, 1);
    if (r->damaged || n >= sizeof copy)
        return fail(r);
    memcpy(copy, r->at, n);
    copy[n] = 0;
    r->at += n;
    o->real = strtod(copy, NULL);
    return o;
}

static struct py_object *dict(struct reader *r)
{
    struct py_object *o = fresh(r, PY_OTHER);
    while (o && !r->damaged) {
        if (r->at < r->end && *r->at == '0') {
            r->at++;
            return o;
        }
        if (!object(r) || !object(r))
            return fail(r);
    }
    return NULL;
}

static struct py_object *reference(struct reader *r, struct py_object *const *list, size_t count)
{
    size_t index = (size_t)number(r, 4);
    if (r->damaged || index >= count || !list[index])
        return fail(r);
    return list[index];
}

/* A part of a code object, of this kind. */
static const struct py_object *part(struct reader *r, enum py_kind kind)
{
    const struct py_object *o = r->damaged ? NULL : object(r);
    if (!o || o->kind != kind)
        return fail(r);
    return o;
}

static const struct py_object *texts(struct reader *r)
{
    const struct py_object *o = part(r, PY_TUPLE);
    for (size_t i = 0; o && i < o->count; i++)
        if (o->items[i]->kind != PY_TEXT)
            return fail(r);
    return o;
}

static void tail(struct reader *r, struct py_code *c)
{
    (void)part(r, PY_TEXT); /* file name */
    c->name = part(r, PY_TEXT);
    if (c->layout == PY_LAYOUT_311)
        (void)part(r, PY_TEXT); /* qualified name */
    (void)int32(r);             /* first line */
    c->lines = part(r, PY_TEXT);
    if (c->layout == PY_LAYOUT_311)
        (void)part(r, PY_TEXT); /* exception table */
}

static bool plausible(const struct py_code *c)
{
    int named = (int)c->varnames->count;
    return c->argcount >= 0 && c->kwonly >= 0 && c->posonly >= 0 && c->argcount <= 255 && c->kwonly <= 255 &&
           c->argcount + c->kwonly <= named && (c->layout == PY_LAYOUT_311 || c->locals == named) &&
           (!c->kinds || c->kinds->count == c->varnames->count);
}

static struct py_object *code(struct reader *r)
{
    struct py_object *o = fresh(r, PY_CODE);
    struct py_code *c = ARENA_NEW(r->arena, struct py_code);
    if (!o || !c)
        return fail(r);
    o->code = c;
    c->layout = r->layout;
    c->argcount = int32(r);
    c->posonly = r->layout >= PY_LAYOUT_38 ? int32(r) : 0;
    c->kwonly = r->layout >= PY_LAYOUT_35 ? int32(r) : 0;
    c->locals = r->layout != PY_LAYOUT_311 ? int32(r) : 0;
    (void)int32(r); /* stack size */
    c->flags = int32(r);
    c->code = part(r, PY_TEXT);
    c->consts = part(r, PY_TUPLE);
    c->names = texts(r);
    c->varnames = texts(r);
    if (r->layout == PY_LAYOUT_311)
        c->kinds = part(r, PY_TEXT);
    else {
        c->freevars = texts(r);
        c->cellvars = texts(r);
    }
    tail(r, c);
    return r->damaged || !plausible(c) ? fail(r) : o;
}

static struct py_object *other(struct reader *r, int size)
{
    (void)number(r, size);
    return r->damaged ? NULL : fresh(r, PY_OTHER);
}

static struct py_object *by_type(struct reader *r, unsigned char type)
{
    struct py_object *o;
    switch (type) {
    case 'N':
    case 'S': return fresh(r, PY_NONE);
    case 'T': return fresh(r, PY_TRUE);
    case 'F': return fresh(r, PY_FALSE);
    case '.': return fresh(r, PY_ELLIPSIS);
    case 'i':
        if ((o = fresh(r, PY_INT)))
            o->integer = int32(r);
        return o;
    case 'I':
        if ((o = fresh(r, PY_INT)))
            o->integer = (int64_t)number(r, 8);
        return o;
    case 'l': return long_integer(r);
    case 'f':
    case 'g': return real(r, type == 'g');
    case 'y': (void)number(r, 8); return other(r, 8);
    case 's':
    case 'u':
    case 'a': return text(r, 4, false);
    case 't':
    case 'A': return text(r, 4, true);
    case 'z':
    case 'Z': return text(r, 1, false);
    case 'R': return reference(r, r->interned, r->interned_count);
    case 'r': return reference(r, r->refs, r->ref_count);
    case ')': return tuple(r, 1);
    case '(':
    case '[':
    case '<':
    case '>': return tuple(r, 4);
    case '{': return dict(r);
    case 'c': return code(r);
    default: return fail(r);
    }
}

static struct py_object *object(struct reader *r)
{
    unsigned char type = (unsigned char)number(r, 1);
    if (r->damaged || r->depth >= PY_MAX_NESTING)
        return fail(r);
    bool named = r->layout != PY_LAYOUT_27 && (type & FLAG_REF);
    size_t slot = r->ref_count;
    if (named) {
        type &= (unsigned char)~FLAG_REF;
        if (r->ref_count == PY_MAX_OBJECTS)
            return fail(r);
        r->refs[r->ref_count++] = NULL;
    }
    r->depth++;
    struct py_object *o = by_type(r, type);
    r->depth--;
    if (r->damaged)
        return NULL;
    if (named)
        r->refs[slot] = o;
    return o;
}

const struct py_code *py_unmarshal(struct arena *arena, const unsigned char *bytes, size_t length,
                                   enum py_layout layout)
{
    struct reader r = {
        .arena = arena,
        .at = bytes,
        .end = bytes + length,
        .layout = layout,
        .refs = calloc(PY_MAX_OBJECTS, sizeof *r.refs),
        .interned = calloc(PY_MAX_OBJECTS, sizeof *r.interned),
    };
    const struct py_object *o = r.refs && r.interned ? object(&r) : NULL;
    bool whole = r.at == r.end;
    free(r.refs);
    free(r.interned);
    return o && whole && o->kind == PY_CODE ? o->code : NULL;
}
