// Cells about where a mesh's requests go: each must be one that can be made and judged.
#include <algorithm>
#include <map>
#include <set>

#include "base/kube/destination_rule.h"
#include "base/kube/virtual_service.h"
#include "stackbench/scenario/resolve.h"

namespace stackbench {
namespace {

bool is_field(const std::string& name) {
  return !name.empty() && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

void check_request(const RoutingSpec& cell, const std::string& path, ReadLog& log) {
  if (!log.faulty(path + ".method") && !is_text(cell.method)) {
    refuse(log, path + ".method", "expected text without blanks");
  }
  if (!log.faulty(path + ".path") && (!is_text(cell.path) || !cell.path.starts_with('/'))) {
    refuse(log, path + ".path", "expected a path that begins with /, without blanks");
  }
  if (log.faulty(path + ".headers")) return;
  for (const auto& [name, value] : cell.headers) {
    const auto at = join_path(path + ".headers", name);
    if (!is_field(name)) refuse(log, at, "expected the name of a header in small letters");
    if (!is_text(value)) refuse(log, at, "expected text without blanks");
  }
}

// Whether a pod of this name is behind a Service that some arm dials.
bool is_served(const Scenario& scenario, const std::string& pod) {
  const auto dash = pod.rfind('-');
  if (dash == std::string::npos) return false;
  const auto group = scenario.topology.pods.find(pod.substr(0, dash));
  if (group == scenario.topology.pods.end()) return false;
  for (int replica = 0; replica < group->second.replicas; ++replica) {
    if (pod != fmt::format("{}-{}", group->first, replica)) continue;
    return std::ranges::any_of(scenario.arms, [&](const ArmSpec& arm) {
      return servers_of(scenario, arm) == group->first;
    });
  }
  return false;
}

void check_claim(const Scenario& scenario, const RoutingSpec& cell, const std::string& path,
                 ReadLog& log) {
  const auto faulty = [&](std::string_view field) { return log.faulty(join_path(path, field)); };
  if (faulty("at_once") || faulty("fails") || faulty("writes")) return;
  const int claims = (cell.at_once ? 1 : 0) + (cell.fails ? 1 : 0) + (cell.writes ? 1 : 0);
  if (claims > 1) {
    refuse(log, path, "expected one of at_once, fails and writes: each is a claim of its own");
    return;
  }
  if (claims == 1 && cell.requests != RoutingSpec{}.requests) {
    refuse(log, path + ".requests",
           "how many there are follows from at_once, or from how long fails and writes take");
  }
  // Of a request without a body there is no part that could be held back.
  if (cell.at_once && cell.method != "POST") {
    refuse(log, path + ".method", "requests under way at one time are POST: the rest is held back");
  }
  if (cell.fails && !log.faulty("arms") && !log.faulty_itself("topology.pods") &&
      !is_served(scenario, *cell.fails)) {
    refuse(log, path + ".fails",
           fmt::format("\"{}\" is no pod that an arm's requests come to", *cell.fails));
  }
  if (!cell.writes) return;
  const auto sound = [&]() -> base::Result<> {
    ASSIGN_OR_RETURN(const auto type,
                     base::from_json<base::kube::TypeMeta>(*cell.writes, "object"));
    if (type.kind == base::kube::virtual_service_kind) {
      RETURN_IF_ERROR(base::kube::read_virtual_service(*cell.writes));
      return {};
    }
    if (type.kind == base::kube::destination_rule_kind) {
      RETURN_IF_ERROR(base::kube::read_destination_rule(*cell.writes));
      return {};
    }
    return base::fail(base::ErrorKind::input, "expected a VirtualService or a DestinationRule");
  }();
  if (!sound) refuse(log, path + ".writes", sound.error().message);
}

// What a mesh's objects are about must be there: an object about nobody would say nothing, in
// silence. Names with dots may be of Services that are not the scenario's.
class Hosts {
 public:
  Hosts(const Scenario& scenario, const std::vector<base::Json>& objects) : scenario_(scenario) {
    for (const auto& object : objects) {
      const auto rule = base::kube::read_destination_rule(object);
      if (!rule || rule->kind != base::kube::destination_rule_kind) continue;
      for (const auto& subset : rule->spec.subsets) {
        subsets_[whole(rule->spec.host, rule->metadata)].push_back(subset.name);
      }
    }
  }

  void check(const base::Json& object, const std::string& path, ReadLog& log) const {
    if (log.faulty(path)) return;
    if (const auto rule = base::kube::read_destination_rule(object)) {
      if (rule->kind == base::kube::destination_rule_kind) check_host(rule->spec.host, path, log);
    }
    const auto service = base::kube::read_virtual_service(object);
    if (!service || service->kind != base::kube::virtual_service_kind) return;
    for (const auto& host : service->spec.hosts) check_host(host, path, log);
    for (const auto& route : service->spec.http) {
      for (const auto& to : route.route) {
        check_host(to.destination.host, path, log);
        check_subset(to.destination, service->metadata, path, log);
      }
    }
  }

 private:
  static std::string whole(const std::string& host, const base::kube::ObjectMeta& metadata) {
    return base::kube::whole_host(host, metadata.in_namespace);
  }

  void check_host(const std::string& host, const std::string& path, ReadLog& log) const {
    const auto& services = scenario_.topology.services;
    if (host.contains('.') || services.contains(host) || log.faulty(path)) return;
    refuse(log, path, unknown_name("Service", host, names_of(services)));
  }

  void check_subset(const base::kube::RouteDestination& to, const base::kube::ObjectMeta& metadata,
                    const std::string& path, ReadLog& log) const {
    if (to.subset.empty() || log.faulty(path)) return;
    const auto known = subsets_.find(whole(to.host, metadata));
    std::vector<std::string_view> names;
    if (known != subsets_.end()) names.assign(known->second.begin(), known->second.end());
    if (std::ranges::find(names, to.subset) != names.end()) return;
    refuse(log, path, unknown_name("subset", to.subset, names));
  }

  const Scenario& scenario_;
  std::map<std::string, std::vector<std::string>> subsets_;  // by whole host
};

void check_cell(const Scenario& scenario, const RoutingSpec& cell, const std::string& path,
                std::set<std::string>& names, ReadLog& log) {
  check_word(cell.name, path + ".name", log.place_of(path + ".name"), log);
  if (!log.faulty(path + ".name") && !names.insert(cell.name).second) {
    refuse(log, path + ".name", fmt::format("another cell above is called \"{}\"", cell.name));
  }
  check_group(scenario, cell.from, path + ".from", log);
  check_request(cell, path, log);
  check_claim(scenario, cell, path, log);
}

}  // namespace

void resolve_routing(const Scenario& scenario, ReadLog& log) {
  for (const auto& [name, environment] : scenario.environments) {
    if (!environment.mesh || log.faulty_itself("environments") ||
        log.faulty_itself("topology.services")) {
      continue;
    }
    const auto& objects = environment.mesh->objects;
    const Hosts hosts(scenario, objects);
    for (std::size_t i = 0; i < objects.size(); ++i) {
      hosts.check(objects[i], index_path(join_path("environments", name) + ".mesh.objects", i),
                  log);
    }
  }
  std::set<std::string> names;
  for (std::size_t i = 0; i < scenario.routing.size(); ++i) {
    const auto path = index_path("routing", i);
    if (!log.faulty(path)) check_cell(scenario, scenario.routing[i], path, names, log);
  }
  const bool wanted =
      std::ranges::find(scenario.checks, CheckKind::routes_as_specified) != scenario.checks.end();
  if (!scenario.routing.empty() && !wanted && !log.faulty("checks")) {
    log.fault(log.key_place_of("routing"), "routing",
              "nobody tries these cells: add routes_as_specified to checks");
  }
}

}  // namespace stackbench
