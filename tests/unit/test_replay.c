/* SPDX-License-Identifier: Apache-2.0 */
/* replay_node against what the real torch made of the same calls: data/replay_cases.json, from make_replay_cases.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/json.h"
#include "torch/replay.h"

/* torch and replay round float32 sums in different orders; both stay far below this. */
static const double relative_tolerance = 1e-5, share_of_largest = 1e-6;

enum { TENSORS_MAX = 8 };

struct replay_case {
    struct torch_node node;
    struct tensor *inputs[TENSORS_MAX], *parameters[TENSORS_MAX];
};

static json_t *load_cases(void)
{
    FILE *f = fopen("tests/unit/data/replay_cases.json", "rb");
    assert_non_null(f);
    struct strbuf text = STRBUF_INIT;
    char block[4096];
    for (size_t n; (n = fread(block, 1, sizeof block, f)) > 0;)
        strbuf_add_bytes(&text, block, n);
    fclose(f);
    assert_true(strbuf_ok(&text));
    struct h5pt_error err = H5PT_ERROR_INIT;
    json_t *root = json_parse(text.text, text.length, "replay_cases.json", &err);
    strbuf_release(&text);
    assert_non_null(root);
    return root;
}

static struct tensor *read_tensor(const json_t *json)
{
    const json_t *dims = json_object_get(json, "shape"), *data = json_object_get(json, "data");
    struct shape shape = {.rank = (int)json_array_size(dims)};
    enum dtype dtype;
    assert_true(dtype_from_name(json_string_value(json_object_get(json, "dtype")), &dtype));
    for (int i = 0; i < shape.rank; i++)
        shape.dims[i] = json_integer_value(json_array_get(dims, (size_t)i));
    struct tensor *tensor = tensor_new(&shape, dtype);
    assert_non_null(tensor);
    assert_int_equal(tensor->count, json_array_size(data));
    for (size_t i = 0; i < json_array_size(data); i++) {
        double value;
        assert_true(json_read_double(json_array_get(data, i), &value));
        tensor->data[i] = (float)value;
    }
    return tensor;
}

static int read_tensors(const json_t *list, struct tensor **tensors)
{
    size_t count = json_array_size(list);
    assert_true(count <= TENSORS_MAX);
    for (size_t i = 0; i < count; i++)
        tensors[i] = read_tensor(json_array_get(list, i));
    return (int)count;
}

static const int64_t *read_ints(struct arena *arena, const json_t *list)
{
    int64_t *v = ARENA_ARRAY(arena, int64_t, json_array_size(list) + 1);
    assert_non_null(v);
    for (size_t i = 0; i < json_array_size(list); i++)
        v[i] = json_integer_value(json_array_get(list, i));
    return v;
}

static const struct torch_size *read_sizes(struct arena *arena, const json_t *list)
{
    struct torch_size *v = ARENA_ARRAY(arena, struct torch_size, json_array_size(list) + 1);
    assert_non_null(v);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *pair = json_array_get(list, i);
        v[i].value = json_integer_value(json_array_get(pair, 0));
        v[i].from_dim = (int)json_integer_value(json_array_get(pair, 1));
    }
    return v;
}

static struct torch_attr read_attr(struct arena *arena, const char *name, const json_t *json)
{
    struct torch_attr attr = {.name = name};
    double number;
    if (json_is_boolean(json)) {
        attr.kind = TORCH_ATTR_BOOL;
        attr.i = json_is_true(json);
    } else if (json_is_integer(json)) {
        attr.kind = TORCH_ATTR_INT;
        attr.i = json_integer_value(json);
    } else if (json_is_array(json)) {
        attr.kind = TORCH_ATTR_INTS;
        attr.ints.count = (int)json_array_size(json);
        attr.ints.v = read_ints(arena, json);
    } else if (json_is_object(json)) {
        const json_t *sizes = json_object_get(json, "sizes");
        attr.kind = TORCH_ATTR_SIZES;
        attr.sizes.count = (int)json_array_size(sizes);
        attr.sizes.v = read_sizes(arena, sizes);
    } else if (json_read_double(json, &number)) {
        attr.kind = TORCH_ATTR_FLOAT;
        attr.f = number;
    } else {
        attr.kind = TORCH_ATTR_TEXT;
        attr.text = json_string_value(json);
    }
    return attr;
}

static enum torch_op op_named(const char *id)
{
    for (int op = 0; op < TORCH_OP_COUNT; op++)
        if (strcmp(torch_op_info((enum torch_op)op)->id, id) == 0)
            return (enum torch_op)op;
    fail_msg("ops.def has no %s", id);
    return TORCH_OP_COUNT;
}

static void read_case(struct arena *arena, json_t *json, struct replay_case *c)
{
    json_t *attrs = json_object_get(json, "attrs"), *value;
    const char *name;
    *c = (struct replay_case){.node = {.op = op_named(json_string_value(json_object_get(json, "op")))}};
    c->node.input_count = read_tensors(json_object_get(json, "inputs"), c->inputs);
    c->node.parameter_count = read_tensors(json_object_get(json, "parameters"), c->parameters);
    struct torch_attr *list = ARENA_ARRAY(arena, struct torch_attr, json_object_size(attrs) + 1);
    assert_non_null(list);
    json_object_foreach(attrs, name, value) list[c->node.attr_count++] = read_attr(arena, name, value);
    c->node.attrs = list;
}

static void release_case(struct replay_case *c)
{
    for (int i = 0; i < TENSORS_MAX; i++) {
        tensor_free(c->inputs[i]);
        tensor_free(c->parameters[i]);
    }
}

static bool close_to(double value, double expected, double largest)
{
    if (isnan(expected) || isinf(expected))
        return isnan(expected) ? isnan(value) : value == expected;
    return fabs(value - expected) <= relative_tolerance * fabs(expected) + share_of_largest * largest;
}

static double largest_of(const struct tensor *tensor)
{
    double largest = 0;
    for (int64_t i = 0; i < tensor->count; i++)
        if (isfinite(tensor->data[i]))
            largest = fmax(largest, fabs((double)tensor->data[i]));
    return largest;
}

static int compare(const struct tensor *y, const struct tensor *expected, const char *text)
{
    char a[SHAPE_TEXT_SIZE], b[SHAPE_TEXT_SIZE];
    if (!shape_equal(&y->shape, &expected->shape) || y->dtype != expected->dtype) {
        print_error("%s: %s %s, torch has %s %s\n", text, dtype_name(y->dtype), shape_text(&y->shape, a),
                    dtype_name(expected->dtype), shape_text(&expected->shape, b));
        return 1;
    }
    double largest = largest_of(expected);
    for (int64_t i = 0; i < y->count; i++) {
        if (!close_to((double)y->data[i], (double)expected->data[i], largest)) {
            print_error("%s: element %lld is %.9g, torch has %.9g\n", text, (long long)i, (double)y->data[i],
                        (double)expected->data[i]);
            return 1;
        }
    }
    return 0;
}

static int check_refusal(int rc, const struct h5pt_error *err, const char *id, const char *text)
{
    if (rc != 0 && err->code == H5PT_SHAPE_MISMATCH && strncmp(err->message, id, strlen(id)) == 0)
        return 0;
    print_error("%s: torch refuses this, replay says '%s'\n", text, err->message);
    return 1;
}

/* The number of failures. */
static int run_case(json_t *json, bool *covered)
{
    struct arena *arena = arena_new();
    struct replay_case c;
    read_case(arena, json, &c);
    char *attrs = json_dumps(json_object_get(json, "attrs"), JSON_COMPACT), text[256];
    const char *id = torch_op_info(c.node.op)->id;
    (void)snprintf(text, sizeof text, "%s %s", id, attrs);
    free(attrs);
    const json_t *output = json_object_get(json, "output");
    struct tensor *y[3] = {NULL}, *expected = output ? read_tensor(output) : NULL;
    const json_t *states = json_object_get(json, "states");
    c.node.output_count = 1 + (int)json_array_size(states);
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct replay_call call = {.node = &c.node,
                               .inputs = (const struct tensor *const *)c.inputs,
                               .parameters = (const struct tensor *const *)c.parameters};
    int rc = replay_node(&call, y, &err), failures;
    if (!output) {
        failures = check_refusal(rc, &err, id, text);
    } else if (rc != 0) {
        print_error("%s: refused: %s\n", text, err.message);
        failures = 1;
    } else {
        covered[c.node.op] = true;
        failures = compare(y[0], expected, text);
        for (size_t i = 0; i < json_array_size(states); i++) {
            struct tensor *state = read_tensor(json_array_get(states, i));
            failures += compare(y[1 + i], state, text);
            tensor_free(state);
        }
    }
    for (int i = 0; i < 3; i++)
        tensor_free(y[i]);
    tensor_free(expected);
    release_case(&c);
    arena_free(arena);
    return failures;
}

static void every_operation_computes_what_torch_does(void **state)
{
    (void)state;
    bool covered[TORCH_OP_COUNT] = {false};
    json_t *root = load_cases(), *json;
    size_t i;
    int failures = 0;
    json_array_foreach(json_object_get(root, "cases"), i, json) failures += run_case(json, covered);
    json_decref(root);
    for (int op = 0; op < TORCH_OP_COUNT; op++) {
        if (!covered[op]) {
            print_error("%s has no case\n", torch_op_info((enum torch_op)op)->id);
            failures++;
        }
    }
    assert_int_equal(failures, 0);
}

static void a_wrong_number_of_inputs_is_refused(void **state)
{
    (void)state;
    struct shape shape = shape_of(1, (int64_t[]){2});
    struct tensor *x = tensor_new(&shape, DTYPE_F32), *y = NULL;
    assert_non_null(x);
    struct torch_node node = {.op = TORCH_ADD, .input_count = 1};
    struct replay_call call = {.node = &node, .inputs = (const struct tensor *const[]){x}};
    struct h5pt_error err = H5PT_ERROR_INIT;
    assert_int_equal(replay_node(&call, &y, &err), -1);
    assert_int_equal(err.code, H5PT_SHAPE_MISMATCH);
    assert_null(y);
    tensor_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation_computes_what_torch_does),
        cmocka_unit_test(a_wrong_number_of_inputs_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
