/* SPDX-License-Identifier: Apache-2.0 */
#include "write/safetensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "write/archive.h"
#include "write/output.h"

enum {
    LENGTH_BYTES = 8,
    HEADER_ALIGNMENT = 64, /* of the first tensor in the file; the format asks for 8 */
    MAX_HEADER = 100000000,
};

static int compare(const void *a, const void *b)
{
    const struct torch_parameter *const *p = a, *const *q = b;
    size_t p_size = dtype_size((*p)->dtype), q_size = dtype_size((*q)->dtype);
    return p_size != q_size ? (p_size < q_size ? 1 : -1) : strcmp((*p)->name, (*q)->name);
}

static uint64_t bytes_of(const struct torch_parameter *p)
{
    int64_t count = 0;
    (void)shape_count(&p->shape, &count);
    return (uint64_t)count * dtype_size(p->dtype);
}

/* The header, owned by the caller; NULL without memory. */
static json_t *header(const struct torch_parameter *const *order, int count)
{
    json_t *object = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    uint64_t at = 0;
    bool complete = object != NULL;
    for (int i = 0; complete && i < count; i++) {
        json_t *shape = json_array();
        for (int k = 0; k < order[i]->shape.rank; k++)
            (void)json_array_append_new(shape, json_integer(order[i]->shape.dims[k]));
        uint64_t end = at + bytes_of(order[i]);
        json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype_short_name(order[i]->dtype), "shape", shape,
                                  "data_offsets", (json_int_t)at, (json_int_t)end);
        complete = json_object_set_new(object, order[i]->name, entry) == 0;
        at = end;
    }
    if (complete)
        return object;
    json_decref(object);
    return NULL;
}

static int write_header(struct output *out, const json_t *object, struct h5pt_error *err)
{
    unsigned char length[LENGTH_BYTES];
    char *text = json_dumps(object, JSON_COMPACT);
    if (!text)
        return h5pt_fail_memory(err);
    size_t size = strlen(text), pad = (HEADER_ALIGNMENT - (LENGTH_BYTES + size) % HEADER_ALIGNMENT) % HEADER_ALIGNMENT;
    char spaces[HEADER_ALIGNMENT];
    memset(spaces, ' ', sizeof spaces);
    for (int i = 0; i < LENGTH_BYTES; i++)
        length[i] = (unsigned char)((size + pad) >> (8 * i));
    int status = size > MAX_HEADER - HEADER_ALIGNMENT ? h5pt_fail(err, H5PT_LIMIT_EXCEEDED, "model.safetensors",
                                                                  "The names of the tensors do not fit into the header")
                                                      : 0;
    if (status == 0 && (output_write(out, length, sizeof length, err) < 0 || output_write(out, text, size, err) < 0 ||
                        output_write(out, spaces, pad, err) < 0))
        status = -1;
    free(text);
    return status;
}

int safetensors_write(const struct torch_graph *graph, const struct archive *weights, int fd, struct artifact *ret,
                      struct h5pt_error *err)
{
    struct artifact artifact = {.name = "model.safetensors",
                                .how_to_load = "state_dict = safetensors.torch.load_file(\"model.safetensors\")"};
    struct output out = {.fd = -1};
    size_t count = (size_t)graph->parameter_count;
    const struct torch_parameter **order = calloc(count ? count : 1, sizeof *order);
    json_t *object = NULL;
    int status = -1;
    for (size_t i = 0; order && i < count; i++)
        order[i] = &graph->parameters[i];
    if (order)
        qsort(order, count, sizeof *order, compare);
    if (!order || !(object = header(order, graph->parameter_count))) {
        (void)h5pt_fail_memory(err);
        goto out;
    }
    if (output_init(&out, fd, err) < 0 || write_header(&out, object, err) < 0)
        goto out;
    for (size_t i = 0; i < count; i++) {
        const struct archive_payload payload = state_dict_payload(weights, (int)(order[i] - graph->parameters));
        if (output_copy(&out, payload.fd, payload.offset, payload.size, err) < 0)
            goto out;
    }
    if (output_finish(&out, &artifact.bytes, artifact.sha256, err) < 0)
        goto out;
    *ret = artifact;
    status = 0;
out:
    output_release(&out);
    json_decref(object);
    free(order);
    return status;
}
