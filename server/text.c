/* SPDX-License-Identifier: Apache-2.0 */
#include "text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/* Crockford's alphabet: no letters that look like digits. */
static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";

void text_random(char *ret, size_t count)
{
    unsigned char random[256];
    /* Never fails for so few bytes once the kernel's pool is ready, for which it waits. */
    while (getrandom(random, count, 0) != (ssize_t)count)
        ;
    for (size_t i = 0; i < count; i++)
        ret[i] = alphabet[random[i] & 31];
    ret[count] = '\0';
}

bool text_number(const char *text, uint64_t *ret)
{
    errno = 0;
    unsigned long long number = strtoull(text, NULL, 10);
    if (errno || !*text || strspn(text, "0123456789") != strlen(text))
        return false;
    *ret = number;
    return true;
}

void text_new_id(char ret[TEXT_ID_SIZE])
{
    uint64_t ms = (uint64_t)text_now_ms();
    for (int i = 9; i >= 0; i--, ms >>= 5)
        ret[i] = alphabet[ms & 31];
    text_random(ret + 10, TEXT_ID_LENGTH - 10);
}

bool text_is_id(const char *text)
{
    return strlen(text) == TEXT_ID_LENGTH && strspn(text, alphabet) == TEXT_ID_LENGTH;
}

static int64_t clock_us(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t text_now_ms(void)
{
    return clock_us(CLOCK_REALTIME) / 1000;
}

int64_t text_clock_ms(void)
{
    return clock_us(CLOCK_MONOTONIC) / 1000;
}

int64_t text_clock_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

const char *text_time(int64_t ms, char ret[TEXT_TIME_SIZE])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm utc;
    char date[24];
    if (!gmtime_r(&seconds, &utc) || !strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc))
        date[0] = '\0';
    (void)snprintf(ret, TEXT_TIME_SIZE, "%s.%03dZ", date, (int)(ms % 1000));
    return ret;
}
