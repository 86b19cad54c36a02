# SPDX-License-Identifier: Apache-2.0
# h5pt_compiler: the language, warnings, hardening and sanitizers that every target is built with.

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Release or Debug" FORCE)
endif()
# Assertions stay on in a release: a broken invariant must end the process, not give wrong numbers.
set(CMAKE_C_FLAGS_RELEASE "-O3 -g") # -O2 of gcc 12 leaves the loops of the parity check scalar
set(CMAKE_C_FLAGS_DEBUG "-Og -g3")

set(H5PT_SANITIZE "" CACHE STRING "Value of -fsanitize=, for example address,undefined or thread; empty for none")
option(H5PT_WERROR "Treat warnings as errors" ON)

add_library(h5pt_compiler INTERFACE)
target_compile_definitions(h5pt_compiler INTERFACE
    _GNU_SOURCE
    H5PT_VERSION="${PROJECT_VERSION}")
target_compile_options(h5pt_compiler INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wformat=2 -Wvla
    $<$<BOOL:${H5PT_WERROR}>:-Werror>
    -fstack-protector-strong)

include(CheckCCompilerFlag)
foreach(flag -fstack-clash-protection -fcf-protection)
    string(MAKE_C_IDENTIFIER "H5PT_HAVE${flag}" have)
    check_c_compiler_flag(${flag} ${have})
    if(${have})
        target_compile_options(h5pt_compiler INTERFACE ${flag})
    endif()
endforeach()

include(CheckPIESupported)
check_pie_supported(LANGUAGES C)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
target_link_options(h5pt_compiler INTERFACE -Wl,-z,relro,-z,now,-z,noexecstack)

if(H5PT_SANITIZE)
    set(sanitize -fsanitize=${H5PT_SANITIZE} -fno-sanitize-recover=all)
    target_compile_options(h5pt_compiler INTERFACE ${sanitize} -fno-omit-frame-pointer)
    target_link_options(h5pt_compiler INTERFACE ${sanitize})
else()
    # Sanitizers replace the checked functions, and fortification needs an optimised build.
    target_compile_options(h5pt_compiler INTERFACE $<$<CONFIG:Release>:-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3>)
endif()
