/* SPDX-License-Identifier: Apache-2.0 */
/* The report: what was read, what became of each layer, how far the two sides differ. Schema: api/report.schema.json. */
#ifndef H5PT_REPORT_H
#define H5PT_REPORT_H

#include <jansson.h>

#include "base/error.h"
#include "convert.h"
#include "keras/model.h"
#include "parity/parity.h"
#include "torch/graph.h"
#include "write/state_dict.h"

enum { REPORT_MAX_ARTIFACTS = 8 };

/* What a conversion knows when it ends; parts that it did not reach are NULL or 0. Everything is borrowed. */
struct report_facts {
    enum convert_verdict verdict;
    const struct source *source; /* NULL: of a kind that is not supported */
    const char *source_sha256;   /* NULL: not computed */
    uint64_t source_bytes;
    const struct keras_model *model;
    const struct torch_graph *graph;
    const struct parity_result *parity;
    const struct parity_vectors *vectors; /* NULL: there are none */
    const struct findings *refusals, *warnings;
    int artifact_count;
    struct artifact artifacts[REPORT_MAX_ARTIFACTS];
    double stage_ms[CONVERT_STAGE_COUNT];
};

/* The report, owned by the caller; NULL without memory. */
json_t *report_build(const struct report_facts *facts);

/* A text as JSON; bytes that are no UTF-8 become '?'. */
json_t *report_text(const char *text);

#endif
