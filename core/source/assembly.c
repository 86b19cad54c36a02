/* SPDX-License-Identifier: Apache-2.0 */
#include "source/assembly.h"

#include <stdlib.h>
#include <string.h>

bool source_assembly_shape(const struct source_assembly *assembly, struct shape *ret)
{
    struct shape whole = {.rank = -1};
    for (int i = 0; i < assembly->count; i++) {
        const struct source_piece *piece = &assembly->pieces[i];
        struct shape shape = {.rank = piece->view.rank};
        int64_t stored, viewed;
        if (piece->tensor->dtype != assembly->pieces[0].tensor->dtype || !shape_count(&piece->tensor->shape, &stored) ||
            !shape_count(&piece->view, &viewed) || stored != viewed)
            return false;
        for (int k = 0; k < shape.rank; k++)
            shape.dims[k] = piece->view.dims[piece->axes[k]];
        if (i == 0) {
            whole = shape;
            continue;
        }
        struct shape joined = whole;
        if (assembly->axis >= shape.rank || shape.rank != whole.rank)
            return false;
        joined.dims[assembly->axis] = shape.dims[assembly->axis];
        if (!shape_equal(&joined, &shape))
            return false;
        if (__builtin_add_overflow(whole.dims[assembly->axis], shape.dims[assembly->axis], &whole.dims[assembly->axis]))
            return false;
    }
    int64_t count;
    if (whole.rank < 0 || !shape_count(&whole, &count) || count > INT64_MAX / 8)
        return false;
    *ret = whole;
    return true;
}

/* Where the elements of a piece go. Strides are in bytes. */
struct placing {
    size_t element;
    int rank;
    int64_t dims[SHAPE_MAX_RANK], from[SHAPE_MAX_RANK], to[SHAPE_MAX_RANK];
};

static void place_row(const struct placing *p, int axis, const char *in, char *out)
{
    int64_t n = p->dims[axis], from = p->from[axis], to = p->to[axis];
    if (p->element == sizeof(float)) /* nearly always: a move of constant size */
        for (int64_t i = 0; i < n; i++)
            memcpy(out + i * to, in + i * from, sizeof(float));
    else
        for (int64_t i = 0; i < n; i++)
            memcpy(out + i * to, in + i * from, p->element);
}

/* As deep as the rank. */
static void place(const struct placing *p, int axis, const char *in, char *out)
{
    if (axis == p->rank - 1) {
        place_row(p, axis, in, out);
        return;
    }
    for (int64_t i = 0; i < p->dims[axis]; i++)
        place(p, axis + 1, in + i * p->from[axis], out + i * p->to[axis]);
}

static void strides_of(const struct shape *shape, size_t element, int64_t strides[SHAPE_MAX_RANK])
{
    int64_t stride = (int64_t)element;
    for (int i = shape->rank - 1; i >= 0; i--) {
        strides[i] = stride;
        stride *= shape->dims[i];
    }
}

/* Lays piece `index`, whose elements are in `data`, into the whole; `start` counts along the axis of joining. */
static void place_piece(const struct source_tensor *tensor, int index, int64_t start, size_t element, const char *data,
                        char *buffer)
{
    const struct source_assembly *a = tensor->assembly;
    const struct source_piece *piece = &a->pieces[index];
    int64_t from[SHAPE_MAX_RANK], to[SHAPE_MAX_RANK];
    struct placing p = {.element = element, .rank = piece->view.rank};
    strides_of(&piece->view, element, from);
    strides_of(&tensor->shape, element, to);
    for (int i = 0; i < p.rank; i++) {
        int64_t first = i == a->axis ? start : 0;
        bool back = a->reversed >> i & 1U;
        p.dims[i] = piece->view.dims[piece->axes[i]];
        p.from[i] = from[piece->axes[i]];
        p.to[i] = back ? -to[i] : to[i];
        buffer += (back ? tensor->shape.dims[i] - 1 - first : first) * to[i];
    }
    if (p.rank == 0)
        memcpy(buffer, data, element);
    else
        place(&p, 0, data, buffer);
}

int assembly_read(struct source *source, const struct source_tensor *tensor, size_t element,
                  int (*read)(struct source *, const struct source_tensor *, void *, struct h5pt_error *), void *buffer,
                  struct h5pt_error *err)
{
    const struct source_assembly *a = tensor->assembly;
    int64_t start = 0;
    for (int i = 0; i < a->count; i++) {
        const struct source_piece *piece = &a->pieces[i];
        int64_t count = 0;
        (void)shape_count(&piece->view, &count);
        if (count > 0) {
            char *data = malloc((size_t)count * element);
            if (!data)
                return h5pt_fail_memory(err);
            int status = read(source, piece->tensor, data, err);
            if (status == 0)
                place_piece(tensor, i, start, element, data, buffer);
            free(data);
            if (status < 0)
                return -1;
        }
        if (piece->view.rank > 0)
            start += piece->view.dims[piece->axes[a->axis]];
    }
    return 0;
}
