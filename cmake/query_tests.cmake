# Micro benchmark of the executor over arrays in memory (prints a table; not a test).
add_executable(bench_exec ${CMAKE_SOURCE_DIR}/tests/query/bench_exec.c)
target_link_libraries(bench_exec PRIVATE tl_query)

if(TALLY_TSAN)
    return() # one thread
endif()

# tests/sql/<name>.test: statements and their answers.
add_executable(run_sql ${CMAKE_SOURCE_DIR}/tests/sql/run_sql.c)
target_link_libraries(run_sql PRIVATE tl_query)
add_dependencies(tests_of_this_tree run_sql)
file(GLOB sql_tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/sql/*.test)
foreach(file ${sql_tests})
    get_filename_component(name ${file} NAME_WE)
    set(test ${TALLY_TEST_PREFIX}sql/${name})
    add_test(NAME ${test} COMMAND run_sql tests/sql/${name}.test)
    set_tests_properties(${test} PROPERTIES LABELS sql TIMEOUT 300 WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
endforeach()
