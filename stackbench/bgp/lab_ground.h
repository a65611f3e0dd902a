// The lab as a ground: speakers of our own on its nodes, and servers of our own in its pods.
#pragma once

#include <memory>
#include <optional>

#include "cluster/lab/lab_target.h"
#include "stackbench/bgp/ground.h"
#include "stackbench/bgp/probe_stream.h"
#include "stackbench/bgp/speakers.h"

namespace stackbench::bgp {

class LabGround : public Ground {
 public:
  // Brings the environment up. The target outlives it. Errors: as LabTarget::provision() and
  // Responder::start().
  static base::Result<std::unique_ptr<LabGround>> make(cluster::LabTarget& target,
                                                       const cluster::EnvironmentPlan& plan,
                                                       const SpeakersSpec& spec);

  [[nodiscard]] const cluster::EnvironmentPlan& plan() const override { return plan_; }
  [[nodiscard]] const cluster::EnvironmentHandle& environment() const override {
    return environment_;
  }
  [[nodiscard]] int router_netns() const override { return netns("router"); }
  [[nodiscard]] int client_netns() const override { return netns(cluster::external_client); }
  [[nodiscard]] std::map<std::string, std::string> session_interfaces() const override;
  [[nodiscard]] base::Duration patience() const override;

  base::Result<> begin(const std::string& directory, const base::Interrupt& interrupt) override;
  [[nodiscard]] const bgp_peer::Client& router() const override { return speakers_->router(); }

  base::Result<cluster::WriteStamps> write(const Rounds& rounds, bool present) override;
  [[nodiscard]] std::vector<checks::ExpectedAnnouncement> expected(
      base::AddressFamily family) const override {
    return speakers_->expected(family);
  }
  [[nodiscard]] bgp_peer::Prefix pool(base::AddressFamily family) const override;
  [[nodiscard]] std::vector<checks::ExpectedSession> expected_sessions() const override {
    return speakers_->expected_sessions();
  }

  void plant(Fault fault) override;
  [[nodiscard]] Fault fault() const override { return speakers_->fault(); }
  [[nodiscard]] bgp_peer::NextHopKind next_hops() const override { return spec_.next_hops; }
  void before_announcement() override;
  void after_announcement() override;

  [[nodiscard]] cluster::LabTarget& target() { return target_; }
  // Once begin() has returned.
  [[nodiscard]] Speakers& speakers() { return *speakers_; }

 private:
  LabGround(cluster::LabTarget& target, cluster::EnvironmentPlan plan, SpeakersSpec spec)
      : target_(target), plan_(std::move(plan)), spec_(std::move(spec)) {}

  [[nodiscard]] int netns(std::string_view place) const;
  base::Result<> start_responders();

  cluster::LabTarget& target_;
  cluster::EnvironmentPlan plan_;
  SpeakersSpec spec_;
  cluster::EnvironmentHandle environment_;
  std::vector<Responder> responders_;
  std::unique_ptr<Speakers> speakers_;
};

}  // namespace stackbench::bgp
