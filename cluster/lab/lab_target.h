// The target `lab`: environments of network namespaces on this machine, all up at once inside one
// sandbox, the host untouched. What is measured there says what this kernel does, never what a
// CNI does.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/interrupt.h"
#include "cluster/fabric/cgroup.h"
#include "cluster/fabric/sandbox.h"
#include "cluster/lab/environment.h"
#include "cluster/target.h"

namespace cluster {

struct LabOptions {
  // The agent's executable; empty: $STACKBENCH_AGENT, or stackbench-agent beside our own.
  std::string agent = {};
  // The user's wish to stop, which ends waits for proxies; outlives the target. Absent: nobody's.
  const base::Interrupt* interrupt = nullptr;
};

class LabTarget : public Target {
 public:
  explicit LabTarget(LabOptions options = {}) : options_(std::move(options)) {}
  // As teardown(); an error then has nobody to go to.
  ~LabTarget() override;

  [[nodiscard]] std::string_view name() const override { return "lab"; }
  base::Result<std::optional<std::string>> unavailable(const EnvironmentPlan& plan) override;
  // The first call makes the sandbox. A plan of a name that is up with another content: input.
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
  base::Result<AgentStreams> agent(std::string_view environment, std::string_view pod) override;
  base::Result<Observer> observe(std::string_view environment, std::string_view pod) override;
  base::Result<std::vector<DeniedPacket>> denied_lately(std::string_view environment,
                                                        std::int64_t since_ns) override;
  base::Result<std::vector<ProxyUsage>> proxy_usage(std::string_view environment) override;
  base::Result<std::vector<ProxyCounters>> proxy_counters(std::string_view environment) override;
  base::Result<> close_kept_connections(std::string_view environment) override;
  base::Result<WriteStamps> restart_proxy(std::string_view environment, std::string_view pod,
                                          ProxyEnd how) override;
  base::Result<MeshIdentities> mesh_identities(std::string_view environment) override;
  base::Result<std::optional<ImpostorCertificates>> impostor_certificates(
      std::string_view environment) override;
  base::Result<Rotated> rotate_certificates(std::string_view environment,
                                            RotationStep step) override;
  [[nodiscard]] base::Json facts() const override;

  // What policies denied in an environment, the latest; empty where none was ever written there.
  // Errors: input (no such environment).
  [[nodiscard]] base::Result<RecentDenials> recent_denials(std::string_view environment) const;
  // As Environment::follow_services(). Errors: also input, when there is no such environment.
  base::Result<> follow_services(std::string_view environment, ServiceFollower follower);

  // For tests and checks that look behind the seam: nullptr before the first provision() and after
  // teardown(), and for an environment that is not up.
  [[nodiscard]] const Sandbox* sandbox() const { return sandbox_ ? &*sandbox_ : nullptr; }
  [[nodiscard]] const Environment* environment(std::string_view name) const;

 private:
  base::Result<Environment*> find(std::string_view name);
  [[nodiscard]] base::Result<std::string> agent_executable() const;

  LabOptions options_;
  // In this order: environments end before the sandbox, and that before its cgroups.
  std::unique_ptr<CgroupTree> cgroups_;
  std::optional<Sandbox> sandbox_;
  std::map<std::string, std::unique_ptr<Environment>, std::less<>> environments_;
};

}  // namespace cluster
