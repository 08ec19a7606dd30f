# libniwaki, shared and static, niwaki-run, and how they are installed: find_package(niwaki) and pkg-config. All of it is the install
# component "development", so that a wheel, which installs "python", has none of it.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# The static library is the core itself: hidden symbols, and the C API.
set_target_properties(niwaki_core PROPERTIES OUTPUT_NAME niwaki EXPORT_NAME static)
if(MSVC)
  set_target_properties(niwaki_core PROPERTIES OUTPUT_NAME niwaki_static)
endif()
target_include_directories(niwaki_core PUBLIC $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
add_library(niwaki::static ALIAS niwaki_core)

# The version of the binary interface, which stands in niwaki.h, is the number in the library's name.
file(STRINGS ${PROJECT_SOURCE_DIR}/include/niwaki/niwaki.h abi_line REGEX "define NIWAKI_ABI_VERSION")
string(REGEX MATCH "[0-9]+" NIWAKI_ABI_VERSION "${abi_line}")
add_library(niwaki_shared SHARED $<TARGET_OBJECTS:niwaki_core>)
add_library(niwaki::shared ALIAS niwaki_shared)
add_library(niwaki::niwaki ALIAS niwaki_shared)
set_target_properties(niwaki_shared PROPERTIES OUTPUT_NAME niwaki EXPORT_NAME shared VERSION ${PROJECT_VERSION}
                      SOVERSION ${NIWAKI_ABI_VERSION})
target_include_directories(niwaki_shared PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                           $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(niwaki_shared PRIVATE Threads::Threads)
if(WIN32)  # What niwaki.h exports from the DLL, and imports for those who link it. Untested.
  target_compile_definitions(niwaki_core PRIVATE NIWAKI_SHARED_BUILD)
  target_compile_definitions(niwaki_shared INTERFACE NIWAKI_SHARED)
endif()
if(NIWAKI_SANITIZE)
  target_link_options(niwaki_shared PRIVATE -fsanitize=${NIWAKI_SANITIZE})
endif()
if(UNIX AND NOT APPLE)
  # Hidden visibility leaves the templates of the standard library visible; the script exports the C API and nothing else.
  set(script ${CMAKE_CURRENT_LIST_DIR}/exports.map)
  target_link_options(niwaki_shared PRIVATE -Wl,--version-script=${script} -Wl,--gc-sections)
  set_target_properties(niwaki_shared PROPERTIES LINK_DEPENDS ${script})
endif()

file(GLOB run_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/csrc/tools/niwaki-run/*.cc)
add_executable(niwaki-run ${run_sources})
target_link_libraries(niwaki-run PRIVATE niwaki::static)
niwaki_compile_options(niwaki-run)
if(UNIX AND NOT APPLE)
  # A device may have another C++ library, or none.
  target_link_options(niwaki-run PRIVATE -static-libgcc -static-libstdc++ -Wl,--gc-sections $<$<BOOL:${NIWAKI_RUN_STATIC}>:-static>)
endif()

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/niwaki)
install(TARGETS niwaki_core niwaki_shared niwaki-run EXPORT niwakiTargets COMPONENT development
        RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT development
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development NAMELINK_COMPONENT development
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development)
install(FILES ${PROJECT_SOURCE_DIR}/include/niwaki/niwaki.h ${PROJECT_SOURCE_DIR}/include/niwaki/niwaki.hpp
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/niwaki COMPONENT development)
install(EXPORT niwakiTargets NAMESPACE niwaki:: DESTINATION ${package} COMPONENT development)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/niwakiConfig.cmake.in ${PROJECT_BINARY_DIR}/niwakiConfig.cmake
                              INSTALL_DESTINATION ${package})
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/niwakiConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/niwakiConfig.cmake ${PROJECT_BINARY_DIR}/niwakiConfigVersion.cmake DESTINATION ${package}
        COMPONENT development)
file(RELATIVE_PATH NIWAKI_PC_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)  # the installed tree may be moved
# Where both libraries lie in one folder, -lniwaki is the shared one, also with pkg-config --static: so there are two.
foreach(name niwaki niwaki-static)
  configure_file(${CMAKE_CURRENT_LIST_DIR}/${name}.pc.in ${PROJECT_BINARY_DIR}/${name}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
endforeach()
