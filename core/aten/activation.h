/* SPDX-License-Identifier: Apache-2.0 */
/* Activations that are made of several calls, of a value. */
#ifndef H5PT_ATEN_ACTIVATION_H
#define H5PT_ATEN_ACTIVATION_H

#include "aten/aten.h"

int aten_softsign(struct aten_builder *b, int x);    /* x / (1 + |x|) */
int aten_tanh_shrink(struct aten_builder *b, int x); /* x - tanh(x) */
int aten_softmax(struct aten_builder *b, int x, int64_t dim);

#endif
