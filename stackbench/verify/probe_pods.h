// Where the pods stand that knock and are knocked at: on a cluster, or in a lab.
#pragma once

#include "base/json.h"
#include "base/result.h"
#include "checks/policy/oracle.h"
#include "cluster/target.h"
#include "stackbench/verify/probe_plan.h"

namespace stackbench {

// Calls come from one thread.
class ProbePods {
 public:
  virtual ~ProbePods() = default;

  // Makes the namespace of the pods of elsewhere, and returns its labels. Called first.
  virtual base::Result<checks::Labels> prepare() = 0;
  // Begins to make a pod; they start side by side.
  virtual base::Result<> create(const ProbePod& pod) = 0;
  // Waits until it runs. Its object, with its node and addresses; of what is outside, with its
  // addresses alone.
  virtual base::Result<base::Json> await(const ProbePod& pod) = 0;
  // An agent in it.
  virtual base::Result<cluster::AgentStreams> agent(const ProbePod& pod) = 0;
  // Once its server listens: whether its own node gets to it, for which this may wait some seconds.
  // True where nobody can be asked.
  virtual base::Result<bool> has_network(const ProbePod& pod) = 0;
  // Takes away all that was made, and waits until it has gone. Idempotent.
  virtual base::Result<> remove() = 0;
};

}  // namespace stackbench
