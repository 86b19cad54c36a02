/* SPDX-License-Identifier: Apache-2.0 */
/* Which classes a graph is written with, and what its parameters are called then. */
#include "model_files.h"

#include "structure/structure.h"
#include "write/python.h"

struct found {
    struct reading reading;
    struct structure structure;
    struct strbuf text; /* model.py */
};

static void find(struct found *ret, const char *file)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    *ret = (struct found){.text = STRBUF_INIT};
    reading_lower(&ret->reading, file);
    assert_int_equal(structure_find(&ret->reading.graph, &ret->structure, &err), 0);
    assert_int_equal(python_write(&ret->reading.graph, &ret->structure, &ret->reading.model, &ret->text, &err), 0);
}

static void found_release(struct found *found)
{
    strbuf_release(&found->text);
    reading_close(&found->reading);
}

static void expect_text(const struct found *found, const char *part)
{
    if (!strstr(strbuf_text(&found->text), part))
        fail_msg("\n%s\nis not in\n%s", part, strbuf_text(&found->text));
}

static void expect_parameters(const struct found *found, const char *expected)
{
    struct strbuf names = STRBUF_INIT;
    for (int i = 0; i < found->reading.graph.parameter_count; i++)
        strbuf_addf(&names, "%s%s", i ? " " : "", found->reading.graph.parameters[i].name);
    assert_string_equal(strbuf_text(&names), expected);
    strbuf_release(&names);
}

/* ---- blocks ---- */

/* Residual blocks of Dense layers, b1_first, b1_second, b1_third, b1_add …; the last one is wider than what goes in, so that it has a
 * projection. */
enum { BLOCKS = 5, WIDTH = 4 };

static int width_of(int block)
{
    return block == BLOCKS ? WIDTH + 2 : WIDTH;
}

static void add_dense(struct strbuf *config, struct model_weight *weights, size_t *count, const char *name,
                      const char *from, int in, int units, const char *activation)
{
    strbuf_addf(config, "," CALLED("Dense", "%s", ",'units':%d,'activation':'%s'", "[['%s',0,0,{}]]"), name, name,
                units, activation, from);
    weights[*count] = (struct model_weight){name, "kernel:0", 2, {(hsize_t)in, (hsize_t)units}, NULL};
    weights[*count + 1] = (struct model_weight){name, "bias:0", 1, {(hsize_t)units}, NULL};
    *count += 2;
}

static void write_blocks(const char *file)
{
    static const char *const layers[] = {"first", "second", "third", "shortcut", "add"};
    static char names[BLOCKS + 1][5][16];
    struct model_weight weights[8 * BLOCKS];
    struct strbuf config = STRBUF_INIT;
    size_t count = 0;
    const char *x = "a";
    for (int b = 1; b <= BLOCKS; b++)
        for (int i = 0; i < 5; i++)
            (void)snprintf(names[b][i], sizeof names[b][i], "b%d_%s", b, layers[i]);
    strbuf_add(&config, "{'class_name':'Functional','config':{'name':'net','layers':[" INPUT("a", "4"));
    for (int b = 1; b <= BLOCKS; b++) {
        const char *shortcut = x;
        add_dense(&config, weights, &count, names[b][0], x, WIDTH, 3, "relu");
        add_dense(&config, weights, &count, names[b][1], names[b][0], 3, 3, "relu");
        add_dense(&config, weights, &count, names[b][2], names[b][1], 3, width_of(b), "linear");
        if (width_of(b) != WIDTH) {
            add_dense(&config, weights, &count, names[b][3], x, WIDTH, width_of(b), "linear");
            shortcut = names[b][3];
        }
        strbuf_addf(&config, "," CALLED("Add", "%s", "", "[['%s',0,0,{}],['%s',0,0,{}]]"), names[b][4], names[b][4],
                    shortcut, names[b][2]);
        x = names[b][4];
    }
    strbuf_addf(&config, "],'input_layers':[['a',0,0]],'output_layers':[['%s',0,0]]}}", x);
    write_model(file, "2.15.0", strbuf_text(&config), count, weights);
    strbuf_release(&config);
}

static void blocks_that_repeat_are_one_class(void **state)
{
    (void)state;
    struct found f;
    write_blocks("blocks");
    find(&f, "blocks");
    assert_int_equal(f.structure.class_count, 2);
    const struct structure_class *block = f.structure.classes[0];
    assert_int_equal(block->block_count, BLOCKS);
    assert_int_equal(block->option_count, 1);
    assert_string_equal(block->options[0], "projection");
    expect_text(&f, "        self.b1 = ");
    expect_text(&f, "        x = self.b1(x)\n");
    expect_text(&f, "projection=True");
    expect_text(&f, "        shortcut = x\n"
                    "        if self.projection:\n"
                    "            shortcut = self.shortcut(x)\n");
    const struct torch_graph *g = &f.reading.graph;
    assert_string_equal(g->parameters[0].name, "b1.first.weight");
    assert_string_equal(g->parameters[g->parameter_count - 1].name, "b5.third.bias");
    assert_string_equal(g->nodes[0].module, "b1.first");
    found_release(&f);
}

static void few_layers_stay_flat(void **state)
{
    (void)state;
    struct found f;
    WRITE_MODEL("flat", "2.15.0",
                SEQUENTIAL(ENTRY("Dense", "a_1", ",'units':4" SHAPE("4")) "," DENSE("a_2", "4") "," DENSE("b_1", "4")),
                DENSE_WEIGHTS("a_1", 4, 4), DENSE_WEIGHTS("a_2", 4, 4), DENSE_WEIGHTS("b_1", 4, 4));
    find(&f, "flat");
    assert_int_equal(f.structure.class_count, 1);
    expect_parameters(&f, "a_1.weight a_1.bias a_2.weight a_2.bias b_1.weight b_1.bias");
    found_release(&f);
}

/* ---- nested models ---- */

#define ENCODER                                                                                                        \
    "{'class_name':'Sequential','name':'encoder','config':{'name':'encoder','layers':[" ENTRY(                         \
        "Dense", "d",                                                                                                  \
        ",'units':4,'activation':'relu'" SHAPE(                                                                        \
            "4")) "," DENSE("e", "4") "]},'inbound_nodes':[" NODE2("left", "0") "," NODE2("right", "0") "]}"

static void a_nested_model_is_a_class(void **state)
{
    (void)state;
    struct found f;
    WRITE_MODEL("siamese", "2.15.0",
                FUNCTIONAL(INPUT("left", "4") "," INPUT("right", "4") "," ENCODER "," CALLED(
                               "Add", "sum", "", "[['encoder',1,0,{}],['encoder',2,0,{}]]"),
                           REF("left", "0", "0") "," REF("right", "0", "0"), REF("sum", "0", "0")),
                {"encoder", "d/kernel:0", 2, {4, 4}, NULL}, {"encoder", "d/bias:0", 1, {4}, NULL},
                {"encoder", "e/kernel:0", 2, {4, 4}, NULL}, {"encoder", "e/bias:0", 1, {4}, NULL});
    find(&f, "siamese");
    assert_int_equal(f.structure.class_count, 2);
    assert_string_equal(f.structure.classes[0]->name, "Encoder");
    assert_int_equal(f.structure.classes[0]->block_count, 2);
    assert_ptr_equal(f.structure.classes[0]->blocks[1]->instance, f.structure.classes[0]->blocks[0]);
    expect_parameters(&f, "encoder.d.weight encoder.d.bias encoder.e.weight encoder.e.bias");
    expect_text(&f, "        self.encoder = Encoder()\n"
                    "\n"
                    "    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:\n"
                    "        x = self.encoder(left)\n"
                    "        y = self.encoder(right)\n"
                    "        return x + y\n");
    found_release(&f);
}

/* ---- what is not trained ---- */

static void frozen_layers_have_no_gradient(void **state)
{
    (void)state;
    struct found f;
    WRITE_MODEL(
        "frozen", "2.15.0",
        SEQUENTIAL("{'class_name':'Dense','config':{'name':'a','trainable':false,'units':4" SHAPE("4") "}}," DENSE(
            "b", "4") ",{'class_name':'BatchNormalization','config':{'name':'n','trainable':false,"
                      "'axis':[1],'scale':false}}"),
        DENSE_WEIGHTS("a", 4, 4), DENSE_WEIGHTS("b", 4, 4), {"n", "n/beta:0", 1, {4}, NULL},
        {"n", "n/moving_mean:0", 1, {4}, NULL}, {"n", "n/moving_variance:0", 1, {4}, NULL});
    find(&f, "frozen");
    expect_text(&f, "        self.n.weight.requires_grad_(False)\n");
    expect_text(&f, "        # Not trained in Keras.\n"
                    "        for part in (self.a, self.n):\n"
                    "            part.requires_grad_(False)\n");
    expect_text(&f, "            if isinstance(part, nn.BatchNorm1d):\n"
                    "                part.eval()\n"
                    "        return self\n");
    found_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_that_repeat_are_one_class),
        cmocka_unit_test(few_layers_stay_flat),
        cmocka_unit_test(a_nested_model_is_a_class),
        cmocka_unit_test(frozen_layers_have_no_gradient),
    };
    return cmocka_run_group_tests(tests, begin_files, end_files);
}
