// What tests of this room write often.
#pragma once

#include <stdexcept>
#include <string_view>

#include "bgp-peer/route.h"

namespace bgp_peer::testing {

// The value, or an exception that ends the test with the error.
template <typename T>
T must(base::Result<T> result) {
  if (!result) throw std::runtime_error(base::describe_error(result.error()));
  return std::move(*result);
}
inline void must(const base::Result<>& result) {
  if (!result) throw std::runtime_error(base::describe_error(result.error()));
}

inline base::IpAddress address(std::string_view text) {
  return base::IpAddress::parse(text).value();
}
inline Prefix prefix(std::string_view text) { return Prefix::parse(text).value(); }

}  // namespace bgp_peer::testing
