/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of docs/layers.md. */
#include "cli/layers_page.h"

#include <stdio.h>
#include <string.h>

static const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* A name as code; the bar would end a cell. */
static void print_code(const char *name)
{
    (void)printf("`");
    for (; *name; name++)
        (void)printf(*name == '|' ? "\\|" : "%c", *name);
    (void)printf("`");
}

/* Names as code, with commas between; "nothing" and "activation" are words of the tables, not names. */
static void print_names(const json_t *names, const char *before)
{
    size_t i;
    const json_t *name;
    json_array_foreach(names, i, name)
    {
        const char *text = json_string_value(name);
        (void)printf("%s", i ? ", " : before);
        if (strcmp(text, "activation") == 0)
            (void)printf("its activation");
        else if (strcmp(text, "nothing") == 0)
            (void)printf("nothing");
        else
            print_code(text);
    }
}

void layers_print_texts(const json_t *texts, const char *between)
{
    size_t i;
    const json_t *text;
    json_array_foreach(texts, i, text)
    {
        (void)printf("%s%s", i ? between : "", json_string_value(text));
    }
}

static void print_versions(const json_t *versions)
{
    size_t i;
    const json_t *version;
    json_array_foreach(versions, i, version)
    {
        const char *text = json_string_value(version);
        (void)printf("%s%s", i ? ", " : "", strcmp(text, "tf") == 0 ? "tf.keras" : text);
    }
}

static void print_layers(const json_t *layers)
{
    size_t i;
    const json_t *row;
    const char *family = "";
    json_array_foreach(layers, i, row)
    {
        if (strcmp(family, text_at(row, "family")) != 0) {
            family = text_at(row, "family");
            (void)printf("%s### %s\n\n| Keras class | Keras | torch | refused |\n|---|---|---|---|\n", i ? "\n" : "",
                         family);
        }
        (void)printf("| ");
        print_code(text_at(row, "class"));
        print_names(json_object_get(row, "aliases"), ", ");
        (void)printf(" | ");
        print_versions(json_object_get(row, "versions"));
        (void)printf(" | ");
        print_names(json_object_get(row, "torch"), "");
        (void)printf(" | ");
        layers_print_texts(json_object_get(row, "limits"), "; ");
        (void)printf(" |\n");
    }
}

static void print_activations(const json_t *activations)
{
    size_t i;
    const json_t *row;
    (void)printf("| name | Keras | torch |\n|---|---|---|\n");
    json_array_foreach(activations, i, row)
    {
        (void)printf("| ");
        print_names(json_object_get(row, "names"), "");
        (void)printf(" | ");
        print_versions(json_object_get(row, "versions"));
        (void)printf(" | ");
        print_names(json_object_get(row, "torch"), "");
        (void)printf(" |\n");
    }
}

static void print_operations(const json_t *operations)
{
    size_t i;
    const json_t *row;
    (void)printf("| operation | functions | torch | refused |\n|---|---|---|---|\n");
    json_array_foreach(operations, i, row)
    {
        (void)printf("| ");
        print_code(text_at(row, "class"));
        (void)printf(" | ");
        print_names(json_object_get(row, "functions"), "");
        (void)printf(" | ");
        print_names(json_object_get(row, "torch"), "");
        (void)printf(" | ");
        layers_print_texts(json_object_get(row, "limits"), "; ");
        (void)printf(" |\n");
    }
}

/* Those that are no operation of their own. */
static void print_functions(const json_t *functions)
{
    print_names(functions, "");
    (void)printf("\n");
}

static void print_unsupported(const json_t *unsupported)
{
    size_t i;
    const json_t *row;
    json_array_foreach(unsupported, i, row)
    {
        (void)printf("- ");
        print_names(json_object_get(row, "classes"), "");
        (void)printf(": %s.\n", text_at(row, "why"));
    }
}

bool layers_print_markdown(const json_t *capabilities, const char *table)
{
    static const struct {
        const char *key;
        void (*print)(const json_t *rows);
    } tables[] = {{"layers", print_layers},
                  {"activations", print_activations},
                  {"operations", print_operations},
                  {"functions", print_functions},
                  {"unsupported", print_unsupported}};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        if (strcmp(tables[i].key, table) == 0) {
            tables[i].print(json_object_get(capabilities, table));
            return true;
        }
    return false;
}
