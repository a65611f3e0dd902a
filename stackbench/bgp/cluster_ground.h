// A cluster as a ground: whoever announces there (MetalLB, Cilium), agents that answer in pods, and
// a router outside, of a gobgpd of ours or one that is there.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>

#include "bench/agent/client.h"
#include "bgp-peer/daemon.h"
#include "cluster/kubernetes/kubernetes_target.h"
#include "stackbench/bgp/announcer_objects.h"
#include "stackbench/bgp/ground.h"
#include "stackbench/bgp/router_place.h"
#include "stackbench/bgp/speakers.h"

namespace stackbench::bgp {

struct ClusterGroundSpec {
  SpeakersSpec speakers = {};
  bgp_peer::Prefix pool = {};
  // wrong_community: the cluster is told one community too many. announced_without_endpoint: what
  // the scenario calls Local is written as Cluster. No other can be planted here.
  Fault fault = Fault::none;
  std::function<void(std::string_view)> progress = {};  // told what is waited for; may be empty
};

class ClusterGround : public Ground {
 public:
  // Nothing is done yet. The target outlives it, and its teardown() takes away what begin() made.
  // Errors: input (a fault that cannot be planted, a pool that is none).
  static base::Result<std::unique_ptr<ClusterGround>> make(cluster::KubernetesTarget& target,
                                                           const cluster::EnvironmentPlan& plan,
                                                           RouterPlace place,
                                                           ClusterGroundSpec spec);

  [[nodiscard]] const cluster::EnvironmentPlan& plan() const override { return plan_; }
  [[nodiscard]] const cluster::EnvironmentHandle& environment() const override {
    return environment_;
  }
  [[nodiscard]] int router_netns() const override { return place_.router.get(); }
  [[nodiscard]] int client_netns() const override { return place_.client.get(); }
  [[nodiscard]] std::map<std::string, std::string> session_interfaces() const override;
  [[nodiscard]] base::Duration patience() const override;

  base::Result<> begin(const std::string& directory, const base::Interrupt& interrupt) override;
  [[nodiscard]] const bgp_peer::Client& router() const override;

  base::Result<cluster::WriteStamps> write(const Rounds& rounds, bool present) override;
  [[nodiscard]] std::vector<checks::ExpectedAnnouncement> expected(
      base::AddressFamily family) const override;
  [[nodiscard]] bgp_peer::Prefix pool(base::AddressFamily family) const override;
  [[nodiscard]] std::vector<checks::ExpectedSession> expected_sessions() const override;

  void plant(Fault fault) override { fault_ = fault; }
  [[nodiscard]] Fault fault() const override { return fault_; }

  [[nodiscard]] base::Json facts() const override;

 private:
  ClusterGround(cluster::KubernetesTarget& target, cluster::EnvironmentPlan plan, RouterPlace place,
                ClusterGroundSpec spec);

  base::Result<> start_router(const std::string& directory, const base::Interrupt& interrupt);
  base::Result<> tell_announcer();
  base::Result<> start_responders(const base::Interrupt& interrupt);
  base::Result<> await_sessions(const base::Interrupt& interrupt) const;
  base::Result<> await_announcements(const base::Interrupt& interrupt) const;
  base::Result<cluster::WriteStamps> write_service(const std::string& name);
  [[nodiscard]] std::vector<base::IpAddress> announcing_nodes(const std::string& service,
                                                              base::AddressFamily family) const;

  cluster::KubernetesTarget& target_;
  cluster::EnvironmentPlan plan_;
  RouterPlace place_;
  ClusterGroundSpec spec_;
  Fault fault_ = Fault::none;
  std::optional<cluster::Announcer> announcer_;
  Telling telling_;
  Peering peering_;
  cluster::EnvironmentHandle environment_;
  std::set<std::string> absent_;           // Services that are deleted
  std::map<std::string, bool> readiness_;  // by pod, as it was written last
  std::optional<bgp_peer::Daemon> daemon_;
  std::optional<bgp_peer::Client> reached_;
  std::vector<bench::AgentClient> agents_;
};

}  // namespace stackbench::bgp
