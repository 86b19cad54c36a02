/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the configuration of one layer, key by key, with the defaults of the writer's version. Every key that is read is
 * ticked off; config_finish refuses the ones that nobody read, by name. A wrong value adds a refusal and gives the default,
 * so that reading goes on and all reasons are found. */
#ifndef H5PT_KERAS_CONFIG_H
#define H5PT_KERAS_CONFIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/findings.h"
#include "keras/model.h"

struct config_reader {
    const json_t *json; /* the config object */
    struct keras_layer *layer;
    struct keras_version version;
    struct arena *arena;
    struct findings *refusals, *warnings; /* warnings may be NULL */
    json_t *seen;                         /* owned: set of the keys that were read */
};

/* The registered name ("Package>Name") of a serialized object whose class is not Keras' own, else NULL. */
const char *config_registered_name(const json_t *object);
/* What a serialized object is by its class: its registered name if it has one, else its class_name. class_name alone would not
 * tell: anybody may call a class "Dense". NULL when neither is there. */
const char *config_class_name(const json_t *object);

int config_begin(struct config_reader *reader, struct keras_layer *layer, struct keras_version version,
                 struct arena *arena, struct findings *refusals, struct h5pt_error *err);
/* Refuses unread keys (UNKNOWN_CONFIG_KEY) and releases the reader. Keys that every layer has and that change nothing at
 * inference (name, initializers, regularizers, constraints …) are known here. */
void config_finish(struct config_reader *reader);

/* The raw value, NULL when absent or null. */
const json_t *config_get(struct config_reader *reader, const char *key);
/* A value that is there and null counts as absent for all of these. */
int64_t config_int(struct config_reader *reader, const char *key, int64_t absent);
double config_double(struct config_reader *reader, const char *key, double absent);
bool config_bool(struct config_reader *reader, const char *key, bool absent);
const char *config_text(struct config_reader *reader, const char *key, const char *absent);
/* As config_int, but refuses when the key is absent, or the value is below `least`. */
int64_t config_size(struct config_reader *reader, const char *key, int64_t least);
/* The index of the text among `choices` ("valid same causal", by spaces); any other text is refused as UNSUPPORTED_CONFIG. */
int config_choice(struct config_reader *reader, const char *key, const char *choices, int absent);
/* `count` whole numbers: from a list of that length, or one number for all. `absent` when the key is not there. */
void config_ints(struct config_reader *reader, const char *key, int count, int64_t *ret, int64_t absent);
/* A list of whole numbers of any length up to `capacity` (a single number is a list of one); null entries become
 * DIM_UNKNOWN. Returns the length; -1 when absent. */
int config_list(struct config_reader *reader, const char *key, int capacity, int64_t *ret);
/* A number or a list of numbers (nested lists are flattened), copied to the arena. Returns the length, -1 when absent. */
int config_doubles(struct config_reader *reader, const char *key, const double **ret);
/* Two numbers in ascending order; `low` and `high` when the key is absent. */
void config_range(struct config_reader *reader, const char *key, double low, double high, double *ret_low,
                  double *ret_high);
/* data_format: sets and returns layer->channels_first. */
bool config_data_format(struct config_reader *reader);
/* Names of keys (by spaces) that change nothing at inference: read and forgotten. */
void config_ignore(struct config_reader *reader, const char *keys);
/* Reads the dtype policy into layer->compute. *ret_mixed is the name of a mixed policy ("mixed_float16"), whose weights are
 * float32 while Keras computes in 16 bits: the layer then counts as float32, which is at least as exact; else NULL. Policies of
 * quantised layers are refused. */
void config_read_policy(struct config_reader *reader, const char **ret_mixed);
/* For a layer inside another: refuses a policy that computes in another type than the outer one (layer->compute as it is). */
void config_check_policy(struct config_reader *reader);
/* Reads how the kernel is stored: with a low-rank update beside it (layer->low_rank), or quantised, which is refused. */
void config_read_storage(struct config_reader *reader);
/* What the person who converts should know although it is converted. */
void config_warn(struct config_reader *reader, enum h5pt_code code, const char *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void config_refuse(struct config_reader *reader, enum h5pt_code code, const char *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
