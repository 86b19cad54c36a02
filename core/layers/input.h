/* SPDX-License-Identifier: Apache-2.0 */
/* InputLayer: where a tensor enters the model. */
#ifndef H5PT_LAYERS_INPUT_H
#define H5PT_LAYERS_INPUT_H

#include "base/tensor.h"

struct input_config {
    struct shape shape; /* batch included, always unknown */
    enum dtype dtype;
};

#endif
