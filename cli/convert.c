/* SPDX-License-Identifier: Apache-2.0 */
/* h5pt convert and h5pt inspect: the same run, with and without an output directory. */
#include "convert.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "write/digest.h"

enum long_option {
    OPTION_ARCHITECTURE = 256,
    OPTION_WEIGHTS_ONLY,
    OPTION_BACKEND,
    OPTION_FORMATS,
    OPTION_PARITY,
    OPTION_REFERENCE,
    OPTION_LAYOUT,
    OPTION_DTYPE,
    OPTION_JSON,
    OPTION_DUMP,
};

static const struct option long_options[] = {
    {"architecture", required_argument, NULL, OPTION_ARCHITECTURE},
    {"weights-only", no_argument, NULL, OPTION_WEIGHTS_ONLY},
    {"backend", required_argument, NULL, OPTION_BACKEND},
    {"formats", required_argument, NULL, OPTION_FORMATS},
    {"parity", required_argument, NULL, OPTION_PARITY},
    {"layout", required_argument, NULL, OPTION_LAYOUT},
    {"dtype", required_argument, NULL, OPTION_DTYPE},
    {"reference", required_argument, NULL, OPTION_REFERENCE},
    {"json", no_argument, NULL, OPTION_JSON},
    {"dump", required_argument, NULL, OPTION_DUMP},
    {"output", required_argument, NULL, 'o'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

struct arguments {
    const char *input, *output, *architecture, *reference;
    int reference_fd; /* -1: none */
    bool json, help;
    struct convert_request request;
};

static const char convert_help
    [] = "Usage: h5pt convert IN -o DIR [options]\n\n"
         "Converts a Keras model file (.h5, .keras, or weights with their architecture). DIR gets model.pt (the "
         "weights), model.py (the module) and report.json.\n\n"
         "  -o, --output DIR        where to write; made when it is not there\n"
         "      --architecture FILE model.to_json() of a file that holds weights only\n"
         "      --weights-only      no model: model.pt gets the tensors as stored, under their Keras names\n"
         "      --backend NAME      tensorflow or theano: what computed a model of Keras 1, whose file does not say\n"
         "      --formats LIST      with commas between, of"
#define FORMAT(id, name, file, media_type, is_default) " " name
#include "formats.def"
#undef FORMAT
         " (default: pt,py)\n"
         "      --layout NAME       torch: feature maps have the channels first (default); keras: inputs and outputs "
         "as in Keras\n"
         "      --dtype NAME        float32, float16 or bfloat16 for weights, inputs and outputs; keep: as in the file "
         "(default)\n"
         "      --parity MODE       full, quick or off: how the result is checked against the model (default: full)\n"
         "      --reference FILE    also compare with what your own Keras computed: an .npz with the inputs and "
         "outputs of the "
         "model,\n"
         "                          np.savez(FILE, in0=x, out0=model.predict(x)); in1, out1 … when there are several\n"
         "      --json              print the report instead of the summary\n"
         "      --dump LIST         keras,torch: print the graphs, one node a line\n\n"
         "In Python: from model import load; net = load(\"model.pt\")\n";

static const char inspect_help[] = "Usage: h5pt inspect IN [--architecture FILE] [--json] [--dump keras,torch]\n\n"
                                   "Says what is in the file and whether it would convert. Nothing is written.\n";

static int parse_dump(const char *text, struct convert_request *request)
{
    while (*text) {
        size_t n = strcspn(text, ",");
        if (n == 5 && memcmp(text, "keras", n) == 0)
            request->dump_keras = true;
        else if (n == 5 && memcmp(text, "torch", n) == 0)
            request->dump_torch = true;
        else
            return -1;
        text += n + (text[n] == ',');
    }
    return 0;
}

/* 0, or an exit code after a message. */
static int parse(int argc, char **argv, bool writes, struct arguments *ret)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    int option, index = 0;
    optind = 1;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "ho:", long_options, &index)) != -1) {
        int status = 0;
        switch (option) {
        case 'o': ret->output = optarg; break;
        case 'h': ret->help = true; break;
        case OPTION_JSON: ret->json = true; break;
        case OPTION_REFERENCE: ret->reference = optarg; break;
        case OPTION_ARCHITECTURE: ret->architecture = optarg; break;
        case OPTION_WEIGHTS_ONLY: ret->request.weights_only = true; break;
        case OPTION_BACKEND: status = convert_parse_backend(optarg, &ret->request.backend, &err); break;
        case OPTION_FORMATS: status = convert_parse_formats(optarg, &ret->request.formats, &err); break;
        case OPTION_PARITY: status = convert_parse_parity(optarg, &ret->request.parity, &err); break;
        case OPTION_LAYOUT: status = convert_parse_layout(optarg, &ret->request.layout, &err); break;
        case OPTION_DTYPE: status = convert_parse_dtype(optarg, &ret->request.dtype, &err); break;
        case OPTION_DUMP:
            if (parse_dump(optarg, &ret->request) < 0)
                return cli_usage(argv[0], "--dump takes keras, torch or both");
            break;
        default: return cli_usage(argv[0], "\"%s\" is not known or lacks its value", argv[optind - 1]);
        }
        if (status < 0)
            return cli_usage(argv[0], "--%s: %s", long_options[index].name, err.message);
    }
    if (ret->help)
        return 0;
    if (ret->reference && !writes)
        return cli_usage(argv[0], "--reference needs a model that is converted");
    if (optind + 1 != argc)
        return cli_usage(argv[0], "one model file is needed");
    ret->input = argv[optind];
    if (writes && !ret->output)
        return cli_usage(argv[0], "-o DIR is needed");
    return !writes && ret->output ? cli_usage(argv[0], "nothing is written: -o has no use") : 0;
}

/* Makes the directory, and those above it, when they are not there. */
static int make_directory(const char *path)
{
    char *copy = strdup(path);
    if (!copy)
        return -1;
    for (char *p = copy + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        (void)mkdir(copy, 0777);
        *p = '/';
    }
    int status = mkdir(copy, 0777) == 0 || errno == EEXIST ? 0 : -1;
    free(copy);
    return status;
}

static int open_files(struct arguments *a, struct h5pt_error *err)
{
    a->request.input = open(a->input, O_RDONLY | O_CLOEXEC);
    if (a->request.input < 0)
        return h5pt_fail_errno(err, H5PT_IO, a->input, "The file cannot be opened");
    if (a->reference) {
        a->reference_fd = open(a->reference, O_RDONLY | O_CLOEXEC);
        a->request.reference = &a->reference_fd;
        if (a->reference_fd < 0)
            return h5pt_fail_errno(err, H5PT_IO, a->reference, "The file cannot be opened");
    }
    if (!a->output)
        return 0;
    if (make_directory(a->output) == 0)
        a->request.output_dir = open(a->output, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (a->request.output_dir < 0)
        return h5pt_fail_errno(err, H5PT_IO, a->output, "The directory cannot be made or opened");
    return 0;
}

/* The architecture file as text, owned by the caller; NULL with an error. */
static char *read_architecture(const char *path, struct h5pt_error *err)
{
    char *text = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        (void)h5pt_fail_errno(err, H5PT_IO, path, "The file cannot be opened");
    else
        (void)convert_read_architecture(fd, &text, err);
    if (fd >= 0)
        (void)close(fd);
    return text;
}

/* ---- the summary ---- */

static void show_progress(void *context, enum convert_stage stage, double fraction)
{
    (void)context;
    (void)fprintf(stderr, "\r\033[K%s", convert_stage_name(stage));
    if (fraction > 0)
        (void)fprintf(stderr, " %3.0f %%", fraction * 100);
    (void)fflush(stderr);
}

/* A text that came from the file: nothing in it may speak to the terminal. */
static void print_text(const json_t *object, const char *key, const char *absent)
{
    const char *text = json_string_value(json_object_get(object, key));
    for (text = text ? text : absent; *text; text++) {
        const unsigned char *c = (const unsigned char *)text;
        bool two_byte_control = c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0;
        (void)putchar(c[0] < ' ' || c[0] == 127 || two_byte_control ? '?' : c[0]);
        text += two_byte_control;
    }
}

static void print_findings(const json_t *list)
{
    size_t i;
    const json_t *item;
    json_array_foreach(list, i, item)
    {
        (void)printf("  %s ", json_string_value(json_object_get(item, "code")));
        print_text(item, "layer", "");
        (void)printf("%s", json_string_length(json_object_get(item, "layer")) ? ": " : "");
        print_text(item, "message", "");
        (void)printf("\n");
    }
}

static void print_vectors(const json_t *vectors)
{
    if (!json_is_object(vectors))
        return;
    bool ok = json_is_true(json_object_get(vectors, "ok"));
    (void)printf("reference vectors: %s, max abs error %.3g, relative %.3g, %lld samples\n", ok ? "ok" : "FAILED",
                 json_number_value(json_object_get(vectors, "max_abs")),
                 json_number_value(json_object_get(vectors, "max_rel")),
                 (long long)json_integer_value(json_object_get(vectors, "samples")));
    if (!ok)
        (void)printf(
            "  the outputs in the file are not what this model computes: were they made with these weights, and with "
            "inputs as the model takes them?\n");
}

static void print_parity(const json_t *parity)
{
    if (!json_is_object(parity)) {
        (void)printf("parity: not checked\n");
        return;
    }
    (void)printf("parity: %s, max abs error %.3g, relative %.3g, %zu input sets\n",
                 json_is_true(json_object_get(parity, "ok")) ? "ok" : "FAILED",
                 json_number_value(json_object_get(parity, "max_abs")),
                 json_number_value(json_object_get(parity, "max_rel")),
                 json_array_size(json_object_get(parity, "cases")));
    print_vectors(json_object_get(parity, "reference_vectors"));
    const json_t *divergence = json_object_get(parity, "first_divergence");
    if (!json_is_object(divergence))
        return;
    (void)printf("  the two part at layer ");
    print_text(divergence, "layer", "");
    (void)printf(" (%s), inputs \"%s\"\n", json_string_value(json_object_get(divergence, "class")),
                 json_string_value(json_object_get(divergence, "case")));
}

/* What there is to say of a file without a model. */
static void print_weights(const struct arguments *a, const json_t *weights)
{
    size_t i;
    const json_t *item;
    (void)printf("%s: weights without a model, %zu tensors\n", a->input, json_array_size(weights));
    json_array_foreach(weights, i, item)
    {
        char *shape = json_dumps(json_object_get(item, "shape"), JSON_COMPACT);
        (void)printf("  ");
        print_text(item, "keras", "");
        (void)printf(" %s %s\n", json_string_value(json_object_get(item, "dtype")), shape ? shape : "?");
        free(shape);
    }
}

static void print_model(const struct arguments *a, const json_t *report)
{
    const json_t *source = json_object_get(report, "source"), *model = json_object_get(report, "model");
    (void)printf("%s: ", a->input);
    print_text(source, "class", "weights");
    (void)printf(" of Keras ");
    print_text(source, "keras_version", "1");
    (void)printf(", %lld layers, %lld parameters\n", (long long)json_integer_value(json_object_get(model, "layers")),
                 (long long)json_integer_value(json_object_get(model, "parameters")));
}

static void print_summary(const struct arguments *a, const json_t *report)
{
    const json_t *source = json_object_get(report, "source");
    const char *verdict = json_string_value(json_object_get(report, "verdict"));
    bool converts = strcmp(verdict, "converted") == 0;
    if (json_is_string(json_object_get(source, "class")))
        print_model(a, report);
    else if (json_array_size(json_object_get(report, "weights")))
        print_weights(a, json_object_get(report, "weights"));
    if (a->output && !a->request.weights_only)
        print_parity(json_object_get(report, "parity"));
    print_findings(json_object_get(report, "warnings"));
    if (!a->output)
        (void)printf("%s\n", converts ? "would convert" : "would be refused:");
    else if (converts && a->request.weights_only)
        (void)printf("written to %s; in Python there: torch.load(\"model.pt\", weights_only=True)\n", a->output);
    else if (converts)
        (void)printf("written to %s; in Python there: from model import load; net = load(\"model.pt\")\n", a->output);
    else
        (void)printf("%s:\n", strcmp(verdict, "refused") == 0 ? "refused" : "not written, parity failed");
    print_findings(json_object_get(report, "refusals"));
}

static int exit_code(enum convert_verdict verdict)
{
    switch (verdict) {
    case CONVERT_CONVERTED: return 0;
    case CONVERT_REFUSED: return h5pt_code_exit(H5PT_UNSUPPORTED_LAYER);
    case CONVERT_PARITY_FAILED: return h5pt_code_exit(H5PT_PARITY_FAILED);
    }
    return h5pt_code_exit(H5PT_INTERNAL);
}

/* The input is hashed while it is converted: on another core that costs no time. */
struct hashing {
    int fd;
    char sha256[DIGEST_TEXT_SIZE];
    bool started, failed;
    pthread_t thread;
};

static void *hash_input(void *context)
{
    struct hashing *h = context;
    h->failed = digest_file(h->fd, NULL, h->sha256, NULL) < 0;
    return NULL;
}

static void finish_hashing(struct hashing *h)
{
    if (h->started)
        (void)pthread_join(h->thread, NULL);
    h->started = false;
}

static const char *hashed_input(void *context)
{
    struct hashing *h = context;
    bool started = h->started;
    finish_hashing(h);
    return started && !h->failed ? h->sha256 : NULL;
}

enum { MAX_PARTS = 8 };

struct part {
    void (*job)(void *part);
    void *argument;
    bool started;
    pthread_t thread;
};

static void *do_part(void *context)
{
    const struct part *part = context;
    part->job(part->argument);
    return NULL;
}

/* A thread for each part but the last, which is done here, as are those for which there is no thread. */
static void spread(void (*job)(void *part), void *parts, size_t size, int count)
{
    struct part list[MAX_PARTS];
    for (int i = 0; i < count; i++) {
        struct part here, *part = i < MAX_PARTS && i < count - 1 ? &list[i] : &here;
        *part = (struct part){.job = job, .argument = (char *)parts + (size_t)i * size};
        part->started = part != &here && pthread_create(&part->thread, NULL, do_part, part) == 0;
        if (!part->started)
            (void)do_part(part);
    }
    for (int i = 0; i < count - 1 && i < MAX_PARTS; i++)
        if (list[i].started)
            (void)pthread_join(list[i].thread, NULL);
}

static int run(void *context)
{
    struct arguments *a = context;
    struct h5pt_error err = H5PT_ERROR_INIT;
    struct convert_result result = {.report = NULL};
    struct strbuf dump = STRBUF_INIT;
    char *architecture = NULL;
    int code = 0;
    if (isatty(STDERR_FILENO))
        a->request.progress = show_progress;
    a->request.dump = &dump;
    if (a->architecture)
        a->request.architecture = architecture = read_architecture(a->architecture, &err);
    struct hashing hashing = {.fd = -1};
    if (!err.code && open_files(a, &err) == 0) {
        hashing.fd = a->request.input;
        hashing.started = pthread_create(&hashing.thread, NULL, hash_input, &hashing) == 0;
        a->request.sha256 = hashed_input;
        a->request.context = &hashing;
        a->request.spread = spread;
        if (convert_run(&a->request, &result, &err) == 0)
            code = exit_code(result.verdict);
        finish_hashing(&hashing);
    }
    if (a->request.progress)
        (void)fprintf(stderr, "\r\033[K");
    if (err.code)
        code = cli_fail(&err);
    (void)fputs(strbuf_text(&dump), stdout);
    if (result.report && a->json) {
        (void)json_dumpf(result.report, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
        (void)printf("\n");
    } else if (result.report && !dump.length) {
        print_summary(a, result.report);
    }
    if (fflush(stdout) != 0 && code == 0)
        code = h5pt_code_exit(H5PT_IO);
    json_decref(result.report);
    strbuf_release(&dump);
    free(architecture);
    if (a->request.input >= 0)
        (void)close(a->request.input);
    if (a->reference_fd >= 0)
        (void)close(a->reference_fd);
    if (a->request.output_dir >= 0)
        (void)close(a->request.output_dir);
    return code;
}

static int command(int argc, char **argv, bool writes)
{
    struct arguments a = {.request = {.input = -1, .output_dir = -1}, .reference_fd = -1};
    int code = parse(argc, argv, writes, &a);
    if (code)
        return code;
    if (a.help) {
        (void)fputs(writes ? convert_help : inspect_help, stdout);
        return 0;
    }
    return cli_guarded(run, &a);
}

int cli_convert(int argc, char **argv)
{
    return command(argc, argv, true);
}

int cli_inspect(int argc, char **argv)
{
    return command(argc, argv, false);
}
