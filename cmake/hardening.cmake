# Warnings, and what makes a mistake in memory end the program rather than serve whoever wrote the stream. All of it goes
# into np_options, each option only where the compiler has it. The test source.hardening reads it back from the binary.
include(CheckCCompilerFlag)
include(CheckCSourceCompiles)
include(CheckLinkerFlag)
include(CheckPIESupported)

function(np_compile_if_known)
  foreach(option ${ARGN})
    string(MAKE_C_IDENTIFIER "NBDPULL_HAVE${option}" known)
    check_c_compiler_flag("-Werror ${option}" ${known})
    if(${known})
      target_compile_options(np_options INTERFACE ${option})
    endif()
  endforeach()
endfunction()

function(np_link_if_known)
  foreach(option ${ARGN})
    string(MAKE_C_IDENTIFIER "NBDPULL_HAVE${option}" known)
    check_linker_flag(C "${option}" ${known})
    if(${known})
      target_link_options(np_options INTERFACE ${option})
    endif()
  endforeach()
endfunction()

np_compile_if_known(
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Walloca -Wformat=2
  -Wformat-signedness -Wundef -Wconversion -Wcast-qual -Wcast-align=strict -Wwrite-strings -Wimplicit-fallthrough
  -Wlogical-op -Wduplicated-cond -Wduplicated-branches -Wredundant-decls -Wold-style-definition
  # A goto past the declaration of a variable with a cleanup.
  -Wjump-misses-init)
# Not here, tried on this source: -Wnull-dereference, which follows impossible paths through inlined calls;
# -Wformat-truncation=2, for text that may be cut off; -Wswitch-default, which would silence -Wswitch.

np_compile_if_known(-fno-common)
np_link_if_known(-Wl,-z,noexecstack -Wl,-z,separate-code -Wl,--as-needed)

# Valgrind and the sanitisers see a variable that is used before it has a value, and an overflow, only without these.
if(NBDPULL_HARDEN AND NOT NBDPULL_SANITIZE)
  check_pie_supported(LANGUAGES C)
  set(CMAKE_POSITION_INDEPENDENT_CODE ON)
  np_compile_if_known(
    -fstack-protector-strong -fstack-clash-protection -ftrivial-auto-var-init=zero
    # What is undefined is defined, so that no check of a bound is taken out because "it cannot happen".
    -fno-strict-overflow -fno-delete-null-pointer-checks -fno-strict-aliasing)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|i.86")
    np_compile_if_known(-fcf-protection=full)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
    np_compile_if_known(-mbranch-protection=standard)
  endif()
  np_link_if_known(-Wl,-z,relro -Wl,-z,now)
  if(CMAKE_BUILD_TYPE MATCHES "Rel") # it needs an optimising compiler
    set(CMAKE_REQUIRED_FLAGS "-O2 -Werror -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3")
    check_c_source_compiles("#include <string.h>\nint main(void) { return 0; }" NBDPULL_FORTIFY_3)
    unset(CMAKE_REQUIRED_FLAGS)
    if(NBDPULL_FORTIFY_3)
      target_compile_options(np_options INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3)
    else()
      target_compile_options(np_options INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
    endif()
  endif()
endif()
