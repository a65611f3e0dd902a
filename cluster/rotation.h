// What is done to the certificates of a mesh while traffic runs, and what a target says of it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/scalar.h"

namespace cluster {

enum class RotationStep {
  leaf,              // each proxy has a new certificate, of the authority that issues now
  trust_both_roots,  // another authority's root is trusted beside the one in use
  leaf_of_new_root,  // each proxy has a new certificate, of that other authority
  drop_old_root,     // the root that was in use first is trusted no more
};

// Whether proxies show other certificates after it.
[[nodiscard]] constexpr bool issues_leaves(RotationStep step) {
  return step == RotationStep::leaf || step == RotationStep::leaf_of_new_root;
}

// A certificate that a proxy was given.
struct GivenCertificate {
  std::string pod;
  std::string identity;          // "spiffe://..."
  std::string serial = {};       // hexadecimal, as whoever is shown it reads it
  std::int64_t not_after_s = 0;  // Unix time
  std::int64_t at_ns = 0;        // CLOCK_MONOTONIC of the controller: from when on it could have it
};

// A step that was taken.
struct Rotated {
  std::int64_t sent_ns = 0;   // CLOCK_MONOTONIC of the controller, before anything was written
  std::int64_t acked_ns = 0;  // and once everything was, which is before proxies use it
  std::vector<GivenCertificate> given = {};  // none, where only roots change
};

}  // namespace cluster

template <>
struct base::EnumNames<cluster::RotationStep> {
  static constexpr std::array names{
      std::pair{cluster::RotationStep::leaf, std::string_view("leaf")},
      std::pair{cluster::RotationStep::trust_both_roots, std::string_view("trust_both_roots")},
      std::pair{cluster::RotationStep::leaf_of_new_root, std::string_view("leaf_of_new_root")},
      std::pair{cluster::RotationStep::drop_old_root, std::string_view("drop_old_root")}};
};
