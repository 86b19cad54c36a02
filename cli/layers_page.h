/* SPDX-License-Identifier: Apache-2.0 */
#ifndef H5PT_CLI_LAYERS_PAGE_H
#define H5PT_CLI_LAYERS_PAGE_H

#include <jansson.h>
#include <stdbool.h>

/* Prints a list of texts with `between` between them. */
void layers_print_texts(const json_t *texts, const char *between);
/* Prints a table of docs/layers.md to stdout, from what convert_capabilities gives; false when it is none: layers, activations,
 * operations, functions, unsupported. */
bool layers_print_markdown(const json_t *capabilities, const char *table);

#endif
