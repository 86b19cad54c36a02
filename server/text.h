/* SPDX-License-Identifier: Apache-2.0 */
/* Text at the edges of the daemon: JSON strings of bytes that a client or a file chose, identifiers, and time. */
#ifndef H5PT_SERVER_TEXT_H
#define H5PT_SERVER_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* A JSON string of `text`; bytes outside ASCII become '?' when the whole is not valid UTF-8. NULL gives null. */
static inline json_t *text_json(const char *text)
{
    if (!text)
        return json_null();
    json_t *string = json_string(text);
    if (string)
        return string;
    char clean[1024];
    size_t n = 0;
    for (; text[n] && n < sizeof clean - 1; n++)
        clean[n] = (char)((unsigned char)text[n] < 0x80 ? text[n] : '?');
    clean[n] = '\0';
    return json_string(clean);
}

/* Identifiers of jobs and requests: 48 bits of time in milliseconds and 80 random bits in base 32, so that they sort by
 * age and cannot be guessed. */
enum { TEXT_ID_LENGTH = 26, TEXT_ID_SIZE = TEXT_ID_LENGTH + 1 };
void text_new_id(char ret[TEXT_ID_SIZE]);
bool text_is_id(const char *text);

/* `count` random characters of base 32 (5 bits each, at most 256 characters) and a NUL. */
void text_random(char *ret, size_t count);
/* The number that the whole text is, in decimal. False when it is none. */
bool text_number(const char *text, uint64_t *ret);

/* Milliseconds since 1970, and of a clock that is never set. */
int64_t text_now_ms(void);
int64_t text_clock_ms(void);
int64_t text_clock_us(void); /* the same clock, in microseconds */

/* "2026-01-31T12:00:00.123Z" */
enum { TEXT_TIME_SIZE = 32 };
const char *text_time(int64_t ms, char ret[TEXT_TIME_SIZE]);

#endif
