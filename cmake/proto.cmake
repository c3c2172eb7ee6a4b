# Control messages: C code generated from wire/proto/*.proto by protoc-c, kept out of the style's
# warnings; and the descriptors that server reflection answers with.
file(GLOB TALLY_PROTOS CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/wire/proto/*.proto)
