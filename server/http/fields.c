/* SPDX-License-Identifier: Apache-2.0 */
#include "http/fields.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "base/strbuf.h"

struct gathering {
    const char *name;
    struct strbuf text;
};

static enum MHD_Result gather(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct gathering *gathering = context;
    (void)kind;
    if (strcasecmp(name, gathering->name) == 0) {
        strbuf_add(&gathering->text, gathering->text.length ? ", " : "");
        strbuf_add(&gathering->text, value ? value : "");
    }
    return MHD_YES;
}

int field_read(struct MHD_Connection *connection, const char *name, char **ret, struct h5pt_error *err)
{
    struct gathering gathering = {.name = name, .text = STRBUF_INIT};
    (void)MHD_get_connection_values(connection, MHD_HEADER_KIND, gather, &gathering);
    if (!strbuf_ok(&gathering.text)) {
        strbuf_release(&gathering.text);
        return h5pt_fail_memory(err);
    }
    *ret = gathering.text.text;
    return 0;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

/* The end of an element: the next comma outside of quotes. */
static const char *end_of_element(const char *at)
{
    bool quoted = false;
    for (; *at && (quoted || *at != ','); at++) {
        if (quoted && *at == '\\' && at[1])
            at++;
        else if (*at == '"')
            quoted = !quoted;
    }
    return at;
}

const char *field_next(const char **at, size_t *ret_length)
{
    const char *start = *at;
    while (is_space(*start) || *start == ',')
        start++;
    if (!*start)
        return NULL;
    const char *end = end_of_element(start);
    *at = end;
    while (end > start && is_space(end[-1]))
        end--;
    *ret_length = (size_t)(end - start);
    return start;
}

static bool is_word(const char *text, size_t length, const char *word)
{
    return strlen(word) == length && strncasecmp(text, word, length) == 0;
}

bool field_has(const char *list, const char *word)
{
    size_t length;
    const char *at = list ? list : "", *element;
    while ((element = field_next(&at, &length)))
        if (is_word(element, length, word))
            return true;
    return false;
}

/* A number of `length` digits; *ret is untouched when it is none. What is too large becomes the largest. */
static bool parse_digits(const char *text, size_t length, uint64_t *ret)
{
    uint64_t number = 0;
    for (size_t i = 0; i < length; i++) {
        if (!isdigit((unsigned char)text[i]))
            return false;
        if (!size_mul(number, 10, &number) || !size_add(number, (uint64_t)(text[i] - '0'), &number))
            number = UINT64_MAX;
    }
    if (length)
        *ret = number;
    return length != 0;
}

struct field_preferences field_preferences_read(const char *field)
{
    enum { WAIT_MAX_S = 1000000000 };
    struct field_preferences read = {.wait_s = -1};
    const char *at = field ? field : "", *element;
    size_t length;
    while ((element = field_next(&at, &length))) {
        const char *parameters = memchr(element, ';', length);
        if (parameters)
            length = (size_t)(parameters - element);
        const char *equals = memchr(element, '=', length);
        size_t name = equals ? (size_t)(equals - element) : length;
        while (name && is_space(element[name - 1]))
            name--;
        if (is_word(element, name, "respond-async"))
            read.respond_async = true;
        if (!equals || !is_word(element, name, "wait") || read.wait_s >= 0) /* the first one counts */
            continue;
        const char *value = equals + 1, *end = element + length;
        while (value < end && (is_space(*value) || *value == '"'))
            value++;
        while (end > value && (is_space(end[-1]) || end[-1] == '"'))
            end--;
        uint64_t seconds;
        if (parse_digits(value, (size_t)(end - value), &seconds))
            read.wait_s = seconds > WAIT_MAX_S ? WAIT_MAX_S : (int64_t)seconds;
    }
    return read;
}

bool field_has_tag(const char *list, const char *tag, bool strong)
{
    const char *at = list ? list : "", *element;
    size_t length;
    const bool weak_tag = strncmp(tag, "W/", 2) == 0;
    const char *opaque = weak_tag ? tag + 2 : tag;
    while ((element = field_next(&at, &length))) {
        if (length == 1 && *element == '*')
            return true;
        const bool weak = length > 2 && strncmp(element, "W/", 2) == 0;
        if (strong && (weak || weak_tag))
            continue;
        const size_t skip = weak ? 2 : 0;
        if (strlen(opaque) == length - skip && memcmp(element + skip, opaque, length - skip) == 0)
            return true;
    }
    return false;
}

enum field_range field_range_read(const char *field, uint64_t size, uint64_t *ret_first, uint64_t *ret_count)
{
    static const char unit[] = "bytes=";
    size_t length;
    if (!field || strncasecmp(field, unit, sizeof unit - 1) != 0)
        return FIELD_RANGE_NONE;
    const char *at = field + sizeof unit - 1, *rest = at, *range = field_next(&rest, &length);
    const char *dash = range ? memchr(range, '-', length) : NULL;
    size_t after;
    if (!dash || field_next(&rest, &after))
        return FIELD_RANGE_NONE;
    const size_t before = (size_t)(dash - range);
    after = length - before - 1;
    uint64_t first = 0, last = 0;
    const bool has_first = parse_digits(range, before, &first), has_last = parse_digits(dash + 1, after, &last);
    if ((before && !has_first) || (after && !has_last) || (!before && !after))
        return FIELD_RANGE_NONE;
    if (!has_first) { /* the last bytes */
        if (!last || !size)
            return FIELD_RANGE_OUTSIDE;
        *ret_count = last < size ? last : size;
        *ret_first = size - *ret_count;
        return FIELD_RANGE_PART;
    }
    if (has_last && last < first)
        return FIELD_RANGE_NONE;
    if (first >= size)
        return FIELD_RANGE_OUTSIDE;
    *ret_first = first;
    *ret_count = has_last && last < size ? last - first + 1 : size - first;
    return FIELD_RANGE_PART;
}
