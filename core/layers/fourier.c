/* SPDX-License-Identifier: Apache-2.0 */
#include "layers/fourier.h"

#include <math.h>
#include <stdlib.h>

int fourier_init(struct fourier *f, int64_t n)
{
    double *room = n > 0 && n < INT32_MAX ? calloc((size_t)n * 6, sizeof *room) : NULL;
    *f = (struct fourier){.n = n, .cosine = room};
    if (!room)
        return -1;
    f->sine = room + n;
    f->real = room + 2 * n;
    f->imag = room + 3 * n;
    f->ret_real = room + 4 * n;
    f->ret_imag = room + 5 * n;
    for (int64_t i = 0; i < n; i++) {
        f->cosine[i] = cos(2 * acos(-1.0) * (double)i / (double)n);
        f->sine[i] = sin(2 * acos(-1.0) * (double)i / (double)n);
    }
    return 0;
}

void fourier_release(struct fourier *f)
{
    free(f->cosine);
    *f = (struct fourier){.n = 0};
}

void fourier_line(struct fourier *f, int64_t count, int inverse)
{
    double scale = inverse ? 1 / (double)f->n : 1;
    for (int64_t k = 0; k < count; k++) {
        double real = 0, imag = 0;
        for (int64_t i = 0; i < f->n; i++) {
            double c = f->cosine[i * k % f->n], s = inverse ? f->sine[i * k % f->n] : -f->sine[i * k % f->n];
            real += f->real[i] * c - f->imag[i] * s;
            imag += f->real[i] * s + f->imag[i] * c;
        }
        f->ret_real[k] = real * scale;
        f->ret_imag[k] = imag * scale;
    }
}
