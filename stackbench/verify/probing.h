// What packets do: servers in probe pods, and who of them reaches whom.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "base/interrupt.h"
#include "base/result.h"
#include "bench/agent/client.h"
#include "stackbench/verify/probe_cells.h"
#include "stackbench/verify/probe_pods.h"

namespace stackbench {

struct ProbingOptions {
  double rate = 200;  // packets a second that ask, at most
  // Of a target: many times what a cluster's round trip takes.
  base::Duration timeout = std::chrono::milliseconds(300);
  // How long two sweeps in a row may see different things.
  base::Duration settle_within = std::chrono::seconds(20);
  // How long rules may take to reach every node: until then what is other than policies say is
  // asked again, though two sweeps agree.
  base::Duration enforced_within = std::chrono::seconds(5);
  const base::Interrupt* interrupt = nullptr;
};

struct ProbingResult {
  std::vector<JudgedCell> cells;
  std::vector<Unprobed> unprobed;  // those whose pods could not be made
  int sweeps = 0;
  bool settled = false;  // the last two sweeps saw the same
};

class Probing {
 public:
  // `pods` must outlive it.
  Probing(ProbePods& pods, ProbingOptions options) : pods_(&pods), options_(options) {}
  Probing(const Probing&) = delete;
  Probing& operator=(const Probing&) = delete;

  // Makes the pods, asks until two sweeps agree, and judges. `world` is what there is without them;
  // `outside` are addresses of it or of nobody. A workload whose pod is refused, or never runs, is
  // named in the result. Errors: of the other pods, and as bench::AgentClient's.
  base::Result<ProbingResult> run(const ProbePlan& plan, checks::PolicyWorld world,
                                  const std::vector<ProbeOutside>& outside);
  // Ends the servers, and takes away all that was made. Idempotent. Errors: as ProbePods::remove().
  base::Result<> remove();

 private:
  base::Result<> serve(const ProbePod& pod, std::uint32_t server_id);
  base::Result<> add_end(const ProbePod& pod, checks::PolicyWorld& world, const base::Json& object);
  base::Result<> make_ends(const ProbePlan& plan, checks::PolicyWorld& world,
                           std::vector<Unprobed>& unprobed);
  base::Result<std::vector<bench::ReachOutcome>> sweep(const std::vector<ProbeCell>& cells);

  ProbePods* pods_;
  ProbingOptions options_;
  std::vector<ProbeEnd> ends_;
  std::vector<bench::AgentClient> clients_;  // by end
};

// Of how many packets a sweep is.
[[nodiscard]] std::size_t packets_of(const std::vector<ProbeCell>& cells);

// Whether another sweep is worth its while: two in a row have to agree, and what they see that is
// other than policies say may be on its way (ProbingOptions::enforced_within).
[[nodiscard]] bool sweeps_again(bool agree, const std::vector<JudgedCell>& judged,
                                base::Duration since, const ProbingOptions& options);

}  // namespace stackbench
