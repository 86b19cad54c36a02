/* SPDX-License-Identifier: Apache-2.0 */
/* model.svg: the network as a graph. A box is a layer with what follows it one to one (its normalisation, its activation); a row is
 * a layer: its name, what it became in torch, its output shape, its parameters, and, by colour, how far the two sides differ.
 * Nested models are frames. Laid out by Graphviz (dot), which neither opens files nor starts anything here. */
#ifndef H5PT_PICTURE_H
#define H5PT_PICTURE_H

#include "base/strbuf.h"
#include "report.h"

/* A graph of more boxes is no picture any more. */
enum { PICTURE_MAX_BOXES = 1000 };

/* Appends the SVG: one <svg> element, without a prologue, that refers to nothing outside. Errors: LIMIT_EXCEEDED (too many boxes),
 * OUT_OF_MEMORY, INTERNAL. */
int picture_draw(const struct report_facts *facts, struct strbuf *out, struct h5pt_error *err);

#endif
