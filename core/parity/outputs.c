/* SPDX-License-Identifier: Apache-2.0 */
/* What the caller gets. Every value has been compared by then in the layout that the lowering noted; an output may be another
 * torch value, made for the interface alone, and is read by the axes that the report tells. */
#include "parity/run.h"

static struct lowered as_reported(const struct torch_interface *out)
{
    struct lowered shown = {.id = out->value, .layout = {.rank = out->keras_shape.rank}};
    for (int i = 0; i < out->keras_shape.rank; i++)
        shown.layout.axes[out->axes[i]] = i;
    return shown;
}

static int compare_vectors(struct run *r, int index, const struct lowered *shown)
{
    const int c = parity_vectors_case(r->result);
    if (c < 0)
        return 0;
    struct parity_error *error = &r->vectors->outputs[index];
    if (parity_compare(r->options->vectors->outputs[index], *side_at(&r->torch, shown->id, c), &shown->layout,
                       r->vectors->tolerance, error, r->err) < 0)
        return -1;
    parity_worsen(&r->vectors->worst, error);
    return 0;
}

int outputs_compare(struct run *r)
{
    for (int i = 0; i < r->model->output_count; i++) {
        const struct keras_value *value = r->model->outputs[i];
        const struct lowered shown = as_reported(&r->graph->outputs[i]);
        if (!r->compared[value->id])
            continue; /* which is no agreement either */
        for (int c = 0; c < r->result->case_count; c++) {
            struct parity_error error;
            if (parity_compare(*side_at(&r->keras, value->id, c), *side_at(&r->torch, shown.id, c), &shown.layout,
                               r->result->tolerance, &error, r->err) < 0 ||
                (!error.ok && recheck_value(r, value, &shown, c, &error) < 0))
                return -1;
            run_note_error(r, value->call, c, &error);
            parity_worsen(&r->result->cases[c].error, &error);
        }
        if (compare_vectors(r, i, &shown) < 0)
            return -1;
    }
    return 0;
}
