#include "cluster/lab/mesh/mesh.h"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <set>
#include <thread>

#include <sys/mount.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/process.h"
#include "cluster/lab/layout.h"
#include "cluster/lab/mesh/interception.h"
#include "cluster/lab/mesh/peer_authentication.h"
#include "cluster/pki/impostors.h"

namespace cluster {
namespace {

using base::Result;
using base::kube::MtlsMode;

// Of the sandbox's own /run, which goes with it.
constexpr std::string_view mesh_directory = "/run/mesh";
constexpr std::string_view envoy_path = "/run/mesh/envoy";
// As workload certificates of Istio (SECRET_TTL).
constexpr std::chrono::hours certificate_lasts(24);
// Agents, and with them all that is measured, are root's.
constexpr unsigned agents_uid = 0;

std::string directory_of(const std::string& environment) {
  return fmt::format("{}/{}", mesh_directory, environment);
}

// The program, shown where the proxy's user may run it, whoever may enter the directory it is in;
// and the way to the proxies' files, whatever our umask is.
Result<std::string> show_envoy(const Sandbox& sandbox, const std::string& environment) {
  ASSIGN_OR_RETURN(const auto program, find_envoy());
  const auto show = [&]() -> Result<> {
    std::error_code code;
    std::filesystem::create_directories(directory_of(environment), code);
    if (code) return base::system_error(code.value(), "{}", directory_of(environment));
    for (const auto& directory : {std::string(mesh_directory), directory_of(environment)}) {
      if (::chmod(directory.c_str(), 0755) < 0) return base::system_error(errno, "{}", directory);
    }
    const std::string shown(envoy_path);
    if (std::filesystem::exists(shown, code)) return {};
    RETURN_IF_ERROR(base::write_file(shown, ""));
    if (::mount(program.c_str(), shown.c_str(), nullptr, MS_BIND, nullptr) < 0) {
      const int why = errno;
      // What is empty would be run by the next environment.
      std::filesystem::remove(shown, code);
      return base::system_error(why, "showing {} to a lab", program);
    }
    return {};
  };
  RETURN_IF_ERROR(sandbox.inside(-1, show));
  return program;
}

std::vector<ProxiedPort> ports_of(const EnvironmentPlan& plan, const PodHandle& pod,
                                  const EffectiveMtls& mtls, bool left_out) {
  std::vector<ProxiedPort> ports;
  if (!is_served(plan.topology, pod.group)) return ports;
  for (const auto& port : plan.ports) {
    if (port.protocol != Protocol::TCP) continue;
    ports.push_back({.port = port.target_port,
                     .protocol = proxied_protocol(port.name),
                     .mode = mtls.of(port.target_port)});
  }
  const auto strict = std::ranges::find(ports, MtlsMode::STRICT, &ProxiedPort::mode);
  if (left_out && strict != ports.end()) strict->mode = MtlsMode::PERMISSIVE;
  return ports;
}

// Where somebody in a pod listens. A proxy dials its application from the pod itself, by ports that
// may be any but these: one of them in use would keep a server from its own.
std::string listened_at(const EnvironmentPlan& plan) {
  auto ports = fmt::format("{},{}", outbound_port, inbound_port);
  for (const auto& port : plan.ports) ports += fmt::format(",{}", port.target_port);
  return ports;
}

}  // namespace

bool is_served(const TopologySpec& topology, const std::string& group) {
  return std::ranges::any_of(topology.services,
                             [&](const auto& service) { return service.second.target == group; });
}

bool has_proxy(const std::map<std::string, std::string>& labels) {
  const auto inject = labels.find(std::string(inject_label));
  return inject == labels.end() || inject->second != no_injection;
}

ProxySpec proxy_spec(const EnvironmentPlan& plan, const MeshState& state, const PodHandle& pod,
                     bool left_out) {
  const auto mtls_of = [&](const PodHandle& of) {
    return effective_mtls(state.policies, of.in_namespace, of.labels);
  };
  const auto own = mtls_of(pod);
  ProxySpec spec{.pod = pod.name,
                 .in_namespace = pod.in_namespace,
                 .account = pod.group,
                 .address = pod.ipv4.to_string(),
                 .directory = fmt::format("{}/{}", directory_of(plan.name), pod.id),
                 .session_resumption = plan.mesh->spec.session_resumption,
                 .ports = ports_of(plan, pod, own, left_out),
                 .other_ports = own.mode,
                 .authorization = has_fault(plan, FaultKind::authorization_left_out)
                                      ? ProxyAuthorization{}
                                      : authorization_of(state.authorization_policies,
                                                         state.request_authentications,
                                                         pod.in_namespace, pod.labels),
                 .routing = broken(state.routing, plan.faults),
                 .trusts_any_ca = has_fault(plan, FaultKind::any_ca_trusted),
                 .plaintext_one_in = has_fault(plan, FaultKind::forwarded_in_plaintext)
                                         ? plan.plaintext_one_in
                                         : 0};
  for (const auto& entry : state.table.entries) {
    if (entry.protocol != Protocol::TCP ||
        entry.cluster.address.family != base::AddressFamily::ipv4) {
      continue;
    }
    ProxiedService service{
        .host = fmt::format("{}.{}.svc.{}", entry.service, entry.in_namespace, trust_domain),
        .address = entry.cluster,
        .protocol = proxied_protocol(entry.port_name)};
    std::set<std::string> identities;
    for (const auto& backend : entry.backends) {
      const auto server = std::ranges::find(state.pods, backend.pod, &PodHandle::name);
      const bool proxied = server != state.pods.end() && has_proxy(server->labels);
      const bool tls = proxied && mtls_of(*server).of(backend.endpoint.port) != MtlsMode::DISABLE;
      service.endpoints.push_back(
          {.endpoint = backend.endpoint,
           .mutual_tls = tls,
           .labels = server == state.pods.end() ? Labels{} : server->labels});
      if (tls) identities.insert(spiffe_id(server->in_namespace, server->group));
    }
    service.identities.assign(identities.begin(), identities.end());
    spec.services.push_back(std::move(service));
  }
  return spec;
}

Result<std::unique_ptr<Mesh>> Mesh::create(const Sandbox& sandbox, const EnvironmentPlan& plan,
                                           std::vector<MeshPod> pods,
                                           const base::Interrupt* interrupt) {
  std::erase_if(pods, [](const MeshPod& pod) { return !has_proxy(pod.handle.labels); });
  ASSIGN_OR_RETURN(const auto program, show_envoy(sandbox, plan.name));
  std::unique_ptr<Mesh> mesh(new Mesh(sandbox, plan, std::move(pods), interrupt));
  RETURN_IF_ERROR(mesh->make_authority());
  mesh->roots_ = mesh->issuer().own().certificate;
  ASSIGN_OR_RETURN(const auto said, base::run_for_output({program, "--version"}));
  ASSIGN_OR_RETURN(mesh->version_of_envoy_, read_version(said, program));
  const auto reserve = [&] {
    return write_sysctls({{"net.ipv4.ip_local_reserved_ports", listened_at(plan)}});
  };
  for (const auto& pod : mesh->pods_) {
    RETURN_IF_ERROR(sandbox.inside(pod.place.netns, reserve));
    if (auto done = sandbox.run({.netns = pod.place.netns}, {"iptables-restore"}, mesh->rules());
        !done) {
      return base::in_context(std::move(done).error(), "{}", pod.handle.name);
    }
  }
  return mesh;
}

std::string Mesh::rules() const {
  return has_fault(plan_, FaultKind::interception_hole) ? interception_rules(agents_uid)
                                                        : interception_rules();
}

const MeshPod* Mesh::find(std::string_view pod) const {
  const auto found = std::ranges::find(
      pods_, pod, [](const MeshPod& one) -> const std::string& { return one.handle.name; });
  return found == pods_.end() ? nullptr : &*found;
}

Result<const MeshPod*> Mesh::must_find(std::string_view pod) const {
  if (const auto* found = find(pod)) return found;
  return base::fail(base::ErrorKind::input, "environment {}: there is no proxy beside {}",
                    plan_.name, pod);
}

Result<base::MonotonicTime> Mesh::end_proxy(std::string_view pod, ProxyEnd how) {
  RETURN_IF_ERROR(must_find(pod));
  const auto proxy = proxies_.find(pod);
  if (proxy != proxies_.end()) {
    RETURN_IF_ERROR(proxy->second.end(how == ProxyEnd::killed ? SIGKILL : SIGTERM));
    proxies_.erase(proxy);
  }
  return base::monotonic_now();
}

Result<> Mesh::strip(std::string_view pod) {
  const auto* const its = find(pod);
  if (its == nullptr) return {};
  RETURN_IF_ERROR(end_proxy(pod, ProxyEnd::killed));
  ASSIGN_OR_RETURN(auto nothing,
                   StagedRules::stage(sandbox_, its->place.netns, no_interception_rules()));
  RETURN_IF_ERROR(nothing.put_in_force());
  return {};
}

Result<StagedRules> Mesh::interception_of(std::string_view pod) {
  ASSIGN_OR_RETURN(const auto* const its, must_find(pod));
  return StagedRules::stage(sandbox_, its->place.netns, rules());
}

int Mesh::cpu_of(const PodHandle& pod) const {
  const auto& cpus = plan_.mesh->cpu_of;
  const auto found = cpus.find(pod.group);
  return found == cpus.end() ? -1 : found->second;
}

Result<pki::KeyPair> Mesh::identity_of(const PodHandle& pod) const {
  pki::Subject subject{.purpose = pki::Purpose::both,
                       .uris = {spiffe_id(pod.in_namespace, pod.group)},
                       .validity = {.until = certificate_lasts}};
  if (const auto lasts = plan_.mesh->certificates_last) {
    subject.validity.until = *lasts;
  } else if (has_fault(plan_, FaultKind::certificate_not_renewed) &&
             is_served(plan_.topology, pod.group)) {
    subject.validity = {.from = -certificate_lasts, .until = -std::chrono::hours(1)};
  }
  return issuer().issue(subject);
}

ProxySpec Mesh::spec_of(const MeshState& state, const PodHandle& pod) const {
  auto spec = proxy_spec(plan_, state, pod, has_fault(plan_, FaultKind::port_left_out_of_strict));
  spec.connections_of = connections_of_;
  return spec;
}

Result<> Mesh::start(const MeshState& state, const MeshPod& pod) {
  // Its handle may be another by now: a pod that is made anew has another address.
  const auto& handle = *std::ranges::find(state.pods, pod.handle.name, &PodHandle::name);
  ASSIGN_OR_RETURN(identities_[handle.name], identity_of(handle));
  return start(pod, spec_of(state, handle));
}

Result<> Mesh::start(const MeshPod& pod, const ProxySpec& spec) {
  const auto& name = pod.handle.name;
  ASSIGN_OR_RETURN(auto proxy, Proxy::start(sandbox_, spec, identities_.at(name), roots_,
                                            {.program = std::string(envoy_path),
                                             .workers = plan_.mesh->spec.workers,
                                             .cpu = cpu_of(pod.handle),
                                             .place = pod.place,
                                             .interrupt = interrupt_}));
  proxies_.emplace(name, std::move(proxy));
  return {};
}

// The fault: what is stored is in nobody's ears for a while.
void Mesh::hear_late(const MeshState& state) {
  const bool news = !proxies_.empty() && policies_ != state.policies;
  policies_ = state.policies;
  if (news && has_fault(plan_, FaultKind::peer_authentication_late)) {
    std::this_thread::sleep_for(plan_.peer_authentication_delay);
  }
}

Result<> Mesh::sync(const MeshState& state) {
  hear_late(state);
  for (const auto& pod : pods_) {
    const auto proxy = proxies_.find(pod.handle.name);
    if (proxy == proxies_.end()) {
      RETURN_IF_ERROR(start(state, pod));
      continue;
    }
    const auto handle = std::ranges::find(state.pods, pod.handle.name, &PodHandle::name);
    RETURN_IF_ERROR(proxy->second.update(spec_of(state, *handle)));
  }
  for (auto& [name, proxy] : proxies_) RETURN_IF_ERROR(proxy.await());
  return {};
}

Result<> Mesh::close_kept_connections() {
  ++connections_of_;
  for (auto& [name, proxy] : proxies_) {
    auto spec = proxy.spec();
    spec.connections_of = connections_of_;
    RETURN_IF_ERROR(proxy.update(spec));
  }
  for (auto& [name, proxy] : proxies_) RETURN_IF_ERROR(proxy.await());
  // At both ends, so that the last packet of each has been sent, too.
  for (auto& [name, proxy] : proxies_) RETURN_IF_ERROR(proxy.await_no_connections());
  return {};
}

Result<ImpostorCertificates> Mesh::impostor_certificates() const {
  const std::string domain(trust_domain);
  return pki::issue_impostors(issuer(), domain, fmt::format("ns/{}/sa/client", default_namespace),
                              domain);
}

Result<std::vector<ProxyUsage>> Mesh::usage() const {
  std::vector<ProxyUsage> all;
  for (const auto& [name, proxy] : proxies_) {
    ASSIGN_OR_RETURN(auto usage, proxy.usage());
    all.push_back(std::move(usage));
  }
  return all;
}

Result<std::vector<ProxyCounters>> Mesh::counters() const {
  std::vector<ProxyCounters> all;
  for (const auto& [name, proxy] : proxies_) {
    ASSIGN_OR_RETURN(auto counters, proxy.counters());
    all.push_back(std::move(counters));
  }
  return all;
}

Result<MeshIdentities> Mesh::identities() const {
  MeshIdentities all;
  for (const auto& [name, proxy] : proxies_) {
    all.spiffe[name] = spiffe_id(proxy.spec().in_namespace, proxy.spec().account);
    if (all.roots.empty()) {
      ASSIGN_OR_RETURN(all.roots, proxy.roots());
    }
  }
  return all;
}

base::Json Mesh::facts() const {
  base::Json facts = {
      {"proxy", version_of_envoy_},
      {"mode", std::string(base::enum_name(plan_.mesh->spec.mode))},
      {"session_resumption", std::string(base::enum_name(plan_.mesh->spec.session_resumption))},
      {"workers", plan_.mesh->spec.workers},
      {"stock_envoy_lacks",
       {"metadata exchange", "ALPN override", "Istio's statistics (istio_requests_total)"}},
      {"access_log", "off"},
      {"proxies", base::Json::object()}};
  for (const auto& pod : pods_) {
    const auto proxy = proxies_.find(pod.handle.name);
    if (proxy == proxies_.end()) continue;
    auto& its = facts["proxies"][pod.handle.name];
    its["identity"] = spiffe_id(pod.handle.in_namespace, pod.handle.group);
    if (const int cpu = cpu_of(pod.handle); cpu >= 0) its["cpu"] = cpu;
    its["files"] = proxy->second.files();
  }
  return facts;
}

}  // namespace cluster
