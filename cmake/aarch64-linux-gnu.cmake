# Cross-building for 64-bit Arm Linux with Debian's or Ubuntu's g++-aarch64-linux-gnu. Tests run under QEMU's user mode.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
find_program(niwaki_qemu NAMES qemu-aarch64-static qemu-aarch64)
if(niwaki_qemu)
  # -L: where the emulated program finds its loader and its libraries.
  set(CMAKE_CROSSCOMPILING_EMULATOR "${niwaki_qemu};-L;/usr/aarch64-linux-gnu")
endif()
