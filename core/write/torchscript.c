/* SPDX-License-Identifier: Apache-2.0 */
#include "write/torchscript.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aten/aten.h"
#include "write/archive.h"
#include "write/pickle.h"
#include "write/python.h"

/* ---- the source ---- */

/* The numbers of c10::ScalarType. */
static int scalar_type(enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_U8: return 0;
    case DTYPE_I8: return 1;
    case DTYPE_I16: return 2;
    case DTYPE_I32: return 3;
    case DTYPE_I64: return 4;
    case DTYPE_F16: return 5;
    case DTYPE_F32: return 6;
    case DTYPE_F64: return 7;
    case DTYPE_BOOL: return 11;
    case DTYPE_BF16: return 15;
    default: return 6;
    }
}

/* A whole number would be an int to the compiler. */
static void add_real(struct strbuf *out, double value)
{
    char text[40];
    if (isnan(value) || isinf(value)) {
        strbuf_add(out, isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
        return;
    }
    (void)snprintf(text, sizeof text, "%.17g", value);
    strbuf_addf(out, "%s%s", text, strpbrk(text, ".en") ? "" : ".");
}

static void add_size(struct strbuf *out, const struct aten_int *x)
{
    switch (x->kind) {
    case ATEN_NUMBER: strbuf_addf(out, "%" PRId64, x->value); break;
    case ATEN_SYMBOL: strbuf_addf(out, "torch.size(v%d, %d)", x->home, x->dim); break;
    case ATEN_SUM:
        strbuf_add(out, "(");
        for (int i = 0; i < x->term_count; i++) {
            strbuf_addf(out, "%s%" PRId64 " * ", i ? " + " : "", x->terms[i].factor);
            add_size(out, x->terms[i].of);
        }
        strbuf_addf(out, " + %" PRId64 ")", x->constant);
        break;
    case ATEN_PRODUCT:
    case ATEN_QUOTIENT:
        strbuf_add(out, "(");
        add_size(out, x->a);
        strbuf_add(out, x->kind == ATEN_PRODUCT ? " * " : " // ");
        add_size(out, x->b);
        strbuf_add(out, ")");
        break;
    case ATEN_MAX:
        strbuf_add(out, "ops.prim.max(");
        add_size(out, x->a);
        strbuf_add(out, ", ");
        add_size(out, x->b);
        strbuf_add(out, ")");
        break;
    }
}

static void add_tensor(struct strbuf *out, int value)
{
    if (value == ATEN_NO_TENSOR)
        strbuf_add(out, "None");
    else
        strbuf_addf(out, "v%d", value);
}

static void add_list(struct strbuf *out, const struct aten_arg *arg)
{
    strbuf_add(out, "[");
    for (int i = 0; i < arg->count; i++) {
        strbuf_add(out, i ? ", " : "");
        if (arg->kind == ATEN_ARG_TENSORS)
            add_tensor(out, arg->tensors[i]);
        else if (arg->kind == ATEN_ARG_INTS)
            add_size(out, arg->sizes[i]);
        else
            add_real(out, arg->reals[i]);
    }
    strbuf_add(out, "]");
}

static void add_argument(struct strbuf *out, const struct aten_arg *arg)
{
    if (arg->keyword)
        strbuf_addf(out, "%s=", arg->name);
    switch (arg->kind) {
    case ATEN_ARG_NONE: strbuf_add(out, "None"); break;
    case ATEN_ARG_TENSOR: add_tensor(out, arg->tensor); break;
    case ATEN_ARG_TENSORS:
    case ATEN_ARG_INTS:
    case ATEN_ARG_FLOATS: add_list(out, arg); break;
    case ATEN_ARG_INT: add_size(out, arg->size); break;
    case ATEN_ARG_FLOAT: add_real(out, arg->real); break;
    case ATEN_ARG_BOOL: strbuf_add(out, arg->flag ? "True" : "False"); break;
    case ATEN_ARG_TRAINING: strbuf_add(out, "self.training"); break;
    case ATEN_ARG_TEXT: strbuf_addf(out, "\"%s\"", arg->text); break;
    case ATEN_ARG_DTYPE: strbuf_addf(out, "%d", scalar_type(arg->dtype)); break;
    case ATEN_ARG_DEVICE: strbuf_addf(out, "ops.prim.device(v%d)", arg->tensor); break;
    }
}

static void add_call(struct strbuf *out, const char *indent, const struct aten_call *call)
{
    strbuf_add(out, indent);
    for (int i = 0; i < call->output_count; i++)
        strbuf_addf(out, "v%d%s", call->output + i, call->list || call->output_count > 1 ? ", " : "");
    strbuf_addf(out, " = torch.%.*s(", (int)strcspn(call->op, "."), call->op);
    for (int i = 0; i < call->arg_count; i++) {
        strbuf_add(out, i ? ", " : "");
        add_argument(out, &call->args[i]);
    }
    strbuf_add(out, ")\n");
}

static void add_scan(struct strbuf *out, const struct aten_call *call)
{
    const struct aten_scan *scan = call->scan;
    int stacked = call->output + scan->carried_count;
    for (int i = 0; i < scan->carried_count; i++)
        strbuf_addf(out, "    v%d = v%d\n", scan->carried[i], scan->initial[i]);
    for (int i = 0; i < scan->given_count; i++)
        strbuf_addf(out, "    steps%d = annotate(List[Tensor], [])\n", stacked + i);
    strbuf_addf(out, "    for t in range(torch.size(v%d, 0)):\n", scan->sequences[0]);
    for (int i = 0; i < scan->sequence_count; i++)
        strbuf_addf(out, "      v%d = torch.select(v%d, 0, t)\n", scan->parts[i], scan->sequences[i]);
    for (int i = 1; i <= scan->call_count; i++)
        add_call(out, "      ", call + i);
    for (int i = 0; i < scan->carried_count; i++)
        strbuf_addf(out, "      v%d = v%d\n", scan->carried[i], scan->next[i]);
    for (int i = 0; i < scan->given_count; i++)
        strbuf_addf(out, "      _ = torch.append(steps%d, v%d)\n", stacked + i, scan->given[i]);
    for (int i = 0; i < scan->carried_count; i++)
        strbuf_addf(out, "    v%d = v%d\n", call->output + i, scan->carried[i]);
    for (int i = 0; i < scan->given_count; i++)
        strbuf_addf(out, "    v%d = torch.stack(steps%d)\n", stacked + i, stacked + i);
}

static void add_calls(struct strbuf *out, const struct aten_graph *graph)
{
    for (int i = 0; i < graph->call_count; i++) {
        const struct aten_call *call = &graph->calls[i];
        if (call->scan) {
            add_scan(out, call);
            i += call->scan->call_count;
        } else {
            add_call(out, "    ", call);
        }
    }
}

/* The names of the parameters, or of the buffers. */
static void add_names(struct strbuf *out, const char *list, const struct torch_graph *g, bool buffers)
{
    strbuf_addf(out, "  %s = [", list);
    for (int i = 0; i < g->parameter_count; i++)
        if (g->parameters[i].is_buffer == buffers)
            strbuf_addf(out, "\"%s\", ", g->parameters[i].name);
    strbuf_add(out, "]\n");
}

/* Names of state_dict entries are no identifiers: they are annotations, read by getattr. */
static void add_source(struct strbuf *out, const struct aten_graph *graph)
{
    const struct torch_graph *g = graph->torch;
    strbuf_addf(out, "class %s(Module):\n", g->name);
    add_names(out, "__parameters__", g, false);
    add_names(out, "__buffers__", g, true);
    for (int i = 0; i < g->parameter_count; i++)
        strbuf_addf(out, "  __annotations__[\"%s\"] = Tensor\n", g->parameters[i].name);
    strbuf_addf(out,
                "  training : bool\n"
                "  _is_full_backward_hook : Optional[bool]\n"
                "  def forward(self: __torch__.%s",
                g->name);
    for (int i = 0; i < g->input_count; i++)
        strbuf_addf(out, ",\n    v%d: Tensor", graph->inputs[i]);
    strbuf_add(out, ") -> ");
    for (int i = 0; i < g->output_count; i++)
        strbuf_addf(out, "%sTensor", i ? ", " : g->output_count > 1 ? "Tuple[" : "");
    strbuf_add(out, g->output_count > 1 ? "]:\n" : ":\n");
    for (int i = 0; i < g->parameter_count; i++)
        if (graph->parameters[i] >= 0)
            strbuf_addf(out, "    v%d = getattr(self, \"%s\")\n", graph->parameters[i], g->parameters[i].name);
    add_calls(out, graph);
    strbuf_add(out, "    return ");
    for (int i = 0; i < g->output_count; i++)
        strbuf_addf(out, "%sv%d", i ? ", " : g->output_count > 1 ? "(" : "", graph->outputs[i]);
    strbuf_add(out, g->output_count > 1 ? ")\n" : "\n");
}

/* ---- the archive ---- */

static void add_object(struct strbuf *out, const struct torch_graph *g)
{
    pickle_begin(out);
    pickle_global(out, "__torch__", g->name);
    pickle_op(out, PICKLE_EMPTY_TUPLE);
    pickle_op(out, PICKLE_NEW);
    pickle_op(out, PICKLE_EMPTY_DICT);
    pickle_op(out, PICKLE_MARK);
    pickle_text(out, "training");
    pickle_bool(out, false);
    pickle_text(out, "_is_full_backward_hook");
    pickle_op(out, PICKLE_NONE);
    for (int i = 0; i < g->parameter_count; i++) {
        const struct torch_parameter *p = &g->parameters[i];
        char key[24];
        (void)snprintf(key, sizeof key, "%d", i);
        pickle_text(out, p->name);
        pickle_tensor(out, key, p->dtype, &p->shape, !p->is_buffer && p->trainable && dtype_is_float(p->dtype));
    }
    pickle_op(out, PICKLE_SETITEMS);
    pickle_op(out, PICKLE_BUILD);
    pickle_op(out, PICKLE_STOP);
}

static void add_constants(struct strbuf *out)
{
    pickle_begin(out);
    pickle_op(out, PICKLE_EMPTY_TUPLE);
    pickle_op(out, PICKLE_STOP);
}

static int add_text(struct archive *archive, const char *name, const struct strbuf *text, struct h5pt_error *err)
{
    return strbuf_ok(text) ? archive_add_bytes(archive, name, text->text, text->length, err) : h5pt_fail_memory(err);
}

static int add_records(struct archive *archive, const struct aten_graph *graph, const struct archive *weights,
                       struct h5pt_error *err)
{
    static const char order[] = "little", version[] = "10\n";
    struct strbuf object = STRBUF_INIT, source = STRBUF_INIT, constants = STRBUF_INIT;
    add_object(&object, graph->torch);
    add_source(&source, graph);
    add_constants(&constants);
    int status = add_text(archive, "data.pkl", &object, err) < 0 ||
                         add_text(archive, "code/__torch__.py", &source, err) < 0 ||
                         add_text(archive, "constants.pkl", &constants, err) < 0 ||
                         archive_add_bytes(archive, "byteorder", order, sizeof order - 1, err) < 0
                     ? -1
                     : 0;
    if (status == 0)
        status = state_dict_copy(weights, graph->torch, "data/", archive, err);
    if (status == 0)
        status = archive_add_bytes(archive, "version", version, sizeof version - 1, err);
    strbuf_release(&object);
    strbuf_release(&source);
    strbuf_release(&constants);
    return status;
}

int torchscript_write(const struct torch_graph *graph, const struct archive *weights, int fd, struct artifact *ret,
                      struct h5pt_error *err)
{
    struct artifact artifact = {.name = "model.torchscript.pt",
                                .how_to_load = "net = torch.jit.load(\"model.torchscript.pt\")"};
    struct aten_graph aten;
    struct archive *archive = NULL;
    struct arena *arena = arena_new();
    int status = arena ? aten_expand(graph, false, arena, &aten, err) : h5pt_fail_memory(err);
    if (status == 0 && (archive_new(fd, &archive, err) < 0 || add_records(archive, &aten, weights, err) < 0 ||
                        archive_finish(archive, &artifact.bytes, artifact.sha256, err) < 0))
        status = -1;
    if (status == 0)
        *ret = artifact;
    archive_free(archive);
    arena_free(arena);
    return status;
}
