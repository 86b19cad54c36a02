/* SPDX-License-Identifier: Apache-2.0 */
/* Names of slots: the authors' own where all blocks of a class agree on them, otherwise after what stands there. */
#include <ctype.h>
#include <string.h>

#include "structure/internal.h"
#include "torch/names.h"

/* ---- pieces of names ---- */

/* "1_conv" → "conv_1", since an attribute cannot begin with a digit; "1" → "layer_1". */
static const char *attribute_name(struct search *s, const char *text)
{
    enum { LONGEST = 48 }; /* longer ones leave no room in a line */
    if (strlen(text) > LONGEST)
        text = arena_printf(s->arena, "%.*s", LONGEST, text);
    if (!text)
        return NULL;
    size_t digits = strspn(text, "0123456789");
    if (!digits || !text[digits])
        return torch_identifier(s->arena, text);
    const char *rest = text + digits + strspn(text + digits, "_");
    char *name = *rest ? arena_printf(s->arena, "%s_%.*s", rest, (int)digits, text) : NULL;
    return torch_identifier(s->arena, name ? name : text);
}

const char *name_lower_case(struct search *s, const char *text)
{
    char *name = arena_strdup(s->arena, text);
    for (char *c = name; c && *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return name;
}

const char *name_snake_case(struct search *s, const char *text)
{
    char *name = ARENA_ARRAY(s->arena, char, 2 * strlen(text) + 1);
    if (!name)
        return NULL;
    char *to = name;
    for (const char *c = text; *c; c++) {
        bool begins = isupper((unsigned char)*c) && c > text &&
                      (islower((unsigned char)c[-1]) || isdigit((unsigned char)c[-1]) ||
                       (islower((unsigned char)c[1]) && c[1]));
        if (begins)
            *to++ = '_';
        *to++ = (char)tolower((unsigned char)*c);
    }
    return name;
}

const char *name_camel_case(struct search *s, const char *text)
{
    char *name = ARENA_ARRAY(s->arena, char, strlen(text) + 1), *to = name;
    bool up = true;
    for (const char *c = text; name && *c; c++) {
        if (!isalnum((unsigned char)*c)) {
            up = true;
            continue;
        }
        *to = *c;
        if (up)
            *to = (char)toupper((unsigned char)*c);
        to++;
        up = false;
    }
    return name;
}

/* "nn.Conv2d" → "conv", "nn.BatchNorm2d" → "bn": what modules are called that have no name of their own. */
static const char *generic_name(struct search *s, const struct structure_item *item)
{
    if (item->block) {
        const char *name = item->block->class->name;
        return strncmp(name, "Conv", 4) == 0     ? "conv"
               : strncmp(name, "Linear", 6) == 0 ? "linear"
                                                 : name_snake_case(s, name);
    }
    const struct torch_op_info *info = torch_op_info(item->node->op);
    if (item->node->op == TORCH_PARAMETER)
        return "weight";
    if (!item->node->module)
        return name_lower_case(s, info->id);
    if (strncmp(info->module, "nn.BatchNorm", 12) == 0)
        return "bn";
    if (strncmp(info->module, "nn.LayerNorm", 12) == 0 || strncmp(info->module, "nn.GroupNorm", 12) == 0)
        return "norm";
    if (strstr(info->module, "Pool"))
        return "pool";
    char *name = arena_strdup(
        s->arena, name_lower_case(s, strncmp(info->module, "nn.", 3) == 0 ? info->module + 3 : info->module));
    size_t n = name ? strlen(name) : 0;
    if (n > 2 && name[n - 1] == 'd' && isdigit((unsigned char)name[n - 2]))
        name[n - 2] = '\0'; /* conv2d */
    else if (n > 2 && isdigit((unsigned char)name[n - 1]))
        name[n - 1] = '\0'; /* relu6 */
    return name;
}

/* ---- names of slots ---- */

const char *item_label(struct search *s, const struct structure_item *item)
{
    const struct torch_node *node = item->node;
    if (!node)
        return item->block->label;
    const char *name = node->module ? node->module : s->graph->values[node->output].hint;
    return name ? body_relative_name(s, name, node->call ? node->call->scope : NULL) : NULL;
}

/* What an item is called in the Keras model, relative to the block or nested model that it stands in; NULL: nothing. */
static const char *own_name(struct search *s, const struct structure_block *block, const struct structure_item *item)
{
    const char *name = item_label(s, item);
    if (!name)
        return NULL;
    if (block->class->scope || (block->label && !*block->label)) /* a nested model, or the model itself */
        return name;
    if (!block->label)
        return NULL;
    size_t n = strlen(block->label);
    if (strncmp(name, block->label, n) != 0 || (name[n] && name[n] != '_'))
        return NULL;
    return name[n] ? name + n + 1 : "";
}

const char *slot_agreed_name(struct search *s, const struct structure_class *class, int slot)
{
    const char *agreed = NULL;
    for (int i = 0; i < class->block_count; i++) {
        const struct structure_block *block = class->blocks[i];
        const struct structure_item *item = &block->items[slot];
        if (!item->node && !item->block)
            continue;
        const char *name = own_name(s, block, item);
        if (!name || !*name || (agreed && strcmp(agreed, name) != 0))
            return NULL;
        agreed = name;
    }
    return agreed;
}

const char *name_take(struct search *s, json_t *names, const char *wanted)
{
    for (int i = 1; wanted; i++) {
        const char *name = i == 1 ? wanted : arena_printf(s->arena, "%s_%d", wanted, i),
                   *key = name ? name_lower_case(s, name) : NULL;
        if (!key)
            break;
        if (torch_name_reserved(name) || json_object_get(names, key))
            continue;
        if (json_object_set_new_nocheck(names, key, json_true()) < 0)
            break;
        return name;
    }
    s->broken = true;
    return "x";
}

static const char *numbered(struct search *s, const struct structure_class *class, int slot)
{
    const char *generic = generic_name(s, &class->slots[slot].item);
    int before = 0, all = 0;
    for (int i = 0; i < class->slot_count && generic; i++) {
        const char *other = generic_name(s, &class->slots[i].item);
        if (!other || strcmp(other, generic) != 0)
            continue;
        all++;
        before += i < slot;
    }
    if (!generic)
        return NULL;
    return all == 1 ? generic : arena_printf(s->arena, "%s%d", generic, before + 1);
}

bool item_is_module(const struct structure_item *item)
{
    return item->block || item->node->module;
}

/* Whether two items are calls of the same module. */
static bool same_module(const struct structure_item *a, const struct structure_item *b)
{
    if (a->block && b->block)
        return a->block->instance == b->block->instance;
    return a->node && b->node && a->node->module && b->node->module && strcmp(a->node->module, b->node->module) == 0;
}

static void name_slots(struct search *s, struct structure_class *class)
{
    json_t *names = json_object();
    s->broken = s->broken || !names;
    for (int i = 0; i < class->argument_count && !s->broken; i++)
        if (class->arguments[i].kept)
            (void)name_take(s, names, class->arguments[i].name);
    for (int i = 0; i < class->option_count && !s->broken; i++)
        (void)name_take(s, names, class->options[i]);
    for (int i = 0; i < class->slot_count && !s->broken; i++) {
        struct structure_slot *slot = &class->slots[i];
        for (int k = 0; k < i && item_is_module(&slot->item) && !slot->name; k++)
            if (same_module(&class->slots[k].item, &slot->item))
                slot->name = class->slots[k].name;
        if (slot->name)
            continue;
        const char *name = slot_agreed_name(s, class, i);
        name = name ? attribute_name(s, name) : numbered(s, class, i);
        slot->name = item_is_module(&slot->item) && name ? name_take(s, names, name) : name;
        s->broken = s->broken || !slot->name;
    }
    json_decref(names);
}

/* ---- names of options ---- */

static bool adds(const struct structure_item *item)
{
    return item->node && item->node->op == TORCH_ADD;
}

/* Whether a slot behind adds what the optional slots make. */
static bool feeds_addition(const struct structure_class *class, int option)
{
    for (int i = 0; i < class->slot_count; i++)
        for (int k = 0; adds(&class->slots[i].item) && k < class->slots[i].input_count; k++)
            for (int n = 0; n < i; n++)
                if (class->slots[n].option == option && class->slots[n].output == class->slots[i].inputs[k])
                    return true;
    return false;
}

/* What the optional slots do, from what they hold. */
static const char *option_meaning(struct search *s, const struct structure_class *class, int option)
{
    bool conv = false, add = false, pad = false;
    int module = -1;
    for (int i = 0; i < class->slot_count; i++) {
        const struct structure_item *item = &class->slots[i].item;
        if (class->slots[i].option != option)
            continue;
        module = module < 0 && item_is_module(item) ? i : module;
        add = add || adds(item);
        pad = pad || (item->node && item->node->op == TORCH_PAD);
        conv = conv || (item->node && (item->node->op == TORCH_LINEAR ||
                                       (item->node->op >= TORCH_CONV1D && item->node->op <= TORCH_CONV3D)));
    }
    if (add)
        return "residual";
    if (conv && feeds_addition(class, option))
        return "projection";
    const char *name = module < 0 ? NULL : slot_agreed_name(s, class, module);
    name = module < 0 ? NULL : name ? attribute_name(s, name) : numbered(s, class, module);
    return name ? arena_printf(s->arena, "with_%s", name) : pad ? "padded" : "extra";
}

void cut_to_shared_words(char *common, const char *name)
{
    size_t n = 0;
    while (common[n] && common[n] == name[n])
        n++;
    if ((common[n] && common[n] != '_') || (name[n] && name[n] != '_'))
        while (n && common[n] != '_')
            n--;
    common[n] = '\0';
}

/* What the authors call all slots of an option: "expand" of expand, expand_BN, expand_relu; NULL: nothing. */
static const char *common_beginning(struct search *s, const struct structure_class *class, int option)
{
    char *common = NULL;
    int count = 0;
    for (int i = 0; i < class->slot_count; i++) {
        const struct structure_slot *slot = &class->slots[i];
        const char *name = slot->option == option && item_is_module(&slot->item) ? slot_agreed_name(s, class, i) : NULL;
        if (slot->option != option || !item_is_module(&slot->item))
            continue;
        if (!name || isdigit((unsigned char)*name))
            return NULL;
        count++;
        if (!common && !(common = arena_strdup(s->arena, name)))
            return NULL;
        cut_to_shared_words(common, name);
    }
    return count > 1 && common && *common ? arena_printf(s->arena, "with_%s", torch_identifier(s->arena, common))
                                          : NULL;
}

static void name_options(struct search *s, struct structure_class *class)
{
    class->options = ARENA_ARRAY(s->arena, const char *, (size_t) class->option_count + 1);
    if (!class->options) {
        s->broken = true;
        return;
    }
    json_t *names = json_object();
    s->broken = s->broken || !names;
    for (int i = 0; i < class->option_count && !s->broken; i++) {
        const char *meaning = option_meaning(s, class, i), *name = NULL;
        if (meaning && strcmp(meaning, "residual") != 0 && strcmp(meaning, "projection") != 0)
            name = common_beginning(s, class, i);
        class->options[i] = name_take(s, names, name ? name : meaning);
    }
    json_decref(names);
}

void name_everything(struct search *s, struct structure_class *root)
{
    static const char *const in_use[] = {"Tensor", "LSTMLoop", "GRULoop", "RNNLoop", "ConvLSTMLoop", "RecurrentLoop"};
    json_t *names = json_object();
    s->broken = s->broken || !names;
    if (!s->broken)
        (void)name_take(s, names, root->name);
    for (size_t i = 0; i < sizeof in_use / sizeof *in_use && !s->broken; i++)
        (void)name_take(s, names, in_use[i]);
    for (int i = 0; i < s->class_count && !s->broken; i++) {
        find_instances(s, s->classes[i]);
        if (s->classes[i] != root)
            name_class(s, names, s->classes[i]);
    }
    if (!s->broken)
        label_blocks(s);
    for (int i = 0; i < s->class_count && !s->broken; i++) {
        name_options(s, s->classes[i]);
        if (!s->broken)
            choose_arguments(s, s->classes[i]);
        if (!s->broken)
            name_slots(s, s->classes[i]);
    }
    json_decref(names);
    if (!s->broken)
        rename_graph(s, root->blocks[0]);
}
