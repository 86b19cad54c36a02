/* SPDX-License-Identifier: Apache-2.0 */
/* From files to the Keras graph: every form of configuration, the numbering of calls, and what is refused. */
#include "model_files.h"

#include "base/json.h"

/* Reads a file and compares the dump of its graph. */
static void expect_dump(const char *file, const char *expected)
{
    struct reading r;
    struct strbuf text = STRBUF_INIT;
    reading_open(&r, file);
    expect_refusals(&r, "");
    keras_model_dump(&r.model, &text);
    assert_string_equal(strbuf_text(&text), expected);
    strbuf_release(&text);
    reading_close(&r);
}

static void refuses(const char *file, const char *expected)
{
    struct reading r;
    reading_open(&r, file);
    expect_refusals(&r, expected);
    reading_close(&r);
}

/* ---- Sequential ---- */

#define TWO_DENSE                                                                                                      \
    "  %0 float32 (None, 4) = InputLayer() d_input\n"                                                                  \
    "  %1 float32 (None, 3) = Dense(%0) d kernel=/model_weights/d/d/kernel:0 bias=/model_weights/d/d/bias:0\n"         \
    "  %2 float32 (None, 2) = Dense(%1) e kernel=/model_weights/e/e/kernel:0 bias=/model_weights/e/e/bias:0\n"         \
    "  output %2 e\n"

static void sequential_without_input_layer(void **state)
{
    (void)state;
    WRITE_MODEL("seq", "2.15.0", SEQUENTIAL(ENTRY("Dense", "d", ",'units':3" SHAPE("4")) "," DENSE("e", "2")),
                DENSE_WEIGHTS("d", 4, 3), DENSE_WEIGHTS("e", 3, 2));
    expect_dump("seq", "keras Sequential \"net\" version 2.15 tf\n" TWO_DENSE);
}

/* Keras before 2.2.3 has the list itself as config; such a model has no name. */
static void sequential_as_a_list(void **state)
{
    (void)state;
    WRITE_MODEL(
        "list", "2.0.8",
        "{'class_name':'Sequential','config':[" ENTRY("Dense", "d", ",'units':3" SHAPE("4")) "," DENSE("e", "2") "]}",
        DENSE_WEIGHTS("d", 4, 3), DENSE_WEIGHTS("e", 3, 2));
    expect_dump("list", "keras Sequential \"model\" version 2.0\n" TWO_DENSE);
}

static void sequential_with_input_layer(void **state)
{
    (void)state;
    WRITE_MODEL("with_input", "3.0.0",
                SEQUENTIAL(ENTRY("InputLayer", "in", ",'batch_shape':[null,4]") "," DENSE("d", "3")),
                DENSE_WEIGHTS("d", 4, 3));
    expect_dump(
        "with_input",
        "keras Sequential \"net\" version 3.0\n"
        "  %0 float32 (None, 4) = InputLayer() in\n"
        "  %1 float32 (None, 3) = Dense(%0) d kernel=/model_weights/d/d/kernel:0 bias=/model_weights/d/d/bias:0\n"
        "  output %1 d\n");
}

static void the_kernel_tells_a_lost_input_shape(void **state)
{
    (void)state;
    WRITE_MODEL("lost", "2.2.4", SEQUENTIAL(DENSE("d", "3")), DENSE_WEIGHTS("d", 4, 3));
    expect_dump(
        "lost",
        "keras Sequential \"net\" version 2.2\n"
        "  %0 float32 (None, 4) = InputLayer() d_input\n"
        "  %1 float32 (None, 3) = Dense(%0) d kernel=/model_weights/d/d/kernel:0 bias=/model_weights/d/d/bias:0\n"
        "  output %1 d\n");
}

/* ---- functional ---- */

#define SHARED                                                                                                         \
    "  %0 float32 (None, 4) = InputLayer() a\n"                                                                        \
    "  %1 float32 (None, 4) = InputLayer() b\n"                                                                        \
    "  %2 float32 (None, 3) = Dense(%0) d kernel=/model_weights/d/d/kernel:0 bias=/model_weights/d/d/bias:0\n"         \
    "  %3 float32 (None, 3) = Dense(%1) d kernel=/model_weights/d/d/kernel:0 bias=/model_weights/d/d/bias:0\n"         \
    "  %4 float32 (None, 3) = Subtract(%2, %3) s\n"                                                                    \
    "  output %4 s\n"                                                                                                  \
    "  output %2 d\n"

/* The file lists layers in any order; the second argument of Subtract is the second call of the shared Dense. */
static void a_shared_layer_in_the_older_encoding(void **state)
{
    (void)state;
    WRITE_MODEL("shared2", "2.15.0",
                FUNCTIONAL(CALLED("Subtract", "s", "", "[['d',0,0,{}],['d',1,0,{}]]") "," INPUT("b", "4") "," INPUT(
                               "a", "4") "," CALLED("Dense", "d", ",'units':3", NODE2("a", "0") "," NODE2("b", "0")),
                           REF("a", "0", "0") "," REF("b", "0", "0"), REF("s", "0", "0") "," REF("d", "0", "0")),
                DENSE_WEIGHTS("d", 4, 3));
    expect_dump("shared2", "keras Functional \"net\" version 2.15 tf\n" SHARED);
}

static void a_shared_layer_in_the_newer_encoding(void **state)
{
    (void)state;
    WRITE_MODEL(
        "shared3", "3.6.0",
        FUNCTIONAL(INPUT("a", "4") "," INPUT("b", "4") "," CALLED(
                       "Dense", "d", ",'units':3",
                       NODE3("a", "0") "," NODE3("b", "0")) "," CALLED("Subtract", "s", "",
                                                                       "{'args':[[" TENSOR3("d", "0", "0") "," TENSOR3(
                                                                           "d", "1", "0") "]],'kwargs':{}}"),
                   REF("a", "0", "0") "," REF("b", "0", "0"), REF("s", "0", "0") "," REF("d", "0", "0")),
        DENSE_WEIGHTS("d", 4, 3));
    expect_dump("shared3", "keras Functional \"net\" version 3.6\n" SHARED);
}

#define ONE_CALL(outputs)                                                                                              \
    "{'class_name':'Functional','config':{'name':'net','layers':[" INPUT("a", "4") "," CALLED(                         \
        "Dense", "d", ",'units':3", NODE3("a", "0")) "],'input_layers':" outputs "}}"

/* One input or output may stand alone, in a list, in a list of lists, or in a dict. */
static void interfaces_nest_as_they_like(void **state)
{
    (void)state;
    static const char *const forms[] = {ONE_CALL("['a',0,0],'output_layers':['d',0,0]"),
                                        ONE_CALL("[['a',0,0]],'output_layers':[['d',0,0]]"),
                                        ONE_CALL("[[['a',0,0]]],'output_layers':[[['d',0,0]]]"),
                                        ONE_CALL("{'x':['a',0,0]},'output_layers':{'y':['d',0,0]}")};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        WRITE_MODEL("nesting", "3.6.0", forms[i], DENSE_WEIGHTS("d", 4, 3));
        expect_dump(
            "nesting",
            "keras Functional \"net\" version 3.6\n"
            "  %0 float32 (None, 4) = InputLayer() a\n"
            "  %1 float32 (None, 3) = Dense(%0) d kernel=/model_weights/d/d/kernel:0 bias=/model_weights/d/d/bias:0\n"
            "  output %1 d\n");
    }
}

/* Keras flattens dicts by sorted key. */
static void dicts_are_taken_in_the_order_of_their_keys(void **state)
{
    (void)state;
    WRITE_MODEL(
        "dict", "3.6.0",
        "{'class_name':'Functional','config':{'name':'net','layers':[" INPUT("a", "4") "," INPUT(
            "b", "5") "],'input_layers':{'z':['a',0,0],'c':['b',0,0]},'output_layers':{'q':['a',0,0],'p':['b',0,0]}}}",
        {"unused", "w", 1, {1}, NULL});
    expect_dump("dict", "keras Functional \"net\" version 3.6\n"
                        "  %0 float32 (None, 5) = InputLayer() b\n"
                        "  %1 float32 (None, 4) = InputLayer() a\n"
                        "  output %0 b\n"
                        "  output %1 a\n");
}

/* ---- nested models ---- */

#define INNER "{'name':'inner','layers':[" ENTRY("Dense", "d", ",'units':4" SHAPE("4")) "]}"
#define INNER_FUNCTIONAL                                                                                               \
    "{'name':'inner','layers':[" INPUT("i", "4") "," CALLED(                                                           \
        "Dense", "d", ",'units':4", NODE2("i", "0")) "],'input_layers':[['i',0,0]],'output_layers':[['d',0,0]]}"
#define NESTED(class, config, nodes, output)                                                                           \
    FUNCTIONAL(INPUT("a", "4") ",{'class_name':'" class "','name':'inner','config':" config ",'inbound_nodes':[" nodes \
                                                        "]}",                                                          \
               REF("a", "0", "0"), output)
#define INNER_WEIGHTS                                                                                                  \
    {"inner", "d/kernel:0", 2, {4, 4}, NULL},                                                                          \
    {                                                                                                                  \
        "inner", "d/bias:0", 1, {4}, NULL                                                                              \
    }
#define INNER_DENSE(id, of)                                                                                            \
    "  %" id " float32 (None, 4) = Dense(%" of ") inner/d kernel=/model_weights/inner/d/kernel:0 "                     \
    "bias=/model_weights/inner/d/bias:0\n"

/* The model called twice, one after the other, the second call being the output. */
#define TWICE "  %0 float32 (None, 4) = InputLayer() a\n" INNER_DENSE("1", "0") INNER_DENSE("2", "1") "  output %2 d\n"

/* Keras 2: node 0 of a nested model is the call that made it. */
static void keras2_counts_calls_of_models_from_one(void **state)
{
    (void)state;
    WRITE_MODEL("nested2", "2.15.0",
                NESTED("Functional", INNER_FUNCTIONAL, NODE2("a", "0") "," NODE2("inner", "1"), REF("inner", "2", "0")),
                INNER_WEIGHTS);
    expect_dump("nested2", "keras Functional \"net\" version 2.15 tf\n" TWICE);
}

static void keras2_may_count_from_zero(void **state)
{
    (void)state;
    WRITE_MODEL("nested2z", "2.3.1",
                NESTED("Sequential", INNER, NODE2("a", "0") "," NODE2("inner", "0"), REF("inner", "1", "0")),
                INNER_WEIGHTS);
    expect_dump("nested2z", "keras Functional \"net\" version 2.3\n" TWICE);
}

/* Keras 3: references between layers count from 0, those of output_layers from 1. */
static void keras3_counts_in_two_ways(void **state)
{
    (void)state;
    WRITE_MODEL("nested3", "3.6.0",
                NESTED("Functional", INNER_FUNCTIONAL, NODE3("a", "0") "," NODE3("inner", "0"), REF("inner", "2", "0")),
                INNER_WEIGHTS);
    expect_dump("nested3", "keras Functional \"net\" version 3.6\n" TWICE);
}

/* The first of two calls is the output: with one way of counting this would be the second. */
static void keras3_output_of_the_first_call(void **state)
{
    (void)state;
    WRITE_MODEL("nested3a", "3.6.0",
                NESTED("Functional", INNER_FUNCTIONAL, NODE3("a", "0") "," NODE3("inner", "0"),
                       REF("inner", "1", "0") "," REF("inner", "2", "0")),
                INNER_WEIGHTS);
    expect_dump("nested3a", "keras Functional \"net\" version 3.6\n"
                            "  %0 float32 (None, 4) = InputLayer() a\n" INNER_DENSE("1", "0")
                                INNER_DENSE("2", "1") "  output %1 d\n"
                                                      "  output %2 d\n");
}

/* Only call 1 of two is used, so that the numbers themselves do not tell how to count; `of` is the input of the call meant. */
static void check_ambiguous(const char *version, const char *config, const char *of)
{
    struct reading r;
    WRITE_MODEL("ambiguous", version, config, INNER_WEIGHTS);
    reading_open(&r, "ambiguous");
    expect_refusals(&r, "");
    assert_int_equal(r.model.call_count, 3); /* two inputs, one Dense */
    assert_string_equal(r.model.calls[2]->inputs[0]->call->layer->name, of);
    reading_close(&r);
}

#define OF_TWO(class, config, nodes)                                                                                   \
    FUNCTIONAL(INPUT("a", "4") "," INPUT("b", "4") ",{'class_name':'" class "','name':'inner','config':" config        \
                                                                            ",'inbound_nodes':[" nodes "]}",           \
               REF("a", "0", "0") "," REF("b", "0", "0"), REF("inner", "1", "0"))

static void the_writer_decides_where_numbers_do_not(void **state)
{
    (void)state;
    check_ambiguous("2.15.0", OF_TWO("Functional", INNER_FUNCTIONAL, NODE2("a", "0") "," NODE2("b", "0")), "a");
    check_ambiguous("3.6.0", OF_TWO("Functional", INNER_FUNCTIONAL, NODE3("a", "0") "," NODE3("b", "0")), "a");
    check_ambiguous("3.6.0", OF_TWO("Sequential", INNER, NODE3("a", "0") "," NODE3("b", "0")), "b");
}

static void models_in_models_keep_their_paths(void **state)
{
    (void)state;
    WRITE_MODEL(
        "deep", "2.15.0",
        SEQUENTIAL(SEQUENTIAL_NAMED(
            "outer", SEQUENTIAL_NAMED("inner", ENTRY("Dense", "d", ",'units':2" SHAPE("3")))) "," DENSE("d", "2")),
        {"outer", "d/kernel:0", 2, {3, 2}, NULL}, {"outer", "d/bias:0", 1, {2}, NULL}, DENSE_WEIGHTS("d", 2, 2));
    expect_dump(
        "deep",
        "keras Sequential \"net\" version 2.15 tf\n"
        "  %0 float32 (None, 3) = InputLayer() d_input\n"
        "  %1 float32 (None, 2) = Dense(%0) outer/inner/d kernel=/model_weights/outer/d/kernel:0 "
        "bias=/model_weights/outer/d/bias:0\n"
        "  %2 float32 (None, 2) = Dense(%1) d kernel=/model_weights/d/d/kernel:0 bias=/model_weights/d/d/bias:0\n"
        "  output %2 d\n");
}

static void a_frozen_model_freezes_its_layers(void **state)
{
    (void)state;
    struct reading r;
    WRITE_MODEL("frozen", "2.15.0",
                SEQUENTIAL("{'class_name':'Sequential','config':{'name':'inner','trainable':false,'layers':[" ENTRY(
                    "Dense", "d", ",'units':2" SHAPE("3")) "]}}," DENSE("e", "2")),
                {"inner", "d/kernel:0", 2, {3, 2}, NULL}, {"inner", "d/bias:0", 1, {2}, NULL},
                DENSE_WEIGHTS("e", 2, 2));
    reading_open(&r, "frozen");
    expect_refusals(&r, "");
    assert_false(r.model.calls[1]->layer->trainable);
    assert_true(r.model.calls[2]->layer->trainable);
    reading_close(&r);
}

/* ---- graphs that cannot be ---- */

static void keras_3_2_lost_the_calls_of_shared_layers(void **state)
{
    (void)state;
    WRITE_MODEL("lost32", "3.2.1",
                FUNCTIONAL(INPUT("a", "4") "," CALLED("Dense", "d", ",'units':4", NODE3("a", "0") "," NODE3("d", "0")),
                           REF("a", "0", "0"), REF("d", "0", "0")),
                DENSE_WEIGHTS("d", 4, 4));
    refuses("lost32", "GRAPH_INVALID d inbound_nodes\n");
    WRITE_MODEL("kept32", "3.2.1",
                FUNCTIONAL(INPUT("a", "4") "," CALLED("Dense", "d", ",'units':4", NODE3("a", "0")), REF("a", "0", "0"),
                           REF("d", "0", "0")),
                DENSE_WEIGHTS("d", 4, 4));
    refuses("kept32", "");
}

static void cycles_are_refused(void **state)
{
    (void)state;
    WRITE_MODEL("cycle", "2.15.0",
                FUNCTIONAL(INPUT("a", "4") "," CALLED("Add", "x", "", "[['a',0,0,{}],['y',0,0,{}]]") "," CALLED(
                               "Dense", "y", ",'units':4", NODE2("x", "0")),
                           REF("a", "0", "0"), REF("y", "0", "0")),
                DENSE_WEIGHTS("y", 4, 4));
    refuses("cycle", "GRAPH_INVALID y inbound_nodes\n");
}

static void references_to_nothing_are_refused(void **state)
{
    (void)state;
    WRITE_MODEL("no_layer", "2.15.0",
                FUNCTIONAL(INPUT("a", "4") "," CALLED("Dense", "d", ",'units':4", NODE2("ghost", "0")),
                           REF("a", "0", "0"), REF("d", "0", "0")),
                DENSE_WEIGHTS("d", 4, 4));
    refuses("no_layer", "GRAPH_INVALID net inbound_nodes\n");
    WRITE_MODEL("no_call", "2.15.0",
                FUNCTIONAL(INPUT("a", "4") "," CALLED("Dense", "d", ",'units':4", NODE2("a", "0") "," NODE2("d", "0")),
                           REF("a", "0", "0"), REF("d", "7", "0")),
                DENSE_WEIGHTS("d", 4, 4));
    refuses("no_call", "GRAPH_INVALID d inbound_nodes\n");
    WRITE_MODEL("no_tensor", "2.15.0",
                FUNCTIONAL(INPUT("a", "4") "," CALLED("Dense", "d", ",'units':4", NODE2("a", "0")), REF("a", "0", "0"),
                           REF("d", "0", "1")),
                DENSE_WEIGHTS("d", 4, 4));
    refuses("no_tensor", "GRAPH_INVALID d inbound_nodes\n");
}

static void two_layers_of_one_name_are_refused(void **state)
{
    (void)state;
    WRITE_MODEL("twins", "2.15.0", SEQUENTIAL(ENTRY("Dense", "d", ",'units':4" SHAPE("4")) "," DENSE("d", "4")),
                DENSE_WEIGHTS("d", 4, 4));
    refuses("twins", "GRAPH_INVALID d name\n");
}

static void malformed_configurations(void **state)
{
    (void)state;
    static const char *const configs[] = {"{",
                                          "[]",
                                          "{'class_name':'Sequential'}",
                                          SEQUENTIAL(""),
                                          SEQUENTIAL("{'class_name':'Dense'}"),
                                          SEQUENTIAL("3"),
                                          FUNCTIONAL(INPUT("a", "4"), "", REF("a", "0", "0")),
                                          FUNCTIONAL(INPUT("a", "4"), REF("a", "0", "0"), ""),
                                          FUNCTIONAL(INPUT("a", "4"), REF("b", "0", "0"), REF("a", "0", "0")),
                                          FUNCTIONAL(INPUT("a", "4"), "7", "8")};
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        struct h5pt_error err = H5PT_ERROR_INIT;
        struct arena *arena = arena_new();
        struct findings refusals = {.arena = arena}, warnings = {.arena = arena};
        struct keras_model model;
        int fd;
        write_model("malformed", "2.15.0", configs[i], 0, NULL);
        struct source *source = accept_file("malformed", &fd);
        if (keras_model_read(source, NULL, arena, &refusals, &warnings, &model, &err) != -1)
            fail_msg("%s is read", configs[i]);
        if (err.code != H5PT_CONFIG_MALFORMED)
            fail_msg("%s: %s: %s", configs[i], h5pt_code_name(err.code), err.message);
        keras_model_release(&model);
        close_source(source, fd);
        arena_free(arena);
    }
}

/* ---- weights ---- */

/* A renamed layer keeps the names of its variables. */
static void order_decides_when_names_lie(void **state)
{
    (void)state;
    WRITE_MODEL("renamed", "2.15.0", NESTED("Sequential", INNER, NODE2("a", "0"), REF("inner", "1", "0")),
                {"inner", "old/kernel:0", 2, {4, 4}, NULL}, {"inner", "old/bias:0", 1, {4}, NULL});
    expect_dump("renamed", "keras Functional \"net\" version 2.15 tf\n"
                           "  %0 float32 (None, 4) = InputLayer() a\n"
                           "  %1 float32 (None, 4) = Dense(%0) inner/d kernel=/model_weights/inner/old/kernel:0 "
                           "bias=/model_weights/inner/old/bias:0\n"
                           "  output %1 d\n");
}

/* Names decide before order: two layers of equal shapes in a nested model, listed the other way round. */
static void names_decide_before_order(void **state)
{
    (void)state;
    WRITE_MODEL(
        "swapped", "2.15.0",
        SEQUENTIAL(SEQUENTIAL_NAMED("inner", ENTRY("Dense", "d", ",'units':4,'use_bias':false" SHAPE("4")) "," ENTRY(
                                                 "Dense", "e", ",'units':4,'use_bias':false"))),
        {"inner", "e/kernel:0", 2, {4, 4}, NULL}, {"inner", "d/kernel:0", 2, {4, 4}, NULL});
    expect_dump("swapped", "keras Sequential \"net\" version 2.15 tf\n"
                           "  %0 float32 (None, 4) = InputLayer() d_input\n"
                           "  %1 float32 (None, 4) = Dense(%0) inner/d kernel=/model_weights/inner/d/kernel:0\n"
                           "  %2 float32 (None, 4) = Dense(%1) inner/e kernel=/model_weights/inner/e/kernel:0\n"
                           "  output %2 e\n");
}

/* A nested model stores what is trained first, then the statistics; here under names that say nothing of the layer. */
static void order_takes_trainable_weights_first(void **state)
{
    (void)state;
    struct reading r;
    WRITE_MODEL(
        "statistics", "2.15.0",
        SEQUENTIAL(SEQUENTIAL_NAMED("inner", ENTRY("BatchNormalization", "b", ",'axis':[1]" SHAPE("4")) "," ENTRY(
                                                 "BatchNormalization", "c", ",'axis':[1]"))),
        {"inner", "u/gamma:0", 1, {4}, NULL}, {"inner", "u/beta:0", 1, {4}, NULL}, {"inner", "v/gamma:0", 1, {4}, NULL},
        {"inner", "v/beta:0", 1, {4}, NULL}, {"inner", "u/moving_mean:0", 1, {4}, NULL},
        {"inner", "u/moving_variance:0", 1, {4}, NULL}, {"inner", "v/moving_mean:0", 1, {4}, NULL},
        {"inner", "v/moving_variance:0", 1, {4}, NULL});
    reading_open(&r, "statistics");
    expect_refusals(&r, "");
    const struct keras_layer *c = r.model.calls[2]->layer;
    assert_string_equal(c->weights[0].tensor->name, "v/gamma:0");
    assert_string_equal(c->weights[3].tensor->name, "v/moving_variance:0");
    reading_close(&r);
}

static void weights_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    static const char one[] = SEQUENTIAL(ENTRY("Dense", "d", ",'units':3" SHAPE("4")));
    WRITE_MODEL("transposed", "2.15.0", one, DENSE_WEIGHTS("d", 3, 4));
    refuses("transposed", "WEIGHTS_SHAPE d kernel\nWEIGHTS_SHAPE d bias\n");
    WRITE_MODEL("no_bias", "2.15.0", one, {"d", "d/kernel:0", 2, {4, 3}, NULL});
    refuses("no_bias", "WEIGHTS_MISSING d bias\n");
    WRITE_MODEL("no_group", "2.15.0", one, {"x", "x/kernel:0", 2, {4, 3}, NULL});
    refuses("no_group", "WEIGHTS_MISSING d layer_names\n");
    WRITE_MODEL("one_more", "2.15.0", one, DENSE_WEIGHTS("d", 4, 3), {"d", "d/scale:0", 1, {3}, NULL});
    refuses("one_more", "WEIGHTS_MISSING d weight_names\n");
    WRITE_MODEL("no_use", "2.15.0", SEQUENTIAL(ENTRY("Flatten", "f", SHAPE("4"))),
                {"f", "f/kernel:0", 2, {4, 3}, NULL});
    refuses("no_use", "WEIGHTS_UNUSED f weight_names\n");
}

/* Equal shapes, and a name that another weight of the layer has: order must not swap them. */
static void order_does_not_swap_what_names_tell(void **state)
{
    (void)state;
    struct reading r;
    WRITE_MODEL("named", "2.15.0", SEQUENTIAL(ENTRY("BatchNormalization", "b", ",'axis':[1]" SHAPE("4"))),
                {"b", "b/moving_variance:0", 1, {4}, NULL}, {"b", "b/moving_mean:0", 1, {4}, NULL},
                {"b", "b/beta:0", 1, {4}, NULL}, {"b", "b/gamma:0", 1, {4}, NULL});
    reading_open(&r, "named");
    expect_refusals(&r, "");
    const struct keras_layer *b = r.model.calls[1]->layer;
    assert_string_equal(b->weights[0].tensor->name, "b/gamma:0");
    assert_string_equal(b->weights[3].tensor->name, "b/moving_variance:0");
    reading_close(&r);
    WRITE_MODEL("half", "2.15.0", SEQUENTIAL(ENTRY("BatchNormalization", "b", ",'axis':[1]" SHAPE("4"))),
                {"b", "b/beta:0", 1, {4}, NULL}, {"b", "b/w:0", 1, {4}, NULL}, {"b", "b/moving_mean:0", 1, {4}, NULL},
                {"b", "b/moving_variance:0", 1, {4}, NULL});
    refuses("half", "WEIGHTS_MISSING b gamma\n");
}

/* ---- every reason, and limits ---- */

static void every_reason_at_once(void **state)
{
    (void)state;
    WRITE_MODEL("reasons", "2.15.0",
                SEQUENTIAL(ENTRY("Swirl", "a", SHAPE("4")) "," DENSE("d", "3") "," ENTRY(
                    "Dense", "e", ",'units':3,'zest':1") "," ENTRY("Crumble", "c", "")),
                DENSE_WEIGHTS("d", 4, 3), DENSE_WEIGHTS("e", 3, 3));
    refuses("reasons", "UNSUPPORTED_LAYER a class_name\nUNKNOWN_CONFIG_KEY e zest\nUNSUPPORTED_LAYER c class_name\n");
}

static void call_arguments_are_refused(void **state)
{
    (void)state;
    WRITE_MODEL(
        "training", "2.15.0",
        FUNCTIONAL(
            INPUT("a", "4") "," CALLED("Dropout", "o", ",'rate':0.5", "[['a',0,0,{'training':true}]]") "," CALLED(
                "Dropout", "p", ",'rate':0.5", "[['o',0,0,{'training':false}]]"),
            REF("a", "0", "0"), REF("p", "0", "0")),
        {"x", "w", 1, {1}, NULL});
    refuses("training", "UNSUPPORTED_CALL_ARGUMENT o training\n");
}

static void models_of_code_have_no_architecture(void **state)
{
    (void)state;
    write_model("subclass", "2.15.0", "{'class_name':'MyNet','config':{'depth':3}}", 0, NULL);
    refuses("subclass", "WEIGHTS_WITHOUT_ARCHITECTURE  model_config\n");
}

static void other_versions_are_refused(void **state)
{
    (void)state;
    static const char one[] = SEQUENTIAL(ENTRY("Dense", "d", ",'units':3" SHAPE("4")));
    WRITE_MODEL("keras4", "4.0.0", one, DENSE_WEIGHTS("d", 4, 3));
    refuses("keras4", "UNSUPPORTED_VERSION  keras_version\n");
}

static void versions_are_parsed(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int major, minor;
        bool tf;
    } cases[] = {{NULL, 1, 0, false},      {"1.2.2", 1, 2, false}, {"2.2.4", 2, 2, false},
                 {"2.2.4-tf", 2, 2, true}, {"2.3.1", 2, 3, false}, {"2.3.0-tf", 2, 3, true},
                 {"2.15.0", 2, 15, true},  {"3.6.0", 3, 6, false}, {"3.0.0.dev1", 3, 0, false},
                 {"", 1, 0, false},        {"x", 1, 0, false},     {"-3.1", 1, 0, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct keras_version v = keras_version_parse(cases[i].text);
        assert_int_equal(v.major, cases[i].major);
        assert_int_equal(v.minor, cases[i].minor);
        assert_int_equal(v.tf, cases[i].tf);
    }
}

/* A model in a model in a model … around one Dense, `depth` models in all. */
static void write_nested(const char *file, int depth)
{
    struct strbuf text = STRBUF_INIT;
    for (int i = 0; i < depth; i++)
        strbuf_addf(&text, "{'class_name':'Sequential','config':{'name':'m%d','layers':[", i);
    strbuf_add(&text, ENTRY("Dense", "d", ",'units':3" SHAPE("4")));
    for (int i = 0; i < depth; i++)
        strbuf_add(&text, "]}}");
    const char *group = depth > 1 ? "m1" : "d";
    WRITE_MODEL(file, "2.15.0", strbuf_text(&text), {group, "d/kernel:0", 2, {4, 3}, NULL},
                {group, "d/bias:0", 1, {3}, NULL});
    strbuf_release(&text);
}

static void nesting_is_limited(void **state)
{
    (void)state;
    write_nested("deepest", KERAS_MAX_NESTING + 1);
    refuses("deepest", "");
    write_nested("too_deep", KERAS_MAX_NESTING + 2);
    refuses("too_deep", "LIMIT_EXCEEDED  \n");
}

/* Each model calls the one within it twice: 2^20 calls out of twenty short lines. */
static void calls_are_limited(void **state)
{
    (void)state;
    struct strbuf text = STRBUF_INIT;
    enum { DEPTH = 20 };
    for (int i = 0; i < DEPTH; i++)
        strbuf_addf(&text,
                    "{'class_name':'Functional','name':'m%d','config':{'name':'m%d','layers':[" INPUT("a", "4") ",", i,
                    i);
    strbuf_add(&text, CALLED("Flatten", "m20", "", NODE2("a", "0") "," NODE2("m20", "0")));
    for (int i = DEPTH - 1; i >= 0; i--)
        strbuf_addf(&text,
                    "],'input_layers':[['a',0,0]],'output_layers':[['m%d',1,0]]},'inbound_nodes':[" NODE2(
                        "a", "0") ",[['m%d',0,0,{}]]]}",
                    i + 1, i);
    write_model("bomb", "2.15.0", strbuf_text(&text), 0, NULL);
    strbuf_release(&text);
    refuses("bomb", "LIMIT_EXCEEDED m1/m2/m3/m4/m5/m6/m7/m8/m9/m10/m11/m12/m13/m14/m15/m16/m17/m18/m19/m20 \n");
}

/* The same with nothing at the bottom: 2^30 calls of models, none of a layer. */
static void calls_of_models_are_limited(void **state)
{
    (void)state;
    struct strbuf text = STRBUF_INIT;
    enum { DEPTH = 30 };
    for (int i = 0; i < DEPTH; i++)
        strbuf_addf(&text, "{'class_name':'Functional','name':'m%d','config':{'name':'m%d','layers':[" INPUT("a", "4"),
                    i, i);
    for (int i = DEPTH - 1; i >= 0; i--) {
        strbuf_addf(&text, "],'input_layers':[['a',0,0]],'output_layers':[['%s%.0d',%d,0]]}", i < DEPTH - 1 ? "m" : "a",
                    i < DEPTH - 1 ? i + 1 : 0, i < DEPTH - 1 ? 1 : 0);
        strbuf_addf(&text, ",'inbound_nodes':[" NODE2("a", "0") ",[['m%d',0,0,{}]]]}", i);
    }
    char *separated = strbuf_ok(&text) ? strdup(strbuf_text(&text)) : NULL;
    assert_non_null(separated);
    strbuf_release(&text);
    for (const char *p = separated; *p; p++) { /* a comma between the input and the model behind it */
        strbuf_add_bytes(&text, p, 1);
        if (p[0] == '}' && p[1] == '{')
            strbuf_add(&text, ",");
    }
    write_model("model_bomb", "2.15.0", strbuf_text(&text), 0, NULL);
    free(separated);
    strbuf_release(&text);
    refuses("model_bomb", "LIMIT_EXCEEDED  \n");
}

/* A chain longer than any C stack would take, listed from its end. */
static void long_chains_are_followed(void **state)
{
    (void)state;
    struct strbuf text = STRBUF_INIT;
    struct reading r;
    enum { LENGTH = 20000 };
    strbuf_add(&text, "{'class_name':'Functional','config':{'name':'net','layers':[");
    for (int i = LENGTH; i > 0; i--)
        strbuf_addf(&text, "{'class_name':'Flatten','name':'l%d','config':{},'inbound_nodes':[[['l%d',0,0,{}]]]},", i,
                    i - 1);
    strbuf_add(&text, INPUT("l0", "4"));
    strbuf_addf(&text, "],'input_layers':[['l0',0,0]],'output_layers':[['l%d',0,0]]}}", LENGTH);
    write_model("chain", "2.15.0", strbuf_text(&text), 0, NULL);
    strbuf_release(&text);
    reading_open(&r, "chain");
    expect_refusals(&r, "");
    assert_int_equal(r.model.call_count, LENGTH + 1);
    assert_string_equal(r.model.output_names[0], "l20000");
    reading_close(&r);
}

/* ---- layers that stand for operations ---- */

#define WRITE_OPERATIONS(file_name, config) write_model(file_name, "2.15.0", config, 0, NULL)
#define SHAPE_OF_X CALLED("TFOpLambda", "s", ",'function':'compat.v1.shape'", "['x',0,0,{'name':null}]")

static void graph_layers_become_operations(void **state)
{
    (void)state;
    WRITE_OPERATIONS(
        "tf_operations",
        FUNCTIONAL(
            INPUT(
                "x",
                "4,2") "," SHAPE_OF_X
                       "," CALLED("SlicingOpLambda", "b", ",'function':'__operators__.getitem'", "['s',0,0,{'slice_spec':0}]") "," CALLED(
                           "TFOpLambda", "r", ",'function':'reshape'",
                           "['x',0,0,{'shape':[['b',0,0],8]}]") "," CALLED("TFOpLambda", "d",
                                                                           ",'function':'math.squared_difference'",
                                                                           "['_CONSTANT_VALUE',-1,1.0,{'y':['r',0,0]}],"
                                                                           "['r',0,0,{'y':2.0}]"),
            REF("x", "0", "0"), REF("d", "0", "0") "," REF("d", "1", "0")));
    expect_dump("tf_operations", "keras Functional \"net\" version 2.15 tf\n"
                                 "  %0 float32 (None, 4, 2) = InputLayer() x\n"
                                 "  %3 float32 (None, 8) = Reshape(%0) r\n"
                                 "  %4 float32 (None, 8) = Subtract(%3) d/subtract\n"
                                 "  %5 float32 (None, 8) = Square(%4) d\n"
                                 "  %6 float32 (None, 8) = Subtract(%3) d/2/subtract\n"
                                 "  %7 float32 (None, 8) = Square(%6) d/2\n"
                                 "  output %5 d\n"
                                 "  output %7 d\n");
}

static void sizes_are_no_tensors(void **state)
{
    (void)state;
    WRITE_OPERATIONS("size_out", FUNCTIONAL(INPUT("x", "4") "," SHAPE_OF_X, REF("x", "0", "0"), REF("s", "0", "0")));
    refuses("size_out", "UNSUPPORTED_OPERATION  inbound_nodes\n");
    WRITE_OPERATIONS("size_in",
                     FUNCTIONAL(INPUT("x", "4") "," SHAPE_OF_X "," CALLED("Dense", "d", ",'units':2", NODE2("s", "0")),
                                REF("x", "0", "0"), REF("d", "0", "0")));
    refuses("size_in", "UNSUPPORTED_OPERATION d inbound_nodes\n");
    WRITE_OPERATIONS("size_second",
                     FUNCTIONAL(INPUT("x", "4") "," SHAPE_OF_X "," CALLED("TFOpLambda", "r", ",'function':'reshape'",
                                                                          "['x',0,0,{'shape':['s',0,1]}]"),
                                REF("x", "0", "0"), REF("r", "0", "0")));
    refuses("size_second", "GRAPH_INVALID s inbound_nodes\n");
}

static void unknown_functions_are_refused(void **state)
{
    (void)state;
    WRITE_OPERATIONS("tf_unknown", FUNCTIONAL(INPUT("x", "4") "," CALLED(
                                                  "TFOpLambda", "u", ",'function':'strings.lower'",
                                                  "['x',0,0,{}]") "," CALLED("TFOpLambda", "e", ",'function':'einsum'",
                                                                             "['_CONSTANT_VALUE',-1,'ab->ba',{}]"),
                                              REF("x", "0", "0"), REF("u", "0", "0") "," REF("e", "0", "0")));
    refuses("tf_unknown", "UNSUPPORTED_OPERATION u function\nUNSUPPORTED_OPERATION e function\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(graph_layers_become_operations),
        cmocka_unit_test(sizes_are_no_tensors),
        cmocka_unit_test(unknown_functions_are_refused),
        cmocka_unit_test(sequential_without_input_layer),
        cmocka_unit_test(sequential_as_a_list),
        cmocka_unit_test(sequential_with_input_layer),
        cmocka_unit_test(the_kernel_tells_a_lost_input_shape),
        cmocka_unit_test(a_shared_layer_in_the_older_encoding),
        cmocka_unit_test(a_shared_layer_in_the_newer_encoding),
        cmocka_unit_test(interfaces_nest_as_they_like),
        cmocka_unit_test(dicts_are_taken_in_the_order_of_their_keys),
        cmocka_unit_test(keras2_counts_calls_of_models_from_one),
        cmocka_unit_test(keras2_may_count_from_zero),
        cmocka_unit_test(keras3_counts_in_two_ways),
        cmocka_unit_test(keras3_output_of_the_first_call),
        cmocka_unit_test(the_writer_decides_where_numbers_do_not),
        cmocka_unit_test(models_in_models_keep_their_paths),
        cmocka_unit_test(a_frozen_model_freezes_its_layers),
        cmocka_unit_test(keras_3_2_lost_the_calls_of_shared_layers),
        cmocka_unit_test(cycles_are_refused),
        cmocka_unit_test(references_to_nothing_are_refused),
        cmocka_unit_test(two_layers_of_one_name_are_refused),
        cmocka_unit_test(malformed_configurations),
        cmocka_unit_test(order_decides_when_names_lie),
        cmocka_unit_test(names_decide_before_order),
        cmocka_unit_test(order_takes_trainable_weights_first),
        cmocka_unit_test(weights_that_do_not_fit_are_refused),
        cmocka_unit_test(order_does_not_swap_what_names_tell),
        cmocka_unit_test(every_reason_at_once),
        cmocka_unit_test(call_arguments_are_refused),
        cmocka_unit_test(models_of_code_have_no_architecture),
        cmocka_unit_test(other_versions_are_refused),
        cmocka_unit_test(versions_are_parsed),
        cmocka_unit_test(nesting_is_limited),
        cmocka_unit_test(calls_are_limited),
        cmocka_unit_test(calls_of_models_are_limited),
        cmocka_unit_test(long_chains_are_followed),
    };
    return cmocka_run_group_tests(tests, begin_files, end_files);
}
