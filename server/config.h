/* SPDX-License-Identifier: Apache-2.0 */
/* The settings of the daemon, from config.def: a flag wins over the environment, the environment over the default. A flag
 * or an H5PT_ variable that is not in the table is an error. */
#ifndef H5PT_SERVER_CONFIG_H
#define H5PT_SERVER_CONFIG_H

#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

/* DURATION is in milliseconds, SIZE in bytes; texts are owned by the config. */
#define CONFIG_FIELD_TEXT char *
#define CONFIG_FIELD_CHOICE char *
#define CONFIG_FIELD_COUNT uint64_t
#define CONFIG_FIELD_SIZE uint64_t
#define CONFIG_FIELD_DURATION uint64_t

struct config {
#define CONFIG(type, id, preset, min, max, argument, help) CONFIG_FIELD_##type id;
#include "config.def"
#undef CONFIG
};

enum config_action {
    CONFIG_RUN,
    CONFIG_HELP,
    CONFIG_VERSION,
    CONFIG_PRINT_CONFIG,
    CONFIG_PRINT_ROUTES,
    CONFIG_CHECK,
    CONFIG_NEW_KEY
};

/* Reads flags and environment. On success *ret is to be released, and *ret_operand, of argv, is what the action is to be done with
 * (NULL: nothing); USAGE otherwise. */
int config_load(int argc, char *const *argv, char *const *environment, struct config *ret,
                enum config_action *ret_action, const char **ret_operand, struct h5pt_error *err);
void config_release(struct config *config);

void config_print_help(FILE *out);
/* One H5PT_…=value a line, which can be read back as an environment file. */
void config_print(const struct config *config, FILE *out);

/* "2GiB", "500MB", "64K" (1024), "10": bytes. False when it is none of these. */
bool config_parse_size(const char *text, uint64_t *ret);
/* "500ms", "10s", "10min", "24h", "7d", "10" (seconds): milliseconds. */
bool config_parse_duration(const char *text, uint64_t *ret);

/* Of a setting that is "yes" or "no". */
static inline bool config_yes(const char *value)
{
    return *value == 'y';
}

#endif
