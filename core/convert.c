/* SPDX-License-Identifier: Apache-2.0 */
#include "convert.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/words.h"
#include "keras/model.h"
#include "layers/lower.h"
#include "parity/parity.h"
#include "picture.h"
#include "raw_weights.h"
#include "report.h"
#include "structure/structure.h"
#include "torch/graph.h"
#include "write/digest.h"
#include "write/pt2.h"
#include "write/python.h"
#include "write/safetensors.h"
#include "write/state_dict.h"
#include "write/torchscript.h"

/* One conversion under way. */
struct conversion {
    const struct convert_request *request;
    struct h5pt_error *err;
    struct arena *arena;
    struct source *source;
    struct findings refusals, warnings;
    struct keras_model model;
    struct torch_graph graph;
    struct structure structure;
    struct correspondence correspondence;
    struct parity_vectors vectors;
    struct parity_result parity;
    struct report_facts facts;
    char sha256[DIGEST_TEXT_SIZE];
    int state_dict;          /* the open model.pt, under its temporary name, or -1 */
    struct archive *archive; /* the same as it is written, or NULL */
    struct artifact *pt;     /* of it, or NULL when it is not wanted */
    struct strbuf python;
    double stage_start;
    enum convert_stage stage;
};

static const char pt_name[] = "model.pt", py_name[] = "model.py", svg_name[] = "model.svg",
                  report_name[] = "report.json";
static const unsigned default_formats =
#define FORMAT(id, name, file, media_type, is_default) (is_default ? CONVERT_##id : 0) |
#include "formats.def"
#undef FORMAT
    0;
static const char temporary_prefix[] = ".h5pt-";

/* ---- stages ---- */

static double now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void enter(struct conversion *c, enum convert_stage stage)
{
    double now = now_ms();
    c->facts.stage_ms[c->stage] += now - c->stage_start;
    c->stage = stage;
    c->stage_start = now;
    if (c->request->progress)
        c->request->progress(c->request->context, stage, 0);
}

static void parity_progress(void *context, double fraction)
{
    const struct conversion *c = context;
    if (c->request->progress)
        c->request->progress(c->request->context, CONVERT_STAGE_PARITY, fraction);
}

/* ---- files ---- */

static void temporary_name(const char *name, char ret[64])
{
    (void)snprintf(ret, 64, "%s%s", temporary_prefix, name);
}

/* An empty file under a temporary name; -1 with an error. */
static int create(struct conversion *c, const char *name)
{
    char temporary[64];
    temporary_name(name, temporary);
    (void)unlinkat(c->request->output_dir, temporary, 0);
    int fd = openat(c->request->output_dir, temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    return fd >= 0 ? fd : h5pt_fail_errno(c->err, H5PT_IO, name, "The file cannot be created");
}

static int sync_file(struct conversion *c, const char *name, const char *temporary)
{
    int fd = openat(c->request->output_dir, temporary, O_RDONLY | O_CLOEXEC);
    int status = fd < 0 || fsync(fd) < 0 ? h5pt_fail_errno(c->err, H5PT_IO, name, "The file cannot be written") : 0;
    if (fd >= 0)
        (void)close(fd);
    return status;
}

/* On the disk, then under its name. */
static int publish(struct conversion *c, const char *name)
{
    char temporary[64];
    temporary_name(name, temporary);
    if (!c->request->unsynced && sync_file(c, name, temporary) < 0)
        return -1;
    if (renameat(c->request->output_dir, temporary, c->request->output_dir, name) < 0)
        return h5pt_fail_errno(c->err, H5PT_IO, name, "The file cannot be given its name");
    return 0;
}

static void discard(const struct conversion *c, const char *name)
{
    char temporary[64];
    temporary_name(name, temporary);
    (void)unlinkat(c->request->output_dir, temporary, 0);
}

static int write_all(struct conversion *c, int fd, const char *name, const char *text, size_t length)
{
    while (length) {
        ssize_t n = write(fd, text, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return h5pt_fail_errno(c->err, errno == ENOSPC ? H5PT_DISK_FULL : H5PT_IO, name,
                                   "The file cannot be written");
        text += n;
        length -= (size_t)n;
    }
    return 0;
}

/* Writes a text under its temporary name; fills the artifact (may be NULL). */
static int write_text(struct conversion *c, const char *name, const char *text, size_t length, struct artifact *ret)
{
    int fd = create(c, name);
    if (fd < 0)
        return -1;
    int status = write_all(c, fd, name, text, length);
    if (status == 0 && ret)
        status = digest_file(fd, &ret->bytes, ret->sha256, c->err);
    (void)close(fd);
    return status;
}

/* What an earlier conversion into the same directory left, or a part of this one, must not be taken for its result. */
static void remove_artifacts(const struct conversion *c)
{
    for (int i = 0; i < CONVERT_FORMAT_COUNT; i++)
        (void)unlinkat(c->request->output_dir, convert_format_file((enum convert_format_index)i), 0);
    (void)unlinkat(c->request->output_dir, report_name, 0);
}

/* ---- the pipeline ---- */

static bool refused(const struct conversion *c)
{
    return c->refusals.count > 0;
}

static int read_source(struct conversion *c)
{
    enter(c, CONVERT_STAGE_READ);
    struct h5pt_error why = H5PT_ERROR_INIT;
    if (source_open(c->request->input, c->request->limits, &c->source, &why) < 0) {
        if (h5pt_code_exit(why.code) != h5pt_code_exit(H5PT_UNSUPPORTED_FORMAT)) {
            *c->err = why;
            return -1;
        }
        findings_add_error(&c->refusals, "", &why);
    }
    c->facts.source = c->source;
    return 0;
}

static int identify_source(struct conversion *c)
{
    struct stat st;
    if (c->facts.source_sha256)
        return 0;
    if (fstat(c->request->input, &st) < 0)
        return h5pt_fail_errno(c->err, H5PT_IO, "input", "The file cannot be read");
    c->facts.source_bytes = (uint64_t)st.st_size;
    if (c->request->sha256)
        c->facts.source_sha256 = c->request->sha256(c->request->context);
    if (c->facts.source_sha256)
        return 0;
    c->facts.source_sha256 = c->sha256;
    return digest_file(c->request->input, NULL, c->sha256, c->err);
}

static int read_graph(struct conversion *c)
{
    enter(c, CONVERT_STAGE_GRAPH);
    static const enum dtype dtypes[] = {
        [CONVERT_DTYPE_FLOAT32] = DTYPE_F32, [CONVERT_DTYPE_FLOAT16] = DTYPE_F16, [CONVERT_DTYPE_BFLOAT16] = DTYPE_BF16};
    const struct keras_request request = {
        .architecture = c->request->architecture,
        .backend = c->request->backend,
        .dtype = c->request->dtype == CONVERT_DTYPE_KEEP ? NULL : &dtypes[c->request->dtype],
    };
    if (keras_model_read(c->source, &request, c->arena, &c->refusals, &c->warnings, &c->model, c->err) < 0)
        return -1;
    c->facts.model = &c->model;
    if (c->refusals.broken || c->warnings.broken)
        return h5pt_fail_memory(c->err);
    if (c->request->dump_keras && c->request->dump)
        keras_model_dump(&c->model, c->request->dump);
    return 0;
}

/* Instead of reading and lowering the model. */
static int take_raw_weights(struct conversion *c)
{
    enter(c, CONVERT_STAGE_GRAPH);
    if (raw_weights_graph(c->source, c->arena, &c->refusals, &c->graph, c->err) < 0)
        return -1;
    findings_add(&c->warnings, H5PT_WEIGHTS_ONLY, "", "",
                 "model.pt holds the tensors of the file as Keras stores them, in Keras' order of axes and under "
                 "Keras' names: there is "
                 "no module, and nothing was checked against Keras");
    c->facts.graph = &c->graph;
    return 0;
}

static int lower_graph(struct conversion *c)
{
    struct h5pt_error why = H5PT_ERROR_INIT;
    enter(c, CONVERT_STAGE_LOWER);
    const struct lower_options options = {.keras_layout = c->request->layout == CONVERT_LAYOUT_KERAS};
    if (lower_model(&c->model, &options, c->arena, &c->graph, &c->correspondence, &why) < 0) {
        if (why.code == H5PT_OUT_OF_MEMORY)
            return h5pt_fail_memory(c->err);
        findings_add(&c->refusals, why.code, why.where, "", "%s", why.message);
        return 0;
    }
    if (structure_find(&c->graph, &c->structure, c->err) < 0)
        return -1;
    c->facts.graph = &c->graph;
    if (c->request->dump_torch && c->request->dump)
        torch_dump(&c->graph, c->request->dump);
    return 0;
}

static struct artifact *add_artifact(struct conversion *c, const char *name, const char *how_to_load)
{
    struct artifact *a = &c->facts.artifacts[c->facts.artifact_count++];
    *a = (struct artifact){.name = name, .how_to_load = how_to_load};
    return a;
}

static int write_python(struct conversion *c)
{
    if (python_write(&c->graph, &c->structure, &c->model, &c->python, c->err) < 0)
        return -1;
    if (!(c->request->formats & CONVERT_PY))
        return 0;
    return write_text(c, py_name, strbuf_text(&c->python), c->python.length,
                      add_artifact(c, py_name, "from model import load; net = load(\"model.pt\")"));
}

/* What cannot hold every model is left out then, which is no reason to refuse the others. */
static int left_out(struct conversion *c, const char *name, const struct h5pt_error *why)
{
    if (h5pt_code_exit(why->code) == h5pt_code_exit(H5PT_IO) || why->code == H5PT_OUT_OF_MEMORY) {
        *c->err = *why;
        return -1;
    }
    bool cannot = why->code == H5PT_UNSUPPORTED_OPERATION;
    findings_add(&c->warnings, H5PT_FORMAT_LEFT_OUT, why->where, name, "%s was not made: %s%s", name,
                 cannot ? "it cannot hold " : "", why->message);
    return 0;
}

/* A form that is made of the finished model.pt. */
struct form {
    enum convert_format_index index;
    int (*write)(const struct torch_graph *, const struct archive *, int, struct artifact *, struct h5pt_error *);
    const struct conversion *conversion;
    int fd, status;
    struct artifact artifact;
    struct h5pt_error error;
};

/* Runs beside the others: only the form is written to. */
static void make_form(void *part)
{
    struct form *form = part;
    const struct conversion *c = form->conversion;
    form->status = form->write(&c->graph, c->archive, form->fd, &form->artifact, &form->error);
}

static int take_form(struct conversion *c, const struct form *form)
{
    const char *name = convert_format_file(form->index);
    if (form->status < 0)
        return left_out(c, name, &form->error);
    *add_artifact(c, name, form->artifact.how_to_load) = form->artifact;
    return 0;
}

static int write_forms(struct conversion *c)
{
    struct form forms[] = {
        {.index = CONVERT_INDEX_PT2, .write = pt2_write},
        {.index = CONVERT_INDEX_TORCHSCRIPT, .write = torchscript_write},
        {.index = CONVERT_INDEX_SAFETENSORS, .write = safetensors_write},
    };
    int count = 0, status = 0;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0] && status == 0; i++) {
        if (!(c->request->formats & 1u << forms[i].index))
            continue;
        struct form *form = &forms[count++];
        *form = forms[i];
        form->conversion = c;
        form->fd = create(c, convert_format_file(form->index));
        status = form->fd < 0 ? -1 : 0;
    }
    if (status == 0 && c->request->spread)
        c->request->spread(make_form, forms, sizeof forms[0], count);
    for (int i = 0; i < count; i++) {
        if (status == 0 && !c->request->spread)
            make_form(&forms[i]);
        if (status == 0)
            status = take_form(c, &forms[i]);
        if (forms[i].fd >= 0)
            (void)close(forms[i].fd);
    }
    return status;
}

/* The state_dict is written also when only model.py is wanted: the parity check reads it back. */
static int write_artifacts(struct conversion *c)
{
    enter(c, CONVERT_STAGE_WRITE);
    struct artifact unwanted;
    if ((c->request->formats & CONVERT_PT) || c->request->weights_only)
        c->pt = add_artifact(c, pt_name, "");
    c->state_dict = create(c, pt_name);
    if (c->state_dict < 0 ||
        state_dict_write(&c->graph, c->source, c->state_dict, c->pt ? c->pt : &unwanted, &c->archive, c->err) < 0)
        return -1;
    if (c->request->weights_only)
        return 0;
    return write_python(c) < 0 ? -1 : write_forms(c);
}

static int draw_picture(struct conversion *c)
{
    struct strbuf svg = STRBUF_INIT;
    struct h5pt_error why = H5PT_ERROR_INIT;
    int status = picture_draw(&c->facts, &svg, &why);
    if (status < 0)
        status = left_out(c, svg_name, &why);
    else
        status = write_text(c, svg_name, strbuf_text(&svg), svg.length, add_artifact(c, svg_name, "a browser"));
    strbuf_release(&svg);
    return status;
}

/* model.pt has model.py and the report in it, so that the one file is complete. The same model gives the same bytes: times and
 * memory are left out. */
static int complete_archive(struct conversion *c)
{
    struct report_facts facts = c->facts;
    facts.artifact_count = 0; /* what the archive will be is not known inside it */
    json_t *report = report_build(&facts);
    (void)json_object_set_new(report, "timings_ms", json_object());
    (void)json_object_set_new(report, "peak_rss_bytes", json_integer(0));
    char *text = report ? json_dumps(report, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) : NULL;
    int status = text ? archive_add_bytes(c->archive, report_name, text, strlen(text), c->err)
                      : h5pt_fail_memory(c->err);
    if (status == 0 && c->python.length)
        status = archive_add_bytes(c->archive, py_name, strbuf_text(&c->python), c->python.length, c->err);
    if (status == 0)
        status = archive_finish(c->archive, &c->pt->bytes, c->pt->sha256, c->err);
    json_decref(report);
    free(text);
    return status;
}

static void warn_amplified(struct conversion *c)
{
    const struct keras_call *call = c->parity.amplified;
    if (call && c->parity.ok)
        findings_add(&c->warnings, H5PT_ROUNDING_AMPLIFIED, call->layer->path, "parity",
                     "The model amplifies rounding: from this layer on, layers were compared on equal inputs. Two runs "
                     "of such a "
                     "model on different machines differ as well");
}

static int check_parity(struct conversion *c)
{
    if ((c->request->parity == CONVERT_PARITY_OFF && !c->request->reference) || c->request->weights_only)
        return 0;
    enter(c, CONVERT_STAGE_PARITY);
    if (c->request->reference &&
        parity_vectors_read(*c->request->reference, c->request->limits, &c->model, &c->vectors, c->err) < 0)
        return -1;
    struct parity_options options = {
        .quick = c->request->parity == CONVERT_PARITY_QUICK,
        .vectors_only = c->request->parity == CONVERT_PARITY_OFF,
        .vectors = c->request->reference ? &c->vectors : NULL,
        .memory = c->request->parity_memory,
        .progress = parity_progress,
        .context = c,
    };
    struct h5pt_error why = H5PT_ERROR_INIT;
    struct state_dict *dict = NULL;
    int status = state_dict_open(c->state_dict, &dict, c->err);
    if (status == 0 &&
        parity_run(&c->model, &c->graph, &c->correspondence, c->source, dict, &options, &c->parity, &why) < 0) {
        /* A model that cannot be checked is not handed out. */
        if (h5pt_code_exit(why.code) == h5pt_code_exit(H5PT_SHAPE_UNKNOWN) || why.code == H5PT_INTERNAL) {
            findings_add(&c->refusals, why.code, why.where, "parity", "%s", why.message);
        } else {
            *c->err = why;
            status = -1;
        }
    } else if (status == 0) {
        c->facts.parity = &c->parity;
        c->facts.vectors = options.vectors;
        warn_amplified(c);
    }
    state_dict_close(dict);
    return status;
}

static int finish(struct conversion *c)
{
    bool failed = c->facts.parity && !c->facts.parity->ok;
    c->facts.verdict = refused(c) ? CONVERT_REFUSED : failed ? CONVERT_PARITY_FAILED : CONVERT_CONVERTED;
    if (c->facts.verdict != CONVERT_CONVERTED) {
        c->facts.artifact_count = 0;
        return 0;
    }
    if (c->request->output_dir < 0)
        return 0;
    if ((c->request->formats & CONVERT_SVG) && !c->request->weights_only && draw_picture(c) < 0)
        return -1;
    if (identify_source(c) < 0 || (c->pt && complete_archive(c) < 0))
        return -1;
    for (int i = 0; i < c->facts.artifact_count; i++)
        if (publish(c, c->facts.artifacts[i].name) < 0)
            return -1;
    return 0;
}

static int write_report(struct conversion *c, json_t **ret)
{
    enter(c, CONVERT_STAGE_REPORT);
    if (identify_source(c) < 0)
        return -1;
    json_t *report = report_build(&c->facts);
    if (!report)
        return h5pt_fail_memory(c->err);
    int status = 0;
    if (c->request->output_dir >= 0) {
        char *text = json_dumps(report, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
        status = text ? write_text(c, report_name, text, strlen(text), NULL) : h5pt_fail_memory(c->err);
        if (status == 0)
            status = publish(c, report_name);
        if (status == 0 && !c->request->unsynced && fsync(c->request->output_dir) < 0)
            status = h5pt_fail_errno(c->err, H5PT_IO, report_name, "The directory cannot be written");
        free(text);
    }
    if (status == 0)
        *ret = report;
    else
        json_decref(report);
    return status;
}

static int run_stages(struct conversion *c)
{
    bool raw = c->request->weights_only;
    if (c->request->output_dir >= 0)
        remove_artifacts(c);
    if (raw && (c->request->architecture || c->request->reference))
        return h5pt_fail(
            c->err, H5PT_USAGE, "weights_only",
            "Weights alone are taken as they are: there is no model to go with an architecture or a reference");
    if (read_source(c) < 0 || (c->source && (raw ? take_raw_weights(c) : read_graph(c)) < 0))
        return -1;
    if (!refused(c) && !raw && lower_graph(c) < 0)
        return -1;
    if (c->request->output_dir < 0)
        return finish(c);
    if (!refused(c) && (write_artifacts(c) < 0 || check_parity(c) < 0))
        return -1;
    return finish(c);
}

void convert_warm_up(void)
{
    (void)source_set_up(NULL);
    digest_free(digest_new());
}

int convert_run(const struct convert_request *request, struct convert_result *ret, struct h5pt_error *err)
{
    struct h5pt_error local = H5PT_ERROR_INIT;
    struct convert_request with_defaults = *request;
    if (!with_defaults.formats)
        with_defaults.formats = default_formats;
    struct conversion c = {
        .request = &with_defaults,
        .err = &local,
        .arena = arena_new(),
        .state_dict = -1,
        .python = STRBUF_INIT,
        .stage_start = now_ms(),
    };
    int status = -1;
    if (!c.arena) {
        (void)h5pt_fail_memory(&local);
        goto out;
    }
    c.refusals.arena = c.warnings.arena = c.arena;
    c.facts.refusals = &c.refusals;
    c.facts.warnings = &c.warnings;
    json_t *report = NULL;
    if (run_stages(&c) < 0 || write_report(&c, &report) < 0)
        goto out;
    *ret = (struct convert_result){.verdict = c.facts.verdict, .report = report};
    status = 0;
out:
    archive_free(c.archive);
    strbuf_release(&c.python);
    if (c.state_dict >= 0)
        (void)close(c.state_dict);
    if (request->output_dir >= 0) {
        if (status < 0)
            remove_artifacts(&c);
        for (int i = 0; i < CONVERT_FORMAT_COUNT; i++)
            discard(&c, convert_format_file((enum convert_format_index)i));
        discard(&c, report_name);
    }
    parity_vectors_release(&c.vectors);
    keras_model_release(&c.model);
    source_close(c.source);
    arena_free(c.arena);
    if (status < 0 && err && !err->code)
        *err = local;
    return status;
}
