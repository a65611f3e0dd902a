#include "stackbench/policy/changes.h"

#include <algorithm>
#include <utility>

#include <fmt/ranges.h>

namespace stackbench {
namespace {

using cluster::LabelledKind;

// The policy of the scenario that a change replaces or deletes: resolving saw to it that it is
// there.
const base::kube::NetworkPolicy& original(const Scenario& scenario, const std::string& key) {
  return *std::ranges::find(scenario.policy->objects, key, key_of);
}

std::map<std::string, std::string> pod_labels(const Scenario& scenario, const std::string& pod) {
  return scenario.topology.pods.at(pod.substr(0, pod.rfind('-'))).labels;
}

std::map<std::string, std::string> namespace_labels(const Scenario& scenario,
                                                    const std::string& name) {
  const auto found = scenario.topology.namespaces.find(name);
  return found == scenario.topology.namespaces.end() ? std::map<std::string, std::string>()
                                                     : found->second.labels;
}

std::string labelled(std::string_view kind, const std::string& name,
                     const std::map<std::string, std::string>& labels) {
  std::vector<std::string> all;
  for (const auto& [key, value] : labels) all.push_back(fmt::format("{}={}", key, value));
  return fmt::format("label {} {} {}", kind, name,
                     all.empty() ? std::string("nothing") : fmt::format("{}", fmt::join(all, ",")));
}

// The labels that are there once `own` take the place of the scenario's.
checks::Labels relabelled(checks::Labels there, const checks::Labels& of_scenario,
                          const checks::Labels& own) {
  std::erase_if(there, [&](const auto& label) { return of_scenario.contains(label.first); });
  for (const auto& [key, value] : own) there.insert_or_assign(key, value);
  return there;
}

}  // namespace

checks::PolicyWorld world_after(const ChangeSpec& change, const Scenario& scenario,
                                const checks::PolicyWorld& world) {
  checks::PolicyStep step{.policies = world.policies};
  const auto drop = [&](const std::string& key) {
    std::erase_if(step.policies, [&](const auto& policy) { return key_of(policy) == key; });
  };
  const auto put = [&](base::kube::NetworkPolicy policy) {
    drop(key_of(policy));
    base::kube::apply_defaults(policy);
    step.policies.push_back(std::move(policy));
  };
  if (change.create) put(*change.create);
  if (change.update) put(*change.update);
  if (change.remove) drop(*change.remove);
  if (change.label_pod) {
    const auto& name = change.label_pod->name;
    const auto pod = std::ranges::find(world.pods, name, &checks::PolicyPod::name);
    if (pod != world.pods.end()) {
      step.relabelled.push_back({.pod = fmt::format("{}/{}", pod->in_namespace, name),
                                 .labels = relabelled(pod->labels, pod_labels(scenario, name),
                                                      change.label_pod->labels)});
    }
  }
  if (change.label_namespace) {
    const auto& name = change.label_namespace->name;
    const auto there = world.namespaces.find(name);
    step.relabelled.push_back(
        {.name_space = name,
         .labels = relabelled(there == world.namespaces.end() ? checks::Labels() : there->second,
                              namespace_labels(scenario, name), change.label_namespace->labels)});
  }
  return checks::after(world, step);
}

std::string words_for(const ChangeSpec& change) {
  if (change.create) return "create NetworkPolicy " + key_of(*change.create);
  if (change.update) return "update NetworkPolicy " + key_of(*change.update);
  if (change.remove) return "delete NetworkPolicy " + *change.remove;
  if (change.label_pod) {
    return labelled("pod", change.label_pod->name, change.label_pod->labels);
  }
  if (change.restart_pod) return "restart pod " + *change.restart_pod;
  return labelled("namespace", change.label_namespace->name, change.label_namespace->labels);
}

std::string words_for_undoing(const ChangeSpec& change, const Scenario& scenario) {
  if (change.create) return "delete NetworkPolicy " + key_of(*change.create);
  if (change.update) return "update back NetworkPolicy " + key_of(*change.update);
  if (change.remove) return "create NetworkPolicy " + *change.remove;
  if (change.label_pod) {
    return labelled("pod", change.label_pod->name, pod_labels(scenario, change.label_pod->name));
  }
  return labelled("namespace", change.label_namespace->name,
                  namespace_labels(scenario, change.label_namespace->name));
}

base::Result<cluster::WriteStamps> make_change(const ChangeSpec& change, PolicyWrites& writes) {
  if (change.create) return writes.put(*change.create);
  if (change.update) return writes.put(*change.update);
  if (change.remove) return writes.remove(*change.remove);
  if (change.label_pod) {
    return writes.label(LabelledKind::pod, change.label_pod->name, change.label_pod->labels);
  }
  return writes.label(LabelledKind::name_space, change.label_namespace->name,
                      change.label_namespace->labels);
}

base::Result<cluster::WriteStamps> undo_change(const ChangeSpec& change, const Scenario& scenario,
                                               PolicyWrites& writes) {
  if (change.create) return writes.remove(key_of(*change.create));
  if (change.update) return writes.put(original(scenario, key_of(*change.update)));
  if (change.remove) return writes.put(original(scenario, *change.remove));
  if (change.label_pod) {
    return writes.label(LabelledKind::pod, change.label_pod->name,
                        pod_labels(scenario, change.label_pod->name));
  }
  return writes.label(LabelledKind::name_space, change.label_namespace->name,
                      namespace_labels(scenario, change.label_namespace->name));
}

}  // namespace stackbench
