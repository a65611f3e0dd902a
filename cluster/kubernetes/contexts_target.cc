#include "cluster/kubernetes/contexts_target.h"

#include <utility>

namespace cluster {

using base::Result;

Result<Target*> ContextsTarget::in(const std::string& context) {
  const auto found = targets_.find(context);
  if (found != targets_.end()) return found->second.get();
  auto target = reach_(context);
  if (!target) {
    if (context.empty()) return std::unexpected(std::move(target).error());
    return base::in_context(std::move(target).error(), "context {}", context);
  }
  return targets_.emplace(context, *std::move(target)).first->second.get();
}

Result<Target*> ContextsTarget::of(std::string_view environment) {
  const auto found = contexts_.find(environment);
  if (found != contexts_.end()) return in(found->second);
  return base::fail(base::ErrorKind::input, "there is no environment \"{}\"", environment);
}

Result<std::optional<std::string>> ContextsTarget::unavailable(const EnvironmentPlan& plan) {
  ASSIGN_OR_RETURN(auto* const target, in(plan.context));
  return target->unavailable(plan);
}

Result<EnvironmentHandle> ContextsTarget::provision(const EnvironmentPlan& plan) {
  ASSIGN_OR_RETURN(auto* const target, in(plan.context));
  contexts_[plan.name] = plan.context;
  return target->provision(plan);
}

Result<> ContextsTarget::teardown() {
  Result<> outcome;
  for (const auto& [context, target] : targets_) {
    if (auto down = target->teardown(); !down && outcome) outcome = std::move(down);
  }
  return outcome;
}

Result<WriteStamps> ContextsTarget::apply(std::string_view environment, const base::Json& object) {
  ASSIGN_OR_RETURN(auto* const target, of(environment));
  return target->apply(environment, object);
}

Result<WriteStamps> ContextsTarget::remove(std::string_view environment, std::string_view kind,
                                           std::string_view name) {
  ASSIGN_OR_RETURN(auto* const target, of(environment));
  return target->remove(environment, kind, name);
}

Result<WriteStamps> ContextsTarget::set_readiness(std::string_view environment,
                                                  base::AddressFamily family,
                                                  const std::map<std::string, Readiness>& pods) {
  ASSIGN_OR_RETURN(auto* const target, of(environment));
  return target->set_readiness(environment, family, pods);
}

Result<WriteStamps> ContextsTarget::set_labels(std::string_view environment, LabelledKind kind,
                                               std::string_view name,
                                               const std::map<std::string, std::string>& labels) {
  ASSIGN_OR_RETURN(auto* const target, of(environment));
  return target->set_labels(environment, kind, name, labels);
}

Result<WriteStamps> ContextsTarget::restart_pod(std::string_view environment, std::string_view pod,
                                                const PodRestart& how) {
  ASSIGN_OR_RETURN(auto* const target, of(environment));
  return target->restart_pod(environment, pod, how);
}

Result<std::vector<DeniedPacket>> ContextsTarget::denied_lately(std::string_view environment,
                                                                std::int64_t since_ns) {
  ASSIGN_OR_RETURN(auto* const target, of(environment));
  return target->denied_lately(environment, since_ns);
}

Result<OtherPolicies> ContextsTarget::other_policies(std::string_view environment) {
  ASSIGN_OR_RETURN(auto* const target, of(environment));
  return target->other_policies(environment);
}

Result<std::optional<std::string>> ContextsTarget::why_silent(std::string_view environment,
                                                              std::string_view service) {
  ASSIGN_OR_RETURN(auto* const target, of(environment));
  return target->why_silent(environment, service);
}

Result<WriteStamps> ContextsTarget::restart_proxy(std::string_view environment,
                                                  std::string_view pod, ProxyEnd how) {
  ASSIGN_OR_RETURN(auto* const target, of(environment));
  return target->restart_proxy(environment, pod, how);
}

Result<std::vector<ProxyUsage>> ContextsTarget::proxy_usage(std::string_view environment) {
  ASSIGN_OR_RETURN(auto* const target, of(environment));
  return target->proxy_usage(environment);
}

Result<std::vector<ProxyCounters>> ContextsTarget::proxy_counters(std::string_view environment) {
  ASSIGN_OR_RETURN(auto* const target, of(environment));
  return target->proxy_counters(environment);
}

Result<> ContextsTarget::close_kept_connections(std::string_view environment) {
  ASSIGN_OR_RETURN(auto* const target, of(environment));
  return target->close_kept_connections(environment);
}

Result<MeshIdentities> ContextsTarget::mesh_identities(std::string_view environment) {
  ASSIGN_OR_RETURN(auto* const target, of(environment));
  return target->mesh_identities(environment);
}

Result<std::optional<ImpostorCertificates>> ContextsTarget::impostor_certificates(
    std::string_view environment) {
  ASSIGN_OR_RETURN(auto* const target, of(environment));
  return target->impostor_certificates(environment);
}

Result<Rotated> ContextsTarget::rotate_certificates(std::string_view environment,
                                                    RotationStep step) {
  ASSIGN_OR_RETURN(auto* const target, of(environment));
  return target->rotate_certificates(environment, step);
}

Result<AgentStreams> ContextsTarget::agent(std::string_view environment, std::string_view pod) {
  ASSIGN_OR_RETURN(auto* const target, of(environment));
  return target->agent(environment, pod);
}

Result<Observer> ContextsTarget::observe(std::string_view environment, std::string_view pod) {
  ASSIGN_OR_RETURN(auto* const target, of(environment));
  return target->observe(environment, pod);
}

base::Json ContextsTarget::facts() const {
  if (targets_.size() == 1) return targets_.begin()->second->facts();
  base::Json all = {{"target", "kubernetes"}};
  for (const auto& [context, target] : targets_) {
    auto facts = target->facts();
    if (const auto environments = facts.find("environments"); environments != facts.end()) {
      for (const auto& [name, its] : environments->items()) all["environments"][name] = its;
      facts.erase("environments");
    }
    all["contexts"][context] = std::move(facts);
  }
  return all;
}

}  // namespace cluster
