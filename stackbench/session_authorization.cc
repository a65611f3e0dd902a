// Requests that policies of a mesh decide about, outside of every measurement.
#include <algorithm>
#include <utility>

#include "bench/frame.h"
#include "stackbench/session_servers.h"

namespace stackbench {
namespace {

// Of HTTP, whose version a proxy translates where the port's is another; else the frame that
// servers of TCP workloads answer.
std::string request_of(const AccessSpec& access, bench::WorkloadKind kind,
                       const base::Endpoint& to) {
  if (bench::is_http(kind)) {
    return checks::access_request(to, access.method, access.path, access.token.value_or(""));
  }
  return framed_request();
}

}  // namespace

base::Result<> Session::put_mesh_objects(std::size_t environment) {
  const auto& mesh = plan_->environments[environment].mesh;
  // On a cluster they are there before its pods are.
  if (!mesh || on_cluster()) return {};
  for (const auto& object : mesh->spec.objects) {
    auto written = target_->apply(environments_[environment].name, object);
    if (!written) {
      return base::in_context(std::move(written).error(), "environment {}",
                              environments_[environment].name);
    }
  }
  return {};
}

base::Result<> Session::try_access(const PlannedArm& arm, const PlannedWorkload& workload,
                                   const std::vector<base::Endpoint>& dialled,
                                   checks::AuthorizationObservation& seen) {
  const auto kind = workload.spec.kind;
  for (const auto& access : plan_->scenario.authorization) {
    if (access.workload != workload.name) continue;
    ASSIGN_OR_RETURN(auto* const client, agent(arm.environment, access.from + "-0"));
    ASSIGN_OR_RETURN(
        auto tried,
        client->tls_probe({.doors = {{.name = access.name,
                                      .to = dialled.front(),
                                      .plaintext = true,
                                      .request = request_of(access, kind, dialled.front())}}}));
    seen.requests.push_back({.name = access.name,
                             .from = access.from,
                             .workload = workload.name,
                             .http = bench::is_http(kind),
                             .expected = access.expect,
                             .door = std::move(tried.doors.front())});
  }
  return {};
}

base::Result<checks::AuthorizationObservation> Session::try_authorization(std::size_t arm_index) {
  const auto& arm = plan_->arms[arm_index];
  checks::AuthorizationObservation seen;
  for (const auto& workload : plan_->workloads) {
    if (std::ranges::find(plan_->scenario.authorization, workload.name, &AccessSpec::workload) ==
        plan_->scenario.authorization.end()) {
      continue;
    }
    ASSIGN_OR_RETURN(const auto dialled, endpoints(arm, workload.spec.kind));
    Servers servers(*this, arm, workload.spec, false);
    for (const auto& name : arm.servers) RETURN_IF_ERROR(servers.send(name));
    RETURN_IF_ERROR(servers.await());
    auto tried = try_access(arm, workload, dialled, seen);
    RETURN_IF_ERROR(servers.stop_all());
    RETURN_IF_ERROR(tried);
    for (const auto& [pod, result] : servers.results()) {
      seen.came_to_servers += result.requests + result.bad_requests;
    }
  }
  return seen;
}

}  // namespace stackbench
