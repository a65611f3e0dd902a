// The check `certificates_valid`: does every proxy show a certificate that is valid now? One that
// nobody renewed ends all traffic at its hour, and the proxies' own refusals do not say why.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "checks/finding.h"

namespace checks {

struct ShownCertificate {
  std::string pod;
  std::optional<std::int64_t> expires_s = {};  // Unix time; absent: its proxy shows none
};

// Fail: one has expired by `now_s`, and which. Inconclusive: none is shown. `observed` is "valid"
// or "expired".
[[nodiscard]] Finding certificates_valid(const std::vector<ShownCertificate>& certificates,
                                         std::int64_t now_s);

}  // namespace checks
