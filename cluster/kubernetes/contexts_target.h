// Several clusters as one target: each environment goes to the cluster of its context, which is
// reached when the first environment asks for it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "cluster/target.h"

namespace cluster {

class ContextsTarget : public Target {
 public:
  // Reaches the cluster of a context; empty: of the context in use. Errors: as
  // KubernetesTarget::create.
  using Reach = std::function<base::Result<std::unique_ptr<Target>>(const std::string& context)>;

  explicit ContextsTarget(Reach reach) : reach_(std::move(reach)) {}

  [[nodiscard]] std::string_view name() const override { return "kubernetes"; }
  base::Result<std::optional<std::string>> unavailable(const EnvironmentPlan& plan) override;
  base::Result<EnvironmentHandle> provision(const EnvironmentPlan& plan) override;
  base::Result<> teardown() override;
  base::Result<WriteStamps> apply(std::string_view environment, const base::Json& object) override;
  base::Result<WriteStamps> remove(std::string_view environment, std::string_view kind,
                                   std::string_view name) override;
  base::Result<WriteStamps> set_readiness(std::string_view environment, base::AddressFamily family,
                                          const std::map<std::string, Readiness>& pods) override;
  base::Result<WriteStamps> set_labels(std::string_view environment, LabelledKind kind,
                                       std::string_view name,
                                       const std::map<std::string, std::string>& labels) override;
  base::Result<WriteStamps> restart_pod(std::string_view environment, std::string_view pod,
                                        const PodRestart& how) override;
  base::Result<std::vector<DeniedPacket>> denied_lately(std::string_view environment,
                                                        std::int64_t since_ns) override;
  base::Result<OtherPolicies> other_policies(std::string_view environment) override;
  base::Result<std::optional<std::string>> why_silent(std::string_view environment,
                                                      std::string_view service) override;
  base::Result<WriteStamps> restart_proxy(std::string_view environment, std::string_view pod,
                                          ProxyEnd how) override;
  base::Result<std::vector<ProxyUsage>> proxy_usage(std::string_view environment) override;
  base::Result<std::vector<ProxyCounters>> proxy_counters(std::string_view environment) override;
  base::Result<> close_kept_connections(std::string_view environment) override;
  base::Result<MeshIdentities> mesh_identities(std::string_view environment) override;
  base::Result<std::optional<ImpostorCertificates>> impostor_certificates(
      std::string_view environment) override;
  base::Result<Rotated> rotate_certificates(std::string_view environment,
                                            RotationStep step) override;
  base::Result<AgentStreams> agent(std::string_view environment, std::string_view pod) override;
  base::Result<Observer> observe(std::string_view environment, std::string_view pod) override;
  // Of one cluster its own; of several under "contexts", by name, and every environment's.
  [[nodiscard]] base::Json facts() const override;

 private:
  base::Result<Target*> in(const std::string& context);
  base::Result<Target*> of(std::string_view environment);

  Reach reach_;
  std::map<std::string, std::unique_ptr<Target>> targets_;    // by context
  std::map<std::string, std::string, std::less<>> contexts_;  // by environment
};

}  // namespace cluster
