/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#include "torch/graph.h"

static const int64_t two_three[] = {2, 3};
static const struct torch_size sizes[] = {{.from_dim = 0}, {.value = -1, .from_dim = -1}};
static const struct torch_attr attrs[] = {
    {.name = "stride", .kind = TORCH_ATTR_INTS, .ints = {2, two_three}},
    {.name = "dilation", .kind = TORCH_ATTR_INT, .i = 2},
    {.name = "eps", .kind = TORCH_ATTR_FLOAT, .f = 1e-3},
    {.name = "bias", .kind = TORCH_ATTR_BOOL, .i = 1},
    {.name = "mode", .kind = TORCH_ATTR_TEXT, .text = "nearest"},
    {.name = "sizes", .kind = TORCH_ATTR_SIZES, .sizes = {2, sizes}},
};
static const struct torch_node node_with_attrs = {.op = TORCH_CONV2D, .attr_count = 6, .attrs = attrs};

static void attributes_are_found_by_name(void **state)
{
    (void)state;
    assert_ptr_equal(torch_attr(&node_with_attrs, "eps"), &attrs[2]);
    assert_null(torch_attr(&node_with_attrs, "padding"));
    assert_int_equal(torch_attr_int(&node_with_attrs, "dilation"), 2);
    assert_int_equal(torch_attr_int(&node_with_attrs, "bias"), 1);
    assert_true(torch_attr_float(&node_with_attrs, "eps") == 1e-3);
    assert_string_equal(torch_attr_text(&node_with_attrs, "mode"), "nearest");
    assert_null(torch_attr_text(&node_with_attrs, "eps"));
}

static void one_value_stands_for_every_dim(void **state)
{
    (void)state;
    assert_int_equal(torch_attr_at(&node_with_attrs, "stride", 1), 3);
    assert_int_equal(torch_attr_at(&node_with_attrs, "stride", 2), 0);
    assert_int_equal(torch_attr_at(&node_with_attrs, "dilation", 2), 2);
}

static void rows_of_the_table_are_complete(void **state)
{
    (void)state;
    for (int op = 0; op < TORCH_OP_COUNT; op++) {
        const struct torch_op_info *info = torch_op_info((enum torch_op)op);
        assert_non_null(info->id);
        assert_non_null(info->attributes);
        if (info->kind != TORCH_KIND_SPECIAL)
            assert_true(info->module || info->callee);
    }
    assert_string_equal(torch_op_info(TORCH_RELU)->module, "nn.ReLU");
    assert_string_equal(torch_op_info(TORCH_RELU)->callee, "F.relu");
}

static const struct source_tensor kernel = {.name = "conv/kernel:0", .shape = {4, {3, 3, 1, 8}}};
static const struct source_tensor dense = {.name = "dense/kernel:0", .shape = {2, {12, 5}}};

static void check_description(const struct source_tensor *source, const struct rearrangement *r, const char *expected)
{
    struct torch_parameter parameter = {.source = source, .rearrangement = *r};
    struct strbuf text = STRBUF_INIT;
    rearrangement_describe(&parameter, &text);
    assert_string_equal(strbuf_text(&text), expected);
    strbuf_release(&text);
}

static void rearrangements_are_described(void **state)
{
    (void)state;
    check_description(
        &kernel, &(struct rearrangement){.view = {4, {3, 3, 1, 8}}, .axes = {3, 2, 0, 1}, .shape = {4, {8, 1, 3, 3}}},
        "permute(3,2,0,1)");
    check_description(
        &kernel, &(struct rearrangement){.view = {4, {3, 3, 1, 8}}, .axes = {0, 1, 2, 3}, .shape = {4, {3, 3, 1, 8}}},
        "as is");
    check_description(&kernel,
                      &(struct rearrangement){.view = {4, {3, 3, 1, 8}}, .axes = {0, 1, 2, 3}, .shape = {2, {9, 8}}},
                      "view(9,8)");
    check_description(&dense,
                      &(struct rearrangement){.view = {4, {2, 3, 2, 5}}, .axes = {3, 2, 0, 1}, .shape = {2, {5, 12}}},
                      "view(2,3,2,5).permute(3,2,0,1)");
    const struct source_tensor gates = {.name = "gru/bias:0", .shape = {2, {2, 6}}};
    check_description(&gates,
                      &(struct rearrangement){.view = {2, {3, 2}},
                                              .axes = {0, 1},
                                              .shape = {1, {6}},
                                              .part = true,
                                              .offset = 6,
                                              .order_count = 3,
                                              .order = {1, 0, 2}},
                      "from 6.view(3,2).order(1,0,2)");
    check_description(NULL, &(struct rearrangement){.view = {1, {5}}, .axes = {0}, .shape = {1, {5}}}, "constant");
}

static void the_dump_has_a_line_for_everything(void **state)
{
    (void)state;
    struct torch_value values[] = {
        {.shape = {4, {DIM_UNKNOWN, 1, 28, 28}}, .dtype = DTYPE_F32, .node = -1},
        {.shape = {4, {DIM_UNKNOWN, 8, 26, 26}}, .dtype = DTYPE_F32, .node = 0},
        {.shape = {4, {DIM_UNKNOWN, 8, 26, 26}}, .dtype = DTYPE_F32, .node = 1},
    };
    struct torch_node nodes[] = {
        {.op = TORCH_CONV2D,
         .module = "conv",
         .input_count = 1,
         .inputs = (const int[]){0},
         .output = 1,
         .attr_count = 6,
         .attrs = attrs,
         .parameter_count = 2,
         .parameters = (const int[]){0, 1}},
        {.op = TORCH_ADD, .input_count = 2, .inputs = (const int[]){1, 1}, .output = 2},
    };
    struct torch_parameter parameters[] = {
        {.name = "conv.weight",
         .source = &kernel,
         .dtype = DTYPE_F32,
         .shape = {4, {8, 1, 3, 3}},
         .rearrangement = {.view = {4, {3, 3, 1, 8}}, .axes = {3, 2, 0, 1}, .shape = {4, {8, 1, 3, 3}}}},
        {.name = "conv.bias", .dtype = DTYPE_F32, .shape = {1, {8}}, .is_buffer = true},
    };
    struct torch_interface input = {.name = "image", .value = 0, .axes = {0, 3, 1, 2}, .permuted = true};
    struct torch_interface output = {.name = "sum", .value = 2};
    struct torch_graph graph = {.name = "Net",
                                .value_count = 3,
                                .node_count = 2,
                                .parameter_count = 2,
                                .input_count = 1,
                                .output_count = 1,
                                .values = values,
                                .nodes = nodes,
                                .parameters = parameters,
                                .inputs = &input,
                                .outputs = &output};
    struct strbuf text = STRBUF_INIT;
    torch_dump(&graph, &text);
    assert_string_equal(
        strbuf_text(&text),
        "torch graph Net\n"
        "input %0 image : float32 (None, 1, 28, 28) permute(0,3,1,2)\n"
        "%1 = CONV2D conv(%0) stride=(2, 3) dilation=2 eps=0.001 bias=True mode=nearest sizes=(size(0), -1) "
        "[conv.weight, conv.bias] : float32 (None, 8, 26, 26)\n"
        "%2 = ADD(%1, %1) : float32 (None, 8, 26, 26)\n"
        "output %2 sum : float32 (None, 8, 26, 26)\n"
        "parameter conv.weight : float32 (8, 1, 3, 3) = conv/kernel:0 permute(3,2,0,1)\n"
        "buffer conv.bias : float32 (8,) = constant\n");
    strbuf_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attributes_are_found_by_name),       cmocka_unit_test(one_value_stands_for_every_dim),
        cmocka_unit_test(rows_of_the_table_are_complete),     cmocka_unit_test(rearrangements_are_described),
        cmocka_unit_test(the_dump_has_a_line_for_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
