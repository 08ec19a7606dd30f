# Fuzz targets, for libFuzzer: fuzz_reading and fuzz_running. `make fuzz` builds and runs them. Only clang has libFuzzer.
if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang" OR MSVC)
  message(WARNING "NIWAKI_FUZZ: the fuzz targets are not built: they need clang, and the compiler is ${CMAKE_CXX_COMPILER_ID}. "
                  "Set CMAKE_CXX_COMPILER=clang++.")
  return()
endif()
# The core is watched, too: which of its branches were taken decides what is tried next.
target_compile_options(niwaki_core PRIVATE -fsanitize=fuzzer-no-link)
foreach(check reading running)
  add_executable(fuzz_${check} csrc/fuzz/fuzz_${check}.cc csrc/fuzz/mutate.cc csrc/fuzz/change_network.cc csrc/fuzz/file_parts.cc
                 csrc/fuzz/checks.cc csrc/fuzz/cost.cc csrc/fuzz/draw.cc csrc/testing/heap.cc)
  target_link_libraries(fuzz_${check} PRIVATE niwaki::core)
  niwaki_compile_options(fuzz_${check})
  target_link_options(fuzz_${check} PRIVATE -fsanitize=fuzzer)
endforeach()
