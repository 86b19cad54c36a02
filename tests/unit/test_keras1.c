/* SPDX-License-Identifier: Apache-2.0 */
/* Files of Keras 1 in the form of Keras 2: configurations, and weights put together. */
#include "model_files.h"

#define OLD(class, name, settings) "{'class_name':'" class "','config':{'name':'" name "'" settings "}}"
#define OLD_SEQUENTIAL(layers) "{'class_name':'Sequential','config':[" layers "]}"
#define OLD_DENSE(name, units)                                                                                         \
    OLD("Dense", name, ",'output_dim':" units ",'input_dim':null,'init':'uniform','bias':true,'activation':'linear'")
#define IN(dims) ",'batch_input_shape':[null," dims "],'input_dtype':'float32'"

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

/* The refusals of a file as computed by `backend`. */
static void refuses_as(const char *file, const char *backend, const char *expected)
{
    struct reading r;
    reading_open_as(&r, file, backend);
    expect_refusals(&r, expected);
    reading_close(&r);
}

static void settings_and_names_are_translated(void **state)
{
    (void)state;
    WRITE_MODEL("dense", "1.2.2",
                OLD_SEQUENTIAL(OLD("Dense", "a",
                                   ",'output_dim':3,'init':'uniform','bias':true,'W_regularizer':null" IN(
                                       "4")) "," OLD("Dropout", "drop", ",'p':0.5") "," OLD_DENSE("b", "2")),
                {"a", "a_W:0", 2, {4, 3}, NULL}, {"a", "a_b:0", 1, {3}, NULL}, {"b", "old_W_1:0", 2, {3, 2}, NULL},
                {"b", "old_b_1:0", 1, {2}, NULL});
    expect_dump(
        "dense",
        "keras Sequential \"model\" version 1.2\n"
        "  %0 float32 (None, 4) = InputLayer() a_input\n"
        "  %1 float32 (None, 3) = Dense(%0) a kernel=/model_weights/a/a_W:0 bias=/model_weights/a/a_b:0\n"
        "  %2 float32 (None, 3) = Dropout(%1) drop\n"
        "  %3 float32 (None, 2) = Dense(%2) b kernel=/model_weights/b/old_W_1:0 bias=/model_weights/b/old_b_1:0\n"
        "  output %3 b\n");
}

static void merged_models_become_a_graph(void **state)
{
    (void)state;
#define MERGE(mode, models)                                                                                            \
    OLD("Merge", "m", ",'mode':'" mode "','mode_type':'raw','concat_axis':-1,'dot_axes':-1,'layers':[" models "]")
#define ALONE(name) OLD_SEQUENTIAL(OLD("Dense", name, ",'output_dim':3" IN("4")))
    WRITE_MODEL("merged", "1.2.2", OLD_SEQUENTIAL(MERGE("concat", ALONE("a") "," ALONE("b")) "," OLD_DENSE("c", "2")),
                {"a", "a_W:0", 2, {4, 3}, NULL}, {"a", "a_b:0", 1, {3}, NULL}, {"b", "b_W:0", 2, {4, 3}, NULL},
                {"b", "b_b:0", 1, {3}, NULL}, {"c", "c_W:0", 2, {6, 2}, NULL}, {"c", "c_b:0", 1, {2}, NULL});
    expect_dump("merged",
                "keras Model \"sequential\" version 1.2\n"
                "  %0 float32 (None, 4) = InputLayer() a_input\n"
                "  %1 float32 (None, 4) = InputLayer() b_input\n"
                "  %2 float32 (None, 3) = Dense(%0) a kernel=/model_weights/a/a_W:0 bias=/model_weights/a/a_b:0\n"
                "  %3 float32 (None, 3) = Dense(%1) b kernel=/model_weights/b/b_W:0 bias=/model_weights/b/b_b:0\n"
                "  %4 float32 (None, 6) = Concatenate(%2, %3) m\n"
                "  %5 float32 (None, 2) = Dense(%4) c kernel=/model_weights/c/c_W:0 bias=/model_weights/c/c_b:0\n"
                "  output %5 c\n");
}

/* Weight `slot` of layer `index` as floats; the caller frees them. */
static float *weight_values(struct reading *r, int index, const char *slot, struct shape *ret_shape)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    const struct keras_layer *layer = r->model.layers[index];
    for (int i = 0; i < layer->weight_count; i++) {
        const struct source_tensor *t = layer->weights[i].tensor;
        int64_t count;
        if (strcmp(layer->weights[i].slot, slot) != 0)
            continue;
        assert_true(shape_count(&t->shape, &count));
        float *values = malloc((size_t)count * sizeof *values), *raw = malloc((size_t)count * sizeof *raw);
        assert_true(values && raw);
        assert_int_equal(source_read_float(r->source, t, values, &err), 0);
        assert_int_equal(source_read(r->source, t, raw, &err), 0);
        assert_memory_equal(values, raw, (size_t)count * sizeof *values);
        free(raw);
        *ret_shape = t->shape;
        return values;
    }
    fail_msg("there is no %s", slot);
    return NULL;
}

/* (outputs, inputs, taps…) with th; Theano convolves, so the taps run backwards. The names tell Theano; the caller may know better. */
static void kernels_of_theano_are_turned_round(void **state)
{
    (void)state;
    static float stored[2 * 3 * 2 * 3];
    for (int i = 0; i < 36; i++)
        stored[i] = (float)i;
    WRITE_MODEL(
        "theano", "1.2.2",
        OLD_SEQUENTIAL(OLD(
            "Convolution2D", "c",
            ",'nb_filter':2,'nb_row':2,'nb_col':3,'dim_ordering':'th','border_mode':'valid','bias':false" IN("3,5,6"))),
        {"c", "c_W", 4, {2, 3, 2, 3}, stored});
    for (int theano = 0; theano < 2; theano++) {
        struct reading r;
        struct shape shape;
        reading_open_as(&r, "theano", theano ? NULL : "tensorflow");
        expect_refusals(&r, "");
        float *kernel = weight_values(&r, 1, "kernel", &shape);
        assert_true(shape_equal(&shape, &(struct shape){.rank = 4, .dims = {2, 3, 3, 2}}));
        for (int i = 0; i < 36; i++) {
            int o = i % 2, in = i / 2 % 3, column = i / 6 % 3, row = i / 18;
            int from_row = theano ? 1 - row : row, from_column = theano ? 2 - column : column;
            assert_float_equal(kernel[i], stored[((o * 3 + in) * 2 + from_row) * 3 + from_column], 0);
        }
        free(kernel);
        reading_close(&r);
    }
}

/* Twelve arrays in the order i, c, f, o become three in the order i, f, c, o. */
static void gates_are_joined(void **state)
{
    (void)state;
    static const float w[4][2] = {{1, 2}, {3, 4}, {5, 6}, {7, 8}}, u[4][1] = {{10}, {11}, {12}, {13}},
                       b[4][1] = {{20}, {21}, {22}, {23}};
#define GATE(name, i)                                                                                                  \
    {"l", "l_W_" name ":0", 2, {2, 1}, w[i]}, {"l", "l_U_" name ":0", 2, {1, 1}, u[i]},                                \
        {"l", "l_b_" name ":0", 1, {1}, b[i]}
    WRITE_MODEL("gates", "1.2.2",
                OLD_SEQUENTIAL(OLD("LSTM", "l",
                                   ",'output_dim':1,'inner_activation':'sigmoid','activation':'tanh','forget_bias_init'"
                                   ":'one','consume_less':'cpu'" IN("3,2"))),
                GATE("i", 0), GATE("c", 1), GATE("f", 2), GATE("o", 3));
    static const struct {
        const char *slot;
        int count;
        float values[8];
    } expected[] = {{"kernel", 8, {1, 5, 3, 7, 2, 6, 4, 8}},
                    {"recurrent_kernel", 4, {10, 12, 11, 13}},
                    {"bias", 4, {20, 22, 21, 23}}};
    struct reading r;
    reading_open(&r, "gates");
    expect_refusals(&r, "");
    for (int i = 0; i < 3; i++) {
        struct shape shape;
        float *values = weight_values(&r, 1, expected[i].slot, &shape);
        for (int k = 0; k < expected[i].count; k++)
            assert_float_equal(values[k], expected[i].values[k], 0);
        free(values);
    }
    reading_close(&r);
}

static void what_is_not_known_is_refused(void **state)
{
    (void)state;
    WRITE_MODEL("key", "1.2.2", OLD_SEQUENTIAL(OLD("Dense", "d", ",'output_dim':3,'flavour':1" IN("4"))),
                {"d", "d_W:0", 2, {4, 3}, NULL}, {"d", "d_b:0", 1, {3}, NULL});
    refuses_as("key", NULL, "UNKNOWN_CONFIG_KEY d flavour\n");
    WRITE_MODEL("missing", "1.2.2", OLD_SEQUENTIAL(OLD("Dense", "d", ",'output_dim':3" IN("4"))),
                {"d", "d_W:0", 2, {4, 2}, NULL}, {"d", "d_c:0", 1, {3}, NULL});
    refuses_as("missing", NULL, "WEIGHTS_SHAPE d kernel\nWEIGHTS_MISSING d bias\nWEIGHTS_UNUSED d weight_names\n");
    write_model("order", "1.2.2", OLD_SEQUENTIAL(OLD("UpSampling2D", "u", ",'size':[2,2]" IN("4,4,3"))), 0, NULL);
    refuses_as("order", NULL, "CONFIG_INVALID u dim_ordering\n");
}

/* Pooling by 2 with "same" begins in another cell on Theano; without weights, the file does not tell who computed it. */
static void same_padding_needs_the_backend(void **state)
{
    (void)state;
    write_model(
        "pool", "1.2.2",
        OLD_SEQUENTIAL(OLD("MaxPooling2D", "p",
                           ",'pool_size':[2,2],'strides':[2,2],'border_mode':'same','dim_ordering':'tf'" IN("6,6,1"))),
        0, NULL);
    refuses_as("pool", NULL, "UNSUPPORTED_CONFIG p padding\n");
    refuses_as("pool", "tensorflow", "");
    refuses_as("pool", "theano", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_and_names_are_translated),  cmocka_unit_test(merged_models_become_a_graph),
        cmocka_unit_test(kernels_of_theano_are_turned_round), cmocka_unit_test(gates_are_joined),
        cmocka_unit_test(what_is_not_known_is_refused),       cmocka_unit_test(same_padding_needs_the_backend),
    };
    return cmocka_run_group_tests(tests, begin_files, end_files);
}
