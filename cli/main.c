/* SPDX-License-Identifier: Apache-2.0 */
#include <cblas.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} commands[] = {
    {"convert", cli_convert, "convert a Keras model file to PyTorch"},
    {"inspect", cli_inspect, "say what is in a file and whether it would convert"},
    {"layers", cli_layers, "list the Keras layers that are supported"},
    {"healthcheck", cli_healthcheck, "ask a running h5ptd whether it is alive"},
};

static void print_help(FILE *out)
{
    (void)fprintf(out, "h5pt %s: Keras models (.h5) as PyTorch\n\nUsage: h5pt COMMAND …\n\n", H5PT_VERSION);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        (void)fprintf(out, "  %-12s %s\n", commands[i].name, commands[i].summary);
    (void)fprintf(out,
                  "\n`h5pt COMMAND --help` tells the options.\n"
                  "Exit codes: 0 done, 2 usage, 3 refused, 4 parity failed, 5 unreadable or hostile file, 6 I/O.\n");
}

int cli_fail(const struct h5pt_error *err)
{
    (void)fprintf(stderr, "h5pt: %s: %s%s%s\n", h5pt_code_name(err->code), err->where, err->where[0] ? ": " : "",
                  err->message);
    return h5pt_code_exit(err->code);
}

int cli_usage(const char *command, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fprintf(stderr, "h5pt %s: ", command);
    (void)vfprintf(stderr, format, args);
    (void)fprintf(stderr, "; `h5pt %s --help` tells the usage\n", command);
    va_end(args);
    return h5pt_code_exit(H5PT_USAGE);
}

int main(int argc, char **argv)
{
    /* The matrices are small: starting threads costs more than it gains. */
    openblas_set_num_threads(1);
    if (argc < 2) {
        print_help(stderr);
        return h5pt_code_exit(H5PT_USAGE);
    }
    if (strcmp(argv[1], "--version") == 0) {
        (void)printf("h5pt %s\n", H5PT_VERSION);
        return 0;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return 0;
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(commands[i].name, argv[1]) == 0)
            return commands[i].run(argc - 1, argv + 1);
    (void)fprintf(stderr, "h5pt: there is no command \"%s\"; `h5pt --help` lists them\n", argv[1]);
    return h5pt_code_exit(H5PT_USAGE);
}
