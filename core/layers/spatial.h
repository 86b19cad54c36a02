/* SPDX-License-Identifier: Apache-2.0 */
/* What layers with spatial dimensions (convolution, pooling) share: the window in their configuration, their shapes, the
 * padding in torch, and channels-last views for the reference.
 *
 * "Spatial dimension i" counts from 0 and leaves batch and channels out. */
#ifndef H5PT_LAYERS_SPATIAL_H
#define H5PT_LAYERS_SPATIAL_H

#include "layers/layer.h"
#include "layers/lower.h"
#include "layers/window.h"

/* EXPLICIT: amounts that do not depend on the size of the input, as everything on Theano. */
enum spatial_padding { SPATIAL_VALID, SPATIAL_SAME, SPATIAL_CAUSAL, SPATIAL_FULL, SPATIAL_EXPLICIT };

struct spatial_window {
    int rank; /* 1 … 3 spatial dimensions */
    int64_t size[WINDOW_MAX_RANK], stride[WINDOW_MAX_RANK], dilation[WINDOW_MAX_RANK];
    enum spatial_padding padding;
    /* when EXPLICIT, and what they would be on Theano when any_backend */
    int64_t before[WINDOW_MAX_RANK], after[WINDOW_MAX_RANK];
    bool any_backend; /* pooling with "same", computed by TensorFlow or by Theano */
    bool pooling;     /* a torch module pads by half a window at most */
};

/* ---- configuration ---- */
/* `rank` numbers of 1 … WINDOW_MAX_SETTING from `key`; anything else is refused and read as 1. `absent` 0: the key must be
 * there. */
void spatial_read_sizes(struct config_reader *reader, const char *key, int rank, int64_t *ret, int64_t absent);
/* "padding" of a window whose sizes are read already; causal where `causal` is true, full in convolutions of Keras 1 on Theano. */
void spatial_read_padding(struct config_reader *reader, struct spatial_window *window, bool causal);
/* A number of 1 … WINDOW_MAX_SETTING; `absent` 0: the key must be there. */
int64_t spatial_read_count(struct config_reader *reader, const char *key, int64_t absent);
/* A key that some versions write although it has one possible value here: null, or `only`. */
void spatial_read_only(struct config_reader *reader, const char *key, int64_t only);

/* ---- shapes ---- */
/* Keras axes of the first spatial dimension and of the channels in a value of rank + 2 dimensions. */
int spatial_axis(const struct keras_layer *layer);
int spatial_channel_axis(const struct keras_layer *layer, int rank);
/* Refuses input 0 unless it has rank + 2 dimensions of which none is too large. */
int spatial_check_input(struct layer_shape *s, int rank);
/* Output 0: the batch, these spatial sizes (DIM_UNKNOWN where free; 0 or less is refused) and channels, in Keras order. */
int spatial_set_output(struct layer_shape *s, int rank, const int64_t *sizes, int64_t channels);
/* How many windows fit along dimension i into n cells: 0 when none does, DIM_UNKNOWN for an unknown n. */
int64_t spatial_output_size(const struct spatial_window *window, int i, int64_t n);
/* The padding along dimension i of n cells. */
void spatial_padding_of(const struct spatial_window *window, int i, int64_t n, int64_t *before, int64_t *after);
/* spatial_check_input and spatial_set_output with the sizes of this window. */
int spatial_window_shape(struct layer_shape *s, const struct spatial_window *window, int64_t channels);

/* ---- reference ---- */
/* The tensors of a run as channels-last data: borrowed, or transposed copies when the layer is channels_first. */
struct channels_last {
    const struct layer_run *run;
    const struct tensor *x;         /* (batch, spatial…, channels) */
    float *y;                       /* the same for output 0; to be filled */
    int64_t batch, channels;        /* of x */
    struct tensor *x_copy, *y_copy; /* owned, or NULL */
};
int channels_last_begin(const struct layer_run *run, struct channels_last *ret);
/* Brings y into Keras order when status is 0; releases the copies. Returns the status, or -1 with an error. */
int channels_last_end(struct channels_last *cl, int status);
/* The axes of `window` for this run, padded in front to three. */
void channels_last_axes(const struct channels_last *cl, const struct spatial_window *window,
                        struct window_axis ret[WINDOW_MAX_RANK]);
/* y = bias in every position, or 0 when bias is NULL. */
void channels_last_fill(const struct channels_last *cl, const struct tensor *bias, int64_t channels);

/* ---- torch ---- */
/* What padding a window needs in torch, for an input of this shape in torch order. */
enum spatial_form {
    SPATIAL_SYMMETRIC, /* the same on both sides: fits a module's `padding` */
    SPATIAL_FIXED,     /* known, but one side gets more, or a shared layer needs different amounts in different calls */
    SPATIAL_RUN_TIME,  /* depends on sizes that are known only in forward */
};
struct spatial_plan {
    enum spatial_form form;
    int64_t before[WINDOW_MAX_RANK], after[WINDOW_MAX_RANK]; /* unless RUN_TIME */
};
struct spatial_plan spatial_plan(const struct keras_call *call, const struct spatial_window *window,
                                 const struct shape *input);
/* Pads x with `value` as planned, unless the module can do it: then x comes back as it is and `module_padding` has the
 * amounts (all 0 otherwise). */
struct lowered spatial_pad(struct lowering *l, const struct keras_call *call, const struct spatial_window *window,
                           struct lowered x, double value, int64_t module_padding[WINDOW_MAX_RANK]);
/* The shape of the windows over `input` with so many channels, in torch order. */
struct shape spatial_torch_shape(const struct spatial_window *window, const struct shape *input, int64_t channels);
/* x without `cells[i]` at the end of spatial dimension i, which leaves `shape`. */
struct lowered spatial_cut(struct lowering *l, const struct keras_call *call, struct lowered x, const int64_t *cells,
                           const struct shape *shape);
/* Input 0 in (batch, channels, spatial…). */
struct lowered spatial_input(struct lowering *l, const struct keras_call *call, int rank);

#endif
