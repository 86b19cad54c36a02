/* SPDX-License-Identifier: Apache-2.0 */
/* GET /openapi.yaml: api/openapi.yaml, which the assembler puts into the program. H5PT_OPENAPI_YAML is its path. */
#include "api/api.h"
#include "http/respond.h"

__asm__(".section .rodata\n"
        "openapi_start: .incbin \"" H5PT_OPENAPI_YAML "\"\n"
        "openapi_end: .byte 0\n"
        ".previous\n");

extern const char openapi_start[], openapi_end[];

enum MHD_Result api_openapi(struct request *request)
{
    return respond_text(request, "application/yaml", openapi_start, (size_t)(openapi_end - openapi_start));
}
