/* SPDX-License-Identifier: Apache-2.0 */
/* Reference vectors: inputs, and the outputs that the caller's own Keras computed for them, as numpy.savez wrote them:
 *
 *   np.savez("reference.npz", in0=x, out0=model.predict(x))
 *
 * in0, in1, … and out0, out1, … in the order of the model's inputs and outputs, in Keras layout, the batch first. Arrays of other
 * names are not looked at. */
#ifndef H5PT_PARITY_VECTORS_H
#define H5PT_PARITY_VECTORS_H

#include "base/error.h"
#include "base/tensor.h"
#include "keras/model.h"
#include "source/source.h"

struct parity_vectors {
    int input_count, output_count;
    struct tensor **inputs, **outputs; /* owned, as are the tensors */
    int ignored_count;
    const char **ignored; /* names of the arrays that were not looked at; in the arena of the model */
};

/* Reads the .npz behind `fd` and checks that its arrays fit the model. *ret must be released by the caller.
 * Errors: REFERENCE_INVALID, which says which array is missing or does not fit; those of npz_open and npz_read. */
int parity_vectors_read(int fd, const struct source_limits *limits, const struct keras_model *model,
                        struct parity_vectors *ret, struct h5pt_error *err);
void parity_vectors_release(struct parity_vectors *vectors); /* also of a zeroed one */

#endif
