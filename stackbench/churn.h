// Makes a scenario's events happen during one invocation: does at each one's time what a kubelet
// and the EndpointSlice controller would do, and notes when.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/interrupt.h"
#include "base/result.h"
#include "checks/event_outcome.h"
#include "cluster/endpoints.h"
#include "cluster/target.h"
#include "stackbench/scenario/scenario.h"

namespace stackbench {

// What is done to the servers of pods; each returns once it is done.
struct ServerControl {
  std::function<base::Result<>(const std::string& pod)> start;
  std::function<base::Result<>(const std::string& pod)> stop;  // in order, as on SIGTERM
  std::function<base::Result<>(const std::string& pod)> kill;
};

// Called from the controller's thread. What it is made of must outlive it.
class Churn {
 public:
  // `family`: whose slices are written, that of the arm's client; nobody looks at the other's.
  Churn(cluster::Target& target, const cluster::EnvironmentHandle& environment,
        base::AddressFamily family, ServerControl servers, const base::Interrupt& interrupt);

  // Makes the events happen, each at its time after `window_begins` or as soon as the one before
  // is done. Returns once the last has had its effect. Errors: as Target::set_readiness and the
  // servers'; interrupted.
  base::Result<std::vector<checks::Happened>> run(const std::vector<EventSpec>& events,
                                                  base::MonotonicTime window_begins);

  // Writes every pod as it is at first. To be called before and after run(), whatever came of it:
  // what one invocation leaves behind must not be the next one's beginning. Errors: as
  // Target::set_readiness.
  base::Result<> restore();

 private:
  // Writes the readiness of pods, and the stamps into `happened`.
  base::Result<> write(const std::map<std::string, cluster::Readiness>& pods,
                       checks::Happened& happened);
  base::Result<checks::Happened> happen(const EventSpec& event, base::MonotonicTime due);

  cluster::Target* target_;
  const cluster::EnvironmentHandle* environment_;
  base::AddressFamily family_;
  ServerControl servers_;
  const base::Interrupt* interrupt_;
};

}  // namespace stackbench
