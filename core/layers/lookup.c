/* SPDX-License-Identifier: Apache-2.0 */
/* IntegerLookup: the place of each number in a vocabulary, which the configuration holds. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "layers/compose.h"
#include "layers/encoding.h"

/* Larger numbers are not exact here. */
static const double max_token = 16777216;

/* What is known, in ascending order: the numbers of the vocabulary and the mask token. */
struct entry {
    float token, index;
};

struct lookup_config {
    struct encoding encoding;
    int count;
    float *tokens, *indices; /* ascending by token */
    int64_t oov, first_oov;  /* others get first_oov + x mod oov */
    const float *weights;    /* of tf_idf, or NULL */
    bool stored;             /* tf.keras stores them as a weight too, which it does not look at any more */
};

static int by_token(const void *a, const void *b)
{
    float x = ((const struct entry *)a)->token, y = ((const struct entry *)b)->token;
    return (x > y) - (x < y);
}

static void store_entries(struct config_reader *reader, struct lookup_config *c, struct entry *entries, int count)
{
    qsort(entries, (size_t)count, sizeof *entries, by_token);
    for (int i = 0; i < count; i++) {
        c->tokens[i] = entries[i].token;
        c->indices[i] = entries[i].index;
        if (!(fabs((double)entries[i].token) < max_token) || rintf(entries[i].token) != entries[i].token)
            config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "vocabulary",
                          "The vocabulary holds %g; whole numbers below 2^24 are supported", (double)entries[i].token);
        if (i && entries[i].token == entries[i - 1].token)
            config_refuse(reader, H5PT_CONFIG_INVALID, "vocabulary", "The number %g has two places in the vocabulary",
                          (double)entries[i].token);
    }
    c->count = count;
}

/* A vocabulary may begin with the tokens for what is masked or unknown; they count for nothing then. */
static int special_tokens(const double *values, int count, int masks, double mask, int oovs, double oov)
{
    for (int i = 0; i < masks + oovs; i++)
        if (i >= count || values[i] != (i < masks ? mask : oov))
            return 0;
    return masks + oovs;
}

static void read_tf_idf(struct config_reader *reader, struct lookup_config *c, int first, int count, int special)
{
    const double *values = NULL;
    int given = config_doubles(reader, "idf_weights", &values);
    float *weights = ARENA_ARRAY(reader->arena, float, (size_t)c->encoding.depth + 1);
    double sum = 0;
    if (given != count + special) {
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "idf_weights",
                      "tf_idf needs a weight for each of the vocabulary");
        return;
    }
    for (int i = 0; i < given; i++)
        sum += values[i];
    for (int64_t i = 0; weights && i < c->encoding.depth; i++) {
        int64_t at = i - (special ? 0 : first);
        weights[i] = (float)(at < 0 ? sum / given : at < given ? values[at] : 0);
    }
    c->weights = weights;
    c->stored = reader->version.major < 3;
}

static void read_vocabulary(struct config_reader *reader, struct lookup_config *c, bool tf_idf)
{
    const double *values = NULL;
    const json_t *given = config_get(reader, "vocabulary");
    bool masked = config_get(reader, "mask_token") != NULL, ints = c->encoding.mode == ENCODING_INT;
    double mask = config_double(reader, "mask_token", 0), oov = config_double(reader, "oov_token", -1);
    int64_t oovs = config_int(reader, "num_oov_indices", 1);
    if (!json_is_array(given) || json_array_size(given) == 0 || oovs < 0 || oovs > 1 << 20) {
        config_refuse(
            reader, H5PT_UNSUPPORTED_CONFIG, "vocabulary",
            "The configuration does not hold the vocabulary, which only an adapted layer outside the file has");
        return;
    }
    int count = config_doubles(reader, "vocabulary", &values), n = 0;
    int masks = masked && ints, first = masks + (int)oovs;
    int special = special_tokens(values, count, masks, mask, (int)oovs, oov);
    struct entry *entries = ARENA_ARRAY(reader->arena, struct entry, (size_t)count + 2);
    c->tokens = ARENA_ARRAY(reader->arena, float, (size_t)count + 2);
    c->indices = ARENA_ARRAY(reader->arena, float, (size_t)count + 2);
    if (!entries || !c->tokens || !c->indices) {
        reader->refusals->broken = true;
        return;
    }
    for (int i = special; i < count; i++, n++)
        entries[n] = (struct entry){(float)values[i], (float)(first + n)};
    int64_t size = n + first, declared = config_int(reader, "vocabulary_size", size);
    if (declared != size)
        config_refuse(reader, H5PT_CONFIG_INVALID, "vocabulary_size",
                      "The vocabulary has %" PRId64 " entries, not %" PRId64, size, declared);
    int64_t most = config_int(reader, "max_tokens", size);
    c->encoding.depth = config_bool(reader, "pad_to_max_tokens", false) ? most : size;
    c->oov = oovs ? oovs : 1;
    c->first_oov = oovs ? masks : -1;
    if (tf_idf)
        read_tf_idf(reader, c, first, n, special);
    /* Vectors leave what is masked out. */
    if (masked)
        entries[n++] = (struct entry){(float)mask, ints ? 0 : -1};
    store_entries(reader, c, entries, n);
}

static void lookup_read(struct config_reader *reader, void *config, int variant)
{
    struct lookup_config *c = config;
    (void)variant;
    const char *mode = json_string_value(json_object_get(reader->json, "output_mode"));
    bool tf_idf = mode && (strcmp(mode, "tf_idf") == 0 || strcmp(mode, "tf-idf") == 0);
    if (tf_idf)
        config_ignore(reader, "output_mode sparse");
    c->encoding.mode = tf_idf ? ENCODING_COUNT : encoding_read_mode(reader, ENCODING_INT);
    if (tf_idf && config_bool(reader, "sparse", false))
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "sparse", "Sparse outputs are not supported");
    c->encoding.ints = DTYPE_I64;
    config_ignore(reader, "dtype salt idf_weights has_input_vocabulary");
    if (config_bool(reader, "invert", false))
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "invert", "Looking up the numbers for indices is not supported");
    (void)config_choice(reader, "oov_method", "floormod", 0);
    (void)config_choice(reader, "vocabulary_dtype", "int64 int32", 0);
    read_vocabulary(reader, c, tf_idf);
}

static int lookup_shape(struct layer_shape *s)
{
    const struct lookup_config *c = s->config;
    if (dtype_is_float(s->input_dtypes[0]) || s->input_dtypes[0] == DTYPE_BOOL)
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_DTYPE, "dtype", "The input is of type %s; integers are looked up",
                         dtype_name(s->input_dtypes[0]));
    if (c->stored)
        layer_weight(s, "idf_weights", 1, &c->encoding.depth);
    return encoding_shape(s, &c->encoding);
}

static float index_of(const struct lookup_config *c, float x)
{
    int low = 0, high = c->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (c->tokens[middle] < x)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < c->count && c->tokens[low] == x)
        return c->indices[low];
    float rest = fmodf(x, (float)c->oov);
    return (float)c->first_oov + (rest < 0 ? rest + (float)c->oov : rest);
}

static int lookup_reference(const struct layer_run *run)
{
    const struct lookup_config *c = run->config;
    const struct tensor *x = run->inputs[0];
    struct tensor *out = run->outputs[0];
    float *indices = malloc((size_t)x->count * sizeof *indices + 1);
    if (!indices)
        return h5pt_fail_memory(run->err);
    for (int64_t i = 0; i < x->count; i++)
        indices[i] = index_of(c, x->data[i]);
    encoding_reference(run, &c->encoding, indices, NULL);
    free(indices);
    for (int64_t i = 0; c->weights && i < out->count; i++)
        out->data[i] *= c->weights[i % c->encoding.depth];
    return 0;
}

static int lookup_lower(struct lowering *l, const struct keras_call *call)
{
    const struct lookup_config *c = call->layer->config;
    struct lowered x = lower_cast(l, call, lower_input_keras(l, call, 0), DTYPE_I64);
    struct shape shape = shape_of(1, (const int64_t[]){c->count});
    struct layout vector = layout_keras(1);
    struct lowered tokens = lower_constant_ids(l, call, "tokens", &shape, c->tokens);
    struct lowered indices = lower_constant_ids(l, call, "indices", &shape, c->indices);
    struct torch_attr attrs[] = {attr_int("num_oov", c->oov), attr_int("first_oov", c->first_oov)};
    x.id = lower_node(l, call,
                      &(struct node_spec){.op = TORCH_LOOKUP,
                                          .input_count = 3,
                                          .inputs = (const int[]){x.id, tokens.id, indices.id},
                                          .attr_count = 2,
                                          .attrs = attrs,
                                          .shape = lower_shape(l, x.id),
                                          .dtype = DTYPE_I64});
    x = encoding_lower(l, call, &c->encoding, x, (struct lowered){.id = -1});
    shape.dims[0] = c->encoding.depth;
    if (c->weights)
        x = lower_binary(l, call, TORCH_MUL, x,
                         lower_constant_value(l, call, "idf_weights", &shape, &vector, c->weights));
    return lower_output(l, call, 0, x);
}

const struct layer_handler lookup_handler = {
    .config_size = sizeof(struct lookup_config),
    .read = lookup_read,
    .shape = lookup_shape,
    .reference = lookup_reference,
    .lower = lookup_lower,
};

int64_t lookup_tokens(const struct keras_layer *layer, const float **ret)
{
    const struct lookup_config *c = layer->config;
    *ret = c->tokens;
    return c->count;
}
