# tests/unit/<floor>/test_<noun>.c is one cmocka program each, linked against that floor.
foreach(floor base storage query engine wire tools)
    file(GLOB unit_tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/unit/${floor}/test_*.c)
    foreach(source ${unit_tests})
        get_filename_component(noun ${source} NAME_WE)
        set(target ${noun}_${floor})
        add_executable(${target} ${source})
        target_link_libraries(${target} PRIVATE tl_${floor} PkgConfig::CMOCKA)
        if(floor STREQUAL engine)
            target_link_libraries(${target} PRIVATE tl_fixture)
        endif()
        add_test(NAME unit/${floor}/${noun} COMMAND ${target})
        set_tests_properties(unit/${floor}/${noun} PROPERTIES LABELS unit
            WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    endforeach()
endforeach()

# Tests of the whole engine: crashes, a model, and what they share. Their long forms are campaigns.
add_library(tl_fixture STATIC EXCLUDE_FROM_ALL ${CMAKE_SOURCE_DIR}/tests/fixture/events.c)
target_link_libraries(tl_fixture PUBLIC tl_engine PkgConfig::CMOCKA)
foreach(noun crash model)
    add_executable(test_${noun} ${CMAKE_SOURCE_DIR}/tests/${noun}/test_${noun}.c)
    target_link_libraries(test_${noun} PRIVATE tl_fixture)
    add_test(NAME ${noun} COMMAND test_${noun})
    set_tests_properties(${noun} PROPERTIES LABELS unit TIMEOUT 600)
endforeach()

# The command line on real input; DuckDB's answers beside ours.
find_program(PYTHON3 python3 REQUIRED)
add_test(NAME e2e/import
    COMMAND ${PYTHON3} ${CMAKE_SOURCE_DIR}/tests/e2e/test_import.py ${CMAKE_BINARY_DIR})
set_tests_properties(e2e/import PROPERTIES LABELS e2e TIMEOUT 600)

# End to end: real clients of other languages against a real tallyd of this build.
foreach(e2e IN ITEMS "grpcio:/usr/bin/python3 ${CMAKE_SOURCE_DIR}/tests/e2e/test_grpcio.py"
                     "kill:/usr/bin/python3 ${CMAKE_SOURCE_DIR}/tests/e2e/test_kill.py"
                     "grpcjs:${CMAKE_SOURCE_DIR}/tests/e2e/run_grpcjs")
    string(REGEX MATCH "^[a-z]+" name ${e2e})
    string(REGEX REPLACE "^[a-z]+:" "" command ${e2e})
    separate_arguments(command)
    add_test(NAME e2e/${name} COMMAND ${command})
    set_tests_properties(e2e/${name} PROPERTIES LABELS e2e TIMEOUT 300
        ENVIRONMENT "TALLY_BUILD=${CMAKE_BINARY_DIR}")
endforeach()

# The generator into a server that is killed meanwhile; the demo.
add_test(NAME e2e/generate
    COMMAND ${PYTHON3} ${CMAKE_SOURCE_DIR}/tests/e2e/test_generate.py ${CMAKE_BINARY_DIR})
set_tests_properties(e2e/generate PROPERTIES LABELS e2e TIMEOUT 600)
