/* SPDX-License-Identifier: Apache-2.0 */
/* Discrete Fourier transforms of the reference, term by term in double precision. */
#ifndef H5PT_LAYERS_FOURIER_H
#define H5PT_LAYERS_FOURIER_H

#include <stdint.h>

/* One length of line, with room for a line of complex numbers before and after the transform. */
struct fourier {
    int64_t n;
    double *cosine, *sine; /* of 2 pi i / n */
    double *real, *imag;   /* the line */
    double *ret_real, *ret_imag;
};

/* -1 without memory. */
int fourier_init(struct fourier *f, int64_t n);
void fourier_release(struct fourier *f);
/* ret[k] = sum over i of line[i] exp(-2 pi i k j / n), for k < count; the inverse (exp(+…) / n) when `inverse`. */
void fourier_line(struct fourier *f, int64_t count, int inverse);

#endif
