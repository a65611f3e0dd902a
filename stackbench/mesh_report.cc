#include "stackbench/mesh_report.h"

#include <algorithm>
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

std::optional<reports::MeshCostOf> cost_of(const cluster::MeshPlan* mesh,
                                           const cluster::MeshPlan* base) {
  if (mesh == nullptr) return std::nullopt;
  if (base == nullptr) {
    return encrypts(mesh) ? reports::MeshCostOf::proxies_and_encryption
                          : reports::MeshCostOf::proxies;
  }
  if (encrypts(mesh) && !encrypts(base)) return reports::MeshCostOf::encryption;
  return std::nullopt;
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
  const auto of = cost_of(mesh_of(plan, arm), mesh_of(plan, base_arm));
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

// Of one proxy; nothing where its CPU was never read.
std::optional<reports::ProxyCost> cost_of_proxy(const Plan& plan, const PlannedArm& arm,
                                                const std::string& pod,
                                                const std::vector<const Sample*>& samples) {
  const auto cpu = by_block(samples, [&](const Sample& sample) -> std::optional<double> {
    const auto* proxy = proxy_of(sample, pod);
    if (proxy == nullptr || !proxy->cpu_ns || sample.client.requests == 0) return std::nullopt;
    return static_cast<double>(*proxy->cpu_ns) / static_cast<double>(sample.client.requests);
  });
  std::vector<double> values;
  for (const auto& [block, value] : cpu) values.push_back(value);
  const auto effect = base::stats::hodges_lehmann(values, level);
  if (!effect) return std::nullopt;

  reports::ProxyCost cost{.arm = arm.name,
                          .pod = pod,
                          .cpu_per_request_ns = effect->estimate,
                          .interval = interval_of(*effect),
                          // Seconds for one request, a thousand of them in a second.
                          .vcpu_per_1000_rps = effect->estimate * 1e-6,
                          .blocks = static_cast<int>(values.size())};
  std::vector<std::int64_t> memory;
  std::uint64_t connections = 0;
  std::uint64_t handshakes = 0;
  std::uint64_t resumed = 0;
  for (const auto* sample : samples) {
    const auto* proxy = proxy_of(*sample, pod);
    if (proxy == nullptr) continue;
    cost.of_client = proxy->of_client;
    memory.push_back(proxy->memory_bytes);
    connections += sample->client.connections_opened;
    handshakes += proxy->handshakes;
    resumed += proxy->resumed;
  }
  std::ranges::sort(memory);
  cost.memory_bytes = memory[(memory.size() - 1) / 2];
  const auto share = [](std::uint64_t part, std::uint64_t whole) {
    return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
  };
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
    const checks::HandshakePromise promise{
        .mutual_tls = encrypts(mesh),
        .resumption = mesh->spec.session_resumption == cluster::SessionResumption::on};
    for (std::size_t workload = 0; workload < plan.workloads.size(); ++workload) {
      if (!bench::connects_by_itself(plan.workloads[workload].spec.kind)) continue;
      std::vector<checks::HandshakeWindow> windows;
      for (const auto& sample : measured.samples) {
        if (sample.arm != arm || sample.workload != workload || sample.block == 0) continue;
        checks::HandshakeWindow window{.connections = sample.client.connections_opened};
        for (const auto& proxy : sample.proxies) {
          auto& handshakes = proxy.of_client ? window.client_handshakes : window.server_handshakes;
          auto& resumed = proxy.of_client ? window.client_resumed : window.server_resumed;
          handshakes += proxy.handshakes;
          resumed += proxy.resumed;
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
