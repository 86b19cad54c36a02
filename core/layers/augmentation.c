/* SPDX-License-Identifier: Apache-2.0 */
/* Layers that change images in training only: at inference they give their input as float32. torch has no modules for them,
 * so nothing of them is left. */
#include <string.h>

#include "layers/compose.h"
#include "layers/layer.h"
#include "layers/lower.h"

/* What they do in training. */
static const char
    training_settings[] = "data_format seed factor fill_mode fill_value interpolation height_factor width_factor mode "
                          "value_range scale x_factor "
                          "y_factor kernel_size sigma brightness_factor contrast_factor saturation_factor hue_factor "
                          "num_chains chain_depth all_ops "
                          "alpha num_ops bins addition_factor threshold_factor max_number bounding_box_format";

struct augmentation_config {
    int unused;
};

static void augmentation_read(struct config_reader *reader, void *config, int variant)
{
    (void)config;
    (void)variant;
    config_ignore(reader, training_settings);
}

static int augmentation_shape(struct layer_shape *s)
{
    s->outputs[0] = s->inputs[0];
    return 0;
}

static int augmentation_reference(const struct layer_run *run)
{
    memcpy(run->outputs[0]->data, run->inputs[0]->data, (size_t)run->inputs[0]->count * sizeof(float));
    return 0;
}

static int augmentation_lower(struct lowering *l, const struct keras_call *call)
{
    struct lowered x = lower_input(l, call, 0);
    if (x.id < 0)
        return -1;
    return lower_output(l, call, 0, lower_float(l, call, x));
}

const struct layer_handler augmentation_handler = {
    .config_size = sizeof(struct augmentation_config),
    .read = augmentation_read,
    .shape = augmentation_shape,
    .reference = augmentation_reference,
    .lower = augmentation_lower,
};
