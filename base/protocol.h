// The transports that traffic, datapaths and probes here know. An object of Kubernetes may name a
// third (base/kube/meta.h), which whoever takes the object in refuses.
#pragma once

#include <array>
#include <string_view>
#include <utility>

#include "base/scalar.h"

namespace base {

enum class Protocol { TCP, UDP };  // as Kubernetes spells them

}  // namespace base

template <>
struct base::EnumNames<base::Protocol> {
  static constexpr std::array names{std::pair{base::Protocol::TCP, std::string_view("TCP")},
                                    std::pair{base::Protocol::UDP, std::string_view("UDP")}};
};
