// The job as it travels: its bounds.
#include <set>

#include "base/canary.h"
#include "probes/wire/wire.h"

namespace probes {

using base::ErrorKind;
using base::Result;

Result<CaptureJob> parse_capture_job(const base::Json& json) {
  constexpr std::size_t most_servers = 1024;
  constexpr std::size_t most_canaries = 16;
  constexpr std::size_t most_samples = 16;
  ASSIGN_OR_RETURN(auto job, base::from_json<CaptureJob>(json, "job"));
  const auto check = [](std::string_view what, std::size_t count, std::size_t least,
                        std::size_t most) -> Result<> {
    if (count >= least && count <= most) return {};
    return base::fail(ErrorKind::input, "job.{}: expected {} to {} of them, got {}", what, least,
                      most, count);
  };
  RETURN_IF_ERROR(check("servers", job.servers.size(), 1, most_servers));
  RETURN_IF_ERROR(check("canaries", job.canaries.size(), 1, most_canaries));
  RETURN_IF_ERROR(check("samples", job.samples.size(), 0, most_samples));
  std::set<std::string> tokens;
  for (const auto& canary : job.canaries) {
    if (!base::is_token(canary.token)) {
      return base::fail(ErrorKind::input, "job.canaries: {}: expected {} hexadecimal digits",
                        canary.name, base::token_length);
    }
    if (!tokens.insert(canary.token).second) {
      return base::fail(ErrorKind::input, "job.canaries: {}: this token is there twice",
                        canary.name);
    }
  }
  for (const auto& sample : job.samples) {
    if (sample.client.address.family != sample.server.address.family) {
      return base::fail(ErrorKind::input, "job.samples: {}: {} and {} are of two families",
                        sample.protocol, sample.client, sample.server);
    }
  }
  constexpr std::uint64_t least_ring = std::uint64_t{1} << 20;
  constexpr std::uint64_t most_ring = std::uint64_t{1} << 30;
  if (job.ring.count < least_ring || job.ring.count > most_ring) {
    return base::fail(ErrorKind::input, "job.ring: expected 1MiB to 1GiB, got {} bytes",
                      job.ring.count);
  }
  return job;
}

}  // namespace probes
