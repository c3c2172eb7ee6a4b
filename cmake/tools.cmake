# tallyd (the server) and tally (the operator's command line).

# Micro benchmark of the encodings (prints a table; not installed).
add_executable(bench_encoding tools/bench_encoding.c)
target_link_libraries(bench_encoding PRIVATE tl_storage)
