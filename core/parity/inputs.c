/* SPDX-License-Identifier: Apache-2.0 */
/* The inputs on which the two sides are compared. Normal and large numbers, zeros, numbers that fade away; where sizes are free,
 * two of them, since "same" padding depends on the size; for ids, random ones, the first and the last; where masks are, masked
 * steps in front, in the middle and at the end. All seeded: a report can be repeated. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "layers/embedding.h"
#include "layers/loss.h"
#include "layers/encoding.h"
#include "layers/layer.h"
#include "layers/masking.h"
#include "parity/internal.h"

enum case_kind {
    CASE_NORMAL,
    CASE_LARGE,
    CASE_ZEROS,
    CASE_FADING,
    CASE_MASKED,
    CASE_OTHER_SIZES,
    CASE_VECTORS,
    CASE_KIND_COUNT
};

static const char *const case_names[CASE_KIND_COUNT] = {
    "normal", "large", "zeros", "fading", "masked steps", "other sizes", "reference vectors"};

/* Large enough to reach the flat ends of sigmoids, small enough that a softmax of float32 sums stays comparable. */
static const float large_scale = 8.0f;
/* Decimal powers that numbers lose from the beginning of an input to its end: what is added to a divisor, and floors under
 * logarithms, show with small numbers only. */
static const double fading_powers = 5;

/* Sizes for free dims, tried in order: {even indices of dims, odd indices}. Even sizes suit networks that halve and double
 * (U-Net); unequal odd ones show paddings on the wrong side. */
static const int64_t even_sizes[][2] = {{8, 8},     {16, 16},   {32, 32},   {64, 64},     {96, 96},     {128, 128},
                                        {224, 224}, {256, 256}, {512, 512}, {1024, 1024}, {4096, 4096}, {16384, 16384}};
static const int64_t odd_sizes[][2] = {{7, 10},    {13, 11},   {19, 22},   {33, 37},   {67, 71},    {97, 101},
                                       {131, 135}, {227, 231}, {299, 303}, {515, 519}, {1027, 1031}};

static bool has_free_dims(const struct keras_model *model)
{
    for (int i = 0; i < model->input_count; i++)
        for (int k = 1; k < model->inputs[i]->shape.rank; k++)
            if (model->inputs[i]->shape.dims[k] < 0)
                return true;
    return false;
}

static bool has_masks(const struct keras_model *model)
{
    for (int i = 0; i < model->call_count; i++)
        if (model->calls[i]->output_count && model->calls[i]->outputs[0]->masked)
            return true;
    return false;
}

/* Input shapes with these sizes in the free dims. NULL without memory. */
static struct shape *fill_shapes(const struct keras_model *model, int64_t batch, const int64_t sizes[2])
{
    struct shape *shapes = ARENA_ARRAY(model->arena, struct shape, (size_t)model->input_count + 1);
    for (int i = 0; shapes && i < model->input_count; i++) {
        shapes[i] = model->inputs[i]->shape;
        for (int k = 0; k < shapes[i].rank; k++)
            if (shapes[i].dims[k] < 0)
                shapes[i].dims[k] = k == 0 ? batch : sizes[(k - 1) % 2];
    }
    return shapes;
}

/* Elements of all values together, or -1 when the model does not run on these inputs. */
static int64_t total_elements(const struct keras_model *model, const struct shape *inputs, struct shape *shapes,
                              struct h5pt_error *err)
{
    int64_t total = 0, count;
    if (parity_infer(model, inputs, shapes, err) < 0)
        return -1;
    for (int i = 0; i < model->call_count; i++)
        for (int k = 0; k < model->calls[i]->output_count; k++) {
            const struct shape *s = &shapes[model->calls[i]->outputs[k]->id];
            if (!shape_count(s, &count) || __builtin_add_overflow(total, count, &total))
                return -1;
        }
    return total;
}

/* The first sizes of the list on which the model runs. */
static const int64_t *find_sizes(const struct keras_model *model, const int64_t (*list)[2], size_t count,
                                 struct shape *shapes, struct h5pt_error *ret_why)
{
    for (size_t i = 0; i < count; i++) {
        struct h5pt_error why = H5PT_ERROR_INIT;
        const struct shape *inputs = fill_shapes(model, 1, list[i]);
        int64_t total = inputs ? total_elements(model, inputs, shapes, &why) : -1;
        if (total > 0)
            return list[i];
        if (why.code)
            *ret_why = why;
    }
    return NULL;
}

static int add_case(const struct keras_model *model, struct parity_result *ret, enum case_kind kind, int64_t batch,
                    const int64_t sizes[2], struct h5pt_error *err)
{
    struct parity_case *c = &ret->cases[ret->case_count++];
    *c = (struct parity_case){
        .name = case_names[kind],
        .input_shapes = fill_shapes(model, batch, sizes),
        .error = {.ok = true},
    };
    return c->input_shapes ? 0 : h5pt_fail_memory(err);
}

static int choose_made_cases(const struct keras_model *model, bool quick, struct parity_result *ret,
                             struct h5pt_error *err)
{
    static const int64_t none[2] = {1, 1};
    /* Two samples show a mixed-up batch axis; large models get one, and none that fades. */
    static const int64_t many_elements = 20 * 1000 * 1000;
    struct shape *shapes = ARENA_ARRAY(model->arena, struct shape, (size_t)model->value_count + 1);
    struct h5pt_error why = H5PT_ERROR_INIT;
    if (!shapes)
        return h5pt_fail_memory(err);
    bool open = has_free_dims(model);
    const int64_t *even = none, *odd = NULL;
    if (open) {
        even = find_sizes(model, even_sizes, sizeof even_sizes / sizeof *even_sizes, shapes, &why);
        odd = find_sizes(model, odd_sizes, sizeof odd_sizes / sizeof *odd_sizes, shapes, &why);
        if (!even) {
            even = odd;
            odd = NULL;
        }
    }
    /* A shape in the model may be for one batch only. */
    static const int64_t batches[] = {2, 1, 3, 4, 5, 8, 16, 32, 64};
    int64_t total = -1, batch = 0;
    for (size_t i = 0; even && total < 0 && i < sizeof batches / sizeof *batches; i++) {
        struct h5pt_error here = H5PT_ERROR_INIT;
        const struct shape *first = fill_shapes(model, batch = batches[i], even);
        total = first ? total_elements(model, first, shapes, &here) : -1;
        if (i == 0)
            why = here.code ? here : why;
    }
    const int64_t single = batch == 2 ? 1 : batch;
    if (total < 0)
        return h5pt_fail(err, H5PT_SHAPE_UNKNOWN, why.where, "No input sizes were found on which the model runs: %s",
                         why.message);
    if (add_case(model, ret, CASE_NORMAL, total > many_elements ? single : batch, even, err) < 0)
        return -1;
    if (quick)
        return 0;
    if (add_case(model, ret, CASE_LARGE, single, even, err) < 0 ||
        add_case(model, ret, CASE_ZEROS, single, even, err) < 0)
        return -1;
    if (total <= many_elements && add_case(model, ret, CASE_FADING, single, even, err) < 0)
        return -1;
    if (has_masks(model) &&
        add_case(model, ret, CASE_MASKED, batch == 2 && total <= many_elements ? 3 : single, even, err) < 0)
        return -1;
    return odd ? add_case(model, ret, CASE_OTHER_SIZES, single, odd, err) : 0;
}

static int add_vectors_case(const struct keras_model *model, const struct parity_vectors *vectors,
                            struct parity_result *ret, struct h5pt_error *err)
{
    static const int64_t any[2] = {1, 1};
    struct parity_case *c = &ret->cases[ret->case_count];
    if (add_case(model, ret, CASE_VECTORS, 1, any, err) < 0)
        return -1;
    for (int i = 0; i < model->input_count; i++)
        c->input_shapes[i] = vectors->inputs[i]->shape;
    return 0;
}

int parity_choose_cases(const struct keras_model *model, const struct parity_options *options,
                        struct parity_result *ret, struct h5pt_error *err)
{
    if (!options->vectors_only && choose_made_cases(model, options->quick, ret, err) < 0)
        return -1;
    return options->vectors ? add_vectors_case(model, options->vectors, ret, err) : 0;
}

/* ---- values ---- */

static uint64_t next_random(uint64_t *state)
{
    /* splitmix64 */
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static double next_uniform(uint64_t *state)
{
    return ((double)(next_random(state) >> 11) + 0.5) / 9007199254740992.0;
}

/* Box and Muller. */
static float next_normal(uint64_t *state)
{
    double u = next_uniform(state), v = next_uniform(state);
    return (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
}

/* How many ids an input may hold: the smallest table of the Embeddings and encodings that it reaches unchanged; 0: it holds no
 * ids. *ret_tokens: the numbers that it is looked up among instead, or NULL. */
static int64_t id_count(const struct keras_model *model, const struct keras_value *input, const float **ret_tokens)
{
    bool *reached = ARENA_ARRAY(model->arena, bool, (size_t)model->value_count + 1);
    int64_t least = 0;
    *ret_tokens = NULL;
    if (!reached)
        return 0;
    reached[input->id] = true;
    for (int i = 0; i < model->call_count; i++) {
        const struct keras_call *call = model->calls[i];
        bool any = false;
        for (int k = 0; k < call->input_count; k++)
            any = any || reached[call->inputs[k]->id];
        if (!any)
            continue;
        int64_t n = encoding_categories(call->layer, ret_tokens);
        if (*ret_tokens)
            return n;
        if (n == 0)
            n = embedding_ids(call);
        const struct keras_value *target = NULL;
        int64_t classes = loss_classes(call, &target);
        if (classes > 0 && reached[target->id])
            n = classes;
        if (n > 0) {
            least = least == 0 || n < least ? n : least;
        } else if ((call->layer->class->flags & (LAYER_ANY_DTYPE | LAYER_POINTWISE)) ||
                   strcmp(call->layer->class->name, "Concatenate") == 0) {
            for (int k = 0; k < call->output_count; k++)
                reached[call->outputs[k]->id] = true;
        }
    }
    return least;
}

/* The Masking that an input goes into, or NULL. */
static const struct keras_call *masking_of(const struct keras_model *model, const struct keras_value *input)
{
    for (int i = 0; i < model->call_count; i++)
        if (strcmp(model->calls[i]->layer->class->name, "Masking") == 0 && model->calls[i]->inputs[0] == input)
            return model->calls[i];
    return NULL;
}

/* Sets masked steps to `value`: in the first sequence the first, the middle and the last one, in the second a third in front,
 * in the third a third at the end. `width` numbers are a step; a step of which only one has the value is not masked. */
static void mask_steps(struct tensor *t, int64_t steps, int64_t width, float value)
{
    int64_t third = steps / 3 ? steps / 3 : 1, sequences = steps && width ? t->count / (steps * width) : 0;
    for (int64_t i = 0; i < sequences; i++)
        for (int64_t k = 0; k < steps; k++) {
            float *step = t->data + (i * steps + k) * width;
            bool spread = k == 0 || k == steps / 2 || k == steps - 1;
            bool masked = i % 3 == 0 ? spread : i % 3 == 1 ? k < third : k >= steps - third;
            for (int64_t n = 0; masked && n < width; n++)
                step[n] = value;
            if (!masked && width > 1 && k % 2 == 1)
                step[k % width] = value;
        }
}

static void mask_input(const struct keras_model *model, const struct keras_value *input, bool ids, struct tensor *t)
{
    const struct keras_call *masking = masking_of(model, input);
    int rank = t->shape.rank;
    if (ids && rank >= 2)
        mask_steps(t, t->shape.dims[rank - 1], 1, 0);
    else if (masking && rank >= 3)
        mask_steps(t, t->shape.dims[rank - 2], t->shape.dims[rank - 1], (float)masking_value(masking->layer->config));
}

static enum case_kind kind_of(const struct parity_case *c)
{
    for (int i = 0; i < CASE_KIND_COUNT; i++)
        if (strcmp(c->name, case_names[i]) == 0)
            return (enum case_kind)i;
    return CASE_NORMAL;
}

static float make_id(enum case_kind kind, int64_t count, uint64_t *state)
{
    if (kind == CASE_ZEROS)
        return 0;
    if (kind == CASE_LARGE)
        return (float)(count - 1);
    return (float)(next_random(state) % (uint64_t)count);
}

/* `place`: from 0 at the beginning of the input to 1 at its end. */
static float make_number(enum case_kind kind, enum dtype dtype, double place, uint64_t *state)
{
    if (kind == CASE_ZEROS)
        return 0;
    float x = next_normal(state) * (kind == CASE_LARGE ? large_scale : 1.0f);
    if (kind == CASE_FADING && dtype_is_float(dtype))
        x *= (float)pow(10, -fading_powers * place);
    if (dtype == DTYPE_BOOL)
        return x > 0 ? 1.0f : 0.0f;
    if (dtype_is_float(dtype))
        return x;
    bool is_unsigned = dtype == DTYPE_U8 || dtype == DTYPE_U16 || dtype == DTYPE_U32 || dtype == DTYPE_U64;
    x = roundf(x * 10.0f);
    return is_unsigned ? fabsf(x) : x;
}

int parity_vectors_case(const struct parity_result *result)
{
    int last = result->case_count - 1;
    return last >= 0 && kind_of(&result->cases[last]) == CASE_VECTORS ? last : -1;
}

struct tensor *parity_make_input(const struct keras_model *model, const struct parity_options *options,
                                 const struct parity_case *c, int case_index, int index)
{
    enum case_kind kind = kind_of(c);
    if (kind == CASE_VECTORS)
        return tensor_copy(options->vectors->inputs[index]);
    const struct keras_value *input = model->inputs[index];
    struct tensor *t = tensor_new(&c->input_shapes[index], input->dtype);
    if (!t)
        return NULL;
    const float *tokens;
    int64_t ids = id_count(model, input, &tokens);
    uint64_t state = 20240607u + (uint64_t)case_index * 1000003u + (uint64_t)index;
    for (int64_t i = 0; i < t->count; i++)
        t->data[i] = tokens && i % 2      ? tokens[next_random(&state) % (uint64_t)ids]
                     : ids > 0 && !tokens ? make_id(kind, ids, &state)
                                          : make_number(kind, input->dtype, (double)i / (double)t->count, &state);
    if (kind == CASE_MASKED)
        mask_input(model, input, ids > 0 && !tokens, t);
    return t;
}
