/* SPDX-License-Identifier: Apache-2.0 */
/* Errors: one small struct, always the last parameter, may be NULL. The first error wins: setting an error that is
 * already set changes nothing, so that a cause is not hidden by its consequences. */
#ifndef H5PT_BASE_ERROR_H
#define H5PT_BASE_ERROR_H

#include <stdbool.h>
#include <stddef.h>

enum h5pt_code {
    H5PT_OK = 0,
#define ERROR(code, http, exit_code, title) H5PT_##code,
#include "base/errors.def"
#undef ERROR
    H5PT_CODE_COUNT
};

struct h5pt_error {
    enum h5pt_code code; /* H5PT_OK: no error */
    int sys_errno;       /* errno where the system refused, else 0 */
    char where[256];     /* layer path, config key or file object; may be "" */
    char message[512];   /* a sentence for the person who reads it */
};

#define H5PT_ERROR_INIT                                                                                                \
    {                                                                                                                  \
        .code = H5PT_OK                                                                                                \
    }

/* Sets *err (nothing when err is NULL or already set) and returns -1, so that `return h5pt_fail(…)` reads well.
 * `where` may be NULL. */
int h5pt_fail(struct h5pt_error *err, enum h5pt_code code, const char *where, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* As h5pt_fail, for a failed system call: keeps errno and adds its text to the message. */
int h5pt_fail_errno(struct h5pt_error *err, enum h5pt_code code, const char *where, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* OUT_OF_MEMORY, -1. */
int h5pt_fail_memory(struct h5pt_error *err);

/* The stable name ("UNSUPPORTED_LAYER"), the title, the HTTP status and the exit code of a code. */
const char *h5pt_code_name(enum h5pt_code code);
const char *h5pt_code_title(enum h5pt_code code);
int h5pt_code_http(enum h5pt_code code);
int h5pt_code_exit(enum h5pt_code code);

/* The code with this name, or H5PT_OK when there is none. */
enum h5pt_code h5pt_code_from_name(const char *name);

#endif
