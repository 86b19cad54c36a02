/* SPDX-License-Identifier: Apache-2.0 */
/* The modules that a person would write the torch graph with: one class for each nested Keras model, and one for each block of
 * layers that repeats, however often it stands in the network. model.py prints the classes; the parameters of the graph are
 * renamed after them ("encoder.conv1.weight"), so that every artifact has the same state_dict.
 *
 * A class is a body of slots in single-assignment form with values of its own: its inputs are the values 0 … input_count - 1,
 * the outputs of the slots follow. What stands at a slot (a node of the graph, or a call of another class) differs between the
 * blocks of the class in numbers only (channels, strides). Everything is memory of the graph's arena. */
#ifndef H5PT_STRUCTURE_STRUCTURE_H
#define H5PT_STRUCTURE_STRUCTURE_H

#include "base/error.h"
#include "torch/graph.h"

struct structure_class;
struct keras_scope;

/* Limits: larger graphs are not looked through, and keep the names of their layers. */
enum { STRUCTURE_MAX_NODES = 20000 };

/* One of the two, or neither: an optional slot that is left out. */
struct structure_item {
    struct torch_node *node;
    struct structure_block *block;
};

/* One call of a class. */
struct structure_block {
    struct structure_class *class;
    const struct structure_block *instance; /* the first call of the same module; the block itself when it is the first */
    int input_count, output_count;
    const int *inputs, *outputs;         /* values of the graph */
    struct structure_item *items;        /* one for each slot of the class */
    const char *label;                   /* what its layers' names have in common, or NULL */
    const struct torch_attr **arguments; /* values of the class' arguments; NULL: the default */
};

/* An argument of a constructor. */
struct structure_argument {
    const char *name;                  /* "in_channels"; NULL: not named yet */
    bool is_channels;                  /* a number of channels or features, which several modules may share */
    bool kept;                         /* forward needs it: self.<name> */
    const struct torch_attr *standard; /* the default value, or NULL */
};

struct structure_slot {
    struct structure_item item; /* of the first block that has it */
    const char *name;           /* attribute of the module, or what the result of a function may be called */
    int input_count;
    const int *inputs;        /* values of the class */
    int output, output_count; /* values of the class: output, output + 1 … */
    int option;               /* which option of the class it belongs to; -1: every block has it */
    int instead;              /* with an option: the value that stands for the output where the slot is left out */
    const int
        *arguments; /* per attribute of the node (of a PARAMETER: dim of its shape; of a block: argument of its class):
                                 the argument of this class that gives it, or -1: the same in every block */
};

struct structure_class {
    const char *name;                /* "Encoder", "ResidualBlock"; the model's own for the last class */
    const struct keras_scope *scope; /* a nested model; NULL: a block that repeats, or the model itself */
    int input_count, value_count, slot_count, output_count, block_count, option_count, argument_count;
    struct structure_slot *slots;
    const int *outputs; /* values of the class */
    struct structure_block **blocks;
    const char **options; /* names of constructor arguments that are bool: "projection" */
    struct structure_argument *arguments;
    const int *values; /* per value of the class: a value of the graph that it is, for its shape and name */
};

struct structure {
    int class_count;                  /* the last one is the model */
    struct structure_class **classes; /* each after the classes that it uses */
};

/* The first slot of the run of optional slots that a slot is in: slots of one option that follow one another, each of which uses what the
 * one before makes. The slot itself when it is in none. */
int structure_run_start(const struct structure_class *class, int slot);

/* Finds the classes and renames modules and parameters of the graph, which is then in the order in which model.py has them.
 * Errors: OUT_OF_MEMORY; INTERNAL when a block turns out not to be what its class says. */
int structure_find(struct torch_graph *graph, struct structure *ret, struct h5pt_error *err);

#endif
