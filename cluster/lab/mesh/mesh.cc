#include "cluster/lab/mesh/mesh.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include <sys/mount.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/process.h"
#include "cluster/lab/layout.h"
#include "cluster/lab/mesh/interception.h"
#include "cluster/lab/mesh/peer_authentication.h"

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
      return base::system_error(errno, "showing {} to a lab", program);
    }
    return {};
  };
  RETURN_IF_ERROR(sandbox.inside(-1, show));
  return program;
}

bool is_served(const EnvironmentPlan& plan, const std::string& group) {
  return std::ranges::any_of(plan.topology.services,
                             [&](const auto& service) { return service.second.target == group; });
}

std::vector<ProxiedPort> ports_of(const EnvironmentPlan& plan, const PodHandle& pod,
                                  const EffectiveMtls& mtls, bool left_out) {
  std::vector<ProxiedPort> ports;
  if (!is_served(plan, pod.group)) return ports;
  for (const auto& port : plan.ports) {
    if (port.protocol != Protocol::TCP) continue;
    ports.push_back({.port = port.target_port,
                     .http = carries_http(port.name),
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
                 .trusts_any_ca = has_fault(plan, FaultKind::any_ca_trusted)};
  for (const auto& entry : state.table.entries) {
    if (entry.protocol != Protocol::TCP ||
        entry.cluster.address.family != base::AddressFamily::ipv4) {
      continue;
    }
    ProxiedService service{
        .host = fmt::format("{}.{}.svc.{}", entry.service, entry.in_namespace, trust_domain),
        .address = entry.cluster,
        .http = carries_http(entry.port_name)};
    std::set<std::string> identities;
    for (const auto& backend : entry.backends) {
      const auto server = std::ranges::find(state.pods, backend.pod, &PodHandle::name);
      const bool proxied = server != state.pods.end() && has_proxy(server->labels);
      const bool tls = proxied && mtls_of(*server).of(backend.endpoint.port) != MtlsMode::DISABLE;
      service.endpoints.push_back({.endpoint = backend.endpoint, .mutual_tls = tls});
      if (tls) identities.insert(spiffe_id(server->in_namespace, server->group));
    }
    service.identities.assign(identities.begin(), identities.end());
    spec.services.push_back(std::move(service));
  }
  return spec;
}

Result<std::unique_ptr<Mesh>> Mesh::create(const Sandbox& sandbox, const EnvironmentPlan& plan,
                                           std::vector<MeshPod> pods) {
  std::erase_if(pods, [](const MeshPod& pod) { return !has_proxy(pod.handle.labels); });
  ASSIGN_OR_RETURN(const auto program, show_envoy(sandbox, plan.name));
  ASSIGN_OR_RETURN(auto authority, pki::Authority::create(std::string(trust_domain)));
  std::unique_ptr<Mesh> mesh(new Mesh(sandbox, plan, std::move(pods), std::move(authority)));
  ASSIGN_OR_RETURN(mesh->version_of_envoy_, base::run_for_output({program, "--version"}));
  const auto rules = has_fault(plan, FaultKind::interception_hole) ? interception_rules(agents_uid)
                                                                   : interception_rules();
  const auto reserve = [&] {
    return write_sysctls({{"net.ipv4.ip_local_reserved_ports", listened_at(plan)}});
  };
  for (const auto& pod : mesh->pods_) {
    RETURN_IF_ERROR(sandbox.inside(pod.place.netns, reserve));
    if (auto done = sandbox.run({.netns = pod.place.netns}, {"iptables-restore"}, rules); !done) {
      return base::in_context(std::move(done).error(), "{}", pod.handle.name);
    }
  }
  return mesh;
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
  if (has_fault(plan_, FaultKind::certificate_not_renewed) && is_served(plan_, pod.group)) {
    subject.validity = {.from = -certificate_lasts, .until = -std::chrono::hours(1)};
  }
  return authority_.issue(subject);
}

ProxySpec Mesh::spec_of(const MeshState& state, const PodHandle& pod) const {
  auto spec = proxy_spec(plan_, state, pod, has_fault(plan_, FaultKind::port_left_out_of_strict));
  spec.connections_of = connections_of_;
  return spec;
}

Result<> Mesh::start(const MeshState& state) {
  for (const auto& pod : pods_) {
    ASSIGN_OR_RETURN(const auto identity, identity_of(pod.handle));
    ASSIGN_OR_RETURN(auto proxy, Proxy::start(sandbox_, spec_of(state, pod.handle), identity,
                                              authority_.own().certificate,
                                              {.program = std::string(envoy_path),
                                               .workers = plan_.mesh->spec.workers,
                                               .cpu = cpu_of(pod.handle),
                                               .place = pod.place}));
    proxies_.emplace(pod.handle.name, std::move(proxy));
  }
  return {};
}

Result<> Mesh::sync(const MeshState& state) {
  if (proxies_.empty()) {
    RETURN_IF_ERROR(start(state));
  } else {
    for (auto& [name, proxy] : proxies_) {
      const auto pod = std::ranges::find(state.pods, name, &PodHandle::name);
      RETURN_IF_ERROR(proxy.update(spec_of(state, *pod)));
    }
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
  constexpr pki::Validity good{.until = certificate_lasts};
  constexpr pki::Validity over{.from = -certificate_lasts, .until = -std::chrono::hours(1)};
  constexpr pki::Validity to_come{.from = std::chrono::hours(1), .until = certificate_lasts};
  constexpr std::string_view account = "client";
  const auto own = spiffe_id(default_namespace, account);
  const auto others =
      fmt::format("spiffe://elsewhere.example/ns/{}/sa/{}", default_namespace, account);
  // By an authority of the same name, which only its key tells from the mesh's.
  ASSIGN_OR_RETURN(const auto foreign, pki::Authority::create(std::string(trust_domain)));
  const auto issue = [](const pki::Authority& by, const std::string& identity,
                        const pki::Validity& validity) -> Result<CertificateAndKey> {
    ASSIGN_OR_RETURN(
        auto pair,
        by.issue({.purpose = pki::Purpose::both, .uris = {identity}, .validity = validity}));
    return CertificateAndKey{std::move(pair.certificate), std::move(pair.key)};
  };
  ImpostorCertificates all;
  ASSIGN_OR_RETURN(all.of_the_mesh, issue(authority_, own, good));
  ASSIGN_OR_RETURN(all.foreign_ca, issue(foreign, own, good));
  ASSIGN_OR_RETURN(all.wrong_identity, issue(authority_, others, good));
  ASSIGN_OR_RETURN(all.expired, issue(authority_, own, over));
  ASSIGN_OR_RETURN(all.not_yet_valid, issue(authority_, own, to_come));
  return all;
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

base::Json Mesh::facts() const {
  auto version = version_of_envoy_;
  std::erase(version, '\n');
  base::Json facts = {
      {"proxy", version.substr(version.find("version: ") + std::string("version: ").size())},
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
