// What a session sees of the wire itself, outside of every measurement: what a capture finds while
// traffic that can be told passes, who answers a handshake, and whether impostors are let in.
#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include "bench/canaries.h"
#include "bench/http2_codec.h"
#include "stackbench/clear_sample.h"
#include "stackbench/session_servers.h"

namespace stackbench {
namespace {

// New connections cost more to look at than requests on kept ones, and so are fewer.
constexpr base::RequestRate new_rate{500};
constexpr base::Duration new_for = std::chrono::milliseconds(300);
constexpr int kept_connections = 4;

std::string text_before_body(bench::WorkloadKind kind, bool request) {
  if (kind == bench::WorkloadKind::http2) {
    return bench::http2_before_content(request, base::canary_length);
  }
  if (kind != bench::WorkloadKind::http) return std::string(bench::header_bytes, '\0');
  return request
             ? fmt::format(
                   "POST /{0} HTTP/1.1\r\nHost: stackbench\r\n"
                   "Content-Length: {0}\r\n\r\n",
                   base::canary_length)
             : fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", base::canary_length);
}

// The least bytes of a message as it is sent in clear.
std::uint64_t sent_bytes(const bench::WorkloadSpec& spec, bool request) {
  const auto body = request ? bench::request_size(spec).count : bench::response_size(spec).count;
  // What HPACK leaves of the fields is a few bytes; the heads of two frames are more certain.
  constexpr std::uint64_t frame_heads = 18;
  if (spec.kind == bench::WorkloadKind::http2) return body + frame_heads;
  // A frame's head is part of its size.
  const bool http = spec.kind == bench::WorkloadKind::http;
  return body + (http ? text_before_body(spec.kind, request).size() : 0);
}

// A workload's messages with room for a canary, at a pace, closing or keeping connections.
bench::WorkloadSpec with_canaries(bench::WorkloadSpec spec, const WireSpec& wire, bool keep) {
  const auto least = bench::canary_bytes(spec.kind);
  spec.request = std::max(bench::request_size(spec), least);
  spec.response = std::max(bench::response_size(spec), least);
  spec.rate = keep && spec.kind != bench::WorkloadKind::tcp_crr ? wire.rate : new_rate;
  spec.duration = keep ? wire.duration : new_for;
  spec.warm_up = base::Duration(0);
  spec.connections = kept_connections;
  spec.generators = 1;
  spec.wait = bench::WaitStrategy::block;
  if (bench::is_http(spec.kind)) spec.keep_alive = keep;
  spec.streams.reset();
  return spec;
}

// What it takes to be no error of the run: whoever may not capture there.
bool cannot_be_had(const base::Error& error) {
  return error.kind == base::ErrorKind::missing || error.kind == base::ErrorKind::not_permitted;
}

}  // namespace

probes::ClearSample clear_sample(bench::WorkloadKind kind, const base::IpAddress& client,
                                 const base::IpAddress& server) {
  return {.protocol = std::string(base::enum_name(kind)),
          .client = {client, sample_port},
          .server = {server, bench::target_port(kind)},
          .before_request = text_before_body(kind, true),
          .before_reply = text_before_body(kind, false)};
}

base::Result<probes::CaptureJob> Session::capture_job(const PlannedArm& arm,
                                                      bench::WorkloadKind kind,
                                                      const Canaries& canaries) {
  probes::CaptureJob job{.canaries = {{"request", canaries.request}, {"reply", canaries.reply}}};
  const auto& environment = environments_[arm.environment];
  for (const auto& name : arm.servers) {
    ASSIGN_OR_RETURN(const auto* const server, pod(arm.environment, name));
    job.servers.push_back({server->address(arm.family), bench::target_port(kind)});
    job.servers.push_back({server->address(arm.family), checks::hbone_port});
  }
  for (const auto& [name, service] : environment.services) {
    for (const auto& frontend : frontends(environment, service, kind, arm.family)) {
      job.servers.push_back(frontend.endpoint);
    }
  }
  ASSIGN_OR_RETURN(const auto* const its, pod(arm.environment, arm.from));
  for (const auto& address : {its->ipv4, its->ipv6}) {
    if (address != base::IpAddress{}) job.clients.push_back(address);
  }
  ASSIGN_OR_RETURN(const auto client, client_address(arm));
  ASSIGN_OR_RETURN(const auto* const server, pod(arm.environment, arm.servers.front()));
  job.samples.push_back(clear_sample(kind, client, server->address(arm.family)));
  return job;
}

base::Result<bench::TlsProbeResult> Session::read_identities(const PlannedArm& arm,
                                                             bench::WorkloadKind kind) {
  ASSIGN_OR_RETURN(const auto should_be,
                   target_->mesh_identities(environments_[arm.environment].name));
  ASSIGN_OR_RETURN(auto* const watcher, observer(arm.environment, arm.from));
  bench::TlsProbeResult all;
  bench::TlsProbeJob job;
  for (const auto& name : arm.servers) {
    ASSIGN_OR_RETURN(const auto* const server, pod(arm.environment, name));
    job.doors.push_back({.name = name,
                         .to = {server->address(arm.family), bench::target_port(kind)},
                         .roots = should_be.roots,
                         .alpn = checks::mesh_alpn(bench::is_http(kind))});
    if (job.doors.size() < bench::most_doors && name != arm.servers.back()) continue;
    ASSIGN_OR_RETURN(auto some, watcher->tls_probe(job));
    std::ranges::move(some.doors, std::back_inserter(all.doors));
    job.doors.clear();
  }
  return all;
}

base::Result<checks::WireObservation> Session::observe_wire(std::size_t arm_index,
                                                            std::size_t workload) {
  const auto& arm = plan_->arms[arm_index];
  const auto& environment = environments_[arm.environment];
  checks::WireObservation seen{.identities = bench::TlsProbeResult{}};
  if (const auto found = observer(arm.environment, arm.from); !found) {
    if (!cannot_be_had(found.error())) return std::unexpected(found.error());
    seen.points.push_back({"client_pod", std::unexpected(found.error())});
    return seen;
  }
  ASSIGN_OR_RETURN(const auto* const client, pod(arm.environment, arm.from));
  std::vector<std::pair<std::string, std::string>> places{
      {"client_pod", observers_.at({arm.environment, arm.from}).interface}};
  // The default route's; traffic may stay on the node where one of several pods answers from there,
  // so the uplink is looked at only where all of it must pass.
  const bool all_leave = std::ranges::all_of(arm.servers, [&](const auto& name) {
    const auto server = pod(arm.environment, name);
    return server && (*server)->node != client->node;
  });
  if (all_leave && client->node != 0) places.emplace_back("client_node", "");

  // Where one will not close them, the capture meets them midway.
  if (auto closed = target_->close_kept_connections(environment.name); !closed) {
    if (closed.error().kind != base::ErrorKind::timed_out) {
      return std::unexpected(std::move(closed).error());
    }
    seen.still_open = base::describe_error(closed.error());
  }
  const auto kind = plan_->workloads[workload].spec.kind;
  RETURN_IF_ERROR(watch_wire(arm, plan_->workloads[workload].spec, places, seen));
  ASSIGN_OR_RETURN(auto should_be, target_->mesh_identities(environment.name));
  seen.expected = std::move(should_be.spiffe);
  seen.control_plane = std::move(should_be.control_plane);
  const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  seen.now_s = now.time_since_epoch().count();
  seen.identities = read_identities(arm, kind);
  if (!seen.identities && seen.identities.error().kind == base::ErrorKind::interrupted) {
    return std::unexpected(seen.identities.error());
  }
  return seen;
}

base::Result<> Session::watch_wire(const PlannedArm& arm, const bench::WorkloadSpec& planned,
                                   const std::vector<std::pair<std::string, std::string>>& places,
                                   checks::WireObservation& seen) {
  const Canaries canaries{base::make_token(), base::make_token()};
  ASSIGN_OR_RETURN(auto* const watcher, observer(arm.environment, arm.from));
  ASSIGN_OR_RETURN(auto job, capture_job(arm, planned.kind, canaries));
  // Whatever is met, captures that began are ended.
  base::Result<> trouble;
  std::vector<std::pair<std::string, bench::JobId>> captures;
  for (const auto& [place, interface] : places) {
    if (!trouble) break;
    job.interface = interface;
    auto capture = watcher->start_capture(job);
    if (capture) {
      captures.emplace_back(place, capture->id);
    } else if (cannot_be_had(capture.error())) {
      seen.points.push_back({place, std::unexpected(std::move(capture).error())});
    } else {
      trouble = std::unexpected(std::move(capture).error());
    }
  }
  for (const bool keep : {true, false}) {
    if (!trouble || (!keep && !bench::is_http(planned.kind))) continue;
    const auto spec = with_canaries(planned, plan_->scenario.wire, keep);
    const auto sample = exchange(arm, spec, plan_->scenario.seed, {}, false, &canaries);
    if (!sample) {
      trouble = std::unexpected(sample.error());
      continue;
    }
    const auto requests = sample->client.requests;
    seen.requests += requests;
    seen.request_bytes += requests * sent_bytes(spec, true);
    seen.reply_bytes += requests * sent_bytes(spec, false);
    seen.shares_records = spec.kind == bench::WorkloadKind::http2;
    if (bench::connects_by_itself(spec.kind)) seen.connections += sample->client.connections_opened;
  }
  for (const auto& [place, id] : captures) {
    auto report = watcher->stop_capture(id);
    if (report) {
      seen.points.push_back({place, *std::move(report)});
    } else if (trouble) {
      trouble = std::unexpected(std::move(report).error());
    }
  }
  return trouble;
}

base::Result<std::optional<std::vector<checks::TriedServer>>> Session::try_doors(
    std::size_t arm_index, std::size_t workload) {
  const auto& arm = plan_->arms[arm_index];
  const auto kind = plan_->workloads[workload].spec.kind;
  ASSIGN_OR_RETURN(const auto certificates,
                   target_->impostor_certificates(environments_[arm.environment].name));
  if (!certificates) return std::nullopt;
  ASSIGN_OR_RETURN(auto* const watcher, observer(arm.environment, arm.from));
  // Somebody must be there to answer whoever is let in.
  Servers servers(*this, arm, plan_->workloads[workload].spec, false);
  std::vector<checks::TriedServer> all;
  base::Result<> trouble;
  const auto step = [&](auto&& act) {
    if (!trouble) return;
    if (auto done = act(); !done) trouble = std::unexpected(std::move(done).error());
  };
  for (const auto& name : arm.servers) step([&] { return servers.send(name); });
  step([&] { return servers.await(); });
  // Whatever version the proxies speak to each other, they take HTTP/1.1.
  const bool http = bench::is_http(kind);
  for (const auto& name : arm.servers) {
    step([&]() -> base::Result<> {
      ASSIGN_OR_RETURN(const auto* const server, pod(arm.environment, name));
      auto job = checks::impostor_doors(
          *certificates, {server->address(arm.family), bench::target_port(kind)}, http);
      if (!http) {
        for (auto& door : job.doors) door.request = framed_request();
      }
      ASSIGN_OR_RETURN(auto tried, watcher->tls_probe(job));
      all.push_back({name, std::move(tried)});
      return {};
    });
  }
  if (auto stopped = servers.stop_all(); !stopped && trouble) trouble = std::move(stopped);
  RETURN_IF_ERROR(trouble);
  return all;
}

}  // namespace stackbench
