#include "stackbench/availability.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

namespace stackbench {
namespace {

// Arms that stay keep their order; one whose base does not stay is compared with none.
void leave_out(Plan& plan, const std::map<std::size_t, std::string>& reasons) {
  std::vector<PlannedArm> staying;
  std::map<std::size_t, std::size_t> places;
  for (std::size_t i = 0; i < plan.arms.size(); ++i) {
    auto& arm = plan.arms[i];
    const auto reason = reasons.find(i);
    if (reason != reasons.end()) {
      plan.skipped_arms.push_back(
          {arm.name, plan.environments[arm.environment].name, arm.dial, reason->second});
      continue;
    }
    places.emplace(i, staying.size());
    staying.push_back(std::move(arm));
  }
  for (auto& arm : staying) {
    if (!arm.base) continue;
    const auto place = places.find(*arm.base);
    arm.base = place == places.end() ? std::nullopt : std::optional(place->second);
  }
  plan.arms = std::move(staying);
}

// Why an arm's traffic has no address to go to or to come from; nothing where it has.
base::Result<std::optional<std::string>> lacks_address(const Plan& plan, const PlannedArm& arm,
                                                       const Session& session) {
  const auto no_family = [&](const std::string& whose) {
    return fmt::format("{} has no {} address", whose, base::enum_name(arm.family));
  };
  const auto client = session.client_address(arm);
  if (!client) {
    if (arm.from != cluster::external_client) return std::unexpected(client.error());
    return "the target has no client outside";
  }
  if (*client == base::IpAddress{}) return no_family(arm.from);
  for (const auto& workload : plan.workloads) {
    const auto endpoints = session.endpoints(arm, workload.spec.kind);
    if (!endpoints && endpoints.error().kind == base::ErrorKind::missing) {
      return endpoints.error().message;
    }
    if (!endpoints) return std::unexpected(endpoints.error());
    const auto absent = [](const base::Endpoint& endpoint) {
      return endpoint.address == base::IpAddress{};
    };
    if (std::ranges::any_of(*endpoints, absent)) {
      return no_family(base::StringScalar<DialTarget>::format(arm.dial));
    }
  }
  return std::nullopt;
}

}  // namespace

base::Result<> leave_out_unavailable(Plan& plan, cluster::Target& target) {
  std::map<std::string, std::string> reasons;  // by environment
  for (const auto& environment : plan.environments) {
    ASSIGN_OR_RETURN(auto reason, target.unavailable(environment));
    if (!reason) continue;
    plan.skipped_environments.push_back({environment.name, environment.datapath, *reason});
    reasons.emplace(environment.name, *std::move(reason));
  }
  if (reasons.empty()) return {};
  std::map<std::size_t, std::string> arms;
  for (std::size_t i = 0; i < plan.arms.size(); ++i) {
    const auto found = reasons.find(plan.environments[plan.arms[i].environment].name);
    if (found != reasons.end()) arms.emplace(i, found->second);
  }
  leave_out(plan, arms);

  const auto all = std::exchange(plan.environments, {});
  std::map<std::size_t, std::size_t> places;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (reasons.contains(all[i].name)) continue;
    places.emplace(i, plan.environments.size());
    plan.environments.push_back(all[i]);
  }
  for (auto& arm : plan.arms) arm.environment = places.at(arm.environment);
  return {};
}

void leave_out_unenforced(Plan& plan, const std::map<std::size_t, PoliciesInForce>& policies) {
  std::map<std::size_t, std::string> lacking;  // by environment
  bool nobody = false;
  for (const auto& [environment, in_force] : policies) {
    auto why = in_force.lacking();
    if (!why) continue;
    nobody = nobody || !in_force.seen.isolated;
    lacking.emplace(environment, *std::move(why));
  }
  std::map<std::size_t, std::string> reasons;  // by arm
  for (std::size_t i = 0; i < plan.arms.size(); ++i) {
    const auto environment = plan.arms[i].environment;
    if (const auto found = lacking.find(environment); found != lacking.end()) {
      reasons.emplace(i, found->second);
    } else if (nobody && plan.environments[environment].filler.policies == 0) {
      reasons.emplace(i,
                      "nobody enforces NetworkPolicies here: see the environments that have some");
    }
  }
  leave_out(plan, reasons);
}

base::Result<> leave_out_unreachable(Plan& plan, const Session& session) {
  std::map<std::size_t, std::string> reasons;
  for (std::size_t i = 0; i < plan.arms.size(); ++i) {
    ASSIGN_OR_RETURN(auto reason, lacks_address(plan, plan.arms[i], session));
    if (reason) reasons.emplace(i, *std::move(reason));
  }
  leave_out(plan, reasons);
  for (std::size_t i = 0; i < plan.environments.size(); ++i) {
    plan.environments[i].datapath = session.environments()[i].datapath;
  }
  return {};
}

}  // namespace stackbench
