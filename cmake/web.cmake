# SPDX-License-Identifier: Apache-2.0
# The web page of the daemon: server/web/ is bundled in the build folder (web/) and put into the program. Sets web_sources and
# web_folder.

option(H5PT_WEB "Build the web page into h5ptd; needs node and npm" ON)

set(web_folder ${PROJECT_BINARY_DIR}/web)

if(H5PT_WEB)
    find_program(H5PT_NODE NAMES node nodejs)
    find_program(H5PT_NPM npm)
    if(NOT H5PT_NODE OR NOT H5PT_NPM)
        message(FATAL_ERROR "The web page needs node (18 or later) and npm: scripts/install-deps web; or configure with -DH5PT_WEB=OFF")
    endif()
    set(web_source_folder ${PROJECT_SOURCE_DIR}/server/web)
    file(GLOB web_inputs CONFIGURE_DEPENDS ${web_source_folder}/src/*)
    # What only the tests need is left out of other builds.
    set(web_omit $<$<NOT:$<BOOL:${BUILD_TESTING}>>:--omit=dev>)
    add_custom_command(OUTPUT ${web_folder}/installed-${BUILD_TESTING}
        COMMAND ${CMAKE_COMMAND} -E make_directory ${web_folder}
        COMMAND ${CMAKE_COMMAND} -E copy package.json package-lock.json .npmrc tsconfig.json ${web_folder}
        COMMAND ${CMAKE_COMMAND} -E create_symlink ${web_source_folder}/src ${web_folder}/src
        COMMAND ${CMAKE_COMMAND} -E chdir ${web_folder} ${H5PT_NPM} ci --ignore-scripts --no-audit --no-fund --loglevel=error ${web_omit}
        COMMAND ${CMAKE_COMMAND} -E touch ${web_folder}/installed-${BUILD_TESTING}
        DEPENDS ${web_source_folder}/package.json ${web_source_folder}/package-lock.json ${web_source_folder}/.npmrc
                ${web_source_folder}/tsconfig.json
        WORKING_DIRECTORY ${web_source_folder}
        COMMENT "Installing the packages of the web page"
        COMMAND_EXPAND_LISTS VERBATIM)
    set(web_sources ${web_folder}/out/assets.c)
    add_custom_command(OUTPUT ${web_sources}
        COMMAND ${H5PT_NODE} ${web_source_folder}/build.mjs ${web_folder} ${web_folder}/out
        DEPENDS ${web_folder}/installed-${BUILD_TESTING} ${web_source_folder}/build.mjs ${web_inputs}
        COMMENT "Bundling the web page"
        VERBATIM)
else()
    set(web_sources ${web_folder}/none.c)
    file(CONFIGURE OUTPUT ${web_sources} CONTENT [[
#include "web/web.h"
const struct web_file web_files[1];
const size_t web_file_count = 0;
]])
endif()
