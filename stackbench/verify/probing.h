// Probe pods on a cluster: made, asked, and taken away again.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/interrupt.h"
#include "base/result.h"
#include "bench/agent/client.h"
#include "cluster/kubernetes/agents.h"
#include "cluster/kubernetes/api_client.h"
#include "cluster/kubernetes/manifests.h"
#include "stackbench/verify/probe_cells.h"
#include "stackbench/verify/probe_plan.h"

namespace stackbench {

struct ProbingOptions {
  std::string image;
  double rate = 200;  // packets a second that ask, at most
  const base::Interrupt* interrupt = nullptr;
};

// Where pods of elsewhere are, and what every pod of ours carries.
struct ProbingPlace {
  cluster::Placement ours;        // a namespace of its own
  checks::Labels labels_of_ours;  // on each pod
};
// For a run of this process. Errors: input.
[[nodiscard]] base::Result<ProbingPlace> probing_place(const std::string& run);

struct ProbingResult {
  std::vector<JudgedCell> cells;
  std::vector<Unprobed> unprobed;  // those whose pods could not be made
  int sweeps = 0;
  bool settled = false;  // the last two sweeps saw the same
};

class Probing {
 public:
  // `api` and `agents` must outlive it.
  Probing(cluster::ApiClient& api, cluster::Agents& agents, ProbingPlace place,
          ProbingOptions options)
      : api_(&api), agents_(&agents), place_(std::move(place)), options_(std::move(options)) {}
  Probing(const Probing&) = delete;
  Probing& operator=(const Probing&) = delete;
  // As remove(); an error then has nobody to go to.
  ~Probing();

  // Makes the pods, asks until two sweeps agree or 20 s have passed, and judges. `world` is what
  // there is without them; `dns` are pods of it. A workload whose pod the server refuses, or that
  // never runs, is named in the result. Errors: of the pods of elsewhere, and as
  // bench::AgentClient's.
  base::Result<ProbingResult> run(const ProbePlan& plan, checks::PolicyWorld world,
                                  const std::vector<ProbeOutside>& outside);
  // Takes away all that was made, and waits until it has gone. Idempotent. Errors: timed_out, and
  // as ApiClient::checked().
  base::Result<> remove();

 private:
  [[nodiscard]] cluster::Placement placement(const std::string& in_namespace) const;
  base::Result<> create(const ProbePod& pod);
  base::Result<> join(const ProbePod& pod);
  // The name of an ephemeral container: a pod keeps it for good.
  [[nodiscard]] std::string container() const { return "stackbench-" + place_.ours.run; }
  // Waits until those that were joined are alone again.
  base::Result<> await_left(const cluster::ApiOptions& options);
  // Waits until it runs; its object.
  base::Result<base::Json> await(const ProbePod& pod);
  base::Result<> serve(const ProbePod& pod, std::uint32_t server_id);
  base::Result<std::vector<bench::ReachOutcome>> sweep(const std::vector<ProbeCell>& cells);

  cluster::ApiClient* api_;
  cluster::Agents* agents_;
  ProbingPlace place_;
  ProbingOptions options_;
  std::vector<std::string> touched_;         // namespaces of others that have pods of ours
  std::vector<ProbePod> joined_;             // pods of others with a container of ours
  bool own_namespace_ = false;               // it is there
  std::vector<bench::AgentClient> clients_;  // by end
};

// How long a plan's sweep takes at this rate, of so many packets.
[[nodiscard]] std::size_t packets_of(const std::vector<ProbeCell>& cells);

}  // namespace stackbench
