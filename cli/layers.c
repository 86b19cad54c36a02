/* SPDX-License-Identifier: Apache-2.0 */
/* h5pt layers: the table of supported layers, for people or as JSON. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "convert.h"

static void print_words(const json_t *list)
{
    size_t i;
    const json_t *word;
    json_array_foreach(list, i, word)
    {
        (void)printf("%s%s", i ? " " : "", json_string_value(word));
    }
}

static void print_table(const json_t *layers)
{
    size_t i;
    const json_t *row;
    json_array_foreach(layers, i, row)
    {
        (void)printf("%-24s Keras ", json_string_value(json_object_get(row, "class")));
        print_words(json_object_get(row, "versions"));
        if (json_array_size(json_object_get(row, "aliases"))) {
            (void)printf("   also ");
            print_words(json_object_get(row, "aliases"));
        }
        (void)printf("\n");
    }
}

int cli_layers(int argc, char **argv)
{
    bool json = argc == 2 && strcmp(argv[1], "--json") == 0;
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        (void)printf("Usage: h5pt layers [--json]\n\nLists the Keras layer classes that are supported.\n");
        return 0;
    }
    if (argc > 1 && !json)
        return cli_usage(argv[0], "\"%s\" is not known", argv[1]);
    json_t *capabilities = convert_capabilities();
    if (!capabilities) {
        struct h5pt_error err = H5PT_ERROR_INIT;
        (void)h5pt_fail_memory(&err);
        return cli_fail(&err);
    }
    const json_t *layers = json_object_get(capabilities, "layers");
    if (json) {
        (void)json_dumpf(layers, stdout, JSON_INDENT(1));
        (void)printf("\n");
    } else {
        print_table(layers);
        (void)printf("\nOperations of Keras 3 graphs, into which those of tf.keras and the bodies of Lambda layers are "
                     "translated:\n");
        print_words(json_object_get(capabilities, "operations"));
        (void)printf("\n");
    }
    json_decref(capabilities);
    return 0;
}
