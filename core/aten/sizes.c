/* SPDX-License-Identifier: Apache-2.0 */
#include "aten/sizes.h"

#include <string.h>

#include "aten/builder.h"

bool aten_int_known(const struct aten_int *x)
{
    return x && x->kind == ATEN_NUMBER;
}

bool aten_int_is(const struct aten_int *x, int64_t number)
{
    return aten_int_known(x) && x->value == number;
}

/* ---- one pointer for equal expressions ---- */

static bool same(const struct aten_int *x, const struct aten_int *y)
{
    if (x->kind != y->kind || x->value != y->value || x->a != y->a || x->b != y->b || x->constant != y->constant ||
        x->term_count != y->term_count || (x->kind == ATEN_SYMBOL && (x->home != y->home || x->dim != y->dim)))
        return false;
    for (int i = 0; i < x->term_count; i++)
        if (x->terms[i].of != y->terms[i].of || x->terms[i].factor != y->terms[i].factor)
            return false;
    return true;
}

/* Written out, a shared part counts each time. */
static int weight_of(const struct aten_int *x)
{
    int64_t weight = 1;
    for (int i = 0; i < x->term_count; i++)
        weight += x->terms[i].of->weight;
    weight += (x->a ? x->a->weight : 0) + (x->b ? x->b->weight : 0);
    return weight < INT32_MAX / 4 ? (int)weight : INT32_MAX / 4;
}

static const struct aten_int *intern(struct aten_builder *b, const struct aten_int *x)
{
    struct aten_graph *g = b->graph;
    if (b->failed)
        return NULL;
    for (int i = 0; i < g->size_count; i++)
        if (same(g->sizes[i], x))
            return g->sizes[i];
    struct aten_int *own = ARENA_NEW(g->arena, struct aten_int);
    struct aten_term *terms = ARENA_ARRAY(g->arena, struct aten_term, (size_t)x->term_count + 1);
    if (!own || !terms || aten_grow(b, &g->sizes, sizeof(struct aten_int *), g->size_count, &b->size_capacity) < 0) {
        aten_fail_memory(b);
        return NULL;
    }
    *own = *x;
    if (x->term_count)
        memcpy(terms, x->terms, (size_t)x->term_count * sizeof *terms);
    own->terms = terms;
    own->id = g->size_count;
    own->weight = weight_of(own);
    g->sizes[g->size_count++] = own;
    return own;
}

static const struct aten_int *overflow(struct aten_builder *b)
{
    (void)aten_fail(b, H5PT_LIMIT_EXCEEDED, "A size of the model is too large");
    return NULL;
}

const struct aten_int *aten_int(struct aten_builder *b, int64_t number)
{
    const struct aten_int x = {.kind = ATEN_NUMBER, .value = number};
    return intern(b, &x);
}

const struct aten_int *aten_int_symbol(struct aten_builder *b, int home, int dim, int64_t example)
{
    struct aten_graph *g = b->graph;
    const struct aten_int x = {
        .kind = ATEN_SYMBOL, .value = example, .home = home, .dim = dim, .number = g->symbol_count};
    const struct aten_int *own = intern(b, &x);
    if (!own)
        return NULL;
    if (aten_grow(b, &g->symbols, sizeof own, g->symbol_count, &b->symbol_capacity) < 0)
        return NULL;
    g->symbols[g->symbol_count++] = own;
    return own;
}

/* ---- sums ---- */

/* A sum in the making. */
struct sum {
    int64_t constant;
    int count;
    struct aten_term *terms;
};

/* x as a sum: `one` holds the term of what is none. */
static struct sum as_sum(const struct aten_int *x, struct aten_term *one)
{
    if (x->kind == ATEN_NUMBER)
        return (struct sum){.constant = x->value};
    if (x->kind == ATEN_SUM)
        return (struct sum){.constant = x->constant, .count = x->term_count, .terms = (struct aten_term *)x->terms};
    *one = (struct aten_term){.factor = 1, .of = x};
    return (struct sum){.count = 1, .terms = one};
}

static struct sum new_sum(struct aten_builder *b, int capacity)
{
    struct sum sum = {.terms = ARENA_ARRAY(b->graph->arena, struct aten_term, (size_t)capacity + 1)};
    if (!sum.terms)
        aten_fail_memory(b);
    return sum;
}

/* The expression of a sum whose terms are sorted. */
static const struct aten_int *of_sum(struct aten_builder *b, const struct sum *sum)
{
    if (b->failed)
        return NULL;
    if (sum->count == 0)
        return aten_int(b, sum->constant);
    if (sum->count == 1 && sum->constant == 0 && sum->terms[0].factor == 1)
        return sum->terms[0].of;
    struct aten_int x = {.kind = ATEN_SUM, .value = sum->constant, .constant = sum->constant, .term_count = sum->count};
    x.terms = sum->terms;
    for (int i = 0; i < sum->count; i++) {
        int64_t part;
        if (__builtin_mul_overflow(sum->terms[i].factor, sum->terms[i].of->value, &part) ||
            __builtin_add_overflow(x.value, part, &x.value))
            return overflow(b);
    }
    return intern(b, &x);
}

/* x + factor * y */
static const struct aten_int *add_scaled(struct aten_builder *b, const struct aten_int *x, int64_t factor,
                                         const struct aten_int *y)
{
    struct aten_term one_x, one_y;
    if (!x || !y || b->failed)
        return NULL;
    struct sum sx = as_sum(x, &one_x), sy = as_sum(y, &one_y), out = new_sum(b, sx.count + sy.count);
    if (b->failed)
        return NULL;
    if (__builtin_mul_overflow(factor, sy.constant, &out.constant) ||
        __builtin_add_overflow(out.constant, sx.constant, &out.constant))
        return overflow(b);
    for (int i = 0, j = 0; i < sx.count || j < sy.count;) {
        bool from_x = i < sx.count && (j == sy.count || sx.terms[i].of->id <= sy.terms[j].of->id);
        bool from_y = j < sy.count && (i == sx.count || sy.terms[j].of->id <= sx.terms[i].of->id);
        int64_t scaled = 0;
        struct aten_term *term = &out.terms[out.count];
        *term = (struct aten_term){.factor = from_x ? sx.terms[i].factor : 0,
                                   .of = from_x ? sx.terms[i].of : sy.terms[j].of};
        if (from_y && (__builtin_mul_overflow(factor, sy.terms[j].factor, &scaled) ||
                       __builtin_add_overflow(term->factor, scaled, &term->factor)))
            return overflow(b);
        out.count += term->factor != 0;
        i += from_x;
        j += from_y;
    }
    return of_sum(b, &out);
}

const struct aten_int *aten_int_add(struct aten_builder *b, const struct aten_int *x, const struct aten_int *y)
{
    return add_scaled(b, x, 1, y);
}

const struct aten_int *aten_int_sub(struct aten_builder *b, const struct aten_int *x, const struct aten_int *y)
{
    return add_scaled(b, x, -1, y);
}

const struct aten_int *aten_int_linear(struct aten_builder *b, int64_t factor, const struct aten_int *x, int64_t offset)
{
    return add_scaled(b, aten_int(b, offset), factor, x);
}

/* ---- products ---- */

static int64_t magnitude(int64_t x)
{
    return x < 0 ? -x : x;
}

static int64_t gcd(int64_t x, int64_t y)
{
    while (y) {
        int64_t rest = x % y;
        x = y;
        y = rest;
    }
    return magnitude(x);
}

/* What divides the constant and all factors. */
static int64_t content_of(const struct aten_int *x)
{
    struct aten_term one;
    struct sum sum = as_sum(x, &one);
    int64_t content = magnitude(sum.constant);
    for (int i = 0; i < sum.count; i++)
        content = gcd(content, sum.terms[i].factor);
    return content;
}

/* x / divisor, which divides the constant and all factors. */
static const struct aten_int *divided(struct aten_builder *b, const struct aten_int *x, int64_t divisor)
{
    struct aten_term one;
    if (divisor == 1)
        return x;
    struct sum sum = as_sum(x, &one), out = new_sum(b, sum.count);
    if (b->failed)
        return NULL;
    out.constant = sum.constant / divisor;
    out.count = sum.count;
    for (int i = 0; i < sum.count; i++)
        out.terms[i] = (struct aten_term){.factor = sum.terms[i].factor / divisor, .of = sum.terms[i].of};
    return of_sum(b, &out);
}

static const struct aten_int *pair(struct aten_builder *b, enum aten_int_kind kind, const struct aten_int *x,
                                   const struct aten_int *y, int64_t value)
{
    const struct aten_int p = {.kind = kind, .value = value, .a = x, .b = y};
    return intern(b, &p);
}

const struct aten_int *aten_int_mul(struct aten_builder *b, const struct aten_int *x, const struct aten_int *y)
{
    int64_t factor, value;
    if (!x || !y || b->failed)
        return NULL;
    if (y->kind == ATEN_NUMBER)
        return aten_int_linear(b, y->value, x, 0);
    if (x->kind == ATEN_NUMBER)
        return aten_int_linear(b, x->value, y, 0);
    int64_t cx = content_of(x), cy = content_of(y);
    x = divided(b, x, cx);
    y = divided(b, y, cy);
    if (b->failed)
        return NULL;
    if (__builtin_mul_overflow(cx, cy, &factor) || __builtin_mul_overflow(x->value, y->value, &value))
        return overflow(b);
    const struct aten_int *product = x->id <= y->id ? pair(b, ATEN_PRODUCT, x, y, value)
                                                    : pair(b, ATEN_PRODUCT, y, x, value);
    return aten_int_linear(b, factor, product, 0);
}

/* ---- quotients ---- */

static int64_t floor_quotient(int64_t x, int64_t y)
{
    return x / y - (x % y != 0 && (x < 0) != (y < 0));
}

/* x without the terms that `divisor` divides, and those, divided: x = divisor * *ret_whole + the result. The constant that
 * stays is less than the divisor. */
static const struct aten_int *split_whole(struct aten_builder *b, const struct aten_int *x, int64_t divisor,
                                          const struct aten_int **ret_whole)
{
    struct aten_term one;
    struct sum sum = as_sum(x, &one), whole = new_sum(b, sum.count), rest = new_sum(b, sum.count);
    if (b->failed)
        return NULL;
    whole.constant = floor_quotient(sum.constant, divisor);
    rest.constant = sum.constant - whole.constant * divisor;
    for (int i = 0; i < sum.count; i++) {
        struct aten_term term = sum.terms[i];
        if (term.factor % divisor == 0)
            whole.terms[whole.count++] = (struct aten_term){.factor = term.factor / divisor, .of = term.of};
        else
            rest.terms[rest.count++] = term;
    }
    *ret_whole = of_sum(b, &whole);
    return of_sum(b, &rest);
}

static const struct aten_int *quotient(struct aten_builder *b, const struct aten_int *x, int64_t divisor);

/* The quotient of what split_whole leaves: 0 <= constant < divisor, no term is a multiple. */
static const struct aten_int *rest_quotient(struct aten_builder *b, const struct aten_int *x, int64_t divisor)
{
    struct aten_term one;
    struct sum sum = as_sum(x, &one);
    int64_t common = divisor, inner;
    if (sum.count == 0)
        return aten_int(b, 0);
    for (int i = 0; i < sum.count; i++)
        common = gcd(common, sum.terms[i].factor);
    if (common > 1) { /* the constant's rest cannot reach the next multiple */
        const struct aten_int *even = aten_int_linear(b, 1, x, -(sum.constant % common));
        return even ? quotient(b, divided(b, even, common), divisor / common) : NULL;
    }
    const struct aten_int *of = sum.terms[0].of;
    if (sum.count == 1 && sum.terms[0].factor == 1 && of->kind == ATEN_QUOTIENT && aten_int_known(of->b) &&
        !__builtin_mul_overflow(of->b->value, divisor, &inner)) /* (a // k + c) // d = (a + c k) // (k d) */
        return quotient(b, aten_int_add(b, of->a, aten_int_linear(b, sum.constant, of->b, 0)), inner);
    if (sum.count == 1 && sum.terms[0].factor == 1 && of->kind == ATEN_MAX)
        return aten_int_max(b, quotient(b, aten_int_linear(b, 1, of->a, sum.constant), divisor),
                            quotient(b, aten_int_linear(b, 1, of->b, sum.constant), divisor));
    return pair(b, ATEN_QUOTIENT, x, aten_int(b, divisor), floor_quotient(x->value, divisor));
}

static const struct aten_int *quotient(struct aten_builder *b, const struct aten_int *x, int64_t divisor)
{
    const struct aten_int *whole = NULL;
    if (!x || b->failed || divisor == 1)
        return x;
    const struct aten_int *rest = split_whole(b, x, divisor, &whole);
    return rest ? aten_int_add(b, whole, rest_quotient(b, rest, divisor)) : NULL;
}

/* x / y where x is y, or a product with y, times a number; else NULL. */
static const struct aten_int *without_factor(struct aten_builder *b, const struct aten_int *x, const struct aten_int *y)
{
    int64_t cx = content_of(x), cy = content_of(y);
    if (cx == 0 || cy == 0 || cx % cy != 0)
        return NULL;
    const struct aten_int *px = divided(b, x, cx), *py = divided(b, y, cy), *other = NULL;
    if (b->failed)
        return NULL;
    if (px == py)
        other = aten_int(b, 1);
    else if (px->kind == ATEN_PRODUCT)
        other = px->a == py ? px->b : px->b == py ? px->a : NULL;
    return other ? aten_int_linear(b, cx / cy, other, 0) : NULL;
}

const struct aten_int *aten_int_floor_div(struct aten_builder *b, const struct aten_int *x, const struct aten_int *y)
{
    if (!x || !y || b->failed)
        return NULL;
    if (aten_int_known(y) && y->value > 0)
        return quotient(b, x, y->value);
    if (aten_int_known(y) || y->value == 0) {
        (void)aten_fail(b, H5PT_INTERNAL, "A size is divided by %lld", (long long)y->value);
        return NULL;
    }
    const struct aten_int *exact = without_factor(b, x, y);
    if (exact || b->failed)
        return exact;
    return pair(b, ATEN_QUOTIENT, x, y, floor_quotient(x->value, y->value));
}

const struct aten_int *aten_int_ceil_div(struct aten_builder *b, const struct aten_int *x, int64_t divisor)
{
    return quotient(b, aten_int_linear(b, 1, x, divisor - 1), divisor);
}

/* ---- the larger one ---- */

/* Whether x is certainly not negative: sizes are not. */
static bool not_negative(const struct aten_int *x)
{
    switch (x->kind) {
    case ATEN_NUMBER: return x->value >= 0;
    case ATEN_SYMBOL: return true;
    case ATEN_PRODUCT: return not_negative(x->a) && not_negative(x->b);
    case ATEN_QUOTIENT: return not_negative(x->a) && aten_int_known(x->b) && x->b->value > 0;
    case ATEN_MAX: return not_negative(x->a) || not_negative(x->b);
    case ATEN_SUM: break;
    }
    for (int i = 0; i < x->term_count; i++)
        if (x->terms[i].factor < 0 || !not_negative(x->terms[i].of))
            return false;
    return x->constant >= 0;
}

/* The same for a difference p // k - q // k + c with p - q a number: it is within 1 of (p - q) / k + c. */
static bool quotients_not_negative(struct aten_builder *b, const struct aten_int *x)
{
    if (x->kind != ATEN_SUM || x->term_count != 2 || x->terms[0].factor + x->terms[1].factor != 0 ||
        magnitude(x->terms[0].factor) != 1)
        return false;
    const struct aten_int *p = x->terms[x->terms[0].factor > 0 ? 0 : 1].of,
                          *q = x->terms[x->terms[0].factor > 0 ? 1 : 0].of;
    if (p->kind != ATEN_QUOTIENT || q->kind != ATEN_QUOTIENT || p->b != q->b || !aten_int_known(p->b))
        return false;
    const struct aten_int *apart = aten_int_sub(b, p->a, q->a);
    return aten_int_known(apart) && floor_quotient(apart->value, p->b->value) + x->constant >= 0;
}

const struct aten_int *aten_int_max(struct aten_builder *b, const struct aten_int *x, const struct aten_int *y)
{
    const struct aten_int *apart = aten_int_sub(b, x, y), *back = aten_int_sub(b, y, x);
    if (!apart || !back)
        return NULL;
    if (not_negative(apart) || quotients_not_negative(b, apart))
        return x;
    if (not_negative(back) || quotients_not_negative(b, back))
        return y;
    if (x->id > y->id) {
        const struct aten_int *first = y;
        y = x;
        x = first;
    }
    return pair(b, ATEN_MAX, x, y, x->value > y->value ? x->value : y->value);
}

const struct aten_int *aten_int_min(struct aten_builder *b, const struct aten_int *x, const struct aten_int *y)
{
    return aten_int_linear(b, -1, aten_int_max(b, aten_int_linear(b, -1, x, 0), aten_int_linear(b, -1, y, 0)), 0);
}
