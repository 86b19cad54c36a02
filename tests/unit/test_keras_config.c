/* SPDX-License-Identifier: Apache-2.0 */
/* The readers of layer settings: defaults, nulls, refusals that name the key, unknown keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#include "base/json.h"
#include "keras/config.h"

struct fixture {
    struct keras_layer layer;
    struct findings refusals;
    struct config_reader reader;
    json_t *json;
};

/* A reader over `text`, JSON with ' for ". */
static void begin(struct fixture *f, const char *text)
{
    char json[512];
    size_t n = strlen(text);
    assert_true(n < sizeof json);
    for (size_t i = 0; i <= n; i++)
        json[i] = text[i] == '\'' ? '"' : text[i];
    *f = (struct fixture){.refusals = {.arena = arena_new()}, .json = json_parse(json, n, "", NULL)};
    assert_non_null(f->json);
    f->layer = (struct keras_layer){.class_name = "Thing", .name = "thing", .path = "net/thing", .json = f->json};
    assert_int_equal(config_begin(&f->reader, &f->layer, (struct keras_version){.major = 2, .minor = 15, .tf = true},
                                  f->refusals.arena, &f->refusals, NULL),
                     0);
}

/* Ends reading; the refusals must be these, "CODE key" each, in order. */
static void end(struct fixture *f, size_t count, const char *const *expected)
{
    config_finish(&f->reader);
    for (size_t i = 0; i < f->refusals.count; i++) {
        const struct finding *finding = &f->refusals.items[i];
        char text[128];
        (void)snprintf(text, sizeof text, "%s %s", h5pt_code_name(finding->code), finding->key);
        if (i >= count)
            fail_msg("%s: %s", text, finding->message);
        assert_string_equal(text, expected[i]);
        assert_string_equal(finding->layer, "net/thing");
        assert_non_null(strstr(finding->message, finding->key));
    }
    assert_int_equal(f->refusals.count, count);
    json_decref(f->json);
    arena_free(f->refusals.arena);
}

#define END(f, ...)                                                                                                    \
    end((f), sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), (const char *const[]){__VA_ARGS__})

static void absent_and_null_give_the_default(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, "{'i': null, 'd': null, 'b': null, 't': null, 'c': null, 'n': null, 'l': null, 'm': null}");
    for (int there = 0; there < 2; there++) {
        int64_t list[3] = {0};
        const double *numbers = NULL;
        assert_int_equal(config_int(&f.reader, there ? "i" : "I", 4), 4);
        assert_true(config_double(&f.reader, there ? "d" : "D", 0.5) == 0.5);
        assert_true(config_bool(&f.reader, there ? "b" : "B", true));
        assert_string_equal(config_text(&f.reader, there ? "t" : "T", "x"), "x");
        assert_int_equal(config_choice(&f.reader, there ? "c" : "C", "a b", 1), 1);
        config_ints(&f.reader, there ? "n" : "N", 3, list, 9);
        assert_true(list[0] == 9 && list[2] == 9);
        assert_int_equal(config_list(&f.reader, there ? "l" : "L", 3, list), -1);
        assert_int_equal(config_doubles(&f.reader, there ? "m" : "M", &numbers), -1);
        assert_null(config_get(&f.reader, there ? "i" : "I"));
    }
    end(&f, 0, NULL);
}

static void values_are_read(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, "{'i': 3.0, 'd': Infinity, 'b': 0, 't': 'same', 'n': 2, 'p': [1, 2], 'l': [null, 4], 'one': 7, "
              "'m': [[1, 2.5], [3, NaN]], 'w': {'class_name': '__numpy__', 'config': {'value': 6.0}}}");
    int64_t list[3] = {0};
    const double *numbers;
    assert_int_equal(config_int(&f.reader, "i", 0), 3);
    assert_true(config_double(&f.reader, "d", 0) > 1e308);
    assert_false(config_bool(&f.reader, "b", true));
    assert_int_equal(config_choice(&f.reader, "t", "valid same causal", 0), 1);
    config_ints(&f.reader, "n", 3, list, 9);
    assert_true(list[0] == 2 && list[1] == 2 && list[2] == 2);
    config_ints(&f.reader, "p", 2, list, 9);
    assert_true(list[0] == 1 && list[1] == 2);
    assert_int_equal(config_list(&f.reader, "l", 3, list), 2);
    assert_true(list[0] == DIM_UNKNOWN && list[1] == 4);
    assert_int_equal(config_list(&f.reader, "one", 3, list), 1);
    assert_int_equal(list[0], 7);
    assert_int_equal(config_doubles(&f.reader, "m", &numbers), 4);
    assert_true(numbers[1] == 2.5 && numbers[2] == 3 && numbers[3] != numbers[3]);
    assert_true(config_double(&f.reader, "w", 0) == 6);
    end(&f, 0, NULL);
}

static void wrong_values_are_refused_and_reading_goes_on(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f,
          "{'i': 1.5, 'd': 'big', 'b': 2, 't': 3, 'n': [1, 2, 3], 'l': [1, 'x'], 'long': [1, 2, 3, 4], 'm': [1, {}], "
          "'p': [1, null]}");
    int64_t list[4] = {0};
    const double *numbers = NULL;
    assert_int_equal(config_int(&f.reader, "i", 4), 4);
    assert_true(config_double(&f.reader, "d", 0.5) == 0.5);
    assert_true(config_bool(&f.reader, "b", true));
    assert_string_equal(config_text(&f.reader, "t", "x"), "x");
    config_ints(&f.reader, "n", 2, list, 9);
    assert_true(list[0] == 9 && list[1] == 9);
    assert_int_equal(config_list(&f.reader, "l", 3, list), -1);
    assert_int_equal(config_list(&f.reader, "long", 3, list), -1);
    assert_int_equal(config_doubles(&f.reader, "m", &numbers), -1);
    config_ints(&f.reader, "p", 2, list, 9);
    assert_true(list[0] == 9 && list[1] == 9);
    END(&f, "CONFIG_INVALID i", "CONFIG_INVALID d", "CONFIG_INVALID b", "CONFIG_INVALID t", "CONFIG_INVALID n",
        "CONFIG_INVALID l", "CONFIG_INVALID long", "CONFIG_INVALID m", "CONFIG_INVALID p");
}

static void sizes_have_a_least_value(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, "{'good': 1, 'zero': 0, 'negative': -4, 'huge': 5000000000, 'null': null}");
    assert_int_equal(config_size(&f.reader, "good", 1), 1);
    assert_int_equal(config_size(&f.reader, "zero", 1), 1);
    assert_int_equal(config_size(&f.reader, "negative", 1), 1);
    assert_int_equal(config_size(&f.reader, "huge", 1), 1);
    assert_int_equal(config_size(&f.reader, "null", 1), 1);
    assert_int_equal(config_size(&f.reader, "absent", 2), 2);
    END(&f, "CONFIG_INVALID zero", "CONFIG_INVALID negative", "CONFIG_INVALID huge", "CONFIG_INVALID null",
        "CONFIG_INVALID absent");
}

static void other_choices_are_named(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, "{'padding': 'full'}");
    assert_int_equal(config_choice(&f.reader, "padding", "valid same", 0), 0);
    assert_non_null(strstr(f.refusals.items[0].message, "\"full\""));
    assert_non_null(strstr(f.refusals.items[0].message, "valid same"));
    END(&f, "UNSUPPORTED_CONFIG padding");
}

static void unread_keys_are_refused_by_name(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, "{'name': 'thing', 'trainable': true, 'dtype': 'float32', 'kernel_initializer': {}, 'batch_input_shape': "
              "[null, 3], "
              "'units': 3, 'seed': 1, 'invented': 0, 'unheard': null}");
    (void)config_int(&f.reader, "units", 0);
    END(&f, "UNKNOWN_CONFIG_KEY invented", "UNKNOWN_CONFIG_KEY unheard");
}

static void ignored_keys_are_known(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, "{'implementation': 2, 'time_major': false, 'unroll': true}");
    config_ignore(&f.reader, "implementation unroll");
    END(&f, "UNKNOWN_CONFIG_KEY time_major");
}

static void data_format_is_kept_with_the_layer(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, "{'data_format': 'channels_first'}");
    assert_true(config_data_format(&f.reader) && f.layer.channels_first);
    end(&f, 0, NULL);
    begin(&f, "{'data_format': null}");
    assert_true(!config_data_format(&f.reader) && !f.layer.channels_first);
    end(&f, 0, NULL);
    begin(&f, "{'data_format': 'channels_middle'}");
    assert_false(config_data_format(&f.reader));
    END(&f, "UNSUPPORTED_CONFIG data_format");
}

static void policies_give_the_type_of_the_layer(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        enum dtype compute;
        const char *mixed;
    } cases[] = {
        {"{}", DTYPE_F32, NULL},
        {"{'dtype': null}", DTYPE_F32, NULL},
        {"{'dtype': 'float32'}", DTYPE_F32, NULL},
        {"{'dtype': 'float16'}", DTYPE_F16, NULL},
        {"{'dtype': 'bfloat16'}", DTYPE_BF16, NULL},
        {"{'dtype': {'module': 'keras', 'class_name': 'DTypePolicy', 'config': {'name': 'float64'}}}", DTYPE_F64, NULL},
        {"{'dtype': 'mixed_float16'}", DTYPE_F32, "mixed_float16"},
        {"{'dtype': {'class_name': 'Policy', 'config': {'name': 'mixed_bfloat16'}}}", DTYPE_F32, "mixed_bfloat16"}};
    struct fixture f;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *mixed = "";
        begin(&f, cases[i].json);
        config_read_policy(&f.reader, &mixed);
        assert_int_equal(f.layer.compute, cases[i].compute);
        if (cases[i].mixed)
            assert_string_equal(mixed, cases[i].mixed);
        else
            assert_null(mixed);
        end(&f, 0, NULL);
    }
}

static void other_policies_are_refused(void **state)
{
    (void)state;
    static const char *const refused[] = {
        "{'dtype': 'int32'}", "{'dtype': 3}", "{'dtype': '_infer'}", "{'dtype': 'int8_from_float32'}",
        "{'dtype': {'class_name': 'QuantizedDTypePolicy', 'config': {'mode': 'int8'}}}"};
    struct fixture f;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const char *mixed;
        begin(&f, refused[i]);
        config_read_policy(&f.reader, &mixed);
        config_finish(&f.reader);
        assert_int_equal(f.refusals.count, 1);
        assert_int_equal(f.refusals.items[0].code, H5PT_UNSUPPORTED_DTYPE);
        assert_true((i < 3) == (strstr(f.refusals.items[0].message, "quantised") == NULL));
        json_decref(f.json);
        arena_free(f.refusals.arena);
    }
}

static void low_rank_updates_are_read(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, "{'quantization_config': null, 'lora_rank': null, 'lora_alpha': null}");
    config_read_storage(&f.reader);
    assert_int_equal(f.layer.low_rank, 0);
    end(&f, 0, NULL);
    begin(&f, "{'lora_rank': 4, 'lora_alpha': 6}");
    config_read_storage(&f.reader);
    assert_int_equal(f.layer.low_rank, 4);
    assert_true(f.layer.low_rank_scale == 1.5);
    end(&f, 0, NULL);
    begin(&f, "{'lora_rank': 4}"); /* before Keras had the key */
    config_read_storage(&f.reader);
    assert_true(f.layer.low_rank_scale == 1.0);
    end(&f, 0, NULL);
    begin(&f, "{'quantization_config': {}}");
    config_read_storage(&f.reader);
    END(&f, "UNSUPPORTED_CONFIG quantization_config");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(absent_and_null_give_the_default),
        cmocka_unit_test(values_are_read),
        cmocka_unit_test(wrong_values_are_refused_and_reading_goes_on),
        cmocka_unit_test(sizes_have_a_least_value),
        cmocka_unit_test(other_choices_are_named),
        cmocka_unit_test(unread_keys_are_refused_by_name),
        cmocka_unit_test(ignored_keys_are_known),
        cmocka_unit_test(data_format_is_kept_with_the_layer),
        cmocka_unit_test(policies_give_the_type_of_the_layer),
        cmocka_unit_test(other_policies_are_refused),
        cmocka_unit_test(low_rank_updates_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
