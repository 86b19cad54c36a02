/* SPDX-License-Identifier: Apache-2.0 */
/* Functions of one element: the rows of op_unary.def, and those with settings. */
#include <math.h>
#include <string.h>

#include "layers/operation.h"
#include "layers/variants.h"

enum result_type { SAME, FLOAT, TRUTH, NUMBER };

/* By Newton's steps on erf, from a rational start (Giles' approximation is what frameworks use; this is exact to rounding). */
static double inverse_erf(double x)
{
    if (!(x > -1 && x < 1))
        return x == 1 ? (double)INFINITY : x == -1 ? -(double)INFINITY : (double)NAN;
    const double a = 0.147, ln = log1p(-x * x), t = 2 / (3.14159265358979323846 * a) + ln / 2;
    double y = copysign(sqrt(sqrt(t * t - ln / a) - t), x);
    for (int i = 0; i < 4; i++)
        y -= (erf(y) - x) / (1.12837916709551257390 * exp(-y * y));
    return y;
}

/* The power series; infinities have none in TensorFlow and torch alike. */
static double bessel_i0(double x)
{
    double term = 1, sum = 1;
    if (isinf(x) || isnan(x))
        return (double)NAN;
    if (fabs(x) > 700)
        return (double)INFINITY;
    for (int k = 1; term > sum * 1e-17; k++) {
        term *= x / (2 * k) * (x / (2 * k));
        sum += term;
    }
    return sum;
}

static double apply(enum unary_variant variant, double x)
{
    switch (variant) {
#define UNARY(name, torch, type, value)                                                                                \
    case UNARY_##name:                                                                                                 \
        return value;
#include "layers/op_unary.def"
#undef UNARY
    case UNARY_COUNT: break;
    }
    return 0;
}

static const struct {
    enum torch_op op;
    enum result_type type;
} rows[] = {
#define UNARY(name, torch, type, value) [UNARY_##name] = {TORCH_##torch, type},
#include "layers/op_unary.def"
#undef UNARY
};

static void op_unary_read(struct config_reader *reader, void *config, int variant)
{
    (void)reader;
    *(enum unary_variant *)config = (enum unary_variant)variant;
}

static enum dtype result_dtype(enum result_type type, enum dtype dtype)
{
    switch (type) {
    case SAME: return dtype;
    case FLOAT: return dtype_floating(dtype);
    case TRUTH: return DTYPE_BOOL;
    case NUMBER: return dtype == DTYPE_BOOL ? DTYPE_I32 : dtype;
    }
    return dtype;
}

static int op_unary_shape(struct layer_shape *s)
{
    struct operand_source source = operands_of_shape(s);
    if (s->input_count != 1 || operand_at(&source, 0, "x").kind != OPERAND_TENSOR)
        return operand_fail(s, "x");
    s->outputs[0] = s->inputs[0];
    s->output_dtypes[0] = result_dtype(rows[*(const enum unary_variant *)s->config].type, s->input_dtypes[0]);
    return 0;
}

static int op_unary_reference(const struct layer_run *run)
{
    enum unary_variant variant = *(const enum unary_variant *)run->config;
    for (int64_t i = 0; i < run->outputs[0]->count; i++)
        run->outputs[0]->data[i] = (float)apply(variant, (double)run->inputs[0]->data[i]);
    return 0;
}

static int op_unary_lower(struct lowering *l, const struct keras_call *call)
{
    enum unary_variant variant = *(const enum unary_variant *)call->layer->config;
    enum dtype dtype = call->outputs[0]->dtype;
    struct lowered x = lower_input(l, call, 0);
    if (rows[variant].type == FLOAT || rows[variant].type == NUMBER)
        x = lower_convert(l, call, x, dtype);
    return lower_output(l, call, 0, lower_map(l, call, rows[variant].op, x, dtype));
}

const struct layer_handler op_unary_handler = {
    .config_size = sizeof(enum unary_variant),
    .read = op_unary_read,
    .shape = op_unary_shape,
    .reference = op_unary_reference,
    .lower = op_unary_lower,
};

/* ---- functions with settings ---- */

struct adjust_config {
    enum adjust_variant variant;
    double low, high; /* CLIP; NAN_TO_NUM: for -inf and inf */
    double nan;       /* NAN_TO_NUM */
    int64_t decimals; /* ROUND */
    enum dtype dtype; /* CAST */
};

static void op_adjust_read(struct config_reader *reader, void *config, int variant)
{
    struct adjust_config *c = config;
    *c = (struct adjust_config){.variant = (enum adjust_variant)variant, .dtype = DTYPE_COUNT};
    switch (c->variant) {
    case ADJUST_CLIP:
        c->low = config_double(reader, "x_min", -(double)INFINITY);
        c->high = config_double(reader, "x_max", (double)INFINITY);
        break;
    case ADJUST_NAN_TO_NUM:
        c->nan = config_double(reader, "nan", 0);
        c->low = config_double(reader, "neginf", -(double)3.4028234663852886e38f);
        c->high = config_double(reader, "posinf", (double)3.4028234663852886e38f);
        break;
    case ADJUST_ROUND:
        c->decimals = config_int(reader, "decimals", 0);
        if (c->decimals < -30 || c->decimals > 30)
            config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "decimals", "So many decimals are not supported");
        break;
    case ADJUST_CAST: {
        const char *name = config_text(reader, "dtype", NULL);
        config_ignore(reader, "sparse ragged");
        if (name && strcmp(name, "float") == 0)
            c->dtype = DTYPE_F32;
        else if (name && strcmp(name, "int") == 0)
            c->dtype = DTYPE_I32;
        else if (name && (!dtype_from_name(name, &c->dtype) || (c->dtype != DTYPE_F32 && c->dtype != DTYPE_I32 &&
                                                                c->dtype != DTYPE_I64 && c->dtype != DTYPE_BOOL)))
            config_refuse(reader, H5PT_UNSUPPORTED_DTYPE, "dtype", "Values of type %.40s are not supported", name);
        break;
    }
    case ADJUST_COPY:
    case ADJUST_CBRT: break;
    }
}

static int op_adjust_shape(struct layer_shape *s)
{
    const struct adjust_config *c = s->config;
    if (s->input_count != 1 || layer_argument_tensor(layer_argument(s->arguments, 0, "x")) < 0)
        if (layer_argument_tensor(layer_argument(s->arguments, 0, "variable")) < 0)
            return operand_fail(s, "x");
    s->outputs[0] = s->inputs[0];
    enum dtype in = s->input_dtypes[0], out = in;
    if (c->variant == ADJUST_CAST && c->dtype != DTYPE_COUNT)
        out = c->dtype;
    else if (c->variant == ADJUST_CBRT)
        out = dtype_floating(in);
    else if (c->variant == ADJUST_CLIP && in == DTYPE_BOOL)
        out = DTYPE_I32;
    s->output_dtypes[0] = out;
    return 0;
}

/* Half to even, as numpy. */
static double rounded(double x, int64_t decimals)
{
    double scale = pow(10, (double)decimals);
    return decimals == 0 ? nearbyint(x) : (double)(nearbyintf((float)x * (float)scale) / (float)scale);
}

static double adjusted(const struct adjust_config *c, enum dtype out, double x)
{
    switch (c->variant) {
    case ADJUST_CLIP: return isnan(x) ? x : fmin(fmax(x, c->low), c->high);
    case ADJUST_NAN_TO_NUM: return isnan(x) ? c->nan : isinf(x) ? (x > 0 ? c->high : c->low) : x;
    case ADJUST_ROUND: return rounded(x, c->decimals);
    case ADJUST_CAST: return out == DTYPE_BOOL ? x != 0 : dtype_is_float(out) ? x : trunc(x);
    case ADJUST_COPY: return x;
    case ADJUST_CBRT: return cbrt(x);
    }
    return x;
}

static int op_adjust_reference(const struct layer_run *run)
{
    struct tensor *out = run->outputs[0];
    for (int64_t i = 0; i < out->count; i++)
        out->data[i] = (float)adjusted(run->config, out->dtype, (double)run->inputs[0]->data[i]);
    return 0;
}

static struct lowered lower_adjust(struct lowering *l, const struct keras_call *call, const struct adjust_config *c,
                                   struct lowered x)
{
    enum dtype dtype = call->outputs[0]->dtype;
    struct torch_attr attrs[3];
    int n = 0;
    switch (c->variant) {
    case ADJUST_CLIP: {
        bool whole = !dtype_is_float(dtype);
        x = lower_convert(l, call, x, dtype);
        if (c->low > -(double)INFINITY)
            attrs[n++] = whole ? attr_int("min", (int64_t)c->low) : attr_float("min", tidy_float(c->low));
        if (c->high < (double)INFINITY)
            attrs[n++] = whole ? attr_int("max", (int64_t)c->high) : attr_float("max", tidy_float(c->high));
        return n ? lower_one(l, call, TORCH_CLAMP, x, lower_shape(l, x.id), x.layout, dtype, n, attrs) : x;
    }
    case ADJUST_NAN_TO_NUM:
        if (!dtype_is_float(dtype))
            return x;
        attrs[n++] = attr_float("nan", c->nan);
        attrs[n++] = attr_float("posinf", c->high);
        attrs[n++] = attr_float("neginf", c->low);
        return lower_one(l, call, TORCH_NAN_TO_NUM, x, lower_shape(l, x.id), x.layout, dtype, n, attrs);
    case ADJUST_ROUND:
        attrs[0] = attr_int("decimals", c->decimals);
        return dtype_is_float(dtype)
                   ? lower_one(l, call, TORCH_ROUND, x, lower_shape(l, x.id), x.layout, dtype, 1, attrs)
                   : x;
    case ADJUST_CAST: return lower_convert(l, call, x, dtype);
    case ADJUST_COPY: return x;
    case ADJUST_CBRT: {
        x = lower_convert(l, call, x, dtype);
        struct lowered size = lower_number(l, call, TORCH_POW_SCALAR, lower_map(l, call, TORCH_ABS, x, dtype), 1.0 / 3,
                                           false, dtype);
        return lower_join(l, call, TORCH_MUL, lower_map(l, call, TORCH_SIGN, x, dtype), size, dtype);
    }
    }
    return x;
}

static int op_adjust_lower(struct lowering *l, const struct keras_call *call)
{
    return lower_output(l, call, 0, lower_adjust(l, call, call->layer->config, lower_input(l, call, 0)));
}

const struct layer_handler op_adjust_handler = {
    .config_size = sizeof(struct adjust_config),
    .read = op_adjust_read,
    .shape = op_adjust_shape,
    .reference = op_adjust_reference,
    .lower = op_adjust_lower,
};
