/* SPDX-License-Identifier: Apache-2.0 */
/* Lambda functions of every version of Python, from data/lambda_cases.json (make_lambda_cases.py), and damaged ones. */
#include "model_files.h"

#include "base/json.h"
#include "keras/lambda_code.h"
#include "keras/translate.h"

/* ---- models around a function ---- */

/* A file with weights only: the architecture comes beside it. */
static void write_weights_file(void)
{
    hid_t file = H5Fcreate(file_path("weights"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(file >= 0);
    write_empty_list(file, "layer_names");
    write_text(file, "keras_version", "2.15.0");
    write_text(file, "backend", "tensorflow");
    assert_true(H5Fclose(file) >= 0);
}

struct lambda_case {
    const char *python, *source, *code;
    const json_t *json;
};

static json_t *or_null(const json_t *value)
{
    return value ? json_incref((json_t *)value) : json_null();
}

/* The architecture: one or two inputs of shape (batch, 6, 3), and the Lambda. */
static char *architecture(const struct lambda_case *c)
{
    bool two = json_integer_value(json_object_get(c->json, "inputs")) == 2;
    json_t *nodes = two ? json_pack("[[[siio], [siio]]]", "x", 0, 0, json_object(), "y", 0, 0, json_object())
                        : json_pack("[[[siio]]]", "x", 0, 0, json_object());
    json_t *inputs = two ? json_pack("[[sii], [sii]]", "x", 0, 0, "y", 0, 0) : json_pack("[[sii]]", "x", 0, 0);
    json_t *function = json_pack("[s, o, o]", c->code, or_null(json_object_get(c->json, "defaults")),
                                 or_null(json_object_get(c->json, "closure")));
    json_t *given = json_object_get(c->json, "arguments"), *arguments = given ? json_incref(given) : json_object();
    json_t *layers = json_array();
    for (int i = 0; i < 1 + two; i++)
        json_array_append_new(layers, json_pack("{s:s, s:s, s:{s:s, s:[n, i, i], s:s}, s:[]}", "class_name",
                                                "InputLayer", "name", i ? "y" : "x", "config", "name", i ? "y" : "x",
                                                "batch_input_shape", 6, 3, "dtype", "float32", "inbound_nodes"));
    json_array_append_new(layers, json_pack("{s:s, s:s, s:{s:s, s:o, s:s, s:o}, s:o}", "class_name", "Lambda", "name",
                                            "l", "config", "name", "l", "function", function, "function_type", "lambda",
                                            "arguments", arguments, "inbound_nodes", nodes));
    json_t *model = json_pack("{s:s, s:{s:s, s:o, s:o, s:[[sii]]}, s:s, s:s}", "class_name", "Functional", "config",
                              "name", "net", "layers", layers, "input_layers", inputs, "output_layers", "l", 0, 0,
                              "keras_version", "2.15.0", "backend", "tensorflow");
    char *text = json_dumps(model, 0);
    assert_non_null(text);
    json_decref(model);
    return text;
}

/* Reads the model; false (with *err) when there is none to speak of. */
static bool read_model(struct reading *r, const char *text, struct h5pt_error *err)
{
    *r = (struct reading){.arena = arena_new()};
    r->refusals.arena = r->warnings.arena = r->arena;
    r->source = accept_file("weights", &r->fd);
    const struct keras_request request = {.architecture = text};
    return keras_model_read(r->source, &request, r->arena, &r->refusals, &r->warnings, &r->model, err) == 0;
}

/* "Class arguments configuration" of an operation. */
static void add_operation(struct strbuf *out, const struct keras_call *call)
{
    char *args = json_dumps(json_object_get(call->arguments, "args"),
                            JSON_SORT_KEYS | JSON_COMPACT | JSON_REAL_PRECISION(15));
    char *config = json_dumps(call->layer->json, JSON_SORT_KEYS | JSON_COMPACT | JSON_REAL_PRECISION(15));
    strbuf_addf(out, "%s %s %s\n", call->layer->class_name, args, config);
    free(args);
    free(config);
}

static void add_expected(struct strbuf *out, const json_t *operations)
{
    for (size_t i = 0; i < json_array_size(operations); i++) {
        const char *text = json_string_value(json_array_get(operations, i));
        for (bool quoted = false; *text; text++) {
            quoted = quoted != (*text == '"');
            if (*text != ' ' || quoted || !(text[-1] == ',' || text[-1] == ':')) /* JSON without spaces */
                strbuf_add_bytes(out, text, 1);
        }
        strbuf_add(out, "\n");
    }
}

static json_t *load_cases(void)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct strbuf text = STRBUF_INIT;
    char part[4096];
    FILE *f = fopen("tests/unit/data/lambda_cases.json", "rb");
    assert_non_null(f);
    for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;)
        strbuf_add_bytes(&text, part, n);
    (void)fclose(f);
    json_t *root = json_parse(text.text, text.length, "lambda_cases.json", &err);
    strbuf_release(&text);
    assert_non_null(root);
    return root;
}

static struct lambda_case case_at(const json_t *cases, size_t index)
{
    const json_t *json = json_array_get(cases, index);
    return (struct lambda_case){json_string_value(json_object_get(json, "python")),
                                json_string_value(json_object_get(json, "source")),
                                json_string_value(json_object_get(json, "code")), json};
}

/* ---- what they become ---- */

static void check_case(const struct lambda_case *c)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct reading r;
    struct strbuf made = STRBUF_INIT, expected = STRBUF_INIT;
    const char *refused = json_string_value(json_object_get(c->json, "refused"));
    char *text = architecture(c);
    assert_true(read_model(&r, text, &err));
    for (size_t i = 0; i < r.refusals.count; i++)
        strbuf_addf(&made, "%s: %s\n", h5pt_code_name(r.refusals.items[i].code), r.refusals.items[i].message);
    for (int i = 0; i < r.model.call_count && r.refusals.count == 0; i++)
        if (strcmp(r.model.calls[i]->layer->class_name, "InputLayer") != 0)
            add_operation(&made, r.model.calls[i]);
    if (refused) {
        if (!strstr(strbuf_text(&made), refused) || !strstr(strbuf_text(&made), "UNSUPPORTED_LAYER"))
            fail_msg("Python %s, %s:\n%swhere a refusal should say \"%s\"", c->python, c->source, strbuf_text(&made),
                     refused);
    } else {
        add_expected(&expected, json_object_get(c->json, "operations"));
        if (strcmp(strbuf_text(&made), strbuf_text(&expected)) != 0)
            fail_msg("Python %s, %s:\n%sand not\n%s", c->python, c->source, strbuf_text(&made), strbuf_text(&expected));
    }
    strbuf_release(&made);
    strbuf_release(&expected);
    reading_close(&r);
    free(text);
}

static void functions_become_operations(void **state)
{
    (void)state;
    json_t *cases = load_cases();
    assert_true(json_array_size(cases) > 9 * 40);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        struct lambda_case c = case_at(cases, i);
        check_case(&c);
    }
    json_decref(cases);
}

static void versions_are_recognised(void **state)
{
    (void)state;
    json_t *cases = load_cases();
    for (size_t i = 0; i < json_array_size(cases); i++) {
        struct lambda_case c = case_at(cases, i);
        struct arena *arena = arena_new();
        size_t length;
        unsigned char *bytes = base64_decode(c.code, strlen(c.code), &length);
        int fits = 0;
        assert_non_null(bytes);
        for (int layout = 0; layout < PY_LAYOUT_COUNT; layout++) {
            struct py_program program;
            const struct py_code *code = py_unmarshal(arena, bytes, length, (enum py_layout)layout);
            fits += code != NULL;
            if (code)
                assert_true(py_decode(arena, code, &program));
        }
        assert_int_equal(fits, 1);
        free(bytes);
        arena_free(arena);
    }
    json_decref(cases);
}

/* ---- damage ---- */

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static char *base64_encode(const unsigned char *bytes, size_t length)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = calloc(length / 3 * 4 + 5, 1), *to = text;
    assert_non_null(text);
    for (size_t i = 0; i < length; i += 3) {
        unsigned n = (unsigned)(length - i < 3 ? length - i : 3), value = 0;
        for (unsigned k = 0; k < 3; k++)
            value = value << 8 | (k < n ? bytes[i + k] : 0u);
        for (unsigned k = 0; k < 4; k++)
            *to++ = k <= n ? digits[value >> (18 - 6 * k) & 63] : '=';
    }
    return text;
}

/* Some bytes changed, or the end cut off: never more than a refusal. */
static void damaged_functions_do_no_harm(void **state)
{
    (void)state;
    const char *rounds_text = getenv("H5PT_FUZZ_ROUNDS");
    long rounds = rounds_text ? strtol(rounds_text, NULL, 10) : 4;
    json_t *cases = load_cases();
    uint32_t seed = 20240607;
    for (size_t i = 0; i < json_array_size(cases) * (size_t)rounds; i++) {
        struct lambda_case c = case_at(cases, i % json_array_size(cases));
        struct h5pt_error err = H5PT_ERROR_INIT;
        struct reading r;
        size_t length;
        unsigned char *bytes = base64_decode(c.code, strlen(c.code), &length);
        assert_non_null(bytes);
        for (uint32_t k = 1 + next_random(&seed) % 3; k > 0; k--)
            bytes[next_random(&seed) % length] = (unsigned char)next_random(&seed);
        if (next_random(&seed) % 4 == 0)
            length = next_random(&seed) % length;
        char *code = base64_encode(bytes, length);
        c.code = code;
        char *text = architecture(&c);
        if (!read_model(&r, text, &err))
            assert_int_not_equal(err.code, H5PT_OK);
        reading_close(&r);
        free(text);
        free(code);
        free(bytes);
    }
    json_decref(cases);
}

/* ---- NodeDef ---- */

static void node_def_is_read(void **state)
{
    (void)state;
    static const char wire[] = "\x0a\x03Sum\x12\x03Sum\x1a\x01x\x1a\x02"
                               "ax\x2a\x0f\x0a\x09keep_dims\x12\x02\x28\x01\x2a\x0b\x0a\x05"
                               "alpha\x12\x02\x18\x07";
    json_t *node = node_def_parse(wire, sizeof wire - 1);
    assert_non_null(node);
    char *text = json_dumps(node, JSON_SORT_KEYS | JSON_COMPACT);
    assert_string_equal(text,
                        "{\"attr\":{\"alpha\":{\"i\":7},\"keep_dims\":{\"b\":true}},\"input\":[\"x\",\"ax\"],\"op\":"
                        "\"Sum\"}");
    free(text);
    json_decref(node);
}

static void damaged_node_def_is_refused(void **state)
{
    (void)state;
    static const char wire[] = "\x0a\x03Sum\x12\x03Sum\x1a\x01x";
    for (size_t n = 0; n < sizeof wire - 1; n++) {
        json_t *node = node_def_parse(wire, n);
        if (node) /* cut between two fields */
            assert_true(n == 10);
        json_decref(node);
    }
}

static int begin_lambda_files(void **state)
{
    int status = begin_files(state);
    if (status == 0)
        write_weights_file();
    return status;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_become_operations),  cmocka_unit_test(versions_are_recognised),
        cmocka_unit_test(damaged_functions_do_no_harm), cmocka_unit_test(node_def_is_read),
        cmocka_unit_test(damaged_node_def_is_refused),
    };
    return cmocka_run_group_tests_name("lambda", tests, begin_lambda_files, end_files);
}
