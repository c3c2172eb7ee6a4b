# cmake --install: the programs (cmake/tools.cmake), the public header with what it includes, one
# archive of the floors up to engine, and a pkg-config file.
set(TALLY_ARCHIVE ${CMAKE_BINARY_DIR}/libtally.a)
set(script ${CMAKE_BINARY_DIR}/libtally.mri)
file(GENERATE OUTPUT ${script} CONTENT "create ${TALLY_ARCHIVE}
addlib $<TARGET_FILE:tl_base>
addlib $<TARGET_FILE:tl_storage>
addlib $<TARGET_FILE:tl_query>
addlib $<TARGET_FILE:tl_engine>
addlib $<TARGET_FILE:pg_query>
save
end
")
add_custom_command(OUTPUT ${TALLY_ARCHIVE}
    COMMAND ${CMAKE_AR} -M < ${script}
    DEPENDS tl_base tl_storage tl_query tl_engine pg_query ${script}
    COMMENT "Putting the floors into libtally.a")
add_custom_target(libtally ALL DEPENDS ${TALLY_ARCHIVE})

install(FILES ${TALLY_ARCHIVE} DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES engine/tally.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/tally/engine)
install(FILES base/arena.h base/bytes.h base/int128.h base/status.h base/vector.h
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/tally/base)
install(FILES query/catalog.h query/plan.h query/source.h query/utility.h
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/tally/query)
configure_file(cmake/tally.pc.in tally.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/tally.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# The example of docs/ builds against the installed package, and runs.
if(NOT (TALLY_ASAN OR TALLY_TSAN OR TALLY_FUZZ))
    add_test(NAME install/example
        COMMAND ${CMAKE_SOURCE_DIR}/tests/install/run ${CMAKE_BINARY_DIR} ${CMAKE_C_COMPILER})
    set_tests_properties(install/example PROPERTIES LABELS e2e TIMEOUT 120)
endif()
