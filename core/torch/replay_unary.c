/* SPDX-License-Identifier: Apache-2.0 */
/* Functions of one element, in float32 as torch computes them. */
#include "torch/replay_internal.h"
#include "torch/replay_map.h"

#include <math.h>

static const float pi = 3.14159265358979323846f;

static inline enum dtype truth(enum dtype dtype)
{
    (void)dtype;
    return DTYPE_BOOL;
}

/* The inverse of erf by halving the interval, good to float32. */
static float inverse_erf(float x)
{
    double low = 0, high = 6, want = fabs((double)x);
    if (!(want < 1))
        return want == 1 ? copysignf(INFINITY, x) : NAN;
    for (int i = 0; i < 60; i++) {
        double middle = (low + high) / 2;
        if (erf(middle) < want)
            low = middle;
        else
            high = middle;
    }
    return copysignf((float)((low + high) / 2), x);
}

/* The mean of exp(x cos t) over half a turn. */
static float bessel_i0(float x)
{
    enum { STEPS = 400 };
    double sum = (exp((double)x) + exp(-(double)x)) / 2;
    if (!isfinite(x) || fabsf(x) > 100)
        return isfinite(x) ? INFINITY : NAN;
    for (int i = 1; i < STEPS; i++)
        sum += exp((double)x * cos(3.14159265358979323846 * i / STEPS));
    return (float)(sum / STEPS);
}

static inline float round_to(float x, float decimals)
{
    float scale = powf(10.0f, fabsf(decimals));
    return decimals == 0 ? nearbyintf(x) : decimals > 0 ? nearbyintf(x * scale) / scale : nearbyintf(x / scale) * scale;
}

MAP0(EXP, float_of, expf(x))
MAP0(COS, float_of, cosf(x))
MAP0(SQRT, float_of, sqrtf(x))
MAP0(RSQRT, float_of, 1.0f / sqrtf(x))
MAP0(SQUARE, same, x *x)
MAP0(ABS, same, fabsf(x))
MAP0(NEG, same, -x)
MAP0(SIGN, same, isnan(x) ? 0.0f : (float)((x > 0) - (x < 0)))
MAP0(RECIPROCAL, float_of, 1.0f / x)
MAP0(EXP2, float_of, exp2f(x))
MAP0(EXPM1, float_of, expm1f(x))
MAP0(LOG, float_of, logf(x))
MAP0(LOG2, float_of, log2f(x))
MAP0(LOG10, float_of, log10f(x))
MAP0(LOG1P, float_of, log1pf(x))
MAP0(SIN, float_of, sinf(x))
MAP0(TAN, float_of, tanf(x))
MAP0(ASIN, float_of, asinf(x))
MAP0(ACOS, float_of, acosf(x))
MAP0(ATAN, float_of, atanf(x))
MAP0(SINH, float_of, sinhf(x))
MAP0(COSH, float_of, coshf(x))
MAP0(ASINH, float_of, asinhf(x))
MAP0(ACOSH, float_of, acoshf(x))
MAP0(ATANH, float_of, atanhf(x))
MAP0(FLOOR, same, floorf(x))
MAP0(CEIL, same, ceilf(x))
MAP0(TRUNC, same, truncf(x))
MAP1(ROUND, same, "decimals", 0, round_to(x, a))
MAP0(ERF, float_of, erff(x))
MAP0(ERFC, float_of, erfcf(x))
MAP0(ERFINV, float_of, inverse_erf(x))
MAP0(I0, float_of, bessel_i0(x))
MAP0(DEG2RAD, float_of, x *(pi / 180.0f))
MAP0(RAD2DEG, float_of, x *(180.0f / pi))
MAP0(SINC, float_of, x == 0 ? 1.0f : sinf(pi * x) / (pi * x))
MAP0(SIGNBIT, truth, signbit(x) ? 1.0f : 0.0f)
MAP0(ISNAN, truth, isnan(x) ? 1.0f : 0.0f)
MAP0(ISINF, truth, isinf(x) ? 1.0f : 0.0f)
MAP0(ISPOSINF, truth, x == INFINITY ? 1.0f : 0.0f)
MAP0(ISNEGINF, truth, x == -INFINITY ? 1.0f : 0.0f)
MAP0(ISFINITE, truth, isfinite(x) ? 1.0f : 0.0f)
MAP0(LOGICAL_NOT, truth, x == 0 ? 1.0f : 0.0f)
/* Booleans turn round, whole numbers become -1 - x. */
MAP0(BITWISE_NOT, same, call->inputs[0]->dtype == DTYPE_BOOL ? 1.0f - x : -1.0f - x)

int replay_NAN_TO_NUM(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    const struct tensor *x = call->inputs[0];
    const float largest = 3.4028234663852886e38f;
    const float nan = (float)replay_float(call, "nan", 0), up = (float)replay_float(call, "posinf", (double)largest);
    const float down = (float)replay_float(call, "neginf", -(double)largest);
    struct tensor *y = replay_new(&x->shape, x->dtype, err);
    if (!y)
        return -1;
    for (int64_t i = 0; i < y->count; i++) {
        float v = x->data[i];
        y->data[i] = isnan(v) ? nan : v == INFINITY ? up : v == -INFINITY ? down : v;
    }
    *ret = y;
    return 0;
}
