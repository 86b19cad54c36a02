/* SPDX-License-Identifier: Apache-2.0 */
/* What others need to know of a Masking: the number that all features of a masked step have. */
#ifndef H5PT_LAYERS_MASKING_H
#define H5PT_LAYERS_MASKING_H

/* Of the typed configuration of a Masking (handler masking_handler). */
double masking_value(const void *config);

#endif
