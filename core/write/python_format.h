/* SPDX-License-Identifier: Apache-2.0 */
/* Statements laid out as black lays them out, 88 columns wide. */
#ifndef H5PT_WRITE_PYTHON_FORMAT_H
#define H5PT_WRITE_PYTHON_FORMAT_H

#include <stdbool.h>

#include "base/strbuf.h"

enum { PYTHON_WIDTH = 88, PYTHON_INDENT = 4 };

/* Appends a statement that is written in one line, without magic trailing commas, at `depth` levels of indentation: broken at its brackets
 * when it is too long. What has no bracket to break at stays long. */
void python_add_line(struct strbuf *out, int depth, const char *text);

/* Whether a statement fits in one line. */
bool python_line_fits(int depth, const char *text);

#endif
