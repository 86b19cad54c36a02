/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes and metas of tensors. */
#include <string.h>

#include "base/strbuf.h"
#include "write/pt2_internal.h"

/* The numbers of torch's export schema, which are not those of TorchScript. */
int pt2_dtype(enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_U8: return 1;
    case DTYPE_I8: return 2;
    case DTYPE_I16: return 3;
    case DTYPE_I32: return 4;
    case DTYPE_I64: return 5;
    case DTYPE_F16: return 6;
    case DTYPE_F32: return 7;
    case DTYPE_F64: return 8;
    case DTYPE_BOOL: return 12;
    case DTYPE_BF16: return 13;
    case DTYPE_U16: return 28;
    case DTYPE_U32: return 34;
    case DTYPE_U64: return 35;
    case DTYPE_COUNT: break;
    }
    return 10; /* ATEN_COMPLEX64 */
}

/* ---- expressions, as sympy reads them ---- */

static void add_expression(struct strbuf *out, const struct aten_int *x);

static void add_pair(struct strbuf *out, const char *function, const struct aten_int *x)
{
    strbuf_addf(out, "%s(", function);
    add_expression(out, x->a);
    strbuf_add(out, ", ");
    add_expression(out, x->b);
    strbuf_add(out, ")");
}

static void add_sum(struct strbuf *out, const struct aten_int *x)
{
    for (int i = 0; i < x->term_count; i++) {
        strbuf_addf(out, "%s%lld*", i ? " + " : "", (long long)x->terms[i].factor);
        add_expression(out, x->terms[i].of);
    }
    if (x->constant)
        strbuf_addf(out, " + %lld", (long long)x->constant);
}

static void add_expression(struct strbuf *out, const struct aten_int *x)
{
    switch (x->kind) {
    case ATEN_NUMBER: strbuf_addf(out, "%lld", (long long)x->value); break;
    case ATEN_SYMBOL: strbuf_addf(out, "Symbol('s%d', positive=True, integer=True)", x->number); break;
    case ATEN_SUM: add_sum(out, x); break;
    case ATEN_PRODUCT:
        strbuf_add(out, "(");
        add_expression(out, x->a);
        strbuf_add(out, ")*(");
        add_expression(out, x->b);
        strbuf_add(out, ")");
        break;
    case ATEN_QUOTIENT: add_pair(out, "FloorDiv", x); break;
    case ATEN_MAX: add_pair(out, "Max", x); break;
    }
}

json_t *pt2_size(struct pt2_printer *p, const struct aten_int *size)
{
    if (size->kind == ATEN_NUMBER)
        return json_pack("{s:I}", "as_int", (json_int_t)size->value);
    struct strbuf text = STRBUF_INIT;
    add_expression(&text, size);
    p->broken = p->broken || !strbuf_ok(&text);
    json_t *json = json_pack("{s:{s:s, s:{s:I}}}", "as_expr", "expr_str", strbuf_text(&text), "hint", "as_int",
                             (json_int_t)size->value);
    strbuf_release(&text);
    return json;
}

json_t *pt2_ranges(const struct aten_graph *graph)
{
    json_t *ranges = json_object();
    for (int i = 0; i < graph->symbol_count; i++) {
        char name[24];
        (void)snprintf(name, sizeof name, "s%d", graph->symbols[i]->number);
        (void)json_object_set_new(ranges, name, json_pack("{s:i, s:n}", "min_val", 1, "max_val"));
    }
    return ranges;
}

/* ---- metas ---- */

/* The product of the sizes of dims from..rank, as a size that is only said and not computed with. */
static json_t *stride(struct pt2_printer *p, const struct aten_shape *shape, int from)
{
    int64_t number = 1, example = 1;
    struct strbuf text = STRBUF_INIT;
    for (int i = from; i < shape->rank; i++) {
        const struct aten_int *dim = shape->dims[i];
        int64_t known = dim->kind == ATEN_NUMBER && dim->value > 1 ? dim->value : 1;
        if (__builtin_mul_overflow(number, known, &number))
            number = 1; /* of an empty tensor: there are no elements to step over */
        if (dim->kind == ATEN_NUMBER)
            continue;
        if (__builtin_mul_overflow(example, dim->value, &example))
            example = 1;
        strbuf_add(&text, "*(");
        add_expression(&text, dim);
        strbuf_add(&text, ")");
    }
    if (!text.length)
        return json_pack("{s:I}", "as_int", (json_int_t)number);
    p->broken = p->broken || !strbuf_ok(&text) || __builtin_mul_overflow(example, number, &example);
    struct strbuf whole = STRBUF_INIT;
    strbuf_addf(&whole, "%lld%s", (long long)number, strbuf_text(&text));
    json_t *json = json_pack("{s:{s:s, s:{s:I}}}", "as_expr", "expr_str", strbuf_text(&whole), "hint", "as_int",
                             (json_int_t)example);
    strbuf_release(&text);
    strbuf_release(&whole);
    return json;
}

json_t *pt2_meta(struct pt2_printer *p, const struct aten_meta *meta, bool requires_grad)
{
    json_t *sizes = json_array(), *strides = json_array();
    for (int i = 0; i < meta->shape.rank; i++) {
        pt2_append(p, sizes, pt2_size(p, meta->shape.dims[i]));
        pt2_append(p, strides, stride(p, &meta->shape, i + 1));
    }
    return json_pack("{s:i, s:o, s:b, s:{s:s, s:n}, s:o, s:{s:i}, s:i}", "dtype", pt2_dtype(meta->dtype), "sizes",
                     sizes, "requires_grad", requires_grad, "device", "type", "cpu", "index", "strides", strides,
                     "storage_offset", "as_int", 0, "layout", 7);
}

json_t *pt2_parameter_meta(struct pt2_printer *p, int parameter)
{
    const struct torch_parameter *own = &p->graph->torch->parameters[parameter];
    bool learns = !own->is_buffer && own->trainable && dtype_is_float(own->dtype);
    return pt2_meta(p, &p->graph->values[p->graph->parameters[parameter]].meta, learns);
}
