// BGP in a lab: each node runs a gobgpd that announces the addresses of LoadBalancer Services to
// the top-of-rack router, which runs one, too. What is announced follows the lab's Services as
// Cilium's BGP control plane follows a cluster's: externalTrafficPolicy Cluster by every node,
// Local by nodes with a ready endpoint. What goes is withdrawn before the nodes forget it, what
// comes is announced once they have it.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/interrupt.h"
#include "base/result.h"
#include "bgp-peer/daemon.h"
#include "bgp-peer/fib.h"
#include "bgp-peer/sink.h"
#include "checks/bgp_announces.h"
#include "cluster/lab/lab_target.h"
#include "stackbench/scenario/bgp.h"

namespace stackbench::bgp {

// The sizes of planted faults.
inline constexpr auto withdrawal_delay = std::chrono::milliseconds(250);
inline constexpr auto early_by = std::chrono::milliseconds(40);

struct SpeakersSpec {
  bgp_peer::Asn router_asn = {64513};
  bgp_peer::Asn node_asn = {64512};
  std::vector<bgp_peer::Community> communities = {};
  std::uint32_t hold_time_s = 9;
  std::optional<std::uint32_t> restart_time_s = {};
  bool graceful_nodes = true;  // whether the nodes tell of it, too, and not the router alone
  // Of TCP MD5 signatures (RFC 2385). With one, the router knows the nodes by their addresses, as
  // GoBGP signs with such neighbours alone; else it takes whoever dials in from their network.
  std::string password = {};
  std::uint32_t max_prefixes = 0;  // that the router takes of a node and a family; 0: any number
  bgp_peer::NextHopKind next_hops = bgp_peer::NextHopKind::hash_threshold;  // in the router
};

// What a node's daemon is started with, where that is not as specified.
struct NodeStart {
  std::optional<std::uint32_t> restart_time_s = {};  // absent: without graceful restart
  bool restarting = false;                           // as bgp_peer::DaemonOptions
  std::optional<bgp_peer::Asn> asn = {};
  std::optional<std::string> password = {};
  bool announces = true;  // what it announced before, as soon as it runs
};

// The daemons of one environment. Calls come from the controller's thread. The target outlives it.
class Speakers {
 public:
  // Starts them below `directory`, an absolute path that the lab sees, too, takes the lab's static
  // routes to load balancers out of the router, and follows the environment's Services. Returns
  // when every session is established: GoBGP waits 5 to 10 s before it connects. Errors: missing
  // (gobgpd, with how to get it), input, timed_out (who is not up), system.
  static base::Result<std::unique_ptr<Speakers>> start(
      cluster::LabTarget& target, const cluster::EnvironmentHandle& environment,
      const SpeakersSpec& spec, const std::string& directory, const base::Interrupt& interrupt);
  Speakers(const Speakers&) = delete;
  Speakers& operator=(const Speakers&) = delete;
  ~Speakers();

  [[nodiscard]] const bgp_peer::Client& router() const { return router_->client(); }

  // What runs, or ran, for whoever ends it on purpose. Errors of all that follows: as start().
  [[nodiscard]] bgp_peer::Daemon& router_daemon() { return *router_; }
  [[nodiscard]] bgp_peer::Daemon& node_daemon(int node) { return nodes_.at(node); }
  // Ends what runs there still, and starts it anew. Sessions come up later.
  base::Result<> restart_router();
  base::Result<> restart_node(int node, const NodeStart& how);
  // Has a node announce these beside what it announces of Services, or withdraw them.
  base::Result<> announce_more(int node, const std::vector<bgp_peer::Prefix>& prefixes) const;
  base::Result<> withdraw_more(int node, const std::vector<bgp_peer::Prefix>& prefixes) const;
  // Tells a node's daemon again what it announces of Services: one that was started anew has
  // forgotten it.
  base::Result<> announce_again(int node);
  // What can stand in the place of the router's daemon, once that has ended.
  [[nodiscard]] bgp_peer::SinkSpec sink() const;
  // The nodes' daemons, by node.
  [[nodiscard]] const std::map<int, bgp_peer::Daemon>& daemons() const { return nodes_; }
  // A node is taken out: it withdraws what it announces, and is expected to announce nothing; or
  // is put back, and announces it again.
  base::Result<> take_out(int node);
  base::Result<> put_back(int node);
  // From the next change of Services on.
  void plant(Fault fault) { fault_ = fault; }
  [[nodiscard]] Fault fault() const { return fault_; }
  // When announcements were last handed to a daemon, before it had them; 0 before any were.
  [[nodiscard]] base::MonotonicTime announced() const { return announced_at_; }

  // What must be announced of the Services as they were last told, whatever is planted: the
  // prefixes of this family, with the nodes that must announce each.
  [[nodiscard]] std::vector<checks::ExpectedAnnouncement> expected(
      base::AddressFamily family) const;
  [[nodiscard]] std::vector<checks::ExpectedSession> expected_sessions() const;

 private:
  using Announced = std::map<int, std::set<bgp_peer::Prefix>>;  // by node

  Speakers(cluster::LabTarget& target, const cluster::EnvironmentHandle& environment,
           SpeakersSpec spec, std::string directory)
      : target_(target),
        environment_(environment),
        spec_(std::move(spec)),
        directory_(std::move(directory)) {}

  base::Result<> begin(const base::Interrupt& interrupt);
  [[nodiscard]] bgp_peer::SessionSpec session_spec() const;
  [[nodiscard]] base::Result<bgp_peer::DaemonSpec> router_spec() const;
  [[nodiscard]] bgp_peer::DaemonSpec node_spec(const cluster::NodeHandle& node,
                                               const NodeStart& how) const;
  base::Result<bgp_peer::Daemon> start_at(const std::string& place,
                                          const bgp_peer::DaemonSpec& daemon,
                                          bool restarting = false) const;
  base::Result<> remove_static_routes() const;
  base::Result<> await_sessions(const base::Interrupt& interrupt) const;
  base::Result<> follow(const cluster::ServiceTable& table, bool programmed);
  base::Result<> announce(const Announced& now);
  base::Result<> tell(const std::map<int, std::vector<bgp_peer::Path>>& paths) const;
  base::Result<> withdraw(const Announced& now);
  [[nodiscard]] Announced wanted(const cluster::ServiceTable& table, bool everywhere) const;
  [[nodiscard]] bgp_peer::Path path_of(int node, const bgp_peer::Prefix& prefix) const;

  cluster::LabTarget& target_;
  cluster::EnvironmentHandle environment_;
  SpeakersSpec spec_;
  std::string directory_;  // of a directory for each daemon
  Fault fault_ = Fault::none;
  std::optional<bgp_peer::Daemon> router_;
  std::map<int, bgp_peer::Daemon> nodes_;
  cluster::ServiceTable table_;
  std::set<int> out_;  // nodes taken out
  Announced announced_;
  base::MonotonicTime announced_at_;
};

}  // namespace stackbench::bgp
