# The few calls every room is written in.

add_library(stackbench_options INTERFACE)
target_compile_options(stackbench_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor
  -Woverloaded-virtual -Werror ${STACKBENCH_FLAGS}
  # Half of what a build compiles is tests, whose time is in what they call, and what runs once at a
  # start: without the optimiser these take 40 % less to compile.
  $<$<BOOL:$<TARGET_PROPERTY:STACKBENCH_COLD>>:-O0>
  # Beside each other files hide each other's names, and an anonymous namespace looks like a header's.
  $<$<BOOL:$<TARGET_PROPERTY:UNITY_BUILD>>:-Wno-shadow>
  $<$<AND:$<CXX_COMPILER_ID:GNU>,$<BOOL:$<TARGET_PROPERTY:UNITY_BUILD>>>:-Wno-subobject-linkage>)
target_link_options(stackbench_options INTERFACE ${STACKBENCH_FLAGS})
target_include_directories(stackbench_options INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_definitions(stackbench_options INTERFACE STACKBENCH_VERSION="${PROJECT_VERSION}")

# What nearly every file includes and is not ours, parsed once for all of a build instead of in each
# file: 40 % less work for a file of tests. One for each way of compiling: optimised, not, and tests.
option(STACKBENCH_PRECOMPILE "Precompile the headers of others" OFF)
set(STACKBENCH_PRECOMPILED <algorithm> <array> <charconv> <chrono> <cmath> <expected> <filesystem> <functional>
    <map> <memory> <optional> <random> <set> <span> <sstream> <string> <string_view> <thread>
    <tuple> <utility> <vector> <fmt/format.h> <fmt/ranges.h> <nlohmann/json.hpp>)
if(STACKBENCH_PRECOMPILE)
  # Written when it changes, and not whenever CMake runs: everything is compiled anew after it.
  file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/precompiled.cc CONTENT "" @ONLY)
  foreach(name stackbench_precompiled stackbench_precompiled_cold stackbench_precompiled_test)
    add_library(${name} OBJECT ${CMAKE_BINARY_DIR}/precompiled.cc)
    target_link_libraries(${name} PRIVATE stackbench_options fmt::fmt nlohmann_json::nlohmann_json)
    target_precompile_headers(${name} PRIVATE ${STACKBENCH_PRECOMPILED})
  endforeach()
  target_link_libraries(stackbench_precompiled_test PRIVATE GTest::gmock)
  target_precompile_headers(stackbench_precompiled_test PRIVATE <gmock/gmock.h> <gtest/gtest.h>)
  set_target_properties(stackbench_precompiled_cold stackbench_precompiled_test PROPERTIES STACKBENCH_COLD ON)
endif()

# reuse_precompiled(name from)
function(reuse_precompiled name from)
  if(STACKBENCH_PRECOMPILE)
    target_precompile_headers(${name} REUSE_FROM ${from})
  endif()
endfunction()

# Files of a target put together, eight at a time: what they include, which is most of what a compiler
# reads, is read once for all of them. The price: a change of one compiles its neighbours, too (whoever
# works on a file for long may want -DSTACKBENCH_UNITY=OFF), and neighbours hide from a compiler a name
# that shadows another and an include that is missing. The sanitizers' presets compile each file of the
# unit tests by itself, the preset release every file, without what is precompiled: whoever moves
# includes about builds that.
option(STACKBENCH_UNITY "Compile several files of a target at once" OFF)
function(compile_together name)
  if(STACKBENCH_UNITY)
    set_target_properties(${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
  endif()
endfunction()

# compile_apart(a.cc ...): files of this folder that cannot stand beside others, whose names they use.
function(compile_apart)
  set_source_files_properties(${ARGN} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()

# stackbench_library(name [COLD] SOURCES a.cc ... USES target ...): one room or a part of it. COLD: nothing
# that is timed, and nothing that takes long, so that it goes without the optimiser.
function(stackbench_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "COLD" "" "SOURCES;USES")
  add_library(${name} STATIC ${arg_SOURCES})
  target_link_libraries(${name} PUBLIC stackbench_options ${arg_USES})
  if(arg_COLD)
    set_target_properties(${name} PROPERTIES STACKBENCH_COLD ON)
    reuse_precompiled(${name} stackbench_precompiled_cold)
  else()
    reuse_precompiled(${name} stackbench_precompiled)
  endif()
  compile_together(${name})
endfunction()

# stackbench_executable(name SOURCES a.cc ... USES target ...): lands in build/<preset>/bin.
function(stackbench_executable name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;USES")
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE stackbench_options ${arg_USES})
  reuse_precompiled(${name} stackbench_precompiled)
endfunction()

# What the tiers of `bootstrap test` build: what their tests are and what these run.
add_custom_target(unit_tests)
add_custom_target(thread_tests)  # the unit tests with threads
add_custom_target(lab_tests)
add_custom_target(long_tests)

function(stackbench_test_executable name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;USES")
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE stackbench_options ${arg_USES} GTest::gmock GTest::gtest_main)
  reuse_precompiled(${name} stackbench_precompiled_test)
  compile_together(${name})
  target_compile_definitions(${name} PRIVATE STACKBENCH_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  set_target_properties(${name} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests STACKBENCH_COLD ON)
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
endfunction()

# stackbench_test(name [THREADS] SOURCES a_test.cc ... USES target ...): unit tests; no root, no
# network, no sleep. One ctest entry per executable, labelled `unit`; THREADS: what it tests has
# threads, and `threads` is a second label.
function(stackbench_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "THREADS" "" "SOURCES;USES")
  stackbench_test_executable(${name} SOURCES ${arg_SOURCES} USES ${arg_USES})
  add_dependencies(unit_tests ${name})
  set(labels unit)
  if(arg_THREADS)
    list(APPEND labels threads)
    add_dependencies(thread_tests ${name})
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "${labels}" TIMEOUT 120)
endfunction()

# stackbench_lab_test(name [LONG] [SHARES] SOURCES ... USES ...): tests in real namespaces; need root,
# labelled `lab`, one at a time because they measure or watch the host. LONG: whole runs of a scenario whose
# parts have shorter tests of their own, labelled `long`: `./bootstrap test` goes without, `test all` has
# them. SHARES: it asserts no time and watches nothing but what it made, so that another such may run beside it.
function(stackbench_lab_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "LONG;SHARES" "" "SOURCES;USES")
  stackbench_test_executable(${name} SOURCES ${arg_SOURCES} USES ${arg_USES})
  set(label lab)
  if(arg_LONG)
    set(label long)
  endif()
  add_dependencies(${label}_tests ${name})
  target_compile_definitions(${name} PRIVATE STACKBENCH_BINARY_DIR="${CMAKE_BINARY_DIR}/bin")
  set_tests_properties(${name} PROPERTIES LABELS ${label} TIMEOUT 300)
  if(NOT arg_SHARES)
    set_tests_properties(${name} PROPERTIES RUN_SERIAL ON)
  endif()
endfunction()

# stackbench_cluster_test(name [OWN_CLUSTER] [SHARES] SOURCES ... USES ...): tests on a Kubernetes of this
# machine's own; need root and what `./bootstrap up` makes, labelled `cluster`. SHARES is as above. They
# find one up, its kubeconfig and a kubectl (the fixture `kubernetes`, tests/CMakeLists.txt), unless
# they bring up their OWN_CLUSTER.
set(STACKBENCH_TEST_STATE ${CMAKE_BINARY_DIR}/cluster_test_state)
function(stackbench_cluster_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "OWN_CLUSTER;SHARES" "" "SOURCES;USES")
  stackbench_test_executable(${name} SOURCES ${arg_SOURCES} USES ${arg_USES})
  target_compile_definitions(${name} PRIVATE STACKBENCH_BINARY_DIR="${CMAKE_BINARY_DIR}/bin")
  set_tests_properties(${name} PROPERTIES LABELS cluster TIMEOUT 900)
  if(NOT arg_SHARES)
    set_tests_properties(${name} PROPERTIES RUN_SERIAL ON)
  endif()
  if(arg_OWN_CLUSTER)
    return()
  endif()
  set(kubeconfig ${STACKBENCH_TEST_STATE}/stackbench/clusters/test/kubeconfig)
  set_tests_properties(${name} PROPERTIES
    FIXTURES_REQUIRED kubernetes
    ENVIRONMENT "KUBECONFIG=${kubeconfig};STACKBENCH_TEST_KUBECONFIG=${kubeconfig}"
    ENVIRONMENT_MODIFICATION PATH=path_list_prepend:${CMAKE_SOURCE_DIR}/build/go/bin)
endfunction()

# stackbench_fuzzer(name SOURCES x_fuzzer.cc and every source it needs, from the root of the tree
# LIBRARIES -lfmt ...): a libFuzzer target built by clang-19 whatever compiles the rest, run briefly
# on its committed corpus (tests/corpus/<name>), labelled `fuzz`: compiling them is an eighth of all, so
# `./bootstrap test` goes without, `test all` has them. What it finds lands in the build tree.
# Sanitizer builds have none: a fuzzer has its own sanitizers in any.
find_program(STACKBENCH_CLANGXX clang++-19 REQUIRED)
function(stackbench_fuzzer name)
  if(STACKBENCH_FLAGS MATCHES "-fsanitize")
    return()
  endif()
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBRARIES")
  set(binary ${CMAKE_BINARY_DIR}/tests/${name})
  set(corpus ${CMAKE_SOURCE_DIR}/tests/corpus/${name})
  set(sanitize -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all)
  # Unoptimised: a third of the time to compile, for a third of the runs of a few seconds.
  set(flags -std=c++23 -O0 -g1 ${sanitize} -I${CMAKE_SOURCE_DIR} -DSTACKBENCH_VERSION="${PROJECT_VERSION}")
  file(MAKE_DIRECTORY ${binary}_found)
  set(precompiled ${CMAKE_BINARY_DIR}/tests/fuzzer_objects/precompiled)
  if(NOT TARGET fuzzer_precompiled)
    list(TRANSFORM STACKBENCH_PRECOMPILED PREPEND "#include " OUTPUT_VARIABLE includes)
    list(JOIN includes "\n" includes)
    file(CONFIGURE OUTPUT ${precompiled}.h CONTENT "${includes}\n" @ONLY)
    add_custom_command(
      OUTPUT ${precompiled}.pch
      COMMAND ${STACKBENCH_CLANGXX} ${flags} -MD -MF ${precompiled}.pch.d -MT ${precompiled}.pch
              -x c++-header ${precompiled}.h -o ${precompiled}.pch
      DEPENDS ${precompiled}.h DEPFILE ${precompiled}.pch.d COMMENT "For fuzzers: what is not ours" VERBATIM)
    add_custom_target(fuzzer_precompiled DEPENDS ${precompiled}.pch)
  endif()
  set(objects)
  foreach(source IN LISTS arg_SOURCES)
    # Fuzzers share what they are made of.
    set(object ${CMAKE_BINARY_DIR}/tests/fuzzer_objects/${source}.o)
    list(APPEND objects ${object})
    get_property(known GLOBAL PROPERTY STACKBENCH_FUZZER_OBJECTS)
    if(object IN_LIST known)
      continue()
    endif()
    set_property(GLOBAL APPEND PROPERTY STACKBENCH_FUZZER_OBJECTS ${object})
    get_filename_component(folder ${object} DIRECTORY)
    file(MAKE_DIRECTORY ${folder})
    add_custom_command(
      OUTPUT ${object}
      COMMAND ${CMAKE_CXX_COMPILER_LAUNCHER} ${STACKBENCH_CLANGXX} ${flags} -include-pch ${precompiled}.pch
              -MD -MF ${object}.d -MT ${object} -c ${CMAKE_SOURCE_DIR}/${source} -o ${object}
      DEPENDS ${CMAKE_SOURCE_DIR}/${source} ${precompiled}.pch DEPFILE ${object}.d
      COMMENT "For fuzzers: ${source}" VERBATIM)
  endforeach()
  add_custom_command(
    OUTPUT ${binary}
    COMMAND ${STACKBENCH_CLANGXX} -fuse-ld=lld ${sanitize} ${objects} -o ${binary} ${arg_LIBRARIES}
    DEPENDS ${objects} COMMENT "Fuzzer ${name}" VERBATIM)
  add_custom_target(${name} ALL DEPENDS ${binary})
  add_test(NAME ${name}
           COMMAND ${binary} -max_total_time=5 -timeout=10 -rss_limit_mb=2048
                   -artifact_prefix=${binary}_found/ ${binary}_found ${corpus})
  set_tests_properties(${name} PROPERTIES LABELS fuzz TIMEOUT 120)
endfunction()
