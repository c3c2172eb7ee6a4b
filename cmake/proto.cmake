# Control messages: C code generated from wire/proto/tally.proto by protoc-c, kept out of the
# style's warnings; and the descriptors that server reflection answers with.
#
# protoc-c reads `string` as char *, which a NUL within cuts short without a word: the generated C
# sees a copy of the file in which every string is bytes. The two are the same on the wire.
find_program(PROTOC_C protoc-c REQUIRED)
find_program(PROTOC protoc REQUIRED)
file(GLOB TALLY_PROTOS CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/wire/proto/*.proto)

set(PROTO_DIR ${CMAKE_BINARY_DIR}/proto)
file(MAKE_DIRECTORY ${PROTO_DIR})
add_custom_command(OUTPUT ${PROTO_DIR}/tally.pb-c.c ${PROTO_DIR}/tally.pb-c.h
    COMMAND sed -E "s/(^|[^a-z_])string ([a-z_]+ = [0-9])/\\1bytes \\2/"
            ${CMAKE_SOURCE_DIR}/wire/proto/tally.proto > ${PROTO_DIR}/tally.proto
    COMMAND ${PROTOC_C} --c_out=${PROTO_DIR} -I${PROTO_DIR} ${PROTO_DIR}/tally.proto
    DEPENDS ${CMAKE_SOURCE_DIR}/wire/proto/tally.proto VERBATIM
    COMMENT "Generating the control messages")
add_library(tally_proto STATIC ${PROTO_DIR}/tally.pb-c.c)
target_compile_options(tally_proto PRIVATE -w -fvisibility=hidden)
target_include_directories(tally_proto SYSTEM PUBLIC ${PROTO_DIR})
target_link_libraries(tally_proto PUBLIC PkgConfig::PROTOBUFC)

add_custom_command(OUTPUT ${PROTO_DIR}/descriptors.c
    COMMAND ${PROTOC} --descriptor_set_out=${PROTO_DIR}/descriptors.bin --include_imports
            -I${CMAKE_SOURCE_DIR}/wire/proto ${TALLY_PROTOS}
    COMMAND ${CMAKE_COMMAND} -DINPUT=${PROTO_DIR}/descriptors.bin -DOUTPUT=${PROTO_DIR}/descriptors.c
            -DNAME=tl_descriptors -P ${CMAKE_SOURCE_DIR}/cmake/embed.cmake
    DEPENDS ${TALLY_PROTOS} ${CMAKE_SOURCE_DIR}/cmake/embed.cmake VERBATIM
    COMMENT "Embedding the descriptors")
target_sources(tl_wire PRIVATE ${PROTO_DIR}/descriptors.c)
target_link_libraries(tl_wire PUBLIC tally_proto http_parser)
