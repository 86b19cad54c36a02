/* SPDX-License-Identifier: Apache-2.0 */
/* torch.einsum of two operands, without ellipsis and without a letter twice in one operand: both are turned into stacks of
 * matrices (batch, free, summed) and multiplied; a sum over a letter of one operand alone goes over several stacks. */
#include "torch/replay_internal.h"

#include <string.h>

enum { LETTERS = 128 };

struct einsum {
    const struct replay_call *call;
    char terms[3][SHAPE_MAX_RANK + 1]; /* a, b, output */
    int64_t sizes[LETTERS];            /* of each letter; -1: not seen */
};

/* "ab,bc->ac" with or without spaces. */
static int read_equation(struct einsum *e, struct h5pt_error *err)
{
    const char *text = torch_attr_text(e->call->node, "equation");
    int term = 0;
    size_t length = 0;
    for (const char *p = text ? text : ""; *p; p++) {
        bool letter = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z');
        if (*p == ' ')
            continue;
        if ((*p == ',' && term == 0) || (*p == '-' && p[1] == '>' && term == 1)) {
            p += *p == '-' ? 1 : 0;
            term++;
            length = 0;
        } else if (!letter || length == SHAPE_MAX_RANK || strchr(e->terms[term], *p)) {
            return replay_mismatch(e->call, err, "the equation '%.80s' is not supported", text);
        } else {
            e->terms[term][length++] = *p;
        }
    }
    return term == 2 ? 0 : replay_mismatch(e->call, err, "the equation '%.80s' is not supported", text ? text : "");
}

static int read_sizes(struct einsum *e, struct h5pt_error *err)
{
    for (int i = 0; i < LETTERS; i++)
        e->sizes[i] = -1;
    for (int t = 0; t < 2; t++) {
        const struct shape *shape = &e->call->inputs[t]->shape;
        if (strlen(e->terms[t]) != (size_t)shape->rank)
            return replay_mismatch(e->call, err, "'%s' does not name the dims", e->terms[t]);
        for (int i = 0; i < shape->rank; i++) {
            int64_t *size = &e->sizes[(int)e->terms[t][i]];
            if (*size >= 0 && *size != shape->dims[i])
                return replay_mismatch(e->call, err, "'%c' has two sizes", e->terms[t][i]);
            *size = shape->dims[i];
        }
    }
    for (const char *p = e->terms[2]; *p; p++)
        if (e->sizes[(int)*p] < 0)
            return replay_mismatch(e->call, err, "'%c' is in no operand", *p);
    return 0;
}

/* Appends the letters of `term` that are, or are not, in the operand `other` and in the output. */
static void select_letters(const struct einsum *e, int term, bool in_other, bool in_output, char *ret)
{
    size_t length = strlen(ret);
    for (const char *p = e->terms[term]; *p; p++)
        if ((strchr(e->terms[1 - term], *p) != NULL) == in_other && (strchr(e->terms[2], *p) != NULL) == in_output)
            ret[length++] = *p;
    ret[length] = '\0';
}

static int64_t product(const struct einsum *e, const char *letters)
{
    int64_t count = 1;
    for (; *letters; letters++)
        count *= e->sizes[(int)*letters];
    return count;
}

/* `tensor`, whose dims are `from`, with its dims in the order `to`. */
static struct tensor *reorder(const struct tensor *tensor, const char *from, const char *to)
{
    int axes[SHAPE_MAX_RANK];
    for (int i = 0; to[i]; i++)
        axes[i] = (int)(strchr(from, to[i]) - from);
    return tensor_transpose(tensor, axes);
}

/* The letters by what becomes of them, and the order in which the tensors have them. Lone letters are in one operand and
 * nowhere else. */
struct order {
    char batch[SHAPE_MAX_RANK + 1], summed[SHAPE_MAX_RANK + 1], a_free[SHAPE_MAX_RANK + 1], b_free[SHAPE_MAX_RANK + 1];
    char a_lone[SHAPE_MAX_RANK + 1], b_lone[SHAPE_MAX_RANK + 1];
    char a[SHAPE_MAX_RANK + 1], b[SHAPE_MAX_RANK + 1], out[SHAPE_MAX_RANK + 1];
};

static void append(char *to, const char *letters)
{
    size_t length = strlen(to);
    memcpy(to + length, letters, strlen(letters) + 1);
}

static void set_order(const struct einsum *e, struct order *o)
{
    *o = (struct order){.batch = ""};
    select_letters(e, 0, true, true, o->batch);
    select_letters(e, 0, true, false, o->summed);
    select_letters(e, 0, false, true, o->a_free);
    select_letters(e, 1, false, true, o->b_free);
    select_letters(e, 0, false, false, o->a_lone);
    select_letters(e, 1, false, false, o->b_lone);
    const char *const parts[3][4] = {{o->a_lone, o->batch, o->a_free, o->summed},
                                     {o->b_lone, o->batch, o->summed, o->b_free},
                                     {"", o->batch, o->a_free, o->b_free}};
    char *const wholes[3] = {o->a, o->b, o->out};
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 4; j++)
            append(wholes[i], parts[i][j]);
}

/* y += a times b, one stack each. */
static int multiply_stack(const struct einsum *e, const struct order *o, const float *a, const float *b,
                          struct tensor *y, struct h5pt_error *err)
{
    int64_t m = product(e, o->a_free), n = product(e, o->b_free), k = product(e, o->summed);
    for (int64_t i = 0; y->count > 0 && i < product(e, o->batch); i++) {
        struct replay_gemm gemm = {.m = m,
                                   .n = n,
                                   .k = k,
                                   .a = a + i * m * k,
                                   .a_row = k,
                                   .b = b + i * k * n,
                                   .b_row = n,
                                   .c = y->data + i * m * n,
                                   .c_row = n,
                                   .beta = 1};
        if (replay_gemm(e->call, &gemm, err) != 0)
            return -1;
    }
    return 0;
}

static int multiply_stacks(const struct einsum *e, const struct order *o, const struct tensor *a,
                           const struct tensor *b, struct tensor *y, struct h5pt_error *err)
{
    int64_t a_stacks = product(e, o->a_lone), b_stacks = product(e, o->b_lone);
    memset(y->data, 0, (size_t)y->count * sizeof *y->data);
    for (int64_t i = 0; i < a_stacks; i++)
        for (int64_t j = 0; j < b_stacks; j++)
            if (multiply_stack(e, o, a->data + i * (a->count / a_stacks), b->data + j * (b->count / b_stacks), y,
                               err) != 0)
                return -1;
    return 0;
}

int replay_EINSUM(const struct replay_call *call, struct tensor **ret, struct h5pt_error *err)
{
    struct einsum e = {.call = call};
    struct order order;
    if (read_equation(&e, err) != 0 || read_sizes(&e, err) != 0)
        return -1;
    set_order(&e, &order);
    struct shape shape = {.rank = (int)strlen(order.out)};
    for (int i = 0; i < shape.rank; i++)
        shape.dims[i] = e.sizes[(int)order.out[i]];
    struct tensor *a = reorder(call->inputs[0], e.terms[0], order.a),
                  *b = reorder(call->inputs[1], e.terms[1], order.b);
    struct tensor *y = replay_new(&shape, replay_promote(call->inputs[0]->dtype, call->inputs[1]->dtype), err);
    struct tensor *out = NULL;
    int rc = -1;
    if (!a || !b || !y) {
        (void)h5pt_fail_memory(err);
        goto out;
    }
    if (multiply_stacks(&e, &order, a, b, y, err) != 0)
        goto out;
    out = reorder(y, order.out, e.terms[2]);
    if (!out) {
        (void)h5pt_fail_memory(err);
        goto out;
    }
    *ret = out;
    rc = 0;
out:
    tensor_free(a);
    tensor_free(b);
    tensor_free(y);
    return rc;
}
