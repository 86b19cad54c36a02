/* SPDX-License-Identifier: Apache-2.0 */
/* Whole numbers that a graph computes with: sizes of tensors, and what is made of them. A number that is known is a number; one that
 * only the run tells is an expression of symbols, each the size of some tensor's dim. Expressions are kept in a normal form (a
 * sum of terms and a constant; quotients as few and as shallow as possible), so that the sizes of a convolution with Keras'
 * padding="same" come out as ceil(n / stride), and equal sizes are one pointer.
 *
 * All functions take the builder; after a failure, and for NULL, they give NULL and do nothing. Expressions live in the arena. */
#ifndef H5PT_ATEN_SIZES_H
#define H5PT_ATEN_SIZES_H

#include <stdbool.h>
#include <stdint.h>

struct aten_builder;

enum aten_int_kind {
    ATEN_NUMBER,
    ATEN_SYMBOL,   /* the size of dim `dim` of value `home`, at least 0 */
    ATEN_SUM,      /* constant + sum of factor * of */
    ATEN_PRODUCT,  /* a * b */
    ATEN_QUOTIENT, /* a / b rounded down */
    ATEN_MAX,      /* the larger of a and b */
};

struct aten_term {
    int64_t factor; /* not 0 */
    const struct aten_int *of;
};

struct aten_int {
    enum aten_int_kind kind;
    int id;        /* equal expressions have the same; counts from 0 */
    int weight;    /* the numbers and symbols that it has when written out */
    int64_t value; /* a number: itself; an expression: what it is for the example sizes of the symbols */
    int home, dim; /* SYMBOL */
    int number;    /* SYMBOL: s<number> */
    int64_t constant;
    int term_count; /* SUM: sorted by id of the term */
    const struct aten_term *terms;
    const struct aten_int *a, *b; /* PRODUCT, QUOTIENT, MAX */
};

/* What free dims are when a size must be given as an example: a batch of 2; 128 steps, rows or columns, so that ordinary networks
 * have something left after their last pooling. */
enum { ATEN_EXAMPLE_BATCH = 2, ATEN_EXAMPLE_SIZE = 128 };

bool aten_int_known(const struct aten_int *x);              /* a number */
bool aten_int_is(const struct aten_int *x, int64_t number); /* that number */

const struct aten_int *aten_int(struct aten_builder *b, int64_t number);
/* A new symbol for the size of that dim. */
const struct aten_int *aten_int_symbol(struct aten_builder *b, int home, int dim, int64_t example);
const struct aten_int *aten_int_add(struct aten_builder *b, const struct aten_int *x, const struct aten_int *y);
const struct aten_int *aten_int_sub(struct aten_builder *b, const struct aten_int *x, const struct aten_int *y);
const struct aten_int *aten_int_mul(struct aten_builder *b, const struct aten_int *x, const struct aten_int *y);
/* factor * x + offset */
const struct aten_int *aten_int_linear(struct aten_builder *b, int64_t factor, const struct aten_int *x,
                                       int64_t offset);
/* Rounded down, also below 0, as // in Python. */
const struct aten_int *aten_int_floor_div(struct aten_builder *b, const struct aten_int *x, const struct aten_int *y);
/* Rounded up; `divisor` is positive. */
const struct aten_int *aten_int_ceil_div(struct aten_builder *b, const struct aten_int *x, int64_t divisor);
const struct aten_int *aten_int_max(struct aten_builder *b, const struct aten_int *x, const struct aten_int *y);
const struct aten_int *aten_int_min(struct aten_builder *b, const struct aten_int *x, const struct aten_int *y);

#endif
