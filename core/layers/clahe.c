/* SPDX-License-Identifier: Apache-2.0 */
/* ContrastLimitedAdaptiveHistogramEqualization: each tile of the image has a table of 256 levels, made from its histogram; a pixel
 * looks itself up in the tables of the four tiles around it. Source: Keras 3.15 clahe.py. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "layers/compose.h"
#include "layers/layer.h"
#include "layers/lower.h"
#include "layers/spatial.h"

enum { LEVELS = 256 };

struct clahe_config {
    double low, high, clip_limit;
    int64_t grid[2];
};

static void clahe_read(struct config_reader *reader, void *config, int variant)
{
    struct clahe_config *c = config;
    (void)variant;
    (void)config_data_format(reader);
    config_ignore(reader, "factor seed bounding_box_format");
    c->clip_limit = config_double(reader, "clip_limit", 4);
    spatial_read_sizes(reader, "tile_grid_size", 2, c->grid, 8);
    config_range(reader, "value_range", 0, 255, &c->low, &c->high);
}

static int clahe_shape(struct layer_shape *s)
{
    const struct clahe_config *c = s->config;
    if (spatial_check_input(s, 2) < 0)
        return -1;
    if (!dtype_is_float(s->input_dtypes[0]))
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_DTYPE, "dtype", "The layer is supported for float images");
    const int64_t *in = s->inputs[0].dims + spatial_axis(s->layer);
    for (int i = 0; i < 2; i++) {
        int64_t tile = in[i] < 0 ? 0 : (in[i] + c->grid[i] - 1) / c->grid[i];
        if (in[i] == 0 || (in[i] > 0 && tile * c->grid[i] - in[i] > in[i]))
            return layer_shape_fail(s, "The image is too small for %lld tiles", (long long)c->grid[i]);
    }
    s->outputs[0] = s->inputs[0];
    return 0;
}

/* ---- reference ---- */

/* One channel of an image that is made whole tiles by mirroring its end. */
struct plane {
    const struct clahe_config *config;
    int64_t height, width, channels, tile[2];
    const float *x; /* its first cell; cells are `channels` apart */
    float *tables;  /* (rows, columns, LEVELS) */
};

static int level(const struct plane *p, int64_t i, int64_t j)
{
    const struct clahe_config *c = p->config;
    i = i < p->height ? i : 2 * p->height - 1 - i;
    j = j < p->width ? j : 2 * p->width - 1 - j;
    float value = p->x[(i * p->width + j) * p->channels];
    if (c->low != 0 || c->high != LEVELS - 1)
        value = (value - (float)c->low) / (float)(c->high - c->low) * (LEVELS - 1);
    return (int)(value > 0 ? value < LEVELS - 1 ? value : LEVELS - 1 : 0);
}

static void make_table(const struct plane *p, int64_t row, int64_t column, float *table)
{
    float cells = (float)(p->tile[0] * p->tile[1]), excess = 0, sum = 0;
    float limit = (float)(p->config->clip_limit * (double)(p->tile[0] * p->tile[1]) / LEVELS);
    memset(table, 0, LEVELS * sizeof *table);
    for (int64_t i = 0; i < p->tile[0]; i++)
        for (int64_t j = 0; j < p->tile[1]; j++)
            table[level(p, row * p->tile[0] + i, column * p->tile[1] + j)]++;
    for (int k = 0; p->config->clip_limit > 0 && k < LEVELS; k++) {
        excess += table[k] > limit ? table[k] - limit : 0;
        table[k] = table[k] > limit ? limit : table[k];
    }
    for (int k = 0; k < LEVELS; k++)
        table[k] = sum += table[k] + excess / LEVELS;
    float least = table[0], rest = cells - least;
    for (int k = 0; k < LEVELS; k++) {
        float value = (table[k] - least) * (LEVELS - 1) / (rest == 0 ? 1 : rest);
        table[k] = value < 0 ? 0 : value > LEVELS - 1 ? LEVELS - 1 : value;
    }
}

/* The tile before a place along one axis, the one after it, and how far it is towards the latter. */
struct neighbours {
    int64_t before, after;
    float share;
};

static struct neighbours neighbours(int64_t at, int64_t tile, int64_t count)
{
    float place = ((float)at - (float)tile / 2) / (float)tile;
    int64_t before = (int64_t)floorf(place), after = before + 1;
    return (struct neighbours){
        .before = before < 0 ? 0 : before, .after = after >= count ? count - 1 : after, .share = place - floorf(place)};
}

static void equalise(const struct plane *p, float *y)
{
    const struct clahe_config *c = p->config;
    for (int64_t i = 0; i < p->height; i++)
        for (int64_t j = 0; j < p->width; j++) {
            struct neighbours v = neighbours(i, p->tile[0], c->grid[0]), h = neighbours(j, p->tile[1], c->grid[1]);
            const float *table = p->tables + level(p, i, j);
            const int64_t row = c->grid[1] * LEVELS;
            float top = table[v.before * row + h.before * LEVELS] * (1 - h.share) +
                        table[v.before * row + h.after * LEVELS] * h.share;
            float bottom = table[v.after * row + h.before * LEVELS] * (1 - h.share) +
                           table[v.after * row + h.after * LEVELS] * h.share;
            float value = top * (1 - v.share) + bottom * v.share;
            if (c->low != 0 || c->high != LEVELS - 1)
                value = value / (LEVELS - 1) * (float)(c->high - c->low) + (float)c->low;
            y[(i * p->width + j) * p->channels] = value;
        }
}

static int clahe_reference(const struct layer_run *run)
{
    const struct clahe_config *c = run->config;
    struct channels_last cl;
    if (channels_last_begin(run, &cl) < 0)
        return -1;
    struct plane p = {
        .config = c, .height = cl.x->shape.dims[1], .width = cl.x->shape.dims[2], .channels = cl.channels};
    p.tile[0] = (p.height + c->grid[0] - 1) / c->grid[0];
    p.tile[1] = (p.width + c->grid[1] - 1) / c->grid[1];
    p.tables = calloc((size_t)(c->grid[0] * c->grid[1]), LEVELS * sizeof *p.tables);
    for (int64_t n = 0; p.tables && n < cl.batch * cl.channels; n++) {
        int64_t first = n / cl.channels * p.height * p.width * cl.channels + n % cl.channels;
        p.x = cl.x->data + first;
        for (int64_t t = 0; t < c->grid[0] * c->grid[1]; t++)
            make_table(&p, t / c->grid[1], t % c->grid[1], p.tables + t * LEVELS);
        equalise(&p, cl.y + first);
    }
    int status = p.tables ? 0 : h5pt_fail_memory(run->err);
    free(p.tables);
    return channels_last_end(&cl, status);
}

/* ---- torch ---- */

static int clahe_lower(struct lowering *l, const struct keras_call *call)
{
    const struct clahe_config *c = call->layer->config;
    struct lowered x = spatial_input(l, call, 2);
    if (x.id < 0)
        return -1;
    struct torch_attr attrs[] = {attr_list(l, "grid", 2, c->grid), attr_float("clip_limit", c->clip_limit),
                                 attr_float("low", c->low), attr_float("high", c->high)};
    x = lower_pointwise(l, call, lower_float(l, call, x), TORCH_CLAHE, NULL, 4, attrs);
    return lower_output(l, call, 0, x);
}

const struct layer_handler clahe_handler = {
    .config_size = sizeof(struct clahe_config),
    .read = clahe_read,
    .shape = clahe_shape,
    .reference = clahe_reference,
    .lower = clahe_lower,
};
