#include "base/machine.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/file.h"

namespace base {
namespace {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view blanks = " \t\n\r";
  const auto first = text.find_first_not_of(blanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

class Root {
 public:
  explicit Root(std::string path) : path_(std::move(path)) {
    if (path_.empty() || path_.back() != '/') path_ += '/';
  }
  [[nodiscard]] std::string path(std::string_view name) const { return path_ + std::string(name); }
  // The file's content; empty when there is none.
  [[nodiscard]] std::string read(std::string_view name) const {
    auto content = read_file(path(name));
    return content ? std::move(*content) : std::string();
  }
  [[nodiscard]] std::string line(std::string_view name) const {
    return std::string(trimmed(read(name)));
  }

 private:
  std::string path_;
};

// The value of the first line "key<separator>value"; spaces around both are not part of them.
std::string value_of(std::string_view text, std::string_view key, char separator) {
  while (!text.empty()) {
    const auto end = text.find('\n');
    const auto line = text.substr(0, end);
    const auto middle = line.find(separator);
    if (middle != std::string_view::npos && trimmed(line.substr(0, middle)) == key) {
      return std::string(trimmed(line.substr(middle + 1)));
    }
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return {};
}

std::uint64_t leading_number(std::string_view text) {
  std::uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

// How many CPUs a list such as "0-3,6" names (Documentation/admin-guide/cputopology.rst).
int count_cpus(std::string_view list) {
  std::uint64_t count = 0;
  while (!list.empty()) {
    const auto comma = list.find(',');
    const auto part = trimmed(list.substr(0, comma));
    const auto dash = part.find('-');
    const auto first = leading_number(part);
    const auto last =
        dash == std::string_view::npos ? first : leading_number(part.substr(dash + 1));
    if (!part.empty() && last >= first) count += last - first + 1;
    if (comma == std::string_view::npos) break;
    list.remove_prefix(comma + 1);
  }
  return static_cast<int>(std::min<std::uint64_t>(count, 1u << 20));
}

bool has_word(std::string_view text, std::string_view word) {
  const std::string padded = " " + std::string(text) + " ";
  return padded.find(" " + std::string(word) + " ") != std::string::npos;
}

// The hypervisor, from what it offers its guest: the surest source first.
std::string virtualisation(const Root& root, const std::string& cpuinfo) {
  if (auto type = root.line("sys/hypervisor/type"); !type.empty()) return type;
  constexpr std::array<std::pair<std::string_view, std::string_view>, 3> clocks{{
      {"kvm-clock", "kvm"},
      {"hyperv_clocksource_tsc_page", "hyperv"},
      {"xen", "xen"},
  }};
  const auto offered =
      root.line("sys/devices/system/clocksource/clocksource0/available_clocksource");
  for (const auto& [clock, hypervisor] : clocks) {
    if (has_word(offered, clock)) return std::string(hypervisor);
  }
  if (!has_word(value_of(cpuinfo, "flags", ':'), "hypervisor")) return {};
  auto vendor = root.line("sys/class/dmi/id/sys_vendor");
  return vendor.empty() ? "unknown hypervisor" : vendor;
}

std::map<std::string, std::string> mitigations(const Root& root) {
  std::map<std::string, std::string> found;
  std::error_code problem;
  const auto directory = root.path("sys/devices/system/cpu/vulnerabilities");
  for (std::filesystem::directory_iterator entry(directory, problem), end; !problem && entry != end;
       entry.increment(problem)) {
    const auto name = entry->path().filename().string();
    const auto state = root.line("sys/devices/system/cpu/vulnerabilities/" + name);
    if (!state.empty() && state != "Not affected") found.emplace(name, state);
  }
  return found;
}

std::string unquoted(std::string text) {
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') {
    text = text.substr(1, text.size() - 2);
  }
  return text;
}

}  // namespace

Machine collect_machine(const std::string& root_path) {
  const Root root(root_path);
  const auto cpuinfo = root.read("proc/cpuinfo");
  Machine machine;
  machine.kernel = root.line("proc/sys/kernel/osrelease");
  machine.kernel_build = root.line("proc/sys/kernel/version");
  machine.architecture = root.line("proc/sys/kernel/arch");
  machine.os = unquoted(value_of(root.read("etc/os-release"), "PRETTY_NAME", '='));
  machine.cpu_model = value_of(cpuinfo, "model name", ':');
  machine.cpus = count_cpus(root.line("sys/devices/system/cpu/online"));
  machine.smt = root.line("sys/devices/system/cpu/smt/active") == "1";
  machine.memory_bytes = leading_number(value_of(root.read("proc/meminfo"), "MemTotal", ':')) << 10;
  machine.clocksource =
      root.line("sys/devices/system/clocksource/clocksource0/current_clocksource");
  machine.virtualisation = virtualisation(root, cpuinfo);
  machine.cpu_governor = root.line("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  machine.congestion_control = root.line("proc/sys/net/ipv4/tcp_congestion_control");
  machine.boot_id = root.line("proc/sys/kernel/random/boot_id");
  machine.mitigations = mitigations(root);
  return machine;
}

}  // namespace base
