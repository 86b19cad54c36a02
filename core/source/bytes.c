/* SPDX-License-Identifier: Apache-2.0 */
#include "source/bytes.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool source_bytes_read(const struct source_bytes *bytes, uint64_t address, uint64_t size, void *buffer)
{
    if (address > bytes->size || size > bytes->size - address)
        return false;
    if (bytes->memory) {
        memcpy(buffer, bytes->memory + address, size);
        return true;
    }
    for (uint64_t done = 0; done < size;) {
        ssize_t n = pread(bytes->fd, (char *)buffer + done, size - done, (off_t)(bytes->start + address + done));
        if (n > 0) {
            done += (uint64_t)n;
        } else if (n == 0 || errno != EINTR) {
            *bytes->read_errno = n ? errno : EIO; /* EIO: the file was cut while it was read */
            return false;
        }
    }
    return true;
}

int source_bytes_of_file(int fd, int *read_errno, struct source_bytes *ret, struct h5pt_error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return h5pt_fail_errno(err, H5PT_IO, NULL, "The file cannot be read");
    if (!S_ISREG(st.st_mode))
        return h5pt_fail(err, H5PT_IO, NULL, "The input is not a regular file");
    *ret = (struct source_bytes){.fd = fd, .size = (uint64_t)st.st_size, .read_errno = read_errno};
    return 0;
}
