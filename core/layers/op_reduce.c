/* SPDX-License-Identifier: Apache-2.0 */
/* Reductions over any axes. The reference gathers what goes into one number of the result and applies a function to it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "layers/operation.h"
#include "layers/variants.h"

struct reduce_config {
    enum reduce_variant variant;
    bool all;              /* over all axes */
    struct axis_list axes; /* else */
    bool keepdims;
    double order;     /* NORM: of the vector norm */
    bool has_initial; /* MAX, MIN */
    double initial;
    enum dtype dtype; /* PROD: DTYPE_COUNT when not given */
};

/* The quantile is an argument of the call. */
static bool has_q(const struct reduce_config *c)
{
    return c->variant == REDUCE_QUANTILE || c->variant == REDUCE_PERCENTILE || c->variant == REDUCE_NANQUANTILE ||
           c->variant == REDUCE_NANPERCENTILE;
}

static bool skips_nan(const struct reduce_config *c)
{
    return c->variant == REDUCE_NANMEDIAN || c->variant == REDUCE_NANQUANTILE || c->variant == REDUCE_NANPERCENTILE;
}

static double read_norm_order(struct config_reader *reader, const struct reduce_config *c)
{
    const json_t *value = config_get(reader, "ord");
    const char *text = json_string_value(value);
    double order = 2;
    if (!value || (text && strcmp(text, "euclidean") == 0))
        return 2;
    if (text && strcmp(text, "fro") == 0 && !c->all && c->axes.count == 2)
        return 2;
    if (!json_read_double(value, &order) || c->all || c->axes.count != 1)
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "ord",
                      "This norm is not supported: only vector norms and Frobenius' are");
    return order;
}

static void op_reduce_read(struct config_reader *reader, void *config, int variant)
{
    struct reduce_config *c = config;
    *c = (struct reduce_config){.variant = (enum reduce_variant)variant, .dtype = DTYPE_COUNT};
    const char *key = c->variant == REDUCE_MOMENTS ? "axes" : "axis";
    c->all = !config_get(reader, key);
    c->axes = axis_list_read(reader, key, 0);
    c->keepdims = config_bool(reader, "keepdims", false);
    if (c->variant == REDUCE_NORM)
        c->order = read_norm_order(reader, c);
    if (c->variant == REDUCE_MAX || c->variant == REDUCE_MIN) {
        c->has_initial = config_get(reader, "initial") != NULL;
        c->initial = config_double(reader, "initial", 0);
    }
    if (has_q(c))
        (void)config_choice(reader, "method", "linear", 0);
    if (c->variant == REDUCE_MOMENTS && config_bool(reader, "synchronized", false))
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "synchronized",
                      "Moments over several devices are not supported");
    const char *dtype = c->variant == REDUCE_PROD ? config_text(reader, "dtype", NULL) : NULL;
    if (dtype && (!dtype_from_name(dtype, &c->dtype) || (c->dtype != DTYPE_F32 && c->dtype != DTYPE_I32)))
        config_refuse(reader, H5PT_UNSUPPORTED_DTYPE, "dtype", "Values of type %.40s are not supported", dtype);
}

/* The axes, counted from the front in ascending order; -1: wrong. */
static int resolve(const struct reduce_config *c, int rank, int ret[SHAPE_MAX_RANK])
{
    if (!c->all)
        return axis_list_resolve(&c->axes, rank, ret);
    for (int i = 0; i < rank; i++)
        ret[i] = i;
    return rank;
}

static struct shape reduced_shape(const struct shape *in, bool keep, int count, const int *axes)
{
    struct shape out = {.rank = 0};
    for (int i = 0, k = 0; i < in->rank; i++) {
        bool reduced = k < count && axes[k] == i;
        k += reduced;
        if (!reduced || keep)
            out.dims[out.rank++] = reduced ? 1 : in->dims[i];
    }
    return out;
}

static enum dtype reduced_dtype(const struct reduce_config *c, enum dtype in)
{
    switch (c->variant) {
    case REDUCE_ANY:
    case REDUCE_ALL: return DTYPE_BOOL;
    case REDUCE_PROD:
        if (c->dtype != DTYPE_COUNT)
            return c->dtype;
        return in == DTYPE_BOOL ? DTYPE_I32 : in;
    case REDUCE_SUM:
    case REDUCE_NANSUM: return in == DTYPE_BOOL ? DTYPE_I32 : in;
    case REDUCE_MAX:
    case REDUCE_MIN:
    case REDUCE_PTP:
    case REDUCE_NANMAX:
    case REDUCE_NANMIN: return in;
    case REDUCE_COUNT_NONZERO:
    case REDUCE_ARGMAX:
    case REDUCE_ARGMIN: return DTYPE_I32;
    default: return dtype_floating(in);
    }
}

static bool is_quantile(const struct reduce_config *c)
{
    return has_q(c) || c->variant == REDUCE_MEDIAN || c->variant == REDUCE_NANMEDIAN;
}

/* The one quantile asked for, 0 … 1. */
static bool quantile_of(const struct reduce_config *c, const json_t *arguments, double *ret)
{
    *ret = 0.5;
    if (!has_q(c))
        return true;
    bool ok = json_read_double(layer_argument(arguments, 1, "q"), ret);
    *ret = c->variant == REDUCE_PERCENTILE || c->variant == REDUCE_NANPERCENTILE ? *ret / 100 : *ret;
    return ok && *ret >= 0 && *ret <= 1;
}

static int op_reduce_shape(struct layer_shape *s)
{
    const struct reduce_config *c = s->config;
    const struct shape *in = &s->inputs[0];
    int axes[SHAPE_MAX_RANK];
    double q;
    if (s->input_count != 1 || layer_argument_tensor(layer_argument(s->arguments, 0, "x")) != 0)
        return operand_fail(s, "x");
    if (!quantile_of(c, s->arguments, &q))
        return operand_fail(s, "q");
    int count = resolve(c, in->rank, axes);
    bool indices = c->variant == REDUCE_ARGMAX || c->variant == REDUCE_ARGMIN;
    if (count < 1 || (indices && !c->all && count != 1))
        return layer_shape_fail(s, "The axes of %s do not fit an input of %d dimensions", s->layer->class_name,
                                in->rank);
    if (!dtype_is_float(s->input_dtypes[0]) &&
        (c->variant == REDUCE_LOGSUMEXP || c->variant == REDUCE_MOMENTS || skips_nan(c)))
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_DTYPE, "dtype", "%s is for floats", s->layer->class_name);
    s->output_count = c->variant == REDUCE_MOMENTS ? 2 : 1;
    for (int i = 0; i < s->output_count; i++) {
        s->outputs[i] = reduced_shape(in, c->keepdims, count, axes);
        s->output_dtypes[i] = reduced_dtype(c, s->input_dtypes[0]);
    }
    return 0;
}

/* ---- reference ---- */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Moves the numbers in front of the NaNs; how many there are. */
static int64_t without_nan_count(double *v, int64_t n)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        if (!isnan(v[i]))
            v[count++] = v[i];
    return count;
}

static double quantile(double *v, int64_t n, double q)
{
    if (n == 0)
        return (double)NAN;
    for (int64_t i = 0; i < n; i++)
        if (isnan(v[i]))
            return (double)NAN;
    qsort(v, (size_t)n, sizeof *v, ascending);
    double at = q * (double)(n - 1), low = floor(at);
    int64_t i = (int64_t)low;
    return i + 1 < n && at > low ? v[i] + (v[i + 1] - v[i]) * (at - low) : v[i];
}

static double extreme(const double *v, int64_t n, bool largest, bool skip_nan)
{
    double best = largest ? -(double)INFINITY : (double)INFINITY;
    for (int64_t i = 0; i < n; i++) {
        if (isnan(v[i]) && !skip_nan)
            return v[i];
        best = (largest ? v[i] > best : v[i] < best) ? v[i] : best;
    }
    return best;
}

static double total(const double *v, int64_t n, bool skip_nan, int64_t *ret_count)
{
    double sum = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        if (!skip_nan || !isnan(v[i])) {
            sum += v[i];
            count++;
        }
    if (ret_count)
        *ret_count = count;
    return sum;
}

static double variance(const double *v, int64_t n)
{
    double mean = total(v, n, false, NULL) / (double)n, sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (v[i] - mean) * (v[i] - mean);
    return sum / (double)n;
}

static double vector_norm(const double *v, int64_t n, double order)
{
    double sum = 0;
    if (isinf(order)) {
        double best = order > 0 ? 0 : (double)INFINITY;
        for (int64_t i = 0; i < n; i++)
            best = order > 0 ? fmax(best, fabs(v[i])) : fmin(best, fabs(v[i]));
        return best;
    }
    for (int64_t i = 0; i < n; i++)
        sum += order == 0 ? (double)(v[i] != 0) : pow(fabs(v[i]), order);
    return order == 0 ? sum : pow(sum, 1 / order);
}

static double log_sum_exp(const double *v, int64_t n)
{
    double most = extreme(v, n, true, false), sum = 0;
    if (!isfinite(most))
        return most;
    for (int64_t i = 0; i < n; i++)
        sum += exp(v[i] - most);
    return most + log(sum);
}

static int64_t first_extreme(const double *v, int64_t n, bool largest)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (largest ? v[i] > v[best] : v[i] < v[best])
            best = i;
    return best;
}

static int64_t nonzero(const double *v, int64_t n)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        count += v[i] != 0;
    return count;
}

static double product(const double *v, int64_t n)
{
    double p = 1;
    for (int64_t i = 0; i < n; i++)
        p *= v[i];
    return p;
}

static double reduce(const struct reduce_config *c, double *v, int64_t n, double q)
{
    int64_t count;
    double x;
    switch (c->variant) {
    case REDUCE_ANY: return nonzero(v, n) > 0;
    case REDUCE_ALL: return nonzero(v, n) == n;
    case REDUCE_SUM: return total(v, n, false, NULL);
    case REDUCE_MOMENTS:
    case REDUCE_MEAN: return total(v, n, false, NULL) / (double)n;
    case REDUCE_PROD: return product(v, n);
    case REDUCE_MAX: x = extreme(v, n, true, false); return c->has_initial ? fmax(x, c->initial) : x;
    case REDUCE_MIN: x = extreme(v, n, false, false); return c->has_initial ? fmin(x, c->initial) : x;
    case REDUCE_PTP: return extreme(v, n, true, false) - extreme(v, n, false, false);
    case REDUCE_VAR: return variance(v, n);
    case REDUCE_STD: return sqrt(variance(v, n));
    case REDUCE_COUNT_NONZERO: return (double)nonzero(v, n);
    case REDUCE_LOGSUMEXP: return log_sum_exp(v, n);
    case REDUCE_ARGMAX: return (double)first_extreme(v, n, true);
    case REDUCE_ARGMIN: return (double)first_extreme(v, n, false);
    case REDUCE_MEDIAN:
    case REDUCE_QUANTILE:
    case REDUCE_PERCENTILE: return quantile(v, n, q);
    case REDUCE_NANMEDIAN:
    case REDUCE_NANQUANTILE:
    case REDUCE_NANPERCENTILE: return quantile(v, without_nan_count(v, n), q);
    case REDUCE_NORM: return vector_norm(v, n, c->order);
    case REDUCE_NANSUM: return total(v, n, true, NULL);
    case REDUCE_NANMEAN: x = total(v, n, true, &count); return x / (double)count;
    case REDUCE_NANMAX: return extreme(v, n, true, true);
    case REDUCE_NANMIN: return extreme(v, n, false, true);
    }
    return 0;
}

/* x with the axes that are reduced moved to the end, in order. */
static struct tensor *reduced_last(const struct tensor *x, int count, const int *axes)
{
    int order[SHAPE_MAX_RANK], n = 0;
    for (int i = 0, k = 0; i < x->shape.rank; i++) {
        if (k < count && axes[k] == i)
            k++;
        else
            order[n++] = i;
    }
    for (int k = 0; k < count; k++)
        order[n++] = axes[k];
    return tensor_transpose(x, order);
}

static int op_reduce_reference(const struct layer_run *run)
{
    const struct reduce_config *c = run->config;
    int axes[SHAPE_MAX_RANK];
    double q;
    int count = resolve(c, run->inputs[0]->shape.rank, axes);
    struct tensor *x = reduced_last(run->inputs[0], count, axes), *out = run->outputs[0];
    int64_t n = out->count ? run->inputs[0]->count / out->count : 0;
    double *v = calloc((size_t)n + 1, sizeof *v);
    int status = x && v && quantile_of(c, run->arguments, &q) ? 0 : h5pt_fail_memory(run->err);
    for (int64_t i = 0; status == 0 && i < out->count; i++) {
        for (int64_t k = 0; k < n; k++)
            v[k] = (double)x->data[i * n + k];
        out->data[i] = (float)reduce(c, v, n, q);
        if (c->variant == REDUCE_MOMENTS)
            run->outputs[1]->data[i] = (float)variance(v, n);
    }
    free(v);
    tensor_free(x);
    return status;
}

/* ---- lowering ---- */

/* What a reduction without its axes leaves of the layout. */
static struct layout reduced_layout(const struct layout *in, bool keep, int count, const int *axes)
{
    struct layout out = layout_keras(0);
    if (keep)
        return *in;
    for (int i = 0; i < in->rank; i++) {
        int lower = 0;
        bool gone = false;
        for (int k = 0; k < count; k++) {
            gone = gone || axes[k] == in->axes[i];
            lower += axes[k] < in->axes[i];
        }
        if (!gone)
            out.axes[out.rank++] = in->axes[i] - lower;
    }
    return out;
}

struct reduction {
    struct lowering *l;
    const struct keras_call *call;
    struct lowered x;
    struct shape shape;   /* of the result, in torch order */
    struct layout layout; /* of the result */
    bool keep;
    int count;
    int64_t dims[SHAPE_MAX_RANK]; /* of x that are reduced */
};

/* One node with dim and keepdim, and `extra` in front of them. */
static struct lowered emit(const struct reduction *r, enum torch_op op, struct lowered x, enum dtype dtype,
                           const struct torch_attr *extra)
{
    struct torch_attr attrs[4];
    int n = 0;
    if (extra)
        attrs[n++] = *extra;
    attrs[n++] = r->count == 1 ? attr_int("dim", r->dims[0]) : attr_list(r->l, "dim", r->count, r->dims);
    if (op == TORCH_VAR || op == TORCH_STD)
        attrs[n++] = attr_int("correction", 0);
    attrs[n++] = attr_bool("keepdim", r->keep);
    return lower_one(r->l, r->call, op, x, r->shape, r->layout, dtype, n, attrs);
}

/* For functions that torch has along one dim only: the reduced axes moved to the end and made one. */
static struct lowered one_dim(struct reduction *r)
{
    struct lowered x = r->x;
    if (r->count == 1)
        return x;
    struct lowering *l = r->l;
    struct shape in = lower_shape(l, x.id);
    struct layout to = layout_keras(in.rank);
    int64_t dims[SHAPE_MAX_RANK], size = 1;
    int from[SHAPE_MAX_RANK], n = 0;
    for (int i = 0; i < in.rank; i++) {
        bool reduced = false;
        for (int k = 0; k < r->count; k++)
            reduced = reduced || r->dims[k] == i;
        if (!reduced) {
            from[n] = n;
            dims[n] = in.dims[i];
            to.axes[n++] = x.layout.axes[i];
        } else {
            size = size < 0 || in.dims[i] < 0 ? DIM_UNKNOWN : size * in.dims[i];
        }
    }
    for (int k = 0, m = n; k < r->count; k++)
        to.axes[m++] = x.layout.axes[r->dims[k]];
    dims[n] = size;
    from[n] = -1;
    x = lower_reshape(l, r->call, layout_convert(l, r->call, x, &to), n + 1, dims, from);
    r->dims[0] = n;
    r->count = 1;
    return x;
}

/* A reduction along one dim that loses the reduced axes; they come back as sizes of 1 when they are to be kept. */
static struct lowered emit_one_dim(struct reduction *r, enum torch_op op, enum dtype dtype,
                                   const struct torch_attr *extra)
{
    if (r->count == 1)
        return emit(r, op, r->x, dtype, extra);
    struct reduction inner = *r;
    bool keep = r->keep;
    inner.keep = false;
    struct lowered x = one_dim(&inner);
    struct shape shape = lower_shape(r->l, x.id);
    shape.rank--;
    inner.shape = shape;
    inner.layout = layout_keras(shape.rank);
    struct lowered y = emit(&inner, op, x, dtype, extra);
    if (!keep) {
        y.layout = r->layout;
        return y;
    }
    int64_t dims[SHAPE_MAX_RANK];
    int from[SHAPE_MAX_RANK], k = 0;
    for (int i = 0; i < r->shape.rank; i++) {
        bool reduced = false;
        for (int j = 0; j < r->count; j++)
            reduced = reduced || r->dims[j] == i;
        dims[i] = reduced ? 1 : r->shape.dims[i];
        from[i] = reduced ? -1 : k++;
    }
    y = lower_reshape(r->l, r->call, y, r->shape.rank, dims, from);
    y.layout = r->layout;
    return y;
}

/* The NaNs of x replaced. */
static struct lowered without_nan(const struct reduction *r, double value)
{
    struct torch_attr attrs[] = {attr_float("nan", value), attr_float("posinf", (double)INFINITY),
                                 attr_float("neginf", -(double)INFINITY)};
    return lower_one(r->l, r->call, TORCH_NAN_TO_NUM, r->x, lower_shape(r->l, r->x.id), r->x.layout,
                     lower_dtype(r->l, r->x.id), 3, attrs);
}

static struct lowered limited(const struct reduction *r, const struct reduce_config *c, struct lowered y)
{
    double inf = (double)INFINITY;
    if (!c->has_initial)
        return y;
    return c->variant == REDUCE_MAX ? lower_clamp(r->l, r->call, y, c->initial, inf)
                                    : lower_clamp(r->l, r->call, y, -inf, c->initial);
}

static struct lowered lower_quantile(struct reduction *r, const struct reduce_config *c)
{
    double q = 0.5;
    (void)quantile_of(c, r->call->arguments, &q);
    struct torch_attr attr = attr_float("q", q);
    return emit_one_dim(r, skips_nan(c) ? TORCH_NANQUANTILE : TORCH_QUANTILE, DTYPE_F32, &attr);
}

static struct lowered lower_ptp(const struct reduction *r, enum dtype dtype)
{
    return lower_join(r->l, r->call, TORCH_SUB, emit(r, TORCH_AMAX, r->x, dtype, NULL),
                      emit(r, TORCH_AMIN, r->x, dtype, NULL), dtype);
}

static struct lowered lower_reduction(struct reduction *r, const struct reduce_config *c, enum dtype dtype)
{
    struct torch_attr order = attr_float("ord", c->order);
    switch (c->variant) {
    case REDUCE_ANY: return emit(r, TORCH_ANY, r->x, DTYPE_BOOL, NULL);
    case REDUCE_ALL: return emit(r, TORCH_ALL, r->x, DTYPE_BOOL, NULL);
    case REDUCE_SUM: return emit(r, TORCH_SUM, r->x, dtype_is_float(dtype) ? dtype : DTYPE_I64, NULL);
    case REDUCE_MOMENTS:
    case REDUCE_MEAN: return emit(r, TORCH_MEAN, r->x, dtype, NULL);
    case REDUCE_PROD: return emit_one_dim(r, TORCH_PROD, dtype_is_float(dtype) ? dtype : DTYPE_I64, NULL);
    case REDUCE_MAX: return limited(r, c, emit(r, TORCH_AMAX, r->x, dtype, NULL));
    case REDUCE_MIN: return limited(r, c, emit(r, TORCH_AMIN, r->x, dtype, NULL));
    case REDUCE_PTP: return lower_ptp(r, dtype);
    case REDUCE_VAR: return emit(r, TORCH_VAR, r->x, dtype, NULL);
    case REDUCE_STD: return emit(r, TORCH_STD, r->x, dtype, NULL);
    case REDUCE_COUNT_NONZERO:
        return emit(r, TORCH_SUM, lower_convert(r->l, r->call, r->x, DTYPE_BOOL), DTYPE_I64, NULL);
    case REDUCE_LOGSUMEXP: return emit(r, TORCH_LOGSUMEXP, r->x, dtype, NULL);
    case REDUCE_ARGMAX: return emit_one_dim(r, TORCH_ARGMAX, DTYPE_I64, NULL);
    case REDUCE_ARGMIN: return emit_one_dim(r, TORCH_ARGMIN, DTYPE_I64, NULL);
    case REDUCE_MEDIAN:
    case REDUCE_QUANTILE:
    case REDUCE_PERCENTILE:
    case REDUCE_NANMEDIAN:
    case REDUCE_NANQUANTILE:
    case REDUCE_NANPERCENTILE: return lower_quantile(r, c);
    case REDUCE_NORM: return emit(r, TORCH_VECTOR_NORM, r->x, dtype, &order);
    case REDUCE_NANSUM:
        if (!dtype_is_float(dtype))
            return emit(r, TORCH_SUM, r->x, DTYPE_I64, NULL);
        return emit(r, TORCH_SUM, without_nan(r, 0), dtype, NULL);
    case REDUCE_NANMEAN: {
        struct lowered here = lower_convert(r->l, r->call,
                                            lower_map(r->l, r->call, TORCH_LOGICAL_NOT,
                                                      lower_map(r->l, r->call, TORCH_ISNAN, r->x, DTYPE_BOOL),
                                                      DTYPE_BOOL),
                                            DTYPE_F32);
        return lower_join(r->l, r->call, TORCH_DIV, emit(r, TORCH_SUM, without_nan(r, 0), dtype, NULL),
                          emit(r, TORCH_SUM, here, dtype, NULL), dtype);
    }
    case REDUCE_NANMAX: return emit(r, TORCH_AMAX, without_nan(r, -(double)INFINITY), dtype, NULL);
    case REDUCE_NANMIN: return emit(r, TORCH_AMIN, without_nan(r, (double)INFINITY), dtype, NULL);
    }
    return r->x;
}

/* Whether torch needs the input in the type of the result. */
static bool needs_cast(const struct reduce_config *c)
{
    return c->variant == REDUCE_MEAN || c->variant == REDUCE_VAR || c->variant == REDUCE_STD ||
           c->variant == REDUCE_NORM || c->variant == REDUCE_NANMEAN || c->variant == REDUCE_PROD || is_quantile(c);
}

static int op_reduce_lower(struct lowering *l, const struct keras_call *call)
{
    const struct reduce_config *c = call->layer->config;
    struct reduction r = {.l = l, .call = call, .x = lower_input(l, call, 0), .keep = c->keepdims};
    int axes[SHAPE_MAX_RANK];
    enum dtype dtype = call->outputs[0]->dtype;
    r.count = resolve(c, call->inputs[0]->shape.rank, axes);
    bool flat = r.x.layout.flat_rank > 0;
    /* An index among all elements, and features that stay in an odd order, go by Keras' order. */
    if ((c->all && (c->variant == REDUCE_ARGMAX || c->variant == REDUCE_ARGMIN)) || flat)
        r.x = lower_input_keras(l, call, 0);
    if (needs_cast(c))
        r.x = lower_convert(l, call, r.x, dtype);
    else if (dtype == DTYPE_I32 && lower_dtype(l, r.x.id) == DTYPE_BOOL && c->variant != REDUCE_COUNT_NONZERO)
        r.x = lower_convert(l, call, r.x, DTYPE_I32); /* torch has no argmax of bool */
    struct shape in = lower_shape(l, r.x.id);
    for (int i = 0; i < r.count; i++)
        r.dims[i] = layout_axis(&r.x.layout, axes[i]);
    r.layout = reduced_layout(&r.x.layout, r.keep, r.count, axes);
    r.shape = (struct shape){.rank = 0};
    for (int i = 0; i < in.rank; i++) {
        bool reduced = false;
        for (int k = 0; k < r.count; k++)
            reduced = reduced || r.dims[k] == i;
        if (!reduced || r.keep)
            r.shape.dims[r.shape.rank++] = reduced ? 1 : in.dims[i];
    }
    lower_output(l, call, 0, lower_reduction(&r, c, dtype));
    if (c->variant == REDUCE_MOMENTS)
        lower_output(l, call, 1, emit(&r, TORCH_VAR, r.x, dtype, NULL));
    return 0;
}

const struct layer_handler op_reduce_handler = {
    .config_size = sizeof(struct reduce_config),
    .read = op_reduce_read,
    .shape = op_reduce_shape,
    .reference = op_reduce_reference,
    .lower = op_reduce_lower,
};
