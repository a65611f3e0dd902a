#include "base/pod_usage.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <string_view>
#include <system_error>

#include <unistd.h>

#include "base/file.h"
#include "base/process_cost.h"

namespace base {
namespace {

namespace fs = std::filesystem;

// The real user of a process, of its status file.
std::optional<uid_t> user_of(const std::string& directory) {
  const auto text = read_file(directory + "/status");
  if (!text) return std::nullopt;
  constexpr std::string_view field = "\nUid:\t";
  const auto at = text->find(field);
  if (at == std::string::npos) return std::nullopt;
  uid_t user = 0;
  const char* begin = text->data() + at + field.size();
  if (std::from_chars(begin, text->data() + text->size(), user).ec != std::errc()) {
    return std::nullopt;
  }
  return user;
}

// "pod1a2b-..." of a cgroup's path, with the underscores that systemd's driver writes.
bool is_of_pod(std::string_view cgroups, const std::string& uid) {
  auto other = uid;
  std::ranges::replace(other, '-', '_');
  return cgroups.find("pod" + uid) != std::string_view::npos ||
         cgroups.find("pod" + other) != std::string_view::npos;
}

// The second number of statm, in pages.
std::int64_t resident_of(const std::string& directory) {
  const auto text = read_file(directory + "/statm");
  if (!text) return 0;
  const auto space = text->find(' ');
  if (space == std::string::npos) return 0;
  std::int64_t pages = 0;
  std::from_chars(text->data() + space + 1, text->data() + text->size(), pages);
  return pages * ::sysconf(_SC_PAGESIZE);
}

}  // namespace

PodUsages usage_of_pods(const std::vector<std::string>& uids, uid_t user, const std::string& proc) {
  PodUsages all;
  std::error_code code;
  for (fs::directory_iterator entry(proc, code), end; !code && entry != end;
       entry.increment(code)) {
    const auto directory = entry->path().string();
    const auto name = entry->path().filename().string();
    pid_t pid = 0;
    const auto parsed = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (parsed.ec != std::errc() || parsed.ptr != name.data() + name.size()) continue;
    if (user_of(directory) != user) continue;
    const auto cgroups = read_file(directory + "/cgroup");
    if (!cgroups) continue;
    for (const auto& uid : uids) {
      if (!is_of_pod(*cgroups, uid)) continue;
      const auto cpu = cpu_time_of(pid, proc);
      if (!cpu) break;
      auto& usage = all[uid];
      usage.cpu_ns += *cpu;
      usage.resident_bytes += resident_of(directory);
      ++usage.processes;
      break;
    }
  }
  return all;
}

}  // namespace base
