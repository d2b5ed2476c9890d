# How every target of ours is compiled.
add_library(migrationd_options INTERFACE)
target_compile_options(migrationd_options INTERFACE -Wall -Wextra -Wpedantic -Wnon-virtual-dtor -Woverloaded-virtual)
if(MIGRATIOND_WERROR)
  target_compile_options(migrationd_options INTERFACE -Werror)
endif()
if(MIGRATIOND_THREAD_SAFETY)
  target_compile_options(migrationd_options INTERFACE -Wthread-safety)
endif()
if(MIGRATIOND_SANITIZE)
  # For generated code too: mixing instrumented and other objects hides races.
  add_compile_options(-fsanitize=${MIGRATIOND_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${MIGRATIOND_SANITIZE})
endif()
if(MIGRATIOND_SANITIZE STREQUAL "thread")
  # The libraries are not instrumented, and their headers have to describe them as they are: with the macro, Protobuf's maps are
  # larger than the library's. g++ only, clang has no such macro. libstdc++ avoids under its own what the sanitizer does not follow.
  add_compile_options(-U__SANITIZE_THREAD__ -D_GLIBCXX_TSAN=1)
  # The distribution's Abseil does not tell the sanitizer of its locks, nor gRPC of its queues; see the files.
  add_library(migrationd_tsan OBJECT ${PROJECT_SOURCE_DIR}/tests/support/tsan_abseil.cc
    ${PROJECT_SOURCE_DIR}/tests/support/tsan_grpc.cc)
  target_include_directories(migrationd_tsan PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(migrationd_tsan PRIVATE migrationd_options PUBLIC absl::synchronization gRPC::grpc++ ${CMAKE_DL_LIBS})
  link_libraries($<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>:migrationd_tsan>)
endif()

if(MIGRATIOND_HARDENED)
  # For generated code too. What is shipped: where memory is misused the program ends, and its bytes do not depend on the folder.
  set(CMAKE_POSITION_INDEPENDENT_CODE ON)  # executables at a random address, and the client library fits into a shared one
  include(CheckPIESupported)
  check_pie_supported()
  add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -D_GLIBCXX_ASSERTIONS -fstack-protector-strong -fstack-clash-protection
    -ftrivial-auto-var-init=zero -ffile-prefix-map=${PROJECT_SOURCE_DIR}=. -ffile-prefix-map=${PROJECT_BINARY_DIR}=./build)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    add_compile_options(-fcf-protection=full)
  endif()
  add_link_options(-Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code)
endif()

# migrationd_library(NAME SOURCES ... LINK ... PUBLIC_LINK ...): a static library of one folder. Headers are included by their
# path from the repository's root. LINK is private, so that a folder sees only what it names; PUBLIC_LINK is for libraries
# whose types stand in the folder's headers.
function(migrationd_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK;PUBLIC_LINK" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE migrationd_options ${ARG_LINK} PUBLIC ${ARG_PUBLIC_LINK})
endfunction()

# migrationd_test(NAME SOURCES ... LINK ... [TIMEOUT seconds] [LABELS ...]): one test program; each of its cases is a ctest.
function(migrationd_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LINK;LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE migrationd_options ${ARG_LINK} GTest::gmock GTest::gtest_main)
  include(GoogleTest)
  gtest_discover_tests(${name} TEST_PREFIX "${name}." DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
    PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}")
endfunction()
