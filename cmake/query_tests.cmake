# Micro benchmark of the executor over arrays in memory (prints a table; not a test).
add_executable(bench_exec ${CMAKE_SOURCE_DIR}/tests/query/bench_exec.c)
target_link_libraries(bench_exec PRIVATE tl_query)

# tests/sql/<name>.test: statements and their answers.
add_executable(run_sql ${CMAKE_SOURCE_DIR}/tests/sql/run_sql.c)
target_link_libraries(run_sql PRIVATE tl_query)
file(GLOB sql_tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/sql/*.test)
foreach(file ${sql_tests})
    get_filename_component(name ${file} NAME_WE)
    add_test(NAME sql/${name} COMMAND run_sql tests/sql/${name}.test)
    set_tests_properties(sql/${name} PROPERTIES LABELS unit WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
endforeach()
