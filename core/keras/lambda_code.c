/* SPDX-License-Identifier: Apache-2.0 */
#include "keras/lambda_code.h"

#include <string.h>

#include "base/words.h"

static const struct {
    const char *name;
    short number[PY_VERSION_COUNT];
} opcodes[] = {
#define OPCODE(name, ...) {#name, {__VA_ARGS__}},
#define CACHES(...)
#include "keras/lambda_opcodes.def"
#undef CACHES
#undef OPCODE
};

static const struct {
    enum py_op op;
    short count[3];
} caches[] = {
#define OPCODE(...)
#define CACHES(name, ...) {PY_OP_##name, {__VA_ARGS__}},
#include "keras/lambda_opcodes.def"
#undef CACHES
#undef OPCODE
};

const char *py_version_name(enum py_version version)
{
    static const char *const names[] = {"2.7",        "3.5",  "3.6",  "3.6 or 3.7", "3.8",
                                        "3.8 or 3.9", "3.10", "3.11", "3.12",       "3.13"};
    return names[version];
}

const char *py_op_name(enum py_op op)
{
    return opcodes[op].name;
}

static int op_of(enum py_version version, int number)
{
    for (int i = 0; i < PY_OP_COUNT; i++)
        if (opcodes[i].number[version] == number)
            return i;
    return -1;
}

static int cache_count(enum py_version version, enum py_op op)
{
    for (size_t i = 0; version >= PY_311 && i < sizeof caches / sizeof *caches; i++)
        if (caches[i].op == op)
            return caches[i].count[version - PY_311];
    return 0;
}

/* ---- taking apart ---- */

/* Two bytes each since 3.6; before, three with an argument (numbers from 90 on) and one without. */
static bool one(enum py_version version, const unsigned char *bytes, size_t length, size_t *at,
                struct py_instruction *ret)
{
    unsigned long arg = 0;
    ret->offset = (int)*at;
    for (int prefixes = 0; *at < length && prefixes < 4; prefixes++) {
        bool words = version >= PY_36, has_arg = words || bytes[*at] >= 90;
        size_t size = words ? 2 : has_arg ? 3 : 1;
        if (length - *at < size)
            return false;
        int op = op_of(version, bytes[*at]);
        unsigned long low = !has_arg ? 0 : words ? bytes[*at + 1] : bytes[*at + 1] + 256ul * bytes[*at + 2];
        arg = (arg << (words ? 8 : 16)) | low;
        *at += size;
        if (op < 0 || arg > 0x7fffffff)
            return false;
        if (op == PY_OP_EXTENDED_ARG)
            continue;
        *ret = (struct py_instruction){(enum py_op)op, (int)arg, ret->offset, (int)*at, 0};
        return true;
    }
    return false;
}

static bool skip_caches(enum py_version version, const unsigned char *bytes, size_t length, size_t *at, enum py_op op)
{
    for (int i = cache_count(version, op); i > 0; i--) {
        if (length - *at < 2 || bytes[*at] != 0 || bytes[*at + 1] != 0)
            return false;
        *at += 2;
    }
    return true;
}

static bool take_apart(struct arena *arena, const struct py_code *code, enum py_version version, struct py_program *ret)
{
    const unsigned char *bytes = code->code->bytes;
    size_t length = code->code->count, at = 0;
    *ret = (struct py_program){.code = code, .version = version};
    if (length == 0 || length > 8 * (size_t)PY_MAX_INSTRUCTIONS || (version >= PY_36 && length % 2 != 0))
        return false;
    ret->instructions = ARENA_ARRAY(arena, struct py_instruction, length);
    while (ret->instructions && at < length) {
        struct py_instruction *i = &ret->instructions[ret->count];
        if (!one(version, bytes, length, &at, i) || (version >= PY_311 && i->op == PY_OP_CACHE) ||
            !skip_caches(version, bytes, length, &at, i->op))
            return false;
        i->after = (int)at;
        if (++ret->count > PY_MAX_INSTRUCTIONS)
            return false;
    }
    if (ret->count == 0)
        return false;
    enum py_op last = ret->instructions[ret->count - 1].op;
    bool ends = last == PY_OP_RETURN_VALUE || last == PY_OP_RETURN_CONST || last == PY_OP_RERAISE ||
                last == PY_OP_RAISE_VARARGS || last == PY_OP_JUMP_BACKWARD || last == PY_OP_JUMP_ABSOLUTE;
    bool starts = version < PY_311;
    for (int i = 0; i < ret->count && !starts; i++)
        starts = ret->instructions[i].op == PY_OP_RESUME;
    return ends && starts;
}

/* 3.10 has a table of lines that covers all of the code; the one of 3.8 and 3.9 stops before its end. */
static bool lines_cover(const struct py_code *code)
{
    size_t sum = 0;
    for (size_t i = 0; i + 1 < code->lines->count; i += 2)
        sum += code->lines->bytes[i];
    return sum == code->code->count;
}

bool py_decode(struct arena *arena, const struct py_code *code, struct py_program *ret)
{
    switch (code->layout) {
    case PY_LAYOUT_27: return take_apart(arena, code, PY_27, ret);
    case PY_LAYOUT_35: /* 3.6 ends with the argument of its last instruction, which is 0 */
        if (code->code->count && code->code->bytes[code->code->count - 1] != 0)
            return take_apart(arena, code, PY_35, ret);
        return take_apart(arena, code, PY_37, ret) || take_apart(arena, code, PY_36, ret);
    case PY_LAYOUT_38:
        if (lines_cover(code))
            return take_apart(arena, code, PY_310, ret);
        return take_apart(arena, code, PY_39, ret) || take_apart(arena, code, PY_38, ret);
    default:
        return take_apart(arena, code, PY_313, ret) || take_apart(arena, code, PY_312, ret) ||
               take_apart(arena, code, PY_311, ret);
    }
}

int py_instruction_at(const struct py_program *program, int offset)
{
    for (int i = 0; i < program->count; i++)
        if (program->instructions[i].offset == offset)
            return i;
    return -1;
}

int py_jump_target(const struct py_program *program, int index)
{
    const struct py_instruction *i = &program->instructions[index];
    enum py_version v = program->version;
    bool relative = v >= PY_311 || i->op == PY_OP_JUMP_FORWARD;
    if (i->arg > 1000000)
        return -1;
    int64_t distance = (int64_t)i->arg * (v >= PY_310 ? 2 : 1), target = relative ? i->after + distance : distance;
    int to = target <= INT32_MAX ? py_instruction_at(program, (int)target) : -1;
    return to > index ? to : -1;
}

/* ---- for people ---- */

const char *py_printable(const struct py_object *text, char ret[PY_PRINTABLE_SIZE])
{
    size_t n = 0;
    for (; n < text->count && n + 1 < PY_PRINTABLE_SIZE; n++)
        ret[n] = text->bytes[n] >= ' ' && text->bytes[n] < 127 ? (char)text->bytes[n] : '?';
    ret[n] = 0;
    return ret;
}

static void add_text(struct strbuf *out, const struct py_object *text)
{
    char printable[PY_PRINTABLE_SIZE];
    strbuf_add(out, py_printable(text, printable));
}

static void add_object(struct strbuf *out, const struct py_object *o, int depth)
{
    switch (o->kind) {
    case PY_NONE: strbuf_add(out, "None"); break;
    case PY_TRUE:
    case PY_FALSE: strbuf_add(out, o->kind == PY_TRUE ? "True" : "False"); break;
    case PY_ELLIPSIS: strbuf_add(out, "..."); break;
    case PY_INT: strbuf_addf(out, "%lld", (long long)o->integer); break;
    case PY_FLOAT: strbuf_add_double(out, o->real); break;
    case PY_TEXT:
        strbuf_add(out, "'");
        add_text(out, o);
        strbuf_add(out, "'");
        break;
    case PY_TUPLE:
        strbuf_add(out, "(");
        for (size_t i = 0; i < o->count && i < 8 && depth < 3; i++) {
            strbuf_add(out, i ? ", " : "");
            add_object(out, o->items[i], depth + 1);
        }
        strbuf_add(out, ")");
        break;
    case PY_CODE:
        strbuf_add(out, "<code ");
        add_text(out, o->code->name);
        strbuf_add(out, ">");
        break;
    case PY_OTHER: strbuf_add(out, "<object>"); break;
    }
}

static const struct py_object *item(const struct py_object *tuple, int index)
{
    return tuple && index >= 0 && (size_t)index < tuple->count ? tuple->items[index] : NULL;
}

static void add_argument(struct strbuf *out, const struct py_program *p, const struct py_instruction *i)
{
    static const char
        with_name[] = "LOAD_NAME LOAD_METHOD IMPORT_NAME IMPORT_FROM STORE_NAME STORE_GLOBAL LOAD_GLOBAL LOAD_ATTR";
    const char *name = py_op_name(i->op);
    bool shifted = (i->op == PY_OP_LOAD_GLOBAL && p->version >= PY_311) ||
                   (i->op == PY_OP_LOAD_ATTR && p->version >= PY_312);
    const struct py_object *o = NULL;
    if (i->op == PY_OP_LOAD_CONST || i->op == PY_OP_RETURN_CONST || i->op == PY_OP_KW_NAMES) {
        o = item(p->code->consts, i->arg);
        if (o) {
            strbuf_add(out, " ");
            add_object(out, o, 0);
        }
        return;
    }
    if (word_index(with_name, name) >= 0)
        o = item(p->code->names, shifted ? i->arg >> 1 : i->arg);
    else if (i->op == PY_OP_LOAD_FAST || i->op == PY_OP_STORE_FAST)
        o = item(p->code->varnames, i->arg);
    if (o) {
        strbuf_add(out, " ");
        add_text(out, o);
    } else if (i->arg)
        strbuf_addf(out, " %d", i->arg);
}

void py_disassemble(const struct py_program *program, size_t limit, struct strbuf *out)
{
    size_t start = out->length;
    for (int i = 0; i < program->count; i++) {
        const struct py_instruction *instruction = &program->instructions[i];
        if (instruction->op == PY_OP_RESUME || instruction->op == PY_OP_PRECALL || instruction->op == PY_OP_NOP)
            continue;
        if (out->length - start > limit) {
            strbuf_add(out, "; ...");
            return;
        }
        strbuf_add(out, out->length > start ? "; " : "");
        strbuf_add(out, py_op_name(instruction->op));
        add_argument(out, program, instruction);
    }
}
