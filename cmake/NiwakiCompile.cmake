# Flags, all of them here.

if(MSVC AND NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  message(FATAL_ERROR "niwaki needs the vector types of GCC and Clang. On Windows, build with clang-cl: -DCMAKE_CXX_COMPILER=clang-cl.")
endif()

# Warnings, and exact floating point: a product and a sum are two roundings on every machine.
function(niwaki_compile_options target)
  if(MSVC)  # clang-cl, which Windows wheels take. Untested.
    target_compile_options(${target} PRIVATE /W4 /wd4068 /utf-8 /fp:precise /clang:-ffp-contract=off)
    return()
  endif()
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -ffp-contract=off)
  if(NIWAKI_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  if(NIWAKI_SANITIZE)
    # What a sanitizer finds ends the program: a line that is printed may be overlooked.
    target_compile_options(${target} PRIVATE -fsanitize=${NIWAKI_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    target_link_options(${target} PUBLIC -fsanitize=${NIWAKI_SANITIZE})
  endif()
endfunction()

# Code that runs once for a file, a new set of sizes or a step of a run, and the plain references of kernels, which run where there is nothing
# better: small rather than fast. Of two megabytes that is one. Not what goes over all weights when a file is opened: tensor.cc counts zeros.
function(niwaki_small_code)
  if(MSVC OR CMAKE_BUILD_TYPE STREQUAL "Debug")
    return()
  endif()
  foreach(source ${ARGN})
    if(source MATCHES "csrc/graph/tensor\\.cc$")
      continue()
    endif()
    if(source MATCHES "csrc/(graph|capi|python)/" OR source MATCHES "csrc/file/[a-z_]*(reader|writer|words)\\.cc$" OR
       source MATCHES "csrc/file/(graph_parts|expressions|new_file|mapping|choose|forms)\\.cc$" OR source MATCHES "csrc/base/arch\\.cc$" OR
       source MATCHES "csrc/kernels/(byte_attention/byte_attention|convolution/convolution|dynamic_linear/dynamic_linear|elementwise/elementwise|interpolate/interpolate|mul/mul|prelu/prelu|table/table|rows/rows)\\.cc$" OR
       source MATCHES "csrc/kernels/scatter/scatter\\.cc$" OR
       source MATCHES "csrc/runtime/(autotune|blocks|layout|model|placement|plan|repeated|segments|session|shared_weights|sized|states|step|steps/[a-z_]+)\\.cc$" OR
       source MATCHES "csrc/kernels/conv/(choose|cost|dense|grouped_sparse|matrix|pick|pick_lists|select|sparse|sparse_lists|wide)\\.cc$" OR
       source MATCHES "csrc/kernels/resize/resize\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-Os")
    elseif(source MATCHES "csrc/kernels/(attention|byte_attention|elementwise|float_pool|grid_sample|interpolate|recurrent|resize|rows)/reference\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-Os;-fno-exceptions;-fno-asynchronous-unwind-tables" COMPILE_DEFINITIONS "NIWAKI_SMALL_CODE")
    elseif(source MATCHES "csrc/(kernels/(order/order|conv/row_pairs|conv/packed|rows/plain|quantize/quantize|float_pool/float_pool|movement/indexed|recurrent/recurrent|depthwise/depthwise)|file/huffman)\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-O2")  # their loops call kernels, or branch at every step: -O3 makes up to twice the code of them and no speed
    endif()
  endforeach()
endfunction()

# A file's name says which instructions it may use: x86_<isa>.cc, arm_<isa>.cc, or <part>_x86_<isa>.cc. Files of another
# architecture compile to nothing: they begin with an #if.
function(niwaki_isa_flags)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
    set(flags_avx2 -mavx2 -mfma -mf16c)
    set(flags_avxvnni -mavx2 -mfma -mavxvnni)
    set(flags_avx512vnni -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mprefer-vector-width=512)
    set(flags_amx ${flags_avx512vnni} -mamx-tile -mamx-int8)
    set(architecture x86)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      # GCC warns about its own _mm512_undefined_*().
      list(APPEND flags_avx512vnni -Wno-uninitialized -Wno-maybe-uninitialized)
      list(APPEND flags_amx -Wno-uninitialized -Wno-maybe-uninitialized)
    endif()
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
    set(flags_neon -march=armv8-a)
    set(flags_dotprod -march=armv8.2-a+dotprod)
    set(flags_i8mm -march=armv8.2-a+dotprod+i8mm)
    set(architecture arm)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      # GCC 12 schedules before it allocates registers as if they were many, and then spills sums in the innermost loops. It schedules
      # once more afterwards.
      foreach(isa neon dotprod i8mm)
        list(APPEND flags_${isa} -fno-schedule-insns)
      endforeach()
    endif()
  endif()
  foreach(source ${ARGN})
    if(source MATCHES "(x86|arm)_([a-z0-9]+)\\.cc$" AND CMAKE_MATCH_1 STREQUAL "${architecture}")
      # Kernels throw nothing, so nothing has to find its way out of them: 40 kB of tables.
      set(options -O3 -fno-exceptions -fno-asynchronous-unwind-tables ${flags_${CMAKE_MATCH_2}})
      if(source MATCHES "kernels/elementwise/" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
        # Loops over integers and bytes end with single elements: that they ended with ever shorter vectors was a quarter of this code.
        list(APPEND options --param vect-epilogues-nomask=0)
      endif()
      if(MSVC)
        list(TRANSFORM options PREPEND "/clang:")
      endif()
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${options}")
    endif()
  endforeach()
endfunction()
