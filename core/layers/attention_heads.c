/* SPDX-License-Identifier: Apache-2.0 */
/* MultiHeadAttention and GroupedQueryAttention (the variant). Query, key and value are projected, split into heads, attend
 * along some axes, and the heads are merged by another projection. */
#include "layers/attention_heads.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "layers/variants.h"

enum { HEADS_MAX_SIZE = 1 << 20 };

static int64_t read_size(struct config_reader *reader, const char *key, int64_t absent)
{
    int64_t size = config_int(reader, key, absent);
    if (size >= 1 && size <= HEADS_MAX_SIZE)
        return size;
    config_refuse(reader, H5PT_CONFIG_INVALID, key, "\"%s\" is %lld, but should be between 1 and %d", key,
                  (long long)size, HEADS_MAX_SIZE);
    return 1;
}

static void read_grouped(struct config_reader *reader, struct heads_config *c)
{
    c->heads = read_size(reader, "num_query_heads", 0);
    c->key_heads = read_size(reader, "num_key_value_heads", 0);
    c->key_dim = c->value_dim = read_size(reader, "head_dim", 0);
    if (c->heads % c->key_heads)
        config_refuse(reader, H5PT_CONFIG_INVALID, "num_key_value_heads", "%lld heads cannot be shared by %lld",
                      (long long)c->key_heads, (long long)c->heads);
}

static void read_alike(struct config_reader *reader, struct heads_config *c)
{
    c->heads = c->key_heads = read_size(reader, "num_heads", 0);
    c->key_dim = read_size(reader, "key_dim", 0);
    c->value_dim = read_size(reader, "value_dim", c->key_dim);
    c->has_axes = config_get(reader, "attention_axes") != NULL;
    c->axes = axis_list_read(reader, "attention_axes", 1);
    int count = config_list(reader, "output_shape", SHAPE_MAX_RANK, c->output_dims);
    c->output_rank = count > 0 ? count : 0;
    for (int i = 0; i < c->output_rank; i++)
        if (c->output_dims[i] < 1 || c->output_dims[i] > HEADS_MAX_SIZE)
            config_refuse(reader, H5PT_CONFIG_INVALID, "output_shape",
                          "The sizes in \"output_shape\" should be between 1 and %d", HEADS_MAX_SIZE);
    config_ignore(reader, "query_shape key_shape value_shape");
}

static void heads_read(struct config_reader *reader, void *config, int variant)
{
    struct heads_config *c = config;
    c->grouped = variant == HEADS_GROUPED;
    c->keras3 = reader->version.major >= 3;
    (c->grouped ? read_grouped : read_alike)(reader, c);
    c->use_bias = config_bool(reader, "use_bias", true);
    c->use_gate = config_bool(reader, "use_gate", false);
    c->window = config_int(reader, "sliding_window", 0);
    c->dropout = config_double(reader, "dropout", 0) > 0;
    if (c->window < 0)
        config_refuse(reader, H5PT_CONFIG_INVALID, "sliding_window", "\"sliding_window\" is negative");
    config_ignore(reader, "seed flash_attention");
    config_read_storage(reader);
    if (reader->layer->low_rank)
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "lora_rank", "Low-rank (LoRA) weights are not supported here");
}

/* ---- the call ---- */

int heads_query(const json_t *arguments)
{
    return layer_argument_tensor(layer_argument(arguments, 0, "query"));
}

static bool read_axes(const struct heads_config *c, int rank, struct heads_call *h)
{
    bool step[SHAPE_MAX_RANK] = {false};
    h->rank = rank;
    h->step_count = c->has_axes ? c->axes.count : rank - 2;
    for (int i = 0; i < h->step_count; i++) {
        int axis = c->has_axes ? axis_resolve(c->axes.axes[i], rank) : i + 1;
        if (axis < 1 || axis > rank - 2 || step[axis])
            return false;
        step[axis] = true;
        h->steps[i] = axis;
    }
    for (int axis = 1; axis < rank - 1; axis++)
        if (!step[axis])
            h->others[h->other_count++] = axis;
    return h->step_count > 0;
}

static enum attention_hiding hiding_of(const struct heads_config *c, const struct heads_call *h)
{
    if (!c->keras3)
        return ATTENTION_ADD;
    return c->dropout || h->scores || h->rank != 3 ? ATTENTION_ZERO : ATTENTION_REPLACE;
}

static int explicit_or(const json_t *arguments, int position, const char *name, int implicit)
{
    int given = layer_argument_tensor(layer_argument(arguments, position, name));
    return given >= 0 ? given : implicit;
}

bool heads_call_read(const struct heads_config *c, const json_t *arguments, const int *mask_of, int rank,
                     struct heads_call *h)
{
    *h = (struct heads_call){.query = heads_query(arguments),
                             .value = layer_argument_tensor(layer_argument(arguments, 1, "value")),
                             .key = layer_argument_tensor(layer_argument(arguments, 2, "key")),
                             .scores = json_is_true(layer_argument(arguments, -1, "return_attention_scores"))};
    if (h->query < 0 || h->value < 0 || rank < 3 || rank > SHAPE_MAX_RANK - 2 || !read_axes(c, rank, h))
        return false;
    int own_key = h->key >= 0 ? layer_mask(mask_of, h->key) : -1;
    h->masks = (struct attention_masks){
        .query = explicit_or(arguments, -1, "query_mask", layer_mask(mask_of, h->query)),
        .value = explicit_or(arguments, -1, "value_mask", layer_mask(mask_of, h->value)),
        .key = explicit_or(arguments, -1, "key_mask", own_key),
        .pairs = explicit_or(arguments, c->keras3 ? 6 : 3, "attention_mask", -1),
        .causal = json_is_true(layer_argument(arguments, -1, "use_causal_mask")),
        .window = c->window,
    };
    h->key = h->key >= 0 ? h->key : h->value;
    h->hiding = hiding_of(c, h);
    return true;
}

void heads_order(const struct heads_call *h, int axes[SHAPE_MAX_RANK])
{
    int n = 0;
    axes[n++] = 0;
    for (int i = 0; i < h->other_count; i++)
        axes[n++] = h->others[i];
    axes[n++] = h->rank - 1;
    for (int i = 0; i < h->step_count; i++)
        axes[n++] = h->steps[i];
    axes[n] = h->rank;
}

/* ---- shapes ---- */

static int check_call(struct layer_shape *s, const struct heads_config *c, const struct heads_call *h)
{
    const struct shape *q = &s->inputs[h->query], *k = &s->inputs[h->key], *v = &s->inputs[h->value];
    if (k->rank != h->rank || v->rank != h->rank || (c->grouped && h->rank != 3))
        return layer_shape_fail(s, "Query, key and value have %d, %d and %d dimensions, which is not supported",
                                q->rank, k->rank, v->rank);
    for (int i = 1; i < h->rank - 1; i++)
        if (k->dims[i] >= 0 && v->dims[i] >= 0 && k->dims[i] != v->dims[i])
            return layer_shape_fail(s, "Key and value differ along axis %d", i);
    for (int i = 0; i < h->other_count; i++)
        if (q->dims[h->others[i]] >= 0 && k->dims[h->others[i]] >= 0 && q->dims[h->others[i]] != k->dims[h->others[i]])
            return layer_shape_fail(s, "Query and key differ along axis %d", h->others[i]);
    for (int i = 0; i < 3; i++)
        if (s->input_dtypes[(const int[]){h->query, h->value, h->key}[i]] != DTYPE_F32)
            return h5pt_fail(s->err, H5PT_UNSUPPORTED_DTYPE, "dtype", "Query, value and key need to be float32");
    if (!attention_hides(&h->masks))
        return 0;
    bool steps = h->masks.query >= 0 || h->masks.value >= 0 || h->masks.key >= 0 || h->masks.causal || h->masks.window;
    if (h->step_count != 1 || (steps && h->steps[0] != 1) || (steps && h->masks.pairs < 0 && h->rank > 4))
        return layer_shape_fail(s,
                                "Masks are supported where attention runs along the first axis behind the batch only");
    /* Before Keras 3, a mask that stands alone is taken as a number. */
    enum dtype pairs = h->masks.pairs < 0 ? DTYPE_BOOL : s->input_dtypes[h->masks.pairs];
    if (pairs != DTYPE_BOOL && (pairs == DTYPE_F32 || (!c->keras3 && !steps)))
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_DTYPE, "attention_mask",
                         "An attention mask of type %s is not supported", dtype_name(pairs));
    return attention_check_masks(s, &h->masks, h->rank + 1);
}

static int declare_projection(struct layer_shape *s, const struct heads_config *c, const char *kernel, const char *bias,
                              const struct shape *input, int64_t heads, int64_t width)
{
    int64_t features = input->dims[input->rank - 1];
    if (features < 0)
        return h5pt_fail(s->err, H5PT_SHAPE_UNKNOWN, NULL, "The number of features of an input is not known");
    layer_weight(s, kernel, 3, (const int64_t[]){features, heads, width});
    if (c->use_bias)
        layer_weight(s, bias, 2, (const int64_t[]){heads, width});
    return 0;
}

static int declare_weights(struct layer_shape *s, const struct heads_config *c, const struct heads_call *h)
{
    const struct shape *q = &s->inputs[h->query], *out = &s->outputs[0];
    if (declare_projection(s, c, "query/kernel", "query/bias", q, c->heads, c->key_dim) < 0 ||
        declare_projection(s, c, "key/kernel", "key/bias", &s->inputs[h->key], c->key_heads, c->key_dim) < 0)
        return -1;
    if (c->use_gate && declare_projection(s, c, "gate/kernel", "gate/bias", q, c->heads, c->value_dim) < 0)
        return -1;
    if (declare_projection(s, c, "value/kernel", "value/bias", &s->inputs[h->value], c->key_heads, c->value_dim) < 0)
        return -1;
    int64_t kernel[SHAPE_MAX_RANK] = {c->heads, c->value_dim};
    int features = out->rank - (h->rank - 1);
    memcpy(kernel + 2, out->dims + h->rank - 1, (size_t)features * sizeof *kernel);
    layer_weight(s, "attention_output/kernel", 2 + features, kernel);
    if (c->use_bias)
        layer_weight(s, "attention_output/bias", features, kernel + 2);
    return 0;
}

static int heads_shape(struct layer_shape *s)
{
    const struct heads_config *c = s->config;
    static const char
        names[] = "query value key value_mask key_mask attention_mask return_attention_scores use_causal_mask";
    static const char grouped
        [] = "query value key query_mask value_mask key_mask attention_mask return_attention_scores use_causal_mask";
    struct heads_call h;
    bool flag;
    if (layer_check_arguments(s, 3, c->grouped ? grouped : names) < 0 ||
        layer_argument_flag(s, "return_attention_scores", &flag) < 0 ||
        layer_argument_flag(s, "use_causal_mask", &flag) < 0)
        return -1;
    int query = heads_query(s->arguments), rank = query < 0 ? 0 : s->inputs[query].rank;
    if (!heads_call_read(c, s->arguments, s->mask_of, rank, &h))
        return layer_shape_fail(s, "It takes a query and a value of equal rank, and axes between batch and features");
    if (rank - 1 + (c->output_rank ? c->output_rank : 1) > SHAPE_MAX_RANK || 2 + c->output_rank > SHAPE_MAX_RANK)
        return layer_shape_fail(s, "The output has too many dimensions");
    if (check_call(s, c, &h) < 0)
        return -1;
    struct shape *out = &s->outputs[0], *scores = &s->outputs[1];
    const struct shape *q = &s->inputs[h.query], *k = &s->inputs[h.key];
    *out = *q;
    if (c->output_rank) {
        out->rank = rank - 1 + c->output_rank;
        memcpy(out->dims + rank - 1, c->output_dims, (size_t)c->output_rank * sizeof *out->dims);
    }
    *scores = (struct shape){.rank = 0};
    scores->dims[scores->rank++] = q->dims[0];
    for (int i = 0; i < h.other_count; i++)
        scores->dims[scores->rank++] = q->dims[h.others[i]];
    scores->dims[scores->rank++] = c->heads;
    if (h.scores && scores->rank + 2 * h.step_count > SHAPE_MAX_RANK)
        return layer_shape_fail(s, "The scores have too many dimensions");
    for (int i = 0; h.scores && i < 2 * h.step_count; i++)
        scores->dims[scores->rank++] = (i < h.step_count ? q : k)->dims[h.steps[i % h.step_count]];
    s->output_dtypes[1] = DTYPE_F32;
    s->output_count = h.scores ? 2 : 1;
    return declare_weights(s, c, &h);
}

/* ---- reference ---- */

static const struct tensor *weight_of(const struct layer_run *run, const char *slot)
{
    for (int i = 0; i < run->layer->weight_count; i++)
        if (strcmp(run->layer->weights[i].slot, slot) == 0)
            return run->weights[i];
    return NULL;
}

static int64_t rows_of(const struct tensor *x)
{
    int64_t rows = 1;
    for (int i = 0; i < x->shape.rank - 1; i++)
        rows *= x->shape.dims[i];
    return rows;
}

/* (rows, heads · width), owned by the caller; NULL after an error. */
static float *project(const struct layer_run *run, const struct tensor *x, const char *kernel, const char *bias,
                      int64_t width)
{
    int64_t rows = rows_of(x);
    float *y = malloc((size_t)(rows * width + 1) * sizeof *y);
    if (!y)
        h5pt_fail_memory(run->err);
    else if (attention_project(run, x->data, rows, weight_of(run, kernel), weight_of(run, bias),
                               x->shape.dims[x->shape.rank - 1], width, y) < 0) {
        free(y);
        y = NULL;
    }
    return y;
}

/* The rows (of a tensor in row-major order without its last axis) that one group attends among: `group` counts through batch
 * and others, the rows run through the steps. */
static void rows_of_group(const struct heads_call *h, const struct shape *shape, int64_t group, int64_t count,
                          int64_t *rows)
{
    int64_t stride[SHAPE_MAX_RANK], first = 0, step = 1;
    for (int i = h->rank - 2; i >= 0; i--) {
        stride[i] = step;
        step *= shape->dims[i];
    }
    for (int i = h->other_count - 1; i >= 0; i--) {
        first += group % shape->dims[h->others[i]] * stride[h->others[i]];
        group /= shape->dims[h->others[i]];
    }
    first += group * stride[0];
    for (int64_t n = 0; n < count; n++) {
        int64_t rest = n;
        rows[n] = first;
        for (int i = h->step_count - 1; i >= 0; i--) {
            rows[n] += rest % shape->dims[h->steps[i]] * stride[h->steps[i]];
            rest /= shape->dims[h->steps[i]];
        }
    }
}

struct heads_run {
    const struct layer_run *run;
    const struct heads_config *c;
    const struct heads_call *h;
    int64_t t, s, mask_heads;
    float *q, *k, *v, *merged, *scores; /* projections; (rows, heads · value_dim); t x s */
    int64_t *q_rows, *k_rows;
    bool *kept;
};

static double dot(const float *a, const float *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

static void attend(const struct heads_run *r, int64_t group, int64_t batch, int64_t head)
{
    const struct heads_config *c = r->c;
    int64_t shared = head / (c->heads / c->key_heads), qw = c->heads * c->key_dim, kw = c->key_heads * c->key_dim;
    int64_t vw = c->key_heads * c->value_dim, cells = r->t * r->s;
    double scale = 1 / sqrt((double)c->key_dim);
    for (int64_t i = 0; i < r->t; i++)
        for (int64_t j = 0; j < r->s; j++)
            r->scores[i * r->s + j] = (float)(scale * dot(r->q + r->q_rows[i] * qw + head * c->key_dim,
                                                          r->k + r->k_rows[j] * kw + shared * c->key_dim, c->key_dim));
    const bool *kept = r->kept ? r->kept + (batch * r->mask_heads + (r->mask_heads > 1 ? head : 0)) * cells : NULL;
    attention_weigh(r->scores, r->t, r->s, kept, r->h->hiding);
    for (int64_t i = 0; i < r->t; i++)
        for (int64_t n = 0; n < c->value_dim; n++) {
            double sum = 0;
            for (int64_t j = 0; j < r->s; j++)
                sum += (double)r->scores[i * r->s + j] * (double)r->v[r->k_rows[j] * vw + shared * c->value_dim + n];
            r->merged[r->q_rows[i] * c->heads * c->value_dim + head * c->value_dim + n] = (float)sum;
        }
    if (r->h->scores)
        memcpy(r->run->outputs[1]->data + (group * c->heads + head) * cells, r->scores, (size_t)cells * sizeof(float));
}

static int apply_gate(const struct heads_run *r, int64_t count, int64_t width)
{
    if (!r->c->use_gate)
        return 0;
    float *gate = project(r->run, r->run->inputs[r->h->query], "gate/kernel", "gate/bias", width);
    for (int64_t i = 0; gate && i < count; i++)
        r->merged[i] = (float)((double)r->merged[i] / (1 + exp(-(double)gate[i])));
    free(gate);
    return gate ? 0 : -1;
}

static int run_heads(struct heads_run *r)
{
    const struct layer_run *run = r->run;
    const struct tensor *query = run->inputs[r->h->query], *out = run->outputs[0];
    int64_t rows = rows_of(query), width = r->c->heads * r->c->value_dim, batch = query->shape.dims[0];
    int64_t groups = r->t ? rows / r->t : 0;
    if (attention_kept(run, &r->h->masks, batch, r->t, r->s, &r->kept, &r->mask_heads) < 0)
        return -1;
    for (int64_t g = 0; g < groups; g++) {
        rows_of_group(r->h, &query->shape, g, r->t, r->q_rows);
        rows_of_group(r->h, &run->inputs[r->h->key]->shape, g, r->s, r->k_rows);
        for (int64_t head = 0; head < r->c->heads; head++)
            attend(r, g, g / (groups / batch), head);
    }
    if (apply_gate(r, rows * width, width) < 0)
        return -1;
    return attention_project(run, r->merged, rows, weight_of(run, "attention_output/kernel"),
                             weight_of(run, "attention_output/bias"), width, rows ? out->count / rows : 0, out->data);
}

static int heads_reference(const struct layer_run *run)
{
    const struct heads_config *c = run->config;
    struct heads_call h;
    struct heads_run r = {.run = run, .c = c, .h = &h, .t = 1, .s = 1};
    int query = heads_query(run->arguments);
    (void)heads_call_read(c, run->arguments, run->mask_of, run->inputs[query]->shape.rank, &h);
    const struct tensor *q = run->inputs[h.query], *k = run->inputs[h.key], *v = run->inputs[h.value];
    for (int i = 0; i < h.step_count; i++) {
        r.t *= q->shape.dims[h.steps[i]];
        r.s *= k->shape.dims[h.steps[i]];
    }
    r.q = project(run, q, "query/kernel", "query/bias", c->heads * c->key_dim);
    r.k = project(run, k, "key/kernel", "key/bias", c->key_heads * c->key_dim);
    r.v = project(run, v, "value/kernel", "value/bias", c->key_heads * c->value_dim);
    r.merged = calloc((size_t)(rows_of(q) * c->heads * c->value_dim + 1), sizeof *r.merged);
    r.scores = calloc((size_t)(r.t * r.s + 1), sizeof *r.scores);
    r.q_rows = calloc((size_t)r.t + 1, sizeof *r.q_rows);
    r.k_rows = calloc((size_t)r.s + 1, sizeof *r.k_rows);
    bool ready = r.q && r.k && r.v && r.merged && r.scores && r.q_rows && r.k_rows;
    int status = ready ? run_heads(&r) : h5pt_fail_memory(run->err);
    free(r.q);
    free(r.k);
    free(r.v);
    free(r.merged);
    free(r.scores);
    free(r.q_rows);
    free(r.k_rows);
    free(r.kept);
    return status;
}

const struct layer_handler heads_handler = {
    .config_size = sizeof(struct heads_config),
    .read = heads_read,
    .shape = heads_shape,
    .reference = heads_reference,
    .lower = heads_lower,
};
