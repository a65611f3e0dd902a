// Prints, as JSON, the schema and documents it must accept or refuse, for schema_test.py: every
// shipped scenario as it was written and as it is resolved, and the first of them with one thing
// broken at a time.
#include <cstdio>
#include <filesystem>
#include <span>

#include "base/file.h"
#include "base/json.h"
#include "stackbench/scenario/decode.h"
#include "stackbench/scenario/overrides.h"
#include "stackbench/scenario/reader.h"
#include "stackbench/scenario/schema.h"
#include "stackbench/scenario/yaml.h"

namespace stackbench {
namespace {

// Each breaks one thing that a schema can see.
constexpr std::array broken{
    "colour=red",
    "question=12",
    "family=ipv5",
    "blocks=5",
    "blocks='12'",
    "blocks=1001",
    "seed=[1]",
    "arms=[]",
    "arms.0.name=Not-A-Name",
    "arms.0.dial=web",
    "arms.0.dail=pod/web",
    "workloads=[]",
    "workloads=[{duration: 1s}]",
    "workloads.0.kind=tcp_r",
    "workloads.0.duration=30",
    "workloads.0.duration='30'",
    "workloads.0.rate=5000",
    "workloads.0.connections=0",
    "workloads.0.request=16K",
    "workloads.0.gso='maybe'",
    "topology={}",
    "topology.pods={}",
    "topology.pods.My_Pod={node: 1}",
    "topology.pods.web.node=0",
    "topology.services.web={}",
    "environments.net-rules={datapath: iptables}",
    "environments.iptables.datapath=ipvs",
    "checks=[translated_at, translated_at]",
    "checks=[translated]",
    "expect=[{metric: rate, arm: direct, at_most: 5}]",
    "expect=[{metric: throughput, arm: direct, at_least: 5MB}]",
    "expect=[{metric: rate, arm: direct, at_most: 5/s, at_least: 1/s}]",
    "expect.0.at_least=five",
    "expect=[{metric: rate, arm: direct}]",
    "expect=[{metric: latency.p5, arm: direct, at_most: 1ms}]",
    "faults=[{kind: hook_left_out}]",
    "bgp={service: web}",
};

// The same of scenarios about policies.
constexpr std::array broken_policy{
    "arms=[{name: direct, dial: pod/web}]",
    "expect=[{metric: rate, arm: direct, at_least: 5/s}]",
    "policy.objcts=[]",
    "policy.objects.0.kind=7",
    "policy.objects.0.spec.ingres=[]",
    "policy.objects.0.spec.policyTypes=[ingress]",
    "policy.objects.0.spec={ingress: [{ports: [{port: 1.5}]}]}",
    "policy.objects.0.spec={ingress: [{from: [{ipBlock: {cidr: 10.0.0.1}}]}]}",
    "policy.ports={http: {port: 0}}",
    "policy.ports={http: {port: 80, protocol: tcp}}",
    "policy.changes=[{name: one}]",
    "policy.changes=[{name: one, delete: a, label_pod: {name: web-0, labels: {}}}]",
    "policy.established={busy_tcp: dies}",
    "policy.watched_flows=9",
    "policy.cases=all",
    "bgp={service: web}",
};

// And of scenarios about BGP.
constexpr std::array broken_bgp{
    "arms=[{name: direct, dial: pod/web}]",
    "workloads=[{kind: tcp_rr, duration: 1s}]",
    "expect=[{metric: rate, arm: direct, at_least: 5/s}]",
    "checks=[translated_at]",
    "environments={iptables: {datapath: iptables}}",
    "policy={objects: []}",
    "bgp={rounds: 2}",
    "bgp.rounds=0",
    "bgp.write=pods",
    "bgp.communities=[x]",
    "bgp.restart_time_s=4096",
    "bgp.budget={announce: 500}",
    "bgp.pool=all",
    "bgp.peer={address: router}",
};

// And of scenarios about windows.
constexpr std::array broken_window{
    "arms=[{name: strict, in: strict, dial: service/web}]",
    "workloads=[{kind: tcp_rr, duration: 1s}]",
    "expect=[{metric: rate, arm: strict, at_least: 5/s}]",
    "plaintext_window={service: web}",
    "plaintext_window.changes=[]",
    "plaintext_window.changes.0.kind=pod_starts",
    "plaintext_window.changes.0.budget=100",
    "plaintext_window.repetitions=0",
    "plaintext_window.knocks=2000",
    "plaintext_window.pod=web-0",
};

// And of scenarios about certificates that are rotated.
constexpr std::array broken_rotation{
    "arms=[{name: direct, dial: pod/web}]",
    "workloads=[{kind: tcp_rr, duration: 1s}]",
    "events=[{at: 1s, kind: kill, pod: web-0}]",
    "policy={objects: []}",
    "bgp={service: web}",
    "rotation={rotations: 2}",
    "rotation.rotations=0",
    "rotation.rate=5000",
    "rotation.connections=none",
    "rotation.budget={gap: 500}",
};

base::Result<base::Json> cases(const std::string& folder) {
  auto valid = base::Json::object();
  auto invalid = base::Json::object();
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const auto file = entry.path().string();
    ASSIGN_OR_RETURN(const auto scenario, load_scenario(file, {}));
    ASSIGN_OR_RETURN(const auto text, base::read_file(file));
    const auto document = parse_yaml(text);
    if (!document.root) return base::fail(base::ErrorKind::input, "{}: empty", file);
    valid[file + " as written"] = decode_json(*document.root);
    valid[file + " resolved"] = base::to_json(scenario);
    const auto changes = scenario.policy             ? std::span<const char* const>(broken_policy)
                         : scenario.bgp              ? std::span<const char* const>(broken_bgp)
                         : scenario.rotation         ? std::span<const char* const>(broken_rotation)
                         : scenario.plaintext_window ? std::span<const char* const>(broken_window)
                                                     : std::span<const char* const>(broken);
    for (const auto* change : changes) {
      auto root = *document.root;
      RETURN_IF_ERROR(apply_override(root, change, 1));
      invalid[fmt::format("{} with {}", file, change)] = decode_json(root);
    }
  }
  return base::Json{{"schema", scenario_schema()}, {"valid", valid}, {"invalid", invalid}};
}

}  // namespace
}  // namespace stackbench

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: schema_cases FOLDER\n");
    return 2;
  }
  const auto json = stackbench::cases(argv[1]);
  if (!json) {
    fmt::print(stderr, "{}\n", base::describe_error(json.error()));
    return 2;
  }
  fmt::print("{}\n", base::dump_json(*json));
}
