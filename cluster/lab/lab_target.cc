#include "cluster/lab/lab_target.h"

#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <tuple>
#include <utility>

#include <netinet/in.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/process.h"
#include "cluster/lab/addresses.h"
#include "cluster/lab/wiring.h"

namespace cluster {

using base::ErrorKind;
using base::Result;

LabTarget::~LabTarget() { std::ignore = LabTarget::teardown(); }

Result<std::optional<std::string>> LabTarget::unavailable(const EnvironmentPlan& plan) {
  if (plan.datapath != DatapathKind::installed) return std::nullopt;
  return "the lab has no datapath of its own: give the environment one, or say --target kubernetes";
}

Result<EnvironmentHandle> LabTarget::provision(const EnvironmentPlan& plan) {
  if (const auto* up = environment(plan.name); up != nullptr) {
    if (up->plan() == plan) return up->handle();
    return base::fail(ErrorKind::input, "environment {} is up with another plan", plan.name);
  }
  if (!cgroups_) {
    ASSIGN_OR_RETURN(auto tree, CgroupTree::create());
    cgroups_ = std::make_unique<CgroupTree>(std::move(tree));
  }
  if (!sandbox_) {
    ASSIGN_OR_RETURN(auto sandbox, Sandbox::create());
    sandbox_.emplace(std::move(sandbox));
  }
  ASSIGN_OR_RETURN(auto made, Environment::create(*sandbox_, *cgroups_, plan, options_.interrupt));
  const auto& handle = made->handle();
  environments_.emplace(plan.name, std::move(made));
  return handle;
}

Result<> LabTarget::teardown() {
  Result<> outcome;
  environments_.clear();
  if (sandbox_) {
    outcome = sandbox_->end();
    sandbox_.reset();
  }
  if (cgroups_) {
    auto removed = cgroups_->remove();
    if (outcome) outcome = std::move(removed);
    cgroups_.reset();
  }
  return outcome;
}

const Environment* LabTarget::environment(std::string_view name) const {
  const auto found = environments_.find(name);
  return found == environments_.end() ? nullptr : found->second.get();
}

Result<Environment*> LabTarget::find(std::string_view name) {
  const auto found = environments_.find(name);
  if (found != environments_.end()) return found->second.get();
  return base::fail(ErrorKind::input, "there is no environment \"{}\"", name);
}

Result<WriteStamps> LabTarget::apply(std::string_view environment, const base::Json& object) {
  ASSIGN_OR_RETURN(Environment * found, find(environment));
  return found->apply(object);
}

Result<WriteStamps> LabTarget::remove(std::string_view environment, std::string_view kind,
                                      std::string_view name) {
  ASSIGN_OR_RETURN(Environment * found, find(environment));
  return found->remove(kind, name);
}

Result<WriteStamps> LabTarget::set_readiness(std::string_view environment,
                                             base::AddressFamily family,
                                             const std::map<std::string, Readiness>& pods) {
  ASSIGN_OR_RETURN(Environment * found, find(environment));
  return found->set_readiness(family, pods);
}

Result<WriteStamps> LabTarget::set_labels(std::string_view environment, LabelledKind kind,
                                          std::string_view name,
                                          const std::map<std::string, std::string>& labels) {
  ASSIGN_OR_RETURN(Environment * found, find(environment));
  return found->set_labels(kind, name, labels);
}

Result<WriteStamps> LabTarget::restart_pod(std::string_view environment, std::string_view pod,
                                           const PodRestart& how) {
  ASSIGN_OR_RETURN(Environment * found, find(environment));
  return found->restart_pod(pod, how);
}

Result<WriteStamps> LabTarget::restart_proxy(std::string_view environment, std::string_view pod,
                                             ProxyEnd how) {
  ASSIGN_OR_RETURN(Environment * found, find(environment));
  return found->restart_proxy(pod, how);
}

Result<RecentDenials> LabTarget::recent_denials(std::string_view name) const {
  if (const auto* found = environment(name); found != nullptr) return found->recent_denials();
  return base::fail(ErrorKind::input, "there is no environment \"{}\"", name);
}

Result<std::vector<DeniedPacket>> LabTarget::denied_lately(std::string_view environment,
                                                           std::int64_t since_ns) {
  ASSIGN_OR_RETURN(const auto recent, recent_denials(environment));
  std::vector<DeniedPacket> denied;
  for (const auto& one : recent.denials) {
    if (one.protocol != IPPROTO_TCP && one.protocol != IPPROTO_UDP) continue;
    if (one.at_ns < since_ns) continue;
    denied.push_back(
        {.at_ns = one.at_ns,
         .from = one.from,
         .to = one.to,
         .protocol = one.protocol == IPPROTO_TCP ? base::Protocol::TCP : base::Protocol::UDP,
         .verdict = fmt::format("{} of {}: {}", one.egress ? "egress" : "ingress",
                                one.pod.empty() ? std::string("nobody") : one.pod,
                                base::enum_name(one.reason))});
  }
  return denied;
}

Result<std::vector<ProxyUsage>> LabTarget::proxy_usage(std::string_view environment) {
  ASSIGN_OR_RETURN(const Environment* found, find(environment));
  return found->proxy_usage();
}

Result<std::vector<ProxyCounters>> LabTarget::proxy_counters(std::string_view environment) {
  ASSIGN_OR_RETURN(const Environment* found, find(environment));
  return found->proxy_counters();
}

Result<> LabTarget::close_kept_connections(std::string_view environment) {
  ASSIGN_OR_RETURN(Environment * found, find(environment));
  return found->close_kept_connections();
}

Result<MeshIdentities> LabTarget::mesh_identities(std::string_view environment) {
  ASSIGN_OR_RETURN(const auto* const found, find(environment));
  return found->mesh_identities();
}

Result<std::optional<ImpostorCertificates>> LabTarget::impostor_certificates(
    std::string_view environment) {
  ASSIGN_OR_RETURN(const Environment* found, find(environment));
  return found->impostor_certificates();
}

Result<Rotated> LabTarget::rotate_certificates(std::string_view environment, RotationStep step) {
  ASSIGN_OR_RETURN(Environment * found, find(environment));
  return found->rotate_certificates(step);
}

Result<> LabTarget::follow_services(std::string_view environment, ServiceFollower follower) {
  ASSIGN_OR_RETURN(Environment * found, find(environment));
  return found->follow_services(std::move(follower));
}

Result<AgentStreams> LabTarget::agent(std::string_view environment, std::string_view pod) {
  ASSIGN_OR_RETURN(Environment * found, find(environment));
  RETURN_IF_ERROR(found->find_pod(pod));
  ASSIGN_OR_RETURN(const std::string executable, agent_executable());
  return found->agent(pod, executable);
}

Result<Observer> LabTarget::observe(std::string_view environment, std::string_view pod) {
  ASSIGN_OR_RETURN(Environment * found, find(environment));
  RETURN_IF_ERROR(found->find_pod(pod));
  ASSIGN_OR_RETURN(const std::string executable, agent_executable());
  return found->observe(pod, executable);
}

Result<std::string> LabTarget::agent_executable() const {
  std::string path = options_.agent;
  const char* named = std::getenv("STACKBENCH_AGENT");
  if (path.empty() && named != nullptr) path = named;
  std::error_code code;
  if (path.empty()) {
    const auto own = std::filesystem::read_symlink("/proc/self/exe", code);
    if (code) return base::system_error(code.value(), "/proc/self/exe");
    path = own.parent_path() / "stackbench-agent";
  }
  // An agent starts in the root directory.
  const auto absolute = std::filesystem::absolute(path, code);
  if (code) return base::system_error(code.value(), "{}", path);
  if (::access(absolute.c_str(), X_OK) < 0) {
    return base::fail_with_mend(
        ErrorKind::missing, fmt::format("{}: no agent executable there", absolute.string()),
        "Build it (target stackbench-agent), or name it in STACKBENCH_AGENT.");
  }
  return absolute.string();
}

base::Json LabTarget::facts() const {
  base::Json facts = {{"target", "lab"},
                      {"fabric", "routed"},
                      {"mtu", addresses::mtu},
                      {"congestion_control", std::string(congestion_control)}};
  utsname system{};
  if (::uname(&system) == 0) facts["kernel"] = system.release;
  if (const auto version = base::run_for_output({"ip", "-V"})) {
    facts["iproute2"] = version->substr(0, version->find('\n'));
  }
  // Of the host, and the limit of every namespace.
  if (const auto most = read_sysctl("net.netfilter.nf_conntrack_max")) {
    facts["nf_conntrack_max"] = *most;
  }
  for (const auto& [name, environment] : environments_) {
    facts["environments"][name] = environment->facts();
  }
  return facts;
}

}  // namespace cluster
