/* SPDX-License-Identifier: Apache-2.0 */
#include "parity/vectors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parity/internal.h"
#include "source/npz.h"

/* The index of an array, or the count when there is none. */
static size_t find(const struct npz *npz, const char *kind, int index)
{
    char name[32];
    size_t i = 0;
    (void)snprintf(name, sizeof name, "%s%d", kind, index);
    while (i < npz_count(npz) && strcmp(npz_name(npz, i), name) != 0)
        i++;
    return i;
}

/* Whether an array of this name was asked for: "in" or "out" and a number below the count. */
static bool wanted(const char *name, const struct keras_model *model)
{
    static const char *const kinds[] = {"in", "out"};
    const int counts[] = {model->input_count, model->output_count};
    for (size_t k = 0; k < 2; k++)
        for (int i = 0; i < counts[k]; i++) {
            char own[32];
            (void)snprintf(own, sizeof own, "%s%d", kinds[k], i);
            if (strcmp(own, name) == 0)
                return true;
        }
    return false;
}

static int list_ignored(const struct npz *npz, const struct keras_model *model, struct parity_vectors *v,
                        struct h5pt_error *err)
{
    v->ignored = ARENA_ARRAY(model->arena, const char *, npz_count(npz) + 1);
    for (size_t i = 0; v->ignored && i < npz_count(npz); i++) {
        if (wanted(npz_name(npz, i), model))
            continue;
        const char *name = arena_strdup(model->arena, npz_name(npz, i));
        if (!name)
            return h5pt_fail_memory(err);
        v->ignored[v->ignored_count++] = name;
    }
    return v->ignored ? 0 : h5pt_fail_memory(err);
}

static int read_all(const struct npz *npz, const char *kind, int count, const char *const *names, struct tensor ***ret,
                    struct h5pt_error *err)
{
    *ret = calloc((size_t)count + 1, sizeof **ret);
    if (!*ret)
        return h5pt_fail_memory(err);
    for (int i = 0; i < count; i++) {
        size_t at = find(npz, kind, i);
        if (at == npz_count(npz))
            return h5pt_fail(err, H5PT_REFERENCE_INVALID, names[i],
                             "The reference has no array \"%s%d\": the model has %d %sput%s; numpy.savez(file, in0=…, "
                             "out0=…) writes "
                             "them in the model's order",
                             kind, i, count, kind, count == 1 ? "" : "s");
        if (npz_read(npz, at, &(*ret)[i], err) < 0)
            return -1;
    }
    return 0;
}

/* ---- do they fit? ---- */

static bool fits(const struct shape *wanted_shape, const struct shape *actual)
{
    bool same = wanted_shape->rank == actual->rank;
    for (int i = 0; same && i < actual->rank; i++)
        same = wanted_shape->dims[i] < 0 || wanted_shape->dims[i] == actual->dims[i];
    return same;
}

static int misfit(const char *kind, int index, const char *name, const struct shape *wanted_shape,
                  const struct shape *actual, struct h5pt_error *err)
{
    char want[SHAPE_TEXT_SIZE], have[SHAPE_TEXT_SIZE];
    return h5pt_fail(err, H5PT_REFERENCE_INVALID, name,
                     "The array \"%s%d\" of the reference has the shape %s, the %sput of the model %s", kind, index,
                     shape_text(actual, have), kind, shape_text(wanted_shape, want));
}

/* Keras casts its inputs: to integers by cutting off, to booleans by comparing with 0. */
static void cast_input(struct tensor *t, enum dtype dtype)
{
    t->dtype = dtype;
    for (int64_t i = 0; i < t->count && !dtype_is_float(dtype); i++)
        t->data[i] = dtype == DTYPE_BOOL ? (float)(t->data[i] != 0) : truncf(t->data[i]);
}

static int check_outputs(const struct parity_vectors *v, const struct keras_model *model, const struct shape *shapes,
                         struct h5pt_error *err)
{
    for (int i = 0; i < v->output_count; i++) {
        const struct shape *shape = &shapes[model->outputs[i]->id];
        if (!fits(shape, &v->outputs[i]->shape))
            return misfit("out", i, model->output_names[i], shape, &v->outputs[i]->shape, err);
    }
    return 0;
}

static int check(const struct parity_vectors *v, const struct keras_model *model, struct h5pt_error *err)
{
    struct shape *inputs = ARENA_ARRAY(model->arena, struct shape, (size_t)v->input_count + 1);
    struct shape *shapes = ARENA_ARRAY(model->arena, struct shape, (size_t)model->value_count + 1);
    struct h5pt_error why = H5PT_ERROR_INIT;
    if (!inputs || !shapes)
        return h5pt_fail_memory(err);
    for (int i = 0; i < v->input_count; i++) {
        if (!fits(&model->inputs[i]->shape, &v->inputs[i]->shape))
            return misfit("in", i, model->input_names[i], &model->inputs[i]->shape, &v->inputs[i]->shape, err);
        inputs[i] = v->inputs[i]->shape;
        cast_input(v->inputs[i], model->inputs[i]->dtype);
    }
    if (parity_infer(model, inputs, shapes, &why) < 0)
        return h5pt_fail(err, H5PT_REFERENCE_INVALID, why.where,
                         "The model does not run on the inputs of the reference: %s", why.message);
    return check_outputs(v, model, shapes, err);
}

int parity_vectors_read(int fd, const struct source_limits *limits, const struct keras_model *model,
                        struct parity_vectors *ret, struct h5pt_error *err)
{
    struct npz *npz = NULL;
    struct parity_vectors v = {.input_count = model->input_count, .output_count = model->output_count};
    int status = npz_open(fd, limits, &npz, err);
    if (status == 0)
        status = list_ignored(npz, model, &v, err);
    if (status == 0)
        status = read_all(npz, "in", v.input_count, model->input_names, &v.inputs, err);
    if (status == 0)
        status = read_all(npz, "out", v.output_count, model->output_names, &v.outputs, err);
    if (status == 0)
        status = check(&v, model, err);
    npz_close(npz);
    if (status == 0)
        *ret = v;
    else
        parity_vectors_release(&v);
    return status;
}

static void release_tensors(struct tensor **tensors, int count)
{
    for (int i = 0; tensors && i < count; i++)
        tensor_free(tensors[i]);
    free(tensors);
}

void parity_vectors_release(struct parity_vectors *vectors)
{
    release_tensors(vectors->inputs, vectors->input_count);
    release_tensors(vectors->outputs, vectors->output_count);
    *vectors = (struct parity_vectors){.input_count = 0};
}
