#include "base/bpf/bpf.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <optional>
#include <string_view>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

namespace base {
namespace {

constexpr std::size_t lines_kept = 12;

// What libbpf said on this thread since a BpfMessages was made; nothing while none exists.
thread_local std::optional<std::deque<std::string>> kept;
thread_local bool verifier_spoke = false;

void keep_line(std::string_view line) {
  if (!kept || line.find_first_not_of(" \t\r") == std::string_view::npos) return;
  if (line.find("PROG LOAD LOG") != std::string_view::npos) {
    verifier_spoke = true;
    return;
  }
  kept->emplace_back(line);
  if (kept->size() > lines_kept) kept->pop_front();
}

__attribute__((format(printf, 2, 0))) int keep_message(libbpf_print_level level, const char* format,
                                                       va_list arguments) {
  if (level == LIBBPF_DEBUG || !kept) return 0;
  char* text = nullptr;
  if (::vasprintf(&text, format, arguments) < 0) return 0;
  std::string_view rest(text);
  while (!rest.empty()) {
    const auto end = std::min(rest.find('\n'), rest.size());
    keep_line(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  std::free(text);
  return 0;
}

}  // namespace

BpfMessages::BpfMessages() {
  static std::once_flag once;
  std::call_once(once, [] { ::libbpf_set_print(keep_message); });
  kept.emplace();
  verifier_spoke = false;
}

BpfMessages::~BpfMessages() { kept.reset(); }

std::string BpfMessages::last_lines() const {
  std::string all;
  if (!kept) return all;
  for (const auto& line : *kept) {
    if (!all.empty()) all += '\n';
    all += line;
  }
  return all;
}

std::unexpected<Error> BpfMessages::error(int code, const std::string& what) const {
  constexpr int enotsupp = 524;  // the kernel's own, never meant for user space, but it gets out
  const int number = std::abs(code);
  auto failed = system_error(number == enotsupp ? EOPNOTSUPP : number, "{}", what);
  auto& error = failed.error();
  if (verifier_spoke || number == EINVAL || number == enotsupp || number == EOPNOTSUPP) {
    error.kind = ErrorKind::missing;
    error.mend =
        "This kernel does not take the eBPF program; `stackbench doctor` says what it has.";
  } else if (error.kind == ErrorKind::not_permitted) {
    error.mend = "Run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON.";
  }
  if (const auto lines = last_lines(); !lines.empty()) error.message += "\n" + lines;
  return failed;
}

Result<UniqueFd> enable_program_statistics() {
  UniqueFd statistics(::bpf_enable_stats(BPF_STATS_RUN_TIME));
  if (!statistics) return system_error(errno, "turn on eBPF run-time statistics");
  return statistics;
}

Result<ProgramCost> program_cost(int program_fd) {
  bpf_prog_info info{};
  __u32 size = sizeof(info);
  if (::bpf_obj_get_info_by_fd(program_fd, &info, &size) != 0) {
    return system_error(errno, "read an eBPF program's run-time statistics");
  }
  return ProgramCost{.run_count = info.run_cnt, .run_time_ns = info.run_time_ns};
}

}  // namespace base
