// The job as it travels: its bounds.
#include "bench/tls_probe/tls_probe.h"

namespace bench {

using base::ErrorKind;
using base::Result;

Result<TlsProbeJob> parse_tls_probe_job(const base::Json& json) {
  ASSIGN_OR_RETURN(auto job, base::from_json<TlsProbeJob>(json, "job"));
  if (job.doors.empty() || job.doors.size() > most_doors) {
    return base::fail(ErrorKind::input, "job.doors: expected 1 to {} of them, got {}", most_doors,
                      job.doors.size());
  }
  constexpr base::Duration shortest_round = std::chrono::milliseconds(1);
  constexpr base::Duration longest_round = std::chrono::seconds(10);
  if (job.every && (*job.every < shortest_round || *job.every > longest_round)) {
    return base::fail(ErrorKind::input, "job.every: expected 1ms to 10s, got {}",
                      base::StringScalar<base::Duration>::format(*job.every));
  }
  if (job.hold && (job.every || *job.hold < base::Duration::zero())) {
    return base::fail(ErrorKind::input, "job.hold: expected 0 or more, of doors tried once");
  }
  for (const auto& door : job.doors) {
    constexpr base::Duration least = std::chrono::milliseconds(10);
    constexpr base::Duration most = std::chrono::seconds(10);
    if (door.timeout < least || door.timeout > most) {
      return base::fail(ErrorKind::input,
                        "job.doors: {}: expected a timeout of 10ms to 10s, got {}", door.name,
                        base::StringScalar<base::Duration>::format(door.timeout));
    }
    if (job.hold && (!door.plaintext || door.request.empty() || door.timeout <= *job.hold)) {
      return base::fail(ErrorKind::input,
                        "job.doors: {}: expected a request in the clear, and a timeout longer than "
                        "it is held",
                        door.name);
    }
    if (door.certificate.empty() != door.key.empty()) {
      return base::fail(ErrorKind::input, "job.doors: {}: a certificate and its key go together",
                        door.name);
    }
    for (const auto& protocol : door.alpn) {
      if (protocol.empty() || protocol.size() > 255) {
        return base::fail(ErrorKind::input, "job.doors: {}: a protocol has 1 to 255 bytes",
                          door.name);
      }
    }
  }
  return job;
}

std::optional<base::Duration> tls_probe_time_limit(const TlsProbeJob& job) {
  if (job.every) return std::nullopt;
  base::Duration limit = std::chrono::seconds(10);
  for (const auto& door : job.doors) limit += door.timeout;
  return limit;
}

}  // namespace bench
