# tallyd (the server) and tally (the operator's command line).

# Micro benchmark of the encodings (prints a table; not installed).
add_executable(bench_encoding tools/bench_encoding.c)
target_link_libraries(bench_encoding PRIVATE tl_storage)

add_executable(bench_cache tools/bench_cache.c)
target_link_libraries(bench_cache PRIVATE tl_storage m)

# What the command line and its tests share: everything in tools/ but the programs' mains.
add_library(tl_tools STATIC
    tools/batch_file.c
    tools/batch_writer.c
    tools/client.c
    tools/client_tls.c
    tools/cmd_admin.c
    tools/cmd_generate.c
    tools/cmd_import.c
    tools/cmd_query.c
    tools/cmd_token.c
    tools/command.c
    tools/door.c
    tools/generator.c
    tools/generator_data.c
    tools/generator_math.c
    tools/generator_out.c
    tools/generator_world.c
    tools/import_plan.c
    tools/input.c
    tools/output.c
    tools/parse_csv.c
    tools/parse_log.c
    tools/parse_ndjson.c
    tools/result.c
    tools/values.c)
target_link_libraries(tl_tools PUBLIC tl_wire PkgConfig::NGHTTP2 PkgConfig::ZLIB PkgConfig::ZSTD
    PkgConfig::XXHASH PkgConfig::JANSSON PkgConfig::OPENSSL)

add_executable(tally tools/tally.c)
target_link_libraries(tally PRIVATE tl_tools)
install(TARGETS tally RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})


add_executable(tallyd tools/tallyd.c tools/tallyd_config.c)
target_link_libraries(tallyd PRIVATE tl_wire PkgConfig::INIH)
install(TARGETS tallyd RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})

# The timed parts of tools/bench (not installed).
add_executable(tally-bench tools/bench.c tools/bench_load.c tools/load_conn.c)
target_link_libraries(tally-bench PRIVATE tl_tools)

# Micro benchmark of packs: flush, merge, scan, look-ups (prints a table; not installed).
add_executable(bench_segment tools/bench_segment.c)
target_link_libraries(bench_segment PRIVATE tl_tools)

# Micro benchmark of indexes that are not kept: what they would cost and save (not installed).
add_executable(bench_index tools/bench_index.c)
target_link_libraries(bench_index PRIVATE tl_tools)

# Appends encoded batches in process and prints CPU time by thread (not installed).
add_executable(bench_append tools/bench_append.c)
target_link_libraries(bench_append PRIVATE tl_tools)

# How long reads and durable writes wait beside flushes, merges and changes of schema (not installed).
add_executable(bench_pauses tools/bench_pauses.c)
target_link_libraries(bench_pauses PRIVATE tl_tools)
