/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of h5pt. Each takes its own arguments (argv[0] is its name) and returns the exit code:
 * 0 done, 1 internal, 2 usage, 3 refused, 4 parity failed, 5 unreadable or hostile file, 6 I/O. */
#ifndef H5PT_CLI_H
#define H5PT_CLI_H

#include "base/error.h"

int cli_convert(int argc, char **argv);
int cli_inspect(int argc, char **argv);
int cli_layers(int argc, char **argv);
int cli_healthcheck(int argc, char **argv);

/* Runs work(context) in a process of its own and returns its exit code: a file that makes a library crash ends with an error
 * (WORKER_CRASHED) instead of a signal. No sandbox: that is h5ptd's. */
int cli_guarded(int (*work)(void *context), void *context);
/* Prints the error to stderr and returns its exit code. */
int cli_fail(const struct h5pt_error *err);
/* Prints the text to stderr with a hint at --help; returns 2. */
int cli_usage(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
