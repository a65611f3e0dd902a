#include "stackbench/bgp/lab_ground.h"

#include <limits>

#include "cluster/lab/layout.h"
#include "cluster/lab/wiring.h"
#include "stackbench/scenario/bgp_pool.h"

namespace stackbench::bgp {

using base::ErrorKind;
using base::Result;
using bgp_peer::Prefix;

namespace {

// Its own controllers act at once.
constexpr auto lab_patience = std::chrono::seconds(2);
constexpr base::MonotonicTime never_opens{std::numeric_limits<std::int64_t>::max()};

}  // namespace

Result<std::unique_ptr<LabGround>> LabGround::make(cluster::LabTarget& target,
                                                   const cluster::EnvironmentPlan& plan,
                                                   const SpeakersSpec& spec) {
  std::unique_ptr<LabGround> ground(new LabGround(target, plan, spec));
  ASSIGN_OR_RETURN(ground->environment_, target.provision(plan));
  RETURN_IF_ERROR(ground->start_responders());
  return ground;
}

int LabGround::netns(std::string_view place) const {
  return target_.environment(environment_.name)->netns(place);
}

std::map<std::string, std::string> LabGround::session_interfaces() const {
  std::map<std::string, std::string> all;
  for (const auto& node : environment_.nodes) {
    const auto name = fmt::format("node{}", node.number);
    all[name] = name;
  }
  return all;
}

base::Duration LabGround::patience() const { return lab_patience; }

Result<> LabGround::start_responders() {
  for (const auto& port : plan_.ports) {
    if (port.protocol != cluster::Protocol::UDP) continue;
    for (const auto& pod : environment_.pods) {
      for (const auto family : {base::AddressFamily::ipv4, base::AddressFamily::ipv6}) {
        ASSIGN_OR_RETURN(
            auto responder,
            Responder::start(netns(pod.name), {pod.address(family), port.target_port}, pod.id));
        responders_.push_back(std::move(responder));
      }
    }
  }
  return {};
}

Result<> LabGround::begin(const std::string& directory, const base::Interrupt& interrupt) {
  ASSIGN_OR_RETURN(speakers_, Speakers::start(target_, environment_, spec_, directory, interrupt));
  return {};
}

Result<cluster::WriteStamps> LabGround::write(const Rounds& rounds, bool present) {
  if (rounds.write == Write::readiness) {
    std::map<std::string, cluster::Readiness> pods;
    const auto& group = environment_.services.at(rounds.service).target;
    for (const auto& pod : environment_.pods) {
      if (pod.group != group) continue;
      pods[pod.name] = present ? cluster::Readiness::ready : cluster::Readiness::unready;
    }
    return target_.set_readiness(environment_.name, rounds.family, pods);
  }
  if (!present) return target_.remove(environment_.name, "Service", rounds.service);
  ASSIGN_OR_RETURN(const auto layout, cluster::lay_out(plan_));
  for (const auto& service : cluster::services_of(plan_, layout)) {
    if (service.metadata.name == rounds.service) {
      return target_.apply(environment_.name, base::to_json(service));
    }
  }
  return base::fail(ErrorKind::input, "bgp.service: there is no Service {}", rounds.service);
}

Prefix LabGround::pool(base::AddressFamily family) const { return lab_pool(family); }

void LabGround::plant(Fault fault) {
  for (const auto& responder : responders_) responder.open_at({0});
  speakers_->plant(fault);
}

void LabGround::before_announcement() {
  if (fault() != Fault::announced_early) return;
  for (const auto& responder : responders_) responder.open_at(never_opens);
}

void LabGround::after_announcement() {
  if (fault() != Fault::announced_early) return;
  for (const auto& responder : responders_) responder.open_at(speakers_->announced() + early_by);
}

}  // namespace stackbench::bgp
