/* SPDX-License-Identifier: Apache-2.0 */
/* Layers that stand for operations: TensorFlow's graph layers and Lambda, and the operations that are made of others. They become
 * operations of Keras 3 when they are called. Private to keras/. */
#ifndef H5PT_KERAS_TRANSLATE_H
#define H5PT_KERAS_TRANSLATE_H

#include "keras/trace.h"

/* Whether a layer is translated when it is called: its class, or an operation that others make up (compositions.def). */
bool translate_is(const struct builder *b, const struct keras_layer *layer);

/* Makes the operations of one call. What cannot be translated is refused, and gives a bad value. -1: b->err. */
int translate_call(struct builder *b, struct keras_layer *layer, struct keras_value **inputs, int input_count,
                   const json_t *arguments, struct keras_value ***ret, int *ret_count);

/* The parts, each giving the result of the call as a value of the trace, or NULL with t->why. `arguments` as in struct
 * keras_call, with the tensors of the trace; `tensors` is the list of the inputs. */
const json_t *translate_tf_function(struct trace *t, const json_t *arguments); /* TFOpLambda, SlicingOpLambda */
const json_t *translate_tf_node(struct trace *t, const json_t *tensors);       /* TensorFlowOpLayer */
const json_t *translate_lambda(struct trace *t, const json_t *arguments);      /* Lambda */

/* A NodeDef of TensorFlow from its serialised form (`length` bytes), as the JSON form of the same: {"name", "op", "input":
 * […], "attr": {…}} with texts as {"text": …}. A new reference; NULL when it is damaged. */
json_t *node_def_parse(const char *bytes, size_t length);

/* Decodes base64 (with line breaks) in place of which `length` bytes come; malloc'd, owned by the caller. NULL when the text is
 * no base64 or without memory. */
unsigned char *base64_decode(const char *text, size_t text_length, size_t *length);

#endif
