# libpg_query exports PostgreSQL's own names (palloc, lappend, errmsg …) and a bundled protobuf-c
# without versions. Its archive is therefore linked into one relocatable object whose only global
# names are pg_query_*; nothing of ours can be called from inside it, or the other way round.
find_library(PG_QUERY_ARCHIVE NAMES libpg_query.a REQUIRED)
find_path(PG_QUERY_INCLUDE pg_query.h REQUIRED)
set(PG_QUERY_OBJECT ${CMAKE_BINARY_DIR}/pg_query_isolated.o)
add_custom_command(OUTPUT ${PG_QUERY_OBJECT}
    COMMAND ${CMAKE_LINKER} -r --whole-archive ${PG_QUERY_ARCHIVE} -o ${PG_QUERY_OBJECT}.tmp
    COMMAND ${CMAKE_OBJCOPY} --wildcard -G "pg_query_*" ${PG_QUERY_OBJECT}.tmp ${PG_QUERY_OBJECT}
    DEPENDS ${PG_QUERY_ARCHIVE} VERBATIM COMMENT "Isolating the symbols of libpg_query")
add_library(pg_query STATIC ${PG_QUERY_OBJECT})
set_target_properties(pg_query PROPERTIES LINKER_LANGUAGE C)
target_include_directories(pg_query SYSTEM INTERFACE ${PG_QUERY_INCLUDE})
target_link_libraries(tl_query PUBLIC pg_query)

# The grammar's nodes as C structs: PostgreSQL's own headers of the same major version. Only
# the parser (query/parse*.c, query/utility.c) includes them.
find_path(PG_SERVER_INCLUDE postgres.h
    HINTS /usr/include/postgresql/15/server /usr/pgsql-15/include/server REQUIRED)
set_source_files_properties(${CMAKE_SOURCE_DIR}/query/parse.c
    ${CMAKE_SOURCE_DIR}/query/parse_select.c ${CMAKE_SOURCE_DIR}/query/parse_text.c
    ${CMAKE_SOURCE_DIR}/query/parse_expr.c ${CMAKE_SOURCE_DIR}/query/parse_named.c
    ${CMAKE_SOURCE_DIR}/query/utility.c PROPERTIES
    COMPILE_OPTIONS "-isystem;${PG_SERVER_INCLUDE}")
