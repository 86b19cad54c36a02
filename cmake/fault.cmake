# SPDX-License-Identifier: Apache-2.0
# H5PT_FAULT=NAME builds programs that are wrong on purpose, to see whether the parity check notices: one file of core/ is replaced by a
# copy with the fault of that name in tests/faults/faults.toml. Included before the targets: it edits the list of core's sources.

set(H5PT_FAULT "" CACHE STRING "A deliberate fault of tests/faults/faults.toml, to test the parity check; empty for none")

function(h5pt_inject sources)
    set(table ${PROJECT_SOURCE_DIR}/tests/faults/faults.toml)
    set(tool ${PROJECT_SOURCE_DIR}/tests/faults/fault_table.py)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${table} ${tool})
    find_package(Python3 3.11 REQUIRED COMPONENTS Interpreter)
    # Prints the path of the file that it wrote a faulty copy of; refuses a name that is not in the table.
    execute_process(
        COMMAND ${Python3_EXECUTABLE} -B ${tool} ${H5PT_FAULT} ${PROJECT_BINARY_DIR}/fault
        OUTPUT_VARIABLE file OUTPUT_STRIP_TRAILING_WHITESPACE
        ERROR_VARIABLE why
        RESULT_VARIABLE status)
    if(status)
        message(FATAL_ERROR "H5PT_FAULT=${H5PT_FAULT}: ${why}")
    endif()
    list(FIND ${sources} ${PROJECT_SOURCE_DIR}/${file} index)
    if(index EQUAL -1)
        message(FATAL_ERROR "H5PT_FAULT=${H5PT_FAULT}: ${file} is not a source of core")
    endif()
    list(REMOVE_AT ${sources} ${index})
    list(APPEND ${sources} ${PROJECT_BINARY_DIR}/fault/${file})
    set_source_files_properties(${PROJECT_BINARY_DIR}/fault/${file} PROPERTIES COMPILE_OPTIONS -w)
    # Every file that knows the version.
    set_source_files_properties(cli/main.c server/main.c core/capabilities.c PROPERTIES
        COMPILE_OPTIONS "-UH5PT_VERSION;-DH5PT_VERSION=\"${PROJECT_VERSION}+fault.${H5PT_FAULT}\"")
    message(WARNING "H5PT_FAULT=${H5PT_FAULT}: these programs compute wrong results on purpose")
    set(${sources} ${${sources}} PARENT_SCOPE)
endfunction()
