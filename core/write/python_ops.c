/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes as Python expressions. How each is written stands in torch/ops.def. */
#include <string.h>

#include "base/words.h"
#include "write/python_internal.h"

/* ---- attributes ---- */

static void add_size(struct strbuf *out, const struct torch_size *size, const char *input)
{
    if (size->from_dim < 0)
        strbuf_addf(out, "%lld", (long long)size->value);
    else
        strbuf_addf(out, "%s.shape[%d]", input, size->from_dim);
}

/* Elements without parentheses. */
static int add_elements(struct strbuf *out, const struct torch_attr *attr, const char *input)
{
    int count = attr->kind == TORCH_ATTR_SIZES  ? attr->sizes.count
                : attr->kind == TORCH_ATTR_INTS ? attr->ints.count
                                                : 1;
    for (int i = 0; i < count; i++) {
        strbuf_add(out, i ? ", " : "");
        if (attr->kind == TORCH_ATTR_SIZES)
            add_size(out, &attr->sizes.v[i], input);
        else
            strbuf_addf(out, "%lld", (long long)(attr->kind == TORCH_ATTR_INTS ? attr->ints.v[i] : attr->i));
    }
    return count;
}

/* 1e09, as black writes it. */
static void add_number(struct strbuf *out, double value)
{
    struct strbuf text = STRBUF_INIT;
    strbuf_add_double(&text, value);
    for (const char *c = strbuf_text(&text); *c; c++)
        if (*c != '+')
            strbuf_add_bytes(out, c, 1);
    out->broken = out->broken || text.broken;
    strbuf_release(&text);
}

void python_add_attr(struct strbuf *out, const struct torch_attr *attr, const char *input)
{
    switch (attr->kind) {
    case TORCH_ATTR_INT: strbuf_addf(out, "%lld", (long long)attr->i); break;
    case TORCH_ATTR_BOOL: strbuf_add(out, attr->i ? "True" : "False"); break;
    case TORCH_ATTR_FLOAT: add_number(out, attr->f); break;
    case TORCH_ATTR_TEXT:
        if (strcmp(attr->name, "dtype") == 0)
            strbuf_addf(out, "torch.%s", attr->text);
        else if (strcmp(attr->name, "activation") == 0 || strcmp(attr->name, "recurrent_activation") == 0)
            strbuf_add(out, attr->text); /* a function */
        else
            strbuf_addf(out, "\"%s\"", attr->text);
        break;
    case TORCH_ATTR_INTS:
    case TORCH_ATTR_SIZES:
        strbuf_add(out, "(");
        strbuf_add(out, add_elements(out, attr, input) == 1 ? ",)" : ")");
        break;
    }
}

/* A default in ops.def is written without quotes. */
static bool is_default(const char *printed, const char *text, size_t length)
{
    size_t n = strlen(printed);
    if (n == length && memcmp(printed, text, n) == 0)
        return true;
    return n == length + 2 && printed[0] == '"' && memcmp(printed + 1, text, length) == 0;
}

/* ---- arguments of the class ---- */

const struct structure_argument *python_argument_for(const struct python_printer *p, int index)
{
    const int *arguments = p->class->slots[p->slot].arguments;
    return arguments && arguments[index] >= 0 ? &p->class->arguments[arguments[index]] : NULL;
}

void python_add_argument(struct strbuf *out, const struct python_printer *p, const struct structure_argument *argument)
{
    strbuf_addf(out, p->constructing ? "%s" : "self.%s", argument->name);
}

/* Whether blocks of the class have another size here. */
static bool size_varies(const struct python_printer *p, const struct torch_attr *attr, int index)
{
    const struct structure_class *class = p->class;
    for (int i = 0; i < class->block_count; i++) {
        const struct torch_node *node = class->blocks[i]->items[p->slot].node;
        const struct torch_attr *other = node ? torch_attr(node, attr->name) : NULL;
        if (other && other->sizes.v[index].value != attr->sizes.v[index].value)
            return true;
    }
    return false;
}

/* The elements of an attribute, where a size that varies is left to torch. */
static void add_unpacked(struct strbuf *out, const struct python_printer *p, const struct torch_attr *attr,
                         const char *input)
{
    struct torch_attr fixed = *attr;
    struct torch_size sizes[SHAPE_MAX_RANK];
    if (attr->kind == TORCH_ATTR_SIZES && attr->sizes.count <= SHAPE_MAX_RANK) {
        for (int i = 0; i < attr->sizes.count; i++) {
            sizes[i] = attr->sizes.v[i];
            if (sizes[i].from_dim < 0 && size_varies(p, attr, i))
                sizes[i].value = -1;
        }
        fixed.sizes.v = sizes;
    }
    (void)add_elements(out, &fixed, input);
}

/* Appends one attribute as ops.def writes it: `word` is "name", "*name", "name=default" or "!name". */
static void add_attribute(struct strbuf *out, const struct python_printer *p, const struct torch_node *node,
                          const char *word, size_t length, const char *input, bool *first)
{
    char name[40];
    const char *equals = memchr(word, '=', length);
    bool unpacked = *word == '*';
    const char *start = unpacked ? word + 1 : word;
    size_t n = (size_t)((equals ? equals : word + length) - start);
    if (*word == '!' || n >= sizeof name)
        return;
    memcpy(name, start, n);
    name[n] = '\0';
    const struct torch_attr *attr = torch_attr(node, name);
    if (!attr)
        return;
    const struct structure_argument *argument = python_argument_for(p, (int)(attr - node->attrs));
    struct strbuf value = STRBUF_INIT;
    if (argument)
        python_add_argument(&value, p, argument);
    else if (unpacked)
        add_unpacked(&value, p, attr, input);
    else
        python_add_attr(&value, attr, input);
    if (argument || !equals || !is_default(strbuf_text(&value), equals + 1, length - (size_t)(equals + 1 - word))) {
        strbuf_add(out, *first ? "" : ", ");
        if (equals)
            strbuf_addf(out, "%s=", name);
        strbuf_add(out, strbuf_text(&value));
        *first = false;
    }
    out->broken = out->broken || value.broken;
    strbuf_release(&value);
}

void python_add_attributes(struct strbuf *out, const struct python_printer *p, const struct torch_node *node,
                           const char *input, bool first)
{
    const char *cursor = torch_op_info(node->op)->attributes, *word;
    size_t length;
    while ((word = word_next(&cursor, &length)))
        add_attribute(out, p, node, word, length, input, &first);
}

/* ---- operands ---- */

static const struct python_value *operand_value(const struct python_printer *p, int index)
{
    return &p->values[p->class->slots[p->slot].inputs[index]];
}

static const char *operand(const struct python_printer *p, int index)
{
    const char *text = operand_value(p, index)->text;
    return text ? text : "None";
}

/* The same, in parentheses when it is an operation itself. */
static void add_operand(struct strbuf *out, const struct python_printer *p, int index)
{
    strbuf_addf(out, operand_value(p, index)->is_operation ? "(%s)" : "%s", operand(p, index));
}

static void add_operands(struct strbuf *out, const struct python_printer *p)
{
    for (int i = 0; i < p->class->slots[p->slot].input_count; i++)
        strbuf_addf(out, "%s%s", i ? ", " : "", operand(p, i));
}

/* ---- operations with a form of their own ---- */

/* x[:, 1:-2]: dims at the end that are whole are left out. */
static void add_slice(struct strbuf *out, const struct python_printer *p, const struct torch_node *node)
{
    const struct torch_attr *start = torch_attr(node, "start"), *stop = torch_attr(node, "stop");
    int count = start && start->kind == TORCH_ATTR_INTS ? start->ints.count : 0;
    const struct torch_attr *step = torch_attr(node, "step");
    while (count > 1 && start->ints.v[count - 1] == 0 && stop->ints.v[count - 1] == 0 &&
           (!step || step->ints.v[count - 1] == 1))
        count--;
    add_operand(out, p, 0);
    strbuf_add(out, "[");
    for (int i = 0; i < count; i++) {
        strbuf_add(out, i ? ", " : "");
        if (start->ints.v[i])
            strbuf_addf(out, "%lld", (long long)start->ints.v[i]);
        strbuf_add(out, ":");
        if (stop->ints.v[i])
            strbuf_addf(out, "%lld", (long long)stop->ints.v[i]);
        if (step && step->ints.v[i] != 1)
            strbuf_addf(out, ":%lld", (long long)step->ints.v[i]);
    }
    strbuf_add(out, "]");
}

/* x[:, :, -1] */
static void add_select(struct strbuf *out, const struct python_printer *p, const struct torch_node *node)
{
    add_operand(out, p, 0);
    strbuf_add(out, "[");
    for (int64_t i = 0; i < torch_attr_int(node, "dim"); i++)
        strbuf_add(out, ":, ");
    strbuf_addf(out, "%lld]", (long long)torch_attr_int(node, "index"));
}

/* black writes x**2 without spaces where both sides are names, attributes or numbers. */
static bool is_simple(const char *text)
{
    text += *text == '-';
    return text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.")] == '\0';
}

static void add_binary(struct strbuf *out, const char *left, const char *operator, const char * right)
{
    bool close = strcmp(operator, "**") == 0 && is_simple(left) && *left != '-' && is_simple(right);
    strbuf_addf(out, close ? "%s%s%s" : "%s %s %s", left, operator, right);
}

/* x <operator> value, or value <operator> x. */
static void add_with_number(struct strbuf *out, const struct python_printer *p, const struct torch_node *node)
{
    const struct torch_attr *value = torch_attr(node, "value"), *reflected = torch_attr(node, "reflected");
    bool first = reflected && reflected->i;
    bool negative = first && value &&
                    (value->kind == TORCH_ATTR_INT ? value->i < 0 : value->f < 0); /* -2 ** x is -(2 ** x) */
    struct strbuf x = STRBUF_INIT, number = STRBUF_INIT;
    add_operand(&x, p, 0);
    strbuf_add(&number, negative ? "(" : "");
    if (value)
        python_add_attr(&number, value, "");
    strbuf_add(&number, negative ? ")" : "");
    add_binary(out, strbuf_text(first ? &number : &x), torch_op_info(node->op)->callee,
               strbuf_text(first ? &x : &number));
    out->broken = out->broken || x.broken || number.broken;
    strbuf_release(&x);
    strbuf_release(&number);
}

/* F.interpolate(x, size=like.shape[2:], …), resize(x, (2 * like.shape[2], like.shape[3]), …) */
static void add_like(struct strbuf *out, const struct python_printer *p, const struct torch_node *node)
{
    const int64_t *times = torch_attr(node, "times")->ints.v;
    const char *like = operand(p, 1);
    strbuf_addf(out, "%s(%s, %s", torch_op_info(node->op)->callee, operand(p, 0),
                node->op == TORCH_INTERPOLATE_LIKE ? "size=" : "");
    if (times[0] == 1 && times[1] == 1)
        strbuf_addf(out, "%s.shape[2:]", like);
    for (int i = 0; i < 2 && (times[0] != 1 || times[1] != 1); i++) {
        strbuf_add(out, i ? ", " : "(");
        if (times[i] != 1)
            strbuf_addf(out, "%lld * ", (long long)times[i]);
        strbuf_addf(out, "%s.shape[%d]%s", like, 2 + i, i ? ")" : "");
    }
    python_add_attributes(out, p, node, "", false);
    strbuf_add(out, ")");
}

/* torch.fft.fftn(torch.complex(real, imag), dim=…).real */
static void add_fourier(struct strbuf *out, const struct python_printer *p, const struct torch_node *node)
{
    bool pair = node->input_count == 2;
    strbuf_addf(out, "%s(%s", torch_op_info(node->op)->callee, pair ? "torch.complex(" : "");
    add_operands(out, p);
    strbuf_add(out, pair ? ")" : "");
    python_add_attributes(out, p, node, "", false);
    switch (node->op) {
    case TORCH_IRFFT: strbuf_add(out, ")"); break;
    case TORCH_RFFT_REAL:
    case TORCH_FFT_REAL:
    case TORCH_IFFT_REAL: strbuf_add(out, ").real"); break;
    default: strbuf_add(out, ").imag");
    }
}

static void add_special(struct strbuf *out, const struct python_printer *p, const struct torch_node *node)
{
    const struct torch_op_info *info = torch_op_info(node->op);
    switch (node->op) {
    case TORCH_PARAMETER: strbuf_addf(out, "self.%s", p->class->slots[p->slot].name); break;
    case TORCH_SLICE: add_slice(out, p, node); break;
    case TORCH_UNFLATTEN_LIKE:
        add_operand(out, p, 0);
        strbuf_addf(out, ".unflatten(0, %s.shape[:2])", operand(p, 1));
        break;
    case TORCH_INTERPOLATE_LIKE:
    case TORCH_RESIZE_LIKE: add_like(out, p, node); break;
    case TORCH_SELECT: add_select(out, p, node); break;
    case TORCH_INDEX_SELECT: /* x[:, :, indices] */
        add_operand(out, p, 0);
        strbuf_add(out, "[");
        for (int64_t i = 0; i < torch_attr_int(node, "dim"); i++)
            strbuf_add(out, ":, ");
        strbuf_addf(out, "%s]", operand(p, 1));
        break;
    case TORCH_STACK:
    case TORCH_CAT:
        strbuf_addf(out, "%s((", info->callee);
        add_operands(out, p);
        strbuf_add(out, node->input_count == 1 ? ",)" : ")");
        python_add_attributes(out, p, node, "", false);
        strbuf_add(out, ")");
        break;
    case TORCH_EINSUM:
        strbuf_addf(out, "%s(\"%s\", ", info->callee, torch_attr_text(node, "equation"));
        add_operands(out, p);
        strbuf_add(out, ")");
        break;
    case TORCH_SORT:
    case TORCH_TOPK_VALUES:
    case TORCH_TOPK_INDICES:
        strbuf_addf(out, "%s(%s", info->callee, operand(p, 0));
        python_add_attributes(out, p, node, "", false);
        strbuf_add(out, node->op == TORCH_TOPK_INDICES ? ").indices" : ").values");
        break;
    case TORCH_SLOGDET_SIGN:
    case TORCH_SLOGDET_LOG:
        strbuf_addf(out, "%s(%s).%s", info->callee, operand(p, 0),
                    node->op == TORCH_SLOGDET_SIGN ? "sign" : "logabsdet");
        break;
    case TORCH_RFFT_REAL:
    case TORCH_RFFT_IMAG:
    case TORCH_IRFFT:
    case TORCH_FFT_REAL:
    case TORCH_FFT_IMAG:
    case TORCH_IFFT_REAL:
    case TORCH_IFFT_IMAG: add_fourier(out, p, node); break;
    default: /* x <operator> value */ add_with_number(out, p, node); break;
    }
}

static bool is_operator(const struct torch_node *node)
{
    const struct torch_op_info *info = torch_op_info(node->op);
    if (node->module && node->op != TORCH_PARAMETER)
        return false;
    return info->kind == TORCH_KIND_OPERATOR ||
           (info->kind == TORCH_KIND_SPECIAL && info->callee && strlen(info->callee) <= 2);
}

/* The function for a comparison, or NULL: x != x looks like a mistake where torch.ne(x, x) asks for NaN. */
static const char *comparison(const char *operator)
{
    static const char *const names[][2] = {{"==", "torch.eq"}, {"!=", "torch.ne"}, {"<", "torch.lt"},
                                           {"<=", "torch.le"}, {">", "torch.gt"},  {">=", "torch.ge"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i][0], operator) == 0)
            return names[i][1];
    return NULL;
}

static void add_operation(struct strbuf *out, struct python_printer *p, const char *operator)
{
    const int *inputs = p->class->slots[p->slot].inputs;
    if (inputs[0] == inputs[1] && comparison(operator)) {
        strbuf_addf(out, "%s(%s, %s)", comparison(operator), operand(p, 0), operand(p, 1));
        p->values[p->class->slots[p->slot].output].is_operation = false;
        return;
    }
    struct strbuf a = STRBUF_INIT, b = STRBUF_INIT;
    add_operand(&a, p, 0);
    add_operand(&b, p, 1);
    add_binary(out, strbuf_text(&a), operator, strbuf_text(&b));
    out->broken = out->broken || a.broken || b.broken;
    strbuf_release(&a);
    strbuf_release(&b);
}

static void add_call(struct strbuf *out, struct python_printer *p, const struct torch_node *node)
{
    const struct torch_op_info *info = torch_op_info(node->op);
    switch (info->kind) {
    case TORCH_KIND_FUNCTION:
        strbuf_addf(out, "%s(", info->callee);
        add_operands(out, p);
        python_add_attributes(out, p, node, operand(p, 0), false);
        strbuf_add(out, ")");
        break;
    case TORCH_KIND_METHOD:
        add_operand(out, p, 0);
        strbuf_addf(out, ".%s(", info->callee);
        python_add_attributes(out, p, node, operand(p, 0), true);
        strbuf_add(out, ")");
        break;
    case TORCH_KIND_OPERATOR: add_operation(out, p, info->callee); break;
    case TORCH_KIND_SPECIAL: add_special(out, p, node); break;
    }
}

static void add_loop_call(struct strbuf *out, const struct python_printer *p, const struct torch_node *node)
{
    const char *operands[4];
    for (int i = 0; i < node->input_count && i < 4; i++)
        operands[i] = operand(p, i);
    python_add_loop_arguments(out, node, operands);
}

const char *python_take(struct python_printer *p, struct strbuf *out)
{
    const char *text = strbuf_ok(out) ? arena_strdup(p->arena, strbuf_text(out)) : NULL;
    p->broken = p->broken || !text;
    strbuf_release(out);
    return text;
}

static void add_module_call(struct strbuf *out, const struct python_printer *p, const struct torch_node *node)
{
    strbuf_addf(out, "self.%s(", p->class->slots[p->slot].name);
    if (node && node->op == TORCH_LSTM && node->input_count == 3)
        strbuf_addf(out, "%s, (%s, %s)", operand(p, 0), operand(p, 1), operand(p, 2));
    else if (node && python_is_loop(node->op))
        add_loop_call(out, p, node);
    else
        add_operands(out, p);
    strbuf_add(out, ")");
}

const char *python_expression(struct python_printer *p, int slot)
{
    struct strbuf out = STRBUF_INIT;
    const struct torch_node *node = p->class->slots[slot].item.node;
    p->slot = slot;
    p->constructing = false;
    python_check_operands(p, slot);
    p->values[p->class->slots[slot].output].is_operation = node && is_operator(node);
    if (!node || (node->module && node->op != TORCH_PARAMETER))
        add_module_call(&out, p, node);
    else
        add_call(&out, p, node);
    return python_take(p, &out);
}
