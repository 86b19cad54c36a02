/* SPDX-License-Identifier: Apache-2.0 */
/* F.interpolate by a scale factor or to a size, nearest, nearest-exact and bilinear (half-pixel centres,
 * align_corners=False). */
#include "torch/replay_internal.h"

#include <math.h>
#include <string.h>

/* The two cells of a dim that an output lies between, and the share of the second. */
struct between {
    int64_t lo, hi;
    float share;
};

/* torch rounds the step to float32 and so do we: it decides which cell is the nearest. `shift`: where in an output cell its
 * sample lies. */
static int64_t nearest(int64_t at, int64_t in, float step, float shift)
{
    int64_t cell = (int64_t)floorf(((float)at + shift) * step);
    return cell < in ? cell : in - 1;
}

static struct between linear(int64_t at, int64_t in, float step)
{
    float source = step * ((float)at + 0.5f) - 0.5f;
    if (source < 0)
        source = 0;
    int64_t lo = (int64_t)source;
    if (lo > in - 1)
        lo = in - 1;
    return (struct between){.lo = lo, .hi = lo < in - 1 ? lo + 1 : lo, .share = source - (float)lo};
}

/* Dims of the three spatial dims, 1 in front where there are fewer, and input cells per output cell. */
struct interpolation {
    int64_t in[3], out[3];
    float step[3], shift;
};

static void nearest_plane(const struct interpolation *p, const float *in, float *out)
{
    for (int64_t z = 0; z < p->out[0]; z++)
        for (int64_t y = 0; y < p->out[1]; y++) {
            int64_t plane = nearest(z, p->in[0], p->step[0], p->shift);
            const float *row = in + (plane * p->in[1] + nearest(y, p->in[1], p->step[1], p->shift)) * p->in[2];
            for (int64_t x = 0; x < p->out[2]; x++)
                *out++ = row[nearest(x, p->in[2], p->step[2], p->shift)];
        }
}

static void bilinear_plane(const struct interpolation *p, const float *in, float *out)
{
    for (int64_t y = 0; y < p->out[1]; y++) {
        struct between v = linear(y, p->in[1], p->step[1]);
        const float *lo = in + v.lo * p->in[2], *hi = in + v.hi * p->in[2];
        for (int64_t x = 0; x < p->out[2]; x++) {
            struct between h = linear(x, p->in[2], p->step[2]);
            float top = lo[h.lo] * (1 - h.share) + lo[h.hi] * h.share;
            float bottom = hi[h.lo] * (1 - h.share) + hi[h.hi] * h.share;
            *out++ = top * (1 - v.share) + bottom * v.share;
        }
    }
}

/* The sizes that `size`, `scale_factor` or another image ask for. */
static int output_sizes(const struct replay_call *call, int rank, struct interpolation *p, struct shape *shape,
                        struct h5pt_error *err)
{
    int64_t asked[3] = {1, 1, 1};
    bool like = call->node->op == TORCH_INTERPOLATE_LIKE, sized = like || torch_attr(call->node, "size");
    if (like && rank != 2)
        return replay_mismatch(call, err, "it takes images");
    if ((like ? replay_like_size(call, asked, err)
              : replay_ints(call, sized ? "size" : "scale_factor", rank, 1, 1, asked, err)) != 0)
        return -1;
    for (int i = 0; i < rank; i++) {
        int64_t in = shape->dims[2 + i], out = asked[i];
        if (!sized && __builtin_mul_overflow(in, asked[i], &out))
            return replay_mismatch(call, err, "the sizes are too large");
        if (sized && in < 1)
            return replay_mismatch(call, err, "there are no cells");
        p->in[3 - rank + i] = in;
        p->out[3 - rank + i] = shape->dims[2 + i] = out;
        p->step[3 - rank + i] = sized ? (float)in / (float)out : (float)(1.0 / (double)asked[i]);
    }
    return 0;
}

int replay_INTERPOLATE(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    const char *mode = torch_attr(call->node, "mode") ? torch_attr_text(call->node, "mode") : "nearest";
    int rank = x->shape.rank - 2;
    bool bilinear = mode && strcmp(mode, "bilinear") == 0, exact = mode && strcmp(mode, "nearest-exact") == 0;
    if (!mode || (!bilinear && !exact && strcmp(mode, "nearest") != 0))
        return replay_mismatch(call, err, "the mode '%.40s' is not supported", mode ? mode : "");
    if (rank < 1 || rank > 3 || (bilinear && rank != 2))
        return replay_mismatch(call, err, "the mode '%s' does not take %d dims", mode, rank + 2);
    struct interpolation p = {.in = {1, 1, 1}, .out = {1, 1, 1}, .step = {1, 1, 1}, .shift = exact ? 0.5f : 0};
    struct shape shape = x->shape;
    if (output_sizes(call, rank, &p, &shape, err) != 0)
        return -1;
    struct tensor *y = replay_new(&shape, x->dtype, err);
    if (!y)
        return -1;
    const float *in = x->data;
    int64_t in_size = p.in[0] * p.in[1] * p.in[2], out_size = p.out[0] * p.out[1] * p.out[2];
    for (float *out = y->data; out < y->data + y->count; out += out_size, in += in_size)
        (bilinear ? bilinear_plane : nearest_plane)(&p, in, out);
    *ret = y;
    return 0;
}

int replay_INTERPOLATE_LIKE(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    return replay_INTERPOLATE(call, ret, err);
}
