# What each build tree tests. Release: everything. ASan: everything but the longer end-to-end runs
# (the names begin with asan/, so that one ctest over several trees tells them apart). TSan: what
# has threads. The target `tests_of_this_tree` builds exactly what the tree's tests run.
set(TALLY_TEST_PREFIX "")
if(TALLY_ASAN)
    set(TALLY_TEST_PREFIX "asan/")
elseif(TALLY_TSAN)
    set(TALLY_TEST_PREFIX "tsan/")
endif()
set(TALLY_THREADED_TESTS
    base/test_thread query/test_exec storage/test_cache storage/test_io storage/test_log storage/test_segment)
# Of engine and wire, where most have some: these have none, and simulate for long.
set(TALLY_LONELY_TESTS engine/test_merge_policy)
add_custom_target(tests_of_this_tree)

# tests/unit/<floor>/test_<noun>.c is one cmocka program each, linked against that floor.
foreach(floor base storage query engine wire tools)
    file(GLOB unit_tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/unit/${floor}/test_*.c)
    foreach(source ${unit_tests})
        get_filename_component(noun ${source} NAME_WE)
        if(TALLY_TSAN AND NOT floor MATCHES "engine|wire"
                AND NOT "${floor}/${noun}" IN_LIST TALLY_THREADED_TESTS)
            continue()
        endif()
        if(TALLY_TSAN AND "${floor}/${noun}" IN_LIST TALLY_LONELY_TESTS)
            continue()
        endif()
        set(target ${noun}_${floor})
        add_executable(${target} ${source})
        add_dependencies(tests_of_this_tree ${target})
        target_link_libraries(${target} PRIVATE tl_${floor} PkgConfig::CMOCKA)
        if(floor STREQUAL engine)
            target_link_libraries(${target} PRIVATE tl_fixture)
        endif()
        set(name ${TALLY_TEST_PREFIX}unit/${floor}/${noun})
        add_test(NAME ${name} COMMAND ${target})
        set_tests_properties(${name} PROPERTIES LABELS unit TIMEOUT 600
            WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    endforeach()
endforeach()

# Tests of the whole engine: crashes, a model, and what they share. Their long forms are campaigns.
add_library(tl_fixture STATIC EXCLUDE_FROM_ALL ${CMAKE_SOURCE_DIR}/tests/fixture/events.c)
target_link_libraries(tl_fixture PUBLIC tl_engine PkgConfig::CMOCKA)
foreach(noun crash model tenant)
    if(TALLY_TSAN AND noun STREQUAL tenant) # asks on one thread
        continue()
    endif()
    add_executable(test_${noun} ${CMAKE_SOURCE_DIR}/tests/${noun}/test_${noun}.c)
    target_link_libraries(test_${noun} PRIVATE tl_fixture)
    add_dependencies(tests_of_this_tree test_${noun})
    add_test(NAME ${TALLY_TEST_PREFIX}${noun} COMMAND test_${noun})
    set_tests_properties(${TALLY_TEST_PREFIX}${noun} PROPERTIES LABELS unit TIMEOUT 600)
endforeach()

if(TALLY_TSAN)
    return()
endif()
add_dependencies(tests_of_this_tree tally tallyd)

# The command line on real input; DuckDB's answers beside ours.
find_program(PYTHON3 python3 REQUIRED)
if(NOT TALLY_ASAN)
    add_test(NAME e2e/import
        COMMAND ${PYTHON3} ${CMAKE_SOURCE_DIR}/tests/e2e/test_import.py ${CMAKE_BINARY_DIR})
    set_tests_properties(e2e/import PROPERTIES LABELS e2e TIMEOUT 600 SKIP_RETURN_CODE 77)
endif()

# Random questions of Tally and of DuckDB; the long form is a campaign.
if(NOT TALLY_ASAN)
    add_test(NAME differential
        COMMAND /usr/bin/python3 ${CMAKE_SOURCE_DIR}/tests/differential/run.py --queries 20000)
    set_tests_properties(differential PROPERTIES LABELS e2e TIMEOUT 1200 SKIP_RETURN_CODE 77
        ENVIRONMENT "TALLY_BUILD=${CMAKE_BINARY_DIR}")
endif()

# End to end: real clients of other languages against a real tallyd of this build.
foreach(e2e IN ITEMS "grpcio:/usr/bin/python3 ${CMAKE_SOURCE_DIR}/tests/e2e/test_grpcio.py"
                     "postgres:/usr/bin/python3 ${CMAKE_SOURCE_DIR}/tests/e2e/test_postgres.py"
                     "catalog:/usr/bin/python3 ${CMAKE_SOURCE_DIR}/tests/e2e/test_catalog.py"
                     "clients:/usr/bin/python3 ${CMAKE_SOURCE_DIR}/tests/e2e/test_clients.py"
                     "tokens:/usr/bin/python3 ${CMAKE_SOURCE_DIR}/tests/e2e/test_tokens.py"
                     "kill:/usr/bin/python3 ${CMAKE_SOURCE_DIR}/tests/e2e/test_kill.py"
                     "grpcjs:${CMAKE_SOURCE_DIR}/tests/e2e/run_grpcjs")
    string(REGEX MATCH "^[a-z]+" name ${e2e})
    if(TALLY_ASAN AND NOT name MATCHES "^(grpcio|postgres)$")
        continue()
    endif()
    string(REGEX REPLACE "^[a-z]+:" "" command ${e2e})
    separate_arguments(command)
    set(name ${TALLY_TEST_PREFIX}e2e/${name})
    add_test(NAME ${name} COMMAND ${command})
    set_tests_properties(${name} PROPERTIES LABELS e2e TIMEOUT 300
        ENVIRONMENT "TALLY_BUILD=${CMAKE_BINARY_DIR}")
endforeach()

# The generator into a server that is killed meanwhile; the demo.
if(NOT TALLY_ASAN)
    add_test(NAME e2e/generate
        COMMAND ${PYTHON3} ${CMAKE_SOURCE_DIR}/tests/e2e/test_generate.py ${CMAKE_BINARY_DIR})
    set_tests_properties(e2e/generate PROPERTIES LABELS e2e TIMEOUT 600)
endif()

# The style's checks (tools/check --help), once, over the release build.
if(NOT TALLY_ASAN AND CMAKE_C_COMPILER_ID STREQUAL GNU)
    foreach(check format floors includes calls files places symbols headers cppcheck tidy)
        add_test(NAME check/${check}
            COMMAND ${CMAKE_SOURCE_DIR}/tools/check --build ${CMAKE_BINARY_DIR} ${check})
        set_tests_properties(check/${check} PROPERTIES LABELS check TIMEOUT 1200)
    endforeach()
    set_tests_properties(check/headers check/cppcheck check/tidy PROPERTIES PROCESSORS 2)
endif()
