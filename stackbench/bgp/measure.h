// Announces and withdraws a LoadBalancer's address in a lab, again and again, and takes the times
// of each: what `bgp:` in a scenario asks for.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/interrupt.h"
#include "base/result.h"
#include "checks/finding.h"
#include "cluster/lab/lab_target.h"
#include "stackbench/bgp/convergence.h"
#include "stackbench/bgp/speakers.h"

namespace stackbench::bgp {

struct Rounds {
  std::string service;  // a LoadBalancer of the environment
  base::AddressFamily family = base::AddressFamily::ipv4;
  Write write = Write::service;
  int rounds = 12;
  Budget budget = {};
};

struct Outcome {
  std::vector<Convergence> convergences;            // announced and withdrawn in turn
  std::map<std::string, checks::Finding> findings;  // by the check's name
  bool interrupted = false;  // the user stopped it: what is here is of the rounds before
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
  Site(const Site&) = delete;
  Site& operator=(const Site&) = delete;
  ~Site();

  void plant(Fault fault);
  // Withdraws what is announced, and then announces and withdraws so many times. Errors:
  // interrupted, before the first round was whole; system, also where a capture lost packets;
  // input, where the Service cannot be measured.
  base::Result<Outcome> measure(const Rounds& rounds);

 private:
  struct State;
  explicit Site(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace stackbench::bgp
