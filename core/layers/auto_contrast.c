/* SPDX-License-Identifier: Apache-2.0 */
/* AutoContrast: stretches the values along axes 1 and 2 (whatever data_format says) to value_range. What is the same all over
 * these axes stays as it is. */
#include <math.h>

#include "layers/compose.h"
#include "layers/layer.h"
#include "layers/lower.h"

struct auto_contrast_config {
    double low, high;
};

static void auto_contrast_read(struct config_reader *reader, void *config, int variant)
{
    struct auto_contrast_config *c = config;
    (void)variant;
    config_ignore(reader, "data_format factor seed bounding_box_format");
    config_range(reader, "value_range", 0, 255, &c->low, &c->high);
}

static int auto_contrast_shape(struct layer_shape *s)
{
    s->outputs[0] = s->inputs[0];
    return s->inputs[0].rank == 4 ? 0 : layer_shape_fail(s, "It takes a batch of images");
}

/* One column of axes 1 and 2: `count` cells, `step` apart. */
static void stretch(const struct auto_contrast_config *c, const float *x, float *y, int64_t count, int64_t step)
{
    float low = (float)c->low, width = (float)(c->high - c->low), least = INFINITY, most = -INFINITY;
    for (int64_t i = 0; i < count; i++) {
        y[i * step] = 255 * ((x[i * step] - low) / width);
        least = y[i * step] < least ? y[i * step] : least;
        most = y[i * step] > most ? y[i * step] : most;
    }
    float scale = 255.0f / (most - least), offset = -least * scale;
    for (int64_t i = 0; i < count; i++) {
        float value = y[i * step] * scale + offset;
        if (most == least || isnan(value)) {
            y[i * step] = x[i * step];
            continue;
        }
        value = value < 0 ? 0 : value > 255 ? 255 : value;
        y[i * step] = value / 255 * width + low;
    }
}

static int auto_contrast_reference(const struct layer_run *run)
{
    const struct tensor *x = run->inputs[0];
    const int64_t *dims = x->shape.dims;
    int64_t count = dims[1] * dims[2], step = dims[3];
    for (int64_t b = 0; b < dims[0]; b++)
        for (int64_t k = 0; k < step; k++)
            stretch(run->config, x->data + b * count * step + k, run->outputs[0]->data + b * count * step + k, count,
                    step);
    return 0;
}

static int auto_contrast_lower(struct lowering *l, const struct keras_call *call)
{
    const struct auto_contrast_config *c = call->layer->config;
    struct lowered x = lower_input(l, call, 0);
    if (x.id < 0)
        return -1;
    int64_t dims[2] = {layout_axis(&x.layout, 1), layout_axis(&x.layout, 2)};
    struct torch_attr attrs[] = {attr_list(l, "dim", 2, dims), attr_float("low", c->low), attr_float("high", c->high)};
    x = lower_pointwise(l, call, lower_float(l, call, x), TORCH_AUTO_CONTRAST, NULL, 3, attrs);
    return lower_output(l, call, 0, x);
}

const struct layer_handler auto_contrast_handler = {
    .config_size = sizeof(struct auto_contrast_config),
    .read = auto_contrast_read,
    .shape = auto_contrast_shape,
    .reference = auto_contrast_reference,
    .lower = auto_contrast_lower,
};
