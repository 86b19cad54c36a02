/* SPDX-License-Identifier: Apache-2.0 */
#include "problem.h"

#include "text.h"

json_t *problem_new(const struct h5pt_error *err)
{
    const char *code = h5pt_code_name(err->code);
    return json_pack("{s:s+, s:s, s:i, s:o, s:s, s:o*}", "type", "urn:h5pt:error:", code, "title",
                     h5pt_code_title(err->code), "status", h5pt_code_http(err->code), "detail", text_json(err->message),
                     "code", code, "where", *err->where ? text_json(err->where) : NULL);
}
