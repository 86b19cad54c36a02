/* SPDX-License-Identifier: Apache-2.0 */
/* Looking numbers up in a list; patches and colours of images. */
#include "torch/replay_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int replay_ISIN(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0], *list = call->inputs[1];
    bool invert = replay_bool(call, "invert", false);
    struct tensor *y = replay_new(&x->shape, DTYPE_BOOL, err);
    if (!y)
        return -1;
    for (int64_t i = 0; i < y->count; i++) {
        bool found = false;
        for (int64_t k = 0; k < list->count && !found; k++)
            found = list->data[k] == x->data[i];
        y->data[i] = found != invert ? 1.0f : 0.0f;
    }
    *ret = y;
    return 0;
}

int replay_BUCKETIZE(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0], *list = call->inputs[1];
    bool right = replay_bool(call, "right", false);
    if (list->shape.rank != 1)
        return replay_mismatch(call, err, "the boundaries are no list");
    struct tensor *y = replay_new(&x->shape, DTYPE_I64, err);
    if (!y)
        return -1;
    for (int64_t i = 0; i < y->count; i++) {
        int64_t low = 0, high = list->count; /* the first boundary that is larger (or, left: not smaller) */
        while (low < high) {
            int64_t middle = low + (high - low) / 2;
            bool behind = right ? !(list->data[middle] > x->data[i]) : !(list->data[middle] >= x->data[i]);
            low = behind ? middle + 1 : low;
            high = behind ? high : middle;
        }
        y->data[i] = (float)low;
    }
    *ret = y;
    return 0;
}

int replay_UNFOLD(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    struct replay_window window;
    if (x->shape.rank != 4 || replay_window_init(&window, call, 2, false, err) != 0)
        return x->shape.rank != 4 ? replay_mismatch(call, err, "it takes images") : -1;
    struct shape shape = {.rank = 3, .dims = {window.batch, window.channels * window.kernel_size, window.out_size}};
    struct tensor *y = replay_new(&shape, x->dtype, err);
    if (!y)
        return -1;
    int64_t planes = window.channels * window.in_size, columns = shape.dims[1] * shape.dims[2];
    for (int64_t n = 0; n < window.batch; n++)
        replay_columns(&window, window.channels, x->data + n * planes, 0, window.out_size, y->data + n * columns);
    *ret = y;
    return 0;
}

static void hsv(float r, float g, float b, float ret[3])
{
    float value = fmaxf(r, fmaxf(g, b)), spread = value - fminf(r, fminf(g, b)), safe = spread <= 0 ? 1.0f : spread;
    float hue = (r == value ? (g - b) / safe : g == value ? (b - r) / safe + 2.0f : (r - g) / safe + 4.0f) / 6.0f;
    ret[0] = spread <= 0 ? 0.0f : hue < 0 ? hue + 1.0f : hue;
    ret[1] = value > 0 ? spread / value : 0.0f;
    ret[2] = value;
}

static void rgb(const float hsv_of[3], float ret[3])
{
    float h = 6.0f * hsv_of[0], s = hsv_of[1];
    const float colours[3] = {fabsf(h - 3.0f) - 1.0f, 2.0f - fabsf(h - 2.0f), 2.0f - fabsf(h - 4.0f)};
    for (int i = 0; i < 3; i++)
        ret[i] = (1.0f - s + s * fminf(fmaxf(colours[i], 0.0f), 1.0f)) * hsv_of[2];
}

static int colours_of(const struct replay_call *call, bool to_rgb, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    int dim = 0;
    int64_t inner = 1;
    if (replay_dim(call, replay_int(call, "dim", 1), x->shape.rank, &dim, err) != 0)
        return -1;
    if (x->shape.dims[dim] != 3)
        return replay_mismatch(call, err, "there are not 3 channels");
    for (int i = dim + 1; i < x->shape.rank; i++)
        inner *= x->shape.dims[i];
    struct tensor *y = replay_new(&x->shape, x->dtype, err);
    if (!y)
        return -1;
    for (int64_t i = 0; i < x->count / 3; i++) {
        int64_t at = i / inner * 3 * inner + i % inner;
        float in[3] = {x->data[at], x->data[at + inner], x->data[at + 2 * inner]}, out[3];
        if (to_rgb)
            rgb(in, out);
        else
            hsv(in[0], in[1], in[2], out);
        for (int k = 0; k < 3; k++)
            y->data[at + k * inner] = out[k];
    }
    *ret = y;
    return 0;
}

int replay_RGB_TO_HSV(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return colours_of(call, false, ret, err);
}

int replay_HSV_TO_RGB(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return colours_of(call, true, ret, err);
}
