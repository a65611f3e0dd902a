# stackbench_probe(name): name.bpf.c becomes the library probe_<name>, whose header
# "<folder>/name.skel.h" is libbpf's skeleton. CO-RE: vmlinux.h is made once from the BTF of the
# kernel we build on, and libbpf relocates for the kernel we run on.
find_program(STACKBENCH_CLANG clang-19 REQUIRED)
find_program(STACKBENCH_BPFTOOL bpftool PATHS /usr/sbin /sbin REQUIRED)

set(STACKBENCH_GENERATED ${CMAKE_BINARY_DIR}/generated)
set(STACKBENCH_VMLINUX_H ${STACKBENCH_GENERATED}/vmlinux.h)
set(STACKBENCH_BTF /sys/kernel/btf/vmlinux CACHE FILEPATH "The kernel BTF that vmlinux.h is made from")
file(MAKE_DIRECTORY ${STACKBENCH_GENERATED})
if(NOT EXISTS ${STACKBENCH_BTF})
  message(FATAL_ERROR "${STACKBENCH_BTF} is missing: eBPF probes are built from the running kernel's "
    "type information. Use a kernel with CONFIG_DEBUG_INFO_BTF, or name another BTF file with "
    "-DSTACKBENCH_BTF=FILE.")
endif()
if(NOT EXISTS ${STACKBENCH_VMLINUX_H})
  execute_process(COMMAND ${STACKBENCH_BPFTOOL} btf dump file ${STACKBENCH_BTF} format c
                  OUTPUT_FILE ${STACKBENCH_VMLINUX_H}.new COMMAND_ERROR_IS_FATAL ANY)
  file(RENAME ${STACKBENCH_VMLINUX_H}.new ${STACKBENCH_VMLINUX_H})
endif()

# The name bpf_tracing.h has for the machine's registers.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  set(STACKBENCH_BPF_ARCH arm64)
else()
  set(STACKBENCH_BPF_ARCH x86)
endif()

function(stackbench_probe name)
  file(RELATIVE_PATH room ${CMAKE_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
  set(source ${CMAKE_CURRENT_SOURCE_DIR}/${name}.bpf.c)
  set(object ${STACKBENCH_GENERATED}/${room}/${name}.bpf.o)
  set(skeleton ${STACKBENCH_GENERATED}/${room}/${name}.skel.h)
  file(MAKE_DIRECTORY ${STACKBENCH_GENERATED}/${room})
  add_custom_command(
    OUTPUT ${object}
    COMMAND ${STACKBENCH_CLANG} -g -O2 -fno-strict-aliasing -target bpf -mcpu=v3 -Wall -Wextra -Werror
            -Wno-unused-parameter -Wno-missing-declarations -D__TARGET_ARCH_${STACKBENCH_BPF_ARCH}
            -I${STACKBENCH_GENERATED} -I${CMAKE_SOURCE_DIR} -MD -MF ${object}.d -MT ${object}
            -c ${source} -o ${object}
    DEPENDS ${source} DEPFILE ${object}.d COMMENT "eBPF ${room}/${name}" VERBATIM)
  add_custom_command(
    OUTPUT ${skeleton}
    COMMAND ${STACKBENCH_BPFTOOL} gen skeleton ${object} name ${name}_bpf > ${skeleton}.new
    # clang-tidy's analyzer follows our calls into it, and takes libbpf to free nothing.
    COMMAND sed -i -e "1i // NOLINTBEGIN" -e "\$a // NOLINTEND" ${skeleton}.new
    COMMAND ${CMAKE_COMMAND} -E rename ${skeleton}.new ${skeleton}
    DEPENDS ${object} COMMENT "Skeleton ${room}/${name}" VERBATIM)
  add_custom_target(probe_${name}_skeleton DEPENDS ${skeleton})
  add_library(probe_${name} INTERFACE)
  add_dependencies(probe_${name} probe_${name}_skeleton)
  target_include_directories(probe_${name} SYSTEM INTERFACE ${STACKBENCH_GENERATED})
  target_link_libraries(probe_${name} INTERFACE PkgConfig::libbpf)
endfunction()
