/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    const char *title;
    int http;
    int exit_code;
} codes[H5PT_CODE_COUNT] = {
    [H5PT_OK] = {"OK", "No error", 200, 0},
#define ERROR(code, http, exit_code, title) [H5PT_##code] = {#code, title, http, exit_code},
#include "base/errors.def"
#undef ERROR
};

static void fill(struct h5pt_error *err, enum h5pt_code code, int sys_errno, const char *where, const char *format,
                 va_list args) __attribute__((format(printf, 5, 0)));

static void fill(struct h5pt_error *err, enum h5pt_code code, int sys_errno, const char *where, const char *format,
                 va_list args)
{
    if (!err || err->code != H5PT_OK)
        return;
    err->code = code;
    err->sys_errno = sys_errno;
    (void)snprintf(err->where, sizeof err->where, "%s", where ? where : "");
    int n = vsnprintf(err->message, sizeof err->message, format, args);
    if (sys_errno && n >= 0 && (size_t)n < sizeof err->message)
        (void)snprintf(err->message + n, sizeof err->message - (size_t)n, ": %s", strerrordesc_np(sys_errno));
}

int h5pt_fail(struct h5pt_error *err, enum h5pt_code code, const char *where, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fill(err, code, 0, where, format, args);
    va_end(args);
    return -1;
}

int h5pt_fail_errno(struct h5pt_error *err, enum h5pt_code code, const char *where, const char *format, ...)
{
    int saved = errno;
    va_list args;
    va_start(args, format);
    fill(err, code, saved, where, format, args);
    va_end(args);
    return -1;
}

int h5pt_fail_memory(struct h5pt_error *err)
{
    return h5pt_fail(err, H5PT_OUT_OF_MEMORY, NULL, "There is not enough memory");
}

static bool known(enum h5pt_code code)
{
    return code >= H5PT_OK && code < H5PT_CODE_COUNT;
}

const char *h5pt_code_name(enum h5pt_code code)
{
    return known(code) ? codes[code].name : "INTERNAL";
}

const char *h5pt_code_title(enum h5pt_code code)
{
    return known(code) ? codes[code].title : "";
}

int h5pt_code_http(enum h5pt_code code)
{
    return known(code) ? codes[code].http : 500;
}

int h5pt_code_exit(enum h5pt_code code)
{
    return known(code) ? codes[code].exit_code : 1;
}

enum h5pt_code h5pt_code_from_name(const char *name)
{
    for (int i = 1; i < H5PT_CODE_COUNT; i++)
        if (strcmp(codes[i].name, name) == 0)
            return (enum h5pt_code)i;
    return H5PT_OK;
}
