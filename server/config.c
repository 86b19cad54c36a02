/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/size.h"
#include "cpus.h"

enum type { TYPE_TEXT, TYPE_CHOICE, TYPE_COUNT, TYPE_SIZE, TYPE_DURATION };

struct setting {
    enum type type;
    const char *id, *preset, *argument, *help;
    uint64_t min, max;
    size_t offset; /* in struct config */
};

static const struct setting settings[] = {
#define CONFIG(kind, name, def, low, high, arg, text)                                                                  \
    {.type = TYPE_##kind,                                                                                              \
     .id = #name,                                                                                                      \
     .preset = (def),                                                                                                  \
     .argument = (arg),                                                                                                \
     .help = (text),                                                                                                   \
     .min = (low),                                                                                                     \
     .max = (high),                                                                                                    \
     .offset = offsetof(struct config, name)},
#include "config.def"
#undef CONFIG
};
enum { SETTING_COUNT = sizeof settings / sizeof *settings, NAME_SIZE = 64 };

static const struct action {
    const char *flag, *operand, *help; /* operand NULL: it has none */
    enum config_action action;
} actions[] = {
    {"--help", NULL, "Print this text", CONFIG_HELP},
    {"--version", NULL, "Print the version", CONFIG_VERSION},
    {"--print-config", NULL, "Print the settings that would be used, as an environment file", CONFIG_PRINT_CONFIG},
    {"--check", NULL, "Try whether the service would start with these settings, and convert a small model",
     CONFIG_CHECK},
    {"--print-routes", NULL, "Print the routes of the API: listener, method, path, scope, query parameters",
     CONFIG_PRINT_ROUTES},
    {"--new-key", "NAME[:SCOPES[:OPTIONS]]",
     "Print a new key, and its line for --keys-file. SCOPES are of read, convert (the default), admin; OPTIONS of "
     "jobs=N, "
     "rate=N",
     CONFIG_NEW_KEY},
};
enum { ACTION_COUNT = sizeof actions / sizeof *actions };

struct unit {
    const char *name;
    uint64_t factor;
};

/* The largest first; where two have the same factor, the one to print comes first. */
static const struct unit size_units[] = {
    {"TiB", 1ULL << 40},   {"GiB", 1ULL << 30}, {"MiB", 1ULL << 20}, {"KiB", 1ULL << 10}, {"", 1},
    {"T", 1ULL << 40},     {"G", 1ULL << 30},   {"M", 1ULL << 20},   {"K", 1ULL << 10},   {"B", 1},
    {"TB", 1000000000000}, {"GB", 1000000000},  {"MB", 1000000},     {"KB", 1000},        {NULL, 0},
};
static const struct unit count_units[] = {{"", 1}, {NULL, 0}};
static const struct unit duration_units[] = {
    {"d", 86400000}, {"h", 3600000}, {"min", 60000}, {"s", 1000}, {"ms", 1}, {"", 1000}, {NULL, 0},
};

static const struct unit *units_of(enum type type)
{
    switch (type) {
    case TYPE_SIZE: return size_units;
    case TYPE_DURATION: return duration_units;
    default: return count_units;
    }
}

static bool parse_quantity(const char *text, const struct unit *units, uint64_t *ret)
{
    if (!isdigit((unsigned char)*text))
        return false;
    errno = 0;
    char *end;
    uint64_t number = strtoull(text, &end, 10);
    if (errno)
        return false;
    for (; units->name; units++)
        if (strcasecmp(end, units->name) == 0)
            return size_mul(number, units->factor, ret);
    return false;
}

bool config_parse_size(const char *text, uint64_t *ret)
{
    return parse_quantity(text, size_units, ret);
}

bool config_parse_duration(const char *text, uint64_t *ret)
{
    return parse_quantity(text, duration_units, ret);
}

static void print_quantity(uint64_t value, const struct unit *units, FILE *out)
{
    while (units->name && (value < units->factor || value % units->factor))
        units++;
    if (units->name)
        (void)fprintf(out, "%" PRIu64 "%s", value / units->factor, units->name);
    else
        (void)fprintf(out, "%" PRIu64, value);
}

static const char *flag_name(const struct setting *setting, char ret[NAME_SIZE])
{
    (void)snprintf(ret, NAME_SIZE, "--%s", setting->id);
    for (char *p = ret; *p; p++)
        if (*p == '_')
            *p = '-';
    return ret;
}

static const char *variable_name(const struct setting *setting, char ret[NAME_SIZE])
{
    (void)snprintf(ret, NAME_SIZE, "H5PT_%s", setting->id);
    for (char *p = ret; *p; p++)
        *p = (char)toupper((unsigned char)*p);
    return ret;
}

static void *field(struct config *config, const struct setting *setting)
{
    return (char *)config + setting->offset;
}

static bool is_text(const struct setting *setting)
{
    return setting->type == TYPE_TEXT || setting->type == TYPE_CHOICE;
}

static bool in_choices(const char *choices, const char *value)
{
    size_t length = strlen(value);
    for (const char *p = choices; length; p++) {
        size_t n = strcspn(p, "|");
        if (n == length && memcmp(p, value, n) == 0)
            return true;
        p += n;
        if (!*p)
            return false;
    }
    return false;
}

static int set_text(struct config *config, const struct setting *setting, const char *where, const char *value,
                    struct h5pt_error *err)
{
    if (setting->type == TYPE_CHOICE && !in_choices(setting->argument, value))
        return h5pt_fail(err, H5PT_USAGE, where, "%s is \"%s\", but must be one of %s", where, value,
                         setting->argument);
    char *copy = strdup(value);
    if (!copy)
        return h5pt_fail_memory(err);
    char **text = field(config, setting);
    free(*text);
    *text = copy;
    return 0;
}

/* Sets one value; `where` is the flag or variable that it comes from. */
static int set(struct config *config, const struct setting *setting, const char *where, const char *value,
               struct h5pt_error *err)
{
    static const char *const what[] = {[TYPE_COUNT] = "a number",
                                       [TYPE_SIZE] = "a size such as 512MiB",
                                       [TYPE_DURATION] = "a time such as 90s, 10min or 24h"};
    if (is_text(setting))
        return set_text(config, setting, where, value, err);
    uint64_t number;
    if (!parse_quantity(value, units_of(setting->type), &number))
        return h5pt_fail(err, H5PT_USAGE, where, "%s is \"%s\", but must be %s", where, value, what[setting->type]);
    if (number < setting->min || number > setting->max)
        return h5pt_fail(err, H5PT_USAGE, where, "%s is \"%s\", which is outside of the range %" PRIu64 " to %" PRIu64,
                         where, value, setting->min, setting->max);
    *(uint64_t *)field(config, setting) = number;
    return 0;
}

static int set_defaults(struct config *config, struct h5pt_error *err)
{
    for (size_t i = 0; i < SETTING_COUNT; i++)
        if (set(config, &settings[i], settings[i].id, settings[i].preset, err))
            return -1;
    return 0;
}

static int read_environment(struct config *config, char *const *environment, struct h5pt_error *err)
{
    for (char *const *variable = environment; *variable; variable++) {
        const char *equals = strchr(*variable, '=');
        if (strncmp(*variable, "H5PT_", 5) != 0 || !equals)
            continue;
        char name[NAME_SIZE];
        (void)snprintf(name, sizeof name, "%.*s", (int)(equals - *variable), *variable);
        size_t i = 0;
        for (char known[NAME_SIZE]; i < SETTING_COUNT; i++)
            if (strcmp(variable_name(&settings[i], known), name) == 0)
                break;
        if (i == SETTING_COUNT)
            return h5pt_fail(err, H5PT_USAGE, name, "The environment variable %s is not known; see h5ptd --help", name);
        if (set(config, &settings[i], name, equals + 1, err))
            return -1;
    }
    return 0;
}

static const struct action *find_action(const char *flag)
{
    const size_t length = strcspn(flag, "=");
    for (size_t i = 0; i < ACTION_COUNT; i++) {
        const size_t whole = strlen(actions[i].flag);
        if (strncmp(actions[i].flag, flag, whole) == 0 && (!flag[whole] || (actions[i].operand && length == whole)))
            return &actions[i];
    }
    return NULL;
}

/* The value of the option at argv[*arg], which is of `length` without it: behind '=', or the next argument. */
static const char *value_of(char *const *argv, int *arg, size_t length, const char *argument, struct h5pt_error *err)
{
    const char *value = argv[*arg][length] ? argv[*arg] + length + 1 : argv[++*arg];
    if (!value)
        h5pt_fail(err, H5PT_USAGE, argv[*arg - 1], "The option %s needs a value: %s", argv[*arg - 1], argument);
    return value;
}

static int read_flags(struct config *config, int argc, char *const *argv, enum config_action *ret_action,
                      const char **ret_operand, struct h5pt_error *err)
{
    for (int arg = 1; arg < argc; arg++) {
        const struct action *action = find_action(argv[arg]);
        const size_t length = strcspn(argv[arg], "=");
        if (action) {
            *ret_action = action->action;
            if (action->operand && !(*ret_operand = value_of(argv, &arg, length, action->operand, err)))
                return -1;
            continue;
        }
        char name[NAME_SIZE], known[NAME_SIZE];
        (void)snprintf(name, sizeof name, "%.*s", (int)(length < NAME_SIZE ? length : NAME_SIZE - 1), argv[arg]);
        size_t i = 0;
        while (i < SETTING_COUNT && strcmp(flag_name(&settings[i], known), name) != 0)
            i++;
        if (i == SETTING_COUNT)
            return h5pt_fail(err, H5PT_USAGE, name, "The option %s is not known; see h5ptd --help", name);
        const char *value = value_of(argv, &arg, length, settings[i].argument, err);
        if (!value || set(config, &settings[i], name, value, err))
            return -1;
    }
    return 0;
}

/* Whether the settings matter: what is only looked up is told without a home directory, too. */
static bool uses_settings(enum config_action action)
{
    return action == CONFIG_RUN || action == CONFIG_CHECK || action == CONFIG_PRINT_CONFIG;
}

/* Settings whose default depends on where the daemon runs. */
static int fill_in(struct config *config, struct h5pt_error *err)
{
    if (config->workers == 0)
        config->workers = cpus_available();
    if (*config->data_dir)
        return 0;
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    char *dir = NULL;
    int n = -1;
    if (geteuid() == 0)
        n = asprintf(&dir, "/var/lib/h5pt");
    else if (state && *state)
        n = asprintf(&dir, "%s/h5pt", state);
    else if (home && *home)
        n = asprintf(&dir, "%s/.local/state/h5pt", home);
    else
        return h5pt_fail(err, H5PT_USAGE, "--data-dir", "There is no home directory; name a directory with --data-dir");
    if (n < 0)
        return h5pt_fail_memory(err);
    free(config->data_dir);
    config->data_dir = dir;
    return 0;
}

int config_load(int argc, char *const *argv, char *const *environment, struct config *ret,
                enum config_action *ret_action, const char **ret_operand, struct h5pt_error *err)
{
    struct config config = {0};
    enum config_action action = CONFIG_RUN;
    const char *operand = NULL;
    if (set_defaults(&config, err) || read_environment(&config, environment, err) ||
        read_flags(&config, argc, argv, &action, &operand, err) || (uses_settings(action) && fill_in(&config, err))) {
        config_release(&config);
        return -1;
    }
    *ret = config;
    *ret_action = action;
    *ret_operand = operand;
    return 0;
}

void config_release(struct config *config)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        if (!is_text(&settings[i]))
            continue;
        char **text = field(config, &settings[i]);
        free(*text);
        *text = NULL;
    }
}

void config_print_help(FILE *out)
{
    (void)fprintf(out,
                  "usage: h5ptd [OPTION VALUE]...\n\nThe h5pt service: converts Keras models to PyTorch over HTTP.\n"
                  "Each option can be set in the environment too: --max-upload as H5PT_MAX_UPLOAD.\n\n");
    char name[NAME_SIZE];
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        (void)fprintf(out, "  %s %s\n        %s", flag_name(&settings[i], name), settings[i].argument,
                      settings[i].help);
        (void)fprintf(out, "%s%s%s\n", *settings[i].preset ? " (" : "", settings[i].preset,
                      *settings[i].preset ? ")" : "");
    }
    for (size_t i = 0; i < ACTION_COUNT; i++)
        (void)fprintf(out, "  %s%s%s\n        %s\n", actions[i].flag, actions[i].operand ? " " : "",
                      actions[i].operand ? actions[i].operand : "", actions[i].help);
}

void config_print(const struct config *config, FILE *out)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        char name[NAME_SIZE];
        const void *value = (const char *)config + settings[i].offset;
        (void)fprintf(out, "%s=", variable_name(&settings[i], name));
        if (is_text(&settings[i]))
            (void)fprintf(out, "%s", *(char *const *)value);
        else
            print_quantity(*(const uint64_t *)value, units_of(settings[i].type), out);
        (void)fputc('\n', out);
    }
}
