// The check `certificates_valid`: does every proxy have a certificate that is valid now, and does a
// server's show it? One that nobody renewed ends all traffic at its hour, and the proxies' own
// refusals do not say why.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "checks/finding.h"

namespace checks {

// Of one proxy; times are Unix times.
struct ProxyCertificate {
  std::string pod;
  std::optional<std::int64_t> expires_s = {};  // by its own count, of what it has; absent: nothing
  bool was_asked = false;                      // by a handshake
  // Of the certificate it showed to that; absent: it showed none.
  std::optional<std::int64_t> shown_from_s = {};
  std::optional<std::int64_t> shown_until_s = {};
};

// Fail: one has expired by `now_s`, or is not valid yet, and which. Inconclusive: a proxy, and
// which, has none or shows none; or there is no proxy. `observed` is "valid", "expired" or
// "not_valid_yet".
[[nodiscard]] Finding certificates_valid(const std::vector<ProxyCertificate>& proxies,
                                         std::int64_t now_s);

}  // namespace checks
