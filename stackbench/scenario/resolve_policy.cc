// The policy section: names must be known, policies such as an API server takes, and every change
// one that can be done and undone.
#include <algorithm>
#include <array>
#include <set>
#include <tuple>

#include "stackbench/scenario/resolve.h"

namespace stackbench {
namespace {

using base::kube::NetworkPolicy;

// More would be a quarter of a million probes a sweep.
constexpr std::size_t most_cells = 50'000;
constexpr base::Duration shortest_timeout = std::chrono::milliseconds(20);
constexpr base::Duration longest_timeout = std::chrono::seconds(5);
constexpr base::Duration longest_deadline = std::chrono::minutes(5);
constexpr base::Duration shortest_window = std::chrono::milliseconds(50);
constexpr base::Duration longest_window = std::chrono::seconds(30);

// The default's: three ports over each protocol. A container's ports have names of their own
// whatever their protocol.
constexpr std::array default_ports{std::tuple{"http", base::Protocol::TCP, 8080},
                                   std::tuple{"admin", base::Protocol::TCP, 8081},
                                   std::tuple{"metrics", base::Protocol::TCP, 9090},
                                   std::tuple{"http-udp", base::Protocol::UDP, 8080},
                                   std::tuple{"admin-udp", base::Protocol::UDP, 8081},
                                   std::tuple{"metrics-udp", base::Protocol::UDP, 9090}};

// "shop/deny".
std::string name_of(const NetworkPolicy& policy) {
  return policy.metadata.in_namespace + "/" + policy.metadata.name;
}

class PolicyResolver {
 public:
  PolicyResolver(Scenario& scenario, ReadLog& log)
      : scenario_(scenario), policy_(*scenario.policy), log_(log) {
    for (const auto& [name, group] : scenario.topology.pods) {
      for (int i = 0; i < group.replicas + group.standby; ++i) {
        pods_.push_back(fmt::format("{}-{}", name, i));
      }
    }
    pods_known_ = !log.faulty("topology.pods");
  }

  void resolve() {
    stands_alone();
    resolve_ports();
    resolve_objects();
    for (std::size_t i = 0; i < policy_.changes.size(); ++i) {
      check_change(policy_.changes[i], index_path("policy.changes", i));
    }
    check_times();
    check_pods();
    for (std::size_t i = 0; i < policy_.closed.size(); ++i) {
      check_namespace(policy_.closed[i], index_path("policy.closed", i));
    }
  }

 private:
  // A scenario asks one question.
  void stands_alone() {
    const auto refuse_there = [&](bool there, const std::string& path) {
      if (!there || log_.faulty_itself(path)) return;
      log_.fault(log_.key_place_of(path), path,
                 "a scenario with a policy asks of policies alone; ask this in one of its own");
    };
    refuse_there(!scenario_.arms.empty(), "arms");
    refuse_there(!scenario_.workloads.empty(), "workloads");
    refuse_there(!scenario_.expect.empty(), "expect");
    refuse_there(!scenario_.events.empty(), "events");
    if (scenario_.blocks != Scenario{}.blocks && !log_.faulty("blocks")) {
      refuse(log_, "blocks",
             "a scenario with a policy has no blocks: how often its changes are watched is "
             "policy.repetitions");
    }
  }

  void resolve_ports() {
    if (log_.faulty_itself("policy.ports")) return;
    if (policy_.ports.empty()) {
      for (const auto& [name, protocol, number] : default_ports) {
        policy_.ports[name] = {protocol, static_cast<std::uint16_t>(number)};
      }
    }
    std::map<std::pair<base::Protocol, std::uint16_t>, std::string> seen;
    for (const auto& [name, port] : policy_.ports) {
      const auto path = join_path("policy.ports", name);
      if (log_.faulty(path)) continue;
      if (!base::kube::is_port_name(name)) {
        log_.fault(log_.key_place_of(path), path,
                   "expected the name of a port, at most 15 characters out of a-z, 0-9 and single "
                   "-, a letter among them");
      }
      const auto [other, fresh] = seen.emplace(std::pair{port.protocol, port.port}, name);
      if (!fresh) {
        refuse(log_, path,
               fmt::format("{} port {} is that of \"{}\" already", base::enum_name(port.protocol),
                           port.port, other->second));
      }
    }
    const auto cells = pods_.size() * pods_.size() * policy_.ports.size();
    if (pods_known_ && cells > most_cells) {
      refuse(log_, "policy.ports",
             fmt::format("{} pods that each probe {} ports of all are {} cells, and at most {} are "
                         "probed",
                         pods_.size(), policy_.ports.size(), cells, most_cells));
    }
  }

  void check_namespace(const std::string& name, const std::string& path) {
    const auto& known = scenario_.topology.namespaces;
    if (name == cluster::default_namespace || known.contains(name) || log_.faulty(path) ||
        log_.faulty_itself("topology.namespaces")) {
      return;
    }
    auto names = names_of(known);
    if (!known.contains(std::string(cluster::default_namespace))) {
      names.push_back(cluster::default_namespace);
    }
    refuse(log_, path, unknown_name("namespace", name, names));
  }

  // As the API server takes it: what it would refuse, and what it would fill in.
  void admit(NetworkPolicy& policy, const std::string& path) {
    if (log_.faulty(path)) return;
    for (const auto& fault : base::kube::faults_of(policy)) {
      refuse(log_, join_path(path, fault.field), fault.message);
    }
    base::kube::apply_defaults(policy);
    check_namespace(policy.metadata.in_namespace, path + ".metadata.namespace");
    check_port_names(policy, path);
  }

  // A name no pod has a port of, over that protocol, is legal and selects nothing: here it is a
  // slip.
  void check_port_names(const NetworkPolicy& policy, const std::string& path) {
    const auto look = [&](const auto& rules, std::string_view direction) {
      for (std::size_t rule = 0; rule < rules.size(); ++rule) {
        for (std::size_t i = 0; i < rules[rule].ports.size(); ++i) {
          const auto& port = rules[rule].ports[i].port;
          const auto* name = port ? std::get_if<std::string>(&port->value) : nullptr;
          if (name == nullptr) continue;
          const auto at = fmt::format("{}.spec.{}[{}].ports[{}].port", path, direction, rule, i);
          const auto found = policy_.ports.find(*name);
          if (found == policy_.ports.end()) {
            refuse(log_, at, unknown_name("port", *name, names_of(policy_.ports)));
            continue;
          }
          // Absent it is TCP (API reference, NetworkPolicyPort).
          const auto wanted = rules[rule].ports[i].protocol.value_or(base::kube::Protocol::TCP);
          const auto there = base::enum_name(found->second.protocol);
          if (base::enum_name(wanted) == there) continue;
          refuse(
              log_, at,
              fmt::format("\"{}\" is a port of {}, and this rule is about {}, so that it selects "
                          "nothing: say protocol: {}",
                          *name, there, base::enum_name(wanted), there));
        }
      }
    };
    if (log_.faulty("policy.ports") || log_.faulty(path)) return;
    look(policy.spec.ingress, "ingress");
    look(policy.spec.egress, "egress");
  }

  void resolve_objects() {
    for (std::size_t i = 0; i < policy_.objects.size(); ++i) {
      const auto path = index_path("policy.objects", i);
      admit(policy_.objects[i], path);
      if (log_.faulty(path + ".metadata")) continue;
      if (!objects_.insert(name_of(policy_.objects[i])).second) {
        refuse(log_, path + ".metadata.name",
               fmt::format("another policy above is {}", name_of(policy_.objects[i])));
      }
    }
  }

  // Whether an object that is to be changed is there.
  void check_object(const std::string& name, const std::string& path) {
    if (log_.faulty(path) || log_.faulty("policy.objects") || objects_.contains(name)) return;
    refuse(log_, path,
           unknown_name("policy", name,
                        std::vector<std::string_view>(objects_.begin(), objects_.end())));
  }

  void check_labelled(const LabelChange& change, const std::string& path, bool of_pod) {
    const auto at = path + ".name";
    check_labels(change.labels, path + ".labels", log_);
    if (!of_pod) return check_namespace(change.name, at);
    check_pod(change.name, at);
  }

  void check_change(ChangeSpec& change, const std::string& path) {
    if (log_.faulty_itself(path)) return;
    check_word(change.name, path + ".name", log_.place_of(path + ".name"), log_);
    if (!log_.faulty(path + ".name") && !names_.insert(change.name).second) {
      refuse(log_, path + ".name",
             fmt::format("another change above is called \"{}\"", change.name));
    }
    const int kinds = change.create.has_value() + change.update.has_value() +
                      change.remove.has_value() + change.label_pod.has_value() +
                      change.label_namespace.has_value() + change.restart_pod.has_value();
    if (kinds != 1 && !log_.faulty(path)) {
      refuse(log_, path,
             fmt::format("expected exactly one of create, update, delete, label_pod, "
                         "label_namespace and restart_pod, got {}",
                         kinds == 0 ? std::string("none") : std::to_string(kinds)));
      return;
    }
    if (change.create) {
      const auto at = path + ".create";
      admit(*change.create, at);
      if (!log_.faulty(at) && objects_.contains(name_of(*change.create))) {
        refuse(
            log_, at + ".metadata.name",
            fmt::format("{} is among policy.objects already: update it", name_of(*change.create)));
      }
    }
    if (change.update) {
      const auto at = path + ".update";
      admit(*change.update, at);
      check_object(name_of(*change.update), at + ".metadata.name");
    }
    if (change.remove) {
      if (!change.remove->contains('/')) {
        change.remove = fmt::format("{}/{}", cluster::default_namespace, *change.remove);
      }
      check_object(*change.remove, path + ".delete");
    }
    if (change.label_pod) check_labelled(*change.label_pod, path + ".label_pod", true);
    if (change.label_namespace) {
      check_labelled(*change.label_namespace, path + ".label_namespace", false);
    }
    check_pod(change.restart_pod, path + ".restart_pod");
    check_not_the_same(change, path);
  }

  // A change to what is there already would be watched in vain, and no leak of it seen.
  void check_not_the_same(const ChangeSpec& change, const std::string& path) {
    const auto refuse_same = [&](const std::string& at, std::string_view what) {
      if (log_.faulty(at)) return;
      refuse(log_, at,
             fmt::format("{} is as it is already: nothing would change, and nothing could be seen",
                         what));
    };
    if (change.update && !log_.faulty("policy.objects") &&
        std::ranges::find(policy_.objects, *change.update) != policy_.objects.end()) {
      refuse_same(path + ".update", name_of(*change.update));
    }
    if (change.label_pod && pods_known_ && is_pod(change.label_pod->name)) {
      const auto& name = change.label_pod->name;
      const auto& group = scenario_.topology.pods.at(name.substr(0, name.rfind('-')));
      if (group.labels == change.label_pod->labels) refuse_same(path + ".label_pod.labels", name);
    }
    if (change.label_namespace && !log_.faulty("topology.namespaces")) {
      const auto& name = change.label_namespace->name;
      const auto known = scenario_.topology.namespaces.find(name);
      const bool same = known == scenario_.topology.namespaces.end()
                            ? change.label_namespace->labels.empty()
                            : known->second.labels == change.label_namespace->labels;
      if (same) refuse_same(path + ".label_namespace.labels", name);
    }
  }

  void check_times() {
    check_span(policy_.matrix.timeout, shortest_timeout, longest_timeout, "policy.matrix.timeout",
               log_);
    check_span(policy_.matrix.deadline, policy_.matrix.timeout, longest_deadline,
               "policy.matrix.deadline", log_);
    check_span(policy_.matrix.grace, base::Duration{0}, longest_deadline, "policy.matrix.grace",
               log_);
    check_span(policy_.window, shortest_window, longest_window, "policy.window", log_);
    if (!log_.faulty("policy.window") && !log_.faulty("policy.budget") &&
        policy_.budget >= policy_.window) {
      using Text = base::StringScalar<base::Duration>;
      refuse(log_, "policy.budget",
             fmt::format("packets are watched for {} after a write, so a leak of {} would not be "
                         "seen to end: give policy.window more",
                         Text::format(policy_.window), Text::format(policy_.budget)));
    }
  }

  void check_pod(const std::optional<std::string>& pod, const std::string& path) {
    if (!pod || log_.faulty(path) || !pods_known_ || is_pod(*pod)) return;
    refuse(log_, path, unknown_name("pod", *pod, pod_names()));
  }

  void check_pods() {
    for (std::size_t i = 0; i < policy_.new_pods.size(); ++i) {
      check_pod(policy_.new_pods[i], index_path("policy.new_pods", i));
    }
    if (!policy_.only) return;
    const auto& only = *policy_.only;
    check_pod(only.from, "policy.only.from");
    check_pod(only.to, "policy.only.to");
    if (only.port && !policy_.ports.contains(*only.port) && !log_.faulty("policy.ports") &&
        !log_.faulty("policy.only.port")) {
      refuse(log_, "policy.only.port", unknown_name("port", *only.port, names_of(policy_.ports)));
    }
  }

  [[nodiscard]] bool is_pod(const std::string& name) const {
    return std::ranges::find(pods_, name) != pods_.end();
  }
  [[nodiscard]] std::vector<std::string_view> pod_names() const {
    return {pods_.begin(), pods_.end()};
  }

  Scenario& scenario_;
  PolicySpec& policy_;
  ReadLog& log_;
  std::vector<std::string> pods_;
  bool pods_known_ = true;
  std::set<std::string> objects_;  // "default/deny"
  std::set<std::string> names_;    // of changes
};

}  // namespace

void resolve_policy(Scenario& scenario, ReadLog& log) {
  if (log.faulty_itself("policy")) return;
  PolicyResolver(scenario, log).resolve();
}

}  // namespace stackbench
