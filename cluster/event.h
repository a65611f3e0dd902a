// What happens to a pod behind a Service while traffic runs.
#pragma once

#include <array>
#include <string_view>
#include <utility>

#include "base/scalar.h"

namespace cluster {

enum class EventKind {
  unready,  // its endpoint is written not ready; the pod goes on answering
  ready,    // its endpoint is written ready
  kill,     // its server dies by SIGKILL; its endpoint is written not ready when that is noticed
  restart,  // a server that ended is back, and its endpoint is written ready
  replace,  // in one write it leaves and another joins; its server ends after a grace
};

// Whether new connections may no longer go to the pod after it.
[[nodiscard]] constexpr bool makes_leave(EventKind kind) {
  return kind == EventKind::unready || kind == EventKind::kill || kind == EventKind::replace;
}

}  // namespace cluster

template <>
struct base::EnumNames<cluster::EventKind> {
  static constexpr std::array names{
      std::pair{cluster::EventKind::unready, std::string_view("unready")},
      std::pair{cluster::EventKind::ready, std::string_view("ready")},
      std::pair{cluster::EventKind::kill, std::string_view("kill")},
      std::pair{cluster::EventKind::restart, std::string_view("restart")},
      std::pair{cluster::EventKind::replace, std::string_view("replace")}};
};
