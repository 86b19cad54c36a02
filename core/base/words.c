/* SPDX-License-Identifier: Apache-2.0 */
#include "base/words.h"

#include <string.h>

const char *word_next(const char **cursor, size_t *length)
{
    const char *word = *cursor + strspn(*cursor, " ");
    *length = strcspn(word, " ");
    *cursor = word + *length;
    return *length ? word : NULL;
}

int word_index(const char *list, const char *word)
{
    size_t length, wanted = strlen(word);
    const char *w;
    for (int i = 0; (w = word_next(&list, &length)); i++)
        if (length == wanted && memcmp(w, word, length) == 0)
            return i;
    return -1;
}
