/* SPDX-License-Identifier: Apache-2.0 */
/* Loops over a number of steps that only the run tells. */
#include <string.h>

#include "aten/builder.h"

/* A value of the step. */
static int given_to_step(struct aten_builder *b, struct aten_meta meta, int call)
{
    return b->failed ? -1 : aten_add_value(b, &meta, ATEN_STEP, call);
}

static struct aten_meta meta_of(const struct aten_builder *b, int value)
{
    return (struct aten_meta){aten_shape_of(b, value), aten_dtype_of(b, value)};
}

struct aten_scan *aten_scan_begin(struct aten_builder *b, int carried_count, const int *initial, int sequence_count,
                                  const int *sequences)
{
    struct aten_graph *g = b->graph;
    struct aten_scan *scan = b->failed ? NULL : ARENA_NEW(g->arena, struct aten_scan);
    if (!scan || carried_count > ATEN_SCAN_MAX || sequence_count > ATEN_SCAN_MAX) {
        (void)aten_fail(b, H5PT_OUT_OF_MEMORY, "There is no memory for a loop");
        return NULL;
    }
    *scan = (struct aten_scan){.carried_count = carried_count, .sequence_count = sequence_count, .call = g->call_count};
    for (int i = 0; i < carried_count; i++) {
        scan->initial[i] = initial[i];
        scan->carried[i] = given_to_step(b, meta_of(b, initial[i]), scan->call);
    }
    for (int i = 0; i < sequence_count; i++) {
        const struct aten_meta part = {aten_without(b, sequences[i], 0), aten_dtype_of(b, sequences[i])};
        scan->sequences[i] = sequences[i];
        scan->parts[i] = given_to_step(b, part, scan->call);
    }
    (void)aten_emit_many(b, "scan", false, 0, NULL, 0, NULL);
    if (b->failed)
        return NULL;
    g->calls[scan->call].scan = scan;
    return scan;
}

/* The sizes that a step works with are numbers: those that the run tells are known outside. */
static void check_sizes(struct aten_builder *b, const struct aten_call *call)
{
    for (int i = 0; i < call->arg_count; i++) {
        const struct aten_arg *arg = &call->args[i];
        bool known = arg->kind != ATEN_ARG_INT || aten_int_known(arg->size);
        for (int k = 0; arg->kind == ATEN_ARG_INTS && k < arg->count; k++)
            known = known && aten_int_known(arg->sizes[k]);
        if (!known)
            (void)aten_fail(b, H5PT_INTERNAL, "A step of a loop computes with a size");
    }
}

int aten_scan_end(struct aten_builder *b, struct aten_scan *scan, const int *next, int given_count, const int *given)
{
    struct aten_graph *g = b->graph;
    if (!scan || b->failed)
        return -1;
    const struct aten_int *count = aten_size(b, scan->sequences[0], 0);
    int first = g->value_count;
    scan->call_count = g->call_count - scan->call - 1;
    scan->given_count = given_count;
    for (int i = 1; i <= scan->call_count; i++)
        check_sizes(b, &g->calls[scan->call + i]);
    for (int i = 0; i < scan->carried_count; i++) {
        const struct aten_meta meta = meta_of(b, scan->initial[i]);
        scan->next[i] = next[i];
        (void)aten_add_value(b, &meta, ATEN_CALL, scan->call);
    }
    for (int i = 0; i < given_count; i++) {
        const struct aten_meta meta = {aten_with(b, given[i], 0, count), aten_dtype_of(b, given[i])};
        scan->given[i] = given[i];
        (void)aten_add_value(b, &meta, ATEN_CALL, scan->call);
    }
    if (b->failed)
        return -1;
    g->calls[scan->call].output = first;
    g->calls[scan->call].output_count = scan->carried_count + given_count;
    return first;
}
