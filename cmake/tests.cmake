# tests/unit/<floor>/test_<noun>.c is one cmocka program each, linked against that floor.
foreach(floor base storage query engine wire tools)
    file(GLOB unit_tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/unit/${floor}/test_*.c)
    foreach(source ${unit_tests})
        get_filename_component(noun ${source} NAME_WE)
        set(target ${noun}_${floor})
        add_executable(${target} ${source})
        target_link_libraries(${target} PRIVATE tl_${floor} PkgConfig::CMOCKA)
        add_test(NAME unit/${floor}/${noun} COMMAND ${target})
        set_tests_properties(unit/${floor}/${noun} PROPERTIES LABELS unit
            WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    endforeach()
endforeach()
