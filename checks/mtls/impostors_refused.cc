#include "checks/mtls/impostors_refused.h"

#include <algorithm>
#include <array>

#include <fmt/ranges.h>

#include "base/units.h"
#include "checks/mtls/wire_is_encrypted.h"

namespace checks {
namespace {

using base::Verdict;
using bench::DoorOutcome;
using bench::DoorTried;

constexpr std::string_view plaintext_cell = "plaintext";
constexpr std::string_view old_version_cell = "tls_1_1";
constexpr std::string_view identity_cell = "wrong_identity";
// RFC 8446, 6.2.
constexpr int protocol_version = 70;

enum class Seen { refused, let_in, in_clear, unclear };

bool is_denial(const DoorTried& door) {
  constexpr int unauthorized = 401;
  constexpr int forbidden = 403;
  return door.http_status && (*door.http_status == unauthorized || *door.http_status == forbidden);
}

// Somebody of the mesh got through to who is behind the door: of HTTP by a status that says so.
bool got_through(const DoorTried& door) {
  constexpr int ok = 200;
  constexpr int redirect = 300;
  return door.outcome == DoorOutcome::answered &&
         (!door.http_status || (*door.http_status >= ok && *door.http_status < redirect));
}

// Whether the peer itself said no.
Seen seen_at(const DoorTried& door) {
  switch (door.outcome) {
    case DoorOutcome::answered:
      // Whose certificate is sound may be told in so many words that he is not the one.
      return door.name == identity_cell && is_denial(door) ? Seen::refused : Seen::let_in;
    case DoorOutcome::alert:
    case DoorOutcome::reset:
      return Seen::refused;
    case DoorOutcome::handshake_alert:
      // Of TLS 1.2 a server judges a certificate before it ends the handshake; of 1.1 it must be
      // the version that it does not take.
      return door.name != old_version_cell || door.alert == protocol_version ? Seen::refused
                                                                             : Seen::unclear;
    case DoorOutcome::not_tls:
      return Seen::in_clear;
    case DoorOutcome::closed:
    case DoorOutcome::handshake_reset:
    case DoorOutcome::handshake_closed:
    case DoorOutcome::refused:
    case DoorOutcome::unreachable:
    case DoorOutcome::timed_out:
      return Seen::unclear;
  }
  return Seen::unclear;
}

std::string outcome_text(const DoorTried& door) {
  if (door.http_status && door.outcome == DoorOutcome::answered)
    return fmt::format("{}: HTTP {}", door.name, *door.http_status);
  if (!door.alert_name.empty()) {
    return fmt::format("{}: {} ({})", door.name, base::enum_name(door.outcome), door.alert_name);
  }
  return fmt::format("{}: {}", door.name, base::enum_name(door.outcome));
}

}  // namespace

bench::TlsProbeJob impostor_doors(const cluster::ImpostorCertificates& certificates,
                                  const base::Endpoint& server, bool http) {
  bench::TlsProbeJob job;
  const auto add = [&](std::string_view name,
                       const cluster::CertificateAndKey& shown) -> bench::Door& {
    job.doors.push_back({.name = std::string(name),
                         .to = server,
                         .certificate = shown.certificate,
                         .key = shown.key,
                         .alpn = mesh_alpn(http)});
    // Of our own servers: no bytes, and a status that says so.
    if (http) {
      job.doors.back().request = "GET /0 HTTP/1.1\r\nHost: stackbench\r\nConnection: close\r\n\r\n";
    }
    return job.doors.back();
  };
  add(control_cell, certificates.of_the_mesh);
  add(plaintext_cell, {}).plaintext = true;
  add("foreign_ca", certificates.foreign_ca);
  add(identity_cell, certificates.wrong_identity);
  add("expired", certificates.expired);
  add("not_yet_valid", certificates.not_yet_valid);
  add(old_version_cell, certificates.of_the_mesh).version = bench::TlsVersion::tls_1_1;
  return job;
}

Finding impostors_refused(const bench::TlsProbeResult& tried) {
  Finding finding{.evidence = base::to_json(tried)};
  std::vector<std::string> let_in;
  std::vector<std::string> in_clear;
  std::vector<std::string> unclear;
  std::size_t refused = 0;
  const DoorTried* control = nullptr;
  for (const auto& door : tried.doors) {
    if (door.name == control_cell) {
      control = &door;
      continue;
    }
    switch (seen_at(door)) {
      case Seen::let_in:
        let_in.push_back(outcome_text(door));
        break;
      case Seen::in_clear:
        in_clear.push_back(outcome_text(door));
        break;
      case Seen::unclear:
        unclear.push_back(outcome_text(door));
        break;
      case Seen::refused:
        ++refused;
        break;
    }
  }
  if (!let_in.empty()) {
    finding.verdict = Verdict::fail;
    finding.observed = "let_in";
    finding.sentence = fmt::format("{} of {} were answered: {}", let_in.size(),
                                   base::format_count(tried.doors.size() - 1, "impostor"),
                                   fmt::join(let_in, ", "));
    return finding;
  }
  if (!in_clear.empty()) {
    finding.verdict = Verdict::fail;
    finding.observed = "not_tls";
    finding.sentence =
        fmt::format("the server speaks in the clear, so that nobody is asked for a certificate: {}",
                    fmt::join(in_clear, ", "));
    return finding;
  }
  finding.observed = "not_proven";
  if (control == nullptr || !got_through(*control)) {
    finding.sentence =
        fmt::format("somebody of the mesh was not let in either, so refusals say nothing: {}",
                    control == nullptr ? "nobody tried" : outcome_text(*control));
    return finding;
  }
  if (!unclear.empty() || refused == 0) {
    finding.sentence = fmt::format(
        "no alert and no reset was received: {}",
        unclear.empty() ? "no impostor tried" : fmt::format("{}", fmt::join(unclear, ", ")));
    return finding;
  }
  finding.verdict = Verdict::pass;
  finding.observed = "refused";
  finding.sentence = fmt::format(
      "{} of {} were refused by the server's own alert or reset, and "
      "somebody of the mesh was let in",
      refused, base::format_count(refused, "impostor"));
  return finding;
}

Finding impostors_refused(const std::vector<TriedServer>& servers) {
  // Of several the worst is told, by its name.
  constexpr std::array worse{Verdict::fail, Verdict::inconclusive, Verdict::pass};
  std::vector<Finding> each;
  for (const auto& server : servers) each.push_back(impostors_refused(server.tried));
  Finding finding{.observed = "not_proven"};
  for (const auto verdict : worse) {
    const auto found = std::ranges::find(each, verdict, &Finding::verdict);
    if (found == each.end()) continue;
    finding = *found;
    const auto& name = servers[static_cast<std::size_t>(found - each.begin())].name;
    const auto alike = std::ranges::count(each, verdict, &Finding::verdict);
    finding.sentence =
        verdict == Verdict::pass
            ? fmt::format("at each of {}: {}", base::format_count(servers.size(), "server"),
                          finding.sentence)
            : fmt::format("at {} ({} of {} are so): {}", name, alike,
                          base::format_count(servers.size(), "server"), finding.sentence);
    break;
  }
  if (servers.empty()) finding.sentence = "no server was tried";
  finding.evidence = base::Json::object();
  for (std::size_t i = 0; i < servers.size(); ++i) {
    finding.evidence[servers[i].name] = std::move(each[i].evidence);
  }
  return finding;
}

}  // namespace checks
