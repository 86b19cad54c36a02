/* SPDX-License-Identifier: Apache-2.0 */
#include "base/strbuf.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void strbuf_release(struct strbuf *buf)
{
    free(buf->text);
    *buf = (struct strbuf)STRBUF_INIT;
}

static bool reserve(struct strbuf *buf, size_t extra)
{
    if (buf->broken || extra > SIZE_MAX / 4 || buf->length > SIZE_MAX / 4)
        return !(buf->broken = true);
    size_t need = buf->length + extra + 1;
    if (need <= buf->capacity)
        return true;
    size_t capacity = need < 128 ? 128 : need * 2;
    char *text = realloc(buf->text, capacity);
    if (!text)
        return !(buf->broken = true);
    buf->text = text;
    buf->capacity = capacity;
    return true;
}

void strbuf_add_bytes(struct strbuf *buf, const void *bytes, size_t n)
{
    if (!reserve(buf, n))
        return;
    if (n)
        memcpy(buf->text + buf->length, bytes, n);
    buf->length += n;
    buf->text[buf->length] = '\0';
}

void strbuf_add(struct strbuf *buf, const char *text)
{
    strbuf_add_bytes(buf, text, strlen(text));
}

void strbuf_addf(struct strbuf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0 || !reserve(buf, (size_t)n)) {
        buf->broken = true;
        return;
    }
    va_start(args, format);
    (void)vsnprintf(buf->text + buf->length, (size_t)n + 1, format, args);
    va_end(args);
    buf->length += (size_t)n;
}

bool strbuf_ok(const struct strbuf *buf)
{
    return !buf->broken;
}

void strbuf_add_double(struct strbuf *buf, double value)
{
    if (isnan(value) || isinf(value)) {
        strbuf_add(buf, isnan(value) ? "float(\"nan\")" : value > 0 ? "float(\"inf\")" : "float(\"-inf\")");
        return;
    }
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    for (char *p = text; *p; p++)
        if (*p == ',')
            *p = '.';
    strbuf_add(buf, text);
    if (!strpbrk(text, ".e"))
        strbuf_add(buf, ".0");
}

const char *strbuf_text(const struct strbuf *buf)
{
    return buf->text ? buf->text : "";
}
