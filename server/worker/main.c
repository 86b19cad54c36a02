/* SPDX-License-Identifier: Apache-2.0 */
/* h5pt-worker: conversions, each in a process of its own (worker/serve.h) that h5ptd gives an open input file, an open output
 * directory and a pipe for its status (worker/status.h). It locks itself up before it looks at the file. */
#include <cblas.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "convert.h"
#include "worker/sandbox.h"
#include "worker/serve.h"
#include "worker/status.h"

struct options {
    unsigned formats;
    enum convert_parity parity;
    enum convert_layout layout;
    enum convert_dtype dtype;
    enum sandbox_mode sandbox;
    struct sandbox_limits limits;
    const char *backend; /* NULL: as the file tells */
    bool weights_only, architecture, reference;
    bool dry_run;  /* no output directory */
    bool describe; /* say what this build and this kernel can do, instead of a conversion */
};

static const struct option flags[] = {
    {"formats", required_argument, NULL, 'f'},
    {"parity", required_argument, NULL, 'p'},
    {"layout", required_argument, NULL, 'l'},
    {"dtype", required_argument, NULL, 't'},
    {"backend", required_argument, NULL, 'b'},
    {"weights-only", no_argument, NULL, 'w'},
    {"architecture", no_argument, NULL, 'a'},
    {"reference", no_argument, NULL, 'r'},
    {"sandbox", required_argument, NULL, 's'},
    {"memory", required_argument, NULL, 'm'},
    {"cpu-time", required_argument, NULL, 'c'},
    {"file-size", required_argument, NULL, 'z'},
    {"dry-run", no_argument, NULL, 'n'},
    {"describe", no_argument, NULL, 'd'},
    {NULL, 0, NULL, 0},
};

static bool parse_sandbox(const char *text, enum sandbox_mode *ret)
{
    static const char *const names[] = {
        [SANDBOX_REQUIRE] = "require", [SANDBOX_PREFER] = "prefer", [SANDBOX_OFF] = "off"};
    for (int i = 0; i < (int)(sizeof names / sizeof *names); i++) {
        if (strcmp(names[i], text) != 0)
            continue;
        *ret = (enum sandbox_mode)i;
        return true;
    }
    return false;
}

static bool parse_number(const char *text, uint64_t *ret)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno || end == text || *end)
        return false;
    *ret = number;
    return true;
}

static int parse_option(int flag, struct options *options, struct h5pt_error *err)
{
    bool ok = true;
    switch (flag) {
    case 'f': return convert_parse_formats(optarg, &options->formats, err);
    case 'p': return convert_parse_parity(optarg, &options->parity, err);
    case 'l': return convert_parse_layout(optarg, &options->layout, err);
    case 't': return convert_parse_dtype(optarg, &options->dtype, err);
    case 'b': return convert_parse_backend(optarg, &options->backend, err);
    case 'w': options->weights_only = true; break;
    case 'a': options->architecture = true; break;
    case 'r': options->reference = true; break;
    case 's': ok = parse_sandbox(optarg, &options->sandbox); break;
    case 'm': ok = parse_number(optarg, &options->limits.memory); break;
    case 'z': ok = parse_number(optarg, &options->limits.file_size); break;
    case 'c': ok = parse_number(optarg, &options->limits.cpu_seconds); break;
    case 'n': options->dry_run = true; break;
    case 'd': options->describe = true; break;
    default: ok = false;
    }
    return ok ? 0 : h5pt_fail(err, H5PT_USAGE, NULL, "h5pt-worker is started by h5ptd, of the same version");
}

static int parse_options(int argc, char **argv, struct options *ret, struct h5pt_error *err)
{
    *ret = (struct options){.sandbox = SANDBOX_REQUIRE,
                            .limits = {.memory = 4ULL << 30, .cpu_seconds = 600, .file_size = 16ULL << 30}};
    opterr = 0;
    for (int flag; (flag = getopt_long(argc, argv, "", flags, NULL)) != -1;)
        if (parse_option(flag, ret, err))
            return -1;
    return 0;
}

/* What libraries do on first use: it takes time that not every run has to spend, and the walls would forbid some of it. OpenBLAS
 * maps and binds its buffer on the first product that is not small. */
static void warm_up(void)
{
    enum { N = 256 };
    static float a[N * N], c[N * N];
    openblas_set_num_threads(1);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, N, N, N, 1, a, N, a, N, 0, c, N);
    convert_warm_up();
    tzset();
}

static int describe(const struct sandbox_state *sandbox, struct h5pt_error *err)
{
    json_t *version = convert_version(), *capabilities = convert_capabilities();
    json_t *line = json_pack("{s:o, s:o, s:{s:b, s:i, s:b}}", "version", version, "capabilities", capabilities,
                             "sandbox", "no_new_privileges", sandbox->no_new_privileges, "landlock", sandbox->landlock,
                             "seccomp", sandbox->seccomp);
    if (!line)
        return h5pt_fail_memory(err);
    status_send(line);
    return 0;
}

static int convert(const struct options *options, struct h5pt_error *err)
{
    static const int reference = WORKER_REFERENCE_FD;
    struct status_progress progress = {0};
    struct convert_result result;
    char *architecture = NULL;
    if (options->architecture && convert_read_architecture(WORKER_ARCHITECTURE_FD, &architecture, err))
        return -1;
    const struct convert_request request = {
        .input = WORKER_INPUT_FD,
        .architecture = architecture,
        .reference = options->reference ? &reference : NULL,
        .weights_only = options->weights_only,
        .backend = options->backend,
        .output_dir = options->dry_run ? -1 : WORKER_OUTPUT_FD,
        .unsynced = true, /* the daemon does, before it says that there are any */
        .formats = options->formats,
        .parity = options->parity,
        .layout = options->layout,
        .dtype = options->dtype,
        .parity_memory = options->limits.memory / 2,
        .progress = status_send_progress,
        .context = &progress,
    };
    int status = convert_run(&request, &result, err);
    free(architecture);
    if (status == 0)
        status_send(json_pack("{s:s, s:o}", "verdict", convert_verdict_name(result.verdict), "report", result.report));
    return status;
}

static int run(int argc, char **argv, struct h5pt_error *err)
{
    struct options options;
    struct sandbox_state sandbox;
    if (parse_options(argc, argv, &options, err) || sandbox_limit(&options.limits, err))
        return -1;
    json_object_seed(0); /* the walls forbid to read it */
    int input = options.describe ? -1 : WORKER_INPUT_FD;
    int output = options.describe || options.dry_run ? -1 : WORKER_OUTPUT_FD;
    if (sandbox_enter(options.sandbox, input, output, &sandbox, err))
        return -1;
    return options.describe ? describe(&sandbox, err) : convert(&options, err);
}

int main(int argc, char **argv)
{
    static struct worker_run order;
    struct h5pt_error err = H5PT_ERROR_INIT;
    (void)argc;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a daemon that was dead before has closed the socket */
    (void)signal(SIGPIPE, SIG_IGN);
    warm_up();
    if (worker_serve(argv[0], &order) && run(order.argc, order.argv, &err))
        status_send_error(&err);
    _exit(EXIT_SUCCESS); /* past the exit handlers of libraries that have read a hostile file */
}
