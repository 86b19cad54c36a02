/* SPDX-License-Identifier: Apache-2.0 */
#include "read_file.h"

#include <stdio.h>
#include <string.h>

enum { READ_FILE_MAX = 1 << 20 };

int read_file(const char *path, const char *what, struct strbuf *ret, struct h5pt_error *err)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return h5pt_fail_errno(err, H5PT_USAGE, path, "The %s %s cannot be opened", what, path);
    char part[4096];
    for (size_t n; ret->length <= READ_FILE_MAX && (n = fread(part, 1, sizeof part, file));)
        strbuf_add_bytes(ret, part, n);
    int result = 0;
    if (ferror(file))
        result = h5pt_fail_errno(err, H5PT_USAGE, path, "The %s %s cannot be read", what, path);
    else if (!strbuf_ok(ret))
        result = h5pt_fail_memory(err);
    else if (ret->length > READ_FILE_MAX || strlen(strbuf_text(ret)) != ret->length)
        result = h5pt_fail(err, H5PT_USAGE, path, "The %s %s is no text, or too large", what, path);
    (void)fclose(file);
    return result;
}
