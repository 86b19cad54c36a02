/* SPDX-License-Identifier: Apache-2.0 */
/* The conversion, whole: bytes → source → keras graph → torch graph → artifacts → parity → report. What the CLI and the
 * daemon's worker call. One call, one conversion; no state is kept between calls. */
#ifndef H5PT_CONVERT_H
#define H5PT_CONVERT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "source/source.h"

/* Artifacts that can be asked for, of formats.def; report.json is always written. */
enum convert_format_index {
#define FORMAT(id, name, file, media_type, is_default) CONVERT_INDEX_##id,
#include "formats.def"
#undef FORMAT
    CONVERT_FORMAT_COUNT
};

/* Sets of them. */
enum convert_format {
#define FORMAT(id, name, file, media_type, is_default) CONVERT_##id = 1 << CONVERT_INDEX_##id,
#include "formats.def"
#undef FORMAT
};

const char *convert_format_file(enum convert_format_index format); /* "model.pt" */

enum convert_layout {
    CONVERT_LAYOUT_TORCH, /* feature maps with the channels first */
    CONVERT_LAYOUT_KERAS, /* inputs and outputs as Keras has them */
};

/* The floating-point type of weights, inputs and outputs: that of the file, or another one. */
enum convert_dtype { CONVERT_DTYPE_KEEP, CONVERT_DTYPE_FLOAT32, CONVERT_DTYPE_FLOAT16, CONVERT_DTYPE_BFLOAT16 };

enum convert_parity { CONVERT_PARITY_FULL, CONVERT_PARITY_QUICK, CONVERT_PARITY_OFF };

enum convert_stage {
#define STAGE(id, name) CONVERT_STAGE_##id,
#include "stages.def"
#undef STAGE
    CONVERT_STAGE_COUNT
};

const char *convert_stage_name(enum convert_stage stage); /* "read" */

enum convert_verdict { CONVERT_CONVERTED, CONVERT_REFUSED, CONVERT_PARITY_FAILED };

const char *convert_verdict_name(enum convert_verdict verdict); /* "converted" */

struct convert_request {
    int input;            /* the model file, open for reading; borrowed */
    const int *reference; /* reference vectors (parity/vectors.h): the descriptor of an .npz; NULL: none; borrowed */
    const char *architecture; /* text of model.to_json() for a file of weights; NULL: none; borrowed */
    bool weights_only;        /* no model: a state_dict of the tensors as stored, under their Keras names */
    const char *backend;      /* "tensorflow" or "theano": who computed a model of Keras 1; NULL: as the file tells */
    int output_dir;           /* an open directory for the artifacts; -1: dry run, nothing is written */
    bool unsynced;            /* the caller sees to it that the artifacts come onto the disk */
    unsigned formats;         /* of enum convert_format; 0: the default ones */
    enum convert_parity parity;
    enum convert_layout layout;
    enum convert_dtype dtype;
    const struct source_limits *limits; /* NULL: the default ones */
    uint64_t parity_memory;             /* bytes that the parity check may use for tensors; 0: 2 GiB */
    bool dump_keras, dump_torch;        /* append the graphs as text to `dump` */
    struct strbuf *dump;
    /* Called at the start of each stage and now and then within one; fraction in 0…1. May be NULL. */
    void (*progress)(void *context, enum convert_stage stage, double fraction);
    /* Gives the SHA-256 of the input as 64 hex digits, for callers that know it or compute it meanwhile; asked for when the
     * report is made. NULL pointer or NULL result: it is computed then. The text must live until convert_run returns. */
    const char *(*sha256)(void *context);
    void *context;
    /* Calls job() with each of `count` parts of `size` bytes, on as many threads as the caller likes, and returns when all have
     * returned. NULL: they are done one after another. */
    void (*spread)(void (*job)(void *part), void *parts, size_t size, int count);
};

struct convert_result {
    enum convert_verdict verdict;
    json_t *report; /* schema: api/report.schema.json; owned by the caller */
};

/* Converts (or, with output_dir -1, says whether it would). Returns 0 with a verdict and a report, also when the model is
 * refused or parity fails: then no artifact but report.json is left in output_dir. Artifacts appear under their names only
 * when complete. Returns -1 when there is nothing to report on: the file cannot be read as a Keras file (codes with exit 5),
 * the reference vectors do not fit it (REFERENCE_INVALID), or the machine failed (IO, DISK_FULL, OUT_OF_MEMORY). Whatever comes of it, the artifacts of an earlier conversion into the
 * same directory are gone. */
int convert_run(const struct convert_request *request, struct convert_result *ret, struct h5pt_error *err);

/* Has the libraries set up what they set up once in a process. For a process that forks for its conversions: each of them is
 * spared that. */
void convert_warm_up(void);

/* "pt,py" into a set of formats; USAGE on an unknown name. */
int convert_parse_formats(const char *text, unsigned *ret, struct h5pt_error *err);
int convert_parse_parity(const char *text, enum convert_parity *ret, struct h5pt_error *err);
int convert_parse_layout(const char *text, enum convert_layout *ret, struct h5pt_error *err);
int convert_parse_dtype(const char *text, enum convert_dtype *ret, struct h5pt_error *err);
int convert_parse_backend(const char *text, const char **ret, struct h5pt_error *err); /* *ret is static */

/* The text of an architecture from an open file, from its start; owned by the caller. IO, LIMIT_EXCEEDED (64 MiB). */
int convert_read_architecture(int fd, char **ret, struct h5pt_error *err);

/* What this build can do: {"layers": [{"class", "aliases", "versions"}], "operations": […], "activations": […], "formats": […], "parity": […], "layouts": […], "dtypes": […],
 * "backends": […]}, owned by the
 * caller; NULL without memory. */
json_t *convert_capabilities(void);

/* {"version", "libraries": {"hdf5", …}}, owned by the caller. */
json_t *convert_version(void);

#endif
