/* SPDX-License-Identifier: Apache-2.0 */
#include "write/pickle_read.h"

#include <stdlib.h>
#include <string.h>

struct reader {
    const unsigned char *bytes; /* borrowed */
    size_t size, at;
    struct arena *arena;   /* borrowed */
    struct pickled *stack; /* owned */
    size_t depth, stack_capacity;
    size_t *marks; /* owned; depths at which MARK was met */
    size_t mark_count, mark_capacity;
    struct h5pt_error *err;
};

static int fail(struct reader *r, const char *what)
{
    (void)h5pt_fail(r->err, H5PT_INTERNAL, "data.pkl", "The pickle cannot be read: %s (at byte %zu)", what, r->at);
    return -1;
}

/* Room for one more element of `size` bytes in *array. */
static int grow(struct reader *r, void **array, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return 0;
    size_t bytes, wanted = *capacity ? *capacity * 2 : 64;
    void *larger = __builtin_mul_overflow(wanted, size, &bytes) ? NULL : realloc(*array, bytes);
    if (!larger) {
        (void)h5pt_fail_memory(r->err);
        return -1;
    }
    *array = larger;
    *capacity = wanted;
    return 0;
}

static int push(struct reader *r, struct pickled value)
{
    void *stack = r->stack;
    if (grow(r, &stack, r->depth, &r->stack_capacity, sizeof *r->stack) < 0)
        return -1;
    r->stack = stack;
    r->stack[r->depth++] = value;
    return 0;
}

static int push_mark(struct reader *r)
{
    void *marks = r->marks;
    if (grow(r, &marks, r->mark_count, &r->mark_capacity, sizeof *r->marks) < 0)
        return -1;
    r->marks = marks;
    r->marks[r->mark_count++] = r->depth;
    return 0;
}

/* The lowest depth to which values may be popped: what lies under the last mark belongs to another level. */
static size_t floor_depth(const struct reader *r)
{
    return r->mark_count ? r->marks[r->mark_count - 1] : 0;
}

static int take(struct reader *r, size_t n, const unsigned char **ret)
{
    if (r->size - r->at < n)
        return fail(r, "it ends early");
    *ret = r->bytes + r->at;
    r->at += n;
    return 0;
}

static int take_number(struct reader *r, size_t n, uint64_t *ret)
{
    const unsigned char *bytes = NULL;
    uint64_t value = 0;
    if (take(r, n, &bytes) < 0)
        return -1;
    for (size_t i = n; i-- > 0;)
        value = value << 8 | bytes[i];
    *ret = value;
    return 0;
}

static int push_int(struct reader *r, size_t n)
{
    uint64_t bits = 0;
    if (take_number(r, n, &bits) < 0)
        return -1;
    int64_t value = n == 4 ? (int64_t)(int32_t)(uint32_t)bits : (int64_t)bits;
    return push(r, (struct pickled){.kind = PICKLED_INT, .number = value});
}

static int push_long(struct reader *r)
{
    uint64_t length = 0;
    if (take_number(r, 1, &length) < 0)
        return -1;
    return length == 8 ? push_int(r, 8) : fail(r, "an integer has an unexpected size");
}

static char *copy_text(struct reader *r, const unsigned char *bytes, size_t n)
{
    if (memchr(bytes, '\0', n)) {
        (void)fail(r, "a text holds a NUL");
        return NULL;
    }
    char *text = arena_alloc(r->arena, n + 1, 1);
    if (!text)
        (void)h5pt_fail_memory(r->err);
    else if (n)
        memcpy(text, bytes, n);
    return text;
}

static int push_text(struct reader *r)
{
    uint64_t n = 0;
    const unsigned char *bytes = NULL;
    if (take_number(r, 4, &n) < 0 || take(r, (size_t)n, &bytes) < 0)
        return -1;
    char *text = copy_text(r, bytes, (size_t)n);
    return text ? push(r, (struct pickled){.kind = PICKLED_TEXT, .text = text}) : -1;
}

static int push_global(struct reader *r)
{
    const unsigned char *start = r->bytes + r->at, *limit = r->bytes + r->size;
    const unsigned char *middle = memchr(start, '\n', (size_t)(limit - start));
    const unsigned char *end = middle ? memchr(middle + 1, '\n', (size_t)(limit - middle - 1)) : NULL;
    if (!end)
        return fail(r, "it ends early");
    char *text = copy_text(r, start, (size_t)(end - start));
    if (!text)
        return -1;
    text[middle - start] = ' ';
    r->at += (size_t)(end - start) + 1;
    return push(r, (struct pickled){.kind = PICKLED_GLOBAL, .text = text});
}

/* Takes the `count` topmost values off the stack, in order, into the arena. */
static int pop_items(struct reader *r, size_t count, const struct pickled **ret)
{
    if (r->depth - floor_depth(r) < count)
        return fail(r, "a value is missing");
    if (count > UINT32_MAX)
        return fail(r, "it holds too many values");
    struct pickled *items = ARENA_ARRAY(r->arena, struct pickled, count ? count : 1);
    if (!items)
        return h5pt_fail_memory(r->err);
    r->depth -= count;
    if (count)
        memcpy(items, r->stack + r->depth, count * sizeof *items);
    *ret = items;
    return 0;
}

static int pop_marked(struct reader *r, struct pickled *ret)
{
    if (r->mark_count == 0)
        return fail(r, "a mark is missing");
    size_t count = r->depth - floor_depth(r);
    if (pop_items(r, count, &ret->items) < 0)
        return -1;
    r->mark_count--;
    ret->count = (uint32_t)count;
    return 0;
}

static int push_tuple(struct reader *r)
{
    struct pickled tuple = {.kind = PICKLED_TUPLE};
    return pop_marked(r, &tuple) < 0 ? -1 : push(r, tuple);
}

static int set_items(struct reader *r)
{
    struct pickled pairs = {.kind = PICKLED_DICT};
    if (pop_marked(r, &pairs) < 0)
        return -1;
    if (r->depth == floor_depth(r) || r->stack[r->depth - 1].kind != PICKLED_DICT)
        return fail(r, "items are set on something that is not a dict");
    struct pickled *dict = &r->stack[r->depth - 1];
    if (dict->count != 0 || pairs.count % 2 != 0)
        return fail(r, "the items of a dict are not as expected");
    *dict = pairs;
    return 0;
}

static int call(struct reader *r)
{
    struct pickled result = {.kind = PICKLED_CALL, .count = 2};
    if (pop_items(r, 2, &result.items) < 0)
        return -1;
    const struct pickled *callable = &result.items[0], *arguments = &result.items[1];
    if (callable->kind != PICKLED_GLOBAL || arguments->kind != PICKLED_TUPLE)
        return fail(r, "something is called that is not a function");
    if (strcmp(callable->text, "collections OrderedDict") == 0) {
        if (arguments->count != 0)
            return fail(r, "an OrderedDict is made with arguments");
        result = (struct pickled){.kind = PICKLED_DICT};
    } else if (strcmp(callable->text, "torch._utils _rebuild_tensor_v2") != 0) {
        return fail(r, "a function is called that no state_dict needs");
    }
    return push(r, result);
}

static int push_persistent(struct reader *r)
{
    struct pickled value = {.kind = PICKLED_PERSISTENT, .count = 1};
    return pop_items(r, 1, &value.items) < 0 ? -1 : push(r, value);
}

static int step(struct reader *r, unsigned char opcode)
{
    switch (opcode) {
    case '(': return push_mark(r);
    case ')': return push(r, (struct pickled){.kind = PICKLED_TUPLE});
    case 't': return push_tuple(r);
    case 'u': return set_items(r);
    case 'R': return call(r);
    case 'Q': return push_persistent(r);
    case 'c': return push_global(r);
    case 'X': return push_text(r);
    case 'K': return push_int(r, 1);
    case 'M': return push_int(r, 2);
    case 'J': return push_int(r, 4);
    case 0x8a: return push_long(r);
    case 0x88: return push(r, (struct pickled){.kind = PICKLED_BOOL, .number = 1});
    case 0x89: return push(r, (struct pickled){.kind = PICKLED_BOOL, .number = 0});
    default: return fail(r, "an opcode is not known");
    }
}

static int run(struct reader *r, struct pickled *ret)
{
    const unsigned char *opcode = NULL;
    if (take(r, 2, &opcode) < 0)
        return -1;
    if (opcode[0] != 0x80 || opcode[1] != 2)
        return fail(r, "it is not of protocol 2");
    for (;;) {
        if (take(r, 1, &opcode) < 0)
            return -1;
        if (*opcode == '.')
            break;
        if (step(r, *opcode) < 0)
            return -1;
    }
    if (r->depth != 1 || r->mark_count != 0 || r->at != r->size)
        return fail(r, "it does not end with one object");
    *ret = r->stack[0];
    return 0;
}

int pickle_read(const unsigned char *bytes, size_t size, struct arena *arena, struct pickled *ret,
                struct h5pt_error *err)
{
    struct reader reader = {.bytes = bytes, .size = size, .arena = arena, .err = err};
    int rc = run(&reader, ret);
    free(reader.stack);
    free(reader.marks);
    return rc;
}
