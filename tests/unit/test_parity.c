/* SPDX-License-Identifier: Apache-2.0 */
/* The parity check says yes to a right graph, and no, with the name of the layer, to one that was tampered with. */
#include "model_files.h"

#include <math.h>

#include "parity/parity.h"

/* Writes the weights of the torch graph as it is now, and runs the check. */
static struct parity_result check_with(struct reading *r, const struct parity_options *options,
                                       struct h5pt_error *ret_err)
{
    struct parity_result result = {.ok = false};
    struct artifact artifact;
    struct state_dict *dict = NULL;
    struct h5pt_error err = H5PT_ERROR_INIT;
    FILE *file = tmpfile();
    assert_non_null(file);
    struct archive *archive = NULL;
    assert_int_equal(state_dict_write(&r->graph, r->source, fileno(file), &artifact, &archive, NULL), 0);
    archive_free(archive);
    assert_int_equal(state_dict_open(fileno(file), &dict, NULL), 0);
    if (parity_run(&r->model, &r->graph, &r->correspondence, r->source, dict, options, &result, &err) < 0) {
        if (!ret_err)
            fail_msg("%s at \"%s\": %s", h5pt_code_name(err.code), err.where, err.message);
        else
            *ret_err = err;
    }
    state_dict_close(dict);
    (void)fclose(file);
    return result;
}

static struct parity_result check(struct reading *r)
{
    return check_with(r, &(struct parity_options){.quick = false}, NULL);
}

static void agrees(const struct parity_result *result)
{
    if (result->divergence)
        fail_msg("\"%s\" diverges by %g", result->divergence->layer->path, result->worst.max_rel);
    assert_true(result->ok && result->worst.ok);
    assert_null(result->divergence_case);
    for (int c = 0; c < result->case_count; c++)
        assert_true(result->cases[c].error.ok);
}

static void diverges(const struct parity_result *result, const char *layer)
{
    assert_false(result->ok);
    assert_non_null(result->divergence);
    assert_string_equal(result->divergence->layer->path, layer);
    assert_non_null(result->divergence_case);
    assert_false(result->calls[result->divergence->id].ok);
}

static struct torch_node *node_of(struct reading *r, const char *layer, enum torch_op op)
{
    for (int i = 0; i < r->graph.node_count; i++) {
        struct torch_node *node = &r->graph.nodes[i];
        if (node->op == op && node->call && strcmp(node->call->layer->path, layer) == 0)
            return node;
    }
    fail_msg("\"%s\" has no such node", layer);
    return NULL;
}

static struct torch_parameter *parameter_of(struct reading *r, const char *name)
{
    for (int i = 0; i < r->graph.parameter_count; i++)
        if (strcmp(r->graph.parameters[i].name, name) == 0)
            return &r->graph.parameters[i];
    fail_msg("there is no parameter %s", name);
    return NULL;
}

/* Replaces the attribute of the same name. */
static void set_attr(struct reading *r, struct torch_node *node, struct torch_attr attr)
{
    struct torch_attr *attrs = ARENA_ARRAY(r->arena, struct torch_attr, (size_t)node->attr_count);
    bool found = false;
    for (int i = 0; i < node->attr_count; i++) {
        bool same = strcmp(node->attrs[i].name, attr.name) == 0;
        attrs[i] = same ? attr : node->attrs[i];
        found = found || same;
    }
    assert_true(found);
    node->attrs = attrs;
}

#define CONV(name, in, settings) ENTRY("Conv2D", name, ",'filters':4,'kernel_size':[3,3],'padding':'same'" settings)
#define CONV_WEIGHTS(name, in)                                                                                         \
    {name, name "/kernel:0", 4, {3, 3, in, 4}, NULL},                                                                  \
    {                                                                                                                  \
        name, name "/bias:0", 1, {4}, NULL                                                                             \
    }

/* conv a → conv b → batch normalisation → pool → flatten → dense with softmax */
static void open_cnn(struct reading *r, const char *dims, hsize_t features)
{
    struct strbuf config = STRBUF_INIT;
    strbuf_addf(
        &config,
        SEQUENTIAL(CONV("a", "2", ",'activation':'relu','batch_input_shape':[null,%s,2]") "," CONV("b", "4", "") "," ENTRY(
            "BatchNormalization", "bn",
            ",'axis':[3],'epsilon':0.001") "," ENTRY("%s", "pool",
                                                     "") "," ENTRY("Flatten", "flat",
                                                                   "") "," ENTRY("Dense", "fc",
                                                                                 ",'units':3,'activation':'softmax'")),
        dims, features == 4 ? "GlobalAveragePooling2D" : "MaxPooling2D");
    WRITE_MODEL("cnn", "2.15.0", strbuf_text(&config), CONV_WEIGHTS("a", 2), CONV_WEIGHTS("b", 4),
                {"bn", "bn/gamma:0", 1, {4}, NULL}, {"bn", "bn/beta:0", 1, {4}, NULL},
                {"bn", "bn/moving_mean:0", 1, {4}, NULL}, {"bn", "bn/moving_variance:0", 1, {4}, NULL},
                {"fc", "fc/kernel:0", 2, {features, 3}, NULL}, {"fc", "fc/bias:0", 1, {3}, NULL});
    strbuf_release(&config);
    reading_lower(r, "cnn");
}

static void open_fixed(struct reading *r)
{
    open_cnn(r, "6,8", 48);
}

/* ---- yes ---- */

static void a_right_graph_agrees(void **state)
{
    (void)state;
    struct reading r;
    open_fixed(&r);
    struct parity_result result = check(&r);
    agrees(&result);
    assert_null(result.amplified);
    assert_int_equal(result.case_count, 4);
    assert_string_equal(result.cases[0].name, "normal");
    assert_string_equal(result.cases[1].name, "large");
    assert_string_equal(result.cases[2].name, "zeros");
    assert_string_equal(result.cases[3].name, "fading");
    assert_true(result.worst.max_rel < 1e-5);
    for (int i = 0; i < r.model.call_count; i++)
        assert_true(result.calls[i].ok && result.calls[i].max_abs >= 0);
    reading_close(&r);
}

static void quick_is_one_case(void **state)
{
    (void)state;
    struct reading r;
    open_fixed(&r);
    struct parity_result result = check_with(&r, &(struct parity_options){.quick = true}, NULL);
    agrees(&result);
    assert_int_equal(result.case_count, 1);
    reading_close(&r);
}

static void free_sizes_are_tried_twice(void **state)
{
    (void)state;
    struct reading r;
    open_cnn(&r, "null,null", 4);
    struct parity_result result = check(&r);
    agrees(&result);
    assert_int_equal(result.case_count, 5);
    assert_string_equal(result.cases[4].name, "other sizes");
    const struct shape *first = &result.cases[0].input_shapes[0], *other = &result.cases[4].input_shapes[0];
    assert_true(shape_known(first) && shape_known(other));
    assert_int_equal(first->dims[0], 2); /* two samples */
    assert_true(first->dims[1] % 2 == 0 && other->dims[1] % 2 == 1);
    assert_true(other->dims[1] != other->dims[2]);
    reading_close(&r);
}

static void a_result_can_be_repeated(void **state)
{
    (void)state;
    struct reading r;
    open_fixed(&r);
    struct parity_result first = check(&r), second = check(&r);
    assert_true(first.worst.max_abs == second.worst.max_abs);
    reading_close(&r);
}

static void progress(void *context, double fraction)
{
    double *last = context;
    assert_true(fraction >= *last && fraction <= 1);
    *last = fraction;
}

static void progress_ends_at_one(void **state)
{
    (void)state;
    struct reading r;
    double last = 0;
    open_fixed(&r);
    (void)check_with(&r, &(struct parity_options){.progress = progress, .context = &last}, NULL);
    assert_true(last == 1);
    reading_close(&r);
}

static void memory_is_limited(void **state)
{
    (void)state;
    struct reading r;
    struct h5pt_error err = H5PT_ERROR_INIT;
    open_fixed(&r);
    struct parity_result result = check_with(&r, &(struct parity_options){.memory = 2048}, &err);
    assert_int_equal(err.code, H5PT_LIMIT_EXCEEDED);
    assert_false(result.ok); /* untouched */
    reading_close(&r);
}

/* ---- no: what was written is not what was read ---- */

static void a_kernel_turned_on_its_side(void **state)
{
    (void)state;
    struct reading r;
    open_fixed(&r);
    int *axes = parameter_of(&r, "b.weight")->rearrangement.axes;
    assert_memory_equal(axes, ((const int[]){3, 2, 0, 1}), 4 * sizeof(int));
    axes[2] = 1;
    axes[3] = 0;
    struct parity_result result = check(&r);
    diverges(&result, "b");
    assert_true(result.calls[result.divergence->id - 1].ok); /* a is right */
    assert_true(result.calls[result.divergence->id + 1].ok); /* and what follows is right on equal inputs */
    reading_close(&r);
}

/* The mistake that everybody makes: Dense behind Flatten with its rows left in Keras' order. */
static void rows_behind_flatten_left_as_they_were(void **state)
{
    (void)state;
    struct reading r;
    open_fixed(&r);
    parameter_of(&r, "fc.weight")->rearrangement = rearrange_axes(&(struct shape){2, {48, 3}}, (const int[]){1, 0});
    struct parity_result result = check(&r);
    diverges(&result, "fc");
    reading_close(&r);
}

static void a_weight_of_another_layer(void **state)
{
    (void)state;
    struct reading r;
    open_fixed(&r);
    parameter_of(&r, "a.bias")->source = parameter_of(&r, "b.bias")->source;
    struct parity_result result = check(&r);
    diverges(&result, "a");
    reading_close(&r);
}

static void swapped_statistics(void **state)
{
    (void)state;
    struct reading r;
    open_fixed(&r);
    struct torch_parameter *mean = parameter_of(&r, "bn.running_mean"), *bias = parameter_of(&r, "bn.bias");
    const struct source_tensor *source = mean->source;
    mean->source = bias->source;
    bias->source = source;
    struct parity_result result = check(&r);
    diverges(&result, "bn");
    reading_close(&r);
}

/* ---- no: another computation ---- */

static void another_epsilon(void **state)
{
    (void)state;
    struct reading r;
    open_fixed(&r);
    set_attr(&r, node_of(&r, "bn", TORCH_BATCH_NORM2D), attr_float("eps", 1e-2));
    struct parity_result result = check(&r);
    diverges(&result, "bn");
    reading_close(&r);
}

static void another_axis(void **state)
{
    (void)state;
    struct reading r;
    open_fixed(&r);
    set_attr(&r, node_of(&r, "fc", TORCH_SOFTMAX), attr_int("dim", 0));
    struct parity_result result = check(&r);
    diverges(&result, "fc");
    reading_close(&r);
}

static void another_padding(void **state)
{
    (void)state;
    struct reading r;
    open_cnn(&r, "null,null", 4);
    set_attr(&r, node_of(&r, "b", TORCH_CONV2D), attr_int("padding", 0));
    struct parity_result result = check(&r);
    diverges(&result, "b");
    assert_true(isinf(result.calls[result.divergence->id].max_rel)); /* not even the shape */
    reading_close(&r);
}

static void a_lost_activation(void **state)
{
    (void)state;
    struct reading r;
    open_fixed(&r);
    node_of(&r, "a", TORCH_RELU)->op = TORCH_TANH;
    struct parity_result result = check(&r);
    diverges(&result, "a");
    reading_close(&r);
}

static void swapped_operands(void **state)
{
    (void)state;
    struct reading r;
    WRITE_MODEL("minus", "2.15.0",
                FUNCTIONAL(INPUT("x", "4") "," INPUT("y", "4") "," CALLED("Subtract", "minus", "",
                                                                          "[['x',0,0,{}],['y',0,0,{}]]"),
                           REF("x", "0", "0") "," REF("y", "0", "0"), REF("minus", "0", "0")),
                {"unused", "w", 1, {1}, NULL});
    reading_lower(&r, "minus");
    struct parity_result result = check(&r);
    agrees(&result);
    struct torch_node *node = node_of(&r, "minus", TORCH_SUB);
    const int swapped[] = {node->inputs[1], node->inputs[0]};
    node->inputs = swapped;
    result = check(&r);
    diverges(&result, "minus");
    reading_close(&r);
}

/* The report would tell the caller to put the axes of an output in another order. */
static void an_output_told_in_another_order(void **state)
{
    (void)state;
    struct reading r;
    WRITE_MODEL("map", "2.15.0", SEQUENTIAL(CONV("a", "2", ",'batch_input_shape':[null,6,8,2]")), CONV_WEIGHTS("a", 2));
    reading_lower(&r, "map");
    struct parity_result result = check(&r);
    agrees(&result);
    assert_memory_equal(r.graph.outputs[0].axes, ((const int[]){0, 2, 3, 1}), 4 * sizeof(int));
    memcpy(r.graph.outputs[0].axes, (const int[]){0, 3, 1, 2}, 4 * sizeof(int));
    result = check(&r);
    diverges(&result, "a");
    reading_close(&r);
}

/* A step is masked when all its features have the value, not when one has. */
static void a_step_masked_by_one_feature(void **state)
{
    (void)state;
    struct reading r;
    WRITE_MODEL("masking", "2.15.0", SEQUENTIAL(ENTRY("Masking", "m", ",'mask_value':0.5" SHAPE("6,3"))),
                {"unused", "w", 1, {1}, NULL});
    reading_lower(&r, "masking");
    struct parity_result result = check(&r);
    agrees(&result);
    node_of(&r, "m", TORCH_ANY)->op = TORCH_ALL;
    result = check(&r);
    diverges(&result, "m");
    assert_string_equal(result.divergence_case, "masked steps");
    reading_close(&r);
}

/* 1e-6 and 1e-5 differ for small numbers only. */
static void a_small_epsilon(void **state)
{
    (void)state;
    struct reading r;
    WRITE_MODEL("norm", "2.15.0",
                SEQUENTIAL(ENTRY("LayerNormalization", "n", ",'axis':[2],'epsilon':1e-6" SHAPE("6,8"))),
                {"n", "n/gamma:0", 1, {8}, NULL}, {"n", "n/beta:0", 1, {8}, NULL});
    reading_lower(&r, "norm");
    struct parity_result result = check(&r);
    agrees(&result);
    set_attr(&r, node_of(&r, "n", TORCH_LAYER_NORM), attr_float("eps", 1e-5));
    result = check(&r);
    diverges(&result, "n");
    assert_string_equal(result.divergence_case, "fading");
    reading_close(&r);
}

/* Two layers are wrong: the first one is named, the other is marked. */
static void the_first_of_two_is_named(void **state)
{
    (void)state;
    struct reading r;
    open_fixed(&r);
    set_attr(&r, node_of(&r, "bn", TORCH_BATCH_NORM2D), attr_float("eps", 1e-2));
    set_attr(&r, node_of(&r, "fc", TORCH_SOFTMAX), attr_int("dim", 0));
    struct parity_result result = check(&r);
    diverges(&result, "bn");
    assert_false(result.calls[r.model.call_count - 1].ok);
    reading_close(&r);
}

/* ---- rounding ---- */

/* The logistic map x → 4x (1 - x), twenty-four times, doubles whatever difference there is each time. */
static void open_chaos(struct reading *r)
{
    enum { TIMES = 24 };
    struct strbuf config = STRBUF_INIT;
    strbuf_add(&config,
               "{'class_name':'Functional','config':{'name':'net','layers':[" INPUT("in", "16") "," CALLED(
                   "BatchNormalization", "bn", ",'axis':[1],'epsilon':0.001",
                   NODE2("in", "0")) "," CALLED("Activation", "m0", ",'activation':'sigmoid'", NODE2("bn", "0")));
    for (int i = 1; i <= TIMES; i++)
        strbuf_addf(
            &config,
            ",{'class_name':'Rescaling','name':'r%d','config':{'scale':-4.0,'offset':4.0},'inbound_nodes':[[['m%d',0,0,"
            "{}]]]}"
            ",{'class_name':'Multiply','name':'m%d','config':{},'inbound_nodes':[[['r%d',0,0,{}],['m%d',0,0,{}]]]}",
            i, i - 1, i, i, i - 1);
    strbuf_addf(&config, "],'input_layers':[['in',0,0]],'output_layers':[['m%d',0,0]]}}", TIMES);
    WRITE_MODEL("chaos", "2.15.0", strbuf_text(&config), {"bn", "bn/gamma:0", 1, {16}, NULL},
                {"bn", "bn/beta:0", 1, {16}, NULL}, {"bn", "bn/moving_mean:0", 1, {16}, NULL},
                {"bn", "bn/moving_variance:0", 1, {16}, NULL});
    strbuf_release(&config);
    reading_lower(r, "chaos");
}

/* A difference far below the tolerance in the first layer, as rounding makes it, grows beyond it in the last. */
static void amplified_rounding_is_no_divergence(void **state)
{
    (void)state;
    struct reading r;
    open_chaos(&r);
    set_attr(&r, node_of(&r, "bn", TORCH_BATCH_NORM1D), attr_float("eps", 0.001003));
    struct parity_result result = check(&r);
    agrees(&result);
    assert_non_null(result.amplified);
    assert_true(result.amplified->id > 10);
    reading_close(&r);
}

static void an_error_in_an_amplifying_model_is_still_seen(void **state)
{
    (void)state;
    struct reading r;
    open_chaos(&r);
    set_attr(&r, node_of(&r, "bn", TORCH_BATCH_NORM1D), attr_float("eps", 0.001003));
    node_of(&r, "m20", TORCH_MUL)->op = TORCH_SUB;
    struct parity_result result = check(&r);
    diverges(&result, "m20");
    assert_non_null(result.amplified);
    reading_close(&r);
}

/* ---- NaN and infinity ---- */

static void open_nan(struct reading *r, float special)
{
    const float kernel[] = {1, special, 2, 3};
    WRITE_MODEL("nan", "2.15.0", SEQUENTIAL(ENTRY("Dense", "d", ",'units':2,'use_bias':false" SHAPE("2"))),
                {"d", "d/kernel:0", 2, {2, 2}, kernel});
    reading_lower(r, "nan");
}

static void nan_in_the_same_places_agrees(void **state)
{
    (void)state;
    struct reading r;
    open_nan(&r, NAN);
    struct parity_result result = check(&r);
    agrees(&result);
    reading_close(&r);
    open_nan(&r, INFINITY);
    result = check(&r);
    agrees(&result);
    reading_close(&r);
}

static void nan_elsewhere_diverges(void **state)
{
    (void)state;
    struct reading r;
    open_nan(&r, NAN);
    parameter_of(&r, "d.weight")->rearrangement = rearrange_as_is(&(struct shape){2, {2, 2}});
    struct parity_result result = check(&r);
    diverges(&result, "d");
    reading_close(&r);
}

/* NaN on one side only, however small the numbers. */
static void nan_for_a_number_diverges(void **state)
{
    (void)state;
    struct reading r;
    open_fixed(&r);
    set_attr(&r, node_of(&r, "bn", TORCH_BATCH_NORM2D), attr_float("eps", -100));
    struct parity_result result = check(&r);
    diverges(&result, "bn");
    assert_true(isinf(result.calls[result.divergence->id].max_abs));
    reading_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_right_graph_agrees),
        cmocka_unit_test(quick_is_one_case),
        cmocka_unit_test(free_sizes_are_tried_twice),
        cmocka_unit_test(a_result_can_be_repeated),
        cmocka_unit_test(progress_ends_at_one),
        cmocka_unit_test(memory_is_limited),
        cmocka_unit_test(a_kernel_turned_on_its_side),
        cmocka_unit_test(rows_behind_flatten_left_as_they_were),
        cmocka_unit_test(a_weight_of_another_layer),
        cmocka_unit_test(swapped_statistics),
        cmocka_unit_test(another_epsilon),
        cmocka_unit_test(another_axis),
        cmocka_unit_test(another_padding),
        cmocka_unit_test(a_lost_activation),
        cmocka_unit_test(swapped_operands),
        cmocka_unit_test(an_output_told_in_another_order),
        cmocka_unit_test(a_step_masked_by_one_feature),
        cmocka_unit_test(a_small_epsilon),
        cmocka_unit_test(the_first_of_two_is_named),
        cmocka_unit_test(amplified_rounding_is_no_divergence),
        cmocka_unit_test(an_error_in_an_amplifying_model_is_still_seen),
        cmocka_unit_test(nan_in_the_same_places_agrees),
        cmocka_unit_test(nan_elsewhere_diverges),
        cmocka_unit_test(nan_for_a_number_diverges),
    };
    return cmocka_run_group_tests(tests, begin_files, end_files);
}
