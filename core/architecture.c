/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "convert.h"

enum { MAX_ARCHITECTURE = 64 << 20 };

int convert_read_architecture(int fd, char **ret, struct h5pt_error *err)
{
    static const char where[] = "architecture";
    struct stat st;
    if (fstat(fd, &st) < 0)
        return h5pt_fail_errno(err, H5PT_IO, where, "The architecture cannot be read");
    if (st.st_size > MAX_ARCHITECTURE)
        return h5pt_fail(err, H5PT_LIMIT_EXCEEDED, where, "The architecture is larger than %d MiB",
                         MAX_ARCHITECTURE >> 20);
    char *text = malloc((size_t)st.st_size + 1);
    if (!text)
        return h5pt_fail_memory(err);
    ssize_t n = 0;
    for (off_t done = 0; done < st.st_size; done += n) {
        n = pread(fd, text + done, (size_t)(st.st_size - done), done);
        if (n < 0 && errno == EINTR)
            n = 0;
        else if (n <= 0) {
            errno = n < 0 ? errno : EIO; /* EIO: the file was cut while it was read */
            free(text);
            return h5pt_fail_errno(err, H5PT_IO, where, "The architecture cannot be read");
        }
    }
    text[st.st_size] = '\0';
    *ret = text;
    return 0;
}
