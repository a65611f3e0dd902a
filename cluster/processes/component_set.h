// The running processes of a cluster: started in their places, their logs kept within bounds, and
// how they ended noted. Calls come from one thread.
#pragma once

#include <string>
#include <vector>

#include <poll.h>

#include "base/process.h"
#include "base/result.h"
#include "cluster/fabric/sandbox.h"
#include "cluster/processes/components.h"
#include "cluster/processes/layout.h"
#include "cluster/processes/state.h"

namespace cluster::processes {

class ComponentSet {
 public:
  ComponentSet(Directory directory, std::vector<std::string> environment)
      : directory_(std::move(directory)), environment_(std::move(environment)) {}

  // Starts one in `sandbox` and `place`, its output into its log, which is emptied first.
  // Errors: as Sandbox::spawn(), and of the log file.
  base::Result<> start(const ComponentPlan& plan, const Sandbox& sandbox, const Place& place);

  // Those that ended since it was asked last; their states say how.
  std::vector<ComponentState> take_ended();
  // All, in the order of their start.
  [[nodiscard]] std::vector<ComponentState> states() const;
  // Readable when one ends, for poll(2): of those that run.
  void add_to(std::vector<pollfd>& watched) const;

  // Cuts logs that have grown over their bound: what was there becomes NAME.log.1, in place of what
  // that held. What is written while it is copied may be lost. Errors have nobody to go to.
  void trim_logs() const;

  // Kills all of them and waits for each. Goes on after an error and returns the first. Errors:
  // timed_out, system.
  base::Result<> end();

 private:
  struct Running {
    ComponentState state;
    base::Process process;
  };

  Directory directory_;
  std::vector<std::string> environment_;
  std::vector<Running> all_;
};

// The last lines of a log, of at most 1,500 bytes; empty when it cannot be read or is empty.
[[nodiscard]] std::string last_lines(const std::string& path);

}  // namespace cluster::processes
