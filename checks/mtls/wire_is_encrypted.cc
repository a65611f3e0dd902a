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

// (a). Names the first, so that it can be looked for.
std::optional<Judged> readable(const WirePoint& point, std::uint64_t requests) {
  const auto count = readable_in(*point.report);
  if (count == 0) return std::nullopt;
  std::string first;
  if (!point.report->readable.empty()) {
    const auto& one = point.report->readable.front();
    first = fmt::format("; the first in {} {}from {} to {}",
                        one.name == "request" ? "request" : "the reply to request",
                        one.number ? fmt::format("{} ", *one.number) : "", one.from, one.to);
  }
  return Judged{
      Verdict::fail, "readable",
      fmt::format(
          "{} could be read at {} ({} of requests, {} of replies, over {}){}",
          fmt::format("{} {}", count, count == 1 ? "canary" : "canaries"), point.place,
          point.report->canaries.contains("request") ? point.report->canaries.at("request") : 0,
          point.report->canaries.contains("reply") ? point.report->canaries.at("reply") : 0,
          format_count(requests, "request"), first)};
}

bool found_all(const std::vector<probes::SampleSeen>& samples) {
  return !samples.empty() && std::ranges::all_of(samples, [](const probes::SampleSeen& sample) {
    return sample.request && sample.reply;
  });
}

// (c), and that enough passed: why a point proves nothing.
std::optional<Judged> proves_nothing(const WirePoint& point, const WireObservation& seen) {
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
  const bool passed =
      report.bytes_to_servers >= seen.request_bytes && report.bytes_to_clients >= seen.reply_bytes;
  if (!passed) {
    const std::string sealed =
        report.sealed > 0 ? fmt::format(
                                "; {} that were encrypted below TCP (WireGuard, ESP) did, which is "
                                "described here and not credited",
                                format_count(report.sealed, "packet"))
                          : "";
    return not_proven(
        fmt::format("the traffic did not all pass {}: {} and {} bytes of connections to the "
                    "servers were seen there, {} and {} were sent{}",
                    point.place, report.bytes_to_servers, report.bytes_to_clients,
                    seen.request_bytes, seen.reply_bytes, sealed));
  }
  return std::nullopt;
}

bool is_of_istio(const probes::HandshakeKind& kind) {
  const bool alpn = std::ranges::any_of(
      kind.alpn, [](const std::string& protocol) { return protocol.starts_with("istio"); });
  return alpn && kind.server_name.starts_with("outbound_.");
}

std::string handshake_text(const probes::HandshakeKind& kind) {
  return fmt::format("{}, SNI {}, ALPN {}", kind.version.empty() ? "TLS" : kind.version,
                     kind.server_name.empty() ? "none" : kind.server_name,
                     kind.alpn.empty() ? "none" : fmt::format("{}", fmt::join(kind.alpn, " ")));
}

// (b).
std::optional<Judged> not_of_the_mesh(const WirePoint& point) {
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
        "{} of {} at {} were open before the capture began, so their handshakes were "
        "not seen",
        report.connections_midway, format_count(report.connections, "connection"), point.place));
  }
  for (const auto& kind : report.handshakes) {
    if (is_of_istio(kind)) continue;
    return Judged{Verdict::fail, "other_encryption",
                  fmt::format("{} at {} are encrypted by something else than the mesh: {}",
                              format_count(kind.connections, "connection"), point.place,
                              handshake_text(kind))};
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
    if (!door.peer) {
      return not_proven(fmt::format("{} showed no certificate to a handshake ({})", door.name,
                                    base::enum_name(door.outcome)));
    }
    const bool known = std::ranges::any_of(
        door.peer->uris, [](const std::string& uri) { return uri.starts_with(spiffe_scheme); });
    if (!known) {
      return Judged{Verdict::fail, "no_identity",
                    fmt::format("{} shows a certificate without a SPIFFE identity, {}, by {}",
                                door.name, door.peer->subject, door.peer->issuer)};
    }
  }
  if (seen.identities->doors.empty()) return not_proven("no server was asked who it is");
  return std::nullopt;
}

Judged judge(const WireObservation& seen) {
  for (const auto& point : seen.points) {
    if (!point.report) continue;
    if (auto found = readable(point, seen.requests)) return *std::move(found);
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
    if (auto why = proves_nothing(point, seen)) return *std::move(why);
    if (auto why = not_of_the_mesh(point)) return *std::move(why);
  }
  if (auto why = nobody_known(seen)) return *std::move(why);
  const auto& report = *seen.points.front().report;
  return {
      Verdict::pass, "encrypted",
      fmt::format("none of {} and their replies could be read at {}; {} are TLS to the last "
                  "byte ({}), 0 packets lost, and {} answers as {}",
                  format_count(seen.requests, "request"), format_count(seen.points.size(), "point"),
                  format_count(report.connections_of_tls, "connection"),
                  handshake_text(report.handshakes.front()), seen.identities->doors.front().name,
                  seen.identities->doors.front().peer->uris.front())};
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
                       {"points", std::move(points)},
                       {"identities",
                        seen.identities ? base::to_json(*seen.identities)
                                        : base::Json{{"error", seen.identities.error().message}}}}};
}

}  // namespace checks
