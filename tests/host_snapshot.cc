#include "tests/host_snapshot.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <regex>
#include <set>
#include <sstream>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"

namespace tests {
namespace {

namespace fs = std::filesystem;
using Lines = std::vector<std::string>;

Lines lines_of(const std::string& text) {
  Lines lines;
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = std::min(text.find('\n', start), text.size());
    if (end > start) lines.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return lines;
}

constexpr std::string_view unread_mark = "cannot be read: ";

Lines unread_lines(std::string_view reason) { return {fmt::format("{}{}", unread_mark, reason)}; }

Lines output_lines(const std::vector<std::string>& argv) {
  const auto output = base::run_for_output(argv);
  return output ? lines_of(*output) : unread_lines(output.error().message);
}

// Lifetimes of addresses and routes run down, statistics run up.
void drop_ticking(base::Json& json) {
  static const std::set<std::string> ticking{"valid_life_time", "preferred_life_time",
                                             "expires",         "run_time_ns",
                                             "run_cnt",         "pids",
                                             "stats",           "stats64"};
  if (json.is_object()) {
    for (const auto& key : ticking) json.erase(key);
  }
  for (auto& element : json) {
    if (element.is_structured()) drop_ticking(element);
  }
}

// One line for each element of the array a tool prints.
Lines json_lines(const std::vector<std::string>& argv) {
  const auto output = base::run_for_output(argv);
  if (!output) return unread_lines(output.error().message);
  if (output->find_first_not_of(" \n") == std::string::npos) return {};
  auto json = base::parse_json(*output);
  if (!json) return unread_lines(json.error().message);
  drop_ticking(*json);
  if (!json->is_array()) return {base::dump_json(*json)};
  Lines lines;
  for (const auto& element : *json) lines.push_back(base::dump_json(element));
  return lines;
}

Lines netfilter_lines(const std::vector<std::string>& argv) {
  static const std::regex counters("\\[[0-9]+:[0-9]+\\]");
  Lines lines;
  for (const auto& line : output_lines(argv)) {
    if (line.starts_with('#')) continue;  // the time of day
    lines.push_back(std::regex_replace(line, counters, "[]"));
  }
  return lines;
}

Lines sysctl_lines() {
  // What the kernel changes by itself while nothing happens.
  static const std::regex ticking(
      "^(fs\\.(dentry-state|file-nr|inode-nr|inode-state|aio-nr|quota\\..*)"
      "|kernel\\.(random\\..*|ns_last_pid|pty\\.nr|perf_event_max_sample_rate)"
      "|net\\.netfilter\\.nf_conntrack_count) .*");
  Lines lines;
  for (const auto& line : output_lines({"sysctl", "-a"})) {
    if (!std::regex_match(line, ticking)) lines.push_back(line);
  }
  return lines;
}

// Every path below a directory, not followed out of it; only directories where asked.
Lines tree_lines(const fs::path& top, bool directories_only) {
  Lines lines;
  std::error_code code;
  fs::recursive_directory_iterator entry(top, fs::directory_options::skip_permission_denied, code);
  for (; !code && entry != fs::recursive_directory_iterator(); entry.increment(code)) {
    std::error_code gone;  // a directory may go while we look
    const bool is_directory = entry->is_directory(gone) && !entry->is_symlink(gone);
    if (!directories_only || is_directory) lines.push_back(entry->path().string());
  }
  return lines;
}

// The network, PID and mount namespaces that processes are in.
Lines namespace_lines() {
  std::set<std::string> found;
  std::error_code code;
  for (const auto& entry : fs::directory_iterator("/proc", code)) {
    for (const auto* kind : {"net", "pid", "mnt"}) {
      std::error_code gone;
      const auto link = fs::read_symlink(entry.path() / "ns" / kind, gone);
      if (!gone) found.insert(link.string());
    }
  }
  return {found.begin(), found.end()};
}

Lines module_lines() {
  Lines names;
  for (const auto& line : lines_of(base::read_file("/proc/modules").value_or(""))) {
    names.push_back(line.substr(0, line.find(' ')));
  }
  return names;
}

}  // namespace

HostSnapshot HostSnapshot::take() {
  std::map<std::string, Lines> sections{
      {"links", json_lines({"ip", "-j", "link"})},
      {"addresses", json_lines({"ip", "-j", "addr"})},
      {"IPv4 routes", json_lines({"ip", "-j", "-4", "route", "show", "table", "all"})},
      {"IPv6 routes", json_lines({"ip", "-j", "-6", "route", "show", "table", "all"})},
      {"IPv4 rules", json_lines({"ip", "-j", "-4", "rule"})},
      {"IPv6 rules", json_lines({"ip", "-j", "-6", "rule"})},
      {"queueing disciplines", json_lines({"tc", "-j", "qdisc"})},
      {"named network namespaces", output_lines({"ip", "netns"})},
      {"nft ruleset", output_lines({"nft", "-s", "list", "ruleset"})},
      {"iptables", netfilter_lines({"iptables-save"})},
      {"ip6tables", netfilter_lines({"ip6tables-save"})},
      {"cgroups", tree_lines("/sys/fs/cgroup", true)},
      {"mounts", lines_of(base::read_file("/proc/self/mountinfo").value_or(""))},
      {"sysctls", sysctl_lines()},
      {"BPF programs", json_lines({"bpftool", "-j", "prog", "show"})},
      {"BPF maps", json_lines({"bpftool", "-j", "map", "show"})},
      {"BPF links", json_lines({"bpftool", "-j", "link", "show"})},
      {"kernel modules", module_lines()},
      {"namespaces of processes", namespace_lines()},
      {"/run", tree_lines("/run", false)},
  };
  for (auto& [name, lines] : sections) std::sort(lines.begin(), lines.end());
  return HostSnapshot(std::move(sections));
}

HostSnapshot HostSnapshot::take_settled(std::chrono::milliseconds within) {
  const auto deadline = base::monotonic_now() + within;
  auto last = take();
  for (int agreed = 1; agreed < 3 && base::monotonic_now() < deadline;) {
    auto next = take();
    agreed = without_cgroups_of_others(last.difference(next)).empty() ? agreed + 1 : 1;
    last = std::move(next);
  }
  return last;
}

std::vector<std::string> HostSnapshot::unread() const {
  std::vector<std::string> all;
  for (const auto& [name, lines] : sections_) {
    for (const auto& line : lines) {
      if (line.starts_with(unread_mark)) all.push_back(fmt::format("{} {}", name, line));
    }
  }
  return all;
}

std::string HostSnapshot::difference(const HostSnapshot& later) const {
  std::string text;
  std::set<std::string> names;
  for (const auto& [name, lines] : sections_) names.insert(name);
  for (const auto& [name, lines] : later.sections_) names.insert(name);
  for (const auto& name : names) {
    const auto in = [&](const HostSnapshot& snapshot) {
      const auto found = snapshot.sections_.find(name);
      return found == snapshot.sections_.end() ? Lines() : found->second;
    };
    const Lines before = in(*this);
    const Lines after = in(later);
    Lines went, came;
    std::set_difference(before.begin(), before.end(), after.begin(), after.end(),
                        std::back_inserter(went));
    std::set_difference(after.begin(), after.end(), before.begin(), before.end(),
                        std::back_inserter(came));
    if (went.empty() && came.empty()) continue;
    text += fmt::format("{}:\n", name);
    for (const auto& line : went) text += fmt::format("  - {}\n", line);
    for (const auto& line : came) text += fmt::format("  + {}\n", line);
  }
  return text;
}

std::string without_cgroups_of_others(const std::string& difference) {
  std::string ours;
  std::string section;  // until something of it is ours
  bool cgroups = false;
  std::istringstream lines(difference);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("  ")) {
      section = line + "\n";
      cgroups = line == "cgroups:";
      continue;
    }
    const auto has = [&](std::string_view name) { return line.find(name) != std::string::npos; };
    if (cgroups && !has("stackbench") && !has("kube") && !has("k8s")) continue;
    ours += std::exchange(section, "") + line + "\n";
  }
  return ours;
}

std::string difference_from(const HostSnapshot& before, std::chrono::milliseconds within) {
  const auto deadline = base::monotonic_now() + within;
  while (true) {
    std::string difference = without_cgroups_of_others(before.difference(HostSnapshot::take()));
    if (difference.empty() || base::monotonic_now() > deadline) return difference;
    ::usleep(100'000);  // between two looks
  }
}

}  // namespace tests
