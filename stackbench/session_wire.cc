// What a session sees of the wire itself, outside of every measurement: what a capture finds while
// traffic that can be told passes, who answers a handshake, and whether impostors are let in.
#include <algorithm>
#include <utility>

#include "bench/canaries.h"
#include "checks/mtls/impostors_refused.h"
#include "stackbench/session_servers.h"

namespace stackbench {
namespace {

// Some thousands of requests, so that one in a thousand in clear is among them; fewer connections,
// which cost more to look at.
constexpr base::RequestRate kept_rate{2000};
constexpr base::Duration kept_for = std::chrono::milliseconds(1000);
constexpr base::RequestRate new_rate{500};
constexpr base::Duration new_for = std::chrono::milliseconds(300);
constexpr int kept_connections = 4;
// Inbound of ambient's tunnel (HBONE), which carries connections to every port of a pod.
constexpr std::uint16_t hbone_port = 15008;
// Source ports that nothing else uses: they are given by IANA to nobody, and below those that
// clients are given.
constexpr std::uint16_t sample_port = 4;

std::string text_before_body(bench::WorkloadKind kind, bool request) {
  if (kind != bench::WorkloadKind::http) return std::string(bench::header_bytes, '\0');
  return request
             ? fmt::format(
                   "POST /{0} HTTP/1.1\r\nHost: stackbench\r\n"
                   "Content-Length: {0}\r\n\r\n",
                   base::canary_length)
             : fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", base::canary_length);
}

// What servers of TCP workloads answer.
std::string framed_request() {
  std::string message(bench::header_bytes, '\0');
  bench::encode(bench::RequestHeader{.request_bytes = bench::header_bytes,
                                     .response_bytes = bench::header_bytes,
                                     .sequence = 1},
                message.data());
  return message;
}

// A workload's messages with room for a canary, at a pace, closing or keeping connections.
bench::WorkloadSpec with_canaries(bench::WorkloadSpec spec, bool keep) {
  const auto least = bench::canary_bytes(spec.kind);
  spec.request = std::max(bench::request_size(spec), least);
  spec.response = std::max(bench::response_size(spec), least);
  spec.rate = keep && spec.kind != bench::WorkloadKind::tcp_crr ? kept_rate : new_rate;
  spec.duration = keep ? kept_for : new_for;
  spec.warm_up = base::Duration(0);
  spec.connections = kept_connections;
  spec.generators = 1;
  spec.wait = bench::WaitStrategy::block;
  if (spec.kind == bench::WorkloadKind::http) spec.keep_alive = keep;
  return spec;
}

// What it takes to be no error of the run: whoever may not capture there.
bool cannot_be_had(const base::Error& error) {
  return error.kind == base::ErrorKind::missing || error.kind == base::ErrorKind::not_permitted;
}

}  // namespace

base::Result<probes::CaptureJob> Session::capture_job(const PlannedArm& arm,
                                                      bench::WorkloadKind kind,
                                                      const Canaries& canaries) {
  probes::CaptureJob job{.canaries = {{"request", canaries.request}, {"reply", canaries.reply}}};
  const auto& environment = environments_[arm.environment];
  for (const auto& name : arm.servers) {
    ASSIGN_OR_RETURN(const auto* const server, pod(arm.environment, name));
    job.servers.push_back({server->address(arm.family), bench::target_port(kind)});
    job.servers.push_back({server->address(arm.family), hbone_port});
  }
  for (const auto& [name, service] : environment.services) {
    for (const auto& frontend : frontends(environment, service, kind, arm.family)) {
      job.servers.push_back(frontend.endpoint);
    }
  }
  ASSIGN_OR_RETURN(const auto client, client_address(arm));
  ASSIGN_OR_RETURN(const auto* const server, pod(arm.environment, arm.servers.front()));
  job.samples.push_back({.protocol = std::string(base::enum_name(kind)),
                         .client = {client, sample_port},
                         .server = {server->address(arm.family), bench::target_port(kind)},
                         .before_request = text_before_body(kind, true),
                         .before_reply = text_before_body(kind, false)});
  return job;
}

base::Result<bench::TlsProbeResult> Session::read_identities(const PlannedArm& arm,
                                                             bench::WorkloadKind kind) {
  bench::TlsProbeJob job;
  for (const auto& name : arm.servers) {
    if (job.doors.size() == bench::most_doors) break;
    ASSIGN_OR_RETURN(const auto* const server, pod(arm.environment, name));
    job.doors.push_back({.name = name,
                         .to = {server->address(arm.family), bench::target_port(kind)},
                         .alpn = checks::mesh_alpn(kind == bench::WorkloadKind::http)});
  }
  // From the node: what a pod sends its own sidecar would take.
  ASSIGN_OR_RETURN(auto* const watcher, observer(arm.environment, arm.from));
  return watcher->tls_probe(job);
}

base::Result<checks::WireObservation> Session::observe_wire(std::size_t arm_index,
                                                            std::size_t workload) {
  const auto& arm = plan_->arms[arm_index];
  const auto& planned = plan_->workloads[workload].spec;
  const Canaries canaries{base::make_token(), base::make_token()};
  checks::WireObservation seen{.identities = bench::TlsProbeResult{}};
  auto* watcher = static_cast<bench::AgentClient*>(nullptr);
  if (auto found = observer(arm.environment, arm.from)) {
    watcher = *found;
  } else if (cannot_be_had(found.error())) {
    seen.points.push_back({"client_pod", std::unexpected(found.error())});
    return seen;
  } else {
    return std::unexpected(found.error());
  }

  ASSIGN_OR_RETURN(auto job, capture_job(arm, planned.kind, canaries));
  ASSIGN_OR_RETURN(const auto* const client, pod(arm.environment, arm.from));
  bool leaves_node = false;
  for (const auto& name : arm.servers) {
    ASSIGN_OR_RETURN(const auto* const server, pod(arm.environment, name));
    leaves_node = leaves_node || server->node != client->node;
  }
  std::vector<std::pair<std::string, std::string>> places{
      {"client_pod", observers_.at({arm.environment, arm.from}).interface}};
  // The default route's; traffic may stay on the node where one of several pods answers from there,
  // so the uplink is looked at only where all of it must pass.
  const bool all_leave = leaves_node && std::ranges::all_of(arm.servers, [&](const auto& name) {
                           const auto server = pod(arm.environment, name);
                           return server && (*server)->node != client->node;
                         });
  if (all_leave && client->node != 0) places.emplace_back("client_node", "");

  RETURN_IF_ERROR(target_->close_kept_connections(environments_[arm.environment].name));
  std::vector<std::pair<std::string, bench::JobId>> captures;
  for (const auto& [place, interface] : places) {
    job.interface = interface;
    auto capture = watcher->start_capture(job);
    if (capture) {
      captures.emplace_back(place, capture->id);
    } else if (cannot_be_had(capture.error())) {
      seen.points.push_back({place, std::unexpected(std::move(capture).error())});
    } else {
      return std::unexpected(std::move(capture).error());
    }
  }

  base::Result<> trouble;
  for (const bool keep : {true, false}) {
    if (!trouble || (!keep && planned.kind != bench::WorkloadKind::http)) continue;
    const auto spec = with_canaries(planned, keep);
    const auto sample = exchange(arm, spec, plan_->scenario.seed, {}, false, &canaries);
    if (!sample) {
      trouble = std::unexpected(sample.error());
      continue;
    }
    seen.requests += sample->client.requests;
    seen.request_bytes += sample->client.requests * bench::request_size(spec).count;
    seen.reply_bytes += sample->client.requests * bench::response_size(spec).count;
  }
  for (const auto& [place, id] : captures) {
    auto report = watcher->stop_capture(id);
    if (!report) return std::unexpected(std::move(report).error());
    seen.points.push_back({place, *std::move(report)});
  }
  RETURN_IF_ERROR(trouble);
  seen.identities = read_identities(arm, planned.kind);
  if (!seen.identities && seen.identities.error().kind == base::ErrorKind::interrupted) {
    return std::unexpected(seen.identities.error());
  }
  return seen;
}

base::Result<std::optional<bench::TlsProbeResult>> Session::try_doors(std::size_t arm_index,
                                                                      std::size_t workload) {
  const auto& arm = plan_->arms[arm_index];
  const auto kind = plan_->workloads[workload].spec.kind;
  ASSIGN_OR_RETURN(const auto certificates,
                   target_->impostor_certificates(environments_[arm.environment].name));
  if (!certificates) return std::nullopt;
  ASSIGN_OR_RETURN(const auto* const server, pod(arm.environment, arm.servers.front()));
  ASSIGN_OR_RETURN(auto* const watcher, observer(arm.environment, arm.from));
  // Somebody must be there to answer whoever is let in.
  Servers servers(*this, arm, plan_->workloads[workload].spec, false);
  RETURN_IF_ERROR(servers.start(arm.servers.front()));
  const bool http = kind == bench::WorkloadKind::http;
  auto job = checks::impostor_doors(*certificates,
                                    {server->address(arm.family), bench::target_port(kind)}, http);
  if (!http) {
    for (auto& door : job.doors) door.request = framed_request();
  }
  auto tried = watcher->tls_probe(job);
  RETURN_IF_ERROR(servers.stop_all());
  if (!tried) return std::unexpected(std::move(tried).error());
  return *std::move(tried);
}

}  // namespace stackbench
