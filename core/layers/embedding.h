/* SPDX-License-Identifier: Apache-2.0 */
/* What others need to know of an Embedding: its output carries a mask, and its input holds ids below a limit. */
#ifndef H5PT_LAYERS_EMBEDDING_H
#define H5PT_LAYERS_EMBEDDING_H

#include <stdbool.h>
#include <stdint.h>

/* Of the typed configuration of an Embedding (handler embedding_handler). */
bool embedding_masks(const void *config);
int64_t embedding_input_dim(const void *config);

#endif
