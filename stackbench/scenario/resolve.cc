#include "stackbench/scenario/resolve.h"

#include <algorithm>

namespace stackbench {
namespace {

// A pod is named after its group and its number, and the whole must be a label.
constexpr std::size_t longest_group = 60;
constexpr std::size_t longest_name = 63;

constexpr base::Duration shortest_window = std::chrono::milliseconds(1);
constexpr base::Duration longest_span = std::chrono::seconds(60);
constexpr double highest_rate = 1e7;

// What arms and environments may be called: they become keys of reports and names of files.
bool is_word(std::string_view name) {
  return !name.empty() && name.size() <= longest_name && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
}

void check_label(std::string_view name, std::size_t longest, const std::string& path,
                 ReadLog& log) {
  if (log.faulty_itself(path) || (is_label(name) && name.size() <= longest)) return;
  log.fault(log.key_place_of(path), path,
            fmt::format("expected a name of at most {} characters out of a-z, 0-9 and -, with no - "
                        "at either end, got \"{}\"",
                        longest, name));
}

void check_size(base::Bytes size, bench::WorkloadKind kind, const std::string& path, ReadLog& log) {
  using Text = base::StringScalar<base::Bytes>;
  const auto bounds = bench::message_bounds(kind);
  if (log.faulty(path) || (size.count >= bounds.least && size.count <= bounds.most)) return;
  refuse(log, path,
         fmt::format("expected between {}{} and {}{}, got {}", Text::format({bounds.least}),
                     bounds.least > 0 ? " (the header every message carries)" : "",
                     Text::format({bounds.most}),
                     bench::protocol_of(kind) == base::Protocol::UDP ? " (one datagram)" : "",
                     Text::format(size)));
}

void check_rate(base::RequestRate asked, base::Duration duration, const std::string& path,
                ReadLog& log) {
  if (log.faulty(path + ".rate")) return;
  const double rate = asked.per_second;
  const double seconds = std::chrono::duration<double>(duration).count();
  if (rate <= 0 || rate > highest_rate) {
    refuse(log, path + ".rate",
           fmt::format("expected more than 0/s and at most {}/s", highest_rate));
  } else if (!log.faulty(path + ".duration") && rate * seconds < 1) {
    refuse(log, path + ".rate",
           fmt::format("not one request falls into a duration of {} at this rate",
                       base::StringScalar<base::Duration>::format(duration)));
  }
}

void resolve_wire(const WireSpec& wire, ReadLog& log) {
  check_span(wire.duration, shortest_window, longest_span, "wire.duration", log);
  check_rate(wire.rate, wire.duration, "wire", log);
}

// One connection after another is what tls_handshake measures.
void check_tls(const bench::WorkloadSpec& workload, const std::string& path, ReadLog& log) {
  const auto refuse_there = [&](bool there, const char* field, const char* why) {
    if (there && !log.faulty(path + field)) refuse(log, path + field, why);
  };
  if (workload.kind != bench::WorkloadKind::tls_handshake) {
    constexpr const char* only = "only tls_handshake makes handshakes of its own";
    refuse_there(workload.session_resumption.has_value(), ".session_resumption", only);
    refuse_there(workload.client_certificate.has_value(), ".client_certificate", only);
    return;
  }
  refuse_there(workload.rate.has_value(), ".rate",
               "tls_handshake is a closed loop: as fast as handshakes go; leave it out");
  refuse_there(workload.connections != 1, ".connections",
               "tls_handshake makes one connection after another, and has one at a time");
  refuse_there(workload.generators != 1, ".generators", "tls_handshake has one generator");
  refuse_there(workload.wait && *workload.wait != bench::WaitStrategy::block, ".wait",
               "tls_handshake waits by block");
}

// Only HTTP/2 has them; a connection for one request has no use for more than one.
void check_streams(bench::WorkloadSpec& workload, const std::string& path, ReadLog& log) {
  const auto at = path + ".streams";
  if (log.faulty(path + ".kind") || log.faulty(at)) return;
  if (workload.kind == bench::WorkloadKind::http2) {
    workload.streams = workload.streams.value_or(1);
    if (*workload.streams == 1 || bench::keeps_connections(workload)) return;
    refuse(log, at, "with keep_alive: false a connection carries one request, so one stream");
  } else if (workload.streams) {
    refuse(log, at,
           fmt::format("only the connections of http2 have streams; {} has connections",
                       base::enum_name(workload.kind)));
  }
}

// What only some kinds have, given to one that has not.
void check_kind(const bench::WorkloadSpec& workload, const std::string& path, ReadLog& log) {
  const auto kind = base::enum_name(workload.kind);
  if (bench::is_stream(workload.kind) && workload.response && !log.faulty(path + ".response")) {
    refuse(log, path + ".response",
           fmt::format("a {} goes one way: nothing is replied to it; leave response out", kind));
  }
  if (workload.kind == bench::WorkloadKind::udp_stream && !workload.rate &&
      !log.faulty(path + ".rate")) {
    refuse(log, path + ".rate",
           "missing: nothing holds datagrams back that nobody answers; say how many a second, such "
           "as 20000/s");
  }
  check_tls(workload, path, log);
  if (workload.gso && workload.kind != bench::WorkloadKind::tcp_stream &&
      !log.faulty(path + ".gso")) {
    refuse(
        log, path + ".gso",
        fmt::format("a {} has no segments worth switching it for: only tcp_stream takes it", kind));
  }
}

// Whether every arm has that many clients, and every client a connection.
void check_generators(const Scenario& scenario, const bench::WorkloadSpec& workload,
                      const std::string& path, ReadLog& log) {
  const auto at = path + ".generators";
  if (workload.generators == 1 || log.faulty(at)) return;
  if (bench::is_stream(workload.kind) && !log.faulty(path + ".kind")) {
    refuse(log, at, fmt::format("a {} has one generator", base::enum_name(workload.kind)));
    return;
  }
  if (workload.connections < workload.generators && !log.faulty(path + ".connections")) {
    refuse(log, at,
           fmt::format("{} generators need a connection each, and connections is {}",
                       workload.generators, workload.connections));
    return;
  }
  if (!scenario.events.empty()) {
    refuse(log, at, "events happen to the traffic of one generator");
    return;
  }
  if (log.faulty_itself("topology.pods") || log.faulty_itself("arms")) return;
  for (const auto& arm : scenario.arms) {
    const auto group = scenario.topology.pods.find(arm.from);
    const int clients = group == scenario.topology.pods.end() ? 1 : group->second.replicas;
    if (clients >= workload.generators) continue;
    refuse(log, at,
           fmt::format("arm \"{}\" has {} to generate from: give topology.pods.{} that many "
                       "replicas",
                       arm.name, clients == 1 ? "one pod" : fmt::format("{} pods", clients),
                       arm.from));
    return;
  }
}

void check_filler(const Scenario& scenario, const EnvironmentSpec& environment,
                  const std::string& path, ReadLog& log) {
  const auto at = path + ".filler";
  if (environment.filler == 0 || log.faulty(at)) return;
  if (environment.datapath == cluster::DatapathKind::direct && !log.faulty(path + ".datapath")) {
    refuse(log, at, "datapath direct implements no Services, so others beside them cost nothing");
    return;
  }
  for (const auto& [name, service] : scenario.topology.services) {
    if (name.starts_with(cluster::first_filler_prefix) ||
        name.starts_with(cluster::second_filler_prefix)) {
      refuse(log, at,
             fmt::format("the topology's Service \"{}\" is named as fillers are; give it another "
                         "name",
                         name));
    }
  }
}

// They are all in one namespace, and what they allow is what its pods say to each other.
void check_filler_policies(const Scenario& scenario, const std::string& name,
                           const EnvironmentSpec& environment, const std::string& path,
                           ReadLog& log) {
  const auto at = path + ".filler_policies";
  if (!environment.filler_policies || log.faulty(at)) return;
  if (scenario.policy) {
    refuse(log, at, "what is enforced is compared with the scenario's own policies: leave it out");
    return;
  }
  for (const auto& [group, pod] : scenario.topology.pods) {
    if (pod.in_namespace == cluster::default_namespace || log.faulty_itself("topology.pods")) {
      continue;
    }
    refuse(log, at,
           fmt::format("these policies are in namespace {}, and the pods \"{}\" are in \"{}\"",
                       cluster::default_namespace, group, pod.in_namespace));
    return;
  }
  for (const auto& arm : scenario.arms) {
    if (arm.in != name || arm.from != cluster::external_client || log.faulty_itself("arms")) {
      continue;
    }
    refuse(log, at,
           fmt::format("arm \"{}\" comes from outside, and these policies allow pods alone",
                       arm.name));
    return;
  }
}

// Whose labels differ within a group.
void check_single_pods(const Scenario& scenario, const std::string& group,
                       const cluster::PodSpec& pods, const std::string& path, ReadLog& log) {
  if (log.faulty(path)) return;
  if (scenario.policy && !pods.single.empty()) {
    refuse(log, path,
           "where policies are looked at, the pods of a group are alike: make two groups");
  }
  for (const auto& [name, single] : pods.single) {
    bool known = false;
    for (int replica = 0; replica < pods.replicas + pods.standby; ++replica) {
      known = known || name == fmt::format("{}-{}", group, replica);
    }
    const auto at = join_path(path, name);
    if (!known) refuse(log, at, fmt::format("there is no such pod in the group \"{}\"", group));
    check_labels(single.labels, at + ".labels", log);
  }
}

}  // namespace

void refuse(ReadLog& log, const std::string& path, std::string message) {
  log.fault(log.place_of(path), path, std::move(message));
}

std::string unknown_name(std::string_view what, std::string_view name,
                         const std::vector<std::string_view>& known) {
  return fmt::format("unknown {} \"{}\"{}", what, name, suggest(name, known));
}

void check_span(base::Duration span, base::Duration least, base::Duration most,
                const std::string& path, ReadLog& log) {
  using Text = base::StringScalar<base::Duration>;
  if (log.faulty(path) || (span >= least && span <= most)) return;
  refuse(log, path,
         fmt::format("expected between {} and {}, got {}", Text::format(least), Text::format(most),
                     Text::format(span)));
}

void check_labels(const std::map<std::string, std::string>& labels, const std::string& path,
                  ReadLog& log) {
  for (const auto& [key, value] : labels) {
    const auto at = join_path(path, key);
    if (log.faulty(at)) continue;
    if (!base::kube::is_label_key(key)) {
      log.fault(log.key_place_of(at), at, "Kubernetes takes no such key of a label");
    } else if (!base::kube::is_label_value(value)) {
      refuse(log, at, "Kubernetes takes no such value of a label");
    }
  }
}

void check_word(std::string_view name, const std::string& path, const Place& place, ReadLog& log) {
  if (log.faulty_itself(path) || is_word(name)) return;
  log.fault(
      place, path,
      fmt::format("expected a name of at most {} characters out of a-z, 0-9 and _, got \"{}\"",
                  longest_name, name));
}

void check_group(const Scenario& scenario, std::string_view group, const std::string& path,
                 ReadLog& log) {
  const auto known = names_of(scenario.topology.pods);
  if (log.faulty(path) || log.faulty_itself("topology.pods") ||
      std::ranges::find(known, group) != known.end()) {
    return;
  }
  refuse(log, path, unknown_name("group of pods", group, known));
}

bool is_text(std::string_view text) {
  return !text.empty() &&
         std::ranges::all_of(text, [](unsigned char c) { return c > ' ' && c < 0x7f; });
}

void resolve_topology(Scenario& scenario, ReadLog& log) {
  const auto& topology = scenario.topology;
  if (topology.pods.empty() && !log.faulty_itself("topology.pods")) {
    refuse(log, "topology.pods", "expected at least one group of pods, got none");
  }
  for (const auto& [name, pod] : topology.pods) {
    const auto path = join_path("topology.pods", name);
    check_label(name, longest_group, path, log);
    if (name == cluster::external_client && !log.faulty(path)) {
      log.fault(log.key_place_of(path), path,
                "this name is kept for the client outside the cluster; give it another");
    }
    if (pod.node > topology.nodes && !log.faulty(path + ".node") && !log.faulty("topology.nodes")) {
      refuse(log, path + ".node",
             fmt::format("there is no node {}: topology.nodes is {}", pod.node, topology.nodes));
    }
    if (pod.in_namespace != cluster::default_namespace &&
        !topology.namespaces.contains(pod.in_namespace) && !log.faulty(path + ".namespace") &&
        !log.faulty_itself("topology.namespaces")) {
      refuse(log, path + ".namespace",
             unknown_name("namespace", pod.in_namespace, names_of(topology.namespaces)));
    }
    check_labels(pod.labels, path + ".labels", log);
    check_single_pods(scenario, name, pod, path + ".single", log);
  }
  for (const auto& [name, spec] : topology.namespaces) {
    const auto path = join_path("topology.namespaces", name);
    check_label(name, longest_group, path, log);
    check_labels(spec.labels, path + ".labels", log);
  }
  for (const auto& [name, service] : topology.services) {
    const auto path = join_path("topology.services", name);
    check_label(name, longest_name, path, log);
    if (!topology.pods.contains(service.target) && !log.faulty(path + ".target") &&
        !log.faulty_itself("topology.pods")) {
      refuse(log, path + ".target",
             unknown_name("group of pods", service.target, names_of(topology.pods)));
    }
  }
  for (const auto& [name, environment] : scenario.environments) {
    const auto path = join_path("environments", name);
    check_word(name, path, log.key_place_of(path), log);
    if (name == bare_environment && environment.datapath != cluster::DatapathKind::direct &&
        !log.faulty(path)) {
      log.fault(log.key_place_of(path), path,
                "this name is kept for arms outside any environment; give it another");
    }
    check_filler(scenario, environment, path, log);
    check_filler_policies(scenario, name, environment, path, log);
  }
}

void resolve_workloads(Scenario& scenario, ReadLog& log) {
  if (scenario.workloads.empty() && !log.faulty_itself("workloads")) {
    refuse(log, "workloads", "expected at least one workload, got none");
  }
  for (std::size_t i = 0; i < scenario.workloads.size(); ++i) {
    auto& workload = scenario.workloads[i];
    const auto path = index_path("workloads", i);
    check_span(workload.duration, shortest_window, longest_span, path + ".duration", log);
    check_span(workload.warm_up, base::Duration(0), longest_span, path + ".warm_up", log);
    check_span(workload.timeout, shortest_window, longest_span, path + ".timeout", log);
    workload.request = bench::request_size(workload);
    check_size(*workload.request, workload.kind, path + ".request", log);
    if (!bench::is_stream(workload.kind)) {
      workload.response = bench::response_size(workload);
      check_size(*workload.response, workload.kind, path + ".response", log);
    }
    if (!log.faulty(path + ".kind")) check_kind(workload, path, log);
    if (workload.kind == bench::WorkloadKind::tls_handshake) {
      workload.session_resumption = workload.session_resumption.value_or(bench::Switch::off);
      workload.client_certificate = workload.client_certificate.value_or(true);
    }
    if (workload.rate) check_rate(*workload.rate, workload.duration, path, log);
    check_generators(scenario, workload, path, log);
    if (bench::is_http(workload.kind)) {
      workload.keep_alive = workload.keep_alive.value_or(true);
    } else if (workload.keep_alive && !log.faulty(path + ".keep_alive") &&
               !log.faulty(path + ".kind")) {
      refuse(
          log, path + ".keep_alive",
          fmt::format("only http and http2 can do either: {} {}", base::enum_name(workload.kind),
                      bench::keeps_connections(workload) ? "keeps its connections"
                                                         : "opens a connection for each request"));
    }
    check_streams(workload, path, log);
    if (log.faulty_itself(path) || log.faulty(path + ".rate") || log.faulty(path + ".wait")) {
      continue;
    }
    if (!workload.wait) {
      workload.wait = workload.rate ? bench::WaitStrategy::hybrid : bench::WaitStrategy::block;
    } else if (*workload.wait == bench::WaitStrategy::hybrid && !workload.rate) {
      refuse(log, path + ".wait",
             "hybrid sleeps until shortly before the next request is due, and a closed loop has no "
             "due times; give a rate, or wait by block or spin");
    }
  }
}

void resolve(Scenario& scenario, ReadLog& log) {
  if (scenario.question.find_first_not_of(" \t\n") == std::string::npos &&
      !log.faulty("question")) {
    refuse(log, "question", "expected the question this scenario answers, got an empty text");
  }
  resolve_topology(scenario, log);
  if (scenario.rotation && (scenario.bgp || scenario.policy)) {
    log.fault(log.key_place_of("rotation"), "rotation",
              fmt::format("a scenario asks one question, and this one has {}, too; ask this in one "
                          "of its own",
                          scenario.bgp ? "bgp" : "a policy"));
    return;
  }
  if (scenario.bgp && scenario.policy) {
    log.fault(log.key_place_of("bgp"), "bgp",
              "a scenario has arms and workloads, or a policy, or bgp, and this one has a policy, "
              "too; ask this in one of its own");
    return;
  }
  if (scenario.bgp) {
    resolve_bgp(scenario, log);
    return;
  }
  if (scenario.plaintext_window) {
    resolve_plaintext_window(scenario, log);
  } else if (scenario.policy) {
    resolve_policy(scenario, log);
  } else if (scenario.rotation) {
    resolve_rotation(scenario, log);
  } else {
    resolve_workloads(scenario, log);
    resolve_arms(scenario, log);
    resolve_events(scenario, log);
    resolve_wire(scenario.wire, log);
  }
  resolve_meshes(scenario, log);
  resolve_authorization(scenario, log);
  resolve_routing(scenario, log);
  resolve_faults(scenario, log);
  resolve_checks(scenario, log);
  if (has_arms(scenario)) resolve_expectations(scenario, log);
}

}  // namespace stackbench
