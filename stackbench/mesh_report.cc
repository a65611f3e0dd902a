#include "stackbench/mesh_report.h"

#include <algorithm>
#include <iterator>
#include <map>

#include "base/stats/hodges_lehmann.h"
#include "checks/handshake_per_connection.h"

namespace stackbench {
namespace {

using base::kube::MtlsMode;

constexpr double level = 0.95;

const cluster::MeshPlan* mesh_of(const Plan& plan, const PlannedArm& arm) {
  const auto& mesh = plan.environments[arm.environment].mesh;
  return mesh ? &*mesh : nullptr;
}

bool encrypts(const cluster::MeshPlan* mesh) {
  return mesh != nullptr && mesh->spec.mode != MtlsMode::DISABLE;
}

std::vector<const Sample*> kept_samples(const Measurements& measured, std::size_t arm,
                                        std::size_t workload) {
  const auto kept = measured.kept_blocks();
  std::vector<const Sample*> all;
  for (const auto& sample : measured.samples) {
    if (sample.arm != arm || sample.workload != workload) continue;
    if (std::ranges::find(kept, sample.block) != kept.end()) all.push_back(&sample);
  }
  return all;
}

// The mean of what `value` finds in the samples of each block; without blocks where one lacks it.
template <typename Value>
std::map<int, double> by_block(const std::vector<const Sample*>& samples, const Value& value) {
  std::map<int, std::pair<double, int>> sums;
  std::map<int, bool> lacking;
  for (const auto* sample : samples) {
    if (const std::optional<double> one = value(*sample)) {
      sums[sample->block].first += *one;
      ++sums[sample->block].second;
    } else {
      lacking[sample->block] = true;
    }
  }
  std::map<int, double> means;
  for (const auto& [block, sum] : sums) {
    if (!lacking.contains(block)) means[block] = sum.first / sum.second;
  }
  return means;
}

// What the proxies themselves say of an arm's traffic.
enum class Seen {
  no_proxies,
  passed_on,  // as it came
  encrypted,
  went_round,  // not all of it met the client's proxy
};

// A proxy sends what goes to a pod's own address as it came, whatever it makes for Services.
Seen seen_of(const Plan& plan, const Measurements& measured, std::size_t index,
             std::size_t workload) {
  const auto& arm = plan.arms[index];
  if (mesh_of(plan, arm) == nullptr) return Seen::no_proxies;
  std::uint64_t opened = 0;
  std::uint64_t taken = 0;
  bool handshakes = false;
  for (const auto* sample : kept_samples(measured, index, workload)) {
    opened += sample->client.connections_opened;
    for (const auto& proxy : sample->proxies) {
      if (!proxy.of_client) continue;
      taken += proxy.connections;
      // Of HTTP those that were made for an invocation before.
      handshakes = handshakes || proxy.handshakes > 0 || proxy.handshakes_ever > 0;
    }
  }
  if (static_cast<double>(taken) <
      static_cast<double>(opened) * (1 - checks::handshakes_tolerance)) {
    return Seen::went_round;
  }
  return handshakes && arm.dial.kind != DialTarget::Kind::pod ? Seen::encrypted : Seen::passed_on;
}

// Whether two arms differ in nothing but their meshes, and those in what `of` says alone.
bool differ_in_mesh_alone(const Plan& plan, const PlannedArm& arm, const PlannedArm& base) {
  const auto& its = plan.environments[arm.environment];
  const auto& others = plan.environments[base.environment];
  const bool workers =
      !its.mesh || !others.mesh || its.mesh->spec.workers == others.mesh->spec.workers;
  return workers && arm.dial == base.dial && arm.from == base.from && arm.family == base.family &&
         arm.servers == base.servers && its.datapath == others.datapath &&
         its.filler == others.filler && its.faults == others.faults &&
         its.context == others.context;
}

std::optional<reports::MeshCostOf> cost_of(Seen arm, Seen base) {
  using reports::MeshCostOf;
  if (base == Seen::no_proxies && arm == Seen::passed_on) return MeshCostOf::proxies;
  if (base == Seen::no_proxies && arm == Seen::encrypted) return MeshCostOf::proxies_and_encryption;
  if (base == Seen::passed_on && arm == Seen::encrypted) return MeshCostOf::encryption;
  return std::nullopt;
}

std::optional<double> total_cpu(const Sample& sample) {
  const auto found = sample.values.find(Metric::cpu_per_request);
  return found == sample.values.end() ? std::nullopt : std::optional(found->second);
}

std::optional<reports::Interval> interval_of(const base::stats::Effect& effect) {
  if (!effect.interval) return std::nullopt;
  return reports::Interval{effect.interval->lower, effect.interval->upper, effect.interval->level};
}

void add_cost(reports::MeshRecord& record, const Plan& plan, const Measurements& measured,
              std::size_t index, std::size_t workload) {
  const auto& arm = plan.arms[index];
  if (!arm.base) return;
  const auto& base_arm = plan.arms[*arm.base];
  if (!differ_in_mesh_alone(plan, arm, base_arm)) return;
  const auto of = cost_of(seen_of(plan, measured, index, workload),
                          seen_of(plan, measured, *arm.base, workload));
  if (!of) return;
  const auto own = by_block(kept_samples(measured, index, workload), total_cpu);
  const auto base = by_block(kept_samples(measured, *arm.base, workload), total_cpu);
  std::vector<double> differences;
  for (const auto& [block, value] : own) {
    if (const auto other = base.find(block); other != base.end()) {
      differences.push_back(value - other->second);
    }
  }
  const auto effect = base::stats::hodges_lehmann(differences, level);
  if (!effect) return;
  record.costs.push_back({.of = *of,
                          .workload = plan.workloads[workload].name,
                          .arm = arm.name,
                          .base_arm = base_arm.name,
                          .cpu_per_request_ns = effect->estimate,
                          .interval = interval_of(*effect),
                          .blocks = static_cast<int>(differences.size())});
}

const ProxySample* proxy_of(const Sample& sample, const std::string& pod) {
  const auto found = std::ranges::find(sample.proxies, pod, &ProxySample::pod);
  return found == sample.proxies.end() ? nullptr : &*found;
}

// What of an arm's requests its own pod's proxy carried: of a client all, of a server those it
// answered.
double share_of(const PlannedArm& arm, const std::string& pod, const Sample& sample) {
  std::uint64_t all = 0;
  std::uint64_t own = 0;
  for (std::size_t i = 0; i < arm.servers.size() && i < sample.servers.size(); ++i) {
    all += sample.servers[i].requests;
    if (arm.servers[i] == pod) own = sample.servers[i].requests;
  }
  const bool serves = std::ranges::find(arm.servers, pod) != arm.servers.end();
  if (!serves || all == 0) return 1;
  return static_cast<double>(own) / static_cast<double>(all);
}

// Hodges-Lehmann over blocks.
base::Result<base::stats::Effect> typical(const std::map<int, double>& by_block) {
  std::vector<double> values;
  for (const auto& [block, value] : by_block) values.push_back(value);
  return base::stats::hodges_lehmann(values, level);
}

// Of one proxy; nothing where its CPU was never read.
std::optional<reports::ProxyCost> cost_of_proxy(const Plan& plan, const PlannedArm& arm,
                                                const std::string& pod,
                                                const std::vector<const Sample*>& samples) {
  const auto cpu_of = [&](const Sample& sample, double share) -> std::optional<double> {
    const auto* proxy = proxy_of(sample, pod);
    const auto requests = static_cast<double>(sample.client.requests) * share;
    if (proxy == nullptr || !proxy->cpu_ns || requests == 0) return std::nullopt;
    return static_cast<double>(*proxy->cpu_ns) / requests;
  };
  const auto cpu = by_block(samples, [&](const Sample& sample) { return cpu_of(sample, 1); });
  const auto effect = typical(cpu);
  if (!effect) return std::nullopt;
  // A kept connection goes to one of several servers: the others' proxies carried nothing then.
  std::vector<const Sample*> carried;
  std::ranges::copy_if(samples, std::back_inserter(carried),
                       [&](const Sample* sample) { return share_of(arm, pod, *sample) > 0; });
  const auto of_own = typical(by_block(
      carried, [&](const Sample& sample) { return cpu_of(sample, share_of(arm, pod, sample)); }));

  reports::ProxyCost cost{.arm = arm.name,
                          .pod = pod,
                          .cpu_per_request_ns = effect->estimate,
                          .interval = interval_of(*effect),
                          // Seconds for one request, a thousand of them in a second.
                          .vcpu_per_1000_rps = of_own ? of_own->estimate * 1e-6 : 0,
                          .blocks = static_cast<int>(cpu.size())};
  std::vector<std::int64_t> memory;
  double connections = 0;
  double handshakes = 0;
  double resumed = 0;
  for (const auto* sample : samples) {
    const auto* proxy = proxy_of(*sample, pod);
    if (proxy == nullptr) continue;
    cost.of_client = proxy->of_client;
    memory.push_back(proxy->memory_bytes);
    connections +=
        static_cast<double>(sample->client.connections_opened) * share_of(arm, pod, *sample);
    handshakes += static_cast<double>(proxy->handshakes);
    resumed += static_cast<double>(proxy->resumed);
  }
  std::ranges::sort(memory);
  cost.memory_bytes = memory[(memory.size() - 1) / 2];
  const auto share = [](double part, double whole) { return whole == 0 ? 0 : part / whole; };
  cost.handshakes_per_connection = share(handshakes, connections);
  cost.resumed_share = share(resumed, handshakes);
  const auto group = pod.substr(0, pod.rfind('-'));
  const auto& cpus = mesh_of(plan, arm)->cpu_of;
  if (const auto pinned = cpus.find(group); pinned != cpus.end()) cost.cpu = pinned->second;
  return cost;
}

void add_proxies(reports::MeshRecord& record, const Plan& plan, const Measurements& measured,
                 std::size_t index, std::size_t workload) {
  const auto& arm = plan.arms[index];
  if (mesh_of(plan, arm) == nullptr) return;
  const auto samples = kept_samples(measured, index, workload);
  auto pods = std::vector{arm.from};
  pods.insert(pods.end(), arm.servers.begin(), arm.servers.end());
  for (const auto& pod : pods) {
    auto cost = cost_of_proxy(plan, arm, pod, samples);
    if (!cost) continue;
    cost->workload = plan.workloads[workload].name;
    record.proxies.push_back(std::move(*cost));
  }
}

}  // namespace

std::optional<std::vector<reports::ProxySample>> proxies_of(const Sample& sample) {
  if (sample.proxies.empty()) return std::nullopt;
  std::vector<reports::ProxySample> all;
  for (const auto& proxy : sample.proxies) {
    reports::ProxySample one{.pod = proxy.pod,
                             .of_client = proxy.of_client,
                             .memory_bytes = proxy.memory_bytes,
                             .connections = proxy.connections,
                             .handshakes = proxy.handshakes,
                             .resumed = proxy.resumed,
                             .failed = proxy.failed};
    if (proxy.cpu_ns && sample.client.requests > 0) {
      one.cpu_per_request_ns =
          static_cast<double>(*proxy.cpu_ns) / static_cast<double>(sample.client.requests);
    }
    all.push_back(std::move(one));
  }
  return all;
}

std::optional<reports::MeshRecord> mesh_record(const Plan& plan, const Measurements& measured) {
  if (std::ranges::none_of(plan.arms,
                           [&](const PlannedArm& arm) { return mesh_of(plan, arm) != nullptr; })) {
    return std::nullopt;
  }
  reports::MeshRecord record;
  for (std::size_t workload = 0; workload < plan.workloads.size(); ++workload) {
    for (std::size_t arm = 0; arm < plan.arms.size(); ++arm) {
      add_cost(record, plan, measured, arm, workload);
      add_proxies(record, plan, measured, arm, workload);
    }
  }
  return record;
}

std::vector<RunCheck> judge_handshakes(const Plan& plan, const Measurements& measured) {
  std::vector<RunCheck> all;
  const auto& wanted = plan.scenario.checks;
  if (std::ranges::find(wanted, CheckKind::handshake_per_connection) == wanted.end()) return all;
  for (std::size_t arm = 0; arm < plan.arms.size(); ++arm) {
    const auto* mesh = mesh_of(plan, plan.arms[arm]);
    if (mesh == nullptr) continue;
    for (std::size_t workload = 0; workload < plan.workloads.size(); ++workload) {
      const auto kind = plan.workloads[workload].spec.kind;
      if (bench::protocol_of(kind) != base::Protocol::TCP) continue;
      const checks::HandshakePromise promise{
          .mutual_tls = encrypts(mesh),
          .resumption = mesh->spec.session_resumption == cluster::SessionResumption::on,
          .pooled = !bench::connects_by_itself(kind)};
      std::vector<checks::HandshakeWindow> windows;
      for (const auto& sample : measured.samples) {
        if (sample.arm != arm || sample.workload != workload || sample.block == 0) continue;
        checks::HandshakeWindow window{.connections = sample.client.connections_opened};
        for (const auto& proxy : sample.proxies) {
          auto& handshakes = proxy.of_client ? window.client_handshakes : window.server_handshakes;
          auto& resumed = proxy.of_client ? window.client_resumed : window.server_resumed;
          auto& taken = proxy.of_client ? window.client_taken : window.server_taken;
          handshakes += proxy.handshakes;
          resumed += proxy.resumed;
          taken += proxy.connections;
        }
        windows.push_back(window);
      }
      all.push_back({CheckKind::handshake_per_connection, arm, workload,
                     checks::handshake_per_connection(promise, windows)});
    }
  }
  return all;
}

}  // namespace stackbench
