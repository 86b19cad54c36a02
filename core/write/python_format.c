/* SPDX-License-Identifier: Apache-2.0 */
/* The layout rules of black, for the statements that model.py has: assignments, returns, calls, definitions and loops. A line that is
 * too long is broken at its last pair of brackets into a head, a body that is one level deeper, and a tail; a body that is still
 * too long has one element a line, each with a comma. */
#include "write/python_format.h"

#include <ctype.h>
#include <string.h>

/* A part of the one-line text. */
struct span {
    const char *text;
    size_t length;
};

static struct span span_of(const char *text, size_t length)
{
    while (length && *text == ' ') {
        text++;
        length--;
    }
    while (length && text[length - 1] == ' ')
        length--;
    return (struct span){text, length};
}

static size_t columns(struct span s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.length; i++)
        n += ((unsigned char)s.text[i] & 0xC0U) != 0x80U;
    return n;
}

static bool fits(int depth, struct span s, size_t more)
{
    return (size_t)depth * PYTHON_INDENT + columns(s) + more <= PYTHON_WIDTH;
}

bool python_line_fits(int depth, const char *text)
{
    return fits(depth, (struct span){text, strlen(text)}, 0);
}

static void add(struct strbuf *out, int depth, struct span s, const char *end)
{
    for (int i = 0; i < depth * PYTHON_INDENT; i++)
        strbuf_add(out, " ");
    strbuf_add_bytes(out, s.text, s.length);
    strbuf_addf(out, "%s\n", end);
}

static bool opens(char c)
{
    return c == '(' || c == '[' || c == '{';
}

static bool closes(char c)
{
    return c == ')' || c == ']' || c == '}';
}

/* Where the string that begins at i ends; i when none does. */
static size_t skip_string(struct span s, size_t i)
{
    if (s.text[i] != '"')
        return i;
    for (size_t k = i + 1; k < s.length; k++)
        if (s.text[k] == '"')
            return k;
    return i;
}

/* ---- delimiters ---- */

enum priority {
    PRIORITY_NONE,
    PRIORITY_POWER,
    PRIORITY_TERM,
    PRIORITY_SUM,
    PRIORITY_SHIFT,
    PRIORITY_BITS,
    PRIORITY_COMPARE,
    PRIORITY_COMMA
};

static enum priority word_priority(struct span word)
{
    static const struct {
        const char *words;
        enum priority priority;
    } rows[] = {
        {" ** ", PRIORITY_POWER},    {" * / // % @ ", PRIORITY_TERM}, {" + - ", PRIORITY_SUM},
        {" << >> ", PRIORITY_SHIFT}, {" & | ^ ", PRIORITY_BITS},      {" == != < > <= >= ", PRIORITY_COMPARE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (const char *at = rows[i].words; (at = strchr(at, ' ')) && at[1]; at++)
            if (strncmp(at + 1, word.text, word.length) == 0 && at[1 + word.length] == ' ')
                return rows[i].priority;
    return PRIORITY_NONE;
}

/* The delimiter at i, outside of brackets; its length goes to *ret_length. */
static enum priority delimiter_at(struct span s, size_t i, size_t *ret_length)
{
    *ret_length = 1;
    if (s.text[i] == ',')
        return PRIORITY_COMMA;
    if (i == 0 || s.text[i - 1] != ' ' || isalnum((unsigned char)s.text[i]))
        return PRIORITY_NONE;
    size_t n = 0;
    while (i + n < s.length && s.text[i + n] != ' ')
        n++;
    *ret_length = n;
    return i + n < s.length ? word_priority((struct span){s.text + i, n}) : PRIORITY_NONE;
}

/* The highest delimiter outside of brackets, and how many there are of it. A comma at the end does not count. */
static enum priority highest(struct span s, int *ret_count)
{
    enum priority best = PRIORITY_NONE;
    int depth = 0;
    *ret_count = 0;
    for (size_t i = 0; i < s.length; i++) {
        size_t n;
        i = skip_string(s, i);
        depth += opens(s.text[i]) - closes(s.text[i]);
        enum priority p = depth || i + 1 == s.length ? PRIORITY_NONE : delimiter_at(s, i, &n);
        if (p > best) {
            best = p;
            *ret_count = 0;
        }
        *ret_count += p == best && p != PRIORITY_NONE;
    }
    return best;
}

/* ---- breaking ---- */

static void emit(struct strbuf *out, int depth, struct span s, const char *end, bool inside);

/* A line for each element. Commas stand behind, operators in front. */
static void split_delimiters(struct strbuf *out, int depth, struct span s, const char *end, enum priority priority)
{
    size_t start = 0, n;
    int level = 0;
    for (size_t i = 0; i < s.length; i++) {
        i = skip_string(s, i);
        level += opens(s.text[i]) - closes(s.text[i]);
        if (level || delimiter_at(s, i, &n) != priority)
            continue;
        emit(out, depth, span_of(s.text + start, i - start), priority == PRIORITY_COMMA ? "," : "", true);
        start = priority == PRIORITY_COMMA ? i + 1 : i;
        i += n - 1;
    }
    struct span last = span_of(s.text + start, s.length - start);
    if (last.length)
        emit(out, depth, last, priority == PRIORITY_COMMA ? "," : end, true);
}

/* A pair of brackets with something in it. */
struct brackets {
    size_t open, close;
};

/* The last pair that is not inside another and ends before `before`. */
static bool last_brackets(struct span s, size_t before, struct brackets *ret)
{
    size_t open = 0;
    int level = 0;
    bool found = false;
    for (size_t i = 0; i < s.length && i < before; i++) {
        i = skip_string(s, i);
        if (opens(s.text[i]) && level++ == 0)
            open = i;
        if (closes(s.text[i]) && --level == 0 && i > open + 1) {
            *ret = (struct brackets){open, i};
            found = true;
        }
    }
    return found;
}

static bool first_brackets(struct span s, struct brackets *ret)
{
    for (size_t i = 0; i < s.length; i++)
        if (s.text[i] == '(') {
            int level = 0;
            for (size_t k = i; k < s.length; k++) {
                level += opens(s.text[k]) - closes(s.text[k]);
                if (level == 0) {
                    *ret = (struct brackets){i, k};
                    return k > i + 1;
                }
            }
        }
    return false;
}

/* A tuple or list, where a call or subscript has a name before its bracket. */
static bool is_display(struct span s, size_t open)
{
    char before = ' ';
    if (open)
        before = s.text[open - 1];
    return !isalnum((unsigned char)before) && before != '_' && !closes(before);
}

static void split_brackets(struct strbuf *out, int depth, struct span s, const char *end, struct brackets b)
{
    struct span body = span_of(s.text + b.open + 1, b.close - b.open - 1);
    int count;
    enum priority priority = highest(body, &count);
    bool display = is_display(s, b.open) && (priority == PRIORITY_COMMA || body.text[body.length - 1] == ',');
    add(out, depth, (struct span){s.text, b.open + 1}, "");
    if (display)
        split_delimiters(out, depth + 1, body, "", PRIORITY_COMMA);
    else
        emit(out, depth + 1, body, "", true);
    add(out, depth, (struct span){s.text + b.close, s.length - b.close}, end);
}

/* Where the right-hand side of an assignment or a return begins, or 0. */
static size_t right_hand_side(struct span s)
{
    int level = 0;
    if (s.length > 7 && strncmp(s.text, "return ", 7) == 0)
        return 7;
    for (size_t i = 0; i + 3 < s.length; i++) {
        i = skip_string(s, i);
        level += opens(s.text[i]) - closes(s.text[i]);
        if (level == 0 && strncmp(s.text + i, " = ", 3) == 0)
            return i + 3;
    }
    return 0;
}

static void parenthesise(struct strbuf *out, int depth, struct span s, size_t start, const char *end)
{
    struct span value = {s.text + start, s.length - start};
    int count;
    add(out, depth, (struct span){s.text, start}, "(");
    if (highest(value, &count) == PRIORITY_COMMA)
        split_delimiters(out, depth + 1, value, "", PRIORITY_COMMA);
    else
        emit(out, depth + 1, value, "", true);
    add(out, depth, (struct span){")", 1}, end);
}

static void split_statement(struct strbuf *out, int depth, struct span s, const char *end)
{
    size_t start = right_hand_side(s);
    struct span value = {s.text + start, s.length - start};
    struct brackets b;
    bool definition = s.length > 4 && strncmp(s.text, "def ", 4) == 0;
    if (definition ? first_brackets(s, &b) : last_brackets(s, s.length, &b)) {
        int count = 0;
        enum priority priority = start ? highest(value, &count) : PRIORITY_NONE;
        bool ends_in_bracket = b.close + 1 == s.length && s.text[b.close] == ')';
        bool plain = priority == PRIORITY_NONE || (count == 1 && ends_in_bracket);
        /* The last brackets whose head fits; what is behind them must fit as well. */
        struct brackets at = b;
        for (bool more = plain && !definition; more; more = last_brackets(s, at.open, &at)) {
            if (at.open < start || !fits(depth, (struct span){s.text + at.close, s.length - at.close}, strlen(end)))
                break;
            if (fits(depth, (struct span){s.text, at.open + 1}, 0)) {
                split_brackets(out, depth, s, end, at);
                return;
            }
        }
        if (!start || (priority == PRIORITY_NONE && !fits(depth + 1, value, 0))) {
            split_brackets(out, depth, s, end, b);
            return;
        }
    }
    if (start && fits(depth, (struct span){s.text, start}, 1) &&
        (fits(depth + 1, value, 0) || highest(value, &(int){0})))
        parenthesise(out, depth, s, start, end);
    else
        add(out, depth, s, end);
}

static void emit(struct strbuf *out, int depth, struct span s, const char *end, bool inside)
{
    if (fits(depth, s, strlen(end))) {
        add(out, depth, s, end);
        return;
    }
    int count;
    enum priority priority = inside ? highest(s, &count) : PRIORITY_NONE;
    struct brackets b;
    if (priority != PRIORITY_NONE)
        split_delimiters(out, depth, s, end, priority);
    else if (!inside)
        split_statement(out, depth, s, end);
    else if (last_brackets(s, s.length, &b))
        split_brackets(out, depth, s, end, b);
    else
        add(out, depth, s, end);
}

void python_add_line(struct strbuf *out, int depth, const char *text)
{
    emit(out, depth, (struct span){text, strlen(text)}, "", false);
}
