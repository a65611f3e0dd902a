// The plaintext_window section: who knocks, who asks, at whom, and what happens meanwhile.
#include <algorithm>

#include "stackbench/scenario/resolve.h"

namespace stackbench {
namespace {

using base::kube::MtlsMode;

constexpr base::Duration shortest_window = std::chrono::milliseconds(50);
constexpr base::Duration longest_window = std::chrono::seconds(30);
constexpr double highest_rate = 8'000;
const std::string section = "plaintext_window";

class WindowResolver {
 public:
  WindowResolver(Scenario& scenario, ReadLog& log)
      : scenario_(scenario), spec_(*scenario.plaintext_window), log_(log) {
    pods_known_ = !log.faulty("topology.pods");
  }

  void resolve() {
    stands_alone();
    check_ends();
    check_environments();
    check_rate(spec_.knocks, section + ".knocks");
    check_rate(spec_.requests, section + ".requests");
    check_span(spec_.window, shortest_window, longest_window, section + ".window", log_);
    if (spec_.changes.empty() && !log_.faulty(section + ".changes")) {
      refuse(log_, section + ".changes", "expected at least one change to watch, got none");
    }
    for (std::size_t i = 0; i < spec_.changes.size(); ++i) {
      resolve_change(spec_.changes[i], index_path(section + ".changes", i));
    }
  }

 private:
  void stands_alone() {
    const auto refuse_there = [&](bool there, const std::string& path) {
      if (!there || log_.faulty_itself(path)) return;
      log_.fault(log_.key_place_of(path), path,
                 "a scenario with a plaintext_window asks of that alone; ask this in one of its "
                 "own");
    };
    refuse_there(scenario_.policy.has_value(), "policy");
    refuse_there(!scenario_.arms.empty(), "arms");
    refuse_there(!scenario_.workloads.empty(), "workloads");
    refuse_there(!scenario_.expect.empty(), "expect");
    refuse_there(!scenario_.events.empty(), "events");
    if (scenario_.blocks != Scenario{}.blocks && !log_.faulty("blocks")) {
      refuse(log_, "blocks",
             "a scenario with a plaintext_window has no blocks: how often its changes are watched "
             "is plaintext_window.repetitions");
    }
    if (scenario_.family == base::AddressFamily::ipv6 && !log_.faulty("family")) {
      refuse(log_, "family", "proxies are led IPv4 alone here: leave it out");
    }
  }

  void check_rate(const base::RequestRate& rate, const std::string& path) {
    if (log_.faulty(path) || (rate.per_second >= 1 && rate.per_second <= highest_rate)) return;
    refuse(log_, path, fmt::format("expected 1/s to {}/s", highest_rate));
  }

  [[nodiscard]] static bool is_proxied(const cluster::PodSpec& pods) {
    const auto label = pods.labels.find(std::string(cluster::inject_label));
    return label == pods.labels.end() || label->second != cluster::no_injection;
  }

  // A group of pods by name, in the mesh or outside of it; nullptr where something is refused.
  const cluster::PodSpec* check_group(const std::string& name, const std::string& path,
                                      bool proxied) {
    if (log_.faulty(path) || !pods_known_) return nullptr;
    const auto& pods = scenario_.topology.pods;
    const auto found = pods.find(name);
    if (found == pods.end()) {
      refuse(log_, path, unknown_name("group of pods", name, names_of(pods)));
      return nullptr;
    }
    if (is_proxied(found->second) == proxied) return &found->second;
    refuse(log_, path,
           proxied ? fmt::format("the pods \"{}\" are labelled {}: \"{}\", so they have no proxy",
                                 name, cluster::inject_label, cluster::no_injection)
                   : fmt::format("the pods \"{}\" have a proxy, which would encrypt what they say: "
                                 "label them {}: \"{}\"",
                                 name, cluster::inject_label, cluster::no_injection));
    return nullptr;
  }

  void check_ends() {
    const auto at_service = section + ".service";
    const auto& services = scenario_.topology.services;
    const auto service = services.find(spec_.service);
    if (service == services.end()) {
      if (!log_.faulty(at_service) && !log_.faulty("topology.services")) {
        refuse(log_, at_service, unknown_name("Service", spec_.service, names_of(services)));
      }
    } else {
      target_ = service->second.target;
    }
    const auto* const client = check_group(spec_.client, section + ".client", true);
    const auto* const outsider = check_group(spec_.outsider, section + ".outsider", false);
    if (target_.empty()) return;
    const auto* const servers = check_group(target_, at_service, true);
    if (client == nullptr || outsider == nullptr || servers == nullptr) return;
    // One capture, at one uplink, sees all that both of them say.
    if (client->node != outsider->node) {
      refuse(log_, section + ".outsider",
             fmt::format("one capture sees what it and the client say, so both are on one node: "
                         "\"{}\" are on node {}, \"{}\" on node {}",
                         spec_.outsider, outsider->node, spec_.client, client->node));
    } else if (servers->node == client->node) {
      refuse(log_, at_service,
             fmt::format("what never leaves node {} cannot be seen on its uplink: put \"{}\" on "
                         "another node than \"{}\"",
                         client->node, target_, spec_.client));
    }
  }

  void check_environments() {
    if (log_.faulty_itself("environments")) return;
    if (scenario_.environments.empty()) {
      refuse(log_, section, "expected an environment with a mesh, got none");
    }
    for (const auto& [name, environment] : scenario_.environments) {
      const auto path = join_path("environments", name);
      if (log_.faulty(path)) continue;
      if (!environment.mesh) {
        refuse(log_, path, "a mesh is what changes here, and this environment has none");
      } else if (environment.mesh->mode != MtlsMode::STRICT) {
        refuse(log_, path + ".mesh.mode",
               fmt::format("{} lets plaintext in, so that there is no window: say STRICT",
                           base::enum_name(environment.mesh->mode)));
      }
    }
  }

  // The pods that may be made anew, or lose their proxies.
  [[nodiscard]] std::vector<std::string> pods() const {
    std::vector<std::string> all;
    const auto found = scenario_.topology.pods.find(target_);
    const int replicas = found == scenario_.topology.pods.end() ? 0 : found->second.replicas;
    for (int i = 0; i < replicas; ++i) all.push_back(fmt::format("{}-{}", target_, i));
    all.push_back(spec_.client + "-0");
    return all;
  }

  void resolve_change(MeshChangeSpec& change, const std::string& path) {
    if (log_.faulty_itself(path)) return;
    const auto at_pod = path + ".pod";
    const bool flip = change.kind == MeshChange::policy_flip;
    if (flip && change.pod && !log_.faulty(at_pod)) {
      refuse(log_, at_pod, "policy_flip is the whole namespace's: leave it out");
    } else if (!flip && change.pod && !log_.faulty(at_pod) && pods_known_ && !target_.empty()) {
      const auto known = pods();
      if (std::ranges::find(known, *change.pod) == known.end()) {
        refuse(log_, at_pod,
               unknown_name("pod that is watched", *change.pod, {known.begin(), known.end()}));
      }
    } else if (!flip && !change.pod) {
      change.pod = target_ + "-0";
    }
    if (change.in && !log_.faulty(path + ".in") && !log_.faulty_itself("environments") &&
        !scenario_.environments.contains(*change.in)) {
      refuse(log_, path + ".in",
             unknown_name("environment", *change.in, names_of(scenario_.environments)));
    }
    if (!change.budget) change.budget = flip ? flip_budget_by_default : base::Duration(0);
    using Text = base::StringScalar<base::Duration>;
    if (log_.faulty(path + ".budget") || log_.faulty(section + ".window")) return;
    if (*change.budget >= spec_.window) {
      refuse(
          log_, path,
          fmt::format("a change is watched for {}, so a window of {} would not be seen to close: "
                      "give plaintext_window.window more",
                      Text::format(spec_.window), Text::format(*change.budget)));
    }
  }

  Scenario& scenario_;
  PlaintextWindowSpec& spec_;
  ReadLog& log_;
  std::string target_;  // the group behind the service; empty where it is not known
  bool pods_known_ = true;
};

}  // namespace

void resolve_plaintext_window(Scenario& scenario, ReadLog& log) {
  if (log.faulty_itself(section)) return;
  WindowResolver(scenario, log).resolve();
}

}  // namespace stackbench
