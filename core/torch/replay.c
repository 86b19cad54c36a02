/* SPDX-License-Identifier: Apache-2.0 */
#include "torch/replay_internal.h"

#include <cblas.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static replay_function *const functions[TORCH_OP_COUNT] = {
#define OP(id, kind, module, callee, attributes) [TORCH_##id] = replay_##id,
#include "torch/ops.def"
#undef OP
};

static bool input_count_fits(const struct torch_node *node)
{
    switch (node->op) {
    case TORCH_PARAMETER: return node->input_count == 0;
    case TORCH_STACK:
    case TORCH_CAT: return node->input_count >= 1;
    case TORCH_LINEAR:
    case TORCH_EMBEDDING: return node->input_count == 1 || node->input_count == 2;
    case TORCH_SCALED_DOT_PRODUCT_ATTENTION: return node->input_count == 3 || node->input_count == 4;
    case TORCH_WHERE: return node->input_count == 3;
    case TORCH_WHERE_NUMBER: return node->input_count == 1 || node->input_count == 2;
    case TORCH_BAND_MASK: return node->input_count == 2;
    case TORCH_LSTM: return node->input_count == 1 || node->input_count == 3;
    case TORCH_GRU:
    case TORCH_RNN: return node->input_count == 1 || node->input_count == 2;
    case TORCH_LSTM_LOOP:
    case TORCH_CONV_LSTM_LOOP: return replay_loop_inputs(node, 2);
    case TORCH_GRU_LOOP:
    case TORCH_RNN_LOOP: return replay_loop_inputs(node, 1);
    case TORCH_SCATTER_ND:
    case TORCH_LOOKUP: return node->input_count == 3;
    case TORCH_IRFFT:
    case TORCH_FFT_REAL:
    case TORCH_FFT_IMAG:
    case TORCH_IFFT_REAL:
    case TORCH_IFFT_IMAG:
    case TORCH_PROJECTIVE_TRANSFORM:
    case TORCH_SLICE_UPDATE:
    case TORCH_TAKE:
    case TORCH_STFT_MAGNITUDE:
    case TORCH_UNFLATTEN_LIKE:
    case TORCH_INTERPOLATE_LIKE:
    case TORCH_RESIZE_LIKE:
    case TORCH_MATMUL:
    case TORCH_EINSUM:
    case TORCH_MAXIMUM:
    case TORCH_MINIMUM:
    case TORCH_FMOD:
    case TORCH_FMAX:
    case TORCH_FMIN:
    case TORCH_ATAN2:
    case TORCH_HYPOT:
    case TORCH_ISIN:
    case TORCH_BUCKETIZE:
    case TORCH_CROSS:
    case TORCH_GCD:
    case TORCH_LCM:
    case TORCH_SOLVE:
    case TORCH_SOLVE_TRIANGULAR:
    case TORCH_INDEX_SELECT:
    case TORCH_TAKE_ALONG_DIM:
    case TORCH_HEAVISIDE:
    case TORCH_LOGADDEXP:
    case TORCH_LOGADDEXP2: return node->input_count == 2;
    default: return node->input_count == (torch_op_info(node->op)->kind == TORCH_KIND_OPERATOR ? 2 : 1);
    }
}

int replay_node(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    if (!input_count_fits(call->node))
        return replay_mismatch(call, err, "it does not take %d inputs", call->node->input_count);
    return functions[call->node->op](call, ret, err);
}

static void add_shapes(struct strbuf *text, const char *lead, int count, const struct tensor *const *tensors)
{
    char shape[SHAPE_TEXT_SIZE];
    for (int i = 0; i < count; i++)
        strbuf_addf(text, "%s%s", i ? ", " : lead, shape_text(&tensors[i]->shape, shape));
}

int replay_mismatch(const struct replay_call *call, struct h5pt_error *err, const char *format, ...)
{
    char reason[256];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    struct strbuf text = STRBUF_INIT;
    strbuf_add(&text, torch_op_info(call->node->op)->id);
    add_shapes(&text, " of ", call->node->input_count, call->inputs);
    add_shapes(&text, " with ", call->node->parameter_count, call->parameters);
    (void)h5pt_fail(err, H5PT_SHAPE_MISMATCH, call->node->module, "%.240s: %s", strbuf_text(&text), reason);
    strbuf_release(&text);
    return -1;
}

struct tensor *replay_new(const struct shape *shape, enum dtype dtype, struct h5pt_error *err)
{
    struct tensor *tensor = tensor_new(shape, dtype);
    if (!tensor)
        (void)h5pt_fail_memory(err);
    return tensor;
}

int replay_view(const struct tensor *tensor, const struct shape *shape, struct tensor **ret, struct h5pt_error *err)
{
    struct tensor *copy = tensor_copy(tensor);
    if (!copy)
        return h5pt_fail_memory(err);
    copy->shape = *shape;
    *ret = copy;
    return 0;
}

int64_t replay_int(const struct replay_call *call, const char *name, int64_t fallback)
{
    return torch_attr(call->node, name) ? torch_attr_int(call->node, name) : fallback;
}

double replay_float(const struct replay_call *call, const char *name, double fallback)
{
    return torch_attr(call->node, name) ? torch_attr_float(call->node, name) : fallback;
}

bool replay_bool(const struct replay_call *call, const char *name, bool fallback)
{
    return torch_attr(call->node, name) ? torch_attr_int(call->node, name) != 0 : fallback;
}

int replay_ints(const struct replay_call *call, const char *name, int count, int64_t minimum, int64_t fallback,
                int64_t *ret, struct h5pt_error *err)
{
    const struct torch_attr *attr = torch_attr(call->node, name);
    if (attr && attr->kind == TORCH_ATTR_INTS && attr->ints.count != count)
        return replay_mismatch(call, err, "%s has %d elements, not %d", name, attr->ints.count, count);
    for (int i = 0; i < count; i++) {
        int64_t value = attr ? torch_attr_at(call->node, name, i) : fallback;
        if (value < minimum || value > INT32_MAX)
            return replay_mismatch(call, err, "%s cannot be %" PRId64, name, value);
        ret[i] = value;
    }
    return 0;
}

int replay_dim(const struct replay_call *call, int64_t dim, int rank, int *ret, struct h5pt_error *err)
{
    if (dim < -rank || dim >= rank)
        return replay_mismatch(call, err, "there is no dim %" PRId64 " among %d", dim, rank);
    *ret = (int)(dim < 0 ? dim + rank : dim);
    return 0;
}

int replay_dims(const struct replay_call *call, const char *name, bool ret[SHAPE_MAX_RANK], struct h5pt_error *err)
{
    const struct torch_attr *attr = torch_attr(call->node, name);
    int rank = call->inputs[0]->shape.rank;
    int count = !attr ? 0 : attr->kind == TORCH_ATTR_INTS ? attr->ints.count : 1;
    for (int i = 0; i < SHAPE_MAX_RANK; i++)
        ret[i] = count == 0;
    for (int i = 0; i < count; i++) {
        int dim = 0;
        if (replay_dim(call, torch_attr_at(call->node, name, i), rank, &dim, err) != 0)
            return -1;
        if (ret[dim])
            return replay_mismatch(call, err, "dim %d appears twice", dim);
        ret[dim] = true;
    }
    return 0;
}

static int dtype_category(enum dtype dtype)
{
    return dtype_is_float(dtype) ? 2 : dtype == DTYPE_BOOL ? 0 : 1;
}

enum dtype replay_promote(enum dtype a, enum dtype b)
{
    int category_a = dtype_category(a), category_b = dtype_category(b);
    if (category_a != category_b)
        return category_a > category_b ? a : b;
    if (a != b && category_a == 2 && dtype_size(a) == dtype_size(b))
        return DTYPE_F32;
    return dtype_size(a) >= dtype_size(b) ? a : b;
}

void replay_strides(const struct shape *shape, int64_t strides[SHAPE_MAX_RANK])
{
    int64_t step = 1;
    for (int i = shape->rank - 1; i >= 0; i--) {
        strides[i] = step;
        step *= shape->dims[i];
    }
}

void replay_copy_box(int rank, const int64_t *dims, const float *in, const int64_t *in_strides, float *out,
                     const int64_t *out_strides)
{
    if (rank == 0) {
        *out = *in;
    } else if (rank > 1) {
        for (int64_t i = 0; i < dims[0]; i++)
            replay_copy_box(rank - 1, dims + 1, in + i * in_strides[0], in_strides + 1, out + i * out_strides[0],
                            out_strides + 1);
    } else if (in_strides[0] == 1 && out_strides[0] == 1) {
        memcpy(out, in, (size_t)dims[0] * sizeof *out);
    } else {
        for (int64_t i = 0; i < dims[0]; i++)
            out[i * out_strides[0]] = in[i * in_strides[0]];
    }
}

static int row_length(int64_t row)
{
    return row > 0 ? (int)row : 1;
}

int replay_gemm(const struct replay_call *call, const struct replay_gemm *g, struct h5pt_error *err)
{
    if (g->m > INT_MAX || g->n > INT_MAX || g->k > INT_MAX || g->a_row > INT_MAX || g->b_row > INT_MAX ||
        g->c_row > INT_MAX)
        return replay_mismatch(call, err, "a matrix has more than %d rows or columns", INT_MAX);
    if (g->m == 0 || g->n == 0)
        return 0;
    if (g->m == 1 && !g->transpose_a)
        cblas_sgemv(CblasRowMajor, g->transpose_b ? CblasNoTrans : CblasTrans, (int)(g->transpose_b ? g->n : g->k),
                    (int)(g->transpose_b ? g->k : g->n), 1.0f, g->b, row_length(g->b_row), g->a, 1, g->beta, g->c, 1);
    else
        cblas_sgemm(CblasRowMajor, g->transpose_a ? CblasTrans : CblasNoTrans,
                    g->transpose_b ? CblasTrans : CblasNoTrans, (int)g->m, (int)g->n, (int)g->k, 1.0f, g->a,
                    row_length(g->a_row), g->b, row_length(g->b_row), g->beta, g->c, row_length(g->c_row));
    return 0;
}
