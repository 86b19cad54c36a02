/* SPDX-License-Identifier: Apache-2.0 */
/* What the convolution layers share. Kernels in the file are (taps…, inputs, outputs) whatever the data format; torch wants
 * (outputs, inputs, taps…). */
#ifndef H5PT_LAYERS_CONV_H
#define H5PT_LAYERS_CONV_H

#include "layers/activation.h"
#include "layers/spatial.h"

struct conv_config {
    struct spatial_window window;
    int64_t filters;    /* not of depthwise convolutions */
    int64_t groups;     /* 1 but for Conv1D/2D/3D */
    int64_t multiplier; /* depth_multiplier; of depthwise and separable convolutions */
    const char *kernel; /* slot of the (first) kernel */
    bool use_bias;
    bool bias_by_length; /* see conv_declare_bias */
    struct activation activation;
};

/* Reads kernel_size, strides, padding, dilation_rate, data_format, use_bias and activation. */
void conv_read(struct config_reader *reader, struct conv_config *config, int rank, bool causal);
/* Refuses a stride together with a dilation, which Keras cannot compute. */
void conv_refuse_dilated_stride(struct config_reader *reader, const struct conv_config *config);

/* Declares a weight of shape (taps…, a, b). */
void conv_declare_kernel(struct layer_shape *s, const char *slot, const struct spatial_window *window, int64_t a,
                         int64_t b);
/* Declares the bias, when there is one; output 0 is set already.
 *
 * Keras 3.7 and later on TensorFlow find the axis of a bias by its length, the last axis first. In a channels_first layer whose
 * last spatial size equals its channels the bias then runs along that axis, in some layers for model(x) but not for
 * model.predict(x): there is no one right answer, so this is refused (UNSUPPORTED_CONFIG). */
int conv_declare_bias(struct layer_shape *s, const struct conv_config *config, int64_t channels);

/* The bias is the last of the weights; NULL when there is none. */
const struct tensor *conv_bias(const struct layer_run *run, const struct conv_config *config);
/* Ends a reference run: y into Keras order, then the activation. */
int conv_end(struct channels_last *cl, const struct conv_config *config, int status);

/* An nn.ConvNd (padding where needed included) or nn.ConvTransposeNd. */
struct conv_module {
    const char *suffix; /* of the module name, or NULL */
    const char *kernel; /* slot of its weight */
    struct rearrangement weight;
    const struct tensor
        *constant; /* the kernel when it is no weight: (taps…, a, b), or already rearranged when `arranged` */
    bool arranged;
    bool bias;             /* takes the layer's bias */
    const char *bias_slot; /* NULL: "bias" */
    int64_t in_channels, out_channels, groups;
};
struct lowered conv_lower(struct lowering *l, const struct keras_call *call, struct lowered x,
                          const struct spatial_window *window, const struct conv_module *module);
/* The names of a module's parameters, registered: returns how many. */
int conv_parameters(struct lowering *l, const struct keras_call *call, const char *name,
                    const struct conv_module *module, int parameters[2]);
/* (taps…, a, b) → (b, a, taps…) */
struct rearrangement conv_rearrange(const struct keras_call *call, const char *slot);
/* The activation, then output 0 of the call. -1 after an error. */
int conv_finish(struct lowering *l, const struct keras_call *call, struct lowered x,
                const struct activation *activation);

#endif
