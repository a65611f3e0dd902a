// Ports and names of the workload kinds.
#include "bench/workload.h"

#include <algorithm>

namespace bench {
namespace {

constexpr std::uint16_t first_target_port = 7001;
constexpr std::uint16_t first_service_port = 8001;

}  // namespace

std::uint16_t target_port(WorkloadKind kind) {
  return static_cast<std::uint16_t>(first_target_port + static_cast<int>(kind));
}

std::uint16_t service_port(WorkloadKind kind) {
  return static_cast<std::uint16_t>(first_service_port + static_cast<int>(kind));
}

std::uint64_t& TrafficErrors::of(FailureClass what) {
  switch (what) {
    case FailureClass::refused:
      return refused;
    case FailureClass::reset:
      return reset;
    case FailureClass::timed_out:
      return timed_out;
    case FailureClass::unreachable:
      return unreachable;
    case FailureClass::closed_early:
      return closed_early;
    case FailureClass::bad_reply:
      return bad_reply;
    case FailureClass::address_unavailable:
      return address_unavailable;
    case FailureClass::lost:
      return lost;
    case FailureClass::stream_reset:
      return stream_reset;
    case FailureClass::goaway:
      return goaway;
    case FailureClass::protocol_error:
      return protocol_error;
    case FailureClass::other:
      break;
  }
  return other;
}

std::string port_name(WorkloadKind kind) {
  std::string name(base::enum_name(kind));
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

}  // namespace bench
