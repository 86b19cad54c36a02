/* SPDX-License-Identifier: Apache-2.0 */
/* Lowering: where permutes go, what weights are rearranged, what things are called. */
#include "model_files.h"

static int count_ops(const struct torch_graph *graph, enum torch_op op)
{
    int n = 0;
    for (int i = 0; i < graph->node_count; i++)
        n += graph->nodes[i].op == op;
    return n;
}

static void expect_dump(const struct torch_graph *graph, const char *expected)
{
    struct strbuf text = STRBUF_INIT;
    torch_dump(graph, &text);
    assert_string_equal(strbuf_text(&text), expected);
    strbuf_release(&text);
}

#define CONV(name, filters, settings) ENTRY("Conv2D", name, ",'filters':" filters ",'kernel_size':[3,3]" settings)
#define CONV_CALLED(name, filters, settings, nodes)                                                                    \
    CALLED("Conv2D", name, ",'filters':" filters ",'kernel_size':[3,3]" settings, nodes)
#define CONV_WEIGHTS(name, in, out)                                                                                    \
    {name, name "/kernel:0", 4, {3, 3, in, out}, NULL},                                                                \
    {                                                                                                                  \
        name, name "/bias:0", 1, {out}, NULL                                                                           \
    }

/* ---- layouts ---- */

static void an_ordinary_cnn_has_no_permute(void **state)
{
    (void)state;
    struct reading r;
    WRITE_MODEL("cnn", "2.15.0",
                SEQUENTIAL(CONV("c", "2", ",'padding':'same','activation':'relu'" SHAPE("6,8,1")) "," ENTRY(
                    "MaxPooling2D", "p", ",'pool_size':[2,2]") "," ENTRY("Flatten", "f", "") "," DENSE("d", "3")),
                CONV_WEIGHTS("c", 1, 2), DENSE_WEIGHTS("d", 24, 3));
    reading_lower(&r, "cnn");
    expect_dump(
        &r.graph,
        "torch graph Net\n"
        "input %0 c_input : float32 (None, 1, 6, 8) permute(0,3,1,2)\n"
        "%1 = CONV2D c(%0) in_channels=1 out_channels=2 kernel_size=3 stride=1 padding=1 dilation=1 groups=1 bias=True "
        "[c.weight, c.bias] : float32 (None, 2, 6, 8)\n"
        "%2 = RELU(%1) : float32 (None, 2, 6, 8)\n"
        "%3 = MAX_POOL2D p(%2) kernel_size=2 stride=2 padding=0 : float32 (None, 2, 3, 4)\n"
        "%4 = FLATTEN(%3) start_dim=1 : float32 (None, 24)\n"
        "%5 = LINEAR d(%4) in_features=24 out_features=3 bias=True [d.weight, d.bias] : float32 (None, 3)\n"
        "output %5 d : float32 (None, 3)\n"
        "parameter c.weight : float32 (2, 1, 3, 3) = c/kernel:0 permute(3,2,0,1)\n"
        "parameter c.bias : float32 (2,) = c/bias:0 as is\n"
        "parameter d.weight : float32 (3, 24) = d/kernel:0 view(3,4,2,3).permute(3,2,0,1)\n"
        "parameter d.bias : float32 (3,) = d/bias:0 as is\n");
    reading_close(&r);
}

static void flattening_after_global_pooling_keeps_the_rows(void **state)
{
    (void)state;
    struct reading r;
    struct strbuf text = STRBUF_INIT;
    WRITE_MODEL(
        "gap", "2.15.0",
        SEQUENTIAL(CONV("c", "2", SHAPE("6,8,1")) "," ENTRY("GlobalAveragePooling2D", "g", "") "," DENSE("d", "3")),
        CONV_WEIGHTS("c", 1, 2), DENSE_WEIGHTS("d", 2, 3));
    reading_lower(&r, "gap");
    assert_int_equal(count_ops(&r.graph, TORCH_PERMUTE), 0);
    rearrangement_describe(&r.graph.parameters[2], &text);
    assert_string_equal(r.graph.parameters[2].name, "d.weight");
    assert_string_equal(strbuf_text(&text), "permute(1,0)");
    strbuf_release(&text);
    reading_close(&r);
}

static void axes_of_size_one_move_by_reshape(void **state)
{
    (void)state;
    struct reading r;
    WRITE_MODEL(
        "squeeze", "2.15.0",
        SEQUENTIAL(ENTRY("GlobalAveragePooling2D", "g", SHAPE("6,8,4")) "," ENTRY(
            "Reshape", "r", ",'target_shape':[1,1,4]") "," ENTRY("Conv2D", "c", ",'filters':2,'kernel_size':[1,1]")),
        {"c", "c/kernel:0", 4, {1, 1, 4, 2}, NULL}, {"c", "c/bias:0", 1, {2}, NULL});
    reading_lower(&r, "squeeze");
    assert_int_equal(count_ops(&r.graph, TORCH_PERMUTE), 0);
    assert_int_equal(count_ops(&r.graph, TORCH_RESHAPE), 1);
    reading_close(&r);
}

/* Dense works on the last axis, so it wants Keras' order; both of them get the same permuted value. */
static void a_value_is_permuted_once(void **state)
{
    (void)state;
    struct reading r;
    WRITE_MODEL("twice", "2.15.0",
                FUNCTIONAL(INPUT("a", "6,8,4") "," CONV_CALLED("c", "2", "", NODE2("a", "0")) "," CALLED(
                               "Dense", "d", ",'units':3", NODE2("c", "0")) "," CALLED("Dense", "e", ",'units':3",
                                                                                       NODE2("c", "0")),
                           REF("a", "0", "0"), REF("d", "0", "0") "," REF("e", "0", "0") "," REF("c", "0", "0")),
                CONV_WEIGHTS("c", 4, 2), DENSE_WEIGHTS("d", 2, 3), DENSE_WEIGHTS("e", 2, 3));
    reading_lower(&r, "twice");
    assert_int_equal(count_ops(&r.graph, TORCH_PERMUTE), 1);
    int first = r.graph.nodes[2].inputs[0];
    assert_int_equal(r.graph.nodes[2].op, TORCH_LINEAR);
    assert_int_equal(r.graph.nodes[3].op, TORCH_LINEAR);
    assert_int_equal(r.graph.nodes[3].inputs[0], first);
    reading_close(&r);
}

static void channels_first_models_stay_as_they_are(void **state)
{
    (void)state;
    struct reading r;
    WRITE_MODEL("first", "2.15.0",
                SEQUENTIAL(CONV("c", "2", ",'data_format':'channels_first'" SHAPE("1,6,8")) "," ENTRY(
                    "Flatten", "f", ",'data_format':'channels_last'") "," DENSE("d", "3")),
                CONV_WEIGHTS("c", 1, 2), DENSE_WEIGHTS("d", 48, 3));
    reading_lower(&r, "first");
    assert_false(r.graph.inputs[0].permuted);
    assert_int_equal(count_ops(&r.graph, TORCH_PERMUTE), 0);
    struct strbuf text = STRBUF_INIT;
    rearrangement_describe(&r.graph.parameters[2], &text);
    assert_string_equal(strbuf_text(&text), "permute(1,0)");
    strbuf_release(&text);
    reading_close(&r);
}

/* A feature map as output stays channels-first, and the graph says how to get back. */
static void a_feature_map_is_given_as_torch_has_it(void **state)
{
    (void)state;
    struct reading r;
    WRITE_MODEL("map", "2.15.0", SEQUENTIAL(CONV("c", "2", SHAPE("6,8,4"))), CONV_WEIGHTS("c", 4, 2));
    reading_lower(&r, "map");
    const struct torch_interface *out = &r.graph.outputs[0];
    assert_true(out->permuted);
    assert_int_equal(count_ops(&r.graph, TORCH_PERMUTE), 0);
    assert_memory_equal(out->axes, ((const int[]){0, 2, 3, 1}), 4 * sizeof(int));
    assert_memory_equal(r.graph.inputs[0].axes, ((const int[]){0, 3, 1, 2}), 4 * sizeof(int));
    reading_close(&r);
}

/* A flattened map holds its features in torch's order; as an output they must be in Keras' order. */
static void outputs_in_no_known_order_go_back_to_keras(void **state)
{
    (void)state;
    struct reading r;
    WRITE_MODEL("flat", "2.15.0", SEQUENTIAL(CONV("c", "2", SHAPE("6,8,4")) "," ENTRY("Flatten", "f", "")),
                CONV_WEIGHTS("c", 4, 2));
    reading_lower(&r, "flat");
    assert_int_equal(count_ops(&r.graph, TORCH_PERMUTE), 1);
    assert_false(r.graph.outputs[0].permuted);
    assert_true(shape_equal(&r.graph.values[r.graph.outputs[0].value].shape, &(struct shape){2, {DIM_UNKNOWN, 48}}));
    reading_close(&r);
}

static void inputs_of_dense_and_recurrent_layers_stay(void **state)
{
    (void)state;
    struct reading r;
    WRITE_MODEL("sequence", "2.15.0", SEQUENTIAL(ENTRY("Dense", "d", ",'units':3" SHAPE("5,4"))),
                DENSE_WEIGHTS("d", 4, 3));
    reading_lower(&r, "sequence");
    assert_false(r.graph.inputs[0].permuted || r.graph.outputs[0].permuted);
    assert_int_equal(r.graph.node_count, 1);
    reading_close(&r);
}

/* The parity check finds every value of the Keras graph, flattened ones too. */
static void every_value_has_its_counterpart(void **state)
{
    (void)state;
    struct reading r;
    reading_lower(&r, "cnn");
    for (int i = 0; i < r.model.value_count; i++) {
        int id = r.correspondence.torch_of[i].id;
        assert_true(id >= 0 && id < r.graph.value_count);
        assert_int_equal(r.correspondence.keras_of[id].id, i);
    }
    assert_int_equal(r.correspondence.torch_of[r.model.calls[3]->outputs[0]->id].layout.flat_rank, 3);
    reading_close(&r);
}

/* ---- what is left out ---- */

/* The branch that no output needs is not even read; an input without use stays in the interface. */
static void what_nobody_needs_is_left_out(void **state)
{
    (void)state;
    struct reading r;
    WRITE_MODEL("unused", "2.15.0",
                FUNCTIONAL(INPUT("a", "4") "," INPUT("b", "4") "," CALLED(
                               "Dense", "d", ",'units':3", NODE2("a", "0")) "," CALLED("Dense", "e", ",'units':3",
                                                                                       NODE2("b", "0")),
                           REF("a", "0", "0") "," REF("b", "0", "0"), REF("d", "0", "0")),
                DENSE_WEIGHTS("d", 4, 3), DENSE_WEIGHTS("e", 4, 3));
    reading_lower(&r, "unused");
    assert_int_equal(r.graph.node_count, 1);
    assert_int_equal(r.graph.parameter_count, 2);
    assert_int_equal(r.graph.input_count, 2);
    assert_int_equal(r.graph.value_count, 3);
    assert_int_equal(r.graph.inputs[1].value, 1);
    reading_close(&r);
}

static void a_shared_layer_is_one_module(void **state)
{
    (void)state;
    struct reading r;
    WRITE_MODEL("shared", "2.15.0",
                FUNCTIONAL(INPUT("a", "4") "," CALLED("Dense", "d", ",'units':4", NODE2("a", "0") "," NODE2("d", "0")),
                           REF("a", "0", "0"), REF("d", "1", "0")),
                DENSE_WEIGHTS("d", 4, 4));
    reading_lower(&r, "shared");
    assert_int_equal(r.graph.node_count, 2);
    assert_int_equal(r.graph.parameter_count, 2);
    assert_string_equal(r.graph.nodes[0].module, "d");
    assert_string_equal(r.graph.nodes[1].module, "d");
    reading_close(&r);
}

/* The inner model is called twice; of the first call only `q` is needed, of the second only `p`, so that q comes first. The
 * weights are listed as model.py makes the modules. */
static void parameters_are_in_the_order_of_the_modules(void **state)
{
    (void)state;
    struct reading r;
    WRITE_MODEL(
        "order", "2.15.0",
        FUNCTIONAL(
            INPUT("a", "4") ",{'class_name':'Functional','name':'inner','config':{'name':'inner','layers':[" INPUT(
                "i",
                "4") "," CALLED("Dense", "p", ",'units':4,'use_bias':false",
                                NODE2("i", "0")) "," CALLED("Dense", "q", ",'units':4,'use_bias':false",
                                                            NODE2("i",
                                                                  "0")) "],'input_layers':[['i',0,0]],'output_layers':"
                                                                        "[['p',0,0],['q',0,0]]},'inbound_nodes':"
                                                                        "[" NODE2("a", "0") ",[['inner',1,1,{}]]]}",
            REF("a", "0", "0"), REF("inner", "2", "0")),
        {"inner", "p/kernel:0", 2, {4, 4}, NULL}, {"inner", "q/kernel:0", 2, {4, 4}, NULL});
    reading_lower(&r, "order");
    assert_int_equal(r.graph.node_count, 2);
    assert_string_equal(r.graph.nodes[0].module, "inner_q");
    assert_string_equal(r.graph.parameters[0].name, "inner_q.weight");
    assert_string_equal(r.graph.parameters[1].name, "inner_p.weight");
    assert_int_equal(r.graph.nodes[0].parameters[0], 0);
    reading_close(&r);
}

/* ---- names ---- */

static void names_are_good_attributes(void **state)
{
    (void)state;
    static const struct {
        const char *keras, *torch;
    } names[] = {
        {"fc", "fc"},
        {"FC", "FC_2"},
        {"fc_2", "fc_2_2"},
        {"class", "class_2"},
        {"1x1", "layer_1x1"},
        {"a.b-c d", "a_b_c_d"},
        {"a/b", "a_b"},
        {"a_b", "a_b_2"},
        {"training", "training_2"},
        {"forward", "forward_2"},
        {"_private", "private"},
        {"__", "layer"},
        {"\xc3\xbc", "layer_2"},
        {"x", "x_2"},
        {"self", "self_2"},
        {"type", "type_2"},
        {"None", "None_2"},
        {"none", "none"},
    };
    enum { COUNT = sizeof names / sizeof *names };
    struct strbuf config = STRBUF_INIT;
    struct model_weight weights[COUNT];
    struct reading r;
    strbuf_add(&config, "{'class_name':'Sequential','config':{'name':'net','layers':[");
    for (size_t i = 0; i < COUNT; i++) {
        strbuf_addf(&config, "%s{'class_name':'Dense','config':{'name':'%s','units':2,'use_bias':false" SHAPE("2") "}}",
                    i ? "," : "", names[i].keras);
        weights[i] = (struct model_weight){names[i].keras, "kernel:0", 2, {2, 2}, NULL};
    }
    strbuf_add(&config, "]}}");
    write_model("names", "2.15.0", strbuf_text(&config), COUNT, weights);
    strbuf_release(&config);
    reading_lower(&r, "names");
    for (int i = 0; i < COUNT; i++)
        assert_string_equal(r.graph.nodes[i].module, names[i].torch);
    reading_close(&r);
}

static void check_class_name(const char *keras, const char *expected)
{
    struct strbuf config = STRBUF_INIT;
    struct reading r;
    strbuf_addf(&config,
                "{'class_name':'Sequential','config':{'name':'%s','layers':[" ENTRY("Flatten", "f", SHAPE("4")) "]}}",
                keras);
    write_model("class", "2.15.0", strbuf_text(&config), 0, NULL);
    strbuf_release(&config);
    reading_lower(&r, "class");
    assert_string_equal(r.graph.name, expected);
    reading_close(&r);
}

static void the_class_is_named_after_the_model(void **state)
{
    (void)state;
    check_class_name("resnet50", "Resnet50");
    check_class_name("my_small-net", "MySmallNet");
    check_class_name("model_3", "Model");
    check_class_name("sequential", "Model");
    check_class_name("functional_12", "Model");
    check_class_name("sequential_a", "SequentialA");
    check_class_name("3d", "Model");
    check_class_name("", "Model");
    check_class_name("none", "Model");
    check_class_name("f", "Model");
    check_class_name("\xc3\xbc", "Model");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_ordinary_cnn_has_no_permute),
        cmocka_unit_test(flattening_after_global_pooling_keeps_the_rows),
        cmocka_unit_test(axes_of_size_one_move_by_reshape),
        cmocka_unit_test(a_value_is_permuted_once),
        cmocka_unit_test(channels_first_models_stay_as_they_are),
        cmocka_unit_test(a_feature_map_is_given_as_torch_has_it),
        cmocka_unit_test(outputs_in_no_known_order_go_back_to_keras),
        cmocka_unit_test(inputs_of_dense_and_recurrent_layers_stay),
        cmocka_unit_test(every_value_has_its_counterpart),
        cmocka_unit_test(what_nobody_needs_is_left_out),
        cmocka_unit_test(a_shared_layer_is_one_module),
        cmocka_unit_test(parameters_are_in_the_order_of_the_modules),
        cmocka_unit_test(names_are_good_attributes),
        cmocka_unit_test(the_class_is_named_after_the_model),
    };
    return cmocka_run_group_tests(tests, begin_files, end_files);
}
