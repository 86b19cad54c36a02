/* SPDX-License-Identifier: Apache-2.0 */
/* The variants that rows of layers.def name. */
#ifndef H5PT_LAYERS_VARIANTS_H
#define H5PT_LAYERS_VARIANTS_H

enum dropout_variant {
    DROPOUT_PLAIN,
    DROPOUT_SPATIAL1,
    DROPOUT_SPATIAL2,
    DROPOUT_SPATIAL3,
    DROPOUT_ALPHA,
    DROPOUT_GAUSSIAN,
    DROPOUT_NOISE,
    DROPOUT_REGULARIZATION,
    DROPOUT_IDENTITY,
};

enum activation_layer_variant {
    ACTIVATION_LAYER_NAMED,
    ACTIVATION_LAYER_RELU,
    ACTIVATION_LAYER_LEAKY_RELU,
    ACTIVATION_LAYER_ELU,
    ACTIVATION_LAYER_THRESHOLDED_RELU,
    ACTIVATION_LAYER_SOFTMAX,
};

/* The first three = enum recurrent_cell. */
enum recurrent_variant {
    RECURRENT_VARIANT_LSTM,
    RECURRENT_VARIANT_GRU,
    RECURRENT_VARIANT_SIMPLE,
    RECURRENT_VARIANT_CUDNN_LSTM,
    RECURRENT_VARIANT_CUDNN_GRU,
    RECURRENT_VARIANT_CELLS,
    RECURRENT_VARIANT_CONV1,
    RECURRENT_VARIANT_CONV2,
    RECURRENT_VARIANT_CONV3,
    RECURRENT_VARIANT_BIDIRECTIONAL,
};

/* The rows of op_unary.def. */
enum unary_variant {
#define UNARY(name, torch, type, value) UNARY_##name,
#include "layers/op_unary.def"
#undef UNARY
    UNARY_COUNT
};

enum adjust_variant {
    ADJUST_CLIP,
    ADJUST_NAN_TO_NUM,
    ADJUST_ROUND,
    ADJUST_CAST,
    ADJUST_COPY,
    ADJUST_CBRT,
};

/* The rows of op_binary.def, and those of more than one torch operation. */
enum binary_variant {
#define BINARY(name, torch, scalar, type, value) BINARY_##name,
#include "layers/op_binary.def"
#undef BINARY
    BINARY_FLOOR_DIVIDE,
    BINARY_DIVIDE_NO_NAN,
    BINARY_COUNT
};

enum reduce_variant {
    REDUCE_ANY,
    REDUCE_ALL,
    REDUCE_SUM,
    REDUCE_MEAN,
    REDUCE_PROD,
    REDUCE_MAX,
    REDUCE_MIN,
    REDUCE_PTP,
    REDUCE_VAR,
    REDUCE_STD,
    REDUCE_COUNT_NONZERO,
    REDUCE_LOGSUMEXP,
    REDUCE_ARGMAX,
    REDUCE_ARGMIN,
    REDUCE_MEDIAN,
    REDUCE_QUANTILE,
    REDUCE_PERCENTILE,
    REDUCE_NORM,
    REDUCE_NANSUM,
    REDUCE_NANMEAN,
    REDUCE_NANMAX,
    REDUCE_NANMIN,
    REDUCE_NANMEDIAN,
    REDUCE_NANQUANTILE,
    REDUCE_NANPERCENTILE,
    REDUCE_MOMENTS,
};

enum slice_variant {
    SLICE_GETITEM,
    SLICE_OP,
    SLICE_CROP,
};

enum tile_variant {
    TILE_FLIP,
    TILE_FLIPLR,
    TILE_FLIPUD,
    TILE_ROLL,
    TILE_REPEAT,
    TILE_TILE,
    TILE_PAD,
    TILE_PAD_IMAGES,
};

enum shape_variant {
    SHAPE_RESHAPE,
    SHAPE_RAVEL,
    SHAPE_TRANSPOSE,
    SHAPE_SWAPAXES,
    SHAPE_MOVEAXIS,
    SHAPE_ROT90,
    SHAPE_EXPAND_DIMS,
    SHAPE_SQUEEZE,
    SHAPE_BROADCAST_TO,
};

enum join_variant {
    JOIN_CONCATENATE,
    JOIN_APPEND,
    JOIN_STACK,
    JOIN_HSTACK,
    JOIN_VSTACK,
    JOIN_DSTACK,
};

enum split_variant {
    SPLIT_SPLIT,
    SPLIT_ARRAY_SPLIT,
    SPLIT_UNSTACK,
};

enum product_variant {
    PRODUCT_MATMUL,
    PRODUCT_DOT,
    PRODUCT_INNER,
    PRODUCT_OUTER,
    PRODUCT_VDOT,
    PRODUCT_TENSORDOT,
    PRODUCT_EINSUM,
};

enum choice_variant {
    CHOICE_WHERE,
    CHOICE_SELECT,
    CHOICE_FULL_LIKE,
    CHOICE_ONES_LIKE,
    CHOICE_ZEROS_LIKE,
};

enum line_variant {
    LINE_SORT,
    LINE_ARGSORT,
    LINE_TOPK,
    LINE_CUMSUM,
    LINE_CUMPROD,
    LINE_DIFF,
    LINE_NORMALIZE,
    LINE_AVERAGE,
};

enum take_variant {
    TAKE_TAKE,
    TAKE_ALONG_AXIS,
};

enum matrix_variant {
    MATRIX_TRIL,
    MATRIX_TRIU,
    MATRIX_DIAGONAL,
    MATRIX_TRACE,
    MATRIX_DIAG,
};

enum window_variant {
    WINDOW_OP_MAX_POOL,
    WINDOW_OP_AVERAGE_POOL,
    WINDOW_OP_CONV,
    WINDOW_OP_DEPTHWISE,
    WINDOW_OP_SEPARABLE,
};

enum hot_variant {
    HOT_ONE,
    HOT_MULTI,
};

enum op_norm_variant {
    OP_NORM_BATCH,
    OP_NORM_LAYER,
    OP_NORM_RMS,
};

enum lookup_variant {
    LOOKUP_IS_IN,
    LOOKUP_DIGITIZE,
    LOOKUP_SEARCH_SORTED,
};

enum algebra_variant {
    ALGEBRA_INV,
    ALGEBRA_DET,
    ALGEBRA_CROSS,
    ALGEBRA_SLOGDET,
};

enum spectrum_variant {
    SPECTRUM_CHOLESKY,
    SPECTRUM_SOLVE_TRIANGULAR,
    SPECTRUM_SVD,
    SPECTRUM_EIGH,
    SPECTRUM_PINV,
};

enum patch_variant {
    PATCH_DEPTH_TO_SPACE,
    PATCH_SPACE_TO_DEPTH,
    PATCH_UNFOLD,
    PATCH_EXTRACT,
};

enum color_variant {
    COLOR_GRAYSCALE,
    COLOR_HSV,
    COLOR_RGB, /* from HSV */
};

enum fourier_variant {
    FOURIER_RFFT,
    FOURIER_IRFFT,
    FOURIER_FFT,
    FOURIER_FFT2,
    FOURIER_IFFT2,
};

enum frames_variant {
    FRAMES_EXTRACT,
    FRAMES_STFT,
    FRAMES_ISTFT,
};

enum loss_variant {
    LOSS_BINARY,
    LOSS_CATEGORICAL,
    LOSS_SPARSE,
    LOSS_PSNR,
};

enum scatter_variant {
    SCATTER_ND,
    SCATTER_UPDATE,
    SCATTER_SEGMENT_SUM,
    SCATTER_SEGMENT_MAX,
    SCATTER_SEGMENT_MIN,
    SCATTER_SEGMENT_PROD,
    SCATTER_SLICE,
};

enum filter_variant {
    FILTER_SOBEL,
    FILTER_BLUR,
    FILTER_SSIM,
};

enum warp_variant {
    WARP_AFFINE,
    WARP_PERSPECTIVE,
};

enum merge_variant {
    MERGE_ADD,
    MERGE_SUBTRACT,
    MERGE_MULTIPLY,
    MERGE_AVERAGE,
    MERGE_MAXIMUM,
    MERGE_MINIMUM,
};

enum residual_variant {
    RESIDUAL_SCALE,
    RESIDUAL_DEPTH,
};

enum resizing_variant {
    RESIZING_PLAIN,
    RESIZING_OPERATION, /* Resize of a Keras 3 graph */
    RESIZING_LIKE,      /* to the size of another image, a second input */
    RESIZING_CENTER_CROP,
    RESIZING_RANDOM_CROP,
};

enum attention_variant {
    ATTENTION_SCORE_DOT,
    ATTENTION_SCORE_ADDITIVE,
};

enum heads_variant {
    HEADS_ALIKE,
    HEADS_GROUPED,
};

enum parametric_variant {
    PARAMETRIC_SOFTPLUS,
    PARAMETRIC_SRELU,
};

#endif
