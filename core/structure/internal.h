/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the passes that find the structure. Private to structure/. */
#ifndef H5PT_STRUCTURE_INTERNAL_H
#define H5PT_STRUCTURE_INTERNAL_H

#include <jansson.h>

#include "base/strbuf.h"
#include "keras/model.h"
#include "structure/structure.h"

/* Limits of a class: what a person can still read. */
enum {
    BLOCK_MAX_INPUTS = 3,
    SCOPE_MAX_INPUTS = 8,
    SCOPE_MAX_OUTPUTS = 4,
    BLOCK_MAX_ITEMS = 200,
    CLASS_MAX_ARGUMENTS = 8,
    CLASS_MAX_OPTIONS = 3,
    WORTH_LINES = 12, /* of model.py that a class must save */
};

/* What a node is called in its body, kept because bodies are gone through many times. */
struct node_name {
    const struct keras_scope *scope; /* of the body */
    bool known;
    const char *label;   /* or NULL */
    size_t layer_length; /* how much of it is the name of the layer; 0: it does not begin with that */
};

struct search {
    struct torch_graph *graph;
    struct arena *arena;
    struct h5pt_error *err;
    struct structure_class **classes;
    int class_count, class_capacity;
    int *module_of;          /* per node: number of its module, or -1 */
    int *body_uses;          /* per module: by items of the body that is looked at */
    int *maker;              /* per value: the item of the body that makes it, or -1 */
    int *last_use;           /* per value: the last item of the body that uses it; INT_MAX: used outside of it */
    int *use_count;          /* per value: by items of the body */
    int *local;              /* per value: its number in what is being described, or -1 */
    const char **labels;     /* per item of the body: its name without that of the scope, or NULL */
    struct node_name *names; /* per node, for the body that it was last in */
    bool broken;             /* memory ran out */
};

/* What is inside one call of a nested model, or the model itself. */
struct body {
    const struct keras_scope *scope;
    int count;
    struct structure_item *items;
    int output_count;
    const int *outputs; /* values that are used outside */
};

/* Items first … first + count - 1 of a body. */
struct piece {
    int first, count;
    int input_count, output_count;
    int inputs[SCOPE_MAX_INPUTS], outputs[SCOPE_MAX_OUTPUTS];
    bool has_module;
};

/* ---- items (items.c) ---- */
int item_input_count(const struct structure_item *item);
const int *item_inputs(const struct structure_item *item);
int item_output_count(const struct structure_item *item);
int item_output(const struct structure_item *item, int index);
/* Everything about an item that all blocks of a class have in common, as text. With `exact`, also what may vary and which modules
 * it is about: equal for two calls of the same module only. */
void item_key(const struct search *s, const struct structure_item *item, bool exact, struct strbuf *out);
/* Whether blocks of a class may differ in an attribute. */
bool item_may_vary(const struct torch_node *node, const struct torch_attr *attr);
/* A function of each element by itself, without weights. */
bool item_is_activation(const struct structure_item *item);
/* Nodes below an item, through blocks: calls visit for each. */
void item_each_node(const struct structure_item *item, void (*visit)(void *context, struct torch_node *node),
                    void *context);

/* ---- bodies (body.c) ---- */
/* Fills maker, last_use, use_count, body_uses and labels for a body; body_leave cleans up. */
void body_enter(struct search *s, const struct body *body);
void body_leave(struct search *s, const struct body *body);
/* A name without that of the nested model that it is in. */
const char *body_relative_name(struct search *s, const char *name, const struct keras_scope *scope);
/* The inputs and outputs of some items of the entered body; false when there are too many of them. */
bool piece_find(struct search *s, const struct body *body, int first, int count, int max_inputs, int max_outputs,
                struct piece *ret);
/* Whether no module of the piece is used elsewhere in the body. */
bool piece_exclusive(struct search *s, const struct body *body, const struct piece *piece);
/* The piece as text: equal for pieces that are calls of one class. */
void piece_signature(struct search *s, const struct body *body, const struct piece *piece, bool exact,
                     struct strbuf *out);
/* Puts a block in the place of each piece (in order, not overlapping) of the entered body, which is left and entered again. */
void body_replace(struct search *s, struct body *body, int count, struct piece *const *pieces,
                  const char *const *labels);
/* Puts one block in the place of one piece. */
void body_put(struct search *s, struct body *body, const struct piece *piece, struct structure_block *block);
/* The lines that a class of blocks of `items` items saves when it is used so often. */
int lines_saved(int uses, int items);

/* ---- classes (class.c) ---- */
/* A block for some items, of the class that has this signature, which is made when there is none. */
struct structure_block *block_make(struct search *s, const struct body *body, const struct piece *piece,
                                   const struct keras_scope *scope);
/* A further block of a class, with these items, inputs and outputs. */
struct structure_block *block_again(struct search *s, struct structure_class *class,
                                    const struct structure_block *like);
/* The same, of a class that nothing else belongs to yet and that is not listed. */
struct structure_block *block_alone(struct search *s, const struct body *body, const struct piece *piece);
/* The model itself: the last class, with one block. */
struct structure_class *class_of_model(struct search *s, const struct body *body);

/* ---- constructor arguments (arguments.c) ---- */
/* How many arguments the constructor of a class would need that made all of `items`, each of which are slot_count alike. */
int arguments_needed(struct search *s, int slot_count, int count, const struct structure_item *const *items);
/* Chooses the arguments of a class, those of the classes that it uses being there. */
void choose_arguments(struct search *s, struct structure_class *class);

/* Whether the arguments of a block give its nodes the attributes that they have. */
bool block_arguments_hold(const struct search *s, const struct structure_block *block);

/* ---- checking (check.c) ---- */
/* Whether every block is what its class says. */
bool structure_holds(struct search *s);

/* ---- the passes ---- */
/* The body of the whole model, nested models being blocks, in each of which repetition was looked for (scopes.c). */
void find_scopes(struct search *s, struct body *ret);
/* Whether Keras made the name of a layer itself, out of its class: "conv2d_7", "tf.math.add_2". */
bool layer_has_default_name(const struct keras_layer *layer);
/* Replaces repeated runs whose layers' names have a common beginning ("block_3_"), then those that only look alike. */
void find_named_blocks(struct search *s, struct body *body);
/* For each item of the entered body, the first and last of those whose names have the same first word, if nothing else stands between
 * them; else itself. */
void mark_named_ranges(struct search *s, const struct body *body, int *ret_first, int *ret_last);
void find_repeated_blocks(struct search *s, struct body *body);
/* ---- variants of a class (variants.c) ---- */
/* Makes the blocks of `b` blocks of `a`, the slots that differ becoming optional; false when that would not read well. */
bool class_absorb(struct search *s, struct structure_class *a, struct structure_class *b);
/* The classes of blocks in a body that are used nowhere else. */
int classes_in(const struct body *body, struct structure_class **ret, int most);
/* Unites classes of blocks in the body that differ in a few slots. */
void unite_variants(struct search *s, const struct body *body);

/* ---- names (names.c, class_names.c, rename.c) ---- */
/* "residual_block" of "ResidualBlock", "conv_bn_relu" of "ConvBNReLU"; "EncoderBlock" of "encoder_block". NULL without memory. */
const char *name_snake_case(struct search *s, const char *text);
const char *name_camel_case(struct search *s, const char *text);
const char *name_lower_case(struct search *s, const char *text);
/* Takes a name, or name_2, name_3 … when it is in use, also when only case differs. */
const char *name_take(struct search *s, json_t *names, const char *wanted);
/* Whether an item is an attribute of its class, or a call of one. */
bool item_is_module(const struct structure_item *item);
/* What an item is called in the Keras model, without the nested model that it is in; NULL: nothing. */
const char *item_label(struct search *s, const struct structure_item *item);
/* Finds the blocks of a class that are calls of one module; names a class; gives the blocks of all classes names. */
void find_instances(struct search *s, struct structure_class *class);
void name_class(struct search *s, json_t *names, struct structure_class *class);
void label_blocks(struct search *s);
void rename_graph(struct search *s, const struct structure_block *root);
/* Cuts off what the two do not begin with alike, in whole words: "conv_block" of "conv_block_1" and "conv_block_2". */
void cut_to_shared_words(char *common, const char *name);
/* The name that all blocks of the class have at this slot, or NULL. */
const char *slot_agreed_name(struct search *s, const struct structure_class *class, int slot);
/* Names the classes and slots, and renames the graph's modules and parameters (names.c). */
void name_everything(struct search *s, struct structure_class *root);

#endif
