/* SPDX-License-Identifier: Apache-2.0 */
/* A growing text. Appending never fails visibly: without memory the text is marked broken, and strbuf_ok tells, once, at
 * the end. */
#ifndef H5PT_BASE_STRBUF_H
#define H5PT_BASE_STRBUF_H

#include <stdbool.h>
#include <stddef.h>

struct strbuf {
    char *text; /* owned; NUL-terminated once something was appended, NULL before */
    size_t length, capacity;
    bool broken;
};

#define STRBUF_INIT                                                                                                    \
    {                                                                                                                  \
        .text = NULL                                                                                                   \
    }

void strbuf_release(struct strbuf *buf);
void strbuf_add(struct strbuf *buf, const char *text);
void strbuf_add_bytes(struct strbuf *buf, const void *bytes, size_t n);
void strbuf_addf(struct strbuf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool strbuf_ok(const struct strbuf *buf);

/* The shortest decimal text that reads back as the same double, always with a '.' or an exponent ("1.0", "1e-05"); inf and
 * nan as Python's float("inf"). Independent of the locale. */
void strbuf_add_double(struct strbuf *buf, double value);

/* The text so far, never NULL. */
const char *strbuf_text(const struct strbuf *buf);

#endif
