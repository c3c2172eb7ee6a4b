# Micro benchmark of the executor over arrays in memory (prints a table; not a test).
add_executable(bench_exec ${CMAKE_SOURCE_DIR}/tests/query/bench_exec.c)
target_link_libraries(bench_exec PRIVATE tl_query)
