/* SPDX-License-Identifier: Apache-2.0 */
/* What the parity check must know of losses that stand in a graph. */
#ifndef H5PT_LAYERS_LOSS_H
#define H5PT_LAYERS_LOSS_H

#include "keras/model.h"

/* The number of classes when this call is a SparseCategoricalCrossentropy, whose target must be one of them, else 0. */
int64_t loss_classes(const struct keras_call *call, const struct keras_value **ret_target);

#endif
