/* SPDX-License-Identifier: Apache-2.0 */
/* The module that everything else stands on: errors, texts, memory, sizes, tensors, findings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/findings.h"
#include "base/size.h"
#include "base/strbuf.h"
#include "base/tensor.h"
#include "base/words.h"

/* ---- errors ---- */

static void the_first_error_wins(void **state)
{
    (void)state;
    struct h5pt_error err = H5PT_ERROR_INIT;
    assert_int_equal(h5pt_fail(&err, H5PT_SHAPE_MISMATCH, "dense", "%d is not %d", 3, 4), -1);
    assert_int_equal(h5pt_fail(&err, H5PT_INTERNAL, "elsewhere", "a consequence"), -1);
    assert_int_equal(h5pt_fail_memory(&err), -1);
    assert_int_equal(err.code, H5PT_SHAPE_MISMATCH);
    assert_string_equal(err.where, "dense");
    assert_string_equal(err.message, "3 is not 4");
    assert_int_equal(err.sys_errno, 0);
}

static void an_error_may_be_ignored(void **state)
{
    (void)state;
    assert_int_equal(h5pt_fail(NULL, H5PT_INTERNAL, NULL, "nobody listens"), -1);
    assert_int_equal(h5pt_fail_errno(NULL, H5PT_IO, NULL, "nobody listens"), -1);
}

static void errno_is_kept_and_explained(void **state)
{
    (void)state;
    struct h5pt_error err = H5PT_ERROR_INIT;
    errno = ENOSPC;
    assert_int_equal(h5pt_fail_errno(&err, H5PT_DISK_FULL, NULL, "The file %s cannot be written", "model.pt"), -1);
    assert_int_equal(err.sys_errno, ENOSPC);
    assert_string_equal(err.where, "");
    assert_string_equal(err.message, "The file model.pt cannot be written: No space left on device");
}

static void long_messages_are_cut(void **state)
{
    (void)state;
    struct h5pt_error err = H5PT_ERROR_INIT;
    char longer[2000];
    memset(longer, 'm', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    errno = EIO;
    (void)h5pt_fail_errno(&err, H5PT_IO, longer, "%s", longer);
    assert_int_equal(strlen(err.where), sizeof err.where - 1);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
}

static void codes_have_distinct_names(void **state)
{
    (void)state;
    for (int i = 1; i < H5PT_CODE_COUNT; i++) {
        enum h5pt_code code = (enum h5pt_code)i;
        assert_int_equal(h5pt_code_from_name(h5pt_code_name(code)), code);
        assert_true(h5pt_code_title(code)[0] != '\0');
        int http = h5pt_code_http(code), exit_code = h5pt_code_exit(code);
        assert_true(exit_code >= 0 && exit_code <= 6);
        assert_true(exit_code == 0 ? http == 200 : http >= 400 && http < 600);
    }
    assert_int_equal(h5pt_code_from_name("NO_SUCH_CODE"), H5PT_OK);
    assert_string_equal(h5pt_code_name((enum h5pt_code)9999), "INTERNAL");
    assert_int_equal(h5pt_code_http((enum h5pt_code)9999), 500);
}

/* ---- strbuf ---- */

static void text_grows(void **state)
{
    (void)state;
    struct strbuf buf = STRBUF_INIT;
    assert_string_equal(strbuf_text(&buf), "");
    for (int i = 0; i < 1000; i++)
        strbuf_addf(&buf, "%d,", i % 10);
    strbuf_add(&buf, "end");
    strbuf_add_bytes(&buf, "\0x", 2);
    assert_true(strbuf_ok(&buf));
    assert_int_equal(buf.length, 2005);
    assert_int_equal(strlen(strbuf_text(&buf)), 2003);
    assert_string_equal(strbuf_text(&buf) + 1998, "9,end");
    strbuf_release(&buf);
    assert_null(buf.text);
    assert_int_equal(buf.length, 0);
}

static void a_broken_text_stays_broken(void **state)
{
    (void)state;
    struct strbuf buf = STRBUF_INIT;
    strbuf_add(&buf, "kept");
    strbuf_add_bytes(&buf, "", SIZE_MAX / 2); /* more than there can be: nothing is read */
    assert_false(strbuf_ok(&buf));
    strbuf_add(&buf, "ignored");
    assert_string_equal(strbuf_text(&buf), "kept");
    assert_false(strbuf_ok(&buf));
    strbuf_release(&buf);
}

static void check_double(double value, const char *expected)
{
    struct strbuf buf = STRBUF_INIT;
    strbuf_add_double(&buf, value);
    assert_string_equal(strbuf_text(&buf), expected);
    strbuf_release(&buf);
}

static void doubles_are_as_python_writes_them(void **state)
{
    (void)state;
    check_double(1, "1.0");
    check_double(-0.0, "-0.0");
    check_double(0.001, "0.001");
    check_double(1e-5, "1e-05");
    check_double(0.1, "0.1");
    check_double((double)0.1F, "0.10000000149011612");
    check_double(1.0 / 3, "0.3333333333333333");
    check_double(1e22, "1e+22");
    check_double(5e-324, "5e-324");
    check_double(1.7976931348623157e308, "1.7976931348623157e+308");
    check_double((double)INFINITY, "float(\"inf\")");
    check_double(-(double)INFINITY, "float(\"-inf\")");
    check_double((double)NAN, "float(\"nan\")");
}

static void doubles_read_back_the_same(void **state)
{
    (void)state;
    uint64_t bits = 88172645463325252u;
    for (int i = 0; i < 20000; i++) {
        bits ^= bits << 13; /* xorshift */
        bits ^= bits >> 7;
        bits ^= bits << 17;
        double value;
        memcpy(&value, &bits, sizeof value);
        if (!isfinite(value))
            continue;
        struct strbuf buf = STRBUF_INIT;
        strbuf_add_double(&buf, value);
        assert_true(strtod(strbuf_text(&buf), NULL) == value);
        assert_non_null(strpbrk(strbuf_text(&buf), ".e"));
        strbuf_release(&buf);
    }
}

static void doubles_have_points_in_every_locale(void **state)
{
    (void)state;
    static const char *const with_commas[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "nl_NL.UTF-8", "pl_PL.UTF-8"};
    bool found = false;
    for (size_t i = 0; i < sizeof with_commas / sizeof *with_commas && !found; i++)
        found = setlocale(LC_NUMERIC, with_commas[i]) != NULL;
    if (!found)
        skip(); /* no such locale is installed */
    check_double(2.5, "2.5");
    check_double(1.25e-7, "1.25e-07");
    check_double(3, "3.0");
    (void)setlocale(LC_NUMERIC, "C");
}

/* ---- arena ---- */

static void objects_are_zeroed_aligned_and_apart(void **state)
{
    (void)state;
    struct arena *arena = arena_new();
    unsigned char *objects[200];
    for (size_t i = 0; i < 200; i++) {
        size_t size = i * 37 % 5000 + 1;
        objects[i] = arena_alloc(arena, 1, size);
        assert_non_null(objects[i]);
        assert_int_equal((uintptr_t)objects[i] % _Alignof(max_align_t), 0);
        for (size_t k = 0; k < size; k++)
            assert_int_equal(objects[i][k], 0);
        memset(objects[i], (int)i, size);
    }
    for (size_t i = 0; i < 200; i++)
        assert_true(objects[i][0] == i && objects[i][i * 37 % 5000] == i);
    arena_free(arena);
}

static void impossible_sizes_give_null(void **state)
{
    (void)state;
    struct arena *arena = arena_new();
    assert_null(arena_alloc(arena, SIZE_MAX / 2, 3));
    assert_null(arena_alloc(arena, 1, SIZE_MAX));
    assert_non_null(arena_alloc(arena, 0, 8));
    assert_non_null(arena_alloc(arena, 4, 8)); /* still good */
    arena_free(arena);
    arena_free(NULL);
}

static void strings_are_copied(void **state)
{
    (void)state;
    struct arena *arena = arena_new();
    char text[] = "kernel";
    char *copy = arena_strdup(arena, text);
    text[0] = 'K';
    assert_string_equal(copy, "kernel");
    assert_string_equal(arena_printf(arena, "%s/%d", copy, 7), "kernel/7");
    char longer[9000];
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_string_equal(arena_printf(arena, "%s", longer), longer);
    arena_free(arena);
}

/* ---- words and sizes ---- */

static void words_are_found_whole(void **state)
{
    (void)state;
    assert_int_equal(word_index("valid same causal", "valid"), 0);
    assert_int_equal(word_index("valid same causal", "causal"), 2);
    assert_int_equal(word_index("valid same causal", "sam"), -1);
    assert_int_equal(word_index("valid same causal", "same causal"), -1);
    assert_int_equal(word_index("", "x"), -1);
    assert_int_equal(word_index("a b", ""), -1);
}

static void words_are_stepped_through(void **state)
{
    (void)state;
    const char *cursor = "swish silu", *word;
    size_t length;
    word = word_next(&cursor, &length);
    assert_true(length == 5 && memcmp(word, "swish", 5) == 0);
    word = word_next(&cursor, &length);
    assert_true(length == 4 && memcmp(word, "silu", 4) == 0);
    assert_null(word_next(&cursor, &length));
}

static void overflow_leaves_the_result_alone(void **state)
{
    (void)state;
    uint64_t n = 5;
    assert_true(size_mul(1u << 20, 1u << 20, &n));
    assert_int_equal(n, (uint64_t)1 << 40);
    assert_false(size_mul((uint64_t)1 << 33, (uint64_t)1 << 31, &n));
    assert_int_equal(n, (uint64_t)1 << 40);
    assert_true(size_add(UINT64_MAX - 1, 1, &n));
    assert_true(n == UINT64_MAX);
    assert_false(size_add(UINT64_MAX, 1, &n));
    assert_true(n == UINT64_MAX);
}

/* ---- shapes and tensors ---- */

static void dtypes_have_names(void **state)
{
    (void)state;
    for (int i = 0; i < DTYPE_COUNT; i++) {
        enum dtype dtype;
        assert_true(dtype_from_name(dtype_name((enum dtype)i), &dtype));
        assert_int_equal(dtype, i);
        assert_true(dtype_size(dtype) > 0);
    }
    enum dtype untouched = DTYPE_F64;
    assert_false(dtype_from_name("float128", &untouched));
    assert_int_equal(untouched, DTYPE_F64);
    assert_true(dtype_is_float(DTYPE_BF16) && !dtype_is_float(DTYPE_I64) && !dtype_is_float(DTYPE_BOOL));
    assert_string_equal(dtype_torch_storage(DTYPE_F16), "HalfStorage");
    assert_null(dtype_torch_storage(DTYPE_U32));
}

static void shapes_are_counted(void **state)
{
    (void)state;
    int64_t n = 7;
    assert_true(shape_count(&(struct shape){0}, &n));
    assert_int_equal(n, 1);
    assert_true(shape_count(&(struct shape){3, {4, 0, 5}}, &n));
    assert_int_equal(n, 0);
    assert_false(shape_count(&(struct shape){2, {DIM_UNKNOWN, 5}}, &n));
    assert_false(shape_count(&(struct shape){3, {1 << 30, 1 << 30, 16}}, &n));
    assert_int_equal(n, 0);
}

static void shapes_are_compared_and_permuted(void **state)
{
    (void)state;
    struct shape a = shape_of(3, (const int64_t[]){2, DIM_UNKNOWN, 4}), b = a;
    b.dims[5] = 9; /* beyond the rank */
    assert_true(shape_equal(&a, &b));
    assert_false(shape_known(&a));
    b.dims[1] = 3;
    assert_false(shape_equal(&a, &b));
    assert_true(shape_known(&b));
    b.rank = 2;
    assert_false(shape_equal(&a, &b));
    struct shape p = shape_permute(&a, (const int[]){2, 0, 1});
    assert_true(shape_equal(&p, &(struct shape){3, {4, 2, DIM_UNKNOWN}}));
    assert_true(axes_identity(3, (const int[]){0, 1, 2}) && !axes_identity(3, (const int[]){0, 2, 1}));
}

static void shapes_are_shown_as_tuples(void **state)
{
    (void)state;
    char text[SHAPE_TEXT_SIZE];
    assert_string_equal(shape_text(&(struct shape){0}, text), "()");
    assert_string_equal(shape_text(&(struct shape){1, {5}}, text), "(5,)");
    assert_string_equal(shape_text(&(struct shape){4, {DIM_UNKNOWN, 28, 28, 1}}, text), "(None, 28, 28, 1)");
    struct shape huge = {.rank = SHAPE_MAX_RANK};
    for (int i = 0; i < SHAPE_MAX_RANK; i++)
        huge.dims[i] = INT64_MAX;
    assert_true(strlen(shape_text(&huge, text)) == SHAPE_MAX_RANK * 21);
    assert_true(text[SHAPE_MAX_RANK * 21 - 1] == ')');
}

static void tensors_have_sane_sizes(void **state)
{
    (void)state;
    assert_null(tensor_new(&(struct shape){2, {DIM_UNKNOWN, 2}}, DTYPE_F32));
    assert_null(tensor_new(&(struct shape){2, {1 << 30, 1 << 30}}, DTYPE_F32));
    struct tensor *t = tensor_new(&(struct shape){2, {0, 3}}, DTYPE_I32);
    assert_non_null(t);
    assert_int_equal(t->count, 0);
    assert_null(tensor_free(t));
    assert_null(tensor_free(NULL));
}

static void copies_are_their_own(void **state)
{
    (void)state;
    struct tensor *t = tensor_new(&(struct shape){1, {3}}, DTYPE_I64);
    memcpy(t->data, (const float[]){1, 2, 3}, 3 * sizeof(float));
    struct tensor *copy = tensor_copy(t);
    t->data[1] = 9;
    assert_true(copy->data[1] == 2 && copy->count == 3 && copy->dtype == DTYPE_I64);
    tensor_free(t);
    tensor_free(copy);
}

/* Element by element, from the definition: out[i0, i1 …] = in[j0, j1 …] with j[axes[k]] = i[k]. */
static void check_transpose(struct shape shape, const int *axes)
{
    struct tensor *in = tensor_new(&shape, DTYPE_F32);
    for (int64_t i = 0; i < in->count; i++)
        in->data[i] = (float)i;
    struct tensor *out = tensor_transpose(in, axes);
    struct shape expected = shape_permute(&shape, axes);
    assert_true(shape_equal(&out->shape, &expected));
    for (int64_t i = 0; i < out->count; i++) {
        int64_t rest = i, from = 0, index[SHAPE_MAX_RANK] = {0};
        for (int k = shape.rank - 1; k >= 0; k--) {
            index[axes[k]] = rest % expected.dims[k];
            rest /= expected.dims[k];
        }
        for (int k = 0; k < shape.rank; k++)
            from = from * shape.dims[k] + index[k];
        assert_true(out->data[i] == in->data[from]);
    }
    tensor_free(in);
    tensor_free(out);
}

static void transpose_is_numpys(void **state)
{
    (void)state;
    check_transpose((struct shape){0}, (const int[]){0});
    check_transpose((struct shape){1, {5}}, (const int[]){0});
    check_transpose((struct shape){2, {3, 4}}, (const int[]){1, 0});
    check_transpose((struct shape){3, {3, 0, 4}}, (const int[]){2, 0, 1});
    check_transpose((struct shape){3, {1, 5, 1}}, (const int[]){2, 1, 0});
    check_transpose((struct shape){8, {2, 1, 3, 2, 1, 2, 3, 2}}, (const int[]){7, 0, 6, 1, 5, 2, 4, 3});
    for (int a = 0; a < 4; a++)
        for (int b = 0; b < 4; b++)
            for (int c = 0; c < 4; c++)
                if (a != b && b != c && a != c)
                    check_transpose((struct shape){4, {2, 3, 4, 5}}, (const int[]){a, b, c, 6 - a - b - c});
}

/* ---- findings ---- */

static void findings_are_kept_once(void **state)
{
    (void)state;
    struct findings list = {.arena = arena_new()};
    findings_add(&list, H5PT_UNSUPPORTED_LAYER, "a", "class_name", "The class \"%s\"", "Foo");
    findings_add(&list, H5PT_UNSUPPORTED_LAYER, "a", "class_name", "The class \"%s\"", "Foo");
    findings_add(&list, H5PT_UNSUPPORTED_LAYER, "b", "class_name", "The class \"%s\"", "Foo");
    findings_add(&list, H5PT_UNSUPPORTED_CONFIG, "a", "class_name", "The class \"%s\"", "Foo");
    findings_add(&list, H5PT_UNSUPPORTED_LAYER, "a", NULL, "The class \"%s\"", "Foo");
    assert_int_equal(list.count, 4);
    assert_string_equal(list.items[0].message, "The class \"Foo\"");
    assert_string_equal(list.items[3].key, "");
    assert_false(list.broken);
    arena_free(list.arena);
}

static void findings_are_limited(void **state)
{
    (void)state;
    struct findings list = {.arena = arena_new()};
    for (int i = 0; i < FINDINGS_MAX + 50; i++)
        findings_add(&list, H5PT_UNSUPPORTED_LAYER, "a", "k", "number %d", i);
    assert_int_equal(list.count, FINDINGS_MAX);
    assert_string_equal(list.items[FINDINGS_MAX - 1].message, "number 999");
    assert_false(list.broken);
    arena_free(list.arena);
}

static void errors_become_findings(void **state)
{
    (void)state;
    struct findings list = {.arena = arena_new()};
    struct h5pt_error err = H5PT_ERROR_INIT;
    (void)h5pt_fail(&err, H5PT_SHAPE_MISMATCH, "axis", "100%% wrong");
    findings_add_error(&list, "net/dense", &err);
    assert_int_equal(err.code, H5PT_OK);
    assert_int_equal(list.items[0].code, H5PT_SHAPE_MISMATCH);
    assert_string_equal(list.items[0].layer, "net/dense");
    assert_string_equal(list.items[0].key, "axis");
    assert_string_equal(list.items[0].message, "100% wrong");
    arena_free(list.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_error_wins),
        cmocka_unit_test(an_error_may_be_ignored),
        cmocka_unit_test(errno_is_kept_and_explained),
        cmocka_unit_test(long_messages_are_cut),
        cmocka_unit_test(codes_have_distinct_names),
        cmocka_unit_test(text_grows),
        cmocka_unit_test(a_broken_text_stays_broken),
        cmocka_unit_test(doubles_are_as_python_writes_them),
        cmocka_unit_test(doubles_read_back_the_same),
        cmocka_unit_test(doubles_have_points_in_every_locale),
        cmocka_unit_test(objects_are_zeroed_aligned_and_apart),
        cmocka_unit_test(impossible_sizes_give_null),
        cmocka_unit_test(strings_are_copied),
        cmocka_unit_test(words_are_found_whole),
        cmocka_unit_test(words_are_stepped_through),
        cmocka_unit_test(overflow_leaves_the_result_alone),
        cmocka_unit_test(dtypes_have_names),
        cmocka_unit_test(shapes_are_counted),
        cmocka_unit_test(shapes_are_compared_and_permuted),
        cmocka_unit_test(shapes_are_shown_as_tuples),
        cmocka_unit_test(tensors_have_sane_sizes),
        cmocka_unit_test(copies_are_their_own),
        cmocka_unit_test(transpose_is_numpys),
        cmocka_unit_test(findings_are_kept_once),
        cmocka_unit_test(findings_are_limited),
        cmocka_unit_test(errors_become_findings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
