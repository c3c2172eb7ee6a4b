# fuzz/fuzz_<noun>.c is one libFuzzer program each, over all floors; fuzz/corpus/<noun>/ holds what
# it starts from, where there is such a folder.
file(GLOB fuzz_targets CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/fuzz/fuzz_*.c)
foreach(source ${fuzz_targets})
    get_filename_component(target ${source} NAME_WE)
    add_executable(${target} ${source})
    target_link_libraries(${target} PRIVATE tl_base tl_storage tl_query tl_engine tl_wire)
    target_link_options(${target} PRIVATE -fsanitize=fuzzer)
endforeach()
