#include "cluster/fabric/controller_trees.h"

#include <algorithm>
#include <array>
#include <sstream>
#include <tuple>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "base/file.h"

namespace cluster {
namespace {

using base::Result;
using base::UniqueFd;

// cgroupfs takes one write(2) of the whole value.
Result<> write_value(const std::string& path, std::string_view value) {
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) return base::system_error(errno, "{}", path);
  if (::write(file.get(), value.data(), value.size()) < 0) {
    return base::system_error(errno, "writing \"{}\" to {}", value, path);
  }
  return {};
}

std::vector<std::string> words_of(std::string_view text) {
  std::istringstream stream{std::string(text)};
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

// Version 2: what a cgroup's children may use is said in the cgroup.
Result<std::vector<std::string>> enable_controllers(const std::string& cgroup) {
  ASSIGN_OR_RETURN(const auto available, base::read_file(cgroup + "/cgroup.controllers", 4096));
  ASSIGN_OR_RETURN(const auto enabled, base::read_file(cgroup + "/cgroup.subtree_control", 4096));
  auto missing = controllers_to_enable(available, enabled);
  for (const auto& name : missing) {
    RETURN_IF_ERROR(write_value(cgroup + "/cgroup.subtree_control", "+" + name));
  }
  return missing;
}

// Version 1: a new cpuset has neither processors nor memory, and takes no process before it has.
Result<> copy_cpuset(const std::string& root, const std::string& cgroup) {
  for (const auto* file : {"cpuset.cpus", "cpuset.mems"}) {
    const auto value = base::read_file(fmt::format("{}/{}", root, file), 4096);
    if (!value) continue;  // the hierarchy of another controller
    const auto own = base::read_file(fmt::format("{}/{}", cgroup, file), 4096);
    if (own && own->find_first_not_of(" \n") != std::string::npos) continue;
    RETURN_IF_ERROR(write_value(fmt::format("{}/{}", cgroup, file), *value));
  }
  return {};
}

}  // namespace

std::vector<std::string> controllers_to_enable(std::string_view available,
                                               std::string_view enabled) {
  constexpr std::array<std::string_view, 6> wanted{"cpu",    "cpuset", "hugetlb",
                                                   "memory", "pids",   "io"};
  const auto there = words_of(available);
  const auto already = words_of(enabled);
  std::vector<std::string> missing;
  for (const auto name : wanted) {
    if (std::ranges::find(there, name) != there.end() &&
        std::ranges::find(already, name) == already.end()) {
      missing.emplace_back(name);
    }
  }
  return missing;
}

Result<ControllerTrees> ControllerTrees::create() {
  ASSIGN_OR_RETURN(const auto hierarchies, find_hierarchies());
  if (hierarchies.empty()) {
    return base::fail(base::ErrorKind::missing, "no cgroup hierarchy is mounted");
  }
  ASSIGN_OR_RETURN(const auto id, RunId::next());
  ControllerTrees all(id.to_string());
  // Beside version 1 nobody looks for controllers in version 2.
  all.only_version2_ = std::ranges::all_of(
      hierarchies, [](const auto& hierarchy) { return hierarchy.version == 2; });
  for (const auto& hierarchy : hierarchies) {
    ASSIGN_OR_RETURN(auto tree, CgroupTree::create_in(hierarchy.path, id));
    auto& made = all.trees_.emplace_back(Tree{hierarchy, std::move(tree), {}});
    if (all.only_version2_) {
      ASSIGN_OR_RETURN(made.taken, enable_controllers(hierarchy.path));
    }
    RETURN_IF_ERROR(all.prepare(made, made.tree.path()));
  }
  return all;
}

ControllerTrees::~ControllerTrees() { std::ignore = remove(); }

Result<> ControllerTrees::prepare(const Tree& tree, const std::string& cgroup) const {
  if (tree.hierarchy.version == 1) return copy_cpuset(tree.hierarchy.path, cgroup);
  if (!only_version2_) return {};
  RETURN_IF_ERROR(enable_controllers(cgroup));
  return {};
}

Result<std::string> ControllerTrees::make(const std::string& relative) {
  for (const auto& tree : trees_) {
    ASSIGN_OR_RETURN(const auto path, tree.tree.make(relative));
    RETURN_IF_ERROR(prepare(tree, path));
  }
  return fmt::format("/{}/{}", name_, relative);
}

Result<> ControllerTrees::remove() {
  Result<> outcome;
  const auto note = [&outcome](Result<> done) {
    if (!done && outcome) outcome = std::move(done);
  };
  for (auto& [hierarchy, tree, taken] : trees_) {
    note(tree.remove());
    for (const auto& name : taken) {
      note(write_value(hierarchy.path + "/cgroup.subtree_control", "-" + name));
    }
    taken.clear();
  }
  return outcome;
}

}  // namespace cluster
