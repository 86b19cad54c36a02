/* SPDX-License-Identifier: Apache-2.0 */
/* model.py, word for word. */
#include "model_files.h"

#include "write/python.h"
#include "write/python_format.h"

static void write_python(const char *file, struct strbuf *ret)
{
    struct reading r;
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct structure structure;
    reading_lower(&r, file);
    assert_int_equal(structure_find(&r.graph, &structure, &err), 0);
    assert_int_equal(python_write(&r.graph, &structure, &r.model, ret, &err), 0);
    reading_close(&r);
}

static void expect_python(const char *file, const char *expected)
{
    struct strbuf text = STRBUF_INIT;
    write_python(file, &text);
    assert_string_equal(strbuf_text(&text), expected);
    strbuf_release(&text);
}

#define LOADER(class)                                                                                                  \
    "\n\ndef load(path: str = \"model.pt\") -> " class ":\n"                                                           \
                                                       "    \"\"\"The model with the weights in `path`, in eval "      \
                                                       "mode.\"\"\"\n"                                                 \
                                                       "    model = " class "()\n"                                     \
                                                                            "    state = torch.load(path, "            \
                                                                            "map_location=\"cpu\", "                   \
                                                                            "weights_only=True)\n"                     \
                                                                            "    model.load_state_dict(state)\n"       \
                                                                            "    return model.eval()\n"

static void a_cnn_reads_as_written_by_hand(void **state)
{
    (void)state;
    WRITE_MODEL(
        "cnn", "2.15.0",
        SEQUENTIAL_NAMED(
            "digits",
            ENTRY("Conv2D", "conv", ",'filters':8,'kernel_size':[3,3],'padding':'same','activation':'relu'" SHAPE("28,28,1")) "," ENTRY(
                "BatchNormalization", "bn",
                ",'axis':[3],'epsilon':0.001") "," ENTRY("MaxPooling2D", "pool",
                                                         ",'pool_size':[2,2]") "," ENTRY("Flatten", "flatten",
                                                                                         "") "," ENTRY("Dropout",
                                                                                                       "dropout",
                                                                                                       ",'rate':"
                                                                                                       "0.5") "," ENTRY("Dense",
                                                                                                                        "fc",
                                                                                                                        ",'units':10,'activation':'softmax'")),
        {"conv", "conv/kernel:0", 4, {3, 3, 1, 8}, NULL}, {"conv", "conv/bias:0", 1, {8}, NULL},
        {"bn", "bn/gamma:0", 1, {8}, NULL}, {"bn", "bn/beta:0", 1, {8}, NULL}, {"bn", "bn/moving_mean:0", 1, {8}, NULL},
        {"bn", "bn/moving_variance:0", 1, {8}, NULL}, {"fc", "fc/kernel:0", 2, {1568, 10}, NULL},
        {"fc", "fc/bias:0", 1, {10}, NULL});
    expect_python("cnn", "\"\"\"Digits, converted by h5pt from Keras 2.15.0.\"\"\"\n"
                         "\n"
                         "import torch\n"
                         "from torch import nn\n"
                         "from torch.nn import functional as F\n"
                         "\n\n"
                         "class Digits(nn.Module):\n"
                         "    \"\"\"The Keras model \"digits\".\n"
                         "\n"
                         "    Inputs:\n"
                         "        x: float32 (batch, 1, 28, 28), NCHW; in Keras (batch, 28, 28, 1)\n"
                         "\n"
                         "    Outputs:\n"
                         "        fc: float32 (batch, 10)\n"
                         "    \"\"\"\n"
                         "\n"
                         "    def __init__(self) -> None:\n"
                         "        super().__init__()\n"
                         "        self.conv = nn.Conv2d(1, 8, 3, padding=1)\n"
                         "        self.bn = nn.BatchNorm2d(8, eps=0.001, momentum=0.01)\n"
                         "        self.pool = nn.MaxPool2d(2, 2)\n"
                         "        self.dropout = nn.Dropout(0.5)\n"
                         "        self.fc = nn.Linear(1568, 10)\n"
                         "\n"
                         "    def forward(self, x: torch.Tensor) -> torch.Tensor:\n"
                         "        x = F.relu(self.conv(x))\n"
                         "        x = self.bn(x)\n"
                         "        x = self.pool(x)\n"
                         "        x = torch.flatten(x, 1)\n"
                         "        x = self.dropout(x)\n"
                         "        return F.softmax(self.fc(x), dim=1)\n" LOADER("Digits"));
}

/* Several inputs and outputs; a value used twice is named after its layer, a chain runs through x. */
static void branches_have_names(void **state)
{
    (void)state;
    WRITE_MODEL(
        "branches", "2.15.0",
        FUNCTIONAL_NAMED(
            "model_1",
            INPUT("left", "4") "," INPUT("right", "4") "," CALLED(
                "Dense", "shared", ",'units':4",
                NODE2("left", "0") "," NODE2(
                    "right",
                    "0")) "," CALLED("Add", "sum", "",
                                     "[['shared',0,0,{}],['shared',1,0,{}]]") "," CALLED("Activation", "act",
                                                                                         ",'activation':'tanh'",
                                                                                         NODE2(
                                                                                             "sum",
                                                                                             "0")) "," CALLED("Multipl"
                                                                                                              "y",
                                                                                                              "product",
                                                                                                              "",
                                                                                                              "[['act',"
                                                                                                              "0,0,{}],"
                                                                                                              "['sum',"
                                                                                                              "0,0,{}]"
                                                                                                              "]"),
            REF("left", "0", "0") "," REF("right", "0", "0"), REF("product", "0", "0") "," REF("sum", "0", "0")),
        DENSE_WEIGHTS("shared", 4, 4));
    expect_python("branches", "\"\"\"Model, converted by h5pt from Keras 2.15.0.\"\"\"\n"
                              "\n"
                              "from __future__ import annotations\n"
                              "\n"
                              "import torch\n"
                              "from torch import nn\n"
                              "\n\n"
                              "class Model(nn.Module):\n"
                              "    \"\"\"The Keras model \"model_1\".\n"
                              "\n"
                              "    Inputs:\n"
                              "        left: float32 (batch, 4)\n"
                              "        right: float32 (batch, 4)\n"
                              "\n"
                              "    Outputs:\n"
                              "        product: float32 (batch, 4)\n"
                              "        sum: float32 (batch, 4)\n"
                              "    \"\"\"\n"
                              "\n"
                              "    def __init__(self) -> None:\n"
                              "        super().__init__()\n"
                              "        self.shared = nn.Linear(4, 4)\n"
                              "        self.act = nn.Tanh()\n"
                              "\n"
                              "    def forward(\n"
                              "        self, left: torch.Tensor, right: torch.Tensor\n"
                              "    ) -> tuple[torch.Tensor, torch.Tensor]:\n"
                              "        x = self.shared(left)\n"
                              "        y = self.shared(right)\n"
                              "        sum = x + y\n"
                              "        x = self.act(sum)\n"
                              "        x = x * sum\n"
                              "        return x, sum\n" LOADER("Model"));
}

/* Sizes that are free are read when forward runs; a helper is there when it is needed. */
static void free_sizes_are_read_at_run_time(void **state)
{
    (void)state;
    struct strbuf text = STRBUF_INIT;
    WRITE_MODEL("free", "2.15.0",
                SEQUENTIAL(ENTRY("MaxPooling2D", "pool",
                                 ",'pool_size':[3,3],'strides':[2,2],'padding':'same'" SHAPE(
                                     "null,null,2")) "," ENTRY("Reshape", "rows", ",'target_shape':[-1,2]")),
                {"x", "w", 1, {1}, NULL});
    write_python("free", &text);
    assert_non_null(strstr(strbuf_text(&text), "\ndef pad_same("));
    assert_non_null(strstr(strbuf_text(&text), "self.pool(pad_same(x, 3, 2, value=float(\"-inf\")))\n"));
    assert_non_null(strstr(strbuf_text(&text), ".reshape(x.shape[0], -1, 2)\n"));
    strbuf_release(&text);
}

/* Forward needs `float` itself. */
static void variables_do_not_hide_what_forward_needs(void **state)
{
    (void)state;
    struct strbuf text = STRBUF_INIT;
    WRITE_MODEL("float", "2.15.0",
                FUNCTIONAL(INPUT("a", "null,null,2") "," CALLED("ReLU", "float", "", NODE2("a", "0")) "," CALLED(
                               "MaxPooling2D", "pool", ",'pool_size':[3,3],'padding':'same'", NODE2("float", "0")),
                           REF("a", "0", "0"), REF("pool", "0", "0") "," REF("float", "0", "0")),
                {"x", "w", 1, {1}, NULL});
    write_python("float", &text);
    assert_non_null(strstr(strbuf_text(&text), "float(\"-inf\")"));
    assert_non_null(strstr(strbuf_text(&text), "float_2 = "));
    assert_null(strstr(strbuf_text(&text), "        float = "));
    strbuf_release(&text);
}

static size_t count(const char *text, const char *what)
{
    size_t n = 0;
    for (; (text = strstr(text, what)); text += strlen(what))
        n++;
    return n;
}

/* Names of the file cannot end the docstring, nor add a line to it or to the code. */
static void names_cannot_break_out(void **state)
{
    (void)state;
    static const char evil[] = "\\\"\\\"\\\"\\nimport os\\r\\n\\\\\\t\\u0001(#";
    struct strbuf config = STRBUF_INIT, text = STRBUF_INIT;
    strbuf_addf(
        &config,
        "{'class_name':'Functional','config':{'name':'%s','layers':["
        "{'class_name':'InputLayer','name':'i%s','config':{'name':'i'" SHAPE(
            "4") "},'inbound_nodes':[]},"
                 "{'class_name':'InputLayer','name':'j%s','config':{'name':'j'" SHAPE(
                     "4") "},'inbound_nodes':[]},"
                          "{'class_name':'Dense','name':'d%s','config':{'units':4},'inbound_nodes':[[['i%s',0,0,{}]]]},"
                          "{'class_name':'Add','name':'s%s','config':{},'inbound_nodes':[[['d%s',0,0,{}],['j%s',0,0,{}]"
                          "]]}],"
                          "'input_layers':[['i%s',0,0],['j%s',0,0]],'output_layers':[['d%s',0,0],['s%s',0,0]]}}",
        evil, evil, evil, evil, evil, evil, evil, evil, evil, evil, evil, evil);
    WRITE_MODEL("evil", "2.15.0", strbuf_text(&config),
                {"d\"\"\"\nimport os\r\n\\\t\001(#", "kernel:0", 2, {4, 4}, NULL},
                {"d\"\"\"\nimport os\r\n\\\t\001(#", "bias:0", 1, {4}, NULL});
    strbuf_release(&config);
    write_python("evil", &text);
    assert_int_equal(count(strbuf_text(&text), "\"\"\""), 6);
    assert_int_equal(count(strbuf_text(&text), "\nimport "), 1);
    assert_int_equal(count(strbuf_text(&text), "\\"), 0);
    assert_int_equal(
        count(strbuf_text(&text), "\r") + count(strbuf_text(&text), "\t") + count(strbuf_text(&text), "\001"), 0);
    const char *code = strstr(strbuf_text(&text), "    def __init__(");
    assert_non_null(code);
    assert_null(strchr(code, '#'));
    assert_non_null(strstr(code, "self.d____import_os_______("));
    strbuf_release(&text);
}

/* A long name is cut short, but not within a character: half of one would make the file unreadable for Python. */
static void characters_stay_whole(void **state)
{
    (void)state;
    char name[700];
    struct strbuf config = STRBUF_INIT, text = STRBUF_INIT;
    for (size_t i = 0; i + 2 < sizeof name; i += 3)
        memcpy(name + i, "\xe2\x82\xac", 3);
    name[sizeof name - 1] = '\0';
    strbuf_addf(&config,
                "{'class_name':'Sequential','config':{'name':'net','layers':[{'class_name':'Flatten','config':{'name':'"
                "%s'" SHAPE("4") "}}]}}",
                name);
    write_model("long", "2.15.0", strbuf_text(&config), 0, NULL);
    strbuf_release(&config);
    write_python("long", &text);
    strbuf_addf(&config, "        %.48s...: float32 (batch, 4)\n", name);
    assert_non_null(strstr(strbuf_text(&text), strbuf_text(&config)));
    strbuf_release(&config);
    strbuf_release(&text);
}

static void expect_lines(int depth, const char *text, const char *expected)
{
    struct strbuf out = STRBUF_INIT;
    python_add_line(&out, depth, text);
    assert_string_equal(strbuf_text(&out), expected);
    strbuf_release(&out);
}

/* As black lays them out. */
static void long_lines_are_broken(void **state)
{
    (void)state;
    expect_lines(1, "x = a", "    x = a\n");
    expect_lines(2, "self.a_rather_long_name_for_a_module = nn.Conv2d(in_channels, out_channels, 3, padding=1)",
                 "        self.a_rather_long_name_for_a_module = nn.Conv2d(\n"
                 "            in_channels, out_channels, 3, padding=1\n"
                 "        )\n");
    expect_lines(2,
                 "x = self.a_rather_long_name(the_first_of_its_arguments, the_second_of_its_arguments, "
                 "the_third_of_its_arguments)",
                 "        x = self.a_rather_long_name(\n"
                 "            the_first_of_its_arguments,\n"
                 "            the_second_of_its_arguments,\n"
                 "            the_third_of_its_arguments,\n"
                 "        )\n");
    expect_lines(
        2, "x = torch.cat((the_first_of_three_tensors, the_second_of_three_tensors, the_third_of_three_tensors), 1)",
        "        x = torch.cat(\n"
        "            (\n"
        "                the_first_of_three_tensors,\n"
        "                the_second_of_three_tensors,\n"
        "                the_third_of_three_tensors,\n"
        "            ),\n"
        "            1,\n"
        "        )\n");
    expect_lines(
        2, "return the_first_of_two_rather_long_names_of_tensors + the_second_of_two_rather_long_names_of_tensors",
        "        return (\n"
        "            the_first_of_two_rather_long_names_of_tensors\n"
        "            + the_second_of_two_rather_long_names_of_tensors\n"
        "        )\n");
    expect_lines(2, "return the_first_of_three_tensors, the_second_of_three_tensors, the_third_of_three_tensors",
                 "        return (\n"
                 "            the_first_of_three_tensors,\n"
                 "            the_second_of_three_tensors,\n"
                 "            the_third_of_three_tensors,\n"
                 "        )\n");
    expect_lines(
        2,
        "self.a_recurrent_module = LSTMLoop(3, 2, recurrent_activation=hard_sigmoid, reverse=True).to(torch.float16)",
        "        self.a_recurrent_module = LSTMLoop(\n"
        "            3, 2, recurrent_activation=hard_sigmoid, reverse=True\n"
        "        ).to(torch.float16)\n");
    expect_lines(1, "def forward(self, the_first_input: torch.Tensor, the_second_input: torch.Tensor) -> torch.Tensor:",
                 "    def forward(\n"
                 "        self, the_first_input: torch.Tensor, the_second_input: torch.Tensor\n"
                 "    ) -> torch.Tensor:\n");
    expect_lines(2, "self.a_name_that_is_so_long_that_the_constructor_does_not_fit_behind_it = nn.ReLU()",
                 "        self.a_name_that_is_so_long_that_the_constructor_does_not_fit_behind_it = (\n"
                 "            nn.ReLU()\n"
                 "        )\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cnn_reads_as_written_by_hand),  cmocka_unit_test(branches_have_names),
        cmocka_unit_test(free_sizes_are_read_at_run_time), cmocka_unit_test(variables_do_not_hide_what_forward_needs),
        cmocka_unit_test(names_cannot_break_out),          cmocka_unit_test(characters_stay_whole),
        cmocka_unit_test(long_lines_are_broken),
    };
    return cmocka_run_group_tests(tests, begin_files, end_files);
}
