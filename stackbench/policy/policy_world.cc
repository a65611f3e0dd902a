#include "stackbench/policy/policy_world.h"

#include <algorithm>
#include <utility>

namespace stackbench {
namespace {

base::kube::Protocol kube_protocol(base::Protocol protocol) {
  return protocol == base::Protocol::TCP ? base::kube::Protocol::TCP : base::kube::Protocol::UDP;
}

std::string node_name(int number) { return fmt::format("node{}", number); }

std::vector<base::IpAddress> known(std::initializer_list<base::IpAddress> addresses) {
  std::vector<base::IpAddress> all;
  for (const auto& address : addresses) {
    if (address != base::IpAddress{}) all.push_back(address);
  }
  return all;
}

}  // namespace

std::string key_of(const base::kube::NetworkPolicy& policy) {
  return policy.metadata.in_namespace + "/" + policy.metadata.name;
}

checks::PolicyWorld world_of(const cluster::EnvironmentHandle& environment,
                             const Scenario& scenario) {
  checks::PolicyWorld world;
  for (const auto& [name, handle] : environment.namespaces) world.namespaces[name] = handle.labels;
  for (const auto& node : environment.nodes) {
    world.nodes.push_back(
        {.name = node_name(node.number), .addresses = known({node.ipv4, node.ipv6})});
  }
  std::vector<checks::NamedPort> ports;
  for (const auto& [name, port] : scenario.policy->ports) {
    ports.push_back({.name = name, .protocol = kube_protocol(port.protocol), .port = port.port});
  }
  for (const auto& pod : environment.pods) {
    if (pod.name == cluster::external_client) continue;
    world.pods.push_back({.name = pod.name,
                          .in_namespace = pod.in_namespace,
                          .labels = pod.labels,
                          .addresses = known({pod.ipv4, pod.ipv6}),
                          .node = node_name(pod.node),
                          .named_ports = ports});
  }
  return world;
}

PolicyGrid grid_of(const cluster::EnvironmentHandle& environment, const Scenario& scenario) {
  PolicyGrid grid;
  for (const auto& pod : environment.pods) {
    if (pod.name != cluster::external_client) grid.pods.push_back(pod);
  }
  for (const auto& [name, port] : scenario.policy->ports) grid.ports.push_back({name, port});
  std::ranges::sort(grid.ports, {}, [](const GridPort& port) {
    return std::pair(port.spec.protocol, port.spec.port);
  });
  const auto only = scenario.policy->only.value_or(OnlySpec{});
  const auto wanted = [](const std::optional<std::string>& name, const std::string& one) {
    return !name || *name == one;
  };
  for (std::size_t from = 0; from < grid.pods.size(); ++from) {
    if (!wanted(only.from, grid.pods[from].name)) continue;
    for (std::size_t to = 0; to < grid.pods.size(); ++to) {
      if (!wanted(only.to, grid.pods[to].name)) continue;
      for (std::size_t port = 0; port < grid.ports.size(); ++port) {
        if (wanted(only.port, grid.ports[port].name)) grid.cells.push_back({from, to, port});
      }
    }
  }
  return grid;
}

std::vector<checks::UnmodelledPolicy> unmodelled_of(const cluster::OtherPolicies& others) {
  std::vector<checks::UnmodelledPolicy> all;
  for (const auto& object : others.objects) {
    const auto text = [&](const char* of, const char* key) {
      const auto found = object.find(of);
      return found == object.end() ? std::string() : found->value(key, "");
    };
    const auto kind = object.value("kind", "");
    const auto group = object.value("apiVersion", "");
    if (auto known = checks::unmodelled_policy(object)) {
      all.push_back(*std::move(known));
      continue;
    }
    checks::UnmodelledPolicy policy{.kind = kind,
                                    .name = text("metadata", "name"),
                                    .in_namespace = text("metadata", "namespace")};
    if (group == base::kube::network_policy_api_version) {
      policy.kind += " of others";
      // One that cannot be read may select any pod of its namespace.
      if (const auto read = base::kube::read_network_policy(object)) {
        policy.pod_selector = read->spec.pod_selector;
      }
    }
    all.push_back(std::move(policy));
  }
  for (const auto& [kind, why] : others.unseen) {
    all.push_back(
        {.kind = fmt::format("{} (which cannot be looked at: {})", kind, why), .name = "any"});
  }
  return all;
}

PolicyWrites::PolicyWrites(cluster::Target& target, const cluster::EnvironmentHandle& environment,
                           const Scenario& scenario)
    : target_(&target),
      environment_(environment.name),
      scenario_(&scenario),
      world_(world_of(environment, scenario)),
      grid_(grid_of(environment, scenario)) {
  const auto note = [&](cluster::LabelledKind kind, const std::string& name,
                        const checks::Labels& there, const checks::Labels& ours) {
    auto& of_the_target = of_the_target_[{kind, name}];
    for (const auto& [key, value] : there) {
      if (!ours.contains(key)) of_the_target[key] = value;
    }
    of_the_scenario_[{kind, name}] = ours;
  };
  for (const auto& pod : grid_.pods) {
    note(cluster::LabelledKind::pod, pod.name, pod.labels,
         scenario.topology.pods.at(pod.group).labels);
  }
  for (const auto& [name, labels] : world_.namespaces) {
    const auto spec = scenario.topology.namespaces.find(name);
    note(cluster::LabelledKind::name_space, name, labels,
         spec == scenario.topology.namespaces.end() ? checks::Labels() : spec->second.labels);
  }
}

void PolicyWrites::mind(const cluster::OtherPolicies& others) {
  world_.unmodelled = unmodelled_of(others);
}

checks::PolicyFlow PolicyWrites::flow_of(const GridCell& cell) const {
  const auto& port = grid_.ports[cell.port].spec;
  return {.source = checks::PodEnd{cell.from},
          .destination = checks::PodEnd{cell.to},
          .family = scenario_->family,
          .protocol = kube_protocol(port.protocol),
          .port = port.port};
}

checks::PolicyFlow PolicyWrites::flow_from_node(std::size_t pod, std::size_t port) const {
  auto flow = flow_of({pod, pod, port});
  const auto node =
      std::ranges::find(world_.nodes, world_.pods[pod].node, &checks::PolicyNode::name);
  flow.source = checks::NodeEnd{.node = static_cast<std::size_t>(node - world_.nodes.begin())};
  return flow;
}

base::Result<cluster::WriteStamps> PolicyWrites::put(const base::kube::NetworkPolicy& policy) {
  ASSIGN_OR_RETURN(last_, target_->apply(environment_, base::kube::manifest(policy)));
  const auto same = [&](const base::kube::NetworkPolicy& other) {
    return key_of(other) == key_of(policy);
  };
  auto complete = policy;
  base::kube::apply_defaults(complete);
  const auto found = std::ranges::find_if(world_.policies, same);
  if (found == world_.policies.end()) {
    world_.policies.push_back(std::move(complete));
  } else {
    *found = std::move(complete);
  }
  return last_;
}

base::Result<cluster::WriteStamps> PolicyWrites::remove(const std::string& key) {
  ASSIGN_OR_RETURN(last_, target_->remove(environment_, base::kube::network_policy_kind, key));
  std::erase_if(world_.policies, [&](const auto& policy) { return key_of(policy) == key; });
  return last_;
}

checks::Labels* PolicyWrites::labels_of(cluster::LabelledKind kind, const std::string& name) {
  if (kind == cluster::LabelledKind::name_space) return &world_.namespaces[name];
  const auto pod = std::ranges::find(world_.pods, name, &checks::PolicyPod::name);
  return pod == world_.pods.end() ? nullptr : &pod->labels;
}

base::Result<cluster::WriteStamps> PolicyWrites::label(
    cluster::LabelledKind kind, const std::string& name,
    const std::map<std::string, std::string>& labels) {
  auto* const there = labels_of(kind, name);
  if (there == nullptr) {
    return base::fail(base::ErrorKind::input, "environment {} has no pod {}", environment_, name);
  }
  ASSIGN_OR_RETURN(last_, target_->set_labels(environment_, kind, name, labels));
  *there = of_the_target_[{kind, name}];
  there->insert(labels.begin(), labels.end());
  written_[{kind, name}] = labels;
  return last_;
}

base::Result<cluster::WriteStamps> PolicyWrites::become(const checks::PolicyStep& step) {
  std::map<std::string, const base::kube::NetworkPolicy*> wanted;
  for (const auto& policy : step.policies) wanted[key_of(policy)] = &policy;
  std::vector<std::string> gone;
  for (const auto& policy : world_.policies) {
    if (!wanted.contains(key_of(policy))) gone.push_back(key_of(policy));
  }
  for (const auto& key : gone) RETURN_IF_ERROR(remove(key));
  for (const auto& [key, policy] : wanted) {
    auto complete = *policy;
    base::kube::apply_defaults(complete);
    if (std::ranges::find(world_.policies, complete) != world_.policies.end()) continue;
    RETURN_IF_ERROR(put(*policy));
  }
  // Labels that a step does not name are as the scenario has them.
  auto labels = of_the_scenario_;
  for (const auto& one : step.relabelled) {
    const bool is_pod = !one.pod.empty();
    const std::pair whose{is_pod ? cluster::LabelledKind::pod : cluster::LabelledKind::name_space,
                          is_pod ? one.pod.substr(one.pod.find('/') + 1) : one.name_space};
    labels[whose] = one.labels;
    // A step has all that the world shows; those of the target's own stay by themselves.
    for (const auto& [key, value] : of_the_target_[whose]) labels[whose].erase(key);
  }
  for (const auto& [whose, own] : labels) {
    const auto now = written_.contains(whose) ? written_.at(whose) : of_the_scenario_.at(whose);
    if (own != now) RETURN_IF_ERROR(label(whose.first, whose.second, own));
  }
  return last_;
}

void PolicyWrites::look_again(const cluster::EnvironmentHandle& environment) {
  auto policies = std::move(world_.policies);
  auto unmodelled = std::move(world_.unmodelled);
  world_ = world_of(environment, *scenario_);
  world_.policies = std::move(policies);
  world_.unmodelled = std::move(unmodelled);
  grid_ = grid_of(environment, *scenario_);
}

}  // namespace stackbench
