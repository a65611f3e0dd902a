#include "checks/mtls/wire_is_encrypted.h"

#include <algorithm>
#include <optional>

#include "base/units.h"

namespace checks {
namespace {

using base::format_count;
using base::Verdict;

constexpr std::string_view spiffe_scheme = "spiffe://";

// What a sentence says of a finding, before its evidence is put to it.
struct Judged {
  Verdict verdict = Verdict::inconclusive;
  std::string observed;
  std::string sentence;
};

Judged not_proven(std::string sentence) {
  return {Verdict::inconclusive, "not_proven", std::move(sentence)};
}

std::uint64_t readable_in(const probes::WireReport& report) {
  std::uint64_t sum = 0;
  for (const auto& [name, count] : report.canaries) sum += count;
  return sum;
}

std::string place_of(const WirePoint& point) {
  return fmt::format("{} ({})", point.place, point.report->interface);
}

std::string sealed_text(const probes::WireReport& report) {
  return fmt::format("{} that were encrypted below TCP (WireGuard, ESP)",
                     format_count(report.sealed, "packet"));
}

// (a). Names the first, so that it can be looked for.
std::optional<Judged> readable(const WirePoint& point, const WireObservation& seen) {
  const auto count = readable_in(*point.report);
  if (count == 0) return std::nullopt;
  std::string more;
  if (!point.report->readable.empty()) {
    const auto& one = point.report->readable.front();
    more = fmt::format("; the first in {} {}from {} to {}",
                       one.name == "request" ? "request" : "the reply to request",
                       one.number ? fmt::format("{} ", *one.number) : "", one.from, one.to);
  }
  for (const auto& other : seen.points) {
    if (!other.report || other.report->sealed == 0 || readable_in(*other.report) > 0) continue;
    more += fmt::format("; at {} {} passed, which is described here and not credited",
                        place_of(other), sealed_text(*other.report));
  }
  const auto of = [&](const std::string& name) {
    const auto found = point.report->canaries.find(name);
    return found == point.report->canaries.end() ? 0 : found->second;
  };
  return Judged{Verdict::fail, "readable",
                fmt::format("{} {} could be read at {} ({} of requests, {} of replies, over {}){}",
                            count, count == 1 ? "canary" : "canaries", point.place, of("request"),
                            of("reply"), format_count(seen.requests, "request"), more)};
}

bool found_all(const std::vector<probes::SampleSeen>& samples) {
  return !samples.empty() && std::ranges::all_of(samples, [](const probes::SampleSeen& sample) {
    return sample.request && sample.reply;
  });
}

// (c): why what a point saw proves nothing.
std::optional<Judged> proves_nothing(const WirePoint& point) {
  const auto& report = *point.report;
  if (report.lost > 0 || report.unwatched > 0) {
    return not_proven(fmt::format(
        "the capture at {} lost {} of {}, so what it did not see may have been in "
        "clear",
        point.place, report.lost + report.unwatched, format_count(report.packets, "packet")));
  }
  if (report.unreadable > 0) {
    return not_proven(fmt::format("{} at {} could not be read: cut short, or fragments",
                                  format_count(report.unreadable, "packet"), point.place));
  }
  if (!found_all(report.samples_before) || !found_all(report.samples_after)) {
    return not_proven(fmt::format(
        "the capture at {} did not find canaries that were sent there in clear, so finding none of "
        "the traffic's says nothing",
        point.place));
  }
  if (report.connections_with_gaps > 0) {
    return not_proven(fmt::format("{} at {} had gaps",
                                  format_count(report.connections_with_gaps, "connection"),
                                  point.place));
  }
  return std::nullopt;
}

bool offers(const probes::HandshakeKind& kind, std::string_view protocol) {
  return std::ranges::any_of(
      kind.alpn, [&](const std::string& offered) { return offered.starts_with(protocol); });
}

bool is_of_istio(const probes::HandshakeKind& kind) {
  return offers(kind, "istio") && kind.server_name.starts_with("outbound_.");
}

// As ztunnel dials (src/tls/certificate.rs, outbound_connector): its tunnel is HTTP/2, by no name.
bool is_of_ambient(const probes::HandshakeKind& kind) {
  return kind.server_port == hbone_port && kind.server_name.empty() && offers(kind, "h2");
}

bool is_old(const probes::HandshakeKind& kind) {
  return !kind.version.empty() && kind.version != "TLS 1.2" && kind.version != "TLS 1.3";
}

std::string handshake_text(const probes::HandshakeKind& kind) {
  return fmt::format("{}, SNI {}, ALPN {}", kind.version.empty() ? "TLS" : kind.version,
                     kind.server_name.empty() ? "none" : kind.server_name,
                     kind.alpn.empty() ? "none" : fmt::format("{}", fmt::join(kind.alpn, " ")));
}

// (b), of handshakes.
std::optional<Judged> other_handshakes(const WirePoint& point) {
  const auto& report = *point.report;
  const probes::HandshakeKind* ambient = nullptr;
  for (const auto& kind : report.handshakes) {
    if (is_old(kind)) {
      return Judged{Verdict::fail, "old_version",
                    fmt::format("{} at {} are of a version of TLS that is broken: {}",
                                format_count(kind.connections, "connection"), point.place,
                                handshake_text(kind))};
    }
    if (is_of_istio(kind)) continue;
    if (is_of_ambient(kind)) {
      ambient = &kind;
      continue;
    }
    return Judged{Verdict::fail, "other_encryption",
                  fmt::format("{} at {} are encrypted by something else than the mesh: {}",
                              format_count(kind.connections, "connection"), point.place,
                              handshake_text(kind))};
  }
  if (ambient != nullptr) {
    return not_proven(fmt::format(
        "{} at {} are the tunnels of an ambient mesh (HBONE, port {}), which are not judged yet",
        format_count(ambient->connections, "connection"), point.place, hbone_port));
  }
  if (report.handshakes_unlisted > 0) {
    return not_proven(fmt::format("of {} at {} nobody kept what their handshakes said",
                                  format_count(report.handshakes_unlisted, "connection"),
                                  point.place));
  }
  return std::nullopt;
}

// (b).
std::optional<Judged> not_of_the_mesh(const WirePoint& point, const WireObservation& seen) {
  const auto& report = *point.report;
  if (report.connections_foreign > 0) {
    const auto& one = report.foreign.front();
    return Judged{
        Verdict::fail, "not_tls",
        fmt::format("{} of {} at {} are not TLS throughout, though no canary could be read: {} ({} "
                    "to {}){}",
                    report.connections_foreign, format_count(report.connections, "connection"),
                    point.place, one.why, one.client, one.server,
                    one.bytes.empty() ? "" : fmt::format(", beginning \"{}\"", one.bytes))};
  }
  if (report.connections_midway > 0) {
    return not_proven(fmt::format(
        "{} of {} at {} were open before the capture began, so their handshakes were not seen: {}",
        report.connections_midway, format_count(report.connections, "connection"), point.place,
        seen.still_open.empty()
            ? "whoever keeps them must close them, as the client's pod does when it is restarted"
            : seen.still_open));
  }
  return other_handshakes(point);
}

// (b), that all of it passed there.
std::optional<Judged> passed_by(const WirePoint& point, const WireObservation& seen) {
  const auto& report = *point.report;
  // RFC 8446, 5.2, and RFC 7905 of TLS 1.2: header and tag, the least a record adds.
  constexpr std::uint64_t added = 5 + 16;
  const auto least_records = seen.shares_records ? 1 : seen.requests;
  const auto to_servers = seen.request_bytes + added * least_records;
  const auto to_clients = seen.reply_bytes + added * least_records;
  const auto records = std::min(report.records_to_servers, report.records_to_clients);
  if (report.bytes_to_servers >= to_servers && report.bytes_to_clients >= to_clients &&
      records >= least_records && report.connections_of_tls >= seen.connections) {
    return std::nullopt;
  }
  std::string why;
  if (report.sealed > 0) {
    why = fmt::format("; {} did, which is described here and not credited", sealed_text(report));
  } else if (report.bytes_to_servers > 0 && report.bytes_to_clients == 0) {
    why =
        "; replies may be handed to the pod past its interface, as Cilium's BPF host routing does "
        "(bpf_redirect_peer), where no capture sees them";
  } else if (report.connections == 0) {
    why = "; it may leave by another interface";
  }
  return not_proven(fmt::format(
      "the traffic did not all pass {}: {} and {} bytes in {} and {} records of {} with the "
      "servers "
      "were seen there, where {} take {} and {} bytes, {} each way{}{}",
      place_of(point), report.bytes_to_servers, report.bytes_to_clients, report.records_to_servers,
      report.records_to_clients, format_count(report.connections_of_tls, "connection"),
      format_count(seen.requests, "request"), to_servers, to_clients,
      seen.shares_records ? "in records" : "a record",
      seen.connections > 0 ? fmt::format(", and {}", format_count(seen.connections, "connection"))
                           : "",
      why));
}

// (b), that nothing went another way. What is less than any one request is none.
std::optional<Judged> went_elsewhere(const WirePoint& point, const WireObservation& seen) {
  const auto& report = *point.report;
  auto bytes = report.bytes_elsewhere;
  const probes::SentElsewhere* first = nullptr;
  for (const auto& one : report.elsewhere) {
    const bool told = std::ranges::find(seen.control_plane, one.to) != seen.control_plane.end();
    if (told) bytes -= std::min(bytes, one.bytes);
    if (!told && first == nullptr) first = &one;
  }
  const auto a_request = seen.request_bytes / std::max<std::uint64_t>(seen.requests, 1);
  if (bytes == 0 || bytes < a_request) return std::nullopt;
  return not_proven(fmt::format(
      "at {} the client sent {} bytes to others than the servers, which may have been of "
      "requests{}",
      place_of(point), bytes,
      first == nullptr
          ? ""
          : fmt::format("; the first {} to {} ({})", first->bytes, first->to, first->protocol)));
}

std::string_view identity_of(const bench::PeerIdentity& peer) {
  const auto found = std::ranges::find_if(
      peer.uris, [](const std::string& uri) { return uri.starts_with(spiffe_scheme); });
  return found == peer.uris.end() ? std::string_view() : std::string_view(*found);
}

std::string_view trust_domain_of(std::string_view identity) {
  const auto rest = identity.substr(spiffe_scheme.size());
  return rest.substr(0, rest.find('/'));
}

// What is wrong with whom one server says it is.
std::optional<std::string> wrong_identity(const bench::DoorTried& door, std::string_view identity,
                                          const WireObservation& seen) {
  const auto& peer = *door.peer;
  const auto expected = seen.expected.find(door.name);
  if (expected != seen.expected.end() && expected->second != identity) {
    return fmt::format("{} answers as {}, and is {}", door.name, identity, expected->second);
  }
  if (seen.now_s != 0 && (seen.now_s < peer.not_before_s || seen.now_s > peer.not_after_s)) {
    return fmt::format("{} answers as {} by a certificate that is {}", door.name, identity,
                       seen.now_s < peer.not_before_s ? "not valid yet" : "valid no more");
  }
  if (peer.distrusted) {
    return fmt::format("{} answers as {} by a certificate that is not of the mesh's authority: {}",
                       door.name, identity, *peer.distrusted);
  }
  const auto first = identity_of(*seen.identities->doors.front().peer);
  if (trust_domain_of(first) != trust_domain_of(identity)) {
    return fmt::format("{} answers as {}, of another trust domain than {}", door.name, identity,
                       first);
  }
  return std::nullopt;
}

// (d).
std::optional<Judged> nobody_known(const WireObservation& seen) {
  if (!seen.identities) {
    return not_proven("no handshake could be made to read who answers: " +
                      seen.identities.error().message);
  }
  for (const auto& door : seen.identities->doors) {
    if (door.outcome == bench::DoorOutcome::not_tls) {
      return Judged{Verdict::fail, "not_tls",
                    door.name + " answers a hello of TLS in the clear: it shows nobody who it is"};
    }
    if (!door.peer) {
      return not_proven(fmt::format("{} showed no certificate to a handshake ({})", door.name,
                                    base::enum_name(door.outcome)));
    }
    const auto identity = identity_of(*door.peer);
    if (identity.empty()) {
      return Judged{Verdict::fail, "no_identity",
                    fmt::format("{} shows a certificate without a SPIFFE identity, {}, by {}",
                                door.name, door.peer->subject, door.peer->issuer)};
    }
    if (auto wrong = wrong_identity(door, identity, seen)) {
      return Judged{Verdict::fail, "wrong_identity", *std::move(wrong)};
    }
  }
  if (seen.identities->doors.empty()) return not_proven("no server was asked who it is");
  return std::nullopt;
}

// Of n of which none was seen no more than 3/n are, at 95 %.
std::string bound_text(std::uint64_t requests) {
  constexpr std::uint64_t three = 3;
  if (requests < 2 * three) return "";
  return fmt::format(", so fewer than 1 in {} are (95 %)", requests / three);
}

Judged encrypted(const WireObservation& seen) {
  const auto& report = *seen.points.front().report;
  const auto kinds = report.handshakes.size();
  std::string sealed;
  for (const auto& point : seen.points) {
    if (point.report->sealed == 0) continue;
    sealed += fmt::format(", at {} {}", place_of(point), sealed_text(*point.report));
  }
  const auto& door = seen.identities->doors.front();
  return {
      Verdict::pass, "encrypted",
      fmt::format("none of {} and their replies could be read at {}{}; {} are TLS to the last byte "
                  "({}{}), 0 packets lost{}, and {} answers as {}",
                  format_count(seen.requests, "request"), format_count(seen.points.size(), "point"),
                  bound_text(seen.requests), format_count(report.connections_of_tls, "connection"),
                  handshake_text(report.handshakes.front()),
                  kinds > 1 ? fmt::format(", and {} more", format_count(kinds - 1, "kind")) : "",
                  sealed, door.name, identity_of(*door.peer))};
}

Judged judge(const WireObservation& seen) {
  for (const auto& point : seen.points) {
    if (!point.report) continue;
    if (auto found = readable(point, seen)) return *std::move(found);
  }
  for (const auto& point : seen.points) {
    if (point.report) continue;
    return {
        Verdict::skip, "skipped",
        fmt::format("nobody could capture at {}: {}", point.place, point.report.error().message)};
  }
  if (seen.points.empty()) return {Verdict::skip, "skipped", "there is no place to capture at"};
  if (seen.requests == 0) return not_proven("no request was answered");
  for (const auto& point : seen.points) {
    if (auto why = proves_nothing(point)) return *std::move(why);
    if (auto why = not_of_the_mesh(point, seen)) return *std::move(why);
    // What is proven at the first point stays so behind it; there it may be sealed once more.
    const bool sealed_again = &point != &seen.points.front() && point.report->sealed > 0 &&
                              point.report->connections == 0;
    if (sealed_again) continue;
    if (auto why = passed_by(point, seen)) return *std::move(why);
    if (auto why = went_elsewhere(point, seen)) return *std::move(why);
  }
  if (auto why = nobody_known(seen)) return *std::move(why);
  return encrypted(seen);
}

}  // namespace

std::vector<std::string> mesh_alpn(bool http) {
  return http ? std::vector<std::string>{"istio-http/1.1", "istio", "http/1.1"}
              : std::vector<std::string>{"istio-peer-exchange", "istio"};
}

Finding wire_is_encrypted(const WireObservation& seen) {
  auto judged = judge(seen);
  auto points = base::Json::object();
  for (const auto& point : seen.points) {
    points[point.place] = point.report ? base::to_json(*point.report)
                                       : base::Json{{"error", point.report.error().message}};
    // A long list helps nobody: the counts are there.
    constexpr std::size_t listed = 16;
    if (!point.report || point.report->readable.size() <= listed) continue;
    auto& list = points[point.place]["readable"];
    list.erase(list.begin() + listed, list.end());
  }
  return {.verdict = judged.verdict,
          .sentence = std::move(judged.sentence),
          .observed = std::move(judged.observed),
          .evidence = {{"requests", seen.requests},
                       {"request_bytes", seen.request_bytes},
                       {"reply_bytes", seen.reply_bytes},
                       {"connections", seen.connections},
                       {"expected", seen.expected},
                       {"control_plane", base::to_json(seen.control_plane)},
                       {"points", std::move(points)},
                       {"identities",
                        seen.identities ? base::to_json(*seen.identities)
                                        : base::Json{{"error", seen.identities.error().message}}}}};
}

}  // namespace checks
