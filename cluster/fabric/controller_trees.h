// The same tree of cgroups in every hierarchy of the machine, for programs that want to account and
// limit by themselves (a kubelet): one hierarchy per controller in version 1, one for all in
// version 2, or a mixture.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cluster/fabric/cgroup.h"

namespace cluster {

class ControllerTrees {
 public:
  // Makes the tree in every hierarchy, all under one name. Errors: missing (no hierarchy at all),
  // not_permitted, system; then none is left.
  static base::Result<ControllerTrees> create();

  ControllerTrees(ControllerTrees&&) noexcept = default;
  ControllerTrees& operator=(ControllerTrees&&) = delete;
  ControllerTrees(const ControllerTrees&) = delete;
  ControllerTrees& operator=(const ControllerTrees&) = delete;
  // As remove(); an error then has nobody to go to, and `clean` finds what is left.
  ~ControllerTrees();

  // Makes a cgroup of one level below every tree, with the controllers of its hierarchy ready for
  // children of its own. Returns its path from a hierarchy's root:
  // "/stackbench-4711-123456-0/node1". Errors: not_permitted, system.
  base::Result<std::string> make(const std::string& relative);
  // Removes every tree and gives back the controllers that were taken at a root. Idempotent; goes
  // on after an error and returns the first. Errors: as remove_cgroup_tree().
  base::Result<> remove();

  // The directory's name in every hierarchy.
  [[nodiscard]] const std::string& name() const { return name_; }

 private:
  struct Tree {
    CgroupHierarchy hierarchy;
    CgroupTree tree;
    std::vector<std::string> taken;  // controllers switched on at the hierarchy's root
  };

  explicit ControllerTrees(std::string name) : name_(std::move(name)) {}
  base::Result<> prepare(const Tree& tree, const std::string& cgroup) const;

  std::string name_;
  bool only_version2_ = false;
  std::vector<Tree> trees_;
};

// The controllers a kubelet asks for that `available` ("cpuset cpu memory", of cgroup.controllers)
// has and `enabled` (of cgroup.subtree_control) has not.
[[nodiscard]] std::vector<std::string> controllers_to_enable(std::string_view available,
                                                             std::string_view enabled);

}  // namespace cluster
