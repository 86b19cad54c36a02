/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the parity check. */
#ifndef H5PT_PARITY_INTERNAL_H
#define H5PT_PARITY_INTERNAL_H

#include "parity/parity.h"

/* inputs.c: chooses the cases and makes their inputs. Shapes go to ret->cases. */
int parity_choose_cases(const struct keras_model *model, const struct parity_options *options,
                        struct parity_result *ret, struct h5pt_error *err);
/* The tensor for input `index` of the model in a case, in Keras order; owned by the caller, NULL without memory. */
struct tensor *parity_make_input(const struct keras_model *model, const struct parity_options *options,
                                 const struct parity_case *c, int case_index, int index);
/* The index of the case that has the reference vectors as its inputs, or -1. */
int parity_vectors_case(const struct parity_result *result);

/* shapes.c: the shapes of every value of the model for known input shapes (an array by value id). SHAPE_MISMATCH when a layer
 * cannot run on them. */
int parity_infer(const struct keras_model *model, const struct shape *input_shapes, struct shape *ret_shapes,
                 struct h5pt_error *err);
/* Shape inference of one call on known shapes. */
int parity_infer_call(const struct keras_call *call, const struct shape *inputs, struct shape *ret_outputs,
                      struct h5pt_error *err);

/* compare.c: `torch` holds, in `layout`, what `keras` holds in Keras order. */
int parity_compare(const struct tensor *keras, const struct tensor *torch, const struct layout *layout,
                   double tolerance, struct parity_error *ret, struct h5pt_error *err);
/* `keras`, in Keras order, as a torch value in `layout` holds it; owned by the caller, NULL without memory. */
struct tensor *parity_to_torch(const struct tensor *keras, const struct layout *layout);
/* Keeps the worse of the two in *into. */
void parity_worsen(struct parity_error *into, const struct parity_error *other);

#endif
