/* SPDX-License-Identifier: Apache-2.0 */
/* Operations whose expansion has not been written: the forms that need it are left out. A line goes when its expansion comes. */
#include "aten/aten.h"

#define MISSING(id)                                                                                                    \
    int aten_##id(struct aten_builder *b, const struct torch_node *node)                                               \
    {                                                                                                                  \
        (void)node;                                                                                                    \
        return aten_refuse(b, "the operation " #id ", which has no aten form yet");                                    \
    }

MISSING(AUTO_CONTRAST)
MISSING(BIN_BOUNDARIES)
MISSING(BITWISE_LEFT_SHIFT)
MISSING(BITWISE_RIGHT_SHIFT)
MISSING(CHOLESKY)
MISSING(CLAHE)
MISSING(DIAG_EMBED)
MISSING(EIGVALSH)
MISSING(FFT_IMAG)
MISSING(FFT_REAL)
MISSING(FOLD)
MISSING(GCD)
MISSING(HSV_TO_RGB)
MISSING(I0)
MISSING(IFFT_IMAG)
MISSING(IFFT_REAL)
MISSING(IRFFT)
MISSING(LCM)
MISSING(LOOKUP)
MISSING(NANQUANTILE)
MISSING(PINV)
MISSING(PROJECTIVE_TRANSFORM)
MISSING(QUANTILE)
MISSING(RESIZE)
MISSING(RESIZE_LIKE)
MISSING(RFFT_IMAG)
MISSING(RFFT_REAL)
MISSING(RGB_TO_HSV)
MISSING(SCATTER_ND)
MISSING(SLICE_UPDATE)
MISSING(SLOGDET_LOG)
MISSING(SLOGDET_SIGN)
MISSING(SOLVE)
MISSING(SOLVE_TRIANGULAR)
MISSING(SPARSEMAX)
MISSING(STFT_MAGNITUDE)
MISSING(SVDVALS)
MISSING(UNFOLD_DIM)
