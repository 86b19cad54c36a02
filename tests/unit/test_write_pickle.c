/* SPDX-License-Identifier: Apache-2.0 */
/* The pickle that is written, byte by byte, and the reader on good and bad bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "write/pickle.h"
#include "write/pickle_read.h"

#define ASSERT_BYTES(out, expected)                                                                                    \
    do {                                                                                                               \
        assert_true(strbuf_ok(&(out)));                                                                                \
        assert_int_equal((out).length, sizeof(expected) - 1);                                                          \
        assert_memory_equal((out).text, expected, sizeof(expected) - 1);                                               \
        strbuf_release(&(out));                                                                                        \
    } while (0)

static void test_opcodes(void **state)
{
    (void)state;
    struct strbuf out = STRBUF_INIT;
    pickle_begin(&out);
    ASSERT_BYTES(out, "\x80\x02");
    pickle_global(&out, "torch", "FloatStorage");
    ASSERT_BYTES(out, "ctorch\nFloatStorage\n");
    pickle_text(&out, "gr\xc3\xbcn");
    ASSERT_BYTES(out, "X\x05\0\0\0gr\xc3\xbcn");
    pickle_bool(&out, true);
    pickle_bool(&out, false);
    ASSERT_BYTES(out, "\x88\x89");
    pickle_ordered_dict(&out);
    ASSERT_BYTES(out, "ccollections\nOrderedDict\n)R");
    pickle_op(&out, PICKLE_MARK);
    pickle_op(&out, PICKLE_TUPLE);
    pickle_op(&out, PICKLE_SETITEMS);
    pickle_op(&out, PICKLE_PERSISTENT);
    pickle_op(&out, PICKLE_STOP);
    ASSERT_BYTES(out, "(tuQ.");
}

static void test_integers(void **state)
{
    (void)state;
    struct strbuf out = STRBUF_INIT;
    pickle_int(&out, 0);
    pickle_int(&out, 255);
    ASSERT_BYTES(out, "K\0K\xff");
    pickle_int(&out, 256);
    pickle_int(&out, 65535);
    ASSERT_BYTES(out, "M\0\x01M\xff\xff");
    pickle_int(&out, 65536);
    pickle_int(&out, -1);
    pickle_int(&out, INT32_MAX);
    ASSERT_BYTES(out, "J\0\0\x01\0J\xff\xff\xff\xffJ\xff\xff\xff\x7f");
    pickle_int(&out, (int64_t)INT32_MAX + 1);
    pickle_int(&out, INT64_MIN);
    ASSERT_BYTES(out, "\x8a\x08\0\0\0\x80\0\0\0\0\x8a\x08\0\0\0\0\0\0\0\x80");
}

static void test_tensor(void **state)
{
    (void)state;
    struct strbuf out = STRBUF_INIT;
    pickle_tensor(&out, "7", DTYPE_F32, &(struct shape){2, {3, 300}}, false);
    ASSERT_BYTES(out, "ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0"
                      "7X\x03\0\0\0cpuM\x84\x03tQK\0(K\x03M,\x01t(M,\x01K\x01t\x89"
                      "ccollections\nOrderedDict\n)RtR");
    pickle_tensor(&out, "0", DTYPE_I64, &(struct shape){0}, false);
    ASSERT_BYTES(out, "ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nLongStorage\nX\x01\0\0\0"
                      "0X\x03\0\0\0cpuK\x01tQK\0(t(t\x89"
                      "ccollections\nOrderedDict\n)RtR");
}

/* A state_dict of `count` tensors of growing rank. */
static struct strbuf make_state_dict(int count)
{
    struct strbuf out = STRBUF_INIT;
    pickle_begin(&out);
    pickle_ordered_dict(&out);
    pickle_op(&out, PICKLE_MARK);
    for (int i = 0; i < count; i++) {
        struct shape shape = {.rank = i % (SHAPE_MAX_RANK + 1)};
        for (int k = 0; k < shape.rank; k++)
            shape.dims[k] = 1 + 100 * k;
        pickle_text(&out, i % 2 ? "layer.weight" : "layer.bias");
        pickle_tensor(&out, "12", i % 3 ? DTYPE_F32 : DTYPE_BF16, &shape, false);
    }
    pickle_op(&out, PICKLE_SETITEMS);
    pickle_op(&out, PICKLE_STOP);
    assert_true(strbuf_ok(&out));
    return out;
}

static int read_bytes(const void *bytes, size_t size, struct arena *arena, struct pickled *ret)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    /* On the heap, exactly as long, so that a sanitizer sees a read beyond the end. */
    unsigned char *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    int rc = pickle_read(copy, size, arena, ret, &err);
    assert_int_equal(err.code, rc == 0 ? H5PT_OK : H5PT_INTERNAL);
    free(copy);
    return rc;
}

static void test_read(void **state)
{
    (void)state;
    struct arena *arena = arena_new();
    struct pickled root;
    struct strbuf out = make_state_dict(200);
    assert_int_equal(read_bytes(out.text, out.length, arena, &root), 0);
    assert_int_equal(root.kind, PICKLED_DICT);
    assert_int_equal(root.count, 400);
    assert_string_equal(root.items[2].text, "layer.weight");
    const struct pickled *call = &root.items[5];
    assert_int_equal(call->kind, PICKLED_CALL);
    assert_string_equal(call->items[0].text, "torch._utils _rebuild_tensor_v2");
    const struct pickled *args = call->items[1].items;
    assert_int_equal(call->items[1].count, 6);
    assert_int_equal(args[0].kind, PICKLED_PERSISTENT);
    assert_string_equal(args[0].items[0].items[1].text, "torch FloatStorage");
    assert_string_equal(args[0].items[0].items[2].text, "12");
    assert_int_equal(args[0].items[0].items[4].number, 101);
    assert_int_equal(args[2].count, 2);
    assert_int_equal(args[2].items[1].number, 101);
    assert_int_equal(args[3].items[0].number, 101);
    strbuf_release(&out);
    arena_free(arena);
}

/* No prefix is a pickle. */
static void test_truncated(void **state)
{
    (void)state;
    struct strbuf out = make_state_dict(5);
    for (size_t n = 0; n < out.length; n++) {
        struct arena *arena = arena_new();
        struct pickled root;
        assert_int_equal(read_bytes(out.text, n, arena, &root), -1);
        arena_free(arena);
    }
    strbuf_release(&out);
}

/* Changed bytes give an answer, whichever. */
static void test_mutated(void **state)
{
    (void)state;
    struct strbuf out = make_state_dict(5);
    uint64_t random = 42;
    for (int n = 0; n < 20000; n++) {
        struct arena *arena = arena_new();
        struct pickled root;
        char *copy = malloc(out.length);
        assert_non_null(copy);
        memcpy(copy, out.text, out.length);
        for (int k = 0; k <= n % 4; k++) {
            random = random * 6364136223846793005U + 1442695040888963407U;
            copy[(random >> 20) % out.length] = (char)(random >> 56);
        }
        (void)read_bytes(copy, out.length, arena, &root);
        free(copy);
        arena_free(arena);
    }
    strbuf_release(&out);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
    } cases[] = {
#define CASE(text) {text, sizeof(text) - 1}
        CASE("\x80\x03)."),   /* another protocol */
        CASE("\x80\x02."),    /* nothing */
        CASE("\x80\x02))."),  /* two objects */
        CASE("\x80\x02(."),   /* an open mark */
        CASE("\x80\x02).."),  /* more behind the end */
        CASE("\x80\x02t."),   /* no mark */
        CASE("\x80\x02)(Q."), /* a value from below the mark */
        CASE("\x80\x02"
             "cos\nsystem\n)R."), /* a call that no state_dict has */
        CASE("\x80\x02"
             "ccollections\nOrderedDict\n(K\x01tR."),
        CASE("\x80\x02"
             "ccollections\nOrderedDict\n)R(K\x01u."), /* a key without a value */
        CASE("\x80\x02)(K\x01K\x02u."),                /* items of a tuple */
        CASE("\x80\x02X\x01\0\0\0\0."),                /* NUL in a text */
        CASE("\x80\x02X\xff\xff\xff\xff"
             "a."),
        CASE("\x80\x02\x8a\x01\x05."),
        CASE("\x80\x02"
             "ctorch\nFloat."),
        CASE("\x80\x02\x8c\x01"
             "a."), /* SHORT_BINUNICODE, which weights_only does not know */
#undef CASE
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct arena *arena = arena_new();
        struct pickled root;
        if (read_bytes(cases[i].bytes, cases[i].size, arena, &root) != -1)
            fail_msg("case %zu was read", i);
        arena_free(arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opcodes), cmocka_unit_test(test_integers),  cmocka_unit_test(test_tensor),
        cmocka_unit_test(test_read),    cmocka_unit_test(test_truncated), cmocka_unit_test(test_mutated),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
