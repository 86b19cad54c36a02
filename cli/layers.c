/* SPDX-License-Identifier: Apache-2.0 */
/* h5pt layers: the table of supported layers, for people or as JSON. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/layers_page.h"
#include "convert.h"

static void print_table(const json_t *capabilities)
{
    size_t i;
    const json_t *row;
    json_array_foreach(json_object_get(capabilities, "layers"), i, row)
    {
        (void)printf("%-24s Keras ", json_string_value(json_object_get(row, "class")));
        layers_print_texts(json_object_get(row, "versions"), " ");
        if (json_array_size(json_object_get(row, "aliases"))) {
            (void)printf("   also ");
            layers_print_texts(json_object_get(row, "aliases"), " ");
        }
        (void)printf("\n");
    }
    (void)printf("\nOperations of Keras 3 graphs, into which those of tf.keras and the bodies of Lambda layers are "
                 "translated:\n");
    json_array_foreach(json_object_get(capabilities, "operations"), i, row)
    {
        (void)printf("%s%s", i ? " " : "", json_string_value(json_object_get(row, "class")));
    }
    (void)printf("\n");
}

/* The part of the capabilities that is of Keras, as JSON. */
static void print_json(const json_t *capabilities)
{
    static const char *const keys[] = {"layers", "activations", "operations", "functions", "unsupported"};
    json_t *all = json_object();
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        (void)json_object_set(all, keys[i], json_object_get(capabilities, keys[i]));
    (void)json_dumpf(all, stdout, JSON_INDENT(1));
    (void)printf("\n");
    json_decref(all);
}

int cli_layers(int argc, char **argv)
{
    bool json = argc == 2 && strcmp(argv[1], "--json") == 0, markdown = argc == 3 && strcmp(argv[1], "--markdown") == 0;
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        (void)printf(
            "Usage: h5pt layers [--json | --markdown TABLE]\n\n"
            "Lists the Keras layer classes and operations that are supported. As JSON or Markdown with what they\n"
            "become and what is refused; TABLE: layers, activations, operations, functions or unsupported.\n");
        return 0;
    }
    if (argc > 1 && !json && !markdown)
        return cli_usage(argv[0], "\"%s\" is not known", argv[1]);
    json_t *capabilities = convert_capabilities();
    if (!capabilities) {
        struct h5pt_error err = H5PT_ERROR_INIT;
        (void)h5pt_fail_memory(&err);
        return cli_fail(&err);
    }
    int status = 0;
    if (json)
        print_json(capabilities);
    else if (!markdown)
        print_table(capabilities);
    else if (!layers_print_markdown(capabilities, argv[2]))
        status = cli_usage(argv[0], "There is no table \"%s\"", argv[2]);
    json_decref(capabilities);
    return status;
}
