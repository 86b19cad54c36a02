/* SPDX-License-Identifier: Apache-2.0 */
/* Reading of tensors that are put together from stored ones (struct source_assembly). Private to source/. */
#ifndef H5PT_SOURCE_ASSEMBLY_H
#define H5PT_SOURCE_ASSEMBLY_H

#include "source/source.h"

/* Fills `buffer`, which holds the whole tensor in elements of `element` bytes (1, 2, 4 or 8); `read` gives the elements of one
 * stored tensor in that form. One piece is held besides at a time. */
int assembly_read(struct source *source, const struct source_tensor *tensor, size_t element,
                  int (*read)(struct source *, const struct source_tensor *, void *, struct h5pt_error *), void *buffer,
                  struct h5pt_error *err);

#endif
