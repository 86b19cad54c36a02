/* SPDX-License-Identifier: Apache-2.0 */
/* Products that sum over axes: each is an equation in the manner of einsum, "ab,bc->ac". The reference computes the equation as it stands;
 * torch gets matmul where that is what it is. Axes of size 1 broadcast. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "layers/operation.h"
#include "layers/variants.h"

enum { TERM_SIZE = SHAPE_MAX_RANK + 1 };

struct product_config {
    enum product_variant variant;
    const char *equation; /* EINSUM */
    int axis_count;       /* TENSORDOT: */
    int64_t axes[2][SHAPE_MAX_RANK];
    bool last_axes; /* …the last axis_count of one with the first of the other */
};

/* Letters are 'a' + number. */
struct equation {
    char terms[3][TERM_SIZE]; /* the second one is empty for a single operand */
    int operands;
    bool flat[2]; /* the operand is taken as a vector of all its cells */
};

static void read_axes(struct config_reader *reader, struct product_config *c)
{
    const json_t *axes = config_get(reader, "axes");
    long long n;
    c->last_axes = !axes || json_read_int(axes, &n);
    if (c->last_axes) {
        c->axis_count = axes ? (int)(n < 0 || n > SHAPE_MAX_RANK ? -1 : n) : 2;
        return;
    }
    c->axis_count = -1;
    for (int i = 0; i < 2; i++) {
        const json_t *side = json_unwrap(json_array_get(axes, (size_t)i));
        size_t count = json_is_array(side) ? json_array_size(side) : 1;
        if (count > SHAPE_MAX_RANK || (i == 1 && (int)count != c->axis_count))
            c->axis_count = -2;
        for (size_t k = 0; k < count && c->axis_count != -2; k++) {
            if (!json_read_int(json_is_array(side) ? json_array_get(side, k) : side, &n))
                c->axis_count = -2;
            c->axes[i][k] = n;
        }
        if (c->axis_count == -2)
            break;
        c->axis_count = (int)count;
    }
    if (c->axis_count < 0)
        config_refuse(reader, H5PT_UNSUPPORTED_CONFIG, "axes", "\"axes\" is neither a number nor a pair of lists");
}

static void op_product_read(struct config_reader *reader, void *config, int variant)
{
    struct product_config *c = config;
    c->variant = (enum product_variant)variant;
    if (c->variant == PRODUCT_EINSUM) {
        c->equation = config_text(reader, "subscripts", NULL);
        if (!c->equation)
            config_refuse(reader, H5PT_CONFIG_INVALID, "subscripts", "\"subscripts\" is missing");
    }
    if (c->variant == PRODUCT_TENSORDOT)
        read_axes(reader, c);
}

/* ---- equations ---- */

static void letters(char *term, char first, int count)
{
    for (int i = 0; i < count; i++)
        term[i] = (char)(first + i);
    term[count] = '\0';
}

/* One side of an einsum: letters and at most one ellipsis, which stands for `hidden` axes ('A', 'B' … counted from the last). */
static bool read_term(const char *text, size_t length, int rank, char ret[TERM_SIZE])
{
    int named = 0, n = 0;
    bool dots = false;
    for (size_t i = 0; i < length; i++)
        named += text[i] >= 'a' && text[i] <= 'z';
    for (size_t i = 0; i < length; i++) {
        if (text[i] == ' ')
            continue;
        if (strncmp(text + i, "...", 3) == 0 && !dots && i + 3 <= length) {
            int hidden = rank - named;
            if (hidden < 0 || n + hidden > SHAPE_MAX_RANK)
                return false;
            for (int k = hidden - 1; k >= 0; k--)
                ret[n++] = (char)('A' + k);
            dots = true;
            i += 2;
        } else if (text[i] < 'a' || text[i] > 'z' || n == SHAPE_MAX_RANK || memchr(ret, text[i], (size_t)n)) {
            return false;
        } else {
            ret[n++] = text[i];
        }
    }
    ret[n] = '\0';
    return n == rank;
}

static bool read_einsum(const char *text, int count, const struct operand *o, struct equation *e)
{
    const char *arrow = strstr(text, "->"), *comma = strchr(text, ',');
    int hidden = 0, named = 0;
    if (!arrow || count > 2 || (count == 2) != (comma != NULL) || (comma && (comma > arrow || strchr(comma + 1, ','))))
        return false;
    if (!read_term(text, (size_t)((comma ? comma : arrow) - text), o[0].shape.rank, e->terms[0]) ||
        (comma && !read_term(comma + 1, (size_t)(arrow - comma - 1), o[1].shape.rank, e->terms[1])))
        return false;
    for (int i = 0; i < 26; i++)
        hidden += strchr(e->terms[0], 'A' + i) || strchr(e->terms[1], 'A' + i);
    for (const char *p = arrow + 2; *p; p++)
        named += *p >= 'a' && *p <= 'z';
    if (!strstr(arrow, "..."))
        hidden = 0;
    if (named + hidden > SHAPE_MAX_RANK || !read_term(arrow + 2, strlen(arrow + 2), named + hidden, e->terms[2]))
        return false;
    for (const char *p = e->terms[2]; *p; p++)
        if (!strchr(e->terms[0], *p) && !strchr(e->terms[1], *p))
            return false;
    return true;
}

/* Axes in front of the last two are common ones, aligned at the end. */
static void matmul_terms(int a, int b, struct equation *e)
{
    int batch = (a > b ? a : b) - 2, n = 0;
    batch = batch < 0 ? 0 : batch;
    char all[TERM_SIZE];
    letters(all, 'A', batch);
    int skip_a = batch - (a > 2 ? a - 2 : 0), skip_b = batch - (b > 2 ? b - 2 : 0);
    (void)snprintf(e->terms[0], TERM_SIZE, "%s%s", all + skip_a, a == 1 ? "j" : "ij");
    (void)snprintf(e->terms[1], TERM_SIZE, "%s%s", all + skip_b, b == 1 ? "j" : "jk");
    for (; n < batch; n++)
        e->terms[2][n] = all[n];
    if (a > 1)
        e->terms[2][n++] = 'i';
    if (b > 1)
        e->terms[2][n++] = 'k';
    e->terms[2][n] = '\0';
}

/* Letters 'a'… for x, 'n'… for y; then the summed pairs get the letters of x. The rest, in order, is the result. */
static bool contract(int a, int b, int count, const int64_t *x_axes, const int64_t *y_axes, struct equation *e)
{
    bool summed[SHAPE_MAX_RANK] = {false};
    int n = 0;
    if (a + b - 2 * count > SHAPE_MAX_RANK || count > a || count > b)
        return false;
    letters(e->terms[0], 'a', a);
    letters(e->terms[1], 'n', b);
    for (int i = 0; i < count; i++) {
        int x = axis_resolve(x_axes[i], a), y = axis_resolve(y_axes[i], b);
        if (x < 0 || y < 0 || summed[x] || e->terms[1][y] < 'n')
            return false;
        summed[x] = true;
        e->terms[1][y] = e->terms[0][x];
    }
    for (int i = 0; i < a; i++)
        if (!summed[i])
            e->terms[2][n++] = e->terms[0][i];
    for (int i = 0; i < b; i++)
        if (e->terms[1][i] >= 'n')
            e->terms[2][n++] = e->terms[1][i];
    e->terms[2][n] = '\0';
    return true;
}

static bool make_equation(const struct product_config *c, int count, const struct operand *o, struct equation *e)
{
    *e = (struct equation){.operands = count};
    int a = o[0].shape.rank, b = count > 1 ? o[1].shape.rank : 0;
    int64_t x_axes[SHAPE_MAX_RANK] = {-1}, y_axes[SHAPE_MAX_RANK] = {b > 1 ? -2 : -1};
    if (c->variant == PRODUCT_EINSUM)
        return read_einsum(c->equation, count, o, e);
    if (count != 2)
        return false;
    switch (c->variant) {
    case PRODUCT_MATMUL:
        if (a < 1 || b < 1)
            return false;
        matmul_terms(a, b, e);
        return true;
    case PRODUCT_DOT: return contract(a, b, a == 0 || b == 0 ? 0 : 1, x_axes, y_axes, e);
    case PRODUCT_INNER: y_axes[0] = -1; return contract(a, b, a == 0 || b == 0 ? 0 : 1, x_axes, y_axes, e);
    case PRODUCT_OUTER:
    case PRODUCT_VDOT:
        e->flat[0] = a != 1;
        e->flat[1] = b != 1;
        (void)snprintf(e->terms[0], TERM_SIZE, "i");
        (void)snprintf(e->terms[1], TERM_SIZE, c->variant == PRODUCT_VDOT ? "i" : "j");
        (void)snprintf(e->terms[2], TERM_SIZE, c->variant == PRODUCT_VDOT ? "" : "ij");
        return true;
    case PRODUCT_TENSORDOT:
        for (int i = 0; c->last_axes && i < c->axis_count; i++) {
            x_axes[i] = a - c->axis_count + i;
            y_axes[i] = i;
        }
        return contract(a, b, c->axis_count, c->last_axes ? x_axes : c->axes[0], c->last_axes ? y_axes : c->axes[1], e);
    case PRODUCT_EINSUM: break;
    }
    return false;
}

/* The operands; their number or -1. */
static int operands(const struct product_config *c, const struct operand_source *source, struct operand ret[2])
{
    size_t count = json_array_size(json_object_get(source->arguments, "args"));
    if (c->variant == PRODUCT_EINSUM && (count < 1 || count > 2))
        return -1;
    int n = c->variant == PRODUCT_EINSUM ? (int)count : 2;
    for (int i = 0; i < n; i++) {
        ret[i] = operand_at(source, i, i ? "x2" : "x1");
        if (ret[i].kind == OPERAND_NONE)
            return -1;
    }
    return n;
}

static struct shape taken_shape(const struct operand *o, bool flat)
{
    struct shape shape = {.rank = 1};
    if (!flat)
        return o->shape;
    if (!shape_count(&o->shape, &shape.dims[0]))
        shape.dims[0] = DIM_UNKNOWN;
    return shape;
}

/* Sizes by letter; false when they do not fit. 1 broadcasts. */
static bool letter_sizes(const struct equation *e, const struct shape shapes[2], int64_t sizes[128])
{
    for (int i = 0; i < 128; i++)
        sizes[i] = 1;
    for (int t = 0; t < e->operands; t++)
        for (int i = 0; i < shapes[t].rank; i++) {
            int64_t *size = &sizes[(int)e->terms[t][i]], here = shapes[t].dims[i];
            if (*size == 1 || (*size < 0 && here != 1))
                *size = here;
            else if (here != 1 && here >= 0 && here != *size)
                return false;
        }
    return true;
}

static int op_product_shape(struct layer_shape *s)
{
    const struct product_config *c = s->config;
    struct operand_source source = operands_of_shape(s);
    struct operand o[2];
    struct equation e;
    struct shape shapes[2];
    int64_t sizes[128];
    int n = operands(c, &source, o);
    if (n < 1)
        return operand_fail(s, "x1");
    if (!make_equation(c, n, o, &e))
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_CALL_ARGUMENT, "args", "This form of %s is not supported",
                         s->layer->class_name);
    for (int i = 0; i < n; i++)
        shapes[i] = taken_shape(&o[i], e.flat[i]);
    if (!letter_sizes(&e, shapes, sizes))
        return layer_shape_fail(s, "The operands of %s do not fit together", s->layer->class_name);
    s->outputs[0].rank = (int)strlen(e.terms[2]);
    for (int i = 0; i < s->outputs[0].rank; i++)
        s->outputs[0].dims[i] = sizes[(int)e.terms[2][i]];
    s->output_dtypes[0] = n == 1 ? o[0].dtype : operand_promote(&o[0], &o[1]);
    if (s->output_dtypes[0] == DTYPE_BOOL)
        return h5pt_fail(s->err, H5PT_UNSUPPORTED_DTYPE, "dtype", "%s of bool is not supported", s->layer->class_name);
    return 0;
}

/* ---- reference ---- */

/* The loops of an equation: the letters of the result, then those that are summed, with the steps of each operand. */
struct loops {
    int count;
    int64_t sizes[2 * SHAPE_MAX_RANK], steps[2][2 * SHAPE_MAX_RANK];
};

static void add_loop(struct loops *loops, const struct equation *e, const struct shape shapes[2], const int64_t *sizes,
                     char letter)
{
    int at = loops->count++;
    loops->sizes[at] = sizes[(int)letter];
    for (int t = 0; t < 2; t++) {
        int64_t step = 1;
        loops->steps[t][at] = 0;
        for (int i = t < e->operands ? shapes[t].rank - 1 : -1; i >= 0; step *= shapes[t].dims[i--])
            if (e->terms[t][i] == letter && shapes[t].dims[i] != 1)
                loops->steps[t][at] = step;
    }
}

/* The sum over loops `first`…, from these cells on. */
static double sum_loops(const struct loops *loops, int first, const float *x, const float *y)
{
    if (first == loops->count)
        return (double)*x * (y ? (double)*y : 1);
    double sum = 0;
    for (int64_t i = 0; i < loops->sizes[first]; i++)
        sum += sum_loops(loops, first + 1, x + i * loops->steps[0][first], y ? y + i * loops->steps[1][first] : NULL);
    return sum;
}

static void run_equation(const struct equation *e, const struct shape shapes[2], const int64_t *sizes, const float *x,
                         const float *y, struct tensor *out)
{
    struct loops loops = {.count = 0};
    int64_t index[SHAPE_MAX_RANK] = {0};
    for (const char *p = e->terms[2]; *p; p++)
        add_loop(&loops, e, shapes, sizes, *p);
    int outer = loops.count;
    for (int t = 0; t < e->operands; t++)
        for (const char *p = e->terms[t]; *p; p++)
            if (!strchr(e->terms[2], *p) && (t == 0 || !strchr(e->terms[0], *p)))
                add_loop(&loops, e, shapes, sizes, *p);
    for (int64_t n = 0; n < out->count; n++) {
        int64_t at[2] = {0, 0};
        for (int i = 0; i < outer; i++)
            for (int t = 0; t < 2; t++)
                at[t] += index[i] * loops.steps[t][i];
        out->data[n] = (float)sum_loops(&loops, outer, x + at[0], y ? y + at[1] : NULL);
        for (int i = outer - 1; i >= 0 && ++index[i] == loops.sizes[i]; i--)
            index[i] = 0;
    }
}

static int op_product_reference(const struct layer_run *run)
{
    const struct product_config *c = run->config;
    struct operand_source source = operands_of_run(run);
    struct operand o[2];
    struct operand_tensor t[2] = {{NULL, NULL}, {NULL, NULL}};
    struct equation e;
    struct shape shapes[2] = {{0}};
    int64_t sizes[128];
    int n = operands(c, &source, o), status = 0;
    for (int i = 0; i < n && status == 0; i++)
        status = operand_tensor(run, &o[i], &t[i]);
    if (status == 0 && make_equation(c, n, o, &e)) {
        for (int i = 0; i < n; i++)
            shapes[i] = taken_shape(&o[i], e.flat[i]);
        if (letter_sizes(&e, shapes, sizes))
            run_equation(&e, shapes, sizes, t[0].tensor->data, n > 1 ? t[1].tensor->data : NULL, run->outputs[0]);
    }
    operand_tensor_release(&t[0]);
    operand_tensor_release(&t[1]);
    return status;
}

/* ---- lowering ---- */

static struct lowered flattened(struct lowering *l, const struct keras_call *call, struct lowered x)
{
    int64_t dim = DIM_UNKNOWN;
    int from = -1;
    struct shape shape = lower_shape(l, x.id);
    (void)shape_count(&shape, &dim);
    return lower_reshape(l, call, x, 1, &dim, &from);
}

/* One operand: sums, then an order of axes. */
static struct lowered lower_single(struct lowering *l, const struct keras_call *call, const struct equation *e,
                                   struct lowered x)
{
    int axes[SHAPE_MAX_RANK], count = 0, n = 0;
    char left[TERM_SIZE];
    int64_t dims[SHAPE_MAX_RANK];
    struct shape shape = {.rank = 0}, in = lower_shape(l, x.id);
    for (int i = 0; e->terms[0][i]; i++) {
        if (!strchr(e->terms[2], e->terms[0][i])) {
            dims[count++] = i;
            continue;
        }
        left[n++] = e->terms[0][i];
        shape.dims[shape.rank++] = in.dims[i];
    }
    left[n] = '\0';
    if (count) {
        struct torch_attr attr = attr_list(l, "dim", count, dims);
        enum dtype dtype = dtype_is_float(lower_dtype(l, x.id)) ? lower_dtype(l, x.id) : DTYPE_I64;
        x = lower_one(l, call, TORCH_SUM, x, shape, layout_keras(n), dtype, 1, &attr);
    }
    for (int i = 0; i < n; i++)
        axes[i] = (int)(strchr(left, e->terms[2][i]) - left);
    return lower_transpose(l, call, x, axes);
}

/* Dot, Inner and the like with a matrix on the right are matmul too. */
static bool is_matmul(const struct product_config *c, const struct operand o[2])
{
    if (c->variant == PRODUCT_MATMUL)
        return true;
    int a = o[0].shape.rank, b = o[1].shape.rank;
    if (a < 1 || b < 1 || b > 2)
        return false;
    return c->variant == PRODUCT_DOT || (c->variant == PRODUCT_TENSORDOT && c->last_axes && c->axis_count == 1);
}

/* einsum of torch knows no broadcasting by name, and our replay of it needs equal sizes. */
static bool broadcasts(const struct equation *e, const struct operand o[2])
{
    for (int i = 0; e->terms[0][i]; i++) {
        const char *same = strchr(e->terms[1], e->terms[0][i]);
        int64_t x = o[0].shape.dims[i], y = same ? o[1].shape.dims[same - e->terms[1]] : x;
        if ((x == 1) != (y == 1))
            return true;
    }
    return false;
}

static int op_product_lower(struct lowering *l, const struct keras_call *call)
{
    const struct product_config *c = call->layer->config;
    struct operand_source source = operands_of_call(call);
    struct operand o[2];
    struct equation e;
    struct shape shape = call->outputs[0]->shape;
    enum dtype dtype = call->outputs[0]->dtype;
    int n = operands(c, &source, o);
    struct lowered x[2], y;
    char text[3 * TERM_SIZE + 4];
    if (n < 1 || !make_equation(c, n, o, &e))
        return -1;
    for (int i = 0; i < n; i++) {
        x[i] = lower_convert(l, call, lower_operand(l, call, &o[i], i ? "x2" : "x1"), dtype);
        if (e.flat[i])
            x[i] = flattened(l, call, x[i]);
    }
    if (n == 1) {
        y = lower_single(l, call, &e, x[0]);
    } else if (is_matmul(c, o)) {
        y = lower_join(l, call, TORCH_MATMUL, x[0], x[1], dtype);
        y.layout = layout_keras(shape.rank);
        lower_set_shape(l, y.id, &shape);
    } else if (!e.flat[0] && !e.flat[1] && broadcasts(&e, o)) {
        return h5pt_fail(lower_error(l), H5PT_UNSUPPORTED_CALL_ARGUMENT, call->layer->path,
                         "Broadcasting in an equation is not supported");
    } else {
        (void)snprintf(text, sizeof text, "%s,%s->%s", e.terms[0], e.terms[1], e.terms[2]);
        y = lower_einsum(l, call, text, x[0], x[1], shape, dtype);
    }
    return lower_output(l, call, 0, y);
}

const struct layer_handler op_product_handler = {
    .config_size = sizeof(struct product_config),
    .read = op_product_read,
    .shape = op_product_shape,
    .reference = op_product_reference,
    .lower = op_product_lower,
};
