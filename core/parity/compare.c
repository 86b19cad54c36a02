/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "parity/internal.h"

void parity_worsen(struct parity_error *into, const struct parity_error *other)
{
    into->ok = into->ok && other->ok;
    into->max_abs = fmax(into->max_abs, other->max_abs);
    into->max_rel = fmax(into->max_rel, other->max_rel);
}

/* The torch tensor in Keras order (owned by the caller), or NULL without memory. */
static struct tensor *to_keras(const struct tensor *torch, const struct layout *layout)
{
    int axes[SHAPE_MAX_RANK] = {0};
    if (!layout->flat_rank) {
        for (int i = 0; i < layout->rank; i++)
            axes[layout->axes[i]] = i;
        return tensor_transpose(torch, axes);
    }
    struct tensor map = *torch;
    map.shape.rank = layout->flat_rank + 1;
    for (int i = 0; i < layout->flat_rank; i++) {
        map.shape.dims[i + 1] = layout->flat_dims[layout->flat_axes[i]];
        axes[layout->flat_axes[i] + 1] = i + 1;
    }
    struct tensor *t = tensor_transpose(&map, axes);
    if (t)
        t->shape = torch->shape;
    return t;
}

struct tensor *parity_to_torch(const struct tensor *keras, const struct layout *layout)
{
    if (!layout->flat_rank)
        return tensor_transpose(keras, layout->axes);
    int axes[SHAPE_MAX_RANK] = {0};
    struct tensor map = *keras;
    map.shape.rank = layout->flat_rank + 1;
    for (int i = 0; i < layout->flat_rank; i++) {
        map.shape.dims[i + 1] = layout->flat_dims[i];
        axes[i + 1] = layout->flat_axes[i] + 1;
    }
    struct tensor *t = tensor_transpose(&map, axes);
    if (t)
        t->shape = keras->shape;
    return t;
}

static struct parity_error compare_values(const float *keras, const float *torch, int64_t count, double tolerance)
{
    double worst = 0, magnitude = 0;
    bool same_places = true;
    for (int64_t i = 0; i < count; i++) {
        double a = (double)keras[i], b = (double)torch[i];
        if (isfinite(a) && isfinite(b)) {
            worst = fmax(worst, fabs(a - b));
            magnitude = fmax(magnitude, fabs(a));
        } else if (!(isnan(a) && isnan(b)) && a != b) {
            same_places = false;
        }
    }
    struct parity_error e = {.max_abs = worst, .max_rel = worst / (magnitude + PARITY_FLOOR)};
    if (!same_places)
        e.max_abs = e.max_rel = (double)INFINITY;
    e.ok = e.max_rel <= tolerance;
    return e;
}

int parity_compare(const struct tensor *keras, const struct tensor *torch, const struct layout *layout,
                   double tolerance, struct parity_error *ret, struct h5pt_error *err)
{
    bool fits = torch->shape.rank == layout->rank && torch->count == keras->count;
    struct tensor *t = fits ? to_keras(torch, layout) : NULL;
    if (fits && !t)
        return h5pt_fail_memory(err);
    if (!fits || !shape_equal(&t->shape, &keras->shape))
        *ret = (struct parity_error){.max_abs = (double)INFINITY, .max_rel = (double)INFINITY, .ok = false};
    else
        *ret = compare_values(keras->data, t->data, keras->count, tolerance);
    tensor_free(t);
    return 0;
}
