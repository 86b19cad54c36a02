/* SPDX-License-Identifier: Apache-2.0 */
/* The weights of Keras 1, and of convolutions on Theano, as those of Keras 2 on TensorFlow. Source: Keras 2.3.1
 * engine/saving.py preprocess_weights_for_loading. */
#include <stdlib.h>
#include <string.h>

#include "base/words.h"
#include "keras/bind.h"

enum { MAX_PIECES = 4 };

/* How Keras 1 laid out a kernel. Orders of dimensions follow the data_format of the layer. */
enum keras1_layout {
    PLAIN,          /* as in Keras 2 */
    CONV1D,         /* (taps, 1, inputs, outputs), or before 1.1 (outputs, inputs, taps, 1) */
    CONV,           /* (outputs, inputs, taps…) when channels_first */
    CONV_TRANSPOSE, /* (taps…, inputs, outputs), or (outputs, inputs, taps…) */
};

static const struct row {
    const char *classes, *slot, *ends;
    enum keras1_layout layout;
} rows[] = {
#define K1_WEIGHT(classes, slot, ends, layout) {classes, slot, ends, layout},
#include "keras/keras1.def"
};

/* ---- the layer that a weight is of ---- */

/* The layer inside of wrappers (TimeDistributed, Bidirectional …): its class, name and configuration. */
struct inner {
    const char *class_name, *name;
    const json_t *config;
};

static struct inner inner_layer(const struct keras_layer *layer)
{
    struct inner inner = {layer->class_name, layer->name, layer->json};
    const json_t *entry;
    for (int depth = 0; depth < 8 && (entry = json_object_get(inner.config, "layer")); depth++) {
        const char *class_name = json_string_value(json_object_get(entry, "class_name"));
        const json_t *config = json_object_get(entry, "config");
        const char *name = json_string_value(json_object_get(config, "name"));
        if (!class_name || !name)
            break;
        inner = (struct inner){class_name, name, config};
    }
    return inner;
}

static bool channels_first(const struct inner *inner)
{
    const char *format = json_string_value(json_object_get(inner->config, "data_format"));
    return format && strcmp(format, "channels_first") == 0;
}

static const char *last_component(const char *slot)
{
    const char *slash = strrchr(slot, '/');
    return slash ? slash + 1 : slot;
}

/* ---- names ---- */

/* The name of a weight without ":0" and the like: its length. */
static size_t plain_length(const char *name)
{
    return strcspn(name, ":");
}

/* Where `end` ("W_i") begins in a name that ends with _`end`, a number that TensorFlow added ("dense_1_W_1:0") left out; 0: it
 * does not. */
static size_t end_position(const char *name, const char *end, size_t end_length)
{
    size_t n = plain_length(name), digits = n;
    while (digits > 0 && name[digits - 1] >= '0' && name[digits - 1] <= '9')
        digits--;
    bool numbered = digits < n && digits > 1 && name[digits - 1] == '_';
    for (int pass = 0; pass < (numbered ? 2 : 1); pass++) {
        size_t length = pass ? digits - 1 : n;
        if (length > end_length + 1 && name[length - end_length - 1] == '_' &&
            memcmp(name + length - end_length, end, end_length) == 0)
            return length - end_length;
    }
    return 0;
}

/* The group, and which of its tensors are taken. */
struct binding {
    struct builder *b;
    struct group *group;
    bool *taken; /* owned */
};

/* The first tensor that is not taken and whose name ends so: exactly `layer`_`end`, or, when `layer` is NULL, whatever the layer. A
 * slot "forward/kernel" wants a name that begins with "forward_". -1: none. */
static long find_tensor(const struct binding *bind, const char *slot, const char *layer, const char *end,
                        size_t end_length)
{
    const char *slash = strrchr(slot, '/');
    size_t scope = slash ? (size_t)(slash - slot) : 0;
    for (size_t i = 0; i < bind->group->source->tensor_count; i++) {
        const char *name = bind->group->source->tensors[i].name, *rest = name;
        size_t position = end_position(name, end, end_length);
        if (bind->taken[i] || position == 0)
            continue;
        if (scope && strncmp(name, slot, scope) == 0 && name[scope] == '_')
            rest = name + scope + 1;
        else if (scope && (strncmp(slot, "forward", scope) == 0 || strncmp(slot, "backward", scope) == 0))
            continue;
        size_t length = position - 1 - (size_t)(rest - name);
        if (!layer || (strlen(layer) == length && memcmp(rest, layer, length) == 0))
            return (long)i;
    }
    return -1;
}

/* ---- layouts ---- */

static struct source_piece piece_as_is(const struct source_tensor *t)
{
    struct source_piece piece = {.tensor = t, .view = t->shape};
    for (int i = 0; i < SHAPE_MAX_RANK; i++)
        piece.axes[i] = i;
    return piece;
}

static void set_axes(struct source_piece *piece, int count, const int *axes)
{
    memcpy(piece->axes, axes, (size_t)count * sizeof *axes);
}

/* (outputs, inputs, taps…) → (taps…, inputs, outputs) */
static void from_outputs_first(struct source_piece *piece)
{
    int rank = piece->view.rank;
    for (int i = 0; i < rank - 2; i++)
        piece->axes[i] = i + 2;
    piece->axes[rank - 2] = 1;
    piece->axes[rank - 1] = 0;
}

static struct source_piece conv1d_piece(const struct source_tensor *t, const struct wanted *w)
{
    struct source_piece piece = piece_as_is(t);
    const struct shape *need = &w->weight->shape, *have = &t->shape;
    if (have->rank != 4 || need->rank != 3)
        return piece;
    piece.view.rank = 3;
    if (have->dims[0] == need->dims[0] && have->dims[1] == 1 && have->dims[3] == need->dims[2]) {
        piece.view.dims[1] = have->dims[2];
        piece.view.dims[2] = have->dims[3];
    } else if (have->dims[3] == 1) {
        from_outputs_first(&piece);
    }
    return piece;
}

static struct source_piece piece_of(const struct source_tensor *t, enum keras1_layout layout, const struct inner *inner,
                                    const struct wanted *w)
{
    struct source_piece piece = piece_as_is(t);
    bool first = channels_first(inner);
    int rank = t->shape.rank;
    if (layout == CONV1D)
        return conv1d_piece(t, w);
    if (layout == CONV && first && rank > 2)
        from_outputs_first(&piece);
    if (layout == CONV_TRANSPOSE && rank == 4)
        set_axes(&piece, 4, first ? (const int[]){2, 3, 0, 1} : (const int[]){0, 1, 3, 2});
    return piece;
}

static bool flips(enum keras1_layout layout)
{
    return layout == CONV1D || layout == CONV || layout == CONV_TRANSPOSE;
}

/* All axes but the last two. */
static unsigned spatial_axes(int rank)
{
    return rank > 2 ? (1U << (rank - 2)) - 1 : 0;
}

/* ---- assembled tensors ---- */

static bool is_stored(const struct source_assembly *a)
{
    const struct source_piece *piece = &a->pieces[0];
    return a->count == 1 && !a->reversed && axes_identity(piece->view.rank, piece->axes) &&
           shape_equal(&piece->view, &piece->tensor->shape);
}

/* The tensor that an assembly is; one that the file holds as it is stays itself. NULL: b->err (also when pieces do not fit, after a
 * refusal: then b->err is clear). */
static const struct source_tensor *assemble(struct builder *b, const struct wanted *w, const struct source_assembly *a)
{
    if (is_stored(a))
        return a->pieces[0].tensor;
    struct shape shape;
    int64_t count = 0;
    if (!source_assembly_shape(a, &shape) || !shape_count(&shape, &count)) {
        findings_add(b->refusals, H5PT_WEIGHTS_SHAPE, w->layer->path, w->weight->slot,
                     "The weights that make \"%s\" do not fit together", w->weight->slot);
        return NULL;
    }
    struct source_assembly *assembly = ARENA_NEW(b->arena, struct source_assembly);
    struct source_piece *pieces = ARENA_ARRAY(b->arena, struct source_piece, (size_t)a->count);
    struct source_tensor *tensor = ARENA_NEW(b->arena, struct source_tensor);
    const char *object = a->pieces[0].tensor->object;
    for (int i = 1; i < a->count && object; i++)
        object = arena_printf(b->arena, "%s + %s", object, a->pieces[i].tensor->object);
    if (!assembly || !pieces || !tensor || !object) {
        h5pt_fail_memory(b->err);
        return NULL;
    }
    memcpy(pieces, a->pieces, (size_t)a->count * sizeof *pieces);
    *assembly = *a;
    assembly->pieces = pieces;
    enum dtype dtype = pieces[0].tensor->dtype;
    *tensor = (struct source_tensor){
        .name = pieces[0].tensor->name,
        .object = object,
        .dtype = dtype,
        .shape = shape,
        .bytes = (uint64_t)count * dtype_size(dtype),
        .assembly = assembly,
    };
    return tensor;
}

/* ---- binding ---- */

/* Binds one weight by one row of the table: 1 bound, 0 when not all its parts are there, -1: b->err. */
static int bind_row(struct binding *bind, const struct wanted *w, const struct inner *inner, const struct row *row,
                    bool by_layer)
{
    struct source_piece pieces[MAX_PIECES];
    long found[MAX_PIECES];
    int count = 0;
    size_t length;
    const char *cursor = row->ends, *end;
    while (count < MAX_PIECES && (end = word_next(&cursor, &length))) {
        found[count] = find_tensor(bind, w->weight->slot, by_layer ? inner->name : NULL, end, length);
        if (found[count] < 0)
            return 0;
        pieces[count] = piece_of(&bind->group->source->tensors[found[count]], row->layout, inner, w);
        count++;
    }
    struct source_assembly a = {.count = count, .pieces = pieces, .axis = w->weight->shape.rank - 1};
    if (a.axis < 0 || pieces[0].view.rank != w->weight->shape.rank)
        a.axis = pieces[0].view.rank > 0 ? pieces[0].view.rank - 1 : 0;
    if (flips(row->layout) && bind->b->model->version.theano)
        a.reversed = spatial_axes(pieces[0].view.rank);
    w->weight->tensor = assemble(bind->b, w, &a);
    for (int i = 0; i < count; i++)
        bind->taken[found[i]] = true;
    return w->weight->tensor ? 1 : bind->b->err->code ? -1 : 1;
}

static int bind_weight(struct binding *bind, const struct wanted *w, bool by_layer)
{
    struct inner inner = inner_layer(w->layer);
    const char *slot = last_component(w->weight->slot);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        if (strcmp(row->slot, slot) != 0 ||
            (strcmp(row->classes, "*") != 0 && word_index(row->classes, inner.class_name) < 0))
            continue;
        int status = bind_row(bind, w, &inner, row, by_layer);
        if (status)
            return status;
    }
    return 0;
}

static void check_weight(struct binding *bind, const struct wanted *w)
{
    char need[SHAPE_TEXT_SIZE], have[SHAPE_TEXT_SIZE];
    const struct source_tensor *t = w->weight->tensor;
    if (!t)
        findings_add(bind->b->refusals, H5PT_WEIGHTS_MISSING, w->layer->path, w->weight->slot,
                     "The weight \"%s\" of shape %s is not among the %zu in the group \"%.80s\"", w->weight->slot,
                     shape_text(&w->weight->shape, need), bind->group->source->tensor_count, bind->group->source->name);
    else if (!shape_equal(&t->shape, &w->weight->shape))
        findings_add(bind->b->refusals, H5PT_WEIGHTS_SHAPE, w->layer->path, w->weight->slot,
                     "The weight \"%s\" needs the shape %s, but %.200s has %s", w->weight->slot,
                     shape_text(&w->weight->shape, need), t->object, shape_text(&t->shape, have));
}

int keras1_bind(struct builder *b, struct group *g)
{
    struct binding bind = {b, g, calloc(g->source->tensor_count + 1, sizeof *bind.taken)};
    int status = bind.taken ? 0 : h5pt_fail_memory(b->err);
    /* First those whose names say layer and weight, then, since layers get renamed, those whose end and order fit. */
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < g->wanted_count && status >= 0; i++)
            if (!g->wanted[i].weight->tensor)
                status = bind_weight(&bind, &g->wanted[i], pass == 0);
    for (size_t i = 0; i < g->wanted_count && status >= 0; i++)
        check_weight(&bind, &g->wanted[i]);
    for (size_t i = 0; i < g->source->tensor_count && status >= 0; i++)
        if (!bind.taken[i])
            findings_add(b->refusals, H5PT_WEIGHTS_UNUSED, g->source->name, "weight_names",
                         "No layer needs the weight \"%.80s\"", g->source->tensors[i].name);
    free(bind.taken);
    return status < 0 ? -1 : 0;
}

int bind_theano(struct builder *b, struct group *g)
{
    static const char classes[] = "Conv1D Conv2D Conv3D Conv2DTranspose Conv3DTranspose ConvLSTM2D";
    static const char slots[] = "kernel recurrent_kernel";
    if (!b->model->version.theano)
        return 0;
    for (size_t i = 0; i < g->wanted_count; i++) {
        struct wanted *w = &g->wanted[i];
        struct inner inner = inner_layer(w->layer);
        if (word_index(classes, inner.class_name) < 0 || word_index(slots, last_component(w->weight->slot)) < 0)
            continue;
        struct source_piece piece = piece_as_is(w->weight->tensor);
        const struct source_assembly a = {.count = 1, .pieces = &piece, .reversed = spatial_axes(piece.view.rank)};
        w->weight->tensor = assemble(b, w, &a);
        if (!w->weight->tensor)
            return -1;
    }
    return 0;
}
