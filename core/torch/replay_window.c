/* SPDX-License-Identifier: Apache-2.0 */
/* The geometry that convolutions and pooling share. */
#include "torch/replay_internal.h"

#include <inttypes.h>
#include <string.h>

/* Smallest i >= 0 with i * step >= n. */
static int64_t steps_to(int64_t n, int64_t step)
{
    return n <= 0 ? 0 : (n + step - 1) / step;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void replay_pad_same(int64_t in, int64_t kernel, int64_t stride, int64_t dilation, int64_t *before, int64_t *after)
{
    int64_t out = steps_to(in, stride);
    int64_t total = (out - 1) * stride + (kernel - 1) * dilation + 1 - in;
    if (total < 0)
        total = 0;
    *before = total / 2;
    *after = total - *before;
}

/* What the node says, and the channels of input 0; `outer` gets its spatial dims. */
static int read_window(struct replay_window *w, const struct replay_call *call, int rank, int64_t outer[3],
                       struct h5pt_error *err)
{
    const struct shape *x = &call->inputs[0]->shape;
    int lead = 3 - rank;
    if (x->rank != rank + 2)
        return replay_mismatch(call, err, "the input needs %d dims", rank + 2);
    *w = (struct replay_window){.rank = rank, .batch = x->dims[0], .channels = x->dims[1]};
    for (int i = 0; i < 3; i++) {
        w->in[i] = w->out[i] = w->kernel[i] = w->stride[i] = w->dilation[i] = 1;
        outer[i] = i < lead ? 1 : x->dims[2 + i - lead];
        if (outer[i] > INT32_MAX)
            return replay_mismatch(call, err, "the input is too large");
    }
    if (replay_ints(call, "kernel_size", rank, 1, 1, w->kernel + lead, err) != 0 ||
        replay_ints(call, "stride", rank, 1, 1, w->stride + lead, err) != 0 ||
        replay_ints(call, "padding", rank, 0, 0, w->before + lead, err) != 0 ||
        replay_ints(call, "dilation", rank, 1, 1, w->dilation + lead, err) != 0)
        return -1;
    return 0;
}

static int set_products(struct replay_window *w, const struct replay_call *call, struct h5pt_error *err)
{
    struct shape in = shape_of(3, w->in), out = shape_of(3, w->out), kernel = shape_of(3, w->kernel);
    if (!shape_count(&in, &w->in_size) || !shape_count(&out, &w->out_size) || !shape_count(&kernel, &w->kernel_size))
        return replay_mismatch(call, err, "the sizes are too large");
    return 0;
}

static int set_out(struct replay_window *w, const struct replay_call *call, int i, bool pooling, struct h5pt_error *err)
{
    int64_t reach = (w->kernel[i] - 1) * w->dilation[i] + 1;
    int64_t padded = w->in[i] + 2 * w->before[i];
    if (padded < reach)
        return replay_mismatch(call, err, "the kernel reaches over %" PRId64 " cells, the padded input has %" PRId64,
                               reach, padded);
    if (pooling && w->before[i] > w->kernel[i] / 2)
        return replay_mismatch(call, err, "padding %" PRId64 " is more than half of the kernel %" PRId64, w->before[i],
                               w->kernel[i]);
    w->out[i] = (padded - reach) / w->stride[i] + 1;
    return 0;
}

int replay_window_init(struct replay_window *w, const struct replay_call *call, int rank, bool pooling,
                       struct h5pt_error *err)
{
    int64_t in[3] = {0};
    if (read_window(w, call, rank, in, err) != 0)
        return -1;
    for (int i = 3 - rank; i < 3; i++) {
        w->in[i] = in[i];
        if (pooling && !torch_attr(call->node, "stride"))
            w->stride[i] = w->kernel[i];
        if (set_out(w, call, i, pooling, err) != 0)
            return -1;
    }
    return set_products(w, call, err);
}

int replay_window_init_same(struct replay_window *w, const struct replay_call *call, int rank, struct h5pt_error *err)
{
    int64_t in[3] = {0}, after;
    if (read_window(w, call, rank, in, err) != 0)
        return -1;
    for (int i = 3 - rank; i < 3; i++) {
        w->in[i] = in[i];
        w->out[i] = steps_to(in[i], w->stride[i]);
        replay_pad_same(in[i], w->kernel[i], w->stride[i], w->dilation[i], &w->before[i], &after);
    }
    return set_products(w, call, err);
}

int replay_window_init_transposed(struct replay_window *w, const struct replay_call *call, int rank,
                                  struct h5pt_error *err)
{
    int64_t out[3] = {0}, extra[3] = {0};
    if (read_window(w, call, rank, out, err) != 0 ||
        replay_ints(call, "output_padding", rank, 0, 0, extra + 3 - rank, err) != 0)
        return -1;
    for (int i = 3 - rank; i < 3; i++) {
        w->out[i] = out[i];
        w->in[i] = (out[i] - 1) * w->stride[i] - 2 * w->before[i] + w->dilation[i] * (w->kernel[i] - 1) + extra[i] + 1;
        if (w->in[i] < 1)
            return replay_mismatch(call, err, "the output would have a dim of %" PRId64, w->in[i]);
        if (extra[i] >= w->stride[i] && extra[i] >= w->dilation[i])
            return replay_mismatch(call, err, "output_padding must be smaller than stride or dilation");
    }
    return set_products(w, call, err);
}

struct shape replay_window_shape(const struct replay_window *w, int64_t channels, const int64_t dims[3])
{
    struct shape shape = {.rank = w->rank + 2, .dims = {w->batch, channels}};
    for (int i = 0; i < w->rank; i++)
        shape.dims[2 + i] = dims[3 - w->rank + i];
    return shape;
}

/* The cells lo..hi of the kernel that lie inside the input when the window is at output `at`. */
static void cells_inside(const struct replay_window *w, int i, int64_t at, int64_t *lo, int64_t *hi)
{
    int64_t start = at * w->stride[i] - w->before[i];
    *lo = steps_to(-start, w->dilation[i]);
    *hi = smaller(steps_to(w->in[i] - start, w->dilation[i]), w->kernel[i]);
}

/* The outputs lo..hi along the last dim that see a cell of the input through kernel cell `tap`. */
static void outputs_inside(const struct replay_window *w, int64_t tap, int64_t *lo, int64_t *hi)
{
    int64_t offset = tap * w->dilation[2] - w->before[2];
    *lo = smaller(steps_to(-offset, w->stride[2]), w->out[2]);
    *hi = smaller(steps_to(w->in[2] - offset, w->stride[2]), w->out[2]);
}

static void run_row(const struct replay_window *w, const float *in, float *out, int64_t tap, replay_run *run,
                    const void *context)
{
    for (int64_t kx = 0; kx < w->kernel[2]; kx++) {
        int64_t lo, hi;
        outputs_inside(w, kx, &lo, &hi);
        if (lo < hi)
            run(out + lo, in + (lo * w->stride[2] + kx * w->dilation[2] - w->before[2]), hi - lo, w->stride[2],
                tap + kx, context);
    }
}

void replay_window_run(const struct replay_window *w, const float *plane, float *out, replay_run *run,
                       const void *context)
{
    for (int64_t z = 0; z < w->out[0]; z++) {
        int64_t z_lo, z_hi;
        cells_inside(w, 0, z, &z_lo, &z_hi);
        for (int64_t y = 0; y < w->out[1]; y++, out += w->out[2]) {
            int64_t y_lo, y_hi;
            cells_inside(w, 1, y, &y_lo, &y_hi);
            for (int64_t kz = z_lo; kz < z_hi; kz++) {
                int64_t in_z = z * w->stride[0] - w->before[0] + kz * w->dilation[0];
                for (int64_t ky = y_lo; ky < y_hi; ky++) {
                    int64_t in_y = y * w->stride[1] - w->before[1] + ky * w->dilation[1];
                    run_row(w, plane + (in_z * w->in[1] + in_y) * w->in[2], out,
                            (kz * w->kernel[1] + ky) * w->kernel[2], run, context);
                }
            }
        }
    }
}

/* Walks along output positions as one kernel cell sees them, a stretch within a row at a time. */
struct stretches {
    const struct replay_window *window;
    int64_t offset[3]; /* of the cell: input = output * stride + offset */
    int64_t lo, hi;    /* outputs along the last dim that see the input */
    int64_t z, y, x;   /* the next output */
    int64_t left;      /* outputs still to come */
    int64_t length; /* of this stretch: `lead` outputs outside the input, `inside` from `cell` on, the rest outside */
    int64_t lead, inside, cell;
};

static void stretches_init(struct stretches *s, const struct replay_window *w, int64_t tap, int64_t first,
                           int64_t count)
{
    int64_t cell[3] = {tap / (w->kernel[1] * w->kernel[2]), tap / w->kernel[2] % w->kernel[1], tap % w->kernel[2]};
    *s = (struct stretches){.window = w, .left = count};
    for (int i = 0; i < 3; i++)
        s->offset[i] = cell[i] * w->dilation[i] - w->before[i];
    outputs_inside(w, cell[2], &s->lo, &s->hi);
    s->x = first % w->out[2];
    s->y = first / w->out[2] % w->out[1];
    s->z = first / w->out[2] / w->out[1];
}

static bool stretches_next(struct stretches *s)
{
    const struct replay_window *w = s->window;
    if (s->left == 0)
        return false;
    s->length = smaller(w->out[2] - s->x, s->left);
    int64_t end = s->x + s->length;
    int64_t lo = s->lo < s->x ? s->x : smaller(s->lo, end), hi = smaller(s->hi, end);
    int64_t z = s->z * w->stride[0] + s->offset[0], y = s->y * w->stride[1] + s->offset[1];
    bool inside = z >= 0 && z < w->in[0] && y >= 0 && y < w->in[1] && lo < hi;
    s->lead = inside ? lo - s->x : s->length;
    s->inside = inside ? hi - lo : 0;
    s->cell = inside ? (z * w->in[1] + y) * w->in[2] + lo * w->stride[2] + s->offset[2] : 0;
    s->left -= s->length;
    s->x = 0;
    if (++s->y == w->out[1]) {
        s->y = 0;
        s->z++;
    }
    return true;
}

static void copy_strided(float *out, const float *in, int64_t count, int64_t stride)
{
    if (stride == 1)
        memcpy(out, in, (size_t)count * sizeof *out);
    else
        for (int64_t i = 0; i < count; i++)
            out[i] = in[i * stride];
}

static void clear(float *out, int64_t count)
{
    memset(out, 0, (size_t)count * sizeof *out);
}

void replay_columns(const struct replay_window *w, int64_t channels, const float *planes, int64_t first, int64_t count,
                    float *columns)
{
    struct stretches s;
    for (int64_t c = 0; c < channels; c++, planes += w->in_size)
        for (int64_t tap = 0; tap < w->kernel_size; tap++)
            for (stretches_init(&s, w, tap, first, count); stretches_next(&s); columns += s.length) {
                clear(columns, s.lead);
                copy_strided(columns + s.lead, planes + s.cell, s.inside, w->stride[2]);
                clear(columns + s.lead + s.inside, s.length - s.lead - s.inside);
            }
}

void replay_columns_add(const struct replay_window *w, int64_t channels, const float *columns, int64_t first,
                        int64_t count, float *planes)
{
    struct stretches s;
    for (int64_t c = 0; c < channels; c++, planes += w->in_size)
        for (int64_t tap = 0; tap < w->kernel_size; tap++)
            for (stretches_init(&s, w, tap, first, count); stretches_next(&s); columns += s.length)
                for (int64_t i = 0; i < s.inside; i++)
                    planes[s.cell + i * w->stride[2]] += columns[s.lead + i];
}
