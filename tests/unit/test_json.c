/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON that Python writes: NaN and Infinity as bare words, numbers inside wrappers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "base/json.h"

static json_t *parse(const char *text)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    json_t *root = json_parse(text, strlen(text), "model_config", &err);
    if (!root)
        fail_msg("%s", err.message);
    return root;
}

static void bare_words_are_numbers(void **state)
{
    (void)state;
    json_t *root = parse("{\"a\": NaN, \"b\":[Infinity,-Infinity , -1, 2.5]}");
    const json_t *list = json_object_get(root, "b");
    double value = 0;
    assert_true(json_read_double(json_object_get(root, "a"), &value) && isnan(value));
    assert_true(json_read_double(json_array_get(list, 0), &value) && isinf(value) && value > 0);
    assert_true(json_read_double(json_array_get(list, 1), &value) && isinf(value) && value < 0);
    assert_true(json_read_double(json_array_get(list, 2), &value) && value == -1);
    assert_true(json_read_double(json_array_get(list, 3), &value) && value == 2.5);
    json_decref(root);
}

static void words_in_strings_stay(void **state)
{
    (void)state;
    json_t *root = parse("{\"NaN\": \"a \\\" NaN\", \"b\\\\\": \"-Infinity, Infinity\", \"c\": NaN}");
    assert_string_equal(json_string_value(json_object_get(root, "NaN")), "a \" NaN");
    assert_string_equal(json_string_value(json_object_get(root, "b\\")), "-Infinity, Infinity");
    double value;
    assert_true(json_read_double(json_object_get(root, "c"), &value) && isnan(value));
    json_decref(root);
}

static void malformed(const char *text, size_t length)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    assert_null(json_parse(text, length, "model_config", &err));
    assert_int_equal(err.code, H5PT_CONFIG_MALFORMED);
    assert_string_equal(err.where, "model_config");
}

static void what_is_no_json_is_refused(void **state)
{
    (void)state;
    malformed("", 0);
    malformed("{\"a\": 1", 7);
    malformed("{\"a\": aNaN}", 11);
    malformed("{\"a\": NaNs}", 11);
    malformed("{\"a\": -NaN}", 11);
    malformed("{\"a\": \"\\", 8);
    malformed("{\"a\": 1} x", 10);
    malformed("{\"\xff\": 1}", 8);
    malformed("{\"a\": 1}", 6); /* the length counts, not the NUL */
}

static void deep_nesting_is_refused(void **state)
{
    (void)state;
    static char text[100000];
    memset(text, '[', sizeof text);
    malformed(text, sizeof text);
}

static void wrappers_are_taken_off(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"type\": \"ndarray\", \"value\": 6}",
        "{\"class_name\": \"__numpy__\", \"config\": {\"value\": 6, \"dtype\": \"float32\"}}",
        "{\"class_name\": \"__tensor__\", \"config\": {\"value\": 6.0, \"dtype\": \"float32\"}}",
        "6",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        json_t *root = parse(texts[i]);
        double value = 0;
        long long n = 0;
        assert_true(json_read_double(root, &value) && value == 6);
        assert_true(json_read_int(root, &n) && n == 6);
        json_decref(root);
    }
    json_t *tuple = parse("{\"class_name\": \"__tuple__\", \"items\": [3, 4]}");
    assert_int_equal(json_array_size(json_unwrap(tuple)), 2);
    json_decref(tuple);
    json_t *other = parse("{\"class_name\": \"Zeros\", \"config\": {\"value\": 1}}");
    assert_ptr_equal(json_unwrap(other), other);
    json_decref(other);
}

static void whole_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool whole;
        long long value;
    } cases[] = {
        {"3", true, 3},     {"3.0", true, 3},
        {"-7.0", true, -7}, {"1e3", true, 1000},
        {"3.5", false, 0},  {"\"3\"", false, 0},
        {"true", false, 0}, {"null", false, 0},
        {"NaN", false, 0},  {"Infinity", false, 0},
        {"[3]", false, 0},  {"1e300", false, 0},
        {"-0.0", true, 0},  {"9223372036854775807", true, 9223372036854775807LL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *root = parse(cases[i].text);
        long long value = 42;
        if (json_read_int(root, &value) != cases[i].whole)
            fail_msg("%s", cases[i].text);
        assert_true(value == (cases[i].whole ? cases[i].value : 42));
        json_decref(root);
    }
}

static void other_values_are_no_numbers(void **state)
{
    (void)state;
    static const char *const texts[] = {"\"nan\"", "\"1.5\"", "true", "null", "[1.5]", "{}", "{\"value\": 1.5}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        json_t *root = parse(texts[i]);
        double value = 42;
        assert_false(json_read_double(root, &value));
        assert_true(value == 42);
        json_decref(root);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bare_words_are_numbers),      cmocka_unit_test(words_in_strings_stay),
        cmocka_unit_test(what_is_no_json_is_refused),  cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(wrappers_are_taken_off),      cmocka_unit_test(whole_numbers),
        cmocka_unit_test(other_values_are_no_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
