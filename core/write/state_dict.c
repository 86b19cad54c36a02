/* SPDX-License-Identifier: Apache-2.0 */
#include "write/state_dict.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/half.h"
#include "base/size.h"
#include "write/archive.h"
#include "write/pickle.h"
#include "write/rearrange.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "storages are written in the byte order of the machine");

enum {
    KEY_SIZE = 24, /* the text of a storage key */
    HUGE_PAGE = 2 << 20,
};

/* What the records of a state_dict share while they are written: one tensor is held at a time. */
struct writer {
    struct source *source;
    unsigned char *buffer;                 /* owned; holds the largest tensor */
    const struct torch_parameter *current; /* in the buffer, NULL: none */
    struct rearrange_stream stream;
};

/* The context of one record. */
struct record {
    struct writer *writer;
    const struct torch_parameter *parameter;
};

/* Bytes of a parameter as it is written. */
static uint64_t parameter_bytes(const struct torch_parameter *parameter)
{
    int64_t count = 0;
    (void)shape_count(&parameter->shape, &count);
    return (uint64_t)count * dtype_size(parameter->dtype);
}

/* Bytes that the writer holds for it: all elements of its source, as floats when they are converted. */
static uint64_t held_bytes(const struct torch_parameter *parameter)
{
    int64_t count = 0;
    bool converted = parameter->source && parameter->source->dtype != parameter->dtype;
    (void)shape_count(parameter->source ? &parameter->source->shape : &parameter->shape, &count);
    return (uint64_t)count * (converted ? sizeof(float) : dtype_size(parameter->dtype));
}

static bool constant_dtype(enum dtype dtype)
{
    return dtype_is_float(dtype) || dtype == DTYPE_I64 || dtype == DTYPE_I32 || dtype == DTYPE_BOOL;
}

static bool axes_valid(const struct rearrangement *r)
{
    unsigned seen = 0;
    for (int i = 0; i < r->view.rank; i++) {
        if (r->axes[i] < 0 || r->axes[i] >= r->view.rank || seen >> r->axes[i] & 1U)
            return false;
        seen |= 1U << r->axes[i];
    }
    return true;
}

static bool order_valid(const struct rearrangement *r)
{
    if (r->order_count == 0)
        return true;
    int64_t first = r->view.rank > 0 ? r->view.dims[r->axes[0]] : 0;
    if (r->order_count < 0 || r->order_count > (int)(sizeof r->order / sizeof *r->order) || first != r->order_count)
        return false;
    for (int i = 0; i < r->order_count; i++)
        if (r->order[i] < 0 || r->order[i] >= r->order_count)
            return false;
    return true;
}

/* Whether sizes are known, agree, and cannot overflow, here or as strides (which count a dim of 0 as 1). */
static int check_parameter(const struct torch_parameter *p, struct h5pt_error *err)
{
    int64_t count, view, out, source;
    struct shape strides = p->shape;
    for (int i = 0; i < strides.rank; i++)
        if (strides.dims[i] == 0)
            strides.dims[i] = 1;
    if (!dtype_torch_storage(p->dtype))
        return h5pt_fail(err, H5PT_UNSUPPORTED_DTYPE, p->name, "PyTorch has no storage for %s", dtype_name(p->dtype));
    if (!shape_count(&strides, &count) || count > INT64_MAX / 8 || !shape_count(&p->shape, &count))
        return h5pt_fail(err, H5PT_INTERNAL, p->name, "The size of the parameter is not known");
    if (!p->source) {
        if (!constant_dtype(p->dtype))
            return h5pt_fail(err, H5PT_INTERNAL, p->name, "A constant cannot be written as %s", dtype_name(p->dtype));
        return 0;
    }
    const struct rearrangement *r = &p->rearrangement;
    if (!axes_valid(r) || !shape_count(&r->view, &view) || !shape_count(&r->shape, &out) ||
        !shape_count(&p->source->shape, &source) || view != count || out != count || !order_valid(r) ||
        (r->part ? r->offset < 0 || view > source - r->offset : r->offset != 0 || source != count))
        return h5pt_fail(err, H5PT_INTERNAL, p->name, "The rearrangement does not fit the tensor %s",
                         p->source->object);
    bool narrowed = p->dtype == DTYPE_F16 || p->dtype == DTYPE_BF16;
    if (p->dtype != p->source->dtype && p->dtype != DTYPE_F32 && !narrowed)
        return h5pt_fail(err, H5PT_INTERNAL, p->name, "%s cannot be written as %s", dtype_name(p->source->dtype),
                         dtype_name(p->dtype));
    return 0;
}

static void fill_constant(const struct torch_parameter *p, void *buffer)
{
    size_t count = (size_t)(parameter_bytes(p) / dtype_size(p->dtype));
    for (size_t i = 0; i < count; i++) {
        float value = p->constant[i];
        switch (p->dtype) {
        case DTYPE_F32: ((float *)buffer)[i] = value; break;
        case DTYPE_F16: ((uint16_t *)buffer)[i] = half_of(value); break;
        case DTYPE_BF16: ((uint16_t *)buffer)[i] = brain_half_of(value); break;
        case DTYPE_F64: ((double *)buffer)[i] = (double)value; break;
        case DTYPE_I64: ((int64_t *)buffer)[i] = (int64_t)value; break;
        case DTYPE_I32: ((int32_t *)buffer)[i] = (int32_t)value; break;
        default: ((unsigned char *)buffer)[i] = value != 0; break;
        }
    }
}

/* Adds the low-rank update to the tensor in the buffer. The rank is small: this runs at the speed of memory. */
static int add_low_rank(struct writer *writer, const struct torch_parameter *p, struct h5pt_error *err)
{
    const struct torch_low_rank *u = &p->low_rank;
    int64_t columns = u->b->shape.dims[1], rows = 0;
    float *data = (float *)(void *)writer->buffer, *a = NULL, *b = NULL;
    int status = -1;
    (void)shape_count(&u->a->shape, &rows);
    rows /= u->rank;
    a = calloc((size_t)(rows * u->rank) + 1, sizeof *a);
    b = calloc((size_t)(u->rank * columns) + 1, sizeof *b);
    if (!a || !b) {
        (void)h5pt_fail_memory(err);
        goto out;
    }
    if (source_read_float(writer->source, u->a, a, err) < 0 || source_read_float(writer->source, u->b, b, err) < 0)
        goto out;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < u->rank; k++) {
            float factor = (float)(u->scale * (double)a[i * u->rank + k]);
            for (int64_t j = 0; j < columns; j++)
                data[i * columns + j] += factor * b[k * columns + j];
        }
    status = 0;
out:
    free(a);
    free(b);
    return status;
}

/* The floats in the buffer become 16-bit ones, in place. */
static void narrow(const struct torch_parameter *p, void *buffer)
{
    int64_t count = 0;
    const float *from = buffer;
    uint16_t *to = buffer;
    (void)shape_count(&p->source->shape, &count);
    for (int64_t i = 0; i < count; i++) {
        float value;
        memcpy(&value, from + i, sizeof value); /* `to` is behind `from`: what is read was not overwritten */
        to[i] = p->dtype == DTYPE_F16 ? half_of(value) : brain_half_of(value);
    }
}

/* Brings a parameter into the buffer and begins its rearrangement. */
static int load(struct writer *writer, const struct torch_parameter *p, struct h5pt_error *err)
{
    struct rearrangement r = p->rearrangement;
    if (!p->source) {
        fill_constant(p, writer->buffer);
        int64_t count = 0;
        (void)shape_count(&p->shape, &count);
        r = (struct rearrangement){.view = {.rank = 1, .dims = {count}}};
    } else if (p->dtype == p->source->dtype) {
        if (source_read(writer->source, p->source, writer->buffer, err) < 0)
            return -1;
    } else if (source_read_float(writer->source, p->source, (float *)(void *)writer->buffer, err) < 0) {
        return -1;
    }
    if (p->low_rank.a && add_low_rank(writer, p, err) < 0)
        return -1;
    if (p->source && dtype_size(p->dtype) == 2 && p->dtype != p->source->dtype)
        narrow(p, writer->buffer);
    rearrange_init(&writer->stream, &r, writer->buffer, dtype_size(p->dtype));
    writer->current = p;
    return 0;
}

static int read_parameter(void *context, void *buffer, size_t capacity, size_t *ret_size, struct h5pt_error *err)
{
    struct record *record = context;
    struct writer *writer = record->writer;
    if (writer->current != record->parameter && load(writer, record->parameter, err) < 0)
        return -1;
    *ret_size = rearrange_next(&writer->stream, buffer, capacity);
    return 0;
}

/* One buffer for all tensors: its pages are made once. On huge pages, since a transpose jumps about in it. */
static unsigned char *buffer_new(uint64_t bytes)
{
    uint64_t rounded;
    if (!size_add(bytes, HUGE_PAGE, &rounded))
        return NULL;
    rounded = rounded / HUGE_PAGE * HUGE_PAGE;
    unsigned char *buffer = aligned_alloc(HUGE_PAGE, (size_t)rounded);
    if (buffer)
        (void)madvise(buffer, (size_t)rounded, MADV_HUGEPAGE);
    return buffer;
}

static void storage_key(char key[KEY_SIZE], int parameter)
{
    (void)snprintf(key, KEY_SIZE, "%d", parameter);
}

static int add_pickle(struct archive *archive, const struct torch_graph *graph, struct h5pt_error *err)
{
    struct strbuf out = STRBUF_INIT;
    pickle_begin(&out);
    pickle_ordered_dict(&out);
    pickle_op(&out, PICKLE_MARK);
    for (int i = 0; i < graph->parameter_count; i++) {
        char key[KEY_SIZE];
        storage_key(key, i);
        pickle_text(&out, graph->parameters[i].name);
        pickle_tensor(&out, key, graph->parameters[i].dtype, &graph->parameters[i].shape, false); /* detached */
    }
    pickle_op(&out, PICKLE_SETITEMS);
    pickle_op(&out, PICKLE_STOP);
    int rc = strbuf_ok(&out) ? archive_add_bytes(archive, "data.pkl", out.text, out.length, err)
                             : h5pt_fail_memory(err);
    strbuf_release(&out);
    return rc;
}

enum {
    RECORDS_BEFORE = 2, /* the parameters: data.pkl and byteorder */
    RECORD_NAME_SIZE = 48,
};

static int add_records(struct archive *archive, const struct torch_graph *graph, struct record *records,
                       struct h5pt_error *err)
{
    static const char order[] = "little", version[] = "3\n";
    if (add_pickle(archive, graph, err) < 0 ||
        archive_add_bytes(archive, "byteorder", order, sizeof order - 1, err) < 0)
        return -1;
    for (int i = 0; i < graph->parameter_count; i++) {
        char key[KEY_SIZE], name[KEY_SIZE + sizeof "data/"];
        storage_key(key, i);
        (void)snprintf(name, sizeof name, "data/%s", key);
        if (archive_add_stream(archive, name, parameter_bytes(&graph->parameters[i]), read_parameter, &records[i],
                               err) < 0)
            return -1;
    }
    return archive_add_bytes(archive, "version", version, sizeof version - 1, err);
}

struct archive_payload state_dict_payload(const struct archive *archive, int parameter)
{
    return archive_payload(archive, RECORDS_BEFORE + (size_t)parameter);
}

int state_dict_copy(const struct archive *archive, const struct torch_graph *graph, const char *prefix,
                    struct archive *to, struct h5pt_error *err)
{
    for (int i = 0; i < graph->parameter_count; i++) {
        const struct archive_payload payload = state_dict_payload(archive, i);
        char name[RECORD_NAME_SIZE];
        (void)snprintf(name, sizeof name, "%s%d", prefix, i);
        if (archive_add_copy(to, name, &payload, err) < 0)
            return -1;
    }
    return 0;
}

int state_dict_write(const struct torch_graph *graph, struct source *source, int fd, struct artifact *ret,
                     struct archive **ret_archive, struct h5pt_error *err)
{
    int rc = -1;
    uint64_t largest = 0;
    struct artifact artifact = {.name = "model.pt",
                                .how_to_load = "state_dict = torch.load(\"model.pt\", weights_only=True)"};
    struct writer writer = {.source = source};
    struct archive *archive = NULL;
    size_t count = (size_t)graph->parameter_count;
    struct record *records = calloc(count ? count : 1, sizeof *records);
    if (!records)
        return h5pt_fail_memory(err);
    for (int i = 0; i < graph->parameter_count; i++) {
        const struct torch_parameter *p = &graph->parameters[i];
        if (check_parameter(p, err) < 0)
            goto out;
        records[i] = (struct record){.writer = &writer, .parameter = p};
        if (held_bytes(p) > largest)
            largest = held_bytes(p);
    }
    writer.buffer = buffer_new(largest);
    if (!writer.buffer) {
        (void)h5pt_fail_memory(err);
        goto out;
    }
    if (archive_new(fd, &archive, err) < 0 || add_records(archive, graph, records, err) < 0 ||
        archive_finish(archive, &artifact.bytes, artifact.sha256, err) < 0)
        goto out;
    *ret = artifact;
    *ret_archive = archive;
    rc = 0;
out:
    if (rc < 0)
        archive_free(archive);
    free(writer.buffer);
    free(records);
    return rc;
}
