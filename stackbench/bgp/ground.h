// Where a run about BGP takes place, behind one face: a lab, whose nodes' speakers are ours, or a
// cluster, where somebody else announces, with a router outside of it. A site (measure.h) stands on
// one and does the same on either.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/interrupt.h"
#include "base/result.h"
#include "bgp-peer/client.h"
#include "bgp-peer/fib.h"
#include "checks/bgp_announces.h"
#include "cluster/target.h"
#include "stackbench/scenario/bgp.h"

namespace stackbench::bgp {

struct Rounds {
  std::string service;  // a LoadBalancer of the environment
  base::AddressFamily family = base::AddressFamily::ipv4;
  Write write = Write::service;
  int rounds = 12;
  Budget budget = {};
};

// Calls come from the controller's thread.
class Ground {
 public:
  virtual ~Ground() = default;

  [[nodiscard]] virtual const cluster::EnvironmentPlan& plan() const = 0;
  // Up once begin() has returned.
  [[nodiscard]] virtual const cluster::EnvironmentHandle& environment() const = 0;
  // Who announces and where the router is, for the report; null where that needs no word.
  [[nodiscard]] virtual base::Json facts() const { return {}; }
  // The network namespaces of the router and of the client, as descriptors that live as long as
  // this. -1: the router's kernel is out of reach, and its daemon's word is all there is.
  [[nodiscard]] virtual int router_netns() const = 0;
  [[nodiscard]] virtual int client_netns() const = 0;
  // The router's interfaces that sessions pass, each by the name of its capture: {"node1", "eth0"}.
  [[nodiscard]] virtual std::map<std::string, std::string> session_interfaces() const = 0;
  // How the router's kernel spreads flows over next hops, where that is ours to say.
  [[nodiscard]] virtual bgp_peer::NextHopKind next_hops() const {
    return bgp_peer::NextHopKind::hash_threshold;
  }
  // How long the effect of a write may take before it is taken for one that never comes.
  [[nodiscard]] virtual base::Duration patience() const = 0;

  // Starts who answers, who announces and the router, and returns when every session is
  // established. What daemons write goes below `directory`. Errors: missing, input, timed_out (who
  // is not up), interrupted, system.
  virtual base::Result<> begin(const std::string& directory, const base::Interrupt& interrupt) = 0;
  // Of the router's daemon; since begin().
  [[nodiscard]] virtual const bgp_peer::Client& router() const = 0;

  // Makes a Service appear or go, as the rounds say. Errors: as cluster::Target's.
  virtual base::Result<cluster::WriteStamps> write(const Rounds& rounds, bool present) = 0;
  // What must be announced after the last write, whatever is planted: the prefixes of this family,
  // with the nodes that must announce each; and all addresses that are the run's alone.
  [[nodiscard]] virtual std::vector<checks::ExpectedAnnouncement> expected(
      base::AddressFamily family) const = 0;
  [[nodiscard]] virtual bgp_peer::Prefix pool(base::AddressFamily family) const = 0;
  [[nodiscard]] virtual std::vector<checks::ExpectedSession> expected_sessions() const = 0;

  // From the next write on.
  virtual void plant(Fault fault) = 0;
  [[nodiscard]] virtual Fault fault() const = 0;
  // Around a write that announces, for faults that change who answers.
  virtual void before_announcement() {}
  virtual void after_announcement() {}
};

}  // namespace stackbench::bgp
