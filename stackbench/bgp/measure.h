// Announces and withdraws a LoadBalancer's address, again and again, and takes the times of each:
// what `bgp:` in a scenario asks for.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/interrupt.h"
#include "base/result.h"
#include "checks/finding.h"
#include "cluster/lab/lab_target.h"
#include "reports/bgp_scale.h"
#include "stackbench/bgp/convergence.h"
#include "stackbench/bgp/ground.h"
#include "stackbench/bgp/speakers.h"

namespace stackbench::bgp {

struct Outcome {
  std::vector<Convergence> convergences;            // announced and withdrawn in turn
  std::map<std::string, checks::Finding> findings;  // by the check's name
  std::vector<reports::BgpScalePoint> scale = {};   // of a question about many Services
  bool interrupted = false;  // the user stopped it: what is here is of the rounds before
  SeenAt seen_at = SeenAt::router;
};

// A running site: speakers, the router's observers and kernel routes, answering pods and the
// client.
class Site {
 public:
  // `plan` is the environment's. `directory` gets what daemons write, and `capture-node<N>.pcap`.
  // Errors: as Speakers::start(), Capture::start() and Fib::open().
  static base::Result<std::unique_ptr<Site>> start(cluster::LabTarget& target,
                                                   const cluster::EnvironmentPlan& plan,
                                                   const SpeakersSpec& spec,
                                                   const std::string& directory,
                                                   const base::Interrupt& interrupt);
  // The same on any ground, its captures `capture-<NAME>.pcap`. Errors: as Ground::begin(),
  // Capture::start() and Fib::open().
  static base::Result<std::unique_ptr<Site>> start(std::unique_ptr<Ground> ground,
                                                   const std::string& directory,
                                                   const base::Interrupt& interrupt);
  Site(const Site&) = delete;
  Site& operator=(const Site&) = delete;
  ~Site();

  [[nodiscard]] const Ground& ground() const;
  void plant(Fault fault);
  // Withdraws what is announced, and then announces and withdraws so many times. Errors:
  // interrupted, before the first round was whole; system, also where a capture lost packets;
  // input, where the Service cannot be measured.
  base::Result<Outcome> measure(const Rounds& rounds);

  // What other questions than measure()'s are made of. Of a site in a lab alone: target(),
  // speakers(), use(), kill_router() and restart_router().
  [[nodiscard]] cluster::LabTarget& target();
  [[nodiscard]] const cluster::EnvironmentPlan& plan() const;
  [[nodiscard]] const cluster::EnvironmentHandle& environment() const;
  [[nodiscard]] Speakers& speakers();
  // What was seen since this was last called. Errors: system, what an observer met meanwhile.
  base::Result<Seen> take_seen();
  // Whether the router's kernel has so many routes of ours, each by way of these next hops, as it
  // told of them last; none of them: whether it has none.
  [[nodiscard]] bool routes_are(std::size_t count,
                                const std::vector<base::IpAddress>& next_hops) const;
  // By which next hops of ours it reaches a prefix, ascending; none: by none.
  [[nodiscard]] std::vector<base::IpAddress> next_hops_of(const bgp_peer::Prefix& prefix) const;
  // Takes the router's routes out of its kernel, and makes those to come of this kind of next hops.
  // Errors: as bgp_peer::Fib::use().
  base::Result<> use(bgp_peer::NextHopKind next_hops);
  // Packets that captures could not keep. Errors: system.
  [[nodiscard]] base::Result<std::uint64_t> lost_by_captures() const;
  // What follows is for whoever breaks its parts on purpose (faults.h).
  // The endpoint that outside clients dial. Errors: input, where there is none.
  [[nodiscard]] base::Result<base::Endpoint> endpoint_of(const std::string& service,
                                                         base::AddressFamily family) const;
  // What observers recorded since then, without probes. Errors: what one of them met.
  [[nodiscard]] base::Result<Seen> seen_since(base::MonotonicTime since) const;
  // Kills the router's daemon: once its watch tells so, its routes are taken out of the kernel.
  base::Result<> kill_router();
  // Starts it anew, and follows it.
  base::Result<> restart_router();
  // Errors: system, where a capture lost packets: an UPDATE it lacks would be one that never came.
  [[nodiscard]] base::Result<> captures_are_whole() const;

 private:
  struct State;
  explicit Site(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace stackbench::bgp
