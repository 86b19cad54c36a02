/* SPDX-License-Identifier: Apache-2.0 */
/* The adapters of function_adapters.def and what they share. Private to keras/. */
#ifndef H5PT_KERAS_FUNCTION_ADAPTERS_H
#define H5PT_KERAS_FUNCTION_ADAPTERS_H

#include <stdint.h>

#include "keras/functions.h"

#define ADAPTER(name, count) const json_t *adapt_##name(struct trace *t, const json_t *const *args);
#include "keras/function_adapters.def"
#undef ADAPTER

/* The whole numbers of a list, or one number; the count, or -1 (no refusal) when it is something else. */
int adapter_integers(const json_t *value, int capacity, int64_t *ret);
/* The known size of an axis (from the end when negative); -1 with why set. */
int64_t adapter_size(struct trace *t, const json_t *x, int axis);
/* An operation of one tensor whose configuration is {"axis"}. */
const json_t *adapter_with_axis(struct trace *t, const char *class_name, const json_t *x, const json_t *axis);
/* x[…, start:stop, …] on one axis (from the front). */
const json_t *adapter_crop_axis(struct trace *t, const json_t *x, int axis, int64_t start, int64_t stop);
/* A list of `rank` lists [before, after], all zero but those of `axis`; Pad of it. */
const json_t *adapter_pad_axis(struct trace *t, const json_t *x, int axis, int64_t before, int64_t after,
                               const json_t *value);

#endif
