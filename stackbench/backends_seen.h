// Whom a Service sends anything to, looked at before events: a backend that is not in a datapath's
// tables yet, or not again, cannot be seen to leave them.
#pragma once

#include <cstddef>
#include <set>

#include "bench/workload.h"
#include "cluster/topology.h"
#include "stackbench/analysis.h"
#include "stackbench/scenario/scenario.h"

namespace stackbench {

// Whether a client that dials this Service so, however often, is sent to every pod behind it: under
// session affinity it is sent to one, from outside under the Local policy to those of a node.
[[nodiscard]] bool reaches_every_backend(const cluster::ServiceSpec& service,
                                         DialTarget::Kind dialled);

// The workload as a short try that meets each of so many backends, drawn at random, all but surely;
// one that opens connections does so as slowly as a cluster's ports let it.
[[nodiscard]] bench::WorkloadSpec backends_try(bench::WorkloadSpec spec, std::size_t backends);

// What tries have shown. One thread.
class BackendsSeen {
 public:
  explicit BackendsSeen(std::size_t backends) : backends_(backends) {}

  // A try's servers are the backends, in their order.
  void add(const Sample& tried);
  // Each backend was sent something, and in the last try nobody else was: a pod that left before
  // and is still in the tables refuses, or is silent.
  [[nodiscard]] bool all_and_no_other() const { return seen_.size() == backends_ && !failed_; }

 private:
  std::size_t backends_;
  std::set<std::size_t> seen_;
  bool failed_ = false;
};

}  // namespace stackbench
