/* SPDX-License-Identifier: Apache-2.0 */
/* What the replay kernels share. Tensors are in torch's layout: batch, channels, spatial dims. */
#ifndef H5PT_TORCH_REPLAY_INTERNAL_H
#define H5PT_TORCH_REPLAY_INTERNAL_H

#include "torch/replay.h"

/* Every row of ops.def has a kernel of this form; it may rely on the number of inputs, and on nothing else. */
typedef int replay_function(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err);

#define OP(id, kind, module, callee, attributes) replay_function replay_##id;
#include "torch/ops.def"
#undef OP

/* SHAPE_MISMATCH: "CONV2D of (1, 3, 8, 8) with (4, 2, 3, 3): " and the formatted reason. Returns -1. */
int replay_mismatch(const struct replay_call *call, struct h5pt_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* tensor_new with OUT_OF_MEMORY instead of a silent NULL. */
struct tensor *replay_new(const struct shape *shape, enum dtype dtype, struct h5pt_error *err);
/* The data of `tensor` under another shape with the same number of elements. */
int replay_view(const struct tensor *tensor, const struct shape *shape, struct tensor **ret, struct h5pt_error *err);

/* Attributes with torch's default for when the node leaves them out. */
int64_t replay_int(const struct replay_call *call, const char *name, int64_t fallback);
double replay_float(const struct replay_call *call, const char *name, double fallback);
bool replay_bool(const struct replay_call *call, const char *name, bool fallback);
/* Height and width that an operation takes from its second input, an image, each so many `times`. */
int replay_like_size(const struct replay_call *call, int64_t size[2], struct h5pt_error *err);
/* INT for all of `count` dims, or INTS with exactly `count` elements, each in minimum..2^31; absent: `fallback`. */
int replay_ints(const struct replay_call *call, const char *name, int count, int64_t minimum, int64_t fallback,
                int64_t *ret, struct h5pt_error *err);

/* `dim` counted from the front: 0 <= *ret < rank. */
int replay_dim(const struct replay_call *call, int64_t dim, int rank, int *ret, struct h5pt_error *err);
/* The dims that INT or INTS `name` lists, of input 0; absent or empty: all. */
int replay_dims(const struct replay_call *call, const char *name, bool ret[SHAPE_MAX_RANK], struct h5pt_error *err);

/* Whether the inputs of a recurrent loop with so many states are complete. */
bool replay_loop_inputs(const struct torch_node *node, int states);

/* The type that torch computes in when both meet: bool < integers < floats, then the larger. */
enum dtype replay_promote(enum dtype a, enum dtype b);

/* Steps of a row-major tensor of this shape, in elements. */
void replay_strides(const struct shape *shape, int64_t strides[SHAPE_MAX_RANK]);
/* out[i…] = in[i…] for a box of `dims`, each side with its own steps. */
void replay_copy_box(int rank, const int64_t *dims, const float *in, const int64_t *in_strides, float *out,
                     const int64_t *out_strides);

/* C = op(A) op(B) + beta C, row-major; op(A) is m x k, op(B) is k x n, all with the given row lengths. */
struct replay_gemm {
    bool transpose_a, transpose_b;
    int64_t m, n, k;
    const float *a;
    int64_t a_row;
    const float *b;
    int64_t b_row;
    float *c;
    int64_t c_row;
    float beta;
};
int replay_gemm(const struct replay_call *call, const struct replay_gemm *gemm, struct h5pt_error *err);

/* A window that slides over the spatial dims of a batch of planes. Always three dims; those in front are 1 when the
 * operation has fewer. */
struct replay_window {
    int rank; /* spatial dims of the operation, 1 to 3 */
    int64_t batch, channels;
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3];
    int64_t before[3];                      /* padding in front */
    int64_t in_size, out_size, kernel_size; /* products over the three dims */
};

/* From the node's kernel_size, stride, padding, dilation and input 0 of rank + 2 dims. Without a stride attribute the stride
 * is the kernel when `pooling`, else 1. */
int replay_window_init(struct replay_window *window, const struct replay_call *call, int rank, bool pooling,
                       struct h5pt_error *err);
/* The same, padded as replay_pad_same does. */
int replay_window_init_same(struct replay_window *window, const struct replay_call *call, int rank,
                            struct h5pt_error *err);
/* The window of the convolution that a transposed one is the gradient of: it slides over our output (`in`), and gives our
 * input (`out`). */
int replay_window_init_transposed(struct replay_window *window, const struct replay_call *call, int rank,
                                  struct h5pt_error *err);
/* Batch, `channels` and the window's `in` or `out` dims. */
struct shape replay_window_shape(const struct replay_window *window, int64_t channels, const int64_t dims[3]);
/* The padding with which ceil(in / stride) windows fit, the odd cell at the end. */
void replay_pad_same(int64_t in, int64_t kernel, int64_t stride, int64_t dilation, int64_t *before, int64_t *after);

/* out[i] sees in[i * stride] through the window cell number `tap`, for i < count. */
typedef void replay_run(float *out, const float *in, int64_t count, int64_t stride, int64_t tap, const void *context);
/* Calls `run` for every cell of the window and every row of outputs of one plane, for what lies inside the input. */
void replay_window_run(const struct replay_window *window, const float *plane, float *out, replay_run *run,
                       const void *context);

/* For the output positions first..first + count of one sample: columns[(c * kernel_size + tap) * count + i] is the cell of
 * channel c that output first + i sees through tap, 0 outside. */
void replay_columns(const struct replay_window *window, int64_t channels, const float *planes, int64_t first,
                    int64_t count, float *columns);
/* The reverse: adds each column to the cell it would have been read from. */
void replay_columns_add(const struct replay_window *window, int64_t channels, const float *columns, int64_t first,
                        int64_t count, float *planes);

enum replay_reduction { REPLAY_SUM, REPLAY_SUM_DEVIATIONS, REPLAY_SUM_POWERS, REPLAY_MAX, REPLAY_MIN };
/* Reduces the marked dims into ret[0..product of the others), row-major. SUM_DEVIATIONS: squares of x - argument[same
 * index]; SUM_POWERS: |x| to the power *argument. */
void replay_reduce(const struct tensor *tensor, const bool reduced[SHAPE_MAX_RANK], enum replay_reduction reduction,
                   const double *argument, double *ret);
/* The shape after reducing: 1 where reduced when `keep`, else without those dims. */
struct shape replay_reduced_shape(const struct shape *shape, const bool reduced[SHAPE_MAX_RANK], bool keep);

#endif
