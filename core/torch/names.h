/* SPDX-License-Identifier: Apache-2.0 */
/* Names of modules and parameters: identifiers of Python that nn.Module leaves free. */
#ifndef H5PT_TORCH_NAMES_H
#define H5PT_TORCH_NAMES_H

#include <stdbool.h>

#include "base/arena.h"

/* `text` (a layer's path) as an identifier that begins with a letter: what cannot stand in one becomes '_'. NULL without memory. */
char *torch_identifier(struct arena *arena, const char *text);

/* Whether a module's attribute must not have this name: a keyword of Python, a name that model.py uses, or one that nn.Module has
 * itself. */
bool torch_name_reserved(const char *name);

#endif
