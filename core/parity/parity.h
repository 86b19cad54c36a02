/* SPDX-License-Identifier: Apache-2.0 */
/* The parity check: runs the Keras graph in Keras semantics on the weights of the upload, and the torch graph in torch
 * semantics on the weights read back from the written archive, and compares every layer on several inputs. The two sides
 * share no layer code. Layer after layer, all inputs together, so that each weight is read once and only the tensors that
 * are still needed are held.
 *
 * A deep network can make the rounding of its first layers large (a chain of saturated gates does). When a value differs too
 * much, its layer is therefore run once more on the very inputs that the Keras side had: if it then agrees, the layer is
 * right, the difference came with its inputs, and the check goes on from what it computed now. Such a layer is `amplified`. */
#ifndef H5PT_PARITY_PARITY_H
#define H5PT_PARITY_PARITY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "keras/model.h"
#include "layers/lower.h"
#include "parity/vectors.h"
#include "source/source.h"
#include "torch/graph.h"
#include "write/state_dict.h"

/* A value agrees when max|torch - keras| <= PARITY_TOLERANCE * (max|keras| + PARITY_FLOOR), and NaN and infinities stand in
 * the same places. float32 sums of a deep network differ by some 1e-6 of the magnitude; a wrong pad or gate by 1e-2 and more. */
#define PARITY_TOLERANCE 1e-4
#define PARITY_FLOOR 1e-3
/* For the outputs of the caller's own Keras: a deep network on another machine, with other kernels, differs by some 1e-4. */
#define PARITY_VECTORS_TOLERANCE 5e-4
/* Where that Keras computes in 16 bits, or where the caller wants 16 bits: each layer, or constant, is rounded to 11 bits (float16:
 * 5e-4 of the value) or 8 (bfloat16: 4e-3). */
#define PARITY_TOLERANCE_F16 5e-3
#define PARITY_TOLERANCE_BF16 2e-2

enum { PARITY_MAX_CASES = 7 };

/* How two tensors compare. */
struct parity_error {
    double max_abs, max_rel; /* rel: max_abs / (max|keras| + PARITY_FLOOR) */
    bool ok;
};

struct parity_case {
    const char *name;           /* "normal", "large", "zeros", "fading" … */
    struct shape *input_shapes; /* per model input, Keras order */
    struct parity_error error;  /* worst over the outputs of the model */
};

/* How the outputs of the torch side compare with the reference vectors. */
struct parity_vectors_result {
    double tolerance;
    int64_t samples;
    struct parity_error worst, *outputs; /* per output of the model */
};

struct parity_result {
    bool ok; /* the reference vectors included */
    double tolerance;
    int case_count;
    struct parity_case cases[PARITY_MAX_CASES];
    struct parity_error worst;           /* over the outputs of the model */
    struct parity_error *calls;          /* per call of the model: worst over cases; max_abs < 0: not compared */
    const struct keras_call *amplified;  /* the first call that agrees on equal inputs only, or NULL */
    const struct keras_call *divergence; /* the first call where the two part, or NULL */
    const char *divergence_case;
    const struct parity_vectors_result *vectors; /* NULL: there were none */
};

struct parity_options {
    bool quick;                           /* one input set only */
    bool vectors_only;                    /* no input sets but the reference vectors */
    const struct parity_vectors *vectors; /* NULL: none */
    uint64_t memory;                      /* bytes of tensors that may be held at once; 0: 2 GiB */
    void (*progress)(void *context, double fraction);
    void *context;
};

/* Runs the check. Memory of *ret is in the arena of the graph. Errors: SHAPE_UNKNOWN when no input sizes can be found on
 * which the model runs, LIMIT_EXCEEDED when it needs more memory than allowed, and what reading weights can meet. A
 * disagreement is no error: ret->ok tells. */
int parity_run(const struct keras_model *model, const struct torch_graph *graph,
               const struct correspondence *correspondence, struct source *source, struct state_dict *dict,
               const struct parity_options *options, struct parity_result *ret, struct h5pt_error *err);

#endif
