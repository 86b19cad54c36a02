/* SPDX-License-Identifier: Apache-2.0 */
/* The helper of model.py that reads images at transformed places. */
#include "torch/replay_internal.h"

#include <math.h>
#include <string.h>

enum mode { CONSTANT, NEAREST, WRAP, REFLECT };

struct grid {
    bool bilinear;
    enum mode mode;
    float fill;
    int64_t height, width;
};

/* A place along n cells brought inside. */
static float inside(const struct grid *g, float p, int64_t n)
{
    float size = (float)n, last = size - 1, span = 2 * size;
    bool outside = p < 0 || p > last;
    if (g->mode == CONSTANT)
        return p;
    if (outside && n == 1)
        p = 0;
    else if (outside && g->mode == WRAP)
        p = p < 0 ? p + size * (truncf(-p / last) + 1) : p - size * truncf(p / last);
    else if (outside && g->mode == REFLECT) {
        float q = p < 0 ? p + span * truncf(-p / span) : p - span * truncf(p / span);
        p = p < 0 ? (q < -size ? q + span : -q - 1) : q >= size ? span - q - 1 : q;
    }
    return fminf(fmaxf(p, 0.0f), last);
}

static float cell(const struct grid *g, const float *plane, float row, float column)
{
    bool there = row >= 0 && row <= (float)(g->height - 1) && column >= 0 && column <= (float)(g->width - 1);
    return there ? plane[(int64_t)row * g->width + (int64_t)column] : g->fill;
}

static float sample(const struct grid *g, const float *plane, float row, float column)
{
    if (!g->bilinear)
        return cell(g, plane, copysignf(floorf(fabsf(row) + 0.5f), row),
                    copysignf(floorf(fabsf(column) + 0.5f), column));
    float sum = 0, top = floorf(row), left = floorf(column);
    for (int i = 0; i < 4; i++) {
        float down = (float)(i / 2), right = (float)(i % 2);
        float weight = (1 - fabsf(row - top - down)) * (1 - fabsf(column - left - right));
        sum += weight * cell(g, plane, top + down, left + right);
    }
    return sum;
}

int replay_PROJECTIVE_TRANSFORM(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    static const char *const modes[] = {"constant", "nearest", "wrap", "reflect"};
    const struct tensor *x = call->inputs[0], *transform = call->inputs[1];
    const struct shape *s = &x->shape, *t = &transform->shape;
    const struct torch_attr *mode = torch_attr(call->node, "fill_mode");
    const struct torch_attr *way = torch_attr(call->node, "interpolation");
    if (s->rank != 4 || t->rank != 2 || t->dims[1] != 8 || (t->dims[0] != 1 && t->dims[0] != s->dims[0]))
        return replay_mismatch(call, err, "there must be images and a transform of 8 numbers");
    struct grid g = {.bilinear = !way || strcmp(way->text, "bilinear") == 0,
                     .fill = (float)replay_float(call, "fill_value", 0),
                     .height = s->dims[2],
                     .width = s->dims[3]};
    for (int i = 0; mode && i < 4; i++)
        if (strcmp(mode->text, modes[i]) == 0)
            g.mode = (enum mode)i;
    struct tensor *y = replay_new(s, x->dtype, err);
    if (!y)
        return -1;
    int64_t cells = g.height * g.width;
    for (int64_t i = 0; i < y->count; i++) {
        int64_t plane = i / cells, sample_index = t->dims[0] == 1 ? 0 : plane / s->dims[1];
        const float *m = transform->data + sample_index * 8;
        float row = (float)(i % cells / g.width), column = (float)(i % g.width);
        float scale = m[6] * column + m[7] * row + 1;
        float to_row = (m[3] * column + m[4] * row + m[5]) / scale;
        float to_column = (m[0] * column + m[1] * row + m[2]) / scale;
        y->data[i] = scale == 0 ? g.fill
                                : sample(&g, x->data + plane * cells, inside(&g, to_row, g.height),
                                         inside(&g, to_column, g.width));
    }
    *ret = y;
    return 0;
}
