#include "base/process_cost.h"

#include <charconv>
#include <filesystem>

#include "base/file.h"

namespace base {
namespace {

// The first number in a text.
std::uint64_t first_number_in(std::string_view text) {
  const auto begin = text.find_first_of("0123456789");
  std::uint64_t number = 0;
  if (begin != std::string_view::npos) {
    std::from_chars(text.data() + begin, text.data() + text.size(), number);
  }
  return number;
}

}  // namespace

Result<std::int64_t> cpu_time_of(pid_t pid, const std::string& proc) {
  const auto directory = fmt::format("{}/{}/task", proc, pid);
  std::error_code code;
  std::int64_t sum = 0;
  std::filesystem::directory_iterator task(directory, code);
  const std::filesystem::directory_iterator end;
  for (; !code && task != end; task.increment(code)) {
    // A thread may end while we read.
    const auto text = read_file(task->path().string() + "/schedstat");
    if (text) sum += static_cast<std::int64_t>(first_number_in(*text));
  }
  if (code.value() == ENOENT) return fail(ErrorKind::missing, "process {} is gone", pid);
  if (code) return system_error(code.value(), "{}", directory);
  return sum;
}

Result<std::uint64_t> pss_of(pid_t pid) {
  const auto text = read_file(fmt::format("/proc/{}/smaps_rollup", pid));
  if (!text) return fail(ErrorKind::missing, "process {} is gone", pid);
  const auto line = text->find("\nPss:");
  if (line == std::string::npos)
    return fail(ErrorKind::system, "/proc/{}/smaps_rollup has no Pss", pid);
  constexpr std::uint64_t kibibyte = 1024;
  return first_number_in(std::string_view(*text).substr(line)) * kibibyte;
}

}  // namespace base
