/* SPDX-License-Identifier: Apache-2.0 */
/* The files of the web page, which server/web/build.mjs makes from its sources and puts into the program. A build without them
 * (H5PT_WEB=OFF) has none. */
#ifndef H5PT_WEB_WEB_H
#define H5PT_WEB_WEB_H

#include <stdbool.h>
#include <stddef.h>

struct web_bytes {
    const char *bytes; /* live as long as the program */
    size_t length;
};

struct web_file {
    const char *path; /* of the request */
    const char *media_type;
    const char *tag;           /* of the content, in quotes */
    bool named_by_content;     /* under this path it never changes */
    struct web_bytes identity; /* as it is */
    struct web_bytes gzip;     /* the same, compressed; length 0: not worth it */
};

extern const struct web_file web_files[];
extern const size_t web_file_count;

#endif
