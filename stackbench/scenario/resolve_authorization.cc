// Objects of a mesh, and requests that are to be allowed or refused by them: an object must be one
// that Istio takes, and every request one that can be made and judged.
#include <algorithm>
#include <set>

#include "base/kube/authorization_policy.h"
#include "base/kube/destination_rule.h"
#include "base/kube/peer_authentication.h"
#include "base/kube/request_authentication.h"
#include "base/kube/virtual_service.h"
#include "bench/canaries.h"
#include "stackbench/scenario/resolve.h"

namespace stackbench {
namespace {

using base::kube::Access;

std::string kind_of(const base::Json& object) {
  const auto kind = object.is_object() ? object.value("kind", base::Json()) : base::Json();
  return kind.is_string() ? kind.get<std::string>() : std::string();
}

template <typename Object>
std::optional<base::kube::ObjectMeta> taken(base::Result<Object> read, const std::string& path,
                                            ReadLog& log) {
  if (read) return std::move(read->metadata);
  // What a lab does not implement a cluster may.
  if (read.error().kind != base::ErrorKind::missing) {
    refuse(log, path, std::move(read).error().message);
  }
  return std::nullopt;
}

// Its name and namespace, where it is an object that is known and sound.
std::optional<base::kube::ObjectMeta> check_object(const base::Json& object,
                                                   const std::string& path, ReadLog& log) {
  const auto kind = kind_of(object);
  if (kind == base::kube::authorization_policy_kind) {
    return taken(base::kube::read_authorization_policy(object), path, log);
  }
  if (kind == base::kube::request_authentication_kind) {
    return taken(base::kube::read_request_authentication(object), path, log);
  }
  if (kind == base::kube::peer_authentication_kind) {
    return taken(base::kube::read_peer_authentication(object), path, log);
  }
  if (kind == base::kube::virtual_service_kind) {
    return taken(base::kube::read_virtual_service(object), path, log);
  }
  if (kind == base::kube::destination_rule_kind) {
    return taken(base::kube::read_destination_rule(object), path, log);
  }
  refuse(
      log, path,
      unknown_name("kind", kind,
                   {base::kube::authorization_policy_kind, base::kube::request_authentication_kind,
                    base::kube::peer_authentication_kind, base::kube::virtual_service_kind,
                    base::kube::destination_rule_kind}));
  return std::nullopt;
}

bool is_namespace(const Scenario& scenario, const std::string& name) {
  return name == cluster::default_namespace || scenario.topology.namespaces.contains(name);
}

void check_objects(const Scenario& scenario, const std::vector<base::Json>& objects,
                   const std::string& path, ReadLog& log) {
  std::set<std::string> names;
  for (std::size_t i = 0; i < objects.size(); ++i) {
    const auto at = index_path(path, i);
    if (log.faulty(at)) continue;
    const auto metadata = check_object(objects[i], at, log);
    if (!metadata) continue;
    if (!is_namespace(scenario, metadata->in_namespace) &&
        !log.faulty_itself("topology.namespaces")) {
      refuse(
          log, at,
          fmt::format("its namespace \"{}\" is none of this scenario's", metadata->in_namespace));
    }
    const auto name =
        fmt::format("{} {}/{}", kind_of(objects[i]), metadata->in_namespace, metadata->name);
    if (!names.insert(name).second)
      refuse(log, at, fmt::format("another object above is {}", name));
  }
}

void check_workload(const Scenario& scenario, const AccessSpec& access, const std::string& path,
                    ReadLog& log) {
  if (log.faulty("workloads") || log.faulty(path + ".workload")) return;
  const auto names = workload_names(scenario);
  const auto found = std::ranges::find(names, access.workload);
  if (found == names.end()) {
    refuse(log, path + ".workload",
           unknown_name("workload", access.workload, {names.begin(), names.end()}));
    return;
  }
  const auto kind = scenario.workloads[static_cast<std::size_t>(found - names.begin())].kind;
  if (!bench::can_carry_canaries(kind)) {
    refuse(log, path + ".workload",
           fmt::format("{} has no requests with replies over TCP", access.workload));
    return;
  }
  if (bench::is_http(kind)) return;
  const AccessSpec plain;
  if (access.method != plain.method || access.path != plain.path || access.token) {
    refuse(log, path,
           fmt::format("{} is no HTTP: it has no method, path or token", access.workload));
  }
  if (access.expect == Access::unauthenticated) {
    refuse(log, path + ".expect", fmt::format("{} carries no token to look at", access.workload));
  }
}

void check_access(const Scenario& scenario, const AccessSpec& access, const std::string& path,
                  std::set<std::string>& names, ReadLog& log) {
  check_word(access.name, path + ".name", log.place_of(path + ".name"), log);
  if (!log.faulty(path + ".name") && !names.insert(access.name).second) {
    refuse(log, path + ".name", fmt::format("another request above is called \"{}\"", access.name));
  }
  check_group(scenario, access.from, path + ".from", log);
  for (const auto& [field, text] :
       {std::pair{"method", access.method}, std::pair{"path", access.path},
        std::pair{"token", access.token.value_or("x")}}) {
    const auto at = join_path(path, field);
    if (!log.faulty(at) && !is_text(text)) refuse(log, at, "expected text without blanks");
  }
  if (!log.faulty(path + ".path") && !access.path.starts_with('/')) {
    refuse(log, path + ".path", "expected a path that begins with /");
  }
  check_workload(scenario, access, path, log);
}

}  // namespace

bool decides_access(const base::Json& object) {
  const auto kind = kind_of(object);
  return kind == base::kube::authorization_policy_kind ||
         kind == base::kube::request_authentication_kind;
}

bool decides_routes(const base::Json& object) {
  const auto kind = kind_of(object);
  return kind == base::kube::virtual_service_kind || kind == base::kube::destination_rule_kind;
}

void resolve_authorization(const Scenario& scenario, ReadLog& log) {
  if (!log.faulty_itself("environments")) {
    for (const auto& [name, environment] : scenario.environments) {
      if (!environment.mesh) continue;
      check_objects(scenario, environment.mesh->objects,
                    join_path("environments", name) + ".mesh.objects", log);
    }
  }
  std::set<std::string> names;
  for (std::size_t i = 0; i < scenario.authorization.size(); ++i) {
    const auto path = index_path("authorization", i);
    if (!log.faulty(path)) check_access(scenario, scenario.authorization[i], path, names, log);
  }
  const bool wanted = std::ranges::find(scenario.checks, CheckKind::authorization_enforced) !=
                      scenario.checks.end();
  if (!scenario.authorization.empty() && !wanted && !log.faulty("checks")) {
    log.fault(log.key_place_of("authorization"), "authorization",
              "nobody makes these requests: add authorization_enforced to checks");
  }
}

}  // namespace stackbench
