// What of the host a lab could have changed, as text that can be compared: links, addresses,
// routes, rules, named network namespaces, netfilter rules, cgroup directories, mounts, sysctls,
// eBPF objects, kernel modules, namespaces in use and the files of /run. Counters that tick by
// themselves are left out. For tests that say "the host is as it was".
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

namespace tests {

class HostSnapshot {
 public:
  // Looks at the host now; takes about 0.2 s. A tool that is missing or refuses is a section that
  // says so, see unread().
  static HostSnapshot take();

  // Looks until three looks in a row agree, or `within` is over: what somebody else has just ended
  // may still be on its way out, and would later count as taken away.
  static HostSnapshot take_settled(std::chrono::milliseconds within = std::chrono::seconds(15));

  // What changed from this to `later`, by section, lines that went with `-` and lines that came
  // with `+`; empty when nothing did.
  [[nodiscard]] std::string difference(const HostSnapshot& later) const;

  // The sections a tool could not show, with the reason: what changes there goes unseen.
  [[nodiscard]] std::vector<std::string> unread() const;

  // For tests of this class: sections from text.
  explicit HostSnapshot(std::map<std::string, std::vector<std::string>> sections)
      : sections_(std::move(sections)) {}

 private:
  std::map<std::string, std::vector<std::string>> sections_;  // lines, sorted
};

// A difference without the cgroups that are none of ours: other programs of the machine make and
// remove theirs.
[[nodiscard]] std::string without_cgroups_of_others(const std::string& difference);

// Takes snapshots until one equals `before` or `within` is over (the kernel takes namespaces and
// eBPF objects down some time after their last user), and returns the last difference. What others
// on the machine change in the meantime is in it, too, but for their cgroups.
[[nodiscard]] std::string difference_from(
    const HostSnapshot& before, std::chrono::milliseconds within = std::chrono::seconds(15));

}  // namespace tests
