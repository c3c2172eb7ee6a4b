# fuzz/fuzz_<noun>.c is one libFuzzer program each, over all floors; fuzz/corpus/<noun>/ holds what
# it starts from, where there is such a folder. Each is a test, too: what is kept in the corpus, and
# then TALLY_FUZZ_SECONDS of new inputs, which go into the build tree (tools/campaign runs longer).
set(TALLY_FUZZ_SECONDS 5 CACHE STRING "seconds that each fuzz test looks for new inputs")
file(GLOB fuzz_targets CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/fuzz/fuzz_*.c)
foreach(source ${fuzz_targets})
    get_filename_component(target ${source} NAME_WE)
    add_executable(${target} ${source})
    target_link_libraries(${target} PRIVATE tl_base tl_storage tl_query tl_engine tl_wire)
    target_link_options(${target} PRIVATE -fsanitize=fuzzer)
    string(REGEX REPLACE "^fuzz_" "" noun ${target})
    set(folders ${CMAKE_BINARY_DIR}/found/${noun})
    file(MAKE_DIRECTORY ${folders})
    if(IS_DIRECTORY ${CMAKE_SOURCE_DIR}/fuzz/corpus/${noun})
        list(APPEND folders ${CMAKE_SOURCE_DIR}/fuzz/corpus/${noun})
    endif()
    add_test(NAME fuzz/${noun} COMMAND ${target} -max_total_time=${TALLY_FUZZ_SECONDS} -timeout=20
        -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0
        -artifact_prefix=${CMAKE_BINARY_DIR}/found/${noun}- ${folders})
    set_tests_properties(fuzz/${noun} PROPERTIES LABELS fuzz TIMEOUT 300)
endforeach()
