/* SPDX-License-Identifier: Apache-2.0 */
#include "torch/names.h"

#include <ctype.h>
#include <string.h>

#include "base/words.h"

/* What a module's attribute must not be called: Python's keywords, and what nn.Module has itself. */
static const char reserved_names[] =
    "False None True and as assert async await break class continue def del elif else except finally for from global "
    "if "
    "import in is lambda nonlocal not or pass raise return try while with yield self torch nn F load x "
    "T_destination add_module apply bfloat16 buffers call_super_init children compile cpu cuda double dump_patches "
    "eval "
    "extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu load_state_dict modules "
    "mtia "
    "named_buffers named_children named_modules named_parameters parameters register_backward_hook register_buffer "
    "register_forward_hook register_forward_pre_hook register_full_backward_hook register_full_backward_pre_hook "
    "register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module register_parameter "
    "register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule "
    "share_memory "
    "state_dict to to_empty train training type xpu zero_grad";

char *torch_identifier(struct arena *arena, const char *text)
{
    char *name = arena_printf(arena, "%s%s", isdigit((unsigned char)*text) || !*text ? "layer_" : "", text);
    if (!name)
        return NULL;
    for (char *p = name; *p; p++)
        if (!isalnum((unsigned char)*p) || (unsigned char)*p > 127)
            *p = '_';
    /* A leading underscore would be taken for private. */
    size_t skip = strspn(name, "_");
    return name[skip] ? name + skip : arena_strdup(arena, "layer");
}

bool torch_name_reserved(const char *name)
{
    return word_index(reserved_names, name) >= 0;
}
