/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of words in one text, separated by single spaces: how the tables write aliases, choices and keys. */
#ifndef H5PT_BASE_WORDS_H
#define H5PT_BASE_WORDS_H

#include <stddef.h>

/* The index of `word` among the words of `list`, or -1. */
int word_index(const char *list, const char *word);

/* Steps through a list: *cursor starts at the list; returns the next word (not terminated, *length bytes) or NULL. */
const char *word_next(const char **cursor, size_t *length);

#endif
