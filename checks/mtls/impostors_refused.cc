#include "checks/mtls/impostors_refused.h"

#include <algorithm>

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
// RFC 8446, 6.2.
constexpr int protocol_version = 70;

enum class Seen { refused, let_in, unclear };

// Whether the peer itself said no.
Seen seen_at(const DoorTried& door) {
  switch (door.outcome) {
    case DoorOutcome::answered:
      return Seen::let_in;
    case DoorOutcome::alert:
    case DoorOutcome::reset:
      return Seen::refused;
    case DoorOutcome::handshake_alert:
      // Of TLS 1.2 a server judges a certificate before it ends the handshake; of 1.1 it must be
      // the version that it does not take.
      return door.name != old_version_cell || door.alert == protocol_version ? Seen::refused
                                                                             : Seen::unclear;
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
  if (door.http_status) return fmt::format("{}: HTTP {}", door.name, *door.http_status);
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
    return job.doors.back();
  };
  add(control_cell, certificates.of_the_mesh);
  add(plaintext_cell, {}).plaintext = true;
  add("foreign_ca", certificates.foreign_ca);
  add("wrong_identity", certificates.wrong_identity);
  add("expired", certificates.expired);
  add("not_yet_valid", certificates.not_yet_valid);
  add(old_version_cell, certificates.of_the_mesh).version = bench::TlsVersion::tls_1_1;
  return job;
}

Finding impostors_refused(const bench::TlsProbeResult& tried) {
  Finding finding{.evidence = base::to_json(tried)};
  std::vector<std::string> let_in;
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
  finding.observed = "not_proven";
  if (control == nullptr || control->outcome != DoorOutcome::answered) {
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

}  // namespace checks
