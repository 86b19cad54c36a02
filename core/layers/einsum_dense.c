/* SPDX-License-Identifier: Apache-2.0 */
/* EinsumDense: an einsum of the input and a kernel, "abc,cd->abd", plus a bias over some axes of the result. Axes that "..."
 * stands for get letters of their own when the rank of the input is known. */
#include <cblas.h>
#include <stdio.h>
#include <string.h>

#include "layers/activation.h"
#include "layers/compose.h"
#include "layers/layer.h"
#include "layers/lower.h"

enum { LETTERS_SIZE = SHAPE_MAX_RANK + 1 };

enum ellipsis { ELLIPSIS_NONE, ELLIPSIS_FRONT, ELLIPSIS_BACK };

struct einsum_dense_config {
    char input[LETTERS_SIZE], kernel[LETTERS_SIZE], output[LETTERS_SIZE]; /* without the ellipsis */
    enum ellipsis ellipsis;
    int size_count; /* output_shape: the axes of the result behind the batch, without those of the ellipsis */
    int64_t sizes[SHAPE_MAX_RANK];
    const char *bias_axes; /* of the letters of `output`; NULL: no bias */
    struct activation activation;
};

/* ---- configuration ---- */

/* One operand, up to the next character that belongs to none. */
static bool read_term(const char **text, char letters[LETTERS_SIZE], enum ellipsis *ellipsis)
{
    size_t count = 0;
    *ellipsis = ELLIPSIS_NONE;
    if (strncmp(*text, "...", 3) == 0) {
        *ellipsis = ELLIPSIS_FRONT;
        *text += 3;
    }
    for (; (**text >= 'a' && **text <= 'z') || (**text >= 'A' && **text <= 'Z'); (*text)++) {
        if (count == SHAPE_MAX_RANK || memchr(letters, **text, count))
            return false;
        letters[count++] = **text;
    }
    letters[count] = '\0';
    if (*ellipsis == ELLIPSIS_NONE && strncmp(*text, "...", 3) == 0) {
        *ellipsis = ELLIPSIS_BACK;
        *text += 3;
    }
    return count > 0;
}

static bool skip(const char **text, const char *mark)
{
    size_t length = strlen(mark);
    if (strncmp(*text, mark, length) != 0)
        return false;
    *text += length;
    return true;
}

/* Every letter of `letters` is in a or b. */
static bool all_in(const char *letters, const char *a, const char *b)
{
    for (; *letters; letters++)
        if (!strchr(a, *letters) && !strchr(b, *letters))
            return false;
    return true;
}

static bool read_equation(const char *text, struct einsum_dense_config *c)
{
    enum ellipsis of_kernel, of_output;
    return read_term(&text, c->input, &c->ellipsis) && skip(&text, ",") && read_term(&text, c->kernel, &of_kernel) &&
           skip(&text, "->") && read_term(&text, c->output, &of_output) && !*text && of_kernel == ELLIPSIS_NONE &&
           of_output == c->ellipsis && all_in(c->output, c->input, c->kernel) && all_in(c->kernel, c->input, c->output);
}

static void einsum_dense_read(struct config_reader *reader, void *config, int variant)
{
    struct einsum_dense_config *c = config;
    (void)variant;
    const char *equation = config_text(reader, "equation", "");
    bool readable = read_equation(equation, c);
    if (!readable)
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "equation", "The equation \"%.80s\" is not supported", equation);
    c->size_count = config_list(reader, "output_shape", SHAPE_MAX_RANK, c->sizes);
    if (c->size_count < 0 && !config_get(reader, "output_shape"))
        config_refuse(reader, H5PT_CONFIG_INVALID, "output_shape", "\"output_shape\" is missing");
    for (int i = 0; i < c->size_count; i++)
        if (c->sizes[i] < 1 && c->sizes[i] != DIM_UNKNOWN)
            config_refuse(reader, H5PT_CONFIG_INVALID, "output_shape", "Size %d is not positive", i);
    c->bias_axes = config_text(reader, "bias_axes", NULL);
    if (readable && c->bias_axes && (!*c->bias_axes || !all_in(c->bias_axes, c->output, "")))
        config_refuse(reader, H5PT_CONFIG_INVALID, "bias_axes", "The axes \"%.20s\" are not all in the output",
                      c->bias_axes);
    c->activation = activation_read(reader, "activation");
    config_read_storage(reader);
}

/* ---- shapes ---- */

/* The equation for an input of a certain rank, a letter for each axis. */
struct equation {
    char input[LETTERS_SIZE], kernel[LETTERS_SIZE], output[LETTERS_SIZE];
    int elided; /* axes that the ellipsis stands for */
};

/* Lays `elided` where the ellipsis of `letters` is. */
static void expand_term(const struct einsum_dense_config *c, const char *letters, const char *elided,
                        char ret[LETTERS_SIZE])
{
    (void)snprintf(ret, LETTERS_SIZE, "%s%s%s", c->ellipsis == ELLIPSIS_FRONT ? elided : "", letters,
                   c->ellipsis == ELLIPSIS_BACK ? elided : "");
}

/* False when the equation does not fit the rank, or does not keep the batch in front. */
static bool expand(const struct einsum_dense_config *c, int rank, struct equation *e)
{
    char elided[LETTERS_SIZE] = "";
    *e = (struct equation){.elided = rank - (int)strlen(c->input)};
    bool fits = e->elided == 0 || (e->elided > 0 && c->ellipsis != ELLIPSIS_NONE);
    if (!fits || rank > SHAPE_MAX_RANK || (int)strlen(c->output) + e->elided > SHAPE_MAX_RANK)
        return false;
    int count = 0;
    for (char letter = 'a'; count < e->elided; letter++)
        if (!strchr(c->input, letter) && !strchr(c->kernel, letter) && !strchr(c->output, letter))
            elided[count++] = letter;
    expand_term(c, c->input, elided, e->input);
    expand_term(c, c->output, elided, e->output);
    memcpy(e->kernel, c->kernel, sizeof e->kernel);
    return e->input[0] == e->output[0] && !strchr(e->kernel, e->input[0]);
}

static int letter_at(const char *letters, char letter)
{
    const char *at = strchr(letters, letter);
    return at ? (int)(at - letters) : -1;
}

/* What output_shape says about axis `i` of the result. */
static int64_t given_size(const struct einsum_dense_config *c, const struct equation *e, int i)
{
    int first = c->ellipsis == ELLIPSIS_FRONT && e->elided > 0 ? e->elided : 1;
    return i >= first && i < first + c->size_count ? c->sizes[i - first] : DIM_UNKNOWN;
}

static int output_shape(struct layer_shape *s, const struct equation *e)
{
    const struct einsum_dense_config *c = s->config;
    struct shape *out = &s->outputs[0];
    out->rank = (int)strlen(e->output);
    for (int i = 0; i < out->rank; i++) {
        int at = letter_at(e->input, e->output[i]);
        int64_t given = given_size(c, e, i), own = at < 0 ? given : s->inputs[0].dims[at];
        if (given != DIM_UNKNOWN && own != DIM_UNKNOWN && given != own)
            return layer_shape_fail(s, "Axis \"%c\" has the size %lld in the input and %lld in output_shape",
                                    e->output[i], (long long)own, (long long)given);
        out->dims[i] = own == DIM_UNKNOWN ? given : own;
    }
    return 0;
}

/* The dims that these letters name. */
static int weight_shape(struct layer_shape *s, const struct equation *e, const char *letters, struct shape *ret)
{
    ret->rank = (int)strlen(letters);
    for (int i = 0; i < ret->rank; i++) {
        int at = letter_at(e->output, letters[i]);
        ret->dims[i] = at >= 0 ? s->outputs[0].dims[at] : s->inputs[0].dims[letter_at(e->input, letters[i])];
        if (ret->dims[i] == DIM_UNKNOWN)
            return h5pt_fail(s->err, H5PT_SHAPE_UNKNOWN, "output_shape",
                             "The size of axis \"%c\" of a weight is not known", letters[i]);
    }
    return 0;
}

/* The first axis of the result that has a bias of its own; the bias has this axis and all behind it. */
static int first_bias_axis(const struct einsum_dense_config *c, const struct equation *e)
{
    return (int)strcspn(e->output, c->bias_axes);
}

static int declare_bias(struct layer_shape *s, const struct equation *e)
{
    const struct einsum_dense_config *c = s->config;
    const char *letters = e->output + first_bias_axis(c, e);
    struct shape bias = {.rank = 0};
    for (const char *p = letters; *p; p++) {
        char letter[] = {*p, '\0'};
        struct shape axis = {.dims = {1}};
        if (strchr(c->bias_axes, *p) && weight_shape(s, e, letter, &axis) < 0)
            return -1;
        bias.dims[bias.rank++] = axis.dims[0];
    }
    layer_weight(s, "bias", bias.rank, bias.dims);
    return 0;
}

static int einsum_dense_shape(struct layer_shape *s)
{
    const struct einsum_dense_config *c = s->config;
    struct equation e;
    struct shape kernel;
    if (!expand(c, s->inputs[0].rank, &e))
        return layer_shape_fail(s, "The equation does not fit an input of %d dimensions, the batch in front",
                                s->inputs[0].rank);
    int behind_batch = (int)strlen(c->output) - (c->ellipsis == ELLIPSIS_FRONT && e.elided > 0 ? 0 : 1);
    if (c->size_count != behind_batch)
        return layer_shape_fail(s, "output_shape has %d sizes, but the equation needs %d", c->size_count, behind_batch);
    if (output_shape(s, &e) < 0 || weight_shape(s, &e, e.kernel, &kernel) < 0)
        return -1;
    for (int i = 1; i < s->outputs[0].rank; i++)
        if (s->outputs[0].dims[i] == DIM_UNKNOWN && letter_at(e.input, e.output[i]) < 0)
            return h5pt_fail(s->err, H5PT_SHAPE_UNKNOWN, "output_shape", "The size of axis \"%c\" is not known",
                             e.output[i]);
    layer_weight(s, "kernel", kernel.rank, kernel.dims);
    return c->bias_axes ? declare_bias(s, &e) : 0;
}

/* ---- reference ---- */

/* The letters by where they stand: only in the input (summed alone), everywhere, in input and result, in input and kernel
 * (contracted), in kernel and result. */
struct roles {
    char lone[LETTERS_SIZE], shared[LETTERS_SIZE], kept[LETTERS_SIZE], summed[LETTERS_SIZE], made[LETTERS_SIZE];
};

static void find_roles(const struct equation *e, struct roles *r)
{
    *r = (struct roles){.lone = ""};
    for (const char *p = e->input; *p; p++) {
        bool in_kernel = strchr(e->kernel, *p) != NULL, in_output = strchr(e->output, *p) != NULL;
        char *role = in_kernel ? in_output ? r->shared : r->summed : in_output ? r->kept : r->lone;
        role[strlen(role)] = *p;
    }
    for (const char *p = e->kernel; *p; p++)
        if (!strchr(e->input, *p))
            r->made[strlen(r->made)] = *p;
}

/* Of the letters, with the sizes that they have in `tensor`, whose axes are `of`. */
static int64_t product(const char *letters, const char *of, const struct tensor *tensor)
{
    int64_t count = 1;
    for (; *letters; letters++)
        count *= tensor->shape.dims[letter_at(of, *letters)];
    return count;
}

/* `tensor`, whose axes are `from`, with the axes in the order of the parts; NULL without memory. */
static struct tensor *arrange(const struct tensor *tensor, const char *from, const char *const parts[4])
{
    int axes[SHAPE_MAX_RANK], count = 0;
    for (int i = 0; i < 4; i++)
        for (const char *p = parts[i]; *p && count < SHAPE_MAX_RANK; p++)
            axes[count++] = letter_at(from, *p);
    return tensor_transpose(tensor, axes);
}

/* y (shared, kept, made) = sum over lone of x (lone, shared, kept, summed) times kernel (shared, summed, made). */
static void multiply(int64_t lone, int64_t shared, const int64_t sizes[3], const float *x, const float *kernel,
                     float *y)
{
    int64_t m = sizes[0], k = sizes[1], n = sizes[2];
    for (int64_t i = 0; i < lone; i++)
        for (int64_t j = 0; j < shared; j++, x += m * k)
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)m, (int)n, (int)k, 1, x, (int)k,
                        kernel + j * k * n, (int)n, i ? 1 : 0, y + j * m * n, (int)n);
}

/* y += bias, whose axes are the last of y's; those of size 1 are repeated. */
static void add_bias(struct tensor *y, const struct tensor *bias)
{
    for (int64_t i = 0; i < y->count; i++) {
        int64_t rest = i, at = 0, step = 1;
        for (int d = y->shape.rank - 1, b = bias->shape.rank - 1; b >= 0; d--, b--) {
            at += bias->shape.dims[b] > 1 ? rest % y->shape.dims[d] * step : 0;
            rest /= y->shape.dims[d];
            step *= bias->shape.dims[b];
        }
        y->data[i] += bias->data[at];
    }
}

static int einsum(const struct layer_run *run, const struct equation *e)
{
    struct roles r;
    struct tensor *out = run->outputs[0], *x = NULL, *kernel = NULL, *y = NULL, *result = NULL;
    int rc = -1;
    find_roles(e, &r);
    const int64_t sizes[3] = {product(r.kept, e->input, run->inputs[0]), product(r.summed, e->input, run->inputs[0]),
                              product(r.made, e->kernel, run->weights[0])};
    if (sizes[0] > INT32_MAX || sizes[1] > INT32_MAX || sizes[2] > INT32_MAX)
        return h5pt_fail(run->err, H5PT_LIMIT_EXCEEDED, run->layer->path, "The tensors are too large");
    x = arrange(run->inputs[0], e->input, (const char *const[]){r.lone, r.shared, r.kept, r.summed});
    kernel = arrange(run->weights[0], e->kernel, (const char *const[]){r.shared, r.summed, r.made, ""});
    y = arrange(out, e->output, (const char *const[]){r.shared, r.kept, r.made, ""});
    if (!x || !kernel || !y)
        goto out;
    multiply(product(r.lone, e->input, run->inputs[0]), product(r.shared, e->input, run->inputs[0]), sizes, x->data,
             kernel->data, y->data);
    char order[3 * LETTERS_SIZE];
    (void)snprintf(order, sizeof order, "%s%s%s", r.shared, r.kept, r.made);
    result = arrange(y, order, (const char *const[]){e->output, "", "", ""});
    if (!result)
        goto out;
    memcpy(out->data, result->data, (size_t)out->count * sizeof *out->data);
    rc = 0;
out:
    tensor_free(x);
    tensor_free(kernel);
    tensor_free(y);
    tensor_free(result);
    return rc < 0 ? h5pt_fail_memory(run->err) : 0;
}

static int einsum_dense_reference(const struct layer_run *run)
{
    const struct einsum_dense_config *c = run->config;
    struct equation e;
    struct tensor *out = run->outputs[0];
    if (!expand(c, run->inputs[0]->shape.rank, &e))
        return h5pt_fail(run->err, H5PT_INTERNAL, run->layer->path, "The equation does not fit");
    memset(out->data, 0, (size_t)out->count * sizeof *out->data);
    if (out->count && run->inputs[0]->count && einsum(run, &e) < 0)
        return -1;
    if (c->bias_axes)
        add_bias(out, run->weights[1]);
    return activation_reference(&c->activation, out, run->err);
}

/* ---- torch ---- */

/* "abx,xy->aby": what nn.Linear computes. */
static bool is_linear(const struct equation *e)
{
    size_t last = strlen(e->input) - 1;
    return strlen(e->kernel) == 2 && strlen(e->output) == last + 1 && memcmp(e->input, e->output, last) == 0 &&
           e->kernel[0] == e->input[last] && e->kernel[1] == e->output[last];
}

static struct lowered lower_equation(struct lowering *l, const struct keras_call *call, struct lowered x,
                                     const struct equation *e)
{
    const struct shape *kernel = &lower_weight(call, "kernel")->shape;
    struct layout as_keras = layout_keras(kernel->rank);
    struct lowered k = lower_weight_value(l, call, "kernel", kernel, &as_keras);
    const char *text = arena_printf(lower_arena(l), "%s,%s->%s", e->input, e->kernel, e->output);
    return lower_einsum(l, call, text ? text : "", x, k, call->outputs[0]->shape, DTYPE_F32);
}

static struct lowered lower_add_bias(struct lowering *l, const struct keras_call *call, struct lowered y)
{
    const struct shape *bias = &lower_weight(call, "bias")->shape;
    struct shape full = {.rank = y.layout.rank};
    for (int i = 0; i < full.rank; i++)
        full.dims[i] = i < full.rank - bias->rank ? 1 : bias->dims[i - full.rank + bias->rank];
    return lower_binary(l, call, TORCH_ADD, y, lower_weight_value(l, call, "bias", &full, &y.layout));
}

static int einsum_dense_lower(struct lowering *l, const struct keras_call *call)
{
    const struct einsum_dense_config *c = call->layer->config;
    struct lowered x = lower_input_keras(l, call, 0);
    struct equation e;
    if (x.id < 0 || !expand(c, call->inputs[0]->shape.rank, &e))
        return -1;
    bool linear = is_linear(&e), bias = c->bias_axes != NULL;
    bool inside = linear && bias && lower_weight(call, "bias")->shape.rank == 1;
    struct rearrangement transposed = linear ? rearrange_axes(&lower_weight(call, "kernel")->shape, (const int[]){1, 0})
                                             : (struct rearrangement){.part = false};
    struct lowered y = linear ? lower_linear_module(l, call, lower_module(l, call, NULL), x, "kernel", &transposed,
                                                    inside ? "bias" : NULL)
                              : lower_equation(l, call, x, &e);
    if (bias && !inside)
        y = lower_add_bias(l, call, y);
    y = activation_lower(l, call, &c->activation, y, NULL);
    return lower_output(l, call, 0, y);
}

const struct layer_handler einsum_dense_handler = {
    .config_size = sizeof(struct einsum_dense_config),
    .read = einsum_dense_read,
    .shape = einsum_dense_shape,
    .reference = einsum_dense_reference,
    .lower = einsum_dense_lower,
};
